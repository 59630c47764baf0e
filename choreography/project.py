"""Projection: from the core global type to one role's local type, by the rules of the language reference.

    End ↾ r                 = end
    Var X ↾ r               = X
    (p→q {l: G}) ↾ r        = !q{l: G↾r} for p, ?p{l: G↾r} for q, else the merge of all G↾r
    (Rec X. G) ↾ r          = rec X.(G↾r) if r acts before X in it, else end
    (par G… ; K) ↾ r        = G↾r one after the other in the order of the text, then K↾r
    (timeout …) ↾ r         = a timed part for every role in it

Loop-head absorption (`mode="full+"`): where r has not acted since the head of loop X, X ⊔ T is T, because going round
brings r back to the very state it waits in. Refusals are data (`Refusal`) until `refusal.py` explains them. Knows the
core only: families are bound and calls inlined before.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal, TypeAlias

from .ast import Extension
from .core import (
    Comm,
    Custom,
    End,
    GlobalType,
    Local,
    Parallel,
    Rec,
    Repeat,
    Timeout,
    Var,
    children_first,
    participants,
    successors,
)
from .dsl.extensions import StatementExtension
from .idle import idle_loops
from .local import (
    LocalBranch,
    LocalBuilder,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
    local_children_first,
    local_successors,
)
from .merge import Conflict, ConflictCause, MergeMode, Merger
from .node import Span

# What a registered extension makes of its statement for one role: a local type that ends in LocalEnd.
ExtensionProjection: TypeAlias = Callable[[Extension, str], LocalType]


@dataclass(frozen=True, slots=True)
class ProjectableExtension(StatementExtension):
    """A plug-in whose statements have a meaning for each role: `project` answers it, or raises ValueError."""

    project: ExtensionProjection = field(kw_only=True)


RefusalCause: TypeAlias = ConflictCause | Literal["InconsistentParallel", "LoopAcrossParallel"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a role has no view of the protocol: at `node`, branches `left` and `right` (by index) cannot be merged.

    `partner` names the other end for parallel conflicts; `conflict` is None for them.
    """

    role: str
    cause: RefusalCause
    node: GlobalType
    left: int
    right: int
    conflict: Conflict | None = None
    partner: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class UnobservableTimeout:
    """A role that cannot notice that the owner's clock fired: a warning, since its own transport may still tell it."""

    role: str
    owner: str
    span: Span


@dataclass(frozen=True, slots=True)
class IdleLoop:
    """A loop that an owner of timed parts would go round without waiting for anybody: an error."""

    role: str
    loop: str
    span: Span


@dataclass(frozen=True, slots=True)
class Projections:
    """What projecting every role gave: the views of those that have one, every refusal of those that have none."""

    local: Mapping[str, LocalType]
    refusals: Mapping[str, tuple[Refusal, ...]]
    unobservable_timeouts: tuple[UnobservableTimeout, ...] = ()
    idle_loops: tuple[IdleLoop, ...] = ()

    @property
    def is_projectable(self) -> bool:
        """Whether every role has a view, and none runs on the spot in it."""
        return not self.refusals and not self.idle_loops


_Fresh: TypeAlias = tuple[str, ...]  # the loops in which the role has not acted yet, outermost first
_Place: TypeAlias = tuple[int, _Fresh]
_View: TypeAlias = LocalType | Refusal
_NEVER: _Fresh = ()


class Projector:
    """Projects one global type, role by role; what roles have in common is computed once.

    Costs O(nodes) a role for straight protocols; merges add the size of what is merged, once for every pair of views.
    """

    def __init__(
        self,
        root: GlobalType,
        *,
        mode: MergeMode = "full+",
        relaxed_parallel: bool = False,
        extensions: Mapping[str, ExtensionProjection] | None = None,
    ) -> None:
        self.root = root
        self.builder = LocalBuilder()
        self._mode = mode
        self._merger = Merger(self.builder, mode)
        self._is_relaxed = relaxed_parallel
        self._extensions = extensions or {}
        self._order = children_first(root)
        self._free = _free_names(self._order)
        self._timed = _TimedParts(self._order)
        self._stretches = _Stretches(self._order)
        self._views: dict[str, dict[_Place, _View]] = {}
        self.refusals: list[Refusal] = []
        self.unobservable: list[UnobservableTimeout] = []

    def project(self, role: str) -> LocalType | None:
        """The view of one role, or None when it has none; then `refusals` has grown."""
        view = self._look(role, self.root)
        return None if isinstance(view, Refusal) else view

    def view_of(self, role: str, node: GlobalType) -> LocalType | None:
        """How a role sees the protocol from a node on (loops around it stay open); None when it cannot.

        Project the role first: what is refused only from here on is not added to `refusals`.
        """
        known = len(self.refusals)
        view = self._look(role, node)
        del self.refusals[known:]
        return None if isinstance(view, Refusal) else view

    def idle_loops(self, role: str, view: LocalType) -> list[IdleLoop]:
        """The loops that a role would go round on the spot, each at a timed part of that role in it."""
        if not any(isinstance(node, Timeout) and node.owner == role for node in self._order):
            return []
        bodies = {node.name: node for node in self._order if isinstance(node, Rec)}
        return [IdleLoop(role, name, _own_part(bodies[name], role)) for name in idle_loops(view, role)]

    def _look(self, role: str, root: GlobalType) -> _View:
        views = self._views.setdefault(role, {})
        start = self._place(role, root, _NEVER)
        waiting: list[tuple[GlobalType, _Fresh]] = [start]
        while waiting:
            node, fresh = waiting[-1]
            place = (id(node), fresh)
            if place in views:
                waiting.pop()
                continue
            needed = self._needed(role, node, fresh, views)
            missing = [one for one in needed if (id(one[0]), one[1]) not in views]
            if missing:
                waiting.extend(reversed(missing))
                continue
            waiting.pop()
            parts = [views[id(one[0]), one[1]] for one in needed]
            refused = next((part for part in parts if isinstance(part, Refusal)), None)
            views[place] = refused or self._view(
                role, node, fresh, [part for part in parts if not isinstance(part, Refusal)]
            )
        return views[id(start[0]), start[1]]

    # What has to be known first, and where it has to be looked at from.

    def _place(self, role: str, node: GlobalType, fresh: _Fresh) -> tuple[GlobalType, _Fresh]:
        node = self._stretches.next_of(role, node)
        if fresh:
            free = self._free[id(node)]
            fresh = tuple(name for name in fresh if name in free)
        return node, fresh

    def _needed(
        self, role: str, node: GlobalType, fresh: _Fresh, views: Mapping[_Place, _View]
    ) -> list[tuple[GlobalType, _Fresh]]:
        match node:
            case Comm(sender=sender, receiver=receiver, branches=branches):
                below = _NEVER if role in (sender, receiver) else fresh
                return [self._place(role, branch.continuation, below) for branch in branches]
            case Rec(name=name, body=body):
                outer = tuple(one for one in fresh if one != name)
                return [self._place(role, body, (*outer, name))]
            case Parallel(branches=branches, continuation=after):
                return self._one_after_other(role, branches, after, fresh, views)
            case Repeat(body=body, continuation=after):
                return self._one_after_other(role, (body,), after, fresh, views)
            case Timeout():
                is_timed = self._is_timed(role, node)
                places = [self._place(role, part, _NEVER if is_timed else fresh) for part in successors(node)]
                tail = self._timed.tail_of(node) if is_timed else None
                return places if tail is None else [*places, self._place(role, tail, _NEVER)]
            case Local(continuation=after):
                return [self._place(role, after, _NEVER)]
            case Custom(continuation=after):
                return [self._place(role, after, _NEVER)]
            case _:
                return []

    def _one_after_other(
        self,
        role: str,
        parts: tuple[GlobalType, ...],
        after: GlobalType,
        fresh: _Fresh,
        views: Mapping[_Place, _View],
    ) -> list[tuple[GlobalType, _Fresh]]:
        places = [self._place(role, part, _NEVER) for part in parts]
        found = [views.get((id(node), below)) for node, below in places]
        if any(view is None for view in found):
            return places
        has_acted = any(view is not self.builder.end for view in found)
        return [*places, self._place(role, after, _NEVER if has_acted else fresh)]

    # The rules.

    def _view(self, role: str, node: GlobalType, fresh: _Fresh, parts: list[LocalType]) -> _View:
        builder = self.builder
        match node:
            case End():
                return builder.end
            case Var(name=name):
                return builder.var(name)
            case Rec(name=name):
                return builder.rec(name, parts[0])
            case Comm(sender=sender, receiver=receiver) if role == sender:
                return builder.send(receiver, _branches(node, parts, is_sender=True))
            case Comm(sender=sender, receiver=receiver) if role == receiver:
                return builder.recv(sender, _branches(node, parts, is_sender=False))
            case Timeout() if self._is_timed(role, node):
                return self._timeout(role, node, parts)
            case Comm() | Timeout():
                return self._merged(role, node, fresh, parts)
            case Parallel():
                return self._parallel(role, node, parts)
            case Repeat(count=count):
                if builder.free_in(parts[0]):
                    return self._refuse(Refusal(role, "LoopAcrossParallel", node, 0, 0))
                return builder.repeat(count, parts[0], parts[1])
            case Local(action=action):
                return builder.act(action, parts[0])
            case Custom(statement=statement):
                return self._custom(role, statement, parts[0])
            case _:
                raise AssertionError(f"{type(node).__name__} is a global type")

    def _is_timed(self, role: str, node: Timeout) -> bool:
        return role == node.owner or role in self._timed.roles_in(node)

    def _merged(self, role: str, node: GlobalType, fresh: _Fresh, parts: list[LocalType]) -> _View:
        kept = list(enumerate(parts))
        if fresh and self._mode == "full+":
            kept = [(index, part) for index, part in kept if not (isinstance(part, LocalVar) and part.name in fresh)]
            if not kept:
                # Every branch goes round. The outermost loop is the one whose head is really meant.
                heads = {part.name for part in parts if isinstance(part, LocalVar)}
                return self.builder.var(next(name for name in fresh if name in heads))
        first, merged = kept[0]
        for index, part in kept[1:]:
            answer = self._merger.merge(merged, part)
            if isinstance(answer, Conflict):
                return self._refuse(self._clash(role, node, kept, index, first, answer))
            merged = answer
        return merged

    def _clash(
        self, role: str, node: GlobalType, kept: list[tuple[int, LocalType]], index: int, first: int, found: Conflict
    ) -> Refusal:
        """The clash told of two branches instead of one branch and the merge of all before it."""
        part = dict(kept)[index]
        for earlier, other in kept:
            if earlier == index:
                break
            answer = self._merger.merge(other, part)
            if isinstance(answer, Conflict):
                return Refusal(role, answer.cause, node, earlier, index, answer)
        return Refusal(role, found.cause, node, first, index, found)

    def _timeout(self, role: str, node: Timeout, parts: list[LocalType]) -> _View:
        roles = self._timed.roles_in(node)
        count = len(successors(node))
        tail = parts[count] if len(parts) > count else None
        made = LocalTimeout(
            node.owner,
            node.milliseconds,
            parts[0],
            parts[1],
            parts[2] if count == 3 else None,
            tuple(dict.fromkeys((node.owner, *roles))),
            tail,
        )
        if role != node.owner and any(not _is_noticed(part, parts[0]) for part in parts[1:count]):
            self.unobservable.append(UnobservableTimeout(role, node.owner, node.span))
        return self.builder.timeout(made)

    def _parallel(self, role: str, node: Parallel, parts: list[LocalType]) -> _View:
        *views, view = parts
        clash = next((index for index, part in enumerate(views) if self.builder.free_in(part)), None)
        if clash is not None:
            return self._refuse(Refusal(role, "LoopAcrossParallel", node, clash, clash))
        refused = self._parallel_clash(role, node, views)
        if refused is not None:
            return self._refuse(refused)
        for part in reversed(views):
            view = self.builder.graft(part, view)
        return view

    def _parallel_clash(self, role: str, node: Parallel, views: list[LocalType]) -> Refusal | None:
        first: dict[tuple[type[LocalType], str], int] = {}
        used: dict[tuple[type[LocalType], str, str], int] = {}
        for index, view in enumerate(views if not self._is_relaxed else ()):
            for head in _first_exchanges(view):
                earlier = first.setdefault((type(head), head.partner), index)
                if earlier != index:
                    return Refusal(role, "InconsistentParallel", node, earlier, index, None, head.partner)
        for index, view in enumerate(views):
            for kind, partner, label in _exchanges(view):
                earlier = used.setdefault((kind, partner, label), index)
                if earlier != index:
                    return Refusal(role, "InconsistentParallel", node, earlier, index, None, partner, label)
        return None

    def _custom(self, role: str, statement: Extension, after: LocalType) -> LocalType:
        projection = self._extensions.get(statement.keyword)
        if statement.roles and role not in statement.roles:
            return after
        if projection is None:
            return self.builder.act(statement, after)
        return self.builder.graft(self.builder.adopt(projection(statement, role)), after)

    def _refuse(self, refusal: Refusal) -> Refusal:
        self.refusals.append(refusal)
        return refusal


def _branches(node: Comm, parts: list[LocalType], *, is_sender: bool) -> tuple[LocalBranch, ...]:
    if not is_sender:
        return tuple(
            LocalBranch(branch.label, branch.payload, after, branch.message)
            for branch, after in zip(node.branches, parts, strict=True)
        )
    return tuple(
        LocalBranch(
            branch.label,
            branch.payload,
            after,
            branch.message,
            branch.annotations,
            branch.guard,
            branch.outcome,
            branch.condition,
            branch.before,
        )
        for branch, after in zip(node.branches, parts, strict=True)
    )


def _own_part(loop: GlobalType, role: str) -> Span:
    """Where the first timed part of a role in a loop is."""
    spans = [node.span for node in children_first(loop) if isinstance(node, Timeout) and node.owner == role]
    return min(spans, key=lambda span: span[:2])


def _first_exchanges(view: LocalType) -> list[LocalSend | LocalRecv]:
    """What a view may begin with; of a timeout each part, since nobody knows which will be taken."""
    found: list[LocalSend | LocalRecv] = []
    seen: set[int] = set()
    waiting = [view]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, LocalSend | LocalRecv):
            found.append(node)
        elif isinstance(node, LocalRepeat):
            waiting += [node.body] if local_successors(node.body) else [node.continuation]
        else:
            waiting.extend(reversed(local_successors(node)))
    return found


def _exchanges(view: LocalType) -> set[tuple[type[LocalType], str, str]]:
    found: set[tuple[type[LocalType], str, str]] = set()
    for node in local_children_first(view):
        if isinstance(node, LocalSend | LocalRecv):
            found |= {(type(node), node.partner, branch.label) for branch in node.branches}
    return found


def _is_noticed(part: LocalType, body: LocalType) -> bool:
    """Whether the first thing of `part` is a receive that `body` cannot begin with."""
    if not isinstance(part, LocalRecv):
        return False
    if not isinstance(body, LocalRecv) or body.partner != part.partner:
        return True
    return not {branch.label for branch in part.branches} & {branch.label for branch in body.branches}


def _free_names(order: list[GlobalType]) -> dict[int, frozenset[str]]:
    """The loops each node may go back to; nodes with the same answer share one set."""
    nothing: frozenset[str] = frozenset()
    free: dict[int, frozenset[str]] = {}
    for node in order:
        found = frozenset({node.name}) if isinstance(node, Var) else nothing
        for after in successors(node):
            names = free[id(after)]
            if names and names is not found:
                found = found | names if found else names
        free[id(node)] = found - {node.name} if isinstance(node, Rec) and node.name in found else found
    return free


class _Stretches:
    """Straight stretches of a protocol, and where in each a role occurs: a role looks only at what concerns it.

    Without them every role would walk every message; two hundred roles and two thousand broadcasts are felt.
    """

    def __init__(self, order: list[GlobalType]) -> None:
        self._place: dict[int, tuple[int, int]] = {}  # of a node: which stretch, and where in it
        self._nodes: list[list[GlobalType]] = []
        self._ends: list[GlobalType] = []
        self._occurrences: dict[tuple[int, str], list[int]] = {}
        for node in reversed(order):
            if id(node) not in self._place and _straight(node) is not None:
                self._walk(node)

    def next_of(self, role: str, node: GlobalType) -> GlobalType:
        """The first node from here on that is not straight, or in which the role takes part."""
        while (place := self._place.get(id(node))) is not None:
            number, start = place
            occurrences = self._occurrences.get((number, role), ())
            found = bisect_left(occurrences, start)
            if found < len(occurrences):
                return self._nodes[number][occurrences[found]]
            node = self._ends[number]
        return node

    def _walk(self, start: GlobalType) -> None:
        number = len(self._nodes)
        nodes: list[GlobalType] = []
        node = start
        while id(node) not in self._place and (after := _straight(node)) is not None:
            self._place[id(node)] = (number, len(nodes))
            for role in _roles_of(node):
                self._occurrences.setdefault((number, role), []).append(len(nodes))
            nodes.append(node)
            node = after
        self._nodes.append(nodes)
        self._ends.append(node)


def _straight(node: GlobalType) -> GlobalType | None:
    """What follows a node that changes nothing for a role that takes no part in it."""
    match node:
        case Comm(branches=(only,)):
            return only.continuation
        case Local(continuation=after):
            return after
        case _:
            return None


def _roles_of(node: GlobalType) -> tuple[str, ...]:
    if isinstance(node, Comm):
        return (node.sender, node.receiver) if node.sender != node.receiver else (node.sender,)
    return (node.actor,) if isinstance(node, Local) and node.actor is not None else ()


class _TimedParts:
    """Which roles take part in a timeout, and where its parts are over.

    Lowering appends what follows a timeout to its parts. Whatever can be reached from two parts is what followed.
    """

    def __init__(self, order: list[GlobalType]) -> None:
        self._rank = {id(node): number for number, node in enumerate(order)}
        self._found: dict[int, tuple[frozenset[str], GlobalType | None]] = {}

    def roles_in(self, node: Timeout) -> frozenset[str]:
        """The roles that occur in a part of the timeout itself."""
        return self._look(node)[0] if node.participants is None else frozenset(node.participants)

    def tail_of(self, node: Timeout) -> GlobalType | None:
        """Where the parts are over, if anything follows."""
        if node.after is not None:
            return None if isinstance(node.after, End) else node.after
        return self._look(node)[1]

    def _look(self, node: Timeout) -> tuple[frozenset[str], GlobalType | None]:
        known = self._found.get(id(node))
        if known is None:
            known = self._found[id(node)] = self._walk(node)
        return known

    def _walk(self, node: Timeout) -> tuple[frozenset[str], GlobalType | None]:
        # From the beginning to the end of the text: when a node's turn comes, all that lead to it had theirs.
        reached: dict[int, int] = {}
        nodes: dict[int, GlobalType] = {}
        queue: list[tuple[int, int]] = []
        shared = 0
        roles: set[str] = set()
        for number, part in enumerate(successors(node)):
            if id(part) not in reached:
                heappush(queue, (-self._rank[id(part)], id(part)))
            reached[id(part)] = reached.get(id(part), 0) | 1 << number
            nodes[id(part)] = part
        while queue:
            _, key = heappop(queue)
            current, parts = nodes[key], reached[key]
            if parts & (parts - 1):
                shared += 1
                if not isinstance(current, End) and all(reached[one] & (reached[one] - 1) for _, one in queue):
                    return frozenset(roles), current if not queue else None
            elif isinstance(current, Comm):
                roles |= {current.sender, current.receiver}
            elif isinstance(current, Timeout):
                roles.add(current.owner)
            elif isinstance(current, Local) and current.actor is not None:
                roles.add(current.actor)
            for after in successors(current):
                if id(after) not in reached:
                    heappush(queue, (-self._rank[id(after)], id(after)))
                    reached[id(after)] = 0
                    nodes[id(after)] = after
                reached[id(after)] |= parts
        return frozenset(roles), None


def project_global(root: GlobalType, role: str, *, mode: MergeMode = "full+") -> LocalType | Refusal:
    """One role's view of a global type; a role that does not occur is done at once.

    Example: in `Comm("A", "B", (Branch("hi", None, End()),))`, role "B" sees `?A{hi: end}`.
    """
    projector = Projector(root, mode=mode)
    view = projector.project(role)
    return projector.refusals[0] if view is None else view


def project_all(
    root: GlobalType,
    roles: tuple[str, ...] | None = None,
    *,
    mode: MergeMode = "full+",
    relaxed_parallel: bool = False,
    extensions: Mapping[str, ExtensionProjection] | None = None,
) -> Projections:
    """Every role's view, or why it has none; `roles` are all that communicate unless given."""
    projector = Projector(root, mode=mode, relaxed_parallel=relaxed_parallel, extensions=extensions)
    local: dict[str, LocalType] = {}
    refusals: dict[str, tuple[Refusal, ...]] = {}
    idle: list[IdleLoop] = []
    for role in roles if roles is not None else participants(root):
        before = len(projector.refusals)
        view = projector.project(role)
        if view is None:
            refusals[role] = tuple(projector.refusals[before:])
        else:
            local[role] = view
            idle += projector.idle_loops(role, view)
    return Projections(local, refusals, tuple(projector.unobservable), tuple(idle))

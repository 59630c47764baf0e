"""Local types: one role's view of a protocol, as data.

    LocalType = LocalEnd
              | LocalVar(name)                                  back to the LocalRec of that name
              | LocalRec(name, body)
              | LocalSend(partner, branches)                    send one of the labels: this role chooses
              | LocalRecv(partner, branches)                    receive one of the labels: the partner chose
              | LocalTimeout(owner, ms, body, on_timeout, on_cancel)
              | LocalRepeat(count, body, continuation)          a counted loop too long to unroll
              | LocalAct(action, continuation)                  this role does something that sends nothing

Parts are shared, as in `core.py`: a local type is a graph, so that twenty choices in a row stay sixty nodes. What
belongs to the sender of a branch (annotations, guard) rides along and takes no part in equality. Projects nothing and
decides no step: see `project.py` and `fsm.py`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self, TypeAlias

from .annotations import MessageAnnotations
from .ast import Guard, Message, Statement
from .core import SORT_NAMES, CoreNode, ValueType, value_type_of
from .dsl.format import format_duration
from .node import JsonValue


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalNode(CoreNode):
    """What local nodes share. Equality is by name and order; `is_equivalent` sees through names and branch order."""

    family: ClassVar[str] = ""

    def to_json(self) -> dict[str, JsonValue]:
        """The exchange form, nested; shared parts are shared Python objects, so making it is O(nodes).

        Example: `LocalEnd().to_json()` is `{"kind": "end"}`.
        """
        return local_json(self) if isinstance(self, _LOCAL) else CoreNode.to_json(self)

    @classmethod
    def from_json(cls, data: Mapping[str, JsonValue]) -> Self:
        """The local type that `to_json` wrote, without what it does not write (annotations, guards, local actions).

        Raises ValueError when `data` is not a local type.
        """
        node = local_from_json(data)
        if not isinstance(node, cls):
            raise ValueError(f"expected a {cls.__name__}, got {type(node).__name__}")
        return node

    def __str__(self) -> str:
        return show_local(self) if isinstance(self, _LOCAL) else CoreNode.__repr__(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalEnd(LocalNode):
    """This role is done."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalVar(LocalNode):
    """Go back to the LocalRec of this name."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalRec(LocalNode):
    """A loop head."""

    name: str
    body: "LocalType"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalBranch(LocalNode):
    """One label, what travels with it, and what this role does then.

    `message` is None when the label travels alone. The rest is the sender's: what its guard chain must check, when it
    may choose this branch, the `case` constructor it came from, the text of a `loop while`, and its local actions
    between choosing this branch and sending the label.
    """

    label: str
    payload: ValueType | None
    continuation: "LocalType"
    message: Message | None = field(default=None, compare=False)
    annotations: MessageAnnotations | None = field(default=None, compare=False)
    guard: Guard | None = field(default=None, compare=False)
    outcome: str | None = field(default=None, compare=False)
    condition: str | None = field(default=None, compare=False)
    before: tuple[Statement, ...] = field(default=(), compare=False)

    def leading_to(self, continuation: "LocalType") -> "LocalBranch":
        """The same branch with another continuation."""
        if continuation is self.continuation:
            return self
        return LocalBranch(
            self.label,
            self.payload,
            continuation,
            self.message,
            self.annotations,
            self.guard,
            self.outcome,
            self.condition,
            self.before,
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalSend(LocalNode):
    """Send `partner` one of the labels."""

    partner: str
    branches: tuple[LocalBranch, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalRecv(LocalNode):
    """Receive one of the labels from `partner`."""

    partner: str
    branches: tuple[LocalBranch, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalTimeout(LocalNode):
    """`body` unless the owner's clock fires, or the owner cancels.

    `participants` are all roles that have this node. `tail` is where the timed part is over and the clock stops: the
    part of `body` that followed the timeout in the text (None when the role cannot tell, or nothing followed).
    """

    owner: str
    milliseconds: int
    body: "LocalType"
    on_timeout: "LocalType"
    on_cancel: "LocalType | None" = None
    participants: tuple[str, ...] = field(default=(), compare=False)
    tail: "LocalType | None" = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalRepeat(LocalNode):
    """`body`, which ends in LocalEnd, `count` times, then the continuation."""

    count: int
    body: "LocalType"
    continuation: "LocalType"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LocalAct(LocalNode):
    """This role performs an action that sends nothing (`let`, `publish`, `handoff`, …), then goes on."""

    action: Statement
    continuation: "LocalType"


# What projection gives a role.
LocalType: TypeAlias = LocalEnd | LocalVar | LocalRec | LocalSend | LocalRecv | LocalTimeout | LocalRepeat | LocalAct

# The members of LocalType as isinstance wants them.
_LOCAL = (LocalEnd, LocalVar, LocalRec, LocalSend, LocalRecv, LocalTimeout, LocalRepeat, LocalAct)

END = LocalEnd()
_NOTHING: frozenset[str] = frozenset()


# --- walking ------------------------------------------------------------------------------------------------------


def local_successors(node: LocalType) -> tuple[LocalType, ...]:
    """The nodes directly after or inside a node, in order."""
    match node:
        case LocalSend(branches=branches) | LocalRecv(branches=branches):
            return tuple(branch.continuation for branch in branches)
        case LocalRec(body=body):
            return (body,)
        case LocalTimeout(body=body, on_timeout=late, on_cancel=cancelled):
            return (body, late) if cancelled is None else (body, late, cancelled)
        case LocalRepeat(body=body, continuation=after):
            return (body, after)
        case LocalAct(continuation=after):
            return (after,)
        case _:
            return ()


def local_children_first(root: LocalType) -> list[LocalType]:
    """Every node of the graph once, each after all it leads to."""
    order: list[LocalType] = []
    seen: set[int] = set()
    waiting: list[tuple[bool, LocalType]] = [(False, root)]
    while waiting:
        is_done, node = waiting.pop()
        if is_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((True, node))
            waiting.extend((False, following) for following in reversed(local_successors(node)))
    return order


def local_free_variables(root: LocalType) -> frozenset[str]:
    """The names of LocalVar that no LocalRec around them binds."""
    free: dict[int, frozenset[str]] = {}
    for node in local_children_first(root):
        free[id(node)] = _free(node, [free[id(following)] for following in local_successors(node)])
    return free[id(root)]


def _free(node: LocalType, below: Iterable[frozenset[str]]) -> frozenset[str]:
    if isinstance(node, LocalVar):
        return frozenset({node.name})
    found = _NOTHING
    for names in below:
        if names and names is not found:
            found = found | names if found else names
    return found - {node.name} if isinstance(node, LocalRec) and node.name in found else found


def partners(root: LocalType) -> tuple[str, ...]:
    """The roles this one exchanges messages with, in order of first appearance."""
    found: dict[str, None] = {}
    for node in reversed(local_children_first(root)):
        if isinstance(node, LocalSend | LocalRecv):
            found.setdefault(node.partner)
    return tuple(found)


def local_depth(root: LocalType) -> int:
    """The most messages on one path, a loop taken once."""
    depths: dict[int, int] = {}
    for node in local_children_first(root):
        below = max((depths[id(following)] for following in local_successors(node)), default=0)
        depths[id(node)] = below + isinstance(node, LocalSend | LocalRecv)
    return depths[id(root)]


def local_size(root: LocalType) -> int:
    """The number of distinct nodes."""
    return len(local_children_first(root))


def written_size(root: LocalType) -> int:
    """How many nodes the nested form has, where every shared part is written again; O(nodes) to compute."""
    sizes: dict[int, int] = {}
    for node in local_children_first(root):
        sizes[id(node)] = 1 + sum(sizes[id(following)] for following in local_successors(node))
    return sizes[id(root)]


# --- building -----------------------------------------------------------------------------------------------------


class LocalBuilder:
    """Makes local types so that equal parts are one object, and remembers which variables are free in each.

    Everything one projection makes comes from one builder; then `is` answers most questions about sameness.
    """

    def __init__(self) -> None:
        self._made: dict[object, LocalType] = {}
        self._free_in: dict[int, frozenset[str]] = {}
        self._same: dict[object, object] = {}
        self._substituted: dict[tuple[int, str, int], LocalType] = {}
        self._grafted: dict[tuple[int, int], LocalType] = {}
        self.end: LocalType = self._keep("end", LocalEnd())

    def free_in(self, node: LocalType) -> frozenset[str]:
        """The variables free in a node that this builder made."""
        return self._free_in[id(node)]

    def var(self, name: str) -> LocalType:
        """Back to the loop of this name."""
        return self._made.get(name) or self._keep(name, LocalVar(name))

    def rec(self, name: str, body: LocalType) -> LocalType:
        """A loop; one that goes nowhere without acting is the end, one that never comes back is its body."""
        if name not in self.free_in(body):
            return body
        if _bare(body, name):
            return self.end
        key = ("rec", name, id(body))
        return self._made.get(key) or self._keep(key, LocalRec(name, body))

    def send(self, partner: str, branches: tuple[LocalBranch, ...]) -> LocalType:
        """Send one of the labels."""
        key = ("send", partner, tuple(map(self._branch_key, branches)))
        return self._made.get(key) or self._keep(key, LocalSend(partner, branches))

    def recv(self, partner: str, branches: tuple[LocalBranch, ...]) -> LocalType:
        """Receive one of the labels."""
        key = ("recv", partner, tuple(map(self._branch_key, branches)))
        return self._made.get(key) or self._keep(key, LocalRecv(partner, branches))

    def timeout(self, node: LocalTimeout) -> LocalType:
        """A timed part whose parts this builder made."""
        parts = (id(node.body), id(node.on_timeout), node.on_cancel and id(node.on_cancel), node.tail and id(node.tail))
        key = ("timeout", node.owner, node.milliseconds, parts, node.participants)
        return self._made.get(key) or self._keep(key, node)

    def repeat(self, count: int, body: LocalType, continuation: LocalType) -> LocalType:
        """A counted loop; of nothing, it is what follows."""
        if count == 0 or body is self.end:
            return continuation
        if count == 1:
            return self.graft(body, continuation)
        key = ("repeat", count, id(body), id(continuation))
        return self._made.get(key) or self._keep(key, LocalRepeat(count, body, continuation))

    def act(self, action: Statement, continuation: LocalType) -> LocalType:
        """An action, then the rest."""
        key = ("act", id(self._representative(action)), id(continuation))
        return self._made.get(key) or self._keep(key, LocalAct(action, continuation))

    def rebuilt(self, node: LocalType, after: tuple[LocalType, ...], tail: LocalType | None = None) -> LocalType:
        """The same kind of node leading elsewhere; `after` has the shape of `local_successors(node)`.

        `tail` is what has become of a timeout's tail.
        """
        if (
            all(old is new for old, new in zip(local_successors(node), after, strict=True))
            and id(node) in self._free_in
        ):
            return node
        match node:
            case LocalEnd():
                return self.end
            case LocalVar(name=name):
                return self.var(name)
            case LocalRec(name=name):
                return self.rec(name, after[0])
            case LocalSend(partner=partner, branches=branches):
                return self.send(partner, with_continuations(branches, after))
            case LocalRecv(partner=partner, branches=branches):
                return self.recv(partner, with_continuations(branches, after))
            case LocalTimeout():
                return self.timeout(
                    LocalTimeout(
                        node.owner,
                        node.milliseconds,
                        after[0],
                        after[1],
                        after[2] if len(after) == 3 else None,
                        node.participants,
                        tail,
                    )
                )
            case LocalRepeat(count=count):
                return self.repeat(count, after[0], after[1])
            case LocalAct(action=action):
                return self.act(action, after[0])

    def adopt(self, root: LocalType) -> LocalType:
        """The same type with every part made by this builder."""
        done: dict[int, LocalType] = {}
        for node in local_children_first(root):
            after = tuple(done[id(following)] for following in local_successors(node))
            done[id(node)] = self.rebuilt(node, after, moved_tail(done, node))
        return done[id(root)]

    def substitute(self, root: LocalType, name: str, replacement: LocalType) -> LocalType:
        """`root` with every free occurrence of a variable replaced; no free name of the replacement is captured."""
        answer = self._map(root, lambda node: name in self.free_in(node), name, replacement, self._substituted)
        assert isinstance(answer, _LOCAL), "a local type stays one"
        return answer

    def _map(
        self,
        root: LocalType,
        is_concerned: Callable[[LocalType], bool],
        name: str,
        replacement: LocalType,
        memo: dict[tuple[int, str, int], LocalType],
    ) -> LocalType:
        incoming = self.free_in(replacement)
        waiting = [root]
        while waiting:
            node = waiting[-1]
            key = (id(node), name, id(replacement))
            if key in memo:
                waiting.pop()
                continue
            if not is_concerned(node):
                memo[key] = node
            elif isinstance(node, LocalVar):
                memo[key] = replacement
            elif isinstance(node, LocalRec) and node.name in incoming:
                # The replacement speaks of an outer loop of the same name: this one gets another.
                other = fresh_name(node.name, incoming | self.free_in(node.body))
                renamed = self.rec(other, self.substitute(node.body, node.name, self.var(other)))
                memo[key] = self.substitute(renamed, name, replacement)
            else:
                after = local_successors(node)
                missing = [one for one in after if (id(one), name, id(replacement)) not in memo]
                if missing:
                    waiting.extend(missing)
                    continue
                tail = node.tail if isinstance(node, LocalTimeout) else None
                carried = tail and memo.get((id(tail), name, id(replacement)))
                memo[key] = self.rebuilt(node, tuple(memo[id(one), name, id(replacement)] for one in after), carried)
            waiting.pop()
        return memo[id(root), name, id(replacement)]

    def unfold(self, root: LocalType) -> LocalType:
        """A loop's body with the loop itself in place of its variable, a counted loop's first round; else itself."""
        if isinstance(root, LocalRec):
            return self.substitute(root.body, root.name, root)
        if isinstance(root, LocalRepeat):
            return self.graft(root.body, self.repeat(root.count - 1, root.body, root.continuation))
        return root

    def graft(self, first: LocalType, then: LocalType) -> LocalType:
        """`first`, and `then` wherever it ends: sequential composition."""
        if first is self.end or then is self.end:
            return then if first is self.end else first
        waiting = [first]
        while waiting:
            node = waiting[-1]
            key = (id(node), id(then))
            if key in self._grafted:
                waiting.pop()
                continue
            after = (node.continuation,) if isinstance(node, LocalRepeat) else local_successors(node)
            missing = [one for one in after if (id(one), id(then)) not in self._grafted]
            if missing:
                waiting.extend(missing)
                continue
            grafted = tuple(self._grafted[id(one), id(then)] for one in after)
            if node is self.end:
                self._grafted[key] = then
            elif isinstance(node, LocalRepeat):
                self._grafted[key] = self.repeat(node.count, node.body, grafted[0])
            elif isinstance(node, LocalRec) and node.name in self.free_in(then):
                other = fresh_name(node.name, self.free_in(then) | self.free_in(node.body))
                renamed = self.rec(other, self.substitute(node.body, node.name, self.var(other)))
                self._grafted[key] = self.graft(renamed, then)
            else:
                tail = node.tail if isinstance(node, LocalTimeout) else None
                self._grafted[key] = self.rebuilt(node, grafted, tail and self._grafted.get((id(tail), id(then))))
            waiting.pop()
        return self._grafted[id(first), id(then)]

    def _branch_key(self, branch: LocalBranch) -> tuple[object, ...]:
        return (
            branch.label,
            branch.payload,
            id(branch.continuation),
            branch.message and id(self._representative(branch.message)),
            branch.annotations and id(self._representative(branch.annotations)),
            branch.guard and id(self._representative(branch.guard)),
            branch.outcome,
            branch.condition,
            tuple(id(self._representative(action)) for action in branch.before),
        )

    def _representative(self, value: object) -> object:
        """One object for all equal ones. Keyed by id first, since hashing a message costs its size."""
        known = self._same.get(id(value))
        if known is None:
            known = self._same.setdefault(("value", value), value)
            self._same[id(value)] = known
            # Kept, so that its id is not given to another object.
            self._same["alive", id(value)] = value
        return known

    def _keep(self, key: object, node: LocalType) -> LocalType:
        self._made[key] = node
        self._free_in[id(node)] = _free(node, [self._free_in[id(after)] for after in local_successors(node)])
        return node


def with_continuations(branches: tuple[LocalBranch, ...], after: tuple[LocalType, ...]) -> tuple[LocalBranch, ...]:
    """The same branches leading elsewhere."""
    return tuple(branch.leading_to(following) for branch, following in zip(branches, after, strict=True))


def moved_tail(done: Mapping[int, LocalType], node: LocalType) -> LocalType | None:
    """What has become of the tail of a timeout when every node under it has been made anew."""
    return done.get(id(node.tail)) if isinstance(node, LocalTimeout) and node.tail is not None else None


def _bare(body: LocalType, name: str) -> bool:
    """Whether a loop's body comes back to the loop before this role exchanged anything."""
    while isinstance(body, LocalAct):
        body = body.continuation
    return isinstance(body, LocalVar) and body.name == name


def fresh_name(name: str, taken: frozenset[str]) -> str:
    """The name with the smallest number behind it that is not taken."""
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def without_actions(root: LocalType) -> LocalType:
    """Only what is exchanged: every LocalAct left out."""
    builder = LocalBuilder()
    done: dict[int, LocalType] = {}
    for node in local_children_first(root):
        after = tuple(done[id(following)] for following in local_successors(node))
        done[id(node)] = (
            after[0] if isinstance(node, LocalAct) else builder.rebuilt(node, after, moved_tail(done, node))
        )
    return done[id(root)]


def unfold_local(root: LocalType) -> LocalType:
    """One step: a loop's body with the loop in place of its variable; anything else unchanged."""
    builder = LocalBuilder()
    return builder.unfold(builder.adopt(root))


def substitute_local(root: LocalType, name: str, replacement: LocalType) -> LocalType:
    """`root` with every free occurrence of a variable replaced, capturing nothing."""
    builder = LocalBuilder()
    return builder.substitute(builder.adopt(root), name, builder.adopt(replacement))


# --- sameness -----------------------------------------------------------------------------------------------------


def is_equivalent(left: LocalType, right: LocalType) -> bool:
    """Equal up to the names of loops and the order of branches; payloads count, annotations do not."""
    return is_matching(left, right, is_dual=False)


_Bindings: TypeAlias = tuple[tuple[str, int], ...]


def is_matching(left: LocalType, right: LocalType, *, is_dual: bool) -> bool:
    """Alpha-equality of two graphs, with sends and receives exchanged when `is_dual`.

    Each pair of nodes is looked at once per meaning of the variables in it.
    """
    free: dict[int, frozenset[str]] = {}
    for root in (left, right):
        for node in local_children_first(root):
            free[id(node)] = _free(node, [free[id(after)] for after in local_successors(node)])
    numbers = iter(range(10**9))
    seen: set[tuple[int, int, _Bindings, _Bindings]] = set()
    waiting: list[tuple[LocalType, LocalType, dict[str, int], dict[str, int]]] = [(left, right, {}, {})]
    while waiting:
        one, other, bound_left, bound_right = waiting.pop()
        if one is other and not free[id(one)] and not is_dual:
            continue
        pair = (id(one), id(other), _meaning(free[id(one)], bound_left), _meaning(free[id(other)], bound_right))
        if pair in seen:
            continue
        seen.add(pair)
        if isinstance(one, LocalRec) and isinstance(other, LocalRec):
            number = next(numbers)
            bound_left, bound_right = bound_left | {one.name: number}, bound_right | {other.name: number}
        elif not _is_alike(one, other, bound_left, bound_right, is_dual=is_dual):
            return False
        waiting.extend((a, b, bound_left, bound_right) for a, b in _paired(one, other))
    return True


def _meaning(names: frozenset[str], bound: Mapping[str, int]) -> _Bindings:
    return tuple((name, bound.get(name, -1)) for name in sorted(names)) if names else ()


def _is_alike(
    one: LocalType, other: LocalType, bound_left: Mapping[str, int], bound_right: Mapping[str, int], *, is_dual: bool
) -> bool:
    if isinstance(one, LocalSend | LocalRecv) and isinstance(other, LocalSend | LocalRecv):
        is_turned = type(one) is not type(other)
        is_placed = is_dual or one.partner == other.partner
        return is_turned == is_dual and is_placed and _labels(one) == _labels(other)
    match one, other:
        case LocalVar(name=name), LocalVar(name=other_name):
            meaning = bound_left.get(name)
            return meaning == bound_right.get(other_name) and (meaning is not None or name == other_name)
        case LocalTimeout(), LocalTimeout():
            same_parts = (one.on_cancel is None) == (other.on_cancel is None)
            return (one.owner, one.milliseconds) == (other.owner, other.milliseconds) and same_parts
        case LocalRepeat(count=count), LocalRepeat(count=other_count):
            return count == other_count
        case LocalAct(action=action), LocalAct(action=other_action):
            return action == other_action
        case LocalEnd(), LocalEnd():
            return True
        case _:
            return False


def _labels(node: LocalSend | LocalRecv) -> dict[str, ValueType | None]:
    return {branch.label: branch.payload for branch in node.branches}


def _paired(one: LocalType, other: LocalType) -> Iterator[tuple[LocalType, LocalType]]:
    if isinstance(one, LocalSend | LocalRecv) and isinstance(other, LocalSend | LocalRecv):
        there = {branch.label: branch.continuation for branch in other.branches}
        yield from ((branch.continuation, there[branch.label]) for branch in one.branches)
    else:
        yield from zip(local_successors(one), local_successors(other), strict=True)


# --- writing ------------------------------------------------------------------------------------------------------


def show_local(root: LocalType) -> str:
    """The short form: `!B{label: …}`, `?A{label: …}`, `rec X.(…)`, `X`, `end`. Costs the size of the nested form.

    Example: `show_local(LocalRec("X", LocalSend("B", (LocalBranch("go", None, LocalVar("X")),))))` is
    `rec X.(!B{go: X})`.
    """
    out: list[str] = []
    waiting: list[str | LocalType] = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            out.append(item)
        else:
            waiting.extend(reversed(_short(item)))
    return "".join(out)


def _short(node: LocalType) -> list[str | LocalType]:
    match node:
        case LocalEnd():
            return ["end"]
        case LocalVar(name=name):
            return [name]
        case LocalRec(name=name, body=body):
            return [f"rec {name}.(", body, ")"]
        case LocalSend(partner=partner, branches=branches) | LocalRecv(partner=partner, branches=branches):
            parts: list[str | LocalType] = [f"{'!' if isinstance(node, LocalSend) else '?'}{partner}{{"]
            for position, branch in enumerate(branches):
                parts += [f"{', ' if position else ''}{branch.label}: ", branch.continuation]
            return [*parts, "}"]
        case LocalTimeout(on_cancel=on_cancel):
            cancelled: list[str | LocalType] = [] if on_cancel is None else ["; on cancel: ", on_cancel]
            head = f"timeout {format_duration(node.milliseconds)} {node.owner}("
            return [head, node.body, "; on timeout: ", node.on_timeout, *cancelled, ")"]
        case LocalRepeat(count=count, body=body, continuation=after):
            return [f"repeat {count}.(", body, "); ", after]
        case LocalAct(action=action, continuation=after):
            return [f"{type(action).__name__.lower()}; ", after]


def local_json(root: LocalType) -> dict[str, JsonValue]:
    """See `LocalNode.to_json`. Local actions are left out; the rest is as `antiphon project --json` writes it."""
    shown: dict[int, dict[str, JsonValue]] = {}
    for node in local_children_first(root):
        after = [shown[id(following)] for following in local_successors(node)]
        shown[id(node)] = _json_node(node, after)
    return shown[id(root)]


def _json_node(node: LocalType, after: list[dict[str, JsonValue]]) -> dict[str, JsonValue]:
    match node:
        case LocalEnd():
            return {"kind": "end"}
        case LocalVar(name=name):
            return {"kind": "var", "name": name}
        case LocalRec(name=name):
            return {"kind": "rec", "name": name, "body": after[0]}
        case LocalSend(partner=partner, branches=branches) | LocalRecv(partner=partner, branches=branches):
            shown: list[JsonValue] = [
                {"label": branch.label, "type": type_text(branch.payload), "continuation": following}
                for branch, following in zip(branches, after, strict=True)
            ]
            kind = "send" if isinstance(node, LocalSend) else "recv"
            return {"kind": kind, "partner": partner, "branches": shown}
        case LocalTimeout():
            return {
                "kind": "timeout",
                "role": node.owner,
                "after_ms": node.milliseconds,
                "body": after[0],
                "on_timeout": after[1],
                "on_cancel": after[2] if len(after) == 3 else None,
            }
        case LocalRepeat(count=count):
            return {"kind": "repeat", "count": count, "body": after[0], "continuation": after[1]}
        case LocalAct():
            return after[0]


def type_text(payload: ValueType | None) -> str | None:
    """What travels, as it was written; None when nothing does."""
    if payload is None:
        return None
    return payload.text or payload.name or SORT_NAMES[payload.kind]


def local_from_json(data: Mapping[str, JsonValue]) -> LocalType:
    """See `LocalNode.from_json`; not recursive, so any depth is read."""
    order: list[dict[str, JsonValue]] = []
    waiting: list[JsonValue] = [dict(data)]
    while waiting:
        value = waiting.pop()
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(kind, str) or kind not in _PARTS:
            raise ValueError(f"expected a local type with a known 'kind', got {str(value)[:80]}")
        order.append(value)
        waiting.extend(_json_parts(value))
    built: list[LocalType] = []
    for shown in reversed(order):
        arity = len(_json_parts(shown))
        after = [built.pop() for _ in range(arity)][::-1]
        built.append(_local_of(shown, after))
    return built[0]


_PARTS: dict[JsonValue, tuple[str, ...]] = {
    "end": (),
    "var": (),
    "rec": ("body",),
    "send": (),
    "recv": (),
    "timeout": ("body", "on_timeout", "on_cancel"),
    "repeat": ("body", "continuation"),
}


def _json_parts(value: Mapping[str, JsonValue]) -> list[JsonValue]:
    if value["kind"] not in ("send", "recv"):
        names = [name for name in _PARTS[value["kind"]] if name != "on_cancel" or value.get(name) is not None]
        return [value.get(name) for name in names]
    branches = value.get("branches")
    if not isinstance(branches, list) or not branches:
        raise ValueError(f"a {value['kind']} has a non-empty list 'branches'")
    parts: list[JsonValue] = []
    for branch in branches:
        if not isinstance(branch, dict):
            raise ValueError(f"a branch is an object, got {str(branch)[:80]}")
        parts.append(branch.get("continuation"))
    return parts


def _local_of(value: Mapping[str, JsonValue], after: list[LocalType]) -> LocalType:
    match value["kind"]:
        case "end":
            return END
        case "var":
            return LocalVar(_text(value, "name"))
        case "rec":
            return LocalRec(_text(value, "name"), after[0])
        case "timeout":
            on_cancel = after[2] if len(after) == 3 else None
            return LocalTimeout(_text(value, "role"), _number(value, "after_ms"), after[0], after[1], on_cancel)
        case "repeat":
            return LocalRepeat(_number(value, "count"), after[0], after[1])
        case kind:
            branches = value["branches"]
            assert isinstance(branches, list), "looked at above"
            made = tuple(_branch_of(branch, following) for branch, following in zip(branches, after, strict=True))
            partner = _text(value, "partner")
            return LocalSend(partner, made) if kind == "send" else LocalRecv(partner, made)


def _branch_of(branch: JsonValue, continuation: LocalType) -> LocalBranch:
    assert isinstance(branch, dict), "looked at above"
    text = branch.get("type")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"a branch's type is text or null, got {text!r}")
    return LocalBranch(_text(branch, "label"), None if text is None else value_type_of(text), continuation)


def _text(value: Mapping[str, JsonValue], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise ValueError(f"expected text at {name!r}, got {found!r}")
    return found


def _number(value: Mapping[str, JsonValue], name: str) -> int:
    found = value.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise ValueError(f"expected a whole number at {name!r}, got {found!r}")
    return found


# A nested form of more nodes than this is read by nobody and fills memory: a graph or the role's machine says the same.
WRITTEN_SIZE_MAX = 200_000


def local_json_text(root: LocalType) -> str:
    """The nested JSON as one line of text, to any depth (the standard encoder gives up at a few hundred levels).

    Raises ValueError when the nested form has more than `WRITTEN_SIZE_MAX` nodes.
    """
    written = written_size(root)
    if written > WRITTEN_SIZE_MAX:
        raise ValueError(
            f"the nested form has {written:,} nodes, more than {WRITTEN_SIZE_MAX:,}: shared parts are written again "
            "wherever they occur; ask for the state machine instead"
        )
    return nested_text(local_json(root))


def nested_text(value: JsonValue) -> str:
    """JSON data as one line of text, to any depth."""
    out: list[str] = []
    waiting: list[tuple[bool, JsonValue]] = [(False, value)]  # (is text to emit, value)
    while waiting:
        is_text, item = waiting.pop()
        if is_text:
            out.append(str(item))
        elif isinstance(item, dict):
            pieces: list[tuple[bool, JsonValue]] = []
            for key, inner in item.items():
                pieces += [(True, f"{', ' if pieces else ''}{json.dumps(key)}: "), (False, inner)]
            waiting.extend(reversed([(True, "{"), *pieces, (True, "}")]))
        elif isinstance(item, list):
            pieces = []
            for inner in item:
                pieces += [(True, ", ")] if pieces else []
                pieces.append((False, inner))
            waiting.extend(reversed([(True, "["), *pieces, (True, "]")]))
        else:
            out.append(json.dumps(item, ensure_ascii=False))
    return "".join(out)

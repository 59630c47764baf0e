"""Why a protocol cannot be projected, told so that it can be repaired.

Every refusal names the role, the two branches, the shortest run of the protocol that leads to where they part, what
the role would have to do in each, and the smallest change that was found – and tried – to make it projectable.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import NamedTuple

from .core import (
    Branch,
    Comm,
    Custom,
    End,
    GlobalType,
    Local,
    Parallel,
    Repeat,
    Timeout,
    children_first,
    participants,
    replace_successors,
    successors,
)
from .local import (
    LocalAct,
    LocalEnd,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
    type_text,
)
from .merge import MergeMode, Step
from .node import NO_SPAN, JsonValue, Span
from .project import Projector, Refusal

# Trying a change projects the whole protocol again; a protocol with more than this many (node, role) pairs gets the
# first change that looks right, untried.
TRIED_SIZE_MAX = 40_000


class Event(NamedTuple):
    """One message of a run, or a clock that fires (then `receiver` is empty)."""

    sender: str
    receiver: str
    label: str

    def __str__(self) -> str:
        return f"{self.sender} -> {self.receiver} : {self.label}" if self.receiver else f"{self.sender}: {self.label}"


class Insertion(NamedTuple):
    """A message that a repair adds to the branch of that label, once `sender` knows that it was taken."""

    branch: str
    sender: str
    receiver: str
    label: str

    def __str__(self) -> str:
        return f"{self.sender} -> {self.receiver} : {self.label}"


@dataclass(frozen=True, slots=True)
class DivergingBranch:
    """One of two branches a role cannot tell apart: the messages up to its next action, and that action in words."""

    label: str
    trace: tuple[Event, ...]
    action: str


class ProjectionError(ValueError):
    """A role has no view of the protocol. The caller's move: change the protocol, for example as `advice` says.

    `role`, `cause`; `branches` are the two it cannot tell apart; `trace` is the shortest run to where they part;
    `fix` holds the messages of the advice (empty when no small change was found); `span` is the choice in the text.
    """

    def __init__(
        self,
        *,
        role: str,
        cause: str,
        reason: str,
        branches: tuple[DivergingBranch, ...] = (),
        trace: tuple[Event, ...] = (),
        advice: str = "",
        fix: tuple[Insertion, ...] = (),
        fixed: GlobalType | None = None,
        span: Span = NO_SPAN,
        others: tuple["ProjectionError", ...] = (),
    ) -> None:
        self.role = role
        self.cause = cause
        self.reason = reason
        self.branches = branches
        self.trace = trace
        self.advice = advice
        self.fix = fix
        self.fixed = fixed
        self.span = span
        self.others = others
        super().__init__(self.explain())

    def explain(self) -> str:
        """The whole refusal as text of a few lines."""
        place = f" (line {self.span.line})" if self.span != NO_SPAN else ""
        lines = [f"cannot project {self.role}{place}: {self.reason} [{self.cause}]"]
        if self.trace:
            lines.append(f"  after        {show_run(self.trace)}")
        for branch in (one for one in self.branches if one.action):
            lines.append(
                f"  in {branch.label:<9} {show_run(branch.trace)}{'; ' if branch.trace else ''}{branch.action}"
            )
        if self.advice:
            lines.append(f"  change       {self.advice}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, JsonValue]:
        """Everything but the repaired protocol, as data."""
        branches: list[JsonValue] = [
            {"label": branch.label, "trace": [str(event) for event in branch.trace], "action": branch.action}
            for branch in self.branches
        ]
        return {
            "role": self.role,
            "cause": self.cause,
            "reason": self.reason,
            "trace": [str(event) for event in self.trace],
            "branches": branches,
            "advice": self.advice,
            "fix": [{"branch": one.branch, "message": str(one)} for one in self.fix],
            "line": self.span.line,
            "column": self.span.column,
        }


def show_run(trace: Sequence[Event]) -> str:
    """A run on one line, a long one with its middle left out."""
    shown = [str(event) for event in trace]
    if len(shown) > 12:
        shown = [*shown[:5], f"… {len(shown) - 10} messages …", *shown[-5:]]
    return ", ".join(shown)


def explain_refusals(
    root: GlobalType, refusals: Iterable[Refusal], *, mode: MergeMode = "full+", relaxed_parallel: bool = False
) -> list[ProjectionError]:
    """One error a role: the refusal that the shortest run reaches. Costs a few projections, if any was refused."""
    paths = ShortestRuns(root)
    best: dict[str, tuple[int, int, Refusal]] = {}
    for refusal in refusals:
        rank = (len(paths.to(refusal.node)), refusal.node.span.start, refusal)
        if refusal.role not in best or rank[:2] < best[refusal.role][:2]:
            best[refusal.role] = rank
    refused = frozenset(best)
    return [_explain(root, one, paths, refused, mode, relaxed_parallel) for _, _, one in best.values()]


def _explain(
    root: GlobalType,
    refusal: Refusal,
    paths: "ShortestRuns",
    refused: frozenset[str],
    mode: MergeMode,
    relaxed_parallel: bool,
) -> ProjectionError:
    node, role = refusal.node, refusal.role
    trace = paths.to(node)
    left, right = branch_name(node, refusal.left), branch_name(node, refusal.right)
    if refusal.conflict is None:
        reason, advice = _parallel_words(refusal)
        parts = tuple(DivergingBranch(name, (), "") for name in dict.fromkeys((left, right)))
        return ProjectionError(
            role=role, cause=refusal.cause, reason=reason, trace=trace, advice=advice, span=node.span, branches=parts
        )
    conflict = refusal.conflict
    branches = tuple(
        DivergingBranch(
            branch_name(node, index),
            (*_first_events(node, index), *paths.follow(successors(node)[index], role, conflict.path)),
            f"{role} {describe(view, typed=conflict.label)}",
        )
        for index, view in ((refusal.left, conflict.left), (refusal.right, conflict.right))
    )
    who = f"{node.sender}'s choice" if isinstance(node, Comm) else "the timeout"
    reason = f"{role} cannot tell branch {left} from branch {right} of {who}"
    advice, fix, fixed = _advise(root, refusal, refused, mode, relaxed_parallel)
    return ProjectionError(
        role=role,
        cause=refusal.cause,
        reason=reason,
        branches=branches,
        trace=trace,
        advice=advice,
        fix=fix,
        fixed=fixed,
        span=node.span,
    )


def branch_name(node: GlobalType, index: int) -> str:
    """What a person calls the branch of that number."""
    match node:
        case Comm(branches=branches):
            return branches[index].label
        case Timeout():
            return ("body", "on timeout", "on cancel")[index]
        case _:
            return f"branch {index + 1}"


def describe(view: LocalType, *, typed: str | None = None) -> str:
    """What a role with this view does next, in words; of the label `typed` it is told what it carries."""
    match view:
        case LocalEnd():
            return "has nothing left to do"
        case LocalSend(partner=partner):
            return f"sends {_choices(view, typed)} to {partner}"
        case LocalRecv(partner=partner):
            return f"waits for {_choices(view, typed)} from {partner}"
        case LocalVar(name=name):
            return f"goes round loop {name}"
        case LocalRec(name=name, body=body):
            return f"enters loop {name} and {describe(body)}"
        case LocalTimeout(owner=owner):
            return f"enters a part timed by {owner}"
        case LocalRepeat(count=count):
            return f"enters a loop of {count} rounds"
        case LocalAct(action=action):
            return f"performs a local {type(action).__name__.lower()}"


def _choices(view: LocalSend | LocalRecv, typed: str | None) -> str:
    return " or ".join(
        f"{branch.label} with {type_text(branch.payload) or 'no payload'}" if branch.label == typed else branch.label
        for branch in view.branches
    )


def _parallel_words(refusal: Refusal) -> tuple[str, str]:
    node, role, partner = refusal.node, refusal.role, refusal.partner
    if refusal.cause == "LoopAcrossParallel":
        return (
            "a branch of `par` or a round of a counted loop goes back to a loop outside of it",
            "let the loop be inside, or put `continue` after the part",
        )
    one, other = refusal.left + 1, refusal.right + 1
    if refusal.label is not None:
        seen = f"branches {one} and {other} of `par` exchange {refusal.label} between {role} and {partner}"
        return f"{seen}, so nobody can tell which one is meant", "give the message another name in one of the branches"
    assert isinstance(node, Parallel), "only par is refused without a conflict"
    seen = (
        f"branches {one} and {other} of `par` both begin with an exchange in one direction between {role} and {partner}"
    )
    return seen, "write the two one after the other, or let one branch begin with another role"


# --- runs ---------------------------------------------------------------------------------------------------------


def _first_events(node: GlobalType, index: int) -> tuple[Event, ...]:
    match node:
        case Comm(sender=sender, receiver=receiver, branches=branches):
            return (Event(sender, receiver, branches[index].label),)
        case Timeout(owner=owner) if index:
            return (Event(owner, "", "clock fires" if index == 1 else "cancels"),)
        case _:
            return ()


class ShortestRuns:
    """The shortest runs of one protocol; computed once, O(nodes × log nodes)."""

    def __init__(self, root: GlobalType) -> None:
        self._finish = _finishing_costs(root)
        self._before: dict[int, tuple[GlobalType, tuple[Event, ...]]] = {}
        self._search(root)

    def to(self, node: GlobalType) -> tuple[Event, ...]:
        """The messages of the shortest run from the start to a node."""
        pieces: list[tuple[Event, ...]] = []
        current = node
        while id(current) in self._before:
            current, events = self._before[id(current)]
            pieces.append(events)
        return tuple(event for events in reversed(pieces) for event in events)

    def _search(self, root: GlobalType) -> None:
        done: set[int] = set()
        best = {id(root): 0}
        queue: list[tuple[int, int, GlobalType]] = [(0, 0, root)]
        number = 0
        while queue:
            cost, _, node = heappop(queue)
            if id(node) in done:
                continue
            done.add(id(node))
            for after, events in self._edges(node):
                total = cost + len(events)
                if total < best.get(id(after), total + 1):
                    best[id(after)] = total
                    self._before[id(after)] = (node, events)
                    number += 1
                    heappush(queue, (total, number, after))

    def _edges(self, node: GlobalType) -> Iterator[tuple[GlobalType, tuple[Event, ...]]]:
        match node:
            case Parallel(branches=branches, continuation=after):
                yield from ((branch, ()) for branch in branches)
                yield after, tuple(event for branch in branches for event in self._to_end(branch))
            case Repeat(body=body, continuation=after):
                yield body, ()
                yield after, self._to_end(body)
            case _:
                yield from ((after, _first_events(node, index)) for index, after in enumerate(successors(node)))

    def _to_end(self, node: GlobalType) -> tuple[Event, ...]:
        """The shortest way to the end of a part; empty when it has none."""
        events: list[Event] = []
        while not isinstance(node, End):
            if self._finish[id(node)] == _NEVER:
                return ()
            ways = [
                (self._finish[id(after)] + len(found), number, after, found)
                for number, (after, found) in enumerate(self._edges(node))
            ]
            if isinstance(node, Parallel | Repeat):
                _, _, node, found = ways[-1]
            else:
                _, _, node, found = min(ways)
            events += found
        return tuple(events)

    def follow(self, start: GlobalType, role: str, steps: Sequence[Step]) -> tuple[Event, ...]:
        """The shortest run from `start` in which the role takes these steps and is about to act again, or is done."""
        queue: list[tuple[int, int, int, GlobalType, tuple[Event, ...]]] = [(0, 0, 0, start, ())]
        seen: set[tuple[int, int]] = set()
        number = 0
        while queue:
            cost, _, taken, node, events = heappop(queue)
            if (id(node), taken) in seen:
                continue
            seen.add((id(node), taken))
            ways = list(self._edges(node))
            is_role = isinstance(node, Comm) and role in (node.sender, node.receiver)
            if taken == len(steps) and (is_role or not ways):
                return events
            for index, (after, found) in enumerate(ways):
                if is_role and branch_name(node, index) != steps[taken].label:
                    continue
                number += 1
                heappush(queue, (cost + len(found), number, taken + is_role, after, events + found))
        return ()


# More than any protocol has messages.
_NEVER = 10**9


def _finishing_costs(root: GlobalType) -> dict[int, int]:
    costs: dict[int, int] = {}
    for node in children_first(root):
        below = [costs[id(after)] for after in successors(node)]
        match node:
            case End():
                cost = 0
            case Parallel() | Repeat():
                cost = sum(below)
            case Comm():
                cost = 1 + min(below)
            case _:
                cost = min(below, default=_NEVER)
        costs[id(node)] = min(cost, _NEVER)
    return costs


# --- repairs ------------------------------------------------------------------------------------------------------


def _advise(
    root: GlobalType, refusal: Refusal, refused: frozenset[str], mode: MergeMode, relaxed_parallel: bool
) -> tuple[str, tuple[Insertion, ...], GlobalType | None]:
    node, role = refusal.node, refusal.role
    if not isinstance(node, Comm):
        return f"let {role} do the same in both parts, or tell it with a message which one was taken", (), None
    if refusal.cause == "PayloadAnnotationMismatch" and refusal.conflict is not None:
        label = refusal.conflict.label
        return f"let {label} carry the same in both branches, or give it another name in one of them", (), None
    is_small = len(children_first(root)) * len(participants(root)) <= TRIED_SIZE_MAX
    for fix in _candidates(node, refusal, root, mode):
        fixed = insert_messages(root, node, fix)
        if not is_small or _is_repaired(fixed, role, refused, mode, relaxed_parallel):
            return _repair_words(role, fix) + _other_way(refusal), fix, fixed
    told = f"tell {role} which branch was taken before it has to act"
    return (
        f"{told}, or let it do the same in {branch_name(node, refusal.left)} and {branch_name(node, refusal.right)}",
        (),
        None,
    )


def _other_way(refusal: Refusal) -> str:
    if refusal.cause in ("SendLabelMismatch", "SendBranchCountMismatch"):
        return f"; or let {refusal.role} send the same in both"
    return ""


def _repair_words(role: str, fix: tuple[Insertion, ...]) -> str:
    senders = {one.sender for one in fix}
    messages = "; ".join(f"`{one}` in branch {one.branch}" for one in fix)
    who = f"let {', '.join(sorted(senders))}, who knows, send {role} a message"
    if len(fix) == 1:
        return f"{who} in branch {fix[0].branch}: `{fix[0]}`"
    return f"{who} in each branch: {messages}"


def _candidates(node: Comm, refusal: Refusal, root: GlobalType, mode: MergeMode) -> Iterator[tuple[Insertion, ...]]:
    """Repairs to try, fewest messages first."""
    role = refusal.role
    projector = Projector(root, mode=mode)
    views = [projector.view_of(role, branch.continuation) for branch in node.branches]
    heads = [view.body if isinstance(view, LocalRec) else view for view in views]
    informers = [head.partner for head in heads if isinstance(head, LocalRecv)]
    for informer in dict.fromkeys([*informers, node.receiver, node.sender]):
        silent = [
            index for index, head in enumerate(heads) if not (isinstance(head, LocalRecv) and head.partner == informer)
        ]
        if informer != role and 0 < len(silent) < len(node.branches):
            yield tuple(_insertion(node, index, informer, role, heads) for index in silent)
    for informer in (node.receiver, node.sender):
        yield tuple(_insertion(node, index, informer, role, heads) for index in range(len(node.branches)))


def _insertion(node: Comm, index: int, sender: str, receiver: str, heads: Sequence[LocalType | None]) -> Insertion:
    taken = {branch.label for head in heads if isinstance(head, LocalRecv) for branch in head.branches}
    name = node.branches[index].label
    label = name[:1].upper() + name[1:]
    while label in taken:
        label += "Told"
    return Insertion(name, sender, receiver, label)


def _is_repaired(
    fixed: GlobalType, role: str, refused: frozenset[str], mode: MergeMode, relaxed_parallel: bool
) -> bool:
    projector = Projector(fixed, mode=mode, relaxed_parallel=relaxed_parallel)
    if projector.project(role) is None:
        return False
    return all(projector.project(other) is not None for other in participants(fixed) if other not in refused)


def insert_messages(root: GlobalType, choice: Comm, fix: Sequence[Insertion]) -> GlobalType:
    """The protocol with each message added to its branch of `choice`, right after its sender first takes part there."""
    added = {one.branch: one for one in fix}
    branches = tuple(
        branch
        if branch.label not in added
        else replace(branch, continuation=_inserted(choice, branch.continuation, added[branch.label]))
        for branch in choice.branches
    )
    changed = Comm(choice.sender, choice.receiver, branches, span=choice.span)
    done: dict[int, GlobalType] = {}
    for node in children_first(root):
        if node is choice:
            done[id(node)] = changed
        else:
            done[id(node)] = replace_successors(node, tuple(done[id(after)] for after in successors(node)))
    return done[id(root)]


def _inserted(choice: Comm, start: GlobalType, added: Insertion) -> GlobalType:
    """Down the straight part of a branch to where the sender knows, and the message there."""
    passed: list[GlobalType] = []
    node = start
    knows = added.sender in (choice.sender, choice.receiver)
    while not knows:
        after = successors(node)
        if not isinstance(node, Comm | Local | Custom) or len(after) != 1:
            break
        knows = isinstance(node, Comm) and added.sender in (node.sender, node.receiver)
        passed.append(node)
        node = after[0]
    result: GlobalType = Comm(added.sender, added.receiver, (Branch(added.label, None, node),))
    for one in reversed(passed):
        result = replace_successors(one, (result,))
    return result

"""Subtyping: which local type may stand where another is asked for.

Coinductive, over state machines: a loop and its unfolding are the same. Compares exchanges only, not guards,
annotations or local actions. `is_async_subtype` answers less than could be known, never more.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from .fsm import State, StateMachine, build_machine
from .local import (
    LocalBranch,
    LocalBuilder,
    LocalEnd,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    local_children_first,
    local_size,
    without_actions,
)
from .merge import Step

# process: a program of the subtype may run where one of the supertype is asked for – it may send fewer labels and
# accept more. channel: the mirror image, the order of the channel's other end.
SubtypeView: TypeAlias = Literal["process", "channel"]

MismatchCause: TypeAlias = Literal[
    "PartnerMismatch",
    "DirectionMismatch",
    "MissingLabel",
    "ExtraLabel",
    "PayloadAnnotationMismatch",
    "IncompatibleTypes",
]


@dataclass(frozen=True, slots=True)
class SubtypeMismatch:
    """Why one type is no subtype of another: what differs after the exchanges of `path`, which is a shortest one."""

    cause: MismatchCause
    path: tuple[Step, ...]
    message: str

    def __str__(self) -> str:
        run = ", ".join(f"{'!' if step.direction == 'send' else '?'}{step.partner} {step.label}" for step in self.path)
        return f"{self.cause}: {self.message}{f' after {run}' if run else ''}"


def is_subtype(sub: LocalType, sup: LocalType, *, view: SubtypeView = "process") -> bool:
    """Whether `sub` may be used where `sup` is asked for. O(pairs of states).

    Example: as a process, `!B{a: end}` is a subtype of `!B{a: end, b: end}`: it never sends b, which is allowed.
    """
    return subtype_mismatch(sub, sup, view=view) is None


def subtype_mismatch(sub: LocalType, sup: LocalType, *, view: SubtypeView = "process") -> SubtypeMismatch | None:
    """Why `sub` is no subtype of `sup`; None when it is one."""
    machines = build_machine("sub", without_actions(sub)), build_machine("sup", without_actions(sup))
    paths: dict[tuple[int, int], tuple[Step, ...]] = {(0, 0): ()}
    waiting = deque([(0, 0)])
    while waiting:
        pair = waiting.popleft()
        found = _compare(machines, pair, view)
        if isinstance(found, _Difference):
            return SubtypeMismatch(found.cause, paths[pair], found.message)
        for step, following in found:
            if following not in paths:
                paths[following] = paths[pair] if step is None else (*paths[pair], step)
                waiting.append(following)
    return None


class _Difference(NamedTuple):
    """What is wrong with one pair of states."""

    cause: MismatchCause
    message: str


_Following: TypeAlias = list[tuple[Step | None, tuple[int, int]]]


def _compare(
    machines: tuple[StateMachine, StateMachine], pair: tuple[int, int], view: SubtypeView
) -> _Difference | _Following:
    one, other = machines[0].states[pair[0]], machines[1].states[pair[1]]
    if one.kind != other.kind:
        if {one.kind, other.kind} == {"send", "recv"}:
            return _Difference("DirectionMismatch", f"one can {one.kind}, the other {other.kind}")
        return _Difference("IncompatibleTypes", f"one is at {_named(one)}, the other at {_named(other)}")
    if one.kind == "timeout":
        return _compare_timeouts(one, other)
    if one.partner != other.partner:
        return _Difference("PartnerMismatch", f"one is with {one.partner}, the other with {other.partner}")
    return _compare_labels(one, other, view)


def _named(state: State) -> str:
    return {"final": "its end", "timeout": "a timeout"}.get(state.kind, f"a {state.kind} with {state.partner}")


def _compare_timeouts(one: State, other: State) -> _Difference | _Following:
    kinds = [way.kind for way in one.transitions]
    if (one.owner, one.milliseconds, kinds) != (
        other.owner,
        other.milliseconds,
        [way.kind for way in other.transitions],
    ):
        return _Difference("IncompatibleTypes", "the timeouts have different clocks or parts")
    return [(None, (a.target, b.target)) for a, b in zip(one.transitions, other.transitions, strict=True)]


def _compare_labels(one: State, other: State, view: SubtypeView) -> _Difference | _Following:
    here = {way.label: way for way in one.transitions}
    there = {way.label: way for way in other.transitions}
    # Who may have more labels: a sending channel and a receiving process.
    may_have_more = (one.kind == "send") == (view == "channel")
    missing = sorted(there.keys() - here.keys())
    extra = sorted(here.keys() - there.keys())
    if may_have_more and missing:
        return _Difference("MissingLabel", f"{', '.join(missing)} is not offered")
    if not may_have_more and extra:
        return _Difference("ExtraLabel", f"{', '.join(extra)} is not asked for")
    following: _Following = []
    for label in (label for label in here if label in there):
        if here[label].payload != there[label].payload:
            return _Difference("PayloadAnnotationMismatch", f"{label} carries another type")
        following.append((here[label].step, (here[label].target, there[label].target)))
    return following


# --- asynchronous -------------------------------------------------------------------------------------------------

# How often one loop may be opened while looking for a send behind receives.
UNFOLDINGS_MAX = 64

Answer: TypeAlias = Literal["yes", "no", "unknown"]


def is_async_subtype(sub: LocalType, sup: LocalType) -> Answer:
    """Whether a process `sub` may run where `sup` is asked for when sends may be made before receives that stand first.

    A send of `sub` may be anticipated over single-label receives of `sup`. "no" is sure; "unknown" counts as no: a loop
    too long, a receive with several labels in the way, exchanges with different roles in another order.
    """
    if is_subtype(sub, sup):
        return "yes"
    builder = LocalBuilder()
    return _async(builder, builder.adopt(without_actions(sub)), builder.adopt(without_actions(sup)))


def _async(builder: LocalBuilder, sub: LocalType, sup: LocalType) -> Answer:
    seen: set[tuple[int, int]] = set()
    waiting = [(sub, sup)]
    opened = 0
    answer: Answer = "yes"
    while waiting:
        one, other = waiting.pop()
        while isinstance(one, LocalRec | LocalRepeat):
            one = builder.unfold(one)
        while isinstance(other, LocalRec | LocalRepeat):
            other = builder.unfold(other)
        if (id(one), id(other)) in seen:
            continue
        seen.add((id(one), id(other)))
        opened += 1
        # Sends anticipated in a loop leave ever more receives behind: there is no telling when to stop.
        if opened > UNFOLDINGS_MAX * (1 + local_size(sub) + local_size(sup)):
            return "unknown"
        found = _async_pair(builder, one, other)
        if found == "no":
            return "no"
        if isinstance(found, str):
            answer = "unknown"
        else:
            waiting.extend(found)
    return answer


_Pairs: TypeAlias = list[tuple[LocalType, LocalType]]


def _async_pair(builder: LocalBuilder, one: LocalType, other: LocalType) -> _Pairs | Literal["no", "unknown"]:
    """What has to hold after one step of two opened types; or that nothing can make them fit, or nobody knows."""
    match one, other:
        case LocalEnd(), LocalEnd():
            return []
        case LocalSend(), LocalSend() if one.partner == other.partner:
            return _paired(one.branches, other.branches) or "no"
        case LocalRecv(), LocalRecv() if one.partner == other.partner:
            found = _paired(other.branches, one.branches)
            return "no" if found is None else [(there, here) for here, there in found]
        case (LocalSend() as one, LocalSend() as other) | (LocalRecv() as one, LocalRecv() as other):
            return "unknown" if _comes_to(one, other) and _comes_to(other, one) else "no"
        case LocalSend(), LocalRecv():
            return _anticipated(builder, one, other, UNFOLDINGS_MAX) if _comes_to(one, other) else "no"
        case (LocalTimeout(), _) | (_, LocalTimeout()):
            return "unknown"
        case _:
            return "no"


def _comes_to(wanted: LocalSend | LocalRecv, root: LocalType) -> bool:
    """Whether a type has an exchange in the direction of another, with the same partner, anywhere."""
    return any(type(node) is type(wanted) and node.partner == wanted.partner for node in _exchanges(root))


def _exchanges(root: LocalType) -> Iterator[LocalSend | LocalRecv]:
    return (node for node in local_children_first(root) if isinstance(node, LocalSend | LocalRecv))


def _paired(fewer: tuple[LocalBranch, ...], more: tuple[LocalBranch, ...]) -> _Pairs | None:
    there = {branch.label: branch for branch in more}
    found: _Pairs = []
    for branch in fewer:
        other = there.get(branch.label)
        if other is None or other.payload != branch.payload:
            return None
        found.append((branch.continuation, other.continuation))
    return found


def _anticipated(
    builder: LocalBuilder, send: LocalSend, sup: LocalType, budget: int
) -> _Pairs | Literal["no", "unknown"]:
    """The send of `sub` found behind receives of `sup`; what is left of `sup` keeps those receives in front."""
    skipped: list[LocalRecv] = []
    node = sup
    while not isinstance(node, LocalSend):
        if isinstance(node, LocalRec | LocalRepeat):
            budget -= 1
            if budget == 0:
                return "unknown"
            node = builder.unfold(node)
        elif isinstance(node, LocalRecv):
            if len(node.branches) != 1:
                return "unknown"
            skipped.append(node)
            node = node.branches[0].continuation
        else:
            return "unknown" if isinstance(node, LocalTimeout) else "no"
    if node.partner != send.partner:
        return "unknown"
    found = _paired(send.branches, node.branches)
    if found is None:
        return "no"
    kept: _Pairs = []
    for here, there in found:
        rest = there
        for receive in reversed(skipped):
            rest = builder.recv(receive.partner, (receive.branches[0].leading_to(rest),))
        kept.append((here, rest))
    return kept

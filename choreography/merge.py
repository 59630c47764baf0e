"""Merging: what a role does when it cannot know which branch was taken.

Two views may be merged when acting on the merged one is right in either branch: receives are united, sends must be the
same. Decides nothing about loops that a role has not entered; that is `project.py`'s loop-head absorption.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from .annotations import FLOW_COST_DEFAULT, MessageAnnotations
from .deep import Deep, run_deep
from .local import (
    LocalAct,
    LocalBranch,
    LocalBuilder,
    LocalEnd,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
    fresh_name,
    is_equivalent,
)

# `full+` is full merge and loop-head absorption (the default), `full` is without absorption, `plain` wants all equal.
MergeMode: TypeAlias = Literal["plain", "full", "full+"]

ConflictCause: TypeAlias = Literal[
    "BranchesDiffer",
    "EndMismatch",
    "PartnerMismatch",
    "DirectionMismatch",
    "SendLabelMismatch",
    "SendBranchCountMismatch",
    "PayloadAnnotationMismatch",
    "VariableMismatch",
    "LocalActionMismatch",
    "IncompatibleTypes",
]


class Step(NamedTuple):
    """One exchange seen by one role."""

    direction: Literal["send", "recv"]
    partner: str
    label: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why two views cannot be merged: after `path`, common to both, one goes on as `left` and the other as `right`."""

    cause: ConflictCause
    path: tuple[Step, ...]
    left: LocalType
    right: LocalType
    label: str | None = None


class _Unmergeable(Exception):
    """Carries a conflict out of a deep merge."""

    def __init__(self, conflict: Conflict) -> None:
        self.conflict = conflict
        super().__init__(conflict.cause)


class _Path(NamedTuple):
    """The exchanges that lead to a place, newest first."""

    before: "_Path | None"
    step: Step


class Merger:
    """Merges the views one builder made; every pair is merged once, so shared parts cost nothing again."""

    def __init__(self, builder: LocalBuilder, mode: MergeMode = "full+") -> None:
        self._builder = builder
        self._mode = mode
        self._merged: dict[tuple[int, int], LocalType] = {}

    def merge(self, left: LocalType, right: LocalType) -> LocalType | Conflict:
        """The view that is right in both branches, or why there is none. Costs O(nodes) of the smaller, once a pair."""
        if left is right:
            return left
        if self._mode == "plain":
            return left if is_equivalent(left, right) else self._plain_conflict(left, right)
        try:
            return run_deep(self._merge(left, right, None))
        except _Unmergeable as found:
            return found.conflict

    def _plain_conflict(self, left: LocalType, right: LocalType) -> Conflict:
        # The full merge knows better where two views part; where it finds nothing, they part at once.
        try:
            run_deep(self._merge(left, right, None))
        except _Unmergeable as found:
            return found.conflict
        return Conflict("BranchesDiffer", (), left, right)

    def _merge(self, left: LocalType, right: LocalType, path: _Path | None) -> Deep[LocalType]:
        if left is right:
            return left
        key = (id(left), id(right))
        known = self._merged.get(key)
        if known is None:
            merged: LocalType = yield self._rule(left, right, path)
            known = self._merged[key] = merged
        return known

    def _rule(self, left: LocalType, right: LocalType, path: _Path | None) -> Deep[LocalType]:
        builder = self._builder
        if isinstance(left, LocalSend | LocalRecv) and isinstance(right, LocalSend | LocalRecv):
            if type(left) is not type(right):
                raise _refusal("DirectionMismatch", left, right, path)
            if left.partner != right.partner:
                raise _refusal("PartnerMismatch", left, right, path)
            exchanged: LocalType = yield self._exchange(left, right, path)
            return exchanged
        match left, right:
            case LocalRec(), LocalRec():
                name, body, other = self._same_name(left, right)
                return builder.rec(name, (yield self._merge(body, other, path)))
            case LocalVar(name=name), LocalVar(name=other_name):
                if name != other_name:
                    raise _refusal("VariableMismatch", left, right, path)
                return left
            case LocalAct(), LocalAct():
                if left.action != right.action:
                    raise _refusal("LocalActionMismatch", left, right, path)
                return builder.act(left.action, (yield self._merge(left.continuation, right.continuation, path)))
            case LocalTimeout(), LocalTimeout():
                timed: LocalType = yield self._timeout(left, right, path)
                return timed
            case LocalRepeat(), LocalRepeat() if left.count == right.count:
                body = yield self._merge(left.body, right.body, path)
                return builder.repeat(
                    left.count, body, (yield self._merge(left.continuation, right.continuation, path))
                )
            case (LocalEnd(), _) | (_, LocalEnd()):
                raise _refusal("EndMismatch", left, right, path)
            case (LocalAct(), _) | (_, LocalAct()):
                raise _refusal("LocalActionMismatch", left, right, path)
            case _:
                raise _refusal("IncompatibleTypes", left, right, path)

    def _same_name(self, left: LocalRec, right: LocalRec) -> tuple[str, LocalType, LocalType]:
        """Both bodies speaking of their loop by one name that means nothing else in either."""
        builder = self._builder
        if left.name == right.name:
            return left.name, left.body, right.body
        outside = (builder.free_in(left.body) - {left.name}) | (builder.free_in(right.body) - {right.name})
        name = left.name if left.name not in outside else fresh_name(left.name, outside)
        variable = builder.var(name)
        body = left.body if name == left.name else builder.substitute(left.body, left.name, variable)
        return name, body, builder.substitute(right.body, right.name, variable)

    def _exchange(
        self, left: LocalSend | LocalRecv, right: LocalSend | LocalRecv, path: _Path | None
    ) -> Deep[LocalType]:
        is_send = isinstance(left, LocalSend)
        there = {branch.label: branch for branch in right.branches}
        if is_send and there.keys() != {branch.label for branch in left.branches}:
            same_count = len(left.branches) == len(right.branches)
            raise _refusal("SendLabelMismatch" if same_count else "SendBranchCountMismatch", left, right, path)
        merged: list[LocalBranch] = []
        for branch in left.branches:
            other = there.pop(branch.label, None)
            if other is None:
                merged.append(branch)
                continue
            if branch.payload != other.payload:
                raise _refusal("PayloadAnnotationMismatch", left, right, path, branch.label)
            if branch.before != other.before:
                raise _refusal("LocalActionMismatch", left, right, path, branch.label)
            step = Step("send" if is_send else "recv", left.partner, branch.label)
            after = yield self._merge(branch.continuation, other.continuation, _Path(path, step))
            merged.append(_combined(branch, other).leading_to(after) if is_send else branch.leading_to(after))
        if is_send:
            return self._builder.send(left.partner, tuple(merged))
        united = sorted([*merged, *there.values()], key=lambda branch: branch.label)
        return self._builder.recv(left.partner, tuple(united))

    def _timeout(self, left: LocalTimeout, right: LocalTimeout, path: _Path | None) -> Deep[LocalType]:
        is_same_clock = (left.owner, left.milliseconds) == (right.owner, right.milliseconds)
        if not is_same_clock or (left.on_cancel is None) != (right.on_cancel is None):
            raise _refusal("IncompatibleTypes", left, right, path)
        body = yield self._merge(left.body, right.body, path)
        late = yield self._merge(left.on_timeout, right.on_timeout, path)
        cancelled = None
        if left.on_cancel is not None and right.on_cancel is not None:
            cancelled = yield self._merge(left.on_cancel, right.on_cancel, path)
        tail = left.tail if left.tail is right.tail else None
        roles = tuple(dict.fromkeys(left.participants + right.participants))
        joined = replace(left, body=body, on_timeout=late, on_cancel=cancelled, participants=roles, tail=tail)
        return self._builder.timeout(joined)


def _refusal(
    cause: ConflictCause, left: LocalType, right: LocalType, path: _Path | None, label: str | None = None
) -> _Unmergeable:
    steps: list[Step] = []
    while path is not None:
        steps.append(path.step)
        path = path.before
    return _Unmergeable(Conflict(cause, tuple(reversed(steps)), left, right, label))


def _combined(left: LocalBranch, right: LocalBranch) -> LocalBranch:
    """One send that stands for two: whatever either demanded is demanded, the higher cost is charged."""
    one, other = left.annotations, right.annotations
    if one is other or one == other:
        return left
    if one is None or other is None:
        return replace(left, annotations=one or other)
    # A guarded message whose cost is not written pays the default.
    costs = [FLOW_COST_DEFAULT if cost is None else cost for cost in (one.flow_cost, other.flow_cost)]
    waits = [wait for wait in (one.runtime_timeout_ms, other.runtime_timeout_ms) if wait is not None]
    joined = MessageAnnotations(
        guard_capabilities=tuple(dict.fromkeys(one.guard_capabilities + other.guard_capabilities)),
        flow_cost=max(costs),
        journal_facts=tuple(dict.fromkeys(one.journal_facts + other.journal_facts)),
        journal_merge=one.journal_merge or other.journal_merge,
        audit_log=tuple(dict.fromkeys(one.audit_log + other.audit_log)),
        leaks=tuple(dict.fromkeys(one.leaks + other.leaks)),
        leakage_budget=one.leakage_budget or other.leakage_budget,
        links=tuple(dict.fromkeys(one.links + other.links)),
        runtime_timeout_ms=min(waits, default=None),
        other=tuple(dict.fromkeys(one.other + other.other)),
    )
    return replace(left, annotations=joined)


def merge_local(left: LocalType, right: LocalType, *, mode: MergeMode = "full+") -> LocalType | Conflict:
    """The merge of two local types from anywhere: the view that is right in both branches, or why there is none.

    Example: `?p{a: end}` and `?p{b: end}` merge to `?p{a: end, b: end}`; `!p{a: end}` and `!p{b: end}` do not.
    """
    builder = LocalBuilder()
    return Merger(builder, mode).merge(builder.adopt(left), builder.adopt(right))

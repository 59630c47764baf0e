"""Deferred operations: how many must approve, who has, and whether it is decided.

A value that only rules change; who may vote, and how votes travel, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from .errors import LocalViolation


class Decision(Enum):
    """What an approver said; an abstention is an answer that approves nothing."""

    APPROVE = "approve"
    REJECT = "reject"
    ABSTAIN = "abstain"


@dataclass(frozen=True, slots=True)
class ApprovalThreshold:
    """How many of the approvers must approve. Built by ``any_one``, ``unanimous``, ``of`` or ``percentage``.

    >>> ApprovalThreshold.percentage(50).required_of(5), ApprovalThreshold.unanimous().required_of(3)
    (3, 3)
    """

    count: int | None = None
    percent: int | None = None

    @classmethod
    def any_one(cls) -> ApprovalThreshold:
        """One is enough."""
        return cls(count=1)

    @classmethod
    def unanimous(cls) -> ApprovalThreshold:
        """All of them."""
        return cls(percent=100)

    @classmethod
    def of(cls, required: int) -> ApprovalThreshold:
        """*required* of them, which may be more than there are: then it is never met."""
        if required < 1:
            raise LocalViolation(f"a threshold of {required} would be met by nobody; expected 1 or more")
        return cls(count=required)

    @classmethod
    def percentage(cls, percent: int) -> ApprovalThreshold:
        """That part of them, rounded up."""
        if not 1 <= percent <= 100:
            raise LocalViolation(f"a percentage of {percent}; expected 1..100")
        return cls(percent=percent)

    def required_of(self, total: int) -> int | None:
        """How many approvals among *total* approvers; None when it can never be met (there are too few)."""
        if self.count is not None:
            return self.count if self.count <= total else None
        assert self.percent is not None, "a threshold counts or weighs"
        return -(-total * self.percent // 100) if total else None


class ProposalState(Enum):
    """Where a proposal stands; all but ``PENDING`` are final."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Proposal:
    """One deferred operation: who may decide it, by which threshold, and what they said so far.

    Immutable: ``decide`` and the others return the next value, or the same one when it is decided already.

    >>> proposal = Proposal("p", ("ada", "ben", "eve"), ApprovalThreshold.of(2))
    >>> proposal.decide("ada", Decision.REJECT).decide("ben", Decision.REJECT).is_rejection_certain
    True
    """

    proposal_id: str
    approvers: tuple[str, ...]
    threshold: ApprovalThreshold
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    state: ProposalState = ProposalState.PENDING
    reason: str | None = None
    decided_by: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.approvers)) != len(self.approvers):
            raise LocalViolation(f"proposal {self.proposal_id}: an approver is named twice in {self.approvers}")
        object.__setattr__(self, "decisions", MappingProxyType(dict(self.decisions)))

    @property
    def approval_count(self) -> int:
        """How many approve at present."""
        return sum(decision is Decision.APPROVE for decision in self.decisions.values())

    @property
    def required(self) -> int | None:
        """How many must approve; None when that cannot happen."""
        return self.threshold.required_of(len(self.approvers))

    @property
    def is_approved(self) -> bool:
        """Whether enough approve."""
        return self.required is not None and self.approval_count >= self.required

    @property
    def is_rejection_certain(self) -> bool:
        """Whether the approvers who have not answered are too few to reach the threshold."""
        open_count = len(self.approvers) - len(self.decisions)
        return self.required is None or self.approval_count + open_count < self.required

    def decide(self, approver: str, decision: Decision, *, reason: str | None = None) -> Proposal:
        """Take one decision; a later one of the same approver replaces the earlier while it is pending."""
        if approver not in self.approvers:
            raise LocalViolation(f"{approver} has no say in proposal {self.proposal_id}; approvers: {self.approvers}")
        if self.state is not ProposalState.PENDING:
            return self
        told = self._with(decisions={**self.decisions, approver: decision})
        if told.is_approved:
            return told._with(state=ProposalState.APPROVED, decided_by=approver)
        if told.is_rejection_certain:
            return told._with(state=ProposalState.REJECTED, reason=reason, decided_by=approver)
        return told

    def decide_all(self, decisions: Iterable[tuple[str, Decision]]) -> Proposal:
        """Take several decisions, one after the other."""
        proposal = self
        for approver, decision in decisions:
            proposal = proposal.decide(approver, decision)
        return proposal

    def expire(self) -> Proposal:
        """Nobody decided in time."""
        return self._end(ProposalState.EXPIRED)

    def supersede(self, *, by: str) -> Proposal:
        """Proposal *by* takes its place."""
        return self._end(ProposalState.SUPERSEDED, by)

    def _end(self, state: ProposalState, by: str | None = None) -> Proposal:
        return self._with(state=state, decided_by=by) if self.state is ProposalState.PENDING else self

    def _with(
        self,
        *,
        decisions: Mapping[str, Decision] | None = None,
        state: ProposalState | None = None,
        reason: str | None = None,
        decided_by: str | None = None,
    ) -> Proposal:
        return Proposal(
            self.proposal_id,
            self.approvers,
            self.threshold,
            self.decisions if decisions is None else decisions,
            state or self.state,
            reason or self.reason,
            decided_by or self.decided_by,
        )

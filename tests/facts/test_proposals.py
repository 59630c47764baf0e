"""Deferred proposals: thresholds, progress, and when the end is certain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import ApprovalThreshold, Decision, LocalViolation, Proposal, ProposalState

FIVE = ("ada", "ben", "eve", "fay", "gus")
APPROVE, REJECT, ABSTAIN = Decision.APPROVE, Decision.REJECT, Decision.ABSTAIN


@pytest.mark.parametrize(
    ("threshold", "total", "required"),
    [
        (ApprovalThreshold.any_one(), 5, 1),
        (ApprovalThreshold.any_one(), 0, None),
        (ApprovalThreshold.unanimous(), 5, 5),
        (ApprovalThreshold.of(2), 5, 2),
        (ApprovalThreshold.of(6), 5, None),
        (ApprovalThreshold.percentage(50), 5, 3),
        (ApprovalThreshold.percentage(50), 0, None),
        (ApprovalThreshold.percentage(1), 5, 1),
    ],
)
def test_a_threshold_rounds_up_and_is_never_met_by_nobody(
    threshold: ApprovalThreshold, total: int, required: int | None
) -> None:
    assert threshold.required_of(total) == required


@pytest.mark.parametrize("bad", [lambda: ApprovalThreshold.of(0), lambda: ApprovalThreshold.percentage(101)])
def test_a_threshold_that_means_nothing_is_refused(bad: object) -> None:
    with pytest.raises(LocalViolation):
        bad()  # type: ignore[operator]


def test_half_of_five_needs_three_and_three_refusals_end_it() -> None:
    proposal = Proposal("p", FIVE, ApprovalThreshold.percentage(50))
    approved = proposal.decide_all([("ada", APPROVE), ("ben", ABSTAIN), ("eve", APPROVE)])
    assert (approved.state, approved.is_rejection_certain) == (ProposalState.PENDING, False)
    assert approved.decide("fay", APPROVE).state is ProposalState.APPROVED
    refused = proposal.decide_all([("ada", REJECT), ("ben", ABSTAIN)]).decide("eve", REJECT, reason="too dear")
    assert (refused.state, refused.reason, refused.decided_by) == (ProposalState.REJECTED, "too dear", "eve")


def test_a_later_decision_replaces_the_earlier_of_the_same_approver() -> None:
    proposal = Proposal("p", FIVE, ApprovalThreshold.of(2)).decide_all([("ada", REJECT), ("ada", APPROVE)])
    assert (proposal.approval_count, len(proposal.decisions)) == (1, 1)


@given(st.lists(st.tuples(st.sampled_from(FIVE), st.sampled_from(Decision)), max_size=12))
def test_a_decided_proposal_changes_no_more(decisions: list[tuple[str, Decision]]) -> None:
    proposal = Proposal("p", FIVE, ApprovalThreshold.of(3))
    for approver, decision in decisions:
        following = proposal.decide(approver, decision)
        assert proposal.state is ProposalState.PENDING or following is proposal
        proposal = following
    ended = proposal.expire().supersede(by="q")
    expected = ProposalState.EXPIRED if proposal.state is ProposalState.PENDING else proposal.state
    assert ended.state is expected


def test_a_stranger_has_no_say_and_nobody_two() -> None:
    with pytest.raises(LocalViolation, match="zoe"):
        Proposal("p", FIVE, ApprovalThreshold.any_one()).decide("zoe", APPROVE)
    with pytest.raises(LocalViolation, match="twice"):
        Proposal("p", ("ada", "ada"), ApprovalThreshold.any_one())
    assert Proposal("p", FIVE, ApprovalThreshold.any_one()).supersede(by="q").decided_by == "q"

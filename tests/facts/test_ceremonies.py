"""The status of a ceremony is a function of the set of its facts: every order, one answer."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import (
    CeremonyPhase,
    Fact,
    InvitationCeremonyAborted,
    InvitationCeremonyAcceptanceReceived,
    InvitationCeremonyCommitted,
    InvitationCeremonyInitiated,
    InvitationCeremonySuperseded,
    LocalViolation,
    ceremony_id_for,
    ceremony_id_of,
    ceremony_status,
    ceremony_statuses,
)
from antiphon.testing.strategies import ceremony_fact_parts, chat_facts

BEGUN = InvitationCeremonyInitiated(ceremony_id="c", sender_id="ada", required=2, pending_epoch=4, timestamp_ms=1)
BY_BEN = InvitationCeremonyAcceptanceReceived(ceremony_id="c", acceptor_id="ben", timestamp_ms=2)
BY_EVE = InvitationCeremonyAcceptanceReceived(ceremony_id="c", acceptor_id="eve", timestamp_ms=3)
DONE = InvitationCeremonyCommitted(
    ceremony_id="c", actor_id="ada", relationship_id="rel-" + "0f" * 8, consensus_id="k", timestamp_ms=4
)
ABORTED = InvitationCeremonyAborted(ceremony_id="c", actor_id="ben", reason="late", timestamp_ms=5)
REPLACED = InvitationCeremonySuperseded(
    superseded_ceremony_id="c", superseding_ceremony_id="d", actor_id="ada", reason="newer_request", timestamp_ms=6
)


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        ([], CeremonyPhase.PREPARING),
        ([BEGUN.model_copy(update={"pending_epoch": None})], CeremonyPhase.PREPARING),
        ([BEGUN], CeremonyPhase.PENDING_EPOCH),
        ([BEGUN, BY_BEN, BY_BEN], CeremonyPhase.PENDING_EPOCH),
        ([BEGUN, BY_BEN, BY_EVE], CeremonyPhase.COMMITTING),
        ([BEGUN, BY_BEN, BY_EVE, ABORTED], CeremonyPhase.ABORTED),
        ([BEGUN, ABORTED, ABORTED.model_copy(update={"reason": "rain"})], CeremonyPhase.ABORTED),
        ([DONE.model_copy(update={"consensus_id": "j"}), DONE, BEGUN], CeremonyPhase.COMMITTED),
        ([BEGUN, BEGUN.model_copy(update={"required": 3}), BY_BEN, BY_EVE, ABORTED], CeremonyPhase.ABORTED),
        ([BEGUN, ABORTED, REPLACED], CeremonyPhase.SUPERSEDED),
        ([BEGUN, BY_BEN, DONE, ABORTED, REPLACED], CeremonyPhase.COMMITTED),
    ],
)
def test_every_order_gives_one_status_and_the_highest_phase_wins(facts: list[Fact], phase: CeremonyPhase) -> None:
    expected = ceremony_status(facts, ceremony_id="c")
    assert expected.phase is phase
    for order in permutations(facts):
        assert ceremony_status(order, ceremony_id="c") == expected


def test_a_status_tells_what_its_facts_said() -> None:
    status = ceremony_status([REPLACED, BY_EVE, DONE, BEGUN, BY_BEN])
    assert (status.received, status.accepted_by, status.required, status.pending_epoch) == (2, ("ben", "eve"), 2, 4)
    assert (status.at_ms, status.consensus_id, status.is_terminal) == (4, "k", True)
    assert status.pending_participants(["ben", "fay", "gus"]) == ("fay", "gus")
    assert not status.has_reversion_risk
    early = ceremony_status([BEGUN.model_copy(update={"agreement_mode": "provisional"})])
    assert (early.has_reversion_risk, early.is_terminal) == (True, False)
    assert ceremony_status([REPLACED]).superseded_by == "d"


def test_without_an_id_the_facts_must_be_of_one_ceremony() -> None:
    other = ABORTED.model_copy(update={"ceremony_id": "d"})
    with pytest.raises(LocalViolation, match=r"\['c', 'd'\]"):
        ceremony_status([ABORTED, other])
    assert sorted(ceremony_statuses([ABORTED, other])) == ["c", "d"]


@given(st.lists(st.one_of(ceremony_fact_parts(), chat_facts()), max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_statuses_are_a_function_of_the_set(facts: list[Fact], random: Any) -> None:
    again = facts + random.sample(facts, len(facts) // 2)
    random.shuffle(again)
    assert ceremony_statuses(again) == ceremony_statuses(facts)
    assert set(ceremony_statuses(facts)) == {ceremony_id_of(fact) for fact in facts} - {None}


def test_a_ceremony_id_binds_prestate_operation_and_nonce() -> None:
    first = ceremony_id_for(prestate=b"a", operation={"add": "ben"}, nonce=b"n")
    assert first == ceremony_id_for(prestate=b"a", operation={"add": "ben"}, nonce=b"n")
    others = [
        ceremony_id_for(prestate=b"b", operation={"add": "ben"}, nonce=b"n"),
        ceremony_id_for(prestate=b"a", operation={"add": "eve"}, nonce=b"n"),
        ceremony_id_for(prestate=b"a", operation={"add": "ben"}, nonce=b"m"),
        ceremony_id_for(prestate=b"", operation={"add": "ben"}, nonce=b"an"),
    ]
    assert len({first, *others}) == 5

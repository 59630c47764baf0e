"""What is known about a fact: certificates raise it, reversions lower it, a consensus ends the matter; icons follow."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import OperationCategory
from antiphon.journal import (
    Acknowledgment,
    Agreement,
    AgreementLevel,
    Consistency,
    ConsistencyMap,
    DeliveryIcon,
    Propagation,
    PropagationLevel,
    decode_state,
    delivery_icon,
    encode_state,
)
from antiphon.testing.lattices import agreements, consistency_maps

PEERS = frozenset({"ben", "eve"})
BOTH = Acknowledgment({"ben": 5, "eve": 6})
ONE = Acknowledgment({"ben": 5})


def test_a_certificate_raises_and_a_reversion_lowers() -> None:
    certified = Agreement().certified("cert", epoch=2)
    assert Agreement().level is AgreementLevel.PROVISIONAL
    assert certified.level is AgreementLevel.SOFT_SAFE
    assert certified.reverted(epoch=2).level is AgreementLevel.PROVISIONAL
    assert certified.reverted(epoch=2).certified("later", epoch=3).level is AgreementLevel.SOFT_SAFE
    assert certified.reverted(epoch=1).level is AgreementLevel.SOFT_SAFE


@given(agreements)
def test_what_is_finalized_stays_finalized_whatever_comes(other: Agreement) -> None:
    finalized = Agreement().finalized("round-1")
    for joined in (finalized.join(other), other.join(finalized)):
        assert joined.level is AgreementLevel.FINALIZED
        assert joined.reverted(epoch=99).certified("x", epoch=100).level is AgreementLevel.FINALIZED


def test_two_consensus_rounds_keep_the_smaller_id_and_are_told_apart() -> None:
    first, second = Agreement().finalized("round-1"), Agreement().finalized("round-2")
    assert first.join(second) == second.join(first) == first
    assert first.is_contradicted_by(second)
    assert not first.is_contradicted_by(first)
    assert not first.is_contradicted_by(Agreement())


def test_inserting_an_item_again_with_less_keeps_the_most() -> None:
    more = Consistency(agreement=Agreement().finalized("round-1"))
    less = Consistency()
    assert ConsistencyMap().joined("m", more).joined("m", less).is_finalized("m")
    assert ConsistencyMap().joined("m", less).joined("m", more).is_finalized("m")


def test_the_earliest_acknowledgement_of_a_peer_is_kept() -> None:
    assert Acknowledgment({"ben": 9}).join(Acknowledgment({"ben": 4, "eve": 7})).acks == {"ben": 4, "eve": 7}


def test_nobody_expected_is_not_delivered_though_covered() -> None:
    assert Acknowledgment().covers(())
    assert not Consistency(acknowledgment=BOTH).is_delivered(())
    assert Consistency(acknowledgment=BOTH).is_delivered(PEERS)
    assert not Consistency(acknowledgment=ONE).is_delivered(PEERS)
    assert not Consistency().is_delivered(PEERS)


def test_propagation_is_ordered_from_local_to_complete() -> None:
    failed = Propagation.failed(retry_at=5, retry_count=1, error="lost")
    ladder = [Propagation(), failed, Propagation.syncing(0, 2), Propagation.syncing(1, 2), Propagation.complete()]
    for low, high in pairwise(ladder):
        assert low.join(high) == high.join(low) == high
        assert low <= high
        assert not high <= low


@pytest.mark.parametrize("counts", [(3, 2), (-1, 2)])
def test_more_peers_reached_than_known_is_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="reached"):
        Propagation.syncing(*counts)


@pytest.mark.parametrize(
    ("propagation", "acks", "expected", "icon"),
    [
        (Propagation(), None, PEERS, "◐"),
        (Propagation.syncing(1, 2), BOTH, PEERS, "◐"),
        (Propagation.failed(retry_at=1, retry_count=1, error="x"), BOTH, PEERS, "✗"),
        (Propagation.complete(), None, PEERS, "✓"),
        (Propagation.complete(), ONE, PEERS, "✓"),
        (Propagation.complete(), BOTH, frozenset(), "✓"),
        (Propagation.complete(), BOTH, PEERS, "✓✓"),
    ],
)
def test_the_delivery_icon_follows_the_table(
    propagation: Propagation, acks: Acknowledgment | None, expected: frozenset[str], icon: str
) -> None:
    made = delivery_icon(Consistency(propagation=propagation, acknowledgment=acks), expected)
    assert made == DeliveryIcon(icon)


def test_agreement_has_an_icon_of_its_own_and_reading_turns_the_ticks_blue() -> None:
    soft = Consistency(agreement=Agreement().certified("c", epoch=1), propagation=Propagation.complete())
    hard = Consistency(agreement=Agreement().finalized("r"), propagation=Propagation.complete())
    assert str(delivery_icon(soft)) == "✓ ⚠"
    assert str(delivery_icon(hard)) == "✓ ◆"
    assert delivery_icon(hard, is_read=True) == DeliveryIcon("✓✓", "◆", is_read=True)


@given(consistency_maps)
def test_a_map_survives_its_bytes(value: ConsistencyMap) -> None:
    assert decode_state(ConsistencyMap(), encode_state(value)) == value


@given(st.sampled_from(OperationCategory), st.sampled_from(OperationCategory))
def test_the_stricter_category_stands(first: OperationCategory, second: OperationCategory) -> None:
    assert Consistency(first).join(Consistency(second)).category is max(first, second, key=lambda each: each.value)


def test_an_unknown_item_is_provisional_and_local() -> None:
    unknown = ConsistencyMap()["nobody"]
    assert unknown.agreement.level is AgreementLevel.PROVISIONAL
    assert unknown.propagation.level is PropagationLevel.LOCAL
    assert ConsistencyMap().joined("m", Consistency()) == ConsistencyMap()

"""Reducing a context: any order, one result; what cannot be read binds as what it is; another's facts are refused."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import (
    AuthorityId,
    ChannelEpochCommitted,
    Fact,
    FactRecord,
    GuardianBound,
    LeakageRecorded,
    Namespace,
    build_fact_registry,
    channel_transition_id,
    ids,
)
from antiphon.journal import (
    AuthorityAsContext,
    ChannelEpoch,
    ContextAsAuthority,
    ContextMismatch,
    Draft,
    JournalState,
    NamespaceMismatch,
    reduce_context,
)
from antiphon.testing.records import ChainWriter, make_draft
from antiphon.testing.strategies import protocol_facts

HOME = "home"
REGISTRY = build_fact_registry()
AUTHORITY = {name: ids.authority_id(ChainWriter(name).authority.public_key) for name in ("ada", "ben")}


def members(author: str, *facts: Fact) -> tuple[FactRecord, ...]:
    return ChainWriter(author, namespace=HOME).seal(*map(make_draft, facts)).records


def reduced(records: Sequence[FactRecord]) -> dict[str, object]:
    state = reduce_context(JournalState(Namespace(HOME), records), REGISTRY, context_id=HOME)
    return {"bindings": dict(state.bindings), "leakage": dict(state.leakage), "epochs": dict(state.epochs)}


def leak(amount: int, *, observer: str = "external", by: str = "ada", at: int = 1) -> LeakageRecorded:
    about = {"context_id": HOME, "actor_id": AUTHORITY[by], "operation": "send", "recorded_at": at}
    return LeakageRecorded(**about, observer=observer, amount=amount)


def bump(parent: int, *, commitment: str = "a", by: str = "ada", **fields: object) -> ChannelEpochCommitted:
    identity = {"context_id": HOME, "channel_id": "c", "parent_epoch": parent, "successor_epoch": parent + 1}
    identity["commitment"] = commitment
    rest = {"certificate_digest": "d", "threshold": 1, "witnesses": ("w",), "committed_at": 1}
    about = {"actor_id": AUTHORITY[by], "transition_id": channel_transition_id(**identity)}
    return ChannelEpochCommitted(**identity | rest | about | fields)


@given(st.lists(protocol_facts(), max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_shuffled_facts_reduce_to_one_state(facts: list[Fact], random: object) -> None:
    records = list(members("ada", *(fact.model_copy(update=_placed(fact)) for fact in facts)))
    shuffled = records + records[:3]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reduced(shuffled) == reduced(records)


def _placed(fact: Fact) -> dict[str, object]:
    actor = {"actor_id": AUTHORITY["ada"]} if "actor_id" in type(fact).model_fields else {}
    return {"context_id": HOME} | actor


def test_another_namespace_is_refused_with_a_type_of_its_own() -> None:
    state = JournalState(Namespace("work"))
    with pytest.raises(ContextMismatch, match="work"):
        reduce_context(state, REGISTRY, context_id=HOME)
    assert issubclass(ContextMismatch, NamespaceMismatch)


@pytest.mark.parametrize("own", ["note", "contacts"])
def test_an_authoritys_own_context_and_a_shared_one_are_not_taken_for_each_other(own: str) -> None:
    mine, other = (Namespace(f"{own}.{digit * 32}") for digit in "ab")
    with pytest.raises(AuthorityAsContext, match="reduce each namespace as what it is"):
        reduce_context(JournalState(mine), REGISTRY, context_id=HOME)
    with pytest.raises(ContextAsAuthority):
        reduce_context(JournalState(Namespace(HOME)), REGISTRY, context_id=mine)
    with pytest.raises(ContextMismatch) as refused:
        reduce_context(JournalState(mine), REGISTRY, context_id=other)
    assert type(refused.value) is ContextMismatch
    assert reduce_context(JournalState(mine), REGISTRY, context_id=mine).bindings == {}


def test_leakage_adds_up_by_observer_over_distinct_facts_and_stops_at_the_top() -> None:
    records = members("ada", leak(2), leak(3, at=2), leak(4, observer="neighbor"), leak(5, by="ben"))
    assert reduced([*records, *records])["leakage"] == {"external": 5, "neighbor": 4}, "ben did not sign for five"
    assert reduced(members("ada", leak(2**63 - 1), leak(9, at=2)))["leakage"] == {"external": 2**63 - 1}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([bump(0), bump(1)], ChannelEpoch(2)),
        ([bump(1)], ChannelEpoch(0)),
        ([bump(0), bump(1), bump(1, commitment="b")], ChannelEpoch(1, is_contested=True)),
        ([bump(0), bump(0, certificate_digest="e")], ChannelEpoch(1)),
    ],
)
def test_epochs_advance_by_one_and_two_ways_out_are_none(facts: list[Fact], expected: ChannelEpoch) -> None:
    for order in (facts, facts[::-1]):
        assert reduced(members("ada", *order))["epochs"] == {"c": expected}


def test_a_badly_certified_or_forged_transition_moves_nothing() -> None:
    assert reduced(members("ada", bump(0, threshold=2), bump(0, by="ben")))["epochs"] == {}


def test_every_member_binds_also_what_cannot_be_read() -> None:
    writer = ChainWriter("ada", namespace=HOME)
    bound = GuardianBound(context_id=HOME, account_id=AuthorityId("a"), guardian_id="g", bound_at=1)
    drafts = [make_draft(bound), Draft("x.unknown", 1, b"{}", None), Draft("contact.added", 1, b"{}", None)]
    records = writer.seal(*drafts).records
    state = reduce_context(JournalState(Namespace(HOME), records), REGISTRY, context_id=HOME)
    assert [each.binding_type for each in state.bindings.values()].count("generic") == 2
    (guardian,) = state.of_type("guardian-binding")
    assert (guardian.key, len(state.bindings)) == (("g",), len(records))

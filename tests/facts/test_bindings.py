"""Bindings and categories: every type that ships has its row, and reading one never fails."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings

from antiphon.facts import (
    STANDARD_FACTS,
    Binding,
    Fact,
    FactRegistry,
    FriendshipAccepted,
    FriendshipProposed,
    OperationCategory,
    binding_of,
    build_fact_registry,
    operation_category,
    reduce_record,
)
from antiphon.facts.bindings import BINDING_RULES, GENERIC
from antiphon.facts.categories import OPERATION_CATEGORIES
from antiphon.journal import Draft
from antiphon.testing.records import ChainWriter, make_draft
from antiphon.testing.strategies import standard_facts

REGISTRY = build_fact_registry()


def test_every_type_that_ships_has_a_binding_and_no_other_has_one() -> None:
    assert set(BINDING_RULES) == {model.fact_type.kind for model in STANDARD_FACTS}
    named = {rule.operation for rule in BINDING_RULES.values() if rule.operation}
    assert named <= set(OPERATION_CATEGORIES)


@given(standard_facts())
@settings(max_examples=400)
def test_every_fact_comes_back_from_its_bytes_and_binds_the_same_every_time(fact: Fact) -> None:
    again = fact.fact_type.decode(fact.fact_type.encode(fact))
    assert again == fact
    binding = binding_of(fact, context_id="home")
    assert binding == binding_of(again, context_id="home")
    assert binding.binding_type == BINDING_RULES[fact.fact_type.kind].binding_type
    assert all(isinstance(part, str) for part in binding.key)


def test_the_strategy_draws_every_type_that_ships() -> None:
    drawn: set[type[Fact]] = set()

    @given(standard_facts())
    @settings(max_examples=1_500, database=None)
    def draw(fact: Fact) -> None:
        drawn.add(type(fact))

    draw()
    assert drawn == set(STANDARD_FACTS)


@given(standard_facts())
def test_a_fact_of_another_context_is_generic(fact: Fact) -> None:
    namespace = fact.fact_type.context_of(fact) or "antiphon.default"
    record = ChainWriter("ada", namespace=namespace).seal(make_draft(fact)).records[-1]
    assert reduce_record(REGISTRY, record, context_id=namespace) == binding_of(fact, context_id=namespace)
    elsewhere = reduce_record(REGISTRY, record, context_id="elsewhere")
    assert elsewhere == Binding(GENERIC, "elsewhere", fact.fact_type.kind, ())


@pytest.mark.parametrize(
    ("registry", "payload"),
    [
        (FactRegistry, b'{"context_id":"antiphon.default"}'),
        (build_fact_registry, b'{"context_id":"antiphon.default"}'),
        (build_fact_registry, b"{ }"),
        (build_fact_registry, b"\xff"),
    ],
)
def test_what_cannot_be_read_binds_as_what_it_is(registry: Callable[[], FactRegistry], payload: bytes) -> None:
    record = ChainWriter("ada").seal(Draft("contact.added", 1, payload, None)).records[-1]
    assert reduce_record(registry(), record, context_id="antiphon.default").binding_type == GENERIC


def test_a_friendship_is_one_edge_whoever_asked() -> None:
    there = FriendshipProposed(context_id="home", requester_id="b", accepter_id="a", proposed_at=1)
    back = FriendshipAccepted(context_id="home", requester_id="a", accepter_id="b", accepted_at=2)
    assert binding_of(there)[:2] == ("friendship-edge", "home")
    assert binding_of(there).key == binding_of(back).key == ("a", "b")


@pytest.mark.parametrize(
    ("operation", "category"),
    [
        ("chat:send-message", OperationCategory.LOCAL),
        ("chat:kick-member", OperationCategory.OPTIMISTIC),
        ("chat:create-group", OperationCategory.CEREMONY),
        ("invitation:accept", OperationCategory.CEREMONY),
        ("contact:guardian-bind", OperationCategory.CEREMONY),
        ("moderation:ban", OperationCategory.OPTIMISTIC),
        ("chat:fly", None),
        ("", None),
    ],
)
def test_an_operation_has_one_category_and_an_unknown_one_none(
    operation: str, category: OperationCategory | None
) -> None:
    assert operation_category(operation) is category

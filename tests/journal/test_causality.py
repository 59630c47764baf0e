"""Version vectors, dots and causal contexts: who has seen what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.journal import CausalContext, DotContext, OperationId, VectorClock
from antiphon.testing.lattices import dot_contexts, dots, vector_clocks


def test_a_clock_counts_up_and_a_missing_entry_is_zero() -> None:
    clock = VectorClock({"ada": 0}).increment("ada").increment("ada")
    assert (clock.get("ada"), clock.get("ben"), clock.lamport, clock.total) == (2, 0, 2, 2)
    assert VectorClock({"ada": 0}) == VectorClock()


def test_a_clock_refuses_to_overflow() -> None:
    with pytest.raises(OverflowError, match="new actor"):
        VectorClock({"ada": 2**63 - 1}).increment("ada")
    with pytest.raises(ValueError, match="the clock entry of 'ada'"):
        VectorClock({"ada": -1})


@given(vector_clocks, vector_clocks)
def test_two_clocks_are_equal_ordered_or_concurrent_and_only_one_of_these(
    first: VectorClock, second: VectorClock
) -> None:
    relations = [
        first == second,
        first.happens_before(second),
        second.happens_before(first),
        first.is_concurrent_with(second),
    ]
    assert relations.count(True) == 1


@given(vector_clocks, vector_clocks)
def test_the_meet_of_clocks_is_what_both_have_seen(first: VectorClock, second: VectorClock) -> None:
    assert first.meet(second) <= first
    assert first.meet(second) <= second
    assert first.join(first.meet(second)) == first


@given(st.frozensets(dots, max_size=12), dots)
def test_a_dot_context_holds_exactly_its_dots(held: frozenset[OperationId], dot: OperationId) -> None:
    context = DotContext.of(held)
    assert context.contains(dot) == (dot in held)
    assert not context.contains(context.next_dot(dot.actor))


@given(dot_contexts, dot_contexts)
def test_what_is_missing_closes_the_gap(first: DotContext, second: DotContext) -> None:
    missing = first.missing_from(second, count_max=1_000)
    assert missing is not None
    assert second.join(DotContext.of(missing)) == second.join(first)
    assert not any(second.contains(dot) for dot in missing)


def test_a_claim_of_very_many_dots_is_not_listed() -> None:
    assert DotContext(VectorClock({"eve": 2**62})).missing_from(DotContext(), count_max=10_000) is None


def test_a_context_is_ready_after_its_causes_and_right_after_its_own_predecessor() -> None:
    second = CausalContext("ada", VectorClock({"ada": 2, "ben": 1}))
    assert not second.is_ready(VectorClock({"ben": 1}))
    assert not second.is_ready(VectorClock({"ada": 1}))
    assert second.is_ready(VectorClock({"ada": 1, "ben": 4}))
    assert not second.is_ready(VectorClock({"ada": 2, "ben": 4})), "it is applied already"
    named = CausalContext("ada", VectorClock({"ada": 1}), frozenset({OperationId("eve", 3)}))
    assert not named.is_ready(VectorClock({"eve": 2}))
    assert named.is_ready(VectorClock({"eve": 3}))


def test_contexts_are_ordered_by_what_their_authors_had_applied() -> None:
    first = CausalContext("ada", VectorClock({"ada": 1}))
    after = CausalContext("ben", VectorClock({"ada": 1, "ben": 1}))
    beside = CausalContext("eve", VectorClock({"eve": 1}))
    assert first.happens_before(after)
    assert not after.happens_before(first)
    assert first.is_concurrent_with(beside)
    assert not first.is_concurrent_with(first)


def test_a_context_must_count_itself_and_cannot_depend_on_itself() -> None:
    with pytest.raises(ValueError, match="must count that operation"):
        CausalContext("ada", VectorClock({"ben": 1}))
    with pytest.raises(ValueError, match="depends on itself"):
        CausalContext("ada", VectorClock({"ada": 1}), frozenset({OperationId("ada", 1)}))


@given(vector_clocks, st.frozensets(dots, max_size=3))
def test_a_context_comes_back_from_its_data(clock: VectorClock, causes: frozenset[OperationId]) -> None:
    context = CausalContext("zoe", clock.increment("zoe"), causes)
    assert CausalContext.from_data(context.to_data()) == context

"""The laws of lattices, deltas and operations, to be run against any type: ours in our tests, yours in yours.

Each ``check_*`` draws values from a Hypothesis strategy, fails with the name of the law that broke and the smallest
values that break it, and returns how many cases it checked. Needs Hypothesis; knows no type by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.journal import (
    CrdtError,
    DeltaState,
    Encodable,
    Join,
    Joinable,
    Meet,
    OperationId,
    OpState,
    decode_state,
    encode_state,
)

# Three values give 27 ordered triples, so one draw is paid for by many cases.
VALUES_PER_DRAW = 3
CASES_PER_DRAW = VALUES_PER_DRAW**3
CASES_DEFAULT = 2_000
# Fewer draws than this would see too little of a type, whatever the number of cases.
DRAWS_MIN = 100

T = TypeVar("T")
J = TypeVar("J", bound=Joinable)
M = TypeVar("M", bound=Meet)


def check_semilattice_laws(
    strategy: st.SearchStrategy[T],
    *,
    combine: Callable[[T, T], T],
    identity: Callable[[T], T] | None = None,
    cases: int = CASES_DEFAULT,
) -> int:
    """Associative, commutative, idempotent, with an identity, a least (or greatest) bound, and changing no argument.

    The common ground of join and meet. *cases* counts ordered triples of values.
    """

    def check(values: Sequence[T]) -> None:
        before = [repr(value) for value in values]
        for value in values:
            require(combine(value, value) == value, "idempotent", value)
            if identity is not None:
                neutral = identity(value)
                require(combine(neutral, value) == value == combine(value, neutral), "identity", value)
        for first, second, third in product(values, repeat=3):
            pair = combine(first, second)
            require(pair == combine(second, first), "commutative", first, second)
            require(combine(pair, third) == combine(first, combine(second, third)), "associative", first, second, third)
            require(combine(pair, first) == pair, "a bound of both", first, second)
            if combine(first, third) == third == combine(second, third):
                require(combine(pair, third) == third, "the nearest bound", first, second, third)
        require([repr(value) for value in values] == before, "arguments are left alone", *values)

    return run_draws(strategy, check, cases=cases)


def check_join_laws(strategy: st.SearchStrategy[Join], *, cases: int = CASES_DEFAULT) -> int:
    """The laws of ``Join``, its order and its bytes.

    >>> from antiphon.journal import MaxInt
    >>> check_join_laws(st.builds(MaxInt, st.integers(0, 100)), cases=270) >= 270
    True
    """
    check_order(strategy, is_below=lambda low, high: low.join(high) == high)
    check_encoding(strategy)
    return check_semilattice_laws(
        strategy, combine=lambda a, b: a.join(b), identity=lambda value: value.bottom(), cases=cases
    )


def check_meet_laws(strategy: st.SearchStrategy[Meet], *, cases: int = CASES_DEFAULT) -> int:
    """The laws of ``Meet``, monotony among them, its order and its bytes.

    >>> from antiphon.journal import MinInt
    >>> check_meet_laws(st.builds(MinInt, st.integers(0, 100)), cases=270) >= 270
    True
    """

    def check_monotone(values: Sequence[Meet]) -> None:
        for low, high, other in product(values, repeat=3):
            if low.meet(high) == low:
                narrow, wide = low.meet(other), high.meet(other)
                require(narrow.meet(wide) == narrow, "monotone", low, high, other)

    check_order(strategy, is_below=lambda low, high: low.meet(high) == low)
    check_encoding(strategy)
    run_draws(strategy, check_monotone, cases=DRAWS_MIN * CASES_PER_DRAW)
    return check_semilattice_laws(
        strategy, combine=lambda a, b: a.meet(b), identity=lambda value: value.top(), cases=cases
    )


def check_order(strategy: st.SearchStrategy[T], *, is_below: Callable[[T, T], bool]) -> int:
    """``<=`` is what join or meet say, where a type has it; equal values are one value."""

    def check(values: Sequence[T]) -> None:
        for low, high in product(values, repeat=2):
            if hasattr(type(low), "__le__"):
                require((low <= high) == is_below(low, high), "the order is the lattice's", low, high)  # type: ignore[operator]
            if is_below(low, high) and is_below(high, low):
                require(low == high, "antisymmetric", low, high)

    return run_draws(strategy, check, cases=DRAWS_MIN * CASES_PER_DRAW)


def check_encoding(strategy: st.SearchStrategy[Encodable]) -> int:
    """Bytes come back as the same value; equal values have equal bytes; a spoilt byte is refused, typed, or is another
    value."""

    def check(values: Sequence[Encodable]) -> None:
        for value in values:
            data = encode_state(value)
            require(decode_state(value, data) == value, "bytes come back", value)
            try:
                found = decode_state(value, data.replace(b'"value":', b'"value": '))
            except CrdtError:
                found = None
            require(found is None, "one spelling only", value)
        for first, second in product(values, repeat=2):
            require((encode_state(first) == encode_state(second)) == (first == second), "equal bytes", first, second)

    return run_draws(strategy, check, cases=DRAWS_MIN * CASES_PER_DRAW)


def check_inflationary(strategy: st.SearchStrategy[J], update: Callable[[J], J], *, cases: int = CASES_DEFAULT) -> int:
    """A local update only moves up: ``s <= update(s)``."""

    def check(values: Sequence[J]) -> None:
        for value in values:
            changed = update(value)
            require(value.join(changed) == changed, "inflationary", value, changed)

    return run_draws(strategy, check, cases=cases)


def check_delta_laws(strategy: st.SearchStrategy[DeltaState[Any]], *, cases: int = CASES_DEFAULT) -> int:
    """The laws of ``DeltaState``: deltas lead where joins lead, once or twice, one by one or combined, in any order.

    >>> from antiphon.journal import GSet
    >>> check_delta_laws(st.builds(GSet, st.frozensets(st.sampled_from("abcd"))), cases=270) >= 270
    True
    """

    def check(values: Sequence[DeltaState[Any]]) -> None:
        for old, one, two in product(values, repeat=3):
            check_one_delta(old, one)
            deltas = [delta for delta in (one.delta_since(old), two.delta_since(old)) if delta is not None]
            if len(deltas) == 2:
                first, second = deltas
                both = old.apply_delta(first).apply_delta(second)
                require(both == old.apply_delta(second).apply_delta(first), "in any order", old, one, two)
                for combined in (old.join_deltas(first, second), old.join_deltas(second, first)):
                    require(old.apply_delta(combined) == both, "combined is one by one", old, one, two)
                again = both.apply_delta(first).apply_delta(second)
                require(again == both, "repeated after a fold", old, one, two)

    return run_draws(strategy, check, cases=cases)


def check_one_delta(old: DeltaState[Any], new: DeltaState[Any]) -> None:
    """A delta from *old* to *new* leads to their join, is None exactly when there is nothing new, and has bytes."""
    joined = old.join(new)
    delta = new.delta_since(old)
    require((delta is None) == (joined == old), "a delta exactly when something is new", old, new)
    if delta is None:
        return
    applied = old.apply_delta(delta)
    require(applied == joined, "a delta leads to the join", old, new)
    require(old.join(applied) == applied, "a delta never takes away", old, new)
    require(applied.apply_delta(delta) == applied, "a delta is idempotent", old, new)
    require(old.delta_from_data(old.delta_to_data(delta)) == delta, "a delta's data comes back", old, new)


def check_operation_laws(
    states: st.SearchStrategy[OpState[Any]],
    issue: Callable[[OpState[Any], int], Any],
    *,
    concurrent: int = 3,
    cases: int = CASES_DEFAULT,
) -> int:
    """Concurrent operations commute: *issue* makes the operation that replica number n issues in a state.

    Every permutation of them must lead to one state, and bytes must come back.
    """

    def check(values: Sequence[OpState[Any]]) -> None:
        for state in values:
            issued = [(issue(state, number), OperationId(f"replica-{number}", 1)) for number in range(concurrent)]
            outcomes = []
            for order in permutations(issued):
                after = state
                for operation, operation_id in order:
                    after = after.apply_operation(operation, operation_id)
                outcomes.append(after)
            require(all(outcome == outcomes[0] for outcome in outcomes), "concurrent operations commute", state)
            for operation, _ in issued:
                back = state.operation_from_data(state.operation_to_data(operation))
                require(back == operation, "an operation's data comes back", operation)

    return run_draws(states, check, cases=cases)


def run_draws(strategy: st.SearchStrategy[T], check: Callable[[Sequence[T]], None], *, cases: int) -> int:
    """Run *check* on draws of three values until *cases* ordered triples were seen; how many were."""
    draws = max(DRAWS_MIN, -(-cases // CASES_PER_DRAW))
    seen = 0

    @settings(max_examples=draws, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(strategy, min_size=VALUES_PER_DRAW, max_size=VALUES_PER_DRAW))
    def run(values: list[T]) -> None:
        nonlocal seen
        seen += CASES_PER_DRAW
        check(values)

    run()
    return seen


def require(holds: bool, law: str, *values: object) -> None:
    """Fail with the name of the law and the values that break it."""
    if not holds:
        raise AssertionError(f"law broken: {law}; with " + ", ".join(map(repr, values)))

"""Every lattice that ships keeps the laws, and the shipped harness notices one that does not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st

from antiphon.journal import (
    GCounter,
    Join,
    MaxInt,
    Meet,
    OpCounter,
    OpSet,
    OpState,
)
from antiphon.journal.lattice import JoinValue, MeetValue, read_list, read_natural
from antiphon.testing.lattices import JOINS, MEETS, counters, op_counters, op_sets, or_sets, vector_clocks, ydocs
from antiphon.testing.laws import (
    check_delta_laws,
    check_inflationary,
    check_join_laws,
    check_meet_laws,
    check_operation_laws,
)

CASES = 2_000
LONG_CASES = 100_000


@pytest.mark.parametrize("name", JOINS)
def test_a_join_lattice_keeps_the_laws(name: str) -> None:
    assert check_join_laws(JOINS[name], cases=CASES) >= CASES


@pytest.mark.parametrize("name", MEETS)
def test_a_meet_lattice_keeps_the_laws(name: str) -> None:
    assert check_meet_laws(MEETS[name], cases=CASES) >= CASES


@pytest.mark.parametrize("name", JOINS)
def test_deltas_of_a_join_lattice_keep_the_laws(name: str) -> None:
    assert check_delta_laws(JOINS[name], cases=CASES) >= CASES  # type: ignore[arg-type]  # every JoinValue is one


@pytest.mark.long
@pytest.mark.parametrize("name", JOINS)
def test_a_join_lattice_keeps_the_laws_in_a_hundred_thousand_cases(name: str) -> None:
    assert check_join_laws(JOINS[name], cases=LONG_CASES) >= LONG_CASES


@pytest.mark.long
@pytest.mark.parametrize("name", MEETS)
def test_a_meet_lattice_keeps_the_laws_in_a_hundred_thousand_cases(name: str) -> None:
    assert check_meet_laws(MEETS[name], cases=LONG_CASES) >= LONG_CASES


@pytest.mark.long
@pytest.mark.parametrize("name", JOINS)
def test_deltas_keep_the_laws_in_a_hundred_thousand_cases(name: str) -> None:
    assert check_delta_laws(JOINS[name], cases=LONG_CASES) >= LONG_CASES  # type: ignore[arg-type]


def test_a_document_is_a_join_lattice_with_deltas() -> None:
    assert check_join_laws(ydocs(), cases=CASES) >= CASES
    assert check_delta_laws(ydocs(), cases=CASES) >= CASES


@pytest.mark.long
def test_a_document_keeps_the_laws_in_twenty_thousand_cases() -> None:
    assert check_join_laws(ydocs(), cases=20_000) >= 20_000
    assert check_delta_laws(ydocs(), cases=20_000) >= 20_000


def test_local_changes_only_move_up() -> None:
    check_inflationary(counters, lambda counter: counter.add("ada", 3))
    check_inflationary(vector_clocks, lambda clock: clock.increment("ben"))
    check_inflationary(or_sets(), lambda each: each.add("ada", "k"))
    check_inflationary(or_sets(), lambda each: each.remove("k"))


def test_concurrent_operations_commute() -> None:
    check_operation_laws(op_counters, lambda state, number: number - 5)

    def issue(state: OpState[Any], number: int) -> object:
        assert isinstance(state, OpSet)
        return state.adding("k") if number == 0 else state.removing("k") if number == 1 else state.adding("l")

    check_operation_laws(op_sets, issue)


# --- the harness can fail -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Concatenation(JoinValue):
    """Upstream's byte join: neither commutative nor idempotent."""

    lattice_name = "concatenation"
    value: tuple[int, ...] = ()

    def bottom(self) -> "Concatenation":
        return Concatenation()

    def join(self, other: "Concatenation") -> "Concatenation":
        return Concatenation(self.value + other.value)

    def to_data(self) -> object:
        return list(self.value)

    def from_data(self, data: object) -> "Concatenation":
        return Concatenation(tuple(read_natural(item) for item in read_list(data)))


@dataclass(frozen=True)
class KeepLeft(JoinValue):
    """A tie that keeps whatever is here: idempotent and associative, and not commutative."""

    lattice_name = "keep_left"
    time: int = 0
    value: int = 0

    def bottom(self) -> "KeepLeft":
        return KeepLeft()

    def join(self, other: "KeepLeft") -> "KeepLeft":
        return other if other.time > self.time else self

    def to_data(self) -> object:
        return [self.time, self.value]

    def from_data(self, data: object) -> "KeepLeft":
        time, value = read_list(data)
        return KeepLeft(read_natural(time), read_natural(value))


@dataclass(frozen=True)
class EmptyTop(MeetValue):
    """Upstream's map meet: the intersection, with a "top" that is empty and so no identity."""

    lattice_name = "empty_top"
    items: frozenset[int] = frozenset()

    def top(self) -> "EmptyTop":
        return EmptyTop()

    def meet(self, other: "EmptyTop") -> "EmptyTop":
        return EmptyTop(self.items & other.items)

    def to_data(self) -> object:
        return sorted(self.items)

    def from_data(self, data: object) -> "EmptyTop":
        return EmptyTop(frozenset(read_natural(item) for item in read_list(data)))


@dataclass(frozen=True)
class Forgetful(JoinValue):
    """A set whose bytes lose an item."""

    lattice_name = "forgetful"
    items: frozenset[int] = frozenset()

    def bottom(self) -> "Forgetful":
        return Forgetful()

    def join(self, other: "Forgetful") -> "Forgetful":
        return Forgetful(self.items | other.items)

    def to_data(self) -> object:
        return sorted(self.items - {1})

    def from_data(self, data: object) -> "Forgetful":
        return Forgetful(frozenset(read_natural(item) for item in read_list(data)))


class AddingCounter(GCounter):
    """Upstream's additive delta: sending it again counts it again."""

    __slots__ = ()

    def apply_delta(self, delta: GCounter) -> "AddingCounter":
        return AddingCounter({actor: self.get(actor) + delta.get(actor) for actor in {*self.entries, *delta.entries}})

    def delta_since(self, older: GCounter) -> "AddingCounter | None":
        risen = {actor: count - older.get(actor) for actor, count in self.entries.items() if count > older.get(actor)}
        return AddingCounter(risen) if risen else None

    def join(self, other: GCounter) -> "AddingCounter":
        return AddingCounter(super().join(other).entries)

    def from_data(self, data: object) -> "AddingCounter":
        return AddingCounter(super().from_data(data).entries)


def build(kind: Callable[..., Any], *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, *parts)


small = st.integers(min_value=0, max_value=3)


@pytest.mark.parametrize(
    ("strategy", "law"),
    [
        (build(Concatenation, st.tuples(small)), "idempotent|the order is the lattice's"),
        (build(KeepLeft, st.just(1), small), "commutative|antisymmetric"),
        (build(Forgetful, st.frozensets(small)), "bytes come back"),
    ],
)
def test_a_join_that_breaks_a_law_is_noticed(strategy: st.SearchStrategy[Join], law: str) -> None:
    with pytest.raises(AssertionError, match=f"law broken: ({law})"):
        check_join_laws(strategy, cases=CASES)


def test_a_top_that_is_no_identity_is_noticed() -> None:
    strategy: st.SearchStrategy[Meet] = build(EmptyTop, st.frozensets(small, min_size=1))
    with pytest.raises(AssertionError, match="law broken: identity"):
        check_meet_laws(strategy, cases=CASES)


def test_a_delta_that_adds_is_noticed() -> None:
    strategy = build(AddingCounter, st.dictionaries(st.sampled_from("ab"), small))
    with pytest.raises(AssertionError, match=r"law broken: (a delta is idempotent|repeated)"):
        check_delta_laws(strategy, cases=CASES)


def test_operations_that_do_not_commute_are_noticed() -> None:
    class Assignment(OpCounter):
        __slots__ = ()

        def apply_operation(self, operation: int, operation_id: object) -> OpCounter:
            return Assignment(operation)

    with pytest.raises(AssertionError, match="law broken: concurrent operations commute"):
        check_operation_laws(build(Assignment, small), lambda state, number: number)


def test_an_update_that_moves_down_is_noticed() -> None:
    with pytest.raises(AssertionError, match="law broken: inflationary"):
        check_inflationary(st.builds(MaxInt, small), lambda value: MaxInt(max(0, value.value - 1)))


def test_the_harness_counts_its_cases() -> None:
    assert 5_000 <= check_join_laws(counters, cases=5_000) < 6_000

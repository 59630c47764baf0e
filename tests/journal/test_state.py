"""``JournalState`` is a join-semilattice of facts: grow-only, per namespace, the same in any order."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import FactId, FactRecord, Namespace
from antiphon.journal import JournalState, NamespaceMismatch
from antiphon.testing.records import ChainWriter

HOME, WORK = Namespace("home"), Namespace("work")
INFO = ChainWriter("ada", namespace=HOME).chain.info
OTHER = ChainWriter("ben", namespace=WORK).chain.info

laws = settings(max_examples=1_000)


def make_record(number: int, *, chain: object = INFO) -> FactRecord:
    """Fact *number*: its place in stamp order has nothing to do with its number."""
    digest = sha256(b"%d" % number).digest()
    return FactRecord(FactId(digest), chain, number + 1, digest[1], digest[0] % 5, "test.said", 1, b"", 0)  # type: ignore[arg-type]


RECORDS = [make_record(number) for number in range(24)]
# The same facts as a peer may hold them: without their payload.
ERASED = [record._replace(line=b'{"e":"') for record in RECORDS]
records = st.lists(st.sampled_from(RECORDS + ERASED), max_size=30)
states = records.map(lambda facts: JournalState(HOME, facts))


@laws
@given(states, states, states)
def test_join_is_associative(first: JournalState, second: JournalState, third: JournalState) -> None:
    one, other = first.join(second).join(third), first.join(second.join(third))
    assert one == other
    assert list(one.iter_facts()) == list(other.iter_facts())


@laws
@given(states, states)
def test_join_is_commutative_and_gives_one_root(first: JournalState, second: JournalState) -> None:
    one, other = first.join(second), second.join(first)
    assert one == other
    assert one.root == other.root
    assert list(one.iter_facts()) == list(other.iter_facts())


@laws
@given(states)
def test_join_is_idempotent_and_the_empty_state_is_its_identity(state: JournalState) -> None:
    assert state.join(state) == state == state.join(JournalState(HOME)) == JournalState(HOME).join(state)


@laws
@given(states, states)
def test_join_is_the_least_upper_bound_and_changes_neither_side(first: JournalState, second: JournalState) -> None:
    before = (first.root, second.root)
    joined = first.join(second)
    assert first <= joined
    assert second <= joined
    assert joined.size == len({*ids(first), *ids(second)})
    assert (first.root, second.root) == before


@laws
@given(states, states)
def test_joining_in_place_gives_what_joining_gives(first: JournalState, second: JournalState) -> None:
    joined = first.join(second)
    before = first.size
    assert first.join_assign(second) == joined.size - before
    assert first == joined
    assert first.root == joined.root


@given(st.permutations(RECORDS), st.permutations(RECORDS))
def test_facts_come_in_stamp_order_whatever_the_order_of_insertion(
    first: Sequence[FactRecord], second: Sequence[FactRecord]
) -> None:
    one, other = JournalState(HOME, first), JournalState(HOME, second)
    found = list(one.iter_facts())
    assert found == list(other.iter_facts())
    assert all(earlier.stamp < later.stamp for earlier, later in pairwise(found))


@given(states, states)
def test_roots_differ_when_sets_differ(first: JournalState, second: JournalState) -> None:
    assert (first.root == second.root) == (first == second)


def test_the_second_insert_of_a_fact_is_reported_and_changes_nothing() -> None:
    state = JournalState(HOME)
    assert state.add_fact(RECORDS[0])
    root = state.root
    assert not state.add_fact(RECORDS[0])
    assert (state.size, state.root, state.is_empty) == (1, root, False)
    assert state.contains(RECORDS[0].fact_id)
    assert not state.contains(RECORDS[1].fact_id)


def test_states_of_two_namespaces_refuse_to_join_and_neither_changes() -> None:
    home, work = JournalState(HOME, RECORDS[:3]), JournalState(WORK, [make_record(9, chain=OTHER)])
    before = (home.root, work.root)
    for join in (home.join, home.join_assign):
        with pytest.raises(NamespaceMismatch, match="home with work"):
            join(work)
    with pytest.raises(NamespaceMismatch, match="offered to the state of work"):
        work.add_fact(RECORDS[0])
    assert (home.root, work.root) == before


def test_an_empty_state_of_another_namespace_is_another_state() -> None:
    assert JournalState(HOME) != JournalState(WORK)
    assert JournalState(HOME).root == JournalState(WORK).root == bytes(32)


def test_a_hundred_thousand_inserts_cost_one_dictionary_entry_each() -> None:
    # Work instead of time: inserting must not look at what is there already.
    class Counted(bytes):
        comparisons = 0

        def __eq__(self, other: object) -> bool:
            Counted.comparisons += 1
            return super().__eq__(other)

        __hash__ = bytes.__hash__

    template = RECORDS[0]
    state = JournalState(HOME)
    for number in range(100_000):
        state.add_fact(template._replace(fact_id=FactId(Counted(number.to_bytes(32, "big")))))
    assert state.size == 100_000
    assert Counted.comparisons < 1_000  # only where two hashes fall together
    assert not state.add_fact(template._replace(fact_id=FactId(bytes(32))))
    assert state.size == 100_000


def test_a_fact_is_known_by_its_id_and_not_by_what_was_learned_about_its_chain() -> None:
    named = RECORDS[0]._replace(chain=replace(INFO, label="ada"))
    assert not JournalState(HOME, RECORDS[:1]).add_fact(named)


def ids(state: JournalState) -> list[bytes]:
    return [record.fact_id for record in state.iter_facts()]


@laws
@given(states, states)
def test_what_one_side_holds_erased_stays_erased_and_joining_in_place_gives_the_same(
    first: JournalState, second: JournalState
) -> None:
    joined = first.join(second)
    erased = {record.fact_id for side in (first, second) for record in side.iter_facts() if record.payload is None}
    assert erased == {record.fact_id for record in joined.iter_facts() if record.payload is None}
    count = JournalState(HOME, first.iter_facts())
    assert count.join_assign(second) == len(joined) - len(first)
    assert list(count.iter_facts()) == list(joined.iter_facts())


def test_an_erasure_that_comes_later_takes_the_payload_out_and_is_no_new_fact() -> None:
    state = JournalState(HOME, RECORDS[:2])
    root = state.root
    assert not state.add_fact(ERASED[0])
    assert not state.add_fact(RECORDS[0])
    assert {record.payload for record in state.iter_facts() if record.fact_id == RECORDS[0].fact_id} == {None}
    assert state.root == root

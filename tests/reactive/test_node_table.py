"""Who is touched by a window of facts: found through predicates, at a cost that ignores whom it does not concern."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.reactive import (
    UNCHANGED,
    Batch,
    CallRefused,
    FactPredicate,
    ReactiveScheduler,
    Signal,
    SignalHub,
    Unchanged,
)
from antiphon.testing.clock import VirtualClock


@dataclass(frozen=True)
class Said:
    fact_id: int
    kind: str
    room: str | None = None
    author: str | None = None


class Everything:
    """A view that counts the facts it saw, and can be made to change by the clock."""

    view_id = "everything"
    kinds = frozenset({"a", "b"})
    depends_on = ()
    signal: Signal[int] = Signal("everything", int)

    def __init__(self) -> None:
        self.count = 0
        self.wakeup: int | None = None

    def next_wakeup_ms(self) -> int | None:
        return self.wakeup

    def update(self, batch: Batch[Said]) -> int | Unchanged:
        self.wakeup = None
        self.count += len(batch.facts) or 1
        return self.count


class Live:
    """A live query: it notes the facts that made it run."""

    kinds: frozenset[str] = frozenset()
    depends_on: tuple[str, ...] = ()

    def __init__(self, name: str, *predicates: FactPredicate, reads: tuple[str, ...] = ()) -> None:
        self.view_id = f"query:{name}"
        self.predicates = predicates
        self.reads = reads
        self.signal: Signal[object] = Signal(self.view_id, object)
        self.runs: list[tuple[int, ...]] = []

    def update(self, batch: Batch[Said]) -> object | Unchanged:
        self.runs.append(tuple(fact.fact_id for fact in batch.facts))
        return batch.inputs[self.reads[0]] if self.reads else len(self.runs)


def build() -> tuple[VirtualClock, SignalHub, ReactiveScheduler[Said]]:
    clock, hub = VirtualClock(), SignalHub()
    scheduler = ReactiveScheduler[Said](
        hub, clock.scheduler, clock, kind_of=lambda fact: fact.kind, id_of=lambda fact: fact.fact_id
    )
    return clock, hub, scheduler


# Predicates


def test_a_predicate_matches_facts_of_its_kind_with_its_fields() -> None:
    in_lobby = FactPredicate.of("said", room="lobby")
    assert in_lobby.matches_fact("said", {"room": "lobby", "author": "ada"})
    assert not in_lobby.matches_fact("said", {"room": "garden"})
    assert not in_lobby.matches_fact("said", {})
    assert not in_lobby.matches_fact("heard", {"room": "lobby"})
    assert FactPredicate.of("said").matches_fact("said", {})


def test_predicates_overlap_unless_one_field_would_have_two_values() -> None:
    in_lobby = FactPredicate.of("said", room="lobby")
    assert in_lobby.overlaps(FactPredicate.of("said"))
    assert in_lobby.overlaps(FactPredicate.of("said", author="ada"))
    assert not in_lobby.overlaps(FactPredicate.of("said", author="ada", room="garden"))
    assert not in_lobby.overlaps(FactPredicate.of("heard", room="lobby"))
    assert FactPredicate.of("said", b=1, a=2) == FactPredicate.of("said", a=2, b=1)


@pytest.mark.parametrize(
    ("kind", "fields", "seen"),
    [
        ("", (), "an empty kind"),
        ("said", (("room", None),), "None"),
        ("said", (("room", 1), ("author", 2)), "sorted and unique"),
        ("said", (("room", 1), ("room", 2)), "sorted and unique"),
    ],
)
def test_an_impossible_predicate_is_refused(kind: str, fields: tuple[tuple[str, object], ...], seen: str) -> None:
    with pytest.raises(CallRefused, match=seen):
        FactPredicate(kind, fields)


# Who runs


def test_a_fact_in_one_room_runs_only_the_queries_of_that_room() -> None:
    _, _, scheduler = build()
    lobby = Live("lobby", FactPredicate.of("a", room="lobby"))
    garden = Live("garden", FactPredicate.of("a", room="garden"))
    both = Live("both", FactPredicate.of("a"), FactPredicate.of("b", room="lobby"))
    for query in (lobby, garden, both):
        scheduler.register_view(query, 0)
    scheduler.deliver([Said(1, "a", "lobby"), Said(2, "b", "garden"), Said(3, "c", "lobby"), Said(4, "a", "lobby")])
    assert lobby.runs == [(1, 4)]
    assert garden.runs == []
    assert both.runs == [(1, 4)]


def test_a_fact_that_leaves_the_field_open_concerns_every_value_of_it() -> None:
    _, _, scheduler = build()
    queries = [Live(room, FactPredicate.of("a", room=room, author="ada")) for room in ("lobby", "garden")]
    for query in queries:
        scheduler.register_view(query, 0)
    scheduler.deliver([Said(1, "a", None, "ada"), Said(2, "a", None, "brian")])
    assert [query.runs for query in queries] == [[(1,)], [(1,)]]


def test_a_fact_that_several_predicates_name_is_given_once() -> None:
    _, _, scheduler = build()
    query = Live("q", FactPredicate.of("a", room="lobby"), FactPredicate.of("a", author="ada"), FactPredicate.of("a"))
    scheduler.register_view(query, 0)
    scheduler.deliver([Said(1, "a", "lobby", "ada")])
    assert query.runs == [(1,)]


def test_a_query_runs_after_the_view_it_reads_and_ends_with_it_in_one_emission() -> None:
    _, hub, scheduler = build()
    query = Live("count", FactPredicate.of("a"), reads=("everything",))
    scheduler.register_view(query, 0)  # before the view it reads, which must not matter
    scheduler.register_view(Everything(), 0)
    seen: list[tuple[object, object]] = []

    def look(_: object) -> None:
        seen.append((hub.read(query.signal), hub.read(Everything.signal)))

    hub.subscribe(query.signal, replay_current=False).for_each(look)
    hub.subscribe(Everything.signal, replay_current=False).for_each(look)
    scheduler.deliver([Said(1, "a")])
    assert seen == [(1, 1), (1, 1)]


def test_a_query_is_not_run_by_a_change_of_its_view_that_its_predicates_rule_out() -> None:
    _, _, scheduler = build()
    scheduler.register_view(Everything(), 0)
    query = Live("count", FactPredicate.of("a", room="lobby"), reads=("everything",))
    scheduler.register_view(query, 0)
    scheduler.deliver([Said(1, "a", "garden"), Said(2, "b", "lobby")])
    assert query.runs == []


def test_a_view_that_changed_by_the_clock_or_by_a_touch_runs_whoever_reads_it() -> None:
    clock, _, scheduler = build()
    view = Everything()
    view.wakeup = clock.now_ms() + 50
    scheduler.register_view(view, 0)
    query = Live("count", FactPredicate.of("a", room="lobby"), reads=("everything",))
    scheduler.register_view(query, 0)
    clock.advance(51)
    assert query.runs == [()]
    scheduler.touch("everything")
    assert query.runs == [(), ()]


def test_a_query_that_left_is_asked_no_more_and_leaves_nothing_behind() -> None:
    _, _, scheduler = build()
    gone, stays = (Live(name, FactPredicate.of("a", room="lobby")) for name in ("gone", "stays"))
    for query in (gone, stays):
        scheduler.register_view(query, 0)
    scheduler.unregister_view(gone.view_id)
    scheduler.deliver([Said(1, "a", "lobby")])
    assert (gone.runs, stays.runs) == ([], [(1,)])
    scheduler.register_view(gone, 0)
    scheduler.deliver([Said(2, "a", "lobby")])
    assert gone.runs == [(2,)]


def test_a_view_that_takes_another_out_in_its_batch_does_not_run_it() -> None:
    _, _, scheduler = build()
    later = Live("later", FactPredicate.of("a"))

    class Remover(Live):
        def update(self, batch: Batch[Said]) -> object | Unchanged:
            scheduler.unregister_view(later.view_id)
            return UNCHANGED

    scheduler.register_view(Remover("remover", FactPredicate.of("a")), 0)
    scheduler.register_view(later, 0)
    scheduler.deliver([Said(1, "a")])
    assert later.runs == []


class Counted:
    """A field reader that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, fact: Said, name: str) -> object:
        self.asked += 1
        return getattr(fact, name)


@pytest.mark.parametrize("bystanders", [0, 2_000])
def test_the_work_for_a_fact_ignores_the_queries_it_does_not_touch(bystanders: int) -> None:
    clock, fields = VirtualClock(), Counted()
    scheduler = ReactiveScheduler[Said](
        SignalHub(),
        clock.scheduler,
        clock,
        kind_of=lambda fact: fact.kind,
        id_of=lambda fact: fact.fact_id,
        field_of=fields,
    )
    others = [Live(f"other:{number}", FactPredicate.of("a", room=f"room {number}")) for number in range(bystanders)]
    mine = [Live(f"mine:{number}", FactPredicate.of("a", room="lobby")) for number in range(3)]
    for query in (*others, *mine):
        scheduler.register_view(query, 0)
    scheduler.deliver([Said(1, "a", "lobby")])
    assert fields.asked == 1
    assert [query.runs for query in mine] == [[(1,)]] * 3
    assert not any(query.runs for query in others)


rooms = st.sampled_from([None, "lobby", "garden", "attic"])
facts = st.builds(Said, st.integers(), st.sampled_from("abc"), rooms, st.sampled_from([None, "ada", "brian"]))
constraints = st.dictionaries(st.sampled_from(["room", "author"]), st.sampled_from(["lobby", "garden", "ada"]))


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abc"), constraints), max_size=3), max_size=6),
    st.lists(facts, max_size=8, unique_by=lambda fact: fact.fact_id),
)
def test_the_index_finds_exactly_the_queries_whose_predicates_overlap(
    wanted: list[list[tuple[str, Mapping[str, str]]]], window: list[Said]
) -> None:
    _, _, scheduler = build()
    queries = [
        Live(f"{number}", *(FactPredicate.of(kind, **fields) for kind, fields in each))
        for number, each in enumerate(wanted)
    ]
    for query in queries:
        scheduler.register_view(query, 0)
    scheduler.deliver(window)

    def change(fact: Said) -> FactPredicate:
        named = {"room": fact.room, "author": fact.author}
        return FactPredicate.of(fact.kind, **{name: value for name, value in named.items() if value is not None})

    for query in queries:
        expected = tuple(
            fact.fact_id for fact in window if any(each.overlaps(change(fact)) for each in query.predicates)
        )
        assert query.runs == ([expected] if expected else [])

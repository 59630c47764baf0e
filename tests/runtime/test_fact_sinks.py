"""Sinks get every durable window in order; a full one makes commits wait, a broken one is let go."""

import asyncio
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path

import pytest

from antiphon import Fact, Journal
from antiphon.facts.fact import get_record
from antiphon.reactive import ERROR_SIGNAL, UNCHANGED, Batch, ReactiveScheduler, Signal, SignalHub, Unchanged
from antiphon.testing.clock import VirtualClock

pytestmark = pytest.mark.asyncio


class Noted(Fact, kind="sinks.noted", version=1):
    number: int


class Recorder:
    """A sink that keeps what it gets, and can be full, closed or broken."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.is_closed = False
        self.has_room = True
        self.problem: Exception | None = None
        self.waiting: list[Callable[[], object]] = []
        self.asked = asyncio.Event()

    def when_room(self, callback: Callable[[], object], /) -> None:
        self.waiting.append(callback)
        self.asked.set()

    def deliver(self, facts: Sequence[Fact], /) -> None:
        if self.problem is not None:
            raise self.problem
        self.numbers.extend(fact.number for fact in facts if isinstance(fact, Noted))

    def make_room(self) -> None:
        self.has_room = True
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


async def test_two_sinks_get_every_committed_fact_in_order(tmp_path: Path) -> None:
    first, second = Recorder(), Recorder()
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        journal.attach_fact_sink(first)
        detach = journal.attach_fact_sink(second)
        await journal.commit_all([Noted(number=number) for number in range(5)], flush=True)
        detach()
        detach()
        await journal.commit(Noted(number=5), flush=True)
    assert first.numbers == [0, 1, 2, 3, 4, 5]
    assert second.numbers == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("how", ["closed", "raising"])
async def test_a_sink_that_closed_or_raises_is_let_go_and_said(tmp_path: Path, how: str) -> None:
    broken, healthy = Recorder(), Recorder()
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        journal.attach_fact_sink(broken)
        journal.attach_fact_sink(healthy)
        if how == "closed":
            broken.is_closed = True
        else:
            broken.problem = OSError("no pipe")
        for number in range(3):
            await journal.commit(Noted(number=number), flush=True)
        error = journal.read(ERROR_SIGNAL)
        assert error is not None
        assert error.code == "sink-detached"
        assert "Recorder" in error.text
        assert len(journal.engine.sinks) == 2  # the views and the healthy one
    assert (broken.numbers, healthy.numbers) == ([], [0, 1, 2])


async def test_a_full_sink_makes_commits_wait_and_loses_nothing(tmp_path: Path) -> None:
    sink = Recorder()
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        journal.attach_fact_sink(sink)
        sink.has_room = False
        waiting = asyncio.ensure_future(journal.commit(Noted(number=1), flush=True))
        await sink.asked.wait()
        assert (waiting.done(), sink.numbers) == (False, [])
        sink.make_room()
        await waiting
    assert sink.numbers == [1]


async def test_a_watcher_that_must_lose_nothing_gets_every_snapshot_of_its_view(tmp_path: Path) -> None:
    from antiphon import view

    @view(Noted, initial=())
    def numbers(state: tuple[int, ...], fact: Noted) -> tuple[int, ...]:
        return (*state, fact.number)

    async with Journal.open(tmp_path / "j", author="ada") as journal, journal.watch(numbers, policy="block(2)") as slow:
        for number in range(10):
            await journal.commit(Noted(number=number), flush=True)
        sizes = [len((await slow.recv()).value) for _ in range(11)]
    assert sizes == list(range(11))


class Count:
    """A view of another scheduler."""

    view_id = "count"
    kinds = frozenset({"sinks.noted"})
    depends_on = ()
    signal: Signal[int] = Signal("count", int)

    def __init__(self) -> None:
        self.count = 0

    def update(self, batch: Batch[Fact]) -> int | Unchanged:
        self.count += len(batch.facts)
        return self.count if batch.facts else UNCHANGED


async def test_another_scheduler_is_fed_through_its_fact_sender(tmp_path: Path) -> None:
    clock, hub = VirtualClock(), SignalHub()
    scheduler: ReactiveScheduler[Fact] = ReactiveScheduler(
        hub,
        clock.scheduler,
        clock,
        kind_of=lambda fact: get_record(fact).kind,
        id_of=lambda fact: attrgetter("fact_id")(get_record(fact)),
    )
    scheduler.register_view(Count(), 0)
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        journal.attach_fact_sink(scheduler.fact_sender())
        await journal.commit_all([Noted(number=number) for number in range(4)], flush=True)
        scheduler.shutdown()
        await journal.commit(Noted(number=4), flush=True)
        assert len(journal.engine.sinks) == 1
    assert hub.read(Count.signal) == 4

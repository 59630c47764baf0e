"""Waiting: for the next update, for room, for a fact to become visible; cancelling loses nothing."""

import asyncio
from dataclasses import dataclass
from operator import attrgetter

import pytest

from antiphon.reactive import (
    Batch,
    ReactiveScheduler,
    SchedulerConfig,
    SchedulerShutdown,
    Signal,
    SignalHub,
    SignalNotFound,
    SubscriptionClosed,
    open_stream,
)
from antiphon.testing.clock import VirtualClock

COUNT = Signal("app:count", int)


@dataclass(frozen=True)
class Added:
    fact_id: str
    kind: str = "added"


class Counter:
    view_id = "signals:count"
    kinds = frozenset({"added"})
    depends_on = ()
    signal = COUNT

    def __init__(self) -> None:
        self.count = 0

    def update(self, batch: Batch[Added]) -> int:
        self.count += len(batch.facts)
        return self.count


async def turn() -> None:
    """Let every task that is ready run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


def build_hub() -> SignalHub:
    hub = SignalHub()
    hub.register(COUNT, 0, external=True)
    return hub


def build_scheduler(clock: VirtualClock, **limits: int) -> tuple[SignalHub, ReactiveScheduler[Added]]:
    hub = SignalHub()
    scheduler = ReactiveScheduler[Added](
        hub,
        clock.scheduler,
        clock,
        kind_of=attrgetter("kind"),
        id_of=attrgetter("fact_id"),
        config=SchedulerConfig(**limits),
    )
    scheduler.register_view(Counter(), 0)
    return hub, scheduler


@pytest.mark.asyncio
async def test_a_loop_gets_the_current_value_then_every_update_and_ends_with_the_hub() -> None:
    hub = build_hub()
    seen: list[tuple[int, int]] = []

    async def follow() -> None:
        async with open_stream(hub, COUNT) as updates:
            async for update in updates:
                seen.append((update.seq, update.value))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        await turn()
        hub.emit(COUNT, 5)
        hub.emit(COUNT, 6)
        await turn()
        hub.emit(COUNT, 7)
        hub.close()
    assert seen == [(0, 0), (1, 5), (2, 6), (3, 7)]


@pytest.mark.asyncio
async def test_leaving_the_stream_unsubscribes_also_by_an_exception() -> None:
    hub = build_hub()
    updates = open_stream(hub, COUNT)

    async def read_and_give_up() -> None:
        async with updates:
            assert (await updates.recv()).value == 0
            raise RuntimeError("a reader gave up")

    with pytest.raises(RuntimeError, match="a reader gave up"):
        await read_and_give_up()
    assert hub.statistics()[1].subscriber_count == 0
    with pytest.raises(SubscriptionClosed):
        await updates.recv()
    with pytest.raises(SubscriptionClosed):
        updates.try_recv()


@pytest.mark.asyncio
async def test_an_unregistered_signal_is_refused_before_any_waiting() -> None:
    with pytest.raises(SignalNotFound):
        open_stream(SignalHub(), COUNT)


@pytest.mark.asyncio
async def test_a_receiver_is_woken_by_an_emission_and_by_the_end() -> None:
    hub = build_hub()
    stream = open_stream(hub, COUNT, replay_current=False)
    first = asyncio.create_task(stream.recv())
    await turn()
    assert not first.done()
    hub.emit(COUNT, 1)
    assert (await first).value == 1
    last = asyncio.create_task(stream.recv())
    await turn()
    hub.close()
    with pytest.raises(SubscriptionClosed):
        await last


@pytest.mark.asyncio
async def test_a_cancelled_receiver_takes_no_update_and_does_not_keep_others_asleep() -> None:
    hub = build_hub()
    stream = open_stream(hub, COUNT, replay_current=False)
    cancelled = asyncio.create_task(stream.recv())
    patient = asyncio.create_task(stream.recv())
    await turn()
    hub.emit(COUNT, 1)
    cancelled.cancel()  # woken already, not run yet: the worst moment
    assert (await patient).value == 1
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    again = asyncio.create_task(stream.recv())
    await turn()
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again
    hub.emit(COUNT, 2)
    assert (await stream.recv()).value == 2


@pytest.mark.asyncio
async def test_a_slow_loop_gets_the_newest_and_is_told_what_it_skipped() -> None:
    hub = build_hub()
    async with open_stream(hub, COUNT, policy="latest") as updates:
        for value in range(1, 10):
            hub.emit(COUNT, value)
        update = await updates.recv()
        assert (update.value, update.skipped) == (9, 9)
        assert updates.subscription.lagged_count == 9


@pytest.mark.asyncio
async def test_a_read_after_await_processed_sees_the_fact_under_flood(clock: VirtualClock) -> None:
    hub, scheduler = build_scheduler(clock)
    reads: list[int] = []

    async def say(index: int) -> None:
        ticket = await scheduler.publish([Added(f"mine {index}")])
        await ticket.await_processed()
        reads.append(hub.read(COUNT))

    async with asyncio.TaskGroup() as tasks:
        for index in range(50):
            tasks.create_task(say(index))
        await turn()
        for index in range(10):
            scheduler.deliver([Added(f"flood {index}")], unique=True)
            await turn()
        assert reads == []
        clock.advance(5)
    assert reads == [60] * 50


@pytest.mark.asyncio
async def test_a_fire_and_forget_fact_takes_its_way_and_an_awaited_one_returns_at_once_later(
    clock: VirtualClock,
) -> None:
    hub, scheduler = build_scheduler(clock)
    ticket = await scheduler.publish([Added("a")])
    ticket.fire_and_forget()
    clock.advance(5)
    assert hub.read(COUNT) == 1
    await ticket.await_processed()


@pytest.mark.asyncio
async def test_producers_wait_for_room_and_lose_nothing(clock: VirtualClock) -> None:
    hub, scheduler = build_scheduler(clock, publish_capacity=2)
    scheduler.pause()
    producers = [asyncio.create_task(scheduler.publish([Added(f"{index}")])) for index in range(5)]
    await turn()
    assert [producer.done() for producer in producers] == [True, True, False, False, False]
    assert scheduler.statistics().queued_fact_count == 2
    producers[3].cancel()
    await turn()
    scheduler.resume()
    await turn()
    clock.advance(5)
    assert [producer.done() for producer in producers] == [True] * 5
    assert producers[3].cancelled()
    assert hub.read(COUNT) == 4
    for producer in (producers[index] for index in (0, 1, 2, 4)):
        await (await producer).await_processed()


@pytest.mark.asyncio
async def test_shutdown_settles_who_waits_for_room_and_who_waits_for_a_fact(clock: VirtualClock) -> None:
    hub, scheduler = build_scheduler(clock, publish_capacity=1)
    scheduler.pause()
    ticket = await scheduler.publish([Added("taken")])
    never = scheduler.commit_of(["never delivered"])
    waiting = asyncio.create_task(scheduler.publish([Added("refused")]))
    lost = asyncio.create_task(never.await_processed())
    await turn()
    scheduler.shutdown()
    await ticket.await_processed()
    assert hub.read(COUNT) == 1
    with pytest.raises(SchedulerShutdown, match="publish 1 facts"):
        await waiting
    with pytest.raises(SchedulerShutdown, match="process these facts"):
        await lost

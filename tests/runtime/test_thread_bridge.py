"""Another thread gets the newest snapshot on its own ground, and commits from there."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from antiphon import Fact, Journal, Signal, SignalNotFound, view
from antiphon.reactive import HandlerUnavailable, SignalHub, Update
from antiphon.runtime.thread_bridge import Following, ThreadBridge

pytestmark = pytest.mark.asyncio

COUNT: Signal[int] = Signal("app:count", int)


class Pressed(Fact, kind="bridge.pressed", version=1):
    key: str


@view(Pressed, initial=())
def keys(state: tuple[str, ...], fact: Pressed) -> tuple[str, ...]:
    return (*state, fact.key)


class Toolkit:
    """A UI toolkit: calls are run by whoever turns its crank."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.seen: list[tuple[int, int, int]] = []

    def show(self, update: Update[int]) -> None:
        self.seen.append((update.value, update.skipped, threading.get_ident()))

    def turn(self) -> int:
        """Run what was posted, on this thread; how many calls that were."""
        count = self.calls.qsize()
        for _ in range(count):
            self.calls.get()()
        return count


def build() -> tuple[SignalHub, Toolkit, ThreadBridge]:
    hub = SignalHub()
    hub.register(COUNT, 0, external=True)
    return hub, Toolkit(), ThreadBridge(hub)


async def test_a_busy_thread_has_one_call_waiting_and_gets_the_newest_with_what_it_missed() -> None:
    hub, toolkit, bridge = build()
    bridge.follow(COUNT, toolkit.show, post=toolkit.calls.put)
    for value in range(1, 1_000):
        hub.emit(COUNT, value)
    assert toolkit.calls.qsize() == 1
    assert await asyncio.to_thread(toolkit.turn) == 1
    hub.emit(COUNT, 1_000)
    assert await asyncio.to_thread(toolkit.turn) == 1
    assert [(value, skipped) for value, skipped, _ in toolkit.seen] == [(999, 999), (1_000, 0)]
    assert threading.get_ident() not in {thread for _, _, thread in toolkit.seen}


async def test_nothing_is_called_after_closing_even_when_it_was_posted() -> None:
    hub, toolkit, bridge = build()
    following = bridge.follow(COUNT, toolkit.show, post=toolkit.calls.put)
    following.close()
    following.close()
    assert toolkit.turn() == 1
    await asyncio.sleep(0)
    hub.emit(COUNT, 1)
    assert (toolkit.seen, toolkit.calls.qsize()) == ([], 0)
    (stats,) = [each for each in hub.statistics() if each.signal_id == "app:count"]
    assert stats.subscriber_count == 0


async def test_an_unregistered_signal_is_refused_from_any_thread() -> None:
    _, toolkit, bridge = build()
    unknown: Signal[int] = Signal("app:unknown", int)
    with pytest.raises(SignalNotFound):
        bridge.follow(unknown, toolkit.show, post=toolkit.calls.put)
    with pytest.raises(SignalNotFound):
        await asyncio.to_thread(bridge.follow, unknown, toolkit.show, post=toolkit.calls.put)


async def test_another_thread_commits_and_another_loop_follows(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        await journal.wake(keys)
        bridge = journal.thread_bridge()

        async def follow_elsewhere() -> tuple[str, ...]:
            arrived: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
            loop = asyncio.get_running_loop()
            following = await asyncio.to_thread(
                bridge.follow,
                keys.signal,
                lambda update: arrived.put_nowait(update.value),
                post=loop.call_soon_threadsafe,
            )
            await asyncio.wrap_future(bridge.start(journal.commit(Pressed(key="a"))))
            while len(state := await arrived.get()) < 1:
                pass
            following.close()
            return state

        assert await asyncio.to_thread(asyncio.run, follow_elsewhere()) == ("a",)


async def test_threads_that_come_and_go_under_load_see_rising_values_and_the_newest_last() -> None:
    hub, _, bridge = build()
    last, threads = 3_000, 4
    seen: list[list[tuple[int, int]]] = [[] for _ in range(threads)]

    def live(mine: list[tuple[int, int]]) -> None:
        calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for _ in range(20):  # followings that end while calls of theirs are on the way
            bridge.follow(COUNT, lambda update: None, post=lambda call: None).close()
        following = bridge.follow(COUNT, lambda update: mine.append((update.value, update.skipped)), post=calls.put)
        while not mine or mine[-1][0] < last:
            calls.get(timeout=30)()
        following.close()

    tasks = [asyncio.create_task(asyncio.to_thread(live, mine)) for mine in seen]
    for value in range(1, last + 1):
        hub.emit(COUNT, value)
        if value % 7 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    for mine in seen:
        steps = list(pairwise(mine))
        assert all(after == before + skipped + 1 for (before, _), (after, skipped) in steps), "none missed uncounted"
        assert mine[-1][0] == last
    await asyncio.sleep(0)
    (stats,) = [each for each in hub.statistics() if each.signal_id == "app:count"]
    assert stats.subscriber_count == 0


async def test_a_bridge_whose_loop_has_ended_says_so_and_leaves_nothing_half_begun() -> None:
    def outlive() -> tuple[ThreadBridge, Following[int]]:
        async def make() -> tuple[ThreadBridge, Following[int]]:
            _, toolkit, bridge = build()
            return bridge, bridge.follow(COUNT, toolkit.show, post=toolkit.calls.put)

        return asyncio.run(make())

    bridge, following = await asyncio.to_thread(outlive)
    with pytest.raises(HandlerUnavailable, match="its loop has ended"):
        bridge.call(lambda: 1)
    with pytest.raises(HandlerUnavailable, match="its loop has ended"):
        bridge.start(asyncio.sleep(0))
    with pytest.raises(HandlerUnavailable, match="its loop has ended"):
        bridge.follow(COUNT, lambda update: None, post=lambda call: None)
    following.close()
    following.close()

"""What a browser follows: several signals as one stream of deltas that can be taken up again where it broke off.

Knows no HTTP. A reader is a `Cursor`, the version it has of each signal: nothing is queued for anybody, so a slow
reader costs no memory, and gets the deltas since, or the whole when those are no longer kept.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson

from antiphon.reactive import DeltaLog, Signal, SignalHub

_CURSOR = re.compile(r"([0-9a-f]{1,32})((?:\.(?:\d{1,18}|-))+)")


class Cursor(NamedTuple):
    """Which version of each signal a reader has, None for none, in the run of a server that ``run`` names."""

    run: str
    versions: tuple[int | None, ...]

    def __str__(self) -> str:
        """As an event's id writes it.

        >>> str(Cursor("c0ffee", (3, None))), parse_cursor("c0ffee.3.-")
        ('c0ffee.3.-', Cursor(run='c0ffee', versions=(3, None)))
        """
        return ".".join([self.run, *("-" if version is None else str(version) for version in self.versions)])


class FeedEvent(NamedTuple):
    """Deltas by topic, as JSON bytes, and the cursor of who has taken them."""

    cursor: Cursor
    data: bytes


class Feed:
    """Follows *signals* of a hub by topic; all are registered already. *run* tells this run from others; hex.

    Costs one patch an emission of each signal, however many readers there are. Close it when done.
    """

    def __init__(self, hub: SignalHub, signals: Mapping[str, Signal[Any]], *, run: str) -> None:
        self.topics = tuple(signals)
        self.run = run
        self._logs = tuple(DeltaLog(hub, signal) for signal in signals.values())
        self._is_closed = False
        self._waiters: set[asyncio.Future[None]] = set()
        self.reader_count = 0
        # After the logs: when these are called, the logs hold the delta.
        self._bells = tuple(hub.subscribe(signal, policy="latest", replay_current=False) for signal in signals.values())
        for bell in self._bells:
            bell.for_each(lambda _: self._wake(), on_end=self._end)

    @contextmanager
    def read(self, last: str | None = None) -> Iterator[Reader]:
        """Read on from the id of an event, *last*; from the beginning when that means nothing here."""
        cursor = parse_cursor(last) if last is not None else None
        if cursor is None or cursor.run != self.run or len(cursor.versions) != len(self.topics):
            cursor = Cursor(self.run, (None,) * len(self.topics))
        self.reader_count += 1
        try:
            yield Reader(self, cursor)
        finally:
            self.reader_count -= 1

    def since(self, cursor: Cursor) -> FeedEvent | None:
        """What makes the present of what a reader has, in one piece over all signals; None when it has the present."""
        changes: dict[str, list[dict[str, Any]]] = {}
        versions = list(cursor.versions)
        for place, (topic, log) in enumerate(zip(self.topics, self._logs, strict=True)):
            deltas = log.since(versions[place])
            if deltas:
                changes[topic] = [delta.to_json() for delta in deltas]
                versions[place] = deltas[-1].seq
        if not changes:
            return None
        return FeedEvent(Cursor(self.run, tuple(versions)), orjson.dumps(changes))

    async def wait(self, *, timeout_s: float) -> bool:
        """Wait for something new, or the end; whether it came in time."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True

    def close(self) -> None:
        """Follow no more; readers end. Closing twice is fine."""
        for bell in self._bells:
            bell.close()
        for log in self._logs:
            log.close()
        self._end()

    @property
    def is_closed(self) -> bool:
        """Whether nothing new will come."""
        return self._is_closed

    def _end(self) -> None:
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        # Readers run in the next turn of the loop, when the whole batch is in the logs.
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Reader:
    """One who follows a feed, and how far they are: all that is kept for them."""

    def __init__(self, feed: Feed, cursor: Cursor) -> None:
        self._feed = feed
        self.cursor = cursor

    async def next(self, *, timeout_s: float) -> FeedEvent | None:
        """What is new, waiting for it; None when nothing came within *timeout_s*, or the feed has ended."""
        while (event := self._feed.since(self.cursor)) is None:
            if self._feed.is_closed or not await self._feed.wait(timeout_s=timeout_s):
                return None
        self.cursor = event.cursor
        return event


def parse_cursor(text: str) -> Cursor | None:
    """Read what ``str(cursor)`` wrote; None for anything else."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    parts: Sequence[str] = found[2][1:].split(".")
    return Cursor(found[1], tuple(None if part == "-" else int(part) for part in parts))

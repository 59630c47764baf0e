"""What a browser follows: several signals as one stream of deltas that can be taken up again where it broke off.

Knows no HTTP. A reader is a `Cursor`, the version it has of each signal: nothing is queued for anybody, so a slow
reader costs no memory, and gets the deltas since, or the whole when those are no longer kept. Beside what everybody
follows, a reader may follow one part of its own, such as the messages of the channel that its page shows.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson

from antiphon.reactive import DeltaLog, LiveSignal, Signal, SignalHub

# Parts that somebody followed lately stay followed, so that a page that was cut off gets what it missed and no more.
PARTS_KEPT = 32
# Cursors tell the versions of a part from those of an earlier one of the same name.
_LIFE = 10**9

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


class _Log:
    """The deltas of one signal, and a bell that rings when there are new ones."""

    def __init__(
        self, hub: SignalHub, signal: Signal[Any], *, ring: Callable[[], None], end: Callable[[], None]
    ) -> None:
        self._deltas = DeltaLog(hub, signal)
        # After the log: when this is called, the log holds the delta.
        self._bell = hub.subscribe(signal, policy="latest", replay_current=False)
        self._bell.for_each(lambda _: ring(), on_end=end)
        self.since = self._deltas.since

    def close(self) -> None:
        self._bell.close()
        self._deltas.close()


class Part:
    """What some readers follow beside the rest; ``first`` is where its versions begin in a cursor."""

    def __init__(self, live: LiveSignal[Any], first: int, *, ring: Callable[[], None], end: Callable[[], None]) -> None:
        self._live = live
        self.first = first
        self.log = _Log(live.hub, live.key, ring=ring, end=end)
        self.reader_count = 0

    def close(self) -> None:
        """Follow it no more."""
        self.log.close()
        self._live.close()


class Feed:
    """Follows *signals* of a hub by topic; all are registered already. *run* tells this run from others; hex.

    *part* makes the signal of a part by its name; it is shown as the topic *part_topic* to the readers that ask for it.
    Costs one patch an emission of each signal, however many readers there are. Close it when done.
    """

    def __init__(
        self,
        hub: SignalHub,
        signals: Mapping[str, Signal[Any]],
        *,
        run: str,
        part: Callable[[str], LiveSignal[Any]] | None = None,
        part_topic: str = "part",
    ) -> None:
        self.topics = tuple(signals)
        self.run = run
        self.reader_count = 0
        self._is_closed = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._logs = tuple(_Log(hub, signal, ring=self._wake, end=self._end) for signal in signals.values())
        self._make_part = part
        self._part_topic = part_topic
        self._parts: dict[str, Part] = {}  # the one that was asked for last at the end
        self._lives = 0

    @contextmanager
    def read(self, last: str | None = None, *, part: str | None = None) -> Iterator[Reader]:
        """Read on from the id of an event, *last*; from the beginning when that means nothing here."""
        own = None if part is None else self._part_of(part)
        count = len(self.topics) + (self._make_part is not None)
        cursor = parse_cursor(last) if last is not None else None
        if cursor is None or cursor.run != self.run or len(cursor.versions) != count:
            cursor = Cursor(self.run, (None,) * count)
        self.reader_count += 1
        if own is not None:
            own.reader_count += 1
        try:
            yield Reader(self, cursor, own)
        finally:
            self.reader_count -= 1
            if own is not None:
                own.reader_count -= 1

    def since(self, cursor: Cursor, part: Part | None = None) -> FeedEvent | None:
        """What makes the present of what a reader has, in one piece over all signals; None when it has the present."""
        changes: dict[str, list[dict[str, Any]]] = {}
        versions = list(cursor.versions)
        followed = [(topic, log, 0) for topic, log in zip(self.topics, self._logs, strict=True)]
        if part is not None:
            followed.append((self._part_topic, part.log, part.first))
        for place, (topic, log, first) in enumerate(followed):
            known = versions[place]
            deltas = log.since(known - first if known is not None and known >= first else None)
            if deltas:
                changes[topic] = [delta.to_json() for delta in deltas]
                versions[place] = first + deltas[-1].seq
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
        for log in self._logs:
            log.close()
        for part in self._parts.values():
            part.close()
        self._parts.clear()
        self._end()

    def _part_of(self, name: str) -> Part | None:
        if self._make_part is None or self._is_closed:
            return None
        found = self._parts.pop(name, None)
        if found is None:
            self._lives += 1
            live = self._make_part(name)
            found = Part(live, self._lives * _LIFE, ring=self._wake, end=self._end)
        self._parts[name] = found
        unread = [each for each, known in self._parts.items() if not known.reader_count and known is not found]
        for each in unread[: max(0, len(self._parts) - PARTS_KEPT)]:
            self._parts.pop(each).close()
        return found

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

    def __init__(self, feed: Feed, cursor: Cursor, part: Part | None = None) -> None:
        self._feed = feed
        self._part = part
        self.cursor = cursor

    async def next(self, *, timeout_s: float) -> FeedEvent | None:
        """What is new, waiting for it; None when nothing came within *timeout_s*, or the feed has ended."""
        while (event := self._feed.since(self.cursor, self._part)) is None:
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

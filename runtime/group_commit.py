"""Group commit: frames wait while a sync is under way, then go to the disk together under one ``fdatasync``.

Knows frames as bytes and positions; what they mean to chains and views is the engine's business. One thread, one owner.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from antiphon.journal import LogPosition, LogWriter, StoreUnavailable

from .threads import SYSTEM_THREADS, Threads

T = TypeVar("T")
A = TypeVar("A")

# Beyond this the disk is the bottleneck; more waiting windows would only add latency.
PENDING_FRAMES_MAX = 8


class Outgoing(NamedTuple, Generic[T]):
    """A frame on its way to the disk, with whatever its owner wants back afterwards."""

    data: bytes
    frame_hash: str
    fact_count: int
    cargo: T
    starts_file: bool = False
    """Whether everything written before may be closed away: the frame goes into a new log file."""


class Written(NamedTuple, Generic[T]):
    """A frame that is on stable storage: where it starts and the position just after it."""

    file_number: int
    offset: int
    position: LogPosition
    cargo: T


class GroupCommit(Generic[T]):
    """Hands frames to the log's thread, at most one sync outstanding, and reports back on the loop in order."""

    def __init__(
        self,
        writer: LogWriter,
        *,
        on_written: Callable[[Sequence[Written[T]]], None],
        on_failed: Callable[[Sequence[T], StoreUnavailable], None],
        threads: Threads = SYSTEM_THREADS,
    ) -> None:
        self._writer = writer
        self._on_written = on_written
        self._on_failed = on_failed
        self._loop = asyncio.get_running_loop()
        self._lane = threads.lane("antiphon-log")
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._waiting: deque[Outgoing[T]] = deque()
        self._writing: list[Outgoing[T]] = []
        self._fact_count = writer.synced.fact_count
        self._changed: list[asyncio.Future[None]] = []
        self.sync_count = 0

    @property
    def pending_count(self) -> int:
        """Frames that are not durable yet."""
        return len(self._waiting) + len(self._writing)

    def submit(self, frame: Outgoing[T]) -> None:
        """Queue a frame; the disk sees it now, or with its neighbours after the sync under way."""
        self._waiting.append(frame)
        if not self._writing:
            self._start()

    async def wait_for_room(self) -> None:
        """Return when fewer than eight frames are pending."""
        while self.pending_count >= PENDING_FRAMES_MAX:
            await self._change()

    async def give_way(self, *, writes_max: int) -> None:
        """For work that is not urgent: return when nothing is on its way to the disk, or after so many writes.

        Whoever waited for a write has had a turn of the loop then, and may have begun the next one.
        """
        for _ in range(writes_max):
            await asyncio.sleep(0)
            if not self.pending_count:
                return
            await self._change()

    async def drain(self) -> None:
        """Return when nothing is pending."""
        while self.pending_count:
            await self._change()

    async def close(self) -> LogPosition:
        """Drain, close the log and end the thread; returns where the log ends."""
        await self.drain()
        self._lane.submit(self._end)
        await asyncio.shield(self._closed)
        self._lane.close()
        return self._writer.synced

    def abandon(self) -> None:
        """End the thread and close the log when the loop is gone, so that nobody is told; blocks for a sync under
        way."""
        self._lane.submit(self._end)
        self._lane.close()

    def _start(self) -> None:
        self._writing = list(self._waiting)
        self._waiting.clear()
        self._lane.submit(partial(self._work, self._writing))

    def _work(self, frames: Sequence[Outgoing[T]]) -> None:
        """On the log's thread."""
        try:
            self._write(frames)
        except Exception as problem:  # the thread must outlive it, or every later commit would wait for ever
            unexpected = StoreUnavailable(f"the log could not be written: {type(problem).__name__}: {problem}")
            self._tell(self._failed, unexpected)

    def _end(self) -> None:
        """The last that the log's thread does."""
        self._writer.close()
        self._tell(self._note_closed, None)

    def _note_closed(self, _nothing: None) -> None:
        if not self._closed.done():  # a close that was interrupted is begun again
            self._closed.set_result(None)

    def _tell(self, callback: Callable[[A], object], argument: A) -> None:
        """Report to the loop; when that was closed under us nobody waits any more, and the log has what it has."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, argument)

    def _write(self, frames: Sequence[Outgoing[T]]) -> None:
        """On the log's thread."""
        before = self._fact_count
        count = before + sum(frame.fact_count for frame in frames)
        if any(frame.starts_file for frame in frames):
            self._writer.rotate()
        try:
            places = self._writer.append(
                [frame.data for frame in frames], LogPosition(0, 0, frames[-1].frame_hash, count)
            )
        except StoreUnavailable as problem:
            self._tell(self._failed, problem)
            return
        self._fact_count = count
        written: list[Written[T]] = []
        for frame, (number, offset) in zip(frames, places, strict=True):
            before += frame.fact_count
            end = LogPosition(number, offset + len(frame.data), frame.frame_hash, before)
            written.append(Written(number, offset, end, frame.cargo))
        self._tell(self._done, written)

    def _done(self, written: Sequence[Written[T]]) -> None:
        self.sync_count += 1
        self._writing = []
        if self._waiting:
            self._start()
        try:
            self._on_written(written)
        finally:
            self._announce()

    def _failed(self, problem: StoreUnavailable) -> None:
        # Frames that were built on the failed one name its hash, so they fail with it.
        cargo = [frame.cargo for frame in (*self._writing, *self._waiting)]
        self._writing = []
        self._waiting.clear()
        try:
            self._on_failed(cargo, problem)
        finally:
            self._announce()

    async def _change(self) -> None:
        waiter = self._loop.create_future()
        self._changed.append(waiter)
        await waiter

    def _announce(self) -> None:
        waiters, self._changed = self._changed, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

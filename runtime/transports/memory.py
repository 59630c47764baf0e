"""A connection inside one process: two ends, two bounded queues, no copy of the bytes.

Used by ``Journal.sync_with`` and by tests; it behaves as a socket does, slow peers and sudden ends included.
"""

from __future__ import annotations

import asyncio
from collections import deque

from .transport import ByteCounts, PeerLost, check_frame, wire_size

# As much as a socket's buffers hold on an ordinary machine; beyond it ``send`` waits.
QUEUE_BYTES_MAX = 256 * 1024


class _Pipe:
    """Frames in one direction. ``send`` waits while more than the bound is queued; ``end`` lets the rest be read."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._frames: deque[bytes] = deque()
        self._queued = 0
        self._changed = asyncio.Event()
        self._is_ended = False
        self._is_unread = False

    async def put(self, frames: tuple[bytes, ...]) -> None:
        for frame in frames:
            if self._is_ended or self._is_unread:
                raise PeerLost("the other end is closed")
            self._frames.append(frame)
            self._queued += len(frame)
        self._announce()
        while self._queued > self._bytes_max and not self._is_unread:
            if self._is_ended:
                raise PeerLost("this end was closed while the other did not read")
            await self._change()

    async def get(self) -> bytes:
        while not self._frames:
            if self._is_ended or self._is_unread:
                raise PeerLost("the other end is closed")
            await self._change()
        frame = self._frames.popleft()
        self._queued -= len(frame)
        self._announce()
        return frame

    def end(self) -> None:
        """No more will be put."""
        self._is_ended = True
        self._announce()

    def abandon(self) -> None:
        """Nobody reads any more."""
        self._is_unread = True
        self._frames.clear()
        self._queued = 0
        self._announce()

    def _announce(self) -> None:
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class MemoryConnection:
    """One end of a pair; see ``memory_pair``."""

    def __init__(self, peer: str, outgoing: _Pipe, incoming: _Pipe) -> None:
        self._peer = peer
        self._outgoing = outgoing
        self._incoming = incoming
        self._sent = 0
        self._received = 0

    @property
    def peer(self) -> str:
        """The name given to the other end."""
        return self._peer

    @property
    def counts(self) -> ByteCounts:
        """Bytes sent and received so far, as a wire would count them."""
        return ByteCounts(self._sent, self._received)

    async def send(self, *frames: bytes) -> None:
        """Queue frames, and wait while too much is queued."""
        for frame in frames:
            check_frame(frame)
        self._sent += sum(map(wire_size, frames))
        await self._outgoing.put(frames)

    async def receive(self) -> bytes:
        """The next frame."""
        frame = await self._incoming.get()
        self._received += wire_size(frame)
        return frame

    async def close(self) -> None:
        """End both directions; what was sent before can still be read at the other end."""
        self.drop()

    def drop(self) -> None:
        """The same, without waiting: nothing here takes time."""
        self._outgoing.end()
        self._incoming.abandon()


def memory_pair(
    *, first: str = "memory:first", second: str = "memory:second", bytes_max: int = QUEUE_BYTES_MAX
) -> tuple[MemoryConnection, MemoryConnection]:
    """Two connected ends; *first* and *second* are their names, as the other end sees them."""
    there, back = _Pipe(bytes_max), _Pipe(bytes_max)
    return MemoryConnection(second, there, back), MemoryConnection(first, back, there)

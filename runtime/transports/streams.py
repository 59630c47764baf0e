"""Frames over a pair of asyncio streams that somebody else opened: a proxy, a subprocess, an SSH channel.

Opens nothing and knows no address. The connections of `tcp.py` cost less; this one takes what is there.
"""

from __future__ import annotations

import asyncio
from collections import deque

from antiphon.journal.sync.messages import LENGTH_BYTES, OversizedFrame

from .framing import FrameCutter, lay_out
from .transport import ByteCounts, PeerLost

READ_BYTES = 256 * 1024


class StreamConnection:
    """One end of a conversation over a reader and a writer, which are this connection's from now on."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, peer: str = "a stream") -> None:
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._cutter = FrameCutter()
        self._frames: deque[bytes] = deque()
        self._problem: PeerLost | OversizedFrame | None = None
        self._is_closed = False
        self._sent = self._received = 0

    @property
    def peer(self) -> str:
        """The name that was given to the other end."""
        return self._peer

    @property
    def counts(self) -> ByteCounts:
        """Bytes of frames sent and received so far, lengths included."""
        return ByteCounts(self._sent, self._received)

    async def send(self, *frames: bytes) -> None:
        """Write frames together, and wait while the peer is slow. Raises ``PeerLost``."""
        if self._is_closed or isinstance(self._problem, PeerLost):
            raise self._lost()
        stream = lay_out(frames)
        self._sent += len(stream)
        try:
            self._writer.write(stream)
            await self._writer.drain()
        except OSError as problem:
            self._problem = PeerLost(f"{self._peer}: {problem.strerror or problem}")
            raise self._problem from problem

    async def receive(self) -> bytes:
        """The next frame. Cancelling it loses nothing."""
        while not self._frames:
            if self._is_closed:
                raise self._lost()
            if self._problem is not None:
                raise self._problem
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError as problem:
                self._problem = PeerLost(f"{self._peer}: {problem.strerror or problem}")
                continue
            if data:
                self._frames.extend(self._cutter.feed(data))
                self._problem = self._cutter.problem
            else:
                torn = f", in the middle of a frame ({self._cutter.held} bytes of it)" if self._cutter.held else ""
                self._problem = PeerLost(f"{self._peer}: the stream ended{torn}")
        frame = self._frames.popleft()
        self._received += LENGTH_BYTES + len(frame)
        return frame

    async def close(self) -> None:
        """Send what was handed over and let go. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._writer.close()
            await self._writer.wait_closed()
        except OSError:
            return  # the peer was quicker

    def drop(self) -> None:
        """Let go at once, without a word."""
        self._is_closed = True
        self._writer.transport.abort()

    def _lost(self) -> PeerLost:
        return self._problem if isinstance(self._problem, PeerLost) else PeerLost(f"{self._peer}: this end is closed")

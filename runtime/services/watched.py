"""A connection that remembers what the peer last said of its state, and is read no faster than a rate limit allows.

A limit delays and drops nothing: what is not read waits at the peer. Facts are free, since taking them in pushes back
already; everything else costs a token.
"""

from __future__ import annotations

from antiphon.journal.sync.messages import HEAD_BYTES, Error, ErrorCode, Facts, MessageViolation, Root, decode

from ..resilience import RateLimiter, Timing
from ..transports.transport import Connection
from ..transports.wrapped import WrappedConnection


class WatchedConnection(WrappedConnection):
    """A connection that keeps the last ROOT and ERROR it heard, and lets a rate limit slow it down."""

    def __init__(self, connection: Connection, limiter: RateLimiter | None, timing: Timing) -> None:
        super().__init__(connection)
        self._limiter = limiter
        self._timing = timing
        self._debt_s = 0.0
        self.remote_root = ""
        self.error_code: ErrorCode | None = None

    async def receive(self) -> bytes:
        """The next frame, not before the limit allows; the pause is made first, so that cancelling loses no frame."""
        if self._debt_s > 0:
            await self._timing.sleep(self._debt_s)
            self._debt_s = 0.0
        frame = await super().receive()
        kind = frame[HEAD_BYTES - 1] if len(frame) >= HEAD_BYTES else 0
        if self._limiter is not None and kind != Facts.kind:
            self._debt_s = self._limiter.reserve(host_of(self.peer))
        if kind in (Root.kind, Error.kind):
            self._remember(frame)
        return frame

    def _remember(self, frame: bytes) -> None:
        try:
            message = decode(frame)
        except MessageViolation:
            return  # the session will say so
        if isinstance(message, Root):
            self.remote_root = message.fingerprint.hex()
        elif isinstance(message, Error):
            self.error_code = message.code


def host_of(peer: str) -> str:
    """A peer's name without the port that it happens to come from, so that it cannot begin anew by reconnecting."""
    host, colon, port = peer.rpartition(":")
    return host if colon and port.isdigit() else peer

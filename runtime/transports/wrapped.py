"""A connection around another one, for what remembers, delays, asks first or breaks things on the way.

Does by itself nothing that the connection inside would not do.
"""

from __future__ import annotations

from .transport import ByteCounts, Connection


class WrappedConnection:
    """Passes everything on; a subclass overrides what it does otherwise."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def peer(self) -> str:
        """Who is at the other end of the connection inside."""
        return self._connection.peer

    @property
    def counts(self) -> ByteCounts:
        """What the connection inside carried."""
        return self._connection.counts

    async def send(self, *frames: bytes) -> None:
        """Hand over frames. Raises ``PeerLost``."""
        await self._connection.send(*frames)

    async def receive(self) -> bytes:
        """The next frame. Raises ``PeerLost`` and ``OversizedFrame``."""
        return await self._connection.receive()

    async def close(self) -> None:
        """Close the connection inside."""
        await self._connection.close()

    def drop(self) -> None:
        """Let go of it at once."""
        self._connection.drop()

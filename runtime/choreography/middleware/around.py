"""What all middleware shares: a handler that passes everything on to the one inside.

Subclasses change what they are for. ``broadcast`` and ``parallel_send`` go through the outermost ``send``, and so
through every layer.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Generic, TypeVar

from ..handler import ChoreoHandler

T = TypeVar("T")
E = TypeVar("E")


class Around(ChoreoHandler[E], Generic[E]):
    """Passes everything on."""

    def __init__(self, inner: ChoreoHandler[E]) -> None:
        self.inner = inner
        self.profile = inner.profile

    async def send(self, endpoint: E, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        await self.inner.send(endpoint, to, message)

    async def recv(
        self, endpoint: E, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``ChoreoHandler``."""
        return await self.inner.recv(endpoint, sender, kind, label=label)

    async def choose(self, endpoint: E, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        await self.inner.choose(endpoint, to, label)

    async def offer(self, endpoint: E, sender: str) -> str:
        """See ``ChoreoHandler``."""
        return await self.inner.offer(endpoint, sender)

    async def with_timeout(self, endpoint: E, at: str, seconds: float, body: Awaitable[T]) -> T:
        """See ``ChoreoHandler``."""
        return await self.inner.with_timeout(endpoint, at, seconds, body)

    async def close(self, endpoint: E) -> None:
        """See ``ChoreoHandler``."""
        await self.inner.close(endpoint)

    async def extend(self, endpoint: E, extension: object) -> object:
        """See ``ChoreoHandler``."""
        return await self.inner.extend(endpoint, extension)

"""Counts of what went through, as seen from here: a retry further in is one send, further out it is several."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import NamedTuple, TypeVar

from ...resilience import Timing
from ..errors import TimedOut
from ..handler import ChoreoHandler
from .around import Around

T = TypeVar("T")
E = TypeVar("E")

_MACHINE_TIME = Timing()


class MetricsSnapshot(NamedTuple):
    """Operations that succeeded, sends and receives that failed, timed parts that ran out, and seconds they took."""

    send_count: int = 0
    recv_count: int = 0
    error_count: int = 0
    choose_count: int = 0
    offer_count: int = 0
    timeout_count: int = 0
    send_s: float = 0.0
    recv_s: float = 0.0


class Metrics(Around[E]):
    """Counts; reading resets nothing."""

    def __init__(self, inner: ChoreoHandler[E], *, timing: Timing = _MACHINE_TIME) -> None:
        super().__init__(inner)
        self._elapsed_s = timing.elapsed_s
        self._now = MetricsSnapshot()

    @property
    def send_count(self) -> int:
        """Sends that succeeded."""
        return self._now.send_count

    @property
    def recv_count(self) -> int:
        """Receives that succeeded."""
        return self._now.recv_count

    @property
    def error_count(self) -> int:
        """Sends and receives that failed."""
        return self._now.error_count

    def snapshot(self) -> MetricsSnapshot:
        """All counts."""
        return self._now

    def reset(self) -> None:
        """Begin again at nothing."""
        self._now = MetricsSnapshot()

    async def send(self, endpoint: E, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        start_s = self._elapsed_s()
        await self._counted(self.inner.send(endpoint, to, message))
        now = self._now
        self._now = now._replace(send_count=now.send_count + 1, send_s=now.send_s + self._elapsed_s() - start_s)

    async def recv(
        self, endpoint: E, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``ChoreoHandler``."""
        start_s = self._elapsed_s()
        message = await self._counted(self.inner.recv(endpoint, sender, kind, label=label))
        now = self._now
        self._now = now._replace(recv_count=now.recv_count + 1, recv_s=now.recv_s + self._elapsed_s() - start_s)
        return message

    async def choose(self, endpoint: E, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        await self.inner.choose(endpoint, to, label)
        self._now = self._now._replace(choose_count=self._now.choose_count + 1)

    async def offer(self, endpoint: E, sender: str) -> str:
        """See ``ChoreoHandler``."""
        label = await self.inner.offer(endpoint, sender)
        self._now = self._now._replace(offer_count=self._now.offer_count + 1)
        return label

    async def with_timeout(self, endpoint: E, at: str, seconds: float, body: Awaitable[T]) -> T:
        """See ``ChoreoHandler``."""
        try:
            return await self.inner.with_timeout(endpoint, at, seconds, body)
        except TimedOut:
            self._now = self._now._replace(timeout_count=self._now.timeout_count + 1)
            raise

    async def _counted(self, inside: Awaitable[T]) -> T:
        try:
            return await inside
        except Exception:
            self._now = self._now._replace(error_count=self._now.error_count + 1)
            raise

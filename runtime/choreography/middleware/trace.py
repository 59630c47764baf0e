"""Every operation told before and after, with how it ended and how long it took. Changes no result."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ...resilience import Timing
from ..errors import TimedOut
from ..handler import ChoreoHandler, label_of
from .around import Around

T = TypeVar("T")
E = TypeVar("E")

_LOGGER = logging.getLogger("antiphon.choreography")
_MACHINE_TIME = Timing()


class Trace(Around[E]):
    """Tells ``sink`` a line before and after each operation; the sink is the logger ``antiphon.choreography`` (debug).

    A line names peers and labels, never what a message holds.
    """

    def __init__(
        self,
        inner: ChoreoHandler[E],
        prefix: str = "choreo",
        *,
        sink: Callable[[str], None] = _LOGGER.debug,
        timing: Timing = _MACHINE_TIME,
    ) -> None:
        super().__init__(inner)
        self._prefix = prefix
        self._sink = sink
        self._elapsed_s = timing.elapsed_s

    async def send(self, endpoint: E, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        await self._told(f"send {label_of(message)} to {to}", self.inner.send(endpoint, to, message))

    async def recv(
        self, endpoint: E, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``ChoreoHandler``."""
        what = label if label is not None else kind.__name__ if kind is not None else "anything"
        return await self._told(f"recv {what} from {sender}", self.inner.recv(endpoint, sender, kind, label=label))

    async def choose(self, endpoint: E, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        await self._told(f"choose {label} for {to}", self.inner.choose(endpoint, to, label))

    async def offer(self, endpoint: E, sender: str) -> str:
        """See ``ChoreoHandler``."""
        return await self._told(f"offer from {sender}", self.inner.offer(endpoint, sender))

    async def with_timeout(self, endpoint: E, at: str, seconds: float, body: Awaitable[T]) -> T:
        """See ``ChoreoHandler``."""
        return await self._told(f"timeout {seconds:g} s at {at}", self.inner.with_timeout(endpoint, at, seconds, body))

    async def extend(self, endpoint: E, extension: object) -> object:
        """See ``ChoreoHandler``."""
        return await self._told(f"extend {type(extension).__name__}", self.inner.extend(endpoint, extension))

    async def _told(self, what: str, inside: Awaitable[T]) -> T:
        self._sink(f"{self._prefix}: {what} …")
        start_s = self._elapsed_s()
        try:
            result = await inside
        except BaseException as problem:
            ending = "expired" if isinstance(problem, TimedOut) else f"{type(problem).__name__}: {problem}"
            self._sink(f"{self._prefix}: {what}: {ending} ({self._elapsed_s() - start_s:.6f} s)")
            raise
        answer = f" {result}" if what.startswith("offer") else ""
        self._sink(f"{self._prefix}: {what}: ok{answer} ({self._elapsed_s() - start_s:.6f} s)")
        return result

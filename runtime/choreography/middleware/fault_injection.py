"""Sends that fail or take their time, by a seed: the same seed, the same schedule. Nothing else is touched."""

from __future__ import annotations

from random import Random
from typing import TypeVar

from antiphon.facts import LocalViolation

from ...resilience import Timing
from ..errors import TransportFailed
from ..handler import ChoreoHandler
from .around import Around

E = TypeVar("E")

_MACHINE_TIME = Timing()


class FaultInjection(Around[E]):
    """A send first waits (``with_delays``), then fails at a ``rate`` from 0 to 1; nothing is asked of the inner one."""

    def __init__(self, inner: ChoreoHandler[E], rate: float, *, timing: Timing = _MACHINE_TIME) -> None:
        super().__init__(inner)
        if not 0 <= rate <= 1:
            raise LocalViolation(f"rate is {rate}; expected 0 (never) to 1 (always)")
        self._rate = rate
        self._timing = timing
        self._delays_s: tuple[float, float] | None = None
        self._dice = Random(0)

    def with_delays(self, low_s: float, high_s: float) -> FaultInjection[E]:
        """Let each send wait between *low_s* and *high_s* seconds first; returns itself."""
        if not 0 <= low_s <= high_s:
            raise LocalViolation(f"delays from {low_s} to {high_s} s; expected 0 <= low <= high")
        self._delays_s = (low_s, high_s)
        return self

    def seed(self, number: int) -> FaultInjection[E]:
        """Begin the schedule of this seed; returns itself."""
        self._dice = Random(number)
        return self

    async def send(self, endpoint: E, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        # Drawn in any case, so that a rate does not shift the delays of a seed.
        delay, chance = self._dice.random(), self._dice.random()
        if self._delays_s is not None:
            low_s, high_s = self._delays_s
            await self._timing.sleep(low_s + delay * (high_s - low_s))
        if chance < self._rate:
            raise TransportFailed("Injected fault")
        await self.inner.send(endpoint, to, message)

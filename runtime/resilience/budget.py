"""One deadline for everything below it: what a part of the work may take is never more than what is left.

Times are seconds of one monotonic clock, which is given. What is running is interrupted by the event loop's own timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from antiphon.facts import AntiphonError, LocalViolation

from ..clock import monotonic_seconds
from ..entropy import system_random

T = TypeVar("T")


class DeadlineExceeded(AntiphonError):
    """The time for a whole operation is used up, at whatever step it was; all in seconds of the operation's clock."""

    def __init__(self, *, deadline_s: float, observed_s: float) -> None:
        self.deadline_s = deadline_s
        self.observed_s = observed_s
        super().__init__(
            f"the deadline at {deadline_s:g} s passed (it is {observed_s:g} s); allow more time, or less work"
        )


def _system_chance() -> float:
    return int.from_bytes(system_random(4), "big") / 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock, the sleep and the dice of whoever has to wait; the machine's own unless given."""

    elapsed_s: Callable[[], float] = monotonic_seconds
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = _system_chance


class TimeoutBudget(NamedTuple):
    """From when to when something may take.

    >>> whole = TimeoutBudget.starting(at_s=100.0, seconds=10.0)
    >>> whole.child(at_s=104.0, seconds=30.0).deadline_s
    110.0
    """

    start_s: float
    deadline_s: float

    @classmethod
    def starting(cls, *, at_s: float, seconds: float) -> TimeoutBudget:
        """A budget of *seconds* from now on; ``LocalViolation`` for none."""
        if not seconds > 0:
            raise LocalViolation(f"a time budget of {seconds:g} s; it must be more than 0")
        return cls(at_s, at_s + seconds)

    def remaining(self, *, at_s: float) -> float:
        """Seconds left; never less than 0."""
        return max(0.0, self.deadline_s - at_s)

    def child(self, *, at_s: float, seconds: float | None = None) -> TimeoutBudget:
        """A part of what is left: at most *seconds*, and never beyond this deadline."""
        return TimeoutBudget(at_s, self.deadline_s if seconds is None else min(self.deadline_s, at_s + seconds))

    def check(self, *, at_s: float) -> None:
        """Raise ``DeadlineExceeded`` when nothing is left."""
        if at_s >= self.deadline_s:
            raise DeadlineExceeded(deadline_s=self.deadline_s, observed_s=at_s)


async def run_within(budget: TimeoutBudget, timing: Timing, work: Callable[[TimeoutBudget], Awaitable[T]]) -> T:
    """Do *work* before the deadline, or cancel it and raise ``DeadlineExceeded``."""
    budget.check(at_s=timing.elapsed_s())
    try:
        async with asyncio.timeout(budget.remaining(at_s=timing.elapsed_s())) as guard:
            return await work(budget)
    except TimeoutError as problem:
        if not guard.expired():
            raise
        raise DeadlineExceeded(deadline_s=budget.deadline_s, observed_s=timing.elapsed_s()) from problem

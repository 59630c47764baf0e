"""Time that a test moves: a clock and the Rx scheduler that runs on it.

Never reads the machine's clock and never sleeps. What an event loop still has to do after a move is the test's to
await; this moves timers only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import HistoricalScheduler
from reactivex.typing import AbsoluteTime, ScheduledAction

State = TypeVar("State")

# Any fixed day does; one in the past shows at once where the machine's clock leaked in.
START = datetime(2024, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CountingScheduler(HistoricalScheduler):
    """Rx's virtual scheduler, that also knows how many timers are armed and how many ever were."""

    def __init__(self, start: datetime) -> None:
        super().__init__(start)
        self.armed_total = 0
        self.armed_count = 0

    def schedule_absolute(
        self, duetime: AbsoluteTime, action: ScheduledAction[State], state: State | None = None
    ) -> DisposableBase:
        """Arm a timer for `duetime`; disposing what is returned disarms it."""
        self.armed_total += 1
        self.armed_count += 1
        is_armed = True

        def disarm() -> None:
            nonlocal is_armed
            if is_armed:
                is_armed = False
                self.armed_count -= 1

        def run(scheduler: SchedulerBase, held: State | None = None) -> DisposableBase | None:
            disarm()
            return action(scheduler, held)

        timer = super().schedule_absolute(duetime, run, state)

        def dispose() -> None:
            disarm()
            timer.dispose()

        return Disposable(dispose)


class VirtualClock:
    """A clock that stands still until `advance`; `scheduler` runs its timers in order of their time, then of arming.

    >>> clock = VirtualClock()
    >>> fired = []
    >>> _ = clock.scheduler.schedule_relative(0.005, lambda *_: fired.append(clock.monotonic()))
    >>> clock.advance(4.9)
    >>> fired
    []
    >>> clock.advance(0.1)
    >>> fired
    [0.005]
    """

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self.scheduler = CountingScheduler(start)

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return (self.scheduler.now - EPOCH) // timedelta(milliseconds=1)

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return (self.scheduler.now - self._start) / timedelta(seconds=1)

    def advance(self, milliseconds: float) -> None:
        """Let time pass, running every timer that becomes due, each at its own time."""
        if milliseconds < 0:
            raise ValueError(f"milliseconds={milliseconds}; expected 0 or more: time does not run backwards")
        self.scheduler.advance_by(timedelta(milliseconds=milliseconds))

    @property
    def armed_count(self) -> int:
        """How many timers are armed now."""
        return self.scheduler.armed_count

    @property
    def armed_total(self) -> int:
        """How many timers were ever armed: the wake-ups a real machine would have been asked for."""
        return self.scheduler.armed_total

"""A circuit breaker: after so many failures in a row nobody asks for a while, then a few trials decide.

    Closed(failures) ── failures_max in a row ──► Open(until)
       ▲                                            │ recovery_s passed, on the next call
       └── trials_max trials succeed ── HalfOpen ◄──┘
                                           └── any trial fails ──► Open(until)

The state depends on nothing but the sequence of calls, outcomes and times. What came of a call that began before the
state changed is not counted. A change from one of the three to another is told to ``on_change``; counting is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from antiphon.facts import AntiphonError, LocalViolation

from ..clock import monotonic_seconds
from ..events import BreakerMoved, Events

T = TypeVar("T")

# One a peer and operation; the longest unused is forgotten, which closes it.
BREAKERS_MAX = 1_024


class CircuitBreakerOpen(AntiphonError):
    """Not tried, since it failed so often of late; worth another try ``retry_in_s`` seconds from now."""

    def __init__(self, name: str, *, retry_in_s: float) -> None:
        self.name = name
        self.retry_in_s = retry_in_s
        super().__init__(f"{name} failed too often of late and is not tried now; try again in {retry_in_s:g} s")


@dataclass(frozen=True, slots=True)
class Closed:
    """Calls go through; so many failed in a row."""

    failures: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """Calls are refused until a time."""

    until_s: float


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """A few trials go through: so many are under way, so many succeeded."""

    running: int = 0
    succeeded: int = 0


BreakerState = Closed | Open | HalfOpen
OnChange = Callable[[BreakerState, BreakerState], None]
_NAMES: dict[type[BreakerState], str] = {Closed: "closed", Open: "open", HalfOpen: "half-open"}


def _untold(before: BreakerState, after: BreakerState) -> None:
    """Nobody listens."""


@dataclass(slots=True, eq=False)
class Permit:
    """Leave for one call; tell how it ended, once."""

    _breaker: CircuitBreaker
    _era: int
    _is_told: bool = False

    def succeed(self) -> None:
        """The call did what it should, or failed in a way that is not the other side's fault."""
        self._tell(True)

    def fail(self) -> None:
        """The call failed."""
        self._tell(False)

    def abandon(self) -> None:
        """The call was cancelled: nothing is known."""
        self._tell(None)

    def _tell(self, outcome: bool | None) -> None:
        if not self._is_told:
            self._is_told = True
            self._breaker._settle(self._era, outcome)


@dataclass(slots=True)
class CircuitBreaker:
    """One breaker; ``state`` may be looked at, calls go through ``call`` or ``admit``.

    ``on_change`` gets the state before and after each change, when it is done; it should not raise.
    """

    name: str = "this"
    failures_max: int = 5
    recovery_s: float = 30.0
    trials_max: int = 1
    elapsed_s: Callable[[], float] = monotonic_seconds
    state: BreakerState = field(default_factory=Closed)
    on_change: OnChange = _untold
    _era: int = 0

    def __post_init__(self) -> None:
        if self.failures_max < 1 or self.trials_max < 1 or self.recovery_s <= 0:
            raise LocalViolation(
                f"failures_max={self.failures_max}, trials_max={self.trials_max}, recovery_s={self.recovery_s:g}; "
                "each must be more than 0"
            )

    def admit(self) -> Permit:
        """Leave for one call; ``CircuitBreakerOpen`` when none is given, which costs nothing."""
        match self.state:
            case Open(until_s):
                now_s = self.elapsed_s()
                if now_s < until_s:
                    raise CircuitBreakerOpen(self.name, retry_in_s=until_s - now_s)
                self._change(HalfOpen(running=1))
            case HalfOpen(running, succeeded):
                if running + succeeded >= self.trials_max:
                    raise CircuitBreakerOpen(self.name, retry_in_s=0.0)
                self.state = HalfOpen(running + 1, succeeded)
            case Closed():
                pass
        return Permit(self, self._era)

    async def call(self, work: Callable[[], Awaitable[T]], *, failures: tuple[type[Exception], ...]) -> T:
        """Do *work* if calls go through; of its errors only *failures* count against it."""
        permit = self.admit()
        try:
            result = await work()
        except failures:
            permit.fail()
            raise
        except Exception:
            permit.succeed()
            raise
        except BaseException:
            permit.abandon()
            raise
        permit.succeed()
        return result

    def _settle(self, era: int, outcome: bool | None) -> None:
        if era != self._era:
            return
        match (self.state, outcome):
            case (Closed(), True):
                self.state = Closed()
            case (Closed(failures), False):
                if failures + 1 >= self.failures_max:
                    self._change(Open(self.elapsed_s() + self.recovery_s))
                else:
                    self.state = Closed(failures + 1)
            case (HalfOpen(running, succeeded), True):
                if succeeded + 1 >= self.trials_max:
                    self._change(Closed())
                else:
                    self.state = HalfOpen(running - 1, succeeded + 1)
            case (HalfOpen(), False):
                self._change(Open(self.elapsed_s() + self.recovery_s))
            case (HalfOpen(running, succeeded), None):
                self.state = HalfOpen(running - 1, succeeded)
            case _:
                return

    def _change(self, state: BreakerState) -> None:
        before, self.state = self.state, state
        self._era += 1
        self.on_change(before, state)


@dataclass(slots=True)
class CircuitBreakers:
    """One breaker for each peer and operation, made when first asked for.

    Who gives ``events`` is told there, as ``BreakerMoved``, what becomes of the breaker from then on; a breaker that
    two journals share tells the one that asked last.
    """

    failures_max: int = 5
    recovery_s: float = 30.0
    trials_max: int = 1
    elapsed_s: Callable[[], float] = monotonic_seconds
    _breakers: dict[tuple[str, str], CircuitBreaker] = field(default_factory=dict)

    def of(self, peer: str, operation: str, *, events: Events | None = None) -> CircuitBreaker:
        """The breaker for *operation* with *peer*."""
        found = self._breakers.pop((peer, operation), None)
        if found is None:
            found = CircuitBreaker(
                f"{operation} with {peer}", self.failures_max, self.recovery_s, self.trials_max, self.elapsed_s
            )
            if len(self._breakers) >= BREAKERS_MAX:
                self._forget(next(iter(self._breakers)))
        if events is not None:
            found.on_change = partial(_tell, events, operation, peer)
        self._breakers[(peer, operation)] = found
        return found

    def _forget(self, key: tuple[str, str]) -> None:
        forgotten = self._breakers.pop(key)
        if not isinstance(forgotten.state, Closed):
            forgotten._change(Closed())


def _tell(events: Events, operation: str, peer: str, before: BreakerState, after: BreakerState) -> None:
    """An opened breaker is trouble, and always told; the way back is told when somebody listens."""
    error_kind = CircuitBreakerOpen.__name__ if isinstance(after, Open) else ""
    if error_kind or events.is_heard:
        moved = BreakerMoved(
            operation=operation,
            peer=events.veil(peer),
            from_state=_NAMES[type(before)],
            to_state=_NAMES[type(after)],
            error_kind=error_kind,
        )
        events.emit(moved)

"""How long to wait before trying again: pure decisions; whoever waits brings the clock and the randomness."""

from __future__ import annotations

from typing import NamedTuple, Protocol

# A link that failed for a year must not overflow a float.
EXPONENT_MAX = 64


class Delays(Protocol):
    """A rule for the pauses between attempts."""

    def delay_s(self, *, attempt: int, chance: float) -> float:
        """Seconds before attempt number *attempt* (from 0) is repeated; *chance* is drawn evenly from 0..1."""
        ...


class Fixed(NamedTuple):
    """The same pause every time.

    >>> [Fixed(0.5).delay_s(attempt=attempt, chance=0.0) for attempt in range(3)]
    [0.5, 0.5, 0.5]
    """

    pause_s: float = 0.1

    def delay_s(self, *, attempt: int, chance: float) -> float:
        """``pause_s``."""
        del attempt, chance
        return self.pause_s


class Linear(NamedTuple):
    """``base_s`` more every time, up to ``cap_s``.

    >>> [Linear(1.0, cap_s=2.5).delay_s(attempt=attempt, chance=0.0) for attempt in range(3)]
    [1.0, 2.0, 2.5]
    """

    base_s: float = 0.1
    cap_s: float = 30.0

    def delay_s(self, *, attempt: int, chance: float) -> float:
        """``base_s`` times the number of attempts so far."""
        del chance
        return min(self.cap_s, self.base_s * (attempt + 1))


class Exponential(NamedTuple):
    """``base_s``, times ``factor`` each time, up to ``cap_s``.

    >>> [Exponential().delay_s(attempt=attempt, chance=0.0) for attempt in range(3)]
    [0.1, 0.2, 0.4]
    """

    base_s: float = 0.1
    cap_s: float = 30.0
    factor: float = 2.0

    def delay_s(self, *, attempt: int, chance: float) -> float:
        """``base_s * factor ** attempt``."""
        del chance
        return min(self.cap_s, self.base_s * self.factor ** min(attempt, EXPONENT_MAX))


class ExponentialWithJitter(NamedTuple):
    """The same give or take ``jitter``, so that peers that lost one server do not come back in step.

    >>> ExponentialWithJitter().delay_s(attempt=0, chance=0.5), ExponentialWithJitter().delay_s(attempt=20, chance=0.5)
    (0.1, 30.0)
    """

    base_s: float = 0.1
    cap_s: float = 30.0
    factor: float = 2.0
    jitter: float = 0.1

    def delay_s(self, *, attempt: int, chance: float) -> float:
        """``min(cap_s, base_s * factor ** attempt)``, times 1 ± ``jitter``."""
        plain = Exponential(self.base_s, self.cap_s, self.factor).delay_s(attempt=attempt, chance=chance)
        return plain * (1 + self.jitter * (2 * chance - 1))

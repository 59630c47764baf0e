"""How long to wait before trying again: pure decisions; whoever waits brings the clock and the randomness."""

from __future__ import annotations

from typing import NamedTuple


class Backoff(NamedTuple):
    """Exponential back-off with jitter: ``base_s``, doubled each time, up to ``cap_s``, give or take ``jitter``.

    >>> Backoff().delay_s(attempt=0, chance=0.5), Backoff().delay_s(attempt=20, chance=0.5)
    (0.1, 30.0)
    """

    base_s: float = 0.1
    cap_s: float = 30.0
    factor: float = 2.0
    jitter: float = 0.1

    def delay_s(self, *, attempt: int, chance: float) -> float:
        """Seconds before attempt number *attempt* (from 0) is repeated; *chance* is drawn evenly from 0..1."""
        # The exponent is bounded so that a link that failed for a year does not overflow a float.
        plain = min(self.cap_s, self.base_s * self.factor ** min(attempt, 64))
        return plain * (1 + self.jitter * (2 * chance - 1))

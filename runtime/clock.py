"""The system's clock: the one place where the library reads it.

Everything else is handed a ``Clock``, so that a run is a function of its inputs.
"""

from __future__ import annotations

import time


class SystemClock:
    """Wall time of this machine."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000


def monotonic_seconds() -> float:
    """A clock for durations; never for facts."""
    return time.perf_counter()

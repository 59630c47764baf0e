"""What one run of a journal came to, in a few plain values: kept in the lock file when it closes, for who looks later.

Measures nothing itself; the statistics of the engine do. Belongs to one process at a time, so it is local and says
nothing about facts.
"""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.reactive import SchedulerStatistics, SignalStatistics

# The busiest say where time goes; ten thousand live queries would not fit into a lock file.
VIEWS_KEPT_MAX = 32


def lagged_count(signals: Sequence[SignalStatistics]) -> int:
    """How many snapshots slow subscribers lost, of all signals together."""
    return sum(each.lagged_count for each in signals)


def recomputation_count(scheduler: SchedulerStatistics, signals: Sequence[SignalStatistics]) -> int:
    """How often views, live queries and derived signals were computed."""
    return sum(each.run_count for each in scheduler.views) + sum(each.run_count for each in signals)


def account_of(
    *, window_count: int, scheduler: SchedulerStatistics, signals: Sequence[SignalStatistics]
) -> dict[str, object]:
    """The account of a run, ready for JSON: windows and batches, latencies (µs), lag, recomputations, busiest views.

    O(views log views).
    """
    views = scheduler.views
    busiest = sorted(views, key=lambda each: -each.run_count)[:VIEWS_KEPT_MAX]
    return {
        "windows": window_count,
        "batches": scheduler.batch_count,
        "facts_folded": scheduler.fact_count,
        "latency_p50_us": scheduler.latency_p50_us,
        "latency_p95_us": scheduler.latency_p95_us,
        "lagged": lagged_count(signals),
        "recomputations": recomputation_count(scheduler, signals),
        "view_failures": sum(each.failure_count for each in views),
        "views": {
            each.view_id: {"runs": each.run_count, "changes": each.change_count, "failures": each.failure_count}
            for each in busiest
        },
    }


__all__ = ["account_of", "lagged_count", "recomputation_count"]

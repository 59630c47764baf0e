"""What one run of a journal came to, in a few plain values: kept in the lock file when it closes, for who looks later.

Measures nothing itself; the statistics of the engine do. Belongs to one process at a time, so it is local and says
nothing about facts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import EngineStatistics

# The busiest say where time goes; ten thousand live queries would not fit into a lock file.
VIEWS_KEPT_MAX = 32


def account_of(found: EngineStatistics) -> dict[str, object]:
    """The account of a run, ready for JSON: windows and batches, latencies (µs), lag, recomputations, busiest views.

    O(views log views).
    """
    scheduler, views = found.scheduler, found.scheduler.views
    busiest = sorted(views, key=lambda each: -each.run_count)[:VIEWS_KEPT_MAX]
    return {
        "windows": found.window_count,
        "batches": scheduler.batch_count,
        "facts_folded": scheduler.fact_count,
        "latency_p50_us": scheduler.latency_p50_us,
        "latency_p95_us": scheduler.latency_p95_us,
        "lagged": found.lagged_count,
        "recomputations": found.recomputation_count,
        "view_failures": sum(each.failure_count for each in views),
        "views": {
            each.view_id: {"runs": each.run_count, "changes": each.change_count, "failures": each.failure_count}
            for each in busiest
        },
    }


__all__ = ["account_of"]

"""The CPU that an open journal with ten subscribers uses while nothing happens."""

from __future__ import annotations

import asyncio

from .engine import commit_rows, open_watched
from .measure import Figure, Settings, Stopwatch
from .workload import Rows

WINDOW = 100


async def measure(settings: Settings) -> list[Figure]:
    """Commit a little, let DuckDB follow, then look at the CPU clock before and after doing nothing."""
    seconds = settings.pick(10, 3)
    async with open_watched(settings.folder / "idle") as journal:
        await commit_rows(journal, Rows().take(WINDOW))
        await journal.engine.follower.barrier()
        await asyncio.sleep(0.5)
        with Stopwatch() as watch:
            await asyncio.sleep(seconds)
    sample = watch.sample()
    percent = 100 * sample.cpu / sample.wall
    return [
        Figure(
            name="idle",
            title="idle CPU of an open journal, 10 subscribers",
            unit="% of a core",
            ours=percent,
            reference=None,
            value=percent,
            cpu_value=percent,
            goal=0.1,
            final_goal=0.1,
            value_unit=" %",
            details={"seconds": seconds, "cpu_ms": sample.cpu * 1e3},
        )
    ]

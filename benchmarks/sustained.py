"""Facts a second without a pause: ten subscribers and DuckDB following to the end, against the bare straight line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from .engine import open_watched
from .measure import Figure, Sample, Settings, Stopwatch, interleave, spread
from .straight_line import StraightLine
from .workload import Row, Rows, Said

WINDOW = 100
# Writers that commit side by side, as the tasks of an application do; the log then syncs several windows at once.
WRITER_COUNT = 4


async def measure(settings: Settings) -> list[Figure]:
    """Windows of 100 on both sides. Ours ends only when DuckDB holds the last fact as well."""
    count = settings.pick(40_000, 10_000)
    straight = StraightLine(settings.folder / "sustained-straight")
    rows = Rows()
    async with open_watched(settings.folder / "sustained-journal") as journal:

        async def write(windows: Sequence[Sequence[Row]]) -> None:
            for window in windows:
                await journal.commit_all([Said.model_validate(row) for row in window], flush=True)

        async def engine_burst() -> list[Sample]:
            windows = [rows.take(WINDOW) for _ in range(count // WINDOW)]
            with Stopwatch() as watch:
                async with asyncio.TaskGroup() as group:
                    for writer in range(WRITER_COUNT):
                        group.create_task(write(windows[writer::WRITER_COUNT]))
                await journal.engine.follower.barrier()
            return [watch.sample(per=count)]

        async def straight_burst() -> list[Sample]:
            windows = [rows.take(WINDOW) for _ in range(count // WINDOW)]
            with Stopwatch() as watch:
                for window in windows:
                    straight.commit(window)
            return [watch.sample(per=count)]

        ours, line = await interleave([engine_burst, straight_burst], repeats=settings.pick(7, 3))
    straight.close()
    mine, theirs = spread(ours), spread(line)
    return [
        Figure(
            name="sustained",
            title="sustained commits, 10 subscribers, DuckDB following",
            unit="facts/s",
            ours=1 / mine.wall_median,
            reference=1 / theirs.wall_median,
            value=theirs.wall_median / mine.wall_median,
            value_p10=theirs.wall_p10 / mine.wall_p10,
            cpu_value=theirs.cpu_median / mine.cpu_median,
            goal=0.5,
            final_goal=0.8,
            sense="at least",
            is_cpu_judged=False,  # DuckDB follows on another core: more CPU time by design
            reference_name="straight line, no follower",
            details={"facts_a_burst": count, "bursts": mine.size, "cpu_us_a_fact": mine.cpu_median * 1e6},
        )
    ]

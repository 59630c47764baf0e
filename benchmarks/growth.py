"""What a window of 100 facts costs when the journal is large, against the same window when it is small."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from antiphon import Journal

from .engine import commit_rows, open_watched
from .measure import Figure, Sample, Settings, Stopwatch, interleave, spread
from .workload import Rows, Said

SMALL = 1_000
WINDOW = 100
BURST = 10
# Handed over at once while building: 50 full windows.
BUILD_BATCH = 50_000


async def measure(settings: Settings) -> list[Figure]:
    """Both journals open in one process, each with ten subscribers of a view that has folded all of it."""
    count = settings.pick(1_000_000, 100_000)
    async with AsyncExitStack() as stack:
        large = await stack.enter_async_context(open_watched(settings.folder / "large"))
        large_rows = await _fill(large, count)
        small = await stack.enter_async_context(open_watched(settings.folder / "small"))
        small_rows = await _fill(small, SMALL)

        async def burst(journal: Journal, rows: Rows) -> Sequence[Sample]:
            samples = []
            for _ in range(BURST):
                window = rows.take(WINDOW)
                with Stopwatch() as watch:
                    await commit_rows(journal, window)
                samples.append(watch.sample())
            await journal.engine.follower.barrier()
            return samples

        contenders = [lambda: burst(large, large_rows), lambda: burst(small, small_rows)]
        await interleave(contenders, repeats=1)  # warm-up
        ours, reference = await interleave(contenders, repeats=settings.pick(20, 10))
    mine, theirs = spread(ours), spread(reference)
    return [
        Figure.of_times(
            "growth",
            f"a 100-fact window with {count:,} facts in the journal",
            mine,
            theirs,
            unit="ms a window",
            goal=1.2,
            final_goal=1.05,
            reference_name=f"the same with {SMALL:,}",
            facts=count,
            windows=mine.size,
        )
    ]


async def _fill(journal: Journal, count: int) -> Rows:
    rows = Rows()
    for start in range(0, count, BUILD_BATCH):
        batch = rows.take(min(BUILD_BATCH, count - start))
        await journal.commit_all([Said.model_validate(row) for row in batch], flush=True)
    await journal.engine.follower.barrier()
    return rows

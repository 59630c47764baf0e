"""From ``commit`` to the new value in a subscriber's hands, beyond the 5 ms window, against a bare asyncio timer."""

from __future__ import annotations

import asyncio
import time

from antiphon import Journal

from .measure import Figure, Sample, Settings, interleave, percentile, spread
from .workload import Rows, Said, tally

WINDOW_SECONDS = 0.005
BURST = 20


async def measure(settings: Settings) -> list[Figure]:
    """One fact at a time into an idle journal; the timer is what no 5 ms window can beat."""
    rows = Rows()
    async with (
        Journal.open(settings.folder / "latency", author="ada") as journal,
        journal.watch(tally, policy="latest") as updates,
    ):
        await updates.recv()

        async def engine_burst() -> list[Sample]:
            samples = []
            for row in rows.take(BURST):
                fact = Said.model_validate(row)
                start, cpu = time.perf_counter(), time.process_time()
                committing = asyncio.ensure_future(journal.commit(fact))
                await updates.recv()
                samples.append(Sample(time.perf_counter() - start, time.process_time() - cpu))
                await committing
            await journal.engine.follower.barrier()
            return samples

        async def timer_burst() -> list[Sample]:
            samples = []
            for _ in range(BURST):
                start, cpu = time.perf_counter(), time.process_time()
                await asyncio.sleep(WINDOW_SECONDS)
                samples.append(Sample(time.perf_counter() - start, time.process_time() - cpu))
            return samples

        await interleave([engine_burst, timer_burst], repeats=1)  # warm-up
        ours, timer = await interleave([engine_burst, timer_burst], repeats=settings.pick(15, 4))
    mine, theirs = spread(ours), spread(timer)
    return [
        Figure(
            name="signal_latency",
            title="commit → local signal, beyond the window",
            unit="ms",
            ours=mine.wall_median * 1e3,
            reference=theirs.wall_median * 1e3,
            value=(mine.wall_median - theirs.wall_median) * 1e3,
            value_p10=(mine.wall_p10 - theirs.wall_p10) * 1e3,
            cpu_value=(mine.cpu_median - theirs.cpu_median) * 1e3,
            goal=2,
            final_goal=1,
            value_unit=" ms",
            is_cpu_judged=False,
            reference_name="bare asyncio 5 ms timer",
            details={
                "commits": mine.size,
                "p99_ms": percentile(ours, 99) * 1e3,
                "timer_p99_ms": percentile(timer, 99) * 1e3,
            },
        )
    ]

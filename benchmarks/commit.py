"""A durable window of 100 facts with ten subscribers, against the straight line and against a raw DuckDB commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from .engine import commit_rows, open_watched
from .measure import Burst, Figure, Sample, Settings, Spread, Stopwatch, interleave, percentile, spread
from .raw_duckdb import RawDuckdb
from .straight_line import StraightLine
from .workload import Row, Rows

WINDOW = 100
BURST = 20


async def measure(settings: Settings) -> list[Figure]:
    """Bursts of twenty windows in turn; DuckDB's following is waited for between bursts (``sustained`` counts it)."""
    straight = StraightLine(settings.folder / "commit-straight")
    database = RawDuckdb(settings.folder / "commit.duckdb")
    rows = Rows()
    async with open_watched(settings.folder / "commit-journal") as journal:

        async def engine_window(window: Sequence[Row]) -> None:
            await commit_rows(journal, window)

        async def straight_window(window: Sequence[Row]) -> None:
            straight.commit(window)

        async def duckdb_window(window: Sequence[Row]) -> None:
            database.commit(window)

        contenders = [
            _burst(engine_window, rows, journal.engine.follower.barrier),
            _burst(straight_window, rows),
            _burst(duckdb_window, rows),
        ]
        await interleave(contenders, repeats=2)  # warm-up
        ours, line, duck = await interleave(contenders, repeats=settings.pick(60, 10))
    straight.close()
    database.close()
    return [
        _figure("commit", "durable commit of a 100-fact window, 10 subscribers", "straight line", ours, line, 1.6, 1.2),
        _figure("commit_vs_duckdb", "the same", "raw DuckDB appender commit", ours, duck, 0.9, 0.65),
    ]


def _burst(
    work: Callable[[Sequence[Row]], Awaitable[None]],
    rows: Rows,
    afterwards: Callable[[], Awaitable[None]] | None = None,
) -> Burst:
    async def burst() -> list[Sample]:
        samples = []
        for _ in range(BURST):
            window = rows.take(WINDOW)
            with Stopwatch() as watch:
                await work(window)
            samples.append(watch.sample())
        if afterwards is not None:
            await afterwards()
        return samples

    return burst


def _figure(
    name: str,
    title: str,
    reference_name: str,
    ours: Sequence[Sample],
    reference: Sequence[Sample],
    goal: float,
    final_goal: float,
) -> Figure:
    mine, theirs = spread(ours), spread(reference)
    return Figure.of_times(
        name,
        title,
        mine,
        theirs,
        unit="ms a window",
        goal=goal,
        final_goal=final_goal,
        reference_name=reference_name,
        **_details(ours, mine, theirs),
    )


def _details(samples: Sequence[Sample], mine: Spread, theirs: Spread) -> dict[str, float]:
    return {
        "windows": mine.size,
        "p99_ms": percentile(samples, 99) * 1e3,
        "p99_9_ms": percentile(samples, 99.9) * 1e3,
        "cpu_ms": mine.cpu_median * 1e3,
        "reference_cpu_ms": theirs.cpu_median * 1e3,
    }

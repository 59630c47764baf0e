"""Opening a journal again and reading a view's value, against raw DuckDB reading the same rows to Arrow."""

from __future__ import annotations

from antiphon import Journal, view
from antiphon.views import ViewSpec

from .measure import Figure, Sample, Settings, Stopwatch, interleave, spread
from .raw_duckdb import RawDuckdb, read_all
from .workload import Rows, Said, Tally, tally

refolded = view(Said, initial=(0, 0, ""), name="tally without a version")(tally.fold)


async def measure(settings: Settings) -> list[Figure]:
    """100,000 facts of the view's kind on both sides, both closed cleanly before."""
    count = settings.pick(100_000, 20_000)
    path, file = settings.folder / "reopen", settings.folder / "reopen.duckdb"
    rows = Rows().take(count)
    async with Journal.open(path, author="ada") as journal:
        await journal.commit_all([Said.model_validate(row) for row in rows], flush=True)
        # What is asked for below was on a screen before, as it was in an application that is started again.
        before = await journal.snapshot(tally)
    database = RawDuckdb(file)
    database.commit(rows)
    database.close()

    async def reopen(source: ViewSpec[Tally]) -> list[Sample]:
        with Stopwatch() as watch:
            journal = await Journal.open(path)
            value = await journal.snapshot(source)
        await journal.close()
        if value != before or value[0] != count:
            raise AssertionError(f"reopened to {value}, closed with {before}")
        return [watch.sample()]

    ours, reference, anew = await interleave(
        [lambda: reopen(tally), read_all(file, "said", count=count), lambda: reopen(refolded)],
        repeats=settings.pick(9, 3),
    )
    mine, theirs = spread(ours), spread(reference)
    return [
        Figure.of_times(
            "reopen",
            f"reopen with {count:,} facts to the first snapshot",
            mine,
            theirs,
            unit="ms",
            goal=6,
            final_goal=2,
            reference_name="raw DuckDB: the rows to Arrow",
            facts=count,
            reopenings=mine.size,
            # A view that declares no version keeps no checkpoint: what it costs to fold the log again.
            refolded_ms=spread(anew).wall_median * 1e3,
            refolded_ratio=spread(anew).wall_median / theirs.wall_median,
        )
    ]

"""A history's answers, against the same SQL on a plain connection to the same database."""

from __future__ import annotations

from antiphon import Journal
from antiphon.app.history import History, open_history

from .measure import Figure, Sample, Settings, Stopwatch, interleave, spread
from .workload import Rows, Said

_QUESTIONS = {
    "many rows": "SELECT * FROM history WHERE hidden IS NULL AND payload IS NOT NULL ORDER BY at_ms, hlc, fact_id",
    "one row": "SELECT * FROM history WHERE seq = 500",
    "a sum": "SELECT namespace, kind, count(*), max(length(payload)) FROM history GROUP BY ALL ORDER BY ALL",
}


async def measure(settings: Settings) -> list[Figure]:
    """100,000 facts in a history; both sides end with an Arrow table of the same rows."""
    count = settings.pick(100_000, 20_000)
    path = settings.folder / "history"
    async with Journal.open(path, author="ada") as journal:
        await journal.commit_all([Said.model_validate(row) for row in Rows().take(count)], flush=True)
    with open_history(path) as history:
        return [await _ask(history, name, query, settings) for name, query in _QUESTIONS.items()]


async def _ask(history: History, name: str, query: str, settings: Settings) -> Figure:
    raw = history._connection.cursor()

    async def through_the_api() -> list[Sample]:
        with Stopwatch() as watch:
            table = history.sql(query).arrow()
        assert table.num_rows, "both sides answer with rows"
        return [watch.sample()]

    async def plainly() -> list[Sample]:
        with Stopwatch() as watch:
            table = raw.sql(query).to_arrow_table()
        assert table.num_rows, "both sides answer with rows"
        return [watch.sample()]

    ours, reference = await interleave([through_the_api, plainly], repeats=settings.pick(41, 9))
    mine, theirs = spread(ours), spread(reference)
    return Figure.of_times(
        f"history_{name.replace(' ', '_')}",
        f"history query through the API: {name}",
        mine,
        theirs,
        unit="ms",
        goal=1.1,
        reference_name="the same SQL raw",
    )

"""``Timeline``: how many facts, of which kinds or by whom, over time; as rows and, when asked, as a picture."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .answers import Answer, HistoryError, Result, require
from .fact_query import FactQuery

if TYPE_CHECKING:
    import altair

By = Literal["kind", "author", "namespace"]
"""What a timeline is told apart by."""

Step = Literal["minute", "hour", "day", "week", "month", "year"]
"""How long one count is; weeks begin on Monday, all in UTC."""

# The widest span for which a step still gives a picture one can read, in ms.
_SPANS: dict[Step, int] = {
    "minute": 3 * 3_600_000,
    "hour": 7 * 86_400_000,
    "day": 200 * 86_400_000,
    "week": 1_500 * 86_400_000,
    "month": 6_000 * 86_400_000,
}
_BAR_WIDTH = 30
_ROWS_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Timeline(Answer):
    """Counts over time; rows are at_time (the start of each step, UTC), the thing it is told apart by, and facts.

    Facts whose stamp is outside the years that DuckDB and Python both know (1 to 9999) are not in it.
    """

    query: FactQuery
    by: By
    every: Step

    def result(self) -> Result:
        """The counts as rows; steps without facts are left out."""
        condition, parameters = self.query._condition()
        return self.query.history.sql(
            f"SELECT date_trunc('{self.every}', at_time)::TIMESTAMP AS at_time, {self.by}, count(*) AS facts "
            f"FROM history WHERE {condition} AND at_time IS NOT NULL GROUP BY ALL ORDER BY ALL",
            parameters,
        )

    def chart(self) -> altair.Chart:
        """The picture: stacked bars, one colour for each; needs the ``notebook`` extra."""
        require("altair")
        require("polars")
        import altair

        chart: altair.Chart = (
            altair.Chart(self.pl(), title=f"facts a {self.every}, by {self.by}")
            .mark_bar()
            .encode(
                x=altair.X("at_time:T", title=None),
                y=altair.Y("facts:Q", title="facts"),
                color=altair.Color(f"{self.by}:N"),
                tooltip=["at_time:T", f"{self.by}:N", "facts:Q"],
            )
        )
        return chart

    def __repr__(self) -> str:
        return f"<Timeline of {self.query.pattern}: facts a {self.every}, by {self.by}>"

    def _repr_html_(self) -> str:
        """A table with bars; it needs no library."""
        rows = self.fetchall()
        most = max((int(str(row[2])) for row in rows), default=1)
        body = "".join(
            f"<tr><td>{row[0]}</td><td>{html.escape(str(row[1]))}</td><td style='text-align:right'>{row[2]:,}</td>"
            f"<td style='text-align:left'>{'█' * max(1, round(int(str(row[2])) / most * _BAR_WIDTH))}</td></tr>"
            for row in rows[:_ROWS_SHOWN]
        )
        more = f"<p>the first {_ROWS_SHOWN} of {len(rows):,} rows</p>" if len(rows) > _ROWS_SHOWN else ""
        head = f"<tr><th>{self.every}</th><th>{self.by}</th><th>facts</th><th></th></tr>"
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{more}"


def build_timeline(query: FactQuery, by: By, every: Step | None) -> Timeline:
    """Check what is asked for; without *every* a step is chosen that gives a picture one can read."""
    if by not in ("kind", "author", "namespace"):
        raise HistoryError(f"a timeline goes by kind, author or namespace; got {by!r}")
    if every is not None and every not in (*_SPANS, "year"):
        raise HistoryError(f"a timeline counts every {', '.join((*_SPANS, 'year'))}; got {every!r}")
    return Timeline(query, by, every or _fitting_step(query))


def _fitting_step(query: FactQuery) -> Step:
    condition, parameters = query._condition()
    # Of the facts that are counted: the stamps of others may lie further apart than a number can say.
    rows = query.history.sql(
        f"SELECT max(at_ms) - min(at_ms) FROM history WHERE {condition} AND at_time IS NOT NULL", parameters
    ).fetchall()
    span = rows[0][0] if isinstance(rows[0][0], int) else 0
    return next((step for step, widest in _SPANS.items() if span <= widest), "year")


__all__ = ["By", "Step", "Timeline", "build_timeline"]

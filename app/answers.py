"""Answers of a history: rows that stay in DuckDB until somebody fetches them, in the form that somebody wants.

Asks nothing itself; ``history.py`` does. Whatever a fact says is escaped before it becomes HTML.
"""

from __future__ import annotations

import html
import importlib
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb

from antiphon.facts import LocalViolation
from antiphon.journal.stores.tables import BINDING_ERRORS, RESULT_TABLE, Parameters, Row, ask, check_readable

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

# A screen of a notebook; whoever wants more asks for a frame.
ROWS_SHOWN = 20
_CELL_TEXT_MAX = 400
_CLOSED = "what was asked is closed; open the history (or the journal) again"
_DUCKDBS_GUESS = re.compile(r"\nDid you mean [^\n]*")  # it knows tables that are none of a history's
_TABLES = "SHOW TABLES lists what there is: a kind such as garden.watered is the table garden_watered"
_ZONED = "a time with a zone cannot be fetched into Python; write `… AT TIME ZONE 'UTC'` or use at_time, which has none"


class HistoryError(LocalViolation):
    """A question to a history that has no answer: wrong SQL, a time that is none, a missing optional package."""


class Answer:
    """What can be fetched, in any of the usual forms; ``result`` is asked again each time, so it is what it was then.

    ``pl``, ``df`` and ``arrow`` need the ``notebook`` extra, and so does ``pyarrow.table(answer)``.
    """

    __slots__ = ()

    @abstractmethod
    def result(self) -> Result:
        """Run the question as it stands."""

    def fetchall(self) -> list[Row]:
        """All rows as tuples."""
        return self.result().fetchall()

    def df(self) -> pandas.DataFrame:
        """All rows as a pandas DataFrame."""
        return self.result().df()

    def pl(self) -> polars.DataFrame:
        """All rows as a polars DataFrame."""
        return self.result().pl()

    def arrow(self) -> pyarrow.Table:
        """All rows as an Arrow table."""
        return self.result().arrow()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.result().__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.fetchall())

    def _repr_html_(self) -> str:
        return self.result()._repr_html_()


class Result(Answer):
    """The rows of one query over the facts as they were when it was asked.

    Shows itself in a notebook; hands itself to polars, pandas, altair or anything else that speaks Arrow. A history's
    rows are computed by DuckDB each time they are fetched, always over the facts of that moment (what an open journal
    was asked is computed once); an error that a row gives is raised then. They go when what was asked is closed.
    """

    __slots__ = ("_cursor", "_relation", "_rows")

    def __init__(self, cursor: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation) -> None:
        self._cursor = cursor
        self._relation = relation
        self._rows: Iterator[Row] | None = None

    @classmethod
    def of_kept_rows(cls, cursor: duckdb.DuckDBPyConnection) -> Result:
        """The rows that ``journal.stores.tables.ask`` left with a cursor."""
        return cls(cursor, cursor.sql(f"FROM {RESULT_TABLE}"))

    @classmethod
    def of_snapshot(cls, connection: duckdb.DuckDBPyConnection, query: str, parameters: Parameters) -> Result:
        """What *query* gives over what *connection* holds now, computed when it is fetched.

        A transaction that reads stays open with the result, so later facts do not move its rows.
        """
        cursor = connection.cursor()
        try:
            statement = check_readable(cursor, query)
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            return cls(cursor, cursor.sql(statement, params=parameters or None))
        except BINDING_ERRORS:
            cursor.close()
            # It says what is wrong in the statement's own lines, and takes what cannot stand inside another one.
            return cls.of_kept_rows(ask(connection, query, parameters))
        except BaseException:
            cursor.close()
            raise

    def interrupt(self) -> None:
        """From any thread: end what is being computed; whoever waits for it hears of it."""
        self._cursor.interrupt()

    def result(self) -> Result:
        """Itself."""
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(self._relation.columns)

    @property
    def types(self) -> tuple[str, ...]:
        """The columns' DuckDB types."""
        return tuple(str(item) for item in self._relation.types)

    def fetchone(self) -> Row | None:
        """The next row, or None when ``fetchone`` gave them all; ``fetchall`` gives all rows whatever was fetched."""
        if self._rows is None:
            self._rows = iter(self.fetchall())
        return next(self._rows, None)

    def fetchall(self) -> list[Row]:
        """All rows as tuples."""
        with told():
            rows: list[Row] = self._relation.fetchall()
            return rows

    def df(self) -> pandas.DataFrame:
        """All rows as a pandas DataFrame; needs the ``notebook`` extra."""
        require("pandas")
        with told():
            return self._relation.df()

    def pl(self) -> polars.DataFrame:
        """All rows as a polars DataFrame; needs the ``notebook`` extra."""
        require("polars")
        import polars

        frame = polars.from_arrow(self.arrow())
        assert isinstance(frame, polars.DataFrame), "a table becomes a frame"
        return frame

    def arrow(self) -> pyarrow.Table:
        """All rows as an Arrow table; needs the ``notebook`` extra."""
        require("pyarrow")
        with told():
            return self._relation.to_arrow_table()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        with told():
            return self._relation.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"Result(columns={list(self.columns)})"

    def _repr_html_(self) -> str:
        with told():
            rows = self._relation.limit(ROWS_SHOWN + 1).fetchall()
        return html_table(self.columns, rows)


@contextmanager
def told() -> Iterator[None]:
    """Turn what DuckDB reports into ``HistoryError``."""
    try:
        yield
    except HistoryError:
        raise
    except (duckdb.Error, LocalViolation) as problem:
        text = str(problem)
        if "already been closed" in text or "already closed" in text:
            raise HistoryError(_CLOSED) from problem
        if "pytz" in text:
            raise HistoryError(_ZONED) from problem
        text = text if isinstance(problem, LocalViolation) else f"the query failed: {text}"
        if "Catalog Error: Table with name" in text:
            text = f"{_DUCKDBS_GUESS.sub('', text)}\n\n{_TABLES}"
        raise HistoryError(text) from problem


def refuse_closed() -> HistoryError:
    """The error of whoever asks what is closed."""
    return HistoryError(_CLOSED)


def require(module: str) -> None:
    """Raise with what to install when an optional *module* is not there."""
    try:
        importlib.import_module(module)
    except ImportError as problem:
        raise HistoryError(
            f"{module} is not installed; run pip install 'antiphon[notebook]', or use .fetchall()"
        ) from problem


def html_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, shown: int = ROWS_SHOWN) -> str:
    """A table of the first *shown* rows, with nobody's markup but ours."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html_text(value)}</td>' for value in row)}</tr>" for row in rows[:shown])
    more = f"<p>the first {shown} rows</p>" if len(rows) > shown else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def html_card(rows: Sequence[tuple[str, object]]) -> str:
    """Names and values below each other."""
    lines = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html_text(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table>{lines}</table>"


def html_text(value: object) -> str:
    """A value as a cell shows it.

    >>> html_text("<b>")
    '&lt;b&gt;'
    """
    text = str(value)
    return html.escape(text if len(text) <= _CELL_TEXT_MAX else text[:_CELL_TEXT_MAX] + "…")


def show_time(at_ms: int | None) -> str:
    """A time in UTC to the minute, for people."""
    if at_ms is None:
        return "–"
    try:
        return datetime.fromtimestamp(at_ms / 1_000, tz=UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


__all__ = ["ROWS_SHOWN", "Answer", "HistoryError", "Result", "html_card", "html_table", "html_text", "show_time"]

"""``open_history``: a journal's facts as SQL, read-only, also while another process writes it.

Reads the log's files as any reader may and feeds them to a DuckDB of its own in memory, through the code that feeds the
journal's table. Never opens ``journal.duckdb`` (a reader there would block the writer), takes no lock, writes nothing.
"""

from __future__ import annotations

import html
import importlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

import duckdb

from antiphon.facts import FactRecord, LocalViolation
from antiphon.facts.encoding import is_canonical
from antiphon.journal.errors import NotAJournal
from antiphon.journal.index import Continuation, JournalIndex
from antiphon.journal.stores.duckdb import DuckdbFollower
from antiphon.journal.stores.folder import is_journal
from antiphon.journal.stores.log import LogCursor, LogDamage, LogFrame, LoggedRun, log_files, read_log
from antiphon.journal.stores.tables import RESULT_TABLE, FactTables, Parameters, Row, ask, connect, create_tables

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

Moment = int | str | date | datetime
"""A time: milliseconds since 1970, ISO text (UTC unless it names a zone), a datetime with a zone, or a date.

A date, also as text, means its first instant in UTC.
"""

# One transaction's worth of memory while reading; beyond it larger batches are no faster.
_FACTS_A_BATCH = 50_000
_ROWS_SHOWN = 20
_MILLISECOND = 1_000
_CLOSED = "what was asked is closed; open the history (or the journal) again"
_ZONED = "a time with a zone cannot be fetched into Python; write `… AT TIME ZONE 'UTC'` or use at_time, which has none"
_ENVELOPE = "kind, version, fact_id, author, authority, chain, seq, at_ms, at_time, hlc, namespace, payload"
_WITH_HIDDEN = f"{_ENVELOPE}, is_erased, hidden"


class HistoryError(LocalViolation):
    """A question to a history that has no answer: wrong SQL, a time that is none, a missing optional package."""


class KindSummary(NamedTuple):
    """A kind in a history: its SQL view, its newest registered version (None when there is none), how many facts."""

    kind: str
    sql_name: str
    version: int | None
    fact_count: int


class HistoryStatistics(NamedTuple):
    """What a history holds: times are stamp times in ms (None when empty), bytes are those of the log's files."""

    fact_count: int
    kind_count: int
    author_count: int
    first_ms: int | None
    last_ms: int | None
    log_bytes: int
    damage_count: int


class Result:
    """The rows of one query, as they were when it was asked.

    Shows itself in a notebook; hands itself to polars, pandas, altair or anything else that speaks Arrow. Rows stay
    inside DuckDB until they are fetched, and go when the history (or the journal) that was asked is closed.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._relation = cursor.sql(f"FROM {RESULT_TABLE}")
        self._rows: Iterator[Row] | None = None

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
        with _told():
            rows: list[Row] = self._relation.fetchall()
            return rows

    def df(self) -> pandas.DataFrame:
        """All rows as a pandas DataFrame; needs the ``notebook`` extra."""
        _require("pandas")
        with _told():
            return self._relation.df()

    def pl(self) -> polars.DataFrame:
        """All rows as a polars DataFrame; needs the ``notebook`` extra."""
        _require("polars")
        import polars

        frame = polars.from_arrow(self.arrow())
        assert isinstance(frame, polars.DataFrame), "a table becomes a frame"
        return frame

    def arrow(self) -> pyarrow.Table:
        """All rows as an Arrow table; needs the ``notebook`` extra."""
        _require("pyarrow")
        with _told():
            return self._relation.to_arrow_table()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        with _told():
            return self._relation.__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.fetchall())

    def __repr__(self) -> str:
        return f"Result(columns={list(self.columns)})"

    def _repr_html_(self) -> str:
        with _told():
            rows = self._relation.limit(_ROWS_SHOWN + 1).fetchall()
        return _html_table(self.columns, rows)


@dataclass(frozen=True, slots=True)
class FactQuery:
    """Facts of some kinds, narrowed step by step; nothing is read before rows are asked for.

    Rows are in stamp order, one a fact: the envelope and the payload as JSON text. A kind's fields as typed columns
    are in the view of its name, through ``History.sql``. A pattern that matches no kind gives no rows.
    """

    history: History
    pattern: str = "*"
    since_ms: int | None = None
    as_of_ms: int | None = None
    author: str | None = None
    authority: str | None = None
    namespace: str | None = None
    has_hidden: bool = False
    row_limit: int | None = None

    def as_of(self, moment: Moment) -> FactQuery:
        """Only facts whose stamp time is at or before *moment*: what was known then.

        A date means its first instant in UTC, and ISO text without a zone is UTC. Raises ``HistoryError`` for what is
        no time, and for a datetime without a zone.
        """
        limit = to_ms(moment)
        return replace(self, as_of_ms=limit if self.as_of_ms is None else min(limit, self.as_of_ms))

    def since(self, moment: Moment) -> FactQuery:
        """Only facts whose stamp time is at or after *moment*."""
        limit = to_ms(moment)
        return replace(self, since_ms=limit if self.since_ms is None else max(limit, self.since_ms))

    def between(self, first: Moment, last: Moment) -> FactQuery:
        """Only facts from *first* to *last*, both included."""
        return self.since(first).as_of(last)

    def where(
        self, *, author: str | None = None, authority: str | None = None, namespace: str | None = None
    ) -> FactQuery:
        """Only facts of this author (display label), authority (hex) or namespace."""
        return replace(
            self,
            author=author if author is not None else self.author,
            authority=authority if authority is not None else self.authority,
            namespace=namespace if namespace is not None else self.namespace,
        )

    def with_hidden(self) -> FactQuery:
        """Also facts that views do not show, with the columns ``is_erased`` and ``hidden`` (the reason)."""
        return replace(self, has_hidden=True)

    def limit(self, count: int) -> FactQuery:
        """Only the first *count* rows, the earliest by stamp. Raises ``HistoryError`` for a negative one."""
        if count < 0:
            raise HistoryError(f"a limit is 0 or more rows; got {count}")
        return replace(self, row_limit=count if self.row_limit is None else min(count, self.row_limit))

    def count(self) -> int:
        """How many facts match, at most the limit."""
        condition, parameters = self._condition()
        rows = self.history.sql(f"SELECT count(*) FROM history WHERE {condition}", parameters).fetchall()
        found = int(str(rows[0][0]))
        return found if self.row_limit is None else min(found, self.row_limit)

    def result(self) -> Result:
        """Run the query as it stands."""
        condition, parameters = self._condition()
        columns = _WITH_HIDDEN if self.has_hidden else _ENVELOPE
        limit = "" if self.row_limit is None else f" LIMIT {self.row_limit}"
        return self.history.sql(
            f"SELECT {columns} FROM history WHERE {condition} ORDER BY at_ms, hlc, fact_id{limit}", parameters
        )

    def fetchall(self) -> list[Row]:
        """All rows as tuples."""
        return self.result().fetchall()

    def df(self) -> pandas.DataFrame:
        """All rows as a pandas DataFrame; needs the ``notebook`` extra."""
        return self.result().df()

    def pl(self) -> polars.DataFrame:
        """All rows as a polars DataFrame; needs the ``notebook`` extra."""
        return self.result().pl()

    def arrow(self) -> pyarrow.Table:
        """All rows as an Arrow table; needs the ``notebook`` extra."""
        return self.result().arrow()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.result().__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.fetchall())

    def _repr_html_(self) -> str:
        return self.result()._repr_html_()

    def _condition(self) -> tuple[str, list[object]]:
        given: list[tuple[str, object | None]] = [
            ("kind GLOB ?", self.pattern if self.pattern != "*" else None),
            ("at_ms >= ?", self.since_ms),
            ("at_ms <= ?", self.as_of_ms),
            ("author = ?", self.author),
            ("authority = ?", self.authority),
            ("namespace = ?", self.namespace),
        ]
        parts = [text for text, value in given if value is not None]
        if not self.has_hidden:
            parts.append("hidden IS NULL AND payload IS NOT NULL")
        return (" AND ".join(parts) or "true", [value for _, value in given if value is not None])


class History:
    """The facts of a journal as they were written up to the last ``refresh``.

    Every kind is an SQL view (``demo.message_sent`` is ``demo_message_sent``) with its fields as typed columns and
    the envelope after them; ``history`` is the view of all facts. Holds everything in memory: ~250 bytes a fact. Use
    it from one thread at a time.

    SQL that reaches it can read this journal and nothing else: no file, no network, no extension, no setting.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cursor = LogCursor.at_start()
        self._index = JournalIndex()
        self._damages: list[LogDamage] = []
        workspace = Path(tempfile.mkdtemp(prefix="antiphon-history-")).resolve()
        self._discard = weakref.finalize(self, shutil.rmtree, workspace, ignore_errors=True)
        spool = workspace / "spool"
        self._connection = connect(":memory:", spool=spool, thread_count=None)
        create_tables(self._connection)
        self._tables = FactTables(self._connection, spool)
        self._is_open = True

    @property
    def damages(self) -> tuple[LogDamage, ...]:
        """Stretches of the log that could not be read as they were written; what they held is missing here."""
        return tuple(self._damages)

    def facts(self, pattern: str = "*") -> FactQuery:
        """The facts whose kind matches *pattern*, in which ``*`` stands for any text: ``"demo.*"``."""
        return FactQuery(self, pattern)

    def sql(self, query: str, parameters: Parameters = None) -> Result:
        """Run one reading SQL statement; *parameters* by position (``?``, ``$1``) or by name (``$name``).

        Raises ``HistoryError`` with DuckDB's words when the SQL is wrong or would change anything.
        """
        self._check_open()
        with _told():
            return Result(ask(self._connection, query, parameters))

    def kinds(self) -> tuple[KindSummary, ...]:
        """Every kind met, with its view and the number of its facts, hidden ones included.

        Kinds with facts come first, then those that are only registered; both by name.
        """
        rows = self.sql(
            "SELECT t.kind, t.sql_name, t.current_version, count(f.kind) FROM fact_types AS t "
            "LEFT JOIN facts AS f ON f.kind = t.kind GROUP BY ALL ORDER BY count(f.kind) = 0, t.kind"
        ).fetchall()
        return tuple(KindSummary(*row) for row in rows)  # type: ignore[arg-type]  # rows are untyped

    def refresh(self) -> int:
        """Read what the journal gained since; returns how many facts. Costs the new tail only, ~14 µs a fact."""
        self._check_open()
        before = self._tables.position.fact_count
        pending: list[LogFrame] = []
        pending_count = 0
        try:
            for item in read_log(self.folder, self._cursor):
                if isinstance(item, LogDamage):
                    # A file that cannot be entered is met again by every reading.
                    if item not in self._damages:
                        self._damages.append(item)
                    continue
                pending.append(item)
                pending_count += len(item.records)
                if pending_count >= _FACTS_A_BATCH:
                    self._apply(pending)
                    pending, pending_count = [], 0
        finally:
            # The cursor has moved past these frames, so they are applied even when reading on failed.
            self._apply(pending)
        return self._tables.position.fact_count - before

    def statistics(self) -> HistoryStatistics:
        """Counts, the span of stamp times and the size of the log."""
        row = self.sql(
            "SELECT count(*), count(DISTINCT kind), count(DISTINCT (author, authority)), min(at_ms), max(at_ms) "
            "FROM history"
        ).fetchall()[0]
        facts, kinds, authors, first, last = (value if isinstance(value, int) else None for value in row)
        size = sum(_size_of(path) for path in log_files(self.folder).values())
        return HistoryStatistics(facts or 0, kinds or 0, authors or 0, first, last, size, len(self._damages))

    def close(self) -> None:
        """Let go of the memory, and of every result's rows that were not fetched yet. Twice is once."""
        if self._is_open:
            self._is_open = False
            self._connection.close()
            self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"{self._tables.position.fact_count} facts" if self._is_open else "closed"
        return f"History({str(self.folder)!r}, {state})"

    def _repr_html_(self) -> str:
        found = self.statistics()
        span = f"{_show_time(found.first_ms)} – {_show_time(found.last_ms)}" if found.first_ms is not None else "–"
        authors = [
            str(row[0])
            for row in self.sql("SELECT DISTINCT author FROM history ORDER BY author LIMIT ?", [_ROWS_SHOWN]).fetchall()
        ]
        lines = [
            ("folder", str(self.folder)),
            ("facts", f"{found.fact_count:,}"),
            ("authors", f"{found.author_count:,}: {', '.join(authors)}"),
            ("span", span),
            ("log", f"{found.log_bytes:,} bytes"),
        ]
        if found.damage_count:
            lines.append(("damaged", f"{found.damage_count:,} stretches of the log could not be read"))
        card = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in lines
        )
        kinds = self.kinds()
        used = [tuple(kind) for kind in kinds if kind.fact_count]
        unused = len(kinds) - len(used)
        more = f"<p>{unused} more kind{'s have' if unused > 1 else ' has'} no facts</p>" if unused else ""
        return f"<table>{card}</table>{_html_table(('kind', 'view', 'version', 'facts'), used)}{more}"

    def _apply(self, frames: Sequence[LogFrame]) -> None:
        if not frames:
            return
        records = [record for frame in frames for run in self._admitted(frame) for record in run.records]
        count = self._tables.position.fact_count + len(records)
        self._tables.apply(
            records,
            position=frames[-1].position._replace(fact_count=count),
            hidden=_hidden(records),
            registrations=[registration for frame in frames for registration in frame.registrations],
            chains=[info for frame in frames for info in frame.chains],
        )

    def _admitted(self, frame: LogFrame) -> Iterator[LoggedRun]:
        """The runs that continue their chains, as the journal decides when it opens: what stands behind a damaged
        stretch, or is there twice because it was repaired, is not a member."""
        for info in frame.chains:
            self._index.introduce(info)
        for run in frame.runs:
            self._index.introduce(run.info)
            if self._index.classify(run.row) is Continuation.NEXT:
                self._index.admit(run.row, hlc=run.records[-1].hlc)
                yield run

    def _check_open(self) -> None:
        if not self._is_open:
            raise HistoryError(_CLOSED)


def open_history(path: str | Path) -> History:
    """Open the journal in the folder *path* for reading; works while another process writes it.

    Reads the whole log once, ~14 µs a fact (1.4 s for 100,000); ``refresh`` reads what was added.

    Every kind is a view: the fields of its newest version as columns, then the envelope (fact_id, author, authority,
    chain, seq, at_ms, at_time, hlc, namespace, version). A field whose name the envelope has, or that differs from
    another only in case, is the column ``payload_<name>``. A nested model, a map and a union are JSON columns. A field
    of bytes is text, url-safe base64 as in the payload: ``from_base64(translate(data, '-_', '+/'))`` is the BLOB. What
    is None or absent is NULL.

    Raises ``NotAJournal`` when the folder holds none, ``FormatTooNew`` or ``StoreUnavailable`` when its log cannot be
    read.
    """
    folder = Path(path)
    if not is_journal(folder):
        what = "is a file" if folder.is_file() else "holds no journal" if folder.exists() else "does not exist"
        raise NotAJournal(f"{folder} {what}; name the folder that was given to Journal.open (it holds LOCK and log/)")
    history = History(folder)
    try:
        history.refresh()
    except BaseException:
        history.close()
        raise
    return history


def query_owner(database: DuckdbFollower, query: str, parameters: Parameters = None) -> Result:
    """Ask the table of an open journal, on the thread that owns it; the result may be read by another thread.

    Raises ``HistoryError`` as ``History.sql`` does, and ``StoreUnavailable`` when DuckDB is at fault.
    """
    with _told():
        return Result(database.ask(query, parameters))


def to_ms(moment: Moment) -> int:
    """Milliseconds since 1970; raises ``HistoryError`` for text that is no ISO time and a datetime without a zone.

    >>> to_ms("1970-01-02"), to_ms(date(1970, 1, 2)), to_ms("1970-01-01T01:00:00+01:00"), to_ms(5)
    (86400000, 86400000, 0, 5)
    """
    if isinstance(moment, int) and not isinstance(moment, bool):
        return moment
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as problem:
            raise HistoryError(
                f"{moment!r} is no time; expected an ISO date or time such as 2026-11-20T08:30, or milliseconds"
            ) from problem
    elif isinstance(moment, datetime) and moment.tzinfo is None:
        raise HistoryError(f"{moment!r} names no zone; say which, such as datetime.now(UTC) or .astimezone()")
    if not isinstance(moment, date):
        raise HistoryError(f"{moment!r} is no time; expected milliseconds since 1970, ISO text, a datetime or a date")
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _MILLISECOND + since.microseconds // _MILLISECOND


def _hidden(records: Sequence[FactRecord]) -> dict[int, str]:
    """What every view must hide whatever types it knows: payloads that are not canonical. ~1 µs a fact."""
    found = {}
    for index, record in enumerate(records):
        payload = record.payload
        if payload is not None and not is_canonical(payload):
            found[index] = "not-canonical"
    return found


@contextmanager
def _told() -> Iterator[None]:
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
        raise HistoryError(text if isinstance(problem, LocalViolation) else f"the query failed: {text}") from problem


def _require(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as problem:
        raise HistoryError(
            f"{module} is not installed; run pip install 'antiphon[notebook]', or use .fetchall()"
        ) from problem


def _html_table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(str(value))}</td>' for value in row)}</tr>" for row in rows[:_ROWS_SHOWN]
    )
    more = f"<p>the first {_ROWS_SHOWN} rows</p>" if len(rows) > _ROWS_SHOWN else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _show_time(at_ms: int | None) -> str:
    if at_ms is None:
        return "–"
    try:
        return datetime.fromtimestamp(at_ms / _MILLISECOND, tz=UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


__all__ = [
    "FactQuery",
    "History",
    "HistoryError",
    "HistoryStatistics",
    "KindSummary",
    "Moment",
    "Result",
    "open_history",
    "query_owner",
    "to_ms",
]

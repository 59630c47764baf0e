"""``open_history``: a journal's facts as SQL, read-only, also while another process writes it.

Reads the log's files as any reader may and feeds them to a DuckDB of its own in memory, through the code that feeds the
journal's table. Never opens ``journal.duckdb`` (a reader there would block the writer), takes no lock, writes nothing.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from antiphon.facts import AuthorityId, Clock, Fact, FactProblem, FactRecord, FactsErased
from antiphon.facts.catalog import build_fact_registry
from antiphon.facts.encoding import is_canonical
from antiphon.facts.registry import registration_of
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal.bases import BASE_NOTE
from antiphon.journal.erasure import ERASURE_KIND, ErasureBook, erase_records
from antiphon.journal.stores.accounts import QUARANTINE_NOTE
from antiphon.journal.stores.duckdb import DuckdbFollower
from antiphon.journal.stores.log import LogDamage, LogFrame, part_paths
from antiphon.journal.stores.tables import Among, FactTables, Parameters, connect, create_tables
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.fork_judge import VOID_CODE

from .answers import Answer, HistoryError, Result, html_card, html_table, refuse_closed, show_time, told
from .fact_query import FactQuery
from .kind_advice import advise_on_kind
from .moment import Moment, to_ms
from .offline import open_offline
from .timeline import By, Step, Timeline, build_timeline
from .troubles import find_void

if TYPE_CHECKING:
    from .time_travel import AnyView, Explanation, Traveller, ViewDiff

# One transaction's worth of memory while reading; beyond it larger batches are no faster.
_FACTS_A_BATCH = 50_000
_AUTHORS_NAMED = 20
_WHERE_KINDS_ARE = "history.kinds() lists those that are there"


class KindSummary(NamedTuple):
    """A kind in a history: its SQL view, its newest registered version (None when there is none), how many facts."""

    kind: str
    sql_name: str
    version: int | None
    fact_count: int


class KindList(tuple[KindSummary, ...]):
    """The kinds of a history, as a table in a notebook."""

    def __repr__(self) -> str:
        used = [f"{kind.kind} {kind.fact_count:,}" for kind in self if kind.fact_count]
        return f"<KindList: {', '.join(used) or 'no facts'}; {len(self) - len(used)} kinds without facts>"

    def _repr_html_(self) -> str:
        return html_table(("kind", "view", "version", "facts"), self, shown=len(self))


class HistoryStatistics(NamedTuple):
    """What a history holds: times are stamp times in ms (None when empty), bytes are those of the log's files."""

    fact_count: int
    kind_count: int
    author_count: int
    first_ms: int | None
    last_ms: int | None
    log_bytes: int
    damage_count: int

    def _repr_html_(self) -> str:
        return html_card([(name.replace("_", " "), value) for name, value in self._asdict().items()])


class History:
    """The facts of a journal as they were written up to the last ``refresh``.

    Every kind is an SQL view (``demo.message_sent`` is ``demo_message_sent``) with its fields as typed columns and
    the envelope after them; ``history`` is the view of all facts. Holds everything in memory: ~250 bytes a fact. Use
    it from one thread at a time.

    SQL that reaches it can read this journal and nothing else: no file, no network, no extension, no setting.

    Facts of kinds that nobody registered are there like any other, with their payload as JSON. What views must not
    show is kept apart: erased facts, and facts against their schema (judged by the types that ship and those given as
    *types*), which ``facts(…).with_hidden()`` and the view ``history`` show with the reason.
    """

    def __init__(
        self, folder: Path, *, types: Iterable[type[Fact]] = (), clock: Clock | None = None, output: Path | None = None
    ) -> None:
        self.folder = folder
        self._reader = open_offline(folder)
        self._clock = clock or SystemClock()
        self._registry = build_fact_registry()
        self._erasures = ErasureBook()
        self._void = frozenset[bytes]()
        self._given = [registration_of(self._registry.register(model)) for model in types]
        workspace = Path(tempfile.mkdtemp(prefix="antiphon-history-")).resolve()
        self._discard = weakref.finalize(self, shutil.rmtree, workspace, ignore_errors=True)
        spool = workspace / "spool"
        self._connection = connect(":memory:", spool=spool, thread_count=None, folder=output)
        create_tables(self._connection)
        self._tables = FactTables(self._connection, spool)
        self._is_open = True

    @property
    def damages(self) -> tuple[LogDamage, ...]:
        """Stretches of the log that could not be read as they were written; what they held is missing here."""
        return tuple(self._reader.damages)

    @property
    def fingerprint(self) -> str:
        """Hash over all members read so far (64 hex digits); equal to that of a journal that holds the same."""
        return self._reader.index.fingerprint()

    def facts(self, pattern: str = "*") -> FactQuery:
        """The facts whose kind matches *pattern*, in which ``*`` stands for any text: ``"demo.*"``.

        A pattern that fits no kind known here gives no rows, and a ``UserWarning`` that names those near it.
        """
        if not isinstance(pattern, str):
            raise HistoryError(f"facts takes a kind or a pattern such as 'demo.*'; got {pattern!r}")
        if self._is_open and (unknown := advise_on_kind(pattern, self._tables.views, otherwise=_WHERE_KINDS_ARE)):
            warnings.warn(unknown, stacklevel=2)
        return FactQuery(self, pattern)

    def sql(self, query: str, parameters: Parameters = None) -> Result:
        """Run one reading SQL statement; *parameters* by position (``?``, ``$1``) or by name (``$name``).

        Costs about half a millisecond on top of what DuckDB needs. Raises ``HistoryError`` with DuckDB's words when the
        SQL is wrong or would change anything.
        """
        self._check_open()
        try:
            with told():
                return Result.of_snapshot(self._connection, query, parameters)
        except HistoryError as problem:
            named = [f"kind {kind} is the view {name}" for kind, name in self._tables.views.items() if kind in query]
            if not named or "does not exist" not in str(problem):
                raise
            raise HistoryError(f"{problem}\n{', '.join(named)}") from problem

    def timeline(
        self, by: By = "kind", *, every: Step | None = None, pattern: str = "*", query: FactQuery | None = None
    ) -> Timeline:
        """How many facts there are over time, for each kind, author or namespace; ``.chart()`` draws it.

        *every* is the length of a step (minute, hour, day, week, month, year; chosen by the span when None). *pattern*
        selects kinds; *query*, such as ``history.facts("chat.*").since("2026-11-01")``, selects in any way.
        """
        return build_timeline(query or self.facts(pattern), by, every)

    def view(self, view: AnyView, *, as_of: Moment | None = None) -> Any:
        """The state of *view* (a ``@view`` or the signal of one that ships) after all facts stamped at or before
        *as_of*.

        Without *as_of* it is what a journal that holds the same facts shows now. Views that ship are shown as the
        journal's owner sees them. Reads the facts of the view's kinds and folds them: ~10 µs a fact. A fact on which
        the fold raises is left out. Raises ``HistoryError`` for what is no view.
        """
        until_ms = self._until(as_of)
        traveller = self._traveller(view, as_of)
        return traveller.fold(self._facts_for(traveller, until_ms))

    def diff(self, view: AnyView, since: Moment, until: Moment | None = None) -> ViewDiff:
        """What changed in *view* after *since* and up to *until* (now when None), with the facts that changed it.

        Parts are told apart by key: the keys of a mapping, the fields of a record, elements by their ``id`` or by
        themselves. Costs one fold, and a comparison of states for each fact in between, 5,000 at most; beyond it facts
        are looked at in groups and ``is_exact`` is False.
        """
        from .time_travel import diff_view

        since_ms, until_ms = to_ms(since), self._until(until)
        if since_ms > until_ms:
            raise HistoryError(f"a diff goes forward in time; got {since!r}, which is after {until!r}")
        traveller = self._traveller(view, until)
        facts = self._facts_for(traveller, until_ms)
        return diff_view(self, traveller, facts, since_ms=since_ms, until_ms=until_ms)

    def why(self, view: AnyView, key: object, *, as_of: Moment | None = None) -> Explanation:
        """The facts behind the part of *view* at *key*: folding them alone gives the same value.

        *key* is a mapping's key, a field, an element or its id, an index, a path of these as a tuple, or its text
        (``"channels/team/lobby/topic"``). The facts are found by leaving others out and folding again, so they suffice
        whatever the fold does; ``is_minimal`` says that none of them can be left out. Costs a few folds when few facts
        are behind the value, and at most 1,000,000 steps of folding (seconds) when many are, as with a counter. Raises
        ``HistoryError`` when *key* means no part, or several.
        """
        from .time_travel import explain_part

        traveller = self._traveller(view, as_of)
        return explain_part(self, traveller, self._facts_for(traveller, self._until(as_of)), key)

    def kinds(self) -> KindList:
        """Every kind met, with its view and the number of its facts, hidden ones included.

        Kinds with facts come first, then those that are only registered; both by name.
        """
        rows = self.sql(
            "SELECT t.kind, t.sql_name, t.current_version, count(f.kind) FROM fact_types AS t "
            "LEFT JOIN history AS f ON f.kind = t.kind GROUP BY ALL ORDER BY count(f.kind) = 0, t.kind"
        ).fetchall()
        return KindList(KindSummary(*row) for row in rows)  # type: ignore[arg-type]  # rows are untyped

    def write_out(self, statement: str) -> None:
        """Run a ``COPY … TO`` into the folder that this history was opened with as *output*; for exports of ours."""
        self._check_open()
        with told():
            self._connection.execute(statement).fetchall()

    def refresh(self) -> int:
        """Read what the journal gained since; returns how many facts. Costs the new tail only, ~14 µs a fact."""
        self._check_open()
        before = self._tables.position.fact_count
        pending: list[LogFrame] = []
        pending_count = 0
        try:
            for frame in self._reader.read_frames():
                pending.append(frame)
                pending_count += len(frame.records)
                if pending_count >= _FACTS_A_BATCH:
                    self._apply(pending)
                    pending, pending_count = [], 0
        finally:
            # The reader has moved past these frames, so they are applied even when reading on failed.
            self._apply(pending)
        self._show_given()
        if self._tables.position.fact_count > before:
            self._hide_void()
        return self._tables.position.fact_count - before

    def statistics(self) -> HistoryStatistics:
        """Counts, the span of stamp times and the size of the log."""
        row = self.sql(
            "SELECT count(*), count(DISTINCT kind), count(DISTINCT (author, authority)), min(at_ms), max(at_ms) "
            "FROM history"
        ).fetchall()[0]
        facts, kinds, authors, first, last = (value if isinstance(value, int) else None for value in row)
        size = sum(_size_of(path) for path in part_paths(self.folder))
        return HistoryStatistics(facts or 0, kinds or 0, authors or 0, first, last, size, len(self.damages))

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
        state = (
            f"{self._tables.position.fact_count - self._tables.collapsed_count} facts" if self._is_open else "closed"
        )
        return f"History({str(self.folder)!r}, {state})"

    def _repr_html_(self) -> str:
        found = self.statistics()
        span = f"{show_time(found.first_ms)} – {show_time(found.last_ms)}" if found.first_ms is not None else "–"
        authors = [
            str(row[0])
            for row in self.sql(
                "SELECT DISTINCT author FROM history ORDER BY author LIMIT ?", [_AUTHORS_NAMED]
            ).fetchall()
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
        kinds = self.kinds()
        used = [tuple(kind) for kind in kinds if kind.fact_count]
        unused = len(kinds) - len(used)
        more = f"<p>{unused} more kind{'s have' if unused > 1 else ' has'} no facts</p>" if unused else ""
        return f"{html_card(lines)}{html_table(('kind', 'view', 'version', 'facts'), used)}{more}"

    def _apply(self, frames: Sequence[LogFrame]) -> None:
        if not frames:
            return
        records = [record for frame in frames for record in frame.records]
        if self._erasures:
            records = list(erase_records(self._erasures, records))
        count = self._tables.position.fact_count + len(records)
        self._tables.apply(
            records,
            position=frames[-1].position._replace(fact_count=count),
            hidden=self._hidden(records),
            registrations=[registration for frame in frames for registration in frame.registrations],
            chains=[info for frame in frames for info in frame.chains],
            notes=[note for frame in frames for note in frame.notes if note.kind in (BASE_NOTE, QUARANTINE_NOTE)],
        )
        self._forget(records)

    def _show_given(self) -> None:
        """Make columns of the fields of given types that the journal itself has not written down (yet)."""
        recorded = {(each.kind, each.version) for each in self._tables.load_registrations()}
        unseen = [each for each in self._given if (each.kind, each.version) not in recorded]
        if unseen:
            self._tables.apply([], position=self._tables.position, registrations=unseen)

    def _hide_void(self) -> None:
        """Hide what forked authors' words no longer give; O(facts of the context), in forked ones only."""
        void = find_void(self._reader)
        if void.keys() != self._void:
            shown = dict.fromkeys(self._void - void.keys(), None)
            self._tables.hide({**dict.fromkeys(void, VOID_CODE), **shown}, over=VOID_CODE)
            self._void = frozenset(void)

    def _forget(self, records: Sequence[FactRecord]) -> None:
        """Take out what erasures among *records* name, though the owner may not have rewritten its files yet."""
        ids: list[bytes] = []
        for record in records:
            erasure = self._registry.decode(record) if record.kind == ERASURE_KIND else None
            if isinstance(erasure, FactsErased):
                for claim in self._erasures.take(record, erasure):
                    target = self._reader.index.chain(claim.chain)
                    if target is not None and self._erasures.is_rightful(claim, target.info):
                        ids.append(claim.fact_id)
        if ids:
            self._tables.erase(ids)

    def _hidden(self, records: Sequence[FactRecord]) -> dict[int, str]:
        """Why views must hide facts, as the owner judges: its own were checked when they were committed, those of
        others are decoded. ~1 µs an own fact, ~8 µs another's."""
        found = {}
        own_device = self._reader.cursor.journal
        for place, record in enumerate(records):
            payload = record.payload
            if record.chain.device == own_device and payload is not None:
                if not is_canonical(payload):
                    found[place] = "not-canonical"
            elif isinstance(decoded := self._registry.decode(record), FactProblem):
                found[place] = decoded.code
        return found

    def _traveller(self, view: AnyView, as_of: Moment | None) -> Traveller:
        from .time_travel import Traveller

        self._check_open()
        owner = self._reader.owner
        now_ms = self._clock.now_ms() if as_of is None else to_ms(as_of)
        return Traveller.of(view, authority=owner.authority if owner else AuthorityId(""), now_ms=now_ms)

    def _until(self, as_of: Moment | None) -> int:
        """Up to which stamp a view folds: without a moment, all that is due now."""
        return self._clock.now_ms() + SKEW_MS_MAX if as_of is None else to_ms(as_of)

    def _facts_for(self, traveller: Traveller, until_ms: int) -> list[Fact]:
        """The facts that a view folds up to a moment, in stamp order; ~10 µs each."""
        with told():
            records = self._tables.facts_of(sorted(traveller.kinds), until_ms=until_ms)
            decoded = (traveller.registry.decode(record, is_trusted=True) for record in records)
            return [fact for fact in decoded if isinstance(fact, Fact)]

    def _check_open(self) -> None:
        if not self._is_open:
            raise refuse_closed()


def open_history(path: str | Path, *, types: Iterable[type[Fact]] = (), clock: Clock | None = None) -> History:
    """Open the journal in the folder *path* for reading; works while another process writes it.

    Reads the whole log once, ~14 µs a fact (1.4 s for 100,000); ``refresh`` reads what was added.

    Every kind is a view: the fields of its newest version as columns, then the envelope (fact_id, author, authority,
    chain, seq, at_ms, at_time, hlc, namespace, version). A field whose name the envelope has, or that differs from
    another only in case, is the column ``payload_<name>``. A nested model, a map and a union are JSON columns. A field
    of bytes is text, url-safe base64 as in the payload: ``from_base64(translate(data, '-_', '+/'))`` is the BLOB. What
    is None or absent is NULL.

    *types* are fact classes of the application, by which facts of others are judged as the owner would; their fields
    are columns although the journal may never have heard of the class. *clock* is for tests.

    Raises ``NotAJournal`` when the folder holds none, ``FormatTooNew`` or ``StoreUnavailable`` when its log cannot be
    read.
    """
    history = History(Path(path), types=types, clock=clock)
    try:
        history.refresh()
    except BaseException:
        history.close()
        raise
    return history


def query_owner(
    database: DuckdbFollower, query: str, parameters: Parameters = None, *, among: Among | None = None
) -> Result:
    """Ask the table of an open journal, on the thread that owns it; the result may be read by another thread.

    With *among* only that part of the facts is there.

    Raises ``HistoryError`` as ``History.sql`` does, and ``StoreUnavailable`` when DuckDB is at fault.
    """
    with told():
        return Result.of_kept_rows(database.ask(query, parameters, among=among))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


__all__ = [
    "Answer",
    "FactQuery",
    "History",
    "HistoryError",
    "HistoryStatistics",
    "KindList",
    "KindSummary",
    "Moment",
    "Result",
    "Timeline",
    "open_history",
    "query_owner",
    "to_ms",
]

"""``DuckdbFollower``: the table just behind the log, set aside and begun anew whenever DuckDB cannot read it.

The log is the journal; nothing here is the only copy of anything. Owned by exactly one thread, which makes every
call. It never opens the database file itself (closing such a handle would drop DuckDB's lock); it only renames it and
looks at its size.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

import duckdb

from antiphon.facts import ChainInfo, FactRecord, LocalViolation, Registration

from ..bases import ChainBase
from ..errors import StoreUnavailable
from ..frame import LocalNote
from ..retention import RetentionItem
from .accounts import (
    PeerRow,
    TrackedAcks,
    count_payloads,
    load_acks,
    load_bases,
    load_first_skeletons,
    load_guard_notes,
    load_peers,
    load_retention_items,
    load_retired,
    load_tracked,
    load_unacked,
    load_unretired,
)
from .log import SEGMENTS_FOLDER
from .logged_run import LoggedRun
from .position import LOG_START, LogPosition, RunRow
from .tables import (
    RESULT_TABLE,
    Among,
    FactTables,
    Parameters,
    QueryRows,
    StoredChain,
    StoredLink,
    ViewCheckpoint,
    ask,
    connect,
    create_tables,
    is_databases_fault,
    migrations,
    schema_version,
)

Opening = Literal["created", "same", "rebuilt"]

# Replaying the largest WAL we leave takes a second or two; a database that needs a minute is quicker rebuilt.
PROBE_SECONDS_MAX = 60
# Worth a checkpoint: ~20,000 facts, 15 ms of work. Below it, reopening replays the WAL as fast.
_CHECKPOINT_BYTES_MIN = 4 * 1024 * 1024
# One core is enough to follow, and small commits are slower with more (0.86 against 0.78 ms for 100 facts).
_THREAD_COUNT = 1

# What DuckDB says when the file is there and healthy for all we know, but cannot be had now.
_HELD = re.compile(r"could not set lock|conflicting lock|different configuration|unique file handle", re.IGNORECASE)
_REFUSED = re.compile(
    r"permission denied|no space left|read-only file system|too many open files|disk quota|"
    r"operation not permitted|cannot allocate|out of memory|failed to allocate|interrupted",
    re.IGNORECASE,
)
_PID = re.compile(r"\(PID (\d+)\)")

_WORLD_ERRORS = (duckdb.Error, OSError, MemoryError)
_GIVEN_UP = (duckdb.FatalException, duckdb.InternalException, duckdb.ConnectionException)

_PROBE = """
import duckdb, sys
try:
    connection = duckdb.connect(sys.argv[1], config={"threads": 1})
    connection.execute("SELECT count(*) FROM internal.facts").fetchall()
    connection.close()
except Exception as problem:
    print(f"{type(problem).__name__}: {problem}".splitlines()[0])
    sys.exit(3)
"""


class DuckdbStatistics(NamedTuple):
    """A follower's insides: how it opened, how far it is, and the bytes of the database and of its write-ahead log."""

    opening: Opening
    position: LogPosition
    kind_count: int
    database_bytes: int
    wal_bytes: int


class _Unreadable(Exception):
    """The file is there, and no database of ours; its text is the reason."""


class DuckdbFollower:
    """Facts, registry, typed views and checkpoints in ``journal.duckdb``.

    ``opening`` says what ``open`` found: ``"same"`` (continue from ``position``), ``"created"`` or ``"rebuilt"``
    (empty: feed the log from its start; ``reason`` says why). Every method blocks and belongs to one thread. Whatever
    DuckDB reports, ``StoreUnavailable`` is raised with nothing half done: feed from ``position`` again, and when
    ``is_broken`` close and open first.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with DuckdbFollower.open(Path(folder.name) / "journal.duckdb", journal_id="doc", now_ms=0) as follower:
    ...     follower.opening, follower.query("select count(*) from history").rows
    ('created', [(0,)])
    >>> folder.cleanup()
    """

    def __init__(
        self, path: Path, connection: duckdb.DuckDBPyConnection, tables: FactTables, *, opening: Opening, reason: str
    ) -> None:
        self._path = path
        self._connection = connection
        self._tables = tables
        self.opening: Opening = opening
        self.reason = reason
        self._is_broken = False
        self._asking: duckdb.DuckDBPyConnection | None = None

    @classmethod
    def open(cls, path: Path, *, journal_id: str, now_ms: int, is_unclean: bool = False) -> Self:
        """Open the database at *path*, or set aside what cannot be read there and begin a new one.

        *now_ms* names what is set aside (``journal.duckdb.set-aside-<now_ms>``); nothing is ever deleted. After an
        unclean stop pass *is_unclean*: the file is then opened in a child process first (~0.2 s), since replaying a
        torn write-ahead log can kill the process. Raises ``StoreUnavailable`` when another process holds the file
        (the message names its pid) or the disk refuses.
        """
        path = path.resolve()
        exists = os.path.lexists(path)
        reason = _orphaned_wal(path) if not exists else probe(path) if is_unclean else None
        if exists and reason is None:
            try:
                return cls._open_same(path, journal_id)
            except _Unreadable as problem:
                reason = str(problem)
        if reason is not None:
            set_aside(path, now_ms=now_ms)
        return cls._create(path, journal_id, opening="created" if reason is None else "rebuilt", reason=reason or "")

    @classmethod
    def _open_same(cls, path: Path, journal_id: str) -> Self:
        connection = None
        try:
            connection = _connect(path)
            _check_identity(connection, journal_id)
            create_tables(connection)
            tables = FactTables(connection, _spool_of(path))
            _check_whole(connection, tables)
            return cls(path, connection, tables, opening="same", reason="")
        except BaseException as problem:
            if connection is not None:
                with suppress(duckdb.Error):
                    connection.close()
            if isinstance(problem, _WORLD_ERRORS) and (
                _is_unavailable(problem) or not isinstance(problem, duckdb.Error)
            ):
                raise _unavailable(path, problem) from problem
            if isinstance(problem, duckdb.Error | UnicodeDecodeError | ValueError | IndexError):
                raise _Unreadable(_first_line(problem)) from problem
            raise

    @classmethod
    def _create(cls, path: Path, journal_id: str, *, opening: Opening, reason: str) -> Self:
        connection = None
        try:
            connection = _connect(path)
            create_tables(connection)
            connection.execute("INSERT INTO internal.meta VALUES ('journal_id', ?)", [journal_id]).fetchall()
            return cls(path, connection, FactTables(connection, _spool_of(path)), opening=opening, reason=reason)
        except BaseException as problem:
            if connection is not None:
                with suppress(duckdb.Error):
                    connection.close()
            if isinstance(problem, _WORLD_ERRORS):
                raise _unavailable(path, problem) from problem
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def position(self) -> LogPosition:
        """How far the log was applied; kept in the same transaction as the rows."""
        return self._tables.position

    @property
    def collapsed_count(self) -> int:
        """How many of the facts that the position counts were collapsed since, and are not in the table any more."""
        return self._tables.collapsed_count

    @property
    def is_broken(self) -> bool:
        """Whether DuckDB gave up on this instance: only closing and opening again helps."""
        return self._is_broken

    @property
    def views(self) -> Mapping[str, str]:
        """The name of each known kind's SQL view."""
        return self._tables.views

    def apply(
        self,
        records: Sequence[FactRecord],
        *,
        position: LogPosition,
        hidden: Mapping[int, str] = {},
        registrations: Iterable[Registration] = (),
        chains: Iterable[ChainInfo] = (),
        runs: Sequence[RunRow] = (),
        notes: Sequence[LocalNote] = (),
        give_way: Callable[[], None] | None = None,
    ) -> None:
        """Follow the log by *records* to *position*, durably and in one transaction.

        *hidden*: the reason for each index of *records* that views must not show. *chains* may hold chains that have
        no fact yet; those of *records* need not be repeated. *give_way* is called after each 0.2 ms with the GIL.
        Costs 4 ms at least, 2 µs a fact in bulk (0.7 µs with the GIL). Raises ``LocalViolation`` when *records* leave
        a gap and ``StoreUnavailable`` when DuckDB or the disk refuses.
        """
        with self._guarded():
            self._tables.apply(
                records,
                position=position,
                hidden=hidden,
                registrations=registrations,
                chains=chains,
                runs=runs,
                notes=notes,
                give_way=give_way,
            )

    def apply_runs(
        self,
        runs: Sequence[LoggedRun],
        *,
        position: LogPosition,
        hidden: Mapping[int, str] = {},
        registrations: Iterable[Registration] = (),
        notes: Sequence[LocalNote] = (),
    ) -> None:
        """Follow the log by whole *runs* that were read from it, as ``apply`` does by records; what a rebuild does.

        1 to 3 µs a fact, of which Python holds the GIL for less than one.
        """
        with self._guarded():
            self._tables.apply_runs(runs, position=position, hidden=hidden, registrations=registrations, notes=notes)

    def hide(self, reasons: Mapping[bytes, str | None], *, over: str | None = None) -> None:
        """Change why facts are hidden from the typed views (by 32-byte id); None shows them again.

        With *over* only of those that are shown, or hidden for that reason."""
        with self._guarded():
            self._tables.hide(reasons, over=over)

    def erase(self, fact_ids: Iterable[bytes]) -> None:
        """Take the payloads of these facts out of the table; ids and everything else stay."""
        with self._guarded():
            self._tables.erase(fact_ids)

    def lose_run(self, run: RunRow) -> None:
        """Forget where a run lies, because its bytes are damaged; its facts stay."""
        with self._guarded():
            self._tables.lose_run(run)

    def unerased_of(self, fact_ids: Iterable[bytes]) -> list[bytes]:
        """Which of these facts still have their payload in the table."""
        with self._guarded():
            return self._tables.unerased_of(fact_ids)

    def facts_of_kind(self, kind: str) -> list[FactRecord]:
        """The facts of one kind, as ``facts_of`` gives them."""
        return list(self.facts_of([kind]))

    def load_chains(self) -> list[StoredChain]:
        """Every chain, with its last applied fact."""
        with self._guarded():
            return self._tables.load_chains()

    def load_runs(self) -> list[RunRow]:
        """Every sealed run's place in the log, by chain and seq; ~3 µs each."""
        with self._guarded():
            return self._tables.load_runs()

    def load_links(self) -> list[StoredLink]:
        """Which chains name which others in ``after``, up to which number."""
        with self._guarded():
            return self._tables.load_links()

    def load_registrations(self) -> list[Registration]:
        """Every fact type the log has registered, at every version."""
        with self._guarded():
            return self._tables.load_registrations()

    def facts_of(self, kinds: Iterable[str] | None, *, after_position: int = 0) -> Iterator[FactRecord]:
        """Read back the facts of *kinds* (None: all) that views may show, in stamp order, byte for byte."""
        with self._guarded():
            yield from self._tables.facts_of(kinds, after_position=after_position)

    def load_acks(self, fact_ids: Iterable[bytes]) -> dict[bytes, dict[str, int]]:
        """When each peer first acknowledged each of these facts (ms)."""
        with self._guarded():
            return load_acks(self._connection, fact_ids)

    def load_tracked(self) -> list[TrackedAcks]:
        """Every fact with acknowledgements."""
        with self._guarded():
            return load_tracked(self._connection)

    def load_unacked(self, peer: str, kinds: Iterable[str], *, after: int, upto: int) -> list[bytes]:
        """Facts of *kinds* at the log's positions after..upto that *peer* has not acknowledged."""
        with self._guarded():
            return load_unacked(self._connection, peer, kinds, after=after, upto=upto)

    def load_bases(self) -> list[ChainBase]:
        """Where each chain goes on whose earlier facts were collapsed."""
        with self._guarded():
            return load_bases(self._connection)

    def load_guard_notes(self) -> list[LocalNote]:
        """What guards wrote down since their last state, in the order of the log."""
        with self._guarded():
            return load_guard_notes(self._connection)

    def load_peers(self) -> list[PeerRow]:
        """Every peer that is remembered."""
        with self._guarded():
            return load_peers(self._connection)

    def load_retention_items(self, upto: Mapping[str, int]) -> list[RetentionItem]:
        """The facts that have a payload, of each kind up to its time, with their acknowledgements."""
        with self._guarded():
            return load_retention_items(self._connection, upto)

    def count_payloads(self, kinds: Iterable[str]) -> dict[str, int]:
        """How many facts of each of *kinds* have a payload."""
        with self._guarded():
            return count_payloads(self._connection, kinds)

    def load_unretired(self) -> list[RetentionItem]:
        """The facts that were let go and have their payload still."""
        with self._guarded():
            return load_unretired(self._connection)

    def load_first_skeletons(self, kind: str) -> dict[bytes, int]:
        """By chain, the lowest number of a fact of *kind* whose payload is gone."""
        with self._guarded():
            return load_first_skeletons(self._connection, kind)

    def load_retired(self) -> LocalNote:
        """Everything that was let go, as one note."""
        with self._guarded():
            return load_retired(self._connection)

    def save_checkpoint(
        self, *, view: str, version: int, schema_hash: str, root: bytes, state: bytes, position: int
    ) -> None:
        """Keep a view's encoded state after the log's first *position* facts, in place of the one before it."""
        with self._guarded():
            self._tables.save_checkpoint(
                view=view, version=version, schema_hash=schema_hash, root=root, state=state, position=position
            )

    def load_checkpoint(self, *, view: str, version: int, schema_hash: str) -> ViewCheckpoint | None:
        """The state kept for exactly this version and schema of a view, or None."""
        with self._guarded():
            return self._tables.load_checkpoint(view=view, version=version, schema_hash=schema_hash)

    def query(self, sql: str, parameters: Parameters = None) -> QueryRows:
        """Run one reading SQL statement over everything applied so far; *parameters* by position or by name.

        Runs in a read-only transaction of its own and may touch no file (see ``tables.connect`` for what that does
        and does not bound). Raises ``LocalViolation`` with DuckDB's words when the SQL is wrong or would write.
        """
        cursor = self.ask(sql, parameters)
        try:
            with self._guarded():
                described, rows = _fetch(cursor)
        finally:
            with suppress(duckdb.Error):
                cursor.close()
        return QueryRows(tuple(str(item[0]) for item in described), tuple(str(item[1]) for item in described), rows)

    def ask(self, sql: str, parameters: Parameters = None, *, among: Among | None = None) -> duckdb.DuckDBPyConnection:
        """Run a query as ``query`` does, and leave its rows in DuckDB: a cursor whose ``RESULT_TABLE`` holds them.

        The rows no longer move, so another thread may fetch them while this one follows the log. What ``narrow`` made
        is asked with the same *among*.
        """
        self._refuse_own_file(sql)
        try:
            with self._guarded():
                return ask(self._connection, sql, parameters, on_cursor=partial(self._begin_asking, among))
        finally:
            self._asking = None

    def interrupt(self) -> None:
        """From any thread: end the query that is running, if there is one; it raises for whoever asked."""
        asking = self._asking
        if asking is not None:
            asking.interrupt()

    def narrow(self, sql: str, among: Among) -> str:
        """*sql* over a part of the facts; see ``FactTables.narrow``."""
        return self._tables.narrow(sql, among)

    def _begin_asking(self, among: Among | None, cursor: duckdb.DuckDBPyConnection) -> None:
        self._asking = cursor
        if among is not None:
            among.prepare(cursor)

    def checkpoint_if_idle(self) -> bool:
        """Move a write-ahead log worth moving into the database; call it when nothing waits (~0.7 µs a pending fact).

        True when it was done. A query that is running on another cursor merely puts it off.
        """
        if _size_of(_wal_of(self._path)) < _CHECKPOINT_BYTES_MIN:
            return False
        with self._guarded():
            try:
                self._connection.execute("CHECKPOINT").fetchall()
            except duckdb.TransactionException:
                return False
        return True

    def statistics(self) -> DuckdbStatistics:
        """How the follower opened, how far it is and how large its files are."""
        return DuckdbStatistics(
            self.opening, self.position, len(self.views), _size_of(self._path), _size_of(_wal_of(self._path))
        )

    def close(self) -> None:
        """Checkpoint and close; twice is once. A failure loses nothing, for the log has it all."""
        with suppress(duckdb.Error):
            self._connection.close()
        with suppress(OSError):
            _spool_of(self._path).unlink(missing_ok=True)

    def _refuse_own_file(self, sql: str) -> None:
        """Reading the database file as a file would, on closing it, drop the lock that keeps other processes out."""
        if self._path.name.lower() in sql.lower():
            raise LocalViolation(
                f"SQL may not read {self._path.name} as a file; its tables and views are there by name"
            )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except _WORLD_ERRORS as problem:
            self._is_broken = self._is_broken or isinstance(problem, _GIVEN_UP)
            raise _unavailable(self._path, problem) from problem


def _fetch(cursor: duckdb.DuckDBPyConnection) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """What ``ask`` left in a cursor: its columns' descriptions, and its rows as Python's values."""
    try:
        cursor.execute(f"FROM {RESULT_TABLE}")
        return list(cursor.description or []), cursor.fetchall()
    except duckdb.Error as problem:
        if is_databases_fault(problem):
            raise
        raise LocalViolation(f"the query's rows cannot be fetched into Python: {problem}") from problem


def probe(path: Path) -> str | None:
    """Open a database in a child process that may die of it; None when it opens, else the reason why it does not.

    For use after an unclean stop. ~0.2 s, plus the replay of the write-ahead log. Raises ``StoreUnavailable`` when
    another process holds the file.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return None  # a bundled application is no Python to run a probe with
    command = [sys.executable, "-P", "-c", _PROBE, str(path)]
    try:
        # DuckDB's crash reports belong to nobody's terminal.
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not open within {PROBE_SECONDS_MAX} s"
    if done.returncode < 0:
        return f"opening it killed the process with {signal.Signals(-done.returncode).name}"
    if done.returncode != 3:
        return None
    said = done.stdout.strip()
    if _HELD.search(said) or _REFUSED.search(said):
        raise _unavailable(path, said)
    return said


def set_aside(path: Path, *, now_ms: int) -> Path:
    """Rename a database and its write-ahead log out of the way; returns the new path of the former."""
    target = path.with_name(f"{path.name}.set-aside-{now_ms}")
    number = 1
    while os.path.lexists(target) or os.path.lexists(_wal_of(target)):
        number += 1
        target = path.with_name(f"{path.name}.set-aside-{now_ms}-{number}")
    try:
        for source, destination in ((_wal_of(path), _wal_of(target)), (path, target)):
            with suppress(FileNotFoundError):
                source.rename(destination)
    except OSError as problem:
        raise _unavailable(path, problem) from problem
    return target


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    # Segments go into the table as they are, without passing through Python.
    return connect(str(path), spool=_spool_of(path), thread_count=_THREAD_COUNT, folder=path.parent / SEGMENTS_FOLDER)


def _check_identity(connection: duckdb.DuckDBPyConnection, journal_id: str) -> None:
    known = schema_version(connection)
    newest = migrations()[-1][0]
    if known == 0:
        raise _Unreadable("it holds no tables of a journal")
    if known > newest:
        raise _Unreadable(f"a newer antiphon wrote it (schema {known}, this one knows {newest})")
    rows = connection.execute("SELECT value FROM internal.meta WHERE name = 'journal_id'").fetchall()
    if rows != [(journal_id,)]:
        raise _Unreadable(f"it belongs to journal {rows[0][0] if rows else 'unknown'}, not to {journal_id}")


def _check_whole(connection: duckdb.DuckDBPyConnection, tables: FactTables) -> None:
    """The position was written with the facts, so any other number of them is DuckDB's loss."""
    count, last = connection.execute("SELECT count(*), coalesce(max(position), 0) FROM internal.facts").fetchall()[0]
    expected, collapsed = tables.position.fact_count, tables.collapsed_count
    if count + collapsed != expected or last > expected or (not collapsed and last != expected):
        raise _Unreadable(f"it holds {count} facts where its position says {expected - collapsed}")


def _orphaned_wal(path: Path) -> str | None:
    return "only its write-ahead log was left" if os.path.lexists(_wal_of(path)) else None


def _is_unavailable(problem: BaseException) -> bool:
    text = str(problem)
    return _HELD.search(text) is not None or _REFUSED.search(text) is not None


def _unavailable(path: Path, problem: BaseException | str) -> StoreUnavailable:
    text = _first_line(problem)
    if _HELD.search(text):
        pid = _PID.search(text)
        holder = f"process {pid[1]}" if pid else "another connection"
        return StoreUnavailable(f"{path.name} is held by {holder}; the journal goes on without it and tries again")
    return StoreUnavailable(f"{path.name}: {text}; nothing is lost, the log has it all, and it is tried again")


def _first_line(problem: BaseException | str) -> str:
    text = problem if isinstance(problem, str) else f"{type(problem).__name__}: {problem}"
    return text.strip().splitlines()[0] if text.strip() else "no reason given"


def _spool_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.spool")


def _wal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


__all__ = [
    "LOG_START",
    "RESULT_TABLE",
    "DuckdbFollower",
    "DuckdbStatistics",
    "LogPosition",
    "Opening",
    "QueryRows",
    "RunRow",
    "StoredChain",
    "StoredLink",
    "ViewCheckpoint",
    "probe",
    "set_aside",
]

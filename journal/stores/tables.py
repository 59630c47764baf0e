"""Facts as DuckDB tables: the schema, the bulk hand-over, the typed views and what is read back.

Works on a connection that somebody else opened: ``duckdb.py`` on the file beside the log, ``app/history.py`` on one
in memory, so that both show the same rows. Single owner; every call blocks. It knows nothing of log files or of
membership.
"""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import IO, NamedTuple

import duckdb
import orjson

from antiphon.facts import (
    AfterLink,
    AuthorityId,
    ChainId,
    ChainInfo,
    FactId,
    FactRecord,
    LocalViolation,
    Namespace,
    Registration,
)
from antiphon.facts.encoding import SALT_TEXT_BYTES

from ..bases import ChainBase, bases_of
from ..frame import LocalNote
from .accounts import apply_notes
from .log import segment_path
from .logged_run import Columns, LoggedRun
from .position import LOG_START, LogPosition, RunRow, row_of_seal
from .typed_views import KnownKind, build_view, quote_name, quote_text, select_kind, sql_names

Parameters = Sequence[object] | Mapping[str, object] | None
Row = tuple[object, ...]

# A few MB of text at a time on its way to the spool: large enough that Python's overhead vanishes, small in memory.
_SPOOL_FACTS_MAX = 5_000
# Beside a journal at work: 0.2 ms with the GIL, a tenth of what a window may take.
_SPOOL_FACTS_GIVING_WAY = 250
# The widest row is a payload of 64 KiB in hex and 64 causal links.
SPOOL_ROW_BYTES_MAX = 256 * 1024
_ROWS_FETCHED_AT_ONCE = 10_000
RESULT_TABLE = "antiphon_result"
_READABLE_STATEMENTS = frozenset({"SELECT", "EXPLAIN", "MULTI"})
_DESCRIBING = re.compile(r"\s*(describe|desc|show|summarize|explain)\b", re.IGNORECASE)
_PIVOT = re.compile(r"\bpivot\b", re.IGNORECASE)
# What DuckDB says of a statement that is wrong, before it runs.
BINDING_ERRORS = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.InvalidInputException,
)
_DATABASE_ERRORS = (duckdb.FatalException, duckdb.InternalException, duckdb.IOException, duckdb.TransactionException)

# Handed over as text that DuckDB's own reader splits, since any row loop of DuckDB over Python objects holds the GIL.
# Facts of 100 payload bytes, µs a fact in all (GIL held in brackets) for 50,000 rows, quiet: this spool 1.8 (0.7),
# the 2.x appender 2.5 (2.5), pyarrow 2.6 (1.3), numpy columns with a split text 5.3 (0.8), text parameters 6.1 (2.3).
# No control character can occur inside canonical JSON, so the unit separator splits columns without any quoting.
SPOOL_COLUMNS = (
    "fact_id",
    "chain_number",
    "after_links",
    "at_ms",
    "kind",
    "seq",
    "hlc",
    "version",
    "hidden",
    "digest",
    "raw",
    "salt",
    "payload",
)
_SPOOL_ROW = b"%b\x1f%d\x1f%b\x1f%d\x1f%b\x1f%d\x1f%d\x1f%d\x1f%b\x1f%b\x1f%b\x1f%b\x1f%b\n"
# From the links to the version a header says the same in the same order.
_HEADER_COLUMNS = 6
_SPOOL_LINE = b"%b\x1f%d\x1f%b\x1f\x1f\x1f\x1f%b\x1f%b\n"
_HEADER_LETTERS = b'abcdefghijklmnopqrstuvwxyz0123456789_.-[],"\x1f'
INTEGER_COLUMNS = frozenset({"chain_number", "seq", "hlc", "at_ms", "version"})
_NOT_CANONICAL = "not-canonical"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

_READ_SPOOL = """read_csv({spool}, delim = '\x1f', quote = '', escape = '', header = false, auto_detect = false,
    new_line = '\\n', max_line_size = {row_bytes}, columns = {{{columns}}})"""

_INSERT_FACTS = f"""
INSERT INTO internal.facts
SELECT unhex(fact_id), chain_number, seq, hlc, at_ms, kind, version, payload, unhex(raw), from_base64(salt),
    after_links, unhex(digest),
    CASE WHEN digest IS NOT NULL THEN NULL
        WHEN hidden IS NOT NULL OR json_valid(payload) THEN hidden
        ELSE '{_NOT_CANONICAL}' END,
    {{before}} + row_number() OVER ()
FROM {_READ_SPOOL}
"""

# A segment has the columns already: only the ids are to be had from Python, and half of each tells its row.
_INSERT_SEGMENT = f"""
INSERT INTO internal.facts
SELECT unhex(i.fact_id), ({{numbers}})[f.chain_number], f.seq, f.hlc, f.at_ms, f.kind, f.version, f.payload, f.raw,
    f.salt, f.after_links, f.digest,
    CASE WHEN f.digest IS NOT NULL THEN NULL
        WHEN {{hidden}} IS NOT NULL OR json_valid(f.payload) THEN {{hidden}}
        ELSE '{_NOT_CANONICAL}' END,
    {{before}} + row_number() OVER ()
FROM (
    SELECT * FROM read_parquet({{segment}}, file_row_number = true) WHERE file_row_number BETWEEN {{first}} AND {{last}}
) AS f POSITIONAL JOIN {_READ_SPOOL} AS i
WHERE i.fact_id[1:32] = lower(hex(f.fact_id_half))
"""

# Ids do not compress: those of a million facts take longer to pass over than their three other columns together.
_HEADS = """
WITH heads AS MATERIALIZED (
    SELECT chain_number, max(seq) AS seq, arg_max(rowid, seq) AS place, max(hlc) AS hlc
    FROM internal.facts GROUP BY chain_number
)
SELECT heads.chain_number, heads.seq, f.fact_id, heads.hlc
FROM heads JOIN internal.facts AS f ON f.rowid = heads.place
"""

_AMONG_TABLE = "antiphon_among"
_IDS = "SELECT unhex(f) FROM (SELECT unnest(from_json(?::JSON, '[\"VARCHAR\"]')) AS f)"
_ERASE = f"""
UPDATE internal.facts SET digest = unhex(sha256(encode(to_base64(salt)) || coalesce(raw, encode(payload), ''::BLOB))),
    payload = NULL, raw = NULL, salt = NULL, hidden = NULL
WHERE digest IS NULL AND fact_id IN ({_IDS})
"""

_LINE_SQL = """
SELECT fact_id, chain_number, seq, hlc, at_ms, kind, version,
    CASE WHEN digest IS NOT NULL THEN encode('{"e":"' || lower(hex(digest)) || '","h":' || header || '}')
    ELSE encode('{"h":' || header || ',"p":') || coalesce(raw, encode(payload), ''::BLOB)
        || encode(',"r":"' || to_base64(salt) || '"}') END AS line,
    strlen(header) AS header_length, after_links
FROM (
    SELECT f.*, '{' || coalesce('"after":' || after_links || ',', '') || '"at":' || at_ms || ',"c":"' || c.chain
        || '","k":"' || kind || '","s":' || seq || ',"t":' || hlc || ',"v":' || version || '}' AS header
    FROM internal.facts AS f JOIN internal.chains AS c ON c.chain_number = f.chain_number
    WHERE {condition}
)
ORDER BY at_ms, hlc, fact_id
"""


class CannotNarrow(LocalViolation):
    """A query that cannot be asked of a part of the facts: it cannot be told, or changed, what it reads."""


class Among(NamedTuple):
    """A part of the facts: those that the log held up to a *position*, or those of these ids; exactly one is given."""

    position: int | None = None
    fact_ids: Collection[bytes] | None = None

    @property
    def condition(self) -> str:
        """The part, over the columns of ``internal.facts``."""
        if self.position is not None:
            return f"position <= {self.position:d}"
        return f"fact_id IN (FROM {_AMONG_TABLE})"

    def prepare(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Give the cursor what ``condition`` names."""
        if self.fact_ids is not None:
            given = _json([each.hex() for each in self.fact_ids])
            cursor.execute(f"CREATE TEMP TABLE {_AMONG_TABLE} AS {_IDS}", [given]).fetchall()


class StoredChain(NamedTuple):
    """A chain as the tables know it, and its last applied fact (number 0 and 32 zero bytes before the first)."""

    info: ChainInfo
    last_seq: int
    last_id: FactId
    last_hlc: int


class StoredLink(NamedTuple):
    """A fact of ``chain`` names ``other`` in its ``after``, at most up to ``seq``."""

    chain: bytes
    other: bytes
    seq: int


_CHECKPOINT_TABLES = ("internal.view_checkpoints", "internal.view_checkpoint_parts")
# A larger state is kept in parts of this size: 40 ms less for 45 MB, and nothing to read for those beside it.
_STATE_PART_BYTES = 1 << 20
# A third less than all parts in one: 84 ms for 45 MB, where they lie unpacked, instead of 124.
_STATE_PARTS_FETCHED = 8


class ViewCheckpoint(NamedTuple):
    """A view's encoded state after the first ``position`` facts of the log, valid while its namespaces had ``root``."""

    root: bytes
    state: bytes
    position: int


class QueryRows(NamedTuple):
    """What a query gave: the columns' names and types, and all rows."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[Row]


class FactTables:
    """The tables in one DuckDB database, and the only code that writes them.

    ``spool`` is a file this object may write and truncate at will; it must be the connection's one allowed path.
    Raises ``duckdb.Error`` as it comes: what a failure means is the caller's to say.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, spool: Path) -> None:
        self._connection = connection
        self._spool = spool
        self._position: LogPosition = LOG_START
        self._chains: dict[int, ChainInfo] = {}
        self._numbers: dict[ChainId, int] = {}
        self._views: dict[str, str] = {}
        self._registrations: dict[str, dict[int, Registration]] = {}
        self._read_state()

    @property
    def position(self) -> LogPosition:
        """How far the log was applied."""
        return self._position

    @property
    def views(self) -> Mapping[str, str]:
        """The name of each known kind's view, in order of arrival."""
        return dict(self._views)

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
        """Add facts and all that came with them in one transaction: wholly, with *position*, or not at all.

        *hidden* gives the reason for each index of *records* that views must not show. About 1.8 µs a fact in bulk
        (0.7 µs of it with the GIL), 4 ms at least. Raises ``LocalViolation`` when *records* do not end at *position*.

        *give_way* is called between portions of 250 facts, for whoever must not hold the GIL for long.
        """
        with self._adding(len(records), position, notes) as before:
            self._add_chains((*chains, *{id(record.chain): record.chain for record in records}.values()))
            if records:
                self._add_facts(records, hidden, before, give_way)
            self._add_runs(runs)
            kinds = {record.kind for record in records} - self._registrations.keys()
            # In order of first appearance: equal logs give equal names, whoever reads them in whatever portions.
            new = dict.fromkeys(record.kind for record in records if record.kind in kinds) if kinds else ()
            self._add_kinds(new, registrations)

    def apply_runs(
        self,
        runs: Sequence[LoggedRun],
        *,
        position: LogPosition,
        hidden: Mapping[int, str] = {},
        registrations: Iterable[Registration] = (),
        notes: Sequence[LocalNote] = (),
    ) -> None:
        """Add whole runs of the log as ``apply`` adds records, without making records of them.

        *hidden* counts the facts of all *runs*. What lies in a segment goes from Parquet to the table inside DuckDB
        (~1 µs a fact, the GIL let go), what lies in a log file by way of the spool (~2.5 µs, 0.8 µs of it in Python).
        """
        with self._adding(sum(run.fact_count for run in runs), position, notes) as before:
            self._add_chains([run.info for run in runs])
            place = 0
            for stretch in _stretches(runs):
                reasons = _between(hidden, place, sum(run.fact_count for run in stretch))
                add = self._add_lines if stretch[0].segment is None else self._add_segment
                add(stretch, reasons, before + place)
                place += sum(run.fact_count for run in stretch)
            self._add_runs([run.row for run in runs])
            met = "SELECT kind FROM internal.facts WHERE position > ? GROUP BY kind ORDER BY min(position)"
            kinds = [str(row[0]) for row in self._rows(met, [before])]
            self._add_kinds([kind for kind in kinds if kind not in self._registrations], registrations)

    @contextmanager
    def _adding(self, fact_count: int, position: LogPosition, notes: Sequence[LocalNote]) -> Iterator[int]:
        """A transaction that adds facts, takes *notes* in and ends at *position*; gives how many facts came before."""
        before = self._position.fact_count
        if position.fact_count != before + fact_count:
            raise LocalViolation(
                f"{fact_count} facts after fact {before} cannot end at fact {position.fact_count}; "
                "feed the log from .position on"
            )
        self._connection.execute("BEGIN TRANSACTION")
        try:
            yield before
            apply_notes(self._connection, notes)
            kept_count = fact_count - self._collapse([base for base in bases_of(notes) if base.is_own], before)
            self._execute(
                "UPDATE internal.applied SET file_number = ?, frame_end = ?, frame_hash = ?, fact_count = ?",
                [*position],
            )
            self._execute("COMMIT")
            self._check_count(before, kept_count)
        except BaseException:
            self._roll_back()
            raise
        self._position = position

    def hide(self, reasons: Mapping[bytes, str | None], *, over: str | None = None) -> None:
        """Change why facts are hidden (by 32-byte id); None shows them again.

        With *over* only of those that are shown, or hidden for that reason."""
        rows = [
            {"i": fact_id.hex(), "r": _clean(reason) if reason is not None else None}
            for fact_id, reason in reasons.items()
        ]
        self._execute(
            f"UPDATE internal.facts SET hidden = given.r FROM ({_from_json('i VARCHAR, r VARCHAR')}) AS given "
            "WHERE fact_id = unhex(given.i) AND (?::VARCHAR IS NULL OR hidden IS NULL OR hidden = ?::VARCHAR)",
            [_json(rows), over, over],
        )

    def erase(self, fact_ids: Iterable[bytes]) -> None:
        """Take the payloads of these facts out, and every view's kept state with them: it was made of them."""
        given = [_json([fact_id.hex() for fact_id in fact_ids])]
        self._connection.execute("BEGIN TRANSACTION")
        try:
            self._execute(_ERASE, given)
            self._drop_checkpoints()
            self._execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def lose_run(self, run: RunRow) -> None:
        """Forget where a run lies, because its bytes are damaged; its facts stay. Opened so, the log is read anew.

        The kept states of views go as well: what a position counts is no longer in the order of the log.
        """
        place = [self._numbers.get(ChainId(run.chain)), run.first_seq, run.file_number, run.offset]
        self._connection.execute("BEGIN TRANSACTION")
        try:
            self._execute(
                "DELETE FROM internal.runs "
                "WHERE chain_number = ? AND first_seq = ? AND file_number = ? AND run_start = ?",
                place,
            )
            self._drop_checkpoints()
            self._execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def unerased_of(self, fact_ids: Iterable[bytes]) -> list[bytes]:
        """Which of these facts still have their payload here; one pass over the ids."""
        given = [_json([fact_id.hex() for fact_id in fact_ids])]
        rows = self._rows(f"SELECT fact_id FROM internal.facts WHERE digest IS NULL AND fact_id IN ({_IDS})", given)
        return [_bytes(row[0]) for row in rows]

    def load_chains(self) -> list[StoredChain]:
        """Every chain with its last applied fact; one pass over three columns of the facts."""
        rows = self._rows(_HEADS)
        heads = {row[0]: row[1:] for row in rows}
        nothing = (0, bytes(32), 0)
        return [StoredChain(info, *heads.get(number, nothing)) for number, info in self._chains.items()]  # type: ignore[arg-type]  # rows are untyped

    def load_runs(self) -> list[RunRow]:
        """Every sealed run's place in the log, by chain and then by seq; ~2 µs each."""
        ids = {number: bytes(info.chain) for number, info in self._chains.items()}
        rows = self._rows("SELECT * FROM internal.runs ORDER BY chain_number, first_seq")
        return [RunRow(ids[row[0]], *row[1:]) for row in rows]  # type: ignore[index,arg-type]  # rows are untyped

    def load_links(self) -> list[StoredLink]:
        """Which chains' facts name which other chains in ``after``, with the highest number named."""
        rows = self._rows(
            "SELECT chain_number, unhex(link->>0), max((link->>1)::BIGINT) FROM ("
            "SELECT chain_number, unnest(from_json(after_links, '[\"JSON\"]')) AS link FROM internal.facts "
            "WHERE after_links IS NOT NULL) GROUP BY ALL ORDER BY ALL"
        )
        return [StoredLink(bytes(self._chains[number].chain), other, seq) for number, other, seq in rows]  # type: ignore[index,arg-type]  # rows are untyped

    def load_registrations(self) -> list[Registration]:
        """Every registered type at every version, in order of arrival."""
        return [registration for versions in self._registrations.values() for registration in versions.values()]

    def facts_of(
        self, kinds: Iterable[str] | None, *, after_position: int = 0, until_ms: int | None = None
    ) -> Iterator[FactRecord]:
        """Read the facts of *kinds* (None: all) that views may show, in stamp order, byte for byte as committed.

        *after_position* leaves out the log's first so many facts, *until_ms* those with a later stamp. About 3 µs a
        fact, fetched as they are consumed.
        """
        condition = "f.position > ? AND f.hidden IS NULL AND f.payload IS NOT NULL"
        parameters: list[object] = [after_position]
        if until_ms is not None:
            condition += " AND f.at_ms <= ?"
            parameters.append(until_ms)
        if kinds is not None:
            wanted = list(kinds)
            condition += f" AND f.kind IN ({', '.join('?' * len(wanted)) or 'NULL'})"
            parameters.extend(wanted)
        cursor = self._connection.cursor()
        try:
            cursor.execute(_LINE_SQL.replace("{condition}", condition), parameters)
            while rows := cursor.fetchmany(_ROWS_FETCHED_AT_ONCE):
                yield from self._records(rows)
        finally:
            cursor.close()

    def save_checkpoint(
        self, *, view: str, version: int, schema_hash: str, root: bytes, state: bytes, position: int
    ) -> None:
        """Keep a view's state, in place of the one before it."""
        self._connection.execute("BEGIN TRANSACTION")
        try:
            for table in _CHECKPOINT_TABLES:
                self._execute(f"DELETE FROM {table} WHERE view_name = ?", [view])
            is_large = len(state) > _STATE_PART_BYTES
            self._execute(
                "INSERT INTO internal.view_checkpoints VALUES (?, ?, ?, ?, ?, ?)",
                [view, version, schema_hash, root, b"" if is_large else state, position],
            )
            for part, start in enumerate(range(0, len(state) if is_large else 0, _STATE_PART_BYTES)):
                piece = state[start : start + _STATE_PART_BYTES]
                self._execute("INSERT INTO internal.view_checkpoint_parts VALUES (?, ?, ?)", [view, part, piece])
            self._execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def load_checkpoint(self, *, view: str, version: int, schema_hash: str) -> ViewCheckpoint | None:
        """The state kept for exactly this version and schema of a view, or None: then it is folded anew."""
        rows = self._rows(
            "SELECT root, state, position FROM internal.view_checkpoints "
            "WHERE view_name = ? AND version = ? AND schema_hash = ?",
            [view, version, schema_hash],
        )
        if not rows:
            return None
        kept = ViewCheckpoint(*rows[0])  # type: ignore[arg-type]  # rows are untyped
        if kept.state:
            return kept
        return kept._replace(state=b"".join(self._state_parts(view)))

    def _state_parts(self, view: str) -> Iterator[bytes]:
        """The parts of a large state in order."""
        first = 0
        query = "SELECT part, state FROM internal.view_checkpoint_parts WHERE view_name = ? AND part BETWEEN ? AND ?"
        while parts := self._rows(query, [view, first, first + _STATE_PARTS_FETCHED - 1]):
            first += _STATE_PARTS_FETCHED
            # Sorted here: a sort in SQL copies every part once more.
            yield from (_bytes(state) for _, state in sorted(parts))

    @property
    def collapsed_count(self) -> int:
        """How many facts were taken out again because their chains begin behind them; the position counts them on."""
        rows = self._rows("SELECT value FROM internal.meta WHERE name = 'collapsed_count'")
        return int(str(rows[0][0])) if rows else 0

    def _collapse(self, bases: Sequence[ChainBase], before: int) -> int:
        """Take out the runs of which *bases* are what is left, within a transaction; how many of their facts had come
        after fact *before*. Other stories under the same numbers stay.

        The kept states of views go as well: they were counted with these facts.
        """
        if not bases:
            return 0
        rows = [row_of_seal(base.seal) for base in bases]
        sizes = {row.last_id.hex(): row.last_seq - row.first_seq + 1 for row in rows}
        if self._rows("SELECT 1 FROM internal.runs LIMIT 1"):  # a history keeps facts only
            given = [
                [self._numbers.get(ChainId(row.chain)), row.first_previous_id.hex(), row.last_id.hex()] for row in rows
            ]
            held = self._rows(
                "DELETE FROM internal.runs USING "
                "(SELECT unnest(from_json(?::JSON, '[\"JSON\"]')) AS r) AS given WHERE chain_number = (r->>0)::INTEGER "
                "AND first_previous_id = unhex(r->>1) AND last_id = unhex(r->>2) RETURNING lower(hex(last_id))",
                [_json(given)],
            )
            sizes = {str(last_id): sizes[str(last_id)] for (last_id,) in held}
        ends = self._rows(
            f"SELECT position, lower(hex(fact_id)) FROM internal.facts WHERE fact_id IN ({_IDS})", [_json(list(sizes))]
        )
        # A run's facts came together, so they have consecutive places.
        places = [int(str(end)) - back for end, last_id in ends for back in range(sizes[str(last_id)])]
        self._execute(
            "DELETE FROM internal.facts WHERE position IN (SELECT unnest(from_json(?::JSON, '[\"BIGINT\"]')))",
            [_json(places)],
        )
        count = len(places)
        fresh_count = sum(place > before for place in places)
        if not count:
            return 0
        total = self.collapsed_count + count
        self._execute("DELETE FROM internal.meta WHERE name = 'collapsed_count'")
        self._execute("INSERT INTO internal.meta VALUES ('collapsed_count', ?)", [str(total)])
        self._drop_checkpoints()
        return fresh_count

    def _drop_checkpoints(self) -> None:
        for table in _CHECKPOINT_TABLES:
            self._execute(f"DELETE FROM {table}")

    def _records(self, rows: list[Row]) -> Iterator[FactRecord]:
        chains = self._chains
        for fact_id, number, seq, hlc, at, kind, version, line, header_length, links in rows:
            yield FactRecord(
                fact_id,  # type: ignore[arg-type]  # rows are untyped; the columns are NOT NULL and of these types
                chains[number],  # type: ignore[index]
                seq,  # type: ignore[arg-type]
                hlc,  # type: ignore[arg-type]
                at,  # type: ignore[arg-type]
                kind,  # type: ignore[arg-type]
                version,  # type: ignore[arg-type]
                line,  # type: ignore[arg-type]
                header_length,  # type: ignore[arg-type]
                _parse_links(links) if links else (),
            )

    def _add_chains(self, given: Iterable[ChainInfo]) -> None:
        # A chain's first line does not know its label yet; its opening fact, if it is there, does.
        met = {info.chain: info for info in sorted(given, key=lambda info: bool(info.authority))}
        changed = {}
        for chain, info in met.items():
            number = self._numbers.get(chain)
            if number is None or (info.authority and _label(self._chains[number]) != _label(info)):
                changed[len(self._chains) + 1 if number is None else number] = info
                if number is None:
                    self._numbers[chain] = len(self._chains) + 1
                    self._chains[self._numbers[chain]] = info
        if not changed:
            return
        self._chains.update(changed)
        rows = [
            {
                "number": number,
                "chain": info.text,
                "key": info.public_key.hex(),
                "nonce": info.nonce.hex(),
                "namespace": info.namespace,
                "authority": info.authority,
                "label": info.label,
                "device": info.device,
            }
            for number, info in changed.items()
        ]
        self._execute(f"DELETE FROM internal.chains WHERE chain_number IN ({','.join(map(str, changed))})")
        texts = ("chain", "key", "nonce", "namespace", "authority", "label", "device")
        columns = ", ".join(["number INTEGER", *(f"{name} VARCHAR" for name in texts)])
        self._execute(
            "INSERT INTO internal.chains "
            "SELECT number, chain, unhex(key), unhex(nonce), namespace, authority, label, device "
            f"FROM ({_from_json(columns)})",
            [_json(rows)],
        )

    def _add_facts(
        self,
        records: Sequence[FactRecord],
        hidden: Mapping[int, str],
        before: int,
        give_way: Callable[[], None] | None,
    ) -> None:
        portion = _SPOOL_FACTS_MAX if give_way is None else _SPOOL_FACTS_GIVING_WAY
        with self._new_spool() as file:
            for start in range(0, len(records), portion):
                file.write(spool_text(records[start : start + portion], self._numbers, hidden, start))
                if give_way is not None:
                    give_way()
        self._insert(_INSERT_FACTS, SPOOL_COLUMNS, before)

    def _add_lines(self, runs: Sequence[LoggedRun], hidden: Mapping[int, str], before: int) -> None:
        place = 0
        with self._new_spool(buffering=1 << 20) as file:
            for run in runs:
                number = self._numbers[run.info.chain]
                reasons = _between(hidden, place, run.fact_count)
                text = None if reasons or run.columns is None else _lines_text(run, run.columns, number)
                file.write(spool_text(run.records, self._numbers, reasons, 0) if text is None else text)
                place += run.fact_count
        self._insert(_INSERT_FACTS, SPOOL_COLUMNS, before)

    def _add_segment(self, runs: Sequence[LoggedRun], hidden: Mapping[int, str], before: int) -> None:
        place = runs[0].segment
        assert place is not None, "the caller looked"
        chains: dict[int, int] = {}
        ids: list[bytes] = []
        for run in runs:
            assert run.segment is not None, "a stretch is of one segment"
            chains[run.segment.chain_number] = self._numbers[run.info.chain]
            ids.extend(map(hexlify, run.ids))
        for at, reason in hidden.items():
            ids[at] += b"\x1f" + _clean(reason).encode("utf-8", "replace")
        with self._new_spool() as file:
            if hidden:  # a column of its own, null where nothing stands in it
                ids = [each if b"\x1f" in each else each + b"\x1f" for each in ids]
            file.write(b"\n".join(ids) + b"\n")
        numbers = ", ".join(str(chains.get(number, 0)) for number in range(1, max(chains) + 1))
        self._insert(
            _INSERT_SEGMENT,
            ("fact_id", "hidden") if hidden else ("fact_id",),
            before,
            numbers=f"[{numbers}]",
            segment=quote_text(str(segment_path(self._spool.parent, place.number))),
            first=place.first_row,
            last=place.first_row + len(ids) - 1,
            hidden="i.hidden" if hidden else "NULL",
        )

    def _insert(self, statement: str, columns: Sequence[str], before: int, **more: object) -> None:
        shape = ", ".join(f"{name}: '{'BIGINT' if name in INTEGER_COLUMNS else 'VARCHAR'}'" for name in columns)
        spool = {"spool": quote_text(str(self._spool)), "row_bytes": SPOOL_ROW_BYTES_MAX, "columns": shape}
        self._execute(statement.format(before=before, **spool, **more))
        self._spool.unlink()

    def _new_spool(self, *, buffering: int = 0) -> IO[bytes]:
        """A new file each time, and gone when it was read: its bytes then never reach the disk.

        One that was emptied and is written again ext4 takes for a file being replaced: it is allocated on closing
        (``auto_da_alloc``), and the next sync of the log waits for it.
        """
        self._spool.unlink(missing_ok=True)
        return self._spool.open("xb", buffering=buffering)

    def _add_runs(self, runs: Sequence[RunRow]) -> None:
        if not runs:
            return
        rows = [
            [
                self._numbers[ChainId(run.chain)],
                run.first_seq,
                run.last_seq,
                run.first_previous_id.hex(),
                run.last_id.hex(),
                *run[5:],
            ]
            for run in runs
        ]
        self._execute(
            "INSERT INTO internal.runs "
            "SELECT (r->>0)::INTEGER, (r->>1)::BIGINT, (r->>2)::BIGINT, unhex(r->>3), unhex(r->>4), "
            "(r->>5)::BIGINT, (r->>6)::BIGINT, (r->>7)::BIGINT "
            "FROM (SELECT unnest(from_json(?::JSON, '[\"JSON\"]')) AS r)",
            [_json(rows)],
        )

    def _add_kinds(self, new: Collection[str], registrations: Iterable[Registration]) -> None:
        given = [item for item in registrations if self._registrations.get(item.kind, {}).get(item.version) != item]
        if not new and not given:
            return
        for registration in given:
            self._registrations.setdefault(registration.kind, {})[registration.version] = registration
        for kind in new:
            self._registrations.setdefault(kind, {})
        self._write_kinds()
        self._rebuild_views({item.kind for item in given} | set(new))

    def _write_kinds(self) -> None:
        known = self._known_kinds()
        names = sql_names(known)
        rows = [
            [item.kind, number, names[item.kind], *(item.registration or (None,) * 5)[1:]]
            for number, item in enumerate(known)
        ]
        self._execute("DELETE FROM fact_types")
        self._execute(
            "INSERT INTO fact_types SELECT r->>0, (r->>1)::INTEGER, r->>2, (r->>3)::INTEGER, (r->>4)::INTEGER, r->>5, "
            "r->>6 FROM (SELECT unnest(from_json(?::JSON, '[\"JSON\"]')) AS r)",
            [_json(rows)],
        )
        self._execute("DELETE FROM internal.fact_type_versions")
        self._execute(
            "INSERT INTO internal.fact_type_versions SELECT r->>0, (r->>1)::INTEGER, (r->>2)::INTEGER, r->>3, r->>4 "
            "FROM (SELECT unnest(from_json(?::JSON, '[\"JSON\"]')) AS r)",
            [_json([list(item) for item in self.load_registrations()])],
        )

    def _rebuild_views(self, changed: set[str]) -> None:
        known = self._known_kinds()
        names = sql_names(known)
        moved = {kind for kind, name in names.items() if self._views.get(kind) != name}
        for kind in moved & self._views.keys():
            self._execute(f"DROP VIEW IF EXISTS main.{quote_name(self._views[kind])}")
        for item in known:
            if item.kind in moved | changed:
                self._execute(build_view(names[item.kind], item.kind, item.registration))
        self._views = names

    def narrow(self, query: str, among: Among) -> str:
        """*query* over a part of the facts: each typed view that it names, and ``history``, shows only those.

        Raises ``CannotNarrow`` for a query that reads our own tables, or of which it cannot be told what it reads.
        """
        facts = f"(SELECT * FROM internal.facts WHERE {among.condition})"
        kinds = {name.lower(): kind for kind, name in self._views.items()}
        known = {item.kind: item.registration for item in self._known_kinds()}
        parts: list[str] = []
        for name in sorted(_names_in(self._connection, query)):
            if "." in name:
                raise CannotNarrow(
                    f"a query over a part of the facts names {name}; expected plain names of typed views or history: "
                    "leave the schema out"
                )
            kind = kinds.get(name.lower())
            if kind is not None:
                parts.append(f"{quote_name(name)} AS ({select_kind(kind, known[kind], among=facts)})")
            elif name.lower() == "history":
                ids = f"SELECT lower(hex(fact_id)) FROM {facts}"
                parts.append(f"{quote_name(name)} AS (SELECT * FROM main.history WHERE fact_id IN ({ids}))")
        return f"WITH {', '.join(parts)} FROM (\n{query.strip().rstrip(';')}\n)" if parts else query

    def _known_kinds(self) -> list[KnownKind]:
        return [
            KnownKind(kind, versions[max(versions)] if versions else None)
            for kind, versions in self._registrations.items()
        ]

    def _check_count(self, before: int, added: int) -> None:
        """Count what was committed: DuckDB 2.0 answers OK to a COMMIT after an error, and keeps nothing."""
        rows = self._rows("SELECT count(*) FROM internal.facts WHERE position > ?", [before])
        if rows[0][0] != added:
            raise duckdb.FatalException(f"a transaction of {added} facts left {rows[0][0]} behind")

    def _roll_back(self) -> None:
        # There may be none left to roll back, and a database beyond use reads nothing any more; either way the caller
        # is about to hear the first problem, which is the one that counts.
        with suppress(duckdb.Error):
            self._connection.execute("ROLLBACK")
        with suppress(duckdb.Error):
            self._read_state()

    def _read_state(self) -> None:
        applied = self._rows("SELECT file_number, frame_end, frame_hash, fact_count FROM internal.applied")[0]
        self._position = LogPosition(*applied)  # type: ignore[arg-type]  # rows are untyped
        self._chains = {}
        for number, chain, key, nonce, namespace, authority, label, device in self._rows(
            "SELECT * FROM internal.chains ORDER BY chain_number"
        ):
            self._chains[int(str(number))] = ChainInfo(
                ChainId(bytes.fromhex(str(chain))),
                _bytes(key),
                _bytes(nonce),
                Namespace(str(namespace)),
                AuthorityId(str(authority)),
                str(label),
                str(device),
            )
        self._numbers = {info.chain: number for number, info in self._chains.items()}
        kinds = self._rows("SELECT kind, sql_name FROM fact_types ORDER BY arrival")
        self._views = {str(kind): str(name) for kind, name in kinds}
        self._registrations = {kind: {} for kind in self._views}
        versions = "SELECT kind, version, min_version, json_schema, schema_hash FROM internal.fact_type_versions"
        for row in self._rows(versions):
            registration = Registration(*row)  # type: ignore[arg-type]  # rows are untyped
            self._registrations[registration.kind][registration.version] = registration

    def _rows(self, query: str, parameters: Sequence[object] = ()) -> list[Row]:
        rows: list[Row] = self._connection.execute(query, parameters).fetchall()
        return rows

    def _execute(self, query: str, parameters: Sequence[object] = ()) -> None:
        # Fetched to the end: DuckDB 2.0 refuses further work on a connection with an unfinished result.
        self._connection.execute(query, parameters).fetchall()


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring a database to the newest schema by the numbered migrations it lacks, each wholly or not at all."""
    done = schema_version(connection)
    for number, script in migrations():
        if number > done:
            connection.execute("BEGIN TRANSACTION")
            try:
                connection.execute(script).fetchall()
                connection.execute("DELETE FROM internal.meta WHERE name = 'schema_version'").fetchall()
                connection.execute("INSERT INTO internal.meta VALUES ('schema_version', ?)", [str(number)]).fetchall()
                connection.execute("COMMIT").fetchall()
            except BaseException:
                connection.execute("ROLLBACK")
                raise


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of the last migration a database has seen; 0 for an empty one."""
    found = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'internal' AND table_name = 'meta'"
    ).fetchall()
    if not found[0][0]:
        return 0
    rows = connection.execute("SELECT value FROM internal.meta WHERE name = 'schema_version'").fetchall()
    return int(rows[0][0]) if rows else 0


def migrations() -> list[tuple[int, str]]:
    """The packaged migrations in order: number and SQL."""
    folder = files("antiphon.journal.stores") / "schema"
    scripts = (
        (int(item.name[:4]), item.read_text(encoding="utf-8"))
        for item in folder.iterdir()
        if item.name.endswith(".sql")
    )
    return sorted(scripts)


def connect(
    path: str, *, spool: Path, thread_count: int | None, folder: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a database and shut it in: it fetches no extension and reaches no file but *spool* and its own,
    and what lies in *folder*.

    ``enable_external_access`` holds for the whole instance and cannot be given back, so it binds our own code and a
    user's SQL alike: no COPY, ATTACH, read_csv, INSTALL or LOAD beyond the allowed path. It does not bound memory or
    time, and it lets SQL read the database's own file. The settings are locked, so SQL cannot loosen them.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        # What 1.5.6 can open: a journal must survive a step back to the older DuckDB.
        "storage_compatibility_version": "v1.5.0",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if thread_count is not None:
        settings["threads"] = thread_count
    connection = duckdb.connect(path, config=settings)
    try:
        # A checkpoint stalls every commit for its length; with 256 MB it falls into idle time.
        connection.execute("SET wal_autocheckpoint = '256MB'")
        connection.execute(f"SET allowed_paths = [{quote_text(str(spool))}]")
        if folder is not None:
            connection.execute(f"SET allowed_directories = [{quote_text(str(folder) + '/')}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def ask(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Parameters = None,
    *,
    on_cursor: Callable[[duckdb.DuckDBPyConnection], None] | None = None,
) -> duckdb.DuckDBPyConnection:
    """Run one reading SQL statement and keep its rows still: returns a cursor whose ``RESULT_TABLE`` holds them.

    The rows are computed here, in a read-only transaction, so every error appears here; the cursor may then be read
    by another thread. *on_cursor* is told of the cursor before it works, for whoever may want to interrupt it. Raises
    ``LocalViolation`` with DuckDB's words when the SQL is wrong or would write, ``duckdb.Error`` when the database
    itself is at fault.
    """
    cursor = connection.cursor()
    if on_cursor is not None:
        on_cursor(cursor)
    try:
        check_readable(cursor, query)
        if _DESCRIBING.match(query):
            _keep_rows(cursor, query, parameters)
        else:
            try:
                _read_only(cursor, f"CREATE TEMP TABLE {RESULT_TABLE} AS (\n{query.strip().rstrip(';')}\n)", parameters)
            except BINDING_ERRORS:
                # Either the statement is wrong, and running it as it was written says so in its own lines, or it is one
                # of the few that give rows and still cannot stand inside another statement.
                cursor.execute("ROLLBACK")
                _keep_rows(cursor, query, parameters)
        cursor.execute("COMMIT").fetchall()
        return cursor
    except BaseException as problem:
        with suppress(duckdb.Error):
            cursor.close()
        if isinstance(problem, duckdb.Error) and not is_databases_fault(problem):
            raise LocalViolation(f"the query failed: {problem}") from problem
        raise


def is_databases_fault(problem: duckdb.Error) -> bool:
    """Whether an error is the database's and not the question's. What DuckDB has no class of its own for is damage."""
    return isinstance(problem, _DATABASE_ERRORS) or type(problem) is duckdb.Error


def check_readable(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.Statement | str:
    """Refuse what is not one statement that reads; raises ``LocalViolation``.

    A SELECT is returned as it was parsed, which spares whoever runs it a tenth of a millisecond; else the text.
    """
    try:
        statements = connection.extract_statements(query)
    except IndexError:  # DuckDB 1.5.6 on several statements one of which is a PIVOT
        statements = []
    names = [statement.type.name for statement in statements]
    # Older versions give PIVOT's columns a type, which they create in a statement of its own.
    is_pivot = names == ["CREATE", "SELECT"] and _PIVOT.search(query) and ";" not in query.strip().rstrip(";")
    if not is_pivot and (len(names) != 1 or names[0] not in _READABLE_STATEMENTS):
        raise LocalViolation(
            f"history is read-only: expected one SELECT, got {', '.join(names) or 'no or several statements'}"
        )
    return statements[0] if names == ["SELECT"] else query


# What reads a table that its argument names.
_NAMING_FUNCTIONS = frozenset({"query", "query_table"})


def _names_in(connection: duckdb.DuckDBPyConnection, query: str) -> frozenset[str]:
    """The tables and views that a query names, with the schema where it names one; told by its syntax alone."""
    row = connection.execute("SELECT json_serialize_sql(?)", [query.strip().rstrip(";")]).fetchone()
    tree = orjson.loads(row[0]) if row else {"error": True}
    if tree.get("error"):
        problem = tree.get("error_message", "it is none")
        raise CannotNarrow(f"cannot tell which facts the query reads: {problem}; write one plain SELECT")
    names: set[str] = set()
    waiting: list[object] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(node.values())
            if node.get("type") == "BASE_TABLE":
                names.add(".".join(filter(None, (node["catalog_name"], node["schema_name"], node["table_name"]))))
            elif node.get("type") == "TABLE_FUNCTION" and node["function"].get("function_name") in _NAMING_FUNCTIONS:
                raise CannotNarrow("cannot tell which facts a query in a query reads; name the tables plainly")
    return frozenset(names)


def _read_only(cursor: duckdb.DuckDBPyConnection, query: str, parameters: Parameters) -> list[Row]:
    cursor.execute("BEGIN TRANSACTION READ ONLY").fetchall()
    rows: list[Row] = cursor.execute(query, parameters).fetchall()
    return rows


def _keep_rows(cursor: duckdb.DuckDBPyConnection, query: str, parameters: Parameters) -> None:
    """Keep rows by way of Python: what describes and explains has few of them."""
    rows = _read_only(cursor, query, parameters)
    described = cursor.description or []
    columns = ", ".join(f"{quote_name(name)} {kind}" for name, kind, *_ in described)
    cursor.execute(f"CREATE TEMP TABLE {RESULT_TABLE} ({columns})").fetchall()
    values = ", ".join("unnest(?)" for _ in described)
    if rows:
        cursor.execute(
            f"INSERT INTO {RESULT_TABLE} SELECT {values}", [list(column) for column in zip(*rows, strict=True)]
        ).fetchall()


def spool_text(
    records: Sequence[FactRecord], numbers: Mapping[ChainId, int], hidden: Mapping[int, str], start: int
) -> bytes:
    """The rows of *records* as the reader expects them. The comprehension is the hot path: 0.7 µs a fact."""
    rows = [
        _SPOOL_ROW
        % (
            hexlify(r[0]),
            numbers[r[1].chain],
            _links_text(r) if r[9] else b"",
            r[4],
            r[5].encode(),
            r[2],
            r[3],
            r[6],
            b"",
            b"",
            b"",
            r[7][-26:-2],
            r[7][r[8] + 10 : -32],
        )
        if r[7][2] == 104  # "h": a live line
        else _spool_row(r, numbers)
        for r in records
    ]
    if hidden:
        for index in hidden.keys() & set(range(start, start + len(records))):
            rows[index - start] = _spool_row(records[index - start], numbers, _clean(hidden[index]))
    text = b"".join(rows)
    if _is_splittable(text, len(rows)):
        return text
    # Somebody's payload is not canonical JSON, or not even text; find whose, and hand those over as bytes.
    for index, record in enumerate(records):
        if not _is_splittable(rows[index], 1):
            rows[index] = _spool_row(record, numbers, _clean(hidden.get(start + index, _NOT_CANONICAL)), is_text=False)
    return b"".join(rows)


def _stretches(runs: Sequence[LoggedRun]) -> Iterator[list[LoggedRun]]:
    """Runs that lie row by row in one segment, and those between them that lie in log files; none of them empty."""
    stretch: list[LoggedRun] = []
    row = 0
    for run in runs:
        if not run.fact_count:
            continue
        last, this = stretch[-1].segment if stretch else None, run.segment
        goes_on = last is this is None or (last and this and (last.number, row) == (this.number, this.first_row))
        if stretch and not goes_on:
            yield stretch
            stretch = []
        stretch.append(run)
        row = this.first_row + run.fact_count if this else 0
    if stretch:
        yield stretch


def _between(hidden: Mapping[int, str], place: int, count: int) -> dict[int, str]:
    """The reasons for the *count* facts from *place* on, counted from there."""
    return {at - place: hidden[at] for at in range(place, place + count) if at in hidden} if hidden else {}


def _lines_text(run: LoggedRun, columns: Columns, number: int) -> bytes | None:
    """The spool's rows of a run of live lines: its headers say their columns in the spool's order, so that taking out
    what is between them is enough. None when any of it is not what it should be; the records tell then."""
    headers = b"\n".join(columns.headers)
    for written, column in (
        (b'{"at":', b"\x1f"),
        (b'{"after":', b""),
        (b',"at":', b"\x1f"),
        (b',"c":"%b","k":"' % run.info.text.encode(), b"\x1f"),
        (b'","s":', b"\x1f"),
        (b',"t":', b"\x1f"),
        (b',"v":', b"\x1f"),
        (b"}", b""),
    ):
        headers = headers.replace(written, column)
    if headers.count(b"\x1f") != (_HEADER_COLUMNS - 1) * len(columns.ids):
        return None
    if len(headers.translate(None, _HEADER_LETTERS)) != len(columns.ids) - 1:
        return None
    text = b"".join(
        [
            _SPOOL_LINE % (hexlify(fact_id), number, header, body[:SALT_TEXT_BYTES], body[SALT_TEXT_BYTES:])
            for fact_id, header, body in zip(columns.ids, headers.split(b"\n"), columns.bodies, strict=True)
        ]
    )
    return text if _is_splittable(text, len(columns.ids)) else None


def _spool_row(record: FactRecord, numbers: Mapping[ChainId, int], reason: str = "", *, is_text: bool = True) -> bytes:
    payload = record.payload
    digest = record.line[6:70] if payload is None else b""
    return _SPOOL_ROW % (
        record.fact_id.hex().encode(),
        numbers[record.chain.chain],
        _links_text(record) if record.after else b"",
        record.at,
        record.kind.encode(),
        record.seq,
        record.hlc,
        record.version,
        reason.encode("utf-8", "replace"),
        digest,
        b"" if is_text else (payload or b"").hex().encode(),
        record.salt or b"",
        (payload or b"") if is_text else b"",
    )


def _is_splittable(text: bytes, row_count: int) -> bool:
    """Whether the reader will see exactly these rows; a handful of scans in C."""
    separators = row_count * (len(SPOOL_COLUMNS) - 1)
    if text.count(b"\n") != row_count or text.count(b"\x1f") != separators or b"\r" in text or b"\0" in text:
        return False
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _links_text(record: FactRecord) -> bytes:
    """The causal links as they stand in the header, which opens with them."""
    start = record.line.index(b'"after":') + len(b'"after":')
    return record.line[start : record.line.index(b"]]", start) + 2]


def _parse_links(links: object) -> tuple[AfterLink, ...]:
    return tuple(
        AfterLink(ChainId(bytes.fromhex(chain)), seq, bytes.fromhex(short))
        for chain, seq, short in orjson.loads(str(links))
    )


def _clean(reason: str) -> str:
    """A reason as one line of text, and never an empty one that would read as "not hidden"."""
    return _CONTROL.sub(" ", reason) or "hidden"


def _label(info: ChainInfo) -> tuple[str, str, str]:
    return (info.authority, info.label, info.device)


def _json(rows: object) -> str:
    return orjson.dumps(rows).decode()


def _from_json(columns: str) -> str:
    """A table of typed columns out of one JSON parameter."""
    fields = (column.split() for column in columns.split(", "))
    shape = ", ".join(f'"{name}":"{kind}"' for name, kind in fields)
    return f"SELECT unnest(from_json(?::JSON, '[{{{shape}}}]'), recursive := true)"


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes), "a BLOB column gives bytes"
    return value

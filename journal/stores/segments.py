"""Segments: closed log files as Parquet, one row a fact, read back byte for byte as if they were still log files.

A segment keeps the number of its log file, and each run keeps the offset it had there, so that every place that was
ever handed out stays valid. Any DuckDB, Polars or Spark reads the rows; ids are recomputed whenever ours does. Which
files are sealed, and when, is not decided here, and local lines are not kept (they are copied forward before).
"""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import duckdb
import orjson

from antiphon.facts import ChainId, ChainInfo, FactId, FactRecord, InvalidLine, ParsedLine, parse_line
from antiphon.facts.encoding import parse_header

from ..chain import (
    CHAIN_START,
    OPENING_KIND,
    Head,
    Seal,
    build_records,
    build_seal_line,
    check_headers,
    describe_chain,
    link_ids,
    make_chain_info,
)
from ..errors import FormatTooNew, LogDamaged, SealedViolation, StoreUnavailable, UnsealedBytes
from .log import (
    Disk,
    LogCursor,
    LogDamage,
    LogFrame,
    file_path,
    segment_files,
    segment_path,
)
from .logged_run import Columns, LoggedRun, SegmentPlace, link_columns
from .position import LogPosition, RunRow
from .tables import INTEGER_COLUMNS, SPOOL_COLUMNS, SPOOL_ROW_BYTES_MAX, spool_text
from .typed_views import quote_text

FORMAT_NUMBER = 1
STAGED_SUFFIX = ".new"
DAMAGED_SUFFIX = ".damaged"
# What one damaged page takes with it, against what a column of short rows compresses to.
ROW_GROUP_FACTS = 8_192
# 44 bytes a short message instead of the usual level's 52, for 1.5 µs more, once, in the background.
COMPRESSION_LEVEL = 9
# Decoded segments kept at hand: two views waking up and a peer catching up do not decode one segment again and again.
_CACHED_SEGMENTS_MAX = 3
# A peer that asks for one run must not wait for forty thousand facts; one that asks for the fourth wants them all.
_SINGLE_READS_MAX = 3
_TEXT_FACTS = 2_048
_CONTENT_PREFIX = b"antiphon.segment.1"

# The notes stand on the last fact of a run: its place in the log file, the id before its first fact (so that a damaged
# run costs no other), the seal's signature, and where the frame that the run ends (if it does) ends with which hash.
_WRITE = """
COPY (
    SELECT chain_number::INTEGER AS chain_number, seq, hlc, at_ms, kind, version::INTEGER AS version, after_links,
        payload, unhex(raw) AS raw, from_base64(salt) AS salt, unhex(digest) AS digest,
        unhex(left(fact_id, 32)) AS fact_id_half,
        CASE WHEN notes[2] IS NOT NULL THEN notes[1]::BIGINT END AS run_start, notes[2]::BIGINT AS run_length,
        unhex(notes[3]) AS previous_id, unhex(notes[4]) AS signature, notes[5]::BIGINT AS frame_end,
        unhex(notes[6]) AS frame_hash
    FROM (
        SELECT *, string_split(hidden, ',') AS notes
        FROM read_csv({spool}, delim = '\x1f', quote = '', escape = '', header = false, auto_detect = false,
            new_line = '\\n', max_line_size = {row_bytes}, columns = {{{columns}}})
    )
) TO {target} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {level}, PARQUET_VERSION v2,
    ROW_GROUP_SIZE {row_group}, KV_METADATA {{antiphon: {description}}})
"""

HEADER_SQL = (
    "'{' || coalesce('\"after\":' || after_links || ',', '') || '\"at\":' || at_ms || ',\"c\":\"' || chain || "
    '\'","k":"\' || kind || \'","s":\' || seq || \',"t":\' || hlc || \',"v":\' || version || \'}\''
)

# Whatever type damage makes of a column, what arrives is of these (or DuckDB refuses the cast) or NULL.
_NOTES = (
    "run_start::BIGINT, run_length::BIGINT, previous_id::BLOB, signature::BLOB, frame_end::BIGINT, frame_hash::BLOB"
)

_READ = """
SELECT chain_number::BIGINT,
    CASE WHEN digest IS NOT NULL THEN encode('{{"e":"' || lower(hex(digest)) || '","h":' || header || '}}')
    ELSE encode('{{"h":' || header || ',"p":') || coalesce(raw, encode(payload), ''::BLOB)
        || encode(',"r":"' || to_base64(salt) || '"}}') END AS line,
    fact_id_half::BLOB, {notes}
FROM (
    SELECT s.*, {header} AS header
    FROM (
        SELECT f.*, ({chains})[chain_number] AS chain
        FROM read_parquet({path}, file_row_number = true) AS f WHERE file_row_number BETWEEN ? AND ?
    ) AS s
)
ORDER BY file_row_number
"""

# A segment in a few dozen texts: fetched row by row it would cost twice as much (1.5 against 0.7 µs a fact), and in one
# text half as much again, for fresh memory. NULL anywhere drops a line, so that the counts do not fit.
_READ_COLUMNS = """
SELECT string_agg(concat('{{', CASE WHEN after_links IS NOT NULL THEN concat('"after":', after_links, ',') END,
        '"at":', at_ms, ',"c":"', ({chains})[chain_number], '","k":"', kind, '","s":', seq, ',"t":', hlc,
        ',"v":', version, '}}'), '\n'),
    string_agg(CASE WHEN digest IS NOT NULL THEN '' ELSE to_base64(salt) || coalesce(payload, '') END, '\n'),
    string_agg(hex(fact_id_half), ''), count(raw), count(digest)
FROM read_parquet({path}, file_row_number = true) GROUP BY file_row_number // {rows} ORDER BY file_row_number // {rows}
"""
_READ_ENDS = """
SELECT file_row_number, chain_number::BIGINT, {notes}
FROM read_parquet({path}, file_row_number = true) WHERE signature IS NOT NULL ORDER BY file_row_number
"""
_READ_ERASED = """
SELECT file_row_number, digest::BLOB FROM read_parquet({path}, file_row_number = true) WHERE digest IS NOT NULL
"""


class SegmentInfo(NamedTuple):
    """What a segment says of itself: the log file it was, the frames around it, its chains and the hash of it all.

    ``end`` is the end of its last acknowledged frame; ``content`` covers the ids of its facts, its seals and its frames
    and does not change when a payload is erased.
    """

    format: int
    journal: str
    number: int
    previous_file: int
    previous_frame: str
    end: int
    last_frame: str
    fact_count: int
    content: str
    chains: tuple[ChainInfo, ...]


class StoredRun(NamedTuple):
    """A run as a segment holds it, not yet checked: where it was, its lines, and the halves of the ids it claims."""

    chain: ChainInfo
    start: int
    length: int
    lines: list[bytes]
    halves: list[bytes]
    previous_id: bytes
    signature: bytes
    frame_end: int | None
    frame_hash: bytes | None


class PlacedFrame(NamedTuple):
    """A frame of a segment: its runs, and where it ended in the log file, with which hash."""

    runs: tuple[LoggedRun, ...]
    end: int
    frame_hash: str


class SegmentDamaged(LogDamaged):
    """A segment, or a run of it, is not what was sealed; the message names the place."""


class SegmentStore:
    """The segments of one journal's folder, read through a DuckDB of its own in memory.

    Any thread may call it. Decoding a segment costs ~3 µs a fact; the newest few stay decoded. It reaches no file
    outside the folder's ``segments``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._texts: OrderedDict[int, Mapping[int, bytes]] = OrderedDict()
        self._places: dict[int, tuple[SegmentInfo, dict[int, int]]] = {}
        self._reads: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the memory; the next call begins anew."""
        with self._lock:
            self._texts.clear()
            self._places.clear()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def forget(self, number: int) -> None:
        """Drop what is remembered of a segment that was written anew."""
        with self._lock:
            for remembered in (self._texts, self._places, self._reads):
                remembered.pop(number, None)

    def info(self, number: int, *, path: Path | None = None) -> SegmentInfo:
        """What segment *number* says of itself; ~1 ms. Raises ``SegmentDamaged``, ``FormatTooNew``."""
        target = path or segment_path(self.folder, number)
        rows = self._fetch(f"SELECT decode(value) FROM parquet_kv_metadata({quote_text(str(target))})", (), number)
        try:
            data = orjson.loads(rows[0][0])  # type: ignore[arg-type]  # rows are untyped
            # A description of just these parts is of this format, whatever number a flipped bit gave it.
            if data["format"] > FORMAT_NUMBER and data.keys() != set(SegmentInfo._fields):
                raise FormatTooNew(
                    f"segment {number} has format {data['format']}; this antiphon reads up to {FORMAT_NUMBER}, so "
                    "upgrade it (nothing was touched)"
                )
            chains = tuple(
                make_chain_info(public_key=bytes.fromhex(key), nonce=bytes.fromhex(nonce), namespace=namespace)
                for key, nonce, namespace in data.pop("chains")
            )
            info = SegmentInfo(**data, chains=chains)
            for text, size in ((info.journal, 16), (info.previous_frame, 32), (info.last_frame, 32)):
                if len(bytes.fromhex(text)) != size:
                    raise ValueError(f"{text!r} is no hash of {size} bytes")
        except (IndexError, KeyError, TypeError, ValueError, UnsealedBytes) as problem:
            raise SegmentDamaged(f"segment {number}: its description cannot be read ({problem})") from problem
        if info.number != number:
            raise SegmentDamaged(f"segment {number}: the file says that it is segment {info.number}")
        return info

    def runs(self, info: SegmentInfo, *, after: int = 0, path: Path | None = None) -> Iterator[StoredRun | LogDamage]:
        """The runs that lay at or behind offset *after* of the log file, in order; what cannot be read is named.

        A page that does not decompress costs its group of rows, and the run that it cuts.
        """
        target = path or segment_path(self.folder, info.number)
        query = _query(info, target)
        gathered: list[tuple[object, ...]] = []
        is_torn = False
        for first in range(0, info.fact_count, ROW_GROUP_FACTS):
            try:
                rows = self._fetch(query, (first, first + ROW_GROUP_FACTS - 1), info.number)
                if len(rows) != min(ROW_GROUP_FACTS, info.fact_count - first):
                    raise SegmentDamaged(f"segment {info.number}: rows are missing behind row {first}")
            except SegmentDamaged as problem:
                yield LogDamage(info.number, 0, info.end, f"facts {first + 1} and after: {problem}")
                gathered.clear()
                is_torn = True
                continue
            for row in rows:
                gathered.append(row)
                if row[_SIGNATURE] is None:
                    continue
                if not is_torn:
                    run = _stored_run(info, gathered)
                    if run is None:
                        yield LogDamage(info.number, 0, info.end, "a run's place or its chain is not what was written")
                    elif run.start >= after:
                        yield run
                gathered = []
                is_torn = False

    def run_ends(self, number: int) -> list[tuple[ChainId, int, bytes]]:
        """Each run's chain, and its last fact's number and the first half of its id, from three columns; ~5 ms. Raises
        ``SegmentDamaged``."""
        info = self.info(number)
        path = quote_text(str(segment_path(self.folder, number)))
        rows = self._fetch(
            f"SELECT chain_number, seq, fact_id_half::BLOB FROM read_parquet({path}) WHERE run_start IS NOT NULL",
            (),
            number,
        )
        if any(not isinstance(chain, int) or not 1 <= chain <= len(info.chains) for chain, *_ in rows):
            raise SegmentDamaged(f"segment {number}: a run's chain is not what was written")
        return [(info.chains[chain - 1].chain, seq, half) for chain, seq, half in rows]  # type: ignore[operator,misc]  # checked

    def read_whole(self, info: SegmentInfo) -> list[PlacedFrame] | None:
        """Everything in a segment, in columns, when all of it is what was written; else None, and nothing is decided.

        ~1.8 µs a fact, half of it hashing. The hash over the content covers every id, seal and place, and the ids every
        header and payload, so nothing else needs to be looked at.
        """
        with suppress(SegmentDamaged, InvalidLine, ValueError, OverflowError):
            return self._read_whole(info)
        return None

    def _read_whole(self, info: SegmentInfo) -> list[PlacedFrame] | None:
        path = quote_text(str(segment_path(self.folder, info.number)))
        chains = f"[{', '.join(quote_text(chain.text) for chain in info.chains)}]"
        texts = self._fetch(_READ_COLUMNS.format(chains=chains, path=path, rows=_TEXT_FACTS), (), info.number)
        headers = [line for text in texts for line in str(text[0]).encode().split(b"\n")]
        bodies = [line for text in texts for line in str(text[1]).encode().split(b"\n")]
        is_plain = not any(text[3] for text in texts)  # bytes that are no text are read row by row
        if not is_plain or len(headers) != info.fact_count or len(bodies) != info.fact_count:
            return None
        digests: dict[int, bytes] = {}
        if any(text[4] for text in texts):
            digests.update(self._fetch(_READ_ERASED.format(path=path), (), info.number))  # type: ignore[arg-type]  # rows are untyped
        content = _Content(info.journal, info.number)
        frames: list[PlacedFrame] = []
        runs: list[LoggedRun] = []
        all_ids: list[FactId] = []
        first = 0
        for end in self._fetch(_READ_ENDS.format(notes=_NOTES, path=path), (), info.number):
            if not _is_end(info, end[1:]):
                return None
            last, number, start, length, previous, signature, frame_end, frame_hash = end
            chain = info.chains[number - 1]  # type: ignore[operator]  # rows are untyped, here and below
            part = slice(first, last + 1)  # type: ignore[operator]
            erased = {at - first: digest for at, digest in digests.items() if first <= at <= last} if digests else {}  # type: ignore[operator]
            ids = link_columns(previous, headers[part], bodies[part], erased)  # type: ignore[arg-type]
            from_seq = parse_header(headers[first]).seq - 1
            seal = Seal(chain.chain, from_seq, FactId(previous), from_seq + len(ids), ids[-1], signature)  # type: ignore[arg-type]
            row = RunRow(chain.chain, from_seq + 1, seal.to_seq, previous, ids[-1], info.number, start, length)  # type: ignore[arg-type]
            columns = Columns(headers[part], bodies[part], ids, erased)
            place = SegmentPlace(info.number, number, first)  # type: ignore[arg-type]
            run = LoggedRun(_described(chain, columns), seal, row, columns=columns, segment=place)
            content.take(run, frame_end, frame_hash)  # type: ignore[arg-type]
            runs.append(run)
            all_ids.extend(ids)
            first = last + 1  # type: ignore[operator]
            if frame_hash is not None:
                frames.append(PlacedFrame(tuple(runs), frame_end, frame_hash.hex()))  # type: ignore[arg-type,attr-defined]
                runs = []
        halves = b"".join([fact_id[:16] for fact_id in all_ids]).hex().upper()
        is_whole = not runs and first == info.fact_count and "".join(str(text[2]) for text in texts) == halves
        return frames if is_whole and content.hexdigest() == info.content else None

    def read_run(self, row: RunRow) -> bytes:
        """The bytes of a run that was sealed into a segment, as the log file held them.

        ~5 ms the first few times, then the whole segment is decoded and kept for a while. Raises ``SegmentDamaged``.
        """
        with self._lock:
            number = row.file_number
            reads = self._reads[number] = self._reads.get(number, 0) + 1
            texts = self._texts.get(number)
            if texts is None and reads <= _SINGLE_READS_MAX:
                texts = self._decode_run(row)
            elif texts is None:
                texts = self._texts[number] = self._decode(number)
                while len(self._texts) > _CACHED_SEGMENTS_MAX:
                    self._reads.pop(self._texts.popitem(last=False)[0], None)
            else:
                self._texts.move_to_end(number)
        found = texts.get(row.offset)
        if found is None:
            raise SegmentDamaged(
                f"segment {row.file_number}, bytes {row.offset}..{row.offset + row.length} cannot be read; run "
                "antiphon verify, and sync with a peer that holds these facts"
            )
        return found

    def _decode_run(self, row: RunRow) -> Mapping[int, bytes]:
        """One run by its place, without the rest of its segment."""
        number = row.file_number
        if number not in self._places:
            path = quote_text(str(segment_path(self.folder, number)))
            ends = self._fetch(
                f"SELECT run_start, file_row_number FROM read_parquet({path}, file_row_number = true) "
                "WHERE run_start IS NOT NULL",
                (),
                number,
            )
            self._places[number] = (self.info(number), dict(ends))  # type: ignore[arg-type]  # rows are untyped
        info, places = self._places[number]
        last = places.get(row.offset)
        if last is None:
            return {}
        count = row.last_seq - row.first_seq + 1
        rows = self._fetch(_query(info, segment_path(self.folder, number)), (last - count + 1, last), number)
        run = _stored_run(info, rows)
        if run is None:
            return {}
        try:
            return {run.start: _text_of(run.lines, check_run(run).seal)}
        except SegmentDamaged:
            return {}

    def _decode(self, number: int) -> Mapping[int, bytes]:
        """The text of every sound run by its place."""
        texts: dict[int, bytes] = {}
        for run in self.runs(self.info(number)):
            if isinstance(run, StoredRun):
                with suppress(SegmentDamaged):
                    texts[run.start] = _text_of(run.lines, check_run(run).seal)
        return texts

    def copy(self, spool: Path, target: Path, info: SegmentInfo) -> None:
        """Turn a spool of rows into a Parquet file. Raises ``StoreUnavailable``."""
        described = info._asdict() | {
            "chains": [[each.public_key.hex(), each.nonce.hex(), each.namespace] for each in info.chains]
        }
        columns = ", ".join(f"{name}: '{'BIGINT' if name in INTEGER_COLUMNS else 'VARCHAR'}'" for name in SPOOL_COLUMNS)
        query = _WRITE.format(
            spool=quote_text(str(spool.resolve())),
            row_bytes=SPOOL_ROW_BYTES_MAX,
            columns=columns,
            target=quote_text(str(target.resolve())),
            row_group=ROW_GROUP_FACTS,
            level=COMPRESSION_LEVEL,
            description=quote_text(orjson.dumps(described).decode()),
        )
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _connect(self.folder)
                self._connection.execute(query).fetchall()
            except duckdb.Error as problem:
                raise StoreUnavailable(
                    f"segment {info.number} could not be written: {_first_line(problem)}; the log file stays, so "
                    "nothing is lost"
                ) from problem

    def _fetch(self, query: str, parameters: Sequence[object], number: int) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _connect(self.folder)
                rows: list[tuple[object, ...]] = self._connection.execute(query, list(parameters)).fetchall()
            except (duckdb.Error, UnicodeDecodeError) as problem:
                raise SegmentDamaged(f"segment {number}: {_first_line(problem)}") from problem
        return rows


_SIGNATURE = 6


def _query(info: SegmentInfo, path: Path) -> str:
    chains = ", ".join(f"'{chain.text}'" for chain in info.chains)
    return _READ.format(header=HEADER_SQL, notes=_NOTES, chains=f"[{chains}]", path=quote_text(str(path)))


def _is_end(info: SegmentInfo, end: Sequence[object]) -> bool:
    """Whether a chain's number and the notes on a run's last fact leave nothing out and name a chain of the segment."""
    chain, *notes, frame_end, frame_hash = end
    return (
        None not in (chain, *notes)
        and (frame_end is None) == (frame_hash is None)
        and chain in range(1, len(info.chains) + 1)
    )


def _stored_run(info: SegmentInfo, rows: Sequence[tuple[object, ...]]) -> StoredRun | None:
    """The rows of one run; the last of them tells about it. None when damage left something out."""
    chain, _, _, *notes = rows[-1]
    start, length, previous, signature, frame_end, frame_hash = notes
    if not _is_end(info, (chain, *notes)) or any(None in row[1:3] for row in rows):
        return None
    return StoredRun(
        info.chains[chain - 1],  # type: ignore[operator]  # rows are untyped; their columns are of these types
        start,  # type: ignore[arg-type]
        length,  # type: ignore[arg-type]
        [row[1] for row in rows],  # type: ignore[misc]
        [row[2] for row in rows],  # type: ignore[misc]
        previous,  # type: ignore[arg-type]
        signature,  # type: ignore[arg-type]
        frame_end,  # type: ignore[arg-type]
        frame_hash,  # type: ignore[arg-type]
    )


class CheckedRun(NamedTuple):
    """A stored run whose ids were recomputed and fit what the segment says of them."""

    parsed: list[ParsedLine]
    ids: list[FactId]
    seal: Seal


def check_run(run: StoredRun) -> CheckedRun:
    """Recompute the ids of a run and compare them with what the segment keeps of them; ~2.5 µs a fact.

    Raises ``SegmentDamaged`` naming the fact.
    """
    place = f"bytes {run.start}..{run.start + run.length}"
    try:
        parsed = [parse_line(line) for line in run.lines]
    except InvalidLine as problem:
        raise SegmentDamaged(f"{place}: {problem}") from problem
    ids = link_ids(FactId(run.previous_id), parsed)
    wrong = next((at for at, half in enumerate(run.halves) if ids[at][:16] != half), None)
    if wrong is not None:
        raise SegmentDamaged(f"{place}: fact {parsed[wrong].header.seq} is not what was sealed")
    first = parsed[0].header.seq - 1
    return CheckedRun(
        parsed, ids, Seal(run.chain.chain, first, FactId(run.previous_id), first + len(ids), ids[-1], run.signature)
    )


def read_segment(store: SegmentStore, number: int, cursor: LogCursor) -> Iterator[LogFrame | LogDamage]:
    """Read a segment as ``read_log`` reads a log file: the same frames (without local lines) at the same places."""
    try:
        info = store.info(number)
    except SegmentDamaged as problem:
        cursor.is_doubtful = True
        yield LogDamage(number, 0, 0, str(problem))
        return
    start = cursor.position.offset if cursor.position.file_number == number else 0
    if cursor.position.file_number != number:
        damage = _enter(info, cursor)
        if damage is not None:
            yield damage
            if info.journal != cursor.journal:
                return
        if info.format != FORMAT_NUMBER:
            yield LogDamage(number, 0, 0, f"its description names format {info.format}, and is of {FORMAT_NUMBER}")
    yield from _frames(store, info, cursor, start)
    if cursor.position.offset < info.end:
        cursor.position = cursor.position._replace(offset=info.end, frame_hash=info.last_frame)
    cursor.is_doubtful = cursor.is_cut = False


def _enter(info: SegmentInfo, cursor: LogCursor) -> LogDamage | None:
    cursor.journal = cursor.journal or info.journal
    if info.journal != cursor.journal:
        names = f"of journal {info.journal[:8]}, not of {cursor.journal[:8]}"
        return LogDamage(info.number, 0, info.end, f"the segment says that it is {names}")
    reached, was_doubtful = cursor.position.frame_hash, cursor.is_doubtful
    cursor.position = LogPosition(info.number, 0, info.previous_frame, cursor.position.fact_count)
    cursor.is_doubtful = False
    if reached != info.previous_frame and not was_doubtful:
        return LogDamage(info.previous_file, 0, 0, f"the last frame that segment {info.number} follows is not there")
    return None


def _frames(store: SegmentStore, info: SegmentInfo, cursor: LogCursor, start: int) -> Iterator[LogFrame | LogDamage]:
    whole = None if start else store.read_whole(info)
    if whole is None:
        yield from _read_apart(store, info, cursor, start)
        return
    for placed in whole:
        for run in placed.runs:
            known = cursor.chains.get(run.info.chain)
            if known is not None and (known[0].authority or not run.info.authority):
                run.info = known[0]  # what is known of a chain's author is known of all its runs
            cursor.chains[run.info.chain] = (run.info, run.head)
        introduced = tuple(run.info for run in placed.runs if run.row.first_seq == 1)
        count = cursor.position.fact_count + sum(run.fact_count for run in placed.runs)
        frame = LogFrame(placed.runs, introduced, (), LogPosition(info.number, placed.end, placed.frame_hash, count))
        cursor.follow(frame)
        yield frame


def _read_apart(
    store: SegmentStore, info: SegmentInfo, cursor: LogCursor, start: int
) -> Iterator[LogFrame | LogDamage]:
    """Run by run, so that damage costs no more than the runs it is in."""
    runs: list[LoggedRun] = []
    content = _Content(info.journal, info.number)
    is_whole = not start
    for run in store.runs(info, after=start):
        if isinstance(run, LogDamage):
            is_whole = False
            yield run
            continue
        try:
            logged = _log_run(run, cursor, info.number)
        except (SegmentDamaged, SealedViolation) as problem:
            is_whole = False
            yield LogDamage(info.number, run.start, run.length, str(problem))
        else:
            runs.append(logged)
            cursor.chains[run.chain.chain] = (logged.info, logged.head)
            content.take(logged, run.frame_end, run.frame_hash)
        if run.frame_hash is not None and run.frame_end is not None and runs:
            count = cursor.position.fact_count + sum(each.fact_count for each in runs)
            position = LogPosition(info.number, run.frame_end, run.frame_hash.hex(), count)
            introduced = tuple(each.info for each in runs if each.row.first_seq == 1)
            frame = LogFrame(tuple(runs), introduced, (), position)
            runs = []
            cursor.follow(frame)
            yield frame
    if is_whole and content.hexdigest() != info.content:
        yield LogDamage(info.number, 0, info.end, "a seal or a frame of the segment is not what was written")


def _log_run(run: StoredRun, cursor: LogCursor, number: int) -> LoggedRun:
    checked = check_run(run)
    parsed, ids, seal = checked
    info, head = cursor.chains.get(run.chain.chain, (run.chain, CHAIN_START))
    previous = Head(seal.from_seq, seal.from_id, head.hlc if seal.from_seq == head.seq else 0)
    check_headers(info, previous, parsed)
    if previous.seq == 0 and parsed[0].header.kind == OPENING_KIND:
        info = describe_chain(info, parsed[0].payload)
    row = RunRow(info.chain, seal.from_seq + 1, seal.to_seq, seal.from_id, seal.to_id, number, run.start, run.length)
    return LoggedRun(info, seal, row, records=build_records(info, run.lines, parsed, ids))


def _described(chain: ChainInfo, columns: Columns) -> ChainInfo:
    first = parse_header(columns.headers[0])
    if first.seq != 1 or first.kind != OPENING_KIND:
        return chain
    return describe_chain(chain, parse_line(columns.line(0)).payload)


class _Content:
    """The hash over everything in a segment that no erasure changes."""

    def __init__(self, journal: str, number: int) -> None:
        self._hash = sha256(_CONTENT_PREFIX + bytes.fromhex(journal) + number.to_bytes(8, "big"))

    def take(self, run: LoggedRun, frame_end: int | None, frame_hash: bytes | None) -> None:
        """Add a run in its place."""
        row = run.row
        self._hash.update(b"".join(run.ids))
        self._hash.update(build_seal_line(run.seal) + b"%d %d\n" % (row.offset, row.length))
        if frame_hash is not None:
            self._hash.update(frame_hash + b"%d\n" % (frame_end or 0))

    def hexdigest(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()


class SealedFile(NamedTuple):
    """A closed log file that became a segment: how many facts, and the bytes before and after."""

    number: int
    fact_count: int
    log_bytes: int
    segment_bytes: int


def write_segment(
    store: SegmentStore,
    number: int,
    frames: Sequence[LogFrame],
    *,
    description: SegmentInfo,
    disk: Disk,
    keep: Callable[[FactRecord], bytes] | None = None,
    on_frame: Callable[[], None] | None = None,
) -> Path:
    """Write *frames* as segment *number* under a staged name, sync it, read it back and compare every byte.

    *keep* gives the line that a fact keeps (an erased one, for instance). Nothing is in its place yet: ``put`` does
    that. Raises ``StoreUnavailable`` when the disk refuses and ``SegmentDamaged`` when what was read is not what was
    written.
    """
    target = staged_path(store.folder, number)
    spool = target.with_suffix(".spool")
    try:
        target.parent.mkdir(exist_ok=True)
        with spool.open("wb", buffering=1 << 20) as file:
            info, texts = _spool(file, frames, description, keep, on_frame)
        store.copy(spool, target, info)
        spool.unlink()
        descriptor = disk.open_existing(target)
        try:
            disk.sync(descriptor)
        finally:
            disk.close(descriptor)
    except OSError as problem:
        raise StoreUnavailable(
            f"segment {number} could not be written: {problem.strerror}; the log file stays, so nothing is lost"
        ) from problem
    finally:
        with suppress(OSError):
            spool.unlink(missing_ok=True)
    _compare(store, number, target, texts, on_frame)
    return target


def _spool(
    file: BinaryIO,
    frames: Sequence[LogFrame],
    description: SegmentInfo,
    keep: Callable[[FactRecord], bytes] | None,
    on_frame: Callable[[], None] | None,
) -> tuple[SegmentInfo, dict[int, bytes]]:
    """Write the rows; what the segment says of itself then, and the text that each run has to give back."""
    content = _Content(description.journal, description.number)
    chains: dict[ChainId, ChainInfo] = {}
    numbers: dict[ChainId, int] = {}
    texts: dict[int, bytes] = {}
    fact_count = 0
    for frame in frames:
        if on_frame is not None:
            on_frame()
        for run in frame.runs:
            chains.setdefault(run.info.chain, run.info)
            numbers.setdefault(run.info.chain, len(chains))
            is_last = run is frame.runs[-1]
            end = (frame.position.offset, bytes.fromhex(frame.position.frame_hash)) if is_last else (None, None)
            content.take(run, *end)
            records = _kept(run.records, keep)
            texts[run.row.offset] = b"\n".join([*(each.line for each in records), build_seal_line(run.seal), b""])
            file.write(spool_text(records, numbers, {len(records) - 1: _notes(run, *end)}, 0))
            fact_count += len(records)
    content_hash = content.hexdigest()
    return description._replace(fact_count=fact_count, content=content_hash, chains=tuple(chains.values())), texts


def put_segment(store: SegmentStore, number: int, *, disk: Disk) -> None:
    """Put what ``write_segment`` staged in its place, durably."""
    path = segment_path(store.folder, number)
    try:
        disk.rename(staged_path(store.folder, number), path)
        disk.sync_folder(path.parent)
    except OSError as problem:
        raise StoreUnavailable(f"segment {number} could not be put in its place: {problem.strerror}") from problem
    store.forget(number)


def retire_file(folder: Path, number: int, *, disk: Disk) -> None:
    """Unlink a log file whose segment is in its place, durably."""
    path = file_path(folder, number)
    try:
        disk.remove(path)
        disk.sync_folder(path.parent)
    except OSError as problem:
        raise StoreUnavailable(f"log file {number} could not be removed: {problem.strerror}") from problem


def keep_aside(path: Path, *, disk: Disk) -> None:
    """Copy a damaged part to where nobody reads it as one, durably, before another takes its place."""
    target = path.with_name(path.name + DAMAGED_SUFFIX)
    try:
        if target.exists():
            return  # an earlier attempt was cut short; it may be all that is left of it
        shutil.copyfile(path, target.with_suffix(".part"))
        descriptor = disk.open_existing(target.with_suffix(".part"))
        try:
            disk.sync(descriptor)
        finally:
            disk.close(descriptor)
        disk.rename(target.with_suffix(".part"), target)
        disk.sync_folder(path.parent)
    except OSError as problem:
        raise StoreUnavailable(f"{path.name} could not be kept aside: {problem.strerror}") from problem


def staged_path(folder: Path, number: int) -> Path:
    """Where a segment is written before it is put in its place."""
    path = segment_path(folder, number)
    return path.with_name(path.name + STAGED_SUFFIX)


def remove_staged(folder: Path) -> None:
    """Remove what a crash left half-written."""
    for path in segment_files(folder).values():
        folder_of = path.parent
        break
    else:
        folder_of = segment_path(folder, 1).parent
    for pattern in (f"*{STAGED_SUFFIX}", "*.spool"):
        for path in folder_of.glob(pattern):
            with suppress(OSError):
                path.unlink()


def _text_of(lines: Sequence[bytes], seal: Seal) -> bytes:
    """A run as a log file holds it."""
    return b"\n".join([*lines, build_seal_line(seal), b""])


def _kept(records: Sequence[FactRecord], keep: Callable[[FactRecord], bytes] | None) -> Sequence[FactRecord]:
    return records if keep is None else [record._replace(line=keep(record)) for record in records]


def _notes(run: LoggedRun, frame_end: int | None, frame_hash: bytes | None) -> str:
    parts = [str(run.row.offset), str(run.row.length), run.seal.from_id.hex(), run.seal.signature.hex()]
    if frame_hash is not None:
        parts += [str(frame_end), frame_hash.hex()]
    return ",".join(parts)


def _compare(
    store: SegmentStore, number: int, path: Path, texts: Mapping[int, bytes], on_frame: Callable[[], None] | None
) -> None:
    count = 0
    for run in store.runs(store.info(number, path=path), path=path):
        if isinstance(run, LogDamage):
            raise SegmentDamaged(f"segment {number} was not written as it should be: {run.reason}")
        if on_frame is not None:
            on_frame()
        text = _text_of(run.lines, check_run(run).seal)
        if texts.get(run.start) != text:
            raise SegmentDamaged(f"segment {number}, byte {run.start}: what was written reads back differently")
        count += 1
    if count != len(texts):
        raise SegmentDamaged(f"segment {number} reads back with {count} runs instead of {len(texts)}")


def _connect(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:", config={"threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    try:
        allowed = quote_text(str(segment_path(folder, 1).parent.resolve()))
        connection.execute(f"SET allowed_directories = [{allowed}]")
        # What is read again is to come from the disk: bits rot without a newer time of change.
        connection.execute("SET enable_external_file_cache = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def _first_line(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}".strip().splitlines()[0]

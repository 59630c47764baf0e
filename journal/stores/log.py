"""The append-only log: numbered files of frames, written whole, synced once, read back to the last closing line.

Files are never truncated and never rewritten here. Bytes after the last closing line are a torn tail and dropped in
silence; anything unreadable before a closing line is damage, and named. Does not decide which facts are members.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from antiphon.facts import ChainId, ChainInfo, FactId, FactRecord, InvalidLine, ParsedLine, Registration, parse_line

from ..chain import (
    CHAIN_START,
    OPENING_KIND,
    Head,
    Seal,
    build_records,
    check_headers,
    describe_chain,
    link_ids,
    parse_seal_line,
)
from ..errors import FormatTooNew, LogDamaged, SealedViolation, StoreUnavailable
from ..frame import (
    CLOSING_OPEN,
    FORMAT_NUMBER,
    Closing,
    FileHeader,
    build_file_header,
    frame_hash,
    line_hash,
    parse_chain_line,
    parse_closing,
    parse_file_header,
    parse_registration,
    tag_of,
)
from .position import LOG_START, LogPosition, RunRow

LOG_FOLDER = "log"
# Small enough to seal, copy and check in one go; large enough that a directory sync is rare.
FILE_BYTES_MAX = 8 * 1024 * 1024


class LoggedRun(NamedTuple):
    """A run as the log holds it; the seal's signature is not checked on reading, the frame's hash is."""

    info: ChainInfo
    records: tuple[FactRecord, ...]
    seal: Seal
    row: RunRow


class LogFrame(NamedTuple):
    """One frame read back: its runs, what it registers, and the position just after it."""

    runs: tuple[LoggedRun, ...]
    chains: tuple[ChainInfo, ...]
    registrations: tuple[Registration, ...]
    position: LogPosition

    @property
    def records(self) -> list[FactRecord]:
        """The frame's facts in order."""
        return [record for run in self.runs for record in run.records]


class LogDamage(NamedTuple):
    """A stretch of the log that cannot be read as it was written; the bytes are kept."""

    file_number: int
    offset: int
    length: int
    reason: str


@dataclass(slots=True)
class LogCursor:
    """Where a reader stands: position, and each chain's description and head there. Owned and moved by ``read_log``."""

    position: LogPosition
    chains: dict[ChainId, tuple[ChainInfo, Head]]
    journal: str = ""

    @classmethod
    def at_start(cls) -> LogCursor:
        """A cursor before the first frame."""
        return cls(LOG_START, {})


def log_files(folder: Path) -> dict[int, Path]:
    """The log's files by number."""
    found = {}
    for path in (folder / LOG_FOLDER).glob("*.ndjson"):
        if path.stem.isdigit():
            found[int(path.stem)] = path
    return dict(sorted(found.items()))


def file_path(folder: Path, number: int) -> Path:
    """Where log file *number* lies."""
    return folder / LOG_FOLDER / f"{number:08d}.ndjson"


def read_log(folder: Path, cursor: LogCursor) -> Iterator[LogFrame | LogDamage]:
    """Read every frame after *cursor*, moving it along; safe while another process appends.

    About 4 µs a fact. Stops at the torn tail of the last file. Raises ``FormatTooNew`` for a newer format and
    ``StoreUnavailable`` when a file cannot be read.
    """
    files = log_files(folder)
    for number, path in files.items():
        if number < cursor.position.file_number:
            continue
        data = _read_from(path, cursor.position.offset if number == cursor.position.file_number else 0)
        if number != cursor.position.file_number:
            if b"\n" not in data:
                continue  # its first line was never completed, so nothing was written behind it
            try:
                data = data[_enter_file(data, number, cursor) :]
            except InvalidLine as problem:
                yield LogDamage(number, 0, len(data), str(problem))
                continue
        yield from _read_frames(data, number, cursor, _expected_end(files, number))


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except OSError as problem:
        raise StoreUnavailable(
            f"cannot read {path.name}: {problem.strerror}; check the disk and the permissions"
        ) from problem


def _enter_file(data: bytes, number: int, cursor: LogCursor) -> int:
    """Check a file's first line and put the cursor after it."""
    end = data.index(b"\n")
    header = parse_file_header(data[:end])
    if header.format > FORMAT_NUMBER:
        raise FormatTooNew(
            f"log file {number} has format {header.format}; this antiphon reads up to {FORMAT_NUMBER}, so upgrade "
            "it (nothing was touched)"
        )
    if header.number != number:
        raise InvalidLine(f"log file {number} says it is number {header.number}")
    cursor.journal = cursor.journal or header.journal
    if header.journal != cursor.journal:
        raise InvalidLine(f"log file {number} belongs to journal {header.journal[:8]}, not {cursor.journal[:8]}")
    cursor.position = cursor.position._replace(file_number=number, offset=end + 1, frame_hash=header.previous_frame)
    return end + 1


def _expected_end(files: Mapping[int, Path], number: int) -> str | None:
    """The last acknowledged frame up to file *number*, as the next readable file tells it; None when there is none."""
    for following in sorted(later for later in files if later > number):
        with files[following].open("rb") as file:
            line = file.readline()
        try:
            return parse_file_header(line.rstrip(b"\n")).previous_frame
        except InvalidLine:
            continue
    return None


def _read_frames(
    data: bytes, number: int, cursor: LogCursor, expected_end: str | None
) -> Iterator[LogFrame | LogDamage]:
    base = cursor.position.offset
    at = 0
    while at < len(data):
        if expected_end is not None and cursor.position.frame_hash == expected_end:
            return  # what follows was written but never acknowledged
        end = _closing_end(data, at)
        if end is None:
            break
        try:
            frame = _parse_frame(data[at:end], base + at, number, cursor)
        except (InvalidLine, SealedViolation, LogDamaged) as problem:
            yield LogDamage(number, base + at, end - at, str(problem))
            closing = parse_closing(data[data.rfind(b"\n", at, end - 1) + 1 : end - 1])
            skipped = closing.frame_hash if closing else cursor.position.frame_hash
            cursor.position = cursor.position._replace(offset=base + end, frame_hash=skipped)
        else:
            cursor.position = frame.position
            for run in frame.runs:
                last = run.records[-1]
                cursor.chains[run.info.chain] = (run.info, Head(last.seq, last.fact_id, last.hlc))
            yield frame
        at = end
    if expected_end is not None and cursor.position.frame_hash != expected_end:
        yield LogDamage(
            number, base + at, len(data) - at, "the file ends before the last frame that the next file names"
        )


def _closing_end(data: bytes, start: int) -> int | None:
    """The offset just after the next closing line, or None when there is none (a torn tail)."""
    at = start
    while True:
        found = data.find(CLOSING_OPEN, at)
        if found < 0:
            return None
        if found == start or data[found - 1 : found] == b"\n":
            end = data.find(b"\n", found)
            if end < 0:
                return None
            if parse_closing(data[found:end]) is not None:
                return end + 1
        at = found + 1


def _parse_frame(data: bytes, offset: int, number: int, cursor: LogCursor) -> LogFrame:
    lines = data.split(b"\n")
    lines.pop()
    closing = parse_closing(lines.pop())
    assert closing is not None, "the caller found a closing line here"
    if closing.line_count != len(lines):
        raise LogDamaged(f"a frame closes {closing.line_count} lines but holds {len(lines)}")
    reading = _FrameReading(cursor, number)
    at = offset
    for line in lines:
        reading.take(line, at)
        at += len(line) + 1
    if reading.open_facts:
        raise LogDamaged("a frame holds facts that no seal of it covers")
    if closing.previous != cursor.position.frame_hash:
        raise LogDamaged("a frame does not continue the one before it")
    if frame_hash(closing.previous, reading.entries) != closing.frame_hash:
        raise LogDamaged("a frame's hash does not fit its lines")
    position = LogPosition(
        number,
        offset + len(data),
        closing.frame_hash,
        cursor.position.fact_count + sum(len(run.records) for run in reading.runs),
    )
    return LogFrame(tuple(reading.runs), tuple(reading.chains), tuple(reading.registrations), position)


class _FrameReading:
    """The lines of one frame on their way into runs."""

    def __init__(self, cursor: LogCursor, number: int) -> None:
        self._cursor = cursor
        self._number = number
        self._heads: dict[ChainId, tuple[ChainInfo, Head]] = {}
        self.entries: list[bytes] = []
        self.runs: list[LoggedRun] = []
        self.chains: list[ChainInfo] = []
        self.registrations: list[Registration] = []
        self.open_facts: list[tuple[bytes, ParsedLine]] = []
        self._open_at = 0

    def take(self, line: bytes, at: int) -> None:
        tag, _ = tag_of(line)
        if tag in (b"h", b"e"):
            if not self.open_facts:
                self._open_at = at
            self.open_facts.append((line, parse_line(line)))
            return
        if tag == b"seal":
            self._close_run(line, at + len(line) + 1)
        elif tag == b"chain":
            info = parse_chain_line(line)
            self.chains.append(info)
            if info.chain not in self._cursor.chains:
                self._heads[info.chain] = (info, CHAIN_START)
        elif tag == b"local":
            registration = parse_registration(line)
            if registration is not None:
                self.registrations.append(registration)
        self.entries.append(line_hash(line))

    def _close_run(self, seal_line: bytes, end: int) -> None:
        seal = parse_seal_line(seal_line)
        known = self._heads.get(seal.chain) or self._cursor.chains.get(seal.chain)
        if known is None:
            raise LogDamaged(f"facts of chain {seal.chain.hex()[:8]}, which no line before introduces")
        info, head = known
        if not self.open_facts:
            raise LogDamaged("a seal without facts")
        parsed = [part for _, part in self.open_facts]
        lines = [line for line, _ in self.open_facts]
        # A seal says where its run begins, so a chain can be picked up again behind a damaged frame.
        previous = Head(seal.from_seq, seal.from_id, head.hlc if seal.from_seq == head.seq else 0)
        ids = link_ids(previous.fact_id, parsed)
        if (seal.to_seq, seal.to_id) != (seal.from_seq + len(ids), ids[-1]):
            raise LogDamaged(f"a seal of chain {info.text[:8]} does not fit the facts before it")
        check_headers(info, previous, parsed)
        if previous.seq == 0 and parsed[0].header.kind == OPENING_KIND:
            info = describe_chain(info, parsed[0].payload)
        row = RunRow(
            info.chain,
            seal.from_seq + 1,
            seal.to_seq,
            seal.from_id,
            seal.to_id,
            self._number,
            self._open_at,
            end - self._open_at,
        )
        records = build_records(info, lines, parsed, ids)
        self.runs.append(LoggedRun(info, records, seal, row))
        self._heads[info.chain] = (info, Head(seal.to_seq, FactId(seal.to_id), records[-1].hlc))
        self.entries.extend(ids)
        self.open_facts = []


class Disk:
    """The system calls the log needs, in one place so that tests can make each of them fail."""

    def open_append(self, path: Path) -> int:
        """Create a file that does not exist yet and open it for appending."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def open_existing(self, path: Path) -> int:
        """Open a file for appending."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of *data*."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Return when the file's bytes are on stable storage."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)

    def sync_folder(self, folder: Path) -> None:
        """Make the folder's entries durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)


class LogWriter:
    """The one appender of a log. Every call blocks on the disk, so a thread of its own should make them.

    After any failure the file is closed and the next append opens a new one that names the last synced frame: a
    failed sync is never retried, since the kernel may already have dropped the pages (Rebello et al., "Can
    Applications Recover from fsync Failures?", 2020).
    """

    def __init__(
        self, folder: Path, *, journal: str, last: LogPosition, may_append: bool, disk: Disk | None = None
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._disk = disk or Disk()
        self._synced = last
        self._number = last.file_number
        self._size = last.offset
        self._descriptor: int | None = None
        self._sync_hook: Callable[[], None] | None = None
        if may_append and last.file_number:
            self._descriptor = self._disk.open_existing(file_path(folder, last.file_number))

    @property
    def synced(self) -> LogPosition:
        """The end of the last frame that is on stable storage."""
        return self._synced

    def append(self, frames: Sequence[bytes], last: LogPosition) -> list[tuple[int, int]]:
        """Write *frames* and sync them once; *last* names the hash and fact count after them.

        Returns (file number, offset) of each frame. Raises ``StoreUnavailable``; then none of them is acknowledged.
        """
        try:
            descriptor = self._ready()
            places: list[tuple[int, int]] = []
            at = self._size
            for frame in frames:
                places.append((self._number, at))
                at += len(frame)
            self._disk.write(descriptor, frames[0] if len(frames) == 1 else b"".join(frames))
            self._disk.sync(descriptor)
        except OSError as problem:
            self._abandon()
            raise StoreUnavailable(
                f"the log could not be written: {problem.strerror} ({self._folder.name}); nothing acknowledged is "
                "lost, "
                "free the disk or make it writable and commit again"
            ) from problem
        self._size = at
        self._synced = last._replace(file_number=self._number, offset=at)
        return places

    def close(self) -> None:
        """Close the current file."""
        self._abandon()

    def _ready(self) -> int:
        if self._descriptor is not None and self._size < FILE_BYTES_MAX:
            return self._descriptor
        self._abandon()
        number = max(self._number, *log_files(self._folder), 0) + 1
        path = file_path(self._folder, number)
        descriptor = self._disk.open_append(path)
        self._descriptor = descriptor
        header = build_file_header(
            FileHeader(FORMAT_NUMBER, self._journal, number, self._synced.file_number, self._synced.frame_hash)
        )
        self._number = number
        self._size = len(header) + 1
        self._disk.write(descriptor, header + b"\n")
        self._disk.sync(descriptor)
        self._disk.sync_folder(path.parent)
        return descriptor

    def _abandon(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                self._disk.close(descriptor)
            except OSError:
                # The bytes were synced or are not acknowledged; a failing close changes neither.
                return


def sync_existing(folder: Path, position: LogPosition, disk: Disk) -> None:
    """Sync what an unclean predecessor wrote, so that nothing is built on bytes that a power loss could take back."""
    descriptor = disk.open_existing(file_path(folder, position.file_number))
    try:
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def read_run_bytes(folder: Path, run: RunRow) -> bytes:
    """The bytes of a run: its fact lines and its seal line, each ended by a newline."""
    try:
        with file_path(folder, run.file_number).open("rb") as file:
            file.seek(run.offset)
            return file.read(run.length)
    except OSError as problem:
        raise StoreUnavailable(f"cannot read log file {run.file_number}: {problem.strerror}") from problem

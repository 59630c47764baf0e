"""The append-only log: numbered files of frames, written whole, synced once, read back to the last closing line.

Files are never truncated and never rewritten here. Bytes after the last closing line are a torn tail and dropped in
silence; anything unreadable before a closing line is damage, and named. Does not decide which facts are members.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from antiphon.facts import (
    ChainId,
    ChainInfo,
    FactError,
    FactId,
    FactRecord,
    InvalidLine,
    Registration,
    parse_line,
)

from ..chain import (
    CHAIN_START,
    OPENING_KIND,
    Head,
    Seal,
    build_records,
    check_headers,
    describe_chain,
    info_of_opening,
    link_ids,
    parse_seal_line,
)
from ..errors import FormatTooNew, LogDamaged, SealedViolation, StoreUnavailable, UnsealedBytes
from ..frame import (
    CLOSING_OPEN,
    FORMAT_NUMBER,
    Closing,
    FileHeader,
    LocalNote,
    NewerFormat,
    UnknownTag,
    build_file_header,
    frame_hash,
    line_hash,
    match_closing,
    parse_chain_line,
    parse_closing,
    parse_file_header,
    parse_local_line,
    registration_of,
    tag_of,
)
from .logged_run import LoggedRun, read_plain_run
from .position import LOG_START, NO_FRAME, LogPosition, RunRow

LOG_FOLDER = "log"
SEGMENTS_FOLDER = "segments"
_INTRODUCTION = re.compile(
    rb'\{"chain":\{[^\n]*?\}\}|^\{"h":\{[^}\n]*"k":"' + re.escape(OPENING_KIND.encode()) + rb'"[^}\n]*\},"p"[^\n]*$',
    re.MULTILINE,
)
# Small enough to seal, copy and check in one go; large enough that a directory sync is rare.
FILE_BYTES_MAX = 8 * 1024 * 1024
# A file that grew so far is being worked on: the disk is asked for the rest of it in one piece. Below, nothing is.
RESERVE_BYTES_MIN = 256 * 1024
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h


class LogFrame(NamedTuple):
    """One frame read back: its runs, what it registers, and the position just after it."""

    runs: tuple[LoggedRun, ...]
    chains: tuple[ChainInfo, ...]
    registrations: tuple[Registration, ...]
    position: LogPosition
    notes: tuple[LocalNote, ...] = ()
    """What its other local lines say; one that was copied forward may be met twice, and means one thing."""
    damages: tuple[LogDamage, ...] = ()
    """Runs of it that cannot be read, of chains whose introduction was damaged."""

    @property
    def records(self) -> list[FactRecord]:
        """The frame's facts in order."""
        return [record for run in self.runs for record in run.records]

    @property
    def fact_count(self) -> int:
        """How many facts it holds."""
        return sum(run.fact_count for run in self.runs)


class LogDamage(NamedTuple):
    """A stretch of the log that cannot be read as it was written; the bytes are kept."""

    file_number: int
    offset: int
    length: int
    reason: str


@dataclass(slots=True)
class LogCursor:
    """Where a reader stands: position, and each chain's description and head there. Moved by whoever reads."""

    position: LogPosition
    chains: dict[ChainId, tuple[ChainInfo, Head]]
    journal: str = ""
    is_cut: bool = False
    """Whether frames that were never acknowledged lie between the last frame read and the reader's position."""
    is_doubtful: bool = False
    """Whether the frame before is damaged, so that only the next one can say what its hash was."""

    @classmethod
    def at_start(cls, *, journal: str = "") -> LogCursor:
        """A cursor before the first frame of *journal* (by default the one that the first file names)."""
        return cls(LOG_START, {}, journal)

    def follow(self, frame: LogFrame) -> None:
        """Move behind a frame that was read."""
        self.position = frame.position
        self.is_cut = self.is_doubtful = False
        for run in frame.runs:
            self.chains[run.info.chain] = (run.info, run.head)


def log_files(folder: Path) -> dict[int, Path]:
    """The log's files by number."""
    found = {}
    for path in (folder / LOG_FOLDER).glob("*.ndjson"):
        if path.stem.isdigit():
            found[int(path.stem)] = path
    return dict(sorted(found.items()))


def segment_files(folder: Path) -> dict[int, Path]:
    """The segments by the number of the log file that each of them was."""
    paths = (folder / SEGMENTS_FOLDER).glob("*.parquet")
    return dict(sorted((int(path.stem), path) for path in paths if path.stem.isdigit()))


def part_numbers(folder: Path) -> list[int]:
    """The numbers of all log files, those that became segments included."""
    # In this order: a file that is sealed meanwhile is seen at least once.
    return sorted(log_files(folder).keys() | segment_files(folder).keys())


def part_paths(folder: Path) -> list[Path]:
    """Every file that the log lies in: log files and segments."""
    return [*log_files(folder).values(), *segment_files(folder).values()]


def segment_path(folder: Path, number: int) -> Path:
    """Where the segment of log file *number* lies."""
    return folder / SEGMENTS_FOLDER / f"{number:08d}.parquet"


def file_path(folder: Path, number: int) -> Path:
    """Where log file *number* lies."""
    return folder / LOG_FOLDER / f"{number:08d}.ndjson"


def enter_file(data: bytes, number: int, cursor: LogCursor, *, expected_end: str | None = None) -> LogDamage | None:
    """Check a file's first line and put the cursor behind it; it stays where it is when the file is not ours.

    Every journal's first frame follows nothing, so a first file that names another journal is ours only when it holds
    the frame that the next file of ours names: *expected_end*.
    """
    end = data.index(b"\n") + 1
    reached = cursor.position.frame_hash
    found = _find_closing(data, end)
    continues = found is not None and found[0].previous == reached
    try:
        header = parse_file_header(data[: end - 1])
    except InvalidLine as problem:
        if isinstance(problem, NewerFormat) and not _is_of_this_format(data, end, number, cursor):
            raise FormatTooNew(
                f"log file {number} has format {problem.number}; this antiphon reads up to {FORMAT_NUMBER}, so upgrade "
                "it (nothing was touched)"
            ) from None
        if not continues:
            return LogDamage(number, 0, len(data), str(problem))
        cursor.position = cursor.position._replace(file_number=number, offset=end)
        return LogDamage(number, 0, end, str(problem))
    cursor.journal = cursor.journal or header.journal
    is_ours = header.journal == cursor.journal and header.number == number
    is_named = reached != NO_FRAME or (expected_end is not None and expected_end.encode() in data[end:])
    if not is_ours and not (continues and is_named):
        names = f"file {header.number} of journal {header.journal[:8]}, not file {number} of {cursor.journal[:8]}"
        return LogDamage(number, 0, len(data), f"the log file says that it is {names}")
    previous = reached if continues else header.previous_frame
    cursor.position = cursor.position._replace(file_number=number, offset=end, frame_hash=previous)
    if not is_ours or previous != header.previous_frame:
        return LogDamage(number, 0, end, "a log file's first line does not fit the frames around it")
    was_doubtful, cursor.is_doubtful = cursor.is_doubtful, False
    if previous != reached and not was_doubtful:
        return LogDamage(header.previous_file, 0, 0, f"the last frame that log file {number} follows is not there")
    return None


def _is_of_this_format(data: bytes, start: int, number: int, cursor: LogCursor) -> bool:
    """Whether a file holds nothing behind its first line, or some frame that this format hashes as it is closed.

    Then a first line that names a newer format is damaged: whoever raises the number also changes ``FRAME_PREFIX``.
    """
    at = start
    while (found := _find_closing(data, at)) is not None:
        closing, end = found
        before = replace(cursor, position=cursor.position._replace(frame_hash=closing.previous))
        if try_frame(data[at:end], at, number, before)[0] is not None:
            return True
        at = end
    return start == len(data)


def read_frames(
    data: bytes, number: int, cursor: LogCursor, expected_end: str | None
) -> Iterator[LogFrame | LogDamage]:
    """The frames of one log file from the cursor on; *expected_end* is the last acknowledged one, where it is known."""
    base = cursor.position.offset
    at = 0
    while at < len(data):
        if expected_end is not None and cursor.position.frame_hash == expected_end:
            cursor.is_cut = True
            return  # what follows was written but never acknowledged
        found = _find_closing(data, at)
        if found is None:
            break
        closing, end = found
        if cursor.is_doubtful:
            cursor.position = cursor.position._replace(frame_hash=closing.previous)
            cursor.is_doubtful = False
            continue
        frame, problem = try_frame(data[at:end], base + at, number, cursor)
        if frame is None:
            _rescue_chains(data[at:end], cursor)
            # Damage to a closing line makes two frames look like one: the second is still whole.
            start = _start_of_last(data, at, end, closing)
            if start > at and closing.previous != expected_end:
                cursor.position = cursor.position._replace(offset=base + start, frame_hash=closing.previous)
                frame, _ = try_frame(data[start:end], base + start, number, cursor)
            yield LogDamage(number, base + at, (end if frame is None else start) - at, problem)
        if frame is None:
            cursor.position = cursor.position._replace(offset=base + end, frame_hash=closing.frame_hash)
            cursor.is_doubtful = True
        else:
            cursor.follow(frame)
            yield frame
            yield from frame.damages
        at = end
    if expected_end is not None and cursor.position.frame_hash != expected_end and not cursor.is_doubtful:
        cursor.is_doubtful = True
        yield LogDamage(
            number, base + at, len(data) - at, "the file ends before the last frame that the next file names"
        )


def _find_closing(data: bytes, start: int) -> tuple[Closing, int] | None:
    """The next closing line and the offset behind it, or None when there is none (a torn tail)."""
    at = start
    while True:
        found = data.find(CLOSING_OPEN, at)
        if found < 0:
            return None
        if found == start or data[found - 1 : found] == b"\n":
            read = match_closing(data, found)
            if read is not None and read[1] < len(data):
                return read[0], read[1] + 1
        at = found + 1


def _start_of_last(data: bytes, start: int, end: int, closing: Closing) -> int:
    """Where the last frame of a damaged stretch begins, going by how many lines it says it holds."""
    at = end - 1
    for _ in range(closing.line_count + 1):
        at = data.rfind(b"\n", start, at)
        if at < 0:
            return start
    return at + 1


def try_frame(data: bytes, offset: int, number: int, cursor: LogCursor) -> tuple[LogFrame | None, str]:
    """The frame that *data* is, its closing line included, behind *cursor*; or None and what is wrong with it."""
    try:
        return _parse_frame(data, offset, number, cursor), ""
    except (InvalidLine, SealedViolation, LogDamaged) as problem:
        return None, str(problem)


def _rescue_chains(data: bytes, cursor: LogCursor) -> None:
    """Learn the chains that a damaged frame introduces, or nothing behind it that they wrote could be read.

    A chain's id is the hash of its parts, so whatever fits was not damaged; they stand in the chain's line and again in
    its opening fact.
    """
    for found in _INTRODUCTION.finditer(data):
        try:
            is_chain_line = found[0].startswith(b'{"chain"')
            info = parse_chain_line(found[0]) if is_chain_line else info_of_opening(parse_line(found[0]))
        except (InvalidLine, FactError, UnsealedBytes):
            continue
        known = cursor.chains.get(info.chain)
        if known is None or (info.authority and not known[0].authority):
            cursor.chains[info.chain] = (info, known[1] if known else CHAIN_START)


def _parse_frame(data: bytes, offset: int, number: int, cursor: LogCursor) -> LogFrame:
    if not data.endswith(b"\n"):
        raise LogDamaged("a closing line does not end where it should")
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
    if reading.not_understood:
        raise FormatTooNew(f"log file {number}: {reading.not_understood} (nothing was touched)")
    position = LogPosition(
        number,
        offset + len(data),
        closing.frame_hash,
        cursor.position.fact_count + sum(run.fact_count for run in reading.runs),
    )
    return LogFrame(
        tuple(reading.runs),
        tuple(reading.chains),
        tuple(reading.registrations),
        position,
        tuple(reading.notes),
        tuple(reading.damages),
    )


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
        self.notes: list[LocalNote] = []
        self.damages: list[LogDamage] = []
        self.open_facts: list[bytes] = []
        self.not_understood = ""
        self._open_at = 0

    def take(self, line: bytes, at: int) -> None:
        if line.startswith((b'{"h":', b'{"e":')):
            if not self.open_facts:
                self._open_at = at
            self.open_facts.append(line)
            return
        try:
            tag, _ = tag_of(line)
        except UnknownTag as problem:
            # Only the frame's hash can tell a newer writer from a flipped bit.
            self.not_understood = str(problem)
            self.entries.append(line_hash(line))
            return
        if tag == b"seal":
            self._close_run(line, at + len(line) + 1)
        elif tag == b"chain":
            info = parse_chain_line(line)
            self.chains.append(info)
            if info.chain not in self._cursor.chains:
                self._heads[info.chain] = (info, CHAIN_START)
        elif tag == b"local":
            note = parse_local_line(line)
            registration = registration_of(note)
            if registration is not None:
                self.registrations.append(registration)
            else:
                self.notes.append(note)
        self.entries.append(line_hash(line))

    def _close_run(self, seal_line: bytes, end: int) -> None:
        seal = parse_seal_line(seal_line)
        known = self._heads.get(seal.chain) or self._cursor.chains.get(seal.chain)
        if not self.open_facts:
            raise LogDamaged("a seal without facts")
        if known is None:
            self._pass_over(seal, end)
            return
        info, head = known
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
        run = read_plain_run(info, seal, row, self.open_facts) or _read_strictly(info, head, seal, row, self.open_facts)
        self.runs.append(run)
        self._heads[info.chain] = (run.info, run.head)
        self.entries.extend(run.ids)
        self.open_facts = []

    def _pass_over(self, seal: Seal, end: int) -> None:
        """A run of a chain whose introduction was damaged: nobody can say whose it is, but its neighbours are whole."""
        text = seal.chain.hex()[:8]
        parsed = [parse_line(line) for line in self.open_facts]
        ids = link_ids(FactId(seal.from_id), parsed)
        if (seal.to_seq, seal.to_id) != (seal.from_seq + len(ids), ids[-1]):
            raise LogDamaged(f"a seal of chain {text} does not fit the facts before it")
        reason = f"facts of chain {text}, which no line before introduces"
        self.damages.append(LogDamage(self._number, self._open_at, end - self._open_at, reason))
        self.entries.extend(ids)
        self.open_facts = []


def _read_strictly(info: ChainInfo, head: Head, seal: Seal, row: RunRow, lines: Sequence[bytes]) -> LoggedRun:
    """Take every line apart: what says what is wrong, and reads openings and erased lines."""
    parsed = [parse_line(line) for line in lines]
    # A seal says where its run begins, so a chain can be picked up again behind a damaged frame or at a fork.
    previous = Head(seal.from_seq, seal.from_id, head.hlc if seal.from_id == head.fact_id else 0)
    ids = link_ids(previous.fact_id, parsed)
    if (seal.to_seq, seal.to_id) != (seal.from_seq + len(ids), ids[-1]):
        raise LogDamaged(f"a seal of chain {info.text[:8]} does not fit the facts before it")
    check_headers(info, previous, parsed)
    if previous.seq == 0 and parsed[0].header.kind == OPENING_KIND:
        info = describe_chain(info, parsed[0].payload)
    return LoggedRun(info, seal, row, records=build_records(info, lines, parsed, ids))


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

    def reserve(self, descriptor: int, size: int) -> None:
        """Set blocks aside until the file is of *size*, behind its end, where nobody reads them.

        A sync then has fewer blocks to find and lists of them to write. A wish only: where the system knows no such
        call, or the disk is too full, nothing happens. ~70 µs.
        """
        allocate = _find_fallocate()
        if allocate is not None:
            allocate(descriptor, _KEEP_SIZE, 0, size)

    def unreserve(self, descriptor: int) -> None:
        """Give back what was set aside and not written. Not a byte of the file changes."""
        # Cut to the size that it has, which nobody else changes: whoever opened it holds the folder's lock.
        os.ftruncate(descriptor, os.fstat(descriptor).st_size)

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

    def remove(self, path: Path) -> None:
        """Remove a file that never held a frame, or whose segment is in its place."""
        path.unlink()

    def rename(self, path: Path, target: Path) -> None:
        """Put a whole file in its place, over whatever was there."""
        path.replace(target)


@cache
def _find_fallocate() -> Callable[[int, int, int, int], int] | None:
    """The system's ``fallocate``, which Python has only in the form that makes a file longer."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    import ctypes

    found = getattr(ctypes.CDLL(None), "fallocate", None)
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return found


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
        self._has_doubtful_bytes = False
        self._has_reserve = False
        if may_append and last.file_number:
            try:
                self._descriptor = self._disk.open_existing(file_path(folder, last.file_number))
            except OSError as problem:
                raise _refused(folder, problem) from problem

    @property
    def disk(self) -> Disk:
        """What its system calls go through."""
        return self._disk

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
            self._has_doubtful_bytes = True
            if at >= RESERVE_BYTES_MIN and not self._has_reserve:
                self._has_reserve = True
                with suppress(OSError):  # a wish
                    self._disk.reserve(descriptor, FILE_BYTES_MAX)
            self._disk.write(descriptor, frames[0] if len(frames) == 1 else b"".join(frames))
            self._disk.sync(descriptor)
        except OSError as problem:
            self._abandon()
            raise _refused(self._folder, problem) from problem
        self._has_doubtful_bytes = False
        self._size = at
        self._synced = last._replace(file_number=self._number, offset=at)
        return places

    def rotate(self) -> None:
        """Let the next frames go into a new file, so that the current one may be sealed."""
        if self._synced.file_number == self._number and self._synced.offset == self._size:
            self._abandon()

    def close(self) -> None:
        """Close the current file; after a failure a last attempt is made to name the last good frame in a new one."""
        if self._has_doubtful_bytes:
            with suppress(OSError):
                self._ready()
        self._abandon()

    def _ready(self) -> int:
        if self._descriptor is not None and self._size < FILE_BYTES_MAX:
            return self._descriptor
        self._abandon()
        number = max(self._number, *part_numbers(self._folder), 0) + 1
        path = file_path(self._folder, number)
        header = build_file_header(
            FileHeader(FORMAT_NUMBER, self._journal, number, self._synced.file_number, self._synced.frame_hash)
        )
        descriptor = self._descriptor = self._disk.open_append(path)
        try:
            self._disk.write(descriptor, header + b"\n")
            self._disk.sync(descriptor)
            self._disk.sync_folder(path.parent)
        except OSError:
            # A disk that stays full would otherwise gain an empty file with every attempt.
            with suppress(OSError):
                self._disk.remove(path)
            raise
        self._number = number
        self._size = len(header) + 1
        self._has_doubtful_bytes = False
        return descriptor

    def _abandon(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        has_reserve, self._has_reserve = self._has_reserve, False
        if descriptor is not None:
            if has_reserve and self._size < FILE_BYTES_MAX:
                with suppress(OSError):  # the file is whole, and only larger on the disk than it is long
                    self._disk.unreserve(descriptor)
            try:
                self._disk.close(descriptor)
            except OSError:
                # The bytes were synced or are not acknowledged; a failing close changes neither.
                return


def sync_existing(folder: Path, position: LogPosition, disk: Disk) -> None:
    """Sync what an unclean predecessor wrote, so that nothing is built on bytes that a power loss could take back."""
    try:
        descriptor = disk.open_existing(file_path(folder, position.file_number))
        try:
            disk.sync(descriptor)
            with suppress(OSError):
                disk.unreserve(descriptor)
        finally:
            disk.close(descriptor)
    except OSError as problem:
        raise _refused(folder, problem) from problem


def _refused(folder: Path, problem: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"the log could not be written: {problem.strerror} ({folder.name}); nothing acknowledged is lost, "
        "free the disk or make it writable and commit again"
    )

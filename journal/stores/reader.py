"""Reading a log whole, wherever its parts lie: log files that are still written, and segments that they became.

Every reader goes through here and gets the same frames at the same places. What is damaged is named, never skipped in
silence; who is a member is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from antiphon.facts import ChainId, ChainInfo, InvalidLine, Registration

from ..chain import CHAIN_START, Head
from ..errors import LogDamaged, StoreUnavailable
from ..frame import FileHeader, LocalNote, parse_file_header
from .log import (
    LogCursor,
    LogDamage,
    LogFrame,
    enter_file,
    file_path,
    log_files,
    read_frames,
    segment_files,
    segment_path,
)
from .position import LogPosition, RunRow

# A log without segments is read without DuckDB, which takes longer to load than a small log to read.
if TYPE_CHECKING:
    from .segments import SegmentInfo, SegmentStore


def read_log(
    folder: Path, cursor: LogCursor, *, segments: SegmentStore | None = None
) -> Iterator[LogFrame | LogDamage]:
    """Read every frame after *cursor*, moving it along; safe while another process appends, or seals files.

    About 4 µs a fact, from log files and from segments alike (*segments* is opened for the occasion when it is None).
    Stops at the torn tail of the last file. Damage is named and passed over: a damaged frame costs that frame only.
    Raises ``FormatTooNew`` for a newer format and ``StoreUnavailable`` when a file cannot be read.
    """
    files = _Parts(folder, segments)
    try:
        for number in files.numbers:
            if number >= cursor.position.file_number:
                yield from _read_part(files, number, cursor)
    finally:
        files.close()


def read_acknowledged(
    folder: Path, cursor: LogCursor, *, doubtful: str, segments: SegmentStore | None = None
) -> Iterator[LogFrame | LogDamage]:
    """As ``read_log``, up to the frame *doubtful* when no later file tells what became of what follows it: a write
    failed there, and nothing could be written any more (see ``JournalFolder.doubtful``)."""

    def is_end() -> bool:
        position = cursor.position
        is_there = bool(doubtful) and position.frame_hash == doubtful
        return is_there and expected_end(folder, position.file_number, cursor.journal) is None

    if is_end():
        return
    for item in read_log(folder, cursor, segments=segments):
        yield item
        if is_end():
            return


def read_file(
    folder: Path, number: int, chains: dict[ChainId, tuple[ChainInfo, Head]], *, journal: str = ""
) -> tuple[FileHeader, Iterator[LogFrame | LogDamage]]:
    """Read one log file by itself, knowing the *chains* that files before it introduce.

    Raises ``LogDamaged`` when its first line cannot be read, or names another file or (where that is known) another
    *journal*: no hash covers that line, and what is copied from it is believed.
    """
    files = _Parts(folder, None)
    data = _read_from(file_path(folder, number), 0)
    end = data.find(b"\n") + 1
    try:
        header = parse_file_header(data[: max(end - 1, 0)])
    except InvalidLine as problem:
        raise LogDamaged(f"log file {number}: {problem}") from problem
    if header.number != number or header.journal != (journal or header.journal):
        names = f"file {header.number} of journal {header.journal[:8]}"
        raise LogDamaged(f"log file {number}: its first line says that it is {names}")
    cursor = LogCursor(LogPosition(number, end, header.previous_frame, 0), chains, header.journal)
    return header, read_frames(data[end:], number, cursor, _expected_end(files, number, header.journal))


def read_behind_header(
    folder: Path, number: int, chains: dict[ChainId, tuple[ChainInfo, Head]], *, journal: str, previous: str
) -> Iterator[LogFrame | LogDamage]:
    """Read one log file whose first line is damaged, knowing whose it is and the hash of the frame before it."""
    data = _read_from(file_path(folder, number), 0)
    end = data.find(b"\n") + 1
    cursor = LogCursor(LogPosition(number, end, previous, 0), chains, journal)
    return read_frames(data[end:], number, cursor, _expected_end(_Parts(folder, None), number, journal))


class _Parts:
    """The log files and segments of a folder as they were listed."""

    def __init__(self, folder: Path, segments: SegmentStore | None) -> None:
        self.folder = folder
        self._given = segments
        self._opened: SegmentStore | None = None
        self._sealed = frozenset[int]()
        self.logs = frozenset(log_files(folder))
        self._sealed = frozenset(segment_files(folder))
        self.numbers = sorted(self.logs | self._sealed)

    @property
    def segments(self) -> SegmentStore:
        """What reads the segments."""
        if self._given is not None:
            return self._given
        if self._opened is None:
            from .segments import SegmentStore

            self._opened = SegmentStore(self.folder)
        return self._opened

    def read(self, number: int, offset: int) -> bytes | None:
        """A log file's bytes from *offset*, or None when it has become a segment."""
        if number not in self.logs:
            return None
        try:
            return _read_from(file_path(self.folder, number), offset)
        except StoreUnavailable:
            if segment_path(self.folder, number).is_file() and not file_path(self.folder, number).exists():
                return None
            raise

    def previous_of(self, number: int, journal: str) -> tuple[int, str] | None:
        """The last good frame before file *number*, as that file tells it: (file, frame hash)."""
        try:
            with file_path(self.folder, number).open("rb") as file:
                line = file.readline()
            header = parse_file_header(line.rstrip(b"\n"))
            found = (header.journal, header.number, header.previous_file, header.previous_frame)
        except InvalidLine:
            return None
        except FileNotFoundError:
            try:
                info = self.segments.info(number)
            except LogDamaged:
                return None
            found = (info.journal, info.number, info.previous_file, info.previous_frame)
        return found[2:] if found[:2] == (journal, number) else None

    def close(self) -> None:
        """Let go of what was opened for the occasion."""
        if self._opened is not None:
            self._opened.close()


def _read_part(files: _Parts, number: int, cursor: LogCursor) -> Iterator[LogFrame | LogDamage]:
    is_same = number == cursor.position.file_number
    data = files.read(number, cursor.position.offset if is_same else 0)
    if data is None:
        from .segments import read_segment

        yield from read_segment(files.segments, number, cursor)
        return
    if not is_same:
        if b"\n" not in data:
            return  # its first line was never completed, so nothing was written behind it
        damage = enter_file(data, number, cursor, expected_end=_expected_end(files, number, cursor.journal))
        if damage is not None:
            yield damage
        if number != cursor.position.file_number:
            return
        data = data[cursor.position.offset :]
    yield from read_frames(data, number, cursor, _expected_end(files, number, cursor.journal))


def _expected_end(files: _Parts, number: int, journal: str) -> str | None:
    """The last acknowledged frame up to file *number*, as the next readable file tells it; None when none can tell."""
    for following in files.numbers:
        told = files.previous_of(following, journal) if following > number else None
        if told is not None:
            return told[1] if told[0] <= number else None
    return None


def expected_end(folder: Path, number: int, journal: str) -> str | None:
    """The hash of the last acknowledged frame of part *number*, as the part behind it tells; None when none can."""
    files = _Parts(folder, None)
    try:
        return _expected_end(files, number, journal)
    finally:
        files.close()


class ClosedFile(NamedTuple):
    """A closed log file, read whole: its frames, and what its segment will say of itself."""

    frames: tuple[LogFrame, ...]
    description: SegmentInfo

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """What it registers, each once."""
        return tuple(dict.fromkeys(each for frame in self.frames for each in frame.registrations))

    @property
    def notes(self) -> tuple[LocalNote, ...]:
        """What its other local lines say, each once."""
        return tuple({repr(note): note for frame in self.frames for note in frame.notes}.values())


def read_closed_file(
    folder: Path,
    number: int,
    chains: Iterable[ChainInfo],
    *,
    journal: str = "",
    on_frame: Callable[[], None] | None = None,
) -> ClosedFile:
    """Read one closed log file of *journal*, wherever the files around it are; *on_frame* is called between frames.

    Raises ``LogDamaged`` when any of it is damaged.
    """
    from .segments import FORMAT_NUMBER, SegmentInfo

    known = {chain.chain: (chain, CHAIN_START) for chain in chains}
    header, items = read_file(folder, number, known, journal=journal)
    frames: list[LogFrame] = []
    for item in items:
        if on_frame is not None:
            on_frame()
        if isinstance(item, LogDamage):
            raise LogDamaged(f"log file {number}, bytes {item.offset}..{item.offset + item.length}: {item.reason}")
        frames.append(item)
    last = frames[-1].position if frames else LogPosition(number, 0, header.previous_frame, 0)
    description = SegmentInfo(
        FORMAT_NUMBER,
        header.journal,
        number,
        header.previous_file,
        header.previous_frame,
        last.offset,
        last.frame_hash,
        0,
        "",
        (),
    )
    return ClosedFile(tuple(frames), description)


def read_run_bytes(folder: Path, run: RunRow, *, segments: SegmentStore | None = None) -> bytes:
    """The bytes of a run: its fact lines and its seal line, each ended by a newline.

    From its log file, or from the segment that this file has become (where payloads may be erased since).
    """
    try:
        with file_path(folder, run.file_number).open("rb") as file:
            file.seek(run.offset)
            return file.read(run.length)
    except FileNotFoundError:
        if segments is not None:
            return segments.read_run(run)
        from .segments import SegmentStore

        with SegmentStore(folder) as opened:
            return opened.read_run(run)
    except OSError as problem:
        raise StoreUnavailable(f"cannot read log file {run.file_number}: {problem.strerror}") from problem


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except OSError as problem:
        raise StoreUnavailable(
            f"cannot read {path.name}: {problem.strerror}; check the disk and the permissions"
        ) from problem

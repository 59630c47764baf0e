"""Mending: a damaged part of the log put together again, from what is whole in it and from what came back elsewhere.

A damaged frame is explained when its lines, with the runs in it as they are held now, have the hash that its closing
line names: then its local lines are what was written. Runs that are sound keep their places, so that nothing that was
handed out changes its meaning. When a part may be written anew, and what becomes of the old bytes, is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from antiphon.facts import ChainId, ChainInfo, FactId, InvalidLine, Registration, parse_line

from ..chain import CHAIN_START, Head, Seal, build_records, is_seal_valid, link_ids, parse_seal_line
from ..errors import LogDamaged, StoreUnavailable
from ..frame import CLOSING_OPEN, Closing, LocalNote, build_chain_line, build_closing, match_closing, parse_closing
from .log import LogCursor, LogDamage, LogFrame, file_path, log_files, part_numbers, try_frame
from .logged_run import LoggedRun
from .position import NO_FRAME, LogPosition, RunRow
from .reader import expected_end, read_behind_header, read_file, read_run_bytes
from .segments import FORMAT_NUMBER, SegmentInfo, SegmentStore, read_segment

Placed = tuple[ChainInfo, RunRow]
FindRuns = Callable[[ChainId, int], Sequence[RunRow]]
"""The held runs that hold a chain's fact of that number, wherever they lie."""


class Mended(NamedTuple):
    """What a part's segment is to hold, and the damage in it that nothing explains."""

    frames: tuple[LogFrame, ...]
    description: SegmentInfo
    registrations: tuple[Registration, ...]
    notes: tuple[LocalNote, ...]
    unexplained: tuple[LogDamage, ...]


def mend_part(
    folder: Path,
    number: int,
    *,
    held: Sequence[Placed],
    openings: Sequence[Placed] = (),
    chains: Iterable[ChainInfo],
    find_runs: FindRuns,
    segments: SegmentStore,
    journal_id: str = "",
    on_frame: Callable[[], None] = lambda: None,
) -> Mended:
    """Put log file or segment *number* together; *held* are the runs that lie in it. ~10 µs a fact; changes nothing.

    *openings* begin chains of which other runs lie further ahead: where they lie behind this part they are repeated in
    it, since a log is read from its start, and facts of a chain that nobody has introduced speak for nobody.
    Raises ``LogDamaged`` when it cannot be said which frames it lies between.
    """
    known = {info.chain: (info, CHAIN_START) for info in chains}
    is_log = number in log_files(folder)
    frames: list[LogFrame] = []
    explained: list[LogFrame] = []
    unexplained: list[LogDamage] = []
    if is_log:
        data = file_path(folder, number).read_bytes()
        journal, previous, items = _read_log_file(folder, number, known, segments, journal_id)
        reached, ending = previous[1], expected_end(folder, number, journal)
        for item in items:
            on_frame()
            if isinstance(item, LogFrame):
                frames.append(item)
                reached = item.position.frame_hash
                continue
            stretch = data[item.offset : item.offset + item.length]
            frame = _restore_frame(
                stretch.split(b"\n")[:-2],
                _closings_of(stretch, data[item.offset + item.length :], reached=reached, ending=ending),
                item.file_number,
                known,
                lambda row: _lines_of(folder, row, segments),
                find_runs,
            )
            if frame is None:
                unexplained.append(item)
                continue
            explained.append(frame)
            reached = frame.position.frame_hash
    else:
        journal, previous, frames = _read_segment(folder, number, known, segments, on_frame)
        unexplained = _unheld_runs(number, segments, find_runs)
    sound = _sound_runs(folder, held, frames, segments, on_frame)
    whole = _attach(frames, [*_openings(folder, openings, number, segments), *sound])
    reached = whole[-1].position.frame_hash if whole else previous[1]
    last = expected_end(folder, number, journal) or reached
    # A reader takes the last frame's word only for what lies behind all that it has read.
    end = max((frame.position.offset for frame in whole), default=0) + (last != reached)
    read = (*frames, *explained)
    return Mended(
        tuple(whole),
        SegmentInfo(FORMAT_NUMBER, journal, number, *previous, end, last, 0, "", ()),
        tuple(dict.fromkeys(each for frame in read for each in frame.registrations)),
        tuple({repr(note): note for frame in read for note in frame.notes}.values()),
        tuple(unexplained),
    )


def _read_log_file(
    folder: Path, number: int, known: dict[ChainId, tuple[ChainInfo, Head]], segments: SegmentStore, journal: str
) -> tuple[str, tuple[int, str], Iterator[LogFrame | LogDamage]]:
    """The journal, the frame before, and what can be read of a log file; its first line says nothing of its own."""
    try:
        header, items = read_file(folder, number, known, journal=journal)
        if header.previous_frame != NO_FRAME and number == min(part_numbers(folder)):
            raise LogDamaged(f"log file {number}: the first of all says that it follows a frame")
        return header.journal, (header.previous_file, header.previous_frame), items
    except LogDamaged:
        named, previous = _neighbour_before(folder, number, segments)
        journal = journal or named
        return journal, previous, read_behind_header(folder, number, known, journal=journal, previous=previous[1])


def _read_segment(
    folder: Path,
    number: int,
    known: dict[ChainId, tuple[ChainInfo, Head]],
    segments: SegmentStore,
    on_frame: Callable[[], None],
) -> tuple[str, tuple[int, str], list[LogFrame]]:
    """The journal, the frame before, and the frames of a segment that can be read."""
    try:
        info = segments.info(number)
    except LogDamaged:
        return (*_neighbour_before(folder, number, segments), [])
    cursor = LogCursor(LogPosition(info.previous_file, 0, info.previous_frame, 0), known, info.journal)
    frames = []
    for item in read_segment(segments, number, cursor):
        on_frame()
        if isinstance(item, LogFrame):
            # The hash of a whole segment covers its seals; where that does not fit, each speaks for itself.
            runs = tuple(run for run in item.runs if is_seal_valid(run.seal, run.info.public_key))
            frames.append(item._replace(runs=runs))
    return info.journal, (info.previous_file, info.previous_frame), frames


def _neighbour_before(folder: Path, number: int, segments: SegmentStore) -> tuple[str, tuple[int, str]]:
    """The journal and the last frame before a part that tells nothing of itself, as the part before has them."""
    before = max((each for each in part_numbers(folder) if each < number), default=0)
    if before in log_files(folder):
        header, items = read_file(folder, before, {})
        hashes = [item.position.frame_hash for item in items if isinstance(item, LogFrame)]
        return header.journal, (before, hashes[-1] if hashes else header.previous_frame)
    if before:
        info = segments.info(before)
        return info.journal, (before, info.last_frame)
    after = min((each for each in part_numbers(folder) if each > number), default=0)
    if not after:
        raise LogDamaged(f"part {number} of the log: neither it nor a part beside it says whose it is")
    journal = read_file(folder, after, {})[0].journal if after in log_files(folder) else segments.info(after).journal
    return journal, (0, NO_FRAME)


def _closings_of(stretch: bytes, behind: bytes, *, reached: str, ending: str | None) -> list[Closing]:
    """What the closing line of a damaged stretch may have been: what it says, and what the next one says that its hash
    was (behind the last frame the next file does: *ending*), since that may be what is damaged."""
    if stretch.count(b"\n") < 2 or not stretch.endswith(b"\n"):
        return []
    closings = []
    with suppress(InvalidLine):
        found = parse_closing(stretch[:-1].rpartition(b"\n")[2])
        closings = [] if found is None else [found]
    at = behind.find(b"\n" + CLOSING_OPEN)
    following = match_closing(behind, at + 1) if at >= 0 else None
    named = ending if following is None else following[0].previous
    if named is not None:
        closings.append(Closing(stretch.count(b"\n") - 1, named, reached))
    return closings


def _restore_frame(
    lines: list[bytes],
    closings: Sequence[Closing],
    number: int,
    known: Mapping[ChainId, tuple[ChainInfo, Head]],
    lines_of: Callable[[RunRow], list[bytes]],
    find_runs: FindRuns,
) -> LogFrame | None:
    """A damaged frame as it was written, when its hash says so; its places are not those of the damaged one."""
    replaced = _with_runs_as_held(lines, lines_of, find_runs) if closings else []
    for closing in closings:
        cursor = LogCursor(LogPosition(number, 0, closing.previous, 0), dict(known))
        for mended in (lines, replaced, _with_chain_line(replaced, known)):
            frame, _ = try_frame(b"\n".join([*mended, build_closing(closing), b""]), 0, number, cursor)
            if frame is not None:
                return frame
    return None


def _unheld_runs(number: int, segments: SegmentStore, find_runs: FindRuns) -> list[LogDamage]:
    """The runs that a segment says it holds and that are held nowhere."""
    try:
        ends = segments.run_ends(number)
    except LogDamaged as problem:
        return [LogDamage(number, 0, 0, f"what it held cannot be read: {problem}")]
    missing = [(chain, seq) for chain, seq, _ in ends if all(row.last_seq != seq for row in find_runs(chain, seq))]
    return [LogDamage(number, 0, 0, f"facts up to {seq} of chain {chain.hex()[:8]}") for chain, seq in missing]


def _openings(folder: Path, openings: Sequence[Placed], number: int, segments: SegmentStore) -> list[LoggedRun]:
    """Copies of *openings* that lie behind part *number*, at places before all that it held."""
    late = [(info, row) for info, row in openings if row.file_number > number]
    copies = _sound_runs(folder, late, (), segments, lambda: None)
    return [run.moved(run.row._replace(file_number=number, offset=at)) for at, run in enumerate(copies)]


def _with_chain_line(lines: Sequence[bytes], known: Mapping[ChainId, tuple[ChainInfo, Head]]) -> list[bytes]:
    """*lines* with the one chain line that cannot be read as the chain that begins in them has it."""
    begun = (seal.chain for line in lines if (seal := _seal_of(line)) is not None and seal.from_seq == 0)
    wanted = [build_chain_line(known[chain][0]) for chain in begun if chain in known]
    missing = [line for line in wanted if line not in lines]
    if len(missing) != 1:
        return list(lines)
    return [missing[0] if line.startswith(b'{"chain":') and line not in wanted else line for line in lines]


def _with_runs_as_held(
    lines: Sequence[bytes], lines_of: Callable[[RunRow], list[bytes]], find_runs: FindRuns
) -> list[bytes]:
    """The lines of a frame with every run in it as it is held elsewhere, where that can be told."""
    mended: list[bytes] = []
    gathered: list[bytes] = []
    for line in lines:
        if line.startswith((b'{"chain":', b'{"local":')):
            mended += [*_without_seal(gathered, lines_of, find_runs), line]
            gathered = []
            continue
        seal = _seal_of(line)
        if seal is None:
            gathered.append(line)
            continue
        # What stands before the facts of this seal belongs to one that cannot be read.
        own = max(len(gathered) - (seal.to_seq - seal.from_seq), 0)
        mended += _without_seal(gathered[:own], lines_of, find_runs)
        mended += _as_held(seal, lines_of, find_runs) or [*gathered[own:], line]
        gathered = []
    return mended + _without_seal(gathered, lines_of, find_runs)


def _as_held(seal: Seal, lines_of: Callable[[RunRow], list[bytes]], find_runs: FindRuns) -> list[bytes]:
    ends = (seal.from_id, seal.to_id)
    rows = (row for row in find_runs(seal.chain, seal.to_seq) if (row.first_previous_id, row.last_id) == ends)
    return next((lines for row in rows if (lines := lines_of(row))), [])


def _without_seal(gathered: list[bytes], lines_of: Callable[[RunRow], list[bytes]], find_runs: FindRuns) -> list[bytes]:
    """Facts whose seal cannot be read, with the line that was it: found by the numbers of those that can be read."""
    for place, line in enumerate(gathered):
        with suppress(InvalidLine):
            header = parse_line(line).header
            for row in find_runs(header.chain, header.seq):
                lines = lines_of(row)
                if row.first_seq == header.seq - place and len(lines) == len(gathered):
                    return lines
    return gathered


def _seal_of(line: bytes) -> Seal | None:
    try:
        return parse_seal_line(line)
    except InvalidLine:
        return None


def _lines_of(folder: Path, row: RunRow, segments: SegmentStore) -> list[bytes]:
    with suppress(LogDamaged, StoreUnavailable):
        return read_run_bytes(folder, row, segments=segments).rstrip(b"\n").split(b"\n")
    return []


def _sound_runs(
    folder: Path,
    held: Sequence[Placed],
    frames: Sequence[LogFrame],
    segments: SegmentStore,
    on_frame: Callable[[], None],
) -> list[LoggedRun]:
    """The held runs that stand in none of *frames* and are what was sealed."""
    covered = {run.row.offset for frame in frames for run in frame.runs}
    found: list[LoggedRun] = []
    for info, row in held:
        if row.offset in covered:
            continue
        on_frame()
        with suppress(LogDamaged, InvalidLine, StoreUnavailable):
            *lines, seal_line = read_run_bytes(folder, row, segments=segments).rstrip(b"\n").split(b"\n")
            seal, parsed = parse_seal_line(seal_line), [parse_line(line) for line in lines]
            ids = link_ids(FactId(row.first_previous_id), parsed)
            ends = (seal.from_id, seal.to_id, *ids[-1:])
            if ends == (row.first_previous_id, row.last_id, row.last_id) and is_seal_valid(seal, info.public_key):
                found.append(LoggedRun(info, seal, row, records=build_records(info, lines, parsed, ids)))
    return sorted(found, key=lambda run: run.row.offset)


def _attach(frames: Sequence[LogFrame], runs: Sequence[LoggedRun]) -> list[LogFrame]:
    """*frames* with *runs* in their places: each in the frame that ends next behind it."""
    waiting = list(runs)
    whole: list[LogFrame] = []
    for frame in frames:
        mine = [run for run in waiting if run.row.offset < frame.position.offset]
        del waiting[: len(mine)]
        ordered = sorted((*mine, *frame.runs), key=lambda run: run.row.offset)
        whole.append(frame._replace(runs=tuple(ordered)))
    if waiting:
        last = waiting[-1].row
        frame_hash = whole[-1].position.frame_hash if whole else NO_FRAME
        position = LogPosition(last.file_number, last.offset + last.length, frame_hash, 0)
        whole.append(LogFrame(tuple(waiting), (), (), position))
    return whole

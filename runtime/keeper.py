"""Keeping house behind a running journal: closed log files become segments, on a thread and a DuckDB of their own.

Never holds up a commit: it works on files that nobody writes any more, and its only way to the log is a frame like
any other. What a crash leaves half-done is settled by doing it again. What is a member is not its business.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from antiphon.facts import ChainId, ChainInfo, InvalidLine, Registration
from antiphon.journal import (
    CHAIN_START,
    Disk,
    JournalError,
    LogCursor,
    LogDamage,
    LogDamaged,
    LogFrame,
    LogPosition,
    PlacedRun,
    RunRow,
    StoreUnavailable,
    is_seal_valid,
    parse_run,
    read_run_bytes,
)
from antiphon.journal.chain import parse_seal_line
from antiphon.journal.erasure import ErasureBook
from antiphon.journal.frame import LocalNote
from antiphon.journal.stores.log import file_path, log_files, part_numbers, segment_files, segment_path
from antiphon.journal.stores.mending import Mended, mend_part
from antiphon.journal.stores.reader import ClosedFile, read_closed_file, read_file
from antiphon.journal.stores.segments import (
    DAMAGED_SUFFIX,
    SealedFile,
    SegmentInfo,
    SegmentStore,
    keep_aside,
    put_segment,
    read_segment,
    remove_staged,
    retire_file,
    write_segment,
)

from .threads import Threads

# A Parquet file of a few facts is larger than their lines; what a crash left closed early stays a log file until asked.
SEAL_BYTES_MIN = 1024 * 1024
# A pass over everything takes so long: 1 % an hour, as disks are scrubbed elsewhere.
SCRUB_PASS_S = 100 * 3_600
# An application that is open for a quarter of an hour a day still gets round in time.
FIRST_SCRUB_S = 600
# After each frame the interpreter is given away for this long, so that a commit never waits for a whole file.
PAUSE_S = 0.0002
# So many files of 8 MiB may wait for a lull: some 400,000 short messages, 100 MB more than Parquet takes.
UNSEALED_FILES_MAX = 16


class Erasing(NamedTuple):
    """Facts whose payloads are to go: their ids by the run that holds them."""

    runs: tuple[PlacedRun, ...]
    fact_ids: tuple[bytes, ...]


CopyForward = Callable[[Sequence[Registration], Sequence[LocalNote]], "asyncio.Future[None]"]
Chore = Generator["asyncio.Future[Any]", Any, None]
Collapsed = tuple[ChainId, int, bytes]
"""Where a run ends that was collapsed: its chain, and its last fact's number and the first half of its id."""
"""A piece of work in steps: it yields what it waits for, and is sent what came of it."""


class Stopped(JournalError):
    """The journal is closing: what is half-done is left for the next time."""


class Scrub(NamedTuple):
    """What reading the files again showed: how many facts, in how many files, and what is damaged."""

    fact_count: int
    file_count: int
    damages: tuple[LogDamage, ...]


class KeeperStatistics(NamedTuple):
    """The insides of a keeper: what it sealed so far, what it could not, and what waits; how much it scrubbed by
    itself, and whether it will again."""

    sealed: tuple[SealedFile, ...]
    problems: tuple[str, ...]
    waiting: int
    scrubbed_bytes: int
    is_scrub_armed: bool


class Keeper:
    """One journal's housekeeping: one chore at a time, its blocking steps on a thread of their own.

    *copy_forward* makes local lines durable in the current log file.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        *,
        threads: Threads,
        copy_forward: CopyForward,
        start_file: Callable[[], asyncio.Future[None]],
        erase_rows: Callable[[Sequence[bytes]], asyncio.Future[None]],
        erasures: ErasureBook,
        chains: Callable[[], list[ChainInfo]],
        collapsed: Callable[[], frozenset[Collapsed]],
        is_collapsed: Callable[[RunRow], bool],
        on_problem: Callable[[str], None],
        file_number: int,
        runs_of: Callable[[int], list[PlacedRun]],
        find_runs: Callable[[ChainId, int], Sequence[RunRow]],
        late_openings: Callable[[], list[PlacedRun]],
        is_anything_missing: Callable[[], bool],
        on_lost: Callable[[Sequence[RunRow]], None],
        now_ms: Callable[[], int],
        journal_id: str,
    ) -> None:
        self.segments = SegmentStore(folder)
        self._folder = folder
        self._disk = disk
        self._threads = threads
        self._copy_forward = copy_forward
        self._start_file = start_file
        self._erase_rows = erase_rows
        self._erasures = erasures
        self._chains = chains
        self._collapsed = collapsed
        self._is_collapsed = is_collapsed
        self._on_problem = on_problem
        self._loop = asyncio.get_running_loop()
        self._executor: Executor | None = None
        self._stop = threading.Event()
        self._file_number = file_number
        self._has_looked = False
        self._chores: deque[tuple[Chore, asyncio.Future[None]]] = deque()
        self._is_working = False
        self._sealed: list[SealedFile] = []
        self._problems: list[str] = []
        self._given_up: set[int] = set()
        self._runs_of = runs_of
        self._find_runs = find_runs
        self._late_openings = late_openings
        self._is_anything_missing = is_anything_missing
        self._on_lost = on_lost
        self._now_ms = now_ms
        self._journal_id = journal_id
        self._scrub_timer: asyncio.TimerHandle | None = None
        self._scrubbed_bytes = 0
        self._told: set[LogDamage] = set()
        # The part that an earlier life began and this one goes on with: what it holds can be read again as well.
        self._continued = file_number
        self._damaged: set[int] = set()
        self._arm_scrub_if_idle()

    def note_file(self, number: int) -> None:
        """Note that the log is written into file *number*: those before it are closed, and the large ones are sealed in
        the next lull, or now when many wait for one."""
        if (number == self._file_number and self._has_looked) or self._stop.is_set():
            return
        self._file_number = number
        self._has_looked = True
        if len(self._worth_sealing()) >= UNSEALED_FILES_MAX:
            self.use_lull()
        self._arm_scrub_if_idle()

    def use_lull(self) -> None:
        """Seal the large ones of the closed files now."""
        if self._has_looked and not self._stop.is_set() and self._worth_sealing():
            self._add(self._seal_files(is_everything=False))

    async def seal(self) -> tuple[SealedFile, ...]:
        """Seal every closed log file, however small; returns what became segments. Damaged files stay as they are."""
        before = len(self._sealed)
        await asyncio.shield(self._add(self._seal_files(is_everything=True)))
        return tuple(self._sealed[before:])

    async def scrub(self) -> Scrub:
        """Read every log file and segment again and check each hash and link, in the background.

        ~10 µs a fact on the keeper's thread, which gives way after each frame. Damage is told as a problem and named
        in the result. Runs that it took become holes, which the next sync asks peers for first; when all of them are
        back, ``mend`` writes the part anew. The same is done by itself for 1 % an hour.
        """
        found: list[Scrub] = []
        await asyncio.shield(self._add(self._scrub(found)))
        return found[0] if found else Scrub(0, 0, ())

    def erase(self, erasing: Erasing) -> asyncio.Future[None]:
        """Take payloads out of log files, segments and DuckDB; done when they are gone.

        The log file that is being written is closed early and sealed without them. What a stop leaves undone shows in
        DuckDB, whose rows go last, and is taken up when the journal is opened again.
        """
        return self._add(self._erase(erasing))

    def mend(self, numbers: Iterable[int] = ()) -> asyncio.Future[None]:
        """Write parts that are known to be damaged (and those of these *numbers*) anew as segments, once nothing of
        them is missing; until then they stay as they are, since what is whole in them is read there.

        The damaged original is kept beside the log, as ``….ndjson.damaged``, when something in it stays unexplained.
        """
        self._damaged.update(numbers)
        return self._add(self._mend())

    @property
    def has_damage(self) -> bool:
        """Whether a part is known to be damaged."""
        return bool(self._damaged)

    def drop_collapsed(self, numbers: Iterable[int] = ()) -> asyncio.Future[None]:
        """Take what was collapsed out of log files and segments: those of these *numbers*, and whatever others still
        hold of it (a look at two columns of each segment)."""
        return self._add(self._drop_collapsed(set(numbers)))

    async def settle(self) -> None:
        """Do what waits for a lull, and return when nothing is being done."""
        self.use_lull()
        while self._chores:
            await asyncio.wait([self._chores[-1][1]])

    async def close(self) -> None:
        """Stop at the next safe point and end the thread."""
        self._stop.set()
        self._disarm_scrub()
        await self.settle()
        self._end()

    def abandon(self) -> None:
        """End the thread when the loop is gone."""
        self._stop.set()
        self._scrub_timer = None
        self._end()

    def statistics(self) -> KeeperStatistics:
        """A frozen record of the insides."""
        return KeeperStatistics(
            tuple(self._sealed),
            tuple(self._problems),
            len(self._chores),
            self._scrubbed_bytes,
            self._scrub_timer is not None,
        )

    def _end(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)
        self.segments.close()

    # Chores, on the loop

    def _add(self, chore: Chore) -> asyncio.Future[None]:
        done: asyncio.Future[None] = self._loop.create_future()
        self._chores.append((chore, done))
        if not self._is_working:
            self._is_working = True
            self._go_on(None)
        return done

    def _go_on(self, step: asyncio.Future[Any] | None) -> None:
        """Take the current chore to its next step, or begin the one after it."""
        while self._chores:
            chore, done = self._chores[0]
            try:
                waits_for = next(chore) if step is None else _step(chore, step)
            except StopIteration:
                self._finish(done, None)
            except Exception as problem:  # a chore ends here: whoever asked for it is told, and the next one begins
                self._finish(done, problem)
            else:
                waits_for.add_done_callback(self._go_on)
                return
            step = None
        self._is_working = False

    def _finish(self, done: asyncio.Future[None], problem: Exception | None) -> None:
        self._chores.popleft()
        if problem is None or isinstance(problem, Stopped):
            done.set_result(None)
            return
        self._problems.append(f"{type(problem).__name__}: {problem}")
        self._on_problem(f"housekeeping failed: {problem}; the journal goes on, and it is tried again")
        done.set_exception(problem)
        done.exception()  # when nobody waits, telling the owner was enough

    def _in_thread(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        if self._executor is None:
            self._executor = self._threads.executor("antiphon-keeper")
        return self._loop.run_in_executor(self._executor, work)

    def _seal_files(self, *, is_everything: bool) -> Chore:
        yield self._in_thread(partial(remove_staged, self._folder))
        for number in self._closed():
            if self._stop.is_set():
                return
            if number in self._given_up or not (is_everything or self._is_worth_it(number)):
                continue
            try:
                yield from self._seal_file(number, is_asked=is_everything)
            except (LogDamaged, StoreUnavailable) as problem:
                # It is tried again when the journal is opened the next time; the log file serves meanwhile.
                self._given_up.add(number)
                if isinstance(problem, LogDamaged):
                    self._damaged.add(number)
                text = f"log file {number} was not sealed: {problem}"
                self._problems.append(text)
                self._on_problem(text)
        yield from self._mend()

    def _mend(self) -> Chore:
        for number in sorted(self._damaged):
            if self._stop.is_set():
                return
            if number not in part_numbers(self._folder):
                self._damaged.discard(number)
                continue
            if number >= self._file_number:
                yield self._start_file()
            try:
                yield from self._mend_part(number)
            except (LogDamaged, StoreUnavailable) as problem:
                self._problems.append(f"part {number} of the log was not mended: {problem}")

    def _mend_part(self, number: int) -> Chore:
        is_log = number in log_files(self._folder)
        work = partial(
            mend_part,
            self._folder,
            number,
            held=self._runs_of(number),
            openings=self._late_openings(),
            chains=self._chains(),
            find_runs=self._find_runs,
            segments=self.segments,
            journal_id=self._journal_id,
            on_frame=self._pause,
        )
        self.segments.forget(number)  # what was decoded may be older than the damage
        lost = yield self._in_thread(partial(self._unreadable, self._runs_of(number)))
        if lost:
            self._on_lost(lost)
            return
        mended: Mended = yield self._in_thread(work)
        if mended.unexplained and self._is_anything_missing():
            return  # what a peer still brings may explain it
        if mended.registrations or mended.notes:
            yield self._copy_forward(mended.registrations, mended.notes)
        yield self._in_thread(partial(self._replace, number, mended, is_log=is_log))
        self._damaged.discard(number)
        self._given_up.discard(number)
        self._told = {damage for damage in self._told if damage.file_number != number}
        if mended.unexplained:
            path = (file_path if is_log else segment_path)(self._folder, number)
            self._on_problem(
                f"log file {number} was written anew without {len(mended.unexplained)} damaged places that nothing "
                f"explains; the original is kept as {path.parent.name}/{path.name}{DAMAGED_SUFFIX}"
            )

    def _scrub(self, found: list[Scrub], numbers: Sequence[int] | None = None) -> Chore:
        fact_count, damages = 0, list[LogDamage]()
        if numbers is None:
            numbers = part_numbers(self._folder)
        for number in numbers:
            count, damaged = yield self._in_thread(partial(self._check_part, number, self._chains()))
            fact_count += count
            damages.extend(damaged)
            for damage in damaged:
                if damage not in self._told:
                    self._told.add(damage)
                    place = f"log file {damage.file_number}, bytes {damage.offset}..{damage.offset + damage.length}"
                    self._on_problem(f"{place}: {damage.reason}; sync with a peer that holds these facts")
            if damaged:
                lost = yield self._in_thread(partial(self._unreadable, self._runs_of(number)))
                self._on_lost(lost)
                self._damaged.add(number)
        found.append(Scrub(fact_count, len(numbers), tuple(damages)))
        yield from self._mend()

    # The scrub that runs by itself

    def _arm_scrub_if_idle(self) -> None:
        """One timer, and none while there is nothing to read again."""
        if self._scrub_timer is None and self._written_before():
            self._arm_scrub(FIRST_SCRUB_S)

    def _written_before(self) -> list[int]:
        """The parts that hold what was written a while ago: all but a file that this life began."""
        return [part for part in part_numbers(self._folder) if part < self._file_number or part == self._continued]

    def _arm_scrub(self, delay_s: float) -> None:
        self._scrub_timer = self._loop.call_later(delay_s, self._scrub_due)

    def _disarm_scrub(self) -> None:
        timer, self._scrub_timer = self._scrub_timer, None
        if timer is not None:
            timer.cancel()

    def _scrub_due(self) -> None:
        """Scrub the part whose turn it is, and wait for the next one's."""
        self._scrub_timer = None
        if self._stop.is_set():
            return
        sizes = {part: _size_of(self._folder, part) for part in self._written_before()}
        if not sizes:
            return
        number, delay_s = choose_scrub(sizes, at_s=self._now_ms() / 1_000)
        self._scrubbed_bytes += sizes[number]
        self._add(self._scrub([], [number]))
        self._arm_scrub(delay_s)

    def _erase(self, erasing: Erasing) -> Chore:
        numbers = yield self._in_thread(partial(self._holding, erasing))
        if numbers and max(numbers) >= self._file_number:
            yield self._start_file()
        for number in numbers:
            yield from self._write_anew(number)
        yield self._erase_rows(erasing.fact_ids)

    def _drop_collapsed(self, numbers: set[int]) -> Chore:
        collapsed = self._collapsed()
        if not collapsed:
            return
        held = yield self._in_thread(partial(self._holding_collapsed, collapsed))
        existing = set(part_numbers(self._folder))
        for number in sorted((numbers | held) & existing):
            if self._stop.is_set():
                return
            if number >= self._file_number:
                yield self._start_file()
            yield from self._write_anew(number)

    def _write_anew(self, number: int) -> Chore:
        if number in log_files(self._folder):
            yield from self._seal_file(number)
        else:
            yield self._in_thread(partial(self._rewrite, number, self._chains()))

    def _seal_file(self, number: int, *, is_asked: bool = True) -> Chore:
        chains, journal = self._chains(), self._journal_id
        read = partial(read_closed_file, self._folder, number, chains, journal=journal, on_frame=self._pause)
        contents: ClosedFile = yield self._in_thread(read)
        fact_bytes = sum(run.row.length for frame in contents.frames for run in frame.runs)
        if not is_asked and fact_bytes * 2 < file_path(self._folder, number).stat().st_size:
            # Mostly local lines: copied forward they would fill the next file, and that one the next, without end.
            self._given_up.add(number)
            return
        if contents.registrations or contents.notes:
            yield self._copy_forward(contents.registrations, contents.notes)
        self._sealed.append((yield self._in_thread(partial(self._write, number, contents))))

    def _closed(self) -> list[int]:
        return [number for number in log_files(self._folder) if number < self._file_number]

    def _worth_sealing(self) -> list[int]:
        return [number for number in self._closed() if number not in self._given_up and self._is_worth_it(number)]

    def _is_worth_it(self, number: int) -> bool:
        if segment_path(self._folder, number).exists():
            return True  # a crash left both; one of them is enough
        try:
            return file_path(self._folder, number).stat().st_size >= SEAL_BYTES_MIN
        except FileNotFoundError:
            return False  # it is being retired just now

    # On the keeper's thread

    def _write(self, number: int, contents: ClosedFile) -> SealedFile:
        size = file_path(self._folder, number).stat().st_size
        frames = self._without_collapsed(contents.frames)
        self._stage(number, frames, contents.description)
        self._pause()
        put_segment(self.segments, number, disk=self._disk)
        retire_file(self._folder, number, disk=self._disk)
        count = sum(frame.fact_count for frame in frames)
        return SealedFile(number, count, size, segment_path(self._folder, number).stat().st_size)

    def _replace(self, number: int, mended: Mended, *, is_log: bool) -> None:
        self._stage(number, self._without_collapsed(mended.frames), mended.description)
        if mended.unexplained:
            keep_aside((file_path if is_log else segment_path)(self._folder, number), disk=self._disk)
        put_segment(self.segments, number, disk=self._disk)
        if is_log:
            retire_file(self._folder, number, disk=self._disk)

    def _check_part(self, number: int, chains: list[ChainInfo]) -> tuple[int, list[LogDamage]]:
        count, damages = 0, list[LogDamage]()
        try:
            for item in self._read_part(number, chains):
                self._pause()
                if isinstance(item, LogDamage):
                    damages.append(item)
                else:
                    count += item.fact_count
        except LogDamaged as problem:
            damages.append(LogDamage(number, 0, 0, str(problem)))
        return count, damages

    def _unreadable(self, runs: Sequence[PlacedRun]) -> list[RunRow]:
        """Those of *runs* whose bytes are not what was sealed."""
        segments = SegmentStore(self._folder)  # of its own: what others have decoded may be older than the damage
        try:
            return [run.row for run in runs if not self._is_sound(run, segments)]
        finally:
            segments.close()

    def _is_sound(self, run: PlacedRun, segments: SegmentStore) -> bool:
        self._pause()
        info, row = run
        try:
            data = read_run_bytes(self._folder, row, segments=segments)
            parse_run(info, row, data)
            seal = parse_seal_line(data.rstrip(b"\n").rpartition(b"\n")[2])
        except (LogDamaged, InvalidLine):
            return False
        return (seal.to_id, seal.from_id) == (row.last_id, row.first_previous_id) and is_seal_valid(
            seal, info.public_key
        )

    def _read_part(self, number: int, chains: list[ChainInfo]) -> Iterator[LogFrame | LogDamage]:
        known = {chain.chain: (chain, CHAIN_START) for chain in chains}
        if number in log_files(self._folder):
            yield from read_file(self._folder, number, known, journal=self._journal_id)[1]
            return
        info = self.segments.info(number)
        # As a reader who comes from the file before: so the whole segment is compared with its hash.
        cursor = LogCursor(LogPosition(info.previous_file, 0, info.previous_frame, 0), known, info.journal)
        yield from read_segment(self.segments, number, cursor)

    def _holding(self, erasing: Erasing) -> list[int]:
        """The files that still hold a payload that must go."""
        numbers: set[int] = set()
        for info, row in erasing.runs:
            if row.file_number in numbers:
                continue
            records = parse_run(info, row, read_run_bytes(self._folder, row, segments=self.segments))
            if any(record.payload is not None and self._erasures.is_erased(record) for record in records):
                numbers.add(row.file_number)
        return sorted(numbers)

    def _holding_collapsed(self, collapsed: frozenset[Collapsed]) -> set[int]:
        """The segments that still hold facts that were collapsed."""
        numbers: set[int] = set()
        for number in segment_files(self._folder):
            self._pause()
            with suppress(LogDamaged):
                if not collapsed.isdisjoint(self.segments.run_ends(number)):
                    numbers.add(number)
        return numbers

    def _rewrite(self, number: int, chains: list[ChainInfo]) -> None:
        """Write a segment again without the payloads that were erased and what was collapsed, and put it in the place
        of the old one. *chains* say whose each chain is, which a segment without its opening does not."""
        info = self.segments.info(number)
        frames: list[LogFrame] = []
        for item in self._read_part(number, chains):
            if isinstance(item, LogDamage):
                raise LogDamaged(f"segment {number} is damaged, so that nothing can be erased from it: {item.reason}")
            frames.append(item)
        self._stage(number, self._without_collapsed(frames), info)
        put_segment(self.segments, number, disk=self._disk)

    def _stage(self, number: int, frames: Sequence[LogFrame], description: SegmentInfo) -> None:
        keep = self._erasures.keep if self._erasures else None
        write_segment(
            self.segments, number, frames, description=description, disk=self._disk, keep=keep, on_frame=self._pause
        )

    def _without_collapsed(self, frames: Iterable[LogFrame]) -> list[LogFrame]:
        """*frames* without the runs that were collapsed."""
        return [
            frame._replace(runs=tuple(run for run in frame.runs if not self._is_collapsed(run.row))) for frame in frames
        ]

    def _pause(self) -> None:
        """Let others have the interpreter, and stop here when the journal closes."""
        if self._stop.wait(PAUSE_S):
            raise Stopped("the journal is closing")


def choose_scrub(sizes: Mapping[int, int], *, at_s: float) -> tuple[int, float]:
    """Which part is scrubbed at a time of the wall clock, and after how many seconds the next one's turn comes.

    The clock is the memory: parts of *sizes* share each 100 hours by their bytes, so that lives of any length go on
    where time has got to, and nothing needs to be written down. Pure.

    >>> choose_scrub({1: 30, 2: 70}, at_s=0.0)
    (1, 108000.0)
    >>> choose_scrub({1: 30, 2: 70}, at_s=110_000.0)
    (2, 250000.0)
    """
    into_s, total, end = at_s % SCRUB_PASS_S, sum(sizes.values()) or 1, 0
    for number in sorted(sizes):
        end += sizes[number]
        ends_at_s = SCRUB_PASS_S * end / total
        if into_s < ends_at_s:
            # Never less than a minute: a clock that stands at a border must not spin.
            return number, max(ends_at_s - into_s, 60.0)
    return max(sizes), 60.0


def _size_of(folder: Path, number: int) -> int:
    for path in (file_path(folder, number), segment_path(folder, number)):
        with suppress(FileNotFoundError):
            return path.stat().st_size
    return 0


def _step(chore: Chore, step: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """Hand a chore what came of the step it waited for; returns what it waits for next."""
    problem = Stopped("the step was cancelled") if step.cancelled() else step.exception()
    return chore.send(step.result()) if problem is None else chore.throw(problem)

"""Opening a journal's folder: take the lock, find where the log ends, decide whether old chains go on, start the
engine.

Reads everything before it writes anything. The blocking half runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from antiphon.facts import (
    DEFAULT_NAMESPACE,
    ChainId,
    Clock,
    Fact,
    FactProblem,
    FactRecord,
    FactRegistry,
    FactsErased,
    Namespace,
    Registration,
)
from antiphon.facts.catalog import build_fact_registry
from antiphon.journal import (
    Continuation,
    Disk,
    JournalFolder,
    JournalIndex,
    LogCursor,
    LogDamage,
    LogFrame,
    LogPosition,
    LogWriter,
    OwnChain,
    StoreUnavailable,
    open_folder,
    read_log,
    read_run_bytes,
    sync_existing,
)
from antiphon.journal.bases import bases_of
from antiphon.journal.erasure import DEFAULT_RIGHT, ERASURE_KIND, ErasureBook, ErasureRight
from antiphon.journal.frame import LocalNote
from antiphon.journal.replay import admit_run
from antiphon.journal.retention import RETIRED_NOTE, RetentionItem
from antiphon.journal.stores.accounts import GUARD_PREFIX
from antiphon.journal.stores.duckdb import DuckdbFollower, set_aside
from antiphon.journal.stores.folder import DATABASE_FILE
from antiphon.journal.stores.log import file_path, part_numbers, segment_path
from antiphon.journal.stores.reader import read_acknowledged

from .clock import SystemClock
from .engine import Found, JournalEngine
from .entropy import system_random
from .events import Events, RuntimeStarted
from .follower import FollowerService
from .surroundings import Surroundings
from .threads import SYSTEM_THREADS, Threads

# One DuckDB transaction of this many facts costs about as much memory as it saves time.
CATCH_UP_FACTS = 50_000
# Frames hold 1,000 facts at most, and usually far fewer.
FRAMES_AT_ONCE = 1_000

OpenDatabase = Callable[[JournalFolder, int], DuckdbFollower]
OnOpening = Callable[[int, int], None]
"""Told how many of how many log files were read, while an opening reads more than one."""


@dataclass(slots=True)
class _Recovered:
    folder: JournalFolder
    index: JournalIndex
    cursor: LogCursor
    registrations: list[Registration]
    database: DuckdbFollower | None
    problems: list[str] = field(default_factory=list)
    has_tail: bool = False
    erasures: list[FactRecord] = field(default_factory=list)
    unerased: frozenset[bytes] = frozenset()
    """Erasures among the members, and the facts whose payload DuckDB still holds though one of them names them."""
    retired: list[LocalNote] = field(default_factory=list)
    unretired: list[RetentionItem] = field(default_factory=list)
    """The same for what was let go because of its age."""
    guard_notes: list[LocalNote] = field(default_factory=list)
    """What guards wrote down, in the order of the log."""
    damaged_parts: set[int] = field(default_factory=set)
    is_damaged: bool = False
    """Whether the log lost something that was in it, so that its heads are not where this journal's chains end."""


async def open_engine(
    path: Path,
    *,
    author: str | None = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    types: Iterable[type[Fact]] = (),
    clock: Clock | None = None,
    random_bytes: Callable[[int], bytes] = system_random,
    disk: Disk | None = None,
    may_create: bool = True,
    threads: Threads = SYSTEM_THREADS,
    open_database: OpenDatabase | None = None,
    may_erase: ErasureRight = DEFAULT_RIGHT,
    events: Events | None = None,
    on_opening: OnOpening | None = None,
) -> JournalEngine:
    """Open or create the journal at *path* and start its engine on the running loop.

    *on_opening* is told, on DuckDB's thread, how many log files were read of how many, when there are several.
    *may_erase* judges erasures; it must be the same on every replica. *events* are told what happens inside. *clock*,
    *random_bytes*, *disk*, *threads* and *open_database* are what a simulator replaces. Raises
    ``NotAJournal``, ``JournalHeld``, ``FormatTooNew``, ``StoreUnavailable``, or ``SchemaDrift`` when one of *types*
    differs from what the journal knows.
    """
    around = Surroundings(clock or SystemClock(), random_bytes, disk or Disk(), threads, events or Events())
    registry = build_fact_registry()
    for model in types:
        registry.register(model)
    history = _HistoryThread(threads, open_database or _open_database, around.clock)
    recovered = await history.read(
        partial(
            _recover,
            path,
            author=author,
            registry=registry,
            around=around,
            may_create=may_create,
            find_database=history.find_database,
            on_opening=on_opening,
        )
    )
    try:
        book = _build_book(recovered, registry, may_erase)
        found = _take_over(recovered, registry, book, history, around.disk)
    except BaseException:
        _close(recovered)
        history.thread.shutdown(wait=False)
        raise
    engine = JournalEngine(found, around, namespace=namespace)
    engine.follower.on_problem = engine.note_problem
    engine.judge.look()
    await engine.judge.settle()
    engine.forget([claim for claim in book.claims() if claim.fact_id in recovered.unerased])
    engine.forget_retired(recovered.unretired)
    if recovered.damaged_parts:
        engine.keeper.mend(recovered.damaged_parts)
    if engine.events.is_heard:
        engine.events.emit(RuntimeStarted(service="journal"))
    return engine


class _HistoryThread:
    """DuckDB's thread, which reads the folder first, and the newest database that was opened on it."""

    def __init__(self, threads: Threads, find_database: OpenDatabase, clock: Clock) -> None:
        self.thread = threads.executor("antiphon-duckdb")
        self.find_database = find_database
        self._clock = clock
        self.newest: DuckdbFollower | None = None

    async def read(self, read: Callable[[], _Recovered]) -> _Recovered:
        """Read the folder on the thread; whatever goes wrong meanwhile, nothing of it stays open."""
        opening = asyncio.get_running_loop().run_in_executor(self.thread, read)
        try:
            recovered = await asyncio.shield(opening)
        except BaseException as problem:
            if isinstance(problem, asyncio.CancelledError):
                await _give_back(opening)
            self.thread.shutdown(wait=True)
            raise
        self.newest = recovered.database
        return recovered

    def open_again(self, folder: JournalFolder) -> DuckdbFollower:
        """On the thread: another connection, after one that failed."""
        self.newest = opened = self.find_database(folder, self._clock.now_ms())
        return opened

    def end(self) -> None:
        """End the thread and close what it had open; blocks."""
        self.thread.shutdown(wait=True)
        if self.newest is not None:
            self.newest.close()


def _take_over(
    recovered: _Recovered, registry: FactRegistry, book: ErasureBook, history: _HistoryThread, disk: Disk
) -> Found:
    """Go on where earlier lives stopped: decide which chains may, take the log over, and set DuckDB behind it."""
    folder = recovered.folder
    registry.remember(recovered.registrations)
    continues = _may_continue(recovered)
    chains = _own_chains(recovered.index, folder)
    own = _writable(chains, recovered) if continues and not folder.label_changed else []
    ended = [each.info for each in chains if each not in own]
    folder.ended = {info.chain for info in ended}
    writer = _continue_log(recovered, disk, continues=continues)
    follower = FollowerService(
        partial(history.open_again, folder),
        recovered.database,
        catch_up=lambda database: _catch_up(folder, database, registry, writer.synced),
        thread=history.thread,
    )
    return Found(
        folder=folder,
        index=recovered.index,
        writer=writer,
        registry=registry,
        follower=follower,
        end_history=history.end,
        own_chains=own,
        frozen_chains={info.namespace: info.chain for info in ended},
        problems=recovered.problems,
        erasures=book,
        guard_notes=recovered.guard_notes,
    )


def _build_book(recovered: _Recovered, registry: FactRegistry, may_erase: ErasureRight) -> ErasureBook:
    book = ErasureBook(may_erase)
    book.retired.take(recovered.retired)
    for record in recovered.erasures:
        erasure = registry.decode(record)
        if isinstance(erasure, FactsErased):
            book.take(record, erasure)
    return book


def _may_continue(recovered: _Recovered) -> bool:
    """Whether the log's chains may go on, or new ones must open."""
    folder = recovered.folder
    may_continue = folder.is_new or folder.may_continue(recovered.cursor.position.frame_hash)
    return may_continue and not (recovered.is_damaged or recovered.cursor.is_cut)


def _continue_log(recovered: _Recovered, disk: Disk, *, continues: bool) -> LogWriter:
    """Take the log over from whoever left it."""
    folder = recovered.folder
    was_left_clean = folder.leave is not None and folder.leave.is_clean
    # The count goes by members: frames that were left out (damage before them, a repair's copy) hold none.
    position = recovered.cursor.position._replace(fact_count=recovered.index.position)
    if not was_left_clean and file_path(folder.path, position.file_number).is_file():
        sync_existing(folder.path, position, disk)
    folder.mark_open(position.frame_hash)
    return LogWriter(
        folder.path,
        journal=folder.journal_id,
        last=position,
        may_append=continues and was_left_clean and not recovered.has_tail,
        disk=disk,
    )


def _recover(
    path: Path,
    *,
    author: str | None,
    registry: FactRegistry,
    around: Surroundings,
    may_create: bool,
    find_database: OpenDatabase,
    on_opening: OnOpening | None = None,
) -> _Recovered:
    clock = around.clock
    folder = open_folder(path, label=author, random_bytes=around.random_bytes, may_create=may_create)
    index = JournalIndex(partial(read_run_bytes, folder.path))
    recovered = _Recovered(folder, index, LogCursor.at_start(journal=folder.journal_id), [], None)
    try:
        if folder.has_new_keys:
            recovered.problems.append(
                "keys were missing and made anew: this journal's owner is a new author from now on"
            )
        try:
            recovered.database = find_database(folder, clock.now_ms())
            if recovered.database.opening == "rebuilt":
                recovered.problems.append(f"journal.duckdb was rebuilt from the log: {recovered.database.reason}")
            elif recovered.database.opening == "created" and part_numbers(folder.path):
                recovered.problems.append("journal.duckdb was not there, so it was built anew from the log")
        except StoreUnavailable as problem:
            recovered.problems.append(str(problem))
        _resume_or_restart(recovered, clock, find_database)
        _read_tail(recovered, registry, on_opening)
        _find_unerased(recovered, registry)
    except BaseException:
        _close(recovered)
        raise
    return recovered


def _find_unerased(recovered: _Recovered, registry: FactRegistry) -> None:
    """Ask DuckDB which payloads it still holds that were to be erased: its rows go last."""
    named = {claim.fact_id for claim in _build_book(recovered, registry, DEFAULT_RIGHT).claims()}
    if named and recovered.database is not None:
        try:
            recovered.unerased = frozenset(recovered.database.unerased_of(named))
        except StoreUnavailable as problem:
            _do_without_database(recovered, problem)
    if recovered.database is not None and any(any(note.value.values()) for note in recovered.retired):
        try:
            recovered.unretired = recovered.database.load_unretired()
        except StoreUnavailable as problem:
            _do_without_database(recovered, problem)
    if recovered.database is None:
        recovered.unerased = frozenset(named)


def _resume_or_restart(recovered: _Recovered, clock: Clock, find_database: OpenDatabase) -> None:
    """Start from what DuckDB knows, or, where that is more than the log holds, from the log alone."""
    folder = recovered.folder
    try:
        if recovered.database is None or _resume(recovered):
            return
        recovered.is_damaged = True
        _set_aside(
            recovered,
            clock,
            "journal.duckdb knows more than the log holds; the log was read anew, so sync with a peer for the rest",
        )
        recovered.database = find_database(folder, clock.now_ms())
    except StoreUnavailable as problem:
        _do_without_database(recovered, problem)
    except Exception as problem:  # damage that DuckDB does not notice may look like anything, and the log has it all
        _set_aside(
            recovered,
            clock,
            f"journal.duckdb was rebuilt from the log: it makes no sense ({type(problem).__name__}: {problem})",
        )
        try:
            recovered.database = find_database(folder, clock.now_ms())
        except StoreUnavailable as refused:
            _do_without_database(recovered, refused)


def _set_aside(recovered: _Recovered, clock: Clock, problem: str) -> None:
    """Put the database away that was opened; another may be begun."""
    recovered.problems.append(problem)
    database, recovered.database = recovered.database, None
    if database is not None:
        database.close()
        set_aside(recovered.folder.path / DATABASE_FILE, now_ms=clock.now_ms())


def _do_without_database(recovered: _Recovered, problem: StoreUnavailable) -> None:
    """Go on with the log alone; the follower tries DuckDB again later."""
    recovered.problems.append(str(problem))
    database, recovered.database = recovered.database, None
    if database is not None:
        database.close()


def _resume(recovered: _Recovered) -> bool:
    """Take index and position from DuckDB; False when the log does not reach as far as DuckDB says."""
    database = recovered.database
    assert database is not None, "the caller opened it"
    position = database.position
    if not position.file_number:
        return True
    folder = recovered.folder.path
    if not _reaches(folder, position):
        return False
    index = _load_index(database)
    if index.position > position.fact_count and (index.forked() or index.holes()):
        # What two seals cover counts once.
        index.repeated_count = index.position - position.fact_count
        index.fact_count -= index.repeated_count
    if index.position != position.fact_count:
        return False
    registrations, erasures = database.load_registrations(), database.facts_of_kind(ERASURE_KIND)
    retired, guard_notes = database.load_retired(), database.load_guard_notes()
    # All of it was read, so it is taken over: a database that fails half-way leaves nothing behind.
    recovered.index = index
    index.read_run = partial(read_run_bytes, folder)
    recovered.registrations.extend(registrations)
    recovered.erasures.extend(erasures)
    recovered.retired.append(retired)
    recovered.guard_notes.extend(guard_notes)
    recovered.cursor = _cursor_at(position, index, folder=recovered.folder)
    return True


def _reaches(folder: Path, position: LogPosition) -> bool:
    """Whether the log goes as far as *position*; a segment holds all that its log file held."""
    file = file_path(folder, position.file_number)
    if file.is_file():
        return file.stat().st_size >= position.offset
    return segment_path(folder, position.file_number).is_file()


def _load_index(database: DuckdbFollower) -> JournalIndex:
    index = JournalIndex()
    stored = database.load_chains()
    for chain in stored:
        index.introduce(chain.info)
    for row in database.load_runs():
        if index.classify(row) is not Continuation.KNOWN:
            index.admit(row, hlc=0)
    index.take_bases(database.load_bases())
    index.collapsed_count = database.collapsed_count
    for chain in stored:
        index.introduce(chain.info)
        index.set_clock(chain.info.chain, chain.last_hlc)
    for link in database.load_links():
        chain_state = index.chain(ChainId(link.chain))
        if chain_state is not None:
            chain_state.links[ChainId(link.other)] = link.seq
    return index


def _cursor_at(position: LogPosition, index: JournalIndex, *, folder: JournalFolder) -> LogCursor:
    chains = {state.info.chain: (state.info, state.head) for state in index.chains()}
    return LogCursor(position, chains, folder.journal_id)


def _read_tail(recovered: _Recovered, registry: FactRegistry, on_opening: OnOpening | None) -> None:
    folder = recovered.folder.path
    parts = [number for number in part_numbers(folder) if number >= recovered.cursor.position.file_number]
    tell = on_opening if on_opening is not None and len(parts) > 1 else _tell_nobody
    part = 0
    gathered: list[LogFrame] = []
    damages: list[LogDamage] = []
    count = 0
    for frame in read_acknowledged(folder, recovered.cursor, doubtful=recovered.folder.doubtful):
        if isinstance(frame, LogDamage):
            recovered.is_damaged = True
            recovered.damaged_parts.add(frame.file_number)
            damages.append(frame)
            continue
        recovered.registrations.extend(frame.registrations)
        recovered.guard_notes.extend(note for note in frame.notes if note.kind.startswith(GUARD_PREFIX))
        admitted = _admit(recovered.index, frame)
        recovered.erasures.extend(record for run in admitted.runs for record in run.records_of(ERASURE_KIND))
        recovered.retired.extend(note for note in frame.notes if note.kind == RETIRED_NOTE)
        gathered.append(admitted)
        count += frame.fact_count
        if frame.position.file_number != part:
            part = frame.position.file_number
            tell(sum(number < part for number in parts), len(parts))
        if len(gathered) >= FRAMES_AT_ONCE or count >= CATCH_UP_FACTS:
            _apply_or_go_on(recovered, gathered, registry)
            gathered, count = [], 0
    _apply_or_go_on(recovered, gathered, registry)
    tell(len(parts), len(parts))
    if recovered.is_damaged or recovered.index.holes():
        recovered.index.settle_causes()
    recovered.problems.extend(_tell_damage(damages, recovered.index))
    # What the log holds twice (a repair's copy) counts once, so that positions mean members everywhere.
    position = recovered.cursor.position = recovered.cursor.position._replace(fact_count=recovered.index.position)
    if position.file_number:
        file = file_path(folder, position.file_number)
        recovered.has_tail = (
            not file.is_file()
            or file.stat().st_size != position.offset
            or any(number > position.file_number for number in part_numbers(folder))
        )


def _tell_nobody(done: int, total: int) -> None:
    """For openings that nobody watches, or that are over at once."""


def _tell_damage(damages: Iterable[LogDamage], index: JournalIndex) -> Iterator[str]:
    """Name each damaged place, and what is known to be missing for it."""
    holes = index.holes()
    advice = (
        "sync with a peer that holds these facts" if holes else "no chain has a gap, so it was repaired or was last"
    )
    for damage in damages:
        place = f"log file {damage.file_number}, bytes {damage.offset}..{damage.offset + damage.length}"
        yield f"{place}: {damage.reason}; {advice}"
    for hole in holes:
        yield f"facts {hole.from_seq}..{hole.to_seq} of chain {hole.chain.hex()[:8]} are missing; peers are asked first"


def _apply_or_go_on(recovered: _Recovered, frames: list[LogFrame], registry: FactRegistry) -> None:
    try:
        _apply(recovered.database, frames, registry, own_key=recovered.folder.writer.public_key)
    except StoreUnavailable as problem:
        _do_without_database(recovered, problem)


def _admit(index: JournalIndex, frame: LogFrame) -> LogFrame:
    """Admit a frame's runs; what is held already is left out."""
    for info in frame.chains:
        index.introduce(info)
    admitted = tuple(run for run in (admit_run(index, each) for each in frame.runs) if run is not None)
    index.take_bases(bases_of(frame.notes))
    return frame._replace(runs=admitted)


def _apply(database: DuckdbFollower | None, frames: list[LogFrame], registry: FactRegistry, *, own_key: bytes) -> None:
    """Hand frames to DuckDB. What this journal wrote itself was checked when it was committed; what others wrote is
    decoded, since views must not show all of it (5 µs a fact)."""
    if database is None or not frames:
        return
    runs = [run for frame in frames for run in frame.runs]
    hidden: dict[int, str] = {}
    place = 0
    for run in runs:
        if run.info.public_key != own_key:
            decoded = enumerate(map(registry.decode, run.records), place)
            hidden.update((at, found.code) for at, found in decoded if isinstance(found, FactProblem))
        place += run.fact_count
    database.apply_runs(
        runs,
        position=frames[-1].position._replace(fact_count=database.position.fact_count + place),
        hidden=hidden,
        registrations=[each for frame in frames for each in frame.registrations],
        notes=[note for frame in frames for note in frame.notes],
    )


def _catch_up(folder: JournalFolder, database: DuckdbFollower, registry: FactRegistry, end: LogPosition) -> None:
    """Feed the database everything after its position and up to *end*, from the log.

    Not beyond: a frame that is being written may yet turn out to be void.
    """
    index = _load_index(database)
    index.read_run = partial(read_run_bytes, folder.path)
    cursor = _cursor_at(database.position, index, folder=folder)
    gathered: list[LogFrame] = []
    count = 0
    for frame in read_log(folder.path, cursor):
        if isinstance(frame, LogFrame):
            if frame.position[:2] > end[:2]:
                break
            gathered.append(_admit(index, frame))
            count += frame.fact_count
        if count >= CATCH_UP_FACTS:
            _apply(database, gathered, registry, own_key=folder.writer.public_key)
            gathered, count = [], 0
    _apply(database, gathered, registry, own_key=folder.writer.public_key)


def _open_database(folder: JournalFolder, now_ms: int) -> DuckdbFollower:
    is_unclean = folder.leave is None or not folder.leave.is_clean
    return DuckdbFollower.open(
        folder.path / DATABASE_FILE,
        journal_id=folder.journal_id,
        now_ms=now_ms,
        is_unclean=is_unclean and not folder.is_new,
    )


def _own_chains(index: JournalIndex, folder: JournalFolder) -> list[OwnChain]:
    """The chain that this journal last opened in each namespace."""
    latest: dict[Namespace, OwnChain] = {}
    mine = [state for state in index.chains() if state.runs and state.info.public_key == folder.writer.public_key]
    for state in sorted(mine, key=lambda state: (state.runs[0].file_number, state.runs[0].offset)):
        foreign = {
            other.info.chain for other in index.chains(state.info.namespace) if other is not state and other.head.seq
        }
        latest[state.info.namespace] = OwnChain(
            state.info, state.head, is_introduced=True, fresh=foreign, covered=dict(state.links)
        )
    return list(latest.values())


def _writable(chains: list[OwnChain], recovered: _Recovered) -> list[OwnChain]:
    """Those that were not ended before, and of which everything is here: the numbers behind a hole are taken."""
    states = [(own, recovered.index.chain(own.info.chain)) for own in chains]
    ended = recovered.folder.ended
    return [own for own, state in states if own.info.chain not in ended and (state is None or not state.has_hole)]


async def _give_back(opening: asyncio.Future[_Recovered]) -> None:
    """An open that was cancelled half-way finishes in its thread and leaves nothing behind; give back what it took."""
    while not opening.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((opening,))
    if not opening.cancelled() and opening.exception() is None:
        _close(opening.result())


def _close(recovered: _Recovered) -> None:
    if recovered.database is not None:
        recovered.database.close()
    recovered.folder.release(None)

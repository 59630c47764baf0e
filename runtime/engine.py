"""The journal at work: commits go through one window into the log, then to views, peers and the DuckDB follower.

One event loop owns everything here; the log and DuckDB have a thread each. It decides little itself: sealing,
membership and folding are pure rooms below; this module carries their results to the disk and back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol

from reactivex.scheduler.eventloop import AsyncIOScheduler

from antiphon.facts import (
    DEFAULT_NAMESPACE,
    AuthorityId,
    ChainId,
    ChainInfo,
    Clock,
    Fact,
    FactId,
    FactProblem,
    FactRecord,
    FactRegistry,
    FactsErased,
    FactType,
    GenericFact,
    InvalidLine,
    LocalViolation,
    Namespace,
    Registration,
    authority_id,
    hlc_ms,
    take_back,
    with_record,
)
from antiphon.facts.fact import get_record
from antiphon.facts.ids import NAMESPACE_LENGTH_MAX
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal import (
    Continuation,
    Draft,
    JournalClosed,
    JournalFolder,
    JournalIndex,
    LogDamaged,
    LogWriter,
    OwnChain,
    PlacedRun,
    RunRow,
    SealedRun,
    StoreUnavailable,
    build_frame,
    is_seal_valid,
    open_chain,
    read_members,
    read_run_bytes,
    seal_run,
    with_links,
)
from antiphon.journal.bases import ChainBase, notes_of
from antiphon.journal.chain import RUN_FACTS_MAX, parse_seal_line
from antiphon.journal.erasure import ERASURE_KIND, ErasureBook, ErasureClaim
from antiphon.journal.forks import ForkProof
from antiphon.journal.frame import LocalNote
from antiphon.journal.guard_book import GuardBook
from antiphon.journal.index import Hole
from antiphon.journal.ingest import Ingest
from antiphon.journal.parking import Parking
from antiphon.journal.retention import RetentionItem, RetentionPlan
from antiphon.journal.stores.accounts import GUARD_PREFIX
from antiphon.journal.stores.duckdb import DuckdbFollower
from antiphon.journal.stores.position import row_of_seal
from antiphon.journal.stores.tables import ViewCheckpoint
from antiphon.journal.sync.messages import Acks, IncomingRun, IngestResult
from antiphon.reactive import AppError, SchedulerStatistics, SignalHub, SignalStatistics, Window

from .events import InvariantViolated, JournalCommitted, JournalRefused, ShutdownStage, kind_of
from .fact_sinks import FactSinks
from .follower import FollowerService, FollowerStatistics
from .fork_judge import VOID_CODE, ForkJudge
from .group_commit import PENDING_FRAMES_MAX, GroupCommit, Outgoing, Written
from .keeper import Collapsed, Erasing, Keeper
from .lull import Lull
from .problems import ProblemBook
from .recall import MemberReader
from .run_account import account_of, lagged_count, recomputation_count
from .surroundings import Surroundings
from .sync_status import SyncMonitor
from .tasks import OwnedTasks
from .view_host import CheckpointKey, ViewHost
from .witness import ForkWitness, Quarantine

# What a line adds to its payload: header, salt, punctuation.
LINE_OVERHEAD_BYTES = 190
# A local line without its lists, and a fact id in one of them.
NOTE_BYTES = 256
NOTE_ITEM_BYTES = 68
# Reading so many runs takes less than a window; more are read in a thread.
RUNS_READ_INLINE_MAX = 4
# Of a peer's facts so many are verified at a time, 1 ms of work; a run is never cut.
FACTS_A_TURN_MAX = 200
# While this journal commits without a pause, a peer has its turn after so many writes: neither waits for ever.
WRITES_FIRST = 4

# Folding so many facts again takes half a second; writing a view's state down, a few milliseconds.
CHECKPOINT_FACTS = 50_000

RunListener = Callable[[Sequence[RunRow]], None]


class CommitResult(NamedTuple):
    """What a commit became: its records in order, over how many windows."""

    records: tuple[FactRecord, ...]
    window_count: int


class Commit:
    """One call of ``commit``: facts that share a fate window by window."""

    __slots__ = ("_on_end", "accepted_at", "future", "note", "records", "remaining", "window_count")

    def __init__(
        self,
        future: asyncio.Future[CommitResult],
        remaining: int,
        *,
        note: LocalNote | None = None,
        on_end: Callable[[bool], None] | None = None,
    ) -> None:
        self.future = future
        self.accepted_at = future.get_loop().time()
        self.remaining = remaining
        # A local line that shares the frame of the facts, and whom to tell whether it is durable.
        self.note = note
        self._on_end = on_end
        self.records: list[FactRecord] = []
        self.window_count = 0

    def take(self, records: Sequence[FactRecord]) -> None:
        """Note that a window with *records* is durable."""
        self.records.extend(records)
        self.window_count += 1
        self.remaining -= len(records)
        if self.remaining == 0:
            self._end(True)
            if not self.future.done():
                self.future.set_result(CommitResult(tuple(self.records), self.window_count))

    def fail(self, problem: Exception) -> None:
        """Note that a window failed."""
        self._end(False)
        if not self.future.done():
            self.future.set_exception(problem)
            # Whoever closed the window was told by what it raised, and asks the future no more.
            self.future.exception()

    def give_up(self) -> None:
        """Note that it never came to a window."""
        self._end(False)
        self.future.cancel()

    def _end(self, is_durable: bool) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(is_durable)


class Noted(NamedTuple):
    """A local line in the open window of lines, and the commit that waits for it, if one does."""

    note: LocalNote
    commit: Commit | None = None


class Entry(NamedTuple):
    """A fact in the open window, encoded already."""

    fact: Fact
    namespace: Namespace
    draft: Draft
    commit: Commit


@dataclass(slots=True)
class Cargo:
    """What a frame carries, for the time when it is durable."""

    runs: tuple[SealedRun, ...]
    offsets: tuple[int, ...]
    facts: list[Fact]
    hidden: dict[int, str]
    registrations: tuple[Registration, ...] = ()
    chains: tuple[ChainInfo, ...] = ()
    commits: list[tuple[Commit, list[FactRecord]]] = field(default_factory=list)
    given: list[Fact] = field(default_factory=list)
    given_records: list[FactRecord] = field(default_factory=list)
    starts_file: bool = False
    is_foreign: bool = False
    notes: tuple[LocalNote, ...] = ()
    bases: tuple[ChainBase, ...] = ()
    done: asyncio.Future[None] | None = None


class AckKeeper(Protocol):
    """Who keeps the account of acknowledgements, when one is kept."""

    def acks_for(self, facts: Iterable[Fact | FactRecord], /) -> tuple[Acks, ...]:
        """What to tell a peer whose *facts* became durable here."""
        ...

    def take(self, acks: Acks, /) -> None:
        """Keep what a peer says to hold."""
        ...

    def note_agreed(self, journal_id: str, fact_count: int, /) -> None:
        """A peer and this journal held the same when this one had *fact_count* facts."""
        ...

    def introduction(self) -> Acks | None:
        """Whose journal this is, for peers that cannot know it otherwise and are told of acknowledgements."""
        ...

    def note_introduced(self, journal_id: str, authority: str, /) -> None:
        """Whose journal a peer's is, by its own word."""
        ...


class EngineStatistics(NamedTuple):
    """The insides of an engine.

    ``scheduler`` tells how views are run: batches, p50 and p95 from ``commit`` to signal (the newest 1,024 windows,
    while views are awake), what waits, and how often each view and live query was computed. ``signals`` tells how often
    each signal changed, who follows it and how much slow subscribers lost; ``follower`` how far DuckDB is behind.
    """

    fact_count: int
    window_count: int
    sync_count: int
    pending_frames: int
    pending_facts: int
    parked_runs: int
    refused_runs: int
    problems: tuple[str, ...]
    scheduler: SchedulerStatistics
    signals: tuple[SignalStatistics, ...]
    follower: FollowerStatistics

    @property
    def lagged_count(self) -> int:
        """How many snapshots slow subscribers lost, of all signals together."""
        return lagged_count(self.signals)

    @property
    def recomputation_count(self) -> int:
        """How often views, live queries and derived signals were computed."""
        return recomputation_count(self.scheduler, self.signals)


@dataclass(frozen=True, slots=True)
class Found:
    """What earlier lives left in a journal's folder, taken over and ready to go on."""

    folder: JournalFolder
    index: JournalIndex
    writer: LogWriter
    registry: FactRegistry
    follower: FollowerService
    end_history: Callable[[], None]
    """What ends the follower when the loop that it talks to is gone."""
    own_chains: Sequence[OwnChain] = ()
    frozen_chains: Mapping[Namespace, ChainId] = field(default_factory=dict)
    """The chain before the one that opens next, in each namespace."""
    problems: Sequence[str] = ()
    erasures: ErasureBook | None = None
    guard_notes: Sequence[LocalNote] = ()
    """What guards wrote down; taken in when somebody asks for the book."""


class JournalEngine:
    """An open journal: commit, ingest, publish.

    Built by ``opening.open_engine``, which reads the folder; from then on the loop that built it is its only user.
    """

    def __init__(self, found: Found, around: Surroundings, *, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._around = around
        self._clock = around.clock
        self.events = around.events
        self.namespace = namespace
        # What was found.
        self.folder = found.folder
        self.index = found.index
        self.index.read_run = self.read_run
        self.registry = found.registry
        self.follower = found.follower
        self._end_history = found.end_history
        self._problems = ProblemBook(found.problems)
        self.erasures = found.erasures if found.erasures is not None else ErasureBook()
        # What an earlier life was told to erase and had not done yet: until it is, no kept state of a view counts.
        self._has_unerased = False
        self._forgetting: asyncio.Future[None] | None = None
        self._guard_notes = tuple(found.guard_notes)
        self._guard_book: GuardBook | None = None
        # Who looks.
        rx = AsyncIOScheduler(self._loop)
        self.hub = SignalHub()
        self.sync_monitor = SyncMonitor(self.hub)
        self.views = self._build_views(rx)
        # The views are given each window first; what reads them inside a sink sees the facts already.
        self.sinks = FactSinks(lambda text: self.hub.report_error(AppError("sink-detached", text)))
        self.sinks.attach(self.views)
        self.acks: AckKeeper | None = None
        self._listeners: list[RunListener] = []
        self._facts_since_kept = 0
        # The way of a commit.
        self._types: dict[type[Fact], FactType] = {}
        self._has_mutable_types = False
        self._own: dict[Namespace, OwnChain] = {chain.info.namespace: chain for chain in found.own_chains}
        self._frozen: dict[Namespace, ChainId] = dict(found.frozen_chains)
        # Stamps from the far future order their own facts and nobody else's.
        self._hlc_seen = max((seen for seen in self.index.clocks() if self._is_near(seen)), default=0)
        self._window: Window[Entry] = Window(rx, self._close_window, size_of=entry_size)
        self._notes: Window[Noted] = Window(rx, self._close_notes, size_of=_noted_size)
        # Whether a commit of the open window brings a local line along.
        self._is_noted = False
        self._writer = found.writer
        self._frame_hash = found.writer.synced.frame_hash
        self._commits: GroupCommit[Cargo] = GroupCommit(
            found.writer, on_written=self._on_written, on_failed=self._on_failed, threads=around.threads
        )
        self._window_count = 0
        # The way of a peer's runs.
        self._ingesting = asyncio.Lock()
        self._parking = Parking()
        self._refused = 0
        self.quarantine = Quarantine(self.note, self._clock.now_ms)
        self._witness = ForkWitness(self, self.commit)
        self.judge = ForkJudge(self.index, self.read_run, self._on_judged)
        self._hiding = OwnedTasks()
        # Housekeeping, and the end.
        self.keeper = self._build_keeper()
        self._lull = Lull(self._loop, self._on_lull)
        self._before_closing: list[Callable[[], Awaitable[None]]] = []
        self._closing = asyncio.Lock()
        self._is_closed = self._is_given_back = False

    def _build_views(self, scheduler: AsyncIOScheduler) -> ViewHost:
        return ViewHost(
            self.hub,
            scheduler,
            self._clock,
            read_history=self.read_history,
            recall=self._build_member_reader(),
            decode=self._decode,
            on_damage=self._on_damage,
        )

    def _build_keeper(self) -> Keeper:
        return Keeper(
            self.folder.path,
            self._writer.disk,
            threads=self._around.threads,
            copy_forward=self._copy_forward,
            start_file=self._start_file,
            erase_rows=self.follower.erase,
            erasures=self.erasures,
            chains=lambda: [state.info for state in self.index.chains()],
            collapsed=self._collapsed,
            is_collapsed=lambda row: self.index.base_of(row) is not None,
            on_problem=self.note_problem,
            file_number=self._writer.synced.file_number,
            journal_id=self.folder.journal_id,
            runs_of=self._runs_of,
            find_runs=self._find_runs,
            late_openings=self._late_openings,
            is_anything_missing=self.index.is_anything_missing,
            on_lost=self._lose,
            now_ms=self._clock.now_ms,
        )

    @property
    def authority(self) -> AuthorityId:
        """Who acts when this journal commits."""
        return authority_id(self.folder.authority.public_key)

    @property
    def journal_id(self) -> str:
        """The journal's own id: 32 hex digits, not the name of a chain or an author."""
        return self.folder.journal_id

    @property
    def clock(self) -> Clock:
        """What this journal takes for the time."""
        return self._clock

    def random_bytes(self, count: int) -> bytes:
        """So many bytes of this journal's randomness."""
        return self._around.random_bytes(count)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    @property
    def is_left_open(self) -> bool:
        """Whether nobody closed it, in the process that opened it."""
        return not self._is_closed and os.getpid() == self._pid

    @property
    def problems(self) -> tuple[str, ...]:
        """What was found wrong since the opening: the first hundred, and how many more there were."""
        return self._problems.told()

    def note_problem(self, problem: str) -> None:
        """Keep a sentence for whoever asks what went wrong."""
        self._problems.note(problem)

    def report_view_failure(self, view_id: str, error: AppError) -> None:
        """Tell of a view that failed, on a fact or altogether; the first of each view is kept as a problem."""
        if error.fact_id is None:
            self._problems.note_once(view_id, error.code, error.text)
        else:
            self._problems.note_view(view_id, error.text)
        self.hub.report_error(error)

    # Facts in: commits of this journal

    async def commit(self, facts: Sequence[Fact], *, flush: bool = False) -> CommitResult:
        """Make *facts* durable; they share one window when they fit into one. Returns after the sync.

        Cancelling while it waits leaves every window wholly in or wholly out. Raises what the facts deserve before
        anything is taken, and ``StoreUnavailable`` when the disk refused; then nothing was acknowledged.
        """
        self._check_open()
        commit = Commit(asyncio.get_running_loop().create_future(), len(facts))
        if not facts:
            return CommitResult((), 0)
        # All of them are checked before the first is taken; between windows' worths others get a turn of the loop.
        parts: list[list[Entry]] = []
        for start in range(0, len(facts), self._window.count_max):
            if start:
                await asyncio.sleep(0)
            parts.append(self._prepare(facts[start : start + self._window.count_max], commit))
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(0)
            if self._commits.pending_count >= PENDING_FRAMES_MAX:
                await self._commits.wait_for_room()
            if not self.sinks.has_room:
                await self.sinks.wait_for_room()
            self._check_open()
            self._window.offer(part, _size_of_all(part))
        if flush:
            self._window.flush()
        return await commit.future

    async def commit_noted(
        self,
        facts: Sequence[Fact],
        note: LocalNote,
        *,
        on_end: Callable[[bool], None],
        on_offer: Callable[[], None] = lambda: None,
        flush: bool = False,
    ) -> CommitResult:
        """Make *facts* and a local line durable in one frame, or neither: what a guarded plan does and what it costs.

        *on_offer* is called when its place in the log is settled: a line that sums up all before it has to count it
        from then on, and not earlier. *on_end* is called exactly once, on the loop, with whether they are durable, also
        when the caller was cancelled meanwhile; the caller's own code runs after it. Raises as ``commit`` does, and
        ``LocalViolation`` for more facts than fit into one window.
        """
        commit = Commit(asyncio.get_running_loop().create_future(), len(facts), note=note, on_end=on_end)
        try:
            self._check_open()
            entries = self._prepare(facts, commit)
            size = _size_of_all(entries)
            if len(entries) > self._window.count_max or (len(entries) > 1 and size > self._window.bytes_max):
                raise LocalViolation(f"{len(entries)} facts of {size} bytes are more than one frame; make it two plans")
            if self._commits.pending_count >= PENDING_FRAMES_MAX:
                await self._commits.wait_for_room()
            if not self.sinks.has_room:
                await self.sinks.wait_for_room()
            self._check_open()
            if self._is_too_full(len(entries), size):
                self._window.flush()  # it must not take this line along
        except BaseException:
            commit.give_up()
            raise
        on_offer()
        if not entries:
            self._notes.offer_one(Noted(note, commit), NOTE_BYTES)
        else:
            self._is_noted = True
            self._window.offer(entries, size)
        if flush:
            self._notes.flush()
            self._window.flush()
        return await commit.future

    def _is_too_full(self, count: int, size: int) -> bool:
        window = self._window
        return window.pending_count + count > window.count_max or window.pending_bytes + size > window.bytes_max

    async def flush(self) -> None:
        """Close the open window now and return when all that was committed is durable, and shown by awake views."""
        self._notes.flush()
        self._window.flush()
        await self._commits.drain()
        await self.judge.settle()
        await self.views.settle()

    def register(self, models: Iterable[type[Fact]]) -> None:
        """Make fact types known; views that are awake decode facts of theirs from now on."""
        for model in models:
            self._learn(model)

    async def record_types(self) -> None:
        """Write down types that were registered since the last window, for whoever asks the history by their fields.

        Nothing happens when there are none, and in a journal without facts: its first window brings them.
        """
        self._check_open()
        if not self.index.fact_count or not (registrations := self.registry.unrecorded()):
            return
        await self._commits.wait_for_room()
        with suppress(StoreUnavailable):  # told where it happened; the history answers what it can
            await self._copy_forward(registrations, ())

    # Facts in: runs of peers

    async def ingest(self, runs: Sequence[IncomingRun], *, peer: str = "") -> IngestResult:
        """Verify runs from *peer*, make the members durable in one frame, and say what became of each.

        Membership is decided by header, links and seal alone; what views must not show is a member all the same.
        """
        self._check_open()
        async with self._ingesting:
            self._check_open()
            self._yield_rolled_back_chains(runs)
            await self._read_what_may_repeat(runs)
            in_flight = [chain.info.chain for chain in self._own.values()]
            ingest = Ingest(self.index, self._parking, in_flight, peer=peer, erasures=self.erasures)
            result = await self._take_in_turns(ingest, runs)
            self._refused += len(result.refused)
            for evidence in ingest.evidence:
                self.quarantine.keep_run(peer, evidence)
            holes = self.index.holes() if ingest.runs and not ingest.bases else []
            durable = await self._write_foreign(ingest) if ingest.runs or ingest.bases else []
            self._tell_repaired(holes, peer)
        if ingest.runs or ingest.bases:
            self._witness.note(each for each in durable if isinstance(each, Fact))
            chains = {run.seal.chain for run in ingest.runs} | {base.info.chain for base in ingest.bases}
            await self._witness.look(chains)
            await self.judge.settle()
        # Only now, when they are durable; and only to whoever sent them, which a parked run of another peer is not.
        if self.acks is None or not durable:
            return result
        return result._replace(acks=self.acks.acks_for(_of_runs(runs, durable)))

    async def _take_in_turns(self, ingest: Ingest, runs: Sequence[IncomingRun]) -> IngestResult:
        """Decide *runs* a millisecond's worth at a time; windows that are on their way to the disk go first."""
        result = ingest.take(())
        for part in _in_turns(runs):
            await self._commits.give_way(writes_max=WRITES_FIRST)
            result = ingest.take(part)
        ingest.erase()
        return result

    def _yield_rolled_back_chains(self, runs: Sequence[IncomingRun]) -> None:
        """Freeze own chains of which a peer holds more than this journal does: a disk was rolled back under us."""
        for run in runs:
            own = self._own.get(run.info.namespace)
            if own is None or own.info.chain != run.info.chain or own.head != self.index.head_of(own.info.chain):
                continue
            row = _row_if_sealed(run, own.info.public_key)
            if row is not None and self.index.classify(row) is not Continuation.KNOWN:
                self._freeze(own)
                self.note_problem(
                    f"a peer holds facts of chain {own.info.text[:8]} that this journal does not: it was frozen, a new "
                    "one opens"
                )

    async def _read_what_may_repeat(self, runs: Sequence[IncomingRun]) -> None:
        """Before a fork comes in: the ids of the facts behind it, since two seals may cover the same. In a thread."""
        for run in runs:
            row = _row_of(run)
            rows = self.index.unread(row) if row is not None else []
            if row is not None and len(rows) > RUNS_READ_INLINE_MAX:
                with suppress(LogDamaged, StoreUnavailable):  # told again, and answered, by whoever needs them
                    self.index.learn_ids(row, rows, await asyncio.to_thread(self._read_ids, rows))

    def _tell_repaired(self, before: Sequence[Hole], peer: str) -> None:
        """Name what a peer's runs brought back."""
        left = {(hole.chain, hole.to_id) for hole in self.index.holes()} if before else set()
        for hole in before:
            if (hole.chain, hole.to_id) not in left:
                source = f" by {peer}" if peer else ""
                self.note_problem(
                    f"facts {hole.from_seq}..{hole.to_seq} of chain {hole.chain.hex()[:8]}, lost here, were repaired"
                    f"{source}"
                )
        if self.keeper.has_damage and not self.index.is_anything_missing():
            self.keeper.mend()

    async def witness(self, proof: ForkProof) -> None:
        """Keep a peer's proof that a chain is forked, as a fact, unless one is kept already."""
        self._check_open()
        await self._witness.keep(proof)

    def refuse_bytes(self, peer: str, reason: str, data: bytes) -> None:
        """Keep a piece of what a peer sent that was no message."""
        self.quarantine.keep(peer, reason, data)

    async def read_kind(self, kind: str) -> list[FactRecord]:
        """Every member of one kind; see ``read_kinds``."""
        return await self.read_kinds((kind,))

    async def read_kinds(self, kinds: Collection[str]) -> list[FactRecord]:
        """Every member of these kinds, from DuckDB, or from the log while that is not to be had."""
        try:
            return await self.follower.run(lambda database: list(database.facts_of(kinds)))
        except StoreUnavailable:
            placed, read = self.read_history(0)
            return await asyncio.to_thread(
                lambda: list(read_members(placed, read, kinds=frozenset(kinds), on_damage=self._on_damage))
            )

    def decode_fact(self, record: FactRecord) -> object:
        """A record as its type, or as the problem that it has."""
        return self.registry.decode(record)

    def _read_ids(self, rows: Sequence[RunRow]) -> list[FactId]:
        return [fact_id for row in rows for fact_id in self.index.read_ids(row)]

    # Runs out: peers and links

    def read_run(self, row: RunRow) -> bytes:
        """The bytes of a durable run, as they were sealed; of one that was collapsed, its base."""
        base = self.index.base_of(row)
        return base.encode() if base else read_run_bytes(self.folder.path, row, segments=self.keeper.segments)

    def take_acks(self, acks: Acks) -> None:
        """Keep what a peer acknowledged, if an account is kept."""
        if self.acks is not None:
            self.acks.take(acks)

    def note_agreed(self, journal_id: str, fact_count: int) -> None:
        """A peer holds the first *fact_count* facts of this journal."""
        if self.acks is not None:
            self.acks.note_agreed(journal_id, fact_count)

    def introduction(self) -> Acks | None:
        """See ``Introducing``; O(chains)."""
        return None if self.acks is None else self.acks.introduction()

    def note_introduced(self, journal_id: str, authority: str, /) -> None:
        """See ``Introducing``."""
        if self.acks is not None:
            self.acks.note_introduced(journal_id, authority)

    def note(self, *notes: LocalNote) -> None:
        """Write local lines with the next frame, within 5 ms; they are kept by this node and never leave it."""
        self._check_open()
        self._notes.offer([Noted(note) for note in notes], sum(map(_note_size, notes)))

    def add_closer(self, close: Callable[[], Awaitable[None]]) -> None:
        """Await *close* first when the journal closes: the last to come is the first to go."""
        self._before_closing.append(close)

    def add_run_listener(self, listener: RunListener) -> Callable[[], None]:
        """Call *listener* on the loop with the new runs of each durable frame; the result removes it again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def statistics(self) -> EngineStatistics:
        """A frozen record of the insides."""
        return EngineStatistics(
            fact_count=self.index.fact_count,
            window_count=self._window_count,
            sync_count=self._commits.sync_count,
            pending_frames=self._commits.pending_count,
            pending_facts=self._window.pending_count,
            parked_runs=len(self._parking),
            refused_runs=self._refused,
            problems=self.problems,
            scheduler=self.views.scheduler.statistics(),
            signals=self.hub.statistics(),
            follower=self.follower.statistics(),
        )

    async def start_file(self) -> None:
        """Let the log go on in a new file, so that all before it can be sealed; returns when that is durable."""
        self._check_open()
        await self._commits.wait_for_room()
        await self._start_file()

    def _start_file(self) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        self._submit(Cargo((), (), [], {}, starts_file=True, done=done))
        return done

    @property
    def guard_book(self) -> GuardBook:
        """What this journal spent, revealed and still has to send; read when it is first asked for."""
        if self._guard_book is None:
            self._guard_book = GuardBook(self.journal_id, notes=self._guard_notes)
            self._guard_notes = ()
        return self._guard_book

    def _copy_forward(self, registrations: Sequence[Registration], notes: Sequence[LocalNote]) -> asyncio.Future[None]:
        """Write again what only a file that is about to be sealed still holds."""
        done = asyncio.get_running_loop().create_future()
        kept = [note for note in notes if not note.kind.startswith(GUARD_PREFIX)]
        if len(kept) < len(notes):
            # In place of all of them, what they come to; what is on its way has to stand before it.
            self._notes.flush()
            self._window.flush()
            notes = [*kept, self.guard_book.state_note()]
        self._submit(Cargo((), (), [], {}, tuple(registrations), notes=tuple(notes), done=done))
        return done

    async def close(self) -> None:
        """Flush, then stop the pipeline, the follower and the log, and give the lock back. Closing twice is fine.

        Cancelled meanwhile, it goes on until the folder is given back, and only then lets the cancellation through. In
        a forked child it does nothing: the folder is its parent's. When the loop it was opened on has ended, nothing
        can be flushed any more: the folder is given back as a crash would leave it, with all that was acknowledged.
        """
        if os.getpid() != self._pid:
            return
        if self._loop.is_closed():
            self._abandon()
            return
        cancelled: asyncio.CancelledError | None = None
        while not self._is_given_back:
            try:
                await self._close()
            except asyncio.CancelledError as problem:
                cancelled = problem
        if cancelled is not None:
            raise cancelled

    def kill(self) -> None:
        """Give nothing back but the lock, as the end of a process does; for a simulator, which ends one among many.

        Whatever still runs for this engine must not reach the disk any more; that is the caller's to see to.
        """
        if not self._is_given_back:
            self._is_closed = self._is_given_back = True
            self._lull.close()
            self.folder.release(None)

    def _abandon(self) -> None:
        """Give the folder back without the loop."""
        if self._is_given_back:
            return
        self._is_closed = self._is_given_back = True
        self._lull.close()
        self.keeper.abandon()
        self._commits.abandon()
        self._end_history()
        self.folder.release(None)

    async def _close(self) -> None:
        """Each step may be interrupted and begun again."""
        async with self._closing:
            if self._is_given_back:
                return
            self._tell_stage("services")
            while self._before_closing:
                await self._before_closing[-1]()
                self._before_closing.pop()
            self._is_closed = True
            self._tell_stage("pipeline")
            try:
                self._notes.flush()
                self._window.flush()
            finally:
                async with self._ingesting:  # what a peer sent before is written before the log is closed
                    await self._commits.drain()
                self._lull.close()
                self._tell_stage("tasks")
                await self.judge.settle()
                await self._hiding.settle()
                await self.views.close()
                await self._keep_checkpoints()
                self._tell_stage("stores")
                await self.keeper.close()
                await self.follower.close()
                position = await self._commits.close()
                self._is_given_back = True
                self.folder.last_run = account_of(
                    window_count=self._window_count,
                    scheduler=self.views.scheduler.statistics(),
                    signals=self.hub.statistics(),
                )
                self.folder.release(position)
                self._tell_stage("done")

    def _tell_stage(self, stage: str) -> None:
        if self.events.is_heard:
            self.events.emit(ShutdownStage(service="journal", stage=stage))

    # The window

    def _prepare(self, facts: Sequence[Fact], commit: Commit) -> list[Entry]:
        """Check and encode *facts* for the window; ~0.8 µs each, on the way of every commit."""
        entries: list[Entry] = []
        # Building a named tuple through its class costs twice as much.
        new_draft = new_entry = tuple.__new__
        model: type[object] | None = None
        for fact in facts:
            if type(fact) is not model:
                model = type(fact)
                fact_type = self._types.get(type(fact)) or self._learn(type(fact))
                kind, version, encode, time = fact_type.kind, fact_type.version, fact_type.encode, fact_type.time
                namespace, context = self.namespace, None
            if fact_type.names_context and (named := fact_type.context_of(fact)) != context:
                namespace, context = _namespace_of(fact_type, named, self.namespace), named
            draft = new_draft(Draft, (kind, version, encode(fact), fact.__dict__[time] if time else None, ()))
            entries.append(new_entry(Entry, (fact, namespace, draft, commit)))
        return entries

    def _learn(self, model: type[Fact]) -> FactType:
        if not issubclass(model, Fact):
            raise LocalViolation(_no_fact(model))
        fact_type = self.registry.register(model)
        # A newer class of the same kind takes over: the older one is asked about again, and refused.
        self._types = {known: each for known, each in self._types.items() if each.kind != fact_type.kind}
        self._types[model] = fact_type
        self._has_mutable_types = self._has_mutable_types or fact_type.has_mutable_fields
        return fact_type

    def _close_window(self, entries: list[Entry]) -> None:
        try:
            self._seal(entries)
        except BaseException as problem:
            # A chain may have moved on without its frame; its numbers are not used again.
            self._freeze(*self._own.values())
            self.events.emit(InvariantViolated(service="journal", error_kind=kind_of(problem)))
            for entry in entries:
                entry.commit.fail(problem if isinstance(problem, Exception) else JournalClosed(str(problem)))
            raise

    def _seal(self, entries: list[Entry]) -> None:
        if os.getpid() != self._pid:
            raise LocalViolation("a forked child may not write to a journal; open it in one process only")
        wall_ms = self._clock.now_ms()
        registrations = self.registry.unrecorded()
        runs: list[SealedRun] = []
        introduced: list[ChainInfo] = []
        # Parallel lists, not pairs: what lives until the sync is what the garbage collector walks again and again.
        ordered: list[Entry] = []
        placed: list[FactRecord] = []
        for namespace, group in _by_namespace(entries):
            chain, drafts = self._chain_for(namespace, list(map(_DRAFT_OF, group)), wall_ms)
            if not chain.is_introduced:
                introduced.append(chain.info)
                chain.is_introduced = True
            records: list[FactRecord] = []
            # What opens a chain or merges heads comes on top of a full window, and would not fit into one run with it.
            for part in _runs_of(drafts, own_count=len(group)):
                run = seal_run(
                    chain,
                    part,
                    wall_ms=wall_ms,
                    hlc_floor=self._hlc_floor(wall_ms),
                    randomness=self.random_bytes(16 * len(part)),
                    signer=self.folder.writer,
                )
                runs.append(run)
                records.extend(run.records)
            ordered.extend(group)
            placed.extend(records[len(drafts) - len(group) :])
        notes: tuple[LocalNote, ...] = ()
        if self._is_noted:
            self._is_noted = False
            notes = tuple(commit.note for commit in dict.fromkeys(map(_COMMIT_OF, entries)) if commit.note is not None)
        cargo = Cargo(tuple(runs), (), [], {}, registrations, tuple(introduced), given_records=placed, notes=notes)
        cargo.given = [entry.fact for entry in ordered]
        self._submit(cargo)
        # From here on the log's thread is at work, so whatever can wait until now costs the window nothing.
        cargo.facts = list(map(with_record, cargo.given, placed))
        if self._has_mutable_types:
            cargo.facts = self._as_sealed(cargo.facts)
        cargo.commits = _by_commit(entries, ordered, placed)

    def _as_sealed(self, facts: list[Fact]) -> list[Fact]:
        """What views are given: a fact whose lists its author may still change is read back from its sealed bytes."""
        sealed = (self._decode(fact.record) if fact.fact_type.has_mutable_fields else fact for fact in facts)
        return [fact for fact in sealed if fact is not None]

    def _chain_for(self, namespace: Namespace, drafts: list[Draft], wall_ms: int) -> tuple[OwnChain, list[Draft]]:
        """The chain that takes *drafts*, after the opening and the causal links that belong before them."""
        chain = self._own.get(namespace)
        if chain is None or hlc_ms(chain.head.hlc) > wall_ms + SKEW_MS_MAX:
            chain, opening = open_chain(
                namespace=namespace,
                writer=self.folder.writer,
                authority=self.folder.authority,
                nonce=self.random_bytes(16),
                device=self.folder.journal_id,
                label=self.folder.label,
                predecessor=chain.info.chain if chain else self._frozen.get(namespace),
                fresh=[state.info.chain for state in self.index.chains(namespace) if state.head.seq],
            )
            self._own[namespace] = chain
            drafts = [opening, *drafts]
        if chain.fresh:
            links = chain.uncovered(self.index)
            chain.cover(links)
            if drafts[0].kind == "journal.chain_opened":
                drafts = [drafts[0]._replace(after=links[:64]), *with_links(drafts[1:], links[64:])]
            else:
                drafts = with_links(drafts, links)
        return chain, drafts

    def _hlc_floor(self, wall_ms: int) -> int:
        return self._hlc_seen + 1 if self._is_near(self._hlc_seen, wall_ms) else 0

    def _is_near(self, hlc: int, wall_ms: int | None = None) -> bool:
        """Whether a stamp is not so far ahead of the wall that it must not drag this journal's clock along."""
        return hlc_ms(hlc) <= (self._clock.now_ms() if wall_ms is None else wall_ms) + SKEW_MS_MAX

    def _freeze(self, *chains: OwnChain) -> None:
        """End own chains where they are; what is committed next opens new ones that name them as predecessors.

        The lock file hears of it at once (one small sync, seldom): a kill may follow, and the log does not show it.
        """
        for chain in chains:
            namespace = chain.info.namespace
            self._own.pop(namespace, None)
            self.folder.ended.add(chain.info.chain)
            if self.index.head_of(chain.info.chain).seq:
                self._frozen[namespace] = chain.info.chain
        if chains and self.is_left_open:
            with suppress(StoreUnavailable):  # a disk that takes nothing: closing tries again
                self.folder.mark_open(self._writer.synced.frame_hash)

    def _submit(self, cargo: Cargo) -> None:
        frame = build_frame(
            self._frame_hash, cargo.runs, chains=cargo.chains, registrations=cargo.registrations, notes=cargo.notes
        )
        self._frame_hash = frame.frame_hash
        self._window_count += 1
        cargo.offsets = frame.run_offsets
        if cargo.registrations:
            self.registry.remember(cargo.registrations)
        count = sum(len(run.records) - len(run.repeated) for run in cargo.runs)
        self._commits.submit(Outgoing(frame.data, frame.frame_hash, count, cargo, cargo.starts_file))

    def _close_notes(self, noted: list[Noted]) -> None:
        cargo = Cargo((), (), [], {}, notes=tuple(each.note for each in noted))
        cargo.commits = [(each.commit, []) for each in noted if each.commit is not None]
        try:
            self._submit(cargo)
        except BaseException as problem:
            for commit, _ in cargo.commits:
                commit.fail(problem if isinstance(problem, Exception) else JournalClosed(str(problem)))
            raise

    # What is durable

    def _on_written(self, written: Sequence[Written[Cargo]]) -> None:
        self.folder.doubtful = ""  # what is durable stands in a file that says what came before it
        for item in written:
            self._publish(item)
        self.keeper.note_file(written[-1].file_number)

    def _publish(self, item: Written[Cargo]) -> None:
        cargo = item.cargo
        rows: list[RunRow] = []
        records: list[FactRecord] = []
        repaired: set[str] = set()
        for run, offset in zip(cargo.runs, cargo.offsets, strict=True):
            row = run.row(file_number=item.file_number, offset=item.offset + offset)
            last = run.records[-1]
            if self.index.introduce(last.chain).is_lost(row):
                repaired.update(record.kind for record in run.records)
            repeated = self.index.admit(row, hlc=last.hlc, records=run.records)
            assert repeated == run.repeated, "what a frame counts is what the index counts"
            if last.hlc > self._hlc_seen and self._is_near(last.hlc):
                self._hlc_seen = last.hlc
            rows.append(row)
            records.extend(run.new_records)
            if cargo.is_foreign:
                own = self._own.get(last.chain.namespace)
                if own is not None and own.info.chain != last.chain.chain:
                    own.fresh.add(last.chain.chain)
        self.index.take_bases(cargo.bases)
        for base in cargo.bases:
            own = self._own.get(base.info.namespace)
            if own is not None and not base.is_own:
                own.fresh.add(base.info.chain)
        if any(base.is_own for base in cargo.bases):
            self.views.fold_waking_anew()  # what was kept of them was counted with what is gone
        for commit, committed in cargo.commits:
            commit.take(committed)
        if cargo.done is not None and not cargo.done.done():
            cargo.done.set_result(None)
        self.judge.take(cargo.runs, cargo.bases)
        if self.erasures.retired and not cargo.is_foreign:
            # Older than the horizon by its own time, though it was said only now: folded again it would not be there.
            retired = self.erasures.retired
            cargo.facts = [fact for fact in cargo.facts if not retired.is_retired(get_record(fact))]
        self.views.accepted_at = cargo.commits[0][0].accepted_at if cargo.commits else None
        self.sinks.deliver(self._binding(cargo.facts))
        if repaired:
            self.views.forget(frozenset(repaired))  # a view that woke up meanwhile has not got these facts
        if any(record.kind == ERASURE_KIND for record in records):
            self._take_erasures(records)
        self.follower.offer(records, item.position, rows, cargo.registrations, cargo.chains, cargo.hidden, cargo.notes)
        told = [*rows, *(row_of_seal(base.seal) for base in cargo.bases if not base.is_own)]
        for listener in tuple(self._listeners):
            listener(told)
        self._lull.note(len(records))
        if self.events.is_heard:
            origin = "peer" if cargo.is_foreign else "own"
            self.events.emit(JournalCommitted(service="journal", origin=origin, fact_count=len(records)))
        self._facts_since_kept += len(records)
        if self._facts_since_kept >= CHECKPOINT_FACTS:
            self._facts_since_kept = 0
            self._loop.call_soon(self._keep_checkpoints_soon)

    def _on_lull(self) -> None:
        """Do what is better done while nobody commits."""
        self.keeper.use_lull()
        self.follower.use_lull()

    def _binding(self, facts: list[Fact]) -> list[Fact]:
        """What views are given: not what a forked author's word no longer gives."""
        if not self.judge.void_count:
            return facts
        return [fact for fact in facts if not self.judge.is_void(get_record(fact))]

    def _on_judged(self, void: Mapping[bytes, str], binding: Mapping[bytes, str]) -> None:
        """Let views and tables follow what became void, and what no longer is."""
        self.views.forget(frozenset((*void.values(), *binding.values())))
        reasons: dict[bytes, str | None] = {**dict.fromkeys(void, VOID_CODE), **dict.fromkeys(binding, None)}

        def hide(database: DuckdbFollower) -> None:
            database.hide(reasons, over=VOID_CODE)

        self._hiding.start(self._hide(hide))

    async def _hide(self, hide: Callable[[DuckdbFollower], None]) -> None:
        with suppress(StoreUnavailable):  # the next opening judges again
            await self.follower.run(hide)

    def _take_erasures(self, records: Sequence[FactRecord]) -> None:
        """Let views, files and tables forget what erasures among *records* name and have the right to."""
        claims: list[ErasureClaim] = []
        for record in records:
            if record.kind == ERASURE_KIND and isinstance(erasure := self.registry.decode(record), FactsErased):
                claims.extend(self.erasures.take(record, erasure))
        if claims:
            self.forget(claims)

    def forget(self, claims: Sequence[ErasureClaim]) -> None:
        """Begin to forget what rightful *claims* name, as far as it is here; the rest waits for what it names."""
        self._forget_facts(
            claim
            for claim in claims
            if (state := self.index.chain(claim.chain)) is not None and self.erasures.is_rightful(claim, state.info)
        )

    async def retire(self, plan: RetentionPlan) -> None:
        """Let go of the payloads that *plan* names, on this node: noted durably first, then gone from views, and from
        files and DuckDB when this returns. ``StoreUnavailable`` when something here could not be rewritten yet."""
        notes = tuple(plan.notes())
        self.note(*notes)
        await self.flush()
        self.erasures.retired.take(notes)
        # Not the plan's: facts may have come since that the horizons cover.
        self.forget_retired(await self.follower.run(lambda database: database.load_unretired()))
        await self.forgotten()

    async def collapse(self, find: Callable[[], Awaitable[Sequence[ChainBase]]]) -> tuple[ChainBase, ...]:
        """Let chains begin at the bases that *find* says, durably, as on a replica that was sent them: what lies below
        is not held any more, neither here nor, when this returns, in log files, segments and DuckDB.

        Nothing comes in meanwhile. What a crash leaves in the files is passed over by every reader, and goes with the
        next call.
        """
        self._check_open()
        async with self._ingesting:
            bases = tuple(await find())
            gone = {(base.info.chain, base.seal.from_id, base.seal.to_id) for base in bases}
            runs = [run for chain in {base.info.chain for base in bases} for run in self._runs_among(chain, gone)]
            if bases:
                done = asyncio.get_running_loop().create_future()
                self._submit(Cargo((), (), [], {}, notes=notes_of(bases), bases=bases, done=done))
                await done
        await asyncio.shield(self.keeper.drop_collapsed({run.file_number for run in runs}))
        return bases

    def _runs_among(self, chain: ChainId, keys: Collection[tuple[ChainId, bytes, bytes]]) -> list[RunRow]:
        state = self.index.chain(chain)
        held = state.runs if state is not None else []
        return [run for run in held if (chain, run.first_previous_id, run.last_id) in keys]

    def _collapsed(self) -> frozenset[Collapsed]:
        """Where the runs end of which this journal holds bases only."""
        return frozenset(
            (state.info.chain, run.last_seq, run.last_id[:16])
            for state in self.index.chains()
            for run in state.collapsed
        )

    def forget_retired(self, items: Iterable[RetentionItem]) -> None:
        """Begin to forget what was let go because of its age."""
        self._forget_facts(items)

    def _forget_facts(self, facts: Iterable[ErasureClaim | RetentionItem]) -> None:
        runs: dict[RunRow, PlacedRun] = {}
        held: list[ErasureClaim | RetentionItem] = []
        for fact in facts:
            state = self.index.chain(fact.chain)
            rows = state.runs_with(fact.seq) if state is not None else []
            if state is not None and rows:
                held.append(fact)
                runs.update((row, PlacedRun(state.info, row)) for row in rows)
        if held:
            self.views.forget(frozenset(fact.kind for fact in held))
            self._has_unerased = True
            self._forgetting = self.keeper.erase(Erasing(tuple(runs.values()), tuple(fact.fact_id for fact in held)))
            self._forgetting.add_done_callback(self._note_forgotten)

    def _runs_of(self, file_number: int) -> list[PlacedRun]:
        """The runs that are held in a part of the log; O(runs)."""
        return [
            PlacedRun(state.info, row)
            for state in self.index.chains()
            for row in state.runs
            if row.file_number == file_number
        ]

    def _late_openings(self) -> list[PlacedRun]:
        """The runs that begin chains of which other runs lie further ahead in the log, as after a repair."""
        found: list[PlacedRun] = []
        for state in self.index.chains():
            first, *others = state.runs or (None,)
            if first is not None and first.first_seq == 1:
                place = (first.file_number, first.offset)
                if any((run.file_number, run.offset) < place for run in others):
                    found.append(PlacedRun(state.info, first))
        return found

    def _find_runs(self, chain: ChainId, seq: int) -> list[RunRow]:
        state = self.index.chain(chain)
        return state.runs_with(seq) if state is not None else []

    def _lose(self, rows: Sequence[RunRow]) -> None:
        """Take it that these runs cannot be read any more: holes from now on, until a peer brings them again."""
        for row in rows:
            state = self.index.chain(ChainId(row.chain))
            if state is None or row not in state.runs:
                continue
            own = self._own.get(state.info.namespace)
            if own is not None and own.info.chain == state.info.chain:
                self._freeze(own)  # a chain that peers are asked about is not written
            stranded = self.index.lose(row)
            for other in [*self._own.values()]:
                if other.info.chain in stranded:
                    self._freeze(other)  # nobody takes in what follows from facts that are missing
            self.follower.do_behind(partial(DuckdbFollower.lose_run, run=row))
            self.note_problem(
                f"facts {row.first_seq}..{row.last_seq} of chain {state.info.text[:8]} cannot be read any more; peers "
                "are asked first"
            )

    def _note_forgotten(self, done: asyncio.Future[None]) -> None:
        if done is self._forgetting and not done.cancelled() and done.exception() is None and not self._is_closed:
            self._has_unerased = False

    async def forgotten(self) -> None:
        """Return when what was to be erased is gone from views, files and DuckDB; raises what stood in the way."""
        await self.views.settle()
        if self._forgetting is not None:
            await asyncio.shield(self._forgetting)

    def _on_failed(self, cargoes: Sequence[Cargo], problem: StoreUnavailable) -> None:
        # Numbers that may have reached the disk are never used again: what is committed next opens new chains.
        self.folder.doubtful = self._writer.synced.frame_hash
        self._freeze(*self._own.values())
        self._frame_hash = self._writer.synced.frame_hash
        self.registry.forget(registration for cargo in cargoes for registration in cargo.registrations)
        for cargo in cargoes:
            for commit, _ in cargo.commits:
                commit.fail(problem)
            for fact, record in zip(cargo.given, cargo.given_records, strict=True):
                take_back(fact, record)
            if cargo.done is not None and not cargo.done.done():
                cargo.done.set_exception(problem)
        self.hub.report_error(AppError("store-unavailable", str(problem)))
        self.events.emit(JournalRefused(service="journal", error_kind="store-unavailable"))

    async def _write_foreign(self, batch: Ingest) -> list[Fact | FactRecord]:
        """Make a batch durable; its facts, as records where they cannot be decoded here."""
        await self._commits.wait_for_room()
        await self.sinks.wait_for_room()
        facts: list[Fact] = []
        durable: list[Fact | FactRecord] = []
        hidden: dict[int, str] = {}
        troubles: dict[tuple[str, str], list[FactProblem]] = {}
        place = 0
        for run in batch.runs:
            for record in run.new_records:
                decoded = self.registry.decode(record)
                durable.append(decoded if isinstance(decoded, Fact) else record)
                if isinstance(decoded, Fact):
                    facts.append(decoded)
                elif isinstance(decoded, FactProblem):
                    hidden[place] = decoded.code
                    troubles.setdefault((record.kind, decoded.code), []).append(decoded)
                else:
                    self._tell_newer(record)
                place += 1
        for alike in troubles.values():
            self._report(alike[0], more_count=len(alike) - 1)
        done = asyncio.get_running_loop().create_future()
        self._submit(
            Cargo(
                tuple(batch.runs),
                (),
                facts,
                hidden,
                self.registry.unrecorded(),
                tuple(batch.introduced),
                [],
                is_foreign=True,
                notes=notes_of(batch.bases),
                bases=tuple(batch.bases),
                done=done,
            )
        )
        await done
        return durable

    # Reading back

    async def load_checkpoint(self, key: CheckpointKey) -> ViewCheckpoint | None:
        """A view's kept state, when it was made from a beginning of this very log; None without one or without
        DuckDB."""
        collapsed_count = self.index.collapsed_count
        try:
            found = await self.follower.run(
                lambda database: database.load_checkpoint(
                    view=key.view, version=key.version, schema_hash=key.schema_hash
                )
            )
        except StoreUnavailable:
            return None
        is_unsound = self._has_unerased or self.index.forked() or self.index.repeated_count
        is_unsound = is_unsound or collapsed_count != self.index.collapsed_count
        if found is None or found.position > self.index.fact_count or is_unsound:
            return None  # it may hold what is void since; and what stands in the log twice makes positions say little
        is_stale = found.position == self.index.fact_count and found.root.hex() != self.index.fingerprint()
        return None if is_stale else found

    async def _keep_checkpoints(self) -> None:
        save = self._checkpoint_saver()
        if save is not None:
            with suppress(StoreUnavailable):  # the next opening folds the history instead
                await self.follower.run(save)

    def _keep_checkpoints_soon(self) -> None:
        """Keep the views' states while the journal is at work, so that one that is killed opens as fast."""
        save = None if self._is_closed or self._has_unerased else self._checkpoint_saver()
        if save is not None:
            self.follower.submit(save)

    def _checkpoint_saver(self) -> Callable[[DuckdbFollower], None] | None:
        # Where facts are to be repaired, a position does not say which runs came before.
        kept = [] if self.index.repeated_count else self.views.checkpoints()
        root, position = bytes.fromhex(self.index.fingerprint()), self.index.fact_count

        def save(database: DuckdbFollower) -> None:
            for key, state in kept:
                database.save_checkpoint(
                    view=key.view,
                    version=key.version,
                    schema_hash=key.schema_hash,
                    root=root,
                    state=state,
                    position=position,
                )

        return save if kept else None

    def read_history(self, after_position: int) -> tuple[list[PlacedRun], Callable[[RunRow], bytes]]:
        """Every durable run in log order behind the first *after_position* facts, for a view that wakes up."""
        placed = [PlacedRun(state.info, row) for state in self.index.chains() for row in state.runs]
        placed.sort(key=lambda run: (run.row.file_number, run.row.offset))
        count = 0
        for at, run in enumerate(placed):
            if count >= after_position:
                return placed[at:], self.read_run
            count += run.row.last_seq - run.row.first_seq + 1
        return [], self.read_run

    def read_members(self, places: Sequence[tuple[ChainId, int]]) -> list[Fact]:
        """The decoded members at those places; may be called in a thread."""
        return self._build_member_reader()(places)

    def _build_member_reader(self) -> MemberReader:
        return MemberReader(self.index.chain, self.read_run, self._decode, self._on_damage)

    def _decode(self, record: FactRecord) -> Fact | None:
        if self.judge.is_void(record) or (self.erasures and self.erasures.is_erased(record)):
            return None
        decoded = self.registry.decode(record, is_trusted=record.chain.public_key == self.folder.writer.public_key)
        if isinstance(decoded, GenericFact):
            if self._is_newer(record) and self._problems.claim_hidden(record.kind, "newer-version"):
                self._loop.call_soon_threadsafe(self._tell_newer, record)
            return None
        if isinstance(decoded, FactProblem):
            if decoded.code != "erased" and self._problems.claim_hidden(record.kind, decoded.code):
                self._loop.call_soon_threadsafe(self._report, decoded)
            return None
        return decoded

    def _on_damage(self, problem: LogDamaged) -> None:
        """From any thread: tell of bytes that a view had to leave out."""
        self._loop.call_soon_threadsafe(self.hub.report_error, AppError("log-damaged", str(problem)))

    def _is_newer(self, record: FactRecord) -> bool:
        known = self.registry.get(record.kind)
        return known is not None and known.version < record.version

    def _tell_newer(self, record: FactRecord) -> None:
        """Tell once of each kind that this program knows in an older version only; a kind it does not know is none of
        its business."""
        known = self.registry.get(record.kind)
        if known is not None and known.version < record.version:
            text = (
                f"{record.kind} version {record.version} comes from a newer program, and this one reads up to version "
                f"{known.version}; bring it up to date to see such facts"
            )
            if self._problems.note_hidden(record.kind, "newer-version", text):
                self.hub.report_error(AppError("newer-version", text, record.kind, record.fact_id.hex()))

    def _report(self, problem: FactProblem, *, more_count: int = 0) -> None:
        """Tell of a fact that views leave out, and of how many more of its kind came with it for the same reason."""
        if problem.code != "erased":
            kind, fact_id = problem.record.kind, problem.record.fact_id.hex()
            self._problems.note_hidden(kind, problem.code, problem.text)
            text = f"{problem.text}; and {more_count:,} more like it" if more_count else problem.text
            self.hub.report_error(AppError(problem.code, text, kind, fact_id))

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise LocalViolation("a forked child may not write to a journal; open it in one process only")
        if asyncio.get_running_loop() is not self._loop:
            raise LocalViolation("this journal belongs to another event loop; open it on the loop that uses it")
        if self._is_closed:
            raise JournalClosed(f"journal {self.folder.path.name} is closed; open it again")


def _no_fact(model: type) -> str:
    """What is said to who commits something else."""
    if issubclass(model, type):
        return "commit takes facts; got a class, so make one of it, such as commit(Said(text='hello'))"
    if issubclass(model, list | tuple | set | frozenset):
        return f"commit takes one fact; got a {model.__name__}, so use commit_all, which takes several"
    return f"commit takes facts; got a {model.__name__}, so derive it from antiphon.Fact"


def _in_turns(runs: Sequence[IncomingRun]) -> Iterator[list[IncomingRun]]:
    """The runs in order, in parts of few facts."""
    part: list[IncomingRun] = []
    fact_count = 0
    for run in runs:
        if part and fact_count + len(run.lines) > FACTS_A_TURN_MAX:
            yield part
            part, fact_count = [], 0
        part.append(run)
        fact_count += len(run.lines)
    if part:
        yield part


def _of_runs(runs: Sequence[IncomingRun], facts: Iterable[Fact | FactRecord]) -> list[Fact | FactRecord]:
    """Those of *facts* that stand in *runs*."""
    spans: dict[ChainId, list[tuple[int, int]]] = {}
    for run in runs:
        spans.setdefault(run.info.chain, []).append((run.first_seq, run.last_seq))
    found: list[Fact | FactRecord] = []
    for fact in facts:
        record = fact.record if isinstance(fact, Fact) else fact
        if any(first <= record.seq <= last for first, last in spans.get(record.chain.chain, ())):
            found.append(fact)
    return found


def _noted_size(noted: Noted) -> int:
    return _note_size(noted.note)


def _note_size(note: LocalNote) -> int:
    """About how many bytes a local line takes: its lists are of fact ids."""
    return NOTE_BYTES + NOTE_ITEM_BYTES * sum(len(value) for value in note.value.values() if isinstance(value, list))


def entry_size(entry: Entry) -> int:
    """About how many bytes an entry adds to its frame."""
    return len(entry.draft.payload) + LINE_OVERHEAD_BYTES


def _size_of_all(entries: list[Entry]) -> int:
    """The sum of their sizes; a loop of its own, since a call an entry would cost three times as much."""
    return sum([len(draft[2]) for draft in map(_DRAFT_OF, entries)]) + LINE_OVERHEAD_BYTES * len(entries)


_DRAFT_OF: Callable[[Entry], Draft] = itemgetter(Entry._fields.index("draft"))
_COMMIT_OF: Callable[[Entry], Commit] = itemgetter(Entry._fields.index("commit"))
_NAMESPACE_OF: Callable[[Entry], Namespace] = itemgetter(Entry._fields.index("namespace"))


def _by_namespace(entries: list[Entry]) -> Iterable[tuple[Namespace, list[Entry]]]:
    """The entries of each namespace, in order."""
    if len(set(map(_NAMESPACE_OF, entries))) == 1:
        return [(entries[0].namespace, entries)]
    groups: dict[Namespace, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.namespace, []).append(entry)
    return groups.items()


def _by_commit(
    entries: list[Entry], ordered: list[Entry], placed: list[FactRecord]
) -> list[tuple[Commit, list[FactRecord]]]:
    """What each commit contributed, in the order of the window; *placed* are the records of *ordered*."""
    if ordered != entries:
        records = {id(entry): record for entry, record in zip(ordered, placed, strict=True)}
        placed = [records[id(entry)] for entry in entries]
    if len(set(map(_COMMIT_OF, entries))) == 1:
        return [(entries[0].commit, placed)]
    place = iter(placed)
    return [(commit, [next(place) for _ in part]) for commit, part in groupby(entries, key=_COMMIT_OF)]


def _namespace_of(fact_type: FactType, context: str | None, default: Namespace) -> Namespace:
    """The namespace that a fact names itself, or the journal's."""
    if context is None:
        return default
    check_namespace(context, where=fact_type.kind)
    return Namespace(str(context))  # plain text, whatever a context function made it of


def check_namespace(name: str, *, where: str) -> None:
    """Refuse a context's name that no chain could carry."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError as problem:
        raise LocalViolation(f"{where}: the context {name!r} is not valid text: {problem.reason}") from problem
    if not 1 <= length <= NAMESPACE_LENGTH_MAX:
        raise LocalViolation(f"{where}: a context's name has 1..{NAMESPACE_LENGTH_MAX} bytes; got {length}")


def _runs_of(drafts: list[Draft], *, own_count: int) -> Iterable[list[Draft]]:
    """The window's facts as one run, or as two when what comes before them would make it too long."""
    if len(drafts) <= RUN_FACTS_MAX:
        return (drafts,)
    lead = len(drafts) - own_count
    return (drafts[:lead], drafts[lead:])


def _row_of(run: IncomingRun) -> RunRow | None:
    """What a run claims to be, when its seal fits it; nothing is verified."""
    try:
        seal = parse_seal_line(run.seal_line)
    except InvalidLine:
        return None
    if not run.is_base and (seal.chain, seal.from_seq, seal.from_id, seal.to_seq) != (
        run.info.chain,
        run.first_seq - 1,
        run.first_previous_id,
        run.last_seq,
    ):
        return None
    return RunRow(seal.chain, seal.from_seq + 1, seal.to_seq, seal.from_id, seal.to_id, 0, 0, 0)


def _row_if_sealed(run: IncomingRun, public_key: bytes) -> RunRow | None:
    """A run that the owner of *public_key* really sealed."""
    row = _row_of(run)
    return row if row is not None and is_seal_valid(parse_seal_line(run.seal_line), public_key) else None

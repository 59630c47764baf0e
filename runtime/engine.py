"""The journal at work: commits go through one window into the log, then to views, peers and the DuckDB follower.

One event loop owns everything here; the log and DuckDB have a thread each. It decides little itself: sealing,
membership and folding are pure rooms below; this module carries their results to the disk and back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from reactivex.scheduler.eventloop import AsyncIOScheduler

from antiphon.facts import (
    DEFAULT_NAMESPACE,
    AuthorityId,
    ChainId,
    ChainInfo,
    Clock,
    Fact,
    FactProblem,
    FactRecord,
    FactRegistry,
    FactType,
    GenericFact,
    LocalViolation,
    Namespace,
    Registration,
    authority_id,
    hlc_ms,
    with_record,
)
from antiphon.facts.ids import NAMESPACE_LENGTH_MAX
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal import (
    Draft,
    JournalClosed,
    JournalFolder,
    JournalIndex,
    LogWriter,
    OwnChain,
    PlacedRun,
    RunRow,
    SealedRun,
    StoreUnavailable,
    build_frame,
    open_chain,
    read_run_bytes,
    seal_run,
    with_links,
)
from antiphon.journal.ingest import Ingest
from antiphon.journal.sync.messages import IncomingRun, IngestResult
from antiphon.reactive import AppError, SignalHub, Window

from .follower import FollowerService
from .group_commit import GroupCommit, Outgoing, Written
from .view_host import ViewHost

# What a line adds to its payload: header, salt, punctuation.
LINE_OVERHEAD_BYTES = 190

RunListener = Callable[[Sequence[RunRow]], None]


class CommitResult(NamedTuple):
    """What a commit became: its records in order, over how many windows."""

    records: tuple[FactRecord, ...]
    window_count: int


class Commit:
    """One call of ``commit``: facts that share a fate window by window."""

    __slots__ = ("future", "records", "remaining", "window_count")

    def __init__(self, future: asyncio.Future[CommitResult], remaining: int) -> None:
        self.future = future
        self.remaining = remaining
        self.records: list[FactRecord] = []
        self.window_count = 0

    def take(self, records: Sequence[FactRecord]) -> None:
        """Note that a window with *records* is durable."""
        self.records.extend(records)
        self.window_count += 1
        self.remaining -= len(records)
        if self.remaining == 0 and not self.future.done():
            self.future.set_result(CommitResult(tuple(self.records), self.window_count))

    def fail(self, problem: Exception) -> None:
        """Note that a window failed."""
        if not self.future.done():
            self.future.set_exception(problem)


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
    is_foreign: bool = False
    done: asyncio.Future[None] | None = None


class EngineStatistics(NamedTuple):
    """The insides of an engine."""

    fact_count: int
    window_count: int
    sync_count: int
    pending_frames: int
    pending_facts: int
    parked_runs: int
    refused_runs: int
    problems: tuple[str, ...]


class JournalEngine:
    """An open journal: commit, ingest, publish.

    Built by ``opening.open_engine``, which reads the folder; from then on the loop that built it is its only user.
    """

    def __init__(
        self,
        *,
        folder: JournalFolder,
        index: JournalIndex,
        writer: LogWriter,
        registry: FactRegistry,
        follower: FollowerService,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        namespace: Namespace = DEFAULT_NAMESPACE,
        own_chains: Iterable[OwnChain] = (),
        problems: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.index = index
        self.registry = registry
        self.follower = follower
        self.namespace = namespace
        self.problems = list(problems)
        self.hub = SignalHub()
        rx = AsyncIOScheduler(asyncio.get_running_loop())
        self.views = ViewHost(self.hub, rx, clock, read_history=self._read_history, decode=self._decode)
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._random = random_bytes
        self._types: dict[type[Fact], FactType] = {}
        self._own: dict[Namespace, OwnChain] = {chain.info.namespace: chain for chain in own_chains}
        self._window: Window[Entry] = Window(rx, self._close_window, size_of=entry_size)
        self._commits: GroupCommit[Cargo] = GroupCommit(writer, on_written=self._on_written, on_failed=self._on_failed)
        self._frame_hash = writer.synced.frame_hash
        self._writer = writer
        self._listeners: list[RunListener] = []
        self._parked: dict[tuple[ChainId, int], IncomingRun] = {}
        self._ingesting = asyncio.Lock()
        self._window_count = 0
        self._refused = 0
        self._pid = os.getpid()
        self._is_closed = False

    @property
    def authority(self) -> AuthorityId:
        """Who acts when this journal commits."""
        return authority_id(self.folder.authority.public_key)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    # Facts in: commits of this journal

    async def commit(self, facts: Sequence[Fact], *, flush: bool = False) -> CommitResult:
        """Make *facts* durable; they share one window when they fit into one. Returns after the sync.

        Cancelling while it waits leaves every window wholly in or wholly out. Raises what the facts deserve before
        anything is taken, and ``StoreUnavailable`` when the disk refused; then nothing was acknowledged.
        """
        self._check_open()
        commit = Commit(asyncio.get_running_loop().create_future(), len(facts))
        entries = [self._prepare(fact, commit) for fact in facts]
        if not entries:
            return CommitResult((), 0)
        for start in range(0, len(entries), self._window.count_max):
            if self._commits.pending_count >= 8:
                await self._commits.wait_for_room()
                self._check_open()
            part = entries[start : start + self._window.count_max]
            self._window.offer(part, sum(map(entry_size, part)))
        if flush:
            self._window.flush()
        return await commit.future

    async def flush(self) -> None:
        """Close the open window now and return when all that was committed is durable."""
        self._window.flush()
        await self._commits.drain()

    def register(self, models: Iterable[type[Fact]]) -> None:
        """Make fact types known; views that are awake decode facts of theirs from now on."""
        for model in models:
            self.registry.register(model)

    # Facts in: runs of peers

    async def ingest(self, runs: Sequence[IncomingRun]) -> IngestResult:
        """Verify runs from a peer, make the members durable in one frame, and say what became of each.

        Membership is decided by header, links and seal alone; what views must not show is a member all the same.
        """
        self._check_open()
        async with self._ingesting:
            self._yield_rolled_back_chains(runs)
            in_flight = [chain.info.chain for chain in self._own.values()]
            ingest = Ingest(self.index, self._parked, in_flight)
            result = ingest.take(runs)
            self._refused += len(result.refused)
            if ingest.runs:
                await self._write_foreign(ingest)
            return result

    def _yield_rolled_back_chains(self, runs: Sequence[IncomingRun]) -> None:
        """Freeze own chains of which a peer holds more than this journal does: a disk was rolled back under us."""
        for run in runs:
            own = self._own.get(run.info.namespace)
            if own is None or own.info.chain != run.info.chain:
                continue
            durable = self.index.head_of(own.info.chain)
            if run.first_seq + len(run.lines) - 1 > own.head.seq and own.head == durable:
                del self._own[run.info.namespace]
                self.problems.append(
                    f"a peer holds more of chain {own.info.text[:8]} than this journal: it was frozen, a new one opens"
                )

    # Runs out: peers and links

    def read_run(self, row: RunRow) -> bytes:
        """The bytes of a durable run, as they were sealed."""
        return read_run_bytes(self.folder.path, row)

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
            parked_runs=len(self._parked),
            refused_runs=self._refused,
            problems=tuple(self.problems),
        )

    async def close(self) -> None:
        """Flush, then stop the pipeline, the follower and the log, and give the lock back. Closing twice is fine."""
        if self._is_closed:
            return
        self._window.flush()
        self._is_closed = True
        await self._commits.drain()
        self.views.close()
        await self.follower.close()
        position = await self._commits.close()
        self.folder.release(position)

    # The window

    def _prepare(self, fact: Fact, commit: Commit) -> Entry:
        if not isinstance(fact, Fact):
            raise LocalViolation(f"commit takes facts; got a {type(fact).__name__}, so derive it from antiphon.Fact")
        fact_type = self._types.get(type(fact)) or self._learn(type(fact))
        context = fact_type.context_of(fact)
        namespace = self.namespace if context is None else Namespace(context)
        if not 1 <= len(namespace) <= NAMESPACE_LENGTH_MAX:
            raise LocalViolation(
                f"{fact_type.kind}: a context has 1..{NAMESPACE_LENGTH_MAX} characters; got {len(namespace)}"
            )
        return Entry(
            fact,
            namespace,
            Draft(fact_type.kind, fact_type.version, fact_type.encode(fact), fact_type.time_of(fact)),
            commit,
        )

    def _learn(self, model: type[Fact]) -> FactType:
        fact_type = self.registry.register(model)
        self._types[model] = fact_type
        return fact_type

    def _close_window(self, entries: list[Entry]) -> None:
        try:
            self._seal(entries)
        except BaseException as problem:
            for entry in entries:
                entry.commit.fail(problem if isinstance(problem, Exception) else JournalClosed(str(problem)))
            raise

    def _seal(self, entries: list[Entry]) -> None:
        if os.getpid() != self._pid:
            raise LocalViolation("a forked child may not write to a journal; open it in one process only")
        by_namespace: dict[Namespace, list[Entry]] = {}
        for entry in entries:
            by_namespace.setdefault(entry.namespace, []).append(entry)
        wall_ms = self._clock.now_ms()
        registrations = self.registry.unrecorded()
        runs: list[SealedRun] = []
        introduced: list[ChainInfo] = []
        facts: list[Fact] = []
        commits: list[tuple[Commit, list[FactRecord]]] = []
        for namespace, group in by_namespace.items():
            chain, drafts = self._chain_for(namespace, [entry.draft for entry in group], wall_ms)
            if not chain.is_introduced:
                introduced.append(chain.info)
                chain.is_introduced = True
            run = seal_run(
                chain,
                drafts,
                wall_ms=wall_ms,
                hlc_floor=self._hlc_floor(wall_ms),
                randomness=self._random(16 * len(drafts)),
                signer=self.folder.writer,
            )
            runs.append(run)
            records = run.records[len(drafts) - len(group) :]
            current: Commit | None = None
            for entry, record in zip(group, records, strict=True):
                facts.append(with_record(entry.fact, record))
                if entry.commit is not current:
                    current = entry.commit
                    commits.append((current, []))
                commits[-1][1].append(record)
        self._submit(Cargo(tuple(runs), (), facts, {}, registrations, tuple(introduced), commits))

    def _chain_for(self, namespace: Namespace, drafts: list[Draft], wall_ms: int) -> tuple[OwnChain, list[Draft]]:
        """The chain that takes *drafts*, after the opening and the causal links that belong before them."""
        chain = self._own.get(namespace)
        if chain is None or hlc_ms(chain.head.hlc) > wall_ms + SKEW_MS_MAX:
            chain, opening = open_chain(
                namespace=namespace,
                writer=self.folder.writer,
                authority=self.folder.authority,
                nonce=self._random(16),
                device=self.folder.journal_id,
                label=self.folder.label,
                predecessor=chain.info.chain if chain else None,
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
        seen = self.index.hlc_seen
        return seen + 1 if hlc_ms(seen) <= wall_ms + SKEW_MS_MAX else 0

    def _submit(self, cargo: Cargo) -> None:
        frame = build_frame(self._frame_hash, cargo.runs, chains=cargo.chains, registrations=cargo.registrations)
        self._frame_hash = frame.frame_hash
        self._window_count += 1
        cargo.offsets = frame.run_offsets
        self.registry.remember(cargo.registrations)
        count = sum(len(run.records) for run in cargo.runs)
        self._commits.submit(Outgoing(frame.data, frame.frame_hash, count, cargo))

    # What is durable

    def _on_written(self, written: Sequence[Written[Cargo]]) -> None:
        for item in written:
            self._publish(item)

    def _publish(self, item: Written[Cargo]) -> None:
        cargo = item.cargo
        rows: list[RunRow] = []
        records: list[FactRecord] = []
        for run, offset in zip(cargo.runs, cargo.offsets, strict=True):
            row = run.row(file_number=item.file_number, offset=item.offset + offset)
            last = run.records[-1]
            self.index.introduce(last.chain)
            self.index.admit(row, hlc=last.hlc, records=run.records)
            rows.append(row)
            records.extend(run.records)
            if cargo.is_foreign:
                own = self._own.get(last.chain.namespace)
                if own is not None and own.info.chain != last.chain.chain:
                    own.fresh.add(last.chain.chain)
        for commit, committed in cargo.commits:
            commit.take(committed)
        if cargo.done is not None and not cargo.done.done():
            cargo.done.set_result(None)
        self.views.deliver(cargo.facts)
        self.follower.offer(records, item.position, rows, cargo.registrations, cargo.chains, cargo.hidden)
        for listener in tuple(self._listeners):
            listener(rows)

    def _on_failed(self, cargoes: Sequence[Cargo], problem: StoreUnavailable) -> None:
        # Numbers that may have reached the disk are never used again: what is committed next opens new chains.
        self._own.clear()
        self._frame_hash = self._writer.synced.frame_hash
        self.registry.forget(registration for cargo in cargoes for registration in cargo.registrations)
        for cargo in cargoes:
            for commit, _ in cargo.commits:
                commit.fail(problem)
            if cargo.done is not None and not cargo.done.done():
                cargo.done.set_exception(problem)
        self.hub.report_error(AppError("store-unavailable", str(problem)))

    async def _write_foreign(self, batch: Ingest) -> None:
        await self._commits.wait_for_room()
        facts: list[Fact] = []
        hidden: dict[int, str] = {}
        place = 0
        for run in batch.runs:
            for record in run.records:
                decoded = self.registry.decode(record)
                if isinstance(decoded, Fact):
                    facts.append(decoded)
                elif isinstance(decoded, FactProblem):
                    hidden[place] = decoded.code
                    self._report(decoded)
                place += 1
        done = asyncio.get_running_loop().create_future()
        self._submit(
            Cargo(tuple(batch.runs), (), facts, hidden, (), tuple(batch.introduced), [], is_foreign=True, done=done)
        )
        await done

    # Reading back

    def _read_history(self, kinds: frozenset[str] | None) -> tuple[list[PlacedRun], Callable[[RunRow], bytes]]:
        """Every durable run in log order, for a view that wakes up."""
        placed = [PlacedRun(state.info, row) for state in self.index.chains() for row in state.runs]
        placed.sort(key=lambda run: (run.row.file_number, run.row.offset))
        return placed, self.read_run

    def _decode(self, record: FactRecord) -> Fact | None:
        decoded = self.registry.decode(record, is_trusted=record.chain.public_key == self.folder.writer.public_key)
        if isinstance(decoded, GenericFact):
            return None
        if isinstance(decoded, FactProblem):
            self._loop.call_soon_threadsafe(self._report, decoded)
            return None
        return decoded

    def _report(self, problem: FactProblem) -> None:
        if problem.code != "erased":
            self.hub.report_error(
                AppError(problem.code, problem.text, problem.record.kind, problem.record.fact_id.hex())
            )

    def _check_open(self) -> None:
        if self._is_closed:
            raise JournalClosed(f"journal {self.folder.path.name} is closed; open it again")


def entry_size(entry: Entry) -> int:
    """About how many bytes an entry adds to its frame."""
    return len(entry.draft.payload) + LINE_OVERHEAD_BYTES

"""One simulated machine: a real journal's engine on a virtual disk, serving and linked over the virtual network.

A node outlives its processes. What it owes (facts that its disk has promised to keep) is noted when a process dies and
asked for when the next one has opened the folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from antiphon.facts import AntiphonError, FactId, FactRecord, parse_line
from antiphon.facts.encoding import build_erased_line
from antiphon.journal import JournalFolder, PlacedRun, RunRow, StoreUnavailable, read_members
from antiphon.journal.bases import ChainBase
from antiphon.reactive.errors import ReactiveError
from antiphon.runtime.engine import JournalEngine
from antiphon.runtime.opening import open_engine
from antiphon.runtime.services.snapshots import plan_collapse
from antiphon.runtime.services.sync import SyncSettings, link, serve, sync_address
from antiphon.views import FoldView

from .disk import Image, Platter, Rot, VirtualDisk
from .facts import HUSHED_KIND, SIMULATED_TYPES, late_lines, lines
from .loop import Process, VirtualLoop, settle
from .network import VirtualNetwork
from .threads import InlineThreads

# 2024-01-01: any fixed day does.
EPOCH_MS = 1_704_067_200_000
# A close that takes longer waits for something that will not come.
CLOSE_S_MAX = 600.0
# Longer than any disk here takes for a folder of a few hundred facts.
OPEN_S_MAX = 10.0

RunCache = dict[RunRow, tuple[FactRecord, ...]]


class NodeClock:
    """The wall clock of one machine: the loop's time, set wrong by ``offset_ms``."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset_ms = 0
        self.ahead_ms_max = 0
        self.has_jumped = False

    def set(self, offset_ms: int) -> None:
        """Set it wrong, or right with 0."""
        self.offset_ms = offset_ms
        self.has_jumped = True
        self.ahead_ms_max = max(self.ahead_ms_max, offset_ms)

    def now_ms(self) -> int:
        """What the machine believes."""
        return EPOCH_MS + int(self._loop.elapsed_s * 1_000) + self.offset_ms


class Node:
    """A machine by name."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        loop: VirtualLoop,
        network: VirtualNetwork,
        random: Random,
        tell: Callable[[str, bytes], None],
        cache: RunCache,
    ) -> None:
        self.name = name
        self.clock = NodeClock(loop)
        self.random = random
        self.platter = Platter(folder, random)
        self.address = f"tcp://{name}:7000"
        self.links: list[str] = []
        self.engine: JournalEngine | None = None
        self.process: Process | None = None
        self.disk: VirtualDisk | None = None
        self.is_damaged = False
        """Whether an older image was put back, so that anything newer may be gone."""
        self.rots: list[Rot] = []
        self.owed: dict[FactId, FactRecord] = {}
        self.owed_runs: list[PlacedRun] = []
        self.excused: set[FactId] = set()
        self.images: list[Image] = []
        self.shown: frozenset[str] = frozenset()
        self.acknowledged: set[FactId] = set()
        self.losses: list[str] = []
        self._loop = loop
        self._network = network
        self._tell = tell
        self._cache = cache
        self._stopping: asyncio.Event | None = None
        self._opened: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._graves: list[Process] = []

    @property
    def is_up(self) -> bool:
        """Whether a journal is open and its process alive."""
        return self.engine is not None and self.process is not None and not self.process.is_dead

    @property
    def is_starting(self) -> bool:
        """Whether a process is opening its journal just now."""
        return self.engine is None and self.process is not None

    @property
    def settings(self) -> SyncSettings:
        """How this machine syncs."""
        host = self._network.host(self.name)
        return SyncSettings(
            agent=self.name,
            random_bytes=self.random.randbytes,
            elapsed_s=self._loop.time,
            connect=host.connect,
            listen=host.listen,
        )

    # Life and death

    def start(self) -> None:
        """Begin a process that opens the journal and serves it."""
        assert self.process is None, "one process at a time"
        process = self.process = Process(self.name, self._loop)
        self.disk = VirtualDisk(
            self.platter, process, on_call=lambda call, data: self._tell(f"{self.name}:{call}", data)
        )
        self._stopping, self._opened = asyncio.Event(), asyncio.Event()
        self._task = process.spawn(self._live(process, self._opened), name=f"{self.name} lives")

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Do something as part of the living process."""
        assert self.process is not None, "somebody must live to do it"
        return self.process.spawn(work, name=f"{self.name} {name}")

    async def wait_open(self) -> bool:
        """Return when the opening is over; whether it succeeded."""
        assert self._opened is not None, "it was started"
        with suppress(TimeoutError):  # one that dies meanwhile tells nobody
            async with asyncio.timeout(OPEN_S_MAX):
                await self._opened.wait()
        return self.is_up

    async def stop(self) -> None:
        """Close the journal in good order."""
        assert self._stopping is not None, "it was started"
        assert self._task is not None, "it was started"
        task, process = self._task, self.process
        self._stopping.set()
        late = await settle([task], timeout_s=CLOSE_S_MAX)
        if process is not None and process.is_dead:
            return  # its disk killed it meanwhile
        assert not late, f"{self.name} did not close in {CLOSE_S_MAX:g} virtual seconds"
        task.result()

    def die(self, *, is_power: bool) -> None:
        """Kill the process, and with *is_power* the machine."""
        process = self.process
        assert process is not None, "it was alive"
        process.kill()
        self._network.forget(process, is_silent=is_power)
        self._note_owed()
        if self.engine is not None:
            self.engine.kill()
        assert self.disk is not None, "it was started"
        self.disk.release()
        if is_power:
            self.platter.lose_power()
        self._graves.append(process)
        self._forget_process()

    def abandon(self) -> None:
        """The world ends here, whatever is still under way: nothing reaches the disk or the network any more."""
        if self.engine is not None:
            self.engine.kill()
        if self.disk is not None:
            self.disk.release()
        for process in (*self._graves, *((self.process,) if self.process else ())):
            self._network.forget(process, is_silent=False)
            process.revive()

    async def bury(self) -> None:
        """Let what is left of killed processes end, so that nothing is pending when the world ends."""
        for process in self._graves:
            await process.bury()
        self._graves.clear()

    def members(self, *, is_cached: bool = True) -> dict[FactId, FactRecord]:
        """Every fact that the open journal holds but hushed ones, which it may let go of; read back from its disk, or
        remembered from another reading."""
        assert self.engine is not None, "it is open"
        held = read_all(self.engine, self._cache if is_cached else None)
        return {fact_id: record for fact_id, record in held.items() if record.kind != HUSHED_KIND}

    def shown_behind_holes(self) -> dict[FactId, FactRecord]:
        """What the open journal shows beyond its members: facts behind others that its disk lost, or that name them."""
        assert self.engine is not None, "it is open"
        if not any(state.has_hole for state in self.engine.index.chains()):
            return {}
        everything = read_all(self.engine, self._cache, with_loose=True)
        members = read_all(self.engine, self._cache)
        return {fact_id: record for fact_id, record in everything.items() if fact_id not in members}

    @property
    def value(self) -> tuple[str, ...]:
        """What the view shows now."""
        assert self.engine is not None, "it is open"
        value: tuple[str, ...] = self.engine.hub.read(lines.signal)
        return value

    async def look(self) -> None:
        """Wake a second view, while others write."""
        engine = self.engine
        assert engine is not None, "it is open"
        if not engine.views.is_awake(late_lines.view_id, late_lines):
            view = FoldView(late_lines, on_problem=engine.hub.report_error)
            with suppress(ReactiveError):  # the journal is being closed
                await engine.views.wake(view, view.value, owner=late_lines)

    @property
    def late_value(self) -> tuple[str, ...] | None:
        """What the second view shows now, when somebody looked."""
        assert self.engine is not None, "it is open"
        if not self.engine.views.is_awake(late_lines.view_id, late_lines):
            return None
        value: tuple[str, ...] = self.engine.hub.read(late_lines.signal)
        return value

    # Inside the process

    async def sync(self, address: str) -> str:
        """Sync once with a peer; how it went, in a word."""
        assert self.engine is not None, "it is open"
        try:
            report = await sync_address(self.engine, address, settings=self.settings)
        except AntiphonError as problem:
            return type(problem).__name__
        return f"{report.outcome.value} +{report.received} -{report.sent}"

    async def collapse(self) -> int:
        """Let go of the runs that hold nothing but hushed words, behind each chain's opening; how many."""
        engine = self.engine
        assert engine is not None, "it is open"

        def read(row: RunRow) -> bytes:
            return b"\n".join(map(_hushed, engine.read_run(row).split(b"\n")))

        async def find() -> list[ChainBase]:
            return plan_collapse(list(engine.index.chains()), read)

        return len(await engine.collapse(find))

    async def _live(self, process: Process, opened: asyncio.Event) -> None:
        try:
            await self._open_and_serve(opened)
        except StoreUnavailable as problem:
            self._tell(f"{self.name}: {type(problem).__name__}", b"")
        finally:
            opened.set()
            if not process.is_dead:
                self._network.forget(process, is_silent=False)
                self._forget_process()

    async def _open_and_serve(self, opened: asyncio.Event) -> None:
        disk = self.disk
        engine = await open_engine(
            self.platter.folder,
            author=self.name,
            clock=self.clock,
            random_bytes=self.random.randbytes,
            types=SIMULATED_TYPES,
            disk=disk,
            threads=InlineThreads(self._loop),
            open_database=no_database,
        )
        try:
            self._ask_for_owed(engine)
            view = FoldView(lines, on_problem=engine.hub.report_error)
            await engine.views.wake(view, view.value, owner=lines)
            self.shown = frozenset()
            self.engine = engine
            opened.set()
            await self._serve(engine)
        finally:
            # What cannot be closed in good order is closed all the same; a killed process gets here only when buried.
            if self.disk is disk and not engine.is_closed:
                self._note_owed()
                await engine.close()

    async def _serve(self, engine: JournalEngine) -> None:
        assert self._stopping is not None, "it was started"
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serve(engine, self.address, settings=self.settings))
            for address in self.links:
                await stack.enter_async_context(link(engine, address, settings=self.settings))
            await self._stopping.wait()
            await engine.flush()

    # What the disk has promised

    def _note_owed(self) -> None:
        if self.engine is None:
            return
        held = read_all(self.engine, self._cache)
        missing = self.acknowledged - held.keys()
        if missing:
            self.losses.append(f"{self.name} acknowledged {len(missing)} facts that it does not hold")
        self.owed = held
        self.owed_runs = self.engine.read_history(0)[0]
        self.acknowledged.clear()

    def _ask_for_owed(self, engine: JournalEngine) -> None:
        held = read_all(engine, self._cache)
        missing = {each for each, record in self.owed.items() if each not in held and record.kind != HUSHED_KIND}
        if self.is_damaged:
            self.excused |= missing
            missing = set()
        lost = self._touched_by_rot()
        # What follows from lost facts waits for them as others must, but it is still there.
        waiting = self._following(lost) & read_all(engine, self._cache, with_loose=True).keys() if lost else set()
        self.excused |= missing & (lost | waiting)
        missing -= lost | waiting
        if missing:
            told = ", ".join(sorted(f"{self.owed[each].kind}#{self.owed[each].seq}" for each in missing)[:5])
            self.losses.append(f"{self.name} lost {len(missing)} facts that were durable ({told}): {engine.problems}")
        self.is_damaged = False
        self.owed = {}
        self.rots.clear()

    def _touched_by_rot(self) -> set[FactId]:
        """What may be gone: the facts of damaged frames, and what their chains say behind them."""
        ends: dict[bytes, int] = {}
        for placed in self.owed_runs:
            row = placed.row
            for rot in self.rots:
                begin, end = rot.frames
                if row.file_number == rot.file_number and row.offset < end and row.offset + row.length > begin:
                    ends[row.chain] = min(row.first_seq, ends.get(row.chain, row.first_seq))
        return {
            fact_id
            for fact_id, record in self.owed.items()
            if record.seq >= ends.get(record.chain.chain, record.seq + 1)
        }

    def _following(self, lost: set[FactId]) -> set[FactId]:
        """What names *lost* facts as its causes, and whatever follows from that."""
        places = {(record.chain.chain, record.seq) for fact_id, record in self.owed.items() if fact_id in lost}
        found: set[FactId] = set()
        count = -1
        while count != len(found):
            count = len(found)
            for fact_id, record in self.owed.items():
                chain = record.chain.chain
                causes = [(chain, record.seq - 1), *((link.chain, link.seq) for link in record.after)]
                if fact_id not in lost and not places.isdisjoint(causes):
                    found.add(fact_id)
                    places.add((chain, record.seq))
        return found

    def _forget_process(self) -> None:
        self.engine = self.process = self.disk = self._stopping = self._task = None


def read_all(
    engine: JournalEngine, cache: RunCache | None = None, *, with_loose: bool = False
) -> dict[FactId, FactRecord]:
    """Every member by id, read back from the log; with *cache* a run is parsed once, wherever it lies.

    *with_loose* also what is held behind a hole.
    """
    runs, read = engine.read_history(0)
    held: dict[FactId, FactRecord] = {}
    for placed in runs:
        state = engine.index.chain(placed.info.chain)
        if not (with_loose or state is None or state.is_member(placed.row)):
            continue
        key = placed.row._replace(file_number=0, offset=0)
        records = None if cache is None else cache.get(key)
        if records is None:
            records = tuple(read_members([placed], read, on_damage=lambda _: None))
            if cache is not None:
                cache[key] = records
        held.update((record.fact_id, record) for record in records)
    return held


def _hushed(line: bytes) -> bytes:
    """A hushed word's line as it is when it was let go of; any other as it is."""
    if b'"k":"sim.hushed"' not in line:
        return line
    parsed = parse_line(line)
    return build_erased_line(parsed.header.raw, parsed.digest)


def no_database(folder: JournalFolder, now_ms: int) -> NoReturn:
    """Stands for DuckDB: one that is always away, as when another process holds its file."""
    raise StoreUnavailable("the simulator has no DuckDB")

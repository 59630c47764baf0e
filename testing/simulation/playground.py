"""A simulated network of real journals for a user's own tests: open, sync, crash, partition, in no time at all.

What the plug-in's fixtures are made of. Journals are ``antiphon.Journal`` itself on a virtual disk; DuckDB is away
unless it is asked for. Decides nothing about faults: a test says what happens when. For runs in which everything
happens at once see ``world``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from antiphon import Journal
from antiphon.facts import Fact, LocalViolation
from antiphon.runtime.opening import open_engine
from antiphon.runtime.services.sync import Link, SyncReport, SyncServer, SyncSettings, link, serve, sync_address

from .disk import DiskFaults, Platter, VirtualDisk
from .loop import VirtualLoop
from .network import Quality, VirtualNetwork
from .node import EPOCH_MS, no_database
from .threads import InlineThreads

T = TypeVar("T")

# A blocking call takes this long, so that others get a turn meanwhile, as they do with real threads.
WORK_S = 0.0002
PORT = 7_000


class SimulatedClock:
    """The wall clock of all journals in a test: virtual time since 2024, set wrong by ``jump``."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._offset_ms = 0

    @property
    def elapsed_s(self) -> float:
        """Virtual seconds since the test began."""
        return self._loop.elapsed_s

    def now_ms(self) -> int:
        """Milliseconds since 1970, as the journals believe."""
        return EPOCH_MS + round(self._loop.elapsed_s * 1_000) + self._offset_ms

    def jump(self, milliseconds: int) -> None:
        """Set the wall clock forward or back; durations are not affected."""
        self._offset_ms += milliseconds

    async def advance(self, seconds: float) -> None:
        """Let time pass, with all that is due in it; costs nothing. Never backwards (that is ``jump``)."""
        if seconds < 0:
            raise LocalViolation(f"time passes forwards; got {seconds} s; jump(…) sets the wall clock back")
        await asyncio.sleep(seconds)


class SimulatedNet:
    """Machines by name, each with a disk and at most one open journal. Wholly determined by *seed* and the calls made.

    Belongs to the virtual loop it is used on; ``run`` runs a coroutine there.
    """

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        self._folder = folder
        self._seed = seed
        work = self._stream("work")
        self._runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self.loop = VirtualLoop(delay_of=lambda: WORK_S * (1 + work.random()))
        self.clock = SimulatedClock(self.loop)
        self.network = VirtualNetwork(self._stream("network"), loop=self.loop)
        self._randomness: dict[str, Random] = {}
        self._platters: dict[str, Platter] = {}
        self._open: dict[str, tuple[Journal, VirtualDisk]] = {}
        self._has_failed = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the virtual loop. Raises ``Deadlock``, naming who waits, when nobody can go on."""
        try:
            return self._runner.run(work)
        except BaseException:
            self._has_failed = True
            raise

    # Journals

    async def open(
        self,
        name: str,
        *,
        types: Iterable[type[Fact]] = (),
        has_history: bool = False,
        author: str | None = None,
    ) -> Journal:
        """Open the journal of the machine *name*, creating it the first time.

        *has_history* opens the real DuckDB as well, so that ``journal.sql`` works; that takes 30 ms of real time.
        """
        if name in self._open:
            raise LocalViolation(f"the journal of {name!r} is open; close or crash it first")
        platter = self._platters.setdefault(name, Platter(self._folder / name, self._stream(f"{name}/disk")))
        disk = VirtualDisk(platter)
        engine = await open_engine(
            platter.folder,
            author=author or name,
            types=types,
            clock=self.clock,
            random_bytes=self._randomness.setdefault(name, self._stream(name)).randbytes,
            disk=disk,
            threads=InlineThreads(self.loop),
            open_database=None if has_history else no_database,
        )
        journal = Journal(engine)
        self._open[name] = (journal, disk)
        return journal

    async def replicas(self, *names: str, types: Iterable[type[Fact]] = ()) -> tuple[Journal, ...]:
        """Open several at once."""
        return tuple([await self.open(name, types=types) for name in names])

    async def close(self, journal: Journal) -> None:
        """Close a journal in good order."""
        del self._open[self.name_of(journal)]
        await journal.close()

    async def crash(self, journal: Journal, *, is_power_loss: bool = True) -> None:
        """Kill a journal's process; with *is_power_loss* what was not synced is lost, torn or scattered.

        Calls that wait for the journal fail. Open it again by its name.
        """
        name = self.name_of(journal)
        _, disk = self._open.pop(name)
        disk.release()
        if journal.engine.follower.statistics().is_available:
            await journal.engine.follower.close()
        journal.engine.kill()
        if is_power_loss:
            self._platters[name].lose_power()

    def disk(self, journal: Journal) -> DiskFaults:
        """How often the calls of a journal's disk fail, to be changed by the test."""
        return self._platters[self.name_of(journal)].faults

    def rot(self, name: str) -> str:
        """Damage one place in the log of a journal that is closed; says which."""
        if name in self._open:
            raise LocalViolation(f"the journal of {name!r} is open; close or crash it before its disk rots")
        rot = self._platters[name].rot()
        return str(rot) if rot is not None else ""

    def name_of(self, journal: Journal) -> str:
        """The machine that a journal is open on."""
        for name, (each, _) in self._open.items():
            if each is journal:
                return name
        raise LocalViolation(f"{journal!r} is not open on this network; open it with simnet.open(name)")

    # The network

    async def sync(self, here: Journal, there: Journal) -> SyncReport:
        """Exchange over the network what either lacks; *there* serves for as long as that takes.

        Raises ``PeerUnreachable`` when the network lets nobody through.
        """
        async with self.serve(there, port=0) as server:
            return await sync_address(here.engine, server.address, settings=self.settings(here))

    def serve(self, journal: Journal, *, port: int = PORT) -> SyncServer:
        """Let others connect: ``async with simnet.serve(ben): …``."""
        address = f"tcp://{self.name_of(journal)}:{port}"
        return serve(journal.engine, address, settings=self.settings(journal))

    def link(self, here: Journal, there: Journal) -> Link:
        """Stay in touch with a journal that serves: ``async with simnet.link(ada, ben) as link: …``."""
        address = f"tcp://{self.name_of(there)}:{PORT}"
        return link(here.engine, address, settings=self.settings(here))

    def partition(self, *groups: Iterable[Journal]) -> None:
        """Only journals of one group reach each other; those that are not named form a group of their own."""
        self.network.partition(*([self.name_of(journal) for journal in group] for group in groups))

    def heal(self) -> None:
        """Everybody reaches everybody, over kind links."""
        self.network.heal()

    @property
    def quality(self) -> Quality:
        """How kind the links are; change it, or put another in its place."""
        return self.network.quality

    @quality.setter
    def quality(self, quality: Quality) -> None:
        self.network.quality = quality

    def settings(self, journal: Journal) -> SyncSettings:
        """How a journal of this network syncs, for services of one's own."""
        name = self.name_of(journal)
        host = self.network.host(name)
        return SyncSettings(
            agent=name,
            random_bytes=self._randomness[name].randbytes,
            elapsed_s=lambda: self.loop.elapsed_s,
            connect=host.connect,
            listen=host.listen,
        )

    def end(self) -> None:
        """Close what is open, end the loop, and fail when somebody left subscriptions or tasks behind."""
        with ExitStack() as stack:
            stack.callback(self._runner.close)
            if self._has_failed:
                # The test's own news comes first: whatever it left behind is ended with the loop.
                for journal, disk in self._open.values():
                    disk.release()
                    journal.engine.kill()
                return
            followed = self._followed()
            self.run(self._close_all())
            assert not followed, (
                f"subscriptions that nobody ended: {', '.join(followed)}; leave their `async with`, or close() them"
            )
            left = [task.get_name() for task in asyncio.all_tasks(self.loop) if not task.done()]
            assert not left, f"tasks that nobody ended: {left}"

    def _followed(self) -> list[str]:
        """The signals that are still followed, by journal: a journal follows none of its own."""
        return [
            f"{each.subscriber_count} of {each.signal_id!r} in the journal of {name!r}"
            for name, (journal, _) in self._open.items()
            for each in journal.engine.hub.statistics()
            if each.subscriber_count
        ]

    async def _close_all(self) -> None:
        for journal, _ in tuple(self._open.values()):
            await self.close(journal)

    def _stream(self, label: str) -> Random:
        return Random(int.from_bytes(sha256(f"{self._seed}/{label}".encode()).digest()[:8], "big"))

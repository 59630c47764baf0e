"""``World(seed)``: real journals on a virtual loop, disk and network, a schedule of misfortunes, and one oracle.

The codec, the log, sessions, services, the engine, the scheduler and the views are the real ones; DuckDB is one that is
always away (it is tested for real elsewhere). Everything that happens is a function of the seed and the switches: the
same trace, byte for byte, in every process and under every hash seed. Each run ends with the liveness phase: whatever
was broken is mended, and then all replicas must agree within a few rounds.

After TigerBeetle's VOPR and FoundationDB's simulator.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import NamedTuple
from unittest.mock import patch

from antiphon.facts import AfterLink, AntiphonError, Fact, FactId, FactRecord, hlc_ms
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.runtime.services.sync import SyncSettings, sync_once

from ..replica import MemoryReplica
from .adversary import FORGED_TEXT, Equivocator, Forger
from .disk import DiskFaults
from .facts import HUSHED_KIND, Dated, Hushed, Roomed, Said
from .loop import Process, VirtualLoop, describe_waiting, settle
from .network import VirtualNetwork
from .node import EPOCH_MS, Node, RunCache
from .swarm import DEFAULT_SWITCHES, FORKING, Swarm, Switches, draw_swarm

# All sync with one of them once a round: the second round carries what the first brought there, the third is grace.
ROUNDS_MAX = 3
# Larger jumps than any journal bears with, both ways.
JUMPS_MS = (-3_600_000, -250_000, -1_000, 1_000, 250_000, 400_000, 7_200_000)
# After this much every fact that was written under a wrong clock is due.
MENDED_S = 12_000.0
# A word's own time is now, give or take this, on a coarse grid, so that many share one.
DATED_GRID_MS = 1_000
COMMANDS_S_MAX = 120.0
# A keep-alive, the longest back-off, a recheck, and the same again for what was learned meanwhile.
LINKED_S = 300.0
MEMORY_FOLDER = Path("/dev/shm")


class Violation(AssertionError):
    """The oracle's verdict: what was promised and not kept."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed: ``problems`` is empty when every promise was kept."""

    seed: int
    problems: tuple[str, ...]
    trace_hash: str
    trace: tuple[str, ...]
    fact_count: int
    virtual_s: float
    step_count: int

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept."""
        return not self.problems

    def without_trace(self) -> Outcome:
        """The same, but for the lines."""
        return replace(self, trace=())


class Attempt(NamedTuple):
    """A word that somebody tried to commit."""

    author: str
    is_honest: bool


def run_seed(seed: int, switches: Switches = DEFAULT_SWITCHES) -> Outcome:
    """Live through one seed; some ten milliseconds.

    >>> run_seed(1).is_good
    True
    """
    return World(seed, switches).run()


class World:
    """One run."""

    def __init__(self, seed: int, switches: Switches = DEFAULT_SWITCHES) -> None:
        self.seed = seed
        self.switches = switches
        self.random = self._stream("world")
        self.swarm: Swarm = draw_swarm(self._stream("swarm"), switches)
        self.trace: list[str] = []
        self.problems: list[str] = []
        self.nodes: list[Node] = []
        self.attempts: dict[str, Attempt] = {}
        self.acknowledged: dict[FactId, str] = {}
        self.times: dict[str, int] = {}
        self._digest = sha256()
        self._cache: RunCache = {}
        self._words = 0
        self._works: dict[asyncio.Task[None], None] = {}
        work = self._stream("work")
        self.loop = VirtualLoop(delay_of=lambda: self.swarm.work_s + work.random() * self.swarm.work_jitter_s)
        self.network = VirtualNetwork(
            self._stream("network"), quality=self.swarm.quality, tell=self._hear, loop=self.loop
        )
        self._strangers = Process("strangers", self.loop)
        self._members = 0
        self._is_mended = False
        self._is_over = False

    def run(self) -> Outcome:
        """From the first start to the verdict."""
        small_files = patch("antiphon.journal.stores.log.FILE_BYTES_MAX", self.swarm.log_file_bytes)
        with small_files, memory_folder() as folder, asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            try:
                runner.run(self._live(folder))
            except Violation as problem:
                self.problems.append(str(problem))
            except Exception as problem:  # a run ends here: whatever broke is the seed's outcome
                self.problems.append(f"{type(problem).__name__}: {problem}")
            if self.problems:
                self._is_over = True
                for node in self.nodes:
                    node.abandon()
        for line in self.trace:
            self._digest.update(line.encode())
        return Outcome(
            self.seed,
            tuple(self.problems),
            self._digest.hexdigest(),
            tuple(self.trace),
            self._members,
            self.loop.elapsed_s,
            self.loop.step_count,
        )

    # The course of a run

    async def _live(self, folder: Path) -> None:
        self.loop.set_exception_handler(self._on_loose_end)
        for number in range(self.swarm.node_count):
            self.nodes.append(self._make_node(f"n{number}", folder / f"n{number}"))
        for first, second in self.swarm.links:
            self.nodes[first].links.append(self.nodes[second].address)
        for node in self.nodes:
            node.start()
            await node.wait_open()
        names = list(self.swarm.weights)
        weights = list(self.swarm.weights.values())
        for node in self.nodes:
            node.platter.faults = self.swarm.disk
        for _ in range(self.swarm.step_count):
            self._reap()
            await COMMANDS[self.random.choices(names, weights)[0]](self)
            await asyncio.sleep(self.random.random() * self.swarm.pause_s)
        await self._mend()
        await self._converge()
        await self._end()

    def _make_node(self, name: str, folder: Path) -> Node:
        return Node(
            name,
            folder,
            loop=self.loop,
            network=self.network,
            random=self._stream(name),
            tell=self._hear,
            cache=self._cache,
        )

    async def _mend(self) -> None:
        """Heal everything: the weather, the disks, the clocks, and who lies dead."""
        self._is_mended = True
        self.network.heal()
        for node in self.nodes:
            node.platter.faults = DiskFaults()
            if node.clock.offset_ms:
                node.clock.set(0)
            if node.disk is not None:
                node.disk.live_on()
        await self._finish_works()
        self._reap()
        for node in self.nodes:
            if node.is_up:
                continue
            if node.process is None:
                node.start()
            if not await node.wait_open():
                raise Violation(f"{node.name} does not open again: {self.trace[-3:]}")
        self.say("mended")
        self._collect_losses()

    async def _converge(self) -> None:
        """All replicas agree within a few rounds, and show the same."""
        owed: dict[FactId, FactRecord] = {}
        for node in self.nodes:
            owed.update(node.members())
        if len(self.swarm.links) >= len(self.nodes) - 1:
            # Everybody is linked with everybody, if only through others: they meet again by themselves.
            await asyncio.sleep(LINKED_S)
            if not self._agrees():
                raise Violation(f"links did not agree in {LINKED_S:g} s: {self._fingerprints()}")
        for number in range(1, ROUNDS_MAX + 1):
            if self._agrees():
                break
            hub, *others = self.nodes
            for node in others:
                told = await node.sync(hub.address)
                self.say(f"round {number} {node.name}>{hub.name} {told}")
        if not self._agrees():
            raise Violation(f"no agreement after {ROUNDS_MAX} rounds: {self._fingerprints()}")
        await asyncio.sleep(MENDED_S)
        self._judge_members(owed)
        await self._judge_views()
        await self._judge_clocks()

    async def _end(self) -> None:
        """Everybody goes home, and leaves nothing behind."""
        for node in self.nodes:
            await node.stop()
        for node in self.nodes:
            await node.bury()
        self._collect_losses()
        await asyncio.sleep(0)
        orphans = asyncio.all_tasks() - {asyncio.current_task()}
        if orphans:
            raise Violation("tasks that nobody ended:\n" + describe_waiting(self.loop))
        if self.network.connection_count:
            raise Violation(f"{self.network.connection_count} ends of connections are still open")

    def _reap(self) -> None:
        """Note who died of a call on the disk."""
        for node in self.nodes:
            if node.process is not None and node.process.is_dead:
                is_power = self.random.random() < 0.5
                self.say(f"{node.name} died in a call{' as the power went' if is_power else ''}")
                node.die(is_power=is_power)
        self._collect_losses()

    def _collect_losses(self) -> None:
        for node in self.nodes:
            if node.losses:
                raise Violation("; ".join(node.losses))

    async def _finish_works(self) -> None:
        late = await settle(tuple(self._works), timeout_s=COMMANDS_S_MAX)
        living = [task for task in late if not _is_of_the_dead(task, self.nodes)]
        if living:
            raise Violation("commands that never end:\n" + describe_waiting(self.loop))
        self._works.clear()

    # Commands

    async def commit(self) -> None:
        """Somebody says a word or a few, and goes on without waiting."""
        node = self._pick_up()
        if node is not None:
            self._do(node, self._commit(node, self._draw_facts(node, self.random.choice((1, 1, 1, 2, 5)))), "commit")

    async def commit_many(self) -> None:
        """Somebody says a lot at once."""
        node = self._pick_up()
        if node is not None:
            self._do(node, self._commit(node, self._draw_facts(node, 40)), "commit many")

    async def sync(self) -> None:
        """Two exchange what they lack."""
        node = self._pick_up()
        if node is not None:
            peer = self.random.choice([other for other in self.nodes if other is not node])
            self._do(node, self._sync(node, peer), "sync")

    async def pause(self) -> None:
        """Time passes."""
        await asyncio.sleep(self.random.choice((0.003, 0.03, 0.3, 12.0)))

    async def kill(self) -> None:
        """A process is killed."""
        node = self._pick_up()
        if node is not None:
            self.say(f"{node.name} killed")
            node.die(is_power=False)

    async def power(self) -> None:
        """A machine loses its power."""
        node = self._pick_up()
        if node is not None:
            self.say(f"{node.name} without power")
            node.die(is_power=True)

    async def die_in_call(self) -> None:
        """A process will die inside one of its next calls on the disk."""
        node = self._pick_up()
        if node is not None and node.disk is not None:
            node.disk.die_after(self.random.randrange(4))

    async def stop(self) -> None:
        """A journal is closed in good order."""
        node = self._pick_up()
        if node is not None:
            self.say(f"{node.name} stops")
            await node.stop()

    async def look(self) -> None:
        """Somebody opens another view."""
        node = self._pick_up()
        if node is not None:
            self._do(node, node.look(), "look")

    async def seal(self) -> None:
        """Closed log files become Parquet."""
        node = self._pick_up()
        if node is not None:
            self._do(node, self._seal(node), "seal")

    async def hush(self) -> None:
        """Somebody says a few words that nobody will ask for."""
        node = self._pick_up()
        if node is not None:
            self._do(node, self._hush(node, self.random.choice((1, 2, 4))), "hush")

    async def collapse(self) -> None:
        """Somebody lets go of such words."""
        node = self._pick_up()
        if node is not None:
            self._do(node, self._collapse(node), "collapse")

    async def restart(self) -> None:
        """A dead machine comes back."""
        node = self._pick_down()
        if node is not None:
            node.start()
            is_open = await node.wait_open()
            self.say(f"{node.name} {'is back' if is_open else 'does not open'}")

    async def partition(self) -> None:
        """The network falls apart in two."""
        group = [node.name for node in self.nodes if self.random.random() < 0.5]
        self.say(f"partition {group}")
        self.network.partition(group)

    async def cut(self) -> None:
        """One direction goes silent."""
        first, second = self.random.sample(self.nodes, 2)
        self.say(f"cut {first.name}>{second.name}")
        self.network.cut(first.name, second.name)

    async def heal(self) -> None:
        """The network is whole again, though not kinder."""
        self.say("heal")
        self.network.heal()
        self.network.quality = self.swarm.quality

    async def reset(self) -> None:
        """A middlebox forgets its connections."""
        first, second = self.random.sample(self.nodes, 2)
        self.say(f"reset {first.name}-{second.name}")
        self.network.break_connections(first.name, second.name)

    async def jump(self) -> None:
        """A wall clock jumps."""
        node = self.random.choice(self.nodes)
        node.clock.set(self.random.choice(JUMPS_MS) if not node.clock.offset_ms else 0)
        self.say(f"{node.name} clock {node.clock.offset_ms:+d} ms")

    async def rot(self) -> None:
        """A disk at rest goes bad."""
        node = self._pick_down()
        if node is not None:
            rot = node.platter.rot()
            if rot is not None:
                node.rots.append(rot)
                self.say(f"{node.name} rots: {rot}")

    async def backup(self) -> None:
        """Somebody copies a journal's folder."""
        node = self.random.choice(self.nodes)
        if node.is_starting or not node.platter.folder.exists():
            return
        self.say(f"{node.name} is backed up")
        node.images.append(node.platter.take_image())

    async def restore(self) -> None:
        """A backup replaces a folder."""
        await self._put_back(in_place=False)

    async def relive(self) -> None:
        """A folder is copied, others learn what is written next, and then the copy takes the folder's place."""
        await self._relive(in_place=False)

    async def relive_unnoticed(self) -> None:
        """The same with a volume's image; nothing in the folder tells."""
        await self._relive(in_place=True)

    async def relive_collapsed(self) -> None:
        """The same, and who learned it has let go of it meanwhile."""
        await self._relive(in_place=True, is_collapsed=True)

    async def roll_back(self) -> None:
        """A volume goes back to an older image of itself; nothing in the folder tells."""
        await self._put_back(in_place=True)

    async def forge(self) -> None:
        """Somebody who learned our chains continues one, or changes a word in it."""
        node = self._pick_up()
        if node is not None:
            self._do(None, self._forge(node, is_altered=self.random.random() < 0.5), "forge")

    async def stray(self) -> None:
        """A stranger with a chain of its own comes by."""
        node = self._pick_up()
        if node is not None:
            stranger = MemoryReplica(seed=self.random.getrandbits(32), label="stray", wall_ms=self._wall_ms())
            text = self._draw_word("stray", is_honest=False)
            stranger.commit_texts([text])
            self._do(None, self._visit(stranger, node, "stray"), "stray")

    async def equivocate(self) -> None:
        """An author tells two peers two stories."""
        node = self._pick_up()
        if node is None:
            return
        other = self.random.choice(self.nodes)
        author = Equivocator(seed=self.random.getrandbits(32), wall_ms=self._wall_ms())
        words = [self._draw_word("janus", is_honest=False) for _ in range(4)]
        author.tell(words[: self.random.randrange(2)], (words[1:2], words[2 : 3 + self.random.randrange(2)]))
        self._do(None, self._visit(author.faces[0], node, "janus"), "equivocate")
        self._do(None, self._visit(author.faces[1], other, "janus"), "equivocate")

    async def image(self) -> None:
        """A volume is snapshotted below a running journal."""
        await self.backup()

    # What commands do in a process's name

    async def _commit(self, node: Node, facts: list[Fact]) -> None:
        engine = node.engine
        assert engine is not None, "it was up when this began"
        words = [_word_of(fact) for fact in facts]
        try:
            result = await engine.commit(facts)
        except AntiphonError as problem:
            self.say(f"{node.name} commit {words[0]} refused: {type(problem).__name__}")
            return
        for word, record in zip(words, result.records, strict=True):
            self.times[word] = record.at
            if record.kind != HUSHED_KIND:
                self.acknowledged[record.fact_id] = node.name
                node.acknowledged.add(record.fact_id)
        self.say(f"{node.name} said {words[0]}{f' +{len(words) - 1}' if len(words) > 1 else ''}")
        await engine.views.settle()
        if node.engine is engine:
            self._judge_reading(node, words, result.records)

    async def _seal(self, node: Node) -> None:
        assert node.engine is not None, "it was up when this began"
        try:
            sealed = await node.engine.keeper.seal()
        except AntiphonError as problem:
            self.say(f"{node.name} seals nothing: {type(problem).__name__}")
        else:
            self.say(f"{node.name} sealed {len(sealed)} files")

    async def _hush(self, node: Node, count: int) -> None:
        for _ in range(count):
            await self._commit(node, [Hushed(text=self._draw_word(node.name))])

    async def _collapse(self, node: Node) -> None:
        try:
            count = await node.collapse()
        except AntiphonError as problem:
            self.say(f"{node.name} collapses nothing: {type(problem).__name__}")
        else:
            self.say(f"{node.name} collapsed {count} runs")

    async def _sync(self, node: Node, peer: Node) -> None:
        told = await node.sync(peer.address)
        self.say(f"{node.name}>{peer.name} {told}")

    async def _forge(self, node: Node, *, is_altered: bool) -> None:
        forger = Forger(seed=self.random.getrandbits(32), wall_ms=self._wall_ms())
        await self._visit(forger, node, "mallory")
        if forger.forge(is_altered=is_altered):
            victim = self.random.choice(self.nodes)
            await self._visit(forger, victim, "mallory")

    async def _visit(self, guest: MemoryReplica, node: Node, name: str) -> None:
        host = self.network.host(name)
        settings = SyncSettings(agent=name, random_bytes=self.random.randbytes, elapsed_s=self.loop.time)
        try:
            report = await sync_once(guest, await host.connect(node.address, timeout=5.0), settings=settings)
        except AntiphonError as problem:
            self.say(f"{name}>{node.name} {type(problem).__name__}")
        else:
            self.say(f"{name}>{node.name} {report.outcome.value} +{report.received} -{report.sent}")

    async def _put_back(self, *, in_place: bool) -> None:
        candidates = [node for node in self.nodes if node.images and not node.is_starting]
        if not candidates:
            return
        node = self.random.choice(candidates)
        if node.is_up:
            if self.random.random() < 0.5:
                await node.stop()
            else:
                node.die(is_power=False)
        if node.process is not None:
            return  # its disk killed it while it closed
        self.say(f"{node.name} goes back to {'an image' if in_place else 'a backup'}")
        node.platter.put_back(self.random.choice(node.images), in_place=in_place)
        node.is_damaged = True

    async def _relive(self, *, in_place: bool, is_collapsed: bool = False) -> None:
        node = self._pick_up()
        if node is None or node.engine is None:
            return
        peer = self.random.choice([other for other in self.nodes if other is not node])
        node.images.append(node.platter.take_image())
        last = self._hush_and_sync(node, peer) if is_collapsed else self._commit_and_sync(node, peer)
        work = node.spawn(last, name="last words")
        if await settle([work], timeout_s=COMMANDS_S_MAX) or not node.is_up:
            return
        node.die(is_power=False)
        if is_collapsed and peer.is_up:
            await settle([peer.spawn(self._collapse(peer), name="collapse")], timeout_s=COMMANDS_S_MAX)
        self.say(f"{node.name} goes back to {'an image' if in_place else 'a backup'} of a moment ago")
        node.platter.put_back(node.images[-1], in_place=in_place)
        node.is_damaged = True
        node.start()
        await node.wait_open()
        if is_collapsed and node.is_up:
            self._do(node, self._commit(node, self._draw_facts(node, 1)), "first words")

    async def _commit_and_sync(self, node: Node, peer: Node) -> None:
        await self._commit(node, self._draw_facts(node, 2))
        await self._sync(node, peer)

    async def _hush_and_sync(self, node: Node, peer: Node) -> None:
        await self._hush(node, 3)
        await self._sync(node, peer)

    # The oracle

    def _judge_reading(self, node: Node, words: list[str], records: tuple[FactRecord, ...]) -> None:
        """Whoever was told that a word is durable reads it, and what was once shown stays."""
        shown = frozenset(node.value)
        horizon = node.clock.now_ms() + SKEW_MS_MAX
        missing = [
            word
            for word, record in zip(words, records, strict=True)
            if record.at <= horizon and word not in shown and record.kind != HUSHED_KIND
        ]
        if missing and not node.clock.offset_ms:
            raise Violation(f"{node.name} does not read its own words {missing[:3]}")
        if not node.clock.has_jumped:
            early = [word for word in shown if self.times.get(word, 0) > horizon]
            if early:
                raise Violation(f"{node.name} shows {early[:3]} before their time")
        if not node.shown <= shown:
            raise Violation(f"{node.name} showed {sorted(node.shown - shown)[:3]} before and does not any more")
        node.shown = shown
        # The furthest that its own clock ever was ahead: it may have been set right while this was being written.
        ahead = max(hlc_ms(record.hlc) for record in records) - self._wall_ms() - node.clock.ahead_ms_max
        if ahead > SKEW_MS_MAX + 60_000:
            raise Violation(f"{node.name} writes {ahead} ms ahead of its own clock")

    def _judge_members(self, owed: dict[FactId, FactRecord]) -> None:
        """Nothing that somebody held is lost, nothing comes from nowhere, and everybody holds the same."""
        held = self.nodes[0].members(is_cached=False)
        self._members = len(held)
        for node in self.nodes[1:]:
            if node.members(is_cached=False).keys() != held.keys():
                raise Violation(f"{node.name} and {self.nodes[0].name} agree on a root and hold different facts")
        excused = set().union(*(node.excused for node in self.nodes))
        lost = owed.keys() - held.keys()
        if lost:
            raise Violation(f"{len(lost)} facts that a replica held are gone")
        lost = self.acknowledged.keys() - held.keys() - excused
        if lost:
            raise Violation(f"{len(lost)} acknowledged facts are gone, first of {self.acknowledged[min(lost)]}")
        words: set[str] = set()
        for record in held.values():
            if record.kind.startswith("journal."):
                continue
            word = _text_of(record)
            if word not in self.attempts:
                raise Violation(f"a fact from nowhere: {record.line[-80:]!r}")
            if word in words:
                raise Violation(f"{word} was said once and is held twice")
            author = self.attempts[word].author
            if author != record.chain.label and self.attempts[word].is_honest:
                raise Violation(f"{word} was said by {author} and is held as {record.chain.label}'s")
            words.add(word)
        places = {(record.chain.chain, record.seq) for record in held.values()}
        if FORKING.isdisjoint(self.swarm.weights) and len(places) != len(held):
            raise Violation("an honest chain has two stories: a number was used twice")
        self._judge_causes(held)

    def _judge_causes(self, held: dict[FactId, FactRecord]) -> None:
        """What follows from something is stamped after it, as long as no clock is wrong; and its cause is there."""
        # By id as well: of a forked chain two facts have one number.
        sealed = {(record.chain.chain, record.seq, record.fact_id[:16]): record for record in held.values()}
        for record in held.values():
            for link in record.after:
                cause = sealed.get((link.chain, link.seq, link.short_id))
                if cause is None and self._is_hushed(link):
                    continue
                if cause is None:
                    raise Violation(f"{record.kind} #{record.seq} is held without its cause")
                if "jump" not in self.swarm.weights and cause.hlc >= record.hlc:
                    raise Violation(
                        f"{record.kind} #{record.seq} is stamped before its cause {cause.kind} #{cause.seq}"
                    )

    def _is_hushed(self, link: AfterLink) -> bool:
        """Whether a fact is a member everywhere, though no longer a line that one could read."""
        return all(node.engine is not None and node.engine.index.has(link) for node in self.nodes)

    async def _judge_views(self) -> None:
        """Every view shows the words of the set in stamp order, what its own disk kept behind a hole, and no more."""
        members = self.nodes[0].members()
        for node in self.nodes:
            assert node.engine is not None, "everybody is up"
            shown = (members | node.shown_behind_holes()).values()
            records = sorted(shown, key=lambda record: record.stamp)
            shown_kinds = (
                record for record in records if record.kind.startswith("sim.") and record.kind != HUSHED_KIND
            )
            expected = tuple(map(_text_of, shown_kinds))
            await node.engine.views.settle()
            for value in (node.value, node.late_value):
                if value is not None and value != expected:
                    missing, extra = set(expected) - set(value), set(value) - set(expected)
                    raise Violation(
                        f"{node.name} shows {len(value)} words where the set has {len(expected)}; "
                        f"missing {sorted(missing)[:3]}, extra {sorted(extra)[:3]}"
                        + ("" if missing or extra else "; the order differs")
                    )

    async def _judge_clocks(self) -> None:
        """With its clock right again, everybody can write, near its clock, and is heard."""
        for node in self.nodes:
            await self._commit(node, self._draw_facts(node, 1))

    def _agrees(self) -> bool:
        return len(set(self._fingerprints().values())) == 1

    def _fingerprints(self) -> dict[str, str]:
        return {
            node.name: node.engine.index.fingerprint()[:16] if node.engine is not None else "down"
            for node in self.nodes
        }

    # Small things

    def say(self, what: str) -> None:
        """Write a line of the trace."""
        self.trace.append(f"{self.loop.elapsed_s * 1_000:12.3f} {what}")

    def _hear(self, what: str, data: bytes) -> None:
        """What happens too often for a line, but belongs to the trace's hash."""
        self._digest.update(f"{self.loop.elapsed_s:.6f} {what} ".encode() + data)

    def _do(self, node: Node | None, work: Coroutine[object, object, None], name: str) -> None:
        task = node.spawn(work, name=name) if node is not None else self._strangers.spawn(work, name=name)
        self._works[task] = None
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._works.pop(task, None)
        if not self._is_over and not task.cancelled() and (problem := task.exception()) is not None:
            self.problems.append(f"{task.get_name()}: {type(problem).__name__}: {problem}")

    def _on_loose_end(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        if not self._is_over:
            self.problems.append(f"the loop was told: {context.get('message')}: {context.get('exception')!r}")

    def _pick_up(self) -> Node | None:
        return self._pick(lambda node: node.is_up)

    def _pick_down(self) -> Node | None:
        return self._pick(lambda node: node.process is None)

    def _pick(self, is_wanted: Callable[[Node], bool]) -> Node | None:
        found = [node for node in self.nodes if is_wanted(node)]
        return self.random.choice(found) if found else None

    def _draw_facts(self, node: Node, count: int) -> list[Fact]:
        return [self._draw_fact(node) for _ in range(count)]

    def _draw_fact(self, node: Node) -> Fact:
        word = self._draw_word(node.name)
        if "hush" in self.swarm.weights and self.random.random() < 0.4:
            return Hushed(text=word)
        chance = self.random.random()
        if chance < 0.6:
            return Said(text=word)
        if chance < 0.8:
            at_ms = self._wall_ms() + self.random.randrange(-20, 3) * DATED_GRID_MS
            return Dated(text=word, at_ms=at_ms - at_ms % DATED_GRID_MS)
        return Roomed(text=word, room=self.random.choice(("kitchen", "attic")))

    def _draw_word(self, author: str, *, is_honest: bool = True) -> str:
        self._words += 1
        word = f"{author}.{self._words}"
        self.attempts[word] = Attempt(author, is_honest)
        return word

    def _wall_ms(self) -> int:
        return EPOCH_MS + int(self.loop.elapsed_s * 1_000)

    def _stream(self, label: str) -> Random:
        """A stream of its own for each consumer, so that a new one does not shift the others."""
        return Random(int.from_bytes(sha256(f"{self.seed}/{label}".encode()).digest()[:8], "big"))


COMMANDS = {
    name: getattr(World, name)
    for name in (
        "commit",
        "commit_many",
        "sync",
        "pause",
        "kill",
        "power",
        "die_in_call",
        "stop",
        "look",
        "seal",
        "hush",
        "collapse",
        "restart",
        "partition",
        "cut",
        "heal",
        "reset",
        "jump",
        "rot",
        "backup",
        "restore",
        "roll_back",
        "relive",
        "relive_unnoticed",
        "relive_collapsed",
        "forge",
        "stray",
        "equivocate",
        "image",
    )
}


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder on a memory file system where the machine has one, gone afterwards."""
    where = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="antiphon-sim-", dir=where) as folder:
        yield Path(folder)


def _word_of(fact: Fact) -> str:
    word: str = fact.text  # type: ignore[attr-defined]  # all simulated types have one
    return word


def _text_of(record: FactRecord) -> str:
    payload = record.line.partition(b'"text":"')[2]
    return payload.partition(b'"')[0].decode()


def _is_of_the_dead(task: asyncio.Task[None], nodes: list[Node]) -> bool:
    living = {pending for node in nodes if node.is_up and node.process for pending in node.process.pending}
    return task not in living


__all__ = ["COMMANDS", "FORGED_TEXT", "Outcome", "Violation", "World", "run_seed"]

"""A machine that sends guarded messages, dies at one chosen point, comes back, and is held against what it promised.

Every step of the loop and every call on the disk is a point, so that every step between a snapshot and the note that an
envelope has left is followed by a death, by ``kill -9`` and by a power cut. The receiver is outside: what arrived there
stays, and it drops an id that it has seen. Apart from `World`: there deaths are drawn and disks also rot and are put
back, after which an outbox promises less, so it would need an oracle of its own and could not visit every point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

from antiphon.facts import AntiphonError, Fact
from antiphon.journal import read_members
from antiphon.journal.guard_book import GuardBook, Letter, PlanEntry, plans_note
from antiphon.runtime.engine import JournalEngine
from antiphon.runtime.guards.commands import LeakClaim, SendRequest
from antiphon.runtime.guards.guard import EffectGuard, OwnerCapabilities
from antiphon.runtime.guards.outbox import Outbox, note_left
from antiphon.runtime.guards.production import ProductionEffectInterpreter
from antiphon.runtime.guards.receipts import verify_receipt
from antiphon.runtime.guards.window import Guarded
from antiphon.runtime.opening import open_engine
from antiphon.runtime.resilience.budget import Timing

from .disk import Platter, VirtualDisk
from .loop import Process, VirtualLoop, settle
from .node import NodeClock, no_database
from .threads import InlineThreads
from .world import memory_folder

COST = 10
BITS = 3
FLOW = 1_024
LEAKAGE = 1_000
SINGLES = ("m1", "m2", "m3")
TOGETHER = ("w1", "w2", "w3", "w4")
# A life takes milliseconds; one that takes this long waits for something that will not come.
LIFE_S_MAX = 60.0


class Told(Fact, kind="sim.told", version=1):
    """What a message says, committed with it."""

    text: str


class Left(Fact, kind="sim.left", version=1):
    """That a message has left."""

    text: str


class Point(NamedTuple):
    """Where the machine dies: before a step of its loop, or inside a call on its disk; and whether the power goes."""

    is_call: bool
    number: int
    is_power: bool


class GuardedOutcome(NamedTuple):
    """What became of a run: no problem, and how many steps and calls the first life had."""

    problems: tuple[str, ...]
    step_count: int
    call_count: int


def run_guarded(seed: int = 0, point: Point | None = None) -> GuardedOutcome:
    """Live, die at *point*, come back, ask for everything again, and come back once more; some ten milliseconds.

    >>> run_guarded().problems
    ()
    """
    with memory_folder() as folder:
        machine = _Machine(folder / "j", seed)
        with asyncio.Runner(loop_factory=lambda: machine.loop) as runner:
            try:
                runner.run(machine.live(point))
            except Exception as problem:  # a run ends here: whatever broke is its outcome
                machine.problems.append(f"{type(problem).__name__}: {problem}")
        return GuardedOutcome(tuple(machine.problems), machine.step_count, machine.call_count)


def points_of(outcome: GuardedOutcome) -> Iterator[Point]:
    """Every point of a run that went well."""
    for is_power in (False, True):
        yield from (Point(False, number, is_power) for number in range(outcome.step_count + 1))
        yield from (Point(True, number, is_power) for number in range(outcome.call_count))


class _Machine:
    """The machine, its receiver, and what it promised."""

    def __init__(self, folder: Path, seed: int) -> None:
        work = Random(f"{seed}/work")
        self.loop = VirtualLoop(delay_of=lambda: work.random() * 0.002)
        self.random = Random(f"{seed}/machine")
        self.platter = Platter(folder, Random(f"{seed}/disk"))
        self.clock = NodeClock(self.loop)
        self.problems: list[str] = []
        self.arrived: list[tuple[str, str]] = []
        self.acknowledged: set[str] = set()
        self.receipts: dict[int, str] = {}
        self._guard: EffectGuard | None = None
        self.step_count = self.call_count = 0

    async def live(self, point: Point | None) -> None:
        process = await self._life(self._send_all, point)
        if point is None:
            self.step_count = process.step_count
        await self._life(self._come_back, None)
        await self._life(self._send_all, None)
        await self._life(self._come_back, None)
        if self.acknowledged != {*SINGLES, *TOGETHER}:
            self.problems.append(f"asked again, {sorted(self.acknowledged)} are acknowledged, and not all")

    async def _life(self, course: Callable[[EffectGuard], Awaitable[None]], point: Point | None) -> Process:
        process = Process("machine", self.loop)
        calls = 0

        def count(_: str, __: bytes) -> None:
            nonlocal calls
            calls += 1

        disk = VirtualDisk(self.platter, process, on_call=count)
        if point is not None and point.is_call:
            disk.die_after(point.number)
        elif point is not None:
            process.die_after(point.number)
        engines: list[JournalEngine] = []
        task = process.spawn(self._run(disk, course, engines))
        late = await settle([task], timeout_s=LIFE_S_MAX)
        self.call_count = max(self.call_count, calls)
        if process.is_dead:
            for engine in engines:
                engine.kill()
            disk.release()
            if point is not None and point.is_power:
                self.platter.lose_power()
            await process.bury()
        elif late:
            self.problems.append(f"a life that does not end in {LIFE_S_MAX:g} s")
            process.kill()
            await process.bury()
        else:
            task.result()
        return process

    async def _run(
        self, disk: VirtualDisk, course: Callable[[EffectGuard], Awaitable[None]], engines: list[JournalEngine]
    ) -> None:
        engine = await open_engine(
            self.platter.folder,
            author="ada",
            clock=self.clock,
            random_bytes=self.random.randbytes,
            types=(Told, Left),
            disk=disk,
            threads=InlineThreads(self.loop),
            open_database=no_database,
        )
        engines.append(engine)
        pace = Timing(elapsed_s=self.loop.time, sleep=asyncio.sleep, chance=self.random.random)
        guard = EffectGuard(engine, capabilities=OwnerCapabilities(), deliver=self._deliver, pace=pace)
        self._guard = guard
        async with guard:
            await course(guard)
        await engine.close()

    async def _deliver(self, letter: Letter) -> None:
        """On its way for a while, there, and the answer on its way back; now and then nobody answers."""
        await asyncio.sleep(0.001)
        if self.random.random() < 0.2:
            raise AntiphonError("nobody answers")
        self.arrived.append((letter.envelope_id, letter.data.decode()))
        self._take_receipt(letter)
        await asyncio.sleep(0.001)

    def _take_receipt(self, letter: Letter) -> None:
        """The receipt that came along: signed by the sender, and no other of its number ever came."""
        assert self._guard is not None, "somebody sends"
        receipt = self._guard.receipt_for(letter)
        if receipt is None:
            self.problems.append(f"{letter.data!r} came without a receipt")
            return
        verify_receipt(receipt, self._guard.engine.folder.authority.public_key)
        known = self.receipts.setdefault(receipt.nonce, receipt.digest)
        self._check(known == receipt.digest, f"two receipts of number {receipt.nonce} came")

    # The courses of a life

    async def _send_all(self, guard: EffectGuard) -> None:
        for text in SINGLES:
            await guard.guarded(_request(text))
            self.acknowledged.add(text)
        for text, end in zip(TOGETHER, await guard.guarded_all(list(map(_request, TOGETHER))), strict=True):
            if not isinstance(end, Guarded):
                self.problems.append(f"{text} was refused: {end}")
            self.acknowledged.add(text)
        await guard.drained()

    async def _come_back(self, guard: EffectGuard) -> None:
        """Send what is left, and be judged."""
        await guard.drained()
        await guard.engine.flush()
        self._judge(guard)

    def _judge(self, guard: EffectGuard) -> None:
        engine, book = guard.engine, guard.book
        runs, read = engine.read_history(0)
        records = list(read_members(runs, read, on_damage=lambda _: None))
        told, left = (
            [_text_of(each.line) for each in records if each.kind == kind] for kind in ("sim.told", "sim.left")
        )
        seen = set(self.arrived)
        arrived = [text for _, text in seen]
        spent = FLOW - book.remaining("home", "bo")
        revealed = LEAKAGE - book.remaining_bits("home", "bo", "External", now_ms=self.clock.now_ms())
        self._check(len(told) == len(set(told)), f"facts were committed twice: {sorted(told)}")
        self._check(self.acknowledged <= set(told), f"acknowledged and gone: {sorted(self.acknowledged - set(told))}")
        self._check(len(arrived) == len(set(arrived)), f"a message came under two ids: {sorted(arrived)}")
        self._check(set(arrived) == set(told), f"{sorted(arrived)} arrived, and {sorted(told)} are in the journal")
        self._check(sorted(left) == sorted(told), f"{sorted(left)} are noted as left, and {sorted(told)} are there")
        self._check(spent == COST * len(told), f"{spent} were charged for {len(told)} messages")
        self._check(revealed == BITS * len(told), f"{revealed} bits are on record for {len(told)} messages")
        self._check(not book.letters, f"{len(book.letters)} envelopes wait, and all have left")
        self._check(book.statistics().pending_count == 0, "a plan is on its way, and nobody waits for it")

    def _check(self, is_kept: bool, otherwise: str) -> None:
        if not is_kept:
            self.problems.append(otherwise)


def _request(text: str) -> SendRequest:
    return SendRequest(
        "talk:say",
        "home",
        "bo",
        "ada",
        "talk:say",
        cost=COST,
        leaks=(LeakClaim("External", BITS),),
        facts=(Told(text=text),),
        facts_after=(Left(text=text),),
        envelope=text.encode(),
        plan_id=f"plan {text}",
    )


def _text_of(line: bytes) -> str:
    return line.partition(b'"text":"')[2].partition(b'"')[0].decode()


# Planted bugs


class GuardBug(NamedTuple):
    """A planted bug: in words, what a run says that was harmed by it, and how it gets into the code."""

    sentence: str
    symptom: str
    plant: Callable[[], list[Any]]


GUARD_BUGS: dict[str, GuardBug] = {}
"""Every planted bug of guarded sending by name."""


def hunt_guarded(name: str, *, seeds: int = 3) -> tuple[int, Point | None, str] | None:
    """Plant a bug and die at every point until it is found: seed, point and what was said; None when it is not.

    It is found when a run tells the bug's own symptom: what else it breaks on the way does not count.
    """
    symptom = GUARD_BUGS[name].symptom
    for seed in range(seeds):
        whole = run_guarded(seed)
        for point in (None, *points_of(whole)):
            with planted_in_guards(name):
                outcome = run_guarded(seed, point)
            told = [problem for problem in outcome.problems if symptom in problem]
            if told and not run_guarded(seed, point).problems:
                return seed, point, told[0]
    return None


@contextmanager
def planted_in_guards(name: str) -> Iterator[None]:
    """While this lasts the code has the bug."""
    with ExitStack() as stack:
        for each in GUARD_BUGS[name].plant():
            stack.enter_context(each)
        yield


def _bug(sentence: str, symptom: str) -> Callable[[Callable[[], list[Any]]], Callable[[], list[Any]]]:
    def add(plant: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
        GUARD_BUGS[plant.__name__.removeprefix("_")] = GuardBug(sentence, symptom, plant)
        return plant

    return add


def _written_late(part: str) -> list[Any]:
    """A part of each plan's line stands in a line of its own, of the next frame."""
    end = ProductionEffectInterpreter._end

    def without(entries: Any) -> Any:
        return plans_note([entry._replace(**{part: ()}) for entry in entries])

    def mutant(self: Any, taken: Any, *, is_durable: bool) -> None:
        end(self, taken, is_durable=is_durable)
        entry: PlanEntry = taken.entry
        if is_durable:
            late = PlanEntry(("late " + entry.plan_ids[0],), entry.at_ms, entry.epoch)
            self._engine.note(plans_note([late._replace(**{part: getattr(entry, part)})]))

    return [
        patch("antiphon.runtime.guards.production.plans_note", without),
        patch.object(ProductionEffectInterpreter, "_end", mutant),
    ]


@_bug("the outbox is written in a later frame than the plan", "arrived, and")
def _outbox_in_a_later_frame() -> list[Any]:
    return _written_late("letters")


@_bug("the charge is written in another frame than its facts", "were charged for")
def _charge_in_another_frame() -> list[Any]:
    return _written_late("charges")


@_bug("what is revealed is written in another frame than its facts", "bits are on record")
def _leak_in_another_frame() -> list[Any]:
    return _written_late("leaks")


@_bug("the facts are committed before the frame of their charge", "arrived, and")
def _facts_in_an_earlier_frame() -> list[Any]:
    noted = JournalEngine.commit_noted

    async def mutant(self: Any, facts: Any, note: Any, **others: Any) -> Any:
        await self.commit(facts, flush=True)
        return await noted(self, (), note, **others)

    return [patch.object(JournalEngine, "commit_noted", mutant)]


@_bug("an envelope is noted as left before it has left", "arrived, and")
def _settled_before_sent() -> list[Any]:
    begin = Outbox.__init__

    def mutant(self: Any, engine: JournalEngine, deliver: Any, **others: Any) -> None:
        async def deliver_late(letter: Letter) -> None:
            if engine.guard_book.holds(letter.envelope_id):
                await note_left(engine, letter)
            await deliver(letter)

        begin(self, engine, deliver_late, **others)

    async def note_nothing(*_: object) -> None:
        return None

    return [patch.object(Outbox, "__init__", mutant), patch("antiphon.runtime.guards.outbox.note_left", note_nothing)]


@_bug("an envelope leaves before its plan is durable", "arrived, and")
def _sent_before_durable() -> list[Any]:
    write = ProductionEffectInterpreter.write

    async def mutant(self: Any, taken: Any, *, flush: bool = False) -> None:
        for letter in (letter for each in taken for letter in each.entry.letters):
            self._on_letter(letter)
        on_letter, self._on_letter = self._on_letter, None
        try:
            await write(self, taken, flush=flush)
        finally:
            self._on_letter = on_letter

    return [patch.object(ProductionEffectInterpreter, "write", mutant)]


@_bug("an envelope has another id whenever it is sent", "came under two ids")
def _new_id_each_time() -> list[Any]:
    begin = Outbox.__init__

    def mutant(self: Any, engine: JournalEngine, deliver: Any, **others: Any) -> None:
        async def deliver_anew(letter: Letter) -> None:
            name = sha256(engine.random_bytes(8) + letter.envelope_id.encode()).hexdigest()[:32]
            await deliver(letter._replace(envelope_id=name))

        begin(self, engine, deliver_anew, **others)

    return [patch.object(Outbox, "__init__", mutant)]


@_bug("the chain of receipts begins anew with each life", "two receipts of number")
def _receipts_begin_anew() -> list[Any]:
    take = GuardBook._take_receipts

    def mutant(self: Any, entry: PlanEntry) -> None:
        held = dict(self._receipts)
        take(self, entry)
        if entry.plan_ids[0] not in self._pending and not held:
            self._receipts.clear()

    return [patch.object(GuardBook, "_take_receipts", mutant)]


@_bug("nobody notes that an envelope has left", "are noted as left")
def _never_settled() -> list[Any]:
    async def note_nothing(engine: JournalEngine, letter: Letter) -> None:
        engine.guard_book.finish(letter.envelope_id)

    return [patch("antiphon.runtime.guards.outbox.note_left", note_nothing)]


@_bug("a plan that comes again counts as new", "committed twice")
def _plans_forgotten() -> list[Any]:
    take = GuardBook._take

    def mutant(self: Any, entry: PlanEntry) -> None:
        take(self, entry)
        self._plans.clear()

    return [patch.object(GuardBook, "_take", mutant)]


@_bug("what earlier lives wrote down is not read", "were charged for")
def _account_not_read() -> list[Any]:
    begin = GuardBook.__init__

    def mutant(self: Any, device: str, **others: Any) -> None:
        begin(self, device, **{**others, "notes": ()})

    return [patch.object(GuardBook, "__init__", mutant)]

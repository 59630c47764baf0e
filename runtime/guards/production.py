"""The interpreter that acts: what a plan costs, records and has to send goes into one frame of the log with its facts.

Only when that frame is durable is an envelope handed to the outbox, which sends it. Decides nothing: plans come from
the chain, headroom from the book. Belongs to the engine's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from antiphon.facts import AntiphonError, Fact, FactError, LocalViolation
from antiphon.journal import InsufficientBudget, LeakageExceeded, StoreUnavailable
from antiphon.journal.guard_book import Charge, GuardBook, Letter, OutboxFull, PlanEntry, Revealed, plans_note

from ..engine import JournalEngine
from ..events import EnvelopeQueued, FlowCharged, LeakageNoted, correlate, correlated
from .commands import (
    Appended,
    AppendJournal,
    ChargeBudget,
    EffectCommand,
    EffectResult,
    GenerateNonce,
    InterpreterError,
    Nonce,
    Queued,
    RecordLeakage,
    RemainingBudget,
    SendEnvelope,
    StoreMetadata,
    Success,
)
from .interpreters import EffectEvent, OnEvent, Plan, check_plan, envelope_id, event_of, nonce_of
from .listener import Listener
from .receipts import ReceiptIssuer

OnLetter = Callable[[Letter], None]
Performed = tuple[EffectResult, ...]


class Taken(NamedTuple):
    """What was taken from the book and has to be written: the facts that belong to it, and its commands when asked."""

    entry: PlanEntry
    facts: Sequence[Fact]
    commands: Callable[[], Iterable[EffectCommand]]


class TakenPlan(NamedTuple):
    """A plan for which everything was taken, and what its commands will have given."""

    plan: Plan
    taken: Taken
    results: Performed


Reserved: TypeAlias = TakenPlan | InterpreterError | None
"""What became of taking: taken, refused, or None for a plan that was performed before."""


class ProductionEffectInterpreter:
    """Performs plans on an open journal. Envelopes go to *on_letter* once they are durable, and to nobody else."""

    interpreter_type = "production"

    def __init__(
        self, engine: JournalEngine, *, on_letter: OnLetter | None = None, on_event: OnEvent | None = None
    ) -> None:
        self._engine = engine
        self.book: GuardBook = engine.guard_book
        self._on_letter = on_letter
        self._on_event = Listener(engine, on_event)
        self._in_flight: dict[asyncio.Future[None], frozenset[str]] = {}
        self.issue = ReceiptIssuer(str(engine.authority), engine.folder.authority, self.book).issue
        self._count = 0

    async def execute(self, command: EffectCommand) -> EffectResult:
        """A plan of this command alone; an envelope by itself is refused, since nothing was charged for it."""
        self._count += 1
        return (await self.execute_plan(Plan(f"single.{self._engine.journal_id}.{self._nonce()}", (command,))))[0]

    async def execute_plan(self, plan: Plan) -> Performed:
        """Check the headroom again, take it, and make everything durable in one frame; then the envelope may go.

        A plan that was performed before, in this life or an earlier one, performs nothing and gives nothing. Raises
        ``InterpreterError``; then nothing of the plan happened.
        """
        outcome = (await self.execute_plans((plan,)))[0]
        if isinstance(outcome, InterpreterError):
            raise outcome
        return outcome

    async def execute_plans(self, plans: Sequence[Plan], *, flush: bool = False) -> list[Performed | InterpreterError]:
        """Many plans at once, in one frame as far as they fit; each succeeds or fails by itself."""
        return await self.finish([(plan, self.reserve(plan)) for plan in plans], flush=flush)

    def reserve(self, plan: Plan) -> Reserved:
        """Take what *plan* needs from the book, without waiting; ``finish`` has to follow for whatever was taken."""
        if self.book.knows_plan(plan.plan_id):
            return None
        try:
            return self._take(plan)
        except InterpreterError as problem:
            return problem

    async def finish(
        self, reserved: Sequence[tuple[Plan, Reserved]], *, flush: bool = False, may_part: bool = True
    ) -> list[Performed | InterpreterError]:
        """Write what was reserved, in one frame as far as it fits.

        Unless they *may_part* it raises ``StoreUnavailable`` or ``LocalViolation`` when they cannot be written
        together, and has given everything back by then.
        """
        found: dict[int, Performed | InterpreterError] = {}
        taken: dict[int, TakenPlan] = {}
        waiters: set[asyncio.Future[None]] = set()
        for place, (plan, each) in enumerate(reserved):
            if isinstance(each, TakenPlan):
                taken[place] = each
            elif isinstance(each, InterpreterError):
                found[place] = each
            else:
                found[place] = ()
                waiters.update(waiter for waiter, ids in self._in_flight.items() if plan.plan_id in ids)
        if taken:
            if may_part:
                found.update(await self._write_each(taken, flush=flush))
            else:
                await self.write([each.taken for each in taken.values()], flush=flush)
                found.update((place, each.results) for place, each in taken.items())
        if waiters:
            await asyncio.wait(waiters)
        return [found[place] for place in range(len(reserved))]

    async def write(self, taken: Sequence[Taken], *, flush: bool = False) -> None:
        """Make durable, in one frame, what was taken from the book; then hand over the envelopes.

        Raises ``StoreUnavailable`` and ``LocalViolation``, and has given everything back by then.
        """
        plan_ids = [plan_id for each in taken for plan_id in each.entry.plan_ids]
        facts = taken[0].facts if len(taken) == 1 else [fact for each in taken for fact in each.facts]
        waiter = asyncio.get_running_loop().create_future()
        correlation = correlated()
        self._in_flight[waiter] = frozenset(plan_ids)

        def end(is_durable: bool) -> None:
            self._in_flight.pop(waiter, None)
            undo = correlate(correlation)  # the log's thread calls, which knows of no request
            for each in taken:
                self._end(each, is_durable=is_durable)
            undo()
            waiter.set_result(None)

        def note_offered() -> None:
            for each in taken:
                self.book.note_offered(each.entry)

        note = plans_note([each.entry for each in taken])
        await self._engine.commit_noted(facts, note, on_offer=note_offered, on_end=end, flush=flush)

    def _nonce(self) -> str:
        return f"{self._engine.clock.now_ms()}.{self._count}"

    def _take(self, plan: Plan) -> TakenPlan:
        check_plan(plan)
        entry = _entry_of(plan, at_ms=self._engine.clock.now_ms(), epoch=self.book.epoch)
        try:
            entry = self.book.reserve(entry, issue=self.issue)
        except (InsufficientBudget, LeakageExceeded, OutboxFull) as problem:
            index, kind = _first_problem(self.book, plan, entry)
            raise InterpreterError(index, kind, str(problem)) from problem
        return TakenPlan(plan, Taken(entry, _facts_of(plan), lambda: plan.commands), _results_of(self.book, plan))

    async def _write_each(self, taken: dict[int, TakenPlan], *, flush: bool) -> dict[int, Performed | InterpreterError]:
        try:
            await self.write([each.taken for each in taken.values()], flush=flush)
        except (StoreUnavailable, LocalViolation) as problem:
            if len(taken) == 1:
                return {place: _refusal(each.plan, problem) for place, each in taken.items()}
            # One of them spoils it for all, or they are too much for a frame: each gets a frame of its own.
            found: dict[int, Performed | InterpreterError] = {}
            for place, each in taken.items():
                found[place] = (await self.execute_plans((each.plan,), flush=flush))[0]
            return found
        return {place: each.results for place, each in taken.items()}

    def _end(self, taken: Taken, *, is_durable: bool) -> None:
        if not is_durable:
            self.book.release(taken.entry)
            return
        self.book.settle(taken.entry)
        if self._engine.events.is_heard:
            self._tell(taken)
        if self._on_event:
            for command in taken.commands():
                self._on_event(event_of(command, taken.entry.at_ms))
        if self._on_letter is not None:
            for letter in taken.entry.letters:
                self._on_letter(letter)

    def _tell(self, taken: Taken) -> None:
        """Tell of what is durable now, without numbers and without names."""
        events = self._engine.events
        for command in taken.commands():
            match command:
                case ChargeBudget(context, _, peer, _):
                    told = {"context": events.veil(context), "peer": events.veil(peer)}
                    events.emit(FlowCharged(service="guard", **told))
                case RecordLeakage(_, observer, context, peer, _):
                    told = {"context": events.veil(context), "peer": events.veil(peer)}
                    events.emit(LeakageNoted(service="guard", **told, observer=observer))
                case _:
                    pass
        for letter in taken.entry.letters:
            veiled = events.veil(letter.peer)
            events.emit(EnvelopeQueued(service="guard", peer=veiled, envelope_id=letter.envelope_id))


def _entry_of(plan: Plan, *, at_ms: int, epoch: int) -> PlanEntry:
    charges: list[Charge] = []
    leaks: list[Revealed] = []
    texts: list[tuple[str, str]] = []
    letters: tuple[Letter, ...] = ()
    for command in plan.commands:
        match command:
            case ChargeBudget(context, _, peer, amount):
                charges.append(Charge(context, peer, amount))
            case RecordLeakage(bits, observer, context, peer, operation):
                leaks.append(Revealed(context, peer, observer, bits, operation))
            case StoreMetadata(key, value):
                texts.append((key, value))
            case SendEnvelope(to, data, context, peer, after):
                letters = (Letter(envelope_id(plan.plan_id), to, context, peer, data, written(after)),)
            case _:
                pass
    return PlanEntry((plan.plan_id,), at_ms, epoch, tuple(charges), tuple(leaks), tuple(texts), letters)


def written(facts: Sequence[Fact]) -> tuple[tuple[str, str], ...]:
    """Facts as a letter keeps them: their kinds and payloads."""
    return tuple((each.fact_type.kind, each.fact_type.encode(each).decode()) for each in facts)


def _facts_of(plan: Plan) -> list[Fact]:
    return [command.entry for command in plan.commands if type(command) is AppendJournal]


def _results_of(book: GuardBook, plan: Plan) -> Performed:
    """What each command gives; what is left after a charge counts the plan's later ones as not yet made."""
    later: dict[tuple[str, str], int] = {}
    results: list[EffectResult] = []
    for index in range(len(plan.commands) - 1, -1, -1):
        match plan.commands[index]:
            case ChargeBudget(context, _, peer, amount):
                results.append(RemainingBudget(book.remaining(context, peer) + later.get((context, peer), 0)))
                later[context, peer] = later.get((context, peer), 0) + amount
            case AppendJournal(entry):
                results.append(Appended(entry.fact_type.kind))
            case SendEnvelope():
                results.append(Queued(envelope_id(plan.plan_id)))
            case GenerateNonce(count):
                results.append(Nonce(nonce_of(plan.rng_seed, index, count)))
            case _:
                results.append(Success())
    return tuple(reversed(results))


def _first_problem(book: GuardBook, plan: Plan, entry: PlanEntry) -> tuple[int, str]:
    """The first command that could not be performed, and why; the outbox is full when it is none."""
    spent: dict[tuple[str, ...], int] = {}
    for index, command in enumerate(plan.commands):
        match command:
            case ChargeBudget(context, _, peer, amount):
                spent[context, peer] = spent.get((context, peer), 0) + amount
                if spent[context, peer] > book.remaining(context, peer):
                    return index, "insufficient-flow-budget"
            case RecordLeakage(bits, observer, context, peer, _):
                key = (context, peer, observer)
                spent[key] = spent.get(key, 0) + bits
                if spent[key] > book.remaining_bits(context, peer, observer, now_ms=entry.at_ms):
                    return index, "insufficient-leakage-budget"
            case AppendJournal(fact) if not _is_encodable(fact):
                return index, "journal-refused"
            case _:
                pass
    return len(plan.commands) - 1, "outbox-full"


def _is_encodable(fact: Fact) -> bool:
    try:
        fact.fact_type.encode(fact)
    except FactError:
        return False
    return True


def _refusal(plan: Plan, problem: AntiphonError) -> InterpreterError:
    """Which command could not be performed, and why."""
    if not isinstance(problem, StoreUnavailable):
        for index, command in enumerate(plan.commands):
            if type(command) is AppendJournal and not _is_encodable(command.entry):
                return _caused(InterpreterError(index, "journal-refused", str(problem)), problem)
        return _caused(InterpreterError(0, "journal-refused", str(problem)), problem)
    return _caused(InterpreterError(0, "store-unavailable", str(problem)), problem)


def _caused(error: InterpreterError, cause: AntiphonError) -> InterpreterError:
    error.__cause__ = cause
    return error


__all__ = ["EffectEvent", "ProductionEffectInterpreter"]

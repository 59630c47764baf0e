"""Whoever performs commands: the protocol, what is observed, and two interpreters that touch nothing outside.

``SimulationEffectInterpreter`` records what would happen, on values; ``LocalEffectInterpreter`` never sends. The one
that acts is in ``production.py``. All of them perform the same plans to the same results, or refuse them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple, Protocol

from antiphon.facts import Clock, FactError
from antiphon.journal.budgets import FlowBudget, InsufficientBudget, LeakageBudget, LeakageExceeded
from antiphon.journal.guard_book import UNLIMITED, GuardLimits

from .chain import validate_plan
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

NONCE_BYTES_MAX = 1_024


class EffectEvent(NamedTuple):
    """One thing that was done: its name, when (ms), and what is worth telling; never a payload, token or key."""

    name: str
    at_ms: int
    about: tuple[str, ...] = ()
    amount: int = 0


OnEvent = Callable[[EffectEvent], None]


class Plan(NamedTuple):
    """Commands under one name: what the interpreters take. The same name again does nothing."""

    plan_id: str
    commands: tuple[EffectCommand, ...]
    rng_seed: bytes = bytes(32)


class EffectInterpreter(Protocol):
    """Whoever performs commands. ``execute_plan`` is what a guard uses; ``execute`` is a plan of one command."""

    @property
    def interpreter_type(self) -> str:
        """Its name, for people."""
        ...

    async def execute(self, command: EffectCommand, /) -> EffectResult:
        """Perform one command. Raises ``InterpreterError``."""
        ...

    async def execute_plan(self, plan: Plan, /) -> tuple[EffectResult, ...]:
        """Perform a plan: everything durable in one step, then the sending. Raises ``InterpreterError``."""
        ...


def check_plan(plan: Plan) -> None:
    """Refuse a plan that no interpreter may perform, whoever made it."""
    violation = validate_plan(plan.commands)
    if violation is not None:
        raise InterpreterError(0, violation.kind.value, violation.text)
    for index, command in enumerate(plan.commands):
        if not all(map(is_text, texts_of(command))) or not is_text(plan.plan_id):
            raise InterpreterError(index, "not-text", "half a surrogate pair, which is no text")
        if type(command) is GenerateNonce and not 1 <= command.bytes <= NONCE_BYTES_MAX:
            raise InterpreterError(
                index, "nonce-size", f"a nonce has 1..{NONCE_BYTES_MAX} bytes; asked for {command.bytes}"
            )


def texts_of(command: EffectCommand) -> tuple[str, ...]:
    """Every text of a command that is written down."""
    match command:
        case ChargeBudget(context, _, peer, _):
            return (context, peer)
        case RecordLeakage(_, observer, context, peer, operation):
            return (observer, context, peer, operation)
        case StoreMetadata(key, value):
            return (key, value)
        case SendEnvelope(to, _, context, peer):
            return (to, context, peer)
        case _:
            return ()


def is_text(text: str) -> bool:
    """Whether it can be written down: a half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def nonce_of(seed: bytes, index: int, count: int) -> bytes:
    """The nonce at *index* of a plan with this seed: the same for the same arguments, so that a run can be replayed."""
    blocks = range((count + 31) // 32)
    start = seed + index.to_bytes(4, "big")
    return b"".join(sha256(b"antiphon.nonce.1" + start + block.to_bytes(4, "big")).digest() for block in blocks)[:count]


def envelope_id(plan_id: str) -> str:
    """The name of the envelope of a plan: the same whenever it is sent again, so receivers drop repeats."""
    return sha256(b"antiphon.envelope.1" + plan_id.encode()).hexdigest()[:32]


class Divergence(Exception):
    """A replayed run did something else than its recording says."""

    def __init__(self, index: int, *, expected: EffectEvent | None, seen: EffectEvent | None) -> None:
        self.index = index
        super().__init__(f"event {index}: the recording says {expected}, the run did {seen}")


@dataclass(slots=True)
class _Values:
    """What a simulated node holds: plain lattices, an independent account of the same rules as the book's."""

    budgets: dict[tuple[str, str], FlowBudget] = field(default_factory=dict)
    leakage: dict[tuple[str, str], LeakageBudget] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    letters: list[tuple[str, str, bytes]] = field(default_factory=list)
    plans: set[str] = field(default_factory=set)

    def copy(self) -> _Values:
        return _Values(
            dict(self.budgets),
            dict(self.leakage),
            list(self.facts),
            dict(self.metadata),
            list(self.letters),
            set(self.plans),
        )


class SimulationEffectInterpreter:
    """Performs plans on values in memory, and records what a real node would have done, with the clock's time.

    *fail_at* names a command of each plan at which it fails, as a disk would; a plan fails whole. *script* makes it
    compare with a recording: the first difference raises ``Divergence``.
    """

    interpreter_type = "simulation"

    def __init__(
        self,
        clock: Clock,
        *,
        device: str = "simulated",
        limits: GuardLimits | None = None,
        fail_at: int | None = None,
        script: Sequence[EffectEvent] | None = None,
    ) -> None:
        self._clock = clock
        self._device = device
        self._limits = limits or GuardLimits()
        self._values = _Values()
        self.fail_at = fail_at
        self._script = None if script is None else tuple(script)
        self._events: list[EffectEvent] = []
        self._count = 0

    @property
    def events(self) -> tuple[EffectEvent, ...]:
        """What was done so far."""
        return tuple(self._events)

    @property
    def letters(self) -> tuple[tuple[str, str, bytes], ...]:
        """Envelopes that would have left: id, where to, bytes."""
        return tuple(self._values.letters)

    @property
    def facts(self) -> tuple[str, ...]:
        """The kinds of facts that would have been committed, in order."""
        return tuple(self._values.facts)

    @property
    def metadata(self) -> dict[str, str]:
        """What was stored."""
        return dict(self._values.metadata)

    def remaining(self, context: str, peer: str) -> int:
        """What may still be spent."""
        return self._budget(self._values, context, peer).headroom

    def remaining_bits(self, context: str, peer: str, observer: str) -> int:
        """The bits that may still be revealed."""
        limit = self._limits.leakage.get(observer, self._limits.undefined.limit)
        if limit is None:
            return UNLIMITED
        spent = self._leakage(self._values, context, peer).spent(observer, now_ms=self._clock.now_ms())
        return max(0, limit - spent)

    async def execute(self, command: EffectCommand) -> EffectResult:
        """A plan of this command alone."""
        self._count += 1
        return (await self.execute_plan(Plan(f"single-{self._count}", (command,))))[0]

    async def execute_plan(self, plan: Plan) -> tuple[EffectResult, ...]:
        """All of it or nothing; a plan that was performed before performs nothing, and gives nothing."""
        if plan.plan_id in self._values.plans:
            return ()
        check_plan(plan)
        values = self._values.copy()
        results: list[EffectResult] = []
        events: list[EffectEvent] = []
        for index, command in enumerate(plan.commands):
            if index == self.fail_at:
                raise InterpreterError(index, "store-unavailable", "the simulated disk refused")
            result, event = self._perform(values, plan, index, command)
            results.append(result)
            events.append(event)
        values.plans.add(plan.plan_id)
        self._values = values
        for event in events:
            self._record(event)
        return tuple(results)

    def finish(self) -> None:
        """Raise ``Divergence`` when the recording goes on and this run does not."""
        if self._script is not None and len(self._events) < len(self._script):
            index = len(self._events)
            raise Divergence(index, expected=self._script[index], seen=None)

    def _record(self, event: EffectEvent) -> None:
        if self._script is not None:
            index = len(self._events)
            expected = self._script[index] if index < len(self._script) else None
            if expected != event:
                raise Divergence(index, expected=expected, seen=event)
        self._events.append(event)

    def _budget(self, values: _Values, context: str, peer: str) -> FlowBudget:
        limit = self._limits.flow_of.get((context, peer), self._limits.flow)
        return values.budgets.get((context, peer)) or FlowBudget.fresh(limit)

    def _leakage(self, values: _Values, context: str, peer: str) -> LeakageBudget:
        return values.leakage.get((context, peer)) or LeakageBudget(dict(self._limits.leakage))

    def _perform(
        self, values: _Values, plan: Plan, index: int, command: EffectCommand
    ) -> tuple[EffectResult, EffectEvent]:
        now = self._clock.now_ms()
        match command:
            case ChargeBudget(context, _, peer, amount):
                try:
                    budget = self._budget(values, context, peer).charge(self._device, amount)
                except InsufficientBudget as problem:
                    raise InterpreterError(index, "insufficient-flow-budget", str(problem)) from problem
                values.budgets[context, peer] = budget
                return RemainingBudget(budget.headroom), event_of(command, now)
            case RecordLeakage(bits, observer, context, peer, _):
                held = self._leakage(values, context, peer)
                undefined = self._limits.undefined.limit
                try:
                    held.check(observer, bits, now_ms=now, undefined=UNLIMITED if undefined is None else undefined)
                except LeakageExceeded as problem:
                    raise InterpreterError(index, "insufficient-leakage-budget", str(problem)) from problem
                values.leakage[context, peer] = held.record(f"{plan.plan_id}.{index}", observer, bits, at_ms=now)
                return Success(), event_of(command, now)
            case AppendJournal(entry):
                try:
                    entry.fact_type.encode(entry)
                except FactError as problem:
                    raise InterpreterError(index, "journal-refused", str(problem)) from problem
                values.facts.append(entry.fact_type.kind)
                return Appended(entry.fact_type.kind), event_of(command, now)
            case StoreMetadata(key, value):
                values.metadata[key] = value
                return Success(), event_of(command, now)
            case SendEnvelope(to, data):
                values.letters.append((envelope_id(plan.plan_id), to, data))
                return Queued(envelope_id(plan.plan_id)), event_of(command, now)
            case GenerateNonce(count):
                return Nonce(nonce_of(plan.rng_seed, index, count)), event_of(command, now)


def event_of(command: EffectCommand, at_ms: int) -> EffectEvent:
    """What is told of a command that was performed."""
    match command:
        case ChargeBudget(context, _, peer, amount):
            return EffectEvent("BudgetCharged", at_ms, (context, peer), amount)
        case AppendJournal(entry):
            return EffectEvent("JournalAppended", at_ms, (entry.fact_type.kind,))
        case RecordLeakage(bits, observer, context, peer, operation):
            return EffectEvent("LeakageRecorded", at_ms, (context, peer, observer, operation), bits)
        case StoreMetadata(key, _):
            return EffectEvent("MetadataStored", at_ms, (key,))
        case SendEnvelope(_, data, context, peer):
            return EffectEvent("EnvelopeQueued", at_ms, (context, peer), len(data))
        case GenerateNonce(count):
            return EffectEvent("NonceGenerated", at_ms, (), count)


class LocalEffectInterpreter:
    """For operations of this node alone: passes plans on to another interpreter, and refuses those that would send."""

    interpreter_type = "local"

    def __init__(self, inner: EffectInterpreter) -> None:
        self._inner = inner

    async def execute(self, command: EffectCommand) -> EffectResult:
        """Perform a command that is not a sending."""
        _refuse_sending((command,))
        return await self._inner.execute(command)

    async def execute_plan(self, plan: Plan) -> tuple[EffectResult, ...]:
        """Perform a plan that sends nothing."""
        _refuse_sending(plan.commands)
        return await self._inner.execute_plan(plan)


def _refuse_sending(commands: Sequence[EffectCommand]) -> None:
    for index, command in enumerate(commands):
        if type(command) is SendEnvelope:
            raise InterpreterError(index, "send-refused", "a local operation sends nothing; use a guard that may")

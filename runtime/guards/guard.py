"""``EffectGuard``: prepare, evaluate, perform; and explain, which does the first two only.

Wires the pure chain to a journal: what a snapshot holds comes from the book, the policies and a source of capabilities;
what the chain allows goes to the production interpreter and the outbox. Decides nothing by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType, TracebackType
from typing import Protocol, Self

from antiphon.facts import AntiphonError, LocalViolation
from antiphon.facts.time_domains import PhysicalTime
from antiphon.journal import StoreUnavailable
from antiphon.journal.budgets import FlowBudget
from antiphon.journal.guard_book import GuardLimits, Letter, budget_note, epoch_note, reset_note

from ..engine import JournalEngine
from ..events import GuardDecided
from ..resilience.budget import Timing as Pace
from ..resilience.rates import RateLimiter
from .chain import evaluate, refusal_of
from .commands import (
    GuardOutcome,
    GuardRefused,
    GuardSnapshot,
    InterpreterError,
    LeakClaim,
    SendRequest,
    Timing,
)
from .interpreters import OnEvent, Plan
from .listener import Listener
from .outbox import Deliver, Outbox
from .policy import EffectPolicyRegistry
from .production import Performed, ProductionEffectInterpreter, Reserved
from .receipts import FlowReceipt
from .window import HEAD_OF, WINDOW_REQUESTS_MAX, Guarded, Head, judge_window

OnOutcome = Callable[[SendRequest, GuardOutcome], None]

PRIVACY_RESET = "privacy:reset"


class OptimisticRevert(AntiphonError):
    """A change that was shown already was taken back, since it could not be made durable; its cause says why."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__(f"{operation} was shown and taken back: it was refused, or could not be written")


class CapabilitySource(Protocol):
    """Who knows which capabilities hold for a request: a table, the owner of a process, or a verified token."""

    async def frontier(self, request: SendRequest, /) -> frozenset[str]:
        """The capabilities that hold. What it raises (an ``AntiphonError``) refuses the request."""
        ...


class HeldCapabilities:
    """A table: the same capabilities for every request."""

    def __init__(self, *held: str) -> None:
        self._held = frozenset(held)

    async def frontier(self, request: SendRequest) -> frozenset[str]:
        """What is held."""
        return self._held


class OwnerCapabilities:
    """The owner's own process, acting for its owner: what is asked for is held. Budgets hold all the same."""

    async def frontier(self, request: SendRequest) -> frozenset[str]:
        """What the request needs."""
        return frozenset((request.capability, *request.also))


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to a request: nothing of it has."""

    request: SendRequest
    outcome: GuardOutcome
    remaining: int
    """What is left of the flow budget before the request."""
    remaining_bits: tuple[tuple[str, int], ...]
    capabilities: tuple[str, ...]
    timing: Timing
    is_repeat: bool = False
    """Whether its plan was performed before: allowed or not, nothing of it would be done again."""

    @property
    def is_allowed(self) -> bool:
        """Whether it would be performed now."""
        return self.outcome.is_authorized

    @property
    def refusing_guard(self) -> str:
        """The guard that would refuse, or nothing."""
        return self.outcome.violation.stage if self.outcome.violation is not None else ""

    def __str__(self) -> str:
        request, violation = self.request, self.outcome.violation
        verdict = "allowed" if violation is None else f"refused by {violation.stage}: {violation.text}"
        bits = ", ".join(f"{observer} {bits} bits" for observer, bits in self.remaining_bits)
        commands = ", ".join(type(command).__name__ for command in self.outcome.commands) or "nothing"
        if self.is_repeat and violation is None:
            commands = "nothing, since its plan was performed before"
        return (
            f"{request.operation} to {request.peer} in {request.context.lstrip(chr(0))}: {verdict}\n"
            f"guards asked: {', '.join(self.outcome.stages)}\n"
            f"would do: {commands}\n"
            f"costs {request.cost} of {self.remaining}{f'; reveals, of {bits}' if bits else ''}; {self.timing.value}"
        )


class EffectGuard:
    """The way out of a journal: nothing leaves but through ``guarded``.

    ``async with`` starts the outbox, if there is a *deliver*; without it requests are guarded all the same, and what
    they send waits in the log. Leave it before the journal.
    """

    def __init__(
        self,
        engine: JournalEngine,
        *,
        capabilities: CapabilitySource | None = None,
        limits: GuardLimits | None = None,
        policies: EffectPolicyRegistry | None = None,
        deliver: Deliver | None = None,
        on_event: OnEvent | None = None,
        on_outcome: OnOutcome | None = None,
        on_problem: Callable[[Letter, AntiphonError], None] | None = None,
        rates: RateLimiter | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.engine = self._engine = engine
        self.book = engine.guard_book
        if limits is not None:
            self.book.limits = limits
        self.capabilities = self._capabilities = capabilities
        self.policies = policies or EffectPolicyRegistry()
        self._on_outcome = Listener(engine, on_outcome)
        self._rates = rates
        self.outbox = Outbox(engine, deliver, timing=pace, on_problem=on_problem) if deliver is not None else None
        take = self.outbox.take if self.outbox is not None else None
        self.interpreter = ProductionEffectInterpreter(engine, on_letter=take, on_event=on_event)
        self._group: asyncio.TaskGroup | None = None
        self._stopped = asyncio.Event()
        self._plan_count = 0
        self._secret = engine.random_bytes(32)
        self._seed_count = 0
        self._plan_prefix = engine.random_bytes(8).hex()

    async def prepare(self, request: SendRequest) -> GuardSnapshot:
        """Gather everything that a guard may look at, once the peer's rate allows it."""
        if self._rates is not None:
            await self._rates.admit(request.peer)
        return await self._prepare(request)

    async def _prepare(self, request: SendRequest) -> GuardSnapshot:
        caps, problem = await self._capabilities_for(request)
        return self._look(request, caps, problem)

    async def _capabilities_for(self, request: SendRequest) -> tuple[frozenset[str] | None, str]:
        """The capabilities that hold for it, or why nobody could say."""
        if self._capabilities is None:
            return None, ""
        try:
            return await self._capabilities.frontier(request), ""
        except AntiphonError as error:
            return None, f"the capability could not be checked: {error}"

    def _look(self, request: SendRequest, caps: frozenset[str] | None, problem: str) -> GuardSnapshot:
        now_ms = self._engine.clock.now_ms()
        book, context, peer = self.book, request.context, request.peer
        leakage = {
            (context, peer, claim.observer): book.remaining_bits(context, peer, claim.observer, now_ms=now_ms)
            for claim in request.leaks
        }
        timing = self.policies.timing(request.operation, context)
        return GuardSnapshot(
            now=PhysicalTime(now_ms),
            caps=caps,
            budgets={(context, peer): book.remaining(context, peer)},
            leakage=leakage,
            metadata=_NOTHING,
            rng_seed=self._seed(),
            timings={request.operation: timing} if timing is not Timing.IMMEDIATE else _NO_TIMINGS,
            version=book.version,
            caps_problem=problem,
        )

    def _seed(self) -> bytes:
        """A seed of its own for each snapshot, of one secret of this life: asking the system each time costs more."""
        self._seed_count += 1
        return sha256(b"antiphon.guard_seed.1" + self._secret + self._seed_count.to_bytes(8, "big")).digest()

    def judge(self, request: SendRequest, caps: frozenset[str] | None, problem: str = "") -> GuardOutcome:
        """What the chain says when these capabilities hold: without waiting, and without performing anything."""
        return evaluate(self._look(request, caps, problem), request)

    def evaluate(self, snapshot: GuardSnapshot, request: SendRequest) -> GuardOutcome:
        """What the pure chain says."""
        return evaluate(snapshot, request)

    async def execute(self, snapshot: GuardSnapshot, request: SendRequest, outcome: GuardOutcome) -> Guarded:
        """Perform an outcome. Raises ``GuardRefused`` for a denial, ``InterpreterError`` for what failed on the way."""
        if outcome.violation is not None:
            raise GuardRefused(outcome.violation)
        plan = self._plan(snapshot, request, outcome)
        return Guarded(outcome, await self.interpreter.execute_plan(plan), plan.plan_id)

    async def guarded(self, request: SendRequest) -> Guarded:
        """Do what *request* asks for, if every guard allows it; returns when all of it is durable and it may leave.

        Raises ``GuardRefused`` (nothing happened, ``public()`` is all that may be told) or ``InterpreterError``.
        """
        snapshot = await self.prepare(request)
        outcome = evaluate(snapshot, request)
        self._tell(request, outcome)
        return await self.execute(snapshot, request, outcome)

    async def permit(self, request: SendRequest) -> GuardOutcome:
        """Let a request pass that costs, reveals and sends nothing, so that there is nothing to write but its facts.

        For whoever commits those facts itself, right after. Raises ``GuardRefused``, and ``LocalViolation`` for a
        request that the account or the outbox has to know of: that is for ``guarded``.
        """
        if request.cost or request.leaks or request.extra or request.plan_id or request.envelope is not None:
            raise LocalViolation(f"{request.operation} costs, reveals or sends something; guard it with `guarded`")
        outcome = evaluate(await self.prepare(request), request)
        self._tell(request, outcome)
        if outcome.violation is not None:
            raise GuardRefused(outcome.violation)
        return outcome

    async def guarded_all(
        self, requests: Sequence[SendRequest], *, flush: bool = False
    ) -> list[Guarded | GuardRefused | InterpreterError]:
        """Many requests in one frame (500 at most): each is allowed or refused by itself, in order.

        Each is judged by what those before it left. Those that differ in nothing but what they carry are looked up and
        judged once; ~8 µs each, a third of ``guarded``.
        """
        found: list[Guarded | GuardRefused | InterpreterError] = []
        for start in range(0, len(requests), WINDOW_REQUESTS_MAX):
            found += await self._guard_window(requests[start : start + WINDOW_REQUESTS_MAX], flush=flush)
        return found

    async def _guard_window(
        self, requests: Sequence[SendRequest], *, flush: bool
    ) -> list[Guarded | GuardRefused | InterpreterError]:
        if self._rates is not None:  # all waiting is over before anybody is asked what holds
            for request in requests:
                await self._rates.admit(request.peer)
        heads: dict[tuple[object, ...], Head] = {}
        placed: list[Head] = []
        for request in requests:
            key = HEAD_OF(request)
            head = heads.get(key)
            if head is None:
                head = heads[key] = Head(request, *await self._capabilities_for(request))
            placed.append(head)
        # From here to the reservation nothing waits, so what is judged by still holds when it is taken.
        now_ms = self._engine.clock.now_ms()
        window = judge_window(
            requests,
            placed,
            look=self._look,
            book=self.book,
            at_ms=now_ms,
            new_plan_id=self._new_plan_id,
            issue=self.interpreter.issue,
        )
        if window is None:
            return await self._guard_each(requests, placed, flush=flush)
        is_heard = self._engine.events.is_heard or any(isinstance(end, GuardRefused) for end in window.ends)
        if is_heard or self._on_outcome:
            for request, end in zip(requests, window.ends, strict=True):
                self._tell(request, _outcome_of(end))
        found: list[Guarded | GuardRefused | InterpreterError] = [*window.ends]
        if window.taken is None:
            return found
        try:
            await self.interpreter.write((window.taken,), flush=flush)
        except (StoreUnavailable, LocalViolation):
            # One of them spoils it for all, or they are too much for a frame: each gets a frame of its own.
            before = list(map(_outcome_of, window.ends))
            return [await self._guard_again(*each, flush=flush) for each in zip(requests, placed, before, strict=True)]
        return found

    async def _guard_again(
        self, request: SendRequest, head: Head, before: GuardOutcome, *, flush: bool
    ) -> Guarded | GuardRefused | InterpreterError:
        """Judge a request by itself, by what those before it left: one of them may have failed, and spent nothing."""
        snapshot = self._look(request, head.caps, head.problem)
        outcome = evaluate(snapshot, request)
        if outcome.violation != before.violation:
            self._tell(request, outcome)
        if outcome.violation is not None:
            return GuardRefused(outcome.violation)
        plan = self._plan(snapshot, request, outcome)
        (results,) = await self.interpreter.execute_plans((plan,), flush=flush)
        return _end_of(outcome, results, plan)

    async def _guard_each(
        self, requests: Sequence[SendRequest], heads: Sequence[Head], *, flush: bool
    ) -> list[Guarded | GuardRefused | InterpreterError]:
        """The same with a plan for each."""
        found: list[Guarded | GuardRefused | InterpreterError | None] = [None] * len(requests)
        reserved: list[tuple[Plan, Reserved]] = []
        places: list[tuple[int, GuardOutcome]] = []
        told: list[GuardOutcome] = []
        for place, (request, head) in enumerate(zip(requests, heads, strict=True)):
            snapshot = self._look(request, head.caps, head.problem)
            outcome = evaluate(snapshot, request)
            self._tell(request, outcome)
            told.append(outcome)
            if outcome.violation is not None:
                found[place] = GuardRefused(outcome.violation)
            else:
                places.append((place, outcome))
                plan = self._plan(snapshot, request, outcome)
                reserved.append((plan, self.interpreter.reserve(plan)))
        try:
            performed = await self.interpreter.finish(reserved, flush=flush, may_part=False)
        except (StoreUnavailable, LocalViolation):
            return [await self._guard_again(*each, flush=flush) for each in zip(requests, heads, told, strict=True)]
        for (place, outcome), (plan, _), results in zip(places, reserved, performed, strict=True):
            found[place] = _end_of(outcome, results, plan)
        return [each for each in found if each is not None]

    async def coupled(self, request: SendRequest, *, apply: Callable[[], None], undo: Callable[[], None]) -> Guarded:
        """Show a change at once and make it durable: *apply* now, and *undo* when the request was refused or failed.

        Cancelled meanwhile, it waits for the frame under way to know which. Raises ``OptimisticRevert`` after undoing.
        """
        if not request.plan_id:
            request = request._replace(plan_id=self._new_plan_id())
        apply()
        try:
            return await self.guarded(request)
        except AntiphonError as problem:
            undo()
            raise OptimisticRevert(request.operation) from problem
        except BaseException:
            await asyncio.shield(self._engine.flush())
            if not self.book.knows_plan(request.plan_id):
                undo()
            raise

    async def explain(self, request: SendRequest) -> Explanation:
        """What would happen to *request* now, and why; nothing is charged, recorded or sent."""
        snapshot = await self._prepare(request)
        return Explanation(
            request=request,
            outcome=evaluate(snapshot, request),
            remaining=self.book.remaining(request.context, request.peer),
            remaining_bits=tuple((observer, bits) for (_, _, observer), bits in sorted(snapshot.leakage.items())),
            capabilities=tuple(sorted(snapshot.caps or ())),
            timing=self.policies.timing(request.operation, request.context),
            is_repeat=self.book.knows_plan(request.plan_id),
        )

    async def rotate_epoch(self, epoch: int) -> bool:
        """Begin a later epoch, with all budgets untouched; False when *epoch* is not later."""
        if not self.book.rotate_epoch(epoch):
            return False
        await self._engine.commit_noted((), epoch_note(epoch), on_end=lambda _: None, flush=True)
        return True

    async def reset_leakage(self, context: str, peer: str, observer: str, *, authority: str) -> None:
        """Forget what *observer* learned. An operation like others: it needs the capability ``privacy:reset``."""
        request = SendRequest(PRIVACY_RESET, context, peer, authority, PRIVACY_RESET)
        await self.guarded(request)

        def end(is_durable: bool) -> None:
            if is_durable:
                self.book.reset(context, peer, observer)

        await self._engine.commit_noted((), reset_note(context, peer, observer), on_end=end, flush=True)

    async def absorb(self, context: str, peer: str, other: FlowBudget) -> None:
        """Join what another device of this author says of the same budget; its charges count here, in later lives too.

        Counted at once, and durable when this returns.
        """
        self.book.absorb(context, peer, other)
        note = budget_note(context, peer, other)
        await self._engine.commit_noted((), note, on_end=lambda _: None, flush=True)

    def receipt_for(self, letter: Letter) -> FlowReceipt | None:
        """The signed receipt for what a letter cost, to go along with it: for a *deliver*. None when it was free.

        The letters of a window share one, for what they cost together.
        """
        row = self.book.receipt_of(letter.envelope_id)
        return None if row is None else FlowReceipt.from_bytes(row.text)

    def resend(self) -> None:
        """Try at once what could not leave, as when its peer is back; without it each is tried again by itself.

        An envelope keeps its id, so a peer takes it in once, and what it cost was charged when it was let through.
        """
        if self.outbox is not None:
            self.outbox.resend()

    async def drained(self) -> None:
        """Return when nothing waits to leave."""
        if self.outbox is not None:
            await self.outbox.drained()

    async def __aenter__(self) -> Self:
        if self.outbox is not None:
            self._group = asyncio.TaskGroup()
            await self._group.__aenter__()
            self._group.create_task(self._end_when_stopped(), name="outbox")
            self.outbox.start(self._group)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        group, self._group = self._group, None
        if group is not None:
            self._stopped.set()
            try:
                await group.__aexit__(kind, error, trace)
            except* _Stopped:
                pass
            finally:
                if self.outbox is not None:
                    self.outbox.stop()

    async def _end_when_stopped(self) -> None:
        """What is being sent is let go: it is durable, and is sent in the next life."""
        await self._stopped.wait()
        raise _Stopped

    def _tell(self, request: SendRequest, outcome: GuardOutcome) -> None:
        self._on_outcome(request, outcome)
        events = self._engine.events
        if outcome.violation is not None or events.is_heard:
            kind = outcome.violation.kind.value if outcome.violation is not None else ""
            events.emit(GuardDecided(service="guard", stage=outcome.stages[-1], error_kind=kind))

    def _plan(self, snapshot: GuardSnapshot, request: SendRequest, outcome: GuardOutcome) -> Plan:
        return Plan(request.plan_id or self._new_plan_id(), outcome.commands, snapshot.rng_seed)

    def _new_plan_id(self) -> str:
        self._plan_count += 1
        return f"{self._plan_prefix}.{self._plan_count}"


def _outcome_of(end: Guarded | GuardRefused) -> GuardOutcome:
    return end.outcome if isinstance(end, Guarded) else refusal_of(end.violation)


def _end_of(outcome: GuardOutcome, results: Performed | InterpreterError, plan: Plan) -> Guarded | InterpreterError:
    return results if isinstance(results, InterpreterError) else Guarded(outcome, results, plan.plan_id)


class _Stopped(Exception):
    """The guard is being left."""


_NOTHING: MappingProxyType[str, str] = MappingProxyType({})
_NO_TIMINGS: MappingProxyType[str, Timing] = MappingProxyType({})

__all__ = [
    "CapabilitySource",
    "EffectGuard",
    "Explanation",
    "Guarded",
    "HeldCapabilities",
    "LeakClaim",
    "OwnerCapabilities",
]

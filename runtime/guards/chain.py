"""The guard chain: a snapshot and a request in, a plan or a refusal out.

Pure and synchronous: no clock, no dice, no I/O, no ``await``. The order is fixed (capability, policy, flow, leakage,
journal, send), a refusal ends it, and a refused request has no command at all. Performs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .commands import (
    COST_MAX,
    AppendJournal,
    ChargeBudget,
    EffectCommand,
    GuardOutcome,
    GuardSnapshot,
    GuardViolation,
    RecordLeakage,
    SendEnvelope,
    SendRequest,
    Timing,
    ViolationKind,
)

Verdict = tuple[EffectCommand, ...] | GuardViolation
"""What one guard says: the commands it asks for, or its refusal."""


class Guard(Protocol):
    """One guard of the chain: a name and a pure function."""

    @property
    def stage(self) -> str:
        """Its name in a trace."""
        ...

    def evaluate(self, snapshot: GuardSnapshot, request: SendRequest, /) -> Verdict:
        """Decide, from these two values alone."""
        ...


class CapGuard:
    """The capability that the request names must be among those that hold; without a decision it is refused."""

    stage = "capability"

    def evaluate(self, snapshot: GuardSnapshot, request: SendRequest) -> Verdict:
        """Refuse what was not granted."""
        caps = snapshot.caps
        if caps is not None and request.capability in caps and request.capability and caps.issuperset(request.also):
            return ()
        return self._refusal(snapshot, request)

    def _refusal(self, snapshot: GuardSnapshot, request: SendRequest) -> GuardViolation:
        if snapshot.caps_problem:
            return GuardViolation(ViolationKind.CAPABILITY_CHECK_FAILED, self.stage, snapshot.caps_problem)
        if snapshot.caps is None or not request.capability:
            text = f"nobody decided about {request.capability or request.operation!r}; give the guard a token or grants"
            return GuardViolation(ViolationKind.MISSING_AUTHORIZATION_DECISION, self.stage, text)
        missing = [name for name in (request.capability, *request.also) if name not in snapshot.caps]
        text = f"{request.operation} needs the capability {missing[0]!r}, which was not granted"
        return GuardViolation(ViolationKind.MISSING_CAPABILITY, self.stage, text)


class EffectPolicyGuard:
    """Operations that need approval become proposals, and those that need a ceremony are sent there."""

    stage = "policy"

    def evaluate(self, snapshot: GuardSnapshot, request: SendRequest) -> Verdict:
        """Refuse what must not happen directly."""
        timing = snapshot.timings.get(request.operation, Timing.IMMEDIATE)
        if timing is Timing.BLOCKING:
            text = f"{request.operation} takes effect through a ceremony; begin that one instead"
            return GuardViolation(ViolationKind.CEREMONY_REQUIRED, self.stage, text)
        if timing is Timing.DEFERRED and request.proposal is None:
            text = f"{request.operation} has to be approved first; give the request a proposal fact"
            return GuardViolation(ViolationKind.AUTHORIZATION_DENIED, self.stage, text)
        return ()


class FlowGuard:
    """The budget must hold the cost; using it up exactly is fine, and an unknown budget is empty."""

    stage = "flow"

    def evaluate(self, snapshot: GuardSnapshot, request: SendRequest) -> Verdict:
        """Charge, or refuse."""
        remaining = snapshot.budgets.get((request.context, request.peer), 0)
        if request.cost > remaining:
            text = f"{request.operation} costs {request.cost} and {remaining} are left for this peer in this epoch"
            return GuardViolation(
                ViolationKind.INSUFFICIENT_FLOW_BUDGET, self.stage, text, request.cost, max(0, remaining)
            )
        return (ChargeBudget(request.context, request.authority, request.peer, request.cost),)


class LeakageGuard:
    """Every class of observers must have bits left for what it learns; an unknown class has none."""

    stage = "leakage"

    def evaluate(self, snapshot: GuardSnapshot, request: SendRequest) -> Verdict:
        """Record, or refuse; claims about one observer count together."""
        if not request.leaks:
            return ()
        wanted: dict[str, int] = {}
        for claim in request.leaks:
            wanted[claim.observer] = wanted.get(claim.observer, 0) + claim.bits
        for observer, bits in wanted.items():
            remaining = snapshot.leakage.get((request.context, request.peer, observer), 0)
            if bits > remaining:
                text = f"{request.operation} reveals {bits} bits to {observer!r}, and {remaining} are left"
                return GuardViolation(
                    ViolationKind.INSUFFICIENT_LEAKAGE_BUDGET, self.stage, text, bits, max(0, remaining)
                )
        return tuple(
            RecordLeakage(claim.bits, claim.observer, request.context, request.peer, request.operation)
            for claim in request.leaks
        )


class JournalGuard:
    """The facts that belong to the operation, in their order, or its proposal alone."""

    stage = "journal"

    def evaluate(self, snapshot: GuardSnapshot, request: SendRequest) -> Verdict:
        """Append."""
        if is_proposed(snapshot, request):
            return (AppendJournal(request.proposal),) if request.proposal is not None else ()
        return (*request.extra, *map(AppendJournal, request.facts))


class SendGuard:
    """What leaves comes last, at most once."""

    stage = "send"

    def evaluate(self, snapshot: GuardSnapshot, request: SendRequest) -> Verdict:
        """Send, unless the request is about this node alone or only proposed."""
        if request.envelope is None or is_proposed(snapshot, request):
            return ()
        return (
            SendEnvelope(
                request.to or request.peer, request.envelope, request.context, request.peer, request.facts_after
            ),
        )


GUARD_CHAIN: tuple[Guard, ...] = (
    CapGuard(),
    EffectPolicyGuard(),
    FlowGuard(),
    LeakageGuard(),
    JournalGuard(),
    SendGuard(),
)
"""The guards, in the order that holds everywhere."""


def is_proposed(snapshot: GuardSnapshot, request: SendRequest) -> bool:
    """Whether the operation is only proposed here."""
    return snapshot.timings.get(request.operation) is Timing.DEFERRED


def evaluate(snapshot: GuardSnapshot, request: SendRequest) -> GuardOutcome:
    """The chain's decision about *request*: the same two values give the same outcome, byte for byte. ~5 µs.

    >>> snapshot = GuardSnapshot(caps=frozenset({"chat:message:send"}), budgets={("home", "bo"): 10})
    >>> request = SendRequest("chat:send", "home", "bo", "ada", "chat:message:send", cost=4, envelope=b"hi")
    >>> [type(command).__name__ for command in evaluate(snapshot, request).commands]
    ['ChargeBudget', 'SendEnvelope']
    """
    commands: list[EffectCommand] = []
    for place, guard in enumerate(GUARD_CHAIN):
        verdict = guard.evaluate(snapshot, request)
        if isinstance(verdict, GuardViolation):
            return GuardOutcome((), STAGES[: place + 1], verdict)
        commands.extend(verdict)
    return GuardOutcome(tuple(commands), STAGES, None, is_proposed(snapshot, request))


STAGES = tuple(guard.stage for guard in GUARD_CHAIN)


def refusal_of(violation: GuardViolation) -> GuardOutcome:
    """The outcome that this refusal is: the guards up to the one that spoke, and no command."""
    return GuardOutcome((), STAGES[: STAGES.index(violation.stage) + 1], violation)


def validate_plan(commands: Sequence[EffectCommand]) -> GuardViolation | None:
    """What is wrong with a list of commands, whoever made it; None when it may be performed. O(commands).

    An envelope needs an earlier charge for its context and peer; after it comes neither charge nor anything else that
    is durable, and no second envelope.
    """
    charged: set[tuple[str, str]] = set()
    has_sent = False
    for command in commands:
        if type(command) is ChargeBudget:
            if not 0 <= command.amount <= COST_MAX:
                return _refuse(ViolationKind.OTHER, f"a charge of {command.amount}; expected 0..{COST_MAX}")
            if has_sent:
                return _refuse(ViolationKind.CHARGE_AFTER_SEND, "a charge after the envelope has left")
            charged.add((command.context, command.peer))
        elif type(command) is SendEnvelope:
            if has_sent:
                return _refuse(ViolationKind.OTHER, "two envelopes in one plan; make it two plans")
            if (command.context, command.peer) not in charged:
                return _refuse(ViolationKind.MISSING_CHARGE_BEFORE_SEND, "an envelope that nothing was charged for")
            has_sent = True
        elif type(command) is RecordLeakage and not 0 <= command.bits <= COST_MAX:
            return _refuse(ViolationKind.OTHER, f"a leak of {command.bits} bits; expected 0..{COST_MAX}")
        elif has_sent:
            return _refuse(ViolationKind.OTHER, f"{type(command).__name__} after the envelope has left")
    return None


def _refuse(kind: ViolationKind, text: str) -> GuardViolation:
    return GuardViolation(kind, "plan", text)

"""What a guard chain asks for and what came of it: requests, commands, results and refusals, as values.

Performs nothing and decides nothing; ``chain.py`` decides, the interpreters perform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import NamedTuple, Self, TypeAlias

from antiphon.facts import AntiphonError, Fact, LocalViolation
from antiphon.facts.encoding import canonical_bytes
from antiphon.facts.time_domains import PhysicalTime, TimeStamp

# A cost is an unsigned 32-bit number on the wire of receipts.
COST_MAX = 2**32 - 1
# What the protocol machine takes at most; larger things are facts, or go in parts.
ENVELOPE_BYTES_MAX = 256 * 1024


class ViolationKind(Enum):
    """Why a guard refused: the only thing that a peer or a screen may be told of it."""

    MISSING_CAPABILITY = "missing-capability"
    INSUFFICIENT_FLOW_BUDGET = "insufficient-flow-budget"
    INSUFFICIENT_LEAKAGE_BUDGET = "insufficient-leakage-budget"
    AUTHORIZATION_DENIED = "authorization-denied"
    MISSING_AUTHORIZATION_DECISION = "missing-authorization-decision"
    CAPABILITY_CHECK_FAILED = "capability-check-failed"
    CEREMONY_REQUIRED = "ceremony-required"
    CHARGE_AFTER_SEND = "charge-after-send"
    MISSING_CHARGE_BEFORE_SEND = "missing-charge-before-send"
    UNGUARDED_MESSAGE = "unguarded-message"
    OTHER = "other"


# What may come right by itself: a later epoch or an older leak leaving its window.
RETRYABLE = frozenset({ViolationKind.INSUFFICIENT_FLOW_BUDGET, ViolationKind.INSUFFICIENT_LEAKAGE_BUDGET})


@dataclass(frozen=True, slots=True)
class GuardViolation:
    """A refusal: the guard that spoke, its kind, and the numbers, which stay on this node."""

    kind: ViolationKind
    stage: str
    text: str
    required: int = 0
    remaining: int = 0

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may be allowed later without anybody doing anything."""
        return self.kind in RETRYABLE

    def public(self) -> str:
        """What may leave this node: the kind and nothing else."""
        return self.kind.value


class GuardRefused(LocalViolation):
    """The guard chain refused; nothing was charged, recorded or sent. ``violation`` says why."""

    def __init__(self, violation: GuardViolation) -> None:
        self.violation = violation
        super().__init__(f"{violation.stage}: {violation.text}")

    @property
    def kind(self) -> str:
        """The stable name of the reason."""
        return self.violation.kind.value

    @property
    def is_retryable(self) -> bool:
        """Whether waiting may help."""
        return self.violation.is_retryable

    def public(self) -> str:
        """What may leave this node."""
        return self.violation.public()


class InterpreterError(AntiphonError):
    """A command was not performed, nor any after it; ``command_index`` says which, ``kind`` why."""

    def __init__(self, command_index: int, kind: str, text: str) -> None:
        self.command_index = command_index
        self.kind = kind
        super().__init__(f"command {command_index} was not performed ({kind}): {text}")

    def public(self) -> str:
        """What may leave this node."""
        return self.kind


@dataclass(frozen=True, slots=True)
class ChargeBudget:
    """Spend *amount* of what *authority* may send to *peer* in *context*, in this epoch."""

    context: str
    authority: str
    peer: str
    amount: int


@dataclass(frozen=True, slots=True)
class AppendJournal:
    """Commit a fact, in the frame of its plan."""

    entry: Fact


@dataclass(frozen=True, slots=True)
class RecordLeakage:
    """Account *bits* that a class of observers learns from this operation."""

    bits: int
    observer: str
    context: str
    peer: str
    operation: str


@dataclass(frozen=True, slots=True)
class StoreMetadata:
    """Keep a text under a key, on this node only."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class SendEnvelope:
    """Put bytes for *to* into the outbox, send them once all is durable, and commit *after* when they have left."""

    to: str
    envelope: bytes
    context: str
    peer: str
    after: tuple[Fact, ...] = ()
    peer_id: str = ""


@dataclass(frozen=True, slots=True)
class GenerateNonce:
    """So many random bytes, as a result."""

    bytes: int


EffectCommand: TypeAlias = ChargeBudget | AppendJournal | RecordLeakage | StoreMetadata | SendEnvelope | GenerateNonce
"""What an interpreter can be asked to do: a closed set."""


@dataclass(frozen=True, slots=True)
class Success:
    """Done."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The fact is durable: its kind, for its id differs from journal to journal."""

    kind: str


@dataclass(frozen=True, slots=True)
class Nonce:
    """Random bytes."""

    value: bytes


@dataclass(frozen=True, slots=True)
class RemainingBudget:
    """What is left after a charge."""

    remaining: int


@dataclass(frozen=True, slots=True)
class Queued:
    """The envelope is in the outbox under this id."""

    envelope_id: str


EffectResult: TypeAlias = Success | Appended | Nonce | RemainingBudget | Queued


class LeakClaim(NamedTuple):
    """What a send reveals: bits to a class of observers."""

    observer: str
    bits: int


class Timing(Enum):
    """When an operation's effect becomes real: now, after approvals, or after a ceremony."""

    IMMEDIATE = "immediate"
    DEFERRED = "deferred"
    BLOCKING = "blocking"


class _RequestFields(NamedTuple):
    operation: str
    context: str
    peer: str
    authority: str
    capability: str
    cost: int
    leaks: tuple[LeakClaim, ...]
    facts: tuple[Fact, ...]
    facts_after: tuple[Fact, ...]
    extra: tuple[StoreMetadata | GenerateNonce, ...]
    envelope: bytes | None
    to: str
    proposal: Fact | None
    plan_id: str
    also: tuple[str, ...]


# A program has few operations and makes many requests.
@lru_cache(maxsize=256)
def _check_operation(operation: str) -> None:
    module, _, verb = operation.partition(":")
    if not (module and verb) or module.isspace() or verb.isspace():
        raise LocalViolation(f"an operation is named 'module:verb'; got {operation!r}")


class SendRequest(_RequestFields):
    """Something that wants to happen: who, towards whom, in which context, with which right, at which price.

    ``operation`` is ``module:verb``; ``facts`` are committed with it; ``envelope`` leaves last (None: a local
    operation), and ``facts_after`` are committed when it has left. ``proposal`` is committed instead of all that when
    the operation has to be approved first. ``plan_id`` names the plan: the same id again charges nothing and sends
    nothing twice; empty, the guard makes one. ``also`` are further capabilities that are needed. Raises
    ``LocalViolation`` for what no guard could judge.
    """

    __slots__ = ()

    # A tuple and not a dataclass: windows are made of hundreds, and a frozen object with slots takes twice as long.
    def __new__(
        cls,
        operation: str,
        context: str,
        peer: str,
        authority: str,
        capability: str,
        cost: int = 0,
        leaks: tuple[LeakClaim, ...] = (),
        facts: tuple[Fact, ...] = (),
        facts_after: tuple[Fact, ...] = (),
        extra: tuple[StoreMetadata | GenerateNonce, ...] = (),
        envelope: bytes | None = None,
        to: str = "",
        proposal: Fact | None = None,
        plan_id: str = "",
        also: tuple[str, ...] = (),
    ) -> Self:
        """Check what can be checked without looking at anything else."""
        _check_operation(operation)
        if type(cost) is not int or not 0 <= cost <= COST_MAX:
            raise LocalViolation(f"{operation}: a cost is 0..{COST_MAX}; got {cost!r}")
        for claim in leaks:
            if type(claim.bits) is not int or not 0 <= claim.bits <= COST_MAX:
                raise LocalViolation(f"{operation}: leaked bits are 0 or more; got {claim.bits!r}")
        if envelope is not None and len(envelope) > ENVELOPE_BYTES_MAX:
            size = len(envelope)
            raise LocalViolation(f"{operation}: an envelope has at most {ENVELOPE_BYTES_MAX} bytes; got {size}")
        before = (operation, context, peer, authority, capability, cost, leaks, facts, facts_after, extra, envelope)
        return tuple.__new__(cls, before + (to, proposal, plan_id, also))  # noqa: RUF005  # a third faster


@dataclass(frozen=True, slots=True)
class GuardSnapshot:
    """Everything that a guard may look at, gathered before; nothing of it moves while guards decide.

    ``caps`` are the capabilities that hold for the request (None: nobody decided), ``budgets`` what is left for each
    (context, peer), ``leakage`` the bits left for each (context, peer, observer); what stands in neither is 0.
    ``timings`` says how much agreement an operation needs here. ``version`` is the book's when it was taken.
    """

    now: TimeStamp = field(default_factory=lambda: PhysicalTime(0))
    caps: frozenset[str] | None = None
    budgets: Mapping[tuple[str, str], int] = field(default_factory=dict)
    leakage: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    rng_seed: bytes = bytes(32)
    timings: Mapping[str, Timing] = field(default_factory=dict)
    version: int = 0
    caps_problem: str = ""


@dataclass(frozen=True, slots=True)
class GuardOutcome:
    """What the chain decided: a plan, or a violation and no command at all. ``stages`` are the guards that spoke."""

    commands: tuple[EffectCommand, ...]
    stages: tuple[str, ...]
    violation: GuardViolation | None = None
    is_proposal: bool = False

    @property
    def is_authorized(self) -> bool:
        """Whether the commands may be performed."""
        return self.violation is None

    def to_bytes(self) -> bytes:
        """The outcome in the canonical encoding: equal bytes mean an equal decision."""
        violation = self.violation
        return canonical_bytes(
            {
                "commands": [command_data(command) for command in self.commands],
                "stages": list(self.stages),
                "violation": None
                if violation is None
                else [violation.kind.value, violation.stage, violation.text, violation.required, violation.remaining],
            }
        )


def command_data(command: EffectCommand) -> object:
    """A command as canonical JSON data: a list that begins with its name."""
    match command:
        case ChargeBudget(context, authority, peer, amount):
            return ["ChargeBudget", context, authority, peer, amount]
        case AppendJournal(entry):
            kind = entry.fact_type
            return ["AppendJournal", kind.kind, kind.version, kind.encode(entry).decode()]
        case RecordLeakage(bits, observer, context, peer, operation):
            return ["RecordLeakage", bits, observer, context, peer, operation]
        case StoreMetadata(key, value):
            return ["StoreMetadata", key, value]
        case SendEnvelope(to, envelope, context, peer, after, peer_id):
            facts = [[each.fact_type.kind, each.fact_type.encode(each).decode()] for each in after]
            return ["SendEnvelope", to, envelope.hex(), context, peer, facts, peer_id]
        case GenerateNonce(count):
            return ["GenerateNonce", count]

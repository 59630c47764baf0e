"""``MvHandler``: a state that only narrows from the top, with its history and proofs that all hold the same.

``MultiConstraintHandler`` keeps one for each scope. Neither enforces what is left; guards do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import sha256
from typing import Generic, NamedTuple, TypeVar

from ..crdt_errors import CounterRegression, CrdtTypeMismatch
from ..lattice import Meet, encode_state, freeze, meet_all
from .codec import check_type
from .kinds import CrdtKind, HandlerDiagnostics
from .shared_log import SharedLog

# What a screen or an audit shows; the state itself forgets nothing.
HISTORY_MAX = 1_000
# More participants than any ceremony has; beyond it the oldest are forgotten.
PROOFS_MAX = 1_000
# Peers whose counters are remembered; a forgotten one is heard again, which can only narrow to what it said before.
SENDERS_MAX = 4_096

HASH_PREFIX = b"antiphon.constraint.1"

M = TypeVar("M", bound=Meet)


class MeetStateMsg(NamedTuple, Generic[M]):
    """What one sender holds; its own counter rises with every message it sends."""

    state: M
    sender: str
    monotonic_counter: int


class ConstraintEvent(NamedTuple, Generic[M]):
    """A constraint that was applied, when (milliseconds, as given), by whom, and whether it narrowed anything."""

    constraint: M
    at_ms: int
    source: str
    is_narrowing: bool


class ConsistencyProof(NamedTuple):
    """A participant's word that it holds the state with this hash."""

    constraint_hash: bytes
    participant: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class MvHandler(Generic[M]):
    """A meet state; every change gives a new handler.

    >>> from antiphon.journal import MinInt
    >>> handler = MvHandler.new(MinInt()).on_constraint(MinInt(80), at_ms=1).on_constraint(MinInt(100), at_ms=2)
    >>> handler.get_state().value, handler.satisfies_constraint(MinInt(90)), handler.constraint_count
    (80, True, 2)
    """

    state: M
    history: SharedLog[ConstraintEvent[M]] = field(default_factory=SharedLog)
    constraint_count: int = 0
    counter: int = 0
    counters: Mapping[str, int] = field(default_factory=lambda: freeze({}))
    proofs: Mapping[str, ConsistencyProof] = field(default_factory=lambda: freeze({}))

    @classmethod
    def new(cls, prototype: M) -> MvHandler[M]:
        """A handler at the top of *prototype*'s lattice: nothing is constrained."""
        return cls(prototype.top())

    @classmethod
    def with_state(cls, state: M) -> MvHandler[M]:
        """A handler that starts from *state*; ``CrdtTypeMismatch`` for what has no meet."""
        if not all(hasattr(state, name) for name in ("top", "meet", "lattice_name", "to_data", "from_data")):
            raise CrdtTypeMismatch(
                expected="a meet lattice (top, meet, lattice_name, to_data, from_data)", actual=type(state).__name__
            )
        return cls(state)

    def get_state(self) -> M:
        """What is left."""
        return self.state

    def on_constraint(self, constraint: M, *, at_ms: int, source: str = "") -> MvHandler[M]:
        """Narrow by *constraint* and note it in the history (its last 1,000 events are kept).

        ``CrdtTypeMismatch`` for a constraint of another type.
        """
        check_type(self.state, constraint)
        narrowed = self.state.meet(constraint)
        event = ConstraintEvent(constraint, at_ms, source, narrowed != self.state)
        history = self.history.append(event)
        if len(history) > 2 * HISTORY_MAX:
            history = SharedLog(history[-HISTORY_MAX:])
        return replace(self, state=narrowed, history=history, constraint_count=self.constraint_count + 1)

    @property
    def constraint_history(self) -> tuple[ConstraintEvent[M], ...]:
        """The last 1,000 constraints, oldest first."""
        return tuple(self.history[-HISTORY_MAX:])

    def on_recv(self, message: MeetStateMsg[M]) -> MvHandler[M]:
        """Narrow by what a sender holds. ``CounterRegression`` when its own counter does not rise."""
        last = self.counters.get(message.sender)
        if last is not None and message.monotonic_counter <= last:
            raise CounterRegression(sender=message.sender, last=last, got=message.monotonic_counter)
        return self.take_state(message)

    def take_state(self, message: MeetStateMsg[M]) -> MvHandler[M]:
        """The same, for messages that may repeat or overtake each other: an old one narrows to what it said before."""
        check_type(self.state, message.state)
        counters = dict(self.counters)
        rising = max(message.monotonic_counter, counters.pop(message.sender, message.monotonic_counter))
        counters[message.sender] = rising
        if len(counters) > SENDERS_MAX:
            counters.pop(next(iter(counters)))
        return replace(self, state=self.state.meet(message.state), counters=freeze(counters))

    def create_state_msg(self, *, sender: str) -> tuple[MeetStateMsg[M], MvHandler[M]]:
        """The message that narrows a peer to here, and the handler that has counted it."""
        counted = replace(self, counter=self.counter + 1)
        return MeetStateMsg(self.state, sender, counted.counter), counted

    def satisfies_constraint(self, constraint: M) -> bool:
        """Whether the state is already as narrow as *constraint*."""
        check_type(self.state, constraint)
        return self.state.meet(constraint) == self.state

    def is_more_restrictive_than(self, other: M) -> bool:
        """Whether the state is strictly narrower than *other*."""
        return self.state != other and self.satisfies_constraint(other)

    # --- do all hold the same? ------------------------------------------------------------------------------------

    @property
    def constraint_hash(self) -> bytes:
        """SHA-256 of the state's canonical bytes: equal exactly for equal states."""
        return sha256(HASH_PREFIX + encode_state(self.state)).digest()

    def generate_consistency_proof(self, *, participant: str, at_ms: int) -> ConsistencyProof:
        """What to send to the other participants. It is not signed; the session that carries it says who spoke."""
        return ConsistencyProof(self.constraint_hash, participant, at_ms)

    def receive_consistency_proof(self, proof: ConsistencyProof) -> MvHandler[M]:
        """Keep the newest proof of each participant."""
        known = self.proofs.get(proof.participant)
        # Of two proofs of one moment the larger hash is kept, so that the order of arrival does not matter.
        if known is not None and (known.at_ms, known.constraint_hash) >= (proof.at_ms, proof.constraint_hash):
            return self
        proofs = {name: kept for name, kept in self.proofs.items() if name != proof.participant}
        proofs[proof.participant] = proof
        if len(proofs) > PROOFS_MAX:
            proofs.pop(next(iter(proofs)))
        return replace(self, proofs=freeze(proofs))

    def verify_consensus(self) -> bool:
        """Whether every participant that sent a proof holds this state; True when none did."""
        mine = self.constraint_hash
        return all(proof.constraint_hash == mine for proof in self.proofs.values())

    def diagnostics(self) -> HandlerDiagnostics:
        """What is inside; a meet handler is always idle."""
        metrics = {
            "constraints": self.constraint_count,
            "history": len(self.constraint_history),
            "senders": len(self.counters),
            "proofs": len(self.proofs),
        }
        return HandlerDiagnostics(CrdtKind.MEET, 0, metrics)


class ScopeLevel(Enum):
    """How far a constraint reaches."""

    GLOBAL = "global"
    SESSION = "session"
    DEVICE = "device"
    RESOURCE = "resource"


class ConstraintScope(NamedTuple):
    """Where a constraint holds: everywhere, or in one session, on one device, for one resource."""

    level: ScopeLevel = ScopeLevel.GLOBAL
    name: str = ""


class ConstraintMsg(NamedTuple, Generic[M]):
    """A constraint for a scope; ``priority`` is for whoever shows or sorts them, a meet has no order."""

    constraint: M
    scope: ConstraintScope = ConstraintScope()
    priority: int = 0


class ConstraintResult(NamedTuple, Generic[M]):
    """Whether a constraint narrowed its scope, and what is left there."""

    is_applied: bool
    scope: ConstraintScope
    state: M


@dataclass(frozen=True, slots=True)
class MultiConstraintHandler(Generic[M]):
    """One meet state for each scope; what holds in all of them together is their meet.

    >>> from antiphon.journal import MinInt
    >>> limits = MultiConstraintHandler(MinInt())
    >>> limits.combined_state() is None
    True
    >>> phone = ConstraintScope(ScopeLevel.DEVICE, "phone")
    >>> _, limits = limits.on_constraint(ConstraintMsg(MinInt(80)), at_ms=1)
    >>> _, limits = limits.on_constraint(ConstraintMsg(MinInt(50), phone), at_ms=2)
    >>> limits.combined_state()
    MinInt(value=50)
    """

    prototype: M
    handlers: Mapping[ConstraintScope, MvHandler[M]] = field(default_factory=dict)

    def on_constraint(
        self, message: ConstraintMsg[M], *, at_ms: int, source: str = ""
    ) -> tuple[ConstraintResult[M], MultiConstraintHandler[M]]:
        """Narrow one scope. ``CrdtTypeMismatch`` for a constraint of another type."""
        before = self.handlers.get(message.scope, MvHandler.new(self.prototype))
        after = before.on_constraint(message.constraint, at_ms=at_ms, source=source)
        changed = MultiConstraintHandler(self.prototype, {**self.handlers, message.scope: after})
        return ConstraintResult(after.state != before.state, message.scope, after.state), changed

    def handler(self, scope: ConstraintScope) -> MvHandler[M] | None:
        """The handler of *scope*; None when nothing was said about it."""
        return self.handlers.get(scope)

    def combined_state(self, *scopes: ConstraintScope) -> M | None:
        """The meet over these scopes (over all when none is named); None when nothing was said about them."""
        states = [each.state for scope, each in self.handlers.items() if not scopes or scope in scopes]
        return meet_all(states[0], states[1:]) if states else None

    def clear_scope(self, scope: ConstraintScope) -> MultiConstraintHandler[M]:
        """Forget a scope that is over, such as a session that has ended."""
        return MultiConstraintHandler(
            self.prototype, {other: handler for other, handler in self.handlers.items() if other != scope}
        )

    def diagnostics(self) -> HandlerDiagnostics:
        """What is inside."""
        count = sum(handler.constraint_count for handler in self.handlers.values())
        return HandlerDiagnostics(CrdtKind.MEET, 0, {"scopes": len(self.handlers), "constraints": count})

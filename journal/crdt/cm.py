"""``CmHandler``: a state changed by operations, each applied exactly once and after its causes.

Authors number their operations without gaps, so what was applied is a vector and needs no set. Trusts that an author
gives a number once; operations of authors who may lie belong into facts, whose chains show a fork.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

from ..causality import CausalContext, OperationId, VectorClock
from ..crdt_errors import ActorReused, CrdtTypeMismatch, OperationsCompacted
from ..lattice import decode_tagged, encode_tagged, freeze, read_map
from .kinds import CrdtKind, HandlerDiagnostics
from .operations import OpState
from .shared_log import SharedLog

# As many as one answer carries; an operation that finds the buffer full is sent again with the next answer.
BUFFERED_MAX = 1_000

S = TypeVar("S", bound=OpState[Any])


class OpWithCtx(NamedTuple):
    """An operation and what it relies on."""

    operation: object
    context: CausalContext


class OpSnapshot(NamedTuple, Generic[S]):
    """A state and the operations that are in it."""

    state: S
    clock: VectorClock


@dataclass(frozen=True, slots=True)
class CmHandler(Generic[S]):
    """An op-based state, its causal buffer and its log; every change gives a new handler.

    ``actor`` numbers local operations and must be new for every life of a replica that starts from a saved state.

    >>> from antiphon.journal import OpCounter
    >>> (first, ada), ben = CmHandler.with_state(OpCounter(), actor="ada").issue(5), CmHandler.with_state(OpCounter())
    >>> second, ada = ada.issue(7)
    >>> ben = ben.on_recv(second).on_recv(second)      # too early, and twice
    >>> ben.get_state().value, ben.buffer_len, ben.on_recv(first).get_state().value
    (0, 1, 12)
    """

    state: S
    base: OpSnapshot[S]
    actor: str = "local"
    clock: VectorClock = field(default_factory=VectorClock)
    waiting: Mapping[OperationId, OpWithCtx] = field(default_factory=lambda: freeze({}))
    log: SharedLog[OpWithCtx] = field(default_factory=SharedLog)
    duplicate_count: int = 0
    dropped_count: int = 0

    @classmethod
    def with_state(cls, state: S, *, actor: str = "local") -> CmHandler[S]:
        """A handler that starts from *state*, which every replica must start from too."""
        return cls(state, OpSnapshot(state, VectorClock()), actor)

    def get_state(self) -> S:
        """The state after every applied operation."""
        return self.state

    @property
    def current_clock(self) -> VectorClock:
        """How many operations of each actor are applied."""
        return self.clock

    @property
    def buffer_len(self) -> int:
        """How many operations wait for their causes."""
        return len(self.waiting)

    @property
    def applied_operations(self) -> tuple[OperationId, ...]:
        """The ids of the operations in the log, in the order they were applied; compacted ones are in ``base``."""
        return tuple(entry.context.operation_id for entry in self.log)

    def is_applied(self, operation_id: OperationId) -> bool:
        """Whether the operation is in the state."""
        return self.clock.contains(operation_id)

    def issue(self, operation: object, *, after: Iterable[OperationId] = ()) -> tuple[OpWithCtx, CmHandler[S]]:
        """Apply an operation of our own; the message for the peers. It comes after all that is applied here.

        ``CrdtTypeMismatch`` for what is no operation of this state.
        """
        self._check_operation(operation)
        context = CausalContext(self.actor, self.clock.increment(self.actor), frozenset(after))
        message = OpWithCtx(operation, context)
        if not context.is_ready(self.clock):
            raise ValueError(f"{context.operation_id} names causes that are not applied here: {sorted(after)}")
        return message, self._apply(message)

    def on_recv(self, message: OpWithCtx) -> CmHandler[S]:
        """Apply an operation that is ready, and then all that waited for it; keep one that is not; ignore a known one.

        O(waiting). ``CrdtTypeMismatch`` for what is no operation of this state.
        """
        self._check_operation(message.operation)
        operation_id = message.context.operation_id
        if operation_id.actor == self.actor and not self.is_applied(operation_id):
            raise ActorReused(actor=self.actor, known=self.clock.get(self.actor), claimed=operation_id.sequence)
        if self.is_applied(operation_id) or operation_id in self.waiting:
            return replace(self, duplicate_count=self.duplicate_count + 1)
        if message.context.is_ready(self.clock):
            return self._apply(message).process_buffered()
        if self.buffer_len >= BUFFERED_MAX:
            return replace(self, dropped_count=self.dropped_count + 1)
        return replace(self, waiting=freeze({**self.waiting, operation_id: message}))

    def process_buffered(self) -> CmHandler[S]:
        """Apply whatever waits and is ready, until nothing more is."""
        handler, waiting = self, dict(self.waiting)
        progress = True
        while progress:
            progress = False
            # Only the next operation of each author can be ready.
            for actor in sorted({operation_id.actor for operation_id in waiting}):
                following = OperationId(actor, handler.clock.get(actor) + 1)
                if following in waiting and waiting[following].context.is_ready(handler.clock):
                    handler, progress = handler._apply(waiting.pop(following)), True
        left = {known: message for known, message in waiting.items() if not handler.is_applied(known)}
        return replace(handler, waiting=freeze(left))

    def clear_buffer(self) -> CmHandler[S]:
        """Forget what waits; a peer sends it again when asked."""
        return replace(self, waiting=freeze({}))

    # --- what a peer lacks ----------------------------------------------------------------------------------------

    def operations_after(self, seen: VectorClock, *, count_max: int) -> tuple[OpWithCtx, ...] | None:
        """The operations that *seen* lacks, causes first, the first *count_max*; None when some were compacted away.

        O(log).
        """
        if not self.base.clock <= seen:
            return None
        missing = [entry for entry in self.log if not seen.contains(entry.context.operation_id)]
        return tuple(missing[:count_max])

    def take_operations(self, messages: Iterable[OpWithCtx]) -> CmHandler[S]:
        """Receive many."""
        handler = self
        for message in messages:
            handler = handler.on_recv(message)
        return handler

    def take_snapshot(self, snapshot: OpSnapshot[S]) -> CmHandler[S]:
        """Start again from a peer's snapshot, with what is known beyond it applied on top.

        A snapshot that says nothing new changes nothing. ``OperationsCompacted`` when operations that it lacks were
        compacted away here.
        """
        if snapshot.clock.get(self.actor) > self.clock.get(self.actor):
            raise ActorReused(
                actor=self.actor, known=self.clock.get(self.actor), claimed=snapshot.clock.get(self.actor)
            )
        if snapshot.clock <= self.clock:
            return self
        if not self.base.clock <= snapshot.clock:
            raise OperationsCompacted(
                f"the peer's snapshot lacks operations that were compacted here (its {snapshot.clock.to_data()}, ours "
                f"{self.base.clock.to_data()}); sync with a replica that still has their log"
            )
        again = replace(self, state=snapshot.state, base=snapshot, clock=snapshot.clock, log=SharedLog())
        for entry in self.log:
            if not again.is_applied(entry.context.operation_id):
                again = again._apply(entry)
        return again.process_buffered()

    def compact(self, stable: VectorClock) -> CmHandler[S]:
        """Move operations up to *stable* from the log into the base.

        Correct only when every replica that will ever write again has applied *stable*; others can then be brought up
        from the base. O(log).
        """
        base, kept = self.base, SharedLog[OpWithCtx]()
        for entry in self.log:
            context = entry.context
            if stable.contains(context.operation_id) and context.is_ready(base.clock):
                clock = base.clock.increment(context.actor)
                base = OpSnapshot(base.state.apply_operation(entry.operation, context.operation_id), clock)
            else:
                kept = kept.append(entry)
        return replace(self, base=base, log=kept)

    def bound_to(self, actor: str) -> CmHandler[S]:
        """This handler under *actor*; ``ValueError`` when it has issued operations under another."""
        if actor != self.actor and self.clock.get(self.actor):
            raise ValueError(
                f"the handler has issued operations as {self.actor!r} and cannot become {actor!r}; "
                "make a new one with the actor of its coordinator"
            )
        return replace(self, actor=actor)

    # --- bytes ----------------------------------------------------------------------------------------------------

    def encode_operation(self, message: OpWithCtx) -> bytes:
        """An operation's canonical bytes, context included; ``SerializationFailed``."""
        data = {"context": message.context.to_data(), "operation": self.state.operation_to_data(message.operation)}
        return encode_tagged("operation_of", self.state.lattice_name, data)

    def decode_operation(self, data: bytes) -> OpWithCtx:
        """The operation those bytes spell; ``DeserializationFailed`` or ``CrdtTypeMismatch``."""
        return decode_tagged("operation_of", self.state.lattice_name, data, self._read_operation)

    def diagnostics(self) -> HandlerDiagnostics:
        """What is inside."""
        metrics = {
            "applied": self.clock.total,
            "log": len(self.log),
            "duplicates": self.duplicate_count,
            "dropped": self.dropped_count,
        }
        return HandlerDiagnostics(CrdtKind.COMMUTATIVE, self.buffer_len, metrics)

    def _apply(self, message: OpWithCtx) -> CmHandler[S]:
        operation_id = message.context.operation_id
        return replace(
            self,
            state=self.state.apply_operation(message.operation, operation_id),
            clock=self.clock.increment(operation_id.actor),
            log=self.log.append(message),
        )

    def _read_operation(self, data: object) -> OpWithCtx:
        parts = read_map(data)
        operation: object = self.state.operation_from_data(parts["operation"])
        return OpWithCtx(operation, CausalContext.from_data(parts["context"]))

    def _check_operation(self, operation: object) -> None:
        try:
            self.state.operation_to_data(operation)
        except (AttributeError, TypeError, ValueError) as problem:
            raise CrdtTypeMismatch(
                expected=f"an operation of {self.state.lattice_name}", actual=type(operation).__name__
            ) from problem


def applied_by_all(clocks: Sequence[VectorClock]) -> VectorClock:
    """What every one of these has applied; nothing when there are none."""
    if not clocks:
        return VectorClock()
    stable = clocks[0]
    for clock in clocks[1:]:
        stable = stable.meet(clock)
    return stable

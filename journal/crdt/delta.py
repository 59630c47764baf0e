"""``DeltaHandler``: a state that exchanges fragments; arrivals are buffered and folded in together.

A delta must be idempotent (a small state of the lattice, not "add 3"), so a repeated or reordered one does no harm;
``antiphon.testing.laws.check_delta_laws`` shows whether a type's are. The handler also keeps the log from which a peer
is answered. It does not number anything by wall time, and it sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from ..causality import VectorClock
from ..crdt_errors import ActorReused, CrdtTypeMismatch, PendingFull
from ..lattice import Join, JoinValue, decode_tagged, encode_tagged
from .codec import check_type
from .kinds import CrdtKind, HandlerDiagnostics
from .shared_log import SharedLog

FOLD_THRESHOLD = 10
# Deltas are folded together to save joins; ten folds' worth is more than any peer sends before it listens.
PENDING_PER_THRESHOLD = 10

D = TypeVar("D")


class DeltaState(Join, Protocol[D]):
    """A join lattice that can say what changed. Every ``JoinValue`` is one whose deltas are of its own type."""

    def delta_since(self, older: Self, /) -> D | None:
        """A fragment d with ``older.apply_delta(d) == older.join(self)``; None when *older* has everything."""
        ...

    def apply_delta(self, delta: D, /) -> Self:
        """The state with a fragment in it; idempotent, and never less than before."""
        ...

    def join_deltas(self, first: D, second: D, /) -> D:
        """One fragment that says what both say."""
        ...

    def delta_to_data(self, delta: D, /) -> object:
        """A fragment as JSON data."""
        ...

    def delta_from_data(self, data: object, /) -> D:
        """The fragment that *data* spells; raises ``ValueError``."""
        ...


@runtime_checkable
class DigestState(Protocol):
    """A delta state that can name what it has in a few bytes, so that a peer can answer without a log."""

    def digest(self) -> bytes:
        """What this state has."""
        ...

    def delta_for(self, digest: bytes, /) -> object:
        """The delta that whoever has *digest* lacks; raises ``ValueError`` for bytes that are no digest."""
        ...


S = TypeVar("S", bound=DeltaState[Any])


@dataclass(frozen=True, slots=True)
class DeltaMsg:
    """One fragment, as a peer sent it."""

    delta: object


class DeltaEntry(NamedTuple):
    """A fragment in a log: whoever has seen ``lower`` and takes ``delta`` in has seen ``upper``."""

    lower: VectorClock
    upper: VectorClock
    delta: object


@dataclass(frozen=True, slots=True)
class DeltaHandler(Generic[S]):
    """A delta state, its inbox, and the log of what a peer may lack; every change gives a new handler.

    ``actor`` numbers local changes, so it must be new for every life of a replica that starts from a saved state: a
    number given twice would hide the second change from those that saw the first.

    >>> from antiphon.journal import GCounter
    >>> handler = DeltaHandler.with_threshold(GCounter({"ada": 5}), 2).on_recv(DeltaMsg(GCounter({"ben": 3})))
    >>> handler.get_state().value, handler.delta_count
    (5, 1)
    >>> handler.on_recv(DeltaMsg(GCounter({"ben": 7}))).get_state().value
    12
    """

    state: S
    actor: str = "local"
    threshold: int = FOLD_THRESHOLD
    inbox: SharedLog[object] = field(default_factory=SharedLog)
    seen: VectorClock = field(default_factory=VectorClock)
    log: SharedLog[DeltaEntry] = field(default_factory=SharedLog)
    fold_count: int = 0
    compaction_count: int = 0

    @classmethod
    def new(cls, prototype: S) -> DeltaHandler[S]:
        """A handler at the bottom of *prototype*'s lattice, threshold 10."""
        return cls(prototype.bottom())

    @classmethod
    def with_state(cls, state: S, *, actor: str = "local") -> DeltaHandler[S]:
        """A handler that starts from *state*; what is in it already counts as the first change."""
        return cls(state.bottom(), actor).update_state(state)

    @classmethod
    def with_threshold(cls, state: S, threshold: int, *, actor: str = "local") -> DeltaHandler[S]:
        """The same, folding after *threshold* deltas. ``ValueError`` for one below 1."""
        return cls.with_state(state, actor=actor).set_fold_threshold(threshold)

    # --- the state ------------------------------------------------------------------------------------------------

    def get_state(self, *, include_pending: bool = False) -> S:
        """The state; without the buffered deltas unless *include_pending*."""
        return self.force_fold().state if include_pending else self.state

    @property
    def delta_count(self) -> int:
        """How many deltas are buffered."""
        return len(self.inbox)

    @property
    def pending_max(self) -> int:
        """How many deltas may be buffered."""
        return self.threshold * PENDING_PER_THRESHOLD

    def set_fold_threshold(self, threshold: int) -> DeltaHandler[S]:
        """Fold after *threshold* deltas from now on; folds at once when as many wait. ``ValueError`` below 1."""
        if threshold < 1:
            raise ValueError(f"the fold threshold is {threshold}; expected at least 1 (1 folds every delta at once)")
        changed = replace(self, threshold=threshold)
        return changed.force_fold() if changed.delta_count >= threshold else changed

    def on_recv(self, message: DeltaMsg) -> DeltaHandler[S]:
        """Buffer a delta; at the threshold all are combined, applied once, and the buffer is empty again.

        Peers that ask get it as a change of this replica, at the latest with the next answer.

        ``CrdtTypeMismatch`` for a delta of another type.
        """
        self._check_delta(message.delta)
        buffered = self.buffer(message.delta)
        return buffered.force_fold() if buffered.delta_count >= self.threshold else buffered

    def buffer(self, delta: object) -> DeltaHandler[S]:
        """Buffer a delta and do not fold; ``PendingFull`` at ten times the threshold."""
        if self.delta_count >= self.pending_max:
            raise PendingFull(f"{self.delta_count} deltas wait already; call force_fold() before taking more")
        # No number says whose delta it is, so it is handed on as a change of this replica: peers that ask would never
        # hear of it else. Numbered when it comes, since a number that was given in an exchange that failed is reused.
        return replace(self, inbox=self.inbox.append(delta))._logged(delta)

    def fold_deltas(self) -> DeltaHandler[S]:
        """Apply what is buffered if that reaches the threshold."""
        return self.force_fold() if self.delta_count >= self.threshold else self

    def force_fold(self) -> DeltaHandler[S]:
        """Apply what is buffered, however little."""
        if not self.inbox:
            return self
        state = self.state.apply_delta(self._combined(self.inbox))
        return replace(self, state=state, inbox=SharedLog(), fold_count=self.fold_count + 1)

    def apply_deltas(self, deltas: Sequence[object]) -> DeltaHandler[S]:
        """Apply deltas at once, past the buffer; what is new in them is handed on like a buffered one."""
        applied = self.take_deltas(deltas)
        return self if applied.state == self.state else applied._logged(self._combined(deltas))

    def clear_deltas(self) -> DeltaHandler[S]:
        """Forget what is buffered. Peers may have it already and will not offer it again: rather fold."""
        return replace(self, inbox=SharedLog())

    # --- local changes --------------------------------------------------------------------------------------------

    def produce_delta(self, old: S, new: S) -> object | None:
        """The fragment that leads from *old* to *new*; None when there is nothing new. Changes nothing."""
        found: object | None = new.delta_since(old)
        return found

    def update_and_produce_delta(self, new: S) -> tuple[object | None, DeltaHandler[S]]:
        """Take in a changed state; the fragment for the peers, None (and the same handler) when it brings nothing.

        What is buffered is folded first. ``CrdtTypeMismatch`` for a state of another lattice.
        """
        check_type(self.state, new)
        folded = self.force_fold()
        delta = folded.produce_delta(folded.state, new)
        if delta is None:
            return None, self
        return delta, replace(folded, state=folded.state.apply_delta(delta))._logged(delta)

    def update_state(self, new: S) -> DeltaHandler[S]:
        """The same, for those who let the coordinator send."""
        return self.update_and_produce_delta(new)[1]

    # --- what a peer lacks ----------------------------------------------------------------------------------------

    def entries_after(self, seen: VectorClock, *, count_max: int) -> tuple[DeltaEntry, ...] | None:
        """The log entries that lead from *seen* to here, the first *count_max* of them; None if the log is too short.

        O(log). None means that only the whole state helps.
        """
        reached, found = seen, []
        for entry in self.log:
            if not entry.upper <= reached and entry.lower <= reached:
                found.append(entry)
                reached = reached.join(entry.upper)
        return tuple(found[:count_max]) if self.seen <= reached else None

    def take_entries(self, entries: Iterable[DeltaEntry]) -> DeltaHandler[S]:
        """Apply what a peer's log says, as far as it follows on what is here; the rest waits to be sent again."""
        handler = self.force_fold()
        fresh: list[object] = []
        for entry in entries:
            handler._check_own(entry.upper)
            if entry.upper <= handler.seen or not entry.lower <= handler.seen:
                continue
            fresh.append(entry.delta)
            handler = replace(handler, seen=handler.seen.join(entry.upper), log=handler.log.append(entry))
        if not fresh:
            return handler
        return replace(handler, state=handler.state.apply_delta(handler._combined(fresh))).compacted()

    def take_state(self, state: S, seen: VectorClock) -> DeltaHandler[S]:
        """Join a peer's whole state, which holds everything up to *seen*."""
        self._check_own(seen)
        check_type(self.state, state)
        folded = self.force_fold()
        return replace(folded, state=folded.state.join(state), seen=folded.seen.join(seen))

    def take_deltas(self, deltas: Sequence[object]) -> DeltaHandler[S]:
        """Apply deltas that peers are told of by a digest, so that no log need name them."""
        for delta in deltas:
            self._check_delta(delta)
        return replace(self, state=self.state.apply_delta(self._combined(deltas))) if deltas else self

    def compacted(self) -> DeltaHandler[S]:
        """Fold the older half of a log of more than ``threshold`` entries into one; the checkpoint before it is
        dropped.

        So the log holds at most the threshold, and reaches back one to two halves of it.
        """
        if len(self.log) <= self.threshold:
            return self
        keep = self.threshold // 2
        old, tail = self.log[: len(self.log) - keep], self.log[len(self.log) - keep :]
        first = 1 if self.compaction_count and len(old) > 1 else 0
        checkpoint = self._fold_entries(old[first:])
        return replace(self, log=SharedLog([checkpoint, *tail]), compaction_count=self.compaction_count + 1)

    def bound_to(self, actor: str) -> DeltaHandler[S]:
        """This handler under *actor*: the same one, or one that starts anew from this one's state."""
        if actor == self.actor:
            return self
        fresh = DeltaHandler.with_state(self.get_state(include_pending=True), actor=actor)
        return fresh.set_fold_threshold(self.threshold)

    # --- bytes ----------------------------------------------------------------------------------------------------

    def encode_delta(self, delta: object) -> bytes:
        """A fragment's canonical bytes; ``SerializationFailed``."""
        return encode_tagged("delta_of", self.state.lattice_name, self.state.delta_to_data(delta))

    def decode_delta(self, data: bytes) -> object:
        """The fragment those bytes spell; ``DeserializationFailed`` or ``CrdtTypeMismatch``."""
        delta: object = decode_tagged("delta_of", self.state.lattice_name, data, self.state.delta_from_data)
        return delta

    def diagnostics(self) -> HandlerDiagnostics:
        """What is inside."""
        metrics = {"log": len(self.log), "folds": self.fold_count, "compactions": self.compaction_count}
        return HandlerDiagnostics(CrdtKind.DELTA, self.delta_count, metrics)

    def _logged(self, delta: object) -> DeltaHandler[S]:
        """With *delta*, which the state holds, as this replica's next change in the log."""
        upper = self.seen.increment(self.actor)
        number = upper.get(self.actor)
        entry = DeltaEntry(VectorClock({self.actor: number - 1}), VectorClock({self.actor: number}), delta)
        return replace(self, seen=upper, log=self.log.append(entry)).compacted()

    def _combined(self, deltas: Sequence[object]) -> object:
        combined = deltas[0]
        for delta in deltas[1:]:
            combined = self.state.join_deltas(combined, delta)
        return combined

    def _fold_entries(self, entries: Sequence[DeltaEntry]) -> DeltaEntry:
        # The checkpoint leads from what its entries ask for, less what they themselves bring, to what they bring.
        needed, brought, delta = VectorClock(), VectorClock(), entries[0].delta
        for index, entry in enumerate(entries):
            needed = needed.join(_without(entry.lower, brought))
            brought = brought.join(entry.upper)
            delta = self.state.join_deltas(delta, entry.delta) if index else delta
        return DeltaEntry(needed, brought, delta)

    def _check_delta(self, delta: object) -> None:
        if isinstance(self.state, JoinValue):
            check_type(self.state, delta)
            return
        try:
            self.state.delta_to_data(delta)
        except (AttributeError, TypeError, ValueError) as problem:
            raise CrdtTypeMismatch(
                expected=f"a delta of {self.state.lattice_name}", actual=type(delta).__name__
            ) from problem

    def _check_own(self, claimed: VectorClock) -> None:
        if claimed.get(self.actor) > self.seen.get(self.actor):
            raise ActorReused(actor=self.actor, known=self.seen.get(self.actor), claimed=claimed.get(self.actor))


def _without(clock: VectorClock, brought: VectorClock) -> VectorClock:
    """The entries of *clock* that *brought* does not reach."""
    return VectorClock({actor: count for actor, count in clock.entries.items() if count > brought.get(actor)})

"""``CrdtCoordinator``: CRDT state that a protocol is handed, and hands back changed.

It holds at most one handler of each kind, asks a peer what it lacks and answers such questions: messages in, messages
out. It is a value: every change gives a new coordinator, so whatever fails leaves the one at hand as it was. Knows no
transport. It merges in good faith: a peer that lies can add to a joined state and narrow a met one, and it can claim
work of others; where that matters, say it in facts, which are signed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from .causality import VectorClock
from .crdt.cm import CmHandler, OpSnapshot, applied_by_all
from .crdt.cv import CvHandler, StateMsg
from .crdt.delta import DeltaEntry, DeltaHandler, DeltaState, DigestState
from .crdt.kinds import CrdtKind, HandlerDiagnostics
from .crdt.messages import (
    ITEMS_MAX,
    SESSION_LENGTH_MAX,
    Constraints,
    Deltas,
    EncodedEntry,
    FullState,
    Operations,
    SyncData,
    SyncRequest,
    SyncResponse,
)
from .crdt.mv import MeetStateMsg, MvHandler
from .crdt.operations import OpState
from .crdt_errors import ActorReused, CrdtTypeMismatch, MissingHandler, SessionMismatch
from .lattice import Joinable, Meet, decode_state, encode_state, freeze
from .lattices.constraints import CapabilitySet
from .lattices.registers import LWWMap

# Requests whose answers are still welcome. A protocol has one open; the rest is for answers that come late or twice.
SESSIONS_MAX = 64
# Peers whose progress is remembered for compaction.
PEERS_MAX = 4_096
# An answer stays far below what can be encoded at all; the next request brings the rest.
ITEM_BYTES_MAX = 4 * 1024 * 1024

S = TypeVar("S", bound=Joinable)


@dataclass(frozen=True, slots=True)
class CrdtCoordinator:
    """CRDT state for a protocol.

    ``clock`` stamps messages and decides nothing. What was integrated is kept in the handlers, and only that decides
    what is sent. ``actor`` numbers this replica's changes: it is the authority unless given, must differ between
    replicas, and must be new when a replica starts from a saved state.

    >>> from antiphon.journal import GCounter
    >>> ada = CrdtCoordinator.with_cv_state("ada", GCounter().add("ada", 5))
    >>> ben = CrdtCoordinator.with_cv_state("ben", GCounter().add("ben", 7))
    >>> request, ada = ada.create_sync_request("session-1", CrdtKind.CONVERGENT)
    >>> response, ben = ben.handle_sync_request(request)
    >>> ada.handle_sync_response(response).cv_handler().get_state().value
    12
    """

    authority: str
    actor: str = ""
    clock: VectorClock = field(default_factory=VectorClock)
    convergent: CvHandler[Any] | None = None
    delta: DeltaHandler[Any] | None = None
    commutative: CmHandler[Any] | None = None
    meet: MvHandler[Any] | None = None
    sessions: Mapping[str, CrdtKind] = field(default_factory=lambda: freeze({}))
    peers: Mapping[str, VectorClock] = field(default_factory=lambda: freeze({}))

    def __post_init__(self) -> None:
        if not self.actor:
            object.__setattr__(self, "actor", self.authority)

    # --- building -------------------------------------------------------------------------------------------------

    @classmethod
    def new_with_actor(cls, authority_id: str, actor: str) -> CrdtCoordinator:
        """A coordinator without handlers, of one device of *authority_id*."""
        return cls(authority_id, actor)

    @classmethod
    def with_cv_state(cls, authority_id: str, state: Joinable, *, actor: str = "") -> CrdtCoordinator:
        """A coordinator of a convergent state: a ``JournalState``, or any join lattice."""
        return cls(authority_id, actor).with_cv_handler(CvHandler.with_state(state))

    @classmethod
    def with_delta_threshold(
        cls, authority_id: str, threshold: int, *, state: DeltaState[Any] | None = None, actor: str = ""
    ) -> CrdtCoordinator:
        """A coordinator of a delta state that folds, and compacts its log, every *threshold* deltas.

        Starts at the bottom of ``LWWMap`` unless *state* is given; a state that is not bottom is sent to the peers.
        """
        start: DeltaState[Any] = LWWMap() if state is None else state
        return cls(authority_id, actor)._with_delta(start, threshold)

    @classmethod
    def with_delta_state(cls, authority_id: str, state: DeltaState[Any], *, actor: str = "") -> CrdtCoordinator:
        """The same with a threshold of 10."""
        return cls(authority_id, actor).with_delta_handler(DeltaHandler.with_state(state, actor=actor or authority_id))

    @classmethod
    def with_cm(cls, authority_id: str, state: OpState[Any], *, actor: str = "") -> CrdtCoordinator:
        """A coordinator of an op-based state; every replica must start from this same state."""
        return cls(authority_id, actor).with_cm_handler(CmHandler.with_state(state, actor=actor or authority_id))

    @classmethod
    def with_mv(cls, authority_id: str, *, prototype: Meet | None = None, actor: str = "") -> CrdtCoordinator:
        """A coordinator of a meet state at the top of *prototype*'s lattice (``CapabilitySet`` unless given)."""
        start: Meet = CapabilitySet() if prototype is None else prototype
        return cls(authority_id, actor).with_mv_handler(MvHandler.new(start))

    @classmethod
    def with_mv_state(cls, authority_id: str, state: Meet, *, actor: str = "") -> CrdtCoordinator:
        """A coordinator of a meet state."""
        return cls(authority_id, actor).with_mv_handler(MvHandler.with_state(state))

    def with_cv_handler(self, handler: CvHandler[Any]) -> CrdtCoordinator:
        """This coordinator with that convergent handler."""
        return replace(self, convergent=handler)

    def with_delta_handler(self, handler: DeltaHandler[Any]) -> CrdtCoordinator:
        """This coordinator with that delta handler, whose changes are numbered under this actor from now on."""
        return replace(self, delta=handler.bound_to(self.actor))

    def with_cm_handler(self, handler: CmHandler[Any]) -> CrdtCoordinator:
        """This coordinator with that op-based handler; ``ValueError`` when it has issued operations as another."""
        return replace(self, commutative=handler.bound_to(self.actor))

    def with_mv_handler(self, handler: MvHandler[Any]) -> CrdtCoordinator:
        """This coordinator with that meet handler."""
        return replace(self, meet=handler)

    # --- asking ---------------------------------------------------------------------------------------------------
    # Handlers are of any type side by side, so the accessors cannot name one; annotate what get_state() gives.

    def cv_handler(self) -> CvHandler[Any]:
        """The convergent handler; ``MissingHandler`` without one."""
        if self.convergent is None:
            raise MissingHandler(kind=CrdtKind.CONVERGENT.value)
        return self.convergent

    def delta_handler(self) -> DeltaHandler[Any]:
        """The delta handler; ``MissingHandler`` without one."""
        if self.delta is None:
            raise MissingHandler(kind=CrdtKind.DELTA.value)
        return self.delta

    def cm_handler(self) -> CmHandler[Any]:
        """The op-based handler; ``MissingHandler`` without one."""
        if self.commutative is None:
            raise MissingHandler(kind=CrdtKind.COMMUTATIVE.value)
        return self.commutative

    def mv_handler(self) -> MvHandler[Any]:
        """The meet handler; ``MissingHandler`` without one."""
        if self.meet is None:
            raise MissingHandler(kind=CrdtKind.MEET.value)
        return self.meet

    def has_handler(self, kind: CrdtKind) -> bool:
        """Whether there is a handler of that kind."""
        return self._handlers()[kind] is not None

    def authority_id(self) -> str:
        """Whose coordinator this is."""
        return self.authority

    def current_vector_clock(self) -> VectorClock:
        """The clock that stamps messages."""
        return self.clock

    def current_logical_time(self) -> int:
        """The largest entry of that clock."""
        return self.clock.lamport

    def diagnostics(self) -> dict[CrdtKind, HandlerDiagnostics]:
        """What each handler tells about itself."""
        return {kind: handler.diagnostics() for kind, handler in self._handlers().items() if handler is not None}

    # --- changing -------------------------------------------------------------------------------------------------

    def update_cv(self, state: Joinable) -> CrdtCoordinator:
        """Join a state of our own."""
        return replace(self, convergent=self.cv_handler().update_state(state))

    def update_delta(self, state: DeltaState[Any]) -> CrdtCoordinator:
        """Take in a changed state; the next answer carries the fragment."""
        return replace(self, delta=self.delta_handler().update_state(state))

    def issue(self, operation: object) -> CrdtCoordinator:
        """Apply an operation of our own; the next answer carries it."""
        return replace(self, commutative=self.cm_handler().issue(operation)[1])

    def constrain(self, constraint: Meet, *, at_ms: int) -> CrdtCoordinator:
        """Narrow by a constraint of our own."""
        return replace(self, meet=self.mv_handler().on_constraint(constraint, at_ms=at_ms, source=self.actor))

    def compact_operations(self, members: Collection[str]) -> CrdtCoordinator:
        """Drop from the log the operations that every one of *members* (actors) has, going by their last requests.

        Name every replica that will ever write again: what one of them lacks can no longer be sent one by one, only
        as a whole state, and two replicas that each dropped what the other lacks cannot be brought together.
        """
        handler = self.cm_handler()
        others = [self.peers.get(member, VectorClock()) for member in members if member != self.actor]
        return replace(self, commutative=handler.compact(applied_by_all([handler.clock, *others])))

    # --- exchanging -----------------------------------------------------------------------------------------------

    def create_sync_request(self, session_id: str, kind: CrdtKind) -> tuple[SyncRequest, CrdtCoordinator]:
        """Ask a peer what we lack. *session_id* is the protocol's, new for every exchange; its answer echoes it.

        ``MissingHandler`` without a handler of *kind*.
        """
        if not 0 < len(session_id) <= SESSION_LENGTH_MAX:
            raise ValueError(f"a session id of {len(session_id)} characters; expected 1..{SESSION_LENGTH_MAX}")
        seen, digest = self._progress(kind)
        sessions = {known: its for known, its in self.sessions.items() if known != session_id} | {session_id: kind}
        if len(sessions) > SESSIONS_MAX:
            sessions.pop(next(iter(sessions)))
        clock = self.clock.increment(self.actor)
        changed = replace(self, clock=clock, sessions=freeze(sessions))
        return SyncRequest(session_id, kind, self.actor, clock, seen, digest), changed

    def handle_sync_request(self, request: SyncRequest) -> tuple[SyncResponse, CrdtCoordinator]:
        """Answer what a peer lacks. Whatever it raises, this coordinator is as it was.

        ``MissingHandler`` for a kind that is not held here, ``ActorReused`` when the peer knows more of our work than
        we do.
        """
        self._check_own(request)
        data, answering = self._answer(request)
        stamped = replace(answering._heard(request.clock), peers=self._peers_after(request))
        return SyncResponse(request.session_id, request.kind, self.actor, stamped.clock, data), stamped

    def handle_sync_response(self, response: SyncResponse) -> CrdtCoordinator:
        """Take in an answer: everything is decoded first, then applied, so a bad item applies nothing.

        ``SessionMismatch`` for an answer we did not ask for, ``CrdtTypeMismatch`` for data of another kind,
        ``DeserializationFailed`` for bytes that are none. An answer that comes again changes no state.
        """
        asked = self.sessions.get(response.session_id)
        if asked is None:
            raise SessionMismatch(response.session_id)
        if asked is not response.kind:
            raise CrdtTypeMismatch(expected=f"{asked.value} data", actual=f"{response.kind.value} data")
        return self._taken(response)._heard(response.clock)

    def _answer(self, request: SyncRequest) -> tuple[SyncData, CrdtCoordinator]:
        match request.kind:
            case CrdtKind.CONVERGENT:
                convergent = self.cv_handler()
                return FullState(convergent.codec.encode(convergent.state)), self
            case CrdtKind.DELTA:
                delta = self.delta_handler().force_fold()
                return _delta_answer(delta, request), replace(self, delta=delta)
            case CrdtKind.COMMUTATIVE:
                return _operation_answer(self.cm_handler(), request.seen), self
            case CrdtKind.MEET:
                message, counted = self.mv_handler().create_state_msg(sender=self.actor)
                data = Constraints((encode_state(message.state),), message.monotonic_counter)
                return data, replace(self, meet=counted)

    def _taken(self, response: SyncResponse) -> CrdtCoordinator:
        match (response.kind, response.data):
            case (CrdtKind.CONVERGENT, FullState() as full):
                convergent = self.cv_handler()
                state = convergent.codec.decode(full.state)
                return replace(self, convergent=convergent.on_recv(StateMsg(state)))
            case (CrdtKind.DELTA, FullState() as full):
                delta = self.delta_handler()
                return replace(self, delta=delta.take_state(decode_state(delta.state, full.state), full.seen))
            case (CrdtKind.DELTA, Deltas() as deltas):
                return replace(self, delta=_with_deltas(self.delta_handler(), deltas))
            case (CrdtKind.COMMUTATIVE, FullState() as full):
                return replace(self, commutative=_with_snapshot(self.cm_handler(), full))
            case (CrdtKind.COMMUTATIVE, Operations() as operations):
                return replace(self, commutative=_with_operations(self.cm_handler(), operations.operations))
            case (CrdtKind.MEET, Constraints() as constraints):
                return replace(self, meet=_with_constraints(self.mv_handler(), response.sender, constraints))
        raise CrdtTypeMismatch(expected=f"{response.kind.value} data", actual=type(response.data).__name__)

    def _progress(self, kind: CrdtKind) -> tuple[VectorClock, bytes]:
        """What we have of a kind: a vector, and a digest where the state has one."""
        match kind:
            case CrdtKind.CONVERGENT:
                self.cv_handler()
            case CrdtKind.MEET:
                self.mv_handler()
            case CrdtKind.COMMUTATIVE:
                return self.cm_handler().clock, b""
            case CrdtKind.DELTA:
                state = self.delta_handler().get_state(include_pending=True)
                return self.delta_handler().seen, state.digest() if isinstance(state, DigestState) else b""
        return VectorClock(), b""

    def _check_own(self, request: SyncRequest) -> None:
        known = self._progress(request.kind)[0].get(self.actor)
        if request.seen.get(self.actor) > known:
            raise ActorReused(actor=self.actor, known=known, claimed=request.seen.get(self.actor))

    def _heard(self, clock: VectorClock) -> CrdtCoordinator:
        """Our clock after a message with that one; only we move our own entry."""
        others = {actor: count for actor, count in clock.entries.items() if actor != self.actor}
        return replace(self, clock=self.clock.join(VectorClock(others)).increment(self.actor))

    def _peers_after(self, request: SyncRequest) -> Mapping[str, VectorClock]:
        if request.kind is not CrdtKind.COMMUTATIVE:
            return self.peers
        peers = {peer: seen for peer, seen in self.peers.items() if peer != request.sender}
        peers[request.sender] = self.peers.get(request.sender, VectorClock()).join(request.seen)
        if len(peers) > PEERS_MAX:
            peers.pop(next(iter(peers)))
        return freeze(peers)

    def _with_delta(self, state: DeltaState[Any], threshold: int) -> CrdtCoordinator:
        return self.with_delta_handler(DeltaHandler.with_threshold(state, threshold, actor=self.actor))

    def _handlers(
        self,
    ) -> dict[CrdtKind, CvHandler[Any] | DeltaHandler[Any] | CmHandler[Any] | MvHandler[Any] | None]:
        return {
            CrdtKind.CONVERGENT: self.convergent,
            CrdtKind.DELTA: self.delta,
            CrdtKind.COMMUTATIVE: self.commutative,
            CrdtKind.MEET: self.meet,
        }


def _delta_answer(handler: DeltaHandler[Any], request: SyncRequest) -> SyncData:
    state = handler.state
    if isinstance(state, DigestState) and request.digest:
        delta = handler.encode_delta(state.delta_for(request.digest))
        return Deltas((EncodedEntry(VectorClock(), VectorClock(), delta),))
    entries = handler.entries_after(request.seen, count_max=ITEMS_MAX + 1)
    if entries is None:
        return FullState(encode_state(state), handler.seen, is_fallback=True)
    encoded = [EncodedEntry(entry.lower, entry.upper, handler.encode_delta(entry.delta)) for entry in entries]
    kept = encoded[: _count_that_fits([entry.delta for entry in encoded])]
    return Deltas(tuple(kept), is_partial=len(kept) < len(encoded))


def _operation_answer(handler: CmHandler[Any], seen: VectorClock) -> SyncData:
    operations = handler.operations_after(seen, count_max=ITEMS_MAX + 1)
    if operations is not None:
        encoded = [handler.encode_operation(each) for each in operations]
        kept = encoded[: _count_that_fits(encoded)]
        return Operations(tuple(kept), is_partial=len(kept) < len(encoded))
    beyond = handler.operations_after(seen.join(handler.base.clock), count_max=ITEMS_MAX) or ()
    encoded = [handler.encode_operation(each) for each in beyond]
    kept = encoded[: _count_that_fits(encoded)]
    return FullState(encode_state(handler.base.state), handler.base.clock, is_fallback=True, operations=tuple(kept))


def _count_that_fits(items: Iterable[bytes]) -> int:
    """How many of the items go into one answer: at least one, whatever its size."""
    size = 0
    count = 0
    for item in items:
        size += len(item)
        if count and (size > ITEM_BYTES_MAX or count >= ITEMS_MAX):
            break
        count += 1
    return count


def _with_deltas(handler: DeltaHandler[Any], deltas: Deltas) -> DeltaHandler[Any]:
    entries = [DeltaEntry(entry.lower, entry.upper, handler.decode_delta(entry.delta)) for entry in deltas.entries]
    if isinstance(handler.state, DigestState):
        return handler.force_fold().take_deltas([entry.delta for entry in entries])
    return handler.take_entries(entries)


def _with_operations(handler: CmHandler[Any], operations: Iterable[bytes]) -> CmHandler[Any]:
    return handler.take_operations([handler.decode_operation(each) for each in operations])


def _with_snapshot(handler: CmHandler[Any], full: FullState) -> CmHandler[Any]:
    snapshot = OpSnapshot(decode_state(handler.state, full.state), full.seen)
    operations = [handler.decode_operation(each) for each in full.operations]
    return handler.take_snapshot(snapshot).take_operations(operations)


def _with_constraints(handler: MvHandler[Any], sender: str, constraints: Constraints) -> MvHandler[Any]:
    states = [decode_state(handler.state, each) for each in constraints.constraints]
    for state in states:
        handler = handler.take_state(MeetStateMsg(state, sender, constraints.counter))
    return handler

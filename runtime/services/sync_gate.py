"""The place where a guard stands: who may meet this replica, which contexts it may see, and what may leave.

Nothing is decided here. A session behind a gate says HELLO and nothing else until the gate has let the peer in; what
the gate does not show does not exist for that peer, in neither direction. A gate that fails or has no answer denies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

from antiphon.facts import AntiphonError, ChainId, Namespace
from antiphon.journal import ChainState, Continuation, JournalIndex, RunRow
from antiphon.journal.forks import ForkProof
from antiphon.journal.index import Hole
from antiphon.journal.sketch import RunSketch
from antiphon.journal.sync.messages import (
    HEAD_BYTES,
    Acks,
    Error,
    ErrorCode,
    Hello,
    IncomingRun,
    IngestResult,
    MessageViolation,
    Refusal,
    decode,
    encode,
)
from antiphon.journal.sync.session import SyncSession

from ..events import Events, SessionRejected, events_of
from ..sync_status import Monitored, SessionMonitor
from ..transports.transport import Connection, PeerLost
from ..transports.wrapped import WrappedConnection
from .gates import Admission, PeerClaim, SendGuard, SyncGate
from .session_driver import Replica, RunListener, SessionDriver, SyncSettings


class GatedIndex:
    """A journal's index as one peer may see it: chains and runs of other contexts do not exist.

    Questions that the session may learn to ask later are passed on when their first argument is a context, a chain or a
    run that may be seen, and refused otherwise.
    """

    def __init__(self, index: JournalIndex) -> None:
        self._index = index
        self._allowed: frozenset[Namespace] | None = frozenset()

    def allow(self, namespaces: frozenset[Namespace] | None) -> None:
        """Show these contexts; None shows all."""
        self._allowed = namespaces

    @property
    def is_whole(self) -> bool:
        """Whether nothing is hidden."""
        return self._allowed is None

    def may_see(self, namespace: Namespace) -> bool:
        """Whether facts of *namespace* may go to the peer, and come from it."""
        return self._allowed is None or namespace in self._allowed

    def shows(self, chain: ChainId) -> bool:
        """Whether the journal holds a chain and the peer may see it."""
        state = self._index.chain(chain)
        return state is not None and self.may_see(state.info.namespace)

    @property
    def position(self) -> int:
        """How many facts that may be seen were taken in; O(chains) when not all may be."""
        if self._allowed is None:
            return self._index.position
        return sum(state.head.seq for state in self.chains())

    def chain(self, chain: ChainId) -> ChainState | None:
        """A chain's state, or None when it may not be seen."""
        return self._index.chain(chain) if self.shows(chain) else None

    def chains(self, namespace: Namespace | None = None) -> Iterator[ChainState]:
        """The chains that may be seen."""
        return (state for state in self._index.chains(namespace) if self.may_see(state.info.namespace))

    def roots(self) -> Mapping[Namespace, bytes]:
        """The roots that may be seen."""
        return {name: root for name, root in self._index.roots().items() if self.may_see(name)}

    def forked(self, namespace: Namespace | None = None) -> dict[ChainId, int]:
        """The forked chains that may be seen."""
        return {chain: seq for chain, seq in self._index.forked(namespace).items() if self.shows(chain)}

    def fingerprint(self) -> str:
        """The fingerprint over what may be seen."""
        return JournalIndex.fingerprint(cast("JournalIndex", self))

    def runs_after(self, chain: ChainId, seq: int) -> list[RunRow]:
        """The runs of a chain that may be seen, else none."""
        return self._index.runs_after(chain, seq) if self.shows(chain) else []

    def holes(self, namespace: Namespace | None = None) -> list[Hole]:
        """What is missing of what may be seen."""
        if namespace is not None and not self.may_see(namespace):
            return []
        return [hole for hole in self._index.holes(namespace) if self.shows(hole.chain)]

    def sketch(self, namespace: Namespace) -> RunSketch:
        """The sketch of a context that may be seen; of another, that of nothing."""
        return self._index.sketch(namespace) if self.may_see(namespace) else RunSketch.over({})

    def classify(self, run: RunRow) -> Continuation:
        """How a run stands to what may be seen; one of a hidden chain leads nowhere."""
        state = self._index.chain(ChainId(run.chain))
        is_hidden = state is not None and not self.may_see(state.info.namespace)
        return Continuation.GAP if is_hidden else self._index.classify(run)

    def __getattr__(self, name: str) -> Callable[..., object]:
        method = getattr(self._index, name)
        if name.startswith("_") or not callable(method):
            raise AttributeError(f"a gated index does not tell {name!r}")

        def ask(subject: object, *rest: object, **options: object) -> object:
            if not self._concerns_the_visible(subject):
                raise AttributeError(f"a gated index does not answer {name!r} about what a peer may not see")
            return method(subject, *rest, **options)

        return ask

    def _concerns_the_visible(self, subject: object) -> bool:
        if isinstance(subject, str):
            return self.may_see(Namespace(subject))
        chain = subject if isinstance(subject, bytes) else getattr(subject, "chain", None)
        state = self._index.chain(ChainId(chain)) if isinstance(chain, bytes) else None
        return isinstance(chain, bytes) and (state is None or self.may_see(state.info.namespace))


class GatedReplica:
    """A replica as one peer may see it; runs of contexts that it may not see are refused, and not its fault alone."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.gated = GatedIndex(replica.index)

    @property
    def index(self) -> JournalIndex:
        """What the session is shown."""
        return cast("JournalIndex", self.gated)

    @property
    def sync_monitor(self) -> SessionMonitor:
        """The replica's; ``AttributeError`` when it has none."""
        if not isinstance(self._replica, Monitored):
            raise AttributeError("this replica is not monitored")
        return self._replica.sync_monitor

    @property
    def events(self) -> Events:
        """The replica's."""
        return events_of(self._replica)

    @property
    def journal_id(self) -> str:
        """The replica's."""
        return self._replica.journal_id

    def read_run(self, row: RunRow, /) -> bytes:
        """The bytes of a run that may be seen."""
        assert self.gated.shows(ChainId(row.chain)), "a session plans only runs that it was shown"
        return self._replica.read_run(row)

    async def ingest(self, runs: Sequence[IncomingRun], /, *, peer: str = "") -> IngestResult:
        """Take in what may come from this peer, and refuse the rest."""
        welcome = [run for run in runs if self.gated.may_see(run.info.namespace)]
        result = await self._replica.ingest(welcome, peer=peer) if welcome else IngestResult(0, 0, 0)
        text = "facts of a context that this replica does not share with you"
        refused = tuple(
            Refusal(run.info.text, run.first_seq, text, True)
            for run in runs
            if not self.gated.may_see(run.info.namespace)
        )
        return result._replace(refused=(*result.refused, *refused))

    async def witness(self, proof: ForkProof, /) -> None:
        """Keep proofs about contexts that the peer may speak of."""
        if self.gated.may_see(proof.info.namespace):
            await self._replica.witness(proof)

    def refuse_bytes(self, peer: str, reason: str, data: bytes, /) -> None:
        """The replica's."""
        self._replica.refuse_bytes(peer, reason, data)

    def take_acks(self, acks: Acks, /) -> None:
        """The replica's."""
        self._replica.take_acks(acks)

    def note_agreed(self, journal_id: str, fact_count: int, /) -> None:
        """The replica's, when the peer may see everything; else their agreement says nothing of the rest."""
        if self.gated.is_whole:
            self._replica.note_agreed(journal_id, fact_count)

    def add_run_listener(self, listener: RunListener, /) -> Callable[[], None]:
        """Tell of runs that may be seen."""

        def tell(rows: Sequence[RunRow]) -> None:
            visible = [row for row in rows if self.gated.shows(ChainId(row.chain))]
            if visible:
                listener(visible)

        return self._replica.add_run_listener(tell)

    async def flush(self) -> None:
        """The replica's."""
        await self._replica.flush()


class GatedConnection(WrappedConnection):
    """A connection whose peer is asked for its name first: nothing but HELLO leaves before the gate has opened.

    ``denial`` holds the reason after a gate said no, and ``withheld`` what a send guard raised.
    """

    def __init__(self, connection: Connection, gate: SyncGate, index: GatedIndex, *, events: Events) -> None:
        super().__init__(connection)
        self._events = events
        self._gate = gate
        self._index = index
        self._admission: Admission | None = None
        self.denial = ""
        self.withheld: AntiphonError | None = None

    async def send(self, *frames: bytes) -> None:
        """Hand over frames that the gate lets out. Raises ``PeerLost`` when it does not."""
        for frame in frames:
            kind = frame[HEAD_BYTES - 1]
            if kind in (Hello.kind, Error.kind):
                continue
            if self._admission is None or not self._admission.is_allowed:
                raise PeerLost("nothing is told to a peer that was not let in")
            await self._renew(self._admission)
            if self._admission.guard is not None:
                await self._ask(self._admission.guard, kind, len(frame))
        await self._connection.send(*frames)

    async def receive(self) -> bytes:
        """The next frame; the first one decides. Raises ``PeerLost`` for one of a peer that may be here no longer."""
        frame = await self._connection.receive()
        if self._admission is None:
            await self._decide(frame)
        else:
            await self._renew(self._admission)
        return frame

    async def close(self) -> None:
        """The connection's; a peer that was not let in is told that it may not, and nothing else."""
        if self.denial:
            try:
                await self._connection.send(encode(Error(ErrorCode.UNAUTHORIZED, "not authorized")))
            except PeerLost:
                self.denial += " (it was gone before it was told)"
        await super().close()

    async def _ask(self, guard: SendGuard, kind: int, size: int) -> None:
        try:
            await guard(kind, size)
        except AntiphonError as problem:
            self.withheld = problem
            raise PeerLost(f"a message was kept back: {problem}") from problem

    async def _renew(self, admission: Admission) -> None:
        """Ask again; what was let in with a token goes when the token does."""
        reason = await admission.renewal() if admission.renewal is not None else ""
        if reason:
            self._turn_away("", reason)
            raise PeerLost(f"let in no longer: {reason}")

    def _turn_away(self, journal_id: str, reason: str) -> None:
        self.denial = reason
        owner = self._events.veil(journal_id or self._connection.peer)
        self._events.emit(SessionRejected(session_id="sync", owner=owner, error_kind="unauthorized"))

    async def _decide(self, frame: bytes) -> None:
        try:
            hello = decode(frame)
        except MessageViolation:
            return  # the session will say so, and close
        if not isinstance(hello, Hello):
            return
        claim = PeerClaim(self._connection.peer, hello.journal_id.hex(), hello.agent, hello.token)
        try:
            admission = await self._gate.admit(claim)
        except AntiphonError as problem:
            admission = Admission.denied(f"the gate could not decide: {problem}")
        self._admission = admission
        if not admission.is_allowed:
            self._turn_away(claim.journal_id, admission.reason or "denied")
            raise PeerLost(f"not let in: {self.denial}")
        self._index.allow(admission.namespaces)


def guarded_driver(
    replica: Replica,
    connection: Connection,
    settings: SyncSettings,
    *,
    is_live: bool,
    on_change: Callable[[SyncSession], None] | None = None,
) -> SessionDriver:
    """A session's driver, behind the settings' gate if there is one."""
    if settings.gate is None:
        return SessionDriver(replica, connection, settings, is_live=is_live, on_change=on_change)
    gated = GatedReplica(replica)
    behind = GatedConnection(connection, settings.gate, gated.gated, events=gated.events)
    return SessionDriver(gated, behind, settings, is_live=is_live, is_reserved=True, on_change=on_change)

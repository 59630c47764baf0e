"""One sync session over one connection: performs what the machine in ``journal/sync/session.py`` decides.

Four tasks in one group: one listens, one speaks, one ingests, one watches the time. Listening and speaking are apart
because two replicas that send each other much would otherwise wait for each other for ever. Decides nothing about
facts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol, runtime_checkable

from antiphon.facts import AntiphonError, LocalViolation
from antiphon.journal import JournalIndex, RunRow
from antiphon.journal.chain import parse_seal_line
from antiphon.journal.forks import ForkProof, prove_fork
from antiphon.journal.sketch import CELLS_MAX, encode_items
from antiphon.journal.sync.messages import (
    FACTS_BYTES_MAX,
    FACTS_COUNT_MAX,
    HEAD_BYTES,
    NONCE_BYTES,
    Acks,
    Fork,
    IncomingRun,
    IngestResult,
    MessageViolation,
    Refusal,
    Root,
    Served,
    decode,
    encode,
)
from antiphon.journal.sync.repair import Encode
from antiphon.journal.sync.session import (
    ROUNDS_MAX,
    TRANSITIONS,
    Action,
    Finish,
    Ingest,
    Outcome,
    ProveFork,
    ReadAndSend,
    Send,
    SessionReport,
    State,
    SyncSession,
    TakeAcks,
    Witness,
    build_facts,
)

from ..choreography.errors import ProtocolViolation
from ..clock import monotonic_seconds
from ..entropy import system_random
from ..events import (
    IngressAccepted,
    IngressDropped,
    IngressTurnedAway,
    SessionClaimed,
    SessionFailed,
    SessionReleased,
    events_of,
    kind_of,
)
from ..resilience import Delays, ExponentialWithJitter, RateLimits, RetryPolicy, Timing
from ..sync_status import Monitored
from ..transports.reach import EVERY_TRANSPORT, Transports
from ..transports.transport import Connect, Connection, Listen, PeerLost
from .gates import SyncGate
from .words import END, WordMonitor, label_of_frame

# Received and not yet ingested; beyond it nothing more is read, and the transport pushes back.
BACKLOG_BYTES_MAX = 1024 * 1024
# A read this small is faster done than handed to a thread.
INLINE_READ_BYTES_MAX = 64 * 1024

# What a session's events name as the part of a protocol that it owns.
FRAGMENT = "antiphon.sync.AntiEntropy"

# Numbers for a monitor to tell sessions of one process apart by.
_SESSIONS = count()
NOTHING_INGESTED = IngestResult(0, 0, 0)

RunListener = Callable[[Sequence[RunRow]], None]


class Replica(Protocol):
    """What can be synced: a journal's engine, or an implementation for tests. One event loop owns it."""

    @property
    def index(self) -> JournalIndex:
        """The chains and roots it holds, as of now."""
        ...

    @property
    def journal_id(self) -> str:
        """Its name for ever: 32 hex digits."""
        ...

    def read_run(self, row: RunRow, /) -> bytes:
        """The bytes of a durable run; may block on a disk. Raises ``StoreUnavailable``."""
        ...

    async def ingest(self, runs: Sequence[IncomingRun], /, *, peer: str = "") -> IngestResult:
        """Verify *runs* from *peer*, make members of those that are good, and return once they are durable."""
        ...

    async def witness(self, proof: ForkProof, /) -> None:
        """Keep the evidence that a chain is forked, unless it is kept already."""
        ...

    def refuse_bytes(self, peer: str, reason: str, data: bytes, /) -> None:
        """Keep a piece of bytes from *peer* that were no message."""
        ...

    def take_acks(self, acks: Acks, /) -> None:
        """Keep in the account, soon and durably, that a peer holds these facts; without an account do nothing."""
        ...

    def note_agreed(self, journal_id: str, fact_count: int, /) -> None:
        """The peer *journal_id* held the same as this replica, when that had *fact_count* facts."""
        ...

    def add_run_listener(self, listener: RunListener, /) -> Callable[[], None]:
        """Tell *listener*, on the loop, of each batch of newly durable runs; the result takes it off again."""
        ...

    async def flush(self) -> None:
        """Return when all that was committed is durable."""
        ...


@runtime_checkable
class Introducing(Protocol):
    """A replica that says whose it is where no chain does, and remembers what others say so."""

    def introduction(self) -> Acks | None:
        """ACKS of nothing in the name of its authority; None when peers know it, or need not."""
        ...

    def note_introduced(self, journal_id: str, authority: str, /) -> None:
        """The replica *journal_id* says that it is *authority*'s."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """Patience and ports of the sync services; seconds where not said otherwise.

    ``digest_timeout_s`` bounds a step in which the two sides compare, ``transfer_timeout_s`` one in which facts flow;
    both count from the last progress. ``recheck_s`` is the pause between comparisons on a link that could not agree; a
    link that agrees does nothing while idle. ``retry`` is for reaching a peer once, ``backoff`` for a link, which never
    gives up. A ``gate`` decides whom this side meets and what they see, ``token`` is what it shows
    itself; ``rates`` bound what a server is asked.
    """

    agent: str = "antiphon"
    connect_timeout_s: float = 10.0
    digest_timeout_s: float = 10.0
    transfer_timeout_s: float = 30.0
    goodbye_timeout_s: float = 5.0
    recheck_s: float = 30.0
    rounds_max: int = ROUNDS_MAX
    batch_facts_max: int = FACTS_COUNT_MAX
    connections_max: int = 64
    retry_after_ms: int = 1_000
    backoff: Delays = ExponentialWithJitter()  # noqa: RUF009  # a NamedTuple cannot change
    random_bytes: Callable[[int], bytes] = system_random
    elapsed_s: Callable[[], float] = monotonic_seconds
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    connect: Connect = EVERY_TRANSPORT.connect
    listen: Listen = EVERY_TRANSPORT.listen
    # What a room is entered with; its links go by ``connect`` and ``listen``.
    transports: Transports = EVERY_TRANSPORT
    retry: RetryPolicy = RetryPolicy()  # noqa: RUF009  # frozen
    gate: SyncGate | None = None
    token: bytes = b""
    rates: RateLimits | None = RateLimits()  # noqa: RUF009  # a NamedTuple cannot change

    @property
    def timing(self) -> Timing:
        """Clock, sleep and dice, as the rules of resilience take them."""
        return Timing(self.elapsed_s, self.sleep, lambda: int.from_bytes(self.random_bytes(4), "big") / 0xFFFF_FFFF)

    def __post_init__(self) -> None:
        for name in (
            "connect_timeout_s",
            "digest_timeout_s",
            "transfer_timeout_s",
            "goodbye_timeout_s",
            "recheck_s",
            "rounds_max",
            "batch_facts_max",
            "connections_max",
        ):
            if getattr(self, name) <= 0:
                raise LocalViolation(f"{name} is {getattr(self, name)}; it must be more than 0")


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one session achieved: facts ``sent`` to the peer, and facts ``received`` that were new here.

    ``known`` facts came although they were here already, ``refused`` runs were not let in, ``forked`` names chains
    (hex) of which the two sides hold two stories. ``reason`` is empty when the two sides agreed, else a sentence.
    """

    is_success: bool
    outcome: Outcome
    reason: str
    sent: int
    received: int
    known: int
    refused: tuple[Refusal, ...]
    forked: tuple[str, ...]
    rounds: int
    bytes_sent: int
    bytes_received: int
    peer: str
    duration_ms: int
    retry_after_ms: int = 0

    @property
    def bytes(self) -> int:
        """Bytes in both directions, lengths included."""
        return self.bytes_sent + self.bytes_received


def tell_unreached(replica: Replica, peer: str, reason: str) -> None:
    """Let who follows the sessions of *replica* know of one that never began, since nobody was reached at *peer*."""
    if isinstance(replica, Monitored):
        replica.sync_monitor.end(next(_SESSIONS), peer, received=0, sent=0, reason=reason, is_success=False)


class SessionDriver:
    """Drives one session to its end; ``run`` is called once.

    *on_change* is called after every step, for owners that follow ``session.state``.
    """

    def __init__(
        self,
        replica: Replica,
        connection: Connection,
        settings: SyncSettings,
        *,
        is_live: bool,
        is_reserved: bool = False,
        on_change: Callable[[SyncSession], None] | None = None,
    ) -> None:
        self.session = SyncSession(
            replica.index,
            journal_id=bytes.fromhex(replica.journal_id),
            nonce=settings.random_bytes(NONCE_BYTES),
            agent=settings.agent,
            is_live=is_live,
            rounds_max=settings.rounds_max,
            is_reserved=is_reserved,
            batch_facts_max=settings.batch_facts_max,
            token=settings.token,
            introduction=replica.introduction() if isinstance(replica, Introducing) else None,
        )
        self._replica = replica
        self._connection = connection
        self._settings = settings
        self._on_change = on_change
        self._words = WordMonitor()
        self._number = next(_SESSIONS)
        self._monitor = replica.sync_monitor if isinstance(replica, Monitored) else None
        self._events = events_of(replica)
        self._owner = "sync.live" if is_live else "sync.once"
        # Facts here when the last ROOT was built, and when both sides last agreed.
        self._told_count = self._agreed_count = 0
        self._outbox: deque[Send | ReadAndSend | ProveFork | Finish] = deque()
        self._to_encode: deque[Encode] = deque()
        self._to_witness: deque[ForkProof] = deque()
        self._is_sending = False
        self._is_mute = False
        self._inbox: deque[IncomingRun] = deque()
        self._inbox_bytes = 0
        self._is_ingesting = False
        self._is_finished = False
        self._progress = 0
        self._report: SessionReport | None = None
        self._trouble: AntiphonError | None = None
        self._has_outgoing = asyncio.Event()
        self._has_incoming = asyncio.Event()
        self._has_to_encode = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_awaiting = asyncio.Event()
        self._is_unsettled = asyncio.Event()
        self._has_stirred = asyncio.Event()

    async def run(self) -> SyncReport:
        """Converse until the session ends, then close the connection.

        What goes wrong at the peer or between is in the report. Raises what went wrong here, such as
        ``StoreUnavailable``; the peer is told that this side cannot go on.
        """
        started_s = self._settings.elapsed_s()
        if self._events.is_heard:
            self._events.emit(SessionClaimed(session_id=self._session_id, fragment_key=FRAGMENT, owner=self._owner))
        remove_listener = self._replica.add_run_listener(self._on_published)
        try:
            self._perform(self.session.start())
            async with asyncio.TaskGroup() as group:
                waiting = [
                    group.create_task(task()) for task in (self._listen, self._watch, self._recheck, self._encode)
                ]
                group.create_task(self._ingest())
                await self._speak()
                for task in waiting:
                    task.cancel()
        finally:
            remove_listener()
            self._tell_end()
            await self._connection.close()
        if self._trouble is not None:
            raise self._trouble
        return self._build_report(self._settings.elapsed_s() - started_s)

    def _take_acks(self, acks: Acks) -> None:
        self._replica.take_acks(acks)
        peer = self.session.peer
        if not acks.fact_ids and peer is not None and isinstance(self._replica, Introducing):
            self._replica.note_introduced(peer.journal_id.hex(), acks.acknowledger.hex())

    def _note_agreement(self) -> None:
        """Tell the replica what both sides hold, when they have just compared and found it equal."""
        session, peer = self.session, self.session.peer
        is_settled = session.state is State.LIVE or (
            self._report is not None and self._report.outcome is Outcome.AGREED
        )
        if peer is None or not (is_settled and session.is_agreed) or self._told_count <= self._agreed_count:
            return
        self._agreed_count = self._told_count
        self._replica.note_agreed(peer.journal_id.hex(), self._agreed_count)

    @property
    def _session_id(self) -> str:
        return f"sync-{self._number}"

    def _tell_end(self) -> None:
        monitor, report = self._monitor, self._report
        self._tell_owner()
        if monitor is None:
            return
        account = self.session.statistics()
        reason = str(self._trouble) if self._trouble else report.reason if report else "it was cancelled"
        monitor.end(
            self._number,
            self._connection.peer,
            received=account.received,
            sent=account.sent,
            reason=reason,
            is_success=report is not None and report.is_success and self._trouble is None,
        )

    def _tell_owner(self) -> None:
        report, trouble = self._report, self._trouble
        about = {"session_id": self._session_id, "fragment_key": FRAGMENT, "owner": self._owner}
        if trouble is not None or (report is not None and not report.is_success):
            kind = kind_of(trouble) if trouble is not None else str(report and report.outcome.value)
            self._events.emit(SessionFailed(**about, error_kind=kind))
        elif self._events.is_heard:
            self._events.emit(SessionReleased(**about))

    def _tell_ingress(self, result: IngestResult) -> None:
        """What became of a batch, in the words of the log; the peer by a name of this run alone."""
        events = self._events
        if not (events.is_heard or result.refused):
            return
        about = {"session_id": self._session_id, "source": events.veil(self._connection.peer)}
        if result.admitted_facts:
            events.emit(IngressAccepted(**about))
        if result.known_facts:
            events.emit(IngressDropped(**about))
        if result.refused:
            events.emit(IngressTurnedAway(**about, error_kind="run-refused"))

    def leave(self) -> None:
        """End the session in good order: what is queued is sent first, then a goodbye."""
        self._perform(self.session.leave())

    # The four tasks

    async def _listen(self) -> None:
        while self.session.state is not State.CLOSED:
            while self._inbox_bytes > BACKLOG_BYTES_MAX:
                self._has_room.clear()
                await self._has_room.wait()
            frame = b""
            try:
                frame = await self._connection.receive()
                message = decode(frame)
            except PeerLost as problem:
                self._words.hear(END)
                self._perform(self.session.lose(str(problem)))
            except MessageViolation as problem:
                self._replica.refuse_bytes(self._connection.peer, str(problem), frame)
                self._perform(self.session.fail(problem))
            else:
                violation = self._words.hear(type(message).__name__)
                # Where the session itself knows better, it says so better.
                is_its_own = violation is None or type(message) not in TRANSITIONS[self.session.state]
                heard = self.session.receive(message) if is_its_own else self.session.refuse(str(violation))
                self._perform(heard)

    async def _speak(self) -> None:
        while True:
            while not self._outbox:
                self._has_outgoing.clear()
                await self._has_outgoing.wait()
            self._is_sending = True
            frames, is_last = await self._collect()
            if frames and not self._is_mute:
                await self._send(frames)
            self._is_sending = False
            if is_last:
                self._is_finished = True
                self._has_incoming.set()
                return
            # To say that nothing was asked for is no step forward, or a peer could ask for nothing for ever.
            if any(frame[HEAD_BYTES - 1] != Served.kind for frame in frames):
                self._stir()

    async def _ingest(self) -> None:
        while True:
            while not self._inbox and not self._to_witness:
                if self._is_finished:
                    return
                self._has_incoming.clear()
                await self._has_incoming.wait()
            self._is_ingesting = True
            try:
                while self._to_witness:
                    await self._replica.witness(self._to_witness.popleft())
                runs = self._take_batch() if self._inbox else []
                result = await self._replica.ingest(runs, peer=self._connection.peer) if runs else NOTHING_INGESTED
            except AntiphonError as problem:
                self._give_up(problem)
                return
            self._is_ingesting = False
            self._tell_ingress(result)
            self._inbox_bytes -= sum(run.size for run in runs)
            self._has_room.set()
            self._perform(self.session.ingested(runs, result))
            self._stir()

    async def _encode(self) -> None:
        """Encode coded symbols over all runs, in a thread: the rare large difference must not hold up the loop."""
        while True:
            while not self._to_encode:
                self._has_to_encode.clear()
                await self._has_to_encode.wait()
            action = self._to_encode.popleft()
            cells = await asyncio.to_thread(encode_items, action.items, CELLS_MAX, salt=action.salt)
            self._perform(self.session.encoded(action, cells))
            self._stir()

    async def _watch(self) -> None:
        """End the session when the peer owes us something and nothing moves."""
        while True:
            patience_s = self._patience_s()
            self._has_stirred.clear()
            if patience_s is None:
                self._is_awaiting.clear()
                await self._is_awaiting.wait()
                continue
            try:
                async with asyncio.timeout(patience_s):
                    await self._has_stirred.wait()
            except TimeoutError:
                self._perform(self.session.time_out(patience_s))
                self._is_mute = self._is_sending  # a peer that does not read will not read a goodbye either
                if self._is_mute:
                    await self._connection.close()
                return

    async def _recheck(self) -> None:
        while True:
            await self._is_unsettled.wait()
            await self._settings.sleep(self._settings.recheck_s)
            if self._is_unsettled.is_set():
                self._perform(self.session.recheck())

    # Steps

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Ingest):
                self._inbox.extend(action.runs)
                self._inbox_bytes += sum(run.size for run in action.runs)
                self._has_incoming.set()
            elif isinstance(action, TakeAcks):
                self._take_acks(action.acks)
            elif isinstance(action, Witness):
                self._to_witness.append(action.proof)
                self._has_incoming.set()
            elif isinstance(action, Encode):
                self._to_encode.append(action)
                self._has_to_encode.set()
            else:
                self._outbox.append(action)
                self._has_outgoing.set()
            if isinstance(action, Send) and isinstance(action.message, Root):
                self._told_count = action.message.fact_count
            if isinstance(action, Finish):
                self._report = action.report
        session = self.session
        if session.state is State.LIVE and not session.is_agreed:
            self._is_unsettled.set()
        else:
            self._is_unsettled.clear()
        if session.progress != self._progress:
            self._progress = session.progress
            self._has_stirred.set()
        if self._patience_s() is not None:
            self._is_awaiting.set()
        self._note_agreement()
        if self._on_change is not None:
            self._on_change(session)
        if self._monitor is not None and session.state is not State.CLOSED:
            account = session.statistics()
            self._monitor.follow(
                self._number,
                self._connection.peer,
                received=account.received,
                sent=account.sent,
                is_agreed=account.is_agreed and session.state is State.LIVE,
            )

    def _patience_s(self) -> float | None:
        """How long the peer may take for its next step; None when nothing is owed, or when it is our move."""
        if (
            self._inbox
            or self._is_ingesting
            or self._to_encode
            or (self.session.state is State.CLOSED and not self._is_sending)
        ):
            return None
        if self._outbox or self._is_sending or self.session.is_transferring:
            return self._settings.transfer_timeout_s
        return None if self.session.state is State.LIVE else self._settings.digest_timeout_s

    def _stir(self) -> None:
        self._has_stirred.set()
        self._is_awaiting.set()

    async def _collect(self) -> tuple[list[bytes], bool]:
        """The frames that go out in one write, and whether they are the last."""
        frames: list[bytes] = []
        size = 0
        while self._outbox and size < FACTS_BYTES_MAX:
            match self._outbox.popleft():
                case Finish():
                    return frames, True
                case Send(message):
                    frames.append(encode(message))
                case ReadAndSend() as action:
                    frame = await self._read(action)
                    if frame is not None:
                        frames.append(frame)
                case ProveFork() as action:
                    frame = self._prove(action)
                    if frame is not None:
                        frames.append(frame)
            size += len(frames[-1]) if frames else 0
        return frames, False

    async def _read(self, action: ReadAndSend) -> bytes | None:
        rows = [run.row for run in action.runs]
        try:
            if sum(row.length for row in rows) <= INLINE_READ_BYTES_MAX:
                data = [self._replica.read_run(row) for row in rows]
            else:
                data = await asyncio.to_thread(lambda: [self._replica.read_run(row) for row in rows])
        except AntiphonError as problem:
            self._give_up(problem)
            return None
        self._perform(self.session.transmitted(action))
        return encode(build_facts(action, data))

    def _prove(self, action: ProveFork) -> bytes | None:
        """The proof of a fork from the seals of two runs; None when they cannot be read, for the runs tell it too."""
        try:
            one, other = (parse_seal_line(self._replica.read_run(row).split(b"\n")[-2]) for row in action.rows)
            return encode(Fork(action.namespace, prove_fork(action.info, one, other).encode()))
        except (AntiphonError, IndexError):
            return None

    async def _send(self, frames: Sequence[bytes]) -> None:
        try:
            for frame in frames:
                self._words.say(label_of_frame(frame))
            await self._connection.send(*frames)
        except ProtocolViolation as problem:
            self._is_mute = True
            self._give_up(problem)
        except PeerLost as problem:
            self._is_mute = True
            self._perform(self.session.lose(str(problem)))

    def _take_batch(self) -> list[IncomingRun]:
        """As many runs as one frame of the log and one pause of the loop can bear."""
        runs = [self._inbox.popleft()]
        size, count = runs[0].size, len(runs[0].lines)
        while self._inbox and size + self._inbox[0].size <= FACTS_BYTES_MAX:
            count += len(self._inbox[0].lines)
            if count > FACTS_COUNT_MAX:
                break
            runs.append(self._inbox.popleft())
            size += runs[-1].size
        return runs

    def _give_up(self, problem: AntiphonError) -> None:
        self._trouble = self._trouble or problem
        self._inbox.clear()
        self._perform(self.session.abandon(str(problem)))

    def _on_published(self, rows: Sequence[RunRow]) -> None:
        self._perform(self.session.published(rows))

    def _build_report(self, duration_s: float) -> SyncReport:
        assert self._report is not None, "the session ended with a report"
        report = self.session.final_report(self._report)
        sent, received = self._connection.counts
        return SyncReport(
            is_success=report.is_success,
            outcome=report.outcome,
            reason=report.reason,
            sent=report.sent,
            received=report.received,
            known=report.known,
            refused=report.refused,
            forked=report.forked,
            rounds=report.rounds,
            bytes_sent=sent,
            bytes_received=received,
            peer=self._connection.peer,
            duration_ms=round(duration_s * 1_000),
            retry_after_ms=report.retry_after_ms,
        )

"""Anti-entropy as a machine: messages in, actions out, the same on both sides.

Knows nothing of sockets, tasks, clocks or stores; ``runtime/services/sync.py`` drives it, and expects of the transport
that it keeps the order of messages and loses none while the connection lasts. A session proceeds in rounds:

    GREETING ─ HELLO ─► COMPARING ─ ROOT ─► NAMING ─ ROOTS ─► EXPLORING ─ FRONTIER ─► PULLING ─ NEED, FACTS ─┐
                            ▲                                                                                │
                            └───────────────────── everything asked for has been ingested ◄──────────────────┘
    COMPARING ─ equal roots ─► LIVE (both asked for it) or the end

What each side compares are the two ROOTs that were *sent*, so both come to the same decision however many facts are
committed meanwhile. A round that leaves both roots as they were has made no progress: a one-shot session ends as
``DIVERGED``, a live one goes on pushing and can be asked to ``recheck``. Facts travel as sealed runs, in the sender's
log order, which is a causal one.

Only what was asked for, or continues a known head in a live session, is handed on for verification. A peer is closed
with an ERROR that names the reason when it breaks the order of words, sends bytes that are no message, has
``REFUSALS_MAX`` runs refused, or spends more than it was granted. Set reconciliation for holes and forks will be a
further state after PULLING; until then a forked chain is reported, and everything else converges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from typing import NamedTuple

from antiphon.facts import ChainId, ChainInfo, FactId, InvalidLine, Namespace, RemoteViolation, chain_id

from ..chain import CHAIN_START, Seal, parse_seal_line
from ..errors import UnsealedBytes
from ..index import Continuation, JournalIndex
from ..stores.position import RunRow
from .messages import (
    DEFAULT_LIMITS,
    FACTS_BYTES_MAX,
    FACTS_COUNT_MAX,
    FRONTIER_ENTRIES_MAX,
    NEED_RANGES_MAX,
    NONCE_BYTES,
    PROTOCOL_NUMBER,
    ROOTS_ENTRIES_MAX,
    Acks,
    Busy,
    Done,
    Error,
    ErrorCode,
    Facts,
    Frontier,
    FrontierEntry,
    Hello,
    IncomingRun,
    IngestResult,
    Limits,
    Message,
    MessageViolation,
    Need,
    NeedRange,
    Refusal,
    Root,
    Roots,
    WireRun,
    take_run_apart,
)

# The reference configuration; a pair that needs more keeps writing faster than it exchanges.
ROUNDS_MAX = 10
# An honest relay has verified what it sends: one refusal may be a damaged disk, eight are a policy.
REFUSALS_MAX = 8
# Runs received and not yet ingested. A driver with back-pressure stays far below.
BACKLOG_BYTES_MAX = 8 * 1024 * 1024
# Runs waiting to be pushed to a slow peer; beyond it they are forgotten, and a round finds them again.
PENDING_RUNS_MAX = 4_096
# A frontier of so many chains takes 23 MB on the wire.
CHAINS_MAX = 262_144
# Each costs a root and a frontier of its own.
NAMESPACES_MAX = 16_384
# A mesh hands every fact over once per link; whoever repeats itself more than this is not a mesh.
KNOWN_FACTS_MAX = 100_000
KNOWN_FACTS_FACTOR = 5
# Rounds that moved nothing, over the life of a session: half an hour of rechecks, or one moment of a hostile peer.
IDLE_ROUNDS_MAX = 64
# A full FRONTIER, FACTS with a thousand runs, and the largest run must fit whatever a peer accepts.
PEER_FRAME_BYTES_MIN = 512 * 1024
# Whoever is refused more often is told so by count alone.
REFUSALS_KEPT_MAX = 64


class State(Enum):
    """Where a session stands; ``TRANSITIONS`` says what may be heard there."""

    GREETING = "greeting"
    COMPARING = "comparing"
    NAMING = "naming"
    EXPLORING = "exploring"
    PULLING = "pulling"
    LIVE = "live"
    CLOSED = "closed"


_ANY_TIME = frozenset({Need, Facts, Done, Error, Acks})

TRANSITIONS: dict[State, frozenset[type[Message]]] = {
    State.GREETING: frozenset({Hello, Error, Busy}),
    State.COMPARING: _ANY_TIME | {Root},
    State.NAMING: _ANY_TIME | {Roots},
    State.EXPLORING: _ANY_TIME | {Frontier},
    State.PULLING: _ANY_TIME | {Root},  # the peer may be done with its pulling first
    State.LIVE: _ANY_TIME | {Root},
    State.CLOSED: frozenset(),
}
"""The words that may be heard in each state; every other word ends the session."""


class Outcome(Enum):
    """How a session ended."""

    AGREED = "agreed"
    CAUGHT_UP = "caught up"
    DIVERGED = "diverged"
    LEFT = "left"
    BUSY = "busy"
    REFUSED_BY_PEER = "refused by peer"
    VIOLATION = "violation"
    LOST = "lost"
    TIMED_OUT = "timed out"
    LOCAL_TROUBLE = "local trouble"


class SessionReport(NamedTuple):
    """What a session achieved; counts are facts, ``forked`` are chains (hex) of which the two sides hold two stories.

    ``is_success`` holds when both roots agreed (at the end, or at some time before one side left), or when all that
    both held when the last round began was exchanged while both kept writing.
    """

    outcome: Outcome
    reason: str
    is_success: bool
    rounds: int
    sent: int
    received: int
    known: int
    refused: tuple[Refusal, ...]
    forked: tuple[str, ...]
    retry_after_ms: int = 0


class PlannedRun(NamedTuple):
    """A run to send: its chain, and where its bytes lie."""

    info: ChainInfo
    row: RunRow


class Send(NamedTuple):
    """Send this message."""

    message: Message


class ReadAndSend(NamedTuple):
    """Read these runs' bytes, call ``transmitted``, and send them as one FACTS message (``build_facts``)."""

    namespace: Namespace
    runs: tuple[PlannedRun, ...]
    is_asked: bool


class Ingest(NamedTuple):
    """Verify these runs and make them durable, in this order, then call ``ingested`` with the same runs."""

    runs: tuple[IncomingRun, ...]


class TakeAcks(NamedTuple):
    """The peer holds these facts durably; keep that in the account, if one is kept."""

    acks: Acks


class Finish(NamedTuple):
    """Send what was to be sent before, ingest what was received, and close."""

    report: SessionReport


Action = Send | ReadAndSend | Ingest | TakeAcks | Finish


class SessionStatistics(NamedTuple):
    """The insides of a session; facts but for ``queued_runs``, ``backlog_bytes``, ``rounds`` and ``refusals``."""

    state: State
    rounds: int
    sent: int
    received: int
    known: int
    refusals: int
    queued_runs: int
    backlog_bytes: int
    is_agreed: bool


class _Breach(RemoteViolation):
    """A peer broke the protocol; carries the code for the ERROR that it is sent."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        self.code = code
        super().__init__(text)


def build_facts(action: ReadAndSend, data: Sequence[bytes]) -> Facts:
    """Join planned runs and the bytes that were read for them into the message that carries them."""
    runs = zip(action.runs, data, strict=True)
    return Facts(
        action.namespace,
        tuple(
            WireRun(run.info.public_key, run.info.nonce, run.row.first_seq, run.row.first_previous_id, raw)
            for run, raw in runs
        ),
    )


class SyncSession:
    """One side of a session between two replicas, over all their namespaces.

    Feed it with ``receive``, ``ingested``, ``published`` and ``transmitted`` and perform the actions in order. The
    index is read, never written, and may change at any time between two calls. Costs O(chains that differ) of memory.
    A session that *is_reserved* says HELLO and nothing else until it has heard who the peer is.
    """

    def __init__(
        self,
        index: JournalIndex,
        *,
        journal_id: bytes,
        nonce: bytes,
        agent: str = "",
        is_live: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        rounds_max: int = ROUNDS_MAX,
        is_reserved: bool = False,
        batch_facts_max: int = FACTS_COUNT_MAX,
    ) -> None:
        assert len(nonce) == NONCE_BYTES, "a session's nonce has 16 bytes"
        self._index = index
        self._hello = Hello(journal_id, nonce, agent, is_live, limits)
        self._rounds_max = rounds_max
        self._is_reserved = is_reserved
        self._batch_facts_max = batch_facts_max
        self._state = State.GREETING
        self._peer: Hello | None = None
        self._is_live = False
        self._is_agreed = False
        self._was_agreed = False
        self._is_clean = True
        # A round's words.
        self._rounds = 0
        self._rounds_here = 0
        self._idle_rounds = 0
        self._moved = 0
        self._local_root: Root | None = None
        self._remote_root: Root | None = None
        self._last_pair: tuple[bytes, bytes] | None = None
        self._local_roots: dict[Namespace, bytes] = {}
        self._remote_roots: dict[Namespace, bytes] = {}
        self._unexplored: set[Namespace] = set()
        self._peer_chain_count = 0
        # What we lack and asked for, and what is on its way in.
        self._needs: dict[ChainId, NeedRange] = {}
        self._expected: dict[ChainId, tuple[int, FactId]] = {}
        self._arriving: Counter[ChainId] = Counter()
        self._backlog_bytes = 0
        self._set_aside: set[ChainId] = set()
        self._forked: set[ChainId] = set()
        # What the peer lacks and asked for, and what is on its way out.
        self._asked: list[NeedRange] = []
        self._serving: Counter[ChainId] = Counter()
        self._queued_runs = 0
        self._peer_seq: dict[ChainId, int] = {}
        self._unpushed: list[RunRow] = []
        self._is_stale = False
        # The account.
        self._progress = 0
        self._sent = 0
        self._acked = 0
        self._acknowledger = b""
        self._received = 0
        self._known = 0
        self._refusals: list[Refusal] = []
        self._faults = 0

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def is_agreed(self) -> bool:
        """Whether both sides held the same facts when they last compared, and nothing was refused since."""
        return self._is_agreed

    @property
    def is_transferring(self) -> bool:
        """Whether the peer owes us facts, or will first have to take in those that we sent this round."""
        return bool(self._needs) or (self._moved > 0 and self._state is not State.LIVE)

    @property
    def progress(self) -> int:
        """Rises with every step that brings the session forward; words that change nothing do not count."""
        return self._progress

    @property
    def peer(self) -> Hello | None:
        """What the peer said of itself, once it did."""
        return self._peer

    def statistics(self) -> SessionStatistics:
        """The session's account so far."""
        return SessionStatistics(
            self._state,
            self._rounds,
            self._sent,
            self._received,
            self._known,
            self._faults,
            self._queued_runs,
            self._backlog_bytes,
            self._is_agreed,
        )

    # What the driver tells

    def start(self) -> list[Action]:
        """Open the conversation; both sides do, at once."""
        assert self._local_root is None, "a session starts once"
        if self._is_reserved:
            return [Send(self._hello)]
        self._local_root = self._build_root()
        return [Send(self._hello), Send(self._local_root)]

    def receive(self, message: Message) -> list[Action]:
        """Take one message from the peer."""
        if self._state is State.CLOSED:
            return []
        try:
            if type(message) not in TRANSITIONS[self._state]:
                raise _Breach(
                    ErrorCode.UNEXPECTED,
                    f"{type(message).__name__} in state {self._state.value}; "
                    f"expected {sorted(word.__name__ for word in TRANSITIONS[self._state])}",
                )
            return self._hear(message)
        except _Breach as problem:
            return self._break_off(problem.code, str(problem))

    def ingested(self, runs: Sequence[IncomingRun], result: IngestResult) -> list[Action]:
        """Note what became of runs that an ``Ingest`` handed over."""
        for run in runs:
            chain = run.info.chain
            self._backlog_bytes -= run.size
            self._arriving[chain] -= 1
            if self._arriving[chain] <= 0:
                del self._arriving[chain]
                self._expected.pop(chain, None)
        self._received += result.admitted_facts
        self._moved += result.admitted_facts
        self._known += result.known_facts
        if self._state is State.CLOSED:
            return []
        try:
            for refusal in result.refused:
                self._refuse(refusal, ChainId(bytes.fromhex(refusal.chain)))
        except _Breach as problem:
            return self._break_off(problem.code, str(problem))
        # Before the ROOT, so that a one-shot session does not end without them.
        return [*(Send(acks) for acks in result.acks), *self._end_pulling()]

    def published(self, rows: Iterable[RunRow]) -> list[Action]:
        """Push runs that became durable here, whoever wrote them, to a live peer that is not known to have them."""
        if not self._hello.is_live or self._state is State.CLOSED or self._is_stale:
            return []
        self._unpushed.extend(rows)
        if len(self._unpushed) + self._queued_runs > PENDING_RUNS_MAX:
            self._is_stale = True
            self._unpushed.clear()
            return [] if self._queued_runs else self.recheck()
        return self._push() if self._state is State.LIVE else []

    def transmitted(self, action: ReadAndSend) -> list[Action]:
        """Note that runs are being handed to the connection; call it just before they are."""
        for run in action.runs:
            chain = run.info.chain
            self._queued_runs -= 1
            self._sent += run.row.last_seq - run.row.first_seq + 1
            self._moved += 1
            self._serving[chain] -= action.is_asked
            if self._serving[chain] <= 0:
                del self._serving[chain]
        if self._is_stale and not self._queued_runs and self._state is State.LIVE:
            return self._begin_round()
        return []

    def recheck(self) -> list[Action]:
        """Compare again in a live session, for instance some time after something was refused."""
        return self._begin_round() if self._state is State.LIVE else []

    def leave(self) -> list[Action]:
        """End a session from this side, in good order."""
        if self._state is State.CLOSED:
            return []
        goodbye: list[Action] = [] if self._state is State.GREETING else [Send(Done(self._fingerprint()))]
        return [*goodbye, *self._finish(Outcome.LEFT, "this side left")]

    def fail(self, problem: MessageViolation) -> list[Action]:
        """The peer sent bytes that are no message."""
        return self._break_off(ErrorCode.GARBAGE, str(problem))

    def time_out(self, seconds: float) -> list[Action]:
        """The peer kept silent for too long."""
        text = f"nothing heard for {seconds:g} s while {self._state.value}"
        return self._break_off(ErrorCode.TIMEOUT, text, Outcome.TIMED_OUT)

    def lose(self, reason: str) -> list[Action]:
        """The connection is gone."""
        return self._finish(Outcome.LOST, reason)

    def abandon(self, reason: str) -> list[Action]:
        """This side cannot go on: its disk, its journal. The peer is told no details."""
        if self._state is State.CLOSED:
            return []
        return [
            Send(Error(ErrorCode.LOCAL_TROUBLE, "this replica cannot go on just now")),
            *self._finish(Outcome.LOCAL_TROUBLE, reason),
        ]

    # Words

    def _hear(self, message: Message) -> list[Action]:
        match message:
            case Hello():
                return self._hear_hello(message)
            case Root():
                return self._hear_root(message)
            case Roots():
                return self._hear_roots(message)
            case Frontier():
                return self._hear_frontier(message)
            case Need():
                return self._hear_need(message)
            case Facts():
                return self._hear_facts(message)
            case Acks():
                return self._hear_acks(message)
            case Done():
                return self._finish(Outcome.LEFT, "the peer left")
            case Busy():
                return self._finish(Outcome.BUSY, "the peer is busy", retry_after_ms=message.retry_after_ms)
            case Error():
                text = f"the peer ended the session ({message.code.name.lower()}): {printable(message.text)}"
                return self._finish(Outcome.REFUSED_BY_PEER, text)

    def _hear_hello(self, hello: Hello) -> list[Action]:
        if hello.protocol != PROTOCOL_NUMBER:
            text = f"protocol {hello.protocol}; this antiphon speaks {PROTOCOL_NUMBER}, so upgrade the older side"
            raise _Breach(ErrorCode.UNSUPPORTED, text)
        if hello.nonce == self._hello.nonce:
            raise _Breach(ErrorCode.REFLECTED, "my own HELLO came back; this address leads to this very session")
        if hello.limits.frame_bytes < PEER_FRAME_BYTES_MIN or not hello.limits.range_count:
            text = (
                f"limits {tuple(hello.limits)}; frames of {PEER_FRAME_BYTES_MIN} bytes and one range must be accepted"
            )
            raise _Breach(ErrorCode.UNSUPPORTED, text)
        self._progress += 1
        self._peer = hello
        self._is_live = hello.is_live and self._hello.is_live
        self._state = State.COMPARING
        if self._local_root is not None:
            return []
        self._local_root = self._build_root()
        return [Send(self._local_root)]

    def _hear_root(self, root: Root) -> list[Action]:
        if self._remote_root is not None:
            raise _Breach(ErrorCode.UNEXPECTED, "a second ROOT in one round")
        self._progress += 1
        self._remote_root = root
        match self._state:
            case State.LIVE:
                return self._begin_round()
            case State.COMPARING:
                return self._compare()
            case _:
                return []

    def _hear_roots(self, message: Roots) -> list[Action]:
        self._progress += bool(message.roots) or message.is_last
        self._remote_roots.update(message.roots)
        if len(self._remote_roots) > NAMESPACES_MAX:
            raise _Breach(ErrorCode.OVERSPENT, f"more than {NAMESPACES_MAX} namespaces")
        if not message.is_last:
            return []
        local, remote = self._local_roots, self._remote_roots
        differing = sorted(name for name in local.keys() | remote.keys() if local.get(name) != remote.get(name))
        self._state = State.EXPLORING
        self._unexplored = set(differing)
        self._peer_chain_count = 0
        words: list[Action] = [Send(word) for name in differing for word in self._build_frontier(name)]
        return [*words, *self._end_exploring()]

    def _hear_frontier(self, message: Frontier) -> list[Action]:
        if message.namespace not in self._unexplored:
            raise _Breach(ErrorCode.UNEXPECTED, "a FRONTIER of a namespace that does not differ or was told already")
        self._progress += bool(message.entries) or message.is_last
        self._peer_chain_count += len(message.entries)
        if self._peer_chain_count > CHAINS_MAX:
            raise _Breach(ErrorCode.OVERSPENT, f"frontiers of more than {CHAINS_MAX} chains")
        for entry in message.entries:
            self._explore(message.namespace, entry)
        if not message.is_last:
            return []
        self._unexplored.discard(message.namespace)
        return self._end_exploring()

    def _hear_need(self, message: Need) -> list[Action]:
        self._asked.extend(message.ranges)
        if len(self._asked) > self._hello.limits.range_count:
            raise _Breach(ErrorCode.OVERSPENT, f"more than {self._hello.limits.range_count} ranges asked for at once")
        if not message.is_last:
            return []
        asked, self._asked = self._asked, []
        repeated = [one for one in asked if self._serving[one.chain]]
        if repeated or len({one.chain for one in asked}) < len(asked):
            raise _Breach(ErrorCode.OVERSPENT, "a chain was asked for again while it was being sent")
        rows = [
            row
            for one in asked
            for row in self._index.runs_after(one.chain, one.first_seq - 1)
            if row.first_seq <= one.last_seq
        ]
        return self._plan(rows, is_asked=True)

    def _hear_facts(self, message: Facts) -> list[Action]:
        accepted: list[IncomingRun] = []
        answers: list[Action] = []
        for wire in message.runs:
            try:
                run = take_run_apart(message.namespace, wire)
                seal = _check_envelope(run)
            except (UnsealedBytes, InvalidLine) as problem:
                chain = chain_id(public_key=wire.public_key, nonce=wire.nonce, namespace=message.namespace)
                self._refuse(Refusal(chain.hex(), wire.first_seq, str(problem), True), chain)
                continue
            if self._is_welcome(run, seal, answers):
                self._accept(run, seal)
                accepted.append(run)
        if self._backlog_bytes > BACKLOG_BYTES_MAX:
            raise _Breach(ErrorCode.OVERSPENT, f"more than {BACKLOG_BYTES_MAX} bytes of facts before any was ingested")
        if self._known > KNOWN_FACTS_MAX + KNOWN_FACTS_FACTOR * self._received:
            raise _Breach(ErrorCode.OVERSPENT, f"{self._known} facts sent that are known here")
        actions: list[Action] = [Ingest(tuple(accepted))] if accepted else []
        return [*actions, *answers, *self._end_pulling()]

    def _hear_acks(self, acks: Acks) -> list[Action]:
        self._acknowledger = self._acknowledger or acks.acknowledger
        if acks.acknowledger != self._acknowledger:
            raise _Breach(ErrorCode.UNEXPECTED, "acknowledgements in the name of two authorities")
        self._acked += len(acks.fact_ids)
        if self._acked > self._sent:
            raise _Breach(ErrorCode.OVERSPENT, f"{self._acked} facts acknowledged of {self._sent} that were sent")
        return [TakeAcks(acks)]

    # Rounds

    def _begin_round(self) -> list[Action]:
        self._state = State.COMPARING
        self._rounds_here = 0
        self._last_pair = None
        self._is_stale = False
        self._needs.clear()
        self._local_root = self._build_root()
        return [Send(self._local_root), *(self._compare() if self._remote_root else [])]

    def _compare(self) -> list[Action]:
        local, remote = self._local_root, self._remote_root
        assert local is not None, "both roots are known here"
        assert remote is not None, "both roots are known here"
        self._remote_root = None
        self._rounds += 1
        self._rounds_here += 1
        self._idle_rounds += not self._moved
        self._moved = 0
        if self._idle_rounds > IDLE_ROUNDS_MAX:
            raise _Breach(ErrorCode.OVERSPENT, f"{self._idle_rounds} rounds that moved no fact")
        if local.fingerprint == remote.fingerprint:
            self._was_agreed = True
            return self._settle(Outcome.AGREED, "", is_agreed=True)
        pair = (local.fingerprint, remote.fingerprint)
        if pair == self._last_pair:
            return self._settle(Outcome.DIVERGED, self._explain_difference(), is_agreed=False)
        if self._rounds_here > self._rounds_max:
            return self._settle(*self._judge_last_round(), is_agreed=False)
        self._last_pair = pair
        self._state = State.NAMING
        self._local_roots = dict(self._index.roots())
        self._remote_roots = {}
        return [Send(word) for word in _build_roots(self._local_roots)]

    def _settle(self, outcome: Outcome, reason: str, *, is_agreed: bool) -> list[Action]:
        self._is_agreed = is_agreed
        if not self._is_live:
            return self._finish(outcome, reason)
        self._state = State.LIVE
        self._rounds_here = 0
        self._last_pair = None
        return self._begin_round() if self._is_stale and not self._queued_runs else self._push()

    def _judge_last_round(self) -> tuple[Outcome, str]:
        if self._is_clean and not self._forked:
            text = f"facts kept coming for {self._rounds_here} rounds; all that was there before is exchanged"
            return Outcome.CAUGHT_UP, text
        return Outcome.DIVERGED, self._explain_difference()

    def _explain_difference(self) -> str:
        reasons = []
        if self._forked:
            reasons.append(f"{len(self._forked)} chains are forked ({', '.join(_short(self._forked))})")
        if self._refusals:
            reasons.append(f"{len(self._refusals)} runs were refused, first: {self._refusals[0].reason}")
        if not reasons:
            reasons.append("a round moved no fact: one side holds facts that the other cannot take")
        return "; ".join(reasons)

    def _explore(self, namespace: Namespace, entry: FrontierEntry) -> None:
        """Compare one chain of the peer's with ours."""
        chain = chain_id(public_key=entry.public_key, nonce=entry.nonce, namespace=namespace)
        seq, head_id = self._head(chain)
        if self._is_live:
            self._peer_seq[chain] = entry.seq
        if entry.seq > seq:
            if chain not in self._forked:
                self._needs[chain] = NeedRange(chain, seq + 1, entry.seq)
        elif not self._is_on_our_chain(chain, entry, seq, head_id):
            self._forked.add(chain)

    def _is_on_our_chain(self, chain: ChainId, entry: FrontierEntry, seq: int, head_id: FactId) -> bool:
        """Whether the peer's head is a fact of ours; unknown counts as yes, since seals may fall differently."""
        if entry.seq == seq:
            return entry.head_id == head_id
        runs = self._index.runs_after(chain, entry.seq - 1)
        return not runs or runs[0].last_seq != entry.seq or runs[0].last_id == entry.head_id

    def _end_exploring(self) -> list[Action]:
        if self._unexplored:
            return []
        assert self._peer is not None, "no frontier before HELLO"
        self._state = State.PULLING
        # Whatever was asked for in earlier rounds has been heard by now, since it was sent before the frontiers.
        self._set_aside.clear()
        ranges = list(self._needs.values())
        if len(ranges) > self._peer.limits.range_count:
            ranges = ranges[: self._peer.limits.range_count]  # the next round asks for the rest
            self._needs = {one.chain: one for one in ranges}
        return [*_build_needs(ranges), *self._end_pulling()]

    def _end_pulling(self) -> list[Action]:
        """Begin the next round once everything asked for has come and was ingested."""
        if self._state is not State.PULLING or self._needs or self._arriving:
            return []
        self._state = State.COMPARING
        self._local_root = self._build_root()
        return [Send(self._local_root), *(self._compare() if self._remote_root else [])]

    def _build_root(self) -> Root:
        return Root(self._fingerprint(), len(self._index.roots()), self._index.fact_count)

    def _fingerprint(self) -> bytes:
        return bytes.fromhex(self._index.fingerprint())

    def _build_frontier(self, namespace: Namespace) -> list[Frontier]:
        entries = [
            FrontierEntry(state.info.public_key, state.info.nonce, state.head.seq, state.head.fact_id)
            for state in self._index.chains(namespace)
            if state.head.seq
        ]
        parts = [entries[at : at + FRONTIER_ENTRIES_MAX] for at in range(0, len(entries), FRONTIER_ENTRIES_MAX)] or [[]]
        return [Frontier(namespace, tuple(part), part is parts[-1]) for part in parts]

    # Facts in

    def _head(self, chain: ChainId) -> tuple[int, FactId]:
        """The head of a chain, counting what is on its way to the disk."""
        state = self._index.chain(chain)
        head = state.head if state else CHAIN_START
        expected = self._expected.get(chain)
        return expected if expected and expected[0] > head.seq else (head.seq, head.fact_id)

    def _is_welcome(self, run: IncomingRun, seal: Seal, answers: list[Action]) -> bool:
        """Whether a run is to be verified now; duplicates, forks and gaps are dealt with here."""
        chain = run.info.chain
        if chain in self._forked or chain in self._set_aside:
            return False
        seq, head_id = self._head(chain)
        if run.first_seq > seq + 1:
            self._close_gap(run, seq, answers)
            return False
        if run.first_seq <= seq:
            self._weigh_known(run, seal)
            return False
        if run.first_previous_id != head_id:
            self._mark_forked(chain)
            return False
        need = self._needs.get(chain)
        if not self._is_live and (need is None or run.first_seq > need.last_seq):
            self._refuse_unasked(run)
            return False
        return True

    def _close_gap(self, run: IncomingRun, seq: int, answers: list[Action]) -> None:
        chain = run.info.chain
        if not self._is_live:
            self._refuse_unasked(run)
        elif chain not in self._needs:
            self._needs[chain] = NeedRange(chain, seq + 1, run.last_seq)
            answers.extend(_build_needs([self._needs[chain]]))

    def _weigh_known(self, run: IncomingRun, seal: Seal) -> None:
        """A run that begins at or below the head: a duplicate, or the other story of a fork."""
        state = self._index.chain(run.info.chain)
        is_durable = state is not None and run.first_seq <= state.head.seq
        row = RunRow(run.info.chain, run.first_seq, run.last_seq, run.first_previous_id, seal.to_id, 0, 0, 0)
        if is_durable and self._index.classify(row) is Continuation.FORK:
            self._mark_forked(run.info.chain)
            return
        self._known += len(run.lines)
        self._satisfy(run.info.chain)

    def _accept(self, run: IncomingRun, seal: Seal) -> None:
        chain = run.info.chain
        self._progress += 1
        self._expected[chain] = (seal.to_seq, seal.to_id)
        self._arriving[chain] += 1
        self._backlog_bytes += run.size
        if self._is_live:
            self._peer_seq[chain] = max(seal.to_seq, self._peer_seq.get(chain, 0))
        self._satisfy(chain)

    def _satisfy(self, chain: ChainId) -> None:
        need = self._needs.get(chain)
        if need is not None and self._head(chain)[0] >= need.last_seq:
            del self._needs[chain]

    def _mark_forked(self, chain: ChainId) -> None:
        self._forked.add(chain)
        self._needs.pop(chain, None)
        self._is_agreed = False

    def _refuse_unasked(self, run: IncomingRun) -> None:
        text = "nobody asked for these facts, and they continue nothing known here"
        self._refuse(Refusal(run.info.text, run.first_seq, text, True), run.info.chain)

    def _refuse(self, refusal: Refusal, chain: ChainId) -> None:
        self._is_clean = False
        self._is_agreed = False
        self._needs.pop(chain, None)
        self._set_aside.add(chain)
        if len(self._refusals) < REFUSALS_KEPT_MAX:
            self._refusals.append(refusal)
        self._faults += refusal.is_sender_at_fault
        if self._faults >= REFUSALS_MAX:
            raise _Breach(ErrorCode.OVERSPENT, f"{self._faults} runs were refused, the last because {refusal.reason}")

    # Facts out

    def _push(self) -> list[Action]:
        rows = [
            row
            for row in self._unpushed
            if self._peer_seq.get(ChainId(row.chain), 0) < row.last_seq and row.chain not in self._forked
        ]
        self._unpushed.clear()
        for row in rows:
            self._peer_seq[ChainId(row.chain)] = row.last_seq
        return self._plan(rows, is_asked=False)

    def _plan(self, rows: Iterable[RunRow], *, is_asked: bool) -> list[Action]:
        """Lay runs out in messages, namespace by namespace, in log order."""
        runs = [PlannedRun(self._info(row), row) for row in rows]
        runs.sort(key=lambda run: (run.info.namespace, run.row.file_number, run.row.offset))
        if is_asked:
            self._serving.update(run.info.chain for run in runs)
        self._queued_runs += len(runs)
        return [
            ReadAndSend(namespace, batch, is_asked)
            for namespace, group in groupby(runs, key=lambda run: run.info.namespace)
            for batch in _batches(group, self._batch_facts_max)
        ]

    def _info(self, row: RunRow) -> ChainInfo:
        state = self._index.chain(ChainId(row.chain))
        assert state is not None, "a run of the index belongs to a chain of the index"
        return state.info

    # Endings

    def _break_off(self, code: ErrorCode, text: str, outcome: Outcome = Outcome.VIOLATION) -> list[Action]:
        if self._state is State.CLOSED:
            return []
        return [Send(Error(code, text)), *self._finish(outcome, text)]

    def _finish(self, outcome: Outcome, reason: str, *, retry_after_ms: int = 0) -> list[Action]:
        if self._state is State.CLOSED:
            return []
        self._state = State.CLOSED
        return [Finish(self._report(outcome, reason, retry_after_ms))]

    def _report(self, outcome: Outcome, reason: str, retry_after_ms: int) -> SessionReport:
        is_success = outcome in (Outcome.AGREED, Outcome.CAUGHT_UP) or (outcome is Outcome.LEFT and self._was_agreed)
        return SessionReport(
            outcome,
            reason,
            is_success,
            self._rounds,
            self._sent,
            self._received,
            self._known,
            tuple(self._refusals),
            tuple(sorted(chain.hex() for chain in self._forked)),
            retry_after_ms,
        )

    def final_report(self, report: SessionReport) -> SessionReport:
        """*report* with the counts as they are now: what was ingested after ``Finish`` is in."""
        return report._replace(
            sent=self._sent, received=self._received, known=self._known, refused=tuple(self._refusals)
        )


def printable(text: str) -> str:
    """A peer's text without anything that could move a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _check_envelope(run: IncomingRun) -> Seal:
    """The seal of a run whose outside fits its inside; its signature and its lines are checked on ingest."""
    seal = parse_seal_line(run.seal_line)
    outside = (run.info.chain, run.first_seq - 1, run.first_previous_id, run.last_seq)
    if (seal.chain, seal.from_seq, seal.from_id, seal.to_seq) != outside:
        raise UnsealedBytes(f"a run of chain {run.info.text[:8]} at {run.first_seq} does not fit the seal it came with")
    return seal


def _build_roots(roots: dict[Namespace, bytes]) -> list[Roots]:
    pairs = sorted(roots.items())
    parts = [pairs[at : at + ROOTS_ENTRIES_MAX] for at in range(0, len(pairs), ROOTS_ENTRIES_MAX)] or [[]]
    return [Roots(tuple(part), part is parts[-1]) for part in parts]


def _build_needs(ranges: Sequence[NeedRange]) -> list[Action]:
    parts = [ranges[at : at + NEED_RANGES_MAX] for at in range(0, len(ranges), NEED_RANGES_MAX)]
    return [Send(Need(tuple(part), part is parts[-1])) for part in parts]


def _batches(runs: Iterable[PlannedRun], facts_max: int) -> Iterable[tuple[PlannedRun, ...]]:
    """Cut runs into groups of at most *facts_max* facts and 256 KiB; a larger run is a group of its own."""
    batch: list[PlannedRun] = []
    fact_count = byte_count = 0
    for run in runs:
        facts = run.row.last_seq - run.row.first_seq + 1
        if batch and (fact_count + facts > facts_max or byte_count + run.row.length > FACTS_BYTES_MAX):
            yield tuple(batch)
            batch, fact_count, byte_count = [], 0, 0
        batch.append(run)
        fact_count += facts
        byte_count += run.row.length
    if batch:
        yield tuple(batch)


def _short(chains: Iterable[ChainId]) -> list[str]:
    """The first few chains, cut for a message."""
    return [chain.hex()[:8] for chain in sorted(chains)[:3]]

"""Anti-entropy as a machine: messages in, actions out, the same on both sides.

Knows nothing of sockets, tasks, clocks or stores; ``runtime/services/sync.py`` drives it, and expects of the transport
that it keeps the order of messages and loses none while the connection lasts. A session proceeds in rounds:

    GREETING ─ HELLO ─► COMPARING ─ ROOT ─► NAMING ─ ROOTS ─► EXPLORING ─ FORK, FRONTIER ─► PULLING ─ NEED, FACTS ─┐
                            ▲                                                            PROBE, SKETCH, WANT, FACTS │
                            └────────────────────── everything asked for has been ingested ◄───────────────────────┘
    COMPARING ─ equal roots ─► LIVE (both asked for it) or the end

What each side compares are the two ROOTs that were *sent*, so both come to the same decision however many facts are
committed meanwhile. Facts travel as sealed runs. PULLING asks for holes first, then for what follows our heads. Where
that cannot be enough (a chain forks, both frontiers are equal, or a namespace's two roots stayed as they were for a
round, or differ for the third time: a fast path with always something to resend must not starve the thorough one), the
namespace is repaired in the same round: the side with the smaller nonce asks for coded symbols (``repair.py``), asks
for the runs it lacks and sends those that the other lacks. Both sides come to these decisions from words that both
know. Of what is asked for and was collapsed the BASEs are sent, which stand for runs wherever runs are compared. A
round with repairs that leaves both roots as they were ends a one-shot session as ``DIVERGED``; a live one goes on
pushing and can be asked to ``recheck``.

Only what was asked for, or continues a known head in a live session, is handed on for verification. A peer is closed
with an ERROR that names the reason when it breaks the order of words, sends bytes that are no message, has
``REFUSALS_MAX`` runs refused, or spends more than it was granted. Of a forked chain both stories are exchanged, the
proof first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum
from hashlib import sha256
from itertools import groupby, pairwise
from typing import NamedTuple

from antiphon.facts import ChainId, ChainInfo, FactId, InvalidLine, Namespace, RemoteViolation, chain_id

from ..bases import ChainBase
from ..chain import CHAIN_START, Seal, parse_seal_line
from ..errors import UnsealedBytes
from ..forks import ForkProof, read_proof
from ..index import Continuation, JournalIndex
from ..sketch import Cell, Difference, run_item
from ..stores.position import RunRow, row_of_seal
from .messages import (
    BASES_COUNT_MAX,
    DEFAULT_LIMITS,
    FACTS_BYTES_MAX,
    FACTS_COUNT_MAX,
    FRONTIER_ENTRIES_MAX,
    NEED_RANGES_MAX,
    NONCE_BYTES,
    PROTOCOL_NUMBER,
    ROOTS_ENTRIES_MAX,
    WANT_ITEMS_MAX,
    Acks,
    Base,
    Buckets,
    Busy,
    Done,
    Error,
    ErrorCode,
    Facts,
    Fork,
    Frontier,
    FrontierEntry,
    Hello,
    IncomingRun,
    IngestResult,
    Items,
    Limits,
    Message,
    MessageViolation,
    Need,
    NeedRange,
    Probe,
    Refusal,
    Root,
    Roots,
    Served,
    Sketch,
    Want,
    WireRun,
    take_run_apart,
)
from .repair import Encode, Repair, Telling, rows_of

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
# Forks told of, each way: proofs of 300 bytes that cost 120 µs each.
FORKS_MAX = 64
# Runs that one repair moves each way; the next round finds the rest.
REPAIRED_RUNS_MAX = 16_384
# Questions in one round and namespace: symbols in growing steps, then pages of a bucket.
PROBES_MAX = 4_096
# After so many rounds that left a namespace different, suffixes alone are not trusted any more.
PATIENT_ROUNDS = 2
# Runs of forked chains on their way in, that are not to be pushed back.
ECHOES_MAX = 4_096
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


_ANY_TIME = frozenset({Need, Facts, Base, Served, Done, Error, Acks})

TRANSITIONS: dict[State, frozenset[type[Message]]] = {
    State.GREETING: frozenset({Hello, Error, Busy}),
    State.COMPARING: _ANY_TIME | {Root},
    State.NAMING: _ANY_TIME | {Roots},
    State.EXPLORING: _ANY_TIME | {Fork, Frontier},
    # The peer may be done with its pulling first; it asks and answers about repairs when it is.
    State.PULLING: _ANY_TIME | {Root, Probe, Sketch, Buckets, Items, Want},
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


class ProveFork(NamedTuple):
    """Read the seals of these two runs, prove the fork with them (``journal.forks``) and send it as FORK."""

    namespace: Namespace
    info: ChainInfo
    rows: tuple[RunRow, RunRow]


class Witness(NamedTuple):
    """A peer has proven that a chain is forked: keep the evidence."""

    proof: ForkProof


Action = Send | ReadAndSend | Ingest | TakeAcks | Finish | Encode | ProveFork | Witness


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
    A session that *is_reserved* says HELLO and nothing else until it has heard who the peer is. *introduction* is ACKS
    of nothing: whose replica this is, where no chain says it.
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
        token: bytes = b"",
        introduction: Acks | None = None,
    ) -> None:
        assert len(nonce) == NONCE_BYTES, "a session's nonce has 16 bytes"
        self._index = index
        self._hello = Hello(journal_id, nonce, agent, is_live, limits, token=token)
        self._rounds_max = rounds_max
        self._is_reserved = is_reserved
        self._introduction = () if introduction is None else (Send(introduction),)
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
        self._stuck_roots: dict[Namespace, frozenset[bytes | None]] = {}
        self._is_thorough = False
        self._local_heads: dict[Namespace, _Heads] = {}
        self._remote_heads: dict[Namespace, _Heads] = {}
        self._unexplored: set[Namespace] = set()
        self._peer_chain_count = 0
        # What we lack and asked for, and what is on its way in.
        self._needs: dict[ChainId, NeedRange] = {}
        self._asked_for: dict[ChainId, NeedRange] = {}
        self._expected: dict[ChainId, tuple[int, FactId]] = {}
        self._on_the_way: set[bytes] = set()
        self._arriving: Counter[ChainId] = Counter()
        self._backlog_bytes = 0
        self._set_aside: set[ChainId] = set()
        self._suspects: set[ChainId] = set()
        self._forked_before = frozenset(index.forked())
        self._echoes: dict[bytes, None] = {}
        # Repairs: what this side asks (or waits for the other to ask) about, and what it tells.
        self._is_asker = False
        self._repairs: dict[Namespace, Repair | None] = {}
        self._wanted: set[bytes] = set()
        self._tellings: dict[Namespace, Telling] = {}
        self._probes: list[Probe] = []
        self._told_forks: set[ChainId] = set()
        self._heard_forks = 0
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
        return bool(self._needs or self._wanted) or (self._moved > 0 and self._state is not State.LIVE)

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
        return [Send(self._hello), *self._introduction, Send(self._local_root)]

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
        self._on_the_way.difference_update(map(_item_of, runs))
        if result.parked_runs:
            self._is_agreed = False
        self._received += result.admitted_facts
        self._moved += result.admitted_facts
        self._known += result.known_facts
        if self._state is State.CLOSED:
            return []
        try:
            for refusal in result.refused:
                self._refuse(refusal, ChainId(bytes.fromhex(refusal.chain)))
            # Before the ROOT, so that a one-shot session does not end without them.
            return [*(Send(acks) for acks in result.acks), *self._end_pulling()]
        except _Breach as problem:
            return self._break_off(problem.code, str(problem))

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

    def refuse(self, reason: str) -> list[Action]:
        """The peer said a word that the protocol does not have there."""
        return self._break_off(ErrorCode.UNEXPECTED, reason)

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
            case Facts() | Base():
                return self._hear_facts(message)
            case Acks():
                return self._hear_acks(message)
            case Done():
                return self._finish(Outcome.LEFT, "the peer left")
            case Busy():
                return self._finish(Outcome.BUSY, "the peer is busy", retry_after_ms=message.retry_after_ms)
            case Fork():
                return self._hear_fork(message)
            case Probe():
                return self._hear_probe(message)
            case Sketch() | Buckets() | Items():
                return self._hear_told(message)
            case Want():
                return self._hear_want(message)
            case Served():
                # A hole of ours may be one of theirs too: what did not come is not waited for.
                self._progress += bool(self._needs or self._wanted)
                self._needs.clear()
                self._wanted.clear()
                return self._end_pulling()
            case Error():
                text = f"the peer ended the session ({message.code.name.lower()}): {printable(message.text)}"
                if message.code is ErrorCode.UNAUTHORIZED:
                    text += "; who may sync is decided there: ask for a token, and show it (token=…, --token)"
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
        self._is_asker = self._hello.nonce < hello.nonce
        self._is_live = hello.is_live and self._hello.is_live
        self._state = State.COMPARING
        if self._local_root is not None:
            return []
        self._local_root = self._build_root()
        return [*self._introduction, Send(self._local_root)]

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
                return self._end_pulling()

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
        self._local_heads = {name: _heads_of(self._index, name) for name in differing}
        self._remote_heads = {name: {} for name in differing}
        words: list[Action] = []
        for name in differing:
            words.extend(self._tell_forks(name))
            words.extend(Send(word) for word in self._build_frontier(name))
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
        if any(self._serving[one.chain] for one in asked) or _do_overlap(asked):
            raise _Breach(ErrorCode.OVERSPENT, "a chain was asked for again while it was being sent")
        return [*self._serve(asked), Send(Served())]

    def _serve(self, asked: Sequence[NeedRange]) -> list[Action]:
        """The runs asked for; of those that were collapsed the bases."""
        rows = {
            run_item(row): row
            for one in asked
            for row in self._index.runs_after(one.chain, one.first_seq - 1)
            if row.first_seq <= one.last_seq
        }
        return self._plan(rows.values(), is_asked=True)

    def _hear_facts(self, message: Facts | Base) -> list[Action]:
        accepted: list[IncomingRun] = []
        answers: list[Action] = []
        for wire in message.runs:
            try:
                run = take_run_apart(message.namespace, wire, is_base=isinstance(message, Base))
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
        self._stuck_roots = {}
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
        if pair == self._last_pair and self._is_thorough:
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
        if self._is_clean and not self._suspects:
            text = f"facts kept coming for {self._rounds_here} rounds; all that was there before is exchanged"
            return Outcome.CAUGHT_UP, text
        return Outcome.DIVERGED, self._explain_difference()

    def _explain_difference(self) -> str:
        reasons = []
        if self._suspects:
            reasons.append(f"{len(self._suspects)} chains are forked ({', '.join(_short(self._suspects))})")
        if self._refusals:
            reasons.append(f"{len(self._refusals)} runs were refused, first: {self._refusals[0].reason}")
        if not reasons:
            reasons.append("a round moved no fact: one side holds facts that the other cannot take")
        return "; ".join(reasons)

    def _explore(self, namespace: Namespace, entry: FrontierEntry) -> None:
        """Compare one head of the peer's with what is held of its chain."""
        chain = chain_id(public_key=entry.public_key, nonce=entry.nonce, namespace=namespace)
        self._remote_heads[namespace].setdefault(chain, set()).add((entry.seq, entry.head_id))
        state = self._index.chain(chain)
        if self._is_live:
            self._peer_seq[chain] = max(entry.seq, self._peer_seq.get(chain, 0))
        if state is not None and state.holds_end(entry.head_id):
            return
        # What lies between runs that are held is asked for as a hole.
        seq = max(self._head(chain)[0], state.last_seq if state is not None else 0)
        if entry.seq > seq:
            known = self._needs.get(chain)
            self._needs[chain] = NeedRange(chain, seq + 1, max(entry.seq, known.last_seq if known else 0))

    def _tell_forks(self, namespace: Namespace) -> list[Action]:
        """The proofs of forks that this peer was not told of yet."""
        told: list[Action] = []
        for chain in self._index.forked(namespace):
            state, rows = self._index.chain(chain), self._index.siblings(chain)
            if chain not in self._told_forks and state and rows and len(self._told_forks) < FORKS_MAX:
                self._told_forks.add(chain)
                told.append(ProveFork(namespace, state.info, rows))
        return told

    def _hear_fork(self, message: Fork) -> list[Action]:
        self._heard_forks += 1
        if self._heard_forks > FORKS_MAX:
            raise _Breach(ErrorCode.OVERSPENT, f"more than {FORKS_MAX} proofs of forks")
        try:
            proof = read_proof(message.proof, message.namespace)
        except UnsealedBytes as problem:
            raise _Breach(ErrorCode.UNEXPECTED, f"a proof that proves nothing: {problem}") from problem
        self._told_forks.add(proof.info.chain)
        return [Witness(proof)]

    # Repairs

    def _needs_repair(self, namespace: Namespace) -> bool:
        """Whether suffixes cannot bring a namespace together; both sides come to the same answer."""
        roots = frozenset((self._local_roots.get(namespace), self._remote_roots.get(namespace)))
        is_stuck = self._stuck_roots.get(namespace) == roots or self._rounds_here > PATIENT_ROUNDS
        self._stuck_roots[namespace] = roots
        ours, theirs = self._local_heads[namespace], self._remote_heads[namespace]
        suspects = {chain for chain in ours.keys() & theirs.keys() if _must_fork(ours[chain], theirs[chain])}
        self._suspects |= suspects
        return is_stuck or bool(suspects) or ours == theirs

    def _hear_probe(self, probe: Probe) -> list[Action]:
        if self._is_asker or probe.namespace not in self._repairs:
            raise _Breach(
                ErrorCode.UNEXPECTED, "a PROBE of a namespace that is not under repair, or from the wrong side"
            )
        self._probes.append(probe)
        if len(self._probes) > NAMESPACES_MAX:
            raise _Breach(ErrorCode.OVERSPENT, "too many questions at once")
        return self._end_pulling()

    def _answer_probes(self) -> list[Action]:
        probes, self._probes = self._probes, []
        actions: list[Action] = []
        for probe in probes:
            name = probe.namespace
            telling = self._tellings.get(name)
            if telling is None:
                telling = self._tellings[name] = Telling(name, self._index.sketch(name))
            answer = telling.answer(probe)
            if answer is None or telling.answers > PROBES_MAX:
                raise _Breach(ErrorCode.OVERSPENT, "a PROBE beyond what a repair may ask")
            actions.append(answer if isinstance(answer, Encode) else Send(answer))
        return actions

    def _begin_repairs(self) -> list[Action]:
        actions: list[Action] = []
        for name, repair in self._repairs.items():
            if repair is None:
                assert self._peer is not None, "no repair before HELLO"
                salt = sha256(self._hello.nonce + self._peer.nonce).digest()[:16]
                begun = self._repairs[name] = Repair(name, self._index.sketch(name), salt)
                actions.append(Send(begun.begin()))
        return actions

    def _hear_told(self, message: Sketch | Buckets | Items) -> list[Action]:
        repair = self._repairs.get(message.namespace)
        if not self._is_asker or repair is None:
            raise _Breach(ErrorCode.UNEXPECTED, f"{type(message).__name__} that nobody asked for")
        self._progress += 1
        more = repair.hear(message)
        if isinstance(more, Encode):
            return [more]
        if more is not None:
            return [Send(more)]
        if repair.difference is None:
            raise _Breach(ErrorCode.UNEXPECTED, f"{type(message).__name__} that does not answer what was asked")
        return self._end_repair(message.namespace, repair.difference)

    def encoded(self, action: Encode, cells: Sequence[Cell]) -> list[Action]:
        """Note that a thread has encoded what ``Encode`` asked for."""
        if self._state is not State.PULLING:
            return []
        if self._is_asker:
            repair = self._repairs.get(action.namespace)
            return [Send(repair.encoded(cells))] if repair is not None else []
        telling = self._tellings.get(action.namespace)
        answer = telling.encoded(action.salt, cells) if telling is not None else None
        return [Send(answer)] if answer is not None else []

    def _end_repair(self, namespace: Namespace, difference: Difference) -> list[Action]:
        """Ask for what we lack, send what the peer lacks; what is too much is found again by the next round."""
        del self._repairs[namespace]
        sketch = self._index.sketch(namespace)
        lacking = sorted(item for item in difference.second if item not in sketch.runs)[:REPAIRED_RUNS_MAX]
        lacking = [item for item in lacking if item not in self._on_the_way]
        self._wanted.update(lacking)
        parts = [tuple(lacking[at : at + WANT_ITEMS_MAX]) for at in range(0, len(lacking), WANT_ITEMS_MAX)]
        rows = rows_of(sketch, sorted(difference.first)[:REPAIRED_RUNS_MAX])
        wants: list[Action] = [Send(Want(namespace, part)) for part in parts]
        return [*wants, *self._plan(rows, is_asked=False), *self._end_pulling()]

    def _hear_want(self, message: Want) -> list[Action]:
        if self._is_asker or message.namespace not in self._tellings:
            raise _Breach(ErrorCode.UNEXPECTED, "a WANT of a namespace that is not under repair")
        telling = self._tellings[message.namespace]
        telling.wanted += len(message.items)
        if telling.wanted > REPAIRED_RUNS_MAX:
            raise _Breach(ErrorCode.OVERSPENT, f"more than {REPAIRED_RUNS_MAX} runs wanted in one repair")
        rows = rows_of(self._index.sketch(message.namespace), message.items)
        return [*self._plan({run_item(row): row for row in rows}.values(), is_asked=True), Send(Served())]

    def _end_exploring(self) -> list[Action]:
        if self._unexplored:
            return []
        assert self._peer is not None, "no frontier before HELLO"
        self._state = State.PULLING
        # Whatever was asked for in earlier rounds has been heard by now, since it was sent before the frontiers.
        self._set_aside.clear()
        self._suspects.clear()
        self._tellings.clear()
        self._wanted.clear()
        repairs = [name for name in self._local_heads if self._needs_repair(name)]
        self._is_thorough = len(repairs) == len(self._local_heads)
        self._repairs = dict.fromkeys(repairs)
        ranges = [*self._holes(), *self._needs.values()]
        if len(ranges) > self._peer.limits.range_count:
            ranges = ranges[: self._peer.limits.range_count]  # the next round asks for the rest
        self._asked_for = _spans_of(ranges)
        self._needs = dict(self._asked_for)
        return [*_build_needs(ranges), *self._end_pulling()]

    def _holes(self) -> list[NeedRange]:
        """What is missing here before facts that are held, in the namespaces that differ: asked for first."""
        return [
            NeedRange(hole.chain, hole.from_seq, hole.to_seq)
            for name in self._local_heads
            for hole in self._index.holes(name)
            if any(seq >= hole.to_seq for seq, _ in self._remote_heads[name].get(hole.chain, ()))
        ]

    def _end_pulling(self) -> list[Action]:
        """Begin the next round once everything asked for has come and was ingested."""
        if self._state is not State.PULLING or self._needs or self._arriving:
            return []
        actions = self._begin_repairs() if self._is_asker else self._answer_probes()
        # The side that asks says with its ROOT that all is repaired.
        if actions or self._wanted or (self._repairs and (self._is_asker or self._remote_root is None)):
            return actions
        self._state = State.COMPARING
        self._repairs = {}
        self._local_root = self._build_root()
        return [Send(self._local_root), *(self._compare() if self._remote_root else [])]

    def _build_root(self) -> Root:
        return Root(self._fingerprint(), len(self._index.roots()), self._index.position)

    def _fingerprint(self) -> bytes:
        return bytes.fromhex(self._index.fingerprint())

    def _build_frontier(self, namespace: Namespace) -> list[Frontier]:
        entries = [
            FrontierEntry(state.info.public_key, state.info.nonce, head.seq, head.fact_id)
            for state in self._index.chains(namespace)
            for head in state.heads.values()
            if head.seq
        ]
        step = FRONTIER_ENTRIES_MAX
        last = max(len(entries), 1) - 1
        return [
            Frontier(namespace, tuple(entries[at : at + step]), at + step > last) for at in range(0, last + 1, step)
        ]

    # Facts in

    def _head(self, chain: ChainId) -> tuple[int, FactId]:
        """The head of a chain, counting what is on its way to the disk."""
        state = self._index.chain(chain)
        head = state.head if state else CHAIN_START
        expected = self._expected.get(chain)
        return expected if expected and expected[0] > head.seq else (head.seq, head.fact_id)

    def _is_welcome(self, run: IncomingRun, seal: Seal, answers: list[Action]) -> bool:
        """Whether a run is to be verified now; duplicates and gaps are dealt with here."""
        chain, row = run.info.chain, _row_of(run, seal)
        item = run_item(row)
        is_wanted = item in self._wanted
        self._wanted.discard(item)
        if chain in self._set_aside:
            return False
        if item in self._on_the_way or self._index.classify(row) is Continuation.KNOWN:
            self._known += len(run.lines)
            self._satisfy(chain, run.last_seq)
            return False
        span = self._asked_for.get(chain)
        is_asked = is_wanted or (span is not None and span.first_seq <= row.last_seq and row.first_seq <= span.last_seq)
        if is_asked or run.info.namespace in self._repairs:
            return True
        if not self._is_live:
            self._refuse_unasked(run)
            return False
        seq = self._head(chain)[0]
        if row.first_seq > seq + 1:
            self._close_gap(run, seq, answers)
            return False
        return True

    def _close_gap(self, run: IncomingRun, seq: int, answers: list[Action]) -> None:
        chain = run.info.chain
        if chain not in self._needs:
            self._needs[chain] = self._asked_for[chain] = NeedRange(chain, seq + 1, run.last_seq)
            answers.extend(_build_needs([self._needs[chain]]))

    def _accept(self, run: IncomingRun, seal: Seal) -> None:
        chain = run.info.chain
        self._progress += 1
        if seal.to_seq > self._head(chain)[0]:
            self._expected[chain] = (seal.to_seq, seal.to_id)
        self._arriving[chain] += 1
        self._backlog_bytes += run.size
        self._on_the_way.add(run_item(_row_of(run, seal)))
        if self._is_live:
            self._peer_seq[chain] = max(seal.to_seq, self._peer_seq.get(chain, 0))
            self._echoes[seal.to_id] = None
            if len(self._echoes) > ECHOES_MAX:
                del self._echoes[next(iter(self._echoes))]
        self._satisfy(chain, run.last_seq)

    def _satisfy(self, chain: ChainId, last_seq: int) -> None:
        need = self._needs.get(chain)
        if need is not None and last_seq >= need.last_seq:
            del self._needs[chain]

    def _refuse_unasked(self, run: IncomingRun) -> None:
        text = "nobody asked for these facts, and they continue nothing known here"
        self._refuse(Refusal(run.info.text, run.first_seq, text, True), run.info.chain)

    def _refuse(self, refusal: Refusal, chain: ChainId) -> None:
        self._is_clean = False
        self._is_agreed = False
        self._needs.pop(chain, None)
        self._wanted.clear()  # what was wanted of this chain will not come; the next round finds the rest
        self._set_aside.add(chain)
        if len(self._refusals) < REFUSALS_KEPT_MAX:
            self._refusals.append(refusal)
        self._faults += refusal.is_sender_at_fault
        if self._faults >= REFUSALS_MAX:
            raise _Breach(ErrorCode.OVERSPENT, f"{self._faults} runs were refused, the last because {refusal.reason}")

    # Facts out

    def _push(self) -> list[Action]:
        rows = [row for row in self._unpushed if self._may_lack(row)]
        self._unpushed.clear()
        for row in rows:
            chain = ChainId(row.chain)
            self._peer_seq[chain] = max(row.last_seq, self._peer_seq.get(chain, 0))
        return self._plan(rows, is_asked=False)

    def _may_lack(self, row: RunRow) -> bool:
        """Whether the peer is not known to have a run; of a forked chain the numbers do not say it."""
        is_echo = row.last_id in self._echoes
        self._echoes.pop(row.last_id, None)
        if is_echo:
            return False
        state = self._index.chain(ChainId(row.chain))
        if state is None or not state.is_member(row):
            return False
        return state.is_forked or self._peer_seq.get(ChainId(row.chain), 0) < row.last_seq

    def _plan(self, rows: Iterable[RunRow], *, is_asked: bool) -> list[Action]:
        """Lay runs out in messages, namespace by namespace, in log order; bases behind the openings that they need."""
        bases: list[ChainBase] = []
        openings: list[PlannedRun] = []
        runs: list[PlannedRun] = []
        for row in rows:
            base = self._index.base_of(row)
            if base is not None:
                bases.append(base)
            else:
                (openings if row.first_seq == 1 else runs).append(PlannedRun(self._info(row), row))
        if not bases:
            return self._lay_out([*openings, *runs], is_asked=is_asked)
        before = self._lay_out(openings, is_asked=is_asked)
        return [*before, *_build_bases(bases), *self._lay_out(runs, is_asked=is_asked)]

    def _lay_out(self, runs: list[PlannedRun], *, is_asked: bool) -> list[Action]:
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
            tuple(
                sorted(chain.hex() for chain in self._suspects | (self._index.forked().keys() - self._forked_before))
            ),
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
    if run.is_base and (seal.chain, seal.to_seq) == (run.info.chain, run.first_seq):
        return seal
    if (seal.chain, seal.from_seq, seal.from_id, seal.to_seq) != outside:
        raise UnsealedBytes(f"a run of chain {run.info.text[:8]} at {run.first_seq} does not fit the seal it came with")
    return seal


_Heads = dict[ChainId, set[tuple[int, bytes]]]


def _heads_of(index: JournalIndex, namespace: Namespace) -> _Heads:
    """The heads as a FRONTIER tells them."""
    return {
        state.info.chain: {(head.seq, head.fact_id) for head in state.heads.values()}
        for state in index.chains(namespace)
        if state.head.seq
    }


def _must_fork(ours: set[tuple[int, bytes]], theirs: set[tuple[int, bytes]]) -> bool:
    """Whether two sets of heads of one chain cannot be two ages of one story."""
    if ours == theirs:
        return False
    return len(ours) > 1 or len(theirs) > 1 or next(iter(ours))[0] == next(iter(theirs))[0]


def _row_of(run: IncomingRun, seal: Seal) -> RunRow:
    if run.is_base:
        return row_of_seal(seal)
    return RunRow(run.info.chain, run.first_seq, run.last_seq, run.first_previous_id, seal.to_id, 0, 0, 0)


def _item_of(run: IncomingRun) -> bytes:
    return run_item(_row_of(run, parse_seal_line(run.seal_line)))


def _do_overlap(ranges: Sequence[NeedRange]) -> bool:
    """Whether some fact is asked for twice at once."""
    ordered = sorted(ranges)
    return any(one.chain == other.chain and other.first_seq <= one.last_seq for one, other in pairwise(ordered))


def _spans_of(ranges: Iterable[NeedRange]) -> dict[ChainId, NeedRange]:
    """What was asked for, one span a chain."""
    spans: dict[ChainId, NeedRange] = {}
    for one in ranges:
        known = spans.get(one.chain, one)
        spans[one.chain] = NeedRange(one.chain, min(one.first_seq, known.first_seq), max(one.last_seq, known.last_seq))
    return spans


def _build_roots(roots: dict[Namespace, bytes]) -> list[Roots]:
    pairs = sorted(roots.items())
    parts = [pairs[at : at + ROOTS_ENTRIES_MAX] for at in range(0, len(pairs), ROOTS_ENTRIES_MAX)] or [[]]
    return [Roots(tuple(part), part is parts[-1]) for part in parts]


def _build_needs(ranges: Sequence[NeedRange]) -> list[Action]:
    parts = [ranges[at : at + NEED_RANGES_MAX] for at in range(0, len(ranges), NEED_RANGES_MAX)]
    return [Send(Need(tuple(part), part is parts[-1])) for part in parts]


def _build_bases(bases: Iterable[ChainBase]) -> list[Action]:
    ordered = sorted(bases, key=lambda base: (base.info.namespace, base.info.chain, base.seal.to_seq))
    return [
        Send(Base(namespace, tuple(map(_wire_base, group[at : at + BASES_COUNT_MAX]))))
        for namespace, each in groupby(ordered, key=lambda base: base.info.namespace)
        for group in [list(each)]
        for at in range(0, len(group), BASES_COUNT_MAX)
    ]


def _wire_base(base: ChainBase) -> WireRun:
    return WireRun(base.info.public_key, base.info.nonce, base.seal.to_seq, base.previous_id, base.encode())


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

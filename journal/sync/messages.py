"""The words of anti-entropy: frozen values, and the one strict binary form each of them has on the wire.

Does not decide who may say what when (``session.py``), nor move bytes (``runtime/transports``). A frame is

    u32 length (of what follows, <= 1 MiB) ‖ u8 version (1) ‖ u8 kind ‖ body

with big-endian integers. ``encode`` and ``decode`` deal in what stands behind the length; the transport writes the
length, and checks it before it reads on. Every count is compared with the bytes that are left before anything is
allocated for it, and bytes left over are an error, so a message has exactly one spelling. Decoding raises
``MessageViolation`` and nothing else.

Sizes, with the length: ROOT 50 bytes and DONE 38, so two replicas in sync spend 50 bytes each way beyond HELLO (88
when they also say goodbye) and one round trip. FACTS adds 92 bytes a run, and 10 a frame plus the namespace, to the
log's own bytes. A run always carries its chain's key and nonce, from which any receiver derives the chain's id: 48
bytes instead of 16, and no state that two peers could disagree about.

Kind 10 (ACKS) is optional: whoever keeps no account of acknowledgements never says it, and may ignore it when heard.

Kinds 16-19 and 21-23 are set reconciliation and fork evidence: PROBE asks for symbols, bucket digests or lists of
items, SKETCH, BUCKETS and ITEMS answer, WANT asks for runs by item, FORK is a proof of 296 bytes, SERVED ends an
answer. A symbol is 20 bytes and how far its count is from what chance expects, a byte or two. Kind 20 (BASE) answers a
NEED where facts were collapsed: a chain's last fact before the cut as a skeleton, with its seal, ~600 bytes. A FRONTIER
names the chains that are collapsed, so that symbols are made of what both sides could hold.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple

from antiphon.facts import ChainId, ChainInfo, FactId, Namespace, RemoteViolation
from antiphon.facts.ids import NAMESPACE_LENGTH_MAX

from ..bases import BASE_BYTES_MAX
from ..chain import RUN_FACTS_MAX, make_chain_info
from ..errors import UnsealedBytes
from ..forks import PROOF_BYTES
from ..sketch import BUCKET_COUNT, CELLS_MAX, CHECK_BYTES, ITEM_BYTES, Bucket, Cell, expected_count

WIRE_VERSION = 1
PROTOCOL_NUMBER = 2
# Four of the largest ordinary FACTS frames: room for a run that holds one oversized line, and no more.
FRAME_BYTES_MAX = 1024 * 1024
LENGTH_BYTES = 4
HEAD_BYTES = 2
NONCE_BYTES = 16
AGENT_BYTES_MAX = 64
ERROR_TEXT_BYTES_MAX = 512
# 4 096 entries of 88 bytes are 352 KiB: a third of a frame, and no journal of ordinary size needs a second one.
FRONTIER_ENTRIES_MAX = 4_096
# 3 600 names of the longest kind still fit a frame.
ROOTS_ENTRIES_MAX = 3_600
NEED_RANGES_MAX = 1_024
# What one window may hold; a run that is larger (one oversized line) travels alone.
FACTS_BYTES_MAX = 256 * 1024
FACTS_COUNT_MAX = 1_000
# A window of 256 KiB by estimate, one more line, and room for the estimate to be wrong by a third.
RUN_BYTES_MAX = 448 * 1024
SEQ_MAX = 2**63 - 1
# As many as the largest FACTS frame carries, so that one frame of facts is answered by one of acks: 32 KB.
ACKS_COUNT_MAX = 1_000
ACKNOWLEDGER_BYTES = 16
# 4,096 symbols are 86 KiB.
SKETCH_CELLS_MAX = 4_096
# Half a megabyte at worst, 40 KB as they usually are.
BASES_COUNT_MAX = 64
WANT_ITEMS_MAX = 4_096

_FRONTIER_ENTRY = struct.Struct(">32s16sQ32s")
_NEED_RANGE = struct.Struct(">16sQQ")
_RUN_HEAD = struct.Struct(">32s16sQ32sI")
_ROOT = struct.Struct(">32sIQ")
_PROBE = struct.Struct(">B16sII")
_SKETCH = struct.Struct(">16sIIH")
_CELL = struct.Struct(f">16s{CHECK_BYTES}s")
_BUCKET = struct.Struct(">H16s")
_ITEMS = struct.Struct(">BIBH")
_LIMITS = struct.Struct(">II")
_ACKS_HEAD = struct.Struct(f">{ACKNOWLEDGER_BYTES}sQH")


class MessageViolation(RemoteViolation):
    """Bytes from a peer that are no message; nothing of them was used."""


class MalformedMessage(MessageViolation):
    """A body that is cut short, too long, or holds a value out of range."""


class OversizedFrame(MessageViolation):
    """A length field beyond what a frame may have; the body was not read."""


class UnknownMessageKind(MessageViolation):
    """A kind number that this version does not speak."""


class UnsupportedWireVersion(MessageViolation):
    """A frame of a version that this antiphon does not read."""


class ErrorCode(IntEnum):
    """Why a peer ended the session, for machines; the text beside it is for people."""

    GARBAGE = 1
    UNEXPECTED = 2
    UNSUPPORTED = 3
    OVERSPENT = 4
    TIMEOUT = 5
    LOCAL_TROUBLE = 6
    REFLECTED = 7
    UNAUTHORIZED = 8


class Limits(NamedTuple):
    """What a peer is willing to take: the largest frame, and how many NEED ranges it serves at a time."""

    frame_bytes: int = FRAME_BYTES_MAX
    range_count: int = 65_536


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Hello:
    """First word of either side; ``is_live`` asks to stay after the first agreement. ``journal_id`` is 16 bytes."""

    journal_id: bytes
    nonce: bytes
    agent: str = ""
    is_live: bool = False
    limits: Limits = DEFAULT_LIMITS
    protocol: int = PROTOCOL_NUMBER
    token: bytes = b""
    """A capability token that says what the speaker may see; opaque here, and left out of the bytes when empty."""
    kind: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Root:
    """Everything I hold, in 32 bytes: the journal's fingerprint, with counts for people and progress bars."""

    fingerprint: bytes
    namespace_count: int
    fact_count: int
    kind: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Roots:
    """The root of each of my namespaces; ``is_last`` closes the list."""

    roots: tuple[tuple[Namespace, bytes], ...]
    is_last: bool = True
    kind: ClassVar[int] = 3


class FrontierEntry(NamedTuple):
    """A chain and its head: what I hold of it is everything up to ``seq``."""

    public_key: bytes
    nonce: bytes
    seq: int
    head_id: bytes


@dataclass(frozen=True, slots=True)
class Frontier:
    """The heads of one namespace; ``is_last`` closes the namespace's list."""

    namespace: Namespace
    entries: tuple[FrontierEntry, ...]
    is_last: bool = True
    kind: ClassVar[int] = 4


class NeedRange(NamedTuple):
    """Facts I lack: of *chain* everything from ``first_seq`` up to and including ``last_seq``."""

    chain: ChainId
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Need:
    """What I lack and you named; ``is_last`` closes the request, so that it can be served in one causal order."""

    ranges: tuple[NeedRange, ...]
    is_last: bool = True
    kind: ClassVar[int] = 5


class WireRun(NamedTuple):
    """A run as it travels: its chain's parts, where it attaches, and the log's own bytes (fact lines and seal line)."""

    public_key: bytes
    nonce: bytes
    first_seq: int
    first_previous_id: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """Sealed runs of one namespace, each with its original seal."""

    namespace: Namespace
    runs: tuple[WireRun, ...]
    kind: ClassVar[int] = 6


@dataclass(frozen=True, slots=True)
class Base:
    """Runs of one namespace of which I have only the ends left (see ``journal.bases``): each holds the run's last fact,
    without its payload, and the seal that ends in it."""

    namespace: Namespace
    runs: tuple[WireRun, ...]
    kind: ClassVar[int] = 20


@dataclass(frozen=True, slots=True)
class Done:
    """I am leaving; this is what I hold."""

    fingerprint: bytes
    kind: ClassVar[int] = 7


@dataclass(frozen=True, slots=True)
class Busy:
    """Not now; try again after so many milliseconds."""

    retry_after_ms: int
    kind: ClassVar[int] = 8


@dataclass(frozen=True, slots=True)
class Error:
    """I end this session, and why."""

    code: ErrorCode
    text: str
    kind: ClassVar[int] = 9


@dataclass(frozen=True, slots=True)
class Acks:
    """These facts of yours are durable here, since ``acked_at`` (ms); ``acknowledger`` is my authority, 16 bytes.

    It is said of facts that came in this session, after they were committed; of none at all, it says whose replica this
    is, where no chain tells that yet. Nobody signs it: it is worth as much as
    the connection it came over.
    """

    acknowledger: bytes
    acked_at: int
    fact_ids: tuple[FactId, ...]
    kind: ClassVar[int] = 10


@dataclass(frozen=True, slots=True)
class Fork:
    """A proof (``journal.forks``) that a chain of this namespace has two stories; told before anything else of it."""

    namespace: Namespace
    proof: bytes
    kind: ClassVar[int] = 19


class ProbeFor(IntEnum):
    """What a PROBE asks for."""

    CELLS = 0
    BUCKETS = 1
    ITEMS = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """Tell me of your runs: symbols ``start`` up to ``stop`` under ``salt``, the digests of all buckets, or bucket
    ``start``'s items from place ``stop`` on."""

    namespace: Namespace
    wanted: ProbeFor
    salt: bytes = bytes(16)
    start: int = 0
    stop: int = 0
    kind: ClassVar[int] = 21


@dataclass(frozen=True, slots=True)
class Sketch:
    """Coded symbols from ``start`` on over my ``item_count`` runs."""

    namespace: Namespace
    salt: bytes
    start: int
    item_count: int
    cells: tuple[Cell, ...]
    kind: ClassVar[int] = 16


@dataclass(frozen=True, slots=True)
class Buckets:
    """How many runs I hold in each of 256 buckets (65,535 for more), and their digests."""

    namespace: Namespace
    buckets: tuple[Bucket, ...]
    kind: ClassVar[int] = 17


@dataclass(frozen=True, slots=True)
class Items:
    """A bucket's items in order, from place ``start`` on; ``is_last`` ends the list."""

    namespace: Namespace
    bucket: int
    start: int
    items: tuple[bytes, ...]
    is_last: bool = True
    kind: ClassVar[int] = 22


@dataclass(frozen=True, slots=True)
class Want:
    """Runs that you hold and I do not, by item."""

    namespace: Namespace
    items: tuple[bytes, ...]
    kind: ClassVar[int] = 18


@dataclass(frozen=True, slots=True)
class Served:
    """All of what you asked for last, by NEED or WANT, that I can send has been sent."""

    kind: ClassVar[int] = 23


Message = (
    Hello
    | Root
    | Roots
    | Frontier
    | Need
    | Facts
    | Done
    | Busy
    | Error
    | Acks
    | Fork
    | Probe
    | Sketch
    | Buckets
    | Items
    | Want
    | Served
    | Base
)


class IncomingRun(NamedTuple):
    """A run that a peer sent, taken apart into lines and not yet believed."""

    info: ChainInfo
    lines: tuple[bytes, ...]
    seal_line: bytes
    first_seq: int
    first_previous_id: bytes
    is_base: bool = False
    """Whether it is where a chain goes on after facts that the sender has collapsed: one skeleton, and a seal that
    covers more."""

    @property
    def last_seq(self) -> int:
        """The number of the run's last fact, if its lines are what they claim."""
        return self.first_seq + len(self.lines) - 1

    @property
    def size(self) -> int:
        """Bytes of the lines with their newlines."""
        return sum(map(len, self.lines)) + len(self.lines) + len(self.seal_line) + 1


class Refusal(NamedTuple):
    """A run that did not become a member, and whose move it is: the sender's, or the chain's writer's."""

    chain: str
    first_seq: int
    reason: str
    is_sender_at_fault: bool


class IngestResult(NamedTuple):
    """What became of a batch of runs, and what to tell the sender of those that it is to hear of."""

    admitted_facts: int
    known_facts: int
    parked_runs: int
    refused: tuple[Refusal, ...] = ()
    acks: tuple[Acks, ...] = ()


def take_run_apart(namespace: Namespace, run: WireRun, *, is_base: bool = False) -> IncomingRun:
    """Split a run's bytes into lines; ``UnsealedBytes`` when they are not lines of facts and one seal."""
    info = make_chain_info(public_key=run.public_key, nonce=run.nonce, namespace=namespace)
    if not run.data.endswith(b"\n"):
        raise UnsealedBytes(f"a run of chain {info.text[:8]} does not end with a newline")
    if not 2 <= run.data.count(b"\n") <= RUN_FACTS_MAX + 1:
        raise UnsealedBytes(f"a run of chain {info.text[:8]} does not hold 1..{RUN_FACTS_MAX} facts and a seal")
    lines = run.data.split(b"\n")
    lines.pop()
    seal_line = lines.pop()
    if is_base and len(lines) != 1:
        raise UnsealedBytes(f"a base of chain {info.text[:8]} is one fact and a seal; got {len(lines)} facts")
    return IncomingRun(info, tuple(lines), seal_line, run.first_seq, run.first_previous_id, is_base)


def encode(message: Message) -> bytes:
    """Write a message as version, kind and body; 1 µs for the small ones, the copy of the bytes for FACTS.

    >>> decode(encode(Busy(retry_after_ms=250)))
    Busy(retry_after_ms=250)
    """
    frame = b"".join((bytes((WIRE_VERSION, message.kind)), *_write_body(message)))
    assert len(frame) <= FRAME_BYTES_MAX, "whoever builds a message keeps it within a frame"
    return frame


def decode(frame: bytes) -> Message:
    """Read one message; raises ``MessageViolation`` for anything that ``encode`` would not have written."""
    if len(frame) > FRAME_BYTES_MAX:
        raise OversizedFrame(f"a frame of {len(frame)} bytes; at most {FRAME_BYTES_MAX} are allowed")
    if len(frame) < HEAD_BYTES:
        raise MalformedMessage(f"a frame of {len(frame)} bytes; expected at least version and kind")
    version, kind = frame[0], frame[1]
    if version != WIRE_VERSION:
        raise UnsupportedWireVersion(f"a frame of version {version}; this antiphon speaks {WIRE_VERSION}")
    read = _READERS.get(kind)
    if read is None:
        raise UnknownMessageKind(f"a message of kind {kind}; this antiphon knows {sorted(_READERS)}")
    body = _Body(frame)
    message = read(body)
    body.expect_end()
    return message


def _write_body(message: Message) -> Sequence[bytes]:
    match message:
        case Hello():
            return (
                message.protocol.to_bytes(2, "big"),
                message.journal_id,
                message.nonce,
                bytes((message.is_live,)),
                _LIMITS.pack(*message.limits),
                _short_text(message.agent, AGENT_BYTES_MAX),
                *((len(message.token).to_bytes(2, "big"), message.token) if message.token else ()),
            )
        case Root():
            return (_ROOT.pack(message.fingerprint, message.namespace_count, message.fact_count),)
        case Roots():
            pairs = [part for name, root in message.roots for part in (_text(name), root)]
            return (_list_head(message.is_last, len(message.roots)), *pairs)
        case Frontier():
            entries = [_FRONTIER_ENTRY.pack(*entry) for entry in message.entries]
            head = _list_head(message.is_last, len(entries))
            return (_text(message.namespace), head, *entries)
        case Need():
            ranges = [_NEED_RANGE.pack(*one) for one in message.ranges]
            return (_list_head(message.is_last, len(ranges)), *ranges)
        case Facts() | Base():
            parts = [part for run in message.runs for part in (_RUN_HEAD.pack(*run[:4], len(run.data)), run.data)]
            return (_text(message.namespace), len(message.runs).to_bytes(2, "big"), *parts)
        case Done():
            return (message.fingerprint,)
        case Busy():
            return (message.retry_after_ms.to_bytes(4, "big"),)
        case Acks():
            head = _ACKS_HEAD.pack(message.acknowledger, message.acked_at, len(message.fact_ids))
            return (head, *message.fact_ids)
        case Error():
            return (message.code.to_bytes(2, "big"), _text(_cut(message.text, ERROR_TEXT_BYTES_MAX)))
        case Fork():
            return (_text(message.namespace), message.proof)
        case Probe():
            head = _PROBE.pack(message.wanted, message.salt, message.start, message.stop)
            return (_text(message.namespace), head)
        case Sketch():
            head = _SKETCH.pack(message.salt, message.start, message.item_count, len(message.cells))
            return (_text(message.namespace), head, *_write_cells(message))
        case Buckets():
            return (
                _text(message.namespace),
                *(_BUCKET.pack(min(size, 0xFFFF), mark) for size, mark in message.buckets),
            )
        case Items():
            head = _ITEMS.pack(message.bucket, message.start, message.is_last, len(message.items))
            return (_text(message.namespace), head, *message.items)
        case Served():
            return ()
        case Want():
            return (_text(message.namespace), len(message.items).to_bytes(2, "big"), *message.items)


def _write_cells(message: Sketch) -> Sequence[bytes]:
    parts = []
    for index, (items, check, total) in enumerate(message.cells, message.start):
        parts.append(_CELL.pack(items.to_bytes(16, "big"), check.to_bytes(CHECK_BYTES, "big")))
        off = total - expected_count(message.item_count, index)
        parts.append(_varint(off * 2 if off >= 0 else -off * 2 - 1))
    return parts


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _text(value: str) -> bytes:
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def _short_text(value: str, length_max: int) -> bytes:
    return _text(_cut(value, length_max))


def _cut(value: str, length_max: int) -> str:
    return value.encode(errors="replace")[:length_max].decode(errors="ignore")


def _list_head(is_last: bool, count: int) -> bytes:
    return bytes((is_last,)) + count.to_bytes(2, "big")


class _Body:
    """A frame's bytes, read front to back; every step says how much it needs before it takes it."""

    __slots__ = ("_at", "_frame")

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._at = HEAD_BYTES

    @property
    def left(self) -> int:
        return len(self._frame) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise MalformedMessage(f"a message of kind {self._frame[1]} ends {count - self.left} bytes early")
        start, self._at = self._at, self._at + count
        return self._frame[start : self._at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def flag(self) -> bool:
        value = self.number(1)
        if value > 1:
            raise MalformedMessage(f"a yes or no is 0 or 1; got {value}")
        return bool(value)

    def text(self, length_max: int) -> str:
        length = self.number(2)
        if length > length_max:
            raise MalformedMessage(f"a text of {length} bytes; at most {length_max} are allowed here")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as problem:
            raise MalformedMessage("a text is not UTF-8") from problem

    def namespace(self) -> Namespace:
        name = self.text(NAMESPACE_LENGTH_MAX)
        if not name:
            raise MalformedMessage("a namespace without a name")
        return Namespace(name)

    def count(self, *, item_bytes_min: int, count_max: int) -> int:
        """A count that fits both the rule and the bytes that are left."""
        count = self.number(2)
        if count > count_max:
            raise MalformedMessage(f"a list of {count} items; at most {count_max} are allowed here")
        if count * item_bytes_min > self.left:
            raise MalformedMessage(f"a list of {count} items in {self.left} bytes")
        return count

    def varint(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if not byte and shift:
                    raise MalformedMessage("a number is longer than it needs to be")
                return value
        raise MalformedMessage("a number of more than nine bytes")

    def expect_end(self) -> None:
        if self.left:
            raise MalformedMessage(f"a message of kind {self._frame[1]} has {self.left} bytes too many")


def _read_hello(body: _Body) -> Hello:
    protocol = body.number(2)
    journal_id, nonce = body.take(16), body.take(NONCE_BYTES)
    is_live = body.flag()
    limits = Limits(*_LIMITS.unpack(body.take(_LIMITS.size)))
    agent = body.text(AGENT_BYTES_MAX)
    token = body.take(body.number(2)) if body.left else b""
    return Hello(journal_id, nonce, agent, is_live, limits, protocol, token)


def _read_root(body: _Body) -> Root:
    return Root(*_ROOT.unpack(body.take(_ROOT.size)))


def _read_roots(body: _Body) -> Roots:
    is_last = body.flag()
    count = body.count(item_bytes_min=2 + 1 + 32, count_max=ROOTS_ENTRIES_MAX)
    return Roots(tuple((body.namespace(), body.take(32)) for _ in range(count)), is_last)


def _read_frontier(body: _Body) -> Frontier:
    namespace = body.namespace()
    is_last = body.flag()
    count = body.count(item_bytes_min=_FRONTIER_ENTRY.size, count_max=FRONTIER_ENTRIES_MAX)
    raw = body.take(count * _FRONTIER_ENTRY.size)
    entries = tuple(FrontierEntry(*fields) for fields in _FRONTIER_ENTRY.iter_unpack(raw))
    for entry in entries:
        _check_seq(entry.seq)
    return Frontier(namespace, entries, is_last)


def _read_need(body: _Body) -> Need:
    is_last = body.flag()
    count = body.count(item_bytes_min=_NEED_RANGE.size, count_max=NEED_RANGES_MAX)
    raw = body.take(count * _NEED_RANGE.size)
    ranges = tuple(
        NeedRange(ChainId(chain), first_seq, last_seq) for chain, first_seq, last_seq in _NEED_RANGE.iter_unpack(raw)
    )
    for one in ranges:
        _check_seq(one.first_seq)
        _check_seq(one.last_seq)
        if one.first_seq > one.last_seq:
            raise MalformedMessage(f"a range from {one.first_seq} to {one.last_seq}")
    return Need(ranges, is_last)


def _read_facts(body: _Body) -> Facts:
    namespace = body.namespace()
    runs = _read_runs(body, count_max=FACTS_COUNT_MAX, run_bytes_max=RUN_BYTES_MAX, bytes_max=FACTS_BYTES_MAX)
    return Facts(namespace, runs)


def _read_base(body: _Body) -> Base:
    namespace = body.namespace()
    bytes_max = BASES_COUNT_MAX * BASE_BYTES_MAX
    return Base(
        namespace,
        _read_runs(body, count_max=BASES_COUNT_MAX, run_bytes_max=BASE_BYTES_MAX, bytes_max=bytes_max),
    )


def _read_runs(body: _Body, *, count_max: int, run_bytes_max: int, bytes_max: int) -> tuple[WireRun, ...]:
    count = body.count(item_bytes_min=_RUN_HEAD.size + 2, count_max=count_max)
    runs = []
    total = 0
    for _ in range(count):
        public_key, nonce, first_seq, previous, length = _RUN_HEAD.unpack(body.take(_RUN_HEAD.size))
        _check_seq(first_seq)
        total += length
        if length > run_bytes_max:
            raise MalformedMessage(f"a run of {length} bytes; at most {run_bytes_max} are allowed")
        if count > 1 and total > bytes_max:
            raise MalformedMessage(f"FACTS with more than {bytes_max} bytes; a larger run travels alone")
        runs.append(WireRun(public_key, nonce, first_seq, FactId(previous), body.take(length)))
    if not runs:
        raise MalformedMessage("FACTS without a run")
    return tuple(runs)


def _read_error(body: _Body) -> Error:
    number = body.number(2)
    try:
        code = ErrorCode(number)
    except ValueError as problem:
        raise MalformedMessage(f"an error code of {number}; expected 1..{max(ErrorCode)}") from problem
    return Error(code, body.text(ERROR_TEXT_BYTES_MAX))


def _read_acks(body: _Body) -> Acks:
    acknowledger, acked_at = body.take(ACKNOWLEDGER_BYTES), body.number(8)
    if acked_at > SEQ_MAX:
        raise MalformedMessage(f"acknowledged at {acked_at}; expected milliseconds since 1970")
    count = body.count(item_bytes_min=32, count_max=ACKS_COUNT_MAX)
    return Acks(acknowledger, acked_at, tuple(FactId(body.take(32)) for _ in range(count)))


def _read_fork(body: _Body) -> Fork:
    return Fork(body.namespace(), body.take(PROOF_BYTES))


def _read_probe(body: _Body) -> Probe:
    namespace = body.namespace()
    wanted, salt, start, stop = _PROBE.unpack(body.take(_PROBE.size))
    if wanted > max(ProbeFor):
        raise MalformedMessage(f"a probe asks for 0..{max(ProbeFor)}; got {wanted}")
    if wanted == ProbeFor.CELLS and not 0 < stop - start <= SKETCH_CELLS_MAX:
        raise MalformedMessage(f"symbols {start} up to {stop}; 1..{SKETCH_CELLS_MAX} may be asked for at once")
    if wanted == ProbeFor.CELLS and stop > CELLS_MAX:
        raise MalformedMessage(f"symbol {stop}; there are {CELLS_MAX}")
    if wanted == ProbeFor.ITEMS and start >= BUCKET_COUNT:
        raise MalformedMessage(f"bucket {start}; there are {BUCKET_COUNT}")
    return Probe(namespace, ProbeFor(wanted), salt, start, stop)


def _read_sketch(body: _Body) -> Sketch:
    namespace = body.namespace()
    salt, start, item_count, count = _SKETCH.unpack(body.take(_SKETCH.size))
    if count > SKETCH_CELLS_MAX or start + count > CELLS_MAX or count * (_CELL.size + 1) > body.left:
        raise MalformedMessage(f"{count} symbols from {start} on, in {body.left} bytes")
    cells = []
    for index in range(start, start + count):
        items, check = _CELL.unpack(body.take(_CELL.size))
        off = body.varint()
        total = expected_count(item_count, index) + (-(off + 1) // 2 if off % 2 else off // 2)
        cells.append(Cell(int.from_bytes(items, "big"), int.from_bytes(check, "big"), total))
    return Sketch(namespace, salt, start, item_count, tuple(cells))


def _read_buckets(body: _Body) -> Buckets:
    namespace = body.namespace()
    raw = body.take(_BUCKET.size * BUCKET_COUNT)
    return Buckets(namespace, tuple(Bucket(*fields) for fields in _BUCKET.iter_unpack(raw)))


def _read_items(body: _Body) -> Items:
    namespace = body.namespace()
    bucket, start, is_last, count = _ITEMS.unpack(body.take(_ITEMS.size))
    if is_last > 1 or count > WANT_ITEMS_MAX or count * ITEM_BYTES > body.left:
        raise MalformedMessage(f"a list of {count} items in {body.left} bytes")
    return Items(namespace, bucket, start, tuple(body.take(ITEM_BYTES) for _ in range(count)), bool(is_last))


def _read_want(body: _Body) -> Want:
    namespace = body.namespace()
    count = body.count(item_bytes_min=ITEM_BYTES, count_max=WANT_ITEMS_MAX)
    return Want(namespace, tuple(body.take(ITEM_BYTES) for _ in range(count)))


def _check_seq(seq: int) -> None:
    if not 1 <= seq <= SEQ_MAX:
        raise MalformedMessage(f"a fact's number is 1..{SEQ_MAX}; got {seq}")


_READERS: dict[int, Callable[[_Body], Message]] = {
    Hello.kind: _read_hello,
    Root.kind: _read_root,
    Roots.kind: _read_roots,
    Frontier.kind: _read_frontier,
    Need.kind: _read_need,
    Facts.kind: _read_facts,
    Done.kind: lambda body: Done(body.take(32)),
    Busy.kind: lambda body: Busy(body.number(4)),
    Error.kind: _read_error,
    Acks.kind: _read_acks,
    Fork.kind: _read_fork,
    Probe.kind: _read_probe,
    Sketch.kind: _read_sketch,
    Buckets.kind: _read_buckets,
    Items.kind: _read_items,
    Want.kind: _read_want,
    Served.kind: lambda body: Served(),
    Base.kind: _read_base,
}

"""What two coordinators say to each other: one question, and one answer with data of its kind.

Values with one canonical byte form each; which answer is right is ``coordinator.py``'s business, and moving bytes is
nobody's here. States, deltas and operations are inside as the canonical bytes of their own types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from ..causality import VectorClock
from ..crdt_errors import DeserializationFailed
from ..lattice import decode_tagged, encode_tagged, read_list, read_map, read_natural, read_text
from .kinds import CrdtKind

# As many as a CmHandler buffers, so that one answer always fits; the next request brings the rest.
ITEMS_MAX = 1_000
SESSION_LENGTH_MAX = 128

R = TypeVar("R", "SyncRequest", "SyncResponse")


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """ "What do I lack?" ``seen`` is what the asker has integrated, ``digest`` the same for states that have one."""

    session_id: str
    kind: CrdtKind
    sender: str
    clock: VectorClock
    seen: VectorClock
    digest: bytes = b""

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return encode_tagged(
            "message", "sync_request", _head(self) | {"digest": self.digest.hex(), "seen": self.seen.to_data()}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> SyncRequest:
        """Read what ``to_bytes`` wrote; ``DeserializationFailed``."""
        return _decode("sync_request", data, cls._read)

    @classmethod
    def _read(cls, data: object) -> SyncRequest:
        parts = read_map(data)
        session_id, kind, sender, clock = _read_head(parts)
        return cls(
            session_id, kind, sender, clock, _read_clock(parts["seen"]), bytes.fromhex(read_text(parts["digest"]))
        )


@dataclass(frozen=True, slots=True)
class FullState:
    """The whole state, which holds everything up to ``seen``.

    ``is_fallback`` says that fragments were asked for and the log no longer reached back. ``operations`` are what
    follows on an op-based state.
    """

    state: bytes
    seen: VectorClock = field(default_factory=VectorClock)
    is_fallback: bool = False
    operations: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class EncodedEntry:
    """A fragment in bytes: it leads from ``lower`` to ``upper``."""

    lower: VectorClock
    upper: VectorClock
    delta: bytes


@dataclass(frozen=True, slots=True)
class Deltas:
    """The fragments that the asker lacks, in order; ``is_partial`` when there are more than one answer carries."""

    entries: tuple[EncodedEntry, ...]
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations that the asker lacks, causes first."""

    operations: tuple[bytes, ...]
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Constraints:
    """What the answerer holds, and its message counter."""

    constraints: tuple[bytes, ...]
    counter: int


SyncData: TypeAlias = FullState | Deltas | Operations | Constraints
"""What an answer carries."""


@dataclass(frozen=True, slots=True)
class SyncResponse:
    """The answer to the request of ``session_id``. Safe to lose, to repeat and to reorder."""

    session_id: str
    kind: CrdtKind
    sender: str
    clock: VectorClock
    data: SyncData

    def to_bytes(self) -> bytes:
        """Canonical bytes; ``SerializationFailed`` beyond 16 MiB."""
        return encode_tagged("message", "sync_response", _head(self) | {"data": _data_to_json(self.data)})

    @classmethod
    def from_bytes(cls, data: bytes) -> SyncResponse:
        """Read what ``to_bytes`` wrote; ``DeserializationFailed``."""
        return _decode("sync_response", data, cls._read)

    @classmethod
    def _read(cls, data: object) -> SyncResponse:
        parts = read_map(data)
        return cls(*_read_head(parts), _read_data(parts["data"]))

    @property
    def size(self) -> int:
        """The bytes of what it carries, without the frame around them."""
        match self.data:
            case FullState(state, operations=operations):
                return len(state) + sum(map(len, operations))
            case Deltas(entries):
                return sum(len(entry.delta) for entry in entries)
            case Operations(operations):
                return sum(map(len, operations))
            case Constraints(constraints):
                return sum(map(len, constraints))


def _head(message: SyncRequest | SyncResponse) -> dict[str, object]:
    return {
        "clock": message.clock.to_data(),
        "kind": message.kind.value,
        "sender": message.sender,
        "session": message.session_id,
    }


def _read_head(parts: dict[str, object]) -> tuple[str, CrdtKind, str, VectorClock]:
    session_id = read_text(parts["session"])
    if len(session_id) > SESSION_LENGTH_MAX:
        raise ValueError(f"a session id of {len(session_id)} characters; at most {SESSION_LENGTH_MAX} are taken")
    return session_id, CrdtKind(read_text(parts["kind"])), read_text(parts["sender"]), _read_clock(parts["clock"])


def _data_to_json(data: SyncData) -> object:
    match data:
        case FullState():
            return {
                "full": data.state.decode(),
                "is_fallback": data.is_fallback,
                "operations": _texts(data.operations),
                "seen": data.seen.to_data(),
            }
        case Deltas():
            entries = [[entry.lower.to_data(), entry.upper.to_data(), entry.delta.decode()] for entry in data.entries]
            return {"deltas": entries, "is_partial": data.is_partial}
        case Operations():
            return {"is_partial": data.is_partial, "operations": _texts(data.operations)}
        case Constraints():
            return {"constraints": _texts(data.constraints), "counter": data.counter}


def _read_data(data: object) -> SyncData:
    match read_map(data):
        case {"full": full, "is_fallback": bool() as is_fallback, "operations": operations, "seen": seen, **rest}:
            found: SyncData = FullState(
                read_text(full).encode(), _read_clock(seen), is_fallback, _read_items(operations)
            )
        case {"deltas": deltas, "is_partial": bool() as is_partial, **rest}:
            found = Deltas(tuple(_read_entry(entry) for entry in _bounded(deltas)), is_partial)
        case {"is_partial": bool() as is_partial, "operations": operations, **rest}:
            found = Operations(_read_items(operations), is_partial)
        case {"constraints": constraints, "counter": counter, **rest}:
            found = Constraints(_read_items(constraints), read_natural(counter))
        case other:
            raise ValueError(f"no known kind of data has the keys {sorted(other)[:8]}")
    if rest:
        raise ValueError(f"unexpected keys {sorted(rest)[:8]}")
    return found


def _read_entry(data: object) -> EncodedEntry:
    lower, upper, delta = read_list(data)
    return EncodedEntry(_read_clock(lower), _read_clock(upper), read_text(delta).encode())


def _read_items(data: object) -> tuple[bytes, ...]:
    return tuple(read_text(item).encode() for item in _bounded(data))


def _bounded(data: object) -> list[object]:
    items = read_list(data)
    if len(items) > ITEMS_MAX:
        raise ValueError(f"{len(items)} items; at most {ITEMS_MAX} are taken in one answer")
    return items


def _read_clock(data: object) -> VectorClock:
    return VectorClock().from_data(data)


def _texts(items: tuple[bytes, ...]) -> list[str]:
    return [item.decode() for item in items]


def _decode(name: str, data: bytes, read: Callable[[object], R]) -> R:
    message = decode_tagged("message", name, data, read)
    if message.to_bytes() != data:
        raise DeserializationFailed(target=name, detail="not the canonical spelling")
    return message

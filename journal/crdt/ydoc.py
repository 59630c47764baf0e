"""``YDocDeltaState``: a pycrdt (Yjs) document as a delta state, for text that several people edit at once.

The digest is the Yjs state vector, a delta is a Yjs update (v1), so any Yjs peer understands both. Facts never travel
in here, and nothing here can reach one: whoever may write may also delete, in every replica. Numbers come back as
Yjs keeps them, as floats; write text where that matters.

A value holds bytes, not a living document: no threads to mind, and an older state stays what it was. Each edit costs
a rebuild, O(document); a topic or a note is meant, not a book. pycrdt is imported when the first document is built.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from ..crdt_errors import DeserializationFailed, SerializationFailed
from ..lattice import read_list, read_map, read_text

if TYPE_CHECKING:
    from pycrdt import Doc

# Appending to one array is quadratic within a transaction; at 200 it costs 2 µs an item (reference: performance).
APPENDS_PER_TRANSACTION = 200
# One update is one message; Yjs itself sends a few hundred bytes.
UPDATE_BYTES_MAX = 4 * 1024 * 1024
# Updates whose causes have not come; a peer that sends more of them must send the causes first.
PENDING_MAX = 64

EMPTY_UPDATE = b"\x00\x00"

T = TypeVar("T")


class YDocUpdate(NamedTuple):
    """A delta: Yjs updates (version 1), usually one; a set, so that two deltas join by union."""

    updates: frozenset[bytes]

    @classmethod
    def of(cls, *updates: bytes) -> YDocUpdate:
        """The delta made of these updates, such as a Yjs peer sent."""
        return cls(frozenset(updates))


class Marks(NamedTuple):
    """What a document has seen and deleted, sorted: equal exactly when two documents are."""

    vector: tuple[tuple[int, int], ...] = ()
    deleted: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class YDocDeltaState:
    """A document as a value. Equal states have seen and deleted the same; who holds them does not matter.

    Make one with ``of``, which names this replica as an author; two replicas must never share a name.

    >>> ada = YDocDeltaState.of("ada").insert_text("topic", 0, "tea")
    >>> ben = YDocDeltaState.of("ben").join(ada).insert_text("topic", 3, " at five")
    >>> ada.apply_delta(ben.delta_since(ada)).text("topic")
    'tea at five'
    """

    lattice_name: ClassVar[str] = "ydoc"
    client_id: int = field(compare=False)
    update: bytes = field(default=EMPTY_UPDATE, compare=False)
    marks: Marks = Marks()  # noqa: RUF009  # a tuple
    pending: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, actor: str) -> YDocDeltaState:
        """An empty document of which *actor* is an author; new for every life of a replica."""
        return cls(client_id_of(actor))

    # --- reading --------------------------------------------------------------------------------------------------

    def text(self, name: str) -> str:
        """The text called *name*; empty when nobody wrote it."""
        from pycrdt import Text

        return str(self._document().get(name, type=Text))

    def map(self, name: str) -> dict[str, Any]:
        """The map called *name*."""
        from pycrdt import Map

        return dict(self._document().get(name, type=Map).to_py() or {})

    def array(self, name: str) -> list[Any]:
        """The array called *name*."""
        from pycrdt import Array

        return list(self._document().get(name, type=Array).to_py() or [])

    # --- writing --------------------------------------------------------------------------------------------------

    def edit(self, change: Callable[[Doc[Any]], None]) -> YDocDeltaState:
        """The document after *change*, in one transaction; if that raises, nothing has happened.

        ``SerializationFailed`` for a value that Yjs has no form for, such as an integer beyond 64 bits. Keep what you
        append in it below 200 items, or use ``extend_array``.
        """
        document = self._document()
        try:
            with document.transaction():
                change(document)
        except BaseException as problem:
            if is_panic(problem):
                raise SerializationFailed(f"pycrdt cannot hold what was written: {problem}; write text") from problem
            raise
        return self._of_document(document, self.pending)

    def insert_text(self, name: str, index: int, text: str) -> YDocDeltaState:
        """Insert before the character at *index*; ``ValueError`` beyond the end."""
        from pycrdt import Text

        def change(document: Doc[Any]) -> None:
            shared = document.get(name, type=Text)
            shared.insert(byte_offset(str(shared), index), text)

        return self.edit(change)

    def delete_text(self, name: str, index: int, length: int) -> YDocDeltaState:
        """Delete *length* characters from *index* on; ``ValueError`` beyond the end, and for a length below 0."""
        from pycrdt import Text

        if length < 0:
            raise ValueError(f"{length} characters to delete; expected 0 or more, from the first of them on")

        def change(document: Doc[Any]) -> None:
            shared = document.get(name, type=Text)
            start, stop = (byte_offset(str(shared), place) for place in (index, index + length))
            del shared[start:stop]

        return self.edit(change)

    def set_key(self, name: str, key: str, value: str | bool | None) -> YDocDeltaState:
        """Write *key* of a map; of concurrent writes every replica keeps the same one."""
        from pycrdt import Map

        return self.edit(lambda document: document.get(name, type=Map).__setitem__(key, value))

    def delete_key(self, name: str, key: str) -> YDocDeltaState:
        """Delete *key* of a map, in every replica; nothing happens when it is not there."""
        from pycrdt import Map

        def change(document: Doc[Any]) -> None:
            shared = document.get(name, type=Map)
            if key in shared:
                del shared[key]

        return self.edit(change)

    def extend_array(self, name: str, items: Iterable[str | bool | None]) -> YDocDeltaState:
        """Append any number of items, 200 a transaction: time and memory stay linear."""
        from pycrdt import Array

        document = self._document()
        shared = document.get(name, type=Array)
        for chunk in in_transactions(items):
            with document.transaction():
                shared.extend(chunk)
        return self._of_document(document, self.pending)

    # --- the lattice ----------------------------------------------------------------------------------------------

    def bottom(self) -> YDocDeltaState:
        """The empty document, of the same author."""
        return YDocDeltaState(self.client_id)

    def join(self, other: YDocDeltaState) -> YDocDeltaState:
        """Both documents' edits."""
        return self._with_updates([other.update, *other.pending])

    def __le__(self, other: YDocDeltaState) -> bool:
        return self.join(other) == other

    def digest(self) -> bytes:
        """The Yjs state vector, sorted, since Yjs itself writes it in any order."""
        vector = self.marks.vector
        return b"".join(map(_varint, [len(vector), *(number for entry in vector for number in entry)]))

    def delta_for(self, digest: bytes) -> YDocUpdate:
        """What whoever has that state vector lacks, deletions included."""
        guard_yjs("state vector", lambda: _read_vector(digest))
        document = self._document()
        return YDocUpdate(self.pending | {guard_yjs("state vector", lambda: document.get_update(digest))})

    def delta_since(self, older: YDocDeltaState) -> YDocUpdate | None:
        """What *older* lacks."""
        return None if self <= older else self.delta_for(older.digest())

    def apply_delta(self, delta: YDocUpdate) -> YDocDeltaState:
        """Apply Yjs updates. Parts whose causes are missing are kept until these come (at most 64 updates).

        ``DeserializationFailed`` when the bytes are no update; nothing is applied then.
        """
        return self._with_updates(delta.updates)

    def join_deltas(self, first: YDocUpdate, second: YDocUpdate) -> YDocUpdate:
        """The updates of both."""
        return YDocUpdate(first.updates | second.updates)

    def delta_to_data(self, delta: YDocUpdate) -> object:
        """The updates in base64, sorted."""
        if not isinstance(delta, YDocUpdate):
            raise TypeError(f"a delta of a document is a YDocUpdate, not {delta!r:.80}")
        return sorted(map(_to_text, delta.updates))

    def delta_from_data(self, data: object) -> YDocUpdate:
        """Read what ``delta_to_data`` wrote; whether they are updates is seen by applying them to nothing."""
        delta = YDocUpdate(frozenset(map(_from_text, read_list(data))))
        self.bottom().apply_delta(delta)
        return delta

    def to_data(self) -> object:
        """The document as one update, and what waits, in base64."""
        return {"pending": sorted(_to_text(update) for update in self.pending), "update": _to_text(self.update)}

    def from_data(self, data: object) -> YDocDeltaState:
        """Read what ``to_data`` wrote, as a document of this one's author."""
        parts = read_map(data)
        pending = frozenset(_from_text(item) for item in read_list(parts["pending"]))
        found = self.bottom()._with_updates([_from_text(parts["update"]), *pending])
        if found.pending != pending:
            raise ValueError("what is called pending is not, or the document has gaps")
        return found

    def _with_updates(self, updates: Iterable[bytes]) -> YDocDeltaState:
        """The document with every update in it that can be in it whole; the others wait, whole too.

        A half-integrated update would hang over a gap that no state vector can tell of. So all are tried together,
        and as long as one of them is left hanging, again without it: what remains is the largest set that fits,
        whatever the order they came in.
        """
        waiting = sorted({*self.pending, *updates})
        fitting = waiting
        while True:
            document = self._document()
            for update in fitting:
                _apply(document, update)
            vector = document.get_state()
            whole = [update for update in fitting if _is_integrated(update, vector)]
            if len(whole) == len(fitting):
                break
            fitting = whole
        pending = frozenset(waiting) - frozenset(fitting)
        if len(pending) > PENDING_MAX:
            raise DeserializationFailed(
                target="Yjs update", detail=f"{len(pending)} updates wait for causes; at most {PENDING_MAX} are kept"
            )
        return self._of_document(document, pending)

    def _document(self) -> Doc[Any]:
        from pycrdt import Doc

        document: Doc[Any] = Doc(client_id=self.client_id)
        if self.update != EMPTY_UPDATE:
            document.apply_update(self.update)
        return document

    def _of_document(self, document: Doc[Any], pending: frozenset[bytes]) -> YDocDeltaState:
        vector = document.get_state()
        marks = Marks(_read_vector(vector), _read_deletions(document.get_update(vector)))
        return YDocDeltaState(self.client_id, document.get_update(), marks, pending)


def client_id_of(actor: str) -> int:
    """The Yjs client id of *actor*: 53 bits of a hash, so that names need no registry."""
    return int.from_bytes(sha256(b"antiphon.ydoc.1" + actor.encode()).digest()[:8], "big") >> 11


def byte_offset(text: str, index: int) -> int:
    """Where the character at *index* starts in UTF-8, which is how pycrdt counts; ``ValueError`` outside the text.

    >>> byte_offset("aé😀b", 2)
    3
    """
    if not 0 <= index <= len(text):
        raise ValueError(f"character {index} of a text of {len(text)}; expected 0..{len(text)}")
    return len(text[:index].encode())


def in_transactions(items: Iterable[T]) -> Iterable[list[T]]:
    """Cut *items* into pieces that one transaction may append.

    >>> [len(piece) for piece in in_transactions(range(450))]
    [200, 200, 50]
    """
    rest = iter(items)
    while piece := list(islice(rest, APPENDS_PER_TRANSACTION)):
        yield piece


def guard_yjs(target: str, action: Callable[[], T]) -> T:
    """Run *action* on foreign bytes; whatever the Rust library makes of them becomes ``DeserializationFailed``."""
    try:
        return action()
    except (ValueError, RuntimeError, OverflowError) as problem:
        raise DeserializationFailed(target=target, detail=str(problem)) from problem
    except BaseException as problem:
        if is_panic(problem):
            raise DeserializationFailed(target=target, detail=f"it broke the reader: {problem}") from problem
        raise


def is_panic(problem: BaseException) -> bool:
    """Whether Rust gave up. A panic is no ``Exception``, and its class cannot be imported."""
    return type(problem).__name__ == "PanicException"


def _apply(document: Doc[Any], update: bytes) -> None:
    if len(update) > UPDATE_BYTES_MAX:
        raise DeserializationFailed(target="Yjs update", detail=f"{len(update)} bytes, over {UPDATE_BYTES_MAX}")
    guard_yjs("Yjs update", lambda: document.apply_update(update))


def _is_integrated(update: bytes, vector: bytes) -> bool:
    """Whether a document at *vector* has all that *update* says: no blocks left over, no deletion of unseen ones."""
    from pycrdt import get_update

    rest = guard_yjs("Yjs update", lambda: get_update(update, vector))
    if rest[:1] != b"\x00":
        return False
    seen = dict(_read_vector(vector))
    return all(start + length <= seen.get(client, 0) for client, start, length in _read_deletions(rest))


def _read_vector(data: bytes) -> tuple[tuple[int, int], ...]:
    numbers = _Varints(data)
    return tuple(sorted((numbers.take(), numbers.take()) for _ in range(numbers.take())))


def _read_deletions(rest: bytes) -> tuple[tuple[int, int, int], ...]:
    """The delete set of an update without blocks, sorted, with touching ranges made one."""
    numbers = _Varints(rest)
    if numbers.take():
        raise ValueError("an update with blocks where none are left")
    ranges: list[tuple[int, int, int]] = []
    for _ in range(numbers.take()):
        client = numbers.take()
        ranges += [(client, numbers.take(), numbers.take()) for _ in range(numbers.take())]
    merged: list[tuple[int, int, int]] = []
    for client, start, length in sorted(ranges):
        if merged and merged[-1][0] == client and start <= merged[-1][1] + merged[-1][2]:
            _, first, reach = merged[-1]
            merged[-1] = (client, first, max(reach, start + length - first))
        else:
            merged.append((client, start, length))
    return tuple(merged)


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


class _Varints:
    """Unsigned little-endian base-128 numbers, as Yjs writes them."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)

    def take(self) -> int:
        """The next number; ``ValueError`` at the end or beyond 64 bits."""
        number = 0
        for shift in range(0, 70, 7):
            byte = next(self._bytes, None)
            if byte is None:
                raise ValueError("the bytes end inside a number")
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError("a number beyond 64 bits")


def _to_text(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def _from_text(data: object) -> bytes:
    return a2b_base64(read_text(data), strict_mode=True)

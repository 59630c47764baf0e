"""What a view that ships keeps of itself, so that the next opening folds only what came since.

The bytes are a pickle that can make nothing but the records which its view names: a reader that meets any other name
refuses all of it, so a kept state that somebody tampered with runs no code. Facts are not in it: it names them, and
they are read back from the journal. Long columns of numbers stand behind the pickle as they lie in memory, so that they
are copied once. Where the bytes are kept, and when, is not decided here.
"""

from __future__ import annotations

import pickle
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.util import MAGIC_NUMBER
from io import BytesIO
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from zlib import crc32

from antiphon.facts import ChainId, Fact
from antiphon.facts.fact import get_record

from .fold import schema_hash_of
from .message_entry import Recall

# The newest one of Python 3.11: arrays are one copy of their bytes.
_PROTOCOL: Final = 5

# What unpickling is documented to raise, and what classes and containers raise that are given the wrong values.
_UNREADABLE: Final = (
    *(pickle.PickleError, EOFError, AttributeError, LookupError, TypeError, ValueError),
    *(ArithmeticError, MemoryError, RecursionError),
)

# Before anything is read: a damaged length could ask for all the memory there is.
_CHECK_BYTES: Final = 4

# A shorter column costs less within the pickle than beside it.
_COLUMN_BYTES_MIN: Final = 1_024

_Place = tuple[bytes, int, bytes]  # chain, number in it, fact id
_Column = tuple[str, int, int]  # letter of the array, bytes of an item, bytes
_Named = tuple[list[_Place], list[_Column], int, str]  # facts, columns, bytes of the pickle, byte order


class KeptShape(NamedTuple):
    """What a view keeps: *attributes* of it, made of *classes*; raise *version* when the same facts fold otherwise."""

    version: int
    models: tuple[type[Fact], ...]
    classes: tuple[type, ...]
    attributes: tuple[str, ...]


class KeptView:
    """A view that can write its state down and take it up again; it gives its ``_shape`` and its ``view_id``."""

    @property
    def view_id(self) -> str:
        """The scheduler's name for it."""
        raise NotImplementedError

    @property
    def checkpoint_key(self) -> tuple[str, int, str]:
        """View id, version, and a hash of all that decides what a kept state means."""
        shape = self._shape
        digest = sha256(f"{schema_hash_of(shape.models)} {shape.attributes} {self._outlook}".encode())
        digest.update(MAGIC_NUMBER)  # packed messages are found by a hash that is alike within a version of Python
        for kept in shape.classes:
            digest.update(f" {kept.__module__}.{kept.__qualname__} {_names_in(kept)}".encode())
        return (self.view_id, shape.version, digest.hexdigest()[:32])

    def checkpoint(self) -> bytes:
        """The state in bytes; O(state), about as fast as memory is copied for what is packed."""
        return write_state({name: getattr(self, name) for name in self._shape.attributes})

    def restore(self, state: bytes, recall: Recall, now_ms: int) -> bool:
        """Take up what ``checkpoint`` wrote, before the first window. False, and nothing changed, when it cannot be
        read, names facts that *recall* no longer finds, or knows a later clock than *now_ms*."""
        shape = self._shape
        kept = read_state(state, shape.classes, recall)
        if kept is None or kept.keys() != set(shape.attributes) or (kept.get("_now_ms") or now_ms) > now_ms:
            return False
        for name, value in kept.items():
            setattr(self, name, value)
        return True

    @property
    def _shape(self) -> KeptShape:
        raise NotImplementedError

    @property
    def _outlook(self) -> object:
        """Whose view it is, and whatever else it was made with."""
        raise NotImplementedError


def write_state(state: Mapping[str, object]) -> bytes:
    """*state* in bytes; what is one object in it comes back as one."""
    body = BytesIO()
    writer = _Writer(body)
    writer.dump(state)
    shapes = [_shape_of(column) for column in writer.columns]
    named: _Named = (writer.places, shapes, body.tell(), sys.byteorder)
    pieces: list[bytes | memoryview | array[int]] = [pickle.dumps(named, _PROTOCOL), body.getbuffer(), *writer.columns]
    check = 0
    for piece in pieces:
        check = crc32(piece, check)
    return b"".join((check.to_bytes(_CHECK_BYTES, "big"), *pieces))


def read_state(state: bytes, classes: Sequence[type], recall: Recall) -> dict[str, Any] | None:
    """What ``write_state`` wrote, made of *classes* and of facts that *recall* reads back; None when it cannot be."""
    view = memoryview(state)
    if len(state) <= _CHECK_BYTES or crc32(view[_CHECK_BYTES:]) != int.from_bytes(state[:_CHECK_BYTES], "big"):
        return None
    stream = BytesIO(state)
    stream.seek(_CHECK_BYTES)
    try:
        named: _Named = _Reader(stream, (), (), ()).load()
        places, shapes, body_bytes, byte_order = named
        columns = _read_columns(view[stream.tell() + body_bytes :], shapes, byte_order)
        facts = _read_back(places, recall)
        kept = None if facts is None else _Reader(stream, classes, facts, columns).load()
    except _UNREADABLE:  # the history says it all again
        return None
    return kept if isinstance(kept, dict) else None


def _shape_of(column: array[int]) -> _Column:
    return column.typecode, column.itemsize, column.itemsize * len(column)


def _read_columns(data: memoryview, shapes: Sequence[_Column], byte_order: str) -> list[array[int]]:
    """The columns, one copy each. Raises ``ValueError`` for those of a machine that keeps numbers otherwise."""
    columns: list[array[int]] = []
    start = 0
    for letter, item_bytes, size in shapes:
        piece = data[start : start + size]
        column: array[int] = array(letter)
        if column.itemsize != item_bytes or len(piece) != size or byte_order != sys.byteorder:
            raise ValueError(f"a column of {size} bytes as {letter} does not fit this machine, or what is here")
        column.frombytes(piece)
        columns.append(column)
        start += size
    return columns


def _read_back(places: Sequence[_Place], recall: Recall) -> list[Fact] | None:
    """The facts at *places*; None when one is gone."""
    # In the order of the chains, so that each run is read once.
    found = recall(sorted({(ChainId(chain), seq) for chain, seq, _ in places})) if places else ()
    by_id = {bytes(get_record(fact).fact_id): fact for fact in found}
    facts = [by_id.get(fact_id) for _, _, fact_id in places]
    return None if None in facts else [fact for fact in facts if fact is not None]


class _Writer(pickle.Pickler):
    def __init__(self, file: BytesIO) -> None:
        super().__init__(file, _PROTOCOL)
        self._facts: dict[bytes, int] = {}
        self.places: list[_Place] = []
        self.columns: list[array[int]] = []

    def reducer_override(self, kept: object) -> Any:
        """Name a fact or a long column instead of writing it, and write a read-only mapping by what it shows."""
        if isinstance(kept, Fact):
            return fact_at, (self._number_of(kept),)
        if isinstance(kept, array) and _shape_of(kept)[2] >= _COLUMN_BYTES_MIN:
            self.columns.append(kept)
            return column_at, (len(self.columns) - 1,)
        if type(kept) is MappingProxyType:
            return read_only, (dict(kept),)
        return NotImplemented

    def _number_of(self, fact: Fact) -> int:
        record = get_record(fact)
        number = self._facts.setdefault(bytes(record.fact_id), len(self.places))
        if number == len(self.places):
            self.places.append((bytes(record.chain.chain), record.seq, bytes(record.fact_id)))
        return number


class _Reader(pickle.Unpickler):
    def __init__(
        self,
        file: BytesIO,
        classes: Sequence[type],
        facts: Sequence[Fact],
        columns: Sequence[array[int]],
    ) -> None:
        super().__init__(file)
        self._known: dict[tuple[str, str], Any] = {(each.__module__, each.__qualname__): each for each in classes}
        self._known |= _ALWAYS_KNOWN
        self._known[__name__, fact_at.__name__] = facts.__getitem__
        self._known[__name__, column_at.__name__] = columns.__getitem__

    def find_class(self, module: str, name: str) -> Any:
        """One of the classes that were named; Python's own would import anything."""
        found = self._known.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"a kept state holds {module}.{name}, which its view does not name")
        return found


def fact_at(number: int) -> Fact:
    """Stands in the bytes for a fact; the reader puts the facts it has read back in its place."""
    raise pickle.UnpicklingError(f"fact {number} of a kept state is read by its view only")


def column_at(number: int) -> array[int]:
    """Stands in the bytes for a long column; the reader puts the one behind them in its place."""
    raise pickle.UnpicklingError(f"column {number} of a kept state is read by its view only")


def read_only(mapping: dict[Any, Any]) -> Mapping[Any, Any]:
    """A mapping that nobody changes."""
    return MappingProxyType(mapping)


# An array is written as a call of a function that ``array`` does not export.
_NEW_ARRAY: Callable[..., array[int]] = array("q").__reduce_ex__(_PROTOCOL)[0]  # type: ignore[assignment]

_ALWAYS_KNOWN: Mapping[tuple[str, str], Any] = MappingProxyType(
    {
        (__name__, read_only.__name__): read_only,
        ("array", "array"): array,
        ("array", "_array_reconstructor"): _NEW_ARRAY,
    }
)


def _names_in(kept: type) -> str:
    """The names of its fields, so that a state of other fields is never taken for its own."""
    named = getattr(kept, "_fields", None) or getattr(kept, "__slots__", None) or getattr(kept, "__annotations__", None)
    first_set = getattr(kept.__init__, "__code__", None)  # type: ignore[misc]  # of a plain class: what it sets first
    return " ".join(named or (first_set.co_names if first_set is not None else ()))

"""``Join`` and ``Meet``: what a value promises that replicas can merge without asking who was first.

A *join* moves up: associative, commutative and idempotent, ``bottom`` is its identity, and ``a <= b`` means
``a.join(b) == b``. A *meet* moves down with the same laws, ``top`` is its identity, and ``a <= b`` means
``a.meet(b) == a``. ``antiphon.testing.laws`` checks them for any type, yours too.

Holds no state and decides nothing about exchange; that is ``crdt/`` and ``coordinator.py``. Values are immutable,
equal exactly when they mean the same, and have one canonical byte form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar, Protocol, Self, TypeVar

import orjson

from antiphon.facts import UnencodableFact, canonical_bytes
from antiphon.facts.encoding import INTEGER_MAX

from .crdt_errors import CrdtTypeMismatch, DeserializationFailed, SerializationFailed

# Sixteen of the largest frames a transport carries; beyond it a state wants deltas or facts instead.
STATE_BYTES_MAX = 16 * 1024 * 1024
# An actor is a device, and nobody has a hundred thousand; a clock that claims so is an attack on our memory.
ACTORS_MAX = 65_536


class Joinable(Protocol):
    """The least a convergent state needs: a join. ``JournalState`` is one."""

    def join(self, other: Self, /) -> Self:
        """The least value that is above both; changes neither."""
        ...


class Encodable(Protocol):
    """A value with a canonical form as JSON data (no floats), readable by another value of its type."""

    @property
    def lattice_name(self) -> str:
        """The type as written into the bytes, such as ``g_counter``."""
        ...

    def to_data(self) -> object:
        """JSON data with exactly one spelling for equal values."""
        ...

    def from_data(self, data: object, /) -> Self:
        """The value of this same lattice that *data* spells; raises ``ValueError`` (or what parsing raises)."""
        ...


class Join(Joinable, Encodable, Protocol):
    """A join-semilattice with a bottom, encodable."""

    def bottom(self) -> Self:
        """The identity of ``join`` in the lattice this value belongs to."""
        ...


class Meet(Encodable, Protocol):
    """A meet-semilattice with a top, encodable."""

    def meet(self, other: Self, /) -> Self:
        """The greatest value that is below both; changes neither."""
        ...

    def top(self) -> Self:
        """The identity of ``meet`` in the lattice this value belongs to."""
        ...


J = TypeVar("J", bound=Join)
M = TypeVar("M", bound=Meet)
E = TypeVar("E", bound=Encodable)
K = TypeVar("K")
T = TypeVar("T")


class JoinValue(ABC):
    """Base of the join types that ship: order, and deltas that are small values of the same type.

    A subclass gives ``lattice_name``, ``bottom``, ``join``, ``to_data`` and ``from_data``, and better ``delta_since``
    where a fragment is smaller than the whole.
    """

    __slots__ = ()
    lattice_name: ClassVar[str]

    @abstractmethod
    def bottom(self) -> Self:
        """The identity of ``join``."""

    @abstractmethod
    def join(self, other: Self, /) -> Self:
        """The least value that is above both."""

    @abstractmethod
    def to_data(self) -> object:
        """JSON data with exactly one spelling for equal values."""

    @abstractmethod
    def from_data(self, data: object, /) -> Self:
        """The value that *data* spells; raises ``ValueError``."""

    def delta_since(self, older: Self, /) -> Self | None:
        """A fragment d with ``older.join(d) == older.join(self)``; None when *older* has everything."""
        return None if self <= older else self

    def apply_delta(self, delta: Self, /) -> Self:
        """Take a fragment in; the same as joining it, so a repeated delta changes nothing."""
        return self.join(delta)

    def join_deltas(self, first: Self, second: Self, /) -> Self:
        """One fragment that says what both say."""
        return first.join(second)

    def delta_to_data(self, delta: Self, /) -> object:
        """A fragment as JSON data."""
        return delta.to_data()

    def delta_from_data(self, data: object, /) -> Self:
        """The fragment that *data* spells; raises ``ValueError``."""
        return self.from_data(data)

    def __le__(self, other: Self, /) -> bool:
        return self.join(other) == other


class MeetValue(ABC):
    """Base of the meet types that ship: it adds the order."""

    __slots__ = ()
    lattice_name: ClassVar[str]

    @abstractmethod
    def top(self) -> Self:
        """The identity of ``meet``."""

    @abstractmethod
    def meet(self, other: Self, /) -> Self:
        """The greatest value that is below both."""

    @abstractmethod
    def to_data(self) -> object:
        """JSON data with exactly one spelling for equal values."""

    @abstractmethod
    def from_data(self, data: object, /) -> Self:
        """The value that *data* spells; raises ``ValueError``."""

    def __le__(self, other: Self, /) -> bool:
        return self.meet(other) == self


def join_all(first: J, others: Iterable[J]) -> J:
    """Join any number of values of one lattice.

    >>> from antiphon.journal import MaxInt
    >>> join_all(MaxInt(1), [MaxInt(5), MaxInt(3)])
    MaxInt(value=5)
    """
    for other in others:
        first = first.join(other)
    return first


def meet_all(first: M, others: Iterable[M]) -> M:
    """Meet any number of values of one lattice."""
    for other in others:
        first = first.meet(other)
    return first


def check_same_lattice(mine: Encodable, other: Encodable) -> None:
    """Refuse to merge values of two lattices with ``CrdtTypeMismatch``."""
    if mine.lattice_name != other.lattice_name:
        raise CrdtTypeMismatch(expected=mine.lattice_name, actual=other.lattice_name)


def encode_state(state: Encodable) -> bytes:
    """The canonical bytes of a value, its type's name included. Raises ``SerializationFailed``.

    >>> from antiphon.journal import MaxInt
    >>> encode_state(MaxInt(5))
    b'{"lattice":"max_int","value":5}'
    """
    return encode_tagged("lattice", state.lattice_name, state.to_data())


def decode_state(prototype: E, data: bytes) -> E:
    """The value that ``encode_state`` wrote, of the same lattice as *prototype*.

    Costs a decode and an encode: another spelling of a good value is refused too, so equal states have equal bytes.
    Raises ``DeserializationFailed``, and ``CrdtTypeMismatch`` for the bytes of another lattice.
    """
    value = decode_tagged("lattice", prototype.lattice_name, data, prototype.from_data)
    if encode_state(value) != data:
        raise DeserializationFailed(target=prototype.lattice_name, detail="not the canonical spelling")
    return value


def encode_tagged(tag: str, name: str, data: object) -> bytes:
    """Canonical bytes of *data* under the name of its type. Raises ``SerializationFailed``."""
    try:
        encoded = canonical_bytes({tag: name, "value": data})
    except UnencodableFact as problem:
        raise SerializationFailed(f"{name} has no canonical form: {problem}") from problem
    if len(encoded) > STATE_BYTES_MAX:
        raise SerializationFailed(
            f"{name} takes {len(encoded)} bytes; at most {STATE_BYTES_MAX} travel in one piece, so keep less in it"
        )
    return encoded


def decode_tagged(tag: str, name: str, data: bytes, read: Callable[[object], T]) -> T:
    """What *read* makes of tagged bytes, every failure typed."""
    if len(data) > STATE_BYTES_MAX:
        raise DeserializationFailed(target=name, detail=f"{len(data)} bytes, more than {STATE_BYTES_MAX}")
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as problem:
        raise DeserializationFailed(target=name, detail=f"not JSON ({problem})") from problem
    if not isinstance(parsed, dict) or parsed.keys() != {tag, "value"} or not isinstance(parsed[tag], str):
        raise DeserializationFailed(target=name, detail=f"expected the keys {tag} and value")
    if parsed[tag] != name:
        raise CrdtTypeMismatch(expected=name, actual=parsed[tag])
    return guard_parsing(name, lambda: read(parsed["value"]))


def guard_parsing(target: str, parse: Callable[[], T]) -> T:
    """Run *parse*; what hostile data makes it raise becomes ``DeserializationFailed``."""
    try:
        return parse()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as problem:
        raise DeserializationFailed(target=target, detail=f"{type(problem).__name__}: {problem}") from problem


def freeze(entries: Mapping[K, T]) -> Mapping[K, T]:
    """A read-only copy."""
    return MappingProxyType(dict(entries))


def read_natural(data: object) -> int:
    """An integer from 0 to 2^63 - 1; raises ``ValueError``."""
    if type(data) is not int or not 0 <= data <= INTEGER_MAX:
        raise ValueError(f"expected an integer from 0 to 2^63-1, got {data!r:.80}")
    return data


def read_text(data: object) -> str:
    """Text; raises ``ValueError``."""
    if not isinstance(data, str):
        raise ValueError(f"expected text, got {data!r:.80}")
    return data


def read_list(data: object) -> list[object]:
    """A list; raises ``ValueError``."""
    if not isinstance(data, list):
        raise ValueError(f"expected a list, got {data!r:.80}")
    return data


def read_map(data: object) -> dict[str, object]:
    """A map with text keys; raises ``ValueError``."""
    if not isinstance(data, dict):
        raise ValueError(f"expected a map, got {data!r:.80}")
    return data


def read_texts(data: object) -> frozenset[str]:
    """A set of texts from a list; raises ``ValueError``."""
    return frozenset(read_text(item) for item in read_list(data))


def read_naturals(data: object) -> dict[str, int]:
    """A map from actor to count, at most 65,536 of them; raises ``ValueError``."""
    entries = read_map(data)
    if len(entries) > ACTORS_MAX:
        raise ValueError(f"{len(entries)} actors; at most {ACTORS_MAX} are taken")
    return {actor: read_natural(count) for actor, count in entries.items()}


def check_natural(name: str, value: int) -> None:
    """Refuse a local value outside 0..2^63-1 with ``ValueError``."""
    if not 0 <= value <= INTEGER_MAX:
        raise ValueError(f"{name} is {value}; expected 0..2^63-1, the integers that have a canonical form")

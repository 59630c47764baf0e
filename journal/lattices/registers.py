"""Values that the last writer wins, under one total order: (time, actor, removal, canonical bytes).

Ties in time fall to the larger actor, and ties in both to the larger bytes, so no two writes are ever incomparable.
Reads no clock: the writer brings its time, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import orjson

from antiphon.facts import canonical_bytes
from antiphon.facts.encoding import INTEGER_MAX, INTEGER_MIN

from ..lattice import JoinValue, freeze, read_list, read_map, read_text

# As large a map as one frame of short entries holds; more belongs into facts.
ENTRIES_MAX = 65_536


class Write(NamedTuple):
    """One write; tuples compare in exactly the order that decides. ``encoded`` is the value's canonical JSON."""

    at: int
    actor: str
    is_removal: bool
    encoded: bytes

    @property
    def value(self) -> object:
        """The value as JSON data; None for a removal."""
        return orjson.loads(self.encoded)


def make_write(value: object, *, at: int, actor: str) -> Write:
    """A write of JSON data; ``UnencodableFact`` for what has no canonical form."""
    return Write(check_time(at), actor, False, canonical_bytes(value))


def make_removal(*, at: int, actor: str) -> Write:
    """A write that takes the value away; at one time and actor it beats any value."""
    return Write(check_time(at), actor, True, b"null")


def check_time(at: int) -> int:
    """Refuse a time beyond 64 bits, which could not be written down."""
    if not INTEGER_MIN <= at <= INTEGER_MAX:
        raise ValueError(f"the time {at} is beyond 64 bits; expected milliseconds since 1970")
    return at


def write_to_data(write: Write) -> object:
    """JSON data of a write."""
    return [write.at, write.actor, write.is_removal, write.encoded.decode()]


def read_write(data: object) -> Write:
    """The write that *data* spells; raises ``ValueError``."""
    at, actor, is_removal, text = read_list(data)
    if type(at) is not int or not isinstance(is_removal, bool):
        raise ValueError(f"expected [time, actor, is_removal, value], got {data!r:.80}")
    encoded = read_text(text).encode()
    if canonical_bytes(orjson.loads(encoded)) != encoded or (is_removal and encoded != b"null"):
        raise ValueError(f"expected the canonical spelling of a value, got {encoded[:80]!r}")
    return Write(check_time(at), read_text(actor), is_removal, encoded)


@dataclass(frozen=True, slots=True)
class LWWRegister(JoinValue):
    """One value, or none yet; the greatest write is kept.

    >>> here = LWWRegister().set("red", at=5, actor="ada")
    >>> there = LWWRegister().set("blue", at=5, actor="ben")
    >>> here.join(there).value
    'blue'
    """

    lattice_name: ClassVar[str] = "lww_register"
    write: Write | None = None

    @property
    def value(self) -> object:
        """The value as JSON data; None while unset, or when None was written."""
        return None if self.write is None else self.write.value

    def set(self, value: object, *, at: int, actor: str) -> LWWRegister:
        """The register after a write, which loses when it is older than what is there."""
        return self.join(LWWRegister(make_write(value, at=at, actor=actor)))

    def bottom(self) -> LWWRegister:
        """Unset."""
        return LWWRegister()

    def join(self, other: LWWRegister) -> LWWRegister:
        """The greater write."""
        if self.write is None or other.write is None:
            return self if other.write is None else other
        return self if other.write <= self.write else other

    def to_data(self) -> object:
        """The write, or null."""
        return None if self.write is None else write_to_data(self.write)

    def from_data(self, data: object) -> LWWRegister:
        """Read what ``to_data`` wrote."""
        write = None if data is None else read_write(data)
        if write is not None and write.is_removal:
            raise ValueError("a register has no removals; write null")
        return LWWRegister(write)


@dataclass(frozen=True, slots=True)
class LWWMap(JoinValue):
    """A map from text to JSON data, each key a last-writer-wins register; removals stay, so nothing rises again.

    >>> here = LWWMap().set("topic", "tea", at=1, actor="ada").remove("topic", at=2, actor="ada")
    >>> late = LWWMap().set("topic", "old", at=1, actor="zoe")
    >>> dict(here.join(late).items())
    {}
    """

    lattice_name: ClassVar[str] = "lww_map"
    writes: Mapping[str, Write] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "writes", freeze(self.writes))

    def get(self, key: str) -> object:
        """The value of *key*, or None."""
        write = self.writes.get(key)
        return None if write is None else write.value

    def items(self) -> Iterator[tuple[str, object]]:
        """What is there, in the order of the keys."""
        return ((key, write.value) for key, write in sorted(self.writes.items()) if not write.is_removal)

    def __contains__(self, key: str) -> bool:
        return key in self.writes and not self.writes[key].is_removal

    def set(self, key: str, value: object, *, at: int, actor: str) -> LWWMap:
        """The map after a write; ``ValueError`` for one key too many (removed ones count)."""
        return self._with(key, make_write(value, at=at, actor=actor))

    def remove(self, key: str, *, at: int, actor: str) -> LWWMap:
        """The map after a removal."""
        return self._with(key, make_removal(at=at, actor=actor))

    def bottom(self) -> LWWMap:
        """Nothing was ever written."""
        return LWWMap()

    def join(self, other: LWWMap) -> LWWMap:
        """The greater write of each key."""
        joined = dict(self.writes)
        for key, write in other.writes.items():
            mine = joined.get(key)
            if mine is None or mine < write:
                joined[key] = write
        return LWWMap(joined)

    def __le__(self, other: LWWMap) -> bool:
        return all(key in other.writes and write <= other.writes[key] for key, write in self.writes.items())

    def delta_since(self, older: LWWMap) -> LWWMap | None:
        """The writes that are greater than what *older* has."""
        newer = {
            key: write for key, write in self.writes.items() if key not in older.writes or write > older.writes[key]
        }
        return LWWMap(newer) if newer else None

    def to_data(self) -> object:
        """The writes by key."""
        return {key: write_to_data(write) for key, write in self.writes.items()}

    def from_data(self, data: object) -> LWWMap:
        """Read what ``to_data`` wrote."""
        return LWWMap({key: read_write(write) for key, write in read_map(data).items()})

    def _with(self, key: str, write: Write) -> LWWMap:
        if key not in self.writes and len(self.writes) >= ENTRIES_MAX:
            raise ValueError(f"the map has {ENTRIES_MAX} keys already; keep larger things as facts")
        return self.join(LWWMap({key: write}))

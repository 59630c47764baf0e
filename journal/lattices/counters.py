"""Numbers that replicas change at once: the largest wins, or everybody's share is counted.

Decides nothing about who may count; an actor only ever raises its own entry, and that is the caller's promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..lattice import JoinValue, check_natural, freeze, read_map, read_natural, read_naturals


@dataclass(frozen=True, slots=True)
class MaxInt(JoinValue):
    """A number from 0 to 2^63 - 1 that only rises.

    >>> MaxInt(3).join(MaxInt(7))
    MaxInt(value=7)
    """

    lattice_name: ClassVar[str] = "max_int"
    value: int = 0

    def __post_init__(self) -> None:
        check_natural("a MaxInt", self.value)

    def bottom(self) -> MaxInt:
        """Zero."""
        return MaxInt()

    def join(self, other: MaxInt) -> MaxInt:
        """The larger."""
        return self if other.value <= self.value else other

    def to_data(self) -> object:
        """The number."""
        return self.value

    def from_data(self, data: object) -> MaxInt:
        """Read what ``to_data`` wrote."""
        return MaxInt(read_natural(data))


@dataclass(frozen=True, slots=True)
class GCounter(JoinValue):
    """A count to which every actor adds; each entry is what one actor has added in all.

    >>> here, there = GCounter().add("ada", 5), GCounter().add("ben", 7)
    >>> here.join(there).value
    12
    """

    lattice_name: ClassVar[str] = "g_counter"
    entries: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for actor, count in self.entries.items():
            check_natural(f"the count of {actor!r}", count)
        object.__setattr__(self, "entries", freeze({actor: count for actor, count in self.entries.items() if count}))

    @property
    def value(self) -> int:
        """The sum over all actors."""
        return sum(self.entries.values())

    def get(self, actor: str) -> int:
        """What *actor* has added."""
        return self.entries.get(actor, 0)

    def add(self, actor: str, amount: int = 1) -> GCounter:
        """The count after *actor* has added *amount*; ``ValueError`` for a negative one."""
        check_natural("what is added", amount)
        return GCounter({**self.entries, actor: self.get(actor) + amount})

    def bottom(self) -> GCounter:
        """Nobody has counted."""
        return GCounter()

    def join(self, other: GCounter) -> GCounter:
        """The larger of each entry."""
        return GCounter({actor: max(self.get(actor), other.get(actor)) for actor in {*self.entries, *other.entries}})

    def __le__(self, other: GCounter) -> bool:
        return all(count <= other.get(actor) for actor, count in self.entries.items())

    def delta_since(self, older: GCounter) -> GCounter | None:
        """The entries that rose."""
        risen = {actor: count for actor, count in self.entries.items() if count > older.get(actor)}
        return GCounter(risen) if risen else None

    def to_data(self) -> object:
        """A map from actor to count."""
        return dict(self.entries)

    def from_data(self, data: object) -> GCounter:
        """Read what ``to_data`` wrote."""
        return GCounter(read_naturals(data))


@dataclass(frozen=True, slots=True)
class PNCounter(JoinValue):
    """A count that every actor raises and lowers: two counts that only rise.

    >>> PNCounter().add("ada", 5).subtract("ben", 7).value
    -2
    """

    lattice_name: ClassVar[str] = "pn_counter"
    added: GCounter = field(default_factory=GCounter)
    subtracted: GCounter = field(default_factory=GCounter)

    @property
    def value(self) -> int:
        """What was added less what was subtracted."""
        return self.added.value - self.subtracted.value

    def add(self, actor: str, amount: int = 1) -> PNCounter:
        """The count after *actor* has added *amount*."""
        return PNCounter(self.added.add(actor, amount), self.subtracted)

    def subtract(self, actor: str, amount: int = 1) -> PNCounter:
        """The count after *actor* has subtracted *amount*."""
        return PNCounter(self.added, self.subtracted.add(actor, amount))

    def bottom(self) -> PNCounter:
        """Nobody has counted."""
        return PNCounter()

    def join(self, other: PNCounter) -> PNCounter:
        """The join of both halves."""
        return PNCounter(self.added.join(other.added), self.subtracted.join(other.subtracted))

    def __le__(self, other: PNCounter) -> bool:
        return self.added <= other.added and self.subtracted <= other.subtracted

    def delta_since(self, older: PNCounter) -> PNCounter | None:
        """The entries that rose, in either half."""
        if self <= older:
            return None
        return PNCounter(
            self.added.delta_since(older.added) or GCounter(),
            self.subtracted.delta_since(older.subtracted) or GCounter(),
        )

    def to_data(self) -> object:
        """Both halves."""
        return {"added": self.added.to_data(), "subtracted": self.subtracted.to_data()}

    def from_data(self, data: object) -> PNCounter:
        """Read what ``to_data`` wrote."""
        parts = read_map(data)
        return PNCounter(self.added.from_data(parts["added"]), self.subtracted.from_data(parts["subtracted"]))

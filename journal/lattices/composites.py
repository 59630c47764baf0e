"""Lattices made of lattices: products, maps, and a lattice turned upside down.

The parts obey the laws or these do not; nothing here checks that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..lattice import Join, JoinValue, Meet, MeetValue, check_same_lattice, freeze, read_list, read_map

J = TypeVar("J", bound=Join)
M = TypeVar("M", bound=Meet)


@dataclass(frozen=True, slots=True)
class ProductLattice(JoinValue):
    """Several lattices side by side, joined part by part.

    >>> from antiphon.journal import GSet, MaxInt
    >>> pair = ProductLattice((MaxInt(3), GSet(["a"]))).join(ProductLattice((MaxInt(1), GSet(["b"]))))
    >>> pair.parts[0]
    MaxInt(value=3)
    """

    parts: tuple[Join, ...]

    @property
    def lattice_name(self) -> str:  # type: ignore[override]  # it depends on the parts
        """The names of the parts."""
        return f"product({','.join(part.lattice_name for part in self.parts)})"

    def bottom(self) -> ProductLattice:
        """The bottoms of the parts."""
        return ProductLattice(tuple(part.bottom() for part in self.parts))

    def join(self, other: ProductLattice) -> ProductLattice:
        """The joins of the parts; ``CrdtTypeMismatch`` when they are others."""
        check_same_lattice(self, other)
        return ProductLattice(tuple(mine.join(theirs) for mine, theirs in zip(self.parts, other.parts, strict=True)))

    def to_data(self) -> object:
        """The parts, in order."""
        return [part.to_data() for part in self.parts]

    def from_data(self, data: object) -> ProductLattice:
        """Read what ``to_data`` wrote."""
        return ProductLattice(
            tuple(part.from_data(item) for part, item in zip(self.parts, read_list(data), strict=True))
        )


@dataclass(frozen=True, slots=True)
class MapLattice(JoinValue, Generic[J]):
    """A map from text to values of one lattice; a missing key is that lattice's bottom.

    >>> from antiphon.journal import MaxInt
    >>> votes = MapLattice(MaxInt(), {"tea": MaxInt(2)}).join(MapLattice(MaxInt(), {"tea": MaxInt(5)}))
    >>> votes.get("tea"), votes.get("milk")
    (MaxInt(value=5), MaxInt(value=0))
    """

    default: J
    entries: Mapping[str, J] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bottom = self.default.bottom()
        for value in self.entries.values():
            check_same_lattice(bottom, value)
        object.__setattr__(self, "default", bottom)
        object.__setattr__(
            self, "entries", freeze({key: value for key, value in self.entries.items() if value != bottom})
        )

    @property
    def lattice_name(self) -> str:  # type: ignore[override]  # it depends on the values
        """The name of the values' lattice."""
        return f"map({self.default.lattice_name})"

    def get(self, key: str) -> J:
        """The value of *key*."""
        return self.entries.get(key, self.default)

    def set(self, key: str, value: J) -> MapLattice[J]:
        """The map with *value* joined into *key*."""
        return self.join(MapLattice(self.default, {key: value}))

    def bottom(self) -> MapLattice[J]:
        """The empty map."""
        return MapLattice(self.default)

    def join(self, other: MapLattice[J]) -> MapLattice[J]:
        """The joins of the values; ``CrdtTypeMismatch`` when they are of another lattice."""
        check_same_lattice(self, other)
        joined = dict(self.entries)
        for key, value in other.entries.items():
            joined[key] = joined[key].join(value) if key in joined else value
        return MapLattice(self.default, joined)

    def delta_since(self, older: MapLattice[J]) -> MapLattice[J] | None:
        """The entries that *older* does not cover."""
        moved = {key: value for key, value in self.entries.items() if older.get(key).join(value) != older.get(key)}
        return MapLattice(self.default, moved) if moved else None

    def to_data(self) -> object:
        """The entries by key."""
        return {key: value.to_data() for key, value in self.entries.items()}

    def from_data(self, data: object) -> MapLattice[J]:
        """Read what ``to_data`` wrote."""
        return MapLattice(self.default, {key: self.default.from_data(item) for key, item in read_map(data).items()})


@dataclass(frozen=True, slots=True)
class ProductMeet(MeetValue):
    """Several constraints side by side, met part by part."""

    parts: tuple[Meet, ...]

    @property
    def lattice_name(self) -> str:  # type: ignore[override]  # it depends on the parts
        """The names of the parts."""
        return f"product_meet({','.join(part.lattice_name for part in self.parts)})"

    def top(self) -> ProductMeet:
        """The tops of the parts."""
        return ProductMeet(tuple(part.top() for part in self.parts))

    def meet(self, other: ProductMeet) -> ProductMeet:
        """The meets of the parts; ``CrdtTypeMismatch`` when they are others."""
        check_same_lattice(self, other)
        return ProductMeet(tuple(mine.meet(theirs) for mine, theirs in zip(self.parts, other.parts, strict=True)))

    def to_data(self) -> object:
        """The parts, in order."""
        return [part.to_data() for part in self.parts]

    def from_data(self, data: object) -> ProductMeet:
        """Read what ``to_data`` wrote."""
        return ProductMeet(tuple(part.from_data(item) for part, item in zip(self.parts, read_list(data), strict=True)))


@dataclass(frozen=True, slots=True)
class JoinToDual(MeetValue, Generic[J]):
    """A join lattice turned upside down: its join is this one's meet, its bottom this one's top.

    >>> from antiphon.journal import MaxInt
    >>> JoinToDual(MaxInt(3)).meet(JoinToDual(MaxInt(5))).value
    MaxInt(value=5)
    """

    value: J

    @property
    def lattice_name(self) -> str:  # type: ignore[override]  # it depends on the value
        """The name of what is turned."""
        return f"dual({self.value.lattice_name})"

    def top(self) -> JoinToDual[J]:
        """The bottom of what is turned."""
        return JoinToDual(self.value.bottom())

    def meet(self, other: JoinToDual[J]) -> JoinToDual[J]:
        """The join of what is turned."""
        return JoinToDual(self.value.join(other.value))

    def to_data(self) -> object:
        """The data of what is turned."""
        return self.value.to_data()

    def from_data(self, data: object) -> JoinToDual[J]:
        """Read what ``to_data`` wrote."""
        return JoinToDual(self.value.from_data(data))


@dataclass(frozen=True, slots=True)
class MeetToDual(JoinValue, Generic[M]):
    """A meet lattice turned upside down: its meet is this one's join, its top this one's bottom."""

    value: M

    @property
    def lattice_name(self) -> str:  # type: ignore[override]  # it depends on the value
        """The name of what is turned."""
        return f"dual({self.value.lattice_name})"

    def bottom(self) -> MeetToDual[M]:
        """The top of what is turned."""
        return MeetToDual(self.value.top())

    def join(self, other: MeetToDual[M]) -> MeetToDual[M]:
        """The meet of what is turned."""
        return MeetToDual(self.value.meet(other.value))

    def to_data(self) -> object:
        """The data of what is turned."""
        return self.value.to_data()

    def from_data(self, data: object) -> MeetToDual[M]:
        """Read what ``to_data`` wrote."""
        return MeetToDual(self.value.from_data(data))

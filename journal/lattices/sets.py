"""Sets of texts: one that only grows, and one from which what was seen can be removed.

Elements are text, since text has one canonical order; write other things as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..causality import DotContext, OperationId, read_dot
from ..lattice import JoinValue, freeze, read_list, read_map, read_texts

# A fragment that would name more dots than this is larger than the set; then the whole set is the fragment.
FRAGMENT_DOTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class GSet(JoinValue):
    """A set that only grows.

    >>> sorted(GSet(["a"]).join(GSet(["b"])).items)
    ['a', 'b']
    """

    lattice_name: ClassVar[str] = "g_set"
    items: frozenset[str]

    def __init__(self, items: Iterable[str] = ()) -> None:
        object.__setattr__(self, "items", frozenset(items))

    def add(self, item: str) -> GSet:
        """The set with *item* in it."""
        return GSet(self.items | {item})

    def bottom(self) -> GSet:
        """The empty set."""
        return GSet()

    def join(self, other: GSet) -> GSet:
        """The union."""
        return GSet(self.items | other.items)

    def __le__(self, other: GSet) -> bool:
        return self.items <= other.items

    def delta_since(self, older: GSet) -> GSet | None:
        """The new items."""
        new = self.items - older.items
        return GSet(new) if new else None

    def to_data(self) -> object:
        """The sorted items."""
        return sorted(self.items)

    def from_data(self, data: object) -> GSet:
        """Read what ``to_data`` wrote."""
        return GSet(read_texts(data))


@dataclass(frozen=True, slots=True)
class ORSet(JoinValue):
    """A set in which adding wins: a remove takes away the additions it has seen, and no others.

    ``entries`` holds the living dots of each element, ``context`` every dot ever seen; a removed dot is in the context
    and in no entry, so there are no tombstones to keep.

    >>> base = ORSet().add("ada", "milk")
    >>> gone, again = base.remove("milk"), base.add("ben", "milk")
    >>> "milk" in gone, "milk" in gone.join(again)
    (False, True)
    """

    lattice_name: ClassVar[str] = "or_set"
    entries: Mapping[str, frozenset[OperationId]] = field(default_factory=dict)
    context: DotContext = field(default_factory=DotContext)

    def __post_init__(self) -> None:
        living = {item: frozenset(dots) for item, dots in self.entries.items() if dots}
        count = sum(len(dots) for dots in living.values())
        every = frozenset(dot for dots in living.values() for dot in dots)
        if len(every) != count or not all(self.context.contains(dot) for dot in every):
            raise ValueError("every living dot of an ORSet belongs to one element and to the context")
        object.__setattr__(self, "entries", freeze(living))

    @property
    def items(self) -> frozenset[str]:
        """What is in."""
        return frozenset(self.entries)

    def __contains__(self, item: str) -> bool:
        return item in self.entries

    def add(self, actor: str, item: str) -> ORSet:
        """The set after *actor* has added *item*; the new dot replaces those it has seen."""
        dot = self.context.next_dot(actor)
        return ORSet({**self.entries, item: frozenset({dot})}, self.context.join(DotContext.of([dot])))

    def remove(self, item: str) -> ORSet:
        """The set without *item*; unchanged when it was not in."""
        return ORSet({other: dots for other, dots in self.entries.items() if other != item}, self.context)

    def bottom(self) -> ORSet:
        """Empty, and nothing was ever in."""
        return ORSet()

    def join(self, other: ORSet) -> ORSet:
        """A dot lives on when both have it, or one has it and the other has never seen it."""
        living: dict[str, frozenset[OperationId]] = {}
        for item in {*self.entries, *other.entries}:
            mine, theirs = self.entries.get(item, frozenset()), other.entries.get(item, frozenset())
            living[item] = frozenset(
                {dot for dot in mine if dot in theirs or not other.context.contains(dot)}
                | {dot for dot in theirs if not self.context.contains(dot)}
            )
        return ORSet(living, self.context.join(other.context))

    def delta_since(self, older: ORSet) -> ORSet | None:
        """The new dots, living or not, and the old ones that were removed; the whole set when they are very many."""
        new = self.context.missing_from(older.context, count_max=FRAGMENT_DOTS_MAX)
        if new is None:
            return self
        # Element by element, so that even a dot that two authors gave to two elements ends as it does in a join.
        removed = frozenset(
            dot
            for item, dots in older.entries.items()
            for dot in dots - self.entries.get(item, frozenset())
            if self.context.contains(dot)
        )
        if not new and not removed:
            return None
        return ORSet({item: dots & new for item, dots in self.entries.items()}, DotContext.of(new | removed))

    def to_data(self) -> object:
        """The living dots by element, sorted, and the context."""
        entries = {item: [list(dot) for dot in sorted(dots)] for item, dots in self.entries.items()}
        return {"context": self.context.to_data(), "entries": entries}

    def from_data(self, data: object) -> ORSet:
        """Read what ``to_data`` wrote."""
        parts = read_map(data)
        entries = {
            item: frozenset(read_dot(dot) for dot in read_list(dots))
            for item, dots in read_map(parts["entries"]).items()
        }
        return ORSet(entries, self.context.from_data(parts["context"]))

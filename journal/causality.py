"""Causality without clocks: version vectors, sets of dots, and the causal context of an operation.

A *dot* is one piece of work of one actor: (actor, number), numbered from 1 without gaps. Knows no wall time, and does
not decide what to do about work that is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Self

from antiphon.facts.encoding import INTEGER_MAX

from .lattice import (
    ACTORS_MAX,
    JoinValue,
    check_natural,
    freeze,
    read_list,
    read_map,
    read_natural,
    read_naturals,
    read_text,
)


class OperationId(NamedTuple):
    """A dot: which actor, and the how-manieth piece of its work."""

    actor: str
    sequence: int


@dataclass(frozen=True, slots=True)
class VectorClock(JoinValue):
    """How far each actor has been seen; an actor that is not named stands at 0.

    >>> ada, ben = VectorClock({"ada": 2}), VectorClock({"ben": 1})
    >>> ada.is_concurrent_with(ben), ada.join(ben) == VectorClock({"ada": 2, "ben": 1})
    (True, True)
    """

    lattice_name: ClassVar[str] = "vector_clock"
    entries: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for actor, count in self.entries.items():
            check_natural(f"the clock entry of {actor!r}", count)
        object.__setattr__(self, "entries", freeze({actor: count for actor, count in self.entries.items() if count}))

    def get(self, actor: str) -> int:
        """How far *actor* has been seen."""
        return self.entries.get(actor, 0)

    def increment(self, actor: str) -> VectorClock:
        """The clock after one more piece of work of *actor*; ``OverflowError`` at 2^63 - 1."""
        if self.get(actor) >= INTEGER_MAX:
            raise OverflowError(f"the clock entry of {actor!r} is at its end; go on under a new actor")
        return VectorClock({**self.entries, actor: self.get(actor) + 1})

    def contains(self, dot: OperationId) -> bool:
        """Whether that piece of work has been seen."""
        return dot.sequence <= self.get(dot.actor)

    @property
    def lamport(self) -> int:
        """The largest entry: a number that rises along every chain of causes."""
        return max(self.entries.values(), default=0)

    @property
    def total(self) -> int:
        """How many pieces of work have been seen in all."""
        return sum(self.entries.values())

    def happens_before(self, other: VectorClock) -> bool:
        """Whether *other* has seen all of this and more."""
        return self != other and self <= other

    def is_concurrent_with(self, other: VectorClock) -> bool:
        """Whether neither has seen all of the other."""
        return not self <= other and not other <= self

    def __le__(self, other: Self) -> bool:
        return all(count <= other.get(actor) for actor, count in self.entries.items())

    def bottom(self) -> VectorClock:
        """Nothing has been seen."""
        return VectorClock()

    def join(self, other: VectorClock) -> VectorClock:
        """The larger of each entry."""
        if other <= self:
            return self
        return VectorClock({actor: max(self.get(actor), other.get(actor)) for actor in {*self.entries, *other.entries}})

    def meet(self, other: VectorClock) -> VectorClock:
        """The smaller of each entry: what both have seen."""
        return VectorClock({actor: min(count, other.get(actor)) for actor, count in self.entries.items()})

    def delta_since(self, older: VectorClock) -> VectorClock | None:
        """The entries that moved."""
        moved = {actor: count for actor, count in self.entries.items() if count > older.get(actor)}
        return VectorClock(moved) if moved else None

    def to_data(self) -> object:
        """A map from actor to count."""
        return dict(self.entries)

    def from_data(self, data: object) -> VectorClock:
        """Read what ``to_data`` wrote."""
        return VectorClock(read_naturals(data))


@dataclass(frozen=True, slots=True)
class DotContext(JoinValue):
    """Any set of dots, kept small: all up to ``clock``, and a ``cloud`` of those beyond the first gap.

    Always in normal form: a dot of the cloud that closes its gap moves into the clock. O(dots) to build, O(1) to ask.

    >>> DotContext.of([OperationId("ada", 1), OperationId("ada", 3)]).contains(OperationId("ada", 2))
    False
    """

    lattice_name: ClassVar[str] = "dot_context"
    clock: VectorClock = field(default_factory=VectorClock)
    cloud: frozenset[OperationId] = frozenset()

    def __post_init__(self) -> None:
        counts = dict(self.clock.entries)
        kept: set[OperationId] = set()
        for actor, sequence in sorted(self.cloud):
            check_natural(f"the number of a dot of {actor!r}", sequence)
            if sequence == counts.get(actor, 0) + 1:
                counts[actor] = sequence
            elif sequence > counts.get(actor, 0):
                kept.add(OperationId(actor, sequence))
        object.__setattr__(self, "clock", VectorClock(counts))
        object.__setattr__(self, "cloud", frozenset(kept))

    @classmethod
    def of(cls, dots: Iterable[OperationId]) -> DotContext:
        """The context that holds exactly *dots*."""
        return cls(VectorClock(), frozenset(dots))

    def contains(self, dot: OperationId) -> bool:
        """Whether the dot is in."""
        return self.clock.contains(dot) or dot in self.cloud

    def next_dot(self, actor: str) -> OperationId:
        """The first dot of *actor* that was never used here."""
        beyond = max((dot.sequence for dot in self.cloud if dot.actor == actor), default=0)
        return OperationId(actor, max(self.clock.get(actor), beyond) + 1)

    def bottom(self) -> DotContext:
        """The empty set."""
        return DotContext()

    def join(self, other: DotContext) -> DotContext:
        """The union."""
        return DotContext(self.clock.join(other.clock), self.cloud | other.cloud)

    def missing_from(self, older: DotContext, *, count_max: int) -> frozenset[OperationId] | None:
        """The dots that *older* lacks, or None when they are more than *count_max*."""
        ranges = {actor: (older.clock.get(actor), count) for actor, count in self.clock.entries.items()}
        if sum(max(0, stop - start) for start, stop in ranges.values()) > count_max:
            return None
        dots = {OperationId(actor, number) for actor, (a, b) in ranges.items() for number in range(a + 1, b + 1)}
        return frozenset(dot for dot in dots | self.cloud if not older.contains(dot))

    def to_data(self) -> object:
        """The clock and the sorted cloud."""
        return {"clock": self.clock.to_data(), "cloud": [list(dot) for dot in sorted(self.cloud)]}

    def from_data(self, data: object) -> DotContext:
        """Read what ``to_data`` wrote."""
        parts = read_map(data)
        cloud = frozenset(read_dot(dot) for dot in read_list(parts["cloud"]))
        return DotContext(self.clock.from_data(parts["clock"]), cloud)


def read_dot(data: object) -> OperationId:
    """A dot from its pair; raises ``ValueError``."""
    actor, sequence = read_list(data)
    if not read_natural(sequence):
        raise ValueError("dots are numbered from 1")
    return OperationId(read_text(actor), read_natural(sequence))


# An operation that names more causes than there are actors names most of them twice.
DEPENDENCIES_MAX = ACTORS_MAX


@dataclass(frozen=True, slots=True)
class CausalContext:
    """What an operation may rely on: its own place, what its author had applied, and causes named one by one.

    ``clock`` includes the operation itself, so ``clock.get(actor)`` is its number.

    >>> first = CausalContext("ada", VectorClock({"ada": 1}))
    >>> first.is_ready(VectorClock()), first.operation_id
    (True, OperationId(actor='ada', sequence=1))
    """

    actor: str
    clock: VectorClock
    dependencies: frozenset[OperationId] = frozenset()

    def __post_init__(self) -> None:
        if not self.clock.get(self.actor):
            raise ValueError(f"the clock of an operation of {self.actor!r} must count that operation; it has no entry")
        if self.operation_id in self.dependencies:
            raise ValueError(f"operation {self.operation_id} depends on itself")

    @property
    def operation_id(self) -> OperationId:
        """The dot of the operation."""
        return OperationId(self.actor, self.clock.get(self.actor))

    def is_ready(self, applied: VectorClock) -> bool:
        """Whether a replica that has applied *applied* may apply this next.

        The author's own entry must be exactly one behind (two operations of one author never swap), every other entry
        reached, and every named cause applied.
        """
        return (
            applied.get(self.actor) + 1 == self.operation_id.sequence
            and all(count <= applied.get(actor) for actor, count in self.clock.entries.items() if actor != self.actor)
            and all(applied.contains(cause) for cause in self.dependencies)
        )

    def happens_before(self, other: CausalContext) -> bool:
        """Whether the author of *other* had applied this."""
        return self.operation_id != other.operation_id and other.clock.contains(self.operation_id)

    def is_concurrent_with(self, other: CausalContext) -> bool:
        """Whether neither author had applied the other's operation."""
        return (
            self.operation_id != other.operation_id
            and not self.happens_before(other)
            and not other.happens_before(self)
        )

    def to_data(self) -> object:
        """JSON data, for the wire."""
        return {
            "actor": self.actor,
            "after": [list(dot) for dot in sorted(self.dependencies)],
            "clock": self.clock.to_data(),
        }

    @classmethod
    def from_data(cls, data: object) -> CausalContext:
        """Read what ``to_data`` wrote; raises ``ValueError``."""
        parts = read_map(data)
        causes = read_list(parts["after"])
        if len(causes) > DEPENDENCIES_MAX:
            raise ValueError(f"{len(causes)} named causes; at most {DEPENDENCIES_MAX} are taken")
        return cls(
            read_text(parts["actor"]), VectorClock().from_data(parts["clock"]), frozenset(read_dot(c) for c in causes)
        )

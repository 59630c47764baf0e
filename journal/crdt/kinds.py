"""The four kinds of CRDT, what each asks of its exchange, and what a handler tells about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ..lattice import freeze


class CrdtKind(Enum):
    """How a state is merged, and so what has to travel.

    >>> CrdtKind.COMMUTATIVE.requires_causal_ordering, CrdtKind.MEET.uses_join
    (True, False)
    """

    CONVERGENT = "convergent"
    DELTA = "delta"
    COMMUTATIVE = "commutative"
    MEET = "meet"

    @property
    def uses_join(self) -> bool:
        """Whether replicas merge by a join."""
        return self in (CrdtKind.CONVERGENT, CrdtKind.DELTA)

    @property
    def uses_meet(self) -> bool:
        """Whether replicas merge by a meet."""
        return self is CrdtKind.MEET

    @property
    def requires_causal_ordering(self) -> bool:
        """Whether causes must be applied before effects."""
        return self is CrdtKind.COMMUTATIVE

    @property
    def guidance(self) -> str:
        """When to choose this kind."""
        return _GUIDANCE[self]


_GUIDANCE = {
    CrdtKind.CONVERGENT: "small state that changes rarely: send all of it, in any order, as often as you like",
    CrdtKind.DELTA: "frequent small changes to a large state: send fragments, and all of it to whoever is far behind",
    CrdtKind.COMMUTATIVE: "edits that carry an intent: send each once, after its causes",
    CrdtKind.MEET: "permissions, quotas and policies that may only narrow: send constraints",
}


@dataclass(frozen=True, slots=True)
class HandlerDiagnostics:
    """The insides of a handler: nothing waits when ``is_idle``; ``metrics`` are counts."""

    semantics: CrdtKind
    pending_count: int
    metrics: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", freeze(self.metrics))

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be applied."""
        return self.pending_count == 0

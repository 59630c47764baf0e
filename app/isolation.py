"""What a query may see: everything here, what was agreed, what was pinned, or what is newest.

Values only; `app/unified_handler.py` acts on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from antiphon.facts import LocalViolation
from antiphon.journal import AgreementLevel, Consistency

# As long as a person waits for a ceremony before asking what became of it.
CONSENSUS_TIMEOUT_S = 30.0
# A pinned snapshot shares what did not change with the present; a hundred forgotten ones are still small.
SNAPSHOTS_MAX = 100


class SnapshotNotFound(LocalViolation, LookupError):
    """The pinned snapshot is not here (any more), or does not hold what the query reads."""


class UnsupportedIsolation(LocalViolation):
    """This query cannot be answered at this level."""


@dataclass(frozen=True, slots=True)
class ReadUncommitted:
    """Everything that is durable here, agreed upon or not; never waits."""


@dataclass(frozen=True, slots=True)
class ReadCommitted:
    """Only facts that reached an agreement, after waiting for *wait_for* (fact ids) to reach it.

    What is agreed is said by the facts of the journal (a channel's epochs, certificates and consensus: durable, and the
    same on every replica), and by what the application noted in the handler's book. Costs a read of those facts, and a
    fold of the members of the view's kinds in a thread, or one pass of DuckDB over them for SQL.
    """

    wait_for: tuple[str, ...] = ()
    level: AgreementLevel = AgreementLevel.SOFT_SAFE
    timeout_s: float = CONSENSUS_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class AtSnapshot:
    """What was pinned: the same answer however many commits follow."""

    prestate_hash: str


@dataclass(frozen=True, slots=True)
class ReadLatest:
    """Everything, after what is on its way is durable and shown."""

    timeout_s: float = CONSENSUS_TIMEOUT_S


EVERYTHING_HERE = ReadUncommitted()
"""What holds when nothing else is asked for."""

Isolation = ReadUncommitted | ReadCommitted | AtSnapshot | ReadLatest
"""The four levels."""


@dataclass(frozen=True, slots=True)
class QueryStats:
    """How an answer came about. Times are in microseconds.

    ``facts_scanned`` are the items that were looked at, ``facts_matched`` those that fit before projection;
    ``consistency`` has an entry for each of them. ``wait_us`` is what isolation waited for, and is not in
    ``execution_us``.
    """

    execution_us: float
    facts_scanned: int
    facts_matched: int
    is_cache_hit: bool
    isolation: Isolation
    wait_us: float
    consistency: Mapping[str, Consistency]


HISTORY_PIN = "the history"
"""Under which a pin holds how far the history went, for SQL."""


class PinnedSnapshots:
    """The newest hundred pinned snapshots, first in first out. A pin costs a dictionary, not a copy of the states."""

    def __init__(self, capacity: int = SNAPSHOTS_MAX) -> None:
        self._capacity = capacity
        self._held: dict[str, Mapping[str, object]] = {}

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def pin(self, prestate_hash: str, inputs: Mapping[str, object]) -> AtSnapshot:
        """Hold these snapshots, by signal id; what was pinned in the same state is joined with them."""
        before = self._held.pop(prestate_hash, {})
        self._held[prestate_hash] = MappingProxyType({**inputs, **before})
        while len(self._held) > self._capacity:
            del self._held[next(iter(self._held))]
        return AtSnapshot(prestate_hash)

    def get(self, at: AtSnapshot, needed: frozenset[str]) -> Mapping[str, object]:
        """The snapshots of that pin. Raises ``SnapshotNotFound`` when it is gone or holds less than is needed."""
        held = self._held.get(at.prestate_hash)
        if held is None:
            raise SnapshotNotFound(
                f"no snapshot {at.prestate_hash[:12]} is pinned here; expected one of the newest {self._capacity}: "
                "pin one with take_snapshot(query, …)"
            )
        missing = needed - held.keys()
        if missing:
            raise SnapshotNotFound(
                f"snapshot {at.prestate_hash[:12]} does not hold {', '.join(sorted(missing))}; "
                "name the query when it is pinned: take_snapshot(query, …)"
            )
        return held

    def drop(self, at: AtSnapshot) -> None:
        """Let a pin go; letting go twice is fine."""
        self._held.pop(at.prestate_hash, None)

"""``JournalState``: the facts of one namespace as a value that only grows, for whoever joins and compares such sets.

Knows nothing of seals, files or heads; a fact gets in here after it was verified. It is a join-semilattice: ``join`` is
associative, commutative and idempotent, and the empty state is its identity. Of a fact that one side holds erased the
erased form is kept, so that what a state amounts to does not depend on who joined whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

from antiphon.facts import FactId, FactRecord, Namespace

from .errors import NamespaceMismatch
from .index import EMPTY_ROOT

SET_PREFIX = b"antiphon.set.1"


class JournalState:
    """A grow-only set of facts of one namespace.

    ``add_fact`` and ``contains`` are O(1); ``iter_facts`` sorts once after facts were added. Equal when they hold the
    same facts of the same namespace; not hashable, since it grows.

    >>> from antiphon.facts import DEFAULT_NAMESPACE
    >>> empty = JournalState(DEFAULT_NAMESPACE)
    >>> empty.is_empty, empty.join(empty) == empty
    (True, True)
    """

    __slots__ = ("_erased", "_facts", "_sorted", "namespace")

    def __init__(self, namespace: Namespace, facts: Iterable[FactRecord] = ()) -> None:
        self.namespace = namespace
        self._facts: dict[FactId, FactRecord] = {}
        self._erased: set[FactId] = set()
        self._sorted: tuple[FactRecord, ...] | None = ()
        for fact in facts:
            self.add_fact(fact)

    def add_fact(self, record: FactRecord) -> bool:
        """Insert a fact; False when it was there already, and then nothing changes but that it may be erased.

        Raises ``NamespaceMismatch`` for a fact of another namespace.
        """
        if record.chain.namespace != self.namespace:
            raise NamespaceMismatch(
                f"a fact of {record.chain.namespace} was offered to the state of {self.namespace}; "
                "keep one state for each namespace"
            )
        is_new = record.fact_id not in self._facts
        if record.payload is None:
            is_told = record.fact_id in self._erased
            self._erased.add(record.fact_id)
        else:
            is_told = not is_new
        if not is_told:
            self._facts[record.fact_id] = record
            self._sorted = None
        return is_new

    def join(self, other: JournalState) -> JournalState:
        """The union, as a new state; O(both). Raises ``NamespaceMismatch`` and changes neither."""
        self._check_namespace(other)
        joined = JournalState(self.namespace)
        joined._facts = {**other._facts, **self._facts}
        joined._erased = set(self._erased)
        joined._erase_as(other)
        joined._sorted = None
        return joined

    def join_assign(self, other: JournalState) -> int:
        """Take in what *other* holds and this does not; how many that were. O(other).

        Raises ``NamespaceMismatch`` and changes neither.
        """
        self._check_namespace(other)
        before = len(self._facts)
        for fact_id, record in other._facts.items():
            self._facts.setdefault(fact_id, record)
        added = len(self._facts) - before
        if self._erase_as(other) or added:
            self._sorted = None
        return added

    def contains(self, fact_id: FactId) -> bool:
        """Whether the fact is in."""
        return fact_id in self._facts

    @property
    def size(self) -> int:
        """How many facts are in."""
        return len(self._facts)

    @property
    def is_empty(self) -> bool:
        """Whether no fact is in."""
        return not self._facts

    def iter_facts(self) -> Iterator[FactRecord]:
        """The facts in stamp order: time, HLC, id; the same on every replica."""
        if self._sorted is None:
            self._sorted = tuple(sorted(self._facts.values(), key=_stamp_of))
        return iter(self._sorted)

    @property
    def root(self) -> bytes:
        """A hash that is equal for equal sets, whatever the order of insertion; 32 zero bytes when empty. O(size)."""
        if not self._facts:
            return EMPTY_ROOT
        return sha256(SET_PREFIX + self.namespace.encode() + b"\0" + b"".join(sorted(self._facts))).digest()

    def __le__(self, other: JournalState) -> bool:
        """Whether *other* holds everything that this does: the order of the lattice."""
        return self.namespace == other.namespace and self._facts.keys() <= other._facts.keys()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JournalState):
            return NotImplemented
        return self.namespace == other.namespace and self._facts.keys() == other._facts.keys()

    __hash__ = None  # type: ignore[assignment]  # a set that grows has no hash

    def __len__(self) -> int:
        return len(self._facts)

    def __repr__(self) -> str:
        return f"<JournalState {self.namespace} of {len(self._facts)} facts>"

    def _erase_as(self, other: JournalState) -> bool:
        """Hold in its erased form what *other* holds so; whether that was anything. O(erased facts of *other*)."""
        fresh = other._erased - self._erased
        for fact_id in fresh:
            self._facts[fact_id] = other._facts[fact_id]
        self._erased |= fresh
        return bool(fresh)

    def _check_namespace(self, other: JournalState) -> None:
        if other.namespace != self.namespace:
            raise NamespaceMismatch(
                f"cannot join {self.namespace} with {other.namespace}: facts stay in the namespace they were said in; "
                "join states of one namespace"
            )


def _stamp_of(record: FactRecord) -> tuple[int, int, bytes]:
    return (record.at, record.hlc, record.fact_id)

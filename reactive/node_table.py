"""The registered views of one scheduler: in which order they run, and which of them a window of facts touches.

Runs nothing. Finding the touched views costs what they and the facts cost, not how many others there are: ten thousand
live queries sleep for free (`benchmarks/reactive.py`, `tests/reactive/test_node_table.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Generic, TypeVar

from .hub import SignalOwner
from .predicate import FactPredicate
from .unchanged import Unchanged
from .view import Batch, plan_order

F = TypeVar("F")

FieldOf = Callable[[F, str], object]
"""Reads a named field of a fact; None when the fact has no such field, or nothing in it."""


@dataclass(slots=True, eq=False)
class Node(Generic[F]):
    """A registered view with what the scheduler keeps about it; `position` is its place in the order.

    `value` is its newest snapshot, which its signal holds as soon as the batch is through. `state_types` are what its
    snapshots must be instances of, as far as can be told.
    """

    view_id: str
    kinds: frozenset[str] | None
    predicates: tuple[FactPredicate, ...]
    depends_on: tuple[str, ...]
    reads: tuple[str, ...]
    owner: SignalOwner[object]
    value: object
    update: Callable[[Batch[F]], object | Unchanged]
    next_wakeup_ms: Callable[[], int | None] | None
    state_types: tuple[type, ...] = ()
    position: int = -1
    wakeup_ms: int | None = None
    stalled_count: int = 0
    run_count: int = 0
    change_count: int = 0
    failure_count: int = 0


_Table = dict[tuple[Hashable, ...], dict[Node[F], None]]

POSITION_OF: Callable[[Node[Any]], int] = attrgetter("position")
"""The key that sorts nodes in the order in which they run."""

# Mixtures of kinds whose nodes are remembered. An application has some dozens; more are only looked up again.
_ORDERS_MAX = 256


@dataclass(slots=True)
class _Kind(Generic[F]):
    """Who cares about one kind: views of all its facts, and queries by constrained fields and their values."""

    views: dict[Node[F], None] = field(default_factory=dict)
    by_fields: dict[tuple[str, ...], _Table[F]] = field(default_factory=dict)


class Snapshots(Mapping[str, object]):
    """The newest snapshot of every registered view by id, live and read-only."""

    __slots__ = ("_nodes",)

    def __init__(self, nodes: Mapping[str, Node[Any]]) -> None:
        self._nodes = nodes

    def __getitem__(self, view_id: str) -> object:
        return self._nodes[view_id].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


class NodeTable(Generic[F]):
    """All nodes by id, by place in the order, by what they depend on and by what they care about."""

    def __init__(self, field_of: FieldOf[F]) -> None:
        self._field_of = field_of
        self._nodes: dict[str, Node[F]] = {}
        self.snapshots = Snapshots(self._nodes)
        self._by_signal: dict[str, str] = {}
        self._by_position: dict[int, Node[F]] = {}
        self._position_next = 0
        self._kinds: dict[str, _Kind[F]] = {}
        self._of_all_kinds: dict[Node[F], None] = {}
        self._dependants: dict[str, dict[Node[F], None]] = {}
        self._readers: dict[str, dict[Node[F], None]] = {}
        self._sleepers: dict[Node[F], None] = {}
        self._orders: dict[frozenset[str], tuple[Node[F], ...]] = {}
        self.version = 0  # of the order: rises with every node that comes or goes

    def __contains__(self, view_id: str) -> bool:
        """Whether a view of that id is registered."""
        return view_id in self._nodes

    def __iter__(self) -> Iterator[Node[F]]:
        """All nodes, in the order in which they run."""
        return iter([self._by_position[position] for position in sorted(self._by_position)])

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    def get(self, view_id: str) -> Node[F] | None:
        """The node of a view id."""
        return self._nodes.get(view_id)

    def behind(self, signal_id: str) -> str | None:
        """The id of the view whose signal this is."""
        return self._by_signal.get(signal_id)

    def is_registered(self, node: Node[F]) -> bool:
        """Whether this very node is still in the table."""
        return self._nodes.get(node.view_id) is node

    @property
    def sleepers(self) -> Collection[Node[F]]:
        """The nodes that may ask to be woken by the clock."""
        return self._sleepers

    def plan(self, view_id: str, needs: Sequence[str]) -> tuple[str, ...] | None:
        """The order with one more view; None when it simply goes to the end, since nobody waited for it.

        Raises `CycleDetected`. Costs O(needs) at the end, O(all) for a view that others named before it came.
        """
        if view_id not in needs and not self._dependants.get(view_id) and not self._readers.get(view_id):
            return None
        return plan_order(
            {**{each.view_id: (*each.depends_on, *each.reads) for each in self._nodes.values()}, view_id: needs}
        )

    def add(self, node: Node[F], order: Sequence[str] | None) -> None:
        """Take a node in, with the order that `plan` gave."""
        self._nodes[node.view_id] = node
        self._note_change()
        self._by_signal[node.owner.signal.signal_id] = node.view_id
        if order is None:
            self._place(node)
        else:
            self._by_position.clear()
            for view_id in order:
                self._place(self._nodes[view_id])
        for needed in node.depends_on:
            self._dependants.setdefault(needed, {})[node] = None
        for needed in node.reads:
            self._readers.setdefault(needed, {})[node] = None
        if node.next_wakeup_ms is not None:
            self._sleepers[node] = None
        self._index(node)

    def remove(self, view_id: str) -> Node[F]:
        """Take a node out; raises `KeyError` for an unknown id. The order of the others stays."""
        node = self._nodes.pop(view_id)
        self._note_change()
        del self._by_position[node.position]
        del self._by_signal[node.owner.signal.signal_id]
        self._sleepers.pop(node, None)
        for needed in node.depends_on:
            _discard(self._dependants, needed, node)
        for needed in node.reads:
            _discard(self._readers, needed, node)
        self._unindex(node)
        return node

    @property
    def has_links(self) -> bool:
        """Whether any node looks at another."""
        return bool(self._dependants or self._readers)

    def dependants(self, view_id: str) -> Iterable[Node[F]]:
        """The nodes that run whenever that view's snapshot changed."""
        return self._dependants.get(view_id, ())

    def readers(self, view_id: str) -> Iterable[Node[F]]:
        """The nodes that look into that view's snapshot, and run when it changed for another reason than facts."""
        return self._readers.get(view_id, ())

    def select(
        self, facts: Sequence[F], kind_of: Callable[[F], str]
    ) -> tuple[tuple[Node[F], ...], dict[Node[F], Sequence[F]]]:
        """The nodes that these facts concern, in the order in which they run; and, for those that not all of these
        facts concern, the ones that do."""
        present = frozenset(map(kind_of, facts))
        order = self._orders.get(present)
        if order is not None:
            return order, {}
        by_kinds: dict[frozenset[str] | None, Sequence[F]] = {}
        chosen: dict[Node[F], Sequence[F]] = dict.fromkeys(self._of_all_kinds, facts) if facts else {}
        constrained = False
        for kind in present:
            found = self._kinds.get(kind)
            if found is None:
                continue
            for node in found.views:
                if node not in chosen:
                    mine = by_kinds.get(node.kinds)
                    if mine is None:
                        mine = by_kinds[node.kinds] = _of_kinds(node.kinds, facts, kind_of, present)
                    chosen[node] = mine
            constrained = constrained or bool(found.by_fields)
        if constrained:
            self._select_constrained(facts, kind_of, chosen)
        order = tuple(sorted(chosen, key=POSITION_OF))
        parts = {node: mine for node, mine in chosen.items() if mine is not facts}
        if not (constrained or parts) and len(self._orders) < _ORDERS_MAX:
            self._orders[present] = order
        return order, parts

    def _select_constrained(
        self, facts: Sequence[F], kind_of: Callable[[F], str], chosen: dict[Node[F], Sequence[F]]
    ) -> None:
        lists: dict[Node[F], list[F]] = {}
        for fact in facts:
            found = self._kinds.get(kind_of(fact))
            if found is None:
                continue
            for names, table in found.by_fields.items():
                for node in self._hits(fact, names, table):
                    mine = lists.setdefault(node, [])
                    if not mine or mine[-1] is not fact:
                        mine.append(fact)
        chosen.update(lists)

    def _hits(self, fact: F, names: tuple[str, ...], table: _Table[F]) -> Iterable[Node[F]]:
        """The nodes of one table that a fact concerns: one look, unless the fact leaves a field open."""
        values = tuple([self._field_of(fact, name) for name in names])
        if None not in values:
            try:
                return table.get(values, ())
            except TypeError:  # a list or a map in that field: no constraint can equal it
                return ()
        return [node for wanted, nodes in table.items() if _agrees(values, wanted) for node in nodes]

    def _note_change(self) -> None:
        self.version += 1
        self._orders.clear()

    def _place(self, node: Node[F]) -> None:
        node.position = self._position_next
        self._by_position[node.position] = node
        self._position_next += 1

    def _index(self, node: Node[F]) -> None:
        for predicate in node.predicates:
            table = self._kind(predicate.kind).by_fields.setdefault(predicate.names, {})
            table.setdefault(predicate.values, {})[node] = None
        if node.kinds is None:
            self._of_all_kinds[node] = None
        else:
            for kind in node.kinds:
                self._kind(kind).views[node] = None

    def _unindex(self, node: Node[F]) -> None:
        for predicate in dict.fromkeys(node.predicates):
            by_fields = self._kinds[predicate.kind].by_fields
            table = by_fields[predicate.names]
            _discard(table, predicate.values, node)
            if not table:
                del by_fields[predicate.names]
        self._of_all_kinds.pop(node, None)
        for kind in node.kinds or ():
            self._kinds[kind].views.pop(node, None)

    def _kind(self, kind: str) -> _Kind[F]:
        return self._kinds.setdefault(kind, _Kind())


K = TypeVar("K", bound=Hashable)


def _discard(table: dict[K, dict[Node[F], None]], key: K, node: Node[F]) -> None:
    """Take a node out of a table of sets, and the set with it when it was the last."""
    nodes = table[key]
    nodes.pop(node, None)
    if not nodes:
        del table[key]


def _agrees(values: Sequence[object], wanted: Sequence[object]) -> bool:
    """Whether what a fact says leaves room for what is wanted: None says nothing."""
    return all(value is None or value == want for value, want in zip(values, wanted, strict=True))


def _of_kinds(
    wanted: frozenset[str] | None, facts: Sequence[F], kind_of: Callable[[F], str], present: frozenset[str]
) -> Sequence[F]:
    """The facts of these kinds; all of them in the usual case, without looking at each."""
    if wanted is None or present <= wanted:
        return facts
    return tuple([fact for fact in facts if kind_of(fact) in wanted])

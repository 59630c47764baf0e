"""A query is a value: what it asks, which facts can change its answer, and who may ask it.

Runs nothing by itself. A `SnapshotQuery` is a pure function of view snapshots, so a signal bound to one moves in the
same batch as the views; a `SqlQuery` is a statement for the history, answered off the loop. `QueryNode` is how a
scheduler keeps one alive.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from .access import AccessPolicy
from .predicate import FactPredicate
from .signal import Signal
from .unchanged import UNCHANGED, Unchanged
from .view import Batch

R = TypeVar("R")


class Query(ABC, Generic[R]):
    """The base of queries; subclass it as a frozen dataclass, whose fields are the parameters.

    Two equal queries have one `query_id`, and one answer at a time.
    """

    @property
    def query_id(self) -> str:
        """The class and its parameters, as text."""
        names: Iterable[str] = getattr(self, "__dataclass_fields__", ())
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({shown})"

    @abstractmethod
    def dependencies(self) -> tuple[FactPredicate, ...]:
        """The facts that can change the answer. Leave none out; naming too many only costs runs."""

    @abstractmethod
    def access_policy(self) -> AccessPolicy:
        """What whoever asks must have been granted."""

    def bind_to(self, signal: Signal[R]) -> BoundSignal[R]:
        """This query as the source of `signal`."""
        return BoundSignal(signal, self)


class Matched(NamedTuple):
    """What an answer was made of, before projection: how many items were looked at, and the ids of those that fit."""

    scanned_count: int
    item_ids: tuple[str, ...]


Inputs = Mapping[str, Any]
"""Snapshots by signal id."""


class SnapshotQuery(Query[R]):
    """A pure function of snapshots: incremental, since the views below it are; never mixes two windows."""

    @abstractmethod
    def reads(self) -> tuple[Signal[Any], ...]:
        """The signals of views whose snapshots it looks into."""

    @abstractmethod
    def evaluate(self, inputs: Inputs, /) -> R:
        """The answer; `inputs` holds a snapshot for every signal in `reads`. No I/O, no clock."""

    def match(self, inputs: Inputs, answer: R, /) -> Matched:
        """What the answer was made of, for the statistics; called only when somebody asks for them."""
        return Matched(len(inputs), ())


class SqlPlan(NamedTuple):
    """A statement and its parameters, kept apart: no value is ever spliced into text."""

    text: str
    parameters: tuple[object, ...] = ()


class SqlQuery(Query[R]):
    """A statement over the typed SQL views of the history (kind `demo.message_sent` is `demo_message_sent`)."""

    @abstractmethod
    def compile(self) -> SqlPlan:
        """The statement."""

    @abstractmethod
    def parse(self, rows: Sequence[Mapping[str, object]], /) -> R:
        """The answer, from rows by column name."""


@dataclass(frozen=True, slots=True)
class BoundSignal(Generic[R]):
    """A signal with the query that fills it."""

    signal: Signal[R]
    query: Query[R]

    @property
    def dependencies(self) -> tuple[FactPredicate, ...]:
        """The facts that can change it."""
        return self.query.dependencies()

    def is_affected_by(self, changed: FactPredicate) -> bool:
        """Whether a change like this can change it; a change that leaves a field open can."""
        return any(each.overlaps(changed) for each in self.dependencies)


class QueryNode(Generic[R]):
    """A live `SnapshotQuery` in a scheduler. `view_ids` says which view stands behind each signal that it reads."""

    kinds: frozenset[str] = frozenset()
    depends_on: tuple[str, ...] = ()

    def __init__(self, signal: Signal[R], query: SnapshotQuery[R], view_ids: Mapping[str, str]) -> None:
        self.view_id = node_id_of(signal)
        self.signal = signal
        self.query = query
        self.predicates = query.dependencies()
        self.reads = tuple(view_ids.values())
        self._view_ids = dict(view_ids)

    def update(self, batch: Batch[Any], /) -> R | Unchanged:
        """The answer over the snapshots of this batch."""
        return self.query.evaluate({signal_id: batch.inputs[view] for signal_id, view in self._view_ids.items()})


class SqlNode(Generic[R]):
    """A live `SqlQuery` in a scheduler: facts only mark it stale; the answer is brought from elsewhere, and shown then.

    `on_stale` is called inside the batch; it starts no more than a task. What it brings goes through `bring`, and a
    touch of the node emits it.
    """

    kinds: frozenset[str] = frozenset()
    depends_on: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def __init__(self, signal: Signal[R], query: SqlQuery[R], on_stale: Callable[[], None]) -> None:
        self.view_id = node_id_of(signal)
        self.signal = signal
        self.query = query
        self.predicates = query.dependencies()
        self._on_stale = on_stale
        self._brought: R | Unchanged = UNCHANGED

    def bring(self, answer: R) -> None:
        """Hold the newest answer until the node is touched."""
        self._brought = answer

    def update(self, batch: Batch[Any], /) -> R | Unchanged:
        """What was brought, if anything."""
        brought, self._brought = self._brought, UNCHANGED
        if batch.facts:
            self._on_stale()
        return brought


def node_id_of(signal: Signal[Any]) -> str:
    """The id under which a scheduler runs the query bound to a signal."""
    return f"query:{signal.signal_id}"

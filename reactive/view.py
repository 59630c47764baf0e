"""What the scheduler asks of a view, and the order in which views run.

Contains no view: those are in the room `views`, and in applications.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from .errors import CycleDetected
from .predicate import FactPredicate
from .signal import Signal
from .unchanged import Unchanged

F = TypeVar("F")
S = TypeVar("S")


class Batch(NamedTuple, Generic[F]):
    """What one view sees of one batch: the facts of its kinds in order of arrival, perhaps none.

    There are none when it runs because a view it depends on changed, or because its wake-up is due. `changed` names the
    views that changed before it in this batch, for a view that depends on others or reads them.
    `inputs` holds the newest snapshot of every view by id, already with this batch for all that ran before.
    """

    batch_id: int
    facts: Sequence[F]
    now_ms: int
    changed: frozenset[str]
    inputs: Mapping[str, object]


class View(Protocol[F, S]):
    """A fold with an output signal; it owns its state, and nobody else writes the signal.

    `kinds` are the fact kinds it wants, None for all. `update` applies a batch and returns a full immutable snapshot,
    or `UNCHANGED`. It is called at most once a batch, after every view named in `depends_on` that is registered; it
    does no I/O, and gives equal snapshots for any order and split of the same facts.
    """

    @property
    def view_id(self) -> str:
        """A name such as `signals:chat`, unique in one scheduler."""

    @property
    def kinds(self) -> frozenset[str] | None:
        """The fact kinds to be given; None for all."""

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Ids of views that must run first, and whose change makes this view run; unknown ids are ignored."""

    @property
    def signal(self) -> Signal[S]:
        """Where the snapshots go."""

    def update(self, batch: Batch[F], /) -> S | Unchanged:
        """Apply `batch`; a full snapshot of the new state, or `UNCHANGED`."""


@runtime_checkable
class WakingView(Protocol):
    """A view whose snapshot also depends on the clock: expiring invitations, for example."""

    def next_wakeup_ms(self) -> int | None:
        """The clock reading, in milliseconds, at which to run again without new facts; None for never."""


@runtime_checkable
class SelectiveView(Protocol):
    """A view that cares about few facts of a kind: a live query. It runs for those facts, and for no others.

    Its `kinds` are empty; `predicates` choose its facts instead. `reads` are views it looks into: they run before it,
    and when one of them changed for another reason than facts (the clock, a refold), it runs as well.
    """

    @property
    def predicates(self) -> tuple[FactPredicate, ...]:
        """The facts that make it run."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Ids of views whose snapshots it looks into; unknown ones are ignored."""


def plan_order(dependencies: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Every view id after the ids it depends on; where that leaves a choice, in order of registration.

    Ids that are not keys are ignored. Raises `CycleDetected` with the shortest way round that it found.

    >>> plan_order({"unread": ["chat"], "chat": [], "contacts": ["missing"]})
    ('chat', 'unread', 'contacts')
    """
    order: list[str] = []
    placed: set[str] = set()
    path: list[str] = []

    def place(view_id: str) -> None:
        if view_id in path:
            raise CycleDetected([*path[path.index(view_id) :], view_id])
        if view_id in placed:
            return
        path.append(view_id)
        for needed in dependencies[view_id]:
            if needed in dependencies:
                place(needed)
        path.pop()
        placed.add(view_id)
        order.append(view_id)

    for view_id in dependencies:
        place(view_id)
    return tuple(order)

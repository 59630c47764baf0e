"""The two halves of "is my fact visible yet": what still waits, and which fact ids were seen already.

A `PendingCommit` cannot be awaited here, since this room's core knows no event loop; `streams.CommitTicket` can.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from .errors import SchedulerShutdown

F = TypeVar("F")


def call_each(callbacks: Sequence[Callable[[], object]]) -> None:
    """Call all of them in order, whatever some of them raise; one of those errors is raised in the end."""
    with ExitStack() as stack:
        for callback in reversed(callbacks):
            stack.callback(callback)


class PendingCommit:
    """Some facts on their way to the signals; settled once all of them were folded and emitted, or never will be.

    Settled by fact id: a batch without these facts does not settle it, however many pass.
    """

    __slots__ = ("_callbacks", "_remaining", "error", "fact_ids")

    def __init__(self, fact_ids: Iterable[Hashable]) -> None:
        self.fact_ids = tuple(fact_ids)
        self.error: SchedulerShutdown | None = None
        self._remaining: set[Hashable] = set(self.fact_ids)
        self._callbacks: list[Callable[[], object]] | None = []

    @property
    def is_processed(self) -> bool:
        """Whether the signals hold the effect of all these facts."""
        return not self._remaining

    @property
    def is_settled(self) -> bool:
        """Whether this is decided: processed, or failed with `error`."""
        return not self._remaining or self.error is not None

    def fire_and_forget(self) -> None:
        """Say that nobody will wait; the facts take their way all the same."""
        self._callbacks = None

    def on_settled(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when this is decided; at once when it is already."""
        if self.is_settled:
            callback()
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def settle(self, fact_id: Hashable) -> None:
        """One of the facts was folded and emitted. The scheduler calls this."""
        self._remaining.discard(fact_id)
        if not self._remaining:
            self._announce()

    def fail(self, error: SchedulerShutdown) -> None:
        """None of what remains will be processed any more. The scheduler calls this."""
        if not self.is_settled:
            self.error = error
            self._announce()

    def _announce(self) -> None:
        callbacks, self._callbacks = self._callbacks, None
        call_each(callbacks or ())


class CommitTable:
    """Which pending commits wait for which fact id: `waiting`, which only this changes."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: dict[Hashable, list[PendingCommit]] = {}

    def add(self, pending: PendingCommit) -> None:
        """Remember `pending` under each of its ids."""
        for fact_id in pending.fact_ids:
            self.waiting.setdefault(fact_id, []).append(pending)

    def settle_in(self, pending: PendingCommit, is_visible: Callable[[Hashable], bool]) -> None:
        """Settle those facts of `pending` that are visible already."""
        self.settle([fact_id for fact_id in pending.fact_ids if is_visible(fact_id)])

    def settle(self, fact_ids: Iterable[Hashable]) -> None:
        """These facts are visible now."""
        waiting = self.waiting
        settled = [
            partial(pending.settle, fact_id)
            for fact_id in dict.fromkeys(fact_ids)
            if fact_id in waiting
            for pending in waiting.pop(fact_id)
        ]
        call_each(settled)

    def fail_all(self, error: SchedulerShutdown) -> None:
        """Whatever is still waited for will not come."""
        waiting, self.waiting = self.waiting, {}
        call_each([partial(pending.fail, error) for commits in waiting.values() for pending in commits])


class SeenIds:
    """Remembers at least the last `capacity` fact ids, and at most twice as many.

    Two generations of plain sets instead of one ordered table: a whole batch is tested and remembered by a few set
    operations in C, about a tenth of the cost of moving each id to the front.
    """

    __slots__ = ("_capacity", "_older", "_recent")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._recent: set[Hashable] = set()
        self._older: set[Hashable] = set()

    def __contains__(self, fact_id: Hashable) -> bool:
        """Whether the id is still remembered."""
        return fact_id in self._recent or fact_id in self._older

    def __len__(self) -> int:
        """How many ids are remembered."""
        return len(self._recent | self._older)

    def select_new(self, facts: Sequence[F], fact_ids: Sequence[Hashable]) -> tuple[Sequence[F], Sequence[Hashable]]:
        """The facts, with their ids, that were not seen before, each once; all of them are remembered."""
        unique = set(fact_ids)
        if len(unique) != len(fact_ids) or not unique.isdisjoint(self._recent) or not unique.isdisjoint(self._older):
            fresh = {fact_id: fact for fact_id, fact in zip(fact_ids, facts, strict=True) if fact_id not in self}
            facts, fact_ids = list(fresh.values()), list(fresh)
        if len(self._recent) >= self._capacity:
            self._older, self._recent = self._recent, set()
        self._recent |= unique
        return facts, fact_ids

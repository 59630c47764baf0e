"""Which rights a forked author's words still give: the rule of ``journal.forks``, applied to what views are shown.

A function of the members alone. Nothing is kept and nothing is spent while no chain is forked; the first fork of a
context costs one pass over its facts in a thread (about 8 µs each), and each window after it what the window holds.
Void facts stay members and stay in ``antiphon log --hidden``; no reducer is given them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from antiphon.facts import ChainId, FactRecord, Namespace
from antiphon.journal import JournalIndex, LogDamaged, PlacedRun, RunRow, SealedRun, StoreUnavailable, parse_run
from antiphon.journal.bases import ChainBase
from antiphon.journal.forks import CausalFact, VoidBook, causal_base, causal_facts, judge_runs

from .tasks import OwnedTasks

VOID_CODE = "void"

OnJudged = Callable[[Mapping[bytes, str], Mapping[bytes, str]], None]
"""Told what became void and what no longer is: ids, and their kinds."""


class ForkJudge:
    """The void facts of one journal; belongs to the engine's loop, but for ``is_void``, which any thread may ask."""

    def __init__(self, index: JournalIndex, read: Callable[[RunRow], bytes], on_judged: OnJudged) -> None:
        self._index = index
        self._read = read
        self._on_judged = on_judged
        self._books: dict[Namespace, VoidBook] = {}
        self._void: dict[Namespace, dict[bytes, str]] = {}
        self._all: frozenset[bytes] = frozenset()
        self._missed: dict[Namespace, list[SealedRun]] = {}
        self._jobs = OwnedTasks()
        self._had_holes: set[Namespace] = set()

    @property
    def void_count(self) -> int:
        """How many facts bind nobody."""
        return len(self._all)

    def is_void(self, record: FactRecord) -> bool:
        """Whether a member binds nobody, as far as it was judged."""
        return bool(self._all) and record.fact_id in self._all

    def take(self, runs: Sequence[SealedRun], bases: Sequence[ChainBase] = ()) -> None:
        """Judge runs that became members, and what they change; those of which only *bases* came, anew with all."""
        forked = self._index.forked()
        if not forked:
            return
        for name in {base.info.namespace for base in bases if not base.is_own}:
            if self._forks_of(name):
                self._books.pop(name, None)
                self._rebuild(name)
        by_namespace: dict[Namespace, list[SealedRun]] = {}
        for run in runs:
            by_namespace.setdefault(run.records[0].chain.namespace, []).append(run)
        for namespace, fresh in by_namespace.items():
            self._take(namespace, fresh, self._forks_of(namespace))

    def look(self) -> None:
        """Judge every context that holds a forked chain, from the log."""
        for namespace in {self._info(chain) for chain in self._index.forked()}:
            self._rebuild(namespace)

    async def settle(self) -> None:
        """Return when everything that became a member is judged."""
        await self._jobs.settle()

    def _take(self, namespace: Namespace, fresh: Sequence[SealedRun], forks: Mapping[ChainId, int]) -> None:
        if not forks:
            return
        if namespace in self._missed:
            self._missed[namespace].extend(fresh)
            return
        book = self._books.get(namespace)
        has_holes = bool(self._index.holes(namespace))
        # What waited behind a hole joins with what fills it, and did not come in a causal order.
        is_in_order = not has_holes and namespace not in self._had_holes
        (self._had_holes.add if has_holes else self._had_holes.discard)(namespace)
        if book is None or book.forks != forks or not is_in_order:
            self._rebuild(namespace)
            return
        for run in fresh:
            book.add(causal_facts(run.seal.from_id, run.records))
        self._tell(namespace, book)

    def _rebuild(self, namespace: Namespace) -> None:
        if namespace in self._missed:
            return
        self._missed[namespace] = []
        forks = self._forks_of(namespace)
        placed = [
            PlacedRun(state.info, row)
            for state in self._index.chains(namespace)
            for row in state.runs
            if state.is_member(row)
        ]
        placed.sort(key=lambda run: (run.row.file_number, run.row.offset))
        left = [
            causal_base(state.info, base) for state in self._index.chains(namespace) for base in state.member_bases()
        ]
        self._jobs.start(self._judge(namespace, forks, placed, left))

    async def _judge(
        self,
        namespace: Namespace,
        forks: Mapping[ChainId, int],
        placed: Sequence[PlacedRun],
        left: Sequence[CausalFact],
    ) -> None:
        try:
            book = await asyncio.to_thread(
                lambda: judge_runs(forks, [*([fact] for fact in left), *self._causal(placed)])
            )
        finally:
            missed = self._missed.pop(namespace)
        if book.forks == self._forks_of(namespace):
            self._books[namespace] = book
            self._tell(namespace, book)
            if missed:
                self._take(namespace, missed, book.forks)
        else:
            self._rebuild(namespace)  # another fork came to light meanwhile

    def _causal(self, placed: Sequence[PlacedRun]) -> list[list[CausalFact]]:
        """In a thread: members as the rule needs them. What cannot be read is judged when it is repaired."""
        found = []
        for info, row in placed:
            with suppress(LogDamaged, StoreUnavailable):
                found.append(causal_facts(row.first_previous_id, parse_run(info, row, self._read(row))))
        return found

    def _tell(self, namespace: Namespace, book: VoidBook) -> None:
        before, after = self._void.get(namespace, {}), book.void
        if before == after:
            return
        self._void[namespace] = after
        self._all = frozenset(fact_id for each in self._void.values() for fact_id in each)
        gone = {fact_id: kind for fact_id, kind in before.items() if fact_id not in after}
        come = {fact_id: kind for fact_id, kind in after.items() if fact_id not in before}
        self._on_judged(come, gone)

    def _forks_of(self, namespace: Namespace) -> dict[ChainId, int]:
        return self._index.forked(namespace)

    def _info(self, chain: ChainId) -> Namespace:
        state = self._index.chain(chain)
        assert state is not None, "a forked chain is known"
        return state.info.namespace

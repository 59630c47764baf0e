"""Facts from the future: members at once, but kept from views until their time has come.

A fact more than five minutes ahead of the wall clock would win every conflict until then, so views see it when it is
due. Decides only; whoever owns this arms the timer for ``next_due_ms``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from operator import itemgetter

from antiphon.facts import Fact, FactId, FactRecord
from antiphon.facts.fact import get_record
from antiphon.facts.time import SKEW_MS_MAX

# By position: the way of every window's every fact, and half the cost of asking by name.
_AT_OF = itemgetter(FactRecord._fields.index("at"))


class NotDue:
    """The facts that wait for their time, earliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, FactId, Fact]] = []
        self._waiting: set[FactId] = set()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def waiting(self) -> frozenset[FactId]:
        """The ids that wait now."""
        return frozenset(self._waiting)

    @property
    def next_due_ms(self) -> int | None:
        """When the next fact is due; None when none waits."""
        return self._heap[0][0] if self._heap else None

    def keep(self, facts: Iterable[Fact]) -> None:
        """Let *facts* wait; one that waits already is not kept twice."""
        for fact in facts:
            record = get_record(fact)
            if record.fact_id not in self._waiting:
                self._waiting.add(record.fact_id)
                heappush(self._heap, (record.at - SKEW_MS_MAX, record.fact_id, fact))

    def sift(self, facts: Sequence[Fact], now_ms: int) -> Sequence[Fact]:
        """The facts that views may see now; the others wait. Costs a comparison a fact."""
        horizon = now_ms + SKEW_MS_MAX
        if not facts or max(map(_AT_OF, map(get_record, facts))) <= horizon:
            return facts
        self.keep(fact for fact in facts if get_record(fact).at > horizon)
        return [fact for fact in facts if get_record(fact).at <= horizon]

    def take_due(self, now_ms: int) -> list[Fact]:
        """The facts whose time has come, in order of time."""
        due: list[Fact] = []
        while self._heap and self._heap[0][0] <= now_ms:
            _, fact_id, fact = heappop(self._heap)
            self._waiting.discard(fact_id)
            due.append(fact)
        return due

"""Members read back one by one, by chain and number: what a view asks for that holds old facts without their words.

Reads nothing ahead and caches a few runs only; a view that wants all of the history reads it when it wakes up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from antiphon.facts import ChainId, Fact, FactRecord
from antiphon.journal import LogDamaged, RunRow, parse_run
from antiphon.journal.index import ChainState

# Runs hold up to 1,000 facts; what is asked for together mostly lies together.
_RUNS_MAX: Final = 8


class MemberReader:
    """Reads single members. One costs parsing its run (3 µs a fact in it), unless that was among the last eight."""

    def __init__(
        self,
        chain: Callable[[ChainId], ChainState | None],
        read: Callable[[RunRow], bytes],
        decode: Callable[[FactRecord], Fact | None],
        on_damage: Callable[[LogDamaged], None],
    ) -> None:
        self._chain = chain
        self._read = read
        self._decode = decode
        self._on_damage = on_damage
        self._runs: dict[RunRow, tuple[FactRecord, ...]] = {}

    def __call__(self, places: Sequence[tuple[ChainId, int]]) -> list[Fact]:
        """The members at those places, in their order; of a forked chain all with the number, of what was erased or
        damaged none."""
        found = (record for chain, seq in places for record in self._records_at(chain, seq))
        return [fact for record in found if (fact := self._decode(record)) is not None]

    def _records_at(self, chain: ChainId, seq: int) -> list[FactRecord]:
        state = self._chain(chain)
        if state is None:
            return []
        rows = _rows_at(state, seq)
        records = {record.fact_id: record for row in rows for record in self._run(state, row) if record.seq == seq}
        return list(records.values())

    def _run(self, state: ChainState, row: RunRow) -> tuple[FactRecord, ...]:
        records = self._runs.pop(row, None)
        if records is None:
            try:
                records = parse_run(state.info, row, self._read(row))
            except LogDamaged as problem:
                self._on_damage(problem)
                records = ()
        self._runs[row] = records  # the newest is last
        if len(self._runs) > _RUNS_MAX:
            del self._runs[next(iter(self._runs))]
        return records


def _rows_at(state: ChainState, seq: int) -> list[RunRow]:
    """The member runs that hold a number; one, but for a forked chain."""
    last = bisect_right(state.runs, seq, key=_first_seq)
    if not state.is_forked:
        return [row for row in state.runs[max(last - 1, 0) : last] if seq <= row.last_seq]
    return [row for row in state.runs[:last] if seq <= row.last_seq and state.is_member(row)]


def _first_seq(row: RunRow) -> int:
    return row.first_seq

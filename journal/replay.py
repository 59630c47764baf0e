"""Reading members back from the log, by kind: what a view folds when it wakes up.

Goes by the index, so only members are read, and a run without the wanted kinds costs one substring search. Ids are
recomputed, so damage is noticed here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from antiphon.facts import ChainId, ChainInfo, FactId, FactRecord, InvalidLine, parse_line
from antiphon.facts.encoding import read_consecutive

from .chain import build_records, link_ids
from .errors import LogDamaged
from .index import Continuation, JournalIndex
from .stores.logged_run import LoggedRun
from .stores.position import RunRow


class PlacedRun(NamedTuple):
    """A run and its chain: what is needed to read it back."""

    info: ChainInfo
    row: RunRow


def read_members(
    runs: Sequence[PlacedRun],
    read: Callable[[RunRow], bytes],
    *,
    kinds: frozenset[str] | None = None,
    on_damage: Callable[[LogDamaged], None] | None = None,
) -> Iterator[FactRecord]:
    """Yield the facts of *runs* whose kind is wanted (all when None), run by run.

    ~3 µs a fact of a run that holds a wanted kind. Raises ``LogDamaged`` naming the place when bytes are not what was
    sealed, or hands that to *on_damage* and goes on behind it. A fact that a writer sealed twice is told once.
    """
    needles = None if kinds is None else [f'"k":"{kind}"'.encode() for kind in kinds]
    told: dict[ChainId, set[FactId]] = {chain: set() for chain in _overlapping(runs)}
    for info, row in runs:
        try:
            data = read(row)
            if needles is not None and not any(needle in data for needle in needles):
                continue
            records = parse_run(info, row, data)
        except LogDamaged as problem:
            if on_damage is None:
                raise
            on_damage(problem)
            continue
        seen = told.get(info.chain)
        for record in records:
            if seen is not None:
                if record.fact_id in seen:
                    continue
                seen.add(record.fact_id)
            if kinds is None or record.kind in kinds:
                yield record


def _overlapping(runs: Sequence[PlacedRun]) -> set[ChainId]:
    """The chains of which two runs hold one number: forked ones, whose facts may have been sealed twice."""
    ends: dict[ChainId, int] = {}
    found: set[ChainId] = set()
    for info, row in sorted(runs, key=_first_seq):
        if row.first_seq <= ends.get(info.chain, 0):
            found.add(info.chain)
        ends[info.chain] = max(row.last_seq, ends.get(info.chain, 0))
    return found


def _first_seq(run: PlacedRun) -> int:
    return run.row.first_seq


def admit_run(index: JournalIndex, run: LoggedRun) -> LoggedRun | None:
    """Make a run of the log a member, those behind a damaged frame too; returns it without the facts that another seal
    made members before, or None when it is a repair's copy of what is held."""
    index.introduce(run.info)
    if index.classify(run.row) is Continuation.KNOWN:
        return None
    records = run.records if run.is_linked or index.may_repeat(run.row) else ()
    return run.without(index.admit(run.row, hlc=run.head.hlc, records=records))


def parse_run(info: ChainInfo, row: RunRow, data: bytes) -> tuple[FactRecord, ...]:
    """Turn a run's bytes (fact lines and the seal line) back into records, checking that they end in its last id."""
    place = f"log file {row.file_number}, bytes {row.offset}..{row.offset + row.length}"
    lines = data.split(b"\n")[: row.last_seq - row.first_seq + 1]
    try:
        records = read_consecutive(
            info, lines, after_seq=row.first_seq - 1, after_id=row.first_previous_id, after_hlc=-1
        )
        if records and records[-1].fact_id == row.last_id:
            return records
        parsed = [parse_line(line) for line in lines]
    except InvalidLine as problem:
        raise LogDamaged(
            f"{place}: {problem}; run antiphon verify, and sync with a peer that holds these facts"
        ) from problem
    ids = link_ids(FactId(row.first_previous_id), parsed)
    if not ids or ids[-1] != row.last_id:
        raise LogDamaged(
            f"{place} is not what was sealed; run antiphon verify, and sync with a peer that holds these facts"
        )
    return build_records(info, lines, parsed, ids)

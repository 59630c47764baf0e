"""Snapshots at work: folding a kind's facts into a fact, and letting go of what they said on this node.

What a snapshot means is ``journal/snapshot.py``'s business. Whoever may write into a context is believed: a snapshot's
author could make up a state as well as they could make up facts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from antiphon.facts import Fact, FactRecord, Namespace, SnapshotBase, SnapshotTaken
from antiphon.journal import RunRow, parse_run
from antiphon.journal.bases import ChainBase, build_base
from antiphon.journal.chain import parse_seal_line
from antiphon.journal.delivery import is_protected
from antiphon.journal.index import ChainState
from antiphon.journal.lattice import Join
from antiphon.journal.retention import RetentionItem, RetentionPlan
from antiphon.journal.snapshot import SNAPSHOT_KIND, LatticeFold, SnapshotMismatch, build_snapshot, read_state

from ..engine import JournalEngine

S = TypeVar("S", bound=Join)


class Cut(NamedTuple):
    """What a cut came to: the snapshot's fact, None when there was nothing to fold, and how many payloads went here."""

    record: FactRecord | None
    retired_count: int


async def fold_kind(engine: JournalEngine, fold: LatticeFold[S], *, namespace: Namespace) -> S:
    """What the facts of a kind in *namespace* amount to: those that still say something, and every snapshot."""
    facts, _ = await _members(engine, fold.kind, namespace)
    return fold.fold(facts, await _snapshots(engine, fold, namespace))


async def take_cut(engine: JournalEngine, fold: LatticeFold[S], *, namespace: Namespace) -> Cut:
    """Commit a snapshot of a kind, and then, when that is durable, let go of the payloads that it holds, on this node.

    Facts that come later, below the cut as well, are members as ever and fold on top. O(facts of the kind).
    """
    facts, records = await _members(engine, fold.kind, namespace)
    if not facts:
        return Cut(None, 0)
    known = await _snapshots(engine, fold, namespace)
    snapshot = build_snapshot(
        fold,
        fold.fold(facts, known),
        namespace=namespace,
        bases=_bases(records),
        sequence=max((each.sequence for each in known), default=0) + 1,
    )
    result = await engine.commit([snapshot], flush=True)
    items = tuple(RetentionItem(each.fact_id, each.chain.chain, each.seq, each.kind, each.at, 0) for each in records)
    await engine.retire(RetentionPlan(items, {}, ()))
    return Cut(result.records[-1], len(items))


async def collapse_chains(engine: JournalEngine) -> tuple[ChainBase, ...]:
    """Let every chain begin behind the skeletons that lie between its opening run and its first fact that still counts;
    done when they are gone from files and tables.

    A run counts when a fact of it has its payload, names causes (others' rights may be judged by them) or is of a kind
    that others hang on. Chains with two stories or a hole are left alone. ~3 µs a collapsed fact, in a thread.
    """

    async def find() -> list[ChainBase]:
        return await asyncio.to_thread(plan_collapse, list(engine.index.chains()), engine.read_run)

    return await engine.collapse(find)


def plan_collapse(chains: Iterable[ChainState], read: Callable[[RunRow], bytes]) -> list[ChainBase]:
    """Where chains may begin; what lies between the opening run and there may go. Changes nothing."""
    found = (_base_of(state, read) for state in chains if not state.is_forked and not state.has_hole)
    return [base for base in found if base is not None]


def _base_of(state: ChainState, read: Callable[[RunRow], bytes]) -> ChainBase | None:
    """Where a chain may begin, when anything may go; runs that lie on each other or behind a gap end the search."""
    if not state.runs:
        return None
    gone: list[tuple[RunRow, bytes, tuple[FactRecord, ...]]] = []
    reached = state.runs[0].last_seq
    for row in state.runs[1:]:
        if row.first_seq - 1 not in (reached, state.start.seq or reached):
            break
        data = read(row)
        records = parse_run(state.info, row, data)
        if any(each.payload is not None or each.after or is_protected(each.kind) for each in records):
            break
        gone.append((row, data, records))
        reached = row.last_seq
    if not gone:
        return None
    first = state.runs[0].last_seq + 1
    if state.base is not None and reached <= state.start.seq:
        below = sum(row.last_seq <= state.start.seq for row in state.runs[1:])
        return state.base._replace(collapsed_from=first) if len(gone) == below else None
    row, data, records = gone[-1]
    seal = parse_seal_line(data.rstrip(b"\n").rpartition(b"\n")[2])
    previous_id = records[-2].fact_id if len(records) > 1 else row.first_previous_id
    base = build_base(state.info, previous_id=previous_id, line=records[-1].line, seal=seal)
    return base._replace(collapsed_from=first)


async def _members(engine: JournalEngine, kind: str, namespace: Namespace) -> tuple[list[Fact], list[FactRecord]]:
    """The facts of a kind that can be read, and their records: only what was folded may be let go."""
    facts: list[Fact] = []
    records: list[FactRecord] = []
    for record in await engine.read_kind(kind):
        decoded = engine.decode_fact(record) if record.chain.namespace == namespace else None
        if isinstance(decoded, Fact):
            facts.append(decoded)
            records.append(record)
    return facts, records


async def _snapshots(engine: JournalEngine, fold: LatticeFold[S], namespace: Namespace) -> list[SnapshotTaken]:
    """The snapshots of a kind that are what they say; the others are told of as problems."""
    found: list[SnapshotTaken] = []
    for record in await engine.read_kind(SNAPSHOT_KIND):
        decoded = engine.decode_fact(record) if record.chain.namespace == namespace else None
        if isinstance(decoded, SnapshotTaken) and decoded.folded_kind == fold.kind:
            try:
                read_state(fold, decoded)
            except SnapshotMismatch as problem:
                engine.note_problem(f"snapshot {record.fact_id.hex()[:12]}: {problem}; it does not count")
            else:
                found.append(decoded)
    return found


def _bases(records: Iterable[FactRecord]) -> list[SnapshotBase]:
    """Where the chains stand whose facts were folded."""
    last: dict[bytes, FactRecord] = {}
    for record in records:
        known = last.get(record.chain.chain)
        if known is None or known.seq < record.seq:
            last[record.chain.chain] = record
    return [SnapshotBase(chain=each.chain.text, fact_id=each.fact_id.hex(), seq=each.seq) for each in last.values()]

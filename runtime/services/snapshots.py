"""Snapshots at work: folding a kind's facts into a fact, and letting go of what they said on this node.

What a snapshot means is ``journal/snapshot.py``'s business. Whoever may write into a context is believed where nothing
speaks against it: where every fact that a snapshot names is still held, it must not say more than they do.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple, TypeVar

from antiphon.facts import ChainId, Fact, FactRecord, Namespace, SnapshotBase, SnapshotTaken
from antiphon.facts.fact import get_record
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal import RunRow, StoreUnavailable, parse_run
from antiphon.journal.bases import ChainBase, build_base
from antiphon.journal.chain import parse_seal_line
from antiphon.journal.delivery import is_protected
from antiphon.journal.index import ChainState
from antiphon.journal.lattice import Join
from antiphon.journal.retention import RetentionItem, RetentionPlan
from antiphon.journal.snapshot import (
    SNAPSHOT_KIND,
    LatticeFold,
    SnapshotMismatch,
    build_snapshot,
    claims_too_much,
    read_state,
)
from antiphon.journal.supersession import Supersession, check_supersessions, no_agreement, plan_supersession

from ..engine import JournalEngine

S = TypeVar("S", bound=Join)


class Cut(NamedTuple):
    """What a cut came to: the snapshot's fact, None when there was nothing to fold, and how many payloads went here."""

    record: FactRecord | None
    retired_count: int


async def fold_kind(engine: JournalEngine, fold: LatticeFold[S], *, namespace: Namespace) -> S:
    """What the facts of a kind in *namespace* amount to: those that still say something, and every snapshot."""
    facts, _ = await _members(engine, fold.kind, namespace)
    return fold.fold(facts, (await _snapshots(engine, fold, namespace, facts)).believed)


async def take_cut(engine: JournalEngine, fold: LatticeFold[S], *, namespace: Namespace) -> Cut:
    """Commit a snapshot of a kind, and then, when that is durable, let go of the payloads that it holds, on this node.

    Facts that come later, below the cut as well, are members as ever and fold on top. Snapshots that were seen to say
    too much go with the facts that show it. O(facts of the kind).
    """
    facts, records = await _members(engine, fold.kind, namespace)
    if not facts:
        return Cut(None, 0)
    known = await _snapshots(engine, fold, namespace, facts)
    snapshot = build_snapshot(
        fold,
        fold.fold(facts, known.believed),
        namespace=namespace,
        bases=_bases(records, known.believed),
        sequence=max((each.sequence for each in known.believed), default=0) + 1,
    )
    result = await engine.commit([snapshot], flush=True)
    await engine.retire(RetentionPlan(tuple(map(_item_of, (*records, *known.disproved))), {}, ()))
    return Cut(result.records[-1], len(records))


async def collapse_chains(engine: JournalEngine) -> tuple[ChainBase, ...]:
    """Let go of the skeletons that lie between each chain's opening run and its first fact that still counts, but for
    the last of each run under its seal; done when they are gone from files and tables.

    A run counts when a fact of it has its payload, names causes (others' rights may be judged by them) or is of a kind
    that others hang on. Chains with two stories or a hole are left alone. ~3 µs a collapsed fact, in a thread.
    """

    async def find() -> list[ChainBase]:
        return await asyncio.to_thread(plan_collapse, list(engine.index.chains()), engine.read_run)

    return await engine.collapse(find)


class Trimmed(NamedTuple):
    """Facts of one kind whose payloads went because later ones wrote all that they wrote."""

    kind: str
    fact_count: int


LevelSource = Callable[[Sequence[Fact]], Awaitable[Callable[[FactRecord], int]]]
"""Says how sure facts are; whoever puts the journal together knows."""


async def trim_superseded(
    engine: JournalEngine, rules: Sequence[Supersession], *, levels: LevelSource | None = None
) -> tuple[Trimmed, ...]:
    """Let go of what superseded facts said, on this node; done when it is gone. O(facts of the kinds).

    Facts of forked chains replace nothing and stay, since it may turn out that they bind nobody. What *levels* says is
    surer than all that replaced it stays as well.
    """
    check_supersessions(rules)
    facts: list[Fact] = []
    for kind in sorted({rule.kind for rule in rules}):
        decoded = map(engine.decode_fact, await engine.read_kind(kind))
        facts.extend(fact for fact in decoded if isinstance(fact, Fact))
    forked = engine.index.forked()
    due_ms = engine.clock.now_ms() + SKEW_MS_MAX
    level_of = await levels(facts) if levels is not None else no_agreement
    gone = await asyncio.to_thread(
        lambda: plan_supersession(
            rules,
            facts,
            due_ms=due_ms,
            is_settled=lambda record: record.chain.chain not in forked,
            level_of=level_of,
        )
    )
    if gone:
        await engine.retire(RetentionPlan(tuple(map(_item_of, gone)), {}, ()))
    return trimmed_of(gone)


def trimmed_of(gone: Iterable[FactRecord]) -> tuple[Trimmed, ...]:
    """How many of each kind."""
    return tuple(Trimmed(kind, count) for kind, count in sorted(Counter(record.kind for record in gone).items()))


def _item_of(record: FactRecord) -> RetentionItem:
    return RetentionItem(record.fact_id, record.chain.chain, record.seq, record.kind, record.at, 0)


def plan_collapse(chains: Iterable[ChainState], read: Callable[[RunRow], bytes]) -> list[ChainBase]:
    """What would be left of the runs that may go. Changes nothing."""
    return [base for state in chains if not state.is_forked and not state.has_hole for base in _bases_of(state, read)]


def _bases_of(state: ChainState, read: Callable[[RunRow], bytes]) -> Iterator[ChainBase]:
    """The bases of a chain's first runs behind its opening, as far as nothing in them counts; runs that lie on each
    other end the search."""
    rows = sorted([*state.runs, *state.collapsed], key=lambda row: row.first_seq)
    for before, row in pairwise(rows):
        if before.last_seq + 1 != row.first_seq:
            return
        if state.base_of(row) is not None:
            continue
        data = read(row)
        records = parse_run(state.info, row, data)
        if any(each.payload is not None or each.after or is_protected(each.kind) for each in records):
            return
        seal = parse_seal_line(data.rstrip(b"\n").rpartition(b"\n")[2])
        previous_id = records[-2].fact_id if len(records) > 1 else row.first_previous_id
        yield build_base(state.info, previous_id=previous_id, line=records[-1].line, seal=seal)._replace(is_own=True)


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


class _Known(NamedTuple):
    believed: list[SnapshotTaken]
    disproved: list[FactRecord]


async def _snapshots(
    engine: JournalEngine, fold: LatticeFold[S], namespace: Namespace, facts: Sequence[Fact]
) -> _Known:
    """The snapshots of a kind that are what they say; the others are told of as problems, and kept as evidence."""
    known = _Known([], [])
    gone: dict[bytes, int] | None = None
    for record in await engine.read_kind(SNAPSHOT_KIND):
        decoded = engine.decode_fact(record) if record.chain.namespace == namespace else None
        if not isinstance(decoded, SnapshotTaken) or decoded.folded_kind != fold.kind:
            continue
        if gone is None:
            gone = await _first_skeletons(engine, fold.kind)
        try:
            if _are_all_held(engine, decoded, facts, gone) and claims_too_much(fold, decoded, facts):
                known.disproved.append(record)
                engine.quarantine.keep_fact(record, "a snapshot says more than the facts that it names")
                name = f"snapshot {record.fact_id.hex()[:12]} of {record.chain.label or record.chain.text[:8]}"
                engine.note_problem(f"{name}: says more than the facts that it names; it does not count")
            else:
                read_state(fold, decoded)
                known.believed.append(decoded)
        except SnapshotMismatch as problem:
            engine.note_problem(f"snapshot {record.fact_id.hex()[:12]}: {problem}; it does not count")
    return known


async def _first_skeletons(engine: JournalEngine, kind: str) -> dict[bytes, int] | None:
    with suppress(StoreUnavailable):
        return await engine.follower.run(lambda database: database.load_first_skeletons(kind))
    return None


def _are_all_held(
    engine: JournalEngine, snapshot: SnapshotTaken, facts: Sequence[Fact], gone: Mapping[bytes, int] | None
) -> bool:
    """Whether every fact that a snapshot may have folded is here with its payload: each of its bases, and all of its
    kind before them."""
    if gone is None:
        return False
    ids = {get_record(fact).fact_id.hex() for fact in facts}
    for base in snapshot.bases:
        chain = ChainId(bytes.fromhex(base.chain))
        state = engine.index.chain(chain)
        is_whole = state is not None and not state.collapsed and not state.has_hole and not state.is_forked
        if not is_whole or base.fact_id not in ids or gone.get(chain, base.seq + 1) <= base.seq:
            return False
    return True


def _bases(records: Iterable[FactRecord], known: Iterable[SnapshotTaken]) -> list[SnapshotBase]:
    """Where the chains stand whose facts were folded, now or in a snapshot that is folded again."""
    named = sorted((base for snapshot in known for base in snapshot.bases), key=lambda base: base.seq)
    last = {base.chain: base for base in named}
    for record in records:
        chain = record.chain.text
        if chain not in last or last[chain].seq < record.seq:
            last[chain] = SnapshotBase(chain=chain, fact_id=record.fact_id.hex(), seq=record.seq)
    return list(last.values())

"""What compacting a journal does and wins: old payloads go where that is asked for, and log files become Parquet.

Measured and explained for each kind. What is too old is decided in ``journal/retention.py``; the sealing is the
keeper's.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from antiphon.facts import ChannelCreated, Clock, Fact, FactRecord
from antiphon.facts.catalog import build_fact_registry
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal import DeliveryPolicies, DeliveryPolicy, Disk, LogDamaged, LogFrame
from antiphon.journal.erasure import ErasureBook
from antiphon.journal.retention import KindRetention, RetentionItem, RetentionPlan, plan_retention
from antiphon.journal.stores.folder import closed_at
from antiphon.journal.stores.log import file_path, log_files
from antiphon.journal.stores.reader import read_closed_file, read_run_bytes
from antiphon.journal.stores.segments import SealedFile, SegmentStore, write_segment
from antiphon.journal.supersession import plan_supersession
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.services.snapshots import Trimmed, plan_collapse, trimmed_of
from antiphon.views.superseded import SUPERSESSIONS

from .agreement import AGREEMENT_WORDS, judge_agreements, level_in
from .offline import OfflineJournal, open_offline


class KindShare(NamedTuple):
    """What one kind holds in the log files: facts, how many of them erased, and the bytes of their lines."""

    kind: str
    fact_count: int
    erased_count: int
    log_bytes: int


class Compaction(NamedTuple):
    """What was done, or would be: files that become segments, what they hold, and those that stay damaged."""

    is_done: bool
    files: tuple[SealedFile, ...]
    kinds: tuple[KindShare, ...]
    damaged: tuple[tuple[int, str], ...]
    retired: tuple[KindRetention, ...] = ()
    trimmed: tuple[Trimmed, ...] = ()
    """Payloads that went because later facts wrote all over them."""
    collapsed_count: int = 0
    """Facts of which only ids were left, and that are passed over from now on."""

    @property
    def log_bytes(self) -> int:
        """Before."""
        return sum(each.log_bytes for each in self.files)

    @property
    def segment_bytes(self) -> int:
        """After."""
        return sum(each.segment_bytes for each in self.files)

    def to_json(self) -> dict[str, object]:
        """For a program."""
        return {
            "done": self.is_done,
            "files": [
                {
                    "file": each.number,
                    "facts": each.fact_count,
                    "log_bytes": each.log_bytes,
                    "segment_bytes": each.segment_bytes,
                }
                for each in self.files
            ],
            "kinds": [
                {"kind": each.kind, "facts": each.fact_count, "erased": each.erased_count, "log_bytes": each.log_bytes}
                for each in self.kinds
            ],
            "retired": [each._asdict() for each in self.retired],
            "trimmed": {each.kind: each.fact_count for each in self.trimmed},
            "collapsed": self.collapsed_count,
            "damaged": [{"file": number, "reason": reason} for number, reason in self.damaged],
            "log_bytes": self.log_bytes,
            "segment_bytes": self.segment_bytes,
        }


def plan_compaction(
    folder: Path,
    policies: Mapping[str, DeliveryPolicy] | None = None,
    *,
    clock: Clock | None = None,
    is_trimming: bool = False,
    is_collapsing: bool = False,
) -> Compaction:
    """Try it in a folder of its own and say what it wins; reads the journal as any reader may, and changes nothing.

    The newest log file counts when the journal was closed: while it is open, or was left uncleanly, it is passed over.
    *policies* by domain say which payloads are too old. ~25 µs a fact. Raises ``NotAJournal``.
    """
    offline = open_offline(folder)
    registered = DeliveryPolicies()
    for domain, policy in (policies or {}).items():
        registered.register(domain, policy)
    retention = plan_offline(offline, registered, now_ms=(clock or SystemClock()).now_ms())
    chains = [state.info for state in offline.index.chains()]
    book = ErasureBook()
    book.retired.take(retention.notes())
    keep = book.keep if book else None
    files: list[SealedFile] = []
    shares: list[KindShare] = []
    damaged: list[tuple[int, str]] = []
    with tempfile.TemporaryDirectory(prefix="antiphon-compact-") as place, SegmentStore(Path(place)) as store:
        newest = max(log_files(folder), default=0)
        for number in log_files(folder):
            try:
                if number == newest and closed_at(folder) is None:
                    continue  # somebody may be writing it
                contents = read_closed_file(folder, number, chains)
            except LogDamaged as problem:
                if number != newest or closed_at(folder) is not None:  # else somebody began to while we read
                    damaged.append((number, str(problem)))
                continue
            count = sum(frame.fact_count for frame in contents.frames)
            if number == newest and not count:
                continue  # what the last compaction copied forward
            path = write_segment(
                store, number, contents.frames, description=contents.description, disk=Disk(), keep=keep
            )
            files.append(SealedFile(number, count, file_path(folder, number).stat().st_size, path.stat().st_size))
            shares.extend(_shares_of(contents.frames))
            path.unlink()
    bases = plan_collapse(offline.index.chains(), partial(read_run_bytes, folder)) if is_collapsing else []
    collapsed = sum(base.seal.to_seq - base.seal.from_seq for base in bases)
    trimmed = trimmed_of(_superseded(folder, clock)) if is_trimming else ()
    return Compaction(False, tuple(files), _sum_up(shares), tuple(damaged), retention.kinds, trimmed, collapsed)


def _superseded(folder: Path, clock: Clock | None) -> tuple[FactRecord, ...]:
    offline, registry, kinds = open_offline(folder), build_fact_registry(), {rule.kind for rule in SUPERSESSIONS}
    words = {model.fact_type.kind for model in (ChannelCreated, *AGREEMENT_WORDS)}
    decoded = [registry.decode(record) for record in offline.read_records() if record.kind in kinds | words]
    facts = [fact for fact in decoded if isinstance(fact, Fact)]
    forked, now_ms = offline.index.forked(), (clock or SystemClock()).now_ms()
    said = [fact for fact in facts if fact.fact_type.kind in words]
    return plan_supersession(
        SUPERSESSIONS,
        facts,
        due_ms=now_ms + SKEW_MS_MAX,
        is_settled=lambda record: record.chain.chain not in forked,
        level_of=level_in(judge_agreements(said, facts, now_ms=now_ms)),
    )


def plan_offline(journal: OfflineJournal, policies: DeliveryPolicies, *, now_ms: int) -> RetentionPlan:
    """What a retention pass would let go, from the log alone: as the owner decides, up to what a peer that agreed with
    it is known to hold without having said so. Reads *journal* to its end."""
    kinds = policies.retired_kinds
    items: list[RetentionItem] = []
    acks: dict[bytes, dict[str, int]] = {}
    let_go: set[bytes] = set()
    for frame in journal.read_frames():
        for note in frame.notes:
            value: dict[str, Any] = note.value
            if note.kind == "acks":
                for each in map(bytes.fromhex, value["facts"]):
                    known = acks.setdefault(each, {})
                    known[value["peer"]] = min(value["at"], known.get(value["peer"], value["at"]))
            elif note.kind == "acks_dropped":
                let_go.update(map(bytes.fromhex, value["facts"]))
        for record in frame.records:
            payload = record.payload
            if payload is not None and record.kind in kinds:
                place = (record.fact_id, record.chain.chain, record.seq, record.kind, record.at)
                items.append(RetentionItem(*place, len(payload)))
    known_items = (
        item._replace(
            acks={} if item.fact_id in let_go else acks.get(item.fact_id, {}), is_let_go=item.fact_id in let_go
        )
        for item in items
    )
    return plan_retention(known_items, policies, now_ms=now_ms)


async def compact_journal(
    folder: Path,
    policies: Mapping[str, DeliveryPolicy] | None = None,
    *,
    clock: Clock | None = None,
    is_trimming: bool = False,
    is_collapsing: bool = False,
) -> Compaction:
    """Open the journal, let go of what *policies* say is too old and (when that is asked for) of what was written all
    over, pass over what is only ids, close its current log file, and seal what can be."""
    from .journal import Journal

    async with Journal.open(folder, may_create=False, clock=clock) as journal:
        for domain, policy in (policies or {}).items():
            journal.register_delivery_policy(domain, policy)
        retired = (await journal.retire()).kinds if policies else ()
        trimmed = await journal.trim() if is_trimming else ()
        before = journal.fact_count
        if is_collapsing:
            await journal.collapse()
        collapsed_count = before - journal.fact_count
        await journal.engine.start_file()
        plan = plan_compaction(folder, clock=clock)
        sealed = await journal.engine.keeper.seal()
        return plan._replace(
            is_done=True, files=sealed, retired=retired, trimmed=trimmed, collapsed_count=collapsed_count
        )


def _shares_of(frames: Iterable[LogFrame]) -> tuple[KindShare, ...]:
    facts, erased, sizes = Counter[str](), Counter[str](), Counter[str]()
    for frame in frames:
        for record in frame.records:
            facts[record.kind] += 1
            erased[record.kind] += record.payload is None
            sizes[record.kind] += len(record.line)
    return tuple(KindShare(kind, count, erased[kind], sizes[kind]) for kind, count in facts.items())


def _sum_up(shares: Iterable[KindShare]) -> tuple[KindShare, ...]:
    totals: dict[str, KindShare] = {}
    for kind, *counts in shares:
        before = totals.get(kind, KindShare(kind, 0, 0, 0))
        totals[kind] = KindShare(kind, *(had + more for had, more in zip(before[1:], counts, strict=True)))
    return tuple(sorted(totals.values(), key=lambda share: (-share.log_bytes, share.kind)))

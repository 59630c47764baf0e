"""Reading a journal that another process may own: its members, its index and what its views show, from the log.

Takes no lock, opens no database and writes nothing. Decides membership exactly as the journal does when it opens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from antiphon.facts import AuthorityId, ChainId, ChainInfo, Fact, FactRecord
from antiphon.facts.catalog import build_fact_registry
from antiphon.facts.registry import Registration
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal import (
    JournalIndex,
    LogCursor,
    LogDamage,
    LogFrame,
    LoggedRun,
    LogPosition,
    NotAJournal,
    is_journal,
    is_seal_valid,
    read_run_bytes,
)
from antiphon.journal.bases import bases_of
from antiphon.journal.replay import admit_run
from antiphon.journal.stores.folder import LOCK_FILE, closed_at, doubtful_at, journal_id_of
from antiphon.journal.stores.log import LOG_FOLDER, file_path, part_numbers, part_paths
from antiphon.journal.stores.reader import read_acknowledged
from antiphon.reactive import Signal
from antiphon.runtime.witness import Quarantined, read_quarantined
from antiphon.views.provenance import AppViewReplay

if TYPE_CHECKING:
    from antiphon.journal.stores.segments import SegmentStore

_ENDS_EARLY = (
    "the log ends before the frame at which the journal was closed (sync with a peer that holds the rest, or put the "
    "files of a copy back)"
)


@dataclass(slots=True)
class OfflineJournal:
    """A journal's log as far as it was read; ``read_runs`` reads on.

    ``damages`` are stretches that cannot be read, and the place where a log ends too early; ``stray_count`` counts
    facts that stand in the log a second time (copies made by a repair). ``registrations`` are the types that the
    journal recorded, by kind and version.
    """

    folder: Path
    index: JournalIndex = field(default_factory=JournalIndex)
    cursor: LogCursor = field(default_factory=LogCursor.at_start)
    damages: list[LogDamage] = field(default_factory=list)
    frame_count: int = 0
    stray_count: int = 0
    evidence: list[Quarantined] = field(default_factory=list)
    registrations: dict[tuple[str, int], Registration] = field(default_factory=dict)
    segments: SegmentStore | None = None

    def __post_init__(self) -> None:
        self.index.read_run = partial(read_run_bytes, self.folder)
        self.cursor.journal = self.cursor.journal or journal_id_of(self.folder)

    def read_frames(self) -> Iterator[LogFrame]:
        """The frames that were written since the last call, each with only those of its runs that became members.

        The one place where a journal is read without owning it; ~4 µs a fact.
        """
        doubtful, closed = doubtful_at(self.folder), closed_at(self.folder)
        for item in read_acknowledged(self.folder, self.cursor, doubtful=doubtful, segments=self.segments):
            if isinstance(item, LogDamage):
                # A file that cannot be entered is met again by every reading.
                if item not in self.damages:
                    self.damages.append(item)
                continue
            self.frame_count += 1
            self.evidence.extend(found for note in item.notes if (found := read_quarantined(note)) is not None)
            self.registrations.update({(each.kind, each.version): each for each in item.registrations})
            for info in item.chains:
                self.index.introduce(info)
            admitted = item._replace(runs=tuple(self._admit(item)))
            self.index.take_bases(bases_of(item.notes))
            yield admitted
        self._look_for_end(closed)

    def _look_for_end(self, closed: str | None) -> None:
        """Name the place where the log ends although the journal was closed further on.

        By itself a log cannot tell damage to its last frame from a write that was never finished.
        """
        end = self.cursor.position
        # An owner who came meanwhile has written on, so the lock file counts only while it says what it said before.
        if closed in (None, end.frame_hash) or closed != closed_at(self.folder):
            return
        damage = LogDamage(end.file_number or 1, end.offset, 0, _ENDS_EARLY)
        if damage not in self.damages:
            self.damages.append(damage)

    def has_grown(self) -> bool:
        """Whether there may be something to read: two looks at file sizes, whatever the journal holds."""
        position = self.cursor.position
        try:
            is_longer = file_path(self.folder, position.file_number).stat().st_size > position.offset
        except FileNotFoundError:  # not begun, or sealed meanwhile
            return True
        return is_longer or file_path(self.folder, position.file_number + 1).exists()

    def read_runs(self) -> Iterator[LoggedRun]:
        """The runs that became members since the last call, in log order; ~4 µs a fact."""
        for frame in self.read_frames():
            yield from frame.runs

    def _admit(self, frame: LogFrame) -> Iterator[LoggedRun]:
        """The runs that are members, as the journal decides when it opens: what is there twice, because it was
        repaired or sealed twice, counts once."""
        for run in frame.runs:
            admitted = admit_run(self.index, run)
            if admitted is None:
                self.stray_count += run.fact_count
            else:
                yield admitted

    def read_records(self) -> Iterator[FactRecord]:
        """The facts that became members since the last call, in log order."""
        for run in self.read_runs():
            yield from run.records

    @property
    def owner(self) -> ChainInfo | None:
        """The newest chain that this journal's own device wrote; None before its first commit."""
        own = [state.info for state in self.index.chains() if state.info.device == self.cursor.journal]
        return own[-1] if own else None

    @property
    def log_bytes(self) -> int:
        """The size of the log's files."""
        return sum(path.stat().st_size for path in part_paths(self.folder))


def open_offline(path: str | Path, *, segments: SegmentStore | None = None) -> OfflineJournal:
    """A journal to read, at the start of its log; raises ``NotAJournal``. *segments* spares whoever reads one journal
    often the time that opening its segments takes."""
    folder = Path(path)
    check_journal(folder)
    return OfflineJournal(folder, segments=segments)


def check_journal(folder: Path) -> None:
    """Raise ``NotAJournal`` unless *folder* is a journal's."""
    if not is_journal(folder):
        state = "is a file" if folder.is_file() else "holds no journal" if folder.exists() else "does not exist"
        raise NotAJournal(f"{folder} {state}; name the folder of a journal (it holds {LOCK_FILE} and {LOG_FOLDER}/)")


def fold_view(records: Iterable[FactRecord], signal: Signal[Any], *, authority: AuthorityId, now_ms: int) -> Any:
    """What *signal* shows *authority* of these facts: the state that a running journal would have."""
    replay = AppViewReplay(signal.signal_id, authority=authority, now_ms=now_ms)
    registry = build_fact_registry()
    decoded = (registry.decode(record) for record in records if record.kind in replay.kinds and is_due(record, now_ms))
    replay.take(tuple(fact for fact in decoded if isinstance(fact, Fact)))
    return replay.state


def is_due(record: FactRecord, now_ms: int) -> bool:
    """Whether views show a fact already: they wait for what is stamped further ahead than clocks may differ."""
    return record.at <= now_ms + SKEW_MS_MAX


class Verification(NamedTuple):
    """What reading a whole log again showed; it is sound when there are no damages."""

    fact_count: int
    run_count: int
    frame_count: int
    file_count: int
    stray_count: int
    damages: tuple[LogDamage, ...]
    end: LogPosition


def verify_log(
    journal: OfflineJournal, *, on_progress: Callable[[int, int, int], None] = lambda number, done, total: None
) -> Verification:
    """Read the log again from its start: hashes, links, frames, every seal's signature; ~5 µs a fact, 60 µs a run.

    *on_progress* is told each file that is done with: its number, how many are done, and of how many.
    """
    run_count = 0
    damages: list[LogDamage] = []
    numbers, reached = part_numbers(journal.folder), 0
    for run in journal.read_runs():
        run_count += 1
        if run.row.file_number != reached:
            reached = run.row.file_number
            on_progress(reached, bisect_left(numbers, reached), len(numbers))
        damages.extend(
            LogDamage(run.row.file_number, run.row.offset, run.row.length, reason) for reason in _faults_of(run)
        )
    damages.extend(journal.damages)
    on_progress(reached, len(numbers), len(numbers))
    damages.sort(key=lambda damage: (damage.file_number, damage.offset))
    return Verification(
        journal.index.fact_count,
        run_count,
        journal.frame_count,
        len(part_numbers(journal.folder)),
        journal.stray_count,
        tuple(damages),
        journal.cursor.position,
    )


def _faults_of(run: LoggedRun) -> Iterator[str]:
    place = f"facts {run.row.first_seq}..{run.row.last_seq} of chain {run.info.text[:8]}"
    if not run.info.is_authentic:
        yield f"chain {run.info.text[:8]} is not the hash of its key, nonce and namespace"
    if not is_seal_valid(run.seal, run.info.public_key):
        yield f"the seal over {place} is not signed by the chain's key"


class Difference(NamedTuple):
    """A fact that only one of two journals holds: ``holder`` is 0 for the first, 1 for the second."""

    holder: int
    record: FactRecord


class ChainDifference(NamedTuple):
    """A chain of which two journals hold different facts: how far each goes (0: not at all), and from which number on
    they tell two stories (None: one is only behind)."""

    info: ChainInfo
    last_seqs: tuple[int, int]
    forked_at: int | None


class Comparison(NamedTuple):
    """How two journals differ: ``first`` is the earliest fact (by stamp) that only one holds, None when they are equal.

    ``missing`` counts the facts that the first lacks of the second, and the second of the first. ``forked`` names
    chains of which they hold two stories. ``damaged`` and ``stray_counts`` are each side's own troubles: stretches of
    its log that cannot be read, and facts behind such a hole.
    """

    fingerprints: tuple[str, str]
    fact_counts: tuple[int, int]
    namespaces: tuple[str, ...]
    missing: tuple[int, int]
    forked: tuple[str, ...]
    first: Difference | None
    chains: tuple[ChainDifference, ...]
    damage_counts: tuple[int, int]
    stray_counts: tuple[int, int]

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same facts."""
        return self.fingerprints[0] == self.fingerprints[1]


def compare_journals(first: OfflineJournal, second: OfflineJournal) -> Comparison:
    """Compare two journals by their heads, and where those differ fact by fact; two passes over each log."""
    for journal in (first, second):
        for _ in journal.read_runs():
            pass
    sides = (first, second)
    heads = [{state.info.chain: state.head for state in side.index.chains() if state.head.seq} for side in sides]
    differing = {chain for chain in heads[0].keys() | heads[1].keys() if heads[0].get(chain) != heads[1].get(chain)}
    # Chains with one head hold the same facts; the others are told apart by their facts' ids.
    records = [_records_of(side, differing) for side in sides]
    only = [
        [record for fact_id, record in records[side].items() if fact_id not in records[1 - side]] for side in (0, 1)
    ]
    differences = [Difference(side, record) for side in (0, 1) for record in only[side]]
    forked = {record.chain.text for record in only[0]} & {record.chain.text for record in only[1]}
    roots = [side.index.roots() for side in sides]
    return Comparison(
        (first.index.fingerprint(), second.index.fingerprint()),
        (first.index.fact_count, second.index.fact_count),
        tuple(name for name in sorted(roots[0].keys() | roots[1].keys()) if roots[0].get(name) != roots[1].get(name)),
        (len(only[1]), len(only[0])),
        tuple(sorted(forked)),
        min(differences, key=lambda difference: difference.record.stamp, default=None),
        _differing_chains(sides, differing, only),
        (len(first.damages), len(second.damages)),
        (first.stray_count, second.stray_count),
    )


def _differing_chains(
    sides: Sequence[OfflineJournal], differing: Iterable[ChainId], only: Sequence[Sequence[FactRecord]]
) -> tuple[ChainDifference, ...]:
    found = []
    for chain in sorted(differing):
        info = next(state.info for side in sides if (state := side.index.chain(chain)) is not None)
        firsts = [min((record.seq for record in mine if record.chain.chain == chain), default=None) for mine in only]
        forked_at = None if firsts[0] is None or firsts[1] is None else max(firsts[0], firsts[1])
        lasts = [side.index.head_of(chain).seq for side in sides]
        found.append(ChainDifference(info, (lasts[0], lasts[1]), forked_at))
    return tuple(found)


def _records_of(journal: OfflineJournal, chains: set[Any]) -> dict[bytes, FactRecord]:
    """The members of some chains by id."""
    if not chains:
        return {}
    again = OfflineJournal(journal.folder)
    # Up to where the first pass came, or a journal at work would seem to differ from itself.
    heads = {chain: journal.index.head_of(chain).seq for chain in chains}
    return {
        record.fact_id: record
        for record in again.read_records()
        if record.chain.chain in heads and record.seq <= heads[record.chain.chain]
    }

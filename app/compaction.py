"""What compacting a journal does and wins: sealing log files into Parquet, measured and explained for each kind.

Decides nothing about retention, and erases nothing; the sealing itself is the keeper's.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from antiphon.journal import Disk, LogDamaged, LogFrame
from antiphon.journal.stores.log import file_path, log_files
from antiphon.journal.stores.reader import read_closed_file
from antiphon.journal.stores.segments import SealedFile, SegmentStore, write_segment

from .offline import open_offline


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
            "damaged": [{"file": number, "reason": reason} for number, reason in self.damaged],
            "log_bytes": self.log_bytes,
            "segment_bytes": self.segment_bytes,
        }


def plan_compaction(folder: Path) -> Compaction:
    """Try it in a folder of its own and say what it wins; reads the journal as any reader may, and changes nothing.

    ~25 µs a fact. Raises ``NotAJournal``.
    """
    offline = open_offline(folder)
    for _ in offline.read_frames():
        pass
    chains = [state.info for state in offline.index.chains()]
    files: list[SealedFile] = []
    shares: list[KindShare] = []
    damaged: list[tuple[int, str]] = []
    with tempfile.TemporaryDirectory(prefix="antiphon-compact-") as place, SegmentStore(Path(place)) as store:
        for number in list(log_files(folder))[:-1]:
            try:
                contents = read_closed_file(folder, number, chains)
            except LogDamaged as problem:
                damaged.append((number, str(problem)))
                continue
            path = write_segment(store, number, contents.frames, description=contents.description, disk=Disk())
            count = sum(len(frame.records) for frame in contents.frames)
            files.append(SealedFile(number, count, file_path(folder, number).stat().st_size, path.stat().st_size))
            shares.extend(_shares_of(contents.frames))
            path.unlink()
    return Compaction(False, tuple(files), _sum_up(shares), tuple(damaged))


async def compact_journal(folder: Path) -> Compaction:
    """Open the journal, close its current log file, and seal everything that can be."""
    from .journal import Journal

    async with Journal.open(folder, may_create=False) as journal:
        await journal.engine.start_file()
        plan = plan_compaction(folder)
        sealed = await journal.engine.keeper.seal()
        return plan._replace(is_done=True, files=sealed)


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

"""The slowest commits while DuckDB follows and checkpoints: p99.9 of 2,000 windows against their own p50."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from antiphon.journal.stores.duckdb import DuckdbFollower

from .engine import commit_rows, open_watched
from .measure import Figure, Sample, Settings, Stopwatch, percentile
from .workload import Rows

WINDOW = 100
# 50,000 facts are some 10 MB of DuckDB's write-ahead log: each time there is something to move.
CHECKPOINT_EVERY = 500
# In between, as many bare appends of a frame's size: what the disk alone takes in the same minute.
BURST = 100
FRAME_BYTES = 33_000


async def measure(settings: Settings) -> list[Figure]:
    """Windows back to back; a checkpoint is asked for every 500, though a journal left to itself waits for a lull."""
    count = settings.pick(2_000, 1_000)
    rows, samples, undisturbed, bare = Rows(), list[Sample](), list[Sample](), list[Sample]()
    disk = _Disk(settings.folder / "bare")
    async with open_watched(settings.folder / "commit-tail") as journal:
        for _ in range(50):
            await commit_rows(journal, rows.take(WINDOW))
        await journal.engine.follower.barrier()
        waits = _Waits()
        for number in range(count):
            window = rows.take(WINDOW)
            before = waits.read()
            with Stopwatch() as watch:
                await commit_rows(journal, window)
            sample = watch.sample()
            samples.append(sample)
            undisturbed.append(Sample(max(0.0, sample.wall - (waits.read() - before)), sample.cpu))
            if number % BURST == BURST - 1:
                bare.extend(disk.append() for _ in range(BURST))
            if number % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1:
                journal.engine.follower.submit(DuckdbFollower.checkpoint_if_idle)
    slow, usual = percentile(samples, 99.9), percentile(samples, 50)
    return [
        Figure(
            name="commit_tail",
            title=f"p99.9 of {count:,} windows of 100 while DuckDB follows and checkpoints",
            unit="ms a window",
            ours=slow * 1e3,
            reference=usual * 1e3,
            value=slow / usual,
            goal=10,
            final_goal=10,
            reference_name="their own p50",
            is_cpu_judged=False,
            details={
                "windows": count,
                **_tail("", samples),
                **_tail("undisturbed_", undisturbed),
                **_tail("disk_", bare),
                "times_the_disk": slow / percentile(bare, 99.9),
            },
        )
    ]


class _Disk:
    """One file beside the journal, appended to and synced like its log."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(self) -> Sample:
        with Stopwatch() as watch:
            os.write(self._file, bytes(FRAME_BYTES))
            os.fdatasync(self._file)
        return watch.sample()


class _Waits:
    """How long the loop's thread and the log's stood in the kernel's queue for a core so far, in seconds.

    What a busy machine adds to a window; 0 where the kernel does not tell.
    """

    def __init__(self) -> None:
        threads = [each for each in threading.enumerate() if each.name in ("MainThread", "antiphon-log")]
        paths = [Path(f"/proc/self/task/{each.native_id}/schedstat") for each in threads]
        self._files = [os.open(path, os.O_RDONLY) for path in paths if path.exists()]

    def read(self) -> float:
        return sum(int(os.pread(file, 64, 0).split()[1]) for file in self._files) / 1e9


def _tail(prefix: str, samples: Sequence[Sample]) -> dict[str, float | int | str]:
    return {f"{prefix}p{each}_ms": percentile(samples, each) * 1e3 for each in (50, 99, 99.9, 100)}

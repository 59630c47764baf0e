"""What waits for a lull: full collections, DuckDB's write-ahead log, closed log files."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from antiphon import Fact, Journal
from antiphon.journal.stores import duckdb as duckdb_module
from antiphon.journal.stores import log as log_module
from antiphon.journal.stores.duckdb import DuckdbFollower
from antiphon.journal.stores.log import segment_files
from antiphon.runtime import keeper as keeper_module
from antiphon.runtime import lull as lull_module
from antiphon.runtime.collector import FULL_COLLECTIONS, HELD_OFF, FullCollections
from antiphon.runtime.lull import LULL_S, WORK_FACTS_MIN, WORK_LULLS_MAX, Lull
from antiphon.testing.simulation.loop import run_virtual


class Muttered(Fact, kind="lull.muttered", version=1):
    text: str


@pytest.fixture
def threshold() -> Iterator[tuple[int, int, int]]:
    """The collector's thresholds as they are, put back afterwards."""
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


async def passed(seconds: float) -> None:
    """Let virtual time pass."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()


class Worker:
    """A lull on virtual time, and when it was told of."""

    def __init__(self) -> None:
        self.told: list[float] = []
        self.collections = FullCollections()
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.lull = Lull(self.loop, self.tell, collections=self.collections)

    def tell(self) -> None:
        self.told.append(self.loop.time() - self.began)

    async def work(self, *, windows: int, every_s: float, facts: int = 1) -> None:
        for _ in range(windows):
            self.lull.note(facts)
            await passed(every_s)


def test_a_lull_is_told_of_once_after_work_and_never_while_idle() -> None:
    async def main() -> list[float]:
        worker = Worker()
        await worker.work(windows=25, every_s=0.1)
        await passed(3_600)
        return worker.told

    (told,) = run_virtual(main())
    assert 2.4 + LULL_S <= told <= 2.4 + 2 * LULL_S


def test_work_that_never_rests_is_interrupted_every_half_minute() -> None:
    async def main() -> list[float]:
        worker = Worker()
        await worker.work(windows=700, every_s=0.1)
        return worker.told

    first, second = run_virtual(main())
    assert first == pytest.approx(WORK_LULLS_MAX * LULL_S, abs=2 * LULL_S)
    assert second - first == pytest.approx(WORK_LULLS_MAX * LULL_S, abs=2 * LULL_S)


def test_full_collections_are_put_off_from_the_thousandth_fact_to_the_lull(threshold: tuple[int, int, int]) -> None:
    async def main() -> None:
        worker = Worker()
        worker.lull.note(WORK_FACTS_MIN - 1)
        assert gc.get_threshold() == threshold, "a few facts are no work"
        worker.lull.note(1)
        assert gc.get_threshold() == (*threshold[:2], HELD_OFF)
        await passed(3 * LULL_S)
        assert gc.get_threshold() == threshold
        worker.lull.note(WORK_FACTS_MIN)
        assert worker.collections.is_held
        worker.lull.close()
        assert gc.get_threshold() == threshold
        await passed(60)
        assert len(worker.told) == 1, "nothing is told of after the end"

    run_virtual(main())


def test_two_journals_hold_together_and_the_last_one_lets_go(threshold: tuple[int, int, int]) -> None:
    collections = FullCollections()
    collections.hold()
    collections.hold()
    collections.release()
    assert gc.get_threshold()[2] == HELD_OFF
    collections.release()
    assert gc.get_threshold() == threshold


@pytest.mark.parametrize("own", [0, HELD_OFF, HELD_OFF + 1])
@pytest.mark.usefixtures("threshold")
def test_an_application_that_sets_the_collector_itself_is_left_alone(own: int) -> None:
    collections = FullCollections()
    gc.set_threshold(700, 10, own)
    collections.hold()
    assert gc.get_threshold() == (700, 10, own)
    collections.release()
    gc.set_threshold(700, 10, 10)
    collections.hold()
    gc.set_threshold(900, 5, 3)
    collections.release()
    assert gc.get_threshold() == (900, 5, 3), "what was set meanwhile stays"
    gc.disable()
    try:
        collections.hold()
        assert gc.get_threshold() == (900, 5, 3)
        collections.release(has_time=True)
    finally:
        gc.enable()


@pytest.mark.usefixtures("threshold")
def test_a_lull_makes_up_for_a_collection_that_was_put_off_and_for_none_that_was_not() -> None:
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            seen.append(info["generation"])

    collections = FullCollections()
    gc.collect()
    gc.callbacks.append(note)
    try:
        collections.hold()
        collections.release(has_time=True)
        assert 2 not in seen
        collections.hold()
        for _ in range(11):
            gc.collect(1)
        assert 2 not in seen, "ten collections of the middle generation would have brought a full one"
        collections.release(has_time=True)
        assert seen.count(2) == 1
    finally:
        gc.callbacks.remove(note)


@pytest.mark.asyncio
async def test_a_journal_at_work_seals_and_checkpoints_in_the_lull(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lull_module, "LULL_S", 0.01)
    monkeypatch.setattr(log_module, "FILE_BYTES_MAX", 20_000)
    monkeypatch.setattr(keeper_module, "SEAL_BYTES_MIN", 10_000)
    monkeypatch.setattr(duckdb_module, "_CHECKPOINT_BYTES_MIN", 1)
    folder = tmp_path / "j"
    async with Journal.open(folder, author="ada") as journal:
        for _ in range(3):
            await journal.commit_all([Muttered(text="m" * 900)] * 20, flush=True)
        assert not segment_files(folder)
        await journal.engine.follower.barrier()
        async with asyncio.timeout(30):
            while await journal.engine.follower.run(_wal_bytes) or not segment_files(folder):
                pass  # each turn waits for DuckDB's thread
    assert not FULL_COLLECTIONS.is_held


@pytest.mark.asyncio
async def test_closed_files_do_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lull_module, "LULL_S", 3_600)
    monkeypatch.setattr(keeper_module, "UNSEALED_FILES_MAX", 3)
    monkeypatch.setattr(log_module, "FILE_BYTES_MAX", 20_000)
    monkeypatch.setattr(keeper_module, "SEAL_BYTES_MIN", 10_000)
    folder = tmp_path / "j"
    async with Journal.open(folder, author="ada") as journal:
        async with asyncio.timeout(30):
            while not segment_files(folder):
                await journal.commit_all([Muttered(text="m" * 900)] * 20, flush=True)


def _wal_bytes(database: DuckdbFollower) -> int:
    return database.statistics().wal_bytes

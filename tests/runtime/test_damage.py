"""A thousand damaged files: no damage goes unnoticed, none shows another fact, and only what it hit is lost.

Bits flipped, sectors zeroed and swapped, files cut and removed; log files and segments are read as any reader does,
and DuckDB, its write-ahead log and the lock file by opening the journal.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from shutil import copytree
from typing import Any

import pytest

from antiphon import Fact, Journal, view
from antiphon.app.offline import OfflineJournal, open_offline, verify_log
from antiphon.facts import FactId, FactRecord
from antiphon.journal import LoggedRun
from antiphon.journal.stores import log as log_module
from antiphon.journal.stores.log import part_paths
from antiphon.journal.stores.segments import SegmentStore


class Heard(Fact, kind="test.heard", version=1):
    text: str


@view(Heard, initial=())
def heard(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
    return (*state, fact.text)


TEXTS = tuple(f"{number} {'y' * (number * 37 % 300)}" for number in range(100))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "journal"

    async def fill() -> None:
        async with Journal.open(folder, author="ada") as journal:
            for start in range(0, len(TEXTS), 6):
                await journal.commit_all([Heard(text=text) for text in TEXTS[start : start + 6]], flush=True)
                if start == 48:
                    await journal.engine.start_file()
                    await journal.engine.keeper.seal()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "FILE_BYTES_MAX", 20_000)
        asyncio.run(fill())
    return folder


def flip_a_bit(data: bytearray, random: Random) -> None:
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def zero_a_sector(data: bytearray, random: Random) -> None:
    start = random.randrange(0, len(data), 512)
    data[start : start + 512] = bytes(len(data[start : start + 512]))


def swap_sectors(data: bytearray, random: Random) -> None:
    count = max(len(data) // 512, 2)
    first, second = (number * 512 for number in sorted(random.sample(range(count), 2)))
    one, other = data[first : first + 512], data[second : second + 512]
    if len(one) == len(other):
        data[first : first + 512], data[second : second + 512] = other, one


def cut(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data)) :]


DAMAGES: tuple[Callable[[bytearray, Random], None], ...] = (flip_a_bit, zero_a_sector, swap_sectors, cut)


def check_damaged_parts(folder: Path, copy: Path, *, count: int) -> None:
    copytree(folder, copy)
    original = {record.fact_id: record for record in open_offline(folder).read_records()}
    with SegmentStore(copy) as segments:
        for number in range(count):
            check_damage(copy, original, number, segments)


class Watching(OfflineJournal):
    """Keeps what is shown on the way of a verification."""

    shown: dict[bytes, FactRecord]

    def read_runs(self) -> Iterator[LoggedRun]:
        self.shown = {}
        for run in super().read_runs():
            self.shown |= {record.fact_id: record for record in run.records}
            yield run


def check_damage(copy: Path, original: dict[FactId, FactRecord], number: int, segments: SegmentStore) -> None:
    random = Random(number)
    path = random.choice(part_paths(copy))
    whole = path.read_bytes()
    data = bytearray(whole)
    random.choice(DAMAGES)(data, random)
    path.write_bytes(data)
    journal = Watching(copy, segments=segments)
    damages = verify_log(journal).damages
    shown = journal.shown
    assert all(original[fact_id] == record for fact_id, record in shown.items()), f"damage {number}"
    assert len(shown) == len(original) or damages, f"damage {number} went unnoticed"
    near = {int(path.stem), int(path.stem) + 1, int(path.stem) - 1, 0}
    assert {damage.file_number for damage in damages} <= near, f"damage {number}"
    path.write_bytes(whole)


def check_damaged_database(folder: Path, copy: Path, *, count: int) -> None:
    for number in range(count):
        random = Random(number)
        journal = copy / f"{number}"
        copytree(folder, journal)
        path = journal / random.choice(("journal.duckdb", "journal.duckdb", "LOCK", "keys/label"))
        if number % 8 == 7:
            path.unlink()
        else:
            data = bytearray(path.read_bytes())
            random.choice(DAMAGES)(data, random)
            path.write_bytes(data)
        asyncio.run(look(journal))


async def look(folder: Path) -> None:
    async with Journal.open(folder) as journal:
        assert await journal.snapshot(heard) == TEXTS
        await journal.commit(Heard(text="more"), flush=True)
        assert await journal.snapshot(heard) == (*TEXTS, "more")


def test_1000_damaged_log_files_and_segments_are_all_noticed(folder: Path, tmp_path: Path) -> None:
    check_damaged_parts(folder, tmp_path / "copy", count=976)


def test_24_damaged_databases_and_lock_files_lose_nothing(folder: Path, tmp_path: Path) -> None:
    check_damaged_database(folder, tmp_path, count=24)


@pytest.mark.long
def test_10000_damaged_files_are_all_noticed(folder: Path, tmp_path: Path) -> None:
    check_damaged_parts(folder, tmp_path / "copy", count=9_600)
    check_damaged_database(folder, tmp_path, count=400)

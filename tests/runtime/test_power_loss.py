"""Power goes at any moment: what a disk may then hold, drawn from the real order of writes and syncs.

Sectors of 512 bytes and of 4 KiB that were not synced are torn and reordered, entries of folders that were not synced
are lost. In each image every acknowledged fact is there, and nothing is shown that was not said. What is called damage
lies in the bytes that nobody had acknowledged: a frame whose end arrived without its middle cannot be told from one
that was damaged later, so it is named.
"""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from antiphon import Fact, Journal, view
from antiphon.app.offline import open_offline, verify_log
from antiphon.journal import LogDamage
from antiphon.journal.stores import log as log_module
from antiphon.journal.stores.log import file_path
from antiphon.journal.stores.segments import SegmentStore
from antiphon.runtime import keeper as keeper_module
from antiphon.testing.disk import DiskChange, RecordingDisk, draw_image


class Said(Fact, kind="test.said", version=1):
    text: str


@view(Said, initial=())
def said(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
    return (*state, fact.text)


class Life(NamedTuple):
    """What a journal did, what was acknowledged after how many changes, and what was erased after how many."""

    changes: Sequence[DiskChange]
    acknowledged: Sequence[tuple[int, str]]
    erased: Sequence[tuple[int, str]]
    files: dict[str, bytes]


def live(folder: Path, *, seed: int) -> Life:
    """A life with many small files, sealing and erasing, and a second opening."""
    random = Random(seed)
    folder.mkdir(parents=True)
    disk = RecordingDisk(folder)
    acknowledged: list[tuple[int, str]] = []
    erased: list[tuple[int, str]] = []
    kept: dict[str, bytes] = {}

    async def run() -> None:
        for life in range(2):
            async with Journal.open(folder / "journal", author="ada", disk=disk) as journal:
                for number in range(24):
                    texts = [
                        f"{life}.{number}.{part} {'x' * random.randint(0, 2_000)}"
                        for part in range(random.randint(1, 4))
                    ]
                    receipt = await journal.commit_all([Said(text=text) for text in texts], flush=True)
                    acknowledged.extend((len(disk.changes), text) for text in texts)
                    if random.random() < 0.1:
                        await journal.engine.keeper.settle()
                    if random.random() < 0.08:
                        begun = len(disk.changes)
                        await journal.erase(receipt.fact_ids[0])
                        erased.append((begun, texts[0]))
                # The lock file as it is at work: one that says where the journal was closed knows of what was lost.
                paths = [*(folder / "journal" / "keys").iterdir(), folder / "journal" / "LOCK"]
                kept.update({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})

    asyncio.run(run())
    return Life(disk.changes, acknowledged, erased, kept)


def lay_out(folder: Path, image: dict[str, bytes]) -> Path:
    for name, data in image.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "journal"


def check_image(life: Life, folder: Path, random: Random, segments: SegmentStore, *, opens: bool) -> None:
    first = next(index for index, change in enumerate(life.changes) if change.operation == "sync_folder")
    at = random.randint(first + 1, len(life.changes))
    sector_bytes = random.choice((512, 4096))
    image = draw_image(life.changes[:at], random, sector_bytes=sector_bytes)
    journal = lay_out(folder, image | life.files)
    promised = {text for when, text in life.acknowledged if when <= at} - {
        text for when, text in life.erased if when < at
    }
    possible = {text for _, text in life.acknowledged}
    offline = open_offline(journal, segments=segments)
    texts = [record.payload for record in offline.read_records() if record.kind == "test.said"]
    shown = {payload[9:-2].decode() for payload in texts if payload is not None}
    assert promised <= shown <= possible, f"at change {at}, sectors of {sector_bytes}"
    check_damages(offline.damages, life.changes[:at])
    if opens:
        asyncio.run(go_on(journal, promised, possible))


def check_damages(damages: Sequence[LogDamage], changes: Sequence[DiskChange]) -> None:
    written: dict[str, int] = {}
    synced: dict[str, int] = {}
    for change in changes:
        if change.operation == "write":
            written[change.path] = written.get(change.path, 0) + len(change.data)
        if change.operation == "sync":
            synced[change.path] = written.get(change.path, 0)
    for damage in damages:
        path = file_path(Path("journal"), damage.file_number).as_posix()
        assert damage.offset + damage.length > synced.get(path, 0), f"{damage} was acknowledged"


async def go_on(folder: Path, promised: set[str], possible: set[str]) -> None:
    """The journal opens by itself, takes new facts, and is whole when it opens again."""
    for life in range(2):
        async with Journal.open(folder) as journal:
            shown = set(await journal.snapshot(said))
            assert promised <= shown - {"new"} <= possible
            assert all(told.startswith(("log file", "journal.duckdb was not there")) for told in journal.problems)
            assert ("new" in shown) == bool(life)
            assert not (life and journal.problems), (
                "what was torn is left behind in a file that nobody reads to its end"
            )
            await journal.commit(Said(text="new"), flush=True)
            await journal.engine.keeper.seal()
    assert verify_log(open_offline(folder)).damages == ()


def check_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, seed: int, images: int, opened: int) -> None:
    monkeypatch.setattr(log_module, "FILE_BYTES_MAX", 60_000)
    monkeypatch.setattr(keeper_module, "SEAL_BYTES_MIN", 50_000)
    life = live(tmp_path / "life", seed=seed)
    operations = {change.operation for change in life.changes}
    assert operations == {"create", "write", "sync", "sync_folder", "rename", "remove"}
    image = (
        tmp_path / "image"
    )  # always in one place, since opening the means to read segments takes longer than reading
    with SegmentStore(image / "journal") as segments:
        for number in range(images):
            shutil.rmtree(image, ignore_errors=True)
            check_image(life, image, Random(f"{seed}.{number}"), segments, opens=number < opened)


@pytest.mark.parametrize("seed", range(5))
def test_100_power_losses_in_each_of_five_lives_take_nothing_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    check_images(tmp_path, monkeypatch, seed=seed, images=100, opened=2)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 125))
def test_200_power_losses_in_each_of_25_lives_take_nothing_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    check_images(tmp_path, monkeypatch, seed=seed, images=200, opened=12)

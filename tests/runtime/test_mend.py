"""A damaged file is written anew when all that it held is here again, and its old bytes go when all is explained."""

import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest

from antiphon import Fact, Journal, view
from antiphon.app.offline import open_offline, verify_log
from antiphon.journal.frame import LocalNote
from antiphon.journal.stores.log import file_path, log_files, segment_path

pytestmark = pytest.mark.asyncio

TEXTS = tuple(f"said {number}" for number in range(8))


class Said(Fact, kind="mend.said", version=1):
    text: str


@view(Said, initial=(), version=1)
def heard(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
    return (*state, fact.text)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def aside(folder: Path) -> list[str]:
    return [path.name for path in (folder / "log").glob("*.damaged")]


def notes_of(folder: Path) -> list[LocalNote]:
    notes = {repr(note): note for frame in open_offline(folder).read_frames() for note in frame.notes}
    return [note for note in notes.values() if note.kind == "mend.note"]


async def make(folder: Path, *, is_sealed: bool) -> None:
    """A journal of two parts, and a replica that holds the same."""
    async with Journal.open(folder / "a", author="ada") as ada, Journal.open(folder / "b", author="ben") as ben:
        for text in TEXTS:
            await ada.commit(Said(text=text), flush=True)
            ada.engine.note(LocalNote("mend.note", {"text": text}))
        await ada.flush()
        await ada.engine.start_file()
        if is_sealed:
            await ada.engine.keeper.seal()
        await ada.commit(Said(text="in another file"), flush=True)
        assert (await ben.sync_with(ada)).is_success


async def check_mended(folder: Path) -> None:
    """After one meeting with a peer nothing is amiss: not in what is shown, and not on the disk."""
    async with Journal.open(folder / "a", types=[Said]) as ada, Journal.open(folder / "b", types=[Said]) as ben:
        await ada.engine.keeper.scrub()
        assert (await ada.sync_with(ben)).is_success
        await ada.engine.keeper.settle()
        assert ada.fingerprint == ben.fingerprint
        assert await ada.snapshot(heard) == await ben.snapshot(heard) == (*TEXTS, "in another file")
        fact_count = ada.fact_count
    found = verify_log(open_offline(folder / "a"))
    assert (found.damages, found.fact_count) == ((), fact_count)
    for path in (folder / "a").glob("journal.duckdb*"):
        path.unlink()
    async with Journal.open(folder / "a", types=[Said]) as ada:
        assert await ada.snapshot(heard) == (*TEXTS, "in another file")
        assert not any("missing" in problem for problem in ada.problems)


def lines_of(path: Path) -> list[tuple[int, bytes]]:
    at, found = 0, []
    for line in path.read_bytes().splitlines(keepends=True):
        found.append((at, line))
        at += len(line)
    return found


@pytest.mark.parametrize("tag", ["file", "chain", "h", "seal", "local", "frame"])
async def test_one_damaged_line_of_any_sort_is_mended_and_only_lost_notes_keep_the_original(
    tmp_path: Path, tag: str
) -> None:
    await make(tmp_path, is_sealed=False)
    path = file_path(tmp_path / "a", 1)
    at, line = [each for each in lines_of(path) if each[1].startswith(f'{{"{tag}":'.encode())][-1]
    flip(path, at + len(line) // 2)
    kept = len(notes_of(tmp_path / "a"))
    await check_mended(tmp_path)
    assert bool(aside(tmp_path / "a")) == (tag == "local"), "nobody else can say what a local line said"
    assert len(notes_of(tmp_path / "a")) == (kept if tag == "local" else len(TEXTS))
    assert not file_path(tmp_path / "a", 1).exists()
    assert segment_path(tmp_path / "a", 1).is_file()


@pytest.mark.parametrize("is_sealed", [False, True])
async def test_bytes_damaged_anywhere_are_mended(tmp_path: Path, is_sealed: bool) -> None:
    random = Random(5 + is_sealed)
    await make(tmp_path / "whole", is_sealed=is_sealed)
    for number in range(5):
        folder = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "whole", folder)
        path = (segment_path if is_sealed else file_path)(folder / "a", 1)
        for _ in range(random.randint(1, 3)):
            flip(path, random.randrange(path.stat().st_size))
        await check_mended(folder)


@pytest.mark.parametrize("done", ["nothing", "scrub", "seal"])
@pytest.mark.parametrize("name", ["format", "journal", "number", "previous_frame"])
@pytest.mark.parametrize("number", [1, 2])
async def test_a_first_line_that_names_something_else_costs_no_fact(
    tmp_path: Path, number: int, name: str, done: str
) -> None:
    """No hash covers a log file's first line, and a segment repeats what it says."""
    async with Journal.open(tmp_path / "a", author="ada", types=[Said]) as ada:
        for text in TEXTS[:3]:
            await ada.commit(Said(text=text), flush=True)
            await ada.engine.start_file()
        path = file_path(ada.path, number)
        line = path.read_bytes().partition(b"\n")[0]
        at = line.index(f'"{name}":'.encode()) + len(name) + 3 + (name not in ("number", "format"))
        data = bytearray(path.read_bytes())
        data[at] = ord("5") if data[at] != ord("5") else ord("6")
        path.write_bytes(data)
        if done == "scrub":
            assert any(damage.file_number == number for damage in (await ada.engine.keeper.scrub()).damages)
        if done == "seal":
            await ada.engine.keeper.seal()
        fingerprint = ada.fingerprint
    found = verify_log(open_offline(ada.path))
    assert found.fact_count == 4
    assert done == "nothing" or found.damages == ()
    for each in ada.path.glob("journal.duckdb*"):
        each.unlink()
    async with Journal.open(ada.path, types=[Said]) as ada:
        assert ada.fingerprint == fingerprint
        assert await ada.snapshot(heard) == TEXTS[:3]


async def test_the_file_that_is_being_written_is_scrubbed_and_mended_too(tmp_path: Path) -> None:
    await make(tmp_path, is_sealed=False)
    async with Journal.open(tmp_path / "a", types=[Said]) as ada, Journal.open(tmp_path / "b", types=[Said]) as ben:
        assert ada.engine.keeper.statistics().is_scrub_armed
        number, path = list(log_files(tmp_path / "a").items())[-1]
        flip(path, path.read_bytes().index(b"in another file"))
        found = await ada.engine.keeper.scrub()
        assert [damage.file_number for damage in found.damages] == [number]
        await ada.commit(Said(text="and on"), flush=True)
        assert (await ada.sync_with(ben)).is_success
        await ada.engine.keeper.settle()
        assert await ada.snapshot(heard) == await ben.snapshot(heard) == (*TEXTS, "in another file", "and on")
    assert verify_log(open_offline(tmp_path / "a")).damages == ()
    assert aside(tmp_path / "a") == []


async def test_while_anything_is_missing_a_damaged_file_stays_as_it_is(tmp_path: Path) -> None:
    await make(tmp_path, is_sealed=False)
    path = file_path(tmp_path / "a", 1)
    flip(path, path.read_bytes().index(b"said 3"))
    before = path.read_bytes()
    async with Journal.open(tmp_path / "a", types=[Said]) as ada:
        await ada.engine.keeper.scrub()
        await ada.engine.keeper.seal()
        assert path.read_bytes() == before
        assert len(await ada.snapshot(heard)) == len(TEXTS)

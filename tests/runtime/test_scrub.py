"""Scrubbing: what a disk lost in silence is found at work, becomes a hole, and comes back from a peer."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import Fact, Journal, view
from antiphon.app.offline import open_offline, verify_log
from antiphon.journal.stores.log import file_path, segment_path
from antiphon.runtime import keeper as keeper_module
from antiphon.runtime.keeper import SCRUB_PASS_S, choose_scrub

LOOPBACK = "tcp://127.0.0.1:0"
TEXTS = tuple(f"said {number}" for number in range(8))


class Said(Fact, kind="scrub.said", version=1):
    text: str


@view(Said, initial=(), version=1)
def heard(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
    return (*state, fact.text)


async def fill(journal: Journal) -> None:
    for text in TEXTS:
        await journal.commit(Said(text=text), flush=True)


def damage_log(folder: Path) -> None:
    """The disk changes one byte of one fact in a file that nobody writes any more."""
    path = file_path(folder, 1)
    data = path.read_bytes()
    assert data.count(b"said 3") == 1
    path.write_bytes(data.replace(b"said 3", b"said X"))


def damage_segment(folder: Path) -> None:
    path = segment_path(folder, 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # bits rot without leaving a time


@pytest.mark.asyncio
@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("is_reopened", [False, True])
async def test_what_a_scrub_finds_damaged_is_repaired_by_a_peer(
    tmp_path: Path, is_sealed: bool, is_reopened: bool
) -> None:
    async with Journal.open(tmp_path / "b", author="ben") as ben:
        ada = await Journal.open(tmp_path / "a", author="ada")
        await fill(ada)
        await ada.engine.start_file()
        if is_sealed:
            await ada.engine.keeper.seal()
        assert (await ben.sync_with(ada)).is_success
        whole = ada.fingerprint
        assert (await ada.engine.keeper.scrub()).damages == ()
        (damage_segment if is_sealed else damage_log)(ada.path)
        found = await ada.engine.keeper.scrub()
        assert found.damages
        assert any("peers are asked first" in problem for problem in ada.problems)
        assert ada.fingerprint != whole, "what cannot be read is not offered as a member"
        count = len(ada.problems)
        await ada.engine.keeper.scrub()
        assert len(ada.problems) == count, "one damage is told once"
        if not is_reopened:
            assert await ada.snapshot(heard) != (), "what is whole can be read"
        if is_reopened:
            await ada.close()
            ada = await Journal.open(tmp_path / "a")
            await ada.engine.keeper.settle()  # what looked sound to the opening is looked at again
        async with ben.serve(LOOPBACK) as server:
            assert (await ada.sync(server.address)).is_success
        assert ada.fingerprint == ben.fingerprint == whole
        assert ada.engine.index.holes() == []
        assert ada.fact_count == ben.fact_count
        assert await ada.snapshot(heard) == TEXTS
        assert (await ada.sql("select text from scrub_said order by seq")).fetchall() == [(text,) for text in TEXTS]
        await ada.commit(Said(text="and on"))
        async with ben.serve(LOOPBACK) as server:
            assert (await ada.sync(server.address)).is_success
        whole = ada.fingerprint
        assert whole == ben.fingerprint
        await ada.engine.keeper.settle()
        await ada.close()
        assert verify_log(open_offline(tmp_path / "a")).damages == (), "all is explained, so the damaged bytes went"
        assert not list((tmp_path / "a").rglob("*.damaged"))
        for spoilt in ("nothing", "database"):
            if spoilt == "database":
                for path in (tmp_path / "a").glob("journal.duckdb*"):
                    path.unlink()
            async with Journal.open(tmp_path / "a") as ada:
                assert ada.fingerprint == whole, spoilt
                assert await ada.snapshot(heard) == (*TEXTS, "and on"), spoilt
                assert (await ada.sql("select count(*) from scrub_said")).fetchall() == [(9,)], spoilt


@pytest.mark.asyncio
async def test_a_chain_that_names_what_a_scrub_lost_is_ended_and_peers_take_in_the_next(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "a", author="ada") as ada:
        await fill(ada)
    async with Journal.open(tmp_path / "b", author="ben") as ben:
        async with Journal.open(tmp_path / "a", author="ada at home") as ada:
            await ada.commit(Said(text="names what was said before"))
            await ada.engine.start_file()
            damage_log(ada.path)
            assert (await ada.engine.keeper.scrub()).damages
            await ada.commit(Said(text="names nothing that is lost"))
            assert (await ada.sync_with(ben)).is_success
            assert ada.fingerprint == ben.fingerprint
            assert await ben.snapshot(heard) == (*TEXTS[:3], "names nothing that is lost")
        for spoilt in ("nothing", "database"):
            if spoilt == "database":
                for path in (tmp_path / "a").glob("journal.duckdb*"):
                    path.unlink()
            async with Journal.open(tmp_path / "a", author="ada at home") as ada:
                assert ada.fingerprint == ben.fingerprint, spoilt
                await ada.commit(Said(text=f"with {spoilt} spoilt"))
                assert (await ada.sync_with(ben)).is_success
                assert ada.fingerprint == ben.fingerprint, spoilt
        assert (await ben.snapshot(heard))[4:] == ("with nothing spoilt", "with database spoilt")


@pytest.mark.asyncio
async def test_a_scrub_runs_by_itself_and_ends_with_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_SCRUB_S", 0.01)
    async with Journal.open(tmp_path / "a", author="ada") as ada:
        await fill(ada)
        keeper = ada.engine.keeper
        assert not keeper.statistics().is_scrub_armed, "nothing ticks while there is nothing to read again"
        damage_log(ada.path)
        told = asyncio.Event()
        monkeypatch.setattr(keeper, "_on_problem", lambda text: told.set())
        await ada.engine.start_file()
        await ada.commit(Said(text="more"), flush=True)
        assert keeper.statistics().is_scrub_armed
        await asyncio.wait_for(told.wait(), 30)
        await keeper.settle()
        assert keeper.statistics().scrubbed_bytes > 0
        assert keeper.statistics().is_scrub_armed, "the next turn waits on one timer"
    assert not keeper.statistics().is_scrub_armed


@given(
    sizes=st.dictionaries(st.integers(1, 50), st.integers(1, 8_000_000), min_size=1, max_size=12),
    start=st.integers(0, 10**10),
)
def test_whoever_stays_open_scrubs_every_part_within_one_pass_and_no_faster(sizes: dict[int, int], start: int) -> None:
    at, seen, turns = float(start), set[int](), 0
    while at < start + SCRUB_PASS_S + 120 * len(sizes):
        number, delay = choose_scrub(sizes, at_s=at)
        assert delay >= 60
        seen.add(number)
        at += delay
        turns += 1
    # A part whose turn is shorter than a minute may be passed over, and has it in another pass.
    total = sum(sizes.values())
    assert seen >= {number for number, size in sizes.items() if SCRUB_PASS_S * size / total > 120}
    assert turns <= 2 * len(sizes) + 2

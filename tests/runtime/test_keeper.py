"""The keeper: log files become segments behind a running journal, and every reader gets the same answers."""

from pathlib import Path
from typing import Any

import pytest

from antiphon import Fact, Journal, open_history, view
from antiphon.app.offline import open_offline, verify_log
from antiphon.journal.stores import log as log_module
from antiphon.journal.stores.log import log_files, segment_files
from antiphon.runtime import engine as engine_module
from antiphon.runtime import keeper as keeper_module


class Noted(Fact, kind="test.noted", version=1):
    text: str


@view(Noted, initial=())
def notes(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
    return (*state, fact.text)


pytestmark = pytest.mark.asyncio

folded: list[str] = []


@view(Noted, initial=0, version=1)
def count_notes(state: int, fact: Any) -> int:
    folded.append(fact.text)
    return state + 1


TEXTS = tuple(f"note {number} {'z' * 900}" for number in range(400))


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "FILE_BYTES_MAX", 60_000)
    monkeypatch.setattr(keeper_module, "SEAL_BYTES_MIN", 50_000)


async def fill(journal: Journal) -> None:
    for start in range(0, len(TEXTS), 20):
        await journal.commit_all([Noted(text=text) for text in TEXTS[start : start + 20]], flush=True)


@pytest.mark.usefixtures("small_files")
async def test_closed_files_are_sealed_while_the_journal_works_and_all_readers_agree(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        await fill(journal)
        await journal.engine.keeper.settle()
        await journal.engine.keeper.seal()
        assert journal.problems == ()
        assert len(segment_files(folder)) >= 5
        assert len(log_files(folder)) == 1
        assert await journal.snapshot(notes) == TEXTS
        fingerprint = journal.fingerprint
        rows = (await journal.sql("select text from test_noted order by seq")).fetchall()
        async with Journal.open(tmp_path / "peer", author="ben") as peer:
            assert (await peer.sync_with(journal)).is_success
            assert await peer.snapshot(notes) == TEXTS
        async with journal.serve() as server, Journal.open(tmp_path / "third") as third:
            assert (await third.sync(server.address)).is_success
            assert await third.snapshot(notes) == TEXTS
    with open_history(folder) as history:
        assert history.sql("select text from test_noted order by seq").fetchall() == rows
        assert history.damages == ()
        assert history.facts().count() == 401
    assert verify_log(open_offline(folder)).damages == ()
    for spoilt in ("nothing", "database"):
        if spoilt == "database":
            (folder / "journal.duckdb").unlink()
        async with Journal.open(folder) as journal:
            assert all("journal.duckdb was not there" in problem for problem in journal.problems)
            assert journal.fingerprint == fingerprint
            assert await journal.snapshot(notes) == TEXTS
            assert (await journal.sql("select text from test_noted order by seq")).fetchall() == rows
            assert journal.fact_count == 401, "the chain goes on"


@pytest.mark.usefixtures("small_files")
async def test_a_journal_goes_on_in_its_chain_behind_segments(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    for life in range(4):
        async with Journal.open(folder, author="ada") as journal:
            await fill(journal)
            await journal.engine.keeper.seal()
            assert journal.fact_count == 1 + 400 * (life + 1)
            assert len(list(journal.engine.index.chains())) == 1
    with open_history(folder) as history:
        assert history.sql("select count(*), count(distinct seq) from history").fetchall() == [(1601, 1601)]


@pytest.mark.usefixtures("small_files")
async def test_fact_types_survive_the_files_that_registered_them(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        await fill(journal)
        await journal.engine.keeper.seal()
        await journal.commit(Noted(text="last"), flush=True)
    (folder / "journal.duckdb").unlink()
    async with Journal.open(folder) as journal:
        assert ("test.noted", 1) in journal.engine.registry.recorded()
    with open_history(folder) as history:
        assert {kind.kind: kind.version for kind in history.kinds()}["test.noted"] == 1


@pytest.mark.usefixtures("small_files")
async def test_what_one_life_could_not_seal_the_next_one_does(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        journal.engine.keeper.abandon()  # as a crash would
        await fill(journal)
    assert not segment_files(folder)
    count = len(log_files(folder))
    assert count > 5
    async with Journal.open(folder, author="ada") as journal:
        await journal.commit(Noted(text="more"), flush=True)
        await journal.engine.keeper.settle()
        assert len(segment_files(folder)) >= count - 2
        assert await journal.snapshot(notes) == (*TEXTS, "more")


@pytest.mark.usefixtures("small_files")
async def test_a_history_that_was_open_before_follows_into_segments(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        await fill(journal)
        with open_history(folder) as history:
            await journal.engine.keeper.seal()
            await journal.commit_all([Noted(text=text) for text in TEXTS], flush=True)
            await journal.engine.keeper.seal()
            history.refresh()
            assert history.facts("test.*").count() == 800
            assert history.damages == ()


async def test_small_closed_files_stay_log_files_until_asked(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        await fill(journal)
        await journal.engine.start_file()
        await journal.engine.keeper.settle()
        assert not segment_files(folder)
        (sealed,) = await journal.engine.keeper.seal()
        assert (sealed.number, sealed.fact_count) == (1, 401)
        assert sealed.segment_bytes < sealed.log_bytes / 2


@pytest.mark.usefixtures("small_files")
async def test_a_scrub_reads_everything_again_and_names_what_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        await fill(journal)
        await journal.engine.keeper.seal()
        await journal.commit_all([Noted(text=text) for text in TEXTS[:200]], flush=True)
        await journal.engine.start_file()
        sound = await journal.engine.keeper.scrub()
        assert (sound.fact_count, sound.damages) == (601, ())
        path = segment_files(folder)[3]
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 4
        path.write_bytes(data)
        found = await journal.engine.keeper.scrub()
        assert {damage.file_number for damage in found.damages} == {3}
        assert any("log file 3" in told for told in journal.problems)
        assert path.read_bytes() == data, "what is damaged is kept"


async def test_a_journal_that_was_killed_opens_from_what_its_views_kept_while_it_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "CHECKPOINT_FACTS", 200)
    folder = tmp_path / "journal"
    journal = await Journal.open(folder, author="ada")
    assert await journal.snapshot(count_notes) == 0
    await fill(journal)
    await journal.sql("select 1")
    journal.engine._abandon()  # as a kill would leave it
    folded.clear()
    async with Journal.open(folder) as again:
        assert await again.snapshot(count_notes) == 400
        assert len(folded) < 200, "only the tail was folded"


async def test_local_lines_that_fill_a_file_are_not_copied_forward_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red once: what was copied forward closed the next file, which was sealed, and copied forward, and so on."""
    monkeypatch.setattr(log_module, "FILE_BYTES_MAX", 9_000)
    monkeypatch.setattr(keeper_module, "SEAL_BYTES_MIN", 8_000)
    async with Journal.open(tmp_path / "journal", author="ada") as journal:
        await fill(journal)
        await journal.engine.keeper.settle()
        before = journal.statistics().sync_count
        await journal.commit(Noted(text="more"), flush=True)
        await journal.engine.keeper.settle()
        assert journal.statistics().sync_count <= before + 2
        assert await journal.snapshot(notes) == (*TEXTS, "more")

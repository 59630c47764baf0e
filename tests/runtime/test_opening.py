"""Opening and following: whatever becomes of DuckDB, the journal opens, goes on, and history comes back whole."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon import Fact, Journal, view
from antiphon.journal import StoreUnavailable
from antiphon.journal.stores.duckdb import DuckdbFollower

pytestmark = pytest.mark.asyncio


class Said(Fact, kind="test.said", version=1):
    text: str


@view(Said, initial=())
def texts(state: tuple[str, ...], fact: Said) -> tuple[str, ...]:
    return (*state, fact.text)


async def rows_of(journal: Journal) -> list[str]:
    return [row[0] for row in (await journal.sql("select text from test_said order by seq")).fetchall()]


def failing(times: int, error: Exception, name: str = "apply") -> Callable[..., None]:
    """A method that raises so many times and then does what the ``DuckdbFollower``'s of that *name* does."""
    real = getattr(DuckdbFollower, name)
    left = [times]

    def apply(*arguments: object, **options: object) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        real(*arguments, **options)

    return apply


FULL = StoreUnavailable("journal.duckdb: no space left on device; nothing is lost, the log has it all")


async def test_a_disk_too_full_for_the_database_does_not_keep_the_journal_shut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Journal.open(tmp_path / "j") as journal:
        await journal.commit_all([Said(text="a"), Said(text="b")])
        fingerprint = journal.fingerprint
    for path in (tmp_path / "j").glob("journal.duckdb*"):
        path.unlink()
    monkeypatch.setattr(DuckdbFollower, "apply_runs", failing(1, FULL, "apply_runs"))
    async with Journal.open(tmp_path / "j") as journal:
        assert journal.fingerprint == fingerprint
        assert any("no space left" in problem for problem in journal.problems)
        receipt = await journal.commit(Said(text="c"))
        assert receipt.seq == 4
        assert await journal.snapshot(texts) == ("a", "b", "c")
        assert await rows_of(journal) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [FULL, RuntimeError("INTERNAL Error: the database has been invalidated")])
async def test_a_database_that_fails_for_good_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """After what DuckDB calls fatal the old connection refuses everything, so trying again on it would never help."""
    opened: list[Path] = []
    real_open = DuckdbFollower.open.__func__  # type: ignore[attr-defined]

    def noted(cls: type[DuckdbFollower], path: Path, **options: object) -> DuckdbFollower:
        opened.append(path)
        follower: DuckdbFollower = real_open(cls, path, **options)
        return follower

    monkeypatch.setattr(DuckdbFollower, "open", classmethod(noted))
    async with Journal.open(tmp_path / "j") as journal:
        await journal.commit(Said(text="a"))
        assert await rows_of(journal) == ["a"]
        monkeypatch.setattr(DuckdbFollower, "apply", failing(1, error))
        await journal.commit(Said(text="b"))
        with pytest.raises(Exception, match="ask again later"):
            await journal.sql("select 1")
        await journal.commit(Said(text="c"))
        assert await rows_of(journal) == ["a", "b", "c"]
        assert len(opened) == 2
        for number in range(3):
            await journal.commit(Said(text=str(number)), flush=True)
        assert await rows_of(journal) == ["a", "b", "c", "0", "1", "2"]
        assert len(opened) == 2, "and it stays open"


async def test_history_asked_for_while_commits_go_on_is_never_behind_its_asker(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j") as journal:

        async def talk(name: str) -> None:
            for turn in range(15):
                await journal.commit(Said(text=f"{name}{turn}"), flush=True)
                rows = await rows_of(journal)
                assert f"{name}{turn}" in rows
                assert len(rows) == len(set(rows))

        async with asyncio.TaskGroup() as group:
            for name in "abcd":
                group.create_task(talk(name))


async def test_two_counts_of_facts_agree_though_damaged_frames_were_left_out(tmp_path: Path) -> None:
    """Positions count members: frames behind a damaged one are in the log, but not among them."""
    async with Journal.open(tmp_path / "j") as journal:
        for text in "abcd":
            await journal.commit(Said(text=text), flush=True)
    for path in (tmp_path / "j").glob("journal.duckdb*"):
        path.unlink()
    log = tmp_path / "j" / "log" / "00000001.ndjson"
    log.write_bytes(log.read_bytes().replace(b'"text":"b"', b'"text":"x"'))
    for round_number in range(2):
        async with Journal.open(tmp_path / "j") as journal:
            before = journal.fact_count
            await journal.commit(Said(text=f"new{round_number}"))
            count = (await journal.sql("select count(*) from history")).fetchall()
            assert count == [(journal.fact_count,)]
            assert journal.fact_count > before
            assert journal.engine.follower.statistics().apply_count <= 2, "followed, and not read anew each time"


async def test_a_repair_by_a_peer_brings_everything_back(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "peer") as peer:
        async with Journal.open(tmp_path / "j") as journal:
            for text in "abcd":
                await journal.commit(Said(text=text), flush=True)
            await journal.sync_with(peer)
        for path in (tmp_path / "j").glob("journal.duckdb*"):
            path.unlink()
        log = tmp_path / "j" / "log" / "00000001.ndjson"
        log.write_bytes(log.read_bytes().replace(b'"text":"b"', b'"text":"x"'))
        async with Journal.open(tmp_path / "j") as journal:
            assert await journal.snapshot(texts) == ("a", "c", "d"), "only the damaged frame's facts are gone"
            assert len(journal.engine.index.holes()) == 1
            assert (await journal.sync_with(peer)).is_success
            assert journal.engine.index.holes() == []
            assert journal.fingerprint == peer.fingerprint
            assert journal.read(texts) == ("a", "b", "c", "d")
        async with Journal.open(tmp_path / "j") as journal:
            assert journal.problems == ()
            assert await journal.snapshot(texts) == ("a", "b", "c", "d")
        for path in (tmp_path / "j").glob("journal.duckdb*"):
            path.unlink()
        async with Journal.open(tmp_path / "j") as journal:  # once more from the log, damage, repair and all
            assert await journal.snapshot(texts) == ("a", "b", "c", "d")
            assert journal.fingerprint == peer.fingerprint


@pytest.mark.asyncio
async def test_lost_keys_make_a_new_author_and_that_is_told(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        first = journal.authority
        await journal.commit(Said(text="a"), flush=True)
    for key in (tmp_path / "j" / "keys").glob("*.key"):
        key.unlink()
    async with Journal.open(tmp_path / "j") as journal:
        assert journal.authority != first
        assert any("keys were missing" in problem for problem in journal.problems)

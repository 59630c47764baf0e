"""What was collapsed is gone here as well, and stays gone: through reopenings, deaths half-way and old peers."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest

from antiphon import Fact, Journal, open_history, view
from antiphon.app.offline import open_offline, verify_log
from antiphon.journal import LogCursor, LogFrame, read_log
from antiphon.journal.lattices.sets import GSet
from antiphon.journal.snapshot import LatticeFold

pytestmark = pytest.mark.asyncio


class Seen(Fact, kind="collapse.seen", version=1):
    page: str


class Kept(Fact, kind="collapse.kept", version=1):
    text: str


def worth(fact: Any) -> GSet:
    return GSet(frozenset({fact.page}))


PAGES: LatticeFold[GSet] = LatticeFold("collapse.seen", GSet(), worth)


@view(Kept, initial=(), version=1)
def kept(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
    return (*state, fact.text)


def seen_on_disk(folder: Path) -> int:
    """How many facts of the folded kind log files and segments hold, members or not."""
    frames = [frame for frame in read_log(folder, LogCursor.at_start()) if isinstance(frame, LogFrame)]
    return sum(record.kind == "collapse.seen" for frame in frames for record in frame.records)


async def fill(journal: Journal, pages: str) -> None:
    for page in pages:
        await journal.commit(Seen(page=page), flush=True)


def told(history: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = history.sql("select fact_id, payload from history order by fact_id").fetchall()
    return rows


async def test_a_death_before_the_files_were_written_anew_costs_only_the_room_until_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Journal.open(tmp_path / "a", author="ada", types=[Seen]) as ada:
        await ada.commit(Kept(text="opening"), flush=True)
        await fill(ada, "abcdef")
        await ada.cut(PAGES)
        whole, count = ada.fingerprint, ada.fact_count

        def nothing(numbers: Any) -> "asyncio.Future[None]":
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done

        monkeypatch.setattr(ada.engine.keeper, "drop_collapsed", nothing)
        assert await ada.collapse() == 1
        assert ada.fact_count == count - 6
    assert seen_on_disk(ada.path) == 6, "the files were not written anew"
    for spoilt in ("nothing", "database"):
        for path in ada.path.glob("journal.duckdb*") if spoilt == "database" else ():
            path.unlink()
        async with Journal.open(ada.path, types=[Seen]) as again:
            assert (again.fingerprint, again.fact_count) == (whole, count - 6), spoilt
            assert (await again.sql("select count(*) from history")).fetchall() == [(again.fact_count,)], spoilt
    async with Journal.open(ada.path, types=[Seen]) as again:
        assert await again.collapse() == 0
        assert seen_on_disk(ada.path) == 0
        assert await again.fold(PAGES) == GSet(frozenset("abcdef"))
    assert verify_log(open_offline(ada.path)).damages == ()


async def test_a_reader_beside_the_owner_follows_a_collapse(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "a", author="ada", types=[Seen]) as ada:
        await ada.commit(Kept(text="opening"), flush=True)
        await fill(ada, "abcdef")
        with open_history(ada.path) as beside:
            assert beside.statistics().fact_count == ada.fact_count
            await ada.cut(PAGES)
            await ada.collapse()
            await ada.commit(Kept(text="behind"), flush=True)
            beside.refresh()
            with open_history(ada.path) as late:
                assert told(beside) == told(late)
                assert beside.statistics().fact_count == late.statistics().fact_count == ada.fact_count
                assert repr(beside) == repr(late)


async def test_kept_views_and_acknowledgements_count_on_over_a_collapse(tmp_path: Path) -> None:
    """Their places in the log are counted in facts, of which a collapse takes some away."""
    async with Journal.open(tmp_path / "a", author="ada", types=[Seen, Kept]) as ada:
        await ada.commit(Kept(text="first"), flush=True)
        assert await ada.snapshot(kept) == ("first",)
    async with Journal.open(tmp_path / "a", types=[Seen, Kept]) as ada:  # the view's state is kept by now
        await fill(ada, "abcdef")
        await ada.cut(PAGES)
        await ada.collapse()
        await ada.commit(Kept(text="second"), flush=True)
        assert await ada.snapshot(kept) == ("first", "second")
    async with Journal.open(tmp_path / "a", types=[Seen, Kept]) as ada:
        await ada.commit(Kept(text="third"), flush=True)
        assert await ada.snapshot(kept) == ("first", "second", "third")


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_done_in_whatever_order_nothing_comes_back_and_answers_stay(
    tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    said: set[str] = set()
    number = 0
    async with Journal.open(tmp_path / "old", author="old", types=[Seen, Kept]) as old:
        ada = await Journal.open(tmp_path / "a", author="ada", types=[Seen, Kept])
        for _ in range(14):
            match random.choice(["say", "say", "say", "keep", "late", "cut", "collapse", "collapse", "meet", "reopen"]):
                case "say":
                    for _ in range(random.randint(1, 3)):
                        number += 1
                        said.add(f"{number}")
                        await ada.commit(Seen(page=f"{number}"), flush=True)
                case "keep":
                    number += 1
                    await ada.commit(Kept(text=f"{number}"), flush=True)
                case "late":
                    number += 1
                    said.add(f"{number}")
                    await old.commit(Seen(page=f"{number}"), flush=True)
                case "cut":
                    await ada.cut(PAGES)
                case "collapse":
                    await ada.collapse()
                case "meet":
                    assert (await ada.sync_with(old)).is_success
                    assert ada.fingerprint == old.fingerprint
                case "reopen":
                    await ada.close()
                    for path in ada.path.glob("journal.duckdb*") if random.random() < 0.5 else ():
                        path.unlink()
                    ada = await Journal.open(ada.path, types=[Seen, Kept])
                    assert not any(state.is_forked for state in ada.engine.index.chains())
        assert (await ada.sync_with(old)).is_success
        assert ada.fingerprint == old.fingerprint
        for journal in (ada, old):
            assert await journal.fold(PAGES) == GSet(frozenset(said))
            assert journal.engine.index.holes() == []
        assert await ada.snapshot(kept) == await old.snapshot(kept)
        assert (await ada.sql("select count(*) from history")).fetchall() == [(ada.fact_count,)]
        await ada.close()
        found = verify_log(open_offline(ada.path))
        assert (found.damages, found.fact_count) == ((), ada.fact_count)
        with open_history(ada.path) as history:
            assert history.statistics().fact_count == ada.fact_count

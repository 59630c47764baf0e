"""Cuts in real journals: payloads go, answers stay, late facts fold, and an old peer brings nothing back."""

from pathlib import Path
from typing import Any

import pytest

from antiphon import Fact, Journal
from antiphon.app.offline import open_offline, verify_log
from antiphon.journal import LogCursor, LogFrame, read_log
from antiphon.journal.lattices.sets import GSet
from antiphon.journal.snapshot import LatticeFold

pytestmark = pytest.mark.asyncio


class Seen(Fact, kind="snap.seen", version=1):
    page: str


class Other(Fact, kind="snap.other", version=1):
    text: str


def worth(fact: Any) -> GSet:
    return GSet(frozenset({fact.page}))


PAGES: LatticeFold[GSet] = LatticeFold("snap.seen", GSet(), worth)


def payloads(folder: Path) -> int:
    return sum(
        record.kind == "snap.seen" and record.payload is not None for record in open_offline(folder).read_records()
    )


def held_on_disk(folder: Path) -> list[tuple[str, int]]:
    """Kind and number of every fact that a log file or segment holds, members or not."""
    frames = [frame for frame in read_log(folder, LogCursor.at_start()) if isinstance(frame, LogFrame)]
    return sorted((record.kind, record.seq) for frame in frames for record in frame.records)


async def test_chains_begin_behind_what_was_let_go_and_old_peers_bring_nothing_back(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada", types=[Seen]) as ada,
        Journal.open(tmp_path / "old", author="old", types=[Seen]) as old,
        Journal.open(tmp_path / "new", author="new", types=[Seen]) as new,
    ):
        await ada.commit(Other(text="the opening's window"), flush=True)
        for page in "abcdef":
            await ada.commit(Seen(page=page), flush=True)
        assert (await old.sync_with(ada)).is_success
        assert await ada.collapse() == 0, "what they say still counts"
        await ada.cut(PAGES)
        await ada.commit(Seen(page="behind"), flush=True)
        assert await ada.collapse() == 1
        assert await ada.collapse() == 0
        whole = ada.fingerprint
        assert (await new.sync_with(ada)).is_success
        assert new.fact_count == 2 + 1 + 1, "the opening run, the snapshot, and what lies behind: no skeletons"
        assert ada.fact_count == new.fact_count, "nor are there any where they were collapsed"
        assert held_on_disk(ada.path) == held_on_disk(new.path)
        assert (await ada.sql("select count(*) from history where kind = 'snap.seen'")).fetchall() == [(1,)]
        for one, other in ((ada, old), (new, old), (ada, new)):
            assert (await one.sync_with(other)).is_success
        assert ada.fingerprint == old.fingerprint == new.fingerprint == whole
        for journal in (ada, old, new):
            assert await journal.fold(PAGES) == GSet(frozenset({*"abcdef", "behind"}))
            assert journal.problems == ()
        assert new.fact_count == ada.fact_count == 4, "an old peer brings nothing back"
        assert old.fact_count == 10
    for spoilt in ("nothing", "database"):
        for path in (tmp_path / "a").glob("journal.duckdb*") if spoilt == "database" else ():
            path.unlink()
        async with Journal.open(tmp_path / "a", types=[Seen]) as ada:
            assert ada.fingerprint == whole
            await ada.commit(Seen(page=spoilt))
            assert not any(state.is_forked for state in ada.engine.index.chains())
            whole = ada.fingerprint


async def test_a_cut_changes_no_answer_here_or_elsewhere_and_nothing_comes_back(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada", types=[Seen]) as ada,
        Journal.open(tmp_path / "old", author="old", types=[Seen]) as old,
        Journal.open(tmp_path / "new", author="new", types=[Seen]) as new,
    ):
        for page in "abcabd":
            await ada.commit(Seen(page=page))
        assert (await old.sync_with(ada)).is_success
        await old.commit(Seen(page="late"))  # below the cut, and not known where it is made
        before = await ada.fold(PAGES)
        cut = await ada.cut(PAGES)
        assert cut.retired_count == 6
        assert payloads(ada.path) == 0
        assert await ada.fold(PAGES) == before == GSet(frozenset("abcd"))
        assert (await ada.cut(PAGES)).record is None, "there is nothing to fold again"
        await ada.commit(Seen(page="behind"))
        assert (await new.sync_with(ada)).is_success
        assert await new.fold(PAGES) == await ada.fold(PAGES), "who never saw the facts has the snapshot"
        for one, other in ((ada, old), (new, old), (ada, new)):
            assert (await one.sync_with(other)).is_success
        assert ada.fingerprint == old.fingerprint == new.fingerprint
        everything = GSet(frozenset({*"abcd", "behind", "late"}))
        for journal in (ada, old, new):
            assert await journal.fold(PAGES) == everything
            assert journal.problems == ()
        assert payloads(ada.path) == 2, "the late one, and the one behind"
        second = await ada.cut(PAGES)
        assert second.retired_count == 2
        assert await ada.fold(PAGES) == everything
    assert verify_log(open_offline(tmp_path / "a")).damages == ()
    for path in (tmp_path / "a").glob("journal.duckdb*"):
        path.unlink()
    async with Journal.open(tmp_path / "a", types=[Seen]) as ada:
        assert await ada.fold(PAGES) == everything
        assert payloads(ada.path) == 0

"""Retention in real journals: payloads go from this node alone, ids stay, and nothing comes back."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from antiphon import Fact, Journal, open_history, view
from antiphon.app.offline import open_offline, verify_log
from antiphon.facts import LocalViolation
from antiphon.journal import DeliveryPolicy
from antiphon.journal.stores.log import file_path, log_files
from antiphon.runtime.services import retention as retention_module
from antiphon.testing.disk import FaultyDisk

pytestmark = pytest.mark.asyncio

DAY_MS = 86_400_000
SECRET = "swordfish"


class Noted(Fact, kind="test.noted", version=1):
    text: str


class Kept(Fact, kind="test.kept", version=1):
    text: str


@view(Noted, Kept, initial=(), version=1)
def notes(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
    return (*state, fact.text)


class Wall:
    """A clock that tests put forward by days."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def pass_days(self, days: float) -> None:
        self.ms += int(days * DAY_MS)


MONTHS = DeliveryPolicy(
    min_retention=timedelta(days=30), max_retention=timedelta(days=90), retired_kinds=frozenset({"test.noted"})
)


def texts_on_disk(folder: Path) -> str:
    return str([record.line for record in open_offline(folder).read_records()])


async def test_what_is_too_old_goes_from_files_tables_and_views_and_the_roots_stay(tmp_path: Path) -> None:
    wall = Wall()
    folder = tmp_path / "a"
    async with (
        Journal.open(folder, author="ada", clock=wall) as ada,
        Journal.open(tmp_path / "b", author="ben", clock=wall) as ben,
    ):
        ada.register_delivery_policy("test", MONTHS)
        await ada.commit_all([Noted(text=f"{SECRET} 1"), Kept(text="kept"), Noted(text=f"{SECRET} 2")])
        assert (await ben.sync_with(ada)).is_success
        fingerprint = ada.fingerprint
        wall.pass_days(29)
        assert (await ada.retire()).retired == ()
        wall.pass_days(30)
        await ada.commit(Noted(text="young"))
        assert (await ada.retire()).retired == (), "nobody acknowledged it, and it is not 90 days old"
        async with ada.watch(notes) as updates:
            assert (await anext(updates)).value == (f"{SECRET} 1", "kept", f"{SECRET} 2", "young")
            wall.pass_days(32)
            plan = await ada.retire()
            assert (await anext(updates)).value == ("kept", "young")
        assert [(each.kind, each.retired_count, each.young_count, each.needed_count) for each in plan.kinds] == [
            ("test.noted", 2, 0, 1)
        ]
        assert (await ada.retire()).retired == ()
        assert SECRET not in texts_on_disk(folder)
        assert (await ada.sql("select text from test_noted")).fetchall() == [("young",)]
        assert (await ben.sync_with(ada)).is_success
        assert ada.fingerprint == ben.fingerprint != fingerprint, "one fact more, and equal all the same"
        assert await ben.snapshot(notes) == (f"{SECRET} 1", "kept", f"{SECRET} 2", "young"), "ben keeps what he likes"
        assert ada.problems == ()
    assert verify_log(open_offline(folder)).damages == ()
    with open_history(folder) as history:
        assert history.sql("select text from test_noted").fetchall() == [("young",)]
    for spoilt in ("nothing", "database"):
        if spoilt == "database":
            (folder / "journal.duckdb").unlink()
        async with Journal.open(folder, clock=wall) as ada:
            assert await ada.snapshot(notes) == ("kept", "young")
            assert all("journal.duckdb was not there" in problem for problem in ada.problems)


async def test_a_payload_that_was_let_go_does_not_come_with_facts_that_a_peer_brings_later(tmp_path: Path) -> None:
    wall = Wall()
    async with (
        Journal.open(tmp_path / "a", author="ada", clock=wall) as ada,
        Journal.open(tmp_path / "b", author="ben", clock=wall) as ben,
    ):
        ada.register_delivery_policy("test", MONTHS)
        await ben.commit(Noted(text=SECRET))
        wall.pass_days(91)
        await ada.retire()
        await ben.commit(Noted(text="new"))
        assert (await ada.sync_with(ben)).is_success
        assert ada.fingerprint == ben.fingerprint
        assert await ada.snapshot(notes) == ("new",)
        assert SECRET not in texts_on_disk(ada.path)
    async with Journal.open(tmp_path / "a", clock=wall) as ada:
        assert await ada.snapshot(notes) == ("new",)


async def test_single_facts_that_were_let_go_stay_gone_when_their_log_file_is_lost_and_repaired(tmp_path: Path) -> None:
    """Between the two ages a fact is remembered by its id: a repair brings it back without its payload."""
    wall = Wall()
    folder = tmp_path / "a"
    acked = DeliveryPolicy(min_retention=timedelta(0), max_retention=None, retired_kinds=frozenset({"test.noted"}))

    class Always(DeliveryPolicy):
        def should_drop_tracking(self, *_: object) -> bool:
            return True

    async with Journal.open(tmp_path / "b", author="ben", clock=wall) as ben:
        async with Journal.open(folder, author="ada", clock=wall) as ada:
            ada.register_delivery_policy("test", Always(retired_kinds=acked.retired_kinds))
            await ada.commit(Noted(text=SECRET))
            await ada.commit(Kept(text="kept"))
            assert (await ben.sync_with(ada)).is_success
            assert len((await ada.retire()).retired) == 1
            await ada.commit(Kept(text="after"))
        # Everything but the keys and the last log file, with the notes, is lost.
        for path in (folder / "segments").iterdir():
            path.unlink()
        (folder / "journal.duckdb").unlink()
        async with Journal.open(folder, clock=wall) as ada:
            assert ada.problems != ()
            assert (await ada.sync_with(ben)).is_success
            assert "kept" in await ada.snapshot(notes)
            assert SECRET not in await ada.snapshot(notes)
            assert SECRET not in texts_on_disk(folder)


async def test_what_a_crash_left_undone_is_done_when_the_journal_opens(tmp_path: Path) -> None:
    wall, disk = Wall(), FaultyDisk()
    folder = tmp_path / "a"
    async with Journal.open(folder, author="ada", clock=wall, disk=disk) as ada:
        ada.register_delivery_policy("test", MONTHS)
        await ada.commit(Noted(text=SECRET))
        wall.pass_days(91)
        disk.fail("rename", times=5)
        with pytest.raises(Exception, match="segment"):
            await ada.retire()
        disk.heal()
        assert await ada.snapshot(notes) == (), "views forget at once"
        assert file_path(folder, min(log_files(folder))).exists()
    async with Journal.open(folder, clock=wall) as ada:
        assert await ada.snapshot(notes) == ()
        await ada.engine.forgotten()
        assert SECRET not in texts_on_disk(folder)
        assert (await ada.sql("select count(*) from test_noted")).fetchall() == [(0,)]


async def test_passes_run_on_the_clock_when_asked_for_and_end_with_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Wall()
    ada = await Journal.open(tmp_path / "a", author="ada", clock=wall)
    with pytest.raises(LocalViolation, match="too often"):
        ada.retire_every(timedelta(seconds=1))
    monkeypatch.setattr(retention_module, "INTERVAL_S_MIN", 0.0)
    ada.register_delivery_policy("test", MONTHS)
    await ada.commit_all([Noted(text=SECRET), Kept(text="kept")])
    wall.pass_days(91)
    async with ada.watch(notes) as updates:
        assert (await anext(updates)).value == (SECRET, "kept")
        ada.retire_every(timedelta(milliseconds=5))
        assert (await anext(updates)).value == ("kept",)
    await ada.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing outlives the journal"
    assert ada.problems == ()


async def test_a_fact_that_says_it_is_older_than_the_horizon_is_not_shown_at_any_time(tmp_path: Path) -> None:
    """Shown when it is committed and gone when it is folded again would not be a function of the set."""

    class Dated(Fact, kind="test.noted", version=1, time="at"):
        text: str
        at: int

    @view(Dated, initial=())
    def dated(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
        return (*state, fact.text)

    wall = Wall()
    async with Journal.open(tmp_path / "a", author="ada", clock=wall) as ada:
        ada.register_delivery_policy("test", MONTHS)
        await ada.commit(Dated(text="now", at=wall.ms))
        await ada.retire()
        assert await ada.snapshot(dated) == ("now",)
        await ada.commit(Dated(text="long ago", at=wall.ms - 91 * DAY_MS), flush=True)
        assert await ada.snapshot(dated) == ("now",)
    async with Journal.open(tmp_path / "a", clock=wall, types=[Dated]) as ada:
        assert await ada.snapshot(dated) == ("now",)

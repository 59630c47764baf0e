"""Closing stops the pipeline first and gives the folder back last; what was taken is shown, and nothing outlives it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antiphon import Fact, Journal, view
from antiphon.journal import JournalFolder, LogPosition
from antiphon.reactive import SubscriptionClosed

pytestmark = pytest.mark.asyncio


class Rung(Fact, kind="closing.rung", version=1):
    number: int


@view(Rung, initial=())
def rungs(state: tuple[int, ...], fact: Rung) -> tuple[int, ...]:
    return (*state, fact.number)


async def test_the_pipeline_stops_first_and_the_folder_is_given_back_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asyncio.all_tasks()
    journal = await Journal.open(tmp_path / "j", author="ada")
    engine, log = journal.engine, list[str]()
    async with journal.watch(rungs) as updates:
        await updates.recv()
        engine.views.scheduler.updates().subscribe(
            on_next=lambda news: None, on_completed=lambda: log.append("pipeline stopped")
        )
        close_follower, release = engine.follower.close, type(engine.folder).release

        async def follower_closes() -> None:
            log.append("follower stops")
            await close_follower()

        def folder_goes(folder: JournalFolder, position: LogPosition | None) -> None:
            log.append("folder given back")
            release(folder, position)

        monkeypatch.setattr(engine.follower, "close", follower_closes)
        monkeypatch.setattr(JournalFolder, "release", folder_goes)
        last = asyncio.ensure_future(journal.commit(Rung(number=1)))
        await asyncio.sleep(0)
        await journal.close()
        assert (await last).seq > 0
        assert (await updates.recv()).value == (1,)
        with pytest.raises(SubscriptionClosed):
            await updates.recv()
    assert log == ["pipeline stopped", "follower stops", "folder given back"]
    assert asyncio.all_tasks() == before

"""Whose turn it is: a peer's facts are verified between this journal's own windows, and neither waits for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antiphon import Fact, Journal
from antiphon.journal.sync.messages import IncomingRun
from antiphon.runtime.engine import FACTS_A_TURN_MAX, WRITES_FIRST
from antiphon.testing.records import ChainWriter, make_draft

pytestmark = pytest.mark.asyncio

PARTS = 5


class Chirped(Fact, kind="turns.chirped", version=1):
    text: str


def flood_of(writer: ChainWriter) -> list[IncomingRun]:
    """Runs that fill a turn each."""
    drafts = [make_draft(Chirped(text="x"))] * (FACTS_A_TURN_MAX - 1)
    return [writer.say(*drafts) for _ in range(PARTS)]


async def test_own_windows_go_first_and_a_peer_has_its_turn_all_the_same(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        runs = flood_of(ChainWriter("eve"))

        async def talk_without_a_pause() -> None:
            while True:
                await journal.commit(Chirped(text="own"), flush=True)

        talking = asyncio.create_task(talk_without_a_pause())
        await journal.commit(Chirped(text="first"), flush=True)
        before = journal.engine.statistics().window_count
        async with asyncio.timeout(60):
            result = await journal.engine.ingest(runs)
        windows = journal.engine.statistics().window_count - before
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        assert result.admitted_facts == PARTS * (FACTS_A_TURN_MAX - 1) + 1
        assert windows >= PARTS * (WRITES_FIRST - 1), "own windows went between the parts"


async def test_a_long_batch_lets_the_loop_turn_between_its_parts(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        taken: list[int] = []
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        ingest = journal.engine._take_in_turns

        async def watched(batch, runs):  # type: ignore[no-untyped-def]
            before = turns
            result = await ingest(batch, runs)
            taken.append(turns - before)
            return result

        journal.engine._take_in_turns = watched  # type: ignore[method-assign]
        turning = asyncio.create_task(turn())
        await journal.engine.ingest(flood_of(ChainWriter("eve")))
        turning.cancel()
        assert taken[0] >= PARTS

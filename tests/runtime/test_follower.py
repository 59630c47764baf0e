"""A query that nobody waits for any more does not hold up the journal."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from antiphon import Fact, Journal
from antiphon.journal import StoreUnavailable

ENDLESS = "select count(*) from range(100000000) a, range(1000) b where (a.range * b.range) % 7 = 3"


@pytest.mark.asyncio
async def test_a_cancelled_query_is_ended_and_the_next_one_is_answered(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(journal.sql(ENDLESS), 0.5)
        result = await asyncio.wait_for(journal.sql("select 41 + 1"), 20)
        assert result.fetchall() == [(42,)]


@pytest.mark.asyncio
async def test_closing_ends_the_queries_that_are_running_and_waiting(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_refused(journal, ENDLESS))
            second = group.create_task(_refused(journal, "select 1"))
            # Two turns of the loop: each query waits for what was committed before, then goes to DuckDB's thread.
            for _ in range(100):
                await asyncio.sleep(0)
            assert journal.engine.follower.statistics().query_count == 2
            await asyncio.wait_for(journal.close(), 20)
        assert isinstance(first.result(), Exception)
        assert isinstance(second.result(), StoreUnavailable)


class Jotted(Fact, kind="follower.jotted", version=1):
    text: str


@pytest.mark.asyncio
async def test_a_change_to_facts_that_wait_for_duckdb_is_made_behind_them(tmp_path: Path) -> None:
    """Red until 2026-11: while a batch was being applied, an erasure went past the one that waited."""
    held = threading.Event()
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        follower = journal.engine.follower
        await journal.commit(Jotted(text="first"), flush=True)
        follower.submit(lambda database: held.wait(30) and None)
        applying = asyncio.create_task(follower.barrier())
        await asyncio.sleep(0)
        receipt = await journal.commit(Jotted(text="second"), flush=True)
        done = follower.erase([bytes.fromhex(receipt.fact_id)])
        held.set()
        await asyncio.gather(applying, done)
        rows = (await journal.sql("select is_erased from history order by seq")).fetchall()
        assert rows == [(False,), (False,), (True,)]


async def _refused(journal: Journal, query: str) -> Exception | None:
    try:
        await journal.sql(query)
    except Exception as problem:
        return problem
    return None

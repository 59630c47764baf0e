"""A journal with ten subscribers, as an application would have it, for the figures that commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from antiphon import Journal
from antiphon.reactive import SignalStream

from .workload import Row, Said, Tally, tally

SUBSCRIBER_COUNT = 10


@asynccontextmanager
async def open_watched(path: Path) -> AsyncIterator[Journal]:
    """Open a journal whose ``tally`` ten tasks follow for as long as it is open."""
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(Journal.open(path, author="ada"))
        streams = [await stack.enter_async_context(journal.watch(tally)) for _ in range(SUBSCRIBER_COUNT)]
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(_read(stream)) for stream in streams]
            await asyncio.sleep(0)
            try:
                yield journal
            finally:
                for reader in readers:
                    reader.cancel()


async def _read(stream: SignalStream[Tally]) -> None:
    async for _ in stream:
        pass


async def commit_rows(journal: Journal, rows: Sequence[Row]) -> None:
    """Validate and commit one window at once, and let every subscriber read what became of it."""
    await journal.commit_all([Said.model_validate(row) for row in rows], flush=True)
    await asyncio.sleep(0)

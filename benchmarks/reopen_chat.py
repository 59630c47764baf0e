"""Opening a journal of a million messages again and reading the chat view, against raw DuckDB reading the same rows."""

from __future__ import annotations

from pathlib import Path

import duckdb

from antiphon import Journal
from antiphon.facts import ChannelCreated, Fact, MessageSent
from antiphon.views import CHAT_SIGNAL, ChatState

from .measure import Figure, Sample, Settings, Stopwatch, interleave, spread
from .raw_duckdb import read_all

CHANNELS = 10
BATCH = 50_000


async def measure(settings: Settings) -> list[Figure]:
    """Both closed cleanly before; ten channels, so that five thousand messages are on screens."""
    count = settings.pick(1_000_000, 100_000)
    path, file = settings.folder / "reopen-chat", settings.folder / "reopen-chat.duckdb"
    before, encode_ms = await _fill(path, count)
    _fill_duckdb(file, count)

    async def reopen() -> list[Sample]:
        with Stopwatch() as watch:
            journal = await Journal.open(path)
            state = await journal.snapshot(CHAT_SIGNAL)
        await journal.close()
        if state != before:
            raise AssertionError("the chat that was reopened shows something else")
        return [watch.sample()]

    ours, reference = await interleave([reopen, read_all(file, "sent", count=count)], repeats=settings.pick(7, 5))
    mine, theirs = spread(ours), spread(reference)
    return [
        Figure.of_times(
            "reopen_chat",
            f"reopen with {count:,} messages to the first chat snapshot",
            mine,
            theirs,
            unit="ms",
            goal=1,
            reference_name="raw DuckDB: the rows of the view's kind to Arrow",
            facts=count,
            reopenings=mine.size,
            encode_cpu_ms=encode_ms,
        )
    ]


async def _fill(path: Path, count: int) -> tuple[ChatState, float]:
    """A journal of so many messages; what its chat shows, and what writing the view's state down takes on the loop."""
    async with Journal.open(path, author="ada") as journal:
        opened: list[Fact] = [
            ChannelCreated(
                context_id="home", channel_id=f"c{each}", name="talk", created_at=0, creator_id=journal.authority
            )
            for each in range(CHANNELS)
        ]
        await journal.commit_all(opened, flush=True)
        for start in range(0, count, BATCH):
            rows = [MessageSent(**_row(each, journal.authority)) for each in range(start, min(start + BATCH, count))]
            await journal.commit_all(rows, flush=True)
        state = await journal.snapshot(CHAT_SIGNAL)
        await journal.engine.follower.barrier()
        with Stopwatch() as watch:
            journal.engine.views.checkpoints()
    return state, watch.sample().cpu * 1e3


def _fill_duckdb(file: Path, count: int) -> None:
    connection = duckdb.connect(str(file), config={"threads": 1})
    # The view's columns as ``journal.sql`` shows them, with the envelope that a view sorts and judges by.
    connection.execute(
        "CREATE TABLE sent AS SELECT sha256(i::VARCHAR) AS fact_id, i << 16 AS hlc, 'home' AS context_id, "
        f"'c' || (i % {CHANNELS}) AS channel_id, md5(i::VARCHAR) AS message_id, md5('ada') AS sender_id, "
        "'ada' AS sender_name, 'hello there, this is number ' || i AS text, i AS sent_at, NULL::VARCHAR AS reply_to, "
        f"NULL::BIGINT AS epoch_hint FROM range({count}) AS numbers(i)"
    )
    connection.close()


def _row(number: int, author: str) -> dict[str, object]:
    return {
        "context_id": "home",
        "channel_id": f"c{number % CHANNELS}",
        "message_id": f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}",
        "sender_id": author,
        "sender_name": "ada",
        "text": f"hello there, this is number {number}",
        "sent_at": number,
    }

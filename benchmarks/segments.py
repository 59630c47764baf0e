"""What a fact costs on disk once its log file is sealed, against the same rows in DuckDB alone."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import duckdb

from antiphon import Journal
from antiphon.journal.stores.log import part_paths, segment_files

from .measure import Figure, Settings
from .workload import Row, Rows, Said

WINDOW = 100


async def measure(settings: Settings) -> list[Figure]:
    """Windows of 100 facts, so that a seal and a frame are shared as they are by a busy journal."""
    count = settings.pick(100_000, 20_000)
    path = settings.folder / "segments"
    taken = Rows()
    rows = taken.take(count)
    async with Journal.open(path, author="ada") as journal:
        for start in range(0, count, WINDOW):
            batch = [Said.model_validate(row) for row in rows[start : start + WINDOW]]
            await journal.commit_all(batch, flush=True)
        log_bytes = sum(each.stat().st_size for each in part_paths(path)) / count
        await journal.engine.start_file()
        await journal.engine.keeper.seal()
    sealed = sum(each.stat().st_size for each in segment_files(path).values()) / count
    alone = _columns_alone(settings.folder / "alone.duckdb", rows) / count
    return [
        Figure(
            name="sealed_bytes",
            title="bytes on disk a fact in sealed Parquet, salt and half id included",
            unit="bytes",
            ours=sealed,
            reference=alone,
            value=sealed / alone,
            goal=1.5,
            final_goal=1.5,
            reference_name="DuckDB: the same columns and a 16-byte id",
            details={"facts": count, "log_bytes_a_fact": round(log_bytes, 1)},
        ),
    ]


def _columns_alone(file: Path, rows: list[Row]) -> int:
    """The size of a checkpointed database with the envelope and the typed columns of these rows."""
    with duckdb.connect(str(file), config={"threads": 1}) as connection:
        connection.execute(
            "CREATE TABLE said (fact_id BLOB, chain INTEGER, seq BIGINT, hlc BIGINT, at_ms BIGINT, kind VARCHAR, "
            "channel_id VARCHAR, message_id VARCHAR, sender_id VARCHAR, sender_name VARCHAR, text VARCHAR, "
            "sent_at BIGINT, reply_to VARCHAR)"
        )
        with connection.appender("said") as appender:
            appender.append_rows([_as_tuple(number, row) for number, row in enumerate(rows)])
        connection.execute("CHECKPOINT")
    return file.stat().st_size


def _as_tuple(number: int, row: Row) -> tuple[object, ...]:
    at = row["sent_at"]
    assert isinstance(at, int), "the workload stamps its rows"
    # Sixteen bytes that do not compress, as ids do not.
    fact_id = sha256(number.to_bytes(8, "big")).digest()[:16]
    return (fact_id, 1, number, at << 16, at, "bench.said", *row.values())

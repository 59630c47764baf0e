"""The other reference: DuckDB as a program would use it directly for the same rows, nothing of ours around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from .measure import Burst, Sample, Stopwatch
from .workload import Row

_COLUMNS = (
    "channel_id VARCHAR, message_id VARCHAR, sender_id VARCHAR, sender_name VARCHAR, "
    "text VARCHAR, sent_at BIGINT, reply_to VARCHAR"
)


class RawDuckdb:
    """A table of the rows' seven columns; one durable transaction a window, through the appender."""

    def __init__(self, file: Path) -> None:
        self._connection = duckdb.connect(str(file), config={"threads": 1, "wal_autocheckpoint": "1GB"})
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS said ({_COLUMNS})")

    def commit(self, rows: Sequence[Row]) -> None:
        """Append the rows and commit, which syncs the write-ahead log."""
        connection = self._connection
        connection.begin()
        with connection.appender("said") as appender:
            appender.append_rows([tuple(row.values()) for row in rows])
        connection.commit()

    def close(self) -> None:
        """Checkpoint and close."""
        self._connection.close()


def read_all(file: Path, table: str, *, count: int) -> Burst:
    """Open *file* anew and read the *count* rows of *table* to Arrow."""

    async def burst() -> list[Sample]:
        with Stopwatch() as watch:
            connection = duckdb.connect(str(file), config={"threads": 1})
            rows = connection.sql(f"SELECT * FROM {table}").to_arrow_table()
        connection.close()
        assert rows.num_rows == count, f"{rows.num_rows} rows of {count}"
        return [watch.sample()]

    return burst

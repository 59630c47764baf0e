"""Building ``journal.duckdb`` anew, from segments and from log files, beside what cannot be done without: two hashes a
fact, and DuckDB taking the same rows in from Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import duckdb

from antiphon import Journal
from antiphon.facts.encoding import FACT_PREFIX
from antiphon.journal import LogCursor, LogFrame, read_log
from antiphon.journal.stores.log import segment_files
from antiphon.runtime import keeper

from .measure import Figure, Sample, Settings, Stopwatch
from .workload import Rows, Said

WINDOW = 100
GOAL_FACTS_PER_S = 250_000
# What is told of is the best of these turns: a rebuild is one long unit, and a busy machine only ever adds to it.
TURNS = 3
_COLUMNS = (
    "fact_id_half, chain_number, seq, hlc, at_ms, kind, version, payload, raw, salt, after_links, digest, "
    "seq AS position"
)


async def measure(settings: Settings) -> list[Figure]:
    """A journal as its log files hold it and another whose files were sealed, rebuilt in turn with the raw part."""
    count = settings.pick(300_000, 50_000)
    logged, sealed = settings.folder / "logged", settings.folder / "sealed"
    worth = keeper.SEAL_BYTES_MIN
    keeper.SEAL_BYTES_MIN = 1 << 60  # the first of them keeps its log files
    await _fill(logged, count)
    await _fill(sealed, count, is_sealed=True)
    raw = _RawPart(sealed, settings.folder / "raw.duckdb")
    samples: dict[str, list[Sample]] = {"raw": [], "segments": [], "log": []}
    for _ in range(TURNS):
        samples["raw"].append(raw.run())
        samples["segments"].append(await _rebuild(sealed))
        samples["log"].append(await _rebuild(logged))
    keeper.SEAL_BYTES_MIN = worth
    cpu = {name: min(sample.cpu for sample in taken) for name, taken in samples.items()}
    return [
        Figure(
            name=f"rebuild_{name}",
            title=f"journal.duckdb built anew from {where}",
            unit="facts/s",
            ours=count / cpu[name],
            reference=count / cpu["raw"],
            value=count / cpu[name],
            goal=GOAL_FACTS_PER_S,
            final_goal=GOAL_FACTS_PER_S,
            sense="at least",
            value_unit="facts/s",
            reference_name="two hashes a fact, and the same rows from Parquet into DuckDB",
            details={
                "facts": count,
                "times_the_raw_part": round(cpu[name] / cpu["raw"], 2),
                "wall_s": round(min(sample.wall for sample in samples[name]), 2),
            },
        )
        for name, where in (("segments", "segments"), ("log", "log files"))
    ]


async def _fill(folder: Path, count: int, *, is_sealed: bool = False) -> None:
    rows = Rows().take(count)
    async with Journal.open(folder, author="ada") as journal:
        for start in range(0, count, WINDOW):
            await journal.commit_all([Said.model_validate(row) for row in rows[start : start + WINDOW]], flush=True)
        if is_sealed:
            await journal.engine.start_file()
            await journal.engine.keeper.seal()


async def _rebuild(folder: Path) -> Sample:
    _drop_database(folder)
    with Stopwatch() as watch:
        async with Journal.open(folder) as journal:
            await journal.engine.follower.barrier()
    return watch.sample()


def _drop_database(folder: Path) -> None:
    for path in folder.glob("journal.duckdb*"):
        path.unlink()


class _RawPart:
    """The hashing of every fact of a journal, and its rows from Parquet into a table of the same columns."""

    def __init__(self, folder: Path, database: Path) -> None:
        frames = [item for item in read_log(folder, LogCursor.at_start()) if isinstance(item, LogFrame)]
        columns = [run.columns for frame in frames for run in frame.runs if run.columns is not None]
        self._parts: Sequence[tuple[bytes, bytes]] = [
            part for each in columns for part in zip(each.headers, each.bodies, strict=True)
        ]
        self._segments = sorted(segment_files(folder).values())
        self._database = database

    def run(self) -> Sample:
        self._database.unlink(missing_ok=True)
        with Stopwatch() as watch, duckdb.connect(str(self._database), config={"threads": 1}) as connection:
            connection.execute("SET wal_autocheckpoint = '256MB'")
            connection.execute(
                f"CREATE TABLE facts AS SELECT {_COLUMNS} FROM read_parquet('{self._segments[0]}') LIMIT 0"
            )
            previous = bytes(32)
            for header, body in self._parts:
                previous = sha256(FACT_PREFIX + previous + header + sha256(body).digest()).digest()
            for segment in self._segments:
                connection.execute(f"INSERT INTO facts SELECT {_COLUMNS} FROM read_parquet('{segment}')")
        return watch.sample()

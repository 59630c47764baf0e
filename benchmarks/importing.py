"""A real log imported from its files to durable facts, against the straight line over its messages, 1,000 a window."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict

from antiphon import Journal
from antiphon.app.importing import ImportPlace, import_logs
from antiphon.facts import MessageImported
from antiphon.journal import LogCursor, LogFrame, read_log

from .measure import Figure, Sample, Settings, Stopwatch, interleave, spread
from .straight_line import StraightLine
from .workload import Row, Shape

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "data" / "ubuntu-irc.tar.gz"
WINDOW = 1_000
_WORDS = ("does", "anybody", "know", "why", "sound", "stopped", "after", "the", "last", "kernel", "update", "thanks")


class PlainMessage(BaseModel):
    """The fields of ``MessageImported`` as pure pydantic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context_id: str
    channel_id: str
    message_id: str
    sender_id: str
    sender_name: str
    text: str
    style: str
    sent_at: int
    reply_to: str | None
    source: str
    line: int
    raw: str | None


async def measure(settings: Settings) -> list[Figure]:
    """Each time a new journal; its DuckDB follows meanwhile, as it does for a user."""
    logs, origin = _unpack(settings)
    place = ImportPlace.of("#ubuntu")
    count, rows, number = 0, list[Row](), 0

    async def engine_burst() -> list[Sample]:
        nonlocal count, number
        number += 1
        path = settings.folder / f"import-{number}"
        async with Journal.open(path, author="importer") as journal:
            with Stopwatch() as watch:
                report = await import_logs(journal, logs, place)
            count = report.added_count
        if not rows:
            rows.extend(_messages_of(path))
        return [watch.sample(per=count)]

    straight = StraightLine(
        settings.folder / "import-straight", Shape("chat.message_imported", PlainMessage, "sent_at")
    )

    async def straight_burst() -> list[Sample]:
        messages = list(islice(cycle(rows), count))
        with Stopwatch() as watch:
            for start in range(0, count, WINDOW):
                straight.commit(messages[start : start + WINDOW])
        return [watch.sample(per=count)]

    await engine_burst()  # warm-up, and where the messages come from
    ours, line = await interleave([engine_burst, straight_burst], repeats=settings.pick(5, 3))
    straight.close()
    mine, theirs = spread(ours), spread(line)
    return [
        Figure(
            name="importing",
            title=f"import of {'a real' if origin else 'a generated'} log, end to end",
            unit="facts/s",
            ours=1 / mine.wall_median,
            reference=1 / theirs.wall_median,
            value=theirs.wall_median / mine.wall_median,
            value_p10=theirs.wall_p10 / mine.wall_p10,
            cpu_value=theirs.cpu_median / mine.cpu_median,
            goal=0.3,
            final_goal=0.6,
            sense="at least",
            is_cpu_judged=False,  # DuckDB follows on another core: more CPU time by design
            reference_name="straight line, 1,000 a window",
            details={"facts": count, "files": len(logs), "messages": len(rows), "cpu_us_a_fact": mine.cpu_median * 1e6},
        )
    ]


def _unpack(settings: Settings) -> tuple[list[Path], bool]:
    """The corpus when it is beside the repository, else logs of its shape; and whether they are real."""
    folder = settings.folder / "logs"
    folder.mkdir()
    if not CORPUS.is_file():
        return _generate(folder, settings.pick(40, 6)), False
    with tarfile.open(CORPUS) as archive:
        archive.extractall(folder, filter="data")
    logs = sorted(folder.rglob("*.raw.txt"))
    return logs[: settings.pick(len(logs), 6)], True


def _generate(folder: Path, day_count: int) -> list[Path]:
    dice = random.Random(7)
    files = []
    for day in range(day_count):
        lines = [
            f"[{line // 60 % 24:02d}:{line % 60:02d}] <nick{dice.randrange(200)}> {' '.join(dice.choices(_WORDS, k=9))}"
            for line in range(1_400)
        ]
        file = folder / f"2010-{day // 28 + 1:02d}-{day % 28 + 1:02d}.raw.txt"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files.append(file)
    return files


def _messages_of(path: Path) -> Sequence[Row]:
    kind = MessageImported.fact_type.kind
    return [
        orjson.loads(record.payload or b"null")
        for frame in read_log(path, LogCursor.at_start())
        if isinstance(frame, LogFrame)
        for record in frame.records
        if record.kind == kind
    ]

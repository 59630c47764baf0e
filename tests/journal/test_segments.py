"""Segments: a closed log file as Parquet, byte for byte what it was, whatever fails on the way."""

import errno
from pathlib import Path
from random import Random

import duckdb
import pytest

from antiphon.facts import ChainInfo
from antiphon.journal import (
    LOG_START,
    Draft,
    FormatTooNew,
    LogCursor,
    LogDamage,
    LogFrame,
    LogPosition,
    LogWriter,
    StoreUnavailable,
    build_frame,
    read_log,
    read_run_bytes,
)
from antiphon.journal.errors import LogDamaged
from antiphon.journal.frame import LocalNote
from antiphon.journal.stores.log import file_path, log_files, segment_files, segment_path
from antiphon.journal.stores.position import NO_FRAME
from antiphon.journal.stores.reader import read_closed_file
from antiphon.journal.stores.segments import (
    SegmentStore,
    put_segment,
    remove_staged,
    retire_file,
    staged_path,
    write_segment,
)
from antiphon.testing.disk import FaultyDisk
from antiphon.testing.records import ChainWriter

JOURNAL = "0123456789abcdef0123456789abcdef"


class Log:
    """A log of several writers and several files."""

    def __init__(self, folder: Path) -> None:
        (folder / "log").mkdir(exist_ok=True)
        self.folder = folder
        self.disk = FaultyDisk()
        self.writer = LogWriter(folder, journal=JOURNAL, last=LOG_START, may_append=False, disk=self.disk)
        self.authors = [ChainWriter("ada"), ChainWriter("ben")]
        self.introduced: set[str] = set()
        self.previous = NO_FRAME
        self.count = 0

    def append(self, *windows: tuple[bytes, ...], notes: tuple[LocalNote, ...] = ()) -> None:
        """One frame with one run a window, by each author in turn."""
        runs = [
            self.authors[number % 2].seal(*[Draft("test.said", 1, payload, None) for payload in window])
            for number, window in enumerate(windows)
        ]
        chains = [run.records[0].chain for run in runs if run.records[0].seq == 1]
        built = build_frame(self.previous, runs, chains=chains, notes=notes)
        self.previous = built.frame_hash
        self.count += sum(len(run.records) for run in runs)
        self.writer.append([built.data], LogPosition(0, 0, self.previous, self.count))

    def seal(self, number: int, *, disk: FaultyDisk | None = None) -> None:
        store = SegmentStore(self.folder)
        contents = read_closed_file(self.folder, number, self.chains)
        disk = disk or self.disk
        write_segment(store, number, contents.frames, description=contents.description, disk=disk)
        put_segment(store, number, disk=disk)
        retire_file(self.folder, number, disk=disk)
        store.close()

    @property
    def chains(self) -> list[ChainInfo]:
        return [author.chain.info for author in self.authors]


def said(text: str) -> bytes:
    return b'{"text":"%b"}' % text.encode()


AWKWARD = (
    said("plain"),
    said("æ 日本 \U0001f600"),
    b'{"text":"not \xff text"}',
    b'{"b":1,"a":2}',
    b"not json",
    b"[1,2]",
    b'{"text":"tab\x1fand\nnewline"}'.replace(b"\n", b" "),
    b'{"text":"%b"}' % (b"long " * 5_000),
    b"",
)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    log = Log(tmp_path)
    log.append((said("one"),), (said("two"), said("three")))
    log.append(AWKWARD[:5], AWKWARD[5:], notes=(LocalNote("charge", {"bytes": 1}),))
    log.append(notes=(LocalNote("charge", {"bytes": 2}),))
    log.writer.rotate()
    for number in range(30):
        log.append(tuple(said(f"{number}.{at}") for at in range(number)) or (said("none"),))
    log.writer.rotate()
    log.append((said("tail"),), (said("end"),))
    return log


def everything(folder: Path, cursor: LogCursor | None = None) -> list[LogFrame | LogDamage]:
    items = list(read_log(folder, cursor or LogCursor.at_start()))
    # Notes are copied forward and not kept: what only held those is not there any more.
    return [
        item._replace(notes=(), chains=()) if isinstance(item, LogFrame) else item
        for item in items
        if isinstance(item, LogDamage) or item.runs
    ]


def test_a_segment_reads_as_the_log_file_that_it_was(log: Log) -> None:
    before = everything(log.folder)
    texts = {run.row: read_run_bytes(log.folder, run.row) for item in before for run in item.runs}  # type: ignore[union-attr]
    for number in (2, 1):  # in any order
        log.seal(number)
        assert everything(log.folder) == before
    assert sorted(log_files(log.folder)) == [3]
    assert sorted(segment_files(log.folder)) == [1, 2]
    with SegmentStore(log.folder) as store:
        for _ in range(2):  # run by run, then from the decoded segment
            assert {row: read_run_bytes(log.folder, row, segments=store) for row in texts} == texts


def test_a_reader_in_the_middle_of_a_file_goes_on_in_its_segment(log: Log) -> None:
    before = everything(log.folder)
    for read_count in range(len(before)):
        cursor = LogCursor.at_start()
        reading = read_log(log.folder, cursor)
        for item in reading:
            if isinstance(item, LogFrame) and item.position == before[read_count].position:  # type: ignore[union-attr]
                break
        reading.close()
        if read_count == 5:
            log.seal(1)
        if read_count == 20:
            log.seal(2)
        assert everything(log.folder, cursor) == before[read_count + 1 :]
        assert everything(log.folder, cursor) == []


def test_the_log_goes_on_behind_a_segment(log: Log) -> None:
    log.seal(1)
    log.seal(2)
    log.writer.rotate()
    log.append((said("later"),))
    log.seal(3)
    log.writer.close()
    assert sorted(log_files(log.folder)) == [4]
    items = everything(log.folder)
    assert not [item for item in items if isinstance(item, LogDamage)]
    last = items[-1]
    assert isinstance(last, LogFrame)
    assert last.position == log.writer.synced


def test_a_file_without_facts_becomes_a_segment_as_well(log: Log) -> None:
    log.writer.rotate()
    log.append(notes=(LocalNote("charge", {"bytes": 3}),))
    log.writer.rotate()
    log.append((said("behind"),))
    before = everything(log.folder)
    log.seal(4)
    assert everything(log.folder) == before


@pytest.mark.parametrize("operation", ["open", "sync", "rename", "sync_folder", "remove"])
def test_a_disk_that_refuses_a_step_of_sealing_loses_nothing(log: Log, operation: str) -> None:
    before = everything(log.folder)
    disk = FaultyDisk()
    disk.fail(operation, error_number=errno.ENOSPC)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        log.seal(1, disk=disk)
    assert everything(log.folder) == before
    remove_staged(log.folder)
    if 1 in log_files(log.folder):
        log.seal(1)
    assert everything(log.folder) == before
    assert sorted(log_files(log.folder)) == [2, 3]


def test_a_crash_between_any_two_steps_leaves_a_journal_that_reads_the_same(log: Log) -> None:
    before = everything(log.folder)
    contents = read_closed_file(log.folder, 1, log.chains)
    with SegmentStore(log.folder) as store:
        write_segment(store, 1, contents.frames, description=contents.description, disk=log.disk)
        assert everything(log.folder) == before
        staged = staged_path(log.folder, 1).read_bytes()
        staged_path(log.folder, 1).write_bytes(staged[: len(staged) // 2])
        assert everything(log.folder) == before
        staged_path(log.folder, 1).write_bytes(staged)
        put_segment(store, 1, disk=log.disk)
        assert everything(log.folder) == before
        retire_file(log.folder, 1, disk=log.disk)
        assert everything(log.folder) == before


def test_a_damaged_log_file_is_not_sealed(log: Log) -> None:
    path = file_path(log.folder, 1)
    data = bytearray(path.read_bytes())
    data[data.index(b"three")] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogDamaged):
        log.seal(1)
    assert sorted(log_files(log.folder)) == [1, 2, 3]


def test_every_damage_to_a_segment_is_noticed_and_never_shows_other_facts(log: Log) -> None:
    """Bit flips all over the file: each either changes nothing that is read, or is named."""
    before = everything(log.folder)
    facts = {record.fact_id: record for item in before for record in item.records}  # type: ignore[union-attr]
    log.seal(1)
    log.seal(2)
    path = segment_path(log.folder, 2)
    whole = path.read_bytes()
    random = Random(7)
    noticed = 0
    for _ in range(120):
        data = bytearray(whole)
        at = random.randrange(len(data))
        data[at] ^= 1 << random.randrange(8)
        path.write_bytes(data)
        items = everything(log.folder)
        named = [item for item in items if isinstance(item, LogDamage)]
        for item in items:
            if isinstance(item, LogFrame):
                assert all(facts[record.fact_id] == record for record in item.records)
        assert named or items == before
        noticed += bool(named)
        assert all(damage.file_number in (2, 3) for damage in named)
    assert noticed > 60


@pytest.mark.parametrize("word", ["journal", "previous_frame", "last_frame"])
def test_a_segment_whose_description_holds_no_hash_any_more_is_named(log: Log, word: str) -> None:
    """Red until 2026-11: a flipped bit made a digit of the journal's id a letter beyond f, and reading ended there."""
    log.seal(1)
    log.seal(2)
    path = segment_path(log.folder, 2)
    data = bytearray(path.read_bytes())
    data[data.index(f'"{word}":"'.encode()) + len(word) + 5] = ord("g")
    path.write_bytes(data)
    assert any(isinstance(item, LogDamage) and item.file_number == 2 for item in everything(log.folder))


def test_a_raised_format_is_damage_that_costs_no_fact_and_another_description_a_newer_format(log: Log) -> None:
    before = everything(log.folder)
    log.seal(1)
    log.seal(2)
    path = segment_path(log.folder, 2)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"format":1', b'"format":3'))
    items = everything(log.folder)
    assert [item for item in items if isinstance(item, LogFrame)] == before
    (named,) = [item for item in items if isinstance(item, LogDamage)]
    assert named.file_number == 2
    assert "format 3" in named.reason
    path.write_bytes(data.replace(b'"format":1', b'"format":3').replace(b'"content":', b'"contend":'))
    with pytest.raises(FormatTooNew, match="segment 2 has format 3"):
        everything(log.folder)


NOTES = ("chain_number", "run_start", "run_length", "previous_id", "signature", "frame_end", "frame_hash")
COLUMNS = (*NOTES, "seq", "hlc", "at_ms", "kind", "version", "payload", "salt", "fact_id_half")


EMPTIED = "CASE WHEN file_row_number % 3 = 1 THEN {column} END"


@pytest.mark.parametrize("change", [EMPTIED, "NULL", "{column}::VARCHAR", "99", "[1]"])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_that_damage_emptied_or_made_another_is_named_or_reads_the_same(
    log: Log, column: str, change: str
) -> None:
    """Red until 2026-11: a flipped bit left a run without the id before it, and reading the log ended there."""
    before = everything(log.folder)
    facts = {record.fact_id: record for item in before for record in item.records}  # type: ignore[union-attr]
    log.seal(1)
    log.seal(2)
    path = segment_path(log.folder, 2)
    with duckdb.connect() as connection:
        [(description,)] = connection.execute(f"SELECT decode(value) FROM parquet_kv_metadata('{path}')").fetchall()
        connection.execute(
            f"COPY (SELECT * EXCLUDE (file_row_number) REPLACE ({change.format(column=column)} AS {column}) "
            f"FROM read_parquet('{path}', file_row_number = true)) "
            f"TO '{path}.other' (FORMAT parquet, KV_METADATA {{antiphon: $description}})",
            {"description": description},
        )
    Path(f"{path}.other").replace(path)
    items = everything(log.folder)
    assert items == before or any(isinstance(item, LogDamage) and item.file_number == 2 for item in items)
    for item in items:
        if isinstance(item, LogFrame):
            assert all(facts[record.fact_id] == record for record in item.records)


def test_a_lost_segment_is_named(log: Log) -> None:
    log.seal(1)
    log.seal(2)
    segment_path(log.folder, 2).unlink()
    damages = [item for item in everything(log.folder) if isinstance(item, LogDamage)]
    assert damages
    assert "is not there" in damages[0].reason

"""The follower: what it shows, what it survives, and that its position never says more or less than its rows."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import duckdb
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from antiphon.facts import (
    AfterLink,
    AuthorityId,
    ChainId,
    ChainInfo,
    Fact,
    FactId,
    FactRecord,
    LocalViolation,
    Namespace,
    Registration,
    canonical_bytes,
)
from antiphon.facts.encoding import (
    build_erased_line,
    build_header,
    build_line,
    compute_fact_id,
    payload_digest,
    salt_text,
)
from antiphon.facts.registry import registration_of
from antiphon.journal.errors import StoreUnavailable
from antiphon.journal.stores.duckdb import DuckdbFollower, probe
from antiphon.journal.stores.position import LOG_START, LogPosition, RunRow
from antiphon.journal.stores.typed_views import KnownKind, sql_names

MESSAGE = "demo.message_sent"


class Writer:
    """One chain that writes records with real ids and lines; a frame's hash is made up."""

    def __init__(self, name: str = "ada", *, number: int = 1) -> None:
        self.info = ChainInfo(
            ChainId(bytes([number]) * 16),
            bytes([number]) * 32,
            bytes([number]) * 16,
            Namespace("antiphon.default"),
            AuthorityId(f"{number:032x}"),
            name,
            "laptop",
        )
        self.seq = 0
        self.last = FactId(bytes(32))

    def write(
        self,
        payload: bytes | dict[str, Any],
        *,
        kind: str = MESSAGE,
        version: int = 1,
        at: int = 1_000,
        hlc: int | None = None,
        after: tuple[AfterLink, ...] = (),
        is_erased: bool = False,
    ) -> FactRecord:
        self.seq += 1
        clock = self.seq if hlc is None else hlc
        body = payload if isinstance(payload, bytes) else canonical_bytes(payload)
        header = build_header(
            chain_text=self.info.text, kind=kind, version=version, seq=self.seq, hlc=clock, at=at, after=after
        )
        salt = salt_text(bytes([self.seq % 256]) * 16)
        digest = payload_digest(salt, body)
        self.last = compute_fact_id(self.last, header, digest)
        line = build_erased_line(header, digest) if is_erased else build_line(header, body, salt)
        return FactRecord(self.last, self.info, self.seq, clock, at, kind, version, line, len(header), after)


def position_after(count: int) -> LogPosition:
    return LogPosition(1, count * 100, f"{count:064x}", count)


def feed(follower: DuckdbFollower, records: Sequence[FactRecord], **more: Any) -> None:
    follower.apply(records, position=position_after(follower.position.fact_count + len(records)), **more)


def open_at(path: Path, *, journal_id: str = "j", is_unclean: bool = False) -> DuckdbFollower:
    return DuckdbFollower.open(path, journal_id=journal_id, now_ms=77, is_unclean=is_unclean)


def registered(model: type[Fact]) -> Registration:
    return registration_of(model.fact_type)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.duckdb"


@pytest.fixture
def follower(path: Path) -> Iterator[DuckdbFollower]:
    with open_at(path) as opened:
        yield opened


def fill(path: Path, count: int = 3) -> None:
    writer = Writer()
    with open_at(path) as opened:
        feed(opened, [writer.write({"text": f"line {index}"}) for index in range(count)])


# Opening


def test_a_missing_database_is_created_and_a_good_one_continued(path: Path) -> None:
    with open_at(path) as first:
        assert (first.opening, first.position) == ("created", LOG_START)
        feed(first, [Writer().write({"text": "hi"})])
    with open_at(path) as second:
        assert (second.opening, second.reason) == ("same", "")
        assert second.position == position_after(1)


def check_rebuilt(path: Path, *, because: str, is_unclean: bool = False) -> None:
    before = path.read_bytes() if path.is_file() else None
    with open_at(path, is_unclean=is_unclean) as opened:
        assert (opened.opening, opened.position) == ("rebuilt", LOG_START)
        assert because in opened.reason
        assert opened.query("SELECT count(*) FROM internal.facts").rows == [(0,)]
    if before is not None:
        assert path.with_name("journal.duckdb.set-aside-77").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"x", b"garbage" * 5_000])
@pytest.mark.parametrize("is_unclean", [False, True])
def test_a_file_that_is_no_database_is_set_aside(path: Path, content: bytes, is_unclean: bool) -> None:
    path.write_bytes(content)
    check_rebuilt(path, because="not a valid DuckDB database", is_unclean=is_unclean)


def test_a_truncated_database_is_set_aside(path: Path) -> None:
    fill(path, count=3_000)
    os.truncate(path, path.stat().st_size // 2)
    check_rebuilt(path, because="")


def test_a_flipped_byte_in_the_first_block_is_set_aside(path: Path) -> None:
    fill(path)
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    check_rebuilt(path, because="checksum")


def test_a_database_of_a_newer_duckdb_is_set_aside(path: Path) -> None:
    fill(path)
    data = bytearray(path.read_bytes())
    data[12:20] = (999).to_bytes(8, "little")
    data[0:8] = duckdb_checksum(bytes(data[8:4096])).to_bytes(8, "little")
    path.write_bytes(data)
    check_rebuilt(path, because="ersion")


def duckdb_checksum(block: bytes) -> int:
    """The block checksum of DuckDB's file format: words multiplied and joined by XOR."""
    result = 5381
    for start in range(0, len(block), 8):
        result ^= int.from_bytes(block[start : start + 8], "little") * 0xBF58476D1CE4E5B9 % 2**64
    return result


def test_a_database_without_our_tables_is_set_aside(path: Path) -> None:
    duckdb.connect(str(path)).close()
    check_rebuilt(path, because="no tables of a journal")


def test_a_database_of_a_newer_schema_is_set_aside(path: Path) -> None:
    fill(path)
    change(path, "UPDATE internal.meta SET value = '999' WHERE name = 'schema_version'")
    check_rebuilt(path, because="newer antiphon")


def test_a_database_of_another_journal_is_set_aside(path: Path) -> None:
    fill(path)
    with open_at(path, journal_id="other") as opened:
        assert opened.opening == "rebuilt"
        assert "belongs to journal j" in opened.reason


def test_a_database_that_lost_rows_is_set_aside(path: Path) -> None:
    fill(path)
    change(path, "DELETE FROM internal.facts WHERE position = 2")
    check_rebuilt(path, because="2 facts where its position says 3")


def change(path: Path, sql: str) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(sql)


def test_a_write_ahead_log_without_its_database_is_set_aside(path: Path) -> None:
    wal = path.with_name("journal.duckdb.wal")
    wal.write_bytes(b"left over")
    with open_at(path) as opened:
        assert opened.opening == "rebuilt"
    assert path.with_name("journal.duckdb.set-aside-77.wal").read_bytes() == b"left over"


def test_nothing_set_aside_before_is_overwritten(path: Path) -> None:
    for content in (b"first", b"second"):
        path.write_bytes(content)
        open_at(path).close()
    kept = sorted(item.read_bytes() for item in path.parent.glob("*.set-aside-*"))
    assert kept == [b"first", b"second"]


APPLY_AND_DIE = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_duckdb import Writer, feed, open_at
follower, writer = open_at(Path(sys.argv[1])), Writer()
while True:
    feed(follower, [writer.write({"text": "x" * 50}) for _ in range(1 + follower.position.fact_count % 7)])
    print(follower.position.fact_count, flush=True)
"""


def start_child(script: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(path), str(Path(__file__).parent)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def kill_after(path: Path, line_count: int) -> int:
    """Let a child follow until it has told *line_count* positions, kill it, and return the last one told."""
    with start_child(APPLY_AND_DIE, path) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(line_count)]
        child.kill()
        told += [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return told[-1]


@pytest.mark.parametrize("line_count", [1, 2, 5, 9, 20])
def test_after_kill_nine_the_position_is_exactly_the_rows(path: Path, line_count: int) -> None:
    told = kill_after(path, line_count)
    with open_at(path, is_unclean=True) as opened:
        assert opened.opening == "same"
        assert opened.position.fact_count >= told
        rows = opened.query("SELECT position, seq FROM internal.facts ORDER BY position").rows
    assert rows == [(index, index) for index in range(1, opened.position.fact_count + 1)]


@pytest.mark.parametrize("place", [0.1, 0.4, 0.5, 0.75, 0.95])
@pytest.mark.parametrize("is_torn", [False, True])
def test_a_damaged_write_ahead_log_gives_a_whole_prefix_or_a_new_database(
    path: Path, place: float, is_torn: bool
) -> None:
    kill_after(path, 10)
    wal = path.with_name("journal.duckdb.wal")
    data = bytearray(wal.read_bytes())
    offset = int(len(data) * place)
    if is_torn:
        del data[offset:]
    else:
        data[offset] ^= 4
    wal.write_bytes(data)
    with open_at(path, is_unclean=True) as opened:
        count = opened.position.fact_count
        assert opened.query("SELECT count(*), coalesce(max(seq), 0) FROM internal.facts").rows == [(count, count)]
        if opened.opening == "rebuilt":
            assert count == 0
            # Torn while the tables were made, it is replayed into a database that holds no journal yet.
            assert list(path.parent.glob("journal.duckdb.set-aside-77*"))


HOLD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_duckdb import open_at
follower = open_at(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("is_unclean", [False, True])
def test_a_database_held_elsewhere_is_unavailable_and_stays_where_it_is(path: Path, is_unclean: bool) -> None:
    fill(path)
    with start_child(HOLD, path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(StoreUnavailable, match=f"held by process {child.pid}"):
            open_at(path, is_unclean=is_unclean)
        child.communicate("")
    with open_at(path) as opened:
        assert opened.opening == "same"


def test_a_database_open_in_this_process_is_unavailable(path: Path, follower: DuckdbFollower) -> None:
    feed(follower, [Writer().write({"text": "hi"})])
    with duckdb.connect(":memory:") as other:
        other.execute("SELECT 1").fetchall()
        with pytest.raises(StoreUnavailable, match="held by"):
            probe(path)
    assert follower.query("SELECT count(*) FROM internal.facts").rows == [(1,)]


def test_a_folder_that_cannot_hold_the_database_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nothing is lost"):
        open_at(tmp_path / "missing" / "journal.duckdb")


def test_a_database_that_kills_its_reader_is_set_aside(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path)
    # DuckDB 1.5 dies like this in some replays; the probe is there so that the application does not.
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nkill -SEGV $$\n", encoding="ascii")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    assert probe(path) == "opening it killed the process with SIGSEGV"
    check_rebuilt(path, because="SIGSEGV", is_unclean=True)


def test_a_probe_finds_nothing_wrong_with_a_good_database(path: Path) -> None:
    fill(path)
    assert probe(path) is None


def test_a_file_we_write_asks_for_no_newer_duckdb_than_we_support(path: Path) -> None:
    fill(path)
    with duckdb.connect(str(path)) as connection:
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'journal'").fetchall()
    assert tags == [({"storage_version": "v1.5.0+"},)]


# One transaction


def test_facts_that_leave_a_gap_are_refused(follower: DuckdbFollower) -> None:
    with pytest.raises(LocalViolation, match="cannot end at fact 9"):
        follower.apply([Writer().write({"text": "hi"})], position=position_after(9))
    assert follower.position == LOG_START


def test_a_failed_apply_leaves_nothing_and_the_next_one_works(follower: DuckdbFollower, path: Path) -> None:
    writer = Writer()
    first, second = writer.write({"text": "one"}), writer.write({"text": "two"})
    feed(follower, [first])
    spool = path.with_name("journal.duckdb.spool")
    assert not spool.exists(), "emptied and written again it would be allocated, and the log's next sync waits for that"
    spool.mkdir()
    with pytest.raises(StoreUnavailable):
        feed(follower, [second])
    spool.rmdir()
    assert follower.position == position_after(1)
    assert follower.query("SELECT count(*) FROM internal.facts").rows == [(1,)]
    feed(follower, [second])
    assert follower.query(
        "SELECT text FROM (SELECT payload->>'$.text' AS text, seq FROM history) ORDER BY seq"
    ).rows == [
        ("one",),
        ("two",),
    ]


def test_an_error_after_the_facts_takes_them_and_the_new_views_back(follower: DuckdbFollower) -> None:
    record = Writer().write({"text": "hi"})
    broken = Registration(MESSAGE, 1, 1, "no json", "h")
    with pytest.raises(orjson.JSONDecodeError):
        feed(follower, [record], registrations=[broken])
    assert (follower.position, follower.views) == (LOG_START, {})
    assert follower.query(
        "SELECT (SELECT count(*) FROM internal.facts), (SELECT count(*) FROM internal.chains)"
    ).rows == [(0, 0)]
    feed(follower, [record])
    assert follower.query("SELECT count(*) FROM demo_message_sent").rows == [(1,)]


class ForgetfulConnection:
    """Answers OK to COMMIT and keeps nothing, as DuckDB 2.0 does after an error that somebody caught."""

    def __init__(self, real: duckdb.DuckDBPyConnection) -> None:
        self._real = real

    def execute(self, query: str, parameters: Sequence[object] = ()) -> duckdb.DuckDBPyConnection:
        return self._real.execute("ROLLBACK" if query == "COMMIT" else query, parameters)


def test_a_commit_that_kept_nothing_is_noticed(follower: DuckdbFollower, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = follower._tables
    monkeypatch.setattr(tables, "_connection", ForgetfulConnection(tables._connection))
    with pytest.raises(StoreUnavailable, match="left 0 behind"):
        feed(follower, [Writer().write({"text": "hi"})])
    assert follower.position == LOG_START
    assert follower.is_broken


def test_a_position_may_advance_without_facts(follower: DuckdbFollower) -> None:
    follower.apply([], position=LogPosition(2, 40, "f" * 64, 0))
    assert follower.position == LogPosition(2, 40, "f" * 64, 0)


def test_following_leaves_no_spool_behind(path: Path) -> None:
    fill(path)
    assert {item.name for item in path.parent.iterdir()} == {"journal.duckdb"}


def test_a_large_write_ahead_log_is_moved_when_idle_and_a_small_one_is_left(follower: DuckdbFollower) -> None:
    writer = Writer()
    feed(follower, [writer.write({"text": "small"})])
    assert follower.checkpoint_if_idle() is False
    feed(follower, [writer.write({"text": os.urandom(2_000).hex()}) for _ in range(1_500)])
    assert follower.statistics().wal_bytes > 4_000_000
    assert follower.checkpoint_if_idle() is True
    assert follower.statistics().wal_bytes == 0


# What comes back


_keys = st.text(st.characters(codec="utf-8"), max_size=6)
_values = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8"), max_size=30)
)
_payloads = st.dictionaries(_keys, _values, max_size=4)


@settings(max_examples=60)
@given(st.lists(_payloads, min_size=1, max_size=8))
def test_every_canonical_payload_comes_back_byte_for_byte(payloads: list[dict[str, Any]]) -> None:
    check_round_trip([canonical_bytes(payload) for payload in payloads], is_shown=True)


@settings(max_examples=60)
@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"\n", b"{", b"\x1f", b"\r\n", b"\0", b"\xff", b'"']),
        min_size=1,
        max_size=8,
    )
)
def test_bytes_that_are_no_json_are_kept_and_hidden(payloads: list[bytes]) -> None:
    shown = [payload for payload in payloads if is_lenient_json(payload)]
    check_round_trip([payload for payload in payloads if payload not in shown], is_shown=False)


def is_lenient_json(payload: bytes) -> bool:
    with shared_follower() as follower:
        try:
            return follower.query("SELECT json_valid($1)", [payload.decode()]).rows == [(True,)]
        except UnicodeDecodeError:
            return False


def check_round_trip(payloads: list[bytes], *, is_shown: bool) -> None:
    writer = Writer()
    records = [writer.write(payload) for payload in payloads]
    with shared_follower() as follower:
        before = follower.position.fact_count
        feed(follower, records)
        assert list(follower.facts_of([MESSAGE], after_position=before)) == (records if is_shown else [])
        rows = follower.query(
            "SELECT coalesce(raw, encode(payload), ''::BLOB), hidden FROM internal.facts WHERE position > ? "
            "ORDER BY position",
            [before],
        ).rows
        assert rows == [(payload, None if is_shown else "not-canonical") for payload in payloads]


@cache
def follower_of_all_examples() -> tuple[DuckdbFollower, TemporaryDirectory[str]]:
    """One database for every example of the laws below: opening a file for each would be most of their time."""
    folder = TemporaryDirectory()
    return open_at(Path(folder.name) / "journal.duckdb"), folder


@contextmanager
def shared_follower() -> Iterator[DuckdbFollower]:
    yield follower_of_all_examples()[0]


@pytest.fixture(scope="module", autouse=True)
def _close_shared_follower() -> Iterator[None]:
    yield
    follower, folder = follower_of_all_examples()
    follower.close()
    folder.cleanup()
    follower_of_all_examples.cache_clear()


AWKWARD = ["", "a\0b", "\x1f\n\r\t", "\"'\\", "🙂 ñ", "\u2028\u2029\x85", "NULL", "\ufeff", "null", "{}", " spaced "]


def test_awkward_text_arrives_in_its_column(follower: DuckdbFollower) -> None:
    class Said(Fact, kind="demo.said", version=1):
        text: str

    writer = Writer()
    records = [writer.write({"text": text}, kind="demo.said") for text in AWKWARD]
    feed(follower, records, registrations=[registered(Said)])
    assert [row[0] for row in follower.query("SELECT text FROM demo_said ORDER BY seq").rows] == AWKWARD
    assert [orjson.loads(record.payload or b"")["text"] for record in follower.facts_of(["demo.said"])] == AWKWARD


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 3)), max_size=12))
def test_facts_come_back_in_stamp_order_whatever_their_order_of_arrival(times: list[tuple[int, int]]) -> None:
    writer = Writer()
    records = [writer.write({"n": index}, at=at, hlc=hlc) for index, (at, hlc) in enumerate(times)]
    with shared_follower() as follower:
        before = follower.position.fact_count
        feed(follower, records)
        found = list(follower.facts_of(None, after_position=before))
    assert found == sorted(records, key=lambda record: record.stamp)


def test_only_the_wanted_kinds_and_the_newer_facts_come_back(follower: DuckdbFollower) -> None:
    writer = Writer()
    records = [writer.write({}, kind=kind, at=index) for index, kind in enumerate(["a.x", "a.y", "a.x", "a.z"])]
    feed(follower, records)
    assert list(follower.facts_of(["a.x", "a.z"], after_position=1)) == [records[2], records[3]]
    assert list(follower.facts_of([])) == []


def test_causal_links_come_back(follower: DuckdbFollower) -> None:
    writer, other = Writer(), Writer("ben", number=2)
    first = other.write({"n": 0}, at=1)
    links = (AfterLink(other.info.chain, 1, first.fact_id[:16]), AfterLink(ChainId(b"\xee" * 16), 7, b"\x01" * 16))
    second = writer.write({"n": 1}, at=2, after=links)
    erased = writer.write({"n": 2}, at=3, after=links[:1], is_erased=True)
    feed(follower, [first, second, erased])
    assert list(follower.facts_of(None)) == [first, second]
    assert {tuple(link) for link in follower.load_links()} == {
        (writer.info.chain, other.info.chain, 1),
        (writer.info.chain, b"\xee" * 16, 7),
    }


def test_chains_come_back_with_their_last_fact(follower: DuckdbFollower) -> None:
    ada, ben = Writer(), Writer("ben", number=2)
    records = [ada.write({"n": 1}), ben.write({"n": 1}), ada.write({"n": 2})]
    eve = Writer("eve", number=3)
    feed(follower, records, chains=[eve.info])
    found = {stored.info.chain: stored for stored in follower.load_chains()}
    assert found[ada.info.chain][1:] == (2, records[2].fact_id, 2)
    assert found[ben.info.chain][1:] == (1, records[1].fact_id, 1)
    assert found[eve.info.chain][1:] == (0, bytes(32), 0)
    kept = found[ben.info.chain].info
    assert (kept.public_key, kept.nonce, kept.namespace) == (ben.info.public_key, ben.info.nonce, ben.info.namespace)
    assert (kept.authority, kept.label, kept.device) == (ben.info.authority, "ben", "laptop")


def test_a_chain_gets_its_label_when_its_opening_arrives_later(follower: DuckdbFollower) -> None:
    writer = Writer()
    named = writer.info
    writer.info = ChainInfo(named.chain, named.public_key, named.nonce, named.namespace)
    feed(follower, [writer.write({"n": 1})])
    assert follower.query("SELECT author FROM history").rows == [("",)]
    writer.info = named
    feed(follower, [writer.write({"n": 2})])
    assert follower.query("SELECT author FROM history").rows == [("ada",), ("ada",)]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2**62), st.binary(min_size=32, max_size=32)), max_size=20))
def test_runs_come_back_by_chain_and_seq(given_rows: list[tuple[int, int, bytes]]) -> None:
    writers = {1: Writer(), 2: Writer("ben", number=2)}
    runs = [
        RunRow(bytes(writers[number].info.chain), seq, seq + 3, fact_id, bytes(32), 4, seq, 9)
        for number, seq, fact_id in given_rows
    ]
    with shared_follower() as follower:
        before = Counter(follower.load_runs())
        feed(follower, [], chains=[writer.info for writer in writers.values()], runs=runs)
        found = follower.load_runs()
    assert Counter(found) - before == Counter(runs)
    for writer in writers.values():
        numbers = [run.first_seq for run in found if run.chain == writer.info.chain]
        assert numbers == sorted(numbers)


def test_a_large_checkpoint_is_kept_in_parts_and_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.journal.stores.tables._STATE_PART_BYTES", 4)
    states = [b"123456789", b"", b"1234", b"987654321\0", b"12345678"]
    with open_at(path) as first:
        for state in states:
            first.save_checkpoint(view="lobby", version=1, schema_hash="h", root=b"r", state=state, position=1)
            first.save_checkpoint(view="other", version=1, schema_hash="h", root=b"r", state=b"beside it", position=2)
            assert first.load_checkpoint(view="lobby", version=1, schema_hash="h") == (b"r", state, 1)
    with open_at(path) as second:
        assert second.load_checkpoint(view="lobby", version=1, schema_hash="h") == (b"r", states[-1], 1)
        assert second.load_checkpoint(view="other", version=1, schema_hash="h") == (b"r", b"beside it", 2)
        second.erase([bytes(32)])
        assert second.load_checkpoint(view="lobby", version=1, schema_hash="h") is None
        assert second.query("select count(*) from internal.view_checkpoint_parts").rows == [(0,)]


def test_registrations_and_checkpoints_survive_reopening(path: Path) -> None:
    class Seen(Fact, kind="demo.seen", version=2):
        who: str

    with open_at(path) as first:
        feed(first, [], registrations=[registered(Seen)])
        first.save_checkpoint(view="lobby", version=1, schema_hash="h", root=b"r", state=b"old", position=0)
        first.save_checkpoint(view="lobby", version=1, schema_hash="h", root=b"r2", state=b"\0new", position=5)
    with open_at(path) as second:
        assert second.load_registrations() == [registered(Seen)]
        assert second.load_checkpoint(view="lobby", version=1, schema_hash="h") == (b"r2", b"\0new", 5)
        assert second.load_checkpoint(view="lobby", version=2, schema_hash="h") is None
        assert second.load_checkpoint(view="lobby", version=1, schema_hash="x") is None


# Typed views


def test_each_field_has_its_column_and_type(follower: DuckdbFollower) -> None:
    class Colour(Enum):
        RED = "red"

    class Everything(Fact, kind="demo.everything", version=1):
        text: str
        number: int
        flag: bool
        maybe: int | None = None
        words: tuple[str, ...]
        numbers: tuple[int, ...]
        pairs: dict[str, int]
        data: bytes
        colour: Colour
        level: Literal[1, 2]
        either: int | str

    fact = Everything(
        text="hi",
        number=-(2**63),
        flag=True,
        words=("a", 'q"\0'),
        numbers=(2**63 - 1,),
        pairs={"x": 1},
        data=b"\xff",
        colour=Colour.RED,
        level=2,
        either="x",
    )
    record = Writer().write(Everything.fact_type.encode(fact), kind="demo.everything")
    feed(follower, [record], registrations=[registered(Everything)])
    found = follower.query("SELECT * FROM demo_everything")
    shown = {name: (kind, value) for name, kind, value in zip(found.columns, found.types, found.rows[0], strict=True)}
    assert {name: shown[name] for name in Everything.model_fields} == {
        "text": ("VARCHAR", "hi"),
        "number": ("BIGINT", -(2**63)),
        "flag": ("BOOLEAN", True),
        "maybe": ("BIGINT", None),
        "words": ("VARCHAR[]", ["a", 'q"\0']),
        "numbers": ("BIGINT[]", [2**63 - 1]),
        "pairs": ("JSON", '{"x":1}'),
        "data": ("VARCHAR", "_w=="),
        "colour": ("VARCHAR", "red"),
        "level": ("BIGINT", 2),
        "either": ("JSON", '"x"'),
    }
    decoded = follower.query("SELECT from_base64(translate(data, '-_', '+/')) FROM demo_everything")
    assert decoded.rows == [(b"\xff",)]


def test_the_envelope_stands_beside_the_fields(follower: DuckdbFollower) -> None:
    record = Writer().write({"text": "hi"}, at=86_400_000 + 5)
    feed(follower, [record])
    found = follower.query(
        "SELECT fact_id, author, authority, chain, seq, at_ms, at_time::VARCHAR, hlc, namespace, version "
        "FROM demo_message_sent"
    )
    info = record.chain
    assert found.rows == [
        (
            record.fact_id.hex(),
            "ada",
            info.authority,
            info.text,
            1,
            86_400_005,
            "1970-01-02 00:00:00.005",
            1,
            info.namespace,
            1,
        )
    ]


def test_a_field_with_an_envelope_name_is_prefixed_and_case_never_collides(follower: DuckdbFollower) -> None:
    class Clash(Fact, kind="demo.clash", version=1):
        author: str
        payload_author: str
        userId: str
        userid: str
        order: str

    values = {"author": "a", "payload_author": "b", "userId": "c", "userid": "d", "order": "e"}
    feed(follower, [Writer().write(values, kind="demo.clash")], registrations=[registered(Clash)])
    found = follower.query(
        'SELECT author, payload_author, payload_author_2, userId, payload_userid, "order" FROM demo_clash'
    )
    assert found.rows == [("ada", "b", "a", "c", "d", "e")]
    names = [name.lower() for name in follower.query("SELECT * FROM demo_clash").columns]
    assert len(names) == len(set(names))
    assert set(map(str, follower.query("SELECT * FROM demo_clash").rows[0])) >= set("abcde")


@pytest.mark.parametrize("at", [-(2**63), 2**63 - 1, 253_402_300_799_999, -62_135_596_800_000])
def test_times_beyond_the_calendar_do_not_break_a_view(follower: DuckdbFollower, at: int) -> None:
    feed(follower, [Writer().write({"text": "hi"}, at=at, hlc=2**63 - 1)])
    rows = follower.query("SELECT at_ms, hlc, at_time IS NULL FROM demo_message_sent").rows
    assert rows == [(at, 2**63 - 1, abs(at) == 2**63 or at == 2**63 - 1)]


def test_what_is_absent_is_null_in_sql_whatever_its_type(follower: DuckdbFollower) -> None:
    class Place(BaseModel, frozen=True):
        name: str | None

    class Seen(Fact, kind="demo.seen", version=1):
        place: Place | None = None
        either: int | str | None = None
        pairs: dict[str, int] | None = None
        words: tuple[str, ...] | None = None

    payloads: list[dict[str, Any]] = [
        {"place": None, "either": None, "pairs": None, "words": None},
        {"place": {"name": None}, "either": "null", "pairs": {}, "words": []},
    ]
    writer = Writer()
    feed(
        follower,
        [writer.write(payload, kind="demo.seen") for payload in payloads],
        registrations=[registered(Seen)],
    )
    found = follower.query("SELECT place, either, pairs, words FROM demo_seen ORDER BY seq")
    assert found.types == ("JSON", "JSON", "JSON", "VARCHAR[]")
    assert found.rows == [(None, None, None, None), ('{"name":null}', '"null"', "{}", [])]


def test_a_payload_of_other_types_than_declared_gives_nulls_not_errors(follower: DuckdbFollower) -> None:
    class Counted(Fact, kind="demo.counted", version=1):
        n: int
        tags: tuple[str, ...]

    payloads: list[dict[str, Any]] = [
        {"n": "many", "tags": 5},
        {},
        {"n": 2**63 - 1, "tags": ["x"]},
        {"n": {"x": 1}, "tags": {}},
    ]
    writer = Writer()
    feed(follower, [writer.write(item, kind="demo.counted") for item in payloads], registrations=[registered(Counted)])
    rows = follower.query("SELECT n, tags FROM demo_counted ORDER BY seq").rows
    assert [row[0] for row in rows] == [None, None, 2**63 - 1, None]
    assert rows[2][1] == ["x"]


def test_an_older_fact_shows_the_default_of_a_newer_field(follower: DuckdbFollower) -> None:
    old = Registration("demo.seen", 1, 1, '{"who":{"type":"text"}}', "h1")

    class Seen(Fact, kind="demo.seen", version=2, min_version=1):
        who: str
        lang: str = "und"
        note: str | None = None
        count: int = 3

    writer = Writer()
    feed(follower, [writer.write({"who": "ada"}, kind="demo.seen")], registrations=[old])
    assert follower.query("SELECT who FROM demo_seen").rows == [("ada",)]
    newer = writer.write({"who": "ben", "lang": "en", "note": "n", "count": 0}, kind="demo.seen", version=2)
    feed(follower, [newer], registrations=[registered(Seen)])
    rows = follower.query("SELECT who, lang, note, count FROM demo_seen ORDER BY seq").rows
    assert rows == [("ada", "und", None, 3), ("ben", "en", "n", 0)]
    versions = follower.query("SELECT version, schema_hash FROM internal.fact_type_versions ORDER BY version").rows
    assert versions == [(1, "h1"), (2, Seen.fact_type.schema_hash)]
    assert follower.query("SELECT kind, current_version FROM fact_types").rows == [("demo.seen", 2)]


def test_hidden_and_erased_facts_are_kept_but_not_shown(follower: DuckdbFollower) -> None:
    writer = Writer()
    shown, hidden = writer.write({"text": "shown"}), writer.write({"text": "hidden"})
    erased = writer.write({"text": "erased"}, is_erased=True)
    feed(follower, [shown, hidden, erased], hidden={1: "missing right:\nsend", 2: "erased"})
    assert follower.query("SELECT payload->>'$.text' FROM demo_message_sent").rows == [("shown",)]
    rows = follower.query("SELECT is_erased, hidden, payload IS NULL FROM history ORDER BY position").rows
    assert rows == [(False, None, False), (False, "missing right: send", False), (True, None, True)]
    assert list(follower.facts_of(None)) == [shown]
    follower.hide({hidden.fact_id: None, shown.fact_id: "undecodable"})
    assert follower.query("SELECT payload->>'$.text' FROM demo_message_sent").rows == [("hidden",)]


def test_a_payload_that_is_no_json_never_breaks_its_view(follower: DuckdbFollower) -> None:
    writer = Writer()
    records = [writer.write(payload) for payload in (b"nope", b'{"text":"good"}', b"", b'{"a":\x1f}', b"\xff\xfe")]
    feed(follower, records)
    assert follower.query("SELECT payload->>'$.text' FROM demo_message_sent").rows == [("good",)]
    assert follower.query("SELECT hidden FROM history ORDER BY position").rows == [
        ("not-canonical",),
        (None,),
        ("not-canonical",),
        ("not-canonical",),
        ("not-canonical",),
    ]


def test_an_unknown_kind_is_generic_until_its_type_is_registered(follower: DuckdbFollower) -> None:
    class MessageSent(Fact, kind=MESSAGE, version=1):
        text: str

    feed(follower, [Writer().write({"text": "hi"})])
    assert follower.query("SELECT payload, author FROM demo_message_sent").rows == [('{"text":"hi"}', "ada")]
    feed(follower, [], registrations=[registered(MessageSent)])
    assert follower.query("SELECT text, author FROM demo_message_sent").rows == [("hi", "ada")]


def test_kinds_that_share_an_sql_name_get_numbers_and_registered_ones_go_first(follower: DuckdbFollower) -> None:
    class Ours(Fact, kind="a_b.c", version=1):
        n: int

    writer = Writer()
    feed(
        follower,
        [
            writer.write({"n": 1}, kind="a.b_c"),
            writer.write({"n": 2}, kind="a_b.c"),
            writer.write({"n": 3}, kind="fact.types"),
        ],
    )
    assert follower.views == {"a.b_c": "a_b_c", "a_b.c": "a_b_c_2", "fact.types": "fact_types_2"}
    assert follower.query("SELECT payload FROM a_b_c_2").rows == [('{"n":2}',)]
    feed(follower, [], registrations=[registered(Ours)])
    assert follower.views == {"a.b_c": "a_b_c_2", "a_b.c": "a_b_c", "fact.types": "fact_types_2"}
    assert follower.query("SELECT n FROM a_b_c").rows == [(2,)]
    assert follower.query("SELECT payload FROM a_b_c_2").rows == [('{"n":1}',)]
    assert follower.query("SELECT payload FROM fact_types_2").rows == [('{"n":3}',)]


@given(
    st.lists(
        st.sampled_from(["a.b_c", "a_b.c", "a.b.c", "a.b_c_2", "fact.types", "view.checkpoints", "x.y"]), unique=True
    )
)
def test_names_are_distinct_and_never_a_tables(kinds: list[str]) -> None:
    names = sql_names([KnownKind(kind, None) for kind in kinds])
    assert sorted(names) == sorted(kinds)
    assert len(set(names.values())) == len(kinds)
    assert not set(names.values()) & {"fact_types", "view_checkpoints", "facts", "history"}


def test_views_do_not_depend_on_how_the_log_was_cut(tmp_path: Path) -> None:
    writer = Writer()
    kinds = ["a.b_c", "a_b.c", "a.b.c", "a.b_c", "x.y"]
    records = [writer.write({}, kind=kind) for kind in kinds]
    found = []
    for size in (1, 2, 5):
        with open_at(tmp_path / f"{size}.duckdb") as opened:
            for start in range(0, len(records), size):
                feed(opened, records[start : start + size])
            found.append(opened.views)
    assert found[0] == found[1] == found[2]


# Questions


def test_a_query_takes_parameters_by_position_and_by_name(follower: DuckdbFollower) -> None:
    feed(follower, [Writer().write({"text": "hi"})])
    assert follower.query("SELECT author FROM history WHERE seq = ?", [1]).rows == [("ada",)]
    assert follower.query("SELECT author FROM history WHERE seq = $n", {"n": 2}).rows == []


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM internal.facts",
        "INSERT INTO meta VALUES ('a', 'b')",
        "DROP VIEW history",
        "SELECT 1; DELETE FROM internal.facts",
        "COMMIT",
        "SET threads = 4",
        "PRAGMA disable_checkpoint_on_shutdown",
        "ATTACH ':memory:' AS other",
        "COPY facts TO 'out.csv'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_blob('{path}')",
        "INSTALL httpfs",
        "SELECT nonsense",
        "SELEC 1",
        "",
    ],
)
def test_sql_that_is_wrong_or_reaches_out_is_refused(follower: DuckdbFollower, path: Path, sql: str) -> None:
    feed(follower, [Writer().write({"text": "hi"})])
    with pytest.raises(LocalViolation):
        follower.query(sql.replace("{path}", str(path)))
    feed(follower, [])
    assert follower.query("SELECT count(*) FROM history").rows == [(1,)]


def test_a_pivot_is_a_reading_query(follower: DuckdbFollower) -> None:
    feed(follower, [Writer().write({"text": "hi"})])
    assert follower.query("PIVOT (SELECT author, seq FROM history) ON author USING count(*)").rows == [(1, 1)]


def test_closing_twice_is_closing_once(path: Path) -> None:
    opened = open_at(path)
    opened.close()
    opened.close()
    with pytest.raises(StoreUnavailable):
        opened.load_chains()

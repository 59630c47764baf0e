"""History: the same rows as the journal has, at any time one asks for, and nothing but reading."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.app.history import FactQuery, History, HistoryError, Result, open_history, query_owner, to_ms
from antiphon.app.offline import compare_journals, open_offline
from antiphon.facts import Fact, FactRecord, Namespace, Registration, canonical_bytes
from antiphon.facts.registry import registration_of
from antiphon.journal.errors import FormatTooNew, NotAJournal
from antiphon.journal.sealing import Draft, OwnChain, build_frame, open_chain, seal_run
from antiphon.journal.stores.duckdb import DuckdbFollower
from antiphon.journal.stores.folder import KeySigner
from antiphon.journal.stores.log import LogWriter, file_path
from antiphon.journal.stores.position import LOG_START, LogPosition

MESSAGE = "demo.message_sent"
NOON = 1_700_000_000_000


class MessageSent(Fact, kind=MESSAGE, version=1):
    room: str
    text: str


REGISTRATION = registration_of(MessageSent.fact_type)


class LogAuthor:
    """One author, with keys of its own, whose facts wait to be sealed into a log."""

    def __init__(
        self, folder: Path, name: str = "ada", *, number: int = 1, namespace: str = "antiphon.default"
    ) -> None:
        self.signer = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))
        self.folder = folder
        self.records: list[FactRecord] = []
        self.position = LOG_START
        self.chain, opening = open_chain(
            namespace=Namespace(namespace),
            writer=self.signer,
            authority=self.signer,
            nonce=bytes([number]) * 16,
            device="laptop",
            label=name,
            predecessor=None,
            fresh=(),
        )
        self.waiting = [opening]
        self.is_introduced = False

    def say(self, payload: bytes | dict[str, Any], *, kind: str = MESSAGE, at: int | None = NOON) -> None:
        body = payload if isinstance(payload, bytes) else canonical_bytes(payload)
        self.waiting.append(Draft(kind, 1, body, at))


class Log:
    """The log of one journal, written frame by frame."""

    def __init__(self, folder: Path) -> None:
        (folder / "log").mkdir(parents=True)
        self.folder = folder
        self.writer = LogWriter(folder, journal="ab" * 16, last=LOG_START, may_append=False)
        self.records: list[FactRecord] = []
        self.chains: list[OwnChain] = []

    def write(self, *authors: LogAuthor, registrations: Sequence[Registration] = ()) -> LogPosition:
        """Seal what *authors* said and append it as one frame."""
        last = self.writer.synced
        runs = [
            seal_run(
                author.chain,
                author.waiting,
                wall_ms=NOON,
                hlc_floor=0,
                randomness=bytes(16 * len(author.waiting)),
                signer=author.signer,
            )
            for author in authors
        ]
        new = [author.chain.info for author in authors if not author.is_introduced]
        frame = build_frame(last.frame_hash, runs, chains=new, registrations=registrations)
        for author, run in zip(authors, runs, strict=True):
            author.is_introduced, author.waiting = True, []
            self.records.extend(run.records)
        self.writer.append([frame.data], last._replace(frame_hash=frame.frame_hash, fact_count=len(self.records)))
        return self.writer.synced

    def close(self) -> None:
        self.writer.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    written = Log(tmp_path / "chat")
    yield written
    written.close()


@pytest.fixture
def ada(log: Log) -> LogAuthor:
    author = LogAuthor(log.folder)
    author.say({"room": "lobby", "text": "hello"})
    author.say({"room": "lobby", "text": "again"}, at=NOON + 1_000)
    log.write(author, registrations=[REGISTRATION])
    return author


@pytest.fixture
def history(log: Log, ada: LogAuthor) -> Iterator[History]:
    with open_history(log.folder) as opened:
        yield opened


# Reading


def test_a_kinds_view_has_its_fields_as_columns(history: History) -> None:
    result = history.sql("SELECT room, text, author, at_ms FROM demo_message_sent ORDER BY at_ms")
    assert result.columns == ("room", "text", "author", "at_ms")
    assert result.types == ("VARCHAR", "VARCHAR", "VARCHAR", "BIGINT")
    assert result.fetchall() == [("lobby", "hello", "ada", NOON), ("lobby", "again", "ada", NOON + 1_000)]
    assert list(result) == result.fetchall()


def test_kinds_with_facts_come_first_and_the_card_shows_no_others(log: Log, history: History) -> None:
    registered = [REGISTRATION._replace(kind=f"aaa.kind_{number}") for number in range(30)]
    log.write(LogAuthor(log.folder, "ben", number=7), registrations=registered)
    history.refresh()
    kinds = history.kinds()
    assert [kind.kind for kind in kinds[:2]] == [MESSAGE, "journal.chain_opened"]
    assert {kind.fact_count for kind in kinds[2:]} == {0}
    assert len(kinds) == 32
    card = history._repr_html_()
    assert MESSAGE in card
    assert "aaa.kind" not in card
    assert "30 more kinds have no facts" in card


def test_kinds_are_listed_with_their_views_and_counts(history: History) -> None:
    assert [tuple(kind) for kind in history.kinds()] == [
        (MESSAGE, "demo_message_sent", 1, 2),
        ("journal.chain_opened", "journal_chain_opened", None, 1),
    ]


def test_refresh_reads_only_what_was_added(log: Log, ada: LogAuthor, history: History) -> None:
    assert history.refresh() == 0
    ada.say({"room": "lobby", "text": "third"})
    log.write(ada)
    assert history.sql("SELECT count(*) FROM history").fetchall() == [(3,)]
    assert history.refresh() == 1
    assert history.sql("SELECT count(*) FROM history").fetchall() == [(4,)]


def test_refresh_survives_many_files_and_authors(log: Log, ada: LogAuthor, history: History) -> None:
    ben = LogAuthor(log.folder, "ben", number=2, namespace="work")
    for index in range(5):
        ada.say({"room": "a", "text": str(index)})
        ben.say({"room": "b", "text": str(index)})
        log.write(ada, ben)
        log.close()  # the next frame begins a new file
        assert history.refresh() == 2 + (index == 0)
    assert history.facts(MESSAGE).where(namespace="work").count() == 5
    assert {row[1] for row in history.sql("SELECT DISTINCT namespace, author FROM history").fetchall()} == {
        "ada",
        "ben",
    }


def test_a_result_keeps_the_rows_of_its_moment(log: Log, ada: LogAuthor, history: History) -> None:
    before = history.sql("SELECT count(*) FROM history")
    ada.say({"room": "lobby", "text": "third"})
    log.write(ada)
    history.refresh()
    assert before.fetchall() == before.fetchall() == [(3,)]


def test_a_history_and_the_journals_table_show_the_same_rows(log: Log, ada: LogAuthor, history: History) -> None:
    ada.say(b'{"b":1,"a":2}')
    ada.say({"n": 1}, kind="other.kind")
    log.write(ada)
    history.refresh()
    with DuckdbFollower.open(log.folder / "journal.duckdb", journal_id="j", now_ms=0) as follower:
        follower.apply(
            log.records, position=log.writer.synced, registrations=[REGISTRATION], hidden={3: "not-canonical"}
        )
        for view in ("history", "demo_message_sent", "other_kind", "journal_chain_opened"):
            query = f"SELECT * FROM {view} ORDER BY chain, seq"
            assert history.sql(query).fetchall() == follower.query(query).rows


READ = """
import sys
from antiphon.app.history import open_history
with open_history(sys.argv[1]) as history:
    print(history.facts().count(), sorted(kind.sql_name for kind in history.kinds()))
"""


def test_another_process_reads_while_the_owner_writes(log: Log, ada: LogAuthor) -> None:
    with DuckdbFollower.open(log.folder / "journal.duckdb", journal_id="j", now_ms=0) as follower:
        follower.apply(log.records, position=log.writer.synced)
        done = subprocess.run([sys.executable, "-c", READ, str(log.folder)], capture_output=True, text=True, check=True)
        assert done.stdout == "3 ['demo_message_sent', 'journal_chain_opened']\n"
        ada.say({"room": "lobby", "text": "third"})
        follower.apply([], position=log.writer.synced)
        assert follower.query("SELECT count(*) FROM internal.facts").rows == [(3,)]


def test_reading_changes_nothing_in_the_folder(log: Log, ada: LogAuthor) -> None:
    before = {path: path.read_bytes() for path in log.folder.rglob("*") if path.is_file()}
    with open_history(log.folder) as history:
        history.refresh()
    assert {path: path.read_bytes() for path in log.folder.rglob("*") if path.is_file()} == before


def test_a_payload_that_is_not_canonical_is_hidden_and_can_be_asked_for(
    log: Log, ada: LogAuthor, history: History
) -> None:
    ada.say(b'{"text":"b", "room":"a"}')
    ada.say(b"\xff\n".replace(b"\n", b" "))
    log.write(ada)
    history.refresh()
    assert history.sql("SELECT count(*) FROM demo_message_sent").fetchall() == [(2,)]
    assert history.facts(MESSAGE).count() == 2
    hidden = history.facts(MESSAGE).with_hidden().result()
    assert hidden.columns[-2:] == ("is_erased", "hidden")
    assert sorted(str(row[-1]) for row in hidden.fetchall()) == ["None", "None", "not-canonical", "not-canonical"]


def test_a_damaged_stretch_is_named_and_the_rest_read(log: Log, ada: LogAuthor) -> None:
    ada.say({"room": "lobby", "text": "breaks"})
    log.write(ada)
    log.close()
    path = file_path(log.folder, 1)
    path.write_bytes(path.read_bytes().replace(b"breaks", b"broken"))
    with open_history(log.folder) as history:
        assert history.facts(MESSAGE).count() == 2
        assert len(history.damages) == 1
        assert "could not be read" in history._repr_html_()


def test_a_damaged_stretch_costs_its_own_facts_and_not_those_behind_it(log: Log, ada: LogAuthor) -> None:
    ben = LogAuthor(log.folder, "ben", number=2)
    ada.say({"room": "lobby", "text": "breaks"})
    log.write(ada)
    ada.say({"room": "lobby", "text": "follows"})
    ben.say({"room": "lobby", "text": "untouched"})
    log.write(ada, ben)
    log.close()
    path = file_path(log.folder, 1)
    path.write_bytes(path.read_bytes().replace(b"breaks", b"broken"))
    with open_history(log.folder) as history:
        texts = history.sql("SELECT text FROM demo_message_sent ORDER BY author, seq").fetchall()
        assert texts == [("hello",), ("again",), ("follows",), ("untouched",)]


# Time travel


_facts = st.lists(st.tuples(st.integers(0, 2), st.integers(NOON - 5, NOON + 5)), min_size=1, max_size=15)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=_facts, moment=st.integers(NOON - 7, NOON + 7))
def test_as_of_is_the_replay_of_what_was_stamped_by_then(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[int, int]], moment: int
) -> None:
    log = Log(tmp_path_factory.mktemp("asof") / "chat")
    authors = [LogAuthor(log.folder, f"author {number}", number=number) for number in (1, 2, 3)]
    for index, (number, at) in enumerate(said):
        authors[number].say({"room": "lobby", "text": str(index)}, at=at)
        if index % 4 == 3:
            log.write(*(author for author in authors if author.waiting))
    log.write(*(author for author in authors if author.waiting))
    log.close()
    replayed = sorted((record for record in log.records if record.at <= moment), key=lambda record: record.stamp)
    with open_history(log.folder) as history:
        rows = history.facts().as_of(moment).fetchall()
        assert [row[2] for row in rows] == [record.fact_id.hex() for record in replayed]
        later = history.facts().since(moment + 1)
        assert later.count() + len(rows) == len(log.records)


def test_every_way_to_name_a_moment_means_the_same() -> None:
    at = datetime(2026, 11, 1, 12, 30, 0, 5_000, tzinfo=UTC)
    expected = 1_793_536_200_005
    paris = timezone(timedelta(hours=1))
    assert to_ms(at) == to_ms("2026-11-01T12:30:00.005") == to_ms(expected) == expected
    assert to_ms(at.astimezone(paris)) == to_ms("2026-11-01T13:30:00.005+01:00") == expected
    assert to_ms("2026-11-01") == to_ms(date(2026, 11, 1)) == to_ms(datetime(2026, 11, 1, tzinfo=UTC))
    assert to_ms("1969-12-31T23:59:59.999") == -1


@pytest.mark.parametrize("moment", ["yesterday", "", True, 1.5, None])
def test_what_is_no_time_is_refused(history: History, moment: Any) -> None:
    with pytest.raises(HistoryError, match="is no time"):
        history.facts().as_of(moment)


def test_a_datetime_without_a_zone_is_refused_and_told_how_to_name_one(history: History) -> None:
    with pytest.raises(HistoryError, match=r"names no zone.*datetime\.now\(UTC\)"):
        history.facts().as_of(datetime(2026, 11, 1, tzinfo=UTC).replace(tzinfo=None))


def test_rows_can_be_had_one_by_one_and_up_to_a_limit(history: History) -> None:
    result = history.sql("SELECT text FROM demo_message_sent ORDER BY at_ms")
    assert [result.fetchone(), result.fetchone(), result.fetchone()] == [("hello",), ("again",), None]
    first = history.facts(MESSAGE).limit(1)
    assert [row[7] for row in first] == [NOON]
    assert first.count() == 1
    assert history.facts(MESSAGE).limit(5).limit(0).fetchall() == []
    for odd in (-1, 1.5, "1", True, None):
        with pytest.raises(HistoryError, match="0 or more rows"):
            history.facts().limit(odd)  # type: ignore[arg-type]


def test_narrowing_twice_keeps_the_narrower(history: History) -> None:
    query = history.facts(MESSAGE)
    assert query.as_of(NOON).as_of(NOON + 9_999).count() == 1
    assert query.since(NOON + 1).since(0).count() == 1
    assert query.between(NOON, NOON + 1_000).count() == 2
    assert query.between(NOON + 1, NOON + 999).count() == 0


# Questions


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*", 3),
        (MESSAGE, 2),
        ("demo.*", 2),
        ("*.message_sent", 2),
        ("journal.*", 1),
        ("nothing.*", 0),
        ("demo", 0),
        ("", 0),
    ],
)
def test_a_pattern_selects_kinds_and_an_unknown_one_nothing(history: History, pattern: str, count: int) -> None:
    with nullcontext() if count else pytest.warns(UserWarning, match="no kind here goes by"):
        query = history.facts(pattern)
    assert query.count() == len(query.fetchall()) == len(list(query)) == count


def test_authors_and_authorities_narrow(log: Log, ada: LogAuthor, history: History) -> None:
    ben = LogAuthor(log.folder, "ben", number=2)
    ben.say({"room": "lobby", "text": "hi"})
    log.write(ben)
    history.refresh()
    query = history.facts(MESSAGE)
    assert query.where(author="ben").count() == 1
    assert query.where(authority=ada.chain.info.authority).count() == 2
    assert query.where(author="ben").where(authority=ada.chain.info.authority).count() == 0
    assert query.where(author="'; DROP TABLE facts; --").count() == 0


def test_parameters_go_by_position_and_by_name(history: History) -> None:
    assert history.sql("SELECT text FROM demo_message_sent WHERE seq = ?", [2]).fetchall() == [("hello",)]
    assert history.sql("SELECT text FROM demo_message_sent WHERE seq = $n", {"n": 3}).fetchall() == [("again",)]


def test_frames_of_all_three_libraries_hold_the_same_rows(history: History) -> None:
    result = history.sql("SELECT seq, text FROM demo_message_sent ORDER BY seq")
    expected = [{"seq": 2, "text": "hello"}, {"seq": 3, "text": "again"}]
    assert result.arrow().to_pylist() == expected
    assert result.pl().to_dicts() == expected
    assert result.df().to_dict("records") == expected
    query = history.facts(MESSAGE)
    assert query.arrow().num_rows == len(query.pl()) == len(query.df()) == 2


def test_results_and_queries_are_arrow_streams(history: History) -> None:
    import polars
    import pyarrow

    for source in (history.sql("SELECT 1 AS n"), history.facts(MESSAGE)):
        table = pyarrow.table(source)
        assert table.equals(source.arrow())
        assert polars.DataFrame(source).height == table.num_rows


@pytest.mark.parametrize(("method", "module"), [("df", "pandas"), ("pl", "polars"), ("arrow", "pyarrow")])
def test_a_missing_library_is_named_with_what_to_install(
    history: History, monkeypatch: pytest.MonkeyPatch, method: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HistoryError, match=rf"{module}.*pip install 'antiphon\[notebook\]'"):
        getattr(history.sql("SELECT 1"), method)()


@pytest.mark.parametrize(
    ("sql", "because"),
    [
        ("SELECT nonsense FROM history", "nonsense"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM no_such_kind", "no_such_kind"),
        ("DELETE FROM facts", "read-only"),
        ("CREATE TABLE t (a INTEGER)", "read-only"),
        ("SELECT 1; SELECT 2", "read-only"),
        ("SET enable_external_access = true", "read-only"),
        ("", "read-only"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled by configuration"),
        ("SELECT * FROM '/tmp/x.parquet'", "disabled by configuration"),
    ],
)
def test_wrong_or_writing_sql_is_refused_in_duckdbs_words(history: History, sql: str, because: str) -> None:
    with pytest.raises(HistoryError, match=because):
        history.sql(sql)
    assert history.sql("SELECT count(*) FROM history").fetchall() == [(3,)]


def test_an_error_while_rows_are_computed_is_told(history: History) -> None:
    result = history.sql("SELECT (text || 'x')::INTEGER FROM demo_message_sent")
    for fetch in (result.fetchall, result.arrow, result._repr_html_):
        with pytest.raises(HistoryError, match=r"Could not convert|aborted"):
            fetch()


def test_a_kind_that_is_named_like_a_table_is_told_its_view(history: History) -> None:
    with pytest.raises(HistoryError, match=r"kind demo.message_sent is the view demo_message_sent"):
        history.sql("SELECT * FROM demo.message_sent")
    with pytest.raises(HistoryError, match=r"a kind or a pattern such as 'demo.\*'; got 5"):
        history.facts(5)  # type: ignore[arg-type]
    assert repr(history.kinds()).startswith("<KindList: demo.message_sent 2, journal.chain_opened 1; 0 kinds")


def test_show_tables_lists_what_is_worth_asking(history: History) -> None:
    listed = [row[0] for row in history.sql("SHOW TABLES").fetchall()]
    assert listed == ["demo_message_sent", "evidence", "fact_types", "history", "journal_chain_opened"]
    with pytest.raises(HistoryError, match="does not exist"):
        history.sql("SELECT * FROM chains")


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW TABLES",
        "DESCRIBE history",
        "SUMMARIZE history",
        "EXPLAIN SELECT 1",
        "FROM history",
        "VALUES (1)",
        "SELECT 1; ",
    ],
)
def test_whatever_gives_rows_is_a_query(history: History, sql: str) -> None:
    result = history.sql(sql)
    assert result.fetchall()
    assert result.arrow().num_rows == len(result.fetchall())
    assert not any("antiphon_result" in str(row) for row in result.fetchall())


def test_wrong_sql_is_shown_as_it_was_written(history: History) -> None:
    with pytest.raises(HistoryError, match="LINE 1: SELECT nonsense FROM history"):
        history.sql("SELECT nonsense FROM history")


def test_an_owners_result_is_read_by_another_thread_while_the_table_moves_on(log: Log, ada: LogAuthor) -> None:
    with DuckdbFollower.open(log.folder / "journal.duckdb", journal_id="j", now_ms=0) as follower:
        follower.apply(log.records, position=log.writer.synced, registrations=[REGISTRATION])
        result = query_owner(follower, "SELECT text FROM demo_message_sent WHERE seq > $n ORDER BY seq", {"n": 1})
        ada.say({"room": "lobby", "text": "third"})
        log.write(ada)
        follower.apply(log.records[-1:], position=log.writer.synced)
        with ThreadPoolExecutor(1) as other:
            assert other.submit(result.fetchall).result() == [("hello",), ("again",)]
        assert query_owner(follower, "SELECT count(*) FROM internal.facts").fetchall() == [(4,)]
        with pytest.raises(HistoryError, match="nonsense"):
            query_owner(follower, "SELECT nonsense")
    with pytest.raises(HistoryError, match="closed"):
        result.fetchall()


def test_a_time_with_a_zone_says_how_to_fetch_it(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytz", None)
    with pytest.raises(HistoryError, match="AT TIME ZONE"):
        history.sql("SELECT at_time AT TIME ZONE 'UTC' FROM history").fetchall()
    noon = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC).replace(tzinfo=None)
    assert history.sql("SELECT at_time FROM history WHERE seq = 2").fetchall() == [(noon,)]


# Opening and showing


def test_a_folder_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("x", encoding="ascii")
    for path, what in ((tmp_path, "holds no journal"), (tmp_path / "nothing", "does not exist"), (file, "is a file")):
        with pytest.raises(NotAJournal, match=what):
            open_history(path)


def test_a_journal_without_facts_is_an_empty_history(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_bytes(b"{}")
    with open_history(tmp_path) as history:
        assert history.facts().fetchall() == []
        assert history.kinds() == ()
        assert history.statistics() == (0, 0, 0, None, None, 0, 0)
        assert "facts" in history._repr_html_()


def test_a_newer_format_is_refused(log: Log, ada: LogAuthor) -> None:
    path = file_path(log.folder, 1)
    first_line = path.read_bytes().splitlines(keepends=True)[0]  # with frames of this format behind it, it is damage
    path.write_bytes(first_line.replace(b'"format":1', b'"format":9', 1) + b'{"zzz":1}\n')
    with pytest.raises(FormatTooNew, match="format 9"):
        open_history(log.folder)


def test_a_closed_history_and_its_results_say_so(history: History) -> None:
    result = history.sql("SELECT count(*) FROM history")
    history.close()
    history.close()
    for use in (history.refresh, history.kinds, history.facts().count, result.fetchall):
        with pytest.raises(HistoryError, match="closed"):
            use()
    assert "closed" in repr(history)


def test_statistics_tell_counts_span_and_bytes(log: Log, history: History) -> None:
    found = history.statistics()
    assert (found.fact_count, found.kind_count, found.author_count, found.damage_count) == (3, 2, 1, 0)
    assert (found.first_ms, found.last_ms) == (NOON, NOON + 1_000)
    assert found.log_bytes == file_path(log.folder, 1).stat().st_size


def test_cards_and_tables_are_html_without_anybodys_markup(log: Log, ada: LogAuthor, history: History) -> None:
    eve = LogAuthor(log.folder, "<script>alert(1)</script>", number=6)
    eve.say({"room": "<b>", "text": "<img src=x>"})
    log.write(eve)
    history.refresh()
    shown: list[History | FactQuery | Result] = [
        history,
        history.facts(),
        history.sql('SELECT author AS "<i>", payload FROM history'),
    ]
    for item in shown:
        text = item._repr_html_()
        assert "<table>" in text
        assert not any(markup in text for markup in ("<script>", "<img", "<b>", "<i>"))
    assert "&lt;script&gt;" in history._repr_html_()


def test_a_long_result_shows_its_first_rows_and_says_so(history: History) -> None:
    text = history.sql("SELECT range AS n FROM range(1000)")._repr_html_()
    assert text.count("<tr>") == 21
    assert "the first 20 rows" in text


def test_a_query_is_a_value(history: History) -> None:
    assert history.facts("demo.*") == FactQuery(history, "demo.*")
    assert history.facts().as_of(5) == history.facts().as_of("1970-01-01T00:00:00.005")


# Two journals


def test_a_fork_is_named_with_the_number_where_two_stories_begin(tmp_path: Path) -> None:
    logs = [Log(tmp_path / name) for name in ("a", "b")]
    for log, text in zip(logs, ("here", "there"), strict=True):
        ada, ben = LogAuthor(log.folder), LogAuthor(log.folder, "ben", number=2)
        ada.say({"room": "lobby", "text": "hello"})
        ben.say({"room": "lobby", "text": "hello"})
        log.write(ada, ben)
        ada.say({"room": "lobby", "text": text})
        log.write(ada)
        if text == "there":
            ben.say({"room": "lobby", "text": "more"})
            log.write(ben)
        log.close()
    found = compare_journals(*(open_offline(log.folder) for log in logs))
    told = {each.info.label: (each.last_seqs, each.forked_at) for each in found.chains}
    assert told == {"ada": ((3, 3), 3), "ben": ((2, 3), None)}
    assert len(found.forked) == 1

"""The commands that look at other times, choose facts, follow, and give facts to others."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import duckdb
import polars
import pytest
from typer.testing import CliRunner, Result

from antiphon import Journal
from antiphon.app.cli.root import app
from antiphon.app.history import HistoryError, open_history
from antiphon.app.offline import open_offline
from antiphon.app.parquet_export import COLUMNS, MANIFEST, export_parquet
from antiphon.facts import ChannelCreated, MessageEdited, MessageSent

ANTIPHON = [sys.executable, "-c", "from antiphon.app.cli import main; main()"]
NOON = 1_700_000_000_000
DAY = 86_400_000

OWN_VIEW = """
from antiphon import view
from antiphon.facts import MessageSent

@view(MessageSent, initial=())
def texts(lines: tuple[str, ...], fact: MessageSent) -> tuple[str, ...]:
    return (*lines, fact.text)

plain = 5
"""


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="antiphon")
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def read_lines(*arguments: object) -> list[dict]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def read_json(*arguments: object) -> dict:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def message(journal: Journal, number: int) -> MessageSent:
    return MessageSent(
        context_id="team",
        channel_id="lobby",
        message_id=f"m{number}",
        sender_id=journal.authority,
        sender_name="ada",
        text=f"text {number}",
        sent_at=NOON + number * DAY,
    )


async def fill(folder: Path, count: int = 5) -> None:
    where = {"context_id": "team", "channel_id": "lobby"}
    async with Journal.open(folder, author="ada") as journal:
        actor = journal.authority
        await journal.commit(ChannelCreated(**where, name="Lobby", created_at=NOON - 1, creator_id=actor, is_dm=False))
        await journal.commit_all([message(journal, number) for number in range(count)])
        await journal.commit(
            MessageEdited(**where, message_id="m1", editor_id=actor, new_text="better", edited_at=NOON + 9 * DAY)
        )


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "chat"))
    return tmp_path / "chat"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(OWN_VIEW)
    return file


# --- choosing -------------------------------------------------------------------------------------------------------


def test_log_and_tail_choose_by_kind_author_and_time(journal: Path) -> None:
    sent = ("--kind", "chat.message_sent")
    for command in ("log", "tail"):
        found = read_lines(command, "--journal", journal, *sent, "--since", NOON + DAY, "--until", NOON + 3 * DAY)
        assert [fact["payload"]["text"] for fact in found] == ["text 1", "text 2", "text 3"]
        assert read_lines(command, "--journal", journal, "--author", "ben") == []
        assert len(read_lines(command, "--journal", journal, *sent, "--author", "ada", "--limit", 2)) == 2
    by_day = read_lines("log", "--journal", journal, "--since", "2023-11-15", "--until", "2023-11-17T12:00")
    assert [fact["payload"]["text"] for fact in by_day] == ["text 1", "text 2"]
    refused = run("log", "--journal", journal, "--since", "yesterday")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "is no time" in refused.stderr


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("chat", "did you mean chat."),
        ("chat.mesage_sent", "chat.message_sent"),
        ("zzz", "antiphon stats lists the kinds"),
    ],
)
def test_a_kind_that_is_none_is_told_with_those_near_it(journal: Path, kind: str, says: str) -> None:
    told = run("log", "--journal", journal, "--kind", kind)
    assert (told.exit_code, told.stdout) == (0, "")
    assert says in told.stderr
    assert run("log", "--journal", journal, "--kind", "chat.*", "--author", "nobody").stderr == ""


# --- other times ----------------------------------------------------------------------------------------------------


def test_show_as_of_shows_the_screen_of_that_day(journal: Path) -> None:
    (channel,) = read_json("show", "chat", "--journal", journal, "--as-of", NOON + 2 * DAY)["channels"]
    assert [each["content"] for each in channel["messages"]] == ["text 0", "text 1", "text 2"]
    (channel,) = read_json("show", "chat", "--journal", journal)["channels"]
    assert [each["content"] for each in channel["messages"]][:2] == ["text 0", "better"]
    assert read_json("show", "unread", "--journal", journal) == {"total_unread": 0}


def test_show_takes_a_view_of_the_users(journal: Path, own: Path) -> None:
    assert read_json("show", f"{own}:texts", "--journal", journal, "--as-of", NOON) == {"state": ["text 0"]}
    assert run("show", f"{own}:texts", "--journal", journal).stdout.splitlines()[-1] == "text 4"


def test_a_state_of_dataclasses_is_json_all_the_way_down(journal: Path, tmp_path: Path) -> None:
    path = tmp_path / "shelves.py"
    path.write_text(
        """
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from antiphon import view
from antiphon.facts import MessageSent


class Shade(Enum):
    LIGHT = "light"


class Size(NamedTuple):
    width: int


@dataclass(frozen=True)
class Shelf:
    shade: Shade
    sizes: tuple[Size, ...]
    books: MappingProxyType
    marks: frozenset[int]


@view(MessageSent, initial=MappingProxyType({}))
def shelves(state: MappingProxyType, fact: MessageSent) -> MappingProxyType:
    return MappingProxyType({"top": Shelf(Shade.LIGHT, (Size(3),), MappingProxyType({"a": 1}), frozenset({2, 1}))})
"""
    )
    top = {"shade": "light", "sizes": [{"width": 3}], "books": {"a": 1}, "marks": [1, 2]}
    assert read_json("show", f"{path}:shelves", "-j", journal) == {"state": {"top": top}}
    assert read_json("why", f"{path}:shelves", "top", "-j", journal)["value"] == top


@pytest.mark.parametrize(
    ("view", "says"),
    [
        ("nonsense", "none of chat"),
        ("no_such_module:x", "cannot import"),
        ("no_such_file.py:x", "no file"),
        ("{own}:plain", "no @view"),
    ],
)
def test_what_is_no_view_is_wrong_usage(journal: Path, own: Path, view: str, says: str) -> None:
    refused = run("show", view.format(own=own), "--journal", journal)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert says in refused.stderr


def test_why_names_the_facts_behind_a_value(journal: Path, own: Path) -> None:
    found = read_json("why", "chat", "m1", "--journal", journal)
    assert (found["key"], found["value"]["content"], found["minimal"]) == ("messages/team/lobby/m1", "better", True)
    assert [fact["kind"] for fact in found["facts"]] == [
        "chat.channel_created",
        "chat.message_sent",
        "chat.message_edited",
    ]
    then = read_json("why", "chat", "m1", "--journal", journal, "--as-of", NOON + DAY)
    assert then["value"]["content"] == "text 1"
    text = run("why", f"{own}:texts", 0, "--journal", journal).stdout
    assert "because of 1 fact" in text
    refused = run("why", "chat", "m9", "--journal", journal)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no part 'm9'" in refused.stderr


def test_diff_tells_what_changed_with_the_facts(journal: Path) -> None:
    found = {
        line["key"]: line
        for line in read_lines("diff", "chat", "--journal", journal, "--from", NOON + 3 * DAY)
        if line["key"].startswith("messages/")
    }
    assert {key: line["what"] for key, line in found.items()} == {
        "messages/team/lobby/m1": "changed",
        "messages/team/lobby/m4": "added",
    }
    changed = found["messages/team/lobby/m1"]
    assert (changed["before"]["content"], changed["after"]["content"]) == ("text 1", "better")
    assert [fact["kind"] for fact in changed["facts"]] == ["chat.message_edited"]
    told = run("diff", "chat", "--journal", journal, "--from", NOON + 3 * DAY)
    assert "~ messages/team/lobby/m1" in told.stdout
    nothing = run("diff", "chat", "--journal", journal, "--from", NOON + 2 * DAY + 1, "--to", NOON + 2 * DAY + 2)
    assert (nothing.exit_code, nothing.stdout) == (0, "")


def test_timeline_counts(journal: Path) -> None:
    found = read_lines("timeline", "--journal", journal, "--every", "day", "--kind", "chat.message_sent")
    assert [(line["at_time"][:10], line["facts"]) for line in found] == [(f"2023-11-{14 + day}", 1) for day in range(5)]
    told = run("timeline", "--journal", journal, "--by", "author", "--every", "year").stdout.splitlines()
    assert told[2].split()[2:] == ["ada", "7"]
    refused = run("timeline", "--journal", journal, "--every", "fortnight")
    assert (refused.exit_code, "Value error" in refused.output) == (2, False)
    assert "'fortnight' is not one of 'minute'" in refused.output


# --- following and stopping -----------------------------------------------------------------------------------------


def test_following_looks_at_two_sizes_and_reads_only_when_something_came(
    journal: Path,
) -> None:
    offline = open_offline(journal)
    assert len(list(offline.read_records())) == 8
    assert not offline.has_grown()
    asyncio.run(fill(journal, 1))
    assert offline.has_grown()
    assert len(list(offline.read_records())) >= 3
    assert not offline.has_grown()


def test_an_interrupt_ends_a_query_inside_duckdb(journal: Path) -> None:
    endless = "select sum(a.range * 3 % 7) from range(100000000000) as a"
    command = [*ANTIPHON, "query", endless, "--journal", str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until_busy(process)
            process.send_signal(signal.SIGINT)
            out, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out, told) == (130, "", "antiphon: interrupted\n")


def wait_until_busy(process: subprocess.Popen[str]) -> None:
    """Return when a process has computed for longer than starting takes, by its own CPU clock."""
    ticks = os.sysconf("SC_CLK_TCK")
    while process.poll() is None:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks > 4:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)


# --- export ---------------------------------------------------------------------------------------------------------


def test_an_export_is_read_by_polars_and_duckdb_without_us(journal: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "facts"
    report = read_json("export", "--journal", journal, "--parquet", target)
    assert (report["facts"], report["kinds"], report["folder"]) == (8, 4, str(target))
    pattern = str(target / "**" / "*.parquet")
    with duckdb.connect(":memory:") as stranger:
        rows = stranger.execute(
            f"SELECT kind, date::VARCHAR, fact_id, payload FROM read_parquet('{pattern}', hive_partitioning = true) "
            "ORDER BY at_ms, hlc, fact_id"
        ).fetchall()
    frame = polars.scan_parquet(pattern, hive_partitioning=True).sort("at_ms", "hlc", "fact_id").collect()
    assert set(frame.columns) == {"kind", "date", *COLUMNS.split(", ")}
    with open_history(journal) as history:
        expected = [(row[0], row[2], row[11]) for row in history.facts().with_hidden().fetchall()]
        assert json.loads((target / MANIFEST).read_bytes())["fingerprint"] == history.fingerprint
    assert [(kind, fact_id, payload) for kind, _, fact_id, payload in rows] == expected
    assert list(frame.select("kind", "fact_id", "payload").iter_rows()) == expected
    assert {path.parent.name for path in target.rglob("*.parquet") if "message_sent" in str(path)} == {
        f"date=2023-11-{14 + day}" for day in range(5)
    }


def test_exports_of_equal_journals_are_equal_and_leave_nothing_beside(journal: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_parquet(journal, tmp_path / "out" / name)
    found = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "out" / "a", tmp_path / "out" / "b")
    ]
    assert found[0] == found[1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]


def test_an_export_overwrites_nothing_and_a_failed_one_leaves_nothing(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("x")
    refused = run("export", "--journal", journal, "--parquet", taken)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "there already" in refused.stderr

    def fail(*_: object) -> None:
        raise HistoryError("the disk is full")

    monkeypatch.setattr("antiphon.app.parquet_export._read_back", fail)
    with pytest.raises(HistoryError, match="full"):
        export_parquet(journal, tmp_path / "out" / "facts")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_export_that_cannot_be_written_says_so_in_one_line(journal: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    target = tmp_path / "taken" / "out"
    command = [*ANTIPHON, "export", "--journal", str(journal), "--parquet", str(target)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 4
    assert refused.stderr.splitlines() == [refused.stderr.strip()]
    assert "could not be written" in refused.stderr


def test_an_export_of_a_damaged_journal_says_what_is_missing(journal: Path, tmp_path: Path) -> None:
    (log_file,) = sorted((journal / "log").glob("*.ndjson"))
    log_file.write_bytes(log_file.read_bytes().replace(b"text 1", b"text 7"))
    told = run("export", "-j", journal, "--parquet", tmp_path / "out")
    assert told.exit_code == 0
    assert "what it held is missing here" in told.stderr


def test_progress_of_an_export_counts_facts(journal: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    export_parquet(journal, tmp_path / "out", on_progress=lambda done: seen.append(tuple(done)))
    assert seen[0][1:] == (0, 8)
    assert seen[-1][1:] == (8, 8)

"""The command line: what it prints where, which code it exits with, and that it never shows a traceback."""

import asyncio
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import antiphon
from antiphon import Journal, views
from antiphon.app.cli.root import EPILOG, app
from antiphon.app.cli.screen import clean
from antiphon.app.cli.travelling import SHIPPED
from antiphon.app.offline import open_offline, verify_log
from antiphon.facts import ErasedFact, FactsErased, HomeBan, HomeDeclared, MessageSent, home_context
from antiphon.journal import Draft
from antiphon.journal.stores.log import log_files
from antiphon.testing.records import ChainWriter

from .conftest import WriteLog

ANTIPHON = [sys.executable, "-c", "from antiphon.app.cli import main; main()"]


def run(*arguments: object) -> Result:
    """Run a command in this process; nothing but an exit may leave it."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="antiphon")
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.stderr
    return result


def check_refused(result: Result, code: int, *parts: str) -> None:
    """The command said why in one line on stderr, and nothing on stdout."""
    assert result.exit_code == code
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("antiphon: ")
    for part in parts:
        assert part in lines[0]


def read_json(*arguments: object, code: int = 0) -> dict:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def read_lines(*arguments: object) -> list[dict]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def log(write_log: WriteLog) -> Path:
    return write_log(
        "=== ada [n=a@h]  has joined #x",
        "[08:30] <ada> hello, \u2603",
        "what is this?",
        b"[08:31] <ben> caf\xe9 \x1b[31mred",
        "[08:32]  * ada waves",
        "=== mode/#x [+o ada]  by ben",
    )


@pytest.fixture
def journal(log: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    assert run("import", "irc", log, "--journal", folder, "--channel", "#x", "--author", "importer").exit_code == 0
    return folder


@contextmanager
def started(*arguments: object, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A command as a process of its own, ended whatever happens."""
    process = subprocess.Popen(
        [*ANTIPHON, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# --- help and usage -------------------------------------------------------------------------------------------------


def test_help_says_whole_sentences() -> None:
    listed = run("--help").stdout.split("Commands:")[1].split("Exit codes")[0]
    assert "..." not in listed
    assert "report; exit code 0 when they agree." in " ".join(listed.split())


def test_the_package_itself_is_the_command_line() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "antiphon", "--version"], capture_output=True, text=True, check=True
    )
    assert outcome.stdout == f"antiphon {antiphon.__version__}\n"


def test_what_only_reads_the_log_loads_no_database(journal: Path) -> None:
    ask = (
        "import sys\nfrom typer.testing import CliRunner\nfrom antiphon.app.cli.root import app\n"
        "for command in ('stats', 'log', 'verify'):\n"
        f"    assert CliRunner().invoke(app, [command, '--journal', {str(journal)!r}]).exit_code == 0\n"
        "print('duckdb' in sys.modules)"
    )
    outcome = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert outcome.stdout == "False\n"


def test_numbers_in_a_table_stand_below_each_other(journal: Path) -> None:
    lines = run(
        "query", "select * from (values ('a', 5, true), ('bcd', 1000, null)) t(who, n, yes)", "-j", journal
    ).stdout
    assert lines.splitlines() == [
        "who     n  yes",
        "───  ────  ────",
        "a       5  True",
        "bcd  1000  –",
    ]


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    commands = [
        "import",
        "show",
        "log",
        "tail",
        "why",
        "diff",
        "timeline",
        "export",
        "query",
        "stats",
        "verify",
        "serve",
        "sync",
        "doctor",
        "demo",
    ]
    assert all(command in result.stdout for command in commands)
    text = " ".join(result.stdout.split())
    assert all(part in text for part in ("0 ok", "1 the answer is no", "2 wrong usage", "3 the journal is", "130"))
    assert "NO_COLOR" in EPILOG


@pytest.mark.parametrize(
    "command",
    ["show", "log", "tail", "why", "diff", "timeline", "export", "query", "stats", "verify", "doctor", "sync", "serve"],
)
def test_every_command_explains_its_json(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "JSON:" in result.stdout
    assert "--json" in result.stdout


@pytest.mark.parametrize("command", ["show", "log", "stats", "verify", "doctor", "sync", "serve", "demo"])
def test_help_keeps_what_stands_in_brackets_and_breaks_no_line_early(command: str) -> None:
    shown = run(command, "--help").stdout
    source = app.registered_commands
    docs = {each.callback.__name__: each.callback.__doc__ for each in source if each.callback}
    assert " ".join((docs[command] or "").split()) in " ".join(shown.split())


def test_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"antiphon {antiphon.__version__}\n"


def test_help_loads_none_of_the_heavy_packages() -> None:
    code = (
        "import sys; sys.argv = ['antiphon', '--help']\n"
        "from antiphon.app.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'duckdb', 'pydantic', 'reactivex', 'cryptography'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["show", "weather", "--journal", "x"],
        ["log"],
        ["log", "--journal", "x", "--limit", "-1"],
        ["import", "irc", "--journal", "x", "--channel", "#x"],
        ["query", "select 1"],
        ["import", "irc", "2007-01-21.txt", "--journal", "x", "--channel", "#x", "--day", "yesterday"],
    ],
)
def test_wrong_usage_exits_with_2_and_leaves_stdout_empty(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


# --- import ---------------------------------------------------------------------------------------------------------


def test_import_reports_what_it_did(log: Path, tmp_path: Path) -> None:
    report = read_json("import", "irc", log, "--journal", tmp_path / "j", "--channel", "#x")
    assert report["channel"] == "#x"
    assert report["context"] == "irc.x"
    assert (report["files"], report["lines"], report["undecodable"]) == (1, 6, 1)
    assert report["added"] == {
        "chat.channel_created": 1,
        "chat.membership_imported": 1,
        "chat.message_imported": 4,
        "contact.added": 2,
    }
    assert report["facts"] == 8
    assert [(each["file"], each["line"], each["code"]) for each in report["problems"]] == [
        (log.name, 2, "unknown-form")
    ]
    again = read_json("import", "irc", log, "--journal", tmp_path / "j", "--channel", "#x")
    assert (again["facts"], again["known"]) == (0, 7)
    assert again["fingerprint"] == report["fingerprint"]


def test_import_tells_a_person_the_lines_it_could_not_take(log: Path, tmp_path: Path) -> None:
    result = run("import", "irc", log, "--journal", tmp_path / "j", "--channel", "#x")
    assert result.exit_code == 0
    assert "6 lines" in result.stdout
    assert f"{log.name}, line 2 (from 0): not a line of an IRC log" in result.stdout
    assert result.stderr == ""


def test_import_of_a_file_without_a_day_asks_for_one_and_makes_no_journal(write_log: WriteLog, tmp_path: Path) -> None:
    log = write_log("[08:30] <ada> hi", name="ubuntu.txt")
    check_refused(run("import", "irc", log, "--journal", tmp_path / "j", "--channel", "#x"), 2, "--day YYYY-MM-DD")
    assert not (tmp_path / "j").exists()
    report = read_json("import", "irc", log, "--journal", tmp_path / "j", "--channel", "#x", "--day", "2007-01-21")
    assert report["added"]["chat.message_imported"] == 1


def test_import_of_a_missing_file_says_so_and_makes_no_journal(tmp_path: Path) -> None:
    missing = tmp_path / "2007-01-21.txt"
    check_refused(run("import", "irc", missing, "--journal", tmp_path / "j", "--channel", "#x"), 2, missing.name)
    assert not (tmp_path / "j").exists()


def test_import_of_what_is_no_file_says_so_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name, what in (("nope.txt", "no such file"), ("logs", "is a folder")):
        refused = run("import", "irc", tmp_path / name, "--journal", tmp_path / "j", "--channel", "#x")
        check_refused(refused, 2, name, what)
    assert not (tmp_path / "j").exists()


def test_one_is_not_many(write_log: WriteLog, tmp_path: Path) -> None:
    one = run("import", "irc", write_log("[08:30] <ada> hi"), "--journal", tmp_path / "j", "--channel", "#x")
    assert one.stdout.startswith("1 line of 1 file: 3 new facts, ")
    assert "4 facts by 1 author in" in run("stats", "--journal", tmp_path / "j").stdout
    assert "in 1 frame of 1 file: sound" in run("verify", "--journal", tmp_path / "j").stdout


def test_import_of_a_file_that_is_no_log_exits_with_1(write_log: WriteLog, tmp_path: Path) -> None:
    result = run("import", "irc", write_log("a", "b"), "--journal", tmp_path / "j", "--channel", "#x", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["files_without_lines"] == ["2007-01-21.txt"]
    assert "is it an IRC log?" in result.stderr


def test_import_draws_no_bar_unless_stderr_is_a_terminal(log: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*ANTIPHON, "import", "irc", str(log), "--journal", str(tmp_path / "j"), "--channel", "#x", "--json"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == b""
    assert json.loads(done.stdout)["facts"] == 8


# --- looking --------------------------------------------------------------------------------------------------------


def test_show_chat_shows_nicks_and_who_imported_them(journal: Path) -> None:
    state = read_json("show", "chat", "--journal", journal)
    (channel,) = state["channels"]
    authority = read_json("stats", "--journal", journal)["authority"]
    assert (channel["id"], channel["context_id"]) == ("#x", "irc.x")
    shown = [(each["sender_name"], each["content"], each["style"]) for each in channel["messages"]]
    assert shown == [
        ("ada", "hello, \u2603", "message"),
        ("ben", "caf\ufffd \x1b[31mred", "message"),
        ("ada", "waves", "action"),
        ("ben", "mode/#x [+o ada]  by ben", "system"),
    ]
    assert {each["imported_by"] for each in channel["messages"]} == {authority}
    assert {each["imported_by_label"] for each in channel["messages"]} == {"importer"}


def test_show_cuts_to_the_newest(journal: Path) -> None:
    (channel,) = read_json("show", "chat", "--journal", journal, "--limit", 1)["channels"]
    assert [each["style"] for each in channel["messages"]] == ["system"]
    assert channel["message_count"] == 4


def test_show_of_a_channel_that_is_not_there_exits_with_1_and_names_the_others(journal: Path) -> None:
    assert len(read_json("show", "chat", "--journal", journal, "--channel", "#x")["channels"]) == 1
    check_refused(run("show", "chat", "--journal", journal, "--channel", "#y"), 1, "'#y'", "#x")


def test_show_contacts_and_invitations(journal: Path) -> None:
    contacts = read_json("show", "contacts", "--journal", journal)["contacts"]
    assert sorted(each["effective_name"] for each in contacts) == ["ada", "ben"]
    assert read_json("show", "invitations", "--journal", journal) == {"pending": [], "sent": [], "history": []}


def test_every_view_that_ships_can_be_shown(journal: Path) -> None:
    assert {getattr(views, name).signal_id for name in SHIPPED.values()} == set(views.APP_VIEWS)
    for view in SHIPPED:
        assert isinstance(read_json("show", view, "--journal", journal), dict)
        run("show", view, "--journal", journal)


def test_show_homes_shows_people_and_what_was_laid_on_them(tmp_path: Path) -> None:
    async def found_a_home() -> str:
        async with Journal.open(tmp_path / "home") as journal:
            home, me = home_context(journal.authority, "den"), journal.authority
            declared = HomeDeclared(context_id=home, owner_id=me, name="The \x1b[31mden", declared_at=1)
            ban = HomeBan(context_id=home, actor_id=me, target_id="eve", reason="spam", banned_at=2)
            await journal.commit_all([declared, ban])
            return me

    me = asyncio.run(found_a_home())
    (home,) = read_json("show", "homes", "--journal", tmp_path / "home")["homes"]
    assert (home["owner_id"], home["members"], home["bans"][0]["target_id"]) == (me, [me], "eve")
    shown = run("show", "homes", "--journal", tmp_path / "home").stdout
    assert f"owner  {me}" in shown
    assert "banned  eve everywhere: spam" in shown
    assert "\x1b" not in shown


def test_what_a_log_said_cannot_steer_the_terminal(journal: Path) -> None:
    for command in (["show", "chat"], ["log"], ["tail"], ["query", "select text from chat_message_imported"]):
        result = run(*command, "--journal", journal)
        assert result.exit_code == 0
        assert "red" in result.stdout
        assert "\x1b" not in result.stdout
    assert clean("\u202egnp.exe\x07") == "\ufffdgnp.exe\ufffd"


def test_log_lists_facts_in_the_order_in_which_they_were_taken(journal: Path) -> None:
    facts = read_lines("log", "--journal", journal)
    assert [fact["seq"] for fact in facts] == list(range(1, 10))
    assert facts[0]["kind"] == "journal.chain_opened"
    assert facts[-1]["author"] == "importer"
    assert read_lines("log", "--journal", journal, "--limit", 2) == facts[-2:]
    messages = read_lines("log", "--journal", journal, "--kind", "chat.message_*")
    assert [fact["payload"]["line"] for fact in messages] == [1, 3, 4, 5]
    assert read_lines("tail", "--journal", journal, "--limit", 2) == facts[-2:]


@pytest.mark.asyncio
async def test_log_hidden_gives_the_reason(journal: Path) -> None:
    async with Journal.open(journal) as opened:
        forged = MessageSent(
            context_id="irc.x",
            channel_id="#x",
            message_id="m",
            sender_id="somebody",
            sender_name="s",
            text="t",
            sent_at=1,
        )
        receipt = await opened.commit(forged)
    (fact,) = read_lines("log", "--journal", journal, "--hidden")
    assert (fact["fact_id"], fact["hidden"]) == (receipt.fact_id, "wrong-actor")
    assert "somebody" in fact["reason"]
    assert receipt.fact_id not in [each["fact_id"] for each in read_lines("log", "--journal", journal)]


@pytest.mark.asyncio
async def test_log_hidden_lists_what_is_not_due_yet_and_views_wait_for_it(journal: Path) -> None:
    async with Journal.open(journal) as opened:
        later = MessageSent(
            context_id="irc.x",
            channel_id="#x",
            message_id="m",
            sender_id=opened.authority,
            sender_name="importer",
            text="from the year 3000",
            sent_at=32_503_680_000_000,
        )
        receipt = await opened.commit(later)
    (fact,) = read_lines("log", "--journal", journal, "--hidden")
    assert (fact["fact_id"], fact["hidden"]) == (receipt.fact_id, "not-due")
    assert fact["reason"] == "not due until 2999-12-31 23:55 UTC"
    assert receipt.fact_id not in [each["fact_id"] for each in read_lines("log", "--journal", journal)]
    (channel,) = read_json("show", "chat", "--journal", journal)["channels"]
    assert "from the year 3000" not in [each["content"] for each in channel["messages"]]


@pytest.mark.parametrize("kept_bytes", [-10, 0], ids=["cut", "empty"])
def test_every_command_that_reads_says_so_when_the_log_ends_too_early(
    journal: Path, tmp_path: Path, kept_bytes: int
) -> None:
    (path,) = log_files(journal).values()
    os.truncate(path, path.stat().st_size + kept_bytes if kept_bytes else 0)
    readings = (
        ("log",),
        ("tail",),
        ("show", "chat"),
        ("show", "chat", "--as-of", "2026-01-01"),
        ("query", "SELECT 1"),
        ("export", "--parquet", tmp_path / "out"),
        ("stats",),
    )
    for reading in readings:
        result = run(*reading, "--journal", journal)
        assert result.exit_code == 0, reading
        assert result.stderr.count("sync with a peer") == 1, (reading, result.stderr)
    with antiphon.open_history(journal) as history:
        assert "ends before" in history.damages[-1].reason
    assert run("verify", "--journal", journal).exit_code == 1


def test_a_log_that_is_whole_says_nothing_of_its_end(journal: Path) -> None:
    for reading in (("log",), ("stats",), ("show", "chat"), ("query", "SELECT 1")):
        assert run(*reading, "--journal", journal).stderr == "", reading


class Counted(antiphon.Fact, kind="test_cli.counted", version=1):
    number: int


@pytest.mark.asyncio
async def test_log_hidden_knows_an_applications_types_by_what_the_journal_recorded(journal: Path) -> None:
    eve = ChainWriter("eve")
    async with Journal.open(journal) as opened:
        # Before the journal knows the type, and after.
        wrong = [eve.say(Draft("test_cli.counted", 1, b'{"number":"many"}', None))]
        await opened.engine.ingest(wrong)
        await opened.commit(Counted(number=1))
        await opened.engine.ingest([eve.say(Draft("test_cli.counted", 1, b"{}", None))])
    bad = read_lines("log", "--journal", journal, "--hidden")
    assert [(fact["kind"], fact["hidden"]) for fact in bad] == [("test_cli.counted", "undecodable")] * 2
    assert "number is text; expected integer" in bad[0]["reason"]
    assert "number is missing" in bad[1]["reason"]
    (good,) = read_lines("log", "--journal", journal, "--kind", "test_cli.*")
    assert good["payload"] == {"number": 1}


@pytest.mark.asyncio
async def test_log_hidden_names_what_was_said_without_right(journal: Path) -> None:
    async with Journal.open(journal) as opened:
        home = home_context(opened.authority, "den")
        eve = ChainWriter("eve", namespace=home)
        await opened.commit(HomeDeclared(context_id=home, owner_id=opened.authority, name="den", declared_at=1))
        rightful = HomeBan(context_id=home, target_id="0" * 32, actor_id=opened.authority, banned_at=2)
        receipt = await opened.commit(rightful)
        person = eve.chain.info.authority
        usurped = HomeBan(context_id=home, target_id=opened.authority, actor_id=person, banned_at=3)
        place = {"chain": receipt.chain, "seq": receipt.seq, "fact_id": receipt.fact_id}
        target = ErasedFact(**place, kind=HomeBan.fact_type.kind)
        erased = FactsErased(facts=(target,), namespace=home)
        nowhere = ChainWriter("eve", namespace="cafe")
        homeless = HomeBan(context_id="cafe", target_id="0" * 32, actor_id=person, banned_at=4)
        await opened.engine.ingest([eve.say_fact(usurped), eve.say_fact(erased), nowhere.say_fact(homeless)])
    found = read_lines("log", "--journal", journal, "--hidden")
    kinds = ["moderation.home_ban", "journal.erased", "moderation.home_ban"]
    assert [(fact["kind"], fact["hidden"]) for fact in found] == [(kind, "without-right") for kind in kinds]
    for fact, word in zip(found, ("moderator", "erased", "no owner"), strict=True):
        assert word in fact["reason"]
    shown = {fact["fact_id"] for fact in read_lines("log", "--journal", journal, "--limit", 0)}
    assert receipt.fact_id in shown
    assert not shown & {fact["fact_id"] for fact in found}


def test_query_answers_as_table_lines_or_csv(journal: Path) -> None:
    sql = (
        "select sender_name, count(*) as n, sum(sent_at) as s, min(at_time) as t "
        "from chat_message_imported group by 1 order by 1"
    )
    rows = read_lines("query", sql, "--journal", journal)
    assert [(row["sender_name"], row["n"]) for row in rows] == [("ada", 2), ("ben", 2)]
    assert rows[0]["t"] == "2007-01-21T08:30:00.001000"
    table = run("query", sql, "--journal", journal).stdout.splitlines()
    assert table[0].split() == ["sender_name", "n", "s", "t"]
    parsed = list(csv.reader(run("query", sql, "--journal", journal, "--csv").stdout.splitlines()))
    assert parsed[0] == ["sender_name", "n", "s", "t"]
    assert [row[:2] for row in parsed[1:]] == [["ada", "2"], ["ben", "2"]]


def test_query_survives_values_that_json_has_no_form_for(journal: Path) -> None:
    (row,) = read_lines(
        "query",
        "select pow(2, 100)::hugeint as big, 1.5::decimal(4,1) as d, 'x'::blob as b, [1, null] as l, 'nan'::double n",
        "--journal",
        journal,
    )
    assert row["l"] == [1, None]
    assert row["b"] == b"x".hex()
    assert (row["big"], row["d"], row["n"]) == (2**100, "1.5", None)


def test_a_wrong_query_exits_with_2(journal: Path) -> None:
    assert run("query", "selec", "--journal", journal).exit_code == 2
    check_refused(run("query", "create table t (i int)", "--journal", journal), 2)
    assert run("query", "select 1", "--journal", journal, "--json", "--csv").exit_code == 2


def test_a_wrong_query_is_shown_with_the_place_marked(journal: Path) -> None:
    result = run("query", "select kind,\nnonsense from history", "--journal", journal)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("antiphon: ")
    assert set(lines[-1].strip()) == {"^"}
    assert lines[-2].index("nonsense") == lines[-1].index("^")


def test_stats_count_what_there_is(journal: Path) -> None:
    found = read_json("stats", "--journal", journal)
    assert found["facts"] == sum(found["kinds"].values()) == 9
    assert found["namespaces"]["irc.x"]["facts"] == 9
    assert found["author"] == "importer"
    assert found["first_ms"] < found["last_ms"] == 1_169_368_320_000 + 1
    assert found["last_run"]["windows"] >= 1
    assert found["last_run"]["views"] == {}, "an import watches nothing"
    assert "last run: " in run("stats", "--journal", journal).stdout
    assert "irc.x" in run("stats", "--journal", journal).stdout


@pytest.mark.asyncio
async def test_everything_can_be_read_while_another_process_owns_the_journal(journal: Path) -> None:
    async with Journal.open(journal):
        for command in (
            ["show", "chat"],
            ["log"],
            ["tail"],
            ["query", "select count(*) from history"],
            ["stats"],
            ["verify"],
        ):
            result = await asyncio.to_thread(run, *command, "--journal", journal)
            assert result.exit_code == 0, result.stderr
        assert (await asyncio.to_thread(run, "doctor", journal, journal)).exit_code == 0


def test_output_has_no_colour_when_it_is_no_terminal(journal: Path) -> None:
    environment = os.environ | {"NO_COLOR": "1"}
    for arguments in (["--help"], ["stats", "--journal", str(journal)], ["nonsense"]):
        done = subprocess.run([*ANTIPHON, *arguments], capture_output=True, check=False, env=environment)
        assert b"\x1b" not in done.stdout + done.stderr


# --- checking -------------------------------------------------------------------------------------------------------


def test_verify_finds_a_sound_journal_sound(journal: Path) -> None:
    found = read_json("verify", "--journal", journal)
    assert (found["sound"], found["facts"], found["damages"]) == (True, 9, [])


def test_verify_tells_how_far_it_is(journal: Path) -> None:
    told: list[tuple[int, int, int]] = []
    verify_log(open_offline(journal), on_progress=lambda *step: told.append(step))
    assert told[0][1] == 0
    assert told[-1] == (told[-1][0], told[-1][2], told[-1][2])
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_verify_names_each_damaged_place_and_exits_with_1(journal: Path) -> None:
    (path,) = log_files(journal).values()
    data = path.read_bytes()
    at = data.index(b"hello,")
    path.write_bytes(data[:at] + b"HELLO," + data[at + 6 :])
    found = read_json("verify", "--journal", journal, code=1)
    assert not found["sound"]
    (damage,) = found["damages"]
    assert damage["file"] == 1
    assert damage["offset"] <= at < damage["offset"] + damage["length"]
    result = run("verify", "--journal", journal)
    assert result.exit_code == 1
    assert f"log file 1, bytes {damage['offset']}.." in result.stdout
    assert "run antiphon verify" in run("log", "--journal", journal).stderr


def test_verify_checks_the_signature_of_every_seal(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(seal: object, public_key: bytes) -> bool:
        asked.append(len(public_key))
        return False

    monkeypatch.setattr("antiphon.app.offline.is_seal_valid", refuse)
    found = read_json("verify", "--journal", journal, code=1)
    assert len(found["damages"]) == len(asked) == found["runs"] > 0
    assert "not signed by the chain's key" in found["damages"][0]["reason"]


def test_doctor_finds_the_first_fact_that_only_one_holds(journal: Path, write_log: WriteLog, tmp_path: Path) -> None:
    other = tmp_path / "other"
    early = write_log("[08:30] <ada> first!", name="2006-01-01.txt")
    run("import", "irc", early, "--journal", other, "--channel", "#x")
    found = read_json("doctor", journal, other, code=1)
    assert not found["equal"]
    assert found["facts"] == [9, 4]
    assert found["missing"] == [4, 9]
    assert found["namespaces"] == ["irc.x"]
    first = found["first_difference"]
    assert first["held_by"] == str(other)
    assert first["kind"] in ("chat.channel_created", "chat.message_imported", "contact.added")
    assert first["at_ms"] == 1_136_104_200_000
    assert [chain["last_seq"] for chain in found["chains"]] in ([[9, 0], [0, 4]], [[0, 4], [9, 0]])
    assert (found["damages"], found["strays"]) == ([0, 0], [0, 0])
    assert any("antiphon sync" in line for line in found["advice"])
    text = run("doctor", journal, other)
    assert text.exit_code == 1
    assert "A has up to 9, B has nothing of it" in text.stdout
    assert first["fact_id"][:12] in text.stdout
    assert run("doctor", journal, journal).exit_code == 0


def test_doctor_names_damage_and_says_what_would_help(journal: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(journal, copy)
    path = log_files(copy)[1]
    path.write_bytes(path.read_bytes().replace(b"hello,", b"HELLO,", 1))
    found = read_json("doctor", journal, copy, code=1)
    assert found["damages"] == [0, 1]
    assert ("antiphon verify" in found["advice"][0], "antiphon sync" in found["advice"][-1]) == (True, True)
    assert f"- {copy} has 1 place" in run("doctor", journal, copy).stdout


# --- journals that cannot be had ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["show", "chat"], ["log"], ["tail"], ["query", "select 1"], ["stats"], ["verify"]])
def test_a_folder_that_is_no_journal_exits_with_3(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    check_refused(run(*command, "--journal", tmp_path), 3, "holds no journal")
    check_refused(run(*command, "--journal", tmp_path / "nothing"), 3, "does not exist")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.asyncio
async def test_a_held_journal_exits_with_3_and_names_the_holder(journal: Path, log: Path) -> None:
    async with Journal.open(journal):
        result = await asyncio.to_thread(run, "import", "irc", log, "--journal", journal, "--channel", "#x")
    check_refused(result, 3, str(os.getpid()))


def test_a_journal_of_a_newer_format_exits_with_3(journal: Path) -> None:
    (path,) = log_files(journal).values()
    data = path.read_bytes()
    first_line = data.splitlines(keepends=True)[0]  # with frames of this format behind it, it is damage
    path.write_bytes(first_line.replace(b'"format":1', b'"format":9', 1) + b'{"zzz":1}\n')
    check_refused(run("log", "--journal", journal), 3, "format 9")


def test_an_unknown_error_is_not_swallowed(monkeypatch: pytest.MonkeyPatch, journal: Path) -> None:
    def fail(path: Path) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("antiphon.app.offline.open_offline", fail)
    result = CliRunner().invoke(app, ["stats", "--journal", str(journal)])
    assert isinstance(result.exception, ZeroDivisionError)


# --- peers ----------------------------------------------------------------------------------------------------------


def test_two_journals_meet_through_serve_and_sync(journal: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with started("serve", "--journal", journal, "--json") as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        check_refused(run("sync", address, "--journal", other), 3, "does not exist", "--author")
        assert not other.exists()
        report = read_json("sync", address, "--journal", other, "--author", "ben")
        assert (report["success"], report["received"], report["sent"]) == (True, 9, 0)
        assert "fingerprint" in run("sync", address, "--journal", other).stdout
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    assert read_json("doctor", journal, other)["equal"]


def test_who_serves_with_a_root_lets_in_only_holders_of_its_tokens(journal: Path, tmp_path: Path) -> None:
    key, other = journal / "keys" / "authority.key", tmp_path / "other"
    root = read_json("key", "show", key)["public_key"]
    stranger = read_json("key", "new", tmp_path / "eve.key")
    token, forged = (read_json("grant", "--key", file, "--to", "ben")["token"] for file in (key, stranger["file"]))
    check_refused(run("serve", "--journal", journal, "--root", "zz"), 2, "64 hex digits")
    check_refused(run("sync", "tcp://127.0.0.1:1", "--journal", journal, "--token", "zz"), 2, "antiphon grant")
    with started("serve", "--journal", journal, "--root", root, "--json") as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        meet = ("sync", address, "--journal", other, "--author", "ben")
        for shown in ((), ("--token", forged)):
            denied = run(*meet, *shown)
            assert denied.exit_code == 1
            assert "unauthorized" in denied.stderr
        report = read_json(*meet, "--token", token)
        assert (report["success"], report["received"]) == (True, 9)


def test_a_peer_that_does_not_answer_exits_with_1(journal: Path) -> None:
    check_refused(run("sync", "tcp://127.0.0.1:1", "--journal", journal), 1, "tcp://127.0.0.1:1")


def test_a_peer_that_does_not_answer_is_told_in_json_too(journal: Path) -> None:
    result = run("sync", "tcp://127.0.0.1:1", "--journal", journal, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["success"] is False
    assert "tcp://127.0.0.1:1" in found["reason"]
    assert found["received"] == 0
    assert found["reason"] in result.stderr


def test_an_address_that_is_none_exits_with_2(journal: Path, tmp_path: Path) -> None:
    check_refused(run("sync", "somewhere", "--journal", journal), 2, "tcp://")
    check_refused(run("sync", "somewhere", "--journal", tmp_path / "new", "--author", "ada"), 2, "tcp://")
    serve = ("serve", "--journal", tmp_path / "new", "--author", "ada", "--address")
    check_refused(run(*serve, "somewhere"), 2, "tcp://")
    assert not (tmp_path / "new").exists()


def test_no_journal_is_made_for_a_peer_that_does_not_answer(tmp_path: Path) -> None:
    refused = run("sync", "tcp://127.0.0.1:1", "--journal", tmp_path / "new", "--author", "ada")
    check_refused(refused, 1, "tcp://127.0.0.1:1")
    assert not (tmp_path / "new").exists()


def test_serve_needs_a_journal_unless_it_has_an_author(tmp_path: Path) -> None:
    check_refused(run("serve", "--journal", tmp_path / "new"), 3, "does not exist", "--author")
    assert not (tmp_path / "new").exists()


def test_sync_waits_no_longer_than_it_is_told(journal: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        found = read_json("sync", address, "--journal", journal, "--timeout", 0.05, code=1)
    assert found["success"] is False
    assert found["duration_ms"] < 5_000
    assert run("sync", address, "--journal", journal, "--timeout", 0).exit_code == 2


@pytest.mark.asyncio
async def test_tail_follows_until_it_is_interrupted(journal: Path) -> None:
    with started("tail", "--journal", journal, "--limit", 1, "--follow", "--json") as process:
        assert process.stdout is not None
        first = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert first["seq"] == 9
        async with Journal.open(journal) as opened:
            receipt = await opened.commit(
                MessageSent(
                    context_id="irc.x",
                    channel_id="#x",
                    message_id="m",
                    sender_id=opened.authority,
                    sender_name="importer",
                    text="live",
                    sent_at=1_790_000_000_000,
                )
            )
            following = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert (following["fact_id"], following["payload"]["text"]) == (receipt.fact_id, "live")
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 30) == 130


def test_a_reader_that_goes_away_ends_the_command_quietly(journal: Path) -> None:
    with started("log", "--journal", journal) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 141


@pytest.mark.parametrize("arguments", [["log"], ["stats", "--json"], ["query", "select 1"], None])
def test_output_that_cannot_be_written_is_told_in_a_sentence(journal: Path, arguments: list[str] | None) -> None:
    command = [*ANTIPHON, *(["--help"] if arguments is None else [*arguments, "--journal", str(journal)])]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert line == "antiphon: the output could not be written: No space left on device"
    assert done.returncode == 4


def test_output_that_was_closed_is_told_in_a_sentence(journal: Path) -> None:
    done = subprocess.run(
        [*ANTIPHON, "log", "--journal", str(journal)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=lambda: os.close(1),
    )
    assert done.stderr == "antiphon: the output could not be written: stdout is closed\n"
    assert done.returncode == 4


def test_a_query_that_duckdb_interrupts_ends_without_a_traceback(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr("antiphon.app.answers.Result.of_snapshot", interrupted)
    result = run("query", "select 1", "--journal", journal)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "antiphon: interrupted\n")


@pytest.mark.parametrize(
    "problem",
    ["KeyboardInterrupt()", "RuntimeError('Query interrupted')", "ImportError('x') from KeyboardInterrupt()"],
)
def test_an_interrupt_while_modules_are_imported_ends_without_a_traceback(problem: str) -> None:
    for module in ("typer", "antiphon.app.offline"):
        code = (
            "import sys\n"
            "class Interrupted:\n"
            "    def find_spec(self, name, *_):\n"
            f"        if name == {module!r}:\n"
            f"            raise {problem}\n"
            "sys.meta_path.insert(0, Interrupted())\n"
            "from antiphon.app.cli import main; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "stats", "--journal", "x"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "antiphon: interrupted\n")


def test_serving_a_journal_does_not_wait_for_the_machinery_of_protocols(tmp_path: Path) -> None:
    """Loading it takes as long as all the rest of what starting costs, and only a topology needs it."""
    text = (
        "import sys\nfrom typer.testing import CliRunner\nfrom antiphon.app.cli.root import app\n"
        f"CliRunner().invoke(app, ['serve', '--journal', {str(tmp_path / 'none')!r}])\n"
        "print([name for name in sys.modules if name.startswith('antiphon.runtime.choreography.handlers')])\n"
    )
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"

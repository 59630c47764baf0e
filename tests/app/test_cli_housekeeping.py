"""``antiphon erase`` and ``antiphon compact``: taking back and tidying from the shell."""

import asyncio
import json
from pathlib import Path

from typer.testing import CliRunner

from antiphon import Fact, Journal
from antiphon.app.cli.root import app
from antiphon.facts import ContactRenamed


class Uttered(Fact, kind="test.uttered", version=1):
    text: str


def make_journal(folder: Path) -> list[str]:
    async def make() -> list[str]:
        async with Journal.open(folder, author="ada") as journal:
            return [(await journal.commit(Uttered(text=text))).fact_id for text in ("one", "two", "three")]

    return asyncio.run(make())


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments])
    return result.exit_code, result.stdout


def test_erase_takes_a_payload_back_and_the_log_says_so(tmp_path: Path) -> None:
    folder = str(tmp_path / "journal")
    ids = make_journal(tmp_path / "journal")
    code, out = run("erase", ids[1], "--journal", folder, "--reason", "oops", "--json")
    assert code == 0
    assert json.loads(out)["erased"] == [ids[1]]
    code, out = run("log", "--journal", folder, "--json", "--kind", "test.*", "--hidden")
    assert (code, [json.loads(line)["hidden"] for line in out.splitlines()]) == (0, ["erased"])
    assert run("query", "select text from test_uttered order by seq", "--journal", folder)[1].split()[-2:] == [
        "one",
        "three",
    ]
    assert run("verify", "--journal", folder)[0] == 0
    assert run("erase", "0" * 64, "--journal", folder)[0] == 2


def test_erase_takes_as_much_of_an_id_as_log_shows(tmp_path: Path) -> None:
    folder = str(tmp_path / "journal")
    ids = make_journal(tmp_path / "journal")
    shown = next(line.split()[2] for line in run("log", "--journal", folder)[1].splitlines() if '"two"' in line)
    assert (len(shown), ids[1][:12]) == (12, shown)
    code, out = run("erase", shown, "--journal", folder, "--json")
    assert (code, json.loads(out)["erased"]) == (0, [ids[1]])
    refused = CliRunner().invoke(app, ["erase", "0" * 12, "--journal", folder])
    assert refused.exit_code == 2
    assert "0 facts of this journal" in refused.stderr


def test_compact_says_what_it_would_win_and_then_wins_it(tmp_path: Path) -> None:
    folder = str(tmp_path / "journal")
    make_journal(tmp_path / "journal")
    done = json.loads(run("compact", "--journal", folder, "--json")[1])
    assert (done["done"], done["damaged"]) == (True, [])
    assert done["segment_bytes"] == sum(each["segment_bytes"] for each in done["files"]) > 0
    kinds = {each["kind"]: each for each in done["kinds"]}
    assert (kinds["test.uttered"]["facts"], kinds["test.uttered"]["erased"]) == (3, 0)
    planned = json.loads(run("compact", "--journal", folder, "--dry-run", "--json")[1])
    assert (planned["done"], planned["files"]) == (False, [])
    assert run("verify", "--journal", folder)[0] == 0
    assert run("query", "select text from test_uttered order by seq", "--journal", folder)[1].split()[-3:] == [
        "one",
        "two",
        "three",
    ]


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    make_journal(folder)

    async def close_a_file() -> None:
        async with Journal.open(folder) as journal:
            await journal.engine.start_file()

    asyncio.run(close_a_file())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    planned = json.loads(run("compact", "--journal", str(folder), "--dry-run", "--json")[1])
    assert [each["facts"] for each in planned["files"]] == [4]
    assert {each["kind"]: each["facts"] for each in planned["kinds"]} == {"test.uttered": 3, "journal.chain_opened": 1}
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_dry_run_of_a_closed_journal_says_what_compact_then_does(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    make_journal(folder)
    planned = json.loads(run("compact", "--journal", str(folder), "--dry-run", "--json")[1])
    assert [each["facts"] for each in planned["files"]] == [4]
    done = json.loads(run("compact", "--journal", str(folder), "--json")[1])
    assert (planned["files"], planned["kinds"]) == (done["files"], done["kinds"])


def test_compact_lets_old_payloads_go_only_when_asked_and_says_what_it_would_win(tmp_path: Path) -> None:
    folder = str(tmp_path / "journal")
    make_journal(tmp_path / "journal")
    assert json.loads(run("compact", "--journal", folder, "--json")[1])["retired"] == []
    asked = ("compact", "--journal", folder, "--retire", "test.uttered=0..0", "--retire", "chat", "--json")
    planned = json.loads(run(*asked, "--dry-run")[1])
    assert run("query", "select count(*) from test_uttered", "--journal", folder)[1].split()[-1] == "3"
    assert "payloads to go" in run(*asked[:-1], "--dry-run")[1]
    done = json.loads(run(*asked)[1])
    (kind,) = planned["retired"]
    assert done["retired"] == [kind]
    assert (kind["kind"], kind["retired_count"], kind["young_count"], kind["needed_count"]) == ("test.uttered", 3, 0, 0)
    assert kind["payload_bytes"] > 0
    assert run("query", "select count(*) from test_uttered", "--journal", folder)[1].split()[-1] == "0"
    assert run("verify", "--journal", folder)[0] == 0
    assert run("compact", "--journal", folder, "--retire", "test.uttered=0..0")[0] == 0


def test_compact_passes_over_what_is_only_ids_when_asked_and_says_how_much_before(tmp_path: Path) -> None:
    folder = str(tmp_path / "journal")
    make_journal(tmp_path / "journal")
    for _ in range(2):
        asyncio.run(say_more(tmp_path / "journal"))
    assert json.loads(run("compact", "--journal", folder, "--json")[1])["collapsed"] == 0
    before = json.loads(run("stats", "--journal", folder, "--json")[1])
    asked = ("compact", "--journal", folder, "--collapse", "--json")
    retired = ("--retire", "test.uttered=0..0")
    assert json.loads(run("compact", "--journal", folder, *retired, "--json")[1])["collapsed"] == 0
    planned = json.loads(run(*asked, "--dry-run")[1])["collapsed"]
    assert planned > 0
    assert f"{planned} fact" in run(*asked[:-1], "--dry-run")[1]
    assert json.loads(run(*asked)[1])["collapsed"] == planned
    after = json.loads(run("stats", "--journal", folder, "--json")[1])
    assert after["facts"] == before["facts"] - planned
    assert after["fingerprint"] == before["fingerprint"]
    assert run("verify", "--journal", folder)[0] == 0
    assert json.loads(run(*asked)[1])["collapsed"] == 0


def test_compact_lets_go_of_what_was_written_over_when_asked(tmp_path: Path) -> None:
    folder = str(tmp_path / "journal")
    asyncio.run(rename_often(tmp_path / "journal"))
    before = run("show", "contacts", "--journal", folder, "--json")[1]
    asked = ("compact", "--journal", folder, "--trim", "--json")
    assert json.loads(run(*asked, "--dry-run")[1])["trimmed"] == {"contact.renamed": 2}
    assert "written over" in run(*asked[:-1], "--dry-run")[1]
    assert json.loads(run(*asked)[1])["trimmed"] == {"contact.renamed": 2}
    assert json.loads(run(*asked)[1])["trimmed"] == {}
    assert run("show", "contacts", "--journal", folder, "--json")[1] == before
    assert run("query", "select new_nickname from contact_renamed", "--journal", folder)[1].split()[-1] == "Benedict"


async def rename_often(folder: Path) -> None:
    async with Journal.open(folder, author="ada") as journal:
        about = {"context_id": "antiphon.default", "owner_id": journal.authority, "contact_id": "ben"}
        for at, name in enumerate(("Ben", "Benny", "Benedict")):
            await journal.commit(ContactRenamed(**about, new_nickname=name, renamed_at=at), flush=True)


async def say_more(folder: Path) -> None:
    async with Journal.open(folder) as journal:
        await journal.commit(Uttered(text="more"), flush=True)


def test_compact_refuses_to_let_go_of_what_others_hang_on(tmp_path: Path) -> None:
    folder = str(tmp_path / "journal")
    make_journal(tmp_path / "journal")
    for wrong in ("chat.message_deleted=0..1", "test.uttered=9..1", "test.uttered", "journal.chain_opened=0..0"):
        assert run("compact", "--journal", folder, "--retire", wrong)[0] == 2

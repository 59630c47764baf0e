"""``antiphon erase``: a payload is taken back from the shell."""

import asyncio
import json
from pathlib import Path

from typer.testing import CliRunner

from antiphon import Fact, Journal
from antiphon.app.cli.root import app


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

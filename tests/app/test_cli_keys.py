"""Keys, grants, tokens and explanations from the shell."""

import asyncio
import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon import Journal
from antiphon.app.cli.root import app


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments])
    return result.exit_code, result.stdout


def read(*arguments: str) -> dict[str, object]:
    code, out = run(*arguments, "--json")
    assert code == 0, out
    return dict(json.loads(out))


def test_a_key_is_its_owners_alone_never_replaced_and_refused_when_others_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "ada.key"
    made = read("key", "new", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read("key", "show", str(file)) == made
    assert file.read_text() not in json.dumps(made), "the seed is not shown"
    before = file.read_bytes()
    assert run("key", "new", str(file))[0] != 0
    assert file.read_bytes() == before
    file.chmod(0o644)
    assert run("key", "show", str(file))[0] != 0
    file.chmod(0o600)
    file.write_text("zz")
    assert run("key", "show", str(file))[0] != 0


def test_a_grant_is_looked_into_under_its_issuers_key_and_no_other(tmp_path: Path) -> None:
    ada, eve = (read("key", "new", str(tmp_path / name)) for name in ("ada.key", "eve.key"))
    granted = read(
        "grant", "--key", str(tmp_path / "ada.key"), "--to", "bo", "--capability", "chat:message:send", "--minutes", "5"
    )
    token = str(granted["token"])
    found = read("token", "inspect", token, "--root", str(ada["public_key"]))
    assert 'capability("chat:message:send")' in str(found["blocks"])
    assert found["revocation_ids"] == granted["revocation_ids"]
    assert run("token", "inspect", token, "--root", str(eve["public_key"]))[0] != 0
    assert run("grant", "--key", str(tmp_path / "ada.key"), "--to", "bo", "--capability", "Chat!")[0] != 0


@pytest.mark.parametrize(
    ("name", "near"),
    [("chat:mesage:send", "chat:message:send"), ("sync:push_op5", "sync:push_ops"), ("tasks:add", ""), ("read", "")],
)
def test_a_capability_that_looks_like_another_is_granted_with_a_warning(tmp_path: Path, name: str, near: str) -> None:
    read("key", "new", str(tmp_path / "ada.key"))
    given = ["--key", str(tmp_path / "ada.key"), "--to", "bo", "--capability", name]
    granted = CliRunner().invoke(app, ["grant", *given])
    assert (granted.exit_code, granted.stdout.strip() != "") == (0, True)
    assert (near in granted.stderr) if near else granted.stderr == ""


def test_what_a_guard_would_say_depends_on_the_token_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "journal"

    async def make() -> str:
        async with Journal.open(folder, author="ada") as journal:
            return journal.fingerprint

    before = asyncio.run(make())
    key = str(folder / "keys" / "authority.key")
    root = str(read("key", "show", key)["public_key"])
    token = str(read("grant", "--key", key, "--to", "bo", "--capability", "talk:say")["token"])
    ask = ("explain-guard", "--journal", str(folder), "--peer", "bo", "--operation")
    assert read(*ask, "talk:say", "--cost", "24", "--leak", "External=8", "--token", token)["allowed"] is True
    code, out = run(*ask, "talk:shout", "--token", token, "--root", root, "--json")
    assert (code, json.loads(out)["kind"]) == (1, "missing-capability")
    code, out = run(*ask, "talk:say", "--cost", "1025")
    assert code == 1
    assert "refused by flow" in out

    read("token", "revoke", token, "--journal", str(folder), "--root", root)
    code, out = run(*ask, "talk:say", "--token", token, "--json")
    assert code != 0
    assert asyncio.run(make()) != before, "the revocation is a fact"
    after = asyncio.run(make())
    run(*ask, "talk:say", "--cost", "24")
    assert asyncio.run(make()) == after

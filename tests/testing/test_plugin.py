"""The plug-in at work in a folder of a user's own, with the very example of the documentation."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "antiphon.testing.plugin"
EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "docs/testing.md").read_text(encoding="utf-8"), re.DOTALL)

WAITS_FOR_EVER = """
import asyncio
async def test_nobody_comes(simnet):
    await asyncio.Event().wait()
"""
FAILS_FOR_ONE = """
import pytest
@pytest.mark.parametrize("many", [1, 2])
@pytest.mark.parametrize("who", ["ada", "ben & co"])
async def test_counts(simnet, who, many):
    assert (who, many) != ("ben & co", 2)
"""
LEAVES_A_TASK = """
import asyncio
kept = []
async def test_leaves(simnet):
    kept.append(asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="left behind"))
"""
LEAVES_A_SUBSCRIPTION = """
from antiphon import CHAT_SIGNAL
kept = []
async def test_follows(journal):
    await journal.wake(CHAT_SIGNAL)
    kept.append(await journal.watch(CHAT_SIGNAL).__aenter__())
async def test_follows_and_ends(journal):
    async with journal.watch(CHAT_SIGNAL) as updates:
        await anext(updates)
"""
FOLLOWS_A_LONG_LIFE = """
import pytest
from antiphon.reactive import Signal, SignalHub
LINES = Signal("app:lines", tuple)
kept = []

@pytest.fixture(scope="module")
def hub():
    hub = SignalHub()
    hub.register(LINES, (), external=True)
    return hub

@pytest.fixture
def follower(hub):
    with_the_fixture = hub.subscribe(LINES)
    yield with_the_fixture
    with_the_fixture.close()

@pytest.mark.usefixtures("no_subscriptions_left")
def test_leaves(hub, follower):
    kept.append(hub.subscribe(LINES))

@pytest.mark.usefixtures("no_subscriptions_left")
def test_ends(hub, follower):
    hub.subscribe(LINES).close()

def test_is_not_asked(hub):
    kept.append(hub.subscribe(LINES))
"""
PLAIN = """
def test_plain(simnet):
    async def story():
        ada = await simnet.open("ada", has_history=True)
        return (await ada.sql("select 1 + 1")).fetchall()
    assert simnet.run(story()) == [(2,)]

def test_nothing_of_ours():
    assert True
"""
GOES_BACK = """
import pytest
from antiphon import LocalViolation
async def test_back(sim_clock):
    with pytest.raises(LocalViolation, match="time passes forwards"):
        await sim_clock.advance(-1)
"""
DRAWS = """
import pathlib
async def test_draws(journal, sim_seed):
    with pathlib.Path("drawn.txt").open("a") as file:
        file.write(f"{sim_seed} {journal.engine.journal_id}\\n")
"""


def run_in(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_of_a_user.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env={**os.environ}, capture_output=True, text=True, check=False)


def test_the_example_of_the_documentation_runs_under_several_seeds(tmp_path: Path) -> None:
    assert EXAMPLE is not None
    done = run_in(tmp_path, EXAMPLE[1], "--sim-seeds", "3")
    assert "12 passed" in done.stdout, done.stdout


def test_a_test_that_can_never_go_on_fails_at_once_and_says_how_to_see_it_again(tmp_path: Path) -> None:
    done = run_in(tmp_path, WAITS_FOR_EVER, "--sim-seed", "7")
    assert done.returncode == 1
    assert re.search(
        r"in test_nobody_comes at test_of_a_user\.py:\d+, waiting in Event\.wait at locks\.py", done.stdout
    )
    assert "python -m pytest test_of_a_user.py::test_nobody_comes --sim-seed 7" in done.stdout
    assert "1 failed" in done.stdout, done.stdout
    assert "error" not in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("options", [(), ("--sim-seed", "7"), ("--sim-seeds", "2")])
def test_the_command_to_see_it_again_keeps_the_other_parameters(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run_in(tmp_path, FAILS_FOR_ONE, *options)
    told = re.search(r"^python -m pytest (.*test_of_a_user.*)$", done.stdout, re.MULTILINE)
    assert told is not None, done.stdout
    again = run_in(tmp_path, FAILS_FOR_ONE, *shlex.split(told[1]))
    assert again.stdout.splitlines()[-1].startswith("1 failed in"), told[1] + again.stdout
    assert told[0] in again.stdout


def test_a_task_that_is_left_behind_fails_the_test(tmp_path: Path) -> None:
    done = run_in(tmp_path, LEAVES_A_TASK)
    assert "tasks that nobody ended: ['left behind']" in done.stdout


def test_a_subscription_that_is_left_open_fails_the_test_and_is_named(tmp_path: Path) -> None:
    done = run_in(tmp_path, LEAVES_A_SUBSCRIPTION)
    assert "2 passed, 1 error" in done.stdout, done.stdout
    assert "subscriptions that nobody ended: 1 of 'app:chat' in the journal of 'ada'" in done.stdout


def test_whoever_asks_is_told_of_subscriptions_that_outlive_a_test_of_any_hub(tmp_path: Path) -> None:
    done = run_in(tmp_path, FOLLOWS_A_LONG_LIFE)
    assert "2 passed, 1 failed" in done.stdout or "1 failed, 2 passed" in done.stdout, done.stdout
    assert "subscriptions that nobody ended: 1 of 'app:lines'" in done.stdout


def test_plain_tests_may_use_the_net_and_others_are_left_alone(tmp_path: Path) -> None:
    assert "2 passed" in run_in(tmp_path, PLAIN).stdout


def test_time_cannot_be_let_pass_backwards(tmp_path: Path) -> None:
    assert "1 passed" in run_in(tmp_path, GOES_BACK).stdout


def test_a_seed_decides_all_randomness(tmp_path: Path) -> None:
    for _ in range(2):
        assert "2 passed" in run_in(tmp_path, DRAWS, "--sim-seeds", "2").stdout
    first, second, *again = (tmp_path / "drawn.txt").read_text().splitlines()
    assert again == [first, second]
    assert first.split()[1] != second.split()[1]


def test_pytest_finds_the_plug_in_where_antiphon_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # The entry's name is the module's, or a run with `-p` would load it twice.
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}

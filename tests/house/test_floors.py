"""A room imports only rooms on lower floors: the contracts hold here, and each one bites when it is broken.

Violations are planted in a skeleton of empty rooms under this repository's own contracts, so what is shown is that a
contract catches its violation, whatever else the rooms hold today.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKELETON = (
    "facts/__init__.py",
    "journal/__init__.py",
    "journal/stores/__init__.py",
    "choreography/__init__.py",
    "reactive/__init__.py",
    "reactive/streams.py",
    "views/__init__.py",
    "runtime/__init__.py",
    "app/__init__.py",
    "app/core.py",
    "app/wiring.py",
    "testing/__init__.py",
)
FLOORS = "Floors: a room imports only rooms below it"
CORE = "The core touches no clock, dice, disk, thread or socket"
LANGUAGE = "The language stands alone"
APP_CORE = "AppCore does not know the runtime; only the wiring does"
CYCLES = "No cycles between siblings"
# Listed in pyproject.toml exactly as long as app/core.py exists, since a contract cannot name a module that does not.
APP_CORE_CONTRACT = f"""
[[tool.importlinter.contracts]]
name = "{APP_CORE}"
type = "forbidden"
source_modules = ["antiphon.app.core"]
forbidden_modules = ["antiphon.runtime"]
"""


def lint_imports(folder: Path, *, python_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c; c()",
            "--no-logo",
            "--no-cache",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(python_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def listed_contracts() -> str:
    """The contracts as pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text()
    start = text.index("[tool.importlinter]")
    return text[start : text.index("[tool.mypy]")]


def contract_block() -> str:
    """Every contract of the house, for a skeleton in which every module they name exists."""
    listed = listed_contracts()
    return listed if APP_CORE in contract_names(listed) else listed + APP_CORE_CONTRACT


def contract_names(block: str) -> list[str]:
    return [contract["name"] for contract in tomllib.loads(block)["tool"]["importlinter"]["contracts"]]


def broken_contracts(report: str) -> set[str]:
    """The contracts a report calls broken."""
    names = contract_names(contract_block())
    lines = [line.strip() for line in report.splitlines()]
    return {name for name in names for line in lines if line.startswith(f"{name} BROKEN")}


def plant(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Lint a skeleton of empty rooms with these files added."""
    (folder / "pyproject.toml").write_text(contract_block())
    for name, text in {"__init__.py": "", **dict.fromkeys(SKELETON, ""), **files}.items():
        path = folder / "antiphon" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return lint_imports(folder, python_path=folder)


def check_caught(folder: Path, files: dict[str, str], *, by: set[str]) -> None:
    outcome = plant(folder, files)
    assert broken_contracts(outcome.stdout) == by, outcome.stdout + outcome.stderr
    assert outcome.returncode == 1


def test_this_repository_keeps_its_floors() -> None:
    outcome = lint_imports(ROOT, python_path=ROOT / "src")
    assert outcome.returncode == 0, (
        f"{outcome.stdout}{outcome.stderr}\n"
        "Import from a lower floor only; what two neighbours share belongs below both, "
        "and what the core needs of the world comes in as a parameter."
    )


def test_every_contract_is_listed() -> None:
    expected = {FLOORS, CORE, LANGUAGE, CYCLES} | ({APP_CORE} if (ROOT / "app/core.py").is_file() else set())
    assert set(contract_names(listed_contracts())) == expected, (
        f"app/core.py and its contract come together:{APP_CORE_CONTRACT}"
    )


def test_empty_rooms_break_nothing(tmp_path: Path) -> None:
    outcome = plant(tmp_path, {})
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert broken_contracts(outcome.stdout) == set()


@pytest.mark.parametrize(
    ("file", "line"),
    [
        pytest.param("facts/planted.py", "import antiphon.journal", id="facts looks up to the journal"),
        pytest.param("reactive/planted.py", "import antiphon.views", id="a core looks up to the views"),
        pytest.param("journal/planted.py", "import antiphon.reactive", id="the journal looks at its neighbour"),
        pytest.param("views/planted.py", "import antiphon.runtime", id="the views look at their neighbour"),
        pytest.param("testing/planted.py", "import antiphon.app", id="one door looks at the other"),
    ],
)
def test_an_import_upward_or_sideways_is_caught(tmp_path: Path, file: str, line: str) -> None:
    check_caught(tmp_path, {file: line}, by={FLOORS})


def test_a_room_that_stands_on_no_floor_is_caught(tmp_path: Path) -> None:
    outcome = plant(tmp_path, {"attic/__init__.py": ""})
    assert outcome.returncode == 1
    assert "antiphon.attic" in outcome.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("facts/planted.py", "import random"),
        ("facts/planted.py", "from secrets import token_bytes"),
        ("journal/planted.py", "import duckdb"),
        ("choreography/planted.py", "import logging"),
        ("reactive/planted.py", "import asyncio"),
        ("reactive/planted.py", "import threading"),
        ("views/planted.py", "from time import monotonic"),
        ("views/planted.py", "import socket"),
    ],
)
def test_a_core_that_reaches_for_the_world_is_caught(tmp_path: Path, file: str, line: str) -> None:
    check_caught(tmp_path, {file: line}, by={CORE})


def test_the_two_named_exceptions_and_no_others_may_touch_the_world(tmp_path: Path) -> None:
    allowed = {"journal/stores/planted.py": "import duckdb, threading, time", "reactive/streams.py": "import asyncio"}
    assert plant(tmp_path, allowed).returncode == 0


def test_a_core_that_reaches_the_world_through_another_core_is_caught(tmp_path: Path) -> None:
    chain = {"facts/planted.py": "import time", "views/planted.py": "import antiphon.facts.planted"}
    check_caught(tmp_path, chain, by={CORE})


def test_a_language_that_looks_at_the_vocabulary_is_caught(tmp_path: Path) -> None:
    check_caught(tmp_path, {"choreography/planted.py": "import antiphon.facts"}, by={LANGUAGE})


def test_an_app_core_that_knows_the_runtime_is_caught(tmp_path: Path) -> None:
    check_caught(tmp_path, {"app/core.py": "import antiphon.runtime"}, by={APP_CORE})


def test_the_wiring_may_know_the_runtime(tmp_path: Path) -> None:
    assert plant(tmp_path, {"app/wiring.py": "import antiphon.runtime\nimport antiphon.app.core"}).returncode == 0


def test_a_cycle_between_two_files_of_one_room_is_caught(tmp_path: Path) -> None:
    cycle = {"facts/one.py": "import antiphon.facts.two", "facts/two.py": "import antiphon.facts.one"}
    check_caught(tmp_path, cycle, by={CYCLES})

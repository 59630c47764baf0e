"""What a user gets: the wheel and the sdist hold every file of the rooms, and no tool's leavings.

Built without a network, from a copy of what git knows, with leavings planted in it.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LEAVINGS = (
    ".mypy_cache/3.11/facts.json",
    ".ruff_cache/0/x",
    ".pytest_cache/README.md",
    ".hypothesis/examples/x",
    ".import_linter_cache/x.json",
    "facts/__pycache__/fact.cpython-311.pyc",
    "journal/.mypy_cache/x.json",
    "notebooks/.ipynb_checkpoints/x.ipynb",
    "antiphon.egg-info/PKG-INFO",
    ".venv/pyvenv.cfg",
    "dist/old.whl",
    "build/x.py",
    ".coverage",
)


class Built(NamedTuple):
    """The two things a release uploads."""

    wheel: Path
    sdist: Path


def copy_of_the_repository(target: Path) -> Path:
    """The files git knows and the links, as a fresh clone would have them."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        source, copy = ROOT / name, target / name
        if os.path.lexists(source):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    return target


def build(folder: Path, kind: str, target: Path) -> Path:
    """Run the build backend as pip would, without fetching anything."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    outcome = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    (result,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return result


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Wheel and sdist of a copy that is full of leavings."""
    clone = copy_of_the_repository(tmp_path_factory.mktemp("clone"))
    for leaving in LEAVINGS:
        (clone / leaving).parent.mkdir(parents=True, exist_ok=True)
        (clone / leaving).write_text("left behind by a tool")
    target = tmp_path_factory.mktemp("built")
    return Built(build(clone, "wheel", target), build(clone, "sdist", target))


def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def sdist_names(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def compare(wheel: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / ".ci/compare_wheel.py"), str(wheel)], capture_output=True, text=True
    )


def test_the_wheel_holds_every_file_git_knows_and_no_other(built: Built) -> None:
    outcome = compare(built.wheel)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_wheel_that_lost_a_room_is_seen(built: Built, tmp_path: Path) -> None:
    thinner = tmp_path / built.wheel.name
    with zipfile.ZipFile(built.wheel) as whole, zipfile.ZipFile(thinner, "w") as part:
        for name in whole.namelist():
            if not name.startswith("antiphon/views/"):
                part.writestr(name, whole.read(name))
        part.writestr("antiphon/stray.py", "")
    outcome = compare(thinner)
    assert outcome.returncode == 1
    assert "missing from the wheel: antiphon/views/__init__.py" in outcome.stdout
    assert "in the wheel, unknown to git: antiphon/stray.py" in outcome.stdout


def test_the_wheel_is_typed_and_licensed(built: Built) -> None:
    names = wheel_names(built.wheel)
    assert "antiphon/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_brings_the_command(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "antiphon = antiphon.app.cli:main" in archive.read(entry_points).decode()


def test_the_sdist_holds_no_cache(built: Built) -> None:
    assert sdist_names(built.sdist) & set(LEAVINGS) == set()
    assert not [name for name in sdist_names(built.sdist) if "_cache" in name or name.endswith(".pyc")]


def test_the_sdist_holds_the_rooms_the_tests_and_the_papers(built: Built) -> None:
    names = sdist_names(built.sdist)
    papers = {"LICENSE", "README.md", "CHANGELOG.md", "HOUSE_STYLE.md", "Makefile", "constraints.txt", "pyproject.toml"}
    assert papers <= names, f"missing: {sorted(papers - names)}"
    assert {"facts/__init__.py", "tests/house/test_build.py", ".gitignore"} <= names


def test_a_wheel_made_from_the_sdist_is_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    again = build(folder, "wheel", tmp_path / "built")
    assert wheel_names(again) == wheel_names(built.wheel)


def test_every_pinned_tool_satisfies_what_the_project_asks() -> None:
    """A pin below its floor would make the set-up of `make test` unsolvable on a fresh machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pins = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in (ROOT / "constraints.txt").read_text().split())
    }
    for line in [*project["dependencies"], *extras["dev"], *extras["notebook"]]:
        requirement = Requirement(line)
        assert canonicalize_name(requirement.name) in pins, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line


# --- the Makefile -------------------------------------------------------------------------------------------------


def make(*arguments: str) -> str:
    """What make prints, undisturbed by the make that may be running these tests."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    outcome = subprocess.run(["make", *arguments], cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def dry_run(target: str) -> str:
    return make("--dry-run", "--always-make", target)


@pytest.mark.parametrize("target", ["demo", "test", "test-system", "lint", "types", "bench"])
def test_a_target_sets_itself_up_from_nothing(target: str) -> None:
    commands = dry_run(target)
    assert ".ci/make-venv .venv" in commands
    assert "pip install -c constraints.txt -e" in commands
    assert "==> installing" in commands, "say what takes so long"
    assert not re.search(r"pip install.* (-q|--quiet)", commands), "show the progress"


@pytest.mark.parametrize("target", ["demo", "test", "lint", "types", "bench", "clean"])
def test_a_target_asks_for_no_root(target: str) -> None:
    assert not re.search(r"\b(sudo|apt-get)\b", dry_run(target))


def test_every_target_is_listed_by_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert {line.split()[0] for line in make("help").splitlines()} == set(phony.split())


def test_an_interpreter_that_is_too_old_is_refused_with_its_remedy(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    outcome = subprocess.run(
        [str(ROOT / ".ci/make-venv"), str(tmp_path / "venv")],
        env={**os.environ, "PYTHON": str(old)},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 1
    assert "is not 3.11, 3.12 or 3.13" in outcome.stderr
    assert not (tmp_path / "venv").exists()


def test_a_difference_is_told_in_both_directions() -> None:
    differences = runpy.run_path(str(ROOT / ".ci/compare_wheel.py"))["differences"]
    assert differences(packed={"a", "b"}, expected={"b", "c"}) == [
        "missing from the wheel: c",
        "in the wheel, unknown to git: a",
    ]

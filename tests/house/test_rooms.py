"""A room is four things that must agree: a folder, its two lines in the build, its link, and its guard."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("facts", "journal", "choreography", "reactive", "views", "runtime", "app", "testing")


def test_every_room_is_built_and_linked() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = config["tool"]["hatch"]["build"]["targets"]["wheel"]
    rooms = {init.parent.name for init in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert rooms == set(wheel["sources"]) - {"src/antiphon"}
    assert rooms == set(wheel["only-include"]) - {"src/antiphon"}
    assert rooms == {link.name for link in (ROOT / "src/antiphon").iterdir() if link.is_symlink()}
    for room in rooms:
        assert (ROOT / "src/antiphon" / room).resolve() == ROOT / room


def test_the_rooms_are_the_eight_of_the_design() -> None:
    rooms = {init.parent.name for init in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert rooms == set(ROOMS), "a new room is a decision: argue for it alone, then add it here and to the floors"


@pytest.mark.parametrize("room", ROOMS)
def test_a_link_is_relative_so_that_a_moved_clone_still_works(room: str) -> None:
    assert (ROOT / "src/antiphon" / room).readlink() == Path("../..") / room


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imported_by_its_folder_name_says_its_right_name(room: str) -> None:
    outcome = subprocess.run([sys.executable, "-c", f"import {room}"], cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode != 0, f"`import {room}` from the repository root must not load a second copy of the room"
    assert f"this folder is the package antiphon.{room}" in outcome.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_belongs_and_which_test_proves_it(room: str) -> None:
    readme = ROOT / room / "README.md"
    assert readme.is_file(), f"write {room}/README.md: what belongs here, what does not, invariants and their tests"
    text = readme.read_text()
    for heading in ("## Belongs here", "## Does not belong here", "## Invariants"):
        assert heading in text, f"{room}/README.md lacks the heading {heading!r}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_test_a_room_readme_names_exists(room: str) -> None:
    words = (ROOT / room / "README.md").read_text().replace("`", " ").replace(",", " ").split()
    named = {word.rstrip(".:;)").lstrip("(") for word in words if word.lstrip("(").startswith("tests/")}
    missing = sorted(name for name in named if not (ROOT / name.split("::")[0]).exists())
    assert not missing, f"{room}/README.md names tests that do not exist: {missing}; name the test that proves it now"


def test_the_package_ships_its_type_marker() -> None:
    assert (ROOT / "src/antiphon/py.typed").is_file()

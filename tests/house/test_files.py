"""What may lie in the repository: nothing of one machine, nothing without a name of its own."""

import re
from pathlib import Path

import pytest

# Put together so that this file does not find itself.
MACHINE_PATH = re.compile(
    r"(?<![\w.~*$}/-])/(?:" + "|".join(("work", "home", "root", "Users", "opt", "mnt")) + r")/[\w.-]+"
)
INDEX_ADDRESS = re.compile(
    "|".join(("extra-" + "index-url", "--index" + "-url", "find" + "-links", r"/simp" + r"le\b", "file:" + "///"))
)
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "stuff", "tools"}
FRAGMENT = re.compile(r"[a-z0-9_]+\.(added|changed|fixed|removed)\.md")
CACHES = (".mypy_cache/", ".ruff_cache/", ".pytest_cache/", ".hypothesis/", ".import_linter_cache/", "__pycache__/")
CACHES_AND_BUILDS = (*CACHES, ".venv/", "*.egg-info/", "dist/", "build/", ".ipynb_checkpoints/")


def machine_addresses(text: str) -> list[str]:
    """Lines that only make sense on one machine: absolute paths of a person, addresses of a package index."""
    return [
        f"line {number}: {found.group()}"
        for number, line in enumerate(text.splitlines(), start=1)
        for found in (MACHINE_PATH.search(line), INDEX_ADDRESS.search(line))
        if found
    ]


def is_nameless(file: Path) -> bool:
    return bool({file.stem.lower(), *(part.lower() for part in file.parent.parts)} & NAMELESS)


def readable(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def test_no_file_holds_an_address_of_one_machine(repository: Path, repository_files: tuple[Path, ...]) -> None:
    lines = [
        f"{file}: {found}" for file in repository_files for found in machine_addresses(readable(repository / file))
    ]
    assert not lines, "write paths relative to the file or the folder of the project:\n" + "\n".join(lines)


def test_every_file_has_a_name_of_its_own(repository_files: tuple[Path, ...]) -> None:
    nameless = [str(file) for file in repository_files if is_nameless(file)]
    assert not nameless, f"a file is one noun or one operation; name it after that: {nameless}"


def test_pins_are_bare(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text().splitlines()
    crooked = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+", line)]
    assert lines, "constraints.txt pins nothing"
    assert not crooked, f"write `name==version` and nothing else: {crooked}"


def test_pins_name_each_package_once_and_not_the_installer(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text().splitlines()
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert sorted(set(names)) == sorted(names)
    assert not {"pip", "setuptools", "antiphon"} & set(names)


def test_a_change_fragment_says_its_topic_and_kind(repository: Path) -> None:
    names = [file.name for file in (repository / "changes.d").iterdir() if file.name != "README.md"]
    crooked = [name for name in names if not FRAGMENT.fullmatch(name)]
    assert not crooked, f"name it <topic>.<added|changed|fixed|removed>.md: {crooked}"


@pytest.mark.parametrize("pattern", CACHES_AND_BUILDS)
def test_caches_are_ignored(repository: Path, pattern: str) -> None:
    assert pattern in (repository / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize(
    "line", ["/wo" + "rk/main/x.py", "see (/ho" + "me/ada/x)", "'/ro" + "ot/.cache'", "pip --index" + "-url https://x"]
)
def test_an_address_of_one_machine_is_seen(line: str) -> None:
    assert machine_addresses(f"first\n{line}")[0].startswith("line 2: ")


@pytest.mark.parametrize(
    "line", ["https://example.org/home/ada", "../shared/data", "$HOME/opt/x", "/tmp/x", "~/work/x"]
)
def test_a_relative_or_common_address_is_fine(line: str) -> None:
    assert machine_addresses(line) == []


def test_a_nameless_file_is_seen() -> None:
    assert is_nameless(Path("journal/utils.py"))
    assert is_nameless(Path("runtime/helpers/tcp.py"))
    assert not is_nameless(Path("journal/lattice.py"))

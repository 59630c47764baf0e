"""Compares what a wheel holds with what git knows of the rooms, so that no room or file goes missing unseen.

    python .ci/compare_wheel.py dist/antiphon-0.1.0-py3-none-any.whl

Exits 0 when they agree and 1 with every difference otherwise. Does not build anything.
"""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def wheel_sources() -> dict[str, str]:
    """The folders the build takes in, and where in the wheel each goes."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    sources: dict[str, str] = config["tool"]["hatch"]["build"]["targets"]["wheel"]["sources"]
    return sources


def expected_names() -> set[str]:
    """The wheel's file names according to git: tracked files, and new ones that are not ignored."""
    sources = wheel_sources()
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *sources],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [Path(name) for name in listing.stdout.split("\0") if name]
    return {
        f"{target}/{file.relative_to(folder).as_posix()}"
        for folder, target in sources.items()
        for file in files
        if file.is_relative_to(folder) and (ROOT / file).is_file() and not (ROOT / file).is_symlink()
    }


def packed_names(wheel: Path) -> set[str]:
    """The wheel's files, less the metadata the build adds."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def differences(*, packed: set[str], expected: set[str]) -> list[str]:
    """One line a file that is in only one of the two."""
    missing = [f"missing from the wheel: {name}" for name in sorted(expected - packed)]
    unknown = [f"in the wheel, unknown to git: {name}" for name in sorted(packed - expected)]
    return [*missing, *unknown]


def main(arguments: list[str]) -> int:
    """Compare the wheel named on the command line; print what differs."""
    if len(arguments) != 1:
        print("usage: compare_wheel.py WHEEL", file=sys.stderr)
        return 2
    packed = packed_names(Path(arguments[0]))
    problems = differences(packed=packed, expected=expected_names())
    for problem in problems:
        print(problem)
    if problems:
        print("A room is a folder, two lines in pyproject.toml and one link in src/antiphon: do they agree?")
        return 1
    print(f"the wheel holds the {len(packed)} files git knows, and no other")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

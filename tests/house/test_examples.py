"""Every example runs as a reader would run it, and prints what its golden file says."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
GOLDEN = ROOT / "tests" / "golden" / "examples"
LINES_MAX = 60  # a screenful, and its docstrings


def golden_of(example: Path) -> Path:
    return GOLDEN / f"{example.stem}.txt"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_golden_file_says(example: Path, tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-W", "error", str(example)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == golden_of(example).read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing where it is run"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_fits_on_a_screen(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) <= LINES_MAX


def test_examples_and_golden_files_belong_together() -> None:
    assert EXAMPLES, "there are no examples"
    assert {golden_of(example).name for example in EXAMPLES} == {path.name for path in GOLDEN.iterdir()}

"""Texts beside what becomes of them: the tree in canonical form, every problem as a person sees it, the findings.

`UPDATE_GOLDEN=1` writes the answers anew; read the difference before keeping it.
"""

import os
from pathlib import Path

import pytest

from antiphon.choreography.dsl.format import format_choreography
from antiphon.choreography.dsl.parse import parse
from antiphon.choreography.errors import render_all
from antiphon.choreography.lower import explain_lowering
from antiphon.choreography.validate import tier_of, validate

GOLDEN = Path(__file__).parents[1] / "golden" / "parse"
INPUTS = sorted(path for path in GOLDEN.iterdir() if path.suffix in (".tell", ".choreo"))


def answer(path: Path) -> str:
    text = path.read_bytes().decode("utf-8")
    result = parse(text, file=path.name)
    parts = [("problems", result.render())]
    if result.is_ok and result.tree is not None:
        parts += [
            ("canonical", format_choreography(result.tree).rstrip()),
            ("findings", render_all(validate(result.tree), text, file=path.name)),
            ("lowering", explain_lowering(result.tree)),
            ("tier", tier_of(result.tree).tier),
        ]
    return "".join(f"=== {name}\n{content}\n" for name, content in parts if content)


@pytest.mark.parametrize("path", INPUTS, ids=[path.stem for path in INPUTS])
def test_a_text_becomes_what_its_file_says(path: Path) -> None:
    expected = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(answer(path), encoding="utf-8")
    assert answer(path) == expected.read_text(encoding="utf-8")


def test_there_is_something_to_compare() -> None:
    assert len(INPUTS) >= 15

"""Programs broken at random, many of them: each is read to its end, explained, and quickly.

The long lane breaks 100,000 of them. Every run is a function of the seed, and a failure prints its text.
"""

import random
import re
from pathlib import Path

import pytest

from antiphon.choreography.dsl import grammar
from antiphon.choreography.dsl.format import format_choreography
from antiphon.choreography.dsl.parse import parse
from antiphon.choreography.lower import explain_lowering
from antiphon.choreography.validate import tier_of, validate

GOLDEN = Path(__file__).parents[1] / "golden" / "parse"
SOURCES = [path.read_text(encoding="utf-8") for path in sorted(GOLDEN.iterdir()) if path.suffix != ".txt"]
GRAMMAR = Path(grammar.__file__).with_name("grammar.lark").read_text(encoding="utf-8")
PIECES = [
    *"()[]{}<>|:;,.=!*@#-+/\"'\t\n\r A“é\x00\u2028",
    *("--", "{-", "-}", "//", "::", "\n  ", "\n    ", "\n      ", "5s", '"t"'),
    *sorted(set(re.findall(r'"([^"\s]+)"', GRAMMAR))),  # every word and sign of the language
]


def mutated(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 5)):
        place = rng.randint(0, len(text))
        match rng.randint(0, 2):
            case 0:
                text = text[:place] + rng.choice(PIECES) + text[place + rng.randint(0, 4) :]
            case 1:
                text = text[:place] + text[place // 2 : place // 2 + 60] + text[place:]
            case _:
                text = text[:place] + text[place + rng.randint(1, 30) :]
    return text


def check_text(text: str) -> None:
    result = parse(text)
    result.render()
    assert result.is_ok or result.errors, repr(text)
    if not result.is_ok or result.tree is None:
        return
    validate(result.tree)
    tier_of(result.tree)
    explain_lowering(result.tree)
    assert parse(format_choreography(result.tree)).tree == result.tree, repr(text)


def check_mutations(*, seed: int, count: int) -> None:
    rng = random.Random(seed)
    for number in range(count):
        text = mutated(rng.choice(SOURCES), rng)
        try:
            check_text(text)
        except Exception as error:
            error.add_note(f"mutation {number} of seed {seed}: {text!r}")
            raise


def test_no_mutation_is_too_broken_to_be_read() -> None:
    check_mutations(seed=1, count=1_500)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_no_mutation_of_a_hundred_thousand_is_too_broken_to_be_read(seed: int) -> None:
    check_mutations(seed=seed, count=10_000)

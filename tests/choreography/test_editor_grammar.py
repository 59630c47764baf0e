"""The editors' grammar: its words are the language's own, and it colours the examples as a reader would."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from antiphon.choreography.annotations import ACCEPTED_KEYS, GUARD_KEYS
from antiphon.choreography.ast import ComposeKind, OutcomeKind
from antiphon.choreography.dsl.driver import WORDS
from antiphon.choreography.dsl.words import DECLARATION_WORDS, REMOVED_WORDS, STATEMENT_WORDS
from antiphon.choreography.validate import METADATA_VALUES

ROOT = Path(__file__).resolve().parents[2]
GRAMMAR = json.loads((ROOT / "docs/choreography/antiphon.tmLanguage.json").read_text(encoding="utf-8"))
UNITS = {"ms", "s", "m", "h"}
CASES = {"Ok", "Err", "Just", "Nothing"}
SHORT_POLICIES = {"all", "first"}
TABLES = {
    "statement": STATEMENT_WORDS,
    "declaration": DECLARATION_WORDS,
    "clause": WORDS - STATEMENT_WORDS - DECLARATION_WORDS - UNITS,
    "duration": UNITS,
    "removed": REMOVED_WORDS.keys(),
    "annotation": ACCEPTED_KEYS.union(GUARD_KEYS),
    "metadata": METADATA_VALUES.keys(),
    "value": {value for values in METADATA_VALUES.values() for value in values},
    "constant": {*get_args(OutcomeKind), *get_args(ComposeKind), *SHORT_POLICIES, *CASES, "true", "false"},
}


def patterns() -> list[dict[str, object]]:
    """The rules in the order in which an editor tries them."""
    found = []
    for included in GRAMMAR["patterns"]:
        rule = GRAMMAR["repository"][included["include"].removeprefix("#")]
        found += rule.get("patterns", [rule])
    return found


def scopes(line: str) -> dict[str, str]:
    """The texts of a line that got a colour, and which; the first rule that matches earliest wins, as in an editor."""
    found: dict[str, str] = {}
    rules = [rule for rule in patterns() if "match" in rule]
    place = 0
    while True:
        matches = [(match, rule) for rule in rules if (match := re.compile(str(rule["match"])).search(line, place))]
        if not matches:
            return found
        match, rule = min(matches, key=lambda pair: pair[0].start())
        if "name" in rule:
            found[match.group()] = str(rule["name"])
        captures = rule.get("captures", {})
        assert isinstance(captures, dict)
        for number, capture in captures.items():
            found[match.group(int(number))] = capture["name"]
        place = max(match.end(), place + 1)


@pytest.mark.parametrize("rule", TABLES)
def test_an_editor_knows_exactly_the_words_of_the_language(rule: str) -> None:
    (words,) = re.findall(r"\(([\w|]+)\)", GRAMMAR["repository"][rule]["match"])
    assert words.split("|") == sorted(TABLES[rule])


def test_every_rule_is_a_regular_expression_and_is_used() -> None:
    for rule in patterns():
        for key in ("match", "begin", "end"):
            re.compile(str(rule.get(key, "")))
    assert [included["include"] for included in GRAMMAR["patterns"]] == [f"#{name}" for name in GRAMMAR["repository"]]
    assert GRAMMAR["fileTypes"] == ["tell", "choreo"]


@pytest.mark.parametrize(
    ("line", "text", "scope"),
    [
        ("  choice Hotel at", "choice", "keyword.control"),
        ("  choice Hotel at", "at", "keyword.other.clause"),
        ("protocol Booking =", "protocol", "keyword.declaration"),
        ("  Guest -> Hotel : Ask of inn.Stay", "Guest", "variable.other.role"),
        ("  Guest -> Hotel : Ask of inn.Stay", "Hotel", "variable.other.role"),
        ("  Guest -> Hotel : Ask of inn.Stay", "Ask", "entity.name.type.message"),
        ("  A { flow_cost : 20 } -> B : M", "A", "variable.other.role"),
        ("  A { flow_cost : 20 } -> B : M", "flow_cost", "support.type.property-name.annotation"),
        ("  A { flow_cost : 20 } -> B : M", "20", "constant.numeric"),
        ("    | Full when (rooms == 0) =>", "Full", "entity.name.tag.branch"),
        ("    | Hub -> X : Left", "Hub", "variable.other.role"),
        ("  timeout 30 s A at", "30 s", "constant.numeric.duration"),
        ("  heartbeat A", "heartbeat", "invalid.deprecated"),
        ('  A { leak : "x -> y : z" } -> B : M', '"x -> y : z"', "string.quoted.double"),
        ("  A -> B : M  -- choice", "-- choice", "comment.line.double-dash"),
        ("  authoritative let x = check E.op()", "check", "keyword.other.clause"),
        ("#[namespace = \"lend\"]", "namespace", "entity.other.attribute-name"),
    ],
)  # fmt: skip
def test_a_line_is_coloured_as_it_is_read(line: str, text: str, scope: str) -> None:
    assert scopes(line)[text] == f"{scope}.antiphon"


def test_a_message_that_is_called_like_a_word_stays_a_message() -> None:
    assert scopes("  Inviter -> Guest : let")["let"] == "entity.name.type.message.antiphon"
    assert scopes("  A -> B : M(version : String)").get("version") is None

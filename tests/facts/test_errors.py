"""The errors of the facts: each that is offered to be caught can also come."""

import ast
from pathlib import Path

import pytest

from antiphon.facts import InvalidEnvelope, MessageSent, Serialization, canonical_bytes, errors, parse_line

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("facts", "journal", "choreography", "reactive", "views", "runtime", "app", "testing")


def used_in(path: Path) -> set[str]:
    """The names a module calls or derives from, as far as they are the facts': other rooms have errors alike."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    bases = [base for node in nodes if isinstance(node, ast.ClassDef) for base in node.bases]
    names = {each.id for each in (*calls, *bases) if isinstance(each, ast.Name)}
    if path.is_relative_to(ROOT / "facts"):
        return names
    ours = [node for node in nodes if isinstance(node, ast.ImportFrom) and (node.module or "") in _OURS]
    return names & {alias.name for node in ours for alias in node.names}


_OURS = ("antiphon.facts", "antiphon.facts.errors")


def test_every_error_is_raised_or_is_the_base_of_one() -> None:
    used = set().union(*(used_in(path) for room in ROOMS for path in (ROOT / room).rglob("*.py")))
    offered = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    assert offered - used == set()


def test_the_roots_of_what_is_no_fact_can_be_caught() -> None:
    with pytest.raises(Serialization, match="float"):
        canonical_bytes({"x": 0.5})
    with pytest.raises(Serialization):
        MessageSent.fact_type.decode(b'{"text":5}')
    with pytest.raises(InvalidEnvelope):
        parse_line(b'{"h":{}}')

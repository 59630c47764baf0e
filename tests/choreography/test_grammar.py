"""The tables that ship are those of the grammar that ships."""

from antiphon.choreography.dsl import tables
from antiphon.choreography.dsl.grammar import GRAMMAR, TABLES, build_tables, source


def test_the_tables_are_current() -> None:
    built = build_tables(GRAMMAR.read_text(encoding="utf-8"))
    instead = "run `python -m antiphon.choreography.dsl.grammar`"
    assert TABLES.read_text(encoding="utf-8") == source(built), instead
    assert len(tables.ACTIONS) == len(built.actions)

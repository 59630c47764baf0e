"""From `grammar.lark` to the LALR tables in `tables.py`: run by whoever changes the grammar, never by a user.

lark checks the grammar and computes the tables, which takes a third of a second; keeping what it found means that a
program that parses a protocol pays neither that nor lark's import. `tests/choreography/test_grammar.py` fails when the
two files disagree; `python -m antiphon.choreography.dsl.grammar` writes the tables anew.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lark.grammar import Rule, Symbol

GRAMMAR = Path(__file__).with_name("grammar.lark")
TABLES = Path(__file__).with_name("tables.py")
STARTS = ("start", "expression")

HEADER = '''"""The LALR(1) tables of `grammar.lark`, written by `grammar.py`; not to be edited by hand.

RULES: (rule, symbols on the right, what to call with them, how to take the values together)
ACTIONS: per state, word or token kind to a state to enter (>= 0) or a rule to reduce, as -1 - rule; `""` is "whatever"
GOTO: per state, rule to the state to enter after it
STARTS, ENDS: per start symbol, the state before it and the state after it

One JSON text, because a thousand dictionaries written out as Python take twenty times as long to import.
"""

import json

# fmt: off
_DATA = json.loads(r"""
'''
FOOTER = '''""")
# fmt: on

RULES: list[tuple[str, int, str, list[int]]] = [(rule, size, call, take) for rule, size, call, take in _DATA["rules"]]
ACTIONS: list[dict[str, int]] = _DATA["actions"]
GOTO: list[dict[str, int]] = _DATA["goto"]
STARTS: dict[str, int] = _DATA["starts"]
ENDS: dict[str, int] = _DATA["ends"]
'''


class Tables(NamedTuple):
    """What the driver needs of a grammar."""

    rules: list[tuple[str, int, str, tuple[int, ...]]]
    actions: list[dict[str, int]]
    goto: list[dict[str, int]]
    starts: dict[str, int]
    ends: dict[str, int]


# How a rule's values are taken together: the position of a value to append, or one of these.
PLACEHOLDER = -1  # append None: an optional part that is absent
SPLICE = -1000  # SPLICE - position: the value there is a list, append its items
# The name of a rule that stands for its only value, when it has exactly one.
PASS = "?"


def build_tables(text: str) -> Tables:
    """The tables of a grammar text. Raises lark's GrammarError when it is not LALR(1)."""
    from lark import Lark
    from lark.common import LexerConf
    from lark.lexer import Lexer, Token

    class NoLexer(Lexer):
        """Tokens come from our own lexers; lark never sees a text."""

        def __init__(self, lexer_conf: LexerConf) -> None:
            super().__init__()

        def lex(self, lexer_state: object, parser_state: object) -> Iterator[Token]:
            return iter(())

    parser = Lark(text, parser="lalr", lexer=NoLexer, start=list(STARTS), maybe_placeholders=True)
    table = parser.parser.parser._parse_table  # lark offers its tables by no public name
    spellings = {terminal.name: _spellings(terminal.pattern) for terminal in parser.terminals}
    rules = sorted(parser.rules, key=lambda rule: (rule.origin.name, [symbol.name for symbol in rule.expansion]))
    numbers = {rule: number for number, rule in enumerate(rules)}
    order = _reading_order(table.states, list(table.start_states.values()))
    states = [table.states[state] for state in order]
    places = {state: place for place, state in enumerate(order)}
    return Tables(
        rules=[_rule(rule) for rule in rules],
        actions=[_compress(_actions(entries, spellings, numbers, places)) for entries in states],
        goto=[
            {name: places[target] for name, (_, target) in sorted(entries.items()) if _is_rule(name)}
            for entries in states
        ],
        starts={name: places[state] for name, state in sorted(table.start_states.items())},
        ends={name: places[state] for name, state in sorted(table.end_states.items())},
    )


def _is_rule(name: str) -> bool:
    # lark's own names of helper rules hold a star or plus; terminals are upper case throughout.
    return not name.isupper() and name != "$END"


def _reading_order(states: "Mapping[int, Mapping[str, tuple[object, object]]]", starts: list[int]) -> list[int]:
    """The states in the order in which a reader of the table meets them: lark's own numbers change from run to run."""
    order: dict[int, None] = {}
    waiting = starts[::-1]
    while waiting:
        state = waiting.pop()
        if state not in order:
            order[state] = None
            entries = sorted(states[state].items(), reverse=True)
            waiting += [int(str(target)) for _, (action, target) in entries if str(action) == "Shift"]
    return list(order)


def _spellings(pattern: object) -> list[str]:
    """The words a terminal stands for: itself, or its alternatives when it is `"a" | "b"`."""
    value = str(getattr(pattern, "value", ""))
    return value[3:-1].split("|") if value.startswith("(?:") else [value]


def _actions(
    entries: "dict[str, tuple[object, object]]",
    spellings: dict[str, list[str]],
    numbers: "dict[Rule, int]",
    places: dict[int, int],
) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, (action, target) in sorted(entries.items()):
        if _is_rule(name):
            continue
        # A shift leads to a state, a reduction to a rule.
        code = places[target] if str(action) == "Shift" else -1 - numbers[target]  # type: ignore[index]
        for word in spellings.get(name, [name.lstrip("_")]):
            assert found.setdefault(word, code) == code, f"{word!r} is two different terminals in one state"
    return found


def _compress(actions: dict[str, int]) -> dict[str, int]:
    """One entry `""` for a state that reduces by one rule whatever follows."""
    codes = set(actions.values())
    return {"": codes.pop()} if len(codes) == 1 and max(actions.values()) < 0 else actions


def _rule(rule: "Rule") -> tuple[str, int, str, tuple[int, ...]]:
    taken: list[int] = []
    blanks = _blanks(rule)
    for position, symbol in enumerate(rule.expansion):
        taken += [PLACEHOLDER] * blanks[position]
        if not (symbol.is_term and getattr(symbol, "filter_out", False)):
            taken.append(SPLICE - position if _is_list(symbol) else position)
    taken += [PLACEHOLDER] * blanks[len(rule.expansion)]
    origin = str(rule.origin.name)
    called = rule.alias or (PASS if rule.options.expand1 and len(taken) == 1 else origin.lstrip("?"))
    return (origin, len(rule.expansion), "" if origin.startswith("_") else called, tuple(taken))


def _blanks(rule: "Rule") -> list[int]:
    """How many optional parts are absent before each symbol of a rule, and after the last."""
    shape = "".join(str(int(is_absent)) for is_absent in rule.options.empty_indices)
    return [len(run) for run in shape.split("0")] if shape else [0] * (len(rule.expansion) + 1)


def _is_list(symbol: "Symbol") -> bool:
    return not symbol.is_term and str(symbol.name).startswith("_")


def source(tables: Tables) -> str:
    """The text of `tables.py`."""
    lists: dict[str, Sequence[object]] = {"rules": tables.rules, "actions": tables.actions, "goto": tables.goto}
    parts = [f'"{name}": [\n{_joined(items)}\n]' for name, items in lists.items()]
    parts += [f'"starts": {_compact(tables.starts)}', f'"ends": {_compact(tables.ends)}']
    return HEADER + "{" + ",\n".join(parts) + "}\n" + FOOTER


def _joined(items: Sequence[object]) -> str:
    return ",\n".join(_compact(item) for item in items)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def main() -> None:
    """Write the tables anew."""
    TABLES.write_text(source(build_tables(GRAMMAR.read_text(encoding="utf-8"))), encoding="utf-8")
    sys.stdout.write(f"wrote {TABLES.name}\n")


if __name__ == "__main__":
    main()

"""Reads Datalog text: `head($x) <- body($x, _), not other($x), $x != "a";` and one goal, `? head($x);`.

Names are as fact kinds are (`chat.message_sent`), variables begin with `$`, `_` stands for anything, `//` begins a
comment, every statement ends with `;`. Terms go by position, or by column: `message(channel: $c)`. Values are text in
double quotes (with \\" \\\\ \\n \\t escapes), whole numbers, `true`, `false` and `null`. Filters are `== != < <= > >=`,
`$x in ["a", "b"]`, `starts_with($x, "a")`, `contains($x, "a")`, and `eq neq lt le gt ge` as calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .program import (
    Atom,
    Comparison,
    Constant,
    DatalogError,
    DatalogProgram,
    Literal,
    Place,
    Rule,
    Scalar,
    Term,
    Variable,
)

# A program is written by a person or by a query class; more text than this is neither.
TEXT_LENGTH_MAX = 100_000
BODY_LENGTH_MAX = 100
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\["\\nt])*")
    |(?P<number>-?\d+)
    |(?P<variable>\$[A-Za-z_][A-Za-z0-9_]*)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
    |(?P<mark><-|<=|>=|==|!=|[()\[\],;?:<>])""",
    re.VERBOSE,
)
_ESCAPES = {'\\"': '"', "\\\\": "\\", "\\n": "\n", "\\t": "\t"}
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_CALLS = {"eq": "==", "neq": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_INFIX = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_FILTER_CALLS = frozenset({"starts_with", "contains"})


class _Token(NamedTuple):
    kind: str
    text: str
    place: Place


def parse_datalog(text: str) -> DatalogProgram:
    """Read a program with exactly one goal. Raises `DatalogError` with the place of the first mistake.

    >>> program = parse_datalog('far($a, $c) <- link($a, $b), link($b, $c); ? far("x", $where);')
    >>> program.needed, program.goal_columns
    (('link',), ('where',))
    """
    if len(text) > TEXT_LENGTH_MAX:
        raise DatalogError(f"the program has {len(text)} characters; expected at most {TEXT_LENGTH_MAX}", Place(1, 1))
    return _Parser(list(_tokens(text))).program()


def _tokens(text: str) -> Iterator[_Token]:
    at, line, line_start = 0, 1, 0
    while at < len(text):
        place = Place(line, at - line_start + 1)
        found = _TOKEN.match(text, at)
        if found is None:
            raise DatalogError(f"{text[at]!r} begins nothing; expected a name, a $variable or a value", place)
        assert found.lastgroup is not None, "every branch of the pattern has a name"
        if found.lastgroup != "space":
            yield _Token(found.lastgroup, found.group(), place)
        newlines = found.group().count("\n")
        if newlines:
            line += newlines
            line_start = found.start() + found.group().rindex("\n") + 1
        at = found.end()
    yield _Token("end", "the end", Place(line, at - line_start + 1))


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def program(self) -> DatalogProgram:
        rules: list[Rule] = []
        goal: tuple[Literal, ...] | None = None
        goal_place = Place(1, 1)
        while self._next.kind != "end":
            place = self._next.place
            if self._take_if("?"):
                if goal is not None:
                    raise DatalogError("a second goal; expected one: `? …;`", place)
                goal, goal_place = self._body(), place
            else:
                rules.append(self._rule())
            self._take(";")
        if goal is None:
            raise DatalogError("the program asks nothing; end it with a goal: `? relation($x);`", self._next.place)
        return DatalogProgram(tuple(rules), goal, goal_place)

    def _rule(self) -> Rule:
        head = self._literal()
        if not isinstance(head, Atom) or head.is_negated:
            raise DatalogError("a statement begins with what it defines: `relation($x) <- …;`", head.place)
        if self._take_if("<-"):
            return Rule(head, self._body())
        if any(isinstance(term, Variable) for term in head.terms):
            raise DatalogError("a fact has no variables; add `<- …` or values", head.place)
        return Rule(head, ())

    def _body(self) -> tuple[Literal, ...]:
        literals = [self._literal()]
        while self._take_if(","):
            literals.append(self._literal())
            if len(literals) > BODY_LENGTH_MAX:
                raise DatalogError(f"more than {BODY_LENGTH_MAX} conditions; split the rule", literals[-1].place)
        return tuple(literals)

    def _literal(self) -> Literal:
        token = self._next
        if token.kind == "name" and token.text not in _WORDS and token.text != "_":
            if token.text == "not":
                self._at += 1
                return self._atom(is_negated=True)
            return self._atom(is_negated=False)
        left = self._term()
        operator = self._next
        if operator.text not in _INFIX:
            raise DatalogError(f"got {operator.text}; expected a comparison such as `$x != 1`", operator.place)
        self._at += 1
        rights = self._list() if operator.text == "in" else (self._term(),)
        return Comparison(operator.text, (left, *rights), token.place)

    def _atom(self, *, is_negated: bool) -> Literal:
        name = self._take_kind("name", "the name of a relation")
        self._take("(")
        terms: list[Term] = []
        columns: list[str] = []
        while self._next.text != ")" or self._next.kind != "mark":
            following = self._tokens[min(self._at + 1, len(self._tokens) - 1)]  # the end follows itself
            if self._next.kind == "name" and following.kind == "mark" and following.text == ":":
                columns.append(self._next.text)
                self._at += 2
            place = self._next.place
            terms.append(self._term())
            if columns and len(columns) != len(terms):
                raise DatalogError("terms go all by position or all by column", place)
            if not self._take_if(","):
                break
        self._take(")")
        operator = _CALLS.get(name.text) or (name.text if name.text in _FILTER_CALLS else None)
        if operator is None:
            if len(set(columns)) != len(columns):
                raise DatalogError(f"{name.text} names a column twice", name.place)
            return Atom(name.text, tuple(terms), tuple(columns) or None, name.place, is_negated)
        if is_negated or columns or len(terms) != 2:
            raise DatalogError(f"{name.text} is a filter of two values, and is not denied", name.place)
        return Comparison(operator, tuple(terms), name.place)

    def _list(self) -> tuple[Term, ...]:
        self._take("[")
        terms: list[Term] = []
        while self._next.text != "]":
            terms.append(self._term())
            if not self._take_if(","):
                break
        self._take("]")
        return tuple(terms)

    def _term(self) -> Term:
        token = self._next
        self._at += 1
        if token.kind == "variable":
            return Variable(token.text[1:])
        if token.kind == "number":
            return Constant(int(token.text))
        if token.kind == "text":
            return Constant(re.sub(r"\\.", lambda found: _ESCAPES[found.group()], token.text[1:-1]))
        if token.kind == "name" and token.text == "_":
            return Variable("")
        if token.kind == "name" and token.text in _WORDS:
            return Constant(_WORDS[token.text])
        raise DatalogError(f"got {token.text}; expected a $variable, _ or a value", token.place)

    @property
    def _next(self) -> _Token:
        return self._tokens[min(self._at, len(self._tokens) - 1)]

    def _take_if(self, mark: str) -> bool:
        is_there = self._next.kind == "mark" and self._next.text == mark
        self._at += is_there
        return is_there

    def _take(self, mark: str) -> None:
        if not self._take_if(mark):
            raise DatalogError(f"got {self._next.text}; expected {mark}", self._next.place)

    def _take_kind(self, kind: str, what: str) -> _Token:
        token = self._next
        if token.kind != kind:
            raise DatalogError(f"got {token.text}; expected {what}", token.place)
        self._at += 1
        return token

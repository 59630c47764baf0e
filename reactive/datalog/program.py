"""A Datalog program as a value: facts, rules and one goal, checked before anything runs.

Evaluates nothing and parses nothing. What can be wrong with a program is found here, with its place: variables that
nothing binds, negation through a cycle, one relation with two shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from antiphon.facts import LocalViolation

from ..errors import ReactiveError

Scalar = str | int | bool | None
"""What a column may hold. `true` is not `1`."""

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in", "starts_with", "contains")
"""The builtins; each is a filter over values that atoms have bound."""


class Place(NamedTuple):
    """Where something stands in the text, both from 1."""

    line: int
    column: int


class DatalogError(ReactiveError, LocalViolation):
    """The program cannot be run; `place` says where, as (line, column) from 1."""

    def __init__(self, problem: str, place: Place) -> None:
        self.place = place
        super().__init__(f"line {place.line}, column {place.column}: {problem}")


class Variable(NamedTuple):
    """A name that stands for one value in a rule: `$room`. The name of `_` is empty: it is a new one each time."""

    name: str


class Constant(NamedTuple):
    """A value as written."""

    value: Scalar


Term = Variable | Constant


@dataclass(frozen=True, slots=True)
class Atom:
    """`relation(…)`: terms by position (`columns` is None), or by the names of columns, the others left open."""

    relation: str
    terms: tuple[Term, ...]
    columns: tuple[str, ...] | None
    place: Place
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """A filter: an operator and its terms; `in` has the value first, then the list."""

    operator: str
    terms: tuple[Term, ...]
    place: Place


Literal = Atom | Comparison


@dataclass(frozen=True, slots=True)
class Rule:
    """The head holds whenever all of the body does."""

    head: Atom
    body: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class DatalogProgram:
    """Facts (rules without a body), rules, and what is asked: the goal's variables name the columns of the answer."""

    rules: tuple[Rule, ...]
    goal: tuple[Literal, ...]
    goal_place: Place

    @property
    def derived(self) -> frozenset[str]:
        """The relations that the program defines itself."""
        return frozenset(rule.head.relation for rule in self.rules)

    @property
    def needed(self) -> tuple[str, ...]:
        """The relations that it asks for and does not define, sorted."""
        named = {atom.relation for body in self.bodies() for atom in body if isinstance(atom, Atom)}
        return tuple(sorted(named - self.derived))

    @property
    def goal_columns(self) -> tuple[str, ...]:
        """The goal's variables, in order of appearance."""
        return tuple(dict.fromkeys(variables_of(self.goal)))

    def bodies(self) -> Iterator[tuple[Literal, ...]]:
        """Every rule's body, then the goal."""
        yield from (rule.body for rule in self.rules)
        yield self.goal

    def check(self, columns_of: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """The columns of every relation, those of `columns_of` included. Raises `DatalogError` for what is wrong."""
        shapes = dict(columns_of)
        for rule in self.rules:
            _check_head(rule, shapes, frozenset(columns_of))
        for body in self.bodies():
            for atom in body:
                if isinstance(atom, Atom):
                    _check_atom(atom, shapes)
        for rule in self.rules:
            _check_bound(rule.body, (*variables_of((rule.head,)),), rule.head.place)
        _check_bound(self.goal, (), self.goal_place)
        self.strata()
        return shapes

    def strata(self) -> tuple[frozenset[str], ...]:
        """The derived relations in layers: each is complete before another denies it. Raises `DatalogError`."""
        level = dict.fromkeys(self.derived, 0)
        for _ in range(len(level) + 1):
            is_settled = True
            for rule in self.rules:
                for atom in rule.body:
                    if not isinstance(atom, Atom) or atom.relation not in level:
                        continue
                    least = level[atom.relation] + atom.is_negated
                    if level[rule.head.relation] < least:
                        if least > len(level):
                            raise DatalogError(
                                f"{rule.head.relation} depends on not {atom.relation}, and that on it again; "
                                "expected negation without a cycle: break it into two relations",
                                atom.place,
                            )
                        level[rule.head.relation] = least
                        is_settled = False
            if is_settled:
                break
        return tuple(
            frozenset(name for name, at in level.items() if at == each) for each in sorted(set(level.values()))
        )


def variables_of(literals: Iterable[Literal]) -> Iterator[str]:
    """The names of the variables, in order; anonymous ones left out."""
    for literal in literals:
        for term in literal.terms:
            if isinstance(term, Variable) and term.name:
                yield term.name


def _check_head(rule: Rule, shapes: dict[str, tuple[str, ...]], given: frozenset[str]) -> None:
    head = rule.head
    if head.relation in given:
        raise DatalogError(f"{head.relation} is a given table; a rule defines a relation of its own", head.place)
    columns = head.columns or tuple(f"arg{number}" for number in range(len(head.terms)))
    known = shapes.setdefault(head.relation, columns)
    if set(known) != set(columns) or len(known) != len(columns):
        raise DatalogError(
            f"{head.relation} has the columns {', '.join(known)} above; here {', '.join(columns)}", head.place
        )
    if any(term == Variable("") for term in head.terms):
        raise DatalogError("_ stands for no value a head could hold; name the variable", head.place)


def _check_atom(atom: Atom, shapes: Mapping[str, tuple[str, ...]]) -> None:
    columns = shapes.get(atom.relation)
    if columns is None:
        known = ", ".join(sorted(shapes)) or "none"
        raise DatalogError(f"there is no relation {atom.relation}; expected one of: {known}", atom.place)
    if atom.columns is None:
        if len(atom.terms) != len(columns):
            raise DatalogError(
                f"{atom.relation} has {len(columns)} columns ({', '.join(columns)}); got {len(atom.terms)} terms",
                atom.place,
            )
        return
    unknown = [column for column in atom.columns if column not in columns]
    if unknown:
        raise DatalogError(f"{atom.relation} has no column {unknown[0]}; it has {', '.join(columns)}", atom.place)


def _check_bound(body: tuple[Literal, ...], wanted: tuple[str, ...], place: Place) -> None:
    """Every variable stands in an atom that is not denied: else it could be anything at all."""
    bound = set(variables_of(literal for literal in body if isinstance(literal, Atom) and not literal.is_negated))
    for literal in body:
        free = [name for name in variables_of((literal,)) if name not in bound]
        if free:
            raise DatalogError(f"${free[0]} is bound by no atom; name it in one that is not denied", literal.place)
    for name in wanted:
        if name not in bound:
            raise DatalogError(f"${name} of the head is bound by no atom of the body", place)

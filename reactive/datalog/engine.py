"""Answers a Datalog program: bottom-up and semi-naive, layer by layer, within limits that do not depend on a clock.

Semi-naive evaluation joins only what the last round found (Abiteboul, Hull, Vianu, "Foundations of Databases", chapter
13). Every join looks rows up by the columns that are bound by then; nothing is O(product).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from ..errors import ReactiveError
from .program import Atom, Comparison, Constant, DatalogProgram, Literal, Rule, Scalar, Term, Variable

Row = tuple[Any, ...]


class LimitExceeded(ReactiveError):
    """The program would take more than it may; nothing of it is answered. `limit` is the field of `Limits`."""

    def __init__(self, limit: str, allowed: int) -> None:
        self.limit = limit
        super().__init__(f"the program went over {limit}={allowed:,}; narrow its rules, or ask with wider Limits")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one evaluation: facts derived, rounds in a layer, and rows looked at (about 1 µs each)."""

    fact_count_max: int = 100_000
    round_count_max: int = 1_000
    step_count_max: int = 5_000_000


class Table(NamedTuple):
    """A given relation: its columns, and rows of as many values (text, whole numbers, bools, None)."""

    columns: tuple[str, ...]
    rows: Iterable[Sequence[Scalar]]


class _Truth(Enum):
    """Bools inside the engine: Python takes True for 1, and a set would lose one of them."""

    TRUE = True
    FALSE = False


_INSIDE = {True: _Truth.TRUE, False: _Truth.FALSE}


def solve(
    program: DatalogProgram, tables: Mapping[str, Table], *, limits: Limits | None = None
) -> tuple[dict[str, Scalar], ...]:
    """The goal's rows, each once, by the names of its variables, in an order of their own that never varies.

    A goal without variables gives one empty row when it holds, and none when it does not. Raises `DatalogError` for a
    program that does not fit the tables, and `LimitExceeded`.

    >>> from .parser import parse_datalog
    >>> links = Table(("from", "to"), [("a", "b"), ("b", "c")])
    >>> rules = 'far($x, $y) <- link($x, $y); far($x, $z) <- far($x, $y), link($y, $z);'
    >>> far = parse_datalog(rules + '? far("a", $where);')
    >>> solve(far, {"link": links})
    ({'where': 'b'}, {'where': 'c'})
    """
    shapes = program.check({name: table.columns for name, table in tables.items()})
    evaluation = _Evaluation(shapes, limits or Limits())
    for name in program.needed:
        evaluation.load(name, tables[name].rows)
    for layer in program.strata():
        evaluation.complete([rule for rule in program.rules if rule.head.relation in layer], layer)
    columns = program.goal_columns
    found = evaluation.answers(_Plan(program.goal, tuple(map(Variable, columns)), shapes))
    rows = sorted(found, key=lambda row: [_sort_key(value) for value in row])
    return tuple({name: _outside(value) for name, value in zip(columns, row, strict=True)} for row in rows)


class _Relation:
    """Rows, each once, with an index for every set of columns that some join has asked for."""

    __slots__ = ("_indexes", "rows")

    def __init__(self) -> None:
        self.rows: dict[Row, None] = {}
        self._indexes: dict[tuple[int, ...], dict[Row, list[Row]]] = {}

    def add(self, row: Row) -> bool:
        if row in self.rows:
            return False
        self.rows[row] = None
        for columns, index in self._indexes.items():
            index.setdefault(tuple([row[each] for each in columns]), []).append(row)
        return True

    def matching(self, columns: tuple[int, ...], values: Row) -> Iterable[Row]:
        if not columns:
            return self.rows
        index = self._indexes.get(columns)
        if index is None:
            index = self._indexes[columns] = {}
            for row in self.rows:
                index.setdefault(tuple([row[each] for each in columns]), []).append(row)
        return index.get(values, ())


class _Step(NamedTuple):
    """One literal, ready to run: which columns are known by then, and which variables the rest binds."""

    literal: Literal
    columns: tuple[int, ...]
    known: tuple[Term, ...]
    binds: tuple[tuple[int, str], ...]
    repeats: tuple[tuple[int, int], ...]


class _Plan:
    """A body in the order in which it runs: atoms as written, filters and denials as soon as they can."""

    def __init__(self, body: Sequence[Literal], head: Sequence[Term], shapes: Mapping[str, tuple[str, ...]]) -> None:
        self.head = tuple(head)
        self.steps: list[_Step] = []
        bound: set[str] = set()
        waiting = [each for each in body if not _binds(each)]
        for literal in [None, *(each for each in body if _binds(each))]:
            if literal is not None:
                step = _plan_step(literal, bound, shapes)
                self.steps.append(step)
                bound |= {name for _, name in step.binds}
            ready = [each for each in waiting if _names(each) <= bound]
            waiting = [each for each in waiting if not _names(each) <= bound]
            self.steps.extend(_plan_step(each, bound, shapes) for each in ready)

    def atoms_of(self, relations: frozenset[str]) -> list[int]:
        """The steps that read one of these relations."""
        return [
            number
            for number, step in enumerate(self.steps)
            if isinstance(step.literal, Atom) and not step.literal.is_negated and step.literal.relation in relations
        ]


class _Evaluation:
    def __init__(self, shapes: Mapping[str, tuple[str, ...]], limits: Limits) -> None:
        self._shapes = shapes
        self._limits = limits
        self._relations: dict[str, _Relation] = {name: _Relation() for name in shapes}
        self._fact_count = 0
        self._step_count = 0

    def load(self, name: str, rows: Iterable[Sequence[Scalar]]) -> None:
        relation = self._relations[name]
        for row in rows:
            relation.add(tuple([_inside(value) for value in row]))

    def complete(self, rules: Sequence[Rule], layer: frozenset[str]) -> None:
        """Derive all that one layer holds: everything once, then only from what the last round found."""
        planned = [(rule.head.relation, _Plan(rule.body, self._ordered(rule.head), self._shapes)) for rule in rules]
        news = self._round((name, plan, None, None) for name, plan in planned)
        rounds = 1
        while any(relation.rows for relation in news.values()):
            rounds += 1
            if rounds > self._limits.round_count_max:
                raise LimitExceeded("round_count_max", self._limits.round_count_max)
            last = news
            news = self._round(
                (name, plan, number, last)
                for name, plan in planned
                for number in plan.atoms_of(layer)
                if last.get(plan.steps[number].literal.relation)  # type: ignore[union-attr]  # atoms_of gives atoms
            )

    def _round(
        self, jobs: Iterable[tuple[str, _Plan, int | None, Mapping[str, _Relation] | None]]
    ) -> dict[str, _Relation]:
        derived = [
            (name, row) for name, plan, number, last in jobs for row in self.answers(plan, number=number, last=last)
        ]
        news: dict[str, _Relation] = {}
        for name, row in derived:
            if self._relations[name].add(row):
                news.setdefault(name, _Relation()).add(row)
                self._fact_count += 1
                if self._fact_count > self._limits.fact_count_max:
                    raise LimitExceeded("fact_count_max", self._limits.fact_count_max)
        return news

    def answers(
        self, plan: _Plan, *, number: int | None = None, last: Mapping[str, _Relation] | None = None
    ) -> Iterator[Row]:
        """The head's rows; the atom at *number* is read from *last* instead of from everything. Each is given once."""
        seen: set[Row] = set()
        for bindings in self._join(plan.steps, 0, {}, number, last):
            row = tuple([_value(term, bindings) for term in plan.head])
            if row not in seen:
                seen.add(row)
                yield row

    def _join(
        self,
        steps: Sequence[_Step],
        at: int,
        bindings: dict[str, Any],
        number: int | None,
        last: Mapping[str, _Relation] | None,
    ) -> Iterator[dict[str, Any]]:
        if at == len(steps):
            yield bindings
            return
        step = steps[at]
        literal = step.literal
        if isinstance(literal, Comparison):
            self._count_step()
            if _holds(literal, bindings):
                yield from self._join(steps, at + 1, bindings, number, last)
            return
        source = last if at == number and last is not None else self._relations
        key = tuple([_value(term, bindings) for term in step.known])
        rows = source[literal.relation].matching(step.columns, key)
        if literal.is_negated:
            self._count_step()
            if not any(_is_repeating(row, step.repeats) for row in rows):
                yield from self._join(steps, at + 1, bindings, number, last)
            return
        for row in rows:
            self._count_step()
            if _is_repeating(row, step.repeats):
                extended = {**bindings, **{name: row[column] for column, name in step.binds}}
                yield from self._join(steps, at + 1, extended, number, last)

    def _count_step(self) -> None:
        self._step_count += 1
        if self._step_count > self._limits.step_count_max:
            raise LimitExceeded("step_count_max", self._limits.step_count_max)

    def _ordered(self, head: Atom) -> tuple[Term, ...]:
        """A head's terms in the order of its relation's columns."""
        if head.columns is None:
            return head.terms
        by_column = dict(zip(head.columns, head.terms, strict=True))
        return tuple(by_column[column] for column in self._shapes[head.relation])


def _binds(literal: Literal) -> bool:
    return isinstance(literal, Atom) and not literal.is_negated


def _names(literal: Literal) -> set[str]:
    return {term.name for term in literal.terms if isinstance(term, Variable) and term.name}


def _plan_step(literal: Literal, bound: set[str], shapes: Mapping[str, tuple[str, ...]]) -> _Step:
    if isinstance(literal, Comparison):
        return _Step(literal, (), (), (), ())
    place_of = {column: number for number, column in enumerate(shapes[literal.relation])}
    places = range(len(literal.terms)) if literal.columns is None else [place_of[each] for each in literal.columns]
    columns: list[int] = []
    known: list[Term] = []
    first: dict[str, int] = {}
    repeats: list[tuple[int, int]] = []
    for place, term in zip(places, literal.terms, strict=True):
        if isinstance(term, Constant) or term.name in bound:
            columns.append(place)
            known.append(term)
        elif term.name in first:
            repeats.append((first[term.name], place))
        elif term.name:
            first[term.name] = place
    return _Step(
        literal,
        tuple(columns),
        tuple(known),
        tuple((place, name) for name, place in first.items()),
        tuple(repeats),
    )


def _is_repeating(row: Row, repeats: Sequence[tuple[int, int]]) -> bool:
    return all(row[first] == row[other] for first, other in repeats)


def _value(term: Term, bindings: Mapping[str, Any]) -> Any:
    return _inside(term.value) if isinstance(term, Constant) else bindings[term.name]


def _inside(value: Scalar) -> Any:
    return _INSIDE[value] if isinstance(value, bool) else value


def _outside(value: Any) -> Scalar:
    outside: Scalar = value.value if isinstance(value, _Truth) else value
    return outside


def _sort_key(value: Any) -> tuple[str, Any]:
    return (type(value).__name__, value.value if isinstance(value, _Truth) else 0 if value is None else value)


_ORDER: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXT: Mapping[str, Callable[[str, str], bool]] = {"starts_with": str.startswith, "contains": operator.contains}


def _holds(comparison: Comparison, bindings: Mapping[str, Any]) -> bool:
    """Whether a filter lets these values pass. Values of two types are never equal, and neither is before the other."""
    left, *rights = [_value(term, bindings) for term in comparison.terms]
    name = comparison.operator
    if name == "in":
        return any(left == each for each in rights)
    right = rights[0]
    if name in ("==", "!="):
        return bool(left == right) == (name == "==")
    if name in _TEXT:
        return isinstance(left, str) and isinstance(right, str) and _TEXT[name](left, right)
    if type(left) is not type(right) or not isinstance(left, str | int):
        return False
    is_before: bool = _ORDER[name](left, right)
    return is_before

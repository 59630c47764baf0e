"""Linear receipts: what `transfer` binds is consumed exactly once on every way through a protocol.

A walk over the text in the order of its runs, calls as if they were written out. It knows a receipt by the statement
that bound it and not by its name, so what a binder hides is not consumed by another use of that name. Who may hold a
receipt, and what consuming one does, is not decided here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from .. import ast
from ..ast import Block, Choreography, Statement
from ..errors import Problem
from ..node import Span, walk
from .diagnostics import problem
from .layout import NESTING_MAX

# Calls that would be written out to more than this are refused by inlining; they are followed no further either.
CALLED_STATEMENTS_MAX = 20_000


def check_receipts(tree: Choreography) -> list[Problem]:
    """Every receipt that some way loses, consumes twice, or hands over without holding it. O(statements × receipts)."""
    locals_by_name = {local.name: local.body for local in reversed(tree.local_protocols)}
    roots: list[tuple[Block, _Names]] = [(tree.body, {})]
    for item in tree.declarations:
        if isinstance(item, ast.Operation):
            roots.append((item.body, {field.name: None for field in item.parameters if field.name is not None}))
    bodies = [*(body for body, _ in roots), *locals_by_name.values()]
    if not any(_concerns_receipts(statement) for body in bodies for statement in _statements(body)):
        return []
    called = {item.protocol for body in bodies for item in _statements(body) if isinstance(item, ast.Call)}
    roots += [(body, {}) for name, body in locals_by_name.items() if name not in called]
    return [found for body, names in roots for found in _Walk(locals_by_name).check(body, names)]


class _Receipt:
    """One `let … = transfer …` as one run meets it; `guards` is how many loops, recs and pars are around it."""

    __slots__ = ("bound", "guards", "name")

    def __init__(self, name: str, bound: Span, guards: int) -> None:
        self.name = name
        self.bound = bound
        self.guards = guards


_Names: TypeAlias = dict[str, _Receipt | None]  # None: bound to something that is no receipt
_Path: TypeAlias = dict[_Receipt, Span | None]  # where each receipt was consumed; None: not yet


class _TooMuch(Exception):
    """Ends a walk whose calls inlining refuses."""


class _Walk:
    """Follows one body. Every method answers whether the way goes on, and changes the path it was given."""

    def __init__(self, protocols: Mapping[str, Block]) -> None:
        self._protocols = protocols
        self._guards: list[str] = []
        self._heads: list[tuple[str, frozenset[_Receipt]]] = []  # open recs: the label, and what was bound before
        self._calls: list[str] = []
        self._called_count = 0
        self._depth = 0
        self._problems: dict[Problem, None] = {}

    def check(self, body: Block, names: _Names) -> Iterable[Problem]:
        try:
            self._block(body, names, {})
        except _TooMuch:
            return ()
        return self._problems

    def _report(self, code: str, span: Span, **facts: str | int) -> None:
        self._problems.setdefault(problem(code, span, **facts))

    # --- blocks

    def _block(self, block: Block, names: _Names, path: _Path, before: frozenset[_Receipt] | None = None) -> bool:
        """A block has names of its own; what is bound in it (all but `before`) is consumed before it ends."""
        before = frozenset(path) if before is None else before
        goes_on = self._items(block, dict(names), path)
        bound_here = [receipt for receipt in path if receipt not in before]
        for receipt in bound_here:
            if goes_on and path[receipt] is None:
                self._report("receipt_unused", receipt.bound, name=receipt.name)
            del path[receipt]
        return goes_on

    def _items(self, block: Block, names: _Names, path: _Path) -> bool:
        self._depth += 1
        if self._depth > NESTING_MAX + 1:
            raise _TooMuch
        goes_on = True
        for statement in block.items:
            if not self._statement(statement, names, path):
                goes_on = False
                break  # what follows is unreachable, which lowering says
        self._depth -= 1
        return goes_on

    def _statement(self, statement: Statement, names: _Names, path: _Path) -> bool:
        self._uses(statement, names, path)
        match statement:
            case ast.Let():
                return self._let(statement, names, path)
            case ast.Materialize(proof=proof):
                names[proof] = None
                return True
            case ast.Choice() | ast.Case() | ast.Timeout():
                return self._branches(statement, names, path)
            case ast.Loop() | ast.Rec() | ast.Parallel():
                return self._guarded(statement, names, path)
            case ast.Continue(label=label):
                self._go_round(label, statement.span, path)
                return False
            case ast.Call(protocol=protocol):
                return self._call(protocol, names, path)
            case _:
                return True

    def _let(self, let: ast.Let, names: _Names, path: _Path) -> bool:
        bound = _Receipt(let.name, let.span, len(self._guards)) if isinstance(let.expression, ast.Transfer) else None
        before = frozenset(path)
        if bound is not None:
            path[bound] = None
        if let.body is None:
            names[let.name] = bound
            return True
        return self._block(let.body, {**names, let.name: bound}, path, before)

    def _call(self, protocol: str, names: _Names, path: _Path) -> bool:
        """As inlining does: the statements stand in the caller's block, and see and leave their names there."""
        body = self._protocols.get(protocol)
        if body is None or protocol in self._calls:
            return True  # a problem of its own
        self._called_count += len(body.items)
        if self._called_count > CALLED_STATEMENTS_MAX:
            raise _TooMuch
        self._calls.append(protocol)
        goes_on = self._items(body, names, path)
        self._calls.pop()
        return goes_on

    # --- ways that part

    def _branches(self, statement: ast.Choice | ast.Case | ast.Timeout, names: _Names, path: _Path) -> bool:
        before = dict(path)
        ends: list[_Path] = []
        for block, bound in zip(ast.blocks_of(statement), _bound_in(statement), strict=True):
            way = dict(before)
            if self._block(block, {**names, **dict.fromkeys(bound)}, way):
                ends.append(way)
        construct = type(statement).__name__.lower()
        for receipt, consumed in before.items():
            uses = [way[receipt] for way in ends if consumed is None and way[receipt] is not None]
            if uses and len(uses) < len(ends):
                assert uses[0] is not None, "filtered above"
                self._report("receipt_diverges", uses[0], name=receipt.name, construct=construct)
            path[receipt] = consumed or next(iter(uses), None)
        return bool(ends)

    def _guarded(self, statement: ast.Loop | ast.Rec | ast.Parallel, names: _Names, path: _Path) -> bool:
        """A body that runs any number of times, or beside others: it consumes nothing from outside."""
        self._guards.append("par" if isinstance(statement, ast.Parallel) else type(statement).__name__.lower())
        if isinstance(statement, ast.Rec):
            self._heads.append((statement.label, frozenset(path)))
        open_before = [receipt for receipt, consumed in path.items() if consumed is None]
        ends: list[bool] = []
        for block in ast.blocks_of(statement):
            way = dict(path)
            ends.append(self._block(block, names, way))
            path |= way
        if isinstance(statement, ast.Rec):
            self._heads.pop()
        self._guards.pop()
        goes_on = all(ends) if not isinstance(statement, ast.Loop) else True
        if isinstance(statement, ast.Loop) and isinstance(statement.condition, ast.Forever):
            goes_on = False
        if not goes_on and not self._leaves(statement):
            for receipt in open_before:
                if path[receipt] is None:
                    self._report("receipt_unused", receipt.bound, name=receipt.name)
        return goes_on

    def _leaves(self, statement: Statement) -> bool:
        """Whether some `continue` in a statement that never ends goes to a rec around it."""
        heads = {label for label, _ in self._heads}
        return any(isinstance(item, ast.Continue) and item.label in heads for item in _statements(Block((statement,))))

    def _go_round(self, label: str, span: Span, path: _Path) -> None:
        before = next((known for head, known in reversed(self._heads) if head == label), None)
        for receipt, consumed in path.items():
            if before is not None and consumed is None and receipt not in before:
                self._report("receipt_leaks", span, name=receipt.name, line=receipt.bound.line, label=label)

    # --- uses

    def _uses(self, statement: Statement, names: _Names, path: _Path) -> None:
        for name, span in _names_used(statement):
            receipt = names.get(name)
            if receipt is not None and receipt in path:
                self._consume(receipt, span, path)
        if isinstance(statement, ast.Handoff) and statement.receipt not in names:
            self._report("receipt_unbound", statement.span, name=statement.receipt)

    def _consume(self, receipt: _Receipt, span: Span, path: _Path) -> None:
        consumed = path[receipt]
        if len(self._guards) > receipt.guards:
            self._report("receipt_in_loop", span, name=receipt.name, construct=self._guards[-1])
        elif consumed is not None:
            self._report("receipt_twice", span, name=receipt.name, line=consumed.line)
        path[receipt] = consumed or span


def _concerns_receipts(statement: Statement) -> bool:
    return isinstance(statement, ast.Handoff) or (
        isinstance(statement, ast.Let) and isinstance(statement.expression, ast.Transfer)
    )


def _statements(block: Block) -> Iterator[Statement]:
    waiting = list(block.items)
    while waiting:
        statement = waiting.pop()
        yield statement
        for inner in ast.blocks_of(statement):
            waiting += inner.items


def _bound_in(statement: ast.Choice | ast.Case | ast.Timeout) -> Iterator[tuple[str, ...]]:
    """The names that each block of a branching statement begins with."""
    match statement:
        case ast.Case(branches=cases):
            yield from (branch.binders for branch in cases)
        case ast.Choice(branches=branches):
            for branch in branches:
                yield (branch.guard.binder,) if isinstance(branch.guard, ast.Evidence) else ()
        case _:
            yield from (() for _ in ast.blocks_of(statement))


def _names_used(statement: Statement) -> Iterator[tuple[str, Span]]:
    """The plain names a statement's own expressions and payload use."""
    match statement:
        case ast.Handoff(receipt=receipt):
            yield receipt, statement.span
        case ast.Send(message=message) | ast.Broadcast(message=message):
            for item in message.payload.fields if message.payload else ():
                if isinstance(item.type, ast.TypeName) and len(item.type.path) == 1 and not item.type.arguments:
                    yield item.type.path[0], item.span
        case _:
            for expression in ast.expressions_of(statement):
                for node in walk(expression):
                    if isinstance(node, ast.Name):
                        yield node.name, node.span


__all__ = ["check_receipts"]

"""Calls written out: every `call` becomes the statements of the local protocol that it names.

Lowers nothing, and looks at no statement but calls.
"""

from dataclasses import replace
from typing import NamedTuple

from . import ast
from .ast import Block, Choreography, Statement
from .dsl.diagnostics import did_you_mean, problem
from .dsl.layout import NESTING_MAX
from .dsl.surface import statements_of
from .errors import Problem
from .roles import map_blocks

INLINED_STATEMENTS_MAX = 20_000


class Inlined(NamedTuple):
    """A choreography without calls and local protocols, None when calls go in circles or grow without end."""

    tree: Choreography | None
    problems: tuple[Problem, ...]


def inline(tree: Choreography) -> Inlined:
    """Every `call` replaced by the statements it names, annotations kept. O(statements of the result)."""
    if not tree.local_protocols:
        return Inlined(tree, ())
    inliner = _Inliner(tree)
    body = inliner.body()
    if inliner.problems:
        return Inlined(None, tuple(inliner.problems))
    return Inlined(replace(tree, body=body, local_protocols=()), ())


class _Inliner:
    def __init__(self, tree: Choreography) -> None:
        self._tree = tree
        self._local: dict[str, Block] = {}
        for local in tree.local_protocols:
            self._local.setdefault(local.name, local.body)
        self._done: dict[str, Block] = {}
        self._sizes: dict[str, tuple[int, int]] = {}  # statements, levels
        self.problems: list[Problem] = []

    def body(self) -> Block:
        """The protocol's body with every call written out."""
        order = self._order()
        if self.problems:
            return self._tree.body
        for name in order:
            self._done[name] = self._written_out(name, self._local[name])
            if self.problems:
                return self._tree.body
        return self._written_out("", self._tree.body)

    def _order(self) -> list[str]:
        """Local protocols, each after those it calls; a circle is a problem."""
        order: list[str] = []
        state: dict[str, bool] = {}  # whether it is done
        for start in self._local:
            waiting = [(start, iter(self._calls(start)))] if start not in state else []
            state.setdefault(start, False)
            while waiting:
                name, calls = waiting[-1]
                call = next(calls, None)
                if call is None:
                    waiting.pop()
                    state[name] = True
                    order.append(name)
                elif call.protocol in self._local and call.protocol not in state:
                    state[call.protocol] = False
                    waiting.append((call.protocol, iter(self._calls(call.protocol))))
                elif state.get(call.protocol) is False:
                    circle = [item for item, _ in waiting]
                    shown = [*circle[circle.index(call.protocol) :], call.protocol]
                    self.problems.append(problem("recursive_call", call.span, cycle=" → ".join(shown)))
        return order

    def _calls(self, name: str) -> list[ast.Call]:
        return [item for item in statements_of(self._local[name]) if isinstance(item, ast.Call)]

    def _written_out(self, name: str, block: Block) -> Block:
        self._sizes[name] = self._measure(block)
        count, levels = self._sizes[name]
        if count > INLINED_STATEMENTS_MAX or levels > NESTING_MAX:
            self.problems.append(problem("inlining_too_large", block.span, limit=INLINED_STATEMENTS_MAX))
            return block
        return self._block(block)

    def _measure(self, block: Block) -> tuple[int, int]:
        count, levels = 0, 1
        for statement in block.items:
            inner = [self._measure(below) for below in ast.blocks_of(statement)]
            if isinstance(statement, ast.Call):
                inner = [self._sizes.get(statement.protocol, (1, 0))]
            count += 1 + sum(number for number, _ in inner)
            levels = max([levels, *(1 + depth for _, depth in inner)])
        return count, levels

    def _block(self, block: Block) -> Block:
        items: list[Statement] = []
        for statement in block.items:
            if not isinstance(statement, ast.Call):
                items.append(map_blocks(statement, self._block))
            elif statement.protocol in self._done:
                items += self._done[statement.protocol].items
            else:
                advice = did_you_mean(statement.protocol, self._local, otherwise="define it below `where`")
                self.problems.append(
                    problem("undefined_protocol", statement.span, name=statement.protocol, advice=advice)
                )
        return replace(block, items=tuple(items))


__all__ = ["INLINED_STATEMENTS_MAX", "Inlined", "inline"]

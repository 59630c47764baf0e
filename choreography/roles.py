"""Families of roles: which instances there are, and a choreography over concrete roles in place of families.

Instances are plain roles named `W[0]`, `W[1]`, …, which no written role can be called.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from . import ast
from .ast import Block, Choreography, RoleRef, Statement
from .dsl.diagnostics import did_you_mean, problem
from .dsl.surface import all_statements, roles_named
from .errors import Problem

INSTANCES_MAX = 1_024
# Binding multiplies sends by instances; beyond this a protocol is a mistake, or a program in disguise.
STATEMENTS_MAX = 50_000


class BindResult(NamedTuple):
    """The choreography over concrete roles, None when a problem stands in the way."""

    tree: Choreography | None
    problems: tuple[Problem, ...]


def has_families(tree: Choreography) -> bool:
    """Whether any role is a family, or any loop counts to a symbol."""
    return any(role.size is not None for role in tree.roles) or any(
        isinstance(item, ast.Loop) and isinstance(item.condition, ast.Count) and isinstance(item.condition.times, str)
        for item in all_statements(tree)
    )


class BindableNames(NamedTuple):
    """What a choreography leaves open: sizes and rounds, as `counts` take them, and indices of references."""

    counts: frozenset[str]
    indices: frozenset[str]


def bindable_names(tree: Choreography) -> BindableNames:
    """Every name that `bind` may be given a number for; a symbol that is both a size and an index is a count."""
    families = [role for role in tree.roles if role.size is not None]
    counts = {role.name for role in families}
    counts |= {role.size.name for role in families if isinstance(role.size, ast.Symbol)}
    indices: set[str] = set()
    for item in all_statements(tree):
        if isinstance(item, ast.Loop) and isinstance(item.condition, ast.Count):
            counts |= {item.condition.times} if isinstance(item.condition.times, str) else set()
        for reference in roles_named(item):
            match reference.index:
                case ast.Symbol(name=name):
                    indices.add(name)
                case ast.Range(low=low, high=high):
                    indices |= {bound for bound in (low, high) if isinstance(bound, str)}
    return BindableNames(frozenset(counts), frozenset(indices - counts))


def bind(
    tree: Choreography, *, counts: Mapping[str, int] | None = None, indices: Mapping[str, int] | None = None
) -> BindResult:
    """The choreography with every family expanded to its instances.

    `counts` gives sizes by family or by size symbol (`W` or the `N` of `W[N]`) and rounds by loop symbol; `indices`
    gives the symbols of references. A send to `W[*]`, a range or the bare family becomes one send an instance,
    ascending; so does a send from one. Never raises; O(statements × instances).

    Example: `bind(tree, counts={"W": 3})` turns `Boss -> W[*] : Go` into sends to `W[0]`, `W[1]`, `W[2]`.
    """
    binder = _Binder(tree, counts or {}, indices or {})
    bound = binder.run()
    return BindResult(None if binder.problems else bound, tuple(dict.fromkeys(binder.problems)))


def unbound_problems(tree: Choreography) -> tuple[Problem, ...]:
    """Why the families of a tree cannot be projected as they stand; empty when sizes and indices are all known."""
    found: list[Problem] = []
    for role in tree.roles:
        if isinstance(role.size, ast.Runtime):
            found.append(problem("dynamic_role", role.span, name=role.name))
        elif isinstance(role.size, ast.Symbol):
            found.append(problem("unbound_symbolic", role.span, name=role.size.name, family=role.name))
    open_families = {role.name for role in tree.roles if isinstance(role.size, ast.Runtime | ast.Symbol)}
    for statement in all_statements(tree):
        for reference in roles_named(statement):
            index = reference.index
            if isinstance(index, ast.Symbol):
                found.append(problem("unbound_symbolic", reference.span, name=index.name, family=reference.name))
            elif isinstance(index, ast.Range) and not (isinstance(index.low, int) and isinstance(index.high, int)):
                found.append(problem("range_projection", reference.span, family=reference.name))
            elif isinstance(index, ast.Wildcard) and reference.name in open_families:
                found.append(problem("wildcard_projection", reference.span, family=reference.name))
            elif isinstance(index, ast.Range) and reference.name in open_families:
                found.append(problem("range_projection", reference.span, family=reference.name))
        match statement:
            case ast.Loop(condition=ast.Count(times=str() as times)):
                found.append(problem("unbound_symbol", statement.span, name=times))
    return tuple(found)


class _Binder:
    def __init__(self, tree: Choreography, counts: Mapping[str, int], indices: Mapping[str, int]) -> None:
        self._tree = tree
        self.problems: list[Problem] = []
        self._counts = self._whole_numbers(counts)
        self._indices = self._whole_numbers(indices)
        self._sizes: dict[str, int] = {}  # by family
        self._written = 0

    def run(self) -> Choreography:
        roles: list[ast.Role] = []
        for role in self._tree.roles:
            roles += self._declare(role)
        self._check_known()
        bodies = {local.name: self._block(local.body) for local in self._tree.local_protocols}
        return replace(
            self._tree,
            roles=tuple(roles),
            body=self._block(self._tree.body),
            local_protocols=tuple(replace(local, body=bodies[local.name]) for local in self._tree.local_protocols),
        )

    def _whole_numbers(self, bindings: Mapping[str, int]) -> dict[str, int]:
        for name, value in bindings.items():
            if type(value) is not int:
                self._report("binding_no_number", self._tree, name=name, bound=repr(value))
        return {name: value if type(value) is int else 1 for name, value in bindings.items()}

    def _report(self, code: str, place: ast.Node, **facts: str | int) -> None:
        self.problems.append(problem(code, place.span, **facts))

    def _declare(self, role: ast.Role) -> list[ast.Role]:
        if role.size is None:
            return [role]
        size = self._size(role)
        self._sizes[role.name] = size
        return [ast.Role(f"{role.name}[{number}]", span=role.span) for number in range(size)]

    def _size(self, role: ast.Role) -> int:
        given = self._counts.get(role.name)
        if isinstance(role.size, ast.Static):
            if given is not None and given != role.size.count:
                advice = "declare it as `[N]` to choose its size later"
                self._report("count_mismatch", role, name=role.name, count=role.size.count, bound=given, advice=advice)
            size = role.size.count
        elif given is not None:
            size = given
        elif isinstance(role.size, ast.Symbol):
            symbol = role.size.name
            if symbol not in self._counts:
                self._report("unbound_symbol", role, name=symbol)
            size = self._counts.get(symbol, 1)
        else:
            self._report("unbound_family", role, name=role.name)
            size = 1
        if size == 0:
            self._report("empty_family", role, name=role.name)
            size = 1
        elif not 1 <= size <= INSTANCES_MAX:
            self._report("bound_out_of_limits", role, name=role.name, bound=size, limit=INSTANCES_MAX)
            size = 1
        return size

    def _check_known(self) -> None:
        known = {role.name for role in self._tree.roles if role.size is not None}
        known |= {role.size.name for role in self._tree.roles if isinstance(role.size, ast.Symbol)}
        for item in all_statements(self._tree):
            if isinstance(item, ast.Loop) and isinstance(item.condition, ast.Count):
                known.add(str(item.condition.times))
        for name in self._counts:
            if name not in known:
                advice = did_you_mean(name, known, otherwise="declare it, or leave it out")
                self._report("unknown_binding", self._tree, name=name, advice=advice)

    # --- statements

    def _block(self, block: Block) -> Block:
        items: list[Statement] = []
        for statement in block.items:
            items += self._statement(statement)
        self._written += len(items)
        if self._written > STATEMENTS_MAX and not any(item.code == "binding_too_large" for item in self.problems):
            self._report("binding_too_large", block, limit=STATEMENTS_MAX)
        return replace(block, items=tuple(items))

    def _statement(self, statement: Statement) -> Sequence[Statement]:
        if self._written > STATEMENTS_MAX:
            return ()
        match statement:
            case ast.Send():
                return self._send(statement)
            case ast.Broadcast(sender=sender):
                return [replace(statement, sender=instance) for instance in self._instances(sender)]
            case ast.Choice(chooser=chooser):
                one = self._single(chooser)
                branches = tuple(replace(branch, body=self._block(branch.body)) for branch in statement.branches)
                return [replace(statement, chooser=one, branches=branches)]
            case ast.Loop(condition=condition):
                return [replace(statement, condition=self._condition(condition), body=self._block(statement.body))]
            case ast.Timeout(owner=owner):
                return [map_blocks(replace(statement, owner=self._single(owner)), self._block)]
            case ast.Case(decider=decider):
                one_or_none = self._single(decider) if decider is not None else None
                return [map_blocks(replace(statement, decider=one_or_none), self._block)]
            case ast.Handoff(target=target):
                return [replace(statement, target=self._single(target))]
            case ast.Let(expression=ast.Transfer() as transfer):
                moved = replace(transfer, source=self._single(transfer.source), target=self._single(transfer.target))
                return [map_blocks(replace(statement, expression=moved), self._block)]
            case _:
                return [map_blocks(statement, self._block)]

    def _send(self, send: ast.Send) -> Sequence[Statement]:
        senders, receivers = self._instances(send.sender), self._instances(send.receiver)
        if len(senders) > 1 and len(receivers) > 1:
            self._report("families_unpaired", send, sender=send.sender.name, receiver=send.receiver.name)
            return ()
        return [replace(send, sender=sender, receiver=receiver) for sender in senders for receiver in receivers]

    def _condition(self, condition: ast.LoopCondition) -> ast.LoopCondition:
        match condition:
            case ast.Decides(role=role):
                return replace(condition, role=self._single(role))
            case ast.Count(times=str() as symbol):
                if symbol not in self._counts:
                    self._report("unbound_symbol", condition, name=symbol)
                return replace(condition, times=max(0, self._counts.get(symbol, 0)))
            case _:
                return condition

    def _single(self, reference: RoleRef) -> RoleRef:
        instances = self._instances(reference)
        is_whole_family = reference.name in self._sizes and isinstance(reference.index, ast.Wildcard | None)
        if len(instances) > 1 or is_whole_family:
            self._report("family_chooser", reference, name=reference.name)
        return instances[0] if instances else reference

    def _instances(self, reference: RoleRef) -> Sequence[RoleRef]:
        """The concrete roles a reference stands for, ascending."""
        size = self._sizes.get(reference.name)
        if size is None:
            return (reference,)
        match reference.index:
            case ast.Concrete(number=number):
                numbers = range(number, number + 1)
            case ast.Symbol(name=symbol):
                at = self._index(symbol, reference)
                numbers = range(at, at + 1)
            case ast.Range(low=low, high=high):
                numbers = range(self._bound(low, reference), self._bound(high, reference))
                if not numbers:
                    self._report("reversed_range", reference, low=numbers.start, high=numbers.stop)
            case _:
                numbers = range(size)
        if numbers and numbers[-1] >= size:
            advice = f"the last one is `{reference.name}[{size - 1}]`"
            self._report(
                "index_out_of_range", reference, name=reference.name, index=numbers[-1], count=size, advice=advice
            )
            numbers = range(min(1, size))
        return [RoleRef(f"{reference.name}[{number}]", span=reference.span) for number in numbers]

    def _bound(self, bound: int | str, place: RoleRef) -> int:
        return bound if isinstance(bound, int) else self._index(bound, place)

    def _index(self, symbol: str, place: RoleRef) -> int:
        number = self._indices.get(symbol, self._counts.get(symbol))
        if number is None:
            self._report("unbound_symbol", place, name=symbol)
        return number or 0


def map_blocks(statement: Statement, change: Callable[[Block], Block]) -> Statement:
    """The statement with the blocks directly inside it changed."""
    match statement:
        case ast.Choice(branches=branches):
            return replace(statement, branches=tuple(replace(branch, body=change(branch.body)) for branch in branches))
        case ast.Case(branches=cases):
            return replace(statement, branches=tuple(replace(branch, body=change(branch.body)) for branch in cases))
        case ast.Loop(body=body) | ast.Rec(body=body):
            return replace(statement, body=change(body))
        case ast.Parallel(branches=blocks):
            return replace(statement, branches=tuple(change(block) for block in blocks))
        case ast.Timeout(on_cancel=on_cancel):
            return replace(
                statement,
                body=change(statement.body),
                on_timeout=change(statement.on_timeout),
                on_cancel=change(on_cancel) if on_cancel is not None else None,
            )
        case ast.Let(body=Block() as body):
            return replace(statement, body=change(body))
        case _:
            return statement

"""What parsing still decides after the grammar: which names there are, and that each is one.

Its problems belong to the text as much as a syntax error does. Whether the protocol makes sense is `validate.py`'s.
"""

from collections.abc import Iterator

from .. import ast
from ..ast import Block, Choreography, RoleRef, Statement
from ..errors import Problem
from ..node import Span, walk
from .diagnostics import did_you_mean, problem
from .receipts import check_receipts

COUNT_MAX = 10_000
INDEX_MAX = 9_999
RANGE_MAX = 1_000
LOOKALIKES_MAX = 50


def check_surface(tree: Choreography, *, is_whole: bool = True) -> list[Problem]:
    """Every problem with names and receipts. `is_whole` False: the text had errors, so what is missing may be there."""
    return [
        *_check_declared_roles(tree),
        *_check_references(tree),
        *_check_members(tree),
        *_check_protocols(tree, is_whole=is_whole),
        *_check_cases(tree, is_whole=is_whole),
        *(check_receipts(tree) if is_whole else ()),
    ]


def all_statements(tree: Choreography) -> Iterator[Statement]:
    """Every statement of the body, of the local protocols and of the operations."""
    yield from statements_of(tree.body)
    for local in tree.local_protocols:
        yield from statements_of(local.body)
    for declaration in tree.declarations:
        if isinstance(declaration, ast.Operation):
            yield from statements_of(declaration.body)


def statements_of(block: Block) -> Iterator[Statement]:
    """Every statement in and below a block, in source order."""
    waiting: list[Statement] = list(reversed(block.items))
    while waiting:
        statement = waiting.pop()
        yield statement
        for inner in reversed(ast.blocks_of(statement)):
            waiting.extend(reversed(inner.items))


def roles_named(statement: Statement) -> Iterator[RoleRef]:
    """The roles a statement itself names; not those of the blocks inside it."""
    match statement:
        case ast.Send(sender=sender, receiver=receiver):
            yield sender
            yield receiver
        case ast.Broadcast(sender=sender):
            yield sender
        case ast.Choice(chooser=chooser):
            yield chooser
        case ast.Loop(condition=ast.Decides(role=role)):
            yield role
        case ast.Timeout(owner=owner):
            yield owner
        case ast.Handoff(target=target):
            yield target
        case ast.Extension(roles=roles):
            yield from (RoleRef(role.partition("[")[0], span=statement.span) for role in roles)
        case ast.Let(expression=expression) | ast.Case(expression=expression):
            if isinstance(statement, ast.Case) and statement.decider is not None:
                yield statement.decider
            for node in walk(expression):
                if isinstance(node, ast.Transfer):
                    yield node.source
                    yield node.target
        case _:
            return


# --- roles --------------------------------------------------------------------------------------------------------


def _check_declared_roles(tree: Choreography) -> Iterator[Problem]:
    first: dict[str, Span] = {}
    for role in tree.roles:
        if role.name in first:
            yield problem("duplicate_role", role.span, name=role.name, line=first[role.name].line)
        first.setdefault(role.name, role.span)
        if isinstance(role.size, ast.Static):
            if role.size.count > COUNT_MAX:
                yield problem("count_too_large", role.size.span, limit=COUNT_MAX, count=role.size.count, name=role.name)
            elif role.size.count == 0:
                yield problem("empty_family", role.size.span, name=role.name)


def _check_references(tree: Choreography) -> Iterator[Problem]:
    roles = {role.name: role for role in tree.roles}
    advice: dict[str, str] = {}
    for reference in _references(tree):
        role = roles.get(reference.name)
        if role is None:
            if roles:  # without any role, that is the one problem
                if reference.name not in advice:
                    # Looking for look-alikes is the slow part; a text with this many is not one with a slip or two.
                    candidates = roles if len(advice) < LOOKALIKES_MAX else ()
                    otherwise = f"add `{reference.name}` to `roles`"
                    advice[reference.name] = did_you_mean(reference.name, candidates, otherwise=otherwise)
                yield problem("undefined_role", reference.span, name=reference.name, advice=advice[reference.name])
        elif reference.index is not None:
            yield from _check_index(reference, role)


def _references(tree: Choreography) -> Iterator[RoleRef]:
    for statement in all_statements(tree):
        yield from roles_named(statement)
    for declaration in tree.declarations:
        if isinstance(declaration, ast.Operation):
            yield declaration.owner


def _check_index(reference: RoleRef, role: ast.Role) -> Iterator[Problem]:
    index = reference.index
    count = role.size.count if isinstance(role.size, ast.Static) else None
    if role.size is None:
        yield problem("not_a_family", reference.span, name=role.name)
    elif isinstance(index, ast.Concrete):
        if index.number > INDEX_MAX:
            yield problem("index_too_large", index.span, limit=INDEX_MAX, index=index.number)
        elif count is not None and index.number >= count:
            yield _out_of_range(reference, index.number, count)
    elif isinstance(index, ast.Range) and isinstance(index.low, int) and isinstance(index.high, int):
        if index.low >= index.high:
            yield problem("reversed_range", index.span, low=index.low, high=index.high)
        elif index.high - index.low > RANGE_MAX:
            yield problem("range_too_long", index.span, limit=RANGE_MAX, count=index.high - index.low)
        elif count is not None and index.high > count:
            yield _out_of_range(reference, index.high - 1, count)


def _out_of_range(reference: RoleRef, number: int, count: int) -> Problem:
    advice = f"the last one is `{reference.name}[{count - 1}]`" if count else "give the family instances"
    return problem("index_out_of_range", reference.span, name=reference.name, index=number, count=count, advice=advice)


def _check_members(tree: Choreography) -> Iterator[Problem]:
    known = {role.name for role in tree.roles}
    known |= {item.name for item in tree.declarations if isinstance(item, ast.RoleSet | ast.RoleSubset | ast.Shape)}
    for item in tree.declarations:
        members: tuple[str, ...] = ()
        if isinstance(item, ast.RoleSet | ast.Shape):
            members = item.members
        elif isinstance(item, ast.RoleSubset):
            members = (item.source,)
            if item.low >= item.high:
                yield problem("reversed_range", item.span, low=item.low, high=item.high)
        for member in members:
            if member not in known:
                advice = did_you_mean(member, known, otherwise=f"add `{member}` to `roles`")
                yield problem("undeclared_member", item.span, name=member, advice=advice)


# --- local protocols ----------------------------------------------------------------------------------------------


def _check_protocols(tree: Choreography, *, is_whole: bool) -> Iterator[Problem]:
    first: dict[str, ast.LocalProtocol] = {}
    for local in tree.local_protocols:
        if local.name in first or local.name == tree.name:
            line = first[local.name].span.line if local.name in first else tree.span.line
            yield problem("duplicate_protocol", local.span, name=local.name, line=line)
        first.setdefault(local.name, local)
    calls: dict[str, list[ast.Call]] = {}
    for name, block in [("", tree.body), *((local.name, local.body) for local in tree.local_protocols)]:
        calls[name] = [item for item in statements_of(block) if isinstance(item, ast.Call)]
        for call in calls[name]:
            if call.protocol not in first and is_whole:
                advice = did_you_mean(call.protocol, first, otherwise=f"add `protocol {call.protocol} =` below `where`")
                if call.protocol == tree.name:
                    advice = "a protocol does not call itself; use `rec X` and `continue X`"
                yield problem("undefined_protocol", call.span, name=call.protocol, advice=advice)
    yield from _cycles(calls)


def _cycles(calls: dict[str, list[ast.Call]]) -> Iterator[Problem]:
    """One problem for each call that closes a circle; every protocol is entered once."""
    done: set[str] = set()
    for start in calls:
        path: list[str] = []
        waiting: list[tuple[str, int]] = [(start, 0)] if start not in done else []
        while waiting:
            name, place = waiting.pop()
            if place == 0:
                path.append(name)
            if place == len(calls[name]):
                path.pop()
                done.add(name)
                continue
            waiting.append((name, place + 1))
            call = calls[name][place]
            if call.protocol in path:
                circle = [*path[path.index(call.protocol) :], call.protocol]
                yield problem("recursive_call", call.span, cycle=" → ".join(circle))
            elif call.protocol in calls and call.protocol not in done:
                waiting.append((call.protocol, 0))


# --- case ---------------------------------------------------------------------------------------------------------

_PARTNERS = {"Ok": "Err", "Err": "Ok", "Just": "Nothing", "Nothing": "Just"}
_BINDERS = {"Ok": "(value)", "Err": "(error)", "Just": "(value)", "Nothing": ""}


def _check_cases(tree: Choreography, *, is_whole: bool) -> Iterator[Problem]:
    for statement in all_statements(tree):
        if not isinstance(statement, ast.Case):
            continue
        covered: set[str] = set()
        for branch in statement.branches:
            if branch.constructor in covered:
                yield problem("case_duplicate", branch.span, name=branch.constructor)
            covered.add(branch.constructor)
        for constructor in sorted(covered & set(_PARTNERS)):
            missing = _PARTNERS[constructor]
            if missing not in covered and is_whole:
                place = statement.expression.span
                yield problem("case_not_exhaustive", place, missing=missing, binder=_BINDERS[missing])

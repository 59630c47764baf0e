"""A role's local actions performed: `let`, `publish`, `materialize`, `handoff`, `dependent work`.

They send nothing. What they bind goes into the context in which guards are evaluated; what they tell goes to whoever
runs the role, as records. Decides nothing about when: the machine says after which exchange each is due.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, TypeAlias

from antiphon.choreography import ast
from antiphon.choreography.guards import GuardUndecided, value_in

from .errors import ActionFailed
from .guarding import Effects

ActionKind: TypeAlias = Literal["let", "publish", "publish as", "materialize", "handoff", "dependent work"]


class LocalRecord(NamedTuple):
    """What a role did by itself: the kind of action, what it is about, and the value; for a handoff its receipt."""

    kind: ActionKind
    name: str
    value: object = None
    # Whom a handoff is for, and what dependent work is required for.
    to: str = ""


OnLocal: TypeAlias = Callable[[LocalRecord], Awaitable[None]]


class Receipt(NamedTuple):
    """What a transfer gives: it is used once, by a handoff."""

    subject: str
    source: str
    target: str


async def perform(statement: ast.Statement, context: dict[str, object], effects: Effects) -> LocalRecord | None:
    """Perform one action and bind what it binds; None for a statement that is none.

    Raises ``ActionFailed``, and nothing is bound then.
    """
    try:
        match statement:
            case ast.Let(name=name, expression=expression):
                context[name] = value = await _value(expression, context, effects)
                return LocalRecord("let", name, value)
            case ast.Publish(event=event, argument=argument):
                return LocalRecord("publish", event, await _argument(argument, context, effects))
            case ast.PublishAuthority(witness=witness, name=name):
                context[name] = value = await _value(witness, context, effects)
                return LocalRecord("publish as", name, value)
            case ast.Materialize(proof=proof, publication=publication):
                context[proof] = value = _bound(publication, context)
                return LocalRecord("materialize", proof, value)
            case ast.Handoff(operation=operation, target=target, receipt=receipt):
                value = _bound(receipt, context)
                del context[receipt]
                return LocalRecord("handoff", operation, value, target.name)
            case ast.DependentWork(name=name, argument=argument, operation=operation):
                return LocalRecord("dependent work", name, await _argument(argument, context, effects), operation)
            case _:
                return None
    except GuardUndecided as problem:
        raise ActionFailed(type(statement).__name__, str(problem)) from problem


async def _argument(argument: ast.Expression | None, context: dict[str, object], effects: Effects) -> object:
    return None if argument is None else await _value(argument, context, effects)


async def _value(expression: ast.Expression, context: dict[str, object], effects: Effects) -> object:
    match expression:
        case ast.EffectCall(interface=interface, operation=operation, arguments=arguments):
            name = f"{interface}.{operation}"
            effect = effects.get(name)
            if effect is None:
                raise ActionFailed("Let", f"the effect {name} is not registered; give it to the endpoint's effects")
            return await effect(*(value_in(argument, context) for argument in arguments))
        case ast.Transfer(subject=subject, source=source, target=target):
            return Receipt(subject, source.name, target.name)
        case _:
            return value_in(expression, context)


def _bound(name: str, context: dict[str, object]) -> object:
    if name not in context:
        raise ActionFailed("name", f"{name} is not bound; the action that binds it was another role's, or is to come")
    return context[name]

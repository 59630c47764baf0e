"""The value of a branch's guard in a context of names: the one place that says what `when (…)` means.

Calls no effect: whoever runs a protocol does, and puts what it returned into the context.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .ast import Apply, Binary, Constant, EffectCall, Expression, Item, Member, Name, Not, Transfer
from .deep import Deep, run_deep

# What may be compared with what is looked at where they are used.
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NUMBERS = (int, float)


class GuardUndecided(ValueError):
    """A guard has no value in this context: a name is not given, or not of the right kind."""


def holds(expression: Expression, context: Mapping[str, object]) -> bool:
    """Whether a guard's expression is true, given what its names stand for.

    A name is looked up in the context; `a.b` is a key of a mapping or an attribute, `f(x)` calls what the context has
    under `f`. `&&` and `||` stop as soon as they are decided. Nothing is converted: `when (count)` is undecided for a
    number. Raises GuardUndecided, and whatever a called function raises.

    Example: `holds(guard.expression, {"price": 20, "budget": 30})` for `when (price <= budget)` is True.
    """
    return _truth(value_in(expression, context), expression)


def value_in(expression: Expression, context: Mapping[str, object]) -> object:
    """What an expression stands for; see `holds`."""
    return run_deep(_value(expression, context))


def _value(node: Expression, context: Mapping[str, object]) -> Deep[object]:
    match node:
        case Constant(value=value):
            return value
        case Name(name=name):
            if name not in context:
                raise GuardUndecided(f"{name} is not given; the context has {', '.join(sorted(context)) or 'nothing'}")
            return context[name]
        case Member(target=target, name=name):
            owner: object = yield _value(target, context)
            return _member(owner, name)
        case Item(target=target, index=index):
            items: object = yield _value(target, context)
            place: object = yield _value(index, context)
            return _item(items, place)
        case Apply(function=function, arguments=arguments):
            called: object = yield _value(function, context)
            values: list[object] = []
            for argument in arguments:
                values.append((yield _value(argument, context)))
            if not callable(called):
                raise GuardUndecided(f"{called!r} is called and is no function")
            return called(*values)
        case Not(operand=operand):
            negated: object = yield _value(operand, context)
            return not _truth(negated, operand)
        case Binary():
            answer: bool = yield _binary(node, context)
            return answer
        case EffectCall() | Transfer():
            raise GuardUndecided("an effect is no part of a predicate; write `when check …` instead")


def _binary(node: Binary, context: Mapping[str, object]) -> Deep[bool]:
    left: object = yield _value(node.left, context)
    if node.operator in ("&&", "||"):
        is_decided = _truth(left, node.left) == (node.operator == "||")
        if is_decided:
            return node.operator == "||"
        right: object = yield _value(node.right, context)
        return _truth(right, node.right)
    other: object = yield _value(node.right, context)
    if node.operator in ("==", "!="):
        return (left == other) == (node.operator == "==")
    return _compared(node.operator, left, other)


def _compared(sign: str, left: object, right: object) -> bool:
    are_numbers = isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS)
    are_alike = are_numbers or type(left) is type(right)
    if isinstance(left, bool) or isinstance(right, bool) or not are_alike:
        raise GuardUndecided(f"{left!r} and {right!r} have no order: one is {type(left).__name__}")
    try:
        return _COMPARISONS[sign](left, right)
    except TypeError as problem:
        raise GuardUndecided(f"{left!r} and {right!r} have no order") from problem


def _truth(value: object, node: Expression) -> bool:
    if not isinstance(value, bool):
        raise GuardUndecided(
            f"{type(node).__name__.lower()} is {value!r}, not true or false; compare it with something"
        )
    return value


def _member(owner: object, name: str) -> object:
    if isinstance(owner, Mapping) and name in owner:
        return owner[name]
    # Identifiers of the language never begin with an underscore, so nothing private is in reach.
    if not hasattr(owner, name):
        raise GuardUndecided(f"{type(owner).__name__} has no {name}")
    member: object = getattr(owner, name)
    return member


def _item(items: object, place: object) -> object:
    try:
        if isinstance(items, Mapping):
            found: object = items[place]
        elif isinstance(items, Sequence) and isinstance(place, int):
            found = items[place]
        else:
            raise GuardUndecided(f"{type(items).__name__} has no item {place!r}")
    except (IndexError, KeyError) as problem:
        raise GuardUndecided(f"there is no item {place!r}") from problem
    return found

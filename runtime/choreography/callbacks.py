"""The callback style: a role as an object whose methods are called when it is their turn.

    on_<label>(message)             a message arrived, or a label alone (then without an argument)
    send_<label>()                  the only message that may be sent: returns it
    decide_<label>_or_<label>()     returns the message to send, or the text of a label that travels alone

A method may be a coroutine or a plain one: what it returns is awaited when it can be.
What the methods are is told by the role's machine alone, so a missing one is found before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import isawaitable
from typing import Any, NamedTuple, TypeAlias

from antiphon.choreography import StateMachine
from antiphon.choreography.ast import TypeExpression
from antiphon.choreography.fsm import State
from antiphon.choreography.stubs import StubPlan, plan_stubs

from .endpoint import Clock, Endpoint
from .errors import MissingCallback
from .handler import label_of, value_of

Callback: TypeAlias = Callable[..., object]


class CallbackNeeded(NamedTuple):
    """A method that a role may need: its name, and whether it is given a message."""

    name: str
    takes_message: bool


def callbacks_of(machine: StateMachine) -> tuple[CallbackNeeded, ...]:
    """Every method that a role's callbacks must have, in the order of the text."""
    found: dict[str, CallbackNeeded] = {}
    for state in machine.states:
        for one in _needed(state):
            found.setdefault(one.name, one)
    return tuple(found.values())


def callbacks_stub(
    name: str,
    machines: Sequence[StateMachine],
    *,
    messages_from: str,
    aliases: Mapping[str, TypeExpression] | None = None,
) -> str:
    """The text of a module with one ``Protocol`` a role, which says to a type checker what its callbacks must be.

    The messages are those that ``antiphon stubs`` declares, in the module *messages_from*. Same machines, same text.
    """
    plan = plan_stubs(name, machines, aliases=aliases)
    classes = [_callbacks_class(plan, machine) for machine in machines]
    body = "\n\n".join(classes)
    used = [one for one in sorted(set(plan.messages.values())) if re.search(rf"\b{one}\b", body)]
    imports = f"from {messages_from} import {', '.join(used)}\n" if used else ""
    head = f'"""Callbacks of {name}, one class a role; for `antiphon.runtime.choreography.drive`."""'
    return f"{head}\n\nfrom typing import Literal, Protocol\n\n{imports}\n\n{body}"


def _callbacks_class(plan: StubPlan, machine: StateMachine) -> str:
    methods: dict[str, set[str]] = {}
    takes: dict[str, set[str]] = {}
    for state in machine.states:
        for one in state.transitions:
            name = plan.messages.get((machine.role, state.number, one.label))
            if state.kind == "recv":
                takes.setdefault(f"on_{_word(one.label)}", set()).update([name] if one.message and name else [])
            elif state.kind == "send":
                alone = f"Literal[{one.label!r}]"
                methods.setdefault(_turn(state), set()).add(name if one.message and name else alone)
    role = re.sub(r"\W+", "_", machine.role).strip("_")
    lines = [f"class {role}Callbacks(Protocol):"]
    for needed in callbacks_of(machine):
        if needed.name in methods:
            lines.append(f"    async def {needed.name}(self) -> {' | '.join(sorted(methods[needed.name]))}: ...")
        else:
            kinds = " | ".join(sorted(takes[needed.name]))
            lines.append(f"    async def {needed.name}(self{f', message: {kinds}' if kinds else ''}) -> object: ...")
    return "\n".join(lines if len(lines) > 1 else [*lines, "    pass"]) + "\n"


def _needed(state: State) -> Iterable[CallbackNeeded]:
    if state.kind == "recv":
        return [CallbackNeeded(f"on_{_word(one.label)}", one.message is not None) for one in state.transitions]
    if state.kind == "send":
        return [CallbackNeeded(_turn(state), False)]
    return []


def _turn(state: State) -> str:
    words = [_word(one.label) for one in state.transitions]
    return f"send_{words[0]}" if len(words) == 1 else f"decide_{'_or_'.join(words)}"


def _word(label: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", label).lower().strip("_")


async def drive(endpoint: Endpoint[Any], callbacks: object) -> None:
    """Play a role to its end by calling the methods of *callbacks*. Clocks run around timed parts by themselves.

    Raises ``MissingCallback`` at once, with every method that is missing, and what endpoint and methods raise.
    """
    machine = endpoint.plan.machine
    missing = [one.name for one in callbacks_of(machine) if not callable(getattr(callbacks, one.name, None))]
    if missing:
        raise MissingCallback(endpoint.role, missing)
    async with endpoint:
        await _drive_until(endpoint, callbacks, None)


async def _drive_until(endpoint: Endpoint[Any], callbacks: object, clock: Clock[Any] | None) -> None:
    states = endpoint.plan.machine.states
    while not endpoint.is_done:
        state = states[endpoint.state]
        if clock is not None and clock.number not in state.timed_by:
            return
        if state.kind == "timeout":
            async with endpoint.timeout() as inner:
                await _drive_until(endpoint, callbacks, inner)
        elif state.kind == "send":
            await _take_turn(endpoint, state, getattr(callbacks, _turn(state)))
        else:
            label, message = await endpoint.offer(state.partner)
            method: Callback = getattr(callbacks, f"on_{_word(label)}")
            await _answer(method(message) if _has_message(state, label) else method())


async def _answer(called: object) -> object:
    return await called if isawaitable(called) else called


async def _take_turn(endpoint: Endpoint[Any], state: State, method: Callback) -> None:
    answer = await _answer(method())
    alone = next((one for one in state.transitions if one.message is None and one.label == answer), None)
    if alone is not None:
        await endpoint.choose(state.partner, alone.label)
        return
    # The one message there is may be plain data; of several the class, or a Labelled, says which.
    is_named = label_of(answer) in {one.label for one in state.transitions}
    label = label_of(answer) if is_named or len(state.transitions) > 1 else state.transitions[0].label
    await endpoint.send(state.partner, value_of(answer), label=label)


def _has_message(state: State, label: str) -> bool:
    return any(one.label == label and one.message is not None for one in state.transitions)

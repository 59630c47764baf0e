"""Typed stubs: one Python class for each state of each role, so that a type checker follows the protocol.

A right client type-checks; sending in the wrong order, forgetting a branch or sending the wrong payload does not. The
text is a `.pyi`; what runs behind these names is `runtime/`'s. Checks nothing itself.
"""

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from . import ast
from .dsl.format import format_duration
from .fsm import State, StateMachine, Transition
from .local import type_text

_INTEGERS = frozenset(
    {"u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "nat", "int", "Int"}
)
_SCALARS = {
    **dict.fromkeys(_INTEGERS, "_b.int"),
    **dict.fromkeys(("f32", "f64", "real", "float"), "_b.float"),
    **dict.fromkeys(("String", "str", "string"), "_b.str"),
    **dict.fromkeys(("bool", "Bool"), "_b.bool"),
    "bytes": "_b.bytes",
    "Unit": "None",
}
_CONTAINERS = {"List": "_b.list", "Vec": "_b.list", "Set": "_b.set", "Map": "_b.dict", "Dict": "_b.dict"}
# Names a generated module needs for itself; the language's identifiers never begin with an underscore.
_HEAD = "import builtins as _b\nimport dataclasses as _d\nimport typing as _t\n"


@dataclass(slots=True)
class _Names:
    """Python names for the things of a protocol, each its own."""

    taken: set[str] = field(default_factory=set)

    def fresh(self, wanted: str) -> str:
        """The wanted name made an identifier, with a number behind it when it is taken."""
        base = re.sub(r"\W+", "_", wanted).strip("_") or "Name"
        base = f"{base}_" if keyword.iskeyword(base) or keyword.issoftkeyword(base) else base
        name, number = base, 2
        while name in self.taken:
            name, number = f"{base}_{number}", number + 1
        self.taken.add(name)
        return name


class StubPlan(NamedTuple):
    """The Python names of a protocol's roles, states, outcomes, messages and opaque types: what stubs declare.

    States are keyed by role and number, outcomes and messages by role, state and label. `kinds` are the messages by
    their Python names.
    """

    roles: Mapping[str, str]
    states: Mapping[tuple[str, int], str]
    outcomes: Mapping[tuple[str, int, str], str]
    messages: Mapping[tuple[str, int, str], str]
    kinds: Mapping[str, ast.Message]
    types: Mapping[str, str]


def plan_stubs(
    name: str, machines: Sequence[StateMachine], *, aliases: Mapping[str, ast.TypeExpression] | None = None
) -> StubPlan:
    """The names that `generate_stubs` gives to these roles of a protocol, for what runs behind them."""
    return _Generator(name, machines, aliases or {}, "").plan()


def generate_stubs(
    name: str,
    machines: Sequence[StateMachine],
    *,
    aliases: Mapping[str, ast.TypeExpression] | None = None,
    source: str = "",
) -> str:
    """The `.pyi` text for these roles of a protocol. Same machines, same text; O(states).

    `aliases` are the type aliases declared in the protocol's file. In the text, a role `Guest` begins as `Guest`, the
    class of its first state; every method returns the next state's class.
    """
    return _Generator(name, machines, aliases or {}, source).text()


class _Generator:
    def __init__(
        self, name: str, machines: Sequence[StateMachine], aliases: Mapping[str, ast.TypeExpression], source: str
    ) -> None:
        self._name = name
        self._machines = machines
        self._aliases = aliases
        self._source = source
        self._names = _Names()
        self._roles = {machine.role: self._names.fresh(machine.role) for machine in machines}
        self._states = {
            (machine.role, state.number): self._names.fresh(f"{self._roles[machine.role]}_S{state.number}")
            for machine in machines
            for state in machine.states
        }
        self._messages: dict[tuple[str, str | None], str] = {}
        self._message_text: list[str] = []
        self._types: dict[str, str] = {}
        for machine in machines:
            for one in _transitions(machine):
                if one.message is not None:
                    self._message(one)
        self._outcomes = {
            (machine.role, state.number, one.label): self._names.fresh(
                f"{self._states[machine.role, state.number]}_{one.label}"
            )
            for machine in machines
            for state in machine.states
            if _is_offered(state)
            for one in state.transitions
        }

    def plan(self) -> "StubPlan":
        """The names alone."""
        messages = {
            (machine.role, state.number, one.label): self._message(one)
            for machine in self._machines
            for state in machine.states
            for one in state.transitions
            if one.message is not None
        }
        kinds = {
            self._message(one): one.message
            for machine in self._machines
            for one in _transitions(machine)
            if one.message is not None
        }
        types = {python: text for text, python in self._types.items()}
        return StubPlan(self._roles, self._states, self._outcomes, messages, kinds, types)

    def text(self) -> str:
        """The whole file."""
        states = [
            text for machine in self._machines for state in machine.states for text in self._state(machine, state)
        ]
        starts = [f"{self._roles[one.role]}: _t.TypeAlias = {self._states[one.role, 0]}\n" for one in self._machines]
        origin = f" from {self._source}" if self._source else ""
        opening = _quoted(
            f"Generated by `antiphon stubs`{origin}: protocol {self._name}. One class a state; edit the protocol."
        )
        types = [f"class {python}:\n    {_quoted(text)}\n" for text, python in self._types.items()]
        return "\n".join([f"{opening}\n", _HEAD, *types, *self._message_text, *states, *starts])

    # --- messages

    def _message(self, one: Transition) -> str:
        key = (one.message.name if one.message else one.label, type_text(one.payload))
        known = self._messages.get(key)
        if known is None:
            known = self._messages[key] = self._names.fresh(key[0])
            self._message_text.append(self._message_class(known, one))
        return known

    def _message_class(self, python: str, one: Transition) -> str:
        names = _Names()
        fields = [f"    {names.fresh(name)}: {kind}" for name, kind in self._fields(one)]
        return "\n".join(["@_d.dataclass(frozen=True)", f"class {python}:", *(fields or ["    ..."])]) + "\n"

    def _fields(self, one: Transition) -> Iterator[tuple[str, str]]:
        message = one.message
        if message is None:
            return
        if message.type is not None:
            yield "value", self._type(message.type)
        items = message.payload.fields if message.payload else ()
        unnamed = [item for item in items if item.name is None]
        for item in items:
            if item.name is not None:
                yield item.name, self._type(item.type)
            elif len(unnamed) == 1 and message.type is None:
                yield "value", self._type(item.type)
            else:
                yield f"value_{unnamed.index(item) + 1}", self._type(item.type)

    def _type(self, written: ast.TypeExpression, depth: int = 0) -> str:
        if isinstance(written, ast.RecordType):
            return "_b.dict[_b.str, _b.object]"
        name = ".".join(written.path)
        arguments = [self._type(argument, depth + 1) for argument in written.arguments]
        if name in _SCALARS and not arguments:
            return _SCALARS[name]
        # An alias of an alias of itself ends here.
        if name in self._aliases and depth < 16:
            return self._type(self._aliases[name], depth + 1)
        if name in _CONTAINERS and arguments:
            return f"{_CONTAINERS[name]}[{', '.join(arguments)}]"
        if name in ("Maybe", "Option") and len(arguments) == 1:
            return f"{arguments[0]} | None"
        if name == "Result" and len(arguments) == 2:
            return " | ".join(dict.fromkeys(reversed(arguments)))
        if name not in self._types:
            self._types[name] = self._names.fresh(written.path[-1])
        return self._types[name]

    # --- states

    def _state(self, machine: StateMachine, state: State) -> Iterator[str]:
        python = self._states[machine.role, state.number]
        head = f"class {python}:\n    {_quoted(_describe(machine, state))}\n"
        if state.number == 0:
            head += "    def __init__(self, endpoint: _b.object) -> None: ...\n"
        match state.kind:
            case "send":
                yield head + self._sends(machine, state)
            case "recv":
                if _is_offered(state):
                    yield from self._offer(machine, state, head)
                else:
                    yield head + self._recv(machine, state.transitions[0])
            case "timeout":
                yield head + "".join(self._part(machine, one) for one in state.transitions)
            case "final":
                yield f"{head}    def close(self) -> None: ...\n"

    def _sends(self, machine: StateMachine, state: State) -> str:
        messages = [
            f"async def send(self, to: _t.Literal[{_literal(one.partner)}], message: {self._message(one)}) "
            f"-> {self._next(machine, one)}: ..."
            for one in state.transitions
            if one.message is not None
        ]
        labels = [
            f"async def choose(self, to: _t.Literal[{_literal(one.partner)}], "
            f"label: _t.Literal[{_literal(one.label)}]) -> {self._next(machine, one)}: ..."
            for one in state.transitions
            if one.message is None
        ]
        return "".join(f"    {line}\n" for line in [*_overloaded(messages), *_overloaded(labels)])

    def _recv(self, machine: StateMachine, one: Transition) -> str:
        pair = f"tuple[{self._message(one)}, {self._next(machine, one)}]"
        return f"    async def recv(self, sender: _t.Literal[{_literal(one.partner)}]) -> _b.{pair}: ...\n"

    def _offer(self, machine: StateMachine, state: State, head: str) -> Iterator[str]:
        outcomes: list[str] = []
        for one in state.transitions:
            name = self._outcomes[machine.role, state.number, one.label]
            outcomes.append(name)
            message = "None" if one.message is None else self._message(one)
            yield (
                f"@_d.dataclass(frozen=True)\nclass {name}:\n"
                f"    label: _t.Literal[{_literal(one.label)}]\n    msg: {message}\n"
                f"    next: {self._next(machine, one)}\n"
            )
        sender = _literal(state.partner)
        yield f"{head}    async def offer(self, sender: _t.Literal[{sender}]) -> {' | '.join(outcomes)}: ...\n"

    def _part(self, machine: StateMachine, one: Transition) -> str:
        method = {"body": "begin", "timeout": "timed_out", "cancel": "cancelled"}[one.kind]
        return f"    async def {method}(self) -> {self._next(machine, one)}: ...\n"

    def _next(self, machine: StateMachine, one: Transition) -> str:
        return self._states[machine.role, one.target]


def _is_offered(state: State) -> bool:
    """Whether a role hears a label first: several may come, or one alone."""
    return state.kind == "recv" and (len(state.transitions) > 1 or state.transitions[0].message is None)


def _transitions(machine: StateMachine) -> Iterator[Transition]:
    for state in machine.states:
        yield from state.transitions


def _overloaded(definitions: list[str]) -> Iterable[str]:
    """Several signatures are overloads; one is just a method, and a checker wants it so."""
    if len(definitions) < 2:
        return definitions
    return [line for definition in definitions for line in ("@_t.overload", definition)]


def _describe(machine: StateMachine, state: State) -> str:
    if state.kind == "final":
        return f"{machine.role} is done."
    if state.kind == "timeout":
        return f"{format_duration(state.milliseconds or 0)} on {state.owner}'s clock."
    verb = "sends" if state.kind == "send" else "receives"
    labels = " or ".join(one.label for one in state.transitions)
    return f"{machine.role} {verb} {labels} {'to' if state.kind == 'send' else 'from'} {state.partner}."


def _quoted(text: str) -> str:
    return '"""' + text.replace("\\", "\\\\").replace('"', "'") + '"""'


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

"""A role's machine with the classes of its messages, looked up once: what many sessions of one role share.

The machine alone says what is allowed; this remembers its answers.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from antiphon.choreography import CompiledProtocol, GuardCommand, StateMachine, Transition, Violation
from antiphon.choreography.annotations import guard_commands
from antiphon.choreography.ast import Guard, TypeExpression
from antiphon.choreography.merge import Step
from antiphon.choreography.payloads import PayloadShape, Strictness, class_fault, payload_fault, payload_shape
from antiphon.facts import LocalViolation

from .errors import ProtocolViolation

# Classes under their own names, or under the labels they travel under.
Messages: TypeAlias = Iterable[type[object]] | Mapping[str, type[object]]


@dataclass(frozen=True, slots=True)
class Way:
    """One exchange that is allowed in one state, and all there is to know about it."""

    step: Step
    target: int
    transition: Transition
    kind: type[object] | None
    shape: PayloadShape | None
    commands: tuple[GuardCommand, ...]
    # The fields of bytes in what travels as plain data; a class reads its own.
    bytes_fields: tuple[str, ...]
    # No guard, no annotation, and nothing to look at beyond the class: the way that must be quick.
    is_plain: bool

    @property
    def guard(self) -> Guard | None:
        """When a chooser may go this way."""
        return self.transition.guard

    def read(self, message: object) -> object:
        """Plain data with its bytes, which travel as base64; what is no base64 stays as it is."""
        names = self.bytes_fields
        if not names:
            return message
        if isinstance(message, Mapping):
            return {key: _bytes_of(found) if key in names else found for key, found in message.items()}
        return _bytes_of(message) if names == ("value",) else message

    @property
    def is_message(self) -> bool:
        """Whether a message travels, and not a label alone."""
        return self.shape is not None


class RolePlan:
    """What one role may do in each state. Made once, shared by all its sessions; O(what they visit)."""

    def __init__(
        self,
        machine: StateMachine,
        *,
        protocol: str = "",
        messages: Messages = (),
        aliases: Mapping[str, TypeExpression] | None = None,
        strictness: Strictness = "structural",
    ) -> None:
        self.machine = machine
        self.role = machine.role
        self.protocol = protocol
        self.strictness = strictness
        # Where timed parts begin: they are entered through a block, which learns how they end.
        self.clocks = frozenset(one.number for one in machine.states if one.kind == "timeout")
        self.ends = frozenset(machine.finals)
        self._aliases = aliases or {}
        self._kinds = classes_by_label(messages)
        self._sends: dict[tuple[int, str, str], Way] = {}
        self._receives: dict[tuple[int, str], dict[str, Way]] = {}
        self._bodies: dict[int, dict[str, dict[str, bool]]] = {}
        # The labels under which this role sends what its annotations want guarded.
        self.guarded_labels = tuple(
            sorted(
                {
                    one.label
                    for state in machine.states
                    for one in state.transitions
                    if one.kind == "send" and one.annotations is not None and guard_commands(one.annotations, self.role)
                }
            )
        )
        self._check_classes()

    @classmethod
    def of(
        cls, protocol: CompiledProtocol, role: str, *, messages: Messages = (), strictness: Strictness = "structural"
    ) -> RolePlan:
        """The plan of a protocol's role. Raises ``LocalViolation`` for a role or a class that does not belong."""
        _check_protocol(protocol)
        machine = protocol.fsm.get(role)
        if machine is None:
            raise LocalViolation(f"{protocol.name} has no role {role!r}; it has {', '.join(protocol.roles)}")
        name, aliases = protocol.qualified_name, protocol.aliases
        return cls(machine, protocol=name, messages=messages, aliases=aliases, strictness=strictness)

    def send(self, state: int, to: str, label: str) -> Way:
        """The way a send takes. Raises ``ProtocolViolation``."""
        way = self._sends.get((state, to, label))
        return way if way is not None else self._learn_send(state, Step("send", to, label))

    def receives(self, state: int, sender: str) -> dict[str, Way]:
        """What may come from *sender* in a state, by label; empty when nothing may."""
        ways = self._receives.get((state, sender))
        return ways if ways is not None else self._learn_receives(state, sender)

    def labels_of_body(self, clock: int) -> dict[str, dict[str, bool]]:
        """What a timed part's body may bring: by sender and label, whether a message travels."""
        found = self._bodies.get(clock)
        if found is None:
            found = self._bodies[clock] = {}
            for state in self.machine.states:
                if state.kind == "recv" and clock in state.timed_by:
                    labels = {one.label: one.message is not None for one in state.transitions}
                    found.setdefault(state.partner, {}).update(labels)
        return found

    def expected(self, state: int) -> tuple[Step, ...]:
        """Every exchange allowed in a state; in a timeout state, that of its body."""
        return tuple(step for one in self.machine.own(state) if (step := one.step) is not None)

    def fault(self, way: Way, value: object) -> str | None:
        """Why a value may not travel this way, or None."""
        if way.shape is None:
            return None if value is None else "a label that travels alone carries nothing"
        if way.kind is not None and not isinstance(value, way.kind):
            return f"{type(value).__name__}, not {way.kind.__name__}"
        return payload_fault(way.shape, value, self.strictness)

    def _learn_send(self, state: int, step: Step) -> Way:
        transition = self.machine.find(state, step)
        if transition is None:
            raise ProtocolViolation.of(Violation(self.role, state, step, self.expected(state)))
        way = self._sends[state, step.partner, step.label] = self._way(step, transition)
        return way

    def _learn_receives(self, state: int, sender: str) -> dict[str, Way]:
        ways: dict[str, Way] = {}
        for transition in self.machine.own(state):
            step = transition.step
            if step is not None and step.direction == "recv" and step.partner == sender:
                ways[step.label] = self._way(step, transition)
        self._receives[state, sender] = ways
        return ways

    def _way(self, step: Step, transition: Transition) -> Way:
        message = transition.message
        annotations = transition.annotations
        is_sent = step.direction == "send"
        commands = guard_commands(annotations, self.role) if annotations is not None and is_sent else ()
        kind = self._kinds.get(step.label) if message is not None else None
        shape = payload_shape(message, self._aliases) if message is not None else None
        is_looked_at = shape is not None and self.strictness != "off" and (kind is None or _has_bounds(shape))
        fields = shape.fields if shape is not None and kind is None else ()
        bytes_fields = tuple(one.name for one in fields if one.scalar is not None and one.scalar.name == "bytes")
        is_plain = (
            not commands
            and transition.guard is None
            and not transition.before
            and message is not None
            and not is_looked_at
        )
        return Way(step, transition.target, transition, kind, shape, commands, bytes_fields, is_plain)

    def _check_classes(self) -> None:
        transitions = [one for state in self.machine.states for one in state.transitions if one.message is not None]
        for one in transitions:
            kind = self._kinds.get(one.label)
            assert one.message is not None, "filtered above"
            fault = class_fault(payload_shape(one.message, self._aliases), kind) if kind is not None else None
            if fault is not None and self.strictness != "off":
                raise LocalViolation(f"{one.label} of {self.role}: {fault}; give it the fields that the protocol names")


def _has_bounds(shape: PayloadShape) -> bool:
    """Whether a scalar of the shape says more than a Python class can: a u8 is an int, and not every int."""
    return any(one.scalar is not None and one.scalar.low is not None for one in shape.fields)


def _bytes_of(found: object) -> object:
    if not isinstance(found, str):
        return found
    try:
        return b64decode(found, altchars=b"-_", validate=True)
    except ValueError:
        return found


def classes_by_label(messages: Messages) -> dict[str, type[object]]:
    """Classes by the labels they travel under."""
    if isinstance(messages, Mapping):
        return dict(messages)
    for kind in messages:
        _check_class(kind)
    return {kind.__name__: kind for kind in messages}


def _check_class(kind: object) -> None:
    if not isinstance(kind, type):
        raise LocalViolation(f"messages are classes, or a mapping from labels to classes; got {kind!r:.100}")


def _check_protocol(protocol: object) -> None:
    if not isinstance(protocol, CompiledProtocol):
        raise LocalViolation(f"expected what compile_choreography(text) returned; got {protocol!r:.100}")

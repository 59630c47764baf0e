"""A role's machine with the classes of its messages, looked up once: what many sessions of one role share.

The machine alone says what is allowed; this remembers its answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from antiphon.choreography import CompiledProtocol, GuardCommand, StateMachine, Transition, Violation
from antiphon.choreography.annotations import guard_commands
from antiphon.choreography.ast import Guard, TypeAliasDeclaration, TypeExpression
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
    # The timeout state whose `on timeout` or `on cancel` begins here; None for an ordinary step.
    clock: int | None
    # No guard, no annotation, and nothing to look at beyond the class: the way that must be quick.
    is_plain: bool

    @property
    def guard(self) -> Guard | None:
        """When a chooser may go this way."""
        return self.transition.guard

    @property
    def is_message(self) -> bool:
        """Whether a message travels, and not a label alone."""
        return self.shape is not None

    def _at(self, clock: int) -> Way:
        return replace(self, clock=clock)


_NOBODY: dict[str, dict[str, Way]] = {}


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
        # Timed parts whose clock is this role's: entered through a block, or the clock would not run.
        self.clocks = frozenset(
            one.number for one in machine.states if one.kind == "timeout" and one.owner == machine.role
        )
        # Where a role may stop: done, or with nothing to do but in `on timeout`: nobody tells it of a body in time.
        self.ends = frozenset(one.number for one in machine.states if self._is_end(one.number))
        self._aliases = aliases or {}
        self._kinds = classes_by_label(messages)
        self._sends: dict[tuple[int, str, str], Way] = {}
        self._receives: dict[tuple[int, str], dict[str, Way]] = {}
        # Who may tell that a clock fired, and with which labels, in a state inside a timed part of another role.
        self._tellers: dict[int, dict[str, dict[str, Way]]] = {}
        self._is_timed = any(one.kind == "timeout" and one.owner != machine.role for one in machine.states)
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
        aliases = {
            one.name: one.type for one in protocol.choreography.declarations if isinstance(one, TypeAliasDeclaration)
        }
        return cls(machine, protocol=protocol.qualified_name, messages=messages, aliases=aliases, strictness=strictness)

    def send(self, state: int, to: str, label: str) -> Way:
        """The way a send takes. Raises ``ProtocolViolation``."""
        way = self._sends.get((state, to, label))
        return way if way is not None else self._learn_send(state, Step("send", to, label))

    def receives(self, state: int, sender: str) -> dict[str, Way]:
        """What may come from *sender* in a state, by label; empty when nothing may."""
        ways = self._receives.get((state, sender))
        return ways if ways is not None else self._learn_receives(state, sender)

    def tellers(self, state: int) -> dict[str, dict[str, Way]]:
        """Owners of clocks that run in a state, with the first words of what follows when they fire."""
        if not self._is_timed:
            return _NOBODY
        found = self._tellers.get(state)
        return found if found is not None else self._learn_tellers(state)

    def first_words(self, clock: int, sender: str) -> dict[str, Way]:
        """What the owner of a clock says first when it fired or was cancelled, to a role that left the body before."""
        found: dict[str, Way] = {}
        for part in self.machine.states[clock].transitions[1:]:
            target = self.machine.states[part.target]
            for one in target.transitions:
                if one.kind == "recv" and one.partner == sender:
                    found[one.label] = self._way(part.target, Step("recv", sender, one.label), one)._at(clock)
        return found

    def expected(self, state: int) -> tuple[Step, ...]:
        """Every exchange allowed in a state."""
        return self.machine.expected(state)

    def fault(self, way: Way, value: object) -> str | None:
        """Why a value may not travel this way, or None."""
        if way.shape is None:
            return None if value is None else "a label that travels alone carries nothing"
        if way.kind is not None and not isinstance(value, way.kind):
            return f"a {type(value).__name__}, not a {way.kind.__name__}"
        return payload_fault(way.shape, value, self.strictness)

    def _is_end(self, number: int) -> bool:
        state = self.machine.states[number]
        while state.kind == "timeout" and state.owner != self.role:
            state = self.machine.states[state.transitions[0].target]
        return state.kind == "final"

    def _learn_tellers(self, state: int) -> dict[str, dict[str, Way]]:
        found: dict[str, dict[str, Way]] = {}
        for partner in {step.partner for step in self.expected(state) if step.direction == "recv"}:
            late = {label: way for label, way in self.receives(state, partner).items() if way.clock is not None}
            if late:
                found[partner] = late
        self._tellers[state] = found
        return found

    def _learn_send(self, state: int, step: Step) -> Way:
        transition = self.machine.find(state, step)
        if transition is None:
            raise ProtocolViolation.of(Violation(self.role, state, step, self.expected(state)))
        way = self._sends[state, step.partner, step.label] = self._way(state, step, transition)
        return way

    def _learn_receives(self, state: int, sender: str) -> dict[str, Way]:
        ways: dict[str, Way] = {}
        for step in self.expected(state):
            transition = self.machine.find(state, step)
            if step.direction == "recv" and step.partner == sender and transition is not None:
                ways[step.label] = self._way(state, step, transition)
        self._receives[state, sender] = ways
        return ways

    def _way(self, state: int, step: Step, transition: Transition) -> Way:
        message = transition.message
        annotations = transition.annotations
        is_sent = step.direction == "send"
        commands = guard_commands(annotations, self.role) if annotations is not None and is_sent else ()
        kind = self._kinds.get(step.label) if message is not None else None
        shape = payload_shape(message, self._aliases) if message is not None else None
        is_looked_at = shape is not None and self.strictness != "off" and (kind is None or _has_bounds(shape))
        is_plain = not commands and transition.guard is None and message is not None and not is_looked_at
        return Way(step, transition.target, transition, kind, shape, commands, self._clock(state, transition), is_plain)

    def _clock(self, state: int, transition: Transition) -> int | None:
        """The clock whose late part a transition begins, seen from a state inside its body."""
        here = self.machine.states[state]
        clocks = here.timed_by if here.kind != "timeout" else (state, *here.timed_by)
        for clock in clocks:
            for way in self.machine.states[clock].transitions[1:]:
                if any(one is transition for one in self.machine.states[way.target].transitions):
                    return clock
        return None

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

"""The state machine of a local type: what a role may do next, and the one place that says so.

`StateMachine.step` is pure; endpoints, stubs, monitors and simulators ask it and nothing else. Performs nothing: local
actions are listed on the transition after which they are due.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from .annotations import MessageAnnotations
from .ast import Guard, Message, Statement
from .core import ValueType
from .local import (
    LocalAct,
    LocalBranch,
    LocalBuilder,
    LocalEnd,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
    type_text,
)
from .merge import Step
from .node import JsonValue

# A machine is held in memory whole; a counted loop of a million rounds is run with a counter, not as a machine.
STATES_MAX = 100_000

StateKind: TypeAlias = Literal["send", "recv", "timeout", "final"]
EdgeKind: TypeAlias = Literal["send", "recv", "body", "timeout", "cancel"]


@dataclass(frozen=True, slots=True)
class Transition:
    """One way out of a state. `actions` are the role's local actions between this exchange and its next one, `before`
    those of a sender that has chosen this way and not sent yet.

    `kind` is send or recv with partner and label; or a part of a timeout: body (entered), timeout, cancel.
    """

    kind: EdgeKind
    target: int
    partner: str = ""
    label: str = ""
    payload: ValueType | None = None
    message: Message | None = None
    annotations: MessageAnnotations | None = None
    guard: Guard | None = None
    outcome: str | None = None
    condition: str | None = None
    actions: tuple[Statement, ...] = ()
    before: tuple[Statement, ...] = ()

    @property
    def step(self) -> Step | None:
        """The exchange, or None when this is a part of a timeout."""
        if self.kind == "send" or self.kind == "recv":
            return Step(self.kind, self.partner, self.label)
        return None

    def __str__(self) -> str:
        if self.kind in ("send", "recv"):
            return f"{'!' if self.kind == 'send' else '?'}{self.partner} {self.label}"
        return {"body": "in time", "timeout": "clock fires", "cancel": "cancelled"}[self.kind]


@dataclass(frozen=True, slots=True)
class State:
    """One state. All exchanges of a state go one way with one partner.

    A timeout state has `owner`, `milliseconds` and `participants` (every role in it), and `tail` is the state
    in which its clock stops (None: unknown).
    `timed_by` are the timeout states whose clock runs here, innermost first.
    """

    number: int
    kind: StateKind
    transitions: tuple[Transition, ...] = ()
    owner: str = ""
    milliseconds: int = 0
    tail: int | None = None
    timed_by: tuple[int, ...] = ()
    participants: tuple[str, ...] = ()

    @property
    def partner(self) -> str:
        """The other end of every exchange of this state; empty when there is none."""
        return self.transitions[0].partner if self.transitions else ""

    def part(self, kind: EdgeKind) -> Transition | None:
        """The way into a part of a timeout state."""
        return next((one for one in self.transitions if one.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Violation:
    """An action that the protocol does not allow here, and what it does."""

    role: str
    state: int
    action: Step
    expected: tuple[Step, ...]

    def __str__(self) -> str:
        tried = show_step(self.action)
        allowed = " or ".join(show_step(step) for step in self.expected) or "nothing: the protocol is over for it"
        return f"{self.role} may not {tried} in state {self.state}; expected: {allowed}"


def show_step(step: Step) -> str:
    """A step in words."""
    way = "to" if step.direction == "send" else "from"
    return f"{'send' if step.direction == 'send' else 'receive'} {step.label} {way} {step.partner}"


@dataclass(frozen=True, slots=True)
class StateMachine:
    """A role's states; the first is where it begins, `initial_actions` are due before anything is exchanged.

    Example: `machine.step(0, Step("send", "Hotel", "Ask"))` is the next state's number, or a `Violation`.
    """

    role: str
    states: tuple[State, ...]
    initial_actions: tuple[Statement, ...] = ()
    _moves: dict[tuple[int, Step], Transition] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        moves = {
            (state.number, step): one
            for state in self.states
            for one in state.transitions
            if (step := one.step) is not None
        }
        object.__setattr__(self, "_moves", moves)

    @property
    def finals(self) -> tuple[int, ...]:
        """The states in which the role is done."""
        return tuple(state.number for state in self.states if state.kind == "final")

    def is_final(self, state: int) -> bool:
        """Whether the role is done in this state."""
        return self.states[state].kind == "final"

    def expected(self, state: int) -> tuple[Step, ...]:
        """Every exchange allowed in a state, in the order of the text; in a timeout state, that of its body."""
        here = self._entered(state)
        found = [one.step for one in self.states[here].transitions]
        late = [
            way.step
            for way in self._ways_out(state)
            for way in self.states[way.target].transitions
            if way.kind == "recv"
        ]
        return tuple(dict.fromkeys(step for step in [*found, *late] if step is not None))

    def own(self, state: int) -> tuple[Transition, ...]:
        """The exchanges of a state itself, or of the body that a timeout state begins with."""
        return self.states[self._entered(state)].transitions

    def find(self, state: int, action: Step) -> Transition | None:
        """The transition an exchange takes, or None when it is not allowed.

        In a timeout state its body is entered on the way. Where another role's clock runs, the first message of
        `on timeout` or `on cancel` is accepted too: that is how this role learns that the clock fired.
        """
        found = self._moves.get((self._entered(state), action))
        if found is None and action.direction == "recv":
            late = (self._moves.get((self._entered(way.target), action)) for way in self._ways_out(state))
            found = next((one for one in late if one is not None), None)
        return found

    def step(self, state: int, action: Step) -> int | Violation:
        """The state after an exchange, or why it is not allowed. O(1)."""
        found = self.find(state, action)
        return Violation(self.role, state, action, self.expected(state)) if found is None else found.target

    def to_json(self) -> dict[str, JsonValue]:
        """States and transitions as data."""
        return {
            "role": self.role,
            "initial": 0,
            "finals": list(self.finals),
            "states": [
                {
                    "number": state.number,
                    "kind": state.kind,
                    **({"role": state.owner, "after_ms": state.milliseconds} if state.kind == "timeout" else {}),
                    "transitions": [_transition_json(one) for one in state.transitions],
                }
                for state in self.states
            ],
        }

    def _repr_svg_(self) -> str:
        # Loaded when a notebook shows a machine: nothing else needs pictures.
        from .draw import machine_svg

        return machine_svg(self)

    def _entered(self, state: int) -> int:
        while self.states[state].kind == "timeout":
            state = self.states[state].transitions[0].target
        return state

    def _ways_out(self, state: int) -> Iterator[Transition]:
        here = self.states[state]
        clocks = here.timed_by if here.kind != "timeout" else (state, *here.timed_by)
        for clock in clocks:
            if self.states[clock].owner != self.role:
                yield from self.states[clock].transitions[1:]


def _transition_json(one: Transition) -> dict[str, JsonValue]:
    shown: dict[str, JsonValue] = {"kind": one.kind, "target": one.target}
    if one.kind in ("send", "recv"):
        shown |= {"partner": one.partner, "label": one.label, "type": type_text(one.payload)}
    return shown


# --- building -----------------------------------------------------------------------------------------------------

_Head: TypeAlias = tuple[tuple[Statement, ...], int]  # what is due on the way to a state, and the state
_Heads: TypeAlias = Mapping[str, _Head]


class _Running(NamedTuple):
    """A timeout state whose clock runs, and the node where it stops."""

    number: int
    tail: LocalType | None


_Clocks: TypeAlias = tuple[_Running, ...]


def build_machine(role: str, root: LocalType, *, states_max: int = STATES_MAX) -> StateMachine:
    """The state machine of a local type; O(states). Counted loops are unrolled.

    Raises ValueError when a loop variable is unbound or there would be more than `states_max` states.
    """
    return _Building(states_max).build(role, root)


class _Building:
    def __init__(self, states_max: int) -> None:
        self._builder = LocalBuilder()
        self._states_max = states_max
        self._numbers: dict[object, int] = {}
        self._waiting: list[tuple[int, LocalType, _Heads, _Clocks]] = []
        self._states: dict[int, State] = {}

    def build(self, role: str, root: LocalType) -> StateMachine:
        actions, _ = self._enter(self._builder.adopt(root), {}, ())
        while self._waiting:
            number, node, heads, clocks = self._waiting.pop()
            self._states[number] = self._state(number, node, heads, clocks)
        states = tuple(self._states[number] for number in range(len(self._states)))
        return StateMachine(role, _renumbered(states), actions)

    def _enter(self, node: LocalType, heads: _Heads, clocks: _Clocks) -> _Head:
        """The state that a node stands for, made if it is new, and what is due on the way to it.

        *clocks* are those that run before it; one stops where its tail begins, and so do all inside it.
        """
        actions: list[Statement] = []
        loops: dict[str, int] = {}
        while True:
            clocks = next((clocks[:at] for at, clock in enumerate(clocks) if clock.tail is node), clocks)
            if isinstance(node, LocalAct):
                actions.append(node.action)
                node = node.continuation
            elif isinstance(node, LocalRec):
                loops[node.name] = len(actions)
                node = node.body
            elif isinstance(node, LocalRepeat):
                node = self._builder.unfold(node)
            elif isinstance(node, LocalVar):
                if node.name not in heads:
                    raise ValueError(f"loop variable {node.name!r} is not bound")
                due, number = heads[node.name]
                return (*actions, *due), number
            else:
                break
        number = self._number(node, actions, loops, heads, () if isinstance(node, LocalEnd) else clocks)
        return tuple(actions), number

    def _number(
        self, node: LocalType, actions: list[Statement], loops: dict[str, int], heads: _Heads, clocks: _Clocks
    ) -> int:
        free = self._builder.free_in(node)
        here = {name: tuple(actions[start:]) for name, start in loops.items() if name in free}
        around = {name: heads[name] for name in free if name in heads and name not in here}
        # Actions are told apart by what they are, states by their number.
        key = (id(node), frozenset(here.items()), frozenset(around.items()), tuple(clock.number for clock in clocks))
        known = self._numbers.get(key)
        if known is not None:
            return known
        number = self._numbers[key] = len(self._numbers)
        if number >= self._states_max:
            raise ValueError(
                f"more than {self._states_max:,} states; a long counted loop is run with a counter instead"
            )
        inside = around | {name: (due, number) for name, due in here.items()}
        self._waiting.append((number, node, inside, clocks))
        return number

    def _state(self, number: int, node: LocalType, heads: _Heads, clocks: _Clocks) -> State:
        timed_by = tuple(clock.number for clock in reversed(clocks))
        match node:
            case LocalSend(partner=partner, branches=branches):
                ways = tuple(self._exchange("send", partner, one, heads, clocks) for one in branches)
                return State(number, "send", ways, timed_by=timed_by)
            case LocalRecv(partner=partner, branches=branches):
                ways = tuple(self._exchange("recv", partner, one, heads, clocks) for one in branches)
                return State(number, "recv", ways, timed_by=timed_by)
            case LocalTimeout():
                parts: list[tuple[EdgeKind, LocalType | None]] = [
                    ("body", node.body),
                    ("timeout", node.on_timeout),
                    ("cancel", node.on_cancel),
                ]
                inside = (*clocks, _Running(number, node.tail))
                edges = tuple(
                    self._edge(kind, part, heads, inside if kind == "body" else clocks)
                    for kind, part in parts
                    if part is not None
                )
                tail = None if node.tail is None else self._enter(node.tail, heads, clocks)[1]
                return State(number, "timeout", edges, node.owner, node.milliseconds, tail, timed_by, node.participants)
            case LocalEnd():
                return State(number, "final")
            case _:
                raise AssertionError(f"{type(node).__name__} is no state")

    def _edge(self, kind: EdgeKind, part: LocalType, heads: _Heads, clocks: _Clocks) -> Transition:
        actions, target = self._enter(part, heads, clocks)
        return Transition(kind, target, actions=actions)

    def _exchange(
        self, kind: EdgeKind, partner: str, branch: LocalBranch, heads: _Heads, clocks: _Clocks
    ) -> Transition:
        actions, target = self._enter(branch.continuation, heads, clocks)
        return Transition(
            kind,
            target,
            partner,
            branch.label,
            branch.payload,
            branch.message,
            branch.annotations,
            branch.guard,
            branch.outcome,
            branch.condition,
            actions,
            branch.before,
        )


def _renumbered(states: tuple[State, ...]) -> tuple[State, ...]:
    """The reachable states, numbered in the order in which a reader meets them."""
    order: dict[int, int] = {0: 0}
    waiting = [0]
    for number in waiting:
        for one in states[number].transitions:
            if one.target not in order:
                order[one.target] = len(order)
                waiting.append(one.target)
    return tuple(_moved(states[old], order) for old in order)


def _moved(state: State, order: Mapping[int, int]) -> State:
    transitions = tuple(replace(one, target=order[one.target]) for one in state.transitions)
    # A tail that the parts never reach is no place where a clock stops.
    tail = None if state.tail is None else order.get(state.tail)
    timed_by = tuple(order[clock] for clock in state.timed_by)
    return replace(state, number=order[state.number], transitions=transitions, tail=tail, timed_by=timed_by)

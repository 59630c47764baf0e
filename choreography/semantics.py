"""What may happen next: small steps of a global type, and of projected roles with queues between them.

Communication is asynchronous: for every ordered pair of roles a first-in first-out queue. A step of one is matched by
a step of the other; `tests/choreography/test_semantics.py` says so for random protocols. Explores nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from .core import (
    Branch,
    Comm,
    Custom,
    End,
    GlobalType,
    Local,
    Parallel,
    Rec,
    Repeat,
    Var,
    children_first,
    free_variables,
    nodes_below,
    replace_successors,
    size,
    substitute,
    successors,
)
from .deep import Deep, run_deep
from .fsm import State, StateMachine, build_machine
from .local import LocalType


class Move(NamedTuple):
    """One small step: `sender` puts a label into its queue to `receiver`, or `receiver` takes it out.

    For a clock, `sender` is its owner, `receiver` is who learns of it and the label is body, timeout or cancel.
    """

    kind: Literal["send", "recv", "clock"]
    sender: str
    receiver: str
    label: str

    @property
    def subject(self) -> str:
        """Who moves."""
        return self.receiver if self.kind == "recv" or (self.kind == "clock" and self.receiver) else self.sender

    def __str__(self) -> str:
        if self.kind == "clock":
            return f"{self.sender}'s clock: {self.label}{f', {self.receiver} learns it' if self.receiver else ''}"
        return f"{self.sender} -> {self.receiver} {'!' if self.kind == 'send' else '?'} {self.label}"


# --- global types -------------------------------------------------------------------------------------------------


# The mark of a sender whose message is under way. No role has it in its name.
_SENT = " (sent)"


# Counted loops of more steps than this, all rounds together, are a mistake or are run with a counter.
WRITTEN_MAX = 100_000


def sequential(root: GlobalType) -> GlobalType:
    """The same protocol without par, counted loops and local actions: branches one after the other, rounds unrolled.

    Since different roles wait for nothing but messages, this has every run the projections have. Costs the unrolled
    size; raises ValueError when that is more than `WRITTEN_MAX` nodes.
    """
    done: dict[int, GlobalType] = {}
    written = 0
    for node in children_first(root):
        after = tuple(done[id(following)] for following in successors(node))
        match node:
            case Parallel():
                *parts, result = after
                for part in reversed(parts):
                    result = _followed(part, result)
            case Repeat(count=count):
                written += count * size(after[0])
                if written > WRITTEN_MAX:
                    raise ValueError(f"counted loops of more than {WRITTEN_MAX:,} steps are not written out")
                result = after[1]
                for _ in range(count):
                    result = _followed(after[0], result)
            case Local() | Custom():
                result = after[0]
            case _:
                result = replace_successors(node, after)
        done[id(node)] = result
    return done[id(root)]


def _followed(first: GlobalType, then: GlobalType) -> GlobalType:
    done: dict[int, GlobalType] = {}
    for node in children_first(first):
        after = tuple(done[id(following)] for following in successors(node))
        done[id(node)] = then if isinstance(node, End) else replace_successors(node, after)
    return done[id(first)]


def global_moves(state: GlobalType) -> tuple[Move, ...]:
    """Every step a protocol may make next, in the order of the text. `state` is `sequential` and has no timeouts."""
    return tuple(move for move in _candidates(state) if global_step(state, move) is not None)


def global_step(state: GlobalType, move: Move) -> GlobalType | None:
    """The protocol after a step, messages under way included; None when it may not make it.

    Example: from A→B hello, `Move("send", "A", "B", "hello")` is followed by `Move("recv", "A", "B", "hello")`.
    """
    after: _Stepped | None = run_deep(_step(state, move, {}))
    return None if after is None or not after.is_made else after.node


def _candidates(state: GlobalType) -> Iterator[Move]:
    """The steps that stand somewhere in the protocol, each once; `global_step` says which may be made now."""
    found: set[Move] = set()
    for node in nodes_below(state):
        if not isinstance(node, Comm):
            continue
        for branch in node.branches:
            move = Move("send", node.sender, node.receiver, branch.label)
            if node.sender.endswith(_SENT):
                move = Move("recv", node.sender.removesuffix(_SENT), node.receiver, branch.label)
            if move not in found:
                found.add(move)
                yield move


class _Stepped(NamedTuple):
    """What a part of the protocol became, and whether the move was made in it on any way through."""

    node: GlobalType
    is_made: bool


def _step(node: GlobalType, move: Move, opened: Mapping[str, Rec]) -> Deep[_Stepped | None]:
    """`opened` are the loops entered on the way: to come back to the head of one without having moved means that the
    move is made in whichever round comes."""
    match node:
        case Comm():
            exchanged: _Stepped | None = yield _step_comm(node, move, opened)
            return exchanged
        case Rec(name=name):
            body: _Stepped | None = yield _step(node.body, move, {**opened, name: node})
            return None if body is None else _Stepped(_closed(f"{name}'", body.node, node), body.is_made)
        case Var(name=name) if name in opened:
            return _Stepped(Var(f"{name}'"), False)
        case _:
            return None


def _closed(name: str, stepped: GlobalType, original: Rec) -> GlobalType:
    """After the move the loop is the old one; where the loop comes round before it, the move is still to be had."""
    body = substitute(stepped, original.name, original)
    return Rec(name, body) if name in free_variables(body) else body


def _step_comm(node: Comm, move: Move, opened: Mapping[str, Rec]) -> Deep[_Stepped | None]:
    sender = node.sender.removesuffix(_SENT)
    is_sent = sender != node.sender
    if (move.sender, move.receiver) == (sender, node.receiver) and (move.kind == "recv") == is_sent:
        taken = next((branch for branch in node.branches if branch.label == move.label), None)
        if taken is None:
            return None
        if is_sent:
            return _Stepped(taken.continuation, True)
        under_way = Branch(taken.label, taken.payload, taken.continuation)
        return _Stepped(Comm(f"{sender}{_SENT}", node.receiver, (under_way,)), True)
    # The receiver does nothing else before, and neither does a sender that has not sent.
    if move.subject == node.receiver or (move.subject == sender and not is_sent):
        return None
    branches: list[Branch] = []
    is_made = False
    for branch in node.branches:
        after: _Stepped | None = yield _step(branch.continuation, move, opened)
        if after is None:
            return None
        is_made = is_made or after.is_made
        branches.append(Branch(branch.label, branch.payload, after.node))
    return _Stepped(Comm(node.sender, node.receiver, tuple(branches)), is_made)


# --- projected roles ----------------------------------------------------------------------------------------------


class Configuration(NamedTuple):
    """Where every role is and what every queue holds; `queues` and `clocks` have one tuple for each ordered pair."""

    states: tuple[int, ...]
    queues: tuple[tuple[str, ...], ...]
    clocks: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """An ordered pair of roles with a queue from one to the other."""

    sender: str
    receiver: str


class LocalSystem:
    """Projected roles that run together, each queue at most `bound` long (None: unbounded).

    A timeout's outcome is decided when its owner enters it and told to the other roles in it by a clock queue of its
    own: a body that is given up half way is not explored.
    """

    def __init__(self, roles: Mapping[str, LocalType], *, bound: int | None = None) -> None:
        self.bound = bound
        self.machines: tuple[StateMachine, ...] = tuple(build_machine(role, view) for role, view in roles.items())
        self.roles = tuple(roles)
        self._index = {role: number for number, role in enumerate(self.roles)}
        self.pairs = tuple(_pairs(self.machines))
        self._pair_index = {(pair.sender, pair.receiver): number for number, pair in enumerate(self.pairs)}
        listening: dict[str, list[str]] = {}
        for machine in self.machines:
            for owner in {state.owner for state in machine.states if state.kind == "timeout"} - {machine.role}:
                listening.setdefault(owner, []).append(machine.role)
        self.clock_pairs = tuple(Pair(owner, role) for owner, roles_ in listening.items() for role in roles_)
        self._clock_index = {(pair.sender, pair.receiver): number for number, pair in enumerate(self.clock_pairs)}

    @property
    def initial(self) -> Configuration:
        """Nobody has done anything."""
        return Configuration((0,) * len(self.roles), ((),) * len(self.pairs), ((),) * len(self.clock_pairs))

    def moves(self, at: Configuration) -> Iterator[tuple[Move, Configuration]]:
        """Every step some role may make, with what follows."""
        for number, machine in enumerate(self.machines):
            state = machine.states[at.states[number]]
            match state.kind:
                case "send":
                    yield from self._sends(at, number)
                case "recv":
                    yield from self._receives(at, number)
                case "timeout":
                    yield from self._clock(at, number)
                case _:
                    pass

    def step(self, at: Configuration, move: Move) -> Configuration | None:
        """What follows a step; None when it may not be made."""
        return next((after for found, after in self.moves(at) if found == move), None)

    def is_final(self, at: Configuration) -> bool:
        """Whether every role is done."""
        return all(machine.is_final(state) for machine, state in zip(self.machines, at.states, strict=True))

    def waiting(self, at: Configuration) -> dict[str, str]:
        """What every role that is not done waits for, in words; a full queue is said to be one."""
        return {
            machine.role: self._awaited(at, machine, machine.states[state])
            for machine, state in zip(self.machines, at.states, strict=True)
            if not machine.is_final(state)
        }

    def _awaited(self, at: Configuration, machine: StateMachine, state: State) -> str:
        awaited = " or ".join(str(one) for one in state.transitions)
        if state.kind != "send" or self.bound is None:
            return awaited
        queue = at.queues[self._pair_index[machine.role, state.partner]]
        return awaited if len(queue) < self.bound else f"room for {awaited} in a queue of {self.bound}"

    def front(self, at: Configuration, role: int) -> tuple[str, str] | None:
        """The sender and label of the message a receiving role would take next; None when there is none."""
        state = self.machines[role].states[at.states[role]]
        queue = at.queues[self._pair_index[state.partner, self.roles[role]]] if state.kind == "recv" else ()
        return (state.partner, queue[0]) if queue else None

    def _sends(self, at: Configuration, number: int) -> Iterator[tuple[Move, Configuration]]:
        state = self.machines[number].states[at.states[number]]
        pair = self._pair_index[self.roles[number], state.partner]
        queue = at.queues[pair]
        if self.bound is not None and len(queue) >= self.bound:
            return
        for one in state.transitions:
            queues = _replaced(at.queues, pair, (*queue, one.label))
            move = Move("send", self.roles[number], state.partner, one.label)
            yield move, Configuration(_replaced(at.states, number, one.target), queues, at.clocks)

    def _receives(self, at: Configuration, number: int) -> Iterator[tuple[Move, Configuration]]:
        state = self.machines[number].states[at.states[number]]
        pair = self._pair_index[state.partner, self.roles[number]]
        queue = at.queues[pair]
        one = next((one for one in state.transitions if queue and one.label == queue[0]), None)
        if one is not None:
            queues = _replaced(at.queues, pair, queue[1:])
            move = Move("recv", state.partner, self.roles[number], one.label)
            yield move, Configuration(_replaced(at.states, number, one.target), queues, at.clocks)

    def _clock(self, at: Configuration, number: int) -> Iterator[tuple[Move, Configuration]]:
        role = self.roles[number]
        state = self.machines[number].states[at.states[number]]
        if role == state.owner:
            told = self._told(number, state.number)
            if self.bound is not None and any(len(at.clocks[pair]) >= self.bound for pair in told):
                return
            for one in state.transitions:
                clocks = tuple((*queue, one.kind) if pair in told else queue for pair, queue in enumerate(at.clocks))
                move = Move("clock", role, "", one.kind)
                yield move, Configuration(_replaced(at.states, number, one.target), at.queues, clocks)
            return
        pair = self._clock_index[state.owner, role]
        queue = at.clocks[pair]
        outcome = next((one for one in state.transitions if queue and one.kind == queue[0]), None)
        if outcome is not None:
            move = Move("clock", state.owner, role, outcome.kind)
            clocks = _replaced(at.clocks, pair, queue[1:])
            yield move, Configuration(_replaced(at.states, number, outcome.target), at.queues, clocks)

    def _told(self, number: int, state: int) -> frozenset[int]:
        role = self.roles[number]
        there = self.machines[number].states[state].participants
        return frozenset(
            pair for (owner, listener), pair in self._clock_index.items() if owner == role and listener in there
        )


def _pairs(machines: Sequence[StateMachine]) -> Iterator[Pair]:
    seen: dict[tuple[str, str], None] = {}
    for machine in machines:
        for state in machine.states:
            if state.kind == "send":
                seen.setdefault((machine.role, state.partner))
            elif state.kind == "recv":
                seen.setdefault((state.partner, machine.role))
    for sender, receiver in seen:
        yield Pair(sender, receiver)


_Item = TypeVar("_Item")


def _replaced(items: tuple[_Item, ...], place: int, item: _Item) -> tuple[_Item, ...]:
    return (*items[:place], item, *items[place + 1 :])

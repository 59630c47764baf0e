"""Exploration: every run of the projected roles up to a bound, and what goes wrong in any of them.

Finds deadlocks, labels that nobody expected, messages that nobody takes, and roles kept from finishing for ever. What
comes from projecting one protocol has none of these; what was written by hand may. Simulates no time and no network.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .fsm import StateMachine
from .local import LocalType
from .semantics import Configuration, LocalSystem, Move

FaultKind: TypeAlias = Literal["deadlock", "unexpected", "orphan", "starved"]

# Enough for every protocol of ten messages at any interleaving; more is said to be incomplete.
CONFIGURATIONS_MAX = 100_000
# Two messages in a queue already show every order that a first-in first-out queue allows to matter.
QUEUE_BOUND = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: the shortest run that leads there, and who is left doing what.

    deadlock: somebody waits and nobody can move · unexpected: the next label is none the receiver knows ·
    orphan: all are done and a message is left · starved: a role that could finish never will, whatever it is sent.
    """

    kind: FaultKind
    trace: tuple[Move, ...]
    waiting: Mapping[str, str]
    message: str

    def __str__(self) -> str:
        run = ", ".join(str(move) for move in self.trace) or "the very start"
        return f"{self.kind}: {self.message}; after {run}"


@dataclass(frozen=True, slots=True)
class Exploration:
    """What exploring found. `is_complete` is False when the limit was met first: then no news is not good news.

    `queue_lengths` is the longest each queue became; one as long as the bound might become longer without it.
    """

    configurations: int
    is_complete: bool
    faults: tuple[Fault, ...]
    queue_lengths: Mapping[tuple[str, str], int]
    bound: int

    @property
    def is_safe(self) -> bool:
        """Whether everything was looked at and nothing was wrong."""
        return self.is_complete and not self.faults

    @property
    def saturated(self) -> tuple[tuple[str, str], ...]:
        """The queues that were as long as the bound allows."""
        return tuple(pair for pair, length in self.queue_lengths.items() if length >= self.bound)


_Parents: TypeAlias = dict[Configuration, tuple[Configuration, Move] | None]


def explore(
    roles: Mapping[str, LocalType], *, bound: int = QUEUE_BOUND, limit: int = CONFIGURATIONS_MAX
) -> Exploration:
    """Every reachable configuration, shortest runs first; one fault of each kind and place is reported.

    Costs O(configurations × roles). Raises ValueError when `bound` or `limit` is less than 1, and when a role has too
    many states to be held. Example: `explore({"A": …, "B": …}).is_safe`.
    """
    if bound < 1 or limit < 1:
        raise ValueError(f"a queue holds at least one message and a limit is at least 1, got {bound} and {limit}")
    system = LocalSystem(roles, bound=bound)
    parents: _Parents = {system.initial: None}
    leading: dict[Configuration, list[Configuration]] = {}
    waiting = deque([system.initial])
    faults: dict[object, Fault] = {}
    lengths = [0] * len(system.pairs)
    is_complete = True
    while waiting:
        at = waiting.popleft()
        lengths = [max(length, len(queue)) for length, queue in zip(lengths, at.queues, strict=True)]
        has_moved = False
        for move, after in system.moves(at):
            has_moved = True
            leading.setdefault(after, []).append(at)
            if after not in parents:
                if len(parents) >= limit:
                    is_complete = False
                    continue
                parents[after] = (at, move)
                waiting.append(after)
        _look(system, at, has_moved, parents, faults)
    if is_complete and not faults:
        _find_starved(system, parents, leading, faults)
    pairs = {(pair.sender, pair.receiver): length for pair, length in zip(system.pairs, lengths, strict=True)}
    return Exploration(len(parents), is_complete, tuple(faults.values()), pairs, bound)


def _look(
    system: LocalSystem, at: Configuration, has_moved: bool, parents: _Parents, faults: dict[object, Fault]
) -> None:
    for number, role in enumerate(system.roles):
        front = system.front(at, number)
        state = system.machines[number].states[at.states[number]]
        if front is not None and front[1] not in {one.label for one in state.transitions}:
            message = f"{role} gets {front[1]} from {front[0]} and expects {system.waiting(at)[role]}"
            faults.setdefault(
                ("unexpected", number, state.number, front), _fault("unexpected", system, at, parents, message)
            )
    if has_moved:
        return
    left = [
        f"{label} from {pair.sender} to {pair.receiver}"
        for pair, queue in zip(system.pairs, at.queues, strict=True)
        for label in queue
    ]
    if not system.is_final(at):
        waits = "; ".join(f"{role} waits for {what}" for role, what in system.waiting(at).items())
        faults.setdefault(("deadlock", at.states), _fault("deadlock", system, at, parents, waits))
    elif left:
        faults.setdefault(
            ("orphan", at.queues), _fault("orphan", system, at, parents, f"nobody takes {', '.join(left)}")
        )


def _fault(kind: FaultKind, system: LocalSystem, at: Configuration, parents: _Parents, message: str) -> Fault:
    return Fault(kind, _trace(at, parents), system.waiting(at), message)


def _trace(at: Configuration, parents: _Parents) -> tuple[Move, ...]:
    moves: list[Move] = []
    before = parents[at]
    while before is not None:
        moves.append(before[1])
        before = parents[before[0]]
    return tuple(reversed(moves))


def _find_starved(
    system: LocalSystem,
    parents: _Parents,
    leading: Mapping[Configuration, list[Configuration]],
    faults: dict[object, Fault],
) -> None:
    """Roles that some configuration keeps from finishing for ever, though what they wait for could lead to their end.

    A role that went into a loop without an exit, as its protocol says, is not kept from anything.
    """
    for number, machine in enumerate(system.machines):
        hoping = _hoping(machine)
        settled = [at for at in parents if machine.is_final(at.states[number]) or at.states[number] not in hoping]
        reaching = set(settled)
        while settled:
            for before in leading.get(settled.pop(), ()):
                if before not in reaching:
                    reaching.add(before)
                    settled.append(before)
        lost = next((at for at in parents if at not in reaching), None)
        if lost is not None:
            message = f"{machine.role} could finish and from here never will"
            faults[("starved", number)] = _fault("starved", system, lost, parents, message)


def _hoping(machine: StateMachine) -> frozenset[int]:
    """The states from which a machine by itself may come to an end."""
    leading: dict[int, list[int]] = {}
    for state in machine.states:
        for one in state.transitions:
            leading.setdefault(one.target, []).append(state.number)
    waiting = list(machine.finals)
    found = set(waiting)
    while waiting:
        for before in leading.get(waiting.pop(), ()):
            if before not in found:
                found.add(before)
                waiting.append(before)
    return frozenset(found)

"""Simulation: one run of the projected roles, every step picked by a function that the caller gives.

Looks at one order of events where exploration looks at all. Knows no dice, time or network: a timeout's outcome is
picked like any other step, when its owner enters it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from .exploring import QUEUE_BOUND
from .local import LocalType
from .semantics import Configuration, LocalSystem, Move

# ended: every role is done and every message taken · steps: the limit was met first · stuck: nobody can move.
RunOutcome: TypeAlias = Literal["ended", "steps", "stuck"]

# More than a person reads, and far less than a protocol that never ends.
STEPS_MAX = 1000


class RunEvent(NamedTuple):
    """One thing that happens to `role`; a choice stands before the send that announces it and is no step of its own.

    `partner` is the other end of a message; for a timeout it is the owner of the clock, empty when that is the role
    itself, and `label` is body (in time), timeout or cancel. `options` are the labels that a choice was made from.
    """

    kind: Literal["choice", "send", "receive", "timeout"]
    role: str
    partner: str
    label: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        match self.kind:
            case "choice":
                return f"{self.role} chooses {self.label} from {', '.join(self.options)}"
            case "send":
                return f"{self.role} sends {self.label} to {self.partner}"
            case "receive":
                return f"{self.role} receives {self.label} from {self.partner}"
            case "timeout":
                outcome = {"body": "in time", "timeout": "the clock fires", "cancel": "cancelled"}[self.label]
                return (
                    f"{self.role} learns of {self.partner}'s timeout: {outcome}"
                    if self.partner
                    else (f"{self.role}'s timeout: {outcome}")
                )


@dataclass(frozen=True, slots=True)
class Run:
    """What happened, in order, how it came to an end, and after how many steps.

    `waiting` says in words what each role that is not done waits for; `left` are the messages nobody has taken, each
    as sender, receiver and label.
    """

    events: tuple[RunEvent, ...]
    outcome: RunOutcome
    steps: int
    waiting: Mapping[str, str]
    left: tuple[tuple[str, str, str], ...]


def simulate(
    roles: Mapping[str, LocalType],
    *,
    choose: Callable[[int], int],
    steps_max: int = STEPS_MAX,
    bound: int = QUEUE_BOUND,
) -> Run:
    """One run of the roles, with at most `bound` messages under way from one role to another.

    `choose(count)` picks one of that many possible steps, from 0; the same picks give the same run. Costs
    O(steps × roles). Raises ValueError when `bound` or `steps_max` is less than 1, when a pick is out of range, and
    when a role has too many states to be held.

    Example: `simulate(compile_choreography(text).local, choose=random.Random(7).randrange).outcome`.
    """
    if bound < 1 or steps_max < 1:
        raise ValueError(f"a run needs a bound and a limit of steps of at least 1, got {bound} and {steps_max}")
    system = LocalSystem(roles, bound=bound)
    at = system.initial
    events: list[RunEvent] = []
    steps = 0
    while True:
        moves = tuple(system.moves(at))
        if not moves or steps == steps_max:
            break
        picked = choose(len(moves))
        if not 0 <= picked < len(moves):
            raise ValueError(f"choose({len(moves)}) answered {picked}; expected 0 to {len(moves) - 1}")
        move, after = moves[picked]
        events += _events(move, _options(system, at, move))
        at, steps = after, steps + 1
    left = _left(system, at)
    is_over = system.is_final(at) and not left
    outcome: RunOutcome = "ended" if is_over else "steps" if moves else "stuck"
    return Run(tuple(events), outcome, steps, system.waiting(at), left)


def _options(system: LocalSystem, at: Configuration, move: Move) -> tuple[str, ...]:
    """The labels that the mover could have said instead, the chosen one among them."""
    number = system.roles.index(move.subject)
    return tuple(one.label for one in system.machines[number].states[at.states[number]].transitions)


def _events(move: Move, options: tuple[str, ...]) -> tuple[RunEvent, ...]:
    match move.kind:
        case "send":
            sent = RunEvent("send", move.sender, move.receiver, move.label)
            chosen = RunEvent("choice", move.sender, "", move.label, options)
            return (chosen, sent) if len(options) > 1 else (sent,)
        case "recv":
            return (RunEvent("receive", move.receiver, move.sender, move.label),)
        case "clock":
            return (RunEvent("timeout", move.subject, move.sender if move.receiver else "", move.label),)


def _left(system: LocalSystem, at: Configuration) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (pair.sender, pair.receiver, label)
        for pair, queue in zip(system.pairs, at.queues, strict=True)
        for label in queue
    )

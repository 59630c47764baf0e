"""A role's machine taken one step at a time by a test: where it is, what it waits for, and back to where it was.

Decides nothing itself; `choreography/fsm.py` does. Timed parts are entered on the way, as everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

from antiphon.choreography import StateMachine, Violation
from antiphon.choreography.fsm import show_step
from antiphon.choreography.merge import Step


class Checkpoint(NamedTuple):
    """Where a machine was, and what it had done."""

    state: int
    steps: tuple[Step, ...]


class LinearStateMachine:
    """Steps of one role, each used once.

    >>> from antiphon.choreography import compile_choreography
    >>> talk = compile_choreography("protocol T =\\n  roles A, B\\n  A -> B : Ask\\n  B -> A : Answer\\n")
    >>> machine = LinearStateMachine(talk.fsm["A"])
    >>> machine.step("send", "B", "Ask")
    >>> machine.blocked_on
    'B'
    """

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self._state = 0
        self._steps: tuple[Step, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """What was done so far."""
        return self._steps

    @property
    def expected(self) -> tuple[str, ...]:
        """What may come next, in words."""
        return tuple(show_step(step) for step in self._machine.expected(self._state))

    @property
    def blocked_on(self) -> str:
        """Whom the role waits for; "" when it is to send, or is done."""
        waiting = {step.partner for step in self._machine.expected(self._state) if step.direction == "recv"}
        sends = any(step.direction == "send" for step in self._machine.expected(self._state))
        return "" if sends else " or ".join(sorted(waiting))

    @property
    def is_done(self) -> bool:
        """Whether the role's part is over."""
        return self._machine.is_final(self._state)

    def step(self, direction: str, partner: str, label: str) -> None:
        """Take a step. Raises AssertionError with what was expected, and stays where it is."""
        taken = Step("send" if direction == "send" else "recv", partner, label)
        after = self._machine.step(self._state, taken)
        assert not isinstance(after, Violation), str(after)
        self._state = after
        self._steps = (*self._steps, taken)

    def checkpoint(self) -> Checkpoint:
        """Where it is now."""
        return Checkpoint(self._state, self._steps)

    def restore(self, point: Checkpoint) -> None:
        """Be there again."""
        self._state, self._steps = point

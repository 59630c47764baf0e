"""The words of a sync session held against the protocol that is shipped beside this module, `anti_entropy.tell`.

Each direction of a session is a run of that protocol: this side is Speaker of one and Hearer of the other. Judges the
order of words only: what answers what is the session's own business, and what a word says its decoder's.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple, get_args

from antiphon.choreography import CompiledProtocol, StateMachine, Violation, compile_choreography
from antiphon.choreography.merge import Step
from antiphon.journal.sync.messages import HEAD_BYTES, Message

from ..choreography.errors import ProtocolViolation

PROTOCOL_FILE = "anti_entropy.tell"
SPEAKER, HEARER = "Speaker", "Hearer"
END = "End"
"""The label of a connection's end."""
LABELS: dict[int, str] = {word.kind: word.__name__ for word in get_args(Message)}
"""Each word's name, by its number on the wire."""


@cache
def anti_entropy() -> CompiledProtocol:
    """The protocol of one direction. Compiled once a process, 20 ms."""
    text = files(__package__).joinpath(PROTOCOL_FILE).read_text(encoding="utf-8")
    return compile_choreography(text, file=PROTOCOL_FILE)


class _Steps(NamedTuple):
    """One role's machine, and every word as its step."""

    machine: StateMachine
    by_label: dict[str, Step]


@cache
def _steps(role: str) -> _Steps:
    machine = anti_entropy().fsm[role]
    labels = (*LABELS.values(), END)
    if role == SPEAKER:
        return _Steps(machine, {label: Step("send", HEARER, label) for label in labels})
    return _Steps(machine, {label: Step("recv", SPEAKER, label) for label in labels})


def label_of_frame(frame: bytes) -> str:
    """A frame's word; "" for what is none. The frame is not decoded."""
    return LABELS.get(frame[HEAD_BYTES - 1], "") if len(frame) >= HEAD_BYTES else ""


class WordMonitor:
    """Where both directions of one session stand.

    >>> monitor = WordMonitor()
    >>> monitor.say("Hello")
    >>> print(monitor.hear("Root"))
    Hearer may not receive Root from Speaker in state 0; expected: receive Busy from Speaker or receive Error from \
Speaker or receive End from Speaker or receive Hello from Speaker
    """

    __slots__ = ("_heard", "_said")

    def __init__(self) -> None:
        self._said = 0
        self._heard = 0

    @property
    def is_complete(self) -> bool:
        """Whether both directions came to their end."""
        return _steps(SPEAKER).machine.is_final(self._said) and _steps(HEARER).machine.is_final(self._heard)

    def say(self, label: str) -> None:
        """This side's next word. Raises ``ProtocolViolation``; then it must not be sent, and nothing has changed."""
        machine, by_label = _steps(SPEAKER)
        found = machine.step(self._said, by_label[label])
        if isinstance(found, Violation):
            raise ProtocolViolation.of(found)
        self._said = found

    def hear(self, label: str) -> Violation | None:
        """The peer's next word; why it may not be said here, and then nothing has changed."""
        machine, by_label = _steps(HEARER)
        found = machine.step(self._heard, by_label[label])
        if isinstance(found, Violation):
            return found
        self._heard = found
        return None

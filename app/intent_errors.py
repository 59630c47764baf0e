"""Why an intent or an operation was not carried out, and whose move it is.

One type with a kind, so that a screen needs one place to show it; no other error reaches a front end from `AppCore`.
"""

from __future__ import annotations

from typing import Literal

from antiphon.facts import AntiphonError, LocalViolation, RemoteViolation
from antiphon.journal import JournalClosed, JournalError
from antiphon.reactive import HandlerUnavailable, ReactiveError, SchedulerShutdown

RefusalKind = Literal["no_agent", "unauthorised", "validation", "network", "storage", "timeout", "service", "internal"]
"""``no_agent``: there is no runtime. ``service``: the runtime is closed, or cannot do it now. ``internal``: a bug."""

Mover = Literal["you", "them", "application"]
"""Who can change it: the person who asked, somebody else, or whoever put the application together."""


class IntentError(LocalViolation):
    """What was asked for was not done; nothing of it happened unless the text says otherwise.

    ``kind`` is for programs, the text for people; ``move`` says whose it is, ``operation`` what was asked.
    """

    def __init__(self, kind: RefusalKind, text: str, *, move: Mover = "you", operation: str = "") -> None:
        super().__init__(text)
        self.kind: RefusalKind = kind
        self.move: Mover = move
        self.operation = operation

    def to_json(self) -> dict[str, str]:
        """All of it, for a wire."""
        return {"kind": self.kind, "text": str(self), "move": self.move, "operation": self.operation}


class NoAgent(IntentError):
    """The operation needs a runtime, and this core has none."""

    def __init__(self, operation: str) -> None:
        super().__init__(
            "no_agent",
            f"{operation} needs a runtime, and this core runs without one (demo mode): "
            "whoever wires the application gives it one, with open_core(…) or core.attach_runtime(…)",
            move="application",
            operation=operation,
        )


def as_intent_error(problem: AntiphonError | ReactiveError | TimeoutError, *, operation: str) -> IntentError:
    """What an error of the rooms below means to a person."""
    kind, move = next(((kind, move) for kinds, kind, move in _MEANINGS if isinstance(problem, kinds)), _OTHERWISE)
    return IntentError(kind, str(problem) or _SAID_OF_TIMEOUT, move=move, operation=operation)


# A timeout says nothing of its own.
_SAID_OF_TIMEOUT = "it took too long, and may still come about; look before asking again"
# From the special to the general.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], RefusalKind, Mover], ...] = (
    ((TimeoutError,), "timeout", "you"),
    ((JournalClosed, SchedulerShutdown, HandlerUnavailable), "service", "application"),
    ((JournalError,), "storage", "application"),
    ((RemoteViolation,), "network", "them"),
    ((LocalViolation,), "validation", "you"),
)
_OTHERWISE: tuple[RefusalKind, Mover] = ("service", "application")

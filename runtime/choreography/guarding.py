"""The seam between a protocol and what guards it: capabilities, budgets and journal facts are asked for here.

Evaluates no guard chain itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

from antiphon.choreography import GuardCommand

# An evidence guard's effect, by `Interface.operation`; None says that there is no evidence.
Effects: TypeAlias = Mapping[str, Callable[..., Awaitable[object]]]


class GuardRequest(NamedTuple):
    """A send that is about to happen: what its annotations ask for, and the very bytes that would leave.

    A send that failed and is tried again has the same ``session`` and ``number``.
    """

    protocol: str
    role: str
    to: str
    label: str
    data: bytes
    commands: tuple[GuardCommand, ...]
    session: str = ""
    number: int = 0


class GuardPort(Protocol):
    """Whoever may refuse a send. Asked about every send, annotated or not, after protocol and payload were checked."""

    async def admit(self, request: GuardRequest) -> None:
        """Return when the send may go ahead. Raises ``GuardDenied``; nothing leaves then."""
        ...

    async def sent(self, request: GuardRequest) -> None:
        """The message is with the handler."""
        ...

    def ended(self, session: str) -> None:
        """A session is over: what was admitted in it and has not left will not leave any more."""
        ...

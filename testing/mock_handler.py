"""A handler that follows a script: each operation must be the next one, and gets the answer that stands there."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Iterable
from typing import Literal, NamedTuple, TypeVar

from antiphon.runtime.choreography import ChoreoHandler, ProtocolViolation, label_of
from antiphon.runtime.choreography.handlers.recording import HARNESS

T = TypeVar("T")


class Scripted(NamedTuple):
    """One operation that must come, and what comes of it: a message, a label for an offer, or an error to raise."""

    operation: Literal["send", "recv", "choose", "offer"]
    peer: str
    label: str = ""
    answer: object = None
    fails: BaseException | None = None


class MockHandler(ChoreoHandler[object]):
    """Follows a script; anything else is a ``ProtocolViolation``.

    >>> import asyncio
    >>> handler = MockHandler("Ada", [Scripted("send", "Bob", "Ask"), Scripted("offer", "Bob", "Free")])
    >>> asyncio.run(handler.offer(None, "Bob"))
    Traceback (most recent call last):
    antiphon.runtime.choreography.errors.ProtocolViolation: Ada may not offer from Bob; expected: send Ask to Bob
    """

    profile = HARNESS._replace(receives=True, makes_values=True)

    def __init__(self, role: str, script: Iterable[Scripted]) -> None:
        self.role = role
        self._script = deque(script)

    def assert_done(self) -> None:
        """Raise AssertionError when a part of the script is left."""
        assert not self._script, f"{self.role} was never asked to {', '.join(map(_shown, self._script))}"

    async def send(self, endpoint: object, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        self._next(Scripted("send", to, label_of(message)))

    async def recv(
        self, endpoint: object, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``ChoreoHandler``."""
        name = label if label is not None else kind.__name__ if kind is not None else ""
        return self._next(Scripted("recv", sender, name)).answer

    async def choose(self, endpoint: object, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        self._next(Scripted("choose", to, label))

    async def offer(self, endpoint: object, sender: str) -> str:
        """See ``ChoreoHandler``."""
        return self._next(Scripted("offer", sender)).label

    async def with_timeout(self, endpoint: object, at: str, seconds: float, body: Awaitable[T]) -> T:
        """The body as it is."""
        return await body

    async def close(self, endpoint: object) -> None:
        """Nothing."""

    def _next(self, asked: Scripted) -> Scripted:
        """The script's next line, when that is what is asked for; a receive without a label takes any."""
        line = self._script[0] if self._script else None
        is_named = line is not None and (asked.operation == "offer" or asked.label in ("", line.label))
        if line is None or not is_named or (line.operation, line.peer) != (asked.operation, asked.peer):
            raise ProtocolViolation(self.role, actual=_shown(asked), expected=[_shown(line)] if line else [])
        self._script.popleft()
        if line.fails is not None:
            raise line.fails
        return line


def _shown(line: Scripted) -> str:
    way = "to" if line.operation in ("send", "choose") else "from"
    what = f" {line.label}" if line.label and line.operation != "offer" else ""
    return f"{line.operation}{what} {way} {line.peer}"

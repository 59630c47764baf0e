"""Handlers that only look: one that keeps a list of what was asked of it, and one that does nothing at all."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from ..errors import CannotProduce
from ..handler import ChoreoHandler, HandlerProfile, label_of

T = TypeVar("T")

EventKind: TypeAlias = Literal["send", "recv", "choose", "offer"]
HARNESS = HandlerProfile("observational_harness", receives=False, enforces_timeouts=False, delivery="none")
"""What a handler without peers says of itself."""


class RecordedEvent(NamedTuple):
    """One operation: ``what`` is the message's name, its kind's, or a label ("" where that is not known before).

    ``outcome`` is ok or the name of the error; None for a recording without a handler inside, which has no outcomes.
    """

    kind: EventKind
    sender: str
    receiver: str
    what: str = ""
    outcome: str | None = None


class RecordingHandler(ChoreoHandler[Any]):
    """Keeps what was asked for, in order. Around another handler it keeps the outcomes, too; alone it cannot receive.

    >>> import asyncio
    >>> recording = RecordingHandler("Ada")
    >>> asyncio.run(recording.choose(None, "Bob", "yes"))
    >>> recording.events()
    (RecordedEvent(kind='choose', sender='Ada', receiver='Bob', what='yes', outcome=None),)
    """

    def __init__(
        self, role: str, inner: ChoreoHandler[Any] | None = None, *, log: list[RecordedEvent] | None = None
    ) -> None:
        self.role = role
        self._inner = inner
        self._log: list[RecordedEvent] = [] if log is None else log
        self.profile = HARNESS if inner is None else inner.profile

    def clone(self) -> RecordingHandler:
        """Another one that writes into the same list."""
        return RecordingHandler(self.role, self._inner, log=self._log)

    def events(self) -> tuple[RecordedEvent, ...]:
        """What happened so far."""
        return tuple(self._log)

    def clear(self) -> None:
        """Forget it."""
        self._log.clear()

    async def send(self, endpoint: Any, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        inner = self._inner
        event = RecordedEvent("send", self.role, to, label_of(message))
        await self._kept(event, None if inner is None else inner.send(endpoint, to, message), None)

    async def recv(
        self, endpoint: Any, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``ChoreoHandler``. Alone: ``CannotProduce``."""
        inner = self._inner
        what = label if label is not None else kind.__name__ if kind is not None else ""
        inside = None if inner is None else inner.recv(endpoint, sender, kind, label=label)
        return await self._kept(RecordedEvent("recv", sender, self.role, what), inside, "values")

    async def choose(self, endpoint: Any, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        inner = self._inner
        inside = None if inner is None else inner.choose(endpoint, to, label)
        await self._kept(RecordedEvent("choose", self.role, to, label), inside, None)

    async def offer(self, endpoint: Any, sender: str) -> str:
        """See ``ChoreoHandler``. Alone: ``CannotProduce``."""
        inner = self._inner
        inside = None if inner is None else inner.offer(endpoint, sender)
        label = await self._kept(RecordedEvent("offer", sender, self.role), inside, "labels")
        assert label is not None, "without a handler inside it raised"
        return label

    async def with_timeout(self, endpoint: Any, at: str, seconds: float, body: Awaitable[T]) -> T:
        """The body as it is, or what the handler inside makes of it."""
        return await body if self._inner is None else await self._inner.with_timeout(endpoint, at, seconds, body)

    async def close(self, endpoint: Any) -> None:
        """See ``ChoreoHandler``."""
        if self._inner is not None:
            await self._inner.close(endpoint)

    async def extend(self, endpoint: Any, extension: object) -> object:
        """See ``ChoreoHandler``."""
        outer = super().extend if self._inner is None else self._inner.extend
        return await outer(endpoint, extension)

    async def _kept(self, event: RecordedEvent, inside: Awaitable[T] | None, missing: str | None) -> T | None:
        if inside is None:
            self._log.append(event)
            if missing is not None:
                raise CannotProduce(f"a recording handler cannot produce {missing}; give it a handler to record")
            return None
        place = len(self._log)
        self._log.append(event)
        try:
            result = await inside
        except BaseException as problem:
            self._log[place] = event._replace(outcome=type(problem).__name__)
            raise
        what = result if event.kind == "offer" and isinstance(result, str) else event.what
        self._log[place] = event._replace(what=what, outcome="ok")
        return result


class NoOpHandler(ChoreoHandler[object]):
    """Sends and chooses into nothing; cannot receive."""

    profile = HARNESS

    async def send(self, endpoint: object, to: str, message: object) -> None:
        """Nothing."""

    async def recv(
        self, endpoint: object, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """Raises ``CannotProduce``."""
        raise CannotProduce("this handler does nothing and cannot receive")

    async def choose(self, endpoint: object, to: str, label: str) -> None:
        """Nothing."""

    async def offer(self, endpoint: object, sender: str) -> str:
        """Raises ``CannotProduce``."""
        raise CannotProduce("this handler does nothing and cannot offer")

    async def with_timeout(self, endpoint: object, at: str, seconds: float, body: Awaitable[T]) -> T:
        """The body as it is."""
        return await body

    async def close(self, endpoint: object) -> None:
        """Nothing."""

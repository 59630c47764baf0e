"""Who watches what a role does in a test: nobody, a list, or several; over any handler, under endpoints or programs.

Changes no result: what an observer sees has happened. Deadlines are no operations and are not told.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, TypeVar

from antiphon.runtime.choreography import Around, ChoreoHandler, RecordedEvent, label_of

T = TypeVar("T")
E = TypeVar("E")


class Observer(Protocol):
    """Is told of each operation when it has ended, well or not."""

    def observe(self, event: RecordedEvent, /) -> None:
        """Take one. What it raises ends the operation's caller, as a failed assertion should."""
        ...


class NullObserver:
    """Looks away."""

    def observe(self, event: RecordedEvent, /) -> None:
        """Nothing."""


class RecordingObserver:
    """Keeps what it was told, oldest first.

    >>> seen = RecordingObserver()
    >>> seen.observe(RecordedEvent("choose", "Ada", "Bob", "yes", "ok"))
    >>> [event.what for event in seen.events]
    ['yes']
    """

    def __init__(self) -> None:
        self._events: list[RecordedEvent] = []

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        """What happened so far."""
        return tuple(self._events)

    def clear(self) -> None:
        """Forget it."""
        self._events.clear()

    def observe(self, event: RecordedEvent, /) -> None:
        """See ``Observer``."""
        self._events.append(event)


class MultiObserver:
    """Tells several, in order; the first that raises keeps it from those after it."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def observe(self, event: RecordedEvent, /) -> None:
        """See ``Observer``."""
        for each in self._observers:
            each.observe(event)


class ObservedHandler(Around[E]):
    """A handler whose operations an observer is told of; an endpoint, or a program, gets it in place of the one inside.

    ``what`` is a message's name or a label ("" for a receive of anything); ``outcome`` is ok or the error's name, the
    same for one that was cancelled.
    """

    def __init__(self, inner: ChoreoHandler[E], role: str, observer: Observer) -> None:
        super().__init__(inner)
        self.role = role
        self._observer = observer

    async def send(self, endpoint: E, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        event = RecordedEvent("send", self.role, to, label_of(message))
        await self._watched(event, self.inner.send(endpoint, to, message))

    async def recv(
        self, endpoint: E, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``ChoreoHandler``."""
        what = label if label is not None else kind.__name__ if kind is not None else ""
        event = RecordedEvent("recv", sender, self.role, what)
        return await self._watched(event, self.inner.recv(endpoint, sender, kind, label=label))

    async def choose(self, endpoint: E, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        await self._watched(RecordedEvent("choose", self.role, to, label), self.inner.choose(endpoint, to, label))

    async def offer(self, endpoint: E, sender: str) -> str:
        """See ``ChoreoHandler``."""
        return await self._watched(RecordedEvent("offer", sender, self.role), self.inner.offer(endpoint, sender))

    async def _watched(self, event: RecordedEvent, inside: Awaitable[T]) -> T:
        try:
            result = await inside
        except BaseException as problem:
            self._observer.observe(event._replace(outcome=type(problem).__name__))
            raise
        what = result if event.kind == "offer" and isinstance(result, str) else event.what
        self._observer.observe(event._replace(what=what, outcome="ok"))
        return result

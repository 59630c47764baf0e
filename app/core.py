"""``AppCore``: one headless object for every front end: intents in, signals out.

Knows no runtime, no disk and no peer: those are behind a ``RuntimeBridge``, which ``app/wiring.py`` alone plugs in.
Without one it works on facts in memory. It changes no view itself: an intent becomes facts, and facts alone move
signals, wherever they come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from antiphon.facts import DEFAULT_NAMESPACE, AntiphonError, AuthorityId, Clock, OperationCategory
from antiphon.reactive import (
    ERROR_SIGNAL,
    SYNC_STATUS_SIGNAL,
    LiveSignal,
    ReactiveError,
    Signal,
    SignalHub,
    SignalStream,
    Subscription,
    Update,
    open_stream,
)
from antiphon.views.chat_state import MESSAGE_COUNT_MAX, Message
from antiphon.views.signals import (
    CHAT_SIGNAL,
    CONTACTS_SIGNAL,
    HOMES_SIGNAL,
    INVITATIONS_SIGNAL,
    UNREAD_COUNT_SIGNAL,
)

from .acknowledged import ACKNOWLEDGED_SIGNAL
from .inspection import INSPECTOR_SIGNAL, Inspector, InspectorState
from .intent_errors import IntentError, as_intent_error
from .intents import Intent
from .offline_bridge import OfflineBridge
from .planning import Plan, Situation, plan
from .runtime_bridge import Judgement, RuntimeBridge, RuntimeCall

T = TypeVar("T")

# Two screens of a small terminal or of a phone's page.
PAGE_COUNT = 100

# As long as a person waits before believing that nothing happens.
OPERATION_TIMEOUT_S = 30.0

CORE_SIGNALS: tuple[Signal[Any], ...] = (
    CHAT_SIGNAL,
    CONTACTS_SIGNAL,
    INVITATIONS_SIGNAL,
    HOMES_SIGNAL,
    UNREAD_COUNT_SIGNAL,
    ACKNOWLEDGED_SIGNAL,
    SYNC_STATUS_SIGNAL,
    ERROR_SIGNAL,
)
"""What a front end can read and follow; and ``INSPECTOR_SIGNAL`` after ``inspect()``."""


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """How a core works: who its author is and where facts go while there is no runtime, and how long it waits.

    *identity* (32 bytes) makes the author without a runtime the same every time.
    """

    author: str = "me"
    namespace: str = DEFAULT_NAMESPACE
    identity: bytes | None = None
    operation_timeout_s: float = OPERATION_TIMEOUT_S


Progress = Literal["done", "shown", "started", "nothing_to_do"]
"""By category. A: ``done``. B: ``shown``, others may yet undo it. C: ``started``, it counts when all have agreed."""

_PROGRESS: dict[OperationCategory, Progress] = {
    OperationCategory.LOCAL: "done",
    OperationCategory.OPTIMISTIC: "shown",
    OperationCategory.CEREMONY: "started",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an intent: its ``fact_ids`` are kept and shown; ``subject`` is the id of what it is about."""

    operation: str
    category: OperationCategory
    progress: Progress
    fact_ids: tuple[str, ...]
    subject: str | None

    def to_json(self) -> dict[str, object]:
        """All of it, for a JSON encoder."""
        return {
            "operation": self.operation,
            "category": self.category.value,
            "progress": self.progress,
            "fact_ids": list(self.fact_ids),
            "subject": self.subject,
        }


class AppCore:
    """What every front end holds. Made without a runtime, or ``with_runtime``; used inside ``async with``.

    Belongs to one event loop. ``app/wiring.py`` makes one in a line: ``demo_core()``, ``open_core(path)``.

    >>> import asyncio
    >>> from antiphon.app.intents import CreateChannel, SendMessage
    >>> from antiphon.app.wiring import demo_core
    >>> async def main() -> str:
    ...     async with demo_core("ada") as core:
    ...         await core.submit(CreateChannel(channel_id="hall", name="Hall"))
    ...         await core.submit(SendMessage(channel_id="hall", text="hello"))
    ...         return core.read(CHAT_SIGNAL).messages_in("hall")[0].content
    >>> asyncio.run(main())
    'hello'
    """

    def __init__(
        self,
        config: CoreConfig | None = None,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        bridge: RuntimeBridge | None = None,
    ) -> None:
        self.config = config or CoreConfig()
        self._clock = clock
        self._random = random_bytes
        self._offline: OfflineBridge | None = None
        self._runtime = bridge
        self._inspector: Inspector | None = None
        self._followers: list[Subscription[Any]] = []
        self._is_open = False
        self._now_ms = 0

    @classmethod
    def with_runtime(
        cls,
        bridge: RuntimeBridge,
        config: CoreConfig | None = None,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> AppCore:
        """A core over a runtime: who acts, and all facts, are the bridge's."""
        return cls(config, clock=clock, random_bytes=random_bytes, bridge=bridge)

    # What is behind it

    @property
    def has_runtime(self) -> bool:
        """Whether there is a runtime; without one, operations that need it raise ``NoAgent``."""
        return self._runtime is not None

    @property
    def runtime(self) -> RuntimeBridge:
        """What is behind it now: sync, serving, history. Without a runtime each of those raises ``NoAgent``."""
        if self._runtime is not None:
            return self._runtime
        return self.offline

    @property
    def offline(self) -> OfflineBridge:
        """The facts in memory that it works on without a runtime; kept while there is one."""
        if self._offline is None:
            config = self.config
            self._offline = OfflineBridge(
                config.author,
                clock=self._clock,
                random_bytes=self._random,
                namespace=config.namespace,
                identity=config.identity,
            )
        return self._offline

    @property
    def authority(self) -> AuthorityId:
        """Who acts: 32 hex digits."""
        return self.runtime.authority

    @property
    def author(self) -> str:
        """The display name of who acts."""
        return self.runtime.label

    async def attach_runtime(self, bridge: RuntimeBridge) -> None:
        """Work over *bridge* from now on. What was said without a runtime stays there: it is nobody's journal.

        Every subscription ends, as the end of its iterator; subscribe again for the new state. The bridge stays its
        maker's to close. Raises ``IntentError`` when there is a runtime already.
        """
        if self._runtime is not None:
            raise IntentError("service", "this core has a runtime; detach it first", move="application")
        await self._switch(bridge)

    async def detach_runtime(self) -> RuntimeBridge:
        """Go back to facts in memory, and hand the bridge back; every subscription ends, as above."""
        bridge = self._runtime
        if bridge is None:
            raise IntentError("no_agent", "this core has no runtime to detach", move="application")
        await self._switch(None)
        return bridge

    async def _switch(self, bridge: RuntimeBridge | None) -> None:
        if bridge is not None:
            await bridge.wake()
        elif self._is_open:
            await self.offline.wake()
        self._stop_inspecting()
        self._runtime = bridge
        self._end_followers()

    # Intents in

    async def submit(self, intent: Intent) -> Outcome:
        """Do what is asked; when it returns, the facts are kept and every signal shows them.

        Raises ``IntentError`` and nothing else on purpose; its ``kind`` says why, its text whose move it is. Cancelled
        while it waits, the facts are wholly in or wholly out.
        """
        operation = _operation_of(intent)
        with self._told(operation):
            planned = self._plan(intent)
            fact_ids: tuple[str, ...] = ()
            if planned.facts:
                async with asyncio.timeout(self.config.operation_timeout_s):
                    fact_ids = await self.runtime.commit(planned.facts, operation=operation)
        progress = _PROGRESS[intent.category()] if fact_ids else "nothing_to_do"
        return Outcome(operation, intent.category(), progress, fact_ids, planned.subject)

    def check(self, intent: Intent) -> IntentError | None:
        """Why an intent would be refused just now; None when it would not. A screen can grey out a button with it."""
        try:
            with self._told(_operation_of(intent)):
                self._plan(intent)
        except IntentError as problem:
            return problem
        return None

    async def explain(self, intent: Intent | RuntimeCall) -> Judgement:
        """What the guards would say to an intent, or to a call to the runtime, just now; nothing happens.

        Raises ``IntentError`` as `check` says.
        """
        if isinstance(intent, RuntimeCall):
            self._check_open(intent.name)
            return await self.runtime.judge_call(intent)
        operation = _operation_of(intent)
        with self._told(operation):
            planned = self._plan(intent)
            return await self.runtime.judge(planned.facts, operation=operation)

    def _plan(self, intent: Intent) -> Plan:
        self._check_open(intent.operation)
        behind = self.runtime
        # Never back: who renames twice while the clock is set back means the second name.
        self._now_ms = max(self._now_ms, behind.now_ms())
        hub = behind.hub
        return plan(
            intent,
            Situation(
                me=behind.authority,
                label=behind.label,
                now_ms=self._now_ms,
                namespace=behind.namespace,
                chat=hub.read(CHAT_SIGNAL),
                contacts=hub.read(CONTACTS_SIGNAL),
                invitations=hub.read(INVITATIONS_SIGNAL),
                homes=hub.read(HOMES_SIGNAL),
                new_id=behind.new_id,
                find_message=behind.find_message,
                topic_of=behind.topic_of,
            ),
        )

    # Signals out

    @property
    def hub(self) -> SignalHub:
        """Where the signals are just now; another one after a runtime is attached or detached."""
        return self.runtime.hub

    def read(self, signal: Signal[T]) -> T:
        """The current value. Raises ``SignalNotFound``."""
        return self.hub.read(signal)

    def messages_before(
        self, message_id: str, *, channel_id: str, context_id: str | None = None, count: int = PAGE_COUNT
    ) -> tuple[Message, ...]:
        """The up to *count* messages before that one, oldest first: what a screen shows when one scrolls further back.

        A snapshot holds the newest 500 of a channel; this reads older ones from the log, as they are now (they do not
        follow what comes later). Empty at the beginning. Raises ``IntentError`` for a channel that is not open, and for
        a count that is not 1 to 500.
        """
        self._check_open("messages-before")
        if not 1 <= count <= MESSAGE_COUNT_MAX:
            raise IntentError("validation", f"a page has 1 to {MESSAGE_COUNT_MAX} messages; got {count}")
        channel = self.read(CHAT_SIGNAL).channel(channel_id, context_id=context_id)
        if channel is None:
            raise IntentError("validation", f"no channel {channel_id!r:.100} is open here")
        return self.runtime.messages_before(channel.context_id, channel.id, message_id, count)

    def subscribe(self, signal: Signal[T], *, policy: str = "latest") -> SignalStream[T]:
        """Follow a signal: the current value, then every update; ``latest`` is what a screen wants.

        Ends with the core, and when a runtime is attached or detached. Raises ``SignalNotFound`` at once.
        """
        self._check_open("subscribe")
        stream = open_stream(self.hub, signal, policy=policy)
        self._note_follower(stream.subscription)
        return stream

    def on(self, signal: Signal[T], callback: Callable[[Update[T]], object]) -> Callable[[], None]:
        """Call back with the current value and every update, on the core's loop; the result ends that."""
        self._check_open("subscribe")
        if not callable(callback):
            raise IntentError(
                "validation", f"on takes a function to call back; got {callback!r:.100}", move="application"
            )
        subscription = self.hub.subscribe(signal, policy="latest")
        self._note_follower(subscription)
        subscription.for_each(callback)
        return subscription.close

    def live(self, signal: Signal[T]) -> LiveSignal[T]:
        """A signal to read, to follow by Rx and to derive others from."""
        return LiveSignal(self.hub, signal)

    def inspect(self) -> Signal[InspectorState]:
        """Begin to look on, if nobody does yet; the signal that shows what came in and what it set off."""
        self._check_open("inspect")
        # Another core over the same journal may look on already: then both read what it shows, until it is closed.
        if not self.hub.is_registered(INSPECTOR_SIGNAL):
            self._inspector = Inspector(self.hub, self.runtime.scheduler)
        return INSPECTOR_SIGNAL

    def _stop_inspecting(self) -> None:
        inspector, self._inspector = self._inspector, None
        if inspector is not None:
            inspector.stop()

    # Life

    async def close(self) -> None:
        """End every subscription; facts in memory are gone, a bridge stays its maker's. Closing twice is fine."""
        self._is_open = False
        self._stop_inspecting()
        self._end_followers()
        if self._offline is not None:
            await self._offline.close()

    async def __aenter__(self) -> Self:
        await self.runtime.wake()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _note_follower(self, subscription: Subscription[Any]) -> None:
        self._followers = [each for each in self._followers if not each.is_closed]
        self._followers.append(subscription)

    def _end_followers(self) -> None:
        followers, self._followers = self._followers, []
        for subscription in followers:
            subscription.end()

    def _check_open(self, operation: str) -> None:
        if not self._is_open:
            text = "this core is closed or was not entered; use it inside `async with`"
            raise IntentError("service", text, move="application", operation=operation)

    @contextmanager
    def _told(self, operation: str) -> Iterator[None]:
        try:
            yield
        except IntentError:
            raise
        except (AntiphonError, ReactiveError, TimeoutError) as problem:
            raise as_intent_error(problem, operation=operation) from problem


def _operation_of(intent: object) -> str:
    if not isinstance(intent, Intent):
        raise IntentError(
            "validation",
            f"a core takes intents, such as SendMessage(…) or read_intent(name, fields); got {intent!r:.100}",
            move="application",
        )
    return intent.operation


__all__ = ["CORE_SIGNALS", "AppCore", "CoreConfig", "Outcome", "Progress"]

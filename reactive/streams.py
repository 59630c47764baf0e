"""What can be awaited: the next update of a signal, room in the scheduler, a fact becoming visible.

The one module of this room that knows asyncio. It starts no task; whoever awaits is the owner of the wait, and
cancelling it loses nothing. Belongs to the loop that the engine runs on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from .commit import PendingCommit
from .errors import BackPressure, SubscriptionClosed
from .node_table import FieldOf
from .scheduler import Clock, SchedulerConfig, SchedulerCore
from .signal import Signal, Update
from .subscription import CAPACITY, Subscription

if TYPE_CHECKING:
    from reactivex.abc import SchedulerBase

    from .hub import SignalHub

T = TypeVar("T")
F = TypeVar("F")


class SignalStream(Generic[T]):
    """The updates of one subscription, for `async for`; leaving its `async with` ends the subscription.

    The loop ends when the hub closes. An update is taken only when it is returned: a cancelled `recv` takes none.

    >>> async def print_values(hub: SignalHub, signal: Signal[int]) -> None:
    ...     async with SignalStream(hub.subscribe(signal, policy="latest")) as updates:
    ...         async for update in updates:
    ...             print(update.seq, update.value)
    """

    __slots__ = ("_subscription", "_waiters")

    def __init__(self, subscription: Subscription[T]) -> None:
        self._subscription = subscription
        self._waiters: list[asyncio.Future[None]] = []
        subscription.notify(self._wake)

    def __repr__(self) -> str:
        return f"<SignalStream of {self._subscription.signal_id}: async for gives its updates>"

    @property
    def subscription(self) -> Subscription[T]:
        """What this iterates over, for its counters."""
        return self._subscription

    def try_recv(self) -> Update[T] | None:
        """The next update if there is one, else None. Raises `SubscriptionClosed` after the end."""
        return self._subscription.try_recv()

    async def recv(self) -> Update[T]:
        """The next update, waiting for it. Raises `SubscriptionClosed` after the end."""
        while (update := self._subscription.try_recv()) is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return update

    async def aclose(self) -> None:
        """End the subscription; who still waits gets `SubscriptionClosed`. Closing twice is fine."""
        self._subscription.close()

    def __aiter__(self) -> SignalStream[T]:
        return self

    async def __anext__(self) -> Update[T]:
        try:
            return await self.recv()
        except SubscriptionClosed:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> SignalStream[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _wake(self) -> None:
        # All of them: a single one might be cancelled before it runs, and the rest would sleep on.
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def open_stream(
    hub: SignalHub,
    signal: Signal[T],
    *,
    policy: str = "buffer",
    capacity: int = CAPACITY,
    replay_current: bool = True,
) -> SignalStream[T]:
    """Subscribe and iterate; raises what `SignalHub.subscribe` raises, at the call and not at the first `await`."""
    return SignalStream(hub.subscribe(signal, policy=policy, capacity=capacity, replay_current=replay_current))


class CommitTicket(PendingCommit):
    """Facts on their way to the signals: wait for them, or do not.

    >>> async def say(scheduler: ReactiveScheduler[str], fact: str) -> None:
    ...     ticket = await scheduler.publish([fact])
    ...     await ticket.await_processed()      # a read of any signal now shows the fact
    """

    __slots__ = ()

    async def await_processed(self) -> None:
        """Return when the signals hold these facts. Raises `SchedulerShutdown` when that will not happen any more."""
        if not self.is_settled:
            await _wait_for(self.on_settled)
        if self.error is not None:
            raise self.error


class ReactiveScheduler(SchedulerCore[F, CommitTicket]):
    """The scheduler of one engine: windows of facts, views in order, one emission of each changed signal a batch.

    A fact reaches it either through `publish` (its own 5 ms window) or through `deliver` (a window that the journal
    closed). `scheduler` is the Rx scheduler for its two timers: `AsyncIOScheduler` in an application, a virtual one in
    a test. See `SchedulerCore` for everything that needs no waiting.
    """

    def __init__(
        self,
        hub: SignalHub,
        scheduler: SchedulerBase,
        clock: Clock,
        *,
        kind_of: Callable[[F], str],
        id_of: Callable[[F], Hashable],
        config: SchedulerConfig | None = None,
        size_of: Callable[[F], int] | None = None,
        monotonic: Callable[[], float] | None = None,
        on_view_failure: Callable[[str, Exception], None] | None = None,
        field_of: FieldOf[F] | None = None,
    ) -> None:
        super().__init__(
            hub,
            scheduler,
            clock,
            kind_of=kind_of,
            id_of=id_of,
            new_commit=CommitTicket,
            config=config,
            size_of=size_of,
            monotonic=monotonic,
            on_view_failure=on_view_failure,
            field_of=field_of,
        )

    async def publish(self, facts: Sequence[F]) -> CommitTicket:
        """As `try_publish`, but waits for room instead of raising `BackPressure`. Cancelled while waiting: not taken.

        Raises `SchedulerShutdown`.
        """
        while True:
            try:
                return self.try_publish(facts)
            except BackPressure:
                await _wait_for(self.when_room)


async def _wait_for(subscribe: Callable[[Callable[[], object]], None]) -> None:
    """Wait until the callback that is handed to `subscribe` is called."""
    reached = asyncio.get_running_loop().create_future()

    def reach() -> None:
        if not reached.done():
            reached.set_result(None)

    subscribe(reach)
    await reached

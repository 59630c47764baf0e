"""A journal's signals and commits for other threads: a UI toolkit's, a worker's, another event loop's.

Decides nothing about values: the newest snapshot of a signal is handed over, at most one call at a time is on its way
to the other thread, and what came meanwhile is skipped and counted. Made on the journal's loop; the rest may be called
from anywhere.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from antiphon.reactive import HandlerUnavailable, Signal, SignalHub, Subscription, Update

T = TypeVar("T")
R = TypeVar("R")

Post = Callable[[Callable[[], None]], object]
"""Runs a callback on the other thread, soon: `lambda call: root.after(0, call)`, `loop.call_soon_threadsafe`, …"""


class ThreadBridge:
    """Between one hub on its loop and any other thread.

    Rely on: callbacks run only where *post* runs them; a slow thread gets the newest snapshot and the number of those
    it missed (``update.skipped``), and never makes the journal wait; after ``close`` of a following nothing is called.
    """

    def __init__(self, hub: SignalHub) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()

    def follow(self, signal: Signal[T], callback: Callable[[Update[T]], object], *, post: Post) -> Following[T]:
        """Call *callback* with the current value and then the newest ones, on the thread that *post* belongs to.

        A signal that is not registered raises ``SignalNotFound`` at once; from another thread this waits for the loop.
        """
        following = Following(self, callback, post)
        return self.call(lambda: following._begin(self._hub, signal))

    def call(self, work: Callable[[], R]) -> R:
        """Do *work* on the journal's loop and return its result; from another thread this waits for the loop.

        Raises ``HandlerUnavailable`` when that loop has ended. One that merely stands still is waited for.
        """
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if is_here:
            return work()

        async def run() -> R:
            return work()

        return self.start(run()).result()

    def start(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Run a coroutine of the journal on its loop: ``bridge.start(journal.commit(fact)).result()``.

        Waiting for the result on the journal's own loop would wait for ever; await the coroutine there instead. Raises
        ``HandlerUnavailable`` when that loop has ended; the coroutine is closed then.
        """
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as problem:  # it may end at any moment, so asking it first would not do
            work.close()
            raise HandlerUnavailable("reach the journal from another thread, since its loop has ended") from problem


class Following(Generic[T]):
    """One signal, followed from another thread; ``close`` from anywhere ends it."""

    def __init__(self, bridge: ThreadBridge, callback: Callable[[Update[T]], object], post: Post) -> None:
        self._bridge = bridge
        self._callback = callback
        self._post = post
        self._lock = threading.Lock()
        self._newest: Update[T] | None = None
        self._is_posted = False
        self._is_closed = False
        self._subscription: Subscription[T] | None = None

    def close(self) -> None:
        """Call nothing any more. Closing twice is fine, and so is closing after the loop has ended."""
        with self._lock:
            self._is_closed = True
            subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(RuntimeError):  # the loop has ended, and its hub with it
                self._bridge._loop.call_soon_threadsafe(subscription.close)

    def _begin(self, hub: SignalHub, signal: Signal[T]) -> Following[T]:
        self._subscription = hub.subscribe(signal, policy="latest")
        self._subscription.for_each(self._offer)
        return self

    def _offer(self, update: Update[T]) -> None:
        """On the journal's loop: hold the newest, and post once."""
        with self._lock:
            if self._newest is not None:
                update = update._replace(skipped=update.skipped + self._newest.skipped + 1)
            self._newest = update
            if self._is_posted or self._is_closed:
                return
            self._is_posted = True
        self._post(self._deliver)

    def _deliver(self) -> None:
        """On the other thread: hand over what is newest by now."""
        with self._lock:
            update, self._newest = self._newest, None
            self._is_posted = False
            if update is None or self._is_closed:
                return
        self._callback(update)

"""Threads as a parameter: who makes the log's thread and DuckDB's, so that a simulator can do without any.

Everything that blocks on a disk goes through one of these two, or through the loop's default executor, which a loop
of one's own replaces. Knows nothing of what the work is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Protocol


class Lane(Protocol):
    """Work that is done elsewhere, one piece after the other."""

    def submit(self, work: Callable[[], None], /) -> None:
        """Queue *work*, which tells its own outcome and raises nothing."""
        ...

    def close(self) -> None:
        """Return when all that was queued is done, and end; blocks."""
        ...


class Threads(Protocol):
    """Where blocking work goes."""

    def lane(self, name: str, /) -> Lane:
        """A lane for work that is handed over once a window, so that a hand-over must be cheap."""
        ...

    def executor(self, name: str, /) -> Executor:
        """An executor that does one thing at a time."""
        ...


class ThreadLane:
    """A thread and a queue instead of an executor: half the cost of a hand-over, and one is made for every window."""

    def __init__(self, name: str) -> None:
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        """Queue *work*."""
        self._inbox.put(work)

    def close(self) -> None:
        """Let the thread finish what it has, and join it."""
        self._inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (work := self._inbox.get()) is not None:
            work()
            # Or what was done last would keep its journal, and DuckDB's connection, alive while this thread waits.
            del work


class SystemThreads:
    """Threads of this process."""

    def lane(self, name: str) -> ThreadLane:
        """A daemon thread of its own."""
        return ThreadLane(name)

    def executor(self, name: str) -> ThreadPoolExecutor:
        """A pool of one thread, made on first use."""
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)


SYSTEM_THREADS = SystemThreads()

"""Threads that are none: blocking work runs on the virtual loop, as late as the loop says.

For ``open_engine(threads=…)``. What a lane or an executor is given is done in order, also when a later piece takes
less time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from .loop import Killed, VirtualLoop, running_loop

P = ParamSpec("P")
R = TypeVar("R")


class InlineLane:
    """One piece of work after the other, each after its own delay."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        """Queue *work*."""
        self._waiting.append(work)
        if len(self._waiting) == 1:
            self._arm()

    def close(self) -> None:
        """Do at once what is left."""
        while self._waiting:
            self._waiting.popleft()()

    def _arm(self) -> None:
        self._loop.call_later(self._loop.work_delay(), self._run)

    def _run(self) -> None:
        if not self._waiting:
            return
        try:
            self._waiting[0]()
        except Killed:
            return  # and with it the process whose lane this is
        self._waiting.popleft()
        if self._waiting:
            self._arm()


class InlineExecutor(Executor):
    """The same with a future for each piece."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._lane = InlineLane(loop)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue a call."""
        future: Future[R] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except Killed:
                raise
            except BaseException as problem:  # handed on to whoever asks the future, as every executor does
                future.set_exception(problem)
            else:
                future.set_result(result)

        self._lane.submit(run)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do at once what is left."""
        self._lane.close()


class InlineThreads:
    """All that an engine would use a thread for, on the running virtual loop."""

    def __init__(self, loop: VirtualLoop | None = None) -> None:
        self._loop = loop or running_loop()

    def lane(self, name: str) -> InlineLane:
        """A lane on the loop."""
        return InlineLane(self._loop)

    def executor(self, name: str) -> InlineExecutor:
        """An executor on the loop."""
        return InlineExecutor(self._loop)

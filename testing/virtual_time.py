"""An event loop whose clock jumps to the next timer when nothing is left to do: exact delays, and no waiting.

For one process's tasks; a network of many nodes with its faults is the simulation's. Sockets and threads have real
time of their own, so keep them out.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class JumpingSelector(selectors.DefaultSelector):
    """Never blocks: what it was asked to wait passes on the loop's clock instead."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; the clock jumps when nothing is."""
        events = super().select(0)
        if not events:
            assert timeout is not None, "everybody waits for somebody else, and no timer is armed"
            self.now_s += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time that begins at 0."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    @property
    def now_s(self) -> float:
        """Virtual seconds."""
        return self._jumping.now_s

    def time(self) -> float:
        """The same, for asyncio's timers."""
        return self._jumping.now_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* on virtual time; it takes as long as its work.

    >>> async def nap() -> float:
    ...     await pass_time(3_600)
    ...     return now_s()
    >>> run(nap())
    3600.0
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def driven(main: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """A decorator: the coroutine function becomes a function that runs it on virtual time, as a test does.

    >>> @driven
    ... async def test_an_hour_is_over_at_once() -> float:
    ...     await pass_time(3_600)
    ...     return now_s()
    >>> test_an_hour_is_over_at_once()
    3600.0
    """

    @wraps(main)
    def drive(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(main(*args, **kwargs))

    return drive


def now_s() -> float:
    """The virtual time of the loop that runs; ``TypeError`` when that is an ordinary one."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualTimeLoop):
        raise TypeError(f"{loop!r} runs on the machine's time; use virtual_time.run")
    return loop.now_s


async def pass_time(seconds: float) -> None:
    """Let virtual time pass; everything that becomes due meanwhile happens first."""
    now_s()
    await asyncio.sleep(seconds)

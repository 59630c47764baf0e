"""An event loop on virtual time: the clock jumps to the next timer as soon as nobody has anything to do.

No selector, no threads and no sockets: whatever asks for one is told so. When nothing is ready and no timer is armed,
nobody can ever go on, and ``Deadlock`` says who waits where. Several processes can live in it, each of which can be
killed between two steps: what it still had to do is dropped without a word, as by ``kill -9``.

The idea of jumping from timer to timer is trio's autojump clock's; killing by context is ours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Executor, Future
from contextvars import Context, ContextVar, copy_context
from functools import partial
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

from antiphon.facts import AntiphonError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A scenario takes some ten thousand steps; whoever takes this many goes round in circles.
STEPS_MAX = 20_000_000
# Enough to see the pattern, short enough to read.
TASKS_TOLD_MAX = 20


class Deadlock(AntiphonError):
    """Everybody waits and nothing can happen any more; the text names the waiting tasks."""


class Runaway(AntiphonError):
    """More steps than any scenario needs: something goes round in circles without letting time pass."""


class Killed(BaseException):
    """Raised inside a process at the very call in which it dies; not an ``Exception``, so that nobody handles it."""


PROCESS: ContextVar[Process | None] = ContextVar("antiphon-simulated-process", default=None)


class Process:
    """What lives and dies together: tasks, timers and callbacks that descend from ``spawn``.

    >>> async def main() -> list[str]:
    ...     said = []
    ...     async def talk() -> None:
    ...         try:
    ...             await asyncio.sleep(5)
    ...         finally:
    ...             said.append("a killed process says nothing")
    ...     process = Process("ada")
    ...     process.spawn(talk())
    ...     await asyncio.sleep(1)
    ...     process.kill()
    ...     await asyncio.sleep(10)
    ...     quiet = list(said)
    ...     await process.bury()
    ...     return quiet
    >>> run_virtual(main())
    []
    """

    def __init__(self, name: str, loop: VirtualLoop | None = None) -> None:
        self.name = name
        self._loop = loop or running_loop()
        self.is_dead = False
        self.frozen: list[asyncio.Handle] = []
        """What it would have run since it was killed."""
        self.step_count = 0
        """How many steps of the loop were its own."""
        self._steps_max: int | None = None
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._context = copy_context()
        self._context.run(PROCESS.set, self)

    @property
    def context(self) -> Context:
        """The context that marks callbacks as this process's."""
        return self._context

    @property
    def pending(self) -> tuple[asyncio.Task[Any], ...]:
        """Tasks that have not ended, in order of their making."""
        return tuple(self._tasks)

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine as part of this process."""
        context = self._context.run(copy_context)
        return self._loop.begin(coroutine, name=name, context=context)

    def kill(self) -> None:
        """Nothing of it runs from now on, not even a ``finally``."""
        self.is_dead = True

    def die_after(self, steps: int) -> None:
        """Let it die between two steps, when it has taken so many from its beginning."""
        self._steps_max = steps

    def take_step(self) -> bool:
        """Count a step that is about to be taken; False when it died before that."""
        if self.step_count == self._steps_max:
            self.kill()
        if not self.is_dead:
            self.step_count += 1
        return not self.is_dead

    def revive(self) -> None:
        """Let it go on where it was killed: only so can its tasks be ended."""
        self.is_dead = False
        self._steps_max = None
        frozen, self.frozen = self.frozen, []
        for handle in frozen:
            if not handle.cancelled():
                self._loop.requeue(handle, self)

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Count a task as one of this process's."""
        self._tasks[task] = None
        task.add_done_callback(self._forget)

    async def bury(self) -> None:
        """Let the tasks of a killed process end, once nothing they can reach is alive any more."""
        self.revive()
        tasks = self.pending
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # what a corpse complains about is nobody's business

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)


class _Numbered:
    """Hashed by number: sets of tasks are walked in the same order in every run, unlike those hashed by address."""

    number = 0

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Task(_Numbered, asyncio.Task[Any]):
    __hash__ = _Numbered.__hash__
    __eq__ = _Numbered.__eq__


class _Future(_Numbered, asyncio.Future[Any]):
    __hash__ = _Numbered.__hash__
    __eq__ = _Numbered.__eq__


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop. ``time()`` starts at 0 and costs nothing; *delay_of* says how long a piece of blocking work takes.

    Work for an executor runs on the loop itself, that much later, all at once: what a thread would do meanwhile is
    decided by the delays, the same in every run.

    >>> loop = VirtualLoop()
    >>> loop.run_until_complete(asyncio.sleep(3_600))
    >>> loop.time()
    3600.0
    >>> loop.close()
    """

    def __init__(self, *, delay_of: Callable[[], float] | None = None, steps_max: int = STEPS_MAX) -> None:
        super().__init__()
        self._now = 0.0
        self._numbers = 0
        self._steps_max = steps_max
        self._ready_now: deque[tuple[asyncio.Handle, Process | None]] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Process | None]] = []
        self._is_stopping = False
        self._delay_of = delay_of
        self.step_count = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    @property
    def elapsed_s(self) -> float:
        """The same, for those who may not ask a loop for the time: this one is a value of the run."""
        return self._now

    def stop(self) -> None:
        """Stop after this round."""
        self._is_stopping = True
        super().stop()

    def armed(self) -> list[asyncio.TimerHandle]:
        """The timers that are armed now, of living processes."""
        return [
            handle
            for _, _, handle, process in sorted(self._timers)
            if not handle.cancelled() and (process is None or not process.is_dead)
        ]

    def requeue(self, handle: asyncio.Handle, process: Process) -> None:
        """Queue what was frozen with its process."""
        self._ready_now.append((handle, process))

    # What asyncio asks of a loop

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Queue a callback; those of one round run in the order they came."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready_now.append((handle, _process_of(context)))
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """The same: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Arm a timer."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Arm a timer; those of one moment fire in the order they were armed."""
        self._numbers += 1
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, self._numbers, handle, _process_of(context)))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future that is hashed by its number."""
        self._numbers += 1
        future = _Future(loop=self)
        future.number = self._numbers
        return future

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """A task that is hashed by its number and known to its process."""
        return self.begin(coro, name=name, context=context)

    def begin(
        self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], *, name: object, context: Context | None
    ) -> asyncio.Task[T]:
        """The same, for a process, which owns what it begins."""
        self._numbers += 1
        task = _Task(coro, loop=self, name=str(name or f"task-{self._numbers}"), context=context)
        task.number = self._numbers
        process = _process_of(context)
        if process is not None:
            process.adopt(task)
        return task

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run *func* on this loop, as late as a thread would have been done with it."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        return asyncio.wrap_future(run_later(self, partial(func, *args)), loop=self)

    def work_delay(self) -> float:
        """How long the next piece of blocking work takes."""
        return self._delay_of() if self._delay_of is not None else 0.0

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked by a timer that is cancelled; it is dropped when its time comes."""

    def _run_once(self) -> None:
        while not self._ready_now and not self._is_stopping:
            self._jump()
        self._is_stopping = False
        for _ in range(len(self._ready_now)):
            handle, process = self._ready_now.popleft()
            if handle.cancelled():
                continue
            if process is not None and not process.take_step():
                process.frozen.append(handle)
                continue
            self.step_count += 1
            handle._run()
        if self.step_count > self._steps_max:
            self._steps_max *= 2  # told once: the tasks must still be ended
            raise Runaway(f"{self.step_count} steps at {self._now:g} s\n" + describe_waiting(self))

    def _jump(self) -> None:
        """To the next timer, and whatever is due with it."""
        while self._timers:
            when, _, handle, process = heappop(self._timers)
            if handle.cancelled():
                continue
            if process is not None and process.is_dead:
                process.frozen.append(handle)
                continue
            self._now = max(self._now, when)
            self._ready_now.append((handle, process))
            while self._timers and self._timers[0][0] <= self._now:
                _, _, handle, process = heappop(self._timers)
                self._ready_now.append((handle, process))
            return
        raise Deadlock(f"nobody can go on at {self._now:g} s; waiting are:\n" + describe_waiting(self))


def running_loop() -> VirtualLoop:
    """The virtual loop that runs now."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "a process lives in a virtual loop; see run_virtual"
    return loop


def _process_of(context: Context | None) -> Process | None:
    return PROCESS.get() if context is None else context.get(PROCESS)


def run_later(loop: VirtualLoop, work: Callable[[], T]) -> Future[T]:
    """Do *work* on the loop after a while, in the name of the process that asks."""
    future: Future[T] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = work()
        except Killed:
            return  # whoever waits for this is dead
        except BaseException as problem:  # handed on to whoever awaits the future, as an executor does
            future.set_exception(problem)
        else:
            future.set_result(result)

    loop.call_later(loop.work_delay(), run)
    return future


def describe_waiting(loop: asyncio.AbstractEventLoop) -> str:
    """The tasks that wait, and where: a line each."""
    tasks = sorted((task for task in asyncio.all_tasks(loop) if not _is_of_the_dead(task)), key=hash)
    lines = [f"  {task.get_name()}: {_place_of(task)}" for task in tasks[:TASKS_TOLD_MAX]]
    if len(tasks) > TASKS_TOLD_MAX:
        lines.append(f"  … and {len(tasks) - TASKS_TOLD_MAX} more")
    return "\n".join(lines) or "  (no task at all)"


def _is_of_the_dead(task: asyncio.Task[Any]) -> bool:
    process = task.get_context().get(PROCESS) if hasattr(task, "get_context") else None
    return process is not None and process.is_dead


def _place_of(task: asyncio.Task[Any]) -> str:
    waiting: Any = task.get_coro()
    places = []
    while waiting is not None and (frame := getattr(waiting, "cr_frame", None)) is not None:
        places.append(f"{frame.f_code.co_qualname} at {frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}")
        waiting = getattr(waiting, "cr_await", None)
    # Where the task itself stands, which is the reader's own line, and where in the end it waits.
    ends = dict.fromkeys((places[0], places[-1])) if places else ("before its first step",)
    return "in " + ", waiting in ".join(ends)


def run_virtual(
    main: Coroutine[Any, Any, T], *, delay_of: Callable[[], float] | None = None, steps_max: int = STEPS_MAX
) -> T:
    """Run *main* on a loop of its own, as ``asyncio.run`` does, in no time.

    Raises ``Deadlock`` when nobody can go on.

    >>> async def wait_an_hour() -> float:
    ...     await asyncio.sleep(3_600)
    ...     return asyncio.get_running_loop().time()
    >>> run_virtual(wait_an_hour())
    3600.0
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(delay_of=delay_of, steps_max=steps_max)) as runner:
        return runner.run(main)


async def settle(tasks: Iterable[asyncio.Task[Any]], *, timeout_s: float) -> list[asyncio.Task[Any]]:
    """Wait for tasks; those that are not done in time are returned, in order."""
    waiting = list(tasks)
    if waiting:
        await asyncio.wait(waiting, timeout=timeout_s)
    return [task for task in waiting if not task.done()]

"""Tasks that are begun in a callback, where no task group can be entered, and the owner who ends them.

Deliberately no way to begin a task without an owner, and none to forget one: whoever owns tasks settles or cancels them
before it ends. Where a coroutine can enter ``asyncio.TaskGroup``, that is the better owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class OwnedTasks:
    """The tasks of one owner. A task that fails is told by the next ``settle``, and is never lost in silence."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Begin *work* on the running loop."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    async def settle(self) -> None:
        """Return when all of them have ended, also those begun meanwhile; raises what the first failed with."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def cancel(self) -> None:
        """End all of them now, and return when they have ended; raises what one had failed with before."""
        for task in tuple(self._tasks):
            task.cancel()
        await self.settle()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self._failure is None:
            self._failure = task.exception()

"""Steps that can be taken back: when one fails, those that were done are undone in reverse order.

The first cause is never lost, whatever happens while undoing. Facts cannot be taken back from a journal that only
grows, so an undo commits a fact that compensates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from antiphon.facts import AntiphonError

UNDO_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and how to take it back when a later step fails; ``undo`` is given what ``do`` returned."""

    name: str
    do: Callable[[], Awaitable[object]]
    undo: Callable[[object], Awaitable[None]] | None = None


class UndoFailure(NamedTuple):
    """A step that could not be taken back; a ``CancelledError`` when what its undo waited for was cancelled."""

    step: str
    problem: BaseException


class OperationFailed(AntiphonError):
    """A step failed (``__cause__`` says why); what was done before it was undone, but for ``undo_failures``."""

    def __init__(
        self, step: str, cause: Exception, *, undone: Sequence[str], undo_failures: Sequence[UndoFailure]
    ) -> None:
        self.step = step
        self.cause = cause
        self.undone = tuple(undone)
        self.undo_failures = tuple(undo_failures)
        left = "".join(f"; {each.step} could not be taken back: {each.problem}" for each in undo_failures)
        super().__init__(f"{step} failed: {cause}{left}")


@dataclass(slots=True)
class _Account:
    """How undoing went."""

    undone: list[str] = field(default_factory=list)
    failures: list[UndoFailure] = field(default_factory=list)
    cancelled: asyncio.CancelledError | None = None


@dataclass(frozen=True, slots=True)
class Saga:
    """Steps in order; ``run`` is all or nothing as far as every ``undo`` keeps its word.

    An undo has ``undo_timeout_s`` of its own and is not disturbed by a cancellation of the caller; each runs at most
    once, in reverse order, and a failing one does not keep the others from running.
    """

    steps: tuple[Step, ...]
    undo_timeout_s: float = UNDO_TIMEOUT_S

    async def run(self) -> tuple[object, ...]:
        """What each step returned. ``OperationFailed`` names the step that failed, and is raised from its cause."""
        done: list[tuple[Step, object]] = []
        for step in self.steps:
            try:
                done.append((step, await step.do()))
            except BaseException as cause:
                account = await self._undo_undisturbed(done)
                for failure in account.failures:
                    cause.add_note(f"{failure.step} could not be taken back: {failure.problem}")
                if not isinstance(cause, Exception):
                    raise
                failed = OperationFailed(step.name, cause, undone=account.undone, undo_failures=account.failures)
                failed.__cause__ = cause
                if account.cancelled is not None:
                    raise account.cancelled from failed
                raise failed from cause
        return tuple(result for _, result in done)

    async def _undo_undisturbed(self, done: Sequence[tuple[Step, object]]) -> _Account:
        """Undo to the end; a cancellation that comes meanwhile is kept for later."""
        account = _Account()
        async with asyncio.TaskGroup() as group:
            undoing = group.create_task(self._undo(done, account))
            while not undoing.done():
                try:
                    await asyncio.shield(undoing)
                except asyncio.CancelledError as problem:
                    account.cancelled = problem
        return account

    async def _undo(self, done: Sequence[tuple[Step, object]], account: _Account) -> None:
        for step, result in reversed(done):
            if step.undo is None:
                continue
            try:
                async with asyncio.timeout(self.undo_timeout_s):
                    await step.undo(result)
            except (Exception, asyncio.CancelledError) as problem:
                if _is_cancelled_itself(problem):
                    raise
                account.failures.append(UndoFailure(step.name, problem))
            else:
                account.undone.append(step.name)


def _is_cancelled_itself(problem: BaseException) -> bool:
    """Whether it is the undoing that was cancelled, as when its loop ends, and not something that an undo awaited."""
    task = asyncio.current_task()
    return isinstance(problem, asyncio.CancelledError) and task is not None and task.cancelling() > 0

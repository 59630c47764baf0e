"""Trying again: which failures are worth it, how often, how long between, and all of it within one time budget.

Whoever fails says by the class of its error whether trying again may help; what is not listed fails at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from antiphon.facts import AntiphonError, LocalViolation

from .budget import DeadlineExceeded, TimeoutBudget, Timing
from .delays import Delays, ExponentialWithJitter

T = TypeVar("T")


class AttemptTimedOut(AntiphonError):
    """One attempt took longer than an attempt may; it is repeated only if repeating is harmless."""


class MaxRetriesExceeded(AntiphonError):
    """Every attempt failed in a way that was worth another; ``last`` is why the last one did."""

    def __init__(self, *, attempts: int, last: Exception) -> None:
        self.attempts = attempts
        self.last = last
        super().__init__(f"{attempts} attempts failed, the last because {last}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """At most ``attempts_max`` calls, with ``delays`` between them.

    ``per_attempt_s`` bounds each call; one that runs over is repeated only when the operation ``is_idempotent``.
    """

    attempts_max: int = 3
    delays: Delays = ExponentialWithJitter()  # noqa: RUF009  # a NamedTuple cannot change
    per_attempt_s: float | None = None
    is_idempotent: bool = True

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise LocalViolation(f"attempts_max is {self.attempts_max}; one attempt is the least")
        if self.per_attempt_s is not None and self.per_attempt_s <= 0:
            raise LocalViolation(f"per_attempt_s is {self.per_attempt_s}; it must be more than 0")


async def retry(
    work: Callable[[TimeoutBudget | None], Awaitable[T]],
    policy: RetryPolicy,
    *,
    timing: Timing,
    retryable: tuple[type[Exception], ...],
    budget: TimeoutBudget | None = None,
    pause_of: Callable[[Exception], float] = lambda problem: 0.0,
) -> T:
    """Call *work* until it succeeds, fails for good, or the attempts or the time are used up.

    *work* is given what is left of *budget*; the budget is shared by all attempts and pauses. *pause_of* may ask for a
    longer pause than the policy's (a peer that is busy says when to come back). Cancellation is never retried.

    Raises what *work* raised if that is not *retryable*, ``MaxRetriesExceeded`` from the last failure, and
    ``DeadlineExceeded`` when an attempt or the next pause would go beyond the budget.
    """
    worth_it: tuple[type[Exception], ...] = (*retryable, AttemptTimedOut)
    for attempt in range(policy.attempts_max):
        try:
            return await _attempt(work, policy, timing, budget)
        except worth_it as problem:
            if isinstance(problem, AttemptTimedOut) and not policy.is_idempotent:
                raise
            if isinstance(problem, DeadlineExceeded) and budget is not None and problem.deadline_s >= budget.deadline_s:
                raise  # it is this time that is used up, and not that of a part
            if attempt + 1 == policy.attempts_max:
                raise MaxRetriesExceeded(attempts=attempt + 1, last=problem) from problem
            planned_s = policy.delays.delay_s(attempt=attempt, chance=timing.chance())
            await _pause(max(planned_s, pause_of(problem)), timing, budget, problem)
    raise AssertionError("attempts_max is at least one")


async def _attempt(
    work: Callable[[TimeoutBudget | None], Awaitable[T]],
    policy: RetryPolicy,
    timing: Timing,
    budget: TimeoutBudget | None,
) -> T:
    now_s = timing.elapsed_s()
    if budget is None and policy.per_attempt_s is None:
        return await work(None)
    whole = budget if budget is not None else TimeoutBudget.starting(at_s=now_s, seconds=policy.per_attempt_s or 1.0)
    whole.check(at_s=now_s)
    mine = whole.child(at_s=now_s, seconds=policy.per_attempt_s)
    try:
        async with asyncio.timeout(mine.remaining(at_s=now_s)) as guard:
            return await work(mine)
    except TimeoutError as problem:
        if not guard.expired():
            raise
        if budget is not None and mine.deadline_s >= budget.deadline_s:
            raise DeadlineExceeded(deadline_s=budget.deadline_s, observed_s=timing.elapsed_s()) from problem
        raise AttemptTimedOut(f"one attempt took more than {policy.per_attempt_s:g} s") from problem


async def _pause(pause_s: float, timing: Timing, budget: TimeoutBudget | None, problem: Exception) -> None:
    now_s = timing.elapsed_s()
    if budget is not None and now_s + pause_s >= budget.deadline_s:
        raise DeadlineExceeded(deadline_s=budget.deadline_s, observed_s=now_s) from problem
    await timing.sleep(pause_s)

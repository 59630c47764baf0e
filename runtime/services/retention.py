"""Retention at work: asking DuckDB which payloads are old, deciding by the delivery policies, letting them go.

What goes is decided in ``journal/retention.py``; when, by whoever calls, or by a timer that somebody asked for.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from antiphon.facts import LocalViolation
from antiphon.journal import JournalError
from antiphon.journal.retention import RetentionPlan, eligible_before, plan_retention

from ..engine import JournalEngine
from ..tasks import OwnedTasks
from .acks import account_of

# A pass costs a scan; more often than this nothing can have grown a day older.
INTERVAL_S_MIN = 60.0


async def plan_retirement(engine: JournalEngine) -> RetentionPlan:
    """What the registered policies would let go now, and why the rest of those kinds stays; one scan of DuckDB.

    Raises ``StoreUnavailable`` while DuckDB cannot be had.
    """
    account = account_of(engine)
    await account.settle()
    now_ms, policies = engine.clock.now_ms(), account.policies
    upto = eligible_before(policies, now_ms=now_ms)
    if not upto:
        return plan_retention((), policies, now_ms=now_ms)
    items, totals = await engine.follower.run(
        lambda database: (database.load_retention_items(upto), database.count_payloads(upto))
    )
    return plan_retention(items, policies, now_ms=now_ms, totals=totals)


async def retire_payloads(engine: JournalEngine) -> RetentionPlan:
    """Let go of what ``plan_retirement`` finds; done when files, tables and views no longer hold it."""
    plan = await plan_retirement(engine)
    if plan.retired or plan.horizons:
        await engine.retire(plan)
    return plan


class RetentionTimer:
    """Passes at an interval of the loop's clock until it is closed: one timer, or one pass, at any time.

    What stands in a pass's way is kept as a problem of the journal, and the next one tries again.
    """

    def __init__(self, engine: JournalEngine, interval: timedelta) -> None:
        if interval.total_seconds() < INTERVAL_S_MIN:
            raise LocalViolation(f"a retention pass each {interval} is too often; give {INTERVAL_S_MIN:.0f} s or more")
        self._engine = engine
        self._interval_s = interval.total_seconds()
        self._passes = OwnedTasks()
        self._timer: asyncio.TimerHandle | None = None
        self._arm()

    async def close(self) -> None:
        """Stop; a pass that has begun is finished first."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        await self._passes.settle()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._due)

    def _due(self) -> None:
        self._passes.start(self._run())

    async def _run(self) -> None:
        try:
            await retire_payloads(self._engine)
        except JournalError as problem:
            self._engine.note_problem(f"old payloads were not let go: {problem}; it is tried again")
        if self._timer is not None:
            self._arm()

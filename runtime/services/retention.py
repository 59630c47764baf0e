"""Retention at work: asking DuckDB which payloads are old, deciding by the delivery policies, letting them go.

What goes is decided in ``journal/retention.py``; when, by whoever calls: nothing runs by itself unless it is asked to.
"""

from __future__ import annotations

from antiphon.journal.retention import RetentionPlan, eligible_before, plan_retention

from ..engine import JournalEngine
from .acks import account_of


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

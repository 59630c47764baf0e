"""Deciding which of 10,000 accounts of acknowledgements may be dropped: pure policy, no disk."""

from __future__ import annotations

from antiphon.journal import (
    Acknowledgment,
    ChatDeliveryPolicy,
    Consistency,
    DeliveryPolicies,
    TrackedItem,
    plan_ack_gc,
)

from .measure import Figure, Settings, Stopwatch

COUNT = 10_000
DAY_MS = 24 * 60 * 60 * 1000
GOAL_MS = 50.0


async def measure(settings: Settings) -> list[Figure]:
    """A pass over chat messages of 0 to 99 days, of which half are acknowledged by both who are expected."""
    policies = DeliveryPolicies()
    policies.register("chat", ChatDeliveryPolicy())
    expected = frozenset({"ben", "eve"})
    both = Consistency(acknowledgment=Acknowledgment({"ben": 1, "eve": 2}))
    items = [
        TrackedItem(
            str(number), "chat.message_sent", number % 100 * DAY_MS, both if number % 2 else Consistency(), expected
        )
        for number in range(COUNT)
    ]
    samples = []
    for _ in range(settings.pick(50, 5)):
        with Stopwatch() as watch:
            plan = plan_ack_gc(items, policies, now_ms=100 * DAY_MS)
        samples.append(watch.sample())
    wall, cpu = (sorted(each[at] for each in samples)[len(samples) // 2] * 1e3 for at in (0, 1))
    return [
        Figure(
            name="ack_retention",
            title="which of 10,000 acknowledged facts may be let go",
            unit="ms",
            ours=wall,
            reference=None,
            value=wall,
            cpu_value=cpu,
            goal=GOAL_MS,
            final_goal=GOAL_MS,
            value_unit=" ms",
            details={"dropped": len(plan.dropped), "kept": plan.kept_count},
        )
    ]

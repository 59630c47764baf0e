"""Delivery policies: nothing goes before its time, everything at the end of it, and a domain has one policy."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import Fact
from antiphon.facts.chat import MessageSent, MessageSentSealed
from antiphon.journal import (
    Acknowledgment,
    Agreement,
    ChannelMembersPolicy,
    ChatDeliveryPolicy,
    Consistency,
    DeliveryPolicies,
    DeliveryPolicy,
    DropWhenFinalized,
    DropWhenFinalizedAndFullyAcked,
    DropWhenFullyAcked,
    DropWhenSafeAndFullyAcked,
    InvalidRetention,
    PolicyAlreadyRegistered,
    TrackedItem,
    plan_ack_gc,
)
from antiphon.testing.lattices import consistencies

DAY = timedelta(days=1)
DAY_MS = 24 * 60 * 60 * 1000
PEERS = frozenset({"ben", "eve"})
NOTHING = Consistency()
ACKED = Consistency(acknowledgment=Acknowledgment({"ben": 1, "eve": 2}))
FINAL = Consistency(agreement=Agreement().finalized("round"))
SAFE = Consistency(agreement=Agreement().certified("cert", epoch=1))


class DeliveryNoted(Fact, kind="test_delivery.noted", version=1):
    text: str


def said() -> MessageSent:
    return MessageSent(
        context_id="home",
        channel_id="tea",
        message_id="m1",
        sender_id="0" * 32,
        sender_name="ada",
        text="hello",
        sent_at=1,
    )


def test_chat_keeps_day_29_and_drops_day_31_when_acked_and_day_91_always() -> None:
    chat = ChatDeliveryPolicy()
    assert not chat.can_gc(29 * DAY, ACKED, PEERS)
    assert chat.can_gc(31 * DAY, ACKED, PEERS)
    assert not chat.can_gc(31 * DAY, NOTHING, PEERS)
    assert not chat.can_gc(89 * DAY, NOTHING, PEERS)
    assert chat.can_gc(91 * DAY, NOTHING, PEERS)


def test_chat_wants_messages_acknowledged_and_nothing_else() -> None:
    policies = DeliveryPolicies()
    policies.register("chat", ChatDeliveryPolicy())
    assert policies.requires_ack(said())
    sealed = said().model_dump(exclude={"text"}) | {"payload": b"only who holds the key reads this"}
    assert policies.requires_ack(MessageSentSealed(**sealed))
    assert not policies.requires_ack(DeliveryNoted(text="x"))


@pytest.mark.parametrize(
    ("policy", "dropped"),
    [
        (DropWhenFinalized(), {"final", "final and acked"}),
        (DropWhenFullyAcked(), {"acked", "final and acked", "safe and acked"}),
        (DropWhenFinalizedAndFullyAcked(), {"final and acked"}),
        (DropWhenSafeAndFullyAcked(), {"final and acked", "safe and acked"}),
    ],
)
def test_each_policy_lets_go_of_what_it_says(policy: DeliveryPolicy, dropped: set[str]) -> None:
    cases = {
        "nothing": NOTHING,
        "final": FINAL,
        "safe": SAFE,
        "acked": ACKED,
        "final and acked": FINAL.join(ACKED),
        "safe and acked": SAFE.join(ACKED),
    }
    assert {name for name, each in cases.items() if policy.should_drop_tracking(each, PEERS)} == dropped


@pytest.mark.parametrize("policy", [DropWhenFullyAcked(), DropWhenFinalizedAndFullyAcked(), ChatDeliveryPolicy()])
def test_while_nobody_is_expected_nothing_counts_as_acked(policy: DeliveryPolicy) -> None:
    assert not policy.should_drop_tracking(FINAL.join(ACKED), frozenset())


def test_the_members_of_a_channel_are_expected() -> None:
    policy = ChannelMembersPolicy(members_of=lambda fact: PEERS if isinstance(fact, MessageSent) else frozenset())
    assert policy.expected_peers(said()) == PEERS
    assert policy.expected_peers(DeliveryNoted(text="x")) == frozenset()


days = st.integers(min_value=0, max_value=200).map(lambda count: count * DAY)


@given(days, days, days, consistencies)
def test_nothing_goes_before_the_minimum_and_all_at_the_maximum(
    least: timedelta, more: timedelta, age: timedelta, consistency: Consistency
) -> None:
    policy = DeliveryPolicy(min_retention=least, max_retention=least + more)
    goes = policy.can_gc(age, consistency, PEERS)
    assert not goes or age >= least
    assert goes or age < least + more


def test_an_impossible_retention_is_refused() -> None:
    with pytest.raises(InvalidRetention, match="shorter than min_retention"):
        DeliveryPolicy(min_retention=2 * DAY, max_retention=DAY)
    with pytest.raises(InvalidRetention, match="negative"):
        DeliveryPolicy(min_retention=-DAY)


def test_a_domain_has_one_policy_and_a_kind_may_have_its_own() -> None:
    policies = DeliveryPolicies()
    assert policies.for_kind("chat.message_sent") == DropWhenFinalized()
    policies.register("chat", ChatDeliveryPolicy())
    policies.register("chat", ChatDeliveryPolicy())
    policies.register("chat.message_read", DropWhenFinalized(min_retention=DAY))
    with pytest.raises(PolicyAlreadyRegistered, match="another domain or kind"):
        policies.register("chat", DropWhenFinalized())
    assert policies.for_kind("chat.message_sent") == ChatDeliveryPolicy()
    assert policies.for_kind("chat.message_read") == DropWhenFinalized(min_retention=DAY)


def test_a_pass_names_what_goes_and_counts_it_by_domain() -> None:
    policies = DeliveryPolicies()
    policies.register("chat", ChatDeliveryPolicy())
    now = 100 * DAY_MS
    items = [
        TrackedItem("old", "chat.message_sent", now - 91 * DAY_MS, NOTHING, PEERS),
        TrackedItem("acked", "chat.message_sent", now - 31 * DAY_MS, ACKED, PEERS),
        TrackedItem("young", "chat.message_sent", now - 29 * DAY_MS, ACKED, PEERS),
        TrackedItem("ahead", "chat.message_sent", now + DAY_MS, ACKED, PEERS),
        TrackedItem("final", "demo.noted", now, FINAL),
    ]
    plan = plan_ack_gc(items, policies, now_ms=now)
    assert plan.dropped == ("old", "acked", "final")
    assert plan.dropped_by_domain == {"chat": 2, "demo": 1}
    assert (plan.ack_count, plan.kept_count) == (2, 2)
    kept = [item for item in items if item.item not in plan.dropped]
    assert plan_ack_gc(kept, policies, now_ms=now).dropped == ()

"""What retention lets go, by policies, ages and acknowledgements alone, and what a node remembers of it."""

from datetime import timedelta
from itertools import permutations

import pytest

from antiphon.facts import ChainId, FactId
from antiphon.journal import ChatDeliveryPolicy, DeliveryPolicies, DeliveryPolicy
from antiphon.journal.delivery import InvalidRetention, is_protected
from antiphon.journal.frame import LocalNote
from antiphon.journal.retention import RetentionBook, RetentionItem, eligible_before, horizons_of, plan_retention

DAY_MS = 86_400_000
NOW = 1_800_000_000_000
KIND = "chat.message_sent"


def item(number: int, *, days: float, acks: dict[str, int] | None = None, kind: str = KIND) -> RetentionItem:
    fact_id = FactId(number.to_bytes(32, "big"))
    return RetentionItem(fact_id, ChainId(bytes(16)), number, kind, NOW - int(days * DAY_MS), 100, acks or {})


def chat(*peers: str) -> DeliveryPolicies:
    policies = DeliveryPolicies()
    policies.register("chat", ChatDeliveryPolicy(peers=frozenset(peers)))
    return policies


def test_day_29_stays_day_31_goes_when_it_was_acknowledged_and_day_91_always() -> None:
    items = [
        item(1, days=29, acks={"ben": 1}),
        item(2, days=31, acks={"ben": 1}),
        item(3, days=31),
        item(4, days=91),
        item(5, days=91, acks={"ben": 1}),
        item(6, days=-400),
    ]
    plan = plan_retention(items, chat("ben"), now_ms=NOW)
    assert [each.seq for each in plan.retired] == [2, 4, 5]
    (kind,) = plan.kinds
    assert (kind.retired_count, kind.payload_bytes, kind.young_count, kind.needed_count) == (3, 300, 2, 1)
    assert plan.horizons[KIND] == NOW - 90 * DAY_MS
    assert eligible_before(chat(), now_ms=NOW)[KIND] == NOW - 30 * DAY_MS


def test_what_was_dropped_from_the_account_is_needed_no_more() -> None:
    let_go = item(1, days=31)._replace(is_let_go=True)
    young = item(2, days=29)._replace(is_let_go=True)
    assert [each.seq for each in plan_retention([let_go, young], chat("ben"), now_ms=NOW).retired] == [1]


def test_without_a_policy_that_names_the_kind_nothing_goes() -> None:
    imported = item(1, days=9_000, kind="chat.message_imported")
    assert plan_retention([imported, item(2, days=9_000, kind="demo.noted")], chat(), now_ms=NOW).retired == ()
    assert plan_retention([item(3, days=9_000)], DeliveryPolicies(), now_ms=NOW).horizons == {}


def test_a_policy_for_a_whole_kind_goes_before_its_domains() -> None:
    policies = chat()
    policies.register(KIND, DeliveryPolicy())
    assert KIND not in horizons_of(policies, now_ms=NOW)
    assert plan_retention([item(1, days=9_000)], policies, now_ms=NOW).retired == ()


@pytest.mark.parametrize(
    "kind",
    [
        "chat.message_deleted",
        "chat.channel_closed",
        "contact.removed",
        "friendship.revoked",
        "invitation.cancelled",
        "journal.chain_opened",
        "moderation.home_ban",
        "moderation.home_grant_moderator",
        "guardian.bound",
        "protocol.operation_finalized",
    ],
)
def test_what_opens_grants_or_takes_away_cannot_be_let_go(kind: str) -> None:
    assert is_protected(kind)
    with pytest.raises(InvalidRetention, match=kind):
        DeliveryPolicy(max_retention=timedelta(days=1), retired_kinds=frozenset({kind}))


def test_a_book_is_the_same_in_whatever_order_and_however_often_notes_come() -> None:
    first = plan_retention([item(2, days=31, acks={"ben": 1})], chat("ben"), now_ms=NOW).notes()
    later = plan_retention([item(3, days=33, acks={"ben": 1})], chat("ben"), now_ms=NOW + DAY_MS).notes()
    notes = [*first, *later]
    assert len(notes) == 4
    seen = set()
    for order in permutations(notes):
        book = RetentionBook()
        book.take((*order, *order[:2], LocalNote("peer", {})))
        assert book
        seen.add(tuple(sorted(book.horizons.items())))
    assert len(seen) == 1
    assert not RetentionBook()

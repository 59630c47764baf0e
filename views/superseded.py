"""Which facts of the kinds that ship replace each other: those that the views fold into registers.

Kept beside the folds that it must agree with; ``tests/views/test_superseded.py`` holds it against them. Messages,
edits (a message shows how often it was edited), deletions and memberships are not here: each of them counts for ever,
or others are judged by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from antiphon.facts.chat import ChannelUpdated, MessageDeliveryUpdated, MessageRead
from antiphon.facts.contacts import (
    ContactAdded,
    ContactRenamed,
    FriendshipAccepted,
    FriendshipProposed,
    ReadReceiptPolicyUpdated,
    is_human_name,
)
from antiphon.journal.supersession import Supersession, Write

from .message_log import RANK_OF


def _updated(fact: ChannelUpdated) -> Iterator[Write]:
    yield ("activity", fact.channel_id), None
    for name in ("name", "topic", "member_count", "member_ids"):
        if getattr(fact, name) is not None:
            yield (name, fact.channel_id), None


def _read(fact: MessageRead) -> Iterator[Write]:
    yield ("read", fact.channel_id, fact.message_id, fact.reader_id), None


def _delivered(fact: MessageDeliveryUpdated) -> Iterator[Write]:
    yield ("delivered", fact.channel_id, fact.message_id), RANK_OF[fact.delivery_status]


def _added(fact: ContactAdded) -> Iterator[Write]:
    yield ("added", fact.owner_id, fact.contact_id), None
    if is_human_name(fact.nickname, contact_id=fact.contact_id):
        yield ("suggested", fact.owner_id, fact.contact_id), None
    if fact.invitation_code is not None:
        yield ("code", fact.owner_id, fact.contact_id), None


def _renamed(fact: ContactRenamed) -> Iterator[Write]:
    yield ("renamed", fact.owner_id, fact.contact_id), None


def _decided(fact: ReadReceiptPolicyUpdated) -> Iterator[Write]:
    yield ("policy", fact.owner_id, fact.contact_id), None


def _offered(fact: FriendshipProposed | FriendshipAccepted) -> Iterator[Write]:
    yield (fact.fact_type.kind, fact.requester_id, fact.accepter_id), None


SUPERSESSIONS: tuple[Supersession, ...] = tuple(
    Supersession(model.fact_type.kind, attrgetter(actor), writes)
    for model, actor, writes in (
        (ChannelUpdated, "actor_id", _updated),
        (MessageRead, "reader_id", _read),
        (MessageDeliveryUpdated, "actor_id", _delivered),
        (ContactAdded, "owner_id", _added),
        (ContactRenamed, "owner_id", _renamed),
        (ReadReceiptPolicyUpdated, "owner_id", _decided),
        (FriendshipProposed, "requester_id", _offered),
        (FriendshipAccepted, "accepter_id", _offered),
    )
)
"""What ``journal.trim()`` goes by."""

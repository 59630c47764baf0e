"""The contact, friendship and guardian facts, and the rules for names.

A contact list belongs to its owner: nobody else's facts change it. A friendship takes two. All times are signed
milliseconds since 1970.
"""

from __future__ import annotations

from typing import Literal

from .chat import ContextId
from .fact import Fact

ReadReceiptPolicy = Literal["disabled", "enabled"]

# Enough of an id to tell a handful of people apart on a narrow screen.
SHORT_NAME_LENGTH = 8


class ContactAdded(Fact, kind="contact.added", version=1, context="context_id", time="added_at"):
    """The owner keeps this contact; ``nickname`` is a suggestion, which the owner's own naming overrides.

    ``owner_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    owner_id: str
    contact_id: str
    nickname: str
    added_at: int
    invitation_code: str | None = None


class ContactRemoved(Fact, kind="contact.removed", version=1, context="context_id", time="removed_at"):
    """The owner drops the contact, with the name, the policy and the code it had until then.

    ``owner_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    owner_id: str
    contact_id: str
    removed_at: int


class ContactRenamed(Fact, kind="contact.renamed", version=1, context="context_id", time="renamed_at"):
    """The owner's own name for the contact; an empty one takes it back.

    ``owner_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    owner_id: str
    contact_id: str
    new_nickname: str
    renamed_at: int


class ReadReceiptPolicyUpdated(
    Fact, kind="contact.read_receipt_policy_updated", version=1, context="context_id", time="updated_at"
):
    """Whether the owner tells this contact what was read (``disabled`` until said otherwise).

    ``owner_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    owner_id: str
    contact_id: str
    policy: ReadReceiptPolicy
    updated_at: int


class FriendshipProposed(Fact, kind="friendship.proposed", version=1, context="context_id", time="proposed_at"):
    """The requester offers friendship.

    ``requester_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    requester_id: str
    accepter_id: str
    proposed_at: int


class FriendshipAccepted(Fact, kind="friendship.accepted", version=1, context="context_id", time="accepted_at"):
    """The accepter takes the requester's offer; without that offer it says nothing.

    ``accepter_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    requester_id: str
    accepter_id: str
    accepted_at: int


class FriendshipRevoked(Fact, kind="friendship.revoked", version=1, context="context_id", time="revoked_at"):
    """One of the two ends the friendship, or withdraws or refuses the offer.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    requester_id: str
    accepter_id: str
    revoked_at: int
    actor_id: str


class GuardianBound(Fact, kind="guardian.bound", version=1, context="context_id", time="bound_at"):
    """The account made somebody one of its guardians.

    ``account_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    account_id: str
    guardian_id: str
    bound_at: int


CONTACT_FACTS: tuple[type[Fact], ...] = (
    ContactAdded,
    ContactRemoved,
    ContactRenamed,
    ReadReceiptPolicyUpdated,
    FriendshipProposed,
    FriendshipAccepted,
    FriendshipRevoked,
    GuardianBound,
)


def short_name(contact_id: str) -> str:
    """What a screen shows for somebody without a name.

    >>> short_name("0123456789abcdef"), short_name("bob")
    ('01234567...', 'bob')
    """
    return contact_id if len(contact_id) <= SHORT_NAME_LENGTH else contact_id[:SHORT_NAME_LENGTH] + "..."


def is_human_name(name: str, *, contact_id: str) -> bool:
    """Whether *name* says more than the id does: not blank, and neither the id nor its short form.

    >>> is_human_name("Ada", contact_id="0123456789abcdef"), is_human_name("01234567...", contact_id="0123456789abcdef")
    (True, False)
    """
    return name.strip() not in ("", contact_id, short_name(contact_id))

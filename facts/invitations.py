"""The invitation facts: an offer, and the three ways it is answered.

An expired invitation needs no fact: whoever looks at the clock knows. Who may answer, and which of two answers counts,
is decided by the invitations view. All times are signed milliseconds since 1970.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from .chat import ContextId
from .encoding import INTEGER_MAX
from .errors import LocalViolation
from .fact import Fact

# A note, not a letter.
MESSAGE_LENGTH_MAX = 1000
LIFETIME_MS_DEFAULT = 7 * 24 * 60 * 60 * 1000


class _Offer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ContactInvitation(_Offer):
    """Become contacts; ``nickname`` is the name the sender would like to be known by."""

    type: Literal["contact"] = "contact"
    nickname: str | None = None


class GuardianInvitation(_Offer):
    """Become a guardian of the subject."""

    type: Literal["guardian"] = "guardian"
    subject_authority: str


class ChannelInvitation(_Offer):
    """Join a home and its channels; an empty ``home_id`` does not decode."""

    type: Literal["channel"] = "channel"
    home_id: Annotated[str, StringConstraints(min_length=1)]
    nickname_suggestion: str | None = None
    bootstrap: bool = False


class DeviceInvitation(_Offer):
    """Enrol another device of the subject."""

    type: Literal["device"] = "device"
    subject_authority: str
    initiator_device_id: str
    device_id: str
    ceremony_id: str
    pending_epoch: int
    nickname_suggestion: str | None = None


InvitationType = ContactInvitation | GuardianInvitation | ChannelInvitation | DeviceInvitation


class InvitationSent(Fact, kind="invitation.sent", version=1, context="context_id", time="sent_at"):
    """An offer to the receiver; sender and receiver are the same when it is for whoever holds the link.

    ``sender_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    invitation_id: str
    sender_id: str
    receiver_id: str
    invitation_type: Annotated[InvitationType, Field(discriminator="type")]
    sent_at: int
    expires_at: int | None = None
    receiver_nickname: str | None = None
    message: Annotated[str, StringConstraints(max_length=MESSAGE_LENGTH_MAX)] | None = None


class InvitationAccepted(Fact, kind="invitation.accepted", version=1, context="context_id", time="accepted_at"):
    """The receiver takes the offer.

    ``acceptor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    invitation_id: str
    acceptor_id: str
    accepted_at: int


class InvitationDeclined(Fact, kind="invitation.declined", version=1, context="context_id", time="declined_at"):
    """The receiver does not want it.

    ``decliner_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    invitation_id: str
    decliner_id: str
    declined_at: int


class InvitationCancelled(Fact, kind="invitation.cancelled", version=1, context="context_id", time="cancelled_at"):
    """The sender takes the offer back.

    ``canceller_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    invitation_id: str
    canceller_id: str
    cancelled_at: int


INVITATION_FACTS: tuple[type[Fact], ...] = (
    InvitationSent,
    InvitationAccepted,
    InvitationDeclined,
    InvitationCancelled,
)


def expiry_of(sent_at: int, *, lifetime_ms: int = LIFETIME_MS_DEFAULT) -> int:
    """When an invitation sent at *sent_at* ends; ``LocalViolation`` for a negative lifetime or beyond 64 bits.

    >>> expiry_of(1_000, lifetime_ms=500)
    1500
    """
    expires_at = sent_at + lifetime_ms
    if lifetime_ms < 0 or expires_at > INTEGER_MAX:
        raise LocalViolation(
            f"an invitation sent at {sent_at} cannot live for {lifetime_ms} ms; "
            "expected a lifetime of 0 or more that ends within 64 bits"
        )
    return expires_at

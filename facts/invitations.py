"""The invitation facts: an offer, the three ways it is answered, and the ceremony that makes an answer binding.

An expired invitation needs no fact: whoever looks at the clock knows. Who may answer, and which of two answers counts,
is decided by the invitations view. Old writers named no context in what came after the offer: such a fact is read in
the chain that it stands in; made anew it goes to a context of its own, derived from its ids. All times are signed
milliseconds since 1970.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from .ceremonies import AgreementMode
from .chat import ContextId
from .declare import ceremony_facts, domain_fact
from .encoding import INTEGER_MAX
from .errors import LocalViolation
from .fact import DerivedContext, Fact, upcast

# A note, not a letter.
MESSAGE_LENGTH_MAX = 1000
LIFETIME_MS_DEFAULT = 7 * 24 * 60 * 60 * 1000


class _Offer(BaseModel):
    # Bytes as a fact's own fields write them; a nested model does not take that from the fact.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


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
    """Enrol another device of the subject: what a group needs to take its key in at ``pending_epoch``.

    Packages, configuration and operations are opaque here; whoever runs the ceremony reads them.
    """

    type: Literal["device"] = "device"
    subject_authority: str
    initiator_device_id: str
    device_id: str
    ceremony_id: str
    pending_epoch: int
    nickname_suggestion: str | None = None
    key_package: bytes = b""
    threshold_config: bytes = b""
    public_key_package: bytes = b""
    baseline_tree_ops: tuple[bytes, ...] = ()


InvitationType = ContactInvitation | GuardianInvitation | ChannelInvitation | DeviceInvitation


@ceremony_facts
class InvitationSent(Fact, kind="invitation.sent", version=2, context="context_id", time="sent_at"):
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


@upcast(InvitationSent, from_=1, to=2)
def _add_key_packages(old: dict[str, Any]) -> dict[str, Any]:
    """Version 1 enrolled devices without saying how: their packages came another way."""
    offer = old["invitation_type"]
    if not isinstance(offer, dict) or offer.get("type") != "device":
        return old
    nothing = {"key_package": "", "threshold_config": "", "public_key_package": "", "baseline_tree_ops": []}
    return old | {"invitation_type": offer | nothing}


def derived_invitation_context(*, kind: str, ids: tuple[str, ...]) -> DerivedContext:
    """The context of an answer or ceremony fact that names none, as old writers left it: a hash of its kind and ids.

    Where such a fact stands in a chain of another context already, it belongs there.

    >>> derived_invitation_context(kind="ceremony-aborted", ids=("c",))
    'invitation.96284d1b88b327b83df059d3cd6c7b6e'
    """
    parts = (part.encode() for part in (kind, *ids))
    body = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return DerivedContext("invitation." + sha256(b"invitation-fact-context:v1:" + body).hexdigest()[:32])


_CEREMONY_IDS = ("superseded_ceremony_id", "superseding_ceremony_id", "ceremony_id")


def _context_of(fact: Fact) -> str:
    """The context an answer or a part of a ceremony names, else the derived one."""
    named: str | None = getattr(fact, "context_id")  # noqa: B009
    if named is not None:
        return named
    fields = type(fact).model_fields
    ceremonies = tuple(name for name in _CEREMONY_IDS if name in fields)
    ids = tuple(str(getattr(fact, name)) for name in ceremonies or ("invitation_id",))
    return derived_invitation_context(kind=fact.fact_type.kind, ids=ids)


@ceremony_facts
@domain_fact(type_id="invitation.accepted", version=2, min_version=1, context_fn=_context_of, time="accepted_at")
class InvitationAccepted(Fact):
    """The receiver takes the offer.

    ``acceptor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId | None = None
    invitation_id: str
    acceptor_id: str
    accepted_at: int


@ceremony_facts
@domain_fact(type_id="invitation.declined", version=2, min_version=1, context_fn=_context_of, time="declined_at")
class InvitationDeclined(Fact):
    """The receiver does not want it.

    ``decliner_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId | None = None
    invitation_id: str
    decliner_id: str
    declined_at: int


@ceremony_facts
@domain_fact(type_id="invitation.cancelled", version=2, min_version=1, context_fn=_context_of, time="cancelled_at")
class InvitationCancelled(Fact):
    """The sender takes the offer back.

    ``canceller_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId | None = None
    invitation_id: str
    canceller_id: str
    cancelled_at: int


RelationshipId = Annotated[str, StringConstraints(pattern=r"^rel-[0-9a-f]{16}$")]
"""What a committed ceremony made: ``rel-`` and 16 hex digits."""


@ceremony_facts
@domain_fact(type_id="invitation.ceremony_initiated", context_fn=_context_of, time="timestamp_ms")
class InvitationCeremonyInitiated(Fact):
    """The parties of an accepted invitation begin to make it binding; ``required`` of them must accept.

    ``sender_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId | None = None
    ceremony_id: str
    invitation_id: str | None = None
    sender_id: str
    required: int | None = None
    pending_epoch: int | None = None
    agreement_mode: AgreementMode | None = None
    trace_id: str | None = None
    timestamp_ms: int


@ceremony_facts
@domain_fact(type_id="invitation.ceremony_acceptance_received", context_fn=_context_of, time="timestamp_ms")
class InvitationCeremonyAcceptanceReceived(Fact):
    """One party agrees to what the ceremony would make.

    ``acceptor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId | None = None
    ceremony_id: str
    invitation_id: str | None = None
    acceptor_id: str
    agreement_mode: AgreementMode | None = None
    trace_id: str | None = None
    timestamp_ms: int


@ceremony_facts
@domain_fact(type_id="invitation.ceremony_committed", context_fn=_context_of, time="timestamp_ms")
class InvitationCeremonyCommitted(Fact):
    """The ceremony ended well: the relationship exists.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId | None = None
    ceremony_id: str
    invitation_id: str | None = None
    actor_id: str
    relationship_id: RelationshipId
    consensus_id: str | None = None
    agreement_mode: AgreementMode | None = None
    trace_id: str | None = None
    timestamp_ms: int


@ceremony_facts
@domain_fact(type_id="invitation.ceremony_aborted", context_fn=_context_of, time="timestamp_ms")
class InvitationCeremonyAborted(Fact):
    """The ceremony ended without a result, and nothing replaces it.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId | None = None
    ceremony_id: str
    invitation_id: str | None = None
    actor_id: str
    reason: str
    trace_id: str | None = None
    timestamp_ms: int


@ceremony_facts
@domain_fact(type_id="invitation.ceremony_superseded", context_fn=_context_of, time="timestamp_ms")
class InvitationCeremonySuperseded(Fact):
    """A newer ceremony takes the place of this one.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId | None = None
    superseded_ceremony_id: str
    superseding_ceremony_id: str
    invitation_id: str | None = None
    actor_id: str
    reason: str
    trace_id: str | None = None
    timestamp_ms: int


INVITATION_CEREMONY_FACTS: tuple[type[Fact], ...] = (
    InvitationCeremonyInitiated,
    InvitationCeremonyAcceptanceReceived,
    InvitationCeremonyCommitted,
    InvitationCeremonyAborted,
    InvitationCeremonySuperseded,
)

INVITATION_FACTS: tuple[type[Fact], ...] = (
    InvitationSent,
    InvitationAccepted,
    InvitationDeclined,
    InvitationCancelled,
    *INVITATION_CEREMONY_FACTS,
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

"""What a person can ask for, as typed values: everything that the views which ship can show.

Values only. What an intent means for the state of things is decided in ``app/planning.py``, and `AppCore` acts on it.
An intent names people by their authority and things by their ids; a context that is left out is found in the snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from antiphon.facts import OperationCategory, operation_category
from antiphon.facts.ceremonies import AgreementMode, SupersessionReason
from antiphon.facts.chat import Reaction
from antiphon.facts.contacts import ReadReceiptPolicy
from antiphon.facts.ids import NAMESPACE_LENGTH_MAX
from antiphon.facts.invitations import LIFETIME_MS_DEFAULT, MESSAGE_LENGTH_MAX

from .intent_errors import IntentError

# A screen full of text; what is longer is a document.
TEXT_LENGTH_MAX = 8_000
NAME_LENGTH_MAX = 200
# As many ids as a chat view shows of one channel.
READ_COUNT_MAX = 500
# A century; whoever means longer means for ever, and says so by leaving it out.
DURATION_S_MAX = 100 * 366 * 24 * 3_600

Id = Annotated[str, StringConstraints(min_length=1, max_length=NAMESPACE_LENGTH_MAX)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH_MAX, strip_whitespace=True)]
# Empty takes a name or a topic back.
NameOrNone = Annotated[str, StringConstraints(max_length=NAME_LENGTH_MAX, strip_whitespace=True)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=r"\S")]
Reason = Annotated[str, StringConstraints(max_length=MESSAGE_LENGTH_MAX)]
Seconds = Annotated[int, Field(ge=1, le=DURATION_S_MAX)]

InvitationOffer = Literal["contact", "guardian", "home"]


class Intent(BaseModel):
    """Something that a person asks for. ``operation`` says which operation it is, and so its category.

    >>> SendMessage(channel_id="hall", text="hello").intent_name(), SendMessage.category().value
    ('send_message', 'A')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: ClassVar[str] = ""

    @classmethod
    def category(cls) -> OperationCategory:
        """A: done here and at once. B: shown at once, agreed on later. C: counts when all have agreed."""
        category = operation_category(cls.operation)
        assert category is not None, f"{cls.operation} stands in the table of operations"
        return category

    @classmethod
    def intent_name(cls) -> str:
        """The name that a door reads: ``send_message`` for ``SendMessage``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


class InChannel(Intent):
    """About a channel; ``context_id`` is needed only when two contexts have a channel of that id."""

    channel_id: Id
    context_id: Id | None = None


class InHome(Intent):
    """About a home, named by its context."""

    home: Id


# Chat


class CreateChannel(Intent):
    """Open a channel; in *home* (a context), or where everybody of this journal talks. Without an id one is made."""

    operation: ClassVar[str] = "chat:create-channel"
    name: Name
    topic: Name | None = None
    home: Id | None = None
    channel_id: Id | None = None


class OpenDirectMessage(Intent):
    """Open the one channel between two; both sides arrive at the same one."""

    operation: ClassVar[str] = "chat:create-channel"
    contact_id: Id


class OpenNotes(Intent):
    """Open the channel in which the owner writes to themselves."""

    operation: ClassVar[str] = "chat:create-channel"


class CloseChannel(InChannel):
    """Take a channel from the screen, with what was said in it until now."""

    operation: ClassVar[str] = "chat:close-channel"


class RenameChannel(InChannel):
    """Give a channel another name."""

    operation: ClassVar[str] = "chat:rename-channel"
    name: Name


class SetTopic(InChannel):
    """Give a channel a topic; an empty one takes it back."""

    operation: ClassVar[str] = "chat:update-topic"
    topic: NameOrNone


class EditTopic(InChannel):
    """Change the topic into this one; what others change of it at the same time, in other places, stays."""

    operation: ClassVar[str] = "chat:update-topic"
    topic: NameOrNone


class JoinChannel(InChannel):
    """Be in a channel (again)."""

    operation: ClassVar[str] = "chat:join-channel"


class LeaveChannel(InChannel):
    """Be no longer in a channel; it goes from the screen until it is joined again."""

    operation: ClassVar[str] = "chat:leave-channel"


class AddMember(InChannel):
    """Count somebody among the members of a channel."""

    operation: ClassVar[str] = "chat:add-member"
    member_id: Id


class MergeChannel(InChannel):
    """Make a channel that was provisional part of the channel *into* of the same context, messages and all."""

    operation: ClassVar[str] = "chat:rebind-channel"
    into: Id


class SendMessage(InChannel):
    """Say something; *reply_to* is a message id, known here or not.

    An id is made if no *message_id* is given; with one, asking again after a lost answer says it once.
    """

    operation: ClassVar[str] = "chat:send-message"
    text: Text
    reply_to: Id | None = None
    message_id: Id | None = None


class EditMessage(InChannel):
    """Replace what one said oneself."""

    operation: ClassVar[str] = "chat:edit-message"
    message_id: Id
    text: Text


class DeleteMessage(InChannel):
    """Take back for ever what one said oneself."""

    operation: ClassVar[str] = "chat:delete-message"
    message_id: Id


class ReactToMessage(InChannel):
    """Put a sign to a message, or take it back."""

    operation: ClassVar[str] = "chat:react-message"
    message_id: Id
    reaction: Reaction
    is_taken_back: bool = False


class MarkRead(InChannel):
    """Say that these messages were read; without any, all that a screen shows of the channel.

    A contact is told only when their read receipts are enabled (they are not unless one says so); who is no contact is.
    """

    operation: ClassVar[str] = "chat:mark-read"
    message_ids: Annotated[tuple[Id, ...], Field(max_length=READ_COUNT_MAX)] = ()


# Contacts


class AboutContact(Intent):
    """About somebody, named by their authority."""

    contact_id: Id


class AddContact(AboutContact):
    """Keep somebody in the list; *nickname* is a suggestion of a name."""

    operation: ClassVar[str] = "contact:add"
    nickname: NameOrNone = ""


class RenameContact(AboutContact):
    """Call a contact something; an empty name takes it back."""

    operation: ClassVar[str] = "contact:rename"
    nickname: NameOrNone


class RemoveContact(AboutContact):
    """Drop a contact, with the name and the policy it had."""

    operation: ClassVar[str] = "contact:remove"


class SetReadReceipts(AboutContact):
    """Whether this contact is told what was read."""

    operation: ClassVar[str] = "contact:set-read-receipt-policy"
    policy: ReadReceiptPolicy


class BindGuardian(AboutContact):
    """Make somebody a guardian of this account."""

    operation: ClassVar[str] = "contact:guardian-bind"


class GrantRecovery(AboutContact):
    """As a guardian, let somebody's account recover by the operation that is named."""

    operation: ClassVar[str] = "contact:recovery-grant"
    operation_id: Id


class OfferFriendship(AboutContact):
    """Offer friendship; it begins when the other side accepts."""

    operation: ClassVar[str] = "friendship:propose"


class AcceptFriendship(AboutContact):
    """Take an offer of friendship."""

    operation: ClassVar[str] = "friendship:accept"


class EndFriendship(AboutContact):
    """End a friendship, withdraw an offer, or refuse one."""

    operation: ClassVar[str] = "friendship:revoke"


# Invitations


class SendInvitation(Intent):
    """Invite somebody to be a contact, a guardian, or in a *home*; without a receiver, whoever holds the link."""

    operation: ClassVar[str] = "invitation:send"
    offer: InvitationOffer
    receiver_id: Id | None = None
    home: Id | None = None
    message: Reason | None = None
    receiver_name: Name | None = None
    lifetime_ms: Annotated[int, Field(ge=1, le=DURATION_S_MAX * 1_000)] | None = LIFETIME_MS_DEFAULT


class EnrolDevice(Intent):
    """Invite another device of one's own; *key_package* (base64) is what its group needs, opaque here."""

    operation: ClassVar[str] = "invitation:send"
    device_id: Id
    receiver_id: Id | None = None
    name: Name | None = None
    pending_epoch: Annotated[int, Field(ge=0, le=2**62)] = 1
    key_package: Base64Bytes = b""
    lifetime_ms: Annotated[int, Field(ge=1, le=DURATION_S_MAX * 1_000)] | None = LIFETIME_MS_DEFAULT


class AboutInvitation(Intent):
    """About an invitation; *context_id* is needed for one that came by a link, which no screen shows yet."""

    invitation_id: Id
    context_id: Id | None = None


class AcceptInvitation(AboutInvitation):
    """Take an invitation."""

    operation: ClassVar[str] = "invitation:accept"


class DeclineInvitation(AboutInvitation):
    """Refuse an invitation."""

    operation: ClassVar[str] = "invitation:decline"


class CancelInvitation(AboutInvitation):
    """Take back an invitation that one sent."""

    operation: ClassVar[str] = "invitation:cancel"


# Ceremonies: what makes an accepted invitation binding


class BeginCeremony(AboutInvitation):
    """Begin to make an accepted invitation binding; *required* of its two parties must agree."""

    operation: ClassVar[str] = "invitation:begin-ceremony"
    required: Annotated[int, Field(ge=1, le=2)] = 2
    pending_epoch: Annotated[int, Field(ge=0, le=2**62)] | None = None
    agreement_mode: AgreementMode | None = None


class AgreeToCeremony(AboutInvitation):
    """Agree to what the ceremony of this invitation would make."""

    operation: ClassVar[str] = "invitation:agree-ceremony"


class CommitCeremony(AboutInvitation):
    """End the ceremony well, when enough have agreed: now the guardian is bound, the contact is one."""

    operation: ClassVar[str] = "invitation:commit-ceremony"
    consensus_id: Id | None = None


class AbortCeremony(AboutInvitation):
    """End the ceremony without a result."""

    operation: ClassVar[str] = "invitation:abort-ceremony"
    reason: Reason = ""


class SupersedeCeremony(AboutInvitation):
    """Begin anew: another ceremony takes the place of the one that is under way."""

    operation: ClassVar[str] = "invitation:supersede-ceremony"
    reason: SupersessionReason = "newer_request"


# Homes


class DeclareHome(Intent):
    """Found a home: a context that names its owner. *name* is part of it; *title* is what screens show."""

    operation: ClassVar[str] = "home:declare"
    name: Name
    title: Name | None = None


class Moderate(InHome):
    """About somebody in a home."""

    target_id: Id


class Mute(Moderate):
    """Hide what somebody says from now on, in one channel or all; for a time, or until it is lifted."""

    operation: ClassVar[str] = "moderation:mute"
    channel_id: Id | None = None
    duration_s: Seconds | None = None


class Unmute(Moderate):
    """Lift a mute of the same scope."""

    operation: ClassVar[str] = "moderation:unmute"
    channel_id: Id | None = None


class Ban(Moderate):
    """Keep somebody out of one channel or the home; for a time, or until it is lifted."""

    operation: ClassVar[str] = "moderation:ban"
    channel_id: Id | None = None
    duration_s: Seconds | None = None
    reason: Reason = ""


class Unban(Moderate):
    """Lift a ban of the same scope."""

    operation: ClassVar[str] = "moderation:unban"
    channel_id: Id | None = None


class KickMember(Moderate):
    """Put somebody out of a channel until they join it again."""

    operation: ClassVar[str] = "moderation:kick"
    channel_id: Id
    reason: Reason = ""


class PinMessage(InHome):
    """Hold a message up for all to see."""

    operation: ClassVar[str] = "moderation:pin"
    channel_id: Id
    message_id: Id


class UnpinMessage(InHome):
    """Hold a message up no longer."""

    operation: ClassVar[str] = "moderation:unpin"
    channel_id: Id
    message_id: Id


class GrantModerator(Moderate):
    """Let somebody moderate, as long as they are a member; only the owner does."""

    operation: ClassVar[str] = "moderation:grant-moderator"


class RevokeModerator(Moderate):
    """Let somebody moderate no longer; only the owner does."""

    operation: ClassVar[str] = "moderation:revoke-moderator"


_ALL: tuple[type[Intent], ...] = (
    *(CreateChannel, OpenDirectMessage, OpenNotes, CloseChannel, RenameChannel, SetTopic, JoinChannel, LeaveChannel),
    *(EditTopic, MergeChannel, AddMember, SendMessage, EditMessage, DeleteMessage, ReactToMessage, MarkRead),
    *(AddContact, RenameContact, RemoveContact, SetReadReceipts, BindGuardian, GrantRecovery),
    *(OfferFriendship, AcceptFriendship, EndFriendship),
    *(SendInvitation, EnrolDevice, AcceptInvitation, DeclineInvitation, CancelInvitation),
    *(BeginCeremony, AgreeToCeremony, CommitCeremony, AbortCeremony, SupersedeCeremony),
    *(DeclareHome, Mute, Unmute, Ban, Unban, KickMember, PinMessage, UnpinMessage, GrantModerator, RevokeModerator),
)
INTENTS: Mapping[str, type[Intent]] = MappingProxyType({intent.intent_name(): intent for intent in _ALL})
"""Every intent by the name that a door reads."""


def read_intent(name: str, fields: Mapping[str, Any]) -> Intent:
    """An intent as it comes over a wire. Raises ``IntentError`` of kind ``validation`` that tells of every problem.

    >>> read_intent("send_message", {"channel_id": "hall", "text": "hello"})
    SendMessage(channel_id='hall', context_id=None, text='hello', reply_to=None)
    """
    intent = INTENTS.get(name)
    if intent is None:
        raise IntentError("validation", f"no intent is called {name!r}; expected one of {', '.join(INTENTS)}")
    if not isinstance(fields, Mapping):
        raise IntentError("validation", f"{name}: fields are a mapping from names to values; got {fields!r:.100}")
    try:
        return intent.model_validate(dict(fields))
    except ValidationError as problem:
        told = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or name}: {each['msg']}" for each in problem.errors(include_url=False)
        )
        raise IntentError(
            "validation", f"{name}: {told}; correct it and ask again", operation=intent.operation
        ) from None

"""Signs: by what one replica's screen shows that a fact of the other has arrived.

Pure: ``sign_of`` says what to look for, ``SignReader`` finds it in snapshots. Times are none of its business. A fact
that the other side's screen does not show (a contact list is its owner's) has no sign.
"""

from __future__ import annotations

from collections.abc import Iterator

from antiphon.facts import (
    ChannelCreated,
    Fact,
    FriendshipAccepted,
    FriendshipProposed,
    InvitationAccepted,
    InvitationSent,
    MembershipChanged,
    MessageDeliveryUpdated,
    MessageEdited,
    MessageRead,
    MessageSent,
)
from antiphon.views.chat_state import ChatState, Message
from antiphon.views.contacts_state import ContactsState
from antiphon.views.invitations_state import InvitationsState


def sign_of(fact: Fact) -> str | None:
    """What the other replica's screen will show of *fact*; None when it shows nothing that is only this fact's doing.

    >>> sign_of(MessageSent(context_id="c", channel_id="lobby", message_id="m1", sender_id="a", sender_name="ada",
    ...                     text="hello", sent_at=0))
    'said m1'
    """
    match fact:
        case ChannelCreated():
            return f"channel {fact.channel_id}"
        case MembershipChanged(event="joined"):
            return f"member {fact.channel_id} {fact.participant_id}"
        case MessageSent():
            return f"said {fact.message_id}"
        case MessageEdited():
            return f"edited {fact.message_id}"
        case MessageRead():
            return f"read {fact.message_id}"
        case MessageDeliveryUpdated(delivery_status="delivered"):
            return f"delivered {fact.message_id}"
        case FriendshipProposed():
            return f"contact {fact.requester_id} pending_inbound"
        case FriendshipAccepted():
            return f"contact {fact.accepter_id} friend"
        case InvitationSent():
            return f"invitation {fact.invitation_id} pending"
        case InvitationAccepted():
            return f"invitation {fact.invitation_id} accepted"
        case _:
            return None


class SignReader:
    """Reads snapshots and tells each sign once.

    A chat snapshot costs a dictionary look-up for each message that did not change, since those are shared between
    snapshots.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._messages: dict[str, Message] = {}

    def read_chat(self, state: ChatState) -> tuple[str, ...]:
        """What is new in a chat snapshot."""
        return self._untold(self._chat_signs(state))

    def read_contacts(self, state: ContactsState) -> tuple[str, ...]:
        """What is new in a snapshot of contacts."""
        return self._untold(f"contact {each.id} {each.relationship_state}" for each in state.contacts.values())

    def read_invitations(self, state: InvitationsState) -> tuple[str, ...]:
        """What is new in a snapshot of invitations."""
        shown = (*state.pending, *state.sent, *state.history)
        return self._untold(f"invitation {each.id} {each.status}" for each in shown)

    def _chat_signs(self, state: ChatState) -> Iterator[str]:
        for channel in state.channels.values():
            yield f"channel {channel.id}"
            for member_id in channel.member_ids:
                yield f"member {channel.id} {member_id}"
        for shown in state.messages.values():
            for message in shown:
                if self._messages.get(message.id) is not message:
                    self._messages[message.id] = message
                    yield from _message_signs(message)

    def _untold(self, signs: Iterator[str]) -> tuple[str, ...]:
        fresh = tuple(sign for sign in signs if sign not in self._told)
        self._told.update(fresh)
        return fresh


def _message_signs(message: Message) -> Iterator[str]:
    yield f"said {message.id}"
    if message.edit_count:
        yield f"edited {message.id}"
    if message.is_own and message.delivery_status in ("delivered", "read"):
        yield f"delivered {message.id}"
    if message.read_by:
        yield f"read {message.id}"

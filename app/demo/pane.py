"""What half of the screen shows of one replica: plain values that can travel between processes.

Pure: snapshots in, a pane out. Draws nothing; ``screen.py`` does.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from antiphon.views.chat_state import ChatState, DeliveryState
from antiphon.views.contacts_state import ContactsState, RelationshipState
from antiphon.views.invitations_state import Invitation, InvitationsState, InvitationStatus

from .cues import Player

# More than any terminal has rows for.
MESSAGES_MAX = 40


class ChannelLine(NamedTuple):
    """One channel."""

    name: str
    topic: str
    unread_count: int
    message_count: int


class MessageLine(NamedTuple):
    """One message; ``status`` is how far an own one got."""

    channel: str
    sender: str
    text: str
    status: DeliveryState
    is_own: bool
    is_read: bool
    is_edited: bool


class ContactLine(NamedTuple):
    """One contact and how close it is."""

    name: str
    relationship: RelationshipState


class InvitationLine(NamedTuple):
    """One invitation: which way it went, to which channel, and how it stands."""

    is_sent: bool
    home: str
    status: InvitationStatus


class Pane(NamedTuple):
    """One replica as its user sees it."""

    player: Player
    is_linked: bool
    facts: int
    windows: int
    total_unread: int
    channels: tuple[ChannelLine, ...] = ()
    messages: tuple[MessageLine, ...] = ()
    contacts: tuple[ContactLine, ...] = ()
    invitations: tuple[InvitationLine, ...] = ()


class Screens(NamedTuple):
    """The snapshots of the three signals."""

    chat: ChatState
    contacts: ContactsState
    invitations: InvitationsState


def build_pane(player: Player, screens: Screens, *, is_linked: bool, facts: int, windows: int) -> Pane:
    """The pane of *player*: channels by name, the newest messages of all of them in the order they were sent."""
    chat, contacts, invitations = screens
    channels = sorted(chat.channels.values(), key=lambda channel: (channel.name, channel.id))
    names = {channel.id: channel.name for channel in channels}
    shown = [message for messages in chat.messages.values() for message in messages[-MESSAGES_MAX:]]
    shown.sort(key=lambda message: (message.timestamp, message.id))
    return Pane(
        player=player,
        is_linked=is_linked,
        facts=facts,
        windows=windows,
        total_unread=chat.total_unread,
        channels=tuple(
            ChannelLine(channel.name, channel.topic or "", channel.unread_count, channel.message_count)
            for channel in channels
        ),
        messages=tuple(
            MessageLine(
                channel=names[message.channel_id],
                sender=message.sender_name,
                text=message.content,
                status=message.delivery_status,
                is_own=message.is_own,
                is_read=message.is_read,
                is_edited=message.edit_count > 0,
            )
            for message in shown[-MESSAGES_MAX:]
        ),
        contacts=tuple(ContactLine(each.effective_name, each.relationship_state) for each in contacts.by_name()),
        invitations=tuple(_line(each) for each in (*invitations.pending, *invitations.sent, *invitations.history)),
    )


def digest_conversation(chat: ChatState) -> str:
    """SHA-256 (hex) of what everybody sees alike: channels, topics, members, and messages as they read now.

    Whose message is whose and what is unread differ from screen to screen and are left out.
    """
    seen = [
        [
            [key.context_id, channel.id, channel.name, channel.topic, channel.member_ids],
            [
                [each.id, each.sender_id, each.sender_name, each.content, each.timestamp, each.edit_count]
                for each in chat.messages[key]
            ],
        ]
        for key, channel in sorted(chat.channels.items())
    ]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _line(invitation: Invitation) -> InvitationLine:
    return InvitationLine(
        is_sent=invitation.direction == "sent",
        home=invitation.home_name or invitation.home_id or invitation.type,
        status=invitation.status,
    )

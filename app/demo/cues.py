"""What a player may be told to do, and the facts that doing it takes.

Pure: a cue, who plays and what is on the player's screen go in, facts come out. Commits nothing and reads no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from antiphon.facts import (
    ChannelCreated,
    ChannelInvitation,
    ChannelUpdated,
    ContactAdded,
    Fact,
    FriendshipAccepted,
    FriendshipProposed,
    InvitationAccepted,
    InvitationSent,
    MembershipChanged,
    MessageDeleted,
    MessageDeliveryUpdated,
    MessageEdited,
    MessageRead,
    MessageSent,
)
from antiphon.views.chat_state import ChatState, Message

CONTEXT_ID = "demo.home"
"""The context that both replicas share."""

Player = Literal["ada", "bob"]
"""Who is on the stage: ada in the process that draws, bob in the other one."""

PLAYERS: tuple[Player, Player] = ("ada", "bob")
"""Both of them, in the order in which they are shown."""

Verb = Literal[
    "create_channel",
    "join_channel",
    "retitle_channel",
    "add_contact",
    "propose_friendship",
    "accept_friendship",
    "invite",
    "accept_invitation",
    "say",
    "acknowledge",
    "read",
    "edit",
    "delete",
]


class Cue(NamedTuple):
    """One thing to do.

    ``subject`` is the id of the message or invitation it is about, ``text`` what is said, named or written, and
    ``speaker`` the name to say it under where that is not the player's own (a nick of a log).
    """

    actor: Player
    verb: Verb
    channel: str = ""
    subject: str = ""
    text: str = ""
    speaker: str = ""


class Cast(NamedTuple):
    """Who plays here, and with whom: authorities (32 hex digits) and names."""

    own_id: str
    own_name: str
    peer_id: str
    peer_name: str


class _Moment(NamedTuple):
    """All that a fact may depend on beyond its cue."""

    cast: Cast
    chat: ChatState
    now_ms: int


def facts_for(cue: Cue, cast: Cast, chat: ChatState, *, now_ms: int) -> tuple[Fact, ...]:
    """The facts that *cue* takes, by the player who sees *chat*; none when there is nothing to acknowledge or to read.

    >>> cast = Cast("a" * 32, "ada", "b" * 32, "bob")
    >>> (fact,) = facts_for(Cue("ada", "say", "lobby", "m1", "hello"), cast, ChatState(), now_ms=5)
    >>> fact.text, fact.sent_at
    ('hello', 5)
    """
    return _FACTS[cue.verb](cue, _Moment(cast, chat, now_ms))


def _create_channel(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    created = ChannelCreated(
        context_id=CONTEXT_ID,
        channel_id=cue.channel,
        name=cue.channel,
        topic=cue.text or None,
        created_at=moment.now_ms,
        creator_id=moment.cast.own_id,
    )
    return (created,)


def _join_channel(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    joined = MembershipChanged(
        context_id=CONTEXT_ID,
        channel_id=cue.channel,
        participant_id=moment.cast.own_id,
        participant_name=moment.cast.own_name,
        event="joined",
        changed_at=moment.now_ms,
    )
    return (joined,)


def _retitle_channel(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    updated = ChannelUpdated(
        context_id=CONTEXT_ID,
        channel_id=cue.channel,
        topic=cue.text,
        updated_at=moment.now_ms,
        actor_id=moment.cast.own_id,
    )
    return (updated,)


def _add_contact(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    cast = moment.cast
    added = ContactAdded(
        context_id=CONTEXT_ID,
        owner_id=cast.own_id,
        contact_id=cast.peer_id,
        nickname=cast.peer_name,
        added_at=moment.now_ms,
    )
    return (added,)


def _propose_friendship(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    cast = moment.cast
    proposed = FriendshipProposed(
        context_id=CONTEXT_ID, requester_id=cast.own_id, accepter_id=cast.peer_id, proposed_at=moment.now_ms
    )
    return (proposed,)


def _accept_friendship(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    cast = moment.cast
    accepted = FriendshipAccepted(
        context_id=CONTEXT_ID, requester_id=cast.peer_id, accepter_id=cast.own_id, accepted_at=moment.now_ms
    )
    return (accepted,)


def _invite(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    sent = InvitationSent(
        context_id=CONTEXT_ID,
        invitation_id=cue.subject,
        sender_id=moment.cast.own_id,
        receiver_id=moment.cast.peer_id,
        invitation_type=ChannelInvitation(home_id=cue.channel, nickname_suggestion=cue.channel),
        sent_at=moment.now_ms,
        receiver_nickname=moment.cast.peer_name,
        message=cue.text,
    )
    return (sent,)


def _accept_invitation(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    accepted = InvitationAccepted(
        context_id=CONTEXT_ID,
        invitation_id=cue.subject,
        acceptor_id=moment.cast.own_id,
        accepted_at=moment.now_ms,
    )
    return (accepted,)


def _say(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    sent = MessageSent(
        context_id=CONTEXT_ID,
        channel_id=cue.channel,
        message_id=cue.subject,
        sender_id=moment.cast.own_id,
        sender_name=cue.speaker or moment.cast.own_name,
        text=cue.text,
        sent_at=moment.now_ms,
    )
    return (sent,)


def _acknowledge(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    """Tell the other that their unread messages arrived."""
    return tuple(
        MessageDeliveryUpdated(
            context_id=CONTEXT_ID,
            channel_id=message.channel_id,
            message_id=message.id,
            delivery_status="delivered",
            updated_at=moment.now_ms,
            actor_id=moment.cast.own_id,
        )
        for message in _unread(moment.chat)
    )


def _read(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    """Read every message that is shown and unread."""
    return tuple(
        MessageRead(
            context_id=CONTEXT_ID,
            channel_id=message.channel_id,
            message_id=message.id,
            reader_id=moment.cast.own_id,
            read_at=moment.now_ms,
        )
        for message in _unread(moment.chat)
    )


def _edit(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    edited = MessageEdited(
        context_id=CONTEXT_ID,
        channel_id=cue.channel,
        message_id=cue.subject,
        editor_id=moment.cast.own_id,
        new_text=cue.text,
        edited_at=moment.now_ms,
    )
    return (edited,)


def _delete(cue: Cue, moment: _Moment) -> tuple[Fact, ...]:
    deleted = MessageDeleted(
        context_id=CONTEXT_ID,
        channel_id=cue.channel,
        message_id=cue.subject,
        deleter_id=moment.cast.own_id,
        deleted_at=moment.now_ms,
    )
    return (deleted,)


def _unread(chat: ChatState) -> list[Message]:
    return [message for shown in chat.messages.values() for message in shown if not message.is_read]


_FACTS: Mapping[Verb, Callable[[Cue, _Moment], tuple[Fact, ...]]] = MappingProxyType(
    {
        "create_channel": _create_channel,
        "join_channel": _join_channel,
        "retitle_channel": _retitle_channel,
        "add_contact": _add_contact,
        "propose_friendship": _propose_friendship,
        "accept_friendship": _accept_friendship,
        "invite": _invite,
        "accept_invitation": _accept_invitation,
        "say": _say,
        "acknowledge": _acknowledge,
        "read": _read,
        "edit": _edit,
        "delete": _delete,
    }
)

"""The chat facts: channels, messages and who is in a channel, said live or imported from somewhere else.

Decides nothing: who may edit, what is hidden and which of two writers wins is the chat view's business. A live fact
names its actor, who must be its signer: the ``journal.authority`` of the journal that commits it, 32 hex digits. One
that names anybody else is kept and relayed, and views ignore it. An imported fact names a foreign speaker and where it
was found, and its signer is whoever imported it. All times are signed milliseconds since 1970.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .fact import Fact
from .ids import NAMESPACE_LENGTH_MAX

ContextId = Annotated[str, Field(min_length=1, max_length=NAMESPACE_LENGTH_MAX)]
"""The namespace a fact belongs to."""

DeliveryStatus = Literal["sent", "delivered", "read", "failed"]
MembershipEvent = Literal["joined", "left"]
MessageStyle = Literal["message", "action", "notice", "system"]
# A few signs that belong together, such as a flag or a family, and never a text.
REACTION_LENGTH_MAX = 32
Reaction = Annotated[str, StringConstraints(min_length=1, max_length=REACTION_LENGTH_MAX)]
"""What is put to a message: a sign or a short word."""


class ChannelCreated(Fact, kind="chat.channel_created", version=1, context="context_id", time="created_at"):
    """A channel exists from here on; said again after it was closed, it is open again.

    ``creator_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    name: str
    topic: str | None = None
    is_dm: bool = False
    created_at: int
    creator_id: str


class ChannelClosed(Fact, kind="chat.channel_closed", version=1, context="context_id", time="closed_at"):
    """The channel is gone from the screen, and what was said until then stays hidden even if it is opened again.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    closed_at: int
    actor_id: str


class ChannelUpdated(Fact, kind="chat.channel_updated", version=1, context="context_id", time="updated_at"):
    """New values for the fields that are present; an absent field is no statement, an empty topic clears it.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    name: str | None = None
    topic: str | None = None
    member_count: int | None = None
    member_ids: tuple[str, ...] | None = None
    updated_at: int
    actor_id: str


class TopicEdited(Fact, kind="chat.topic_edited", version=1, context="context_id", time="edited_at"):
    """A part of the topic is changed, beside what others change of it at the same time.

    ``basis`` is the id (hex) of the fact that stated the topic, empty where none did; ``update`` a Yjs update of the
    shared text that begins with it. A newer topic that is stated as a whole ends that text. ``editor_id`` must be the
    signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    editor_id: str
    basis: str
    update: bytes
    edited_at: int


class ChannelRebound(Fact, kind="chat.channel_rebound", version=1, context="context_id", time="rebound_at"):
    """The channel was provisional: what was said in it belongs to the channel ``canonical_id`` of the same context.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    canonical_id: str
    rebound_at: int
    actor_id: str


class MessageSent(Fact, kind="chat.message_sent", version=1, context="context_id", time="sent_at"):
    """Somebody said something; ``reply_to`` may name a message that is not known (yet).

    ``sender_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    sender_id: str
    sender_name: str
    text: str
    sent_at: int
    reply_to: str | None = None
    epoch_hint: int | None = None


class MessageSentSealed(Fact, kind="chat.message_sent_sealed", version=1, context="context_id", time="sent_at"):
    """Somebody said something that only who holds the key can read; others see how long it is.

    ``payload`` is opaque here: an opener that the application gives to the chat view reads it. ``epoch_hint`` is the
    epoch of the channel that it was sealed in. ``sender_id`` must be the signer's authority (``journal.authority``),
    or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    sender_id: str
    sender_name: str
    payload: bytes
    sent_at: int
    reply_to: str | None = None
    epoch_hint: int | None = None


class MessageRead(Fact, kind="chat.message_read", version=1, context="context_id", time="read_at"):
    """The reader has seen the message.

    ``reader_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    reader_id: str
    read_at: int


class MessageSeen(Fact, kind="chat.message_seen", version=1, context="context_id", time="seen_at"):
    """The owner has seen the message, and tells nobody: said in a context of their own, not in the channel's.

    It lowers the reader's own unread count, on all their replicas, and does nothing in anybody else's view.
    ``reader_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_context_id: ContextId
    channel_id: str
    message_id: str
    reader_id: str
    seen_at: int


class MessageReacted(Fact, kind="chat.message_reacted", version=1, context="context_id", time="reacted_at"):
    """Somebody puts a sign to a message, or takes it back; of their words about one sign the newest counts.

    ``reactor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    reactor_id: str
    reaction: Reaction
    is_taken_back: bool = False
    reacted_at: int


class MessageEdited(Fact, kind="chat.message_edited", version=1, context="context_id", time="edited_at"):
    """The author replaces the text; anybody else's attempt has no effect.

    ``editor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    editor_id: str
    new_text: str
    edited_at: int


class MessageEditedSealed(Fact, kind="chat.message_edited_sealed", version=1, context="context_id", time="edited_at"):
    """The author replaces the text by a sealed one, which the same opener reads as it does sealed messages.

    ``editor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    editor_id: str
    new_payload: bytes
    edited_at: int


class MessageDeliveryUpdated(
    Fact, kind="chat.message_delivery_updated", version=1, context="context_id", time="updated_at"
):
    """How far the message got; statuses only ever rise.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    delivery_status: DeliveryStatus
    updated_at: int
    actor_id: str


class MessageDeleted(Fact, kind="chat.message_deleted", version=1, context="context_id", time="deleted_at"):
    """The author takes the message back, for ever: edits, reads and repeated sends do not bring it back.

    ``deleter_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    deleter_id: str
    deleted_at: int


class MembershipChanged(Fact, kind="chat.membership_changed", version=1, context="context_id", time="changed_at"):
    """The participant joined or left the channel.

    ``participant_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    participant_id: str
    participant_name: str
    event: MembershipEvent
    changed_at: int


class MessageImported(Fact, kind="chat.message_imported", version=1, context="context_id", time="sent_at"):
    """Something said elsewhere: ``source`` is the file's name, ``line`` its line from 0.

    ``raw`` holds the original bytes where they were not UTF-8 and ``text`` had to replace some of them.
    """

    context_id: ContextId
    channel_id: str
    message_id: str
    sender_id: str
    sender_name: str
    text: str
    style: MessageStyle = "message"
    sent_at: int
    reply_to: str | None = None
    source: str
    line: int
    raw: bytes | None = None


class MembershipImported(Fact, kind="chat.membership_imported", version=1, context="context_id", time="changed_at"):
    """Somebody joined or left elsewhere, as read from ``line`` (from 0) of the file named ``source``."""

    context_id: ContextId
    channel_id: str
    participant_id: str
    participant_name: str
    event: MembershipEvent
    changed_at: int
    source: str
    line: int


def note_to_self(authority: str) -> tuple[str, str]:
    """The context and the channel in which *authority* writes to itself: always the same two, the same for nobody else.

    >>> note_to_self("0f" * 16)
    ('note.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f', 'note-to-self')
    """
    return f"note.{authority}", "note-to-self"


CHAT_FACTS: tuple[type[Fact], ...] = (
    ChannelCreated,
    ChannelClosed,
    ChannelUpdated,
    ChannelRebound,
    TopicEdited,
    MessageSent,
    MessageSentSealed,
    MessageRead,
    MessageSeen,
    MessageReacted,
    MessageEdited,
    MessageEditedSealed,
    MessageDeliveryUpdated,
    MessageDeleted,
    MembershipChanged,
    MessageImported,
    MembershipImported,
)

"""What a chat screen shows: channels, their newest messages, and what is unread, as immutable values.

Folds nothing: ``views/chat.py`` does. Times are signed milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Literal, NamedTuple

# More lines than anybody scrolls through at once; older ones are a history query.
MESSAGE_COUNT_MAX = 500

# More signs than anybody reads below one message; strangers must not fill a screen with them.
REACTION_COUNT_MAX = 16

DeliveryState = Literal["sending", "failed", "sent", "delivered", "read"]
ChannelType = Literal["home", "direct_message"]
Agreement = Literal["provisional", "soft_safe", "finalized"]
"""How sure a message is: nobody said, certified until taken back, or final."""

DELIVERY_ICONS: Mapping[DeliveryState, str] = MappingProxyType(
    {"sending": "◐", "failed": "✗", "sent": "✓", "delivered": "✓✓", "read": "✓✓"}
)
"""How a terminal shows a delivery state (``read`` differs from ``delivered`` by colour)."""


class ChannelKey(NamedTuple):
    """Which channel: two contexts may each have one of the same id, and neither touches the other's."""

    context_id: str
    channel_id: str


class Message(NamedTuple):
    """One visible message.

    ``id`` is the message id, ``timestamp`` when it was sent. ``imported_by`` is set when it was said elsewhere: the
    authority who imported it, with their label, the file and its line (from 0); ``sender_name`` is then the foreign
    nick. ``read_by`` names the other readers, sorted. ``is_sealed`` says that the content is a placeholder, since
    nothing here could open it. ``fact_id`` (64 hex digits) is the fact that said it: what acknowledgements are about.
    ``reactions`` are the 16 signs that most people put to it, with who did, sorted. ``channel_id`` is the channel it
    was said in, which a channel that was merged into another one leaves as it is.
    """

    id: str
    channel_id: str
    sender_id: str
    sender_name: str
    content: str
    timestamp: int
    reply_to: str | None
    is_own: bool
    is_read: bool
    delivery_status: DeliveryState
    epoch_hint: int | None
    style: str
    edited_at: int | None
    edit_count: int
    read_by: tuple[str, ...]
    imported_by: str | None
    imported_by_label: str | None
    source: str | None
    line: int | None
    is_sealed: bool = False
    agreement: Agreement = "provisional"
    fact_id: str = ""
    reactions: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def is_finalized(self) -> bool:
        """Whether the message is final, by itself or since its channel's epoch is."""
        return self.agreement == "finalized"

    @property
    def icon(self) -> str:
        """The delivery state as a terminal shows it."""
        return DELIVERY_ICONS[self.delivery_status]

    def to_json(self) -> dict[str, object]:
        """All fields, ready for a JSON encoder."""
        return self._asdict()


@dataclass(frozen=True, slots=True)
class Channel:
    """One open channel.

    ``unread_count`` counts all visible messages of others that this authority has not read, also those older than the
    shown ones; ``message_count`` all visible messages; ``has_more`` whether some of them are not shown. Creator and
    ``created_at`` are absent while only an update of the channel is known. What was said up to
    ``last_finalized_epoch`` is final; None before the first. ``merged_ids`` are channels that were provisional, whose
    messages are shown here.
    """

    id: str
    context_id: str
    name: str
    topic: str | None
    channel_type: ChannelType
    is_dm: bool
    creator_id: str | None
    created_at: int | None
    unread_count: int
    message_count: int
    has_more: bool
    member_ids: tuple[str, ...]
    member_count: int
    last_message: str | None
    last_message_time: int | None
    last_activity: int
    last_finalized_epoch: int | None = None
    merged_ids: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """All fields, ready for a JSON encoder."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


_NO_CHANNELS: Mapping[ChannelKey, Channel] = MappingProxyType({})
_NO_MESSAGES: Mapping[ChannelKey, tuple[Message, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ChatState:
    """All open channels and the newest 500 visible messages of each, in stamp order.

    Unchanged parts are shared with the snapshot before, so keeping an old one costs little.

    >>> ChatState().to_json()
    {'total_unread': 0, 'channels': []}
    """

    channels: Mapping[ChannelKey, Channel] = field(default_factory=lambda: _NO_CHANNELS)
    messages: Mapping[ChannelKey, tuple[Message, ...]] = field(default_factory=lambda: _NO_MESSAGES)
    total_unread: int = 0

    def channel(self, channel_id: str, *, context_id: str | None = None) -> Channel | None:
        """The channel of that id, or the one that it was merged into; without a context the first in order of contexts.

        O(channels), and O(1) for one that is there in a context that is named.
        """
        if context_id is not None and (known := self.channels.get(ChannelKey(context_id, channel_id))) is not None:
            return known
        keys = [key for key in self.channels if context_id in (None, key.context_id)]
        found = [key for key in keys if key.channel_id == channel_id]
        found = found or [key for key in keys if channel_id in self.channels[key].merged_ids]
        return self.channels[min(found)] if found else None

    def messages_in(self, channel_id: str, *, context_id: str | None = None) -> tuple[Message, ...]:
        """The shown messages of a channel, oldest first; none for an unknown one."""
        channel = self.channel(channel_id, context_id=context_id)
        return self.messages[ChannelKey(channel.context_id, channel.id)] if channel else ()

    def to_json(self) -> dict[str, object]:
        """The whole state for a JSON encoder; channels in order of (context, id), each with its messages."""
        return {
            "total_unread": self.total_unread,
            "channels": [
                self.channels[key].to_json() | {"messages": [message.to_json() for message in self.messages[key]]}
                for key in sorted(self.channels)
            ],
        }

"""Who acknowledged what one said: a signal beside the chat, since an acknowledgement is no fact.

Values only, and how they grow; ``app/bridge.py`` feeds them from a journal's account. Without a runtime nobody
acknowledges anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from antiphon.reactive import Signal
from antiphon.views.chat_state import ChatState, Message

_NOBODY: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """By fact id (hex) of an own message that is shown: the authorities that said it is durable there, sorted.

    >>> Acknowledged().with_peer("0f" * 16, ["aa" * 32]).peers_of("aa" * 32)
    ('0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f',)
    """

    by: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOBODY)

    def peers_of(self, fact_id: str) -> tuple[str, ...]:
        """Who acknowledged that fact; nobody for one that is not shown."""
        return self.by.get(fact_id, ())

    def with_peer(self, peer: str, fact_ids: Iterable[str]) -> Acknowledged:
        """The same, and that *peer* acknowledged these; O(all that is known)."""
        told = {each: tuple(sorted({*self.peers_of(each), peer})) for each in fact_ids}
        return Acknowledged(MappingProxyType({**self.by, **told}))

    def only(self, fact_ids: Iterable[str]) -> Acknowledged:
        """What is known of these; O(those)."""
        return Acknowledged(MappingProxyType({each: self.by[each] for each in fact_ids if each in self.by}))

    def marked(self, message: Message) -> Message:
        """*message* as delivered when somebody acknowledged it and nothing more is known of it."""
        is_held = message.is_own and message.delivery_status == "sent" and message.fact_id in self.by
        return message._replace(delivery_status="delivered") if is_held else message

    def to_json(self) -> dict[str, object]:
        """All of it, for a JSON encoder."""
        return {"by": {fact_id: list(peers) for fact_id, peers in self.by.items()}}


ACKNOWLEDGED_SIGNAL: Signal[Acknowledged] = Signal("app:acknowledged", Acknowledged)
"""Who acknowledged the own messages that are shown."""


def own_shown(chat: ChatState) -> list[str]:
    """The fact ids of one's own messages that a screen may show; O(shown messages)."""
    return [each.fact_id for messages in chat.messages.values() for each in messages if each.is_own]

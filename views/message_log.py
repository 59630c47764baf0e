"""The messages of one channel: placed by stamp, edited, read and taken back, whatever order the facts come in.

Knows nothing of channels and signatures; whoever calls has checked that each actor signed. Facts are gathered as they
come, and ``settle`` once a window puts the new ones in place, so that a window costs what it holds and not what the
channel holds.

Cost: 2 µs for a message that comes in order; a late one moves 8 bytes for each newer message (0.1 ms behind 500,000), a
thousand scattered ones 50 ms there. A short message holds about 0.5 KB: older ones stay, because a deletion may bring
them back to the screen.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Set
from typing import Final

from antiphon.facts import Stamp
from antiphon.facts.chat import DeliveryStatus

from .chat_state import MESSAGE_COUNT_MAX, DeliveryState, Message
from .finality import Finality
from .gate import ChannelGate
from .opening import Opener, SealedText, open_sealed

MessageEntry = tuple[
    int,  # sent at, ms; the first three are the stamp, so that entries sort by it
    int,  # HLC
    bytes,  # fact id, distinct: comparing never gets beyond it
    str,  # message id
    str,  # author: the authority who signed, and who alone may edit and delete
    str,  # sender id, the author's or a foreign one
    str,  # sender name
    str | bytes,  # text, or what is sealed
    str | None,  # reply to
    int | None,  # epoch hint
    str,  # style
    str | None,  # label of the importer; None when said here
    str | None,  # file it was imported from
    int | None,  # line there
]
"""One message as it was said. A plain tuple of plain values, because the garbage collector stops looking at those."""

_MESSAGE_ID: Final = 3
_AUTHOR: Final = 4
_SENDER: Final = 5

_RANKS: tuple[DeliveryState, ...] = ("sending", "failed", "sent", "delivered", "read")
_RANK_OF: Mapping[DeliveryStatus, int] = {"failed": 1, "sent": 2, "delivered": 3, "read": 4}
_SENT, _DELIVERED, _READ = 2, 3, 4

# From here on one merge of the whole tail is cheaper than moving it once for each run of late messages.
_RUN_COUNT_MAX = 64


class _Edits:
    """The edits of one message by one author: the latest text, and which facts there were."""

    __slots__ = ("fact_ids", "stamp", "text")

    def __init__(self) -> None:
        self.stamp: Stamp | None = None
        self.text: str | bytes = ""
        self.fact_ids: set[bytes] = set()

    def add(self, stamp: Stamp, text: str | bytes) -> None:
        self.fact_ids.add(stamp[2])
        if self.stamp is None or stamp > self.stamp:
            self.stamp, self.text = stamp, text


class MessageLog:
    """The visible messages of one channel as *owner* sees them.

    After ``settle``: ``shown`` are the newest 500 visible ones, ``visible_count`` and ``unread_count`` count all.
    """

    __slots__ = (
        "_channel_id",
        "_context_id",
        "_deleters",
        "_delivery",
        "_dirty",
        "_edits",
        "_entries",
        "_fresh",
        "_gate",
        "_hidden_until",
        "_is_tail_changed",
        "_is_tail_stale",
        "_opener",
        "_order",
        "_own_reads",
        "_owner",
        "_pending_hidden_until",
        "_readers",
        "_tail",
        "finality",
        "shown",
        "unread_count",
    )

    def __init__(
        self,
        owner: str,
        channel_id: str,
        *,
        context_id: str = "",
        opener: Opener | None = None,
        gate: ChannelGate | None = None,
    ) -> None:
        self._owner = owner
        self._gate = gate
        self._channel_id = channel_id
        self._context_id = context_id
        self._opener = opener
        self.finality = Finality()
        self._entries: dict[str, MessageEntry] = {}  # by message id, the one with the lowest stamp
        self._fresh: dict[str, MessageEntry] = {}  # those of them that have no place yet
        self._order: list[MessageEntry] = []  # the visible ones, by stamp
        self._tail: list[Message] = []  # the newest of `_order`, drawn
        self._is_tail_stale = False  # `_order` changed elsewhere than at its end
        self._is_tail_changed = False
        self._dirty: set[str] = set()  # to be drawn anew
        self._hidden_until: int | None = None
        self._pending_hidden_until: int | None = None
        self._edits: dict[str, dict[str, _Edits]] = {}
        self._deleters: dict[str, set[tuple[str, int]]] = {}  # who, and when
        self._own_reads: set[str] = set()
        self._readers: dict[str, set[str]] = {}
        self._delivery: dict[str, int] = {}
        self.shown: tuple[Message, ...] = ()
        self.unread_count = 0

    @property
    def visible_count(self) -> int:
        """How many messages are visible, shown or not."""
        return len(self._order)

    @property
    def void_count(self) -> int:
        """Edits and deletions of known messages by others than their authors; O(edits and deletions)."""
        edits = sum(
            len(edit.fact_ids)
            for message_id, by_editor in self._edits.items()
            for editor, edit in by_editor.items()
            if self._is_by_another(message_id, editor)
        )
        return edits + sum(
            not self._may_delete(entry, who, at)
            for message_id, deleters in self._deleters.items()
            if (entry := self._entries.get(message_id)) is not None
            for who, at in deleters
        )

    def say(self, entry: MessageEntry) -> None:
        """Take a message; of several with one id the lowest stamp counts."""
        message_id = entry[_MESSAGE_ID]
        known = self._entries.get(message_id)
        if known is not None:
            if entry[:3] >= known[:3]:
                return
            self._take_out(known)
            self._dirty.add(message_id)
        self._entries[message_id] = entry
        self._fresh[message_id] = entry

    def edit(self, message_id: str, *, editor: str, stamp: Stamp, text: str | bytes) -> None:
        """Take an edit, kept until its message is known."""
        self._edits.setdefault(message_id, {}).setdefault(editor, _Edits()).add(stamp, text)
        self._dirty.add(message_id)

    def delete(self, message_id: str, *, deleter: str, at: int) -> None:
        """Take a deletion, kept for ever."""
        self._deleters.setdefault(message_id, set()).add((deleter, at))
        entry = self._entries.get(message_id)
        if entry is not None and self._may_delete(entry, deleter, at):
            self._take_out(entry)

    def judge_anew(self, people: Set[str]) -> None:
        """Look again at what *people* said and deleted, since their rights changed; O(messages of the channel)."""
        for message_id, deleters in self._deleters.items():
            if any(who in people for who, _ in deleters) and message_id in self._entries:
                self._place_anew(self._entries[message_id])
        for entry in self._entries.values():
            if entry[_AUTHOR] in people:
                self._place_anew(entry)

    def _place_anew(self, entry: MessageEntry) -> None:
        if self._place_of(entry) is None:
            self._fresh[entry[_MESSAGE_ID]] = entry
        elif not self._is_visible(entry):
            self._take_out(entry)
            self._dirty.add(entry[_MESSAGE_ID])

    def read(self, message_id: str, *, reader: str) -> None:
        """Take a read receipt, kept until its message is known."""
        self._dirty.add(message_id)
        if reader != self._owner:
            self._readers.setdefault(message_id, set()).add(reader)
        elif message_id not in self._own_reads:
            self._own_reads.add(message_id)
            entry = self._entries.get(message_id)
            if entry is not None and not self._is_own(entry) and self._place_of(entry) is not None:
                self.unread_count -= 1

    def deliver(self, message_id: str, status: DeliveryStatus) -> None:
        """Take a delivery status; it only rises."""
        self._delivery[message_id] = max(self._delivery.get(message_id, 0), _RANK_OF[status])
        self._dirty.add(message_id)

    def use_opener(self, opener: Opener | None) -> None:
        """Read what is sealed with *opener* from now on."""
        self._opener = opener
        self.redraw()

    def redraw(self) -> None:
        """Draw all that is shown anew when settling; O(500)."""
        self._tail.clear()
        self._is_tail_stale = True

    def hide_until(self, closed_at: int) -> None:
        """Hide what was said up to then, for ever."""
        if self._pending_hidden_until is None or closed_at > self._pending_hidden_until:
            self._pending_hidden_until = closed_at

    def settle(self) -> None:
        """Put what came in place and draw ``shown``; O(what came), and O(500) when not all of it came in order."""
        if self._pending_hidden_until != self._hidden_until:
            self._drop_hidden()
        if self.finality.settle():
            self.redraw()
        if self._fresh:
            self._place_fresh()
        if self._is_tail_stale:
            self._redraw_tail()
        elif self._dirty:
            self._patch_tail()
        self._dirty.clear()
        if self._is_tail_changed:
            self._is_tail_changed = False
            shown = tuple(self._tail)
            if shown != self.shown:
                self.shown = shown

    def _drop_hidden(self) -> None:
        self._hidden_until = self._pending_hidden_until
        assert self._hidden_until is not None, "hiding is never taken back"
        count = bisect_left(self._order, (self._hidden_until + 1,))
        self.unread_count -= self._unread_among(self._order[:count])
        del self._order[:count]
        self._is_tail_stale = True

    def _place_fresh(self) -> None:
        coming = [entry for entry in self._fresh.values() if self._is_visible(entry)]
        self._fresh.clear()
        if not coming:
            return
        coming.sort()
        self.unread_count += self._unread_among(coming)
        order = self._order
        if not order or coming[0] > order[-1]:
            order += coming
            self._extend_tail(coming)
        else:
            _merge(order, coming)
            self._is_tail_stale = True

    def _extend_tail(self, coming: list[MessageEntry]) -> None:
        if not self._is_tail_stale:
            tail = self._tail
            tail += [self._draw(entry) for entry in coming[-MESSAGE_COUNT_MAX:]]
            del tail[:-MESSAGE_COUNT_MAX]
            self._is_tail_changed = True

    def _redraw_tail(self) -> None:
        drawn = {message.id: message for message in self._tail if message.id not in self._dirty}
        self._tail = [drawn.get(entry[_MESSAGE_ID]) or self._draw(entry) for entry in self._order[-MESSAGE_COUNT_MAX:]]
        self._is_tail_stale = False
        self._is_tail_changed = True

    def _patch_tail(self) -> None:
        tail_start = len(self._order) - len(self._tail)
        for message_id in self._dirty:
            entry = self._entries.get(message_id)
            place = None if entry is None else self._place_of(entry)
            if entry is not None and place is not None and place >= tail_start:
                self._tail[place - tail_start] = self._draw(entry)
                self._is_tail_changed = True

    def _take_out(self, entry: MessageEntry) -> None:
        place = self._place_of(entry)
        if place is not None:
            del self._order[place]
            self.unread_count -= self._unread_among((entry,))
            self._is_tail_stale = True

    def _place_of(self, entry: MessageEntry) -> int | None:
        place = bisect_left(self._order, entry)
        return place if place < len(self._order) and self._order[place] is entry else None

    def _is_visible(self, entry: MessageEntry) -> bool:
        if self._hidden_until is not None and entry[0] <= self._hidden_until:
            return False
        if self._gate is not None and self._gate.is_hidden(entry[_AUTHOR], entry[0]):
            return False
        deleters = self._deleters.get(entry[_MESSAGE_ID])
        return deleters is None or not any(self._may_delete(entry, who, at) for who, at in deleters)

    def _may_delete(self, entry: MessageEntry, who: str, at: int) -> bool:
        return who == entry[_AUTHOR] or (self._gate is not None and self._gate.may_delete(who, at))

    def _is_own(self, entry: MessageEntry) -> bool:
        return entry[_AUTHOR] == self._owner == entry[_SENDER]

    def _is_by_another(self, message_id: str, actor: str) -> bool:
        entry = self._entries.get(message_id)
        return entry is not None and entry[_AUTHOR] != actor

    def _unread_among(self, entries: Iterable[MessageEntry]) -> int:
        owner, own_reads = self._owner, self._own_reads
        return sum(
            [
                not (entry[_AUTHOR] == owner == entry[_SENDER]) and entry[_MESSAGE_ID] not in own_reads
                for entry in entries
            ]
        )

    def _draw(self, entry: MessageEntry) -> Message:
        at, _, place, message_id, author, sender, name, text, reply_to, epoch, style, label, source, line = entry
        is_own = author == self._owner == sender
        edits = self._edits[message_id].get(author) if message_id in self._edits else None
        readers = self._readers.get(message_id, ())
        rank = max(_SENT if is_own else _DELIVERED, self._delivery.get(message_id, 0))
        content: str | bytes = text if edits is None else edits.text
        is_sealed = False
        if type(content) is bytes:
            sealed = SealedText(self._context_id, self._channel_id, message_id, sender, epoch, content)
            content, is_sealed = open_sealed(sealed, self._opener)
        # Building a named tuple through its class costs twice as much.
        parts = (
            message_id,
            self._channel_id,
            sender,
            name,
            content,
            at,
            reply_to,
            is_own,
            is_own or message_id in self._own_reads,
            _RANKS[_READ if is_own and readers else rank],
            epoch,
            style,
            None if edits is None or edits.stamp is None else edits.stamp[0],
            0 if edits is None else len(edits.fact_ids),
            tuple(sorted(readers)) if readers else (),
            None if source is None else author,
            label,
            source,
            line,
            is_sealed,
            "provisional" if self.finality.is_silent else self.finality.agreement_of(place[-32:], epoch),
        )
        return tuple.__new__(Message, parts)


def _merge(order: list[MessageEntry], coming: list[MessageEntry]) -> None:
    """Insert the sorted *coming* into the sorted *order*, moving the tail once for each run of neighbours."""
    runs: list[tuple[int, int]] = []  # (place in order, first index in coming), by place
    place = -1
    for index, entry in enumerate(coming):
        found = bisect_left(order, entry)
        if found != place:
            place = found
            runs.append((place, index))
    if len(runs) > _RUN_COUNT_MAX:
        start = runs[0][0]
        order[start:] = sorted(order[start:] + coming)
        return
    end = len(coming)
    for place, index in reversed(runs):
        order[place:place] = coming[index:end]
        end = index

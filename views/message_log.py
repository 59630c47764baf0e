"""The messages of one channel: placed by stamp, edited, read and taken back, whatever order the facts come in.

Knows nothing of channels and signatures; whoever calls has checked that each actor signed. Facts are gathered as they
come, and ``settle`` once a window puts the new ones in place, so that a window costs what it holds and not what the
channel holds.

With a ``Recall`` only the newest thousand visible messages are held whole (0.5 KB each). The others are packed (see
``packed_messages.py``): what is late finds them there, and those that return to the screen are read back. Without one,
all are held whole.

Cost: 3 µs for a message that comes in order; a late one moves 4 bytes for each newer one. What is about a packed
message reads it back first. Edits, reactions and deletions are held for ever, about 0.4 KB each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Set

from antiphon.facts import Stamp
from antiphon.facts.chat import DeliveryStatus

from .chat_state import MESSAGE_COUNT_MAX, REACTION_COUNT_MAX, DeliveryState, Message
from .finality import Finality
from .gate import ChannelGate
from .message_entry import AUTHOR, EPOCH, MESSAGE_ID, SENDER, MessageEntry, Recall
from .opening import Opener, SealedText, open_sealed
from .packed_messages import Marks, PackedMessages
from .registers import Register, claim, newer

_RANKS: tuple[DeliveryState, ...] = ("sending", "failed", "sent", "delivered", "read")
RANK_OF: Mapping[DeliveryStatus, int] = {"failed": 1, "sent": 2, "delivered": 3, "read": 4}
_SENT, _DELIVERED, _READ = 2, 3, 4

# From here on one merge of the whole tail is cheaper than moving it once for each run of late messages.
_RUN_COUNT_MAX = 64

# Whole messages: as many again as are shown, so that some deletions find the next ones at hand; packing begins at twice
# that, so that it comes once in a thousand messages.
_WHOLE_SCREENS = 2

_DRAWN = frozenset(("_opener", "_tail", "_is_tail_stale", "_is_tail_changed", "shown"))


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
        "_floor",
        "_fresh",
        "_gate",
        "_hidden_until",
        "_is_tail_changed",
        "_is_tail_stale",
        "_opener",
        "_order",
        "_own_reads",
        "_owner",
        "_packed",
        "_packed_deleted",
        "_pending_hidden_until",
        "_reactions",
        "_readers",
        "_tail",
        "_unverified",
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
        self._entries: dict[str, MessageEntry] = {}  # by message id, the one with the best claim to it
        self._fresh: dict[str, MessageEntry] = {}  # those of them that have no place yet
        self._unverified: list[str] = []  # ids of fresh ones that a packed message may have, to be looked for together
        self._order: list[MessageEntry] = []  # the visible ones, by stamp
        self._tail: list[Message] = []  # the newest of `_order`, drawn
        self._is_tail_stale = False  # `_order` changed elsewhere than at its end
        self._is_tail_changed = False
        self._dirty: set[str] = set()  # to be drawn anew
        self._hidden_until: int | None = None
        self._pending_hidden_until: int | None = None
        self._edits: dict[str, dict[str, _Edits]] = {}
        self._deleters: dict[str, set[tuple[str, int]]] = {}  # who, and when
        self._packed: PackedMessages | None = None
        self._packed_deleted: dict[int, str] = {}  # message ids of packed ones that somebody deleted, by row
        self._floor: Stamp | None = None  # visible whole messages stand here or above, visible packed ones below
        self._own_reads: set[str] = set()
        self._readers: dict[str, set[str]] = {}
        self._delivery: dict[str, int] = {}
        self._reactions: dict[str, dict[tuple[str, str], Register[bool]]] = {}  # by message: (sign, who) -> it stands
        self.shown: tuple[Message, ...] = ()
        self.unread_count = 0

    def __getstate__(self) -> dict[str, object]:
        """All that facts said. Not what was drawn: it may show what an opener read, which stays off the disk."""
        return {name: getattr(self, name) for name in self.__slots__ if name not in _DRAWN}

    def __setstate__(self, state: Mapping[str, object]) -> None:
        self._opener = None
        self._tail = []
        self.shown = ()
        self._is_tail_stale = self._is_tail_changed = True
        for name, value in state.items():
            setattr(self, name, value)

    def take_up(self, recall: Recall, opener: Opener | None) -> None:
        """Go on with a state that was kept: read back with *recall*, and what is sealed with *opener*."""
        self._opener = opener
        if self._packed is not None:
            self._packed.use_recall(recall)

    @property
    def visible_count(self) -> int:
        """How many messages are visible, shown or not."""
        return len(self._order) + (self._packed.visible_count if self._packed else 0)

    @property
    def whole_count(self) -> int:
        """How many messages are held whole."""
        return len(self._entries)

    @property
    def packed_count(self) -> int:
        """How many messages are held without their words."""
        return len(self._packed) if self._packed else 0

    def use_recall(self, recall: Recall) -> None:
        """Hold old messages packed from now on, since *recall* reads them back."""
        assert self._packed is None, "packed messages stay with the recall that reads them back"
        self._packed = PackedMessages(self._owner, self._channel_id, recall)

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
            not self._may_delete(author, who, at)
            for message_id, deleters in self._deleters.items()
            if (author := self._author_of(message_id)) is not None
            for who, at in deleters
        )

    def say(self, entry: MessageEntry) -> None:
        """Take a message; of several with one id its owner's counts, or else the one with the lowest stamp."""
        message_id = entry[MESSAGE_ID]
        known = self._entries.get(message_id)
        if known is not None:
            if claim_of(entry) >= claim_of(known):
                return
            self._take_out(known)
            self._dirty.add(message_id)
        else:
            self._unverified.append(message_id)
        self._entries[message_id] = entry
        self._fresh[message_id] = entry

    def _verify(self) -> None:
        """Let a packed message of the same id count, or go, before anything asks which of them there is."""
        message_ids, self._unverified = self._unverified, []
        if self._packed is None:
            return
        for message_id in self._packed.suspects(message_ids):
            entry, packed = self._entries.get(message_id), self._packed.find(message_id)
            if entry is None or packed is None:
                continue
            row, known = packed
            if claim_of(entry) >= claim_of(known):
                del self._entries[message_id]
                self._fresh.pop(message_id, None)
            else:
                self._drop_packed(row, message_id)

    def edit(self, message_id: str, *, editor: str, stamp: Stamp, text: str | bytes) -> None:
        """Take an edit, kept until its message is known."""
        self._edits.setdefault(message_id, {}).setdefault(editor, _Edits()).add(stamp, text)
        self._dirty.add(message_id)

    def react(self, message_id: str, *, reactor: str, reaction: str, stamp: Stamp, is_there: bool) -> None:
        """Take a reaction, or that it is taken back; kept until its message is known."""
        reactions = self._reactions.setdefault(message_id, {})
        reactions[reaction, reactor] = newer(reactions.get((reaction, reactor)), stamp, is_there)
        self._dirty.add(message_id)

    def delete(self, message_id: str, *, deleter: str, at: int) -> None:
        """Take a deletion, kept for ever."""
        if self._unverified:
            self._verify()
        self._deleters.setdefault(message_id, set()).add((deleter, at))
        entry = self._entries.get(message_id)
        if entry is not None:
            if self._may_delete(entry[AUTHOR], deleter, at):
                self._take_out(entry)
        elif (packed := self._find_packed(message_id)) is not None:
            self._packed_deleted[packed[0]] = message_id
            if self._may_delete(packed[1][AUTHOR], deleter, at):
                self._hide_packed([packed[0]])

    def judge_anew(self, people: Set[str]) -> None:
        """Look again at what *people* said and deleted, since their rights changed; O(messages of the channel)."""
        if self._unverified:
            self._verify()
        for message_id, deleters in self._deleters.items():
            if any(who in people for who, _ in deleters) and message_id in self._entries:
                self._place_anew(self._entries[message_id])
        for entry in self._entries.values():
            if entry[AUTHOR] in people:
                self._place_anew(entry)
        for message_id, reactions in self._reactions.items():
            if any(who in people for _, who in reactions):
                self._dirty.add(message_id)
        if self._packed:
            deleted = {
                row
                for row, message_id in self._packed_deleted.items()
                if any(who in people for who, _ in self._deleters[message_id])
            }
            self._judge_packed({*self._packed.rows_by(people), *deleted})

    def _place_anew(self, entry: MessageEntry) -> None:
        if self._place_of(entry) is None:
            self._fresh[entry[MESSAGE_ID]] = entry
        elif not self._is_visible(entry):
            self._take_out(entry)
            self._dirty.add(entry[MESSAGE_ID])

    def read(self, message_id: str, *, reader: str) -> None:
        """Take a read receipt, kept until its message is known."""
        if self._unverified:
            self._verify()
        entry = self._entries.get(message_id)
        if entry is None and (packed := self._find_packed(message_id)) is not None:
            self._mark_read(packed[0], reader)
            return
        self._dirty.add(message_id)
        if reader != self._owner:
            self._readers.setdefault(message_id, set()).add(reader)
        elif message_id not in self._own_reads:
            self._own_reads.add(message_id)
            if entry is not None and not self._is_own(entry) and self._place_of(entry) is not None:
                self.unread_count -= 1

    def deliver(self, message_id: str, status: DeliveryStatus) -> None:
        """Take a delivery status; it only rises."""
        if self._unverified:
            self._verify()
        rank = RANK_OF[status]
        if message_id not in self._entries and (packed := self._find_packed(message_id)) is not None:
            assert self._packed is not None, "that is where it was found"
            marks = self._packed.marks_of(packed[0])
            self._packed.mark(packed[0], marks._replace(rank=max(marks.rank, rank)))
            return
        self._delivery[message_id] = max(self._delivery.get(message_id, 0), rank)
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
        if self._unverified:
            self._verify()
        if self._pending_hidden_until != self._hidden_until:
            self._drop_hidden()
        if self.finality.settle():
            self.redraw()
        if self._fresh:
            self._place_fresh()
        if self._packed is not None:
            self._balance(self._packed)
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
        if self._packed:
            self._hide_packed(self._packed.rows_until(self._hidden_until))
        self._is_tail_stale = True

    def _place_fresh(self) -> None:
        coming = list(self._fresh.values())
        if self._hidden_until is not None or self._gate is not None or self._deleters:
            coming = [entry for entry in coming if self._is_visible(entry)]
        self._fresh.clear()
        if not coming:
            return
        coming.sort()
        self.unread_count += self._unread_among(coming)
        if self._packed is not None and self._floor is not None and coming[0] < self._floor:
            coming = self._pack_late(self._packed, coming, self._floor)
            if not coming:
                return
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
        self._tail = [drawn.get(entry[MESSAGE_ID]) or self._draw(entry) for entry in self._order[-MESSAGE_COUNT_MAX:]]
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
        return self._is_shown_of(entry[AUTHOR], entry[0], self._deleters.get(entry[MESSAGE_ID]))

    def _is_shown_of(self, author: str, at: int, deleters: set[tuple[str, int]] | None) -> bool:
        """Whether what *author* said then is visible, when *deleters* would have it gone."""
        if self._hidden_until is not None and at <= self._hidden_until:
            return False
        if self._gate is not None and self._gate.is_hidden(author, at):
            return False
        return deleters is None or not any(self._may_delete(author, who, when) for who, when in deleters)

    def _may_delete(self, author: str, who: str, at: int) -> bool:
        return who == author or (self._gate is not None and self._gate.may_delete(who, at))

    def _is_own(self, entry: MessageEntry) -> bool:
        return entry[AUTHOR] == self._owner == entry[SENDER]

    def _is_by_another(self, message_id: str, actor: str) -> bool:
        author = self._author_of(message_id)
        return author is not None and author != actor

    def _author_of(self, message_id: str) -> str | None:
        entry = self._entries.get(message_id)
        if entry is None and (packed := self._find_packed(message_id)) is not None:
            entry = packed[1]
        return None if entry is None else entry[AUTHOR]

    # What is packed

    def _find_packed(self, message_id: str) -> tuple[int, MessageEntry] | None:
        return None if self._packed is None else self._packed.find(message_id)

    def _balance(self, packed: PackedMessages) -> None:
        """Hold the newest visible messages whole, and not many more."""
        count = _WHOLE_SCREENS * MESSAGE_COUNT_MAX
        if packed and self._order and packed.is_newest_above(self._order[0][:3]):
            self._pack_oldest(packed, len(self._order))
        if len(self._order) < MESSAGE_COUNT_MAX and packed.visible_count:
            self._unpack_newest(packed, count - len(self._order))
        if len(self._entries) >= 2 * count:
            self._pack_oldest(packed, len(self._order) - count)

    def _pack_late(self, packed: PackedMessages, coming: list[MessageEntry], floor: Stamp) -> list[MessageEntry]:
        """Pack what stands below the floor; the rest."""
        count = bisect_left(coming, floor)
        self._pack(packed, coming[:count])
        return coming[count:]

    def _pack_oldest(self, packed: PackedMessages, count: int) -> None:
        """Pack the oldest *count* of the whole visible messages, and all that are not visible."""
        for entry in self._hidden_ones():
            self._keep_row(packed.pack(entry, self._take_marks(entry), is_visible=False), entry)
        old = self._order[: max(count, 0)]
        del self._order[: len(old)]
        self._pack(packed, old)
        self._floor = self._order[0][:3] if self._order else None
        self._is_tail_stale = True

    def _hidden_ones(self) -> list[MessageEntry]:
        if len(self._entries) == len(self._order):
            return []
        placed = {entry[MESSAGE_ID] for entry in self._order}
        return [entry for message_id, entry in self._entries.items() if message_id not in placed]

    def _pack(self, packed: PackedMessages, entries: list[MessageEntry]) -> None:
        rows = packed.pack_all(entries, list(map(self._take_marks, entries)))
        for row, entry in zip(rows, entries, strict=True):
            self._keep_row(row, entry)

    def _keep_row(self, row: int, entry: MessageEntry) -> None:
        message_id = entry[MESSAGE_ID]
        del self._entries[message_id]
        if self._deleters and message_id in self._deleters:
            self._packed_deleted[row] = message_id

    def _unpack_newest(self, packed: PackedMessages, count: int) -> None:
        """Read the newest packed messages back; those that are gone from the journal are forgotten."""
        rows = packed.newest(count)
        found = packed.recall_all(rows)
        self.unread_count -= sum(packed.is_unread(row) for row, entry in zip(rows, found, strict=True) if entry is None)
        whole = [entry for entry in found if entry is not None]
        for row, entry in zip(rows, found, strict=True):
            if entry is not None:
                self._entries[entry[MESSAGE_ID]] = entry
                self._restore_marks(packed.marks_of(row), entry[MESSAGE_ID])
            self._packed_deleted.pop(row, None)
        packed.drop(rows)
        self._order[:0] = whole
        if self._order:
            self._floor = self._order[0][:3]
        self._is_tail_stale = True

    def _drop_packed(self, row: int, message_id: str) -> None:
        """Forget a packed message, but not what is known about it."""
        assert self._packed is not None, "that is where it was found"
        self._hide_packed([row])
        self._restore_marks(self._packed.marks_of(row), message_id)
        self._packed_deleted.pop(row, None)
        self._packed.drop([row])

    def _hide_packed(self, rows: Iterable[int]) -> None:
        assert self._packed is not None, "rows are packed ones"
        seen = [row for row in rows if self._packed.is_visible(row)]
        self.unread_count -= sum(map(self._packed.is_unread, seen))
        self._packed.hide(seen)

    def _judge_packed(self, rows: Set[int]) -> None:
        assert self._packed is not None, "rows are packed ones"
        packed = self._packed
        wanted = {row for row in rows if self._is_packed_visible(packed, row)}
        self._hide_packed(rows - wanted)
        shown = [row for row in sorted(wanted) if not packed.is_visible(row)]
        self.unread_count += sum(map(packed.is_unread, shown))
        packed.show(shown)

    def _is_packed_visible(self, packed: PackedMessages, row: int) -> bool:
        deleted = self._packed_deleted.get(row)
        deleters = None if deleted is None else self._deleters[deleted]
        return self._is_shown_of(packed.author_of(row), packed.at_of(row), deleters)

    def _mark_read(self, row: int, reader: str) -> None:
        assert self._packed is not None, "rows are packed ones"
        packed, marks = self._packed, self._packed.marks_of(row)
        if reader != self._owner:
            packed.mark(row, marks._replace(readers=marks.readers | {reader}))
            return
        if packed.is_visible(row):
            self.unread_count -= packed.is_unread(row)
        packed.mark(row, marks._replace(is_read=True))

    def _take_marks(self, entry: MessageEntry) -> Marks:
        if not (self._own_reads or self._readers or self._delivery):
            return _NO_MARKS
        message_id = entry[MESSAGE_ID]
        is_read = message_id in self._own_reads
        self._own_reads.discard(message_id)
        readers = self._readers.pop(message_id, None)
        rank = self._delivery.pop(message_id, 0)
        return Marks(rank, is_read, frozenset(readers or ())) if is_read or readers or rank else _NO_MARKS

    def _restore_marks(self, marks: Marks, message_id: str) -> None:
        if marks.is_read:
            self._own_reads.add(message_id)
        if marks.readers:
            self._readers[message_id] = set(marks.readers)
        if marks.rank:
            self._delivery[message_id] = marks.rank

    def _unread_among(self, entries: Iterable[MessageEntry]) -> int:
        owner, own_reads = self._owner, self._own_reads
        return sum(
            [not (entry[AUTHOR] == owner == entry[SENDER]) and entry[MESSAGE_ID] not in own_reads for entry in entries]
        )

    def _draw(self, entry: MessageEntry) -> Message:
        at, _, place, message_id, author, sender, name, text, reply_to, epoch, style, label, source, line, _, _ = entry
        fact_id = place[-32:]
        is_own = author == self._owner == sender
        edits = self._edits[message_id].get(author) if message_id in self._edits else None
        readers = self._readers.get(message_id, ())
        rank = _SENT if is_own else _DELIVERED
        if self._delivery:
            rank = max(rank, self._delivery.get(message_id, 0))
        content: str | bytes = text if edits is None else edits.text
        is_sealed = False
        if type(content) is bytes:
            content, is_sealed = self._unseal(entry, content)
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
            "provisional" if self.finality.is_silent else self.finality.agreement_of(fact_id, epoch),
            fact_id.hex(),
            self._draw_reactions(message_id) if message_id in self._reactions else (),
        )
        return tuple.__new__(Message, parts)

    def _unseal(self, entry: MessageEntry, content: bytes) -> tuple[str, bool]:
        sealed = SealedText(self._context_id, self._channel_id, entry[MESSAGE_ID], entry[SENDER], entry[EPOCH], content)
        return open_sealed(sealed, self._opener)

    def _draw_reactions(
        self, message_id: str, others: Iterable[MessageLog] = ()
    ) -> tuple[tuple[str, tuple[str, ...]], ...]:
        said: dict[tuple[str, str], Register[bool]] = {}
        for log in (self, *others):
            for place, word in log._reactions.get(message_id, {}).items():
                said[place] = max(said.get(place, word), word)
        people: dict[str, list[str]] = {}
        for (reaction, who), (stamp, is_there) in said.items():
            if is_there and not (self._gate is not None and self._gate.is_hidden(who, stamp[0])):
                people.setdefault(reaction, []).append(who)
        most = sorted(people, key=lambda reaction: (-len(people[reaction]), reaction))[:REACTION_COUNT_MAX]
        return tuple((reaction, tuple(sorted(people[reaction]))) for reaction in most)

    def find(self, message_id: str, others: Iterable[MessageLog] = ()) -> Message | None:
        """A visible message, however old, with what was said of it in *others*; one that is packed is read back."""
        entry = self._entries.get(message_id)
        if entry is not None:
            is_shown = self._place_of(entry) is not None
            return self.with_words_of(others, entry, self._draw(entry)) if is_shown else None
        found = self._find_packed(message_id)
        if found is None or self._packed is None or not self._packed.is_visible(found[0]):
            return None
        return self.with_words_of(others, found[1], self._draw_packed(self._packed, *found))

    def _draw_packed(self, packed: PackedMessages, row: int, entry: MessageEntry) -> Message:
        marks, drawn = packed.marks_of(row), self._draw(entry)
        is_read_by_others = drawn.is_own and bool(marks.readers)
        return drawn._replace(
            is_read=drawn.is_read or marks.is_read,
            read_by=tuple(sorted(marks.readers)),
            delivery_status=higher_state(drawn.delivery_status, _RANKS[_READ if is_read_by_others else marks.rank]),
        )

    def stamp_of(self, message_id: str) -> Stamp | None:
        """Where a message stands, shown or not; None for one that never came."""
        entry = self._entries.get(message_id)
        if entry is None and (packed := self._find_packed(message_id)) is not None:
            entry = packed[1]
        return None if entry is None else entry[:3]

    def before(self, stamp: Stamp, count: int) -> list[tuple[MessageEntry, Message]]:
        """The newest *count* visible messages below *stamp*, oldest first; packed ones are read back."""
        place = bisect_left(self._order, stamp)
        found = [(entry, self._draw(entry)) for entry in self._order[max(0, place - count) : place]]
        packed = self._packed
        if packed is None or len(found) == count:
            return found
        rows = packed.before(stamp, count - len(found))
        old = zip(rows, packed.recall_all(rows), strict=True)
        return [(entry, self._draw_packed(packed, row, entry)) for row, entry in old if entry is not None] + found

    # For channels that become one

    @property
    def shown_entries(self) -> list[tuple[MessageEntry, Message]]:
        """What is shown, each with what its place is told by."""
        return list(zip(self._order[-len(self.shown) :], self.shown, strict=True)) if self.shown else []

    def with_words_of(self, others: Iterable[MessageLog], entry: MessageEntry, drawn: Message) -> Message:
        """A message of this log as it is when what was said about it in *others* counts as well."""
        message_id, author = entry[MESSAGE_ID], entry[AUTHOR]
        told = [log for log in others if log._tells_of(message_id)]
        if not told:
            return drawn
        logs = (self, *told)
        by_place = [(edits, log) for log in logs if (edits := log._edits.get(message_id, {}).get(author)) is not None]
        if by_place:
            newest, place = max(by_place, key=_stamp_of)
            assert newest.stamp is not None, "edits are there with the first of them"
            text = newest.text
            content, is_sealed = place._unseal(entry, text) if isinstance(text, bytes) else (text, False)
            count = len(frozenset().union(*(edits.fact_ids for edits, _ in by_place)))
            drawn = drawn._replace(content=content, is_sealed=is_sealed, edited_at=newest.stamp[0], edit_count=count)
        readers = {*drawn.read_by, *(who for log in told for who in log._readers.get(message_id, ()))}
        rank = max(log._delivery.get(message_id, 0) for log in told)
        status = higher_state(drawn.delivery_status, _RANKS[_READ if drawn.is_own and readers else rank])
        return drawn._replace(
            is_read=drawn.is_read or any(message_id in log._own_reads for log in told),
            read_by=tuple(sorted(readers)),
            delivery_status=status,
            reactions=self._draw_reactions(message_id, told),
        )

    def _tells_of(self, message_id: str) -> bool:
        words = (self._edits, self._own_reads, self._readers, self._delivery, self._reactions)
        return any(message_id in each for each in words)

    def is_taken_back(self, message_id: str, author: str) -> bool:
        """Whether the author of a message of that id, or who may, said here that it is to go."""
        return any(self._may_delete(author, who, at) for who, at in self._deleters.get(message_id, ()))

    def count_until(self, at: int) -> tuple[int, int]:
        """How many visible messages were said up to then, and how many of them are unread; O(those)."""
        old = self._order[: bisect_left(self._order, (at + 1,))]
        rows = self._packed.rows_until(at) if self._packed else []
        unread = sum(map(self._packed.is_unread, rows)) if self._packed else 0
        return len(old) + len(rows), self._unread_among(old) + unread

    @property
    def hidden_until(self) -> int | None:
        """What was said up to then is hidden, since the channel was closed."""
        return self._hidden_until


def claim_of(entry: MessageEntry) -> tuple[bool, Stamp]:
    """How good its claim to its id is; the lowest counts."""
    return claim(entry[MESSAGE_ID], entry[AUTHOR], entry[:3])


def _stamp_of(found: tuple[_Edits, MessageLog]) -> Stamp:
    stamp = found[0].stamp
    assert stamp is not None, "edits are there with the first of them"
    return stamp


def higher_state(one: DeliveryState, other: DeliveryState) -> DeliveryState:
    """The delivery state that outranks the other."""
    return max(one, other, key=_RANKS.index)


_NO_MARKS = Marks()


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

"""Old messages in 46 bytes each: where they stand and what counts about them, without their words.

Words are read back from the journal (a ``Recall``) for the few that return to the screen or that something late is
about. Knows nothing of rights and visibility: whoever packs a message says whether it is visible.

Rows are columns of machine words; visible ones are listed by stamp, all are found by the hash of their message id.
Two stamps that tie in time and clock, and two ids of one hash, are told apart by reading the messages back, so every
answer is exact. Cost: 2 µs to pack, 1 µs to look for an id that is not here, one read for one that is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence, Set
from importlib.util import source_hash
from itertools import groupby
from struct import Struct
from typing import Final, NamedTuple

from antiphon.facts import ChainId, Stamp

from .message_entry import (
    AUTHOR,
    CHAIN,
    LINE,
    MESSAGE_ID,
    SENDER,
    SEQ,
    SOURCE,
    MessageEntry,
    Recall,
    entries_among,
    place_in_source,
)

# Each is rehashed on its own when it fills, so that no message pays for all the others.
_TABLE_BITS: Final = 6
_TABLE_MASK: Final = (1 << _TABLE_BITS) - 1
_EMPTY, _GONE = 0, 1
_TABLE_SIZE_MIN: Final = 8

_WORD_MAX: Final = 2**32 - 1

_WORD: Final = Struct("<q")

# From here on sorting once is cheaper than moving what is newer once for each.
_SINGLE_COUNT_MAX = 64


class Marks(NamedTuple):
    """What facts of others than its own say of a message, as far as a count or a later drawing needs it."""

    rank: int = 0
    is_read: bool = False
    readers: frozenset[str] = frozenset()


class _Voice(NamedTuple):
    """What many messages have in common, kept once."""

    author: str
    is_own: bool
    source: str | None
    chain: bytes
    marks: Marks


class PackedMessages:
    """The old messages of one channel as *owner* sees them."""

    def __init__(self, owner: str, channel_id: str, recall: Recall) -> None:
        self._owner = owner
        self._channel_id = channel_id
        self._recall = recall
        self._at = array("q")
        self._clock = array("Q")  # HLC, or an imported line's number beyond the most negative one
        self._seq = array("I")  # in words of 64 bits from the first number on that needs them
        self._hash = array("q")  # of the message id
        self._voice = array("I")
        self._is_visible = bytearray()
        self._order = array("I")
        self._voices: list[_Voice] = []
        self._voice_numbers: dict[_Voice, int] = {}
        self._known_voices: dict[tuple[str, bool, str | None, bytes, Marks], int] = {}
        self._free: list[int] = []
        self._tables: dict[int, _Table] = {}
        self.recalled_count = 0

    def __getstate__(self) -> dict[str, object]:
        """All but the way to read back, which is another one in every process."""
        return {name: value for name, value in self.__dict__.items() if name != "_recall"}

    def use_recall(self, recall: Recall) -> None:
        """Read back with *recall* from now on."""
        self._recall = recall

    def __len__(self) -> int:
        """How many there are, visible or not."""
        return len(self._at) - len(self._free)

    @property
    def visible_count(self) -> int:
        """How many are visible."""
        return len(self._order)

    def pack(self, entry: MessageEntry, marks: Marks, *, is_visible: bool) -> int:
        """Keep one; its row."""
        (row,) = self._add([entry], [marks])
        if is_visible:
            self._list(row, entry[:3])
        return row

    def pack_all(self, entries: Sequence[MessageEntry], marks: Sequence[Marks]) -> list[int]:
        """Keep visible ones, which are sorted; O(what came), and one pass over all rows when many come late."""
        if not entries:
            return []
        if len(entries) <= _SINGLE_COUNT_MAX and self.is_newest_above(entries[0][:3]):
            return [self.pack(entry, mark, is_visible=True) for entry, mark in zip(entries, marks, strict=True)]
        rows = self._add(entries, marks)
        if self.is_newest_above(entries[0][:3]):
            self.show(rows)
            return rows
        self._order.extend(rows)
        for row in rows:
            self._is_visible[row] = 1
        return rows

    def find(self, message_id: str) -> tuple[int, MessageEntry] | None:
        """A message by its id, read back; O(1), without a read when it is not here."""
        digest = _digest_of(message_id)
        table = self._tables.get(digest & _TABLE_MASK)
        if table is None:
            return None
        for row in table.rows_of(digest, self._hash):
            entry = self.recall(row)
            if entry is not None and entry[MESSAGE_ID] == message_id:
                return row, entry
        return None

    def suspects(self, message_ids: Iterable[str]) -> list[str]:
        """Those of these ids that may be here, without reading anything; the others are not. One loop for all of them:
        almost every message is new, and a call for each costs as much as the rest of its way to the screen."""
        tables, hashes = self._tables, self._hash
        if not tables:
            return []
        found: list[str] = []
        unpack = _WORD.unpack
        for message_id in message_ids:
            digest: int = unpack(source_hash(message_id.encode()))[0]  # as `_digest_of`
            table = tables.get(digest & _TABLE_MASK)
            if table is None:
                continue
            slots = table.slots
            size = len(slots)
            place = (digest >> _TABLE_BITS) % size
            while slot := slots[place]:  # as `_Table.rows_of`
                if slot != _GONE and hashes[slot - 2] == digest:
                    found.append(message_id)
                    break
                place = place + 1 if place + 1 < size else 0
        return found

    def recall(self, row: int) -> MessageEntry | None:
        """One message read back; None when it was erased."""
        return self.recall_all([row])[0]

    def recall_all(self, rows: Sequence[int]) -> list[MessageEntry | None]:
        """Messages read back, in the order of *rows*."""
        self.recalled_count += len(rows)
        facts = self._recall([(ChainId(self._voices[self._voice[row]].chain), self._seq[row]) for row in rows])
        found: dict[tuple[bytes, int], list[MessageEntry]] = {}
        for entry in entries_among(facts, channel_id=self._channel_id):
            found.setdefault((entry[CHAIN], entry[SEQ]), []).append(entry)
        return [self._choose(row, found) for row in rows]

    def _choose(self, row: int, found: dict[tuple[bytes, int], list[MessageEntry]]) -> MessageEntry | None:
        """Which of those with its number is meant: of a forked chain there may be several, and the lowest counts."""
        voice, place = self._voices[self._voice[row]], self._coarse(row)
        fits = [
            entry
            for entry in found.get((voice.chain, self._seq[row]), ())
            if _digest_of(entry[MESSAGE_ID]) == self._hash[row] and _coarse_of(entry) == place
        ]
        return min(fits, default=None)

    def marks_of(self, row: int) -> Marks:
        """What it is marked with."""
        return self._voices[self._voice[row]].marks

    def mark(self, row: int, marks: Marks) -> None:
        """Mark it otherwise."""
        self._voice[row] = self._number(self._voices[self._voice[row]]._replace(marks=marks))

    def author_of(self, row: int) -> str:
        """Who signed it."""
        return self._voices[self._voice[row]].author

    def at_of(self, row: int) -> int:
        """When it was said."""
        return self._at[row]

    def is_visible(self, row: int) -> bool:
        """Whether it is listed."""
        return bool(self._is_visible[row])

    def is_unread(self, row: int) -> bool:
        """Whether it is somebody else's and the owner has not read it."""
        voice = self._voices[self._voice[row]]
        return not (voice.is_own or voice.marks.is_read)

    def rows_by(self, people: Set[str]) -> list[int]:
        """All rows that *people* signed; O(rows)."""
        wanted = {number for number, voice in enumerate(self._voices) if voice.author in people}
        gone = set(self._free)
        return [row for row, number in enumerate(self._voice) if number in wanted and row not in gone]

    def newest(self, count: int) -> list[int]:
        """The newest visible rows, oldest first."""
        return list(self._order[-count:]) if count else []

    def before(self, stamp: Stamp, count: int) -> list[int]:
        """The newest *count* visible rows that stand below *stamp*, oldest first; O(log rows) and *count*."""
        place = bisect_left(self._order, True, key=lambda row: not self._is_below(row, stamp))
        return list(self._order[max(0, place - count) : place])

    def rows_until(self, at: int) -> list[int]:
        """The visible rows that were said up to then."""
        return list(self._order[: bisect_right(self._order, at, key=self.at_of)])

    def is_newest_above(self, stamp: Stamp) -> bool:
        """Whether a visible one stands above *stamp*."""
        return bool(self._order) and not self._is_below(self._order[-1], stamp)

    def show(self, rows: Sequence[int]) -> None:
        """List rows that are not visible; O(rows) once many change."""
        if len(rows) <= _SINGLE_COUNT_MAX:
            for row in rows:
                self._list(row, None)
            return
        for row in rows:
            self._is_visible[row] = 1
        ordered = sorted((*self._order, *rows), key=self._coarse)
        self._order = array("I", self._settle_ties(ordered))

    def hide(self, rows: Iterable[int]) -> None:
        """Take visible rows off the list; O(rows) once many change."""
        gone = {row for row in rows if self._is_visible[row]}
        for row in gone:
            self._is_visible[row] = 0
        if not gone:
            return
        if gone.issuperset(self._order[-len(gone) :]):
            del self._order[-len(gone) :]
        elif len(gone) > _SINGLE_COUNT_MAX:
            self._order = array("I", [row for row in self._order if row not in gone])
        else:
            for row in gone:
                del self._order[self._order.index(row, bisect_left(self._order, self._coarse(row), key=self._coarse))]

    def drop(self, rows: Iterable[int]) -> None:
        """Forget rows."""
        dropped = list(rows)
        self.hide(dropped)
        for row in dropped:
            digest = self._hash[row]
            self._tables[digest & _TABLE_MASK].remove(digest, row)
        self._free += dropped

    def _add(self, entries: Sequence[MessageEntry], marks: Sequence[Marks]) -> list[int]:
        """Fill rows, which are not visible yet."""
        reused = [self._free.pop() for _ in range(min(len(self._free), len(entries)))]
        rows = [*reused, *range(len(self._at), len(self._at) + len(entries) - len(reused))]
        if self._seq.typecode == "I" and any(entry[SEQ] > _WORD_MAX for entry in entries):
            self._seq = array("Q", self._seq)
        columns: tuple[tuple[array[int] | bytearray, list[int]], ...] = (
            (self._at, [entry[0] for entry in entries]),
            (self._clock, [entry[1] if entry[LINE] is None else entry[LINE] + 2**63 for entry in entries]),
            (self._seq, [entry[SEQ] for entry in entries]),
            (self._hash, [_digest_of(entry[MESSAGE_ID]) for entry in entries]),
            (self._voice, [self._voice_of(entry, mark) for entry, mark in zip(entries, marks, strict=True)]),
            (self._is_visible, [0] * len(entries)),
        )
        for column, values in columns:
            for row, value in zip(reused, values, strict=False):
                column[row] = value
            column.extend(values[len(reused) :])
        tables = self._tables
        for row, digest in zip(rows, columns[3][1], strict=True):
            table = tables.get(digest & _TABLE_MASK)
            if table is None:
                table = tables[digest & _TABLE_MASK] = _Table()
            table.add(digest, row, self._hash)
        return rows

    def _voice_of(self, entry: MessageEntry, marks: Marks) -> int:
        # Looked up as plain pieces, since building a named tuple for each message costs more than all the rest.
        key = (entry[AUTHOR], entry[SENDER] == entry[AUTHOR], entry[SOURCE], entry[CHAIN], marks)
        number = self._known_voices.get(key)
        if number is None:
            is_own = entry[AUTHOR] == self._owner == entry[SENDER]
            number = self._known_voices[key] = self._number(
                _Voice(entry[AUTHOR], is_own, entry[SOURCE], entry[CHAIN], marks)
            )
        return number

    def _number(self, voice: _Voice) -> int:
        number = self._voice_numbers.get(voice)
        if number is None:
            number = self._voice_numbers[voice] = len(self._voices)
            self._voices.append(voice)
        return number

    def _list(self, row: int, stamp: Stamp | None) -> None:
        """Put a row in its place; *stamp* in full when it is at hand."""
        self._is_visible[row] = 1
        order = self._order
        coarse = self._coarse(row)
        if not order or self._coarse(order[-1]) < coarse:
            order.append(row)
            return
        first = bisect_left(order, coarse, key=self._coarse)
        last = bisect_right(order, coarse, lo=first, key=self._coarse)
        if first < last:
            full = self._full(row) if stamp is None else stamp
            first += sum(self._full(each) < full for each in order[first:last])
        order.insert(first, row)

    def _settle_ties(self, ordered: list[int]) -> list[int]:
        """Rows that were sorted by what their columns say, with ties settled by what is read back."""
        settled: list[int] = []
        for _, group in groupby(ordered, key=self._coarse):
            rows = list(group)
            settled += rows if len(rows) == 1 else sorted(rows, key=self._full)
        return settled

    def _coarse(self, row: int) -> tuple[int, int, bytes]:
        """Its stamp without the fact id."""
        source = self._voices[self._voice[row]].source
        if source is None:
            return (self._at[row], self._clock[row], b"")
        return (self._at[row], 0, place_in_source(source, self._clock[row] - 2**63))

    def _full(self, row: int) -> Stamp:
        entry = self.recall(row)
        return self._coarse(row) if entry is None else entry[:3]

    def _is_below(self, row: int, stamp: Stamp) -> bool:
        coarse = self._coarse(row)
        if coarse != (*stamp[:2], stamp[2][: len(coarse[2])]):
            return coarse < stamp
        return self._full(row) < stamp


def _digest_of(message_id: str) -> int:
    """SipHash with one key in every process of a Python version, since rows are kept: ``hash`` has another key in each.

    Nobody finds many ids of one digest, each of which costs a read. 0.1 µs, where SHA-256 takes 0.5.
    """
    digest: int = _WORD.unpack(source_hash(message_id.encode()))[0]
    return digest


def _coarse_of(entry: MessageEntry) -> tuple[int, int, bytes]:
    source, line = entry[SOURCE], entry[LINE]
    if source is None or line is None:
        return (entry[0], entry[1], b"")
    return (entry[0], 0, place_in_source(source, line))


class _Table:
    """Rows by hash, with open addressing: four bytes a slot, at most three quarters of them in use."""

    __slots__ = ("_used", "slots")

    def __init__(self) -> None:
        self.slots = array("I", bytes(4 * _TABLE_SIZE_MIN))
        self._used = 0

    def rows_of(self, digest: int, hashes: Sequence[int]) -> Sequence[int]:
        """The rows of that hash."""
        slots = self.slots
        size = len(slots)
        place = (digest >> _TABLE_BITS) % size
        slot = slots[place]
        if slot == _EMPTY:  # as for most ids that are not here
            return ()
        found: list[int] = []
        while (slot := slots[place]) != _EMPTY:
            if slot != _GONE and hashes[slot - 2] == digest:
                found.append(slot - 2)
            place = place + 1 if place + 1 < size else 0
        return found

    def add(self, digest: int, row: int, hashes: Sequence[int]) -> None:
        """Take a row, whose hash is among *hashes* already."""
        if 4 * (self._used + 1) > 3 * len(self.slots):
            self._grow(hashes)
        self._put(digest, row)

    def remove(self, digest: int, row: int) -> None:
        """Forget a row."""
        slots = self.slots
        place = (digest >> _TABLE_BITS) % len(slots)
        while slots[place] != row + 2:
            place = (place + 1) % len(slots)
        slots[place] = _GONE

    def _put(self, digest: int, row: int) -> None:
        slots = self.slots
        size = len(slots)
        place = (digest >> _TABLE_BITS) % size
        while slots[place]:
            place = place + 1 if place + 1 < size else 0
        slots[place] = row + 2
        self._used += 1

    def _grow(self, hashes: Sequence[int]) -> None:
        rows = [slot - 2 for slot in self.slots if slot > _GONE]
        size = max(_TABLE_SIZE_MIN, 2 * len(rows) + 2)
        self.slots = array("I", bytes(4 * size))
        slots = self.slots
        for row in rows:  # as _put does, without a call for each
            place = (hashes[row] >> _TABLE_BITS) % size
            while slots[place]:
                place = place + 1 if place + 1 < size else 0
            slots[place] = row + 2
        self._used = len(rows)

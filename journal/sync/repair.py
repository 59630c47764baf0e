"""Finding which sealed runs one side lacks, when heads and suffixes have not said it: symbols, then buckets.

One ``Repair`` is the asking side's share of one namespace in one round; the answering side keeps a ``Telling``. Both
say what to send next and hold no connection. A difference of d runs costs about 1.55·d symbols of 21 bytes. The first
1,024 symbols are kept by the index; what needs more (some 600 runs and up) is encoded from scratch under a salt of the
session, off the loop (~2 µs a run held, once on each side), up to 16,384; what needs more than that is told bucket by
bucket, as lists of 16-byte items, and always ends.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from antiphon.facts import Namespace

from ..sketch import (
    BUCKET_COUNT,
    CELLS_MAX,
    EMPTY_CELL,
    KEPT_CELLS,
    Bucket,
    Cell,
    Difference,
    RunSketch,
    buckets_of,
    decode,
    subtract,
)
from ..stores.position import RunRow
from .messages import SKETCH_CELLS_MAX, WANT_ITEMS_MAX, Buckets, Items, Message, Probe, ProbeFor, Sketch

NO_SALT = bytes(16)
# A first look of 1.4 KiB: enough for forty runs, and enough to estimate how many there are.
FIRST_CELLS = 64
# Enough for nine differences in ten at once; another trip costs more than the symbols it would save.
CELLS_PER_ITEM = 1.55
CELLS_SPARE = 8
CELLS_GROWTH = 1.2
# Fewer empty symbols say too little of how many items there are.
EMPTY_CELLS_MIN = 4
# Buckets of a peer that keeps pages coming: a page holds 4,096 runs.
PAGES_MAX = 4_096


class Encode(NamedTuple):
    """Work for a thread: all symbols over these items under this salt. Answer with ``encoded``."""

    namespace: Namespace
    items: tuple[bytes, ...]
    salt: bytes


class Repair:
    """The asking side: what to ask next, until ``difference`` is known (ours first, the peer's second)."""

    def __init__(self, namespace: Namespace, sketch: RunSketch, salt: bytes) -> None:
        self.namespace = namespace
        self.difference: Difference | None = None
        self._salt_later = salt
        self._salt = NO_SALT
        self._sketch = sketch
        self._items: tuple[bytes, ...] = ()
        self._ours: Sequence[Cell] = sketch.cells(0, KEPT_CELLS)
        self._theirs: list[Cell] = []
        self._is_listing = False
        self._buckets: list[int] = []
        self._listed: set[bytes] = set()
        self._pages = 0

    def begin(self) -> Probe:
        """The first question."""
        return self._ask(FIRST_CELLS)

    def hear(self, message: Sketch | Buckets | Items) -> Probe | Encode | None:
        """Take an answer; None when the difference is known, or when the answer fits no question."""
        match message:
            case Sketch():
                return self._hear_sketch(message)
            case Buckets():
                return self._hear_buckets(message)
            case Items():
                return self._hear_items(message)

    def encoded(self, cells: Sequence[Cell]) -> Probe:
        """Our own symbols under the salt are there."""
        self._ours = cells
        return self._ask(min(SKETCH_CELLS_MAX, KEPT_CELLS * 2))

    def _ask(self, stop: int) -> Probe:
        start = len(self._theirs)
        return Probe(self.namespace, ProbeFor.CELLS, self._salt, start, min(stop, start + SKETCH_CELLS_MAX))

    def _hear_sketch(self, message: Sketch) -> Probe | Encode | None:
        if message.salt != self._salt or message.start != len(self._theirs) or not message.cells or self._is_listing:
            return None
        self._theirs.extend(message.cells)
        held = len(self._theirs)
        cells = subtract(self._ours[:held], self._theirs)
        self.difference = decode(cells, salt=b"" if self._salt == NO_SALT else self._salt)
        if self.difference is not None:
            return None
        limit = KEPT_CELLS if self._salt == NO_SALT else CELLS_MAX
        if held < limit:
            return self._ask(
                min(limit, max(ceil(held * CELLS_GROWTH), ceil(estimate(cells) * CELLS_PER_ITEM) + CELLS_SPARE))
            )
        if self._salt == NO_SALT:
            self._salt, self._theirs = self._salt_later, []
            self._items = tuple(self._sketch.runs)
            return Encode(self.namespace, self._items, self._salt)
        self._is_listing = True
        return Probe(self.namespace, ProbeFor.BUCKETS)

    def _hear_buckets(self, message: Buckets) -> Probe | None:
        ours = buckets_of(self._items)
        self._buckets = [
            place for place in range(BUCKET_COUNT) if _as_told(ours[place]) != _as_told(message.buckets[place])
        ]
        return self._ask_bucket(0)

    def _ask_bucket(self, start: int) -> Probe | None:
        if self._buckets:
            return Probe(self.namespace, ProbeFor.ITEMS, NO_SALT, self._buckets[0], start)
        ours = set(self._items)
        self.difference = Difference(frozenset(ours - self._listed), frozenset(self._listed - ours))
        return None

    def _hear_items(self, message: Items) -> Probe | None:
        self._pages += 1
        if not self._buckets or message.bucket != self._buckets[0] or self._pages > PAGES_MAX:
            return None
        if not self._listed:
            # What agrees is not listed by anybody; it counts as told.
            differing = set(self._buckets)
            self._listed.update(item for item in self._items if item[0] not in differing)
        self._listed.update(item for item in message.items if item[0] == message.bucket)
        if not message.is_last and message.items:
            return self._ask_bucket(message.start + len(message.items))
        del self._buckets[0]
        return self._ask_bucket(0)


class Telling:
    """The answering side of one namespace in one round: everything is told of the moment of the first question."""

    def __init__(self, namespace: Namespace, sketch: RunSketch) -> None:
        self.namespace = namespace
        self._sketch = sketch
        self._cells: dict[bytes, Sequence[Cell]] = {NO_SALT: sketch.cells(0, KEPT_CELLS)}
        self._counts = {NO_SALT: len(sketch.runs)}
        self._sorted: list[bytes] = []
        self._asked: Probe | None = None
        self.answers = 0
        self.wanted = 0

    def answer(self, probe: Probe) -> Message | Encode | None:
        """Answer a question, or say what a thread must do first; None when there is nothing to answer."""
        self.answers += 1
        match probe.wanted:
            case ProbeFor.CELLS:
                return self._tell_cells(probe)
            case ProbeFor.BUCKETS:
                self._sorted = sorted(self._sketch.runs)
                return Buckets(self.namespace, tuple(buckets_of(self._sorted)))
            case ProbeFor.ITEMS:
                return self._tell_items(probe)

    def encoded(self, salt: bytes, cells: Sequence[Cell]) -> Message | None:
        """The symbols that a question waits for."""
        self._cells[salt] = cells
        asked, self._asked = self._asked, None
        told = self._tell_cells(asked) if asked is not None else None
        return None if isinstance(told, Encode) else told

    def _tell_cells(self, probe: Probe) -> Sketch | Encode | None:
        cells = self._cells.get(probe.salt)
        if cells is None:
            if len(self._cells) > 1:
                return None  # one salt a round
            self._asked = probe
            items = tuple(self._sketch.runs)
            self._counts[probe.salt] = len(items)
            return Encode(self.namespace, items, probe.salt)
        if probe.stop > len(cells):
            return None
        told = tuple(cells[probe.start : probe.stop])
        return Sketch(self.namespace, probe.salt, probe.start, self._counts[probe.salt], told)

    def _tell_items(self, probe: Probe) -> Items:
        first, end = bisect_left(self._sorted, bytes((probe.start,))), len(self._sorted)
        if probe.start + 1 < BUCKET_COUNT:
            end = bisect_left(self._sorted, bytes((probe.start + 1,)))
        place = min(first + probe.stop, end)
        page = tuple(self._sorted[place : min(place + WANT_ITEMS_MAX, end)])
        return Items(self.namespace, probe.start, probe.stop, page, place + len(page) >= end)


def estimate(cells: Sequence[Cell]) -> int:
    """About how many items differ, within a sixth from 64 symbols on.

    By two signs: how many symbols of the difference are empty (one at distance i stays so with chance (1 - 1/(1 +
    i/2))^d), while some are; and how far each symbol's count strays from its share of the first one's, which holds
    every item: by d·p·(1 - p) squared. At least the first symbol's count, which is by how much one set is larger.
    """
    first = cells[0].total
    chances = [1.0 / (1.0 + place / 2.0) for place in range(len(cells))]
    strayed = sum((cell.total - chance * first) ** 2 for cell, chance in zip(cells, chances, strict=True))
    by_count = strayed / (sum(chance * (1.0 - chance) for chance in chances) or 1.0)
    empty = sum(cell == EMPTY_CELL for cell in cells)
    if empty < EMPTY_CELLS_MIN:
        return max(abs(first), ceil(by_count), 1)
    low, high = 1, len(cells) * 4
    while low < high:
        middle = (low + high) // 2
        if sum((1.0 - chance) ** middle for chance in chances) > empty:
            low = middle + 1
        else:
            high = middle
    return max(abs(first), ceil((low + by_count) / 2), 1)


def rows_of(sketch: RunSketch, items: Sequence[bytes]) -> list[RunRow]:
    """The runs that these items stand for, of those that are held."""
    return [sketch.runs[item] for item in items if item in sketch.runs]


def _as_told(bucket: Bucket) -> Bucket:
    return Bucket(min(bucket.size, 0xFFFF), bucket.digest)

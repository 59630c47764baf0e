"""Rateless set reconciliation: coded symbols over sealed runs, from which a peer decodes what it lacks.

Lei Yang, Yossi Gilad, Mohammad Alizadeh: "Practical Rateless Set Reconciliation", SIGCOMM 2024, arXiv 2402.02668. The
stream of symbols is endless and the same for every difference: about 1.35 to 1.75 symbols a differing item are enough,
however large the sets. Knows nothing of messages, chains or peers; an *item* is 16 bytes.

What an item is: the cut hash of where a sealed run begins and ends. Both ends are fact ids, which commit to everything
before them, transfers and repairs end at seals, and a million facts are some ten thousand runs; so keeping the first
1,024 symbols costs a few microseconds a run and nothing a fact. Whoever crafts items can at worst make decoding stall:
the caps end it, a salt of the session's own is tried next, and ids and roots decide in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from math import ceil, sqrt
from typing import NamedTuple

from .stores.position import RunRow

ITEM_BYTES = 16
# One wrong peel in four billion tries, after which decoding stalls, the next symbols are salted, and roots decide;
# eight bytes would cost a fifth more on the wire.
CHECK_BYTES = 4
# 40 KB of memory a namespace; 600 differing runs decode from so many.
KEPT_CELLS = 1_024
# The whole of what one session may stream of one namespace; ~12,000 differing runs.
CELLS_MAX = 16_384
BUCKET_COUNT = 256

_ITEM_PREFIX = b"antiphon.run.1"
_SKETCH_PREFIX = b"antiphon.sketch.1"
_MASK = (1 << 64) - 1
# Knuth's MMIX generator: one multiplication a step, alike in Python and in numpy.
_FACTOR, _STEP = 6_364_136_223_846_793_005, 1_442_695_040_888_963_407
_UNIT = 2.0**-53


class Cell(NamedTuple):
    """A coded symbol: XOR of the items that map to it, XOR of their checksums, and their number (signed when two
    sketches were subtracted)."""

    items: int
    check: int
    total: int


EMPTY_CELL = Cell(0, 0, 0)


class Difference(NamedTuple):
    """What a decoded sketch says: items that only the first set holds, and items that only the second holds."""

    first: frozenset[bytes]
    second: frozenset[bytes]


class Bucket(NamedTuple):
    """The items with one first byte: how many, and the cut hash of them in order."""

    size: int
    digest: bytes


def run_item(run: RunRow) -> bytes:
    """The 16 bytes that stand for a sealed run."""
    return sha256(_ITEM_PREFIX + run.chain + run.first_previous_id + run.last_id).digest()[:ITEM_BYTES]


def indices(seed: int, limit: int) -> list[int]:
    """The symbols below *limit* that an item maps to: always the first, and one at distance i with chance 1/(1 + i/2).

    About 2 ln(limit/2) of them.
    """
    found = [0]
    index = 0
    while True:
        seed = (seed * _FACTOR + _STEP) & _MASK
        chance = ((seed >> 11) + 1) * _UNIT
        gap = (index + 1.5) * (1.0 / sqrt(chance) - 1.0)
        if gap >= limit:
            return found
        index += max(1, ceil(gap))
        if index >= limit:
            return found
        found.append(index)


def hash_item(item: bytes, salt: bytes) -> tuple[int, int]:
    """An item's checksum and the seed of its indices."""
    digest = sha256(_SKETCH_PREFIX + salt + item).digest()
    return int.from_bytes(digest[:CHECK_BYTES], "big"), int.from_bytes(digest[8:16], "big")


class RunSketch:
    """The first 1,024 unsalted symbols over a namespace's runs, kept as runs come; and the runs by item.

    >>> sketch = RunSketch.over({})
    >>> sketch.add(bytes(16), RunRow(bytes(16), 1, 1, bytes(32), bytes(32), 1, 0, 0))
    >>> sketch.cells(0, 1)[0].total
    1
    """

    __slots__ = ("_cells", "runs")

    def __init__(self, cells: list[Cell], runs: dict[bytes, RunRow]) -> None:
        self._cells = cells
        self.runs = runs

    @classmethod
    def over(cls, runs: Mapping[bytes, RunRow]) -> RunSketch:
        """Build it for runs that are held already; ~2 µs each."""
        return cls(encode_items(runs, KEPT_CELLS), dict(runs))

    def add(self, item: bytes, run: RunRow) -> None:
        """Take in one more run; ~10 µs."""
        if item not in self.runs:
            self.runs[item] = run
            self._toggle(item)

    def _toggle(self, item: bytes) -> None:
        check, seed = hash_item(item, b"")
        number = int.from_bytes(item, "big")
        cells = self._cells
        for index in indices(seed, KEPT_CELLS):
            items, checks, count = cells[index]
            cells[index] = Cell(items ^ number, checks ^ check, count + 1)

    def cells(self, start: int, stop: int) -> list[Cell]:
        """Kept symbols *start* up to *stop*."""
        assert stop <= KEPT_CELLS, "later symbols are encoded from scratch"
        return self._cells[start:stop]


def encode_items(items: Iterable[bytes], count: int, *, salt: bytes = b"", start: int = 0) -> list[Cell]:
    """Symbols *start* up to *count* over *items*, from scratch: ~2 µs an item for 1,024 symbols, in numpy."""
    held = list(items)
    if len(held) < 64:
        return _encode_few(held, count, salt)[start:]
    import numpy

    digests = b"".join(sha256(_SKETCH_PREFIX + salt + item).digest()[:16] for item in held)
    hashes = numpy.frombuffer(digests, dtype=">u8").reshape(-1, 2)
    check, seed = hashes[:, 0].astype(numpy.uint64), hashes[:, 1].astype(numpy.uint64)
    check >>= numpy.uint64(64 - 8 * CHECK_BYTES)
    halves = numpy.frombuffer(b"".join(held), dtype=">u8").reshape(-1, 2).astype(numpy.uint64)
    sums = numpy.zeros((count, 3), dtype=numpy.uint64)
    counts = numpy.zeros(count, dtype=numpy.int64)
    rows = numpy.column_stack((halves, check))
    index = numpy.zeros(len(held), dtype=numpy.int64)
    while len(index):
        for column in range(3):
            numpy.bitwise_xor.at(sums[:, column], index, rows[:, column])
        counts += numpy.bincount(index, minlength=count)
        with numpy.errstate(over="ignore"):
            seed = seed * numpy.uint64(_FACTOR) + numpy.uint64(_STEP)
        chance = ((seed >> numpy.uint64(11)) + numpy.uint64(1)).astype(numpy.float64) * _UNIT
        gap = (index + 1.5) * (1.0 / numpy.sqrt(chance) - 1.0)
        index = index + numpy.maximum(1, numpy.ceil(numpy.minimum(gap, count))).astype(numpy.int64)
        stays = (index < count) & (gap < count)
        index, seed, rows = index[stays], seed[stays], rows[stays]
    return [
        Cell((int(high) << 64) | int(low), int(checks), int(number))
        for (high, low, checks), number in zip(sums[start:].tolist(), counts[start:].tolist(), strict=True)
    ]


def _encode_few(items: Sequence[bytes], count: int, salt: bytes) -> list[Cell]:
    cells = [EMPTY_CELL] * count
    for item in items:
        check, seed = hash_item(item, salt)
        number = int.from_bytes(item, "big")
        for index in indices(seed, count):
            items_, checks, total = cells[index]
            cells[index] = Cell(items_ ^ number, checks ^ check, total + 1)
    return cells


def subtract(first: Sequence[Cell], second: Sequence[Cell]) -> list[Cell]:
    """The symbols of the difference of two sets, from the symbols of both."""
    return [Cell(a[0] ^ b[0], a[1] ^ b[1], a[2] - b[2]) for a, b in zip(first, second, strict=True)]


def decode(cells: Sequence[Cell], *, salt: bytes = b"") -> Difference | None:
    """Peel a difference; None when these symbols do not say it all yet. ~10 µs a differing item.

    Ends for any input: each step takes an item out that was never taken out before, and there are no more of those
    than symbols.
    """
    work = list(cells)
    sides: tuple[set[bytes], set[bytes]] = (set(), set())
    queue = list(range(len(work)))
    while queue:
        items, check, count = work[queue.pop()]
        if count not in (1, -1):
            continue
        item = items.to_bytes(ITEM_BYTES, "big")
        found, seed = hash_item(item, salt)
        if found != check or item in sides[0] or item in sides[1] or len(sides[0]) + len(sides[1]) >= len(work):
            continue
        sides[count < 0].add(item)
        for index in indices(seed, len(work)):
            was = work[index]
            work[index] = now = Cell(was[0] ^ items, was[1] ^ check, was[2] - count)
            if now.total in (1, -1):
                queue.append(index)
    if any(cell != EMPTY_CELL for cell in work):
        return None
    return Difference(frozenset(sides[0]), frozenset(sides[1]))


def expected_count(item_count: int, index: int) -> int:
    """About how many of so many items map to a symbol: what its real count is told apart from, in a byte."""
    return round(item_count / (1 + index / 2))


def buckets_of(items: Iterable[bytes]) -> list[Bucket]:
    """The items by first byte, 256 of them; ~0.5 µs an item."""
    parts: list[list[bytes]] = [[] for _ in range(BUCKET_COUNT)]
    for item in items:
        parts[item[0]].append(item)
    return [Bucket(len(part), sha256(b"".join(sorted(part))).digest()[:16]) for part in parts]

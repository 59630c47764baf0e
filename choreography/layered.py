"""Where the boxes of a layered drawing stand: few crossings, no overlap, lines as straight as that allows.

Pure arithmetic, the same answer every time. Knows nothing of protocols, and draws nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

# More sweeps change little: what a person can read settles in a few.
ORDER_SWEEPS = 6


class Box(NamedTuple):
    """What is to be placed: how far it reaches to either side of its centre, and its height, in pixels."""

    left: float
    right: float
    height: float


class Place(NamedTuple):
    """Where a box's centre stands, in pixels from the top left corner of the drawing."""

    x: int
    y: int


class Drawing(NamedTuple):
    """Every box's place, and how large the whole became."""

    places: tuple[Place, ...]
    width: int
    height: int


def place_layers(
    boxes: Sequence[Box],
    layers: Sequence[Sequence[int]],
    links: Sequence[tuple[int, int]],
    *,
    gap: float = 16,
    row_gap: float = 20,
    margin: float = 24,
) -> Drawing:
    """Place boxes, given by number in layers from top to bottom; a link joins boxes of neighbouring layers.

    O((boxes + links) · log boxes). Example: `place_layers([Box(9, 9, 18)] * 2, [[0], [1]], [(0, 1)]).places`.
    """
    above, below = _neighbours(len(boxes), links)
    ordered = _ordered([list(layer) for layer in layers], above, below)
    across = _across(boxes, ordered, above, gap)
    start = min((across[number] - box.left for number, box in enumerate(boxes)), default=0.0)
    end = max((across[number] + box.right for number, box in enumerate(boxes)), default=0.0)
    down, y = [0.0] * len(boxes), margin
    for layer in ordered:
        tall = max((boxes[number].height for number in layer), default=0.0)
        for number in layer:
            down[number] = y + tall / 2
        y += tall + row_gap
    places = tuple(Place(round(x - start + margin), round(height)) for x, height in zip(across, down, strict=True))
    return Drawing(places, round(end - start + 2 * margin), round(y - row_gap + margin))


def _neighbours(count: int, links: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for upper, lower in links:
        below[upper].append(lower)
        above[lower].append(upper)
    return above, below


# --- order in a layer ---------------------------------------------------------------------------------------------


def _ordered(layers: list[list[int]], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """The layers, each sorted by where its neighbours are; of all tries the one with the fewest crossings."""
    best, fewest = [layer[:] for layer in layers], _crossings(layers, below)
    for sweep in range(ORDER_SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        walk = layers if sweep % 2 == 0 else layers[::-1]
        for before, layer in pairwise(walk):
            rank = {number: place for place, number in enumerate(before)}
            own = {number: place for place, number in enumerate(layer)}
            layer.sort(key=lambda number: _mean([rank[one] for one in neighbours[number]], own[number]))
        crossings = _crossings(layers, below)
        if crossings < fewest:
            best, fewest = [layer[:] for layer in layers], crossings
    return best


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _crossings(layers: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    return sum(_crossings_between(upper, lower, below) for upper, lower in pairwise(layers))


def _crossings_between(upper: Sequence[int], lower: Sequence[int], below: Sequence[Sequence[int]]) -> int:
    """Pairs of links that cross: inversions among the lower ends, read from left to right; by a Fenwick tree."""
    rank = {number: place for place, number in enumerate(lower)}
    ends = [end for number in upper for end in sorted(rank[one] for one in below[number])]
    counts = [0] * (len(lower) + 1)
    crossings = 0
    for seen, end in enumerate(ends):
        crossings += seen - _count_up_to(counts, end)
        place = end + 1
        while place < len(counts):
            counts[place] += 1
            place += place & -place
    return crossings


def _count_up_to(counts: Sequence[int], end: int) -> int:
    total, place = 0, end + 1
    while place:
        total += counts[place]
        place -= place & -place
    return total


# --- places in a layer --------------------------------------------------------------------------------------------


def _across(
    boxes: Sequence[Box],
    layers: Sequence[Sequence[int]],
    above: Sequence[Sequence[int]],
    gap: float,
) -> list[float]:
    """Every box's centre: below the middle of those that lead to it, as nearly as its own layer's width allows.

    Downwards only: averaging with what is below would make every long line lean a little at every layer.
    """
    across = [0.0] * len(boxes)
    for layer in layers:
        wishes = {number: _mean([across[one] for one in above[number]], 0.0) for number in layer}
        _settle(layer, wishes, boxes, gap, across)
    return across


def _settle(
    layer: Sequence[int], wishes: Mapping[int, float], boxes: Sequence[Box], gap: float, across: list[float]
) -> None:
    """The places nearest to the wishes (least squares) that keep the order and let nothing overlap.

    With the distances taken off, that is the best rising sequence: neighbours that would pass each other are pooled.
    """
    offsets, offset = [], 0.0
    for place, number in enumerate(layer):
        offset += boxes[layer[place - 1]].right + gap + boxes[number].left if place else 0.0
        offsets.append(offset)
    pools: list[tuple[float, int]] = []
    for number, taken in zip(layer, offsets, strict=True):
        mean, size = wishes[number] - taken, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, size = (mean * size + other * others) / (size + others), size + others
        pools.append((mean, size))
    settled = [mean for mean, size in pools for _ in range(size)]
    for number, mean, taken in zip(layer, settled, offsets, strict=True):
        across[number] = mean + taken


__all__ = ["Box", "Drawing", "Place", "place_layers"]

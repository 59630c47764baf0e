"""Time as data: the hybrid logical clock, the order token and the stamp that settles conflicts.

Reads no clock itself: whoever needs *now* is handed a ``Clock``.
Source of the clock: Kulkarni et al., "Logical Physical Clocks", 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType, Protocol

HlcTime = NewType("HlcTime", int)
"""Milliseconds since 1970 in the high bits, a counter in the low 16; strictly rising within a chain."""

COUNTER_BITS = 16
# A clock that is five minutes wrong is a wrong clock; beyond it a stamp would win races for too long.
SKEW_MS_MAX = 300_000

Stamp = tuple[int, int, bytes]
"""(the fact's own time in ms, HLC, fact id): the one total order by which conflicts are settled."""


class Clock(Protocol):
    """Where *now* comes from; the system's clock at the edge, a virtual one in tests."""

    def now_ms(self) -> int:
        """Wall time in milliseconds since 1970."""
        ...


@dataclass(frozen=True, slots=True)
class OrderTime:
    """An opaque 32-byte token with a total byte order that says nothing about when.

    >>> OrderTime(bytes(32)) < OrderTime(bytes([1]) + bytes(31))
    True
    """

    token: bytes

    def __post_init__(self) -> None:
        if len(self.token) != 32:
            raise ValueError(f"an order token has 32 bytes; got {len(self.token)}; draw it with random bytes")

    def __lt__(self, other: OrderTime) -> bool:
        return self.token < other.token


def hlc_of(wall_ms: int, *, counter: int = 0) -> HlcTime:
    """Pack wall milliseconds and a counter."""
    return HlcTime((wall_ms << COUNTER_BITS) | counter)


def hlc_ms(hlc: int) -> int:
    """The milliseconds of a packed HLC."""
    return hlc >> COUNTER_BITS


def next_hlc(last: int, wall_ms: int) -> HlcTime:
    """The smallest HLC that is after *last* and not before *wall_ms*.

    >>> hlc_ms(next_hlc(0, 1_000)), next_hlc(hlc_of(5_000), 1_000) == hlc_of(5_000, counter=1)
    (1000, True)
    """
    return HlcTime(max(last + 1, wall_ms << COUNTER_BITS))

"""How many connections a role takes in: in all, from one address, and how often one address may come again.

Counts only, on the clock that it is given; closes nothing and believes nobody. The bounds are those of the wire of
roles (language reference, 7.6), and never less than what the roles of the protocol themselves need.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

CONNECTIONS_MAX = 1_024
CONNECTIONS_OF_A_SOURCE_MAX = 64
RECONNECTS_MAX = 128
RECONNECTS_WITHIN_S = 10.0

DoorReason: TypeAlias = Literal["connections", "source", "reconnects"]
_NETWORKS = frozenset({"tcp", "tls", "ws", "wss"})


class TurnedAway(NamedTuple):
    """How many connections were closed unheard: too many in all, too many of one address, too often from one address.

    >>> TurnedAway(source=2).total
    2
    """

    connections: int = 0
    source: int = 0
    reconnects: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def source_of(peer: str) -> str | None:
    """The host that a caller's address names; None for who did not come over a network.

    >>> source_of("tcp://192.0.2.7:40001"), source_of("unix:///run/x.sock")
    ('192.0.2.7', None)
    """
    parts = urlsplit(peer)
    return parts.hostname if parts.scheme in _NETWORKS else None


class Door:
    """Who may come in to a role that so many *roles* may speak to; every call is O(1), on the clock *elapsed_s*.

    Each role connects once, so that many connections from one address are no reconnects. Who is turned away does not
    count as having come: it keeps nobody else out.
    """

    def __init__(self, roles: int, elapsed_s: Callable[[], float]) -> None:
        self._roles = max(1, roles)
        self._elapsed_s = elapsed_s
        self._inside = 0
        self._of_source: Counter[str] = Counter()
        self._came: deque[tuple[float, str]] = deque()
        self._came_from: Counter[str] = Counter()
        self._turned_away: Counter[DoorReason] = Counter()

    @property
    def turned_away(self) -> TurnedAway:
        """The account of those who were not let in."""
        seen = self._turned_away
        return TurnedAway(seen["connections"], seen["source"], seen["reconnects"])

    def obstacle(self, source: str | None) -> DoorReason | None:
        """What keeps a caller from that address out just now, if anything does."""
        self._forget()
        if source is not None:
            if self._came_from[source] >= RECONNECTS_MAX + self._roles:
                return "reconnects"
            if self._of_source[source] >= max(CONNECTIONS_OF_A_SOURCE_MAX, self._roles):
                return "source"
        return "connections" if self._inside >= max(CONNECTIONS_MAX, self._roles) else None

    def turn_away(self, reason: DoorReason) -> None:
        """Count a caller that was not let in, or had to give way."""
        self._turned_away[reason] += 1

    def enter(self, source: str | None) -> None:
        """Count a caller that was let in."""
        self._inside += 1
        if source is not None:
            self._of_source[source] += 1
            self._came_from[source] += 1
            self._came.append((self._elapsed_s(), source))

    def leave(self, source: str | None) -> None:
        """Count one out that was let in."""
        self._inside -= 1
        if source is not None:
            _take_one(self._of_source, source)

    def _forget(self) -> None:
        while self._came and self._came[0][0] <= self._elapsed_s() - RECONNECTS_WITHIN_S:
            _take_one(self._came_from, self._came.popleft()[1])


def _take_one(counts: Counter[str], source: str) -> None:
    counts[source] -= 1
    if not counts[source]:
        del counts[source]

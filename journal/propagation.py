"""``PropagationTracker``: which peers have what, and how far that is from everybody.

An account for screens and for deciding whom to meet; it is rebuilt by meeting peers again and never written down. The
rules are those of ``lattices/consistency.py``; here things also go back, since a peer may come or fail.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from .lattices.consistency import Propagation

# Whoever is tracked longest is forgotten first; a fact that is forgotten is local again until it is acknowledged.
FACTS_MAX = 10_000


class PeerSynced(NamedTuple):
    """A peer holds everything that was here when it was last met."""

    peer: str


class PeerSyncFailed(NamedTuple):
    """A peer could not be met; it is tried again at ``retry_at`` (ms)."""

    peer: str
    retry_at: int
    error: str


class FactPropagated(NamedTuple):
    """A peer holds a fact."""

    item: str
    peer: str


class PropagationComplete(NamedTuple):
    """Everybody who is known holds everything (no ``item``), or one fact."""

    item: str = ""


PropagationEvent = PeerSynced | PeerSyncFailed | FactPropagated | PropagationComplete


class PropagationTracker:
    """Peers and facts, by any names; every call returns the events that it caused. Single owner.

    >>> tracker = PropagationTracker(["ben", "eve"])
    >>> tracker.aggregate().level.name, tracker.note_synced("ben"), tracker.aggregate().reached
    ('LOCAL', [PeerSynced(peer='ben')], 1)
    >>> tracker.note_synced("eve")
    [PeerSynced(peer='eve'), PropagationComplete(item='')]
    """

    def __init__(self, peers: Iterable[str] = ()) -> None:
        self._known: set[str] = set(peers)
        self._synced: set[str] = set()
        self._failed: dict[str, tuple[int, int, str]] = {}
        self._facts: OrderedDict[str, set[str]] = OrderedDict()

    def aggregate(self) -> Propagation:
        """How far everything is: complete when nobody is known, failed while anybody failed."""
        if not self._known:
            return Propagation.complete()
        if self._failed:
            retry_at, retry_count, error = min(self._failed.values())
            return Propagation.failed(retry_at=retry_at, retry_count=retry_count, error=error)
        return _progress(len(self._synced & self._known), len(self._known))

    def of_fact(self, item: str) -> Propagation:
        """How far one fact is."""
        if not self._known:
            return Propagation.complete()
        return _progress(len(self._holders(item) & self._known), len(self._known))

    def add_peer(self, peer: str) -> None:
        """Know a peer; nothing is complete before it has it, too."""
        self._known.add(peer)

    def forget_peer(self, peer: str) -> None:
        """Know a peer no longer."""
        self._known.discard(peer)
        self._synced.discard(peer)
        self._failed.pop(peer, None)

    def note_committed(self, item: str) -> None:
        """A fact is new here, so nobody else has it, and nobody has everything any more."""
        self._track(item)
        self._synced.clear()

    def note_synced(self, peer: str) -> list[PropagationEvent]:
        """A peer agreed with this replica: it holds everything that is tracked."""
        self._known.add(peer)
        self._failed.pop(peer, None)
        self._synced.add(peer)
        events: list[PropagationEvent] = [PeerSynced(peer)]
        for item in self._facts:
            events += self._reach(item, peer)
        if self._known <= self._synced:
            events.append(PropagationComplete())
        return events

    def note_failed(self, peer: str, *, retry_at: int, error: str) -> list[PropagationEvent]:
        """A peer could not be met."""
        self._known.add(peer)
        self._synced.discard(peer)
        retry_count = self._failed.get(peer, (0, 0, ""))[1] + 1
        self._failed[peer] = (retry_at, retry_count, error)
        return [PeerSyncFailed(peer, retry_at, error)]

    def note_reached(self, item: str, peer: str) -> list[PropagationEvent]:
        """A peer told that it holds one fact."""
        self._known.add(peer)
        self._track(item)
        return self._reach(item, peer)

    def fully_propagated_facts(self) -> tuple[str, ...]:
        """Tracked facts that everybody has, the oldest first."""
        return tuple(item for item, holders in self._facts.items() if self._known <= holders)

    def clear_fact(self, item: str) -> None:
        """Track a fact no longer."""
        self._facts.pop(item, None)

    def _track(self, item: str) -> None:
        self._facts.setdefault(item, set())
        while len(self._facts) > FACTS_MAX:
            self._facts.popitem(last=False)

    def _holders(self, item: str) -> set[str]:
        return self._facts.get(item, set())

    def _reach(self, item: str, peer: str) -> list[PropagationEvent]:
        holders = self._facts[item]
        if peer in holders:
            return []
        holders.add(peer)
        events: list[PropagationEvent] = [FactPropagated(item, peer)]
        if self._known <= holders:
            events.append(PropagationComplete(item))
        return events


def _progress(reached: int, known: int) -> Propagation:
    if reached >= known:
        return Propagation.complete()
    return Propagation.syncing(reached, known) if reached else Propagation()

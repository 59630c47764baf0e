"""Runs that are validly sealed and wait for what comes before them, within bounds; the oldest of a peer go first.

Nothing here is ever lost for good: what was dropped, or waits for something that never comes, is no member, so the
roots differ and a later round fetches it again. Decides no membership.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from antiphon.facts import AfterLink, ChainId

from .sync.messages import IncomingRun

# A peer that sends a thousand windows out of order is unlucky; ten thousand facts are a flood.
PARKED_FACTS_MAX = 10_000
PARKED_BYTES_MAX = 8 * 1024 * 1024
# All peers together: eight that flood at once.
PARKED_BYTES_TOTAL_MAX = 64 * 1024 * 1024

Missing = tuple[bytes, bytes]
"""A sealed fact that something waits for: its chain, and the first half of its id."""


NOTHING: Missing = (b"", b"")


class ParkedRun(NamedTuple):
    """A run that is valid and waits for ``missing``; the first ``checked`` links of its ``past`` are members."""

    run: IncomingRun
    peer: str
    missing: Missing
    past: tuple[AfterLink, ...] = ()
    checked: int = 0


class Parking:
    """Who waits for what. Adding, waking and dropping cost O(1) a run."""

    def __init__(self) -> None:
        self._parked: dict[tuple[bytes, bytes, bytes], ParkedRun] = {}
        self._waiting: dict[Missing, dict[tuple[bytes, bytes, bytes], None]] = {}
        self._peers: dict[str, dict[tuple[bytes, bytes, bytes], None]] = {}
        self._facts: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._total_bytes = 0
        self.dropped_runs = 0

    def __len__(self) -> int:
        return len(self._parked)

    def __iter__(self) -> Iterator[ParkedRun]:
        return iter(self._parked.values())

    @property
    def size(self) -> int:
        """Bytes that wait, of all peers."""
        return self._total_bytes

    def park(
        self,
        run: IncomingRun,
        end: bytes,
        peer: str,
        missing: Missing,
        past: tuple[AfterLink, ...] = (),
        checked: int = 0,
    ) -> None:
        """Let *run*, whose last fact is *end*, wait; a run that waits already changes only what it waits for."""
        key = (run.info.chain, run.first_previous_id, end)
        if key in self._parked:
            self._take(key)
        self._parked[key] = ParkedRun(run, peer, missing, past, checked)
        self._waiting.setdefault(missing, {})[key] = None
        self._peers.setdefault(peer, {})[key] = None
        self._count(peer, len(run.lines), run.size)
        while self._facts[peer] > PARKED_FACTS_MAX or self._bytes[peer] > PARKED_BYTES_MAX:
            self._drop(next(iter(self._peers[peer])))
        while self._total_bytes > PARKED_BYTES_TOTAL_MAX:
            self._drop(next(iter(self._parked)))

    def wake(self, present: Iterable[Missing]) -> list[ParkedRun]:
        """Take out whatever waited for one of these; nothing is spent when nobody waits."""
        if not self._waiting:
            return []
        return [self._take(key) for each in present if each in self._waiting for key in list(self._waiting[each])]

    def _drop(self, key: tuple[bytes, bytes, bytes]) -> None:
        self._take(key)
        self.dropped_runs += 1

    def _take(self, key: tuple[bytes, bytes, bytes]) -> ParkedRun:
        parked = self._parked.pop(key)
        waiting = self._waiting[parked.missing]
        del waiting[key]
        if not waiting:
            del self._waiting[parked.missing]
        del self._peers[parked.peer][key]
        self._count(parked.peer, -len(parked.run.lines), -parked.run.size)
        if not self._peers[parked.peer]:
            del self._peers[parked.peer], self._facts[parked.peer], self._bytes[parked.peer]
        return parked

    def _count(self, peer: str, facts: int, size: int) -> None:
        self._facts[peer] = self._facts.get(peer, 0) + facts
        self._bytes[peer] = self._bytes.get(peer, 0) + size
        self._total_bytes += size


def missing_of(link: AfterLink) -> Missing:
    """What a causal link waits for."""
    return (link.chain, link.short_id)


def sealed_fact(chain: ChainId, fact_id: bytes) -> Missing:
    """A sealed fact as somebody may wait for it."""
    return (chain, fact_id[:16])

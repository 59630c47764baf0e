"""What a sync tells of itself while it runs: seven kinds of event, for people and screens.

Whoever listens cannot disturb the sync: a listener that raises is told of in the result and not called again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class Started(NamedTuple):
    """An attempt to sync with a peer begins."""

    peer: str
    attempt: int


class DigestExchanged(NamedTuple):
    """Both sides have said what they hold, in so many rounds."""

    peer: str
    rounds: int


class Pulling(NamedTuple):
    """So many facts have come so far."""

    peer: str
    received: int


class Pushing(NamedTuple):
    """So many facts have gone so far."""

    peer: str
    sent: int


class PeerCompleted(NamedTuple):
    """The sync with a peer came to its end."""

    peer: str
    received: int
    sent: int


class PeerFailed(NamedTuple):
    """The sync with a peer failed, after all attempts."""

    peer: str
    code: str
    reason: str


class AllCompleted(NamedTuple):
    """Every peer was tried."""

    synced: int
    failed: int


ProgressEvent = Started | DigestExchanged | Pulling | Pushing | PeerCompleted | PeerFailed | AllCompleted
ProgressListener = Callable[[ProgressEvent], None]


def ignore(event: ProgressEvent) -> None:
    """Listen to nothing."""
    del event


@dataclass(slots=True)
class Progress:
    """Tells a listener, as long as it bears it; ``problem`` is what it raised."""

    listener: ProgressListener = ignore
    problem: str = ""
    _counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def tell(self, event: ProgressEvent) -> None:
        """Hand over an event."""
        if self.problem:
            return
        try:
            self.listener(event)
        except Exception as problem:
            self.problem = f"a progress listener failed: {type(problem).__name__}: {problem}"

    def follow(self, peer: str, *, rounds: int, received: int, sent: int) -> None:
        """Tell what has changed since the last time."""
        before = self._counts.get(peer, (0, 0, 0))
        self._counts[peer] = (rounds, received, sent)
        if rounds > before[0]:
            self.tell(DigestExchanged(peer, rounds))
        if received > before[1]:
            self.tell(Pulling(peer, received))
        if sent > before[2]:
            self.tell(Pushing(peer, sent))

    def forget(self, peer: str) -> None:
        """Begin anew with a peer."""
        self._counts.pop(peer, None)

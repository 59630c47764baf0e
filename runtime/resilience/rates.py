"""Token buckets: so many a second on average, so many at once, and whoever wants more waits its turn.

Limits delay and never decide: what is late is taken later, not dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from antiphon.facts import LocalViolation

from .budget import Timing

# Beyond it the longest silent peer is forgotten, which gives it a full bucket again; the global bucket still holds.
PEERS_MAX = 1_024


class RateLimits(NamedTuple):
    """How much may come: in all, from one peer, and at once from one peer."""

    global_per_s: float = 1_000.0
    peer_per_s: float = 100.0
    burst: float = 200.0


@dataclass(slots=True)
class TokenBucket:
    """Holds up to ``burst`` tokens and gains ``per_s`` a second; begins full.

    >>> bucket = TokenBucket(per_s=10.0, burst=2.0)
    >>> [bucket.reserve(at_s=0.0) for _ in range(4)]
    [0.0, 0.0, 0.1, 0.2]
    """

    per_s: float
    burst: float
    _tokens: float = field(init=False)
    _at_s: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.per_s <= 0 or self.burst < 1:
            raise LocalViolation(f"per_s={self.per_s:g}, burst={self.burst:g}; expected more than 0, and 1 or more")
        self._tokens = self.burst

    def reserve(self, *, at_s: float, cost: float = 1.0) -> float:
        """Take *cost* tokens, now or in advance; how many seconds to wait before using them."""
        self._refill(at_s)
        self._tokens -= cost
        return max(0.0, -self._tokens / self.per_s)

    def try_take(self, *, at_s: float, cost: float = 1.0) -> bool:
        """Take *cost* tokens if they are there."""
        self._refill(at_s)
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True

    def _refill(self, at_s: float) -> None:
        passed_s = max(0.0, at_s - (self._at_s if self._at_s is not None else at_s))
        self._tokens = min(self.burst, self._tokens + passed_s * self.per_s)
        self._at_s = at_s


class RateLimiter:
    """A bucket for everybody together and one for each peer."""

    def __init__(self, limits: RateLimits, timing: Timing) -> None:
        self._limits = limits
        self._timing = timing
        self._everybody = TokenBucket(limits.global_per_s, max(limits.global_per_s, limits.burst))
        self._peers: OrderedDict[str, TokenBucket] = OrderedDict()

    async def admit(self, peer: str, *, cost: float = 1.0) -> None:
        """Return when *peer* may go on. Cancelled meanwhile, what it reserved stays taken."""
        pause_s = self.reserve(peer, cost=cost)
        if pause_s > 0:
            await self._timing.sleep(pause_s)

    def reserve(self, peer: str, *, cost: float = 1.0) -> float:
        """How many seconds *peer* has to wait; its tokens are taken."""
        now_s = self._timing.elapsed_s()
        mine_s = self._bucket(peer).reserve(at_s=now_s, cost=cost)
        return max(mine_s, self._everybody.reserve(at_s=now_s, cost=cost))

    def _bucket(self, peer: str) -> TokenBucket:
        bucket = self._peers.pop(peer, None)
        if bucket is None:
            bucket = TokenBucket(self._limits.peer_per_s, self._limits.burst)
            if len(self._peers) >= PEERS_MAX:
                self._peers.popitem(last=False)
        self._peers[peer] = bucket
        return bucket

"""Who decides whom this replica meets, which contexts a peer may see, and what may leave: the question and the answer.

What follows from an answer is enforced in ``sync_gate.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from antiphon.facts import Namespace


class PeerClaim(NamedTuple):
    """What a peer says of itself, and where it is; nothing of it is proven by saying so."""

    address: str
    journal_id: str
    agent: str
    token: bytes = b""


SendGuard = Callable[[int, int], Awaitable[None]]
"""Called before a message leaves, with its kind and its bytes; what it raises (an ``AntiphonError``) keeps it here."""
Renewal = Callable[[], Awaitable[str]]
"""Asked before each frame, in either direction: why the peer may be here no longer, or nothing."""


class Admission(NamedTuple):
    """A gate's answer: ``namespaces`` is what the peer may see (None: all), ``guard`` is asked before each send.

    ``renewal`` is asked for as long as the session lasts; ``name`` is what the gate knows the peer by, when it does.
    """

    is_allowed: bool
    reason: str = ""
    namespaces: frozenset[Namespace] | None = frozenset()
    guard: SendGuard | None = None
    renewal: Renewal | None = None
    name: str = ""

    @classmethod
    def denied(cls, reason: str) -> Admission:
        """No."""
        return cls(False, reason)


class SyncGate(Protocol):
    """Who decides. ``TokenGate`` and ``ChainGate`` ask the guard chain, ``NamespaceGate`` is a table."""

    async def admit(self, peer: PeerClaim, /) -> Admission:
        """Whether *peer* may meet this replica, and what it may see."""
        ...


class NamespaceGate:
    """A table: which journals (by their id, 32 hex digits) may see which contexts; whoever is not in it is denied."""

    def __init__(self, allowed: Mapping[str, frozenset[Namespace] | None]) -> None:
        self._allowed = dict(allowed)

    async def admit(self, peer: PeerClaim) -> Admission:
        """What the table says."""
        if peer.journal_id not in self._allowed:
            return Admission.denied("this replica does not know you")
        return Admission(True, namespaces=self._allowed[peer.journal_id])

"""Replication behind the chain: peers show a token in HELLO, see the contexts it covers, and every message is paid for.

Decides nothing by itself: tokens are verified by ``capabilities.py``, sends judged by the chain. Writing a frame for
each small message would cost more than the message, so a session buys credit in blocks, durably and in advance.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from antiphon.facts import Namespace

from ..engine import JournalEngine
from ..services.gates import Admission, PeerClaim, SendGuard
from .capabilities import TokenCapabilities, TokenInvalid, TokenVerifier
from .commands import SendRequest
from .guard import CapabilitySource, EffectGuard
from .names import SYNC_GRANT

# One durable charge for so many messages; what is left of a block when the session ends is spent all the same.
CREDIT_MESSAGES = 64
SYNC_CONTEXT = "antiphon.sync"
SYNC_SEES = "sync:request_ops"
SYNC_SENDS = "sync:push_ops"
# No context is called that, so only a token without a context covers it.
_EVERYWHERE = "\x00everywhere"


class TokenGate:
    """A gate for ``journal.serve(gate=…)`` and links: a good token shows what it covers, and others see nothing.

    *contexts* are shown beside those that are here already, where a token covers them. With *guard_for* each session's
    messages are charged to the peer's flow budget; a session whose budget is used up ends, and sends nothing more.
    """

    def __init__(
        self,
        engine: JournalEngine,
        verifier: TokenVerifier,
        *,
        contexts: Collection[str] = (),
        guard_for: Callable[[CapabilitySource], EffectGuard] | None = None,
        cost: int = 1,
    ) -> None:
        self._engine = engine
        self._verifier = verifier
        self._contexts = frozenset(contexts)
        self._guard_for = guard_for
        self._cost = cost

    async def admit(self, peer: PeerClaim) -> Admission:
        """Whether *peer*'s token lets it in, and what it may see."""
        if not peer.token:
            return Admission.denied("it showed no token")
        try:
            token = self._verifier.verify(peer.token)
        except TokenInvalid as problem:
            return Admission.denied(problem.public())
        rights = TokenCapabilities(self._verifier, token, family=SYNC_GRANT)
        contexts = self._seen(rights)
        if contexts is not None and not contexts:
            return Admission.denied("its token covers none of this replica's contexts")
        guard = None
        if self._guard_for is not None:
            context = SYNC_CONTEXT if contexts is None else min(contexts)
            guard = self._paid(self._guard_for(rights), token.subject or peer.journal_id, context)
        return Admission(True, namespaces=contexts, guard=guard)

    def _seen(self, rights: TokenCapabilities) -> frozenset[Namespace] | None:
        if SYNC_SEES in rights.allowed(SYNC_SEES, _EVERYWHERE):
            return None
        known = {*self._contexts, *self._engine.index.roots()}
        return frozenset(Namespace(name) for name in known if SYNC_SEES in rights.allowed(SYNC_SEES, name))

    def _paid(self, guard: EffectGuard, peer: str, context: str) -> SendGuard:
        credit = 0
        request = SendRequest(
            SYNC_SENDS, context, peer, str(self._engine.authority), SYNC_SENDS, cost=self._cost * CREDIT_MESSAGES
        )

        async def pay(kind: int, size: int) -> None:
            nonlocal credit
            if credit == 0:
                await guard.guarded(request)
                credit = CREDIT_MESSAGES
            credit -= 1

        return pay

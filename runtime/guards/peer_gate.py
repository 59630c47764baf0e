"""Replication behind the chain: peers see the contexts that a right covers, and every message is paid for.

Decides nothing by itself: tokens are verified by ``capabilities.py``, sends judged by the chain. Writing a frame for
each small message would cost more than the message, so messages are bought in blocks, durably and in advance.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from antiphon.facts import AntiphonError, Namespace

from ..engine import JournalEngine
from ..services.gates import Admission, PeerClaim, SendGuard, SyncGate
from .capabilities import TokenCapabilities, TokenInvalid, TokenVerifier
from .commands import SendRequest
from .grants import EVERYWHERE, SELF, SYNC_SEES, SYNC_SENDS
from .guard import CapabilitySource, EffectGuard
from .names import SYNC_GRANT

# One durable charge for so many messages.
CREDIT_MESSAGES = 64
# Peers whose unused messages are remembered; those of one met before so many others are lost.
CREDITS_MAX = 1_024
SYNC_CONTEXT = "antiphon.sync"
_LOST = "what let this session in holds no longer"


class PaidSends:
    """The messages to one peer: each uses up one of a block, and the next block is bought before it is needed."""

    def __init__(self, guard: EffectGuard, *, context: str, peer: str, authority: str, cost: int = 1) -> None:
        self._guard = guard
        self._block = SendRequest(SYNC_SENDS, context, peer, authority, SYNC_SENDS, cost=cost * CREDIT_MESSAGES)
        self.left = 0

    async def buy(self, request: SendRequest | None = None) -> None:
        """One block more; *request* is what it is for, if not for going on. Raises as ``EffectGuard.guarded``."""
        await self._guard.guarded(request or self._block)
        self.left += CREDIT_MESSAGES

    async def __call__(self, kind: int, size: int) -> None:
        """Use one up; this is a ``SendGuard``."""
        del kind, size
        while self.left <= 0:
            await self.buy()
        self.left -= 1


class Credits:
    """What is left of the blocks that were bought, for each context and peer, so that the next session has it."""

    def __init__(self, guard: EffectGuard, *, authority: str) -> None:
        self._guard = guard
        self._authority = authority
        self._known: OrderedDict[tuple[str, str], PaidSends] = OrderedDict()

    def left(self, context: str, peer: str) -> int:
        """How many messages are paid for already."""
        found = self._known.get((context, peer))
        return 0 if found is None else found.left

    def of(self, context: str, peer: str) -> PaidSends:
        """The account of *peer* in *context*."""
        found = self._known.pop((context, peer), None)
        if found is None:
            found = PaidSends(self._guard, context=context, peer=peer, authority=self._authority)
        self._known[context, peer] = found
        if len(self._known) > CREDITS_MAX:
            self._known.popitem(last=False)
        return found


class ChainGate:
    """A gate for what this node does by itself: its own guard's rights bound each session, and its budgets pay.

    *peer* names whom it dialled; else a peer is named by the gate *within*, which is asked before, or by what it says
    that it is. A session ends when the rights do.
    """

    def __init__(
        self,
        engine: JournalEngine,
        guard: EffectGuard,
        credits: Credits,
        *,
        peer: str = "",
        within: SyncGate | None = None,
    ) -> None:
        self._engine = engine
        self._guard = guard
        self._credits = credits
        self._peer = peer
        self._within = within

    async def admit(self, peer: PeerClaim) -> Admission:
        """Whether a session with *peer* may be, and what of this replica it is about."""
        inner = Admission(True, namespaces=None) if self._within is None else await self._within.admit(peer)
        if not inner.is_allowed:
            return inner
        own = await seen_contexts(self._engine, self._guard.capabilities)
        shown = own if inner.namespaces is None else inner.namespaces if own is None else own & inner.namespaces
        if shown is not None and not shown:
            return Admission.denied("this node's own right to sync covers none of what it would be about")
        own_renewal = StillSeen(self._engine, self._guard.capabilities, own)

        async def renew() -> str:
            return await own_renewal() or (await inner.renewal() if inner.renewal is not None else "")

        name = self._peer or inner.name or peer.journal_id
        guard = inner.guard or self._credits.of(context_of(shown), name)
        return inner._replace(namespaces=shown, guard=guard, renewal=renew, name=name)


class TokenGate:
    """A gate for ``journal.serve(gate=…)`` and links: a good token shows what it covers, and others see nothing.

    *contexts* are shown beside those that are here already, where a token covers them. With *guard_for* each session's
    messages are charged to the peer's flow budget; a session whose budget is used up ends, and sends nothing more, and
    so does one whose token expires or is revoked: it is looked at again before each message, in either direction.
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
        contexts = await seen_contexts(self._engine, rights, self._contexts)
        if contexts is not None and not contexts:
            return Admission.denied("its token covers none of this replica's contexts")
        name = token.subject or peer.journal_id
        guard = self._paid(self._guard_for(rights), name, context_of(contexts)) if self._guard_for else None
        renewal = StillSeen(self._engine, rights, contexts)
        return Admission(True, namespaces=contexts, guard=guard, renewal=renewal, name=name)

    def _paid(self, guard: EffectGuard, peer: str, context: str) -> SendGuard:
        # What is left of a block when the session ends is spent all the same.
        return PaidSends(guard, context=context, peer=peer, authority=str(self._engine.authority), cost=self._cost)


class StillSeen:
    """Asked before each frame of a session: whether what it was shown is covered still; a ``Renewal``.

    Costs one look into what was worked out before, and one for each context when a second has passed.
    """

    def __init__(
        self, engine: JournalEngine, source: CapabilitySource | None, contexts: frozenset[Namespace] | None
    ) -> None:
        self._engine = engine
        self._source = source
        self._contexts = [EVERYWHERE] if contexts is None else sorted(contexts)
        self._second = -1

    async def __call__(self) -> str:
        """Why it is not, or nothing."""
        second = self._engine.clock.now_ms() // 1_000
        asked = self._contexts[:1] if second == self._second else self._contexts
        try:
            for context in asked:
                if not await _sees(self._source, context, str(self._engine.authority)):
                    return _LOST
        except AntiphonError as problem:
            return f"{_LOST}: {problem}"
        self._second = second
        return ""


async def seen_contexts(
    engine: JournalEngine, source: CapabilitySource | None, contexts: Collection[str] = ()
) -> frozenset[Namespace] | None:
    """Those contexts of this replica, and of *contexts*, that the source's right to see covers; None for all there are.

    O(contexts). Raises what the source raises.
    """
    authority = str(engine.authority)
    if await _sees(source, EVERYWHERE, authority):
        return None
    known = {*contexts, *engine.index.roots()}
    return frozenset([Namespace(name) for name in sorted(known) if await _sees(source, name, authority)])


def context_of(contexts: Collection[str] | None) -> str:
    """The context whose budgets pay for a session about these: the first of them, or the one kept for all there are."""
    return min(contexts) if contexts else SYNC_CONTEXT


async def _sees(source: CapabilitySource | None, context: str, authority: str) -> bool:
    if source is None:
        return False
    return SYNC_SEES in await source.frontier(SendRequest(SYNC_SEES, context, SELF, authority, SYNC_SEES))

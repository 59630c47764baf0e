"""Queries and intents through the same chain: who asks or wants something is judged as whoever sends.

Runs no query and commits no fact of its own accord; ``UnifiedHandler`` takes the grants, ``EffectGuard`` the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from antiphon.facts import DEFAULT_NAMESPACE, AntiphonError, Fact, OperationCategory, operation_category
from antiphon.reactive.access import Capability

from .capabilities import TokenCapabilities
from .commands import SendRequest
from .guard import EffectGuard

SELF = "self"
"""The peer of what stays here."""
EVERYWHERE = "\x00everywhere"
"""The context of what is about all of them. None is called that, so only a right without a context covers it."""
SYNC_SEES = "sync:request_ops"
SYNC_SENDS = "sync:push_ops"


class CallRule(NamedTuple):
    """What a call of a front end to its runtime is to the chain: the operation, and the capabilities it needs."""

    operation: str
    capability: str
    also: tuple[str, ...] = ()


CALL_RULES: Mapping[str, CallRule] = {
    "erase": CallRule("journal:erase", "journal:erase"),
    "query": CallRule("query:sql", "query:sql"),
    "sync": CallRule("sync:once", SYNC_SENDS, (SYNC_SEES,)),
    "serve": CallRule("sync:serve", SYNC_SENDS, (SYNC_SEES,)),
    "link": CallRule("sync:link", SYNC_SENDS, (SYNC_SEES,)),
}
"""By the call's name."""


class ChainGrants:
    """A token's rights to ask queries, judged by the chain: ``handler.set_capability_context(ChainGrants(…))``."""

    def __init__(self, guard: EffectGuard, rights: TokenCapabilities, *, context: str = DEFAULT_NAMESPACE) -> None:
        self._guard = guard
        self._rights = rights
        self._context = context

    def grants(self, demanded: Capability, /) -> bool:
        """Whether every guard would let it pass; a capability's limit is its context. Charges nothing."""
        context = demanded.limit or self._context
        request = SendRequest("query:ask", context, SELF, self._rights.token.subject, demanded.name)
        try:
            caps = self._rights.allowed(demanded.name, context)
        except AntiphonError as problem:
            return self._guard.judge(request, None, str(problem)).is_authorized
        return self._guard.judge(request, caps).is_authorized


def call_request(name: str, *, authority: str, context: str, peer: str = SELF, cost: int = 0) -> SendRequest:
    """What the chain is asked about a call to the runtime, such as ``sync``: facts and messages come after it.

    >>> call_request("query", authority="ada", context=EVERYWHERE).capability
    'query:sql'
    """
    operation, capability, also = CALL_RULES[name]
    return SendRequest(operation, context, peer, authority, capability, cost=cost, also=also)


def intent_request(
    operation: str,
    facts: Sequence[Fact],
    *,
    authority: str,
    context: str = DEFAULT_NAMESPACE,
    cost: int = 0,
    proposal: Fact | None = None,
) -> SendRequest:
    """What the chain is asked about a screen's intent: the facts it would commit, and no envelope.

    The capability is that of the operation's name, as in ``chat:send-message``. The facts of a ceremony's intent do not
    make it so, they begin it or take part in it: that is an operation of its own, ``invitation:send.begin``.

    >>> intent_request("invitation:send", (), authority="ada").operation
    'invitation:send.begin'
    """
    is_ceremony = operation_category(operation) is OperationCategory.CEREMONY
    return SendRequest(
        f"{operation}.begin" if is_ceremony else operation,
        context,
        SELF,
        authority,
        operation,
        cost=cost,
        facts=tuple(facts),
        proposal=proposal,
    )

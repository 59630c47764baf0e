"""Queries and intents through the same chain: who asks or wants something is judged as whoever sends.

Runs no query and commits no fact of its own accord; ``UnifiedHandler`` takes the grants, ``EffectGuard`` the request.
"""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.facts import DEFAULT_NAMESPACE, AntiphonError, Fact, OperationCategory, operation_category
from antiphon.reactive.access import Capability

from .capabilities import TokenCapabilities
from .commands import SendRequest
from .guard import EffectGuard

SELF = "self"
"""The peer of what stays here."""


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

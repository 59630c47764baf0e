"""Tokens that were taken back, as facts: whoever syncs them refuses those tokens from then on.

A revocation counts only from the authority whose key issued the token; that of anybody else is a fact like others, and
revokes nothing. Set by set: the order in which they arrive does not matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from antiphon.facts import AuthorityId, Fact, authority_id

from ..engine import JournalEngine


class TokenWithdrawn(Fact, kind="guards.token_withdrawn", version=1):
    """These tokens, and all that were made from them, allow nothing any more (revocation ids, hex)."""

    revocation_ids: tuple[str, ...]
    reason: str = ""


class Revocations:
    """What the issuers of *roots* (public keys) have taken back, as far as this journal has heard; kept up to date."""

    def __init__(self, engine: JournalEngine, roots: Iterable[bytes]) -> None:
        self._engine = engine
        self._issuers: frozenset[AuthorityId] = frozenset(map(authority_id, roots))
        self._ids: set[str] = set()
        self._detach = engine.sinks.attach(self)
        engine.register([TokenWithdrawn])

    async def load(self) -> None:
        """Read what was revoked before."""
        found = [self._engine.decode_fact(each) for each in await self._engine.read_kind(TokenWithdrawn.fact_type.kind)]
        self.deliver([each for each in found if isinstance(each, Fact)])

    def ids(self) -> Collection[str]:
        """The revocation ids so far."""
        return self._ids

    # As a sink of the engine's windows

    @property
    def has_room(self) -> bool:
        """Always."""
        return True

    @property
    def is_closed(self) -> bool:
        """Never."""
        return False

    def when_room(self, callback: object, /) -> None:
        """There always is."""

    def deliver(self, facts: Sequence[Fact], /) -> None:
        """Take in a window."""
        for fact in facts:
            if isinstance(fact, TokenWithdrawn) and fact.meta.authority in self._issuers:
                self._ids.update(fact.revocation_ids)

    def close(self) -> None:
        """Hear no more."""
        self._detach()

"""Tokens in the chain: what they allow happens, and a revocation that arrives by sync is obeyed at once."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace

import pytest

from antiphon import Journal
from antiphon.runtime.guards.capabilities import (
    CapabilityScope,
    TokenCapabilities,
    TokenVerifier,
    attenuate_token,
    inspect_token,
    issue_token,
)
from antiphon.runtime.guards.commands import GuardRefused
from antiphon.runtime.guards.guard import EffectGuard
from antiphon.runtime.guards.keys import load_key
from antiphon.runtime.guards.revocation import Revocations, TokenWithdrawn

OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]
pytestmark = pytest.mark.asyncio


async def test_a_token_that_is_revoked_on_another_replica_is_denied_once_the_fact_has_come(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal("issuer") as issuer, open_journal("holder") as holder, open_journal("eve") as eve:
        key = load_key(issuer.path / "keys" / "authority.key")
        token = issue_token(key.seed, subject="holder", capabilities=["talk:say"], scope=CapabilityScope("home"))
        token = attenuate_token(token, key.public_key, context="home")
        revocations = Revocations(holder.engine, [key.public_key])
        await revocations.load()
        verifier = TokenVerifier([key.public_key], holder.engine.clock, revoked=revocations.ids)
        guard = EffectGuard(holder.engine, capabilities=TokenCapabilities(verifier, verifier.verify(token)))

        assert (await guard.guarded(kit.request())).outcome.is_authorized
        with pytest.raises(GuardRefused) as elsewhere:
            await guard.guarded(kit.request(context="away"))
        assert elsewhere.value.kind == "missing-capability"

        ids = inspect_token(token, key.public_key).revocation_ids[:1]
        await eve.commit(TokenWithdrawn(revocation_ids=ids))
        await holder.sync_with(eve)
        assert (await guard.guarded(kit.request())).outcome.is_authorized, "only its issuer takes a token back"

        await issuer.commit(TokenWithdrawn(revocation_ids=ids, reason="lost"))
        await holder.sync_with(issuer)
        with pytest.raises(GuardRefused) as refused:
            await guard.guarded(kit.request())
        assert refused.value.kind == "capability-check-failed"
        again = Revocations(holder.engine, [key.public_key])
        await again.load()
        assert set(ids) <= set(again.ids()), "also when it was here before"

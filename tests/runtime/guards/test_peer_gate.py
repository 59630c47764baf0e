"""Replicas meet by token: what it does not cover is not offered, and what is sent is paid for in advance."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace

import pytest

from antiphon import Fact, Journal
from antiphon.journal.guard_book import GuardLimits
from antiphon.reactive.access import Capability
from antiphon.runtime.guards.capabilities import CapabilityScope, TokenCapabilities, TokenVerifier, issue_token
from antiphon.runtime.guards.commands import GuardRefused, Timing
from antiphon.runtime.guards.grants import ChainGrants, intent_request
from antiphon.runtime.guards.guard import EffectGuard, HeldCapabilities
from antiphon.runtime.guards.keys import KeyFile, load_key
from antiphon.runtime.guards.names import SYNC_GRANT
from antiphon.runtime.guards.peer_gate import CREDIT_MESSAGES, SYNC_CONTEXT, TokenGate
from antiphon.runtime.guards.policy import EffectPolicyRegistry
from antiphon.runtime.services.session_driver import SyncReport
from antiphon.runtime.services.sync import LinkState

OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]
PATIENCE_S = 30.0
pytestmark = pytest.mark.asyncio


class Placed(Fact, kind="gated.placed", version=1, context="room"):
    room: str


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110  # any part of two journals may be what changes
        await asyncio.sleep(0)


def key_of(journal: Journal) -> KeyFile:
    return load_key(journal.path / "keys" / "authority.key")


def gate_of(journal: Journal, *, limits: GuardLimits | None = None, is_paid: bool = False) -> TokenGate:
    verifier = TokenVerifier([key_of(journal).public_key], journal.engine.clock)
    if not is_paid:
        return TokenGate(journal.engine, verifier)
    return TokenGate(
        journal.engine,
        verifier,
        guard_for=lambda rights: EffectGuard(journal.engine, capabilities=rights, limits=limits),
    )


async def meet(guest: Journal, host: Journal, gate: TokenGate, token: bytes) -> SyncReport:
    async with host.serve(gate=gate) as server:
        return await guest.sync(server.address, token=token)


async def test_a_peer_sees_what_its_token_covers_and_nothing_else(open_journal: OpenJournal) -> None:
    async with open_journal("host") as host, open_journal("guest") as guest, open_journal("eve") as eve:
        await host.commit_all([Placed(room="open"), Placed(room="secret")])
        await guest.commit(Placed(room="open"))
        token = issue_token(key_of(host).seed, subject="bo", capabilities=SYNC_GRANT, scope=CapabilityScope("open"))
        assert (await meet(guest, host, gate_of(host), token)).is_success
        assert set(guest.engine.index.roots()) == {"open"}
        assert guest.fingerprint_of("open") == host.fingerprint_of("open")

        forged = issue_token(key_of(eve).seed, subject="eve", capabilities=SYNC_GRANT)
        before = host.fingerprint
        for shown in (b"", b"nonsense", forged):
            assert not (await meet(eve, host, gate_of(host), shown)).is_success
        assert set(eve.engine.index.roots()) == set()
        assert host.fingerprint == before


async def test_a_token_for_everything_shows_every_context(open_journal: OpenJournal) -> None:
    async with open_journal("host") as host, open_journal("guest") as guest:
        await host.commit_all([Placed(room="open"), Placed(room="secret")])
        token = issue_token(key_of(host).seed, subject="bo", capabilities=SYNC_GRANT)
        assert (await meet(guest, host, gate_of(host), token)).is_success
        assert guest.fingerprint == host.fingerprint


@pytest.mark.parametrize("is_paid", [False, True])
@pytest.mark.parametrize("speaker", ["host", "guest"])
async def test_a_link_ends_with_its_token_whoever_speaks_next(
    open_journal: OpenJournal, kit: SimpleNamespace, speaker: str, is_paid: bool
) -> None:
    clock = kit.HandClock()
    async with open_journal("host", clock=clock) as host, open_journal("guest", clock=clock) as guest:
        expires_ms = clock.now_ms() + 60_000
        token = issue_token(key_of(host).seed, subject="bo", capabilities=SYNC_GRANT, expires_ms=expires_ms)
        journals = {"host": host, "guest": guest}
        async with (
            asyncio.timeout(PATIENCE_S),
            host.serve(gate=gate_of(host, is_paid=is_paid)) as server,
            guest.link(server.address, token=token) as link,
        ):
            await link.wait_live()
            clock.advance(59_000)
            await journals[speaker].commit(Placed(room="open"), flush=True)
            await until(lambda: host.fingerprint == guest.fingerprint)
            clock.advance(1_000)
            before = {name: each.fingerprint for name, each in journals.items() if name != speaker}
            await journals[speaker].commit(Placed(room="open"), flush=True)
            await until(lambda: not server.statistics().active)
            assert link.status.state is not LinkState.LIVE
            assert {name: journals[name].fingerprint for name in before} == before, "it was nobody's any more"


async def test_a_link_ends_when_its_token_is_revoked(open_journal: OpenJournal) -> None:
    async with open_journal("host") as host, open_journal("guest") as guest:
        revoked: set[str] = set()
        verifier = TokenVerifier([key_of(host).public_key], host.engine.clock, revoked=lambda: revoked)
        token = issue_token(key_of(host).seed, subject="bo", capabilities=SYNC_GRANT)
        async with (
            asyncio.timeout(PATIENCE_S),
            host.serve(gate=TokenGate(host.engine, verifier)) as server,
            guest.link(server.address, token=token) as link,
        ):
            await link.wait_live()
            revoked.update(verifier.verify(token).revocation_ids)
            await host.commit(Placed(room="open"), flush=True)
            await until(lambda: not server.statistics().active)
            assert guest.fingerprint != host.fingerprint


async def test_sync_is_paid_for_before_it_leaves_and_ends_when_the_budget_does(open_journal: OpenJournal) -> None:
    async with open_journal("host") as host, open_journal("guest") as guest:
        await host.commit(Placed(room="open"))
        token = issue_token(key_of(host).seed, subject="bo", capabilities=SYNC_GRANT)
        assert (await meet(guest, host, gate_of(host, is_paid=True), token)).is_success
        assert host.engine.guard_book.remaining(SYNC_CONTEXT, "bo") == 1_024 - CREDIT_MESSAGES
        limits = GuardLimits(flow=CREDIT_MESSAGES + 1)
        await host.commit(Placed(room="open"))
        assert not (await meet(guest, host, gate_of(host, limits=limits, is_paid=True), token)).is_success
        assert guest.fingerprint != host.fingerprint, "nothing left without a charge"


async def test_queries_and_intents_are_judged_by_the_same_chain(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        key = key_of(journal)
        verifier = TokenVerifier([key.public_key], journal.engine.clock)
        token = verifier.verify(
            issue_token(key.seed, subject="bo", capabilities=["read:messages"], scope=CapabilityScope("home"))
        )
        policies = EffectPolicyRegistry()
        policies.override("home", "talk:invite", Timing.DEFERRED)
        guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("talk:say", "talk:invite"), policies=policies)
        grants = ChainGrants(guard, TokenCapabilities(verifier, token), context="home")
        assert grants.grants(Capability("read:messages"))
        assert grants.grants(Capability("read:messages", "home"))
        assert not grants.grants(Capability("read:messages", "away"))
        assert not grants.grants(Capability("read:contacts"))

        said = kit.Said(text="hi")
        await guard.guarded(intent_request("talk:say", [said], authority="ada", context="home"))
        with pytest.raises(GuardRefused):
            await guard.guarded(intent_request("talk:shout", [said], authority="ada", context="home"))
        proposal = kit.Said(text="may I?")
        done = await guard.guarded(
            intent_request("talk:invite", [said], authority="ada", context="home", proposal=proposal)
        )
        assert done.outcome.is_proposal
        rows = await journal.sql("select text from guarded_said order by seq")
        assert rows.fetchall() == [("hi",), ("may I?",)]

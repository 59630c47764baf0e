"""Intents pass the guard chain with the right of their operation, and what was explained is what happens."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from antiphon import Journal
from antiphon.app.cli.root import app
from antiphon.app.intent_errors import IntentError
from antiphon.app.intents import INTENTS, CreateChannel, RenameChannel, SendMessage
from antiphon.app.wiring import core_of, demo_core
from antiphon.facts import LocalViolation
from antiphon.runtime.events import GuardDecided, RingSink
from antiphon.runtime.guards.capabilities import CapabilityScope, TokenCapabilities, TokenVerifier, issue_token
from antiphon.runtime.guards.commands import LeakClaim, SendRequest, Timing
from antiphon.runtime.guards.grants import intent_request
from antiphon.runtime.guards.guard import EffectGuard, HeldCapabilities, OwnerCapabilities
from antiphon.runtime.guards.keys import load_key
from antiphon.runtime.guards.policy import EffectPolicyRegistry

HALL = CreateChannel(channel_id="hall", name="Hall")
HELLO = SendMessage(channel_id="hall", text="hello")
pytestmark = pytest.mark.asyncio


def everything_of(journal: Journal) -> object:
    log = {file.name: file.read_bytes() for file in sorted((journal.path / "log").iterdir())}
    return log, journal.fingerprint, journal.engine.guard_book.state_data()


async def test_an_intent_without_its_right_commits_nothing_and_says_whose_move_it_is(tmp_path: Path) -> None:
    ring = RingSink()
    async with Journal.open(tmp_path / "j", author="ada", sinks=(ring,)) as journal:
        guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("chat:create-channel"))
        async with core_of(journal, guard=guard) as core:
            await core.submit(HALL)
            await journal.flush()
            before = everything_of(journal)
            judged = await core.explain(HELLO)
            assert (judged.is_allowed, judged.refusing_guard, judged.reason) == (
                False,
                "capability",
                "missing-capability",
            )
            assert (await core.explain(RenameChannel(channel_id="hall", name="Attic"))).is_allowed is False
            with pytest.raises(IntentError) as refused:
                await core.submit(HELLO)
            assert (refused.value.kind, refused.value.move) == ("unauthorised", "application")
            await journal.flush()
            assert everything_of(journal) == before
    decided = [event.error_kind for event in ring.events if isinstance(event, GuardDecided)]
    assert decided == ["", "missing-capability"], "explaining decides nothing"


async def test_a_token_for_one_context_lets_intents_about_that_one_pass(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        key = load_key(journal.path / "keys" / "authority.key")
        verifier = TokenVerifier([key.public_key], journal.engine.clock)
        names = ["chat:create-channel", "chat:send-message"]
        token = issue_token(key.seed, subject="screen", capabilities=names, scope=CapabilityScope("elsewhere"))
        rights = TokenCapabilities(verifier, verifier.verify(token))
        async with core_of(journal, guard=EffectGuard(journal.engine, capabilities=rights)) as core:
            with pytest.raises(IntentError, match="not granted"):
                await core.submit(HALL)
        async with (
            Journal.open(tmp_path / "k", author="ada", namespace="elsewhere") as other,
            core_of(other, guard=EffectGuard(other.engine, capabilities=rights)) as core,
        ):
            await core.submit(HALL)
            assert (await core.submit(HELLO)).fact_ids


async def test_an_operation_that_needs_approval_here_is_not_just_done(tmp_path: Path) -> None:
    policies = EffectPolicyRegistry({"chat:send-message": Timing.DEFERRED})
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities(), policies=policies)
        async with core_of(journal, guard=guard) as core:
            await core.submit(HALL)
            assert (await core.explain(HELLO)).refusing_guard == "policy"
            with pytest.raises(IntentError, match="approved first"):
                await core.submit(HELLO)


async def test_what_was_explained_is_what_happens_for_the_owner_and_in_memory(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal, core_of(journal) as core:
        for intent in (HALL, HELLO):
            assert (await core.explain(intent)).is_allowed
            assert (await core.submit(intent)).fact_ids
    async with demo_core("ada") as core:
        assert (await core.explain(HALL)).is_allowed
        await core.submit(HALL)


async def test_every_intent_asks_for_the_right_of_its_operation_and_ceremonies_may_begin(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        for intent in INTENTS.values():
            request = intent_request(intent.operation, (), authority="ada")
            assert request.capability == intent.operation
            assert (await journal.explain(request)).is_allowed, "the owner may do what every screen offers"
            nobody = EffectGuard(journal.engine, capabilities=HeldCapabilities())
            assert (await nobody.explain(request)).refusing_guard == "capability"


@pytest.mark.parametrize(
    "change", [{"cost": 1}, {"leaks": (LeakClaim("External", 1),)}, {"envelope": b""}, {"plan_id": "p"}]
)
async def test_what_the_account_has_to_know_of_is_not_merely_permitted(tmp_path: Path, change: dict[str, Any]) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        with pytest.raises(LocalViolation, match="guarded"):
            await guard.permit(SendRequest("talk:say", "home", "bo", "ada", "talk:say")._replace(**change))


async def test_the_shell_explains_an_intent_as_it_would_go(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada"):
        pass
    arguments = ["explain-guard", "--journal", str(tmp_path / "j"), "--operation", "invitation:send"]

    def ask(*more: str) -> int:
        return CliRunner().invoke(app, [*arguments, *more]).exit_code

    assert await asyncio.to_thread(ask) == 1, "sent directly, it needs its ceremony"
    assert await asyncio.to_thread(ask, "--intent") == 0, "a screen's intent begins it"

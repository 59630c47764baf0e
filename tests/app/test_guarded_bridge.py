"""What a front end asks of its runtime passes the chain that its intents pass, and what a session sends is paid for."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon import Fact, Journal
from antiphon.app.bridge import JournalBridge
from antiphon.app.cli.root import app
from antiphon.app.core import AppCore
from antiphon.app.intent_errors import IntentError
from antiphon.app.runtime_bridge import RUNTIME_CALLS, Rows, RuntimeCall
from antiphon.app.wiring import core_of, demo_core
from antiphon.journal.guard_book import GuardLimits
from antiphon.runtime.guards.capabilities import CapabilityScope, TokenCapabilities, TokenVerifier, issue_token
from antiphon.runtime.guards.commands import Timing
from antiphon.runtime.guards.grants import CALL_RULES
from antiphon.runtime.guards.guard import CapabilitySource, EffectGuard, HeldCapabilities, OwnerCapabilities
from antiphon.runtime.guards.keys import load_key
from antiphon.runtime.guards.names import SYNC_GRANT
from antiphon.runtime.guards.peer_gate import CREDIT_MESSAGES, SYNC_CONTEXT, TokenGate
from antiphon.runtime.guards.policy import EffectPolicyRegistry

PATIENCE_S = 30.0
ANYWHERE = "tcp://127.0.0.1:0"
pytestmark = pytest.mark.asyncio


class Placed(Fact, kind="bridged.placed", version=1, context="room"):
    room: str


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110  # any part of two journals may be what changes
        await asyncio.sleep(0)


def everything_of(journal: Journal) -> object:
    log = {file.name: file.read_bytes() for file in sorted((journal.path / "log").iterdir())}
    return log, journal.fingerprint, journal.engine.guard_book.state_data()


def guard_of(journal: Journal, *held: str, limits: GuardLimits | None = None) -> EffectGuard:
    return EffectGuard(journal.engine, capabilities=HeldCapabilities(*held), limits=limits)


def token_of(
    journal: Journal, *names: str, context: str | None = None, expires_ms: int | None = None
) -> CapabilitySource:
    key = load_key(journal.path / "keys" / "authority.key")
    verifier = TokenVerifier([key.public_key], journal.engine.clock)
    scope = CapabilityScope(context)
    token = issue_token(key.seed, subject="screen", capabilities=names, scope=scope, expires_ms=expires_ms)
    return TokenCapabilities(verifier, verifier.verify(token))


def calls_about(fact_id: str, address: str) -> dict[str, tuple[RuntimeCall, Callable[[AppCore], Awaitable[object]]]]:
    return {
        "erase": (RuntimeCall("erase", (fact_id,)), lambda core: core.runtime.erase((fact_id,), reason="wrong")),
        "query": (RuntimeCall("query"), lambda core: core.runtime.query("select 1")),
        "sync": (RuntimeCall("sync", (address,)), lambda core: core.runtime.sync(address)),
        "serve": (RuntimeCall("serve", (ANYWHERE,)), lambda core: core.runtime.serve(ANYWHERE)),
        "link": (RuntimeCall("link", (address,)), lambda core: core.runtime.link(address)),
    }


@pytest.mark.parametrize("name", RUNTIME_CALLS)
async def test_a_call_without_its_right_does_nothing_at_all_and_was_foretold(tmp_path: Path, name: str) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "peer", author="bo") as peer,
        peer.serve() as server,
        Journal.open(tmp_path / "j", author="ada") as journal,
        core_of(journal, guard=guard_of(journal, "chat:send-message")) as core,
    ):
        fact_id = (await journal.commit(Placed(room="open"), flush=True)).fact_id
        await journal.flush()
        before = everything_of(journal)
        call, do = calls_about(fact_id, server.address)[name]
        judged = await core.explain(call)
        assert (judged.is_allowed, judged.refusing_guard, judged.reason) == (False, "capability", "missing-capability")
        with pytest.raises(IntentError) as refused:
            await do(core)
        assert (refused.value.kind, refused.value.move, refused.value.operation) == (
            "unauthorised",
            "application",
            name,
        )
        await journal.flush()
        assert everything_of(journal) == before
        standing = await core.runtime.standing()
        assert (standing.serving_at, standing.links) == (None, ())
        statistics = server.statistics()
        assert (statistics.active, statistics.ended, statistics.turned_away) == (0, 0, 0), "nobody was even dialled"


RIGHTS = {
    "erase": ("journal:erase",),
    "query": ("query:sql",),
    "sync": ("sync:push_ops", "sync:request_ops"),
    "serve": ("sync:push_ops", "sync:request_ops"),
    "link": ("sync:push_ops", "sync:request_ops"),
}


@pytest.mark.parametrize("name", RUNTIME_CALLS)
async def test_a_call_with_its_right_is_foretold_and_done(tmp_path: Path, name: str) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "peer", author="bo") as peer,
        peer.serve() as server,
        Journal.open(tmp_path / "j", author="ada") as journal,
        core_of(journal, guard=guard_of(journal, *RIGHTS[name])) as core,
    ):
        fact_id = (await journal.commit(Placed(room="open"), flush=True)).fact_id
        call, do = calls_about(fact_id, server.address)[name]
        assert (await core.explain(call)).is_allowed
        done = await do(core)
        if name == "query":
            assert done == Rows(("1",), ((1,),))


@pytest.mark.parametrize("name", RUNTIME_CALLS)
async def test_a_call_that_a_policy_wants_approved_is_not_just_done(tmp_path: Path, name: str) -> None:
    policies = EffectPolicyRegistry({CALL_RULES[name].operation: Timing.DEFERRED})
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities(), policies=policies)
        async with core_of(journal, guard=guard) as core:
            fact_id = (await journal.commit(Placed(room="open"), flush=True)).fact_id
            call, do = calls_about(fact_id, "tcp://127.0.0.1:9")[name]
            assert (await core.explain(call)).refusing_guard == "policy"
            with pytest.raises(IntentError, match="approved first"):
                await do(core)


async def test_a_sync_pays_before_it_dials_and_is_refused_when_nothing_is_left(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "peer", author="bo") as peer,
        peer.serve() as server,
        Journal.open(tmp_path / "j", author="ada") as journal,
        core_of(journal, guard=guard_of(journal, *SYNC_GRANT, limits=GuardLimits(flow=CREDIT_MESSAGES))) as core,
    ):
        await journal.commit(Placed(room="open"), flush=True)
        book, address = journal.engine.guard_book, server.address
        assert (await core.runtime.sync(address)).is_success
        assert peer.fingerprint == journal.fingerprint
        assert book.remaining(SYNC_CONTEXT, address) == 0, "one block was bought, and was enough"
        while (await core.explain(RuntimeCall("sync", (address,)))).is_allowed:
            await core.runtime.sync(address)  # what is left of the block serves the next session
        await journal.commit(Placed(room="open"), flush=True)
        before = everything_of(journal)
        assert (await core.explain(RuntimeCall("sync", (address,)))).refusing_guard == "flow"
        with pytest.raises(IntentError, match="left for this peer"):
            await core.runtime.sync(address)
        assert everything_of(journal) == before
        assert peer.fingerprint != journal.fingerprint


async def test_a_long_sync_buys_block_after_block_and_stops_where_its_budget_does(tmp_path: Path) -> None:
    rooms = [Placed(room=f"room-{number}") for number in range(3 * CREDIT_MESSAGES)]
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "peer", author="bo") as peer,
        peer.serve() as server,
        Journal.open(tmp_path / "j", author="ada") as journal,
        core_of(journal, guard=guard_of(journal, *SYNC_GRANT, limits=GuardLimits(flow=CREDIT_MESSAGES))) as core,
    ):
        await journal.commit_all(rooms)
        outcome = await core.runtime.sync(server.address)
        spent = journal.engine.guard_book.remaining(SYNC_CONTEXT, server.address)
        assert spent == 0
        assert outcome.is_success == (peer.fingerprint == journal.fingerprint)


async def test_who_is_served_is_paid_for_by_the_name_it_gives(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "guest", author="bo") as guest,
        Journal.open(tmp_path / "j", author="ada") as journal,
        core_of(journal, guard=guard_of(journal, *SYNC_GRANT)) as core,
    ):
        await journal.commit(Placed(room="open"), flush=True)
        _, address = await core.runtime.serve(ANYWHERE)
        assert (await guest.sync(address)).is_success
        assert guest.fingerprint == journal.fingerprint
        left = journal.engine.guard_book.remaining(SYNC_CONTEXT, guest.engine.journal_id)
        assert left == 1_024 - CREDIT_MESSAGES
        journal.engine.guard_book.limits = GuardLimits(flow=0)
        while True:
            await journal.commit(Placed(room="open"), flush=True)
            if not (await guest.sync(address)).is_success:
                break
        assert guest.fingerprint != journal.fingerprint, "nothing left without a charge"


async def test_a_token_for_one_context_syncs_that_one_and_asks_no_history(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "peer", author="bo") as peer,
        peer.serve() as server,
        Journal.open(tmp_path / "j", author="ada") as journal,
    ):
        await journal.commit_all([Placed(room="open"), Placed(room="secret")])
        await peer.commit_all([Placed(room="open"), Placed(room="private")])
        source = token_of(journal, *SYNC_GRANT, "query:sql", context="open")
        async with core_of(journal, guard=EffectGuard(journal.engine, capabilities=source)) as core:
            assert (await core.runtime.sync(server.address)).received == 2
            assert set(journal.engine.index.roots()) == {"open", "secret"}
            assert set(peer.engine.index.roots()) == {"open", "private"}
            assert journal.engine.guard_book.remaining("open", server.address) == 1_024 - CREDIT_MESSAGES
            with pytest.raises(IntentError, match="not granted"):
                await core.runtime.query("select count(*) from history")
        everywhere = token_of(journal, "query:sql")
        async with core_of(journal, guard=EffectGuard(journal.engine, capabilities=everywhere)) as core:
            assert (await core.runtime.query("select 1")).rows == ((1,),)


async def test_a_link_pays_from_one_account_however_often_it_connects(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "peer", author="bo") as peer,
        Journal.open(tmp_path / "j", author="ada") as journal,
        core_of(journal, guard=guard_of(journal, *SYNC_GRANT)) as core,
    ):
        async with peer.serve() as server:
            address = server.address
            await core.runtime.link(address)
            await journal.commit(Placed(room="open"))
            await until(lambda: peer.fingerprint == journal.fingerprint)
        async with peer.serve(address):
            await journal.commit(Placed(room="open"))
            await until(lambda: peer.fingerprint == journal.fingerprint)
            assert journal.engine.guard_book.remaining(SYNC_CONTEXT, address) == 1_024 - CREDIT_MESSAGES
            assert await core.runtime.unlink(address) == "stopped"


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms


async def test_a_link_of_its_own_ends_with_the_right_that_it_was_made_with(tmp_path: Path) -> None:
    clock = Hand()
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "peer", author="bo") as peer,
        peer.serve() as server,
        Journal.open(tmp_path / "j", author="ada", clock=clock) as journal,
    ):
        source = token_of(journal, *SYNC_GRANT, expires_ms=clock.ms + 60_000)
        async with core_of(journal, guard=EffectGuard(journal.engine, capabilities=source)) as core:
            await core.runtime.link(server.address)
            await journal.commit(Placed(room="open"))
            await until(lambda: peer.fingerprint == journal.fingerprint)
            clock.ms += 60_001
            await journal.commit(Placed(room="open"))
            await until(lambda: not server.statistics().active)
            assert peer.fingerprint != journal.fingerprint
            assert not (await core.explain(RuntimeCall("link", (server.address,)))).is_allowed


async def test_two_guarded_front_ends_meet_and_each_pays_for_what_it_says(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "host", author="bo") as host,
        Journal.open(tmp_path / "j", author="ada") as journal,
        core_of(host, guard=guard_of(host, *SYNC_GRANT)) as hosting,
        core_of(journal, guard=guard_of(journal, *SYNC_GRANT)) as core,
    ):
        await host.commit(Placed(room="open"))
        await journal.commit(Placed(room="shut"))
        _, address = await hosting.runtime.serve(ANYWHERE)
        assert (await core.runtime.sync(address)).is_success
        assert host.fingerprint == journal.fingerprint
        await core.runtime.link(address)
        await host.commit(Placed(room="open"))
        await until(lambda: host.fingerprint == journal.fingerprint)
        mine = journal.engine.guard_book.remaining(SYNC_CONTEXT, address)
        theirs = host.engine.guard_book.remaining(SYNC_CONTEXT, journal.engine.journal_id)
        assert (mine, theirs) == (1_024 - CREDIT_MESSAGES, 1_024 - CREDIT_MESSAGES)


async def test_whom_a_gate_lets_in_is_paid_for_too(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "guest", author="bo") as guest,
        Journal.open(tmp_path / "j", author="ada") as journal,
    ):
        await journal.commit_all([Placed(room="open"), Placed(room="secret")])
        key = load_key(journal.path / "keys" / "authority.key")
        gate = TokenGate(journal.engine, TokenVerifier([key.public_key], journal.engine.clock))
        shown = issue_token(key.seed, subject="bo", capabilities=SYNC_GRANT, scope=CapabilityScope("open"))
        async with core_of(journal, guard=guard_of(journal, *SYNC_GRANT), gate=gate) as core:
            _, address = await core.runtime.serve(ANYWHERE)
            assert not (await guest.sync(address)).is_success
            assert (await guest.sync(address, token=shown)).is_success
            assert set(guest.engine.index.roots()) == {"open"}
            assert journal.engine.guard_book.remaining("open", "bo") == 1_024 - CREDIT_MESSAGES


async def test_an_erasure_is_judged_in_the_context_of_what_it_takes_back(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        kept = (await journal.commit(Placed(room="kept"), flush=True)).fact_id
        gone = (await journal.commit(Placed(room="gone"), flush=True)).fact_id
        source = token_of(journal, "journal:erase", context="gone")
        async with core_of(journal, guard=EffectGuard(journal.engine, capabilities=source)) as core:
            assert await core.runtime.erase((gone,), reason="wrong")
            for named in ((kept,), (kept, gone)):
                assert not (await core.explain(RuntimeCall("erase", named))).is_allowed
                with pytest.raises(IntentError, match="not granted"):
                    await core.runtime.erase(named, reason="wrong")


async def test_without_a_guard_the_owner_does_all_of_it_and_pays_nothing(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "peer", author="bo") as peer,
        peer.serve() as server,
        Journal.open(tmp_path / "j", author="ada") as journal,
        JournalBridge(journal) as bridge,
    ):
        assert (await bridge.sync(server.address)).is_success
        assert (await bridge.judge_call(RuntimeCall("link", (server.address,)))).is_allowed
        assert journal.engine.guard_book.statistics().account_count == 0


async def test_a_core_without_a_runtime_has_nothing_to_explain(tmp_path: Path) -> None:
    async with demo_core() as core:
        with pytest.raises(IntentError) as refused:
            await core.explain(RuntimeCall("sync", ("tcp://127.0.0.1:9",)))
        assert refused.value.kind == "no_agent"


async def test_the_shell_explains_a_call_as_it_would_go(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada"):
        pass
    arguments = ["explain-guard", "--journal", str(tmp_path / "j"), "--call", "sync", "--peer", "tcp://127.0.0.1:9"]

    def ask() -> str:
        found = CliRunner().invoke(app, [*arguments])
        assert found.exit_code == 0
        return found.output

    told = await asyncio.to_thread(ask)
    assert "sync:once" in told
    assert f"costs {CREDIT_MESSAGES} of 1024" in told

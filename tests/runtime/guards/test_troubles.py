"""What goes wrong around a guarded send stays around it: listeners that raise, disks that refuse, windows that fail."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon import Journal
from antiphon.facts import AntiphonError
from antiphon.journal import KeySigner
from antiphon.journal.budgets import FlowBudget
from antiphon.journal.frame import LocalNote
from antiphon.journal.guard_book import GuardLimits, Letter
from antiphon.journal.lattices.counters import GCounter
from antiphon.runtime.engine import JournalEngine
from antiphon.runtime.events import RingSink, RuntimeEvent, correlate, correlated
from antiphon.runtime.guards.commands import (
    GuardRefused,
    InterpreterError,
    LeakClaim,
    SendRequest,
    StoreMetadata,
    Timing,
)
from antiphon.runtime.guards.guard import EffectGuard, Guarded, OwnerCapabilities
from antiphon.runtime.guards.ingress import (
    IngressCheck,
    IngressPolicy,
    IngressRejected,
    IngressVerifier,
    seal_envelope,
    take_in,
)
from antiphon.runtime.guards.policy import EffectPolicyRegistry
from antiphon.runtime.resilience.rates import RateLimiter, RateLimits
from antiphon.testing.disk import FaultyDisk

OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]
pytestmark = pytest.mark.asyncio


def bits_left(journal: Journal) -> int:
    return journal.engine.guard_book.remaining_bits("home", "bo", "External", now_ms=journal.engine.clock.now_ms())


class _Deaf:
    def emit(self, event: RuntimeEvent) -> None:
        raise ValueError(event.name)


def raise_always(*_: object) -> None:
    raise ValueError("no")


async def test_a_listener_that_raises_holds_up_no_send_and_is_not_called_again(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    left: list[bytes] = []

    async def deliver(letter: Letter) -> None:
        if letter.data not in left:
            left.append(letter.data)
            raise AntiphonError("nobody answers")

    ring = RingSink()
    async with open_journal(sinks=(_Deaf(), ring)) as journal:
        given: dict[str, Any] = {"on_event": raise_always, "on_outcome": raise_always, "on_problem": raise_always}
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=deliver, pace=kit.pace, **given)
        async with guard, asyncio.timeout(20):
            await guard.guarded(kit.request("one"))
            ends = await guard.guarded_all([kit.request("two"), kit.request("three", extra=(StoreMetadata("k", "v"),))])
            await guard.drained()
        assert all(isinstance(end, Guarded) for end in ends)
        assert left == [b"one", b"two", b"three"]
        assert guard.book.statistics().pending_count == 0
        assert len([each for each in journal.problems if "it is not called again" in each]) == 3
        assert {"guard.decided", "guard.flow.charged", "journal.committed"} <= {each.name for each in ring.events}
        assert (await journal.sql("select count(*) from guarded_said")).fetchall() == [(3,)]


async def test_explaining_takes_nothing_from_the_rate_of_a_peer(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        rates = RateLimiter(RateLimits(1_000, 1, 2), kit.pace)
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities(), rates=rates)
        for _ in range(5):
            assert (await guard.explain(kit.request())).is_allowed
        assert [rates.reserve("bo") for _ in range(2)] == [0, 0]


async def test_explaining_says_when_a_plan_was_performed_and_goes_by_the_policies_given(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    policies = EffectPolicyRegistry({"talk:marry": Timing.BLOCKING})
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities(), policies=policies)
        request = kit.request(plan_id="the-same")
        assert not (await guard.explain(request)).is_repeat
        await guard.guarded(request)
        found = await journal.explain(request)
        assert found.is_repeat
        assert "would do: nothing, since its plan was performed before" in str(found)
        wedding = kit.request(operation="talk:marry")
        assert (await guard.explain(wedding)).refusing_guard == "policy"
        assert (await journal.explain(wedding, policies=policies)).refusing_guard == "policy"


async def test_what_is_revealed_while_an_observer_is_forgotten_counts(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    disk = FaultyDisk()
    async with open_journal(disk=disk) as journal:
        await journal.commit(kit.Said(text="first"))
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        disk.hold()
        async with asyncio.TaskGroup() as group:
            group.create_task(guard.guarded(kit.request(leaks=(LeakClaim("External", 600),))))
            await asyncio.to_thread(disk.wait_arrived)
            guard.book.reset("home", "bo", "External")
            assert bits_left(journal) == 400
            disk.let_go()
        assert bits_left(journal) == 400
        await guard.reset_leakage("home", "bo", "External", authority="ada")
        assert bits_left(journal) == 1_000


async def test_an_observer_is_not_forgotten_when_that_could_not_be_written(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    disk = FaultyDisk()
    async with open_journal(disk=disk) as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        await guard.guarded(kit.request(leaks=(LeakClaim("External", 600),)))
        with patch.object(EffectGuard, "guarded", _fail_next_sync(disk)), pytest.raises(AntiphonError):
            await guard.reset_leakage("home", "bo", "External", authority="ada")
        assert bits_left(journal) == 400


def _fail_next_sync(disk: FaultyDisk) -> Any:
    guarded = EffectGuard.guarded

    async def then_fail(self: EffectGuard, request: SendRequest) -> Guarded:
        done = await guarded(self, request)
        disk.fail("sync")
        return done

    return then_fail


async def test_what_another_device_spent_counts_after_a_restart(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        await guard.absorb("home", "bo", FlowBudget(1_024, GCounter({"phone": 1_000})))
        assert guard.book.remaining("home", "bo") == 24
    async with open_journal() as journal:
        assert journal.engine.guard_book.remaining("home", "bo") == 24


async def test_a_disk_that_refuses_the_facts_of_a_departure_does_not_end_the_outbox(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    disk = FaultyDisk()
    left: list[bytes] = []
    problems: list[AntiphonError] = []

    async def deliver(letter: Letter) -> None:
        left.append(letter.data)
        if len(left) == 1:
            disk.fail("sync")

    async with open_journal(disk=disk) as journal:
        guard = EffectGuard(
            journal.engine,
            capabilities=OwnerCapabilities(),
            deliver=deliver,
            pace=kit.pace,
            on_problem=lambda _, problem: problems.append(problem),
        )
        async with guard, asyncio.timeout(20):
            for text in ("one", "two"):
                await guard.guarded(kit.request(text, facts_after=(kit.HasLeft(text=text),)))
                await guard.drained()
        assert left == [b"one", b"two"], "it had left, so it is not sent again"
        assert len(problems) == 1
        assert not guard.book.letters
        assert (await journal.sql("select text from guarded_has_left order by 1")).fetchall() == [("one",), ("two",)]


@pytest.mark.parametrize("extra", [(), (StoreMetadata("k", "v"),)])
async def test_what_a_request_could_not_spend_is_there_for_those_after_it(
    extra: tuple[StoreMetadata, ...], open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    requests = [
        kit.request(facts=(kit.Said.model_construct(text="\ud800"),), cost=10),
        kit.request(cost=15, extra=extra),
        kit.request(cost=10),
        kit.request(cost=5),
    ]
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities(), limits=GuardLimits(flow=20))
        ends = await guard.guarded_all(requests, flush=True)
        assert list(map(type, ends)) == [InterpreterError, Guarded, GuardRefused, Guarded]
        assert guard.book.remaining("home", "bo") == 0


async def test_a_window_that_cannot_be_sealed_tells_each_caller_once(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    unheard: list[dict[str, Any]] = []
    async with open_journal() as journal:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        with patch.object(JournalEngine, "_seal", raise_always):
            with pytest.raises(ValueError, match="no"):
                await journal.engine.commit((kit.Said(text="a"),), flush=True)
            with pytest.raises(ValueError, match="no"):
                await guard.guarded_all([kit.request()], flush=True)
        gc.collect()
        await asyncio.sleep(0)
        assert unheard == []
        assert guard.book.statistics().pending_count == 0
        await guard.guarded(kit.request())
        assert guard.book.remaining("home", "bo") == 1_014


SIGNER = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
POLICY = IngressPolicy(
    key_of=lambda _: SIGNER.public_key,
    may_send=lambda *_: True,
    contexts=lambda _: frozenset({"home"}),
    is_member=lambda *_: True,
)


async def test_what_is_taken_in_while_a_file_is_sealed_is_a_repeat_after_a_restart(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    disk = FaultyDisk()
    data = seal_envelope(SIGNER, envelope_id="e2", source="ada", context="home", payload=b"hi")
    async with open_journal(disk=disk) as journal:
        engine = journal.engine
        verifier = IngressVerifier(POLICY, window=engine.guard_book.replays)
        first = seal_envelope(SIGNER, envelope_id="e1", source="ada", context="home", payload=b"hi")
        await take_in(engine, verifier.receive(first), (kit.Said(text="one"),))
        await engine.start_file()
        disk.hold()
        async with asyncio.TaskGroup() as group:
            group.create_task(take_in(engine, verifier.receive(data), (kit.Said(text="two"),), flush=True))
            await asyncio.to_thread(disk.wait_arrived)
            summed_up = asyncio.Event()
            book, state_note = engine.guard_book, engine.guard_book.state_note

            def sum_up() -> LocalNote:
                summed_up.set()
                return state_note()

            with patch.object(book, "state_note", sum_up):
                group.create_task(engine.keeper.seal())
                await summed_up.wait()
            disk.let_go()
    async with open_journal() as journal:
        with pytest.raises(IngressRejected) as rejected:
            IngressVerifier(POLICY, window=journal.engine.guard_book.replays).receive(data)
        assert rejected.value.check is IngressCheck.REPLAY_FRESHNESS


async def test_a_correlation_follows_each_request_until_its_envelope_has_left(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    seen: list[str] = []

    async def deliver(letter: Letter) -> None:
        seen.append(f"{letter.data.decode()} {correlated()}")

    ring = RingSink()
    async with open_journal(sinks=(ring,)) as journal:

        async def ask(number: int) -> None:
            correlate(f"r{number}")
            await guard.guarded(kit.request(f"{number}", leaks=(LeakClaim("External", 1),)))

        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=deliver)
        async with guard, asyncio.timeout(20):
            await asyncio.gather(*(asyncio.create_task(ask(number)) for number in range(3)))
            await guard.drained()
    steps = ["guard.decided", "guard.flow.charged", "guard.leakage.recorded", "guard.envelope.queued"]
    for number in range(3):
        found = [each.name for each in ring.events if each.data().get("correlation_id") == f"r{number}"]
        assert found == [*steps, "guard.envelope.sent"]
    assert seen == ["0 r0", "1 r1", "2 r2"]
    assert "correlation_id" not in ring.events[-1].data()

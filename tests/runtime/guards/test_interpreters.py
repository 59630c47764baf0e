"""Production and simulation perform plans alike; a recording is replayed or differs; a local one never sends."""

import asyncio
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from antiphon import Fact, Journal
from antiphon.journal.guard_book import GuardLimits
from antiphon.runtime.guards.chain import validate_plan
from antiphon.runtime.guards.commands import (
    AppendJournal,
    ChargeBudget,
    EffectCommand,
    GenerateNonce,
    InterpreterError,
    Nonce,
    RecordLeakage,
    SendEnvelope,
    StoreMetadata,
)
from antiphon.runtime.guards.interpreters import (
    Divergence,
    EffectEvent,
    EffectInterpreter,
    LocalEffectInterpreter,
    Plan,
    SimulationEffectInterpreter,
)
from antiphon.runtime.guards.production import ProductionEffectInterpreter


class Kept(Fact, kind="interpreted.kept", version=1):
    text: str


LIMITS = GuardLimits(flow=20, leakage={"External": 12})
PEERS = st.sampled_from(["p", "q"])
commands = st.one_of(
    st.builds(ChargeBudget, st.just("c"), st.just("me"), PEERS, st.integers(-1, 15)),
    st.builds(
        RecordLeakage, st.integers(0, 8), st.sampled_from(["External", "Nobody"]), st.just("c"), PEERS, st.just("a:do")
    ),
    st.builds(StoreMetadata, st.sampled_from(["k", "l"]), st.sampled_from(["", "v", "\ud800"])),
    st.builds(lambda text: AppendJournal(Kept(text=text)), st.sampled_from(["a", "b", "\ud800"])),
    st.builds(SendEnvelope, PEERS, st.binary(max_size=4), st.just("c"), PEERS),
    st.builds(GenerateNonce, st.integers(0, 40)),
)
ordered = st.lists(commands, max_size=6).map(lambda each: sorted(each, key=_rank))
plan_lists = st.lists(
    st.builds(
        Plan,
        st.sampled_from([f"plan-{n}" for n in range(8)]),
        st.one_of(st.lists(commands, max_size=5), ordered).map(tuple),
        st.binary(min_size=32, max_size=32),
    ),
    max_size=8,
)


def _rank(command: EffectCommand) -> int:
    ranks = (ChargeBudget, RecordLeakage, StoreMetadata, GenerateNonce, AppendJournal, SendEnvelope)
    return ranks.index(type(command))


class StandingClock:
    def now_ms(self) -> int:
        return 1_700_000_000_000


async def ends_of(interpreter: EffectInterpreter, plans: list[Plan]) -> list[object]:
    ends: list[object] = []
    for plan in plans:
        try:
            ends.append(await interpreter.execute_plan(plan))
        except InterpreterError as problem:
            ends.append((problem.kind, problem.command_index))
    return ends


async def check_refinement(folder: Path, plans: list[Plan]) -> None:
    seen: list[EffectEvent] = []
    simulated = SimulationEffectInterpreter(StandingClock(), limits=LIMITS)
    async with Journal.open(folder / "j", author="me", types=(Kept,), clock=StandingClock()) as journal:
        journal.engine.guard_book.limits = LIMITS
        real = ProductionEffectInterpreter(journal.engine, on_event=seen.append)
        assert await ends_of(real, plans) == await ends_of(simulated, plans)
        check_same(real, simulated, seen)
        kinds = await journal.sql("select kind from history where kind = 'interpreted.kept'")
        assert len(kinds.fetchall()) == len(simulated.facts)
        check_never_uncharged(plans, simulated)
    async with Journal.open(folder / "j", author="me", clock=StandingClock()) as journal:
        journal.engine.guard_book.limits = LIMITS
        check_same(ProductionEffectInterpreter(journal.engine), simulated, seen)


def check_same(
    real: ProductionEffectInterpreter, simulated: SimulationEffectInterpreter, seen: list[EffectEvent]
) -> None:
    book = real.book
    for peer in ("p", "q"):
        assert book.remaining("c", peer) == simulated.remaining("c", peer)
        for observer in ("External", "Nobody"):
            now_ms = StandingClock().now_ms()
            mine = book.remaining_bits("c", peer, observer, now_ms=now_ms)
            assert mine == simulated.remaining_bits("c", peer, observer)
    assert dict(book.metadata) == simulated.metadata
    assert [(letter.envelope_id, letter.to, letter.data) for letter in book.letters] == list(simulated.letters)
    assert seen == list(simulated.events)


def check_never_uncharged(plans: list[Plan], simulated: SimulationEffectInterpreter) -> None:
    """Of adversarial plans: no send without a charge, no overspending, and nothing of a plan that was refused."""
    allowed = [plan for plan in plans if validate_plan(plan.commands) is None]
    sent = {data for _, _, data in simulated.letters}
    assert sent <= {each.envelope for plan in allowed for each in plan.commands if type(each) is SendEnvelope}
    for peer in ("p", "q"):
        charged = [event for event in simulated.events if event.name == "BudgetCharged" and event.about[1] == peer]
        assert sum(event.amount for event in charged) == LIMITS.flow - simulated.remaining("c", peer)
        assert simulated.remaining("c", peer) >= 0


def run_refinement(plans: list[Plan]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check_refinement(Path(folder), plans))


# Shrinking opens journals by the hundred; what fails is printed as it is, and short already.
UNSHRUNK = (Phase.explicit, Phase.generate)


@settings(max_examples=12, deadline=None, phases=UNSHRUNK)
@given(plan_lists)
def test_the_real_interpreter_does_what_the_simulated_one_records(plans: list[Plan]) -> None:
    run_refinement(plans)


@pytest.mark.long
@settings(max_examples=400, deadline=None, phases=UNSHRUNK)
@given(plan_lists)
def test_the_real_interpreter_does_what_the_simulated_one_records_at_length(plans: list[Plan]) -> None:
    run_refinement(plans)


def check_adversarial(plans: list[Plan]) -> None:
    simulated = SimulationEffectInterpreter(StandingClock(), limits=LIMITS)
    asyncio.run(ends_of(simulated, plans))
    check_never_uncharged(plans, simulated)


@settings(max_examples=500, deadline=None)
@given(plan_lists)
def test_no_adversarial_plan_sends_uncharged_overspends_or_acts_after_a_refusal(plans: list[Plan]) -> None:
    check_adversarial(plans)


@pytest.mark.long
@settings(max_examples=5_000, deadline=None)
@given(plan_lists)
def test_no_adversarial_plan_gets_through_in_twenty_thousand(plans: list[Plan]) -> None:
    check_adversarial(plans)


def test_two_simulated_runs_are_equal_and_a_changed_recording_is_noticed(kit: SimpleNamespace) -> None:
    plans = [
        Plan("a", (ChargeBudget("c", "me", "p", 2), GenerateNonce(8), SendEnvelope("p", b"x", "c", "p")), bytes(32)),
        Plan("b", (ChargeBudget("c", "me", "p", 3),), bytes(32)),
    ]

    async def run(script: Any = None) -> tuple[tuple[EffectEvent, ...], list[object]]:
        interpreter = SimulationEffectInterpreter(kit.HandClock(), script=script)
        ends = await ends_of(interpreter, plans)
        interpreter.finish()
        return interpreter.events, ends

    events, ends = asyncio.run(run())
    assert asyncio.run(run(script=events)) == (events, ends)
    changed = (*events[:-1], events[-1]._replace(amount=4))
    with pytest.raises(Divergence, match="event 3"):
        asyncio.run(run(script=changed))
    with pytest.raises(Divergence, match="event 4"):
        asyncio.run(run(script=(*events, events[0])))


def test_a_plan_that_fails_at_any_command_does_nothing_at_all() -> None:
    plan = Plan("a", (ChargeBudget("c", "me", "p", 2), StoreMetadata("k", "v"), SendEnvelope("p", b"x", "c", "p")))
    for index in range(3):
        simulated = SimulationEffectInterpreter(StandingClock(), limits=LIMITS, fail_at=index)
        assert asyncio.run(ends_of(simulated, [plan])) == [("store-unavailable", index)]
        assert (simulated.events, simulated.letters, simulated.metadata) == ((), (), {})
        assert simulated.remaining("c", "p") == 20


def test_a_nonce_follows_from_its_seed_and_place() -> None:
    async def nonces(seed: bytes) -> tuple[object, ...]:
        plan = Plan("n", (GenerateNonce(8), GenerateNonce(40)), seed)
        return await SimulationEffectInterpreter(StandingClock()).execute_plan(plan)

    first, again, other = (asyncio.run(nonces(seed)) for seed in (bytes(32), bytes(32), bytes([1]) * 32))
    assert first == again
    assert first != other
    assert [len(each.value) for each in first if isinstance(each, Nonce)] == [8, 40]


def test_a_local_interpreter_refuses_to_send_and_does_the_rest() -> None:
    simulated = SimulationEffectInterpreter(StandingClock(), limits=LIMITS)
    local = LocalEffectInterpreter(simulated)
    charge, send = ChargeBudget("c", "me", "p", 2), SendEnvelope("p", b"x", "c", "p")
    assert asyncio.run(ends_of(local, [Plan("a", (charge, send)), Plan("b", (charge,))]))[0] == ("send-refused", 1)
    assert simulated.remaining("c", "p") == 18
    with pytest.raises(InterpreterError, match="sends nothing"):
        asyncio.run(local.execute(send))
    assert asyncio.run(local.execute(charge)) is not None


@pytest.mark.parametrize("count", [0, 1_025])
def test_a_nonce_has_a_size(count: int) -> None:
    simulated = SimulationEffectInterpreter(StandingClock())
    with pytest.raises(InterpreterError, match="nonce"):
        asyncio.run(simulated.execute(GenerateNonce(count)))


def test_an_envelope_by_itself_is_not_sent() -> None:
    simulated = SimulationEffectInterpreter(StandingClock())
    with pytest.raises(InterpreterError, match="nothing was charged"):
        asyncio.run(simulated.execute(SendEnvelope("p", b"x", "c", "p")))

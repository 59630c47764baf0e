"""A program's guard effects are asked of the real chain: what is refused ends the program, and nothing happened."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace

import pytest

from antiphon import Journal
from antiphon.choreography import Program
from antiphon.choreography.program import (
    ChargeFlowCost,
    ExecuteGuardChain,
    JournalFact,
    JournalMerge,
    LogEvent,
    RecordLeakage,
    ValidateCapability,
)
from antiphon.facts import AntiphonError, LocalViolation
from antiphon.journal.guard_book import GuardLimits
from antiphon.runtime.choreography import GuardDenied, NoOpHandler, ProgramResult, WithExtensions, run_program
from antiphon.runtime.guards.guard import EffectGuard, HeldCapabilities
from antiphon.runtime.guards.program_effects import MergeFailed, ProgramEffects
from antiphon.runtime.guards.protocol_guard import NOTHING_ASKED

OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]
pytestmark = pytest.mark.asyncio
# A new journal opens its chain with the first fact.
OPENING = 1
LIMITS = GuardLimits(flow=100, leakage={"network": 8})


async def run(journal: Journal, kit: SimpleNamespace, program: Program, **given: object) -> ProgramResult:
    guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("talk:say", NOTHING_ASKED), limits=LIMITS)
    facts = {"said": lambda: kit.Said(text="by a program")}
    effects = ProgramEffects(guard, "home", "ada", "bo", facts, **given)  # type: ignore[arg-type]
    return await run_program(program.end(), WithExtensions(NoOpHandler(), effects.performers()))


async def test_each_effect_is_charged_recorded_or_refused_by_the_chain(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        before = journal.fact_count
        program = (
            Program()
            .ext(ValidateCapability("talk:say", "A"))
            .ext(ChargeFlowCost(60, "A"))
            .ext(RecordLeakage(5, "network", "A"))
            .ext(JournalFact("said", "A"))
            .ext(LogEvent("done"))
            .send("B", "x")
        )
        result = await run(journal, kit, program)
        assert result.final_state == "completed"
        assert result.trace[-1] == "send x to B"
        book = journal.engine.guard_book
        assert book.remaining("home", "bo") == 40
        assert book.remaining_bits("home", "bo", "network", now_ms=journal.engine.clock.now_ms()) == 3
        assert journal.fact_count == before + 1 + OPENING


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (ValidateCapability("talk:moderate", "A"), "missing-capability"),
        (ChargeFlowCost(101, "A"), "insufficient-flow-budget"),
        (RecordLeakage(9, "network", "A"), "insufficient-leakage-budget"),
        (ExecuteGuardChain("talk:say", "A", "talk:say", cost=50, leaks=(("network", 9),)), "insufficient-leakage"),
        (ExecuteGuardChain("talk:say", "A", "talk:say", cost=500, facts=("said",)), "insufficient-flow-budget"),
    ],
)
async def test_a_refused_effect_ends_the_program_and_leaves_nothing(
    open_journal: OpenJournal, kit: SimpleNamespace, refused: object, says: str
) -> None:
    async with open_journal() as journal:
        before = journal.fact_count
        result = await run(journal, kit, Program().ext(refused).send("B", "x"))
        assert isinstance(result.error, GuardDenied)
        assert says in str(result.error)
        assert (result.trace, journal.fact_count) == ((), before)
        assert journal.engine.guard_book.remaining("home", "bo") == 100


async def test_the_whole_chain_is_one_plan(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    async with open_journal() as journal:
        chain = ExecuteGuardChain("talk:say", "A", "talk:say", 30, (("network", 2),), ("said", "said"))
        before = journal.fact_count
        assert (await run(journal, kit, Program().ext(chain))).final_state == "completed"
        assert journal.fact_count == before + 2 + OPENING
        assert journal.engine.guard_book.remaining("home", "bo") == 70


async def test_a_merge_is_guarded_and_brings_what_others_have(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    async with open_journal("ada") as ada, open_journal("bo") as bo:
        await bo.commit(kit.Said(text="elsewhere"))
        program = Program().ext(JournalMerge("A"))
        with pytest.raises(LocalViolation, match="give its effects a merge"):
            raise (await run(ada, kit, program)).error or AssertionError
        assert (await run(ada, kit, program, merge=lambda: ada.sync_with(bo))).final_state == "completed"
        assert ada.fingerprint == bo.fingerprint

        async def unreachable() -> None:
            await asyncio.sleep(0)
            raise AntiphonError("nobody is there")

        assert isinstance((await run(ada, kit, program, merge=unreachable)).error, MergeFailed)


async def test_a_fact_that_nothing_makes_is_named(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    async with open_journal() as journal:
        result = await run(journal, kit, Program().ext(JournalFact("sung", "A")))
        assert "records 'sung', which nothing makes; there are said" in str(result.error)

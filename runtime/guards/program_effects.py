"""The guard effects of programs, performed by the guard chain: each is a request like any other.

Sends nothing; a program's sends are guarded where they leave. A refused effect ends its program, and nothing happened.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from antiphon.choreography.program import (
    ChargeFlowCost,
    ExecuteGuardChain,
    JournalFact,
    JournalMerge,
    LogEvent,
    RecordLeakage,
    ValidateCapability,
)
from antiphon.facts import AntiphonError, Fact, LocalViolation

from ..choreography.errors import ChoreoError, GuardDenied
from .commands import GuardRefused, InterpreterError, LeakClaim, SendRequest
from .guard import EffectGuard, Guarded
from .protocol_guard import NOTHING_ASKED

MakeFact: TypeAlias = Callable[[], Fact]
Merge: TypeAlias = Callable[[], Awaitable[object]]
Perform: TypeAlias = Callable[[Any, Any], Awaitable[object]]
GuardEffect: TypeAlias = (
    ValidateCapability | ChargeFlowCost | RecordLeakage | JournalFact | JournalMerge | ExecuteGuardChain
)
_LOG = logging.getLogger("antiphon.choreography")


class MergeFailed(ChoreoError):
    """The journal could not take in what others have; trying again may work. ``__cause__`` says why."""


class ProgramEffects(NamedTuple):
    """What performs the effects of one role's programs; ``performers`` is for ``WithExtensions``.

        handler = WithExtensions(inner, ProgramEffects(guard, context="home", authority="ada", peer="bo").performers())

    ``facts`` make what a program names; ``merge`` takes in what others have (``lambda: journal.sync(address)``).
    Budgets and leaks are those of ``peer`` in ``context``; a ``ChargeFlowCost`` that names a budget charges that one.
    """

    guard: EffectGuard
    context: str
    authority: str
    peer: str
    facts: Mapping[str, MakeFact] = {}
    merge: Merge | None = None

    def performers(self) -> dict[type[object], Perform]:
        """A performer for each class of effect that ships."""
        guarded: tuple[type[object], ...] = (ValidateCapability, ChargeFlowCost, RecordLeakage, JournalFact)
        one_by_one: dict[type[object], Perform] = dict.fromkeys((*guarded, ExecuteGuardChain), self._perform)
        return one_by_one | {JournalMerge: self._perform_merge, LogEvent: _tell_log}

    async def _perform(self, endpoint: object, effect: GuardEffect) -> Guarded:
        request = self.request_for(effect)
        try:
            return await self.guard.guarded(request)
        except (GuardRefused, InterpreterError) as problem:
            raise GuardDenied(f"{problem.kind}: {request.operation} was refused; {problem}") from problem

    async def _perform_merge(self, endpoint: object, effect: JournalMerge) -> object:
        if self.merge is None:
            raise LocalViolation("a program merges the journal; give its effects a merge, such as a sync with a peer")
        await self._perform(endpoint, effect)
        try:
            return await self.merge()
        except AntiphonError as problem:
            raise MergeFailed(f"the journal took nothing in: {problem}") from problem

    def request_for(self, effect: GuardEffect) -> SendRequest:
        """What the chain is asked about an effect. Raises ``LocalViolation`` for a fact that nothing makes."""
        chain = _as_chain(effect)
        peer = effect.budget if isinstance(effect, ChargeFlowCost) and effect.budget != "flow" else self.peer
        return SendRequest(
            operation=chain.operation,
            context=self.context,
            peer=peer,
            authority=self.authority,
            capability=chain.capability or NOTHING_ASKED,
            cost=chain.cost,
            leaks=tuple(LeakClaim(observer, bits) for observer, bits in chain.leaks),
            facts=tuple(map(self._made, chain.facts)),
        )

    def _made(self, name: str) -> Fact:
        make = self.facts.get(name)
        if make is None:
            known = ", ".join(sorted(self.facts)) or "none"
            raise LocalViolation(f"a program records {name!r}, which nothing makes; there are {known}")
        return make()


def _as_chain(effect: GuardEffect) -> ExecuteGuardChain:
    """Every guard effect is the whole chain, asked for one thing."""
    match effect:
        case ExecuteGuardChain():
            return effect
        case ValidateCapability(capability=capability, role=role):
            return ExecuteGuardChain("program:validate_capability", role, capability)
        case ChargeFlowCost(cost=cost, role=role):
            return ExecuteGuardChain("program:charge_flow_cost", role, cost=cost)
        case RecordLeakage(bits=bits, observer=observer, role=role):
            return ExecuteGuardChain("program:record_leakage", role, leaks=((observer, bits),))
        case JournalFact(fact=fact, role=role):
            return ExecuteGuardChain("program:journal_fact", role, facts=(fact,))
        case JournalMerge(role=role):
            return ExecuteGuardChain("program:journal_merge", role)


async def _tell_log(endpoint: object, effect: LogEvent) -> None:
    _LOG.info(effect.event)

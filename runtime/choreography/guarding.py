"""The seam between a protocol and what guards it: capabilities, budgets and journal facts are asked for here.

Evaluates no guard chain itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from antiphon.choreography import GuardCommand
from antiphon.choreography.program import ChargeFlowCost, JournalFact, ValidateCapability

# An evidence guard's effect, by `Interface.operation`; None says that there is no evidence.
Effects: TypeAlias = Mapping[str, Callable[..., Awaitable[object]]]


class GuardRequest(NamedTuple):
    """A send that is about to happen: what its annotations ask for, and the very bytes that would leave."""

    protocol: str
    role: str
    to: str
    label: str
    data: bytes
    commands: tuple[GuardCommand, ...]


class GuardPort(Protocol):
    """Whoever may refuse a send. Asked once a send, after the protocol and the payload were checked."""

    async def admit(self, request: GuardRequest) -> None:
        """Return when the send may go ahead. Raises ``GuardDenied``; nothing leaves then."""
        ...

    async def sent(self, request: GuardRequest) -> None:
        """The message is with the handler."""
        ...


def guard_performers(
    guard: GuardPort, *, protocol: str = ""
) -> dict[type[object], Callable[[Any, Any], Awaitable[object]]]:
    """What `WithExtensions` needs so that a program's guard effects go through the guard chain, like any send.

    Such an effect asks for one command and sends nothing; refused, it ends the program.
    """

    async def perform(endpoint: object, effect: ValidateCapability | ChargeFlowCost | JournalFact) -> None:
        name = type(effect).__name__
        request = GuardRequest(protocol, effect.role, "", name, b"", (_command(effect),))
        await guard.admit(request)
        await guard.sent(request)

    return dict.fromkeys((ValidateCapability, ChargeFlowCost, JournalFact), perform)


def _command(effect: ValidateCapability | ChargeFlowCost | JournalFact) -> GuardCommand:
    match effect:
        case ValidateCapability(capability=capability, role=role):
            return GuardCommand("GuardCapability", role, capability)
        case ChargeFlowCost(cost=cost, role=role):
            return GuardCommand("FlowCost", role, str(cost))
        case JournalFact(fact=fact, role=role):
            return GuardCommand("JournalFacts", role, fact)

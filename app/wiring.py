"""The one place where an `AppCore` and a runtime meet.

Builds and lends; decides nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from antiphon.journal.delivery import ChatDeliveryPolicy, PolicyAlreadyRegistered
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.entropy import system_random
from antiphon.runtime.guards.guard import EffectGuard
from antiphon.runtime.services.gates import SyncGate

from .bridge import JournalBridge
from .core import AppCore, CoreConfig
from .journal import Journal


def demo_core(author: str = "me", *, config: CoreConfig | None = None) -> AppCore:
    """A core without a runtime, on the system's clock: ``async with demo_core("ada") as core``."""
    return AppCore(config or CoreConfig(author=author), clock=SystemClock(), random_bytes=system_random)


@asynccontextmanager
async def core_of(
    journal: Journal,
    *,
    config: CoreConfig | None = None,
    guard: EffectGuard | None = None,
    gate: SyncGate | None = None,
) -> AsyncIterator[AppCore]:
    """A core over a journal that is open: ``async with core_of(journal) as core``. Leave it before the journal.

    *guard* judges what its intents and its calls to the runtime may do, and pays for what sessions send; without one
    they are the owner's own, and may do everything. *gate* decides whom it serves.
    Peers that do so as well acknowledge messages, unless the journal has a delivery policy for chat already.
    """
    clock = SystemClock()
    if not journal.acks.policies.for_kind("chat.message_sent").ack_kinds:
        with suppress(PolicyAlreadyRegistered):  # one that wants no acknowledgements
            journal.register_delivery_policy("chat", ChatDeliveryPolicy())
    async with (
        JournalBridge(journal, clock=clock, guard=guard, gate=gate) as bridge,
        AppCore.with_runtime(bridge, config, clock=clock, random_bytes=system_random) as core,
    ):
        yield core


@asynccontextmanager
async def open_core(
    path: str | Path, *, author: str | None = None, config: CoreConfig | None = None
) -> AsyncIterator[AppCore]:
    """A core over the journal in the folder *path*, opened or created. Raises what ``Journal.open`` raises."""
    async with Journal.open(path, author=author) as journal, core_of(journal, config=config) as core:
        yield core

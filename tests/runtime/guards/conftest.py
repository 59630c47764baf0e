"""What the tests of guards share: a fact, a clock that a test moves, and journals in a temporary folder."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon import Fact, Journal
from antiphon.runtime.choreography import GuardRequest
from antiphon.runtime.guards.commands import SendRequest
from antiphon.runtime.resilience.budget import Timing


class Said(Fact, kind="guarded.said", version=1):
    text: str


class HasLeft(Fact, kind="guarded.has_left", version=1):
    text: str


class HandClock:
    """Moves when it is told to."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, ms: int) -> None:
        self._now_ms += ms


def request(text: str = "hi", **fields: Any) -> SendRequest:
    given: dict[str, Any] = {
        "operation": "talk:say",
        "context": "home",
        "peer": "bo",
        "authority": "ada",
        "capability": "talk:say",
        "cost": 10,
        "facts": (Said(text=text),),
        "envelope": text.encode(),
    }
    return SendRequest(**(given | fields))


def guard_request(key: Any) -> GuardRequest:
    """A send of a protocol that an endpoint is about to make."""
    return GuardRequest("secure_request.SecureRequest", key.role, key.to, key.label, b"data", ())


async def at_once(seconds: float) -> None:
    """A pause that a test need not wait for."""


@pytest.fixture
def kit() -> SimpleNamespace:
    pace = Timing(elapsed_s=lambda: 0.0, sleep=at_once, chance=lambda: 0.5)
    return SimpleNamespace(
        Said=Said, HasLeft=HasLeft, HandClock=HandClock, request=request, guard_request=guard_request, pace=pace
    )


@pytest.fixture
def open_journal(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Journal]]:
    @asynccontextmanager
    async def opened(name: str = "journal", **options: Any) -> Any:
        async with Journal.open(tmp_path / name, author="ada", types=(Said, HasLeft), **options) as journal:
            yield journal

    return opened

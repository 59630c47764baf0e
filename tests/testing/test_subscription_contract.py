"""The async iterator keeps the contract of subscriptions, and the contract sees surfaces that break it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from antiphon.reactive import Signal, SignalHub, SignalStream, Update, open_stream
from antiphon.testing.contracts.subscription import Show, SubscriptionContract, Surface


class StreamSurface:
    """The async iterator as a surface."""

    def __init__(self, stream: SignalStream[str]) -> None:
        self._stream = stream

    async def next(self) -> Update[str]:
        return await anext(self._stream)


@asynccontextmanager
async def stream_surface(hub: SignalHub, signal: Signal[str]) -> AsyncIterator[Surface]:
    async with open_stream(hub, signal) as stream:
        yield StreamSurface(stream)


@asynccontextmanager
async def newest_only(hub: SignalHub, signal: Signal[str]) -> AsyncIterator[Surface]:
    async with open_stream(hub, signal, policy="latest") as stream:
        yield StreamSurface(stream)


class TestBufferedIterator(SubscriptionContract):
    @pytest.fixture
    def show(self) -> Show:
        return stream_surface


class TestLatestIterator(SubscriptionContract):
    @pytest.fixture
    def show(self) -> Show:
        return newest_only


class Forgetful(StreamSurface):
    """Says of nothing that it was skipped."""

    async def next(self) -> Update[str]:
        return (await super().next())._replace(skipped=0)


class Stale(StreamSurface):
    """Never shows the newest one."""

    def __init__(self, stream: SignalStream[str]) -> None:
        super().__init__(stream)
        self._held: Update[str] | None = None

    async def next(self) -> Update[str]:
        before, self._held = self._held, await super().next()
        return before if before is not None else self._held


class Obedient(StreamSurface):
    """Takes a text for markup."""

    async def next(self) -> Update[str]:
        update = await super().next()
        return update._replace(value=update.value.replace("<script>", ""))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("surface", "claim"),
    [
        (Forgetful, "test_who_is_slow_misses_some_and_never_the_newest"),
        (Stale, "test_every_change_is_shown_to_who_keeps_up"),
    ],
)
async def test_a_surface_that_breaks_its_word_is_seen(surface: type[StreamSurface], claim: str) -> None:
    @asynccontextmanager
    async def show(hub: SignalHub, signal: Signal[str]) -> AsyncIterator[Surface]:
        async with open_stream(hub, signal, policy="latest") as stream:
            yield surface(stream)

    with pytest.raises((AssertionError, TimeoutError)):
        async with asyncio.timeout(5):
            await getattr(SubscriptionContract(), claim)(show)


@pytest.mark.asyncio
async def test_a_surface_that_obeys_a_text_is_seen() -> None:
    @asynccontextmanager
    async def show(hub: SignalHub, signal: Signal[str]) -> AsyncIterator[Surface]:
        async with open_stream(hub, signal) as stream:
            yield Obedient(stream)

    with pytest.raises(AssertionError):
        await SubscriptionContract().test_a_hostile_text_is_shown_and_not_obeyed(show, "<script>x</script>")

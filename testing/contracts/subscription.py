"""What every surface that follows a signal must keep: an async iterator, a web page, a terminal, a notebook widget.

Subclass ``SubscriptionContract`` in a test module and give it a fixture ``show`` (a ``Show``). Needs pytest and
pytest-asyncio. It does not test how a surface looks, only that it tells the truth about the signal behind it.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Protocol

import pytest

from antiphon.reactive import Signal, SignalHub, SignalNotFound, Update

# Longer than any of these steps takes on a loaded machine; reached only when a test fails.
PATIENCE_S = 30.0

WORD_SIGNAL: Signal[str] = Signal("contract:word", str)
"""What the surfaces follow."""

# What a surface may take for its own: markup of a terminal, of a page, of a stream, and what moves a cursor.
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[bold red]not markup[/] [link=https://example.org]x[/link] [@click=app.quit]y[/]",
    "\"'&amp;</textarea>{{7*7}}",
    "two\nlines\r\nid: 7\n\ndata: forged",
    "\x1b]0;title\x07\x1b[2Jgone\u202eback",
)


class Surface(Protocol):
    """One surface at work; left by leaving the context manager that gave it."""

    async def next(self) -> Update[str]:
        """What the surface shows now that this has not returned yet, waiting for it.

        ``value`` is read off the surface as its user gets it (a page's text, a screen's line), with the control
        characters of a text shown in any form that is not obeyed. Raises ``StopAsyncIteration`` after the end.
        """
        ...


class Show(Protocol):
    """Opens a surface on a signal of a hub, at once: raises ``SignalNotFound`` at the call or on entering."""

    def __call__(self, hub: SignalHub, signal: Signal[str], /) -> AbstractAsyncContextManager[Surface]:
        """The surface, while the block runs."""
        ...


def make_hub(first: str = "first") -> SignalHub:
    """A hub with the one signal."""
    hub = SignalHub()
    hub.register(WORD_SIGNAL, first, external=True)
    return hub


def subscriber_count(hub: SignalHub) -> int:
    """How many follow the signal."""
    return next(each.subscriber_count for each in hub.statistics() if each.signal_id == WORD_SIGNAL.signal_id)


def printable(text: str) -> str:
    """A text without what surfaces may show in a form of their own: control and direction characters, line ends, and
    what stands in for them."""
    return "".join(each for each in text if each.isprintable() and each != "\N{REPLACEMENT CHARACTER}")


class SubscriptionContract:
    """Inherit from this, and define a fixture ``show``."""

    @pytest.mark.asyncio
    async def test_the_current_value_comes_first(self, show: Show) -> None:
        """Nobody waits for a change to see what is."""
        hub = make_hub()
        hub.emit(WORD_SIGNAL, "second")
        async with asyncio.timeout(PATIENCE_S), show(hub, WORD_SIGNAL) as surface:
            update = await surface.next()
            assert (update.value, update.seq, update.skipped) == ("second", 1, 0)

    @pytest.mark.asyncio
    async def test_every_change_is_shown_to_who_keeps_up(self, show: Show) -> None:
        """In order, by its version, with nothing skipped."""
        hub = make_hub()
        async with asyncio.timeout(PATIENCE_S), show(hub, WORD_SIGNAL) as surface:
            assert (await surface.next()).seq == 0
            for number in range(1, 6):
                hub.emit(WORD_SIGNAL, f"word {number}")
                update = await surface.next()
                assert (update.value, update.seq, update.skipped) == (f"word {number}", number, 0)

    @pytest.mark.asyncio
    async def test_who_is_slow_misses_some_and_never_the_newest(self, show: Show) -> None:
        """What was missed is counted: each update says how many versions lie between it and the one before."""
        hub = make_hub()
        async with asyncio.timeout(PATIENCE_S), show(hub, WORD_SIGNAL) as surface:
            seen = [await surface.next()]
            for number in range(1, 1_001):
                hub.emit(WORD_SIGNAL, f"word {number}")
            while seen[-1].seq < 1_000:
                seen.append(await surface.next())
            assert seen[-1].value == "word 1000"
            for before, after in pairwise(seen):
                assert after.skipped == after.seq - before.seq - 1
                assert after.seq > before.seq

    @pytest.mark.asyncio
    async def test_an_equal_value_is_not_shown_again(self, show: Show) -> None:
        """The next thing shown is the next change."""
        hub = make_hub()
        async with asyncio.timeout(PATIENCE_S), show(hub, WORD_SIGNAL) as surface:
            await surface.next()
            assert not hub.emit(WORD_SIGNAL, "first")
            hub.emit(WORD_SIGNAL, "other")
            assert (await surface.next()).value == "other"

    @pytest.mark.asyncio
    async def test_leaving_ends_the_subscription(self, show: Show) -> None:
        """Nothing is left behind in the hub, and emitting goes on as before."""
        hub = make_hub()
        async with asyncio.timeout(PATIENCE_S), show(hub, WORD_SIGNAL) as surface:
            await surface.next()
            assert subscriber_count(hub) >= 1
        assert subscriber_count(hub) == 0
        assert hub.emit(WORD_SIGNAL, "unseen")

    @pytest.mark.asyncio
    async def test_who_comes_back_sees_what_is(self, show: Show) -> None:
        """A surface that was away shows the present, whatever it missed."""
        hub = make_hub()
        async with asyncio.timeout(PATIENCE_S):
            async with show(hub, WORD_SIGNAL) as surface:
                await surface.next()
            for number in range(1, 400):
                hub.emit(WORD_SIGNAL, f"word {number}")
            async with show(hub, WORD_SIGNAL) as surface:
                assert (await surface.next()).value == "word 399"

    @pytest.mark.asyncio
    async def test_one_that_is_not_read_harms_no_other(self, show: Show) -> None:
        """A second surface gets what the first leaves lying."""
        hub = make_hub()
        async with asyncio.timeout(PATIENCE_S), show(hub, WORD_SIGNAL), show(hub, WORD_SIGNAL) as read:
            await read.next()
            for number in range(1, 4):
                hub.emit(WORD_SIGNAL, f"word {number}")
                assert (await read.next()).value == f"word {number}"

    @pytest.mark.asyncio
    async def test_the_end_of_the_hub_is_told(self, show: Show) -> None:
        """After what was shown last, and every time one asks."""
        hub = make_hub()
        async with asyncio.timeout(PATIENCE_S), show(hub, WORD_SIGNAL) as surface:
            await surface.next()
            hub.emit(WORD_SIGNAL, "last")
            assert (await surface.next()).value == "last"
            hub.close()
            for _ in range(2):
                with pytest.raises(StopAsyncIteration):
                    await surface.next()

    @pytest.mark.asyncio
    async def test_a_signal_that_nobody_registered_is_refused_at_once(self, show: Show) -> None:
        """Not after a wait, and not by an empty screen."""
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(SignalNotFound):
                async with show(SignalHub(), WORD_SIGNAL):
                    pass

    @pytest.mark.asyncio
    @pytest.mark.parametrize("text", HOSTILE)
    async def test_a_hostile_text_is_shown_and_not_obeyed(self, show: Show, text: str) -> None:
        """Whatever is printable arrives, letter for letter; and what follows it arrives as well."""
        hub = make_hub(text)
        async with asyncio.timeout(PATIENCE_S), show(hub, WORD_SIGNAL) as surface:
            assert printable(text) in printable((await surface.next()).value)
            hub.emit(WORD_SIGNAL, "after")
            assert (await surface.next()).value == "after"

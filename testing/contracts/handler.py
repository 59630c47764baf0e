"""What every handler of messages must keep: order, isolation, the owner's timeouts alone, an end that is told.

Subclass ``HandlerContract`` in a test module and give it an async fixture ``network``: a function that makes connected
handlers for the roles it is given, each with the endpoint it works with. Needs pytest and pytest-asyncio. What a
protocol allows is not tested here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from antiphon.runtime.choreography import (
    ChannelClosed,
    ChoreoHandler,
    Labelled,
    MalformedMessage,
    TimedOut,
    UnexpectedMessage,
)
from antiphon.runtime.choreography.profiles import validate_profile

# Longer than any of these steps takes on a loaded machine; reached only when a test fails.
PATIENCE_S = 20.0


class Seat(NamedTuple):
    """A role's handler and the endpoint it works with."""

    handler: ChoreoHandler[Any]
    endpoint: Any


Network = Callable[..., Awaitable[dict[str, Seat]]]


@dataclass(frozen=True)
class Note:
    """A message of the suite."""

    number: int
    text: str = ""


@dataclass
class Basket:
    """A message that can be changed after it was sent."""

    items: list[int]


class HandlerContract:
    """Inherit from this, and define an async fixture ``network``.

    ``message_bytes_max`` is the largest message a handler must carry.
    """

    message_bytes_max = 1024 * 1024

    @pytest.mark.asyncio
    async def test_messages_of_one_pair_arrive_in_the_order_they_were_sent(self, network: Network) -> None:
        """Labels and messages alike."""
        ada, bob = await _two(network)
        async with asyncio.timeout(PATIENCE_S):
            for number in range(50):
                await ada.handler.send(ada.endpoint, "Bob", Note(number))
                await ada.handler.choose(ada.endpoint, "Bob", f"label {number}")
            for number in range(50):
                assert await bob.handler.recv(bob.endpoint, "Ada", Note) == Note(number)
                assert await bob.handler.offer(bob.endpoint, "Ada") == f"label {number}"

    @pytest.mark.asyncio
    async def test_both_directions_are_independent(self, network: Network) -> None:
        """Neither waits for the other's words."""
        ada, bob = await _two(network)
        async with asyncio.timeout(PATIENCE_S):
            await ada.handler.send(ada.endpoint, "Bob", Note(1))
            await bob.handler.send(bob.endpoint, "Ada", Note(2))
            assert await ada.handler.recv(ada.endpoint, "Bob", Note) == Note(2)
            assert await bob.handler.recv(bob.endpoint, "Ada", Note) == Note(1)

    @pytest.mark.asyncio
    async def test_what_two_roles_say_a_third_does_not_hear(self, network: Network) -> None:
        """A queue belongs to one ordered pair."""
        seats = await network("Ada", "Bob", "Cyd")
        ada, bob, cyd = seats["Ada"], seats["Bob"], seats["Cyd"]
        async with asyncio.timeout(PATIENCE_S):
            await ada.handler.send(ada.endpoint, "Bob", Note(1))
            await bob.handler.send(bob.endpoint, "Cyd", Note(2))
            await ada.handler.send(ada.endpoint, "Cyd", Note(3))
            assert await cyd.handler.recv(cyd.endpoint, "Ada", Note) == Note(3)
            assert await cyd.handler.recv(cyd.endpoint, "Bob", Note) == Note(2)
            assert await bob.handler.recv(bob.endpoint, "Ada", Note) == Note(1)

    @pytest.mark.asyncio
    async def test_receiving_before_sending_waits(self, network: Network) -> None:
        """Who is early gets the message all the same."""
        ada, bob = await _two(network)
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            waiting = group.create_task(bob.handler.recv(bob.endpoint, "Ada", Note))
            await asyncio.sleep(0)
            assert not waiting.done()
            await ada.handler.send(ada.endpoint, "Bob", Note(7))
            assert await waiting == Note(7)

    @pytest.mark.asyncio
    async def test_a_choice_is_offered(self, network: Network) -> None:
        """A label that travels alone is taken by the offer; any text is a label."""
        ada, bob = await _two(network)
        async with asyncio.timeout(PATIENCE_S):
            for label in ("yes", "", "ein Wort · 一 · \n", "x" * 1_000):
                await ada.handler.choose(ada.endpoint, "Bob", label)
                assert await bob.handler.offer(bob.endpoint, "Ada") == label

    @pytest.mark.asyncio
    async def test_an_offered_message_is_still_to_be_received(self, network: Network) -> None:
        """Looking at its name takes it from nobody, however often."""
        ada, bob = await _two(network)
        async with asyncio.timeout(PATIENCE_S):
            await ada.handler.send(ada.endpoint, "Bob", Note(4))
            assert [await bob.handler.offer(bob.endpoint, "Ada") for _ in range(2)] == ["Note", "Note"]
            assert await bob.handler.recv(bob.endpoint, "Ada", Note) == Note(4)

    @pytest.mark.asyncio
    async def test_a_message_may_travel_under_another_name(self, network: Network) -> None:
        """Plain data too."""
        ada, bob = await _two(network)
        async with asyncio.timeout(PATIENCE_S):
            await ada.handler.send(ada.endpoint, "Bob", Labelled("Price", {"pence": 5}))
            await ada.handler.send(ada.endpoint, "Bob", Labelled("Gone", None))
            assert await bob.handler.offer(bob.endpoint, "Ada") == "Price"
            assert await bob.handler.recv(bob.endpoint, "Ada", label="Price") == {"pence": 5}
            assert await bob.handler.recv(bob.endpoint, "Ada", label="Gone") is None

    @pytest.mark.asyncio
    async def test_what_is_changed_after_sending_is_not_what_arrives(self, network: Network) -> None:
        """A message is a copy."""
        ada, bob = await _two(network)
        basket = Basket([1, 2])
        async with asyncio.timeout(PATIENCE_S):
            await ada.handler.send(ada.endpoint, "Bob", basket)
            basket.items.append(3)
            assert await bob.handler.recv(bob.endpoint, "Ada", Basket) == Basket([1, 2])

    @pytest.mark.asyncio
    async def test_empty_and_large_messages_arrive_whole(self, network: Network) -> None:
        """The largest is a fifth smaller than the bound, which counts what is around it too."""
        ada, bob = await _two(network)
        texts = ["", "x" * (self.message_bytes_max * 4 // 5)]
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            for text in texts:
                sending = group.create_task(ada.handler.send(ada.endpoint, "Bob", Note(0, text)))
                assert await bob.handler.recv(bob.endpoint, "Ada", Note) == Note(0, text)
                await sending

    @pytest.mark.asyncio
    async def test_another_message_than_was_asked_for_is_left_where_it_is(self, network: Network) -> None:
        """The peer's error; the right question still gets it."""
        ada, bob = await _two(network)
        async with asyncio.timeout(PATIENCE_S):
            await ada.handler.send(ada.endpoint, "Bob", Note(1))
            with pytest.raises(UnexpectedMessage, match="Note"):
                await bob.handler.recv(bob.endpoint, "Ada", Basket)
            assert await bob.handler.recv(bob.endpoint, "Ada", Note) == Note(1)
            await ada.handler.choose(ada.endpoint, "Bob", "Note")
            with pytest.raises(UnexpectedMessage):
                await bob.handler.recv(bob.endpoint, "Ada", Note)
            assert await bob.handler.offer(bob.endpoint, "Ada") == "Note"

    @pytest.mark.asyncio
    async def test_a_message_that_cannot_be_read_is_the_peers_error(self, network: Network) -> None:
        """And it is left where it is."""
        ada, bob = await _two(network)
        async with asyncio.timeout(PATIENCE_S):
            await ada.handler.send(ada.endpoint, "Bob", Labelled("Note", {"number": "one"}))
            with pytest.raises(MalformedMessage, match="number"):
                await bob.handler.recv(bob.endpoint, "Ada", Note)
            assert await bob.handler.recv(bob.endpoint, "Ada", label="Note") == {"number": "one"}

    @pytest.mark.asyncio
    async def test_a_cancelled_receive_takes_nothing(self, network: Network) -> None:
        """What comes afterwards goes to who asks afterwards."""
        ada, bob = await _two(network)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await bob.handler.recv(bob.endpoint, "Ada", Note)
            await ada.handler.send(ada.endpoint, "Bob", Note(1))
            assert await bob.handler.recv(bob.endpoint, "Ada", Note) == Note(1)

    @pytest.mark.asyncio
    async def test_only_the_owner_of_a_clock_cuts_off(self, network: Network) -> None:
        """For others the body runs to its end."""
        ada, bob = await _two(network)
        endless: asyncio.Event = asyncio.Event()
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(TimedOut):
                await ada.handler.with_timeout(ada.endpoint, "Ada", 0.001, endless.wait())

            async def slow() -> str:
                with pytest.raises(TimedOut):
                    await ada.handler.with_timeout(ada.endpoint, "Ada", 0.001, endless.wait())
                return "done"

            assert await bob.handler.with_timeout(bob.endpoint, "Ada", 0.0, slow()) == "done"
            assert await ada.handler.with_timeout(ada.endpoint, "Ada", 5.0, _at_once()) == "in time"

    @pytest.mark.asyncio
    async def test_a_closed_session_is_told_after_its_last_words(self, network: Network) -> None:
        """Whoever waits is woken, and whoever sends is told sooner or later."""
        ada, bob = await _two(network)

        async def hear() -> None:
            assert await bob.handler.recv(bob.endpoint, "Ada", Note) == Note(1)
            for _ in range(2):
                with pytest.raises(ChannelClosed):
                    await bob.handler.recv(bob.endpoint, "Ada", Note)

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(hear())
            await asyncio.sleep(0)
            await ada.handler.send(ada.endpoint, "Bob", Note(1))
            await ada.handler.close(ada.endpoint)
            await ada.handler.close(ada.endpoint)
        with pytest.raises(ChannelClosed):
            await ada.handler.send(ada.endpoint, "Bob", Note(2))
        with pytest.raises(ChannelClosed):
            await asyncio.wait_for(_send_without_end(bob, "Ada"), PATIENCE_S)

    @pytest.mark.asyncio
    async def test_a_broadcast_reaches_all_and_a_parallel_send_each_its_own(self, network: Network) -> None:
        """In the given order."""
        seats = await network("Ada", "Bob", "Cyd")
        ada, bob, cyd = seats["Ada"], seats["Bob"], seats["Cyd"]
        async with asyncio.timeout(PATIENCE_S):
            await ada.handler.broadcast(ada.endpoint, ["Bob", "Cyd"], Note(1))
            await ada.handler.parallel_send(ada.endpoint, [("Bob", Note(2)), ("Cyd", Note(3))])
            for seat, second in ((bob, Note(2)), (cyd, Note(3))):
                assert await seat.handler.recv(seat.endpoint, "Ada", Note) == Note(1)
                assert await seat.handler.recv(seat.endpoint, "Ada", Note) == second

    @pytest.mark.asyncio
    async def test_it_says_of_itself_what_can_be_so(self, network: Network) -> None:
        """And that it carries messages."""
        ada, _ = await _two(network)
        assert validate_profile(ada.handler.profile) == ()
        assert ada.handler.profile.tier == "full_protocol"


async def _two(network: Network) -> tuple[Seat, Seat]:
    seats = await network("Ada", "Bob")
    return seats["Ada"], seats["Bob"]


async def _send_without_end(seat: Seat, to: str) -> None:
    while True:
        await seat.handler.send(seat.endpoint, to, Note(3))
        await asyncio.sleep(0)


async def _at_once() -> str:
    return "in time"

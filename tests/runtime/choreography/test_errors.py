"""Errors say whose move it is, and where: wrappers peel off, and the first cause is Python's cause, too."""

import asyncio
from random import Random

import pytest

from antiphon.choreography import compile_choreography
from antiphon.facts import AntiphonError, LocalViolation, RemoteViolation
from antiphon.runtime.choreography import (
    ChannelClosed,
    ChannelSendFailed,
    Endpoint,
    GuardFailed,
    InContext,
    InMemoryHandler,
    MalformedMessage,
    ProtocolViolation,
    Session,
    TransportFailed,
    UnexpectedMessage,
)
from antiphon.runtime.choreography.handlers.memory import Item
from antiphon.runtime.choreography.player import Player
from antiphon.runtime.transports.transport import PeerUnreachable


def test_a_cause_is_found_below_any_number_of_contexts() -> None:
    cause = TransportFailed("the line is dead")
    wrapped = InContext("protocol Booking, phase 2", InContext("role Guest", cause))
    assert wrapped.root_cause() is cause
    assert str(wrapped) == "protocol Booking, phase 2: role Guest: the line is dead"
    assert wrapped.__cause__ is not None
    assert wrapped.__cause__.__cause__ is cause
    assert InContext("reading", KeyError("x")).root_cause().args == ("x",)


def test_ours_the_peers_and_the_worlds_errors_are_told_apart() -> None:
    assert issubclass(ProtocolViolation, LocalViolation)
    assert issubclass(UnexpectedMessage, RemoteViolation)
    assert issubclass(MalformedMessage, RemoteViolation)
    world = (ChannelClosed, TransportFailed, ChannelSendFailed)
    assert not any(issubclass(one, LocalViolation | RemoteViolation) for one in world)
    assert all(issubclass(one, AntiphonError) for one in world)


@pytest.mark.asyncio
async def test_a_player_that_waits_for_nobody_still_lets_others_on() -> None:
    protocol = compile_choreography("protocol P =\n  roles A, B\n  loop forever\n    A -> B : Tick\n")
    endpoint = Endpoint.of(protocol, "A", InMemoryHandler.network("A", "B")[0])
    playing = asyncio.create_task(Player(endpoint, Random(1), steps_max=10_000).play())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not playing.done()  # so that an interrupt is heard in time
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing


@pytest.mark.asyncio
async def test_a_player_says_which_role_failed() -> None:
    protocol = compile_choreography(
        "protocol P =\n  roles A, B\n  choice A at\n    | X when (ghost) =>\n      A -> B : X\n"
    )
    endpoint = Endpoint.of(protocol, "A", InMemoryHandler("A"))
    with pytest.raises(InContext, match="role A: X may not be chosen: ghost is not given") as told:
        await Player(endpoint, Random(1)).play()
    assert isinstance(told.value.root_cause(), GuardFailed)


@pytest.mark.asyncio
async def test_a_connection_that_fails_for_now_is_worth_another_try() -> None:
    class Away:
        peer = "Bob"

        async def send(self, *frames: bytes) -> None:
            raise PeerUnreachable("nobody answers")

    with pytest.raises(ChannelSendFailed, match="could not send to Bob: nobody answers") as told:
        await Session(Away()).put(Item("Note", b"1"))  # type: ignore[arg-type]
    assert isinstance(told.value, TransportFailed)

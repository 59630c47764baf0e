"""Recording, nothing and a script: exact events, exact errors; and what handlers may say of themselves."""

import asyncio

import pytest

from antiphon.choreography import compile_choreography
from antiphon.runtime.choreography import (
    CannotProduce,
    Endpoint,
    HandlerProfile,
    InMemoryHandler,
    InvalidProfile,
    Labelled,
    NoOpHandler,
    ProtocolViolation,
    RecordedEvent,
    RecordingHandler,
    Retry,
    TransportFailed,
    UnexpectedMessage,
    require_profile,
    validate_profile,
)
from antiphon.testing.contracts.handler import Note
from antiphon.testing.mock_handler import MockHandler, Scripted


@pytest.mark.asyncio
async def test_a_recording_lists_what_was_asked_and_cannot_receive() -> None:
    recording = RecordingHandler("Ada")
    twin = recording.clone()
    await recording.send(None, "Bob", Note(1))
    await twin.choose(None, "Bob", "yes")
    with pytest.raises(CannotProduce, match="cannot produce values"):
        await recording.recv(None, "Bob", Note)
    with pytest.raises(CannotProduce, match="cannot produce labels"):
        await recording.offer(None, "Bob")
    events = recording.events()
    assert events == (
        RecordedEvent("send", "Ada", "Bob", "Note"),
        RecordedEvent("choose", "Ada", "Bob", "yes"),
        RecordedEvent("recv", "Bob", "Ada", "Note"),
        RecordedEvent("offer", "Bob", "Ada"),
    )
    recording.clear()
    assert (twin.events(), len(events)) == ((), 4)


@pytest.mark.asyncio
async def test_a_recording_around_a_handler_keeps_outcomes() -> None:
    ada, bob = InMemoryHandler.network("Ada", "Bob")
    recording = RecordingHandler("Bob", bob)
    await ada.choose(None, "Bob", "yes")
    await ada.send(None, "Bob", Note(1))
    assert await recording.offer(None, "Ada") == "yes"
    with pytest.raises(UnexpectedMessage):
        await recording.recv(None, "Ada", label="Price")
    assert await recording.recv(None, "Ada", Note) == Note(1)
    assert [(event.kind, event.what, event.outcome) for event in recording.events()] == [
        ("offer", "yes", "ok"),
        ("recv", "Price", "UnexpectedMessage"),
        ("recv", "Note", "ok"),
    ]


@pytest.mark.asyncio
async def test_nothing_sends_into_nothing_and_cannot_receive() -> None:
    handler = NoOpHandler()
    await handler.send(None, "Bob", object())
    await handler.choose(None, "Bob", "yes")
    await handler.broadcast(None, ["Bob", "Cyd"], 1)
    # An error of transport, as for whoever expects a peer: one clause catches it.
    assert issubclass(CannotProduce, TransportFailed)
    with pytest.raises(CannotProduce, match="cannot receive"):
        await handler.recv(None, "Bob")
    with pytest.raises(CannotProduce, match="cannot offer"):
        await handler.offer(None, "Bob")
    assert await handler.with_timeout(None, "Ada", 0.0, asyncio.sleep(0, "body")) == "body"


@pytest.mark.asyncio
async def test_a_script_drives_an_endpoint_and_whatever_leaves_it_is_named() -> None:
    protocol = compile_choreography(
        "protocol P =\n  roles Ada, Bob\n  Ada -> Bob : Ask(n : u8)\n  Bob -> Ada : Answer(n : u8)\n"
    )
    script = [Scripted("send", "Bob", "Ask"), Scripted("recv", "Bob", "Answer", {"n": 2})]
    handler = MockHandler("Ada", script)
    async with Endpoint.of(protocol, "Ada", handler) as ada:
        await ada.send("Bob", {"n": 1}, label="Ask")
        assert await ada.recv("Bob") == {"n": 2}
    handler.assert_done()
    with pytest.raises(ProtocolViolation, match="expected: nothing"):
        await handler.choose(None, "Bob", "more")
    left = MockHandler("Ada", [Scripted("send", "Bob", "Ask", fails=TransportFailed("down"))])
    with pytest.raises(AssertionError, match="never asked to send Ask to Bob"):
        left.assert_done()
    with pytest.raises(TransportFailed):
        await left.send(None, "Bob", Labelled("Ask", 1))


def test_a_profile_that_cannot_be_so_is_told_rule_by_rule() -> None:
    for handler in (NoOpHandler(), RecordingHandler("Ada"), InMemoryHandler("Ada"), MockHandler("Ada", [])):
        assert validate_profile(handler.profile) == ()
        assert validate_profile(Retry(handler).profile) == ()
    harness = HandlerProfile("observational_harness", delivery="none")
    assert validate_profile(harness) == ("an observational harness receives only what it makes up",)
    assert len(validate_profile(HandlerProfile(keeps_order=False, receives=False, delivery="none", retries=True))) == 4
    with pytest.raises(InvalidProfile, match="keeps the order"):
        require_profile(HandlerProfile(keeps_order=False))

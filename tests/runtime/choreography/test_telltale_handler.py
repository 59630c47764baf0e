"""The handler over connections: the contract in memory and over TCP, its registry, and a machine that is kept to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from antiphon.choreography import compile_choreography
from antiphon.facts import LocalViolation
from antiphon.runtime.choreography import (
    InMemoryHandler,
    Labelled,
    MalformedMessage,
    NoPeerChannel,
    ProtocolViolation,
    SerializationFailed,
    Session,
    SessionMetadata,
    TelltaleEndpoint,
    TelltaleHandler,
    Trace,
    UnexpectedMessage,
)
from antiphon.runtime.choreography.handlers.memory import Item
from antiphon.runtime.choreography.handlers.telltale import frame_item, item_frame
from antiphon.runtime.transports.tcp import connect, listen
from antiphon.testing.contracts.handler import HandlerContract, Network, Note, Seat

Pairing = Callable[[], Awaitable[tuple[Session, Session]]]


def network_of(pair: Pairing) -> Network:
    async def make(*roles: str) -> dict[str, Seat]:
        endpoints = {role: TelltaleEndpoint(role) for role in roles}
        for one, other in combinations(roles, 2):
            here, there = await pair()
            endpoints[one].register(other, here)
            endpoints[other].register(one, there)
        return {role: Seat(TelltaleHandler(role), endpoint) for role, endpoint in endpoints.items()}

    return make


class TestOverMemory(HandlerContract):
    """Every claim of the contract, over connections inside the process."""

    @pytest_asyncio.fixture
    async def network(self) -> Network:
        async def pair() -> tuple[Session, Session]:
            return Session.pair()

        return network_of(pair)


class TestOverTcp(HandlerContract):
    """Every claim of the contract, over real sockets."""

    @pytest_asyncio.fixture
    async def network(self) -> AsyncIterator[Network]:
        async with AsyncExitStack() as open_things:
            listener = await listen("tcp://127.0.0.1:0")
            open_things.push_async_callback(listener.close)

            async def pair() -> tuple[Session, Session]:
                async with asyncio.TaskGroup() as group:
                    accepting = group.create_task(listener.accept())
                    here = await connect(listener.address, timeout=10.0)
                there = accepting.result()
                open_things.callback(here.drop)
                open_things.callback(there.drop)
                return Session(here), Session(there)

            yield network_of(pair)


class TestOverStreams(HandlerContract):
    """Sessions over streams that somebody else opened."""

    @pytest_asyncio.fixture
    async def network(self, tmp_path: Path) -> AsyncIterator[Network]:
        async with AsyncExitStack() as open_things:
            arrived: asyncio.Queue[Session] = asyncio.Queue()

            def cut(writer: asyncio.StreamWriter) -> None:
                """Keeps the writer until then: one that is collected unclosed complains."""
                writer.transport.abort()

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                open_things.callback(cut, writer)
                await arrived.put(Session.from_stream(reader, writer, peer="caller"))

            server = await asyncio.start_unix_server(accept, str(tmp_path / "it.sock"))
            open_things.callback(server.close)

            async def pair() -> tuple[Session, Session]:
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "it.sock"))
                open_things.callback(cut, writer)
                return Session.from_stream(reader, writer), await arrived.get()

            yield network_of(pair)


class TestTracedTelltale(HandlerContract):
    """Middleware is a handler, too."""

    @pytest_asyncio.fixture
    async def network(self) -> Network:
        async def pair() -> tuple[Session, Session]:
            return Session.pair()

        make = network_of(pair)

        async def traced(*roles: str) -> dict[str, Seat]:
            seats = await make(*roles)
            return {role: Seat(Trace(seat.handler, role), seat.endpoint) for role, seat in seats.items()}

        return traced


@pytest.mark.asyncio
async def test_a_peer_without_a_session_is_named_before_any_io() -> None:
    here, _ = Session.pair()
    endpoint = TelltaleEndpoint("Ada")
    endpoint.register("Bob", here)
    with pytest.raises(NoPeerChannel, match="no channel to 'Cyd' is registered; there are Bob"):
        await TelltaleHandler("Ada").send(endpoint, "Cyd", Note(1))


@pytest.mark.asyncio
async def test_the_registry_opens_replaces_and_closes() -> None:
    endpoint = TelltaleEndpoint("Ada")
    first, _ = Session.pair()
    second, _ = Session.pair()
    endpoint.register("Bob", first)
    endpoint.register("Bob", second)
    endpoint.register("Cyd", first)
    assert (endpoint.has_channel("Bob"), endpoint.active_count, endpoint.is_all_closed) == (True, 2, False)
    assert await endpoint.close_channel("Bob") is True
    assert await endpoint.close_channel("Bob") is False
    await endpoint.close_all()
    assert (endpoint.has_channel("Cyd"), endpoint.active_count, endpoint.is_all_closed) == (False, 0, True)


@pytest.mark.asyncio
async def test_each_success_is_counted_for_its_peer() -> None:
    here, there = Session.pair()
    ada, bob = TelltaleEndpoint("Ada"), TelltaleEndpoint("Bob")
    ada.register("Bob", here)
    bob.register("Ada", there)
    handler = TelltaleHandler("Ada")
    assert ada.metadata("Bob") == SessionMetadata("Initial", 0, False)
    await handler.send(ada, "Bob", Note(1))
    await handler.choose(ada, "Bob", "yes")
    with pytest.raises(SerializationFailed):
        await handler.send(ada, "Bob", object())
    assert ada.metadata("Bob") == SessionMetadata("Choose", 2, False)
    await TelltaleHandler("Bob").recv(bob, "Ada", Note)
    await TelltaleHandler("Bob").offer(bob, "Ada")
    assert bob.metadata("Ada") == SessionMetadata("Offer", 2, False)


ASK = compile_choreography(
    "protocol P =\n  roles Ada, Bob\n  Ada -> Bob : Note\n  choice Bob at\n    | yes =>\n      Bob -> Ada : Price\n"
    "    | No =>\n      Bob -> Ada : No\n"
)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ((ASK.fsm["Ada"],), "a role is a name, and an object of StateMachine is none"),
        (("",), "a role is a name"),
        (("Bob", ASK.fsm["Ada"]), r"Bob needs its own machine, and got that of Ada; take protocol.fsm\['Bob'\]"),
        (("Bob", "Ada"), "got 'Ada', which is none"),
    ],
)
def test_a_machine_in_the_place_of_the_role_or_of_another_role_is_refused(asked: tuple[Any, ...], says: str) -> None:
    with pytest.raises(LocalViolation, match=says):
        TelltaleEndpoint(*asked)


@pytest.mark.asyncio
async def test_a_violation_keeps_the_channel_and_the_protocol_goes_on() -> None:
    here, there = Session.pair()
    ada, bob = (TelltaleEndpoint(role, ASK.fsm[role]) for role in ("Ada", "Bob"))
    ada.register("Bob", here)
    bob.register("Ada", there)
    handler, other = TelltaleHandler("Ada"), TelltaleHandler("Bob")
    for wrong in (
        lambda: handler.send(ada, "Bob", Labelled("Price", 1)),
        lambda: handler.recv(ada, "Bob"),
        lambda: handler.choose(ada, "Bob", "Note"),
    ):
        with pytest.raises(ProtocolViolation, match="expected: send"):
            await wrong()
    assert (ada.has_channel("Bob"), ada.state) == (True, 0)
    await handler.send(ada, "Bob", Note(1))
    assert await other.recv(bob, "Ada", Note) == Note(1)
    await other.choose(bob, "Ada", "yes")
    await other.send(bob, "Ada", Labelled("Price", 3))
    assert await handler.offer(ada, "Bob") == "yes"
    assert await handler.recv(ada, "Bob", label="Price") == 3
    assert ada.is_complete
    assert bob.metadata("Ada").is_complete


@pytest.mark.asyncio
async def test_a_peer_that_breaks_the_protocol_is_told_apart_and_its_message_stays() -> None:
    here, there = Session.pair()
    bob = TelltaleEndpoint("Bob", ASK.fsm["Bob"])
    bob.register("Ada", there)
    await here.put(Item("Ghost", b"1"))
    for attempt in (TelltaleHandler("Bob").offer, TelltaleHandler("Bob").recv):
        with pytest.raises(UnexpectedMessage, match="Ada sent Ghost; expected: Note"):
            await attempt(bob, "Ada")
    assert bob.state == 0


@given(st.text(max_size=50), st.none() | st.binary(max_size=50))
def test_an_item_comes_back_from_its_frame(label: str, data: bytes | None) -> None:
    try:
        label.encode()
    except UnicodeEncodeError:
        return
    assert frame_item(item_frame(Item(label, data))) == Item(label, data)


@given(st.binary(max_size=20))
def test_a_frame_is_an_item_or_malformed(frame: bytes) -> None:
    try:
        item = frame_item(frame)
    except MalformedMessage:
        return
    assert item_frame(item) == frame


def test_a_message_beyond_a_frame_is_the_senders_error() -> None:
    with pytest.raises(SerializationFailed, match="a frame has at most"):
        item_frame(Item("Note", bytes(1024 * 1024)))
    assert InMemoryHandler("Ada").profile.delivery == "exactly_once"


@pytest.mark.parametrize("label", ["x" * 70_000, "\ud800"])
def test_a_label_that_no_frame_carries_is_the_senders_error(label: str) -> None:
    with pytest.raises(SerializationFailed, match="cannot be written"):
        item_frame(Item(label, None))

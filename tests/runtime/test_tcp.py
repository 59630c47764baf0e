"""TCP and the in-process pair keep the transport's contract; sockets that misbehave are told apart and bounded."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from antiphon.facts import LocalViolation
from antiphon.journal.sync.messages import FRAME_BYTES_MAX, OversizedFrame
from antiphon.runtime.transports.memory import memory_pair
from antiphon.runtime.transports.tcp import BACKLOG_MAX, GOODBYE_TIMEOUT_S, TcpConnection, connect, listen
from antiphon.runtime.transports.transport import PeerLost, PeerUnreachable, TransportError, parse_address
from antiphon.testing.contracts.transport import Pair, TransportContract

LOOPBACK = "tcp://127.0.0.1:0"


class TestMemory(TransportContract):
    @pytest.fixture
    def pair(self) -> Pair:
        return memory_pair()


class TestTcp(TransportContract):
    @pytest_asyncio.fixture
    async def pair(self) -> AsyncIterator[Pair]:
        listener = await listen(LOOPBACK)
        here = await connect(listener.address)
        there = await listener.accept()
        yield here, there
        here.drop()
        there.drop()
        await listener.close()
        await asyncio.sleep(0)


async def raw_peer(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    target = parse_address(address)
    return await asyncio.open_connection(target.host, target.port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:1",
        "tcp://",
        "tcp://:1",
        "tcp://host",
        "tcp://host:",
        "tcp://host:x",
        "tcp://host:-1",
        "udp://host:1",
        "tcp://host:65536",
        "tcp://host:1/path",
        "tcp://::1:1",
        "tcp://a b:1",
        "tcp://user@host:1",
        "tcp://host:１",
        "tcp://host:1 ",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LocalViolation, match=r"tcp://host:port|65535"):
        parse_address(text)


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:7070", "tcp://localhost:0", "tcp://[::1]:7070"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.asyncio
async def test_a_free_port_is_told() -> None:
    listener = await listen(LOOPBACK)
    assert parse_address(listener.address).port > 0
    await listener.close()


@pytest.mark.asyncio
async def test_a_port_that_is_taken_is_the_callers_business() -> None:
    listener = await listen(LOOPBACK)
    with pytest.raises(LocalViolation, match="a free port"):
        await listen(listener.address)
    await listener.close()


@pytest.mark.asyncio
async def test_an_address_that_nobody_answers_is_named_with_what_to_do() -> None:
    listener = await listen(LOOPBACK)
    address = listener.address
    await listener.close()
    with pytest.raises(PeerUnreachable, match=r"127\.0\.0\.1:\d+.*check the address"):
        await connect(address)


@pytest.mark.asyncio
async def test_a_host_that_swallows_the_call_is_given_up_in_time() -> None:
    """A full backlog on loopback: the kernel answers nothing, as a firewall would."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
            fillers.append(filler)
        with pytest.raises(PeerUnreachable, match=r"within 0\.05 s"):
            await connect(f"tcp://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.05)
        for filler in fillers:
            filler.close()


@pytest.mark.asyncio
async def test_port_zero_is_no_address_to_call() -> None:
    with pytest.raises(LocalViolation, match="port 0"):
        await connect(LOOPBACK)


def test_nobody_answering_may_be_tried_again() -> None:
    assert issubclass(PeerUnreachable, TransportError)
    assert issubclass(PeerLost, TransportError)


@pytest.mark.asyncio
@pytest.mark.parametrize("length", [0, FRAME_BYTES_MAX + 1, 2**32 - 1])
async def test_a_length_out_of_bounds_is_refused_before_the_body_is_read(length: int) -> None:
    listener = await listen(LOOPBACK)
    _, writer = await raw_peer(listener.address)
    victim = await listener.accept()
    writer.write(b"\0\0\0\2ok" + length.to_bytes(4, "big") + bytes(100_000))
    assert await victim.receive() == b"ok"
    with pytest.raises(OversizedFrame, match=str(length)):
        await victim.receive()
    assert victim.statistics().buffered_bytes < 300_000
    victim.drop()
    writer.transport.abort()
    await listener.close()


@pytest.mark.asyncio
async def test_frames_are_cut_right_whatever_the_packets() -> None:
    listener = await listen(LOOPBACK)
    _, writer = await raw_peer(listener.address)
    victim = await listener.accept()
    wire = b"".join(len(frame).to_bytes(4, "big") + frame for frame in (b"a", b"bc" * 50, b"d"))
    for at in range(len(wire)):
        victim.data_received(wire[at : at + 1])
    assert [await victim.receive() for _ in range(3)] == [b"a", b"bc" * 50, b"d"]
    writer.transport.abort()
    victim.drop()
    await listener.close()


@pytest.mark.asyncio
async def test_a_peer_that_dies_inside_a_frame_is_told_apart() -> None:
    listener = await listen(LOOPBACK)
    _, writer = await raw_peer(listener.address)
    victim = await listener.accept()
    writer.write(b"\0\0\1\0half")
    await writer.drain()
    writer.close()
    with pytest.raises(PeerLost, match="in the middle of a frame"):
        await victim.receive()
    await victim.close()
    await listener.close()


@pytest.mark.asyncio
async def test_last_words_survive_unread_bytes() -> None:
    """Closing a socket with unread input resets it, and the reset eats what was sent: so ``close`` reads on."""
    listener = await listen(LOOPBACK)
    reader, writer = await raw_peer(listener.address)
    victim = await listener.accept()
    writer.write((FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(500_000))
    with pytest.raises(OversizedFrame):
        await victim.receive()
    async with asyncio.TaskGroup() as group:
        await victim.send(b"why")
        group.create_task(victim.close())
        assert await reader.readexactly(7) == b"\0\0\0\3why"
        writer.close()
        async with asyncio.timeout(GOODBYE_TIMEOUT_S / 2):
            await victim.wait_gone()
    await listener.close()


@pytest.mark.asyncio
async def test_connections_beyond_the_backlog_are_dropped() -> None:
    listener = await listen(LOOPBACK)
    callers: list[TcpConnection] = []
    for _ in range(BACKLOG_MAX + 1):
        callers.append(await connect(listener.address))
    with pytest.raises(PeerLost):
        await callers[-1].receive()
    await listener.close()
    for caller in callers:
        caller.drop()
    await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_silent_connection_is_probed_by_the_kernel() -> None:
    listener = await listen(LOOPBACK)
    caller = await connect(listener.address)
    callee = await listener.accept()
    for end in (caller, callee):
        assert end.statistics().is_kept_alive
        end.drop()
    await listener.close()
    await asyncio.sleep(0)

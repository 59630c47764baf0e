"""What our connections cost: frames over TCP and NATS beside the bare libraries, a whole sync beside its bare bytes.

The NATS figure is left out where no `nats-server` is installed.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from functools import partial

from antiphon.journal.sync.messages import Facts, decode, encode, take_run_apart
from antiphon.journal.sync.session import PlannedRun, ReadAndSend, build_facts
from antiphon.runtime.services.sync import serve, sync_once
from antiphon.runtime.transports.tcp import connect, listen
from antiphon.runtime.transports.transport import Connection
from antiphon.testing.nats_server import NatsServer
from antiphon.testing.replica import MemoryReplica

from .measure import Burst, Figure, Sample, Settings, Spread, Stopwatch, interleave, spread

FRAME_BYTES = 100
BATCH = 100
HEAD = 4


async def measure(settings: Settings) -> list[Figure]:
    """Three figures in this process, and a fourth with a server beside it."""
    figures = [await batches(settings), await round_trips(settings), await whole_sync(settings)]
    return [*figures, await through_nats(settings)] if shutil.which("nats-server") else figures


def _figure(name: str, title: str, mine: Spread, theirs: Spread, goal: float, reference: str, **details: int) -> Figure:
    return Figure.of_times(
        name,
        title,
        mine,
        theirs,
        unit="µs",
        goal=goal,
        reference_name=reference,
        **details,
    )


async def _compare(contenders: Sequence[Burst], repeats: int) -> tuple[Spread, Spread]:
    await interleave(contenders, repeats=2)  # warm-up
    mine, theirs = await interleave(contenders, repeats=repeats)
    return spread(mine), spread(theirs)


class RawFrames(asyncio.Protocol):
    """The least that cuts frames: a length, a body, a count."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.frames: list[bytes] = []
        self.wanted = 0
        self.arrived = asyncio.Event()
        self.connected = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP gives a two-way transport"
        self.transport = transport
        self.connected.set()

    def data_received(self, data: bytes) -> None:
        buffer, at = self.buffer, 0
        buffer += data
        while len(buffer) - at >= HEAD:
            end = at + HEAD + int.from_bytes(buffer[at : at + HEAD], "big")
            if len(buffer) < end:
                break
            self.frames.append(bytes(buffer[at + HEAD : end]))
            at = end
        del buffer[:at]
        if len(self.frames) >= self.wanted:
            self.arrived.set()

    async def take(self, count: int) -> list[bytes]:
        """The next frames, all together."""
        self.wanted = count
        if len(self.frames) < count:
            self.arrived.clear()
            await self.arrived.wait()
        taken, self.frames = self.frames, []
        return taken


async def _raw_pair() -> tuple[RawFrames, RawFrames, asyncio.Server]:
    loop = asyncio.get_running_loop()
    callee = RawFrames()
    server = await loop.create_server(lambda: callee, "127.0.0.1", 0)
    _, caller = await loop.create_connection(RawFrames, "127.0.0.1", server.sockets[0].getsockname()[1])
    await callee.connected.wait()
    return caller, callee, server


async def batches(settings: Settings) -> Figure:
    """A hundred small frames a write, received one by one."""
    count = settings.pick(200, 50)
    frames = [bytes([number]) * FRAME_BYTES for number in range(BATCH)]
    listener = await listen("tcp://127.0.0.1:0")
    here = await connect(listener.address)
    there = await listener.accept()
    caller, callee, server = await _raw_pair()

    async def ours() -> list[Sample]:
        with Stopwatch() as watch:
            for _ in range(count):
                await here.send(*frames)
                for _ in frames:
                    await there.receive()
        return [watch.sample(per=count * BATCH)]

    async def raw() -> list[Sample]:
        assert caller.transport is not None, "it is connected"
        with Stopwatch() as watch:
            for _ in range(count):
                caller.transport.writelines(
                    [part for frame in frames for part in (len(frame).to_bytes(HEAD, "big"), frame)]
                )
                await callee.take(BATCH)
        return [watch.sample(per=count * BATCH)]

    mine, theirs = await _compare([ours, raw], settings.pick(25, 7))
    for one in (here, there):
        one.drop()
    await listener.close()
    server.close()
    # Twice the time is half the throughput.
    return _figure("tcp_batch", "TCP, 100 messages a batch, a message", mine, theirs, 2.0, "raw asyncio Protocol")


async def _echo(connection: Connection) -> None:
    while True:
        await connection.send(await connection.receive())


async def _ask(connection: Connection, count: int) -> list[Sample]:
    frame = bytes(FRAME_BYTES)
    with Stopwatch() as watch:
        for _ in range(count):
            await connection.send(frame)
            await connection.receive()
    return [watch.sample(per=count)]


async def round_trips(settings: Settings) -> Figure:
    """One small frame there and back."""
    count = settings.pick(1_000, 200)
    listener = await listen("tcp://127.0.0.1:0")
    here = await connect(listener.address)
    there = await listener.accept()
    echoing = asyncio.get_running_loop().create_task(_echo(there))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(HEAD):
            writer.write(head + await reader.readexactly(int.from_bytes(head, "big")))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    frame = bytes(FRAME_BYTES)

    async def raw() -> list[Sample]:
        with Stopwatch() as watch:
            for _ in range(count):
                writer.write(len(frame).to_bytes(HEAD, "big") + frame)
                await writer.drain()
                await reader.readexactly(int.from_bytes(await reader.readexactly(HEAD), "big"))
        return [watch.sample(per=count)]

    mine, theirs = await _compare([partial(_ask, here, count), raw], settings.pick(25, 7))
    echoing.cancel()
    for one in (here, there):
        one.drop()
    writer.close()
    await listener.close()
    server.close()
    return _figure("tcp_round_trip", "TCP, one message there and back", mine, theirs, 1.5, "raw asyncio streams")


async def through_nats(settings: Settings) -> Figure:
    """One small frame there and back through a server."""
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from antiphon.runtime.transports.nats import connect_nats, listen_nats

    count = settings.pick(500, 100)
    with NatsServer(settings.folder / "nats") as server:
        listener = await listen_nats(f"{server.address}/bench/echo")
        here = await connect_nats(listener.address)
        echoing = asyncio.get_running_loop().create_task(_echo(await listener.accept()))
        asker, answerer = Client(), Client()
        for client in (asker, answerer):
            await client.connect(server.address)

        async def answer(message: Msg) -> None:
            await message.respond(message.data)

        await answerer.subscribe("echo", cb=answer)
        await answerer.flush()
        frame = bytes(FRAME_BYTES)

        async def bare() -> list[Sample]:
            with Stopwatch() as watch:
                for _ in range(count):
                    await asker.request("echo", frame, timeout=10)
            return [watch.sample(per=count)]

        mine, theirs = await _compare([partial(_ask, here, count), bare], settings.pick(25, 7))
        echoing.cancel()
        await here.close()
        await listener.close()
        for client in (asker, answerer):
            await client.close()
    return _figure("nats_round_trip", "NATS, one message there and back", mine, theirs, 1.3, "bare nats-py request")


async def whole_sync(settings: Settings) -> Figure:
    """Everything that one replica holds, to another that holds nothing, both in memory and apart by a socket."""
    windows = settings.pick(100, 10)
    source = MemoryReplica(seed=1)
    for window in range(windows):
        source.commit_texts([f"said {window}.{number}" for number in range(1_000)])
    frames = _facts_frames(source)

    async def ours() -> list[Sample]:
        target = MemoryReplica(seed=2)
        async with serve(source, "tcp://127.0.0.1:0") as server:
            with Stopwatch() as watch:
                report = await sync_once(target, await connect(server.address))
        assert report.is_success, report.reason
        assert target.index.fingerprint() == source.index.fingerprint()
        return [watch.sample()]

    async def bare() -> list[Sample]:
        target = MemoryReplica(seed=2)
        caller, callee, server = await _raw_pair()
        assert caller.transport is not None, "it is connected"
        with Stopwatch() as watch:
            for frame in frames:
                caller.transport.writelines([len(frame).to_bytes(HEAD, "big"), frame])
                for arrived in await callee.take(1):
                    message = decode(arrived)
                    assert isinstance(message, Facts), "only facts are sent"
                    await target.ingest([take_run_apart(message.namespace, run) for run in message.runs])
        assert target.index.fingerprint() == source.index.fingerprint()
        caller.transport.abort()
        server.close()
        return [watch.sample()]

    mine, theirs = await _compare([ours, bare], settings.pick(7, 3))
    title = f"anti-entropy of {windows * 1_000:,} facts over TCP"
    return _figure("sync_tcp", title, mine, theirs, 1.5, "the same bytes raw, and applied", facts=windows * 1_000)


def _facts_frames(source: MemoryReplica) -> list[bytes]:
    """The FACTS messages that carry all of a replica, a window each."""
    frames: list[bytes] = []
    for chain in source.index.chains():
        for row in source.index.runs_after(chain.info.chain, 0):
            action = ReadAndSend(chain.info.namespace, (PlannedRun(chain.info, row),), True)
            frames.append(encode(build_facts(action, [source.read_run(row)])))
    return frames

"""The network keeps the transport's contract while it is kind, and breaks it only in the ways it is told to."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from antiphon.runtime.transports.transport import Connection, PeerLost, PeerUnreachable
from antiphon.testing.contracts.transport import TransportContract
from antiphon.testing.simulation.loop import Process, run_virtual
from antiphon.testing.simulation.network import KEEPALIVE_S, Quality, VirtualConnection, VirtualNetwork

CLAIMS = [name for name, _ in inspect.getmembers(TransportContract, inspect.isfunction) if name.startswith("test_")]

Talk = Callable[[VirtualNetwork, VirtualConnection, VirtualConnection], Awaitable[object]]


async def connected(network: VirtualNetwork) -> tuple[VirtualConnection, VirtualConnection]:
    listener = await network.host("ben").listen("tcp://ben:7")
    here = await network.host("ada").connect(listener.address, timeout=5)
    return here, await listener.accept()


async def hear_all(end: Connection) -> list[bytes]:
    """Everything that arrives until the end is told."""
    heard: list[bytes] = []
    try:
        while True:
            heard.append(await end.receive())
    except PeerLost:
        return heard


async def say_all(end: Connection, frames: list[bytes]) -> None:
    for frame in frames:
        await end.send(frame)


def talk(say: Talk, *, quality: Quality | None = None, seed: int = 1) -> object:
    async def main() -> object:
        network = VirtualNetwork(Random(seed), quality=quality)
        return await say(network, *await connected(network))

    return run_virtual(main())


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_kind_network_keeps_the_contract(claim: str) -> None:
    async def check(_: VirtualNetwork, here: Connection, there: Connection) -> None:
        await getattr(TransportContract(), claim)((here, there))

    talk(check)


def test_latency_and_bandwidth_are_what_they_are() -> None:
    async def say(_: VirtualNetwork, here: Connection, there: Connection) -> float:
        began = asyncio.get_running_loop().time()
        await here.send(bytes(1_000))
        await there.receive()
        return asyncio.get_running_loop().time() - began

    assert talk(say, quality=Quality(latency_s=0.5, bytes_per_s=1_000)) == pytest.approx(1.5)


def test_loss_breaks_the_connection_instead_of_leaving_a_gap() -> None:
    async def say(network: VirtualNetwork, here: Connection, there: Connection) -> int:
        with pytest.raises(PeerLost, match="lost a packet"):
            await say_all(here, [b"x"] * 10_000)
        assert len(await hear_all(there)) < 10_000
        return network.statistics.broken

    assert talk(say, quality=Quality(loss=0.01)) == 1


@pytest.mark.parametrize("fault", ["duplicate", "reorder", "corrupt"])
def test_a_broken_middlebox_changes_what_arrives(fault: str) -> None:
    frames = [bytes([number]) * 8 for number in range(200)]

    async def say(_: VirtualNetwork, here: Connection, there: Connection) -> list[bytes]:
        await say_all(here, frames)
        await here.close()
        return await hear_all(there)

    heard = talk(say, quality=Quality(**{fault: 0.1}))
    assert heard != frames
    expected = {"duplicate": set(frames) == set(heard), "reorder": sorted(frames) == sorted(heard)}
    assert expected.get(fault, len(heard) == len(frames))
    assert talk(say) == frames, "without the fault nothing changes"


def test_a_partition_holds_frames_back_until_it_heals() -> None:
    async def say(network: VirtualNetwork, here: Connection, there: Connection) -> tuple[bytes, float]:
        network.partition(["ada"], ["ben"])
        await here.send(b"late")
        await asyncio.sleep(20)
        network.heal()
        return await there.receive(), asyncio.get_running_loop().time()

    frame, at = talk(say)  # type: ignore[misc]  # a pair, as said above
    assert frame == b"late"
    assert 20 < at < 21


def test_a_partition_that_lasts_ends_the_connection_at_both_ends() -> None:
    async def say(network: VirtualNetwork, here: Connection, there: Connection) -> float:
        network.partition(["ada"])
        for end in (here, there):
            with pytest.raises(PeerLost, match="does not answer"):
                await end.receive()
        return asyncio.get_running_loop().time()

    assert talk(say) == pytest.approx(KEEPALIVE_S, abs=1)


def test_nobody_answers_through_a_partition_or_where_nobody_listens() -> None:
    async def say(network: VirtualNetwork, *_: Connection) -> float:
        began = asyncio.get_running_loop().time()
        network.partition(["ada"])
        for address in ("tcp://ben:7", "tcp://carol:7"):
            with pytest.raises(PeerUnreachable):
                await network.host("ada").connect(address, timeout=3)
        return asyncio.get_running_loop().time() - began

    assert talk(say) == pytest.approx(3, abs=0.1)


def test_half_open_hears_but_is_not_heard() -> None:
    async def say(network: VirtualNetwork, here: Connection, there: Connection) -> bytes:
        network.cut("ada", "ben")
        await there.send(b"still heard")
        await here.send(b"never")
        heard = await here.receive()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await there.receive()
        return heard

    assert talk(say) == b"still heard"


@pytest.mark.parametrize(("is_silent", "after_s"), [(False, 0), (True, KEEPALIVE_S)])
def test_a_dead_process_is_told_by_its_kernel_and_a_dead_machine_by_nobody(is_silent: bool, after_s: float) -> None:
    async def main() -> float:
        network = VirtualNetwork(Random(1))
        process = Process("ben")
        ends: list[VirtualConnection] = []

        async def serve() -> None:
            listener = await network.host("ben").listen("tcp://ben:7")
            ends.append(await listener.accept())
            await ends[0].receive()

        process.spawn(serve())
        await asyncio.sleep(1)
        here = await network.host("ada").connect("tcp://ben:7", timeout=1)
        await asyncio.sleep(1)
        process.kill()
        network.forget(process, is_silent=is_silent)
        began = asyncio.get_running_loop().time()
        with pytest.raises(PeerLost):
            await here.receive()
        await process.bury()
        return asyncio.get_running_loop().time() - began

    assert run_virtual(main()) == pytest.approx(after_s, abs=0.1)

"""Anti-entropy is a choreography: its words keep to the shipped protocol, over every handler, with the same results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.choreography import Violation
from antiphon.choreography.topology import Topology
from antiphon.journal.sync.messages import Error, ErrorCode, Frontier, Hello, Message, Root, Roots, decode, encode
from antiphon.journal.sync.session import TRANSITIONS, State
from antiphon.runtime.choreography import ChoreoHandler, InMemoryHandler, ProtocolViolation
from antiphon.runtime.choreography.handlers.telltale import Session, TelltaleEndpoint, TelltaleHandler
from antiphon.runtime.services.endpoint_connection import EndpointConnection, frame_codec
from antiphon.runtime.services.sync import SyncReport, SyncSettings, sync_in_process, sync_once
from antiphon.runtime.services.words import END, HEARER, LABELS, SPEAKER, WordMonitor, anti_entropy
from antiphon.runtime.topology import MeetingPlace, TopologyHandler
from antiphon.runtime.transports.memory import memory_pair
from antiphon.testing.nats_server import NatsServer
from antiphon.testing.replica import MemoryReplica

PATIENCE_S = 30.0
Carried = tuple[ChoreoHandler[Any], object]


def test_the_protocol_names_every_word_and_nothing_else() -> None:
    labels = {one.label for state in anti_entropy().fsm[SPEAKER].states for one in state.transitions}
    unspoken = set(LABELS.values()) - labels
    heard = {word.__name__ for words in TRANSITIONS.values() for word in words}
    assert not unspoken & heard
    assert labels - {END} <= set(LABELS.values())


def test_every_word_that_a_session_may_hear_first_is_in_the_protocol() -> None:
    first = {step.label for step in anti_entropy().fsm[HEARER].expected(0)}
    assert first == {word.__name__ for word in TRANSITIONS[State.GREETING]} | {END}


def test_the_protocol_projects_and_never_gets_stuck() -> None:
    assert anti_entropy().explore(bound=1).faults == ()


def test_a_word_out_of_order_changes_nothing() -> None:
    monitor = WordMonitor()
    for wrong in ("Root", "Facts", "Done"):
        with pytest.raises(ProtocolViolation, match="Hello"):
            monitor.say(wrong)
        assert isinstance(monitor.hear(wrong), Violation)
    for label in ("Hello", "Root", "Roots", "Fork", "Frontier", "Sketch", "Root", "Done", END):
        monitor.say(label)
        assert monitor.hear(label) is None
    assert monitor.is_complete


@pytest.mark.parametrize(
    "words", [["Hello", "Roots"], ["Hello", "Root", "Frontier"], ["Hello", "Root", "Roots", "Sketch"], ["Busy", "Root"]]
)
def test_a_round_keeps_its_order(words: list[str]) -> None:
    monitor = WordMonitor()
    for label in words[:-1]:
        monitor.say(label)
    with pytest.raises(ProtocolViolation):
        monitor.say(words[-1])


@pytest.mark.asyncio
async def test_a_peer_that_breaks_the_order_is_told_and_nothing_else_happens() -> None:
    """The session itself would have taken the second list of roots' absence for later."""
    here, there = memory_pair()
    settings = SyncSettings()
    words: list[Message] = [Hello(bytes(16), b"a hand-made peer"), Root(bytes(32), 1, 1), Frontier(b"x", ())]  # type: ignore[arg-type,list-item]
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        running = group.create_task(sync_once(MemoryReplica(seed=1), here, settings=settings))
        await there.send(*(encode(word) for word in words[:2]))
        await there.send(encode(Root(bytes(32), 1, 1)))
        await there.send(encode(Roots((), is_last=True)))
        heard: Message = decode(await there.receive())
        while not isinstance(heard, Error):
            heard = decode(await there.receive())
        await there.close()
    assert heard.code is ErrorCode.UNEXPECTED
    assert not running.result().is_success


Carry = Callable[[Path], Awaitable[tuple[tuple[Carried, Carried], tuple[Carried, Carried]]]]


def apart() -> tuple[MemoryReplica, MemoryReplica]:
    """Two replicas with something in common and something of their own each."""
    ada, ben = MemoryReplica(seed=1), MemoryReplica(seed=2)
    for number in range(5):
        ada.commit_texts([f"ada {number}.{one}" for one in range(20)])
        ben.commit_texts([f"ben {number}.{one}" for one in range(30)])
    return ada, ben


async def in_memory(tmp_path: Path) -> tuple[tuple[Carried, Carried], tuple[Carried, Carried]]:
    runs = [InMemoryHandler.network(SPEAKER, HEARER, codec=frame_codec()) for _ in range(2)]
    return ((runs[0][0], None), (runs[1][1], None)), ((runs[1][0], None), (runs[0][1], None))


async def over_sessions(tmp_path: Path) -> tuple[tuple[Carried, Carried], tuple[Carried, Carried]]:
    """Session-typed channels that enforce the role's machine themselves."""

    def run() -> tuple[Carried, Carried]:
        seats = []
        for role, peer, session in zip((SPEAKER, HEARER), (HEARER, SPEAKER), Session.pair(), strict=True):
            endpoint = TelltaleEndpoint(role, anti_entropy().fsm[role])
            endpoint.register(peer, session)
            seats.append((TelltaleHandler(role, codec=frame_codec()), endpoint))
        return seats[0], seats[1]

    first, second = run(), run()
    return (first[0], second[1]), (second[0], first[1])


async def over_socket_files(tmp_path: Path) -> tuple[tuple[Carried, Carried], tuple[Carried, Carried]]:
    topology = Topology.builder().colocated_role(SPEAKER, "Host").colocated_role(HEARER, "Host")
    placed = topology.local_role("Host").build()
    runs = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        pair = [
            TopologyHandler(placed, role, roles=(SPEAKER, HEARER), socket_folder=folder, codec=frame_codec())
            for role in (SPEAKER, HEARER)
        ]
        for handler in pair:
            await handler.initialize()
        runs.append(pair)
    return ((runs[0][0], None), (runs[1][1], None)), ((runs[1][0], None), (runs[0][1], None))


async def met_at(*addresses: str) -> tuple[tuple[Carried, Carried], tuple[Carried, Carried]]:
    """Both runs over one transport, at an address each."""
    runs = []
    for address in addresses:
        places, roles = MeetingPlace(address), (SPEAKER, HEARER)
        pair = [TopologyHandler.at(places, role, roles=roles, codec=frame_codec()) for role in roles]
        for handler in pair:
            await handler.initialize()
        runs.append(pair)
    return ((runs[0][0], None), (runs[1][1], None)), ((runs[1][0], None), (runs[0][1], None))


async def over_tcp(tmp_path: Path) -> tuple[tuple[Carried, Carried], tuple[Carried, Carried]]:
    return await met_at("tcp://127.0.0.1:0", "tcp://127.0.0.1:0")


async def over_websockets(tmp_path: Path) -> tuple[tuple[Carried, Carried], tuple[Carried, Carried]]:
    return await met_at("ws://127.0.0.1:0", "ws://127.0.0.1:0")


@pytest.mark.system
@pytest.mark.asyncio
async def test_a_session_over_handlers_through_a_nats_server_has_the_result_of_the_session_alone(
    tmp_path: Path,
) -> None:
    with NatsServer(tmp_path / "nats") as server:

        async def through_nats(folder: Path) -> tuple[tuple[Carried, Carried], tuple[Carried, Carried]]:
            return await met_at(f"{server.address}/one", f"{server.address}/other")

        await check_same_as_alone(tmp_path, through_nats)


@pytest.mark.parametrize("carry", [in_memory, over_sessions, over_socket_files, over_tcp, over_websockets])
@pytest.mark.asyncio
async def test_a_session_over_handlers_has_the_result_of_the_session_alone(tmp_path: Path, carry: Carry) -> None:
    await check_same_as_alone(tmp_path, carry)


async def check_same_as_alone(tmp_path: Path, carry: Carry) -> None:
    nonces = iter([bytes(15) + b"\1", bytes(15) + b"\2"] * 2)
    settings = SyncSettings(random_bytes=lambda count: next(nonces)[:count])
    plain = apart()
    alone = await sync_in_process(*plain, settings=settings)
    ada, ben = apart()
    here, there = await carry(tmp_path)

    async def side(replica: MemoryReplica, carried: tuple[Carried, Carried]) -> SyncReport:
        (speaking, first), (hearing, second) = carried
        connection = EndpointConnection(speaking, hearing, peer="peer", sessions=(first, second))
        return await sync_once(replica, connection, settings=settings)

    async with asyncio.timeout(PATIENCE_S):
        report, _ = await asyncio.gather(side(ada, here), side(ben, there))
    assert report.is_success, report.reason
    assert ada.index.fingerprint() == ben.index.fingerprint() == plain[0].index.fingerprint()
    told = ("outcome", "sent", "received", "known", "rounds", "refused", "forked", "bytes_sent", "bytes_received")
    assert [getattr(report, name) for name in told] == [getattr(alone, name) for name in told]

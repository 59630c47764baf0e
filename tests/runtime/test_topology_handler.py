"""Roles meet as their topology says: one protocol, the same result in memory, over socket files and over TCP."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from antiphon.choreography import compile_choreography
from antiphon.choreography.topology import InvalidTopology, Topology, parse_topology
from antiphon.facts import LocalViolation
from antiphon.runtime.choreography import ChannelClosed, ChannelSendFailed, MemoryHub, UnknownRole
from antiphon.runtime.choreography.endpoint import Endpoint
from antiphon.runtime.resilience import Fixed, RetryPolicy, Timing
from antiphon.runtime.topology import (
    Deployment,
    MeetingPlace,
    TopologyHandler,
    TransportFactory,
    own_address,
    peer_addresses,
)
from antiphon.runtime.topology.door import (
    CONNECTIONS_MAX,
    CONNECTIONS_OF_A_SOURCE_MAX,
    RECONNECTS_MAX,
    RECONNECTS_WITHIN_S,
    Door,
)
from antiphon.runtime.topology.handler import LAST_WORDS_S, STRANGERS_MAX
from antiphon.runtime.topology.wire import Introduction, Item, ItemReader, LyingRole, lay_out_item
from antiphon.runtime.transports.tcp import TcpConnection, connect, listen
from antiphon.runtime.transports.transport import Connection, PeerUnreachable
from antiphon.testing import virtual_time
from antiphon.testing.contracts.handler import HandlerContract, Network, Seat
from antiphon.testing.nats_server import NatsServer

PATIENCE_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def over_tcp(*roles: str) -> Topology:
    builder = Topology.builder()
    for role in roles:
        builder.remote_role(role, f"127.0.0.1:{free_port()}")
    return builder.build()


class _Contract(HandlerContract):
    def topology(self, roles: tuple[str, ...]) -> Topology:
        raise NotImplementedError

    def folder(self, tmp_path: Path) -> Path | None:
        return None

    @pytest_asyncio.fixture
    async def network(self, tmp_path: Path) -> AsyncIterator[Network]:
        made: list[TopologyHandler] = []

        async def network(*roles: str) -> dict[str, Seat]:
            topology, folder = self.topology(roles), self.folder(tmp_path)
            seats: dict[str, Seat] = {}
            for role in roles:
                handler = TopologyHandler(topology, role, roles=roles, socket_folder=folder)
                made.append(handler)
                await handler.initialize()
                seats[role] = Seat(handler, None)
            return seats

        yield network
        for handler in made:
            await handler.close()
        await asyncio.sleep(0)


class TestOverTcp(_Contract):
    def topology(self, roles: tuple[str, ...]) -> Topology:
        return over_tcp(*roles)


class TestOverSocketFiles(_Contract):
    def topology(self, roles: tuple[str, ...]) -> Topology:
        builder = Topology.builder().local_role("Host")
        for role in roles:
            builder.colocated_role(role, "Host")
        return builder.build()

    def folder(self, tmp_path: Path) -> Path | None:
        return tmp_path


class _MeetingContract(HandlerContract):
    """Roles that meet over one transport, each a hub of its own."""

    @pytest.fixture
    def meeting_address(self, tmp_path: Path) -> str:
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def network(self, meeting_address: str) -> AsyncIterator[Network]:
        made: list[TopologyHandler] = []

        async def network(*roles: str) -> dict[str, Seat]:
            places = MeetingPlace(f"{meeting_address}{'' if meeting_address.endswith(':0') else f'-{len(made)}'}")
            here = [TopologyHandler.at(places, role, roles=roles) for role in roles]
            made.extend(here)
            for handler in here:
                await handler.initialize()
            return {one.role: Seat(one, None) for one in here}

        yield network
        for handler in made:
            await handler.close()
        await asyncio.sleep(0)


class TestAtFreePorts(_MeetingContract):
    @pytest.fixture
    def meeting_address(self, tmp_path: Path) -> str:
        return "tcp://127.0.0.1:0"


class TestOverWebSockets(_MeetingContract):
    @pytest.fixture
    def meeting_address(self, tmp_path: Path) -> str:
        return "ws://127.0.0.1:0"


@pytest.mark.system
class TestThroughNats(_MeetingContract):
    @pytest.fixture
    def meeting_address(self, tmp_path: Path) -> Iterator[str]:
        with NatsServer(tmp_path / "nats") as server:
            yield f"{server.address}/talk"


class TestInOneProcess(HandlerContract):
    @pytest.fixture
    def network(self) -> Network:
        async def network(*roles: str) -> dict[str, Seat]:
            first = TopologyHandler.local(roles[0])
            others = [TopologyHandler.local(role, first.hub) for role in roles[1:]]
            return {one.role: Seat(one, None) for one in (first, *others)}

        return network


LEND = compile_choreography("""
module books exposing (Lend)

protocol Lend =
  roles Shelf, Reader, Helper
  Reader -> Helper : Wish(title : String)
  Helper -> Shelf : Find(title : String)
  choice Shelf at
    | Found =>
      Shelf -> Reader : Found(page : Int)
      Shelf -> Helper : Thanks
    | Missing =>
      Shelf -> Reader : Missing
      Shelf -> Helper : Sorry
""")


async def lend(shelf: TopologyHandler, reader: TopologyHandler, helper: TopologyHandler) -> object:
    """The same conversation, whatever carries it."""
    handlers = {"Shelf": shelf, "Reader": reader, "Helper": helper}
    for handler in handlers.values():
        await handler.initialize()

    async def be_shelf() -> None:
        async with Endpoint.of(LEND, "Shelf", shelf) as role:
            asked = await role.recv("Helper")
            assert asked == {"title": "Dune"}
            await role.send("Reader", {"page": 7}, label="Found")
            await role.send("Helper", {}, label="Thanks")

    async def be_helper() -> None:
        async with Endpoint.of(LEND, "Helper", helper) as role:
            wish = await role.recv("Reader")
            await role.send("Shelf", wish, label="Find")
            await role.offer("Shelf")

    async def be_reader() -> object:
        async with Endpoint.of(LEND, "Reader", reader) as role:
            await role.send("Helper", {"title": "Dune"}, label="Wish")
            return await role.offer("Shelf")

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(be_shelf())
        group.create_task(be_helper())
        answer = group.create_task(be_reader())
    for handler in handlers.values():
        await handler.close()
    return answer.result()


@pytest.mark.asyncio
async def test_one_protocol_has_one_result_wherever_its_roles_are(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(2)]
    texts = {
        "near": "topology Near for Lend { mode: local }",
        "files": "topology Files for Lend { Shelf: colocated(Helper) Reader: colocated(Helper) Helper: local }",
        "far": f"topology Far for Lend {{ Shelf: 127.0.0.1:{ports[0]} Reader: 127.0.0.1:{ports[1]} "
        "Helper: colocated(Reader) constraints { separated: Shelf, Reader } }",
    }
    # Helper is colocated with Reader and so reached by its socket file, also by Shelf, which shares the machine here.
    place = Deployment(LEND, texts, socket_folder=tmp_path)
    results = [await lend(*(place(role) for role in LEND.roles))]
    for name in ("near", "far"):
        results.append(await lend(*(place.named_handler(name, role) for role in LEND.roles)))
    assert [result.label for result in results] == ["Found"] * 3
    assert all(result == results[0] for result in results)


@pytest.mark.asyncio
async def test_whom_others_are_colocated_with_is_met_by_a_socket_file_from_another_process(tmp_path: Path) -> None:
    """A deployment each stands for a process each: they share no hub."""
    text = "topology Files for Lend { Shelf: colocated(Helper) Reader: colocated(Shelf) Helper: local }"
    result = await lend(
        *(Deployment(LEND, {"files": text}, socket_folder=tmp_path).named_handler("files", r) for r in LEND.roles)
    )
    assert result == ("Found", {"page": 7})


def test_local_handlers_of_a_protocol_share_a_hub_and_sessions_do_not() -> None:
    place = Deployment(LEND)
    first = [place.handler(role) for role in ("Shelf", "Reader")]
    second = [place.handler(role) for role in ("Shelf", "Reader")]
    assert first[0].hub is first[1].hub
    assert second[0].hub is second[1].hub
    assert first[0].hub is not second[0].hub


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("Shelf: local Reader: local", "Helper has no location"),
        ("mode: local Eve: local", "Eve"),
        ("mode: local constraints { separated: Shelf, Reader }", "both are at local"),
        ("mode: local channel_capacities { Shelf -> Reader: 0 }", "takes 1 bits"),
    ],
)
def test_a_topology_that_does_not_fit_is_refused_before_anything_is_opened(body: str, says: str) -> None:
    parsed = parse_topology(f"topology T for Lend {{ {body} }}")
    with pytest.raises(InvalidTopology, match=says):
        Deployment(LEND).with_topology(parsed, "Shelf")


def test_a_protocol_has_its_own_topologies() -> None:
    """In the words of its users: `proto.topology.handler(role)`, `.with_topology(topology, role)`, named ones."""
    protocol = compile_choreography("protocol Talk =\n  roles Ada, Bob\n  Ada -> Bob : Hello\n")
    ada, bob = protocol.topology.handler("Ada"), protocol.topology("Bob")
    assert isinstance(ada, TopologyHandler)
    assert ada.hub is bob.hub
    near = parse_topology("topology Near for Talk { Ada: local Bob: 127.0.0.1:9 }").topology
    assert not protocol.topology.with_topology(near, "Ada").is_connected("Bob")
    protocol.topology.keep("prod", "topology Prod for Talk { Ada: local Bob: local }")
    assert protocol.topology.named_handler("prod", "Ada").is_connected("Bob")
    with pytest.raises(InvalidTopology):
        protocol.topology.with_topology(Topology.builder().local_role("Ada").build(), "Ada")
    with pytest.raises(LocalViolation, match="is a topology for Other"):
        protocol.topology.keep("other", "topology There for Other { mode: local }")


def test_a_protocol_is_placed_by_nobody_before_the_runtime_is_loaded() -> None:
    text = "from antiphon.choreography import compile_choreography as c\n"
    text += "p = c('protocol T =\\n  roles A, B\\n  A -> B : x\\n')\n"
    text += "try:\n    p.topology\nexcept ValueError as e:\n    print(e)\n"
    text += "try:\n    p.endpoint('A', None)\nexcept ValueError as e:\n    print(e)\n"
    text += "import antiphon.runtime.topology\nprint(p.topology.handler('A').role, p.endpoint('A', None).role)\n"
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        "nothing places protocols yet; import antiphon.runtime.topology",
        "nothing runs protocols yet; import antiphon.runtime.choreography",
        "A A",
    ]


def test_what_is_not_there_is_told() -> None:
    place = Deployment(LEND)
    with pytest.raises(LocalViolation, match="for Other"):
        place.with_topology(parse_topology("topology T for Other { mode: local }"), "Shelf")
    with pytest.raises(LocalViolation, match="no topology is called 'prod'"):
        place.named("prod")
    with pytest.raises(LocalViolation, match="line 1"):
        Deployment(LEND, {"bad": "topology ?"})
    with pytest.raises(UnknownRole):
        place.handler("Eve")


@pytest.mark.asyncio
async def test_a_peer_that_never_comes_is_a_failed_send_that_may_be_tried_again() -> None:
    once = RetryPolicy(attempts_max=2, delays=Fixed(0.0))
    topology = over_tcp("Ada", "Bob")
    ada = TopologyHandler(topology, "Ada", connecting=once)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ChannelSendFailed):
            await ada.choose(None, "Bob", "hello")
        bob = TopologyHandler(topology, "Bob")
        await bob.initialize()
        assert not ada.is_connected("Bob")
        await ada.choose(None, "Bob", "hello")
        assert ada.is_connected("Bob")
        assert await bob.offer(None, "Ada") == "hello"
        await ada.close()
        await bob.close()


def test_a_first_message_waits_for_a_peer_no_longer_than_its_bound() -> None:
    """Somebody takes the connection and never answers, as a host does that is being started."""

    class Deaf(TransportFactory):
        async def connect(self, address: str, *, timeout: float) -> Connection:
            await virtual_time.pass_time(timeout)
            raise PeerUnreachable(f"nobody answered at {address} within {timeout:g} s")

    async def scenario() -> None:
        topology = Topology.builder().remote_role("Ada", "ada:1").remote_role("Bob", "bob:1").build()
        timing = Timing(elapsed_s=virtual_time.now_s, sleep=virtual_time.pass_time)
        ada = TopologyHandler(topology, "Ada", places=Deaf(topology), reach_within_s=25.0, timing=timing)
        with pytest.raises(ChannelSendFailed, match="within 25 s"):
            await ada.choose(None, "Bob", "hello")
        assert virtual_time.now_s() == pytest.approx(25.0, abs=2.0)

    virtual_time.run(scenario())


@pytest.mark.asyncio
async def test_last_words_reach_a_role_of_the_same_process_over_its_connection() -> None:
    """The hub is shared by both roles; that one leaves it does not close what the other still reads from the wire."""
    topology, hub = over_tcp("Ada", "Bob"), MemoryHub(["Ada", "Bob"])
    ada, bob = (TopologyHandler(topology, role, hub=hub) for role in ("Ada", "Bob"))
    await ada.initialize()
    await bob.initialize()
    async with asyncio.timeout(PATIENCE_S):
        for number in range(20):
            await ada.choose(None, "Bob", f"word{number}")
        await ada.close()
        assert [await bob.offer(None, "Ada") for _ in range(20)] == [f"word{number}" for number in range(20)]
        with pytest.raises(ChannelClosed):
            await bob.offer(None, "Ada")
    await bob.close()


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"GET / HTTP/1.1", "begins with"),
        (b"TTL1\2" + bytes(6), "version"),
        (b"TTL1\1\xff\xff", "65535 bytes"),
        (b"TTL1\1\0", "in the middle"),
        (Introduction("", "Eve", "Bob").encode(), "'Eve'"),
        (Introduction("", "Bob", "Bob").encode(), "'Bob'"),
        (Introduction("Other", "Ada", "Bob").encode(), "'Other'"),
        (Introduction("", "Ada", "Cyd").encode(), "Cyd"),
        (Introduction("", "Ada", "Bob").encode() + b"x", "behind"),
    ],
)
@pytest.mark.asyncio
async def test_a_caller_that_lies_is_let_go_and_harms_nobody(first: bytes, says: str) -> None:
    topology = over_tcp("Ada", "Bob")
    bob = TopologyHandler(topology, "Bob")
    await bob.initialize()
    async with asyncio.timeout(PATIENCE_S):
        liar = await connect(TransportFactory(topology).address("Bob") or "")
        await liar.send(first)
        await gone(liar)
        assert says in bob.statistics().refused[0]
        ada = TopologyHandler(topology, "Ada")
        await ada.choose(None, "Bob", "hello")
        assert await bob.offer(None, "Ada") == "hello"
        again = await connect(TransportFactory(topology).address("Bob") or "")
        await again.send(Introduction("", "Ada", "Bob").encode())
        await gone(again)
        assert "second caller" in bob.statistics().refused[1]
        for one in (ada, bob):
            await one.close()


@pytest.mark.asyncio
async def test_a_role_that_does_not_receive_is_sent_no_more_than_a_bound() -> None:
    topology = over_tcp("Ada", "Bob")
    ada, bob = TopologyHandler(topology, "Ada"), TopologyHandler(topology, "Bob")
    await bob.initialize()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while sent < 200:
            await ada.send(None, "Bob", {"text": "x" * 1_000_000})
            sent += 1

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        flooding = group.create_task(flood())
        done, _ = await asyncio.wait([flooding], timeout=0.5)
        assert not done, "200 MB were taken although nobody receives"
        held = sum(len(one.data or b"") for one in bob.hub.channel("Ada", "Bob").items)
        assert held <= 8 * 1024 * 1024
        stopped_at = sent
        for _ in range(stopped_at):
            await bob.recv(None, "Ada")
        flooding.cancel()
    await ada.close()
    await bob.close()


@pytest.mark.asyncio
async def test_two_first_messages_at_once_go_over_one_connection() -> None:
    topology = over_tcp("Ada", "Bob")
    ada, bob = TopologyHandler(topology, "Ada"), TopologyHandler(topology, "Bob")
    await bob.initialize()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(ada.choose(None, "Bob", f"label {number}") for number in range(5)))
        assert {await bob.offer(None, "Ada") for _ in range(5)} == {f"label {number}" for number in range(5)}
        assert bob.statistics().refused == ()
        await ada.close()
        await bob.close()


@pytest.mark.parametrize("has_last_words", [False, True])
@pytest.mark.asyncio
async def test_a_peer_that_dies_before_its_first_word_is_missed(has_last_words: bool) -> None:
    topology, waits = over_tcp("Ada", "Bob"), asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds == LAST_WORDS_S:
            await waits.wait()

    ada = TopologyHandler(topology, "Ada", timing=Timing(sleep=sleep))
    address = TransportFactory(topology).address
    async with asyncio.timeout(PATIENCE_S):
        bob = await listen(address("Bob") or "")
        await ada.initialize()
        await ada.choose(None, "Bob", "hello")
        heard = await bob.accept()
        answer = asyncio.ensure_future(ada.offer(None, "Bob"))
        last_words = await connect(address("Ada") or "")
        heard.drop()
        if has_last_words:
            await last_words.send(Introduction("", "Bob", "Ada").encode(), *lay_out_item(Item("bye", None)))
            assert await answer == "bye"
            answer = asyncio.ensure_future(ada.offer(None, "Bob"))
        last_words.drop()
        waits.set()
        with pytest.raises(ChannelClosed):
            await answer
        await bob.close()
        await ada.close()


@pytest.mark.asyncio
async def test_callers_that_say_nothing_keep_nobody_out() -> None:
    topology = over_tcp("Ada", "Bob")
    ada, bob = TopologyHandler(topology, "Ada"), TopologyHandler(topology, "Bob")
    await bob.initialize()
    async with asyncio.timeout(PATIENCE_S):
        silent = [await connect(TransportFactory(topology).address("Bob") or "") for _ in range(STRANGERS_MAX)]
        await ada.choose(None, "Bob", "hello")
        assert await bob.offer(None, "Ada") == "hello"
        await gone(silent[0])
        for one in silent:
            one.drop()
        await ada.close()
        await bob.close()


def test_a_door_has_three_bounds_and_says_which_one_keeps_a_caller_out() -> None:
    at_s = 0.0
    door = Door(1, lambda: at_s)
    for _ in range(CONNECTIONS_OF_A_SOURCE_MAX):
        assert door.obstacle("192.0.2.1") is None
        door.enter("192.0.2.1")
    assert (door.obstacle("192.0.2.1"), door.obstacle("192.0.2.2"), door.obstacle(None)) == ("source", None, None)
    door.leave("192.0.2.1")
    assert door.obstacle("192.0.2.1") is None
    for number in range(CONNECTIONS_MAX - CONNECTIONS_OF_A_SOURCE_MAX + 1):
        door.enter(f"2001:db8::{number:x}")
    assert (door.obstacle("192.0.2.2"), door.obstacle(None)) == ("connections", "connections")


def test_a_source_may_come_again_so_many_times_in_ten_seconds_and_is_forgiven_afterwards() -> None:
    at_s = 0.0
    door = Door(1, lambda: at_s)
    for _ in range(1 + RECONNECTS_MAX):
        assert door.obstacle("192.0.2.1") is None
        door.enter("192.0.2.1")
        door.leave("192.0.2.1")
    assert (door.obstacle("192.0.2.1"), door.obstacle("192.0.2.2")) == ("reconnects", None)
    at_s = RECONNECTS_WITHIN_S - 0.001
    assert door.obstacle("192.0.2.1") == "reconnects"
    at_s = RECONNECTS_WITHIN_S
    assert door.obstacle("192.0.2.1") is None


def test_the_roles_of_a_large_protocol_all_come_in_from_one_machine() -> None:
    door = Door(2_000, lambda: 0.0)
    for _ in range(2_000):
        assert door.obstacle("192.0.2.1") is None
        door.enter("192.0.2.1")
    assert door.obstacle("192.0.2.1") is not None


@pytest.mark.asyncio
async def test_a_machine_that_opens_too_many_connections_loses_its_silent_ones_and_harms_no_role() -> None:
    topology = over_tcp("Ada", "Bob")
    ada, bob = TopologyHandler(topology, "Ada"), TopologyHandler(topology, "Bob")
    await bob.initialize()
    async with asyncio.timeout(PATIENCE_S):
        address = TransportFactory(topology).address("Bob") or ""
        silent = [await connect(address) for _ in range(CONNECTIONS_OF_A_SOURCE_MAX + 6)]
        await ada.choose(None, "Bob", "hello")
        assert await bob.offer(None, "Ada") == "hello"
        for one in silent[:7]:
            await gone(one)
        assert bob.statistics().turned_away == (0, 7, 0)
        for one in silent:
            one.drop()
        await ada.choose(None, "Bob", "still here")
        assert await bob.offer(None, "Ada") == "still here"
        await ada.close()
        await bob.close()


@pytest.mark.asyncio
async def test_a_machine_that_comes_again_and_again_is_closed_upon_until_ten_seconds_are_over() -> None:
    topology = over_tcp("Ada", "Bob")
    at_s = 0.0
    ada, bob = TopologyHandler(topology, "Ada"), TopologyHandler(topology, "Bob", timing=Timing(lambda: at_s))
    await bob.initialize()
    async with asyncio.timeout(PATIENCE_S):
        address = TransportFactory(topology).address("Bob") or ""
        for _ in range(1 + RECONNECTS_MAX):
            caller = await connect(address)
            await caller.send(b"no introduction")
            await gone(caller)
        assert bob.statistics().turned_away.total == 0
        late = await connect(address)
        await gone(late)
        assert bob.statistics().turned_away == (0, 0, 1)
        at_s = RECONNECTS_WITHIN_S
        await ada.choose(None, "Bob", "hello")
        assert await bob.offer(None, "Ada") == "hello"
        await ada.close()
        await bob.close()


@pytest.mark.asyncio
async def test_a_role_leaves_although_another_was_never_there() -> None:
    places = MeetingPlace("tcp://127.0.0.1:0")
    ada = TopologyHandler.at(places, "Ada", roles=["Ada", "Bob"])
    await ada.initialize()
    await ada.close()
    assert not ada.is_connected("Bob")


async def gone(connection: TcpConnection) -> None:
    with pytest.raises(Exception, match="closed"):
        await connection.receive()
    await connection.close()


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 3 * 1024 * 1024 + 17])
def test_items_of_every_size_are_read_as_they_were_laid_out(size: int) -> None:
    reader = ItemReader()
    for item in (Item("Größe", bytes(size)), Item("only a label", None)):
        found = [reader.feed(frame) for frame in lay_out_item(item)]
        assert found[-1] == item
        assert found[:-1] == [None] * (len(found) - 1)


@pytest.mark.parametrize(
    "frames",
    [
        [b"X"],
        [b""],
        [b"M\0"],
        [b"M\xff\xff\xff\xff\0\0"],
        [b"M\0\0\0\2\0\1ax", b"L"],
        [b"M\0\0\0\2\0\1ax", b"Cxx"],
        [b"M\0\0\0\2\0\1ax", b"C"],
        [b"L\xff"],
    ],
)
def test_frames_that_are_no_items_are_refused(frames: list[bytes]) -> None:
    reader = ItemReader()
    for frame in frames[:-1]:
        reader.feed(frame)
    with pytest.raises(LyingRole):
        reader.feed(frames[-1])


def test_a_topology_gives_journals_their_addresses() -> None:
    text = "topology Lan for Any { Ada: a.lan:1 Bob: [::1]:2 Cyd: colocated(Bob) Dan: local Eve: colocated(Ada) }"
    topology = parse_topology(text).topology
    assert own_address(topology, "Cyd", scheme="tls") == "tls://[::1]:2"
    assert peer_addresses(topology, "Ada") == {"Bob": "tcp://[::1]:2"}
    assert peer_addresses(topology, "Dan") == {"Ada": "tcp://a.lan:1", "Bob": "tcp://[::1]:2"}
    with pytest.raises(LocalViolation, match="Dan is local"):
        own_address(topology, "Dan")
    with pytest.raises(LocalViolation, match="no role 'Zoe'"):
        peer_addresses(topology, "Zoe")

"""TLS, Unix sockets and WebSocket keep the transport's contract; addresses say which, and what is missing is named."""

from __future__ import annotations

import asyncio
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect as raw_websocket
from websockets.exceptions import InvalidStatus

from antiphon.facts import LocalViolation
from antiphon.journal.sync.messages import FRAME_BYTES_MAX, OversizedFrame
from antiphon.runtime.transports import tcp
from antiphon.runtime.transports.reach import Transports, check_address
from antiphon.runtime.transports.streams import StreamConnection
from antiphon.runtime.transports.tls import Tls
from antiphon.runtime.transports.transport import Listener, PeerLost, PeerUnreachable, parse_address
from antiphon.runtime.transports.websocket import parse_websocket
from antiphon.testing.certificates import Signed, make_certificate
from antiphon.testing.contracts.transport import Pair, TransportContract

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return make_certificate(tmp_path_factory.mktemp("tls"), "shelf")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return make_certificate(tmp_path_factory.mktemp("tls"), "reader")


def secure(signed: Signed) -> Transports:
    return Transports(Tls(certificate=signed.certificate, key=signed.key, trusted=signed.certificate))


async def joined(transports: Transports, address: str) -> AsyncIterator[Pair]:
    listener = await transports.listen(address)
    here = await transports.connect(listener.address)
    there = await listener.accept()
    yield here, there
    here.drop()
    there.drop()
    await listener.close()
    for _ in range(5):
        await asyncio.sleep(0)


class TestTls(TransportContract):
    @pytest_asyncio.fixture
    async def pair(self, shelf: Signed) -> AsyncIterator[Pair]:
        async for pair in joined(secure(shelf), "tls://127.0.0.1:0"):
            yield pair


class TestUnix(TransportContract):
    @pytest_asyncio.fixture
    async def pair(self, tmp_path: Path) -> AsyncIterator[Pair]:
        async for pair in joined(Transports(), f"unix://{tmp_path}/it.sock"):
            yield pair


class TestStreams(TransportContract):
    """Over asyncio's own streams, whoever opened them."""

    @pytest_asyncio.fixture
    async def pair(self) -> AsyncIterator[Pair]:
        arrived: asyncio.Queue[StreamConnection] = asyncio.Queue()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await arrived.put(StreamConnection(reader, writer))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        here = StreamConnection(*await asyncio.open_connection(*server.sockets[0].getsockname()[:2]))
        there = await arrived.get()
        yield here, there
        here.drop()
        there.drop()
        server.close()
        await asyncio.sleep(0)


class TestWebSocket(TransportContract):
    @pytest_asyncio.fixture
    async def pair(self) -> AsyncIterator[Pair]:
        async for pair in joined(Transports(), "ws://127.0.0.1:0/notes"):
            yield pair


class TestSecureWebSocket(TransportContract):
    @pytest_asyncio.fixture
    async def pair(self, shelf: Signed) -> AsyncIterator[Pair]:
        async for pair in joined(secure(shelf), "wss://127.0.0.1:0"):
            yield pair


async def refuse(transports: Transports, listener: Listener, says: str) -> None:
    with pytest.raises(PeerUnreachable, match=says):
        await transports.connect(listener.address, timeout=PATIENCE_S)


@pytest.mark.parametrize("scheme", ["tls", "wss"])
@pytest.mark.asyncio
async def test_a_certificate_that_nobody_trusts_is_refused(shelf: Signed, reader: Signed, scheme: str) -> None:
    listener = await secure(shelf).listen(f"{scheme}://127.0.0.1:0")
    await refuse(Transports(Tls(trusted=reader.certificate)), listener, "certificate|CERTIFICATE")
    await listener.close()


async def connect_and_hear(transports: Transports, address: str) -> bytes:
    """TLS 1.3 tells a caller that it is not wanted after it believes itself connected."""
    return await (await transports.connect(address)).receive()


@pytest.mark.asyncio
async def test_a_caller_that_shows_no_certificate_is_not_let_in(shelf: Signed) -> None:
    listener = await secure(shelf).listen("tls://127.0.0.1:0")
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises((PeerUnreachable, PeerLost)):
            await connect_and_hear(Transports(Tls(trusted=shelf.certificate)), listener.address)
    await listener.close()


@pytest.mark.asyncio
async def test_a_plain_caller_of_a_secret_port_is_let_go(shelf: Signed) -> None:
    listener = await secure(shelf).listen("tls://127.0.0.1:0")
    target = parse_address(listener.address)
    async with asyncio.timeout(PATIENCE_S):
        stranger, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(b"\0\0\0\2hi" * 100)
        try:
            while await stranger.read(100):
                continue
        except ConnectionResetError:
            pass  # told more plainly still
        writer.transport.abort()
    await listener.close()


@pytest.mark.asyncio
async def test_a_caller_that_never_says_that_it_speaks_tls_is_let_go(
    shelf: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_TIMEOUT_S", 0.05)
    listener = await secure(shelf).listen("tls://127.0.0.1:0")
    target = parse_address(listener.address)
    async with asyncio.timeout(PATIENCE_S):
        silent, writer = await asyncio.open_connection(target.host, target.port)
        assert await silent.read(100) == b""
        writer.transport.abort()
    await listener.close()


@pytest.mark.asyncio
async def test_a_secret_port_needs_a_certificate(tmp_path: Path) -> None:
    for scheme in ("tls", "wss"):
        with pytest.raises(LocalViolation, match="needs a certificate"):
            await Transports().listen(f"{scheme}://127.0.0.1:0")
        with pytest.raises(LocalViolation, match="PEM"):
            await Transports(Tls(certificate=tmp_path / "none.pem")).listen(f"{scheme}://127.0.0.1:0")


@pytest.mark.asyncio
async def test_a_socket_file_is_this_users_alone_and_goes_with_its_listener(tmp_path: Path) -> None:
    path = tmp_path / "it.sock"
    listener = await Transports().listen(f"unix://{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(LocalViolation, match="somebody listens"):
        await Transports().listen(f"unix://{path}")
    await listener.close()
    assert not path.exists()
    with pytest.raises(PeerUnreachable):
        await Transports().connect(f"unix://{path}")


@pytest.mark.asyncio
async def test_a_socket_file_of_a_dead_process_is_taken_over_and_another_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "it.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = await Transports().listen(f"unix://{path}")
    await listener.close()
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(LocalViolation, match="no socket"):
        await Transports().listen(f"unix://{path}")
    assert path.read_text(encoding="utf-8") == "precious"


async def raw(listener: Listener) -> str:
    target = parse_websocket(listener.address)
    return f"ws://{target.host}:{target.port}"


@pytest.mark.asyncio
async def test_a_browser_and_a_wrong_path_are_refused() -> None:
    listener = await Transports().listen("ws://127.0.0.1:0/notes")
    base = await raw(listener)
    async with asyncio.timeout(PATIENCE_S):
        for path, origin in (("/other", None), ("/notes", "https://example.com")):
            with pytest.raises(InvalidStatus):
                await raw_websocket(base + path, origin=origin, proxy=None)
        with pytest.raises(PeerUnreachable, match="404"):
            await Transports().connect(base + "/other")
    await listener.close()


@pytest.mark.parametrize("frame", [b"", bytes(FRAME_BYTES_MAX + 1)])
@pytest.mark.asyncio
async def test_a_message_out_of_bounds_is_refused(frame: bytes) -> None:
    listener = await Transports().listen("ws://127.0.0.1:0")
    async with asyncio.timeout(PATIENCE_S):
        liar = await raw_websocket(await raw(listener), proxy=None)
        victim = await listener.accept()
        await liar.send(frame)
        with pytest.raises(OversizedFrame):
            await victim.receive()
        victim.drop()
        await liar.close()
    await listener.close()


@pytest.mark.parametrize("address", ["tls://127.0.0.1:0", "ws://127.0.0.1:0", "unix://{folder}/it.sock"])
@pytest.mark.asyncio
async def test_an_idle_connection_costs_nothing(shelf: Signed, tmp_path: Path, address: str) -> None:
    """Nothing is said and nothing is due: no timer of ours waits for an idle connection."""
    listener = await secure(shelf).listen(address.format(folder=tmp_path))
    here = await secure(shelf).connect(listener.address)
    there = await listener.accept()
    loop = asyncio.get_running_loop()
    for _ in range(10):
        await asyncio.sleep(0)
    due = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert due == []
    for one in (here, there):
        one.drop()
    await listener.close()
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "address",
    ["", "udp://host:1", "host:1", "tls://host", "unix://", "unix:///a/", "ws://host", "ws://h:1/a b", "wss://h:99999"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(LocalViolation, match="expected"):
        check_address(address)


@pytest.mark.parametrize(
    "address", ["tcp://h:1", "tls://h:1", "unix:///a", "ws://h:1", "wss://h:1/x", "nats://h:1/a/b"]
)
def test_what_is_an_address_is_taken(address: str) -> None:
    check_address(address, is_to_connect=True)


def test_a_long_socket_path_is_refused() -> None:
    with pytest.raises(LocalViolation, match="too long"):
        check_address("unix:///" + "x" * 120)


@pytest.mark.parametrize(("scheme", "library", "extra"), [("ws", "websockets", "web"), ("nats", "nats", "nats")])
def test_a_missing_library_is_named_with_what_to_install(scheme: str, library: str, extra: str) -> None:
    script = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from antiphon.runtime.transports.extras import MissingExtra\n"
        "from antiphon.runtime.transports.reach import check_address\n"
        f"try: check_address('{scheme}://127.0.0.1:1/a/b')\n"
        "except MissingExtra as problem: print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"pip install 'antiphon[{extra}]'" in done.stdout


def test_plain_addresses_load_no_library() -> None:
    script = (
        "import sys\nfrom antiphon.runtime.transports.reach import check_address\n"
        "check_address('tcp://127.0.0.1:1')\nprint(sorted({'websockets', 'nats'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

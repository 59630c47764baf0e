"""Frames over WebSocket, one binary message each: for networks that let nothing else through.

Needs the extra ``web``. Serves no browser: a request that names an origin is refused, since a page of any site could
make one. ``wss://`` is the same behind TLS.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from http import HTTPStatus
from typing import NamedTuple

from antiphon.facts import LocalViolation
from antiphon.journal.sync.messages import FRAME_BYTES_MAX, OversizedFrame

from .extras import MissingExtra
from .tcp import BACKLOG_MAX, CONNECT_TIMEOUT_S, GOODBYE_TIMEOUT_S, HANDSHAKE_TIMEOUT_S, keep_alive
from .tls import Tls
from .transport import PORT_MAX, ByteCounts, PeerLost, PeerUnreachable, check_frame, host_and_port, wire_size

try:
    from websockets.asyncio.client import connect as open_socket
    from websockets.asyncio.connection import Connection as Socket
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.asyncio.server import serve as open_server
    from websockets.exceptions import ConnectionClosed, WebSocketException
    from websockets.http11 import Request, Response
except ImportError as missing:
    raise MissingExtra("ws", "web") from missing

# Messages that were received and not taken; beyond it nothing more is read.
UNREAD_MESSAGES_MAX = 2
TOO_BIG = 1009
_PATH = re.compile(r"/[A-Za-z0-9_.~/-]*")
# The library logs what a peer does wrong; here it is told as an error, or does not concern anybody.
_LOGGER = logging.getLogger("antiphon.websocket")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False


class WebSocketAddress(NamedTuple):
    """Host, port, path, and whether it is secret."""

    host: str
    port: int
    path: str = "/"
    scheme: str = "ws"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{'' if self.path == '/' else self.path}"


def parse_websocket(text: str) -> WebSocketAddress:
    """Read ``ws://host:port/path`` or ``wss://…``; the path may be missing. Raises ``LocalViolation``.

    >>> parse_websocket("ws://127.0.0.1:7070/notes").path
    '/notes'
    """
    scheme, separator, rest = text.partition("://")
    where, slash, path = rest.partition("/")
    found = host_and_port(where) if separator and scheme in ("ws", "wss") else None
    path = slash + path or "/"
    if found is None or found[1] > PORT_MAX or not _PATH.fullmatch(path):
        raise LocalViolation(f"{text!r} is no address; expected ws://host:port/path, such as ws://127.0.0.1:7070/notes")
    return WebSocketAddress(*found, path, scheme)


class WebSocketConnection:
    """One end of a WebSocket."""

    def __init__(self, socket: Socket, peer: str) -> None:
        self._socket = socket
        self._peer = peer
        self._sent = 0
        self._received = 0
        self._is_closed = False

    @property
    def peer(self) -> str:
        """The address at the other end."""
        return self._peer

    @property
    def counts(self) -> ByteCounts:
        """Bytes sent and received so far, as TCP would count them."""
        return ByteCounts(self._sent, self._received)

    async def send(self, *frames: bytes) -> None:
        """Send each frame as a message, and wait while the peer does not read."""
        if self._is_closed:
            raise PeerLost(f"{self._peer}: this end is closed")
        for frame in frames:
            check_frame(frame)
            self._sent += wire_size(frame)
            try:
                await self._socket.send(frame)
            except ConnectionClosed as problem:
                raise self._lost(problem) from problem

    async def receive(self) -> bytes:
        """The next message. Raises ``OversizedFrame`` for an empty one, or one that is too large."""
        try:
            frame = await self._socket.recv(decode=False)
        except ConnectionClosed as problem:
            if problem.sent is not None and problem.sent.code == TOO_BIG:
                raise OversizedFrame(f"a frame beyond {FRAME_BYTES_MAX} bytes") from problem
            raise self._lost(problem) from problem
        self._received += wire_size(frame)
        if not frame:
            raise OversizedFrame(f"a frame of 0 bytes; 1..{FRAME_BYTES_MAX} are allowed")
        return frame

    async def close(self) -> None:
        """Send what was handed over and a goodbye, and wait a moment for the peer's."""
        self._is_closed = True
        try:
            async with asyncio.timeout(2 * GOODBYE_TIMEOUT_S):
                await self._socket.close()
        except TimeoutError:
            self.drop()

    def drop(self) -> None:
        """Let go at once, without a word."""
        self._is_closed = True
        self._socket.transport.abort()

    async def wait_gone(self) -> None:
        """Return when the connection is gone, whoever ended it."""
        await self._socket.wait_closed()

    def _lost(self, problem: ConnectionClosed) -> PeerLost:
        return PeerLost(f"{self._peer}: {problem}")


class WebSocketListener:
    """An open port for WebSockets at one path; connections wait in ``accept`` until somebody takes them up."""

    def __init__(self, target: WebSocketAddress) -> None:
        self._target = target
        self._server: Server | None = None
        self._arrivals: asyncio.Queue[WebSocketConnection] = asyncio.Queue(BACKLOG_MAX)

    @property
    def address(self) -> str:
        """Where peers connect."""
        return str(self._target)

    async def open(self, tls: ssl.SSLContext | None) -> None:
        """Bind and listen. Raises ``LocalViolation``."""
        target = self._target
        try:
            self._server = await open_server(
                self._arrived,
                target.host,
                target.port,
                ssl=tls,
                origins=[None],
                process_request=self._check_path,
                compression=None,
                max_size=FRAME_BYTES_MAX,
                max_queue=UNREAD_MESSAGES_MAX,
                open_timeout=HANDSHAKE_TIMEOUT_S,
                close_timeout=GOODBYE_TIMEOUT_S,
                ping_interval=None,
                logger=_LOGGER,
            )
        except OSError as problem:
            raise LocalViolation(
                f"cannot listen at {target}: {problem.strerror or problem}; name an address of this machine and a "
                "free port, or 0 for any"
            ) from problem
        port = next(iter(self._server.sockets)).getsockname()[1]
        self._target = target._replace(port=port)

    async def accept(self) -> WebSocketConnection:
        """The next connection."""
        return await self._arrivals.get()

    async def close(self) -> None:
        """Stop listening; connections that nobody took up are dropped."""
        if self._server is not None:
            self._server.close(close_connections=False)
        while not self._arrivals.empty():
            self._arrivals.get_nowait().drop()

    def _check_path(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == self._target.path:
            return None
        return connection.respond(HTTPStatus.NOT_FOUND, "nothing is served at this path\n")

    async def _arrived(self, socket: ServerConnection) -> None:
        keep_alive(socket.transport.get_extra_info("socket"))
        host, port = socket.remote_address[:2]
        connection = WebSocketConnection(socket, str(self._target._replace(host=host, port=port, path="/")))
        try:
            self._arrivals.put_nowait(connection)
        except asyncio.QueueFull:
            connection.drop()
        await socket.wait_closed()


async def listen_websocket(address: str, *, tls: Tls | None = None) -> WebSocketListener:
    """Open ``ws://host:port/path`` (port 0 for a free one). Raises ``LocalViolation``."""
    target = parse_websocket(address)
    if target.scheme == "wss" and tls is None:
        raise LocalViolation(f"{target} needs a certificate and its key; give a Tls with both")
    listener = WebSocketListener(target)
    await listener.open(tls.server_context() if tls is not None and target.scheme == "wss" else None)
    return listener


async def connect_websocket(
    address: str, *, timeout: float = CONNECT_TIMEOUT_S, tls: Tls | None = None
) -> WebSocketConnection:
    """Connect to ``ws://host:port/path`` within *timeout* seconds. Raises ``LocalViolation``, ``PeerUnreachable``."""
    target = parse_websocket(address)
    if not target.port:
        raise LocalViolation(f"{address!r} names port 0, which is for listening; take the address the server shows")
    try:
        async with asyncio.timeout(timeout):
            socket = await open_socket(
                str(target._replace(path="/")) + target.path,
                ssl=(tls or Tls()).client_context() if target.scheme == "wss" else None,
                compression=None,
                max_size=FRAME_BYTES_MAX,
                max_queue=UNREAD_MESSAGES_MAX,
                open_timeout=None,
                close_timeout=GOODBYE_TIMEOUT_S,
                ping_interval=None,
                proxy=None,
                logger=_LOGGER,
            )
    except TimeoutError as problem:
        raise PeerUnreachable(f"nobody answered at {target} within {timeout:g} s; check the address") from problem
    except (OSError, WebSocketException) as problem:
        raise PeerUnreachable(
            f"nobody serves at {target} ({problem}); check the address, the path and that the peer serves"
        ) from problem
    keep_alive(socket.transport.get_extra_info("socket"))
    return WebSocketConnection(socket, str(target))

"""Frames over TCP and TLS: a length of four bytes before each, checked before the body is read; slow peers push back.

An ``asyncio.Protocol`` rather than streams: a third of the CPU a frame (``performance.md``, section 6), and no task of
its own. Does not retry, and has no time-outs but for connecting and for the last goodbye; whoever waits decides how
long.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import NamedTuple

from antiphon.facts import LocalViolation
from antiphon.journal.sync.messages import FRAME_BYTES_MAX, OversizedFrame

from .framing import FrameCutter, lay_out
from .tls import Tls
from .transport import SCHEME, ByteCounts, PeerLost, PeerUnreachable, TcpAddress, parse_address

CONNECT_TIMEOUT_S = 10.0
# A caller that does not say within this time that it speaks TLS is let go.
HANDSHAKE_TIMEOUT_S = 10.0
# A peer that got our last words closes at once; one that does not is not worth waiting for.
GOODBYE_TIMEOUT_S = 1.0
# Received and not yet taken: one frame of the largest size, and the next one's beginning.
UNREAD_BYTES_MAX = FRAME_BYTES_MAX
# Connections that were made and not yet taken up by the service.
BACKLOG_MAX = 64
# A live link is silent while nothing happens, so the kernel asks whether the peer is there: after 30 s, thrice.
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 30, 10, 3


class TcpStatistics(NamedTuple):
    """The insides of a connection: frames and bytes received and not yet taken."""

    waiting_frames: int
    buffered_bytes: int
    is_kept_alive: bool


class TcpConnection(asyncio.Protocol):
    """One end of a connection over a stream of bytes; made by ``connect`` and by a ``StreamListener``."""

    def __init__(self, listener: StreamListener | None = None, *, peer: str = "") -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._peer = peer or SCHEME
        self._cutter = FrameCutter()
        self._frames: deque[bytes] = deque()
        self._unread = 0
        self._problem: PeerLost | OversizedFrame | None = None
        self._is_reading = True
        self._is_closing = False
        self._is_half_closed = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._gone = asyncio.Event()
        self._writable.set()
        self._sent = 0
        self._received = 0

    @property
    def peer(self) -> str:
        """The address at the other end."""
        return self._peer

    @property
    def counts(self) -> ByteCounts:
        """Bytes sent and received so far, lengths included."""
        return ByteCounts(self._sent, self._received)

    def statistics(self) -> TcpStatistics:
        """What waits here."""
        end = self._transport.get_extra_info("socket") if self._transport else None
        is_kept_alive = end is not None and bool(end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        return TcpStatistics(len(self._frames), self._unread + self._cutter.held, is_kept_alive)

    async def send(self, *frames: bytes) -> None:
        """Write frames in one go, and wait while the peer does not read."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._is_closing:
            raise self._lost()
        stream = lay_out(frames)
        self._sent += len(stream)
        transport.write(stream)
        await self._writable.wait()
        if self._gone.is_set():
            raise self._lost()

    async def receive(self) -> bytes:
        """The next whole frame."""
        while not self._frames:
            if self._problem is not None:
                raise self._problem
            self._readable.clear()
            await self._readable.wait()
        frame = self._frames.popleft()
        self._unread -= len(frame)
        if not self._is_reading and self._unread <= UNREAD_BYTES_MAX // 2:
            self._set_reading(True)
        return frame

    async def close(self) -> None:
        """Flush, half-close, and wait a moment for the peer to do the same, so that no reset eats our last words."""
        transport = self._transport
        if transport is None or self._is_closing:
            return
        self._is_closing = True
        self._frames.clear()
        self._cutter.clear()
        try:
            if self._is_half_closed or not transport.can_write_eof():
                transport.close()  # flushes; the peer has said all, or TLS says its goodbye by itself
            elif not transport.is_closing():
                transport.write_eof()
                self._set_reading(True)
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self._gone.wait()
        except (TimeoutError, OSError):
            pass  # the peer keeps its end open, or tore it down first: either way ours is closed below
        finally:
            transport.abort()

    async def wait_gone(self) -> None:
        """Return when the connection is gone, whoever ended it."""
        await self._gone.wait()

    def drop(self) -> None:
        """Let go at once, without a word."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The kernel connected us."""
        assert isinstance(transport, asyncio.Transport), "TCP gives a two-way transport"
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            scheme = "tls" if transport.get_extra_info("ssl_object") else SCHEME
            self._peer = str(TcpAddress(peer[0], peer[1], scheme))
            keep_alive(transport.get_extra_info("socket"))
        if self._listener is not None:
            self._listener.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came; cut them into frames."""
        if self._is_closing:
            return
        self._received += len(data)
        self._take_in(data)

    def eof_received(self) -> bool:
        """The peer will send no more; keep our half open until we are done, unless we are."""
        self._end("the peer closed the connection")
        self._is_half_closed = True
        # TLS has no half-open connections.
        can_stay = self._transport is not None and self._transport.can_write_eof()
        return can_stay and not self._is_closing

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, for whatever reason."""
        self._end(f"the connection broke: {exc}" if exc else "the connection is closed")
        self._gone.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Too much is waiting for the peer."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._writable.set()

    def _take_in(self, data: bytes) -> None:
        frames = self._cutter.feed(data)
        self._frames.extend(frames)
        self._unread += sum(map(len, frames))
        if self._cutter.problem is not None and self._problem is None:
            self._problem = self._cutter.problem
            self._set_reading(False)
        if self._unread > UNREAD_BYTES_MAX and self._is_reading:
            self._set_reading(False)
        if self._frames or self._problem is not None:
            self._readable.set()

    def _set_reading(self, is_reading: bool) -> None:
        self._is_reading = is_reading
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if is_reading:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _end(self, reason: str) -> None:
        if self._problem is None:
            held = self._cutter.held
            torn = f", in the middle of a frame ({held} bytes of it)" if held else ""
            self._problem = PeerLost(f"{self._peer}: {reason}{torn}")
        self._readable.set()

    def _lost(self) -> PeerLost:
        return (
            self._problem
            if isinstance(self._problem, PeerLost)
            else PeerLost(f"{self._peer}: the connection is closed")
        )


class StreamListener:
    """An open port or socket file; connections wait in ``accept`` until somebody takes them up."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._arrivals: asyncio.Queue[TcpConnection] = asyncio.Queue()
        self._address = ""

    @property
    def address(self) -> str:
        """Where it really is, with its scheme."""
        return self._address

    def make(self) -> TcpConnection:
        """A connection for a caller who just came."""
        return TcpConnection(self)

    def opened(self, server: asyncio.Server, address: str) -> None:
        """Take over a server that calls ``make``."""
        self._server = server
        self._address = address

    def arrived(self, connection: TcpConnection) -> None:
        """Called by a connection that was just made; beyond the backlog it is dropped."""
        if self._arrivals.qsize() >= BACKLOG_MAX:
            connection.drop()
        else:
            self._arrivals.put_nowait(connection)

    async def accept(self) -> TcpConnection:
        """The next connection."""
        return await self._arrivals.get()

    async def close(self) -> None:
        """Stop listening; connections that nobody took up are dropped."""
        if self._server is not None:
            self._server.close()
        while not self._arrivals.empty():
            self._arrivals.get_nowait().drop()


async def listen(address: str, *, tls: Tls | None = None) -> StreamListener:
    """Open a port at ``tcp://host:port`` or ``tls://host:port`` (port 0 for a free one). Raises ``LocalViolation``."""
    target = parse_address(address)
    secure = _need(tls, target).server_context() if target.scheme == "tls" else None
    listener = StreamListener()
    try:
        server = await asyncio.get_running_loop().create_server(
            listener.make,
            target.host,
            target.port,
            ssl=secure,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if secure else None,
            ssl_shutdown_timeout=GOODBYE_TIMEOUT_S if secure else None,
        )
    except OSError as problem:
        raise LocalViolation(
            f"cannot listen at {target}: {problem.strerror or problem}; name an address of this machine and a "
            "free port, or 0 for any"
        ) from problem
    port = server.sockets[0].getsockname()[1]
    listener.opened(server, str(target._replace(port=port)))
    return listener


async def connect(address: str, *, timeout: float = CONNECT_TIMEOUT_S, tls: Tls | None = None) -> TcpConnection:
    """Connect to ``tcp://host:port`` or ``tls://host:port`` within *timeout* seconds.

    Raises ``LocalViolation`` for what is no address and ``PeerUnreachable`` when nobody answers there, or somebody
    whose certificate is not trusted.
    """
    target = parse_address(address)
    if not target.port:
        raise LocalViolation(f"{address!r} names port 0, which is for listening; take the address the server shows")
    secure = (tls or Tls()).client_context() if target.scheme == "tls" else None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_connection(
                TcpConnection,
                target.host,
                target.port,
                ssl=secure,
                ssl_handshake_timeout=timeout if secure else None,
                ssl_shutdown_timeout=GOODBYE_TIMEOUT_S if secure else None,
            )
    except TimeoutError as problem:
        raise PeerUnreachable(
            f"nobody answered at {target} within {timeout:g} s; check the address, the network and the firewall there"
        ) from problem
    except ssl.SSLError as problem:
        raise PeerUnreachable(
            f"{target} answers, and no secure connection comes about ({problem.reason or problem}); check that it "
            "speaks TLS and that its certificate is signed by one that is trusted here"
        ) from problem
    except OSError as problem:
        raise PeerUnreachable(
            f"nobody answers at {target} ({problem.strerror or problem}); check the address and that the peer serves"
        ) from problem
    return connection


def _need(tls: Tls | None, target: TcpAddress) -> Tls:
    if tls is None:
        raise LocalViolation(f"{target} needs a certificate and its key; give a Tls with both")
    return tls


def keep_alive(peer: socket.socket | None) -> None:
    """Let the kernel ask a silent peer whether it is there; and send small frames at once."""
    if peer is None:
        return
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # macOS calls the first one differently; without these the system's two hours stand.
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPALIVE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            peer.setsockopt(socket.IPPROTO_TCP, option, value)

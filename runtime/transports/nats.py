"""Frames through a NATS server: peers that cannot reach each other and both reach the server.

Needs the extra ``nats``. An address is ``nats://host:port/room/name``: who serves does so under a name in a room, and
whoever connects asks for that name, or for anybody in the room. A connection is a pair of subjects that nobody else can
guess; on them go

    D sequence ‖ bytes        a piece of the stream of frames
    A 0 ‖ total               so many bytes were taken: credit, since a server pushes nobody back
    E sequence                no more will come
    P 0                       is anybody there?

A server that asks for it is shown a user, a token, or the signature of a key (`nats_access.py`); with certificates
given, only one that speaks TLS is spoken to.

The server loses messages when somebody is slow, and promises nothing across a restart. So pieces are numbered and a
gap ends the connection; whoever speaks to a subject without a listener is told so by the server, which is how a peer's
death is noticed, at the latest by the question that an idle connection asks twice a minute. Whatever the server
acknowledges says nothing about the peer: only a session's own agreement does.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from antiphon.facts import LocalViolation
from antiphon.journal.sync.messages import FRAME_BYTES_MAX, LENGTH_BYTES, OversizedFrame

from ..resilience import ExponentialWithJitter, Timing
from ..tasks import OwnedTasks
from .extras import MissingExtra
from .framing import FrameCutter, lay_out
from .nats_access import NatsAccess
from .tcp import BACKLOG_MAX, CONNECT_TIMEOUT_S
from .tls import Tls
from .transport import PORT_MAX, ByteCounts, PeerLost, PeerUnreachable, host_and_port

try:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.errors import Error as NatsError
    from nats.errors import NoRespondersError
except ImportError as missing:
    raise MissingExtra("nats", "nats") from missing

NATS_PORT = 4222
# On their way and not yet taken: two frames of the largest size, so that one is read while the next arrives.
WINDOW_BYTES = 2 * (FRAME_BYTES_MAX + LENGTH_BYTES)
# Credit is told after this much, so that it costs little and never lets the window run dry.
CREDIT_BYTES = WINDOW_BYTES // 8
PIECE_BYTES_MAX = 256 * 1024
# As often as the kernel asks a silent TCP peer.
PROBE_S = 30.0
# A server that comes back is found again about this soon.
_RETURNING = ExponentialWithJitter(base_s=0.1, cap_s=2.0)
_PATIENCE = Timing()
_GOODBYE_S = 2.0
_HEAD = struct.Struct(">cQ")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_RESPONDERS = "503"


class NatsAddress(NamedTuple):
    """A server, a room, and a name in it; "" is anybody."""

    host: str
    port: int
    room: str
    name: str = ""

    @property
    def server(self) -> str:
        """The server alone."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"nats://{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.server}/{self.room}" + (f"/{self.name}" if self.name else "")


def parse_nats(text: str) -> NatsAddress:
    """Read ``nats://host:port/room`` or ``nats://host:port/room/name``. Raises ``LocalViolation``.

    >>> parse_nats("nats://127.0.0.1:4222/notes/ada").room
    'notes'
    """
    scheme, separator, rest = text.partition("://")
    where, *path = rest.split("/")
    found = host_and_port(where) if separator and scheme == "nats" else None
    is_whole = found is not None and 0 < found[1] <= PORT_MAX and 1 <= len(path) <= 2
    if found is None or not is_whole or not all(map(_TOKEN.fullmatch, path)):
        raise LocalViolation(
            f"{text!r} is no address; expected nats://host:port/room or …/room/name with names of letters, digits, - "
            "and _, such as nats://127.0.0.1:4222/notes/ada"
        )
    return NatsAddress(*found, *path)


class NatsConnection:
    """One end of a conversation through a server; made by ``connect_nats`` and by a ``NatsListener``."""

    def __init__(self, client: Client, peer: str, *, on_gone: Callable[[NatsConnection], Awaitable[None]]) -> None:
        self._client = client
        self._peer = peer
        self._on_gone = on_gone
        self._theirs = ""
        self.subject = client.new_inbox()
        self._subscription: Subscription | None = None
        self._piece_bytes = min(PIECE_BYTES_MAX, client.max_payload - _HEAD.size)
        self._cutter = FrameCutter()
        self._frames: deque[bytes] = deque()
        self._problem: PeerLost | OversizedFrame | None = None
        self._is_closed = False
        self._changed = asyncio.Event()
        self._credited = asyncio.Event()
        self._pieces_sent = self._pieces_heard = 0
        self._sent = self._received = 0
        self._sent_taken = self._taken = self._taken_told = 0
        self._prober: asyncio.TimerHandle | None = None
        self._tasks = OwnedTasks()

    @property
    def peer(self) -> str:
        """The name at the other end, as far as it gave one."""
        return self._peer

    @property
    def counts(self) -> ByteCounts:
        """Bytes of frames sent and received so far, lengths included."""
        return ByteCounts(self._sent, self._received)

    async def open(self) -> None:
        """Begin to listen; ``meet`` says to whom."""
        self._subscription = await self._client.subscribe(self.subject, cb=self._heard)

    def meet(self, subject: str) -> None:
        """The subject where the peer listens."""
        self._theirs = subject
        self._probe_later()

    async def send(self, *frames: bytes) -> None:
        """Publish frames in as few pieces as may be, and wait while the peer does not take them."""
        if self._is_closed or self._problem is not None:
            raise self._lost()
        stream = lay_out(frames)
        pieces = [stream[at : at + self._piece_bytes] for at in range(0, len(stream), self._piece_bytes)]
        try:
            while pieces:
                await self._send_piece(pieces[0])
                del pieces[0]
        finally:
            if pieces:
                self.lose("a send was cancelled halfway")

    async def _send_piece(self, piece: bytes) -> None:
        self._sent += len(piece)
        while self._sent - self._sent_taken > WINDOW_BYTES and self._problem is None:
            self._credited.clear()
            await self._credited.wait()
        if self._problem is None:
            number, self._pieces_sent = self._pieces_sent, self._pieces_sent + 1
            await self._say(b"D", number, piece)
        if self._problem is not None:
            raise self._lost()

    async def receive(self) -> bytes:
        """The next whole frame."""
        while not self._frames:
            if self._problem is not None:
                raise self._problem
            self._changed.clear()
            await self._changed.wait()
        frame = self._frames.popleft()
        self._taken += LENGTH_BYTES + len(frame)
        if self._taken - self._taken_told >= CREDIT_BYTES and self._problem is None:
            # A task, since a receive that is cancelled here would lose its frame.
            self._taken_told = self._taken
            self._tasks.start(self._say(b"A", self._taken))
        return frame

    async def close(self) -> None:
        """Tell the peer that no more will come, after all that was sent, and let go."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if self._theirs and not isinstance(self._problem, PeerLost):
                await self._client.publish(self._theirs, _HEAD.pack(b"E", self._pieces_sent))
                await self._client.flush(timeout=2)
        except (NatsError, OSError, TimeoutError):
            pass  # the server is gone, and with it everybody who might have heard
        await self._let_go()
        await self._tasks.cancel()

    def drop(self) -> None:
        """Let go at once, without a word; the server tells the peer when it speaks next."""
        if not self._is_closed:
            self._is_closed = True
            self._tasks.start(self._let_go())

    def lose(self, reason: str) -> None:
        """The way to the peer is gone."""
        self._end(PeerLost(f"{self._peer}: {reason}"))

    async def _let_go(self) -> None:
        self._end(PeerLost(f"{self._peer}: this end is closed"))
        self._frames.clear()
        try:
            if self._subscription is not None:
                await self._subscription.unsubscribe()
        except (NatsError, OSError, ValueError):
            pass  # the client is closed, and its subscriptions with it
        await self._on_gone(self)

    async def _say(self, kind: bytes, number: int, data: bytes = b"") -> None:
        """Publish, unless the way is gone: then that is noted."""
        try:
            # Where nobody listens, the server answers to the reply subject: that is our own.
            await self._client.publish(self._theirs, _HEAD.pack(kind, number) + data, reply=self.subject)
        except (NatsError, OSError) as problem:
            self.lose(f"the server is gone ({problem})")

    async def _heard(self, message: Msg) -> None:
        if self._problem is None:
            self._hear(message.data, (message.headers or {}).get("Status", ""))

    def _hear(self, data: bytes, status: str) -> None:
        if not data and status == _NO_RESPONDERS:
            self.lose("nobody listens there any more")
            return
        kind, number = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (b"", len(data))
        match kind:
            case b"D":
                self._take_in(number, memoryview(data)[_HEAD.size :])
            case b"A" if self._sent_taken <= number <= self._sent:
                self._sent_taken = number
                self._credited.set()
            case b"E":
                gap = "" if number == self._pieces_heard else ", and pieces before it are missing"
                self.lose(f"the peer closed the connection{gap}")
            case b"P":
                return  # that it could be asked is the answer
            case _:
                self.lose(f"{kind!r} {number} is no part of this conversation")

    def _take_in(self, number: int, piece: memoryview) -> None:
        if number != self._pieces_heard:
            self.lose(f"piece {number} came and {self._pieces_heard} was expected; the server lost some")
            return
        self._pieces_heard += 1
        self._received += len(piece)
        self._frames.extend(self._cutter.feed(piece))
        if self._received - self._taken > WINDOW_BYTES + PIECE_BYTES_MAX:
            self.lose("the peer sent more than it was granted")
        elif self._cutter.problem is not None:
            self._end(self._cutter.problem)
        elif self._frames:
            self._changed.set()

    def _end(self, problem: PeerLost | OversizedFrame) -> None:
        if self._problem is None:
            self._problem = problem
        if self._prober is not None:
            self._prober.cancel()
        self._changed.set()
        self._credited.set()

    def _lost(self) -> PeerLost:
        return self._problem if isinstance(self._problem, PeerLost) else PeerLost(f"{self._peer}: this end is closed")

    def _probe_later(self) -> None:
        self._prober = asyncio.get_running_loop().call_later(PROBE_S, self._probe)

    def _probe(self) -> None:
        self._tasks.start(self._say(b"P", 0))
        self._probe_later()


class NatsListener:
    """A name in a room. The server may go and come back: connections end, and the name is there again."""

    def __init__(self, target: NatsAddress, *, tls: Tls | None = None, access: NatsAccess | None = None) -> None:
        self._target = target
        self._client = LastingClient(target, begin=self._take_names, lost=self._lose_all, tls=tls, access=access)
        self._arrivals: asyncio.Queue[NatsConnection] = asyncio.Queue(BACKLOG_MAX)
        self._connections: set[NatsConnection] = set()

    @property
    def address(self) -> str:
        """Where peers connect."""
        return str(self._target)

    async def open(self) -> None:
        """Connect to the server and take the name. Raises ``PeerUnreachable``."""
        await self._client.open()

    async def accept(self) -> NatsConnection:
        """The next connection."""
        return await self._arrivals.get()

    async def close(self) -> None:
        """Give up the name; connections that nobody took up are dropped, others go on until they are closed."""
        while not self._arrivals.empty():
            await self._arrivals.get_nowait().close()
        for connection in list(self._connections):
            await connection.close()
        await self._client.close()

    async def _take_names(self, client: Client) -> None:
        target = self._target
        for subject, queue in ((_door(target, target.name), ""), (_door(target, ""), "anybody")):
            if subject:
                await client.subscribe(subject, queue=queue, cb=self._arrived)
        await client.flush()

    async def _arrived(self, message: Msg) -> None:
        caller = message.data.decode("ascii", "replace")
        if not caller.startswith("_INBOX.") or not message.reply or self._arrivals.full():
            return  # the caller's patience ends, and so does its attempt
        client = self._client.now
        connection = NatsConnection(client, f"{self._target.server}/{self._target.room}/?", on_gone=self._forget)
        await connection.open()
        connection.meet(caller)
        self._connections.add(connection)
        self._arrivals.put_nowait(connection)
        await client.publish(message.reply, connection.subject.encode())

    async def _forget(self, connection: NatsConnection) -> None:
        self._connections.discard(connection)

    async def _lose_all(self) -> None:
        for connection in list(self._connections):
            connection.lose("the connection to the server broke")
        self._connections.clear()


class LastingClient:
    """A client of a server that comes back to it, each time a new one, for as long as it is not closed.

    The library's own way back ends for good once a server says an error: that it does not know this user, or has no
    room. Who asks again later may be let in. *begin* is what stands on a connection, done anew for each; *lost* is told
    when the server is gone.
    """

    def __init__(
        self,
        target: NatsAddress,
        *,
        begin: Callable[[Client], Awaitable[None]],
        lost: Callable[[], Awaitable[None]],
        tls: Tls | None = None,
        access: NatsAccess | None = None,
    ) -> None:
        self.now = Client()
        self._target = target
        self._begin = begin
        self._lost = lost
        self._tls = tls
        self._access = access
        self._is_away = False  # only what was open can be given up
        self._tasks = OwnedTasks()

    async def open(self) -> None:
        """Connect and begin. Raises ``PeerUnreachable``, and what *begin* raises; then nothing is open."""
        self._is_away = True
        self.now = client = Client()
        await connect_client(client, self._target, disconnected=self._gone, tls=self._tls, access=self._access)
        try:
            await self._begin(client)
        except BaseException:
            await close_client(client)
            raise
        self._is_away = False

    async def close(self) -> None:
        """Let go of the server, and do not come back."""
        self._is_away = True
        await self._tasks.cancel()
        await close_client(self.now)

    async def _gone(self) -> None:
        await self._lost()
        if not self._is_away:
            self._is_away = True
            self._tasks.start(self._come_back())

    async def _come_back(self) -> None:
        for attempt in count():
            await asyncio.sleep(_RETURNING.delay_s(attempt=attempt, chance=_PATIENCE.chance()))
            await close_client(self.now)
            # It is not there, or lets nobody in: there is always a next time.
            with suppress(PeerUnreachable, NatsError, OSError, TimeoutError):
                await self.open()
                return


async def listen_nats(address: str, *, tls: Tls | None = None, access: NatsAccess | None = None) -> NatsListener:
    """Serve under ``nats://host:port/room/name``. Raises ``LocalViolation`` and ``PeerUnreachable``."""
    listener = NatsListener(parse_nats(address), tls=tls, access=access)
    await listener.open()
    return listener


async def connect_nats(
    address: str, *, timeout: float = CONNECT_TIMEOUT_S, tls: Tls | None = None, access: NatsAccess | None = None
) -> NatsConnection:
    """Meet who serves under this name, or anybody in the room. Raises ``LocalViolation`` and ``PeerUnreachable``."""
    target = parse_nats(address)
    client = Client()
    connection: NatsConnection | None = None

    async def lost() -> None:
        if connection is not None:
            connection.lose("the connection to the server broke")

    async def gone(_: NatsConnection) -> None:
        await close_client(client)

    try:
        async with asyncio.timeout(timeout):
            await connect_client(client, target, disconnected=lost, tls=tls, access=access)
            connection = NatsConnection(client, str(target), on_gone=gone)
            await connection.open()
            answer = await client.request(_door(target, target.name), connection.subject.encode(), timeout=timeout)
            connection.meet(answer.data.decode("ascii", "replace"))
            return connection
    except (NoRespondersError, TimeoutError) as problem:
        await close_client(client)
        who = f"{target.name} is not" if target.name else "nobody is"
        raise PeerUnreachable(
            f"{who} in room {target.room} at {target.server}; check the names and that it serves"
        ) from problem
    except (NatsError, OSError) as problem:
        await close_client(client)
        raise PeerUnreachable(f"the server {target.server} broke off ({problem})") from problem
    except BaseException:
        await close_client(client)
        raise


def _door(target: NatsAddress, name: str) -> str:
    return f"antiphon.{target.room}.name.{name}" if name else f"antiphon.{target.room}.anybody"


async def connect_client(
    client: Client,
    target: NatsAddress,
    *,
    disconnected: Callable[[], Awaitable[None]],
    tls: Tls | None = None,
    access: NatsAccess | None = None,
) -> None:
    """Connect to the server, once; *disconnected* is told when it is gone. Raises ``PeerUnreachable``."""

    problems: list[Exception] = []
    is_open = False

    async def note(problem: Exception) -> None:
        """A server that lets nobody in is tried for ever by the library; later, what matters is seen where it does."""
        problems[:] = [problem]
        if not is_open and (isinstance(problem, ssl.SSLError) or "uthoriz" in str(problem)):
            limit.reschedule(0.0)

    shown = _shown(access)
    # Given the seed, the library would need another one to sign with it; all that it lacks is the key's name.
    client._public_nkey = shown.nkey
    try:
        # The library tries for ever to reach a server for the first time; whether one is there is known sooner.
        await _check_server(target, tls)
        async with asyncio.timeout(CONNECT_TIMEOUT_S) as limit:
            await client.connect(
                target.server,
                name=f"antiphon {target.room}/{target.name}",
                allow_reconnect=False,
                connect_timeout=5,
                error_cb=note,
                disconnected_cb=disconnected,
                closed_cb=disconnected,
                tls=tls.client_context() if tls is not None else None,
                user=shown.user,
                password=shown.password,
                token=shown.token,
                signature_cb=shown.sign,
                user_jwt_cb=shown.jwt,
            )
        is_open = True
    except (NatsError, OSError, TimeoutError) as problem:
        await close_client(client)
        told = problems[-1] if problems else problem
        why = str(told) or type(told).__name__
        advice = "what it is shown, and the certificates" if problems else "the address and that it runs"
        raise PeerUnreachable(f"no NATS server answers at {target.server} ({why}); check {advice}") from problem


class _Shown(NamedTuple):
    """What a client is given of an access."""

    user: str | None = None
    password: str | None = None
    token: str | None = None
    nkey: str | None = None
    sign: Callable[[str], bytes] | None = None
    jwt: Callable[[], bytes] | None = None


def _shown(access: NatsAccess | None) -> _Shown:
    if access is None:
        return _Shown()
    if not access.seed:
        return _Shown(access.user or None, access.password or None, access.token or None)
    return _Shown(nkey=access.public_key, sign=access.sign, jwt=access.jwt.encode if access.jwt else None)


async def _check_server(target: NatsAddress, tls: Tls | None) -> None:
    """Raise unless a server answers, and speaks TLS if that is wanted; nothing was shown to it then."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            first = await reader.readline()
    finally:
        writer.transport.abort()
    speaks_tls = re.search(rb'"tls_required"\s*:\s*true', first) is not None
    if first[:5] != b"INFO ":
        raise ConnectionError("it does not begin as a NATS server does")
    if tls is not None and not speaks_tls:
        raise ConnectionError("it speaks no TLS, and certificates were given")
    if tls is None and speaks_tls:
        raise ConnectionError("it speaks TLS only; give the certificates that are trusted")


async def close_client(client: Client) -> None:
    """Let go of the server, whatever state that is in."""
    # Gone already, or waiting for the end of a handshake that failed, which does not come.
    with suppress(NatsError, OSError, TimeoutError):
        if client.is_connected:
            async with asyncio.timeout(_GOODBYE_S):
                await client.close()
    # The library leaves the socket of an attempt that failed to the garbage collector.
    if client._transport is not None:
        client._transport.close()  # type: ignore[no-untyped-call]  # as the library wrote it

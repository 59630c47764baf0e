"""A network that can fail in every way a network may, behind the transport's own interface.

``VirtualNetwork.host(name)`` is one machine: its ``connect`` and ``listen`` go into ``SyncSettings``. What the
transport promises holds while the network is kind: whole frames, in order, each once, until one side closes. Loss
therefore breaks a connection instead of leaving a gap; duplication, reordering and corruption are a broken middlebox's
work, which a session must refuse without being led astray. A partition holds frames back, as TCP does, until it heals
or the kernel gives up. Nothing here knows what a frame says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import dataclass, field
from random import Random

from antiphon.facts import LocalViolation
from antiphon.runtime.transports.transport import ByteCounts, PeerLost, PeerUnreachable, check_frame, wire_size

from .loop import PROCESS, Process, VirtualLoop, running_loop

# As the in-process transport: what a socket's buffers hold.
WINDOW_BYTES_MAX = 256 * 1024
# The kernel asks three times, ten seconds apart, after half a minute of silence.
KEEPALIVE_S = 60.0

Tell = Callable[[str, bytes], None]


@dataclass(slots=True)
class Quality:
    """How kind a link is. Times in seconds, ``bytes_per_s`` 0 for no limit, chances from 0 to 1 a frame."""

    latency_s: float = 0.001
    jitter_s: float = 0.0
    bytes_per_s: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0


@dataclass(slots=True)
class NetworkStatistics:
    """What the network did so far."""

    frames: int = 0
    bytes: int = 0
    broken: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    refused: int = 0


class VirtualNetwork:
    """Hosts, the links between them, and what goes wrong there.

    >>> from .loop import run_virtual
    >>> async def main() -> bytes:
    ...     network = VirtualNetwork(Random(1))
    ...     listener = await network.host("ben").listen("tcp://ben:7")
    ...     here = await network.host("ada").connect(listener.address, timeout=1)
    ...     there = await listener.accept()
    ...     await here.send(b"hello")
    ...     return await there.receive()
    >>> run_virtual(main())
    b'hello'
    """

    def __init__(
        self,
        random: Random,
        *,
        quality: Quality | None = None,
        tell: Tell | None = None,
        loop: VirtualLoop | None = None,
    ) -> None:
        self.loop = loop or running_loop()
        self.quality = quality or Quality()
        self.links: dict[tuple[str, str], Quality] = {}
        """Qualities of single directions; others have the network's."""
        self.statistics = NetworkStatistics()
        self.random = random
        self._tell = tell
        self._groups: dict[str, int] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._listeners: dict[str, VirtualListener] = {}
        self._connections: dict[VirtualConnection, None] = {}
        self._ports = 7_000

    def host(self, name: str) -> Host:
        """The machine called *name*."""
        return Host(self, name)

    def partition(self, *groups: Iterable[str]) -> None:
        """Only hosts of one group reach each other; those that are not named form a group of their own."""
        self._groups = {name: number for number, group in enumerate(groups, start=1) for name in group}
        self._on_weather()

    def cut(self, source: str, target: str) -> None:
        """Nothing goes from *source* to *target* any more; the other way stays as it is (half open)."""
        self._cuts.add((source, target))
        self._on_weather()

    def heal(self) -> None:
        """Everybody reaches everybody, over kind links."""
        self._groups = {}
        self._cuts.clear()
        self.links.clear()
        self.quality = Quality()
        self._on_weather()

    def passes(self, source: str, target: str) -> bool:
        """Whether a frame from *source* may arrive at *target* now."""
        return self._groups.get(source, 0) == self._groups.get(target, 0) and (source, target) not in self._cuts

    def forget(self, process: Process, *, is_silent: bool) -> None:
        """A process is gone: its peers are told by its kernel, or, when the machine is gone as well, by nobody."""
        for address, listener in tuple(self._listeners.items()):
            if listener.process is process:
                del self._listeners[address]
                listener.drop_waiting()
        for connection in tuple(self._connections):
            if connection.process is process:
                connection.die(is_silent=is_silent)

    def break_connections(self, first: str, second: str) -> None:
        """Reset every connection between two hosts."""
        for connection in tuple(self._connections):
            if {connection.source, connection.target} == {first, second}:
                connection.break_off("the network reset the connection")

    def note(self, what: str, data: bytes = b"") -> None:
        """Tell whoever keeps the trace."""
        if self._tell is not None:
            self._tell(what, data)

    async def open(self, source: str, address: str, *, timeout: float) -> VirtualConnection:
        """Connect; takes a round trip, or the whole time-out when nobody can be heard."""
        listener = self._listeners.get(address)
        target = listener.host if listener is not None else ""
        quality = self.quality_of(source, target)
        is_heard = listener is None or (self.passes(source, target) and self.passes(target, source))
        await asyncio.sleep(2 * quality.latency_s if is_heard else timeout)
        listener = self._listeners.get(address)
        if not is_heard or listener is None or not self.passes(source, listener.host):
            self.statistics.refused += 1
            raise PeerUnreachable(f"nobody answers at {address}; check that the peer serves")
        there, back = _Wire(self, source, listener.host), _Wire(self, listener.host, source)
        here = VirtualConnection(self, there, back, PROCESS.get())
        other = VirtualConnection(self, back, there, listener.process)
        self._connections.update({here: None, other: None})
        listener.arrived(other)
        return here

    def quality_of(self, source: str, target: str) -> Quality:
        """How kind one direction is now."""
        return self.links.get((source, target), self.quality)

    def add_listener(self, listener: VirtualListener) -> None:
        """Open an address. Raises ``LocalViolation`` when it is taken."""
        if listener.address in self._listeners:
            raise LocalViolation(f"cannot listen at {listener.address}: the address is in use")
        self._listeners[listener.address] = listener

    def remove_listener(self, listener: VirtualListener) -> None:
        """Close an address."""
        if self._listeners.get(listener.address) is listener:
            del self._listeners[listener.address]

    def free_port(self) -> int:
        """A port that nobody has had."""
        self._ports += 1
        return self._ports

    def remove(self, connection: VirtualConnection) -> None:
        """A connection is over."""
        self._connections.pop(connection, None)

    @property
    def connection_count(self) -> int:
        """Ends of connections that are neither closed nor broken."""
        return len(self._connections)

    def _on_weather(self) -> None:
        for connection in tuple(self._connections):
            connection.on_weather()


class Host:
    """One machine on the network: what a service there needs to reach others and to be reached."""

    def __init__(self, network: VirtualNetwork, name: str) -> None:
        self._network = network
        self.name = name

    async def connect(self, address: str, /, *, timeout: float) -> VirtualConnection:
        """Reach the listener at *address*. Raises ``PeerUnreachable``."""
        return await self._network.open(self.name, address, timeout=timeout)

    async def listen(self, address: str, /) -> VirtualListener:
        """Open ``tcp://host:port``; port 0 picks a free one. Raises ``LocalViolation``."""
        base, _, port = address.rpartition(":")
        listener = VirtualListener(
            self._network, f"{base}:{self._network.free_port() if port == '0' else port}", self.name
        )
        self._network.add_listener(listener)
        return listener


class VirtualListener:
    """An open address of a host."""

    def __init__(self, network: VirtualNetwork, address: str, host: str) -> None:
        self._network = network
        self._address = address
        self.host = host
        self.process = PROCESS.get()
        self._arrivals: asyncio.Queue[VirtualConnection] = asyncio.Queue()

    @property
    def address(self) -> str:
        """Where peers connect."""
        return self._address

    def arrived(self, connection: VirtualConnection) -> None:
        """A peer connected."""
        self._arrivals.put_nowait(connection)

    async def accept(self) -> VirtualConnection:
        """The next connection."""
        return await self._arrivals.get()

    async def close(self) -> None:
        """Listen no more."""
        self._network.remove_listener(self)
        self.drop_waiting()

    def drop_waiting(self) -> None:
        """Let go of connections that nobody took up."""
        while not self._arrivals.empty():
            self._arrivals.get_nowait().drop()


@dataclass(slots=True, eq=False)
class _Wire:
    """Frames under way in one direction."""

    network: VirtualNetwork
    source: str
    target: str
    under_way: deque[tuple[float, bytes]] = field(default_factory=deque)
    arrived: deque[bytes] = field(default_factory=deque)
    queued_bytes: int = 0
    free_at: float = 0.0
    is_ended: bool = False
    is_unread: bool = False
    problem: str = ""
    changed: list[asyncio.Future[None]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    end_at: float = 0.0

    def put(self, frame: bytes) -> bool:
        """Send a frame on its way; False when the network lost it, and the connection with it."""
        network, random = self.network, self.network.random
        quality = network.quality_of(self.source, self.target)
        network.statistics.frames += 1
        network.statistics.bytes += len(frame)
        network.note(f"{self.source}>{self.target}", frame)
        if quality.loss and random.random() < quality.loss:
            return False
        if quality.corrupt and random.random() < quality.corrupt:
            network.statistics.corrupted += 1
            spoiled = bytearray(frame)
            spoiled[random.randrange(len(frame))] ^= 1 << random.randrange(8)
            frame = bytes(spoiled)
        now = self.network.loop.elapsed_s
        at = max(self.free_at, now + quality.latency_s + random.random() * quality.jitter_s)
        if quality.bytes_per_s:
            at += len(frame) / quality.bytes_per_s
        self.free_at = at
        self.under_way.append((at, frame))
        self.queued_bytes += len(frame)
        if quality.reorder and len(self.under_way) > 1 and random.random() < quality.reorder:
            network.statistics.reordered += 1
            (first_at, first), (last_at, last) = self.under_way[-2], self.under_way[-1]
            self.under_way[-2], self.under_way[-1] = (first_at, last), (last_at, first)
        if quality.duplicate and random.random() < quality.duplicate:
            network.statistics.duplicated += 1
            self.under_way.append((at, frame))
            self.queued_bytes += len(frame)
        self.arm()
        return True

    def end(self) -> None:
        """The sender is done; the end arrives behind the last frame."""
        if self.is_ended:
            return
        self.is_ended = True
        now = self.network.loop.elapsed_s
        self.end_at = max(self.free_at, now + self.network.quality_of(self.source, self.target).latency_s)
        self.arm()

    def arm(self) -> None:
        """Wake up when the next frame, or the end, is due; a blocked way waits for better weather."""
        if self.timer is not None or self.problem or not self.network.passes(self.source, self.target):
            return
        if self.under_way:
            at = self.under_way[0][0]
        elif self.is_ended:
            at = self.end_at
        else:
            return
        loop = self.network.loop
        # In nobody's name: what is on the wire outlives whoever sent it.
        self.timer = loop.call_at(max(at, loop.elapsed_s), self._deliver, context=_NOBODY)

    def _deliver(self) -> None:
        self.timer = None
        if not self.network.passes(self.source, self.target):
            return
        now = self.network.loop.elapsed_s
        while self.under_way and self.under_way[0][0] <= now:
            _, frame = self.under_way.popleft()
            if self.is_unread:
                self.queued_bytes -= len(frame)
            else:
                self.arrived.append(frame)
        if not self.under_way and self.is_ended and self.end_at <= now:
            self.problem = "the other end closed the connection"
        self.announce()
        self.arm()

    def fail(self, problem: str) -> None:
        """The way is gone; what had arrived can still be read."""
        if not self.problem:
            self.problem = problem
            self.under_way.clear()
            self.announce()

    def announce(self) -> None:
        """Wake who waits."""
        waiting, self.changed = self.changed, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def change(self) -> None:
        """Wait until something may have changed."""
        waiter = self.network.loop.create_future()
        self.changed.append(waiter)
        await waiter


# Callbacks of the wire itself belong to no process.
_NOBODY = Context()


class VirtualConnection:
    """One end of a connection."""

    def __init__(self, network: VirtualNetwork, outgoing: _Wire, incoming: _Wire, process: Process | None) -> None:
        self._network = network
        self._outgoing = outgoing
        self._incoming = incoming
        self.process = process
        self.source = outgoing.source
        self.target = outgoing.target
        self._sent = 0
        self._received = 0
        self._is_closed = False
        self._keepalive: asyncio.TimerHandle | None = None

    @property
    def peer(self) -> str:
        """The host at the other end."""
        return f"sim:{self.target}"

    @property
    def counts(self) -> ByteCounts:
        """Bytes sent and received so far."""
        return ByteCounts(self._sent, self._received)

    async def send(self, *frames: bytes) -> None:
        """Send frames, and wait while too much is under way or unread."""
        wire = self._outgoing
        for frame in frames:
            check_frame(frame)
            if self._is_closed or wire.problem or wire.is_unread:
                raise PeerLost(wire.problem or "the connection is closed")
            self._sent += wire_size(frame)
            if not wire.put(frame):
                self._network.statistics.broken += 1
                self.break_off("the network lost a packet for too long")
                raise PeerLost("the network lost a packet for too long")
        while wire.queued_bytes > WINDOW_BYTES_MAX and not wire.is_unread:
            if wire.problem:
                raise PeerLost(wire.problem)
            await wire.change()
        if self._is_closed:
            raise PeerLost("the connection is closed")

    async def receive(self) -> bytes:
        """The next frame."""
        wire = self._incoming
        while not wire.arrived:
            if wire.problem or self._is_closed:
                raise PeerLost(wire.problem or "the connection is closed")
            await wire.change()
        frame = wire.arrived.popleft()
        wire.queued_bytes -= len(frame)
        wire.announce()
        self._received += wire_size(frame)
        return frame

    async def close(self) -> None:
        """Say that no more will come, and listen no more."""
        self.drop()

    def drop(self) -> None:
        """The same, without a word of asyncio."""
        if self._is_closed:
            return
        self._is_closed = True
        self._outgoing.end()
        self._incoming.is_unread = True
        self._incoming.arrived.clear()
        self._incoming.queued_bytes = 0
        self._incoming.announce()
        self._outgoing.announce()
        self._disarm()
        self._network.remove(self)

    def break_off(self, reason: str) -> None:
        """Reset: both ends are told, what was under way is lost."""
        for wire in (self._outgoing, self._incoming):
            wire.fail(reason)
        self._disarm()
        self._network.remove(self)

    def die(self, *, is_silent: bool) -> None:
        """This end's process is gone."""
        if is_silent:
            # Nobody says so; the other side's kernel finds out by asking.
            self._outgoing.under_way.clear()
            loop = self._network.loop
            loop.call_later(KEEPALIVE_S, self._outgoing.fail, "the peer does not answer", context=_NOBODY)
            loop.call_later(KEEPALIVE_S, self._incoming.fail, "the peer does not answer", context=_NOBODY)
        else:
            self._outgoing.end()
            self._incoming.is_unread = True
            self._incoming.announce()
        self._disarm()
        self._network.remove(self)

    def on_weather(self) -> None:
        """The ways changed: go on, or begin to wonder."""
        wires = (self._outgoing, self._incoming)
        for wire in wires:
            wire.arm()
        if all(self._network.passes(wire.source, wire.target) for wire in wires):
            self._disarm()
        elif self._keepalive is None:
            self._keepalive = self._network.loop.call_later(
                KEEPALIVE_S, self.break_off, "the peer does not answer", context=_NOBODY
            )

    def _disarm(self) -> None:
        timer, self._keepalive = self._keepalive, None
        if timer is not None:
            timer.cancel()

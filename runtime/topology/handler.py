"""A role's messages, carried as its topology says: in this process through a hub, elsewhere over one connection a pair.

A connection carries one direction, from whoever sends to whoever receives, so that order is kept by construction. It is
made when the first message is sent. A connection that breaks ends what was said over it: nobody could know what had
arrived, so nothing is sent twice. Decides nothing about places: `choreography/topology` does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import NamedTuple

from antiphon.choreography.topology import Topology
from antiphon.facts import AntiphonError, LocalViolation, RemoteViolation

from ..choreography.codec import JSON, Codec
from ..choreography.errors import ChannelClosed, ChannelSendFailed, SerializationFailed, UnknownRole
from ..choreography.handler import HandlerProfile, label_of
from ..choreography.handlers.memory import Channel, InMemoryHandler, MemoryHub
from ..choreography.handlers.memory import Item as HubItem
from ..resilience import (
    DeadlineExceeded,
    ExponentialWithJitter,
    MaxRetriesExceeded,
    RetryPolicy,
    TimeoutBudget,
    Timing,
    retry,
)
from ..tasks import OwnedTasks
from ..transports.reach import EVERY_TRANSPORT, Transports
from ..transports.transport import Connection, Listener, PeerLost, PeerUnreachable
from .door import Door, TurnedAway, source_of
from .factory import Places, TransportFactory
from .wire import END, Introduction, Item, ItemReader, LyingRole, lay_out_item

# Messages that came and were not received; beyond it the connection is not read, and the sender waits.
UNREAD_ITEMS_MAX = 32
# Two of the largest messages that the usual codec makes.
UNREAD_BYTES_MAX = 8 * 1024 * 1024
# Callers that did not introduce themselves yet.
STRANGERS_MAX = 64
INTRODUCTION_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 10.0
GOODBYE_TIMEOUT_S = 1.0
# A peer's last words come over a connection of their own, which may be on its way when the other one ends.
LAST_WORDS_S = 1.0
# A role may be started some seconds after those that speak to it.
CONNECTING = RetryPolicy(attempts_max=32, delays=ExponentialWithJitter(base_s=0.02, cap_s=2.0))
REACH_WITHIN_S = 30.0
PROBLEMS_KEPT_MAX = 16


class TopologyStatistics(NamedTuple):
    """The insides of a handler: peers it speaks to and hears, callers it did not believe or had no room for."""

    speaking_to: tuple[str, ...]
    hearing: tuple[str, ...]
    refused: tuple[str, ...]
    turned_away: TurnedAway = TurnedAway()


class TopologyHandler(InMemoryHandler):
    """One role of a protocol, wherever the others are; ``initialize`` before use, ``close`` after.

    Local roles meet in *hub*. ``roles`` are those who may speak (None: whom the topology places). A first message to a
    peer waits for it at most ``reach_within_s``, whatever keeps it away, and is then a ``ChannelSendFailed``.
    """

    profile = HandlerProfile(delivery="at_most_once")

    def __init__(
        self,
        topology: Topology,
        role: str,
        *,
        protocol: str = "",
        roles: Iterable[str] | None = None,
        hub: MemoryHub | None = None,
        codec: Codec = JSON,
        transports: Transports = EVERY_TRANSPORT,
        socket_folder: str | os.PathLike[str] | None = None,
        connecting: RetryPolicy = CONNECTING,
        reach_within_s: float = REACH_WITHIN_S,
        timing: Timing | None = None,
        places: Places | None = None,
    ) -> None:
        known = tuple(topology.locations) if roles is None else tuple(roles)
        if role not in known and (known or topology.mode is None):
            raise UnknownRole(role, known)
        super().__init__(role, hub, codec=codec)
        self._protocol = protocol
        self._roles = frozenset(known)
        self._places = places or TransportFactory(topology, transports=transports, socket_folder=socket_folder)
        self._connecting = connecting
        self._reach_within_s = reach_within_s
        self._timing = timing if timing is not None else Timing()
        self._listener: Listener | None = None
        self._tasks = OwnedTasks()
        self._strangers: list[Connection] = []
        self._door = Door(len(self._roles - {role}), self._timing.elapsed_s)
        self._inside: dict[Connection, str | None] = {}
        self._speaking: dict[str, Connection] = {}
        self._hearing: dict[str, Connection] = {}
        self._reaching: dict[str, asyncio.Lock] = {}
        self._gone: set[str] = set()
        self._addresses: dict[str, str | None] = {}
        self._refused: list[str] = []
        self._is_closed = False

    @classmethod
    def local(cls, role: str, hub: MemoryHub | None = None) -> TopologyHandler:
        """A role whose peers are all in this process, in *hub*."""
        return cls(Topology.local_mode(), role, hub=hub)

    @classmethod
    def at(
        cls,
        places: Places,
        role: str,
        *,
        roles: Iterable[str],
        protocol: str = "",
        hub: MemoryHub | None = None,
        codec: Codec = JSON,
    ) -> TopologyHandler:
        """A role whose peers are where *places* says, without a topology."""
        return cls(Topology.local_mode(), role, protocol=protocol, roles=roles, hub=hub, codec=codec, places=places)

    async def initialize(self) -> None:
        """Listen, if this role has an address. Raises ``LocalViolation`` when that cannot be had."""
        if self._listener is None:
            self._listener = await self._places.listen(self.role)
            if self._listener is not None:
                self._tasks.start(self._accept(self._listener))

    def is_connected(self, peer: str) -> bool:
        """Whether a message to *peer* would go out without connecting first."""
        return not self._is_closed and peer not in self._gone and (self._is_here(peer) or peer in self._speaking)

    def statistics(self) -> TopologyStatistics:
        """The handler's account."""
        hearing = tuple(self._hearing)
        return TopologyStatistics(tuple(self._speaking), hearing, tuple(self._refused), self._door.turned_away)

    async def send(self, endpoint: object, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        if self._is_here(to):
            return await super().send(endpoint, to, message)
        return await self._speak(to, Item(label_of(message), self._codec.encode(message)))

    async def choose(self, endpoint: object, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        if self._is_here(to):
            return await super().choose(endpoint, to, label)
        return await self._speak(to, Item(label, None))

    async def close(self, endpoint: object = None) -> None:
        """Say goodbye to every peer, whether or not there was anything to say before, and let go. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.gather(*(self._say_goodbye(peer) for peer in self._peers_elsewhere()))
        if self._listener is not None:
            await self._listener.close()
        await self._tasks.cancel()
        # What is on its way to a role elsewhere is let in by that role, whose hub may be this one.
        self.hub.leave(self.role, except_to=self._peers_elsewhere())

    # Speaking

    def _is_here(self, peer: str) -> bool:
        return self._address(peer) is None

    def _address(self, peer: str) -> str | None:
        if peer not in self._addresses:
            if self._roles and peer not in self._roles:
                raise UnknownRole(peer, self._roles)
            self._addresses[peer] = self._places.address(peer)
        return self._addresses[peer]

    def _peers_elsewhere(self) -> list[str]:
        return [role for role in sorted(self._roles - {self.role}) if not self._is_surely_here(role)]

    def _is_surely_here(self, peer: str) -> bool:
        try:
            return self._is_here(peer)
        except LocalViolation:
            return False  # it was never initialized, so nobody knows where it would be

    async def _speak(self, to: str, item: Item) -> None:
        try:
            frames = tuple(lay_out_item(item))
        except ValueError as problem:
            raise SerializationFailed(item.label, str(problem)) from problem
        connection = self._speaking.get(to)
        if connection is None:
            # One at a time: a second connection in this role's name would be refused.
            async with self._reaching.setdefault(to, asyncio.Lock()):
                connection = self._speaking.get(to) or await self._reach(to)
        try:
            await connection.send(*frames)
        except PeerLost as problem:
            self._gone.add(to)
            raise ChannelClosed(f"{self.role} → {to}", "send") from problem

    async def _reach(self, to: str) -> Connection:
        """The connection to a peer, made now."""
        address = self._address(to)
        assert address is not None, "who has no address is here"
        if self._is_closed or to in self._gone:
            raise ChannelClosed(f"{self.role} → {to}", "send")

        async def attempt(budget: TimeoutBudget | None) -> Connection:
            assert budget is not None, "one is given below"
            if to in self._gone:
                raise ChannelClosed(f"{self.role} → {to}", "send")
            left_s = budget.remaining(at_s=self._timing.elapsed_s())
            return await self._places.connect(address, timeout=min(CONNECT_TIMEOUT_S, left_s))

        budget = TimeoutBudget.starting(at_s=self._timing.elapsed_s(), seconds=self._reach_within_s)
        try:
            made = await retry(
                attempt, self._connecting, timing=self._timing, retryable=(PeerUnreachable,), budget=budget
            )
            await made.send(Introduction(self._protocol, self.role, to).encode())
        except (MaxRetriesExceeded, PeerLost, PeerUnreachable) as problem:
            raise ChannelSendFailed(sender=self.role, receiver=to, reason=str(problem)) from problem
        except DeadlineExceeded as problem:
            reason = f"it was not there at {address} within {self._reach_within_s:g} s; start it, and try again"
            raise ChannelSendFailed(sender=self.role, receiver=to, reason=reason) from problem
        self._speaking[to] = made
        self._tasks.start(self._watch(to, made))
        return made

    async def _watch(self, peer: str, connection: Connection) -> None:
        """Notice that a peer is gone that has not spoken yet: whoever waits for its first word would wait for ever."""
        try:
            await connection.receive()
            connection.drop()  # it may listen here, and no more
        except AntiphonError:
            pass
        if peer not in self._hearing:
            await self._timing.sleep(LAST_WORDS_S)
        if peer not in self._hearing:
            self._end(peer)

    async def _say_goodbye(self, peer: str) -> None:
        """Tell a peer that no more will come; one that is not there needs no telling."""
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                connection = self._speaking.get(peer)
                if connection is None:
                    if peer in self._gone:
                        return
                    connection = await self._places.connect(self._address(peer) or "", timeout=GOODBYE_TIMEOUT_S)
                    self._speaking[peer] = connection
                    await connection.send(Introduction(self._protocol, self.role, peer).encode())
                await connection.send(END)
        except (TimeoutError, PeerLost, PeerUnreachable, LocalViolation):
            pass  # it is gone, was never there, or takes nothing: there is nobody to tell
        finally:
            if peer in self._speaking:
                await self._speaking[peer].close()

    # Hearing

    async def _accept(self, listener: Listener) -> None:
        while True:
            connection = await listener.accept()
            if not self._let_in(connection):
                connection.drop()
                continue
            if len(self._strangers) >= STRANGERS_MAX:
                self._dismiss(self._strangers[0])
            self._strangers.append(connection)
            self._tasks.start(self._hear(connection))

    def _let_in(self, connection: Connection) -> bool:
        """Whether there is room for a caller, made where it can be: who has something to say begins at once, so whoever
        was silent longest gives way."""
        source = source_of(connection.peer)
        while (reason := self._door.obstacle(source)) is not None:
            self._door.turn_away(reason)
            silent = [one for one in self._strangers if reason == "connections" or self._inside.get(one) == source]
            if reason == "reconnects" or not silent:
                return False
            self._dismiss(silent[0])
        self._inside[connection] = source
        self._door.enter(source)
        return True

    def _dismiss(self, connection: Connection) -> None:
        self._strangers.remove(connection)
        self._leave(connection)
        connection.drop()

    def _leave(self, connection: Connection) -> None:
        if connection in self._inside:
            self._door.leave(self._inside.pop(connection))

    async def _hear(self, connection: Connection) -> None:
        sender = ""
        try:
            sender = await self._introduced(connection)
            self._hearing[sender] = connection
            await self._take_items(connection, self.hub.channel(sender, self.role))
        except (AntiphonError, TimeoutError) as problem:
            if isinstance(problem, RemoteViolation | TimeoutError) and len(self._refused) < PROBLEMS_KEPT_MAX:
                self._refused.append(f"{connection.peer}: {str(problem) or 'it did not say who it is'}")
        finally:
            if sender:
                self._end(sender)
            try:
                if self._is_closed:
                    connection.drop()  # what is still on its way is for nobody
                else:
                    await connection.close()
            finally:
                self._leave(connection)

    async def _introduced(self, connection: Connection) -> str:
        try:
            async with asyncio.timeout(INTRODUCTION_TIMEOUT_S):
                said = Introduction.decode(await connection.receive())
        finally:
            if connection in self._strangers:
                self._strangers.remove(connection)
        if said.protocol != self._protocol or said.receiver != self.role:
            here = f"{self.role} of {self._protocol!r}"
            raise LyingRole(f"a caller wants {said.receiver} of {said.protocol!r}, and here is {here}")
        if said.sender not in self._roles - {self.role}:
            raise LyingRole(f"a caller claims to be {said.sender!r}, which is no other role of this protocol")
        if said.sender in self._hearing or said.sender in self._gone:
            raise LyingRole(f"a second caller claims to be {said.sender}")
        return said.sender

    async def _take_items(self, connection: Connection, channel: Channel) -> None:
        reader = ItemReader()
        while (frame := await connection.receive()) != END:
            item = reader.feed(frame)
            if item is not None:
                await _room_for(channel, len(item.data or b""))
                channel.put(HubItem(*item))

    def _end(self, sender: str) -> None:
        self._gone.add(sender)
        self.hub.channel(sender, self.role).close()


async def _room_for(channel: Channel, size: int) -> None:
    """Wait until an item of so many bytes may be put; one that is larger than the bound goes alone."""
    while channel.items and sum(len(one.data or b"") for one in channel.items) + size > UNREAD_BYTES_MAX:
        channel.items_max = len(channel.items)
        await channel.room()
    channel.items_max = UNREAD_ITEMS_MAX
    await channel.room()

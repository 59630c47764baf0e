"""Roles in one process: a hub of queues, one for each ordered pair.

What is sent is copied through the codec, so that nobody sees what a sender changes later. No bytes leave the process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable
from typing import NamedTuple, TypeVar

from ..codec import JSON, Codec
from ..errors import ChannelClosed, TimedOut, UnexpectedMessage, UnknownRole
from ..handler import ChoreoHandler, label_of

T = TypeVar("T")


class Item(NamedTuple):
    """What travels: a label, and the message's bytes or None for a label alone."""

    label: str
    data: bytes | None


class Channel:
    """Items from one role to another, at most ``items_max`` of them waiting (None: as many as come)."""

    __slots__ = ("_waiting", "is_closed", "items", "items_max", "name")

    def __init__(self, name: str, items_max: int | None) -> None:
        self.name = name
        self.items: deque[Item] = deque()
        self.items_max = items_max
        self.is_closed = False
        self._waiting: list[asyncio.Future[None]] = []

    async def room(self) -> None:
        """Return when an item may be put. Raises ``ChannelClosed``."""
        while not self.is_closed and self.items_max is not None and len(self.items) >= self.items_max:
            await self._change()
        if self.is_closed:
            raise ChannelClosed(self.name, "send")

    async def front(self) -> Item:
        """The next item, left where it is. Raises ``ChannelClosed`` when there is none and none will come."""
        while not self.items:
            if self.is_closed:
                raise ChannelClosed(self.name, "receive")
            await self._change()
        return self.items[0]

    def announce(self) -> None:
        """Wake whoever waits for a change."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def put(self, item: Item) -> None:
        """Add an item; there must be room."""
        self.items.append(item)
        if self._waiting:
            self.announce()

    def take(self) -> None:
        """Remove the next item."""
        self.items.popleft()
        if self._waiting:
            self.announce()

    def close(self) -> None:
        """No more items; those that wait can still be received."""
        self.is_closed = True
        self.announce()

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class MemoryHub:
    """Where the handlers of one process meet. Two hubs know nothing of each other.

    ``roles`` None lets anybody in. ``items_max`` bounds each queue: a sender then waits for its receiver.
    """

    def __init__(self, roles: Iterable[str] | None = None, *, items_max: int | None = None) -> None:
        self.roles = None if roles is None else frozenset(roles)
        self._items_max = items_max
        self._channels: dict[tuple[str, str], Channel] = {}
        # Who left, and whom their words still reach by another way than this hub.
        self._gone: dict[str, frozenset[str]] = {}
        self._is_closed = False

    def channel(self, sender: str, receiver: str) -> Channel:
        """The queue from one role to another. Raises ``UnknownRole``."""
        found = self._channels.get((sender, receiver))
        if found is None:
            for role in (sender, receiver):
                if self.roles is not None and role not in self.roles:
                    raise UnknownRole(role, self.roles)
            found = self._channels[sender, receiver] = Channel(f"{sender} → {receiver}", self._items_max)
            is_over = receiver in self._gone or receiver not in self._gone.get(sender, {receiver})
            if self._is_closed or is_over:
                found.close()
        return found

    def leave(self, role: str, *, except_to: Iterable[str] = ()) -> None:
        """Close every queue to and from a role, but for those to roles whom its last words reach by another way."""
        others = self._gone[role] = frozenset(except_to)
        for (sender, receiver), channel in self._channels.items():
            if receiver == role or (sender == role and receiver not in others):
                channel.close()

    def close(self) -> None:
        """Close every queue: whoever waits is told."""
        self._is_closed = True
        for channel in self._channels.values():
            channel.close()


class InMemoryHandler(ChoreoHandler[object]):
    """One role's messages over a hub.

    >>> async def greet() -> object:
    ...     ada, bob = InMemoryHandler.network("Ada", "Bob")
    ...     await ada.send(None, "Bob", {"text": "hello"})
    ...     return await bob.recv(None, "Ada")
    >>> asyncio.run(greet())
    {'text': 'hello'}
    """

    def __init__(self, role: str, hub: MemoryHub | None = None, *, codec: Codec = JSON) -> None:
        self.role = role
        self.hub = hub if hub is not None else MemoryHub()
        self._codec = codec
        self._to: dict[str, Channel] = {}
        self._from: dict[str, Channel] = {}

    @classmethod
    def network(cls, *roles: str, items_max: int | None = None, codec: Codec = JSON) -> tuple[InMemoryHandler, ...]:
        """A handler for each role, over a hub of their own."""
        hub = MemoryHub(roles, items_max=items_max)
        return tuple(cls(role, hub, codec=codec) for role in roles)

    async def send(self, endpoint: object, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        channel = self._to.get(to) or self._out(to)
        item = Item(label_of(message), self._codec.encode(message))
        if channel.is_closed or channel.items_max is not None:
            await channel.room()
        channel.put(item)

    async def recv(
        self, endpoint: object, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``ChoreoHandler``."""
        channel = self._from.get(sender) or self._in(sender)
        found, data = channel.items[0] if channel.items else await channel.front()
        wanted = label if label is not None else kind.__name__ if kind is not None else found
        if found != wanted or data is None:
            raise UnexpectedMessage(
                sender, actual=found if data is not None else f"the label {found}", expected=[wanted]
            )
        message = self._codec.decode(data, kind, label=found)
        channel.take()
        return message

    async def choose(self, endpoint: object, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        channel = self._to.get(to) or self._out(to)
        if channel.is_closed or channel.items_max is not None:
            await channel.room()
        channel.put(Item(label, None))

    async def offer(self, endpoint: object, sender: str) -> str:
        """See ``ChoreoHandler``."""
        channel = self._from.get(sender) or self._in(sender)
        found, data = channel.items[0] if channel.items else await channel.front()
        if data is None:
            channel.take()
        return found

    async def with_timeout(self, endpoint: object, at: str, seconds: float, body: Awaitable[T]) -> T:
        """See ``ChoreoHandler``."""
        return await cut_off(self.role, at, seconds, body)

    async def close(self, endpoint: object) -> None:
        """See ``ChoreoHandler``."""
        self.hub.leave(self.role)

    def _out(self, to: str) -> Channel:
        channel = self._to[to] = self.hub.channel(self.role, to)
        return channel

    def _in(self, sender: str) -> Channel:
        channel = self._from[sender] = self.hub.channel(sender, self.role)
        return channel


async def cut_off(role: str, at: str, seconds: float, body: Awaitable[T]) -> T:
    """Await *body*, at most *seconds* when the clock is this role's."""
    if role != at:
        return await body
    try:
        async with asyncio.timeout(seconds) as guard:
            return await body
    except TimeoutError as problem:
        if not guard.expired():
            raise
        raise TimedOut(seconds) from problem

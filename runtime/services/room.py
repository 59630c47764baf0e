"""A room: replicas that find each other through a NATS server, each linked to each, as they come and go.

One link a pair, from the name that comes first in the alphabet. What a link does is a link's business (``sync.py``);
the server is believed nothing but names.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from antiphon.facts import LocalViolation

from .session_driver import Replica, SyncSettings
from .sync import DEFAULT_SETTINGS, Link, LinkState, ServerStatistics, SyncServer

if TYPE_CHECKING:
    from ..transports.nats import NatsAddress
    from ..transports.nats_roster import NatsRoster

# More than people who write to each other; beyond it names are not followed.
LINKS_MAX = 256


def join(replica: Replica, address: str, *, settings: SyncSettings = DEFAULT_SETTINGS) -> Room:
    """Be a member of the room at ``nats://host:port/room/name`` while an ``async with`` block runs.

    Raises ``LocalViolation`` for an address without a name.
    """
    return Room(replica, address, settings)


class Room:
    """A server under a name, and a link to every member whose name comes later."""

    def __init__(self, replica: Replica, address: str, settings: SyncSettings) -> None:
        from ..transports.nats import parse_nats

        self._target: NatsAddress = parse_nats(address)
        if not self._target.name:
            raise LocalViolation(f"{address!r} names no member; write nats://host:port/room/name")
        self._replica = replica
        self._settings = settings
        self._server = SyncServer(replica, address, settings)
        self._roster: NatsRoster | None = None
        self._group = asyncio.TaskGroup()
        self._links: dict[str, tuple[Link, asyncio.Task[None]]] = {}
        self._members: set[str] = set()
        self._is_leaving = False

    @property
    def address(self) -> str:
        """This member's own."""
        return self._server.address

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the others, as far as they were heard; some may have died since."""
        return tuple(sorted(self._members))

    @property
    def links(self) -> dict[str, LinkState]:
        """How the links from here are doing; whoever comes earlier in the alphabet links to here."""
        return {name: link.status.state for name, (link, _) in self._links.items()}

    def statistics(self) -> ServerStatistics:
        """The account of the links to here."""
        return self._server.statistics()

    async def __aenter__(self) -> Self:
        from ..transports.nats_roster import NatsRoster

        await self._server.__aenter__()
        try:
            await self._group.__aenter__()
            self._roster = NatsRoster(
                self._target, on_here=self._meet, on_gone=self._part, transports=self._settings.transports
            )
            await self._roster.open()
        except BaseException:
            await self._server.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_leaving = True
        try:
            if self._roster is not None:
                await self._roster.close()
            for name in list(self._links):
                self._part(name)
            await self._group.__aexit__(None, None, None)
        finally:
            await self._server.__aexit__(kind, problem, trace)

    def _meet(self, name: str) -> None:
        if self._is_leaving or len(self._members) >= LINKS_MAX:
            return
        self._members.add(name)
        known = self._links.get(name)
        if name < self._target.name or (known is not None and known[0].status.state is not LinkState.WAITING):
            return
        if known is not None:
            known[1].cancel()  # it waits for a peer that just said that it is here
        link = Link(self._replica, str(self._target._replace(name=name)), self._settings)
        self._links[name] = (link, self._group.create_task(self._stay(link)))

    def _part(self, name: str) -> None:
        self._members.discard(name)
        _, task = self._links.pop(name, (None, None))
        if task is not None:
            task.cancel()

    async def _stay(self, link: Link) -> None:
        """Keep a link until the task is cancelled; then it is left in good order."""
        try:
            async with link:
                with suppress(asyncio.CancelledError):  # that is how this ends: leaving the block says goodbye
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

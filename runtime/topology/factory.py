"""How each role is reached: in this process, by a socket file, over the network. Keeps nothing open.

A topology says it for each role (``TransportFactory``); without one all meet over one transport (``MeetingPlace``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from antiphon.choreography.topology import Colocated, Remote, Topology, TransportKind, resolve, transport_for
from antiphon.facts import LocalViolation

from ..transports.reach import EVERY_TRANSPORT, Transports, check_address
from ..transports.transport import Connection, Listener

RemoteScheme: TypeAlias = Literal["tcp", "ws"]
# With certificates both are secret.
_SECURE: dict[RemoteScheme, str] = {"tcp": "tls", "ws": "wss"}


class Places(Protocol):
    """Where roles are, for a handler: an address for each that is not in this process."""

    def address(self, receiver: str) -> str | None:
        """Where a role listens; None when it is reached in this process."""
        ...

    async def listen(self, role: str) -> Listener | None:
        """Open a role's own address; None when it has none. Raises ``LocalViolation``."""
        ...

    async def connect(self, address: str, *, timeout: float) -> Connection:
        """Reach an address that ``address`` gave. Raises ``PeerUnreachable``."""
        ...


class TransportFactory:
    """What carries messages to a role, by the location that it was given.

    Roles that are colocated speak in memory, unless ``socket_folder`` says that they are processes of one machine:
    then each has a socket file there, and so has the local role that they are colocated with. Remote roles speak TCP,
    or WebSocket; with certificates, TLS below either.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        transports: Transports = EVERY_TRANSPORT,
        socket_folder: str | os.PathLike[str] | None = None,
        scheme: RemoteScheme = "tcp",
    ) -> None:
        self.topology = topology
        self._transports = transports
        self._scheme = _SECURE[scheme] if transports.tls else scheme
        self._socket_folder = None if socket_folder is None else Path(socket_folder)
        # A local role that others are colocated with is in another process than they are, and they answer it.
        self._hosts = {place.peer for place in topology.locations.values() if isinstance(place, Colocated)}

    @staticmethod
    def transport_for_location(sender: str, receiver: str, topology: Topology) -> TransportKind:
        """What carries a message from one role to another; the receiver's location says it. Raises ``UnresolvedRole``.

        >>> near = Topology.builder().local_role("Ada").remote_role("Bob", "bob.lan:9000").build()
        >>> TransportFactory.transport_for_location("Ada", "Bob", near)
        'tcp'
        """
        del sender
        return transport_for(topology, receiver)

    def kind(self, receiver: str) -> TransportKind:
        """``in_memory``, ``shared_memory`` or ``tcp``. Raises ``UnresolvedRole``."""
        return transport_for(self.topology, receiver)

    def address(self, receiver: str) -> str | None:
        """Where a role listens; None when it is reached in this process."""
        kind = self.kind(receiver)
        place = resolve(self.topology, receiver)
        if kind == "tcp" and isinstance(place, Remote):
            return f"{self._scheme}://{place.endpoint}"
        if self._socket_folder is not None and (kind == "shared_memory" or receiver in self._hosts):
            return f"unix://{self._socket_folder / receiver}.sock"
        return None

    async def listen(self, role: str) -> Listener | None:
        """Open a role's own address; None when it has none. Raises ``LocalViolation``."""
        address = self.address(role)
        return None if address is None else await self._transports.listen(address)

    async def connect(self, address: str, *, timeout: float) -> Connection:
        """Reach an address that ``address`` gave. Raises ``PeerUnreachable``."""
        return await self._transports.connect(address, timeout=timeout)


class MeetingPlace:
    """All roles of one run over one transport, without a topology.

    ``tcp://host:0`` and ``ws://host:0``: each role at a port of its own, known to this process alone. ``unix:///folder``:
    each at a socket file named after it, and ``nats://host:port/room``: each under its name in the room, so that roles
    of other processes are met there, too.
    """

    def __init__(self, address: str, *, transports: Transports = EVERY_TRANSPORT) -> None:
        self._base = address.rstrip("/")
        self._transports = transports
        scheme = address.partition("://")[0]
        self._has_names = scheme in ("unix", "nats")
        if not self._has_names and not self._base.endswith(":0"):
            raise LocalViolation(f"{address!r} gives all roles one port; write {scheme}://host:0, or use a topology")
        self._opened: dict[str, str] = {}
        # Fails now for what is no address, and not in the middle of a conversation.
        self._check("Role")

    @property
    def is_wide(self) -> bool:
        """Whether roles of other processes can be met."""
        return self._has_names

    def address(self, receiver: str) -> str:
        """Where a role listens. Raises ``LocalViolation`` for one without a name here that does not listen yet."""
        if self._has_names:
            return self._named(receiver)
        if receiver not in self._opened:
            raise LocalViolation(f"{receiver} does not listen here; initialize every role before the first one speaks")
        return self._opened[receiver]

    async def listen(self, role: str) -> Listener:
        """Open a role's address. Raises ``LocalViolation`` and ``PeerUnreachable``."""
        listener = await self._transports.listen(self._named(role) if self._has_names else self._base)
        self._opened[role] = listener.address
        return listener

    async def connect(self, address: str, *, timeout: float) -> Connection:
        """Reach an address that ``address`` gave. Raises ``PeerUnreachable``."""
        return await self._transports.connect(address, timeout=timeout)

    def _named(self, role: str) -> str:
        # W[1] is W-1: no name of a role has a dash.
        name = re.sub(r"\W", "-", role).strip("-")
        return f"{self._base}/{name}{'.sock' if self._base.startswith('unix') else ''}"

    def _check(self, role: str) -> None:
        check_address(self._named(role) if self._has_names else self._base)

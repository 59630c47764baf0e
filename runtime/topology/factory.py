"""How each role of a topology is reached: in this process, by a socket file, over the network. Keeps nothing open."""

from __future__ import annotations

import os
from pathlib import Path

from antiphon.choreography.topology import Remote, Topology, TransportKind, resolve, transport_for

from ..transports.reach import EVERY_TRANSPORT, Transports
from ..transports.transport import Connection, Listener


class TransportFactory:
    """What carries messages to a role, by the location that it was given.

    Roles that are colocated speak in memory, unless ``socket_folder`` says that they are processes of one machine:
    then each has a socket file there. Remote roles speak TCP, or TLS when the transports have certificates.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        transports: Transports = EVERY_TRANSPORT,
        socket_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.topology = topology
        self._transports = transports
        self._socket_folder = None if socket_folder is None else Path(socket_folder)

    def kind(self, receiver: str) -> TransportKind:
        """``in_memory``, ``shared_memory`` or ``tcp``. Raises ``UnresolvedRole``."""
        return transport_for(self.topology, receiver)

    def address(self, receiver: str) -> str | None:
        """Where a role listens; None when it is reached in this process."""
        kind = self.kind(receiver)
        if kind == "shared_memory":
            return None if self._socket_folder is None else f"unix://{self._socket_folder / receiver}.sock"
        place = resolve(self.topology, receiver)
        if kind == "in_memory" or not isinstance(place, Remote):
            return None
        return f"{'tls' if self._transports.tls else 'tcp'}://{place.endpoint}"

    async def listen(self, role: str) -> Listener | None:
        """Open a role's own address; None when it has none. Raises ``LocalViolation``."""
        address = self.address(role)
        return None if address is None else await self._transports.listen(address)

    async def connect(self, address: str, *, timeout: float) -> Connection:
        """Reach an address that ``address`` gave. Raises ``PeerUnreachable``."""
        return await self._transports.connect(address, timeout=timeout)

"""A protocol and where it runs: handlers for its roles, checked against a topology before anything is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping

from antiphon.choreography import CompiledProtocol
from antiphon.choreography.compiled import place_with
from antiphon.choreography.topology import (
    ParsedTopology,
    Topology,
    TopologyError,
    branch_requirements,
    parse_topology,
    validate_topology,
)
from antiphon.facts import LocalViolation

from ..choreography.codec import JSON, Codec
from ..choreography.errors import UnknownRole
from ..choreography.handlers.memory import MemoryHub
from ..transports.reach import EVERY_TRANSPORT, Transports
from .handler import TopologyHandler


class Deployment:
    """Handlers for the roles of one protocol.

    Local handlers that are made one after another, each for another role, share one hub; a role that is asked for again
    begins a session of its own. Topologies may be kept here under names.

    >>> from antiphon.choreography import compile_choreography
    ``protocol.topology`` is one with the usual settings, from the moment on that this module was loaded.

    >>> talk = compile_choreography("protocol Talk =\\n  roles Ada, Bob\\n  Ada -> Bob : Hello\\n")
    >>> lend = Deployment(talk, {"near": "topology Near for Talk { Ada: local Bob: 127.0.0.1:9000 }"})
    >>> lend.named_handler("near", "Ada").is_connected("Bob")
    False
    """

    def __init__(
        self,
        protocol: CompiledProtocol,
        topologies: Mapping[str, Topology | ParsedTopology | str] | None = None,
        *,
        transports: Transports = EVERY_TRANSPORT,
        socket_folder: str | os.PathLike[str] | None = None,
        codec: Codec = JSON,
    ) -> None:
        self.protocol = protocol
        self._transports = transports
        self._socket_folder = socket_folder
        self._codec = codec
        self._needs = branch_requirements(protocol.global_type)
        self._hubs: dict[int, tuple[MemoryHub, set[str]]] = {}
        self._local = Topology.local_mode()
        self.topologies = {name: self._read(one) for name, one in (topologies or {}).items()}

    def __call__(self, role: str, topology: Topology | ParsedTopology | None = None) -> TopologyHandler:
        """A handler for a role: local, or as *topology* says."""
        return self.handler(role) if topology is None else self.with_topology(topology, role)

    def handler(self, role: str) -> TopologyHandler:
        """A handler whose peers are all in this process. Raises ``UnknownRole``."""
        return self._made(self._local, role)

    def with_topology(self, topology: Topology | ParsedTopology, role: str) -> TopologyHandler:
        """A handler for a role in a topology.

        Raises ``InvalidTopology`` when that does not place every role, breaks a constraint or has too narrow a channel,
        ``LocalViolation`` when it is for another protocol, ``UnknownRole``; nothing was opened then.
        """
        made = self._read(topology)
        validate_topology(made, self.protocol.roles, self._needs).raise_for_failure()
        return self._made(made, role)

    def keep(self, name: str, topology: Topology | ParsedTopology | str) -> None:
        """Keep a topology under a name. Raises ``LocalViolation`` for a text that is none, or is for another one."""
        self.topologies[name] = self._read(topology)

    def named(self, name: str) -> Topology:
        """A topology that was given under a name. Raises ``LocalViolation``."""
        if name not in self.topologies:
            known = ", ".join(self.topologies) or "none"
            raise LocalViolation(f"no topology is called {name!r}; there are {known}")
        return self.topologies[name]

    def named_handler(self, name: str, role: str) -> TopologyHandler:
        """``with_topology`` for one that was given under a name."""
        return self.with_topology(self.named(name), role)

    def _read(self, topology: Topology | ParsedTopology | str) -> Topology:
        if isinstance(topology, str):
            try:
                topology = parse_topology(topology)
            except TopologyError as problem:
                raise LocalViolation(str(problem)) from problem
        if isinstance(topology, Topology):
            return topology
        if topology.for_protocol not in (self.protocol.name, self.protocol.qualified_name):
            name = self.protocol.qualified_name
            raise LocalViolation(f"{topology.name} is a topology for {topology.for_protocol}, and this is {name}")
        return topology.topology

    def _made(self, topology: Topology, role: str) -> TopologyHandler:
        if role not in self.protocol.roles:
            raise UnknownRole(role, self.protocol.roles)
        return TopologyHandler(
            topology,
            role,
            protocol=self.protocol.qualified_name,
            roles=self.protocol.roles,
            hub=self._hub(topology, role),
            codec=self._codec,
            transports=self._transports,
            socket_folder=self._socket_folder,
        )

    def _hub(self, topology: Topology, role: str) -> MemoryHub:
        hub, taken = self._hubs.get(id(topology), (MemoryHub(self.protocol.roles), set[str]()))
        if role in taken:
            hub, taken = MemoryHub(self.protocol.roles), set()
        taken.add(role)
        self._hubs[id(topology)] = (hub, taken)
        return hub


place_with(Deployment)

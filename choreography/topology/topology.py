"""A topology: what is where, and what its users ask of it. Read from a text, a file, or made step by step.

Places are in `types.py`, what follows from them in `placing.py`, whether they fit in `checking.py`, texts in `text.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import NamedTuple

from .checking import BranchRequirement, Verdict, validate_topology
from .placing import Boundary, Placement, boundaries, placements, region_of, resolve
from .text import Written, read_file, read_text, text_of
from .types import (
    LOCAL,
    Channel,
    Colocated,
    ColocatedRoles,
    Layout,
    Local,
    Location,
    PinnedRole,
    RegionOfRole,
    Remote,
    RoleFamilyConstraint,
    SeparatedRoles,
    TopologyConstraint,
    TopologyEndpoint,
    TopologyMode,
)


class Topology(Layout):
    """Where the roles of a protocol are, and what must hold of that; `builder()` makes one step by step.

    >>> Topology.parse("topology Near for Lend { Reader: local }").topology.validate(["Reader"]).is_valid
    True
    """

    @classmethod
    def local_mode(cls) -> Topology:
        """Every role in this process."""
        return cls(mode="local")

    @classmethod
    def builder(cls) -> TopologyBuilder:
        """Begin with nothing."""
        return TopologyBuilder()

    @staticmethod
    def parse(text: str) -> ParsedTopology:
        """Read a `.topology` text. Raises `TopologySyntaxError`."""
        return parse_topology(text)

    @staticmethod
    def load(path: str | PathLike[str]) -> ParsedTopology:
        """Read a `.topology` file. Raises `TopologyLoadError`."""
        return load_topology(path)

    def validate(self, roles: Sequence[str]) -> Verdict:
        """Whether it fits a protocol with these roles; the first failure is the verdict."""
        return self.validate_with_branches(roles, ())

    def validate_with_branches(self, roles: Sequence[str], requirements: Iterable[BranchRequirement]) -> Verdict:
        """The same, and whether every choice fits its channel; `branch_requirements` says what a protocol asks for."""
        return validate_topology(self, roles, requirements)

    def resolve(self, role: str) -> Local | Remote:
        """Where a role is once every `colocated` was followed. Raises `UnresolvedRole`."""
        return resolve(self, role)

    def region_for_role(self, role: str) -> str | None:
        """A role's region: its own, else that of the role it is colocated with. Raises `RegionConflict`."""
        return region_of(self, role)

    def placement_observations_for_roles(self, roles: Iterable[str]) -> tuple[Placement, ...]:
        """Where each role is, in the given order; see `placements`."""
        return placements(self, roles)

    def transport_boundaries_for_roles(self, roles: Iterable[str]) -> tuple[Boundary, ...]:
        """What lies between each two roles; see `boundaries`."""
        return boundaries(self, roles)

    def validate_family(self, name: str, count: int) -> None:
        """Raise `BelowMinimum` or `AboveMaximum`; a family without a constraint may have any size."""
        constraint = self.role_constraints.get(name)
        if constraint is not None:
            constraint.validate(count, name=name)


class TopologyBuilder:
    """A topology, one fact after another; every method returns the builder.

    >>> made = Topology.builder().local_role("Reader").remote_role("Shelf", "shelf.lan:9000").build()
    >>> str(made.locations["Shelf"])
    'shelf.lan:9000'
    """

    def __init__(self) -> None:
        self._locations: dict[str, Location] = {}
        self._capacities: dict[Channel, int] = {}
        self._constraints: list[TopologyConstraint] = []
        self._families: dict[str, RoleFamilyConstraint] = {}
        self._mode: TopologyMode | None = None

    def local_role(self, role: str) -> TopologyBuilder:
        """A role in this process."""
        return self.role(role, LOCAL)

    def remote_role(self, role: str, endpoint: str | TopologyEndpoint) -> TopologyBuilder:
        """A role at an endpoint. Raises `TopologyError`."""
        at = TopologyEndpoint.parse(endpoint) if isinstance(endpoint, str) else TopologyEndpoint.of(*endpoint)
        return self.role(role, Remote(at))

    def colocated_role(self, role: str, peer: str) -> TopologyBuilder:
        """A role where another one is."""
        return self.role(role, Colocated(peer))

    def role(self, role: str, location: Location) -> TopologyBuilder:
        """A role at a location."""
        self._locations[role] = location
        return self

    def colocated(self, first: str, second: str) -> TopologyBuilder:
        """These must be at one place."""
        return self.constraint(ColocatedRoles(first, second))

    def separated(self, first: str, second: str) -> TopologyBuilder:
        """These must be at two places."""
        return self.constraint(SeparatedRoles(first, second))

    def pinned(self, role: str, location: Location) -> TopologyBuilder:
        """This role must be there."""
        return self.constraint(PinnedRole(role, location))

    def region(self, role: str, name: str) -> TopologyBuilder:
        """This role is in that region."""
        return self.constraint(RegionOfRole(role, name))

    def constraint(self, constraint: TopologyConstraint) -> TopologyBuilder:
        """Something that must hold."""
        self._constraints.append(constraint)
        return self

    def channel_capacity(self, sender: str, receiver: str, bits: int) -> TopologyBuilder:
        """How many bits a label from *sender* to *receiver* may take."""
        self._capacities[sender, receiver] = bits
        return self

    def role_family_constraint(self, name: str, constraint: RoleFamilyConstraint) -> TopologyBuilder:
        """How many instances a family may have."""
        self._families[name] = constraint
        return self

    def mode(self, mode: TopologyMode) -> TopologyBuilder:
        """Where roles are that have no location."""
        self._mode = mode
        return self

    def build(self) -> Topology:
        """The topology. Raises `TopologyError` for a capacity out of bounds."""
        return Topology(
            dict(self._locations), dict(self._capacities), tuple(self._constraints), dict(self._families), self._mode
        )


class ParsedTopology(NamedTuple):
    """A topology, its own name and that of the protocol it is for."""

    name: str
    for_protocol: str
    topology: Topology

    def to_text(self) -> str:
        """The text that `parse_topology` reads back as the same."""
        return format_topology(self)


def parse_topology(text: str) -> ParsedTopology:
    """Read a `.topology` text. Raises `TopologySyntaxError`, `UnknownMode` among them.

    >>> parsed = parse_topology("topology Near for Lend { Shelf: 127.0.0.1:9000; Reader: local }")
    >>> parsed.name, parsed.for_protocol, str(parsed.topology.locations["Shelf"])
    ('Near', 'Lend', '127.0.0.1:9000')
    """
    return _parsed(read_text(text))


def load_topology(path: str | PathLike[str]) -> ParsedTopology:
    """Read a `.topology` file. Raises `TopologyLoadError`."""
    return _parsed(read_file(path))


def format_topology(parsed: ParsedTopology) -> str:
    """The text of a topology, one entry a line."""
    return text_of(*parsed)


def _parsed(written: Written) -> ParsedTopology:
    said = written.layout
    topology = Topology(said.locations, said.channel_capacities, said.constraints, said.role_constraints, said.mode)
    return ParsedTopology(written.name, written.for_protocol, topology)

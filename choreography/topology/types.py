"""Where roles are: values only. What follows from them is in `placing.py`, whether they fit in `checking.py`.

Knows no protocol and opens nothing: a protocol says who speaks, a topology says where, and neither needs the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

# A label of a choice takes log2(labels) bits; 1024 are enough to name every atom of the universe, several times.
CAPACITY_BITS_MAX = 1024
PORT_MAX = 65_535
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?")


class TopologyError(ValueError):
    """Root of what can be wrong with a topology. The caller's move."""


class BelowMinimum(TopologyError):
    """A family with fewer instances than it needs."""


class AboveMaximum(TopologyError):
    """A family with more instances than it may have."""


class TopologyEndpoint(NamedTuple):
    """A host (name, IPv4 or IPv6) and a port; made by `of` or `parse`, which check both.

    >>> str(TopologyEndpoint.parse("shelf.lan:9000")), str(TopologyEndpoint.of("::1", 9000))
    ('shelf.lan:9000', '[::1]:9000')
    """

    host: str
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> TopologyEndpoint:
        """An endpoint. Raises `TopologyError` for what is none."""
        if not (_HOST.fullmatch(host) or _IPV6.fullmatch(host)):
            raise TopologyError(f"{host!r} is no host; write a name or a number, such as shelf.lan or 127.0.0.1")
        if not 0 < port <= PORT_MAX:
            raise TopologyError(f"port {port} of {host}; ports that peers can reach are 1..{PORT_MAX}")
        return cls(host, port)

    @classmethod
    def parse(cls, text: str) -> TopologyEndpoint:
        """Read `host:port`; IPv6 in brackets. Raises `TopologyError`."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit():
            raise TopologyError(f"{text!r} has no port; write host:port, such as shelf.lan:9000")
        is_bracketed = host.startswith("[") and host.endswith("]")
        bare = host[1:-1] if is_bracketed else host
        if is_bracketed != (":" in bare):
            raise TopologyError(f"{text!r} is no endpoint; IPv6 stands in brackets, such as [::1]:9000")
        return cls.of(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Local:
    """In the process of whoever speaks to it."""

    def __str__(self) -> str:
        return "local"


@dataclass(frozen=True, slots=True)
class Remote:
    """At an endpoint."""

    endpoint: TopologyEndpoint

    def __str__(self) -> str:
        return str(self.endpoint)


@dataclass(frozen=True, slots=True)
class Colocated:
    """Where another role is."""

    peer: str

    def __str__(self) -> str:
        return f"colocated({self.peer})"


Location: TypeAlias = Local | Remote | Colocated
LOCAL = Local()
"""The location of a role in this process."""


@dataclass(frozen=True, slots=True)
class _TwoRoles:
    first: str
    second: str

    @property
    def roles(self) -> tuple[str, ...]:
        """Whom it names."""
        return self.first, self.second


@dataclass(frozen=True, slots=True)
class ColocatedRoles(_TwoRoles):
    """Two roles that must be at one place."""

    def __str__(self) -> str:
        return f"colocated: {self.first}, {self.second}"


@dataclass(frozen=True, slots=True)
class SeparatedRoles(_TwoRoles):
    """Two roles that must be at two places."""

    def __str__(self) -> str:
        return f"separated: {self.first}, {self.second}"


@dataclass(frozen=True, slots=True)
class PinnedRole:
    """A role that must be at this place."""

    role: str
    location: Location

    @property
    def roles(self) -> tuple[str, ...]:
        """Whom it names."""
        return (self.role, self.location.peer) if isinstance(self.location, Colocated) else (self.role,)

    def __str__(self) -> str:
        return f"pinned: {self.role} -> {self.location}"


@dataclass(frozen=True, slots=True)
class RegionOfRole:
    """A role that is in a region; those that are colocated with it are too."""

    role: str
    region: str

    @property
    def roles(self) -> tuple[str, ...]:
        """Whom it names."""
        return (self.role,)

    def __str__(self) -> str:
        return f"region: {self.role} -> {self.region}"


TopologyConstraint: TypeAlias = ColocatedRoles | SeparatedRoles | PinnedRole | RegionOfRole


@dataclass(frozen=True, slots=True)
class RoleFamilyConstraint:
    """How many instances a family may have; `max` None is no bound.

    >>> RoleFamilyConstraint.bounded(2, 5).validate(4)
    """

    min: int = 0
    max: int | None = None

    def __post_init__(self) -> None:
        if self.min < 0:
            raise TopologyError(f"a family of at least {self.min}; counts begin at 0")
        if self.max is not None and self.max < self.min:
            raise TopologyError(f"a family of at least {self.min} and at most {self.max}; exchange the two")

    @classmethod
    def min_only(cls, least: int) -> RoleFamilyConstraint:
        """At least so many."""
        return cls(least)

    @classmethod
    def bounded(cls, least: int, most: int) -> RoleFamilyConstraint:
        """At least and at most so many. Raises `TopologyError` when that is nobody."""
        return cls(least, most)

    def validate(self, count: int, *, name: str = "the family") -> None:
        """Raise `BelowMinimum` or `AboveMaximum` when *count* is out of bounds."""
        if count < self.min:
            raise BelowMinimum(f"{name} has {count} instances; at least {self.min} are needed")
        if self.max is not None and count > self.max:
            raise AboveMaximum(f"{name} has {count} instances; at most {self.max} are allowed")

    def __str__(self) -> str:
        return f"min = {self.min}" + ("" if self.max is None else f", max = {self.max}")


TopologyMode: TypeAlias = Literal["local"]
Channel: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Layout:
    """What is said of places: the values of a `Topology`, which answers for them.

    `mode` "local" puts every role without a location into this process. Capacities are bits a message's label may
    take, for each ordered pair; a pair without one has no bound.
    """

    locations: Mapping[str, Location] = field(default_factory=dict)
    channel_capacities: Mapping[Channel, int] = field(default_factory=dict)
    constraints: tuple[TopologyConstraint, ...] = ()
    role_constraints: Mapping[str, RoleFamilyConstraint] = field(default_factory=dict)
    mode: TopologyMode | None = None

    def __post_init__(self) -> None:
        for (sender, receiver), bits in self.channel_capacities.items():
            if not 0 <= bits <= CAPACITY_BITS_MAX:
                raise TopologyError(f"{sender} -> {receiver}: {bits} bits; capacities are 0..{CAPACITY_BITS_MAX}")

    def location(self, role: str) -> Location | None:
        """Where a role was put; `LOCAL` for one that was not, in local mode."""
        return self.locations.get(role, LOCAL if self.mode == "local" else None)

"""What follows from a topology: where each role really is, in which region, and what lies between two of them.

Judges nothing: `checking.py` says whether a topology fits a protocol. Opens nothing: `runtime/topology/` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Literal, NamedTuple, TypeAlias

from .types import Colocated, Layout, Local, Location, RegionOfRole, Remote, TopologyEndpoint, TopologyError

PlacementKind: TypeAlias = Literal["local", "remote", "colocated"]
BoundaryKind: TypeAlias = Literal["in_process", "shared_memory", "network"]
TransportKind: TypeAlias = Literal["in_memory", "shared_memory", "tcp"]

_BY_LOCATION: dict[type[Location], TransportKind] = {Local: "in_memory", Colocated: "shared_memory", Remote: "tcp"}


class UnresolvedRole(TopologyError):
    """A role whose place cannot be told: it has none, or is colocated in a circle."""

    def __init__(self, role: str, reason: str) -> None:
        self.role = role
        self.reason = reason
        super().__init__(f"{role}: {reason}")


class RegionConflict(TopologyError):
    """A role of which two different regions are said; `role` is the one that was declared later."""

    def __init__(self, role: str, reason: str) -> None:
        self.role = role
        super().__init__(f"{role}: {reason}")


class Placement(NamedTuple):
    """Where a role is, for an audience that opens no connection: a kind, and what is known besides."""

    role: str
    kind: PlacementKind
    endpoint: TopologyEndpoint | None = None
    peer: str | None = None
    region: str | None = None


class Boundary(NamedTuple):
    """What lies between two roles; `first` comes before `second` in the alphabet."""

    first: str
    second: str
    kind: BoundaryKind
    is_cross_region: bool


def chain(topology: Layout, role: str) -> tuple[str, ...]:
    """A role and those it is colocated with, one after another. Raises `UnresolvedRole` for a circle."""
    seen = [role]
    while isinstance(location := topology.location(seen[-1]), Colocated):
        if location.peer in seen:
            raise UnresolvedRole(role, f"cyclic colocated placement ({' -> '.join([*seen, location.peer])})")
        seen.append(location.peer)
    if location is None:
        raise UnresolvedRole(role, f"{seen[-1]} has no location; write one, or `mode: local`")
    return tuple(seen)


def resolve(topology: Layout, role: str) -> Local | Remote:
    """Where a role is once every `colocated` was followed. Raises `UnresolvedRole`.

    >>> resolve(Layout({"Helper": Colocated("Reader"), "Reader": Local()}), "Helper")
    Local()
    """
    location = topology.location(chain(topology, role)[-1])
    assert isinstance(location, Local | Remote), "a chain ends where somebody has a place"
    return location


def region_of(topology: Layout, role: str) -> str | None:
    """A role's region: its own, else that of the role it is colocated with. Raises `RegionConflict`."""
    check_regions(topology)
    declared = {one.role: one.region for one in topology.constraints if isinstance(one, RegionOfRole)}
    return next((declared[one] for one in chain(topology, role) if one in declared), None)


def check_regions(topology: Layout) -> None:
    """Raise `RegionConflict` when two regions are said of one place."""
    declared: list[RegionOfRole] = []
    for one in topology.constraints:
        if isinstance(one, RegionOfRole):
            check_region(topology, declared, one)
            declared.append(one)


def check_region(topology: Layout, earlier: Iterable[RegionOfRole], one: RegionOfRole) -> None:
    """Raise `RegionConflict` when a region is another one than was declared *earlier* for this role or its place."""
    here = chain(topology, one.role)
    for other in earlier:
        if other.region == one.region:
            continue
        if other.role == one.role:
            raise RegionConflict(one.role, f"it is in {one.region} and in {other.region}; a role is in one region")
        if other.role in here or one.role in chain(topology, other.role):
            reason = f"it is in {one.region}, and {other.role}, whose place it shares, in {other.region}"
            raise RegionConflict(one.role, reason)


def placements(topology: Layout, roles: Iterable[str]) -> tuple[Placement, ...]:
    """Where each role is, in the given order. Raises `UnresolvedRole` and `RegionConflict`."""
    return tuple(_placement(topology, role) for role in roles)


def _placement(topology: Layout, role: str) -> Placement:
    resolved = resolve(topology, role)
    location = topology.location(role)
    endpoint = resolved.endpoint if isinstance(resolved, Remote) else None
    region = region_of(topology, role)
    if isinstance(location, Colocated):
        return Placement(role, "colocated", endpoint, location.peer, region)
    return Placement(role, "remote" if endpoint else "local", endpoint, None, region)


def boundaries(topology: Layout, roles: Iterable[str]) -> tuple[Boundary, ...]:
    """What lies between each two roles, sorted by name. Raises `UnresolvedRole` and `RegionConflict`."""
    placed = placements(topology, sorted(set(roles)))
    return tuple(
        Boundary(first.role, second.role, _kind(first, second), _is_cross_region(first, second))
        for first, second in combinations(placed, 2)
    )


def _kind(first: Placement, second: Placement) -> BoundaryKind:
    if first.endpoint is not None or second.endpoint is not None:
        return "network"
    return "shared_memory" if "colocated" in (first.kind, second.kind) else "in_process"


def _is_cross_region(first: Placement, second: Placement) -> bool:
    return first.region is not None and second.region is not None and first.region != second.region


def transport_for(topology: Layout, receiver: str) -> TransportKind:
    """What carries messages to a role, by the location it was given. Raises `UnresolvedRole`."""
    resolve(topology, receiver)
    location = topology.location(receiver)
    assert location is not None, "what resolves has a location"
    return _BY_LOCATION[type(location)]

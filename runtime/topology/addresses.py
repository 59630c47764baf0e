"""A topology as addresses of journals: where one role serves, and whom it meets. Opens nothing."""

from __future__ import annotations

from antiphon.choreography.topology import Remote, Topology, UnresolvedRole, resolve
from antiphon.facts import LocalViolation


def own_address(topology: Topology, role: str, *, scheme: str = "tcp") -> str:
    """Where *role* serves. Raises ``LocalViolation`` when it is unknown, or at no endpoint."""
    place = _place(topology, role)
    if place is None:
        raise LocalViolation(f"{role} is local, so nobody can reach it; give it host:port in the topology")
    return f"{scheme}://{place.endpoint}"


def peer_addresses(topology: Topology, role: str, *, scheme: str = "tcp") -> dict[str, str]:
    """The other roles that can be reached, each with its address; those at one endpoint, or at *role*'s own, once.

    >>> from antiphon.choreography.topology import parse_topology
    >>> peer_addresses(parse_topology("topology A for B { Ada: a:1 Bob: b:1 Cyd: colocated(Bob) }").topology, "Ada")
    {'Bob': 'tcp://b:1'}
    """
    own = _place(topology, role)
    found: dict[Remote, str] = {}
    for other in topology.locations:
        place = _place(topology, other)
        if other != role and place is not None and place != own:
            found.setdefault(place, other)
    return {name: f"{scheme}://{place.endpoint}" for place, name in found.items()}


def _place(topology: Topology, role: str) -> Remote | None:
    if role not in topology.locations:
        known = ", ".join(topology.locations) or "none"
        raise LocalViolation(f"the topology has no role {role!r}; it has {known}")
    try:
        place = resolve(topology, role)
    except UnresolvedRole as problem:
        raise LocalViolation(f"{problem}") from problem
    return place if isinstance(place, Remote) else None

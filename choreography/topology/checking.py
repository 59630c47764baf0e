"""Whether a topology fits a protocol: one verdict, the first failure wins, always in the same order.

1. locations name known roles; 2. every role has one; 3. capacities and constraints name known roles; 4. constraints
hold, in the order of the text; 5. every choice fits its channel. Raises nothing: a verdict is a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, TypeAlias

from ..core import Comm, GlobalType, nodes_below
from .placing import RegionConflict, UnresolvedRole, chain, check_region, resolve
from .types import (
    Colocated,
    ColocatedRoles,
    Layout,
    Location,
    PinnedRole,
    RegionOfRole,
    Remote,
    SeparatedRoles,
    TopologyConstraint,
    TopologyError,
)


class InvalidTopology(TopologyError):
    """A topology does not fit a protocol; `verdict` says why."""

    def __init__(self, verdict: Failure) -> None:
        self.verdict = verdict
        super().__init__(str(verdict))


@dataclass(frozen=True, slots=True)
class Fits:
    """The topology fits."""

    is_valid = True

    def raise_for_failure(self) -> None:
        """Nothing to raise."""


class _Failed:
    __slots__ = ()
    is_valid = False

    def raise_for_failure(self) -> NoReturn:
        """Raise this verdict as `InvalidTopology`."""
        raise InvalidTopology(self)  # type: ignore[arg-type]  # the four below are all there are


@dataclass(frozen=True, slots=True)
class UnknownRoleNamed(_Failed):
    """A role that the protocol does not have."""

    role: str

    def __str__(self) -> str:
        return f"the topology names {self.role}, which is no role of the protocol"


@dataclass(frozen=True, slots=True)
class MissingRole(_Failed):
    """A role of the protocol without a location."""

    role: str

    def __str__(self) -> str:
        return f"{self.role} has no location; write one, or `mode: local`"


@dataclass(frozen=True, slots=True)
class ConstraintViolation(_Failed):
    """Something that must hold and does not; the circle of a `colocated` location is such a thing too."""

    constraint: TopologyConstraint
    reason: str

    def __str__(self) -> str:
        return f"`{self.constraint}` does not hold: {self.reason}"


@dataclass(frozen=True, slots=True)
class InsufficientCapacity(_Failed):
    """A choice that has more labels than its channel can tell apart; numbers are bits."""

    sender: str
    receiver: str
    required: int
    available: int

    def __str__(self) -> str:
        return (
            f"a choice from {self.sender} to {self.receiver} takes {self.required} bits and the channel has "
            f"{self.available}; raise its capacity, or leave it out"
        )


Failure: TypeAlias = UnknownRoleNamed | MissingRole | ConstraintViolation | InsufficientCapacity
Verdict: TypeAlias = Fits | Failure
FITS = Fits()
"""The verdict on a topology that fits."""


class BranchRequirement(NamedTuple):
    """A choice: who tells whom, and between how many labels."""

    sender: str
    receiver: str
    label_count: int


def branch_requirements(protocol: GlobalType) -> tuple[BranchRequirement, ...]:
    """What the messages of a protocol ask of their channels, each once."""
    found = (
        BranchRequirement(node.sender, node.receiver, len(node.branches))
        for node in nodes_below(protocol)
        if isinstance(node, Comm)
    )
    return tuple(dict.fromkeys(found))


def validate_topology(
    topology: Layout, roles: Sequence[str], requirements: Iterable[BranchRequirement] = ()
) -> Verdict:
    """Whether *topology* fits a protocol with these roles and choices.

    >>> str(validate_topology(Layout({"Ada": Local()}), ["Ada", "Bob"]))
    'Bob has no location; write one, or `mode: local`'
    """
    known = frozenset(roles)
    return (
        _unknown(_placed(topology), known)
        or next((MissingRole(role) for role in roles if topology.location(role) is None), None)
        or _unknown(_mentioned(topology), known)
        or _broken(topology, roles)
        or _narrow(topology, requirements)
        or FITS
    )


def _unknown(named: Iterable[str], known: frozenset[str]) -> Failure | None:
    return next((UnknownRoleNamed(role) for role in named if role not in known), None)


def _placed(topology: Layout) -> Iterable[str]:
    for role, location in topology.locations.items():
        yield role
        if isinstance(location, Colocated):
            yield location.peer


def _mentioned(topology: Layout) -> Iterable[str]:
    for ends in topology.channel_capacities:
        yield from ends
    for constraint in topology.constraints:
        yield from constraint.roles


def _broken(topology: Layout, roles: Sequence[str]) -> Failure | None:
    for role in roles:
        location = topology.location(role)
        try:
            chain(topology, role)
        except UnresolvedRole as problem:
            peer = location.peer if isinstance(location, Colocated) else role
            return ConstraintViolation(ColocatedRoles(role, peer), problem.reason)
    declared: list[RegionOfRole] = []
    for constraint in topology.constraints:
        reason = _reason(topology, constraint, declared)
        if reason:
            return ConstraintViolation(constraint, reason)
        if isinstance(constraint, RegionOfRole):
            declared.append(constraint)
    return None


def _reason(topology: Layout, constraint: TopologyConstraint, declared: Sequence[RegionOfRole]) -> str:
    """Why a constraint does not hold; empty when it does."""
    match constraint:
        case ColocatedRoles(first, second):
            here, there = resolve(topology, first), resolve(topology, second)
            return "" if here == there else f"{first} is at {here}, {second} at {there}"
        case SeparatedRoles(first, second):
            here, there = resolve(topology, first), resolve(topology, second)
            return "" if here != there else f"both are at {here}"
        case PinnedRole(role, location):
            here, wanted = resolve(topology, role), _wanted(topology, location)
            return "" if here == wanted else f"{role} is at {here}"
        case RegionOfRole():
            try:
                check_region(topology, declared, constraint)
            except RegionConflict as problem:
                return str(problem)
            return ""


def _wanted(topology: Layout, location: Location) -> Location:
    return resolve(topology, location.peer) if isinstance(location, Colocated) else location


def _narrow(topology: Layout, requirements: Iterable[BranchRequirement]) -> Failure | None:
    for sender, receiver, label_count in requirements:
        required = bits_for(label_count)
        available = topology.channel_capacities.get((sender, receiver))
        if available is not None and required > available:
            return InsufficientCapacity(sender, receiver, required, available)
    return None


def bits_for(label_count: int) -> int:
    """Bits that tell so many labels apart.

    >>> [bits_for(count) for count in (1, 2, 3, 4, 5)]
    [0, 1, 2, 2, 3]
    """
    return max(0, label_count - 1).bit_length()


def remote_roles(topology: Layout, roles: Iterable[str]) -> tuple[str, ...]:
    """The roles that were given an endpoint, in the given order."""
    return tuple(role for role in roles if isinstance(topology.location(role), Remote))

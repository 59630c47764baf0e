"""What may only narrow: limits, sets of what is allowed, windows, policies, capabilities.

The top of each is the absence of a constraint, written down explicitly (``ALL``), so that it is a true identity.
Enforces nothing; it only says what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import ClassVar, Literal, TypeAlias

from antiphon.facts.encoding import INTEGER_MAX

from ..lattice import MeetValue, check_natural, read_list, read_map, read_natural, read_text, read_texts


class Universe(Enum):
    """The set of everything, of which no list can be made."""

    ALL = "all"

    def __repr__(self) -> str:
        return "ALL"


ALL: Literal[Universe.ALL] = Universe.ALL
"""Everything: the top of ``SetMeet`` and ``CapabilitySet``."""

Allowed: TypeAlias = "frozenset[str] | Literal[Universe.ALL]"


def intersect(first: Allowed, second: Allowed) -> Allowed:
    """What both allow."""
    if isinstance(first, Universe):
        return second
    return first if isinstance(second, Universe) else first & second


def allowed_to_data(allowed: Allowed) -> object:
    """A sorted list, or null for everything."""
    return None if isinstance(allowed, Universe) else sorted(allowed)


def read_allowed(data: object) -> Allowed:
    """Read what ``allowed_to_data`` wrote."""
    return ALL if data is None else read_texts(data)


@dataclass(frozen=True, slots=True)
class MinInt(MeetValue):
    """A limit that only falls; its top, 2^63 - 1, is no limit.

    >>> MinInt(100).meet(MinInt(80))
    MinInt(value=80)
    """

    lattice_name: ClassVar[str] = "min_int"
    value: int = INTEGER_MAX

    def __post_init__(self) -> None:
        check_natural("a MinInt", self.value)

    def top(self) -> MinInt:
        """No limit."""
        return MinInt()

    def meet(self, other: MinInt) -> MinInt:
        """The smaller."""
        return self if self.value <= other.value else other

    def to_data(self) -> object:
        """The number."""
        return self.value

    def from_data(self, data: object) -> MinInt:
        """Read what ``to_data`` wrote."""
        return MinInt(read_natural(data))


@dataclass(frozen=True, slots=True, init=False)
class SetMeet(MeetValue):
    """What is allowed: a set that only shrinks, ``ALL`` at the top.

    >>> SetMeet(ALL).meet(SetMeet(["a", "b"])).meet(SetMeet(["b", "c"])).allowed
    frozenset({'b'})
    """

    lattice_name: ClassVar[str] = "set_meet"
    allowed: Allowed

    def __init__(self, allowed: Iterable[str] | Literal[Universe.ALL] = ALL) -> None:
        object.__setattr__(self, "allowed", allowed if isinstance(allowed, Universe) else frozenset(allowed))

    def __contains__(self, item: str) -> bool:
        return isinstance(self.allowed, Universe) or item in self.allowed

    def top(self) -> SetMeet:
        """Everything."""
        return SetMeet()

    def meet(self, other: SetMeet) -> SetMeet:
        """The intersection."""
        return SetMeet(intersect(self.allowed, other.allowed))

    def to_data(self) -> object:
        """The sorted items, or null for everything."""
        return allowed_to_data(self.allowed)

    def from_data(self, data: object) -> SetMeet:
        """Read what ``to_data`` wrote."""
        return SetMeet(read_allowed(data))


@dataclass(frozen=True, slots=True)
class TimeWindow(MeetValue):
    """From ``start_ms`` to ``end_ms``, both inclusive; a window that ends before it starts holds nothing.

    >>> TimeWindow(0, 50).meet(TimeWindow(20, 90))
    TimeWindow(start_ms=20, end_ms=50)
    """

    lattice_name: ClassVar[str] = "time_window"
    start_ms: int = 0
    end_ms: int = INTEGER_MAX

    def __post_init__(self) -> None:
        check_natural("the start of a window", self.start_ms)
        check_natural("the end of a window", self.end_ms)

    @property
    def is_empty(self) -> bool:
        """Whether no time lies in it."""
        return self.start_ms > self.end_ms

    def contains(self, at_ms: int) -> bool:
        """Whether that time lies in it."""
        return self.start_ms <= at_ms <= self.end_ms

    def top(self) -> TimeWindow:
        """Always."""
        return TimeWindow()

    def meet(self, other: TimeWindow) -> TimeWindow:
        """The later start and the earlier end."""
        return TimeWindow(max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms))

    def to_data(self) -> object:
        """Start and end."""
        return [self.start_ms, self.end_ms]

    def from_data(self, data: object) -> TimeWindow:
        """Read what ``to_data`` wrote."""
        start, end = read_list(data)
        return TimeWindow(read_natural(start), read_natural(end))


class PolicyRule(Enum):
    """Who must agree: anyone, a threshold, or everyone; in order of strictness."""

    ANY = 0
    THRESHOLD = 1
    ALL = 2


@dataclass(frozen=True, slots=True)
class PolicyMeet(MeetValue):
    """How many must agree; the stricter policy wins: anyone < k of n < everyone.

    Of one n the larger k is stricter, of different n the larger fraction, and of equal fractions the larger n.

    >>> PolicyMeet.threshold(2, 3).meet(PolicyMeet.threshold(3, 5)) == PolicyMeet.threshold(2, 3)
    True
    """

    lattice_name: ClassVar[str] = "policy"
    rule: PolicyRule = PolicyRule.ANY
    needed: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        is_threshold = self.rule is PolicyRule.THRESHOLD
        if (is_threshold and not 1 <= self.needed <= self.total) or (
            not is_threshold and (self.needed, self.total) != (0, 0)
        ):
            raise ValueError(f"{self.rule.name} with {self.needed} of {self.total}; a threshold is 1 <= k <= n")
        check_natural("the members of a policy", self.total)

    @classmethod
    def threshold(cls, needed: int, total: int) -> PolicyMeet:
        """*needed* of *total* must agree."""
        return cls(PolicyRule.THRESHOLD, needed, total)

    @classmethod
    def everyone(cls) -> PolicyMeet:
        """All must agree: the strictest."""
        return cls(PolicyRule.ALL)

    @property
    def strictness(self) -> tuple[int, Fraction, int]:
        """The total order in which the larger is kept."""
        return (self.rule.value, Fraction(self.needed, self.total or 1), self.total)

    def top(self) -> PolicyMeet:
        """Anyone: no constraint."""
        return PolicyMeet()

    def meet(self, other: PolicyMeet) -> PolicyMeet:
        """The stricter."""
        return self if other.strictness <= self.strictness else other

    def to_data(self) -> object:
        """``any``, ``all`` or the two numbers."""
        return [self.needed, self.total] if self.rule is PolicyRule.THRESHOLD else self.rule.name.lower()

    def from_data(self, data: object) -> PolicyMeet:
        """Read what ``to_data`` wrote."""
        if isinstance(data, str):
            return {"any": PolicyMeet(), "all": PolicyMeet.everyone()}[data]
        needed, total = read_list(data)
        return PolicyMeet.threshold(read_natural(needed), read_natural(total))


@dataclass(frozen=True, slots=True, init=False)
class CapabilitySet(MeetValue):
    """What a holder may do, and by whose word; it only narrows.

    Sets of one issuer intersect. Sets of two issuers have nothing in common, and nothing stays nothing. ``issuer``
    None is nobody in particular: the set of a local policy, which narrows anyone's. Evaluated locally.

    >>> granted = CapabilitySet(["chat:send", "chat:read"], issuer="ada")
    >>> granted.meet(CapabilitySet(["chat:read"])).allows("chat:send")
    False
    """

    lattice_name: ClassVar[str] = "capability_set"
    allowed: Allowed
    issuer: str | None

    def __init__(self, allowed: Iterable[str] | Literal[Universe.ALL] = ALL, *, issuer: str | None = None) -> None:
        kept: Allowed = allowed if isinstance(allowed, Universe) else frozenset(allowed)
        object.__setattr__(self, "allowed", kept)
        # There is one empty set, whoever issued it; otherwise nothing would not absorb everything.
        object.__setattr__(self, "issuer", None if kept == frozenset() else issuer)

    def allows(self, capability: str) -> bool:
        """Whether the holder may."""
        return isinstance(self.allowed, Universe) or capability in self.allowed

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return self.allowed == frozenset()

    def top(self) -> CapabilitySet:
        """Everything, by nobody's word: no constraint."""
        return CapabilitySet()

    def meet(self, other: CapabilitySet) -> CapabilitySet:
        """What both allow."""
        if self.issuer is not None and other.issuer is not None and self.issuer != other.issuer:
            return CapabilitySet(())
        issuer = other.issuer if self.issuer is None else self.issuer
        return CapabilitySet(intersect(self.allowed, other.allowed), issuer=issuer)

    def to_data(self) -> object:
        """The sorted capabilities (null for everything) and the issuer."""
        return {"allowed": allowed_to_data(self.allowed), "issuer": self.issuer}

    def from_data(self, data: object) -> CapabilitySet:
        """Read what ``to_data`` wrote."""
        parts = read_map(data)
        issuer = None if parts["issuer"] is None else read_text(parts["issuer"])
        return CapabilitySet(read_allowed(parts["allowed"]), issuer=issuer)

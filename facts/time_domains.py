"""The five time domains as data, and what may be said when two stamps of them are compared.

Stamps of two domains are never ordered by ``compare``; ``sort_compare`` puts them beside each other only because a list
needs some order. Reads no clock, and does not settle conflicts between facts: that is the stamp of ``time.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal

from .errors import LocalViolation
from .time import OrderTime

TICKS_MAX = 2**64 - 1

Confidence = Literal["high", "medium", "low", "unknown"]
ProofValidity = Literal["valid", "invalid", "unchecked"]


class TimeComparison(Enum):
    """What is known of two stamps; ``CONCURRENT`` also for equal ones."""

    BEFORE = "before"
    AFTER = "after"
    CONCURRENT = "concurrent"
    OVERLAPPING = "overlapping"
    INCOMPARABLE = "incomparable"


class OrderingPolicy(Enum):
    """How far a comparison may go: only what the domain itself says, or a tie-break that all replicas share."""

    NATIVE = "native"
    DETERMINISTIC_TIE_BREAK = "deterministic_tie_break"


@dataclass(frozen=True, slots=True)
class PhysicalTime:
    """Milliseconds since 1970 on somebody's clock, which may be wrong by ``uncertainty_ms``.

    For guards, receipts, expiry, display and last-writer-wins inside a payload; never a proof of what caused what.
    """

    ts_ms: int
    uncertainty_ms: int | None = None

    def __post_init__(self) -> None:
        _check_ticks("ts_ms", self.ts_ms)
        if self.uncertainty_ms is not None:
            _check_ticks("uncertainty_ms", self.uncertainty_ms)


@dataclass(frozen=True, slots=True)
class LogicalTime:
    """A vector clock (an actor that is not named stands at 0) and a Lamport number that rises along every cause.

    >>> ada = LogicalTime().advance("ada")
    >>> compare(ada, ada.advance("ben")), compare(ada, LogicalTime().advance("ben")).value
    (<TimeComparison.BEFORE: 'before'>, 'incomparable')
    """

    clock: Mapping[str, int] = field(default_factory=dict)
    lamport: int = 0

    def __post_init__(self) -> None:
        for actor, count in self.clock.items():
            _check_ticks(f"the clock entry of {actor!r}", count)
        _check_ticks("lamport", self.lamport)
        entries = {actor: count for actor, count in sorted(self.clock.items()) if count}
        object.__setattr__(self, "clock", MappingProxyType(entries))

    def __hash__(self) -> int:
        return hash((tuple(self.clock.items()), self.lamport))

    def advance(self, actor: str, *, observed: LogicalTime | None = None) -> LogicalTime:
        """The time of *actor*'s next step, which knows all of this and of *observed*; ``OverflowError`` at the end."""
        other = observed or LogicalTime()
        clock = {each: max(self.at(each), other.at(each)) for each in {*self.clock, *other.clock}}
        clock[actor] = clock.get(actor, 0) + 1
        lamport = max(self.lamport, other.lamport) + 1
        if max(clock[actor], lamport) > TICKS_MAX:
            raise OverflowError(f"the logical clock of {actor!r} is at its end; go on under a new actor")
        return LogicalTime(clock, lamport)

    def at(self, actor: str) -> int:
        """How far *actor* has been seen."""
        return self.clock.get(actor, 0)

    def is_covered_by(self, other: LogicalTime) -> bool:
        """Whether *other* has seen all of this."""
        return all(count <= other.at(actor) for actor, count in self.clock.items())


@dataclass(frozen=True, slots=True)
class RangeTime:
    """Some time between two moments, both included; for validity windows, beside a stamp of another domain."""

    earliest_ms: int
    latest_ms: int
    confidence: Confidence = "unknown"

    def __post_init__(self) -> None:
        _check_ticks("earliest_ms", self.earliest_ms)
        _check_ticks("latest_ms", self.latest_ms)
        if self.earliest_ms > self.latest_ms:
            raise LocalViolation(
                f"a range runs from its earliest to its latest moment; got {self.earliest_ms}..{self.latest_ms}"
            )


@dataclass(frozen=True, slots=True)
class TimeProof:
    """Somebody's word for a claimed time: what their own clock read, and their signature (checked elsewhere)."""

    attestor: str
    claimed_ms: int
    attestor_ms: int
    skew_ms: int
    validity: ProofValidity
    signature: bytes


@dataclass(frozen=True, slots=True)
class ProvenancedTime:
    """A stamp of another domain with who vouches for it; compared by that stamp, with its like only."""

    stamp: PhysicalTime | LogicalTime | OrderTime | RangeTime
    proofs: tuple[TimeProof, ...] = ()
    origin: str | None = None


TimeStamp = PhysicalTime | LogicalTime | OrderTime | RangeTime | ProvenancedTime
"""A moment in one of the five domains."""

# The order in which a list shows domains that cannot be compared.
_DOMAIN_RANKS: Mapping[type, int] = {LogicalTime: 0, OrderTime: 1, PhysicalTime: 2, RangeTime: 3, ProvenancedTime: 4}


def compare(first: TimeStamp, second: TimeStamp, *, policy: OrderingPolicy = OrderingPolicy.NATIVE) -> TimeComparison:
    """How *first* stands to *second*. Never raises; two domains are incomparable under every policy.

    Concurrent logical stamps are ``INCOMPARABLE`` natively and ``CONCURRENT`` under the tie-break.

    >>> compare(PhysicalTime(1), PhysicalTime(2)).value, compare(PhysicalTime(1), OrderTime(bytes(32))).value
    ('before', 'incomparable')
    """
    if isinstance(first, ProvenancedTime) and isinstance(second, ProvenancedTime):
        return compare(first.stamp, second.stamp, policy=policy)
    if isinstance(first, PhysicalTime) and isinstance(second, PhysicalTime):
        return _compare_values(first.ts_ms, second.ts_ms)
    if isinstance(first, OrderTime) and isinstance(second, OrderTime):
        return _compare_values(first.token, second.token)
    if isinstance(first, RangeTime) and isinstance(second, RangeTime):
        return _compare_ranges(first, second)
    if isinstance(first, LogicalTime) and isinstance(second, LogicalTime):
        return _compare_clocks(first, second, policy)
    return TimeComparison.INCOMPARABLE


def sort_compare(
    first: TimeStamp, second: TimeStamp, *, policy: OrderingPolicy = OrderingPolicy.DETERMINISTIC_TIE_BREAK
) -> int:
    """-1, 0 or 1 for sorting. Natively only what ``compare`` orders differs from 0.

    Under the tie-break it is a total preorder: by domain (logical, order, physical, range, provenanced), then by
    ``to_index`` and what else tells two stamps apart.
    """
    if policy is OrderingPolicy.NATIVE:
        return _SIGNS.get(compare(first, second), 0)
    one, other = _sort_key(first), _sort_key(second)
    return (one > other) - (one < other)


_SIGNS = {TimeComparison.BEFORE: -1, TimeComparison.AFTER: 1}


def sort_stamps(stamps: list[TimeStamp]) -> list[TimeStamp]:
    """Sort stamps of any domains in the order that all replicas share."""
    return sorted(stamps, key=_sort_key)


def to_index(stamp: TimeStamp) -> int:
    """One number to sort by within a domain: milliseconds, Lamport number, the token's first 8 bytes, latest moment.

    Numbers of two domains mean different things and are not to be compared.
    """
    if isinstance(stamp, ProvenancedTime):
        return to_index(stamp.stamp)
    if isinstance(stamp, PhysicalTime):
        return stamp.ts_ms
    if isinstance(stamp, LogicalTime):
        return stamp.lamport
    if isinstance(stamp, RangeTime):
        return stamp.latest_ms
    return int.from_bytes(stamp.token[:8], "big")


def _compare_values(first: int | bytes, second: int | bytes) -> TimeComparison:
    if first == second:
        return TimeComparison.CONCURRENT
    return TimeComparison.BEFORE if first < second else TimeComparison.AFTER  # type: ignore[operator]  # of one type


def _compare_ranges(first: RangeTime, second: RangeTime) -> TimeComparison:
    if first.latest_ms < second.earliest_ms:
        return TimeComparison.BEFORE
    return TimeComparison.AFTER if second.latest_ms < first.earliest_ms else TimeComparison.OVERLAPPING


def _compare_clocks(first: LogicalTime, second: LogicalTime, policy: OrderingPolicy) -> TimeComparison:
    is_before, is_after = first.is_covered_by(second), second.is_covered_by(first)
    if is_before and is_after:
        return TimeComparison.CONCURRENT
    if is_before or is_after:
        return TimeComparison.BEFORE if is_before else TimeComparison.AFTER
    return TimeComparison.INCOMPARABLE if policy is OrderingPolicy.NATIVE else TimeComparison.CONCURRENT


def _sort_key(stamp: TimeStamp) -> tuple[Any, ...]:
    rank, index = _DOMAIN_RANKS[type(stamp)], to_index(stamp)
    if isinstance(stamp, ProvenancedTime):
        proofs = tuple(tuple(getattr(proof, each) for each in TimeProof.__slots__) for proof in stamp.proofs)
        return (rank, _sort_key(stamp.stamp), stamp.origin is not None, stamp.origin or "", proofs)
    if isinstance(stamp, OrderTime):
        return (rank, index, stamp.token)
    if isinstance(stamp, LogicalTime):
        # The sum rises along every cause, too, so that a Lamport number kept carelessly at 0 does no harm.
        return (rank, index, sum(stamp.clock.values()), tuple(stamp.clock.items()))
    if isinstance(stamp, RangeTime):
        return (rank, index, stamp.earliest_ms, stamp.confidence)
    return (rank, index, -1 if stamp.uncertainty_ms is None else stamp.uncertainty_ms)


def _check_ticks(what: str, value: int) -> None:
    if not 0 <= value <= TICKS_MAX:
        raise LocalViolation(f"{what} is {value}; expected 0..2^64 - 1")

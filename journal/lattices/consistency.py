"""What is known *about* a fact and is no part of it: how far it is agreed, how far it has travelled, who has it.

Never hashed and never a fact: each replica has its own account, and accounts of one fact join like any lattice, so
that what arrives twice or late never lowers one. Reads no clock; times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, NamedTuple

from antiphon.facts import OperationCategory

from ..lattice import JoinValue, freeze, read_list, read_map, read_natural, read_text
from .registers import check_time


class AgreementLevel(IntEnum):
    """How firmly an operation stands; only ``FINALIZED`` can never be taken back."""

    PROVISIONAL = 1
    SOFT_SAFE = 2
    FINALIZED = 3


@dataclass(frozen=True, slots=True)
class Agreement(JoinValue):
    """Agreement on one operation: a certificate raises it, a reversion of the same or a later epoch lowers it.

    A consensus finalizes it, whatever is certified or reverted before or after. Of two certificates of an epoch, and of
    two consensus ids, every replica keeps the smaller.

    >>> state = Agreement().certified("cert-1", epoch=4)
    >>> state.level.name, state.reverted(epoch=4).level.name
    ('SOFT_SAFE', 'PROVISIONAL')
    >>> state.finalized("round-9").reverted(epoch=9).level.name
    'FINALIZED'
    """

    lattice_name: ClassVar[str] = "agreement"
    consensus_id: str = ""
    cert_epoch: int = -1
    cert: str = ""
    reverted_epoch: int = -1

    @property
    def level(self) -> AgreementLevel:
        """Where the operation stands."""
        if self.consensus_id:
            return AgreementLevel.FINALIZED
        return AgreementLevel.SOFT_SAFE if self.cert_epoch > self.reverted_epoch else AgreementLevel.PROVISIONAL

    def certified(self, cert: str, *, epoch: int) -> Agreement:
        """After a convergence certificate of a coordinator's *epoch*."""
        return self.join(Agreement(cert_epoch=_check_epoch(epoch), cert=cert))

    def reverted(self, *, epoch: int) -> Agreement:
        """After a reversion in *epoch*: certificates up to it no longer count."""
        return self.join(Agreement(reverted_epoch=_check_epoch(epoch)))

    def finalized(self, consensus_id: str) -> Agreement:
        """After a consensus; this cannot be undone. ``ValueError`` without an id."""
        if not consensus_id:
            raise ValueError("a consensus has an id; got an empty text")
        return self.join(Agreement(consensus_id=consensus_id))

    def is_contradicted_by(self, other: Agreement) -> bool:
        """Whether two different consensus rounds finalized one operation: somebody is at fault, so tell of it."""
        return bool(self.consensus_id and other.consensus_id) and self.consensus_id != other.consensus_id

    def bottom(self) -> Agreement:
        """Provisional."""
        return Agreement()

    def join(self, other: Agreement) -> Agreement:
        """All that either knows."""
        newer = min((self, other), key=lambda each: (-each.cert_epoch, each.cert))
        return Agreement(
            min(filter(None, (self.consensus_id, other.consensus_id)), default=""),
            newer.cert_epoch,
            newer.cert,
            max(self.reverted_epoch, other.reverted_epoch),
        )

    def to_data(self) -> object:
        """The four parts."""
        return [self.consensus_id, self.cert_epoch, self.cert, self.reverted_epoch]

    def from_data(self, data: object) -> Agreement:
        """Read what ``to_data`` wrote."""
        consensus_id, cert_epoch, cert, reverted_epoch = read_list(data)
        made = Agreement(read_text(consensus_id), _read_epoch(cert_epoch), read_text(cert), _read_epoch(reverted_epoch))
        if made.cert and made.cert_epoch < 0:
            raise ValueError("a certificate without an epoch")
        return made


class PropagationLevel(IntEnum):
    """How far something has travelled, in the order in which accounts of it join."""

    LOCAL = 0
    FAILED = 1
    SYNCING = 2
    COMPLETE = 3


@dataclass(frozen=True, slots=True)
class Propagation(JoinValue):
    """How far something has travelled: Local < Failed < Syncing < Complete; further beats less far.

    ``reached`` of ``known`` peers count while syncing, ``retry_count``, ``retry_at`` and ``error`` after a failure.

    >>> Propagation.syncing(1, 3).join(Propagation.failed(retry_at=9, retry_count=2, error="lost")).reached
    1
    """

    lattice_name: ClassVar[str] = "propagation"
    level: PropagationLevel = PropagationLevel.LOCAL
    reached: int = 0
    known: int = 0
    retry_count: int = 0
    retry_at: int = 0
    error: str = ""

    @classmethod
    def syncing(cls, reached: int, known: int) -> Propagation:
        """Under way: *reached* of *known* peers have it."""
        if not 0 <= reached <= known:
            raise ValueError(f"{reached} of {known} peers reached; expected 0 <= reached <= known")
        return cls(PropagationLevel.SYNCING, reached, known)

    @classmethod
    def complete(cls) -> Propagation:
        """Everybody who is known has it."""
        return cls(PropagationLevel.COMPLETE)

    @classmethod
    def failed(cls, *, retry_at: int, retry_count: int, error: str) -> Propagation:
        """It could not be handed over; it is tried again at *retry_at*."""
        return cls(PropagationLevel.FAILED, retry_count=retry_count, retry_at=check_time(retry_at), error=error)

    def bottom(self) -> Propagation:
        """Local."""
        return Propagation()

    def join(self, other: Propagation) -> Propagation:
        """The one that is further."""
        return max(self, other, key=_distance)

    def to_data(self) -> object:
        """The level's name and what belongs to it."""
        match self.level:
            case PropagationLevel.SYNCING:
                return ["syncing", self.reached, self.known]
            case PropagationLevel.FAILED:
                return ["failed", self.retry_count, self.retry_at, self.error]
            case level:
                return [level.name.lower()]

    def from_data(self, data: object) -> Propagation:
        """Read what ``to_data`` wrote."""
        match read_list(data):
            case ["local"]:
                return Propagation()
            case ["complete"]:
                return Propagation.complete()
            case ["syncing", reached, known]:
                return Propagation.syncing(read_natural(reached), read_natural(known))
            case ["failed", retry_count, int() as retry_at, error] if type(retry_at) is int:
                return Propagation.failed(
                    retry_count=read_natural(retry_count), retry_at=retry_at, error=read_text(error)
                )
        raise ValueError(f"expected a level of propagation, got {data!r:.80}")


@dataclass(frozen=True, slots=True)
class Acknowledgment(JoinValue):
    """Who has said to hold a fact durably, and when first.

    >>> Acknowledgment().acked_by("ben", at=7).join(Acknowledgment().acked_by("ben", at=5)).acks["ben"]
    5
    """

    lattice_name: ClassVar[str] = "acknowledgment"
    acks: Mapping[str, int] = field(default_factory=lambda: freeze({}))

    def __post_init__(self) -> None:
        object.__setattr__(self, "acks", freeze(self.acks))

    def acked_by(self, peer: str, *, at: int) -> Acknowledgment:
        """After *peer* acknowledged at *at*."""
        return self.join(Acknowledgment({peer: check_time(at)}))

    def covers(self, expected: Collection[str]) -> bool:
        """Whether all of *expected* have it; true for nobody."""
        return all(peer in self.acks for peer in expected)

    def bottom(self) -> Acknowledgment:
        """Nobody."""
        return Acknowledgment()

    def join(self, other: Acknowledgment) -> Acknowledgment:
        """The union, with the earliest time of each."""
        acks = dict(self.acks)
        for peer, at in other.acks.items():
            acks[peer] = min(at, acks.get(peer, at))
        return Acknowledgment(acks)

    def to_data(self) -> object:
        """Times by peer."""
        return dict(self.acks)

    def from_data(self, data: object) -> Acknowledgment:
        """Read what ``to_data`` wrote."""
        times = read_map(data)
        if not all(type(at) is int for at in times.values()):
            raise ValueError("an acknowledgment's time is an integer")
        return Acknowledgment({peer: check_time(at) for peer, at in times.items() if isinstance(at, int)})

    def __hash__(self) -> int:
        return hash(frozenset(self.acks.items()))


@dataclass(frozen=True, slots=True)
class Consistency(JoinValue):
    """Everything that is known about one item; ``acknowledgment`` is None when nobody keeps track of acks for it.

    The category is fixed when the item is made; if two accounts differ, the stricter one stands.
    """

    lattice_name: ClassVar[str] = "consistency"
    category: OperationCategory = OperationCategory.LOCAL
    agreement: Agreement = Agreement()
    propagation: Propagation = Propagation()
    acknowledgment: Acknowledgment | None = None

    @property
    def is_finalized(self) -> bool:
        """Whether it can never be taken back."""
        return self.agreement.level is AgreementLevel.FINALIZED

    def is_delivered(self, expected: Collection[str]) -> bool:
        """Whether every one of *expected* has acknowledged it; false when nobody is expected."""
        return bool(expected) and self.acknowledgment is not None and self.acknowledgment.covers(expected)

    @property
    def acked_by(self) -> frozenset[str]:
        """Who acknowledged it."""
        return frozenset(self.acknowledgment.acks if self.acknowledgment else ())

    def bottom(self) -> Consistency:
        """Nothing known."""
        return Consistency()

    def join(self, other: Consistency) -> Consistency:
        """Axis by axis."""
        mine, theirs = self.acknowledgment, other.acknowledgment
        return Consistency(
            max(self.category, other.category, key=lambda each: each.value),
            self.agreement.join(other.agreement),
            self.propagation.join(other.propagation),
            mine.join(theirs) if mine is not None and theirs is not None else mine if theirs is None else theirs,
        )

    def to_data(self) -> object:
        """The four axes."""
        acks = None if self.acknowledgment is None else self.acknowledgment.to_data()
        return [self.category.value, self.agreement.to_data(), self.propagation.to_data(), acks]

    def from_data(self, data: object) -> Consistency:
        """Read what ``to_data`` wrote."""
        category, agreement, propagation, acks = read_list(data)
        return Consistency(
            OperationCategory(read_text(category)),
            Agreement().from_data(agreement),
            Propagation().from_data(propagation),
            None if acks is None else Acknowledgment().from_data(acks),
        )


@dataclass(frozen=True, slots=True)
class ConsistencyMap(JoinValue):
    """What is known about many items, by their ids; an item that is not in it is known nothing about.

    >>> known = ConsistencyMap().joined("m1", Consistency(agreement=Agreement().finalized("round-1")))
    >>> known.joined("m1", Consistency()).is_finalized("m1"), known.is_finalized("m2")
    (True, False)
    """

    lattice_name: ClassVar[str] = "consistency_map"
    items: Mapping[str, Consistency] = field(default_factory=lambda: freeze({}))

    def __post_init__(self) -> None:
        bare = Consistency()
        object.__setattr__(self, "items", freeze({item: each for item, each in self.items.items() if each != bare}))

    def __getitem__(self, item: str) -> Consistency:
        return self.items.get(item, Consistency())

    def __iter__(self) -> Iterator[str]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def joined(self, item: str, consistency: Consistency) -> ConsistencyMap:
        """With this known about *item* as well; O(items), so join two maps to bring in many."""
        return self.join(ConsistencyMap({item: consistency}))

    def without(self, items: Collection[str]) -> ConsistencyMap:
        """Without what was known about *items*."""
        return ConsistencyMap({item: each for item, each in self.items.items() if item not in items})

    def is_finalized(self, item: str) -> bool:
        """Whether *item* can never be taken back."""
        return self[item].is_finalized

    def is_delivered(self, item: str, expected: Collection[str]) -> bool:
        """Whether every one of *expected* has acknowledged *item*."""
        return self[item].is_delivered(expected)

    def acked_by(self, item: str) -> frozenset[str]:
        """Who acknowledged *item*."""
        return self[item].acked_by

    def bottom(self) -> ConsistencyMap:
        """Nothing known about anything."""
        return ConsistencyMap()

    def join(self, other: ConsistencyMap) -> ConsistencyMap:
        """Item by item."""
        merged = dict(self.items)
        for item, each in other.items.items():
            mine = merged.get(item)
            merged[item] = each if mine is None else mine.join(each)
        return ConsistencyMap(merged)

    def to_data(self) -> object:
        """The axes of each item."""
        return {item: each.to_data() for item, each in self.items.items()}

    def from_data(self, data: object) -> ConsistencyMap:
        """Read what ``to_data`` wrote."""
        return ConsistencyMap({item: Consistency().from_data(each) for item, each in read_map(data).items()})

    def __hash__(self) -> int:
        return hash(frozenset(self.items.items()))


class DeliveryIcon(NamedTuple):
    """What a screen shows beside a message: how far it came, how firmly it stands, and whether it was read (blue)."""

    delivery: str
    agreement: str = ""
    is_read: bool = False

    def __str__(self) -> str:
        return f"{self.delivery} {self.agreement}".rstrip()


_PROPAGATION_ICONS = {
    PropagationLevel.LOCAL: "◐",
    PropagationLevel.SYNCING: "◐",
    PropagationLevel.FAILED: "✗",
    PropagationLevel.COMPLETE: "✓",
}
_AGREEMENT_ICONS = {
    AgreementLevel.PROVISIONAL: "",
    AgreementLevel.SOFT_SAFE: "⚠",
    AgreementLevel.FINALIZED: "◆",
}


def delivery_icon(consistency: Consistency, expected: Collection[str] = (), *, is_read: bool = False) -> DeliveryIcon:
    """The icon of an item that *expected* peers ought to acknowledge; *is_read* comes from a read receipt.

    >>> str(delivery_icon(Consistency(agreement=Agreement().finalized("round-1"))))
    '◐ ◆'
    """
    agreement = _AGREEMENT_ICONS[consistency.agreement.level]
    if is_read:
        return DeliveryIcon("✓✓", agreement, True)
    level = consistency.propagation.level
    is_delivered = level is PropagationLevel.COMPLETE and consistency.is_delivered(expected)
    return DeliveryIcon("✓✓" if is_delivered else _PROPAGATION_ICONS[level], agreement)


def _distance(value: Propagation) -> tuple[int, int, int, int, int, str]:
    return (value.level, value.reached, value.known, value.retry_count, value.retry_at, value.error)


def _check_epoch(epoch: int) -> int:
    if epoch < 0:
        raise ValueError(f"epoch={epoch}; expected 0 or more")
    return check_time(epoch)


def _read_epoch(data: object) -> int:
    if type(data) is not int or data < -1:
        raise ValueError(f"expected an epoch, got {data!r:.80}")
    return check_time(data)

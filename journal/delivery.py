"""``DeliveryPolicy``: which facts peers acknowledge, and when the account of that may be dropped.

Decides about acknowledgements and retention only. Facts stay whatever is decided here: what retention lets go is a
payload, on this node (``retention.py``). Reads no clock: ages are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from antiphon.facts import Fact, FactRecord, LocalViolation

from .lattices.consistency import AgreementLevel, Consistency

NO_TIME = timedelta(0)
CHAT_MIN_RETENTION = timedelta(days=30)
CHAT_MAX_RETENTION = timedelta(days=90)


# What others hang on: chains, protocols, homes and rights are judged by these.
_PROTECTED_DOMAINS = frozenset({"journal", "protocol", "home", "guardian", "channel", "moderation"})
# How kinds end that take something away: without them, what they took away would be there again.
_TOMBSTONE_WORDS = frozenset(
    {"aborted", "ban", "banned", "cancelled", "closed", "declined", "deleted", "dropped", "erased", "expired", "kick"}
    | {"kicked", "left", "mute", "removed", "reverted", "revoke", "revoked", "unban", "unmute", "unpin", "withdrawn"}
)
_CHAT_CONTENT = frozenset(
    f"chat.message_{each}" for each in ("sent", "sent_sealed", "edited", "edited_sealed", "delivery_updated")
)


class InvalidRetention(LocalViolation):
    """A policy that would have to drop what it must keep."""


def is_protected(kind: str) -> bool:
    """Whether facts of *kind* keep their payload however old they are: what opens, grants, or takes away.

    >>> [kind for kind in ("chat.message_sent", "chat.message_deleted", "journal.merge") if is_protected(kind)]
    ['chat.message_deleted', 'journal.merge']
    """
    return kind.partition(".")[0] in _PROTECTED_DOMAINS or not _TOMBSTONE_WORDS.isdisjoint(
        kind.rpartition(".")[2].split("_")
    )


class PolicyAlreadyRegistered(LocalViolation):
    """A domain has a policy already; what was decided under it cannot be decided anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How long acknowledgements of a domain's facts are kept, and payloads of some; derive from it to decide otherwise.

    Nothing is dropped before ``min_retention``, everything at ``max_retention`` (None: never by age alone), and between
    the two whatever ``should_drop_tracking`` lets go: as it stands, what is finalized. ``ack_kinds`` are the fact kinds
    that are acknowledged, ``peers`` those who are expected to, by authority. ``retired_kinds`` are the kinds whose
    payloads go by the same rule when a retention pass is asked for: none as it stands, and never those that open, grant
    or take away (``InvalidRetention``).

    >>> policy = DeliveryPolicy(min_retention=timedelta(days=1), max_retention=timedelta(days=3))
    >>> [policy.can_gc(timedelta(days=days), Consistency()) for days in (0, 2, 3)]
    [False, False, True]
    """

    min_retention: timedelta = NO_TIME
    max_retention: timedelta | None = None
    ack_kinds: frozenset[str] = frozenset()
    peers: frozenset[str] = frozenset()
    retired_kinds: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.min_retention < NO_TIME:
            raise InvalidRetention(f"min_retention is {self.min_retention}; it cannot be negative")
        if self.max_retention is not None and self.max_retention < self.min_retention:
            raise InvalidRetention(
                f"max_retention {self.max_retention} is shorter than min_retention {self.min_retention}; "
                "between the two lies the time in which tracking may be dropped"
            )
        protected = sorted(filter(is_protected, self.retired_kinds))
        if protected:
            raise InvalidRetention(
                f"{protected[0]} opens, grants or takes something away, and others are judged by it; its payload "
                "stays, so leave it out of retired_kinds"
            )

    @property
    def name(self) -> str:
        """What to call the policy in a report."""
        return type(self).__name__

    def requires_ack(self, fact: Fact) -> bool:
        """Whether whoever receives *fact* tells that it is durable there."""
        return fact.fact_type.kind in self.ack_kinds

    def expected_peers(self, fact: Fact) -> frozenset[str]:
        """The authorities that ought to acknowledge *fact*."""
        del fact
        return self.peers

    def should_drop_tracking(self, consistency: Consistency, expected: Collection[str] = ()) -> bool:
        """Whether nobody needs the account any more, once it is old enough."""
        del expected
        return consistency.is_finalized

    def can_gc(self, age: timedelta, consistency: Consistency, expected: Collection[str] = ()) -> bool:
        """Whether the account of an item of that *age* may be dropped; pure, O(expected)."""
        if self.max_retention is not None and age >= self.max_retention:
            return True
        return age >= self.min_retention and self.should_drop_tracking(consistency, expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropWhenFinalized(DeliveryPolicy):
    """Let go of what is finalized: the policy of every domain that registers none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropWhenFullyAcked(DeliveryPolicy):
    """Let go once all who are expected have acknowledged; while nobody is expected, never."""

    def should_drop_tracking(self, consistency: Consistency, expected: Collection[str] = ()) -> bool:
        """Whether every one of *expected* has it."""
        return consistency.is_delivered(expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropWhenFinalizedAndFullyAcked(DeliveryPolicy):
    """Let go once it is finalized and all who are expected have it."""

    def should_drop_tracking(self, consistency: Consistency, expected: Collection[str] = ()) -> bool:
        """Whether both hold."""
        return consistency.is_finalized and consistency.is_delivered(expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropWhenSafeAndFullyAcked(DeliveryPolicy):
    """Let go once it is soft-safe or better and all who are expected have it."""

    def should_drop_tracking(self, consistency: Consistency, expected: Collection[str] = ()) -> bool:
        """Whether both hold."""
        return consistency.agreement.level >= AgreementLevel.SOFT_SAFE and consistency.is_delivered(expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMembersPolicy(DropWhenFullyAcked):
    """Expect an acknowledgement of whoever *members_of* says belongs to the fact's channel."""

    members_of: Callable[[Fact], frozenset[str]]

    def expected_peers(self, fact: Fact) -> frozenset[str]:
        """The members."""
        return self.members_of(fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDeliveryPolicy(DropWhenFullyAcked):
    """Messages are acknowledged, sealed ones too; the account, and what they say, is kept for 30 days and never longer
    than 90.

    Imported messages stay: their time is that of the old log.
    """

    min_retention: timedelta = CHAT_MIN_RETENTION
    max_retention: timedelta | None = CHAT_MAX_RETENTION
    ack_kinds: frozenset[str] = frozenset({"chat.message_sent", "chat.message_sent_sealed"})
    retired_kinds: frozenset[str] = _CHAT_CONTENT


DEFAULT_POLICY = DropWhenFinalized()


@dataclass(slots=True)
class DeliveryPolicies:
    """Which policy holds for which domain; the domain is a kind's first part, and a whole kind goes before its domain.

    >>> policies = DeliveryPolicies()
    >>> policies.register("chat", ChatDeliveryPolicy())
    >>> policies.for_kind("chat.message_sent").name, policies.for_kind("demo.noted").name
    ('ChatDeliveryPolicy', 'DropWhenFinalized')
    """

    _policies: dict[str, DeliveryPolicy] = field(default_factory=dict)

    def register(self, domain: str, policy: DeliveryPolicy) -> None:
        """Let *policy* hold for *domain*, such as ``"chat"``. ``PolicyAlreadyRegistered`` when another one does."""
        known = self._policies.setdefault(domain, policy)
        if known != policy:
            raise PolicyAlreadyRegistered(
                f"{domain!r} has the delivery policy {known.name}; register {policy.name} under another domain or kind"
            )

    def for_kind(self, kind: str) -> DeliveryPolicy:
        """The policy for facts of *kind*."""
        found = self._policies.get(kind)
        return found if found is not None else self._policies.get(kind.partition(".")[0], DEFAULT_POLICY)

    @property
    def retired_kinds(self) -> Mapping[str, DeliveryPolicy]:
        """The kinds whose payloads go with age, and the policy that says so: the one that holds for the kind."""
        return {
            kind: policy
            for policy in self._policies.values()
            for kind in sorted(policy.retired_kinds)
            if self.for_kind(kind) is policy
        }

    def requires_ack(self, fact: Fact | FactRecord) -> bool:
        """Whether receivers acknowledge *fact*; of one that cannot be decoded here, its kind decides."""
        if isinstance(fact, Fact):
            return self.for_kind(fact.fact_type.kind).requires_ack(fact)
        return fact.kind in self.for_kind(fact.kind).ack_kinds

    @property
    def ack_kinds(self) -> frozenset[str]:
        """Every kind that a registered policy wants acknowledged by its name."""
        return frozenset(kind for policy in self._policies.values() for kind in policy.ack_kinds)


class TrackedItem(NamedTuple):
    """An item whose acknowledgements are kept: its kind, its own time, and who is expected to have it."""

    item: str
    kind: str
    at_ms: int
    consistency: Consistency
    expected: frozenset[str] = frozenset()


class AckGcPlan(NamedTuple):
    """What a pass would let go: ``dropped`` items, their number by domain, and how many acknowledgements they had."""

    dropped: tuple[str, ...]
    dropped_by_domain: Mapping[str, int]
    ack_count: int
    kept_count: int


def plan_ack_gc(items: Iterable[TrackedItem], policies: DeliveryPolicies, *, now_ms: int) -> AckGcPlan:
    """Which items may be tracked no longer; ~1 µs each. An item from the future is of age 0."""
    dropped: list[str] = []
    domains: Counter[str] = Counter()
    ack_count = kept_count = 0
    for item in items:
        age = timedelta(milliseconds=max(0, now_ms - item.at_ms))
        if policies.for_kind(item.kind).can_gc(age, item.consistency, item.expected):
            dropped.append(item.item)
            domains[item.kind.partition(".")[0]] += 1
            ack_count += len(item.consistency.acked_by)
        else:
            kept_count += 1
    return AckGcPlan(tuple(dropped), dict(domains), ack_count, kept_count)

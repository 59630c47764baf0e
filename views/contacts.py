"""The contacts view: facts about contacts, friendships and guardians in, one snapshot of the owner's contacts out.

A snapshot is a pure function of the set of facts. Only the owner's own facts change the list; the one thing others can
say is about their side of a friendship with the owner.

Rules. A contact is there while its newest addition, naming or offer of friendship is newer than its newest removal,
which voids all names, policies and codes before it. A name that only repeats the id never replaces a human one. A
friendship is an offer and its acceptance by the other side, both newer than the newest revocation; further offers
between friends say nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from antiphon.facts import AuthorityId, Fact, FactRecord, Stamp
from antiphon.facts.contacts import (
    CONTACT_FACTS,
    ContactAdded,
    ContactRemoved,
    ContactRenamed,
    FriendshipAccepted,
    FriendshipProposed,
    FriendshipRevoked,
    GuardianBound,
    ReadReceiptPolicy,
    ReadReceiptPolicyUpdated,
    is_human_name,
)
from antiphon.facts.fact import get_record
from antiphon.reactive import UNCHANGED, Batch, Unchanged

from .contacts_state import Contact, ContactsState, RelationshipState
from .kept_state import KeptShape, KeptView
from .registers import ActorOf, FoldStatistics, Register, is_after, is_signed_by, newer
from .signals import CONTACTS_SIGNAL

CONTACTS_VIEW_ID = "signals:contacts"


class ContactsSignalView(KeptView):
    """Folds contact facts into the `ContactsState` of *authority*, for the signal ``app:contacts``.

    A window costs about 5 µs a fact, and a copy of the id table (40 µs for 5,000 contacts) when something changed.

    >>> view = ContactsSignalView(AuthorityId("00" * 16))
    >>> view.signal.signal_id, len(view.state.contacts)
    ('app:contacts', 0)
    """

    view_id = CONTACTS_VIEW_ID
    depends_on: tuple[str, ...] = ()
    signal = CONTACTS_SIGNAL

    def __init__(self, authority: AuthorityId) -> None:
        self._authority = authority
        self._folds: dict[str, _ContactFold] = {}
        self._contacts: dict[str, Contact] = {}
        self._applied_count = 0
        self._wrong_actor_count = 0
        self._foreign_count = 0
        self.state = ContactsState()

    @property
    def kinds(self) -> frozenset[str]:
        """All contact, friendship and guardian kinds."""
        return _KINDS

    def update(self, batch: Batch[Fact], /) -> ContactsState | Unchanged:
        """Fold a window; the new snapshot, or ``UNCHANGED`` when a screen would look the same."""
        touched: dict[str, _ContactFold] = {}
        for fact in batch.facts:
            record = get_record(fact)
            rule = _RULES.get(record.kind)
            if rule is not None:
                self._apply(rule, fact, record, touched)
        changes = [self._settle(fold) for fold in touched.values()]
        if True not in changes:
            return UNCHANGED
        self.state = ContactsState(MappingProxyType(self._contacts.copy()))
        return self.state

    def statistics(self) -> FoldStatistics:
        """What was folded and what was not; O(contacts)."""
        return FoldStatistics(
            applied_count=self._applied_count,
            wrong_actor_count=self._wrong_actor_count,
            foreign_count=self._foreign_count,
            void_count=sum(fold.void_count for fold in self._folds.values()),
        )

    @property
    def _shape(self) -> KeptShape:
        return _SHAPE

    @property
    def _outlook(self) -> object:
        return self._authority

    def _apply(self, rule: _Rule, fact: Fact, record: FactRecord, touched: dict[str, _ContactFold]) -> None:
        actor_of, other_of, apply = rule
        if not is_signed_by(actor_of(fact), record):
            self._wrong_actor_count += 1
            return
        contact_id = other_of(fact, self._authority)
        if contact_id is None:
            self._foreign_count += 1
            return
        fold = self._folds.get(contact_id)
        if fold is None:
            fold = self._folds[contact_id] = _ContactFold(contact_id, self._authority)
        touched[contact_id] = fold
        apply(fold, fact, record.stamp)
        self._applied_count += 1

    def _settle(self, fold: _ContactFold) -> bool:
        """Bring one contact up to date; whether a screen would show a difference."""
        before, after = self._contacts.get(fold.contact_id), fold.draw()
        if before == after:
            return False
        if after is None:
            del self._contacts[fold.contact_id]
        else:
            self._contacts[fold.contact_id] = after
        return True


class _ContactFold:
    """All that is known of one contact: for every statement the newest, which is all that can ever count."""

    __slots__ = (
        "added",
        "code",
        "contact_id",
        "friendship",
        "is_guardian",
        "owner",
        "policy",
        "removed",
        "renamed",
        "suggestion",
    )

    def __init__(self, contact_id: str, owner: str) -> None:
        self.contact_id = contact_id
        self.owner = owner
        self.added: Register[None] | None = None
        self.removed: Register[None] | None = None
        self.renamed: Register[str] | None = None
        self.suggestion: Register[str] | None = None
        self.code: Register[str] | None = None
        self.policy: Register[ReadReceiptPolicy] | None = None
        self.is_guardian = False
        self.friendship: _Friendship | None = None

    def take_added(self, fact: ContactAdded, stamp: Stamp) -> None:
        self.added = newer(self.added, stamp, None)
        if is_human_name(fact.nickname, contact_id=self.contact_id):
            self.suggestion = newer(self.suggestion, stamp, fact.nickname.strip())
        if fact.invitation_code is not None:
            self.code = newer(self.code, stamp, fact.invitation_code)

    def take_removed(self, fact: ContactRemoved, stamp: Stamp) -> None:
        self.removed = newer(self.removed, stamp, None)

    def take_renamed(self, fact: ContactRenamed, stamp: Stamp) -> None:
        self.renamed = newer(self.renamed, stamp, fact.new_nickname)

    def take_policy(self, fact: ReadReceiptPolicyUpdated, stamp: Stamp) -> None:
        self.policy = newer(self.policy, stamp, fact.policy)

    def take_guardian(self, fact: GuardianBound, stamp: Stamp) -> None:
        self.is_guardian = True

    def take_proposed(self, fact: FriendshipProposed, stamp: Stamp) -> None:
        self._friendship().propose(stamp, requester=fact.requester_id)

    def take_accepted(self, fact: FriendshipAccepted, stamp: Stamp) -> None:
        self._friendship().accept(stamp, requester=fact.requester_id)

    def take_revoked(self, fact: FriendshipRevoked, stamp: Stamp) -> None:
        self._friendship().revoke(stamp)

    @property
    def void_count(self) -> int:
        return self.friendship.void_count if self.friendship else 0

    def draw(self) -> Contact | None:
        """The contact as a screen shows it; None while it is not there."""
        added, renamed = self._unless_removed(self.added), self._unless_removed(self.renamed)
        suggestion, code, policy = map(self._unless_removed, (self.suggestion, self.code, self.policy))
        offered = self.friendship.last_offer if self.friendship else None
        if not (added or renamed or self._unless_removed(offered)):
            return None
        return Contact(
            id=self.contact_id,
            nickname=renamed[1] if renamed else "",
            nickname_suggestion=suggestion[1] if suggestion else None,
            is_guardian=self.is_guardian,
            last_interaction=max((each[0][0] for each in (added, renamed) if each), default=None),
            read_receipt_policy=policy[1] if policy else "disabled",
            relationship_state=self.friendship.state_for(self.owner) if self.friendship else "contact",
            invitation_code=code[1] if code else None,
        )

    def _friendship(self) -> _Friendship:
        if self.friendship is None:
            self.friendship = _Friendship()
        return self.friendship

    def _unless_removed(self, register: Register[Any] | None) -> Register[Any] | None:
        if register is None or not is_after(register[0], self.removed[0] if self.removed else None):
            return None
        return register


# At one time and clock reading, what ends a friendship weighs more than what makes it, whatever the ids are.
_PROPOSED, _ACCEPTED, _REVOKED = 0, 1, 2
_Weight = tuple[int, int, int, bytes]


class _Friendship:
    """Offers, acceptances and revocations between two: the newest of each, by who asked."""

    __slots__ = ("accepted", "proposed", "revoked")

    def __init__(self) -> None:
        self.proposed: dict[str, _Weight] = {}
        self.accepted: dict[str, _Weight] = {}
        self.revoked: _Weight | None = None

    def propose(self, stamp: Stamp, *, requester: str) -> None:
        _keep_newest(self.proposed, requester, _weigh(stamp, _PROPOSED))

    def accept(self, stamp: Stamp, *, requester: str) -> None:
        _keep_newest(self.accepted, requester, _weigh(stamp, _ACCEPTED))

    def revoke(self, stamp: Stamp) -> None:
        weight = _weigh(stamp, _REVOKED)
        self.revoked = weight if self.revoked is None else max(self.revoked, weight)

    @property
    def last_offer(self) -> Register[None] | None:
        """The newest offer or acceptance of an offer, revoked or not: both make the other a contact."""
        accepted = [weight for requester, weight in self.accepted.items() if requester in self.proposed]
        newest = max([*self.proposed.values(), *accepted], default=None)
        return None if newest is None else ((newest[0], newest[1], newest[3]), None)

    @property
    def void_count(self) -> int:
        """Acceptances of what was not offered."""
        return sum(requester not in self.proposed for requester in self.accepted)

    def state_for(self, owner: str) -> RelationshipState:
        """How close the two are."""
        offers = {requester: weight for requester, weight in self.proposed.items() if self._stands(weight)}
        if any(requester in offers and self._stands(weight) for requester, weight in self.accepted.items()):
            return "friend"
        if not offers:
            return "contact"
        return "pending_outbound" if max(offers, key=offers.__getitem__) == owner else "pending_inbound"

    def _stands(self, weight: _Weight) -> bool:
        return self.revoked is None or weight > self.revoked


def _weigh(stamp: Stamp, rank: int) -> _Weight:
    return (stamp[0], stamp[1], rank, stamp[2])


def _keep_newest(weights: dict[str, _Weight], requester: str, weight: _Weight) -> None:
    weights[requester] = max(weights.get(requester, weight), weight)


def _in_own_list(fact: Any, owner: str) -> str | None:
    contact_id: str = fact.contact_id
    return contact_id if fact.owner_id == owner else None


def _other_side(fact: Any, owner: str) -> str | None:
    """The other party of a friendship, when the owner is one and the actor is another one of the two."""
    requester: str = fact.requester_id
    accepter: str = fact.accepter_id
    if requester == accepter or owner not in (requester, accepter):
        return None
    if isinstance(fact, FriendshipRevoked) and fact.actor_id not in (requester, accepter):
        return None
    return accepter if requester == owner else requester


def _own_guardian(fact: Any, owner: str) -> str | None:
    guardian_id: str = fact.guardian_id
    return guardian_id if fact.account_id == owner else None


_Rule = tuple[ActorOf, Callable[[Any, str], str | None], Callable[[_ContactFold, Any, Stamp], None]]

# By kind: which field names the actor, whom of the owner's contacts the fact is about, and what it does.
_RULES: dict[str, _Rule] = {
    model.fact_type.kind: (attrgetter(actor), other_of, apply)
    for model, actor, other_of, apply in (
        (ContactAdded, "owner_id", _in_own_list, _ContactFold.take_added),
        (ContactRemoved, "owner_id", _in_own_list, _ContactFold.take_removed),
        (ContactRenamed, "owner_id", _in_own_list, _ContactFold.take_renamed),
        (ReadReceiptPolicyUpdated, "owner_id", _in_own_list, _ContactFold.take_policy),
        (FriendshipProposed, "requester_id", _other_side, _ContactFold.take_proposed),
        (FriendshipAccepted, "accepter_id", _other_side, _ContactFold.take_accepted),
        (FriendshipRevoked, "actor_id", _other_side, _ContactFold.take_revoked),
        (GuardianBound, "account_id", _own_guardian, _ContactFold.take_guardian),
    )
}
_KINDS = frozenset(_RULES)
assert {model.fact_type.kind for model in CONTACT_FACTS} == _KINDS, "every contact fact has its rule"

_SHAPE = KeptShape(
    version=2,
    models=CONTACT_FACTS,
    classes=(_ContactFold, _Friendship, Contact, ContactsState),
    attributes=("_folds", "_contacts", "_applied_count", "_wrong_actor_count", "_foreign_count", "state"),
)

"""The invitations view: offers and answers in, one snapshot of what waits and how the rest ended out.

A snapshot is a pure function of the set of facts and the clock. No fact tells that an invitation ran out: the view says
when it wants to be woken, and then finds it expired.

Rules. Of several offers with one id (in one context) that of whom the id is named after counts, or else the lowest
stamp. Only the sender cancels; only the
receiver accepts or declines; an offer to whoever holds the link (sender and receiver are the same) can be accepted by
anybody else and declined by nobody. An answer later than the expiry is void. Of the valid answers the earliest counts,
and at one time and clock reading Cancelled before Declined before Accepted. A ceremony is held by the two parties of an
accepted invitation, and is superseded only by another one of the same invitation that began later.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any, Final, NamedTuple

from antiphon.facts import AuthorityId, Fact, FactRecord, Stamp
from antiphon.facts.ceremonies import CeremonyPhase, CeremonyStatus, ceremony_statuses
from antiphon.facts.fact import get_record
from antiphon.facts.invitations import (
    INVITATION_FACTS,
    ChannelInvitation,
    GuardianInvitation,
    InvitationAccepted,
    InvitationCancelled,
    InvitationCeremonyAborted,
    InvitationCeremonyAcceptanceReceived,
    InvitationCeremonyCommitted,
    InvitationCeremonyInitiated,
    InvitationCeremonySuperseded,
    InvitationDeclined,
    InvitationSent,
)
from antiphon.reactive import UNCHANGED, Batch, Unchanged

from .invitations_state import (
    HISTORY_COUNT_MAX,
    UNKNOWN_NAME,
    Invitation,
    InvitationKind,
    InvitationsState,
    InvitationStatus,
)
from .kept_state import KeptShape, KeptView
from .registers import ActorOf, FoldStatistics, claim, is_signed_by
from .signals import INVITATIONS_SIGNAL

INVITATIONS_VIEW_ID = "signals:invitations"

_Key = tuple[str, str]  # context id, invitation id
_Place = tuple[Stamp, str, str]  # sorts a list: stamp, invitation id, context id


class InvitationsSignalView(KeptView):
    """Folds invitation facts into `InvitationsState` as *authority* sees them, for the signal ``app:invitations``.

    A window costs about 10 µs a fact and one tuple of each list that changed.

    >>> view = InvitationsSignalView(AuthorityId("00" * 16))
    >>> view.signal.signal_id, view.next_wakeup_ms()
    ('app:invitations', None)
    """

    view_id = INVITATIONS_VIEW_ID
    depends_on: tuple[str, ...] = ()
    signal = INVITATIONS_SIGNAL

    def __init__(self, authority: AuthorityId) -> None:
        self._authority = authority
        self._folds: dict[_Key, _InvitationFold] = {}
        self._pending = _Shelf()
        self._sent = _Shelf()
        self._history = _Shelf()
        self._expiries: list[tuple[int, _Key]] = []  # a heap; what was answered is dropped when it comes to the top
        self._now_ms: int | None = None
        self._applied_count = 0
        self._wrong_actor_count = 0
        self.state = InvitationsState()

    @property
    def kinds(self) -> frozenset[str]:
        """All invitation kinds."""
        return _KINDS

    def next_wakeup_ms(self) -> int | None:
        """When the next waiting invitation runs out; None when none does."""
        while self._expiries and not self._folds[self._expiries[0][1]].is_waiting:
            self._disarm()
        return self._expiries[0][0] if self._expiries else None

    def update(self, batch: Batch[Fact], /) -> InvitationsState | Unchanged:
        """Fold a window and look at the clock; the new snapshot, or ``UNCHANGED``."""
        now_ms = self._now_ms = batch.now_ms if self._now_ms is None else max(self._now_ms, batch.now_ms)
        touched: dict[_Key, _InvitationFold] = {}
        for fact in batch.facts:
            record = get_record(fact)
            rule = _RULES.get(record.kind)
            if rule is not None:
                self._apply(rule, fact, record, touched)
        while self._expiries and self._expiries[0][0] <= now_ms:
            fold = self._disarm()
            touched[fold.key] = fold
        for fold in touched.values():
            self._settle(fold, now_ms)
        state = InvitationsState(
            self._pending.oldest_first(), self._sent.oldest_first(), self._history.newest_first(HISTORY_COUNT_MAX)
        )
        if state == self.state:
            return UNCHANGED
        self.state = state
        return state

    def statistics(self) -> FoldStatistics:
        """What was folded and what was not; O(invitations)."""
        return FoldStatistics(
            applied_count=self._applied_count,
            wrong_actor_count=self._wrong_actor_count,
            foreign_count=sum(fold.is_foreign for fold in self._folds.values()),
            void_count=sum(fold.void_count for fold in self._folds.values()),
        )

    @property
    def _shape(self) -> KeptShape:
        return _SHAPE

    @property
    def _outlook(self) -> object:
        return self._authority

    def _apply(self, rule: _Rule, fact: Any, record: FactRecord, touched: dict[_Key, _InvitationFold]) -> None:
        actor_of, apply = rule
        actor = actor_of(fact)
        if not is_signed_by(actor, record):
            self._wrong_actor_count += 1
            return
        if fact.invitation_id is None:
            return  # a ceremony of nobody knows what, as old writers left it
        key = (record.chain.namespace, fact.invitation_id)
        fold = self._folds.get(key)
        if fold is None:
            fold = self._folds[key] = _InvitationFold(key, self._authority)
        touched[key] = fold
        apply(fold, fact, record, actor)
        self._applied_count += 1

    def _settle(self, fold: _InvitationFold, now_ms: int) -> None:
        """Move one invitation to where it belongs now, and note when to look again."""
        if fold.shelf is not None and fold.place is not None:
            fold.shelf.remove(fold.place)
            fold.shelf = fold.place = None
        drawn = fold.draw(now_ms)
        fold.is_waiting = drawn is not None and drawn.invitation.status == "pending"
        if drawn is None:
            return
        fold.place = drawn.place
        fold.shelf = self._shelf_of(drawn.invitation)
        fold.shelf.add(drawn.place, drawn.invitation)
        if fold.is_waiting:
            self._arm(fold, drawn.invitation.expires_at)

    def _arm(self, fold: _InvitationFold, expires_at: int | None) -> None:
        if expires_at is not None and fold.armed_for != expires_at:
            heappush(self._expiries, (expires_at, fold.key))
            fold.armed_for = expires_at

    def _disarm(self) -> _InvitationFold:
        expires_at, key = heappop(self._expiries)
        fold = self._folds[key]
        if fold.armed_for == expires_at:
            fold.armed_for = None
        return fold

    def _shelf_of(self, invitation: Invitation) -> _Shelf:
        if invitation.status != "pending":
            return self._history
        return self._sent if invitation.direction == "sent" else self._pending


class _Shelf:
    """A list that is always sorted, and its drawn form while it does not change."""

    __slots__ = ("_drawn", "_items", "_places")

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._items: list[Invitation] = []
        self._drawn: tuple[Invitation, ...] | None = ()

    def add(self, place: _Place, invitation: Invitation) -> None:
        index = bisect_left(self._places, place)
        self._places.insert(index, place)
        self._items.insert(index, invitation)
        self._drawn = None

    def remove(self, place: _Place) -> None:
        index = bisect_left(self._places, place)
        assert self._places[index] == place, "what is removed stands there"
        del self._places[index], self._items[index]
        self._drawn = None

    def oldest_first(self) -> tuple[Invitation, ...]:
        if self._drawn is None:
            self._drawn = tuple(self._items)
        return self._drawn

    def newest_first(self, count_max: int) -> tuple[Invitation, ...]:
        if self._drawn is None:
            self._drawn = tuple(reversed(self._items[-count_max:]))
        return self._drawn


# At one time and clock reading, the answer that binds nobody weighs more, whatever the ids are.
_CANCELLED: Final = 0
_DECLINED: Final = 1
_ACCEPTED: Final = 2
_STATUSES: tuple[InvitationStatus, ...] = ("revoked", "rejected", "accepted")


class _Answer(NamedTuple):
    """An answer; the lowest valid one counts."""

    at: int
    hlc: int
    rank: int
    fact_id: bytes
    actor: str


class _Drawn(NamedTuple):
    invitation: Invitation
    place: _Place


class _InvitationFold:
    """All that is known of one invitation: the offer with the best claim to its id, and the earliest answers."""

    __slots__ = (
        "answers",
        "armed_for",
        "ceremonies",
        "is_waiting",
        "key",
        "offer",
        "offer_stamp",
        "owner",
        "place",
        "sender_name",
        "shelf",
    )

    def __init__(self, key: _Key, owner: str) -> None:
        self.key = key
        self.owner = owner
        self.offer: InvitationSent | None = None
        self.offer_stamp: Stamp | None = None
        self.sender_name = UNKNOWN_NAME
        self.answers: dict[tuple[int, str], _Answer] = {}
        self.ceremonies: dict[bytes, tuple[str, Any]] = {}  # their parts by fact id, with who said each
        self.is_waiting = False
        self.armed_for: int | None = None
        self.shelf: _Shelf | None = None
        self.place: _Place | None = None

    def take_sent(self, fact: InvitationSent, record: FactRecord, actor: str) -> None:
        if (
            self.offer is None
            or self.offer_stamp is None
            or _claim_of(fact, record.stamp) < _claim_of(self.offer, self.offer_stamp)
        ):
            self.offer, self.offer_stamp = fact, record.stamp
            self.sender_name = record.chain.label or UNKNOWN_NAME

    def take_accepted(self, fact: InvitationAccepted, record: FactRecord, actor: str) -> None:
        self._take_answer(_ACCEPTED, record, actor)

    def take_declined(self, fact: InvitationDeclined, record: FactRecord, actor: str) -> None:
        self._take_answer(_DECLINED, record, actor)

    def take_cancelled(self, fact: InvitationCancelled, record: FactRecord, actor: str) -> None:
        self._take_answer(_CANCELLED, record, actor)

    def take_ceremony(self, fact: Any, record: FactRecord, actor: str) -> None:
        self.ceremonies[record.fact_id] = (actor, fact)

    def _take_answer(self, rank: int, record: FactRecord, actor: str) -> None:
        answer = _Answer(record.at, record.hlc, rank, record.fact_id, actor)
        self.answers[rank, actor] = min(self.answers.get((rank, actor), answer), answer)

    @property
    def void_count(self) -> int:
        """Answers to a known offer by somebody without the right, or too late."""
        offer = self.offer
        if offer is None:
            return 0
        answers = sum(not _is_valid(answer, offer) for answer in self.answers.values())
        return answers + len(self.ceremonies) - len(self._valid_parts(offer, self._resolution(offer)))

    @property
    def is_foreign(self) -> bool:
        """Whether the offer is between others."""
        return self.offer is not None and not self._concerns_owner(self.offer, self._resolution(self.offer))

    @property
    def accepted_by(self) -> str | None:
        """Who accepted it, if that is how it ended."""
        answer = None if self.offer is None else self._resolution(self.offer)
        return answer.actor if answer is not None and answer.rank == _ACCEPTED else None

    def draw(self, now_ms: int) -> _Drawn | None:
        """The invitation as a screen shows it and where; None while there is no offer that concerns the owner."""
        offer, stamp = self.offer, self.offer_stamp
        if offer is None or stamp is None:
            return None
        answer = self._resolution(offer)
        if not self._concerns_owner(offer, answer):
            return None
        if answer is not None:
            return self._drawn(offer, _STATUSES[answer.rank], (answer.at, answer.hlc, answer.fact_id), answer)
        if offer.expires_at is not None and offer.expires_at <= now_ms:
            return self._drawn(offer, "expired", (offer.expires_at, 0, b""))
        return self._drawn(offer, "pending", stamp)

    def _drawn(
        self, offer: InvitationSent, status: InvitationStatus, stamp: Stamp, answer: _Answer | None = None
    ) -> _Drawn:
        is_open_offer = offer.sender_id == offer.receiver_id
        home_id, home_name = _home_of(offer)
        invitation = Invitation(
            id=offer.invitation_id,
            context_id=offer.context_id,
            type=_kind_of(offer),
            status=status,
            direction="sent" if offer.sender_id == self.owner else "received",
            from_id=offer.sender_id,
            from_name=self.sender_name,
            to_id=None if is_open_offer else offer.receiver_id,
            to_name=offer.receiver_nickname,
            created_at=offer.sent_at,
            expires_at=offer.expires_at,
            resolved_at=None if status == "pending" else stamp[0],
            message=offer.message,
            home_id=home_id,
            home_name=home_name,
            ceremonies=self._held(offer, answer) if self.ceremonies else (),
            offer=offer.invitation_type.type,
            accepted_by=answer.actor if answer is not None and answer.rank == _ACCEPTED else None,
        )
        return _Drawn(invitation, (stamp, offer.invitation_id, offer.context_id))

    def _resolution(self, offer: InvitationSent) -> _Answer | None:
        return min((answer for answer in self.answers.values() if _is_valid(answer, offer)), default=None)

    def _held(self, offer: InvitationSent, answer: _Answer | None) -> tuple[CeremonyStatus, ...]:
        return tuple(ceremony_statuses(self._valid_parts(offer, answer)).values())

    def _valid_parts(self, offer: InvitationSent, answer: _Answer | None) -> list[Any]:
        """What the two parties of an accepted invitation said of its ceremonies."""
        if answer is None or answer.rank != _ACCEPTED:
            return []
        said = [part for actor, part in self.ceremonies.values() if actor in (offer.sender_id, answer.actor)]
        begun: dict[str, int] = {}
        for part in said:
            if isinstance(part, InvitationCeremonyInitiated):
                begun[part.ceremony_id] = min(part.timestamp_ms, begun.get(part.ceremony_id, part.timestamp_ms))
        return [
            part
            for part in said
            if not isinstance(part, InvitationCeremonySuperseded)
            or _is_newer(begun.get(part.superseding_ceremony_id), begun.get(part.superseded_ceremony_id))
        ]

    def _concerns_owner(self, offer: InvitationSent, answer: _Answer | None) -> bool:
        if self.owner in (offer.sender_id, offer.receiver_id):
            return True
        return answer is not None and answer.actor == self.owner


def _claim_of(offer: InvitationSent, stamp: Stamp) -> tuple[bool, Stamp]:
    return claim(offer.invitation_id, offer.sender_id, stamp)


def _is_newer(superseding: int | None, superseded: int | None) -> bool:
    """Whether both have begun, and the one after the other."""
    return superseding is not None and superseded is not None and superseding > superseded


def _is_valid(answer: _Answer, offer: InvitationSent) -> bool:
    """Whether the actor may answer so, and is in time."""
    if offer.expires_at is not None and answer.at > offer.expires_at:
        return False
    if answer.rank == _CANCELLED:
        return answer.actor == offer.sender_id
    if offer.sender_id == offer.receiver_id:
        return answer.rank == _ACCEPTED and answer.actor != offer.sender_id
    return answer.actor == offer.receiver_id


def _kind_of(offer: InvitationSent) -> InvitationKind:
    if isinstance(offer.invitation_type, ChannelInvitation):
        return "chat"
    return "guardian" if isinstance(offer.invitation_type, GuardianInvitation) else "home"


def _home_of(offer: InvitationSent) -> tuple[str | None, str | None]:
    home = offer.invitation_type
    if not isinstance(home, ChannelInvitation):
        return None, None
    return home.home_id, (home.nickname_suggestion or "").strip() or None


_Rule = tuple[ActorOf, Callable[[_InvitationFold, Any, FactRecord, str], None]]

# By kind: which field names the actor, and what the fact does.
_RULES: dict[str, _Rule] = {
    model.fact_type.kind: (attrgetter(actor), apply)
    for model, actor, apply in (
        (InvitationSent, "sender_id", _InvitationFold.take_sent),
        (InvitationAccepted, "acceptor_id", _InvitationFold.take_accepted),
        (InvitationDeclined, "decliner_id", _InvitationFold.take_declined),
        (InvitationCancelled, "canceller_id", _InvitationFold.take_cancelled),
        (InvitationCeremonyInitiated, "sender_id", _InvitationFold.take_ceremony),
        (InvitationCeremonyAcceptanceReceived, "acceptor_id", _InvitationFold.take_ceremony),
        (InvitationCeremonyCommitted, "actor_id", _InvitationFold.take_ceremony),
        (InvitationCeremonyAborted, "actor_id", _InvitationFold.take_ceremony),
        (InvitationCeremonySuperseded, "actor_id", _InvitationFold.take_ceremony),
    )
}
_KINDS = frozenset(_RULES)
assert {model.fact_type.kind for model in INVITATION_FACTS} == _KINDS, "every invitation fact has its rule"

_SHAPE = KeptShape(
    version=4,
    models=INVITATION_FACTS,
    classes=(_Answer, _InvitationFold, _Shelf, CeremonyPhase, CeremonyStatus, Invitation, InvitationsState),
    attributes=(
        "_folds",
        "_pending",
        "_sent",
        "_history",
        "_expiries",
        "_now_ms",
        "_applied_count",
        "_wrong_actor_count",
        "state",
    ),
)

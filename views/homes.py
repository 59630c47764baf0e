"""The homes view: moderation facts and invitations in, one snapshot of who is where and what is laid on whom out.

A snapshot is a pure function of the set of facts and the clock. Only contexts that name their owner are homes (see
``antiphon.facts.home_context``); moderation facts of any other context say nothing.

Rules. The owner may do everything. A moderator may mute, ban, kick and pin, and undo that, if they are a member and
the owner's newest word on them that they had seen was a grant; nobody acts against the owner. A sanction counts by its
newest start, and is lifted by an undoing of the same scope that is not older; it ends by itself when it expires. A
member is the owner, and whoever accepted an invitation to the home by a member.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Any

from antiphon.facts import AuthorityId, Fact, FactId, FactRecord, Stamp
from antiphon.facts.encoding import INTEGER_MAX
from antiphon.facts.fact import get_record
from antiphon.facts.invitations import (
    ChannelInvitation,
    InvitationAccepted,
    InvitationCancelled,
    InvitationDeclined,
    InvitationSent,
)
from antiphon.facts.moderation import (
    BASIS_COUNT_MAX,
    MODERATION_FACTS,
    HomeBan,
    HomeDeclared,
    HomeGrantModerator,
    HomeKick,
    HomeMute,
    HomePin,
    HomeRevokeModerator,
    HomeUnban,
    HomeUnmute,
    HomeUnpin,
    home_owner,
)
from antiphon.reactive import UNCHANGED, Batch, Unchanged

from .home_rights import HomeRights
from .homes_state import KICK_COUNT_MAX, STRANGER, Conduct, Home, HomesState, Kick, Pin, Sanction, Standing
from .invitations import _Answer, _InvitationFold
from .kept_state import KeptShape, KeptView
from .registers import ActorOf, FoldStatistics, Register, is_signed_by, latest, newer
from .signals import HOMES_SIGNAL

HOMES_VIEW_ID = "signals:homes"


class HomesSignalView(KeptView):
    """Folds moderation facts and invitations into `HomesState`, for the signal ``app:homes``.

    A window costs about 20 µs a fact and a copy of the tables of each home it touches.

    >>> view = HomesSignalView(AuthorityId("00" * 16))
    >>> view.signal.signal_id, view.next_wakeup_ms()
    ('app:homes', None)
    """

    view_id = HOMES_VIEW_ID
    depends_on: tuple[str, ...] = ()
    signal = HOMES_SIGNAL

    def __init__(self, authority: AuthorityId) -> None:
        self._authority = authority
        self._folds: dict[str, _HomeFold] = {}
        self._homes: dict[str, Home] = {}
        self._now_ms: int | None = None
        self._applied_count = 0
        self._wrong_actor_count = 0
        self._foreign_count = 0
        self.state = HomesState()

    @property
    def kinds(self) -> frozenset[str]:
        """All moderation kinds, and the invitations that make members."""
        return _KINDS

    def next_wakeup_ms(self) -> int | None:
        """When the next ban or mute that stands expires; None when none does."""
        return min((fold.next_expiry for fold in self._folds.values() if fold.next_expiry is not None), default=None)

    def update(self, batch: Batch[Fact], /) -> HomesState | Unchanged:
        """Fold a window and look at the clock; the new snapshot, or ``UNCHANGED``."""
        now_ms = self._now_ms = batch.now_ms if self._now_ms is None else max(self._now_ms, batch.now_ms)
        touched: dict[str, _HomeFold] = {}
        for fact in batch.facts:
            record = get_record(fact)
            actor_of = _ACTORS.get(record.kind)
            if actor_of is not None:
                self._take(fact, actor_of(fact), record, touched)
        for context_id, fold in self._folds.items():
            if fold.next_expiry is not None and fold.next_expiry <= now_ms:
                touched[context_id] = fold
        changes = [self._settle(context_id, fold, now_ms) for context_id, fold in touched.items()]
        if True not in changes:
            return UNCHANGED
        self.state = HomesState(MappingProxyType(self._homes.copy()))
        return self.state

    def statistics(self) -> FoldStatistics:
        """What was folded and what was not; O(moderation facts)."""
        return FoldStatistics(
            applied_count=self._applied_count,
            wrong_actor_count=self._wrong_actor_count,
            foreign_count=self._foreign_count,
            void_count=sum(fold.rights.void_count for fold in self._folds.values()),
        )

    def without_right(self) -> Iterator[FactId]:
        """The facts that say nothing, since their author had no right to say it; O(moderation facts)."""
        return (fact_id for fold in self._folds.values() for fact_id in fold.rights.unrightful())

    @property
    def _shape(self) -> KeptShape:
        return _SHAPE

    @property
    def _outlook(self) -> object:
        return self._authority

    def _take(self, fact: Any, actor: str, record: FactRecord, touched: dict[str, _HomeFold]) -> None:
        if not is_signed_by(actor, record):
            self._wrong_actor_count += 1
            return
        context_id = record.chain.namespace
        owner = home_owner(context_id)
        if owner is None:
            self._foreign_count += 1
            return
        fold = self._folds.get(context_id)
        if fold is None:
            fold = self._folds[context_id] = _HomeFold(context_id, owner)
        touched[context_id] = fold
        self._applied_count += 1
        apply = _INVITATION_RULES.get(record.kind)
        if apply is None:
            fold.rights.add(fact)
        else:
            fold.guests.take(apply, fact, record, actor)

    def _settle(self, context_id: str, fold: _HomeFold, now_ms: int) -> bool:
        before, after = self._homes.get(context_id), fold.draw(now_ms)
        if before == after:
            return False
        if after is None:
            del self._homes[context_id]
        else:
            self._homes[context_id] = after
        return True


class _Guests:
    """Who was let in: from the owner along accepted invitations to the home."""

    def __init__(self, context_id: str, owner: str) -> None:
        self._context_id = context_id
        self._owner = owner
        self._offers: dict[str, _InvitationFold] = {}
        self._touched: dict[str, _InvitationFold] = {}
        self._ways: dict[str, tuple[str, str]] = {}  # by invitation: who let in whom
        self.members: set[str] = {owner}

    def take(self, apply: Callable[..., None], fact: Any, record: FactRecord, actor: str) -> None:
        fold = self._offers.get(fact.invitation_id)
        if fold is None:
            fold = self._offers[fact.invitation_id] = _InvitationFold((self._context_id, fact.invitation_id), "")
        apply(fold, fact, record, actor)
        self._touched[fact.invitation_id] = fold

    def settle(self) -> bool:
        """Whether others are members now; O(invitations) when one is no longer accepted, else O(what came)."""
        is_narrower = False
        come: list[tuple[str, str]] = []
        for invitation_id, fold in self._touched.items():
            before, after = self._ways.pop(invitation_id, None), self._way_of(fold)
            if after is not None:
                self._ways[invitation_id] = after
                come.append(after)
            is_narrower = is_narrower or (before is not None and before != after)
        self._touched.clear()
        if is_narrower:
            known, self.members = self.members, {self._owner}
            self._admit(self._ways.values())
            return known != self.members
        # Only a way from a member to somebody new can open others.
        if any(sender in self.members and guest not in self.members for sender, guest in come):
            self._admit(self._ways.values())
            return True
        return False

    def _admit(self, ways: Iterable[tuple[str, str]]) -> None:
        guests_of: dict[str, list[str]] = {}
        for sender, guest in ways:
            guests_of.setdefault(sender, []).append(guest)
        waiting = list(self.members)
        while waiting:
            for guest in guests_of.get(waiting.pop(), ()):
                if guest not in self.members:
                    self.members.add(guest)
                    waiting.append(guest)

    def _way_of(self, fold: _InvitationFold) -> tuple[str, str] | None:
        offer = fold.offer
        if offer is None or not isinstance(offer.invitation_type, ChannelInvitation):
            return None
        guest = fold.accepted_by
        if guest is None or offer.invitation_type.home_id != self._context_id:
            return None
        return (offer.sender_id, guest)


class _Laid:
    """The bans, the mutes or the grants of one person in one scope."""

    __slots__ = ("_standing", "ends", "starts")

    def __init__(self) -> None:
        self.starts: list[tuple[Stamp, int | None, Any]] = []  # stamp, until, the fact; stamps are distinct
        self.ends: list[int] = []
        self._standing: Standing | None = None

    def start(self, stamp: Stamp, until: int | None, fact: Any) -> None:
        insort(self.starts, (stamp, until, fact), key=itemgetter(0))
        self._standing = None

    def end(self, at: int) -> None:
        insort(self.ends, at)
        self._standing = None

    @property
    def standing(self) -> Standing:
        if self._standing is None:
            newest = {stamp[0]: (stamp[0], until) for stamp, until, _ in self.starts}
            self._standing = Standing(tuple(newest.values()), tuple(self.ends))
        return self._standing


_Scopes = dict[str | None, _Laid]  # by channel, None for the whole home


class _HomeFold:
    """All that is known of one home."""

    def __init__(self, context_id: str, owner: str) -> None:
        self.context_id = context_id
        self.owner = owner
        self.rights = HomeRights(owner)
        self.guests = _Guests(context_id, owner)
        self.next_expiry: int | None = None
        self._forget()

    def _forget(self) -> None:
        """Start anew, when facts that counted no longer do."""
        self.name: Register[str] | None = None
        self.laid: dict[str, dict[str, _Scopes]] = {"bans": {}, "mutes": {}, "moderating": {}}  # and by person
        self.kicks: list[tuple[Stamp, Kick]] = []
        self.kicked: dict[str, dict[str, Stamp]] = {}  # the newest one, by person and channel
        self.pinned: dict[tuple[str, str], tuple[Stamp, Pin]] = {}
        self.unpinned: dict[tuple[str, str], int] = {}
        self.conduct: dict[str, Conduct] = {}
        self.touched: set[str] = set()
        self.is_known = False

    def draw(self, now_ms: int) -> Home | None:
        """The home as a screen shows it; None while nobody with a right said anything and nobody was let in."""
        before = set(self.guests.members)
        if self.guests.settle():
            self.touched |= before ^ self.guests.members
            self.rights.admit(self.guests.members)
        gained, is_undone = self.rights.settle()
        if is_undone:
            self._forget()
            gained = list(self.rights.rightful())
        for fact in gained:
            _APPLY[get_record(fact).kind](self, fact, get_record(fact))
            self.is_known = True
        self.touched |= {person for person in self.guests.members if person not in self.conduct}
        for person in self.touched:
            self._note_conduct(person)
        self.touched.clear()
        self.next_expiry = None
        if not self.is_known and len(self.guests.members) == 1:
            return None
        bans, mutes = self._current("bans", now_ms), self._current("mutes", now_ms)
        expiries = [each.expires_at for each in (*bans, *mutes) if each.expires_at is not None]
        self.next_expiry = min(expiries, default=None)
        banned = {ban.target_id for ban in bans if ban.channel_id is None}
        return Home(
            context_id=self.context_id,
            owner_id=self.owner,
            name=self.name[1] if self.name else "",
            members=tuple(sorted(self.guests.members - banned)),
            moderators=self._moderators(),
            bans=bans,
            mutes=mutes,
            kicks=tuple(kick for _, kick in reversed(self.kicks[-KICK_COUNT_MAX:])),
            pins=self._pins(),
            basis=tuple(sorted(fact_id.hex() for fact_id in self.rights.tips())[:BASIS_COUNT_MAX]),
            conduct=MappingProxyType(self.conduct.copy()),
        )

    def take_declared(self, fact: HomeDeclared, record: FactRecord) -> None:
        self.name = newer(self.name, record.stamp, fact.name)

    def take_mute(self, fact: HomeMute, record: FactRecord) -> None:
        until = fact.expires_at
        if until is None and fact.duration_secs is not None:
            until = min(fact.muted_at + fact.duration_secs * 1_000, INTEGER_MAX)
        self._start("mutes", fact.target_id, fact.channel_id, record.stamp, until, fact)

    def take_unmute(self, fact: HomeUnmute, record: FactRecord) -> None:
        self._end("mutes", fact.target_id, fact.channel_id, record.at)

    def take_ban(self, fact: HomeBan, record: FactRecord) -> None:
        self._start("bans", fact.target_id, fact.channel_id, record.stamp, fact.expires_at, fact)

    def take_unban(self, fact: HomeUnban, record: FactRecord) -> None:
        self._end("bans", fact.target_id, fact.channel_id, record.at)

    def take_grant(self, fact: HomeGrantModerator, record: FactRecord) -> None:
        self._start("moderating", fact.target_id, None, record.stamp, None, fact)

    def take_revoke(self, fact: HomeRevokeModerator, record: FactRecord) -> None:
        self._end("moderating", fact.target_id, None, record.at)

    def take_kick(self, fact: HomeKick, record: FactRecord) -> None:
        kick = Kick(fact.target_id, fact.channel_id, fact.actor_id, fact.kicked_at, fact.reason)
        insort(self.kicks, (record.stamp, kick))
        kicked = self.kicked.setdefault(fact.target_id, {})
        kicked[fact.channel_id] = latest(kicked.get(fact.channel_id), record.stamp)
        self.touched.add(fact.target_id)

    def take_pin(self, fact: HomePin, record: FactRecord) -> None:
        key = (fact.channel_id, fact.message_id)
        made = (record.stamp, Pin(fact.channel_id, fact.message_id, fact.actor_id, fact.pinned_at))
        self.pinned[key] = max(self.pinned.get(key, made), made)

    def take_unpin(self, fact: HomeUnpin, record: FactRecord) -> None:
        key = (fact.channel_id, fact.message_id)
        self.unpinned[key] = max(self.unpinned.get(key, record.at), record.at)

    def _start(self, what: str, target: str, channel: str | None, stamp: Stamp, until: int | None, fact: Any) -> None:
        self._laid(what, target, channel).start(stamp, until, fact)

    def _end(self, what: str, target: str, channel: str | None, at: int) -> None:
        self._laid(what, target, channel).end(at)

    def _laid(self, what: str, target: str, channel: str | None) -> _Laid:
        self.touched.add(target)
        return self.laid[what].setdefault(target, {}).setdefault(channel, _Laid())

    def _note_conduct(self, person: str) -> None:
        conduct = Conduct(
            is_member=person in self.guests.members,
            bans=self._standings("bans", person),
            mutes=self._standings("mutes", person),
            kicks=MappingProxyType(dict(self.kicked.get(person, {}))),
            moderating=self._standings("moderating", person).get(None, Standing()),
        )
        if conduct == STRANGER:
            self.conduct.pop(person, None)
        else:
            self.conduct[person] = conduct

    def _standings(self, what: str, person: str) -> Mapping[str | None, Standing]:
        scopes = self.laid[what].get(person, {})
        return MappingProxyType({channel: laid.standing for channel, laid in scopes.items()})

    def _current(self, what: str, now_ms: int) -> tuple[Sanction, ...]:
        found = []
        for target, scopes in self.laid[what].items():
            for channel, laid in scopes.items():
                current = laid.standing.current
                if current is not None and (current[1] is None or now_ms < current[1]):
                    stamp, until, fact = laid.starts[-1]
                    reason = getattr(fact, "reason", "")
                    found.append(Sanction(target, channel, fact.actor_id, stamp[0], until, reason))
        return tuple(sorted(found, key=_order_of_sanction))

    def _moderators(self) -> tuple[str, ...]:
        members, laid = self.guests.members, self.laid["moderating"].items()
        named = (target for target, scopes in laid if scopes[None].standing.current is not None)
        return tuple(sorted(target for target in named if target in members))

    def _pins(self) -> tuple[Pin, ...]:
        held = [
            pin
            for key, (_, pin) in self.pinned.items()
            if key not in self.unpinned or pin.pinned_at > self.unpinned[key]
        ]
        return tuple(sorted(held))


def _order_of_sanction(sanction: Sanction) -> tuple[str, bool, str]:
    return (sanction.target_id, sanction.channel_id is not None, sanction.channel_id or "")


_INVITATION_RULES: dict[str, Callable[..., None]] = {
    model.fact_type.kind: apply
    for model, apply in (
        (InvitationSent, _InvitationFold.take_sent),
        (InvitationAccepted, _InvitationFold.take_accepted),
        (InvitationDeclined, _InvitationFold.take_declined),
        (InvitationCancelled, _InvitationFold.take_cancelled),
    )
}

_RULES: dict[str, tuple[ActorOf, Callable[[_HomeFold, Any, FactRecord], None]]] = {
    model.fact_type.kind: (attrgetter(actor), apply)
    for model, actor, apply in (
        (HomeDeclared, "owner_id", _HomeFold.take_declared),
        (HomeMute, "actor_id", _HomeFold.take_mute),
        (HomeUnmute, "actor_id", _HomeFold.take_unmute),
        (HomeBan, "actor_id", _HomeFold.take_ban),
        (HomeUnban, "actor_id", _HomeFold.take_unban),
        (HomeKick, "actor_id", _HomeFold.take_kick),
        (HomePin, "actor_id", _HomeFold.take_pin),
        (HomeUnpin, "actor_id", _HomeFold.take_unpin),
        (HomeGrantModerator, "actor_id", _HomeFold.take_grant),
        (HomeRevokeModerator, "actor_id", _HomeFold.take_revoke),
    )
}
_APPLY = {kind: rule[1] for kind, rule in _RULES.items()}
_ACTORS: dict[str, ActorOf] = {kind: rule[0] for kind, rule in _RULES.items()} | {
    InvitationSent.fact_type.kind: attrgetter("sender_id"),
    InvitationAccepted.fact_type.kind: attrgetter("acceptor_id"),
    InvitationDeclined.fact_type.kind: attrgetter("decliner_id"),
    InvitationCancelled.fact_type.kind: attrgetter("canceller_id"),
}
_KINDS = frozenset(_ACTORS)
assert {model.fact_type.kind for model in MODERATION_FACTS} == set(_RULES), "every moderation fact has its rule"

_SHAPE = KeptShape(
    version=4,
    models=(*MODERATION_FACTS, InvitationSent, InvitationAccepted, InvitationDeclined, InvitationCancelled),
    classes=(
        *(_HomeFold, _Guests, _Laid, HomeRights, _InvitationFold, _Answer),
        *(HomesState, Home, Conduct, Standing, Sanction, Kick, Pin),
    ),
    attributes=(
        "_folds",
        "_homes",
        "_now_ms",
        "_applied_count",
        "_wrong_actor_count",
        "_foreign_count",
        "state",
    ),
)

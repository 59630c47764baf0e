"""The homes view and the gate of its channels against a fold written twice: once incrementally, once plainly below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import (
    AfterLink,
    AuthorityId,
    ChannelCreated,
    ChannelInvitation,
    Fact,
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
    InvitationAccepted,
    InvitationCancelled,
    InvitationSent,
    MembershipChanged,
    MessageDeleted,
    MessageSent,
    with_record,
)
from antiphon.reactive import UNCHANGED, Batch
from antiphon.testing.strategies import (
    ADA,
    AUTHORITIES,
    BEN,
    CONTEXT,
    EVE,
    HOME,
    actor_of,
    commit_by,
    deliveries,
    home_histories,
    make_chain,
)
from antiphon.views import HOMES_SIGNAL, ChatSignalView, Home, HomesSignalView, HomesState, Standing

NAMING = (HomeGrantModerator, HomeRevokeModerator)
FAR = 2**62


def window(facts: Sequence[Fact], now_ms: int = 0, **inputs: object) -> Batch[Fact]:
    return Batch(batch_id=1, facts=facts, now_ms=now_ms, changed=frozenset(), inputs=inputs)


# --- the plain fold ----------------------------------------------------------------------------------------------


def past_of(fact: Fact, by_id: Mapping[str, Fact]) -> set[str]:
    """All moderation facts that the author of a fact had seen: a walk over what each names."""
    reached, waiting = set[str](), [fact]
    while waiting:
        record = waiting.pop().record
        for other in by_id.values():
            place = (other.record.chain.chain, other.record.seq)
            is_before = place[0] == record.chain.chain and place[1] < record.seq
            is_linked = any(link.chain == place[0] and place[1] <= link.seq for link in record.after)
            is_named = other.record.fact_id.hex() in getattr(by_id[record.fact_id.hex()], "basis", ())
            if (is_before or is_linked or is_named) and other.record.fact_id.hex() not in reached:
                reached.add(other.record.fact_id.hex())
                waiting.append(other)
    return reached


def has_right(fact: Fact, by_id: Mapping[str, Fact], members: set[str]) -> bool:
    if actor_of(fact) == ADA:
        return True
    if isinstance(fact, (HomeDeclared, *NAMING)) or getattr(fact, "target_id", None) == ADA:
        return False
    if actor_of(fact) not in members:
        return False
    seen = [by_id[each] for each in past_of(fact, by_id)]
    words = [each for each in seen if isinstance(each, NAMING) and actor_of(each) == ADA]
    words = [each for each in words if each.target_id == actor_of(fact)]  # type: ignore[attr-defined]
    granted = [each.granted_at for each in words if isinstance(each, HomeGrantModerator)]
    revoked = [each.revoked_at for each in words if isinstance(each, HomeRevokeModerator)]
    return bool(granted) and max(granted) > max(revoked, default=-FAR)


def expected_members(facts: Iterable[Fact]) -> set[str]:
    members, grown = {ADA}, True
    ways = []
    for invitation_id in ("i0", "i1", "i2", "i3"):
        about = [each for each in facts if getattr(each, "invitation_id", None) == invitation_id]
        offers = sorted(
            (each for each in about if isinstance(each, InvitationSent)), key=lambda each: each.record.stamp
        )
        if not offers:
            continue
        offer = offers[0]
        answers = []
        for each in about:
            who, is_late = actor_of(each), offer.expires_at is not None and each.record.at > offer.expires_at
            is_open = offer.sender_id == offer.receiver_id
            if isinstance(each, InvitationCancelled) and who == offer.sender_id and not is_late:
                answers.append((each.record.at, each.record.hlc, 0, each.record.fact_id, None))
            fits = who != offer.sender_id if is_open else who == offer.receiver_id
            if isinstance(each, InvitationAccepted) and fits and not is_late:
                answers.append((each.record.at, each.record.hlc, 2, each.record.fact_id, who))
        kind = offer.invitation_type
        if answers and min(answers)[4] and isinstance(kind, ChannelInvitation) and kind.home_id == HOME:
            ways.append((offer.sender_id, min(answers)[4]))
    while grown:
        new = {guest for sender, guest in ways if sender in members} - members
        members, grown = members | new, bool(new)
    return members


class Expected:
    """What a set of facts of one home means, worked out from the whole set."""

    def __init__(self, history: Iterable[Fact]) -> None:
        facts = {fact.record.fact_id.hex(): fact for fact in history}
        signed = {each: fact for each, fact in facts.items() if actor_of(fact) == fact.record.chain.authority}
        home = {
            each: fact for each, fact in signed.items() if fact.fact_type.kind.split(".")[0] in ("moderation", "home")
        }
        self.members = expected_members(signed.values())
        rightful = [fact for fact in home.values() if has_right(fact, home, self.members)]
        self.rightful = sorted(rightful, key=lambda fact: fact.record.stamp)
        self.is_known = bool(rightful) or len(self.members) > 1

    def of(self, *kinds: type[Fact]) -> list[Fact]:
        return [fact for fact in self.rightful if isinstance(fact, kinds)]

    def standing(self, start: type[Fact], end: type[Fact], who: str, channel: str | None, at: int = FAR) -> Fact | None:
        """The newest start until *at* that nothing lifted until then; whether it expired is another question."""
        about = [fact for fact in self.of(start, end) if (fact.target_id, fact.channel_id) == (who, channel)]  # type: ignore[attr-defined]
        starts = [fact for fact in about if isinstance(fact, start) and fact.record.at <= at]
        ends = [fact.record.at for fact in about if isinstance(fact, end) and fact.record.at <= at]
        return starts[-1] if starts and starts[-1].record.at > max(ends, default=-FAR) else None

    def sanctions(self, start: type[Fact], end: type[Fact], now_ms: int) -> list[dict]:
        found = []
        for who in sorted(AUTHORITIES):
            for channel in (None, "general", "other"):
                fact = self.standing(start, end, who, channel)
                if fact is not None and (fact.expires_at is None or now_ms < fact.expires_at):  # type: ignore[attr-defined]
                    said = {"target_id": who, "channel_id": channel, "actor_id": fact.actor_id, "since": fact.record.at}  # type: ignore[attr-defined]
                    found.append(said | {"expires_at": fact.expires_at, "reason": getattr(fact, "reason", "")})  # type: ignore[attr-defined]
        return found

    def moderates_at(self, who: str, at: int) -> bool:
        if who not in self.members:
            return False
        granted = [fact.record.at for fact in self.of(HomeGrantModerator) if fact.target_id == who]  # type: ignore[attr-defined]
        revoked = [fact.record.at for fact in self.of(HomeRevokeModerator) if fact.target_id == who]  # type: ignore[attr-defined]
        newest = max((each for each in granted if each <= at), default=-FAR)
        return newest > max((each for each in revoked if each <= at), default=-FAR)

    def home(self, now_ms: int) -> list[dict]:
        if not self.is_known:
            return []
        names = [fact.name for fact in self.of(HomeDeclared)]  # type: ignore[attr-defined]
        bans = self.sanctions(HomeBan, HomeUnban, now_ms)
        banned = {ban["target_id"] for ban in bans if ban["channel_id"] is None}
        kicks = self.of(HomeKick)[::-1]
        shown = ("target_id", "channel_id", "actor_id", "kicked_at", "reason")
        held = []
        for channel in ("general", "other"):
            for message in ("m0", "m1", "m2", "m3"):
                words = [f for f in self.of(HomePin, HomeUnpin) if (f.channel_id, f.message_id) == (channel, message)]  # type: ignore[attr-defined]
                pins = [fact for fact in words if isinstance(fact, HomePin)]
                unpinned = max((fact.record.at for fact in words if isinstance(fact, HomeUnpin)), default=-FAR)
                if pins and pins[-1].pinned_at > unpinned:
                    pin = pins[-1]
                    held.append({n: getattr(pin, n) for n in ("channel_id", "message_id", "actor_id", "pinned_at")})
        return [
            {
                "context_id": HOME,
                "owner_id": ADA,
                "name": names[-1] if names else "",
                "members": sorted(self.members - banned),
                "moderators": sorted(who for who in AUTHORITIES if self.moderates_at(who, FAR)),
                "bans": bans,
                "mutes": self.sanctions(HomeMute, HomeUnmute, now_ms),
                "kicks": [{name: getattr(kick, name) for name in shown} for kick in kicks],
                "pins": held,
            }
        ]

    def is_shown(self, fact: Fact, history: Iterable[Fact], *, viewer: str) -> bool:
        """Whether the gate lets a message pass, and nobody with a right took it away."""
        author, at, channel = fact.sender_id, fact.record.at, fact.channel_id  # type: ignore[attr-defined]
        signed = [each for each in history if actor_of(each) == each.record.chain.authority]
        for each in signed:
            if isinstance(each, MessageDeleted) and (each.channel_id, each.message_id) == (channel, fact.message_id):  # type: ignore[attr-defined]
                who = each.deleter_id
                if who in (author, ADA) or self.moderates_at(who, each.record.at):
                    return False
        if author in (viewer, ADA):
            return True
        if author not in self.members:
            return False
        kicks = [
            each.record.stamp for each in self.of(HomeKick) if (each.target_id, each.channel_id) == (author, channel)
        ]  # type: ignore[attr-defined]
        joins = [
            each.record.stamp
            for each in signed
            if isinstance(each, MembershipChanged)
            and (each.participant_id, each.channel_id, each.event) == (author, channel, "joined")
        ]
        if kicks and max(joins, default=(-FAR, 0, b"")) < max(kicks) and at >= max(kicks)[0]:
            return False
        for start, end in ((HomeBan, HomeUnban), (HomeMute, HomeUnmute)):
            for scope in (None, channel):
                laid = self.standing(start, end, author, scope, at)
                if laid is not None and (laid.expires_at is None or at < laid.expires_at):  # type: ignore[attr-defined]
                    return False
        return True


# --- laws --------------------------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=150)
def test_a_snapshot_is_a_function_of_the_set_of_facts_and_the_clock(data: st.DataObject) -> None:
    view, seen, now_ms = HomesSignalView(BEN), list[Fact](), -5
    for facts in data.draw(deliveries(data.draw(home_histories()))):
        now_ms += data.draw(st.integers(min_value=0, max_value=6))
        before = view.state
        result = view.update(window(facts, now_ms))
        seen += facts
        assert view.state.to_json() == {"homes": Expected(seen).home(now_ms)}
        assert (result is UNCHANGED) == (view.state is before)
        assert result is UNCHANGED or view.state != before
    again = HomesSignalView(BEN)
    again.update(window(seen, now_ms))
    assert again.state == view.state, "a restart ends where the live view does, whatever a screen does not show"


@given(st.data())
@settings(max_examples=150)
def test_what_the_gate_lets_pass_is_a_function_of_the_set_of_facts(data: st.DataObject) -> None:
    viewer = data.draw(st.sampled_from([BEN, EVE]))
    homes, chat, seen = HomesSignalView(viewer), ChatSignalView(viewer), [OPEN]
    chat.update(window([OPEN]))
    for facts in data.draw(deliveries(data.draw(home_histories(with_messages=True)))):
        homes.update(window(facts))
        chat.update(window(facts, **{"signals:homes": homes.state}))
        seen += facts
        shown = {message.id for message in chat.state.messages_in("general")}
        assert shown == expected_messages(seen, viewer)


@given(st.data())
@settings(max_examples=150)
def test_the_gate_counts_and_shows_packed_messages_as_it_does_whole_ones(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.views.message_log.MESSAGE_COUNT_MAX", 1)
        patch.setattr("antiphon.views.message_log._WHOLE_SCREENS", 1)
        patch.setattr("antiphon.views.packed_messages._SINGLE_COUNT_MAX", data.draw(st.sampled_from([0, 64])))
        viewer = data.draw(st.sampled_from([BEN, EVE]))
        homes, whole, packing = HomesSignalView(viewer), ChatSignalView(viewer), ChatSignalView(viewer)
        seen = [OPEN]
        packing.use_recall(lambda places: [each for each in seen if place_of(each) in set(places)])
        for facts in [[OPEN], *data.draw(deliveries(data.draw(home_histories(with_messages=True))))]:
            seen += facts
            homes.update(window(facts))
            for view in (whole, packing):
                view.update(window(facts, **{"signals:homes": homes.state}))
            assert packing.state.to_json() == whole.state.to_json()


def place_of(fact: Fact) -> tuple[bytes, int]:
    return (fact.record.chain.chain, fact.record.seq)


def expected_messages(seen: Sequence[Fact], viewer: str) -> set[str]:
    expected = Expected(seen)
    first: dict[str, Fact] = {}
    own_word = "joined"
    for fact in sorted(seen, key=lambda each: each.record.stamp):
        if actor_of(fact) != fact.record.chain.authority:
            continue
        if isinstance(fact, MessageSent):
            first.setdefault(fact.message_id, fact)
        elif isinstance(fact, MembershipChanged) and fact.participant_id == viewer:
            own_word = fact.event
    if own_word == "left":
        return set()
    return {message for message, fact in first.items() if expected.is_shown(fact, seen, viewer=viewer)}


# --- single rules ------------------------------------------------------------------------------------------------


def created(**fields: object) -> ChannelCreated:
    about = {"context_id": HOME, "channel_id": "general", "name": "general", "created_at": 0, "creator_id": ADA}
    return ChannelCreated(**about | fields)


OPEN = commit_by(ADA, created(), seq=900)


def by(
    who: AuthorityId, kind: type[Fact], *, seq: int = 1, after: tuple[AfterLink, ...] = (), **fields: object
) -> Fact:
    about = {"context_id": HOME}
    for name, value in (("actor_id", who), ("channel_id", None if kind in (HomeBan, HomeUnban) else "general")):
        if name in kind.model_fields:
            about[name] = value
    fact = commit_by(who, kind(**about | fields), seq=seq)
    return with_record(fact, fact.record._replace(after=after)) if after else fact


def named(*facts: Fact) -> tuple[str, ...]:
    return tuple(fact.record.fact_id.hex() for fact in facts)


GRANT = by(ADA, HomeGrantModerator, seq=1, target_id=BEN, granted_at=1)
REVOKE = by(ADA, HomeRevokeModerator, seq=2, target_id=BEN, revoked_at=9)
BAN = by(BEN, HomeBan, seq=1, target_id=EVE, banned_at=10, basis=named(GRANT))


def home_of(*facts: Fact, now_ms: int = 0) -> Home:
    view = HomesSignalView(ADA)
    view.update(window(facts, now_ms))
    home = view.state.home(HOME)
    assert home is not None
    return home


def check_every_order(facts: Sequence[Fact], expected: object) -> None:
    """One fact a window, in every order, Ben's membership among them: the bans and how many have no effect."""
    for order in permutations([*facts, *invited(BEN)]):
        view = HomesSignalView(ADA)
        for fact in order:
            view.update(window([fact]))
        home = view.state.home(HOME)
        assert ([ban.target_id for ban in home.bans] if home else [], view.statistics().void_count) == expected


def test_a_moderator_acts_by_a_grant_they_had_seen() -> None:
    check_every_order([GRANT, BAN], ([EVE], 0))


def test_a_grant_that_was_not_seen_gives_no_right_however_early_it_claims_to_be() -> None:
    unseen = by(BEN, HomeBan, target_id=EVE, banned_at=10)
    check_every_order([GRANT, unseen], ([], 1))


def test_a_header_link_shows_what_was_seen_as_well_as_a_basis() -> None:
    link = AfterLink(make_chain(ADA, namespace=GRANT.record.chain.namespace).chain, 1, GRANT.record.fact_id[:16])
    linked = by(BEN, HomeBan, seq=3, after=(link,), target_id=EVE, banned_at=10)
    check_every_order([GRANT, linked], ([EVE], 0))
    follower = by(BEN, HomePin, seq=4, message_id="m", pinned_at=11)
    assert home_of(*invited(BEN), GRANT, linked, follower).pins, (
        "and so does what the author said before in the same chain"
    )


def test_a_revocation_that_the_moderator_had_not_seen_leaves_their_act_standing() -> None:
    check_every_order([GRANT, REVOKE, BAN], ([EVE], 0))
    knowing = by(BEN, HomeBan, target_id=EVE, banned_at=10, basis=named(GRANT, REVOKE))
    check_every_order([GRANT, REVOKE, knowing], ([], 1))
    afterwards = by(BEN, HomePin, seq=2, message_id="m", pinned_at=11, basis=named(REVOKE))
    assert not home_of(*invited(BEN), GRANT, REVOKE, BAN, afterwards).pins


def test_a_grant_makes_only_a_member_a_moderator_whenever_they_are_let_in() -> None:
    stranger = home_of(GRANT, BAN)
    assert (stranger.bans, stranger.moderators, stranger.role_of(BEN)) == ((), (), None)
    for order in permutations([GRANT, BAN, *invited(BEN)]):
        home = home_of(*order)
        assert ([ban.target_id for ban in home.bans], home.role_of(BEN)) == ([EVE], "moderator")
    taken_back = InvitationCancelled(context_id=HOME, invitation_id="i0", canceller_id=ADA, cancelled_at=1)
    view = HomesSignalView(ADA)
    for facts in ([GRANT, BAN, *invited(BEN)], [commit_by(ADA, taken_back, seq=52)]):
        view.update(window(facts))
    home = view.state.home(HOME)
    assert home is not None
    assert (home.bans, home.moderators) == ((), ()), "an earlier cancellation that arrives late ends the membership"


def test_nobody_but_the_owner_names_moderators_and_nobody_acts_against_the_owner() -> None:
    coup = by(BEN, HomeGrantModerator, seq=2, target_id=EVE, granted_at=20, basis=named(GRANT))
    mutiny = by(BEN, HomeBan, seq=3, target_id=ADA, banned_at=20, basis=named(GRANT))
    check_every_order([GRANT, coup, mutiny], ([], 2))
    forged = commit_by(EVE, HomeGrantModerator(context_id=HOME, actor_id=ADA, target_id=EVE, granted_at=1))
    view = HomesSignalView(ADA)
    view.update(window([forged]))
    assert (view.state.home(HOME), view.statistics().wrong_actor_count) == (None, 1)


def test_strangers_cannot_crowd_the_basis_and_it_names_only_the_newest() -> None:
    noise = [by(EVE, HomePin, seq=seq, message_id="m", pinned_at=1) for seq in range(1, 100)]
    assert home_of(GRANT, REVOKE, BAN, *noise).basis == tuple(sorted(named(REVOKE, BAN)))
    merged = by(ADA, HomeUnban, seq=3, target_id=EVE, unbanned_at=12, basis=named(BAN))
    assert home_of(GRANT, REVOKE, BAN, merged).basis == named(merged)


@pytest.mark.parametrize("context", [CONTEXT, "antiphon.default"])
def test_a_context_that_names_no_owner_is_no_home_and_chat_facts_make_none(context: str) -> None:
    view = HomesSignalView(ADA)
    ban = HomeBan(context_id=context, target_id=EVE, actor_id=ADA, banned_at=1)
    assert view.update(window([commit_by(ADA, ban), OPEN])) is UNCHANGED
    assert view.state == HomesState()


def owners(kind: type[Fact], *, seq: int, **fields: object) -> Fact:
    return by(ADA, kind, seq=seq, target_id=EVE, **fields)


@pytest.mark.parametrize(
    ("banned_at", "unbanned_at", "is_banned"), [(10, 9, True), (10, 10, False), (10, 11, False), (10, None, True)]
)
def test_an_unban_lifts_what_is_not_newer_in_either_order(
    banned_at: int, unbanned_at: int | None, is_banned: bool
) -> None:
    facts = [owners(HomeBan, seq=5, banned_at=banned_at)]
    facts += [] if unbanned_at is None else [owners(HomeUnban, seq=6, unbanned_at=unbanned_at)]
    for order in permutations(facts):
        assert home_of(*order).is_banned(EVE, now_ms=0) == is_banned


def test_a_home_wide_unban_does_not_lift_a_channels_ban_and_both_may_stand() -> None:
    wide = owners(HomeBan, seq=5, banned_at=10)
    narrow = owners(HomeBan, seq=6, banned_at=10, channel_id="general")
    both = home_of(wide, narrow)
    assert [ban.channel_id for ban in both.bans] == [None, "general"]
    assert both.bans_in([]) == both.bans[:1]
    lifted = home_of(wide, narrow, owners(HomeUnban, seq=7, unbanned_at=11))
    assert not lifted.is_banned(EVE, now_ms=0)
    assert lifted.is_banned(EVE, channel_id="general", now_ms=0)
    assert not lifted.is_banned(EVE, channel_id="other", now_ms=0)


def test_the_newest_ban_and_its_expiry_count() -> None:
    short = owners(HomeBan, seq=5, banned_at=20, expires_at=30)
    home = home_of(owners(HomeBan, seq=6, banned_at=10), short, now_ms=29)
    assert [(ban.since, ban.expires_at) for ban in home.bans] == [(20, 30)]
    assert home_of(owners(HomeBan, seq=6, banned_at=10), short, now_ms=30).bans == ()


def test_a_mute_expires_by_the_clock_alone() -> None:
    view = HomesSignalView(ADA)
    view.update(window([owners(HomeMute, seq=5, muted_at=0, duration_secs=2)], 1_000))
    home = view.state.home(HOME)
    assert home is not None
    assert (home.is_muted(EVE, channel_id="general", now_ms=1_999), view.next_wakeup_ms()) == (True, 2_000)
    assert view.update(window([], 1_999)) is UNCHANGED
    view.update(window([], 2_000))
    home = view.state.home(HOME)
    assert home is not None
    assert (home.mutes, view.next_wakeup_ms()) == ((), None)


def test_kicks_are_kept_and_sorted_by_channel() -> None:
    facts = [
        owners(HomeKick, seq=seq, kicked_at=10 - seq, channel_id=channel)
        for seq, channel in ((5, "general"), (6, "other"), (7, "general"))
    ]
    home = home_of(*facts)
    assert [kick.kicked_at for kick in home.kicks] == [5, 4, 3]
    assert [kick.kicked_at for kick in home.kicks_from("general")] == [5, 3]


def invited(who: AuthorityId, *, sender: AuthorityId = ADA, invitation_id: str = "i0") -> list[Fact]:
    offer = InvitationSent(
        context_id=HOME,
        invitation_id=invitation_id,
        sender_id=sender,
        receiver_id=who,
        invitation_type=ChannelInvitation(home_id=HOME),
        sent_at=1,
    )
    answer = InvitationAccepted(context_id=HOME, invitation_id=invitation_id, acceptor_id=who, accepted_at=2)
    return [commit_by(sender, offer, seq=50), commit_by(who, answer, seq=51)]


def test_members_are_let_in_by_members_and_lose_their_place_with_a_ban() -> None:
    chain = [*invited(BEN), *invited(EVE, sender=BEN, invitation_id="i1")]
    for order in permutations(chain):
        assert home_of(*order).members == tuple(sorted((ADA, BEN, EVE)))
    assert home_of(*chain[2:], GRANT).members == (ADA,), "a stranger lets nobody in"
    home = home_of(*chain, owners(HomeBan, seq=5, banned_at=10))
    assert (EVE in home.members, home.role_of(ADA), home.role_of(BEN), home.role_of(EVE)) == (
        False,
        "owner",
        "member",
        None,
    )


def said(message_id: str, *, at: int, who: AuthorityId = EVE) -> Fact:
    about = {"context_id": HOME, "channel_id": "general", "sender_id": who, "sender_name": "x", "text": "hello"}
    return commit_by(who, MessageSent(**about, message_id=message_id, sent_at=at), seq=100 + at)


class Screen:
    """A chat view and the homes view before it, as a journal runs them."""

    def __init__(self, viewer: AuthorityId = BEN, **options: bool) -> None:
        self.homes, self.chat = HomesSignalView(viewer), ChatSignalView(viewer, **options)
        self.see(OPEN)

    def see(self, *facts: Fact) -> list[str]:
        self.homes.update(window(facts))
        self.chat.update(window(facts, **{"signals:homes": self.homes.state}))
        return [message.id for message in self.chat.state.messages_in("general")]


def test_a_stranger_is_heard_once_their_membership_arrives_and_it_counts_as_unread_then() -> None:
    screen = Screen()
    assert screen.see(said("m", at=5)) == []
    channel = screen.chat.state.channel("general")
    assert channel is not None
    assert channel.unread_count == 0
    assert screen.see(*invited(EVE)) == ["m"]
    channel = screen.chat.state.channel("general")
    assert channel is not None
    assert channel.unread_count == 1
    assert Screen(is_closed_to_strangers=False).see(said("m", at=5)) == ["m"]
    assert Screen(EVE).see(said("m", at=5)) == ["m"], "one's own words always show"


def test_a_ban_hides_what_is_said_meanwhile_and_lifting_it_reveals_what_was_not() -> None:
    screen = Screen()
    messages = [said("before", at=5), said("within", at=15), said("after", at=25)]
    assert screen.see(*invited(EVE), *messages) == ["before", "within", "after"]
    assert screen.see(owners(HomeBan, seq=5, banned_at=10)) == ["before"]
    assert screen.see(owners(HomeUnban, seq=6, unbanned_at=20)) == ["before", "after"]


def test_a_mute_ends_for_the_gate_when_it_expires_by_the_messages_own_time() -> None:
    screen = Screen()
    mute = owners(HomeMute, seq=5, muted_at=10, expires_at=20)
    assert screen.see(*invited(EVE), mute, said("within", at=19), said("after", at=20)) == ["after"]


def test_who_was_kicked_is_silent_and_no_member_of_the_channel_until_they_join_again() -> None:
    screen = Screen()
    join = {"context_id": HOME, "channel_id": "general", "participant_id": EVE, "participant_name": "eve"}
    joined = commit_by(EVE, MembershipChanged(**join, event="joined", changed_at=1), seq=80)
    again = commit_by(EVE, MembershipChanged(**join, event="joined", changed_at=30), seq=81)
    messages = [said("before", at=5), said("after", at=25)]
    screen.see(*invited(EVE), joined, *messages)
    assert screen.see(owners(HomeKick, seq=5, kicked_at=20)) == ["before"]
    channel = screen.chat.state.channel("general")
    assert channel is not None
    assert EVE not in channel.member_ids
    assert screen.see(again) == ["before", "after"]
    channel = screen.chat.state.channel("general")
    assert channel is not None
    assert EVE in channel.member_ids


def test_strangers_who_join_a_channel_of_a_home_are_no_members_of_it_until_they_are_let_in() -> None:
    about = {"context_id": HOME, "channel_id": "general", "participant_id": EVE, "participant_name": "eve"}
    joined = commit_by(EVE, MembershipChanged(**about, event="joined", changed_at=1), seq=80)

    def members_of(screen: Screen) -> tuple[str, ...]:
        channel = screen.chat.state.channel("general")
        assert channel is not None
        return channel.member_ids

    screen, other, own = Screen(), Screen(), Screen(EVE)
    screen.see(joined)
    own.see(joined)
    assert (members_of(screen), members_of(own)) == ((ADA,), (ADA, EVE)), "one's own word counts for oneself"
    screen.see(*invited(EVE))
    other.see(*invited(EVE))
    other.see(joined)
    assert members_of(screen) == members_of(other) == (ADA, EVE)


def test_the_owner_and_who_moderated_at_that_time_take_messages_away() -> None:
    def deleted(message_id: str, who: AuthorityId, at: int) -> Fact:
        about = {"context_id": HOME, "channel_id": "general", "message_id": message_id}
        return commit_by(who, MessageDeleted(**about, deleter_id=who, deleted_at=at), seq=200 + at)

    screen = Screen(EVE)
    screen.see(*invited(BEN), *[said(name, at=5 + place) for place, name in enumerate("abcd")])
    assert screen.see(deleted("a", ADA, 20), deleted("b", BEN, 5), deleted("c", BEN, 20)) == ["b", "c", "d"]
    assert screen.see(GRANT) == ["d"], "the grant arrives after the deletions that it covers"
    assert screen.see(REVOKE) == ["c", "d"], "and the revocation shows what was deleted without a right"


def test_what_stands_is_told_by_time() -> None:
    laid = Standing(((10, None), (20, 30)), (15, 25))
    assert [laid.holds_at(at) for at in (9, 10, 14, 15, 20, 24, 25)] == [False, True, True, False, True, True, False]
    assert laid.current is None
    assert Standing(((10, 12),), ()).current == (10, 12)


def test_the_view_names_its_signal_and_its_kinds() -> None:
    view = HomesSignalView(ADA)
    assert (view.view_id, view.signal, view.depends_on) == ("signals:homes", HOMES_SIGNAL, ())
    assert {"moderation.home_ban", "home.declared", "invitation.accepted"} <= view.kinds

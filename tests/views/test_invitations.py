"""The invitations view against a fold written twice: once incrementally, once slowly and plainly below."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import (
    AuthorityId,
    ChannelInvitation,
    ContactInvitation,
    Fact,
    InvitationAccepted,
    InvitationCancelled,
    InvitationCeremonyCommitted,
    InvitationCeremonyInitiated,
    InvitationCeremonySuperseded,
    InvitationDeclined,
    InvitationSent,
    ceremony_id_of,
    ceremony_stage_of,
    ceremony_status,
)
from antiphon.reactive import UNCHANGED, Batch
from antiphon.testing.strategies import (
    ADA,
    BEN,
    CONTEXT,
    EVE,
    LABELS,
    actor_of,
    ceremony_fact_parts,
    commit_by,
    deliveries,
    histories,
    invitation_facts,
)
from antiphon.views import INVITATIONS_SIGNAL, Invitation, InvitationsSignalView, InvitationsState
from antiphon.views.registers import owned_id


def stamp(fact: Fact) -> tuple[int, int, bytes]:
    return fact.record.stamp


def expected_invitations(
    history: Iterable[Fact], me: str, now_ms: int, *, history_max: int = 200
) -> dict[str, list[dict]]:
    """The whole table of rules, for a set of facts and a clock at once."""
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in {fact.record.fact_id: fact for fact in history}.values():
        if actor_of(fact) == fact.record.chain.authority:
            groups[fact.record.chain.namespace, fact.invitation_id].append(fact)  # type: ignore[attr-defined]
    rows = sorted(row for facts in groups.values() for row in expected_invitation(facts, me, now_ms))
    by_place = {"pending": [], "sent": [], "history": []}
    for _, _, _, place, shown in rows:
        by_place[place].append(shown)
    by_place["history"] = by_place["history"][::-1][:history_max]
    return by_place


STATUSES = {InvitationCancelled: "revoked", InvitationDeclined: "rejected", InvitationAccepted: "accepted"}
KINDS = {"contact": "home", "guardian": "guardian", "channel": "chat", "device": "home"}


def expected_invitation(facts: list[Fact], me: str, now_ms: int) -> list[tuple]:
    offers = sorted((fact for fact in facts if isinstance(fact, InvitationSent)), key=stamp)
    if not offers:
        return []
    offer = offers[0]
    ranks = list(STATUSES)
    answers = [fact for fact in facts if type(fact) in STATUSES and may_answer(fact, offer)]
    answers.sort(key=lambda fact: (fact.record.at, fact.record.hlc, ranks.index(type(fact)), fact.record.fact_id))
    if me not in (offer.sender_id, offer.receiver_id) and not (answers and actor_of(answers[0]) == me):
        return []
    if answers:
        status, when = STATUSES[type(answers[0])], stamp(answers[0])
    elif offer.expires_at is not None and offer.expires_at <= now_ms:
        status, when = "expired", (offer.expires_at, 0, b"")
    else:
        status, when = "pending", stamp(offer)
    direction = "sent" if offer.sender_id == me else "received"
    home = offer.invitation_type if isinstance(offer.invitation_type, ChannelInvitation) else None
    shown = {
        "id": offer.invitation_id,
        "context_id": offer.context_id,
        "type": KINDS[offer.invitation_type.type],
        "status": status,
        "direction": direction,
        "from_id": offer.sender_id,
        "from_name": LABELS[AuthorityId(offer.sender_id)],
        "to_id": None if offer.sender_id == offer.receiver_id else offer.receiver_id,
        "to_name": offer.receiver_nickname,
        "created_at": offer.sent_at,
        "expires_at": offer.expires_at,
        "resolved_at": None if status == "pending" else when[0],
        "message": offer.message,
        "home_id": home.home_id if home else None,
        "home_name": ((home.nickname_suggestion or "").strip() or None) if home else None,
        "ceremonies": expected_ceremonies(facts, offer, answers),
        "offer": offer.invitation_type.type,
        "accepted_by": actor_of(answers[0]) if answers and isinstance(answers[0], InvitationAccepted) else None,
    }
    place = "history" if status != "pending" else "sent" if direction == "sent" else "pending"
    return [(when, offer.invitation_id, offer.context_id, place, shown)]


def expected_ceremonies(facts: list[Fact], offer: InvitationSent, answers: list[Fact]) -> list[dict]:
    """The statuses of what the two parties of an accepted invitation said of its ceremonies."""
    if not answers or not isinstance(answers[0], InvitationAccepted):
        return []
    parties = (offer.sender_id, actor_of(answers[0]))
    said = [fact for fact in facts if ceremony_stage_of(fact) and actor_of(fact) in parties]
    begun = {
        ceremony: min(fact.timestamp_ms for fact in said if is_beginning(fact, ceremony))
        for ceremony in ("c0", "c1", "c2")
        if any(is_beginning(fact, ceremony) for fact in said)
    }
    counted = []
    for fact in said:
        if isinstance(fact, InvitationCeremonySuperseded):
            old, new = begun.get(fact.superseded_ceremony_id), begun.get(fact.superseding_ceremony_id)
            if old is None or new is None or new <= old:
                continue
        counted.append(fact)
    ids = sorted({str(ceremony_id_of(fact)) for fact in counted})
    return [ceremony_status(counted, ceremony_id=ceremony).to_json() for ceremony in ids]


def is_beginning(fact: Fact, ceremony: str) -> bool:
    return isinstance(fact, InvitationCeremonyInitiated) and fact.ceremony_id == ceremony


def may_answer(fact: Fact, offer: InvitationSent) -> bool:
    actor = actor_of(fact)
    if offer.expires_at is not None and fact.record.at > offer.expires_at:
        return False
    if isinstance(fact, InvitationCancelled):
        return actor == offer.sender_id
    if offer.sender_id == offer.receiver_id:
        return isinstance(fact, InvitationAccepted) and actor != offer.sender_id
    return actor == offer.receiver_id


def window(facts: Sequence[Fact], now_ms: int = 0) -> Batch[Fact]:
    return Batch(batch_id=1, facts=facts, now_ms=now_ms, changed=frozenset(), inputs={})


def check_invitations(data: st.DataObject, *, history_max: int) -> None:
    me = data.draw(st.sampled_from([ADA, BEN]))
    view, seen, now_ms = InvitationsSignalView(me), list[Fact](), -5
    for facts in data.draw(deliveries(data.draw(histories(st.one_of(invitation_facts(), ceremony_fact_parts()))))):
        before = view.state
        now_ms += data.draw(st.integers(min_value=0, max_value=4))
        result = view.update(window(facts, now_ms))
        seen += facts
        expected = expected_invitations(seen, me, now_ms, history_max=history_max)
        assert view.state.to_json() == expected
        assert (result is UNCHANGED) == (view.state is before)
        assert result is UNCHANGED or view.state != before
        waiting = [row["expires_at"] for row in expected["pending"] + expected["sent"] if row["expires_at"] is not None]
        wakeup_ms = view.next_wakeup_ms()
        # It may be woken once too early, for an offer that another one replaced, but never too late.
        assert not waiting or (wakeup_ms is not None and now_ms < wakeup_ms <= min(waiting))


@given(st.data())
@settings(max_examples=500)
def test_a_snapshot_is_a_function_of_the_set_of_facts_and_the_clock(data: st.DataObject) -> None:
    check_invitations(data, history_max=200)


@given(st.data())
@settings(max_examples=200)
def test_a_capped_history_is_a_function_of_the_set_of_facts_and_the_clock(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.views.invitations.HISTORY_COUNT_MAX", 1)
        check_invitations(data, history_max=1)


def fold(*windows: Sequence[Fact], me: AuthorityId = ADA, now_ms: int = 0) -> InvitationsSignalView:
    view = InvitationsSignalView(me)
    for facts in windows:
        view.update(window(facts, now_ms))
    return view


def sent(name: str = "i", *, at: int = 1, by: AuthorityId = BEN, to: str = ADA, **fields: object) -> Fact:
    about = {"context_id": CONTEXT, "invitation_id": name, "invitation_type": ContactInvitation()}
    return commit_by(by, InvitationSent(sender_id=by, receiver_id=to, sent_at=at, **about | fields))


def accepted(at: int, *, by: AuthorityId = ADA, name: str = "i", signer: AuthorityId | None = None) -> Fact:
    fact = InvitationAccepted(context_id=CONTEXT, invitation_id=name, acceptor_id=by, accepted_at=at)
    return commit_by(signer or by, fact)


def declined(at: int, *, by: AuthorityId = ADA, hlc: int = 1) -> Fact:
    fact = InvitationDeclined(context_id=CONTEXT, invitation_id="i", decliner_id=by, declined_at=at)
    return commit_by(by, fact, hlc=hlc)


def cancelled(at: int, *, by: AuthorityId = BEN) -> Fact:
    return commit_by(by, InvitationCancelled(context_id=CONTEXT, invitation_id="i", canceller_id=by, cancelled_at=at))


def only(state: InvitationsState) -> Invitation:
    (invitation,) = (*state.pending, *state.sent, *state.history)
    return invitation


def test_an_offer_waits_on_both_sides_and_is_nobody_elses_business() -> None:
    assert fold([sent()], me=ADA).state.pending_count == 1
    assert fold([sent()], me=BEN).state.sent_count == 1
    stranger = fold([sent()], me=EVE)
    assert (stranger.state, stranger.statistics().foreign_count) == (InvitationsState(), 1)


def test_nobody_takes_an_offer_away_by_making_an_earlier_one_under_its_id() -> None:
    name = owned_id(BEN, "ab" * 16)
    offers = [sent(name, at=5), sent(name, at=1, by=EVE)]
    for windows in ([offers], [offers[:1], offers[1:]], [offers[1:], offers[:1]]):
        view = InvitationsSignalView(ADA)
        for facts in windows:
            view.update(Batch(batch_id=1, facts=facts, now_ms=9, changed=frozenset(), inputs={}))
        assert [each.from_id for each in view.state.pending] == [BEN]


@pytest.mark.parametrize("me", [ADA, BEN])
def test_accept_and_cancel_race_to_one_winner_on_every_replica(me: AuthorityId) -> None:
    for order in permutations([sent(), accepted(5), cancelled(6), declined(7)]):
        assert only(fold(*[[fact] for fact in order], me=me).state).status == "accepted"


def test_at_one_moment_cancelled_counts_before_declined_before_accepted() -> None:
    assert only(fold([sent(), accepted(5), declined(5), cancelled(5)]).state).status == "revoked"
    assert only(fold([sent(), accepted(5), declined(5)]).state).status == "rejected"
    assert only(fold([sent(), accepted(5), declined(5, hlc=2)]).state).status == "accepted"


def test_answers_by_those_without_the_right_are_ignored_and_counted() -> None:
    view = fold([sent(), accepted(2, by=EVE), accepted(2, signer=EVE), declined(2, by=BEN), cancelled(2, by=ADA)])
    assert only(view.state).status == "pending"
    assert (view.statistics().void_count, view.statistics().wrong_actor_count) == (3, 1)


def test_an_answer_before_its_offer_is_kept() -> None:
    view = fold([accepted(5)])
    assert view.state == InvitationsState()
    view.update(window([sent()]))
    assert only(view.state).status == "accepted"


def test_the_receiver_sees_a_cancelled_invitation_as_revoked() -> None:
    state = fold([sent()], [cancelled(3)], me=ADA).state
    assert (state.pending, only(state).status, only(state).direction) == ((), "revoked", "received")


def test_a_repeated_offer_shows_once_with_the_lowest_stamp() -> None:
    state = fold([sent(at=5, message="second"), sent(at=3, message="first"), sent(at=5, message="second")]).state
    assert (only(state).message, only(state).created_at) == ("first", 3)


def test_an_invitation_expires_by_the_clock_alone() -> None:
    view = fold([sent(expires_at=100)], now_ms=50)
    assert view.next_wakeup_ms() == 100
    assert view.update(window([], 99)) is UNCHANGED
    view.update(window([], 100))
    assert (only(view.state).status, only(view.state).resolved_at) == ("expired", 100)
    assert view.next_wakeup_ms() is None


def test_an_answer_in_time_that_arrives_late_counts_and_a_late_answer_does_not() -> None:
    view = fold([sent(expires_at=100)], now_ms=500)
    assert view.update(window([accepted(101), cancelled(102)], 501)) is UNCHANGED
    assert only(view.state).status == "expired"
    view.update(window([accepted(100)], 502))
    assert only(view.state).status == "accepted"


def test_an_answered_invitation_asks_for_no_wake_up() -> None:
    view = fold([sent(expires_at=100), sent("j", expires_at=200)])
    view.update(window([accepted(5)]))
    assert view.next_wakeup_ms() == 200


def test_an_offer_that_waits_again_asks_for_its_wake_up_again() -> None:
    view = fold([sent(at=5, expires_at=100)], [cancelled(6)])
    assert view.next_wakeup_ms() is None
    view.update(window([sent(at=4, by=EVE, expires_at=100)]))
    assert (only(view.state).from_id, only(view.state).status) == (EVE, "pending")
    assert view.next_wakeup_ms() == 100


def test_the_history_keeps_the_200_newest_by_resolution() -> None:
    offers = [sent(f"i{index}") for index in range(250)]
    answers = [accepted(1000 - index, name=f"i{index}") for index in range(250)]
    history = fold(offers, answers).state.history
    assert [invitation.id for invitation in history] == [f"i{index}" for index in range(200)]


def test_an_offer_to_whoever_holds_the_link_hides_the_receiver() -> None:
    offer = sent(by=ADA, to=ADA, receiver_nickname="the new one")
    invitation = only(fold([offer]).state)
    assert (invitation.to_id, invitation.to_name, invitation.direction) == (None, "the new one", "sent")
    assert fold([offer], me=EVE).state == InvitationsState()
    assert only(fold([offer, declined(3, by=EVE), accepted(4, by=EVE)]).state).status == "accepted"
    assert only(fold([offer, accepted(4, by=EVE)], me=EVE).state).direction == "received"


def test_a_channel_invitation_shows_its_home_and_a_trimmed_name() -> None:
    home = ChannelInvitation(home_id="house", nickname_suggestion="  The House ")
    invitation = only(fold([sent(invitation_type=home)]).state)
    assert (invitation.type, invitation.home_id, invitation.home_name) == ("chat", "house", "The House")
    assert invitation.from_name == "ben"


def test_an_invitation_is_found_wherever_it_stands() -> None:
    state = fold([sent(), sent("j", by=ADA, to=BEN), sent("k"), accepted(2, name="k")]).state
    found = [state.find(name) for name in ("i", "j", "k", "none")]
    assert [invitation and invitation.status for invitation in found] == ["pending", "pending", "accepted", None]


def test_the_view_names_its_signal_and_its_kinds() -> None:
    view = InvitationsSignalView(ADA)
    assert (view.view_id, view.signal, view.depends_on) == ("signals:invitations", INVITATIONS_SIGNAL, ())
    assert "invitation.sent" in view.kinds
    assert INVITATIONS_SIGNAL.accepts(view.state)


def ceremony(kind: type[Fact], *, by: AuthorityId, at: int, ceremony_id: str = "c0", **fields: object) -> Fact:
    actor = "sender_id" if kind is InvitationCeremonyInitiated else "actor_id"
    about = {"context_id": CONTEXT, "invitation_id": "i", "timestamp_ms": at, actor: by}
    if kind is not InvitationCeremonySuperseded:
        about["ceremony_id"] = ceremony_id
    return commit_by(by, kind(**about | fields))


def offer_to_ben() -> Fact:
    """Ada offers Ben her contact."""
    return commit_by(
        ADA,
        InvitationSent(
            context_id=CONTEXT,
            invitation_id="i",
            sender_id=ADA,
            receiver_id=BEN,
            invitation_type=ContactInvitation(),
            sent_at=1,
        ),
    )


def test_only_the_parties_of_an_accepted_invitation_hold_its_ceremony() -> None:
    begun = ceremony(InvitationCeremonyInitiated, by=ADA, at=3)
    forged = ceremony(InvitationCeremonyCommitted, by=EVE, at=4, relationship_id="rel-" + "00" * 8)
    offer = offer_to_ben()
    accepted = commit_by(BEN, InvitationAccepted(context_id=CONTEXT, invitation_id="i", acceptor_id=BEN, accepted_at=2))
    for order in permutations([begun, forged, offer, accepted]):
        view = InvitationsSignalView(ADA)
        for fact in order:
            view.update(window([fact]))
        (shown,) = view.state.history
        assert shown.active_ceremony is not None
        assert (shown.active_ceremony.phase.value, view.statistics().void_count) == ("preparing", 1)
    done = ceremony(InvitationCeremonyCommitted, by=BEN, at=5, relationship_id="rel-" + "0f" * 8)
    view.update(window([done]))
    assert view.state.history[0].active_ceremony is None
    assert view.state.history[0].ceremonies[0].phase.value == "committed"


def test_an_old_answer_without_a_context_is_folded_apart_and_resolves_no_offer() -> None:
    offer = offer_to_ben()
    old = [
        commit_by(BEN, InvitationAccepted(invitation_id="i", acceptor_id=BEN, accepted_at=2)),
        commit_by(BEN, InvitationDeclined(invitation_id="i", decliner_id=BEN, declined_at=2)),
        commit_by(ADA, InvitationCancelled(invitation_id="i", canceller_id=ADA, cancelled_at=2)),
    ]
    assert len({fact.meta.namespace for fact in (offer, *old)}) == 4
    for facts in permutations((offer, *old)):
        view = InvitationsSignalView(BEN)
        view.update(Batch(batch_id=1, facts=facts, now_ms=3, changed=frozenset(), inputs={}))
        assert [each.status for each in view.state.pending] == ["pending"]
        assert (view.state.sent, view.state.history) == ((), ())
        assert view.statistics().applied_count == 4

"""The contacts view against a fold written twice: once incrementally, once slowly and plainly below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import (
    AuthorityId,
    ContactAdded,
    ContactRemoved,
    ContactRenamed,
    Fact,
    FriendshipAccepted,
    FriendshipProposed,
    FriendshipRevoked,
    GuardianBound,
    ReadReceiptPolicyUpdated,
)
from antiphon.reactive import UNCHANGED, Batch
from antiphon.testing.strategies import (
    ADA,
    BEN,
    CONTEXT,
    EVE,
    actor_of,
    commit_by,
    contact_facts,
    deliveries,
    histories,
)
from antiphon.views import (
    CONTACTS_SIGNAL,
    AmbiguousContact,
    Contact,
    ContactNotFound,
    ContactsSignalView,
    ContactsState,
)


def stamp(fact: Fact) -> tuple[int, int, bytes]:
    return fact.record.stamp


def expected_contacts(history: Iterable[Fact], me: str) -> dict[str, object]:
    """The whole table of rules, for a set of facts at once."""
    distinct = {fact.record.fact_id: fact for fact in history}.values()
    facts = sorted((fact for fact in distinct if actor_of(fact) == fact.record.chain.authority), key=stamp)
    names = ("contact_id", "requester_id", "accepter_id")
    people = {getattr(fact, name) for fact in facts for name in names if hasattr(fact, name)}
    found = [contact for person in sorted(people) if (contact := expected_contact(facts, person, me))]
    return {"contacts": found}


def expected_contact(facts: list[Fact], person: str, me: str) -> dict | None:
    mine = [fact for fact in facts if getattr(fact, "owner_id", None) == me and fact.contact_id == person]
    removals = [stamp(fact) for fact in mine if isinstance(fact, ContactRemoved)]
    # At one time and clock reading a removal weighs more, whatever the ids are.
    since = removals[-1][:2] if removals else (-(10**9), 0)
    live = [fact for fact in mine if stamp(fact)[:2] > since]
    added = [fact for fact in live if isinstance(fact, ContactAdded)]
    renamed = [fact for fact in live if isinstance(fact, ContactRenamed)]
    policies = [fact.policy for fact in live if isinstance(fact, ReadReceiptPolicyUpdated)]
    pair = [fact for fact in facts if is_between(fact, person, me)]
    proposed = [fact for fact in pair if isinstance(fact, FriendshipProposed)]
    asked = {fact.requester_id for fact in proposed}
    accepted = [fact for fact in pair if isinstance(fact, FriendshipAccepted) and fact.requester_id in asked]
    if not (added or renamed or any(stamp(fact)[:2] > since for fact in (*proposed, *accepted))):
        return None
    short = person[:8] + "..." if len(person) > 8 else person
    suggestions = [name for fact in added if (name := fact.nickname.strip()) and name not in (person, short)]
    codes = [fact.invitation_code for fact in added if fact.invitation_code is not None]
    nickname = renamed[-1].new_nickname if renamed else ""
    guardians = [fact.guardian_id for fact in facts if isinstance(fact, GuardianBound) and fact.account_id == me]
    return {
        "id": person,
        "nickname": nickname,
        "nickname_suggestion": suggestions[-1] if suggestions else None,
        "is_guardian": person in guardians,
        "last_interaction": max((fact.record.at for fact in (*added, *renamed)), default=None),
        "read_receipt_policy": policies[-1] if policies else "disabled",
        "relationship_state": expected_relationship(pair, me),
        "invitation_code": codes[-1] if codes else None,
        "effective_name": nickname.strip() or (suggestions[-1] if suggestions else short),
    }


def is_between(fact: Fact, person: str, me: str) -> bool:
    if not isinstance(fact, FriendshipProposed | FriendshipAccepted | FriendshipRevoked) or person == me:
        return False
    is_party = not isinstance(fact, FriendshipRevoked) or fact.actor_id in (person, me)
    return is_party and {fact.requester_id, fact.accepter_id} == {person, me}


def expected_relationship(pair: list[Fact], me: str) -> str:
    """Walk through the pair's facts in order of stamp; what ends counts last where time and clock are equal."""
    ranks = {FriendshipProposed: 0, FriendshipAccepted: 1, FriendshipRevoked: 2}
    pair = sorted(pair, key=lambda fact: (fact.record.at, fact.record.hlc, ranks[type(fact)], fact.record.fact_id))
    ends = [index for index, fact in enumerate(pair) if isinstance(fact, FriendshipRevoked)]
    live = pair[ends[-1] + 1 :] if ends else pair
    offers = [fact.requester_id for fact in live if isinstance(fact, FriendshipProposed)]
    if any(isinstance(fact, FriendshipAccepted) and fact.requester_id in offers for fact in live):
        return "friend"
    if not offers:
        return "contact"
    return "pending_outbound" if offers[-1] == me else "pending_inbound"


def window(facts: Sequence[Fact]) -> Batch[Fact]:
    return Batch(batch_id=1, facts=facts, now_ms=0, changed=frozenset(), inputs={})


def fold(*windows: Sequence[Fact], me: AuthorityId = ADA) -> ContactsSignalView:
    view = ContactsSignalView(me)
    for facts in windows:
        view.update(window(facts))
    return view


@given(st.data())
@settings(max_examples=500)
def test_a_snapshot_is_a_function_of_the_set_of_facts(data: st.DataObject) -> None:
    me = data.draw(st.sampled_from([ADA, BEN]))
    view, seen = ContactsSignalView(me), list[Fact]()
    for facts in data.draw(deliveries(data.draw(histories(contact_facts())))):
        before = view.state
        result = view.update(window(facts))
        seen += facts
        assert view.state.to_json() == expected_contacts(seen, me)
        assert (result is UNCHANGED) == (view.state is before)
        assert result is UNCHANGED or view.state != before


PERSON = "0123456789abcdef"


def added(
    at: int, nickname: str = "Zed", *, person: str = PERSON, code: str | None = None, by: AuthorityId = ADA
) -> Fact:
    about = {"context_id": CONTEXT, "owner_id": by, "contact_id": person}
    return commit_by(by, ContactAdded(nickname=nickname, added_at=at, invitation_code=code, **about))


def removed(at: int, *, person: str = PERSON) -> Fact:
    return commit_by(ADA, ContactRemoved(context_id=CONTEXT, owner_id=ADA, contact_id=person, removed_at=at))


def renamed(at: int, name: str, *, person: str = PERSON) -> Fact:
    about = {"context_id": CONTEXT, "owner_id": ADA, "contact_id": person}
    return commit_by(ADA, ContactRenamed(new_nickname=name, renamed_at=at, **about))


def proposed(at: int, *, by: AuthorityId, to: str) -> Fact:
    return commit_by(by, FriendshipProposed(context_id=CONTEXT, requester_id=by, accepter_id=to, proposed_at=at))


def accepted(at: int, *, by: AuthorityId, of: str, signer: AuthorityId | None = None) -> Fact:
    fact = FriendshipAccepted(context_id=CONTEXT, requester_id=of, accepter_id=by, accepted_at=at)
    return commit_by(signer or by, fact)


def revoked(at: int, *, by: AuthorityId, pair: tuple[str, str]) -> Fact:
    about = {"context_id": CONTEXT, "requester_id": pair[0], "accepter_id": pair[1]}
    return commit_by(by, FriendshipRevoked(revoked_at=at, actor_id=by, **about))


def only(view: ContactsSignalView) -> Contact:
    (contact,) = view.state.contacts.values()
    return contact


def test_a_nickname_outranks_a_suggestion_and_a_suggestion_the_short_id() -> None:
    view = fold([added(1, PERSON)])
    assert only(view).effective_name == "01234567..."
    view.update(window([added(2, "Zed")]))
    assert only(view).effective_name == "Zed"
    view.update(window([renamed(0, "Zeddy")]))
    assert only(view).effective_name == "Zeddy"


def test_a_fallback_name_never_replaces_a_human_suggestion() -> None:
    view = fold([added(1, "Zed"), added(2, PERSON), added(3, "01234567..."), added(4, " ")])
    assert only(view).nickname_suggestion == "Zed"


def test_a_contact_added_again_after_removal_comes_back_without_its_old_name() -> None:
    view = fold([added(1, "Zed", code="old"), renamed(2, "Zeddy"), removed(3)])
    assert view.state == ContactsState()
    view.update(window([added(4, PERSON)]))
    contact = only(view)
    assert (contact.nickname, contact.nickname_suggestion, contact.invitation_code) == ("", None, None)


def test_what_was_added_and_removed_at_one_time_is_removed_whatever_the_ids_are() -> None:
    for code in map(str, range(16)):
        assert fold([added(3, "Zed", code=code), renamed(3, "Zeddy"), removed(3)]).state == ContactsState()


def test_a_late_addition_from_before_the_removal_does_not_revive() -> None:
    view = fold([removed(5)])
    assert view.update(window([added(4), renamed(3, "Zeddy")])) is UNCHANGED


def test_a_code_is_replaced_only_by_a_code() -> None:
    assert only(fold([added(1, code="first"), added(2)])).invitation_code == "first"


def test_nobody_else_changes_the_owners_list() -> None:
    forged = commit_by(EVE, ContactAdded(context_id=CONTEXT, owner_id=ADA, contact_id=PERSON, nickname="x", added_at=1))
    view = fold([forged, added(1, by=EVE)])
    assert view.state == ContactsState()
    assert (view.statistics().wrong_actor_count, view.statistics().foreign_count) == (1, 1)


def test_a_policy_before_its_contact_counts() -> None:
    about = {"context_id": CONTEXT, "owner_id": ADA, "contact_id": PERSON}
    policy = commit_by(ADA, ReadReceiptPolicyUpdated(policy="enabled", updated_at=1, **about))
    assert only(fold([policy], [added(0), added(2)])).read_receipt_policy == "enabled"


@pytest.mark.parametrize("is_bound_first", [True, False])
def test_a_guardian_is_one_whether_bound_before_or_after_the_contact(is_bound_first: bool) -> None:
    bound = commit_by(ADA, GuardianBound(context_id=CONTEXT, account_id=ADA, guardian_id=PERSON, bound_at=9))
    facts = [bound, added(1)] if is_bound_first else [added(1), bound]
    assert only(fold([facts[0]], [facts[1]])).is_guardian


def test_a_proposal_makes_a_pending_contact_on_both_sides() -> None:
    offer = proposed(1, by=BEN, to=ADA)
    assert only(fold([offer], me=ADA)).relationship_state == "pending_inbound"
    assert only(fold([offer], me=BEN)).relationship_state == "pending_outbound"
    assert fold([offer], me=EVE).state == ContactsState()


def test_a_proposal_does_not_demote_a_friend() -> None:
    view = fold([accepted(2, by=ADA, of=BEN), proposed(1, by=BEN, to=ADA)])
    assert only(view).relationship_state == "friend"
    assert view.update(window([proposed(3, by=BEN, to=ADA)])) is UNCHANGED


def test_an_acceptance_without_an_offer_or_by_another_says_nothing() -> None:
    view = fold([accepted(2, by=BEN, of=ADA)])
    assert (view.state, view.statistics().void_count) == (ContactsState(), 1)
    view = fold([proposed(1, by=ADA, to=BEN), accepted(2, by=BEN, of=ADA, signer=EVE)])
    assert only(view).relationship_state == "pending_outbound"


def test_a_revoked_friendship_is_not_restored_by_accepting_the_old_offer_again() -> None:
    view = fold([proposed(1, by=ADA, to=BEN), accepted(2, by=BEN, of=ADA), revoked(3, by=ADA, pair=(ADA, BEN))])
    assert only(view).relationship_state == "contact"
    view.update(window([accepted(4, by=BEN, of=ADA)]))
    assert only(view).relationship_state == "contact"
    view.update(window([proposed(5, by=ADA, to=BEN), accepted(6, by=BEN, of=ADA)]))
    assert only(view).relationship_state == "friend"


def test_an_offer_after_a_revocation_waits_although_an_old_one_was_accepted() -> None:
    ended = [proposed(1, by=ADA, to=BEN), accepted(2, by=BEN, of=ADA), revoked(3, by=ADA, pair=(ADA, BEN))]
    assert only(fold([*ended, proposed(4, by=ADA, to=BEN)])).relationship_state == "pending_outbound"


def test_at_one_moment_revoked_counts_after_accepted_and_accepted_after_proposed() -> None:
    moment = [proposed(2, by=ADA, to=BEN), accepted(2, by=BEN, of=ADA)]
    assert only(fold(moment)).relationship_state == "friend"
    for by in (ADA, BEN):
        for pair in ((ADA, BEN), (BEN, ADA)):
            assert only(fold(moment, [revoked(2, by=by, pair=pair)])).relationship_state == "contact"


def test_a_third_party_cannot_end_a_friendship() -> None:
    friends = [proposed(1, by=ADA, to=BEN), accepted(2, by=BEN, of=ADA), revoked(3, by=EVE, pair=(ADA, BEN))]
    assert only(fold(friends)).relationship_state == "friend"


def test_a_person_is_found_by_id_name_start_or_part() -> None:
    zoe = "ff00ff00ff00"
    state = fold([added(1, "Zed"), added(1, "Zoe", person=zoe), renamed(2, "Zo Major", person=zoe)]).state
    assert state.resolve(PERSON).id == PERSON
    assert state.resolve("zoe").id == zoe
    assert state.resolve("0123").id == PERSON
    assert state.resolve("major").id == zoe
    with pytest.raises(AmbiguousContact, match=r"fits 2 contacts: Zed .*, Zo Major"):
        state.resolve("z")
    with pytest.raises(ContactNotFound, match="'nobody'"):
        state.resolve("nobody")
    with pytest.raises(ContactNotFound):
        state.resolve(" ")
    assert [contact.effective_name for contact in state.filter_by("Z")] == ["Zed", "Zo Major"]


def test_a_window_leaves_other_contacts_untouched() -> None:
    view = fold([added(1, person=f"person-{index}") for index in range(100)])
    before = view.state
    view.update(window([renamed(2, "new", person="person-7")]))
    changed = [key for key, contact in view.state.contacts.items() if contact is not before.contacts[key]]
    assert changed == ["person-7"]
    assert before.contacts["person-7"].nickname == ""


def test_the_view_names_its_signal_and_its_kinds() -> None:
    view = ContactsSignalView(ADA)
    assert (view.view_id, view.signal, view.depends_on) == ("signals:contacts", CONTACTS_SIGNAL, ())
    assert {"contact.added", "friendship.proposed", "guardian.bound"} <= view.kinds
    assert CONTACTS_SIGNAL.accepts(view.state)

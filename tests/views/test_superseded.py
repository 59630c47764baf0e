"""What superseded facts said may go: what is left of them, with whatever comes later, shows what all of them show."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import AuthorityId, Fact, LocalViolation
from antiphon.facts.chat import (
    ChannelCreated,
    ChannelUpdated,
    MessageDeliveryUpdated,
    MessageEdited,
    MessageRead,
    MessageSent,
)
from antiphon.facts.fact import get_record
from antiphon.journal.supersession import Supersession, plan_supersession
from antiphon.testing.strategies import (
    ADA,
    BEN,
    chat_facts,
    contact_facts,
    histories,
    home_histories,
    protocol_facts,
)
from antiphon.views import APP_VIEWS
from antiphon.views.provenance import AppViewReplay
from antiphon.views.superseded import SUPERSESSIONS

FOREVER = 2**62


def shown(facts: list[Fact], viewer: AuthorityId) -> list[object]:
    """Every view that ships, as *viewer* sees it."""
    states = []
    for signal_id in APP_VIEWS:
        replay = AppViewReplay(signal_id, authority=viewer, now_ms=10)
        replay.take(facts)
        states.append(replay.state)
    return states


def superseded(facts: list[Fact], **given: Any) -> set[bytes]:
    plan = plan_supersession(SUPERSESSIONS, facts, **({"due_ms": FOREVER, "is_settled": lambda record: True} | given))
    return {record.fact_id for record in plan}


@settings(max_examples=150)
@given(
    histories(chat_facts() | contact_facts() | protocol_facts(), count_max=40)
    | histories(contact_facts(), count_max=40)
    | home_histories(with_messages=True),
    st.data(),
)
def test_what_is_left_and_the_tail_show_what_all_facts_show(history: list[Fact], data: st.DataObject) -> None:
    """views(snapshot + tail) = views(all), where the snapshot is the facts that won, and the tail may be late."""
    order = data.draw(st.permutations(history))
    cut = data.draw(st.integers(0, len(order)))
    gone = superseded(order[:cut])
    left = [fact for fact in order if get_record(fact).fact_id not in gone]
    again = superseded(left)
    left_again = [fact for fact in left if get_record(fact).fact_id not in again]
    for viewer in (ADA, BEN):
        assert shown(left, viewer) == shown(order, viewer)
        assert shown(left_again, viewer) == shown(order, viewer)


def _about_one_message() -> st.SearchStrategy[Fact]:
    """Facts of one message in one channel by one author, so that the same is written again and again."""
    place = {"context_id": st.just("c"), "channel_id": st.just("l")}
    about = place | {"message_id": st.just("m")}
    ada, times, texts = st.just(ADA), st.integers(0, 9), st.sampled_from("xyz")
    return st.one_of(
        st.builds(ChannelCreated, **place, name=texts, created_at=times, creator_id=ada),
        st.builds(
            ChannelUpdated,
            **place,
            name=st.none() | texts,
            topic=st.none() | texts,
            member_ids=st.none() | st.lists(st.sampled_from([ADA, BEN]), max_size=2).map(tuple),
            updated_at=times,
            actor_id=ada,
        ),
        st.builds(MessageSent, **about, sender_id=ada, sender_name=texts, text=texts, sent_at=times),
        st.builds(MessageEdited, **about, editor_id=ada, new_text=texts, edited_at=times),
        st.builds(MessageRead, **about, reader_id=st.sampled_from([ADA, BEN]), read_at=times),
        st.builds(
            MessageDeliveryUpdated,
            **about,
            delivery_status=st.sampled_from(["sent", "delivered", "read", "failed"]),
            updated_at=times,
            actor_id=ada,
        ),
    )


@given(histories(_about_one_message(), count_max=30), st.integers(0, 30))
def test_a_message_that_is_written_about_again_and_again_shows_what_it_showed(history: list[Fact], cut: int) -> None:
    gone = superseded(history[:cut])
    left = [fact for fact in history if get_record(fact).fact_id not in gone]
    for viewer in (ADA, BEN):
        assert shown(left, viewer) == shown(history, viewer)


@settings(max_examples=60)
@given(histories(_about_one_message(), count_max=30), st.data())
def test_at_each_level_of_agreement_what_is_left_shows_what_all_of_that_level_show(
    history: list[Fact], data: st.DataObject
) -> None:
    ids = [get_record(fact).fact_id for fact in history]
    levels = dict(zip(ids, data.draw(st.lists(st.integers(0, 2), min_size=len(ids), max_size=len(ids))), strict=True))
    gone = superseded(history, level_of=lambda record: levels[record.fact_id])
    for level in range(3):
        sure = [fact for fact in history if levels[get_record(fact).fact_id] >= level]
        left = [fact for fact in sure if get_record(fact).fact_id not in gone]
        assert shown(left, ADA) == shown(sure, ADA)


@given(histories(chat_facts() | contact_facts(), count_max=40))
def test_a_fact_that_is_not_due_or_not_settled_replaces_nothing_and_stays(history: list[Fact]) -> None:
    assert superseded(history, due_ms=-FOREVER) == set()
    assert superseded(history, is_settled=lambda record: False) == set()


@given(histories(contact_facts(), count_max=40))
def test_one_write_of_each_slot_stays_and_nothing_unsigned_goes(history: list[Fact]) -> None:
    gone = superseded(history)
    rules = {rule.kind: rule for rule in SUPERSESSIONS}
    signed = [fact for fact in history if fact.fact_type.kind in rules]
    slots = {
        (get_record(fact).chain.namespace, slot)
        for fact in signed
        if rules[fact.fact_type.kind].actor_of(fact) == fact.meta.authority
        for slot, _ in rules[fact.fact_type.kind].writes_of(fact)
    }
    kept = {
        (get_record(fact).chain.namespace, slot)
        for fact in signed
        if get_record(fact).fact_id not in gone
        for slot, _ in rules[fact.fact_type.kind].writes_of(fact)
    }
    assert slots <= kept
    for fact in history:
        if get_record(fact).fact_id in gone:
            assert rules[fact.fact_type.kind].actor_of(fact) == fact.meta.authority


def test_kinds_that_others_are_judged_by_are_refused() -> None:
    rule = Supersession("chat.message_deleted", lambda fact: "", lambda fact: ())
    with pytest.raises(LocalViolation, match="never superseded"):
        plan_supersession([rule], [], due_ms=0, is_settled=lambda record: True)
    with pytest.raises(LocalViolation, match=r"is a Supersession; got 'chat.message_read'"):
        plan_supersession(["chat.message_read"], [], due_ms=0, is_settled=lambda record: True)  # type: ignore[list-item]

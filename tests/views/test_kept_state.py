"""States of the views that ship, kept and taken up again, against views that folded everything at once."""

from __future__ import annotations

import os
import pickle
import sys
from array import array
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import ChainId, ChannelCreated, Fact, HomeBan, MessageSentSealed, home_context
from antiphon.reactive import Batch
from antiphon.testing.strategies import (
    ADA,
    BEN,
    CONTEXT,
    EVE,
    chat_facts,
    commit_by,
    contact_facts,
    deliveries,
    histories,
    home_histories,
    invitation_facts,
    protocol_facts,
)
from antiphon.views import (
    APP_VIEWS,
    ChatSignalView,
    ContactsSignalView,
    HomesSignalView,
    InvitationsSignalView,
    KeptView,
    Recall,
    kept_state,
)
from antiphon.views.kept_state import read_state, write_state

Build = Callable[..., Any]
FINALITY = protocol_facts().filter(lambda fact: hasattr(fact, "channel_id"))


def window(facts: Sequence[Fact], now_ms: int = 0, **inputs: object) -> Batch[Fact]:
    return Batch(0, tuple(facts), now_ms, frozenset(inputs), inputs)


def recall_among(facts: Sequence[Fact]) -> Recall:
    def recall(places: Sequence[tuple[ChainId, int]]) -> list[Fact]:
        wanted = set(places)
        return [fact for fact in facts if (fact.record.chain.chain, fact.record.seq) in wanted]

    return recall


def kept_and_taken_up(view: Any, build: Build, seen: Sequence[Fact], now_ms: int) -> Any:
    again = build()
    assert again.checkpoint_key == view.checkpoint_key
    assert again.restore(view.checkpoint(), recall_among(seen), now_ms)
    again.update(window([], now_ms))
    assert again.state == view.state
    assert again.statistics() == view.statistics()
    return again


def check(build: Build, data: st.DataObject, parts: Sequence[Sequence[Fact]]) -> None:
    """At any of the cuts the view is kept and another one goes on; both end where one that saw it all does."""
    going_on, whole, seen, now_ms = build(), build(), list[Fact](), 0
    for facts in parts:
        if data.draw(st.booleans()):
            going_on = kept_and_taken_up(going_on, build, seen, now_ms)
        now_ms += data.draw(st.integers(min_value=0, max_value=6))
        seen += facts
        for view in (going_on, whole):
            view.update(window(facts, now_ms))
        assert going_on.state == whole.state
        assert going_on.statistics() == whole.statistics()


@given(st.data())
@settings(max_examples=50)
def test_contacts_fold_on_from_a_kept_state(data: st.DataObject) -> None:
    check(lambda: ContactsSignalView(ADA), data, data.draw(deliveries(data.draw(histories(contact_facts())))))


@given(st.data())
@settings(max_examples=50)
def test_invitations_fold_on_from_a_kept_state(data: st.DataObject) -> None:
    check(lambda: InvitationsSignalView(ADA), data, data.draw(deliveries(data.draw(histories(invitation_facts())))))


@given(st.data())
@settings(max_examples=50)
def test_homes_fold_on_from_a_kept_state(data: st.DataObject) -> None:
    check(lambda: HomesSignalView(BEN), data, data.draw(deliveries(data.draw(home_histories()))))


@given(st.data())
@settings(max_examples=80)
def test_a_chat_folds_on_from_a_kept_state_whole_and_packed(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.views.message_log.MESSAGE_COUNT_MAX", data.draw(st.sampled_from([1, 500])))
        patch.setattr("antiphon.views.message_log._WHOLE_SCREENS", 1)
        patch.setattr("antiphon.views.kept_state._COLUMN_BYTES_MIN", data.draw(st.sampled_from([1, 1_024])))
        parts = data.draw(deliveries(data.draw(histories(st.one_of(chat_facts(), FINALITY), count_max=40))))
        everything = [fact for facts in parts for fact in facts]

        def build() -> ChatSignalView:
            view = ChatSignalView(ADA)
            view.use_recall(recall_among(everything))
            return view

        check(build, data, parts)


@given(st.data())
@settings(max_examples=50)
def test_a_chat_in_homes_folds_on_whether_or_not_the_homes_were_kept(data: st.DataObject) -> None:
    viewer = data.draw(st.sampled_from([BEN, EVE]))
    parts = data.draw(deliveries(data.draw(home_histories(with_messages=True))))
    homes, whole, chat, seen = HomesSignalView(viewer), ChatSignalView(viewer), ChatSignalView(viewer), list[Fact]()
    for facts in parts:
        if data.draw(st.booleans()):
            again = ChatSignalView(viewer)
            assert again.restore(chat.checkpoint(), recall_among(seen), 0)
            chat = again
            if data.draw(st.booleans()):
                homes = kept_and_taken_up(homes, lambda: HomesSignalView(viewer), seen, 0)
            else:
                homes = HomesSignalView(viewer)
                homes.update(window(seen))
        seen += facts
        homes.update(window(facts))
        for view in (chat, whole):
            view.update(window(facts, **{"signals:homes": homes.state}))
        assert chat.state.to_json() == whole.state.to_json()


def test_what_an_opener_read_is_not_kept() -> None:
    sealed = MessageSentSealed(
        context_id=CONTEXT, channel_id="c", message_id="m", sender_id=ADA, sender_name="a", payload=b"\1\2", sent_at=1
    )
    created = next_channel()
    view = ChatSignalView(ADA, opener=lambda _: "the secret word")
    view.update(window([created, commit_by(ADA, sealed, seq=2)]))
    assert view.state.messages_in("c")[0].content == "the secret word"
    state = view.checkpoint()
    assert b"secret" not in state
    for opener, shown in ((None, "[sealed: 2 bytes]"), (lambda _: "another word", "another word")):
        again = ChatSignalView(ADA, opener=opener)
        assert again.restore(state, recall_among([]), 0)
        again.update(window([]))
        assert again.state.messages_in("c")[0].content == shown


def next_channel() -> Fact:
    return commit_by(
        ADA, ChannelCreated(context_id=CONTEXT, channel_id="c", name="c", creator_id=ADA, created_at=0, is_dm=False)
    )


def kept_homes() -> tuple[bytes, list[Fact]]:
    facts = [
        commit_by(ADA, HomeBan(context_id=home_context(ADA, "h"), actor_id=ADA, target_id=EVE, reason="", banned_at=1))
    ]
    view = HomesSignalView(ADA)
    view.update(window(facts, 100))
    return view.checkpoint(), facts


class Evil:
    """What would run as soon as it is read."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return print, ("it ran",)


@pytest.mark.parametrize("evil", [Evil(), os.getpid, pickle.loads, Batch])
def test_a_state_that_names_anything_else_is_refused(evil: object, capsys: pytest.CaptureFixture[str]) -> None:
    named = pickle.dumps(([], [], 0, sys.byteorder))
    for state in (named + pickle.dumps({"_folds": evil}), pickle.dumps(evil)):
        sound = crc32(state).to_bytes(4, "big") + state
        assert read_state(sound, (ChatSignalView,), recall_among([])) is None
    assert not capsys.readouterr().out


@given(st.data())
@settings(max_examples=50)
def test_a_state_that_was_cut_is_refused_and_changes_nothing(data: st.DataObject) -> None:
    state, facts = kept_homes()
    cut = data.draw(st.integers(min_value=0, max_value=len(state) - 1))
    view = HomesSignalView(ADA)
    assert not view.restore(state[:cut], recall_among(facts), 100)
    view.update(window(facts, 100))
    assert len(view.state.homes) == 1


def test_a_state_with_a_wrong_bit_is_refused() -> None:
    state, facts = kept_homes()
    for bit in range(len(state) * 8):
        damaged = bytearray(state)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not HomesSignalView(ADA).restore(bytes(damaged), recall_among(facts), 100)


def test_a_state_whose_facts_are_gone_or_whose_clock_is_ahead_is_refused() -> None:
    state, facts = kept_homes()
    assert not HomesSignalView(ADA).restore(state, recall_among([]), 100)
    assert not HomesSignalView(ADA).restore(state, recall_among(facts), 99)
    assert HomesSignalView(ADA).restore(state, recall_among(facts), 100)


def test_states_of_other_viewers_and_of_other_fields_have_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    views: list[Build] = [ChatSignalView, ContactsSignalView, HomesSignalView, InvitationsSignalView]
    keys = {build(who).checkpoint_key for build in views for who in (ADA, BEN)}
    assert len(keys) == 8
    assert ChatSignalView(ADA, is_closed_to_strangers=False).checkpoint_key not in keys
    monkeypatch.setattr("antiphon.views.contacts._Friendship.__slots__", ("accepted",))
    assert ContactsSignalView(ADA).checkpoint_key not in keys


def test_what_is_one_object_is_one_again() -> None:
    shared = ("a", b"b", 2**63)
    found = read_state(write_state({"one": [shared], "two": {"x": shared}}), (), recall_among([]))
    assert found is not None
    assert found["one"][0] is found["two"]["x"]


COLUMNS = {
    "words": array("q", [-(2**63), 0, 2**63 - 1]),
    "numbers": array("I", range(5)),
    "none": array("Q"),
}


def test_columns_come_back_with_their_types_and_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_state, "_COLUMN_BYTES_MIN", 1)
    state = {**COLUMNS, "again": COLUMNS["words"]}
    found = read_state(write_state(state), (), recall_among([]))
    assert found == state
    assert [type(each) for each in found.values()] == [type(each) for each in state.values()]
    assert found["again"] is found["words"]
    found["words"].append(7)
    assert len(COLUMNS["words"]) == 3


def test_columns_of_a_machine_that_keeps_numbers_otherwise_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_state, "_COLUMN_BYTES_MIN", 1)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "byteorder", {"little": "big", "big": "little"}[sys.byteorder])
        swapped = write_state(COLUMNS)
    assert read_state(swapped, (), recall_among([])) is None
    state = write_state(COLUMNS)
    (_, shapes, _, _), at = _named_in(state)
    assert [size for _, _, size in shapes] == [24, 20]
    short = state[at:-1]
    named = state[4:at]
    assert read_state(crc32(named + short).to_bytes(4, "big") + named + short, (), recall_among([])) is None


def _named_in(state: bytes) -> tuple[tuple[list[Any], list[Any], int, str], int]:
    """What a state says of itself before the pickle, and where that begins."""
    stream = BytesIO(state)
    stream.seek(4)
    return pickle.load(stream), stream.tell()


def test_every_view_that_ships_and_folds_facts_keeps_its_state() -> None:
    for app_view in APP_VIEWS.values():
        view = app_view.build(ADA)
        assert isinstance(view, KeptView) == bool(view.kinds)

"""Queries are filters over snapshots, and a bound one never shows another answer than asking anew would."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import Fact, LocalViolation, MessageSent
from antiphon.facts.fact import get_record
from antiphon.reactive import FactPredicate, QueryNode, ReactiveScheduler, Signal, SignalHub, SnapshotQuery
from antiphon.runtime.view_host import field_of
from antiphon.testing.clock import VirtualClock
from antiphon.testing.strategies import (
    ADA,
    BEN,
    CONTEXT,
    chat_facts,
    commit_by,
    contact_facts,
    deliveries,
    histories,
    invitation_facts,
)
from antiphon.views import (
    APP_QUERIES,
    APP_VIEWS,
    CHAT_SIGNAL,
    CONTACTS_SIGNAL,
    INVITATIONS_SIGNAL,
    ChannelsQuery,
    ChatQuery,
    ChatState,
    ContactsQuery,
    ContactsState,
    InvitationsQuery,
    InvitationsState,
    MessagesQuery,
    SearchMessagesQuery,
    UnreadQuery,
)

CHANNELS = ("general", "other", "lobby")
QUERIES: tuple[SnapshotQuery[Any], ...] = (
    ChatQuery(),
    ChannelsQuery(),
    ChannelsQuery("direct_message"),
    UnreadQuery(),
    UnreadQuery(context_id=CONTEXT),
    *(MessagesQuery(each) for each in CHANNELS),
    *(MessagesQuery(each, context_id=CONTEXT, limit=2) for each in CHANNELS),
    *(MessagesQuery(each, unread_only=True) for each in CHANNELS),
    *(UnreadQuery(each) for each in CHANNELS),
    ContactsQuery(),
    ContactsQuery(search="a"),
    ContactsQuery(guardians_only=True),
    ContactsQuery(relationship="friend"),
    InvitationsQuery(),
    InvitationsQuery(direction="sent"),
    InvitationsQuery(status="expired"),
    InvitationsQuery(invitation_type="chat", status="pending"),
)


class Bench:
    """The views that ship and every query bound to a signal of its own, on one scheduler."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.hub = SignalHub()
        self.scheduler: ReactiveScheduler[Fact] = ReactiveScheduler(
            self.hub,
            self.clock.scheduler,
            self.clock,
            kind_of=lambda fact: get_record(fact).kind,
            id_of=lambda fact: get_record(fact).fact_id,
            field_of=field_of,
        )
        for app_view in APP_VIEWS.values():
            self.scheduler.register_view(app_view.build(ADA), app_view.empty)
        self.signals: dict[SnapshotQuery[Any], Signal[Any]] = {}
        for number, query in enumerate(QUERIES):
            signal: Signal[Any] = Signal(f"query:{number}", object)
            self.scheduler.register_view(QueryNode(signal, query, self.view_ids(query)), self.ask(query))
            self.signals[query] = signal

    def view_ids(self, query: SnapshotQuery[Any]) -> dict[str, str]:
        return {signal.signal_id: self.scheduler.view_of(signal) or "" for signal in query.reads()}

    def ask(self, query: SnapshotQuery[Any]) -> object:
        return query.evaluate({signal.signal_id: self.hub.read(signal) for signal in query.reads()})

    def check(self) -> None:
        for query, signal in self.signals.items():
            assert self.hub.read(signal) == self.ask(query), query.query_id


@pytest.mark.parametrize(
    "facts", [chat_facts(), contact_facts(), invitation_facts()], ids=["chat", "contacts", "invitations"]
)
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_bound_query_always_shows_what_asking_anew_would(facts: st.SearchStrategy[Fact], data: st.DataObject) -> None:
    bench = Bench()
    for batch in data.draw(deliveries(data.draw(histories(facts)))):
        bench.scheduler.deliver(batch)
        bench.check()
    bench.clock.advance(data.draw(st.integers(0, 10**9)))
    bench.check()


def test_the_queries_of_the_app_signals_are_their_views() -> None:
    bench = Bench()
    bench.scheduler.deliver([commit_by(BEN, said("lobby"))])
    for signal_id, query in APP_QUERIES.items():
        assert bench.ask(query) == bench.hub.read(Signal(signal_id, APP_TYPES[signal_id]))


APP_TYPES: dict[str, type] = {
    "app:chat": ChatState,
    "app:contacts": ContactsState,
    "app:invitations": InvitationsState,
    "app:unread_count": int,
}


def said(channel: str, *, context: str = CONTEXT) -> MessageSent:
    return MessageSent(
        context_id=context,
        channel_id=channel,
        message_id=f"m in {channel}",
        sender_id=BEN,
        sender_name="Ben",
        text="hello",
        sent_at=5,
    )


def test_a_message_in_one_channel_asks_no_query_of_another() -> None:
    bench = Bench()
    before = {each.view_id: each.run_count for each in bench.scheduler.statistics().views}
    bench.scheduler.deliver([commit_by(BEN, said("lobby"))])
    ran = {each.view_id for each in bench.scheduler.statistics().views if each.run_count > before[each.view_id]}
    asked = {query for query, signal in bench.signals.items() if f"query:{signal.signal_id}" in ran}
    of_channels = {query for query in asked if isinstance(query, MessagesQuery) or getattr(query, "channel_id", None)}
    assert {getattr(query, "channel_id", "") for query in of_channels} == {"lobby"}
    assert not any(isinstance(query, ContactsQuery | InvitationsQuery) for query in asked)


@pytest.mark.parametrize(
    "query", [MessagesQuery("lobby"), MessagesQuery("lobby", context_id=CONTEXT), UnreadQuery("lobby")]
)
def test_every_kind_that_the_view_folds_is_a_dependency(query: SnapshotQuery[Any]) -> None:
    (signal,) = query.reads()
    kinds = APP_VIEWS[signal.signal_id].build(ADA).kinds
    assert {each.kind for each in query.dependencies()} == kinds


def test_a_query_is_a_value_and_its_id_says_its_parameters() -> None:
    assert MessagesQuery("lobby") == MessagesQuery("lobby")
    assert MessagesQuery("lobby").query_id.startswith("MessagesQuery(channel_id='lobby', ")
    with pytest.raises(LocalViolation, match="limit=0"):
        MessagesQuery("lobby", limit=0)


def test_a_bound_signal_is_affected_by_changes_that_its_query_names() -> None:
    bound = MessagesQuery("lobby").bind_to(Signal("app:lobby", tuple))
    assert bound.is_affected_by(FactPredicate.of("chat.message_sent", channel_id="lobby"))
    assert bound.is_affected_by(FactPredicate.of("chat.message_sent"))
    assert not bound.is_affected_by(FactPredicate.of("chat.message_sent", channel_id="garden"))
    assert not bound.is_affected_by(FactPredicate.of("contact.added"))


def test_what_is_searched_for_is_a_parameter_and_never_text() -> None:
    plan = SearchMessagesQuery("'; DROP TABLE facts --", "lo'bby").compile()
    assert "DROP" not in plan.text
    assert "lo'bby" not in plan.text
    assert plan.parameters == ("'; DROP TABLE facts --", "lo'bby", 100)


def test_messages_after_one_and_the_newest_few() -> None:
    bench = Bench()
    facts: list[Fact] = [
        commit_by(BEN, said("lobby").model_copy(update={"message_id": f"m{at}", "sent_at": at})) for at in range(5)
    ]
    from antiphon.facts import ChannelCreated

    opened = ChannelCreated(context_id=CONTEXT, channel_id="lobby", name="Lobby", created_at=0, creator_id=BEN)
    bench.scheduler.deliver([commit_by(BEN, opened), *facts])

    def ids(query: MessagesQuery) -> list[str]:
        answer = bench.ask(query)
        assert isinstance(answer, tuple)
        return [message.id for message in answer]

    assert ids(MessagesQuery("lobby")) == ["m0", "m1", "m2", "m3", "m4"]
    assert ids(MessagesQuery("lobby", after="m2")) == ["m3", "m4"]
    assert ids(MessagesQuery("lobby", after="gone", limit=2)) == ["m3", "m4"]
    assert ids(MessagesQuery("nowhere")) == []


def test_unfiltered_queries_give_the_snapshot_itself() -> None:
    chat, contacts, invitations = ChatState(), ContactsState(), InvitationsState()
    inputs = MappingProxyType(
        {CHAT_SIGNAL.signal_id: chat, CONTACTS_SIGNAL.signal_id: contacts, INVITATIONS_SIGNAL.signal_id: invitations}
    )
    assert ChatQuery().evaluate(inputs) is chat
    assert ContactsQuery().evaluate(inputs) is contacts
    assert InvitationsQuery().evaluate(inputs) is invitations

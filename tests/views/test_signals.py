"""The views that ship on a real scheduler: facts published, time moved, snapshots pushed."""

from __future__ import annotations

import pytest

from antiphon.facts import ChannelCreated, ContactInvitation, Fact, InvitationSent, MessageSent
from antiphon.facts.fact import get_record
from antiphon.reactive import ReactiveScheduler, SignalHub
from antiphon.testing.clock import VirtualClock
from antiphon.testing.strategies import ADA, BEN, CONTEXT, commit_by
from antiphon.views import (
    CHAT_SIGNAL,
    CONTACTS_SIGNAL,
    INVITATIONS_SIGNAL,
    UNREAD_COUNT_SIGNAL,
    ChatSignalView,
    ContactsSignalView,
    InvitationsSignalView,
    UnreadCountView,
)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def hub() -> SignalHub:
    return SignalHub()


@pytest.fixture
def scheduler(clock: VirtualClock, hub: SignalHub) -> ReactiveScheduler[Fact]:
    scheduler = ReactiveScheduler[Fact](
        hub,
        clock.scheduler,
        clock,
        kind_of=lambda fact: get_record(fact).kind,
        id_of=lambda fact: get_record(fact).fact_id,
        monotonic=clock.monotonic,
    )
    unread, chat, contacts = UnreadCountView(), ChatSignalView(ADA), ContactsSignalView(ADA)
    invitations = InvitationsSignalView(ADA)
    scheduler.register_view(unread, unread.state)  # before the view it depends on, which must not matter
    scheduler.register_view(chat, chat.state)
    scheduler.register_view(contacts, contacts.state)
    scheduler.register_view(invitations, invitations.state)
    return scheduler


def chat_facts(count: int) -> list[Fact]:
    channel = ChannelCreated(context_id=CONTEXT, channel_id="c", name="c", created_at=0, creator_id=BEN)
    said = [
        MessageSent(
            context_id=CONTEXT,
            channel_id="c",
            message_id=f"m{at}",
            sender_id=BEN,
            sender_name="Ben",
            text="hello",
            sent_at=at,
        )
        for at in range(count)
    ]
    return [commit_by(BEN, fact) for fact in (channel, *said)]


def test_one_window_pushes_one_snapshot_and_the_unread_count_with_it(
    clock: VirtualClock, hub: SignalHub, scheduler: ReactiveScheduler[Fact]
) -> None:
    chats, counts = list[int](), list[int]()
    hub.subscribe(CHAT_SIGNAL, replay_current=False).for_each(lambda update: chats.append(update.value.total_unread))
    hub.subscribe(UNREAD_COUNT_SIGNAL, replay_current=False).for_each(lambda update: counts.append(update.value))
    scheduler.try_publish(chat_facts(3))
    clock.advance(5)
    assert (chats, counts) == ([3], [3])
    assert hub.snapshot(CONTACTS_SIGNAL).version == 0


def test_an_invitation_expires_on_screen_when_its_time_comes_without_any_fact(
    clock: VirtualClock, hub: SignalHub, scheduler: ReactiveScheduler[Fact]
) -> None:
    now_ms = clock.now_ms()
    offer = InvitationSent(
        context_id=CONTEXT,
        invitation_id="i",
        sender_id=BEN,
        receiver_id=ADA,
        invitation_type=ContactInvitation(),
        sent_at=now_ms,
        expires_at=now_ms + 60_000,
    )
    statuses: list[list[str]] = []
    hub.subscribe(INVITATIONS_SIGNAL, replay_current=False).for_each(
        lambda update: statuses.append([each.status for each in (*update.value.pending, *update.value.history)])
    )
    scheduler.try_publish([commit_by(BEN, offer)])
    clock.advance(59_999)
    assert statuses == [["pending"]]
    clock.advance(1)
    assert statuses == [["pending"], ["expired"]]
    clock.advance(10_000_000)
    assert clock.armed_count == 0


def test_every_signal_has_an_id_of_its_own() -> None:
    ids = [each.signal_id for each in (CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL, UNREAD_COUNT_SIGNAL)]
    assert ids == ["app:chat", "app:contacts", "app:invitations", "app:unread_count"]

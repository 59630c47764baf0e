"""A home between real journals: rights, the gate and what both show, over real logs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon import CHAT_SIGNAL, INVITATIONS_SIGNAL, Fact, Journal
from antiphon.facts import (
    ChannelCreated,
    ChannelInvitation,
    HomeBan,
    HomeDeclared,
    HomeGrantModerator,
    HomeUnban,
    InvitationAccepted,
    InvitationSent,
    MessageSent,
    MessageSentSealed,
    home_context,
    note_to_self,
)
from antiphon.journal import Draft
from antiphon.testing.records import ChainWriter
from antiphon.views import HOMES_SIGNAL, ChatState, Home

pytestmark = pytest.mark.asyncio


async def home_of(journal: Journal, context_id: str) -> Home:
    await journal.wake(HOMES_SIGNAL)
    home = (await journal.snapshot(HOMES_SIGNAL)).home(context_id)
    assert home is not None
    return home


async def chat_of(journal: Journal) -> ChatState:
    await journal.wake(CHAT_SIGNAL)
    return await journal.snapshot(CHAT_SIGNAL)


def say(journal: Journal, context_id: str, text: str, *, at: int) -> MessageSent:
    about = {"context_id": context_id, "channel_id": "hall", "message_id": text, "sender_name": "somebody"}
    return MessageSent(**about, sender_id=journal.authority, text=text, sent_at=at)


async def let_in(owner: Journal, guest: Journal, context_id: str) -> None:
    offer = InvitationSent(
        context_id=context_id,
        invitation_id=guest.authority,
        sender_id=owner.authority,
        receiver_id=guest.authority,
        invitation_type=ChannelInvitation(home_id=context_id),
        sent_at=2,
    )
    await owner.commit(offer)
    await owner.sync_with(guest)
    accepted = {"invitation_id": guest.authority, "acceptor_id": guest.authority, "accepted_at": 3}
    await guest.commit(InvitationAccepted(context_id=context_id, **accepted))
    await guest.sync_with(owner)


async def test_a_moderator_bans_by_a_grant_they_saw_and_all_replicas_show_the_same(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "ada", author="ada") as ada,
        Journal.open(tmp_path / "ben", author="ben") as ben,
        Journal.open(tmp_path / "eve", author="eve") as eve,
    ):
        home = home_context(ada.authority, "friends")
        opened = {"channel_id": "hall", "name": "hall", "created_at": 1, "creator_id": ada.authority}
        declared = HomeDeclared(context_id=home, owner_id=ada.authority, name="Friends", declared_at=1)
        await ada.commit_all([declared, ChannelCreated(context_id=home, **opened)])
        await let_in(ada, ben, home)
        await let_in(ada, eve, home)
        named = {"context_id": home, "actor_id": ada.authority, "target_id": ben.authority}
        await ada.commit(HomeGrantModerator(**named, granted_at=4))
        await ada.sync_with(ben)
        await ada.sync_with(eve)
        await eve.commit_all([say(eve, home, "early", at=5), say(eve, home, "late", at=15)])

        basis = (await home_of(ben, home)).basis
        about = {"context_id": home, "actor_id": ben.authority, "target_id": eve.authority, "basis": basis}
        await ben.commit(HomeBan(**about, banned_at=10))
        for left, right in ((eve, ada), (ben, ada), (ada, eve), (ada, ben)):
            await left.sync_with(right)

        assert [message.id for message in (await chat_of(ada)).messages_in("hall")] == ["early"]
        assert [message.id for message in (await chat_of(eve)).messages_in("hall")] == ["early", "late"], "her own"
        homes = [await home_of(journal, home) for journal in (ada, ben, eve)]
        assert homes[0] == homes[1] == homes[2]
        assert homes[0].is_banned(eve.authority, now_ms=0)
        assert ada.fingerprint == ben.fingerprint == eve.fingerprint

        lifted = HomeUnban(**about | {"actor_id": ada.authority, "basis": ()}, unbanned_at=12)
        await ada.commit(lifted)
        assert [message.id for message in (await chat_of(ada)).messages_in("hall")] == ["early", "late"]

    async with Journal.open(tmp_path / "ada", author="ada") as again:
        assert [message.id for message in (await chat_of(again)).messages_in("hall")] == ["early", "late"]


async def test_a_note_to_self_has_one_place(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada", author="ada") as ada:
        context, channel = note_to_self(ada.authority)
        opened = {"channel_id": channel, "name": "Notes", "created_at": 1, "creator_id": ada.authority}
        note = say(ada, context, "milk", at=2).model_copy(update={"channel_id": channel})
        facts: list[Fact] = [ChannelCreated(context_id=context, **opened), note]
        await ada.commit_all(facts)
        assert [message.content for message in (await chat_of(ada)).messages_in(channel)] == ["milk"]
        assert note_to_self(ada.authority) == (context, channel)


def grown(version: int) -> type[Fact]:
    """The same kind as two releases of an application declare it."""
    if version == 1:

        class First(Fact, kind="homes_test.grown", version=1):
            text: str

        return First

    class Second(Fact, kind="homes_test.grown", version=2, min_version=1):
        text: str
        mood: str = "plain"

    return Second


async def test_a_fact_of_a_newer_version_is_kept_and_folds_once_its_type_is_upgraded(tmp_path: Path) -> None:
    from antiphon import view

    def counting(model: type[Fact]) -> Callable[..., object]:
        @view(model, initial=(), name="moods")
        def moods(seen: tuple[str, ...], fact: Fact) -> tuple[str, ...]:
            return (*seen, getattr(fact, "mood", "old"))

        return moods

    newer, older = grown(2), grown(1)
    async with (
        Journal.open(tmp_path / "new", author="ada") as new,
        Journal.open(tmp_path / "old", author="ben") as old,
    ):
        await old.commit(older(text="from before"))
        await new.commit(newer(text="later", mood="merry"))
        await new.sync_with(old)
        assert await old.snapshot(counting(older)) == ("old",), "what is newer is kept, and not folded yet"
        assert old.fingerprint == new.fingerprint
    async with Journal.open(tmp_path / "old", author="ben") as upgraded:
        assert sorted(await upgraded.snapshot(counting(newer))) == ["merry", "plain"]


async def test_a_sealed_message_opens_on_screen_when_its_key_is_learned(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada", author="ada") as ada:
        context, channel = note_to_self(ada.authority)
        opened = {"channel_id": channel, "name": "Notes", "created_at": 1, "creator_id": ada.authority}
        about = {"channel_id": channel, "message_id": "m", "sender_id": ada.authority, "sender_name": "ada"}
        sealed = MessageSentSealed(context_id=context, **about, payload=b"klim", sent_at=2)
        await ada.commit_all([ChannelCreated(context_id=context, **opened), sealed])
        assert [message.content for message in (await chat_of(ada)).messages_in(channel)] == ["[sealed: 4 bytes]"]
        async with ada.watch(CHAT_SIGNAL) as updates:
            ada.use_opener(lambda text: text.payload[::-1].decode())
            async with asyncio.timeout(10):
                async for update in updates:
                    shown = [message.content for message in update.value.messages_in(channel)]
                    if shown == ["milk"]:
                        break
        ada.use_opener(None)
        assert [message.is_sealed for message in (await chat_of(ada)).messages_in(channel)] == [True]


async def test_an_old_acceptance_that_names_no_context_answers_the_offer_of_its_home(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada", author="ada") as ada:
        home = home_context(ada.authority, "den")
        guest = ChainWriter("ben", namespace=home)
        person = guest.chain.info.authority
        offer = InvitationSent(
            context_id=home,
            invitation_id="i",
            sender_id=ada.authority,
            receiver_id=person,
            invitation_type=ChannelInvitation(home_id=home),
            sent_at=1,
        )
        await ada.commit_all([HomeDeclared(context_id=home, owner_id=ada.authority, name="den", declared_at=1), offer])
        payload = b'{"accepted_at":2,"acceptor_id":"%b","invitation_id":"i"}' % person.encode()
        result = await ada.engine.ingest([guest.say(Draft("invitation.accepted", 1, payload, 2))])
        assert not result.refused
        assert set((await home_of(ada, home)).members) == {ada.authority, person}
        await ada.wake(INVITATIONS_SIGNAL)
        (known,) = (await ada.snapshot(INVITATIONS_SIGNAL)).history
        assert known.status == "accepted"
        hidden = await ada.sql("select kind from history where hidden is not null")
        assert hidden.fetchall() == []

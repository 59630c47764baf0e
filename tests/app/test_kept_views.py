"""Opening a journal again: the views that ship go on from what they kept, and from nothing else than what counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from antiphon import Journal
from antiphon.facts import ChannelCreated, Fact, HomeDeclared, HomeMute, MessageSent, home_context
from antiphon.views import APP_VIEWS, CHAT_SIGNAL, HOMES_SIGNAL
from antiphon.views.chat import _RULES

pytestmark = pytest.mark.anyio


class Folded(list[Fact]):
    """The messages that a chat view was given."""


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> Folded:
    seen = Folded()
    kind = MessageSent.fact_type.kind
    actor_of, apply = _RULES[kind]

    def counting(fold: object, fact: Fact, record: object) -> None:
        seen.append(fact)
        apply(fold, fact, record)  # type: ignore[arg-type]

    monkeypatch.setitem(_RULES, kind, (actor_of, counting))
    return seen


def said(journal: Journal, number: int, *, context: str = "room") -> MessageSent:
    return MessageSent(
        context_id=context,
        channel_id="general",
        message_id=f"m{number}",
        sender_id=journal.authority,
        sender_name="Ada",
        text=f"word {number}",
        sent_at=number + 1,
    )


async def fill(journal: Journal, *, context: str = "room", count: int = 20) -> None:
    created = ChannelCreated(
        context_id=context,
        channel_id="general",
        name="general",
        creator_id=journal.authority,
        created_at=0,
        is_dm=False,
    )
    await journal.commit_all([created, *(said(journal, each, context=context) for each in range(count))], flush=True)


async def snapshots(journal: Journal) -> list[object]:
    return [await journal.snapshot(view.build(journal.authority).signal) for view in APP_VIEWS.values()]


async def test_a_journal_that_was_closed_folds_nothing_again(tmp_path: Path, folded: Folded) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        await fill(journal)
        before = await snapshots(journal)
    folded.clear()
    async with Journal.open(tmp_path / "j") as journal:
        assert await snapshots(journal) == before
        assert not folded
        await journal.commit(said(journal, 99), flush=True)
        assert (await journal.snapshot(CHAT_SIGNAL)).messages_in("general")[-1].content == "word 99"
    assert len(folded) == 1


async def test_a_journal_that_was_killed_folds_what_came_since_it_last_kept_its_views(
    tmp_path: Path, folded: Folded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.runtime.engine.CHECKPOINT_FACTS", 10)
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        await snapshots(journal)
        await fill(journal)
        await journal.commit_all([said(journal, each) for each in range(20, 25)], flush=True)
        await journal.engine.follower.barrier()
        before = await snapshots(journal)
        shutil.copytree(tmp_path / "j", tmp_path / "killed")  # as a power cut leaves it
    folded.clear()
    async with Journal.open(tmp_path / "killed") as journal:
        assert (await snapshots(journal))[1] == before[1]
    assert len(folded) == 5


async def test_a_state_of_another_version_is_folded_again(
    tmp_path: Path, folded: Folded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        await fill(journal)
        before = await snapshots(journal)
    folded.clear()
    from antiphon.views import chat

    monkeypatch.setattr(chat, "_SHAPE", chat._SHAPE._replace(version=chat._SHAPE.version + 1))
    async with Journal.open(tmp_path / "j") as journal:
        assert await snapshots(journal) == before
    assert len(folded) == 20


async def test_a_state_that_cannot_be_read_is_folded_again(
    tmp_path: Path, folded: Folded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antiphon.views import ChatSignalView

    async with Journal.open(tmp_path / "j", author="ada") as journal:
        await fill(journal)
        before = await snapshots(journal)
        monkeypatch.setattr(ChatSignalView, "checkpoint", lambda _: b"\x80\x05no")
    folded.clear()
    async with Journal.open(tmp_path / "j") as journal:
        assert await snapshots(journal) == before
    assert len(folded) == 20


async def test_what_was_erased_is_in_no_kept_state(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        await fill(journal, count=3)
        secret = await journal.commit(said(journal, 7), flush=True)
        assert len((await journal.snapshot(CHAT_SIGNAL)).messages_in("general")) == 4
    async with Journal.open(tmp_path / "j") as journal:
        await journal.snapshot(CHAT_SIGNAL)
        await journal.erase(secret)
    async with Journal.open(tmp_path / "j") as journal:
        assert [each.id for each in (await journal.snapshot(CHAT_SIGNAL)).messages_in("general")] == ["m0", "m1", "m2"]


async def test_homes_and_what_they_hide_come_back_together(tmp_path: Path, folded: Folded) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        home, me = home_context(journal.authority, "h"), journal.authority
        await fill(journal, context=home)
        declared = HomeDeclared(context_id=home, owner_id=me, name="Home", declared_at=1)
        mute = HomeMute(context_id=home, actor_id=me, target_id="be" * 16, muted_at=2, duration_secs=None)
        await journal.commit_all([declared, mute], flush=True)
        before = await snapshots(journal)
        assert (await journal.snapshot(HOMES_SIGNAL)).homes
    folded.clear()
    async with Journal.open(tmp_path / "j") as journal:
        assert await snapshots(journal) == before
    assert not folded

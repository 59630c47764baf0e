"""Old messages of a real journal: packed while nobody needs their words, read back from the log when somebody does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon import CHAT_SIGNAL, Journal, open_core
from antiphon.app.intent_errors import IntentError
from antiphon.app.intents import CreateChannel, DeleteMessage, EditMessage, SendMessage
from antiphon.facts import ChannelCreated, MessageDeleted, MessageEdited, MessageRead, MessageSent
from antiphon.views import ChatState

pytestmark = pytest.mark.asyncio

ABOUT = {"context_id": "home", "channel_id": "general"}


@pytest.fixture(autouse=True)
def small_screen() -> Iterator[None]:
    """Three messages fit, and from the sixth on older ones are packed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.views.message_log.MESSAGE_COUNT_MAX", 3)
        patch.setattr("antiphon.views.message_log._WHOLE_SCREENS", 1)
        yield


def said(journal: Journal, number: int) -> MessageSent:
    words = {"sender_id": journal.authority, "sender_name": "ada", "text": f"text {number}", "sent_at": number}
    return MessageSent(**ABOUT, message_id=f"m{number}", **words)


async def talk(journal: Journal, count: int) -> None:
    channel = ChannelCreated(**ABOUT, name="general", created_at=0, creator_id=journal.authority)
    await journal.commit_all([channel, *[said(journal, number) for number in range(1, count + 1)]])


def texts(state: ChatState) -> list[str]:
    return [message.content for message in state.messages_in("general")]


async def test_packed_messages_come_back_with_what_was_said_about_them_and_after_a_restart(
    tmp_path: Path,
) -> None:
    async with Journal.open(tmp_path / "ada") as journal:
        await talk(journal, 20)
        assert texts(await journal.snapshot(CHAT_SIGNAL)) == ["text 18", "text 19", "text 20"]
        me = journal.authority
        gone = [MessageDeleted(**ABOUT, message_id=f"m{each}", deleter_id=me, deleted_at=30) for each in range(6, 21)]
        edit = MessageEdited(**ABOUT, message_id="m5", editor_id=me, new_text="better", edited_at=31)
        await journal.commit_all([edit, MessageRead(**ABOUT, message_id="m5", reader_id=me, read_at=32)])
        await journal.commit_all(gone)
        state = await journal.snapshot(CHAT_SIGNAL)
        channel = state.channel("general")
        assert channel is not None
        assert (texts(state), channel.message_count) == (["text 3", "text 4", "better"], 5)
    async with Journal.open(tmp_path / "ada") as journal:
        assert await journal.snapshot(CHAT_SIGNAL) == state


async def test_messages_of_another_are_read_counted_and_taken_back_while_they_are_packed(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada") as ada, Journal.open(tmp_path / "ben") as ben:
        await talk(ada, 20)
        await ben.snapshot(CHAT_SIGNAL)
        await ben.sync_with(ada)
        reads = [
            MessageRead(**ABOUT, message_id=f"m{each}", reader_id=ben.authority, read_at=40) for each in (1, 2, 20)
        ]
        await ben.commit_all(reads)
        assert (await ben.snapshot(CHAT_SIGNAL)).total_unread == 17
        gone = MessageDeleted(**ABOUT, message_id="m3", deleter_id=ada.authority, deleted_at=50)
        await ada.commit(gone)
        await ada.sync_with(ben)
        for journal in (ada, ben):
            channel = (await journal.snapshot(CHAT_SIGNAL)).channel("general")
            assert channel is not None
            assert channel.message_count == 19
        assert (await ben.snapshot(CHAT_SIGNAL)).total_unread == 16


async def test_an_erased_message_is_gone_though_it_was_packed(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada") as journal:
        await talk(journal, 1)
        receipt = await journal.commit(said(journal, 2))
        await journal.commit_all([said(journal, number) for number in range(3, 21)])
        await journal.snapshot(CHAT_SIGNAL)
        await journal.erase(receipt)
        await journal.commit_all(
            [
                MessageDeleted(**ABOUT, message_id=f"m{each}", deleter_id=journal.authority, deleted_at=30)
                for each in range(4, 21)
            ]
        )
        assert texts(await journal.snapshot(CHAT_SIGNAL)) == ["text 1", "text 3"]


async def test_a_screen_scrolls_back_through_what_is_read_from_the_log(tmp_path: Path) -> None:
    async with open_core(tmp_path / "ada", author="ada") as core:
        await core.submit(CreateChannel(channel_id="hall", name="Hall"))
        for number in range(1, 21):
            await core.submit(SendMessage(channel_id="hall", message_id=f"m{number}", text=f"text {number}"))
        await core.submit(EditMessage(channel_id="hall", message_id="m15", text="better"))
        await core.submit(DeleteMessage(channel_id="hall", message_id="m14"))
        oldest = core.read(CHAT_SIGNAL).messages_in("hall")[0]
        assert oldest.id == "m18"
        page = core.messages_before("m18", channel_id="hall", count=4)
        assert [each.content for each in page] == ["text 13", "better", "text 16", "text 17"]
        first = core.messages_before(page[0].id, channel_id="hall")
        assert [each.id for each in first] == [f"m{number}" for number in range(1, 13)]
        assert core.messages_before("m1", channel_id="hall") == core.messages_before("no", channel_id="hall") == ()
        for wrong in (
            {"channel_id": "attic"},
            {"channel_id": "hall", "count": 0},
            {"channel_id": "hall", "count": 501},
        ):
            with pytest.raises(IntentError):
                core.messages_before("m18", **wrong)

"""Replicas that met show the same, whatever each of them saw first."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from antiphon import Fact, Journal, view
from antiphon.facts import ChannelCreated, MessageDeleted, MessageEdited, MessageSent
from antiphon.views import CHAT_SIGNAL, ChatState

CONTEXT = "test.room"


class Noted(Fact, kind="test.noted", version=1, time="at_ms"):
    at_ms: int
    text: str


@view(Noted, initial=())
def notes(state: tuple[str, ...], fact: Noted) -> tuple[str, ...]:
    return (*state, fact.text)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(6))
async def test_three_replicas_agree_after_meeting_in_any_order(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    async with AsyncExitStack() as stack:
        journals = [
            await stack.enter_async_context(Journal.open(tmp_path / name, author=name))
            for name in ("ada", "bob", "eve")
        ]
        for journal in journals:
            await journal.wake(notes)
            await journal.wake(CHAT_SIGNAL)
        for step in range(40):
            await perform(rng, journals, step)
        for first, second in ((0, 1), (1, 2), (0, 2), (0, 1)):
            assert (await journals[first].sync_with(journals[second])).is_success
        assert len({journal.fingerprint for journal in journals}) == 1
        assert len({await journal.snapshot(notes) for journal in journals}) == 1
        assert len({shown(await journal.snapshot(CHAT_SIGNAL)) for journal in journals}) == 1
        expected = {journal.authority: shown(journal.read(CHAT_SIGNAL)) for journal in journals}
        live = {journal.authority: journal.read(notes) for journal in journals}
    for name in ("ada", "bob", "eve"):
        async with Journal.open(tmp_path / name) as again:
            assert await again.snapshot(notes) == live[again.authority]
            assert shown(await again.snapshot(CHAT_SIGNAL)) == expected[again.authority]


async def perform(rng: random.Random, journals: list[Journal], step: int) -> None:
    """One random act of one random replica: a note, a message, an edit or deletion of anybody's, or a meeting of
    two."""
    journal = rng.choice(journals)
    me, now = journal.authority, 1_000_000 + step * 10 + rng.randrange(40)
    target = f"m{rng.randrange(step + 1)}"
    common = {"context_id": CONTEXT, "channel_id": "room"}
    match rng.randrange(6):
        case 0:
            await journal.commit(Noted(at_ms=now, text=f"{step}"), flush=True)
        case 1:
            await journal.commit(
                ChannelCreated(**common, name=f"room {step}", created_at=now, creator_id=me), flush=True
            )
        case 2 | 3:
            await journal.commit(
                MessageSent(
                    **common, message_id=f"m{step}", sender_id=me, sender_name="?", text=f"{step}", sent_at=now
                ),
                flush=True,
            )
        case 4:
            edit = MessageEdited(**common, message_id=target, editor_id=me, new_text=f"e{step}", edited_at=now)
            delete = MessageDeleted(**common, message_id=target, deleter_id=me, deleted_at=now)
            await journal.commit(rng.choice([edit, delete]), flush=True)
        case _:
            other = rng.choice([each for each in journals if each is not journal])
            assert (await journal.sync_with(other)).is_success


def shown(state: ChatState) -> tuple[object, ...]:
    """What every replica shows alike: not what is one's own, read or unread."""
    return tuple(
        (channel.name, tuple((message.id, message.content, message.timestamp) for message in state.messages[key]))
        for key, channel in sorted(state.channels.items())
    )

"""A user interface that does not know what is behind it: the same lines over memory and over a journal.

Run it with ``python examples/app_core.py``; it writes to a temporary folder only.
"""

import asyncio
import tempfile
from pathlib import Path

from antiphon import CHAT_SIGNAL, AppCore, demo_core, open_core
from antiphon.app.intent_errors import IntentError
from antiphon.app.intents import CreateChannel, DeleteMessage, MarkRead, SendMessage


async def use(core: AppCore) -> None:
    """What a screen does: submit what a person asks for, show what the signals say."""
    await core.submit(CreateChannel(channel_id="hall", name="Hall"))
    said = await core.submit(SendMessage(channel_id="hall", text="hello"))
    await core.submit(SendMessage(channel_id="hall", text="anybody here?", reply_to=said.subject))
    async with core.subscribe(CHAT_SIGNAL) as states:
        shown = (await anext(states)).value.messages_in("hall")
        print(" ", [f"{message.icon} {message.sender_name}: {message.content}" for message in shown])
    outcome = await core.submit(MarkRead(channel_id="hall"))
    print("  reading one's own words:", outcome.progress)
    try:
        await core.submit(DeleteMessage(channel_id="hall", message_id="somebody else's"))
    except IntentError as refused:
        print(f"  refused ({refused.kind}, {refused.move}):", refused)
    try:
        standing = await core.runtime.standing()
        print("  behind it is a journal of", standing.fact_count, "facts")
    except IntentError as refused:
        print("  behind it is memory:", refused.kind)


async def main(folder: Path) -> None:
    """Use both."""
    print("in memory")
    async with demo_core("ada") as core:
        await use(core)
    print("over a journal")
    async with open_core(folder / "journal", author="ada") as core:
        await use(core)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))

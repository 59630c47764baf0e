"""The first signal: declare a fact and a view, commit, and see the view's new value arrive.

Run it with ``python examples/first_signal.py``; it writes to a temporary folder only.
"""

import asyncio
import tempfile
from pathlib import Path

from antiphon import Fact, Journal, view


class MessageSent(Fact, kind="demo.message_sent", version=1):
    """Somebody said something in a room."""

    room: str
    text: str


@view(MessageSent, initial=())
def lobby(lines: tuple[str, ...], fact: MessageSent) -> tuple[str, ...]:
    """The newest fifty lines, folded in stamp order."""
    return (*lines, f"{fact.meta.author}: {fact.text}")[-50:]


async def main(folder: Path) -> None:
    """Commit a fact while the view is watched."""
    async with Journal.open(folder / "chat", author="ada") as journal, journal.watch(lobby) as updates:
        first = await updates.recv()  # the value there is now comes at once
        print("before:", first.value)

        receipt = await journal.commit(MessageSent(room="lobby", text="hello"))
        print("durable: fact", receipt.seq, "of its chain, with an id of", len(receipt.fact_id), "digits")

        async for update in updates:
            print("after:", update.value)
            break

    async with Journal.open(folder / "chat") as journal:  # opened again, it holds what was acknowledged
        print("reopened:", await journal.snapshot(lobby))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))

"""Two replicas: both write while apart, meet over TCP, and hold the same facts; then a link keeps them so.

Run it with ``python examples/two_replicas.py``; it writes to a temporary folder and connects to this machine only.
"""

import asyncio
import tempfile
from pathlib import Path

from antiphon import Fact, Journal, view


class Noted(Fact, kind="demo.noted", version=1):
    """A line in a shared notebook."""

    text: str


@view(Noted, initial=())
def notes(lines: tuple[str, ...], fact: Noted) -> tuple[str, ...]:
    """Who noted what, the same on every replica: a view is a function of the set of facts."""
    return tuple(sorted((*lines, f"{fact.meta.author}: {fact.text}")))


async def main(folder: Path) -> None:
    """Write apart, sync once, then stay linked."""
    async with Journal.open(folder / "ada", author="ada") as ada, Journal.open(folder / "bob", author="bob") as bob:
        await ada.commit(Noted(text="milk"))
        await bob.commit(Noted(text="bread"))
        print("apart, equal:", ada.fingerprint == bob.fingerprint)

        async with ada.serve("tcp://127.0.0.1:0") as server:
            report = await bob.sync(server.address)  # once, both ways
            print("synced:", report.is_success, "and equal:", ada.fingerprint == bob.fingerprint)
            print("at bob:", await bob.snapshot(notes))

            async with bob.link(server.address) as link, ada.watch(notes) as updates:  # from now on, both ways
                await link.wait_live()
                await bob.commit(Noted(text="eggs"))
                async for update in updates:
                    if len(update.value) == 3:
                        print("at ada:", update.value)
                        break


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))

"""A process with one journal that does what it is told: a line of JSON in, a line of JSON out, until it is killed."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

from antiphon import Fact, Journal, view


class Noted(Fact, kind="test.noted", version=1):
    who: str
    number: int


@view(Noted, initial=())
def noted(state: tuple[tuple[str, int], ...], fact: Any) -> tuple[tuple[str, int], ...]:
    return (*state, (fact.who, fact.number))


async def obey(order: dict[str, Any], journal: Journal, services: AsyncExitStack) -> dict[str, Any]:
    match order["do"]:
        case "serve":
            server = await services.enter_async_context(journal.serve(order["address"]))
            return {"address": server.address}
        case "link":
            link = await services.enter_async_context(journal.link(order["address"]))
            if order["wait"]:
                await link.wait_live()
        case "sync":
            report = await journal.sync(order["address"])
            return {"is_success": report.is_success, "sent": report.sent, "received": report.received}
        case "leave":
            await services.aclose()
        case "commit":
            start, count = order["start"], order["count"]
            await journal.commit_all([Noted(who=journal.author, number=start + n) for n in range(count)], flush=True)
        case "see":
            async with journal.watch(noted) as updates:
                async for update in updates:
                    if len(update.value) >= order["count"]:
                        return {"noted": sorted(update.value)}
    return {"fingerprint": journal.fingerprint, "facts": journal.fact_count, "problems": journal.problems}


async def main(folder: str, author: str) -> None:
    orders = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    async with Journal.open(folder, author=author) as journal, AsyncExitStack() as services:
        while line := await orders.readline():
            answer = await obey(json.loads(line), journal, services)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    pipe.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""A process that sends guarded messages until it is killed: it forks a fresh sender for each line of JSON it reads.

The sender dies before or after its n-th system call; what left and what was acknowledged stands in files that a SIGKILL
cannot take back.
"""

import asyncio
import importlib.util
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from antiphon import Fact, Journal
from antiphon.journal.guard_book import Letter
from antiphon.runtime.guards.commands import SendRequest
from antiphon.runtime.guards.guard import EffectGuard, OwnerCapabilities

_spec = importlib.util.spec_from_file_location("mortal_writer", Path(__file__).parent.parent / "mortal_writer.py")
assert _spec is not None
assert _spec.loader is not None
mortal_writer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mortal_writer)


class Told(Fact, kind="mortal.told", version=1):
    text: str


async def send(order: dict[str, Any]) -> None:
    folder = Path(order["folder"])
    left = os.open(folder / "left", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def deliver(letter: Letter) -> None:
        os.write(left, f"{letter.envelope_id} {letter.data.decode()}\n".encode())

    async with (
        Journal.open(folder / "journal", author="mortal", types=(Told,)) as journal,
        EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=deliver) as guard,
    ):
        for number in range(order["count"]):
            text = f"m{number}"
            await guard.guarded(
                SendRequest(
                    "talk:say",
                    "home",
                    "bo",
                    "ada",
                    "talk:say",
                    cost=10,
                    facts=(Told(text=text),),
                    envelope=text.encode(),
                    plan_id=text,
                )
            )
            os.write(acknowledged, f"{text}\n".encode())
        await guard.drained()


def run(order: dict[str, Any]) -> int:
    steps = mortal_writer.Steps(order.get("step"), is_after=order.get("is_after", False))
    threading.setprofile(steps)
    sys.setprofile(steps)
    asyncio.run(send(order))
    sys.setprofile(None)
    return int(steps.count)


def fork(order: dict[str, Any]) -> dict[str, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            os.write(writing, str(run(order)).encode())
        except BaseException:
            traceback.print_exc()  # or whoever reads "status 1" has nothing to go by
            os._exit(1)
        os._exit(0)
    os.close(writing)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = os.read(reading, 16)
    os.close(reading)
    return {"status": status, "steps": int(said or 0)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line))), flush=True)

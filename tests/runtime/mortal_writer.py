"""A process that commits until it is killed: started once, it forks a fresh writer for each line of JSON it reads.

Forking what has imported everything makes a death cost milliseconds. A writer notes each acknowledgement in a file,
which a SIGKILL cannot take back. It dies at the n-th system call (``step``), inside the n-th write of the log
(``write``), after a time (``after_ms``, from its start or from when the journal is open), or not at all; it answers
with its exit status and how many steps it took.
"""

import asyncio
import json
import os
import select
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from antiphon import Fact, Journal
from antiphon.journal import Disk
from antiphon.journal.stores import log
from antiphon.testing.disk import MortalDisk

STEPS = {"open", "mkdir", "write", "pwrite", "ftruncate", "fsync", "fdatasync", "rename", "close", "unlink", "replace"}


class Kept(Fact, kind="test.kept", version=1):
    key: str
    part: int
    count: int


class Steps:
    """Counts system calls on all threads and dies before one of them, or just after."""

    def __init__(self, at: int | None, *, is_after: bool) -> None:
        self.count = 0
        self._at = at
        self._event = "c_return" if is_after else "c_call"

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        if event == self._event and getattr(function, "__module__", "") == "posix" and function.__name__ in STEPS:
            self.count += 1
            if self.count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)


async def write(order: dict[str, Any], disk: Disk, started: int) -> None:
    acknowledged = os.open(order["acks"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def keep(journal: Journal, key: str, count: int) -> None:
        await journal.commit_all([Kept(key=key, part=part, count=count) for part in range(count)], flush=True)
        os.write(acknowledged, f"{key} {count}\n".encode())

    async def keep_many(journal: Journal, name: str) -> None:
        for number in range(order["commits"]):
            await keep(journal, f"{order['name']}.{name}.{number}", 1 + number % 3)

    async with Journal.open(order["journal"], author="mortal", disk=disk) as journal, asyncio.TaskGroup() as group:
        os.write(started, b"0")
        for number in range(order["writers"]):
            group.create_task(keep_many(journal, f"w{number}"))
        if order.get("seals"):
            group.create_task(seal_on_and_on(journal, order["seals"]))
    os.close(acknowledged)


async def seal_on_and_on(journal: Journal, times: int) -> None:
    for _ in range(times):
        await journal.engine.start_file()
        await journal.engine.keeper.seal()


def run(order: dict[str, Any], started: int) -> int:
    log.FILE_BYTES_MAX = order["file_bytes"]
    steps = Steps(order.get("step"), is_after=order.get("is_after", False))
    disk = MortalDisk(at=order["write"], share=order["share"]) if "write" in order else Disk()
    if order.get("counts_steps"):
        threading.setprofile(steps)
        sys.setprofile(steps)
    asyncio.run(write(order, disk, started))
    sys.setprofile(None)
    return steps.count


def fork(order: dict[str, Any]) -> dict[str, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            os.write(writing, str(run(order, writing)).encode())
        except BaseException:
            traceback.print_exc()  # or whoever reads "status 1" has nothing to go by
            os._exit(1)
        os._exit(0)
    os.close(writing)
    if order.get("waits_for_opening"):
        os.read(reading, 1)
    if "after_ms" in order and not select.select([reading], [], [], order["after_ms"] / 1000)[0]:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = os.read(reading, 16)
    os.close(reading)
    return {"status": status, "steps": int(said or 0)}


if __name__ == "__main__":
    Path(log.__file__).stat()
    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line))), flush=True)

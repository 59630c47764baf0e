"""Two processes over TCP: pushed live both ways, and caught up after ``kill -9`` by the path of a first meeting."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("talking_peer.py")
LOOPBACK = "tcp://127.0.0.1:0"
# Reached only when a test fails; a process takes a second to start on a loaded machine.
PATIENCE_S = 60.0


class Peer:
    """A journal in another process."""

    def __init__(self, folder: Path, author: str) -> None:
        self._folder = folder
        self._author = author
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            str(self._folder),
            self._author,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=16 * 1024 * 1024,  # a line may hold thousands of notes
        )

    def begin(self, **order: object) -> None:
        """Give an order without waiting for the answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def tell(self, **order: object) -> dict[str, Any]:
        """Give an order and return the answer."""
        self.begin(**order)
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        """The answer to the oldest order that has none yet."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self._process.stdout.readline()
        assert line, f"{self._author} died instead of answering"
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        assert self._process is not None
        self._process.kill()
        await self._process.communicate()

    async def end(self) -> int:
        """Close standard input and let it end in good order; its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            async with asyncio.timeout(PATIENCE_S):
                await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode


@asynccontextmanager
async def two_peers(folder: Path) -> AsyncIterator[tuple[Peer, Peer]]:
    ada, bob = Peer(folder / "ada", "ada"), Peer(folder / "bob", "bob")
    await ada.start()
    await bob.start()
    try:
        yield ada, bob
    finally:
        await bob.end()
        await ada.end()


async def check_equal(ada: Peer, bob: Peer, *, count: int) -> None:
    """Both screens show *count* notes, and the journals agree to the last fact."""
    seen = [await peer.tell(do="see", count=count) for peer in (ada, bob)]
    assert seen[0] == seen[1]
    assert len(seen[0]["noted"]) == len({tuple(note) for note in seen[0]["noted"]}) == count
    fingerprints: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(fingerprints) != 1:
            fingerprints = {(await peer.tell(do="look"))["fingerprint"] for peer in (ada, bob)}


@pytest.mark.asyncio
async def test_two_processes_meet_and_push_both_ways(tmp_path: Path) -> None:
    async with two_peers(tmp_path) as (ada, bob):
        await ada.tell(do="commit", start=0, count=1_500)
        await bob.tell(do="commit", start=0, count=300)
        address = (await ada.tell(do="serve", address=LOOPBACK))["address"]
        await bob.tell(do="link", address=address, wait=True)
        await check_equal(ada, bob, count=1_800)
        for start in (2_000, 2_001, 2_002):
            await ada.tell(do="commit", start=start, count=1)
            await bob.tell(do="commit", start=start, count=1)
        await check_equal(ada, bob, count=1_806)
        report = await bob.tell(do="sync", address=address)
        assert report == {"is_success": True, "sent": 0, "received": 0}
    assert [await ada.end(), await bob.end()] == [0, 0]


@pytest.mark.asyncio
async def test_a_killed_server_catches_up_when_it_is_back(tmp_path: Path) -> None:
    async with two_peers(tmp_path) as (ada, bob):
        await ada.tell(do="commit", start=0, count=50)
        address = (await ada.tell(do="serve", address=LOOPBACK))["address"]
        await bob.tell(do="link", address=address, wait=True)
        await check_equal(ada, bob, count=50)
        await ada.kill()
        await bob.tell(do="commit", start=0, count=70)
        await ada.start()
        await ada.tell(do="commit", start=50, count=30)
        await ada.tell(do="serve", address=address)
        await check_equal(ada, bob, count=150)
        await ada.tell(do="commit", start=80, count=1)
        await bob.tell(do="commit", start=70, count=1)
        await check_equal(ada, bob, count=152)


@pytest.mark.asyncio
async def test_a_peer_killed_while_facts_arrive_catches_up_when_it_is_back(tmp_path: Path) -> None:
    async with two_peers(tmp_path) as (ada, bob):
        address = (await ada.tell(do="serve", address=LOOPBACK))["address"]
        await bob.tell(do="link", address=address, wait=True)
        await bob.tell(do="commit", start=0, count=10)
        for death in range(3):
            ada.begin(do="commit", start=5_000 * death, count=5_000)
            await bob.tell(do="see", count=10 + 5_000 * death + 1)
            await bob.kill()
            await ada.answer()
            await bob.start()
            await bob.tell(do="link", address=address, wait=False)
        await check_equal(ada, bob, count=15_010)

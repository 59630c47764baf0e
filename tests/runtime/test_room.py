"""Replicas converge through a real NATS server: when it is killed under load, and as members come and go."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from antiphon import Fact, Journal
from antiphon.facts import LocalViolation
from antiphon.runtime.services.room import join
from antiphon.runtime.services.sync import SyncSettings
from antiphon.runtime.transports.nats_access import NatsAccess
from antiphon.runtime.transports.tls import Tls
from antiphon.runtime.transports.transport import PeerUnreachable
from antiphon.testing.certificates import make_certificate
from antiphon.testing.nats_server import NatsServer
from antiphon.testing.replica import MemoryReplica

pytestmark = pytest.mark.system
PATIENCE_S = 60.0
SETTINGS = SyncSettings(connect_timeout_s=5.0, recheck_s=0.5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    running = NatsServer(tmp_path / "nats")
    running.start()
    yield running
    running.kill()


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


class Whispered(Fact, kind="testroom.whispered", version=1):
    text: str


async def until(is_so: Callable[[], bool]) -> None:
    """A real server takes its time, and tells nobody here when it is done."""
    while not is_so():  # noqa: ASYNC110  # what is waited for happens in another process
        await asyncio.sleep(0.01)


async def until_equal(*replicas: MemoryReplica) -> None:
    await until(lambda: len({one.index.fingerprint() for one in replicas}) == 1)


@pytest.mark.asyncio
async def test_three_replicas_in_one_room_converge(server: NatsServer, stack: AsyncExitStack) -> None:
    replicas = {name: MemoryReplica(seed=number) for number, name in enumerate(("ada", "ben", "cyd"))}
    async with asyncio.timeout(PATIENCE_S):
        for name, replica in replicas.items():
            replica.commit_texts([f"{name} {number}" for number in range(50)])
            await stack.enter_async_context(join(replica, f"{server.address}/notes/{name}", settings=SETTINGS))
        await until_equal(*replicas.values())
        assert all(len(one.facts()) >= 150 for one in replicas.values())


@pytest.mark.asyncio
async def test_a_server_that_is_killed_under_load_and_restarted_loses_nothing(
    server: NatsServer, stack: AsyncExitStack
) -> None:
    replicas = {name: MemoryReplica(seed=number) for number, name in enumerate(("ada", "ben", "cyd"))}
    async with asyncio.timeout(PATIENCE_S):
        for name, replica in replicas.items():
            await stack.enter_async_context(join(replica, f"{server.address}/notes/{name}", settings=SETTINGS))
        is_killed = False
        for window in range(60):
            for name, replica in replicas.items():
                replica.commit_texts([f"{name} {window}.{number}" for number in range(20)])
            await asyncio.sleep(0.005)
            if window in (15, 35):
                server.kill()
                is_killed = True
            if window in (25, 45):
                await asyncio.to_thread(server.start)
        assert is_killed
        await until_equal(*replicas.values())
        assert all(len(one.facts()) >= 3 * 60 * 20 for one in replicas.values())


@pytest.mark.asyncio
async def test_members_come_and_go_and_come_back(server: NatsServer, stack: AsyncExitStack) -> None:
    ada, ben, cyd = (MemoryReplica(seed=number) for number in range(3))
    async with asyncio.timeout(PATIENCE_S):
        room = await stack.enter_async_context(join(ada, f"{server.address}/notes/ada", settings=SETTINGS))
        async with join(ben, f"{server.address}/notes/ben", settings=SETTINGS):
            ben.commit_texts(["from ben"])
            await until_equal(ada, ben)
            assert room.members == ("ben",)
        await until(lambda: not room.members)
        ben.commit_texts(["written while away"])
        async with join(cyd, f"{server.address}/notes/cyd", settings=SETTINGS):
            cyd.commit_texts(["from cyd"])
            await until_equal(ada, cyd)
        async with join(ben, f"{server.address}/notes/ben", settings=SETTINGS):
            await until_equal(ada, ben)
        assert len({fact.line for fact in ada.facts()}) == len(ada.facts())


@pytest.mark.asyncio
async def test_what_a_broker_took_is_not_replicated_until_a_peer_agrees(server: NatsServer) -> None:
    """Nobody else is in the room: the server takes every byte, and no agreement is noted."""
    ada = MemoryReplica(seed=1)
    agreed: list[str] = []
    ada.note_agreed = lambda journal_id, fact_count: agreed.append(journal_id)  # type: ignore[method-assign]
    async with asyncio.timeout(PATIENCE_S), join(ada, f"{server.address}/notes/ada", settings=SETTINGS) as room:
        ada.commit_texts(["alone"])
        assert agreed == []
        assert room.members == ()
        ben = MemoryReplica(seed=2)
        async with join(ben, f"{server.address}/notes/ben", settings=SETTINGS):
            await until_equal(ada, ben)
            await until(lambda: bool(agreed))
    assert agreed[0] == ben.journal_id


@pytest.mark.asyncio
async def test_real_journals_meet_in_a_room(server: NatsServer, tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "ada", author="ada") as ada,
        Journal.open(tmp_path / "ben", author="ben") as ben,
        ada.join(f"{server.address}/notes/ada"),
        ben.join(f"{server.address}/notes/ben"),
    ):
        for journal in (ada, ben):
            await journal.commit(Whispered(text=f"from {journal.author}"))
        await until(lambda: ada.fact_count == ben.fact_count >= 2 and ada.fingerprint == ben.fingerprint)


@pytest.mark.asyncio
async def test_journals_meet_in_a_room_of_a_server_that_asks_who_they_are(tmp_path: Path) -> None:
    """Roster, door and links alike: the room is entered in secret, with a user and a password."""
    signed = make_certificate(tmp_path, "server")
    options = ["--user", "us", "--pass", "s3cret", "--tls", "--tlscert", str(signed.certificate)]
    tls, access = Tls(trusted=signed.certificate), NatsAccess(user="us", password="s3cret")
    with NatsServer(tmp_path / "nats", options=[*options, "--tlskey", str(signed.key)]) as server:
        async with (
            asyncio.timeout(PATIENCE_S),
            Journal.open(tmp_path / "ada", author="ada") as ada,
            Journal.open(tmp_path / "ben", author="ben") as ben,
            ada.join(f"{server.address}/notes/ada", tls=tls, nats=access),
            ben.join(f"{server.address}/notes/ben", tls=tls, nats=access),
        ):
            for journal in (ada, ben):
                await journal.commit(Whispered(text=f"from {journal.author}"))
            await until(lambda: ada.fact_count == ben.fact_count >= 2 and ada.fingerprint == ben.fingerprint)


async def start_member(server: NatsServer, folder: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "antiphon.app.cli", "serve", "--journal", str(folder)),
        *("--address", f"{server.address}/notes/{folder.name}"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip().decode() == f"{server.address}/notes/{folder.name}"
    return process


@pytest.mark.asyncio
async def test_three_processes_converge_though_server_and_members_are_killed(
    server: NatsServer, tmp_path: Path
) -> None:
    """`kill -9` for a member and for the server; both come back, and every journal holds what any held."""
    folders = [tmp_path / name for name in ("ada", "ben", "cyd")]
    for folder in folders:
        async with Journal.open(folder, author=folder.name) as journal:
            await journal.commit_all([Whispered(text=f"{folder.name} {number}") for number in range(100)])
    async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as watchers:
        # Nearly all of this test's time is Python starting: at once, then.
        members = list(await asyncio.gather(*(start_member(server, folder) for folder in folders)))
        members[1].kill()
        await members[1].wait()
        server.kill()
        await asyncio.to_thread(server.start)
        members[1] = await start_member(server, folders[1])
        # A watcher each, which writes nothing and meets nobody else: it shows what its member holds.
        eves = [
            await watchers.enter_async_context(Journal.open(tmp_path / f"eve-{folder.name}", author="eve"))
            for folder in folders
        ]
        prints: set[str] = set()
        while len(prints) != 1 or eves[0].fact_count < 300:
            for folder, eve in zip(folders, eves, strict=True):
                with suppress(PeerUnreachable):  # it is on its way back
                    await eve.sync(f"{server.address}/notes/{folder.name}")
            prints = {eve.fingerprint for eve in eves}
        for member in members:
            member.terminate()
        assert [await member.wait() for member in members] == [0, 0, 0]
    for folder in folders:
        async with Journal.open(folder) as journal:
            assert {journal.fingerprint} == prints


@pytest.mark.asyncio
async def test_a_room_needs_a_server_and_a_name(server: NatsServer) -> None:
    replica = MemoryReplica(seed=1)
    with pytest.raises(LocalViolation, match="names no member"):
        join(replica, f"{server.address}/notes")
    server.kill()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(PeerUnreachable, match="no NATS server"):
            async with join(replica, f"{server.address}/notes/ada"):
                raise AssertionError("it was entered")

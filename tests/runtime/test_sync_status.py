"""The status signal follows every session of a journal, whoever began it."""

import asyncio
from pathlib import Path

import pytest

from antiphon import Fact, Journal, PeerUnreachable
from antiphon.facts import DEFAULT_NAMESPACE, Namespace
from antiphon.reactive import SYNC_STATUS_SIGNAL, SignalHub, SyncStatus
from antiphon.runtime.services.gates import Admission, NamespaceGate, PeerClaim
from antiphon.runtime.services.session_driver import SyncSettings
from antiphon.runtime.services.sync import sync_address
from antiphon.runtime.sync_status import SyncMonitor
from antiphon.runtime.transports.tcp import listen
from antiphon.testing.replica import MemoryReplica

PATIENCE_S = 30.0


class Told(Fact, kind="test_sync_status.told", version=1):
    text: str


@pytest.mark.asyncio
async def test_the_signal_goes_from_idle_over_syncing_to_synced(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada") as ada, Journal.open(tmp_path / "ben") as ben:
        await ben.commit(Told(text="hello"))
        seen: list[SyncStatus] = []
        async with asyncio.timeout(PATIENCE_S), ada.watch(SYNC_STATUS_SIGNAL) as updates:
            await ada.sync_with(ben)
            async for update in updates:
                seen.append(update.value)
                if update.value.state in ("synced", "failed"):
                    break
        assert [status.state for status in seen][0 :: len(seen) - 1] == ["idle", "synced"]
        assert "syncing" in {status.state for status in seen}
        assert (seen[-1].received, seen[-1].sent) == (2, 0)
        assert ben.read(SYNC_STATUS_SIGNAL).state == "synced"


@pytest.mark.asyncio
async def test_the_signal_tells_a_failure_and_why(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada") as ada, Journal.open(tmp_path / "ben") as ben:
        async with asyncio.timeout(PATIENCE_S), ben.serve(gate=NamespaceGate({})) as server:
            report = await ada.sync(server.address)
        assert not report.is_success
        status = ada.read(SYNC_STATUS_SIGNAL)
        assert status.state == "failed"
        assert "unauthorized" in status.reason
        assert "ask for a token" in status.reason


@pytest.mark.asyncio
async def test_a_peer_that_cannot_be_reached_is_a_failure_and_the_next_session_ends_it(tmp_path: Path) -> None:
    listener = await listen("tcp://127.0.0.1:0")
    await listener.close()
    async with Journal.open(tmp_path / "ada") as ada, Journal.open(tmp_path / "ben") as ben:
        await ada.sync_with(ben)
        with pytest.raises(PeerUnreachable) as raised:
            await ada.sync(listener.address)
        status = ada.read(SYNC_STATUS_SIGNAL)
        assert (status.state, status.peer, status.reason) == ("failed", listener.address, str(raised.value))
        await ada.sync_with(ben)
        assert ada.read(SYNC_STATUS_SIGNAL).state == "synced"


@pytest.mark.asyncio
async def test_a_link_that_finds_nobody_says_so_while_it_tries_again(tmp_path: Path) -> None:
    listener = await listen("tcp://127.0.0.1:0")
    await listener.close()
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "ada") as ada,
        ada.watch(SYNC_STATUS_SIGNAL) as told,
    ):
        assert (await told.recv()).value.state == "idle"
        async with ada.link(listener.address):
            status = (await told.recv()).value
        assert (status.state, status.peer) == ("failed", listener.address)


@pytest.mark.asyncio
async def test_a_live_link_that_agrees_counts_as_synced(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "ada") as ada,
        Journal.open(tmp_path / "ben") as ben,
        ben.serve() as server,
        ada.link(server.address) as link,
    ):
        await link.wait_live()
        assert ada.read(SYNC_STATUS_SIGNAL).state == "synced"


def test_a_session_that_outlives_its_journal_tells_nobody() -> None:
    # Found by the simulator: the journal was closed while a session said goodbye, and its caller got the error.
    hub = SignalHub()
    monitor = SyncMonitor(hub)
    monitor.follow(1, "ben", received=1, sent=0, is_agreed=False)
    hub.close()
    monitor.end(1, "ben", received=1, sent=0, reason="", is_success=True)
    assert hub.read(SYNC_STATUS_SIGNAL).state == "syncing"


def test_a_session_that_ends_does_not_hide_one_under_way() -> None:
    hub = SignalHub()
    monitor = SyncMonitor(hub)
    monitor.follow(1, "ben", received=3, sent=1, is_agreed=False)
    monitor.follow(2, "eve", received=4, sent=0, is_agreed=False)
    assert hub.read(SYNC_STATUS_SIGNAL) == SyncStatus("syncing", "eve", 7, 1)
    monitor.end(2, "eve", received=4, sent=0, reason="lost", is_success=False)
    assert hub.read(SYNC_STATUS_SIGNAL) == SyncStatus("syncing", "eve", 3, 1)
    monitor.follow(1, "ben", received=3, sent=1, is_agreed=True)
    assert hub.read(SYNC_STATUS_SIGNAL).state == "synced"
    monitor.end(1, "ben", received=3, sent=1, reason="", is_success=True)
    assert hub.read(SYNC_STATUS_SIGNAL) == SyncStatus("synced", "ben", 3, 1)


@pytest.mark.asyncio
async def test_a_server_behind_a_gate_shows_what_the_gate_shows(tmp_path: Path) -> None:
    class OnlyDefault:
        async def admit(self, peer: PeerClaim) -> Admission:
            return Admission(True, namespaces=frozenset({DEFAULT_NAMESPACE}))

    async with Journal.open(tmp_path / "ada") as ada, Journal.open(tmp_path / "ben", namespace="secret.plans") as ben:
        await ben.commit(Told(text="hidden"))
        async with asyncio.timeout(PATIENCE_S), ben.serve(gate=OnlyDefault()) as server:
            report = await ada.sync(server.address)
            assert report.is_success
            assert ada.fact_count == 0
        assert ada.fingerprint_of(Namespace("secret.plans")) == "00" * 32


@pytest.mark.asyncio
async def test_reaching_a_peer_once_is_tried_as_often_as_the_settings_say() -> None:
    listener = await listen("tcp://127.0.0.1:0")
    await listener.close()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 2))

    settings = SyncSettings(sleep=sleep, random_bytes=lambda count: b"\x80" * count)
    with pytest.raises(PeerUnreachable):
        await sync_address(MemoryReplica(seed=1), listener.address, settings=settings)
    assert pauses == [0.1, 0.2]

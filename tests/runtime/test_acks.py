"""Acknowledgements: sent after the commit and never before it, kept as local lines, let go by policy, never facts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from antiphon import CHAT_SIGNAL, Fact, Journal
from antiphon.facts import ChannelCreated, ConvergenceCertified, FactId, MessageRead, OperationFinalized
from antiphon.facts.chat import MessageSent
from antiphon.journal import (
    Acknowledgment,
    ChatDeliveryPolicy,
    Consistency,
    ConsistencyMap,
    Disk,
    DropWhenFinalized,
    DropWhenFullyAcked,
    PropagationLevel,
    StoreUnavailable,
    delivery_icon,
    read_log,
)
from antiphon.journal.stores.log import LogCursor, LogFrame
from antiphon.journal.sync.messages import Acks
from antiphon.runtime.services.acks import AckEvent, AckReceived, FullyAcked, RoutingFailed, route_acks
from antiphon.runtime.services.sync import sync_once
from antiphon.runtime.transports.memory import MemoryConnection, memory_pair
from antiphon.runtime.transports.transport import ByteCounts, PeerLost

DAY_MS = 24 * 60 * 60 * 1000


class Calendar:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms


def said(journal: Journal, text: str, *, at: int) -> MessageSent:
    return MessageSent(
        context_id="home",
        channel_id="tea",
        message_id=text,
        sender_id=journal.authority,
        sender_name="ada",
        text=text,
        sent_at=at,
    )


@asynccontextmanager
async def pair(
    folder: Path, *, clock: Calendar, disk: Disk | None = None, is_acked: bool = True
) -> AsyncIterator[tuple[Journal, Journal]]:
    """Ada, and Ben whose disk may fail; both have the chat policy."""
    async with (
        Journal.open(folder / "ada", author="ada", clock=clock) as ada,
        Journal.open(folder / "ben", author="ben", clock=clock, disk=disk) as ben,
    ):
        if is_acked:
            for journal in (ada, ben):
                journal.register_delivery_policy("chat", ChatDeliveryPolicy(peers=frozenset({ben.authority})))
        yield ada, ben


async def commit(journal: Journal, *texts: str, clock: Calendar) -> list[FactId]:
    receipt = await journal.commit_all([said(journal, text, at=clock.ms) for text in texts])
    return [FactId(bytes.fromhex(fact_id)) for fact_id in receipt.fact_ids]


async def acked_by(journal: Journal, fact_ids: Sequence[FactId]) -> list[set[str]]:
    account = await journal.acks.of(fact_ids)
    return [set(account[fact_id].acks) for fact_id in fact_ids]


@pytest.mark.asyncio
async def test_a_message_is_acknowledged_by_whoever_made_it_durable(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock) as (ada, ben):
        ids = await commit(ada, "one", "two", clock=clock)
        clock.ms += 500
        count, fingerprint = ada.fact_count, ada.fingerprint
        assert (await ada.sync_with(ben)).is_success
        assert await acked_by(ada, ids) == [{ben.authority}, {ben.authority}]
        assert (await ada.acks.of(ids))[ids[0]].acks[ben.authority] == clock.ms
        assert await acked_by(ben, ids) == [set(), set()]
        # No fact came of it: what replicates is what it was.
        assert (ada.fact_count, ada.fingerprint) == (count, fingerprint)


@pytest.mark.asyncio
async def test_without_a_policy_nothing_is_acknowledged(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock, is_acked=False) as (ada, ben):
        ids = await commit(ada, "one", clock=clock)
        assert (await ada.sync_with(ben)).is_success
        assert await acked_by(ada, ids) == [set()]


class RefusingDisk(Disk):
    """A disk that is full from a moment on."""

    is_full = False

    def write(self, descriptor: int, data: bytes) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().write(descriptor, data)


@pytest.mark.asyncio
async def test_a_receiver_that_fails_before_its_commit_sends_no_acknowledgement(tmp_path: Path) -> None:
    clock, disk = Calendar(), RefusingDisk()
    async with pair(tmp_path, clock=clock, disk=disk) as (ada, ben):
        await commit(ben, "first", clock=clock)
        ids = await commit(ada, "one", clock=clock)
        disk.is_full = True
        with pytest.raises(StoreUnavailable):
            await ada.sync_with(ben)
        assert await acked_by(ada, ids) == [set()]
        disk.is_full = False
        assert (await ada.sync_with(ben)).is_success
        assert await acked_by(ada, ids) == [{ben.authority}]


@pytest.mark.asyncio
async def test_the_account_survives_a_restart_and_the_loss_of_the_database(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock) as (ada, ben):
        ids = await commit(ada, "one", "two", clock=clock)
        assert (await ada.sync_with(ben)).is_success
        name = ben.authority
    (tmp_path / "ada" / "journal.duckdb").unlink()
    async with Journal.open(tmp_path / "ada", clock=clock) as ada:
        assert await acked_by(ada, ids) == [{name}, {name}]


@pytest.mark.asyncio
async def test_acknowledgements_are_local_lines_and_stay_here(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock) as (ada, ben):
        await commit(ada, "one", clock=clock)
        assert (await ada.sync_with(ben)).is_success
        name = ben.authority
    notes = {
        owner: [
            note
            for frame in read_log(tmp_path / owner, LogCursor.at_start())
            if isinstance(frame, LogFrame)
            for note in frame.notes
        ]
        for owner in ("ada", "ben")
    }
    assert [(note.kind, note.value["peer"]) for note in notes["ada"]] == [("acks", name)]
    assert notes["ben"] == []


@pytest.mark.asyncio
async def test_a_pass_lets_go_of_what_is_old_enough_and_touches_no_fact(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock) as (ada, ben):
        old = await commit(ada, "old", clock=clock)
        clock.ms += 29 * DAY_MS
        young = await commit(ada, "young", clock=clock)
        assert (await ada.sync_with(ben)).is_success
        nothing = await ada.acks.collect()
        assert (nothing.dropped_facts, nothing.kept_facts) == (0, 2)
        clock.ms += 2 * DAY_MS
        count, fingerprint = ada.fact_count, ada.fingerprint
        report = await ada.acks.collect()
        assert (report.dropped_facts, report.dropped_acks, report.kept_facts) == (1, 1, 1)
        assert report.by_domain == {"chat": 1}
        assert (ada.fact_count, ada.fingerprint) == (count, fingerprint)
        assert await acked_by(ada, [*old, *young]) == [set(), {ben.authority}]
        again = await ada.acks.collect()
        assert (again.dropped_facts, again.kept_facts) == (0, 1)


@pytest.mark.asyncio
async def test_a_late_acknowledgement_does_not_bring_back_what_was_let_go(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock) as (ada, ben), Journal.open(tmp_path / "eve", clock=clock) as eve:
        eve.register_delivery_policy("chat", ChatDeliveryPolicy())
        ids = await commit(ada, "one", clock=clock)
        assert (await ada.sync_with(ben)).is_success
        clock.ms += 91 * DAY_MS
        assert (await ada.acks.collect()).dropped_facts == 1
        assert (await ada.sync_with(eve)).is_success
        assert await acked_by(ada, ids) == [set()]


@pytest.mark.asyncio
async def test_a_pass_minds_agreement_that_it_is_told_of(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock) as (ada, ben):
        ids = await commit(ada, "one", clock=clock)
        assert (await ada.sync_with(ben)).is_success
        clock.ms += 31 * DAY_MS
        unmet = await ada.acks.collect(expected=lambda kind: frozenset({ben.authority, "eve"}))
        assert unmet.dropped_facts == 0
        known = ConsistencyMap({ids[0].hex(): Consistency(acknowledgment=Acknowledgment({"eve": clock.ms}))})
        met = await ada.acks.collect(consistency=known, expected=lambda kind: frozenset({ben.authority, "eve"}))
        assert (met.dropped_facts, met.dropped_acks) == (1, 2)


@pytest.mark.asyncio
async def test_the_icon_turns_when_all_who_are_expected_have_it(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock) as (ada, ben):
        ids = await commit(ada, "one", clock=clock)
        local = (await ada.acks.consistency(ids))[ids[0].hex()]
        assert str(delivery_icon(local, {ben.authority})) == "◐"
        assert (await ada.sync_with(ben)).is_success
        there = (await ada.acks.consistency(ids, peers={ben.authority}))[ids[0].hex()]
        assert str(delivery_icon(there, {ben.authority})) == "✓✓"
        assert str(delivery_icon(there, {ben.authority, "eve"})) == "✓"
        further = (await ada.acks.consistency(ids, peers={ben.authority, "eve"}))[ids[0].hex()]
        assert str(delivery_icon(further, {ben.authority})) == "◐"


@pytest.mark.asyncio
async def test_listeners_hear_of_acknowledgements(tmp_path: Path) -> None:
    clock, heard = Calendar(), list[AckEvent]()
    async with pair(tmp_path, clock=clock) as (ada, ben):
        forget = ada.acks.add_listener(heard.append)
        ids = await commit(ada, "one", clock=clock)
        assert (await ada.sync_with(ben)).is_success
        assert heard == [AckReceived(ben.authority, clock.ms, tuple(ids))]
        forget()


class CutAtAcks:
    """A connection that breaks just when acknowledgements would leave."""

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection
        self.peer = connection.peer

    @property
    def counts(self) -> ByteCounts:
        return self.connection.counts

    async def send(self, *frames: bytes) -> None:
        if any(frame[1] == Acks.kind for frame in frames):
            self.connection.drop()
            raise PeerLost("the line was cut")
        await self.connection.send(*frames)

    async def receive(self) -> bytes:
        return await self.connection.receive()

    async def close(self) -> None:
        await self.connection.close()

    def drop(self) -> None:
        self.connection.drop()


@pytest.mark.asyncio
async def test_an_acknowledgement_that_was_lost_is_made_good_by_the_next_agreement(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock) as (ada, ben):
        await commit(ben, "so that ada knows whose journal it is", clock=clock)
        ids = await commit(ada, "one", "two", clock=clock)
        here, there = memory_pair()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(sync_once(ada.engine, here))
            group.create_task(sync_once(ben.engine, CutAtAcks(there)))
        assert ben.fact_count >= 2
        assert await acked_by(ada, ids) == [set(), set()]
        assert (await ada.sync_with(ben)).is_success
        assert await acked_by(ada, ids) == [{ben.authority}, {ben.authority}]
        # What came after the agreement is not taken for granted.
        later = await commit(ada, "three", clock=clock)
        assert await acked_by(ada, later) == [set()]


@pytest.mark.asyncio
async def test_who_never_wrote_anything_acknowledges_what_came_by_others(tmp_path: Path) -> None:
    clock = Calendar()
    async with (
        pair(tmp_path, clock=clock) as (ada, ben),
        Journal.open(tmp_path / "eve", author="eve", clock=clock) as eve,
        Journal.open(tmp_path / "zoe", author="zoe", clock=clock) as zoe,
    ):
        eve.register_delivery_policy("chat", ChatDeliveryPolicy())
        ids = await commit(ada, "one", clock=clock)
        for lurker in (eve, zoe):
            assert (await ada.sync_with(ben)).is_success
            assert (await ben.sync_with(lurker)).is_success
        assert await acked_by(ada, ids) == [{ben.authority}]
        assert (await ada.sync_with(eve)).is_success
        assert (await ada.sync_with(zoe)).is_success
        # Who keeps no account of acknowledgements says nothing.
        assert await acked_by(ada, ids) == [{ben.authority, eve.authority}]
        known = await ada.acks.consistency(ids, peers={ben.authority, eve.authority})
        assert known[ids[0].hex()].propagation.level is PropagationLevel.COMPLETE


class AcksTold(Fact, kind="test_acks.told", version=1):
    text: str


@pytest.mark.asyncio
async def test_a_receiver_that_does_not_know_the_type_acknowledges_by_kind(tmp_path: Path) -> None:
    clock = Calendar()
    policy = DropWhenFullyAcked(ack_kinds=frozenset({"test_acks.told"}))
    async with pair(tmp_path, clock=clock) as (ada, ben):
        for journal in (ada, ben):
            journal.register_delivery_policy("test_acks", policy)
        receipt = await ada.commit(AcksTold(text="what is this?"))
        assert (await ada.sync_with(ben)).is_success
        assert await acked_by(ada, [FactId(bytes.fromhex(receipt.fact_id))]) == [{ben.authority}]


FIRST, SECOND, GHOST = (FactId(bytes([number]) * 32) for number in (1, 2, 3))


def test_the_router_tells_received_full_and_failed() -> None:
    expected = {FIRST: {"ben", "eve"}, SECOND: set[str]()}
    ben = AckReceived("ben", 5, (FIRST, SECOND, GHOST))
    events, known = route_acks({}, ben, expected.get)
    assert events[0] == ben
    assert events[1] == FullyAcked(SECOND, frozenset({"ben"}))
    assert isinstance(events[2], RoutingFailed)
    assert "030303" in events[2].reason
    eve = AckReceived("eve", 6, (FIRST,))
    events, known = route_acks(known, eve, expected.get)
    assert events == [eve, FullyAcked(FIRST, frozenset({"ben", "eve"}))]
    again, after = route_acks(known, eve, expected.get)
    assert (again, after) == ([eve], known)


def test_a_batch_that_is_repeated_fills_nothing_twice() -> None:
    acks = AckReceived("ben", 5, (FIRST, FIRST))
    events, known = route_acks({}, acks, lambda fact_id: {"ben"})
    assert events == [acks, FullyAcked(FIRST, frozenset({"ben"}))]
    assert known[FIRST].acks == {"ben": 5}


@pytest.mark.asyncio
async def test_a_pass_lets_go_of_messages_that_are_final_by_what_the_journal_says_itself(tmp_path: Path) -> None:
    clock = Calendar()
    async with pair(tmp_path, clock=clock, is_acked=False) as (ada, ben):
        for journal in (ada, ben):
            journal.register_delivery_policy("chat", DropWhenFinalized(ack_kinds=frozenset({"chat.message_sent"})))
        (final,) = await commit(ada, "final", clock=clock)
        (safe,) = await commit(ada, "safe", clock=clock)
        channel = {"context_id": "home", "channel_id": "tea"}
        about = channel | {"actor_id": ada.authority}
        founded = ChannelCreated(**channel, name="tea", created_at=0, creator_id=ada.authority)
        agreed = OperationFinalized(**about, op_id=final.hex(), consensus_id="round-1", finalized_at=clock.ms)
        certified = ConvergenceCertified(
            **about, op_id=safe.hex(), prestate_hash="00", coordinator_epoch=0, certified_at=clock.ms
        )
        await ada.commit_all([founded, certified])
        assert (await ada.sync_with(ben)).is_success
        stranger = {"op_id": safe.hex(), "consensus_id": "mine", "finalized_at": clock.ms}
        await ben.commit(OperationFinalized(**channel, **stranger, actor_id=ben.authority))
        assert (await ada.sync_with(ben)).is_success
        assert (await ada.acks.collect()).dropped_facts == 0
        await ada.commit(agreed)
        report = await ada.acks.collect()
        assert (report.dropped_facts, report.kept_facts) == (1, 1)
        assert await acked_by(ada, [final, safe]) == [set(), {ben.authority}]


@pytest.mark.asyncio
async def test_a_messages_mark_follows_its_way_from_sending_to_read_and_final(tmp_path: Path) -> None:
    async with pair(tmp_path, clock=Calendar()) as (ada, ben):
        channel = {"context_id": "home", "channel_id": "tea"}
        await ada.commit(ChannelCreated(**channel, name="tea", created_at=0, creator_id=ada.authority))
        (fact_id,) = await commit(ada, "one", clock=Calendar())

        async def mark(**options: frozenset[str]) -> str:
            chat = await ada.snapshot(CHAT_SIGNAL)
            (shown,) = (await ada.delivery_marks(chat.messages_in("tea"), **options)).values()
            return str(shown) + ("!" if shown.is_read else "")

        assert (await mark(), await mark(expected=frozenset())) == ("◐", "✓")
        assert (await ada.sync_with(ben)).is_success
        assert (await mark(), await mark(expected=frozenset({ben.authority, "eve"}))) == ("✓✓", "◐")
        await ben.commit(MessageRead(**channel, message_id="one", reader_id=ben.authority, read_at=1))
        assert (await ada.sync_with(ben)).is_success
        assert await mark() == "✓✓!"
        agreed = {"op_id": fact_id.hex(), "consensus_id": "round-1", "finalized_at": 2, "actor_id": ada.authority}
        await ada.commit(OperationFinalized(**channel, **agreed))
        assert await mark() == "✓✓ ◆!"

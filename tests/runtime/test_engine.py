"""The engine against disks that fail and peers that lie: nothing is acknowledged too early, nothing of it is lost."""

import asyncio
import errno
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import Fact, Journal, view
from antiphon.app.offline import open_offline, verify_log
from antiphon.facts import FactRecord, FactRegistry
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal import Draft, StoreUnavailable, parse_run
from antiphon.journal.stores import log
from antiphon.reactive import Batch
from antiphon.testing.clock import VirtualClock
from antiphon.testing.disk import DiskOperation, FaultyDisk
from antiphon.testing.records import ChainWriter, make_draft
from antiphon.views import FoldView, ViewSpec
from antiphon.views.fold import stamp_of

pytestmark = pytest.mark.asyncio


class Said(Fact, kind="test.said", version=1):
    text: str


class Dated(Fact, kind="test.dated", version=1, time="at_ms"):
    at_ms: int
    text: str


@view(Said, initial=())
def texts(state: tuple[str, ...], fact: Said) -> tuple[str, ...]:
    return (*state, fact.text)


@view(Dated, initial="")
def diary(state: str, fact: Dated) -> str:
    if fact.text == "!":
        raise ValueError("not a word")
    return f"({state}{fact.text})"  # remembers the whole order


REBUILT = "journal.duckdb was not there, so it was built anew from the log"


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[tuple[Journal, FaultyDisk]]:
    """A journal with one fact on a disk that has not failed yet."""
    disk = FaultyDisk()
    async with Journal.open(folder, disk=disk, **options) as journal:
        await journal.commit(Said(text="first"))
        yield journal, disk


async def reread(folder: Path) -> tuple[str, ...]:
    """What a view shows after reopening; the log must be whole."""
    expected = () if (folder / "journal.duckdb").exists() else (REBUILT,)
    async with Journal.open(folder) as journal:
        assert journal.problems == expected
        check_own_chains(journal)
        return await journal.snapshot(texts)


async def turns(count: int) -> None:
    """Let others run."""
    for _ in range(count):
        await asyncio.sleep(0)


def check_own_chains(journal: Journal) -> None:
    for state in journal.engine.index.chains():
        assert state.head.seq == 0 or state.runs[0].first_seq == 1
        assert all(later.first_seq == earlier.last_seq + 1 for earlier, later in pairwise(state.runs))


# Order: written, synced, acknowledged, published


async def test_a_commit_is_one_write_and_one_sync_before_anybody_hears_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        await journal.wake(texts)
        before = len(disk.calls)
        heard: list[int] = []
        journal.engine.add_run_listener(lambda rows: heard.append(len(disk.calls)))
        disk.hold()
        committing = asyncio.ensure_future(journal.commit_all([Said(text="a"), Said(text="b")], flush=True))
        await asyncio.to_thread(disk.wait_arrived)
        assert not committing.done()
        assert journal.read(texts) == ("first",)
        assert journal.fact_count == 2
        assert heard == []
        fingerprint = journal.fingerprint
        disk.let_go()
        await committing
        assert [call.operation for call in disk.calls[before:]] == ["write", "sync"]
        assert journal.read(texts) == ("first", "a", "b")
        assert journal.fingerprint != fingerprint
        assert heard == [before + 2]


async def test_a_new_file_is_synced_with_its_folder_before_its_first_frame(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (_, disk):
        operations = [call.operation for call in disk.calls]
        assert operations == ["open", "write", "sync", "sync_folder", "write", "sync"]


async def test_windows_that_close_while_the_disk_works_go_down_with_one_sync(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        disk.hold()
        committing = [asyncio.ensure_future(journal.commit(Said(text=str(n)), flush=True)) for n in range(6)]
        await asyncio.to_thread(disk.wait_arrived)
        await turns(20)
        assert journal.statistics().pending_frames == 6
        before = len(disk.calls)
        disk.let_go()
        await asyncio.gather(*committing)
        assert [call.operation for call in disk.calls[before:]].count("sync") == 2
        assert journal.statistics().window_count == 7


async def test_at_most_eight_windows_wait_for_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        disk.hold()
        committing = [asyncio.ensure_future(journal.commit(Said(text=str(n)), flush=True)) for n in range(30)]
        await asyncio.to_thread(disk.wait_arrived)
        await turns(50)
        assert journal.statistics().pending_frames <= 8
        disk.let_go()
        await asyncio.gather(*committing)
    assert len(await reread(tmp_path / "j")) == 31


# Disks that fail


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
async def test_a_failed_commit_is_told_and_the_next_one_works(
    tmp_path: Path, operation: DiskOperation, error_number: int
) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        await journal.wake(texts)
        fingerprint = journal.fingerprint
        disk.fail(operation, error_number=error_number, written_bytes=40)
        fact = Said(text="lost")
        with pytest.raises(StoreUnavailable, match="nothing acknowledged is lost"):
            await journal.commit(fact)
        assert not fact.is_committed
        assert (journal.fingerprint, journal.read(texts)) == (fingerprint, ("first",))
        receipt = await journal.commit(fact)
        assert fact.meta.fact_id == receipt.fact_id
        assert journal.read(texts) == ("first", "lost")
    assert await reread(tmp_path / "j") == ("first", "lost")


@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_a_frame_that_was_not_acknowledged_stays_out_for_ever(tmp_path: Path, operation: DiskOperation) -> None:
    """The bytes may be on the disk whole; the next file names the last good frame before them."""
    async with opened(tmp_path / "j") as (journal, disk):
        disk.fail(operation, written_bytes=1_000_000)
        with pytest.raises(StoreUnavailable):
            await journal.commit(Said(text="void"))
    assert b'"void"' in (tmp_path / "j" / "log" / "00000001.ndjson").read_bytes()
    assert await reread(tmp_path / "j") == ("first",)
    async with Journal.open(tmp_path / "j") as journal:
        receipt = await journal.commit(Said(text="next"))
        assert receipt.seq == 2, "number 3 of the old chain may be on the disk, so a new chain opened"
    for path in (tmp_path / "j").glob("journal.duckdb*"):
        path.unlink()
    assert await reread(tmp_path / "j") == ("first", "next")


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_frame_that_was_not_synced_stays_out_though_no_file_could_tell(tmp_path: Path, is_killed: bool) -> None:
    """Found by seed 501952: no other file could be begun, so the next opening took the frame in, and a power loss took
    it away again after views and peers had seen it."""
    folder, dead = tmp_path / "j", tmp_path / "dead"
    async with opened(folder) as (journal, disk):
        disk.fail("sync")
        with pytest.raises(StoreUnavailable):
            await journal.commit(Said(text="void"))
        disk.fail("open", times=1_000)
        if is_killed:
            shutil.copytree(folder, dead, ignore=shutil.ignore_patterns("journal.duckdb*"))
            folder = dead  # as the process leaves it when it dies here
    assert b'"void"' in (folder / "log" / "00000001.ndjson").read_bytes()
    for _ in range(2):  # a life that writes nothing forgets nothing
        found = verify_log(open_offline(folder))
        assert (found.damages, found.fact_count) == ((), 2)
        assert await reread(folder) == ("first",)
    async with Journal.open(folder) as journal:
        await journal.commit(Said(text="next"))
    for path in folder.glob("journal.duckdb*"):
        path.unlink()
    assert await reread(folder) == ("first", "next")


async def test_the_chain_after_a_failure_names_the_one_before(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        (before,) = journal.engine.index.chains()
        disk.fail("sync")
        with pytest.raises(StoreUnavailable):
            await journal.commit(Said(text="lost"))
        await journal.commit(Said(text="kept"))
        rows = (await journal.sql("select predecessor from journal_chain_opened order by at_ms, hlc")).fetchall()
        assert rows == [(None,), (before.info.text,)]


@pytest.mark.parametrize("operation", ["open", "write", "sync", "sync_folder"])
async def test_a_disk_that_stays_full_refuses_every_commit_and_fills_no_further(
    tmp_path: Path, operation: DiskOperation
) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        disk.fail("sync", error_number=errno.ENOSPC)
        disk.fail(operation, error_number=errno.ENOSPC, times=10_000)
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                await journal.commit(Said(text="lost"))
        assert len(list((tmp_path / "j" / "log").iterdir())) == 1
        assert await journal.snapshot(texts) == ("first",), "reading goes on"
        disk.heal()
        await journal.commit(Said(text="room again"))
        assert journal.read(texts) == ("first", "room again")
    assert await reread(tmp_path / "j") == ("first", "room again")


async def test_windows_behind_a_failed_one_fail_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        disk.hold()
        disk.fail("sync")
        committing = [asyncio.ensure_future(journal.commit(Said(text=str(n)), flush=True)) for n in range(5)]
        await asyncio.to_thread(disk.wait_arrived)
        await turns(20)
        assert journal.statistics().pending_frames == 5
        disk.let_go()
        results = await asyncio.gather(*committing, return_exceptions=True)
        assert all(isinstance(result, StoreUnavailable) for result in results)
        await journal.commit(Said(text="after"))
        assert await journal.snapshot(texts) == ("first", "after")
    assert await reread(tmp_path / "j") == ("first", "after")


async def test_closing_on_a_broken_disk_gives_the_folder_back(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        disk.fail("sync", times=10_000)
        with pytest.raises(StoreUnavailable):
            await journal.commit(Said(text="doubtful"))
    # Nobody could be told that the frame is void, so it may be there; what was acknowledged is.
    assert (await reread(tmp_path / "j"))[0] == "first"


async def test_a_journal_on_a_disk_that_was_never_writable_says_so(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.fail("open", error_number=errno.EROFS, times=100)
    async with Journal.open(tmp_path / "j", disk=disk) as journal:
        with pytest.raises(StoreUnavailable, match="make it writable"):
            await journal.commit(Said(text="a"))
        disk.heal()
        await journal.commit(Said(text="b"))
    assert await reread(tmp_path / "j") == ("b",)


@pytest.mark.parametrize("operation", ["open", "sync"])
async def test_an_opening_that_cannot_sync_what_it_found_is_refused_and_lets_go(
    tmp_path: Path, operation: DiskOperation
) -> None:
    async with opened(tmp_path / "j"):
        pass
    lock = tmp_path / "j" / "LOCK"
    lock.write_text(lock.read_text().replace('"clean": true', '"clean": false'))
    disk = FaultyDisk()
    disk.fail(operation, times=100)
    with pytest.raises(StoreUnavailable):
        await Journal.open(tmp_path / "j", disk=disk)
    assert await reread(tmp_path / "j") == ("first",)


async def test_files_rotate_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FILE_BYTES_MAX", 1_000)
    async with opened(tmp_path / "j") as (journal, _):
        for number in range(20):
            await journal.commit(Said(text=str(number)), flush=True)
        files = len(list((tmp_path / "j" / "log").iterdir()))
        assert files > 5
    assert await reread(tmp_path / "j") == ("first", *map(str, range(20)))
    for path in (tmp_path / "j").glob("journal.duckdb*"):
        path.unlink()
    assert await reread(tmp_path / "j") == ("first", *map(str, range(20)))


# Windows and chains


async def test_a_full_first_window_leaves_runs_that_peers_accept(tmp_path: Path) -> None:
    """The chain's opening fact comes on top of a thousand: one run of both would be refused by every peer."""
    async with Journal.open(tmp_path / "a") as one, Journal.open(tmp_path / "b") as other:
        receipt = await one.commit_all([Said(text=str(number)) for number in range(1_000)])
        assert receipt.is_atomic
        assert (
            max(row.last_seq - row.first_seq + 1 for state in one.engine.index.chains() for row in state.runs) <= 1_000
        )
        report = await one.sync_with(other)
        assert report.is_success
        assert other.fingerprint == one.fingerprint
        assert len(await other.snapshot(texts)) == 1_000


async def test_the_clock_of_a_chain_rises_though_the_wall_falls(tmp_path: Path) -> None:
    clock = VirtualClock()
    clock.advance(120_000)
    async with opened(tmp_path / "j", clock=clock) as (journal, _):
        for number in range(5):
            await journal.commit(Said(text=str(number)), flush=True)
        journal.engine._clock = VirtualClock()  # two minutes back
        await journal.commit(Said(text="later"), flush=True)
        rows = (await journal.sql("select hlc from history order by seq")).fetchall()
        assert len(rows) > 6, "all of them are looked at"
        assert all(earlier < later for (earlier,), (later,) in pairwise(rows))


async def test_a_clock_that_was_far_ahead_opens_a_new_chain_from_wall_time(tmp_path: Path) -> None:
    clock = VirtualClock()
    clock.advance(3_600_000)
    async with Journal.open(tmp_path / "j", clock=clock) as journal:
        ahead = await journal.commit(Said(text="ahead"))
    true = VirtualClock()
    async with Journal.open(tmp_path / "j", clock=true) as journal:
        receipt = await journal.commit(Said(text="now"))
        assert receipt.chain != ahead.chain
        assert receipt.at == true.now_ms()


async def test_a_peer_from_the_future_does_not_drag_this_clock_along(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with Journal.open(tmp_path / "j", clock=clock) as journal:
        now = clock.now_ms()
        peer = ChainWriter("ben")
        await journal.engine.ingest([peer.say_fact(Said(text="near"), wall_ms=now + 60_000)])
        near = await journal.commit(Said(text="after near"))
        assert near.at == now + 60_000, "within the skew a received stamp moves the clock"
        future = now + SKEW_MS_MAX + 60_000
        await journal.engine.ingest([ChainWriter("eve").say_fact(Said(text="far"), wall_ms=future)])
        far = await journal.commit(Said(text="after far"))
        assert near.at <= far.at < now + SKEW_MS_MAX
        # And the near peer's stamps still count, though a far one came between.
        await journal.engine.ingest([peer.say_fact(Said(text="nearer"), wall_ms=now + 90_000)])
        assert (await journal.commit(Said(text="after nearer"))).at == now + 90_000


def own_records(journal: Journal) -> list[FactRecord]:
    """This journal's own facts, in order."""
    index = journal.engine.index
    mine = [state for state in index.chains() if state.info.authority == journal.authority]
    return [
        record
        for state in mine
        for row in state.runs
        for record in parse_run(state.info, row, journal.engine.read_run(row))
    ]


async def test_the_first_fact_after_foreign_ones_names_their_heads(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j") as journal:
        await journal.commit(Said(text="before"))
        ben, eve = ChainWriter("ben"), ChainWriter("eve")
        await journal.engine.ingest([ben.say_fact(Said(text="b"))])
        # Eve has seen Ben's facts, so naming Eve is naming both.
        await journal.engine.ingest([eve.say(make_draft(Said(text="e"), after=(ben.link,)))])
        await journal.commit_all([Said(text="a"), Said(text="b")])
        await journal.commit(Said(text="c"))
        assert [record.after for record in own_records(journal)] == [(), (), (eve.link,), (), ()]
        await journal.engine.ingest([ben.say_fact(Said(text="more"))])
        await journal.commit(Said(text="d"))
        assert own_records(journal)[-1].after == (ben.link,)


async def test_more_heads_than_a_header_holds_go_into_merge_facts(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j") as journal:
        writers = [ChainWriter(f"peer{number}") for number in range(150)]
        await journal.engine.ingest([writer.say_fact(Said(text=writer.name)) for writer in writers])
        await journal.commit(Said(text="a"))
        found = [(record.kind, len(record.after)) for record in own_records(journal)]
        assert found == [("journal.chain_opened", 64), ("journal.merge", 64), ("test.said", 22)]
        assert {link for record in own_records(journal) for link in record.after} == {each.link for each in writers}


async def test_links_are_not_named_again_after_reopening(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j") as journal:
        ben = ChainWriter("ben")
        await journal.engine.ingest([ben.say_fact(Said(text="b"))])
        await journal.commit(Said(text="a"))
    async with Journal.open(tmp_path / "j") as journal:
        await journal.commit(Said(text="c"))
        assert [record.after for record in own_records(journal)] == [(ben.link,), (), ()]


async def test_another_boot_after_an_unclean_stop_and_a_copy_open_new_chains(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (journal, _):
        (old,) = journal.engine.index.chains()
    lock = tmp_path / "j" / "LOCK"
    clean = lock.read_text()
    unclean = clean.replace('"clean": true', '"clean": false')
    for text, continues in [(clean, True), (unclean, True), (re.sub(r'"boot": "\w', '"boot": "x', unclean), False)]:
        lock.write_text(text)
        async with Journal.open(tmp_path / "j") as journal:
            receipt = await journal.commit(Said(text="next"))
            assert (receipt.chain == old.info.text) == continues
    shutil.copytree(tmp_path / "j", tmp_path / "copy")
    async with Journal.open(tmp_path / "j") as one, Journal.open(tmp_path / "copy") as other:
        first, second = await one.commit(Said(text="here")), await other.commit(Said(text="there"))
        assert first.chain != second.chain
        assert (await one.sync_with(other)).is_success
        assert one.fingerprint == other.fingerprint


# What peers send


async def test_one_bad_fact_of_three_is_hidden_and_told_and_the_others_are_shown(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j") as journal, journal.errors() as errors:
        await journal.wake(texts)
        bad = b'{"text":7}'
        run = ChainWriter("eve").say(
            make_draft(Said(text="one")), Draft("test.said", 1, bad, None), make_draft(Said(text="three"))
        )
        result = await journal.engine.ingest([run])
        assert (result.admitted_facts, result.refused) == (4, ())
        assert journal.read(texts) == ("one", "three")
        told = [await anext(errors), await anext(errors)][-1].value
        assert told is not None
        assert f"Failed to decode test.said envelope (payload len={len(bad)})" in told.text
        rows = (await journal.sql("select hidden from history where kind = 'test.said' order by seq")).fetchall()
        assert rows == [(None,), ("undecodable",), (None,)]
    async with Journal.open(tmp_path / "j") as journal:
        assert await journal.snapshot(texts) == ("one", "three")


@pytest.mark.parametrize(
    "payload",
    [
        b'{"text":"a" }',
        b'{"text":"a","text":"b"}',
        b'{"text":1.5}',
        b'{"text":18446744073709551616}',
        b'{"z":1,"text":"a"}',
        b"[" * 2_000,
        b"\xff\xfe",
        b"",
        b'"text"',
        b'{"text":"\\u0061"}',
    ],
)
async def test_a_payload_that_is_not_canonical_is_a_member_that_nobody_shows(tmp_path: Path, payload: bytes) -> None:
    async with Journal.open(tmp_path / "j") as journal:
        await journal.wake(texts)
        result = await journal.engine.ingest([ChainWriter("eve").say(Draft("test.said", 1, payload, None))])
        assert (result.admitted_facts, result.refused) == (2, ())
        assert journal.read(texts) == ()
        assert (await journal.sql("select hidden from history where kind = 'test.said'")).fetchall()[0][0] is not None
    for path in (tmp_path / "j").glob("journal.duckdb*"):
        path.unlink()
    async with Journal.open(tmp_path / "j") as journal:
        assert journal.problems == (REBUILT,)
        assert journal.fact_count == 2
        assert await journal.snapshot(texts) == ()


async def test_a_fact_whose_time_disagrees_with_its_header_is_hidden(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j") as journal:
        await journal.wake(diary)
        draft = make_draft(Dated(at_ms=5, text="a"))
        await journal.engine.ingest([ChainWriter("eve").say(draft._replace(at=6), draft)])
        assert journal.read(diary) == "(a)"


async def test_a_peer_that_pretends_to_know_more_of_this_chain_freezes_nothing(tmp_path: Path) -> None:
    """Only this journal's own seal proves that its disk was rolled back."""
    async with opened(tmp_path / "j") as (journal, _):
        (own,) = journal.engine.index.chains()
        run = ChainWriter("eve").say_fact(*(Said(text=str(number)) for number in range(20)))
        forged = run._replace(info=own.info, first_seq=3, first_previous_id=own.head.fact_id)
        result = await journal.engine.ingest([forged])
        assert result.admitted_facts == 0
        assert (await journal.commit(Said(text="b"))).chain == own.info.text
        assert journal.problems == ()


async def test_a_journal_that_was_rolled_back_takes_its_own_facts_from_a_peer_and_goes_on_elsewhere(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "j") as (journal, _):
        pass
    backup = {path: path.read_bytes() for path in (tmp_path / "j").rglob("*") if path.is_file()}
    async with Journal.open(tmp_path / "peer") as peer:
        async with Journal.open(tmp_path / "j") as journal:
            lost = await journal.commit(Said(text="only the peer has this"))
            await journal.sync_with(peer)
        for path, data in backup.items():  # in place: same inodes, so nothing tells
            path.write_bytes(data)
        async with Journal.open(tmp_path / "j") as journal:
            assert (await journal.sync_with(peer)).is_success
            assert "only the peer has this" in await journal.snapshot(texts)
            assert any("frozen" in problem for problem in journal.problems)
            receipt = await journal.commit(Said(text="new"))
            assert receipt.chain != lost.chain
            assert (await journal.sync_with(peer)).is_success
            assert journal.fingerprint == peer.fingerprint


async def test_a_failed_ingest_is_told_and_works_the_next_time(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        run = ChainWriter("ben").say_fact(Said(text="b"))
        disk.fail("sync")
        with pytest.raises(StoreUnavailable):
            await journal.engine.ingest([run])
        assert journal.fact_count == 2
        assert (await journal.engine.ingest([run])).admitted_facts == 2
        assert (await journal.engine.ingest([run])).known_facts == 2
    assert await reread(tmp_path / "j") == ("b", "first")


async def test_closing_lets_what_a_peer_sent_land_first(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as (journal, disk):
        disk.hold()
        ingesting = asyncio.ensure_future(journal.engine.ingest([ChainWriter("ben").say_fact(Said(text="b"))]))
        await asyncio.to_thread(disk.wait_arrived)
        closing = asyncio.ensure_future(journal.close())
        await turns(5)
        assert not closing.done()
        disk.let_go()
        assert (await ingesting).admitted_facts == 2
        await closing
    assert await reread(tmp_path / "j") == ("b", "first")


# Folds are functions of the set


dated = st.lists(
    st.tuples(st.integers(min_value=-3, max_value=3), st.sampled_from(["a", "b", "c", "!"])), min_size=1, max_size=40
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(dated, st.data())
async def test_a_view_folded_as_facts_arrive_equals_one_folded_from_scratch(
    said: list[tuple[int, str]], data: st.DataObject
) -> None:
    writers = [ChainWriter("ada"), ChainWriter("ben"), ChainWriter("eve")]
    runs = [data.draw(st.sampled_from(writers)).seal(make_draft(Dated(at_ms=at, text=text))) for at, text in said]
    records = [record for run in runs for record in run.records if record.kind == "test.dated"]
    registry = FactRegistry([Dated])
    facts = [registry.decode(record) for record in data.draw(st.permutations(records))]
    live = folded(diary, facts, data.draw(st.integers(min_value=1, max_value=7)))
    assert live == folded(diary, sorted(facts, key=stamp_of), len(facts))


def folded(spec: ViewSpec[str], facts: list[Any], size: int) -> str:
    """The value after *facts* in windows of *size*, refolding whenever the view asks for it."""
    fold = FoldView(spec, on_problem=lambda problem: None)
    for number, start in enumerate(range(0, len(facts), size)):
        fold.update(Batch(number, tuple(facts[start : start + size]), 0, frozenset(), {}))
        while fold.needs_refold:
            refold = fold.begin_refold()
            seen = facts[: start + size]
            fold.finish_refold(refold.run(seen.copy))
    return fold.value

"""Real journals over TCP: damage is repaired, forks are kept and proven once, and garbage leaves evidence."""

import asyncio
import shutil
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from antiphon import Journal, open_history
from antiphon.app.offline import open_offline, verify_log
from antiphon.facts import DEFAULT_NAMESPACE, Fact, ForkProven
from antiphon.journal import Draft
from antiphon.journal.forks import read_proof
from antiphon.journal.sync.messages import IncomingRun
from antiphon.runtime.services.sync import sync_address, sync_in_process
from antiphon.runtime.witness import PROOFS_A_CHAIN_MAX, Quarantined
from antiphon.testing.records import ChainWriter

LOOPBACK = "tcp://127.0.0.1:0"


class Said(Fact, kind="repair.said", version=1):
    """Something said."""

    text: str


def drop_database(folder: Path) -> None:
    for path in folder.glob("journal.duckdb*"):
        path.unlink()


def damage(folder: Path, old: bytes, new: bytes) -> None:
    log = folder / "log" / "00000001.ndjson"
    data = log.read_bytes()
    assert data.count(old) == 1
    log.write_bytes(data.replace(old, new))


async def texts(journal: Journal) -> list[str]:
    records = await journal.engine.read_kind("repair.said")
    return sorted(str(orjson.loads(record.payload or b"{}")["text"]) for record in records)


@pytest.mark.asyncio
async def test_two_journals_with_damaged_frames_repair_each_other_over_tcp(tmp_path: Path) -> None:
    folders = [tmp_path / "ada", tmp_path / "ben"]
    async with Journal.open(folders[0]) as ada, Journal.open(folders[1]) as ben:
        for number in range(6):
            await ada.commit(Said(text=f"ada {number}"), flush=True)
            await ben.commit(Said(text=f"ben {number}"), flush=True)
        await ada.sync_with(ben)
        whole = ada.fingerprint
        assert whole == ben.fingerprint
    for folder, word in zip(folders, (b'"ada 2"', b'"ben 3"'), strict=True):
        drop_database(folder)
        damage(folder, word, b'"xxx x"')
    async with Journal.open(folders[0]) as ada, Journal.open(folders[1]) as ben:
        for journal in (ada, ben):
            assert len(journal.engine.index.holes()) == 1
            assert any("are missing" in problem for problem in journal.problems)
            assert journal.fact_count == 13, "exactly the damaged frame's fact is gone"
            await journal.engine.keeper.settle()
            found = verify_log(open_offline(journal.path))
            assert len(found.damages) == 1, "the damaged bytes are kept and named while a fact is missing"
        async with ben.serve(LOOPBACK) as server:
            report = await sync_address(ada.engine, server.address)
        assert report.is_success
        assert ada.fingerprint == ben.fingerprint == whole
        for journal in (ada, ben):
            assert journal.engine.index.holes() == []
            assert any("repaired" in problem for problem in journal.problems)
            # The repair sets the keeper to work, and a close stops it wherever it is: only what is settled is certain.
            await journal.engine.keeper.settle()
    for folder in folders:
        found = verify_log(open_offline(folder))
        assert (found.damages, found.fact_count) == ((), 14), "all is explained, so the damaged bytes went"
        drop_database(folder)
        async with Journal.open(folder) as journal:
            assert journal.fingerprint == whole, "damage, repair and all, read again from the log"


@pytest.mark.asyncio
async def test_what_follows_from_a_fact_that_is_lost_for_good_keeps_no_peer_from_agreeing(tmp_path: Path) -> None:
    for author, said in (("ada", "ab"), ("ada at home", "cd")):
        async with Journal.open(tmp_path / "ada", author=author) as ada:
            for text in said:
                await ada.commit(Said(text=text), flush=True)
    drop_database(tmp_path / "ada")
    damage(tmp_path / "ada", b'"text":"a"', b'"text":"x"')
    async with Journal.open(tmp_path / "ben") as ben:
        for text in "ef":  # the second time all comes from DuckDB
            async with Journal.open(tmp_path / "ada", author="ada at home") as ada:
                await ada.commit(Said(text=text))
                assert (await ada.sync_with(ben)).is_success
                assert ada.fingerprint == ben.fingerprint
                assert "".join(await texts(ada)) == "bcde" + text.strip("e"), "what its own disk kept is shown"
        assert "".join(await texts(ben)) == "ef"


@pytest.mark.asyncio
@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_copied_folder_that_was_opened_and_wrote_nothing_does_not_go_on_with_the_originals_numbers(
    tmp_path: Path, is_killed: bool
) -> None:
    async with Journal.open(tmp_path / "ben") as ben:
        async with Journal.open(tmp_path / "ada") as ada:
            await ada.commit(Said(text="a"))
        shutil.copytree(tmp_path / "ada", tmp_path / "copy")
        async with Journal.open(tmp_path / "ada") as ada:
            await ada.commit(Said(text="b"))
            await ada.sync_with(ben)
        for _ in range(2):
            copy = await Journal.open(tmp_path / "copy")
            if is_killed:
                copy.engine.kill()
            await copy.close()
        async with Journal.open(tmp_path / "copy") as copy:
            await copy.commit(Said(text="c"))
            assert (await copy.sync_with(ben)).is_success
            assert ben.engine.index.forked() == {}
            assert await texts(ben) == ["a", "b", "c"]


@pytest.mark.asyncio
async def test_the_numbers_behind_a_hole_are_not_given_to_other_facts(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada") as ada:
        for text in "abc":
            await ada.commit(Said(text=text), flush=True)
    drop_database(tmp_path / "ada")
    damage(tmp_path / "ada", b'"text":"b"', b'"text":"x"')
    async with Journal.open(tmp_path / "ada") as ada:
        holes = ada.engine.index.holes()
        assert len(holes) == 1
    async with Journal.open(tmp_path / "ada") as ada:
        await ada.commit(Said(text="d"))
        assert ada.engine.index.holes() == holes
        assert len(list(ada.engine.index.chains())) == 2, "another chain is begun"


def fork(name: str) -> tuple[Sequence[IncomingRun], Sequence[IncomingRun]]:
    """One writer's two stories, sealed by the same keys after a common beginning."""

    def said(text: str) -> Draft:
        return Draft("repair.said", 1, b'{"text":"%b"}' % text.encode(), None)

    one, other = ChainWriter(name), ChainWriter(name)
    start = one.say(said("common"))
    other.say(said("common"))
    return (start, one.say(said("one")), one.say(said("more"))), (start, other.say(said("other")))


async def proofs(journal: Journal) -> list[ForkProven]:
    records = await journal.engine.read_kind("journal.fork_proven")
    decoded = [journal.engine.decode_fact(record) for record in records]
    return [fact for fact in decoded if isinstance(fact, ForkProven)]


@pytest.mark.asyncio
async def test_a_forked_chain_converges_on_three_journals_with_a_proof_that_is_written_once_each(
    tmp_path: Path,
) -> None:
    one, other = fork("eve")
    async with (
        Journal.open(tmp_path / "a") as ada,
        Journal.open(tmp_path / "b") as ben,
        Journal.open(tmp_path / "c") as cid,
    ):
        await ada.engine.ingest(one)
        await ben.engine.ingest(other)
        await ben.commit(Said(text="built on one branch only"))
        for _ in range(2):
            for pair in ((ada, ben), (ben, cid), (cid, ada)):
                assert (await sync_in_process(pair[0].engine, pair[1].engine)).is_success
        assert ada.fingerprint == ben.fingerprint == cid.fingerprint
        chain = one[0].info
        for journal in (ada, ben, cid):
            assert journal.forked_chains == {chain.text: 3}
            assert await texts(journal) == ["built on one branch only", "common", "more", "one", "other"]
            found = await proofs(journal)
            assert 1 <= len(found) <= 3
            for fact in found:
                data = b64decode(fact.proof)
                assert len(data) <= 400
                assert read_proof(data, DEFAULT_NAMESPACE).info.chain == chain.chain
        count = ada.fact_count
        for _ in range(3):
            await sync_in_process(ada.engine, cid.engine)
            await ada.engine.ingest(other)
        assert ada.fact_count == count, "no storm"
        fingerprint = ada.fingerprint
    async with Journal.open(tmp_path / "a") as ada:
        assert ada.fingerprint == fingerprint
        assert ada.forked_chains == {chain.text: 3}
        await ada.engine.ingest(other)
        assert ada.fact_count == count
    drop_database(tmp_path / "a")
    async with Journal.open(tmp_path / "a") as ada:
        assert ada.fingerprint == fingerprint
        assert ada.fact_count == count


@pytest.mark.asyncio
async def test_a_writer_that_reveals_ever_earlier_forks_is_proven_a_few_times_only(tmp_path: Path) -> None:
    trunk = ChainWriter("eve")
    said = Draft("repair.said", 1, b'{"text":"x"}', None)
    runs = [trunk.say(said) for _ in range(12)]
    async with Journal.open(tmp_path / "a") as ada:
        await ada.engine.ingest(runs)
        for length in range(10, 0, -1):
            twin = ChainWriter("eve")
            for _ in range(length):
                twin.say(said)
            await ada.engine.ingest([twin.say(said, said)])
        assert len(await proofs(ada)) == PROOFS_A_CHAIN_MAX
        assert len(next(s for s in ada.engine.index.chains() if s.info.chain == trunk.chain.info.chain).heads) == 11


@pytest.mark.asyncio
async def test_an_own_chain_that_a_copied_folder_went_on_writing_is_frozen_and_both_stories_stay(
    tmp_path: Path,
) -> None:
    async with Journal.open(tmp_path / "a") as ada:
        await ada.commit(Said(text="before"), flush=True)
        state = next(iter(ada.engine.index.chains()))
        writer = ChainWriter("copy")
        writer.writer = ada.engine.folder.writer  # the copy holds the same keys
        writer.chain.info, writer.chain.head = state.info, state.head
        twin = writer.say(Draft("repair.said", 1, b'{"text":"from the copy"}', None))
        await ada.commit(Said(text="after"), flush=True)
        result = await ada.engine.ingest([twin])
        assert result.admitted_facts == 1
        assert any("frozen" in problem for problem in ada.problems)
        await ada.commit(Said(text="in a new chain"), flush=True)
        assert await texts(ada) == ["after", "before", "from the copy", "in a new chain"]
        assert len([s for s in ada.engine.index.chains() if s.info.public_key == state.info.public_key]) == 2
        assert list(ada.forked_chains) == [state.info.text]


def open_offline_evidence(folder: Path) -> list[Quarantined]:
    offline = open_offline(folder)
    assert sum(1 for _ in offline.read_records()) == 3
    return offline.evidence


@pytest.mark.asyncio
async def test_what_was_refused_leaves_bounded_evidence_that_is_kept_in_the_log(tmp_path: Path) -> None:
    eve = ChainWriter("eve")
    good = eve.say(Draft("repair.said", 1, b'{"text":"good"}', None))
    bad = eve.say(Draft("repair.said", 1, b'{"text":"bad"}', None))
    forged = bad._replace(lines=tuple(line.replace(b"bad", b"BAD") for line in bad.lines))
    standing = eve.seal_lines([eve.line(hlc=1)])
    async with Journal.open(tmp_path / "a") as ada:
        result = await ada.engine.ingest([good, forged, bad, standing], peer="tcp://peer")
        assert result.admitted_facts == 3, "the good facts of the batch are in"
        first, second = ada.evidence
        assert (first.peer, first.is_sender_at_fault, first.chain) == ("tcp://peer", True, eve.chain.info.text)
        assert forged.lines[0].startswith(first.first_bytes)
        assert not second.is_sender_at_fault
        assert "clock" in second.reason
        for _ in range(400):
            await ada.engine.ingest([forged._replace(seal_line=b"junk")])
        assert len(ada.evidence) == 256
    distinct = len(set(open_offline_evidence(tmp_path / "a")))
    query = "select peer, is_sender_at_fault, first_seq, reason, first_bytes from evidence order by at_ms, first_seq"
    for spoilt in ("nothing", "database"):
        for path in (tmp_path / "a").glob("journal.duckdb*") if spoilt == "database" else ():
            path.unlink()
        async with Journal.open(tmp_path / "a") as ada:
            assert ada.evidence == (), "of this life"
            rows = (await ada.sql(query)).fetchall()
            assert (first.peer, True, first.first_seq, first.reason, first.first_bytes) in rows, spoilt
            assert len(rows) == distinct, f"what is alike in every way is one row, with {spoilt} spoilt"
    with open_history(tmp_path / "a") as history:
        assert history.sql(query).fetchall() == rows
    evidence = open_offline_evidence(tmp_path / "a")
    assert len(evidence) == 64
    assert evidence[0] == first


@pytest.mark.asyncio
async def test_bytes_that_are_no_message_leave_evidence(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "a") as ada, ada.serve(LOOPBACK) as server:
        host, _, port = server.address.removeprefix("tcp://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write((5).to_bytes(4, "big") + b"junk!")
        await reader.read()
        writer.close()
        assert ada.evidence[0].first_bytes == b"junk!"
        assert ada.evidence[0].is_sender_at_fault

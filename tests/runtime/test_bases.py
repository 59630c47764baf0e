"""A journal that was given a base keeps it through every reopening, serves it, and never takes back what lies below."""

from pathlib import Path

import pytest

from antiphon import Journal
from antiphon.app.offline import open_offline, verify_log
from antiphon.facts import Fact
from antiphon.journal.bases import ChainBase, build_base
from antiphon.journal.chain import parse_seal_line
from antiphon.journal.replay import parse_run
from antiphon.journal.sync.messages import IncomingRun, WireRun, take_run_apart
from antiphon.runtime.services.sync import sync_address, sync_in_process

LOOPBACK = "tcp://127.0.0.1:0"


class Said(Fact, kind="bases.said", version=1):
    """Something said."""

    text: str


def collapsed_runs(journal: Journal, *, place: int) -> list[IncomingRun]:
    """What a journal sends that collapsed its only chain up to the run at *place*."""
    engine = journal.engine
    (state,) = engine.index.chains()
    told = []
    for at, row in enumerate(state.runs):
        data = engine.read_run(row)
        wire = WireRun(state.info.public_key, state.info.nonce, row.first_seq, row.first_previous_id, data)
        is_base = 0 < at <= place
        if is_base:
            wire = wire_base(base_after(journal, at))
        told.append(take_run_apart(state.info.namespace, wire, is_base=is_base))
    return told


def base_after(journal: Journal, place: int) -> ChainBase:
    (state,) = journal.engine.index.chains()
    row = state.runs[place]
    data = journal.engine.read_run(row)
    records = parse_run(state.info, row, data)
    before = records[-2].fact_id if len(records) > 1 else row.first_previous_id
    seal = parse_seal_line(data.split(b"\n")[-2])
    return build_base(state.info, previous_id=before, line=records[-1].line, seal=seal)


def wire_base(base: ChainBase) -> WireRun:
    return WireRun(base.info.public_key, base.info.nonce, base.seal.to_seq, base.previous_id, base.encode())


@pytest.mark.asyncio
async def test_a_base_outlives_reopening_with_and_without_duckdb_and_is_served_on(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada", author="ada") as ada:
        for number in range(8):
            await ada.commit(Said(text=f"ada {number}"), flush=True)
        whole = ada.fingerprint
        told = collapsed_runs(ada, place=5)
    async with Journal.open(tmp_path / "ben") as ben:
        result = await ben.engine.ingest(told)
        assert result.refused == ()
        assert result.parked_runs == 0
        assert ben.fingerprint == whole
    for drops in (False, True):
        for path in (tmp_path / "ben").glob("journal.duckdb*") if drops else ():
            path.unlink()
        async with Journal.open(tmp_path / "ben") as ben:
            assert ben.fingerprint == whole
            assert ben.engine.index.holes() == []
            assert not any("missing" in problem for problem in ben.problems)
            records = await ben.engine.read_kind("bases.said")
            assert [record.seq for record in records] == [2, 8, 9], "the opening run, and what lies behind the base"
            assert {record.chain.label for record in records} == {"ada"}
    found = verify_log(open_offline(tmp_path / "ben"))
    assert found.damages == ()
    async with Journal.open(tmp_path / "ben") as ben, Journal.open(tmp_path / "cid") as cid:
        async with ben.serve(LOOPBACK) as server:
            assert (await sync_address(cid.engine, server.address)).is_success
        assert cid.fingerprint == ben.fingerprint == whole
        await cid.commit(Said(text="cid"), flush=True)
        async with Journal.open(tmp_path / "ada") as ada:
            for one, other in ((cid, ada), (ada, ben), (cid, ben)):
                report = await sync_in_process(one.engine, other.engine)
                assert report.is_success
                assert report.refused == ()
            assert ada.fingerprint == ben.fingerprint == cid.fingerprint
            assert ben.fact_count == cid.fact_count < ada.fact_count, "nothing collapsed came back"


@pytest.mark.asyncio
async def test_whoever_was_rolled_back_behind_a_base_opens_a_new_chain(tmp_path: Path) -> None:
    """The peer holds more of this journal's chain than the journal does, though not the facts themselves."""
    async with Journal.open(tmp_path / "ada") as ada:
        for number in range(4):
            await ada.commit(Said(text=f"{number}"), flush=True)
        told = collapsed_runs(ada, place=3)
    (log,) = (tmp_path / "ada" / "log").glob("*.ndjson")
    lines = log.read_bytes().splitlines(keepends=True)
    ends = [at for at, line in enumerate(lines) if line.startswith(b'{"frame"')]
    log.write_bytes(b"".join(lines[: ends[1] + 1]))
    for path in (tmp_path / "ada").glob("journal.duckdb*"):
        path.unlink()
    (tmp_path / "ada" / "leave.json").unlink(missing_ok=True)
    async with Journal.open(tmp_path / "ada") as ada:
        await ada.engine.ingest(told)
        await ada.commit(Said(text="after"), flush=True)
        assert all(not state.is_forked for state in ada.engine.index.chains())
        assert len([state for state in ada.engine.index.chains() if state.head.seq]) == 2

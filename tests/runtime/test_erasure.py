"""Erasing facts: the payload goes from everywhere and never returns, the ids stay, and all replicas agree."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from antiphon import Fact, Journal, open_history, view
from antiphon.app.offline import open_offline, verify_log
from antiphon.facts import ErasedFact, FactsErased, LocalViolation
from antiphon.facts.chat import ChannelCreated, MessageSent
from antiphon.facts.moderation import home_context
from antiphon.journal.stores.log import part_paths
from antiphon.testing.disk import FaultyDisk
from antiphon.views import CHAT_SIGNAL

pytestmark = pytest.mark.asyncio

SECRET = "swordfish-7731"


class Noted(Fact, kind="test.noted", version=1, context="room"):
    text: str
    room: str = "antiphon.default"


@view(Noted, initial=(), version=1)
def notes(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
    return (*state, fact.text)


def files_with_secret(folder: Path) -> list[str]:
    """The journal's own files that still hold the payload; segments are compressed, so they are asked by reading."""
    raw = [path.name for path in part_paths(folder) if SECRET.encode() in path.read_bytes()]
    offline = open_offline(folder)
    read = [record.fact_id.hex() for record in offline.read_records() if SECRET.encode() in record.line]
    return raw + read


async def test_an_erased_fact_is_gone_from_views_files_tables_and_history_and_its_id_stays(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        await journal.commit(Noted(text="before"))
        receipt = await journal.commit(Noted(text=SECRET))
        await journal.commit(Noted(text="after"))
        fingerprint = journal.fingerprint_of("antiphon.default")
        assert await journal.snapshot(notes) == ("before", SECRET, "after")
        async with journal.watch(notes) as updates:
            (erasure,) = await journal.erase(receipt, reason="said in error")
            assert await journal.snapshot(notes) == ("before", "after")
            assert journal.read(notes) == ("before", "after")
            assert (await anext(updates)).value[-1] == "after"
        assert files_with_secret(folder) == []
        rows = (
            await journal.sql("select is_erased, payload from history where fact_id = ?", [receipt.fact_id])
        ).fetchall()
        assert rows == [(True, None)]
        assert (await journal.sql("select text from test_noted")).fetchall() == [("before",), ("after",)]
        assert journal.fingerprint_of("antiphon.default") != fingerprint, "the erasure is a fact"
        assert journal.problems == ()
    assert verify_log(open_offline(folder)).damages == ()
    with open_history(folder) as history:
        assert history.sql("select text from test_noted").fetchall() == [("before",), ("after",)]
        assert history.facts("journal.erased").count() == 1
        assert erasure.fact_id in str(history.facts("journal.erased").fetchall())
    async with Journal.open(folder) as journal:
        assert await journal.snapshot(notes) == ("before", "after")
        assert len(list(journal.engine.index.chains())) == 1


@pytest.mark.parametrize("part", ["the file being written", "a log file", "a segment"])
async def test_what_was_said_long_after_its_chain_began_is_gone_from_where_it_lies(tmp_path: Path, part: str) -> None:
    """A segment that does not hold the chain's opening does not say whose the chain is."""
    async with Journal.open(tmp_path / "a", author="ada") as journal:
        await journal.commit(Noted(text="the opening's file"), flush=True)
        await journal.engine.start_file()
        receipt = await journal.commit(Noted(text=SECRET), flush=True)
        if part != "the file being written":
            await journal.engine.start_file()
        if part == "a segment":
            assert len(await journal.engine.keeper.seal()) == 2
        await journal.erase(receipt)
        assert files_with_secret(journal.path) == []
    for path in journal.path.glob("journal.duckdb*"):
        path.unlink()
    async with Journal.open(tmp_path / "a") as journal:
        assert (await journal.sql("select text from test_noted")).fetchall() == [("the opening's file",)]


async def test_a_payload_never_returns_from_a_peer_who_does_not_know(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada") as ada,
        Journal.open(tmp_path / "b", author="ben") as ben,
        Journal.open(tmp_path / "c", author="cyd") as cyd,
    ):
        receipt = await ada.commit(Noted(text=SECRET))
        await ada.commit(Noted(text="kept"))
        assert (await ben.sync_with(ada)).is_success
        await ada.erase(receipt.fact_id)
        assert (await cyd.sync_with(ada)).is_success
        assert (await cyd.sync_with(ben)).is_success
        await ben.engine.forgotten()
        for journal in (ada, ben, cyd):
            assert await journal.snapshot(notes) == ("kept",)
            assert files_with_secret(journal.path) == []
        assert ada.fingerprint == ben.fingerprint == cyd.fingerprint


async def test_an_erasure_that_comes_before_its_fact_waits_for_it(tmp_path: Path) -> None:
    """Another device of the author's, in a chain of its own, may be heard first."""
    async with Journal.open(tmp_path / "a", author="ada") as ada:
        receipt = await ada.commit(Noted(text=SECRET))
        runs = [row for state in ada.engine.index.chains() for row in state.runs]
        said = ada.engine.read_run(runs[0])
        assert SECRET.encode() in said
    (tmp_path / "copy").mkdir()
    for name in ("keys", "log"):
        (tmp_path / "copy" / name).mkdir()
        for path in (tmp_path / "a" / name).iterdir():
            (tmp_path / "copy" / name / path.name).write_bytes(path.read_bytes())
    async with (
        Journal.open(tmp_path / "copy") as device,
        Journal.open(tmp_path / "b", author="ben") as ben,
        Journal.open(tmp_path / "a") as ada,
    ):
        await device.erase(receipt)
        assert (await ben.sync_with(device)).is_success
        assert (await ben.sync_with(ada)).is_success
        await ada.engine.forgotten()
        assert files_with_secret(tmp_path / "b") == files_with_secret(tmp_path / "a") == []


async def test_only_the_author_and_the_owner_of_the_home_may_erase(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada") as ada,
        Journal.open(tmp_path / "b", author="ben") as ben,
    ):
        home = home_context(ben.authority, "friends")
        here = await ada.commit(Noted(text="mine"))
        there = await ada.commit(Noted(text=SECRET, room=home))
        assert (await ben.sync_with(ada)).is_success
        with pytest.raises(LocalViolation, match="only its author"):
            await ben.erase(here)
        forged = FactsErased(
            namespace=here.namespace,
            facts=(ErasedFact(chain=here.chain, fact_id=here.fact_id, kind="test.noted", seq=here.seq),),
        )
        await ben.commit(forged)  # a member like any other, and without effect
        await ben.erase(there)
        assert (await ada.sync_with(ben)).is_success
        await ada.engine.forgotten()
        for journal in (ada, ben):
            assert await journal.snapshot(notes) == ("mine",)
        assert ada.fingerprint == ben.fingerprint


async def test_what_chains_are_judged_by_cannot_be_erased(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "a", author="ada") as ada:
        receipt = await ada.commit(Noted(text="x"))
        (erasure,) = await ada.erase(receipt)
        with pytest.raises(LocalViolation, match="cannot be erased"):
            await ada.erase(erasure)
        with pytest.raises(LocalViolation, match="no fact"):
            await ada.erase("0" * 64)
        with pytest.raises(LocalViolation, match="64 hex digits"):
            await ada.erase("nonsense")


async def test_what_is_erased_already_is_not_erased_again(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "journal", author="ada") as journal:
        receipt = await journal.commit(Noted(text=SECRET))
        other = await journal.commit(Noted(text="also"))
        (first,) = await journal.erase(receipt)
        count = journal.fact_count
        assert await journal.erase(receipt) == (first,)
        assert await journal.erase(receipt, receipt.fact_id) == (first,)
        assert journal.fact_count == count
        both = await journal.erase(receipt, other)
        assert (both[0], len(both)) == (first, 2)
    async with Journal.open(tmp_path / "journal") as journal:
        assert await journal.erase(receipt) == (first,), "the next life knows of it, too"
        assert set(await journal.erase(other, receipt)) == set(both)
        assert journal.fact_count == count + 1


async def test_segments_are_written_again_without_what_was_erased(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        receipts = [await journal.commit(Noted(text=f"{SECRET} {number}"), flush=True) for number in range(20)]
        await journal.engine.start_file()
        await journal.engine.keeper.seal()
        await journal.erase(*receipts[3:])
        assert await journal.snapshot(notes) == tuple(f"{SECRET} {number}" for number in range(3))
        assert len([name for name in files_with_secret(folder) if len(name) == 64]) == 3
        await journal.erase(*receipts)
        assert files_with_secret(folder) == []
    (folder / "journal.duckdb").unlink()
    async with Journal.open(folder) as journal:
        assert await journal.snapshot(notes) == ()
        assert (await journal.sql("select count(*) from history where is_erased")).fetchall() == [(20,)]


@pytest.mark.parametrize("operation", ["open", "sync", "rename", "remove"])
async def test_an_erasure_that_the_disk_held_up_is_finished_when_the_journal_opens_again(
    tmp_path: Path, operation: Any
) -> None:
    folder = tmp_path / "journal"
    disk = FaultyDisk()
    async with Journal.open(folder, author="ada", disk=disk) as journal:
        receipt = await journal.commit(Noted(text=SECRET), flush=True)
        await journal.engine.start_file()
        assert await journal.snapshot(notes) == (SECRET,)
    async with Journal.open(folder, author="ada", disk=disk) as journal:
        assert await journal.snapshot(notes) == (SECRET,)
        await journal.commit(Noted(text="more"), flush=True)
        journal.engine.keeper.abandon()  # as a death between the fact and its effect
        claims = FactsErased(
            namespace=receipt.namespace,
            facts=(ErasedFact(chain=receipt.chain, fact_id=receipt.fact_id, kind="test.noted", seq=receipt.seq),),
        )
        await journal.commit(claims, flush=True)
        assert await journal.snapshot(notes) == ("more",)
    disk.fail(operation, after=1, times=1)
    for _ in range(2):
        async with Journal.open(folder, author="ada", disk=disk) as journal:
            assert await journal.snapshot(notes) == ("more",), "a kept state does not bring it back"
            await journal.engine.keeper.settle()
    async with Journal.open(folder, author="ada") as journal:
        await journal.engine.keeper.settle()
        assert await journal.snapshot(notes) == ("more",)
        assert (await journal.sql("select text from test_noted")).fetchall() == [("more",)]
    assert files_with_secret(folder) == []


async def test_the_views_that_ship_forget_as_well(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "a", author="ada") as journal:
        await journal.register_app_signals()
        context = "antiphon.default"
        await journal.commit(
            ChannelCreated(
                context_id=context, channel_id="lobby", name="lobby", created_at=1, creator_id=journal.authority
            )
        )
        receipts = [
            await journal.commit(
                MessageSent(
                    context_id=context,
                    channel_id="lobby",
                    message_id=f"m{number}",
                    sender_id=journal.authority,
                    sender_name="ada",
                    text=f"{SECRET} {number}",
                    sent_at=number,
                )
            )
            for number in range(10, 14)
        ]
        await journal.erase(receipts[1], receipts[2])
        state = await journal.snapshot(CHAT_SIGNAL)
        (messages,) = state.messages.values()
        assert [message.id for message in messages] == ["m10", "m13"]
        assert SECRET not in str(await journal.sql("select * from chat_message_sent where message_id = 'm11'"))
    async with Journal.open(tmp_path / "a") as again:
        assert await again.snapshot(CHAT_SIGNAL) == state


async def test_every_order_of_facts_and_erasures_gives_the_same_book() -> None:
    from antiphon.journal import Draft
    from antiphon.journal.erasure import ErasureBook
    from antiphon.testing.records import ChainWriter, make_draft

    writer, other = ChainWriter("ada"), ChainWriter("eve")
    said = writer.seal(Draft("test.noted", 1, b'{"text":"x"}', None), Draft("test.noted", 1, b'{"text":"y"}', None))
    target, bystander = said.records[-2:]

    def erasure_by(author: ChainWriter, seq: int, fact_id: bytes) -> Any:
        fact = FactsErased(
            namespace=target.chain.namespace,
            facts=(ErasedFact(chain=target.chain.text, fact_id=fact_id.hex(), kind="test.noted", seq=seq),),
        )
        return author.seal(make_draft(fact)).records[-1], fact

    erasures = [
        erasure_by(writer, target.seq, target.fact_id),
        erasure_by(other, bystander.seq, bystander.fact_id),
        erasure_by(writer, bystander.seq, bytes(32)),
    ]
    for order in permutations(erasures):
        book = ErasureBook()
        for record, fact in order:
            book.take(record, fact)
        assert (book.is_erased(target), book.is_erased(bystander)) == (True, False)
        assert book.keep(bystander) == bystander.line

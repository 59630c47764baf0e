"""Cuts in real journals: payloads go, answers stay, late facts fold, and an old peer brings nothing back."""

from pathlib import Path
from typing import Any

import pytest

from antiphon import Fact, Journal
from antiphon.app.offline import fold_view, open_offline, verify_log
from antiphon.facts import ChannelCreated, ChannelUpdated, ContactAdded, ContactRenamed, SnapshotBase
from antiphon.journal import LogCursor, LogFrame, read_log
from antiphon.journal.lattices.sets import GSet
from antiphon.journal.snapshot import LatticeFold, build_snapshot
from antiphon.views import CHAT_SIGNAL, CONTACTS_SIGNAL

pytestmark = pytest.mark.asyncio


class Seen(Fact, kind="snap.seen", version=1):
    page: str


class Other(Fact, kind="snap.other", version=1):
    text: str


def worth(fact: Any) -> GSet:
    return GSet(frozenset({fact.page}))


PAGES: LatticeFold[GSet] = LatticeFold("snap.seen", GSet(), worth)


def payloads(folder: Path) -> int:
    return sum(
        record.kind == "snap.seen" and record.payload is not None for record in open_offline(folder).read_records()
    )


def held_on_disk(folder: Path) -> list[tuple[str, int]]:
    """Kind and number of every fact that a log file or segment holds, members or not."""
    frames = [frame for frame in read_log(folder, LogCursor.at_start()) if isinstance(frame, LogFrame)]
    return sorted((record.kind, record.seq) for frame in frames for record in frame.records)


async def test_chains_begin_behind_what_was_let_go_and_old_peers_bring_nothing_back(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada", types=[Seen]) as ada,
        Journal.open(tmp_path / "old", author="old", types=[Seen]) as old,
        Journal.open(tmp_path / "new", author="new", types=[Seen]) as new,
    ):
        await ada.commit(Other(text="the opening's window"), flush=True)
        for page in "abcdef":
            await ada.commit(Seen(page=page), flush=True)
        assert (await old.sync_with(ada)).is_success
        assert await ada.collapse() == 0, "what they say still counts"
        await ada.cut(PAGES)
        await ada.commit(Seen(page="behind"), flush=True)
        assert await ada.collapse() == 1
        assert await ada.collapse() == 0
        whole = ada.fingerprint
        assert (await new.sync_with(ada)).is_success
        assert new.fact_count == 2 + 1 + 1, "the opening run, the snapshot, and what lies behind: no skeletons"
        assert ada.fact_count == new.fact_count, "nor are there any where they were collapsed"
        assert held_on_disk(ada.path) == held_on_disk(new.path)
        assert (await ada.sql("select count(*) from history where kind = 'snap.seen'")).fetchall() == [(1,)]
        for one, other in ((ada, old), (new, old), (ada, new)):
            assert (await one.sync_with(other)).is_success
        assert ada.fingerprint == old.fingerprint == new.fingerprint == whole
        for journal in (ada, old, new):
            assert await journal.fold(PAGES) == GSet(frozenset({*"abcdef", "behind"}))
            assert journal.problems == ()
        assert new.fact_count == ada.fact_count == 4, "an old peer brings nothing back"
        assert old.fact_count == 10
    for spoilt in ("nothing", "database"):
        for path in (tmp_path / "a").glob("journal.duckdb*") if spoilt == "database" else ():
            path.unlink()
        async with Journal.open(tmp_path / "a", types=[Seen]) as ada:
            assert ada.fingerprint == whole
            await ada.commit(Seen(page=spoilt))
            assert not any(state.is_forked for state in ada.engine.index.chains())
            whole = ada.fingerprint


async def test_a_cut_changes_no_answer_here_or_elsewhere_and_nothing_comes_back(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada", types=[Seen]) as ada,
        Journal.open(tmp_path / "old", author="old", types=[Seen]) as old,
        Journal.open(tmp_path / "new", author="new", types=[Seen]) as new,
    ):
        for page in "abcabd":
            await ada.commit(Seen(page=page))
        assert (await old.sync_with(ada)).is_success
        await old.commit(Seen(page="late"))  # below the cut, and not known where it is made
        before = await ada.fold(PAGES)
        cut = await ada.cut(PAGES)
        assert cut.retired_count == 6
        assert payloads(ada.path) == 0
        assert await ada.fold(PAGES) == before == GSet(frozenset("abcd"))
        assert (await ada.cut(PAGES)).record is None, "there is nothing to fold again"
        await ada.commit(Seen(page="behind"))
        assert (await new.sync_with(ada)).is_success
        assert await new.fold(PAGES) == await ada.fold(PAGES), "who never saw the facts has the snapshot"
        for one, other in ((ada, old), (new, old), (ada, new)):
            assert (await one.sync_with(other)).is_success
        assert ada.fingerprint == old.fingerprint == new.fingerprint
        everything = GSet(frozenset({*"abcd", "behind", "late"}))
        for journal in (ada, old, new):
            assert await journal.fold(PAGES) == everything
            assert journal.problems == ()
        assert payloads(ada.path) == 2, "the late one, and the one behind"
        second = await ada.cut(PAGES)
        assert second.retired_count == 2
        assert await ada.fold(PAGES) == everything
    assert verify_log(open_offline(tmp_path / "a")).damages == ()
    for path in (tmp_path / "a").glob("journal.duckdb*"):
        path.unlink()
    async with Journal.open(tmp_path / "a", types=[Seen]) as ada:
        assert await ada.fold(PAGES) == everything
        assert payloads(ada.path) == 0


async def test_trimming_changes_nothing_that_shipped_views_show_here_or_at_a_peer_and_nothing_comes_back(
    tmp_path: Path,
) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada") as ada,
        Journal.open(tmp_path / "old", author="old") as old,
    ):
        me, about = ada.authority, {"context_id": "antiphon.default", "owner_id": ada.authority, "contact_id": "ben"}
        channel = {"context_id": "antiphon.default", "channel_id": "lobby"}
        await ada.commit(ContactAdded(**about, nickname="Ben", added_at=1), flush=True)
        await ada.commit(ChannelCreated(**channel, name="Lobby", created_at=1, creator_id=me), flush=True)
        for number in range(2, 9):
            await ada.commit_all(
                [
                    ContactRenamed(**about, new_nickname=f"Ben {number}", renamed_at=number),
                    ChannelUpdated(**channel, topic=f"topic {number}", updated_at=number, actor_id=me),
                ]
            )
        assert (await old.sync_with(ada)).is_success
        before = [await ada.snapshot(signal) for signal in (CHAT_SIGNAL, CONTACTS_SIGNAL)]
        trimmed = await ada.trim()
        assert {each.kind: each.fact_count for each in trimmed} == {"contact.renamed": 6, "chat.channel_updated": 6}
        assert await ada.trim() == ()
        assert [await ada.snapshot(signal) for signal in (CHAT_SIGNAL, CONTACTS_SIGNAL)] == before
        await ada.commit(ContactRenamed(**about, new_nickname="late", renamed_at=5), flush=True)  # below the newest
        await ada.commit(ContactRenamed(**about, new_nickname="Benedict", renamed_at=20), flush=True)
        for _ in range(2):
            assert (await ada.sync_with(old)).is_success
            assert ada.fingerprint == old.fingerprint
        for signal in (CHAT_SIGNAL, CONTACTS_SIGNAL):
            assert await ada.snapshot(signal) == shown_by(old, signal, viewer=me)
    for path in (tmp_path / "a").glob("journal.duckdb*"):
        path.unlink()
    async with Journal.open(tmp_path / "a") as ada:
        contacts = await ada.snapshot(CONTACTS_SIGNAL)
        assert [contact.nickname for contact in contacts.contacts.values()] == ["Benedict"]
        rows = (await ada.sql("select count(*) from contact_renamed")).fetchall()
        assert rows == [(3,)], "what went stays gone: the one that stood, the late one, and the newest"
    assert verify_log(open_offline(tmp_path / "a")).damages == ()


def shown_by(journal: Journal, signal: Any, *, viewer: Any) -> object:
    """What a journal's facts show somebody else."""
    records = list(open_offline(journal.path).read_records())
    return fold_view(records, signal, authority=viewer, now_ms=journal.engine.clock.now_ms())


async def lie(journal: Journal, said: Journal, pages: str) -> None:
    """Commit a snapshot over what *said* wrote that claims more than that."""
    (record,) = [each for each in open_offline(said.path).read_records() if each.kind == "snap.seen"][-1:]
    base = SnapshotBase(chain=record.chain.text, fact_id=record.fact_id.hex(), seq=record.seq)
    state = GSet(frozenset(pages))
    namespace = record.chain.namespace
    await journal.commit(build_snapshot(PAGES, state, namespace=namespace, bases=[base], sequence=9), flush=True)


async def test_a_snapshot_that_says_more_than_the_facts_that_are_held_does_not_count_and_is_evidence(
    tmp_path: Path,
) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada", types=[Seen]) as ada,
        Journal.open(tmp_path / "eve", author="eve", types=[Seen]) as eve,
    ):
        for page in "abc":
            await ada.commit(Seen(page=page), flush=True)
        assert (await eve.sync_with(ada)).is_success
        await lie(eve, ada, "abcX")
        await lie(eve, ada, "ab")  # says less than it names, as it may
        assert (await ada.sync_with(eve)).is_success
        for _ in range(2):
            assert await ada.fold(PAGES) == GSet(frozenset("abc"))
        (problem,) = ada.problems[:1]
        assert "of eve: says more than the facts that it names" in problem
        await ada.flush()  # evidence goes with the next window
        rows = (await ada.sql("select author, reason from evidence")).fetchall()
        assert rows == [("eve", "a snapshot says more than the facts that it names")]
        await ada.cut(PAGES)  # from here on nothing could be held against it
        await ada.commit(Seen(page="d"), flush=True)
        assert await ada.fold(PAGES) == GSet(frozenset("abcd"))
    async with Journal.open(tmp_path / "a", types=[Seen]) as ada:
        assert await ada.fold(PAGES) == GSet(frozenset("abcd"))


async def test_an_honest_snapshot_of_snapshots_is_believed_by_who_holds_every_fact(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada", types=[Seen]) as ada,
        Journal.open(tmp_path / "b", author="ben", types=[Seen]) as ben,
    ):
        for page in "abc":
            await ada.commit(Seen(page=page), flush=True)
        assert (await ben.sync_with(ada)).is_success
        await ada.cut(PAGES)
        await ada.commit(Seen(page="d"), flush=True)
        await ada.cut(PAGES)
        assert (await ben.sync_with(ada)).is_success
        assert await ben.fold(PAGES) == await ada.fold(PAGES) == GSet(frozenset("abcd"))
        assert ben.problems == ()
        assert ben.evidence == ()

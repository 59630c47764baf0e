"""A journal without an event loop: every call of the async one, from any thread, and nothing is left behind."""

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from antiphon import (
    CHAT_SIGNAL,
    BlockingJournal,
    Fact,
    Journal,
    LocalViolation,
    NotAJournal,
    Signal,
    SignalNotFound,
    view,
)
from antiphon.app.blocking import LEFT_OUT
from antiphon.facts import ChannelCreated
from antiphon.reactive import SubscriptionClosed


class Noted(Fact, kind="blocking_test.noted", version=1):
    text: str


@view(Noted, initial=frozenset())
def notes(state: frozenset[str], fact: Noted) -> frozenset[str]:
    return state | {fact.text}


def opened(folder: Path, author: str = "ada") -> BlockingJournal:
    return BlockingJournal.open(folder / author, author=author)


def test_what_is_committed_is_read_at_once_and_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        assert journal.commit(Noted(text="one")).seq == 2
        assert len(journal.commit_all([Noted(text="two"), Noted(text="three")]).fact_ids) == 2
        assert journal.snapshot(notes) == {"one", "two", "three"}
        assert journal.sql("select count(*) from blocking_test_noted").fetchone() == (3,)
        assert journal.statistics().fact_count == journal.fact_count
    with opened(tmp_path) as journal:
        assert (journal.author, journal.snapshot(notes)) == ("ada", {"one", "two", "three"})


def test_every_thread_reads_its_own_words(tmp_path: Path) -> None:
    with opened(tmp_path) as journal, ThreadPoolExecutor(8) as pool:

        def work(who: int) -> bool:
            for number in range(20):
                journal.commit(Noted(text=f"{who} {number}"))
                if f"{who} {number}" not in journal.snapshot(notes):
                    return False
            return True

        assert all(pool.map(work, range(8)))
        assert len(journal.snapshot(notes)) == 160


def test_updates_come_in_order_and_end_with_the_journal(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    with journal.watch(notes) as updates:
        assert next(updates).value == frozenset()
        journal.commit(Noted(text="one"))
        assert updates.recv(timeout_s=10).value == {"one"}
        assert updates.try_recv() is None
        with pytest.raises(TimeoutError):
            updates.recv(timeout_s=0.01)
        told: list[frozenset[str]] = []
        reader = threading.Thread(target=lambda: told.extend(update.value for update in updates))
        reader.start()
        journal.commit(Noted(text="two"))
        while not told:
            journal.flush()
        with pytest.raises(SignalNotFound):
            journal.watch(Signal("app:nobody", int)).__enter__()
        journal.close()
        reader.join(10)
        assert told[-1] == {"one", "two"}
        with pytest.raises((SubscriptionClosed, LocalViolation)):
            updates.recv()


def test_two_journals_sync_by_address(tmp_path: Path) -> None:
    with opened(tmp_path) as ada, opened(tmp_path, "ben") as ben:
        ada.commit(ChannelCreated(context_id="c", channel_id="h", name="H", created_at=1, creator_id=ada.authority))
        with ada.serve() as address:
            assert ben.sync(address).is_success
        assert ada.fingerprint == ben.fingerprint
        assert ben.snapshot(CHAT_SIGNAL).channel("h") is not None


def test_closing_leaves_no_thread_and_says_so_to_later_calls(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    journal = opened(tmp_path)
    journal.close()
    journal.close()
    assert not [thread for thread in set(threading.enumerate()) - before if "journal" in thread.name]
    with pytest.raises(LocalViolation, match="open it again"):
        journal.commit(Noted(text="late"))
    (tmp_path / "file").write_text("no journal")
    with pytest.raises(NotAJournal):
        BlockingJournal.open(tmp_path / "file")
    assert not [thread for thread in set(threading.enumerate()) - before if "journal" in thread.name]


def test_a_call_from_the_journals_own_thread_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        problems: list[str] = []

        def within() -> None:
            try:
                journal.commit(Noted(text="within"))
            except LocalViolation as problem:
                problems.append(str(problem))

        journal._loop.do(within)
        assert "wait for itself" in problems[0]


def test_nothing_of_the_journal_was_forgotten() -> None:
    awaited = {name for name, member in vars(Journal).items() if inspect.iscoroutinefunction(member) and name[0] != "_"}
    assert awaited - set(vars(BlockingJournal)) == set(LEFT_OUT)
    for name in awaited - {"snapshot", "close"} - set(LEFT_OUT):
        assert inspect.signature(getattr(BlockingJournal, name)) == inspect.signature(getattr(Journal, name))


def test_it_works_beside_a_running_loop(tmp_path: Path) -> None:
    async def main() -> frozenset[str]:
        with opened(tmp_path) as journal:
            await asyncio.to_thread(journal.commit, Noted(text="from a loop"))
            return await asyncio.to_thread(journal.snapshot, notes)

    assert asyncio.run(main()) == {"from a loop"}

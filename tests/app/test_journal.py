"""The front door, word by word: what ``antiphon.Journal`` promises and what it refuses."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon import Fact, Journal, upcast, view
from antiphon.app.history import HistoryError, open_history
from antiphon.facts import AntiphonError, FactError, LocalViolation, PayloadTooLarge, SchemaDrift, domain_fact
from antiphon.journal import JournalClosed, JournalHeld
from antiphon.reactive import ERROR_SIGNAL, ReactiveError, Signal, SignalNotFound
from antiphon.testing.clock import VirtualClock
from antiphon.testing.disk import FaultyDisk

pytestmark = pytest.mark.asyncio


class Said(Fact, kind="test.said", version=1):
    text: str


class Counted(Fact, kind="test.counted", version=1):
    context_id: str
    number: int


class Placed(Fact, kind="test.placed", version=1, context="context_id"):
    context_id: str
    number: int


class Dated(Fact, kind="test.dated", version=1, time="at_ms"):
    at_ms: int
    text: str


@view(Said, initial=())
def texts(state: tuple[str, ...], fact: Said) -> tuple[str, ...]:
    return (*state, fact.text)


@view(Said, initial=())
def authors(state: tuple[str, ...], fact: Said) -> tuple[str, ...]:
    return (*state, f"{fact.meta.author}: {fact.text}")


@view(Placed, initial=())
def places(state: tuple[tuple[str, int], ...], fact: Placed) -> tuple[tuple[str, int], ...]:
    return (*state, (fact.context_id, fact.number))


async def reread(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Fingerprint and texts after reopening."""
    async with Journal.open(folder) as journal:
        assert journal.problems == ()
        return journal.fingerprint, await journal.snapshot(texts)


# What a commit gives


async def test_a_receipt_names_the_fact_its_chain_and_its_place(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat", author="ada") as journal:
        fact = Said(text="hello")
        receipt = await journal.commit(fact)
        assert (len(receipt.fact_id), len(receipt.chain), receipt.seq) == (64, 32, 2)
        assert receipt.namespace == "antiphon.default"
        meta = fact.meta
        assert meta.fact_id == receipt.fact_id
        assert (meta.author, meta.authority, meta.seq) == ("ada", journal.authority, 2)
        assert (meta.chain, meta.at, meta.namespace) == (receipt.chain, receipt.at, receipt.namespace)


async def test_the_first_update_is_the_current_value_and_later_ones_follow(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat", author="ada") as journal:
        await journal.commit(Said(text="before"))
        async with journal.watch(authors) as updates:
            await journal.commit(Said(text="after"))
            seen = [await anext(updates), await anext(updates)]
        assert [update.value for update in seen] == [("ada: before",), ("ada: before", "ada: after")]
        assert [(update.seq, update.skipped) for update in seen] == [(0, 0), (1, 0)]


async def test_a_batch_within_a_window_is_one_step_and_a_larger_one_says_that_it_was_not(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        small = await journal.commit_all([Said(text=str(number)) for number in range(1_000)])
        assert (small.window_count, small.is_atomic, len(small.fact_ids)) == (1, True, 1_000)
        large = await journal.commit_all(Said(text=str(number)) for number in range(1_000, 3_500))
        assert (large.window_count, large.is_atomic, len(large.fact_ids)) == (3, False, 2_500)
        wide = await journal.commit_all([Said(text="x" * 60_000) for _ in range(10)])
        assert not wide.is_atomic
        assert wide.window_count >= 3
        shown = await journal.snapshot(texts)
        assert shown[:3_500] == tuple(str(number) for number in range(3_500))


async def test_the_receipt_of_a_batch_over_contexts_keeps_the_order_given(tmp_path: Path) -> None:
    facts = [Placed(context_id=f"room{number % 3}", number=number) for number in range(30)]
    async with Journal.open(tmp_path / "chat") as journal:
        receipt = await journal.commit_all(facts)
        assert receipt.is_atomic
        assert receipt.fact_ids == tuple(fact.meta.fact_id for fact in facts)
        assert sorted(journal.engine.index.namespaces()) == ["room0", "room1", "room2"]


async def test_nothing_to_commit_is_no_window(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        receipt = await journal.commit_all([])
        assert (receipt.fact_ids, receipt.window_count, receipt.is_atomic) == ((), 0, True)
        assert journal.fact_count == 0


async def test_one_object_committed_twice_is_two_facts(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        fact = Said(text="again")
        first, second = await journal.commit(fact), await journal.commit(fact)
        assert first.fact_id != second.fact_id
        assert fact.meta.fact_id == first.fact_id
        assert await journal.snapshot(texts) == ("again", "again")


# What a commit refuses, before anything is taken


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        pytest.param(lambda: Said(text="x" * 65_536), PayloadTooLarge, id="too large"),
        pytest.param(lambda: Placed(context_id="", number=1), LocalViolation, id="no context"),
        # 200 characters, but 600 bytes, and a chain counts bytes.
        pytest.param(lambda: Placed(context_id="語" * 200, number=1), LocalViolation, id="a context too long in bytes"),
        pytest.param(lambda: Placed(context_id="a", number=2**63), FactError, id="a wide integer"),
        pytest.param(lambda: Said.model_construct(text=1.5), ValueError, id="a float past validation"),
        pytest.param(lambda: Said(text="a").model_copy(update={"text": 1.5}), ValueError, id="a float by copying"),
        pytest.param(lambda: "hello", LocalViolation, id="no fact"),
    ],
)
async def test_what_cannot_be_kept_is_refused_and_takes_nothing_with_it(
    tmp_path: Path, bad: Callable[[], Any], error: type[Exception]
) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        with pytest.raises(error):
            await journal.commit_all([Said(text="good"), bad()])
        with pytest.raises(error):
            await journal.commit(bad())
        assert journal.fact_count == 0
        await journal.commit(Said(text="still works"))
        assert await journal.snapshot(texts) == ("still works",)


async def test_a_class_without_a_kind_of_its_own_is_refused(tmp_path: Path) -> None:
    class Louder(Said):
        volume: int

    async with Journal.open(tmp_path / "chat") as journal:
        with pytest.raises(FactError, match="no kind"):
            await journal.commit(Louder(text="a", volume=11))
        with pytest.raises(FactError, match="no kind"):
            await journal.commit(Fact())


async def test_an_unregistered_signal_is_refused_at_once(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        with pytest.raises(SignalNotFound, match="app:nothing"):
            journal.watch(Signal("app:nothing", tuple))
        with pytest.raises(SignalNotFound):
            journal.read(texts)


# A life: open, use, close, again


async def test_opening_using_and_closing_twice_in_one_process_keeps_everything(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat", author="ada") as journal:
        await journal.commit(Said(text="one"))
        first = journal.fingerprint
    async with Journal.open(tmp_path / "chat") as journal:
        assert journal.author == "ada"
        assert journal.fingerprint == first
        receipt = await journal.commit(Said(text="two"))
        assert receipt.seq == 3, "left cleanly, the same chain goes on"
        second = journal.fingerprint
    assert await reread(tmp_path / "chat") == (second, ("one", "two"))


async def test_a_journal_may_be_awaited_instead_of_entered(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "chat")
    await journal.commit(Said(text="one"))
    await journal.close()
    await journal.close()
    for use in (journal.commit(Said(text="two")), journal.snapshot(texts), journal.sql("select 1")):
        with pytest.raises(JournalClosed, match="open it again"):
            await use


async def test_tasks_of_one_loop_commit_side_by_side_without_gaps(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:

        async def talk(name: int) -> list[str]:
            return [(await journal.commit(Said(text=f"{name}.{turn}"))).fact_id for turn in range(10)]

        async with asyncio.TaskGroup() as group:
            talks = [group.create_task(talk(name)) for name in range(20)]
        said = [fact_id for task in talks for fact_id in task.result()]
        assert len(set(said)) == 200
        assert journal.fact_count == 201
        assert journal.statistics().window_count < 60, "commits that wait together share a window"
        shown = await journal.snapshot(texts)
    assert sorted(shown) == sorted(f"{name}.{turn}" for name in range(20) for turn in range(10))
    assert all(
        [text for text in shown if text.startswith(f"{name}.")] == [f"{name}.{turn}" for turn in range(10)]
        for name in range(20)
    ), "a task reads its own words in the order it said them"


async def test_two_who_close_at_once_both_find_it_closed(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "chat")
    waiting = asyncio.ensure_future(journal.commit(Said(text="last words")))
    await asyncio.sleep(0)

    async def close_and_reopen() -> bool:
        await journal.close()
        # Whoever returns from close may rely on it.
        with pytest.raises(JournalClosed):
            await journal.commit(Said(text="too late"))
        return not journal_is_held(tmp_path / "chat")

    async with asyncio.TaskGroup() as group:
        closers = [group.create_task(close_and_reopen()) for _ in range(2)]
    assert [closer.result() for closer in closers] == [True, True]
    assert (await waiting).seq == 2, "what was committed before is durable"


def journal_is_held(folder: Path) -> bool:
    import fcntl

    with (folder / "LOCK").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancelled_close_gives_the_folder_back_all_the_same(tmp_path: Path, turns: int) -> None:
    journal = await Journal.open(tmp_path / "chat")
    await journal.commit(Said(text="one"))
    closing = asyncio.ensure_future(journal.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    closing.cancel()
    await asyncio.wait([closing])
    if not closing.cancelled() or turns:
        assert not journal_is_held(tmp_path / "chat")
    await journal.close()
    assert (await reread(tmp_path / "chat"))[1] == ("one",)


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_a_cancelled_open_leaves_no_lock_behind(tmp_path: Path, turns: int) -> None:
    async def start() -> None:
        await Journal.open(tmp_path / "chat")

    opening = asyncio.ensure_future(start())
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    async with Journal.open(tmp_path / "chat") as journal:
        await journal.commit(Said(text="one"))


async def test_another_opening_is_refused_with_the_pid_of_the_owner(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat"):
        with pytest.raises(JournalHeld, match=rf"this process \(pid {os.getpid()}\)"):
            await Journal.open(tmp_path / "chat")
        program = (
            "import asyncio, sys; from antiphon import Journal\n"
            "async def main():\n"
            "    await Journal.open(sys.argv[1])\n"
            "asyncio.run(main())"
        )
        other = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program, str(tmp_path / "chat")], capture_output=True, text=True
        )
        assert f"is held by process {os.getpid()}; close it there" in other.stderr


async def test_a_forked_child_may_not_write_and_takes_nothing_with_it(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        await journal.commit(Said(text="parent"))
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            said = "committed"
            try:
                journal.commit(Said(text="child")).send(None)
            except BaseException as problem:
                said = f"{type(problem).__name__}: {problem}"
            try:
                journal.close().send(None)
            except StopIteration:
                said += "; closed"
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.read(reading, 1_000) == (
            b"LocalViolation: a forked child may not write to a journal; open it in one process only; closed"
        )
        os.close(reading)
        await journal.commit(Said(text="parent again"))
        assert journal_is_held(tmp_path / "chat")
    assert (await reread(tmp_path / "chat"))[1] == ("parent", "parent again")


async def test_another_event_loop_is_refused(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        with pytest.raises(LocalViolation, match="another event loop"):
            await asyncio.to_thread(asyncio.run, journal.commit(Said(text="elsewhere")))


async def test_two_journals_live_side_by_side_in_one_process(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "a", author="ada") as one, Journal.open(tmp_path / "b", author="ben") as other:
        fact = Said(text="in both")
        first, second = await asyncio.gather(one.commit(fact), other.commit(fact))
        assert first.fact_id != second.fact_id
        assert one.fingerprint != other.fingerprint
        assert await one.snapshot(authors) == ("ada: in both",)
        assert await other.snapshot(authors) == ("ben: in both",)


# Cancelling a commit


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("flush", [False, True])
async def test_a_commit_cancelled_at_any_point_is_wholly_in_or_wholly_out(
    tmp_path: Path, turns: int, *, flush: bool
) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        committing = asyncio.ensure_future(journal.commit_all([Said(text=part) for part in "abc"], flush=flush))
        for _ in range(turns):
            await asyncio.sleep(0)
        committing.cancel()
        await asyncio.wait([committing])
        await journal.flush()
        shown = await journal.snapshot(texts)
        assert shown in ((), ("a", "b", "c"))
    assert (await reread(tmp_path / "chat"))[1] == shown


async def test_a_commit_cancelled_while_the_disk_works_is_in(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with Journal.open(tmp_path / "chat", disk=disk) as journal:
        await journal.commit(Said(text="first"))
        disk.hold()
        committing = asyncio.ensure_future(journal.commit_all([Said(text=part) for part in "abc"], flush=True))
        await asyncio.sleep(0)
        await asyncio.to_thread(disk.wait_arrived)
        committing.cancel()
        await asyncio.wait([committing])
        disk.let_go()
        await journal.flush()
        assert await journal.snapshot(texts) == ("first", "a", "b", "c")


async def test_a_large_commit_cancelled_half_way_leaves_whole_windows(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with Journal.open(tmp_path / "chat", disk=disk) as journal:
        await journal.commit(Said(text="first"))
        disk.hold()
        facts = [Said(text=str(number)) for number in range(20_000)]
        committing = asyncio.ensure_future(journal.commit_all(facts))
        await asyncio.to_thread(disk.wait_arrived)
        for _ in range(5):
            await asyncio.sleep(0)
        committing.cancel()
        await asyncio.wait([committing])
        disk.let_go()
        await journal.flush()
        count = len(await journal.snapshot(texts)) - 1
        assert 0 < count < 20_000, "the rest was still waiting for room"
        assert count % 1_000 == 0


# Types over time


async def test_a_changed_type_is_drift_when_the_journal_is_reopened_and_a_new_version_is_not(tmp_path: Path) -> None:
    class Noted(Fact, kind="test.noted", version=1):
        text: str

    class NotedOtherwise(Fact, kind="test.noted", version=1):
        text: str
        stars: int

    class NotedBetter(Fact, kind="test.noted", version=2):
        text: str
        stars: int

    @upcast(NotedBetter, from_=1, to=2)
    def add_stars(old: dict[str, Any]) -> dict[str, Any]:
        return old | {"stars": 0}

    @view(NotedBetter, initial=())
    def stars(state: tuple[int, ...], fact: NotedBetter) -> tuple[int, ...]:
        return (*state, fact.stars)

    async with Journal.open(tmp_path / "chat") as journal:
        await journal.commit(Noted(text="a"))
    with pytest.raises(SchemaDrift, match="raise version="):
        await Journal.open(tmp_path / "chat", types=[NotedOtherwise])
    async with Journal.open(tmp_path / "chat") as journal:  # the refused opening gave the folder back
        with pytest.raises(SchemaDrift, match=r"test\.noted v1"):
            await journal.commit(NotedOtherwise(text="b", stars=1))
        assert journal.fact_count == 2
    async with Journal.open(tmp_path / "chat", types=[NotedBetter]) as journal:
        await journal.commit(NotedBetter(text="b", stars=5))
        assert await journal.snapshot(stars) == (0, 5)


async def test_drift_is_seen_without_duckdb_as_well(tmp_path: Path) -> None:
    class Noted(Fact, kind="test.noted", version=1):
        text: str

    class NotedOtherwise(Fact, kind="test.noted", version=1):
        text: int

    async with Journal.open(tmp_path / "chat") as journal:
        await journal.commit(Noted(text="a"))
    for path in (tmp_path / "chat").glob("journal.duckdb*"):
        path.unlink()
    with pytest.raises(SchemaDrift):
        await Journal.open(tmp_path / "chat", types=[NotedOtherwise])


async def test_a_kind_that_nobody_knows_is_kept_and_folds_once_it_is_registered(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        await journal.commit_all([Said(text="a"), Said(text="b")])
        fingerprint = journal.fingerprint
    async with Journal.open(tmp_path / "chat") as journal:  # this engine has never heard of test.said
        assert not journal.engine.registry.is_registered("test.said")
        assert journal.fingerprint == fingerprint
        rows = (await journal.sql("select count(*) from history where kind = 'test.said'")).fetchall()
        assert rows == [(2,)]
        assert await journal.snapshot(texts) == ("a", "b")


async def test_an_upcaster_that_raises_hides_its_fact_and_no_other(tmp_path: Path) -> None:
    class Old(Fact, kind="test.upcasted", version=1):
        text: str

    class New(Fact, kind="test.upcasted", version=2):
        text: str
        size: int

    @upcast(New, from_=1, to=2)
    def measure(old: dict[str, Any]) -> dict[str, Any]:
        return old | {"size": 100 // len(old["text"])}

    @view(New, initial=())
    def sizes(state: tuple[int, ...], fact: New) -> tuple[int, ...]:
        return (*state, fact.size)

    async with Journal.open(tmp_path / "chat") as journal:
        await journal.commit_all([Old(text="ab"), Old(text=""), Old(text="abcd")])
    async with Journal.open(tmp_path / "chat", types=[New]) as journal, journal.errors() as errors:
        assert await journal.snapshot(sizes) == (50, 25)
        told = [await anext(errors), await anext(errors)]
        assert told[-1].value is not None
        assert "test.upcasted" in told[-1].value.text


async def test_facts_of_a_version_that_cannot_be_read_are_a_problem_that_says_what_to_do(
    tmp_path: Path,
) -> None:
    class First(Fact, kind="test.grown", version=1):
        text: str

    class Second(Fact, kind="test.grown", version=2):
        text: str
        size: int

    @view(First, initial=())
    def old_texts(state: tuple[str, ...], fact: First) -> tuple[str, ...]:
        return (*state, fact.text)

    @view(Second, initial=())
    def new_texts(state: tuple[str, ...], fact: Second) -> tuple[str, ...]:
        return (*state, fact.text)

    async with Journal.open(tmp_path / "ada") as ada:
        await ada.commit_all([First(text="a"), First(text="b")])
    async with Journal.open(tmp_path / "ada") as ada:
        assert await ada.snapshot(new_texts) == (), "nobody said how a First becomes a Second"
        (problem,) = ada.problems
        assert "test.grown version 1" in problem
        assert "@upcast(Second, from_=1, to=2)" in problem
        assert "others like it" in problem
        await ada.commit(Second(text="c", size=1))
    async with Journal.open(tmp_path / "ada") as ada, ada.errors() as errors:
        assert await ada.snapshot(old_texts) == ("a", "b")
        (problem,) = ada.problems
        assert "test.grown version 2" in problem
        assert "newer program" in problem
        told = [await anext(errors), await anext(errors)][-1].value
        assert told is not None
        assert (told.code, told.type_id) == ("newer-version", "test.grown")


async def test_many_facts_that_cannot_be_read_are_told_once_a_kind_and_window(tmp_path: Path) -> None:
    class First(Fact, kind="test.grown", version=1):
        text: str

    class Second(Fact, kind="test.grown", version=2):
        text: str
        size: int

    @view(Second, initial=())
    def texts_of(state: tuple[str, ...], fact: Second) -> tuple[str, ...]:
        return (*state, fact.text)

    async with Journal.open(tmp_path / "ada", types=[First]) as ada:
        await ada.commit_all([First(text=str(number)) for number in range(500)])
        async with Journal.open(tmp_path / "bo", types=[Second]) as bo:
            told = tell_of(bo)
            assert (await bo.sync_with(ada)).is_success
            assert 0 < len(told) < 20, "one a window, not one a fact"
            assert "more like it" in told[0].text
    async with Journal.open(tmp_path / "ada") as ada:
        told = tell_of(ada)
        assert await ada.snapshot(texts_of) == ()
        (only,) = told
        assert (only.code, only.type_id) == ("undecodable", "test.grown")
        (problem,) = ada.problems
        assert "others like it" in problem


def tell_of(journal: Journal) -> list[Any]:
    """The troubles that a journal tells of from now on."""
    told: list[Any] = []
    subscription = journal.engine.hub.subscribe(ERROR_SIGNAL, replay_current=False)
    subscription.for_each(lambda update: told.append(update.value))
    return told


async def test_a_newer_version_that_a_peer_sends_is_told_once(tmp_path: Path) -> None:
    class First(Fact, kind="test.grown", version=1):
        text: str

    class Second(Fact, kind="test.grown", version=2):
        text: str
        size: int

    async with (
        Journal.open(tmp_path / "ada", types=[Second]) as ada,
        Journal.open(tmp_path / "bo", types=[First]) as bo,
    ):
        for size in range(3):
            await ada.commit(Second(text="c", size=size))
            assert (await bo.sync_with(ada)).is_success
        (problem,) = bo.problems
        assert "test.grown version 2" in problem


# Views


async def test_a_view_that_is_awake_is_a_live_signal_and_one_that_sleeps_says_how_to_wake_it(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        with pytest.raises(SignalNotFound, match=r"await journal\.wake"):
            journal.live(texts)
        await journal.wake(texts)
        count = journal.live(texts).map(len)
        await journal.commit(Said(text="a"))
        await journal.flush()
        assert count.value == 1


async def test_a_view_that_raises_on_a_fact_leaves_it_out_and_tells(tmp_path: Path) -> None:
    @view(Said, initial=0)
    def lengths(state: int, fact: Said) -> int:
        if fact.text == "bad":
            raise ValueError("no such word")
        return state + len(fact.text)

    async with Journal.open(tmp_path / "chat") as journal:
        await journal.commit_all([Said(text="one"), Said(text="bad")])
        async with journal.errors() as errors:
            assert await journal.snapshot(lengths) == 3, "history"
            await journal.commit_all([Said(text="three"), Said(text="bad")])
            assert journal.read(lengths) == 8, "live"
            assert await journal.snapshot(texts) == ("one", "bad", "three", "bad"), "other views see it"
            seen = [await anext(errors) for _ in range(3)]
        told = [update.value for update in seen if update.value is not None]
        assert len({problem.fact_id for problem in told}) == 2
        assert all("lengths failed on test.said" in problem.text and "no such word" in problem.text for problem in told)


async def test_a_watcher_that_gives_up_does_not_take_another_with_it(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        await journal.commit_all([Said(text=str(number)) for number in range(1_000)])
        first = asyncio.ensure_future(journal.snapshot(texts))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(journal.snapshot(texts))
        await asyncio.sleep(0)
        first.cancel()
        assert len(await second) == 1_000
        assert first.cancelled()


async def test_closing_while_a_view_wakes_up_ends_the_waking_with_a_typed_error_or_its_value(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "chat")
    await journal.commit_all([Said(text=str(number)) for number in range(2_000)])
    waking = asyncio.ensure_future(journal.snapshot(texts))
    await asyncio.sleep(0)
    await journal.close()
    await asyncio.wait([waking])
    problem = waking.exception()
    assert problem is None or isinstance(problem, AntiphonError | ReactiveError), problem


async def test_facts_that_arrive_late_stand_where_their_time_puts_them(tmp_path: Path) -> None:
    @view(Dated, initial=())
    def diary(state: tuple[str, ...], fact: Dated) -> tuple[str, ...]:
        return (*state, fact.text)

    async with Journal.open(tmp_path / "chat") as journal:
        await journal.wake(diary)
        for moment in (5, 1, 9, -3, 7):
            await journal.commit(Dated(at_ms=moment, text=str(moment)), flush=True)
        assert journal.read(diary) == ("-3", "1", "5", "7", "9")
    async with Journal.open(tmp_path / "chat") as journal:
        assert await journal.snapshot(diary) == ("-3", "1", "5", "7", "9")


async def test_the_clock_is_the_one_that_was_handed_in(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with Journal.open(tmp_path / "chat", clock=clock) as journal:
        first = await journal.commit(Said(text="a"))
        clock.advance(90_000)
        second = await journal.commit(Said(text="b"))
        assert (first.at, second.at) == (clock.now_ms() - 90_000, clock.now_ms())


# DuckDB comes and goes


async def write_some(folder: Path) -> tuple[str, tuple[str, ...]]:
    async with Journal.open(folder) as journal:
        await journal.commit_all([Said(text=str(number)) for number in range(50)])
        await journal.sql("select 1")
        return journal.fingerprint, await journal.snapshot(texts)


def remove(path: Path) -> None:
    path.unlink()


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def cut_in_half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def turn_into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [remove, fill_with_garbage, cut_in_half, make_empty, turn_into_a_folder])
async def test_a_harmed_database_is_rebuilt_from_the_log_and_told(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = tmp_path / "chat"
    before = await write_some(folder)
    harm(folder / "journal.duckdb")
    async with Journal.open(folder) as journal:
        assert (journal.fingerprint, await journal.snapshot(texts)) == before
        rows = (await journal.sql("select count(*) from test_said")).fetchall()
        assert rows == [(50,)]
        if harm is not remove:
            assert any("journal.duckdb" in problem for problem in journal.problems), journal.problems
            assert list(folder.glob("journal.duckdb.set-aside-*")), "set aside, never deleted"
        receipt = await journal.commit(Said(text="and on"))
        assert receipt.seq == 52, "the log is the journal: its chain goes on"


async def test_a_database_of_another_journal_is_set_aside(tmp_path: Path) -> None:
    before = await write_some(tmp_path / "a")
    await write_some(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "journal.duckdb", tmp_path / "a" / "journal.duckdb")
    async with Journal.open(tmp_path / "a") as journal:
        assert (journal.fingerprint, await journal.snapshot(texts)) == before
        assert any("belongs to journal" in problem for problem in journal.problems)
        assert (await journal.sql("select count(*) from test_said")).fetchall() == [(50,)]


HOLDER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


async def with_held_database(folder: Path, work: Callable[[], Awaitable[None]]) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(folder / "journal.duckdb"), stdin=-1, stdout=-1
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    await holder.stdout.readline()
    try:
        await work()
    finally:
        holder.stdin.close()
        await holder.wait()


async def test_a_database_held_by_another_process_holds_up_neither_opening_nor_committing(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    before = await write_some(folder)
    opened: list[Journal] = []

    async def use() -> None:
        journal = await Journal.open(folder)
        opened.append(journal)
        assert (journal.fingerprint, await journal.snapshot(texts)) == before
        assert any("held by process" in problem for problem in journal.problems)
        await journal.commit(Said(text="meanwhile"))
        with pytest.raises(AntiphonError, match="ask again later"):
            await journal.sql("select 1")

    await with_held_database(folder, use)
    journal = opened[0]
    # Free again: the next question finds everything.
    assert (await journal.sql("select count(*) from test_said")).fetchall() == [(51,)]
    await journal.close()


async def test_a_log_that_lost_its_end_does_not_reuse_numbers(tmp_path: Path) -> None:
    """A backup of the log restored under a newer database: what is committed next goes into a chain of its own."""
    folder = tmp_path / "chat"
    async with Journal.open(folder) as journal:
        await journal.commit(Said(text="old"))
    log = folder / "log" / "00000001.ndjson"
    backup = log.read_bytes()
    async with Journal.open(folder) as journal:
        lost = await journal.commit(Said(text="lost"))
    log.write_bytes(backup)
    # As after a crash in this boot: only the database knows better.
    lock = folder / "LOCK"
    lock.write_text(lock.read_text().replace('"clean": true', '"clean": false'))
    async with Journal.open(folder) as journal:
        assert any("knows more than the log" in problem for problem in journal.problems)
        receipt = await journal.commit(Said(text="new"))
        assert receipt.chain != lost.chain
        assert await journal.snapshot(texts) == ("old", "new")


async def test_a_damaged_frame_is_told_and_its_numbers_are_not_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    async with Journal.open(folder) as journal:
        for text in ("one", "two", "three"):
            first = await journal.commit(Said(text=text), flush=True)
    for path in folder.glob("journal.duckdb*"):
        path.unlink()
    log = folder / "log" / "00000001.ndjson"
    log.write_bytes(log.read_bytes().replace(b'"two"', b'"2wo"'))
    async with Journal.open(folder) as journal:
        assert any("log file 1, bytes" in problem for problem in journal.problems)
        receipt = await journal.commit(Said(text="four"))
        assert receipt.chain != first.chain, "numbers 4 and 5 are taken: peers may hold them"
        assert "one" in await journal.snapshot(texts)


async def test_damage_below_the_database_leaves_the_rest_to_views(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    async with Journal.open(folder) as journal:
        for text in ("one", "two", "three"):
            await journal.commit(Said(text=text), flush=True)
    log = folder / "log" / "00000001.ndjson"
    log.write_bytes(log.read_bytes().replace(b'"two"', b'"2wo"'))
    async with Journal.open(folder) as journal, journal.errors() as errors:
        assert await journal.snapshot(texts) == ("one", "three")
        told = [await anext(errors), await anext(errors)][-1].value
        assert told is not None
        assert "log file 1, bytes" in told.text
        assert "sync with a peer" in told.text


async def test_a_fact_whose_type_cannot_name_its_context_is_refused_and_not_lost(tmp_path: Path) -> None:
    @domain_fact(type_id="test.nowhere", context_fn=lambda fact: fact.room or None)
    class Nowhere(Fact):
        room: str

    async with Journal.open(tmp_path / "journal", author="ada") as journal:
        with pytest.raises(LocalViolation, match="name of a context"):
            await journal.commit_all([Nowhere(room="hall"), Nowhere(room="")])
        assert (await journal.sql("select * from history where kind = 'test.nowhere'")).fetchall() == []
        await journal.commit(Nowhere(room="hall"))


async def test_who_only_receives_has_typed_columns_too_and_keeps_them(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "ada", author="ada") as ada,
        Journal.open(tmp_path / "ben", author="ben") as ben,
    ):
        await ada.commit(Said(text="hello"))
        await ada.sync_with(ben)
        assert await ben.snapshot(texts) == ("hello",)
        question = "select text from test_said"
        assert (await ben.sql(question)).fetchall() == [("hello",)]
        known = "select current_version, schema_hash from fact_types where kind = 'test.said'"
        expected = [(1, Said.fact_type.schema_hash)]
        assert (await ben.sql(known)).fetchall() == expected
    with open_history(tmp_path / "ben") as history:
        assert history.sql(question).fetchall() == [("hello",)]
    (tmp_path / "ben" / "journal.duckdb").unlink()
    async with Journal.open(tmp_path / "ben", author="ben") as ben:
        assert (await ben.sql(question)).fetchall() == [("hello",)]
        assert (await ben.sql(known)).fetchall() == expected


async def test_a_received_window_brings_the_types_that_were_met_before(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "ada", author="ada") as ada,
        Journal.open(tmp_path / "ben", author="ben") as ben,
    ):
        assert await ben.snapshot(texts) == ()
        await ada.commit(Said(text="hello"))
        await ada.sync_with(ben)
    with open_history(tmp_path / "ben") as history:
        assert history.sql("select text from test_said").fetchall() == [("hello",)]


async def test_a_newer_version_has_its_columns_as_soon_as_it_is_watched(tmp_path: Path) -> None:
    class First(Fact, kind="test.growing", version=1):
        text: str

    class Second(Fact, kind="test.growing", version=2, min_version=1):
        text: str
        mood: str = "calm"

    @view(Second, initial=())
    def moods(state: tuple[str, ...], fact: Second) -> tuple[str, ...]:
        return (*state, fact.mood)

    async with Journal.open(tmp_path / "journal", author="ada") as journal:
        await journal.commit(First(text="a"))
        assert await journal.snapshot(moods) == ("calm",)
        assert (await journal.sql("select text, mood from test_growing")).fetchall() == [("a", "calm")]

    class Other(Fact, kind="test.growing", version=2, min_version=1):
        text: str
        colour: str = "red"

    async with Journal.open(tmp_path / "journal", author="ada") as journal:
        with pytest.raises(SchemaDrift):
            await journal.commit(Other(text="b"))


async def test_asking_an_empty_journal_writes_nothing(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "journal", author="ada") as journal:
        await journal.snapshot(texts)
        assert (await journal.sql("select count(*) from history")).fetchall() == [(0,)]
        assert not list((tmp_path / "journal" / "log").glob("*"))


async def test_a_history_makes_columns_of_types_it_is_given(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "ada", author="ada") as ada,
        Journal.open(tmp_path / "ben", author="ben") as ben,
    ):
        await ada.commit(Said(text="hello"))
        await ada.sync_with(ben)
        with open_history(tmp_path / "ben") as untyped, pytest.raises(HistoryError, match="text"):
            untyped.sql("select text from test_said")
        with open_history(tmp_path / "ben", types=[Said]) as history:
            assert history.sql("select text from test_said").fetchall() == [("hello",)]
            await ada.commit(Said(text="again"))
            await ada.sync_with(ben)
            assert history.refresh() == 1
            assert history.sql("select text from test_said").fetchall() == [("hello",), ("again",)]

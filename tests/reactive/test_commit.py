"""Which facts are still awaited, and which were seen before."""

from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from antiphon.reactive import PendingCommit, SchedulerShutdown
from antiphon.reactive.commit import CommitTable, SeenIds


def test_a_commit_settles_once_all_of_its_facts_have() -> None:
    table, log = CommitTable(), list[str]()
    commit = PendingCommit(["a", "b"])
    commit.on_settled(lambda: log.append("settled"))
    table.add(commit)
    table.settle(["a", "other"])
    assert (commit.is_settled, log) == (False, [])
    table.settle(["b", "b"])
    assert (commit.is_processed, log, len(table.waiting)) == (True, ["settled"], 0)
    commit.on_settled(lambda: log.append("at once"))
    assert log == ["settled", "at once"]


def test_a_commit_without_facts_is_settled_from_the_start() -> None:
    assert PendingCommit([]).is_processed


def test_two_commits_may_wait_for_one_fact() -> None:
    table = CommitTable()
    commits = [PendingCommit(["a"]), PendingCommit(["a", "b"])]
    for commit in commits:
        table.add(commit)
    table.settle(["a"])
    assert [commit.is_processed for commit in commits] == [True, False]
    table.fail_all(SchedulerShutdown("process these facts"))
    assert [commit.error is None for commit in commits] == [True, False]


def test_a_forgotten_commit_calls_nobody() -> None:
    commit = PendingCommit(["a"])
    log: list[str] = []
    commit.on_settled(lambda: log.append("called"))
    commit.fire_and_forget()
    commit.settle("a")
    assert (commit.is_processed, log) == (True, [])


def test_repeats_in_a_batch_and_across_batches_are_dropped_in_order() -> None:
    seen = SeenIds(10)
    assert seen.select_new("abcab", "abcab") == (["a", "b", "c"], ["a", "b", "c"])
    assert seen.select_new("dbe", "dbe") == (["d", "e"], ["d", "e"])
    assert seen.select_new("abcde", "abcde") == ([], [])


@given(st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=40))
def test_the_last_ids_are_remembered_and_memory_is_bounded(batches: list[list[int]]) -> None:
    capacity = 8
    seen = SeenIds(capacity)
    history: list[Hashable] = []
    for batch in batches:
        recent = set(dict.fromkeys(reversed(history)))
        newest = list(dict.fromkeys(reversed(history)))[:capacity]
        facts, fact_ids = seen.select_new(batch, batch)
        assert list(facts) == list(fact_ids)
        assert not set(facts) & set(newest)
        assert set(batch) - recent <= set(facts)
        history += batch
        assert len(seen) <= 2 * (capacity + 6)

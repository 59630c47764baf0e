"""What a run of a journal came to: told while it is open, and kept in the lock file for who looks later."""

from pathlib import Path

import orjson
import pytest

from antiphon import Fact, Journal, view
from antiphon.journal.stores.folder import LOCK_FILE, last_run_of
from antiphon.runtime.run_account import VIEWS_KEPT_MAX

pytestmark = pytest.mark.asyncio


class Noted(Fact, kind="account.noted", version=1):
    text: str


@view(Noted, initial=0)
def count(notes: int, fact: Noted) -> int:
    return notes + 1


async def test_statistics_tell_windows_latencies_lag_and_recomputations(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal:
        assert journal.statistics().scheduler.latency_p50_us is None, "nobody watches, so nothing was shown"
        async with journal.watch(count, policy="buffer(2)") as updates:
            for number in range(5):
                await journal.commit(Noted(text=str(number)))
            found = journal.statistics()
            assert (found.window_count, found.scheduler.batch_count, found.scheduler.fact_count) == (5, 5, 5)
            # From the call of commit: the window's five milliseconds are in it.
            assert found.scheduler.latency_p50_us is not None
            assert found.scheduler.latency_p95_us is not None
            assert 4_900 <= found.scheduler.latency_p50_us <= found.scheduler.latency_p95_us
            assert found.recomputation_count == 5
            assert found.lagged_count == 4, "six values came, two wait"
            assert found.follower.waiting_facts + found.follower.apply_count > 0
            (signal,) = [each for each in found.signals if each.signal_id == count.signal.signal_id]
            assert (signal.version, signal.subscriber_count, signal.lagged_count) == (5, 1, 4)
            assert updates.subscription.lagged_count == 4


async def test_the_account_of_a_run_is_there_for_who_looks_later_and_while_the_next_one_works(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    async with Journal.open(folder, author="ada") as journal:
        assert last_run_of(folder) is None, "nobody closed it yet"
        await journal.snapshot(count)
        await journal.commit_all([Noted(text="a"), Noted(text="b")], flush=True)
    run = last_run_of(folder)
    assert run is not None
    assert (run["windows"], run["batches"], run["facts_folded"], run["recomputations"]) == (1, 1, 2, 1)
    assert run["views"] == {count.view_id: {"runs": 1, "changes": 1, "failures": 0}}
    async with Journal.open(folder):
        assert last_run_of(folder) == run


async def test_a_lock_file_that_says_nothing_of_a_run_tells_of_none(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    async with Journal.open(folder, author="ada"):
        pass
    stored = orjson.loads((folder / LOCK_FILE).read_bytes())
    for said in ("yes", None, 7):
        (folder / LOCK_FILE).write_bytes(orjson.dumps(stored | {"last_run": said}))
        assert last_run_of(folder) is None
        async with Journal.open(folder) as journal:
            assert journal.problems == ()
        stored = orjson.loads((folder / LOCK_FILE).read_bytes())
    assert last_run_of(tmp_path / "nowhere") is None


async def test_only_the_busiest_views_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    async with Journal.open(folder, author="ada") as journal:
        for number in range(VIEWS_KEPT_MAX + 3):
            await journal.wake(view(Noted, initial=0, name=f"count_{number}")(lambda notes, fact: notes + 1))
        await journal.commit(Noted(text="a"), flush=True)
    run = last_run_of(folder)
    assert run is not None
    views = run["views"]
    assert isinstance(views, dict)
    assert len(views) == VIEWS_KEPT_MAX
    assert run["recomputations"] == VIEWS_KEPT_MAX + 3

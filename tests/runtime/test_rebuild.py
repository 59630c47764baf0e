"""A database built anew from log and segments is the one that was followed, row for row, whatever the log holds."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from antiphon import Fact, Journal
from antiphon.journal import Draft, StoreUnavailable
from antiphon.journal.stores import segments
from antiphon.journal.stores.duckdb import DuckdbFollower
from antiphon.journal.stores.log import log_files, segment_files
from antiphon.runtime import opening
from antiphon.testing.records import ChainWriter, make_draft

pytestmark = pytest.mark.asyncio

TABLES = (
    "internal.facts",
    "internal.chains",
    "internal.fact_type_versions",
    "internal.applied",
    "internal.bases",
    "internal.fact_acks",
    "internal.retired_upto",
    "internal.retired_facts",
    "main.fact_types",
)
# Where runs lie is compared without their places, which change when their file is sealed; the number of rows does not.
RUNS = "SELECT chain_number, first_seq, last_seq, first_previous_id, last_id FROM internal.runs ORDER BY ALL"


class Said(Fact, kind="rebuild.said", version=1):
    text: str


def newer(text: str) -> Draft:
    return Draft("rebuild.said", 7, f'{{"text":"{text}"}}'.encode(), None)


async def tell_everything(journal: Journal) -> None:
    """Own and foreign facts, linked, erased, forked twice over, unknown, newer, against their schema, and no JSON."""
    said = [
        await journal.commit(Said(text=text), flush=True) for text in ("one", "zwei – ü", 'with "c":"x","k":"y"', "")
    ]
    await journal.commit_all([Said(text=f"in bulk {number} ❤") for number in range(50)], flush=True)
    ben, eve = ChainWriter("ben"), ChainWriter("eve")
    await journal.engine.ingest([ben.say_fact(Said(text="b1"), Said(text="b2"))])
    await journal.engine.ingest([eve.say(make_draft(Said(text="after ben"), after=(ben.link,)), newer("later"))])
    await journal.commit(Said(text="names ben and eve"), flush=True)
    odd = (
        Draft("rebuild.said", 1, b'{"text":5}', None),
        Draft("rebuild.unknown", 1, b'{"x":[1,null]}', None),
        Draft("rebuild.said", 1, b'{ "text" : "spaces" }', None),
        Draft("rebuild.said", 1, b'"no object"', None),
        Draft("rebuild.said", 1, b"", None),
        Draft("rebuild.unknown", 1, b"\xff\xfe\x1f,", None),
    )
    await journal.engine.ingest([eve.say(*odd)])
    one, other = ChainWriter("mallory"), ChainWriter("mallory")
    await journal.engine.ingest([one.say_fact(Said(text="same"))])
    other.say_fact(Said(text="same"))
    await journal.engine.ingest([one.say_fact(Said(text="left"), Said(text="left again"))])
    await journal.engine.ingest([other.say_fact(Said(text="right"))])
    await journal.erase(said[0])
    await journal.engine.forgotten()


async def dump(journal: Journal) -> dict[str, list[Any]]:
    """Every row of every table that says something about facts."""

    def read(database: DuckdbFollower) -> dict[str, list[Any]]:
        rows = {table: database.query(f"SELECT * FROM {table} ORDER BY ALL").rows for table in TABLES}
        rows["runs"] = database.query(RUNS).rows
        rows["views"] = database.query(
            "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY view_name"
        ).rows
        return rows

    return await journal.engine.follower.run(read)


def drop(folder: Path) -> None:
    for path in folder.glob("journal.duckdb*"):
        path.unlink()


async def check_rebuilt(folder: Path, followed: dict[str, list[Any]]) -> None:
    drop(folder)
    async with Journal.open(folder, types=[Said]) as journal:
        rebuilt = await dump(journal)
    for table, rows in followed.items():
        assert rebuilt[table] == rows, table


def without_arrival(dumped: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """In portions, kinds that nobody registered may be met before others that somebody did."""
    return dumped | {"main.fact_types": [row[:1] + row[2:] for row in dumped["main.fact_types"]]}


async def test_a_rebuilt_database_is_the_followed_one_row_for_row_from_log_and_from_segments(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada", types=[Said]) as journal:
        await tell_everything(journal)
        followed = await dump(journal)
    reasons = {row[-2] for row in followed["internal.facts"]}
    assert {None, "not-canonical"} < reasons, "some are shown and some are hidden"
    assert any(row[11] is not None for row in followed["internal.facts"]), "one is erased"
    assert any(row[8] is not None for row in followed["internal.facts"]), "one is no text"
    assert any(row[10] is not None for row in followed["internal.facts"]), "one names causes"
    await check_rebuilt(folder, followed)
    async with Journal.open(folder) as journal:
        await journal.engine.start_file()
        await journal.engine.keeper.seal()
        followed = await dump(journal)
    assert segment_files(folder)
    assert not any(b'\n{"h":' in path.read_bytes() for path in log_files(folder).values()), "all facts lie in segments"
    await check_rebuilt(folder, followed)


async def test_a_long_opening_tells_how_far_it_is_and_a_short_one_says_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        for number in range(3):
            await journal.commit(Said(text=f"{number}"), flush=True)
            await journal.engine.start_file()
    told: list[tuple[int, int]] = []
    async with Journal.open(folder, on_opening=lambda done, total: told.append((done, total))):
        assert told == [], "everything was in the database"
    drop(folder)
    async with Journal.open(folder, on_opening=lambda done, total: told.append((done, total))):
        total = told[-1][1]
        assert total >= 3
        assert told[0] == (0, total)
        assert told[-1] == (total, total)
        assert told == sorted(set(told))


async def test_a_rebuild_makes_no_records_of_ones_own_plain_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work and not only the answer: a million objects that nobody looks at were what made a rebuild slow."""
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada") as journal:
        for _ in range(2):
            await journal.commit_all([Said(text=f"{number}") for number in range(300)], flush=True)
            await journal.engine.start_file()
        await journal.engine.keeper.seal()
        await journal.commit_all([Said(text=f"{number}") for number in range(300)], flush=True)
        followed = await dump(journal)
    made: list[int] = []
    real = segments.LoggedRun._read_records

    def counted(run: segments.LoggedRun) -> Any:
        made.append(run.fact_count)
        return real(run)

    monkeypatch.setattr(segments.LoggedRun, "_read_records", counted)
    await check_rebuilt(folder, followed)
    assert made == []


async def test_a_database_that_comes_back_while_the_journal_runs_catches_up_in_the_same_way(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada", types=[Said]) as journal:
        await tell_everything(journal)
        await journal.engine.start_file()
        await journal.engine.keeper.seal()
        await journal.commit(Said(text="behind the segment"), flush=True)
        followed = await dump(journal)
        follower = journal.engine.follower
        await asyncio.get_running_loop().run_in_executor(follower._thread, follower._close_database)
        drop(folder)
        await journal.commit(Said(text="while it was gone"), flush=True)
        rebuilt = await dump(journal)
    assert rebuilt["internal.facts"][: len(followed["internal.facts"])] != []
    assert [row for row in rebuilt["internal.facts"] if row[-1] <= len(followed["internal.facts"])] == followed[
        "internal.facts"
    ]
    assert len(rebuilt["internal.facts"]) == len(followed["internal.facts"]) + 1


async def test_a_rebuild_in_portions_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada", types=[Said]) as journal:
        await tell_everything(journal)
        await journal.engine.start_file()
        await journal.engine.keeper.seal()
        await journal.commit_all([Said(text=f"{number}") for number in range(40)], flush=True)
        followed = await dump(journal)
    monkeypatch.setattr(opening, "CATCH_UP_FACTS", 10)
    drop(folder)
    async with Journal.open(folder, types=[Said]) as journal:
        rebuilt = await dump(journal)
    assert without_arrival(rebuilt) == without_arrival(followed)


@pytest.mark.parametrize("failing", [0, 1])
async def test_a_portion_that_duckdb_refuses_is_told_and_held_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada", types=[Said]) as journal:
        await tell_everything(journal)
        followed = await dump(journal)
    calls: list[int] = []
    real = DuckdbFollower.apply_runs

    def refusing(self: DuckdbFollower, *runs: Any, **more: Any) -> None:
        calls.append(len(calls))
        if len(calls) - 1 == failing:
            raise StoreUnavailable("no space left on device")
        real(self, *runs, **more)

    monkeypatch.setattr(DuckdbFollower, "apply_runs", refusing)
    monkeypatch.setattr(opening, "CATCH_UP_FACTS", 10)
    drop(folder)
    async with Journal.open(folder, types=[Said]) as journal:
        assert any("no space left on device" in problem for problem in journal.problems)
        caught_up = await dump(journal)
    assert caught_up["internal.facts"] == followed["internal.facts"]


async def test_whatever_goes_wrong_in_a_portion_reaches_who_opens_and_leaves_the_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    async with Journal.open(folder, author="ada", types=[Said]) as journal:
        await tell_everything(journal)
        followed = await dump(journal)

    def break_down(*runs: Any, **more: Any) -> None:
        raise AssertionError("a promise was broken")

    drop(folder)
    with monkeypatch.context() as patch:
        patch.setattr(DuckdbFollower, "apply_runs", break_down)
        patch.setattr(opening, "CATCH_UP_FACTS", 10)
        with pytest.raises(AssertionError, match="a promise was broken"):
            await Journal.open(folder)
    await check_rebuilt(folder, followed)

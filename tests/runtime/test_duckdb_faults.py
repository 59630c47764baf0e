"""Every statement the follower makes fails once, in every way DuckDB knows: commits go on, no row is lost or doubled.

And the files beneath it: deleted, cut, damaged, replaced or made a folder, while the journal runs and between two
lives; and a death by ``kill -9`` at any statement of following and rebuilding.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from antiphon import Fact, Journal
from antiphon.facts import LocalViolation
from antiphon.journal import StoreUnavailable
from antiphon.journal.stores import duckdb as follower_module
from antiphon.journal.stores import tables
from antiphon.testing.records import ChainWriter


class Kept(Fact, kind="faulty.kept", version=1):
    text: str


class FaultyConnection:
    """A connection that counts its statements, and lets *fault* say what becomes of each: a number and its SQL."""

    def __init__(self, real: duckdb.DuckDBPyConnection, fault: "Fault") -> None:
        self._real = real
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, *arguments: Any) -> Any:
        self._fault.before()
        result = self._real.execute(*arguments)
        self._fault.after()
        return result

    def cursor(self) -> "FaultyConnection":
        return FaultyConnection(self._real.cursor(), self._fault)


class Fault:
    """Raises *error* once, at statement *number*: before it was run, or when it had been."""

    def __init__(self, error: BaseException | None = None, *, number: int = -1, is_late: bool = False) -> None:
        self.error = error
        self.number = number
        self.is_late = is_late
        self.count = 0

    def before(self) -> None:
        self.count += 1
        if self.error is not None and self.count - 1 == self.number and not self.is_late:
            raise self.error

    def after(self) -> None:
        if self.error is not None and self.count - 1 == self.number and self.is_late:
            raise self.error


def install(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    real = tables.connect

    def connect(*arguments: Any, **options: Any) -> Any:
        fault.before()
        connection = real(*arguments, **options)
        try:
            fault.after()
        except BaseException:
            connection.close()  # as the real one does; the error's traceback would keep it and its instance
            raise
        return FaultyConnection(connection, fault)

    monkeypatch.setattr(follower_module, "connect", connect)


FAULTS: dict[str, Callable[[], BaseException]] = {
    "input/output": lambda: duckdb.IOException("IO Error: could not read from file: Input/output error"),
    "disk full": lambda: duckdb.IOException("IO Error: could not write: No space left on device"),
    "out of memory": lambda: duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate block"),
    "interrupted": lambda: duckdb.InterruptException("INTERRUPT Error: Interrupted!"),
    "fatal": lambda: duckdb.FatalException("FATAL Error: database has been invalidated because of a previous error"),
    "internal": lambda: duckdb.InternalException("INTERNAL Error: assertion"),
    "transaction": lambda: duckdb.TransactionException("TransactionContext Error: cannot commit"),
    "bare": lambda: duckdb.Error("something that only a newer DuckDB says"),
    "memory": MemoryError,
    "system call": lambda: OSError(5, "Input/output error"),
}


async def live(folder: Path) -> list[str]:
    """What a follower is there for, in two lives; every commit must succeed whatever becomes of DuckDB.

    Returns what the next life must show.
    """
    said: list[str] = []
    async with Journal.open(folder, author="ada", types=[Kept]) as journal:
        for number in range(3):
            receipt = await journal.commit(Kept(text=f"first {number}"), flush=True)
            said.append(f"first {number}")
            await attempt(journal.sql("select count(*) from history"))
        await journal.engine.ingest([ChainWriter("ben").say_fact(Kept(text="ben"))])
        said.append("ben")
        await attempt(journal.erase(receipt))
    async with Journal.open(folder, types=[Kept]) as journal:
        await journal.commit(Kept(text="second"), flush=True)
        said.append("second")
        await attempt(journal.engine.follower.barrier())
        await attempt(journal.sql("select count(*) from history"))
    return said


async def attempt(work: Any) -> None:
    try:
        await work
    except (StoreUnavailable, LocalViolation):
        return


async def rows_of(journal: Journal) -> list[str]:
    await journal.engine.forgotten()
    return sorted(row[0] for row in (await journal.sql("select text from faulty_kept")).fetchall())


async def check_whole(folder: Path, said: list[str]) -> None:
    """The next life, without faults, shows each fact once."""
    async with Journal.open(folder, types=[Kept]) as journal:
        # An erasure that was refused was either not committed, or what the disk had not done yet is done by now.
        if (await journal.sql("select count(*) from history where kind = 'journal.erased'")).fetchall() == [(1,)]:
            said = [text for text in said if text != "first 2"]
        assert await rows_of(journal) == sorted(said)
        ids = (await journal.sql("select count(*), count(distinct fact_id), max(position) from history")).fetchall()
        assert ids == [(journal.fact_count,) * 3]


def count_statements(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    counting = Fault()
    with monkeypatch.context() as patched:
        install(patched, counting)
        said = asyncio.run(live(folder))
    asyncio.run(check_whole(folder, said))
    return counting.count


def check_fault(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    with monkeypatch.context() as patched:
        install(patched, fault)
        said = asyncio.run(asyncio.wait_for(live(folder), 60))
    asyncio.run(check_whole(folder, said))
    shutil.rmtree(folder)


def test_a_statement_of_each_part_of_following_fails_and_no_row_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk through all statements in steps, with another fault at each: the long lane takes every pair."""
    count = count_statements(tmp_path / "whole", monkeypatch)
    assert count > 60, "the sweep reaches opening, following, asking, erasing and closing"
    names = list(FAULTS)
    for turn, number in enumerate(range(0, count, max(count // 24, 1))):
        fault = Fault(FAULTS[names[turn % len(names)]](), number=number, is_late=turn % 2 == 1)
        check_fault(tmp_path / f"{number}", monkeypatch, fault)


@pytest.mark.long
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("name", FAULTS)
def test_every_statement_fails_in_every_way_and_no_row_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_late: bool
) -> None:
    for number in range(count_statements(tmp_path / "whole", monkeypatch)):
        check_fault(tmp_path / f"{number}", monkeypatch, Fault(FAULTS[name](), number=number, is_late=is_late))


# The files beneath it


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"no database " * 1_000)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(17, len(data), 4_093):
        data[place] ^= 0x10
    with path.open("r+b") as file:
        file.write(data)


def replace_by_another(path: Path) -> None:
    other = path.with_name("other.duckdb")
    duckdb.connect(str(other)).close()
    other.replace(path)


def make_folder(path: Path) -> None:
    path.unlink()
    (path / "within").mkdir(parents=True)


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


HARMS = (delete, empty, cut, overwrite, flip, replace_by_another, make_folder, dangle)
DATABASE, WAL = "journal.duckdb", "journal.duckdb.wal"
TEXTS = [f"kept {number}" for number in range(40)]


async def fill(folder: Path) -> None:
    async with Journal.open(folder, author="ada", types=[Kept]) as journal:
        for start in range(0, len(TEXTS), 10):
            await journal.commit_all([Kept(text=text) for text in TEXTS[start : start + 10]], flush=True)
            await journal.sql("select 1")


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", [DATABASE, WAL])
def test_a_database_harmed_between_two_lives_is_built_anew_and_that_is_told(
    tmp_path: Path, harm: Callable[[Path], None], name: str
) -> None:
    folder, killed = tmp_path / "a", tmp_path / "killed"

    async def life() -> None:
        async with Journal.open(folder, types=[Kept]) as journal:
            await journal.commit(Kept(text="last"), flush=True)
            await journal.sql("select 1")
            shutil.copytree(folder, killed)  # as a death leaves it, the write-ahead log not yet moved

    async def look() -> None:
        async with Journal.open(killed, types=[Kept]) as journal:
            assert (await journal.commit(Kept(text="after"), flush=True)).fact_id
            assert await rows_of(journal) == sorted([*TEXTS, "last", "after"])
            if name == DATABASE:
                assert any("journal.duckdb was" in problem for problem in journal.problems), journal.problems

    asyncio.run(fill(folder))
    asyncio.run(life())
    harm(killed / name)
    asyncio.run(asyncio.wait_for(look(), 60))
    asyncio.run(check_whole(killed, [*TEXTS, "last", "after"]))


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", [DATABASE, WAL])
def test_a_database_harmed_beneath_a_running_journal_never_holds_up_a_commit(
    tmp_path: Path, harm: Callable[[Path], None], name: str
) -> None:
    async def life() -> None:
        async with Journal.open(tmp_path, types=[Kept]) as journal:
            await journal.commit(Kept(text="before"), flush=True)
            await journal.sql("select 1")
            harm(tmp_path / name)
            for number in range(5):
                await journal.commit(Kept(text=f"meanwhile {number}"), flush=True)
                await attempt(journal.sql("select count(*) from history"))

    asyncio.run(fill(tmp_path))
    asyncio.run(asyncio.wait_for(life(), 60))
    asyncio.run(check_whole(tmp_path, [*TEXTS, "before", *(f"meanwhile {number}" for number in range(5))]))


@pytest.mark.asyncio
async def test_an_outage_is_told_once_and_so_is_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Journal.open(tmp_path / "a", author="ada", types=[Kept]) as journal:
        await journal.sql("select 1")

        def refuse(*_: object, **__: object) -> None:
            raise StoreUnavailable("journal.duckdb: No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(follower_module.DuckdbFollower, "apply", refuse)
            patched.setattr(follower_module.DuckdbFollower, "apply_runs", refuse)
            for number in range(3):
                await journal.commit(Kept(text=f"{number}"), flush=True)
                await attempt(journal.sql("select 1"))
        assert [text for text in journal.problems if "cannot be followed" in text] == [*journal.problems]
        assert len(journal.problems) == 1, "told once, however often it was tried"
        assert await rows_of(journal) == ["0", "1", "2"]
        assert len(journal.problems) == 2
        assert "follows the log again" in journal.problems[-1]


@pytest.mark.asyncio
async def test_a_database_that_a_query_ended_is_opened_anew_for_the_next_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red until 2026-11: nothing was committed meanwhile, so nobody opened another, and every query was refused."""
    fault = Fault(FAULTS["fatal"]())
    install(monkeypatch, fault)
    async with Journal.open(tmp_path / "a", author="ada", types=[Kept]) as journal:
        await journal.commit(Kept(text="one"), flush=True)
        await journal.sql("select 1")
        fault.number = fault.count + 1
        with pytest.raises(StoreUnavailable):
            await journal.sql("select text from faulty_kept")
        assert await rows_of(journal) == ["one"]


# Deaths

MORTAL = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pytest
import test_duckdb_faults as faults
from antiphon import Journal
from antiphon.runtime import opening

class Deadly(faults.Fault):
    def before(self):
        self.count += 1
        if self.count == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with Journal.open(Path(sys.argv[2]), types=[faults.Kept]) as journal:
        for number in range(3):
            await journal.commit(faults.Kept(text=f"mortal {number}"), flush=True)
            print(f"mortal {number}", flush=True)
            await journal.sql("select 1")

opening.CATCH_UP_FACTS = 10  # so that a rebuild takes several transactions
deadly = Deadly()
faults.install(pytest.MonkeyPatch(), deadly)
asyncio.run(main())
print("lived", deadly.count, flush=True)
"""


def die(folder: Path, number: int) -> tuple[list[str], int]:
    """A journal whose process is killed at a statement; what it had acknowledged, and how many there were."""
    done = subprocess.run(
        [sys.executable, "-c", MORTAL, str(Path(__file__).parent), str(folder), str(number)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    *said, last = done.stdout.splitlines() or [""]
    return (said, int(last.split()[1])) if last.startswith("lived") else ([*said, last] if last else said, number)


def check_death(folder: Path, number: int, *, is_rebuilding: bool) -> None:
    if is_rebuilding:
        (folder / DATABASE).unlink()
    said, _ = die(folder, number)

    async def look() -> None:
        async with Journal.open(folder, types=[Kept]) as journal:
            rows = await rows_of(journal)
            assert len(rows) == len(set(rows))
            possible = [f"mortal {each}" for each in range(3)]
            assert {*TEXTS, *said} <= set(rows) <= {*TEXTS, *possible}

    asyncio.run(look())


@pytest.mark.parametrize("is_rebuilding", [False, True], ids=["following", "rebuilding"])
def test_a_death_at_a_statement_of_following_or_rebuilding_loses_and_doubles_nothing(
    tmp_path: Path, is_rebuilding: bool
) -> None:
    asyncio.run(fill(tmp_path / "a"))
    count = die(shutil.copytree(tmp_path / "a", tmp_path / "whole"), 0)[1]
    for number in range(5, count, max(count // 5, 1)):
        folder = shutil.copytree(tmp_path / "a", tmp_path / f"{number}")
        check_death(folder, number, is_rebuilding=is_rebuilding)


@pytest.mark.long
@pytest.mark.parametrize("is_rebuilding", [False, True], ids=["following", "rebuilding"])
def test_a_death_at_any_statement_loses_and_doubles_nothing(tmp_path: Path, is_rebuilding: bool) -> None:
    asyncio.run(fill(tmp_path / "a"))
    whole = shutil.copytree(tmp_path / "a", tmp_path / "whole")
    if is_rebuilding:
        (whole / DATABASE).unlink()
    for number in range(1, die(whole, 0)[1] + 1):
        folder = shutil.copytree(tmp_path / "a", tmp_path / f"{number}")
        check_death(folder, number, is_rebuilding=is_rebuilding)
        shutil.rmtree(folder)

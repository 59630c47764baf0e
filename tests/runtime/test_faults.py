"""Every write, sync, rename and removal fails once, with EIO and with ENOSPC: nothing acknowledged is lost.

In the log, in sealing and in erasing; where the kernel lets nobody write more, under a clock that jumps by ten years,
in restored and copied folders with segments, and with a harmed write-ahead log of DuckDB's.
"""

import asyncio
import errno
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from antiphon import Fact, Journal, view
from antiphon.app.offline import open_offline, verify_log
from antiphon.journal import StoreUnavailable
from antiphon.journal.errors import JournalError
from antiphon.journal.stores.log import segment_files
from antiphon.testing.disk import DiskOperation, FaultyDisk

YEARS_MS = 10 * 365 * 86_400_000
SECRET = "swordfish"


class Kept(Fact, kind="faults.kept", version=1):
    text: str


@view(Kept, initial=())
def kept(state: tuple[str, ...], fact: Any) -> tuple[str, ...]:
    return (*state, fact.text)


async def live(folder: Path, disk: FaultyDisk) -> tuple[set[str], set[str], bool]:
    """Commit, seal, erase and commit, whatever fails: what was acknowledged, what may be there, if it was erased."""
    promised: set[str] = set()
    possible: set[str] = set()
    erased = False
    try:
        async with Journal.open(folder, author="ada", disk=disk) as journal:
            for number in range(6):
                text = f"{SECRET} {number}"
                possible.add(text)
                try:
                    receipt = await journal.commit(Kept(text=text), flush=True)
                except StoreUnavailable:
                    continue
                promised.add(text)
                if number == 2:
                    await attempt(journal.engine.start_file())
                    await attempt(journal.engine.keeper.seal())
                if number == 4:
                    promised.discard(text)  # from here on it may go
                    erased = await attempt(journal.erase(receipt))
    except StoreUnavailable:
        pass  # the journal could not even be opened or closed; what it promised holds all the same
    return promised, possible, erased


async def attempt(work: Any) -> bool:
    try:
        await work
    except JournalError:
        return False
    return True


async def look(folder: Path) -> tuple[set[str], str]:
    async with Journal.open(folder) as journal:
        await journal.engine.forgotten()  # what a failure left undone is done when the journal opens
        shown = await journal.snapshot(kept)
        assert len(shown) == len(set(shown))
        rows = (await journal.sql("select text from faults_kept")).fetchall() if shown else []
        assert {row[0] for row in rows} == set(shown)
        return set(shown), journal.fingerprint


OPERATIONS: tuple[DiskOperation, ...] = ("open", "write", "sync", "sync_folder", "close", "rename", "remove")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)
# One sweep of every kind of call in every run; all errors of all calls in the long lane. EROFS: remounted read-only.
SWEEPS: tuple[tuple[DiskOperation, int], ...] = (
    ("open", errno.EROFS),
    ("write", errno.EIO),
    ("write", errno.ENOSPC),
    ("sync", errno.EIO),
    ("sync_folder", errno.EIO),
    ("close", errno.EIO),
    ("rename", errno.ENOSPC),
    ("remove", errno.EIO),
)


@pytest.mark.parametrize(
    ("operation", "error_number"),
    [pytest.param(*sweep, id=f"{sweep[0]}-{errno.errorcode[sweep[1]]}") for sweep in SWEEPS],
)
def test_each_call_of_the_disk_fails_once_and_nothing_acknowledged_is_lost(
    tmp_path: Path, operation: DiskOperation, error_number: int
) -> None:
    check_sweep(tmp_path, operation, error_number)


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("error_number", ERRORS)
def test_each_call_of_the_disk_fails_with_each_error_and_nothing_acknowledged_is_lost(
    tmp_path: Path, operation: DiskOperation, error_number: int
) -> None:
    check_sweep(tmp_path, operation, error_number)


def check_sweep(folder: Path, operation: DiskOperation, error_number: int) -> None:
    counting = FaultyDisk()
    asyncio.run(live(folder / "whole", counting))
    calls = sum(call.operation == operation for call in counting.calls)
    assert calls, "the sweep reaches every operation"
    for index in range(calls):
        path = folder / f"{index}"
        disk = FaultyDisk()
        disk.fail(operation, error_number=error_number, after=index, written_bytes=index * 7)
        promised, possible, erased = asyncio.run(live(path, disk))
        shown, fingerprint = asyncio.run(look(path))
        assert promised <= shown <= possible, f"{operation} {index}"
        assert not (erased and f"{SECRET} 4" in shown), "what was erased stays erased"
        assert asyncio.run(look(path)) == (shown, fingerprint)
        assert verify_log(open_offline(path)).damages == (), f"{operation} {index}"


FULL_DISK = """
import asyncio, resource, signal, sys
from antiphon import Fact, Journal
from antiphon.journal import StoreUnavailable

class Kept(Fact, kind="faults.kept", version=1):
    text: str

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails with EFBIG, as on a full disk with ENOSPC
    async with Journal.open(sys.argv[1], author="ada") as journal:
        await journal.commit(Kept(text="first"), flush=True)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
        refused = 0
        for number in range(60):
            try:
                await journal.commit(Kept(text=f"{number} " + "x" * 3_000), flush=True)
            except StoreUnavailable:
                refused += 1
            else:
                print(number, flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await journal.commit(Kept(text="room again"), flush=True)
        print("refused", refused, flush=True)

asyncio.run(main())
"""


def test_a_process_that_may_write_no_more_refuses_commits_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """The kernel itself cuts writes short: files may grow to 40,000 bytes only."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "a")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    *numbers, last = done.stdout.splitlines()
    assert last.startswith("refused ")
    assert int(last.split()[1]) > 0
    shown, fingerprint = asyncio.run(look(tmp_path / "a"))
    assert {text.split()[0] for text in shown} >= {*numbers, "first", "room"}
    assert asyncio.run(look(tmp_path / "a")) == (shown, fingerprint)


@pytest.mark.asyncio
async def test_a_clock_that_jumps_ten_years_forth_and_back_costs_nothing(tmp_path: Path) -> None:
    class Wall:
        ms = 1_800_000_000_000

        def now_ms(self) -> int:
            return self.ms

        def monotonic(self) -> float:
            return 0.0

    wall = Wall()
    jumps = (0, YEARS_MS, 0, -YEARS_MS, 0)
    for life in range(2):
        async with (
            Journal.open(tmp_path / "a", author="ada", clock=wall) as ada,
            Journal.open(tmp_path / "b", author="ben", clock=wall) as ben,
        ):
            for at, jump in enumerate(jumps):
                wall.ms = 1_800_000_000_000 + jump
                await ada.commit(Kept(text=f"{life}.{at}"), flush=True)
                assert (await ben.sync_with(ada)).is_success
            assert ada.fingerprint == ben.fingerprint
            assert not any(state.is_forked for state in ada.engine.index.chains())
            said = {f"{each}.{at}" for each in range(life + 1) for at in range(len(jumps))}
            early = {text for text in said if not text.endswith(".1")}
            for journal in (ada, ben):
                assert early <= set(await journal.snapshot(kept)) <= said, "what is ten years ahead waits, no more"
    wall.ms += YEARS_MS
    async with Journal.open(tmp_path / "a", clock=wall) as ada:
        assert set(await ada.snapshot(kept)) == said, "and is shown when it is due"
    assert verify_log(open_offline(tmp_path / "a")).damages == ()


async def fill(folder: Path, *texts: str) -> str:
    async with Journal.open(folder, author="ada") as journal:
        for text in texts:
            await journal.commit(Kept(text=text), flush=True)
        await journal.engine.start_file()
        await journal.engine.keeper.seal()
        return journal.fingerprint


@pytest.mark.asyncio
async def test_restored_and_copied_folders_with_segments_go_on_in_chains_of_their_own(tmp_path: Path) -> None:
    folder, backup, copy = tmp_path / "a", tmp_path / "backup", tmp_path / "copy"
    await fill(folder, "one", "two")
    assert segment_files(folder)
    shutil.copytree(folder, backup)
    await fill(folder, "three")
    shutil.copytree(folder, copy)
    async with Journal.open(tmp_path / "b", author="ben") as ben:
        async with Journal.open(folder) as ada:
            assert (await ben.sync_with(ada)).is_success
        shutil.rmtree(folder)
        backup.rename(folder)
        async with Journal.open(folder) as restored, Journal.open(copy) as copied:
            await restored.commit(Kept(text="restored"), flush=True)
            await copied.commit(Kept(text="copied"), flush=True)
            for one, other in ((restored, ben), (copied, ben), (restored, ben)):
                assert (await one.sync_with(other)).is_success
            everything = {"one", "two", "three", "restored", "copied"}
            for journal in (restored, copied, ben):
                assert set(await journal.snapshot(kept)) == everything
                assert not any(state.is_forked for state in journal.engine.index.chains()), "no number is used twice"
            assert restored.fingerprint == copied.fingerprint == ben.fingerprint


@pytest.mark.asyncio
@pytest.mark.parametrize("harm", ["deleted", "flipped", "cut", "another's"])
async def test_a_harmed_write_ahead_log_of_duckdb_costs_nothing(tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "a"
    fingerprint = await fill(folder, "one", "two")
    async with Journal.open(folder) as journal:
        await journal.commit(Kept(text="three"), flush=True)
        assert (await journal.sql("select count(*) from faults_kept")).fetchall() == [(3,)]
        fingerprint = journal.fingerprint
        shutil.copytree(folder, tmp_path / "killed")  # as a death leaves it: the write-ahead log not yet moved
    wal = tmp_path / "killed" / "journal.duckdb.wal"
    data = bytearray(wal.read_bytes())
    assert data, "there is something to harm"
    if harm == "deleted":
        wal.unlink()
    elif harm == "flipped":
        data[len(data) // 2] ^= 1
        wal.write_bytes(data)
    elif harm == "cut":
        wal.write_bytes(data[: len(data) // 2])
    else:
        wal.write_bytes(Random(7).randbytes(len(data)))
    async with Journal.open(tmp_path / "killed") as journal:
        assert await journal.snapshot(kept) == ("one", "two", "three")
        assert (await journal.sql("select text from faults_kept order by seq")).fetchall() == [
            ("one",),
            ("two",),
            ("three",),
        ]
        assert journal.fingerprint == fingerprint

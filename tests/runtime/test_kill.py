"""Kill -9 between any two steps of a commit, at any step of creating a journal, and at random moments.

After each death: every acknowledged fact is there, none twice, no batch half, the chains gap-free and validly sealed,
and views, history and a second reopening agree.
"""

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from antiphon import Journal, view
from antiphon.journal import CHAIN_START, parse_run, verify_run
from antiphon.journal.stores import duckdb as duckdb_store

SCRIPT = Path(__file__).with_name("mortal_writer.py")
_spec = importlib.util.spec_from_file_location("mortal_writer", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
mortal_writer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mortal_writer)
Kept = mortal_writer.Kept


@view(Kept, initial=())
def kept(state: tuple[tuple[str, int, int], ...], fact: Any) -> tuple[tuple[str, int, int], ...]:
    return (*state, (fact.key, fact.part, fact.count))


_turns = count()


class Zygote:
    """The process from which writers are forked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder: Path, name: str, **order: object) -> tuple[int, int]:
        """Let a writer live and perhaps die; its exit code (-9 when killed) and the steps it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        whole = {
            "journal": str(folder / "journal"),
            "acks": str(folder / "acks"),
            "name": name,
            "commits": 4,
            "writers": 1,
        }
        self._process.stdin.write(json.dumps(whole | {"file_bytes": 1 << 23} | order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["status"], answer["steps"]

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.end()


def acknowledged(folder: Path) -> set[tuple[str, int, int]]:
    path = folder / "acks"
    pairs = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return {(key, part, int(count)) for key, count in pairs for part in range(int(count))}


def check_survival(folder: Path) -> None:
    """Reopen twice and compare everything that can be compared.

    Every fourth time as an application would; else without first opening DuckDB in a process that may die of it, which
    takes longer than all the rest, and which a death that leaves the page cache whole has never needed.
    """
    with pytest.MonkeyPatch.context() as patch:
        if next(_turns) % 4:
            patch.setattr(duckdb_store, "probe", lambda path: None)
        first = asyncio.run(look(folder))
        assert asyncio.run(look(folder)) == first


async def look(folder: Path) -> tuple[str, tuple[tuple[str, int, int], ...]]:
    async with Journal.open(folder / "journal") as journal:
        state = await journal.snapshot(kept)
        # The SQL view comes with the first fact of its kind.
        rows = (await journal.sql("select key, part, count from test_kept")).fetchall() if state else []
        assert all(told.startswith("journal.duckdb was rebuilt") for told in journal.problems), journal.problems
        check_facts(state, acknowledged(folder))
        assert sorted(rows) == sorted(state), "history and view show the same facts"
        check_chains(journal)
        return journal.fingerprint, state


def check_facts(state: tuple[tuple[str, int, int], ...], promised: set[tuple[str, int, int]]) -> None:
    assert promised <= set(state), f"acknowledged and lost: {sorted(promised - set(state))}"
    assert len(state) == len(set(state)), f"doubled: {Counter(state).most_common(3)}"
    parts = Counter((key, count) for key, _, count in state)
    assert all(found == count for (_, count), found in parts.items()), "a batch is wholly in or wholly out"


def check_chains(journal: Journal) -> None:
    for state in journal.engine.index.chains():
        head = CHAIN_START
        for row in state.runs:
            data = journal.engine.read_run(row)
            lines = data.split(b"\n")[: row.last_seq - row.first_seq + 1]
            run = verify_run(state.info, head, lines, data.split(b"\n")[-2])
            assert run.records == parse_run(state.info, row, data)
            head = run.head
        assert head == state.head, f"chain {state.info.text[:8]} has no gaps"


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_journal_survives_a_death_at_every_fourth_system_call_of_its_first_life(
    zygote: Zygote, tmp_path: Path, *, is_after: bool
) -> None:
    status, step_count = zygote.run(tmp_path, "whole", counts_steps=True, is_after=is_after)
    assert status == 0
    deaths = 0
    for step in range(1 + is_after, step_count + 1, 4):
        folder = tmp_path / f"{step}"
        folder.mkdir()
        status, _ = zygote.run(folder, "first", counts_steps=True, step=step, is_after=is_after)
        assert status in (0, -9)  # calls are counted across threads, so that the last few may come in another order
        deaths += status == -9
        check_survival(folder)
    assert deaths >= step_count // 4 - 2


def test_a_journal_that_dies_at_one_system_call_after_the_other_goes_on(zygote: Zygote, tmp_path: Path) -> None:
    _, step_count = zygote.run(tmp_path, "whole", counts_steps=True)
    for step in range(3, step_count, 6):
        zygote.run(tmp_path, f"life{step}", counts_steps=True, step=step, file_bytes=2_500)
    check_survival(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.999, 1.0])
def test_a_write_torn_by_death_takes_nothing_that_was_acknowledged(
    zygote: Zygote, tmp_path: Path, share: float
) -> None:
    zygote.run(tmp_path, "before")
    for write in range(1, 6):
        # Small files, so that some of these writes are a new file's first line.
        status, _ = zygote.run(tmp_path, f"life{write}", write=write, share=share, file_bytes=1_500)
        assert status == -9
    check_survival(tmp_path)


def test_a_journal_that_dies_again_and_again_at_random_moments_keeps_what_it_promised(
    zygote: Zygote, tmp_path: Path
) -> None:
    random = Random(20)
    deaths = 0
    for life in range(24):
        order: dict[str, Any] = {"commits": 400, "writers": 4, "file_bytes": random.choice([4_000, 1 << 23])}
        # A third of them die while they open, the others while they commit.
        order |= {"waits_for_opening": life % 3 > 0, "after_ms": random.uniform(1, 60)}
        status, _ = zygote.run(tmp_path, f"life{life}", **order)
        deaths += status == -9
        if life % 4 == 3:
            check_survival(tmp_path)
    assert deaths >= 20
    assert acknowledged(tmp_path)


def test_a_journal_survives_a_death_at_every_seventh_system_call_while_it_seals(zygote: Zygote, tmp_path: Path) -> None:
    _, step_count = zygote.run(tmp_path, "whole", counts_steps=True, seals=1)
    deaths = 0
    for step in range(step_count // 4, step_count + 1, 7):
        folder = tmp_path / f"{step}"
        folder.mkdir()
        status, _ = zygote.run(folder, "first", counts_steps=True, step=step, is_after=bool(step % 2), seals=1)
        deaths += status == -9
        check_survival(folder)
    assert deaths > 4


def test_a_journal_that_seals_and_dies_again_and_again_keeps_what_it_promised(zygote: Zygote, tmp_path: Path) -> None:
    check_random_deaths(zygote, tmp_path, lives=100, checked_every=25)
    assert list((tmp_path / "journal" / "segments").glob("*.parquet"))


@pytest.mark.long
def test_a_journal_that_seals_and_dies_2000_times_keeps_what_it_promised(zygote: Zygote, tmp_path: Path) -> None:
    for round_number in range(20):
        folder = tmp_path / f"{round_number}"
        folder.mkdir()
        check_random_deaths(zygote, folder, lives=100, checked_every=25, seed=round_number)


def check_random_deaths(zygote: Zygote, folder: Path, *, lives: int, checked_every: int, seed: int = 0) -> None:
    random = Random(f"sealing {seed}")
    deaths = 0
    for life in range(lives):
        order: dict[str, Any] = {"commits": 400, "writers": 2, "seals": 50, "waits_for_opening": True}
        status, _ = zygote.run(folder, f"life{life}", **order, after_ms=random.uniform(5, 120))
        deaths += status == -9
        if life % checked_every == checked_every - 1:
            check_survival(folder)
    assert deaths >= lives * 4 // 5

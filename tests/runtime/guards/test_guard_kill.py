"""Kill -9 at any system call of guarded sending: a plan is wholly there or not at all, and what is there leaves, once.

The receiver keeps the ids of what it has seen, as a replay window does: it sees each message exactly once.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon import Journal

SCRIPT = Path(__file__).with_name("mortal_guard.py")
COUNT = 4


class Zygote:
    """The process from which senders are forked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder: Path, **order: object) -> tuple[int, int]:
        """Let a sender live and perhaps die: its exit code (-9 when killed) and the steps it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        folder.mkdir(exist_ok=True)
        self._process.stdin.write(json.dumps({"folder": str(folder), "count": COUNT} | order) + "\n")
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


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def check_survival(zygote: Zygote, folder: Path) -> None:
    acknowledged = set(lines_of(folder / "acknowledged"))
    assert zygote.run(folder, count=0)[0] == 0, "the next life sends what waits"
    left = [tuple(line.split()) for line in lines_of(folder / "left")]
    seen = set(left)
    assert len({text for _, text in seen}) == len(seen), "a message keeps its id, so a receiver sees it once"

    async def look() -> tuple[set[str], int, int]:
        async with Journal.open(folder / "journal") as journal:
            rows = await journal.sql("select payload->>'text' from history where kind = 'mortal.told'")
            texts = [text for (text,) in rows.fetchall()]
            assert len(texts) == len(set(texts))
            book = journal.engine.guard_book
            return set(texts), book.remaining("home", "bo"), len(book.letters)

    texts, remaining, waiting = asyncio.run(look())
    assert acknowledged <= texts
    assert {text for _, text in seen} == texts, "what is in the journal has left, and nothing else has"
    assert remaining == 1_024 - 10 * len(texts), "each of them was charged, once"
    assert waiting == 0


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_death_at_a_system_call_neither_loses_nor_doubles_a_guarded_message(
    zygote: Zygote, tmp_path: Path, *, is_after: bool
) -> None:
    status, step_count = zygote.run(tmp_path / "whole", is_after=is_after)
    assert status == 0
    check_survival(zygote, tmp_path / "whole")
    for step in range(20 + is_after * 3, step_count, max(1, step_count // 12)):
        folder = tmp_path / f"step-{step}"
        assert zygote.run(folder, step=step, is_after=is_after)[0] in (-9, 0)
        check_survival(zygote, folder)


@pytest.mark.long
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_death_at_every_system_call_neither_loses_nor_doubles_a_guarded_message(
    zygote: Zygote, tmp_path: Path, *, is_after: bool
) -> None:
    _, step_count = zygote.run(tmp_path / "whole", is_after=is_after)
    for step in range(1, step_count + 1):
        folder = tmp_path / f"step-{step}"
        zygote.run(folder, step=step, is_after=is_after)
        check_survival(zygote, folder)

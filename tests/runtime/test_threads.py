"""The threads that blocking work goes to: what they hold on to, and what they leave behind."""

import subprocess
import sys
import threading
import weakref
from pathlib import Path

from antiphon.runtime.threads import ThreadLane


class Work:
    def __init__(self) -> None:
        self.is_done = threading.Event()

    def __call__(self) -> None:
        self.is_done.set()


def test_a_lane_holds_nothing_of_what_it_did_last() -> None:
    lane = ThreadLane("test")
    work = Work()
    gone = threading.Event()
    weakref.finalize(work, gone.set)
    lane.submit(work)
    assert work.is_done.wait(10)
    del work
    assert gone.wait(10)
    lane.close()


LEFT_OPEN = """
import asyncio, sys
from antiphon import Fact, Journal

class Said(Fact, kind="threads.said", version=1):
    text: str

async def main():
    journal = await Journal.open(sys.argv[1], author="ada")
    await journal.commit(Said(text="one"), flush=True)
    assert (await journal.sql("SELECT count(*) FROM threads_said")).fetchall() == [(1,)]
    globals()["kept"] = journal

asyncio.run(main())
"""


def test_a_process_that_leaves_its_journal_open_ends_without_a_word(tmp_path: Path) -> None:
    """The log's thread held its last window, so the journal outlived the interpreter, and DuckDB's bindings listed
    pages of leaks."""
    ended = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN, str(tmp_path / "j")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")

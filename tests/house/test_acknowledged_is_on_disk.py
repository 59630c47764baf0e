"""Acknowledged means on disk: seen from outside the process, in the system calls a commit makes.

The reading of a trace is tested everywhere; the trace itself needs strace, which `make test-system` brings.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

TEXT = "worth keeping 7c1f"
ACKNOWLEDGED = "acknowledged 7c1f"
PROGRAM = f"""
import asyncio, os, sys
from antiphon import Fact, Journal

class Noted(Fact, kind="demo.noted", version=1):
    text: str

async def main() -> None:
    async with Journal.open(sys.argv[1], author="ada") as journal:
        await journal.commit(Noted(text={TEXT!r}))
        os.write(1, {ACKNOWLEDGED!r}.encode())

asyncio.run(main())
"""
LINE_BYTES_MAX = 1 << 17  # a frame's line is at most 64 KiB of payload and its envelope


class Call(NamedTuple):
    """One finished system call: its name, the file it was on, and what strace shows of its arguments."""

    name: str
    file: str
    shown: str


def finished_calls(trace: str) -> list[Call]:
    """The calls of a `strace -f -y` trace that succeeded, each at the moment it returned."""
    calls: list[Call] = []
    waiting: dict[str, str] = {}
    for line in trace.splitlines():
        task, _, rest = line.partition(" ")
        rest = rest.lstrip()
        if rest.endswith("<unfinished ...>"):
            waiting[task] = rest.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>", rest)
        if resumed:
            rest = waiting.pop(task, "") + rest[resumed.end() :]
        call = re.match(r"(?P<name>\w+)\(\d+<(?P<file>[^>]*)>(?P<shown>.*)\)\s+= (?P<result>-?\d+)", rest)
        if call and not call["result"].startswith("-"):
            calls.append(Call(call["name"], call["file"], call["shown"]))
    return calls


def problem_with(calls: list[Call]) -> str | None:
    """Why the acknowledgement came before the fact was on disk; None when it did not."""
    written = [at for at, call in enumerate(calls) if TEXT in call.shown and "/log/" in call.file]
    told = [at for at, call in enumerate(calls) if ACKNOWLEDGED in call.shown]
    if not written or not told:
        return f"writes of the fact to the log: {len(written)}, acknowledgements: {len(told)}; expected one of each"
    log = calls[written[0]].file
    is_safe = any(call.name in {"fdatasync", "fsync"} and call.file == log for call in calls[written[0] : told[0]])
    return None if is_safe else f"{log} was not synced between the write of the fact and its acknowledgement"


WRITE = f'11 pwrite64(7</j/log/1.ndjson>, "{{\\"text\\":\\"{TEXT}\\"}}", 40, 0) = 40\n'
SYNC = "12 fdatasync(7</j/log/1.ndjson>) = 0\n"
TELL = f'11 write(1</out>, "{ACKNOWLEDGED}", 17) = 17\n'


def test_a_commit_that_syncs_before_it_acknowledges_is_accepted() -> None:
    assert problem_with(finished_calls(WRITE + SYNC + TELL)) is None


@pytest.mark.parametrize(
    "trace",
    [
        pytest.param(WRITE + TELL + SYNC, id="synced afterwards"),
        pytest.param(SYNC + WRITE + TELL, id="synced before the write"),
        pytest.param(WRITE + TELL, id="never synced"),
        pytest.param(WRITE + "12 fdatasync(7</j/log/1.ndjson>) = -1 EIO\n" + TELL, id="the sync failed"),
        pytest.param(WRITE + "12 fdatasync(9</j/journal.duckdb>) = 0\n" + TELL, id="another file was synced"),
        pytest.param(
            WRITE + "12 fdatasync(7</j/log/1.ndjson> <unfinished ...>\n" + TELL + "12 <... fdatasync resumed>) = 0\n",
            id="acknowledged while the sync was under way",
        ),
    ],
)
def test_a_commit_that_acknowledges_too_early_is_seen(trace: str) -> None:
    problem = problem_with(finished_calls(trace))
    assert problem is not None
    assert "was not synced" in problem


def test_a_trace_without_the_fact_proves_nothing() -> None:
    problem = problem_with(finished_calls(SYNC + TELL))
    assert problem is not None
    assert "expected one of each" in problem


@pytest.mark.system
def test_a_commit_is_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    watched = "trace=write,pwrite64,writev,pwritev,pwritev2,fdatasync,fsync"
    strace = ["strace", "-f", "-y", "-qq", "-e", watched, "-s", str(LINE_BYTES_MAX), "-o", str(trace)]
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "journal")]
    outcome = subprocess.run([*strace, *program], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert problem_with(finished_calls(trace.read_text(errors="replace"))) is None

"""A chain that a journal ended while it was at work stays ended, whatever becomes of the process the moment after."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from antiphon import Fact, Journal

# Commits, lets a sync fail (which ends the chain), and dies before anything else is written.
DYING = """
import asyncio, os, signal, sys
from antiphon import Fact, Journal
from antiphon.journal import StoreUnavailable
from antiphon.testing.disk import FaultyDisk

class Said(Fact, kind="ended.said", version=1):
    text: str

async def live():
    disk = FaultyDisk()
    journal = await Journal.open(sys.argv[1], author="ada", disk=disk)
    receipt = await journal.commit(Said(text="kept"), flush=True)
    disk.fail("sync")
    try:
        await journal.commit(Said(text="refused"), flush=True)
    except StoreUnavailable:
        print(receipt.chain, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(live())
"""


class Said(Fact, kind="ended.said", version=1):
    text: str


def die(folder: Path) -> str:
    """The chain that was ended in a process that is gone."""
    command = [sys.executable, "-c", DYING, str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == -9, found.stderr
    return found.stdout.strip()


@pytest.mark.asyncio
async def test_a_kill_right_after_a_chain_was_ended_does_not_bring_it_back(tmp_path: Path) -> None:
    """The lock file used to hear of it at a clean close only, so the next life went on in the chain."""
    chain = die(tmp_path / "a")
    assert chain in orjson.loads((tmp_path / "a" / "LOCK").read_bytes())["ended"].split()
    async with Journal.open(tmp_path / "a") as journal:
        receipt = await journal.commit(Said(text="after"), flush=True)
        assert receipt.chain != chain
        assert not any(state.is_forked for state in journal.engine.index.chains())

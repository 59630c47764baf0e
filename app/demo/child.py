"""The other player as this process sees it: a child process that is started, ordered, heard and surely ended.

Knows lines and exit codes; what they mean to the play is the director's business.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from antiphon.facts import AntiphonError

from .cues import Player
from .wire import LINE_BYTES_MAX, Leave, Order, Report, read_report, write_line

# Closing a journal is a sync and a DuckDB checkpoint; a process that takes longer hangs.
LEAVE_TIMEOUT_S = 5.0
_STDERR_LINES_KEPT = 20


class PlayerLost(AntiphonError):
    """A player's process ended in the middle of the play."""


class ChildPlayer:
    """A running child process that plays *player*; made by ``start_child``."""

    def __init__(self, player: Player, process: Process) -> None:
        self.player = player
        self._process = process
        self._complaints: deque[str] = deque(maxlen=_STDERR_LINES_KEPT)
        self._is_leaving = False

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def order(self, order: Order) -> None:
        """Send an order; a child that is gone is told of by ``relay``."""
        assert self._process.stdin is not None, "it was started with pipes"
        self._process.stdin.write(write_line(order))

    async def relay(self, hear: Callable[[Report], None]) -> None:
        """Hand every report to *hear*; returns when the child left as ordered, raises ``PlayerLost`` otherwise."""
        assert self._process.stdout is not None, "it was started with pipes"
        async with asyncio.TaskGroup() as group:
            group.create_task(self._collect_complaints())
            async for line in self._process.stdout:
                hear(read_report(line))
        code = await self._process.wait()
        if not self._is_leaving or code:
            raise PlayerLost(
                f"{self.player}'s process {self.pid} ended with exit code {code}"
                f"{': ' + self._complaints[-1] if self._complaints else ''}; run the demo again"
            )

    def leave(self) -> None:
        """Order the child to close its journal and end."""
        self._is_leaving = True
        self.order(Leave())

    async def end(self) -> None:
        """Close its stdin, wait, and kill it when it does not end by itself. Idempotent."""
        assert self._process.stdin is not None, "it was started with pipes"
        self._process.stdin.close()
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._kill()
        except asyncio.CancelledError:
            self._kill()
            raise

    def _kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def _collect_complaints(self) -> None:
        assert self._process.stderr is not None, "it was started with pipes"
        async for line in self._process.stderr:
            text = line.decode(errors="replace").strip()
            if text:
                self._complaints.append(text)


@asynccontextmanager
async def start_child(player: Player, folder: Path, *, is_drawn: bool) -> AsyncIterator[ChildPlayer]:
    """Start the process that plays *player* with the journal in *folder*; it has ended when the block is left.

    It has a process group of its own: Ctrl-C is for this process, which then ends the child.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # a file of the user's folder must not stand in for a module of the child's
        *("-m", "antiphon.app.demo.peer", "--player", player, "--folder", str(folder)),
        *(["--drawn"] if is_drawn else []),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=LINE_BYTES_MAX,
        process_group=0,
    )
    child = ChildPlayer(player, process)
    try:
        yield child
    finally:
        await child.end()
        await process.wait()

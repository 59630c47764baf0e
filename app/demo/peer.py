"""The other process: ``python -m antiphon.app.demo.peer``, one replica that obeys lines on stdin and reports on stdout.

Its journal, its signals and its link are its own; what comes on stdin tells only what to say and when. The end of stdin
is an order to leave, so that it does not outlive the process that started it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..journal import Journal
from .cues import PLAYERS, Player
from .replica import DemoReplica
from .wire import LINE_BYTES_MAX, Leave, Report, read_order, write_line


async def play(player: Player, folder: Path, *, is_drawn: bool) -> None:
    """Open the journal in *folder* and play *player* until told to leave, or until stdin ends."""
    orders, reports = await _open_pipes()

    def emit(report: Report) -> None:
        reports.write(write_line(report))

    try:
        async with Journal.open(folder, author=player) as journal, asyncio.TaskGroup() as group:
            replica = DemoReplica(player, journal, emit, pid=os.getpid(), is_drawn=is_drawn)
            listening = group.create_task(_listen(orders, replica))
            await replica.run()
            listening.cancel()
    finally:
        reports.close()


async def _listen(orders: asyncio.StreamReader, replica: DemoReplica) -> None:
    async for line in orders:
        replica.order(read_order(line))
    replica.order(Leave())


async def _open_pipes() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    return orders, asyncio.StreamWriter(transport, protocol, None, loop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and play; the exit code."""
    parser = argparse.ArgumentParser(prog="antiphon.app.demo.peer", description=__doc__)
    parser.add_argument("--player", choices=PLAYERS, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="the folder of this replica's journal")
    parser.add_argument("--drawn", action="store_true", help="report what the screen should show, too")
    options = parser.parse_args(arguments)
    asyncio.run(play(options.player, options.folder, is_drawn=options.drawn))
    return 0


if __name__ == "__main__":
    sys.exit(main())

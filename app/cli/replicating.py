"""Commands that meet other journals: ``serve`` and ``sync``."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import AuthorOption, JournalOption, JsonOption, say, write, write_json

if TYPE_CHECKING:
    from antiphon.runtime.services.session_driver import SyncReport


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (serve, sync):
        app.command()(command)


def serve(
    journal: JournalOption,
    address: Annotated[
        str, typer.Option("--address", metavar="tcp://HOST:PORT", help="Where to listen; port 0 picks a free one.")
    ] = "tcp://127.0.0.1:0",
    author: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let peers sync with this journal, until interrupted (SIGINT or SIGTERM, exit code 0).

    Writes the address once it listens. JSON: one object: address, authority, author.
    """
    asyncio.run(_serve(journal, address, author, as_json=as_json))


def sync(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A serving journal, such as tcp://127.0.0.1:7070.")],
    journal: JournalOption,
    author: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exchange what is missing with a serving journal, both ways, once; exit code 1 when it did not succeed.

    JSON: one object: success, sent, received, known, bytes, rounds, reason, forked, refused, peer, duration_ms, facts,
    fingerprint.
    """
    report, fact_count, fingerprint = asyncio.run(_sync(journal, address, author))
    if as_json:
        entries = asdict(report)
        shown = {
            name: entries[name]
            for name in ("sent", "received", "known", "rounds", "reason", "forked", "peer", "duration_ms")
        }
        write_json(
            {"success": report.is_success, "bytes": report.bytes, "refused": report.refused}
            | shown
            | {"facts": fact_count, "fingerprint": fingerprint}
        )
    else:
        write(
            f"sent {report.sent:,}, received {report.received:,} facts in {report.bytes:,} bytes; "
            f"fingerprint {fingerprint}"
        )
    if not report.is_success:
        say(report.reason or "the two sides did not come to agree; try again")
        raise typer.Exit(1)


async def _serve(folder: Path, address: str, author: str | None, *, as_json: bool) -> None:
    from antiphon.app.journal import Journal

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with Journal.open(folder, author=author) as journal, journal.serve(address) as server:
        for problem in journal.problems:
            say(problem)
        if as_json:
            write_json(
                {"address": server.address, "authority": journal.authority, "author": journal.author}, is_line=True
            )
        else:
            write(server.address)
        await stopped.wait()


async def _sync(folder: Path, address: str, author: str | None) -> tuple[SyncReport, int, str]:
    from antiphon.app.journal import Journal

    async with Journal.open(folder, author=author) as journal:
        for problem in journal.problems:
            say(problem)
        report = await journal.sync(address)
        return report, journal.fact_count, journal.fingerprint

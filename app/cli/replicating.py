"""Commands that meet other journals: ``serve`` and ``sync``."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import AuthorOption, JournalOption, JsonOption, counted, say, write, write_json

if TYPE_CHECKING:
    from antiphon.runtime.services.session_driver import SyncReport


_UNREACHED = {
    "success": False,
    "bytes": 0,
    "refused": (),
    "sent": 0,
    "received": 0,
    "known": 0,
    "rounds": 0,
    "reason": "",
    "forked": (),
    "peer": "",
    "duration_ms": 0,
    "facts": None,
    "fingerprint": None,
}


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

    The journal must be there; with --author a missing one is made. Writes the address once it listens.

    JSON: one object: address, authority, author.
    """
    from antiphon.runtime.transports.transport import parse_address

    parse_address(address)
    _check_journal(journal, author)
    asyncio.run(_serve(journal, address, author, as_json=as_json))


def sync(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A serving journal, such as tcp://127.0.0.1:7070.")],
    journal: JournalOption,
    author: AuthorOption = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="How long to wait for the peer at each step."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Exchange what is missing with a serving journal, both ways, once; exit code 1 when it did not succeed.

    The journal must be there; with --author a missing one is made, once the peer answers.

    JSON: one object: success, sent, received, known, bytes, rounds, reason, forked, refused, peer, duration_ms, facts,
    fingerprint; facts and fingerprint are null when nobody answered.
    """
    from antiphon.runtime.transports.transport import PeerUnreachable, parse_address

    parse_address(address)
    _check_journal(journal, author)
    if timeout is not None and not timeout > 0:
        raise typer.BadParameter("--timeout is more than 0 seconds")
    try:
        report, fact_count, fingerprint = asyncio.run(_sync(journal, address, author, timeout))
    except PeerUnreachable as problem:
        if as_json:
            write_json(_UNREACHED | {"reason": str(problem), "peer": address})
        raise
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
            f"sent {report.sent:,}, received {counted(report.received, 'fact')} in {report.bytes:,} bytes; "
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
    async with (
        Journal.open(folder, author=author, may_create=author is not None) as journal,
        journal.serve(address) as server,
    ):
        for problem in journal.problems:
            say(problem)
        if as_json:
            write_json(
                {"address": server.address, "authority": journal.authority, "author": journal.author}, is_line=True
            )
        else:
            write(server.address)
        await stopped.wait()


async def _sync(folder: Path, address: str, author: str | None, timeout: float | None) -> tuple[SyncReport, int, str]:
    from antiphon.app.journal import Journal
    from antiphon.runtime.services.sync import DEFAULT_SETTINGS, SyncSettings, sync_once
    from antiphon.runtime.transports.tcp import connect

    settings = DEFAULT_SETTINGS
    if timeout is not None:
        settings = SyncSettings(connect_timeout_s=timeout, digest_timeout_s=timeout, transfer_timeout_s=timeout)
    # The peer comes first: no journal is made for one that is not there.
    connection = await connect(address, timeout=settings.connect_timeout_s)
    try:
        async with Journal.open(folder, author=author, may_create=author is not None) as journal:
            for problem in journal.problems:
                say(problem)
            report = await sync_once(journal.engine, connection, settings=settings)
            return report, journal.fact_count, journal.fingerprint
    finally:
        await connection.close()


def _check_journal(folder: Path, author: str | None) -> None:
    """Refuse a folder without a journal, unless an author is named whose journal it will be."""
    from antiphon.app.offline import open_offline
    from antiphon.journal import NotAJournal

    if author is not None:
        return
    try:
        open_offline(folder)
    except NotAJournal as problem:
        raise NotAJournal(f"{problem}, or make one here with --author NAME") from None

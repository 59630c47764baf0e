"""``antiphon tui``: the terminal application over a journal, or in memory."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from .screen import AuthorOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tui)


def tui(
    journal: Annotated[
        Path | None,
        typer.Option("--journal", "-j", metavar="FOLDER", help="The journal's folder; without it, nothing is kept."),
    ] = None,
    author: AuthorOption = None,
    link: Annotated[
        list[str] | None,
        typer.Option("--link", metavar="tcp://HOST:PORT", help="Stay in touch with this peer; may be repeated."),
    ] = None,
    serve: Annotated[
        str | None, typer.Option("--serve", metavar="tcp://HOST:PORT", help="Let peers connect here.")
    ] = None,
) -> None:
    """Chat, contacts, invitations, homes and an inspector in the terminal. Without a journal it plays in memory.

    Needs the extra `tui`. Type /help there; F1 to F5 change the tab, ctrl+q ends it.
    """
    from antiphon.facts import LocalViolation

    if journal is None and (link or serve):
        raise LocalViolation("--link and --serve need a journal: name its folder with --journal")
    try:
        import textual  # noqa: F401
    except ImportError:
        raise LocalViolation("the terminal needs Textual: pip install 'antiphon[tui]'") from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise LocalViolation("this draws on a terminal, and there is none; `antiphon show chat` writes plain text")
    asyncio.run(_run(journal, author, tuple(link or ()), serve))


async def _run(journal: Path | None, author: str | None, links: tuple[str, ...], serve: str | None) -> None:
    from antiphon.app.tui.application import TerminalApp
    from antiphon.app.wiring import demo_core, open_core

    async with demo_core(author or "me") if journal is None else open_core(journal, author=author) as core:
        if serve is not None:
            await core.runtime.serve(serve)
        for address in links:
            await core.runtime.link(address)
        await TerminalApp(core).run_async()

"""Commands that keep a journal small and clean: ``erase``. They own the journal while they run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import JournalOption, JsonOption, counted, write, write_json

if TYPE_CHECKING:
    from antiphon.app.journal import Receipt


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (erase,):
        app.command()(command)


def erase(
    fact_ids: Annotated[list[str], typer.Argument(metavar="FACT_ID…", help="Facts by their 64 hex digits; see log.")],
    journal: JournalOption,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why, for people; replicated with the erasure.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Take back what facts say: their payloads go from this disk now and from every replica that hears of it.

    Their ids stay, so that all chains still verify. Only the author of a fact may, and the owner of the home it was
    said in. JSON: one object: erased [fact ids], erasures [fact ids of the erasures].
    """
    receipts = asyncio.run(_erase(journal, fact_ids, reason))
    if as_json:
        write_json({"erased": fact_ids, "erasures": [receipt.fact_id for receipt in receipts]})
    else:
        write(f"erased {counted(len(set(fact_ids)), 'fact')}; replicas follow when they sync")


async def _erase(folder: Path, fact_ids: list[str], reason: str) -> tuple[Receipt, ...]:
    from antiphon import Journal

    async with Journal.open(folder, may_create=False) as journal:
        return await journal.erase(*fact_ids, reason=reason)

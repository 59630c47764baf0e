"""Commands that keep a journal small and clean: ``erase`` and ``compact``. They own the journal while they write."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import JournalOption, JsonOption, clean, counted, opening_bar, write, write_json, write_table

if TYPE_CHECKING:
    from antiphon.app.journal import Journal, Receipt
    from antiphon.journal import DeliveryPolicy


# As much of an id as ``log`` shows, or more.
_BEGINNING = re.compile("[0-9a-f]{12,63}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (erase, compact):
        app.command()(command)


def erase(
    fact_ids: Annotated[
        list[str], typer.Argument(metavar="FACT_ID…", help="Facts by their ids, or the first 12 digits that log shows.")
    ],
    journal: JournalOption,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why, for people; replicated with the erasure.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Take back what facts say: their payloads go from this disk now and from every replica that hears of it.

    Their ids stay, so that all chains still verify. Only the author of a fact may, and the owner of the home it was
    said in. JSON: one object: erased [fact ids], erasures [fact ids of the erasures].
    """
    erased, receipts = asyncio.run(_erase(journal, fact_ids, reason))
    if as_json:
        write_json({"erased": erased, "erasures": [receipt.fact_id for receipt in receipts]})
    else:
        write(f"erased {counted(len(set(erased)), 'fact')}; replicas follow when they sync")


def compact(
    journal: JournalOption,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, and what it would win.")
    ] = False,
    retire: Annotated[
        list[str] | None,
        typer.Option(
            "--retire",
            metavar="chat|KIND=MIN..MAX",
            help="Let go of what old facts say, on this disk: chat after 30 to 90 days, or KIND after MIN to MAX.",
        ),
    ] = None,
    trim: Annotated[
        bool,
        typer.Option(
            "--trim", help="Let go of what facts said that later ones wrote all over: old names, topics, marks."
        ),
    ] = False,
    collapse: Annotated[
        bool, typer.Option("--collapse", help="Also pass over facts of which only ids are left: the ids go as well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Seal log files into Parquet, however small; --dry-run tries it elsewhere and says for each kind what is there.

    Nothing is lost: facts, ids and seals are verified before a log file goes. Only --retire and --trim let payloads go.
    --trim: those that no view can ever show again. --retire: old ones, always at MAX days, never before MIN, in between
    once whoever is expected has acknowledged them. Ids stay until --collapse. A --dry-run works while an application
    writes; of files it looks at closed ones only. JSON: one object: done, files [{file, facts, log_bytes,
    segment_bytes}], kinds [{kind, facts, erased, log_bytes}], retired [{kind, retired_count, payload_bytes,
    young_count, needed_count}], trimmed {kind: facts}, collapsed (facts), damaged [{file, reason}], log_bytes,
    segment_bytes.
    """
    from antiphon.app.compaction import compact_journal, plan_compaction

    policies = dict(map(_policy_of, retire or ()))
    if dry_run:
        report = plan_compaction(journal, policies, is_trimming=trim, is_collapsing=collapse)
    else:
        report = asyncio.run(compact_journal(journal, policies, is_trimming=trim, is_collapsing=collapse))
    if as_json:
        write_json(report.to_json())
        return
    write_table(("kind", "facts", "erased", "log bytes"), report.kinds)
    if report.retired:
        write_table(
            ("kind", "payloads to go" if dry_run else "payloads gone", "bytes", "young", "needed"), report.retired
        )
    if trim:
        write_table(("kind", "written over, to go" if dry_run else "written over, gone"), report.trimmed)
    if collapse:
        verb = "would be" if dry_run else "were"
        write(f"{counted(report.collapsed_count, 'fact')} of which only ids are left {verb} passed over")
    for number, reason in report.damaged:
        write(f"log file {number} stays as it is: {clean(reason)}")
    verb = "would become" if dry_run else "became"
    write(
        f"{counted(len(report.files), 'log file')} of {report.log_bytes:,} bytes {verb} segments of "
        f"{report.segment_bytes:,} bytes"
    )


_RETIRED = re.compile(r"([a-z][a-z0-9_.]*)=(\d{1,6})\.\.(\d{1,6})")


def _policy_of(text: str) -> tuple[str, DeliveryPolicy]:
    from antiphon.journal import ChatDeliveryPolicy, DeliveryPolicy, InvalidRetention

    if text == "chat":
        return text, ChatDeliveryPolicy()
    found = _RETIRED.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is neither chat nor KIND=MIN..MAX in days, such as demo.noted=30..90")
    kind, first, last = found[1], timedelta(days=int(found[2])), timedelta(days=int(found[3]))
    try:
        return kind, DeliveryPolicy(min_retention=first, max_retention=last, retired_kinds=frozenset({kind}))
    except InvalidRetention as problem:
        raise typer.BadParameter(str(problem)) from problem


async def _erase(folder: Path, fact_ids: list[str], reason: str) -> tuple[list[str], tuple[Receipt, ...]]:
    from antiphon import Journal

    async with Journal.open(folder, may_create=False, on_opening=opening_bar()) as journal:
        whole = [await _whole_id(journal, fact_id) for fact_id in fact_ids]
        return whole, await journal.erase(*whole, reason=reason)


async def _whole_id(journal: Journal, text: str) -> str:
    """The id that begins with what ``log`` shows of it; what is no such beginning is left to those who refuse it."""
    if not _BEGINNING.fullmatch(text):
        return text
    query = "SELECT fact_id FROM history WHERE starts_with(fact_id, $text)"
    found = (await journal.sql(query, {"text": text})).fetchall()
    if len(found) != 1:
        count = counted(len(found), "fact")
        raise typer.BadParameter(f"{count} of this journal has an id that begins with {text}; see antiphon log --json")
    return str(found[0][0])

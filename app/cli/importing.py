"""``antiphon import``: foreign records become facts."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import (
    AuthorOption,
    JournalOption,
    JsonOption,
    clean,
    counted,
    import_progress,
    opening_bar,
    say,
    write,
    write_json,
)

if TYPE_CHECKING:
    from antiphon.app.importing import ImportPlace, ImportReport

# More than a screenful of complaints helps nobody; --json has them all.
_PROBLEMS_SHOWN = 20

imports = typer.Typer(help="Import what was said elsewhere.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(imports, name="import")


@imports.callback()
def _imports() -> None:
    """Import what was said elsewhere."""


@imports.command("irc")
def import_irc(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Logs, one day each, such as 2007-01-21.txt.")],
    journal: JournalOption,
    channel: Annotated[str, typer.Option("--channel", "-c", help="The channel the lines go to, such as '#ubuntu'.")],
    author: AuthorOption = None,
    day: Annotated[
        datetime | None,
        typer.Option(
            "--day", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The day of one log whose name tells none."
        ),
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", help="The namespace; irc.<network>.<channel> unless given.")
    ] = None,
    network: Annotated[str, typer.Option("--network", help="The network whose nicks the log names.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Import IRC logs: messages, actions and notices, joins and leaves, nicks as contacts.

    A line is imported once, however often and in whatever order its file is; reply links come from a file
    DAY.annotation.txt beside DAY.raw.txt. Lines that cannot be imported are listed with number (from 0) and reason; the
    exit code is 1 only when a file had nothing to import in it.

    JSON: one object with channel, context, files, lines, facts (new ones), added (by kind), known (found already),
    undecodable, problems [{file, line, code, reason}], files_without_lines, seconds, facts_per_second, fingerprint.
    """
    from antiphon.app.importing import ImportPlace

    place = ImportPlace.of(channel, context=context, network=network)
    report, seconds, fingerprint = asyncio.run(_import(journal, files, place, author, day.date() if day else None))
    rate = round(report.added_count / seconds) if seconds else 0
    if as_json:
        extra = {"seconds": round(seconds, 3), "facts_per_second": rate, "fingerprint": fingerprint}
        write_json(report.to_json() | extra)
    else:
        _show(report, seconds, rate)
    if report.empty_files:
        say(f"nothing to import in {', '.join(report.empty_files)}; is it an IRC log?")
        raise typer.Exit(1)


async def _import(
    journal_folder: Path, files: list[Path], place: ImportPlace, author: str | None, day: date | None
) -> tuple[ImportReport, float, str]:
    from antiphon.app.importing import find_logs, import_logs
    from antiphon.app.journal import Journal
    from antiphon.runtime.clock import monotonic_seconds

    # What is wrong with the files is told before a journal is made for them.
    await asyncio.to_thread(find_logs, files, day=day)
    async with Journal.open(journal_folder, author=author, on_opening=opening_bar()) as journal:
        for problem in journal.problems:
            say(problem)
        with import_progress() as show:
            start = monotonic_seconds()
            report = await import_logs(journal, files, place, day=day, on_progress=show)
            return report, monotonic_seconds() - start, journal.fingerprint


def _show(report: ImportReport, seconds: float, rate: int) -> None:
    write(
        f"{counted(report.line_count, 'line')} of {counted(report.file_count, 'file')}: "
        f"{counted(report.added_count, 'new fact')}, "
        f"{report.known_count:,} known already, in {seconds:.1f} s ({rate:,} facts/s)"
    )
    for kind, count in sorted(report.added.items()):
        write(f"  {kind}: {count:,}")
    if report.undecodable_count:
        write(f"  {counted(report.undecodable_count, 'line')} not in UTF-8; the bytes are kept beside the text")
    if report.problems:
        write(f"{counted(len(report.problems), 'line')} could not be imported whole:")
    for problem in report.problems[:_PROBLEMS_SHOWN]:
        write(f"  {clean(problem.file)}, line {problem.line} (from 0): {problem.reason}")
    if len(report.problems) > _PROBLEMS_SHOWN:
        write(f"  … and {len(report.problems) - _PROBLEMS_SHOWN:,} more; --json lists them all")

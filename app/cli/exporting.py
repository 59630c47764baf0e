"""The command that gives facts to others: ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import JournalOption, JsonOption, OutputLost, bar_of, counted, tell_missing, write, write_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    journal: JournalOption,
    parquet: Annotated[Path, typer.Option("--parquet", metavar="DIR", help="The folder to make; it may not be there.")],
    as_json: JsonOption = False,
) -> None:
    """Write all facts as Parquet that DuckDB, Polars or Spark read: kind=…/date=…/facts_0.parquet.

    Everything is read back before the folder gets its name. Exit code 2 when DIR is there already, 4 when it
    cannot be written. What the journal itself has lost is told on stderr.

    JSON: one object: folder, facts, kinds, files, bytes.
    """
    from antiphon.app.parquet_export import export_parquet

    with bar_of("facts") as show:
        try:
            report = export_parquet(
                journal, parquet, on_progress=lambda done: show(done.kind, done.fact_count, done.fact_total)
            )
        except OSError as problem:
            raise OutputLost(problem, parquet) from problem
    tell_missing(report.damages)
    if as_json:
        write_json(
            {
                "folder": str(report.folder),
                "facts": report.fact_count,
                "kinds": report.kind_count,
                "files": report.file_count,
                "bytes": report.byte_count,
            }
        )
    else:
        write(
            f"{counted(report.fact_count, 'fact')} of {counted(report.kind_count, 'kind')} "
            f"in {counted(report.file_count, 'file')} ({report.byte_count:,} bytes), read back: {report.folder}"
        )

"""How commands talk: JSON and plain text to stdout, messages and progress to stderr.

Decides nothing about content. What a log or a peer said is shown without its control characters, so that it cannot
steer the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.app.printable import clean as clean
from antiphon.app.printable import show_time as show_time

if TYPE_CHECKING:
    from antiphon.app.importing import ImportProgress
    from antiphon.journal.stores.log import LogDamage

JournalOption = Annotated[Path, typer.Option("--journal", "-j", metavar="FOLDER", help="The journal's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, in the form told above.")]
AuthorOption = Annotated[
    str | None, typer.Option("--author", help="Display name for what this journal writes; kept for the next time.")
]


def say(message: str) -> None:
    """Tell a person something, on stderr."""
    typer.echo(f"antiphon: {message}", err=True)


def tell_missing(damages: Iterable[LogDamage]) -> None:
    """Tell of stretches of a log that cannot be read, and so are not in the answer."""
    for damage in damages:
        say(f"log file {damage.file_number}, byte {damage.offset}: {damage.reason}; what it held is missing here")


class OutputLost(Exception):
    """Stdout, or the file *path*, takes nothing; ``is_reader_gone`` when a pipe's reader left, as ``head`` does."""

    def __init__(self, problem: OSError | None, path: Path | None = None) -> None:
        why = (problem.strerror or str(problem)) if problem else "stdout is closed"
        where = "the output" if path is None else str(path)
        super().__init__(f"{where} could not be written: {why}")
        self.is_reader_gone = isinstance(problem, BrokenPipeError)


def write_file(path: Path, text: str) -> None:
    """Write a whole file that an option names, and the folder it lies in; raises ``OutputLost``, which names it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise OutputLost(problem, path) from problem


def write(text: str) -> None:
    """Write one line of data; raises ``OutputLost``."""
    if sys.stdout is None:
        raise OutputLost(None)
    try:
        typer.echo(text.encode("utf-8", errors="replace") + b"\n", nl=False)
    except OSError as problem:
        raise OutputLost(problem) from problem


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "fact"), counted(2_000, "fact")
    ('1 fact', '2,000 facts')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def write_json(value: object, *, is_line: bool = False) -> None:
    """Write a JSON object: readable, or as one line of many."""
    write(json.dumps(_plain(value), ensure_ascii=False, indent=None if is_line else 2))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows in aligned columns; those that hold numbers alone are aligned to the right."""
    held = [list(row) for row in rows]
    cells = [[show_value(value) for value in row] for row in held]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    aligns = [str.rjust if _holds_numbers(column) else str.ljust for column in zip(*held, strict=True)]
    aligns = aligns or [str.ljust] * len(widths)
    for row in (list(columns), ["─" * width for width in widths], *cells):
        parts = (align(cell, width) for align, cell, width in zip(aligns, row, widths, strict=True))
        write("  ".join(parts).rstrip())


def _holds_numbers(column: Iterable[object]) -> bool:
    known = [value for value in column if value is not None]
    return bool(known) and all(isinstance(value, int | float | Decimal) and value is not True for value in known)


def show_value(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return "–"
    if isinstance(value, bytes):
        return value.hex()
    return clean(str(value))


def newest(items: Sequence[object], limit: int) -> int:
    """The index of the first of the newest *limit* items; 0 means all."""
    return max(0, len(items) - limit) if limit > 0 else 0


@contextmanager
def import_progress() -> Iterator[ImportBar]:
    """A progress bar on stderr while the block runs; nothing is shown unless stderr is a terminal."""
    if not sys.stderr.isatty():
        yield ImportBar(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[facts]:,} facts"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as progress:
        yield ImportBar(progress)


@contextmanager
def bar_of(noun: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, fed with (what, done, total); nothing is shown unless stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(noun))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)
        yield lambda what, done, total: progress.update(task, description=clean(what), completed=done, total=total)


def opening_bar() -> Callable[[int, int], None] | None:
    """What ``Journal.open(on_opening=…)`` tells, as a bar on stderr while there is something to tell; None unless
    stderr is a terminal."""
    if not sys.stderr.isatty():
        return None
    bars = ExitStack()
    shown: list[Callable[[str, int, int], None]] = []

    def show(done: int, total: int) -> None:
        if not shown:
            shown.append(bars.enter_context(bar_of("log files")))
        shown[0]("reading the log anew", done, total)
        if done == total:
            bars.close()

    return show


class ImportBar:
    """Shows how far an import is."""

    def __init__(self, progress: object) -> None:
        from rich.progress import Progress

        self._progress = progress if isinstance(progress, Progress) else None
        self._task = self._progress.add_task("importing", total=None, facts=0) if self._progress else None

    def __call__(self, update: ImportProgress) -> None:
        """Draw *update*."""
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task,
                description=clean(update.file),
                total=update.byte_total,
                completed=update.byte_count,
                facts=update.fact_count,
            )


def _plain(value: object) -> object:
    """JSON data: what JSON has no form for becomes text, or null where it is no number."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)

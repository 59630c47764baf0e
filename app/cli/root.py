"""The root of the command line: which commands there are, and what an error becomes.

Imports no room of antiphon before a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import errno
import os
import sys
from enum import IntEnum
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from . import is_interrupt
from .screen import OutputLost, say, write


class ExitCode(IntEnum):
    """What the shell is told."""

    OK = 0
    NO = 1
    USAGE = 2
    UNAVAILABLE = 3
    OUTPUT_LOST = 4
    INTERRUPTED = 130
    READER_GONE = 141


EPILOG = (
    "Exit codes: 0 ok · 1 the answer is no, or problems were found · 2 wrong usage · 3 the journal is unavailable "
    "(held by another process, damaged, of a newer format, no journal, disk refused) · 4 the output could not be "
    "written · 130 interrupted · 141 the reader of the output went away. "
    "Data goes to stdout, progress and messages to stderr. NO_COLOR is respected."
)


class Commands(TyperGroup):
    """Runs a command and turns what it raises on purpose into one line on stderr and an exit code."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands, each with its whole first sentence: half a sentence tells nobody what a command is for."""
        rows = [
            (name, " ".join((command.short_help or command.help or "").split("\n\n")[0].split()))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except OutputLost:
            raise
        except typer.BadParameter as problem:
            # How the library under this one begins its complaints; the reader has no use for it.
            problem.message = problem.message.replace("Value error, ", "")
            raise
        except (Exception, KeyboardInterrupt) as problem:
            if is_interrupt(problem):
                say("interrupted")
                raise typer.Exit(ExitCode.INTERRUPTED) from None
            code = code_of(problem)
            if code is not None:
                say(" ".join(str(problem).split()))
                raise typer.Exit(code) from None
            raise


def code_of(problem: BaseException) -> ExitCode | None:
    """The exit code of an error raised on purpose; None for any other, which is a bug and shows its traceback."""
    from antiphon.facts import AntiphonError, LocalViolation
    from antiphon.journal import JournalClosed, JournalError
    from antiphon.reactive.errors import ReactiveError

    match problem:
        case JournalError() if not isinstance(problem, JournalClosed):
            return ExitCode.UNAVAILABLE
        case LocalViolation() | ReactiveError():
            return ExitCode.USAGE
        case AntiphonError():
            return ExitCode.NO
        case _:
            return None


app = typer.Typer(
    name="antiphon",
    cls=Commands,
    help="A local-first fact journal: import, look, ask, check, replicate.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain text: markup would swallow what stands in brackets.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from antiphon import __version__

        write(f"antiphon {__version__}")
        raise typer.Exit


def run() -> None:
    """Run the command that ``sys.argv`` names."""
    try:
        app(prog_name="antiphon")
    except OutputLost as problem:
        _end_without_output(problem)
    except OSError as problem:
        # Of its own, the command line writes nothing but help and the version.
        if problem.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
        _end_without_output(OutputLost(problem))


def _end_without_output(problem: OutputLost) -> NoReturn:
    # What is buffered still cannot be written; without this Python would try again at exit and complain.
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if problem.is_reader_gone:
        sys.exit(ExitCode.READER_GONE)
    say(str(problem))
    sys.exit(ExitCode.OUTPUT_LOST)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A local-first fact journal: import, look, ask, check, replicate."""


def _register() -> None:
    from . import (
        checking,
        choreography,
        demo,
        exporting,
        housekeeping,
        importing,
        keys,
        reading,
        replicating,
        simulating,
        terminal,
        travelling,
    )

    looking = (reading, travelling, exporting, checking)
    for module in (demo, importing, *looking, housekeeping, replicating, keys, choreography, simulating, terminal):
        module.register(app)


_register()

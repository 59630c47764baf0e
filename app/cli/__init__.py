"""The command line: arguments in, text or JSON out, and an exit code that says how it went.

Data goes to stdout; progress and messages go to stderr. Whatever ends a command, nobody sees a traceback of an
interrupt or of an output that takes no more.
"""

from __future__ import annotations


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit with its code."""
    try:
        from .root import run

        run()
    except (Exception, KeyboardInterrupt) as problem:
        if not is_interrupt(problem):
            raise
        _end_interrupted()


def is_interrupt(problem: BaseException | None) -> bool:
    """Whether *problem* is how an interrupt shows itself: as it is, in DuckDB's words, or behind a failed import."""
    while problem is not None:
        is_told_by_duckdb = isinstance(problem, RuntimeError) and str(problem) == "Query interrupted"
        if isinstance(problem, KeyboardInterrupt) or is_told_by_duckdb:
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _end_interrupted() -> None:
    import signal
    import sys

    # Whoever is impatient and interrupts again ends the process at once, and in silence too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stderr.write("antiphon: interrupted\n")
    sys.exit(130)


__all__ = ["is_interrupt", "main"]

"""The command line: arguments in, text or JSON out, and an exit code that says how it went.

Data goes to stdout; progress and messages go to stderr.
"""

from __future__ import annotations


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit with its code."""
    from .root import run

    run()


__all__ = ["main"]

"""Problems found in a text or a tree, how they are shown, and the one exception for those who prefer one.

Decides nothing: `dsl/diagnostics.py` holds the wording, the checks say where.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .node import NO_SPAN, JsonValue, Span

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what kind, where in the original text, what was seen and expected, what to try.

    `kind` is the coarse class a program may switch on (`Syntax`, `Layout`, `UndefinedRole`, …), `code` the exact rule
    (`tab_in_indentation`, …). `expected` lists what could have stood there, for syntax errors.
    """

    kind: str
    code: str
    severity: Severity
    span: Span
    message: str
    hint: str
    expected: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JsonValue]:
        """The form the command line prints: kind, severity, place, message, hint."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "line": self.span.line,
            "column": self.span.column,
            "end_line": self.span.end_line,
            "end_column": self.span.end_column,
            "message": self.message,
            "hint": self.hint,
        }


LINE_BREAK = re.compile(r"\r\n|\r|\n")
# A line of a megabyte is shown as a window around the place.
SHOWN_WIDTH_MAX = 110


def render(problem: Problem, text: str, *, file: str = "<text>") -> str:
    """The problem for a person: message, place, the line with its number, a row of carets, the hint.

    Cost: O(text) to find the line.
    """
    return render_all([problem], text, file=file)


def render_all(problems: Sequence[Problem], text: str, *, file: str = "<text>") -> str:
    """Every problem, separated by an empty line; the text is split once."""
    lines = LINE_BREAK.split(text)
    return "\n\n".join(_render(problem, lines, file) for problem in problems)


def _render(problem: Problem, lines: list[str], file: str) -> str:
    head = f"{problem.severity}[{problem.kind}]: {problem.message}"
    foot = [f"  = hint: {problem.hint}"] if problem.hint else []
    if problem.span == NO_SPAN:
        return "\n".join([head, f"  --> {file}", *foot])
    line, column = problem.span.line, problem.span.column
    source = lines[line - 1] if line <= len(lines) else ""
    is_one_line = problem.span.end_line == line
    width = max(1, (problem.span.end_column if is_one_line else len(source) + 1) - column)
    if line > len(lines) or column > len(source) + 1:  # a tree was judged, and its text is not here
        return "\n".join([head, f"  --> {file}:{line}:{column}", *foot])
    shown, before = _window(source, column - 1)
    carets = "^" * max(1, min(width, len(shown) - before))
    margin = " " * len(str(line))
    return "\n".join(
        [
            head,
            f"{margin} --> {file}:{line}:{column}",
            f"{margin} |",
            f"{line} | {shown}".rstrip(),
            f"{margin} | {' ' * before}{carets}",
            *foot,
        ]
    )


def _window(source: str, place: int) -> tuple[str, int]:
    """The part of a line around a place that fits, printable, and where the place is in it."""
    start = 0 if len(source) <= SHOWN_WIDTH_MAX else max(0, min(place - 40, len(source) - SHOWN_WIDTH_MAX))
    part = source[start : start + SHOWN_WIDTH_MAX]
    before = place - start
    # A tab is shown as one space, so that the carets stand under what they mean.
    shown = "".join(
        " " if letter == "\t" else letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in part
    )
    if start:
        shown, before = f"…{shown}", before + 1
    return (f"{shown}…" if start + SHOWN_WIDTH_MAX < len(source) else shown), before


class ChoreographyError(ValueError):
    """A text is not a choreography. The caller's move: `problems` says everything that is wrong and what to try."""

    def __init__(self, problems: Sequence[Problem], *, text: str = "", file: str = "<text>") -> None:
        self.problems = tuple(problems)
        self.file = file
        super().__init__(render_all(self.problems, text, file=file))

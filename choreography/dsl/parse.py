"""Text to tree: `parse` reports everything that is wrong and never raises; the `_str` and `_file` forms raise.

Reads no file but the one it is given, and follows no import.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ..ast import Choreography, Dialect, Expression, Extension
from ..errors import ChoreographyError, Problem, render_all
from ..node import Span
from ._builder import Builder
from .brace import arrange_brace, scan_brace
from .diagnostics import problem
from .driver import drive
from .explain import Explainer
from .extensions import NO_EXTENSIONS, Extensions
from .layout import Arranged, arrange_layout
from .surface import check_surface
from .tokens import Scanned, Token, looks_like_brace_dialect, scan
from .words import CONDITIONAL_WORDS

DialectChoice: TypeAlias = Literal["auto", "layout", "brace"]

# A person mends a screenful and parses again; a fuzzer's megabyte must not become a million objects.
PROBLEMS_MAX = 200


class ParseResult(NamedTuple):
    """What became of a text. `tree` may be there although there are errors: then it lacks what could not be read."""

    tree: Choreography | None
    problems: tuple[Problem, ...]
    text: str = ""
    file: str = "<text>"

    @property
    def is_ok(self) -> bool:
        """Whether the tree is there and whole."""
        return self.tree is not None and not self.errors

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that are not only warnings."""
        return tuple(found for found in self.problems if found.severity == "error")

    def render(self) -> str:
        """Every problem for a person, with place, line, carets and hint; empty when there is none."""
        return render_all(self.problems, self.text, file=self.file)


def parse(
    text: str | bytes,
    *,
    file: str = "<text>",
    dialect: DialectChoice = "auto",
    extensions: Extensions = NO_EXTENSIONS,
) -> ParseResult:
    """Read a protocol file in either dialect. Never raises, whatever the text; O(length).

    `auto` takes `.tell` for the layout dialect and otherwise looks at how the text begins. Problems come in the order
    of the text. Example:

        >>> result = parse("protocol P =\\n  roles A, B\\n  A -> B : Hello\\n")
        >>> result.is_ok, [role.name for role in result.tree.roles]
        (True, ['A', 'B'])
    """
    found: list[Problem] = []
    source = text if isinstance(text, str) else _decode(text, found)
    if found:  # nobody can tell what the other bytes meant
        return ParseResult(None, tuple(found), source, file)
    is_brace = looks_like_brace_dialect(source)
    chosen = _dialect(dialect, file, is_brace=is_brace)
    if chosen == "layout" and is_brace:
        return ParseResult(None, (*found, _wrong_dialect(source)), source, file)
    scanned, arranged = _tokens(source, chosen, extensions)
    lexical = [*found, *scanned.problems, *_own_problems(arranged, scanned)]
    if any(item.code == "too_deep" for item in arranged.problems):
        return ParseResult(None, _in_order(lexical), source, file)
    convoluted = _convoluted(arranged.tokens)
    if convoluted is not None:
        return ParseResult(None, _in_order([*lexical, convoluted]), source, file)
    builder = Builder(chosen, extensions.parse_statement)
    outcome = drive(arranged.tokens, builder.actions(), Explainer(chosen), known=lexical)
    tree = outcome.value if isinstance(outcome.value, Choreography) else None
    problems = [*lexical, *outcome.problems, *builder.problems]
    if any(item.code == "no_roles" for item in problems) and _is_roles_line_broken(arranged.tokens, problems):
        problems = [item for item in problems if item.code != "no_roles"]
    if tree is not None:
        tree = replace(tree, comments=tuple(scanned.comments))
        problems += check_surface(tree, is_whole=not any(item.severity == "error" for item in problems))
    elif not any(item.severity == "error" for item in problems):
        problems.append(problem("no_protocol", Span(0, 0, 1, 1, 1, 1)))
    return ParseResult(tree, _in_order(problems), source, file)


def parse_choreography_str(text: str, *, dialect: DialectChoice = "auto") -> Choreography:
    """The tree of a text. Raises ChoreographyError with every problem when there is an error."""
    return _whole(parse(text, dialect=dialect))


def parse_choreography_file(path: str | Path, *, dialect: DialectChoice = "auto") -> Choreography:
    """The tree of a `.tell` or `.choreo` file. Raises ChoreographyError on bad text, OSError on a bad path.

    Raises ValueError on another suffix.
    """
    place = Path(path)
    if place.suffix not in SUFFIXES:
        raise ValueError(f"{place.name!r} ends with {place.suffix!r}; expected one of {sorted(SUFFIXES)}")
    return _whole(parse(place.read_bytes(), file=str(place), dialect=dialect))


SUFFIXES: Mapping[str, Dialect] = {".tell": "layout", ".choreo": "brace"}


def parse_condition(text: str, span: Span) -> tuple[Expression | None, list[Problem]]:
    """The boolean expression a `loop while "…"` holds; every problem is placed at the text's own span."""
    scanned = scan(text, "layout")
    outcome = drive(scanned.tokens, Builder("layout").actions(), Explainer("layout"), start="expression")
    found = [replace(item, span=span) for item in (*scanned.problems, *outcome.problems)]
    words = CONDITIONAL_WORDS & {token.text for token in scanned.tokens}
    found += [problem("invalid_guard", span, seen=f"`{word}`") for word in sorted(words)]
    return (None if found else outcome.value), found  # type: ignore[return-value]  # the start symbol is an expression


def _whole(result: ParseResult) -> Choreography:
    if result.tree is None or result.errors:
        raise ChoreographyError(result.problems, text=result.text, file=result.file)
    return result.tree


def _decode(data: bytes, found: list[Problem]) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        span = Span(len(before), len(before) + 1, line, column, line, column + 1)
        found.append(problem("not_utf8", span, offset=error.start))
        return data.decode("utf-8", errors="replace")


def _dialect(chosen: DialectChoice, file: str, *, is_brace: bool) -> Dialect:
    if chosen != "auto":
        return chosen
    if file.endswith(".tell"):
        return "layout"
    return "brace" if is_brace else "layout"


def _wrong_dialect(source: str) -> Problem:
    scanned = scan(source, "brace")
    place = next((token.span for token in scanned.tokens if token.kind in ("{", "#[")), Span(0, 0, 1, 1, 1, 1))
    return problem("brace_dialect", place)


def _tokens(source: str, dialect: Dialect, extensions: Extensions) -> tuple[Scanned, Arranged]:
    if dialect == "brace":
        scanned = scan_brace(source)
        return scanned, arrange_brace(scanned)
    scanned = scan(source, "layout")
    return scanned, arrange_layout(scanned, source, extension_words=extensions.words)


def _convoluted(tokens: Sequence[Token]) -> Problem | None:
    """The first statement whose types or expressions could nest deeper than what walks a tree may recurse.

    Counted in signs that can nest, not in levels: whoever writes this many in one statement should name a part of it.
    """
    count = 0
    for token in tokens:
        if token.kind in _STATEMENT_ENDS:
            count = 0
        elif token.kind in _NESTING_SIGNS:
            count += 1
            if count > SIGNS_MAX:
                return problem("too_convoluted", token.span, limit=SIGNS_MAX)
    return None


_STATEMENT_ENDS = frozenset({"NEWLINE", "INDENT", "DEDENT", ","})
_NESTING_SIGNS = frozenset({"(", "[", "{", "<", "!", ".", "&&", "||"})
SIGNS_MAX = 150


def _own_problems(arranged: Arranged, scanned: Scanned) -> Iterator[Problem]:
    """What is wrong with the arrangement itself: a bracket that an open text swallowed is not."""
    swallowed = {item.span.line for item in scanned.problems if item.code == "unclosed_text"}
    for found in arranged.problems:
        if found.code != "unclosed_bracket" or found.span.line not in swallowed:
            yield found


def _is_roles_line_broken(tokens: Sequence[Token], problems: Sequence[Problem]) -> bool:
    """Whether there are roles that could not be read: then nobody forgot to declare them."""
    broken = {item.span.line for item in problems if item.severity == "error" and item.code != "no_roles"}
    return any(token.text == "roles" and token.line in broken for token in tokens)


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """In the order of the text, each once, and no more than a person can use."""
    ordered = sorted(dict.fromkeys(problems), key=lambda item: (item.span.start, item.span.end))
    if len(ordered) > PROBLEMS_MAX:
        last = ordered[PROBLEMS_MAX]
        ordered[PROBLEMS_MAX:] = [problem("too_many", last.span, count=len(ordered) - PROBLEMS_MAX)]
    return tuple(ordered)


__all__ = ["Extension", "ParseResult", "parse", "parse_choreography_file", "parse_choreography_str"]

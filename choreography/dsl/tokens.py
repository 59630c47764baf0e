"""From text to raw tokens: words, numbers, texts and signs with their places, comments set aside.

Knows nothing of indentation or braces (`layout.py`, `brace.py`) or of grammar. Whatever it cannot read it reports,
reads as the nearest sensible thing (a curly quote as a quote) and goes on. One regular expression, linear in the text.
"""

import re
from dataclasses import replace
from typing import NamedTuple

from ..ast import Comment, Dialect
from ..errors import Problem
from ..node import Span
from .diagnostics import problem


class Token(NamedTuple):
    """One token. `kind` is the sign itself, or NAME, INTEGER, DURATION, STRING, or one that the passes add."""

    kind: str
    text: str
    start: int
    end: int
    line: int
    column: int
    is_first: bool  # nothing but space and comments stands before it on its line

    @property
    def span(self) -> Span:
        """Where it stands; a token never spans lines, an EXTENSION aside."""
        return Span(self.start, self.end, self.line, self.column, self.line, self.column + self.end - self.start)


class Scanned(NamedTuple):
    """A text's raw tokens, its comments, and what could not be read."""

    tokens: list[Token]
    comments: list[Comment]
    problems: list[Problem]


_PATTERN = re.compile(
    r"""
      (?P<space>[ \t]+)
    | (?P<newline>\r\n|\r|\n)
    | (?P<name>[^\W\d]\w*(?:-[^\W\d]\w*)*)
    | (?P<line_comment>--[^\r\n]*)
    | (?P<slash_comment>//[^\r\n]*)
    | (?P<block_comment>\{-|/\*)
    | (?P<number>\d\w*)
    | (?P<string>"[^"\r\n]*"?)
    | (?P<odd_string>[“”„][^“”"\r\n]*[“”"]? | [‘’'][^‘’'\r\n]*[‘’'])
    | (?P<odd_arrow>[–—−]>|→|⇒)
    | (?P<sign>->\*|<->|->|=>|==|!=|<=|>=|&&|\|\||\.\.|\#\[|::|[-:,;=<>!|.(){}\[\]*@+/%\#])
    | (?P<odd_space>[\f\v\x1c-\x1f\x85\xa0\u1680\u2000-\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]+)
    | (?P<other>[^\w\s\-:,;=<>!|.(){}\[\]*@+/%\#"'“”„‘’–—−→⇒&]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_DURATION = re.compile(r"(\d+)(ms|s|m|h)")
_BLOCK_ENDS = {"{-": "-}", "/*": "*/"}


def scan(text: str, dialect: Dialect, *, start: int = 0, end: int | None = None) -> Scanned:
    """The tokens of `text[start:end]`; never raises."""
    return _Scanner(text, dialect).run(start, len(text) if end is None else end)


class _Scanner:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text = text
        self._dialect = dialect
        self._line = 1
        self._line_start = 0
        self._is_first = True
        self._has_token = False  # a token or block comment stands on this line
        self._tokens: list[Token] = []
        self._comments: list[Comment] = []
        self._problems: list[Problem] = []

    def run(self, start: int, end: int) -> Scanned:
        text = self._text
        self._skip_lines_to(start)
        place = start
        if text.startswith("\ufeff", place):
            place += 1
        match = _PATTERN.match
        tokens = self._tokens
        while place < end:
            found = match(text, place, end)
            assert found is not None, "the last alternative matches any character"
            kind = found.lastgroup
            stop = found.end()
            if kind == "space":
                pass
            elif kind == "name":
                word = found.group()
                if not word.isascii() or word[0] == "_" or "-" in word:
                    self._report_name(word, place, stop)
                tokens.append(
                    Token("NAME", word, place, stop, self._line, place - self._line_start + 1, self._is_first)
                )
                self._is_first = False
            elif kind == "sign":
                sign = found.group()
                tokens.append(Token(sign, sign, place, stop, self._line, place - self._line_start + 1, self._is_first))
                self._is_first = False
            elif kind == "newline":
                self._line += 1
                self._line_start = stop
                self._is_first = True
            else:
                stop = self._less_common(str(kind), place, stop, end)
            place = stop
        return Scanned(tokens, self._comments, self._problems)

    def _skip_lines_to(self, start: int) -> None:
        for found in re.finditer(r"\r\n|\r|\n", self._text[:start]):
            self._line += 1
            self._line_start = found.end()

    def _span(self, start: int, end: int) -> Span:
        column = start - self._line_start + 1
        return Span(start, end, self._line, column, self._line, column + end - start)

    def _report(self, code: str, start: int, end: int, **facts: str | int) -> None:
        previous = self._problems[-1] if self._problems else None
        if previous and previous.code == code and previous.span.end == start and previous.span.line == self._line:
            # A run of the same is one problem: a megabyte of rubbish is not a million lines of advice.
            self._problems[-1] = replace(previous, span=previous.span.to(self._span(start, end)))
            return
        self._problems.append(problem(code, self._span(start, end), seen=_shown(self._text[start:end]), **facts))

    def _report_name(self, word: str, start: int, end: int) -> None:
        if "-" in word:
            self._report("dashed_name", start, end, better=_shown(word.replace("-", "_") if word.isascii() else "a_b"))
        elif word[0] == "_":
            self._report("underscore_name", start, end, better=_shown(word.lstrip("_") or "name"))
        else:
            self._report("foreign_name", start, end)

    def _add(self, kind: str, text: str, start: int, end: int) -> None:
        self._tokens.append(Token(kind, text, start, end, self._line, start - self._line_start + 1, self._is_first))
        self._is_first = False

    def _less_common(self, kind: str, start: int, stop: int, end: int) -> int:
        """Handle what is not a word, sign, space or line end; answers where to go on."""
        text = self._text[start:stop]
        if kind == "number":
            self._number(text, start, stop)
        elif kind == "string":
            if len(text) == 1 or text[-1] != '"':
                self._report("unclosed_text", start, stop)
                self._add("STRING", text[1:], start, stop)
            else:
                self._add("STRING", text[1:-1], start, stop)
        elif kind == "odd_string":
            code = "apostrophe_text" if text[0] == "'" else "curly_quotes"
            self._report(code, start, stop, better=_shown(text.strip("“”„‘’'\"")))
            self._add("STRING", text.strip("“”„‘’'\""), start, stop)
        elif kind == "odd_arrow":
            sign = "=>" if text == "⇒" else "->"
            self._report("curly_arrow", start, stop, better=sign)
            self._add(sign, sign, start, stop)
        elif kind == "line_comment":
            if self._dialect == "brace":
                self._report("dash_comment", start, start + 2)
            self._comment(text[2:], start, stop, is_block=False)
        elif kind == "slash_comment":
            if self._dialect == "layout":
                self._report("slash_comment", start, start + 2)
            self._comment(text[2:], start, stop, is_block=False)
        elif kind == "block_comment":
            return self._block_comment(text, start, stop, end)
        elif kind == "odd_space":
            self._report("odd_space", start, stop, codepoint=f"U+{ord(text[0]):04X}")
        else:
            self._report("odd_character", start, stop)
        return stop

    def _number(self, text: str, start: int, stop: int) -> None:
        if text.isascii() and text.isdigit():
            self._add("INTEGER", text, start, stop)
        elif _DURATION.fullmatch(text):
            self._add("DURATION", text, start, stop)
        else:
            self._report("odd_number", start, stop)
            self._add("NAME", text, start, stop)

    def _comment(self, text: str, start: int, stop: int, *, is_block: bool) -> None:
        span = self._span(start, stop)
        self._comments.append(Comment(text.rstrip(), not self._is_first, is_block, span=span))

    def _block_comment(self, opener: str, start: int, stop: int, end: int) -> int:
        if self._dialect == "layout" and opener == "/*":
            self._report("slash_comment", start, stop)
        found = self._text.find(_BLOCK_ENDS[opener], stop, end)
        close = end if found < 0 else found + 2
        if found < 0:
            self._report("unclosed_comment", start, stop, closer=_BLOCK_ENDS[opener])
        inner = self._text[stop : close if found < 0 else found]
        first_line, first_column = self._line, start - self._line_start + 1
        is_trailing = not self._is_first
        for line_break in re.finditer(r"\r\n|\r|\n", self._text[start:close]):
            self._line += 1
            self._line_start = start + line_break.end()
        span = Span(start, close, first_line, first_column, self._line, close - self._line_start + 1)
        self._comments.append(Comment(inner, is_trailing, True, span=span))
        return close


def _shown(text: str) -> str:
    """A seen text as a message quotes it: printable, and never a megabyte of it."""
    short = text if len(text) <= 30 else f"{text[:27]}..."
    return "".join(letter if letter.isprintable() else f"\\u{{{ord(letter):x}}}" for letter in short)


def looks_like_brace_dialect(text: str) -> bool:
    """Whether the first thing said is `choreography` (and not `choreography N =`), `#[`, or `protocol N {`."""
    return _BRACE_START.match(text) is not None


_BRACE_START = re.compile(
    r"\ufeff?(?:\s|--[^\n]*|//[^\n]*|\{-(?s:.)*?-\}|/\*(?s:.)*?\*/)*+"
    r"(?:choreography\b(?!\s+\w+\s*(?:\([^()]*\)\s*)?=)|\#!?\[|protocol\s+\w+\s*(?:\([^()]*\)\s*)?\{(?!-))"
)
MACRO = re.compile(r"\bchoreography!\s*\{")

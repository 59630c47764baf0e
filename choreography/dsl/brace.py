"""The brace dialect of the older texts: `{` `}` and `;` become the tokens that indentation becomes in the other one.

Takes the `choreography! { … }` wrapper off, tells a block's brace from a payload's, and finds missing semicolons and
brackets. No layout rule: line ends matter only for guessing where a forgotten sign belongs.
"""

from ..errors import Problem
from ..node import Span
from .diagnostics import problem
from .layout import NESTING_MAX, Arranged, report_closer
from .tokens import MACRO, Scanned, Token, scan
from .words import DECLARATION_WORDS, STATEMENT_WORDS

_OPENERS = {"(": ")", "[": "]", "{": "}", "#[": "]", "ANNOTATION": "]"}
_CLOSERS = frozenset(_OPENERS.values())
_VIRTUAL = frozenset({"NEWLINE", "INDENT", "DEDENT"})
_BLOCK_HEADS = frozenset({
    "protocol", "choreography", "choice", "loop", "rec", "par", "timeout", "case", "where", "effect", "guest",
    "operation", "type",
})  # fmt: skip


def scan_brace(text: str) -> Scanned:
    """The raw tokens of a text in the brace dialect, without the wrapper around it."""
    wrapper = MACRO.search(text)
    if wrapper is None:
        return scan(text, "brace")
    scanned = scan(text, "brace", start=wrapper.end())
    depth = 0
    for position, token in enumerate(scanned.tokens):
        depth += (token.kind == "{") - (token.kind == "}")
        if depth < 0:  # the wrapper's own brace; what follows is another language's business
            end = token.start
            return Scanned(
                scanned.tokens[:position],
                [comment for comment in scanned.comments if comment.span.start < end],
                [found for found in scanned.problems if found.span.start < end],
            )
    if depth == 0:
        opener = _wrapper_brace(text, wrapper.end() - 1)
        scanned.problems.append(problem("unclosed_bracket", opener, seen=text[opener.start], closer="}"))
    return scanned


def _wrapper_brace(text: str, start: int) -> Span:
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    return Span(start, start + 1, line, column, line, column + 1)


def arrange_brace(scanned: Scanned) -> Arranged:
    """The token stream of a text in the brace dialect; never raises, O(tokens)."""
    return _Brace(scanned.tokens).run()


class _Brace:
    def __init__(self, raw: list[Token]) -> None:
        self._raw = raw
        self._out: list[Token] = []
        self._problems: list[Problem] = []
        self._blocks: list[Token] = []
        self._brackets: list[Token] = []
        self._head = ""
        self._awaits_head = True
        self._is_too_deep = False

    def run(self) -> Arranged:
        for position, token in enumerate(self._raw):
            self._take(token, position)
        if self._brackets:
            self._report_unclosed()
        self._end_statement(is_written=not self._blocks)
        for opener in reversed(self._blocks):
            self._problems.append(problem("unclosed_bracket", opener.span, seen="{", closer="}"))
            self._virtual("DEDENT")
        return Arranged(self._out, self._problems)

    def _take(self, token: Token, position: int) -> None:
        kind = token.kind
        if token.is_first and not self._brackets and self._begins_statement(position):
            self._end_statement(is_written=False)
        if kind == ";":
            if self._brackets:
                self._report_unclosed()
            self._end_statement(is_written=True)
            return
        if kind == "{" and not self._brackets and self._takes_block():
            self._open_block(token)
            return
        if kind in _CLOSERS:
            self._close(token)
            return
        if kind in ("->", "->*", "=>") and self._brackets:
            self._report_unclosed()
        if kind == "::":
            kind = "."
        if kind == "[" and self._is_annotation(position):
            kind = "ANNOTATION"
        if kind in _OPENERS:
            self._brackets.append(Token(kind, *token[1:]))
        if self._awaits_head:
            self._head, self._awaits_head = token.text, False
        if kind in ("|", "=>") and not self._brackets:
            self._awaits_head = True
        self._out.append(Token(kind, *token[1:]))

    def _begins_statement(self, position: int) -> bool:
        """Whether a line plainly begins a statement although the one before was not ended."""
        if not self._out or self._out[-1].kind not in ("NAME", ")", "}", ">", "]"):
            return False
        token = self._raw[position]
        following = self._raw[position + 1].kind if position + 1 < len(self._raw) else ""
        if token.kind != "NAME" or self._out[-1].text in ("at", "of", "by", "in", "on", "to", "from", "as", "with"):
            return False
        if self._out[-1].kind == "]" and self._head not in STATEMENT_WORDS:
            return False  # an attribute, or an annotation before its arrow
        is_word = token.text in STATEMENT_WORDS or token.text in DECLARATION_WORDS
        return following in ("->", "->*", "[") or (is_word and following in ("NAME", ":", "{"))

    def _is_annotation(self, position: int) -> bool:
        following = [token.kind for token in self._raw[position + 1 : position + 3]]
        return following[:1] == ["]"] or (following[:1] == ["NAME"] and following[1:] in (["="], [":"]))

    def _takes_block(self) -> bool:
        if not self._out:
            return False
        last = self._out[-1]
        if last.kind in ("=>", "|", "="):
            return True
        if last.text in ("at", "of", "in", "par", "where"):
            return True
        return self._head in _BLOCK_HEADS and last.kind in ("NAME", "INTEGER", "STRING", ")", "]")

    def _open_block(self, token: Token) -> None:
        if len(self._blocks) > NESTING_MAX and not self._is_too_deep:
            self._is_too_deep = True
            self._problems.append(problem("too_deep", token.span, limit=NESTING_MAX))
        if self._out[-1].kind == "=":
            self._out.pop()  # `protocol P = {` is the same as `protocol P {`
        self._blocks.append(token)
        self._out.append(Token("INDENT", "", *token[2:6], False))
        self._awaits_head = True

    def _close(self, token: Token) -> None:
        if self._brackets:
            opener = self._brackets[-1]
            wanted = _OPENERS[opener.kind]
            if wanted == token.kind:
                self._brackets.pop()
                self._out.append(token)
                self._awaits_head = opener.kind == "#["
                return
            if token.kind != "}":
                self._brackets.pop()
                self._problems.append(
                    problem(
                        "wrong_closer", token.span, seen=token.kind, wanted=wanted, opener=opener.text, line=opener.line
                    )
                )
                self._out.append(Token(wanted, wanted, *token[2:]))
                return
            self._report_unclosed()
        if token.kind == "}" and self._blocks:
            self._end_statement(is_written=False)
            self._blocks.pop()
            self._out.append(Token("DEDENT", "", *token[2:6], False))
            self._awaits_head = True
            return
        report_closer(self._problems, token)

    def _end_statement(self, *, is_written: bool) -> None:
        self._awaits_head = True
        if not self._out or self._out[-1].kind in _VIRTUAL or self._is_after_attribute():
            return
        if not is_written:
            last = self._out[-1].span
            after = last._replace(
                start=last.end, end=last.end + 1, column=last.end_column, end_column=last.end_column + 1
            )
            self._problems.append(problem("missing_semicolon", after))
        self._virtual("NEWLINE")

    def _is_after_attribute(self) -> bool:
        return self._out[-1].kind == "]" and self._head == "#["

    def _virtual(self, kind: str) -> None:
        last = self._out[-1]
        self._out.append(Token(kind, "", last.end, last.end, last.line, last.column + last.end - last.start, False))

    def _report_unclosed(self) -> None:
        opener = self._brackets[-1]
        self._problems.append(problem("unclosed_bracket", opener.span, seen=opener.text, closer=_OPENERS[opener.kind]))
        self._brackets.clear()

"""Indentation to tokens: INDENT and DEDENT around blocks, NEWLINE after statements; places stay those of the text.

A block opens only where a word or sign takes one, so a line that is merely indented too far is never swallowed. A
deeper line that no word asked for is bracketed by LOOSE_INDENT and LOOSE_DEDENT, and the driver decides: after a line
it could not read they are its block, after a good line they are a layout problem. Checks no grammar.
"""

import re
from dataclasses import replace
from typing import NamedTuple

from ..errors import Problem
from .diagnostics import problem
from .tokens import Scanned, Token
from .words import BLOCK_WORDS, DECLARATION_WORDS, ONE_LINE_WORDS, STATEMENT_WORDS

# A hundred choices in each other, two blocks each, and what is around them; what walks the tree may recurse this far.
NESTING_MAX = 208
_OPENERS = {"(": ")", "[": "]", "{": "}", "#[": "]"}
_CLOSERS = frozenset(_OPENERS.values())
_VIRTUAL = frozenset({"NEWLINE", "INDENT", "DEDENT", "LOOSE_INDENT", "LOOSE_DEDENT"})
_HEAD_RESETS = frozenset({"|", "=>"})
_INDENTATION = re.compile(r"[ \t]*")


class Arranged(NamedTuple):
    """Tokens with their blocks, ready for the driver, and what was wrong with the arrangement."""

    tokens: list[Token]
    problems: list[Problem]


class _Context:
    """An open block: its column, how it is to be closed, and columns already complained about."""

    __slots__ = ("closer", "column", "opener", "reported")

    def __init__(self, column: int, closer: str, opener: Token | None = None) -> None:
        self.column = column
        self.closer = closer  # DEDENT, LOOSE_DEDENT, or ")" of a body in parentheses
        self.opener = opener
        self.reported: set[int] = set()


def arrange_layout(scanned: Scanned, text: str, *, extension_words: frozenset[str] = frozenset()) -> Arranged:
    """The token stream of a text in the layout dialect; never raises, O(tokens)."""
    return _Layout(scanned.tokens, text, extension_words).run()


def report_closer(problems: list[Problem], token: Token) -> None:
    """Report a bracket that closes nothing; a run of them is one problem, be it a megabyte long."""
    last = problems[-1] if problems else None
    if last is not None and last.code == "unmatched_closer" and last.span.end == token.start:
        problems[-1] = replace(last, span=last.span.to(token.span))
    else:
        problems.append(problem("unmatched_closer", token.span, seen=token.kind))


class _Layout:
    def __init__(self, raw: list[Token], text: str, extension_words: frozenset[str]) -> None:
        self._raw = raw
        self._text = text
        self._extension_words = extension_words
        self._out: list[Token] = []
        self._problems: list[Problem] = []
        self._contexts: list[_Context] = [_Context(self._column_of(raw[0]) if raw else 1, "DEDENT")]
        self._brackets: list[tuple[Token, int]] = []  # with the column of the line it opened on
        self._head = ""
        self._line_column = 1
        self._awaits_head = True
        self._awaits_paren_column = False
        self._tab_lines: list[Token] = []
        self._is_mixed = False
        self._is_too_deep = False

    def run(self) -> Arranged:
        position, count = 0, len(self._raw)
        while position < count:
            token = self._raw[position]
            if token.is_first:
                if self._brackets and self._is_new_statement(position):
                    self._report_unclosed()
                if not self._brackets:
                    taken = self._begin_line(token, position)
                    if taken:
                        position += taken
                        continue
            self._take(token)
            position += 1
        self._finish()
        return Arranged(self._out, self._problems)

    # --- lines

    def _begin_line(self, token: Token, position: int) -> int:
        """Open, close or continue blocks at the first token of a line; answers how many raw tokens it used up."""
        self._check_tabs(token)
        if token.kind in ("->", "->*", "{") and self._out:
            return 0
        column = self._column_of(token)
        if self._continues_declaration(column):
            return 0
        self._place(token, column)
        self._line_column = column
        self._awaits_head = True
        if token.text in self._extension_words and token.kind == "NAME":
            return self._take_extension(token, position)
        return 0

    def _continues_declaration(self, column: int) -> bool:
        """Whether a deeper line still belongs to the head of a declaration that is one logical line."""
        if self._head not in ONE_LINE_WORDS or column <= self._contexts[-1].column:
            return False
        return bool(self._out) and self._out[-1].kind not in _VIRTUAL and self._out[-1].kind != "="

    def _column_of(self, token: Token) -> int:
        """The column a person sees, tabs counted as going to the next multiple of four.

        A comment before the first token of its line takes no room: the line begins where the comment does.
        """
        line_start = token.start - token.column + 1
        lead = self._text[line_start : token.start]
        if lead.lstrip(" \t").startswith("{-"):
            lead = lead[: lead.index("{-")]
        return len(lead.expandtabs(4)) + 1

    def _check_tabs(self, token: Token) -> None:
        line_start = token.start - token.column + 1
        found = _INDENTATION.match(self._text, line_start, token.start)
        lead = found.group() if found else ""
        if "\t" in lead:
            self._tab_lines.append(token)
            self._is_mixed = self._is_mixed or " " in lead

    def _place(self, token: Token, column: int) -> None:
        top = self._contexts[-1]
        if self._awaits_paren_column:
            self._awaits_paren_column = False
            top.column = column
            return
        if column > top.column:
            if self._opens_block(token):
                self._open("INDENT", "DEDENT", token, column)
            elif top.closer == ")":
                self._end_line()
            else:
                self._end_line()
                self._open("LOOSE_INDENT", "LOOSE_DEDENT", token, column)
            return
        self._end_line()
        self._close_to(token, column)

    def _opens_block(self, token: Token) -> bool:
        if not self._out:
            return False
        last = self._out[-1]
        if last.kind in _VIRTUAL:
            return False
        if last.kind in ("=>", "|") or (last.kind == "=" and self._head in ("operation", "type")):
            return True
        return self._head in BLOCK_WORDS or (last.text == "in" and self._head in ("let", "authoritative", "observe"))

    def _close_to(self, token: Token, column: int) -> None:
        while len(self._contexts) > 1 and self._contexts[-1].column > column and self._contexts[-1].closer != ")":
            self._virtual(self._contexts.pop().closer, token)
        top = self._contexts[-1]
        if top.column == column or top.closer == ")":
            return
        if top.column > column:  # shallower than the whole text: the text begins here, then
            top.column = column
        if column not in top.reported:
            top.reported.add(column)
            known = sorted({context.column for context in self._contexts})
            columns = ", ".join(str(known_column) for known_column in known)
            self._problems.append(problem("inconsistent_dedent", token.span, column=column, columns=columns))

    def _open(self, kind: str, closer: str, token: Token, column: int, opener: Token | None = None) -> None:
        if len(self._contexts) > NESTING_MAX and not self._is_too_deep:
            self._is_too_deep = True
            self._problems.append(problem("too_deep", token.span, limit=NESTING_MAX))
        self._virtual(kind, token)
        self._contexts.append(_Context(column, closer, opener))

    def _virtual(self, kind: str, token: Token) -> None:
        """A token that stands nowhere: at the end of the last one for closers, before the next for openers."""
        if kind in ("INDENT", "LOOSE_INDENT") or not self._out:
            place = (token.start, token.start, token.line, token.column)
        else:
            last = self._out[-1]
            place = (last.end, last.end, last.line, last.column + last.end - last.start)
        self._out.append(Token(kind, "", *place, False))

    def _end_line(self) -> None:
        if self._out and self._out[-1].kind not in _VIRTUAL:
            self._virtual("NEWLINE", self._out[-1])

    # --- tokens

    def _take(self, token: Token) -> None:
        if self._awaits_paren_column and token.kind != ")":
            self._awaits_paren_column = False
            self._contexts[-1].column = token.column
        kind = token.kind
        if kind in _OPENERS:
            if kind == "(" and not self._brackets and self._takes_body():
                self._open("INDENT", ")", token, token.column + 1, token)
                self._awaits_paren_column = self._awaits_head = True
                return
            self._brackets.append((token, self._line_column))
        elif kind in _CLOSERS and not self._close_bracket(token):
            return
        elif kind in ("->", "->*", "=>") and self._brackets and self._brackets[-1][0].kind != "{":
            self._report_unclosed()
        if self._awaits_head:
            self._head, self._awaits_head = token.text, False
        if kind in _HEAD_RESETS and not self._brackets and self._head not in ONE_LINE_WORDS:
            self._awaits_head = True
        self._out.append(token)

    def _takes_body(self) -> bool:
        """Whether an opening parenthesis here begins a body, by what stands before it."""
        if not self._out:
            return False
        last = self._out[-1]
        head = self._head
        if last.kind in ("=>", "|"):
            return True
        if len(self._out) > 1 and self._out[-2].kind == ".":
            return False  # `x.of(…)` calls something whose name happens to be a word
        if last.kind == "=":
            return head in ("protocol", "operation")
        if last.text == "in" and head in ("let", "authoritative", "observe"):
            return True
        if (last.text == "at" and head in ("choice", "timeout")) or (last.text == "of" and head == "case"):
            return True
        if head == "loop":
            return last.text not in ("loop", "decide", "by", "repeat", "while")
        return (head == "rec" and last.text != "rec") or (last.text == head and head in ("par", "where"))

    def _close_bracket(self, token: Token) -> bool:
        """Whether the closer is to be passed on."""
        if self._brackets:
            opener, _ = self._brackets.pop()
            wanted = _OPENERS[opener.kind]
            if wanted != token.kind:
                self._problems.append(
                    problem(
                        "wrong_closer", token.span, seen=token.kind, wanted=wanted, opener=opener.kind, line=opener.line
                    )
                )
                self._out.append(Token(wanted, wanted, *token[2:]))
                return False
            return True
        if token.kind == ")" and any(context.closer == ")" for context in self._contexts):
            self._awaits_paren_column = False
            self._end_line()
            while self._contexts[-1].closer != ")":
                self._virtual(self._contexts.pop().closer, token)
            self._contexts.pop()
            self._out.append(Token("DEDENT", "", *token[2:6], False))
            return False
        report_closer(self._problems, token)
        return False

    def _is_new_statement(self, position: int) -> bool:
        """Whether a line inside an open bracket is plainly a statement of its own: the bracket was forgotten."""
        token = self._raw[position]
        if self._column_of(token) > self._brackets[0][1]:
            return False
        following = self._raw[position + 1].kind if position + 1 < len(self._raw) else ""
        if token.kind == "|":
            return True
        if token.kind != "NAME" or following in (":", "=", ",", ")", "]", "}"):
            return False
        return following in ("->", "->*") or token.text in STATEMENT_WORDS or token.text in DECLARATION_WORDS

    def _report_unclosed(self) -> None:
        opener = self._brackets[-1][0]
        self._problems.append(problem("unclosed_bracket", opener.span, seen=opener.kind, closer=_OPENERS[opener.kind]))
        self._brackets.clear()

    def _take_extension(self, token: Token, position: int) -> int:
        """One token for an extension's statement: its line and everything indented below it."""
        end = position + 1
        while end < len(self._raw) and not (self._raw[end].is_first and self._raw[end].column <= token.column):
            end += 1
        text = self._text[token.start : self._raw[end - 1].end]
        self._out.append(Token("EXTENSION", text, token.start, self._raw[end - 1].end, token.line, token.column, True))
        return end - position

    def _finish(self) -> None:
        if self._brackets:
            self._report_unclosed()
        self._end_line()
        while len(self._contexts) > 1:
            context = self._contexts.pop()
            if context.opener is not None:
                self._problems.append(problem("unclosed_bracket", context.opener.span, seen="(", closer=")"))
            self._virtual("DEDENT" if context.closer == ")" else context.closer, self._out[-1])
        if self._tab_lines:
            first = self._tab_lines[0]
            code = "mixed_indentation" if self._is_mixed else "tab_in_indentation"
            line_start = first.start - first.column + 1
            span = first.span._replace(start=line_start, end=first.start, column=1, end_column=first.column)
            self._problems.append(problem(code, span, count=len(self._tab_lines)))

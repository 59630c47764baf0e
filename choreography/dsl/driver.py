"""The LALR loop: tokens in, whatever the builder makes of the rules out, and on through every error.

A statement that cannot be read is replaced by one ERROR token: the parser goes back to the innermost place where a
statement may stand, and reading goes on after the statement, or inside its block when it has one. So every token is
looked at a bounded number of times, and one mistake is one problem. Knows no particular rule.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from ..errors import Problem
from ..node import Span
from .diagnostics import problem
from .tables import ACTIONS, ENDS, GOTO, RULES, STARTS
from .tokens import Token

# What the builder makes of a rule: a node, a list of parts, a token. Only the builder looks inside.
Value: TypeAlias = object
Action: TypeAlias = Callable[[list[Value], Span], Value]
Explain: TypeAlias = Callable[["SyntaxError_"], Problem | None]

_TAKE_WHOLE = -1000
_PASS = "?"
# The states of the start symbol and of the list of items read so far, which is never given up.
_OUTERMOST = 2
_BLOCK_ENDS = frozenset({"DEDENT", "LOOSE_DEDENT", "$END"})
WORDS = frozenset(word for actions in ACTIONS for word in actions if (word.isalpha() and word.islower()) or "_" in word)


class SyntaxError_(NamedTuple):
    """Where reading stopped: the token, the statement it is in, and what could have stood there."""

    token: Token
    before: Token | None
    statement: Sequence[Token]  # from the statement's first token to the one before the error
    expected: tuple[str, ...]
    is_outermost: bool  # no protocol is open here


class Outcome(NamedTuple):
    """What the start symbol became, None when the text ended the parse, and the problems met."""

    value: Value | None
    problems: list[Problem]


def drive(
    tokens: list[Token],
    actions: dict[str, Action],
    explain: Explain,
    *,
    known: Sequence[Problem] = (),
    start: str = "start",
) -> Outcome:
    """Parse. `known` are problems already reported: a statement that holds one is not reported again. O(tokens)."""
    return _Driver(tokens, actions, explain, known, start).run()


class _Driver:
    def __init__(
        self, tokens: list[Token], actions: dict[str, Action], explain: Explain, known: Sequence[Problem], start: str
    ) -> None:
        last = tokens[-1] if tokens else Token("", "", 0, 0, 1, 1, False)
        end_column = last.column + last.end - last.start
        self._tokens = [*tokens, Token("$END", "", last.end, last.end, last.line, end_column, False)]
        self._actions = actions
        self._explain = explain
        self._known = sorted(found.span.start for found in known if found.severity == "error")
        self._states = [STARTS[start]]
        self._goal = ENDS[start]
        self._values: list[Value] = []
        self._firsts: list[int] = []  # per value, the token it begins with
        self._lasts: list[int] = []  # per value, the token it ends with
        self._problems: list[Problem] = []
        self._converted: list[bool] = []  # per open LOOSE_INDENT, whether it became a block
        self._error_position, self._error_depth = -1, 0
        self._resumed = -1  # where reading went on after the last error
        self._given_up = -1  # where a statement was begun anew after an incomplete one
        self._was_broken = False  # the statement before this token could not be read

    def run(self) -> Outcome:
        position = 0
        while True:
            token = self._tokens[position]
            kind = token.kind
            if kind == "LOOSE_INDENT":
                self._loosen(token, position)
                position += 1
                continue
            if kind == "LOOSE_DEDENT":
                if not (self._converted and self._converted[-1]):
                    del self._converted[-1:]
                    position += 1
                    continue
                kind = "DEDENT"
            if self._feed(kind, token, position):
                if kind == "$END":
                    return Outcome(self._values[-1] if self._values else None, self._problems)
                if token.kind == "LOOSE_DEDENT":
                    self._converted.pop()
                self._was_broken = False
                position += 1
                continue
            following = self._recover(position)
            if following < 0:
                return Outcome(None, self._problems)
            position = following

    # --- one token

    def _feed(self, kind: str, token: Token, position: int) -> bool:
        """Reduce as far as the token asks for, then shift it; False when it has no place here."""
        states, values, firsts, lasts = self._states, self._values, self._firsts, self._lasts
        is_word = kind == "NAME" and token.text in WORDS
        while True:
            row = ACTIONS[states[-1]]
            code = row.get(token.text) if is_word else None
            if code is None:
                code = row.get(kind)
                if code is None:
                    code = row.get("")
                    if code is None:
                        return kind == "$END" and states[-1] == self._goal
            if code >= 0:
                states.append(code)
                values.append(token)
                firsts.append(position)
                lasts.append(position)
                return True
            self._reduce(-1 - code, position)

    def _reduce(self, rule: int, position: int) -> None:
        origin, size, called, taken = RULES[rule]
        states, values, firsts, lasts = self._states, self._values, self._firsts, self._lasts
        if size:
            parts = values[-size:]
            first, last = firsts[-size], lasts[-1]
            del states[-size:], values[-size:], firsts[-size:], lasts[-size:]
        else:
            parts, first, last = [], position, position - 1
        if called == _PASS:
            value = parts[taken[0]]
        else:
            gathered: list[Value] = []
            for place in taken:
                if place >= 0:
                    gathered.append(parts[place])
                elif place > _TAKE_WHOLE:
                    gathered.append(None)
                else:
                    more = parts[_TAKE_WHOLE - place]
                    assert isinstance(more, list), "a helper rule's value is a list"
                    if gathered:
                        gathered.extend(more)
                    else:
                        gathered = more  # left recursion: the list grows in place, so a long block stays linear
            value = self._actions[called](gathered, self._span(first, last)) if called else gathered
        states.append(GOTO[states[-1]][origin])
        values.append(value)
        firsts.append(first)
        lasts.append(last)

    def _span(self, first: int, last: int) -> Span:
        one = self._tokens[first]
        if last < first:
            return Span(one.start, one.start, one.line, one.column, one.line, one.column)
        other = self._tokens[last]
        return Span(one.start, other.end, one.line, one.column, other.line, other.column + other.end - other.start)

    def _loosen(self, token: Token, position: int) -> None:
        """A deeper line that nothing asked for: the block of a line that could not be read, or a layout problem."""
        self._converted.append(False)
        if self._was_broken and self._feed("INDENT", token, position):
            self._converted[-1] = True
            self._was_broken = False
            return
        following = self._tokens[position + 1]
        if not self._is_known(token.start, following.end):
            self._problems.append(problem("over_indented", following.span))
            insort(self._known, following.start)

    # --- errors

    def _recover(self, position: int) -> int:
        """Report, put ERROR in place of the statement, and answer where to go on; -1 to give up."""
        begin = self._statement_start(position)
        token = self._tokens[position]
        is_consequence = self._resumed == position and (token.kind in _BLOCK_ENDS or token.text == "on")
        if not is_consequence:
            self._report(begin, position)
        if position == self._error_position and self._error_depth <= _OUTERMOST:
            # Nothing further out could take it: the token itself goes.
            if token.kind == "LOOSE_DEDENT":
                self._converted.pop()
            return position + 1 if token.kind != "$END" else -1
        self._drop_to_statement(position)
        if begin == position and position != self._given_up and self._tokens[position].kind in ("NAME", "|"):
            # The statement before is incomplete, this one may be fine: read it, once.
            self._given_up = position
            self._resumed = self._end_broken(position)
        else:
            self._resumed = self._skip(position)
        return self._resumed

    def _statement_start(self, position: int) -> int:
        start = position
        while start > 0 and self._tokens[start - 1].kind not in (
            "NEWLINE",
            "INDENT",
            "DEDENT",
            "LOOSE_INDENT",
            "LOOSE_DEDENT",
        ):
            start -= 1
        return start

    def _report(self, begin: int, position: int) -> None:
        token = self._tokens[position]
        if self._is_known(self._tokens[begin].start, token.end):
            return
        before = self._tokens[position - 1] if position else None
        where = SyntaxError_(token, before, self._tokens[begin:position], self._expected(), len(self._states) <= 2)
        found = self._explain(where)
        if found is not None:
            self._problems.append(found)

    def _is_known(self, start: int, end: int) -> bool:
        place = bisect_left(self._known, start)
        return place < len(self._known) and self._known[place] <= end

    def _expected(self) -> tuple[str, ...]:
        """What could really stand here: every word of the row that the states below agree to."""
        row = ACTIONS[self._states[-1]]
        return tuple(sorted(word for word in row if word not in ("ERROR", "") and self._accepts(word)))

    def _drop_to_statement(self, position: int) -> None:
        """Give up what was begun until a statement may stand here again, and say that there was one."""
        # A second error at one token means that the place chosen before was no help: a place further out is.
        limit = self._error_depth if position == self._error_position else len(self._states) + 1
        while len(self._states) > 1 and (len(self._states) >= limit or not self._accepts("ERROR")):
            self._states.pop()
            self._values.pop()
            self._firsts.pop()
            self._lasts.pop()
        self._error_position, self._error_depth = position, len(self._states)
        token = self._tokens[position]
        self._feed("ERROR", token, position)

    def _accepts(self, kind: str) -> bool:
        """Whether a token of that kind can be shifted here, perhaps after reductions; tried on the states alone."""
        states = self._states[-3:]
        hidden = len(self._states) - len(states)
        while True:
            row = ACTIONS[states[-1]]
            code = row.get(kind, row.get(""))
            if code is None:
                return False
            if code >= 0:
                return True
            origin, size, _, _ = RULES[-1 - code]
            while size >= len(states):
                hidden -= 1
                states.insert(0, self._states[hidden])
            del states[len(states) - size :]
            states.append(GOTO[states[-1]][origin])

    def _skip(self, position: int) -> int:
        """Pass over the rest of the statement; its block, when it has one, is read as a loose block."""
        depth = 0
        while True:
            kind = self._tokens[position].kind
            if kind == "$END" or (kind in ("DEDENT", "LOOSE_DEDENT") and depth == 0):
                return self._end_broken(position)
            if kind in ("INDENT", "LOOSE_INDENT"):
                if depth == 0 and kind == "INDENT" and self._feed(kind, self._tokens[position], position):
                    return position + 1
                depth += 1
            elif kind in ("DEDENT", "LOOSE_DEDENT"):
                depth -= 1
            elif kind == "NEWLINE" and depth == 0:
                if self._tokens[position + 1].kind == "LOOSE_INDENT":
                    self._was_broken = True
                    return position + 1
                return self._end_broken(position) + 1
            position += 1

    def _end_broken(self, position: int) -> int:
        self._feed("NEWLINE", self._tokens[position], position)
        self._was_broken = False
        return position

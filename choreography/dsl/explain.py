"""From the place where reading stopped to the sentence that helps: which mistake this most likely is.

Rules are tried from the particular to the general; the last one always answers.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..ast import Dialect
from ..errors import Problem
from .diagnostics import did_you_mean, problem
from .driver import SyntaxError_
from .tokens import Token
from .words import DECLARATION_WORDS, REMOVED_WORDS, STATEMENT_WORDS

_ARROWS = ("->", "->*")
_KIND_NAMES = {
    "NEWLINE": "the end of the line",
    "$END": "the end of the text",
    "INDENT": "an indented block",
    "DEDENT": "the end of the block",
    "LOOSE_INDENT": "an indented block",
    "LOOSE_DEDENT": "the end of the block",
    "NAME": "a name",
    "INTEGER": "a number",
    "DURATION": "a duration",
    "STRING": "a text in quotes",
    "EXTENSION": "an extension's statement",
    "ANNOTATION": "`[`",
}
# A longer list of what could have stood here is noise.
EXPECTED_SHOWN_MAX = 6
_BLOCK_TAKERS = {
    "protocol": "a protocol",
    "operation": "an operation",
    "guest": "a guest runtime",
    "where": "`where`",
    "choice": "a choice",
    "case": "a case",
    "par": "`par`",
    "rec": "`rec`",
    "loop": "a loop",
    "timeout": "a timeout",
    "let": "`let … in`",
    "authoritative": "`let … in`",
    "observe": "`let … in`",
    "effect": "an effect",
    "type": "a type",
}


class Explainer:
    """Explains the syntax errors of one text; remembers what it said, so that one cause is told once."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._was_outside = False
        self._has_broken_timeout = False

    def __call__(self, error: SyntaxError_) -> Problem | None:
        """The problem to report, or None when it is only a consequence of the one before."""
        if self._is_consequence(error):
            return None
        for rule in (self._old_surface, self._structure, self._message, self._guard, self._order, self._word):
            found = rule(error)
            if found is not None:
                return found
        return self._general(error)

    def _is_consequence(self, error: SyntaxError_) -> bool:
        """Whether this is only an effect of what was told before."""
        texts = [item.text for item in error.statement[:1]]
        if texts == ["on"] and error.token.text in ("timeout", "cancel") and self._has_broken_timeout:
            return True
        self._has_broken_timeout = self._has_broken_timeout or "timeout" in [item.text for item in error.statement]
        return error.is_outermost and self._is_still_outside(error)

    # --- words and signs of older surfaces

    def _old_surface(self, error: SyntaxError_) -> Problem | None:
        token = error.token
        first = error.statement[0] if error.statement else token
        second = error.statement[1] if len(error.statement) > 1 else token
        if first.kind == "@" or token.kind == "@":
            return problem("removed_note", (token if token.kind == "@" else first).span)
        if self._dialect == "layout" and "#[" in (first.kind, token.kind):
            return problem("removed_attribute", (token if token.kind == "#[" else first).span)
        if token.kind == "<->":
            return problem("removed_both_ways", token.span)
        if first.text in REMOVED_WORDS and first.kind == "NAME" and second.kind not in (*_ARROWS, "{", "["):
            return problem("removed_word", first.span, word=first.text, instead=REMOVED_WORDS[first.text])
        texts = [item.kind for item in error.statement]
        if token.kind in ("=", ":") and texts[-3:] == ["NAME", "[", "NAME"]:
            sender, _, key = error.statement[-3:]
            return problem("removed_brackets", token.span, sender=sender.text, key=key.text)
        return None

    # --- blocks and brackets

    def _structure(self, error: SyntaxError_) -> Problem | None:
        token = error.token
        if token.kind == ";" and self._dialect == "layout":
            return problem("semicolon", token.span)
        is_module = bool(error.statement) and error.statement[0].text == "module"
        if is_module and len(error.statement) == 2 and token.kind in ("::", "."):
            return problem("module_path", token.span, seen=token.text, name=error.statement[1].text)
        if token.kind == "::":
            return problem("double_colon", token.span)
        construct = self._construct(error.statement)
        if token.kind == "{" and construct and self._dialect == "layout" and not _is_in_message(error.statement):
            return problem("brace_block", token.span, construct=construct)
        if token.kind in ("NEWLINE", "DEDENT", "$END") and "INDENT" in error.expected and construct:
            return problem("missing_block", error.statement[0].span.to(error.statement[-1].span), construct=construct)
        if error.expected == ("on",):
            return problem("timeout_alone", _visible(error).span)
        if error.statement and error.statement[0].text == "on" and token.text in ("timeout", "cancel"):
            return problem("stray_on", error.statement[0].span)
        if token.kind == "|" and not error.statement and not error.is_outermost:
            return problem("stray_branch", token.span)
        return None

    def _construct(self, statement: Sequence[Token]) -> str:
        """The name of what this line opens, empty when it opens nothing."""
        if not statement:
            return ""
        first = statement[0]
        if first.kind == "|":
            inner = _after_arrow(statement)
            return self._construct(inner) or "a branch" if inner else "a branch"
        if first.text == "on":
            return "`on cancel`" if any(token.text == "cancel" for token in statement[1:2]) else "`on timeout`"
        return _BLOCK_TAKERS.get(first.text, "")

    # --- messages

    def _message(self, error: SyntaxError_) -> Problem | None:
        statement, token = error.statement, error.token
        if len(statement) == 1 and statement[0].text in STATEMENT_WORDS and token.kind in _ARROWS:
            return problem("word_as_sender", statement[0].span, word=statement[0].text)
        at = next((place for place, item in enumerate(statement) if item.kind in _ARROWS), None)
        if at is None:
            return None
        sender = statement[0].text
        rest = [item.kind for item in statement[at + 1 :]]
        if not rest and statement[at].kind == "->":
            return problem("missing_receiver", _visible(error).span, sender=sender)
        if token.kind in _ARROWS:
            return problem("double_arrow", token.span)
        if ":" not in rest:
            if token.kind in ("NEWLINE", "DEDENT", "$END") and rest:
                receiver = statement[at + 1].text
                return problem("missing_colon", _visible(error).span, sender=sender, receiver=receiver)
            return None
        tail = list(statement[at + 1 :])[rest.index(":") + 1 :]
        return self._payload(error, tail)

    def _payload(self, error: SyntaxError_, tail: Sequence[Token]) -> Problem | None:
        token = error.token
        if not tail:
            return problem("missing_message", _visible(error).span)
        if len(tail) == 1 and token.kind == "<":
            return problem("generic_without_of", token.span, name=tail[0].text)
        if tail[-1].text == "of" and len(tail) == 2:
            return problem("missing_type", tail[-1].span)
        opened = [item for item in tail if item.kind in ("(", "{")]
        closed = [item for item in tail if item.kind in (")", "}")]
        if len(opened) > len(closed):
            return problem("invalid_payload", _visible(error).span, seen=_seen(token), example="day : u32")
        return None

    # --- guards

    def _guard(self, error: SyntaxError_) -> Problem | None:
        texts = [item.text for item in error.statement]
        if "when" not in texts or "=>" in texts[texts.index("when") :]:
            return None
        inner = texts[texts.index("when") + 1 :]
        if not inner:
            return problem("guard_without_parentheses", _visible(error).span)
        return problem("invalid_guard", _visible(error).span, seen=_seen(error.token))

    # --- the order of words

    def _order(self, error: SyntaxError_) -> Problem | None:
        texts = [item.text for item in error.statement]
        if texts == ["choice", "at"] and error.token.kind == "NAME":
            return problem("choice_order", error.statement[1].span, role=error.token.text)
        if texts == ["timeout"]:
            return problem("timeout_order", error.token.span)
        return None

    # --- a word that begins nothing

    def _word(self, error: SyntaxError_) -> Problem | None:
        if error.is_outermost:
            return self._outside(error)
        if len(error.statement) == 1 and error.statement[0].kind == "NAME":
            first = error.statement[0]
            better = did_you_mean(first.text, sorted(STATEMENT_WORDS | {"where"}), otherwise="")
            if (
                better
                and first.text not in STATEMENT_WORDS
                and error.token.kind in ("NAME", "INTEGER", "DURATION", "NEWLINE")
            ):
                return problem("unknown_word", first.span, word=first.text, better=better.split("`")[1])
        return None

    def _outside(self, error: SyntaxError_) -> Problem | None:
        first = error.statement[0] if error.statement else error.token
        if first.text in DECLARATION_WORDS and error.statement:
            return None
        better = did_you_mean(first.text, sorted(DECLARATION_WORDS), otherwise="") if first.kind == "NAME" else ""
        if better and error.token is first:
            return problem("unknown_word", first.span, word=first.text, better=better.split("`")[1])
        self._was_outside = True
        return problem("outside_protocol", first.span, word=first.text) if first.kind in ("NAME", "|") else None

    def _is_still_outside(self, error: SyntaxError_) -> bool:
        """Whether this is one more statement without a protocol around it, after the one that was told."""
        first = error.statement[0] if error.statement else error.token
        return self._was_outside and first.kind in ("NAME", "|") and first.text not in DECLARATION_WORDS

    # --- everything else

    def _general(self, error: SyntaxError_) -> Problem:
        seen = _visible(error)
        hidden = ("ANNOTATION",) if self._dialect == "layout" else ()
        wanted = _expected_text([word for word in error.expected if word not in hidden])
        advice = _advice(error)
        found = problem("unexpected", seen.span, wanted=wanted, seen=_seen(error.token), advice=advice)
        return replace(found, expected=error.expected)


def _after_arrow(statement: Sequence[Token]) -> Sequence[Token]:
    """What stands after the last `=>`, or after the leading bar when there is none."""
    for place in range(len(statement) - 1, 0, -1):
        if statement[place].kind == "=>":
            return statement[place + 1 :]
    return statement[1:]


def _is_in_message(statement: Sequence[Token]) -> bool:
    return any(item.kind in _ARROWS for item in statement)


def _visible(error: SyntaxError_) -> Token:
    """The token to point at: the wrong one, or, when it has no letters, the one before."""
    if error.token.end == error.token.start and error.before is not None and error.before.end > error.before.start:
        return error.before
    return error.token


def _seen(token: Token) -> str:
    if token.text and token.kind not in ("STRING", "EXTENSION"):
        return f"`{token.text if len(token.text) <= 30 else token.text[:27] + '...'}`"
    return _KIND_NAMES.get(token.kind, f"`{token.kind}`")


def _expected_text(expected: Sequence[str]) -> str:
    names = [_KIND_NAMES.get(word, f"`{word}`") for word in expected]
    if not names:
        return "nothing more"
    if len(names) > EXPECTED_SHOWN_MAX:
        return (
            "a statement" if "INDENT" not in expected and "choice" in expected else f"one of {', '.join(names[:6])}, …"
        )
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _advice(error: SyntaxError_) -> str:
    if error.token.kind == "NEWLINE":
        return "the line is not complete"
    if error.before is not None and error.before.kind == "NAME" and error.token.kind == "NAME" and error.statement:
        near = did_you_mean(error.token.text, [word for word in error.expected if word.islower()], otherwise="")
        if near:
            return near
    if len(error.expected) == 1:
        return f"put {_expected_text(error.expected)} before it"
    return "check the spelling and order of this line"

"""IRC logs as values: bytes and a day in, lines in order and a reason for every line that is none out.

Pure: opens no file, asks no clock and makes no fact; ``importing.py`` does. Knows the form that the #ubuntu logs have
(see ``parse_log``); whatever else stands in a file is reported, never guessed at and never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import PurePath
from typing import Literal, NamedTuple

from antiphon.facts import LocalViolation

LineStyle = Literal["message", "action", "notice", "system", "joined", "left", "renamed"]

# Everything between the braces of one fact must fit into 64 KiB; what a longer line becomes is decided there.
MINUTE_MS = 60_000
_DAY_MINUTES = 24 * 60
_HALF_DAY_MINUTES = 12 * 60
# A clock that goes back by less was corrected (or summer ended); by more, a new day began.
_STEP_BACK_MINUTES = 6 * 60

_TIMED = re.compile(
    r"\[([0-9]{2}):([0-9]{2})\](?:"
    r" ?<([^>]*)>(?: (.*))?"  # [HH:MM] <nick> text
    r"| +\* (.*)"  # [HH:MM]  * nick action
    r"| ?-([^ :-][^ :]*)(?::[^ ]*)?- ?(.*)"  # [HH:MM] -nick:#channel- notice
    r"| ?=== (.*)"  # [HH:MM] === whatever follows without a time in other logs
    r")",
    re.DOTALL,
)
_MOVED = re.compile(r"(.*?) +\[[^\]]*\] +has (joined|left|quit)(?: .*)?", re.DOTALL)
_RENAMED = re.compile(r"(.+?) +is now known as +(.+)", re.DOTALL)
_MODE = re.compile(r"mode/.*? by +(\S+)\s*", re.DOTALL)
_ACTION = re.compile(r"([A-Za-z\[\]\\`_^{|}][^\s:,;!?()\"]*) +\S.*", re.DOTALL)
_SERVER_TEXT = re.compile(
    r"(?:mode/|(?:topic|users?|channels?|netsplit|disconnected|connected|you|you're|log|end|names|irc|server)\b)"
    r"|\S+ (?:was kicked|(?:has )?(?:changed|set) the topic|sets mode)",
    re.IGNORECASE,
)
# What servers put before the name of somebody with a role.
_ROLE_MARKS = " @+%&"
_DAY = re.compile(r"(?<![0-9])([0-9]{4})[-_.]?([0-9]{2})[-_.]?([0-9]{2})(?![0-9])")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UndatedLog(LocalViolation):
    """A log whose file name tells no day, while its lines tell only hours and minutes."""


class LogLine(NamedTuple):
    """One line of a log.

    ``number`` counts from 0. ``at`` is its time in ms: the minute (UTC), plus one for each line of that minute
    before it, so that times alone order a file's lines. ``nick`` is who speaks, acts or moves (empty for a system line
    of nobody), as written but without role marks and the blanks around it; ``text`` what was said, of a rename the new
    nick. ``raw`` are the
    line's own bytes; ``is_decodable`` is False when they are not UTF-8 and nick or text had to replace some.
    """

    number: int
    at: int
    style: LineStyle
    nick: str
    text: str
    raw: bytes
    is_decodable: bool


class LineProblem(NamedTuple):
    """A line that cannot be imported: its number (from 0), a word for the reason, and the reason in full."""

    line: int
    code: str
    reason: str


class ParsedLog(NamedTuple):
    """A whole log: every line of the file is in ``lines`` or in ``problems``, in order."""

    lines: tuple[LogLine, ...]
    problems: tuple[LineProblem, ...]
    undecodable_count: int

    @property
    def line_count(self) -> int:
        """How many lines the file has."""
        return len(self.lines) + len(self.problems)


class Reply(NamedTuple):
    """An annotated answer: line ``child`` answers line ``parent`` (both from 0)."""

    parent: int
    child: int


class _Form(NamedTuple):
    """What a line says, before it has its place in time; ``minute`` is of the day, None when the line tells none."""

    minute: int | None
    style: LineStyle
    nick: str
    text: str


def day_of(file_name: str) -> date:
    """The day that a file's name tells, such as ``2007-01-21.train-c.raw.txt``; raises ``UndatedLog``.

    >>> day_of("2007-01-21.train-c.raw.txt")
    datetime.date(2007, 1, 21)
    """
    for year, month, day in _DAY.findall(PurePath(file_name).name):
        try:
            return date(int(year), int(month), int(day))
        except ValueError:
            continue
    raise UndatedLog(
        f"{PurePath(file_name).name} has no day in its name, and its lines tell only hours and minutes; "
        "give it with --day YYYY-MM-DD"
    )


def parse_log(data: bytes, day: date) -> ParsedLog:
    """Read a log of *day*; never raises, ~3 µs a line.

    The forms: ``[HH:MM] <nick> text`` · ``[HH:MM]  * nick action`` · ``[HH:MM] -nick:#channel- notice`` · ``=== nick
    [host]  has joined #channel``, ``has left``, ``has quit`` · ``=== a is now known as b`` · ``=== nick text``, an
    action in old logs · any other ``=== text`` is a system line. A ``===`` line tells no time: it has that of the line
    before, at the top that of the first line that tells one, in a file without any that of midnight.

    When the clock goes back by six hours or more, the next day began; by less, it was corrected, and the lines stay at
    the minute reached. A log that never gets beyond 11:59 and goes back to 00:xx has a clock of twelve hours: half a
    day passed.

    >>> log = parse_log(b"[08:30] <ada> hello\\n[08:30]  * ben waves\\nwhat?\\n", date(2007, 1, 21))
    >>> [(line.style, line.nick, line.text) for line in log.lines], log.problems[0].line
    ([('message', 'ada', 'hello'), ('action', 'ben', 'waves')], 2)
    """
    problems: list[LineProblem] = []
    forms: list[tuple[int, bytes, bool, _Form]] = []
    undecodable_count = 0
    for number, raw in enumerate(split_lines(data)):
        text = raw.decode("utf-8", errors="replace")
        is_decodable = "\ufffd" not in text or _is_utf8(raw)
        undecodable_count += not is_decodable
        form = _read_line(text)
        if isinstance(form, str):
            problems.append(LineProblem(number, form, _REASONS[form]))
        else:
            forms.append((number, raw, is_decodable, form))
    times = _times([form.minute for _, _, _, form in forms], day)
    split_nicks = {form.nick for _, _, _, form in forms if " " in form.nick}
    lines = tuple(
        LogLine(number, at, form.style, *_whole_nick(form, split_nicks), raw, is_decodable)
        for (number, raw, is_decodable, form), at in zip(forms, times, strict=True)
    )
    return ParsedLog(lines, tuple(problems), undecodable_count)


def split_lines(data: bytes) -> list[bytes]:
    """A file's lines without their ends (``\\n``, ``\\r\\n`` or ``\\r``); a byte order mark is no part of the first."""
    return data.removeprefix(_BYTE_ORDER_MARK).splitlines()


def nick_key(nick: str) -> str:
    """What makes two spellings one nick: case counts for nothing, nor do the blanks that some logs put after a bracket.

    >>> nick_key("Guard] [an") == nick_key("guard][AN")
    True
    """
    return "".join(nick.split()).lower()


def parse_annotations(data: bytes, line_count: int) -> tuple[tuple[Reply, ...], tuple[LineProblem, ...]]:
    """Read ``PARENT CHILD -`` lines about a log of *line_count* lines: who answers whom, and what cannot be read.

    Equal numbers start a conversation and are no answer. Of several parents of one child the nearest counts, since a
    message answers one other.
    """
    parents: dict[int, int] = {}
    problems: list[LineProblem] = []
    for number, raw in enumerate(split_lines(data)):
        fields = raw.split()
        if not fields:
            continue
        if len(fields) < 2 or not (fields[0].isdigit() and fields[1].isdigit()) or max(map(len, fields[:2])) > 18:
            problems.append(LineProblem(number, "bad-annotation", "expected PARENT CHILD -, two line numbers from 0"))
            continue
        parent, child = int(fields[0]), int(fields[1])
        if max(parent, child) >= line_count:
            problems.append(
                LineProblem(
                    number, "no-such-line", f"names line {max(parent, child)}; the log has {line_count}, from 0"
                )
            )
        elif parent != child and abs(child - parent) < abs(child - parents.get(child, child - line_count)):
            parents[child] = parent
    replies = tuple(Reply(parent, child) for child, parent in sorted(parents.items()))
    return replies, tuple(problems)


_REASONS = {
    "empty": "the line is empty",
    "bad-time": "no such time of day; expected 00:00 to 23:59",
    "no-nick": "nobody is named; expected <nick> text",
    "unknown-form": "not a line of an IRC log; expected [HH:MM] <nick> text, [HH:MM]  * nick action, "
    "[HH:MM] -nick:#channel- notice or === …",
}


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _read_line(text: str) -> _Form | str:
    """What a line says, or the code of what is wrong with it."""
    match = _TIMED.fullmatch(text)
    if match is not None:
        return _read_timed(match)
    if text.startswith("=== "):
        return _read_system(text[4:], None)
    return "unknown-form" if text.strip() else "empty"


def _read_timed(match: re.Match[str]) -> _Form | str:
    hour, minute_text, nick, said, action, noticer, notice, system = match.groups()
    minute = int(hour) * 60 + int(minute_text)
    if minute >= _DAY_MINUTES or minute_text > "59":
        return "bad-time"
    if nick is not None:
        nick = nick.strip(_ROLE_MARKS)
        return _Form(minute, "message", nick, said or "") if nick else "no-nick"
    if action is not None:
        nick, _, text = action.partition(" ")
        return _Form(minute, "action", nick, text) if nick else "no-nick"
    if noticer is not None:
        return _Form(minute, "notice", noticer, notice)
    return _read_system(system, minute)


def _read_system(text: str, minute: int | None) -> _Form | str:
    moved = _MOVED.fullmatch(text)
    if moved is not None:
        nick = moved[1].strip()
        return _Form(minute, "joined" if moved[2] == "joined" else "left", nick, text) if nick else "no-nick"
    renamed = _RENAMED.fullmatch(text)
    if renamed is not None and len(renamed[1].split()) < 3 and len(renamed[2].split()) in (1, 2):
        return _Form(minute, "renamed", renamed[1].strip(), renamed[2].strip())
    mode = _MODE.fullmatch(text)
    if mode is not None:
        return _Form(minute, "system", mode[1], text)
    action = None if _SERVER_TEXT.match(text) else _ACTION.fullmatch(text)
    if action is not None:
        return _Form(minute, "action", action[1], text[action.end(1) :].strip())
    return _Form(minute, "system", "", text) if text.strip() else "empty"


def _whole_nick(form: _Form, split_nicks: set[str]) -> tuple[str, str]:
    """Nick and text; an action's nick gets back what a blank inside cut off, if the log shows that nick elsewhere."""
    if form.style == "action" and form.nick.endswith("]") and split_nicks:
        rest, _, text = form.text.partition(" ")
        if f"{form.nick} {rest}" in split_nicks:
            return f"{form.nick} {rest}", text.strip()
    return form.nick, form.text


def _times(minutes: Sequence[int | None], day: date) -> Iterator[int]:
    """The time of each line in ms, never falling, from the minutes of the day that lines tell."""
    told = [minute for minute in minutes if minute is not None]
    has_half_days = bool(told) and max(told) < _HALF_DAY_MINUTES
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    midnight = int(start.timestamp()) // 60
    days = 0  # in minutes
    reached = clock = told[0] if told else 0
    ordinal = -1
    for minute in minutes:
        if minute is not None:
            if clock - minute >= _STEP_BACK_MINUTES:
                is_half = has_half_days and clock >= _HALF_DAY_MINUTES - 60 and minute < 60
                days += _HALF_DAY_MINUTES if is_half else _DAY_MINUTES
            clock = minute
            if days + minute > reached:
                reached = days + minute
                ordinal = -1
        ordinal += 1
        yield (midnight + reached) * MINUTE_MS + min(ordinal, MINUTE_MS - 1)

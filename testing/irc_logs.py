"""IRC logs made up from a seed: every form of line, odd nicks, bytes that are no UTF-8, and lines that are none.

No text of a real log is in here; the shapes are those of the #ubuntu logs.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

_NICKS = ("ada", "Ben_", "[cleo]", "d|away", "g[r] eek", "zo\u00eb", "x`", "NickServ", "m\u00fcller", "Ada")
_WORDS = ("the", "kernel", "does", "not", "boot", "try", "this", "\u00fcber", "\u2603", "www", "grub>", "<br>", "ok :)")
_LATIN_1 = (b"caf\xe9 ol\xe9", b"\xff\xfe\x00", b"na\xefve", b"\x80abc")


class MadeLog(NamedTuple):
    """A made-up log: its bytes, its reply links, and what a parser must find in it."""

    data: bytes
    annotations: bytes
    line_count: int
    undecodable_count: int
    refused_lines: tuple[int, ...]


def make_irc_log(seed: int, *, line_count: int = 200, first_minute: int = 8 * 60, odd_share: int = 12) -> MadeLog:
    """A log of *line_count* lines from *first_minute* of the day on; one line in *odd_share* is odd.

    >>> make_irc_log(1, line_count=50) == make_irc_log(1, line_count=50)
    True
    """
    random = Random(seed)
    minute = first_minute
    lines: list[bytes] = []
    said: list[int] = []
    refused: list[int] = []
    links: list[bytes] = []
    for number in range(line_count):
        minute = (minute + (random.random() < 0.3)) % (24 * 60)
        if random.randrange(odd_share) == 0 and random.random() < 0.4:
            lines.append(random.choice((b"", b"[99:99] <ada> when?", b"no form at all", b"[08:00] <> nobody", b"\x00")))
            refused.append(number)
            continue
        line, is_said = _make_line(random, minute, is_odd=random.randrange(odd_share) == 0)
        lines.append(line)
        if is_said:
            links.append(b"%d %d -" % (random.choice(said) if said and random.random() < 0.7 else number, number))
            said.append(number)
    return MadeLog(
        b"".join(line + random.choice((b"\n", b"\n", b"\r\n")) for line in lines),
        b"\n".join(links) + b"\n",
        line_count,
        sum(not _is_utf8(line) for line in lines),
        tuple(refused),
    )


def _make_line(random: Random, minute: int, *, is_odd: bool) -> tuple[bytes, bool]:
    """One line, and whether it is a message."""
    nick = random.choice(_NICKS).encode()
    text = " ".join(random.choices(_WORDS, k=random.randint(1, 9))).encode()
    if is_odd:
        text += b" " + random.choice(_LATIN_1)
    time = b"[%02d:%02d]" % divmod(minute, 60)
    roll = random.random()
    if roll < 0.7:
        return b"%s <%s> %s" % (time, nick, text), True
    if roll < 0.76:
        return b"%s  * %s %s" % (time, nick.split()[0], text), True
    if roll < 0.8:
        return b"%s -%s:#made- %s" % (time, nick.split()[0], text), True
    if roll < 0.88:
        return b"=== %s [n=%s@host]  has joined #made" % (nick, b"\xe9" if is_odd else b"x"), False
    if roll < 0.93:
        return b'=== %s [n=x@host]  has left #made ["%s"]' % (nick, text), False
    if roll < 0.97:
        return b"=== %s is now known as %s" % (nick, random.choice(_NICKS).encode()), False
    return b"=== mode/#made [+o ada]  by ChanServ", False


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

"""The play: what happens, in which order, as values that a seed or a real log decides.

Pure. Waits for nothing and knows no replica: ``director.py`` performs it. A script is the same for the same inputs.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from typing import Literal, NamedTuple

from .cues import PLAYERS, Cue, Player, Verb

# Enough lines at once that latency is measured under load, few enough that the unread counts can be followed.
CHORUS_LINES = 40
# The part of a log that is played while the two are apart.
_APART_SHARE = 0.25
# A turn is to be noticed.
TURN_BEATS = 4
_CHORUS_BEATS = 0.1
_DIALOGUES = 9


class Exchange(NamedTuple):
    """Cues one after the other; each is seen on the other replica before the next one."""

    title: str
    cues: tuple[Cue, ...]


class Chorus(NamedTuple):
    """Both players at once, each through their own cues, nobody waiting for the other.

    ``line_beats`` is the time from one cue of a player to the next; a cue of an exchange takes one beat.
    """

    title: str
    cues: tuple[Cue, ...]
    line_beats: float


class Turn(NamedTuple):
    """The link is closed (``part``) or opened (``meet``)."""

    title: str
    to: Literal["part", "meet"]


Step = Exchange | Chorus | Turn


class Line(NamedTuple):
    """One line of a log to be played: the nick and what it said."""

    nick: str
    text: str


def build_script(seed: int) -> tuple[Step, ...]:
    """The ordinary play; *seed* picks and orders what is said.

    >>> build_script(1) == build_script(1), build_script(1) == build_script(2)
    (True, False)
    """
    dice = random.Random(seed)
    lines = _MessageIds()
    talk = [
        Cue(player, "say", "lobby", lines.take(player), text)
        for pair in dice.sample(_PAIRS, _DIALOGUES)
        for player, text in zip(_order(dice), pair, strict=True)
    ]
    chorus = [
        Cue(player, "say", "garden", lines.take(player), f"{dice.choice(_PLANTS)} by the {dice.choice(_PLACES)}")
        for player in PLAYERS
        for _ in range(CHORUS_LINES)
    ]
    return (
        *_opening(),
        Exchange("they talk", tuple(_with_receipts(talk))),
        Chorus("both talk at once", tuple(chorus), _CHORUS_BEATS),
        *_receipts(),
        Turn("they part: the link is closed", "part"),
        Chorus("both go on while apart: messages, an edit, a deletion, a topic each", _apart(chorus, lines), 1),
        Turn("they meet again and catch up", "meet"),
        *_farewell(lines),
        *_receipts(),
    )


def script_from_log(log: Sequence[Line], seed: int) -> tuple[Step, ...]:
    """The same play with *log* as what is said: each nick is played by one of the two, as *seed* has it."""
    dice = random.Random(seed)
    roles = dict(zip(sorted({line.nick for line in log}, key=lambda _: dice.random()), cycle(PLAYERS)))
    lines = _MessageIds()
    said = [Cue(roles[each.nick], "say", "lobby", lines.take(roles[each.nick]), each.text, each.nick) for each in log]
    together = len(said) - int(len(said) * _APART_SHARE)
    live, apart = said[:together], said[together:]
    return (
        *_opening(),
        Chorus("the log is played", tuple(live), _CHORUS_BEATS),
        *_receipts(),
        Turn("they part: the link is closed", "part"),
        Chorus("the log goes on while they are apart", (*apart, *_second_thoughts(live)), _CHORUS_BEATS),
        Turn("they meet again and catch up", "meet"),
        *_farewell(lines),
        *_receipts(),
    )


def plan_beat(script: Sequence[Step], *, seconds: float) -> float:
    """Seconds a beat, so that *script* takes about *seconds* if performing took no time.

    >>> plan_beat((Exchange("", (Cue("ada", "read"),) * 4), Turn("", "part")), seconds=8)
    1.0
    """
    beats = sum(map(_beats, script))
    return seconds / beats if beats else 0.0


def _beats(step: Step) -> float:
    match step:
        case Exchange():
            return len(step.cues)
        case Chorus():
            return max(len(cues_of(step, player)) for player in PLAYERS) * step.line_beats
        case Turn():
            return TURN_BEATS


def cues_of(step: Chorus, player: Player) -> tuple[Cue, ...]:
    """What *player* does in a chorus."""
    return tuple(cue for cue in step.cues if cue.actor == player)


class _MessageIds:
    """Hands out ids that tell who speaks and sort as they were written."""

    def __init__(self) -> None:
        self._count = 0

    def take(self, player: Player) -> str:
        self._count += 1
        return f"{player}-{self._count:06}"


def _opening() -> Iterator[Step]:
    yield Turn("they meet", "meet")
    yield Exchange(
        "a channel each, and both are in both",
        (
            Cue("ada", "create_channel", "lobby", text="first light"),
            Cue("bob", "join_channel", "lobby"),
            Cue("bob", "create_channel", "kitchen", text="who brings what"),
            Cue("ada", "join_channel", "kitchen"),
        ),
    )
    yield Exchange(
        "they add each other and become friends",
        (
            Cue("ada", "add_contact"),
            Cue("bob", "add_contact"),
            Cue("ada", "propose_friendship"),
            Cue("bob", "accept_friendship"),
        ),
    )
    yield Exchange(
        "ada invites bob to a channel, and he comes",
        (
            Cue("ada", "invite", "garden", "invitation-1", "come and plan the garden"),
            Cue("bob", "accept_invitation", subject="invitation-1"),
            Cue("ada", "create_channel", "garden", text="what grows where"),
            Cue("bob", "join_channel", "garden"),
        ),
    )


def _with_receipts(talk: Iterable[Cue]) -> Iterator[Cue]:
    """After each pair of lines the newer one is acknowledged, and now and then everything is read."""
    for number, cue in enumerate(talk, start=1):
        yield cue
        listener: Player = "bob" if cue.actor == "ada" else "ada"
        if number % 2 == 0:
            yield Cue(listener, "acknowledge")
        if number % 4 == 0:
            yield from (Cue(player, "read") for player in PLAYERS)


def _receipts() -> Iterator[Step]:
    verbs: tuple[Verb, Verb] = ("acknowledge", "read")
    yield Exchange(
        "receipts: what arrived is acknowledged, then read",
        tuple(Cue(player, verb) for verb in verbs for player in PLAYERS),
    )


def _apart(before: Sequence[Cue], lines: _MessageIds) -> tuple[Cue, ...]:
    said = [
        Cue(player, "say", "lobby", lines.take(player), text)
        for player, texts in zip(PLAYERS, (_ADA_ALONE, _BOB_ALONE), strict=True)
        for text in texts
    ]
    return (*said, *_second_thoughts(before))


def _second_thoughts(said: Sequence[Cue]) -> Iterator[Cue]:
    """Each changes something of their own that both have seen, and both change the same thing."""
    for cue in [cue for cue in said if cue.actor == "ada"][-1:]:
        yield Cue("ada", "edit", cue.channel, cue.subject, f"{cue.text} (that is what I meant)")
    for cue in [cue for cue in said if cue.actor == "bob"][-1:]:
        yield Cue("bob", "delete", cue.channel, cue.subject)
    for player in PLAYERS:
        yield Cue(player, "retitle_channel", "kitchen", text=f"{player} brings everything")


def _farewell(lines: _MessageIds) -> Iterator[Step]:
    yield Exchange(
        "nothing was lost",
        (
            Cue("ada", "say", "lobby", lines.take("ada"), "there you are again"),
            Cue("bob", "say", "lobby", lines.take("bob"), "nothing was lost, it seems"),
        ),
    )


def _order(dice: random.Random) -> tuple[Player, Player]:
    first, second = dice.sample(PLAYERS, 2)
    return first, second


_PAIRS = (
    ("is the kettle on?", "since before you asked"),
    ("I moved the meeting to nine", "nine is when I water the beans"),
    ("did the parcel come?", "it did, and it is heavier than it looks"),
    ("the train was late again", "then it is on time for the next one"),
    ("who has the ladder?", "it leans where you left it"),
    ("shall we paint the door?", "green, unless there is a good reason"),
    ("I read your draft twice", "and the second time?"),
    ("it rains on the washing", "I saw, and ran"),
    ("the cat is on the roof", "she lives there now"),
    ("what did we owe the baker?", "an apology and four coins"),
    ("I found the missing key", "where everybody looked first?"),
    ("lights out at the harbour", "the tide does not mind"),
    ("there is soup", "on my way"),
    ("remember the bridge song?", "all but the middle"),
)
_PLANTS = ("beans", "leeks", "roses", "mint", "a quince", "onions", "sage", "marigolds")
_PLACES = ("wall", "well", "gate", "kitchen door", "south fence", "shed", "steps")
_ADA_ALONE = ("no signal in the tunnel", "writing this anyway", "the beans can wait", "almost out")
_BOB_ALONE = ("she is in the tunnel", "I water the beans meanwhile", "the gate squeaks", "oiled it", "soup is ready")

"""What a homes screen shows, and what lets other views judge messages: people, roles, sanctions, as immutable values.

Folds nothing: ``views/homes.py`` does. Times are signed milliseconds since 1970.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

from antiphon.facts import Stamp

# A few months of a lively home; the rest is a history query.
KICK_COUNT_MAX = 200


class Sanction(NamedTuple):
    """A ban or a mute that stands; in one channel, or without one in the whole home."""

    target_id: str
    channel_id: str | None
    actor_id: str
    since: int
    expires_at: int | None
    reason: str


class Kick(NamedTuple):
    """Somebody was put out of a channel; a record, whether or not they came back."""

    target_id: str
    channel_id: str
    actor_id: str
    kicked_at: int
    reason: str


class Pin(NamedTuple):
    """A message that is held up."""

    channel_id: str
    message_id: str
    actor_id: str
    pinned_at: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What was laid on somebody and lifted again, over time: ``starts`` are (from, until) and ``ends`` moments, rising.

    At a moment it stands when the newest start until then is newer than the newest end until then and has not expired.

    >>> Standing(((1, None), (9, 12)), (5,)).holds_at(4), Standing(((1, None), (9, 12)), (5,)).holds_at(12)
    (True, False)
    """

    starts: tuple[tuple[int, int | None], ...] = ()
    ends: tuple[int, ...] = ()

    def holds_at(self, at: int) -> bool:
        """Whether it stood at that moment; O(log n)."""
        place = bisect_right(self.starts, at, key=itemgetter(0))
        if not place:
            return False
        since, until = self.starts[place - 1]
        lifted = bisect_right(self.ends, at)
        return (until is None or at < until) and not (lifted and self.ends[lifted - 1] >= since)

    @property
    def current(self) -> tuple[int, int | None] | None:
        """The newest start when nothing lifts it, expired or not."""
        if not self.starts or (self.ends and self.ends[-1] >= self.starts[-1][0]):
            return None
        return self.starts[-1]


_NEVER = Standing()
_NONE: Mapping[str | None, Standing] = MappingProxyType({})
_NO_KICKS: Mapping[str, Stamp] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Conduct:
    """All that a home holds about one person: whether they ever were let in, what was laid on them (by channel, None
    for the whole home), when they moderated, and their newest kick from each channel."""

    is_member: bool = False
    bans: Mapping[str | None, Standing] = field(default_factory=lambda: _NONE)
    mutes: Mapping[str | None, Standing] = field(default_factory=lambda: _NONE)
    kicks: Mapping[str, Stamp] = field(default_factory=lambda: _NO_KICKS)
    moderating: Standing = _NEVER

    def is_silenced_at(self, at: int, *, channel_id: str) -> bool:
        """Whether a ban or a mute of either scope stood at that moment."""
        return any(
            standings[scope].holds_at(at)
            for standings in (self.bans, self.mutes)
            for scope in (None, channel_id)
            if scope in standings
        )


STRANGER = Conduct()
"""Somebody a home has never heard of."""

_NOBODY: Mapping[str, Conduct] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Home:
    """One home. ``context_id`` is its id and names its owner; lists are sorted, kicks are the newest 200, newest first.

    ``members`` were let in and are not banned from the whole home. ``bans`` and ``mutes`` stand now. ``basis`` are the
    newest moderation facts known here: whoever moderates names them in what they commit.
    """

    context_id: str
    owner_id: str
    name: str
    members: tuple[str, ...]
    moderators: tuple[str, ...] = ()
    bans: tuple[Sanction, ...] = ()
    mutes: tuple[Sanction, ...] = ()
    kicks: tuple[Kick, ...] = ()
    pins: tuple[Pin, ...] = ()
    basis: tuple[str, ...] = ()
    conduct: Mapping[str, Conduct] = field(default_factory=lambda: _NOBODY, repr=False)

    def is_banned(self, user_id: str, *, channel_id: str | None = None, now_ms: int) -> bool:
        """Whether *user_id* is banned at *now_ms*, home-wide or (when one is named) from the channel."""
        return any(_applies(ban, user_id, channel_id, now_ms) for ban in self.bans)

    def is_muted(self, user_id: str, *, channel_id: str | None = None, now_ms: int) -> bool:
        """Whether *user_id* is muted at *now_ms*, home-wide or (when one is named) in the channel."""
        return any(_applies(mute, user_id, channel_id, now_ms) for mute in self.mutes)

    def bans_in(self, live_channels: Container[str]) -> tuple[Sanction, ...]:
        """The bans without those of channels that are gone; home-wide ones stay."""
        return _within(self.bans, live_channels)

    def mutes_in(self, live_channels: Container[str]) -> tuple[Sanction, ...]:
        """The mutes without those of channels that are gone; home-wide ones stay."""
        return _within(self.mutes, live_channels)

    def kicks_from(self, channel_id: str) -> tuple[Kick, ...]:
        """The kicks from one channel, newest first."""
        return tuple(kick for kick in self.kicks if kick.channel_id == channel_id)

    def pins_in(self, channel_id: str) -> tuple[Pin, ...]:
        """What is held up in one channel."""
        return tuple(pin for pin in self.pins if pin.channel_id == channel_id)

    def role_of(self, user_id: str) -> str | None:
        """``owner``, ``moderator`` or ``member``; None for somebody else."""
        if user_id == self.owner_id:
            return "owner"
        if user_id in self.moderators:
            return "moderator"
        return "member" if user_id in self.members else None

    def to_json(self) -> dict[str, object]:
        """What a screen shows, ready for a JSON encoder."""
        return {
            "context_id": self.context_id,
            "owner_id": self.owner_id,
            "name": self.name,
            "members": list(self.members),
            "moderators": list(self.moderators),
            "bans": [ban._asdict() for ban in self.bans],
            "mutes": [mute._asdict() for mute in self.mutes],
            "kicks": [kick._asdict() for kick in self.kicks],
            "pins": [pin._asdict() for pin in self.pins],
        }


_NO_HOMES: Mapping[str, Home] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class HomesState:
    """The homes that anything is known of, by context.

    >>> HomesState().to_json()
    {'homes': []}
    """

    homes: Mapping[str, Home] = field(default_factory=lambda: _NO_HOMES)

    def home(self, context_id: str) -> Home | None:
        """The home that a context is; None when nothing is known of it."""
        return self.homes.get(context_id)

    def to_json(self) -> dict[str, object]:
        """The whole state for a JSON encoder, in order of contexts."""
        return {"homes": [self.homes[context_id].to_json() for context_id in sorted(self.homes)]}


def _applies(sanction: Sanction, user_id: str, channel_id: str | None, now_ms: int) -> bool:
    return (
        sanction.target_id == user_id
        and (sanction.channel_id is None or sanction.channel_id == channel_id)
        and (sanction.expires_at is None or now_ms < sanction.expires_at)
    )


def _within(sanctions: tuple[Sanction, ...], live_channels: Container[str]) -> tuple[Sanction, ...]:
    return tuple(each for each in sanctions if each.channel_id is None or each.channel_id in live_channels)

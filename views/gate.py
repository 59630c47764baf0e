"""Whose messages a channel of a home shows: a filter at the time of the snapshot, so that nothing is lost for ever.

A pure function of what the home holds about a person and of when a message was said; knows no messages. Contexts that
are no homes have no gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from antiphon.facts import Stamp

from .homes_state import STRANGER, Conduct, Home

_NOBODY: Mapping[str, Conduct] = MappingProxyType({})


class ChannelGate:
    """The gate of one channel of a home, for the messages that *viewer* sees.

    Hidden are messages of strangers (unless it is open to them), what was said while a ban or a mute stood, and what
    somebody said in a channel after they were kicked from it, until they join again. The viewer's own messages and the
    owner's always pass.
    """

    __slots__ = ("_channel_id", "_conduct", "_home", "_is_closed", "_joined", "_owner", "_viewer")

    def __init__(self, *, owner: str, viewer: str, channel_id: str, is_closed: bool) -> None:
        self._owner = owner
        self._viewer = viewer
        self._channel_id = channel_id
        self._is_closed = is_closed
        self._home: Home | None = None
        self._conduct: Mapping[str, Conduct] = _NOBODY
        self._joined: dict[str, Stamp] = {}

    def use(self, home: Home | None) -> set[str]:
        """Judge by *home* from now on; whose messages may look different."""
        if home is self._home:
            return set()
        before, after = self._conduct, _NOBODY if home is None else home.conduct
        self._home, self._conduct = home, after
        people = before.keys() | after.keys()
        # Asked for identity first, since most are the very same; a home that was read back is equal and another object.
        return {
            person
            for person in people
            if before.get(person) is not after.get(person) and before.get(person) != after.get(person)
        }

    def note_joined(self, person: str, stamp: Stamp) -> bool:
        """Take that *person* joined the channel; whether a kick may stand no more."""
        known = self._joined.get(person)
        if known is not None and stamp <= known:
            return False
        self._joined[person] = stamp
        return self._channel_id in self._conduct.get(person, STRANGER).kicks

    def kick_of(self, person: str) -> Stamp | None:
        """The newest kick of *person* from the channel, whether or not they came back."""
        return self._conduct.get(person, STRANGER).kicks.get(self._channel_id)

    def kicked(self) -> set[str]:
        """Who was ever kicked from the channel; O(people)."""
        return {person for person, conduct in self._conduct.items() if self._channel_id in conduct.kicks}

    def is_stranger(self, person: str) -> bool:
        """Whether nobody let *person* in, where that matters."""
        is_known = person in (self._viewer, self._owner)
        return self._is_closed and not is_known and not self._conduct.get(person, STRANGER).is_member

    def is_hidden(self, author: str, at: int) -> bool:
        """Whether a message that *author* signed and said at that moment is hidden."""
        if author in (self._viewer, self._owner):
            return False
        if self.is_stranger(author):
            return True
        conduct = self._conduct.get(author, STRANGER)
        kick = conduct.kicks.get(self._channel_id)
        if kick is not None and at >= kick[0] and self._joined.get(author, _LONG_AGO) < kick:
            return True
        return conduct.is_silenced_at(at, channel_id=self._channel_id)

    def may_delete(self, actor: str, at: int) -> bool:
        """Whether *actor* might take away what others said, at that moment: the owner, and who moderated then."""
        conduct = self._conduct.get(actor, STRANGER)
        return actor == self._owner or (conduct.is_member and conduct.moderating.holds_at(at))


_LONG_AGO: Stamp = (-(2**63), 0, b"")

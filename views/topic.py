"""What a channel is about: the newest topic that was stated as a whole, and what people changed of it since.

A function of the set of facts. A change belongs to the statement that it was made of; changes of one statement are one
shared text, so two people who write in different places of it at the same time both keep their words.
"""

from __future__ import annotations

from antiphon.facts import Stamp
from antiphon.journal import SharedText, is_text_update

from .registers import Register, newer

# Longer ones are no topics; whoever writes past it is not shown to the end.
TOPIC_LENGTH_MAX = 1_000
# Each is read again whenever another one comes: about 50 µs.
CHANGE_COUNT_MAX = 256


class Topic:
    """The topic of one channel. A statement costs O(1), a change O(changes of the newest statement), at most 256.

    >>> topic = Topic()
    >>> topic.state((1, 0, b"a"), "tea")
    >>> topic.change((2, 0, b"b"), basis=b"a".hex(), update=topic.shared.changed_to("green tea", actor="ada"))
    True
    >>> topic.shown
    'green tea'
    """

    __slots__ = ("changes", "read", "stated")

    def __init__(self) -> None:
        self.stated: Register[str] | None = None
        self.changes: dict[str, dict[Stamp, bytes]] = {}  # by the statement that they change
        self.read: str | None = None

    def state(self, stamp: Stamp, text: str) -> None:
        """Take a topic that is stated as a whole."""
        before, self.stated = self.stated, newer(self.stated, stamp, text)
        if self.stated is not before:
            self.read = None

    def change(self, stamp: Stamp, *, basis: str, update: bytes) -> bool:
        """Take a change of the statement *basis*, which may still come; False for what is no change of a text."""
        known = self.changes.setdefault(basis, {})
        if stamp in known:
            return True
        if not is_text_update(update):
            return False
        known[stamp] = update
        if basis == self.basis:
            self.read = None
        return True

    @property
    def basis(self) -> str:
        """The id of the newest statement, in hex; empty before the first."""
        return self.stated[0][2].hex() if self.stated is not None else ""

    @property
    def shared(self) -> SharedText:
        """The text to change, with the newest 256 changes of it."""
        known = self.changes.get(self.basis, {})
        counted = [known[stamp] for stamp in sorted(known)[-CHANGE_COUNT_MAX:]]
        return SharedText(self.basis, self.stated[1] if self.stated else "", tuple(sorted(set(counted))))

    @property
    def shown(self) -> str:
        """What a screen shows; empty for none."""
        if not self.changes.get(self.basis):
            return self.stated[1] if self.stated is not None else ""
        if self.read is None:
            self.read = self.shared.text[:TOPIC_LENGTH_MAX]
        return self.read

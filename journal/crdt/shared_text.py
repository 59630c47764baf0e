"""One text that several people change at once: a starting text that is known by name, and Yjs updates on top of it.

Keeps nothing and decides no rights. Two replicas that hold the same updates read the same text, in whatever order they
came: it is read from the beginning each time, O(updates). What is no update is passed over, and one whose causes are
not here shows once they are. pycrdt is imported when the first text is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..crdt_errors import DeserializationFailed
from .ydoc import byte_offset, client_id_of, guard_yjs

if TYPE_CHECKING:
    from pycrdt import Doc, Text

_NAME = "text"


class SharedText(NamedTuple):
    """A text as a value: what it began from (*name* tells that from other beginnings) and what was changed since.

    >>> tea = SharedText("topic 1", "tea at five")
    >>> one, other = tea.changed_to("green tea at five", actor="ada"), tea.changed_to("tea at six", actor="ben")
    >>> tea.with_updates([one, other]).text == tea.with_updates([other, one, b"nonsense"]).text
    True
    >>> tea.with_updates([other, one]).text
    'green tea at six'
    """

    name: str
    start: str
    updates: tuple[bytes, ...] = ()

    def with_updates(self, updates: Iterable[bytes]) -> SharedText:
        """The text with these changes as well."""
        return self._replace(updates=tuple(sorted({*self.updates, *updates})))

    @property
    def text(self) -> str:
        """What it reads now; about 50 µs a change."""
        return str(_text_in(self._document(self.name)))

    def changed_to(self, text: str, *, actor: str) -> bytes:
        """The update that makes *text* of it: what lies between the equal beginnings and ends is written anew.

        *actor* names the author of this one change; no two changes may have the same name.
        """
        document = self._document(actor)
        shared = _text_in(document)
        seen = document.get_state()
        before = str(shared)
        first = _common_start(before, text)
        last = _common_start(before[first:][::-1], text[first:][::-1])
        start, stop = byte_offset(before, first), byte_offset(before, len(before) - last)
        with document.transaction():
            if stop > start:
                del shared[start:stop]
            if len(text) - last > first:
                shared.insert(start, text[first : len(text) - last])
        update: bytes = document.get_update(seen)
        return update

    def _document(self, actor: str) -> Doc[Any]:
        updates: Sequence[bytes] = self.updates
        while True:
            document = self._begun(actor)
            refused = next((each for each in updates if not _is_taken(document, each)), None)
            if refused is None:
                return document
            # What broke the reader may have left half of itself behind.
            updates = [each for each in updates if each != refused]

    def _begun(self, actor: str) -> Doc[Any]:
        """The beginning, written by nobody: the same bytes on every replica."""
        from pycrdt import Doc

        first: Doc[Any] = Doc(client_id=client_id_of(f"beginning of {self.name}"))
        _text_in(first).insert(0, self.start)
        document: Doc[Any] = Doc(client_id=client_id_of(f"change {actor}"))
        document.apply_update(first.get_update())
        return document


def is_text_update(update: bytes) -> bool:
    """Whether these bytes are a Yjs update at all, whatever it is about."""
    from pycrdt import Doc

    return _is_taken(Doc(), update)


def _common_start(one: str, other: str) -> int:
    """How many characters both begin with."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def _text_in(document: Doc[Any]) -> Text:
    from pycrdt import Text

    shared: Text = document.get(_NAME, type=Text)
    return shared


def _is_taken(document: Doc[Any], update: bytes) -> bool:
    try:
        guard_yjs("Yjs update", lambda: document.apply_update(update))
    except DeserializationFailed:
        return False
    return True

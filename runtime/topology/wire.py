"""What two roles say to each other over a connection: who speaks, then items, then an end. Values and bytes only.

TTL1 version ‖ protocol, sender, receiver          the first frame, each text behind u16 length
M u32 size ‖ u16 length ‖ label ‖ bytes            a message, or its beginning
C bytes                                            more of it
L label                                            a label alone
E                                                  no more will come
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from antiphon.facts import RemoteViolation
from antiphon.journal.sync.messages import FRAME_BYTES_MAX

MAGIC = b"TTL1"
VERSION = 1
ROLE_BYTES_MAX = 1_024
LABEL_BYTES_MAX = 65_535
# More than any message that people or protocols wait for.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
END = b"E"
"""The last frame."""
_TEXT = struct.Struct(">H")
_HEAD = struct.Struct(">IH")


class LyingRole(RemoteViolation):
    """A connection whose first words, or later ones, are none of this protocol."""


class Introduction(NamedTuple):
    """Which protocol a connection belongs to, who speaks on it and who is meant to listen."""

    protocol: str
    sender: str
    receiver: str

    def encode(self) -> bytes:
        """The first frame."""
        texts = [text.encode() for text in self]
        assert max(map(len, texts)) <= ROLE_BYTES_MAX, "names are short"
        return MAGIC + bytes([VERSION]) + b"".join(_TEXT.pack(len(text)) + text for text in texts)

    @classmethod
    def decode(cls, frame: bytes) -> Introduction:
        """Read the first frame. Raises ``LyingRole``."""
        if frame[:4] != MAGIC:
            raise LyingRole(f"a connection begins with {frame[:4]!r}; expected {MAGIC!r}")
        if frame[4:5] != bytes([VERSION]):
            raise LyingRole(f"a connection speaks version {frame[4:5].hex()}; this antiphon speaks {VERSION}")
        texts: list[str] = []
        at = len(MAGIC) + 1
        for _ in range(3):
            if len(frame) < at + _TEXT.size:
                raise LyingRole("an introduction ends in the middle")
            (length,) = _TEXT.unpack_from(frame, at)
            at += _TEXT.size
            if length > ROLE_BYTES_MAX or len(frame) < at + length:
                raise LyingRole(f"a name of {length} bytes; {ROLE_BYTES_MAX} are allowed")
            texts.append(_text(frame[at : at + length]))
            at += length
        if at != len(frame):
            raise LyingRole(f"{len(frame) - at} bytes behind an introduction")
        return cls(*texts)


class Item(NamedTuple):
    """A label, and a message's bytes or None for a label alone."""

    label: str
    data: bytes | None


def lay_out_item(item: Item) -> Iterator[bytes]:
    """The frames of an item. Raises ``ValueError`` for one that is too large."""
    label, data = item.label.encode(), item.data
    if len(label) > LABEL_BYTES_MAX:
        raise ValueError(f"a label of {len(label):,} bytes; {LABEL_BYTES_MAX:,} are allowed")
    if data is None:
        yield b"L" + label
        return
    if len(data) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {len(data):,} bytes; {MESSAGE_BYTES_MAX:,} are allowed")
    head = b"M" + _HEAD.pack(len(data), len(label)) + label
    at = FRAME_BYTES_MAX - len(head)
    yield head + data[:at]
    while at < len(data):
        yield b"C" + data[at : at + FRAME_BYTES_MAX - 1]
        at += FRAME_BYTES_MAX - 1


class ItemReader:
    """Joins frames to items; a size out of bounds is refused before anything is kept for it."""

    def __init__(self) -> None:
        self._label = ""
        self._parts: list[bytes] = []
        self._missing = 0

    def feed(self, frame: bytes) -> Item | None:
        """The item that *frame* completes, or None when more of it is to come. Raises ``LyingRole``."""
        kind, body = frame[:1], frame[1:]
        if self._missing:
            if kind != b"C":
                raise LyingRole(f"{kind!r} in the middle of a message")
            return self._join(body)
        match kind:
            case b"L":
                return Item(_text(body), None)
            case b"M":
                return self._begin(body)
            case _:
                raise LyingRole(f"{kind!r} begins no item")

    def _begin(self, body: bytes) -> Item | None:
        if len(body) < _HEAD.size:
            raise LyingRole("a message ends in its head")
        size, length = _HEAD.unpack_from(body)
        if size > MESSAGE_BYTES_MAX or len(body) < _HEAD.size + length:
            raise LyingRole(f"a message of {size:,} bytes under a label of {length}; {MESSAGE_BYTES_MAX:,} are allowed")
        self._label = _text(body[_HEAD.size : _HEAD.size + length])
        self._missing = size
        return self._join(body[_HEAD.size + length :])

    def _join(self, part: bytes) -> Item | None:
        if len(part) > self._missing or (self._missing and not part):
            raise LyingRole(f"{len(part)} bytes of a message that lacks {self._missing}")
        self._parts.append(part)
        self._missing -= len(part)
        if self._missing:
            return None
        data, self._parts = b"".join(self._parts), []
        return Item(self._label, data)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        raise LyingRole("a name or label that is no UTF-8") from problem

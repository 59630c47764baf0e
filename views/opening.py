"""How a sealed text is read: an opener that the application gives, and what stands in its place until it can.

Holds no keys and decrypts nothing itself. An opener is asked again only when a message is drawn anew, so it must be a
pure function; whoever learns a key gives the view a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class SealedText(NamedTuple):
    """A sealed payload and where it stands: what an opener needs to find the key."""

    context_id: str
    channel_id: str
    message_id: str
    sender_id: str
    epoch_hint: int | None
    payload: bytes


Opener = Callable[[SealedText], str | None]
"""Reads a sealed text, or gives None when it cannot."""


def placeholder_of(sealed: SealedText) -> str:
    """What is shown of a text that cannot be opened.

    >>> placeholder_of(SealedText("home", "c", "m", "ada", None, b"123"))
    '[sealed: 3 bytes]'
    """
    return f"[sealed: {len(sealed.payload)} bytes]"


def open_sealed(sealed: SealedText, opener: Opener | None) -> tuple[str, bool]:
    """The text, or the placeholder; and whether it is still sealed. An opener that raises opens nothing."""
    try:
        text = None if opener is None else opener(sealed)
    except Exception:  # the application's function ends here: this message stays sealed, others go on
        text = None
    return (text, False) if isinstance(text, str) else (placeholder_of(sealed), True)

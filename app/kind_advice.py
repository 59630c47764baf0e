"""What is said to somebody who mistook a kind. Reads no journal: whoever asks knows the kinds."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase


def advise_on_kind(pattern: str, known: Iterable[str], *, otherwise: str) -> str | None:
    """A sentence when *pattern* fits none of the kinds *known*, with those near it or what to do *otherwise*; None
    when it fits one.

    >>> advise_on_kind("chat.mesage_sent", ["chat.message_sent"], otherwise="ask")
    "no kind here goes by 'chat.mesage_sent'; did you mean chat.message_sent?"
    >>> advise_on_kind("chat.*", ["chat.message_sent"], otherwise="ask")
    """
    kinds = sorted(known)
    if pattern == "*" or any(fnmatchcase(kind, pattern) for kind in kinds):
        return None
    near = [kind for kind in kinds if kind.startswith(f"{pattern}.")] or get_close_matches(pattern, kinds)
    advice = f"did you mean {' or '.join(near)}?" if near else otherwise
    return f"no kind here goes by {pattern!r}; {advice}"

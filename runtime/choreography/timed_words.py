"""The words that roles say to each other about a timed part, besides the protocol's own.

    in time DEPTH     by the owner to everybody in the part: its share is done, so the clock will not fire
    timeout DEPTH     by everybody in the part to everybody in it, when they give its body up
    cancel DEPTH      the same, when the owner cancelled

They travel as labels; no label of a protocol has a space. Depth counts the clocks around the part's own: with the order
of a pair's words that says which part is meant, since nobody leaves one before knowing how it ended. A word that a part
was given up also ends what may still come from its body: whatever the same role sent before it is nobody's.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias, cast

PartEnding: TypeAlias = Literal["in time", "timeout", "cancel"]
_WORD = re.compile(r"(in time|timeout|cancel) (\d{1,6})")


class TimedWord(NamedTuple):
    """How the part ended that has so many clocks around it."""

    ending: PartEnding
    depth: int

    @property
    def label(self) -> str:
        """What travels."""
        return f"{self.ending} {self.depth}"

    @classmethod
    def read(cls, label: str) -> TimedWord | None:
        """The word that a label is, or None for one of the protocol's own.

        >>> TimedWord.read("timeout 0"), TimedWord.read("Quote")
        (TimedWord(ending='timeout', depth=0), None)
        """
        found = _WORD.fullmatch(label) if " " in label else None
        return None if found is None else cls(cast(PartEnding, found[1]), int(found[2]))

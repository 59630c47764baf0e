"""The facts that are committed here: chat-like, seven fields, about 200 bytes of payload, the same on every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from antiphon import Fact, view

FIRST_MS = 1_790_000_000_000
_WORDS = (
    "the",
    "log",
    "is",
    "a",
    "journal",
    "and",
    "every",
    "window",
    "one",
    "frame",
    "so",
    "nothing",
    "said",
    "is",
    "lost",
)

Row = dict[str, str | int | None]


class Said(Fact, kind="bench.said", version=1, time="sent_at"):
    channel_id: str
    message_id: str
    sender_id: str
    sender_name: str
    text: str
    sent_at: int
    reply_to: str | None = None


class PlainSaid(BaseModel):
    """The same seven fields as pure pydantic: what the straight line validates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel_id: str
    message_id: str
    sender_id: str
    sender_name: str
    text: str
    sent_at: int
    reply_to: str | None = None


class Shape(NamedTuple):
    """What the straight line must know of its rows: kind, validating model, and the field that holds their time."""

    kind: str
    model: type[BaseModel]
    time_field: str


PLAIN_SAID = Shape("bench.said", PlainSaid, "sent_at")

Tally = tuple[int, int, str]
_NOTHING: Tally = (0, 0, "")


@view(Said, initial=_NOTHING, version=1)
def tally(state: Tally, fact: Said) -> Tally:
    """Count facts and characters: a small fold, so that what is measured is the engine and not somebody's view."""
    return (state[0] + 1, state[1] + len(fact.text), fact.text)


class Rows:
    """An endless, seeded supply of rows whose time never stands still."""

    def __init__(self, *, seed: int = 7) -> None:
        self._dice = random.Random(seed)
        self._texts = [" ".join(self._dice.choices(_WORDS, k=self._dice.randint(4, 16))) for _ in range(500)]
        self._number = 0

    def take(self, count: int) -> list[Row]:
        """The next *count* rows."""
        return list(self._rows(count))

    def _rows(self, count: int) -> Iterator[Row]:
        texts = self._texts
        for number in range(self._number, self._number + count):
            speaker = number % 37
            yield {
                "channel_id": "ubuntu",
                "message_id": f"{number:016x}",
                "sender_id": f"{speaker * 2_654_435_761:016x}",
                "sender_name": f"speaker-{speaker}",
                "text": texts[number % 500],
                "sent_at": FIRST_MS + number,
                "reply_to": None,
            }
        self._number += count

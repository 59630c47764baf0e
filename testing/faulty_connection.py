"""A connection that drops, doubles, delays and swaps frames by the dice of a seed: the same seed, the same misfortune.

Wraps any other connection; what it does to a frame is decided when the frame is sent. Breaks no frame in two: bytes
that are wrong inside a frame are another kind of lie.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple, TypeAlias

from antiphon.facts import LocalViolation
from antiphon.runtime.resilience import Timing
from antiphon.runtime.transports.transport import Connection, PeerLost
from antiphon.runtime.transports.wrapped import WrappedConnection

Fate: TypeAlias = Literal["sent", "dropped", "doubled", "delayed", "swapped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """How often of a hundred frames each thing happens; at most one to a frame, and the rest go as they are."""

    drop: int = 0
    double: int = 0
    delay: int = 0
    swap: int = 0
    delay_s: float = 1.0

    def __post_init__(self) -> None:
        rates = (self.drop, self.double, self.delay, self.swap)
        if min(rates) < 0 or sum(rates) > 100:
            raise LocalViolation(f"of a hundred frames {rates} meet a fault; expected 0 or more each, 100 in all")

    def fate(self, dice: Random) -> Fate:
        """What happens to the next frame."""
        roll, so_far = dice.randrange(100), 0
        for rate, fate in ((self.drop, "dropped"), (self.double, "doubled"), (self.delay, "delayed")):
            so_far += rate
            if roll < so_far:
                return fate  # type: ignore[return-value]  # a literal of the table
        return "swapped" if roll < so_far + self.swap else "sent"


class Event(NamedTuple):
    """A frame that was sent, by its number, and its fate."""

    number: int
    fate: Fate


class FaultyConnection(WrappedConnection):
    """Sends through *inner* with the faults of a plan; receives as *inner* does. ``events`` tells what happened.

    A frame that is swapped waits for the next one, and goes after it; with ``close`` it goes at last.
    """

    def __init__(self, inner: Connection, plan: FaultPlan, *, seed: int, timing: Timing | None = None) -> None:
        super().__init__(inner)
        self._plan = plan
        self._dice = Random(seed)
        self._timing = timing if timing is not None else Timing()
        self._kept: list[bytes] = []
        self.events: list[Event] = []

    async def send(self, *frames: bytes) -> None:
        """See ``Connection``."""
        for frame in frames:
            await self._send_one(frame)

    async def _send_one(self, frame: bytes) -> None:
        fate = self._plan.fate(self._dice)
        self.events.append(Event(len(self.events), fate))
        kept, self._kept = self._kept, []
        if fate == "swapped":
            self._kept = [frame]
            frames: list[bytes] = []
        else:
            frames = {"dropped": [], "doubled": [frame, frame]}.get(fate, [frame])
        if fate == "delayed":
            await self._timing.sleep(self._plan.delay_s)
        for one in (*frames, *kept):
            await super().send(one)

    async def close(self) -> None:
        """See ``Connection``."""
        kept, self._kept = self._kept, []
        with suppress(PeerLost):  # whoever has left does not get it
            for frame in kept:
                await super().send(frame)
        await super().close()

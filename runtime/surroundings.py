"""What an engine takes from outside: the clock, the dice, the disk, the threads, and who is told what happens.

All of it is a parameter, so that a simulator can put its own in the place of each. Does nothing with any of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from antiphon.facts import Clock
from antiphon.journal import Disk

from .clock import SystemClock
from .entropy import system_random
from .events import Events
from .threads import SYSTEM_THREADS, Threads


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One engine's surroundings; the process's own unless something else is given."""

    clock: Clock = field(default_factory=SystemClock)
    random_bytes: Callable[[int], bytes] = system_random
    disk: Disk = field(default_factory=Disk)
    threads: Threads = SYSTEM_THREADS
    events: Events = field(default_factory=Events)

"""The lull: a moment in which nothing is committed, and the things that wait for one.

A journal that is at work should do nothing else: its closed log files, DuckDB's write-ahead log and the garbage of the
process can wait a second. One timer while there is work, none while there is none. What is done in a lull is not known
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .collector import FULL_COLLECTIONS, FullCollections

# Longer than people pause between two messages of a busy room, and than DuckDB takes to follow.
LULL_S = 1.0
# What never rests is interrupted every half minute: memory and files are no queue.
WORK_LULLS_MAX = 30
# A few facts now and then are no work that a collection could hold up for long.
WORK_FACTS_MIN = 1_000


class Lull:
    """Calls *on_lull* when one to two seconds have passed without a window, and every half minute while they do not.

    Meanwhile, from the first thousand facts on, full collections are put off.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_lull: Callable[[], None],
        *,
        collections: FullCollections = FULL_COLLECTIONS,
    ) -> None:
        self._loop = loop
        self._on_lull = on_lull
        self._collections = collections
        self._timer: asyncio.TimerHandle | None = None
        self._is_holding = False
        self._fact_count = 0
        self._has_worked = False
        self._look_count = 0

    def note(self, fact_count: int) -> None:
        """A window with so many facts became durable."""
        self._has_worked = True
        self._fact_count += fact_count
        if self._fact_count >= WORK_FACTS_MIN and not self._is_holding:
            self._is_holding = True
            self._collections.hold()
        if self._timer is None:
            self._arm()

    def close(self) -> None:
        """Wait for nothing any more, and hold nothing up."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._let_collect(has_time=False)

    def _arm(self) -> None:
        self._has_worked = False
        self._timer = self._loop.call_later(LULL_S, self._look)

    def _look(self) -> None:
        self._timer = None
        self._look_count += 1
        if self._has_worked:
            self._arm()
            if self._look_count < WORK_LULLS_MAX:
                return
        self._look_count = self._fact_count = 0
        self._let_collect(has_time=True)
        self._on_lull()

    def _let_collect(self, *, has_time: bool) -> None:
        if self._is_holding:
            self._is_holding = False
            self._collections.release(has_time=has_time)

"""Full garbage collections, put off while journals of this process are at work.

A full collection walks every object that the process holds, with the interpreter stopped: 15 ms where there is little,
50 to 100 ms beside a view's thirty thousand facts, and a busy journal brings one about every few hundred windows. Facts
form no cycles, so it finds nothing there. The young generations go on as always, and so does ``gc.collect()``. Decides
nothing about when a journal is at work; ``lull.py`` does.
"""

from __future__ import annotations

import gc
import sys
import threading

# Not never: should a holder be lost, one follows after so many collections of the middle generation (~80 million
# objects more than were freed).
HELD_OFF = 10_000
# Since 3.14 the interpreter collects in small steps, and has no third threshold.
_HAS_FULL_COLLECTIONS = sys.version_info < (3, 14)


class FullCollections:
    """The process's third threshold, shared by everybody who wants it out of the way.

    Whoever set it to something else meanwhile, or switched the collector off, is left alone.
    """

    def __init__(self) -> None:
        # Journals may be open on several loops, each in a thread of its own.
        self._lock = threading.Lock()
        self._holder_count = 0
        self._before: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether full collections are being put off."""
        return self._before is not None

    def hold(self) -> None:
        """Put full collections off until ``release`` was called as often."""
        with self._lock:
            self._holder_count += 1
            young, middle, full = gc.get_threshold()
            if self._before is None and _HAS_FULL_COLLECTIONS and gc.isenabled() and 0 < full < HELD_OFF:
                self._before = full
                gc.set_threshold(young, middle, HELD_OFF)

    def release(self, *, has_time: bool = False) -> None:
        """Let the interpreter decide again, once nobody else holds; with *has_time* make up for what was put off."""
        with self._lock:
            self._holder_count -= 1
            before = self._before
            if self._holder_count or before is None:
                return
            self._before = None
            young, middle, full = gc.get_threshold()
            if full != HELD_OFF:
                return
            gc.set_threshold(young, middle, before)
        if has_time and gc.get_count()[2] > before:
            gc.collect()


FULL_COLLECTIONS = FullCollections()
"""The one of this process."""

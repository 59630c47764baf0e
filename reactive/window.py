"""The one window: items gather from the first one on, until a time, a count or a size is reached.

Starts no clock of its own and does nothing with the items: the timer belongs to the scheduler that is passed in, and
what a closed window means (a frame in a log, a batch for views) to the callback. Nothing is scheduled while it is
empty. Not for use from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from .errors import CallRefused

if TYPE_CHECKING:
    from reactivex.abc import DisposableBase, SchedulerBase

T = TypeVar("T")

# A 60 Hz frame is 16 ms: two windows and a redraw still fit in one.
WINDOW_MS = 5

# At 1,000 facts the fixed cost of a window (one fdatasync, one seal) is already below a tenth of its total.
COUNT_MAX = 1000

# One read or write of this size still takes well under a millisecond on a slow disk.
BYTES_MAX = 256 * 1024


class WindowStatistics(NamedTuple):
    """The insides of a window: how many closed, for which reason, and what is waiting now (sizes in bytes)."""

    closed_count: int
    closed_by_timer: int
    closed_by_limit: int
    closed_by_flush: int
    item_count: int
    pending_count: int
    pending_bytes: int
    is_armed: bool


class Window(Generic[T]):
    """Collects items and hands them to `close` as one list, which then belongs to the callback.

    A window closes `window_ms` after its first item (later items do not extend it), or at once when it holds
    `count_max` items or `bytes_max` bytes. What is offered in one call stays in one window as long as it fits into an
    empty one: a call that is larger than the room that is left closes the current window first. Only a call that is
    larger than a whole window is split, by `size_of` where it is given, else into equal shares. A single item larger
    than `bytes_max` goes alone.

    An offer costs O(items) for the list and a small constant; the timer is armed once a window. What `close` raises
    reaches whoever closed the window: the offering caller, the flushing caller, or the scheduler. The window is empty
    and usable by then, and `close` itself may offer again.

    >>> from reactivex.scheduler import VirtualTimeScheduler
    >>> clock, closed = VirtualTimeScheduler(), []
    >>> window = Window(clock, closed.append, count_max=3)
    >>> window.offer(["a", "b"], size=2)
    >>> clock.advance_to(0.005)
    >>> closed
    [['a', 'b']]
    """

    __slots__ = (
        "_bytes",
        "_close",
        "_closed_by_flush",
        "_closed_by_limit",
        "_closed_by_timer",
        "_item_count",
        "_items",
        "_scheduler",
        "_size_of",
        "_timer",
        "bytes_max",
        "count_max",
        "window_seconds",
    )

    def __init__(
        self,
        scheduler: SchedulerBase,
        close: Callable[[list[T]], None],
        *,
        window_ms: float = WINDOW_MS,
        count_max: int = COUNT_MAX,
        bytes_max: int = BYTES_MAX,
        size_of: Callable[[T], int] | None = None,
    ) -> None:
        if window_ms < 0 or count_max < 1 or bytes_max < 1:
            raise CallRefused(
                "Window",
                seen=f"window_ms={window_ms}, count_max={count_max}, bytes_max={bytes_max}",
                expected="a time of at least 0 and limits of at least 1",
                attempt="leave them out for 5 ms, 1,000 items and 256 KiB",
            )
        self.window_seconds = window_ms / 1000
        self.count_max = count_max
        self.bytes_max = bytes_max
        self._scheduler = scheduler
        self._close = close
        self._size_of = size_of
        self._items: list[T] = []
        self._bytes = 0
        self._timer: DisposableBase | None = None
        self._closed_by_timer = self._closed_by_limit = self._closed_by_flush = self._item_count = 0

    @property
    def pending_count(self) -> int:
        """How many items wait in the open window."""
        return len(self._items)

    @property
    def pending_bytes(self) -> int:
        """The sum of the sizes that wait in the open window."""
        return self._bytes

    def offer_one(self, item: T, size: int) -> None:
        """Add one item of `size` bytes."""
        # A full window is open here only while the callback of an earlier one runs.
        if self._items and (self._bytes + size > self.bytes_max or len(self._items) >= self.count_max):
            self._close_and_add([item], size)
            return
        self._items.append(item)
        self._bytes += size
        self._settle()

    def offer(self, items: Sequence[T], size: int) -> None:
        """Add all `items`, of `size` bytes together; they share one window unless they exceed a whole one."""
        count = len(items)
        if count == 0:
            return
        if count > 1 and (count > self.count_max or size > self.bytes_max):
            for part, part_size in self._parts(items, size):
                self.offer(part, part_size)
        elif self._items and (len(self._items) + count > self.count_max or self._bytes + size > self.bytes_max):
            self._close_and_add(items, size)
        else:
            self._items.extend(items)
            self._bytes += size
            self._settle()

    def flush(self) -> None:
        """Close the open window now; nothing happens when it is empty."""
        if self._items:
            self._closed_by_flush += 1
            self._hand_over(self._take())

    def discard(self) -> list[T]:
        """Take back what waits, without closing a window: the way out when nothing may be written any more."""
        return self._take()

    def statistics(self) -> WindowStatistics:
        """A frozen record of the insides."""
        return WindowStatistics(
            closed_count=self._closed_by_timer + self._closed_by_limit + self._closed_by_flush,
            closed_by_timer=self._closed_by_timer,
            closed_by_limit=self._closed_by_limit,
            closed_by_flush=self._closed_by_flush,
            item_count=self._item_count,
            pending_count=len(self._items),
            pending_bytes=self._bytes,
            is_armed=self._timer is not None,
        )

    def _settle(self) -> None:
        """After an addition: close a full window, arm the timer of a fresh one."""
        if len(self._items) >= self.count_max or self._bytes >= self.bytes_max:
            self._closed_by_limit += 1
            self._hand_over(self._take())
        elif self._timer is None and self._items:
            self._timer = self._scheduler.schedule_relative(self.window_seconds, self._on_timer)

    def _close_and_add(self, items: Sequence[T], size: int) -> None:
        """Close the open window, with `items` already in the next one: what the callback offers comes after them."""
        closed = self._take()
        self._items.extend(items)
        self._bytes += size
        self._closed_by_limit += 1
        try:
            self._hand_over(closed)
        finally:
            self._settle()

    def _parts(self, items: Sequence[T], size: int) -> list[tuple[Sequence[T], int]]:
        """`items` cut into runs that each fit one window, with their sizes."""
        if self._size_of is None:
            return self._equal_parts(items, size)
        parts: list[tuple[Sequence[T], int]] = []
        start = run_bytes = 0
        for index, item in enumerate(items):
            item_bytes = self._size_of(item)
            if index > start and (index - start == self.count_max or run_bytes + item_bytes > self.bytes_max):
                parts.append((items[start:index], run_bytes))
                start, run_bytes = index, 0
            run_bytes += item_bytes
        parts.append((items[start:], run_bytes))
        return parts

    def _equal_parts(self, items: Sequence[T], size: int) -> list[tuple[Sequence[T], int]]:
        count = len(items)
        # Floor division: a part never holds more than its share of bytes, except a lone item that is larger itself.
        step = max(1, min(self.count_max, count * self.bytes_max // max(size, 1)))
        slices = [items[start : start + step] for start in range(0, count, step)]
        return [(part, size * len(part) // count) for part in slices]

    def _on_timer(self, _scheduler: SchedulerBase, _state: object = None) -> None:
        self._timer = None
        if self._items:
            self._closed_by_timer += 1
            self._hand_over(self._take())

    def _take(self) -> list[T]:
        """Empty the window before anyone is told, so that the callback may offer, or raise, without harm."""
        items, self._items, self._bytes = self._items, [], 0
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.dispose()
        return items

    def _hand_over(self, items: list[T]) -> None:
        self._item_count += len(items)
        self._close(items)

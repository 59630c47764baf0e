"""Bounded delivery to one subscriber: it drops to newer snapshots instead of growing, and says that it lagged.

Knows no task and no event loop: it is polled with `try_recv`, or calls back. Waiting for the next update is
`streams.SignalStream`. Belongs to the thread of its hub.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, Literal, NamedTuple, TypeVar

from .errors import CallRefused, PolicyRefused, SubscriptionClosed, failure_of
from .signal import Update

T = TypeVar("T")

DeliveryMode = Literal["buffer", "latest", "block"]
"""What becomes of a snapshot for which a subscriber has no room.

`"buffer"` keeps up to a capacity of snapshots and drops the oldest; `"latest"` keeps only the newest, which is what a
screen wants; `"block"` loses none: while its buffer is full, the scheduler folds nothing, and producers wait.
"""

# Four windows a frame for a whole second: who is further behind is better served by the newest snapshot.
CAPACITY = 256


_POLICY = re.compile(r"(buffer|block)\((\d{1,9})\)")


class Policy(NamedTuple):
    """How one subscriber is served: what happens when it is slow, and how many snapshots may wait for it."""

    mode: DeliveryMode
    capacity: int

    @classmethod
    def parse(cls, text: str, *, capacity: int = CAPACITY) -> Policy:
        """Read `"buffer"`, `"buffer(n)"`, `"latest"`, `"block"` or `"block(n)"`; *capacity* stands for an n left out.

        Raises `PolicyRefused` for anything else, and for room for less than one snapshot.

        >>> Policy.parse("buffer(16)")
        Policy(mode='buffer', capacity=16)
        """
        written = str(text)  # what is no text at all is refused like any other
        found = _POLICY.fullmatch(written)
        name, room = (found[1], int(found[2])) if found else (written, capacity)
        mode = _MODES.get(name)
        if mode is None:
            raise PolicyRefused(
                seen=f"policy={text!r}",
                expected="'buffer', 'buffer(n)', 'latest', 'block' or 'block(n)'",
                attempt="use 'latest' for a screen, 'buffer' to see what came between, 'block' to lose nothing",
            )
        if type(room) is not int or room < 1:
            raise PolicyRefused(
                seen=f"capacity={room!r}", expected="room for at least one snapshot", attempt="leave it out for 256"
            )
        return cls(mode, 1 if mode == "latest" else room)


_MODES: Mapping[str, DeliveryMode] = MappingProxyType({"buffer": "buffer", "latest": "latest", "block": "block"})


class LagWarning(NamedTuple):
    """A subscriber has fallen behind its buffer: the oldest snapshot it held was dropped, the newest was kept.

    Given once an episode; an episode ends when the subscriber has caught up. `lagged_count` is the subscriber's total.
    """

    signal_id: str
    capacity: int
    lagged_count: int


class Subscription(Generic[T]):
    """What one subscriber has not read yet of one signal.

    Rely on: the newest snapshot is never dropped, versions strictly increase, the producer never waits. An offer costs
    a constant. Close it when done: until then the hub holds it.
    """

    __slots__ = (
        "_callback",
        "_detach",
        "_direct",
        "_is_closed",
        "_is_delivering",
        "_is_lagging",
        "_lagged_count",
        "_mode",
        "_on_end",
        "_on_failure",
        "_on_lag",
        "_on_ready",
        "_on_room",
        "_queue",
        "_skipped",
        "_version",
        "capacity",
        "signal_id",
    )

    def __init__(
        self,
        signal_id: str,
        *,
        policy: Policy,
        version: int,
        detach: Callable[[Subscription[T]], None],
        on_lag: Callable[[LagWarning], None],
        on_failure: Callable[[str, Exception], None],
        on_room: Callable[[Subscription[T]], None] | None = None,
    ) -> None:
        self.signal_id = signal_id
        self._mode, self.capacity = policy
        self._on_room = on_room
        self._version = version
        self._detach = detach
        self._on_lag = on_lag
        self._on_failure = on_failure
        self._queue: deque[Update[T]] = deque()
        self._skipped = 0
        self._lagged_count = 0
        self._is_lagging = False
        self._is_closed = False
        self._is_delivering = False
        self._callback: Callable[[Update[T]], object] | None = None
        # The callback, once it is called past the queue: nothing waits behind it, and nobody waits for it.
        self._direct: Callable[[Update[T]], object] | None = None
        self._on_ready: Callable[[], object] | None = None
        self._on_end: Callable[[], object] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will be added; what was held by then can still be read unless it closed itself."""
        return self._is_closed

    @property
    def pending_count(self) -> int:
        """How many snapshots wait to be read; at most `capacity`."""
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether the next snapshot has no room."""
        return len(self._queue) >= self.capacity

    def would_lose(self, version: int) -> bool:
        """Whether one more snapshot has no room, when the signal is at *version* and what it emitted is offered."""
        return len(self._queue) + max(0, version - self._version) >= self.capacity

    @property
    def lagged_count(self) -> int:
        """How many snapshots were dropped since the subscription began."""
        return self._lagged_count

    def try_recv(self) -> Update[T] | None:
        """The oldest unread update, or None when there is none yet.

        Raises `SubscriptionClosed` when the subscription has ended and all it held has been read.
        """
        if not self._queue:
            if self._is_closed:
                raise SubscriptionClosed(self.signal_id)
            return None
        was_full = len(self._queue) >= self.capacity
        update = self._queue.popleft()
        if was_full and self._on_room is not None:
            self._on_room(self)
        if self._skipped:
            update = update._replace(skipped=self._skipped)
            self._skipped = 0
        if not self._queue:
            self._is_lagging = False
        return update

    def for_each(self, callback: Callable[[Update[T]], object], *, on_end: Callable[[], object] | None = None) -> None:
        """Call `callback` with what waits now and then with every update, inside the emission itself.

        A callback that raises is detached and reported to the hub's owner; other subscribers and the producer do not
        notice. `on_end` is called once if the hub ends the subscription, not if its owner closes it.
        """
        if self._callback is not None:
            raise CallRefused(
                "for_each",
                seen=f"a second callback for a subscription to {self.signal_id!r} that has a callback",
                expected="one for each",
                attempt="subscribe again for the second one",
            )
        self._callback = callback
        self._on_end = on_end
        self._deliver()
        if self._is_closed:
            self._announce_end()
        elif self._on_room is None:
            self._direct = callback

    def notify(self, on_ready: Callable[[], object] | None) -> None:
        """Call `on_ready` whenever something can be read or the end has come; None stops that. One at a time."""
        self._on_ready = on_ready

    def close(self) -> None:
        """End it from the subscriber's side: unread snapshots are given up. Closing twice is fine."""
        self._queue.clear()
        self._on_end = None
        self._finish()

    def offer(self, update: Update[T]) -> None:
        """Add an update, unless it is not newer than the last one. The hub calls this, and never inside itself."""
        seq = update[1]
        if seq <= self._version:
            return
        direct = self._direct
        if direct is not None:  # what almost every emission is
            self._version = seq
            try:
                direct(update)
            except BaseException as raised:  # as in _deliver
                self.close()
                self._on_failure(self.signal_id, failure_of(raised))
            return
        if self._is_closed:
            return
        self._version = seq
        queue = self._queue
        if len(queue) >= self.capacity:
            self._drop_oldest()
        queue.append(update)
        if self._on_room is not None and len(queue) >= self.capacity:
            self._on_room(self)
        if self._callback is not None:
            self._deliver()
        elif self._on_ready is not None:
            self._on_ready()

    def end(self) -> None:
        """End it from the hub's side: what waits can still be read."""
        self._finish()
        self._announce_end()

    def _drop_oldest(self) -> None:
        self._queue.popleft()
        self._skipped += 1
        self._lagged_count += 1
        # Overwriting is what "latest" asked for: counted, but nothing to warn of.
        if self._mode != "latest" and not self._is_lagging:
            self._is_lagging = True
            self._on_lag(LagWarning(self.signal_id, self.capacity, self._lagged_count))

    def _deliver(self) -> None:
        """Hand all that waits to the callback; a nested offer is taken up by the outer loop, so order holds."""
        callback = self._callback
        if self._is_delivering or callback is None:
            return
        self._is_delivering = True
        try:
            while self._queue:
                update = self.try_recv()
                if update is not None:
                    callback(update)
        except BaseException as raised:  # a subscriber ends here: it is detached, its owner is told
            self.close()
            self._on_failure(self.signal_id, failure_of(raised))
        finally:
            self._is_delivering = False

    def _finish(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._direct = None
        self._detach(self)
        if self._on_room is not None:
            self._on_room(self)
        if self._on_ready is not None:
            self._on_ready()

    def _announce_end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        try:
            on_end()
        except BaseException as raised:  # as for the callback: told, and nobody else is touched
            self._on_failure(self.signal_id, failure_of(raised))

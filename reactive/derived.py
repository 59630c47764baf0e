"""A signal of one hub in the hand: read it, follow it, and make others of it.

Holds no value of its own: everything is the hub's. A module constant such as `CHAT_SIGNAL` is only a key; this is the
key together with the engine it is looked up in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import CallRefused
from .hub import SignalHub, SignalOwner
from .signal import Signal, Snapshot, Update
from .subscription import CAPACITY, Subscription
from .unchanged import UNCHANGED, Unchanged

if TYPE_CHECKING:
    from reactivex import Observable

    from .streams import SignalStream

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


class LiveSignal(Generic[T]):
    """One signal of one hub. What is made of it follows it, once a batch, until it is closed.

    Raises `SignalNotFound` or `TypeMismatch` at once when the hub does not know the key.

    >>> hub, WORDS = SignalHub(), Signal("app:words", tuple)
    >>> owner = hub.register(WORDS, (), external=True)
    >>> words = LiveSignal(hub, WORDS)
    >>> size = words.map(len)
    >>> long_enough = size.filter(lambda length: length >= 2, initial=0)
    >>> for state in (("a",), ("a", "b"), ("c", "d"), ("e",)):
    ...     _ = hub.emit(WORDS, state)
    >>> size.value, long_enough.value, long_enough.snapshot.version
    (1, 2, 1)
    """

    __slots__ = ("_owner", "hub", "key")

    def __init__(self, hub: SignalHub, key: Signal[T], *, owner: SignalOwner[T] | None = None) -> None:
        hub.snapshot(key)
        self.hub = hub
        self.key = key
        self._owner = owner

    @property
    def value(self) -> T:
        """The current value."""
        return self.hub.read(self.key)

    @property
    def snapshot(self) -> Snapshot[T]:
        """The current value with its version, its batch and whether it is live."""
        return self.hub.snapshot(self.key)

    def subscribe(
        self, *, policy: str = "buffer", capacity: int = CAPACITY, replay_current: bool = True
    ) -> Subscription[T]:
        """As `SignalHub.subscribe`."""
        return self.hub.subscribe(self.key, policy=policy, capacity=capacity, replay_current=replay_current)

    def for_each(self, callback: Callable[[Update[T]], object], *, replay_current: bool = True) -> Subscription[T]:
        """Call `callback` with the current value and every later one, inside the emission; close the result to stop."""
        subscription = self.subscribe(replay_current=replay_current)
        subscription.for_each(callback)
        return subscription

    def updates(self, *, policy: str = "buffer", capacity: int = CAPACITY) -> SignalStream[T]:
        """For `async with` and `async for`; leaving the block unsubscribes."""
        from .streams import open_stream  # the one module here that loads asyncio

        return open_stream(self.hub, self.key, policy=policy, capacity=capacity)

    def as_observable(self) -> Observable[T]:
        """As an Rx observable of values, the current one first; standard operators compose."""
        return self.hub.as_observable(self.key)

    def map(self, function: Callable[[T], U], *, key: Signal[U] | None = None) -> LiveSignal[U]:
        """What `function` makes of each value; an equal result is not emitted."""
        return self._derive("map", key, lambda before, value: function(value))

    def filter(self, predicate: Callable[[T], bool], *, initial: T, key: Signal[T] | None = None) -> LiveSignal[T]:
        """The newest value for which `predicate` holds; `initial` until there was one."""
        return self._derive("filter", key, lambda before, value: value if predicate(value) else UNCHANGED, initial)

    def distinct(self, key_of: Callable[[T], object], *, key: Signal[T] | None = None) -> LiveSignal[T]:
        """The first value of each run of values with an equal `key_of`: what differs only otherwise is not news."""

        def choose(before: T | Unchanged, value: T) -> T | Unchanged:
            is_same = not isinstance(before, Unchanged) and key_of(before) == key_of(value)
            return UNCHANGED if is_same else value

        return self._derive("distinct", key, choose)

    def combine(
        self, other: LiveSignal[U], function: Callable[[T, U], V], *, key: Signal[V] | None = None
    ) -> LiveSignal[V]:
        """What `function` makes of both, once a batch, never of a new one and an old one. Both are of one hub."""
        if other.hub is not self.hub:
            raise CallRefused(
                "combine",
                seen=f"{self.key.signal_id!r} and {other.key.signal_id!r} of two engines",
                expected="signals of one",
                attempt="watch both, and put them together where they are shown",
            )
        return self._derive("combine", key, lambda before, mine, theirs: function(mine, theirs), others=(other.key,))

    def close(self) -> None:
        """End a derived signal and what was made of it; nothing happens to one that somebody else owns."""
        if self._owner is not None:
            self.hub.unregister(self._owner)

    def _derive(
        self,
        verb: str,
        key: Signal[U] | None,
        compute: Callable[..., U | Unchanged],
        initial: U | Unchanged = UNCHANGED,
        *,
        others: tuple[Signal[Any], ...] = (),
    ) -> LiveSignal[U]:
        target: Signal[U] = key or Signal(f"{self.key.signal_id}.{verb}.{self.hub.derivation_count}", object)  # type: ignore[arg-type]  # what it holds is not known at run time
        owner = self.hub.derive(target, (self.key, *others), compute, initial=initial)
        return LiveSignal(self.hub, target, owner=owner)

"""The signals of one engine: who owns them, what they hold, who listens.

Not a module-wide registry: two engines have two hubs. Runs on one thread (the engine's loop), starts no task, and
calls subscribers only from `emit` and `emit_all`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from .errors import (
    CallRefused,
    EmissionFailed,
    HandlerUnavailable,
    PolicyRefused,
    SignalAlreadyRegistered,
    SignalNotFound,
    TypeMismatch,
    failure_of,
)
from .signal import ERROR_SIGNAL, AppError, Signal, Snapshot, Update
from .subscription import CAPACITY, LagWarning, Policy, Subscription
from .unchanged import UNCHANGED, Unchanged

if TYPE_CHECKING:
    from reactivex import Observable
    from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

T = TypeVar("T")
_NUMBER_OF = attrgetter("number")


@dataclass(slots=True, eq=False)
class SignalOwner(Generic[T]):
    """The right to emit into one signal; `register` gives it to whoever registered the signal, and to nobody else.

    `listeners` are the subscribers as a tuple, made again when the next emission finds that they are others; `blockers`
    are those that must lose nothing, which a signal that `never_waits` has none of.
    """

    signal: Signal[T]
    value: T
    is_external: bool
    version: int = 0
    batch_id: int = 0
    is_ready: bool = True
    subscribers: dict[Subscription[T], None] = field(default_factory=dict)
    listeners: tuple[Subscription[T], ...] | None = ()
    blockers: dict[Subscription[T], None] = field(default_factory=dict)
    never_waits: bool = False
    lagged_count: int = 0
    dependants: list[Derivation] = field(default_factory=list)
    plan: tuple[Derivation, ...] | None = None

    @property
    def snapshot(self) -> Snapshot[T]:
        """What the signal holds, put together when somebody asks, which is less often than it changes."""
        return Snapshot(self.value, self.version, self.batch_id, self.is_ready)

    @property
    def update(self) -> Update[T]:
        """What a subscriber that missed nothing is given."""
        return Update(self.value, self.version, 0, self.is_ready)


@dataclass(slots=True, eq=False)
class Derivation:
    """A signal computed from others. `number` grows with creation, and inputs exist first: it is a topological order.

    `compute` gets the value before and the inputs' values, and returns the new value or `UNCHANGED`.
    """

    number: int
    owner: SignalOwner[object]
    inputs: tuple[SignalOwner[object], ...]
    compute: Callable[..., object | Unchanged]
    wave: int = -1
    run_count: int = 0


class SignalStatistics(NamedTuple):
    """One signal's insides: `lagged_count` sums over all its subscribers, past ones too.

    `run_count` is how often a derived signal was computed; 0 for one that is not derived.
    """

    signal_id: str
    version: int
    is_ready: bool
    subscriber_count: int
    lagged_count: int
    run_count: int = 0


class SignalHub:
    """Registers, reads, emits and subscribes signals.

    Emitting to n subscribers costs n constant-time offers; a value equal to the current one costs one comparison and
    is not emitted. `ERROR_SIGNAL` is registered from the start. `on_lag` is told of subscribers that fell behind, once
    an episode, and `on_failure` of subscribers that raised (and were detached): without it, `ERROR_SIGNAL` says so.

    >>> hub = SignalHub()
    >>> COUNT_SIGNAL = Signal("app:count", int)
    >>> owner = hub.register(COUNT_SIGNAL, 0, external=True)
    >>> subscription = hub.subscribe(COUNT_SIGNAL)
    >>> hub.emit(COUNT_SIGNAL, 1)
    True
    >>> [subscription.try_recv().value, subscription.try_recv().value, subscription.try_recv()]
    [0, 1, None]
    """

    def __init__(
        self,
        *,
        on_lag: Callable[[LagWarning], None] | None = None,
        on_failure: Callable[[str, Exception], None] | None = None,
    ) -> None:
        self._on_lag = on_lag
        self._on_failure = on_failure
        self._owners: dict[str, SignalOwner[object]] = {}
        self._deliveries: deque[tuple[SignalOwner[object], Update[object]]] = deque()
        self._reports: deque[Callable[[], object]] = deque()
        self._is_delivering = False
        self._is_closed = False
        self._derivations: dict[SignalOwner[object], Derivation] = {}
        self._derivation_count = 0
        self._wave = 0
        self._full: dict[Subscription[object], None] = {}
        self._blocker_count = 0
        self._on_room: Callable[[], object] | None = None
        self.register(ERROR_SIGNAL, None, external=True, never_waits=True)

    def register(
        self, signal: Signal[T], initial: T, *, external: bool = False, never_waits: bool = False
    ) -> SignalOwner[T]:
        """Create `signal` with its first value, version 0; an `external` one may be emitted into by anyone.

        One that `never_waits` is emitted by who cannot be refused (troubles, the state of a sync), so neither it nor
        what is derived from it can be followed with policy `"block"`.

        Raises `SignalAlreadyRegistered`, `TypeMismatch` for an initial value of another type, `HandlerUnavailable`
        after `close`.
        """
        check_key(signal)
        if self._is_closed:
            raise HandlerUnavailable(f"register {signal.signal_id!r}")
        if signal.signal_id in self._owners:
            raise SignalAlreadyRegistered(signal.signal_id)
        check_state(signal, initial)
        owner = SignalOwner(signal, initial, external, never_waits=never_waits)
        self._owners[signal.signal_id] = owner  # type: ignore[assignment]  # keys of many types share one table
        return owner

    def derive(
        self,
        signal: Signal[T],
        inputs: Sequence[Signal[Any]],
        compute: Callable[..., T | Unchanged],
        *,
        initial: T | Unchanged = UNCHANGED,
    ) -> SignalOwner[T]:
        """Register `signal` as a function of others: computed once a batch, after all its inputs, if one changed.

        `compute` gets the value before (or `initial`) and the inputs' values; it returns the new value, or `UNCHANGED`.
        An equal value stops there. One that raises keeps its value, and `ERROR_SIGNAL` says so. Nobody sees an old
        derived value beside a new input. `unregister` ends it; so does the end of an input.

        Raises `SignalNotFound` for an input, what `register` raises, and whatever the first computation raises.

        >>> hub, COUNT, DOUBLE = SignalHub(), Signal("app:count", int), Signal("app:double", int)
        >>> counter = hub.register(COUNT, 1, external=True)
        >>> double = hub.derive(DOUBLE, [COUNT], lambda before, count: 2 * count)
        >>> hub.emit(COUNT, 5), hub.read(DOUBLE)
        (True, 10)
        """
        sources = tuple(self._owner_of(each) for each in inputs)
        if not sources:
            raise CallRefused(
                "derive",
                seen=f"{signal.signal_id!r} derived from nothing",
                expected="at least one input",
                attempt="register a signal without inputs with register(…, external=True)",
            )
        first = compute(initial, *(source.value for source in sources))
        value = initial if isinstance(first, Unchanged) else first
        if isinstance(value, Unchanged):
            raise EmissionFailed(
                signal.signal_id, seen="it has no first value", attempt="give initial=, or compute one from the inputs"
            )
        owner = self.register(signal, value)
        derivation = Derivation(self._derivation_count, owner, sources, compute)  # type: ignore[arg-type]  # many types
        self._derivation_count += 1
        self._derivations[derivation.owner] = derivation
        for source in dict.fromkeys(sources):
            source.dependants.append(derivation)
        self._forget_plans(derivation)
        owner.is_ready = all(source.is_ready for source in sources)
        owner.never_waits = any(source.never_waits for source in sources)
        return owner

    @property
    def derivation_count(self) -> int:
        """How many signals were ever derived here; names the next one."""
        return self._derivation_count

    def unregister(self, owner: SignalOwner[T]) -> None:
        """Forget the signal and end its subscriptions, and what is derived from it; its id may be registered again.

        Forgetting twice is fine.
        """
        for dependant in tuple(owner.dependants):
            self.unregister(dependant.owner)
        derivation = self._derivations.pop(owner, None)  # type: ignore[arg-type]  # many types share one table
        if derivation is not None:
            for source in dict.fromkeys(derivation.inputs):
                source.dependants.remove(derivation)
            self._forget_plans(derivation)
        if self._owners.get(owner.signal.signal_id) is owner:
            del self._owners[owner.signal.signal_id]
        self._end_all(tuple(owner.subscribers))

    def is_registered(self, signal: Signal[T]) -> bool:
        """Whether the id of `signal` is known here."""
        check_key(signal)
        return signal.signal_id in self._owners

    def read(self, signal: Signal[T]) -> T:
        """The current value. Raises `SignalNotFound`, or `TypeMismatch` for a key of another state type."""
        return self._owner_of(signal).value

    def snapshot(self, signal: Signal[T]) -> Snapshot[T]:
        """The current value with its version, its batch and whether history is fully in it. Raises as `read`."""
        return self._owner_of(signal).snapshot

    def emit(self, signal: Signal[T], value: T) -> bool:
        """Set an external signal; False, and nothing else happens, when `value` equals what it holds.

        Raises `SignalNotFound`, `TypeMismatch`, and `EmissionFailed` when a view owns the signal or the hub is closed.
        """
        owner = self._owner_of(signal)
        if not owner.is_external:
            raise EmissionFailed(
                signal.signal_id, seen="a view owns it", attempt="commit a fact instead, or register it as external"
            )
        if self._is_closed:
            raise EmissionFailed(signal.signal_id, seen="the hub is closed", attempt="open the engine again first")
        if self._blocker_count and self._would_overrun(owner):
            raise EmissionFailed(
                signal.signal_id, seen="a subscriber with policy 'block' has not read", attempt="let it read, or wait"
            )
        check_state(signal, value)
        if is_same(owner.value, value):
            return False
        self.emit_all(owner.batch_id, [(owner, value)])
        return True

    def report_error(self, error: AppError) -> None:
        """Put a trouble into `ERROR_SIGNAL`; nothing happens after `close`."""
        if not self._is_closed:
            self.emit(ERROR_SIGNAL, error)

    def emit_all(self, batch_id: int, changes: Sequence[tuple[SignalOwner[T], T]]) -> None:
        """Set the signals of one batch: all are set before the first subscriber is called, so no one sees a mixture.

        Values are taken as changed and checked; the caller has compared them. Nothing happens after `close`.
        """
        if self._is_closed:
            return
        deliveries = self._deliveries
        for owner, value in changes:
            owner.value = value
            owner.version = version = owner.version + 1
            owner.batch_id = batch_id
            if owner.subscribers:
                # Building a named tuple through its class costs twice as much.
                update = tuple.__new__(Update, (value, version, 0, owner.is_ready))
                deliveries.append((owner, update))  # type: ignore[arg-type]  # many types share one queue
        if self._derivations:
            self._propagate(batch_id, [owner for owner, _ in changes])
        self._dispatch()

    def mark_unready(self, owner: SignalOwner[T]) -> None:
        """Say that history is still being replayed into this signal; `emit_ready` ends that."""
        owner.is_ready = False
        for derivation in self._plan_of(owner):
            derivation.owner.is_ready = False

    def emit_ready(self, batch_id: int, values: Sequence[tuple[SignalOwner[T], T]]) -> None:
        """End a replay: every one of these signals becomes ready and is emitted once, together."""
        for owner, _ in values:
            owner.is_ready = True
        self.emit_all(batch_id, values)

    def subscribe(
        self,
        signal: Signal[T],
        *,
        policy: str = "buffer",
        capacity: int = CAPACITY,
        replay_current: bool = True,
    ) -> Subscription[T]:
        """Listen to `signal`, from its current value on, or with `replay_current=False` from the next one on.

        `policy` is `"buffer"` (of `capacity`, or `"buffer(16)"`), `"latest"` or `"block"`; see `DeliveryMode`. No
        emission is missed or repeated between the current value and the first update. Raises `SignalNotFound` and
        `TypeMismatch` at the call, `HandlerUnavailable` after `close`, `PolicyRefused` for an unknown policy, or for
        `"block"` on the error signal, which must never make anyone wait.
        """
        owner = self._owner_of(signal)
        if self._is_closed:
            raise HandlerUnavailable(f"subscribe to {signal.signal_id!r}")
        how = Policy.parse(policy, capacity=capacity)
        is_blocking = how.mode == "block"
        if is_blocking and owner.never_waits:
            raise PolicyRefused(
                seen=f"policy={policy!r} on {signal.signal_id!r}",
                expected="'buffer' or 'latest' there",
                attempt="nobody may be kept waiting for who reads it",
            )
        subscription = Subscription[T](
            signal.signal_id,
            policy=how,
            version=owner.version - 1 if replay_current else owner.version,
            detach=partial(self._detach, owner),
            on_lag=self._report_lag,
            on_failure=self._report_failure,
            on_room=self._note_room if is_blocking else None,
        )
        owner.subscribers[subscription] = None
        owner.listeners = None
        if is_blocking:
            owner.blockers[subscription] = None
            self._blocker_count += 1
        if replay_current:
            subscription.offer(owner.update)
        return subscription

    @property
    def is_blocked(self) -> bool:
        """Whether a subscriber with policy `"block"` has no room: nothing should be emitted until it has read."""
        return bool(self._full)

    def on_room(self, callback: Callable[[], object] | None) -> None:
        """Call `callback` whenever the last blocking subscriber has room again; None stops that. One at a time."""
        self._on_room = callback

    def as_observable(self, signal: Signal[T]) -> Observable[T]:
        """The signal as an Rx observable of its values: the current one first, completed by `close`.

        Every Rx subscriber gets a subscription of its own, so one that raises never stops another; disposing it
        unsubscribes. Raises as `read`, at the call.
        """
        from reactivex import Observable  # here: importing Rx costs 50 ms that an engine without it need not pay
        from reactivex.disposable import Disposable

        self._owner_of(signal)

        def subscribe(observer: ObserverBase[T], scheduler: SchedulerBase | None = None) -> DisposableBase:
            subscription = self.subscribe(signal)
            subscription.for_each(lambda update: observer.on_next(update.value), on_end=observer.on_completed)
            return Disposable(subscription.close)

        return Observable(subscribe)

    def close(self) -> None:
        """End every subscription; what they hold can still be read, and so can the signals. Closing twice is fine.

        Called by a subscriber, it happens when everybody was given what was emitted before.
        """
        self._is_closed = True
        if not self._is_delivering:
            self._end_everyone()

    def _end_everyone(self) -> None:
        self._end_all([subscriber for owner in self._owners.values() for subscriber in tuple(owner.subscribers)])

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called, so that nothing can be emitted any more."""
        return self._is_closed

    def statistics(self) -> tuple[SignalStatistics, ...]:
        """One frozen record for each signal, in order of registration."""
        return tuple(
            SignalStatistics(
                signal_id=signal_id,
                version=owner.version,
                is_ready=owner.is_ready,
                subscriber_count=len(owner.subscribers),
                lagged_count=owner.lagged_count + sum(each.lagged_count for each in owner.subscribers),
                run_count=self._derivations[owner].run_count if owner in self._derivations else 0,
            )
            for signal_id, owner in self._owners.items()
        )

    def _owner_of(self, signal: Signal[T]) -> SignalOwner[T]:
        check_key(signal)
        owner = self._owners.get(signal.signal_id)
        if owner is None:
            raise SignalNotFound(signal.signal_id, known=self._owners)
        if owner.signal is not signal and owner.signal != signal:
            raise TypeMismatch(
                signal.signal_id, seen=f"a key of type {signal.type_name}", expected=owner.signal.type_name
            )
        return owner  # type: ignore[return-value]  # the comparison above is what makes the type true

    def _propagate(self, batch_id: int, changed: Sequence[SignalOwner[T]]) -> None:
        """Compute what is derived from *changed*, each once, after all its inputs; runs before anyone is told."""
        self._wave += 1
        wave = self._wave
        for owner in changed:
            for dependant in owner.dependants:
                dependant.wave = wave
        for derivation in self._plan_of(*changed):
            if derivation.wave != wave:
                continue
            target = derivation.owner
            value = self._compute(derivation, target.value)
            is_ready = target.is_ready or all(source.is_ready for source in derivation.inputs)
            if isinstance(value, Unchanged) or is_same(target.value, value):
                if is_ready == target.is_ready:
                    continue
                value = target.value
            target.value, target.is_ready, target.batch_id = value, is_ready, batch_id
            target.version += 1
            if target.subscribers:
                self._deliveries.append((target, target.update))
            for dependant in target.dependants:
                dependant.wave = wave

    def _compute(self, derivation: Derivation, before: object) -> object | Unchanged:
        """The new value; `UNCHANGED` when it raised, which is told when everybody was served."""
        derivation.run_count += 1
        try:
            value = derivation.compute(before, *[source.value for source in derivation.inputs])
            if value is not UNCHANGED:
                check_state(derivation.owner.signal, value)
        except BaseException as raised:  # the user's function ends here: the signal keeps its value, the others go on
            failure = failure_of(raised)
            signal_id = derivation.owner.signal.signal_id
            text = f"{signal_id} raised {type(failure).__name__}: {failure}; it keeps its previous value"
            self._reports.append(partial(self.report_error, AppError("derived-failed", text)))
            return UNCHANGED
        return value

    def _plan_of(self, *changed: SignalOwner[T]) -> Sequence[Derivation]:
        """All that is derived from these signals, inputs first."""
        plans = [self._plan_of_one(owner) for owner in changed if owner.dependants]
        if len(plans) <= 1:
            return plans[0] if plans else ()
        return sorted({derivation for plan in plans for derivation in plan}, key=_NUMBER_OF)

    def _plan_of_one(self, owner: SignalOwner[T]) -> tuple[Derivation, ...]:
        if owner.plan is None:
            found: dict[Derivation, None] = {}
            pending = list(owner.dependants)
            while pending:
                derivation = pending.pop()
                if derivation not in found:
                    found[derivation] = None
                    pending.extend(derivation.owner.dependants)
            owner.plan = tuple(sorted(found, key=_NUMBER_OF))
        return owner.plan

    def _forget_plans(self, derivation: Derivation) -> None:
        """Whatever this is derived from, near or far, has another plan now."""
        pending = list(derivation.inputs)
        while pending:
            owner = pending.pop()
            owner.plan = None
            above = self._derivations.get(owner)
            if above is not None:
                pending.extend(above.inputs)

    def _would_overrun(self, owner: SignalOwner[Any]) -> bool:
        """Whether somebody who must lose nothing has no room for what an emission here would bring."""
        owners = (owner, *[derivation.owner for derivation in self._plan_of(owner)])
        return any(blocker.would_lose(each.version) for each in owners for blocker in each.blockers)

    def _note_room(self, subscription: Subscription[Any]) -> None:
        """A blocking subscriber was filled, has room again, or has ended."""
        if subscription.is_full and not subscription.is_closed:
            self._full[subscription] = None
        elif self._full.pop(subscription, self) is None and not self._full and self._on_room is not None:
            self._on_room()

    def _dispatch(self) -> None:
        """Deliver in order of emission; what a subscriber emits meanwhile is stored at once and delivered after."""
        if self._is_delivering:
            return
        self._is_delivering = True
        deliveries = self._deliveries
        try:
            while deliveries:
                owner, update = deliveries.popleft()
                listeners = owner.listeners
                if listeners is None:
                    listeners = owner.listeners = tuple(owner.subscribers)
                for listener in listeners:
                    listener.offer(update)
        finally:
            self._is_delivering = False
        if self._is_closed:
            self._end_everyone()
        if self._reports:
            self._send_reports()

    def _end_all(self, subscribers: Iterable[Subscription[T]]) -> None:
        for subscriber in subscribers:
            subscriber.end()
        self._send_reports()

    def _detach(self, owner: SignalOwner[T], subscription: Subscription[T]) -> None:
        if subscription in owner.subscribers:
            del owner.subscribers[subscription]
            owner.listeners = None
            if owner.blockers.pop(subscription, self) is None:
                self._blocker_count -= 1
            owner.lagged_count += subscription.lagged_count

    def _report_lag(self, warning: LagWarning) -> None:
        if self._on_lag is not None:
            self._reports.append(partial(self._on_lag, warning))

    def _report_failure(self, signal_id: str, failure: Exception) -> None:
        self._reports.append(partial(self._on_failure or self._emit_failure, signal_id, failure))
        if not self._is_delivering:  # it raised while it subscribed, not during an emission
            self._send_reports()

    def _send_reports(self) -> None:
        """Tell the owner only when every subscriber has been served: what the owner does cannot harm them."""
        while self._reports and not self._is_delivering:
            self._reports.popleft()()

    def _emit_failure(self, signal_id: str, failure: Exception) -> None:
        text = f"a subscriber of {signal_id} raised {type(failure).__name__}: {failure}; it was detached"
        self.report_error(AppError("subscriber-failed", text))


def check_key(signal: object) -> None:
    """Raise `TypeMismatch` for what is no signal, such as the id of one."""
    if not isinstance(signal, Signal):
        raise TypeMismatch(str(signal), seen=f"a {type(signal).__name__} as its key", expected="a Signal")


def check_state(signal: Signal[T], value: object) -> None:
    """Raise `TypeMismatch` when `value` cannot be a state of `signal`."""
    types = signal.runtime_types
    if types and not isinstance(value, types):
        raise TypeMismatch(signal.signal_id, seen=f"a {type(value).__name__}", expected=signal.type_name)


def is_same(before: object, after: object) -> bool:
    """Whether a screen would show the same; a comparison that fails or has no plain answer counts as a change."""
    if before is after:
        return True
    try:
        return bool(before == after)
    except Exception:  # the user's own __eq__ (an array, say): emitting once too often is the harmless side
        return False

"""What goes wrong around a signal stays where it went wrong: callbacks that raise, re-enter, leave or never read."""

from asyncio import CancelledError
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from reactivex import operators

from antiphon.reactive import (
    ERROR_SIGNAL,
    SYNC_STATUS_SIGNAL,
    Batch,
    DeltaLog,
    EmissionFailed,
    LagWarning,
    LiveSignal,
    Mirror,
    PolicyRefused,
    ReactiveScheduler,
    Signal,
    SignalHub,
    Subscription,
    SyncStatus,
    Update,
)
from antiphon.testing.clock import VirtualClock

COUNT = Signal("app:count", int)
TWICE = Signal("app:twice", int)


@dataclass(frozen=True)
class Said:
    fact_id: str
    kind: str = "said"


class Heard:
    """A view of how many facts there were."""

    kinds = frozenset({"said"})
    depends_on = ()
    view_id = "signals:heard"
    signal = COUNT

    def __init__(self) -> None:
        self.count = 0

    def update(self, batch: Batch[Said]) -> int:
        self.count += len(batch.facts)
        return self.count


def build_hub(**options: Callable[..., None]) -> SignalHub:
    hub = SignalHub(**options)  # type: ignore[arg-type]  # its own options
    hub.register(COUNT, 0, external=True)
    return hub


def build_scheduler(hub: SignalHub) -> ReactiveScheduler[Said]:
    clock = VirtualClock()
    scheduler = ReactiveScheduler[Said](
        hub, clock.scheduler, clock, kind_of=lambda fact: fact.kind, id_of=lambda fact: fact.fact_id
    )
    scheduler.register_view(Heard(), 0)
    return scheduler


def refuse(*_: object) -> None:
    raise RuntimeError("the owner's own trouble")


def test_a_reporter_that_raises_leaves_no_commit_waiting() -> None:
    hub = SignalHub(on_lag=refuse)
    scheduler = build_scheduler(hub)
    hub.subscribe(COUNT, capacity=1)
    news: list[object] = []
    scheduler.updates().subscribe(news.append)
    commit = scheduler.commit_of(["a"])
    with pytest.raises(RuntimeError, match="own trouble"):
        scheduler.deliver([Said("a")])
    assert commit.is_processed, "the signals hold the fact, whatever the owner thinks of a slow reader"
    assert len(news) == 2
    later = scheduler.commit_of(["b"])
    scheduler.deliver([Said("b")])
    assert (later.is_processed, hub.read(COUNT)) == (True, 2)


def test_a_callback_of_a_commit_that_raises_keeps_no_other_commit_waiting() -> None:
    hub = SignalHub()
    scheduler = build_scheduler(hub)
    first, second, third = scheduler.commit_of(["a"]), scheduler.commit_of(["a"]), scheduler.commit_of(["b"])
    told: list[str] = []
    first.on_settled(refuse)
    first.on_settled(lambda: told.append("first"))
    second.on_settled(lambda: told.append("second"))
    third.on_settled(lambda: told.append("third"))
    with pytest.raises(RuntimeError, match="own trouble"):
        scheduler.deliver([Said("a"), Said("b")])
    assert told == ["first", "second", "third"]
    scheduler.deliver([Said("c")])
    assert hub.read(COUNT) == 3


def test_who_waits_for_room_and_raises_keeps_no_one_else_waiting() -> None:
    scheduler = build_scheduler(SignalHub())
    woken: list[str] = []
    scheduler.pause()
    scheduler.try_publish([Said("a")])
    scheduler.when_room(refuse)
    scheduler.when_room(lambda: woken.append("second"))
    with pytest.raises(RuntimeError, match="own trouble"):
        scheduler.resume()
    assert woken == ["second"]
    scheduler.flush()
    assert scheduler.statistics().fact_count == 1


def test_a_blocking_reader_of_a_derived_signal_loses_nothing_to_an_external_emit() -> None:
    hub = build_hub()
    hub.derive(TWICE, [COUNT], lambda before, count: 2 * count)
    reader = hub.subscribe(TWICE, policy="block(1)")
    with pytest.raises(EmissionFailed, match="block"):
        hub.emit(COUNT, 1)
    assert reader.try_recv() == Update(0, 0, 0, True)
    assert hub.emit(COUNT, 1)
    assert (reader.try_recv(), reader.lagged_count) == (Update(2, 1, 0, True), 0)


def test_what_a_callback_emits_is_refused_when_it_would_overrun_a_blocking_reader() -> None:
    hub = build_hub()
    outcomes: list[object] = []

    def emit_more(update: Update[int]) -> None:
        if update.value == 1:
            for value in (2, 3):
                try:
                    outcomes.append(hub.emit(COUNT, value))
                except EmissionFailed:
                    outcomes.append("refused")

    hub.subscribe(COUNT, replay_current=False).for_each(emit_more)
    reader = hub.subscribe(COUNT, policy="block(1)", replay_current=False)
    hub.emit(COUNT, 1)
    got = list(drain(reader))
    assert reader.lagged_count == 0, "block loses none"
    assert [update.value for update in got] == [1]
    assert outcomes == ["refused", "refused"]


def drain(reader: Subscription[int]) -> Iterator[Update[int]]:
    while (update := reader.try_recv()) is not None:
        yield update


def test_the_sync_status_makes_nobody_wait() -> None:
    hub = SignalHub()
    hub.register(SYNC_STATUS_SIGNAL, SyncStatus(), external=True, never_waits=True)
    troubles = LiveSignal(hub, ERROR_SIGNAL).map(str)
    with pytest.raises(PolicyRefused):
        troubles.subscribe(policy="block")
    for signal in (SYNC_STATUS_SIGNAL, ERROR_SIGNAL):
        with pytest.raises(PolicyRefused, match=signal.signal_id):
            hub.subscribe(signal, policy="block")  # type: ignore[misc]  # of two types, one after the other


def test_who_leaves_inside_a_callback_hears_nothing_more_and_who_comes_hears_the_newest_once() -> None:
    hub = build_hub()
    log: list[tuple[str, int]] = []
    late: list[Subscription[int]] = []

    def first(update: Update[int]) -> None:
        log.append(("first", update.value))
        if update.value == 1:
            second.close()
            newcomer = hub.subscribe(COUNT)
            newcomer.for_each(lambda each: log.append(("late", each.value)))
            late.append(newcomer)

    hub.subscribe(COUNT, replay_current=False).for_each(first)
    second = hub.subscribe(COUNT, replay_current=False)
    second.for_each(lambda update: log.append(("second", update.value)))
    hub.emit(COUNT, 1)
    hub.emit(COUNT, 2)
    assert log == [("first", 1), ("late", 1), ("first", 2), ("late", 2)]
    assert len(late) == 1


def test_a_callback_that_emits_on_its_first_value_is_served_in_order() -> None:
    hub = build_hub()
    heard: list[int] = []

    def step(update: Update[int]) -> None:
        heard.append(update.value)
        if update.value < 3:
            hub.emit(COUNT, update.value + 1)

    hub.subscribe(COUNT).for_each(step)
    hub.emit(COUNT, 9)
    assert heard == [0, 1, 2, 3, 9]


def test_a_closed_subscription_is_not_called_by_a_callback_that_it_was_given_before() -> None:
    hub = build_hub()
    heard: list[int] = []
    subscription = hub.subscribe(COUNT, replay_current=False)

    def once(update: Update[int]) -> None:
        heard.append(update.value)
        subscription.close()
        hub.emit(COUNT, update.value + 1)

    subscription.for_each(once)
    hub.emit(COUNT, 1)
    hub.emit(COUNT, 5)
    assert heard == [1]


def test_take_one_leaves_no_subscriber_behind() -> None:
    hub = build_hub()
    heard: list[int] = []
    hub.as_observable(COUNT).pipe(operators.take(1)).subscribe(heard.append)
    hub.emit(COUNT, 1)
    assert heard == [0]
    (count,) = [each for each in hub.statistics() if each.signal_id == COUNT.signal_id]
    assert count.subscriber_count == 0


def test_a_derived_signal_that_is_closed_by_its_own_reader_ends_and_harms_nobody() -> None:
    hub = build_hub()
    doubled = LiveSignal(hub, COUNT).map(lambda count: 2 * count)
    heard: list[int] = []
    doubled.for_each(lambda update: doubled.close() if update.value else None)
    LiveSignal(hub, COUNT).for_each(lambda update: heard.append(update.value))
    hub.emit(COUNT, 1)
    hub.emit(COUNT, 2)
    assert heard == [0, 1, 2]
    assert not hub.is_registered(doubled.key)


def test_a_log_of_deltas_survives_a_value_that_makes_no_patch() -> None:
    # A number of more than 64 bits has no canonical form, so the items of a list cannot be told apart by it.
    hub, names = SignalHub(), Signal("app:names", tuple)
    hub.register(names, (1,), external=True)
    errors: list[object] = []
    hub.subscribe(ERROR_SIGNAL, replay_current=False).for_each(lambda update: errors.append(update.value))
    with DeltaLog(hub, names) as log:
        mirror = Mirror()
        mirror.take_all(log.since(None))
        hub.emit(names, (1, 2**70))
        mirror.take_all(log.since(mirror.seq))
        assert (mirror.document, mirror.seq) == ([1, 2**70], 1)
        hub.emit(names, (1, 2))
        mirror.take_all(log.since(mirror.seq))
        assert (mirror.document, mirror.seq) == ([1, 2], 2)
        hub.emit(names, (1, 2, 3))
        (delta,) = log.since(mirror.seq)
        assert delta.base == 2, "patches again, once there is something to patch"
    assert errors == []


def test_a_warning_of_lag_comes_once_however_many_callbacks_emit() -> None:
    warnings: list[LagWarning] = []
    hub = build_hub(on_lag=warnings.append)
    hub.subscribe(COUNT, capacity=2)
    hub.subscribe(COUNT, replay_current=False).for_each(
        lambda update: hub.emit(COUNT, update.value + 1) if update.value % 5 else None
    )
    hub.emit(COUNT, 1)
    hub.emit(COUNT, 6)
    assert len(warnings) == 1
    assert hub.read(COUNT) == 10


def test_a_hub_that_is_closed_by_a_subscriber_still_gives_everyone_the_newest() -> None:
    hub = build_hub()
    hub.derive(TWICE, [COUNT], lambda before, count: 2 * count)
    log: list[str] = []
    hub.subscribe(COUNT, replay_current=False).for_each(lambda update: hub.close(), on_end=lambda: log.append("end"))
    behind, below = hub.subscribe(COUNT, replay_current=False), hub.subscribe(TWICE, replay_current=False)
    hub.emit(COUNT, 1)
    assert (behind.try_recv(), below.try_recv()) == (Update(1, 1, 0, True), Update(2, 1, 0, True))
    assert (behind.is_closed, below.is_closed, log) == (True, True, ["end"])
    with pytest.raises(EmissionFailed, match="closed"):
        hub.emit(COUNT, 2)


class Cancelling(Heard):
    """A view that asks a task that was cancelled."""

    view_id = "signals:cancelling"
    signal = Signal("app:cancelling", int)

    def update(self, batch: Batch[Said]) -> int:
        raise CancelledError


def test_what_is_cancelled_inside_a_callback_a_view_or_a_function_cancels_nobody_else() -> None:
    # A task that was cancelled raises it from result(): no Exception, and no reason to stop a commit half-way.
    failures: list[str] = []
    hub = SignalHub(on_failure=lambda signal_id, failure: failures.append(f"{signal_id} {type(failure).__name__}"))
    scheduler = build_scheduler(hub)
    scheduler.register_view(Cancelling(), 0)
    hub.derive(TWICE, [COUNT], lambda before, count: cancel() if count else 0)
    heard: list[int] = []
    hub.subscribe(COUNT, replay_current=False).for_each(cancel)
    hub.subscribe(COUNT, replay_current=False).for_each(lambda update: heard.append(update.value))
    commit = scheduler.commit_of(["a"])
    scheduler.deliver([Said("a")])
    assert (heard, commit.is_processed, hub.read(TWICE)) == ([1], True, 0)
    assert failures == ["app:count CallbackCancelled"]
    assert scheduler.statistics().views[1].failure_count == 1
    trouble = hub.read(ERROR_SIGNAL)
    assert trouble is not None
    assert "CancelledError" in trouble.text


def test_what_ends_the_process_is_let_through() -> None:
    hub = build_hub()
    hub.subscribe(COUNT, replay_current=False).for_each(interrupt)
    with pytest.raises(KeyboardInterrupt):
        hub.emit(COUNT, 1)
    assert hub.read(COUNT) == 1


def cancel(*_: object) -> int:
    raise CancelledError


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt

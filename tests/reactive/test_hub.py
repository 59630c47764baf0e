"""The registry of signals: typed keys, one owner, subscribers that cannot harm each other."""

from typing import Protocol

import pytest
from reactivex import operators as ops

from antiphon.reactive import (
    ERROR_SIGNAL,
    AppError,
    CallRefused,
    EmissionFailed,
    HandlerUnavailable,
    Signal,
    SignalAlreadyRegistered,
    SignalHub,
    SignalNotFound,
    TypeMismatch,
    Update,
)

COUNT = Signal("app:count", int)
NAME = Signal("app:name", str)
LINES = Signal("app:lines", tuple[str, ...])


def build_hub() -> SignalHub:
    hub = SignalHub()
    hub.register(COUNT, 0, external=True)
    return hub


def test_a_registered_signal_is_read_and_emitted() -> None:
    hub = build_hub()
    assert hub.read(COUNT) == 0
    assert hub.emit(COUNT, 7) is True
    assert hub.read(COUNT) == 7
    assert hub.snapshot(COUNT).version == 1


def test_two_hubs_share_a_key_and_nothing_else() -> None:
    first, second = build_hub(), build_hub()
    first.emit(COUNT, 1)
    assert (first.read(COUNT), second.read(COUNT)) == (1, 0)


def test_registering_twice_is_refused_and_changes_nothing() -> None:
    hub = build_hub()
    hub.emit(COUNT, 3)
    with pytest.raises(SignalAlreadyRegistered, match="app:count"):
        hub.register(COUNT, 0)
    assert hub.read(COUNT) == 3


@pytest.mark.parametrize("operation", ["read", "emit", "subscribe", "as_observable"])
def test_an_unregistered_signal_is_refused_at_once_and_nothing_is_created(operation: str) -> None:
    hub = build_hub()
    arguments = (NAME, "x") if operation == "emit" else (NAME,)
    with pytest.raises(SignalNotFound, match=r"'app:name' is not registered; registered are: app:count, app:error"):
        getattr(hub, operation)(*arguments)
    assert [signal.signal_id for signal in hub.statistics()] == ["app:error", "app:count"]
    assert all(signal.subscriber_count == 0 for signal in hub.statistics())


def test_a_key_of_another_type_and_a_value_of_another_type_are_refused() -> None:
    hub = build_hub()
    with pytest.raises(TypeMismatch, match="expected int"):
        hub.read(Signal("app:count", str))
    with pytest.raises(TypeMismatch, match="got a str; expected int"):
        hub.emit(COUNT, "seven")  # type: ignore[misc]  # the mistake itself
    with pytest.raises(TypeMismatch):
        hub.register(NAME, 5)  # type: ignore[misc]  # the mistake itself
    with pytest.raises(TypeMismatch, match="got a list"):
        hub.register(LINES, [])  # type: ignore[misc]  # the mistake itself
    hub.register(LINES, ("a",))
    assert hub.read(COUNT) == 0
    assert not hub.is_registered(NAME)


def test_a_state_type_that_cannot_be_checked_at_run_time_accepts_any_value() -> None:
    class Named(Protocol):
        name: str

    hub = SignalHub()
    hub.register(Signal("app:named", Named), 1)  # type: ignore[type-abstract,misc]  # only a type checker could tell
    hub.register(Signal("app:maybe", Named | None), 1)  # type: ignore[misc]  # as above
    hub.register(Signal("app:any", object), 1)
    assert len(hub.statistics()) == 4


def test_a_subscriber_whose_end_raises_keeps_no_other_from_ending() -> None:
    failures: list[str] = []
    hub = SignalHub(on_failure=lambda signal_id, failure: failures.append(str(failure)))
    hub.register(COUNT, 0, external=True)
    ended: list[str] = []

    def fail() -> None:
        raise RuntimeError("a broken goodbye")

    hub.subscribe(COUNT).for_each(lambda update: None, on_end=fail)
    hub.subscribe(COUNT).for_each(lambda update: None, on_end=lambda: ended.append("second"))
    hub.close()
    assert (failures, ended) == (["a broken goodbye"], ["second"])


def test_an_empty_signal_id_is_refused() -> None:
    with pytest.raises(CallRefused, match="got signal_id=''"):
        Signal("", int)


def test_an_equal_value_is_not_emitted() -> None:
    hub = build_hub()
    subscription = hub.subscribe(COUNT, replay_current=False)
    hub.emit(COUNT, 1)
    assert hub.emit(COUNT, 1) is False
    assert hub.snapshot(COUNT).version == 1
    assert subscription.pending_count == 1


def test_a_value_whose_comparison_fails_counts_as_a_change() -> None:
    class Incomparable:
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]  # as an array

    signal = Signal("app:array", Incomparable)
    hub = build_hub()
    hub.register(signal, Incomparable(), external=True)
    assert hub.emit(signal, Incomparable()) is True


def test_outsiders_may_not_emit_into_an_owned_signal_but_its_owner_may() -> None:
    hub = SignalHub()
    owner = hub.register(COUNT, 0)
    with pytest.raises(EmissionFailed, match="a view owns it; commit a fact instead"):
        hub.emit(COUNT, 1)
    assert hub.read(COUNT) == 0
    hub.emit_all(9, [(owner, 1)])
    assert (hub.snapshot(COUNT).value, hub.snapshot(COUNT).batch_id) == (1, 9)


def test_all_signals_of_a_batch_are_set_before_anyone_is_called() -> None:
    hub = SignalHub()
    count, name = hub.register(COUNT, 0), hub.register(NAME, "0")
    seen: list[tuple[int, str]] = []
    for signal in (COUNT, NAME):
        hub.subscribe(signal, replay_current=False).for_each(lambda _: seen.append((hub.read(COUNT), hub.read(NAME))))
    hub.emit_all(1, [(count, 1), (name, "1")])  # type: ignore[list-item]  # owners of two types in one batch
    assert seen == [(1, "1"), (1, "1")]


def test_a_subscriber_starts_with_the_current_value_and_misses_or_repeats_nothing() -> None:
    hub = build_hub()
    hub.emit(COUNT, 1)
    subscription = hub.subscribe(COUNT)
    hub.emit(COUNT, 2)
    assert [subscription.try_recv(), subscription.try_recv()] == [Update(1, 1, 0, True), Update(2, 2, 0, True)]
    assert subscription.try_recv() is None


@pytest.mark.parametrize("replay_current", [True, False])
def test_subscribing_in_the_middle_of_an_emission_misses_and_repeats_nothing(replay_current: bool) -> None:
    hub = build_hub()
    late: list[int] = []

    def join(update: Update[int]) -> None:
        if update.value == 1:
            hub.emit(COUNT, 2)  # stored, and delivered after value 1 has reached everyone
            hub.subscribe(COUNT, replay_current=replay_current).for_each(lambda each: late.append(each.value))

    hub.subscribe(COUNT).for_each(join)
    hub.emit(COUNT, 1)
    hub.emit(COUNT, 3)
    assert late == ([2, 3] if replay_current else [3])


def test_a_subscriber_that_emits_does_not_disturb_the_order_for_the_others() -> None:
    hub = build_hub()
    seen: list[int] = []
    hub.subscribe(COUNT).for_each(lambda update: hub.emit(COUNT, update.value + 1) if update.value < 5 else None)
    hub.subscribe(COUNT).for_each(lambda update: seen.append(update.seq))
    hub.emit(COUNT, 9)
    hub.emit(COUNT, 3)
    assert seen == sorted(set(seen))
    assert hub.read(COUNT) == 5
    assert seen[-1] == hub.snapshot(COUNT).version


def test_a_raising_subscriber_is_detached_reported_and_touches_no_other() -> None:
    failures: list[tuple[str, str]] = []
    hub = SignalHub(on_failure=lambda signal_id, failure: failures.append((signal_id, str(failure))))
    hub.register(COUNT, 0, external=True)
    before: list[int] = []
    after: list[int] = []

    def fail(update: Update[int]) -> None:
        if update.value == 2:
            raise RuntimeError("a broken screen")

    hub.subscribe(COUNT).for_each(lambda update: before.append(update.value))
    raising = hub.subscribe(COUNT)
    raising.for_each(fail)
    slow = hub.subscribe(COUNT, capacity=1)
    cancelled = hub.subscribe(COUNT)
    hub.subscribe(COUNT).for_each(lambda update: after.append(update.value))
    for value in range(1, 5):
        hub.emit(COUNT, value)
        cancelled.close()
    assert before == after == [0, 1, 2, 3, 4]
    assert failures == [("app:count", "a broken screen")]
    assert raising.is_closed
    assert slow.try_recv() == Update(4, 4, 4, True)


def test_without_a_reporter_a_raising_subscriber_shows_as_the_error_signal() -> None:
    hub = build_hub()

    def fail(update: Update[int]) -> None:
        raise RuntimeError("a broken screen")

    hub.subscribe(COUNT).for_each(fail)
    error = hub.read(ERROR_SIGNAL)
    assert error is not None
    assert error.code == "subscriber-failed"
    assert "app:count raised RuntimeError: a broken screen" in error.text


def test_a_raising_reporter_harms_no_subscriber() -> None:
    def report(signal_id: str, failure: Exception) -> None:
        raise LookupError("a broken reporter")

    hub = SignalHub(on_failure=report)
    hub.register(COUNT, 0, external=True)
    seen: list[int] = []
    hub.subscribe(COUNT, replay_current=False).for_each(lambda update: 1 // 0)
    hub.subscribe(COUNT, replay_current=False).for_each(lambda update: seen.append(update.value))
    with pytest.raises(LookupError, match="a broken reporter"):
        hub.emit(COUNT, 1)
    hub.emit(COUNT, 2)
    assert seen == [1, 2]


def test_the_error_signal_is_there_from_the_start_and_open_to_all() -> None:
    hub = SignalHub()
    assert hub.read(ERROR_SIGNAL) is None
    error = AppError("bad_fact", "chat.message_sent at seq 4 is not JSON", type_id="chat.message_sent", fact_id="f4")
    hub.report_error(error)
    assert hub.read(ERROR_SIGNAL) == error
    hub.emit(ERROR_SIGNAL, None)
    assert hub.read(ERROR_SIGNAL) is None


def test_after_close_subscriptions_end_and_only_reading_is_left() -> None:
    hub = build_hub()
    subscription = hub.subscribe(COUNT)
    hub.close()
    assert subscription.is_closed
    assert hub.read(COUNT) == 0
    with pytest.raises(HandlerUnavailable, match="subscribe"):
        hub.subscribe(COUNT)
    with pytest.raises(HandlerUnavailable, match="register"):
        hub.register(NAME, "")
    with pytest.raises(EmissionFailed, match="closed"):
        hub.emit(COUNT, 1)
    hub.report_error(AppError("late", "nobody is there any more"))
    assert hub.read(ERROR_SIGNAL) is None


def test_an_unregistered_signal_ends_its_subscriptions_and_frees_its_id() -> None:
    hub = SignalHub()
    owner = hub.register(COUNT, 1)
    subscription = hub.subscribe(COUNT)
    hub.unregister(owner)
    hub.unregister(owner)
    assert subscription.is_closed
    hub.register(COUNT, 2)
    assert hub.read(COUNT) == 2


def test_standard_rx_operators_compose_on_a_signal() -> None:
    hub = build_hub()
    seen: list[str] = []
    completed: list[bool] = []
    hub.emit(COUNT, 1)
    hub.as_observable(COUNT).pipe(
        ops.filter(lambda value: value != 3), ops.map(lambda value: value // 2), ops.distinct_until_changed()
    ).subscribe(lambda value: seen.append(f"{value}"), on_completed=lambda: completed.append(True))
    for value in (2, 3, 4, 5):
        hub.emit(COUNT, value)
    assert (seen, completed) == (["0", "1", "2"], [])
    hub.close()
    assert completed == [True]


def test_disposing_an_rx_subscription_unsubscribes() -> None:
    hub = build_hub()
    seen: list[int] = []
    disposable = hub.as_observable(COUNT).subscribe(seen.append)
    hub.as_observable(COUNT).pipe(ops.take(1)).subscribe(seen.append)
    assert hub.statistics()[1].subscriber_count == 1
    disposable.dispose()
    hub.emit(COUNT, 1)
    assert seen == [0, 0]
    assert hub.statistics()[1].subscriber_count == 0


def test_a_raising_rx_observer_stops_no_other() -> None:
    hub = build_hub()
    seen: list[int] = []
    hub.as_observable(COUNT).subscribe(lambda value: 1 // (1 - value))
    hub.as_observable(COUNT).subscribe(seen.append)
    for value in (1, 2):
        hub.emit(COUNT, value)
    assert seen == [0, 1, 2]
    error = hub.read(ERROR_SIGNAL)
    assert error is not None
    assert "ZeroDivisionError" in error.text


def test_statistics_count_versions_subscribers_and_lag_also_of_those_who_left() -> None:
    hub = build_hub()
    subscription = hub.subscribe(COUNT, capacity=1)
    hub.emit(COUNT, 1)
    hub.emit(COUNT, 2)
    assert (hub.statistics()[1].version, hub.statistics()[1].lagged_count) == (2, 2)
    subscription.close()
    assert (hub.statistics()[1].subscriber_count, hub.statistics()[1].lagged_count) == (0, 2)

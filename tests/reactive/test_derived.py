"""Derived signals: once a batch, inputs first, never a mixture, and an equal result stops there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators

from antiphon.reactive import (
    ERROR_SIGNAL,
    UNCHANGED,
    CallRefused,
    EmissionFailed,
    LiveSignal,
    Signal,
    SignalAlreadyRegistered,
    SignalHub,
    SignalNotFound,
    Update,
)

NUMBER = Signal("app:number", int)
OTHER = Signal("app:other", int)


def build(number: int = 1) -> tuple[SignalHub, LiveSignal[int]]:
    hub = SignalHub()
    hub.register(NUMBER, number, external=True)
    hub.register(OTHER, 100, external=True)
    return hub, LiveSignal(hub, NUMBER)


def collect(signal: LiveSignal[int]) -> list[int]:
    seen: list[int] = []
    signal.for_each(lambda update: seen.append(update.value))
    return seen


def test_a_mapped_signal_follows_and_an_equal_result_is_no_news() -> None:
    hub, number = build()
    half = number.map(lambda value: value // 2)
    seen = collect(half)
    for value in (2, 3, 4, 5, 6):
        hub.emit(NUMBER, value)
    assert seen == [0, 1, 2, 3]


def test_a_filtered_signal_keeps_the_last_value_that_passed() -> None:
    hub, number = build()
    even = number.filter(lambda value: value % 2 == 0, initial=0)
    seen = collect(even)
    for value in (3, 4, 5, 8, 9):
        hub.emit(NUMBER, value)
    assert (seen, even.value) == ([0, 4, 8], 8)


def test_a_distinct_signal_gives_the_first_of_each_run() -> None:
    hub, number = build()
    seen = collect(number.distinct(lambda value: value // 10))
    for value in (2, 3, 11, 12, 25, 1):
        hub.emit(NUMBER, value)
    assert seen == [1, 11, 25, 1]


def test_a_combined_signal_is_computed_once_for_a_batch_that_changes_both_inputs() -> None:
    hub = SignalHub()
    owners = [hub.register(signal, 0) for signal in (NUMBER, OTHER)]
    runs: list[tuple[int, int]] = []

    def add(mine: int, theirs: int) -> int:
        runs.append((mine, theirs))
        return mine + theirs

    total = LiveSignal(hub, NUMBER).combine(LiveSignal(hub, OTHER), add)
    seen = collect(total)
    hub.emit_all(1, [(owners[0], 1), (owners[1], 1)])
    hub.emit_all(2, [(owners[0], 5)])
    assert runs == [(0, 0), (1, 1), (5, 1)]
    assert seen == [0, 2, 6]


def test_a_diamond_is_computed_once_and_nobody_sees_half_of_it() -> None:
    hub, number = build()
    left, right = number.map(lambda value: value + 1), number.map(lambda value: value * 2)
    runs: list[int] = []

    def subtract(mine: int, theirs: int) -> int:
        runs.append(number.value)
        return mine - theirs

    bottom = left.combine(right, subtract)
    mixtures: list[tuple[int, int, int, int]] = []
    for signal in (number, left, right, bottom):
        signal.for_each(lambda _: mixtures.append((number.value, left.value, right.value, bottom.value)))
    for value in (2, 3, 7):
        hub.emit(NUMBER, value)
    assert runs == [1, 2, 3, 7]
    assert all(seen == (seen[0], seen[0] + 1, seen[0] * 2, 1 - seen[0]) for seen in mixtures)


def test_what_is_below_an_equal_result_is_not_computed() -> None:
    hub, number = build()
    runs: list[int] = []
    number.map(lambda value: value // 10).map(runs.append)
    for value in (2, 3, 10, 11):
        hub.emit(NUMBER, value)
    assert runs == [0, 1]


def test_a_raising_function_keeps_its_value_and_sets_the_error_signal_after_everyone_was_served() -> None:
    hub, number = build()
    inverse = number.map(lambda value: 10 // value)
    order: list[str] = []
    number.for_each(lambda update: order.append(f"number {update.value}"))
    hub.subscribe(ERROR_SIGNAL, replay_current=False).for_each(
        lambda update: order.append(update.value.code if update.value else "none")
    )
    hub.emit(NUMBER, 0)
    assert order == ["number 1", "number 0", "derived-failed"]
    assert inverse.value == 10
    error = hub.read(ERROR_SIGNAL)
    assert error is not None
    assert "ZeroDivisionError" in error.text
    hub.emit(NUMBER, 5)
    assert inverse.value == 2


def test_a_value_of_another_type_than_the_key_says_is_a_failure() -> None:
    hub, number = build()
    text = number.map(lambda value: str(value) if value < 5 else value, key=Signal("app:text", str))  # type: ignore[arg-type,return-value]  # that is the mistake
    hub.emit(NUMBER, 7)
    assert text.value == "1"
    error = hub.read(ERROR_SIGNAL)
    assert error is not None
    assert "app:text" in error.text


def test_a_first_value_is_needed_and_what_it_raises_leaves_nothing_behind() -> None:
    hub, _ = build(0)
    key = Signal("app:derived", int)
    with pytest.raises(EmissionFailed, match="no first value"):
        hub.derive(key, [NUMBER], lambda before, value: UNCHANGED)
    with pytest.raises(ZeroDivisionError):
        hub.derive(key, [NUMBER], lambda before, value: 1 // value)
    with pytest.raises(SignalNotFound):
        hub.derive(key, [Signal("app:nobody", int)], lambda before, value: value)
    with pytest.raises(CallRefused, match="derived from nothing"):
        hub.derive(key, [], lambda before: 1)
    assert not hub.is_registered(key)
    hub.derive(key, [NUMBER], lambda before, value: value)
    with pytest.raises(SignalAlreadyRegistered):
        hub.derive(key, [NUMBER], lambda before, value: value)


def test_nobody_may_emit_into_a_derived_signal() -> None:
    hub, number = build()
    double = number.map(lambda value: value * 2)
    with pytest.raises(EmissionFailed, match="owns it"):
        hub.emit(double.key, 3)


def test_closing_a_derived_signal_ends_what_was_made_of_it_and_stops_the_work() -> None:
    hub, number = build()
    runs: list[int] = []
    double = number.map(lambda value: runs.append(value) or value * 2)
    last = double.map(lambda value: value + 1)
    subscription = last.subscribe()
    double.close()
    double.close()
    hub.emit(NUMBER, 9)
    assert runs == [1]
    assert subscription.is_closed
    assert not hub.is_registered(double.key)
    assert not hub.is_registered(last.key)
    number.close()
    assert number.value == 9


def test_signals_of_two_engines_do_not_combine() -> None:
    _, mine = build()
    _, theirs = build()
    with pytest.raises(CallRefused, match="two engines"):
        mine.combine(theirs, lambda a, b: a + b)


def test_a_derived_signal_is_not_live_before_its_input_is() -> None:
    hub = SignalHub()
    owner = hub.register(NUMBER, 1)
    before = LiveSignal(hub, NUMBER).map(lambda value: value * 2)
    hub.mark_unready(owner)
    later = LiveSignal(hub, NUMBER).map(lambda value: value * 3)
    assert [signal.snapshot.ready for signal in (before, later)] == [False, False]
    subscription = before.subscribe()
    hub.emit_ready(1, [(owner, 1)])
    assert [signal.snapshot.ready for signal in (before, later)] == [True, True]
    assert [subscription.try_recv(), subscription.try_recv()] == [Update(2, 0, 0, False), Update(2, 1, 0, True)]


def test_rx_operators_compose_on_a_derived_signal() -> None:
    hub, number = build()
    seen: list[int] = []
    double = number.map(lambda value: value * 2)
    handle = (
        double.as_observable().pipe(operators.skip(1), operators.map(lambda value: value + 1)).subscribe(seen.append)
    )
    hub.emit(NUMBER, 2)
    handle.dispose()
    hub.emit(NUMBER, 3)
    assert seen == [5]


def test_statistics_say_how_often_a_derived_signal_was_computed() -> None:
    hub, number = build()
    key = Signal("app:double", int)
    number.map(lambda value: value * 2, key=key)
    for value in (2, 3):
        hub.emit(NUMBER, value)
    (stats,) = [each for each in hub.statistics() if each.signal_id == "app:double"]
    assert (stats.run_count, stats.version) == (3 - 1, 2)


graphs = st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=3), min_size=1, max_size=8)
waves = st.lists(st.dictionaries(st.integers(0, 2), st.integers(0, 4), min_size=1), max_size=8)


@given(graphs, waves)
def test_any_graph_equals_its_functions_after_each_batch_and_runs_each_once(
    graph: list[list[int]], batches: list[dict[int, int]]
) -> None:
    hub = SignalHub()
    keys = [Signal(f"source:{number}", int) for number in range(3)]
    owners = [hub.register(key, 0) for key in keys]
    runs: list[int] = []
    inputs_of: list[list[int]] = []

    for node, chosen in enumerate(graph):
        inputs = [each % len(keys) for each in chosen]

        def compute(before: object, *values: int, node: int = node) -> int:
            runs.append(node)
            return sum(values) % 5

        key = Signal(f"derived:{node}", int)
        hub.derive(key, [keys[each] for each in inputs], compute)
        keys.append(key)
        inputs_of.append(inputs)

    def expected() -> list[int]:
        values = [hub.read(key) for key in keys[:3]]
        for inputs in inputs_of:
            values.append(sum(values[each] for each in inputs) % 5)
        return values

    seen_in_emissions: list[bool] = []
    for key in keys:
        hub.subscribe(key, replay_current=False).for_each(
            lambda _: seen_in_emissions.append([hub.read(each) for each in keys] == expected())
        )
    for number, batch in enumerate(batches):
        runs.clear()
        changes = [(owners[each], value) for each, value in batch.items() if hub.read(keys[each]) != value]
        hub.emit_all(number, changes)
        assert [hub.read(key) for key in keys] == expected()
        assert len(set(runs)) == len(runs)
        assert runs == sorted(runs)
    assert all(seen_in_emissions)

"""Bounded delivery: intermediates may go, the newest stays, and the loss is said."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from antiphon.reactive import (
    ERROR_SIGNAL,
    CallRefused,
    EmissionFailed,
    LagWarning,
    Policy,
    PolicyRefused,
    Signal,
    SignalHub,
    SubscriptionClosed,
    Update,
)

COUNT = Signal("app:count", int)


def build_hub(warnings: list[LagWarning] | None = None) -> SignalHub:
    hub = SignalHub(on_lag=None if warnings is None else warnings.append)
    hub.register(COUNT, 0, external=True)
    return hub


def test_an_unread_subscriber_loses_the_oldest_is_warned_once_and_gets_the_newest() -> None:
    warnings: list[LagWarning] = []
    hub = build_hub(warnings)
    subscription = hub.subscribe(COUNT, replay_current=False)
    for value in range(1, 289):
        hub.emit(COUNT, value)
    assert warnings == [LagWarning("app:count", capacity=256, lagged_count=1)]
    assert subscription.pending_count == 256
    first = subscription.try_recv()
    assert first == Update(33, seq=33, skipped=32, live=True)
    rest = [subscription.try_recv() for _ in range(255)]
    assert [update.value for update in rest if update] == list(range(34, 289))
    assert all(update and update.skipped == 0 for update in rest)
    assert subscription.try_recv() is None
    assert subscription.lagged_count == 32


def test_a_second_episode_of_lag_warns_again_only_after_catching_up() -> None:
    warnings: list[LagWarning] = []
    hub = build_hub(warnings)
    subscription = hub.subscribe(COUNT, capacity=2, replay_current=False)
    for value in range(1, 6):
        hub.emit(COUNT, value)
    subscription.try_recv()
    for value in range(6, 9):
        hub.emit(COUNT, value)
    assert len(warnings) == 1
    while subscription.try_recv():
        pass
    for value in range(9, 13):
        hub.emit(COUNT, value)
    assert [warning.lagged_count for warning in warnings] == [1, 6]


def test_latest_keeps_one_snapshot_counts_and_does_not_warn() -> None:
    warnings: list[LagWarning] = []
    hub = build_hub(warnings)
    subscription = hub.subscribe(COUNT, policy="latest")
    for value in range(1, 10):
        hub.emit(COUNT, value)
    assert subscription.try_recv() == Update(9, seq=9, skipped=9, live=True)
    assert (warnings, subscription.lagged_count) == ([], 9)


def test_reading_after_the_end_delivers_the_rest_and_then_raises() -> None:
    hub = build_hub()
    subscription = hub.subscribe(COUNT)
    hub.emit(COUNT, 1)
    hub.close()
    assert [subscription.try_recv(), subscription.try_recv()] == [Update(0, 0, 0, True), Update(1, 1, 0, True)]
    with pytest.raises(SubscriptionClosed, match="app:count"):
        subscription.try_recv()


def test_a_closed_subscription_gives_up_what_it_held() -> None:
    hub = build_hub()
    subscription = hub.subscribe(COUNT)
    subscription.close()
    subscription.close()
    hub.emit(COUNT, 1)
    with pytest.raises(SubscriptionClosed):
        subscription.try_recv()


def test_a_callback_gets_what_waits_then_every_update_then_the_end() -> None:
    hub = build_hub()
    log: list[object] = []
    subscription = hub.subscribe(COUNT)
    hub.emit(COUNT, 1)
    subscription.for_each(lambda update: log.append(update.value), on_end=lambda: log.append("end"))
    hub.emit(COUNT, 2)
    hub.close()
    hub.close()
    assert log == [0, 1, 2, "end"]


def test_a_second_callback_on_one_subscription_is_refused() -> None:
    subscription = build_hub().subscribe(COUNT)
    subscription.for_each(lambda update: None)
    with pytest.raises(CallRefused, match="has a callback"):
        subscription.for_each(lambda update: None)


@pytest.mark.parametrize(
    ("policy", "capacity", "seen"),
    [
        ("oldest", 4, "policy='oldest'"),
        (None, 4, "policy=None"),
        (256, 4, "policy=256"),
        ("buffer", 0, "capacity=0"),
        ("buffer", "many", "capacity='many'"),
        ("buffer", 2.5, "capacity=2.5"),
        ("buffer(0)", 4, "capacity=0"),
        ("buffer(-1)", 4, "policy="),
        ("latest(2)", 4, "policy="),
        ("buffer(3) ", 4, "policy="),
    ],
)
def test_an_impossible_subscription_is_refused(policy: Any, capacity: Any, seen: str) -> None:
    with pytest.raises(PolicyRefused, match=rf"subscribe: got {seen}.*; expected .*; "):
        build_hub().subscribe(COUNT, policy=policy, capacity=capacity)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("buffer", ("buffer", 7)),
        ("buffer(3)", ("buffer", 3)),
        ("latest", ("latest", 1)),
        ("block", ("block", 7)),
        ("block(2)", ("block", 2)),
    ],
)
def test_a_policy_says_the_mode_and_the_room(policy: str, expected: tuple[str, int]) -> None:
    assert Policy.parse(policy, capacity=7) == expected
    assert build_hub().subscribe(COUNT, policy=policy, capacity=7).capacity == expected[1]


def test_a_full_blocking_subscriber_blocks_its_hub_until_it_reads_or_leaves() -> None:
    hub = build_hub()
    freed: list[str] = []
    hub.on_room(lambda: freed.append("room"))
    first, second = (hub.subscribe(COUNT, policy="block(2)") for _ in range(2))
    hub.emit(COUNT, 1)
    assert hub.is_blocked
    with pytest.raises(EmissionFailed, match="block"):
        hub.emit(COUNT, 2)
    first.try_recv()
    assert (hub.is_blocked, freed) == (True, [])
    second.close()
    assert (hub.is_blocked, freed) == (False, ["room"])
    assert hub.emit(COUNT, 2)
    assert [first.try_recv(), first.try_recv()] == [Update(1, 1, 0, True), Update(2, 2, 0, True)]


def test_the_error_signal_makes_nobody_wait() -> None:
    with pytest.raises(PolicyRefused, match="app:error"):
        build_hub().subscribe(ERROR_SIGNAL, policy="block")


class SlowReaders(RuleBasedStateMachine):
    """Readers of any speed and capacity beside a model: what was emitted, and where each reader stands."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = build_hub()
        self.emitted = 0
        self.buffered = self.hub.subscribe(COUNT, capacity=3)
        self.screen = self.hub.subscribe(COUNT, policy="latest", replay_current=False)
        self.called: list[int] = []
        self.hub.subscribe(COUNT).for_each(lambda update: self.called.append(update.seq))
        self.seen = {"buffered": -1, "screen": 0}

    @rule()
    def emit(self) -> None:
        self.emitted += 1
        self.hub.emit(COUNT, self.emitted)

    @rule()
    def emit_an_equal_value(self) -> None:
        assert self.hub.emit(COUNT, self.emitted) is False

    @rule(name=st.sampled_from(["buffered", "screen"]))
    def receive(self, name: str) -> None:
        update = (self.buffered if name == "buffered" else self.screen).try_recv()
        if update is None:
            assert self.seen[name] == self.emitted
            return
        assert update.seq == update.value
        assert update.seq == self.seen[name] + update.skipped + 1
        self.seen[name] = update.seq

    @invariant()
    def nothing_grows_and_callbacks_miss_nothing(self) -> None:
        assert self.buffered.pending_count <= 3
        assert self.screen.pending_count <= 1
        assert self.called == list(range(self.emitted + 1))

    def teardown(self) -> None:
        for name in ("buffered", "screen"):
            while self.seen[name] < self.emitted:
                self.receive(name)


TestSlowReaders = SlowReaders.TestCase


@given(emissions=st.integers(min_value=1, max_value=40), capacity=st.integers(min_value=1, max_value=8))
def test_the_newest_snapshot_is_never_lost(emissions: int, capacity: int) -> None:
    hub = build_hub()
    subscription = hub.subscribe(COUNT, capacity=capacity)
    for value in range(1, emissions + 1):
        hub.emit(COUNT, value)
    received: list[Update[int]] = []
    while update := subscription.try_recv():
        received.append(update)
    assert received[-1].value == emissions
    assert [update.seq for update in received] == sorted({update.seq for update in received})
    assert sum(update.skipped for update in received) + len(received) == emissions + 1

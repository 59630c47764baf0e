"""Whoever catches what the library raises on purpose catches what this room raises, and is told whose move it is."""

from collections.abc import Callable
from typing import Any

import pytest

from antiphon import reactive
from antiphon.facts import AntiphonError, LocalViolation
from antiphon.reactive import (
    ERROR_SIGNAL,
    CallRefused,
    FactPredicate,
    LiveSignal,
    PolicyRefused,
    Public,
    ReactiveError,
    Signal,
    SignalHub,
    TypeMismatch,
)

COUNT = Signal("app:count", int)


def hub() -> SignalHub:
    made = SignalHub()
    made.register(COUNT, 0, external=True)
    return made


def followed_twice() -> None:
    subscription = hub().subscribe(COUNT)
    subscription.for_each(print)
    subscription.for_each(print)


REFUSALS: dict[str, Callable[[], object]] = {
    "an unknown policy": lambda: hub().subscribe(COUNT, policy="oldest"),
    "a stream of no policy": lambda: reactive.open_stream(hub(), COUNT, policy="oldest"),
    "a live signal of no policy": lambda: LiveSignal(hub(), COUNT).updates(policy="oldest"),
    "room for nothing": lambda: hub().subscribe(COUNT, capacity=0),
    "waiting for the error signal": lambda: hub().subscribe(ERROR_SIGNAL, policy="block"),
    "two callbacks": followed_twice,
    "a nameless signal": lambda: Signal("", int),
    "derived from nothing": lambda: hub().derive(Signal("app:twice", int), [], lambda before: 1),
    "of two engines": lambda: LiveSignal(hub(), COUNT).combine(LiveSignal(hub(), COUNT), lambda a, b: a + b),
    "public without a reason": lambda: Public("ada", "names", " "),
    "a predicate of no kind": lambda: FactPredicate(""),
    "a predicate of None": lambda: FactPredicate.of("chat", room=None),
}


@pytest.mark.parametrize("call", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_is_typed_and_says_what_was_seen_what_was_expected_and_what_to_do(call: Callable[[], object]) -> None:
    with pytest.raises(CallRefused, match=r"^\w+: got .+; expected .+; .+") as caught:
        call()
    assert isinstance(caught.value, ReactiveError | LocalViolation)
    assert isinstance(caught.value, ValueError), "what callers caught so far is still caught"


def test_a_policy_is_refused_before_anything_is_subscribed() -> None:
    ours = hub()
    with pytest.raises(PolicyRefused):
        ours.subscribe(COUNT, policy="lastest")
    assert [each.subscriber_count for each in ours.statistics()] == [0, 0]


@pytest.mark.parametrize("key", ["app:count", None, int])
def test_what_is_no_signal_is_named_when_it_is_registered(key: Any) -> None:
    for register in (lambda: hub().register(key, 0), lambda: hub().derive(key, [COUNT], lambda before, count: count)):
        with pytest.raises(TypeMismatch, match="expected a Signal"):
            register()


def test_every_error_of_the_room_is_one_of_the_library() -> None:
    named = [getattr(reactive, name) for name in dir(reactive)]
    errors = [each for each in named if isinstance(each, type) and issubclass(each, Exception)]
    assert len(errors) >= 15
    assert [each.__name__ for each in errors if not issubclass(each, AntiphonError)] == []

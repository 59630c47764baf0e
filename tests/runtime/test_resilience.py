"""Budgets, retries, breakers, rates and compensation keep to the letter of their rules, on virtual time."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from antiphon.facts import LocalViolation
from antiphon.runtime.events import BreakerMoved, Events, RingSink
from antiphon.runtime.resilience import (
    AttemptTimedOut,
    CircuitBreaker,
    CircuitBreakerOpen,
    CircuitBreakers,
    Closed,
    DeadlineExceeded,
    Delays,
    Exponential,
    ExponentialWithJitter,
    Fixed,
    HalfOpen,
    Linear,
    MaxRetriesExceeded,
    Open,
    OperationFailed,
    Permit,
    RateLimiter,
    RateLimits,
    RetryPolicy,
    Saga,
    Step,
    TimeoutBudget,
    Timing,
    TokenBucket,
    retry,
    run_within,
)
from antiphon.testing.virtual_time import now_s, pass_time, run

seconds = st.floats(min_value=0.001, max_value=1_000)


class Lost(Exception):
    """Worth another try."""


class Forbidden(Exception):
    """Not worth one."""


def timing(chance: float = 0.5) -> Timing:
    return Timing(elapsed_s=now_s, chance=lambda: chance)


# Delays


@given(st.integers(min_value=0, max_value=200), st.floats(min_value=0, max_value=1))
def test_no_delay_is_longer_than_its_cap_and_its_jitter(attempt: int, chance: float) -> None:
    for delays in (Linear(), Exponential(), ExponentialWithJitter(), Fixed(0.1)):
        assert 0 < delays.delay_s(attempt=attempt, chance=chance) <= 30.0 * 1.1 + 1e-9
    plain = Exponential().delay_s(attempt=attempt, chance=0.0)
    assert ExponentialWithJitter().delay_s(attempt=attempt, chance=chance) == pytest.approx(plain, rel=0.1 + 1e-9)


# Budgets


@given(seconds, seconds, st.none() | seconds)
def test_a_part_never_has_more_time_than_the_whole(whole_s: float, later_s: float, part_s: float | None) -> None:
    whole = TimeoutBudget.starting(at_s=0.0, seconds=whole_s)
    part = whole.child(at_s=later_s, seconds=part_s)
    assert part.deadline_s <= whole.deadline_s
    assert part.remaining(at_s=later_s) <= whole.remaining(at_s=later_s)


def test_work_that_runs_over_is_cancelled_at_the_deadline() -> None:
    async def main() -> None:
        was_cancelled = False

        async def forever(budget: TimeoutBudget) -> None:
            nonlocal was_cancelled
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                was_cancelled = True
                raise

        with pytest.raises(DeadlineExceeded, match=r"deadline at 2\.5 s") as caught:
            await run_within(TimeoutBudget.starting(at_s=0.0, seconds=2.5), timing(), forever)
        assert was_cancelled
        assert now_s() == caught.value.observed_s == 2.5

    run(main())


def test_a_budget_without_time_is_refused() -> None:
    with pytest.raises(LocalViolation, match="more than 0"):
        TimeoutBudget.starting(at_s=0.0, seconds=0.0)


# Retries


async def attempts(
    policy: RetryPolicy,
    outcomes: list[Exception | float],
    *,
    budget_s: float | None = None,
    chance: float = 0.5,
    pause_of: Callable[[Exception], float] = lambda problem: 0.0,
) -> list[float]:
    """When each attempt began; an outcome is an error, or how long an attempt takes until it succeeds."""
    begun: list[float] = []

    async def work(budget: TimeoutBudget | None) -> None:
        begun.append(round(now_s(), 6))
        outcome = outcomes[len(begun) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        await pass_time(outcome)

    budget = None if budget_s is None else TimeoutBudget.starting(at_s=now_s(), seconds=budget_s)
    try:
        await retry(work, policy, timing=timing(chance), retryable=(Lost,), budget=budget, pause_of=pause_of)
    except Exception as problem:
        problem.add_note(str(begun))
        raise
    return begun


@pytest.mark.parametrize(
    ("delays", "chance", "expected"),
    [
        (Fixed(1.0), 0.5, [0, 1, 2, 3]),
        (Linear(1.0), 0.5, [0, 1, 3, 6]),
        (Exponential(), 0.5, [0, 0.1, 0.3, 0.7]),
        (ExponentialWithJitter(), 0.5, [0, 0.1, 0.3, 0.7]),
        (ExponentialWithJitter(), 1.0, [0, 0.11, 0.33, 0.77]),
        (ExponentialWithJitter(), 0.0, [0, 0.09, 0.27, 0.63]),
    ],
)
def test_attempts_begin_when_the_strategy_says(delays: Delays, chance: float, expected: list[float]) -> None:
    policy = RetryPolicy(attempts_max=4, delays=delays)
    assert run(attempts(policy, [Lost(), Lost(), Lost(), 0.0], chance=chance)) == pytest.approx(expected)


def test_attempts_that_are_used_up_tell_the_last_cause() -> None:
    last = Lost("the third")
    with pytest.raises(MaxRetriesExceeded, match="3 attempts failed, the last because the third") as caught:
        run(attempts(RetryPolicy(), [Lost(), Lost(), last]))
    assert caught.value.last is caught.value.__cause__ is last


def test_what_is_not_worth_another_try_fails_at_once() -> None:
    with pytest.raises(Forbidden) as caught:
        run(attempts(RetryPolicy(), [Forbidden(), 0.0]))
    assert caught.value.__notes__ == ["[0.0]"]


def test_the_budget_is_shared_by_attempts_and_pauses() -> None:
    policy = RetryPolicy(attempts_max=10, delays=Fixed(1.0), per_attempt_s=4.0)
    with pytest.raises(DeadlineExceeded) as caught:
        run(attempts(policy, [9.0] * 10, budget_s=10.5))
    # Two attempts of four seconds with a second between, and what is left for the third is half a second.
    assert caught.value.__notes__ == ["[0.0, 5.0, 10.0]"]
    assert caught.value.observed_s == 10.5


def test_nobody_sleeps_beyond_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        run(attempts(RetryPolicy(delays=Fixed(5.0)), [Lost(), 0.0], budget_s=3.0))
    assert caught.value.observed_s == 0.0
    assert isinstance(caught.value.__cause__, Lost)


def test_a_timed_out_attempt_is_repeated_only_when_that_is_harmless() -> None:
    harmless = RetryPolicy(delays=Fixed(1.0), per_attempt_s=2.0)
    assert run(attempts(harmless, [9.0, 0.0])) == [0, 3]
    with pytest.raises(AttemptTimedOut, match="more than 2 s"):
        run(attempts(RetryPolicy(per_attempt_s=2.0, is_idempotent=False), [9.0, 0.0]))


def test_the_time_of_a_part_is_not_the_time_of_the_whole() -> None:
    """A part that ran over may be tried again, if that is worth it; when the whole has run over, nothing is."""
    began: list[float] = []

    async def part(budget: TimeoutBudget | None) -> None:
        assert budget is not None
        began.append(now_s())
        mine = budget.child(at_s=now_s(), seconds=1.0)
        await run_within(mine, timing(), lambda _: pass_time(100.0))

    async def main() -> None:
        whole = TimeoutBudget.starting(at_s=now_s(), seconds=4.5)
        policy = RetryPolicy(attempts_max=10, delays=Fixed(1.0))
        with pytest.raises(DeadlineExceeded) as caught:
            await retry(part, policy, timing=timing(), retryable=(DeadlineExceeded,), budget=whole)
        assert caught.value.deadline_s == whole.deadline_s

    run(main())
    assert [round(each - began[0], 3) for each in began] == [0.0, 2.0, 4.0]


def test_a_failure_may_ask_for_a_longer_pause() -> None:
    assert run(attempts(RetryPolicy(), [Lost(), 0.0], pause_of=lambda problem: 2.0)) == [0, 2]


def test_cancellation_is_never_retried() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(attempts(RetryPolicy(), [9.0, 9.0]))
        await pass_time(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now_s() == 1.0

    run(main())


@pytest.mark.parametrize("wrong", [{"attempts_max": 0}, {"per_attempt_s": 0.0}])
def test_an_impossible_policy_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LocalViolation):
        RetryPolicy(**wrong)  # type: ignore[arg-type]  # that is the claim


# Breaker


def test_a_breaker_opens_after_five_failures_and_a_trial_decides() -> None:
    now = 0.0
    breaker = CircuitBreaker("sync with ben", elapsed_s=lambda: now)
    for _ in range(4):
        breaker.admit().fail()
    breaker.admit().succeed()
    assert breaker.state == Closed(0)
    for _ in range(5):
        breaker.admit().fail()
    assert breaker.state == Open(30.0)
    now = 29.0
    with pytest.raises(CircuitBreakerOpen, match="try again in 1 s"):
        breaker.admit()
    now = 30.0
    trial = breaker.admit()
    assert breaker.state == HalfOpen(running=1)
    with pytest.raises(CircuitBreakerOpen):
        breaker.admit()
    trial.fail()
    assert breaker.state == Open(60.0)
    now = 60.0
    breaker.admit().succeed()
    assert breaker.state == Closed()


def test_only_what_is_named_counts_as_a_failure_and_a_cancellation_counts_as_nothing() -> None:
    async def main() -> None:
        breaker = CircuitBreaker(failures_max=1, elapsed_s=now_s)

        async def forbidden() -> None:
            raise Forbidden

        async def lost() -> None:
            raise Lost

        with pytest.raises(Forbidden):
            await breaker.call(forbidden, failures=(Lost,))
        assert breaker.state == Closed()
        with pytest.raises(Lost):
            await breaker.call(lost, failures=(Lost,))
        assert breaker.state == Open(30.0)
        await pass_time(30)
        trial = asyncio.ensure_future(breaker.call(asyncio.Event().wait, failures=(Lost,)))
        await pass_time(1)
        assert breaker.state == HalfOpen(running=1)
        trial.cancel()
        await asyncio.wait([trial])
        assert breaker.state == HalfOpen(running=0)

    run(main())


def test_peers_and_operations_have_breakers_of_their_own() -> None:
    breakers = CircuitBreakers(failures_max=1)
    breakers.of("ben", "sync").admit().fail()
    assert isinstance(breakers.of("ben", "sync").state, Open)
    assert isinstance(breakers.of("ben", "fetch").state, Closed)
    assert isinstance(breakers.of("eve", "sync").state, Closed)
    for number in range(2_000):
        breakers.of(str(number), "sync")
    assert isinstance(breakers.of("ben", "sync").state, Closed)


def test_each_change_of_state_is_told_once_and_counting_is_none() -> None:
    now = 0.0
    ring = RingSink()
    breakers = CircuitBreakers(failures_max=2, trials_max=2, elapsed_s=lambda: now)
    breaker = breakers.of("ben", "sync", events=Events(ring))
    breaker.admit().fail()
    breaker.admit().succeed()
    assert ring.events == ()
    late = breaker.admit()
    for _ in range(2):
        breaker.admit().fail()
    late.succeed()
    with pytest.raises(CircuitBreakerOpen):
        breaker.admit()
    now = 30.0
    breaker.admit().fail()
    now = 60.0
    breaker.admit().succeed()
    breaker.admit().succeed()
    told = [event for event in ring.events if isinstance(event, BreakerMoved)]
    assert [(event.from_state, event.to_state, event.error_kind) for event in told] == [
        ("closed", "open", "CircuitBreakerOpen"),
        ("open", "half-open", ""),
        ("half-open", "open", "CircuitBreakerOpen"),
        ("open", "half-open", ""),
        ("half-open", "closed", ""),
    ]
    assert {event.operation for event in told} == {"sync"}
    assert len({event.peer for event in told}) == 1
    assert "ben" not in str(told)


def test_a_forgotten_breaker_that_was_open_tells_that_it_closed() -> None:
    ring = RingSink()
    breakers = CircuitBreakers(failures_max=1)
    breakers.of("ben", "sync", events=Events(ring)).admit().fail()
    for number in range(2_000):
        breakers.of(str(number), "sync")
    last = ring.events[-1]
    assert isinstance(last, BreakerMoved)
    assert (len(ring.events), last.from_state, last.to_state) == (2, "open", "closed")


def test_an_opened_breaker_is_a_warning_in_the_log_even_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    breakers = CircuitBreakers(failures_max=1)
    breakers.of("ben", "sync", events=Events()).admit().fail()
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "antiphon.events")
    assert '"to_state": "open"' in record.getMessage()


class BreakerMachine(RuleBasedStateMachine):
    """Any sequence of calls, outcomes and pauses, beside a plain account of what may happen."""

    FAILURES, RECOVERY_S, TRIALS = 3, 10.0, 2

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = CircuitBreaker("it", self.FAILURES, self.RECOVERY_S, self.TRIALS, lambda: self.now)
        self.running: list[tuple[Permit, str]] = []
        self.opened_at: float | None = None

    @rule(passed_s=st.sampled_from([0.5, 3.0, 10.0, 25.0]))
    def wait(self, passed_s: float) -> None:
        self.now += passed_s

    @rule()
    def call(self) -> None:
        before = self.breaker.state
        trials = sum(kind == "trial" for _, kind in self.running)
        try:
            permit = self.breaker.admit()
        except CircuitBreakerOpen:
            assert not isinstance(before, Closed)
            if isinstance(before, Open):
                assert self.now < before.until_s
            return
        match before:
            case Open(until_s):
                assert self.now >= until_s
                self.running = [(each, "stale") for each, _ in self.running]
                self.running.append((permit, "trial"))
            case HalfOpen():
                assert trials < self.TRIALS
                self.running.append((permit, "trial"))
            case Closed():
                self.running.append((permit, "call"))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(["succeed", "fail", "abandon"]))
    def settle(self, data: st.DataObject, outcome: str) -> None:
        at = data.draw(st.integers(min_value=0, max_value=len(self.running) - 1))
        permit, kind = self.running.pop(at)
        before = self.breaker.state
        getattr(permit, outcome)()
        getattr(permit, outcome)()
        after = self.breaker.state
        if kind == "stale":
            assert after == before
        elif kind == "trial" and outcome == "fail":
            assert after == Open(self.now + self.RECOVERY_S)
        elif kind == "call" and outcome == "abandon":
            assert after == before
        if type(after) is not type(before):
            self.running = [(each, "stale") for each, _ in self.running]

    @invariant()
    def bounds_hold(self) -> None:
        match self.breaker.state:
            case Closed(failures):
                assert failures < self.FAILURES
            case HalfOpen(running, succeeded):
                assert running == sum(kind == "trial" for _, kind in self.running)
                assert running + succeeded <= self.TRIALS
                assert succeeded < self.TRIALS
            case Open(until_s):
                assert until_s <= self.now + self.RECOVERY_S


TestBreaker = BreakerMachine.TestCase


# Compensation


class Ledger:
    """What was done and undone, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, name: str, *, fails: Exception | None = None, undo_fails: Exception | None = None) -> Step:
        async def do() -> str:
            if fails is not None:
                raise fails
            self.lines.append(f"do {name}")
            return name.upper()

        async def undo(result: object) -> None:
            await pass_time(1)
            if undo_fails is not None:
                raise undo_fails
            self.lines.append(f"undo {result}")

        return Step(name, do, undo)


def test_a_saga_returns_what_its_steps_did() -> None:
    ledger = Ledger()
    assert run(Saga((ledger.step("a"), ledger.step("b"))).run()) == ("A", "B")
    assert ledger.lines == ["do a", "do b"]


def test_completed_steps_are_undone_in_reverse_and_the_cause_is_kept() -> None:
    ledger, cause = Ledger(), Lost("the disk")
    with pytest.raises(OperationFailed, match="c failed: the disk") as caught:
        run(Saga((ledger.step("a"), ledger.step("b"), ledger.step("c", fails=cause))).run())
    assert ledger.lines == ["do a", "do b", "undo B", "undo A"]
    assert caught.value.__cause__ is caught.value.cause is cause
    assert (caught.value.step, caught.value.undone, caught.value.undo_failures) == ("c", ("b", "a"), ())


def test_an_undo_that_fails_is_told_beside_the_cause_and_the_others_run() -> None:
    ledger, cause, worse = Ledger(), Lost("the disk"), Forbidden("the lock")
    steps = (ledger.step("a"), ledger.step("b", undo_fails=worse), ledger.step("c", fails=cause))
    with pytest.raises(OperationFailed, match="b could not be taken back: the lock") as caught:
        run(Saga(steps).run())
    assert caught.value.__cause__ is cause
    assert [(each.step, each.problem) for each in caught.value.undo_failures] == [("b", worse)]
    assert ledger.lines == ["do a", "do b", "undo A"]


def test_an_undo_that_hangs_has_a_time_of_its_own() -> None:
    async def done() -> None:
        return None

    async def hang(result: object) -> None:
        await asyncio.Event().wait()

    ledger = Ledger()
    saga = Saga((ledger.step("a"), Step("b", done, hang), ledger.step("c", fails=Lost())), undo_timeout_s=7.0)
    with pytest.raises(OperationFailed) as caught:
        run(saga.run())
    assert [type(each.problem) for each in caught.value.undo_failures] == [TimeoutError]
    assert ledger.lines == ["do a", "undo A"]


def test_an_undo_whose_work_was_cancelled_is_told_and_the_others_run() -> None:
    async def done() -> None:
        return None

    async def wait_for_nobody(result: object) -> None:
        nobody = asyncio.get_running_loop().create_future()
        nobody.cancel()
        await nobody

    ledger, cause = Ledger(), Lost("the disk")
    saga = Saga((ledger.step("a"), Step("b", done, wait_for_nobody), ledger.step("c", fails=cause)))
    with pytest.raises(OperationFailed, match="c failed: the disk") as caught:
        run(saga.run())
    assert (caught.value.cause, caught.value.undone) == (cause, ("a",))
    assert [each.step for each in caught.value.undo_failures] == ["b"]


@pytest.mark.parametrize("when", [0.5, 1.5])
def test_a_cancelled_saga_undoes_to_the_end_and_is_cancelled(when: float) -> None:
    async def main() -> None:
        ledger = Ledger()

        async def slow() -> None:
            await pass_time(1)
            raise Lost

        task = asyncio.ensure_future(Saga((ledger.step("a"), ledger.step("b"), Step("slow", slow))).run())
        await pass_time(when)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ledger.lines == ["do a", "do b", "undo B", "undo A"]

    run(main())


# Rates


@given(st.lists(st.floats(min_value=0, max_value=2), max_size=300), st.integers(min_value=0))
def test_in_any_stretch_of_time_no_more_goes_than_the_burst_and_the_rate(pauses: list[float], seed: int) -> None:
    bucket, rng = TokenBucket(per_s=10.0, burst=5.0), Random(seed)
    now, used = 0.0, []
    for pause in pauses:
        now += pause * rng.random()
        used.append(now + bucket.reserve(at_s=now))
    used.sort()
    for first in range(0, len(used), 7):
        for last in range(first, len(used)):
            assert last - first + 1 <= 5.0 + 10.0 * (used[last] - used[first]) + 1e-6


def test_one_peer_has_a_hundred_a_second_after_a_burst_of_two_hundred() -> None:
    async def main() -> list[float]:
        limiter = RateLimiter(RateLimits(), timing())
        for _ in range(300):
            await limiter.admit("ben")
        ben = now_s()
        await limiter.admit("eve")
        return [ben, now_s()]

    assert run(main()) == pytest.approx([1.0, 1.0])


def test_all_peers_together_have_a_thousand_a_second() -> None:
    limiter = RateLimiter(RateLimits(), Timing(elapsed_s=lambda: 0.0))
    waits = [limiter.reserve(f"peer {number % 20}") for number in range(3_000)]
    assert waits[999] == 0.0
    assert waits[-1] == pytest.approx(2.0)


def test_a_bucket_refuses_what_it_does_not_hold() -> None:
    bucket = TokenBucket(per_s=1.0, burst=2.0)
    assert [bucket.try_take(at_s=0.0) for _ in range(3)] == [True, True, False]
    assert bucket.try_take(at_s=1.0)
    with pytest.raises(LocalViolation):
        TokenBucket(per_s=0.0, burst=1.0)

"""Facts in windows, views in order, one emission of each changed signal a batch; all on virtual time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.reactive import (
    ERROR_SIGNAL,
    UNCHANGED,
    BackPressure,
    Batch,
    BatchDone,
    CycleDetected,
    ReactiveScheduler,
    SchedulerConfig,
    SchedulerShutdown,
    Signal,
    SignalAlreadyRegistered,
    SignalHub,
    SignalNotFound,
    Unchanged,
    Update,
    ViewAlreadyRegistered,
    ViewChanged,
    ViewNotFound,
    ViewRun,
)
from antiphon.testing.clock import VirtualClock

State = tuple[str, ...]


@dataclass(frozen=True)
class Said:
    fact_id: str
    kind: str = "chat"


def said(*fact_ids: str, kind: str = "chat") -> list[Said]:
    return [Said(fact_id, kind) for fact_id in fact_ids]


class Collector:
    """A view whose state is the ids it was given; it logs every run."""

    def __init__(
        self,
        name: str = "chat",
        *,
        kinds: Iterable[str] | None = ("chat",),
        depends_on: Sequence[str] = (),
        log: list[str] | None = None,
    ) -> None:
        self.view_id = f"signals:{name}"
        self.kinds = None if kinds is None else frozenset(kinds)
        self.depends_on = tuple(f"signals:{each}" for each in depends_on)
        self.signal: Signal[State] = Signal(f"app:{name}", tuple[str, ...])
        self.state: State = ()
        self.batches: list[Batch[Said]] = []
        self.log = log if log is not None else []

    def update(self, batch: Batch[Said]) -> State | Unchanged:
        self.log.append(self.view_id.removeprefix("signals:"))
        self.batches.append(batch)
        before = self.state
        self.state = tuple(dict.fromkeys([*before, *(fact.fact_id for fact in batch.facts)]))
        return UNCHANGED if self.state == before else self.state


class Failing(Collector):
    def update(self, batch: Batch[Said]) -> State | Unchanged:
        if any("bad" in fact.fact_id for fact in batch.facts):
            raise ValueError("cannot fold this")
        return super().update(batch)


class Expiring(Collector):
    """A view that drops what it holds at given times."""

    def __init__(self, deadlines_ms: list[int], **options: Iterable[str]) -> None:
        super().__init__("invitations", **options)  # type: ignore[arg-type]  # only kinds is passed on
        self.deadlines_ms = deadlines_ms

    def next_wakeup_ms(self) -> int | None:
        return min(self.deadlines_ms, default=None)

    def update(self, batch: Batch[Said]) -> State | Unchanged:
        self.batches.append(batch)
        left = [deadline for deadline in self.deadlines_ms if deadline > batch.now_ms]
        if left == self.deadlines_ms:
            return UNCHANGED
        self.deadlines_ms = left
        return tuple(map(str, left))


@dataclass
class Engine:
    """A hub and a scheduler on one virtual clock, with a log of what was emitted."""

    clock: VirtualClock
    hub: SignalHub
    scheduler: ReactiveScheduler[Said]

    def add(self, view: Collector) -> Collector:
        self.scheduler.register_view(view, ())
        return view

    def follow(self, view: Collector) -> list[State]:
        """The snapshots that a subscriber is given from now on."""
        seen: list[State] = []
        self.hub.subscribe(view.signal, replay_current=False).for_each(lambda update: seen.append(update.value))
        return seen

    def news(self) -> list[BatchDone | ViewChanged]:
        seen: list[BatchDone | ViewChanged] = []
        self.scheduler.updates().subscribe(seen.append)
        return seen

    def batch_sizes(self) -> list[int]:
        return [each.count for each in self._all_news if isinstance(each, BatchDone)]

    def __post_init__(self) -> None:
        self._all_news = self.news()


Build = Callable[..., Engine]


def build_engine(clock: VirtualClock, config: SchedulerConfig | None = None, **options: Callable[..., None]) -> Engine:
    hub = SignalHub()
    scheduler = ReactiveScheduler[Said](
        hub,
        clock.scheduler,
        clock,
        kind_of=attrgetter("kind"),
        id_of=attrgetter("fact_id"),
        config=config,
        monotonic=clock.monotonic,
        on_view_failure=options.get("on_view_failure"),
    )
    return Engine(clock, hub, scheduler)


@pytest.fixture
def engine(clock: VirtualClock) -> Engine:
    return build_engine(clock)


# Subscribers that lose nothing, and sinks


def test_a_blocking_subscriber_loses_no_snapshot_and_what_waits_for_it_is_bounded(clock: VirtualClock) -> None:
    engine = build_engine(clock, SchedulerConfig(publish_capacity=3, queued_fact_max=10))
    view = engine.add(Collector())
    fast = engine.follow(view)
    slow = engine.hub.subscribe(view.signal, policy="block(2)", replay_current=False)
    sender = engine.scheduler.fact_sender()
    for number in range(20):
        sender.deliver(said(f"{number:02}"))
    assert (slow.pending_count, len(fast), len(view.batches)) == (2, 2, 2)
    assert engine.scheduler.statistics().backlog_fact_count == 18
    assert not sender.has_room
    for number in range(3):
        engine.scheduler.try_publish(said(f"late {number}"))
    with pytest.raises(BackPressure):
        engine.scheduler.try_publish(said("one too many"))
    told: list[str] = []
    sender.when_room(lambda: told.append("room"))
    seen: list[State] = []
    for _ in range(40):
        update = slow.try_recv()
        if update is not None:
            assert update.skipped == 0
            seen.append(update.value)
        clock.advance(6)
    assert [len(state) for state in seen] == [*range(1, 21), 23]
    assert seen == fast
    assert told == ["room"]
    assert sender.has_room


def test_a_blocking_subscriber_does_not_hold_up_the_end(clock: VirtualClock) -> None:
    engine = build_engine(clock)
    view = engine.add(Collector())
    slow = engine.hub.subscribe(view.signal, policy="block(1)", replay_current=False)
    for fact_id in "abc":
        engine.scheduler.deliver(said(fact_id))
    engine.scheduler.shutdown()
    assert slow.try_recv() == Update(("a", "b", "c"), 3, 2, True)
    sender = engine.scheduler.fact_sender()
    assert sender.is_closed
    assert sender.has_room


def test_a_fact_sender_folds_a_fact_once(engine: Engine) -> None:
    view = engine.add(Collector())
    sender = engine.scheduler.fact_sender()
    sender.deliver(said("a", "b"))
    sender.deliver(said("b", "c"))
    assert engine.hub.read(view.signal) == ("a", "b", "c")
    assert engine.scheduler.statistics().duplicate_count == 1


# Windows


def test_facts_within_five_milliseconds_of_the_first_are_one_batch(engine: Engine, clock: VirtualClock) -> None:
    snapshots = engine.follow(engine.add(Collector()))
    engine.scheduler.try_publish(said("a"))
    clock.advance(1)
    engine.scheduler.try_publish(said("b"))
    clock.advance(3.9)
    engine.scheduler.try_publish(said("c"))
    assert snapshots == []
    clock.advance(0.1)
    assert snapshots == [("a", "b", "c")]
    clock.advance(0.1)
    engine.scheduler.try_publish(said("d"))
    clock.advance(5)
    assert snapshots == [("a", "b", "c"), ("a", "b", "c", "d")]
    assert engine.batch_sizes() == [3, 1]


def test_a_thousand_facts_are_folded_at_once_and_more_in_full_batches(engine: Engine, clock: VirtualClock) -> None:
    engine.add(Collector())
    for index in range(1000):
        engine.scheduler.try_publish(said(f"single {index}"))
    assert engine.batch_sizes() == [1000]
    engine.scheduler.try_publish(said(*(f"many {index}" for index in range(2500))))
    assert engine.batch_sizes() == [1000, 1000, 1000]
    clock.advance(5)
    assert engine.batch_sizes() == [1000, 1000, 1000, 500]


def test_an_idle_scheduler_schedules_and_emits_nothing(engine: Engine, clock: VirtualClock) -> None:
    snapshots = engine.follow(engine.add(Collector()))
    clock.advance(10_000)
    assert (clock.armed_total, snapshots, engine.batch_sizes()) == (0, [], [])
    engine.scheduler.try_publish(said("a"))
    clock.advance(5)
    clock.advance(10_000)
    assert (clock.armed_total, snapshots, engine.batch_sizes()) == (1, [("a",)], [1])


def test_a_window_closed_elsewhere_is_folded_before_the_call_returns(engine: Engine, clock: VirtualClock) -> None:
    snapshots = engine.follow(engine.add(Collector()))
    engine.scheduler.deliver(said(*"abc"), unique=True)
    assert snapshots == [("a", "b", "c")]
    assert clock.armed_total == 0


def test_a_fact_counts_once_however_often_and_whichever_way_it_comes(engine: Engine, clock: VirtualClock) -> None:
    view = engine.add(Collector())
    snapshots = engine.follow(view)
    engine.scheduler.deliver(said("a", "b", "a"))
    engine.scheduler.try_publish(said("b", "a"))
    clock.advance(5)
    engine.scheduler.deliver(said("a"))
    assert snapshots == [("a", "b")]
    assert engine.batch_sizes() == [2]
    assert len(view.batches) == 1
    assert engine.scheduler.statistics().duplicate_count == 4


def test_facts_that_are_promised_to_be_unique_are_not_asked_for_their_ids(clock: VirtualClock) -> None:
    asked: list[str] = []

    def id_of(fact: Said) -> str:
        asked.append(fact.fact_id)
        return fact.fact_id

    scheduler = ReactiveScheduler[Said](SignalHub(), clock.scheduler, clock, kind_of=attrgetter("kind"), id_of=id_of)
    view = Collector()
    scheduler.register_view(view, ())
    scheduler.deliver(said("a", "b"), unique=True)
    assert (asked, view.state) == ([], ("a", "b"))
    scheduler.deliver(said("c"))
    assert asked == ["c"]


def test_facts_published_inside_a_batch_wait_for_the_next(engine: Engine, clock: VirtualClock) -> None:
    view = engine.add(Collector())
    snapshots = engine.follow(view)

    def answer(update: Update[State]) -> None:
        if len(update.value) == 1:
            engine.scheduler.try_publish(said("published"))
            engine.scheduler.deliver(said("delivered"))
            assert engine.hub.read(view.signal) == ("a",)

    engine.hub.subscribe(view.signal, replay_current=False).for_each(answer)
    engine.scheduler.deliver(said("a"))
    assert snapshots == [("a",), ("a", "delivered")]
    clock.advance(5)
    assert snapshots[2:] == [("a", "delivered", "published")]


# Back-pressure


def test_behind_a_blocked_view_the_input_is_bounded_by_publishes(engine: Engine, clock: VirtualClock) -> None:
    refused: list[BackPressure] = []

    class Blocked(Collector):
        def update(self, batch: Batch[Said]) -> State | Unchanged:
            for index in range(300) if batch.facts[0].fact_id == "a" else ():
                try:
                    engine.scheduler.try_publish(said(f"while blocked {index}"))
                except BackPressure as error:
                    refused.append(error)
            assert engine.scheduler.statistics().queued_publish_count <= 256
            return super().update(batch)

    view = engine.add(Blocked())
    engine.scheduler.deliver(said("a"))
    assert len(refused) == 300 - 256
    assert "256 publishes with 256 facts are waiting" in str(refused[0])
    clock.advance(5)
    assert len(engine.hub.read(view.signal)) == 1 + 256


def test_a_paused_scheduler_bounds_its_input_by_facts_and_resumes_in_order(clock: VirtualClock) -> None:
    engine = build_engine(clock, SchedulerConfig(queued_fact_max=10))
    view = engine.add(Collector())
    engine.scheduler.pause()
    engine.scheduler.try_publish(said("a", "b", "c", "d", "e", "f"))
    with pytest.raises(BackPressure, match="at most 256 publishes and 10 facts"):
        engine.scheduler.try_publish(said("g", "h", "i", "j", "k"))
    engine.scheduler.try_publish(said("g", "h", "i", "j"))
    clock.advance(1000)
    assert engine.hub.read(view.signal) == ()
    engine.scheduler.resume()
    clock.advance(5)
    assert engine.hub.read(view.signal) == tuple("abcdefghij")
    assert engine.scheduler.statistics().queued_fact_count == 0


# Views


def test_a_diamond_runs_each_view_once_in_order_and_sees_no_mixture(engine: Engine) -> None:
    log: list[str] = []
    mixtures: list[tuple[object, ...]] = []

    class Bottom(Collector):
        def update(self, batch: Batch[Said]) -> State | Unchanged:
            mixtures.append((batch.inputs["signals:left"], batch.inputs["signals:right"], sorted(batch.changed)))
            return super().update(batch)

    engine.add(Bottom("bottom", depends_on=["left", "right"], log=log))
    engine.add(Collector("right", depends_on=["top"], log=log))
    engine.add(Collector("left", depends_on=["top"], log=log))
    engine.add(Collector("top", log=log))
    engine.scheduler.deliver(said("a"))
    assert log == ["top", "left", "right", "bottom"]
    assert mixtures == [(("a",), ("a",), ["signals:left", "signals:right", "signals:top"])]


def test_a_derived_view_runs_without_facts_of_its_own_when_its_input_changed(engine: Engine) -> None:
    class Unread(Collector):
        def update(self, batch: Batch[Said]) -> State | Unchanged:
            self.batches.append(batch)
            chat = batch.inputs["signals:chat"]
            assert isinstance(chat, tuple)
            return (f"{len(chat)} unread",)

    unread = Unread("unread", kinds=(), depends_on=["chat"])
    engine.add(unread)
    engine.add(Collector())
    snapshots = engine.follow(unread)
    engine.scheduler.deliver(said("a", "b"))
    engine.scheduler.deliver(said("other", kind="contacts"))
    assert snapshots == [("2 unread",)]
    assert [batch.facts for batch in unread.batches] == [()]


def test_a_cycle_is_refused_at_registration_and_leaves_nothing_behind(engine: Engine) -> None:
    engine.add(Collector("a", depends_on=["b"]))
    with pytest.raises(CycleDetected, match="signals:a -> signals:b -> signals:a"):
        engine.add(Collector("b", depends_on=["a"]))
    with pytest.raises(SignalNotFound):
        engine.hub.read(Signal("app:b", tuple[str, ...]))
    engine.add(Collector("b"))
    engine.scheduler.deliver(said("x"))
    assert [view.view_id for view in engine.scheduler.statistics().views] == ["signals:b", "signals:a"]


def test_a_taken_view_id_or_signal_is_refused(engine: Engine) -> None:
    engine.add(Collector())
    with pytest.raises(ViewAlreadyRegistered, match="view_id='signals:chat', which is registered already"):
        engine.add(Collector())
    second = Collector()
    second.view_id = "signals:second"
    with pytest.raises(SignalAlreadyRegistered, match="app:chat"):
        engine.add(second)
    assert len(engine.scheduler.statistics().views) == 1


def test_a_window_of_facts_is_one_snapshot_and_an_unrelated_view_neither_runs_nor_emits(engine: Engine) -> None:
    chat, contacts = engine.add(Collector()), engine.add(Collector("contacts", kinds=["contacts"]))
    chat_snapshots, contacts_snapshots = engine.follow(chat), engine.follow(contacts)
    engine.scheduler.deliver(said(*(f"{index}" for index in range(100))))
    assert [len(snapshot) for snapshot in chat_snapshots] == [100]
    assert (contacts_snapshots, contacts.batches) == ([], [])


def test_a_view_is_given_only_facts_of_its_kinds_in_order_of_arrival(engine: Engine) -> None:
    mixed = [*said("a"), *said("b", kind="contacts"), *said("c"), *said("d", kind="unknown")]
    everything, both = Collector("all", kinds=None), Collector("both", kinds=["contacts", "chat"])
    for view in (everything, both):
        engine.add(view)
    engine.scheduler.deliver(mixed)
    assert (everything.state, both.state) == (("a", "b", "c", "d"), ("a", "b", "c"))


def test_a_view_that_gives_an_equal_snapshot_emits_nothing(engine: Engine) -> None:
    class Repeating(Collector):
        def update(self, batch: Batch[Said]) -> State | Unchanged:
            return ("always", "the same")

    view = engine.add(Repeating())
    snapshots = engine.follow(view)
    engine.scheduler.deliver(said("a"))
    engine.scheduler.deliver(said("b"))
    assert snapshots == [("always", "the same")]
    assert engine.hub.snapshot(view.signal).version == 1


def test_a_failing_view_keeps_its_snapshot_sets_the_error_signal_and_stops_no_other(clock: VirtualClock) -> None:
    reported: list[tuple[str, str]] = []
    engine = build_engine(clock, on_view_failure=lambda view_id, error: reported.append((view_id, str(error))))
    failing, other = engine.add(Failing()), engine.add(Collector("other"))
    engine.scheduler.deliver(said("a"))
    engine.scheduler.deliver(said("bad"))
    assert engine.hub.read(failing.signal) == ("a",)
    assert engine.hub.read(other.signal) == ("a", "bad")
    error = engine.hub.read(ERROR_SIGNAL)
    assert error is not None
    assert (error.code, error.type_id, error.fact_id) == ("view-failed", "chat", "bad")
    assert "signals:chat raised ValueError: cannot fold this; it keeps its previous snapshot" in error.text
    assert reported == [("signals:chat", "cannot fold this")]
    engine.scheduler.deliver(said("c"))
    assert engine.hub.read(failing.signal) == ("a", "c")
    assert engine.scheduler.statistics().views[0].failure_count == 1


def test_the_error_signal_is_emitted_after_the_views_of_its_batch(engine: Engine) -> None:
    engine.add(Failing("first"))
    other = engine.add(Collector("other"))
    seen: list[State] = []
    engine.hub.subscribe(ERROR_SIGNAL, replay_current=False).for_each(
        lambda _: seen.append(engine.hub.read(other.signal))
    )
    engine.scheduler.deliver(said("bad"))
    assert seen == [("bad",)]


def test_a_snapshot_of_the_wrong_type_is_a_failure_of_its_view(engine: Engine) -> None:
    class Wrong(Collector):
        def update(self, batch: Batch[Said]) -> State | Unchanged:
            return ["a list"]  # type: ignore[return-value]  # the mistake itself

    view = engine.add(Wrong())
    engine.scheduler.deliver(said("a"))
    error = engine.hub.read(ERROR_SIGNAL)
    assert error is not None
    assert "TypeMismatch" in error.text
    assert engine.hub.read(view.signal) == ()


def test_a_view_registered_late_starts_from_the_snapshot_it_is_given_and_can_leave_again(engine: Engine) -> None:
    view = Collector()
    view.state = ("from history",)
    engine.scheduler.register_view(view, view.state)
    engine.scheduler.deliver(said("a"))
    assert engine.hub.read(view.signal) == ("from history", "a")
    subscription = engine.hub.subscribe(view.signal)
    engine.scheduler.unregister_view(view.view_id)
    engine.scheduler.deliver(said("b"))
    assert subscription.is_closed
    assert view.state == ("from history", "a")
    with pytest.raises(ViewNotFound, match="registered are: none yet"):
        engine.scheduler.unregister_view(view.view_id)


def test_a_view_that_comes_or_goes_between_two_windows_of_one_kind_is_not_forgotten(engine: Engine) -> None:
    # Who runs for a mixture of kinds is remembered from window to window.
    first, second = Collector("first"), Collector("second")
    engine.add(first)
    engine.scheduler.deliver(said("a"))
    engine.add(second)
    engine.scheduler.deliver(said("b"))
    assert (first.state, second.state) == (("a", "b"), ("b",))
    engine.scheduler.unregister_view(first.view_id)
    engine.scheduler.deliver(said("c"))
    assert (first.state, second.state) == (("a", "b"), ("b", "c"))


# News


def test_each_batch_is_announced_after_its_signals_with_what_changed(engine: Engine) -> None:
    view = engine.add(Collector())
    engine.add(Collector("contacts", kinds=["contacts"]))
    reads: list[State] = []
    engine.scheduler.updates().subscribe(lambda _: reads.append(engine.hub.read(view.signal)))
    news = engine.news()
    engine.scheduler.deliver(said("a", "b", "a"))
    engine.scheduler.deliver(said("x", kind="unknown"), unique=True)
    run = ViewRun("signals:chat", view.signal.signal_id, (("chat", 2),), (), is_changed=True)
    assert news == [
        ViewChanged("signals:chat", version=1),
        BatchDone(1, ("a", "b"), 2, ("signals:chat",), tuple(said("a", "b")), (run,)),
        BatchDone(2, ("x",), 1, (), tuple(said("x", kind="unknown"))),
    ]
    assert reads == [("a", "b")] * 3


def test_a_raising_observer_of_batches_is_detached_and_touches_nothing(engine: Engine) -> None:
    engine.add(Collector())
    engine.scheduler.updates().subscribe(lambda _: 1 // 0)
    news = engine.news()
    engine.scheduler.deliver(said("a"))
    engine.scheduler.deliver(said("b"))
    assert [type(each) for each in news] == [ViewChanged, BatchDone] * 2
    error = engine.hub.read(ERROR_SIGNAL)
    assert error is not None
    assert "an observer of batches raised ZeroDivisionError" in error.text


def test_a_disposed_observer_of_batches_hears_nothing_more(engine: Engine) -> None:
    heard: list[object] = []
    disposable = engine.scheduler.updates().subscribe(heard.append)
    disposable.dispose()
    engine.scheduler.deliver(said("a"))
    assert heard == []


# Commits


def test_a_commit_settles_with_its_own_batch_not_with_an_earlier_one(engine: Engine, clock: VirtualClock) -> None:
    view = engine.add(Collector())
    commit = engine.scheduler.try_publish(said("mine"))
    seen: list[State] = []
    commit.on_settled(lambda: seen.append(engine.hub.read(view.signal)))
    for index in range(20):  # a flood from elsewhere, batch after batch
        engine.scheduler.deliver(said(f"flood {index}"))
        assert not commit.is_settled
    clock.advance(5)
    assert commit.is_processed
    assert len(seen) == 1
    assert "mine" in seen[0]


def test_a_commit_over_several_windows_settles_with_the_last(engine: Engine, clock: VirtualClock) -> None:
    engine.add(Collector())
    commit = engine.scheduler.try_publish(said(*map(str, range(1500))))
    assert (engine.batch_sizes(), commit.is_settled) == ([1000], False)
    clock.advance(5)
    assert commit.is_processed


def test_a_fact_that_is_visible_already_settles_at_once(engine: Engine, clock: VirtualClock) -> None:
    engine.add(Collector())
    engine.scheduler.try_publish(said("a"))
    clock.advance(5)
    assert engine.scheduler.try_publish(said("a")).is_processed
    assert engine.scheduler.commit_of(["a"]).is_processed
    waiting = engine.scheduler.commit_of(["b"])
    engine.scheduler.deliver(said("b"), unique=True)
    assert waiting.is_processed


def test_a_commit_asked_for_inside_its_batch_settles_after_the_emission(engine: Engine) -> None:
    view = Collector()
    asked: list[bool] = []
    commits = []

    class Asking(Collector):
        def update(self, batch: Batch[Said]) -> State | Unchanged:
            commits.append(engine.scheduler.commit_of(["a"]))
            asked.append(commits[0].is_settled)
            return UNCHANGED

    engine.add(view)
    engine.add(Asking("asking"))
    engine.scheduler.deliver(said("a"))
    assert (asked, commits[0].is_processed) == ([False], True)


# Replay


def test_replayed_history_is_emitted_once_and_equals_the_live_result(clock: VirtualClock) -> None:
    facts = said(*map(str, range(300)))
    live, replayed = build_engine(clock), build_engine(clock)
    for engine in (live, replayed):
        engine.add(Collector())
    for fact in facts:
        live.scheduler.deliver([fact])
    updates: list[Update[State]] = []
    subscription = replayed.hub.subscribe(Collector().signal)
    replayed.scheduler.begin_replay()
    subscription.for_each(updates.append)
    for start in range(0, 300, 100):
        replayed.scheduler.deliver(facts[start : start + 100])
    assert replayed.hub.snapshot(Collector().signal).ready is False
    assert [update.value for update in updates] == [()]
    replayed.scheduler.end_replay()
    replayed.scheduler.end_replay()
    assert [update.live for update in updates] == [True, True]  # the first was taken before the replay began
    assert [update.seq for update in updates] == [0, 1]
    assert updates[-1].value == live.hub.read(Collector().signal)


def test_a_subscriber_during_replay_is_told_that_the_value_is_not_live_yet(engine: Engine) -> None:
    engine.scheduler.begin_replay()
    view = engine.add(Collector())
    subscription = engine.hub.subscribe(view.signal)
    engine.scheduler.deliver(said("a"))
    engine.scheduler.end_replay()
    assert subscription.try_recv() == Update((), 0, 0, live=False)
    assert subscription.try_recv() == Update(("a",), 1, 0, live=True)


def test_an_empty_replay_still_says_that_the_signals_are_ready(engine: Engine) -> None:
    view = engine.add(Collector())
    engine.scheduler.begin_replay()
    subscription = engine.hub.subscribe(view.signal)
    engine.scheduler.end_replay()
    assert [subscription.try_recv(), subscription.try_recv()] == [Update((), 0, 0, False), Update((), 1, 0, True)]


def test_facts_that_are_history_and_live_at_once_count_once(engine: Engine, clock: VirtualClock) -> None:
    view = engine.add(Collector())
    snapshots = engine.follow(view)
    engine.scheduler.begin_replay()
    commit = engine.scheduler.try_publish(said("b", "c"))
    engine.scheduler.deliver(said("a", "b"))
    clock.advance(5)
    assert (snapshots, commit.is_settled) == ([], False)
    engine.scheduler.end_replay()
    assert snapshots == [("a", "b", "c")]
    assert commit.is_processed
    assert [fact.fact_id for batch in view.batches for fact in batch.facts] == ["a", "b", "c"]


# Wake-ups


def test_one_timer_is_armed_for_the_earliest_wake_up(engine: Engine, clock: VirtualClock) -> None:
    start = clock.now_ms()
    view = Expiring([start + 300, start + 100])
    other = Expiring([start + 200])
    other.view_id, other.signal = "signals:other", Signal("app:other", tuple[str, ...])
    engine.add(view)
    engine.add(other)
    assert clock.armed_count == 1
    clock.advance(99)
    assert (view.batches, other.batches) == ([], [])
    clock.advance(1)
    assert [(batch.facts, batch.now_ms - start) for batch in view.batches] == [((), 100)]
    assert other.batches == []
    assert clock.armed_count == 1
    clock.advance(200)
    assert [batch.now_ms - start for batch in view.batches] == [100, 300]
    assert [batch.now_ms - start for batch in other.batches] == [200]
    assert engine.hub.read(view.signal) == engine.hub.read(other.signal) == ()
    assert clock.armed_count == 0
    clock.advance(10_000)
    assert engine.batch_sizes() == [0, 0, 0]


def test_a_fact_that_brings_an_earlier_deadline_moves_the_timer(engine: Engine, clock: VirtualClock) -> None:
    start = clock.now_ms()

    class Learning(Expiring):
        def update(self, batch: Batch[Said]) -> State | Unchanged:
            self.deadlines_ms = [*self.deadlines_ms, *(start + int(fact.fact_id) for fact in batch.facts)]
            return super().update(batch)

    view = Learning([start + 500], kinds=["chat"])
    engine.add(view)
    engine.scheduler.deliver(said("50"))
    assert clock.armed_count == 1
    clock.advance(50)
    assert engine.hub.read(view.signal) == (str(start + 500),)


def test_a_batch_of_facts_also_serves_a_wake_up_that_is_due(engine: Engine, clock: VirtualClock) -> None:
    view = Expiring([clock.now_ms() + 100], kinds=["other"])
    engine.add(view)
    engine.scheduler.pause()
    clock.advance(150)
    engine.scheduler.resume()
    assert len(view.batches) == 1
    assert engine.hub.read(view.signal) == ()


def test_a_view_that_wants_to_wake_in_the_past_slows_down_instead_of_spinning(
    engine: Engine, clock: VirtualClock
) -> None:
    class Stuck(Expiring):
        def next_wakeup_ms(self) -> int | None:
            return 1

    view = Stuck([])
    engine.add(view)
    clock.advance(60_000)
    assert 60 <= len(view.batches) <= 80
    assert clock.armed_count == 1


def test_a_view_that_cannot_tell_its_wake_up_is_reported_and_goes_on(engine: Engine) -> None:
    class Confused(Expiring):
        def next_wakeup_ms(self) -> int | None:
            raise LookupError("no idea") if self.batches else LookupError("not yet")

    view = engine.add(Confused([], kinds=["chat"]))
    error = engine.hub.read(ERROR_SIGNAL)
    assert error is not None
    assert "LookupError: not yet" in error.text
    engine.scheduler.deliver(said("a"))
    error = engine.hub.read(ERROR_SIGNAL)
    assert error is not None
    assert "LookupError: no idea" in error.text
    engine.scheduler.deliver(said("b"))
    assert len(view.batches) == 2


def test_a_wall_clock_that_is_set_back_delays_a_wake_up_and_does_not_lose_it(clock: VirtualClock) -> None:
    class SetBack:
        offset_ms = 0

        def now_ms(self) -> int:
            return clock.now_ms() + self.offset_ms

    wall = SetBack()
    scheduler = ReactiveScheduler[Said](
        SignalHub(), clock.scheduler, wall, kind_of=attrgetter("kind"), id_of=attrgetter("fact_id")
    )
    view = Expiring([wall.now_ms() + 100])
    scheduler.register_view(view, ())
    wall.offset_ms = -50
    clock.advance(149)
    assert view.batches == []
    clock.advance(1)
    assert len(view.batches) == 1
    assert clock.armed_count == 0


def test_no_timer_runs_during_replay(engine: Engine, clock: VirtualClock) -> None:
    view = Expiring([clock.now_ms() + 10])
    engine.add(view)
    engine.scheduler.begin_replay()
    clock.advance(100)
    assert (clock.armed_count, view.batches) == (0, [])
    engine.scheduler.end_replay()
    clock.advance(0.1)
    assert engine.hub.read(view.signal) == ()
    assert len(view.batches) == 1


# The end


def test_shutdown_folds_the_partial_window_and_then_refuses_more(engine: Engine, clock: VirtualClock) -> None:
    view = engine.add(Expiring([clock.now_ms() + 1000], kinds=["chat"]))
    log: list[str] = []
    engine.scheduler.updates().subscribe(lambda _: log.append("news"), on_completed=lambda: log.append("completed"))
    commit = engine.scheduler.try_publish(said("a"))
    never = engine.scheduler.commit_of(["never delivered"])
    engine.scheduler.shutdown()
    engine.scheduler.shutdown()
    assert [fact.fact_id for batch in view.batches for fact in batch.facts] == ["a"]
    assert commit.is_processed
    assert isinstance(never.error, SchedulerShutdown)
    assert log == ["news", "completed"]
    assert clock.armed_count == 0
    engine.scheduler.updates().subscribe(log.append, on_completed=lambda: log.append("over already"))
    assert log[2:] == ["over already"]
    with pytest.raises(SchedulerShutdown, match="publish 1 facts"):
        engine.scheduler.try_publish(said("b"))
    with pytest.raises(SchedulerShutdown, match="fold 1 facts"):
        engine.scheduler.deliver(said("b"))
    with pytest.raises(SchedulerShutdown, match="signals:late"):
        engine.add(Collector("late"))


def test_shutdown_folds_what_a_paused_scheduler_holds(engine: Engine) -> None:
    view = engine.add(Collector())
    engine.scheduler.pause()
    commit = engine.scheduler.try_publish(said("a"))
    engine.scheduler.deliver(said("b"))
    engine.scheduler.shutdown()
    assert set(engine.hub.read(view.signal)) == {"a", "b"}
    assert commit.is_processed


def test_shutdown_from_inside_a_batch_lets_that_batch_finish(engine: Engine) -> None:
    view = engine.add(Collector())
    snapshots = engine.follow(view)
    engine.hub.subscribe(view.signal, replay_current=False).for_each(lambda _: engine.scheduler.shutdown())
    commit = engine.scheduler.try_publish(said("a"))
    engine.scheduler.flush()
    assert (snapshots, commit.is_processed) == ([("a",)], True)
    with pytest.raises(SchedulerShutdown):
        engine.scheduler.try_publish(said("b"))


# Figures and laws


def test_statistics_move_as_expected(clock: VirtualClock) -> None:
    engine = build_engine(clock, SchedulerConfig(collect_stats=True))
    engine.add(Collector())
    assert engine.scheduler.statistics().latency_p50_us is None
    for index in range(10):
        engine.scheduler.try_publish(said(f"{index}", "twice"))
        assert engine.scheduler.statistics().window_count == 2
        clock.advance(5)
    statistics = engine.scheduler.statistics()
    assert (statistics.batch_count, statistics.fact_count, statistics.duplicate_count) == (10, 11, 9)
    assert (statistics.latency_p50_us, statistics.latency_p95_us) == (pytest.approx(5000), pytest.approx(5000))
    assert statistics.views[0][:4] == ("signals:chat", 10, 10, 0)
    engine.scheduler.deliver(said("late"), accepted_at=clock.monotonic() - 0.25)
    assert engine.scheduler.statistics().latency_p95_us == pytest.approx(250_000)


def test_latencies_are_not_kept_unless_asked_for(engine: Engine, clock: VirtualClock) -> None:
    engine.scheduler.try_publish(said("a"))
    clock.advance(5)
    assert engine.scheduler.statistics().latency_p50_us is None


SCHEDULE = st.lists(st.tuples(st.floats(0, 8), st.lists(st.integers(0, 40), min_size=1, max_size=8)), max_size=20)


@given(SCHEDULE)
def test_equal_inputs_at_equal_times_give_equal_traces(schedule: list[tuple[float, list[int]]]) -> None:
    def run() -> tuple[list[object], State]:
        clock = VirtualClock()
        engine = build_engine(clock, SchedulerConfig(max_batch_size=10))
        view = engine.add(Collector())
        trace: list[object] = []
        engine.scheduler.updates().subscribe(lambda news: trace.append((clock.now_ms(), news)))
        for pause_ms, numbers in schedule:
            clock.advance(pause_ms)
            engine.scheduler.try_publish(said(*map(str, numbers)))
        clock.advance(5)
        return trace, engine.hub.read(view.signal)

    assert run() == run()


@given(schedule=SCHEDULE, replayed=st.integers(0, 20))
def test_every_published_fact_is_folded_once_in_order_whatever_the_windows(
    schedule: list[tuple[float, list[int]]], replayed: int
) -> None:
    clock = VirtualClock()
    engine = build_engine(clock, SchedulerConfig(max_batch_size=10))
    view = engine.add(Collector())
    versions: list[int] = []
    engine.hub.subscribe(view.signal).for_each(lambda update: versions.append(update.seq))
    engine.scheduler.begin_replay()
    for index, (pause_ms, numbers) in enumerate(schedule):
        if index == replayed:
            engine.scheduler.end_replay()
        clock.advance(pause_ms)
        engine.scheduler.try_publish(said(*map(str, numbers)))
    engine.scheduler.end_replay()
    clock.advance(5)
    expected = tuple(dict.fromkeys(str(number) for _, numbers in schedule for number in numbers))
    folded = tuple(fact.fact_id for batch in view.batches for fact in batch.facts)
    assert folded == expected == engine.hub.read(view.signal)
    assert versions == sorted(set(versions))
    assert engine.scheduler.statistics().awaited_fact_count == 0

"""The reactive scheduler: facts in windows, views in order, one emission a batch.

Performs no I/O, starts no task and reads no clock of its own: time is the `clock` and the Rx `scheduler` it is given,
so a test runs it on virtual time. It does not make facts durable; what reaches it may be shown. Rx sees windows,
never single facts. Belongs to one thread. `streams.ReactiveScheduler` adds what can be awaited.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from .commit import CommitTable, PendingCommit, SeenIds, call_each
from .errors import BackPressure, SchedulerShutdown, ViewAlreadyRegistered, ViewNotFound, failure_of
from .hub import SignalHub, SignalOwner, check_state
from .node_table import POSITION_OF, FieldOf, Node, NodeTable
from .signal import AppError, Signal
from .sink import FactSink
from .unchanged import UNCHANGED
from .view import Batch, SelectiveView, View, WakingView
from .window import COUNT_MAX, WINDOW_MS, Window

if TYPE_CHECKING:
    from reactivex import Observable
    from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

F = TypeVar("F")
S = TypeVar("S")
C = TypeVar("C", bound=PendingCommit)

# Enough for a stable p95; older latencies say nothing about now.
LATENCY_SAMPLES_MAX = 1024

# A view that asks again and again for a moment that is past is woken after 1, 2, 4, … ms, never faster than this cap.
STALLED_WAKEUP_MS_MAX = 1024

_NOTHING: frozenset[str] = frozenset()
_NO_FACTS: tuple[()] = ()


class Clock(Protocol):
    """The time that views see."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """The scheduler's limits; the defaults are the documented ones.

    `publish_capacity` and `queued_fact_max` bound what waits in front of the window while a batch is being processed
    or the scheduler is paused. `seen_fact_max` is how many ids of published facts are remembered against duplicates.
    """

    batch_window_ms: float = WINDOW_MS
    max_batch_size: int = COUNT_MAX
    publish_capacity: int = 256
    queued_fact_max: int = 100_000
    seen_fact_max: int = 100_000
    collect_stats: bool = False


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """A view's signal holds a new snapshot."""

    view_id: str
    version: int


class ViewRun(NamedTuple):
    """Why a view or a live query ran in a batch, and whether it gave another snapshot.

    `kinds` says how many facts of each kind concerned it; `inputs` names the changed views that it looks at. With
    neither, its clock woke it, or it was touched.
    """

    view_id: str
    signal_id: str
    kinds: tuple[tuple[str, int], ...]
    inputs: tuple[str, ...]
    is_changed: bool


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A batch was folded by every view and its signals were emitted. `fact_ids` are without duplicates.

    `facts` are those facts; `runs` says who was recomputed for them, and why, in order.
    """

    batch_id: int
    fact_ids: tuple[Hashable, ...]
    count: int
    changed_views: tuple[str, ...]
    facts: tuple[object, ...] = ()
    runs: tuple[ViewRun, ...] = ()


class ViewStatistics(NamedTuple):
    """How often a view ran, gave a new snapshot, and failed; and when it wants to run again, if it does."""

    view_id: str
    run_count: int
    change_count: int
    failure_count: int
    wakeup_ms: int | None


class SchedulerStatistics(NamedTuple):
    """The insides of a scheduler. Latencies, in microseconds, are None unless `collect_stats` is on.

    A latency runs from the first fact of a window to the end of its emission.
    """

    batch_count: int
    fact_count: int
    duplicate_count: int
    queued_publish_count: int
    queued_fact_count: int
    backlog_fact_count: int
    window_count: int
    awaited_fact_count: int
    is_timer_armed: bool
    latency_p50_us: float | None
    latency_p95_us: float | None
    views: tuple[ViewStatistics, ...]


class _Delivery(NamedTuple, Generic[F]):
    facts: Sequence[F]
    is_unique: bool
    accepted_at: float | None


class SchedulerCore(Generic[F, C]):
    """Folds facts into views and emits their signals; see `streams.ReactiveScheduler` for the public face.

    `kind_of` and `id_of` read a fact's kind and id; `size_of`, if given, its bytes. `new_commit` makes what `publish`
    hands out. `on_view_failure` is told of a view that raised, after the batch; `ERROR_SIGNAL` says so in any case.
    """

    def __init__(
        self,
        hub: SignalHub,
        scheduler: SchedulerBase,
        clock: Clock,
        *,
        kind_of: Callable[[F], str],
        id_of: Callable[[F], Hashable],
        new_commit: Callable[[Iterable[Hashable]], C],
        config: SchedulerConfig | None = None,
        size_of: Callable[[F], int] | None = None,
        monotonic: Callable[[], float] | None = None,
        on_view_failure: Callable[[str, Exception], None] | None = None,
        field_of: FieldOf[F] | None = None,
    ) -> None:
        self.config = config or SchedulerConfig()
        self._hub = hub
        self._scheduler = scheduler
        self._clock = clock
        self._kind_of = kind_of
        self._id_of = id_of
        self._size_of = size_of
        self._new_commit = new_commit
        self._monotonic = monotonic or (lambda: clock.now_ms() / 1000)
        self._on_view_failure = on_view_failure
        self._window: Window[F] = Window(
            scheduler,
            self._on_window_closed,
            window_ms=self.config.batch_window_ms,
            count_max=self.config.max_batch_size,
            size_of=size_of,
        )
        self._window_opened_at: float | None = None
        self._nodes: NodeTable[F] = NodeTable(field_of or _attribute)
        self._touched: dict[Node[F], None] = {}
        self._inputs = self._nodes.snapshots
        self._input: deque[Sequence[F]] = deque()
        self._queued_fact_count = 0
        self._backlog: deque[_Delivery[F]] = deque()
        self._backlog_fact_count = 0
        self._is_woken = False
        self._seen = SeenIds(self.config.seen_fact_max)
        self._commits = CommitTable()
        self._in_progress: Sequence[Hashable] = ()
        self._settled_in_replay: list[Hashable] = []
        self._observers: dict[ObserverBase[BatchDone | ViewChanged], None] = {}
        self._runs: list[ViewRun] = []
        self._room_waiters: list[Callable[[], object]] = []
        self._timer: DisposableBase | None = None
        self._timer_at_ms: int | None = None
        self._failures: list[tuple[str, Exception, AppError]] = []
        self._latencies: deque[float] = deque(maxlen=LATENCY_SAMPLES_MAX)
        self._batch_id = 0
        self._fact_count = 0
        self._duplicate_count = 0
        self._is_running = False
        self._is_paused = False
        self._is_replaying = False
        self._is_shutting_down = False
        self._is_closed = False
        hub.on_room(self._on_room)

    # Views

    def register_view(self, view: View[F, S], initial: S) -> None:
        """Run `view` from now on; its signal is registered with `initial`, which may be a snapshot already folded.

        Raises `CycleDetected`, `SignalAlreadyRegistered`, `TypeMismatch`, `SchedulerShutdown`, and
        `ViewAlreadyRegistered` for a view id that is taken; nothing is registered then.
        """
        if self._is_shutting_down:
            raise SchedulerShutdown(f"register view {view.view_id!r}")
        if view.view_id in self._nodes:
            raise ViewAlreadyRegistered(view.view_id)
        reads = view.reads if isinstance(view, SelectiveView) else ()
        order = self._nodes.plan(view.view_id, (*view.depends_on, *reads))
        owner = self._hub.register(view.signal, initial)
        if self._is_replaying:
            self._hub.mark_unready(owner)
        node = Node[F](
            view_id=view.view_id,
            kinds=view.kinds,
            predicates=view.predicates if isinstance(view, SelectiveView) else (),
            depends_on=tuple(view.depends_on),
            reads=tuple(reads),
            owner=owner,  # type: ignore[arg-type]  # views of many state types share one table
            value=initial,
            update=view.update,
            next_wakeup_ms=view.next_wakeup_ms if isinstance(view, WakingView) else None,
            state_types=view.signal.runtime_types,
        )
        self._nodes.add(node, order)
        self._note_wakeup(node, self._clock.now_ms())
        self._arm_timer()
        if not self._is_running:
            self._emit_errors()
            self._report_failures()

    def unregister_view(self, view_id: str) -> None:
        """Stop running a view and forget its signal; its subscriptions end. Raises `ViewNotFound`."""
        if view_id not in self._nodes:
            raise ViewNotFound(view_id, known=self._inputs)
        node = self._nodes.remove(view_id)
        self._touched.pop(node, None)
        self._hub.unregister(node.owner)
        self._arm_timer()

    def snapshots(self) -> Mapping[str, object]:
        """The newest snapshot of every view by id, live and read-only: what a view that joins late starts from."""
        return self._inputs

    def view_of(self, signal: Signal[Any]) -> str | None:
        """The id of the view that owns a signal; None when no view here does."""
        return self._nodes.behind(signal.signal_id)

    # Facts in

    @property
    def is_closed(self) -> bool:
        """Whether it was shut down, and takes nothing more."""
        return self._is_closed

    def try_publish(self, facts: Sequence[F]) -> C:
        """Put facts into the window; they are folded when it closes. What was seen before is dropped there.

        Raises `BackPressure` when a batch is being processed, or the scheduler is paused, and too much waits already;
        nothing is taken then. Raises `SchedulerShutdown` after `shutdown`.
        """
        if self._is_shutting_down:
            raise SchedulerShutdown(f"publish {len(facts)} facts")
        is_busy = self._is_running or self._is_held
        if is_busy and not self._has_room(len(facts)):
            raise BackPressure(
                queued_publish_count=len(self._input),
                queued_fact_count=self._queued_fact_count,
                publish_max=self.config.publish_capacity,
                fact_max=self.config.queued_fact_max,
            )
        commit = self.commit_of(map(self._id_of, facts))
        if is_busy:
            self._input.append(facts)
            self._queued_fact_count += len(facts)
        else:
            self._offer(facts)
        return commit

    def deliver(self, facts: Sequence[F], *, unique: bool = False, accepted_at: float | None = None) -> None:
        """Fold a window that was closed elsewhere, as one batch, before this returns.

        (When called from inside a batch, by a view or a subscriber, it is folded right after that batch; while paused,
        after `resume`.) `unique` promises that no fact comes twice, so none is looked up or remembered. `accepted_at`
        is the monotonic time of the first fact, for the latency figures. Raises `SchedulerShutdown`.
        """
        if self._is_closed:
            raise SchedulerShutdown(f"fold {len(facts)} facts")
        if accepted_at is None and self.config.collect_stats:
            accepted_at = self._monotonic()
        # Building a named tuple through its class costs twice as much.
        self._backlog.append(tuple.__new__(_Delivery, (facts, unique, accepted_at)))
        self._backlog_fact_count += len(facts)
        self._drain()

    def touch(self, view_id: str) -> None:
        """Run a view without facts, now: its state changed by other means (a refold elsewhere). Unknown ids are
        ignored."""
        node = self._nodes.get(view_id)
        if node is not None and not self._is_closed:
            self._touched[node] = None
            self.deliver((), unique=True)

    def commit_of(self, fact_ids: Iterable[Hashable]) -> C:
        """What tells when these facts are visible. Ask before they are delivered; published ones seen already count."""
        commit = self._new_commit(fact_ids)
        self._commits.add(commit)
        self._commits.settle_in(commit, self._is_visible)
        return commit

    def flush(self) -> None:
        """Close the window now, and fold what is in it."""
        self._window.flush()

    def pause(self) -> None:
        """Fold nothing until `resume`: publishes wait in the bounded input, then their producers do."""
        self._is_paused = True

    def resume(self) -> None:
        """Fold what waited, and go on."""
        self._is_paused = False
        self._drain()
        self._arm_timer()

    def fact_sender(self) -> FactSink[F]:
        """Where a journal sends its durable windows: `journal.attach_fact_sink(scheduler.fact_sender())`."""
        return _FactSender(self)

    @property
    def has_room(self) -> bool:
        """Whether what waits to be folded is within the limit. Past it, who delivers should wait for `when_room`."""
        return self._backlog_fact_count < self.config.queued_fact_max or self._is_closed

    @property
    def is_settled(self) -> bool:
        """Whether everything that was delivered is folded: nothing waits, and no batch is running."""
        return not (self._is_running or self._backlog or self._input)

    def when_room(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when something that waited in the input was taken, or will never be."""
        self._room_waiters.append(callback)

    def _has_room(self, fact_count: int) -> bool:
        if not self._input:  # one publish may be larger than the limit; it is in memory already
            return True
        return (
            len(self._input) < self.config.publish_capacity
            and self._queued_fact_count + fact_count <= self.config.queued_fact_max
        )

    def _is_visible(self, fact_id: Hashable) -> bool:
        """Whether a published fact was folded and emitted already."""
        return fact_id in self._seen and fact_id not in self._in_progress and not self._is_replaying

    def _offer(self, facts: Sequence[F]) -> None:
        if self.config.collect_stats and not self._window.pending_count:
            self._window_opened_at = self._monotonic()
        size = sum(map(self._size_of, facts)) if self._size_of is not None else 0
        self._window.offer(facts, size)

    def _on_window_closed(self, facts: list[F]) -> None:
        self._queue(_Delivery(facts, False, self._window_opened_at))

    # Batches

    def _queue(self, delivery: _Delivery[F]) -> None:
        self._backlog.append(delivery)
        self._backlog_fact_count += len(delivery.facts)
        self._drain()

    @property
    def _is_held(self) -> bool:
        """Whether nothing may be folded now: paused, or a blocking subscriber has not read. The end waits for none."""
        return (self._is_paused or self._hub.is_blocked) and not self._is_shutting_down

    def _on_room(self) -> None:
        """A blocking subscriber has read: go on, though not inside its call."""
        if not self._is_woken and not self._is_closed:
            self._is_woken = True
            self._scheduler.schedule(self._go_on)

    def _go_on(self, _scheduler: SchedulerBase, _state: object = None) -> None:
        self._is_woken = False
        self._drain()

    def _drain(self) -> None:
        """Process everything that is ready; a nested call leaves its work to the one that is running."""
        if self._is_running:
            return
        self._is_running = True
        try:
            while (self._backlog or self._input) and not self._is_held:
                if self._backlog:
                    delivery = self._backlog.popleft()
                    self._backlog_fact_count -= len(delivery.facts)
                    self._process(delivery)
                else:
                    self._take_input()
        finally:
            self._is_running = False
        if self._room_waiters and self.has_room and not self._is_held:
            self._wake_waiters()
        if self._is_shutting_down and not self._is_closed:
            self._finish_shutdown()

    def _take_input(self) -> None:
        while self._input:
            facts = self._input.popleft()
            self._queued_fact_count -= len(facts)
            self._offer(facts)
        self._wake_waiters()

    def _process(self, delivery: _Delivery[F]) -> None:
        now_ms = self._clock.now_ms()
        facts, fact_ids = (delivery.facts, None) if delivery.is_unique else self._without_duplicates(delivery.facts)
        if facts or self._is_wakeup_due(now_ms):
            self._batch_id += 1
            self._fact_count += len(facts)
            changes = self._run_views(tuple(facts), now_ms)
            try:
                if changes and not self._is_replaying:
                    self._hub.emit_all(self._batch_id, changes)
                if self._failures:
                    self._emit_errors()
            finally:  # what a reporter of the hub's owner raises is for who delivered; the batch is through anyway
                self._finish(delivery, fact_ids, facts, changes)
        else:
            self._settle(delivery, fact_ids)
            self._rearm()

    def _finish(
        self,
        delivery: _Delivery[F],
        fact_ids: Sequence[Hashable] | None,
        facts: Sequence[F],
        changes: Sequence[tuple[SignalOwner[object], object]],
    ) -> None:
        """After the emission: who waits is told, and the clock is set, even when somebody's callback raises."""
        if delivery.accepted_at is not None:
            self._note_latency(delivery.accepted_at)
        try:
            if self._commits.waiting:
                self._settle(delivery, fact_ids)
            self._in_progress = ()
            if self._observers:
                self._announce(facts, changes)
        finally:
            self._rearm()
            if self._failures:
                self._report_failures()

    def _rearm(self) -> None:
        if self._nodes.sleepers or self._timer is not None:
            self._arm_timer()

    def _without_duplicates(self, came: Sequence[F]) -> tuple[Sequence[F], Sequence[Hashable]]:
        """The facts to fold, and the ids of all that came: what was seen before is as visible as what was folded."""
        fact_ids = list(map(self._id_of, came))
        self._in_progress = fact_ids
        facts, _ = self._seen.select_new(came, fact_ids)
        self._duplicate_count += len(fact_ids) - len(facts)
        return facts, fact_ids

    def _run_views(self, facts: tuple[F, ...], now_ms: int) -> list[tuple[SignalOwner[object], object]]:
        """Run whom the facts, the clock or a changed input concern, in order, each once; what is another value now.

        What a view raises stays with it. One loop for all of them: a call for each view would cost as much again.
        """
        nodes = self._nodes
        order, parts = nodes.select(facts, self._kind_of) if facts else ((), {})
        agenda = list(order)
        # Whoever runs for another reason than its facts: its change concerns its readers, whatever their predicates.
        stirred = self._take_stirred(now_ms) if self._touched or nodes.sleepers else {}
        if stirred:
            _add_without_facts(agenda, parts, stirred)
        shared: Batch[F] = tuple.__new__(Batch, (self._batch_id, facts, now_ms, _NOTHING, self._inputs))
        changes: list[tuple[SignalOwner[object], object]] = []
        changed_ids: list[str] = []
        version, has_links, is_observed = nodes.version, nodes.has_links, bool(self._observers)
        is_mixed = has_links or bool(parts)
        for node in agenda:
            node.run_count += 1
            batch = shared
            if is_mixed:
                mine = parts.get(node, facts)
                if mine is not facts or node.depends_on or node.reads:
                    batch = Batch(self._batch_id, mine, now_ms, frozenset(changed_ids), self._inputs)
            is_changed = False
            try:
                after = node.update(batch)
                if after is not UNCHANGED:
                    before = node.value
                    try:  # as `is_same` does
                        is_changed = not (before is after or before == after)
                    except Exception:  # the user's own __eq__
                        is_changed = True
                    if is_changed:
                        types = node.state_types
                        if types and not isinstance(after, types):
                            check_state(node.owner.signal, after)
                        node.value = after
            except BaseException as raised:  # a view ends here: it keeps its old snapshot, the others go on
                is_changed = False
                self._note_failure(node, failure_of(raised), batch.facts)
            if is_changed:
                node.change_count += 1
                changes.append((node.owner, after))
                if has_links:
                    changed_ids.append(node.view_id)
                    self._call_dependants(node, agenda, parts, stirred)
            if node.next_wakeup_ms is not None:
                self._note_wakeup(node, now_ms)
            if is_observed:
                self._note_run(node, batch, is_changed=is_changed)
            if nodes.version != version:  # the view took others out, or brought some in
                version, has_links = nodes.version, nodes.has_links
                is_mixed = is_mixed or has_links
                place = agenda.index(node) + 1
                agenda[place:] = sorted(filter(nodes.is_registered, agenda[place:]), key=POSITION_OF)
        return changes

    def _take_stirred(self, now_ms: int) -> dict[Node[F], None]:
        """Who was touched, and whom the clock wakes."""
        stirred, self._touched = self._touched, {}
        for node in self._nodes.sleepers:
            if node.wakeup_ms is not None and node.wakeup_ms <= now_ms:
                stirred[node] = None
        return stirred

    def _call_dependants(
        self, node: Node[F], agenda: list[Node[F]], parts: dict[Node[F], Sequence[F]], stirred: dict[Node[F], None]
    ) -> None:
        """After a change: who looks at it runs in this batch as well. All of them stand behind *node* in the order."""
        waiting = self._nodes.dependants(node.view_id)
        if node in stirred:
            waiting = [*waiting, *self._nodes.readers(node.view_id)]
        for other in waiting:
            place = bisect_left(agenda, other.position, key=POSITION_OF)
            if place == len(agenda) or agenda[place] is not other:
                agenda.insert(place, other)
                parts[other] = _NO_FACTS
            stirred[other] = None

    def _note_run(self, node: Node[F], batch: Batch[F], *, is_changed: bool) -> None:
        """Keep why a view ran, for who observes; nobody else pays for it."""
        kinds = tuple(Counter(map(self._kind_of, batch.facts)).items())
        inputs = tuple(each for each in (*node.depends_on, *node.reads) if each in batch.changed)
        self._runs.append(ViewRun(node.view_id, node.owner.signal.signal_id, kinds, inputs, is_changed))

    def _emit_errors(self) -> None:
        """Views that failed show as `ERROR_SIGNAL` only now, when every other view has had its turn."""
        for _, _, error in self._failures:
            self._hub.report_error(error)

    def _settle(self, delivery: _Delivery[F], fact_ids: Sequence[Hashable] | None) -> None:
        self._in_progress = ()
        settled = fact_ids if fact_ids is not None else list(map(self._id_of, delivery.facts))
        if self._is_replaying:
            self._settled_in_replay.extend(settled)
        else:
            self._commits.settle(settled)

    def _note_latency(self, accepted_at: float) -> None:
        self._latencies.append((self._monotonic() - accepted_at) * 1e6)

    # Replay

    def begin_replay(self) -> None:
        """Hold all emissions: what is delivered until `end_replay` is history. The signals are not `ready` meanwhile.

        Facts published meanwhile are folded too, once each if they are history at the same time.
        """
        self._is_replaying = True
        self._arm_timer()
        for node in self._nodes:
            self._hub.mark_unready(node.owner)

    def end_replay(self) -> None:
        """Emit every view's snapshot once, together, as ready; then waiting commits settle and timers run."""
        if not self._is_replaying:
            return
        self._is_replaying = False
        self._hub.emit_ready(self._batch_id, [(node.owner, node.value) for node in self._nodes])
        settled, self._settled_in_replay = self._settled_in_replay, []
        self._commits.settle(settled)
        self._arm_timer()

    # Wake-ups

    def _note_wakeup(self, node: Node[F], now_ms: int) -> None:
        if node.next_wakeup_ms is None:
            return
        try:
            wakeup_ms = node.next_wakeup_ms()
        except BaseException as raised:  # as for update
            self._note_failure(node, failure_of(raised), ())
            wakeup_ms = None
        if wakeup_ms is not None and wakeup_ms <= now_ms:
            wakeup_ms = now_ms + min(1 << min(node.stalled_count, 16), STALLED_WAKEUP_MS_MAX)
            node.stalled_count += 1
        else:
            node.stalled_count = 0
        node.wakeup_ms = wakeup_ms

    def _is_wakeup_due(self, now_ms: int) -> bool:
        return bool(self._touched) or any(
            node.wakeup_ms is not None and node.wakeup_ms <= now_ms for node in self._nodes.sleepers
        )

    def _arm_timer(self) -> None:
        """Keep exactly one timer, for the earliest wake-up; none when no view asks for one."""
        wakeups = [node.wakeup_ms for node in self._nodes.sleepers if node.wakeup_ms is not None]
        is_held = self._is_replaying or self._is_paused or self._is_shutting_down
        earliest_ms = None if is_held or not wakeups else min(wakeups)
        if earliest_ms == self._timer_at_ms:
            return
        self._disarm_timer()
        if earliest_ms is not None:
            delay_seconds = max(0, earliest_ms - self._clock.now_ms()) / 1000
            self._timer_at_ms = earliest_ms
            self._timer = self._scheduler.schedule_relative(delay_seconds, self._on_timer)

    def _disarm_timer(self) -> None:
        timer, self._timer, self._timer_at_ms = self._timer, None, None
        if timer is not None:
            timer.dispose()

    def _on_timer(self, _scheduler: SchedulerBase, _state: object = None) -> None:
        self._timer, self._timer_at_ms = None, None
        if self._is_wakeup_due(self._clock.now_ms()):
            self._queue(_Delivery((), True, None))
        else:  # the wall clock was set back since the timer was armed
            self._arm_timer()

    # Failures

    def _note_failure(self, node: Node[F], failure: Exception, facts: Sequence[F]) -> None:
        node.failure_count += 1
        kinds = {self._kind_of(fact) for fact in facts}
        error = AppError(
            code="view-failed",
            text=f"{node.view_id} raised {type(failure).__name__}: {failure}; it keeps its previous snapshot",
            type_id=kinds.pop() if len(kinds) == 1 else None,
            fact_id=str(self._id_of(facts[0])) if len(facts) == 1 else None,
        )
        self._failures.append((node.view_id, failure, error))

    def _report_failures(self) -> None:
        """Tell the owner after the batch: a reporter that raises cannot keep a view from running."""
        failures, self._failures = self._failures, []
        for view_id, failure, _ in failures:
            if self._on_view_failure is not None:
                self._on_view_failure(view_id, failure)

    # News about batches

    def updates(self) -> Observable[BatchDone | ViewChanged]:
        """What happened, batch by batch, after its signals were emitted; completed by `shutdown`.

        An observer that raises is detached, and `ERROR_SIGNAL` says so.
        """
        from reactivex import Observable  # here: importing Rx costs 50 ms that an engine without it need not pay
        from reactivex.disposable import Disposable

        def subscribe(
            observer: ObserverBase[BatchDone | ViewChanged], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            if self._is_closed:
                observer.on_completed()
                return Disposable()
            self._observers[observer] = None
            return Disposable(lambda: self._observers.pop(observer, None))

        return Observable(subscribe)

    def _announce(self, facts: Sequence[F], changes: Sequence[tuple[SignalOwner[object], object]]) -> None:
        runs, self._runs = tuple(self._runs), []
        versions = {
            view_id: owner.version
            for owner, _ in changes
            if (view_id := self._nodes.behind(owner.signal.signal_id)) is not None
        }
        for view_id, version in versions.items():
            self._tell(ViewChanged(view_id, version))
        self._tell(
            BatchDone(
                batch_id=self._batch_id,
                fact_ids=tuple(map(self._id_of, facts)),
                count=len(facts),
                changed_views=tuple(versions),
                facts=tuple(facts),
                runs=runs,
            )
        )

    def _tell(self, news: BatchDone | ViewChanged) -> None:
        for observer in tuple(self._observers):
            try:
                observer.on_next(news)
            except BaseException as raised:  # an observer ends here, like any subscriber
                failure = failure_of(raised)
                self._observers.pop(observer, None)
                text = f"an observer of batches raised {type(failure).__name__}: {failure}; it was detached"
                self._hub.report_error(AppError("subscriber-failed", text))

    # The end, and insides

    def shutdown(self) -> None:
        """Fold and emit what was taken so far, then refuse everything; what still waits fails. Twice is fine.

        Called from inside a batch, it happens right after that batch. Does not close the hub.
        """
        if self._is_shutting_down:
            return
        self._is_shutting_down = True
        self._is_paused = False
        self._drain()

    def _finish_shutdown(self) -> None:
        self._window.flush()
        if self._is_closed:  # the flush came back here through its own batch
            return
        self._is_closed = True
        self._disarm_timer()
        self._commits.fail_all(SchedulerShutdown("process these facts"))
        self._wake_waiters()
        observers, self._observers = self._observers, {}
        for observer in observers:
            observer.on_completed()

    def _wake_waiters(self) -> None:
        waiters, self._room_waiters = self._room_waiters, []
        call_each(waiters)

    def statistics(self) -> SchedulerStatistics:
        """A frozen record of the insides."""
        latencies = sorted(self._latencies)
        return SchedulerStatistics(
            batch_count=self._batch_id,
            fact_count=self._fact_count,
            duplicate_count=self._duplicate_count,
            queued_publish_count=len(self._input),
            queued_fact_count=self._queued_fact_count,
            backlog_fact_count=self._backlog_fact_count,
            window_count=self._window.pending_count,
            awaited_fact_count=len(self._commits.waiting),
            is_timer_armed=self._timer is not None,
            latency_p50_us=_percentile(latencies, 50),
            latency_p95_us=_percentile(latencies, 95),
            views=tuple(
                ViewStatistics(node.view_id, node.run_count, node.change_count, node.failure_count, node.wakeup_ms)
                for node in self._nodes
            ),
        )


def _add_without_facts(
    agenda: list[Node[F]], parts: dict[Node[F], Sequence[F]], stirred: Mapping[Node[F], None]
) -> None:
    """Let these run too, in their places; who is not there for its facts is given none."""
    known = set(agenda)
    for node in stirred:
        if node not in known:
            agenda.append(node)
            parts[node] = _NO_FACTS
    agenda.sort(key=POSITION_OF)


class _FactSender(Generic[F]):
    """The scheduler as a sink: windows arrive closed and durable; a fact that comes twice counts once."""

    __slots__ = ("_scheduler",)

    def __init__(self, scheduler: SchedulerCore[F, Any]) -> None:
        self._scheduler = scheduler

    @property
    def is_closed(self) -> bool:
        return self._scheduler.is_closed

    @property
    def has_room(self) -> bool:
        return self._scheduler.has_room

    def when_room(self, callback: Callable[[], object], /) -> None:
        self._scheduler.when_room(callback)

    def deliver(self, facts: Sequence[F], /) -> None:
        self._scheduler.deliver(facts)


def _attribute(fact: object, name: str) -> object:
    """A field as most facts have it; None when there is none."""
    return getattr(fact, name, None)


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None

"""Views at work in one journal: waking them with the history they missed, and handing them each durable window.

A view costs nothing until somebody watches it; then it reads the members of its kinds once, off the loop, and
follows. Folding is the views' own business, emission the scheduler's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from antiphon.facts import ChainId, Clock, Fact, FactRecord
from antiphon.facts.fact import get_record
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal import LogDamaged, PlacedRun, RunRow, read_members
from antiphon.reactive import UNCHANGED, AppError, Batch, ReactiveScheduler, SchedulerConfig, SignalHub, View

from .not_due import NotDue
from .renewal import KeepingView, RenewableView, renewable

if TYPE_CHECKING:
    from reactivex.abc import DisposableBase, SchedulerBase

Recall = Callable[[Sequence[tuple[ChainId, int]]], Sequence[Fact]]
kind_of: Callable[[Fact], str] = attrgetter("_record.kind")
"""The kind of a committed fact; asked of every fact of a window, so it runs in C."""

ReadHistory = Callable[[int], tuple[list[PlacedRun], Callable[[RunRow], bytes]]]


# Folded on the loop at one go: a few milliseconds, and what is decoded at one time stays small.
_HISTORY_FACTS_MAX = 2_000


class Refold(Protocol):
    """Work that a view wants done in a thread."""

    def run(self, read_history: Callable[[], Iterable[Fact]], /) -> Any:
        """Do it; *read_history* gives the members of the view's kinds, as often as it is called."""


@runtime_checkable
class RefoldingView(Protocol):
    """A view that leaves its long folds to its host (``antiphon.views.FoldView`` is one)."""

    @property
    def view_id(self) -> str:
        """The name it runs under."""

    @property
    def kinds(self) -> frozenset[str] | None:
        """The kinds it folds."""

    @property
    def value(self) -> object:
        """The newest value."""

    @property
    def needs_refold(self) -> bool:
        """Whether a refold should begin."""

    def begin_refold(self, *, from_history: bool = False) -> Refold:
        """Say what to fold."""

    def finish_refold(self, result: Any, /) -> None:
        """Take what ``Refold.run`` returned."""

    def abandon_refold(self) -> None:
        """Give it up."""

    @property
    def checkpoint_key(self) -> tuple[str, int, str] | None:
        """Name, version and schema hash under which its state is kept, for a view that wants it kept."""

    def checkpoint(self) -> bytes | None:
        """The state in bytes."""


@runtime_checkable
class RecallingView(Protocol):
    """A view that holds old facts without their words when it can read them back (the chat view is one)."""

    def use_recall(self, recall: Recall, /) -> None:
        """Read members back with *recall*; said once, before the first window."""


class CheckpointKey(NamedTuple):
    """What a checkpoint is kept under."""

    view: str
    version: int
    schema_hash: str


class ViewHost:
    """The scheduler of one journal and the views that are awake in it."""

    def __init__(
        self,
        hub: SignalHub,
        scheduler: SchedulerBase,
        clock: Clock,
        *,
        read_history: ReadHistory,
        recall: Recall,
        decode: Callable[[FactRecord], Fact | None],
        on_damage: Callable[[LogDamaged], None],
    ) -> None:
        self.hub = hub
        self.scheduler: ReactiveScheduler[Fact] = ReactiveScheduler(
            hub,
            scheduler,
            clock,
            kind_of=kind_of,
            id_of=_id_of,
            field_of=field_of,
            config=SchedulerConfig(collect_stats=True),
            monotonic=asyncio.get_running_loop().time,
        )
        # When the first fact of the next window was taken, for the latency figures; None for a peer's.
        self.accepted_at: float | None = None
        self._clock = clock
        self._read_history = read_history
        self._recall = recall
        self._decode = decode
        self._on_damage = on_damage
        self._awake: dict[str, object] = {}
        self._waking: dict[str, asyncio.Future[None]] = {}
        self._missed: dict[str, list[Fact]] = {}
        self._wanted: dict[str, frozenset[str] | None] = {}
        self._refolding: dict[str, RefoldingView] = {}
        self._jobs: set[asyncio.Future[Any]] = set()
        self._kinds: dict[str, frozenset[str] | None] = {}
        self._renewable: dict[str, RenewableView] = {}
        self._renewing: set[str] = set()
        self._stale: dict[str, frozenset[str]] = {}
        self._rx = scheduler
        self._not_due = NotDue()
        self._timer: DisposableBase | None = None
        self._timer_at_ms: int | None = None
        self._seen_ms = 0

    def is_awake(self, view_id: str, owner: object = None) -> bool:
        """Whether the view that *owner* declared is folded and followed now."""
        return view_id in self._awake and self._awake[view_id] is owner

    @property
    def is_closed(self) -> bool:
        """Whether it folds nothing more."""
        return self.scheduler.is_closed

    @property
    def has_room(self) -> bool:
        """Whether commits may go on: a subscriber that must lose nothing can hold up the folding."""
        return self.scheduler.has_room

    def when_room(self, callback: Callable[[], object], /) -> None:
        """Call *callback* once, when there may be room again."""
        self.scheduler.when_room(callback)

    def deliver(self, facts: Sequence[Fact]) -> None:
        """Fold one durable window into the views that are awake; those that are waking up get it right after.

        Facts of more than five minutes ahead wait until they are due.
        """
        accepted_at, self.accepted_at = self.accepted_at, None
        now_ms = self._latest_ms()
        facts = self._not_due.sift(facts, now_ms)
        if due := self._not_due.take_due(now_ms):  # the clock went ahead of the timer, as over a machine's sleep
            facts = [*due, *facts]
        self._arm_timer()
        if not facts:
            return
        for view_id, missed in self._missed.items():
            wanted = self._wanted[view_id]
            missed.extend(fact for fact in facts if wanted is None or kind_of(fact) in wanted)
        if self.scheduler.snapshots():
            self.scheduler.deliver(facts, unique=True, accepted_at=accepted_at)
            for view in self._refolding.values():
                self._refold_if_needed(view)

    def forget(self, kinds: frozenset[str]) -> None:
        """Fold the views of these kinds anew, because facts of them were erased; until it is done (``settle``) each
        keeps its value. Views that are waking up are folded again right after."""
        for view_id in (*self._awake, *self._waking):
            self._forget_in(view_id, kinds)

    def fold_waking_anew(self) -> None:
        """Fold views that are waking up from a kept state once more, from the beginning: places in the log moved."""
        for view_id in self._waking:
            wanted = self._wanted.get(view_id) or frozenset()
            self._stale[view_id] = self._stale.get(view_id, frozenset()) | wanted

    def _forget_in(self, view_id: str, kinds: frozenset[str]) -> None:
        wanted = self._wanted[view_id] if view_id in self._wanted else self._kinds.get(view_id, frozenset())
        if wanted is not None and not wanted & kinds:
            return
        if view_id in self._waking or view_id in self._renewing:
            self._stale[view_id] = self._stale.get(view_id, frozenset()) | kinds
        elif (view := self._refolding.get(view_id)) is not None:
            self._start_refold(view, from_history=True)
        elif (renewable := self._renewable.get(view_id)) is not None:
            self._start_rebuild(renewable)

    def _forget_stale(self, view_id: str) -> None:
        stale = self._stale.pop(view_id, None)
        if stale is not None:
            self._forget_in(view_id, stale)

    def _start_rebuild(self, view: RenewableView) -> None:
        read = self._reader(view.kinds)
        view.begin()
        self._renewing.add(view.view_id)
        job = asyncio.get_running_loop().run_in_executor(None, lambda: tuple(read()))
        self._jobs.add(job)
        job.add_done_callback(lambda done: self._finish_rebuild(view, done))

    def _finish_rebuild(self, view: RenewableView, job: asyncio.Future[tuple[Fact, ...]]) -> None:
        self._jobs.discard(job)
        self._renewing.discard(view.view_id)
        problem = None if job.cancelled() else job.exception()
        if job.cancelled() or problem is not None:
            view.abandon()
            self.hub.report_error(AppError("view-failed", f"{view.view_id} could not be folded anew: {problem}"))
            return
        view.finish(job.result(), self._clock.now_ms(), self.scheduler.snapshots())
        if self._renewable.get(view.view_id) is view:
            self.scheduler.touch(view.view_id)
        self._forget_stale(view.view_id)

    def awake_view(self, view_id: str) -> View[Fact, Any] | None:
        """The view that ships and is awake under that id, to ask what its snapshot does not hold."""
        found = self._renewable.get(view_id)
        return None if found is None else found.current

    async def wake(
        self,
        view: View[Fact, Any],
        initial: object,
        *,
        owner: object = None,
        after_position: int = 0,
        rebuild: Callable[[], View[Fact, Any]] | None = None,
        checkpoint: bytes | None = None,
    ) -> None:
        """Fold the history of the view's kinds and follow from there; returns when its signal can be read.

        Costs one pass over the members of its kinds (about 5 µs each), in a thread; windows that become durable
        meanwhile are kept and folded next. Waking a view that is awake is free. *owner* is what declared the view:
        another declaration under the same id (a notebook cell run again) takes the place of the first, whose watchers
        end. A view restored from a checkpoint names the log position it holds in *after_position*; one that ships is
        given the *checkpoint* itself, and folds all history when it cannot take it up. *rebuild* makes an empty one
        like it, for when facts are erased.
        """
        bare = self._recalling(view)
        view = bare if rebuild is None else renewable(bare, lambda: self._recalling(rebuild()), initial)
        view_id = view.view_id
        while (waking := self._waking.get(view_id)) is not None:
            # How it ends is the other caller's news: cancelled or failed there, it is tried again here.
            await asyncio.shield(waking)
        if self.is_awake(view_id, owner):
            return
        if view_id in self._awake:
            self._put_to_sleep(view_id)
        waking = self._waking[view_id] = asyncio.get_running_loop().create_future()
        self._wanted[view_id] = view.kinds
        self._missed[view_id] = []
        try:
            if checkpoint is not None and not await self._take_up(bare, checkpoint):
                after_position = 0
            await self._catch_up(view, getattr(bare, "state", initial) if after_position else initial, after_position)
            self._awake[view_id] = owner
        finally:
            del self._waking[view_id], self._missed[view_id], self._wanted[view_id]
            waking.set_result(None)
            self._forget_stale(view_id)

    async def _take_up(self, view: View[Fact, Any], checkpoint: bytes) -> bool:
        if not isinstance(view, KeepingView):
            return False
        return await asyncio.to_thread(view.restore, checkpoint, self._recall, self._clock.now_ms())

    def _recalling(self, view: View[Fact, Any]) -> View[Fact, Any]:
        if isinstance(view, RecallingView):
            view.use_recall(self._recall)
        return view

    async def fold_apart(
        self,
        view: View[Fact, Any],
        initial: object,
        *,
        accept: Callable[[FactRecord], bool],
        inputs: Mapping[str, object] | None = None,
    ) -> object:
        """The snapshot of a view of its own over those members that *accept* takes; O(members of its kinds), in a
        thread. Nothing else sees that view; *inputs* are the snapshots of the views that it depends on."""
        read = self._reader(view.kinds)

        def accepted() -> Iterator[Fact]:
            return (fact for fact in read() if accept(get_record(fact)))

        if isinstance(view, RefoldingView):
            view.finish_refold(await asyncio.to_thread(view.begin_refold(from_history=True).run, accepted))
            return view.value
        facts = await asyncio.to_thread(lambda: tuple(accepted()))
        needed = inputs or {}
        snapshot = view.update(Batch(0, facts, self._clock.now_ms(), frozenset(needed), needed))
        return initial if snapshot is UNCHANGED else snapshot

    def checkpoints(self) -> list[tuple[CheckpointKey, bytes]]:
        """The states worth keeping, of the views that are awake; none while facts wait that no state holds yet."""
        found: list[tuple[CheckpointKey, bytes]] = []
        if self._not_due or not self.scheduler.is_settled:
            return found
        for view in self._refolding.values():
            key, state = view.checkpoint_key, view.checkpoint()
            if key is not None and state is not None:
                found.append((CheckpointKey(*key), state))
        for renewing in self._renewable.values():
            if (keeping := renewing.keeping) is not None:
                found.append((CheckpointKey(*keeping.checkpoint_key), keeping.checkpoint()))
        return found

    async def settle(self) -> None:
        """Return when no view is refolding late facts, and what has become due is shown."""
        due_ms = self._not_due.next_due_ms
        if due_ms is not None and due_ms <= self._latest_ms():
            self._deliver_due()
        while self._jobs:
            await asyncio.wait(tuple(self._jobs))

    async def close(self) -> None:
        """Finish what is being folded, fold what is left and end every subscription."""
        await self.settle()
        self._disarm_timer()
        self.scheduler.shutdown()
        self.hub.close()

    def _put_to_sleep(self, view_id: str) -> None:
        del self._awake[view_id]
        self._refolding.pop(view_id, None)
        self._renewable.pop(view_id, None)
        self.scheduler.unregister_view(view_id)

    async def _catch_up(self, view: View[Fact, Any], initial: object, after_position: int) -> None:
        read = self._reader(view.kinds, after_position)
        if isinstance(view, RefoldingView) and not after_position:
            refold = view.begin_refold(from_history=True)
            view.finish_refold(await asyncio.to_thread(refold.run, read))
            snapshot = view.value
        else:
            history, snapshot = read(), initial
            while facts := await asyncio.to_thread(lambda: tuple(islice(history, _HISTORY_FACTS_MAX))):
                snapshot = self._update(view, facts, snapshot)
        missed = self._missed[view.view_id]
        if missed or view.depends_on or after_position:  # what was kept has not seen today's clock
            snapshot = self._update(view, tuple(missed), snapshot)
        self.scheduler.register_view(view, snapshot)
        self._kinds[view.view_id] = view.kinds
        if isinstance(view, RenewableView):
            self._renewable[view.view_id] = view
        if isinstance(view, RefoldingView):
            self._refolding[view.view_id] = view
            self._refold_if_needed(view)

    def _reader(self, kinds: frozenset[str] | None, after_position: int = 0) -> Callable[[], Iterator[Fact]]:
        """What reads the members that are durable now, from any thread and as often as needed."""
        runs, read = self._read_history(after_position)
        waiting, horizon = self._not_due.waiting, self._latest_ms() + SKEW_MS_MAX
        loop = asyncio.get_running_loop()

        def members() -> Iterator[Fact]:
            for record in read_members(runs, read, kinds=kinds, on_damage=self._on_damage):
                fact = None if record.fact_id in waiting else self._decode(record)
                if fact is None:
                    continue
                if record.at <= horizon:
                    yield fact
                else:
                    loop.call_soon_threadsafe(self._keep, fact)

        return members

    def _latest_ms(self) -> int:
        """The wall clock, but never back: what was shown as due stays so, or it would be folded again when due."""
        self._seen_ms = max(self._seen_ms, self._clock.now_ms())
        return self._seen_ms

    def _keep(self, fact: Fact) -> None:
        self._not_due.keep((fact,))
        self._arm_timer()

    def _arm_timer(self) -> None:
        """One timer, for the fact that is due next; none while nothing waits."""
        due_ms = self._not_due.next_due_ms
        if due_ms == self._timer_at_ms:
            return
        self._disarm_timer()
        if due_ms is not None:
            self._timer_at_ms = due_ms
            # Days ahead would overflow a loop's timer; waking up early only looks again.
            delay = min(max(due_ms - self._latest_ms(), 0) / 1000, 3_600.0)
            self._timer = self._rx.schedule_relative(delay, lambda *_: self._deliver_due())

    def _disarm_timer(self) -> None:
        timer, self._timer, self._timer_at_ms = self._timer, None, None
        if timer is not None:
            timer.dispose()

    def _deliver_due(self) -> None:
        self._disarm_timer()
        self.deliver(())

    def _refold_if_needed(self, view: RefoldingView) -> None:
        if view.needs_refold and view.view_id not in self._renewing:
            self._start_refold(view)

    def _start_refold(self, view: RefoldingView, *, from_history: bool = False) -> None:
        self._renewing.add(view.view_id)
        refold = view.begin_refold(from_history=from_history)
        job = asyncio.get_running_loop().run_in_executor(None, refold.run, self._reader(view.kinds))
        self._jobs.add(job)
        job.add_done_callback(lambda done: self._finish_refold(view, done))

    def _finish_refold(self, view: RefoldingView, job: asyncio.Future[Any]) -> None:
        self._jobs.discard(job)
        self._renewing.discard(view.view_id)
        problem = None if job.cancelled() else job.exception()
        if job.cancelled() or problem is not None:
            view.abandon_refold()
            self.hub.report_error(AppError("view-failed", f"{view.view_id} could not be refolded: {problem}"))
            return
        view.finish_refold(job.result())
        if self._refolding.get(view.view_id) is view:
            self.scheduler.touch(view.view_id)
            self._forget_stale(view.view_id)
            self._refold_if_needed(view)

    def _update(self, view: View[Fact, Any], facts: tuple[Fact, ...], before: object) -> object:
        inputs = self.scheduler.snapshots()
        snapshot = view.update(Batch(0, facts, self._clock.now_ms(), frozenset(view.depends_on), inputs))
        return before if snapshot is UNCHANGED else snapshot


def field_of(fact: Fact, name: str) -> object:
    """A field of a committed fact; its context is the one it was committed to, whatever its payload says."""
    return get_record(fact).chain.namespace if name == "context_id" else getattr(fact, name, None)


def _id_of(fact: Fact) -> bytes:
    return get_record(fact).fact_id

"""What the scheduler, derived signals and live queries cost, each beside the plainest thing that does the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from typing import NamedTuple

from reactivex.scheduler.eventloop import AsyncIOScheduler

from antiphon.reactive import Batch, FactPredicate, LiveSignal, ReactiveScheduler, Signal, SignalHub, Unchanged

from .measure import Burst, Figure, Sample, Settings, Stopwatch, interleave, percentile, spread

WINDOW = 100
VIEWS = 10
QUERIES = 10_000
AFFECTED = 3
SUBSCRIBERS = 1_000


class Said(NamedTuple):
    fact_id: int
    kind: str
    room: str


class Clock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Counter:
    """A view whose fold is one addition a window, so that what is measured is not the fold."""

    kinds = frozenset({"said"})
    depends_on = ()

    def __init__(self, number: int) -> None:
        self.view_id = f"view:{number}"
        self.signal: Signal[int] = Signal(self.view_id, int)
        self.count = 0

    def update(self, batch: Batch[Said]) -> int | Unchanged:
        self.count += len(batch.facts)
        return self.count


class Live:
    """A live query of one room."""

    kinds: frozenset[str] = frozenset()
    depends_on = ()
    reads = ()

    def __init__(self, number: int, room: str) -> None:
        self.view_id = f"query:{number}"
        self.signal: Signal[int] = Signal(self.view_id, int)
        self.predicates = (FactPredicate.of("said", room=room),)
        self.count = 0

    def update(self, batch: Batch[Said]) -> int | Unchanged:
        self.count += len(batch.facts)
        return self.count


def build(hub: SignalHub) -> ReactiveScheduler[Said]:
    return ReactiveScheduler[Said](
        hub,
        AsyncIOScheduler(asyncio.get_running_loop()),
        Clock(),
        kind_of=attrgetter("kind"),
        id_of=attrgetter("fact_id"),
    )


def burst(work: Callable[[], object], *, calls: int) -> Burst:
    """Many calls, one sample: a single one is shorter than a clock's tick."""

    async def run() -> Sequence[Sample]:
        with Stopwatch() as watch:
            for _ in range(calls):
                work()
        return [watch.sample(per=calls)]

    return run


def ratio_figure(
    name: str, title: str, taken: Sequence[Sequence[Sample]], *, goal: float, reference_name: str, **details: float
) -> Figure:
    ours, reference = spread(taken[0]), spread(taken[1])
    return Figure.of_times(
        name,
        title,
        ours,
        reference,
        unit="µs",
        goal=goal,
        reference_name=reference_name,
        **details,
    )


async def propagation(settings: Settings) -> Figure:
    hub = SignalHub()
    scheduler = build(hub)
    heard: list[int] = []
    for number in range(VIEWS):
        view = Counter(number)
        scheduler.register_view(view, 0)
        hub.subscribe(view.signal).for_each(lambda update: heard.append(update.seq))
    window = [Said(number, "said", "lobby") for number in range(WINDOW)]
    totals = [0] * VIEWS

    def callbacks() -> None:
        for at, callback in enumerate(plain):
            callback(at, window)

    def add(at: int, facts: Sequence[Said]) -> None:
        totals[at] += len(facts)
        heard.append(totals[at])

    plain = [add] * VIEWS
    calls = settings.pick(300, 100)
    ours = burst(lambda: scheduler.deliver(window, unique=True), calls=calls)
    taken = await interleave([ours, burst(callbacks, calls=calls)], repeats=settings.pick(40, 10))
    mine, theirs = spread(taken[0]), spread(taken[1])

    def per_fact(ours_s: float, reference_s: float) -> float:
        return (ours_s - reference_s) / WINDOW * 1e9

    return Figure(
        name="propagation",
        title="a 100-fact window to 10 views and their subscribers, a fact, beyond a callback list with the same fold",
        unit="ns a fact",
        ours=mine.wall_median / WINDOW * 1e9,
        reference=theirs.wall_median / WINDOW * 1e9,
        value=per_fact(mine.wall_median, theirs.wall_median),
        value_p10=per_fact(mine.wall_p10, theirs.wall_p10),
        cpu_value=per_fact(mine.cpu_median, theirs.cpu_median),
        goal=100,
        final_goal=100,
        value_unit=" ns",
        reference_name="plain callback list",
    )


async def live_queries(settings: Settings) -> Figure:
    def scene(count: int) -> ReactiveScheduler[Said]:
        scheduler = build(SignalHub())
        for number in range(count):
            scheduler.register_view(Live(number, "lobby" if number < AFFECTED else f"room {number}"), 0)
        return scheduler

    many, few = scene(QUERIES), scene(AFFECTED)
    fact = [Said(1, "said", "lobby")]
    calls = settings.pick(500, 200)
    taken = await interleave(
        [burst(lambda each=each: each.deliver(fact, unique=True), calls=calls) for each in (many, few)],
        repeats=settings.pick(40, 10),
    )
    return ratio_figure(
        "live_queries",
        f"one fact with {QUERIES:,} live queries, {AFFECTED} affected",
        taken,
        goal=1.2,
        reference_name=f"with {AFFECTED} live queries",
    )


async def diamond(settings: Settings) -> list[Figure]:
    """A source, eight sides, their sum and a step behind it: ten derived signals, one subscriber."""
    if find_spec("reaktiv") is None:
        print("reaktiv is not installed: the figure 'diamond' is left out (pip install reaktiv)")
        return []
    reaktiv = import_module("reaktiv")
    hub, source = SignalHub(), Signal("source", int)
    hub.register(source, 0, external=True)
    sides = [Signal[int](f"side:{number}", int) for number in range(8)]
    for number, side in enumerate(sides):
        hub.derive(side, [source], lambda before, value, number=number: value + number)
    total = Signal("total", int)
    hub.derive(total, sides, lambda before, *values: sum(values))
    heard: list[int] = []
    LiveSignal(hub, total).map(lambda value: value + 1).for_each(lambda update: heard.append(update.value))
    theirs = reaktiv.Signal(0)
    computed = [reaktiv.Computed(lambda number=number: theirs() + number) for number in range(8)]
    summed = reaktiv.Computed(lambda: sum(each() for each in computed))
    stepped = reaktiv.Computed(lambda: summed() + 1)
    effect = reaktiv.Effect(lambda: heard.append(stepped()))
    values = iter(range(1, 1 << 60))
    calls = settings.pick(200, 100)

    async def set_theirs() -> Sequence[Sample]:
        with Stopwatch() as watch:
            for _ in range(calls):
                theirs.set(next(values))
                await asyncio.sleep(0)  # an effect may run in the next turn of the loop
        return [watch.sample(per=calls)]

    async def set_ours() -> Sequence[Sample]:
        with Stopwatch() as watch:
            for _ in range(calls):
                hub.emit(source, next(values))
                await asyncio.sleep(0)
        return [watch.sample(per=calls)]

    taken = await interleave([set_ours, set_theirs], repeats=settings.pick(30, 10))
    effect.dispose()
    return [
        ratio_figure(
            "diamond",
            "a diamond of 10 derived signals, a change, each side with one turn of the loop",
            taken,
            goal=0.2,
            reference_name="reaktiv, the same graph with an effect",
        )
    ]


async def one_slow(settings: Settings) -> Figure:
    def scene(*, is_one_slow: bool) -> tuple[SignalHub, Signal[int]]:
        hub, signal = SignalHub(), Signal("source", int)
        hub.register(signal, 0, external=True)
        for number in range(SUBSCRIBERS):
            subscription = hub.subscribe(signal, policy="buffer(256)")
            if number or not is_one_slow:
                subscription.for_each(lambda update: None)
        return hub, signal

    contenders = []
    values = iter(range(1, 1 << 60))
    for is_one_slow in (True, False):
        hub, signal = scene(is_one_slow=is_one_slow)
        for _ in range(300):  # until the slow one drops with every emission
            hub.emit(signal, next(values))
        contenders.append(burst(lambda hub=hub, signal=signal: hub.emit(signal, next(values)), calls=20))
    taken = await interleave(contenders, repeats=settings.pick(60, 20))
    return ratio_figure(
        "one_slow", "an emission to 1,000 subscribers, one of them slow", taken, goal=1.05, reference_name="1,000 fast"
    )


async def publish_latency(settings: Settings) -> Figure:
    hub = SignalHub()
    scheduler = build(hub)
    view = Counter(0)
    scheduler.register_view(view, 0)
    heard = asyncio.Event()
    hub.subscribe(view.signal, replay_current=False).for_each(lambda update: heard.set())
    numbers = iter(range(1 << 60))

    async def publish() -> Sequence[Sample]:
        samples: list[Sample] = []
        for _ in range(20):
            heard.clear()
            with Stopwatch() as watch:
                await scheduler.publish([Said(next(numbers), "said", "lobby")])
                await heard.wait()
            samples.append(watch.sample())
        return samples

    async def sleep() -> Sequence[Sample]:
        samples: list[Sample] = []
        for _ in range(20):
            with Stopwatch() as watch:
                await asyncio.sleep(0.005)
            samples.append(watch.sample())
        return samples

    ours, reference = await interleave([publish, sleep], repeats=settings.pick(50, 15))
    beyond = (percentile(ours, 99) - percentile(reference, 99)) * 1e3
    return Figure(
        name="publish_latency",
        title="publish to subscriber p99 beyond the p99 of a 5 ms timer, quiet",
        unit="ms",
        ours=percentile(ours, 99) * 1e3,
        reference=percentile(reference, 99) * 1e3,
        value=beyond,
        value_p10=(percentile(ours, 10) - percentile(reference, 10)) * 1e3,
        is_cpu_judged=False,
        goal=0.5,
        final_goal=0.5,
        value_unit=" ms",
        reference_name="asyncio.sleep of 5 ms",
    )


async def measure(settings: Settings) -> list[Figure]:
    """All of them, in one process."""
    return [
        await propagation(settings),
        await live_queries(settings),
        *await diamond(settings),
        await one_slow(settings),
        await publish_latency(settings),
    ]

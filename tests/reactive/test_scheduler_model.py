"""Any coming and going of views and queries between windows, beside a plain model of who is given which facts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.reactive import Batch, FactPredicate, ReactiveScheduler, Signal, SignalHub
from antiphon.testing.clock import VirtualClock

State = tuple[tuple[int, ...], tuple[object, ...]]


@dataclass(frozen=True)
class Said:
    fact_id: int
    kind: str
    room: str | None


class Collector:
    """Shows the facts it was given and what the views it looks at showed."""

    def __init__(self, name: str, kinds: frozenset[str] | None, depends_on: Sequence[str]) -> None:
        self.view_id = name
        self.kinds = kinds
        self.depends_on = tuple(depends_on)
        self.signal = Signal(name, tuple)
        self.state: State = ((), ())
        self.given: list[int] = []
        self.heard: list[object] = []

    @property
    def looks_at(self) -> tuple[str, ...]:
        return self.depends_on

    def wants(self, fact: Said) -> bool:
        return self.kinds is None or fact.kind in self.kinds

    def update(self, batch: Batch[Said]) -> State:
        seen = tuple(batch.inputs[each] for each in self.looks_at if each in batch.inputs)
        self.state = ((*self.state[0], *(fact.fact_id for fact in batch.facts)), seen)
        return self.state


class LiveCollector(Collector):
    """The same for a live query of one room."""

    def __init__(self, name: str, predicate: FactPredicate, reads: Sequence[str]) -> None:
        super().__init__(name, frozenset(), ())
        self.predicates = (predicate,)
        self.reads = tuple(reads)

    @property
    def looks_at(self) -> tuple[str, ...]:
        return self.reads

    def wants(self, fact: Said) -> bool:
        (predicate,) = self.predicates
        return fact.kind == predicate.kind and fact.room in (None, *predicate.values)


@dataclass
class Bench:
    random: Random
    hub: SignalHub = field(default_factory=SignalHub)
    clock: VirtualClock = field(default_factory=VirtualClock)
    views: dict[str, Collector] = field(default_factory=dict)
    view_count: int = 0
    fact_count: int = 0

    def __post_init__(self) -> None:
        self.scheduler = ReactiveScheduler[Said](
            self.hub, self.clock.scheduler, self.clock, kind_of=lambda fact: fact.kind, id_of=lambda fact: fact.fact_id
        )

    def step(self) -> None:
        chance = self.random.random()
        if chance < 0.3:
            self.come()
        elif chance < 0.4 and self.views:
            name = self.random.choice(sorted(self.views))
            self.scheduler.unregister_view(name)
            del self.views[name]
        else:
            self.deliver()

    def come(self) -> None:
        self.view_count += 1
        name, random = f"view {self.view_count}", self.random
        others = random.sample(sorted(self.views), min(len(self.views), random.randint(0, 2)))
        view: Collector
        if random.random() < 0.4:
            view = LiveCollector(name, FactPredicate.of(random.choice("ab"), room=random.choice("xy")), others)
        else:
            view = Collector(name, random.choice([None, frozenset("a"), frozenset("b"), frozenset("ab")]), others)
        self.scheduler.register_view(view, ())
        self.hub.subscribe(view.signal, replay_current=False).for_each(lambda update: view.heard.append(update.value))
        self.views[name] = view

    def deliver(self) -> None:
        random, facts = self.random, []
        for _ in range(random.randint(1, 5)):
            self.fact_count += 1
            facts.append(Said(self.fact_count, random.choice("abc"), random.choice(["x", "y", None])))
        before = {name: len(view.heard) for name, view in self.views.items()}
        self.scheduler.deliver(facts, unique=True)
        for name, view in self.views.items():
            view.given += [fact.fact_id for fact in facts if view.wants(fact)]
            assert list(view.state[0]) == view.given, "every fact that concerns it, once and in order"
            assert len(view.heard) <= before[name] + 1, "one emission a batch"
            if len(view.heard) > before[name]:
                assert view.heard[-1] == view.state
                shown = tuple(self.views[each].state for each in view.looks_at if each in self.views)
                assert tuple(each or ((), ()) for each in view.state[1]) == shown, "of this batch, all of them"


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_whoever_comes_and_goes_each_view_is_given_its_facts_once_and_sees_no_mixture(random: Random) -> None:
    bench = Bench(random)
    for _ in range(30):
        bench.step()

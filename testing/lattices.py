"""Hypothesis strategies for the lattices that ship: values that were reached by use, in a world small enough to meet.

For the laws, for convergence tests, and as parts of your own composites.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

from hypothesis import strategies as st

from antiphon.facts import OperationCategory
from antiphon.journal import (
    ALL,
    Acknowledgment,
    Agreement,
    CapabilitySet,
    Consistency,
    ConsistencyMap,
    DotContext,
    FlowBudget,
    GCounter,
    GSet,
    Join,
    JoinToDual,
    LeakageBudget,
    LWWMap,
    LWWRegister,
    MapLattice,
    MaxInt,
    Meet,
    MeetToDual,
    MinInt,
    OpCounter,
    OperationId,
    OpSet,
    ORSet,
    PNCounter,
    PolicyMeet,
    ProductLattice,
    ProductMeet,
    Propagation,
    SetMeet,
    TimeWindow,
    VectorClock,
    YDocDeltaState,
    YDocUpdate,
)

T = TypeVar("T")

actors = st.sampled_from(["ada", "ben", "eve"])
keys = st.sampled_from(["k", "l", "m"])
values = st.sampled_from(["x", "y", "", 0, 1, -1, True, False, None, ["x"], {"x": 1}])
counts = st.integers(min_value=0, max_value=5)
times = st.integers(min_value=-1, max_value=4)
naturals = st.integers(min_value=0, max_value=2**63 - 1) | counts


def reached(start: T, step: st.SearchStrategy[Callable[[T], T]], *, steps_max: int = 6) -> st.SearchStrategy[T]:
    """Values that a few steps lead to from *start*."""

    def run(steps: list[Callable[[T], T]]) -> T:
        value = start
        for each in steps:
            value = each(value)
        return value

    return st.lists(step, max_size=steps_max).map(run)


counters = st.dictionaries(actors, counts).map(GCounter)
pn_counters = st.builds(PNCounter, counters, counters)
max_ints = st.builds(MaxInt, naturals)
vector_clocks = st.dictionaries(actors, counts).map(VectorClock)
dots = st.builds(OperationId, actors, st.integers(min_value=1, max_value=5))
dot_contexts = st.builds(DotContext, vector_clocks, st.frozensets(dots, max_size=4))
g_sets = st.frozensets(keys).map(GSet)
lww_registers = st.just(LWWRegister()) | st.builds(
    lambda value, at, actor: LWWRegister().set(value, at=at, actor=actor), values, times, actors
)
lww_maps = reached(
    LWWMap(),
    st.one_of(
        st.builds(
            lambda key, value, at, actor: lambda each: each.set(key, value, at=at, actor=actor),
            keys,
            values,
            times,
            actors,
        ),
        st.builds(lambda key, at, actor: lambda each: each.remove(key, at=at, actor=actor), keys, times, actors),
    ),
)
product_lattices = st.builds(lambda a, b, c: ProductLattice((a, b, c)), max_ints, g_sets, lww_registers)
map_lattices = st.dictionaries(keys, counters).map(lambda entries: MapLattice(GCounter(), entries))
flow_budgets = st.builds(FlowBudget, naturals, counters, counts)
leakage_budgets = reached(
    LeakageBudget(),
    st.one_of(
        st.builds(
            lambda key, actor, bits, at: lambda each: each.record(key, actor, bits, at_ms=at),
            keys,
            actors,
            counts,
            times,
        ),
        st.builds(lambda actor, bits: lambda each: each.with_limit(actor, bits), actors, counts),
        st.builds(lambda actor, at: lambda each: each.reset(actor, at_ms=at), actors, counts),
    ),
)


@st.composite
def or_sets(draw: st.DrawFn) -> ORSet:
    """Any set: each dot of its context lives in one element or in none."""
    context = draw(dot_contexts)
    entries: dict[str, set[OperationId]] = {}
    for dot in (OperationId(actor, number) for actor in ("ada", "ben", "eve") for number in range(1, 6)):
        if context.contains(dot) and (item := draw(st.none() | keys)) is not None:
            entries.setdefault(item, set()).add(dot)
    return ORSet({item: frozenset(living) for item, living in entries.items()}, context)


min_ints = st.builds(MinInt, naturals)
allowed = st.just(ALL) | st.frozensets(keys)
set_meets = st.builds(SetMeet, allowed)
time_windows = st.builds(TimeWindow, naturals, naturals)
policies = st.one_of(
    st.just(PolicyMeet()),
    st.just(PolicyMeet.everyone()),
    st.integers(min_value=1, max_value=6).flatmap(
        lambda total: st.builds(PolicyMeet.threshold, st.integers(min_value=1, max_value=total), st.just(total))
    ),
)
capability_sets = st.builds(CapabilitySet, allowed, issuer=st.none() | actors)
product_meets = st.builds(lambda a, b, c: ProductMeet((a, b, c)), min_ints, set_meets, policies)

op_counters = st.builds(OpCounter, st.integers())
op_sets = st.dictionaries(keys, st.frozensets(dots, max_size=3)).map(OpSet)


@cache
def shared_history() -> tuple[bytes, ...]:
    """The updates of three authors who wrote in one document at once, now and then hearing of each other."""
    documents = {name: YDocDeltaState.of(name) for name in ("ada", "ben", "eve")}
    updates: list[bytes] = []

    def edit(name: str, change: Callable[[YDocDeltaState], YDocDeltaState]) -> None:
        before = documents[name]
        documents[name] = change(before)
        updates.extend(documents[name].delta_for(before.digest()).updates)

    edit("ada", lambda doc: doc.insert_text("t", 0, "tea"))
    edit("ben", lambda doc: doc.insert_text("t", 0, "milk").set_key("m", "k", "ben"))
    documents["eve"] = documents["eve"].join(documents["ada"])
    edit("eve", lambda doc: doc.delete_text("t", 1, 1).set_key("m", "k", "eve"))
    documents["ada"] = documents["ada"].join(documents["ben"])
    edit("ada", lambda doc: doc.insert_text("t", 2, "é😀").extend_array("a", ["x", "y"]))
    documents["ben"] = documents["ben"].join(documents["eve"])
    edit("ben", lambda doc: doc.delete_key("m", "k").delete_text("t", 0, 3))
    documents["eve"] = documents["eve"].join(documents["ada"]).join(documents["ben"])
    edit("eve", lambda doc: doc.insert_text("t", 1, "!").set_key("m", "l", None))
    edit("ada", lambda doc: doc.delete_text("t", 0, 2))
    return tuple(updates)


@st.composite
def ydocs(draw: st.DrawFn) -> YDocDeltaState:
    """Documents that got some updates of one shared history, and so often lack the causes of others."""
    picked = draw(st.frozensets(st.sampled_from(shared_history())))
    return YDocDeltaState.of(draw(actors)).apply_delta(YDocUpdate(picked))


names = st.sampled_from(["", "cert-1", "cert-2"])
epochs = st.integers(min_value=0, max_value=3)
agreements = reached(
    Agreement(),
    st.one_of(
        st.builds(lambda cert, epoch: lambda each: each.certified(cert, epoch=epoch), names, epochs),
        st.builds(lambda epoch: lambda each: each.reverted(epoch=epoch), epochs),
        st.builds(lambda round_id: lambda each: each.finalized(round_id), st.sampled_from(["round-1", "round-2"])),
    ),
    steps_max=3,
)
propagations = st.one_of(
    st.just(Propagation()),
    st.just(Propagation.complete()),
    st.integers(min_value=0, max_value=3).flatmap(
        lambda known: st.builds(Propagation.syncing, st.integers(min_value=0, max_value=known), st.just(known))
    ),
    st.builds(
        lambda at, count, error: Propagation.failed(retry_at=at, retry_count=count, error=error), times, counts, names
    ),
)
acknowledgments = st.dictionaries(actors, times).map(Acknowledgment)
consistencies = st.builds(
    Consistency,
    st.sampled_from(OperationCategory),
    agreements,
    propagations,
    st.none() | acknowledgments,
)
consistency_maps = st.dictionaries(keys, consistencies, max_size=2).map(ConsistencyMap)

JOINS: dict[str, st.SearchStrategy[Join]] = {
    "Acknowledgment": acknowledgments,
    "Agreement": agreements,
    "Consistency": consistencies,
    "ConsistencyMap": consistency_maps,
    "DotContext": dot_contexts,
    "FlowBudget": flow_budgets,
    "GCounter": counters,
    "GSet": g_sets,
    "LWWMap": lww_maps,
    "LWWRegister": lww_registers,
    "LeakageBudget": leakage_budgets,
    "MapLattice": map_lattices,
    "MaxInt": max_ints,
    "MeetToDual": st.builds(MeetToDual, set_meets),
    "ORSet": or_sets(),
    "PNCounter": pn_counters,
    "Propagation": propagations,
    "ProductLattice": product_lattices,
    "VectorClock": vector_clocks,
}
"""Every join lattice that ships, by name; a ``YDocDeltaState`` costs a document a join, so it stands alone."""

MEETS: dict[str, st.SearchStrategy[Meet]] = {
    "CapabilitySet": capability_sets,
    "JoinToDual": st.builds(JoinToDual, lww_maps),
    "MinInt": min_ints,
    "PolicyMeet": policies,
    "ProductMeet": product_meets,
    "SetMeet": set_meets,
    "TimeWindow": time_windows,
}
"""Every meet lattice that ships, by name."""

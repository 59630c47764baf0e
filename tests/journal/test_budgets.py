"""Flow and leakage budgets: spending adds up over devices, limits only fall, epochs only rise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.journal import (
    FlowBudget,
    GCounter,
    InsufficientBudget,
    LeakageBudget,
    LeakageBudgetUndefined,
    LeakageExceeded,
    MapLattice,
    UndefinedObserver,
)
from antiphon.journal.budgets import FLOW_LIMIT_DEFAULT, LEAKAGE_WINDOW_MS
from antiphon.testing.lattices import flow_budgets

DAY = LEAKAGE_WINDOW_MS


def test_three_replicas_agree_on_limit_80_spent_40_epoch_6() -> None:
    replicas = [
        FlowBudget(100, GCounter({"phone": 30}), 5),
        FlowBudget(90, GCounter({"laptop": 40}), 6),
        FlowBudget(80, GCounter({"laptop": 35}), 6),
    ]
    for first, second, third in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        merged = replicas[first].join(replicas[second]).join(replicas[third])
        assert (merged.limit, merged.spent, merged.epoch) == (80, 40, 6)


def test_charges_of_two_devices_add_up() -> None:
    start = FlowBudget.fresh()
    assert start.limit == FLOW_LIMIT_DEFAULT == 1_024
    merged = start.charge("phone", 100).join(start.charge("laptop", 24))
    assert (merged.spent, merged.headroom) == (124, 900)


def test_spending_too_much_together_is_seen_at_the_merge_and_blocks_further_charges() -> None:
    start = FlowBudget.fresh(100)
    merged = start.charge("phone", 80).join(start.charge("laptop", 80))
    assert merged.is_overspent
    assert merged.headroom == 0
    assert not merged.can_charge(1)
    with pytest.raises(InsufficientBudget) as refusal:
        merged.charge("phone", 1)
    assert (refusal.value.required, refusal.value.remaining) == (1, 0)


@given(st.integers(0, 50), st.lists(st.integers(0, 20), max_size=12))
def test_a_replica_never_spends_beyond_its_limit_and_a_refused_charge_changes_nothing(
    limit: int, costs: list[int]
) -> None:
    budget = FlowBudget.fresh(limit)
    for cost in costs:
        before = budget
        if budget.can_charge(cost):
            budget = budget.charge("phone", cost)
            assert budget.spent == before.spent + cost
        else:
            with pytest.raises(InsufficientBudget):
                budget.charge("phone", cost)
        assert 0 <= budget.spent <= limit
        assert before <= budget


def test_using_up_the_rest_exactly_is_allowed_and_a_limit_of_zero_allows_only_nothing() -> None:
    assert FlowBudget.fresh(10).charge("phone", 10).headroom == 0
    assert FlowBudget.fresh(0).can_charge(0)
    assert not FlowBudget.fresh(0).can_charge(1)
    with pytest.raises(ValueError, match="a cost is -1"):
        FlowBudget.fresh().charge("phone", -1)


def test_a_later_epoch_starts_unspent_and_an_earlier_or_equal_one_is_ignored() -> None:
    spent = FlowBudget.fresh(100, epoch=3).charge("phone", 60)
    assert (spent.rotate_epoch(4).spent, spent.rotate_epoch(4).epoch) == (0, 4)
    assert spent.rotate_epoch(3) == spent == spent.rotate_epoch(2)
    assert spent.rotate_epoch(4).join(spent) == spent.rotate_epoch(4), "an old epoch's spending does not survive"
    assert spent.rotate_epoch(4, limit=500).limit == 500


@given(flow_budgets, st.integers(0, 100))
def test_lowering_a_limit_and_rotating_only_move_up(budget: FlowBudget, number: int) -> None:
    assert budget <= budget.lower_limit(number)
    assert budget <= budget.rotate_epoch(number)


def test_budgets_of_many_peers_are_one_map() -> None:
    mine = MapLattice(FlowBudget(), {"ben": FlowBudget.fresh(100).charge("phone", 5)})
    theirs = MapLattice(FlowBudget(), {"ben": FlowBudget.fresh(100).charge("laptop", 7), "eve": FlowBudget.fresh(9)})
    assert (mine.join(theirs).get("ben").spent, mine.join(theirs).get("eve").headroom) == (12, 9)


def test_leaks_count_for_a_day_and_then_no_more() -> None:
    budget = LeakageBudget({"External": 1_000}).record("op", "External", 990, at_ms=5)
    budget.check("External", 10, now_ms=6)
    with pytest.raises(LeakageExceeded) as refusal:
        budget.check("External", 11, now_ms=6)
    assert (refusal.value.observer, refusal.value.requested, refusal.value.remaining) == ("External", 11, 10)
    budget.check("External", 1_000, now_ms=5 + DAY)
    assert budget.sweep(now_ms=5 + DAY).leaks == frozenset()
    assert budget.sweep(now_ms=4 + DAY).leaks == budget.leaks


def test_observers_are_independent_and_a_leak_told_twice_counts_once() -> None:
    budget = LeakageBudget({"External": 100, "InGroup": 100})
    once = budget.record("op-1", "External", 30, at_ms=1)
    assert once.record("op-1", "External", 30, at_ms=1) == once
    both = once.join(budget.record("op-2", "External", 20, at_ms=2))
    assert (both.remaining("External", now_ms=3), both.remaining("InGroup", now_ms=3)) == (50, 100)


def test_an_observer_without_an_allowance_is_denied_unless_the_policy_says_otherwise() -> None:
    budget = LeakageBudget().record("op", "Neighbor", 5, at_ms=1)
    with pytest.raises(LeakageBudgetUndefined, match="Neighbor"):
        budget.check("Neighbor", 1, now_ms=2)
    budget.check("Neighbor", 10_000, now_ms=2, undefined=UndefinedObserver.PERMIT)
    budget.check("Neighbor", 5, now_ms=2, undefined=10)
    with pytest.raises(LeakageExceeded):
        budget.check("Neighbor", 6, now_ms=2, undefined=10)


def test_a_reset_forgets_what_came_before_it_on_every_replica() -> None:
    budget = LeakageBudget({"Neighbor": 500}).record("op", "Neighbor", 400, at_ms=10)
    later = budget.record("op-2", "Neighbor", 50, at_ms=30)
    assert later.join(budget.reset("Neighbor", at_ms=20)).remaining("Neighbor", now_ms=31) == 450
    assert budget.with_limit("Neighbor", 900).limits["Neighbor"] == 500

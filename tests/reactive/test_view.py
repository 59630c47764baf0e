"""The order of views: dependencies first, registration order where that leaves a choice, cycles named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.reactive import CycleDetected, plan_order


@pytest.mark.parametrize(
    ("dependencies", "order"),
    [
        ({}, ()),
        ({"a": []}, ("a",)),
        ({"c": [], "a": [], "b": []}, ("c", "a", "b")),
        ({"c": ["b"], "b": ["a"], "a": []}, ("a", "b", "c")),
        (
            {"bottom": ["left", "right"], "right": ["top"], "left": ["top"], "top": []},
            ("top", "left", "right", "bottom"),
        ),
        ({"a": ["not registered"], "b": ["a"]}, ("a", "b")),
    ],
    ids=["empty", "single", "independent", "chain", "diamond", "missing dependency"],
)
def test_views_run_after_what_they_depend_on(dependencies: dict[str, list[str]], order: tuple[str, ...]) -> None:
    assert plan_order(dependencies) == order


@pytest.mark.parametrize(
    ("dependencies", "path"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"entry": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ("a", "b", "c", "a")),
    ],
    ids=["itself", "three"],
)
def test_a_cycle_is_refused_and_named(dependencies: dict[str, list[str]], path: tuple[str, ...]) -> None:
    with pytest.raises(CycleDetected, match=" -> ".join(path)) as caught:
        plan_order(dependencies)
    assert caught.value.path == path


@given(
    st.integers(min_value=0, max_value=12).flatmap(
        lambda count: st.tuples(
            st.permutations(range(count)),
            st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30),
        )
    )
)
def test_any_acyclic_graph_is_ordered_completely(graph: tuple[list[int], list[tuple[int, int]]]) -> None:
    names, arrows = graph
    dependencies: dict[str, list[str]] = {f"v{name}": [] for name in names}
    for later, earlier in arrows:
        if earlier < later < len(names):
            dependencies[f"v{later}"].append(f"v{earlier}")
    order = plan_order(dependencies)
    assert sorted(order) == sorted(dependencies)
    assert all(order.index(needed) < order.index(name) for name in dependencies for needed in dependencies[name])

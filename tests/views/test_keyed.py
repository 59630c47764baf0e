"""A state's parts: where they are, what they are called, and what two states differ in."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.views.keyed import MISSING, PartChange, changed_parts, find_keys, key_text, part_at, parts_of


class Line(NamedTuple):
    id: str
    text: str


@dataclass(frozen=True)
class Screen:
    total: int
    names: tuple[str, ...]
    lines: dict[str, tuple[Line, ...]]


SCREEN = Screen(2, ("ada", "ben"), {"lobby": (Line("m1", "hi"), Line("m2", "ho"))})


def test_a_record_has_its_fields_and_what_is_in_them_has_ids() -> None:
    assert [key_text(key) for key, _ in parts_of(SCREEN)] == [
        "total",
        "names/ada",
        "names/ben",
        "lines/lobby/m1",
        "lines/lobby/m2",
    ]


@pytest.mark.parametrize(
    ("state", "keys"),
    [
        (("a", "b", "a"), [("a",), ("b",), (("a", 2),)]),
        ((1, 1), [(0,), (1,)]),
        ((1, "a"), [(0,), (1,)]),
        (frozenset({"b", "a"}), [("a",), ("b",)]),
        ([{"x": 1}], [(0, "x")]),
        ({"a": {"b": (1, 2)}}, [("a", "b")]),
        (5, [()]),
        ({}, []),
    ],
)
def test_every_kind_of_state_has_parts(state: object, keys: list[object]) -> None:
    assert [key for key, _ in parts_of(state)] == keys
    assert all(part_at(state, key) is not MISSING for key in keys if isinstance(key, tuple))


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        ("total", ("total",)),
        ("m1", ("lines", "lobby", "m1")),
        ("lines/lobby/m1", ("lines", "lobby", "m1")),
        ("lines/lobby/m1/text", ("lines", "lobby", "m1", "text")),
        (("lines", "lobby", -1), ("lines", "lobby", -1)),
        ("lobby", ("lines", "lobby")),
        ("hi", ("lines", "lobby", "m1")),
        ((), ()),
    ],
)
def test_a_part_is_found_by_any_of_its_names(wanted: object, key: object) -> None:
    assert find_keys(SCREEN, wanted) == [key]


def test_what_means_several_parts_gives_them_all_and_what_means_none_gives_none() -> None:
    state = {"a": {"x": 1}, "b": {"x": 2}}
    assert find_keys(state, "x") == [("a", "x"), ("b", "x")]
    assert find_keys(state, "z") == []
    assert find_keys(state, ["not", "hashable"]) == []


def test_a_line_that_slides_out_of_a_window_is_removed_and_the_others_stay() -> None:
    assert changed_parts(("a", "b", "c"), ("b", "c", "d")) == {
        ("d",): PartChange(MISSING, "d"),
        ("a",): PartChange("a", MISSING),
    }


def test_a_part_that_becomes_another_kind_of_thing_changes_as_a_whole() -> None:
    assert changed_parts({"a": {"b": 1}}, {"a": 3}) == {("a",): PartChange({"b": 1}, 3)}
    assert changed_parts({"a": 3}, {"a": {"b": 1}}) == {("a",): PartChange(3, {"b": 1})}
    assert changed_parts({"a": 3}, {"a": ()}) == {("a",): PartChange(3, ())}
    assert changed_parts({}, {"a": {}}) == {("a",): PartChange(MISSING, {})}


def test_the_first_and_the_last_element_of_a_container_are_parts_of_their_own() -> None:
    empty, one = {"a": {"b": ()}}, {"a": {"b": (Line("m1", "hi"),)}}
    assert changed_parts(empty, one) == {("a", "b", "m1"): PartChange(MISSING, Line("m1", "hi"))}
    assert changed_parts(one, empty) == {("a", "b", "m1"): PartChange(Line("m1", "hi"), MISSING)}


_states = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=12,
)


@given(before=_states, after=_states)
@example(before={}, after=(("ada", 3), ("ben", 2), ("ada", 3)))  # red until 2026-11: taken for the third "ada"
@example(before={}, after=(("ada",), ("ada",), (("ada",), 2)))  # red until 2026-11: the last hid the second
def test_equal_states_differ_in_nothing_and_others_where_it_is_said(before: object, after: object) -> None:
    assert changed_parts(before, before) == {}
    changed = changed_parts(before, after)
    if before == after:
        assert changed == {}
    for key, change in changed.items():
        assert change.before is MISSING or change.after is MISSING or change.before != change.after
        assert change.after is MISSING or part_at(after, key) == change.after
    if isinstance(after, tuple):
        assert len(changed_parts((), after)) >= len(after), "no element hides another"

"""Local types as data: JSON, sameness, unfolding, duality, and no fear of depth."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.choreography.ast import Publish
from antiphon.choreography.compiled import compile_choreography
from antiphon.choreography.core import ValueType
from antiphon.choreography.duality import dual, is_dual
from antiphon.choreography.local import (
    LocalAct,
    LocalBranch,
    LocalEnd,
    LocalNode,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
    is_equivalent,
    local_depth,
    local_free_variables,
    local_from_json,
    local_json_text,
    local_size,
    partners,
    show_local,
    substitute_local,
    unfold_local,
    without_actions,
    written_size,
)
from antiphon.choreography.node import JsonValue

END = LocalEnd()
NAMES = st.sampled_from(("X", "Y", "Z"))
PAYLOADS = st.sampled_from((None, ValueType("nat", None, "u32"), ValueType("named", "api.Order", "api.Order")))


def branches(after: st.SearchStrategy[LocalType]) -> st.SearchStrategy[tuple[LocalBranch, ...]]:
    labels = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)
    return labels.flatmap(
        lambda names: st.tuples(*(st.builds(LocalBranch, st.just(name), PAYLOADS, after) for name in names))
    )


LOCAL_TYPES: st.SearchStrategy[LocalType] = st.recursive(
    st.one_of(st.just(END), st.builds(LocalVar, NAMES)),
    lambda after: st.one_of(
        st.builds(LocalSend, st.sampled_from("PQ"), branches(after)),
        st.builds(LocalRecv, st.sampled_from("PQ"), branches(after)),
        st.builds(LocalRec, NAMES, st.builds(LocalRecv, st.just("P"), branches(after))),
        st.builds(LocalTimeout, st.just("P"), st.integers(0, 9), after, after, st.none() | after),
        st.builds(LocalRepeat, st.integers(2, 9), after, after),
    ),
    max_leaves=12,
)


@given(LOCAL_TYPES)
def test_json_gives_back_an_equal_type(local: LocalType) -> None:
    assert local_from_json(json.loads(local_json_text(local))) == local
    assert local_from_json(local.to_json()) == local


@given(LOCAL_TYPES)
def test_the_dual_of_the_dual_is_the_type_itself(local: LocalType) -> None:
    assert dual(dual(local)) == local
    assert is_dual(local, dual(local))


@given(LOCAL_TYPES)
def test_everything_is_equivalent_to_itself_with_its_loops_renamed(local: LocalType) -> None:
    data = local_json_text(local)
    bound = {name for name in "XYZ" if name not in local_free_variables(local)}
    for name in bound:
        data = data.replace(f'"name": "{name}"', f'"name": "{name}_renamed"')
    assert is_equivalent(local, local_from_json(json.loads(data)))


@given(LOCAL_TYPES, NAMES)
def test_substitution_leaves_no_free_occurrence(local: LocalType, name: str) -> None:
    assert name not in local_free_variables(substitute_local(local, name, END))


def test_the_exchange_form_is_the_one_of_the_command_line() -> None:
    local = LocalRec(
        "X",
        LocalSend(
            "B",
            (
                LocalBranch("go", ValueType("nat", None, "u32"), LocalVar("X")),
                LocalBranch("stop", None, LocalTimeout("A", 5, END, END)),
            ),
        ),
    )
    assert local.to_json() == {
        "kind": "rec",
        "name": "X",
        "body": {
            "kind": "send",
            "partner": "B",
            "branches": [
                {"label": "go", "type": "u32", "continuation": {"kind": "var", "name": "X"}},
                {
                    "label": "stop",
                    "type": None,
                    "continuation": {
                        "kind": "timeout",
                        "role": "A",
                        "after_ms": 5,
                        "body": {"kind": "end"},
                        "on_timeout": {"kind": "end"},
                        "on_cancel": None,
                    },
                },
            ],
        },
    }


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "leap"},
        {"kind": "rec", "name": "X"},
        {"kind": "send", "partner": "B", "branches": []},
        {"kind": "send", "partner": "B", "branches": [7]},
        {"kind": "send", "branches": [{"label": "a", "type": None, "continuation": {"kind": "end"}}]},
        {"kind": "send", "partner": "B", "branches": [{"label": "a", "type": 1, "continuation": {"kind": "end"}}]},
        {"kind": "timeout", "role": "A", "after_ms": True, "body": {"kind": "end"}, "on_timeout": {"kind": "end"}},
    ],
)
def test_what_is_no_local_type_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected|has a non-empty|is an object|is text"):
        LocalNode.from_json(data)  # type: ignore[arg-type]  # that is the point


def test_reading_as_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a LocalSend, got LocalEnd"):
        LocalSend.from_json({"kind": "end"})


def test_equivalence_ignores_branch_order_and_names_but_not_payloads() -> None:
    one = LocalRecv("A", (LocalBranch("a", None, END), LocalBranch("b", None, END)))
    other = LocalRecv("A", (LocalBranch("b", None, END), LocalBranch("a", None, END)))
    typed = LocalRecv("A", (LocalBranch("b", None, END), LocalBranch("a", ValueType("bool"), END)))
    assert one != other
    assert is_equivalent(one, other)
    assert not is_equivalent(one, typed)
    assert not is_equivalent(LocalRec("X", LocalVar("X")), LocalRec("X", LocalVar("Y")))


def test_partners_of_the_other_end_are_no_matter_for_duality() -> None:
    left = LocalSend("B", (LocalBranch("x", None, END),))
    assert is_dual(left, LocalRecv("A", (LocalBranch("x", None, END),)))
    assert not is_dual(left, LocalRecv("A", (LocalBranch("y", None, END),)))
    assert not is_dual(left, left)


def test_unfolding_opens_one_loop_once() -> None:
    loop = LocalRec("X", LocalSend("B", (LocalBranch("go", None, LocalVar("X")),)))
    assert show_local(unfold_local(loop)) == "!B{go: rec X.(!B{go: X})}"
    assert unfold_local(END) == END
    repeat = LocalRepeat(3, LocalSend("B", (LocalBranch("go", None, END),)), END)
    assert show_local(unfold_local(repeat)) == "!B{go: repeat 2.(!B{go: end}); end}"


def test_substitution_renames_a_loop_that_would_capture() -> None:
    inner = LocalRec(
        "Y", LocalSend("B", (LocalBranch("a", None, LocalVar("X")), LocalBranch("b", None, LocalVar("Y"))))
    )
    assert show_local(substitute_local(inner, "X", LocalVar("Y"))) == "rec Y_2.(!B{a: Y, b: Y_2})"


def test_actions_can_be_left_out() -> None:
    local = LocalAct(Publish("Ready"), LocalSend("B", (LocalBranch("a", None, LocalAct(Publish("Sent"), END)),)))
    assert show_local(local) == "publish; !B{a: publish; end}"
    assert show_local(without_actions(local)) == "!B{a: end}"


def test_a_type_of_shared_parts_is_as_large_as_it_was_written() -> None:
    local: LocalType = END
    for _ in range(64):
        local = LocalSend("B", (LocalBranch("l", None, local), LocalBranch("r", None, local)))
    assert (local_size(local), local_depth(local), partners(local)) == (65, 64, ("B",))
    assert written_size(local) == 2**65 - 1
    assert is_dual(local, dual(local))
    with pytest.raises(ValueError, match="ask for the state machine"):
        local_json_text(local)


def test_depth_is_no_limit() -> None:
    local: LocalType = END
    for number in range(5_000):
        local = LocalSend("B", (LocalBranch(f"m{number}", None, local),))
    assert local_from_json(local.to_json()) == local
    assert is_dual(local, dual(local))
    assert len(local_json_text(local)) > 5_000
    assert hash(local) == hash(local_from_json(local.to_json()))


@pytest.mark.parametrize(
    "message",
    [
        "of Unit",
        "of string",
        "of str",
        "of u8",
        "(u8)",
        "of T (x : u8)",
        "of {x : u8}",
        "of List<{x : u8}>",
        "(a, b)",
        "",
    ],
)
def test_a_local_type_is_read_back_with_what_its_messages_carry(message: str) -> None:
    for view in compile_choreography(f"protocol P =\n  roles A, B\n  A -> B : M {message}\n").local.values():
        assert local_from_json(json.loads(json.dumps(view.to_json()))) == view


@pytest.mark.parametrize("kind", [[], {}, None, 3, "act", ["rec"]])
def test_a_kind_that_is_none_is_refused_whatever_it_is(kind: JsonValue) -> None:
    with pytest.raises(ValueError, match="known 'kind'"):
        local_from_json({"kind": "rec", "name": "X", "body": {"kind": kind}})

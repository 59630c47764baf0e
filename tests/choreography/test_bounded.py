"""Bounded recursion: fuel, exchanges, and yielding at a label."""

import pytest

from antiphon.choreography import compile_choreography, explore, project_all
from antiphon.choreography.bounded import until_label, with_actions_at_most, with_fuel
from antiphon.choreography.core import End
from antiphon.choreography.local import (
    LocalBranch,
    LocalEnd,
    LocalRec,
    LocalRepeat,
    LocalSend,
    LocalType,
    LocalVar,
    show_local,
)

END = LocalEnd()
X, Y = LocalVar("X"), LocalVar("Y")


def send(**labels: LocalType) -> LocalSend:
    return LocalSend("B", tuple(LocalBranch(label, None, after) for label, after in labels.items()))


LOOP = LocalRec("X", send(a=X))
NESTED = LocalRec("X", send(a=LocalRec("Y", send(b=Y, c=X))))


@pytest.mark.parametrize(
    ("local", "fuel", "expect"),
    [
        (LOOP, 0, "end"),
        (LOOP, 1, "!B{a: end}"),
        (LOOP, 3, "!B{a: !B{a: !B{a: end}}}"),
        (send(a=send(b=END)), 0, "!B{a: !B{b: end}}"),
        (send(a=LOOP), 0, "!B{a: end}"),
        (NESTED, 1, "!B{a: end}"),
        (NESTED, 2, "!B{a: !B{b: end, c: end}}"),
        (NESTED, 3, "!B{a: !B{b: !B{b: end, c: end}, c: !B{a: end}}}"),
        (LocalRepeat(3, send(a=END), END), 0, "!B{a: !B{a: !B{a: end}}}"),
    ],
)
def test_fuel_bounds_the_rounds_of_all_loops_together(local: LocalType, fuel: int, expect: str) -> None:
    assert show_local(with_fuel(local, fuel)) == expect


@pytest.mark.parametrize(
    ("local", "count", "expect"),
    [
        (LOOP, 0, "end"),
        (LOOP, 2, "!B{a: !B{a: end}}"),
        (NESTED, 2, "!B{a: !B{b: end, c: end}}"),
        (send(a=END), 5, "!B{a: end}"),
    ],
)
def test_a_number_of_exchanges_bounds_every_run(local: LocalType, count: int, expect: str) -> None:
    assert show_local(with_actions_at_most(local, count)) == expect


def test_a_type_may_yield_at_a_label() -> None:
    assert show_local(until_label(NESTED, "c")) == "!B{a: rec Y.(!B{b: Y, c: end})}"
    assert show_local(until_label(NESTED, "z")) == show_local(NESTED)


def test_what_is_negative_is_no_bound() -> None:
    with pytest.raises(ValueError, match="from 0, got -1"):
        with_fuel(LOOP, -1)
    with pytest.raises(ValueError, match="from 0, got -1"):
        with_actions_at_most(LOOP, -1)


WATCHED = """
protocol Watched =
  roles A, B, C
  rec Again
    choice A at
      | More =>
        A -> B : More
        A -> C : Note
        loop repeat 2
          B -> A : Ack
        continue Again
      | Stop =>
        A -> B : Stop
        A -> C : End
"""


@pytest.mark.parametrize("fuel", range(4))
def test_a_bounded_protocol_ends_for_every_role_at_the_same_place(fuel: int) -> None:
    bounded = with_fuel(compile_choreography(WATCHED).global_type, fuel)
    projections = project_all(bounded, ("A", "B", "C"))
    assert projections.is_projectable
    assert explore(projections.local).is_safe
    alone = compile_choreography(WATCHED).local["A"]
    assert show_local(projections.local["A"]) == show_local(with_fuel(alone, fuel))


def test_a_protocol_may_be_cut_after_so_many_messages_or_at_one() -> None:
    root = compile_choreography(WATCHED).global_type
    assert with_actions_at_most(root, 0) == End()
    two = project_all(with_actions_at_most(root, 2)).local
    assert show_local(two["C"]) == "?A{End: end, Note: end}"
    once = project_all(until_label(root, "Note")).local
    assert show_local(once["A"]) == "!B{More: !C{Note: end}, Stop: !C{End: end}}"


def test_who_could_not_know_that_it_is_over_has_no_view_of_a_bounded_protocol() -> None:
    text = "protocol P =\n  roles A, B, C\n  loop decide by A\n    A -> B : More\n  A -> C : Bye\n"
    root = compile_choreography(text).global_type
    assert project_all(with_fuel(root, 1)).refusals.keys() == {"C"}


def test_a_counted_loop_too_long_to_be_written_out_is_refused_at_once() -> None:
    local = LocalRepeat(10**6, send(a=END), END)
    with pytest.raises(ValueError, match="counted loops of more than 100,000"):
        with_fuel(local, 0)
    text = "protocol P =\n  roles A, B\n  loop repeat 1000000\n    A -> B : x\n"
    with pytest.raises(ValueError, match="counted loops of more than 100,000"):
        with_fuel(compile_choreography(text).global_type, 0)
    assert show_local(with_actions_at_most(local, 2)) == "!B{a: !B{a: end}}"

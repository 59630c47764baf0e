"""Datalog: what a program means, what is refused with its place, and what it may cost."""

from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from antiphon.reactive.datalog import DatalogError, LimitExceeded, Limits, Table, parse_datalog, solve

FAR = "far($x, $y) <- link($x, $y); far($x, $z) <- far($x, $y), link($y, $z);"
MESSAGES = Table(
    ("id", "channel", "text", "is_read"),
    [
        ("m1", "lobby", 'he said "yes, no"', True),
        ("m2", "lobby", "two", False),
        ("m3", "garden", "three", False),
    ],
)
CHANNELS = Table(("id", "members"), [("lobby", 3), ("garden", 1), ("attic", 0)])


def ask(text: str, limits: Limits | None = None, **tables: Table) -> list[tuple[object, ...]]:
    given_tables: Mapping[str, Table] = {"message": MESSAGES, "channel": CHANNELS, **tables}
    return [tuple(row.values()) for row in solve(parse_datalog(text), given_tables, limits=limits)]


def links(*pairs: str) -> Table:
    return Table(("from", "to"), [tuple(pair) for pair in pairs])


def test_rows_come_by_the_names_of_the_goals_variables() -> None:
    rows = solve(parse_datalog('? message($id, "lobby", $text, _);'), {"message": MESSAGES})
    assert rows == ({"id": "m1", "text": 'he said "yes, no"'}, {"id": "m2", "text": "two"})


def test_a_comma_and_a_quote_in_a_text_stay_inside_it() -> None:
    assert ask(r'? message($id, _, "he said \"yes, no\"", _);') == [("m1",)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('eq($id, "m2")', ["m2"]),
        ('neq($id, "m2")', ["m1", "m3"]),
        ('$id == "m2"', ["m2"]),
        ('$id in ["m3", "m1", "m9"]', ["m1", "m3"]),
        ("$id in []", []),
        ('le($id, "m2")', ["m1", "m2"]),
        ('$id > "m2"', ["m3"]),
        ('starts_with($text, "t")', ["m2", "m3"]),
        ('contains($text, "yes")', ["m1"]),
        ("$read == true", ["m1"]),
        ("$read == 1", []),
        ("$id < 5", []),
    ],
)
def test_filters(body: str, expected: list[str]) -> None:
    goal = f"hit($id) <- message($id, _, $text, $read), {body}; ? hit($id);"
    assert [row[0] for row in ask(goal)] == expected


def test_terms_may_go_by_column() -> None:
    assert ask('? message(text: $text, channel: "garden");') == [("three",)]
    assert ask('pair(b: $b, a: $a) <- channel(id: $a, members: $b); pair(a: "x", b: 9); ? pair(b: 9, a: $a);') == [
        ("x",)
    ]


def test_a_program_has_facts_of_its_own() -> None:
    assert ask('best("lobby"); best("attic"); ? best($c), channel($c, $members);') == [("attic", 0), ("lobby", 3)]


def test_recursion_reaches_everything_once_and_ends_in_cycles() -> None:
    assert ask(FAR + '? far("a", $x);', link=links("ab", "bc", "ca", "de")) == [("a",), ("b",), ("c",)]


def test_what_is_denied_is_complete_first() -> None:
    quiet = "loud($c) <- message(channel: $c); quiet($c) <- channel($c, _), not loud($c); ? quiet($c);"
    assert ask(quiet) == [("attic",)]
    unread = "read($c) <- message(channel: $c, is_read: true); ? channel($c, $n), not read($c), $n > 0;"
    assert ask(unread) == [("garden", 1)]


def test_a_goal_without_variables_is_a_yes_or_a_no() -> None:
    assert solve(parse_datalog('? message("m1", _, _, _);'), {"message": MESSAGES}) == ({},)
    assert solve(parse_datalog('? message("m9", _, _, _);'), {"message": MESSAGES}) == ()


def test_true_is_not_one_and_null_is_a_value() -> None:
    odd = Table(("value",), [(True,), (1,), (None,), ("1",)])
    assert ask("? odd($value);", odd=odd) == [(None,), (True,), (1,), ("1",)]
    assert ask("hit(1) <- odd(null); ? hit($x);", odd=odd) == [(1,)]


def test_a_variable_twice_in_an_atom_is_one_value() -> None:
    assert ask("? link($x, $x);", link=links("ab", "bb", "ca")) == [("b",)]
    assert ask("alone($x) <- link($x, _), not link($x, $x); ? alone($x);", link=links("ab", "bb", "ca")) == [
        ("a",),
        ("c",),
    ]


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("? message($id, _, _, _)", (1, 24), "expected ;"),
        ("a($x) <- message($x);\n? a($x);", (1, 10), "4 columns"),
        ("? nobody($x);", (1, 3), "no relation nobody"),
        ("? channel(name: $x);", (1, 3), "no column name"),
        ("a($x) <- channel($y, _);\n? a($x);", (1, 1), "$x of the head"),
        ("? channel($x, _),\n  $y > 1;", (2, 3), "$y is bound by no atom"),
        ("? channel($x, _), not message(channel: $y);", (1, 23), "$y is bound by no atom"),
        ("channel($x, 1) <- channel($x, _); ? channel($x, _);", (1, 1), "given table"),
        ("a($x) <- channel($x, _); a($x, 1) <- channel($x, _); ? a($x);", (1, 26), "above"),
        ("a(_) <- channel(_, _); ? a($x);", (1, 1), "_ stands for no value"),
        ("a($x);\n? a($x);", (1, 1), "a fact has no variables"),
        ("a(1);", (1, 6), "asks nothing"),
        ("? channel($x, _); ? channel($x, _);", (1, 19), "second goal"),
        ("? channel($x, members: 1);", (1, 24), "all by position"),
        ("? channel(id: 1, id: 2);", (1, 3), "twice"),
        ('? channel("a', (1, 11), "begins nothing"),
        ('? channel("a\\q", _);', (1, 11), "begins nothing"),
        ("? not eq(1, 2);", (1, 7), "filter of two values"),
        ("? $x;", (1, 5), "comparison"),
        ("? channel($x, 1.5);", (1, 16), "begins nothing"),
        ("not a(1);\n? a($x);", (1, 5), "what it defines"),
        ("a($x) <- channel($x, _), not b($x); b($x) <- channel($x, _), not a($x); ? a($x);", None, "again"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, place: tuple[int, int] | None, problem: str) -> None:
    with pytest.raises(DatalogError, match=problem.replace("$", r"\$")) as caught:
        ask(text)
    if place is not None:
        assert caught.value.place == place


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(fact_count_max=100), "fact_count_max"),
        (Limits(round_count_max=5), "round_count_max"),
        (Limits(step_count_max=50), "step_count_max"),
    ],
)
def test_every_cost_is_bounded(limits: Limits, named: str) -> None:
    chain = Table(("from", "to"), [(number, number + 1) for number in range(60)])
    with pytest.raises(LimitExceeded, match=named) as caught:
        ask(FAR + "? far($x, $y);", limits, link=chain)
    assert caught.value.limit == named


def test_a_long_chain_costs_what_it_derives() -> None:
    chain = Table(("from", "to"), [(number, number + 1) for number in range(300)])
    text = "far($x) <- link(0, $x); far($y) <- far($x), link($x, $y); ? far($x);"
    assert len(ask(text, Limits(step_count_max=2_000), link=chain)) == 300


def test_a_rule_with_too_many_conditions_is_refused() -> None:
    with pytest.raises(DatalogError, match="split the rule"):
        parse_datalog("? " + ", ".join(["a($x)"] * 101) + ";")


def test_a_program_that_is_too_long_is_refused() -> None:
    with pytest.raises(DatalogError, match="characters"):
        parse_datalog("// " + "x" * 100_001)


pairs = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


@given(pairs)
@settings(max_examples=60)
def test_recursion_equals_a_closure_found_otherwise(edges: set[tuple[int, int]]) -> None:
    reached = set(edges)
    while more := {(a, d) for a, b in reached for c, d in edges if b == c} - reached:
        reached |= more
    assert ask(FAR + "? far($x, $y);", link=Table(("from", "to"), sorted(edges))) == sorted(reached)


@given(pairs, pairs)
@settings(max_examples=60)
def test_negation_is_set_difference(mine: set[tuple[int, int]], theirs: set[tuple[int, int]]) -> None:
    tables = {"mine": Table(("a", "b"), list(mine)), "theirs": Table(("a", "b"), list(theirs))}
    assert ask("? mine($a, $b), not theirs($a, $b);", **tables) == sorted(mine - theirs)


@given(st.text(max_size=30))
@example("A(")
@example("? a(b")
@settings(max_examples=150)
def test_any_text_is_a_program_or_a_mistake_with_a_place(text: str) -> None:
    try:
        parse_datalog(text)
    except DatalogError as problem:
        place = problem.place
    else:
        place = (1, 1)
    assert place >= (1, 1)

"""The same programs asked of Biscuit's engine: positive Datalog, filters, and authorisation as its policies say it.

Biscuit knows no negation, so that part is asked of sets in ``test_datalog.py``.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from biscuit_auth import AuthorizationError, Authorizer, AuthorizerBuilder, Rule
from hypothesis import example, given, settings
from hypothesis import strategies as st

from antiphon.reactive.datalog import Table, parse_datalog, solve

Value = int | str
SHAPES: Mapping[str, str] = {"edge": "ii", "name": "is", "tag": "s", "p": "ii", "q": "i", "r": "si"}
"""Relations by the types of their columns: the first three are given, the others derived."""
GIVEN = ("edge", "name", "tag")
VARIABLES: Mapping[str, Sequence[str]] = {"i": ("$i", "$j", "$k"), "s": ("$s", "$t")}
numbers, texts = st.integers(0, 3), st.sampled_from(["a", "b, c", 'say "x"', "ü"])
VALUES: Mapping[str, st.SearchStrategy[Value]] = {"i": numbers, "s": texts}
COMPARISONS: Mapping[str, Sequence[str]] = {"i": ("==", "!=", "<", "<=", ">", ">="), "s": ("==", "!=")}
Tables = Mapping[str, Sequence[tuple[Value, ...]]]


class Clause(NamedTuple):
    """A rule in the words that both languages share."""

    head: str
    body: str

    def __str__(self) -> str:
        return f"{self.head} <- {self.body};"


def written(value: Value) -> str:
    return str(value) if isinstance(value, int) else '"' + value.replace('"', '\\"') + '"'


@st.composite
def clauses(draw: st.DrawFn, head: str | None = None) -> Clause:
    """A rule whose variables are all bound: those of the head and of the filters stand in an atom of the body."""
    bound: dict[str, str] = {}
    body = []
    for _ in range(draw(st.integers(1, 3))):
        relation = draw(st.sampled_from(sorted(SHAPES)))
        terms = []
        for kind in SHAPES[relation]:
            if draw(st.integers(0, 4)):
                name = draw(st.sampled_from(VARIABLES[kind]))
                bound[name] = kind
                terms.append(name)
            else:
                terms.append(written(draw(VALUES[kind])))
        body.append(f"{relation}({', '.join(terms)})")
    for _ in range(draw(st.integers(0, 2)) if bound else 0):
        name = draw(st.sampled_from(sorted(bound)))
        kind = bound[name]
        others = [other for other in sorted(bound) if bound[other] == kind]
        right = draw(st.one_of(st.sampled_from(others), VALUES[kind].map(written)))
        body.append(f"{name} {draw(st.sampled_from(COMPARISONS[kind]))} {right}")
    name = head or draw(st.sampled_from(["p", "q", "r"]))
    terms = []
    for kind in SHAPES.get(name, ""):
        mine = [each for each in sorted(bound) if bound[each] == kind]
        terms.append(draw(st.sampled_from(mine)) if mine else written(draw(VALUES[kind])))
    return Clause(f"{name}({', '.join(terms)})", ", ".join(body))


tables = st.fixed_dictionaries(
    {name: st.lists(st.tuples(*(VALUES[kind] for kind in SHAPES[name])), max_size=6, unique=True) for name in GIVEN}
)
programs = st.lists(clauses(), min_size=1, max_size=5).flatmap(
    lambda rules: st.tuples(st.just(rules), st.sampled_from(["p", "q", "r"]))
)


def ask_ours(rules: Sequence[Clause], given_rows: Tables, goal: str) -> set[tuple[object, ...]]:
    """What our engine says; a relation that no rule defines is defined by one that never holds."""
    columns = [f"$c{at}" for at in range(len(SHAPES[goal]))]
    defined = {rule.head.partition("(")[0] for rule in rules}
    never = [
        f"{name}({', '.join(written(1 if kind == 'i' else 'a') for kind in SHAPES[name])}) <- tag($s), $s != $s;"
        for name in ("p", "q", "r")
        if name not in defined
    ]
    text = "\n".join([*map(str, rules), *never, f"? {goal}({', '.join(columns)});"])
    given_tables = {
        name: Table(tuple(f"c{at}" for at in range(len(SHAPES[name]))), rows) for name, rows in given_rows.items()
    }
    return {tuple(row.values()) for row in solve(parse_datalog(text), given_tables)}


def authorizer(code: str) -> Authorizer:
    builder = AuthorizerBuilder(code)
    limits = builder.limits()  # type: ignore[attr-defined]  # the library's stubs are older than itself
    limits.max_facts, limits.max_iterations, limits.max_time = 100_000, 10_000, timedelta(seconds=20)
    builder.set_limits(limits)  # type: ignore[attr-defined]  # likewise
    return builder.build_unauthenticated()


def ask_biscuit(rules: Sequence[Clause], given_rows: Tables, goal: str) -> set[tuple[object, ...]]:
    facts = [f"{name}({', '.join(map(written, row))});" for name, rows in given_rows.items() for row in rows]
    columns = ", ".join(f"$c{at}" for at in range(len(SHAPES[goal])))
    engine = authorizer("\n".join([*facts, *map(str, rules)]))
    return {tuple(fact.terms) for fact in engine.query(Rule(f"found({columns}) <- {goal}({columns})"))}


@given(programs, tables)
@example(
    (
        [Clause("p($i, $j)", "edge($i, $j)"), Clause("p($i, $k)", "p($i, $j), edge($j, $k), $i != $k")],
        "p",
    ),
    {"edge": [(0, 1), (1, 2), (2, 0)], "name": [], "tag": []},
)
@example(([Clause("r($s, $i)", 'name($i, $s), $s == "b, c"')], "r"), {"edge": [], "name": [(1, "b, c")], "tag": []})
@settings(max_examples=150, deadline=None)
def test_biscuit_gives_the_same_rows_for_the_same_program(
    program: tuple[Sequence[Clause], str], given_rows: Tables
) -> None:
    rules, goal = program
    assert ask_ours(rules, given_rows, goal) == ask_biscuit(rules, given_rows, goal)


people, rooms, deeds = (
    st.sampled_from(names) for names in (["ada", "ben", "cy"], ["lobby", "attic"], ["read", "write"])
)
RIGHTS = """
    may($who, $deed, $room) <- right($who, $deed, $room);
    may($who, $deed, $room) <- delegated($from, $who, $room), may($from, $deed, $room);
    may($who, "read", $room) <- may($who, "write", $room);
"""


@given(
    st.sets(st.tuples(people, deeds, rooms), max_size=4),
    st.sets(st.tuples(people, people, rooms), max_size=4),
    st.tuples(people, deeds, rooms),
)
@settings(max_examples=100, deadline=None)
def test_a_goal_holds_exactly_when_biscuits_policy_allows(
    rights: set[tuple[str, str, str]], delegated: set[tuple[str, str, str]], asked: tuple[str, str, str]
) -> None:
    """Rights that are given, passed on round in circles, and imply each other: who may is who is allowed."""
    wanted = ", ".join(map(written, asked))
    given_tables = {
        "right": Table(("who", "deed", "room"), sorted(rights)),
        "delegated": Table(("from", "to", "room"), sorted(delegated)),
    }
    holds = solve(parse_datalog(f"{RIGHTS} ? may({wanted});"), given_tables) == ({},)
    facts = [f"right({', '.join(map(written, row))});" for row in sorted(rights)]
    facts += [f"delegated({', '.join(map(written, row))});" for row in sorted(delegated)]
    try:
        authorizer(f"{' '.join(facts)} {RIGHTS} allow if may({wanted}); deny if true;").authorize()
        is_allowed = True
    except AuthorizationError:
        is_allowed = False
    assert holds == is_allowed

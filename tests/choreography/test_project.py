"""Projection: the rules, what is refused and how that is explained, and that its cost grows with the protocol only."""

import sys
from collections.abc import Callable

import pytest

from antiphon.choreography.ast import Extension as ExtensionStatement
from antiphon.choreography.ast import Publish
from antiphon.choreography.compiled import compile_choreography, project
from antiphon.choreography.core import (
    Branch,
    Comm,
    Custom,
    End,
    GlobalType,
    Local,
    Parallel,
    Rec,
    Repeat,
    Timeout,
    Var,
)
from antiphon.choreography.errors import ChoreographyError
from antiphon.choreography.local import LocalBranch, LocalEnd, LocalSend, LocalType, show_local
from antiphon.choreography.merge import MergeMode
from antiphon.choreography.project import Projections, Refusal, project_all, project_global
from antiphon.choreography.refusal import Insertion, ProjectionError, explain_refusals, insert_messages

END = End()


def message(sender: str, receiver: str, label: str, after: GlobalType = END) -> Comm:
    return Comm(sender, receiver, (Branch(label, None, after),))


def choice(sender: str, receiver: str, **branches: GlobalType) -> Comm:
    return Comm(sender, receiver, tuple(Branch(label, None, after) for label, after in branches.items()))


def views(root: GlobalType, *, mode: MergeMode = "full+") -> dict[str, str]:
    projections = project_all(root, mode=mode)
    assert projections.is_projectable, projections.refusals
    return {role: show_local(view) for role, view in projections.local.items()}


def refusals(root: GlobalType, *, mode: MergeMode = "full+") -> list[ProjectionError]:
    found = project_all(root, mode=mode).refusals
    return explain_refusals(root, [one for several in found.values() for one in several], mode=mode)


OUTSIDE = Rec("L", choice("A", "B", More=Var("L"), Done=message("A", "C", "Fin")))
OBSERVED = Rec("L", choice("S", "R", Data=message("R", "O", "Forward", Var("L")), Done=END))


# --- loops --------------------------------------------------------------------------------------------------------


def test_a_role_outside_a_loop_waits_through_its_rounds() -> None:
    assert views(OUTSIDE)["C"] == "?A{Fin: end}"


@pytest.mark.parametrize("mode", ["full", "plain"])
def test_without_absorption_a_role_outside_a_loop_must_be_told(mode: MergeMode) -> None:
    (error,) = refusals(OUTSIDE, mode=mode)
    assert (error.role, {branch.label for branch in error.branches}) == ("C", {"More", "Done"})


def test_absorption_does_not_rescue_a_role_that_acts_in_the_loop() -> None:
    (error,) = refusals(OBSERVED)
    assert (error.role, error.cause) == ("O", "EndMismatch")


def test_a_role_that_has_acted_since_the_head_is_not_absorbed_later_in_the_round() -> None:
    root = Rec("X", message("A", "C", "tick", choice("A", "B", again=Var("X"), stop=message("A", "C", "Fin"))))
    assert [(error.role, error.cause) for error in refusals(root)] == [("C", "IncompatibleTypes")]


def test_a_role_that_has_acted_in_the_inner_loop_only_waits_in_the_outer_one() -> None:
    inner = Rec(
        "Y", choice("A", "B", again=message("A", "C", "tick", Var("Y")), out=message("A", "C", "out", Var("X")))
    )
    root = Rec("X", choice("A", "B", go=inner, stop=message("A", "C", "stop")))
    assert [error.role for error in refusals(root)] == ["C"]


def test_branches_that_all_go_round_go_round_the_outermost_loop() -> None:
    inner = Rec("Y", choice("A", "B", again=Var("Y"), back=Var("X")))
    root = Rec("X", choice("A", "B", go=inner, stop=message("A", "C", "Fin")))
    assert views(root)["C"] == "?A{Fin: end}"


def test_a_loop_in_which_a_role_never_acts_is_over_for_it() -> None:
    assert views(message("A", "C", "Start", Rec("X", message("A", "B", "Tick", Var("X")))))["C"] == "?A{Start: end}"


def test_a_loop_that_never_comes_back_is_its_body() -> None:
    assert views(Rec("X", message("A", "B", "once"))) == {"A": "!B{once: end}", "B": "?A{once: end}"}


# --- other constructs ---------------------------------------------------------------------------------------------


def test_parallel_branches_follow_each_other_in_the_order_of_the_text() -> None:
    root = Parallel((message("A", "B", "X", message("B", "A", "Y")), message("C", "B", "Z")), message("B", "C", "End"))
    assert views(root)["B"] == "?A{X: !A{Y: ?C{Z: !C{End: end}}}}"


@pytest.mark.parametrize(
    ("first", "second", "roles"),
    [
        (message("H", "X", "a"), message("H", "X", "b"), {"H", "X"}),
        (message("H", "X", "a", message("X", "H", "r")), message("Y", "H", "q", message("X", "H", "r")), {"H", "X"}),
    ],
)
def test_parallel_branches_nobody_can_tell_apart_are_refused(
    first: GlobalType, second: GlobalType, roles: set[str]
) -> None:
    errors = refusals(Parallel((first, second), END))
    assert {error.role for error in errors} == roles
    assert {error.cause for error in errors} == {"InconsistentParallel"}


def test_relaxed_parallel_still_wants_different_labels() -> None:
    same_target = Parallel((message("H", "X", "a"), message("H", "X", "b")), END)
    same_label = Parallel((message("H", "X", "a"), message("H", "X", "a")), END)
    assert project_all(same_target, relaxed_parallel=True).is_projectable
    assert not project_all(same_label, relaxed_parallel=True).is_projectable


def test_a_branch_of_par_that_goes_back_to_an_outer_loop_is_refused() -> None:
    root = Rec("X", message("A", "B", "go", Parallel((message("A", "B", "x", Var("X")), message("B", "C", "y")), END)))
    assert {error.cause for error in refusals(root)} == {"LoopAcrossParallel"}


def test_every_role_in_a_timeout_has_a_timed_part_and_the_others_see_what_follows() -> None:
    tail = message("D", "A", "after")
    root = Timeout("A", 30_000, message("B", "A", "PickUp", tail), message("A", "B", "HangUp", tail))
    shown = views(root)
    assert shown["B"] == "timeout 30s A(!A{PickUp: end}; on timeout: ?A{HangUp: end})"
    assert shown["A"].startswith("timeout 30s A(")
    assert shown["D"] == "!A{after: end}"


def test_a_role_that_does_the_same_in_every_part_of_a_timeout_is_still_in_it() -> None:
    root = Timeout(
        "A", 5, message("A", "B", "x", message("A", "C", "y")), message("A", "B", "late", message("A", "C", "y"))
    )
    assert views(root)["C"] == "timeout 5ms A(?A{y: end}; on timeout: ?A{y: end})"


def test_a_role_that_cannot_notice_the_clock_is_reported() -> None:
    hidden = Timeout("A", 5, message("B", "A", "x"), message("B", "A", "y"))
    seen = Timeout("A", 5, message("B", "A", "x"), message("A", "B", "y"))
    assert [found.role for found in project_all(hidden).unobservable_timeouts] == ["B"]
    assert project_all(seen).unobservable_timeouts == ()


def test_a_long_counted_loop_stays_counted() -> None:
    root = Repeat(1_000, message("A", "B", "Tick"), message("B", "C", "Done"))
    assert views(root) == {
        "A": "repeat 1000.(!B{Tick: end}); end",
        "B": "repeat 1000.(?A{Tick: end}); !C{Done: end}",
        "C": "?B{Done: end}",
    }


def test_a_local_action_is_its_actors_alone() -> None:
    root = message("A", "B", "x", Local("B", Publish("Ready"), message("B", "A", "y")))
    assert views(root) == {"A": "!B{x: ?B{y: end}}", "B": "?A{x: publish; !A{y: end}}"}


def test_a_role_may_not_act_on_a_choice_it_does_not_know() -> None:
    root = choice("A", "B", l=Local("C", Publish("Left"), END), r=END)
    (refusal,) = project_all(root, ("C",)).refusals["C"]
    assert refusal.cause == "EndMismatch"


def test_an_extension_projects_itself_or_is_an_action() -> None:
    statement = ExtensionStatement("audit", "audit A", roles=("A",))
    root = Custom(statement, message("A", "B", "x"))

    def audit(_: ExtensionStatement, role: str) -> LocalType:
        return LocalSend("Log", (LocalBranch(f"by{role}", None, LocalEnd()),))

    assert views(root)["A"] == "extension; !B{x: end}"
    asked = project_all(root, extensions={"audit": audit})
    assert show_local(asked.local["A"]) == "!Log{byA: !B{x: end}}"
    assert show_local(asked.local["B"]) == "?A{x: end}"


def test_a_role_that_does_not_occur_is_done() -> None:
    view = project_global(message("A", "B", "x"), "Nobody")
    assert not isinstance(view, Refusal)
    assert show_local(view) == "end"


# --- refusals -----------------------------------------------------------------------------------------------------


def test_a_refusal_names_role_branches_shortest_trace_and_a_change() -> None:
    root = message("Z", "A", "start", choice("A", "B", yes=message("B", "C", "Extra"), no=END))
    (error,) = refusals(root)
    assert error.role == "C"
    assert [branch.label for branch in error.branches] == ["yes", "no"]
    assert [str(event) for event in error.trace] == ["Z -> A : start"]
    assert [branch.action for branch in error.branches] == ["C waits for Extra from B", "C has nothing left to do"]
    assert [str(one) for one in error.fix] == ["B -> C : No"]
    assert "let B, who knows, send C a message in branch no" in str(error)


def test_the_shortest_run_goes_round_no_loop_and_takes_the_short_branch() -> None:
    unclear = choice("A", "B", yes=message("B", "C", "Extra"), no=END)
    long = message("A", "B", "one", message("B", "A", "two", unclear))
    root = Rec("L", choice("A", "B", again=message("B", "A", "ack", Var("L")), slow=long, fast=unclear))
    (error,) = refusals(root)
    assert [str(event) for event in error.trace] == ["A -> B : fast"]


def test_the_trace_to_what_follows_par_passes_every_branch() -> None:
    unclear = choice("A", "B", yes=message("B", "C", "Extra"), no=END)
    (error,) = refusals(Parallel((message("A", "B", "x"), message("B", "C", "y")), unclear))
    assert [str(event) for event in error.trace] == ["A -> B : x", "B -> C : y"]


@pytest.mark.parametrize(
    "root",
    [
        OBSERVED,
        choice("A", "B", yes=message("B", "C", "Extra"), no=END),
        choice("A", "B", l=message("C", "B", "X"), r=message("C", "B", "Y")),
        choice("A", "B", l=message("B", "C", "x"), r=message("D", "C", "y"), m=END),
        choice(
            "A",
            "B",
            l=message("B", "C", "go", message("C", "A", "X")),
            r=message("B", "C", "go", message("A", "C", "Y")),
        ),
        choice("A", "B", l=message("B", "D", "told", message("D", "C", "hear")), r=message("B", "D", "other")),
    ],
)
def test_the_change_that_is_advised_makes_the_role_projectable(root: GlobalType) -> None:
    for error in refusals(root):
        assert error.fix
        assert error.fixed is not None
        assert error.role in project_all(error.fixed).local


def test_the_advised_change_is_not_larger_than_it_must_be() -> None:
    root = choice("A", "B", l=message("B", "D", "told", message("D", "C", "hear")), r=message("B", "D", "other"))
    (error,) = refusals(root)
    assert len(error.fix) == 1


def test_an_inserted_message_stands_where_its_sender_knows() -> None:
    node = choice("A", "B", l=message("B", "D", "told"), r=message("B", "D", "other"))
    fix = [Insertion("l", "D", "C", "L"), Insertion("r", "D", "C", "R")]
    assert views(insert_messages(node, node, fix))["D"] == "?B{other: !C{R: end}, told: !C{L: end}}"


def test_every_role_that_is_refused_is_told_of() -> None:
    root = choice("A", "B", l=message("B", "C", "x", message("B", "D", "y")), r=END)
    assert sorted(error.role for error in refusals(root)) == ["C", "D"]


def test_a_refusal_is_data_too() -> None:
    (error,) = refusals(OBSERVED)
    shown = error.to_json()
    assert (shown["role"], shown["cause"]) == ("O", "EndMismatch")
    assert shown["fix"] == [{"branch": "Done", "message": "R -> O : Done"}]


# --- the surface --------------------------------------------------------------------------------------------------

UNTOLD = """\
protocol P =
  roles A, B, C
  choice A at
    | yes =>
      A -> B : yes
      B -> C : Extra
    | no =>
      A -> B : no
"""


def test_project_takes_text_tree_or_core() -> None:
    text = "protocol P =\n  roles A, B\n  A -> B : x\n"
    compiled = compile_choreography(text)
    for source in (text, compiled.choreography, compiled.global_type):
        assert show_local(project(source, "B")) == "?A{x: end}"


def test_project_raises_what_was_refused_with_its_place() -> None:
    with pytest.raises(ProjectionError, match="C cannot tell branch yes from branch no") as caught:
        project(UNTOLD, "C")
    assert caught.value.span.line == 3
    assert show_local(project(UNTOLD, "A")) == "!B{yes: end, no: end}"


def test_project_knows_the_roles_of_a_choreography() -> None:
    with pytest.raises(ValueError, match="P has no role 'Z'; it has A, B, C"):
        project(UNTOLD, "Z")


def test_an_unbound_family_is_refused_and_a_bound_one_is_projected() -> None:
    text = "protocol P =\n  roles Boss, W[N]\n  Boss -> W[*] : Job\n"
    with pytest.raises(ChoreographyError):
        project(text, "Boss")
    assert show_local(project(text, "Boss", counts={"W": 2})) == "!W[0]{Job: !W[1]{Job: end}}"


# --- cost ---------------------------------------------------------------------------------------------------------


def ten_way_choice() -> GlobalType:
    """R0 chooses one of ten, and each of ten roles hears of it from the one before."""
    branches: list[Branch] = []
    for number in range(10):
        after: GlobalType = END
        for role in range(9, 1, -1):
            after = message(f"R{role - 1}", f"R{role}", f"m{number}", after)
        branches.append(Branch(f"l{number}", None, after))
    return Comm("R0", "R1", tuple(branches))


def calls_while(action: Callable[[], Projections]) -> int:
    """How many Python calls an action makes: a cost that no other process on the machine changes."""
    count = 0

    def tick(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def in_a_row(count: int) -> GlobalType:
    node: GlobalType = END
    for number in range(count):
        one, other, third = (f"R{(number + step) % 20}" for step in (0, 1, 2))
        if number % 10:
            node = message(one, other, f"m{number}", node)
        elif number % 20:
            node = Comm(
                one,
                other,
                tuple(Branch(label, None, message(other, third, f"{label}{number}", node)) for label in "lr"),
            )
        else:
            more = message(other, third, f"more{number}", Var(f"L{number}"))
            node = Rec(f"L{number}", choice(one, other, more=more, done=message(other, third, f"done{number}", node)))
    return node


def test_a_ten_way_choice_over_ten_roles_is_merged_without_blow_up() -> None:
    root = ten_way_choice()
    assert calls_while(lambda: project_all(root)) < 100_000
    assert len(project_all(root).local) == 10


def test_the_cost_is_linear_in_the_statements() -> None:
    small, large = in_a_row(500), in_a_row(2_000)
    assert project_all(small).is_projectable
    assert calls_while(lambda: project_all(large)) <= 4.5 * calls_while(lambda: project_all(small))


def test_a_million_paths_cost_no_more_than_their_nodes() -> None:
    node: GlobalType = END
    for _ in range(200):
        node = choice("A", "B", l=node, r=node)
    assert calls_while(lambda: project_all(node)) < 100_000


def test_two_thousand_levels_are_projected_and_refused_without_recursion() -> None:
    deep: GlobalType = choice("A", "B", yes=message("B", "C", "Extra"), no=END)
    for number in range(2_000):
        deep = message("A", "B", f"m{number}", deep)
    (error,) = refusals(deep)
    assert len(error.trace) == 2_000
    nested: GlobalType = END
    for number in range(2_000):
        nested = Rec(f"X{number}", choice("A", "B", go=message("B", "A", "ok", Var(f"X{number}")), out=nested))
    assert project_all(nested).is_projectable


# --- timeouts in loops, and local actions -------------------------------------------------------------------------


def seen_by(role: str, *lines: str, roles: str = "A, B, C") -> str:
    return show_local(
        project("\n".join([f"protocol P =\n  roles {roles}", *("  " + line for line in lines)]) + "\n", role)
    )


TIMEOUTS_IN_LOOPS = {
    # The body goes round, so what follows hangs below `on timeout` alone; C is in it no more than in the body.
    "the body goes round": (
        [
            "rec X",
            "  timeout 5s A at",
            "    A -> B : M",
            "    continue X",
            "  on timeout => A -> B : Late",
            "A -> C : Z",
        ],
        "?A{Z: end}",
    ),
    "on timeout goes round": (
        [
            "rec X",
            "  timeout 5s A at",
            "    A -> B : M",
            "  on timeout =>",
            "    A -> B : Late",
            "    continue X",
            "A -> C : Z",
        ],
        "?A{Z: end}",
    ),
    "every part goes round but one way": (
        [
            "rec X",
            "  timeout 5s A at",
            "    A -> B : M",
            "    continue X",
            "  on timeout =>",
            "    A -> B : Late",
            "    continue X",
            "  on cancel => A -> B : Stop",
            "A -> C : Z",
        ],
        "?A{Z: end}",
    ),
    "a loop in the body goes round": (
        [
            "rec X",
            "  timeout 5s A at",
            "    choice A at",
            "      | More =>",
            "        A -> B : More",
            "        continue X",
            "      | Enough => A -> B : Enough",
            "  on timeout =>",
            "    A -> B : Late",
            "    continue X",
            "A -> C : Z",
        ],
        "?A{Z: end}",
    ),
    "one timeout in another": (
        [
            "rec X",
            "  timeout 5s A at",
            "    timeout 1s A at",
            "      A -> B : M",
            "      continue X",
            "    on timeout => A -> B : Soon",
            "  on timeout => A -> B : Late",
            "A -> C : Z",
        ],
        "?A{Z: end}",
    ),
    "and goes round itself": (
        [
            "rec X",
            "  timeout 5s A at",
            "    A -> B : M",
            "    continue X",
            "  on timeout => A -> B : Late",
            "A -> C : Z",
            "B -> C : W",
        ],
        "?A{Z: ?B{W: end}}",
    ),
}


@pytest.mark.parametrize(("lines", "expected"), TIMEOUTS_IN_LOOPS.values(), ids=TIMEOUTS_IN_LOOPS)
def test_a_role_outside_a_timeout_in_a_loop_waits_for_what_follows(lines: list[str], expected: str) -> None:
    assert seen_by("C", *lines) == expected


def test_a_role_that_only_acts_in_a_timeout_is_in_it() -> None:
    lines = ["let r = transfer S from C to B", "timeout 5s A at", "  A -> B : M", "  handoff op to B with r",
             "on timeout =>", "  A -> B : Late", "  handoff other to B with r", "A -> C : Z"]  # fmt: skip
    assert seen_by("C", *lines) == "let; timeout 5s A(handoff; ?A{Z: end}; on timeout: handoff; ?A{Z: end})"


LOCAL_ACTIONS = {
    "the last statement": (["A -> B : M", "publish Done"], {"A": "!B{M: publish; end}", "B": "?A{M: end}"}),
    "before the end of a branch": (
        ["choice A at", "  | x =>", "    A -> B : x", "    publish Done", "  | y => A -> B : y"],
        {"A": "!B{x: publish; end, y: end}", "B": "?A{x: end, y: end}"},
    ),
    "by who bound the receipt": (
        ["let r = transfer S from B to A", "A -> B : M", "handoff op to A with r"],
        {"A": "!B{M: end}", "B": "let; ?A{M: handoff; end}"},
    ),
    "in a loop": (
        ["loop decide by A", "  A -> B : M", "  publish Round"],
        {"A": "rec Loop1.(!B{M: publish; Loop1, Done: end})", "B": "rec Loop1.(?A{M: Loop1, Done: end})"},
    ),
}


@pytest.mark.parametrize(("lines", "expected"), LOCAL_ACTIONS.values(), ids=LOCAL_ACTIONS)
def test_a_local_action_is_in_the_view_of_whose_it_is(lines: list[str], expected: dict[str, str]) -> None:
    assert {role: seen_by(role, *lines, roles="A, B") for role in ("A", "B")} == expected


def test_a_branch_of_par_may_begin_with_a_timeout_that_goes_round() -> None:
    # C is told only when the clock fires; the other part of its view leads straight back to the loop's head.
    lines = ["par", "  | D -> B : a", "  |", "      rec X", "        A -> B : b", "        timeout 5s D at",
             "          A -> D : c", "          continue X", "        on timeout =>", "          D -> A : d",
             "          D -> B : e", "          D -> C : f"]  # fmt: skip
    assert seen_by("C", *lines, roles="A, B, C, D") == "rec X.(timeout 5s D(X; on timeout: ?D{f: end}))"


def test_branches_of_par_clash_in_every_part_of_a_timeout() -> None:
    lines = ["par", "  | A -> B : a", "  |", "      timeout 5s C at", "        C -> A : b", "      on timeout =>",
             "        A -> B : c", "        C -> A : d"]  # fmt: skip
    with pytest.raises(ProjectionError) as refused:
        seen_by("B", *lines)
    assert refused.value.cause == "InconsistentParallel"

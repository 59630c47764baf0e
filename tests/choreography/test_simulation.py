"""Simulation: the same picks give the same run, every step is one the semantics allows, and being stuck is said."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.choreography.compiled import compile_choreography
from antiphon.choreography.local import LocalBranch, LocalEnd, LocalRec, LocalRecv, LocalSend, LocalType, LocalVar
from antiphon.choreography.simulation import Run, RunEvent, simulate

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples/choreography").glob("*.*"))
END = LocalEnd()
TIMED = """\
protocol Timed =
  roles Host, Guest
  timeout 5s Host at
    Guest -> Host : Accept
  on timeout =>
    Host -> Guest : Expired
"""


def send(partner: str, **labels: LocalType) -> LocalSend:
    return LocalSend(partner, tuple(LocalBranch(label, None, after) for label, after in labels.items()))


def recv(partner: str, **labels: LocalType) -> LocalRecv:
    return LocalRecv(partner, tuple(LocalBranch(label, None, after) for label, after in labels.items()))


def first(_: int) -> int:
    return 0


def said(run: Run) -> list[str]:
    return [str(event) for event in run.events]


def test_a_message_is_sent_and_received() -> None:
    run = simulate({"A": send("B", x=END), "B": recv("A", x=END)}, choose=first)
    assert said(run) == ["A sends x to B", "B receives x from A"]
    assert (run.outcome, run.steps, run.waiting, run.left) == ("ended", 2, {}, ())


def test_a_choice_is_told_before_its_message_and_is_no_step() -> None:
    roles: dict[str, LocalType] = {"A": send("B", yes=END, no=END), "B": recv("A", yes=END, no=END)}
    assert said(simulate(roles, choose=first)) == [
        "A chooses yes from yes, no",
        "A sends yes to B",
        "B receives yes from A",
    ]
    other = simulate(roles, choose=lambda count: count - 1)
    assert other.events[0] == RunEvent("choice", "A", "", "no", ("yes", "no"))
    assert other.steps == 2


def test_a_timeout_is_decided_by_its_owner_and_learned_by_the_others() -> None:
    roles = compile_choreography(TIMED).local
    outcomes = set()
    for seed in range(20):
        run = simulate(roles, choose=random.Random(seed).randrange)
        assert run.outcome == "ended"
        outcomes.add(tuple(sorted(line for line in said(run) if "timeout" in line)))
    assert outcomes == {
        ("Guest learns of Host's timeout: in time", "Host's timeout: in time"),
        ("Guest learns of Host's timeout: the clock fires", "Host's timeout: the clock fires"),
    }


def test_roles_that_wait_for_each_other_are_stuck_and_it_is_said_for_what() -> None:
    run = simulate({"A": recv("B", x=END), "B": recv("A", y=END)}, choose=first)
    assert (run.outcome, run.events, run.waiting) == ("stuck", (), {"A": "?B x", "B": "?A y"})


def test_a_message_that_nobody_takes_is_no_end() -> None:
    run = simulate({"A": send("B", x=END), "B": END}, choose=first)
    assert (run.outcome, run.left, run.waiting) == ("stuck", (("A", "B", "x"),), {})


def test_a_loop_stops_at_the_limit_and_a_buffer_at_its_bound() -> None:
    roles: dict[str, LocalType] = {
        "A": LocalRec("X", send("B", x=LocalVar("X"))),
        "B": LocalRec("X", recv("A", x=LocalVar("X"))),
    }
    run = simulate(roles, choose=first, steps_max=50, bound=3)
    assert (run.outcome, run.steps) == ("steps", 50)
    assert said(run)[:4] == ["A sends x to B"] * 3 + ["B receives x from A"]


def test_an_end_met_at_the_limit_is_an_end() -> None:
    assert simulate({"A": send("B", x=END), "B": recv("A", x=END)}, choose=first, steps_max=2).outcome == "ended"


@pytest.mark.parametrize(("bound", "steps_max"), [(0, 1), (1, 0)])
def test_a_run_without_room_is_refused(bound: int, steps_max: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        simulate({"A": END}, choose=first, bound=bound, steps_max=steps_max)


@pytest.mark.parametrize("picked", [-1, 1])
def test_a_pick_out_of_range_is_refused(picked: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 0"):
        simulate({"A": send("B", x=END), "B": recv("A", x=END)}, choose=lambda _: picked)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
@given(seed=st.integers(min_value=0, max_value=2**32), bound=st.integers(min_value=1, max_value=3))
def test_an_example_never_gets_stuck_and_the_same_seed_is_the_same_run(path: Path, seed: int, bound: int) -> None:
    roles = compile_choreography(path.read_text(encoding="utf-8"), file=str(path)).local
    run, again = (simulate(roles, choose=random.Random(seed).randrange, bound=bound) for _ in range(2))
    assert run == again
    assert run.outcome != "stuck"

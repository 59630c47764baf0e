"""Programs as data: building, joining, and whether one follows a role's protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.choreography import FootprintOverlap, Program, ProgramFault, check_program, compile_choreography
from antiphon.choreography.program import ChargeFlowCost, LogEvent, SendEffect, ValidateCapability

HOTEL = compile_choreography(
    """\
protocol Hotel =
  roles Guest, Desk
  Guest -> Desk : Ask(nights : u8)
  choice Desk at
    | Free =>
      Desk -> Guest : Free(price : u32)
    | full =>
      Desk -> Guest : Sorry
  loop decide by Guest
    Guest -> Desk : Extra
    Desk -> Guest : Noted
  timeout 5s Guest at
    Desk -> Guest : Bill
  on timeout =>
    Guest -> Desk : Leave
"""
)
STAY = (
    Program()
    .send("Desk", "Ask", {"nights": 1})
    .offer("Desk")
    .branch({"Free": Program().recv("Desk", "Free"), "full": Program().recv("Desk", "Sorry")})
    .send("Desk", "Extra")
    .recv("Desk", "Noted")
    .send("Desk", "Extra")
    .recv("Desk", "Noted")
    .choose("Desk", "Done")
    .timeout("Guest", 5000, Program().recv("Desk", "Bill"), Program().send("Desk", "Leave"))
)


def test_a_program_that_follows_its_protocol_has_no_faults() -> None:
    assert check_program(STAY.end(), HOTEL.local["Guest"]) == ()
    served = (
        Program()
        .recv("Guest", "Ask")
        .choose("Guest", "Free")
        .send("Guest", "Free", {"price": 1})
        .loop(
            Program()
            .offer("Guest")
            .branch(
                {
                    "Extra": Program().recv("Guest", "Extra").send("Guest", "Noted"),
                    "Done": Program(),
                }
            ),
            until="Done",
        )
        .timeout("Guest", 5000, Program().send("Guest", "Bill"), Program().recv("Guest", "Leave"))
        .end()
    )
    assert check_program(served, HOTEL.fsm["Desk"]) == ()


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        (Program().recv("Desk", "Free"), "receive Free from Desk where send Ask to Desk is expected"),
        (Program().send("Desk", "Ask"), "ends where receive Free from Desk or receive full from Desk is expected"),
        (Program().send("Desk", "Ask").recv("Desk", "Free"), "where also receive full from Desk may come: offer, and"),
        (Program().send("Desk", "Ask").recv("Desk", "full"), "as a message where the label travels alone: offer it"),
        (
            Program().send("Desk", "Ask").offer("Desk").branch({"Free": Program().recv("Desk", "Free")}),
            "the label full may come and has no branch; there are Free",
        ),
        (Program().send("Desk", "Ask").offer("Desk").send("Desk", "Extra"), "where the message of Free is expected"),
        (Program().offer("Desk"), "an offer from Desk where send Ask to Desk is expected"),
        (Program().timeout("Guest", 1, Program()), "a timeout of 1 ms at Guest where none is expected"),
        (Program().par(Program().send("A", "x").on("s")), "runs over another session"),
    ],
)
def test_where_a_program_leaves_its_protocol_is_told(program: Program, fault: str) -> None:
    faults = check_program(program, HOTEL.fsm["Guest"])
    assert any(fault in one for one in faults), faults


def test_counted_and_endless_loops_are_followed_to_a_fixed_point() -> None:
    stream = compile_choreography("protocol S =\n  roles A, B\n  loop forever\n    A -> B : Tick\n    A -> B : Tock\n")
    body = Program().send("B", "Tick").send("B", "Tock")
    assert check_program(Program().loop(body).end(), stream.fsm["A"]) == ()
    thousand = compile_choreography("protocol S =\n  roles A, B\n  loop repeat 1000\n    A -> B : Tick\n")
    tick = Program().send("B", "Tick")
    assert check_program(Program().loop(tick, 1000).end(), thousand.fsm["A"]) == ()
    assert "ends where" in check_program(Program().loop(tick, 999).end(), thousand.fsm["A"])[0]
    half = check_program(Program().loop(body, 10**9).send("B", "Tick").end(), stream.fsm["A"])
    assert half == ("ends where send Tock to B is expected",)


def test_counts_and_roles_are_those_written() -> None:
    program = STAY.end()
    assert (program.send_count(), program.recv_count()) == (4, 5)
    assert program.roles_involved() == {"Desk", "Guest"}
    assert program.has_timeouts()
    assert not program.has_parallel()
    assert Program().parallel(Program()).has_parallel()


def test_what_cannot_be_is_refused_where_it_is_built() -> None:
    for build, reason in (
        (lambda: Program().end().send("B", "x"), "nothing comes after the end"),
        (lambda: Program().end().end(), "one end"),
        (lambda: Program().branch({}), "at least one label"),
        (lambda: Program().branch({"x": Program()}).end(), "the branch at 0 follows no choice"),
        (lambda: Program().loop(Program(), -1), "expected 0 or more"),
        (lambda: Program().parallel(), "at least one part"),
        (lambda: Program().timeout("A", -1, Program()), "expected 0 or more"),
    ):
        with pytest.raises(ProgramFault, match=reason):
            build()
    assert Program().branch({"x": Program()}).try_end()[0] is None
    assert Program().try_end() == (Program().end(), ())
    assert Program().validate() == ("a program without its end does not run: call end()",)


HALF, ENDED = Program().send("B", "x"), Program().end()
# What each builder is given where it works, and a program and arguments for which it does not; `then` always works.
BUILDERS: dict[str, tuple[tuple[object, ...], tuple[Program, tuple[object, ...]] | None]] = {
    "send": (("B", "x", 1), (ENDED, ("B", "x"))),
    "recv": (("B", "x"), (ENDED, ("B", "x"))),
    "choose": (("B", "x"), (ENDED, ("B", "x"))),
    "offer": (("B",), (ENDED, ("B",))),
    "branch": (({"x": HALF},), (HALF, ({},))),
    "choice": (({"x": HALF},), (HALF, ({},))),
    "loop": ((HALF, 2), (HALF, (HALF, -1))),
    "timeout": (("A", 5, HALF), (HALF, ("A", -1, HALF))),
    "parallel": ((HALF,), (HALF, ())),
    "par": ((HALF.on("one"), HALF.on("other")), (HALF, (HALF, HALF))),
    "ext": ((LogEvent("seen"),), (ENDED, (LogEvent("seen"),))),
    "then": ((HALF,), None),
    "end": ((), (ENDED, ())),
    "fill": (({},), (HALF, ({"nothing": 1},))),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_and_its_try_form_come_to_the_same(name: str) -> None:
    works, fails = BUILDERS[name]
    assert getattr(HALF, f"try_{name}")(*works) == (getattr(HALF, name)(*works), ())
    if fails is None:
        return
    program, asked = fails
    length = len(program)
    with pytest.raises(ProgramFault) as raised:
        getattr(program, name)(*asked)
    assert getattr(program, f"try_{name}")(*asked) == (None, raised.value.reasons)
    assert str(raised.value) == "; ".join(raised.value.reasons) != ""
    assert len(program) == length


def test_every_builder_that_may_refuse_has_a_try_form_and_all_faults_are_told_one_by_one() -> None:
    assert {name for name in vars(Program) if name.startswith("try_")} == {f"try_{name}" for name in BUILDERS}
    tried = Program().branch({"x": Program()}).send("B", "x").branch({"x": Program()}).try_end()
    assert tried.program is None
    assert tried.faults == (
        "the branch at 0 follows no choice and no offer",
        "the branch at 2 follows no choice and no offer",
    )


def test_what_is_no_fault_of_a_program_is_raised_by_its_try_form_too() -> None:
    with pytest.raises(TypeError):
        Program().try_send()  # type: ignore[call-arg]  # that is the claim


def test_programs_side_by_side_share_neither_session_nor_budget() -> None:
    one, other = Program().send("B", "x").on("one"), Program().send("B", "x").on("other")
    assert len(Program().par(one, other)) == 1
    with pytest.raises(FootprintOverlap, match="both use session one"):
        Program().par(one, one)
    with pytest.raises(FootprintOverlap, match="both use this session"):
        Program().par(Program().send("B", "x"), Program().loop(Program().offer("B")))
    charge = Program().ext(ChargeFlowCost(5, "A"))
    with pytest.raises(FootprintOverlap, match="both use budget flow"):
        Program().par(one.then(charge), other.then(charge))


def test_a_program_is_a_value_and_growing_it_twice_keeps_both() -> None:
    stem = Program().send("B", "one")
    left, right = stem.send("B", "left"), stem.send("B", "right")
    assert [effect.label for effect in left if isinstance(effect, SendEffect)] == ["one", "left"]
    assert [effect.label for effect in right if isinstance(effect, SendEffect)] == ["one", "right"]
    assert (len(stem), left == right, hash(left) == hash(right)) == (1, False, True)


def test_ten_thousand_effects_in_a_row_or_in_each_other_need_no_recursion() -> None:
    flat, deep = Program(), Program().send("B", "x")
    for _ in range(10_000):
        flat = flat.send("B", "x")
        deep = Program().loop(deep, 1)
    assert flat.end().send_count() == 10_000
    assert deep.end().send_count() == 1
    assert deep == Program().then(deep)
    stream = compile_choreography("protocol S =\n  roles A, B\n  A -> B : x\n")
    assert check_program(deep.end(), stream.fsm["A"]) == ()


def test_clocks_run_only_so_deep_in_each_other() -> None:
    program = Program()
    for _ in range(65):
        program = Program().timeout("A", 5, program)
    with pytest.raises(ProgramFault, match="more than 64 clocks"):
        program.end()


LEAVES = st.sampled_from(
    [
        Program(),
        Program().send("B", "x", 1),
        Program().recv("B", "y"),
        Program().choose("B", "z").branch({"z": Program().send("B", "q")}),
        Program().ext(LogEvent("seen")),
        Program().ext(ValidateCapability("sync:ask", "A")),
        Program().loop(Program().send("B", "x"), 2),
    ]
)


@given(LEAVES, LEAVES, LEAVES)
def test_joining_is_associative_and_the_empty_program_is_its_unit(one: Program, two: Program, three: Program) -> None:
    assert one.then(two).then(three) == one.then(two.then(three))
    assert one.then(Program()) == Program().then(one) == one
    assert one.end().then(two.end()) == one.then(two).end()

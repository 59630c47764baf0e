"""State machines: what a role may do next, said once and in constant time."""

import pytest

from antiphon.choreography.compiled import compile_choreography
from antiphon.choreography.fsm import StateMachine, Violation, build_machine
from antiphon.choreography.local import LocalBranch, LocalEnd, LocalRec, LocalRepeat, LocalSend, LocalType, LocalVar
from antiphon.choreography.merge import Step

END = LocalEnd()
STREAM = """\
protocol Stream =
  roles Producer, Consumer
  loop decide by Producer
    Producer -> Consumer : Chunk of bytes.Block
    Consumer -> Producer : Ack
  Consumer -> Producer : Receipt
"""
CALL = """\
protocol Call =
  roles Caller, Callee
  timeout 30s Caller at
    Callee -> Caller : PickUp
    Caller -> Callee : Talk
  on timeout =>
    Caller -> Callee : HangUp
  Caller -> Callee : Bill
"""


def send(partner: str, **labels: LocalType) -> LocalSend:
    return LocalSend(partner, tuple(LocalBranch(label, None, after) for label, after in labels.items()))


def machine(text: str, role: str) -> StateMachine:
    return compile_choreography(text).fsm[role]


def table(found: StateMachine) -> dict[int, list[tuple[str, int]]]:
    return {state.number: [(str(one), one.target) for one in state.transitions] for state in found.states}


def test_a_loop_comes_back_to_its_state() -> None:
    assert table(machine(STREAM, "Producer")) == {
        0: [("!Consumer Chunk", 1), ("!Consumer Done", 2)],
        1: [("?Consumer Ack", 0)],
        2: [("?Consumer Receipt", 3)],
        3: [],
    }


def test_a_step_leads_on_or_is_a_violation_that_names_what_was_expected() -> None:
    found = machine(STREAM, "Consumer")
    assert found.step(0, Step("recv", "Producer", "Chunk")) == 1
    wrong = found.step(1, Step("send", "Producer", "Receipt"))
    assert isinstance(wrong, Violation)
    assert str(wrong) == "Consumer may not send Receipt to Producer in state 1; expected: send Ack to Producer"
    (final,) = found.finals
    over = found.step(final, Step("send", "Producer", "Ack"))
    assert isinstance(over, Violation)
    assert "nothing: the protocol is over for it" in str(over)


def test_a_clock_runs_from_the_timeout_to_what_follows_it() -> None:
    found = machine(CALL, "Caller")
    assert found.states[0].kind == "timeout"
    assert (found.states[0].owner, found.states[0].milliseconds) == ("Caller", 30_000)
    timed = {state.number for state in found.states if 0 in state.timed_by}
    labels = {one.label for number in timed for one in found.states[number].transitions}
    assert labels == {"PickUp", "Talk"}
    assert found.states[0].tail is not None
    assert [one.label for one in found.states[found.states[0].tail].transitions] == ["Bill"]


def test_a_role_learns_that_anothers_clock_fired_by_the_first_late_message() -> None:
    callee = machine(CALL, "Callee")
    start = callee.step(0, Step("send", "Caller", "PickUp"))
    assert isinstance(start, int)
    late = callee.step(start, Step("recv", "Caller", "HangUp"))
    assert isinstance(late, int)
    assert callee.expected(start) == (Step("recv", "Caller", "Talk"), Step("recv", "Caller", "HangUp"))
    # The owner decides itself: to it, a late message is no message of the body.
    caller = machine(CALL, "Caller")
    assert isinstance(caller.step(0, Step("send", "Callee", "HangUp")), Violation)


def test_after_the_timed_part_nothing_is_late() -> None:
    callee = machine(CALL, "Callee")
    state: int | Violation = 0
    for step in (Step("send", "Caller", "PickUp"), Step("recv", "Caller", "Talk")):
        assert isinstance(state, int)
        state = callee.step(state, step)
    assert isinstance(state, int)
    assert isinstance(callee.step(state, Step("recv", "Caller", "HangUp")), Violation)


def test_local_actions_stand_where_they_are_due() -> None:
    text = "protocol P =\n  roles A, B\n  A -> B : x\n  publish Ready\n  B -> A : y\n  publish Done\n"
    found = machine(text, "B")
    assert [type(one).__name__ for one in found.states[0].transitions[0].actions] == ["Publish"]
    assert len(found.initial_actions) == 0


def test_annotations_and_guards_are_on_the_senders_transition() -> None:
    text = (
        "module shop exposing (P)\nprotocol P =\n  roles A, B\n  choice A at\n    | Pay when (open) =>\n"
        '      A { guard_capability : "shop:pay" } -> B : Pay\n    | Go => A -> B : Go\n'
    )
    pay = machine(text, "A").states[0].transitions[0]
    assert pay.annotations is not None
    assert pay.annotations.guard_capabilities == ("shop:pay",)
    assert pay.guard is not None
    taken = machine(text, "B").states[0].transitions[0]
    assert (taken.annotations, taken.guard) == (None, None)


def test_counted_loops_are_unrolled_up_to_a_bound() -> None:
    counted = LocalRepeat(5, send("B", a=send("B", b=END)), send("B", c=END))
    assert len(build_machine("A", counted).states) == 12
    with pytest.raises(ValueError, match="more than 100 states"):
        build_machine("A", LocalRepeat(10**9, send("B", a=END), END), states_max=100)


def test_an_unbound_loop_variable_is_refused() -> None:
    with pytest.raises(ValueError, match="'X' is not bound"):
        build_machine("A", send("B", a=LocalVar("X")))


def test_a_name_bound_twice_means_the_inner_loop() -> None:
    inner = LocalRec("X", send("B", again=LocalVar("X"), stop=END))
    found = build_machine("A", LocalRec("X", send("B", go=inner, more=LocalVar("X"))))
    assert table(found) == {0: [("!B go", 1), ("!B more", 0)], 1: [("!B again", 1), ("!B stop", 2)], 2: []}


def test_nested_loops_share_a_state_when_they_begin_together() -> None:
    both = LocalRec("X", LocalRec("Y", send("B", x=LocalVar("X"), y=LocalVar("Y"))))
    assert table(build_machine("A", both)) == {0: [("!B x", 0), ("!B y", 0)]}


def test_a_machine_is_data() -> None:
    shown = machine(STREAM, "Consumer").to_json()
    assert (shown["role"], shown["initial"], shown["finals"]) == ("Consumer", 0, [3])
    states = shown["states"]
    assert isinstance(states, list)
    assert states[0] == {
        "number": 0,
        "kind": "recv",
        "transitions": [
            {"kind": "recv", "target": 1, "partner": "Producer", "label": "Chunk", "type": "bytes.Block"},
            {"kind": "recv", "target": 2, "partner": "Producer", "label": "Done", "type": None},
        ],
    }


def test_five_thousand_states_in_a_row_are_built() -> None:
    deep: LocalType = END
    for number in range(5_000):
        deep = send("B", **{f"m{number}": deep})
    assert len(build_machine("A", deep).states) == 5_001


ROUND = """\
protocol Round =
  roles A, B
  rec Again
    A -> B : Go
    timeout 5s A at
      B -> A : Word
      continue Again
    on timeout =>
      A -> B : Stop
  B -> A : Word
"""


@pytest.mark.parametrize("role", ["A", "B"])
def test_a_clock_stops_where_its_body_goes_round_and_where_another_part_alone_goes_on(role: str) -> None:
    machine = compile_choreography(ROUND).fsm[role]
    timed = {state.number: [one.label for one in state.transitions] for state in machine.states if state.timed_by}
    assert list(timed.values()) == [["Word"]]
    words = [state for state in machine.states if [one.label for one in state.transitions] == ["Word"]]
    assert sorted(len(state.timed_by) for state in words) == [0, 1]

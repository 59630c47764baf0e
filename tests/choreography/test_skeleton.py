"""A role's part as a program with holes: filled in, it runs; what no program says is refused with its reason."""

import runpy
from pathlib import Path

import pytest

from antiphon.choreography import ProgramFault, check_program, compile_choreography
from antiphon.choreography.compiled import check_text
from antiphon.choreography.program import ChoiceHole, LoopEffect, SendEffect

WRITER = runpy.run_path(str(Path(__file__).with_name("test_random_texts.py")))["Writer"]
STREAM = compile_choreography(
    """\
protocol Stream =
  roles A, B
  A -> B : Ask(n : u8)
  loop decide by A
    A -> B : Chunk(data : String)
    B -> A : Ack
  choice B at
    | Yes =>
      B -> A : Yes(n : u8)
    | no =>
      B -> A : Sorry
  timeout 5s A at
    B -> A : Bye
  on timeout =>
    A -> B : Gone
"""
)


def test_a_skeleton_names_what_is_open_and_is_a_program_once_that_is_filled_in() -> None:
    skeleton = STREAM.program("A")
    assert skeleton.holes() == ("Ask", "Chunk", "Chunk|Done", "Gone")
    with pytest.raises(ProgramFault, match=r"nothing is filled in for Ask, Chunk, Chunk\|Done, Gone"):
        skeleton.end()
    values = {"Ask": {"n": 1}, "Chunk|Done": ["Chunk", "Chunk", "Done"], "Chunk": {"data": "x"}, "Gone": {}}
    filled = skeleton.fill(values).end()
    assert check_program(filled, STREAM.fsm["A"]) == ()
    sends = [effect.label for effect in filled if isinstance(effect, SendEffect)]
    assert sends == ["Ask", "Chunk", "Chunk"]
    assert skeleton.holes() == ("Ask", "Chunk", "Chunk|Done", "Gone")


def test_holes_are_filled_one_after_another_and_only_where_there_are_some() -> None:
    partly = STREAM.program("B").fill({"Ack": {}})
    assert partly.holes() == ("Bye", "Sorry", "Yes", "Yes|no")
    chosen = partly.fill({"Yes|no": "no"})
    assert chosen.holes() == ("Bye", "Sorry")
    assert not any(isinstance(effect, ChoiceHole) for effect in chosen)
    assert check_program(chosen.fill({"Bye": {}, "Sorry": {}}).end(), STREAM.fsm["B"]) == ()
    with pytest.raises(ProgramFault, match="no hole Wrong; there are Ack"):
        STREAM.program("B").fill({"Wrong": 1})
    with pytest.raises(ProgramFault, match=r"'maybe' is no label of the choice Yes\|no"):
        partly.fill({"Yes|no": "maybe"})


def test_a_loop_that_the_other_side_decides_ends_with_its_label() -> None:
    loops = [effect for effect in STREAM.program("B") if isinstance(effect, LoopEffect)]
    assert [(loop.count, loop.until) for loop in loops] == [(None, "Done")]


def test_what_no_program_says_is_refused_with_its_reason() -> None:
    two_ways = """\
protocol Ways =
  roles A, B
  rec Round
    choice A at
      | more =>
        A -> B : more
        continue Round
      | left =>
        A -> B : left
        A -> B : Left
      | right =>
        A -> B : right
        B -> A : Right
"""
    with pytest.raises(ProgramFault, match="a loop is left by left, right"):
        compile_choreography(two_ways).program("A")
    cancelled = (
        "protocol C =\n  roles A, B\n  timeout 1s A at\n    B -> A : X\n  on timeout =>\n    A -> B : Y\n"
        "  on cancel =>\n    A -> B : Z\n"
    )
    with pytest.raises(ProgramFault, match="can be cancelled, which no program says"):
        compile_choreography(cancelled).program("B")


def test_the_skeletons_of_random_protocols_follow_them() -> None:
    """Each is checked against its role's machine when it is made; most protocols have one for every role."""
    made = refused = 0
    for seed in range(120):
        text = WRITER(seed).text
        checked = check_text(text)
        if not (checked.is_valid and checked.is_projectable):
            continue
        protocol = compile_choreography(text)
        for role in protocol.roles:
            try:
                assert check_program(protocol.program(role), protocol.fsm[role]) == ()
                made += 1
            except ProgramFault:
                refused += 1
    assert made > 20 * refused > 0

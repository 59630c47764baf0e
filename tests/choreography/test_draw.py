"""Pictures: well-formed, complete, escaped, and no larger than what they show."""

from xml.etree import ElementTree

import pytest

from antiphon.choreography.compiled import compile_choreography
from antiphon.choreography.core import Branch, Comm, End, GlobalType
from antiphon.choreography.draw import (
    ROWS_MAX,
    Picture,
    machine_mermaid,
    machine_svg,
    sequence_mermaid,
    sequence_rows,
    sequence_svg,
)

TEXT = """\
module inn exposing (Booking)
protocol Booking =
  roles Guest, Hotel, Bank
  loop decide by Guest
    Guest -> Hotel : Ask of inn.Stay<List<Night>>
    Hotel -> Guest : Hold
  choice Hotel at
    | Free =>
      Hotel -> Guest : Free
      Hotel -> Bank : Charge(sum : u32)
    | Full =>
      Hotel -> Guest : Full
      Hotel -> Bank : Void
  timeout 5s Guest at
    Bank -> Guest : Receipt
  on timeout =>
    Guest -> Bank : Never
  par
    | Guest -> Hotel : Thanks
    | Bank -> Hotel : Settled
"""


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_sequence_diagram_shows_every_message_once_and_what_follows_after_its_frame() -> None:
    rows = sequence_rows(compile_choreography(TEXT).global_type)
    messages = [row.text for row in rows if row.kind == "message"]
    assert messages == [
        "Ask of inn.Stay<List<Night>>",
        "Hold",
        "Done",
        "Free",
        "Charge(sum : u32)",
        "Full",
        "Void",
        "Receipt",
        "Never",
        "Thanks",
        "Settled",
    ]
    assert [row.kind for row in rows].count("open") == [row.kind for row in rows].count("close") == 5


def test_sequence_mermaid_closes_every_frame() -> None:
    lines = sequence_mermaid(compile_choreography(TEXT).global_type, title="Booking").splitlines()
    words = [line.split()[0] for line in lines if line.strip()]
    assert words.count("end") == sum(words.count(word) for word in ("alt", "loop", "par"))
    assert "    p0->>p1: Ask of inn.Stay<List<Night>>" in {
        line[8:] if line.startswith(" " * 12) else line for line in lines
    }


def test_a_sequence_svg_is_xml_and_shows_roles_and_labels() -> None:
    shown = texts(sequence_svg(compile_choreography(TEXT).global_type, title="A <protocol> & more"))
    assert {"Guest", "Hotel", "Bank", "Ask of inn.Stay<List<Night>>", "Charge(sum : u32)"} <= set(shown)


@pytest.mark.parametrize("role", ["Guest", "Hotel", "Bank"])
def test_a_machine_is_drawn_with_every_state_and_transition(role: str) -> None:
    machine = compile_choreography(TEXT).fsm[role]
    shown = texts(machine_svg(machine))
    mermaid = machine_mermaid(machine)
    for state in machine.states:
        assert str(state.number) in shown
        for one in state.transitions:
            assert str(one) in shown
            assert f"s{state.number} --> s{one.target} : {one}" in mermaid
    assert mermaid.count("--> [*]") == len(machine.finals)


def test_pictures_are_the_same_every_time() -> None:
    once, again = compile_choreography(TEXT), compile_choreography(TEXT)
    assert sequence_svg(once.global_type) == sequence_svg(again.global_type)
    assert machine_svg(once.fsm["Bank"]) == machine_svg(again.fsm["Bank"])


def test_a_notebook_shows_a_picture() -> None:
    compiled = compile_choreography(TEXT)
    assert compiled._repr_svg_() == sequence_svg(compiled.global_type, compiled.roles, title="inn.Booking")
    assert Picture("<svg/>")._repr_svg_() == "<svg/>"
    assert compiled.fsm["Bank"]._repr_svg_().startswith("<svg")


def test_forty_choices_in_a_row_are_forty_frames_and_not_a_million_million() -> None:
    node: GlobalType = End()
    for number in range(40):
        node = Comm("A", "B", tuple(Branch(f"{label}{number}", None, node) for label in "lr"))
    rows = sequence_rows(node)
    assert [row.kind for row in rows].count("open") == 40
    assert len(rows) == 40 * 5


def test_a_picture_that_would_be_too_long_says_so_and_stays_whole() -> None:
    node: GlobalType = End()
    for number in range(3_000):
        node = Comm("A", "B", (Branch(f"m{number}", None, node),))
    rows = sequence_rows(node)
    assert len(rows) == ROWS_MAX + 1
    assert "left out" in rows[-1].text
    ElementTree.fromstring(sequence_svg(node))

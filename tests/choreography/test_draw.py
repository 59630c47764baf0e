"""Pictures: well-formed, complete, escaped, and no larger than what they show."""

from itertools import combinations
from pathlib import Path
from typing import NamedTuple
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


# --- what a reader sees -------------------------------------------------------------------------------------------

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples/choreography").glob("*.*"))
# What a wide sans-serif font needs for a letter at 12 and 11 pixels.
LETTERS = {"m": 6.6, "s": 6.2, "s m": 6.2}
SVG = "{http://www.w3.org/2000/svg}"


class Shown(NamedTuple):
    text: str
    left: float
    right: float
    bottom: float


def shown_texts(svg: str) -> list[Shown]:
    found = []
    for element in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        text, style = element.text or "", element.attrib["class"]
        x, y, width = float(element.attrib["x"]), float(element.attrib["y"]), LETTERS[style] * len(text)
        left = x - width / 2 if "m" in style else x
        found.append(Shown(text, left, left + width, y))
    return found


def collisions(svg: str) -> list[tuple[str, str]]:
    return [
        (one.text, other.text)
        for one, other in combinations(shown_texts(svg), 2)
        if one.left < other.right and other.left < one.right and abs(one.bottom - other.bottom) < 11
    ]


def every_picture(path: Path) -> list[str]:
    compiled = compile_choreography(path.read_text())
    return [compiled._repr_svg_(), *(machine_svg(machine) for machine in compiled.fsm.values())]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_text_of_an_example_s_picture_covers_another_or_is_cut_off(path: Path) -> None:
    for svg in every_picture(path):
        width = float(ElementTree.fromstring(svg).attrib["width"])
        assert collisions(svg) == []
        assert all(one.left >= 0 and one.right <= width for one in shown_texts(svg))


def test_texts_that_cover_each_other_are_seen() -> None:
    placed = ((9, "one"), (12, "two"), (50, "three"))
    written = "".join(f'<text x="{x}" y="9" class="s">{text}</text>' for x, text in placed)
    assert collisions(f'<svg xmlns="http://www.w3.org/2000/svg">{written}</svg>') == [("one", "two")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_message_fits_between_its_two_lifelines(path: Path) -> None:
    root = ElementTree.fromstring(compile_choreography(path.read_text())._repr_svg_())
    arrows = {
        int(line.attrib["y1"]): abs(int(line.attrib["x1"]) - int(line.attrib["x2"]))
        for line in root.iter(f"{SVG}line")
        if line.attrib["class"] == "a"
    }
    labels = [one for one in root.iter(f"{SVG}text") if int(one.attrib["y"]) + 6 in arrows]
    assert len(labels) == len(arrows) > 0
    for label in labels:
        assert LETTERS["m"] * len(label.text or "") <= arrows[int(label.attrib["y"]) + 6]


def test_a_name_too_long_to_show_is_cut_and_whole_in_its_tooltip() -> None:
    name = "Message" * 20
    svg = compile_choreography(f"protocol P =\n  roles A, B\n  A -> B : {name}\n")._repr_svg_()
    (label,) = [one for one in ElementTree.fromstring(svg).iter(f"{SVG}text") if (one.text or "").startswith("Mess")]
    assert (label.text or "").endswith("…")
    assert [one.text for one in label.iter(f"{SVG}title")] == [name]


def test_a_clock_is_shown_in_its_largest_whole_unit() -> None:
    compiled = compile_choreography(
        "protocol P =\n  roles A, B\n  timeout 24h A at\n    B -> A : Yes\n  on timeout =>\n    A -> B : Late\n"
    )
    assert "timeout 24h, A's clock" in texts(compiled._repr_svg_())
    assert "24h, A's clock" in texts(machine_svg(compiled.fsm["B"]))


def test_a_way_over_many_states_is_a_stub_that_says_where_it_leads() -> None:
    steps = "".join(f"      A -> B : Step{number}\n" for number in range(30))
    short = "    | Short =>\n      A -> B : Short\n"
    text = f"protocol P =\n  roles A, B\n  choice A at\n    | Long =>\n      A -> B : Long\n{steps}{short}"
    machine = compile_choreography(text).fsm["A"]
    (final,) = machine.finals
    assert f"→ {final}" in texts(machine_svg(machine))


def test_a_machine_of_three_thousand_states_is_drawn_as_far_as_anybody_reads() -> None:
    steps = "".join(f"  A -> B : Step{number}\n" for number in range(3_000))
    machine = compile_choreography(f"protocol P =\n  roles A, B\n{steps}").fsm["A"]
    shown = texts(machine_svg(machine))
    assert "→ 1000" in shown
    assert "Step2000" not in "".join(shown)

"""The Python surface: compiled protocols, and classes whose protocol is checked when their module is imported."""

import gc
import importlib
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from antiphon.choreography.annotations import annotation_records
from antiphon.choreography.compiled import (
    CompiledProtocol,
    check_text,
    choreography,
    compile_choreography,
    project,
    protocol_of,
)
from antiphon.choreography.dsl.format import format_choreography
from antiphon.choreography.dsl.parse import parse_choreography_str
from antiphon.choreography.errors import ChoreographyError
from antiphon.choreography.manifest import build_manifest
from antiphon.choreography.refusal import ProjectionError

GREETING = "protocol Greeting =\n  roles Ada, Bob\n  Ada -> Bob : Hello(name : String)\n"
UNTOLD = (
    "protocol P =\n  roles A, B, C, D\n  choice A at\n    | yes =>\n      A -> B : yes\n      B -> C : Extra\n"
    "      B -> D : Extra\n    | no =>\n      A -> B : no\n"
)
EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples/choreography").glob("*.*"))


@choreography(GREETING)
class Greeting:
    """Says hello."""

    protocol: ClassVar[CompiledProtocol]


def test_a_decorated_class_carries_its_protocol() -> None:
    assert Greeting.protocol.name == "Greeting"
    assert protocol_of(Greeting) is Greeting.protocol
    assert [str(view) for view in Greeting.protocol.local.values()] == ["!Bob{Hello: end}", "?Ada{Hello: end}"]


def test_a_class_without_a_protocol_is_told_what_to_do() -> None:
    with pytest.raises(ValueError, match="decorate it with @choreography"):
        protocol_of(object)


def test_a_module_whose_protocol_does_not_project_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "untold_protocol.py").write_text(
        "from antiphon.choreography.compiled import choreography\n\n\n"
        f"@choreography({UNTOLD!r})\nclass Untold:\n    ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ProjectionError, match="C cannot tell branch yes from branch no"):
        importlib.import_module("untold_protocol")
    assert "untold_protocol" not in sys.modules


def test_bad_text_raises_with_every_problem_and_the_class_as_its_place() -> None:
    with pytest.raises(ChoreographyError, match="Broken") as caught:

        @choreography("protocol P =\n  roles A, B\n  A -> Z : x\n  Y -> B : y\n")
        class Broken:
            pass

    assert len(caught.value.problems) >= 2


def test_the_first_refusal_carries_the_others() -> None:
    with pytest.raises(ProjectionError) as caught:
        compile_choreography(UNTOLD)
    assert caught.value.role == "C"
    assert [other.role for other in caught.value.others] == ["D"]


def test_checking_reports_and_raises_nothing() -> None:
    assert not check_text("garbage \x00 {").is_parsed
    untold = check_text(UNTOLD)
    assert (untold.is_valid, untold.is_projectable) == (True, False)
    assert check_text(GREETING).is_projectable


def test_what_only_the_machine_can_run_is_valid_and_has_an_obstacle() -> None:
    checked = check_text("protocol P =\n  roles Boss, W[N]\n  Boss -> W[*] : Job\n")
    assert checked.is_valid
    assert not checked.is_projectable
    assert checked.obstacles
    assert check_text("protocol P =\n  roles Boss, W[N]\n  Boss -> W[*] : Job\n", counts={"W": 2}).is_projectable


def test_a_clock_that_cannot_be_noticed_is_a_warning_with_a_place() -> None:
    text = "protocol P =\n  roles A, B\n  timeout 5s A at\n    B -> A : x\n  on timeout =>\n    B -> A : y\n"
    checked = check_text(text)
    (warning,) = [one for one in checked.problems if one.kind == "TimeoutNotObservable"]
    assert (warning.severity, warning.span.line, checked.is_valid) == ("warning", 3, True)


IDLE_OWNER = """protocol P =
  roles A, B, D
  rec X
    D -> A : m0
    timeout 5s B at
      D -> A : m1
{change}      continue X
    on timeout =>
      B -> A : m2
      B -> D : m3
"""


def test_an_owner_that_goes_round_a_loop_without_a_message_is_refused() -> None:
    text = IDLE_OWNER.format(change="")
    checked = check_text(text)
    (error,) = [one for one in checked.problems if one.kind == "UnguardedRecursion"]
    assert (error.code, error.severity, error.span.line) == ("idle_owner", "error", 5)
    assert "`B`" in error.message
    assert "`X`" in error.message
    assert (checked.is_valid, checked.is_projectable) == (False, False)
    with pytest.raises(ChoreographyError, match="UnguardedRecursion"):
        compile_choreography(text)


@pytest.mark.parametrize("message", ["A -> B : m4", "B -> A : m4"])
def test_an_owner_with_a_message_in_its_round_is_guarded(message: str) -> None:
    assert check_text(IDLE_OWNER.format(change=f"      {message}\n")).is_projectable
    outside = IDLE_OWNER.format(change="").replace("D -> A : m0", f"D -> A : m0\n    {message}")
    assert check_text(outside).is_projectable


def test_an_owner_that_waits_in_a_part_of_somebody_else_is_guarded() -> None:
    text = """protocol P =
  roles A, B, D
  rec X
    timeout 5s A at
      D -> A : m0
      timeout 5s B at
        D -> A : m1
        continue X
      on timeout =>
        B -> A : m2
        B -> D : m3
    on timeout =>
      A -> B : m4
      A -> D : m5
"""
    assert check_text(text).is_projectable


@pytest.mark.parametrize(("inner", "is_idle"), [("D -> A : m1", True), ("D -> B : m1", False)])
def test_counted_rounds_guard_an_owner_only_with_a_message_of_its_own(inner: str, is_idle: bool) -> None:
    text = f"""protocol P =
  roles A, B, D
  rec X
    loop repeat 100
      timeout 5s B at
        {inner}
        D -> A : m5
      on timeout =>
        B -> A : m2
        B -> D : m3
    D -> A : m4
    continue X
"""
    assert ("idle_owner" in [one.code for one in check_text(text).problems]) == is_idle


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_compiles_without_a_warning_and_is_safe(path: Path) -> None:
    compiled = compile_choreography(path.read_text(encoding="utf-8"), file=str(path))
    assert compiled.problems == ()
    found = compiled.explore(bound=1, limit=20_000)
    assert not found.faults


def test_the_five_examples_are_there() -> None:
    names = {path.name for path in EXAMPLES}
    assert {
        "two_phase_commit.tell",
        "bookseller.tell",
        "threshold_signing.tell",
        "invitation_ceremony.tell",
        "anti_entropy.tell",
    } <= names


def test_machines_and_knowledge_come_with_a_compiled_protocol() -> None:
    compiled = compile_choreography(GREETING)
    assert [len(machine.states) for machine in compiled.fsm.values()] == [2, 2]
    assert compiled.knowledge == ()
    assert compiled.fsm is compiled.fsm


def test_the_garbage_collector_is_left_as_it_was_found() -> None:
    assert gc.isenabled()
    assert check_text(GREETING).is_projectable
    assert not check_text("garbage {").is_parsed
    assert gc.isenabled()
    gc.disable()
    try:
        check_text(GREETING)
        assert not gc.isenabled()
    finally:
        gc.enable()


# The lines of one block that holds the next, each with the columns it stands further in.
NESTED: dict[str, list[tuple[int, str]]] = {
    "choices": [(0, "choice A at"), (1, "| l{0} =>"), (2, "A -> B : l{0}")],
    "loops": [(0, "loop decide by A"), (1, "A -> B : l{0}")],
    "counted loops": [(0, "loop repeat 1"), (1, "A -> B : l{0}")],
    "recursions": [(0, "rec X{0}"), (1, "A -> B : l{0}")],
    "parts": [(0, "par"), (1, "| A -> B : l{0}"), (1, "|"), (2, "B -> A : k{0}")],
}


@pytest.mark.parametrize("block", NESTED.values(), ids=NESTED)
def test_a_hundred_blocks_in_each_other_are_a_protocol_like_any_other(block: list[tuple[int, str]]) -> None:
    lines = [
        f"{' ' * (2 + number * block[-1][0] + column)}{line.format(number)}"
        for number in range(100)
        for column, line in block
    ]
    compiled = compile_choreography("\n".join(["protocol Deep =", "  roles A, B", *lines]))
    assert len(compiled.fsm["A"].states) > 100
    assert compiled.explore().is_safe
    canonical = format_choreography(compiled.choreography)
    assert format_choreography(parse_choreography_str(canonical)) == canonical


def test_a_problem_of_a_tree_without_its_text_is_shown_without_a_picture() -> None:
    tree = parse_choreography_str("protocol P =\n  roles A, W[N]\n  A -> W : x\n")
    with pytest.raises(ChoreographyError) as refused:
        project(tree, "A")
    assert str(refused.value).splitlines()[1:] == ["  --> <text>:2:12", "  = hint: bind it: `W=3` or `N=3`"]


def test_a_protocol_says_what_travels_and_what_is_asked_of_senders() -> None:
    protocol = compile_choreography(
        """\
module shop exposing (Sale)
type alias Price = u32
protocol Sale =
  roles Buyer, Seller
  Buyer { guard_capability : "shop:pay", flow_cost : 20 } -> Seller : Pay(sum : Price)
  choice Seller at
    | Book => Seller -> Buyer : Book of shop.Volume
    | gone => Seller -> Buyer : Pay
"""
    )
    assert {label: spec.forms for label, spec in protocol.messages.items()} == {
        "Pay": ("Pay(sum : Price)", "Pay"),
        "Book": ("Book of shop.Volume",),
    }
    (field,) = protocol.messages["Pay"].shapes[0].fields
    assert (field.name, field.scalar.name if field.scalar else None) == ("sum", "u32")
    assert protocol.manifest == build_manifest(protocol)
    assert protocol.annotations == annotation_records(protocol.choreography)
    assert [record.key for record in protocol.annotations] == ["guard_capability", "flow_cost"]
    assert set(protocol.aliases) == {"Price"}

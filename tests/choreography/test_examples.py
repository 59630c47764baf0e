"""The example protocols: checked, projected, explained, in canonical form, and safe in every run."""

from pathlib import Path

import pytest

from antiphon.choreography import (
    Checked,
    check_text,
    choice_knowledge,
    compile_choreography,
    explain_protocol,
    format_choreography,
    generate_stubs,
    is_dual,
    is_equivalent,
    parse,
)

FOLDER = Path(__file__).resolve().parents[2] / "examples/choreography"
EXAMPLES = sorted(FOLDER.glob("*.*"))
NAMES = {"anti_entropy", "bookseller", "invitation_ceremony", "secure_request", "threshold_signing", "two_phase_commit"}

every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def checked(path: Path) -> Checked:
    return check_text(path.read_text(encoding="utf-8"), file=path.name)


def test_every_example_is_there_and_looked_at() -> None:
    assert {path.stem for path in EXAMPLES} == NAMES
    assert {path.suffix for path in EXAMPLES} == {".tell", ".choreo"}


@every_example
def test_an_example_is_valid_and_every_role_has_a_view(path: Path) -> None:
    found = checked(path)
    assert (found.problems, found.refusals, found.obstacles) == ((), (), ())
    assert found.projections is not None
    assert set(found.projections.local) == set(found.roles)


@every_example
def test_an_example_needs_no_more_than_strict_projection_or_says_so(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    strict = check_text(text, file=path.name, mode="full")
    # The courier of the bookshop takes no part in the haggling: only absorption at the loop's head gives it a view.
    refused = {"bookseller": ["Courier"]}
    assert [one.role for one in strict.refusals] == refused.get(path.stem, [])


@every_example
def test_an_example_is_in_canonical_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = parse(text, file=path.name).tree
    assert tree is not None
    canonical = format_choreography(tree)
    if path.suffix == ".tell":
        assert canonical == text
    again = parse(canonical).tree
    assert again is not None
    assert format_choreography(again) == canonical
    views, twins = compile_choreography(tree).local, compile_choreography(again).local
    assert all(is_equivalent(views[role], twins[role]) for role in views)


@every_example
def test_an_example_s_explanation_names_every_role_message_and_choice(path: Path) -> None:
    found = checked(path)
    told = explain_protocol(found)
    assert found.global_type is not None
    assert all(role in told for role in found.roles)
    for choice in choice_knowledge(found.global_type, found.roles):
        assert f"{choice.chooser} chooses" in told
    compiled = compile_choreography(path.read_text(encoding="utf-8"))
    labels = {one.label for machine in compiled.fsm.values() for state in machine.states for one in state.transitions}
    assert all(label in told for label in labels)


@every_example
@pytest.mark.parametrize("bound", [1, 2])
def test_no_run_of_an_example_gets_stuck_or_leaves_a_message(path: Path, bound: int) -> None:
    explored = compile_choreography(path.read_text(encoding="utf-8")).explore(bound=bound)
    assert explored.faults == ()
    assert explored.is_safe


@every_example
def test_an_example_s_stubs_are_python(path: Path) -> None:
    compiled = compile_choreography(path.read_text(encoding="utf-8"))
    text = generate_stubs(compiled.name, tuple(compiled.fsm.values()))
    compile(text, f"{path.stem}.pyi", "exec")


def test_the_two_of_a_conversation_mirror_each_other() -> None:
    local = compile_choreography((FOLDER / "secure_request.choreo").read_text(encoding="utf-8")).local
    assert is_dual(local["Client"], local["Server"])

"""Protocols beside what each role does, or why it cannot: `tests/golden/project/NAME.tell` and `NAME.expected`."""

from pathlib import Path

import pytest

from antiphon.choreography.compiled import Checked, check_text

GOLDEN = Path(__file__).resolve().parents[1] / "golden/project"
CASES = sorted(path.stem for path in GOLDEN.glob("*.tell"))


def outcome(checked: Checked) -> str:
    views = checked.projections.local if checked.projections else {}
    lines = [f"{role}: {view}" for role, view in views.items()]
    lines += [str(refusal) for refusal in checked.refusals]
    lines += [f"{one.severity} {one.kind}: {one.message}" for one in (*checked.problems, *checked.obstacles)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_a_protocol_projects_as_written_beside_it(name: str) -> None:
    text = (GOLDEN / f"{name}.tell").read_text(encoding="utf-8")
    assert outcome(check_text(text, file=f"{name}.tell")) == (GOLDEN / f"{name}.expected").read_text(encoding="utf-8")


def test_every_golden_protocol_has_its_outcome_and_the_other_way_round() -> None:
    assert len(CASES) >= 20
    assert sorted(path.stem for path in GOLDEN.glob("*.expected")) == CASES

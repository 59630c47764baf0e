"""Well-formedness and coherence of types made by hand: each rule alone, and all at once."""

import pytest

from antiphon.choreography.ast import Publish
from antiphon.choreography.coherence import coherence, form_findings
from antiphon.choreography.core import Branch, Comm, End, GlobalType, Local, Rec, Var

END = End()


def message(sender: str, receiver: str, label: str, after: GlobalType = END) -> Comm:
    return Comm(sender, receiver, (Branch(label, None, after),))


@pytest.mark.parametrize(
    ("root", "kinds"),
    [
        (message("A", "B", "x"), []),
        (message("A", "B", "x", Var("X")), ["UnboundVariable"]),
        (Comm("A", "B", ()), ["EmptyBranches"]),
        (message("A", "A", "x"), ["SelfSend"]),
        (Rec("X", Var("X")), ["UnguardedRecursion"]),
        (Rec("X", Local("A", Publish("Ready"), Rec("Y", Var("X")))), ["UnguardedRecursion"]),
        (Comm("A", "B", (Branch("x", None, END), Branch("x", None, END))), ["DuplicateLabel"]),
        (
            message("A", "A", "x", Comm("A", "B", (Branch("y", None, Var("X")), Branch("y", None, END)))),
            ["SelfSend", "DuplicateLabel", "UnboundVariable"],
        ),
        (Rec("X", message("A", "B", "x", Rec("X", message("A", "B", "y", Var("X"))))), []),
    ],
)
def test_every_fault_of_form_is_reported(root: GlobalType, kinds: list[str]) -> None:
    assert [finding.kind for finding in form_findings(root)] == kinds
    assert coherence(root).is_coherent == (not kinds)


def test_a_role_outside_a_loop_does_not_make_a_protocol_incoherent() -> None:
    root = message("A", "C", "Start", Rec("L", message("A", "B", "Tick", Var("L"))))
    assert coherence(root).is_coherent


def test_what_cannot_be_projected_is_incoherent_for_that_reason_only() -> None:
    found = coherence(Comm("A", "B", (Branch("yes", None, message("B", "C", "Extra")), Branch("no", None, END))))
    assert (found.projectable, found.is_coherent) == (False, False)
    assert all((found.linear, found.size, found.action, found.uniq_labels, found.good))

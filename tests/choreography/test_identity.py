"""Content ids: blind to names of loops and order of branches, sharp for everything that is exchanged."""

from antiphon.choreography.ast import Publish
from antiphon.choreography.core import Branch, Comm, End, GlobalType, Local, Rec, ValueType, Var
from antiphon.choreography.identity import content_id
from antiphon.choreography.local import LocalBranch, LocalEnd, LocalRec, LocalRecv, LocalSend, LocalType, LocalVar
from antiphon.choreography.project import project_all

END = End()


def choice(**branches: GlobalType) -> Comm:
    return Comm("A", "B", tuple(Branch(label, None, after) for label, after in branches.items()))


def test_names_of_loops_and_order_of_branches_do_not_matter() -> None:
    one = Rec("X", choice(go=Var("X"), stop=END))
    other = Rec("Loop1", choice(stop=END, go=Var("Loop1")))
    assert content_id(one) == content_id(other)
    left, right = (project_all(root).local["B"] for root in (one, other))
    assert content_id(left) == content_id(right)


def test_what_is_exchanged_matters() -> None:
    ids = {
        content_id(root)
        for root in (
            END,
            choice(go=END),
            choice(stop=END),
            choice(go=END, stop=END),
            Comm("B", "A", (Branch("go", None, END),)),
            Comm("A", "B", (Branch("go", ValueType("bool"), END),)),
            Rec("X", choice(go=Var("X"))),
            Rec("X", choice(go=Rec("Y", choice(go=Var("X"))))),
            Rec("X", choice(go=Rec("Y", choice(go=Var("Y"))))),
        )
    }
    assert len(ids) == 9


def test_what_is_not_exchanged_does_not() -> None:
    assert content_id(Local("A", Publish("Ready"), choice(go=END))) == content_id(choice(go=END))


def test_a_shared_part_may_stand_at_several_distances_from_its_loop() -> None:
    shared = LocalSend("B", (LocalBranch("back", None, LocalVar("X")),))
    near = LocalRec(
        "X",
        LocalRecv(
            "B",
            (
                LocalBranch("a", None, shared),
                LocalBranch(
                    "b",
                    None,
                    LocalRec(
                        "Y", LocalRecv("C", (LocalBranch("c", None, shared), LocalBranch("d", None, LocalVar("Y"))))
                    ),
                ),
            ),
        ),
    )
    copied = LocalRec(
        "P",
        LocalRecv(
            "B",
            (
                LocalBranch("a", None, LocalSend("B", (LocalBranch("back", None, LocalVar("P")),))),
                LocalBranch(
                    "b",
                    None,
                    LocalRec(
                        "Q",
                        LocalRecv(
                            "C",
                            (
                                LocalBranch("c", None, LocalSend("B", (LocalBranch("back", None, LocalVar("P")),))),
                                LocalBranch("d", None, LocalVar("Q")),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )
    assert content_id(near) == content_id(copied)


def test_the_id_of_the_end_never_changes() -> None:
    assert content_id(LocalEnd()) == content_id(END)
    assert content_id(END) == "type1:18db10a5c43e868ee0ecfd09b715ec95a5a13719b2d616c9de33269f5b06fe37"


def test_deep_and_wide_types_have_ids_too() -> None:
    node: LocalType = LocalEnd()
    for _ in range(3_000):
        node = LocalSend("B", (LocalBranch("l", None, node), LocalBranch("r", None, node)))
    assert content_id(node).startswith("type1:")

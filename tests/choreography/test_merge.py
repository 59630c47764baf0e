"""The table of merging, row by row: what two views become, and why they sometimes do not."""

import pytest

from antiphon.choreography.annotations import MessageAnnotations
from antiphon.choreography.ast import Publish
from antiphon.choreography.core import ValueType
from antiphon.choreography.local import (
    LocalAct,
    LocalBranch,
    LocalEnd,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
    show_local,
)
from antiphon.choreography.merge import Conflict, MergeMode, Step, merge_local

END = LocalEnd()
X = LocalVar("X")


def send(partner: str, **labels: LocalType) -> LocalSend:
    return LocalSend(partner, tuple(LocalBranch(label, None, after) for label, after in labels.items()))


def recv(partner: str, **labels: LocalType) -> LocalRecv:
    return LocalRecv(partner, tuple(LocalBranch(label, None, after) for label, after in labels.items()))


def check_merge(left: LocalType, right: LocalType, expect: str, *, mode: MergeMode = "full+") -> None:
    merged = merge_local(left, right, mode=mode)
    shown = merged.cause if isinstance(merged, Conflict) else show_local(merged)
    assert shown == expect


@pytest.mark.parametrize(
    ("left", "right", "expect"),
    [
        (recv("p", a=END), recv("p", a=END), "?p{a: end}"),
        (send("p", a=END, b=END), send("p", b=END, a=END), "!p{a: end, b: end}"),
        (recv("p", b=END), recv("p", a=END), "?p{a: end, b: end}"),
        (recv("p", a=recv("q", x=END)), recv("p", a=recv("q", y=END), b=END), "?p{a: ?q{x: end, y: end}, b: end}"),
        (send("p", a=recv("q", x=END)), send("p", a=recv("q", y=END)), "!p{a: ?q{x: end, y: end}}"),
        (
            LocalRec("X", recv("p", a=X)),
            LocalRec("Y", recv("p", a=LocalVar("Y"), b=END)),
            "rec X.(?p{a: X, b: end})",
        ),
        (X, X, "X"),
        (
            LocalRepeat(99, recv("p", a=END), END),
            LocalRepeat(99, recv("p", b=END), END),
            "repeat 99.(?p{a: end, b: end}); end",
        ),
        (
            LocalTimeout("p", 5, recv("p", a=END), END),
            LocalTimeout("p", 5, recv("p", b=END), END),
            "timeout 5ms p(?p{a: end, b: end}; on timeout: end)",
        ),
    ],
)
def test_views_that_suit_both_branches_are_merged(left: LocalType, right: LocalType, expect: str) -> None:
    check_merge(left, right, expect)


@pytest.mark.parametrize(
    ("left", "right", "cause"),
    [
        (END, recv("p", a=END), "EndMismatch"),
        (END, X, "EndMismatch"),
        (recv("p", a=END), recv("q", a=END), "PartnerMismatch"),
        (send("p", a=END), recv("p", a=END), "DirectionMismatch"),
        (send("p", a=END), send("p", b=END), "SendLabelMismatch"),
        (send("p", a=END), send("p", a=END, b=END), "SendBranchCountMismatch"),
        (X, LocalVar("Y"), "VariableMismatch"),
        (LocalRec("X", recv("p", a=X)), recv("p", a=END), "IncompatibleTypes"),
        (LocalTimeout("p", 5, END, END), LocalTimeout("p", 6, END, END), "IncompatibleTypes"),
        (LocalAct(Publish("Done"), END), END, "EndMismatch"),
        (LocalAct(Publish("Done"), recv("p", a=END)), recv("p", a=END), "LocalActionMismatch"),
        (LocalAct(Publish("Done"), END), LocalAct(Publish("Over"), END), "LocalActionMismatch"),
    ],
)
def test_views_that_suit_only_one_branch_are_refused_by_name(left: LocalType, right: LocalType, cause: str) -> None:
    check_merge(left, right, cause)
    check_merge(right, left, cause)


def test_a_common_label_must_carry_the_same() -> None:
    text, number = ValueType("string", None, "String"), ValueType("nat", None, "u32")
    left = LocalRecv("p", (LocalBranch("a", text, END),))
    right = LocalRecv("p", (LocalBranch("a", number, END),))
    merged = merge_local(left, right)
    assert isinstance(merged, Conflict)
    assert (merged.cause, merged.label) == ("PayloadAnnotationMismatch", "a")


def test_whole_numbers_of_any_width_are_one_type() -> None:
    left = LocalRecv("p", (LocalBranch("a", ValueType("nat", None, "u8"), END),))
    right = LocalRecv("p", (LocalBranch("a", ValueType("nat", None, "u64"), END),))
    check_merge(left, right, "?p{a: end}")


def test_a_conflict_says_after_which_common_exchanges_the_views_part() -> None:
    left = recv("p", a=send("q", b=recv("p", c=END)))
    right = recv("p", a=send("q", b=END))
    merged = merge_local(left, right)
    assert isinstance(merged, Conflict)
    assert merged.path == (Step("recv", "p", "a"), Step("send", "q", "b"))
    assert (show_local(merged.left), show_local(merged.right)) == ("?p{c: end}", "end")


def test_a_plain_merge_wants_the_same_up_to_names_and_order() -> None:
    left = LocalRec("X", recv("p", a=X, b=END))
    check_merge(left, LocalRec("Y", recv("p", b=END, a=LocalVar("Y"))), "rec X.(?p{a: X, b: end})", mode="plain")
    check_merge(recv("p", a=END), recv("p", b=END), "BranchesDiffer", mode="plain")
    check_merge(recv("p", a=END), END, "EndMismatch", mode="plain")


def test_a_variable_that_means_something_else_is_not_captured_by_renaming() -> None:
    left = LocalRec("X", recv("p", a=X, b=LocalVar("Y")))
    right = LocalRec("Y", recv("p", a=LocalVar("Y"), c=X))
    merged = merge_local(left, right)
    assert not isinstance(merged, Conflict)
    assert show_local(merged) == "rec X_2.(?p{a: X_2, b: Y, c: X})"


def test_one_send_for_two_demands_what_either_demanded() -> None:
    one = MessageAnnotations(guard_capabilities=("shop:pay",), flow_cost=20, journal_facts=("paid",))
    other = MessageAnnotations(guard_capabilities=("shop:owe",), flow_cost=50)
    left = LocalSend("p", (LocalBranch("a", None, END, annotations=one),))
    right = LocalSend("p", (LocalBranch("a", None, END, annotations=other),))
    merged = merge_local(left, right)
    assert isinstance(merged, LocalSend)
    annotations = merged.branches[0].annotations
    assert annotations is not None
    assert annotations.guard_capabilities == ("shop:pay", "shop:owe")
    assert (annotations.flow_cost, annotations.journal_facts) == (50, ("paid",))


def test_views_two_thousand_messages_deep_are_merged() -> None:
    left: LocalType = recv("p", last=END)
    right: LocalType = recv("p", final=END)
    for _ in range(2_000):
        left, right = recv("p", a=left), recv("p", a=right)
    merged = merge_local(left, right)
    assert not isinstance(merged, Conflict)
    assert show_local(merged).endswith("?p{final: end, last: end}" + "}" * 2_000)

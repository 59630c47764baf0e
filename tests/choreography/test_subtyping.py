"""Subtyping: the rules of both views, unfolded loops, and sends made early."""

import pytest

from antiphon.choreography.core import ValueType
from antiphon.choreography.local import (
    LocalBranch,
    LocalEnd,
    LocalRec,
    LocalRecv,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
)
from antiphon.choreography.merge import Step
from antiphon.choreography.subtyping import (
    Answer,
    SubtypeView,
    is_async_subtype,
    is_subtype,
    subtype_mismatch,
)

END = LocalEnd()
X = LocalVar("X")


def send(partner: str, **labels: LocalType) -> LocalSend:
    return LocalSend(partner, tuple(LocalBranch(label, None, after) for label, after in labels.items()))


def recv(partner: str, **labels: LocalType) -> LocalRecv:
    return LocalRecv(partner, tuple(LocalBranch(label, None, after) for label, after in labels.items()))


@pytest.mark.parametrize(
    ("sub", "sup", "as_process", "as_channel"),
    [
        (END, END, True, True),
        (send("B", a=END), send("B", a=END, b=END), True, False),
        (send("B", a=END, b=END), send("B", a=END), False, True),
        (recv("B", a=END, b=END), recv("B", a=END), True, False),
        (recv("B", a=END), recv("B", a=END, b=END), False, True),
        (recv("B", a=send("C", x=END), b=END), recv("B", a=send("C", x=END, y=END)), True, False),
    ],
)
def test_the_views_are_mirror_images(sub: LocalType, sup: LocalType, as_process: bool, as_channel: bool) -> None:
    assert is_subtype(sub, sup) == as_process
    assert is_subtype(sub, sup, view="channel") == as_channel


@pytest.mark.parametrize(
    ("sub", "sup", "view", "cause"),
    [
        (send("B", a=END), send("C", a=END), "process", "PartnerMismatch"),
        (send("B", a=END), recv("B", a=END), "process", "DirectionMismatch"),
        (send("B", a=END, b=END), send("B", a=END), "process", "ExtraLabel"),
        (recv("B", a=END), recv("B", a=END, b=END), "process", "MissingLabel"),
        (send("B", a=END), send("B", a=END, b=END), "channel", "MissingLabel"),
        (recv("B", a=END, b=END), recv("B", a=END), "channel", "ExtraLabel"),
        (END, send("B", a=END), "process", "IncompatibleTypes"),
        (LocalTimeout("B", 5, END, END), LocalTimeout("B", 6, END, END), "process", "IncompatibleTypes"),
        (LocalTimeout("B", 5, END, END), END, "process", "IncompatibleTypes"),
    ],
)
def test_a_mismatch_names_its_cause(sub: LocalType, sup: LocalType, view: SubtypeView, cause: str) -> None:
    found = subtype_mismatch(sub, sup, view=view)
    assert found is not None
    assert found.cause == cause


def test_a_mismatch_says_after_which_exchanges() -> None:
    found = subtype_mismatch(send("B", a=recv("C", x=END)), send("B", a=recv("C", x=END, y=END)))
    assert found is not None
    assert found.path == (Step("send", "B", "a"),)
    assert "after !B a" in str(found)


def test_payloads_must_agree() -> None:
    number = LocalSend("B", (LocalBranch("a", ValueType("nat"), END),))
    found = subtype_mismatch(number, send("B", a=END))
    assert found is not None
    assert found.cause == "PayloadAnnotationMismatch"


def test_a_loop_and_its_unfolding_are_subtypes_of_each_other() -> None:
    loop = LocalRec("X", send("B", a=X))
    unfolded = send("B", a=loop)
    renamed = LocalRec("Y", send("B", a=send("B", a=LocalVar("Y"))))
    for one in (loop, unfolded, renamed):
        for other in (loop, unfolded, renamed):
            assert is_subtype(one, other)


def test_timeouts_are_compared_part_by_part() -> None:
    one = LocalTimeout("B", 5, send("B", a=END), recv("B", late=END))
    other = LocalTimeout("B", 5, send("B", a=END, b=END), recv("B", late=END))
    assert is_subtype(one, other)
    assert not is_subtype(other, one)


@pytest.mark.parametrize(
    ("sub", "sup", "answer"),
    [
        (send("B", a=recv("C", x=END)), recv("C", x=send("B", a=END)), "yes"),
        (send("B", a=recv("B", x=END)), recv("B", x=send("B", a=END)), "yes"),
        (send("B", a=END), recv("C", x=send("B", a=END)), "no"),
        (recv("C", x=send("B", a=END)), send("B", a=recv("C", x=END)), "no"),
        (send("B", a=recv("C", x=END, y=END)), recv("C", x=send("B", a=END), y=send("B", a=END)), "unknown"),
        (LocalRec("X", send("B", a=X)), LocalRec("X", recv("C", x=send("B", a=X))), "unknown"),
        (LocalRec("X", send("B", a=recv("C", x=X))), LocalRec("X", recv("C", x=send("B", a=X))), "yes"),
        (recv("C", x=recv("D", y=END)), recv("D", y=recv("C", x=END)), "unknown"),
        (send("B", a=send("C", b=END)), send("C", b=send("B", a=END)), "unknown"),
        (send("B", a=END), send("C", b=END), "no"),
        (recv("B", a=END), recv("C", b=END), "no"),
        (send("B", a=END), recv("C", x=send("D", a=END)), "no"),
        (send("B", a=END, z=END), recv("C", x=send("B", a=END)), "no"),
        (
            recv("C", x=recv("D", p=recv("E", q=END)), y=END),
            recv("C", x=recv("E", q=recv("D", p=END)), y=send("D", z=END)),
            "no",
        ),
        (END, send("B", a=END), "no"),
        (send("B", a=END), LocalTimeout("B", 5, END, END), "unknown"),
        (END, END, "yes"),
    ],
)
def test_a_send_may_be_made_before_receives_that_do_not_branch(sub: LocalType, sup: LocalType, answer: Answer) -> None:
    assert is_async_subtype(sub, sup) == answer


def test_depth_is_no_limit() -> None:
    deep: LocalType = END
    for _ in range(3_000):
        deep = send("B", a=deep)
    assert is_subtype(deep, deep)

"""Exploration finds what is planted: a deadlock, an orphan, an unexpected label, a starved role – and nothing else."""

import pytest

from antiphon.choreography import Exploration, compile_choreography, explore
from antiphon.choreography.local import LocalBranch, LocalEnd, LocalRec, LocalRecv, LocalSend, LocalType, LocalVar

END = LocalEnd()


def send(partner: str, **labels: LocalType) -> LocalSend:
    return LocalSend(partner, tuple(LocalBranch(label, None, after) for label, after in labels.items()))


def recv(partner: str, **labels: LocalType) -> LocalRecv:
    return LocalRecv(partner, tuple(LocalBranch(label, None, after) for label, after in labels.items()))


def kinds(found: Exploration) -> list[str]:
    return [fault.kind for fault in found.faults]


def test_two_roles_that_wait_for_each_other_are_a_deadlock() -> None:
    found = explore({"A": recv("B", x=send("B", y=END)), "B": recv("A", y=send("A", x=END))})
    assert kinds(found) == ["deadlock"]
    assert found.faults[0].trace == ()
    assert "A waits for ?B x" in str(found.faults[0])


def test_a_circle_of_three_is_found_behind_a_message_by_the_shortest_run() -> None:
    roles = {
        "A": send("B", go=recv("C", c=send("B", a=END))),
        "B": recv("A", go=recv("A", a=send("C", b=END))),
        "C": recv("B", b=send("A", c=END)),
    }
    found = explore(roles)
    assert kinds(found) == ["deadlock"]
    assert [str(move) for move in found.faults[0].trace] == ["A -> B ! go", "A -> B ? go"]


def test_a_message_nobody_takes_is_an_orphan() -> None:
    found = explore({"A": send("B", x=END), "B": END})
    assert kinds(found) == ["orphan"]
    assert "x from A to B" in found.faults[0].message


def test_a_label_nobody_expects_is_told() -> None:
    found = explore({"A": send("B", x=END, z=END), "B": recv("A", x=END)})
    assert "unexpected" in kinds(found)
    assert "B gets z from A and expects ?A x" in found.faults[0].message


def test_a_role_kept_from_finishing_for_ever_is_starved() -> None:
    looping = LocalRec("X", send("B", x=LocalVar("X")))
    taking = LocalRec("X", recv("A", x=LocalVar("X"), stop=send("C", done=END)))
    found = explore({"A": looping, "B": taking, "C": recv("B", done=END)})
    assert kinds(found) == ["starved", "starved"]


def test_a_branch_that_goes_on_for_ever_starves_nobody() -> None:
    text = (
        "protocol P =\n  roles A, B\n  choice A at\n    | serve =>\n      A -> B : serve\n      loop forever\n"
        "        B -> A : tick\n    | stop => A -> B : stop\n"
    )
    assert compile_choreography(text).explore().is_safe


def test_orders_that_only_a_queue_allows_are_explored() -> None:
    crossing = {"A": send("B", x=recv("B", y=END)), "B": send("A", y=recv("A", x=END))}
    assert explore(crossing, bound=1).is_safe


def test_a_limit_that_is_met_is_said() -> None:
    chatter = {name: LocalRec("X", send(other, x=LocalVar("X"))) for name, other in (("A", "B"), ("C", "D"))}
    listeners = {name: LocalRec("X", recv(other, x=LocalVar("X"))) for name, other in (("B", "A"), ("D", "C"))}
    found = explore({**chatter, **listeners}, bound=8, limit=20)
    assert (found.is_complete, found.is_safe, found.configurations) == (False, False, 20)


def test_queue_lengths_and_saturated_queues_are_reported() -> None:
    found = explore(
        {"A": send("B", x=send("B", y=send("B", z=END))), "B": recv("A", x=recv("A", y=recv("A", z=END)))}, bound=5
    )
    assert found.queue_lengths == {("A", "B"): 3}
    assert found.saturated == ()
    looping = {"A": LocalRec("X", send("B", x=LocalVar("X"))), "B": LocalRec("X", recv("A", x=LocalVar("X")))}
    assert explore(looping, bound=3).saturated == (("A", "B"),)


@pytest.mark.parametrize("part", ["", "\n  on cancel =>\n    Caller -> Callee : Abort"])
def test_every_outcome_of_a_timeout_is_explored(part: str) -> None:
    text = (
        "protocol Call =\n  roles Caller, Callee, Bank\n  timeout 30s Caller at\n    Callee -> Caller : PickUp\n"
        f"  on timeout =>\n    Caller -> Callee : HangUp{part}\n  Caller -> Bank : Bill\n"
    )
    found = compile_choreography(text).explore()
    assert found.is_safe
    assert found.configurations > 10


def test_what_was_projected_is_safe_and_what_was_tampered_with_is_not() -> None:
    text = "protocol P =\n  roles A, B, C\n  A -> B : x\n  B -> C : y\n  C -> A : z\n"
    compiled = compile_choreography(text)
    assert compiled.explore().is_safe
    assert not explore({**compiled.local, "B": send("C", y=recv("A", w=END))}).is_safe


def test_a_deadlock_that_a_longer_queue_would_not_have_says_so() -> None:
    crossing = {
        "A": send("B", x=send("B", x=recv("B", y=recv("B", y=END)))),
        "B": send("A", y=send("A", y=recv("A", x=recv("A", x=END)))),
    }
    found = explore(crossing, bound=1)
    assert kinds(found) == ["deadlock"]
    assert "A waits for room for !B x in a queue of 1" in found.faults[0].message
    assert explore(crossing, bound=2).is_safe


@pytest.mark.parametrize(("bound", "limit"), [(0, 10), (-1, 10), (2, 0)])
def test_no_room_and_no_limit_are_refused(bound: int, limit: int) -> None:
    with pytest.raises(ValueError, match=f"got {bound} and {limit}"):
        explore({"A": send("B", x=END), "B": recv("A", x=END)}, bound=bound, limit=limit)

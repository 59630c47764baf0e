"""Small steps: what a protocol may do next, and how the roles with their queues do it."""

from antiphon.choreography.core import Branch, Comm, End, GlobalType, Parallel, Rec, Repeat, Var, children_first
from antiphon.choreography.local import LocalType
from antiphon.choreography.project import project_all
from antiphon.choreography.semantics import LocalSystem, Move, global_moves, global_step, sequential

END = End()


def message(sender: str, receiver: str, label: str, after: GlobalType = END) -> Comm:
    return Comm(sender, receiver, (Branch(label, None, after),))


def moves(state: GlobalType) -> list[str]:
    return [str(move) for move in global_moves(state)]


def test_a_message_is_sent_and_then_received() -> None:
    state = message("A", "B", "x")
    assert moves(state) == ["A -> B ! x"]
    sent = global_step(state, Move("send", "A", "B", "x"))
    assert sent is not None
    assert moves(sent) == ["A -> B ? x"]
    assert global_step(sent, Move("recv", "A", "B", "x")) == END


def test_roles_that_do_not_wait_for_each_other_move_in_any_order() -> None:
    state = message("A", "B", "x", message("C", "D", "y"))
    assert moves(state) == ["A -> B ! x", "C -> D ! y"]


def test_a_sender_goes_on_before_its_message_is_received_and_a_receiver_does_not() -> None:
    state = global_step(
        message("A", "B", "x", message("A", "C", "y", message("B", "C", "z"))), Move("send", "A", "B", "x")
    )
    assert state is not None
    assert moves(state) == ["A -> B ? x", "A -> C ! y"]


def test_a_choice_is_the_senders() -> None:
    state = Comm("A", "B", (Branch("l", None, END), Branch("r", None, END)))
    assert moves(state) == ["A -> B ! l", "A -> B ! r"]
    assert global_step(state, Move("send", "A", "B", "z")) is None


def test_a_role_moves_past_a_choice_only_with_what_it_does_in_every_branch() -> None:
    both = Comm("A", "B", (Branch("l", None, message("C", "D", "x")), Branch("r", None, message("C", "D", "x"))))
    one = Comm("A", "B", (Branch("l", None, message("C", "D", "x")), Branch("r", None, END)))
    assert "C -> D ! x" in moves(both)
    assert "C -> D ! x" not in moves(one)


def test_a_role_outside_a_loop_moves_past_it() -> None:
    loop = Rec("X", Comm("A", "B", (Branch("more", None, Var("X")), Branch("done", None, message("C", "D", "x")))))
    assert moves(loop) == ["A -> B ! more", "A -> B ! done", "C -> D ! x"]
    after = global_step(loop, Move("send", "C", "D", "x"))
    assert after is not None
    assert moves(after) == ["A -> B ! more", "A -> B ! done", "C -> D ? x"]


def test_a_loop_that_nobody_leaves_lets_nobody_past() -> None:
    loop = Rec("X", message("A", "B", "tick", Var("X")))
    assert moves(message("A", "C", "go", loop)) == ["A -> C ! go"]


def test_par_and_counted_loops_are_written_one_after_the_other() -> None:
    root = Parallel((message("A", "B", "x"), message("C", "D", "y")), Repeat(2, message("A", "B", "z"), END))
    plain = sequential(root)
    assert [type(node).__name__ for node in children_first(plain)] == ["End", "Comm", "Comm", "Comm", "Comm"]
    assert moves(plain) == ["A -> B ! x", "C -> D ! y"]


def test_two_thousand_levels_step() -> None:
    deep: GlobalType = message("C", "D", "last")
    for number in range(2_000):
        deep = message("A", "B", f"m{number}", deep)
    assert global_step(deep, Move("send", "C", "D", "last")) is not None


def system(root: GlobalType, *, bound: int | None = None) -> LocalSystem:
    views: dict[str, LocalType] = dict(project_all(root).local)
    return LocalSystem(views, bound=bound)


def test_a_full_queue_holds_its_sender_back() -> None:
    roles = system(message("A", "B", "x", message("A", "B", "y")), bound=1)
    sent = roles.step(roles.initial, Move("send", "A", "B", "x"))
    assert sent is not None
    assert [str(move) for move, _ in roles.moves(sent)] == ["A -> B ? x"]
    assert roles.waiting(sent) == {"A": "room for !B y in a queue of 1", "B": "?A x"}


def test_everybody_done_is_final() -> None:
    roles = system(message("A", "B", "x"))
    at = roles.initial
    for move in (Move("send", "A", "B", "x"), Move("recv", "A", "B", "x")):
        following = roles.step(at, move)
        assert following is not None
        at = following
    assert roles.is_final(at)
    assert roles.step(at, Move("send", "A", "B", "x")) is None

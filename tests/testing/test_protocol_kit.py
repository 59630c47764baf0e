"""The kit for tests of protocols: seeded misfortune on a connection, and a role's machine step by step."""

import pytest

from antiphon.choreography import compile_choreography
from antiphon.facts import LocalViolation
from antiphon.runtime.resilience import Timing
from antiphon.runtime.transports.memory import memory_pair
from antiphon.testing import virtual_time
from antiphon.testing.faulty_connection import FaultPlan, FaultyConnection
from antiphon.testing.linear_machine import LinearStateMachine

FRAMES = [bytes([number]) for number in range(60)]


async def carried(plan: FaultPlan, seed: int) -> tuple[list[bytes], list[str], float]:
    """What arrives of the frames, each one's fate, and when the last was sent."""
    here, there = memory_pair()
    timing = Timing(elapsed_s=virtual_time.now_s, sleep=virtual_time.pass_time)
    faulty = FaultyConnection(here, plan, seed=seed, timing=timing)
    await faulty.send(*FRAMES)
    await faulty.close()
    heard = []
    for _ in range(faulty.counts.sent // 5):
        heard.append(await there.receive())
    return heard, [event.fate for event in faulty.events], virtual_time.now_s()


def test_the_same_seed_is_the_same_misfortune_and_another_is_another() -> None:
    plan = FaultPlan(drop=20, double=20, delay=10, swap=20)
    once, again = (virtual_time.run(carried(plan, 7)) for _ in range(2))
    assert once == again
    assert once != virtual_time.run(carried(plan, 8))
    heard, fates, now_s = once
    assert set(fates) == {"sent", "dropped", "doubled", "delayed", "swapped"}
    assert len(heard) == len(FRAMES) - fates.count("dropped") + fates.count("doubled")
    assert now_s == fates.count("delayed") * plan.delay_s


@pytest.mark.parametrize(
    ("plan", "arrives"),
    [
        (FaultPlan(), FRAMES),
        (FaultPlan(drop=100), []),
        (FaultPlan(double=100), [frame for frame in FRAMES for _ in range(2)]),
        (FaultPlan(delay=100), FRAMES),
    ],
)
def test_each_fault_alone_does_what_it_says(plan: FaultPlan, arrives: list[bytes]) -> None:
    assert virtual_time.run(carried(plan, 1))[0] == arrives


def test_a_swapped_frame_goes_after_the_next_and_none_is_lost() -> None:
    heard, fates, _ = virtual_time.run(carried(FaultPlan(swap=50), 3))
    assert sorted(heard) == FRAMES
    first = fates.index("swapped")
    place = heard.index(FRAMES[first])
    assert heard[place - 1] == FRAMES[first + 1]


def test_rates_that_cannot_be_are_refused() -> None:
    with pytest.raises(LocalViolation, match="100 in all"):
        FaultPlan(drop=60, double=60)


def test_a_machine_is_taken_step_by_step_and_back() -> None:
    protocol = compile_choreography(
        "protocol T =\n  roles A, B, C\n  A -> B : Ask\n  B -> A : Answer\n  A -> C : Thanks\n"
    )
    machine = LinearStateMachine(protocol.fsm["A"])
    assert (machine.blocked_on, machine.expected) == ("", ("send Ask to B",))
    machine.step("send", "B", "Ask")
    point = machine.checkpoint()
    assert machine.blocked_on == "B"
    with pytest.raises(AssertionError, match="may not send Thanks to C"):
        machine.step("send", "C", "Thanks")
    assert machine.checkpoint() == point
    machine.step("recv", "B", "Answer")
    machine.step("send", "C", "Thanks")
    assert machine.is_done
    machine.restore(point)
    assert (machine.is_done, machine.blocked_on, len(machine.steps)) == (False, "B", 1)

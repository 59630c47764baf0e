"""The kit for tests of protocols: seeded misfortune on a connection, and a role's machine step by step."""

import asyncio
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
import pytest_asyncio

from antiphon.choreography import Program, compile_choreography
from antiphon.facts import LocalViolation
from antiphon.runtime.choreography import (
    ChannelClosed,
    Endpoint,
    InMemoryHandler,
    Labelled,
    Monitored,
    RecordedEvent,
    run_program,
)
from antiphon.runtime.resilience import Timing
from antiphon.runtime.transports.memory import memory_pair
from antiphon.testing import virtual_time
from antiphon.testing.contracts.handler import HandlerContract, Network, Seat
from antiphon.testing.envelopes import EnvelopeBuilder, MessageEnvelope, MissingField
from antiphon.testing.faulty_connection import FaultPlan, FaultyConnection
from antiphon.testing.linear_machine import LinearStateMachine
from antiphon.testing.observers import MultiObserver, NullObserver, ObservedHandler, RecordingObserver

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


def test_closing_with_a_frame_in_hand_raises_nothing_when_the_other_end_has_left() -> None:
    async def close_late() -> None:
        here, there = memory_pair()
        faulty = FaultyConnection(here, FaultPlan(swap=100), seed=1)
        await faulty.send(b"kept")
        await there.close()
        await faulty.close()

    virtual_time.run(close_late())


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


FIELDS = {"protocol": "Talk", "sender": "Ada", "receiver": "Bob", "sequence": 0, "payload": b""}


def built(names: tuple[str, ...]) -> MessageEnvelope:
    """The envelope of these fields, given in this order."""
    builder = EnvelopeBuilder()
    for name in names:
        builder = getattr(builder, name)(FIELDS[name])
    return builder.build()


def test_an_envelope_is_built_of_its_fields_in_any_order() -> None:
    assert {built(names) for names in permutations(FIELDS)} == {MessageEnvelope("Talk", "Ada", "Bob", 0, b"")}


@pytest.mark.parametrize("missing", FIELDS)
def test_a_missing_field_is_an_error_that_names_it(missing: str) -> None:
    with pytest.raises(MissingField, match=f"the envelope has no {missing};") as refused:
        built(tuple(name for name in FIELDS if name != missing))
    assert refused.value.field == missing


def test_a_stem_serves_many_envelopes_and_a_sequence_begins_at_0() -> None:
    stem = EnvelopeBuilder().protocol("Talk").sender("Ada").receiver("Bob").payload(b"x")
    assert [stem.sequence(number).build().sequence for number in range(3)] == [0, 1, 2]
    with pytest.raises(MissingField, match="sequence"):
        stem.build()
    with pytest.raises(LocalViolation, match="expected 0 or more"):
        stem.sequence(-1)


TALK = compile_choreography(
    """\
protocol Talk =
  roles Ada, Bob
  Ada -> Bob : Ask(n : u8)
  choice Bob at
    | Yes => Bob -> Ada : Yes(n : u8)
    | no => Bob -> Ada : Sorry
"""
)


def test_observers_see_a_program_and_an_endpoint_alike_and_change_nothing() -> None:
    async def main() -> tuple[str, list[RecordedEvent], list[RecordedEvent], bool]:
        one, other = InMemoryHandler.network("Ada", "Bob")
        asked, answered, again = RecordingObserver(), RecordingObserver(), RecordingObserver()
        both = MultiObserver(NullObserver(), asked, again)
        cases = {"Yes": Program().recv("Bob", "Yes"), "no": Program().recv("Bob", "Sorry")}
        asking = Program().send("Bob", "Ask", {"n": 1}).offer("Bob").branch(cases).end()
        async with (
            Endpoint.of(TALK, "Ada", ObservedHandler(one, "Ada", both)) as ada,
            Endpoint.of(TALK, "Bob", ObservedHandler(other, "Bob", answered)) as bob,
            asyncio.TaskGroup() as group,
        ):
            running = group.create_task(run_program(asking, Monitored(ada)))
            await bob.recv("Ada")
            await bob.choose("Ada", "no")
            await bob.send("Ada", label="Sorry")
        told = [list(each.events) for each in (asked, answered)]
        return running.result().final_state, *told, again.events == asked.events

    final, asked, answered, is_same = virtual_time.run(main())
    assert (final, is_same) == ("completed", True)
    assert asked == [
        RecordedEvent("send", "Ada", "Bob", "Ask", "ok"),
        RecordedEvent("offer", "Bob", "Ada", "no", "ok"),
        RecordedEvent("recv", "Bob", "Ada", "Sorry", "ok"),
    ]
    assert answered == [
        RecordedEvent("recv", "Ada", "Bob", "Ask", "ok"),
        RecordedEvent("choose", "Bob", "Ada", "no", "ok"),
        RecordedEvent("send", "Bob", "Ada", "Sorry", "ok"),
    ]


class TestObserved(HandlerContract):
    """A handler that is watched keeps every claim of the contract."""

    @pytest_asyncio.fixture
    async def network(self) -> Network:
        async def make(*roles: str) -> dict[str, Seat]:
            members = InMemoryHandler.network(*roles)
            return {one.role: Seat(ObservedHandler(one, one.role, RecordingObserver()), None) for one in members}

        return make


def test_what_failed_or_was_cancelled_is_told_and_raised() -> None:
    async def main() -> RecordingObserver:
        one, other = InMemoryHandler.network("Ada", "Bob")
        seen = RecordingObserver()
        watched = ObservedHandler(one, "Ada", seen)
        waiting = asyncio.ensure_future(watched.recv(None, "Bob"))
        await virtual_time.pass_time(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        await watched.send(None, "Bob", Labelled("Ask", 1))
        await other.close(None)
        with pytest.raises(ChannelClosed):
            await watched.offer(None, "Bob")
        return seen

    seen = virtual_time.run(main())
    assert [(event.kind, event.outcome) for event in seen.events] == [
        ("recv", "CancelledError"),
        ("send", "ok"),
        ("offer", "ChannelClosed"),
    ]
    seen.clear()
    assert seen.events == ()


def test_the_snippet_of_the_documentation_runs(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/testing.md").read_text(encoding="utf-8")
    snippet = page.split("## Protocols step by step")[1].split("```python\n")[1].split("```")[0]
    outcome = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert outcome.returncode == 0, outcome.stderr

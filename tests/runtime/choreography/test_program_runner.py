"""Programs that run: order, abort, branches, loops, clocks, and programs side by side."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.choreography import Program, ProgramFault, compile_choreography
from antiphon.choreography.program import LogEvent, ValidateCapability
from antiphon.facts import LocalViolation
from antiphon.runtime.choreography import (
    Around,
    Endpoint,
    FaultInjection,
    InMemoryHandler,
    InvalidChoice,
    Labelled,
    Monitored,
    NoOpHandler,
    ProtocolViolation,
    RecordingHandler,
    SessionSeat,
    StepFailed,
    TimedOut,
    TransportFailed,
    UnknownExtension,
    WithExtensions,
    run_program,
)
from antiphon.runtime.resilience import Timing
from antiphon.testing import virtual_time
from antiphon.testing.mock_handler import MockHandler, Scripted

T = TypeVar("T")


@pytest.mark.asyncio
async def test_effects_run_in_order_and_received_values_are_told_once() -> None:
    ada, bob = InMemoryHandler.network("Ada", "Bob")
    for number in range(6):
        await bob.send(None, "Ada", Labelled("N", number))
    receive = Program().recv("Bob", "N")
    program = (
        Program()
        .then(receive)
        .loop(receive, 2)
        .parallel(receive, receive)
        .timeout("Ada", 1_000, Program().loop(receive, 1))
        .end()
    )
    result = await run_program(program, ada)
    assert (result.received, result.final_state, result.error) == ((0, 1, 2, 3, 4, 5), "completed", None)
    assert result.trace == ("receive N from Bob",) * 6


@pytest.mark.asyncio
async def test_the_first_failure_ends_everything() -> None:
    script = [Scripted("send", "Bob", "a"), Scripted("send", "Bob", "b", fails=TransportFailed("down"))]
    handler = MockHandler("Ada", script)
    result = await run_program(Program().send("Bob", "a").send("Bob", "b").send("Bob", "c").end(), handler)
    assert (result.final_state, str(result.error), result.trace) == ("failed", "down", ("send a to Bob",))
    handler.assert_done()


@pytest.mark.asyncio
async def test_a_branch_goes_by_the_choice_right_before() -> None:
    recording = RecordingHandler("Ada")
    chosen = Program().choose("Bob", "yes").branch({"yes": Program().send("Bob", "Yes"), "no": Program()}).end()
    assert (await run_program(chosen, recording)).trace == ("choose yes for Bob", "send Yes to Bob")
    offered = Program().offer("Bob").branch({"yes": Program()}).end()
    result = await run_program(offered, MockHandler("Ada", [Scripted("offer", "Bob", "maybe")]))
    assert isinstance(result.error, InvalidChoice)
    with pytest.raises(ProgramFault):
        await run_program(Program().send("Bob", "x").branch({"yes": Program()}), recording)
    between = Program().choose("Bob", "yes").then(Program().parallel(Program())).end()
    assert (await run_program(between, recording)).final_state == "completed"


@pytest.mark.asyncio
async def test_a_loop_without_a_count_ends_with_its_label() -> None:
    labels = ["more", "more", "done"]
    handler = MockHandler("Ada", [Scripted("offer", "Bob", label) for label in labels])
    program = Program().loop(Program().offer("Bob"), until="done").end()
    assert (await run_program(program, handler)).trace == tuple(f"offered {label} by Bob" for label in labels)


@virtual_time.driven
async def test_a_loop_for_ever_runs_until_it_is_cancelled() -> None:
    recording = RecordingHandler("Ada", NoOpHandler())
    pause = Program().ext(LogEvent("round"))

    async def log(endpoint: object, event: LogEvent) -> None:
        await virtual_time.pass_time(1.0)

    handler = WithExtensions(recording, {LogEvent: log})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10.5):
            await run_program(Program().loop(pause.send("Bob", "x")).end(), handler)
    assert len(recording.events()) == 10


@pytest.mark.parametrize("late", [None, Program().send("Bob", "Late")])
@virtual_time.driven
async def test_a_clock_that_fires_is_the_final_state(late: Program | None) -> None:
    ada, bob = InMemoryHandler.network("Ada", "Bob")
    await bob.send(None, "Ada", Labelled("N", 1))
    body = Program().recv("Bob", "N").recv("Bob", "N")
    program = Program().timeout("Ada", 5_000, body, late).send("Bob", "After").end()
    result = await run_program(program, ada)
    assert (result.received, result.final_state, virtual_time.now_s()) == ((1,), "timeout", 5.0)
    expected = ("receive N from Bob", "the clock of Ada fired")
    assert result.trace == (expected if late is None else (*expected, "send Late to Bob", "send After to Bob"))


@pytest.mark.asyncio
async def test_extensions_are_performed_once_or_fail_closed() -> None:
    seen: list[object] = []

    async def note(endpoint: object, effect: object) -> None:
        seen.append(effect)

    handler = WithExtensions(NoOpHandler(), {LogEvent: note})
    program = Program().ext(LogEvent("begun")).send("Bob", "x").ext(ValidateCapability("a:b", "Ada")).send("Bob", "y")
    result = await run_program(program.end(), handler)
    assert (seen, isinstance(result.error, UnknownExtension)) == ([LogEvent("begun")], True)
    assert result.trace == ("extend LogEvent", "send x to Bob")
    plain = await run_program(program.end(), NoOpHandler(), ignores_extensions=True)
    assert plain.trace == ("send x to Bob", "send y to Bob")


@pytest.mark.asyncio
async def test_ten_thousand_effects_run_flat_and_nested() -> None:
    flat, deep = Program(), Program().send("Bob", "x")
    for _ in range(10_000):
        flat = flat.send("Bob", "x")
        deep = Program().loop(Program().parallel(deep), 1)
    assert len((await run_program(flat.end(), NoOpHandler())).trace) == 10_000
    assert (await run_program(deep.end(), NoOpHandler())).trace == ("send x to Bob",)


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
@settings(max_examples=30)
def test_running_a_joined_program_is_running_one_and_then_the_other(first: list[str], second: list[str]) -> None:
    def program(labels: list[str]) -> Program:
        made = Program()
        for label in labels:
            made = made.send("Bob", label)
        return made

    async def trace(*programs: Program) -> tuple[str, ...]:
        results = [await run_program(one.end(), NoOpHandler()) for one in programs]
        return tuple(step for result in results for step in result.trace)

    async def both() -> None:
        one, other = program(first), program(second)
        assert await trace(one.then(other)) == await trace(one, other)

    asyncio.run(both())


# --- side by side -------------------------------------------------------------------------------------------------


@dataclass
class Slow(NoOpHandler):
    """Takes its time for every send, and tells in which order all were done."""

    pause_s: float
    done: list[str]
    fails: bool = False

    async def send(self, endpoint: object, to: str, message: object) -> None:
        await virtual_time.pass_time(self.pause_s)
        if self.fails:
            raise TransportFailed(to)
        self.done.append(to)


class Clocked(Around[object]):
    """Cuts timed parts off, as handlers with peers do."""

    def __init__(self, role: str, inner: NoOpHandler) -> None:
        super().__init__(inner)
        self._clock = InMemoryHandler(role)

    async def with_timeout(self, endpoint: object, at: str, seconds: float, body: Awaitable[T]) -> T:
        return await self._clock.with_timeout(endpoint, at, seconds, body)


def worker(name: str) -> Program:
    return Program().send(name, "one").send(name, "two").on(name)


@pytest.mark.parametrize("pauses", [(1.0, 3.0), (3.0, 1.0)])
@virtual_time.driven
async def test_programs_side_by_side_run_at_once_and_their_trace_is_in_order(pauses: tuple[float, float]) -> None:
    done: list[str] = []
    seats = {name: SessionSeat(Slow(pause, done)) for name, pause in zip("AB", pauses, strict=True)}
    result = await run_program(Program().par(worker("A"), worker("B")).end(), NoOpHandler(), sessions=seats)
    assert result.trace == ("send one to A", "send two to A", "send one to B", "send two to B")
    assert virtual_time.now_s() == 6.0
    assert done[0] == ("A" if pauses[0] == 1.0 else "B")


@virtual_time.driven
async def test_the_first_failure_side_by_side_stops_the_others_and_is_numbered() -> None:
    done: list[str] = []
    seats = {"A": SessionSeat(Slow(3.0, done)), "B": SessionSeat(Slow(1.0, done, fails=True))}
    program = Program().par(worker("A"), worker("B")).send("C", "never").end()
    result = await run_program(program, NoOpHandler(), sessions=seats)
    assert isinstance(result.error, StepFailed)
    assert (result.error.index, type(result.error.__cause__)) == (1, TransportFailed)
    assert (done, result.trace, virtual_time.now_s()) == ([], (), 1.0)


@virtual_time.driven
async def test_one_timeout_holds_for_all_that_run_side_by_side() -> None:
    seats = {name: SessionSeat(Slow(3.0, [])) for name in "AB"}
    program = Program().par(worker("A"), worker("B"), milliseconds=5_000).end()
    result = await run_program(program, NoOpHandler(), sessions=seats)
    assert (result.final_state, virtual_time.now_s()) == ("failed", 5.0)
    missing = await run_program(worker("Z").end(), NoOpHandler())
    assert isinstance(missing.error, LocalViolation)


@virtual_time.driven
async def test_a_clock_that_fires_side_by_side_ends_the_program_as_it_does_alone() -> None:
    seats = {name: SessionSeat(Clocked("Me", Slow(3.0, []))) for name in "AB"}
    timed = Program().timeout("Me", 1_000, Program().send("A", "late")).send("A", "never").on("A")
    program = Program().par(timed, worker("B")).send("C", "never").end()
    result = await run_program(program, NoOpHandler(), sessions=seats)
    assert (result.final_state, result.error) == ("timeout", None)
    assert result.trace == ("the clock of Me fired", "send one to B", "send two to B")


@virtual_time.driven
async def test_what_takes_too_long_inside_a_timed_part_is_not_its_clock() -> None:
    seats = {"A": SessionSeat(Slow(3.0, []))}
    inside = Program().par(worker("A"), milliseconds=1_000)
    program = Program().timeout("Me", 60_000, inside, Program().send("C", "never")).end()
    result = await run_program(program, NoOpHandler(), sessions=seats)
    assert (result.final_state, type(result.error), result.trace) == ("failed", TimedOut, ())


# --- monitored ----------------------------------------------------------------------------------------------------

TALK = compile_choreography(
    """\
protocol Talk =
  roles A, B
  A -> B : Ask(n : u8)
  choice B at
    | Yes =>
      B -> A : Yes(n : u8)
    | no =>
      B -> A : Sorry
  timeout 5s A at
    B -> A : Bye
  on timeout =>
    A -> B : Gone
"""
)
ASKING = (
    Program()
    .send("B", "Ask", {"n": 1})
    .offer("B")
    .branch({"Yes": Program().recv("B", "Yes"), "no": Program().recv("B", "Sorry")})
    .timeout("A", 5_000, Program().recv("B", "Bye"), Program().send("B", "Gone"))
    .end()
)


@pytest.mark.parametrize("answer", ["Yes", "no"])
@pytest.mark.parametrize("is_late", [True, False])
def test_a_program_over_an_endpoint_is_held_to_the_protocol(answer: str, is_late: bool) -> None:
    said = Program().send("A", "Yes", {"n": 2}) if answer == "Yes" else Program().choose("A", "no").send("A", "Sorry")
    answering = Program().recv("A", "Ask").then(said)
    answering = answering.timeout("A", 5_000, Program().send("A", "Bye"), Program().recv("A", "Gone")).end()
    timing = Timing(elapsed_s=virtual_time.now_s, sleep=virtual_time.pass_time)

    async def scenario() -> None:
        one, other_one = InMemoryHandler.network("A", "B")
        slow = FaultInjection(other_one, 0.0, timing=timing).with_delays(6.0 * is_late, 6.0 * is_late)
        async with Endpoint.of(TALK, "A", one) as a, Endpoint.of(TALK, "B", slow) as b:
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(run_program(ASKING, Monitored(a)))
                other = group.create_task(run_program(answering, Monitored(b)))
            assert other.result().error is None
            assert asking.result().error is None
            assert asking.result().final_state == ("timeout" if is_late else "completed")
            assert asking.result().received[0] == ({"n": 2} if answer == "Yes" else None)

    virtual_time.run(scenario())


@pytest.mark.asyncio
async def test_a_wrong_program_is_stopped_at_its_first_wrong_step() -> None:
    handlers = InMemoryHandler.network("A", "B")
    endpoint = Endpoint.of(TALK, "A", handlers[0])
    wrong = Program().send("B", "Ask", {"n": 1}).send("B", "Ask", {"n": 2}).end()
    result = await run_program(wrong, Monitored(endpoint))
    assert isinstance(result.error, ProtocolViolation)
    assert result.trace == ("send Ask to B",)
    assert await handlers[1].recv(None, "A") == {"n": 1}

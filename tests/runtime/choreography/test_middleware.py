"""Handlers around handlers: exact pauses, exact counts, and what the order of the layers means."""

import asyncio
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from antiphon.choreography import compile_choreography
from antiphon.facts import LocalViolation
from antiphon.runtime.choreography import (
    ChoreoHandler,
    EmptyRoleFamily,
    Endpoint,
    FamilyError,
    FaultInjection,
    InMemoryHandler,
    InvalidRoleRange,
    Labelled,
    Metrics,
    ProtocolViolation,
    RecordingHandler,
    Retry,
    RoleFamilyNotFound,
    TimedOut,
    Trace,
    TransportFailed,
    UnknownExtension,
    WithExtensions,
    WithInstances,
    map_instances,
)
from antiphon.runtime.resilience import Timing
from antiphon.testing.contracts.handler import HandlerContract, Network, Note, Seat


@dataclass
class FakeTime:
    """A clock that only sleeping moves."""

    now_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 9))
        self.now_s += seconds

    @property
    def timing(self) -> Timing:
        return Timing(lambda: self.now_s, self.sleep, lambda: 0.5)


class Failing(InMemoryHandler):
    """Fails so many sends, and counts how often it was asked."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        super().__init__("Ada")
        self.failures = failures
        self.error = error or TransportFailed("down")
        self.asked = 0
        self.received = 0

    async def send(self, endpoint: object, to: str, message: object) -> None:
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        await super().send(endpoint, to, message)

    async def recv(
        self, endpoint: object, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        self.received += 1
        raise TransportFailed("down")


class TestAFullStack(HandlerContract):
    """A handler under every layer keeps the contract."""

    @pytest_asyncio.fixture
    async def network(self) -> Network:
        async def make(*roles: str) -> dict[str, Seat]:
            return {one.role: Seat(stacked(one), None) for one in InMemoryHandler.network(*roles)}

        return make


def stacked(inner: ChoreoHandler[object]) -> ChoreoHandler[object]:
    return Metrics(Trace(Retry(FaultInjection(inner, 0.0)), sink=lambda line: None))


@pytest.mark.asyncio
async def test_a_send_is_retried_after_100_200_and_400_ms_and_then_the_last_error_is_raised() -> None:
    time = FakeTime()
    inner = Failing(99)
    with pytest.raises(TransportFailed, match="down"):
        await Retry(inner, timing=time.timing).send(None, "Bob", Note(1))
    assert (inner.asked, time.slept) == (4, [0.1, 0.2, 0.4])


@pytest.mark.asyncio
async def test_success_ends_the_retries_and_receives_go_through_once() -> None:
    time = FakeTime()
    inner = Failing(1)
    retrying = Retry(inner, 5, 1.0, timing=time.timing)
    await retrying.send(None, "Bob", Note(1))
    with pytest.raises(TransportFailed):
        await retrying.recv(None, "Bob", Note)
    assert (inner.asked, inner.received, time.slept) == (2, 1, [1.0])


@pytest.mark.asyncio
async def test_what_another_try_cannot_help_is_not_tried_again() -> None:
    inner = Failing(99, ProtocolViolation("Ada", actual="shout", expected=["listen"]))
    with pytest.raises(ProtocolViolation):
        await Retry(inner).send(None, "Bob", Note(1))
    assert inner.asked == 1


@pytest.mark.asyncio
async def test_counts_outside_a_retry_see_one_send_and_inside_see_every_attempt() -> None:
    time = FakeTime()
    lines: list[str] = []
    outside = Metrics(Trace(Retry(Failing(2), timing=time.timing), sink=lines.append))
    await outside.send(None, "Bob", Note(1))
    assert (outside.send_count, outside.error_count, len(lines)) == (1, 0, 2)
    inside = Metrics(Failing(2))
    await Retry(inside, timing=time.timing).send(None, "Bob", Note(1))
    assert (inside.send_count, inside.error_count) == (1, 2)


@pytest.mark.asyncio
async def test_a_trace_tells_each_operation_before_and_after_and_never_what_a_message_holds() -> None:
    time = FakeTime()
    lines: list[str] = []
    ada, bob = InMemoryHandler.network("Ada", "Bob")
    traced = Trace(ada, "Ada", sink=lines.append, timing=time.timing)
    await traced.send(None, "Bob", Note(1, "a secret"))
    await traced.choose(None, "Bob", "yes")
    await bob.choose(None, "Ada", "no")
    await bob.send(None, "Ada", Note(2))
    await traced.offer(None, "Bob")
    await traced.recv(None, "Bob", Note)
    with pytest.raises(TimedOut):
        await traced.with_timeout(None, "Ada", 0.0, asyncio.Event().wait())
    with pytest.raises(UnknownExtension):
        await traced.extend(None, Note(1))
    assert lines == [
        "Ada: send Note to Bob …",
        "Ada: send Note to Bob: ok (0.000000 s)",
        "Ada: choose yes for Bob …",
        "Ada: choose yes for Bob: ok (0.000000 s)",
        "Ada: offer from Bob …",
        "Ada: offer from Bob: ok no (0.000000 s)",
        "Ada: recv Note from Bob …",
        "Ada: recv Note from Bob: ok (0.000000 s)",
        "Ada: timeout 0 s at Ada …",
        "Ada: timeout 0 s at Ada: expired (0.000000 s)",
        "Ada: extend Note …",
        "Ada: extend Note: UnknownExtension: nothing handles Note; register it with WithExtensions (0.000000 s)",
    ]


@pytest.mark.asyncio
async def test_metrics_count_by_kind_until_they_are_reset() -> None:
    ada, bob = InMemoryHandler.network("Ada", "Bob")
    counted = Metrics(ada, timing=FakeTime().timing)
    await counted.choose(None, "Bob", "yes")
    await bob.choose(None, "Ada", "no")
    await counted.offer(None, "Bob")
    await counted.broadcast(None, ["Bob", "Bob"], Note(1))
    await bob.send(None, "Ada", Note(2))
    await counted.recv(None, "Bob", Note)
    with pytest.raises(TimedOut):
        await counted.with_timeout(None, "Ada", 0.0, asyncio.Event().wait())
    assert counted.snapshot()[:6] == (2, 1, 0, 1, 1, 1)
    counted.reset()
    assert not any(counted.snapshot())


async def schedule(rate: float, seed: int) -> tuple[list[bool], list[float]]:
    time = FakeTime()
    recording = RecordingHandler("Ada")
    faulty = FaultInjection(recording, rate, timing=time.timing).with_delays(0.01, 0.1).seed(seed)
    failed = []
    for _ in range(50):
        try:
            await faulty.send(None, "Bob", Note(1))
        except TransportFailed as problem:
            assert str(problem) == "Injected fault"  # noqa: PT017  # most of them must not fail
            failed.append(True)
        else:
            failed.append(False)
        await faulty.choose(None, "Bob", "yes")
    assert len(recording.events()) == 100 - sum(failed)
    return failed, time.slept


@pytest.mark.asyncio
async def test_the_same_seed_is_the_same_schedule_and_rates_0_and_1_are_never_and_always() -> None:
    assert await schedule(0.3, 7) == await schedule(0.3, 7)
    assert await schedule(0.3, 7) != await schedule(0.3, 8)
    failed, slept = await schedule(0.3, 7)
    assert 3 <= sum(failed) <= 30
    assert all(0.01 <= pause <= 0.1 for pause in slept)
    assert sum((await schedule(0.0, 7))[0]) == 0
    assert sum((await schedule(1.0, 7))[0]) == 50


def test_a_rate_or_delay_that_cannot_be_is_refused() -> None:
    with pytest.raises(LocalViolation, match=r"rate is 1\.1"):
        FaultInjection(RecordingHandler("Ada"), 1.1)
    with pytest.raises(LocalViolation, match="low <= high"):
        FaultInjection(RecordingHandler("Ada"), 1.0).with_delays(2.0, 1.0)


@dataclass(frozen=True)
class Ring:
    """An extension effect."""

    times: int


class LoudRing(Ring):
    """Of another class, and so another effect."""


@pytest.mark.asyncio
async def test_an_extension_is_performed_once_through_any_stack_by_exact_class() -> None:
    rung: list[tuple[object, Ring]] = []

    async def ring(endpoint: object, effect: Ring) -> int:
        rung.append((endpoint, effect))
        return effect.times

    inner = WithExtensions(RecordingHandler("Ada"), {Ring: ring})
    for stack in (inner, stacked(inner), Metrics(WithExtensions(stacked(inner), {}))):
        rung.clear()
        assert await stack.extend("here", Ring(3)) == 3
        assert rung == [("here", Ring(3))]
        with pytest.raises(UnknownExtension, match="nothing handles LoudRing"):
            await stack.extend("here", LoudRing(3))


POLL = compile_choreography(
    "protocol Poll =\n  roles Chair, Voter[N]\n  Chair -> Voter[*] : Ask\n  Voter[*] -> Chair : Vote(yes : bool)\n",
    counts={"N": 2},
)


@pytest.mark.asyncio
async def test_instances_of_a_family_are_played_by_the_peers_that_are_named() -> None:
    chair, ada, bo = InMemoryHandler.network("Chair", "ada", "bo")
    peers = map_instances(POLL, "Voter", {0: "ada", 1: "bo"})
    seat = Endpoint.of(POLL, "Chair", WithInstances(chair, peers))
    voters = [Endpoint.of(POLL, role, handler) for role, handler in zip(peers, (ada, bo), strict=True)]
    async with seat:
        await seat.broadcast("Voter", Labelled("Ask", None))
        for voter in voters:
            async with voter:
                await voter.recv("Chair")
                await voter.send("Chair", {"yes": True}, label="Vote")
        assert await seat.gather("Voter") == {"Voter[0]": {"yes": True}, "Voter[1]": {"yes": True}}


@pytest.mark.parametrize(
    ("family", "peers", "kind", "says"),
    [
        ("Crowd", {0: "ada"}, RoleFamilyNotFound, "no family 'Crowd'; it has Voter"),
        ("Voter", {}, EmptyRoleFamily, "nobody plays Voter; it has the instances 0 to 1"),
        ("Voter", {0: "ada"}, InvalidRoleRange, r"\[1\] have no peer"),
        ("Voter", {0: "ada", 1: "bo", 2: "cyd"}, InvalidRoleRange, r"\[2\] are none"),
        ("Voter", {0: "ada", 1: "ada"}, FamilyError, "one peer is two instances"),
    ],
)
def test_a_family_is_mapped_whole_or_not_at_all(
    family: str, peers: dict[int, str], kind: type[FamilyError], says: str
) -> None:
    with pytest.raises(FamilyError, match=says) as refused:
        map_instances(POLL, family, peers)
    assert type(refused.value) is kind

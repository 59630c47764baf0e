"""What following a protocol costs: monitored messages against bare queues, and many sessions against one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from antiphon.choreography import compile_choreography
from antiphon.runtime.choreography import Endpoint, InMemoryHandler, RolePlan

from .measure import Burst, Figure, Sample, Settings, Spread, Stopwatch, interleave, spread

PING = compile_choreography(
    "protocol Ping =\n  roles Ada, Bob\n"
    "  loop forever\n    Ada -> Bob : Ping(number : i64)\n    Bob -> Ada : Pong(number : i64)\n"
)
SESSIONS = 1_000
# Long enough that talking, not beginning, is what is measured.
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Ping:
    """There."""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """And back."""

    number: int


PLANS = {role: RolePlan.of(PING, role, messages=[Ping, Pong]) for role in PING.roles}


async def measure(settings: Settings) -> list[Figure]:
    """Two figures, both taken in this process."""
    rounds = settings.pick(5_000, 1_000)
    repeats = settings.pick(25, 7)
    monitored, queued = await _in_turn([_monitored(rounds), _queued(rounds)], repeats)
    many, one = await _in_turn([_at_once(), _one_after_another()], settings.pick(15, 5))
    return [_message(monitored, queued, rounds), _crowd(many, one)]


async def _in_turn(contenders: list[Burst], repeats: int) -> list[Spread]:
    await interleave(contenders, repeats=2)  # warm-up
    return [spread(samples) for samples in await interleave(contenders, repeats=repeats)]


def _monitored(rounds: int) -> Burst:
    """There and back, each message checked against machine, class and fields on both sides."""

    async def burst() -> list[Sample]:
        ada, bob = _pair()
        with Stopwatch() as watch:
            await _converse(ada, bob, rounds)
        return [watch.sample()]

    return burst


def _queued(rounds: int) -> Burst:
    """Four hops a round, two for each message: what somebody would write who hands a message on through a hub."""

    async def burst() -> list[Sample]:
        there, hub_there, back, hub_back = (asyncio.Queue[object]() for _ in range(4))

        async def forward(source: asyncio.Queue[object], target: asyncio.Queue[object]) -> None:
            for _ in range(rounds):
                await target.put(await source.get())

        async def bob() -> None:
            for number in range(rounds):
                await hub_there.get()
                await back.put(Pong(number))

        with Stopwatch() as watch:
            async with asyncio.TaskGroup() as group:
                group.create_task(forward(there, hub_there))
                group.create_task(forward(back, hub_back))
                group.create_task(bob())
                for number in range(rounds):
                    await there.put(Ping(number))
                    await hub_back.get()
        return [watch.sample()]

    return burst


def _at_once() -> Burst:
    """A thousand conversations in one loop, none of which waits for another."""

    async def burst() -> list[Sample]:
        pairs = [_pair() for _ in range(SESSIONS)]
        with Stopwatch() as watch:
            async with asyncio.TaskGroup() as group:
                for ada, bob in pairs:
                    group.create_task(_converse(ada, bob, ROUNDS))
        return [watch.sample()]

    return burst


def _one_after_another() -> Burst:
    """The same conversations, each begun when the one before has ended."""

    async def burst() -> list[Sample]:
        pairs = [_pair() for _ in range(SESSIONS)]
        with Stopwatch() as watch:
            for ada, bob in pairs:
                await _converse(ada, bob, ROUNDS)
        return [watch.sample()]

    return burst


def _pair() -> tuple[Endpoint[object], Endpoint[object]]:
    ada, bob = InMemoryHandler.network("Ada", "Bob")
    return Endpoint(PLANS["Ada"], ada), Endpoint(PLANS["Bob"], bob)


async def _converse(ada: Endpoint[object], bob: Endpoint[object], rounds: int) -> None:
    async def answer() -> None:
        for _ in range(rounds):
            message = await bob.recv("Ada", Ping)
            await bob.send("Ada", Pong(message.number))

    async with asyncio.TaskGroup() as group:
        group.create_task(answer())
        for number in range(rounds):
            await ada.send("Bob", Ping(number))
            await ada.recv("Bob", Pong)
    assert ada.statistics().received == rounds, "every answer was received"


def _message(monitored: Spread, queued: Spread, rounds: int) -> Figure:
    return _ratio(
        "endpoint_message",
        "monitored in-memory send and receive",
        monitored,
        queued,
        2 * rounds,
        3.0,
        "two asyncio.Queue hops",
    )


def _crowd(many: Spread, one: Spread) -> Figure:
    title = f"{SESSIONS:,} two-party sessions at once, a message"
    return _ratio("endpoint_sessions", title, many, one, 2 * ROUNDS * SESSIONS, 1.3, "the same, one after another")


def _ratio(
    name: str, title: str, mine: Spread, theirs: Spread, messages: int, goal: float, reference_name: str
) -> Figure:
    return Figure.of_times(
        name,
        title,
        mine,
        theirs,
        unit="µs",
        per=messages,
        goal=goal,
        reference_name=reference_name,
        messages=messages,
        readings=mine.size,
    )

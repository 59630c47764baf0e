"""Random protocols really run: each role a monitored endpoint over queues or connections; clocks may fire."""

import asyncio
import runpy
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest

from antiphon.choreography import CompiledProtocol, compile_choreography
from antiphon.choreography.compiled import check_text
from antiphon.choreography.draw import Happening
from antiphon.runtime.choreography import (
    ChannelClosed,
    ChoreoError,
    ChoreoHandler,
    Endpoint,
    FaultInjection,
    InMemoryHandler,
    Labelled,
    PayloadRefused,
    ProtocolViolation,
    Session,
    TelltaleEndpoint,
    TelltaleHandler,
)
from antiphon.runtime.choreography.player import Player, StepsUsedUp
from antiphon.runtime.resilience import Timing
from antiphon.testing import virtual_time

WRITER = runpy.run_path(str(Path(__file__).resolve().parents[2] / "choreography/test_random_texts.py"))["Writer"]
TEXTS = 80


def protocols(seeds: range) -> list[tuple[int, CompiledProtocol]]:
    texts = ((seed, WRITER(seed).text) for seed in seeds)
    checked = ((seed, text, check_text(text)) for seed, text in texts)
    return [(seed, compile_choreography(text)) for seed, text, one in checked if one.is_valid and one.is_projectable]


async def play(
    protocol: CompiledProtocol,
    seats: dict[str, Endpoint[object]],
    seed: int,
    told: list[Happening] | None = None,
    *,
    player: type[Player] = Player,
) -> list[BaseException]:
    """Let all roles play; what went wrong, but for loops that do not end and what follows from leaving them."""
    problems: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as group:
            for number, endpoint in enumerate(seats.values()):
                tell = (told if told is not None else []).append
                group.create_task(player(endpoint, Random(seed * 10 + number), tell=tell, steps_max=60).play())
    except BaseExceptionGroup as group_problem:
        roots = [one.root_cause() if isinstance(one, ChoreoError) else one for one in group_problem.exceptions]
        problems = [one for one in roots if not isinstance(one, StepsUsedUp | ChannelClosed)]
    return problems


def in_memory(protocol: CompiledProtocol) -> dict[str, Endpoint[object]]:
    handlers = InMemoryHandler.network(*protocol.roles)
    return {one.role: Endpoint.of(protocol, one.role, one) for one in handlers}


def over_connections(protocol: CompiledProtocol) -> dict[str, Endpoint[object]]:
    sessions = {role: TelltaleEndpoint(role, protocol.fsm[role]) for role in protocol.roles}
    for one, other in combinations(protocol.roles, 2):
        here, there = Session.pair()
        sessions[one].register(other, here)
        sessions[other].register(one, there)
    return {role: Endpoint.of(protocol, role, TelltaleHandler(role), sessions[role]) for role in protocol.roles}


def slow(handler: ChoreoHandler[Any], seed: int) -> ChoreoHandler[Any]:
    """Sends that take so long that some clocks fire."""
    timing = Timing(elapsed_s=virtual_time.now_s, sleep=virtual_time.pass_time)
    return FaultInjection(handler, 0.0, timing=timing).with_delays(0.0, 9.0).seed(seed)


def slowly(protocol: CompiledProtocol, seed: int) -> dict[str, Endpoint[Any]]:
    handlers = InMemoryHandler.network(*protocol.roles)
    return {one.role: Endpoint.of(protocol, one.role, slow(one, seed)) for one in handlers}


def slowly_over_connections(protocol: CompiledProtocol, seed: int) -> dict[str, Endpoint[Any]]:
    seats = over_connections(protocol)
    return {
        role: Endpoint.of(protocol, role, slow(seat.handler, seed + 1_000), seat.session)
        for role, seat in seats.items()
    }


@pytest.mark.parametrize("seats_of", [in_memory, over_connections])
def test_whatever_projects_runs_without_a_wrong_step(seats_of: object) -> None:
    found = protocols(range(TEXTS))
    assert len(found) > TEXTS // 5
    for seed, protocol in found:
        problems = virtual_time.run(play(protocol, seats_of(protocol), seed))  # type: ignore[operator]
        assert problems == [], f"seed {seed}\n{WRITER(seed).text}"


def test_at_every_step_every_wrong_move_is_refused_and_changes_nothing() -> None:
    """Each role tries everything that its state does not allow, before each step that it does."""

    class Wrong(Player):
        tried = 0

        async def _step(self) -> None:
            end = self.endpoint
            before = end.state, end.statistics()
            labels = {one.label for state in end.plan.machine.states for one in state.transitions if one.label}
            allowed = {(step.direction, step.partner, step.label) for step in end.steps}
            for partner in ("A", "B", "C", "D"):
                for label in sorted(labels):
                    if ("send", partner, label) not in allowed:
                        with pytest.raises((ProtocolViolation, PayloadRefused)):
                            await end.send(partner, Labelled(label, None))
                        Wrong.tried += 1
                if not any(one[:2] == ("recv", partner) for one in allowed):
                    with pytest.raises(ProtocolViolation):
                        await end.offer(partner)
                    Wrong.tried += 1
            assert (end.state, end.statistics()) == before
            await super()._step()

    async def scenario(protocol: CompiledProtocol, seed: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number, endpoint in enumerate(in_memory(protocol).values()):
                group.create_task(Wrong(endpoint, Random(seed * 10 + number), steps_max=40).play())

    for seed, protocol in protocols(range(20)):
        try:
            virtual_time.run(scenario(protocol, seed))
        except BaseExceptionGroup as problem:
            roots = [one.root_cause() if isinstance(one, ChoreoError) else one for one in problem.exceptions]
            assert all(isinstance(one, StepsUsedUp | ChannelClosed) for one in roots), f"seed {seed}"
    assert Wrong.tried > 500


def check_slow_runs(seeds: range) -> tuple[int, int]:
    """Every run ends, whoever was how far when the clock fired: virtual time would show who waits for ever.

    How many protocols ran, and how many clocks fired.
    """
    told: list[Happening] = []
    found = protocols(seeds)
    for seed, protocol in found:
        for seats_of in (slowly, slowly_over_connections):
            problems = virtual_time.run(play(protocol, seats_of(protocol, seed), seed, told))
            assert problems == [], f"seed {seed}, {seats_of.__name__}\n{WRITER(seed).text}"
    return len(found), sum("fired" in one.text for one in told)


def test_clocks_that_fire_leave_nobody_waiting() -> None:
    # 205: an owner went round to a role that had left. 497: a word about a part that its hearer had not entered yet.
    ran, fired = check_slow_runs(range(100, 260))
    assert check_slow_runs(range(497, 498))[0] == 1
    assert (ran > 60, fired > 20) == (True, True)


class Cancelling(WRITER):  # type: ignore[misc, valid-type]  # a class of a test beside this one
    """Most timed parts may be cancelled."""

    def _timeout(self, indent: str, depth: int, labels: list[str]) -> None:
        start = len(self._lines)
        super()._timeout(indent, depth, labels)
        owner = self._lines[start].split()[2]
        if self._dice.random() < 0.8:
            self._line(indent, "on cancel =>")
            for other in "ABCD":
                if other != owner:
                    self._line(indent, f"  {owner} -> {other} : {self._name()}")
            self._perhaps_continue(indent + "  ", labels)


class Impatient(Player):
    """Cancels its own timed parts now and then, the inner ones and those around them."""

    cancelled = 0

    async def _step(self) -> None:
        mine = [one for one in self.endpoint._clocks if one.is_mine]
        states = self.endpoint.plan.machine.states
        may_be = [one for one in mine if states[one.number].part("cancel") is not None]
        if may_be and self.dice.random() < 0.25:
            Impatient.cancelled += 1
            self.dice.choice(may_be).cancel()
        await super()._step()


def check_cancelled_runs(seeds: range) -> int:
    """Every run ends alike for all, whoever was how far when an owner gave up; how many protocols ran."""
    ran = 0
    for seed in seeds:
        text = Cancelling(seed).text
        checked = check_text(text)
        if "on cancel" not in text or not checked.is_valid or not checked.is_projectable:
            continue
        protocol, ran = compile_choreography(text), ran + 1
        for seats_of in (slowly, slowly_over_connections):
            problems = virtual_time.run(play(protocol, seats_of(protocol, seed), seed, player=Impatient))
            assert problems == [], f"seed {seed}, {seats_of.__name__}\n{text}"
    return ran


def test_owners_that_cancel_leave_nobody_waiting() -> None:
    before = Impatient.cancelled
    assert check_cancelled_runs(range(400)) > 25
    assert Impatient.cancelled - before > 10


@pytest.mark.long
def test_owners_that_cancel_leave_nobody_waiting_in_two_thousand_texts() -> None:
    assert check_cancelled_runs(range(1_000, 3_000)) > 150


def test_owners_that_would_run_on_the_spot_are_refused_before_they_run() -> None:
    # In the text of 1821 an owner has nothing to do in a round but to time it.
    codes = [one.code for one in check_text(Cancelling(1821).text).problems]
    assert "idle_owner" in codes
    assert check_cancelled_runs(range(1_818, 1_826)) > 0


class Mortal(Player):
    """Dies before its step of that number."""

    dies_at = 0

    async def _step(self) -> None:
        if self.steps >= self.dies_at:
            raise KeyError("it died")
        await super()._step()


async def play_with_a_death(seats: dict[str, Endpoint[Any]], seed: int) -> list[object]:
    dice = Random(seed)
    victim = dice.choice(list(seats))
    runs = []
    for number, (role, endpoint) in enumerate(seats.items()):
        player = (Mortal if role == victim else Player)(endpoint, Random(seed * 10 + number), steps_max=60)
        if isinstance(player, Mortal):
            player.dies_at = dice.randrange(5)
        runs.append(player.play())
    return await asyncio.gather(*runs, return_exceptions=True)


def test_when_a_role_dies_everybody_else_comes_to_an_end() -> None:
    """In and out of timed parts: each is done, or told that a channel is closed; nobody waits, nobody is blamed."""
    deaths = 0
    for seed, protocol in protocols(range(TEXTS)):
        for seats_of in (slowly, slowly_over_connections):
            endings = virtual_time.run(play_with_a_death(seats_of(protocol, seed), seed))
            roots = [one.root_cause() if isinstance(one, ChoreoError) else one for one in endings]
            allowed = (KeyError, ChannelClosed, StepsUsedUp, type(None))
            assert all(isinstance(one, allowed) for one in roots), f"seed {seed}: {roots}"
            deaths += any(isinstance(one, KeyError) for one in roots)
    assert deaths > 10


@pytest.mark.long
def test_clocks_that_fire_leave_nobody_waiting_in_six_thousand_texts() -> None:
    ran, fired = check_slow_runs(range(1_000, 7_000))
    assert (ran > 2_000, fired > 1_000) == (True, True)

"""Runs effect programs over a handler: effects in order, the first failure ends it, every received value told once.

The program is data and knows no handler; the handler knows no program. Legality is the endpoint's: ``Monitored`` makes
a handler of one, so that a program is stopped at its first wrong step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from antiphon.choreography.program import (
    BranchEffect,
    ChoiceHole,
    ChooseEffect,
    Effect,
    ExtensionEffect,
    LoopEffect,
    OfferEffect,
    ParallelEffect,
    Program,
    ProgramFault,
    RecvEffect,
    SendEffect,
    SessionEffect,
    SideBySideEffect,
    TimeoutEffect,
)
from antiphon.facts import AntiphonError, LocalViolation

from .endpoint import Endpoint
from .errors import InvalidChoice, ProtocolViolation, TimedOut
from .handler import ChoreoHandler, Labelled, label_of, value_of

T = TypeVar("T")

FinalState: TypeAlias = Literal["completed", "timeout", "failed"]


class SessionSeat(NamedTuple):
    """A handler and what it keeps for one session."""

    handler: ChoreoHandler[Any]
    endpoint: Any = None


class ProgramResult(NamedTuple):
    """What came of a program: the values received, in order, how it ended, and what it did.

    completed: to its end · timeout: a clock fired on the way · failed: ``error`` ended it. Of programs side by side the
    values and the trace stand in the order of their declaration, whatever the order of events was.
    """

    received: tuple[object, ...]
    final_state: FinalState
    trace: tuple[str, ...]
    error: AntiphonError | None = None


class StepFailed(AntiphonError):
    """One of the programs side by side failed, the one with this number from 0; ``__cause__`` says why."""

    def __init__(self, index: int, cause: AntiphonError) -> None:
        self.index = index
        self.cause = cause
        super().__init__(f"the program at {index} failed: {cause}")


async def run_program(
    program: Program,
    handler: ChoreoHandler[Any],
    endpoint: Any = None,
    *,
    sessions: Mapping[str, SessionSeat] | None = None,
    ignores_extensions: bool = False,
) -> ProgramResult:
    """Run a program that was ended.

    *sessions* are those that it names with ``on``. Extension effects go to the handler's ``extend``, once, and fail
    where nobody knows them; *ignores_extensions* passes them over instead. A failure is a result; cancellation and what
    is not antiphon's are raised. Raises ``ProgramFault`` for a program without its end.
    """
    if not program.is_ended:
        raise ProgramFault("a program without its end does not run: call end()")
    faults = program.validate()
    if faults:
        raise ProgramFault(*faults)
    run = _Run(SessionSeat(handler, endpoint), dict(sessions or {}), ignores_extensions)
    try:
        is_whole = await run.follow(program)
    except AntiphonError as problem:
        return ProgramResult(tuple(run.received), "failed", tuple(run.trace), problem)
    final: FinalState = "timeout" if run.has_timed_out or not is_whole else "completed"
    return ProgramResult(tuple(run.received), final, tuple(run.trace))


class _Rounds(NamedTuple):
    """A loop whose body is under way, and the rounds still to come (None: until told)."""

    effect: LoopEffect
    left: int | None


# What is still to do, the next at the end: an effect, the end of a round, or back to another session.
_Task: TypeAlias = Effect | _Rounds | SessionSeat


@dataclass(slots=True)
class _Run:
    seat: SessionSeat
    sessions: dict[str, SessionSeat]
    ignores_extensions: bool
    received: list[object] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    has_timed_out: bool = False
    # The label of the choice or offer right before, and the last one of all.
    choice: str | None = None
    latest: str | None = None

    async def follow(self, program: Program) -> bool:
        """Do everything; False when a clock fired and nothing was said of what then. Its own stack: programs nest."""
        stack: list[_Task] = [*reversed(program.effects)]
        while stack:
            task = stack.pop()
            choice, self.choice = self.choice, None
            match task:
                case SendEffect() | RecvEffect() | ChooseEffect() | OfferEffect():
                    await self._exchange(task)
                case ExtensionEffect(effect=effect):
                    if not self.ignores_extensions:
                        await self.seat.handler.extend(self.seat.endpoint, effect)
                        self.trace.append(f"extend {type(effect).__name__}")
                    self.choice = choice
                case BranchEffect():
                    stack += reversed(_case(task, choice).effects)
                    self.choice = choice
                case LoopEffect():
                    self._begin(stack, _Rounds(task, task.count))
                case _Rounds():
                    self._begin(stack, task)
                case ParallelEffect(parts=parts):
                    stack += (effect for part in reversed(parts) for effect in reversed(part.effects))
                case TimeoutEffect():
                    if not await self._timed(task, stack):
                        return False
                case SideBySideEffect():
                    if not await self._side_by_side(task):
                        return False
                case SessionEffect(session=name, body=body):
                    stack.append(self.seat)
                    stack += reversed(body.effects)
                    self.seat = self._session(name)
                case SessionSeat():
                    self.seat = task
                case ChoiceHole():
                    raise AssertionError("a program with holes does not end, and only what has ended runs")
        return True

    async def _exchange(self, effect: SendEffect | RecvEffect | ChooseEffect | OfferEffect) -> None:
        handler, endpoint = self.seat
        match effect:
            case SendEffect(to=to, label=label, value=value):
                await handler.send(endpoint, to, Labelled(label, value))
                self.trace.append(f"send {label} to {to}")
            case RecvEffect(sender=sender, label=label, kind=kind):
                self.received.append(await handler.recv(endpoint, sender, kind, label=label))
                self.trace.append(f"receive {label} from {sender}")
            case ChooseEffect(to=to, label=label):
                await handler.choose(endpoint, to, label)
                self.choice = self.latest = label
                self.trace.append(f"choose {label} for {to}")
            case OfferEffect(sender=sender):
                self.choice = self.latest = await handler.offer(endpoint, sender)
                self.trace.append(f"offered {self.choice} by {sender}")

    def _begin(self, stack: list[_Task], rounds: _Rounds) -> None:
        """The next round of a loop, if there is one."""
        effect, left = rounds
        if left is not None:
            if left == 0:
                return
            stack.append(_Rounds(effect, left - 1))
        else:
            if effect.until is not None and self.latest == effect.until:
                return
            stack.append(rounds)
        # What earlier rounds were told does not end this one.
        self.latest = None
        stack += reversed(effect.body.effects)

    async def _timed(self, effect: TimeoutEffect, stack: list[_Task]) -> bool:
        handler, endpoint = self.seat
        inside: list[TimedOut] = []
        try:
            is_whole = await handler.with_timeout(
                endpoint, effect.at, effect.milliseconds / 1000, self._nested(effect.body, inside)
            )
        except TimedOut as problem:
            if problem in inside:
                raise  # something in the body took too long, and not the body
            self.has_timed_out = True
            self.trace.append(f"the clock of {effect.at} fired")
            if effect.on_timeout is None:
                return False
            stack += reversed(effect.on_timeout.effects)
            return True
        return is_whole

    async def _nested(self, program: Program, late: list[TimedOut]) -> bool:
        seat = self.seat
        try:
            return await self.follow(program)
        except TimedOut as problem:
            late.append(problem)
            raise
        finally:
            self.seat = seat

    async def _side_by_side(self, effect: SideBySideEffect) -> bool:
        """Do all at once; False when in one of them a clock fired and nothing was said of what then."""
        runs = [_Run(self.seat, self.sessions, self.ignores_extensions) for _ in effect.parts]
        failures: list[StepFailed] = []

        async def one(number: int) -> bool:
            try:
                return await runs[number].follow(effect.parts[number])
            except AntiphonError as problem:
                failed = StepFailed(number, problem)
                failures.append(failed)
                raise failed from problem

        limit_s = None if effect.milliseconds is None else effect.milliseconds / 1000
        try:
            async with asyncio.timeout(limit_s) as limit, asyncio.TaskGroup() as group:
                parts = [group.create_task(one(number)) for number in range(len(runs))]
            return all(part.result() for part in parts)
        except TimeoutError as problem:
            if not limit.expired():
                raise
            raise TimedOut(limit_s or 0.0) from problem
        except BaseExceptionGroup as problems:
            if failures and problems.split(StepFailed)[1] is None:
                raise failures[0] from failures[0].cause
            raise
        finally:
            for run in runs:
                self.received += run.received
                self.trace += run.trace
                self.has_timed_out = self.has_timed_out or run.has_timed_out

    def _session(self, name: str) -> SessionSeat:
        found = self.sessions.get(name)
        if found is None:
            raise LocalViolation(f"no session {name!r} was given; there are {', '.join(self.sessions) or 'none'}")
        return found


def _case(effect: BranchEffect, choice: str | None) -> Program:
    cases = dict(effect.cases)
    if choice is None:
        raise ProtocolViolation("a program", actual="branch", expected=["a choice or an offer right before"])
    if choice not in cases:
        known = [f"branch {label}" for label in cases]
        raise InvalidChoice("a program", actual=f"go on after {choice}", expected=known)
    return cases[choice]


class Monitored(ChoreoHandler[object]):
    """A handler made of an endpoint: whoever uses it, a program for one, is held to the role's machine."""

    def __init__(self, endpoint: Endpoint[Any]) -> None:
        self._endpoint = endpoint
        self.profile = endpoint.handler.profile
        # A message that was looked at with its label: the endpoint has it, whoever asks for it next gets it.
        self._offered: dict[str, Labelled] = {}

    async def send(self, endpoint: object, to: str, message: object) -> None:
        """See ``Endpoint.send``."""
        await self._endpoint.send(to, value_of(message), label=label_of(message))

    async def recv(
        self, endpoint: object, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``Endpoint.recv``."""
        offered = self._offered.get(sender)
        wanted = label if label is not None else kind.__name__ if kind is not None else None
        if offered is None:
            expected = {step.label for step in self._endpoint.steps if step.partner == sender}
            if wanted is not None and wanted not in expected:
                role, steps = self._endpoint.role, self._endpoint.expected
                raise ProtocolViolation(role, actual=f"receive {wanted} from {sender}", expected=steps)
            return await self._endpoint.recv(sender)
        if wanted not in (None, offered.label):
            role = self._endpoint.role
            actual = f"receive {wanted} from {sender}"
            raise ProtocolViolation(role, actual=actual, expected=[f"receive {offered.label} from {sender}"])
        del self._offered[sender]
        return offered.value

    async def choose(self, endpoint: object, to: str, label: str) -> None:
        """See ``Endpoint.choose``."""
        await self._endpoint.choose(to, label)

    async def offer(self, endpoint: object, sender: str) -> str:
        """See ``Endpoint.offer``."""
        if sender not in self._offered:
            ways = self._endpoint.plan.receives(self._endpoint.state, sender)
            label, message = await self._endpoint.offer(sender)
            if ways[label].is_message:
                self._offered[sender] = Labelled(label, message)
            return label
        return self._offered[sender].label

    async def with_timeout(self, endpoint: object, at: str, seconds: float, body: Awaitable[T]) -> T:
        """The endpoint's timed part; raises ``TimedOut`` on every role's side when the clock fired."""
        result: list[T] = []
        async with self._endpoint.timeout() as clock:
            result.append(await body)
        if clock.outcome != "body":
            raise TimedOut(seconds)
        return result[0]

    async def close(self, endpoint: object) -> None:
        """Give the session up."""
        await self._endpoint.cancel()

    async def extend(self, endpoint: object, extension: object) -> object:
        """Performed by the handler inside."""
        return await self._endpoint.handler.extend(self._endpoint.session, extension)

"""Plays a role of a protocol by itself: payloads that are given or made up, choices by the dice, guards in a context.

For looking at a protocol at work. Knows no application; what it makes up is of the declared types and means nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from antiphon.choreography.ast import TypeName
from antiphon.choreography.draw import Happening
from antiphon.choreography.dsl.format import format_duration
from antiphon.choreography.merge import Step
from antiphon.choreography.payloads import PayloadShape, Scalar, ShapeField
from antiphon.facts import LocalViolation

from .endpoint import Clock, Endpoint
from .errors import ChoreoError, GuardFailed, InContext
from .role_plan import Way

# Small numbers and short words: they are read by people.
_NUMBER_MAX = 100
_STEPS_AT_ONCE = 64
_EMPTY: dict[str, object] = {"List": [], "Vec": [], "Set": [], "Map": {}, "Dict": {}, "Maybe": None, "Option": None}
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron")


class StepsUsedUp(LocalViolation):
    """More steps were taken than was asked for; not every protocol ends."""


def made_up(shape: PayloadShape, dice: Random) -> object:
    """A payload of a shape: None for an empty one, else its fields by name."""
    if not shape.fields:
        return None
    return {one.name: _value(one, dice) for one in shape.fields}


def _value(one: ShapeField, dice: Random) -> object:
    if one.scalar is not None:
        return _scalar(one.scalar, dice)
    name = one.type.path[-1] if isinstance(one.type, TypeName) else ""
    return _EMPTY.get(name, dice.choice(_WORDS))


def _scalar(scalar: Scalar, dice: Random) -> object:
    kind = scalar.kinds[0]
    if kind is bool:
        return dice.random() < 0.5
    if kind is int:
        return dice.randrange(_NUMBER_MAX)
    if kind is float:
        return dice.randrange(_NUMBER_MAX) / 4
    return dice.choice(_WORDS).encode() if kind is bytes else dice.choice(_WORDS)


@dataclass
class Player:
    """One role's end, played until it is done.

    ``payloads`` are given by label, the rest is made up; ``tell`` hears what this role sent and what its clocks did.
    Fields of messages, sent or received, are names of the context in which guards are evaluated. A branch whose guard
    does not hold is not taken.
    """

    endpoint: Endpoint[Any]
    dice: Random
    payloads: Mapping[str, object] = field(default_factory=dict)
    tell: Callable[[Happening], None] = lambda happening: None
    steps_max: int = 1_000
    steps: int = 0

    async def play(self) -> None:
        """Play to the end. Raises ``StepsUsedUp`` before one step too many, and ``InContext`` of what went wrong."""
        try:
            async with self.endpoint:
                await self._play_until(None)
        except ChoreoError as problem:
            raise InContext(f"role {self.endpoint.role}", problem) from problem

    async def _play_until(self, clock: Clock[Any] | None) -> None:
        """Until the role is done, or the timed part of a clock is over."""
        states = self.endpoint.plan.machine.states
        while not self.endpoint.is_done:
            state = states[self.endpoint.state]
            if clock is not None and clock.number not in state.timed_by:
                return
            if state.number in self.endpoint.plan.clocks:
                async with self.endpoint.timeout() as inner:
                    await self._play_until(inner)
                if inner.outcome != "body" and inner.is_mine:
                    after = format_duration(state.milliseconds or 0)
                    self.tell(Happening(self.endpoint.role, "", f"the clock of {after} fired"))
                continue
            await self._step()

    async def _step(self) -> None:
        if self.steps >= self.steps_max:
            raise StepsUsedUp(f"{self.endpoint.role} has taken {self.steps_max} steps; allow more, or it goes round")
        self.steps += 1
        if (
            self.steps % _STEPS_AT_ONCE == 0
        ):  # who only sends never waits, and would hold up an interrupt and all others
            await asyncio.sleep(0)
        steps = self.endpoint.steps
        sends = [step for step in steps if step.direction == "send"]
        if sends:
            await self._send_one_of(sends)
            return
        label, message = await self.endpoint.offer(steps[0].partner)
        self._learn(label, message)

    async def _send_one_of(self, sends: list[Step]) -> None:
        refusals: list[GuardFailed] = []
        for step in self.dice.sample(sends, len(sends)):
            way = self.endpoint.plan.send(self.endpoint.state, step.partner, step.label)
            try:
                await self._send(way)
            except GuardFailed as problem:
                refusals.append(problem)
            else:
                return
        raise refusals[0]

    async def _send(self, way: Way) -> None:
        step = way.step
        if way.shape is None:
            await self.endpoint.choose(step.partner, step.label)
            self.tell(Happening(self.endpoint.role, step.partner, step.label))
            return
        payload = way.read(self.payloads[step.label]) if step.label in self.payloads else made_up(way.shape, self.dice)
        await self.endpoint.send(step.partner, payload, label=step.label)
        self._learn(step.label, payload)
        self.tell(Happening(self.endpoint.role, step.partner, _shown(step.label, payload)))

    def _learn(self, label: str, message: object) -> None:
        if isinstance(message, Mapping):
            self.endpoint.context.update({str(key): value for key, value in message.items()})
        elif message is not None:
            self.endpoint.context[label] = message


def _shown(label: str, payload: object) -> str:
    if payload is None:
        return label
    if isinstance(payload, Mapping):
        return f"{label}({', '.join(f'{key}={value!r}' for key, value in payload.items())})"
    return f"{label}({payload!r})"

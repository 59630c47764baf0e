"""What runs behind generated stubs: one class for each state of each role, thin around the monitored endpoint.

A module beside `x.pyi` is one line, ``load_states(__name__, "x.tell")``; stub and behaviour come from the same plan of
names and the same machines.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from antiphon.choreography import CompiledProtocol, compile_choreography
from antiphon.choreography.ast import Message, RecordType, TypeAliasDeclaration, TypeExpression
from antiphon.choreography.fsm import State
from antiphon.choreography.payloads import payload_shape
from antiphon.choreography.stubs import StubPlan, plan_stubs
from antiphon.facts import LocalViolation

from ..resilience import Timing
from .codec import JSON, Codec
from .endpoint import Clock, Endpoint
from .errors import StateReused, TimedOut
from .guarding import Effects, GuardPort
from .handler import ChoreoHandler, Labelled
from .local_actions import OnLocal
from .role_plan import RolePlan

T = TypeVar("T")

_MACHINE_TIME = Timing()
_CONTAINERS: dict[str, type[Any]] = {"List": list, "Vec": list, "Set": list, "Map": dict, "Dict": dict}


def load_states(module: str, file: str, *, types: Mapping[str, type[object]] | None = None) -> None:
    """Fill a module with the classes that its stub declares, from the protocol *file* beside it.

    *types* are Python's classes for the protocol's opaque types, by their written names; without one a value of such a
    type is plain data, and its class a dict. Raises what reading and compiling raise.
    """
    here = sys.modules[module]
    if here.__file__ is None:
        raise LocalViolation(f"{module} is no file, so nothing lies beside it; use states_of instead")
    path = Path(here.__file__).with_name(file)
    protocol = compile_choreography(path.read_text(encoding="utf-8"), file=str(path))
    vars(here).update(states_of(protocol, types=types, module=module))


def states_of(
    protocol: CompiledProtocol, *, types: Mapping[str, type[object]] | None = None, module: str = __name__
) -> dict[str, type[Any]]:
    """The classes of a protocol's states, outcomes and messages, by the names that its stubs give them."""
    return _Loader(protocol, dict(types or {}), module).classes()


def begin(
    start: Callable[[object], T],
    handler: ChoreoHandler[Any],
    session: object = None,
    *,
    codec: Codec = JSON,
    guard: GuardPort | None = None,
    unguarded: bool = False,
    effects: Effects | None = None,
    context: Mapping[str, object] | None = None,
    on_local: OnLocal | None = None,
    timing: Timing = _MACHINE_TIME,
) -> T:
    """The first state of a role, over a handler: ``begin(Guest, handler)``. *timing* is what its clocks go by."""
    plan = getattr(start, "_plan", None)
    if not isinstance(plan, RolePlan):
        raise LocalViolation(f"{start!r} is no role's first state; take the class that is called as the role")
    endpoint = Endpoint(
        plan,
        handler,
        session,
        codec=codec,
        guard=guard,
        unguarded=unguarded,
        effects=effects,
        context=context,
        on_local=on_local,
    )
    first = start(endpoint)
    assert isinstance(first, StateObject), "whatever has a plan is one"
    first._session.timing = timing
    return first


@dataclass(slots=True, eq=False)
class _Session:
    """What the states of one session share: its endpoint, and the clocks that run with the times they fire at."""

    endpoint: Endpoint[Any]
    classes: Mapping[int, type[Any]]
    timing: Timing = _MACHINE_TIME
    clocks: list[tuple[Clock[Any], float | None]] = field(default_factory=list)

    def here(self) -> Any:
        """The object of the state the endpoint is in."""
        return self.classes[self.endpoint.state]._of(self)

    @property
    def is_to_send(self) -> bool:
        """Whether the role's next step is a send."""
        return self.endpoint.plan.machine.states[self.endpoint.state].kind == "send"

    async def within(self, work: Awaitable[T]) -> T:
        """Await an operation as long as every clock allows. Raises ``TimedOut`` when one fires, or is told to."""
        due_s = min((due for _, due in self.clocks if due is not None), default=None)
        left_s = None if due_s is None else max(0.0, due_s - self.timing.elapsed_s())
        try:
            async with asyncio.timeout(left_s) as limit:
                result = await work
                await self._leave_what_is_done()
        except TimeoutError as problem:
            if not limit.expired():
                raise
            fired = next(clock for clock, due in self.clocks if due == due_s)
            await self._end_those_inside(fired, problem)
            await fired.end_by_hand(has_fired=True)
            raise TimedOut(fired.seconds or 0.0) from problem
        except BaseException as problem:
            for clock, _ in reversed(tuple(self.clocks)):
                if await self._end_by(clock, problem) != "running":
                    raise TimedOut(clock.seconds or 0.0) from None
            raise
        return result

    async def _leave_what_is_done(self) -> None:
        """End the timed parts that the last step was the end of, once their owners have said how they ended."""
        running = self.endpoint.plan.machine.states[self.endpoint.state].timed_by
        for clock, due_s in reversed([one for one in self.clocks if one[0].number not in running]):
            self.clocks.remove((clock, due_s))
            if await clock.end_by_hand() != "body":
                raise TimedOut(clock.seconds or 0.0)

    async def _end_by(self, clock: Clock[Any], problem: BaseException) -> str:
        """End a clock if *problem* is its end."""
        if not clock.is_ended_by(problem):
            return "running"
        await self._end_those_inside(clock, problem)
        return await clock.end_by_hand(problem)

    async def cancel(self, clock: Clock[Any]) -> None:
        """The owner's way out."""
        await self._end_those_inside(clock, StateReused("a clock around it was cancelled"))
        await clock.cancel_by_hand()

    async def _end_those_inside(self, clock: Clock[Any], problem: BaseException) -> None:
        """Forget a clock and those inside it, which end with it."""
        place = next(number for number, (one, _) in enumerate(self.clocks) if one is clock)
        for inner, _ in reversed(self.clocks[place + 1 :]):
            await inner.end_by_hand(problem)
        del self.clocks[place:]


class StateObject:
    """One state of one session; good for one step. Its methods are those that the state has, and no others."""

    _plan: RolePlan
    _number: int
    _classes: Mapping[int, type[StateObject]]

    def __init__(self, endpoint: Endpoint[Any]) -> None:
        self._session = _Session(endpoint, self._classes)
        self._is_used = False

    @classmethod
    def _of(cls, session: _Session) -> StateObject:
        made = cls.__new__(cls)
        made._session = session
        made._is_used = False
        return made

    @property
    def endpoint(self) -> Endpoint[Any]:
        """The monitored endpoint below."""
        return self._session.endpoint

    def _check(self) -> None:
        if self._is_used or self.endpoint.state != self._number:
            name = type(self).__name__
            raise StateReused(f"{name} was used already; go on with what its method returned, a {self._now()}")

    def _now(self) -> str:
        return self._classes[self.endpoint.state].__name__

    async def _step(self, work: Callable[[], Awaitable[T]]) -> T:
        self._check()
        result = await self._session.within(work())
        self._is_used = True
        return result


class _Loader:
    def __init__(self, protocol: CompiledProtocol, types: dict[str, type[object]], module: str) -> None:
        aliases = {
            one.name: one.type for one in protocol.choreography.declarations if isinstance(one, TypeAliasDeclaration)
        }
        self._protocol = protocol
        self._aliases: dict[str, TypeExpression] = aliases
        self._types = types
        self._module = module
        self._names: StubPlan = plan_stubs(protocol.name, tuple(protocol.fsm.values()), aliases=aliases)

    def classes(self) -> dict[str, type[Any]]:
        """Everything by its name."""
        found: dict[str, type[Any]] = {
            python: self._types.get(written, type(python, (dict,), {"__module__": self._module}))
            for python, written in self._names.types.items()
        }
        found |= {python: self._message_class(python, message) for python, message in self._names.kinds.items()}
        for (_, _, label), python in self._names.outcomes.items():
            found[python] = make_dataclass(
                python, [("label", str, field(default=label)), ("msg", Any, None), ("next", Any, None)], frozen=True
            )
        for role, start in self._names.roles.items():
            states = self._states(role, found)
            found |= {one.__name__: one for one in states.values()}
            found[start] = states[0]
        return found

    def _message_class(self, python: str, message: Message) -> type[Any]:
        shape = payload_shape(message, self._aliases)
        fields = [(one.name, one.scalar.kinds[0] if one.scalar else self._type(one.type)) for one in shape.fields]
        return make_dataclass(python, fields, frozen=True, namespace={"__module__": self._module})

    def _type(self, written: TypeExpression) -> Any:
        if isinstance(written, RecordType):
            return dict
        name = ".".join(written.path)
        if name in self._types:
            return self._types[name]
        return _CONTAINERS.get(name, Any) if written.arguments else Any

    def _states(self, role: str, found: Mapping[str, type[Any]]) -> dict[int, type[StateObject]]:
        machine = self._protocol.fsm[role]
        classes: dict[str, set[type[Any]]] = {}
        for (whose, _, label), python in self._names.messages.items():
            if whose == role:
                classes.setdefault(label, set()).add(found[python])
        # A label that carries different things at different times is read as plain data first.
        labels = {label: kinds.pop() for label, kinds in classes.items() if len(kinds) == 1}
        plan = RolePlan.of(self._protocol, role, messages=labels)
        states: dict[int, type[StateObject]] = {}
        for state in machine.states:
            name = self._names.states[role, state.number]
            own = {
                "__doc__": f"State {state.number} of {role}.",
                "__module__": self._module,
                "_plan": plan,
                "_number": state.number,
                "_classes": states,
                **_methods(state, self._outcomes(role, state, found), self._sent(role, state, found)),
            }
            states[state.number] = type(name, (StateObject,), own)
        return states

    def _outcomes(self, role: str, state: State, found: Mapping[str, type[Any]]) -> dict[str, type[Any]]:
        names = self._names.outcomes
        keys = [(role, state.number, one.label) for one in state.transitions]
        return {key[2]: found[names[key]] for key in keys if key in names}

    def _sent(self, role: str, state: State, found: Mapping[str, type[Any]]) -> dict[type[Any], str]:
        names = self._names.messages
        keys = [(role, state.number, one.label) for one in state.transitions]
        return {found[names[key]]: key[2] for key in keys if key in names}


def _methods(
    state: State, outcomes: Mapping[str, type[Any]], sent: Mapping[type[Any], str]
) -> dict[str, Callable[..., Any]]:
    """The methods that a state has."""
    kinds = {label: kind for kind, label in sent.items()}
    match state.kind:
        case "send":

            async def send(self: StateObject, to: str, message: object) -> Any:
                label = sent.get(type(message), type(message).__name__)
                await self._step(partial(self.endpoint.send, to, Labelled(label, message), label=label))
                return self._session.here()

            async def choose(self: StateObject, to: str, label: str) -> Any:
                await self._step(partial(self.endpoint.choose, to, label))
                return self._session.here()

            return {"send": send, "choose": choose}
        case "recv" if outcomes:

            async def offer(self: StateObject, sender: str) -> Any:
                label, message = await self._step(partial(self.endpoint.offer, sender))
                kind = outcomes.get(label)
                # The first words of `on timeout` are no outcome of this state; a block of the endpoint hears them.
                assert kind is not None, "inside a timed part the clock's error was raised before"
                return kind(label, _as(kinds.get(label), message), self._session.here())

            return {"offer": offer}
        case "recv":

            async def recv(self: StateObject, sender: str) -> Any:
                message = await self._step(partial(self.endpoint.recv, sender))
                return _as(kinds.get(state.transitions[0].label), message), self._session.here()

            return {"recv": recv}
        case "timeout":
            return _timed_methods(state)
        case _:

            def close(self: StateObject) -> None:
                self._check()
                self._is_used = True

            return {"close": close}


def _as(kind: type[Any] | None, message: object) -> object:
    return kind(**message) if kind is not None and isinstance(message, dict) else message


async def _nothing() -> None:
    """No step: only what follows from where the role stands."""


def _timed_methods(state: State) -> dict[str, Callable[..., Any]]:
    """``begin`` starts the clock; when an operation of the body raised ``TimedOut``, ``timed_out`` and ``cancelled``
    are where to go on. The owner may call ``cancelled`` instead of another step of the body; another role that would
    send next may call either to wait for the owner's words."""

    async def begin_body(self: StateObject) -> Any:
        self._check()
        clock = self.endpoint.timeout()
        clock.begin_by_hand()
        seconds = clock.seconds
        due_s = None if seconds is None else self._session.timing.elapsed_s() + seconds
        self._session.clocks.append((clock, due_s))
        self._is_used = True
        # Where the role has no share in the body, what comes next is the owner's word.
        await self._session.within(_nothing())
        return self._session.here()

    async def go_on(self: StateObject, part: Any) -> Any:
        session = self._session
        mine = next((one for one, _ in session.clocks if one.number == state.number), None)
        if mine is not None and part == "cancel" and mine.seconds is not None:
            await session.cancel(mine)
        elif mine is not None and mine.seconds is None and session.is_to_send:
            # Whoever would send next may ask the owner's words first.
            with suppress(TimedOut):
                await session.within(mine.wait_ended())
        way = state.part(part)
        if way is None or session.endpoint.state != way.target:
            raise StateReused(f"the timed part did not end so; go on with a {self._now()}")
        return session.here()

    async def timed_out(self: StateObject) -> Any:
        return await go_on(self, "timeout")

    async def cancelled(self: StateObject) -> Any:
        return await go_on(self, "cancel")

    methods: dict[str, Callable[..., Any]] = {"begin": begin_body, "timed_out": timed_out}
    return methods | ({"cancelled": cancelled} if state.part("cancel") is not None else {})

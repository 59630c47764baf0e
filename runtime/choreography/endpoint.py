"""A role's end of a session: every operation is held against the role's machine before anything leaves.

The machine decides what is allowed, the handler carries it, and the endpoint moves on only after the handler succeeded.
What happens in a timed part is agreed with the roles in it (`timed_words.py`): nobody leaves one before its owner said
how it ended, and what its body still brings after it was given up is dropped.
Local actions of the protocol are performed between exchanges for whoever wants them told (``on_local``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, Self, TypeAlias, TypeVar, overload

from antiphon.choreography import CompiledProtocol
from antiphon.choreography.ast import Evidence, Predicate, Statement
from antiphon.choreography.compiled import end_with
from antiphon.choreography.dsl.format import format_guard
from antiphon.choreography.fsm import show_step
from antiphon.choreography.guards import GuardUndecided, holds, value_in
from antiphon.choreography.merge import Step
from antiphon.choreography.payloads import Strictness
from antiphon.facts import LocalViolation

from ..events import Events, SessionClaimed, SessionFailed, SessionRejected, SessionReleased
from .codec import JSON, Codec
from .errors import (
    ChannelClosed,
    EndpointBusy,
    EndpointClosed,
    FamilyError,
    GuardFailed,
    IncompleteProtocol,
    InsufficientResponses,
    InvalidChoice,
    InvalidRoleRange,
    MalformedMessage,
    MissingGuard,
    PayloadRefused,
    ProtocolViolation,
    RoleFamilyNotFound,
    TransportFailed,
    UnexpectedMessage,
)
from .guarding import Effects, GuardPort, GuardRequest
from .handler import ChoreoHandler, Labelled, Written, label_of, value_of
from .local_actions import OnLocal, perform
from .role_plan import Messages, RolePlan, Way
from .timed_words import PartEnding, TimedWord

# Numbers for events to tell sessions of one process apart by.
_SESSIONS = count()

M = TypeVar("M")
E = TypeVar("E")

# The steps that a message about a wrong one names.
HISTORY_MAX = 16

ClockOutcome: TypeAlias = Literal["running", "body", "timeout", "cancel"]
SessionOutcome: TypeAlias = Literal["new", "running", "done", "cancelled"]


class Offer(NamedTuple):
    """What a partner chose: its label, and the message or None for a label alone."""

    label: str
    message: object


class EndpointStatistics(NamedTuple):
    """What an endpoint did: messages and labels sent and received, and those of parts given up that came late."""

    sent: int
    received: int
    discarded: int


class _Held(NamedTuple):
    """What was taken from a handler and not yet handed on; ``is_read`` when the message is here, too."""

    label: str
    message: object = None
    is_read: bool = False


class _PartIsOver(BaseException):
    """Leaves the body of a timed part; caught by its block, whose own it is."""

    def __init__(self, clock: int, ending: PartEnding = "timeout", teller: str = "") -> None:
        self.clock = clock
        self.ending = ending
        # Who told so; "" when it is this role's own clock.
        self.teller = teller


class Endpoint(Generic[E]):
    """One role's end of one session.

        async with Endpoint.of(protocol, "Guest", handler, messages=[Ask, Free]) as guest:
            await guest.send("Hotel", Ask(nights=2))
            label, message = await guest.offer("Hotel")

    One operation at a time. What is refused (``ProtocolViolation``, ``PayloadRefused``, ``GuardFailed``,
    ``GuardDenied``, ``EndpointBusy``) leaves the wire and the state as they were; so does what fails on the way, and
    may be tried again. Leaving the block before the role is done raises ``IncompleteProtocol``; leaving it with an
    error closes the session, and the peers are told.

    A role whose messages are annotated needs a ``guard``, or ``unguarded=True``. With ``on_local`` its local actions
    are performed before the next exchange, by *effects* and in *context*; without, ``due`` says which there are.
    """

    def __init__(
        self,
        plan: RolePlan,
        handler: ChoreoHandler[E],
        session: E | None = None,
        *,
        codec: Codec = JSON,
        guard: GuardPort | None = None,
        unguarded: bool = False,
        effects: Effects | None = None,
        context: Mapping[str, object] | None = None,
        events: Events | None = None,
        on_local: OnLocal | None = None,
    ) -> None:
        if guard is None and plan.guarded_labels and not unguarded:
            raise MissingGuard(plan.role, plan.guarded_labels)
        self.plan = plan
        self._events = events
        self._number = next(_SESSIONS)
        self.role = plan.role
        self.handler = handler
        # Most handlers keep nothing for a session and take None for it; which do, their own types say.
        self.session: Any = session
        self.context: dict[str, object] = dict(context or {})
        self._codec = codec
        self._guard = guard
        self._effects = effects or {}
        self._on_local = on_local
        self._state = 0
        self._outcome: SessionOutcome = "new"
        self._busy = ""
        self._is_uncertain = False
        self._history: list[Step] = []
        self._due: tuple[Statement, ...] = plan.machine.initial_actions
        self._chosen: Way | None = None
        self._is_prepared = False
        self._held: dict[str, _Held] = {}
        self._clocks: list[Clock[E]] = []
        # By sender, and whether a message travels: what a part given up may still bring, and answers not waited for.
        self._stale: dict[str, dict[str, bool]] = {}
        self._owed: dict[str, deque[tuple[str, bool]]] = {}
        # Parts given up here whose sender did not say yet that it gave them up, too: by their depths, in order.
        self._unmarked: dict[str, list[int]] = {}
        self._sent = self._received = self._discarded = 0

    @classmethod
    def of(
        cls,
        protocol: CompiledProtocol,
        role: str,
        handler: ChoreoHandler[E],
        session: E | None = None,
        *,
        messages: Messages = (),
        strictness: Strictness = "structural",
        codec: Codec = JSON,
        guard: GuardPort | None = None,
        unguarded: bool = False,
        effects: Effects | None = None,
        context: Mapping[str, object] | None = None,
        events: Events | None = None,
        on_local: OnLocal | None = None,
    ) -> Endpoint[E]:
        """An endpoint for a role of a protocol; for many sessions make the ``RolePlan`` once.

        *events*, such as those of a journal's engine, are told who owns the session, until when, and of whoever else
        wanted to act in it. Raises ``MissingGuard`` when the role's messages are annotated and there is neither a guard
        nor *unguarded*, and ``LocalViolation`` for a handler that says it is another role's.
        """
        # Peers that play the instances of a family go by names of their own, which are no roles.
        whose = getattr(handler, "role", role)
        if whose != role and whose in protocol.fsm:
            raise LocalViolation(
                f"{role} needs a handler of its own, and got {whose}'s {type(handler).__name__}; make one for {role!r}"
            )
        plan = RolePlan.of(protocol, role, messages=messages, strictness=strictness)
        return cls(
            plan,
            handler,
            session,
            codec=codec,
            guard=guard,
            unguarded=unguarded,
            effects=effects,
            context=context,
            events=events,
            on_local=on_local,
        )

    # --- where it is

    @property
    def state(self) -> int:
        """The number of the machine's state."""
        return self._state

    @property
    def expected(self) -> tuple[str, ...]:
        """What the role may do next, in words."""
        return tuple(show_step(step) for step in self.plan.expected(self._state))

    @property
    def steps(self) -> tuple[Step, ...]:
        """What the role may do next, as data."""
        return self.plan.expected(self._state)

    @property
    def history(self) -> tuple[str, ...]:
        """The last steps, in words."""
        return tuple(show_step(step) for step in self._history[-HISTORY_MAX:])

    @property
    def due(self) -> tuple[Statement, ...]:
        """The protocol's local actions between the last exchange and the next that were not performed."""
        return self._due

    async def perform_due(self) -> None:
        """Perform what is due, as the next exchange would. Raises ``ActionFailed``; what could not be is still due."""
        while self._due:
            record = await perform(self._due[0], self.context, self._effects)
            self._due = self._due[1:]
            if record is not None and self._on_local is not None:
                await self._on_local(record)

    @property
    def is_done(self) -> bool:
        """Whether the role's part is over."""
        return self._state in self.plan.ends

    @property
    def outcome(self) -> SessionOutcome:
        """How the session stands."""
        return self._outcome

    def statistics(self) -> EndpointStatistics:
        """How much it did."""
        return EndpointStatistics(self._sent, self._received, self._discarded)

    # --- the session

    async def __aenter__(self) -> Self:
        if self._outcome != "new":
            raise EndpointClosed(f"{self.role}'s session is {self._outcome}; an endpoint is for one session")
        self._outcome = "running"
        self._tell_owner(SessionClaimed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is None and self.is_done:
            if self._on_local is not None:
                await self.perform_due()
            self._outcome = "done"
            self._end_guarding()
            self._tell_owner(SessionReleased)
            return
        await self.cancel()
        if problem is None:
            raise IncompleteProtocol(self.role, expected=self.expected, path=self.history)

    async def cancel(self) -> None:
        """Give the session up: its channels are closed and the peers told. Idempotent."""
        if self._outcome in ("new", "running"):
            if self._outcome == "running":
                self._tell_owner(SessionFailed, error_kind="cancelled")
            self._outcome = "cancelled"
            self._end_guarding()
            await self.handler.close(self.session)

    async def close(self) -> None:
        """Let the channels go, done or not: peers get what was sent, and then ``ChannelClosed``. Idempotent."""
        self._end_guarding()
        await self.handler.close(self.session)

    # --- exchanges

    async def send(
        self, to: str, message: object = None, *, label: str | None = None, context: Mapping[str, object] | None = None
    ) -> None:
        """Send a message under its class's name, or under *label*; where there are several labels, this is the choice.

        *context* is what the branch's guard is evaluated in, besides what is known already.
        """
        name = label if label is not None else _name_of(message)
        self._enter("send", name)
        try:
            way = self._send_way(to, name)
            if self._on_local is not None:
                await self.perform_due()
            if not way.is_message:
                raise ProtocolViolation(
                    self.role,
                    actual=f"send a message {name} to {to}",
                    expected=[f"choose the label {name}, which travels alone"],
                    path=self.history,
                )
            value = value_of(message) if type(message) is Labelled else message
            if not way.is_plain or type(value) is not way.kind:
                fault = self.plan.fault(way, value)
                if fault is not None:
                    raise PayloadRefused(name, fault)
            data = self._codec.encode(Labelled(name, value))
            carried = Labelled(name, value, Written(self._codec, data))
            is_asked = self._guard is not None or not way.is_plain
            request = await self._admitted(way, data, context) if is_asked else None
            try:
                await self.handler.send(self.session, to, carried)
            except asyncio.CancelledError:
                self._is_uncertain = True
                raise
            except ChannelClosed:
                await self._hear_why_gone(to)
                raise
            self._sent += 1
            self._move(way)
            if request is not None:
                await self._tell_guard(request)
        finally:
            self._busy = ""

    async def choose(self, to: str, label: str, context: Mapping[str, object] | None = None) -> None:
        """Tell a label that travels alone; or decide for a branch whose message, of that name, is sent next.

        The branch's guard is evaluated now.
        """
        self._enter("choose", label)
        try:
            if self._on_local is not None:
                await self.perform_due()
            try:
                way = self._send_way(to, label)
            except ProtocolViolation as problem:
                error = InvalidChoice if any(step.direction == "send" for step in self.steps) else ProtocolViolation
                actual = f"choose {label} for {to}"
                raise error(self.role, actual=actual, expected=self.expected, path=self.history) from problem
            await self._check_guard(way, context)
            if way.is_message:
                self._chosen = way
                return
            request = await self._admitted(way, b"", None)
            try:
                await self.handler.choose(self.session, to, label)
            except asyncio.CancelledError:
                self._is_uncertain = True
                raise
            except ChannelClosed:
                await self._hear_why_gone(to)
                raise
            self._sent += 1
            self._move(way)
            if request is not None:
                await self._tell_guard(request)
        finally:
            self._busy = ""

    @overload
    async def recv(self, sender: str, kind: type[M]) -> M: ...
    @overload
    async def recv(self, sender: str, kind: str | None = None) -> object: ...
    async def recv(self, sender: str, kind: type[object] | str | None = None) -> object:
        """The one message that may come from *sender* here; ``offer`` where there are several.

        *kind* may be left out; a class that is given must be the one registered, or the label's own, and a text the
        label.
        """
        self._enter("receive from", sender)
        try:
            if self._on_local is not None:
                await self.perform_due()
            ways = self._receive_ways(sender)
            way = next(iter(ways.values()))
            if len(ways) != 1 or not way.is_message:
                actual = f"receive exactly one message from {sender}"
                raise ProtocolViolation(self.role, actual=actual, expected=self.expected, path=self.history)
            self._check_kind(way, kind)
            if self._held or self._owed or self._unmarked or self._clocks:
                await self._next_way(sender, ways)
            message = await self._message(way, None if isinstance(kind, str) else kind)
            self._received += 1
            self._move(way)
            return message
        finally:
            self._busy = ""

    async def offer(self, sender: str) -> Offer:
        """What *sender* chose: the first label that arrives, and its message."""
        self._enter("take an offer from", sender)
        try:
            if self._on_local is not None:
                await self.perform_due()
            way = await self._next_way(sender, self._receive_ways(sender))
            if way.is_message:
                message = await self._message(way, None)
            else:
                message = None
                self._held.pop(way.step.partner, None)
            self._received += 1
            self._move(way)
            return Offer(way.step.label, message)
        finally:
            self._busy = ""

    # --- timed parts

    def timeout(self) -> Clock[E]:
        """The timed part that comes next, as a block: ``async with endpoint.timeout() as clock``.

        Every role in the part enters it so. The owner's clock runs as long as the block and cuts it off; another role's
        block ends when it learns that the clock fired, and, when its share is done, waits for the owner's word. Either
        way ``clock.outcome`` says how it ended, alike for all, and the endpoint stands where that leads.
        """
        state = self.plan.machine.states[self._state]
        if state.kind != "timeout":
            actual = "begin a timed part"
            raise ProtocolViolation(self.role, actual=actual, expected=self.expected, path=self.history)
        return Clock(self, self._state)

    # --- families

    async def broadcast(
        self, family: str, message: object = None, *, label: str | None = None, is_parallel: bool = False
    ) -> None:
        """Send one message to each instance of a family, in order of their indices, named as ``send`` names it.

        *is_parallel* starts all sends and waits for all; when one fails, the session can only be given up.
        """
        message = message if label is None else Labelled(label, message)
        ways = self._family_ways("send", family, label_of(message))
        if not is_parallel:
            for way in ways:
                await self.send(way.step.partner, message)
            return
        self._enter("broadcast", family)
        try:
            if self._on_local is not None:
                await self.perform_due()
            sends = [self._prepared(way, message) for way in ways]
            # Until all are through: some may have left and others not.
            self._is_uncertain = True
            with _alone():
                async with asyncio.TaskGroup() as group:
                    for way, carried, data in sends:
                        group.create_task(self._send_one(way, carried, data))
            self._is_uncertain = False
            for way in ways:
                self._sent += 1
                self._move(way)
        finally:
            self._busy = ""

    async def gather(
        self,
        family: str,
        kind: type[M] | None = None,
        *,
        min_responses: int | None = None,
        within_s: float | None = None,
    ) -> dict[str, M | object]:
        """One message of each instance of a family, by instance, in the order in which they arrived.

        With *min_responses*, return as soon as so many arrived; what the others still send is discarded when it comes.
        Fewer after *within_s* seconds, or as soon as too many are gone: ``InsufficientResponses``. What did arrive is
        kept for another try, whatever this one ended with.
        """
        ways = self._family_ways("recv", family, None)
        needed = len(ways) if min_responses is None else min_responses
        if not 0 < needed <= len(ways):
            raise InvalidRoleRange(f"min_responses is {needed}; {family} has {len(ways)} instances")
        self._enter("gather from", family)
        try:
            if self._on_local is not None:
                await self.perform_due()
            arrived: dict[str, object] = {}
            try:
                with _alone():
                    await self._arrivals(ways, kind, needed, within_s, arrived)
                if len(arrived) < needed:
                    raise InsufficientResponses(expected=needed, received=len(arrived))
            except BaseException as problem:
                for sender, message in arrived.items():
                    self._held[sender] = _Held(_way_of(ways, sender).step.label, message, True)
                if isinstance(problem, ChannelClosed) and min_responses is not None:
                    raise InsufficientResponses(expected=needed, received=len(arrived)) from problem
                raise
            for way in ways:
                if way.step.partner not in arrived:
                    self._owed.setdefault(way.step.partner, deque()).append((way.step.label, way.is_message))
                self._move(way)
            self._received += len(arrived)
            return arrived
        finally:
            self._busy = ""

    # --- sending

    def _enter(self, operation: str, what: str) -> None:
        if self._busy:
            if self._events is not None:
                owner, session = self._events.veil(self.role), f"endpoint-{self._number}"
                self._events.emit(SessionRejected(session_id=session, owner=owner, error_kind="busy"))
            raise EndpointBusy(self.role, wanted=f"{operation} {what}", running=self._busy)
        if self._outcome in ("done", "cancelled"):
            raise EndpointClosed(f"{self.role}'s session is {self._outcome}")
        if self._is_uncertain:
            raise EndpointClosed(f"{self.role} was cut off while sending; whether that left is not known: give it up")
        for clock in self._clocks:
            clock._check()
        if self._state in self.plan.clocks:
            raise ProtocolViolation(
                self.role,
                actual=f"{operation} {what} before the clock runs",
                expected=["`async with endpoint.timeout()` around the timed part"],
                path=self.history,
            )
        self._busy = operation

    def _tell_owner(self, family: type[SessionClaimed | SessionReleased | SessionFailed], **more: str) -> None:
        """Tell who owns the session, by a name of this run alone."""
        if self._events is not None and (more or self._events.is_heard):
            fragment, owner = self.plan.protocol, self._events.veil(self.role)
            about = {"session_id": self._session_id, "fragment_key": fragment, "owner": owner}
            self._events.emit(family(**about, **more))

    def _send_way(self, to: str, label: str) -> Way:
        try:
            way = self.plan.send(self._state, to, label)
        except ProtocolViolation as problem:
            raise ProtocolViolation(
                self.role, actual=problem.actual, expected=problem.expected, path=self.history
            ) from None
        if self._chosen is not None and self._chosen is not way:
            expected = [f"send the chosen {self._chosen.step.label} to {self._chosen.step.partner}"]
            raise ProtocolViolation(self.role, actual=show_step(way.step), expected=expected, path=self.history)
        return way

    async def _check_guard(self, way: Way, context: Mapping[str, object] | None) -> None:
        if context:
            self.context.update(context)
        guard = way.guard
        if guard is None or way is self._chosen:
            return
        label = way.step.label
        try:
            if isinstance(guard, Predicate):
                is_allowed = holds(guard.expression, self.context)
                if not is_allowed:
                    raise GuardFailed(label, f"its guard does not hold:{format_guard(guard)}")
            else:
                await self._find_evidence(label, guard)
        except GuardUndecided as problem:
            raise GuardFailed(label, str(problem)) from problem
        # Once for each choice: a send that is tried again does not ask for the evidence again.
        self._chosen = way

    async def _find_evidence(self, label: str, guard: Evidence) -> None:
        name = f"{guard.interface}.{guard.operation}"
        effect = self._effects.get(name)
        if effect is None:
            raise GuardFailed(label, f"the effect {name} is not registered; give it to the endpoint's effects")
        found = await effect(*(value_in(argument, self.context) for argument in guard.arguments))
        if found is None:
            raise GuardFailed(label, f"{name} found no evidence")
        self.context[guard.binder] = found

    async def _admitted(self, way: Way, data: bytes, context: Mapping[str, object] | None) -> GuardRequest | None:
        """Evaluate the branch's guard and ask the guard chain; what to tell it afterwards."""
        await self._check_guard(way, context)
        if self._on_local is not None and way.transition.before and not self._is_prepared:
            # What the role does after it chose and before it says so; once, also when the send is tried again.
            self._due, self._is_prepared = way.transition.before, True
            await self.perform_due()
        if self._guard is None:
            return None
        step, session = way.step, self._session_id
        request = GuardRequest(
            self.plan.protocol, self.role, step.partner, step.label, data, way.commands, session, self._sent
        )
        await self._guard.admit(request)
        return request

    @property
    def _session_id(self) -> str:
        return f"endpoint-{self._number}"

    def _end_guarding(self) -> None:
        if self._guard is not None:
            self._guard.ended(self._session_id)

    async def _tell_guard(self, request: GuardRequest) -> None:
        assert self._guard is not None, "it was asked before"
        await self._guard.sent(request)

    def _prepared(self, way: Way, message: object) -> tuple[Way, Labelled, bytes]:
        value = value_of(message)
        fault = self.plan.fault(way, value)
        if fault is not None:
            raise PayloadRefused(way.step.label, fault)
        data = self._codec.encode(message)
        return way, Labelled(way.step.label, value, Written(self._codec, data)), data

    async def _send_one(self, way: Way, carried: Labelled, data: bytes) -> None:
        request = await self._admitted(way, data, None)
        await self.handler.send(self.session, way.step.partner, carried)
        if request is not None:
            await self._tell_guard(request)

    async def _hear_why_gone(self, peer: str) -> None:
        """Raise ``_PartIsOver`` when a receiver is gone because the timed part was given up."""
        if self._foreign_clocks():
            await self._heard_any((peer,))

    # --- receiving

    def _receive_ways(self, sender: str) -> dict[str, Way]:
        ways = self.plan.receives(self._state, sender)
        if not ways:
            actual = f"receive from {sender}"
            raise ProtocolViolation(self.role, actual=actual, expected=self.expected, path=self.history)
        return ways

    def _check_kind(self, way: Way, kind: type[object] | str | None) -> None:
        known = way.kind
        if kind is None or kind is known or kind == way.step.label:
            return
        name = kind if isinstance(kind, str) else kind.__name__
        if known is not None or name != way.step.label:
            actual = f"receive a {name} from {way.step.partner}"
            raise ProtocolViolation(self.role, actual=actual, expected=self.expected, path=self.history)

    async def _next_way(self, sender: str, ways: Mapping[str, Way]) -> Way:
        """The way that the next label of *sender* takes, past what comes too late. Leaves the message where it is."""
        await self._heard_any((sender,))
        label = self._held[sender].label
        way = ways.get(label)
        if way is None:
            raise UnexpectedMessage(sender, actual=label, expected=list(ways))
        return way

    def _foreign_clocks(self) -> list[Clock[E]]:
        """The clocks of other roles that run here and may still fire."""
        return [clock for clock in self._clocks if not clock.is_mine and not clock.is_settled]

    async def _heard_any(self, wanted: Collection[str], *, about: Clock[E] | None = None) -> None:
        """Return when one of *wanted* has said something that is this role's; with *about*, when that clock is settled.

        Meanwhile everybody in a running timed part is listened to: any of them may tell that it was given up. Raises
        ``_PartIsOver`` when it was, ``ChannelClosed`` when *wanted* are gone and no clock's owner is left to end it.
        """
        gone: dict[str, ChannelClosed] = {}
        while True:
            concerned = dict.fromkeys((*wanted, *(peer for clock in self._foreign_clocks() for peer in clock.others)))
            for peer in [one for one in concerned if one in self._held]:
                await self._sort_out(peer, is_wanted=peer in wanted)
            if about is not None and about.is_settled:
                return
            heard = [peer for peer in wanted if peer in self._held]
            if heard and about is not None:
                # It says what comes after the part, and did not say that the part is over.
                actual = self._held[heard[0]].label
                raise UnexpectedMessage(heard[0], actual=actual, expected=["how the timed part ended"])
            if heard:
                return
            silent = [one for one in concerned if one not in self._held and one not in gone]
            if not silent or (gone.keys() >= set(wanted) and not self._is_anybody_left_to_fire(gone)):
                raise next(problem for peer, problem in gone.items() if peer in wanted)
            await self._listen(silent, wanted, gone)

    def _is_anybody_left_to_fire(self, gone: Collection[str]) -> bool:
        """Whether a running clock has an owner that may still speak: without one, all would wait for each other."""
        return any(clock.owner not in gone for clock in self._foreign_clocks())

    async def _listen(self, silent: list[str], wanted: Collection[str], gone: dict[str, ChannelClosed]) -> None:
        """Wait until one of several says something; it is held. Who closed is *gone*."""

        async def hear(peer: str) -> None:
            try:
                self._held[peer] = _Held(await self.handler.offer(self.session, peer))
            except ChannelClosed as problem:
                gone[peer] = problem
            except ProtocolViolation as problem:
                # A handler that keeps to the protocol itself lets nobody else be heard now.
                if peer in wanted:
                    raise
                gone[peer] = ChannelClosed(str(problem), "receive")

        if len(silent) == 1:
            await hear(silent[0])
            return
        with _alone():
            async with asyncio.TaskGroup() as group:
                listening = [group.create_task(hear(peer)) for peer in silent]
                await asyncio.wait(listening, return_when=asyncio.FIRST_COMPLETED)
                for task in listening:
                    task.cancel()

    async def _sort_out(self, peer: str, *, is_wanted: bool) -> None:
        """Take away what *peer* said if it is nobody's, or a word about a timed part."""
        held = self._held[peer]
        if held.is_read:
            return
        word = TimedWord.read(held.label)
        if word is not None:
            # Who is listened to by the way may be ahead, in a part that this role has not entered yet.
            if self._take_word(peer, word) or is_wanted:
                self._held.pop(peer, None)
            return
        owed = self._owed.get(peer)
        if owed and owed[0][0] == held.label:
            await self._discard(peer, *owed.popleft())
        elif peer in self._unmarked:
            is_message = self._stale.get(peer, {}).get(held.label)
            if is_message is None:
                # It cannot be of the part, so whoever says it was not in that: roles that merged branches know less.
                del self._unmarked[peer]
            else:
                await self._discard(peer, held.label, is_message)

    def _take_word(self, peer: str, word: TimedWord) -> bool:
        """Whether a word was about a part that this role is in, or gave up."""
        unmarked = self._unmarked.pop(peer, [])
        if unmarked and (word.ending == "in time" or word.depth > unmarked[0]):
            self._unmarked[peer] = unmarked  # about a part inside one that was given up
            return True
        if unmarked and word.depth == unmarked[0]:
            if unmarked[1:]:
                self._unmarked[peer] = unmarked[1:]
            return True
        # What it left is a part around those that were given up here, if there were any: of them it says no more.
        clock = next((one for one in self._clocks if one.depth == word.depth), None)
        if clock is None or clock.is_mine or clock.is_settled:
            return False
        if word.ending != "in time":
            del self._held[peer]
            raise _PartIsOver(clock.number, word.ending, peer)
        clock.is_settled = peer == clock.owner
        return True

    async def _discard(self, sender: str, label: str, is_message: bool) -> None:
        """Drop what nobody waits for any more. A label alone was taken by looking at it."""
        self._held.pop(sender, None)
        if is_message:
            await self.handler.recv(self.session, sender, None, label=label)
        self._discarded += 1

    async def _message(self, way: Way, kind: type[object] | None) -> object:
        sender, label = way.step.partner, way.step.label
        held = self._held.pop(sender, None)
        if held is not None and held.is_read:
            message = held.message
        else:
            message = await self.handler.recv(self.session, sender, way.kind or kind, label=label)
        if way.bytes_fields:
            message = way.read(message)
        if not way.is_plain:
            fault = self.plan.fault(way, message)
            if fault is not None:
                self._held[sender] = _Held(label, message, True)
                raise MalformedMessage(label, fault)
        return message

    async def _arrivals(
        self,
        ways: Collection[Way],
        kind: type[object] | None,
        needed: int,
        within_s: float | None,
        arrived: dict[str, object],
    ) -> None:
        """Fill *arrived* until it is enough or the time is over. Raises ``ChannelClosed`` when too many are gone."""
        if self._foreign_clocks():
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._arrive_one_by_one({way.step.partner: way for way in ways}, kind, needed, arrived)
            return
        is_decided = asyncio.Event()
        gone: list[ChannelClosed] = []

        async def wait_for(way: Way) -> None:
            sender = way.step.partner
            try:
                found = await self._next_way(sender, {way.step.label: way})
                arrived[sender] = await self._message(found, kind)
            except ChannelClosed as problem:
                gone.append(problem)
            if len(arrived) >= needed or len(ways) - len(gone) < needed:
                is_decided.set()

        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(wait_for(way)) for way in ways]
            try:
                async with asyncio.timeout(within_s) as limit:
                    await is_decided.wait()
            except TimeoutError:
                if not limit.expired():
                    raise
            finally:
                for task in waiting:
                    task.cancel()
        if len(ways) - len(gone) < needed:
            raise gone[0]

    async def _arrive_one_by_one(
        self, ways: dict[str, Way], kind: type[object] | None, needed: int, arrived: dict[str, object]
    ) -> None:
        """The same by one task: in a timed part each wait listens to all."""
        while len(arrived) < needed:
            await self._heard_any(ways)
            for sender in [peer for peer in ways if peer in self._held]:
                way = await self._next_way(sender, {ways[sender].step.label: ways[sender]})
                arrived[sender] = await self._message(way, kind)
                del ways[sender]

    # --- moving

    def _move(self, way: Way) -> None:
        self._state = way.target
        history = self._history
        history.append(way.step)
        if len(history) > 2 * HISTORY_MAX:
            # A list that is cut now and then is a fifth of a deque's size, and there is one in every session.
            del history[:-HISTORY_MAX]
        self._due = way.transition.actions
        self._chosen = None
        self._is_prepared = False

    async def _give_up(self, clock: Clock[E], ending: Literal["timeout", "cancel"], teller: str) -> None:
        """Leave a timed part's body for one of its other parts, and tell everybody in it."""
        part = self.plan.machine.states[clock.number].part(ending)
        assert part is not None, "nobody cancels what has no `on cancel`"
        for sender, labels in self.plan.labels_of_body(clock.number).items():
            self._stale.setdefault(sender, {}).update(labels)
        for peer in clock.others:
            unmarked = [depth for depth in self._unmarked.get(peer, ()) if depth <= clock.depth]
            if peer != teller:
                unmarked.append(clock.depth)
            self._unmarked[peer] = unmarked
            if not unmarked:
                del self._unmarked[peer]
        self._state = part.target
        self._due = part.actions
        self._chosen = None
        self._is_prepared = self._is_uncertain = False
        await self._tell(clock, ending)

    async def _tell(self, clock: Clock[E], ending: PartEnding) -> None:
        """Say how a part ended to everybody in it; whoever is gone or out of reach notices that anyway."""
        label = TimedWord(ending, clock.depth).label

        async def tell(peer: str) -> None:
            with suppress(ChannelClosed, TransportFailed):
                await self.handler.choose(self.session, peer, label)

        with _alone():
            async with asyncio.TaskGroup() as group:
                for peer in clock.others:
                    group.create_task(tell(peer))

    def _family_ways(self, direction: Literal["send", "recv"], family: str, label: str | None) -> list[Way]:
        """The exchanges with every instance of a family that come next, one after another, by index."""
        ways: list[Way] = []
        state = self._state
        seen: set[str] = set()
        while True:
            steps = [step for step in self.plan.expected(state) if _family_of(step.partner) == family]
            steps = [step for step in steps if step.direction == direction and label in (None, step.label)]
            if len(steps) != 1 or steps[0].partner in seen or (ways and steps[0].label != ways[0].step.label):
                break
            step = steps[0]
            label = step.label
            seen.add(step.partner)
            way = (
                self.plan.send(state, step.partner, step.label)
                if direction == "send"
                else self.plan.receives(state, step.partner)[step.label]
            )
            ways.append(way)
            state = way.target
        if not ways:
            verb = "send to" if direction == "send" else "receive from"
            partners = (one.partner for state in self.plan.machine.states for one in state.transitions)
            kind = FamilyError if family in map(_family_of, partners) else RoleFamilyNotFound
            raise kind(f"{self.role} may not {verb} a family {family} here; expected: {' or '.join(self.expected)}")
        return ways


class Clock(Generic[E]):
    """A timed part that runs; see ``Endpoint.timeout``."""

    def __init__(self, endpoint: Endpoint[E], number: int) -> None:
        self.number = number
        self._endpoint = endpoint
        self._state = endpoint.plan.machine.states[number]
        self._outcome: ClockOutcome = "running"
        self.owner = self._state.owner
        self.is_mine = self.owner == endpoint.role
        # How many clocks run around it, for every role in it alike; and who else is in it.
        self.depth = len(self._state.timed_by)
        self.others = tuple(one for one in self._state.participants if one != endpoint.role)
        # Whether the owner said that it will not fire any more.
        self.is_settled = False
        self._limit: asyncio.Timeout | None = None

    @property
    def outcome(self) -> ClockOutcome:
        """How the part ended: its body, or the part that follows when the clock fires or the owner cancels."""
        return self._outcome

    @property
    def has_fired(self) -> bool:
        """Whether the clock fired and `on timeout` comes next."""
        return self._outcome == "timeout"

    def cancel(self) -> None:
        """Leave the body for `on cancel`; the owner alone may, and the rest of the block is not run."""
        self._check_cancel()
        raise _PartIsOver(self.number, "cancel")

    async def cancel_by_hand(self) -> None:
        """The same for a part that was begun by hand."""
        self._check_cancel()
        await self._leave(_PartIsOver(self.number, "cancel"), has_fired=False)

    def _check_cancel(self) -> None:
        has_cancel = self._state.part("cancel") is not None
        if not self.is_mine or not has_cancel:
            expected = [f"that {self.owner if has_cancel else 'nobody'} does"]
            raise ProtocolViolation(self._endpoint.role, actual="cancel a timed part", expected=expected, path=())

    def begin_by_hand(self) -> None:
        """Enter the body without a timer: whoever calls this cuts the body off, and calls ``end_by_hand``."""
        self._enter()

    async def end_by_hand(self, problem: BaseException | None = None, *, has_fired: bool = False) -> ClockOutcome:
        """End a part that was begun by hand, as its block would: how it ended; running, when *problem* only left it."""
        await self._leave(problem, has_fired=has_fired)
        return self._outcome

    def is_ended_by(self, problem: BaseException) -> bool:
        """Whether an error that left the body is only this part's way of ending."""
        return isinstance(problem, _PartIsOver) and problem.clock == self.number

    async def wait_ended(self) -> None:
        """Hear how another role's part ended, before this role's share of it is done."""
        await self._endpoint._heard_any((self.owner,), about=self)

    @property
    def seconds(self) -> float | None:
        """How long the body may take; None when the clock is another role's."""
        return self._state.milliseconds / 1000 if self.is_mine else None

    async def __aenter__(self) -> Self:
        self._enter()
        if self.is_mine:
            self._limit = asyncio.timeout(self._state.milliseconds / 1000)
            await self._limit.__aenter__()
        return self

    def _enter(self) -> None:
        body = self._state.part("body")
        assert body is not None, "a timed part has a body"
        endpoint = self._endpoint
        if endpoint._state != self.number:
            actual = "begin a timed part a second time"
            raise ProtocolViolation(endpoint.role, actual=actual, expected=endpoint.expected, path=endpoint.history)
        endpoint._state = body.target
        endpoint._due = (*endpoint._due, *body.actions)
        endpoint._clocks.append(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return await self._leave(problem, has_fired=await self._stop(kind, problem, trace))

    async def _leave(self, problem: BaseException | None, *, has_fired: bool) -> bool:
        """End the part; whether *problem* was only its way of ending."""
        try:
            if has_fired:
                await self._end(_PartIsOver(self.number))
            elif problem is None:
                await self._finish()
            elif isinstance(problem, _PartIsOver) and problem.clock == self.number:
                await self._end(problem)
            else:
                return False
            return True
        finally:
            self._endpoint._clocks.remove(self)

    async def _finish(self) -> None:
        """The share of this role is done: say that it was in time, or hear whether it was."""
        endpoint = self._endpoint
        here = endpoint.plan.machine.states[endpoint._state]
        if self.number in here.timed_by and here.kind != "final":
            actual = "leave a timed part before its end"
            raise ProtocolViolation(endpoint.role, actual=actual, expected=endpoint.expected, path=endpoint.history)
        if self.is_mine:
            self._outcome = "body"
            await endpoint._tell(self, "in time")
            return
        try:
            if not self.is_settled:
                await endpoint._heard_any((self.owner,), about=self)
            self._outcome = "body"
        except _PartIsOver as over:
            if over.clock != self.number:
                raise
            await self._end(over)

    async def _stop(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Stop the clock; whether it had fired, which turns the cancellation it sent into an error of asyncio's."""
        if self._limit is None:
            return False
        try:
            await self._limit.__aexit__(kind, problem, trace)
        except TimeoutError:
            if not self._limit.expired():
                raise
            return True
        return False

    def _check(self) -> None:
        """At zero milliseconds, and from the moment it fired, nothing of the body happens any more."""
        if self.is_mine and (self._state.milliseconds == 0 or (self._limit is not None and self._limit.expired())):
            raise _PartIsOver(self.number)

    async def _end(self, over: _PartIsOver) -> None:
        ending: Literal["timeout", "cancel"] = "cancel" if over.ending == "cancel" else "timeout"
        self._outcome = ending
        await self._endpoint._give_up(self, ending, over.teller)


@contextmanager
def _alone() -> Iterator[None]:
    """Of the errors of several tasks the first: the others were only told to stop, or say the same."""
    try:
        yield
    except BaseExceptionGroup as problems:
        raise problems.exceptions[0] from None


def _family_of(role: str) -> str:
    return role.partition("[")[0] if role.endswith("]") else ""


def _way_of(ways: Iterable[Way], sender: str) -> Way:
    return next(way for way in ways if way.step.partner == sender)


def _name_of(message: object) -> str:
    """The label of a message whose sender named none; plain data has no class that says it."""
    return "plain data without label=…" if isinstance(message, Mapping) else label_of(message)


end_with(Endpoint.of)

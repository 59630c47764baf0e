"""What happens inside, told in families of events with required fields, so that logs alone rebuild who owned what.

Tells ids, names and kinds; never a payload, token, key, budget or plain identity (``Events.veil`` hashes those). Where
events go is a sink: structured records of ``logging``, a list, or OpenTelemetry. Every family is emitted somewhere. Two
that others have are missing, since nothing here could emit them: sessions are not handed from owner to owner, and there
are no concurrency profiles to select.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from typing import ClassVar, Protocol, runtime_checkable

from antiphon.facts import AntiphonError, LocalViolation

from .entropy import system_random

LOGGER = "antiphon.events"
RING_MAX = 1_024

# A library does not write to the screen of a program that configured no logging.
logging.getLogger("antiphon").addHandler(logging.NullHandler())

_correlation: ContextVar[str] = ContextVar("antiphon_correlation", default="")


def correlate(correlation_id: str) -> Callable[[], None]:
    """Let events of this task and its children carry *correlation_id*; the result undoes it.

    What a guard does for a request carries it along: its decision, its charges, and its envelope until that has left.
    """
    token = _correlation.set(correlation_id)
    return lambda: _correlation.reset(token)


def correlated() -> str:
    """What events that are made here and now carry; nothing, if nobody said."""
    return _correlation.get()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEvent:
    """Something that happened; every field of a family is required, and a missing one is a ``TypeError``.

    ``correlation_id`` is that of the task which made it (``correlate``), or nothing.
    """

    name: ClassVar[str] = "runtime.event"
    correlation_id: str = field(default_factory=correlated)

    def data(self) -> dict[str, str]:
        """The fields, and the correlation id if there is one."""
        found = {each.name: str(getattr(self, each.name)) for each in fields(self)}
        if not self.correlation_id:
            del found["correlation_id"]
        return {"event": self.name, **found}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStarted(RuntimeEvent):
    """A journal's engine is at work."""

    name: ClassVar[str] = "runtime.started"
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownStage(RuntimeEvent):
    """A step of shutting down, in order."""

    name: ClassVar[str] = "runtime.shutdown"
    service: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMoved(RuntimeEvent):
    """A service went from one phase to another."""

    name: ClassVar[str] = "runtime.service.lifecycle.transition"
    service: str
    from_phase: str
    to_phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpawned(RuntimeEvent):
    """A task began."""

    name: ClassVar[str] = "runtime.task.spawned"
    service: str
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnded(RuntimeEvent):
    """A task is over: ``completed``, ``failed`` or ``aborted``."""

    name: ClassVar[str] = "runtime.task.ended"
    service: str
    task: str
    outcome: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClaimed(RuntimeEvent):
    """A session got its owner."""

    name: ClassVar[str] = "runtime.session.owner.assigned"
    session_id: str
    fragment_key: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReleased(RuntimeEvent):
    """A session has no owner any more."""

    name: ClassVar[str] = "runtime.session.owner.released"
    session_id: str
    fragment_key: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFailed(RuntimeEvent):
    """A session ended otherwise than both sides wanted; it has no owner any more."""

    name: ClassVar[str] = "runtime.session.failed"
    session_id: str
    fragment_key: str
    owner: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRejected(RuntimeEvent):
    """Somebody who does not own a session wanted to act in it."""

    name: ClassVar[str] = "runtime.session.owner.rejected"
    session_id: str
    owner: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressAccepted(RuntimeEvent):
    """What a peer sent passed every check."""

    name: ClassVar[str] = "runtime.session.ingress.received"
    session_id: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressTurnedAway(RuntimeEvent):
    """What a peer sent was turned away."""

    name: ClassVar[str] = "runtime.session.ingress.rejected"
    session_id: str
    source: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressDropped(RuntimeEvent):
    """What a peer sent was here already."""

    name: ClassVar[str] = "runtime.session.ingress.dropped"
    session_id: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRouted(RuntimeEvent):
    """An effect crossed a bundle's boundary, or was refused there."""

    name: ClassVar[str] = "runtime.link.boundary"
    session_id: str
    fragment_key: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariantViolated(RuntimeEvent):
    """Something that cannot be was seen."""

    name: ClassVar[str] = "runtime.invariant.violated"
    service: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardDecided(RuntimeEvent):
    """The chain spoke about a request; ``error_kind`` is empty when it was allowed."""

    name: ClassVar[str] = "guard.decided"
    service: str
    stage: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalCommitted(RuntimeEvent):
    """A frame is durable; *origin* is ``own`` or ``peer``."""

    name: ClassVar[str] = "journal.committed"
    service: str
    origin: str
    fact_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRefused(RuntimeEvent):
    """The disk refused a frame; nothing of it is acknowledged."""

    name: ClassVar[str] = "journal.refused"
    service: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowCharged(RuntimeEvent):
    """A charge is durable, for whom and where; how much stays in the account."""

    name: ClassVar[str] = "guard.flow.charged"
    service: str
    context: str
    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageNoted(RuntimeEvent):
    """What a class of observers learns is accounted for."""

    name: ClassVar[str] = "guard.leakage.recorded"
    service: str
    context: str
    peer: str
    observer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeQueued(RuntimeEvent):
    """An envelope is durable in the outbox."""

    name: ClassVar[str] = "guard.envelope.queued"
    service: str
    peer: str
    envelope_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSent(RuntimeEvent):
    """An envelope has left."""

    name: ClassVar[str] = "guard.envelope.sent"
    service: str
    peer: str
    envelope_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeDelayed(RuntimeEvent):
    """An envelope could not leave, and is tried again."""

    name: ClassVar[str] = "guard.envelope.delayed"
    service: str
    peer: str
    envelope_id: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerMoved(RuntimeEvent):
    """A circuit breaker went from one state to another: ``closed``, ``open`` or ``half-open``.

    ``error_kind`` is empty unless it opened.
    """

    name: ClassVar[str] = "runtime.breaker.transition"
    operation: str
    peer: str
    from_state: str
    to_state: str
    error_kind: str


FAMILIES: tuple[type[RuntimeEvent], ...] = (
    RuntimeStarted,
    ShutdownStage,
    ServiceMoved,
    TaskSpawned,
    TaskEnded,
    SessionClaimed,
    SessionReleased,
    SessionFailed,
    SessionRejected,
    IngressAccepted,
    IngressTurnedAway,
    IngressDropped,
    LinkRouted,
    InvariantViolated,
    GuardDecided,
    FlowCharged,
    LeakageNoted,
    EnvelopeQueued,
    EnvelopeSent,
    EnvelopeDelayed,
    JournalCommitted,
    JournalRefused,
    BreakerMoved,
)


class EventSink(Protocol):
    """Where events go."""

    def emit(self, event: RuntimeEvent, /) -> None:
        """Take one. Never raises for what it cannot deliver."""
        ...


class LoggingSink:
    """Structured records of ``logging``: the message is one line of JSON, the fields are in ``record.antiphon``."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger(LOGGER)

    def emit(self, event: RuntimeEvent) -> None:
        """Log it: refusals and violations as warnings."""
        data = event.data()
        level = logging.WARNING if data.get("error_kind") else logging.INFO
        if self._logger.isEnabledFor(level):
            self._logger.log(level, json.dumps(data, sort_keys=True), extra={"antiphon": data})


class RingSink:
    """The last events, for tests and inspectors."""

    def __init__(self, *, size: int = RING_MAX) -> None:
        self._events: deque[RuntimeEvent] = deque(maxlen=size)

    @property
    def events(self) -> tuple[RuntimeEvent, ...]:
        """What is held, oldest first."""
        return tuple(self._events)

    def emit(self, event: RuntimeEvent) -> None:
        """Hold it."""
        self._events.append(event)


class Tracer(Protocol):
    """What is used of an OpenTelemetry tracer."""

    def start_as_current_span(self, name: str, /, *, attributes: dict[str, str]) -> AbstractContextManager[object]:
        """Begin a span."""
        ...


class TelemetrySink:
    """OpenTelemetry: each event is a span without duration. Needs the extra ``[otel]``, or a tracer of yours."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        if tracer is None:
            try:
                from opentelemetry import trace
            except ImportError as problem:
                raise LocalViolation("OpenTelemetry is not installed; install antiphon[otel]") from problem
            tracer = trace.get_tracer("antiphon")
        assert tracer is not None, "given, or just made"
        self._tracer = tracer

    def emit(self, event: RuntimeEvent) -> None:
        """Export it."""
        data = event.data()
        with self._tracer.start_as_current_span(data.pop("event"), attributes=dict(data)):
            pass


class Veil:
    """Hashes identities, so that logs can be joined within a run and tell nobody's name. *salt* is random, per run."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt[:64]

    def of(self, identity: str) -> str:
        """A name for *identity* that only this run can make."""
        return blake2b(identity.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=8).hexdigest()


class Events:
    """Where a journal tells what happens: into the log (``antiphon.events``) as its level allows, and to every sink.

    Who would emit on a busy path asks ``is_heard`` first, so that nothing is made that nobody takes.
    """

    def __init__(self, *sinks: EventSink) -> None:
        self._logger = logging.getLogger(LOGGER)
        self._log = LoggingSink(self._logger)
        self._sinks = tuple(sinks)
        self._veil: Veil | None = None

    @property
    def is_heard(self) -> bool:
        """Whether somebody takes events that tell of no trouble."""
        return bool(self._sinks) or self._logger.isEnabledFor(logging.INFO)

    def add(self, sink: EventSink) -> Callable[[], None]:
        """Tell *sink* from now on; the result ends that."""
        self._sinks = (*self._sinks, sink)

        def remove() -> None:
            self._sinks = tuple(each for each in self._sinks if each is not sink)

        return remove

    def emit(self, event: RuntimeEvent) -> None:
        """Tell everybody."""
        self._log.emit(event)
        for sink in self._sinks:
            try:
                sink.emit(event)
            except Exception as problem:  # a sink ends here: what is told of must not break because of who listens
                self._sinks = tuple(each for each in self._sinks if each is not sink)
                told = f"{type(sink).__name__} raised {type(problem).__name__}; it is told nothing more"
                self._logger.error("a sink of events: %s", told)

    def veil(self, identity: str) -> str:
        """A name for *identity* that is the same throughout this run, and tells nobody's."""
        if self._veil is None:
            self._veil = Veil(system_random(32))
        return self._veil.of(identity)


@runtime_checkable
class Observed(Protocol):
    """Something that tells what happens to it."""

    @property
    def events(self) -> Events:
        """Where it tells."""
        ...


def events_of(thing: object) -> Events:
    """Where *thing* tells what happens; into the log alone when it says nothing about that."""
    return thing.events if isinstance(thing, Observed) else _LOGGED


_LOGGED = Events()


class ServiceStory:
    """A service's phases, and the tasks that it owns, as events."""

    def __init__(self, events: Events, service: str, *, phase: str = "new") -> None:
        self._events = events
        self._service = service
        self.phase = phase

    def move(self, phase: str) -> None:
        """Tell that the service is in another phase."""
        if phase != self.phase:
            before, self.phase = self.phase, phase
            if self._events.is_heard:
                self._events.emit(ServiceMoved(service=self._service, from_phase=before, to_phase=phase))

    def follow(self, task: asyncio.Task[None], name: str) -> None:
        """Tell that a task began, and how it will have ended."""
        if self._events.is_heard:
            self._events.emit(TaskSpawned(service=self._service, task=name))
        task.add_done_callback(lambda done: self._tell_end(done, name))

    def _tell_end(self, task: asyncio.Task[None], name: str) -> None:
        problem = None if task.cancelled() else task.exception()
        outcome = "aborted" if task.cancelled() else "completed" if problem is None else "failed"
        if problem is not None or self._events.is_heard:
            kind = "" if problem is None else kind_of(problem)
            self._events.emit(TaskEnded(service=self._service, task=name, outcome=outcome, error_kind=kind))


def kind_of(problem: BaseException) -> str:
    """The stable name of an error, which tells nothing that its text tells."""
    kind = getattr(problem, "kind", "") if isinstance(problem, AntiphonError) else ""
    return kind if isinstance(kind, str) and kind else type(problem).__name__


def owners_of(events: Iterable[RuntimeEvent]) -> dict[str, str]:
    """Who owns each session after these events: rebuilt from the log alone."""
    owners: dict[str, str] = {}
    for event in events:
        match event:
            case SessionClaimed(session_id=session, owner=owner):
                owners[session] = owner
            case SessionReleased(session_id=session) | SessionFailed(session_id=session):
                owners.pop(session, None)
            case _:
                pass
    return owners


def phases_of(events: Iterable[RuntimeEvent]) -> dict[str, str]:
    """The phase of each service after these events."""
    return {event.service: event.to_phase for event in events if isinstance(event, ServiceMoved)}

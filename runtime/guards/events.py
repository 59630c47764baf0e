"""What happens inside, told in families of events with required fields, so that logs alone rebuild who owned what.

Tells ids, names and kinds; never a payload, token, key or plain identity (``Veil`` hashes those).
Where events go is a sink: structured records of ``logging``, a list, or OpenTelemetry.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import ClassVar, Protocol

from antiphon.facts import LocalViolation

LOGGER = "antiphon.events"
RING_MAX = 1_024

_correlation: ContextVar[str] = ContextVar("antiphon_correlation", default="")


def correlate(correlation_id: str) -> Callable[[], None]:
    """Let events of this task and its children carry *correlation_id*; the result undoes it."""
    token = _correlation.set(correlation_id)
    return lambda: _correlation.reset(token)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEvent:
    """Something that happened; every field of a family is required, and a missing one is a ``TypeError``."""

    name: ClassVar[str] = "runtime.event"

    def data(self) -> dict[str, str]:
        """The fields, and the correlation id if there is one."""
        found = {each.name: str(getattr(self, each.name)) for each in fields(self)}
        correlation = _correlation.get()
        return {"event": self.name, **found, **({"correlation_id": correlation} if correlation else {})}


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
class SessionRejected(RuntimeEvent):
    """Somebody who does not own a session wanted to act in it."""

    name: ClassVar[str] = "runtime.session.owner.rejected"
    session_id: str
    owner: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressAccepted(RuntimeEvent):
    """An envelope passed every check."""

    name: ClassVar[str] = "runtime.session.ingress.received"
    session_id: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressRejectedEvent(RuntimeEvent):
    """An envelope was turned away, or dropped as a repeat."""

    name: ClassVar[str] = "ingress.rejected"
    session_id: str
    source: str
    error_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationMoved(RuntimeEvent):
    """A delegation: ``start``, ``commit``, ``rollback`` or ``reject``."""

    name: ClassVar[str] = "runtime.session.owner.transferred"
    session_id: str
    fragment_key: str
    from_owner: str
    to_owner: str
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRouted(RuntimeEvent):
    """An effect crossed a bundle's boundary, or was refused there."""

    name: ClassVar[str] = "runtime.link.boundary"
    session_id: str
    fragment_key: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSelected(RuntimeEvent):
    """A concurrency profile: selected, or fallen back to."""

    name: ClassVar[str] = "runtime.vm.concurrency_profile.selected"
    session_id: str
    profile: str
    error_kind: str


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


FAMILIES: tuple[type[RuntimeEvent], ...] = (
    RuntimeStarted,
    ShutdownStage,
    ServiceMoved,
    TaskSpawned,
    TaskEnded,
    SessionClaimed,
    SessionReleased,
    SessionRejected,
    IngressAccepted,
    IngressRejectedEvent,
    DelegationMoved,
    LinkRouted,
    ProfileSelected,
    InvariantViolated,
    GuardDecided,
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


def owners_of(events: Iterable[RuntimeEvent]) -> dict[str, str]:
    """Who owns each session after these events: rebuilt from the log alone."""
    owners: dict[str, str] = {}
    for event in events:
        match event:
            case SessionClaimed(session_id=session, owner=owner):
                owners[session] = owner
            case SessionReleased(session_id=session):
                owners.pop(session, None)
            case DelegationMoved(session_id=session, to_owner=owner, step="commit"):
                owners[session] = owner
            case _:
                pass
    return owners


def phases_of(events: Iterable[RuntimeEvent]) -> dict[str, str]:
    """The phase of each service after these events."""
    return {event.service: event.to_phase for event in events if isinstance(event, ServiceMoved)}

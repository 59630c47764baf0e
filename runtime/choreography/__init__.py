"""Choreographies that run: endpoints that follow a role's machine, handlers that carry its messages, programs as data.

Decides nothing about what is allowed: the machines in ``choreography/`` do. Opens no socket: transports do.
"""

from .callbacks import CallbackNeeded, callbacks_of, callbacks_stub, drive
from .codec import JSON, Codec, JsonCodec
from .endpoint import Clock, Endpoint, Offer
from .errors import (
    ActionFailed,
    CannotProduce,
    ChannelClosed,
    ChannelSendFailed,
    ChoreoError,
    EmptyRoleFamily,
    EndpointBusy,
    EndpointClosed,
    FamilyError,
    GuardDenied,
    GuardFailed,
    IncompleteProtocol,
    InContext,
    InsufficientResponses,
    InvalidChoice,
    InvalidProfile,
    InvalidRoleRange,
    MalformedMessage,
    MissingCallback,
    MissingGuard,
    NoPeerChannel,
    PayloadRefused,
    ProtocolViolation,
    RoleFamilyNotFound,
    SerializationFailed,
    StateReused,
    TimedOut,
    TransportFailed,
    UnexpectedMessage,
    UnknownExtension,
    UnknownRole,
)
from .guarding import Effects, GuardPort, GuardRequest
from .handler import ChoreoHandler, HandlerProfile, Labelled, label_of, value_of
from .handlers.memory import InMemoryHandler, MemoryHub
from .handlers.recording import NoOpHandler, RecordedEvent, RecordingHandler
from .handlers.telltale import Session, SessionMetadata, TelltaleEndpoint, TelltaleHandler
from .local_actions import LocalRecord, OnLocal, Receipt
from .middleware.around import Around
from .middleware.extensions import Performers, WithExtensions
from .middleware.fault_injection import FaultInjection
from .middleware.instances import WithInstances, map_instances
from .middleware.metrics import Metrics, MetricsSnapshot
from .middleware.retry import Retry
from .middleware.trace import Trace
from .profiles import require_profile, validate_profile
from .program_runner import Monitored, ProgramResult, SessionSeat, StepFailed, run_program
from .role_plan import Messages, RolePlan
from .states import begin, load_states, states_of

__all__ = [
    "WithInstances",
    "map_instances",
    "callbacks_stub",
    "ActionFailed",
    "MissingGuard",
    "LocalRecord",
    "OnLocal",
    "Receipt",
    "CallbackNeeded",
    "callbacks_of",
    "drive",
    "begin",
    "load_states",
    "states_of",
    "Monitored",
    "ProgramResult",
    "SessionSeat",
    "StepFailed",
    "run_program",
    "NoOpHandler",
    "RecordedEvent",
    "RecordingHandler",
    "Session",
    "SessionMetadata",
    "TelltaleEndpoint",
    "TelltaleHandler",
    "Around",
    "Performers",
    "WithExtensions",
    "FaultInjection",
    "Metrics",
    "MetricsSnapshot",
    "Retry",
    "Trace",
    "Clock",
    "Endpoint",
    "Offer",
    "Effects",
    "GuardPort",
    "GuardRequest",
    "Messages",
    "RolePlan",
    "require_profile",
    "validate_profile",
    "JSON",
    "CannotProduce",
    "ChannelClosed",
    "ChannelSendFailed",
    "ChoreoError",
    "ChoreoHandler",
    "Codec",
    "EndpointBusy",
    "EndpointClosed",
    "EmptyRoleFamily",
    "FamilyError",
    "InvalidRoleRange",
    "RoleFamilyNotFound",
    "GuardDenied",
    "GuardFailed",
    "HandlerProfile",
    "InContext",
    "InMemoryHandler",
    "IncompleteProtocol",
    "InsufficientResponses",
    "InvalidChoice",
    "InvalidProfile",
    "JsonCodec",
    "Labelled",
    "MalformedMessage",
    "MemoryHub",
    "MissingCallback",
    "NoPeerChannel",
    "PayloadRefused",
    "ProtocolViolation",
    "SerializationFailed",
    "StateReused",
    "TimedOut",
    "TransportFailed",
    "UnexpectedMessage",
    "UnknownExtension",
    "UnknownRole",
    "label_of",
    "value_of",
]

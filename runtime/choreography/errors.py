"""What can go wrong while a protocol runs, sorted by whose move it is next.

``LocalViolation`` among the bases: this side asked for something that is not allowed, and nothing was sent.
``RemoteViolation``: a peer did. Neither: the world between them failed, and ``TransportFailed`` may be tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from antiphon.choreography import Violation
from antiphon.facts import AntiphonError, LocalViolation, RemoteViolation


class ChoreoError(AntiphonError):
    """Root of what goes wrong while a protocol runs."""

    def root_cause(self) -> BaseException:
        """The error below all ``InContext`` around it."""
        return self


class InContext(ChoreoError):
    """Another error, and where it happened: a protocol and phase, a role, a message. ``__cause__`` is the other one."""

    def __init__(self, context: str, cause: BaseException) -> None:
        self.context = context
        self.cause = cause
        self.__cause__ = cause
        super().__init__(f"{context}: {cause}")

    def root_cause(self) -> BaseException:
        """The first cause."""
        return self.cause.root_cause() if isinstance(self.cause, ChoreoError) else self.cause


# --- this side's --------------------------------------------------------------------------------------------------


class ProtocolViolation(ChoreoError, LocalViolation):
    """What was asked for is not the protocol's next step; nothing was sent and the state is as it was."""

    def __init__(self, role: str, *, actual: str, expected: Sequence[str], path: Sequence[str] = ()) -> None:
        self.role = role
        self.actual = actual
        self.expected = tuple(expected)
        self.path = tuple(path)
        allowed = " or ".join(expected) or "nothing: the protocol is over for it"
        after = f" after {', '.join(path)}" if path else ""
        super().__init__(f"{role} may not {actual}{after}; expected: {allowed}")

    @classmethod
    def of(cls, violation: Violation, path: Sequence[str] = ()) -> ProtocolViolation:
        """What a state machine says, raised."""
        from antiphon.choreography.fsm import show_step

        expected = [show_step(step) for step in violation.expected]
        return cls(violation.role, actual=show_step(violation.action), expected=expected, path=path)


class InvalidChoice(ProtocolViolation):
    """A label that the choice does not have here."""


class PayloadRefused(ChoreoError, LocalViolation):
    """A payload of ours is not what the protocol says travels under its label; nothing was sent."""

    def __init__(self, label: str, reason: str) -> None:
        self.label = label
        self.reason = reason
        super().__init__(f"this is no {label} to send: {reason}")


class GuardFailed(ChoreoError, LocalViolation):
    """A branch's guard does not hold, or cannot be evaluated; nothing was sent."""

    def __init__(self, label: str, reason: str) -> None:
        self.label = label
        self.reason = reason
        super().__init__(f"{label} may not be chosen: {reason}")


class ActionFailed(ChoreoError, LocalViolation):
    """A local action that is due could not be performed; nothing was sent, and it is still due."""

    def __init__(self, action: str, reason: str) -> None:
        self.action = action
        self.reason = reason
        super().__init__(f"the local action {action} cannot be performed: {reason}")


class MissingGuard(ChoreoError, LocalViolation):
    """A role's messages are annotated, and nobody guards them."""

    def __init__(self, role: str, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        super().__init__(
            f"{role} sends {', '.join(labels)} under annotations that a guard must check; give the endpoint guard=…, "
            "or say unguarded=True"
        )


class GuardDenied(ChoreoError, LocalViolation):
    """The guard chain refused a send; nothing was sent, nothing charged."""


class EndpointBusy(ChoreoError, LocalViolation):
    """One operation at a time: another task uses this endpoint."""

    def __init__(self, role: str, *, wanted: str, running: str) -> None:
        self.role = role
        super().__init__(f"{role} is busy with {running!r} and may not {wanted!r} meanwhile; await one, then the other")


class EndpointClosed(ChoreoError, LocalViolation):
    """The session of this endpoint is over; open another."""


class IncompleteProtocol(ChoreoError, LocalViolation):
    """A role was left before its part was over."""

    def __init__(self, role: str, *, expected: Sequence[str], path: Sequence[str] = ()) -> None:
        self.role = role
        self.expected = tuple(expected)
        self.path = tuple(path)
        super().__init__(f"{role} is not done; next comes: {' or '.join(expected)}")


class StateReused(ChoreoError, LocalViolation):
    """A state object was used a second time; go on with the one that its method returned."""


class UnknownRole(ChoreoError, LocalViolation):
    """No such role here."""

    def __init__(self, role: str, known: Iterable[str]) -> None:
        self.role = role
        super().__init__(f"there is no role {role!r}; there are {', '.join(sorted(known)) or 'none'}")


class NoPeerChannel(ChoreoError, LocalViolation):
    """No channel to this peer was registered."""

    def __init__(self, peer: str, known: Iterable[str]) -> None:
        self.peer = peer
        super().__init__(f"no channel to {peer!r} is registered; there are {', '.join(sorted(known)) or 'none'}")


class SerializationFailed(ChoreoError, LocalViolation):
    """A message of ours cannot be written; nothing was sent."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        self.reason = reason
        super().__init__(f"{kind} cannot be written: {reason}")


class UnknownExtension(ChoreoError, LocalViolation):
    """Nothing here knows this extension effect, and what is unknown is not passed over."""

    def __init__(self, extension: object) -> None:
        self.extension = extension
        super().__init__(f"nothing handles {type(extension).__name__}; register it with WithExtensions")


class FamilyError(ChoreoError, LocalViolation):
    """A family of roles cannot be spoken to or mapped as asked, now or (the kinds below) at all."""


class RoleFamilyNotFound(FamilyError):
    """This role has to do with no such family."""


class EmptyRoleFamily(FamilyError):
    """A family without a single instance."""


class InvalidRoleRange(FamilyError):
    """Instances, or so many of them, that a family does not have."""


class MissingCallback(ChoreoError, LocalViolation):
    """A class of callbacks lacks methods that its role may need."""

    def __init__(self, role: str, missing: Sequence[str]) -> None:
        self.missing = tuple(missing)
        super().__init__(f"{role}'s callbacks lack {', '.join(missing)}")


class InvalidProfile(ChoreoError, LocalViolation):
    """A handler says things of itself that cannot both be so."""


# --- the peer's ---------------------------------------------------------------------------------------------------


class UnexpectedMessage(ChoreoError, RemoteViolation):
    """A peer said what the protocol does not allow here; it was not taken, and the state is as it was."""

    def __init__(self, sender: str, *, actual: str, expected: Sequence[str]) -> None:
        self.sender = sender
        self.actual = actual
        self.expected = tuple(expected)
        super().__init__(f"{sender} sent {actual}; expected: {' or '.join(expected) or 'nothing'}")


class MalformedMessage(ChoreoError, RemoteViolation):
    """What a peer sent under a label is not what travels there; it was not taken, and the state is as it was."""

    def __init__(self, label: str, reason: str) -> None:
        self.label = label
        self.reason = reason
        super().__init__(f"what arrived is no {label}: {reason}")


# --- the world's --------------------------------------------------------------------------------------------------


class TransportFailed(ChoreoError):
    """The way to a peer failed for now; trying again may work."""


class CannotProduce(TransportFailed):
    """This handler has nothing to receive from; it only looks."""


class ChannelSendFailed(TransportFailed):
    """A message did not go out."""

    def __init__(self, *, sender: str, receiver: str, reason: str) -> None:
        self.sender = sender
        self.receiver = receiver
        self.reason = reason
        super().__init__(f"{sender} could not send to {receiver}: {reason}")


class ChannelClosed(ChoreoError):
    """The session's other end let go; what it had sent before was received."""

    def __init__(self, channel: str, operation: str) -> None:
        self.channel = channel
        self.operation = operation
        super().__init__(f"{channel} is closed; nothing to {operation}")


class TimedOut(ChoreoError):
    """A timed part took longer than it may, in seconds."""

    def __init__(self, duration_s: float) -> None:
        self.duration_s = duration_s
        super().__init__(f"not done within {duration_s:g} s")


class InsufficientResponses(ChoreoError):
    """Fewer instances of a family answered in time than are needed."""

    def __init__(self, *, expected: int, received: int) -> None:
        self.expected = expected
        self.received = received
        super().__init__(f"{received} of the {expected} responses that are needed arrived")

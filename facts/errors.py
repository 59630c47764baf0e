"""What can be wrong with a fact, sorted by whose move it is next.

No fact is of the wrong type: each is decoded by the kind that it names itself, so there is no mismatch of types here.

Knows nothing of files, peers or signals; those rooms derive their own errors from the three roots here.
"""

from __future__ import annotations


class AntiphonError(Exception):
    """Root of every error this library raises on purpose."""


class LocalViolation(AntiphonError, ValueError):
    """The caller asked for something that is not allowed; the message says what is."""


class RemoteViolation(AntiphonError):
    """A peer or a file broke a promise; nothing of what it sent was applied."""


class FactError(LocalViolation):
    """A fact or a fact type that cannot be accepted as it is."""


class RegistrationError(FactError):
    """A fact type is declared in a way that could not be stored or read back."""


class DuplicateFactType(RegistrationError):
    """Two different types claim one kind, or two kinds claim one SQL name."""


class SchemaDrift(RegistrationError):
    """A type changed its fields without a new version number."""


class Serialization(FactError):
    """A fact has no canonical bytes, or bytes are not those of a fact of their kind; what is raised says which."""


class UnencodableFact(Serialization):
    """A value has no canonical form: a float, an integer beyond 64 bits, a lone surrogate, too deep a nesting."""


class PayloadTooLarge(FactError):
    """The encoded payload exceeds the cap of 64 KiB."""


class VersionMismatch(FactError):
    """A payload's version lies outside the range that its registered type can read."""

    def __init__(self, kind: str, *, actual: int, min_supported: int, expected: int, model: str = "…") -> None:
        self.kind = kind
        self.actual = actual
        self.min_supported = min_supported
        self.expected = expected
        remedy = (
            "a newer program wrote it, so bring this one up to date"
            if actual > expected
            else f"say how it becomes the next one, with @upcast({model}, from_={actual}, to={actual + 1})"
        )
        super().__init__(
            f"{kind} version {actual} is outside the supported range {min_supported}..{expected}; {remedy}"
        )


class InvalidPayload(Serialization):
    """A payload's bytes are not canonical, or do not fit the schema of its kind."""


class InvalidEnvelope(RemoteViolation):
    """What a fact travels or is kept in is not in its one canonical form; nothing of it was used."""


class InvalidLine(InvalidEnvelope):
    """A line is not a fact in the form that FORMAT prescribes."""

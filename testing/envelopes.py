"""Messages with their envelope for tests of protocols: which protocol, from whom, to whom, the how-manieth, and what.

Seals and sends nothing: `runtime/guards/ingress.py` has the envelopes that travel.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from antiphon.facts import LocalViolation


class MessageEnvelope(NamedTuple):
    """A message and all that a test wants to know of its way; ``sequence`` counts from 0."""

    protocol: str
    sender: str
    receiver: str
    sequence: int
    payload: bytes


class MissingField(LocalViolation):
    """An envelope was to be built without one of its fields, the one called ``field``."""

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__(f"the envelope has no {field}; give it with .{field}(…) before build()")


@dataclass(frozen=True, slots=True)
class EnvelopeBuilder:
    """Takes the fields in any order and makes the envelope of them; a value, so that one stem serves many envelopes.

    >>> stem = EnvelopeBuilder().protocol("Talk").sender("Ada").receiver("Bob")
    >>> stem.sequence(0).payload(b"hello").build()
    MessageEnvelope(protocol='Talk', sender='Ada', receiver='Bob', sequence=0, payload=b'hello')
    >>> stem.sequence(1).build()
    Traceback (most recent call last):
    antiphon.testing.envelopes.MissingField: the envelope has no payload; give it with .payload(…) before build()
    """

    _protocol: str | None = None
    _sender: str | None = None
    _receiver: str | None = None
    _sequence: int | None = None
    _payload: bytes | None = None

    def protocol(self, name: str) -> EnvelopeBuilder:
        """Of this protocol."""
        return replace(self, _protocol=name)

    def sender(self, role: str) -> EnvelopeBuilder:
        """From this role."""
        return replace(self, _sender=role)

    def receiver(self, role: str) -> EnvelopeBuilder:
        """To this role."""
        return replace(self, _receiver=role)

    def sequence(self, number: int) -> EnvelopeBuilder:
        """The message of this number. Raises LocalViolation below 0."""
        if number < 0:
            raise LocalViolation(f"sequence={number}; expected 0 or more")
        return replace(self, _sequence=number)

    def payload(self, data: bytes) -> EnvelopeBuilder:
        """With these bytes; none at all (``b""``) is a payload too."""
        return replace(self, _payload=data)

    def build(self) -> MessageEnvelope:
        """The envelope. Raises MissingField for the first field, in the envelope's order, that nobody gave."""
        for each in fields(self):
            if getattr(self, each.name) is None:
                raise MissingField(each.name.removeprefix("_"))
        return MessageEnvelope(**{each.name.removeprefix("_"): getattr(self, each.name) for each in fields(self)})

"""What the two processes of the demo say to each other: orders in, reports out, one JSON object a line.

Carries no facts: those go from replica to replica over TCP. Times are readings of the monotonic clock that all
processes of a machine share, in seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from .cues import Cue, Player
from .pane import Pane

# A pane or the performance of a chorus fits many times over; more is no line of ours.
LINE_BYTES_MAX = 8 * 1024 * 1024


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Introduce(_Line):
    """Order: this is whom you play with."""

    type: Literal["introduce"] = "introduce"
    peer_id: str
    peer_name: str


class Meet(_Line):
    """Order: link to the replica at this address."""

    type: Literal["meet"] = "meet"
    address: str


class Part(_Line):
    """Order: close the link."""

    type: Literal["part"] = "part"


class Perform(_Line):
    """Order: do these, one after the other or, with ``line_s``, in a chorus with so many seconds between two."""

    type: Literal["perform"] = "perform"
    number: int
    cues: tuple[Cue, ...]
    line_s: float | None = None


class Tell(_Line):
    """Order: say how you stand."""

    type: Literal["tell"] = "tell"


class Leave(_Line):
    """Order: the play is over."""

    type: Literal["leave"] = "leave"


class Hello(_Line):
    """Report: who plays, in which process, and what its clock says."""

    type: Literal["hello"] = "hello"
    player: Player
    authority: str
    pid: int
    clock_s: float


class Act(NamedTuple):
    """One commit: when it was called, when it was durable, and by what the other side will see it."""

    started_s: float
    durable_s: float
    signs: tuple[str, ...]


class Performed(_Line):
    """Report: an order is done."""

    type: Literal["performed"] = "performed"
    number: int
    acts: tuple[Act, ...]


class Seen(_Line):
    """Report: a signal showed these first at this time."""

    type: Literal["seen"] = "seen"
    at_s: float
    signs: tuple[str, ...]


class Linked(_Line):
    """Report: the link is up, or closed."""

    type: Literal["linked"] = "linked"
    is_linked: bool


class Pulse(_Line):
    """Report: something became durable or visible; this is the fingerprint since then."""

    type: Literal["pulse"] = "pulse"
    fingerprint: str
    facts: int


class Standing(_Line):
    """Report: how the replica stands; ``conversation`` is a digest of what its screen shows to everybody alike."""

    type: Literal["standing"] = "standing"
    facts: int
    windows: int
    fingerprint: str
    conversation: str


class Shown(_Line):
    """Report: what the screen should show."""

    type: Literal["shown"] = "shown"
    pane: Pane


Order = Introduce | Meet | Part | Perform | Tell | Leave
Report = Hello | Performed | Seen | Linked | Pulse | Standing | Shown

_ORDERS: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="type")])
_REPORTS: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="type")])


def write_line(message: Order | Report) -> bytes:
    """One line, with its end."""
    return message.model_dump_json().encode() + b"\n"


def read_order(line: bytes) -> Order:
    """An order from its line; raises pydantic's ``ValidationError``.

    >>> read_order(write_line(Part()))
    Part(type='part')
    """
    return _ORDERS.validate_json(line)


def read_report(line: bytes) -> Report:
    """A report from its line; raises pydantic's ``ValidationError``."""
    return _REPORTS.validate_json(line)

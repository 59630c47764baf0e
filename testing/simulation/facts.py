"""What the simulated authors say, and the view that shows it: plain facts, dated ones, ones of another context, and
ones that no view shows."""

from __future__ import annotations

from antiphon.facts import Fact
from antiphon.views import view


class Said(Fact, kind="sim.said", version=1):
    """A word, at the time of its chain's clock."""

    text: str


class Dated(Fact, kind="sim.dated", version=1, time="at_ms"):
    """A word with a time of its own, often the same as another's, and often late."""

    text: str
    at_ms: int


class Roomed(Fact, kind="sim.roomed", version=1, context="room"):
    """A word in a namespace of its own."""

    text: str
    room: str


class Hushed(Fact, kind="sim.hushed", version=1):
    """A word that no view shows and nobody asks for, so that any replica may collapse it."""

    text: str


HUSHED_KIND = Hushed.fact_type.kind
SIMULATED_TYPES: tuple[type[Fact], ...] = (Said, Dated, Roomed, Hushed)


@view(Said, Dated, Roomed, initial=(), name="sim.lines", version=1)
def lines(state: tuple[str, ...], fact: Said | Dated | Roomed) -> tuple[str, ...]:
    """Every word, in stamp order."""
    return (*state, fact.text)


@view(Said, Dated, Roomed, initial=(), name="sim.late_lines")
def late_lines(state: tuple[str, ...], fact: Said | Dated | Roomed) -> tuple[str, ...]:
    """The same, for a view that somebody wakes in the middle of things."""
    return (*state, fact.text)

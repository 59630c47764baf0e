"""What the views that ship have in common: the one question whether a fact's actor signed it, and what they count.

The protocol that the scheduler asks of a view is ``antiphon.reactive.View``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from antiphon.facts import Fact, FactRecord, Stamp

V = TypeVar("V")

ActorOf = Callable[[Fact], str]
Register = tuple[Stamp, V]
"""A value with the stamp of the fact that wrote it: the last writer wins."""


class FoldStatistics(NamedTuple):
    """The insides of a view, counted in facts as they came (a fact that comes twice counts twice).

    ``wrong_actor_count``: the actor named is not the signer. ``foreign_count``: about somebody else's affairs.
    ``void_count``: rightly signed and kept, but now without effect, because its author lacks the right to it.
    ``whole_count`` and ``packed_count``: messages that the chat view holds with their words, and without.
    """

    applied_count: int
    wrong_actor_count: int
    foreign_count: int
    void_count: int
    whole_count: int = 0
    packed_count: int = 0


def is_signed_by(actor: str, record: FactRecord) -> bool:
    """Whether *actor* signed; a chain whose opening fact is not known speaks for nobody."""
    return bool(actor) and actor == record.chain.authority


def newer(current: Register[V] | None, stamp: Stamp, value: V) -> Register[V]:
    """The later of two writes."""
    return current if current is not None and stamp <= current[0] else (stamp, value)


def latest(current: Stamp | None, stamp: Stamp) -> Stamp:
    """The later of two stamps."""
    return stamp if current is None or stamp > current else current


def earliest(current: Stamp | None, stamp: Stamp) -> Stamp:
    """The earlier of two stamps."""
    return stamp if current is None or stamp < current else current


def is_after(stamp: Stamp | None, limit: Stamp | None) -> bool:
    """Whether there is a stamp, and it lies behind the limit, if there is one."""
    return stamp is not None and (limit is None or stamp > limit)

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
    """Whether there is a stamp, and it lies behind the limit, if there is one.

    At one time and clock reading what ends weighs more than what begins, whatever the ids are.

    >>> is_after((5, 1, b"z"), (5, 1, b"a")), is_after((5, 2, b""), (5, 1, b"")), is_after((5, 1, b""), None)
    (False, True, True)
    """
    return stamp is not None and (limit is None or stamp[:2] > limit[:2])


# 64 bits of an authority: as much as nobody finds keys for.
_OWNER_LENGTH = 16


def owned_id(authority: str, rest: str) -> str:
    """An id that nobody but *authority* can give to something: it ends as the authority begins.

    >>> owned_id("0f" * 16, "ab" * 16)
    'abababababababab0f0f0f0f0f0f0f0f'
    """
    return rest[:-_OWNER_LENGTH] + authority[:_OWNER_LENGTH]


def claim(given_id: str, authority: str, stamp: Stamp) -> tuple[bool, Stamp]:
    """How good a claim to an id is; the lowest counts: that of whom it is named after, and among equals the earliest.

    Anybody may say that they said something earlier; nobody can be named in an id that was given before.
    """
    return (not (authority and given_id.endswith(authority[:_OWNER_LENGTH])), stamp)

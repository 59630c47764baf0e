"""Temporal scopes and the ladder of finality: what a statement covers, and how sure one can be of it.

Reaches no finality itself: a configuration says how much each scope demands, and whoever commits asks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from .errors import LocalViolation

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)?")
# Deeper paths than this are lists in disguise.
SCOPE_DEPTH_MAX = 16

FinalityLevel = Literal["local", "replicated", "checkpointed", "consensus", "anchored"]
_LEVELS: tuple[FinalityLevel, ...] = ("local", "replicated", "checkpointed", "consensus", "anchored")


class BelowMinimum(LocalViolation):
    """A statement asks for less finality than its scope demands."""


@dataclass(frozen=True, slots=True)
class ScopePath:
    """A slash path of named or ``kind:id`` segments; the empty one covers everything.

    >>> home = ScopePath.parse("authority:ada/devices")
    >>> str(home), ScopePath.parse("authority:ada").contains(home), home.contains(ScopePath())
    ('authority:ada/devices', True, False)
    """

    segments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = next((segment for segment in self.segments if not _SEGMENT.fullmatch(segment)), None)
        if wrong is not None or len(self.segments) > SCOPE_DEPTH_MAX:
            what = f"the segment {wrong!r}" if wrong is not None else f"{len(self.segments)} segments"
            raise LocalViolation(
                f"a scope path with {what}; expected at most {SCOPE_DEPTH_MAX} segments such as home or kind:id"
            )

    @classmethod
    def parse(cls, text: str) -> ScopePath:
        """Read ``a/kind:b``; raises ``LocalViolation`` for an empty or odd segment."""
        return cls(tuple(text.split("/"))) if text else cls()

    def child(self, segment: str) -> ScopePath:
        """The scope one level below."""
        return ScopePath((*self.segments, segment))

    @property
    def parent(self) -> ScopePath | None:
        """The scope one level above; None at the top."""
        return ScopePath(self.segments[:-1]) if self.segments else None

    def contains(self, other: ScopePath) -> bool:
        """Whether *other* is this scope or lies below it."""
        return other.segments[: len(self.segments)] == self.segments

    def __str__(self) -> str:
        return "/".join(self.segments)


@dataclass(frozen=True, slots=True)
class Finality:
    """One rung of the ladder local < replicated(n) < checkpointed < consensus < anchored.

    ``replica_count`` tells two replicated ones apart; ``evidence`` names the consensus or the anchor and does not
    order.

    >>> Finality.replicated(2) < Finality.replicated(3) < Finality("checkpointed")
    True
    """

    level: FinalityLevel = "local"
    replica_count: int = 0
    evidence: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.level not in _LEVELS:
            raise LocalViolation(f"finality {self.level!r}; expected one of {', '.join(_LEVELS)}")
        if (self.level == "replicated") != (self.replica_count > 0):
            raise LocalViolation(
                f"finality {self.level} with {self.replica_count} replicas; only replicated counts them"
            )

    @classmethod
    def replicated(cls, count: int) -> Finality:
        """Held by *count* replicas, from 1."""
        return cls("replicated", count)

    def __lt__(self, other: Finality) -> bool:
        return self._rank < other._rank

    def __le__(self, other: Finality) -> bool:
        return self._rank <= other._rank

    @property
    def _rank(self) -> tuple[int, int]:
        return (_LEVELS.index(self.level), self.replica_count)


@dataclass(frozen=True, slots=True)
class ScopeFinality:
    """What one scope demands: the default for a statement that asks for nothing, the least it may ask for.

    ``content_minimum`` demands more of single kinds; with ``cascade`` scopes below inherit all of it unless they say
    something themselves.
    """

    default: Finality = Finality()
    minimum: Finality = Finality()
    cascade: bool = True
    content_minimum: Mapping[str, Finality] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.default < self.minimum:
            raise LocalViolation(f"the default {self.default.level} is below the minimum {self.minimum.level}")
        object.__setattr__(self, "content_minimum", MappingProxyType(dict(self.content_minimum)))


_NO_DEMANDS = ScopeFinality()


@dataclass(frozen=True, slots=True)
class FinalityConfig:
    """What each scope demands; the nearest scope above counts.

    >>> strict = ScopeFinality(default=Finality("consensus"), minimum=Finality("checkpointed"))
    >>> config = FinalityConfig({ScopePath.parse("home"): strict})
    >>> config.require(ScopePath.parse("home/general"), None).level
    'consensus'
    """

    scopes: Mapping[ScopePath, ScopeFinality] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scopes", MappingProxyType(dict(self.scopes)))

    def demands_of(self, scope: ScopePath) -> ScopeFinality:
        """What counts in *scope*: its own demands, else those of the nearest scope above that cascade."""
        own = self.scopes.get(scope)
        above = scope.parent
        while own is None and above is not None:
            found = self.scopes.get(above)
            own = found if found is not None and found.cascade else None
            above = above.parent
        return own or _NO_DEMANDS

    def require(self, scope: ScopePath, requested: Finality | None, *, kind: str | None = None) -> Finality:
        """The finality that a statement in *scope* gets; ``BelowMinimum`` when it asks for too little."""
        demands = self.demands_of(scope)
        minimum = demands.minimum
        if kind is not None and kind in demands.content_minimum:
            minimum = max(minimum, demands.content_minimum[kind], key=lambda each: each._rank)
        if requested is None:
            return max(demands.default, minimum, key=lambda each: each._rank)
        if requested < minimum:
            raise BelowMinimum(
                f"{str(scope) or 'the top scope'} demands at least {minimum.level}; {requested.level} was asked for"
            )
        return requested

"""Who may ask a query: what it demands, what somebody was granted, and the one place where both meet.

Reads no token and knows no person: a token is whatever answers `grants` (capability tokens plug in there). Everything
is denied unless it was granted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .errors import CallRefused, ReactiveError


class QueryDenied(ReactiveError, PermissionError):
    """The query was not run: a capability that it demands was not granted. `missing` names them."""

    def __init__(self, query_id: str, missing: Iterable[Capability]) -> None:
        self.query_id = query_id
        self.missing = tuple(missing)
        wanted = ", ".join(map(str, self.missing)) or "at least one capability, and it names none"
        super().__init__(
            f"query {query_id} was not run: it needs {wanted}, which was not granted; "
            "grant it in the handler's capabilities, or ask with a token that carries it"
        )


class Capability(NamedTuple):
    """The right to read something: a name such as `read:messages`, and what it is limited to, if anything.

    A grant without a limit covers every limit; a grant with one covers that one only.

    >>> Capability("read:messages").covers(Capability("read:messages", "lobby"))
    True
    >>> Capability("read:messages", "lobby").covers(Capability("read:messages"))
    False
    """

    name: str
    limit: str | None = None

    def covers(self, demanded: Capability) -> bool:
        """Whether a grant of this satisfies a demand for that."""
        return self.name == demanded.name and self.limit in (None, demanded.limit)

    def __str__(self) -> str:
        return self.name if self.limit is None else f"{self.name} for {self.limit!r}"


@dataclass(frozen=True, slots=True)
class Protected:
    """All of these capabilities are needed. With none at all the query is refused: nothing was ever granted for it."""

    demands: tuple[Capability, ...]


@dataclass(frozen=True, slots=True)
class Public:
    """Anybody may ask; somebody answers for that, says for what, and why. All three are demanded."""

    owner: str
    scope: str
    justification: str

    def __post_init__(self) -> None:
        empty = [name for name in ("owner", "scope", "justification") if not getattr(self, name).strip()]
        if empty:
            raise CallRefused(
                "Public",
                seen=f"nothing for {', '.join(empty)}",
                expected="who answers for a public query, for what, and why",
                attempt="say all three, or use Protected",
            )


AccessPolicy = Protected | Public
"""What a query demands of whoever asks it."""


class Grants(Protocol):
    """Whatever can say that a capability was granted: a set of them, or a verified token."""

    def grants(self, demanded: Capability, /) -> bool:
        """Whether `demanded` was granted."""


@dataclass(frozen=True, slots=True)
class CapabilitySet:
    """Capabilities that were granted, as they stand.

    >>> CapabilitySet.of("read:contacts").grants(Capability("read:contacts"))
    True
    """

    held: frozenset[Capability] = frozenset()

    @classmethod
    def of(cls, *held: Capability | str) -> CapabilitySet:
        """Grants by name, or with limits."""
        return cls(frozenset(Capability(each) if isinstance(each, str) else each for each in held))

    def grants(self, demanded: Capability, /) -> bool:
        """Whether one of them covers the demand; O(held)."""
        return any(each.covers(demanded) for each in self.held)


@dataclass(frozen=True, slots=True)
class Everything:
    """The owner's own process, reading its own journal."""

    def grants(self, demanded: Capability, /) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, slots=True)
class Meet:
    """What all of several grants allow: a token narrows what its holder had, and never widens it."""

    parts: tuple[Grants, ...]

    def grants(self, demanded: Capability, /) -> bool:
        """Whether every part grants it; nothing is granted by no part."""
        return bool(self.parts) and all(part.grants(demanded) for part in self.parts)


ALLOW_ALL = Everything()
"""Every query may be asked."""

DENY_ALL = CapabilitySet()
"""Only public queries may be asked: what holds until somebody grants something."""


def check_access(query_id: str, policy: AccessPolicy, grants: Grants) -> None:
    """Raise `QueryDenied` unless `grants` satisfies `policy`; called before a query runs."""
    if isinstance(policy, Public):
        return
    missing = [each for each in policy.demands if not grants.grants(each)]
    if missing or not policy.demands:
        raise QueryDenied(query_id, missing)

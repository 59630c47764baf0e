"""Which facts a query cares about: a kind and, if it likes, values that named fields must have.

Knows no fact: a fact is here a kind and a mapping of fields. Finding the queries that a fact affects is
`node_table.NodeTable`, which never looks at the others.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from .errors import CallRefused


@dataclass(frozen=True, slots=True)
class FactPredicate:
    """Facts of one kind whose fields have the given values; without fields, all facts of the kind.

    Comparing and hashing are by value. `of` is the short way to write one:

    >>> in_lobby = FactPredicate.of("chat.message_sent", channel_id="lobby")
    >>> in_lobby.matches_fact("chat.message_sent", {"channel_id": "lobby", "text": "hello"})
    True
    >>> in_lobby.overlaps(FactPredicate.of("chat.message_sent", channel_id="garden"))
    False
    """

    kind: str
    fields: tuple[tuple[str, Hashable], ...] = ()

    def __post_init__(self) -> None:
        if not self.kind:
            raise _refused("an empty kind", "the kind of a fact", "name one, such as 'chat.message_sent'")
        names = [name for name, _ in self.fields]
        if names != sorted(set(names)):
            raise _refused(f"fields={names}", "sorted and unique names", "use FactPredicate.of(kind, name=…)")
        if any(value is None for _, value in self.fields):
            raise _refused(f"None for a field of {self.kind}", "a value", "leave the field out to accept any")

    @classmethod
    def of(cls, kind: str, **fields: Hashable) -> FactPredicate:
        """A predicate with these fields; their order does not matter."""
        return cls(kind, tuple(sorted(fields.items())))

    @property
    def names(self) -> tuple[str, ...]:
        """The constrained fields, sorted."""
        return tuple(name for name, _ in self.fields)

    @property
    def values(self) -> tuple[Hashable, ...]:
        """What they must be, in the order of `names`."""
        return tuple(value for _, value in self.fields)

    @property
    def has_constraints(self) -> bool:
        """Whether any field is constrained."""
        return bool(self.fields)

    def matches_fact(self, kind: str, fields: Mapping[str, object]) -> bool:
        """Whether a fact is one of these: its kind is equal, and every constrained field is there and equal."""
        return kind == self.kind and all(name in fields and fields[name] == value for name, value in self.fields)

    def overlaps(self, other: FactPredicate) -> bool:
        """Whether some fact could be one of both: the kinds are equal, and no field is required to have two values.

        This decides who is affected by a change: a change that does not name a field may concern any value of it.
        """
        if self.kind != other.kind:
            return False
        theirs = dict(other.fields)
        return all(name not in theirs or theirs[name] == value for name, value in self.fields)


def _refused(seen: str, expected: str, attempt: str) -> CallRefused:
    return CallRefused("FactPredicate", seen=seen, expected=expected, attempt=attempt)

"""``DatalogQuery``: rules over facts and over what the screens show, as a query like any other.

Facts are relations by their kind (`demo.voted(choice: $c)`), with a column for each plain field and `author`,
`authority`, `context`, `at` and `fact_id`; what the views show are `channel`, `message`, `message_unread`, `contact`
and `invitation`. Answering costs what the program derives, within its limits. A live one is answered again when a fact
of a kind that it names arrives. Nothing is derived incrementally, and nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from antiphon.facts import Fact
from antiphon.facts.fact import get_record
from antiphon.reactive import (
    UNCHANGED,
    AccessPolicy,
    Batch,
    Capability,
    FactPredicate,
    Inputs,
    Matched,
    Protected,
    Signal,
    SnapshotQuery,
    Unchanged,
)
from antiphon.reactive.datalog import DatalogError, DatalogProgram, Limits, Table, parse_datalog, solve
from antiphon.reactive.datalog.program import Place, Scalar

from .chat_state import ChatState
from .contacts_state import ContactsState
from .invitations_state import InvitationsState
from .queries import READ_CHANNELS, READ_CONTACTS, READ_INVITATIONS, READ_MESSAGES, facts_behind
from .signals import CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL

READ_FACTS = Capability("read:facts")
ENVELOPE = ("author", "authority", "context", "at", "fact_id")

Rows = Iterable[tuple[Scalar, ...]]


class _Relation(NamedTuple):
    """A relation over a view that ships: its columns, what fills it, and what reading it takes."""

    columns: tuple[str, ...]
    signal: Signal[Any]
    rows: Callable[[Any], Rows]
    capability: Capability


def _channels(state: ChatState) -> Rows:
    return ((each.id, each.name, each.channel_type, each.topic, each.context_id) for each in state.channels.values())


def _messages(state: ChatState) -> Rows:
    return (
        (each.id, each.channel_id, each.sender_id, each.sender_name, each.content, each.timestamp)
        for shown in state.messages.values()
        for each in shown
    )


def _unread(state: ChatState) -> Rows:
    return ((each.id,) for shown in state.messages.values() for each in shown if not each.is_read and not each.is_own)


def _contacts(state: ContactsState) -> Rows:
    return (
        (each.id, each.nickname, each.nickname_suggestion, each.is_guardian, each.last_interaction)
        for each in state.contacts.values()
    )


def _invitations(state: InvitationsState) -> Rows:
    return (
        (each.id, each.type, each.status, each.direction, each.from_id, each.to_id, each.created_at)
        for part in (state.pending, state.sent, state.history)
        for each in part
    )


RELATIONS: Mapping[str, _Relation] = MappingProxyType(
    {
        "channel": _Relation(("id", "name", "type", "topic", "context"), CHAT_SIGNAL, _channels, READ_CHANNELS),
        "message": _Relation(
            ("id", "channel", "sender", "sender_name", "content", "timestamp"), CHAT_SIGNAL, _messages, READ_MESSAGES
        ),
        "message_unread": _Relation(("id",), CHAT_SIGNAL, _unread, READ_MESSAGES),
        "contact": _Relation(
            ("id", "nickname", "nickname_suggestion", "is_guardian", "last_interaction"),
            CONTACTS_SIGNAL,
            _contacts,
            READ_CONTACTS,
        ),
        "invitation": _Relation(
            ("id", "type", "status", "direction", "from", "to", "created_at"),
            INVITATIONS_SIGNAL,
            _invitations,
            READ_INVITATIONS,
        ),
    }
)
"""What a program may ask about the views that ship."""


@dataclass(frozen=True, slots=True, eq=False)
class FactRows:
    """The rows of one kind so far. Snapshots share one list that only grows, and see their own length of it."""

    count: int = 0
    shared: list[tuple[Scalar, ...]] = field(default_factory=list, repr=False)

    def __eq__(self, other: object) -> bool:
        """Equal are the same length of the same list: one that was made anew may hold as many others."""
        return isinstance(other, FactRows) and self.count == other.count and self.shared is other.shared

    def __hash__(self) -> int:
        return hash((self.count, id(self.shared)))

    def rows(self) -> Rows:
        """Each fact's row, in order of arrival."""
        return self.shared[: self.count]


class FactRowsView:
    """Keeps the plain fields of every fact of one type, for programs that name its kind; one row a fact."""

    depends_on: tuple[str, ...] = ()

    def __init__(self, model: type[Fact]) -> None:
        self.kind = model.fact_type.kind
        self.view_id = f"rows:{self.kind}"
        self.kinds = frozenset({self.kind})
        self.signal: Signal[FactRows] = Signal(self.view_id, FactRows)
        self._columns = columns_of(model)[: -len(ENVELOPE)]
        self._rows: list[tuple[Scalar, ...]] = []
        self._seen: set[bytes] = set()

    def update(self, batch: Batch[Fact], /) -> FactRows | Unchanged:
        """Take new facts in."""
        before = len(self._rows)
        for fact in batch.facts:
            record = get_record(fact)
            if record.fact_id in self._seen:
                continue
            self._seen.add(record.fact_id)
            plain = tuple(_scalar(getattr(fact, column, None)) for column in self._columns)
            chain = record.chain
            envelope = (chain.label, chain.authority, chain.namespace, record.at, record.fact_id.hex())
            self._rows.append((*plain, *envelope))
        return UNCHANGED if len(self._rows) == before else FactRows(len(self._rows), self._rows)


@dataclass(frozen=True)
class DatalogQuery(SnapshotQuery[tuple[Mapping[str, Scalar], ...]]):
    """A program with its goal; the rows of the goal by the names of its variables, each once, in an order of their own.

    *models* are the fact types whose kinds the program names. The text is read when the query is made: ``DatalogError``
    says what is wrong, and where. Evaluating raises ``LimitExceeded``.

    >>> DatalogQuery('busy($c) <- message(channel: $c); ? channel(id: $c, name: $name), not busy($c);').program.needed
    ('channel', 'message')
    """

    text: str
    models: tuple[type[Fact], ...] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        known = {name: relation.columns for name, relation in RELATIONS.items()}
        known |= {model.fact_type.kind: columns_of(model) for model in self.models}
        self.program.check(known)
        unused = sorted(set(self._models_by_kind) - set(self.program.needed))
        if unused:
            raise DatalogError(
                f"the program does not ask about {', '.join(unused)}; leave it out of models", Place(1, 1)
            )

    @cached_property
    def program(self) -> DatalogProgram:
        """The text, read."""
        return parse_datalog(self.text)

    def dependencies(self) -> tuple[FactPredicate, ...]:
        """The kinds that it names, and those behind the views that it names."""
        found = [FactPredicate.of(kind) for kind in self._models_by_kind]
        for signal_id in {relation.signal.signal_id: None for relation in self._relations.values()}:
            found.extend(facts_behind(signal_id))
        return tuple(dict.fromkeys(found))

    def access_policy(self) -> AccessPolicy:
        """Whatever each relation takes: facts of a kind take ``read:facts`` for it."""
        demands = [relation.capability for relation in self._relations.values()]
        demands += [READ_FACTS._replace(limit=kind) for kind in self._models_by_kind]
        return Protected(tuple(dict.fromkeys(demands)) or (READ_FACTS,))

    def reads(self) -> tuple[Signal[Any], ...]:
        """The views behind its relations."""
        signals = [relation.signal for relation in self._relations.values()]
        signals += [Signal(f"rows:{kind}", FactRows) for kind in self._models_by_kind]
        return tuple(dict.fromkeys(signals))

    def evaluate(self, inputs: Inputs, /) -> tuple[Mapping[str, Scalar], ...]:
        """The goal's rows."""
        return solve(self.program, self._tables(inputs), limits=self.limits)

    def match(self, inputs: Inputs, answer: tuple[Mapping[str, Scalar], ...], /) -> Matched:
        """The rows, by what they say."""
        scanned = sum(len(tuple(table.rows)) for table in self._tables(inputs).values())
        return Matched(scanned, tuple(repr(row) for row in answer))

    @property
    def _relations(self) -> dict[str, _Relation]:
        return {name: RELATIONS[name] for name in self.program.needed if name in RELATIONS}

    @property
    def _models_by_kind(self) -> dict[str, type[Fact]]:
        return {model.fact_type.kind: model for model in self.models}

    def _tables(self, inputs: Inputs) -> dict[str, Table]:
        tables = {
            name: Table(relation.columns, relation.rows(inputs[relation.signal.signal_id]))
            for name, relation in self._relations.items()
        }
        for kind, model in self._models_by_kind.items():
            rows: FactRows = inputs[f"rows:{kind}"]
            tables[kind] = Table(columns_of(model), rows.rows())
        return tables


def columns_of(model: type[Fact]) -> tuple[str, ...]:
    """The columns of a fact type: its fields, then the envelope; a field of an envelope's name gives way to it."""
    return (*(name for name in model.model_fields if name not in ENVELOPE), *ENVELOPE)


def _scalar(value: object) -> Scalar:
    """A plain value as it is; anything that is not (a list, a model) as null: it cannot be compared here."""
    return value if isinstance(value, str | int | bool) else None

"""The queries that ship: pure functions of the chat, contacts and invitations snapshots, and a search in the history.

Hold no state and ask nobody. Each names the kinds its view folds, limited to a channel where the question is: a kind
that the view learns is a dependency from then on, without a change here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from antiphon.facts import LocalViolation
from antiphon.facts.catalog import STANDARD_FACTS
from antiphon.reactive import (
    AccessPolicy,
    Capability,
    FactPredicate,
    Inputs,
    Matched,
    Protected,
    Signal,
    SnapshotQuery,
    SqlPlan,
    SqlQuery,
)

from .app_views import APP_VIEWS
from .chat_state import Channel, ChannelType, ChatState, Message
from .contacts_state import ContactsState, RelationshipState
from .fold import ViewSpec
from .invitations_state import Invitation, InvitationDirection, InvitationKind, InvitationsState, InvitationStatus
from .signals import CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL, UNREAD_COUNT_SIGNAL

S = TypeVar("S")

READ_CHANNELS = Capability("read:channels")
READ_MESSAGES = Capability("read:messages")
READ_CONTACTS = Capability("read:contacts")
READ_INVITATIONS = Capability("read:invitations")
READ_VIEW = Capability("read:view")

# A screenful; who wants more asks the history.
SEARCH_HITS_MAX = 100


@dataclass(frozen=True, slots=True)
class ChatQuery(SnapshotQuery[ChatState]):
    """All open channels with their newest messages: the whole chat snapshot."""

    def dependencies(self) -> tuple[FactPredicate, ...]:
        """Every chat fact."""
        return facts_behind(CHAT_SIGNAL.signal_id)

    def access_policy(self) -> AccessPolicy:
        """Channels and messages."""
        return Protected((READ_CHANNELS, READ_MESSAGES))

    def reads(self) -> tuple[Signal[Any], ...]:
        """The chat view."""
        return (CHAT_SIGNAL,)

    def evaluate(self, inputs: Inputs, /) -> ChatState:
        """The snapshot itself."""
        return _chat(inputs)

    def match(self, inputs: Inputs, answer: ChatState, /) -> Matched:
        """Its messages."""
        messages = [message.id for shown in answer.messages.values() for message in shown]
        return Matched(len(messages), tuple(messages))


@dataclass(frozen=True, slots=True)
class ChannelsQuery(SnapshotQuery[tuple[Channel, ...]]):
    """The open channels, by context and id; of one type only, if given."""

    channel_type: ChannelType | None = None

    def dependencies(self) -> tuple[FactPredicate, ...]:
        """Every chat fact: a message moves its channel's activity."""
        return facts_behind(CHAT_SIGNAL.signal_id)

    def access_policy(self) -> AccessPolicy:
        """Channels."""
        return Protected((READ_CHANNELS,))

    def reads(self) -> tuple[Signal[Any], ...]:
        """The chat view."""
        return (CHAT_SIGNAL,)

    def evaluate(self, inputs: Inputs, /) -> tuple[Channel, ...]:
        """Those that fit; O(n log n) in channels."""
        channels = _chat(inputs).channels
        found = [channels[key] for key in sorted(channels)]
        return tuple(each for each in found if self.channel_type in (None, each.channel_type))

    def match(self, inputs: Inputs, answer: tuple[Channel, ...], /) -> Matched:
        """The channels."""
        return Matched(len(_chat(inputs).channels), tuple(each.id for each in answer))


@dataclass(frozen=True, slots=True)
class MessagesQuery(SnapshotQuery[tuple[Message, ...]]):
    """The shown messages of one channel, oldest first: the newest ``limit`` of them, behind the message ``after``.

    Without a context it is the first open channel of that id. ``after`` names a message that is shown; when it is not
    (any more), nothing is left out.
    """

    channel_id: str
    context_id: str | None = None
    limit: int | None = None
    after: str | None = None
    unread_only: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise LocalViolation(
                f"MessagesQuery: got limit={self.limit!r}; expected how many messages to show, 1 or more; "
                "leave it out, or give None for all"
            )

    def dependencies(self) -> tuple[FactPredicate, ...]:
        """The chat facts of this channel, and those that name no channel."""
        limits = {"channel_id": self.channel_id}
        return facts_behind(
            CHAT_SIGNAL.signal_id, **limits if self.context_id is None else {**limits, "context_id": self.context_id}
        )

    def access_policy(self) -> AccessPolicy:
        """The messages of this channel."""
        return Protected((READ_MESSAGES._replace(limit=self.channel_id),))

    def reads(self) -> tuple[Signal[Any], ...]:
        """The chat view."""
        return (CHAT_SIGNAL,)

    def evaluate(self, inputs: Inputs, /) -> tuple[Message, ...]:
        """Those that fit; the shown tuple itself, without a look at its messages, when nothing is left out."""
        shown = _chat(inputs).messages_in(self.channel_id, context_id=self.context_id)
        if self.after is not None:
            ids = [message.id for message in shown]
            shown = shown[ids.index(self.after) + 1 :] if self.after in ids else shown
        if self.unread_only:
            shown = tuple(message for message in shown if not message.is_read and not message.is_own)
        return shown if self.limit is None else shown[-self.limit :]

    def match(self, inputs: Inputs, answer: tuple[Message, ...], /) -> Matched:
        """The messages."""
        shown = _chat(inputs).messages_in(self.channel_id, context_id=self.context_id)
        return Matched(len(shown), tuple(each.id for each in answer))


@dataclass(frozen=True, slots=True)
class UnreadQuery(SnapshotQuery[int]):
    """How many messages of others are unread, in all open channels or in one."""

    channel_id: str | None = None
    context_id: str | None = None

    def dependencies(self) -> tuple[FactPredicate, ...]:
        """The chat facts, of one channel if it asks for one."""
        limits = {"channel_id": self.channel_id, "context_id": self.context_id}
        return facts_behind(
            CHAT_SIGNAL.signal_id, **{name: value for name, value in limits.items() if value is not None}
        )

    def access_policy(self) -> AccessPolicy:
        """Messages, of one channel if it asks for one."""
        return Protected((READ_MESSAGES._replace(limit=self.channel_id),))

    def reads(self) -> tuple[Signal[Any], ...]:
        """The chat view."""
        return (CHAT_SIGNAL,)

    def evaluate(self, inputs: Inputs, /) -> int:
        """The number."""
        chat = _chat(inputs)
        if self.channel_id is not None:
            channel = chat.channel(self.channel_id, context_id=self.context_id)
            return channel.unread_count if channel else 0
        if self.context_id is None:
            return chat.total_unread
        return sum(each.unread_count for each in chat.channels.values() if each.context_id == self.context_id)

    def match(self, inputs: Inputs, answer: int, /) -> Matched:
        """The channels that have something unread."""
        channels = _chat(inputs).channels.values()
        wanted = [each for each in channels if self.channel_id in (None, each.id) and each.unread_count]
        return Matched(len(channels), tuple(each.id for each in wanted if self.context_id in (None, each.context_id)))


@dataclass(frozen=True, slots=True)
class ContactsQuery(SnapshotQuery[ContactsState]):
    """Contacts whose name or id contains ``search``; guardians or one relationship only, if asked."""

    search: str = ""
    guardians_only: bool = False
    relationship: RelationshipState | None = None

    def dependencies(self) -> tuple[FactPredicate, ...]:
        """Every contact fact."""
        return facts_behind(CONTACTS_SIGNAL.signal_id)

    def access_policy(self) -> AccessPolicy:
        """Contacts."""
        return Protected((READ_CONTACTS,))

    def reads(self) -> tuple[Signal[Any], ...]:
        """The contacts view."""
        return (CONTACTS_SIGNAL,)

    def evaluate(self, inputs: Inputs, /) -> ContactsState:
        """Those that fit, O(n log n); the snapshot itself when nobody is left out."""
        state = _contacts(inputs)
        if not self.search and not self.guardians_only and self.relationship is None:
            return state
        found = [
            each
            for each in state.filter_by(self.search)
            if (each.is_guardian or not self.guardians_only) and self.relationship in (None, each.relationship_state)
        ]
        return ContactsState(MappingProxyType({each.id: each for each in found}))

    def match(self, inputs: Inputs, answer: ContactsState, /) -> Matched:
        """The contacts."""
        return Matched(len(_contacts(inputs).contacts), tuple(answer.contacts))


@dataclass(frozen=True, slots=True)
class InvitationsQuery(SnapshotQuery[InvitationsState]):
    """Invitations that wait, and those that ended; of one direction, status or type, if asked."""

    direction: InvitationDirection | None = None
    status: InvitationStatus | None = None
    invitation_type: InvitationKind | None = None

    def dependencies(self) -> tuple[FactPredicate, ...]:
        """Every invitation fact; expiry comes with the view."""
        return facts_behind(INVITATIONS_SIGNAL.signal_id)

    def access_policy(self) -> AccessPolicy:
        """Invitations."""
        return Protected((READ_INVITATIONS,))

    def reads(self) -> tuple[Signal[Any], ...]:
        """The invitations view."""
        return (INVITATIONS_SIGNAL,)

    def evaluate(self, inputs: Inputs, /) -> InvitationsState:
        """Those that fit, O(n); the snapshot itself when none is left out."""
        state: InvitationsState = inputs[INVITATIONS_SIGNAL.signal_id]
        if self == InvitationsQuery():
            return state
        return InvitationsState(*(tuple(filter(self._fits, part)) for part in _parts(state)))

    def match(self, inputs: Inputs, answer: InvitationsState, /) -> Matched:
        """The invitations."""
        before = sum(map(len, _parts(inputs[INVITATIONS_SIGNAL.signal_id])))
        return Matched(before, tuple(each.id for part in _parts(answer) for each in part))

    def _fits(self, invitation: Invitation) -> bool:
        return (
            self.direction in (None, invitation.direction)
            and self.status in (None, invitation.status)
            and self.invitation_type in (None, invitation.type)
        )


@dataclass(frozen=True, slots=True)
class ViewQuery(SnapshotQuery[S]):
    """The value of a ``@view``: the incremental fold of one's own, as a query with an access policy.

    Without a *policy* it demands ``read:view`` limited to the view's name.
    """

    spec: ViewSpec[S]
    policy: AccessPolicy | None = None

    @property
    def query_id(self) -> str:
        """The view's id."""
        return f"ViewQuery({self.spec.view_id})"

    def dependencies(self) -> tuple[FactPredicate, ...]:
        """The kinds it folds."""
        return predicates_of(self.spec.kinds, {})

    def access_policy(self) -> AccessPolicy:
        """As given, or the right to read this view."""
        return self.policy or Protected((READ_VIEW._replace(limit=self.spec.name),))

    def reads(self) -> tuple[Signal[Any], ...]:
        """The view's signal."""
        return (self.spec.signal,)

    def evaluate(self, inputs: Inputs, /) -> S:
        """The value."""
        value: S = inputs[self.spec.signal.signal_id]
        return value

    def match(self, inputs: Inputs, answer: S, /) -> Matched:
        """What the value holds: the entries of a map by key, those of another collection by place; else itself."""
        if isinstance(answer, Mapping):
            items = tuple(map(str, answer))
        elif isinstance(answer, Collection) and not isinstance(answer, str | bytes):
            items = tuple(map(str, range(len(answer))))
        else:
            items = (self.spec.view_id,)
        return Matched(len(items), items)


@dataclass(frozen=True, slots=True)
class SearchMessagesQuery(SqlQuery[tuple[Mapping[str, object], ...]]):
    """Messages of the whole history whose text contains ``text``, newest first, as they were sent; in SQL.

    Edits, deletions and rights are not judged: this is what the journal holds, not what a screen shows.
    """

    text: str
    channel_id: str | None = None
    limit: int = SEARCH_HITS_MAX

    def dependencies(self) -> tuple[FactPredicate, ...]:
        """Sent messages, of one channel if it asks for one."""
        limits = {} if self.channel_id is None else {"channel_id": self.channel_id}
        return (FactPredicate.of("chat.message_sent", **limits),)

    def access_policy(self) -> AccessPolicy:
        """Messages, of one channel if it asks for one."""
        return Protected((READ_MESSAGES._replace(limit=self.channel_id),))

    def compile(self) -> SqlPlan:
        """The statement; what is searched for is a parameter."""
        where = "contains(lower(text), lower(?))"
        parameters: tuple[object, ...] = (self.text,)
        if self.channel_id is not None:
            where += " AND channel_id = ?"
            parameters += (self.channel_id,)
        return SqlPlan(
            "SELECT message_id, channel_id, sender_id, sender_name, text, sent_at FROM chat_message_sent "
            f"WHERE {where} ORDER BY sent_at DESC, message_id LIMIT ?",
            (*parameters, self.limit),
        )

    def parse(self, rows: Sequence[Mapping[str, object]], /) -> tuple[Mapping[str, object], ...]:
        """The rows."""
        return tuple(rows)


def facts_behind(signal_id: str, **limits: str) -> tuple[FactPredicate, ...]:
    """All kinds that the view behind a signal folds, each limited by those of *limits* that its facts have."""
    return predicates_of(_kinds_behind(signal_id), limits)


def predicates_of(kinds: Iterable[str], limits: Mapping[str, str]) -> tuple[FactPredicate, ...]:
    """A predicate for each kind, limited by the fields that its fact type has; unlimited for an unknown type."""
    fields = _fields_of_kinds()
    return tuple(
        FactPredicate.of(kind, **{name: value for name, value in limits.items() if name in fields.get(kind, ())})
        for kind in sorted(kinds)
    )


@cache
def _kinds_behind(signal_id: str) -> frozenset[str]:
    from antiphon.facts import AuthorityId

    return APP_VIEWS[signal_id].build(AuthorityId("")).kinds or frozenset(_fields_of_kinds())


@cache
def _fields_of_kinds() -> Mapping[str, frozenset[str]]:
    return {model.fact_type.kind: frozenset(model.model_fields) for model in STANDARD_FACTS}


def _chat(inputs: Inputs) -> ChatState:
    state: ChatState = inputs[CHAT_SIGNAL.signal_id]
    return state


def _contacts(inputs: Inputs) -> ContactsState:
    state: ContactsState = inputs[CONTACTS_SIGNAL.signal_id]
    return state


def _parts(state: InvitationsState) -> tuple[tuple[Invitation, ...], ...]:
    return (state.pending, state.sent, state.history)


APP_QUERIES: Mapping[str, SnapshotQuery[Any]] = MappingProxyType(
    {
        CHAT_SIGNAL.signal_id: ChatQuery(),
        CONTACTS_SIGNAL.signal_id: ContactsQuery(),
        INVITATIONS_SIGNAL.signal_id: InvitationsQuery(),
        UNREAD_COUNT_SIGNAL.signal_id: UnreadQuery(),
    }
)
"""The query that each signal that ships answers; its view is that query, kept up to date."""

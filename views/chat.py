"""The chat view: facts about channels and messages in, one snapshot of all open channels out.

A snapshot is a pure function of the set of facts: conflicts are settled by stamp, what comes early is kept, and rights
are judged by who signed. Decrypts nothing itself: an opener that the application gives reads sealed texts.

Rules. A fact whose named actor did not sign it is ignored and counted; an imported one is shown with its importer. A
channel is open while its newest creation is newer than its newest closing (one that is only known from a named
update, while that is), and the owner has not left it. A message belongs to who signed it: only they edit it (the
latest edit counts) and delete it (for ever). Of several with one id that of whom the id is named after counts, or else
the earliest. A channel that was provisional is shown as part of the one it was bound to anew, once that one is known.
Its channel's creator, in a home the home's owner, says what is final.
What was imported stands before what was said here at the same time, by file and line.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from operator import attrgetter
from sys import intern
from types import MappingProxyType
from typing import Any

from antiphon.facts import AuthorityId, Fact, FactRecord, LocalViolation, Stamp
from antiphon.facts.chat import (
    CHAT_FACTS,
    ChannelClosed,
    ChannelCreated,
    ChannelRebound,
    ChannelUpdated,
    MembershipChanged,
    MembershipImported,
    MessageDeleted,
    MessageDeliveryUpdated,
    MessageEdited,
    MessageEditedSealed,
    MessageImported,
    MessageReacted,
    MessageRead,
    MessageSeen,
    MessageSent,
    MessageSentSealed,
    TopicEdited,
)
from antiphon.facts.fact import get_record
from antiphon.facts.moderation import home_owner
from antiphon.facts.protocol import (
    ChannelEpochCommitted,
    ConvergenceCertified,
    OperationFinalized,
    OperationReverted,
)
from antiphon.journal import Agreement, SharedText
from antiphon.reactive import UNCHANGED, Batch, Unchanged

from .chat_state import Channel, ChannelKey, ChatState, Message
from .finality import Finality
from .gate import ChannelGate
from .homes_state import Conduct, Home, HomesState, Kick, Pin, Sanction, Standing
from .kept_state import KeptShape, KeptView
from .merging import merge_logs, messages_before, roots_of
from .message_entry import Recall, entry_of, place_of_import, said_entry
from .message_log import MessageLog, _Edits
from .opening import Opener
from .packed_messages import Marks, PackedMessages, _Table, _Voice
from .registers import ActorOf, FoldStatistics, Register, is_after, latest, newer
from .signals import CHAT_SIGNAL, UNREAD_COUNT_SIGNAL
from .topic import Topic

CHAT_VIEW_ID = "signals:chat"
_SEEN_KIND = MessageSeen.fact_type.kind
_HOMES_VIEW_ID = "signals:homes"


class ChatSignalView(KeptView):
    """Folds chat facts into `ChatState` as *authority* sees them, for the signal ``app:chat``.

    A window costs about 2 µs a message and 20 µs a channel it touches, however long the history; see `MessageLog`.

    >>> view = ChatSignalView(AuthorityId("00" * 16))
    >>> view.signal.signal_id, view.state.total_unread
    ('app:chat', 0)
    """

    view_id = CHAT_VIEW_ID
    depends_on: tuple[str, ...] = (_HOMES_VIEW_ID,)  # which says whose messages are shown in a home
    signal = CHAT_SIGNAL

    def __init__(
        self, authority: AuthorityId, *, opener: Opener | None = None, is_closed_to_strangers: bool = True
    ) -> None:
        self._authority = authority
        self._is_closed = is_closed_to_strangers
        self._homes = HomesState()
        self._opener = opener
        self._recall: Recall | None = None
        self._folds: dict[tuple[str, str], _ChannelFold] = {}
        self._reopened: dict[tuple[str, str], _ChannelFold] = {}
        self._rebound: set[tuple[str, str]] = set()  # the channels of which it was said that they belong to another
        self._roots: dict[tuple[str, str], tuple[str, str]] = {}  # where they are shown, those of them that are
        self._merged: dict[tuple[str, str], list[_ChannelFold]] = {}  # by where
        self._channels: dict[ChannelKey, Channel] = {}
        self._messages: dict[ChannelKey, tuple[Message, ...]] = {}
        self._total_unread = 0
        self._applied_count = 0
        self._wrong_actor_count = 0
        self.state = ChatState()

    @property
    def kinds(self) -> frozenset[str]:
        """All chat kinds, and the protocol facts that say what is final."""
        return _KINDS

    def use_opener(self, opener: Opener | None) -> None:
        """Read sealed texts with *opener* from the next update on, which also shows what it opens of those before."""
        self._opener = opener
        for fold in self._folds.values():
            fold.log.use_opener(opener)
        self._reopened = dict(self._folds)

    def use_recall(self, recall: Recall) -> None:
        """Hold only the newest messages of each channel whole, since *recall* reads others back from the journal.

        Says the host of the view, once and before the first window. *recall* must find every fact that was folded.
        """
        if self._recall is not None or self._folds:
            raise LocalViolation("a view learns to read messages back once, before its first window; make a new one")
        self._recall = recall

    def restore(self, state: bytes, recall: Recall, now_ms: int) -> bool:
        """Take up what was kept; the next update draws all of it anew. See `KeptView`."""
        if not super().restore(state, recall, now_ms):
            return False
        for fold in self._folds.values():
            fold.log.take_up(recall, self._opener)
        self._reopened = dict(self._folds)
        return True

    def update(self, batch: Batch[Fact], /) -> ChatState | Unchanged:
        """Fold a window; the new snapshot, or ``UNCHANGED`` when a screen would look the same."""
        touched, self._reopened = self._reopened, {}
        homes = batch.inputs.get(_HOMES_VIEW_ID)
        if isinstance(homes, HomesState) and homes is not self._homes:
            self._judge_by(homes, touched)
        for fact in batch.facts:
            record = get_record(fact)
            kind = record.kind
            rule = _RULES.get(kind)
            if rule is None:
                continue
            actor_of, apply = rule
            chain = record.chain
            if actor_of is not None and (actor_of(fact) != chain.authority or not chain.authority):
                self._wrong_actor_count += 1
                continue
            channel_id: str | None = fact.channel_id  # type: ignore[attr-defined]  # every fact with a rule has one
            if channel_id is None:
                continue  # about an operation that is no message
            key: tuple[str, str] = (chain.namespace, channel_id)
            if kind == _SEEN_KIND:  # said apart from the channel that it is about
                key = (fact.channel_context_id, channel_id)  # type: ignore[attr-defined]  # as its kind says
            fold = touched.get(key)
            if fold is None:
                fold = touched[key] = self._fold_of(key)
            apply(fold, fact, record)
            self._applied_count += 1
        for fold in touched.values():
            fold.settle()
        self._rebound.update([key for key, fold in touched.items() if fold.rebound is not None])
        if self._rebound:
            self._group(touched)
        changes = [self._show(fold) for fold in touched.values()]
        if True not in changes:
            return UNCHANGED
        self.state = ChatState(
            MappingProxyType(self._channels.copy()), MappingProxyType(self._messages.copy()), self._total_unread
        )
        return self.state

    def find_message(self, context_id: str, channel_id: str, message_id: str) -> Message | None:
        """A visible message of a channel or of those that were merged into it, also one too old to be shown; O(1)."""
        logs = self._logs_of(context_id, channel_id)
        found = (log.find(message_id, [other for other in logs if other is not log]) for log in logs)
        return next((message for message in found if message is not None), None)

    def topic_of(self, context_id: str, channel_id: str) -> SharedText:
        """The topic of a channel as a text to change; an empty one where nothing is known."""
        fold = self._folds.get((context_id, channel_id))
        return (Topic() if fold is None else fold.topic).shared

    def messages_before(self, context_id: str, channel_id: str, message_id: str, count: int) -> tuple[Message, ...]:
        """The *count* messages before that one, oldest first, however old, as they are now; O(count).

        What is packed is read back. Fewer at the beginning of a channel; none before a message that nobody knows.
        """
        logs = self._logs_of(context_id, channel_id)
        return messages_before(logs[0], logs[1:], message_id, count) if logs else ()

    def _logs_of(self, context_id: str, channel_id: str) -> list[MessageLog]:
        key = (context_id, channel_id)
        own = [self._folds[key]] if key in self._folds else []
        return [fold.log for fold in (*own, *self._merged.get(key, ()))]

    def agreement_of(self, fact: Fact) -> Agreement:
        """How sure a fact of a channel is, by what was folded so far; provisional for what is about no known channel.

        A founding belongs to the first epoch, a message to the one that it names; the rest is certified one by one.
        """
        channel_id = getattr(fact, "channel_id", None)
        if not isinstance(channel_id, str):
            return Agreement()
        record = get_record(fact)
        fold = self._folds.get((record.chain.namespace, channel_id))
        epoch = 0 if isinstance(fact, ChannelCreated) else getattr(fact, "epoch_hint", None)
        return Agreement() if fold is None else fold.log.finality.value_of(record.fact_id, epoch)

    def statistics(self) -> FoldStatistics:
        """What was folded and what was not; O(edits and deletions)."""
        return FoldStatistics(
            applied_count=self._applied_count,
            wrong_actor_count=self._wrong_actor_count,
            foreign_count=0,
            void_count=sum(fold.log.void_count for fold in self._folds.values()),
            whole_count=sum(fold.log.whole_count for fold in self._folds.values()),
            packed_count=sum(fold.log.packed_count for fold in self._folds.values()),
        )

    @property
    def _shape(self) -> KeptShape:
        return _SHAPE

    @property
    def _outlook(self) -> object:
        return (self._authority, self._is_closed)

    def _fold_of(self, key: tuple[str, str]) -> _ChannelFold:
        fold = self._folds.get(key)
        if fold is None:
            fold = _ChannelFold(ChannelKey(*key), self._authority, self._opener, is_closed=self._is_closed)
            self._folds[key] = fold
            if self._recall is not None:
                fold.log.use_recall(self._recall)
            if fold.gate is not None:
                fold.judge_by(self._homes.home(key[0]))
        return fold

    def _judge_by(self, homes: HomesState, touched: dict[tuple[str, str], _ChannelFold]) -> None:
        """Look again at the channels of the homes that changed; O(channels) and the messages of those."""
        before, self._homes = self._homes, homes
        for key, fold in self._folds.items():
            home = homes.home(key[0]) if fold.gate is not None else None
            if fold.gate is not None and home is not before.home(key[0]):
                fold.judge_by(home)
                touched[key] = fold

    def _group(self, touched: dict[tuple[str, str], _ChannelFold]) -> None:
        """Find out anew which channels are part of others, and touch those that look different; O(rebound channels)."""
        folds, before = self._folds, self._roots
        named = ((key, folds[key].canonical_key) for key in self._rebound)
        self._roots = roots_of({key: other for key, other in named if other in folds and folds[other].is_known})
        self._merged = {}
        for key, root in sorted(self._roots.items()):
            self._merged.setdefault(root, []).append(folds[key])
            if key in touched:
                touched[root] = folds[root]
        for key, root in before.items() ^ self._roots.items():
            touched |= {key: folds[key], root: folds[root]}

    def _show(self, fold: _ChannelFold) -> bool:
        """Draw one channel; whether a screen would show a difference."""
        key = fold.key
        before = self._channels.get(key)
        drawn = None if key in self._roots else fold.draw(self._merged.get(key, ()))
        after = None if drawn is None else drawn[0]
        if after is None:
            if before is None:
                return False
            del self._channels[key], self._messages[key]
            self._total_unread -= before.unread_count
            return True
        assert drawn is not None, "a channel comes with its messages"
        messages = drawn[1]
        if before == after and (self._messages[key] is messages or self._messages[key] == messages):
            return False
        self._channels[key] = after
        self._messages[key] = messages
        self._total_unread += after.unread_count - (before.unread_count if before else 0)
        return True


class UnreadCountView:
    """The number for a badge, drawn from the chat view's snapshot, for the signal ``app:unread_count``."""

    view_id = "signals:unread_count"
    kinds: frozenset[str] = frozenset()
    depends_on: tuple[str, ...] = (CHAT_VIEW_ID,)
    signal = UNREAD_COUNT_SIGNAL

    def __init__(self) -> None:
        self.state = 0

    def update(self, batch: Batch[Fact], /) -> int | Unchanged:
        """The total of the chat snapshot, when it is another one."""
        chat = batch.inputs.get(CHAT_VIEW_ID)
        if not isinstance(chat, ChatState) or chat.total_unread == self.state:
            return UNCHANGED
        self.state = chat.total_unread
        return self.state


class _ChannelFold:
    """All that is known of one channel, known to exist or not."""

    def __init__(self, key: ChannelKey, owner: str, opener: Opener | None, *, is_closed: bool) -> None:
        self.key = key
        self.home_owner = home_owner(key.context_id)
        self.gate = (
            None
            if self.home_owner is None
            else ChannelGate(owner=self.home_owner, viewer=owner, channel_id=key.channel_id, is_closed=is_closed)
        )
        self.log = MessageLog(owner, key.channel_id, context_id=key.context_id, opener=opener, gate=self.gate)
        self.members = _Members(owner, self.gate)
        self.owner = owner
        self.first_created: tuple[Stamp, str, bool] | None = None  # stamp, creator, whether a direct message
        self.last_created: Stamp | None = None
        self.last_named: Stamp | None = None
        self.last_closed: Stamp | None = None
        self.name: Register[str] | None = None
        self.topic = Topic()
        self.member_count: Register[int] | None = None
        self.last_updated_at: int | None = None
        self.rebound: Register[str] | None = None

    def take_created(self, fact: ChannelCreated, record: FactRecord) -> None:
        stamp = record.stamp
        if self.first_created is None or stamp < self.first_created[0]:
            self.first_created = (stamp, fact.creator_id, fact.is_dm)
            self.members.seed(stamp, {fact.creator_id, self.owner} if fact.is_dm else {fact.creator_id})
        self.last_created = latest(self.last_created, stamp)
        self.name = newer(self.name, stamp, fact.name)
        if fact.topic is not None:
            self.topic.state(stamp, fact.topic)
        self._note_activity(stamp[0])

    def take_updated(self, fact: ChannelUpdated, record: FactRecord) -> None:
        stamp = record.stamp
        if fact.name is not None:
            self.name = newer(self.name, stamp, fact.name)
            self.last_named = latest(self.last_named, stamp)
        if fact.topic is not None:
            self.topic.state(stamp, fact.topic)
        if fact.member_count is not None:
            self.member_count = newer(self.member_count, stamp, fact.member_count)
        if fact.member_ids is not None:
            self.members.list_all(stamp, frozenset(fact.member_ids))
        self._note_activity(stamp[0])

    def take_topic_edited(self, fact: TopicEdited, record: FactRecord) -> None:
        if self.topic.change(record.stamp, basis=fact.basis, update=fact.update):
            self._note_activity(record.at)

    def take_closed(self, fact: ChannelClosed, record: FactRecord) -> None:
        self.last_closed = latest(self.last_closed, record.stamp)
        self.log.hide_until(record.at)

    def take_sent(self, fact: MessageSent, record: FactRecord) -> None:
        self.log.say(said_entry(fact, record, fact.text))

    def take_sealed(self, fact: MessageSentSealed, record: FactRecord) -> None:
        self.log.say(said_entry(fact, record, fact.payload))

    def take_imported(self, fact: MessageImported, record: FactRecord) -> None:
        self.log.say(entry_of(fact, record))

    def take_rebound(self, fact: ChannelRebound, record: FactRecord) -> None:
        self.rebound = newer(self.rebound, record.stamp, fact.canonical_id)

    def take_seen(self, fact: MessageSeen, record: FactRecord) -> None:
        if fact.reader_id == self.owner:  # nobody else's business
            self.log.read(fact.message_id, reader=fact.reader_id)

    def take_reacted(self, fact: MessageReacted, record: FactRecord) -> None:
        self.log.react(
            fact.message_id,
            reactor=fact.reactor_id,
            reaction=fact.reaction,
            stamp=record.stamp,
            is_there=not fact.is_taken_back,
        )

    def take_read(self, fact: MessageRead, record: FactRecord) -> None:
        self.log.read(fact.message_id, reader=fact.reader_id)

    def take_edited(self, fact: MessageEdited, record: FactRecord) -> None:
        self.log.edit(fact.message_id, editor=fact.editor_id, stamp=record.stamp, text=fact.new_text)

    def take_edited_sealed(self, fact: MessageEditedSealed, record: FactRecord) -> None:
        self.log.edit(fact.message_id, editor=fact.editor_id, stamp=record.stamp, text=fact.new_payload)

    def take_epoch(self, fact: ChannelEpochCommitted, record: FactRecord) -> None:
        self.log.finality.take_epoch(fact)

    def take_certificate(self, fact: ConvergenceCertified, record: FactRecord) -> None:
        self.log.finality.take_certificate(fact, record)

    def take_reversion(self, fact: OperationReverted, record: FactRecord) -> None:
        self.log.finality.take_reversion(fact, record)

    def take_finalized(self, fact: OperationFinalized, record: FactRecord) -> None:
        self.log.finality.take_finalized(fact)

    def take_delivered(self, fact: MessageDeliveryUpdated, record: FactRecord) -> None:
        self.log.deliver(fact.message_id, fact.delivery_status)

    def take_deleted(self, fact: MessageDeleted, record: FactRecord) -> None:
        self.log.delete(fact.message_id, deleter=fact.deleter_id, at=record.at)

    def take_membership(self, fact: MembershipChanged, record: FactRecord) -> None:
        is_joining = fact.event == "joined"
        self.members.say(fact.participant_id, record.stamp, is_joining=is_joining)
        if self.gate is not None and is_joining and self.gate.note_joined(fact.participant_id, record.stamp):
            self.log.judge_anew({fact.participant_id})

    def judge_by(self, home: Home | None) -> None:
        """Hide and show by what the home holds now about each person."""
        assert self.gate is not None, "only a home judges"
        people = self.gate.use(home)
        if people:
            self.log.judge_anew(people)
            self.members.judge_anew(people)
            self.members.kick({person: stamp for person in self.gate.kicked() if (stamp := self.gate.kick_of(person))})

    def take_imported_membership(self, fact: MembershipImported, record: FactRecord) -> None:
        stamp = place_of_import(fact, record)
        self.members.hear(fact.participant_id, stamp, is_joining=fact.event == "joined")

    def settle(self) -> None:
        self.log.finality.allow(self._judges())
        self.log.settle()
        self.members.settle()

    def _judges(self) -> frozenset[str]:
        """Who may say what is final: the owner of the home; where there is none, the channel's creator."""
        if self.home_owner is not None:
            return frozenset((self.home_owner,))
        return frozenset() if self.first_created is None else frozenset((self.first_created[1],))

    @property
    def is_open(self) -> bool:
        opened = self.last_named if self.last_created is None else self.last_created
        return is_after(opened, self.last_closed) and not self.members.has_owner_left

    @property
    def is_known(self) -> bool:
        """Whether anybody ever opened or named it."""
        return self.last_created is not None or self.last_named is not None

    @property
    def canonical_key(self) -> ChannelKey:
        """Where it belongs, as the newest word about that says; where it is, without one."""
        return self.key if self.rebound is None else ChannelKey(self.key.context_id, self.rebound[1])

    def draw(self, merged: Sequence[_ChannelFold] = ()) -> tuple[Channel, tuple[Message, ...]] | None:
        """The channel and its messages as a screen shows them, with those *merged* into it; None while not open."""
        if not self.is_open:
            return None
        assert self.name is not None, "what opens a channel names it"
        created, creator, is_dm = self.first_created or (None, None, False)
        log, member_ids = self.log, self.members.shown
        shown, visible_count, unread_count = log.shown, log.visible_count, log.unread_count
        if merged:
            shown, visible_count, unread_count = merge_logs(log, [fold.log for fold in merged])
            member_ids = tuple(sorted({*member_ids, *(who for fold in merged for who in fold.members.shown)}))
        last = shown[-1] if shown else None
        times = [time for time in (self.last_updated_at, last.timestamp if last else None) if time is not None]
        channel = Channel(
            id=self.key.channel_id,
            context_id=self.key.context_id,
            name=self.name[1],
            topic=self.topic.shown or None,
            channel_type="direct_message" if is_dm else "home",
            is_dm=is_dm,
            creator_id=creator,
            created_at=created[0] if created else None,
            unread_count=unread_count,
            message_count=visible_count,
            has_more=visible_count > len(shown),
            member_ids=member_ids,
            member_count=max(self.member_count[1] if self.member_count else 0, len(member_ids), 2 if is_dm else 0),
            last_message=last.content if last else None,
            last_message_time=last.timestamp if last else None,
            last_activity=max(times),
            last_finalized_epoch=log.finality.final_epoch,
            merged_ids=tuple(fold.key.channel_id for fold in merged),
        )
        return channel, shown

    def _note_activity(self, at: int) -> None:
        if self.last_updated_at is None or at > self.last_updated_at:
            self.last_updated_at = at


class _Members:
    """Who is in a channel: for each participant the newest statement counts.

    What participants sign themselves, the founding of the channel and the newest full list are statements; an import
    speaks only of participants who have said nothing themselves and did not found it, and never for the owner. In a
    home, what strangers sign of themselves is no statement while they are strangers.
    """

    def __init__(self, owner: str, gate: ChannelGate | None = None) -> None:
        self.owner = owner
        self.gate = gate
        self.said: dict[str, Register[bool]] = {}
        self.heard: dict[str, Register[bool]] = {}
        self.kicked: dict[str, Stamp] = {}
        self.founders: Register[frozenset[str]] | None = None
        self.listed: Register[frozenset[str]] | None = None
        self.order: list[str] = []
        self.touched: set[str] = set()
        self.is_stale = False
        self.shown: tuple[str, ...] = ()

    @property
    def has_owner_left(self) -> bool:
        """Whether the owner's own newest word is that they left."""
        said = self.said.get(self.owner)
        return said is not None and not said[1]

    def seed(self, stamp: Stamp, founders: set[str]) -> None:
        self.founders = (stamp, frozenset(founders))
        self.is_stale = True

    def list_all(self, stamp: Stamp, members: frozenset[str]) -> None:
        before, self.listed = self.listed, newer(self.listed, stamp, members)
        self.is_stale = self.is_stale or self.listed is not before

    def judge_anew(self, people: set[str]) -> None:
        """Look again at those of *people* who have spoken, since the home holds something else of them now."""
        self.touched |= self.said.keys() & people

    def kick(self, kicked: dict[str, Stamp]) -> None:
        """Know exactly these kicks from now on: each is a word that its target left."""
        self.touched |= {who for who in self.kicked.keys() | kicked if self.kicked.get(who) != kicked.get(who)}
        self.kicked = kicked

    def say(self, participant: str, stamp: Stamp, *, is_joining: bool) -> None:
        self.said[participant] = newer(self.said.get(participant), stamp, is_joining)
        self.touched.add(participant)

    def hear(self, participant: str, stamp: Stamp, *, is_joining: bool) -> None:
        participant = intern(participant)
        self.heard[participant] = newer(self.heard.get(participant), stamp, is_joining)
        self.touched.add(participant)

    def settle(self) -> None:
        if self.is_stale:
            founders = self.founders[1] if self.founders else frozenset()
            listed = self.listed[1] if self.listed else frozenset()
            self.order = sorted(filter(self._is_in, {*self.said, *self.heard, *founders, *listed}))
            is_changed = True
        else:
            is_changed = True in [self._place(participant) for participant in self.touched]
        self.is_stale = False
        self.touched.clear()
        if is_changed:
            self.shown = tuple(self.order)

    def _place(self, participant: str) -> bool:
        place = bisect_left(self.order, participant)
        was_in = place < len(self.order) and self.order[place] == participant
        is_in = self._is_in(participant)
        if is_in and not was_in:
            insort(self.order, participant)
        elif was_in and not is_in:
            del self.order[place]
        return was_in != is_in

    def _is_in(self, participant: str) -> bool:
        statements: list[Register[bool]] = []
        if self.founders is not None and participant in self.founders[1]:
            statements.append((self.founders[0], True))
        if participant in self.said and not (self.gate is not None and self.gate.is_stranger(participant)):
            statements.append(self.said[participant])
        if not statements and participant in self.heard and participant != self.owner:
            statements.append(self.heard[participant])
        if self.listed is not None:
            statements.append((self.listed[0], participant in self.listed[1]))
        if participant in self.kicked:
            statements.append((self.kicked[participant], False))
        return max(statements)[1] if statements else False


_Apply = Callable[[_ChannelFold, Any, FactRecord], None]

# By kind: which field names the actor (none for what was imported), and what the fact does.
_RULES: dict[str, tuple[ActorOf | None, _Apply]] = {
    model.fact_type.kind: (attrgetter(actor) if actor else None, apply)
    for model, actor, apply in (
        (ChannelCreated, "creator_id", _ChannelFold.take_created),
        (ChannelUpdated, "actor_id", _ChannelFold.take_updated),
        (ChannelClosed, "actor_id", _ChannelFold.take_closed),
        (ChannelRebound, "actor_id", _ChannelFold.take_rebound),
        (TopicEdited, "editor_id", _ChannelFold.take_topic_edited),
        (MessageSent, "sender_id", _ChannelFold.take_sent),
        (MessageSentSealed, "sender_id", _ChannelFold.take_sealed),
        (MessageImported, "", _ChannelFold.take_imported),
        (MessageRead, "reader_id", _ChannelFold.take_read),
        (MessageSeen, "reader_id", _ChannelFold.take_seen),
        (MessageReacted, "reactor_id", _ChannelFold.take_reacted),
        (MessageEdited, "editor_id", _ChannelFold.take_edited),
        (MessageEditedSealed, "editor_id", _ChannelFold.take_edited_sealed),
        (MessageDeliveryUpdated, "actor_id", _ChannelFold.take_delivered),
        (MessageDeleted, "deleter_id", _ChannelFold.take_deleted),
        (MembershipChanged, "participant_id", _ChannelFold.take_membership),
        (MembershipImported, "", _ChannelFold.take_imported_membership),
        (ChannelEpochCommitted, "actor_id", _ChannelFold.take_epoch),
        (ConvergenceCertified, "actor_id", _ChannelFold.take_certificate),
        (OperationReverted, "actor_id", _ChannelFold.take_reversion),
        (OperationFinalized, "actor_id", _ChannelFold.take_finalized),
    )
}
_KINDS = frozenset(_RULES)
assert {model.fact_type.kind for model in CHAT_FACTS} < _KINDS, "every chat fact has its rule"

# The homes are kept as well: what changed in them since is judged anew, whatever the homes view itself has kept.
_SHAPE = KeptShape(
    version=3,
    models=(*CHAT_FACTS, ChannelEpochCommitted, ConvergenceCertified, OperationFinalized, OperationReverted),
    classes=(
        *(_ChannelFold, _Members, _Edits, Topic, ChannelKey, ChannelGate, Finality, MessageLog),
        *(PackedMessages, Marks, _Table, _Voice),
        *(HomesState, Home, Conduct, Standing, Sanction, Kick, Pin),
    ),
    attributes=("_folds", "_homes", "_applied_count", "_wrong_actor_count"),
)

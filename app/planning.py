"""What an intent comes to: the facts to commit, or the reason why not. Pure: the same intent and situation, same plan.

Judges by what this node shows now, for a person's sake: so that a click that could have no effect is answered at once.
It is no guard; views judge every fact by its causal past wherever it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from pydantic import ValidationError

from antiphon.facts import Fact, LocalViolation, ceremony_id_for
from antiphon.facts.ceremonies import CeremonyPhase, CeremonyStatus
from antiphon.facts.chat import (
    ChannelClosed,
    ChannelCreated,
    ChannelRebound,
    ChannelUpdated,
    MembershipChanged,
    MembershipEvent,
    MessageDeleted,
    MessageEdited,
    MessageReacted,
    MessageRead,
    MessageSeen,
    MessageSent,
    TopicEdited,
    note_to_self,
)
from antiphon.facts.contacts import (
    ContactAdded,
    ContactRemoved,
    ContactRenamed,
    FriendshipAccepted,
    FriendshipProposed,
    FriendshipRevoked,
    GuardianBound,
    ReadReceiptPolicyUpdated,
)
from antiphon.facts.invitations import (
    ChannelInvitation,
    ContactInvitation,
    DeviceInvitation,
    GuardianInvitation,
    InvitationAccepted,
    InvitationCancelled,
    InvitationCeremonyAborted,
    InvitationCeremonyAcceptanceReceived,
    InvitationCeremonyCommitted,
    InvitationCeremonyInitiated,
    InvitationCeremonySuperseded,
    InvitationDeclined,
    InvitationSent,
    expiry_of,
)
from antiphon.facts.moderation import (
    HomeBan,
    HomeDeclared,
    HomeGrantModerator,
    HomeKick,
    HomeMute,
    HomePin,
    HomeRevokeModerator,
    HomeUnban,
    HomeUnmute,
    HomeUnpin,
    home_context,
    home_owner,
)
from antiphon.facts.protocol import RecoveryGranted
from antiphon.journal import SharedText
from antiphon.views.chat_state import Channel, ChatState, Message
from antiphon.views.contacts_state import Contact, ContactsState
from antiphon.views.homes_state import Home, HomesState
from antiphon.views.invitations_state import Invitation, InvitationsState
from antiphon.views.registers import owned_id

from . import intents as ask
from .intent_errors import IntentError, Mover, RefusalKind

_AUTHORITY = re.compile(r"[0-9a-f]{32}")
# After so many the topic is stated anew, as a whole.
_TOPIC_CHANGES_MAX = 64


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a plan may look at: who asks (``me``, ``label``), when (ms), where facts go, and what is shown.

    ``find_message`` finds a visible message by context, channel and id, however old it is; ``topic_of`` gives the topic
    of a channel, by context and id, as a text to change.
    """

    me: str
    label: str
    now_ms: int
    namespace: str
    chat: ChatState
    contacts: ContactsState
    invitations: InvitationsState
    homes: HomesState
    new_id: Callable[[], str]
    find_message: Callable[[str, str, str], Message | None]
    topic_of: Callable[[str, str], SharedText]


class Plan(NamedTuple):
    """The facts that an intent comes to, perhaps none, and the id of what they are about, where there is one."""

    facts: tuple[Fact, ...]
    subject: str | None = None


def plan(intent: ask.Intent, situation: Situation) -> Plan:
    """What to commit. Raises ``IntentError`` (``validation`` or ``unauthorised``) for what could have no effect."""
    try:
        return _PLANS[type(intent)](intent, situation)
    except IntentError as problem:
        problem.operation = intent.operation
        raise
    except (LocalViolation, ValidationError) as problem:  # a rule of the facts themselves, which says what it expects
        raise IntentError("validation", str(problem), operation=intent.operation) from problem


def contacts_context(authority: str) -> str:
    """Where the facts about one's own list go, so that a gate can keep them to oneself."""
    return f"contacts.{authority}"


def _refuse(text: str, *, kind: RefusalKind = "validation", move: Mover = "you") -> IntentError:
    return IntentError(kind, text, move=move)


# Chat


def _find_channel(intent: ask.InChannel, now: Situation) -> Channel:
    channel = now.chat.channel(intent.channel_id, context_id=intent.context_id)
    if channel is None:
        raise _refuse(f"no channel {intent.channel_id!r} is open here; create it, join it, or sync with who has it")
    if intent.context_id is None and sum(key.channel_id == channel.id for key in now.chat.channels) > 1:
        raise _refuse(f"several contexts have a channel {intent.channel_id!r}; name one with context_id")
    return channel


def _about(channel: Channel) -> dict[str, Any]:
    return {"context_id": channel.context_id, "channel_id": channel.id}


def _create_channel(intent: ask.CreateChannel, now: Situation) -> Plan:
    context_id = intent.home or now.namespace
    if intent.home is not None and home_owner(intent.home) is None:
        raise _refuse(f"{intent.home!r} is no home; found one with DeclareHome, or leave home out")
    if intent.home is not None:
        _check_member(now, intent.home)
    channel_id = intent.channel_id or now.new_id()
    if now.chat.channel(channel_id, context_id=context_id) is not None:
        raise _refuse(f"channel {channel_id!r} is open already; choose another id, or rename it")
    created = ChannelCreated(
        context_id=context_id,
        channel_id=channel_id,
        name=intent.name,
        topic=intent.topic,
        created_at=now.now_ms,
        creator_id=now.me,
    )
    return Plan((created,), channel_id)


def _open_direct(intent: ask.OpenDirectMessage, now: Situation) -> Plan:
    if intent.contact_id == now.me:
        raise _refuse("a direct message takes two; OpenNotes is for writing to oneself")
    both = sorted((now.me, intent.contact_id))
    channel_id = "dm-" + sha256("\0".join(both).encode()).hexdigest()[:32]
    if now.chat.channel(channel_id, context_id=now.namespace) is not None:
        return Plan((), channel_id)
    contact = now.contacts.contacts.get(intent.contact_id)
    other = contact.effective_name if contact else intent.contact_id[:8]
    created = ChannelCreated(
        context_id=now.namespace,
        channel_id=channel_id,
        name=f"{now.label}, {other}",
        is_dm=True,
        created_at=now.now_ms,
        creator_id=now.me,
    )
    return Plan((created,), channel_id)


def _open_notes(intent: ask.OpenNotes, now: Situation) -> Plan:
    context_id, channel_id = note_to_self(now.me)
    if now.chat.channel(channel_id, context_id=context_id) is not None:
        return Plan((), channel_id)
    created = ChannelCreated(
        context_id=context_id, channel_id=channel_id, name="Notes", created_at=now.now_ms, creator_id=now.me
    )
    return Plan((created,), channel_id)


def _close_channel(intent: ask.CloseChannel, now: Situation) -> Plan:
    channel = _find_channel(intent, now)
    return Plan((ChannelClosed(**_about(channel), closed_at=now.now_ms, actor_id=now.me),), channel.id)


def _rename_channel(intent: ask.RenameChannel, now: Situation) -> Plan:
    return _update_channel(intent, now, name=intent.name)


def _set_topic(intent: ask.SetTopic, now: Situation) -> Plan:
    return _update_channel(intent, now, topic=intent.topic)


def _edit_topic(intent: ask.EditTopic, now: Situation) -> Plan:
    channel = _find_channel(intent, now)
    shared = now.topic_of(channel.context_id, channel.id)
    if shared.text == intent.topic:
        return Plan((), channel.id)
    # A text of many changes is slow to read, and one with none has nobody to keep the words of.
    if not shared.start or len(shared.updates) >= _TOPIC_CHANGES_MAX:
        return _update_channel(intent, now, topic=intent.topic)
    edited = TopicEdited(
        **_about(channel),
        editor_id=now.me,
        basis=shared.name,
        update=shared.changed_to(intent.topic, actor=now.new_id()),
        edited_at=now.now_ms,
    )
    return Plan((edited,), channel.id)


def _update_channel(intent: ask.InChannel, now: Situation, **fields: Any) -> Plan:
    channel = _find_channel(intent, now)
    return Plan((ChannelUpdated(**_about(channel), **fields, updated_at=now.now_ms, actor_id=now.me),), channel.id)


def _merge_channel(intent: ask.MergeChannel, now: Situation) -> Plan:
    channel = _find_channel(intent, now)
    into = now.chat.channel(intent.into, context_id=channel.context_id)
    if into is None:
        raise _refuse(f"no channel {intent.into!r} is open where {channel.name} is; sync with who made it")
    if into.id == channel.id:
        return Plan((), into.id)
    about = _about(channel)
    return Plan((ChannelRebound(**about, canonical_id=into.id, rebound_at=now.now_ms, actor_id=now.me),), into.id)


def _add_member(intent: ask.AddMember, now: Situation) -> Plan:
    members = _find_channel(intent, now).member_ids
    if intent.member_id in members:
        return Plan((), intent.channel_id)
    return _update_channel(intent, now, member_ids=(*members, intent.member_id))


def _join(intent: ask.JoinChannel, now: Situation) -> Plan:
    context_id = intent.context_id
    if context_id is None:  # one that was left is not shown, so it is looked for where this journal talks
        known = now.chat.channel(intent.channel_id)
        context_id = known.context_id if known else now.namespace
    if home_owner(context_id) is not None:
        _check_member(now, context_id)
        _check_not_banned(now, context_id, intent.channel_id)
    about = {"context_id": context_id, "channel_id": intent.channel_id}
    return Plan((_membership(now, about, "joined"),), intent.channel_id)


def _leave(intent: ask.LeaveChannel, now: Situation) -> Plan:
    channel = _find_channel(intent, now)
    return Plan((_membership(now, _about(channel), "left"),), channel.id)


def _membership(now: Situation, about: Mapping[str, Any], event: MembershipEvent) -> Fact:
    who = {"participant_id": now.me, "participant_name": now.label}
    return MembershipChanged(**about, **who, event=event, changed_at=now.now_ms)


def _send(intent: ask.SendMessage, now: Situation) -> Plan:
    channel = _find_channel(intent, now)
    _check_heard(now, channel)
    if intent.message_id is not None:
        said = _find_message(intent.message_id, channel, now)
        if said is not None and said.is_own:
            return Plan((), intent.message_id)
    message_id = intent.message_id or owned_id(now.me, now.new_id())
    sent = MessageSent(
        **_about(channel),
        message_id=message_id,
        sender_id=now.me,
        sender_name=now.label,
        text=intent.text,
        sent_at=now.now_ms,
        reply_to=intent.reply_to,
    )
    return Plan((sent,), message_id)


def _find_message(message_id: str, channel: Channel, now: Situation) -> Message | None:
    """A message that a screen shows, or could if one scrolled far enough back."""
    shown = now.chat.messages_in(channel.id, context_id=channel.context_id)
    on_screen = next((each for each in shown if each.id == message_id), None)
    return on_screen or now.find_message(channel.context_id, channel.id, message_id)


def _find_shown(intent: Any, now: Situation) -> tuple[Channel, Message]:
    channel = _find_channel(intent, now)
    message = _find_message(intent.message_id, channel, now)
    if message is None:
        raise _refuse(f"no message {intent.message_id!r} is in {channel.name}; it may be deleted or hidden")
    return channel, message


def _at(channel: Channel, message: Message) -> dict[str, Any]:
    """What every fact about a message says; it stays with the channel it was said in, whatever became of that."""
    return {"context_id": channel.context_id, "channel_id": message.channel_id, "message_id": message.id}


def _find_own(intent: Any, now: Situation, *, doing: str) -> tuple[Channel, Message]:
    channel, message = _find_shown(intent, now)
    if not message.is_own or message.imported_by is not None:
        raise _refuse(
            f"only {message.sender_name} can {doing} what they said; ask them, or a moderator to hide it",
            kind="unauthorised",
            move="them",
        )
    return channel, message


def _edit(intent: ask.EditMessage, now: Situation) -> Plan:
    channel, message = _find_own(intent, now, doing="edit")
    if message.content == intent.text:
        return Plan((), message.id)
    about = _at(channel, message)
    return Plan((MessageEdited(**about, editor_id=now.me, new_text=intent.text, edited_at=now.now_ms),), message.id)


def _delete(intent: ask.DeleteMessage, now: Situation) -> Plan:
    channel, message = _find_own(intent, now, doing="delete")
    about = _at(channel, message)
    return Plan((MessageDeleted(**about, deleter_id=now.me, deleted_at=now.now_ms),), message.id)


def _react(intent: ask.ReactToMessage, now: Situation) -> Plan:
    channel, message = _find_shown(intent, now)
    has_reacted = any(now.me in by for reaction, by in message.reactions if reaction == intent.reaction)
    if has_reacted is not intent.is_taken_back:
        return Plan((), message.id)
    if not intent.is_taken_back:  # taking back is free: it shows nobody anything
        _check_heard(now, channel)
    reacted = MessageReacted(
        **_at(channel, message),
        reactor_id=now.me,
        reaction=intent.reaction,
        is_taken_back=intent.is_taken_back,
        reacted_at=now.now_ms,
    )
    return Plan((reacted,), message.id)


def _mark_read(intent: ask.MarkRead, now: Situation) -> Plan:
    channel = _find_channel(intent, now)
    wanted = frozenset(intent.message_ids)
    shown = now.chat.messages_in(channel.id, context_id=channel.context_id)
    seen = [each for each in shown if not wanted or each.id in wanted]
    older = [_find_message(each, channel, now) for each in sorted(wanted - {message.id for message in seen})]
    unread = [each for each in (*seen, *older) if each is not None and not each.is_own and not each.is_read]
    return Plan(tuple(_read(channel, each, now) for each in unread), channel.id)


def _read(channel: Channel, message: Message, now: Situation) -> Fact:
    """That it was read: told to everybody, or, when a contact is not to be told, noted for oneself."""
    author = now.contacts.contacts.get(message.imported_by or message.sender_id)
    about = _at(channel, message)
    if author is None or author.read_receipt_policy == "enabled":
        return MessageRead(**about, reader_id=now.me, read_at=now.now_ms)
    there = {"context_id": contacts_context(now.me), "channel_context_id": channel.context_id}
    return MessageSeen(**about | there, reader_id=now.me, seen_at=now.now_ms)


# Contacts


def _own_list(now: Situation, contact_id: str) -> dict[str, Any]:
    if contact_id == now.me:
        raise _refuse("nobody is their own contact; give somebody else's authority")
    return {"context_id": contacts_context(now.me), "owner_id": now.me, "contact_id": contact_id}


def _find_contact(now: Situation, contact_id: str) -> Contact:
    contact = now.contacts.contacts.get(contact_id)
    if contact is None:
        raise _refuse(f"{contact_id[:8]} is no contact here; add them first, with their authority in full")
    return contact


def _add_contact(intent: ask.AddContact, now: Situation) -> Plan:
    about = _own_list(now, intent.contact_id)
    return Plan((ContactAdded(**about, nickname=intent.nickname, added_at=now.now_ms),), intent.contact_id)


def _rename_contact(intent: ask.RenameContact, now: Situation) -> Plan:
    about = _own_list(now, _find_contact(now, intent.contact_id).id)
    return Plan((ContactRenamed(**about, new_nickname=intent.nickname, renamed_at=now.now_ms),), intent.contact_id)


def _remove_contact(intent: ask.RemoveContact, now: Situation) -> Plan:
    about = _own_list(now, _find_contact(now, intent.contact_id).id)
    return Plan((ContactRemoved(**about, removed_at=now.now_ms),), intent.contact_id)


def _set_receipts(intent: ask.SetReadReceipts, now: Situation) -> Plan:
    about = _own_list(now, _find_contact(now, intent.contact_id).id)
    return Plan((ReadReceiptPolicyUpdated(**about, policy=intent.policy, updated_at=now.now_ms),), intent.contact_id)


def _bind_guardian(intent: ask.BindGuardian, now: Situation) -> Plan:
    contact = _find_contact(now, intent.contact_id)
    if contact.is_guardian:
        return Plan((), contact.id)
    about = {"context_id": contacts_context(now.me), "account_id": now.me, "guardian_id": contact.id}
    return Plan((GuardianBound(**about, bound_at=now.now_ms),), contact.id)


def _grant_recovery(intent: ask.GrantRecovery, now: Situation) -> Plan:
    contact = _find_contact(now, intent.contact_id)
    about = {"context_id": now.namespace, "account_id": contact.id, "guardian_id": now.me}
    return Plan((RecoveryGranted(**about, operation_id=intent.operation_id, granted_at=now.now_ms),), contact.id)


def _between(now: Situation, *, requester: str, accepter: str) -> dict[str, Any]:
    return {"context_id": now.namespace, "requester_id": requester, "accepter_id": accepter}


def _offer_friendship(intent: ask.OfferFriendship, now: Situation) -> Plan:
    other = intent.contact_id
    _own_list(now, other)
    contact = now.contacts.contacts.get(other)
    state = contact.relationship_state if contact else "contact"
    if state == "friend":
        raise _refuse("you are friends already")
    if state == "pending_inbound":
        raise _refuse("they have offered it already; accept their offer")
    if state == "pending_outbound":
        raise _refuse("your offer waits for their answer", move="them")
    about = _between(now, requester=now.me, accepter=other)
    return Plan((FriendshipProposed(**about, proposed_at=now.now_ms),), other)


def _accept_friendship(intent: ask.AcceptFriendship, now: Situation) -> Plan:
    contact = _find_contact(now, intent.contact_id)
    if contact.relationship_state == "pending_outbound":
        raise _refuse("the offer is yours; it is theirs to accept", kind="unauthorised", move="them")
    if contact.relationship_state != "pending_inbound":
        raise _refuse(f"{contact.effective_name} has not offered friendship; offer it yourself")
    about = _between(now, requester=contact.id, accepter=now.me)
    return Plan((FriendshipAccepted(**about, accepted_at=now.now_ms),), contact.id)


def _end_friendship(intent: ask.EndFriendship, now: Situation) -> Plan:
    contact = _find_contact(now, intent.contact_id)
    if contact.relationship_state == "contact":
        raise _refuse(f"there is no friendship with {contact.effective_name}, nor an offer of one")
    is_theirs = contact.relationship_state == "pending_inbound"
    about = _between(now, requester=contact.id if is_theirs else now.me, accepter=now.me if is_theirs else contact.id)
    return Plan((FriendshipRevoked(**about, revoked_at=now.now_ms, actor_id=now.me),), contact.id)


# Invitations


def _invite(intent: ask.SendInvitation, now: Situation) -> Plan:
    if intent.receiver_id == now.me:
        raise _refuse("nobody invites themselves; leave receiver_id out for an invitation to whoever holds the link")
    if (intent.offer == "home") != (intent.home is not None):
        raise _refuse("an invitation to a home names it, and no other does: give home exactly when offer is 'home'")
    context_id = now.namespace
    offered: ContactInvitation | GuardianInvitation | ChannelInvitation = ContactInvitation(nickname=now.label)
    if intent.offer == "guardian":
        offered = GuardianInvitation(subject_authority=now.me)
    if intent.home is not None:
        if home_owner(intent.home) is None:
            raise _refuse(f"{intent.home!r} is no home; found one with DeclareHome")
        home = _check_member(now, intent.home)
        offered = ChannelInvitation(home_id=intent.home, nickname_suggestion=home.name if home else None)
        context_id = intent.home
    more = {"receiver_nickname": intent.receiver_name, "message": intent.message}
    return _offer(intent, now, owned_id(now.me, now.new_id()), context_id=context_id, invitation_type=offered, **more)


def _enrol_device(intent: ask.EnrolDevice, now: Situation) -> Plan:
    invitation_id = owned_id(now.me, now.new_id())
    offered = DeviceInvitation(
        subject_authority=now.me,
        initiator_device_id=now.me,
        device_id=intent.device_id,
        ceremony_id=_ceremony_id(invitation_id, "enrol", now),
        pending_epoch=intent.pending_epoch,
        nickname_suggestion=intent.name,
        key_package=intent.key_package,
    )
    return _offer(intent, now, invitation_id, context_id=now.namespace, invitation_type=offered)


def _offer(intent: ask.SendInvitation | ask.EnrolDevice, now: Situation, invitation_id: str, **fields: Any) -> Plan:
    sent = InvitationSent(
        **fields,
        invitation_id=invitation_id,
        sender_id=now.me,
        receiver_id=intent.receiver_id or now.me,
        sent_at=now.now_ms,
        expires_at=None if intent.lifetime_ms is None else expiry_of(now.now_ms, lifetime_ms=intent.lifetime_ms),
    )
    return Plan((sent,), invitation_id)


def _find_invitation(intent: ask.AboutInvitation, now: Situation) -> Invitation | None:
    """The invitation, when it waits for an answer; None for one that only its link tells of."""
    found = now.invitations.find(intent.invitation_id)
    if found is None and intent.context_id is None:
        raise _refuse(
            f"no invitation {intent.invitation_id!r} is known here; sync with who sent it, or name its context_id"
        )
    if found is not None and found.status != "pending":
        raise _refuse(f"the invitation has ended: {found.status}; whoever sent it may send another")
    return found


def _answer(intent: ask.AboutInvitation, now: Situation) -> dict[str, Any]:
    found = _find_invitation(intent, now)
    if found is not None and found.direction == "sent":
        raise _refuse(
            "you sent this invitation, so the answer is the receiver's; you can cancel it",
            kind="unauthorised",
            move="them",
        )
    return {
        "context_id": found.context_id if found else intent.context_id,
        "invitation_id": intent.invitation_id,
    }


def _accept_invitation(intent: ask.AcceptInvitation, now: Situation) -> Plan:
    about = _answer(intent, now)
    accepted = InvitationAccepted(**about, acceptor_id=now.me, accepted_at=now.now_ms)
    found = now.invitations.find(intent.invitation_id)
    return Plan((accepted, *(_make_contact(found, now) if found is not None else ())), intent.invitation_id)


def _make_contact(invitation: Invitation, now: Situation) -> tuple[Fact, ...]:
    """The other party of an invitation to become contacts, unless they are one already."""
    other, name = invitation.from_id, invitation.from_name
    if other == now.me:
        other, name = invitation.accepted_by or invitation.to_id or now.me, invitation.to_name or ""
    if invitation.offer != "contact" or other == now.me or other in now.contacts.contacts:
        return ()
    about = {**_own_list(now, other), "invitation_code": invitation.id}
    return (ContactAdded(**about, nickname=name, added_at=now.now_ms),)


def _decline_invitation(intent: ask.DeclineInvitation, now: Situation) -> Plan:
    about = _answer(intent, now)
    return Plan((InvitationDeclined(**about, decliner_id=now.me, declined_at=now.now_ms),), intent.invitation_id)


def _cancel_invitation(intent: ask.CancelInvitation, now: Situation) -> Plan:
    found = _find_invitation(intent, now)
    if found is None or found.direction != "sent":
        raise _refuse("only who sent an invitation can cancel it; you can decline it", kind="unauthorised", move="them")
    about = {"context_id": found.context_id, "invitation_id": found.id}
    return Plan((InvitationCancelled(**about, canceller_id=now.me, cancelled_at=now.now_ms),), found.id)


# Ceremonies


def _ceremony_id(invitation_id: str, doing: str, now: Situation) -> str:
    return ceremony_id_for(prestate=invitation_id.encode(), operation=doing, nonce=now.new_id().encode())


def _held(intent: ask.AboutInvitation, now: Situation) -> tuple[Invitation, CeremonyStatus | None]:
    """An accepted invitation of one's own, and its ceremony that is under way."""
    found = now.invitations.find(intent.invitation_id)
    if found is None:
        raise _refuse(f"no invitation {intent.invitation_id!r} is known here; sync with who sent it")
    if found.status != "accepted":
        raise _refuse(f"only an accepted invitation has a ceremony, and this one is {found.status}", move="them")
    return found, found.active_ceremony


def _under_way(intent: ask.AboutInvitation, now: Situation) -> tuple[Invitation, CeremonyStatus]:
    found, ceremony = _held(intent, now)
    if ceremony is None:
        raise _refuse("no ceremony of this invitation is under way; begin one")
    return found, ceremony


def _part_of(invitation: Invitation, now: Situation) -> dict[str, Any]:
    return {"context_id": invitation.context_id, "invitation_id": invitation.id, "timestamp_ms": now.now_ms}


def _begin_ceremony(intent: ask.BeginCeremony, now: Situation) -> Plan:
    found, ceremony = _held(intent, now)
    if ceremony is not None:
        raise _refuse("a ceremony of this invitation is under way; agree to it, abort it, or supersede it")
    if any(each.phase is CeremonyPhase.COMMITTED for each in found.ceremonies):
        raise _refuse("this invitation is binding already; its ceremony was committed")
    ceremony_id = _ceremony_id(found.id, "bind", now)
    begun = InvitationCeremonyInitiated(
        **_part_of(found, now),
        ceremony_id=ceremony_id,
        sender_id=now.me,
        required=intent.required,
        pending_epoch=intent.pending_epoch,
        agreement_mode=intent.agreement_mode,
    )
    return Plan((begun, _agreed(found, ceremony_id, now)), ceremony_id)


def _agreed(invitation: Invitation, ceremony_id: str, now: Situation) -> Fact:
    part = _part_of(invitation, now)
    return InvitationCeremonyAcceptanceReceived(**part, ceremony_id=ceremony_id, acceptor_id=now.me)


def _agree_ceremony(intent: ask.AgreeToCeremony, now: Situation) -> Plan:
    found, ceremony = _under_way(intent, now)
    if now.me in ceremony.accepted_by:
        return Plan((), ceremony.ceremony_id)
    return Plan((_agreed(found, ceremony.ceremony_id, now),), ceremony.ceremony_id)


def _commit_ceremony(intent: ask.CommitCeremony, now: Situation) -> Plan:
    found, ceremony = _under_way(intent, now)
    if ceremony.phase is not CeremonyPhase.COMMITTING:
        missing = "the number is not told" if ceremony.required is None else f"{ceremony.required} must"
        raise _refuse(f"{ceremony.received} have agreed, {missing}; it is for the other party to agree", move="them")
    committed = InvitationCeremonyCommitted(
        **_part_of(found, now),
        ceremony_id=ceremony.ceremony_id,
        actor_id=now.me,
        relationship_id="rel-" + sha256(ceremony.ceremony_id.encode()).hexdigest()[:16],
        consensus_id=intent.consensus_id,
    )
    return Plan((committed, *_make_guardian(found, now), *_make_contact(found, now)), ceremony.ceremony_id)


def _make_guardian(invitation: Invitation, now: Situation) -> tuple[Fact, ...]:
    """Whoever accepted to be one, when oneself asked for it."""
    guardian = invitation.accepted_by
    if invitation.type != "guardian" or invitation.direction != "sent" or guardian is None:
        return ()
    about = {"context_id": contacts_context(now.me), "account_id": now.me, "guardian_id": guardian}
    return (GuardianBound(**about, bound_at=now.now_ms),)


def _abort_ceremony(intent: ask.AbortCeremony, now: Situation) -> Plan:
    found, ceremony = _under_way(intent, now)
    part = {**_part_of(found, now), "ceremony_id": ceremony.ceremony_id}
    return Plan((InvitationCeremonyAborted(**part, actor_id=now.me, reason=intent.reason),), ceremony.ceremony_id)


def _supersede_ceremony(intent: ask.SupersedeCeremony, now: Situation) -> Plan:
    found, ceremony = _under_way(intent, now)
    ceremony_id = _ceremony_id(found.id, "bind", now)
    # Only one that began later takes the place of another.
    part = {**_part_of(found, now), "timestamp_ms": max(now.now_ms, (ceremony.at_ms or 0) + 1)}
    begun = InvitationCeremonyInitiated(
        **part,
        ceremony_id=ceremony_id,
        sender_id=now.me,
        required=ceremony.required,
        pending_epoch=ceremony.pending_epoch,
        agreement_mode=ceremony.agreement_mode,
    )
    superseded = InvitationCeremonySuperseded(
        **part,
        superseded_ceremony_id=ceremony.ceremony_id,
        superseding_ceremony_id=ceremony_id,
        actor_id=now.me,
        reason=intent.reason,
    )
    return Plan((begun, superseded, _agreed(found, ceremony_id, now)), ceremony_id)


# Homes


def _check_member(now: Situation, context_id: str) -> Home | None:
    """The home, when one is in it; its owner is even before anything is known of it."""
    home = now.homes.home(context_id)
    if home_owner(context_id) == now.me or (home is not None and home.role_of(now.me) is not None):
        return home
    raise _refuse(
        "you are not in this home, so nobody there would see it; ask its owner for an invitation, and accept it",
        kind="unauthorised",
        move="them",
    )


def _check_not_banned(now: Situation, context_id: str, channel_id: str) -> None:
    home = now.homes.home(context_id)
    if home is not None and home.is_banned(now.me, channel_id=channel_id, now_ms=now.now_ms):
        raise _refuse(
            "you are banned here; it is for a moderator to lift that, or wait until it ends",
            kind="unauthorised",
            move="them",
        )


def _check_heard(now: Situation, channel: Channel) -> None:
    """Refuse what one says in *channel* when nobody but oneself would be shown it."""
    if home_owner(channel.context_id) is None:
        return
    home = _check_member(now, channel.context_id)
    _check_not_banned(now, channel.context_id, channel.id)
    if home is not None and home.is_muted(now.me, channel_id=channel.id, now_ms=now.now_ms):
        raise _refuse(
            "you are muted here, so nobody would see it; it is for a moderator to lift that, or wait until it ends",
            kind="unauthorised",
            move="them",
        )


def _as_moderator(intent: ask.InHome, now: Situation) -> dict[str, Any]:
    """What every moderation fact says, when one has the right to say it."""
    owner = home_owner(intent.home)
    if owner is None:
        raise _refuse(f"{intent.home!r} is no home; give the context of one")
    home = now.homes.home(intent.home)
    role = "owner" if owner == now.me else (home.role_of(now.me) if home is not None else None)
    owner_only = isinstance(intent, ask.GrantModerator | ask.RevokeModerator)
    if role != "owner" and (owner_only or role != "moderator"):
        who = "the owner" if owner_only else "the owner or a moderator"
        raise _refuse(f"only {who} of the home may do this; ask them", kind="unauthorised", move="them")
    if isinstance(intent, ask.Moderate) and intent.target_id == owner:
        raise _refuse("nobody acts against the owner of a home", kind="unauthorised", move="them")
    if isinstance(intent, ask.Moderate) and not _AUTHORITY.fullmatch(intent.target_id):
        raise _refuse(f"{intent.target_id[:40]!r} names nobody; people are named by their authority, 32 hex digits")
    return {"context_id": intent.home, "actor_id": now.me, "basis": home.basis if home is not None else ()}


def _declare_home(intent: ask.DeclareHome, now: Situation) -> Plan:
    context_id = home_context(now.me, intent.name)
    declared = HomeDeclared(
        context_id=context_id, owner_id=now.me, name=intent.title or intent.name, declared_at=now.now_ms
    )
    return Plan((declared,), context_id)


def _end_of(now: Situation, duration_s: int | None) -> int | None:
    return None if duration_s is None else now.now_ms + duration_s * 1_000


_IN_HOMES: dict[type[ask.InHome], type[Fact]] = {
    ask.Mute: HomeMute,
    ask.Unmute: HomeUnmute,
    ask.Ban: HomeBan,
    ask.Unban: HomeUnban,
    ask.KickMember: HomeKick,
    ask.PinMessage: HomePin,
    ask.UnpinMessage: HomeUnpin,
    ask.GrantModerator: HomeGrantModerator,
    ask.RevokeModerator: HomeRevokeModerator,
}


def _moderate(intent: ask.InHome, now: Situation, **more: Any) -> Plan:
    """The fact says what was asked, in the same fields, and who asks and when."""
    fact = _IN_HOMES[type(intent)]
    asked = intent.model_dump(exclude={"home", "duration_s"})
    said = fact(**_as_moderator(intent, now), **asked, **more, **{str(fact.fact_type.time): now.now_ms})
    return Plan((said,), asked.get("target_id") or asked["message_id"])


def _mute(intent: ask.Mute, now: Situation) -> Plan:
    return _moderate(intent, now, duration_secs=intent.duration_s, expires_at=_end_of(now, intent.duration_s))


def _ban(intent: ask.Ban, now: Situation) -> Plan:
    return _moderate(intent, now, expires_at=_end_of(now, intent.duration_s))


_PLANS: dict[type[ask.Intent], Callable[[Any, Situation], Plan]] = {
    ask.CreateChannel: _create_channel,
    ask.OpenDirectMessage: _open_direct,
    ask.OpenNotes: _open_notes,
    ask.CloseChannel: _close_channel,
    ask.RenameChannel: _rename_channel,
    ask.SetTopic: _set_topic,
    ask.EditTopic: _edit_topic,
    ask.JoinChannel: _join,
    ask.LeaveChannel: _leave,
    ask.AddMember: _add_member,
    ask.MergeChannel: _merge_channel,
    ask.ReactToMessage: _react,
    ask.SendMessage: _send,
    ask.EditMessage: _edit,
    ask.DeleteMessage: _delete,
    ask.MarkRead: _mark_read,
    ask.AddContact: _add_contact,
    ask.RenameContact: _rename_contact,
    ask.RemoveContact: _remove_contact,
    ask.SetReadReceipts: _set_receipts,
    ask.BindGuardian: _bind_guardian,
    ask.GrantRecovery: _grant_recovery,
    ask.OfferFriendship: _offer_friendship,
    ask.AcceptFriendship: _accept_friendship,
    ask.EndFriendship: _end_friendship,
    ask.SendInvitation: _invite,
    ask.EnrolDevice: _enrol_device,
    ask.AcceptInvitation: _accept_invitation,
    ask.DeclineInvitation: _decline_invitation,
    ask.CancelInvitation: _cancel_invitation,
    ask.BeginCeremony: _begin_ceremony,
    ask.AgreeToCeremony: _agree_ceremony,
    ask.CommitCeremony: _commit_ceremony,
    ask.AbortCeremony: _abort_ceremony,
    ask.SupersedeCeremony: _supersede_ceremony,
    ask.DeclareHome: _declare_home,
    **dict.fromkeys(_IN_HOMES, _moderate),
    ask.Mute: _mute,
    ask.Ban: _ban,
}
assert _PLANS.keys() == set(ask.INTENTS.values()), "every intent has its plan"

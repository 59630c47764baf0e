"""What each fact that ships binds, and to which operation it belongs: the row of the fact-history table, not a view.

A binding is (sub-type, key) in a context. Reading one never fails: what cannot be decoded binds as what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .encoding import FactRecord
from .fact import DerivedContext, Fact
from .registry import Decoded, FactRegistry

GENERIC = "generic"
"""The sub-type of what no rule names: a foreign kind, a newer version, a payload that cannot be read."""


class Binding(NamedTuple):
    """What a fact binds: *kind* is the fact's, *key* the ids it is about (or nothing)."""

    binding_type: str
    context_id: str
    kind: str
    key: tuple[str, ...]


class BindingRule(NamedTuple):
    """How facts of one kind bind, which operation commits them, and what a view makes of them."""

    binding_type: str
    key_of: Callable[[Any], tuple[str, ...]]
    key_name: str
    operation: str | None
    effect: str


def binding_of(fact: Fact, *, context_id: str | None = None) -> Binding:
    """What *fact* binds, in the context it names (else *context_id*, else a derived one or none); pure, O(1)."""
    kind = fact.fact_type.kind
    named = fact.fact_type.context_of(fact)
    context = context_id if isinstance(named, DerivedContext) and context_id else named or context_id or ""
    rule = BINDING_RULES.get(kind)
    if rule is None:
        return Binding(GENERIC, context, kind, ())
    return Binding(rule.binding_type, context, kind, rule.key_of(fact))


def reduce_record(registry: FactRegistry, record: FactRecord, *, context_id: str) -> Binding:
    """What a member binds in *context_id*; never raises, and is equal for equal input.

    Generic for a kind that is not registered, a payload that cannot be read, and a fact of another context.
    """
    return binding_of_decoded(registry.decode(record), record, context_id=context_id)


def binding_of_decoded(decoded: Decoded, record: FactRecord, *, context_id: str) -> Binding:
    """As ``reduce_record``, of what was decoded already."""
    if not isinstance(decoded, Fact) or record.chain.namespace != context_id:
        return Binding(GENERIC, context_id, record.kind, ())
    return binding_of(decoded, context_id=context_id)


def _fields(*names: str) -> Callable[[Any], tuple[str, ...]]:
    return lambda fact: tuple(str(getattr(fact, name)) for name in names)


def _edge(fact: Any) -> tuple[str, ...]:
    """A friendship is one edge, whoever asked."""
    return tuple(sorted((fact.requester_id, fact.accepter_id)))


def _rule(sub_type: str, key: str, operation: str | None, effect: str) -> BindingRule:
    return BindingRule(sub_type, _edge if key == "pair" else _fields(*key.split()), key, operation, effect)


_MODERATION = "Judged by the homes view: only by the owner or a moderator, as far as the author had seen. "

BINDING_RULES: Mapping[str, BindingRule] = MappingProxyType(
    {
        "chat.channel_created": _rule(
            "channel-created",
            "channel_id",
            "chat:create-channel",
            "Opens the channel while it is newer than every closing; the earliest one names the creator.",
        ),
        "chat.channel_closed": _rule(
            "channel-closed",
            "channel_id",
            "chat:close-channel",
            "Hides the channel, and for ever what was said until then.",
        ),
        "chat.channel_updated": _rule(
            "channel-updated", "channel_id", "chat:update-topic", "The newest value of each field counts."
        ),
        "chat.topic_edited": _rule(
            "topic-edited",
            "channel_id",
            "chat:update-topic",
            "Changes the shared text that the topic in `basis` began, while that is the newest topic that was stated.",
        ),
        "chat.channel_rebound": _rule(
            "channel-rebound",
            "channel_id",
            "chat:rebind-channel",
            "Shows what was said in it in the other channel, once that is known; the newest word counts.",
        ),
        "chat.message_sent": _rule(
            "message-sent",
            "message_id",
            "chat:send-message",
            "Shown in stamp order; of several with one id the earliest counts.",
        ),
        "chat.message_sent_sealed": _rule(
            "message-sent",
            "message_id",
            "chat:send-message",
            "As a message that was sent; its text is the opener's answer or a placeholder.",
        ),
        "chat.message_read": _rule(
            "message-read",
            "message_id",
            "chat:mark-read",
            "The owner's own lowers the unread count; another's marks an own message as read.",
        ),
        "chat.message_seen": _rule(
            "message-seen",
            "channel_context_id message_id",
            "chat:mark-read",
            "Lowers the owner's unread count and is shown to nobody else.",
        ),
        "chat.message_reacted": _rule(
            "message-reacted",
            "message_id",
            "chat:react-message",
            "Of one person's words about one sign the newest counts.",
        ),
        "chat.message_edited": _rule(
            "message-edited", "message_id", "chat:edit-message", "Of the author's own edits the newest counts."
        ),
        "chat.message_edited_sealed": _rule(
            "message-edited", "message_id", "chat:edit-message", "As a plain edit, read by the opener."
        ),
        "chat.message_delivery_updated": _rule(
            "delivery-updated", "message_id", "chat:update-delivery", "The status only rises."
        ),
        "chat.message_deleted": _rule(
            "message-deleted",
            "message_id",
            "chat:delete-message",
            "Takes the author's message away for ever; outranks edits, reads and repeated sends.",
        ),
        "chat.membership_changed": _rule(
            "membership-changed",
            "channel_id participant_id",
            "chat:join-channel",
            "The newest word of each participant counts, kept until the channel is known.",
        ),
        "chat.message_imported": _rule(
            "message-imported", "message_id", None, "Shown with its importer, in the order of file and line."
        ),
        "chat.membership_imported": _rule(
            "membership-imported",
            "channel_id participant_id",
            None,
            "Counts for participants who say nothing themselves.",
        ),
        "contact.added": _rule(
            "contact-added", "contact_id", "contact:add", "The contact is there while this is newer than its removal."
        ),
        "contact.removed": _rule(
            "contact-removed", "contact_id", "contact:remove", "Voids names, policy and code from before."
        ),
        "contact.renamed": _rule("contact-renamed", "contact_id", "contact:rename", "The newest name counts."),
        "contact.read_receipt_policy_updated": _rule(
            "read-receipt-policy", "contact_id", "contact:set-read-receipt-policy", "The newest policy counts."
        ),
        "friendship.proposed": _rule(
            "friendship-edge", "pair", "friendship:propose", "An offer; between friends it says nothing."
        ),
        "friendship.accepted": _rule(
            "friendship-edge", "pair", "friendship:accept", "With the offer it names it makes friends."
        ),
        "friendship.revoked": _rule(
            "friendship-edge", "pair", "friendship:revoke", "Ends what is not newer; outranks the others at one time."
        ),
        "guardian.bound": _rule(
            "guardian-binding",
            "guardian_id",
            "contact:guardian-bind",
            "Flags the contact, whichever comes first.",
        ),
        "guardian.recovery_granted": _rule(
            "recovery-grant", "account_id guardian_id operation_id", "contact:recovery-grant", "Kept; no view shows it."
        ),
        "invitation.sent": _rule(
            "invitation-sent", "invitation_id", "invitation:send", "Of several with one id the earliest counts."
        ),
        "invitation.accepted": _rule(
            "invitation-accepted", "invitation_id", "invitation:accept", "Only by the receiver, and in time."
        ),
        "invitation.declined": _rule(
            "invitation-declined", "invitation_id", "invitation:decline", "Only by the receiver, and in time."
        ),
        "invitation.cancelled": _rule(
            "invitation-cancelled", "invitation_id", "invitation:cancel", "Only by the sender; seen by both."
        ),
        "invitation.ceremony_initiated": _rule(
            "ceremony-initiated",
            "ceremony_id",
            "invitation:begin-ceremony",
            "Begins a ceremony for an accepted invitation.",
        ),
        "invitation.ceremony_acceptance_received": _rule(
            "ceremony-acceptance-received",
            "ceremony_id",
            "invitation:agree-ceremony",
            "Distinct acceptors are counted.",
        ),
        "invitation.ceremony_committed": _rule(
            "ceremony-committed",
            "ceremony_id",
            "invitation:commit-ceremony",
            "Outranks every other part of the ceremony.",
        ),
        "invitation.ceremony_aborted": _rule(
            "ceremony-aborted",
            "ceremony_id",
            "invitation:abort-ceremony",
            "Ends the ceremony, unless it was committed or superseded.",
        ),
        "invitation.ceremony_superseded": _rule(
            "ceremony-superseded",
            "superseded_ceremony_id",
            "invitation:supersede-ceremony",
            "Ends the superseded ceremony, unless it was committed.",
        ),
        "channel.epoch_committed": _rule(
            "channel-epoch",
            "channel_id transition_id",
            "chat:commit-epoch",
            "By the channel's creator or who moderates its home: messages up to the parent epoch are final.",
        ),
        "protocol.convergence_certified": _rule(
            "convergence-cert", "op_id", None, "Marks the message as safe until it is taken back."
        ),
        "protocol.operation_reverted": _rule("reversion", "op_id", None, "Takes back certificates that are not newer."),
        "protocol.operation_finalized": _rule("consensus", "op_id", None, "Marks the message as final for ever."),
        "protocol.leakage_recorded": _rule(
            "leakage", "observer", None, "Added up by class of observer when a context is reduced."
        ),
        "home.declared": _rule(
            "home-declared", "owner_id", "home:declare", "Only by the owner whom the context names; names the home."
        ),
        **{
            f"moderation.home_{name}": _rule(GENERIC, key, f"moderation:{name.replace('_', '-')}", _MODERATION + effect)
            for name, key, effect in (
                ("mute", "target_id", "Hides what the target says meanwhile."),
                ("unmute", "target_id", "Lifts mutes of its scope that are not newer."),
                ("ban", "target_id", "Hides what the target says meanwhile and takes them off the list of members."),
                ("unban", "target_id", "Lifts bans of its scope that are not newer."),
                ("kick", "channel_id target_id", "Takes the target out of the channel until they join again."),
                ("pin", "channel_id message_id", "The newest word on each message counts."),
                ("unpin", "channel_id message_id", "The newest word on each message counts."),
                ("grant_moderator", "target_id", "Only by the owner; the newest word on each target counts."),
                ("revoke_moderator", "target_id", "Only by the owner; the newest word on each target counts."),
            )
        },
        "journal.chain_opened": _rule(
            "chain-opened", "authority device", None, "Certifies whose chain it is; read by the journal itself."
        ),
        "journal.erased": BindingRule(
            "erasure",
            lambda fact: tuple(each.fact_id for each in fact.facts),
            "facts",
            None,
            "The payloads of the facts it names are gone, when its author has the right.",
        ),
        "journal.fork_proven": _rule(
            "fork-proven", "chain seq", None, "Marks the author; read by the journal itself, and gossiped first."
        ),
        "journal.snapshot": _rule(
            "snapshot", "folded_kind sequence", None, "Joins with every fact of its kind; see `journal.fold`."
        ),
        "journal.merge": BindingRule("merge", lambda _: (), "", None, "Carries causal links only."),
    }
)
"""How every kind that ships binds."""

"""The protocol facts: epochs of channels, what was certified, finalised or taken back, and what leaked.

They cross domains: chat, contacts and the journal's own reduction read them. Signatures of witnesses are not checked
here, and who may certify is the reducer's business.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field

from .chat import ContextId
from .fact import Fact

ObserverClass = Literal["external", "neighbor", "in_group"]
"""Who may have learned something: the world, whoever relays, or a member."""

Epoch = Annotated[int, Field(ge=0)]
Witnesses = Annotated[tuple[str, ...], Field(max_length=256)]


class ChannelEpochCommitted(Fact, kind="channel.epoch_committed", version=1, context="context_id", time="committed_at"):
    """The channel goes from ``parent_epoch`` to the next one: what was said up to the parent epoch is final.

    ``transition_id`` is ``channel_transition_id`` of the channel, both epochs and ``commitment`` (the hash of the
    state the new epoch starts from); the certificate names at least ``threshold`` distinct witnesses. Two different
    valid transitions out of one epoch cancel each other. ``actor_id`` must be the signer's authority
    (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    channel_id: str
    actor_id: str
    parent_epoch: Epoch
    successor_epoch: Epoch
    commitment: str
    transition_id: str
    certificate_digest: str
    threshold: int
    witnesses: Witnesses
    committed_at: int


class ConvergenceCertified(
    Fact, kind="protocol.convergence_certified", version=1, context="context_id", time="certified_at"
):
    """All that was asked has been seen to agree on an operation: it is safe unless somebody takes it back.

    ``op_id`` is the id of the fact that is meant, in hex, and ``channel_id`` its channel when it is a message.
    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    op_id: str
    channel_id: str | None = None
    actor_id: str
    prestate_hash: str
    coordinator_epoch: Epoch
    acknowledged_by: Witnesses = ()
    window_ms: int | None = None
    certified_at: int


class OperationReverted(Fact, kind="protocol.operation_reverted", version=1, context="context_id", time="reverted_at"):
    """The operation is no longer safe: a certificate for it that is not newer says nothing.

    ``op_id`` is the id of the fact that is meant, in hex, and ``channel_id`` its channel when it is a message.
    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    op_id: str
    channel_id: str | None = None
    actor_id: str
    reason: str = ""
    reverted_at: int


class OperationFinalized(
    Fact, kind="protocol.operation_finalized", version=1, context="context_id", time="finalized_at"
):
    """A consensus stands behind the operation, for ever: nothing takes it back.

    ``op_id`` is the id of the fact that is meant, in hex, and ``channel_id`` its channel when it is a message.
    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    op_id: str
    channel_id: str | None = None
    actor_id: str
    consensus_id: str
    finalized_at: int


class LeakageRecorded(Fact, kind="protocol.leakage_recorded", version=1, context="context_id", time="recorded_at"):
    """An observer of that class may have learned ``amount`` units from an operation; amounts add up.

    ``actor_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    actor_id: str
    observer: ObserverClass
    amount: Annotated[int, Field(ge=0)]
    operation: str
    recorded_at: int


class RecoveryGranted(Fact, kind="guardian.recovery_granted", version=1, context="context_id", time="granted_at"):
    """A guardian lets the account recover, by the operation that is named.

    ``guardian_id`` must be the signer's authority (``journal.authority``), or views ignore the fact.
    """

    context_id: ContextId
    account_id: str
    guardian_id: str
    operation_id: str
    granted_at: int


PROTOCOL_FACTS: tuple[type[Fact], ...] = (
    ChannelEpochCommitted,
    ConvergenceCertified,
    OperationReverted,
    OperationFinalized,
    LeakageRecorded,
    RecoveryGranted,
)


def channel_transition_id(
    *, context_id: str, channel_id: str, parent_epoch: int, successor_epoch: int, commitment: str
) -> str:
    """The id of a transition: the hash of its identity, 64 hex digits."""
    parts = (context_id, channel_id, str(parent_epoch), str(successor_epoch), commitment)
    body = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return sha256(b"antiphon.transition.1" + body).hexdigest()


def is_certified(fact: ChannelEpochCommitted) -> bool:
    """Whether a transition is well formed: the next epoch, its own id, and a certificate that reaches its threshold."""
    expected = channel_transition_id(
        context_id=fact.context_id,
        channel_id=fact.channel_id,
        parent_epoch=fact.parent_epoch,
        successor_epoch=fact.successor_epoch,
        commitment=fact.commitment,
    )
    return (
        fact.successor_epoch == fact.parent_epoch + 1
        and fact.transition_id == expected
        and bool(fact.certificate_digest)
        and 0 < fact.threshold <= len(set(fact.witnesses))
    )

"""The vocabulary: what can be asserted, by whom, when, and in which bytes."""

if __name__ == "facts":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.facts")

from typing import TYPE_CHECKING

from .encoding import AfterLink, FactRecord, ParsedLine, canonical_bytes, parse_line
from .errors import (
    AntiphonError,
    DuplicateFactType,
    FactError,
    InvalidEnvelope,
    InvalidLine,
    InvalidPayload,
    LocalViolation,
    PayloadTooLarge,
    RegistrationError,
    RemoteViolation,
    SchemaDrift,
    Serialization,
    UnencodableFact,
    VersionMismatch,
)
from .fact import Fact, FactMeta, FactType, take_back, upcast, with_record
from .ids import DEFAULT_NAMESPACE, AuthorityId, ChainId, ChainInfo, FactId, Namespace, authority_id, chain_id
from .journal_facts import (
    ChainOpened,
    ErasedFact,
    FactsErased,
    ForkProven,
    HeadsMerged,
    SnapshotBase,
    SnapshotTaken,
)
from .lazy import lazy_names
from .registry import Decoded, FactProblem, FactRegistry, GenericFact, Registration
from .time import Clock, HlcTime, OrderTime, Stamp, hlc_ms, next_hlc

if TYPE_CHECKING:
    from .bindings import (
        Binding,
        binding_of,
        reduce_record,
    )
    from .catalog import (
        STANDARD_FACTS,
        build_fact_registry,
    )
    from .categories import (
        OperationCategory,
        operation_category,
    )
    from .ceremonies import (
        CeremonyPhase,
        CeremonyStatus,
        ceremony_id_for,
        ceremony_status,
        ceremony_statuses,
    )
    from .chat import (
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
        note_to_self,
    )
    from .contacts import (
        ContactAdded,
        ContactRemoved,
        ContactRenamed,
        FriendshipAccepted,
        FriendshipProposed,
        FriendshipRevoked,
        GuardianBound,
        ReadReceiptPolicyUpdated,
    )
    from .declare import (
        ceremony_facts,
        ceremony_id_of,
        ceremony_stage_of,
        ceremony_timestamp_of,
        domain_fact,
    )
    from .invitations import (
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
    )
    from .moderation import (
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
    from .proposals import (
        ApprovalThreshold,
        Decision,
        Proposal,
        ProposalState,
    )
    from .protocol import (
        ChannelEpochCommitted,
        ConvergenceCertified,
        LeakageRecorded,
        OperationFinalized,
        OperationReverted,
        RecoveryGranted,
        channel_transition_id,
    )
    from .temporal import (
        BelowMinimum,
        Finality,
        FinalityConfig,
        ScopeFinality,
        ScopePath,
    )
    from .time_domains import (
        LogicalTime,
        OrderingPolicy,
        PhysicalTime,
        ProvenancedTime,
        RangeTime,
        TimeComparison,
        TimeProof,
        TimeStamp,
        compare,
        sort_compare,
    )

__all__ = [
    "DEFAULT_NAMESPACE",
    "AfterLink",
    "AntiphonError",
    "AuthorityId",
    "ChainId",
    "ChainInfo",
    "ChainOpened",
    "ErasedFact",
    "FactsErased",
    "Clock",
    "Decoded",
    "DuplicateFactType",
    "Fact",
    "FactError",
    "FactId",
    "FactMeta",
    "FactProblem",
    "FactRecord",
    "FactRegistry",
    "FactType",
    "ForkProven",
    "GenericFact",
    "HeadsMerged",
    "HlcTime",
    "InvalidEnvelope",
    "InvalidLine",
    "InvalidPayload",
    "LocalViolation",
    "Namespace",
    "OrderTime",
    "ParsedLine",
    "PayloadTooLarge",
    "Registration",
    "RegistrationError",
    "RemoteViolation",
    "SchemaDrift",
    "Serialization",
    "SnapshotBase",
    "SnapshotTaken",
    "Stamp",
    "UnencodableFact",
    "VersionMismatch",
    "authority_id",
    "canonical_bytes",
    "chain_id",
    "hlc_ms",
    "next_hlc",
    "parse_line",
    "take_back",
    "upcast",
    "with_record",
    "Binding",
    "binding_of",
    "reduce_record",
    "STANDARD_FACTS",
    "build_fact_registry",
    "OperationCategory",
    "operation_category",
    "CeremonyPhase",
    "CeremonyStatus",
    "ceremony_id_for",
    "ceremony_status",
    "ceremony_statuses",
    "ChannelClosed",
    "ChannelCreated",
    "ChannelRebound",
    "ChannelUpdated",
    "MembershipChanged",
    "MembershipImported",
    "MessageDeleted",
    "MessageDeliveryUpdated",
    "MessageEdited",
    "MessageEditedSealed",
    "MessageImported",
    "MessageReacted",
    "MessageRead",
    "MessageSeen",
    "MessageSent",
    "MessageSentSealed",
    "note_to_self",
    "ContactAdded",
    "ContactRemoved",
    "ContactRenamed",
    "FriendshipAccepted",
    "FriendshipProposed",
    "FriendshipRevoked",
    "GuardianBound",
    "ReadReceiptPolicyUpdated",
    "ceremony_facts",
    "ceremony_id_of",
    "ceremony_stage_of",
    "ceremony_timestamp_of",
    "domain_fact",
    "ChannelInvitation",
    "ContactInvitation",
    "DeviceInvitation",
    "GuardianInvitation",
    "InvitationAccepted",
    "InvitationCancelled",
    "InvitationCeremonyAborted",
    "InvitationCeremonyAcceptanceReceived",
    "InvitationCeremonyCommitted",
    "InvitationCeremonyInitiated",
    "InvitationCeremonySuperseded",
    "InvitationDeclined",
    "InvitationSent",
    "HomeBan",
    "HomeDeclared",
    "HomeGrantModerator",
    "HomeKick",
    "HomeMute",
    "HomePin",
    "HomeRevokeModerator",
    "HomeUnban",
    "HomeUnmute",
    "HomeUnpin",
    "home_context",
    "home_owner",
    "ApprovalThreshold",
    "Decision",
    "Proposal",
    "ProposalState",
    "ChannelEpochCommitted",
    "ConvergenceCertified",
    "LeakageRecorded",
    "OperationFinalized",
    "OperationReverted",
    "RecoveryGranted",
    "channel_transition_id",
    "BelowMinimum",
    "Finality",
    "FinalityConfig",
    "ScopeFinality",
    "ScopePath",
    "LogicalTime",
    "OrderingPolicy",
    "PhysicalTime",
    "ProvenancedTime",
    "RangeTime",
    "TimeComparison",
    "TimeProof",
    "TimeStamp",
    "TopicEdited",
    "compare",
    "sort_compare",
]

if not TYPE_CHECKING:  # or a type checker would believe in any name
    __getattr__ = lazy_names(
        __name__,
        {
            "bindings": "Binding binding_of reduce_record",
            "catalog": "STANDARD_FACTS build_fact_registry",
            "categories": "OperationCategory operation_category",
            "ceremonies": "CeremonyPhase CeremonyStatus ceremony_id_for ceremony_status ceremony_statuses",
            "chat": (
                "ChannelClosed ChannelCreated ChannelRebound ChannelUpdated MembershipChanged MembershipImported "
                "MessageDeleted MessageDeliveryUpdated MessageEdited MessageEditedSealed MessageImported "
                "MessageReacted MessageRead MessageSeen MessageSent MessageSentSealed TopicEdited note_to_self"
            ),
            "contacts": (
                "ContactAdded ContactRemoved ContactRenamed FriendshipAccepted FriendshipProposed "
                "FriendshipRevoked GuardianBound ReadReceiptPolicyUpdated"
            ),
            "declare": "ceremony_facts ceremony_id_of ceremony_stage_of ceremony_timestamp_of domain_fact",
            "invitations": (
                "ChannelInvitation ContactInvitation DeviceInvitation GuardianInvitation InvitationAccepted "
                "InvitationCancelled InvitationCeremonyAborted InvitationCeremonyAcceptanceReceived "
                "InvitationCeremonyCommitted InvitationCeremonyInitiated InvitationCeremonySuperseded "
                "InvitationDeclined InvitationSent"
            ),
            "moderation": (
                "HomeBan HomeDeclared HomeGrantModerator HomeKick HomeMute HomePin HomeRevokeModerator HomeUnban "
                "HomeUnmute HomeUnpin home_context home_owner"
            ),
            "proposals": "ApprovalThreshold Decision Proposal ProposalState",
            "protocol": (
                "ChannelEpochCommitted ConvergenceCertified LeakageRecorded OperationFinalized OperationReverted "
                "RecoveryGranted channel_transition_id"
            ),
            "temporal": "BelowMinimum Finality FinalityConfig ScopeFinality ScopePath",
            "time_domains": (
                "LogicalTime OrderingPolicy PhysicalTime ProvenancedTime RangeTime TimeComparison TimeProof "
                "TimeStamp compare sort_compare"
            ),
        },
    )

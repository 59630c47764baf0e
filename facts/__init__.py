"""The vocabulary: what can be asserted, by whom, when, and in which bytes."""

if __name__ == "facts":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.facts")

from typing import TYPE_CHECKING

from .encoding import AfterLink, FactRecord, ParsedLine, canonical_bytes, parse_line
from .errors import (
    AntiphonError,
    DuplicateFactType,
    FactError,
    InvalidLine,
    InvalidPayload,
    LocalViolation,
    PayloadTooLarge,
    RegistrationError,
    RemoteViolation,
    SchemaDrift,
    TypeMismatch,
    UnencodableFact,
    VersionMismatch,
)
from .fact import Fact, FactMeta, FactType, take_back, upcast, with_record
from .ids import DEFAULT_NAMESPACE, AuthorityId, ChainId, ChainInfo, FactId, Namespace, authority_id, chain_id
from .journal_facts import ChainOpened, HeadsMerged
from .lazy import lazy_names
from .registry import Decoded, FactProblem, FactRegistry, GenericFact, Registration
from .time import Clock, HlcTime, OrderTime, Stamp, hlc_ms, next_hlc

if TYPE_CHECKING:
    from .catalog import (
        STANDARD_FACTS,
        build_fact_registry,
    )
    from .chat import (
        ChannelClosed,
        ChannelCreated,
        ChannelUpdated,
        MembershipChanged,
        MembershipImported,
        MessageDeleted,
        MessageDeliveryUpdated,
        MessageEdited,
        MessageImported,
        MessageRead,
        MessageSent,
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
    from .invitations import (
        ChannelInvitation,
        ContactInvitation,
        DeviceInvitation,
        GuardianInvitation,
        InvitationAccepted,
        InvitationCancelled,
        InvitationDeclined,
        InvitationSent,
    )

__all__ = [
    "DEFAULT_NAMESPACE",
    "AfterLink",
    "AntiphonError",
    "AuthorityId",
    "ChainId",
    "ChainInfo",
    "ChainOpened",
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
    "GenericFact",
    "HeadsMerged",
    "HlcTime",
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
    "Stamp",
    "TypeMismatch",
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
    "STANDARD_FACTS",
    "build_fact_registry",
    "ChannelClosed",
    "ChannelCreated",
    "ChannelUpdated",
    "MembershipChanged",
    "MembershipImported",
    "MessageDeleted",
    "MessageDeliveryUpdated",
    "MessageEdited",
    "MessageImported",
    "MessageRead",
    "MessageSent",
    "ContactAdded",
    "ContactRemoved",
    "ContactRenamed",
    "FriendshipAccepted",
    "FriendshipProposed",
    "FriendshipRevoked",
    "GuardianBound",
    "ReadReceiptPolicyUpdated",
    "ChannelInvitation",
    "ContactInvitation",
    "DeviceInvitation",
    "GuardianInvitation",
    "InvitationAccepted",
    "InvitationCancelled",
    "InvitationDeclined",
    "InvitationSent",
]

if not TYPE_CHECKING:  # or a type checker would believe in any name
    __getattr__ = lazy_names(
        __name__,
        {
            "catalog": "STANDARD_FACTS build_fact_registry",
            "chat": (
                "ChannelClosed ChannelCreated ChannelUpdated MembershipChanged MembershipImported "
                "MessageDeleted MessageDeliveryUpdated MessageEdited MessageImported MessageRead "
                "MessageSent"
            ),
            "contacts": (
                "ContactAdded ContactRemoved ContactRenamed FriendshipAccepted FriendshipProposed "
                "FriendshipRevoked GuardianBound ReadReceiptPolicyUpdated"
            ),
            "invitations": (
                "ChannelInvitation ContactInvitation DeviceInvitation GuardianInvitation InvitationAccepted "
                "InvitationCancelled InvitationDeclined InvitationSent"
            ),
        },
    )

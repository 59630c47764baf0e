"""Operation categories: how much agreement each operation that ships needs before it counts.

Enforces nothing: whoever runs an operation asks here which way it has to go.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class OperationCategory(Enum):
    """A: done here and at once. B: shown at once, agreed on later. C: a ceremony; counts when all have agreed."""

    LOCAL = "A"
    OPTIMISTIC = "B"
    CEREMONY = "C"


def _under(domain: str, **categories: str) -> dict[str, OperationCategory]:
    return {
        f"{domain}:{operation}": OperationCategory(category)
        for category, operations in categories.items()
        for operation in operations.split()
    }


OPERATION_CATEGORIES: Mapping[str, OperationCategory] = MappingProxyType(
    {
        **_under(
            "chat",
            A="send-message edit-message delete-message mark-read update-delivery create-channel close-channel "
            "react-message add-member join-channel leave-channel update-topic rename-channel rebind-channel",
            B="change-permissions kick-member commit-epoch",
            C="create-group add-member-group",
        ),
        **_under(
            "contact",
            A="rename set-read-receipt-policy",
            C="add remove guardian-bind recovery-grant",
        ),
        **_under("friendship", C="propose accept revoke"),
        **_under(
            "invitation",
            C="send accept decline cancel begin-ceremony agree-ceremony commit-ceremony abort-ceremony "
            "supersede-ceremony",
        ),
        **_under("moderation", B="mute unmute ban unban kick pin unpin grant-moderator revoke-moderator"),
        **_under("home", A="declare"),
        **_under("journal", A="erase"),
        **_under("query", A="sql"),
        **_under("sync", A="once serve link"),
    }
)
"""Every operation that ships, as ``domain:operation``."""


def operation_category(operation: str) -> OperationCategory | None:
    """The category of ``domain:operation``; None for one that nobody declared.

    >>> operation_category("chat:send-message").value, operation_category("chat:fly")
    ('A', None)
    """
    return OPERATION_CATEGORIES.get(operation)

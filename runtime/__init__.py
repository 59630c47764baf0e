"""The hands: the only room where things happen."""

if __name__ == "runtime":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.runtime")

from typing import TYPE_CHECKING

from antiphon.facts.lazy import lazy_names

if TYPE_CHECKING:
    from .services.acks import AckAccount, AckGcReport, AckReceived
    from .services.anti_entropy import (
        AntiEntropyEffects,
        AntiEntropyResult,
        DigestStatus,
        ManyPeersResult,
        execute_anti_entropy,
        execute_as_requester,
        execute_as_responder,
        sync_with_peers,
    )
    from .services.gates import Admission, NamespaceGate, PeerClaim, SyncGate
    from .services.peers import PeerBook, PeerRecord, open_peer_book
    from .services.sync_config import AntiEntropyConfig
    from .services.sync_errors import SyncErrorCode, SyncFailure

__all__ = [
    "AckAccount",
    "AckGcReport",
    "AckReceived",
    "Admission",
    "AntiEntropyConfig",
    "AntiEntropyEffects",
    "AntiEntropyResult",
    "DigestStatus",
    "ManyPeersResult",
    "NamespaceGate",
    "PeerBook",
    "PeerClaim",
    "PeerRecord",
    "SyncErrorCode",
    "SyncFailure",
    "SyncGate",
    "execute_anti_entropy",
    "execute_as_requester",
    "execute_as_responder",
    "open_peer_book",
    "sync_with_peers",
]

# A journal that meets nobody need not load what meeting takes.
__getattr__ = lazy_names(
    __name__,
    {
        "services.acks": "AckAccount AckGcReport AckReceived",
        "services.anti_entropy": "AntiEntropyEffects AntiEntropyResult DigestStatus ManyPeersResult "
        "execute_anti_entropy execute_as_requester execute_as_responder sync_with_peers",
        "services.gates": "Admission NamespaceGate PeerClaim SyncGate",
        "services.peers": "PeerBook PeerRecord open_peer_book",
        "services.sync_config": "AntiEntropyConfig",
        "services.sync_errors": "SyncErrorCode SyncFailure",
    },
)

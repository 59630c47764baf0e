"""Nothing leaves unguarded: the chain that decides, the account it decides by, and the interpreters that perform."""

from typing import TYPE_CHECKING

from antiphon.facts.lazy import lazy_names

if TYPE_CHECKING:
    from .capabilities import (
        CapabilityScope,
        TokenCapabilities,
        TokenInvalid,
        TokenVerifier,
        VerifiedToken,
        attenuate_token,
        attest_token,
        inspect_token,
        issue_token,
    )
    from .commands import GuardRefused, SendRequest
    from .grants import ChainGrants
    from .guard import EffectGuard, HeldCapabilities, OwnerCapabilities
    from .ingress import IngressVerifier, VerifiedIngress, take_in
    from .keys import KeyFile, load_key, new_key
    from .peer_gate import ChainGate, TokenGate
    from .policy import EffectPolicyRegistry
    from .program_effects import ProgramEffects
    from .protocol_guard import ProtocolGuard
    from .receipts import FlowReceipt, verify_chain
    from .revocation import TokenWithdrawn
    from .table import build_guard_table

__all__ = [
    "CapabilityScope",
    "ChainGate",
    "ChainGrants",
    "EffectGuard",
    "EffectPolicyRegistry",
    "FlowReceipt",
    "GuardRefused",
    "HeldCapabilities",
    "IngressVerifier",
    "KeyFile",
    "OwnerCapabilities",
    "ProgramEffects",
    "ProtocolGuard",
    "SendRequest",
    "TokenCapabilities",
    "TokenGate",
    "TokenInvalid",
    "TokenVerifier",
    "TokenWithdrawn",
    "VerifiedIngress",
    "VerifiedToken",
    "attenuate_token",
    "attest_token",
    "build_guard_table",
    "inspect_token",
    "issue_token",
    "load_key",
    "new_key",
    "take_in",
    "verify_chain",
]

# Tokens need a library that nobody else does, and each of these is used alone as often as not.
__getattr__ = lazy_names(
    __name__,
    {
        "capabilities": "CapabilityScope TokenCapabilities TokenInvalid TokenVerifier VerifiedToken attenuate_token "
        "attest_token inspect_token issue_token",
        "commands": "GuardRefused SendRequest",
        "grants": "ChainGrants",
        "guard": "EffectGuard HeldCapabilities OwnerCapabilities",
        "ingress": "IngressVerifier VerifiedIngress take_in",
        "keys": "KeyFile load_key new_key",
        "peer_gate": "ChainGate TokenGate",
        "policy": "EffectPolicyRegistry",
        "program_effects": "ProgramEffects",
        "protocol_guard": "ProtocolGuard",
        "receipts": "FlowReceipt verify_chain",
        "revocation": "TokenWithdrawn",
        "table": "build_guard_table",
    },
)

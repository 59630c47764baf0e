"""The identities facts speak of, each distinct to the type checker.

Ids are bytes inside and lowercase hex outside; nothing here draws randomness or reads a clock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NewType

FactId = NewType("FactId", bytes)
"""SHA-256 of a fact: 32 bytes, 64 hex digits in text."""

ChainId = NewType("ChainId", bytes)
"""One writer key, one incarnation, one namespace: 16 bytes, 32 hex digits in text."""

AuthorityId = NewType("AuthorityId", str)
"""Who acts: 32 hex digits, the cut hash of the authority's first public key."""

Namespace = NewType("Namespace", str)
"""A context's name, such as ``antiphon.default``; every chain belongs to exactly one."""

DEFAULT_NAMESPACE = Namespace("antiphon.default")
"""Where facts go whose type names no context."""

NO_FACT = FactId(bytes(32))
"""What stands for "the fact before the first"."""

NAMESPACE_LENGTH_MAX = 256


def authority_id(public_key: bytes) -> AuthorityId:
    """Name the authority that owns *public_key* (its first key, 32 raw Ed25519 bytes)."""
    return AuthorityId(hashlib.sha256(b"antiphon.authority.1" + public_key).hexdigest()[:32])


def chain_id(*, public_key: bytes, nonce: bytes, namespace: str) -> ChainId:
    """Derive a chain's id; whoever holds the three parts can check it without trusting anybody."""
    return ChainId(hashlib.sha256(public_key + nonce + namespace.encode()).digest()[:16])


@dataclass(frozen=True, slots=True, eq=False)
class ChainInfo:
    """What is known of a chain; ``chain`` certifies ``public_key``, ``nonce`` and ``namespace``.

    ``authority``, ``label`` and ``device`` come from the chain's opening fact and are empty until it is known (or
    when a peer erased it). A label is what a screen shows, never an identity.
    """

    chain: ChainId
    public_key: bytes
    nonce: bytes
    namespace: Namespace
    authority: AuthorityId = AuthorityId("")
    label: str = ""
    device: str = ""
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.chain.hex())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChainInfo) and other.chain == self.chain

    def __hash__(self) -> int:
        return hash(self.chain)

    @property
    def is_authentic(self) -> bool:
        """Whether the id is the hash of its parts."""
        return self.chain == chain_id(public_key=self.public_key, nonce=self.nonce, namespace=self.namespace)

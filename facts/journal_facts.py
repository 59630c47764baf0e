"""The facts a journal writes about itself: the opening of a chain, and a merge of more heads than one header can
hold."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from .fact import Fact


class ChainOpened(Fact, kind="journal.chain_opened", version=1):
    """First fact of every chain: who writes, with which key, in which incarnation, on whose behalf.

    Keys, nonce and signature are lowercase hex. ``signature`` is the authority key's Ed25519 signature over the other
    fields (see ``journal.chain.opening_message``). ``label`` is a display name, never an identity.
    """

    authority: str
    authority_key: str
    device: str
    label: str
    namespace: str
    nonce: str
    predecessor: str | None = None
    public_key: str
    signature: str


class HeadsMerged(Fact, kind="journal.merge", version=1):
    """A fact without content: its header carries causal links that did not fit into the next one's."""


class ErasedFact(BaseModel):
    """A fact that an erasure names: chain and id in lowercase hex, its number in the chain, and its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: str
    fact_id: str
    kind: str
    seq: int


class FactsErased(Fact, kind="journal.erased", version=1, context="namespace"):
    """The payloads of these facts are gone, for everyone, whenever they arrive; their ids stay.

    Counts only when its author has the right (see ``journal.erasure``), in the namespace of the facts it names. Of
    the same *namespace*; *reason* is for people.
    """

    facts: tuple[ErasedFact, ...]
    namespace: str
    reason: str = ""


class SnapshotBase(BaseModel):
    """Where a chain stood at a cut: chain and id of its last fact in lowercase hex, and that fact's number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: str
    fact_id: str
    seq: int


class SnapshotTaken(Fact, kind="journal.snapshot", version=1, context="namespace"):
    """What all facts of ``folded_kind`` up to ``bases`` amount to: a value of a lattice, so that it joins with the
    facts behind the cut, and with any below it that come late (see ``journal.snapshot``).

    ``state`` is the value's canonical JSON, ``state_hash`` its hash in hex. ``sequence`` rises by one with each
    snapshot of the kind that its author knows of.
    """

    bases: tuple[SnapshotBase, ...]
    folded_kind: str
    lattice: str
    namespace: str
    sequence: int
    state: str
    state_hash: str


class ForkProven(Fact, kind="journal.fork_proven", version=1, context="namespace"):
    """A chain's writer told two stories from ``seq`` on: the evidence, kept for everybody.

    ``chain`` is lowercase hex, ``proof`` the base64 of 296 bytes that convince whoever has the namespace (see
    ``journal.forks``): the chain's key and nonce, the fact that both seals continue, and the two seals. Both branches
    stay visible; only what grants or takes rights is void from there on.
    """

    chain: str
    namespace: str
    proof: str
    seq: int

"""Forks: the proof that a writer told two stories, and which of its words still bind.

A writer seals each fact once, so two seals of one chain that continue one fact are a proof that convinces anybody, in
296 bytes: the chain's parts, the fact, and where each seal ends. Both branches stay members and stay visible; what
follows from that for rights is decided here and applied by the reducers. Touches no log and no clock.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from antiphon.facts import ChainId, ChainInfo, FactId, Namespace

from .chain import Seal, is_seal_valid, make_chain_info
from .errors import UnsealedBytes

AUTHORITY_KINDS = ("moderation.", "membership.", "capability.", "chat.membership_", "authority.")
"""Kinds (by their beginning) that grant or take rights: from a fork on they bind only those who could not know."""

_PROOF = struct.Struct(">32s16sQ32sQ32s64sQ32s64s")
PROOF_BYTES = _PROOF.size


class ForkProof(NamedTuple):
    """Two valid seals of one chain that continue one fact and end differently; the smaller end comes first."""

    info: ChainInfo
    first: Seal
    second: Seal

    @property
    def seq(self) -> int:
        """The first number of which the chain holds two facts, or one fact under two seals."""
        return self.first.from_seq + 1

    def encode(self) -> bytes:
        """The 296 bytes that prove it, beside the chain's namespace."""
        one, two = self.first, self.second
        return _PROOF.pack(
            self.info.public_key,
            self.info.nonce,
            one.from_seq,
            one.from_id,
            one.to_seq,
            one.to_id,
            one.signature,
            two.to_seq,
            two.to_id,
            two.signature,
        )


def prove_fork(info: ChainInfo, one: Seal, other: Seal) -> ForkProof:
    """Put two seals together; ``UnsealedBytes`` when they prove nothing. ~120 µs."""
    first, second = sorted((one, other), key=lambda seal: (seal.to_id, seal.to_seq))
    if one[:3] != other[:3] or one.chain != info.chain:
        raise UnsealedBytes("a fork is proven by two seals of one chain that continue one fact")
    if first[3:5] == second[3:5]:
        raise UnsealedBytes(f"both seals of chain {info.text[:8]} end in one fact; that is no fork")
    if not all(is_seal_valid(seal, info.public_key) for seal in (one, other)):
        raise UnsealedBytes(f"a seal in the proof against chain {info.text[:8]} is not its key's")
    return ForkProof(info, first, second)


def read_proof(data: bytes, namespace: str) -> ForkProof:
    """Read a proof and check it; ``UnsealedBytes`` when it proves nothing. ~120 µs."""
    if len(data) != PROOF_BYTES:
        raise UnsealedBytes(f"a fork's proof has {PROOF_BYTES} bytes; got {len(data)}")
    key, nonce, seq, start, first_seq, first_id, first_sign, second_seq, second_id, second_sign = _PROOF.unpack(data)
    info = make_chain_info(public_key=key, nonce=nonce, namespace=Namespace(namespace))
    return prove_fork(
        info,
        Seal(info.chain, seq, FactId(start), first_seq, FactId(first_id), first_sign),
        Seal(info.chain, seq, FactId(start), second_seq, FactId(second_id), second_sign),
    )


def is_authority_bearing(kind: str) -> bool:
    """Whether facts of *kind* grant or take rights."""
    return kind.startswith(AUTHORITY_KINDS)


class CausalFact(NamedTuple):
    """What the rule needs to know of a fact; ``parents`` are its previous fact and those that it names in ``after``."""

    fact_id: bytes
    chain: ChainId
    author: str
    seq: int
    kind: str
    parents: tuple[bytes, ...]


def find_void(facts: Iterable[CausalFact], forks: Mapping[ChainId, int]) -> frozenset[bytes]:
    """The authority-bearing facts of forked chains that bind nobody.

    *facts* are members in a causal order (parents first), *forks* the first number from which on each forked chain
    has two stories. From there on an authority-bearing fact is void, unless a fact of another author has it in its
    causal past and had not seen the fork, that is, has one branch of that chain in its past and no other. The answer
    is a function of the set: any causal order gives the same. O(facts · forked chains seen), and the distance of two
    facts of a branch where pasts meet.

    >>> ada, ben = ChainId(b"a" * 16), ChainId(b"b" * 16)
    >>> ban = CausalFact(b"1", ada, "ada", 2, "moderation.user_banned", ())
    >>> other = CausalFact(b"2", ada, "ada", 2, "chat.message_sent", ())
    >>> find_void([ban, other], {ada: 2}) == {b"1"}
    True
    >>> find_void([ban, other, CausalFact(b"3", ben, "ben", 1, "chat.message_sent", (b"1",))], {ada: 2})
    frozenset()
    """
    pasts: dict[bytes, Mapping[ChainId, bytes]] = {}
    branches = _Branches()
    suspects: dict[bytes, str] = {}
    upheld: set[bytes] = set()
    for fact in facts:
        past = branches.join([pasts[parent] for parent in fact.parents if pasts.get(parent)])
        fork_seq = forks.get(fact.chain, 0)
        if fork_seq and fact.seq >= fork_seq:
            branches.add(fact)
            past = {**past, fact.chain: fact.fact_id}
            if is_authority_bearing(fact.kind):
                suspects[fact.fact_id] = fact.author
        pasts[fact.fact_id] = past
        for chain, tip in past.items():
            if chain != fact.chain and tip != SEEN:
                upheld.update(each for each in branches.back_from(tip, fact.author))
    return frozenset(suspects) - upheld


SEEN = b""
"""Stands for a past that holds two stories of a chain."""


class _Branches:
    """The facts of forked chains from their forks on, each with the one before it."""

    def __init__(self) -> None:
        self._facts: dict[bytes, tuple[CausalFact, bytes | None]] = {}
        self._told: set[tuple[bytes, str]] = set()

    def add(self, fact: CausalFact) -> None:
        previous = (each for each in fact.parents if each in self._facts and self._facts[each][0].chain == fact.chain)
        before = next((each for each in previous if self._facts[each][0].seq == fact.seq - 1), None)
        self._facts[fact.fact_id] = (fact, before)

    def back_from(self, tip: bytes, witness: str) -> Iterable[bytes]:
        """A fact and those before it that another author's fact upholds; each is told once an author."""
        at: bytes | None = tip
        while at is not None and (at, witness) not in self._told:
            self._told.add((at, witness))
            fact, before = self._facts[at]
            if fact.author != witness:
                yield at
            at = before

    def join(self, pasts: Sequence[Mapping[ChainId, bytes]]) -> Mapping[ChainId, bytes]:
        """What several pasts know together: the later fact of one branch, or ``SEEN``."""
        if len(pasts) < 2:
            return pasts[0] if pasts else {}
        joined = dict(pasts[0])
        for past in pasts[1:]:
            for chain, tip in past.items():
                other = joined.get(chain, tip)
                joined[chain] = tip if other == tip else self._later(other, tip)
        return joined

    def _later(self, one: bytes, other: bytes) -> bytes:
        if SEEN in (one, other):
            return SEEN
        low, high = sorted((one, other), key=lambda each: self._facts[each][0].seq)
        at: bytes | None = high
        while at is not None and self._facts[at][0].seq > self._facts[low][0].seq:
            at = self._facts[at][1]
        return high if at == low else SEEN

"""Forks: the proof that a writer told two stories, and which of its words still bind.

A writer seals each fact once, so two seals of one chain that continue one fact are a proof that convinces anybody, in
296 bytes: the chain's parts, the fact, and where each seal ends. Both branches stay members and stay visible; what
follows from that for rights is decided here and applied by the reducers. Touches no log and no clock.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from antiphon.facts import ChainId, ChainInfo, FactId, FactRecord, Namespace

from .bases import ChainBase
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
    """What the rule needs to know of a fact; ``parents`` are the first 16 bytes of the ids of its previous fact and of
    those that it names in ``after``."""

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
    book = VoidBook(forks)
    for fact in facts:
        book.add((fact,))
    return frozenset(book.void)


class VoidBook:
    """``find_void`` as facts come: run by run in a causal order, each in O(its facts · forked chains seen).

    Remembers a past for each run that has a forked chain in its past, and the facts of forked chains from their forks
    on (some 200 bytes each): what comes before a fork costs nothing.
    """

    def __init__(self, forks: Mapping[ChainId, int]) -> None:
        self.forks = dict(forks)
        self._pasts: dict[bytes, Mapping[ChainId, bytes]] = {}
        self._branches = _Branches()
        self._suspects: dict[bytes, str] = {}  # by whole id; all else goes by what links name
        self._upheld: set[bytes] = set()

    @property
    def void(self) -> dict[bytes, str]:
        """The facts that bind nobody, and their kinds."""
        return {fact_id: kind for fact_id, kind in self._suspects.items() if fact_id[:16] not in self._upheld}

    def add(self, run: Sequence[CausalFact]) -> None:
        """Take in consecutive facts of one chain; only the last of them is named by others."""
        inner: Mapping[ChainId, bytes] = {}
        for fact in run:
            pasts = [self._pasts[parent] for parent in fact.parents if self._pasts.get(parent)]
            past = self._branches.join([inner, *pasts] if inner else pasts)
            fork_seq = self.forks.get(fact.chain, 0)
            if fork_seq and fact.seq >= fork_seq:
                self._branches.add(fact)
                if past.get(fact.chain) != SEEN:
                    past = {**past, fact.chain: fact.fact_id[:16]}
                if is_authority_bearing(fact.kind):
                    self._suspects[fact.fact_id] = fact.kind
            inner = past
            for chain, tip in past.items():
                if chain != fact.chain and tip != SEEN:
                    self._upheld.update(self._branches.back_from(tip, fact.author))
        if inner:
            self._pasts[run[-1].fact_id[:16]] = inner


SEEN = b""
"""Stands for a past that holds two stories of a chain."""


def causal_facts(previous_id: bytes, records: Sequence[FactRecord]) -> list[CausalFact]:
    """Records of one run as the rule needs them; parents are cut to 16 bytes, as links name them."""
    found = []
    before = previous_id[:16]
    for record in records:
        info = record.chain
        parents = (before, *(link.short_id for link in record.after))
        author = info.authority or info.text
        found.append(CausalFact(record.fact_id, info.chain, author, record.seq, record.kind, parents))
        before = record.fact_id[:16]
    return found


def causal_base(info: ChainInfo, base: ChainBase) -> CausalFact:
    """What is left of a collapsed run as the rule needs it: nothing in it grants rights or names causes. *info* as the
    chain's opening tells it."""
    seal = base.seal
    return CausalFact(seal.to_id, info.chain, info.authority or info.text, seal.to_seq, "", (seal.from_id[:16],))


def judge_runs(forks: Mapping[ChainId, int], runs: Iterable[Sequence[CausalFact]]) -> VoidBook:
    """The rule over members in any order, each run behind those that it builds on; O(facts) and no reading back."""
    book = VoidBook(forks)
    done: set[bytes] = set()
    waiting: dict[bytes, list[Sequence[CausalFact]]] = {}
    members = {run[-1].fact_id[:16]: run for run in runs if run}
    for first in members.values():
        queue = [first]
        while queue:
            run = queue.pop()
            missing = next((p for fact in run for p in fact.parents if p in members and p not in done), None)
            own = {fact.fact_id[:16] for fact in run}
            if missing is not None and missing not in own:
                waiting.setdefault(missing, []).append(run)
                continue
            end = run[-1].fact_id[:16]
            if end in done:
                continue
            book.add(run)
            done.add(end)
            queue.extend(waiting.pop(end, ()))
    return book


class _Branches:
    """The facts of forked chains from their forks on, each with the one before it."""

    def __init__(self) -> None:
        self._facts: dict[bytes, tuple[CausalFact, bytes | None]] = {}
        self._told: set[tuple[bytes, str]] = set()

    def add(self, fact: CausalFact) -> None:
        # The one before has the number before, but for what a base leaves out.
        previous = (each for each in fact.parents if each in self._facts and self._facts[each][0].chain == fact.chain)
        before = max(previous, key=lambda each: self._facts[each][0].seq, default=None)
        self._facts[fact.fact_id[:16]] = (fact, before)

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

"""Erasures: which facts lose their payload, as a pure function of the set of facts.

An erasure is a fact that names others; it keeps their ids, so that every chain still verifies. Whether its author had
the right is judged here, by header and chain alone, so that replicas agree in whatever order the facts came. Removing
the bytes from files and tables is not done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from antiphon.facts import AuthorityId, ChainId, ChainInfo, ErasedFact, FactId, FactRecord
from antiphon.facts.encoding import build_erased_line, payload_digest
from antiphon.facts.journal_facts import FactsErased
from antiphon.facts.moderation import home_owner

from .retention import RetentionBook

ERASURE_KIND = FactsErased.fact_type.kind
# What chains and erasures are judged by must stay readable.
KEPT_PREFIX = "journal."


class ErasureClaim(NamedTuple):
    """One fact that an erasure names, and who names it. ``record`` is the erasure itself: its causal past is what a
    right may be judged by."""

    chain: ChainId
    seq: int
    fact_id: FactId
    kind: str
    by: AuthorityId
    reason: str
    record: FactRecord


ErasureRight = Callable[[AuthorityId, ChainInfo, FactRecord | None], bool]
"""Whether an authority may erase facts of a chain, by the erasure in whose causal past that is judged.

(The erasure is None when somebody asks beforehand, with all that is there as the past.) It must be a pure function of
that past, and the same on every replica.
"""


def author_may_erase(by: AuthorityId, target: ChainInfo, erasure: FactRecord | None) -> bool:
    """Whoever acted may take it back, with any device of theirs."""
    return bool(by) and by == target.authority


def owner_may_erase(by: AuthorityId, target: ChainInfo, erasure: FactRecord | None) -> bool:
    """Whoever owns the home that the namespace is may take back what anybody said in it."""
    return bool(by) and by == home_owner(target.namespace)


def any_of(*rights: ErasureRight) -> ErasureRight:
    """A right that whoever has one of *rights* has: the author's and a moderator's, for example."""
    return lambda by, target, erasure: any(right(by, target, erasure) for right in rights)


DEFAULT_RIGHT = any_of(author_may_erase, owner_may_erase)


class ErasureBook:
    """Everything that erasures say, in whatever order they came; O(erased facts) of memory.

    A claim on a fact that is not there yet waits for it: when it comes, it is stored without its payload. ``retired``
    is what this node let go by itself because of its age; the same becomes of it, here.
    """

    def __init__(self, right: ErasureRight = DEFAULT_RIGHT) -> None:
        self.retired = RetentionBook()
        self._right = right
        self._claims: dict[ChainId, dict[int, list[ErasureClaim]]] = {}

    def __bool__(self) -> bool:
        """Whether anything was ever to be erased."""
        return bool(self._claims or self.retired)

    def take(self, record: FactRecord, erasure: FactsErased) -> tuple[ErasureClaim, ...]:
        """Note what an erasure names; only facts of its own namespace count, and never the journal's own kinds."""
        claims = tuple(
            ErasureClaim(
                ChainId(bytes.fromhex(each.chain)),
                each.seq,
                FactId(bytes.fromhex(each.fact_id)),
                each.kind,
                record.chain.authority,
                erasure.reason,
                record,
            )
            for each in erasure.facts
            if not each.kind.startswith(KEPT_PREFIX)
        )
        for claim in claims:
            self._claims.setdefault(claim.chain, {}).setdefault(claim.seq, []).append(claim)
        return claims

    def concerns(self, chain: ChainId) -> bool:
        """Whether a fact of *chain* may have lost its payload; O(1)."""
        return chain in self._claims or bool(self.retired)

    def is_erased(self, record: FactRecord) -> bool:
        """Whether this fact has lost its payload, or is to lose it."""
        claims = self._claims.get(record.chain.chain, {}).get(record.seq, ())
        return self.retired.is_retired(record) or any(
            (claim.fact_id, claim.kind) == (record.fact_id, record.kind) and self.is_rightful(claim, record.chain)
            for claim in claims
        )

    def erasure_of(self, fact: ErasedFact, target: ChainInfo) -> FactRecord | None:
        """The first erasure that took this fact's payload away; None when nobody erased it."""
        claims = self._claims.get(target.chain, {}).get(fact.seq, ())
        wanted = (bytes.fromhex(fact.fact_id), fact.kind)
        named = (each for each in claims if (each.fact_id, each.kind) == wanted)
        return next((each.record for each in named if self.is_rightful(each, target)), None)

    def is_rightful(self, claim: ErasureClaim, target: ChainInfo) -> bool:
        """Whether a claim counts: its author has the right, in the namespace where it was made."""
        return claim.record.chain.namespace == target.namespace and self._right(claim.by, target, claim.record)

    def may_erase(self, by: AuthorityId, target: ChainInfo) -> bool:
        """Whether an erasure by this authority would count, asked beforehand."""
        return self._right(by, target, None)

    def keep(self, record: FactRecord) -> bytes:
        """The line that a fact keeps: its own, or its skeleton."""
        return erase_line(record) if self.is_erased(record) else record.line

    def claims(self) -> Iterator[ErasureClaim]:
        """Every claim, by chain and number."""
        for numbers in self._claims.values():
            for claims in numbers.values():
                yield from claims


def erase_line(record: FactRecord) -> bytes:
    """What remains of a fact when its payload goes; its id does not change."""
    payload, salt = record.payload, record.salt
    if payload is None or salt is None:
        return record.line
    header = record.line[len(b'{"h":') : len(b'{"h":') + record.header_length]
    return build_erased_line(header, payload_digest(salt, payload))


def erase_records(book: ErasureBook, records: Iterable[FactRecord]) -> tuple[FactRecord, ...]:
    """*records* as they are kept: those that are erased without their payload."""
    return tuple(record._replace(line=book.keep(record)) for record in records)

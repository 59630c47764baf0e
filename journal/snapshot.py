"""Snapshots: what the facts of a kind amount to, so that their payloads may go and the answer stays.

Only kinds whose facts are folded by a lattice can be folded away: each fact is worth a value, and the values are
joined, in whatever order and however often they come. So a snapshot joins with the facts behind its cut, with late ones
below it, with other snapshots and with facts that it holds already, and views(snapshot + tail) = views(all). Pure;
taking one, and letting payloads go, is not done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Generic, NamedTuple, TypeVar

import orjson

from antiphon.facts import Fact, LocalViolation, Namespace, SnapshotBase, SnapshotTaken, canonical_bytes
from antiphon.facts.fact import get_record

from .delivery import is_protected
from .errors import JournalError
from .lattice import Join

SNAPSHOT_KIND = SnapshotTaken.fact_type.kind
STATE_PREFIX = b"antiphon.snapshot.1"
# With as many bases as fit beside it, a fact stays below 64 KiB.
SNAPSHOT_BYTES_MAX = 60 * 1024
_BASE_BYTES = 160

S = TypeVar("S", bound=Join)


class SnapshotMismatch(JournalError):
    """A snapshot is not what it says of itself, or of another lattice than its kind is folded by; it does not count."""


class LatticeFold(NamedTuple, Generic[S]):
    """How the facts of a kind are folded: each is worth ``value_of(fact)``, joined from ``bottom`` up.

    ``value_of`` must be a pure function of one fact. Kinds that open, grant or take away cannot be folded away.
    """

    kind: str
    bottom: S
    value_of: Callable[[Fact], S]

    def fold(self, facts: Iterable[Fact], snapshots: Iterable[SnapshotTaken] = ()) -> S:
        """What *facts* and *snapshots* of the kind amount to together; others are passed over. O(facts).

        Raises ``SnapshotMismatch`` for a snapshot that was tampered with.
        """
        total = self.bottom
        for snapshot in snapshots:
            if snapshot.folded_kind == self.kind:
                total = total.join(read_state(self, snapshot))
        for fact in facts:
            if fact.fact_type.kind == self.kind:
                total = total.join(self.value_of(fact))
        return total


def build_snapshot(
    fold: LatticeFold[S], state: S, *, namespace: Namespace, bases: Iterable[SnapshotBase], sequence: int
) -> SnapshotTaken:
    """The fact that says what a kind amounts to at a cut. Raises ``LocalViolation`` for kinds that may not be folded
    away and for a state that does not fit into a fact."""
    if is_protected(fold.kind):
        raise LocalViolation(
            f"{fold.kind} opens, grants or takes something away, and others are judged by it; it is never folded away"
        )
    text = canonical_bytes(state.to_data())
    named = tuple(sorted(bases, key=lambda base: (base.chain, base.seq)))
    size = len(text) + _BASE_BYTES * len(named)
    if size > SNAPSHOT_BYTES_MAX:
        raise LocalViolation(
            f"the state of {fold.kind} takes {len(text)} bytes over {len(named)} chains, {size} in all; a snapshot has "
            f"room for {SNAPSHOT_BYTES_MAX}, so fold less into it"
        )
    return SnapshotTaken(
        namespace=namespace,
        folded_kind=fold.kind,
        lattice=state.lattice_name,
        sequence=sequence,
        bases=named,
        state=text.decode(),
        state_hash=_hash_of(fold.kind, state.lattice_name, text),
    )


def read_state(fold: LatticeFold[S], snapshot: SnapshotTaken) -> S:
    """The value that a snapshot holds. Raises ``SnapshotMismatch``."""
    text = snapshot.state.encode()
    if snapshot.lattice != fold.bottom.lattice_name:
        raise SnapshotMismatch(
            f"a snapshot of {snapshot.folded_kind} is a {snapshot.lattice}; this folds a {fold.bottom.lattice_name}"
        )
    if snapshot.state_hash != _hash_of(snapshot.folded_kind, snapshot.lattice, text):
        raise SnapshotMismatch(f"a snapshot of {snapshot.folded_kind} does not fit the hash that it names")
    try:
        return fold.bottom.from_data(orjson.loads(text))
    except (ValueError, KeyError, TypeError) as problem:
        raise SnapshotMismatch(f"a snapshot of {snapshot.folded_kind} cannot be read: {problem}") from problem


def claims_too_much(fold: LatticeFold[S], snapshot: SnapshotTaken, facts: Iterable[Fact]) -> bool:
    """Whether a snapshot says more than the facts that it names amount to, where all of those are at hand.

    *facts* are every fact of the kind in the snapshot's namespace; those behind its bases are passed over. It may well
    say less: its author may have let go of something before. Raises ``SnapshotMismatch``.
    """
    upto = {base.chain: base.seq for base in snapshot.bases}
    held = fold.fold(fact for fact in facts if _place_of(fact)[1] <= upto.get(_place_of(fact)[0], 0))
    return held.join(read_state(fold, snapshot)) != held


def _place_of(fact: Fact) -> tuple[str, int]:
    record = get_record(fact)
    return record.chain.text, record.seq


def _hash_of(kind: str, lattice: str, text: bytes) -> str:
    digest = sha256(STATE_PREFIX)
    for part in (kind.encode(), lattice.encode(), text):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()

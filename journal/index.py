"""What the journal holds, without the facts themselves: chains, heads, roots and where each sealed run lies.

Costs O(chains + runs) of memory and nothing O(facts); every question below is O(1) or O(chains). It decides what
continues a chain and what a peer lacks; it reads and writes nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256

from antiphon.facts import ChainId, ChainInfo, FactId, FactRecord, Namespace

from .chain import CHAIN_START, Head
from .stores.position import RunRow

ROOT_PREFIX = b"antiphon.root.1"
FINGERPRINT_PREFIX = b"antiphon.fingerprint.1"
EMPTY_ROOT = bytes(32)


class Continuation(Enum):
    """How a run stands to what the journal holds of its chain."""

    NEXT = "next"
    KNOWN = "known"
    GAP = "gap"
    FORK = "fork"


@dataclass(slots=True)
class ChainState:
    """One chain as far as this journal holds it; ``runs`` are in order of seq."""

    info: ChainInfo
    head: Head = CHAIN_START
    runs: list[RunRow] = field(default_factory=list)
    links: dict[ChainId, int] = field(default_factory=dict)
    """Other chains' numbers that this chain's facts name in ``after``."""


class JournalIndex:
    """Chains by namespace, their heads and the roots over them.

    ``root`` and ``fingerprint`` are cached until a head moves. Single owner: only the journal's loop calls it.
    """

    def __init__(self) -> None:
        self._chains: dict[ChainId, ChainState] = {}
        self._namespaces: dict[Namespace, dict[ChainId, ChainState]] = {}
        self._roots: dict[Namespace, bytes] = {}
        self.fact_count = 0
        self.hlc_seen = 0

    def chain(self, chain: ChainId) -> ChainState | None:
        """A chain's state, or None when it was never met."""
        return self._chains.get(chain)

    def chains(self, namespace: Namespace | None = None) -> Iterator[ChainState]:
        """All chains, or those of one namespace."""
        yield from (self._chains if namespace is None else self._namespaces.get(namespace, {})).values()

    def namespaces(self) -> tuple[Namespace, ...]:
        """The namespaces that hold at least one fact, sorted."""
        return tuple(
            sorted(name for name, chains in self._namespaces.items() if any(c.head.seq for c in chains.values()))
        )

    def introduce(self, info: ChainInfo) -> ChainState:
        """Make a chain known; what was learned of its author since is kept."""
        state = self._chains.get(info.chain)
        if state is None:
            state = self._chains[info.chain] = ChainState(info)
            self._namespaces.setdefault(info.namespace, {})[info.chain] = state
        elif info.authority and not state.info.authority:
            state.info = info
        return state

    def classify(self, run: RunRow) -> Continuation:
        """Say whether a run continues its chain, is already held, leaves a gap, or contradicts what is held."""
        state = self._chains.get(ChainId(run.chain))
        head = state.head if state else CHAIN_START
        if run.first_seq == head.seq + 1:
            return Continuation.NEXT if run.first_previous_id == head.fact_id else Continuation.FORK
        if run.first_seq > head.seq + 1:
            return Continuation.GAP
        if run.first_seq < 1 or run.last_seq < run.first_seq:
            return Continuation.FORK  # numbers that no chain has
        return Continuation.KNOWN if self._holds(run) else Continuation.FORK

    def admit(self, run: RunRow, *, hlc: int, records: Iterable[FactRecord] = ()) -> None:
        """Make the next run of a chain a member; *records* are looked at for their causal links only."""
        state = self._chains[ChainId(run.chain)]
        assert run.first_seq == state.head.seq + 1, "only the next run of a chain is admitted"
        assert run.first_previous_id == state.head.fact_id, "a run continues the head it names"
        state.head = Head(run.last_seq, FactId(run.last_id), hlc)
        state.runs.append(run)
        for record in records:
            for link in record.after:
                state.links[link.chain] = max(link.seq, state.links.get(link.chain, 0))
        self._roots.pop(state.info.namespace, None)
        self.fact_count += run.last_seq - run.first_seq + 1
        self.hlc_seen = max(self.hlc_seen, hlc)

    def clocks(self) -> Iterator[int]:
        """Each chain's last HLC."""
        return (state.head.hlc for state in self._chains.values())

    def root(self, namespace: Namespace) -> bytes:
        """Hash of the sorted heads: equal on replicas that hold the same facts of *namespace*. O(chains) when a head
        moved."""
        cached = self._roots.get(namespace)
        if cached is None:
            heads = sorted(
                chain + state.head.seq.to_bytes(8, "big") + state.head.fact_id
                for chain, state in self._namespaces.get(namespace, {}).items()
                if state.head.seq
            )
            cached = sha256(ROOT_PREFIX + b"".join(heads)).digest() if heads else EMPTY_ROOT
            self._roots[namespace] = cached
        return cached

    def roots(self) -> Mapping[Namespace, bytes]:
        """The root of every namespace that holds facts."""
        return {namespace: self.root(namespace) for namespace in self.namespaces()}

    def fingerprint(self) -> str:
        """Hash of the sorted (namespace, root) pairs, in hex: equal on converged replicas."""
        digest = sha256(FINGERPRINT_PREFIX)
        for namespace, root in sorted(self.roots().items()):
            name = namespace.encode()
            digest.update(len(name).to_bytes(2, "big") + name + root)
        return digest.hexdigest()

    def runs_after(self, chain: ChainId, seq: int) -> list[RunRow]:
        """The runs that hold facts after *seq*, in order; O(log runs) plus the answer."""
        state = self._chains.get(chain)
        if state is None:
            return []
        first = bisect_right(state.runs, seq, key=lambda run: run.last_seq)
        return state.runs[first:]

    def head_of(self, chain: ChainId) -> Head:
        """The head that the next run of *chain* must continue."""
        state = self._chains.get(chain)
        return state.head if state else CHAIN_START

    def _holds(self, run: RunRow) -> bool:
        state = self._chains[ChainId(run.chain)]
        at = bisect_right(state.runs, run.first_seq - 1, key=lambda held: held.last_seq)
        held = state.runs[at]
        return (held.first_seq, held.last_seq, held.last_id) == (run.first_seq, run.last_seq, run.last_id)

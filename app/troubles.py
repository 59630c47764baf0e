"""What is amiss with a journal that was read whole: holes, forked chains, void facts, and evidence of what was refused.

Reads and tells; what to do about it is ``antiphon doctor``'s advice and a peer's facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from antiphon.facts import ChainId, ChainInfo
from antiphon.journal import LogDamaged, RunRow, StoreUnavailable, parse_run, read_run_bytes
from antiphon.journal.forks import CausalFact, causal_base, causal_facts, judge_runs
from antiphon.runtime.witness import Quarantined

from .offline import OfflineJournal


class HoleFound(NamedTuple):
    """Numbers of a chain that are missing before others that are held."""

    info: ChainInfo
    from_seq: int
    to_seq: int


class ForkFound(NamedTuple):
    """A chain that tells two stories, from this number on."""

    info: ChainInfo
    seq: int


class BaseFound(NamedTuple):
    """A chain whose facts up to this number were collapsed."""

    info: ChainInfo
    seq: int


class Troubles(NamedTuple):
    """All of it; ``void_count`` facts of forked authors bind nobody, ``evidence`` is what was kept of refused bytes.

    Bases are no trouble: they say why a chain does not begin at its first number.
    """

    holes: tuple[HoleFound, ...]
    forks: tuple[ForkFound, ...]
    void_count: int
    evidence: tuple[Quarantined, ...]
    bases: tuple[BaseFound, ...]

    def describe(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "holes": [_of(each.info) | {"from_seq": each.from_seq, "to_seq": each.to_seq} for each in self.holes],
            "forks": [_of(each.info) | {"from_seq": each.seq} for each in self.forks],
            "void": self.void_count,
            "evidence": [each._asdict() | {"first_bytes": each.first_bytes.hex()} for each in self.evidence],
            "bases": [_of(each.info) | {"to_seq": each.seq} for each in self.bases],
        }

    def lines(self) -> Iterator[str]:
        """The same for people."""
        for hole in self.holes:
            numbers = f"{hole.from_seq}..{hole.to_seq}"
            yield f"facts {numbers} of {_name(hole.info)} are missing; sync with a peer that has them"
        for fork in self.forks:
            yield (
                f"{_name(fork.info)} tells two stories from number {fork.seq} on: both are kept, and what they grant "
                "or take binds only those who could not know"
            )
        if self.void_count:
            yield f"{self.void_count} facts of forked authors bind nobody; antiphon log --hidden names them"
        for each in self.evidence:
            whose = f" of chain {each.chain[:8]}" if each.chain else ""
            fault = each.peer if each.is_sender_at_fault else "its writer"
            sender = each.peer or "somebody"
            yield f"{each.size} bytes{whose} from {sender} were refused ({fault} is at fault): {each.reason}"


def find_troubles(journal: OfflineJournal) -> Troubles:
    """What is amiss with *journal*, as far as it was read; a forked context costs a second reading of its facts."""
    index = journal.index
    holes = (HoleFound(_info(journal, hole.chain), hole.from_seq, hole.to_seq) for hole in index.holes())
    forks = (ForkFound(_info(journal, chain), seq) for chain, seq in sorted(index.forked().items()))
    bases = (BaseFound(state.info, state.collapsed[-1].last_seq) for state in index.chains() if state.collapsed)
    return Troubles(tuple(holes), tuple(forks), len(find_void(journal)), tuple(journal.evidence), tuple(bases))


def find_void(journal: OfflineJournal) -> Mapping[bytes, str]:
    """The facts of forked authors that bind nobody, and their kinds; nothing is read while no chain is forked."""
    found: dict[bytes, str] = {}
    for namespace in {_info(journal, chain).namespace for chain in journal.index.forked()}:
        runs = []
        for state in journal.index.chains(namespace):
            runs += [run for row in state.runs if state.is_member(row) for run in _read(journal, state.info, row)]
            runs += [[causal_base(state.info, base)] for base in state.member_bases()]
        found |= judge_runs(journal.index.forked(namespace), runs).void
    return found


def _read(journal: OfflineJournal, info: ChainInfo, row: RunRow) -> Iterator[list[CausalFact]]:
    try:
        yield causal_facts(row.first_previous_id, parse_run(info, row, read_run_bytes(journal.folder, row)))
    except (LogDamaged, StoreUnavailable):
        return  # named by verify


def _info(journal: OfflineJournal, chain: ChainId) -> ChainInfo:
    state = journal.index.chain(chain)
    assert state is not None, "the index named it"
    return state.info


def _of(info: ChainInfo) -> dict[str, object]:
    return {"chain": info.text, "namespace": info.namespace, "author": info.label, "authority": info.authority}


def _name(info: ChainInfo) -> str:
    return f"chain {info.text[:8]} of {info.label or info.authority[:8] or 'an unknown author'}"

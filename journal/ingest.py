"""Deciding what becomes of runs that a peer sent: members, known already, parked, or refused with the reason.

Pure: by header, links and seal alone, against the index and what this batch admitted before. Payloads are not looked
at; hiding what views must not show is the registry's and the reducers' business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from antiphon.facts import AfterLink, ChainId, ChainInfo, InvalidLine

from .chain import Head, VerifiedRun, is_seal_valid, parse_seal_line, verify_run
from .erasure import ErasureBook, erase_records
from .errors import SealedViolation, UnsealedBytes
from .frame import line_hash
from .index import Continuation, JournalIndex
from .sealing import SealedRun
from .stores.position import RunRow
from .sync.messages import IncomingRun, IngestResult, Refusal

# A run that waits for its causal past is kept in memory; a peer may not fill it.
PARKED_RUNS_MAX = 64


class ParkedRun(NamedTuple):
    """A run that is valid and waits until its causal past has come."""

    run: IncomingRun
    past: tuple[AfterLink, ...]


class Ingest:
    """One batch of runs on its way into one frame.

    *closed_chains* are chains that may not grow just now (the journal is writing them itself). Runs of one chain may
    follow each other in a batch; heads move along.
    """

    def __init__(
        self,
        index: JournalIndex,
        parked: dict[tuple[ChainId, int], ParkedRun],
        closed_chains: Iterable[ChainId] = (),
        *,
        erasures: ErasureBook | None = None,
    ) -> None:
        self._erasures = erasures or ErasureBook()
        self._index = index
        self._parked = parked
        self._closed = frozenset(closed_chains)
        self._heads: dict[ChainId, Head] = {}
        self._known = 0
        self._admitted = 0
        self._refusals: list[Refusal] = []
        self.runs: list[SealedRun] = []
        self.introduced: list[ChainInfo] = []
        self._infos: dict[ChainId, ChainInfo] = {}

    def take(self, runs: Iterable[IncomingRun]) -> IngestResult:
        """Decide each run in order, then whatever was parked for want of one of them."""
        for run in runs:
            self._take(run)
        progress = True
        while progress and self._parked:
            before = len(self.runs)
            for key in [key for key, parked in self._parked.items() if self._is_ready(parked)]:
                self._take(self._parked.pop(key).run)
            progress = len(self.runs) > before
        return IngestResult(self._admitted, self._known, len(self._parked), tuple(self._refusals))

    def _take(self, run: IncomingRun) -> None:
        try:
            self._decide(run)
        except UnsealedBytes as problem:
            self._refuse(run, str(problem), is_sender_at_fault=True)
        except (SealedViolation, InvalidLine) as problem:
            self._refuse(run, str(problem), is_sender_at_fault=isinstance(problem, InvalidLine))

    def _decide(self, run: IncomingRun) -> None:
        if not run.info.is_authentic:
            raise UnsealedBytes(f"chain {run.info.text[:8]} is not the hash of its key, nonce and namespace")
        if run.info.chain in self._closed:
            self._refuse(run, "this journal is writing that chain; offer it again", is_sender_at_fault=False)
            return
        match self._classify(run):
            case Continuation.KNOWN:
                self._known += len(run.lines)
            case Continuation.GAP:
                self._refuse(run, "facts before these are missing; send from the head", is_sender_at_fault=False)
            case Continuation.FORK:
                if not is_seal_valid(parse_seal_line(run.seal_line), run.info.public_key):
                    raise UnsealedBytes(f"chain {run.info.text[:8]} never sealed these facts; drop them")
                self._refuse(
                    run, "the chain forks here: another fact already has this number", is_sender_at_fault=False
                )
            case Continuation.NEXT:
                self._admit_or_park(run)

    def _classify(self, run: IncomingRun) -> Continuation:
        seal = parse_seal_line(run.seal_line)
        head = self._heads.get(run.info.chain)
        if head is not None:
            if run.first_seq == head.seq + 1:
                return Continuation.NEXT if run.first_previous_id == head.fact_id else Continuation.FORK
            if run.first_seq > head.seq + 1:
                return Continuation.GAP
        last_seq = run.first_seq + len(run.lines) - 1
        if head is not None and last_seq <= head.seq and run.first_seq > self._index.head_of(run.info.chain).seq:
            return Continuation.KNOWN  # a duplicate within this batch
        return self._index.classify(
            RunRow(run.info.chain, run.first_seq, last_seq, run.first_previous_id, seal.to_id, 0, 0, 0)
        )

    def _admit_or_park(self, run: IncomingRun) -> None:
        chain = run.info.chain
        known = self._infos.get(chain) or (state.info if (state := self._index.chain(chain)) else run.info)
        previous = self._heads.get(chain) or self._index.head_of(chain)
        verified = verify_run(known, previous, run.lines, run.seal_line)
        past = tuple(link for record in verified.records for link in record.after if link.chain != chain)
        if not self._has(past):
            if len(self._parked) >= PARKED_RUNS_MAX:
                self._parked.pop(next(iter(self._parked)))
            self._parked[chain, run.first_seq] = ParkedRun(run, past)
            return
        if previous.seq == 0 and chain not in self._infos:
            self.introduced.append(verified.info)
        self._infos[chain] = verified.info
        self._heads[chain] = verified.head
        self._admitted += len(verified.records)
        if self._erasures.concerns(chain):
            # What was erased never comes back from a peer who does not know yet.
            verified = verified._replace(records=erase_records(self._erasures, verified.records))
        self.runs.append(_sealed(verified))

    def _has(self, past: Iterable[AfterLink]) -> bool:
        return all(link.seq <= (self._heads.get(link.chain) or self._index.head_of(link.chain)).seq for link in past)

    def _is_ready(self, parked: ParkedRun) -> bool:
        """Whether trying again may change anything; verifying costs, so it is not done at a peer's mere request."""
        head = self._heads.get(parked.run.info.chain) or self._index.head_of(parked.run.info.chain)
        return parked.run.first_seq <= head.seq + 1 and self._has(parked.past)

    def _refuse(self, run: IncomingRun, reason: str, *, is_sender_at_fault: bool) -> None:
        self._refusals.append(Refusal(run.info.text, run.first_seq, reason, is_sender_at_fault))


def _sealed(run: VerifiedRun) -> SealedRun:
    text = b"\n".join([*(record.line for record in run.records), run.seal_line, b""])
    entries = (*(record.fact_id for record in run.records), line_hash(run.seal_line))
    return SealedRun(run.records, text, entries, run.seal)

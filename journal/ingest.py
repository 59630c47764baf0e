"""Deciding what becomes of runs that a peer sent: members, known already, parked, or refused with the reason.

By header, links and seal alone, against the index and what this batch admitted before. Payloads are not looked at;
hiding what views must not show is the registry's and the reducers' business. A run becomes a member when the fact that
it continues and all that its facts name in ``after`` are members, each by number and id; until then it is parked. A
link that names a fact that nobody ever sealed therefore ends its chain there, for everyone and without a decision.
Both branches of a fork are members. A base is a run of which the sender has only the end left (``bases.py``): a member
under the same rule, wherever a run would be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from antiphon.facts import AfterLink, ChainId, ChainInfo, FactRecord, InvalidLine

from .bases import ChainBase, read_base
from .chain import Head, Seal, VerifiedRun, build_seal_line, is_seal_valid, parse_seal_line, verify_run
from .erasure import ErasureBook, erase_records
from .errors import LogDamaged, SealedViolation, UnsealedBytes
from .frame import line_hash
from .index import Continuation, JournalIndex
from .parking import NOTHING, Missing, ParkedRun, Parking, missing_of, sealed_fact
from .sealing import SealedRun
from .stores.position import RunRow, row_of_seal
from .sync.messages import IncomingRun, IngestResult, Refusal


class Evidence(NamedTuple):
    """What did not become a member and whose bytes are worth keeping a piece of."""

    chain: str
    first_seq: int
    reason: str
    is_sender_at_fault: bool
    run: IncomingRun


@dataclass(slots=True)
class _Fresh:
    """What this batch adds to one chain, before any of it is durable."""

    ends: dict[bytes, Head] = field(default_factory=dict)
    points: set[tuple[int, bytes]] = field(default_factory=set)
    held: set[tuple[bytes, bytes]] = field(default_factory=set)
    continued: set[bytes] = field(default_factory=set)
    ids: set[bytes] = field(default_factory=set)
    is_forked: bool = False


class Ingest:
    """One batch of runs on its way into one frame.

    *closed_chains* are chains that may not grow just now (the journal is writing them itself); *peer* is who sent the
    batch. Runs of one chain may follow each other in a batch.
    """

    def __init__(
        self,
        index: JournalIndex,
        parking: Parking,
        closed_chains: Iterable[ChainId] = (),
        *,
        peer: str = "",
        erasures: ErasureBook | None = None,
    ) -> None:
        self._erasures = erasures if erasures is not None else ErasureBook()
        self._index = index
        self._parking = parking
        self._peer = peer
        self._closed = frozenset(closed_chains)
        self._fresh: dict[ChainId, _Fresh] = {}
        self._known = 0
        self._admitted = 0
        self._parked_now = 0
        self._refusals: list[Refusal] = []
        self.runs: list[SealedRun] = []
        self.introduced: list[ChainInfo] = []
        self.bases: list[ChainBase] = []
        self.evidence: list[Evidence] = []
        self._infos: dict[ChainId, ChainInfo] = {}

    def take(self, runs: Iterable[IncomingRun]) -> IngestResult:
        """Decide each run in order, and after each whatever was parked for want of it."""
        for run in runs:
            queue = deque([ParkedRun(run, self._peer, NOTHING)])
            while queue:
                queue.extend(self._parking.wake(self._take(queue.popleft())))
        return IngestResult(self._admitted, self._known, len(self._parking), tuple(self._refusals))

    def erase(self) -> None:
        """Leave out what was erased, also since it was decided: it never comes back from a peer who does not know yet.

        The last thing before the frame is built.
        """
        for place, run in enumerate(self.runs):
            if self._erasures.concerns(run.seal.chain):
                records = erase_records(self._erasures, run.records)
                self.runs[place] = _sealed(records, build_seal_line(run.seal), run.seal, run.repeated)

    def _take(self, waiting: ParkedRun) -> list[Missing]:
        """Decide one run; what somebody may have waited for is returned."""
        run = waiting.run
        try:
            return self._decide(waiting)
        except UnsealedBytes as problem:
            self._refuse(run, str(problem), is_sender_at_fault=True)
        except LogDamaged as problem:
            text = f"what these facts continue cannot be read here ({problem}); offer them again"
            self._refuse(run, text, is_sender_at_fault=False, is_evidence=False)
        except (SealedViolation, InvalidLine) as problem:
            self._refuse(run, str(problem), is_sender_at_fault=isinstance(problem, InvalidLine))
        return []

    def _decide(self, waiting: ParkedRun) -> list[Missing]:
        run = waiting.run
        if not run.info.is_authentic:
            raise UnsealedBytes(f"chain {run.info.text[:8]} is not the hash of its key, nonce and namespace")
        if run.info.chain in self._closed:
            text = "this journal is writing that chain; offer it again"
            self._refuse(run, text, is_sender_at_fault=False, is_evidence=False)
            return []
        if run.is_base:
            return self._take_base(run, waiting.peer)
        seal = parse_seal_line(run.seal_line)
        row = _row_of(run, seal)
        if self._is_known(row):
            self._known += len(run.lines)
            return []
        previous = self._head_before(row)
        if previous is None:
            self._park_gap(run, seal, waiting.peer)
            return []
        # Verifying costs; a run that waits for sixty facts is not verified sixty times.
        if self._waits_on(waiting, row):
            return []
        return self._admit_or_park(run, row, previous, waiting.peer)

    def _take_base(self, run: IncomingRun, peer: str) -> list[Missing]:
        base = read_base(run.info, run.first_previous_id, run.lines[0], run.seal_line)
        head, seal, row = base.head, base.seal, row_of_seal(base.seal)
        if seal.to_seq != run.first_seq:
            raise UnsealedBytes(f"a base of chain {run.info.text[:8]} at {run.first_seq} does not fit its seal")
        if self._is_known(row):
            self._known += 1
            return []
        previous = self._head_before(row)
        if previous is None:
            self._parking.park(run, seal.to_id, peer, sealed_fact(run.info.chain, seal.from_id))
            return []
        if head.hlc <= previous.hlc:
            raise SealedViolation(f"chain {run.info.text[:8]} lets its clock stand or fall before {seal.to_seq}")
        self._note_member(row, head)
        self.bases.append(base)
        return [sealed_fact(run.info.chain, row.last_id)]

    def _is_known(self, row: RunRow) -> bool:
        fresh = self._fresh.get(ChainId(row.chain))
        if fresh is not None and (row.first_previous_id, row.last_id) in fresh.held:
            return True
        return self._index.classify(row) is Continuation.KNOWN

    def _head_before(self, row: RunRow) -> Head | None:
        fresh = self._fresh.get(ChainId(row.chain))
        head = fresh.ends.get(row.first_previous_id) if fresh is not None else None
        if head is not None:
            return head if head.seq == row.first_seq - 1 else None
        return self._index.head_before(row)

    def _park_gap(self, run: IncomingRun, seal: Seal, peer: str) -> None:
        """What it continues is not here. Only what its author really sealed may wait."""
        claims = (run.info.chain, run.first_seq - 1, run.first_previous_id, run.last_seq)
        if seal[:4] != claims or run.first_seq <= 1 or not is_seal_valid(seal, run.info.public_key):
            raise UnsealedBytes(
                f"chain {run.info.text[:8]} never sealed facts {run.first_seq}..{run.last_seq} after the fact they "
                "claim to continue; drop them"
            )
        self._parking.park(run, seal.to_id, peer, sealed_fact(run.info.chain, run.first_previous_id))

    def _admit_or_park(self, run: IncomingRun, row: RunRow, previous: Head, peer: str) -> list[Missing]:
        chain = run.info.chain
        known = self._infos.get(chain) or (state.info if (state := self._index.chain(chain)) else run.info)
        verified = verify_run(known, previous, run.lines, run.seal_line)
        past = tuple(link for record in verified.records for link in record.after if link.chain != chain)
        if self._waits_on(ParkedRun(run, peer, NOTHING, past), row):
            return []
        if previous.seq == 0 and chain not in self._infos:
            self.introduced.append(verified.info)
        self._infos[chain] = verified.info
        self._admit(verified, row)
        return [sealed_fact(chain, row.last_id)]

    def _waits_on(self, run: ParkedRun, row: RunRow) -> bool:
        """Park a run for the first of its causal links that is not a member yet; False when all are."""
        for place in range(run.checked, len(run.past)):
            link = run.past[place]
            if not self._has(link):
                self._parking.park(run.run, row.last_id, run.peer, missing_of(link), run.past, place)
                return True
        return False

    def _admit(self, verified: VerifiedRun, row: RunRow) -> None:
        chain = verified.info.chain
        fresh = self._fresh.setdefault(chain, _Fresh())
        repeated = self._find_repeated(verified, row, fresh)
        self._note_member(row, verified.head)
        self._admitted += len(verified.records) - len(repeated)
        self.runs.append(_sealed(verified.records, verified.seal_line, verified.seal, repeated))

    def _note_member(self, row: RunRow, head: Head) -> None:
        fresh = self._fresh.setdefault(ChainId(row.chain), _Fresh())
        fresh.ends.setdefault(row.last_id, head)
        fresh.points.add((row.last_seq, row.last_id[:16]))
        fresh.held.add((row.first_previous_id, row.last_id))
        fresh.continued.add(row.first_previous_id)

    def _find_repeated(self, verified: VerifiedRun, row: RunRow, fresh: _Fresh) -> frozenset[int]:
        """The places of facts that are held under another seal, or were before their bytes were damaged. Nothing is
        looked at while a chain has one story."""
        chain = verified.info.chain
        state = self._index.chain(chain)
        if state is not None and state.is_lost(row):
            return frozenset(range(len(verified.records)))
        is_forked = state is not None and state.is_forked
        forks = row.first_previous_id in fresh.continued or self._index.classify(row) is Continuation.FORK
        if not (is_forked or forks or fresh.is_forked or self._index.overlaps(row)):
            return frozenset()
        if not fresh.is_forked:
            fresh.is_forked = True
            fresh.ids.update(r.fact_id for run in self.runs if run.seal.chain == chain for r in run.records)
            self._read_what_may_repeat(row)
        repeated = frozenset(
            place
            for place, record in enumerate(verified.records)
            if record.fact_id in fresh.ids or self._index.has_fact(chain, record.fact_id)
        )
        fresh.ids.update(record.fact_id for record in verified.records)
        return repeated

    def _read_what_may_repeat(self, row: RunRow) -> None:
        """Have the ids at hand that *row* may repeat; the engine has read them already, in a thread."""
        rows = self._index.unread(row)
        if rows:
            self._index.learn_ids(row, rows, [each for one in rows for each in self._index.read_ids(one)])

    def _has(self, link: AfterLink) -> bool:
        fresh = self._fresh.get(link.chain)
        is_fresh = fresh is not None and (link.seq, link.short_id) in fresh.points
        return is_fresh or self._index.has(link)

    def _refuse(self, run: IncomingRun, reason: str, *, is_sender_at_fault: bool, is_evidence: bool = True) -> None:
        self._refusals.append(Refusal(run.info.text, run.first_seq, reason, is_sender_at_fault))
        if is_evidence:
            self.evidence.append(Evidence(run.info.text, run.first_seq, reason, is_sender_at_fault, run))


def _row_of(run: IncomingRun, seal: Seal) -> RunRow:
    return RunRow(run.info.chain, run.first_seq, run.last_seq, run.first_previous_id, seal.to_id, 0, 0, 0)


def _sealed(records: tuple[FactRecord, ...], seal_line: bytes, seal: Seal, repeated: frozenset[int]) -> SealedRun:
    text = b"\n".join([*(record.line for record in records), seal_line, b""])
    entries = (*(record.fact_id for record in records), line_hash(seal_line))
    return SealedRun(records, text, entries, seal, repeated)

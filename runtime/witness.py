"""Keeping proof of what went wrong: forks as facts for everybody, and a few bytes of what was refused for the owner.

A fork is proven once a chain by each journal, and again only when an earlier one comes to light; a proof that is a
member already, whoever wrote it, is not written again. Decides nothing about membership or rights.
"""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple, Protocol

from antiphon.facts import AntiphonError, ChainId, Fact, FactProblem, FactRecord, ForkProven
from antiphon.journal import JournalIndex, UnsealedBytes
from antiphon.journal.chain import parse_seal_line
from antiphon.journal.forks import ForkProof, prove_fork, read_proof
from antiphon.journal.frame import LocalNote
from antiphon.journal.ingest import Evidence
from antiphon.journal.stores.accounts import QUARANTINE_NOTE
from antiphon.journal.stores.position import RunRow

# A writer that reveals ever earlier forks is proven guilty after the first.
PROOFS_A_CHAIN_MAX = 4
# A person reads the first few; a flood of garbage must fill neither memory nor disk.
EVIDENCE_KEPT_MAX = 256
EVIDENCE_WRITTEN_MAX = 64
EVIDENCE_BYTES = 96

FORK_KIND = ForkProven.fact_type.kind


class Quarantined(NamedTuple):
    """What was refused: who sent it, of which chain (hex, if it says) from which number, why, and the first bytes.

    ``is_sender_at_fault`` is False where the chain's own writer broke a rule under its seal. ``digest`` is the SHA-256
    of all the bytes, ``size`` their number, ``at_ms`` when it was.
    """

    at_ms: int
    peer: str
    chain: str
    first_seq: int
    reason: str
    is_sender_at_fault: bool
    size: int
    digest: str
    first_bytes: bytes


class Quarantine:
    """The last refusals, and local lines for the first of them; both bounded, and nothing of it is ever believed."""

    def __init__(self, note: Callable[[LocalNote], None], now_ms: Callable[[], int]) -> None:
        self._note = note
        self._now_ms = now_ms
        self._kept: deque[Quarantined] = deque(maxlen=EVIDENCE_KEPT_MAX)
        self._facts: set[bytes] = set()
        self.count = 0

    @property
    def kept(self) -> tuple[Quarantined, ...]:
        """The last of them, oldest first."""
        return tuple(self._kept)

    def keep_run(self, peer: str, evidence: Evidence) -> None:
        """Keep a run that did not become a member."""
        run = evidence.run
        data = b"\n".join((*run.lines, run.seal_line))
        self.keep(
            peer,
            evidence.reason,
            data,
            chain=evidence.chain,
            first_seq=evidence.first_seq,
            is_sender_at_fault=evidence.is_sender_at_fault,
        )

    def keep_fact(self, record: FactRecord, reason: str) -> None:
        """Keep a member that its writer should not have written; once."""
        if record.fact_id not in self._facts:
            self._facts.add(record.fact_id)
            self.keep("", reason, record.line, chain=record.chain.text, first_seq=record.seq, is_sender_at_fault=False)

    def keep(
        self,
        peer: str,
        reason: str,
        data: bytes,
        *,
        chain: str = "",
        first_seq: int = 0,
        is_sender_at_fault: bool = True,
    ) -> None:
        """Keep bytes that were refused."""
        item = Quarantined(
            self._now_ms(),
            peer,
            chain,
            min(first_seq, 2**63 - 1),
            reason[:300],
            is_sender_at_fault,
            len(data),
            sha256(data).hexdigest(),
            data[:EVIDENCE_BYTES],
        )
        self._kept.append(item)
        self.count += 1
        if self.count <= EVIDENCE_WRITTEN_MAX:
            value: dict[str, object] = {**item._asdict(), "first_bytes": item.first_bytes.hex()}
            with suppress(AntiphonError):  # a journal that is closing keeps what it has
                self._note(LocalNote(QUARANTINE_NOTE, value))


def read_quarantined(note: LocalNote) -> Quarantined | None:
    """A local line back as what it keeps; None when it is about something else."""
    if note.kind != QUARANTINE_NOTE:
        return None
    value = dict(note.value)
    return Quarantined(**{**value, "first_bytes": bytes.fromhex(str(value["first_bytes"]))})  # type: ignore[arg-type]  # what keep() wrote


class Pen(Protocol):
    """What a witness needs of a journal."""

    @property
    def index(self) -> JournalIndex:
        """The chains it holds."""
        ...

    def read_run(self, row: RunRow, /) -> bytes:
        """A held run's bytes."""
        ...

    async def read_kind(self, kind: str, /) -> list[FactRecord]:
        """Every member of one kind."""
        ...

    def decode_fact(self, record: FactRecord, /) -> object:
        """A record as its type, or as the problem that it has."""
        ...

    def note_problem(self, problem: str, /) -> None:
        """Tell the owner."""
        ...


class ForkWitness:
    """Which forks are proven by members, and who writes the proofs that are missing."""

    def __init__(self, pen: Pen, commit: Callable[[Sequence[Fact]], Awaitable[object]]) -> None:
        self._pen = pen
        self._commit = commit
        self._proven: dict[ChainId, tuple[int, int]] | None = None
        self._writing = asyncio.Lock()

    def note(self, facts: Iterable[Fact]) -> None:
        """Take in proofs that became members; each is checked, or a false one would keep true ones out."""
        if self._proven is not None:
            for fact in facts:
                if isinstance(fact, ForkProven):
                    self._believe(fact)

    async def look(self, chains: Iterable[bytes] | None = None) -> None:
        """Prove what is forked among *chains* (all when None) and not proven yet."""
        forked = self._pen.index.forked()
        # The first look of an opening is at all of them: the last one may have ended before it had written its proof.
        is_first = chains is None or self._proven is None
        wanted = set(forked) if is_first else forked.keys() & set(map(ChainId, chains or ()))
        if not wanted:
            return
        async with self._writing:
            await self._load()
            for chain in sorted(wanted):
                if self._may_prove(chain, forked[chain]):
                    proof = self._prove(chain)
                    if proof is not None:
                        await self._write(proof)

    async def keep(self, proof: ForkProof) -> None:
        """Keep a proof that a peer gave, of a chain that is known here."""
        if self._pen.index.chain(proof.info.chain) is None:
            return
        async with self._writing:
            await self._load()
            if self._may_prove(proof.info.chain, proof.seq):
                await self._write(proof)

    def _may_prove(self, chain: ChainId, seq: int) -> bool:
        assert self._proven is not None, "loaded before"
        known_seq, count = self._proven.get(chain, (seq + 1, 0))
        return seq < known_seq and count < PROOFS_A_CHAIN_MAX

    def _prove(self, chain: ChainId) -> ForkProof | None:
        state, rows = self._pen.index.chain(chain), self._pen.index.siblings(chain)
        assert state is not None, "the caller found it in the index"
        assert rows is not None, "a forked chain has siblings"
        try:
            one, other = (parse_seal_line(self._pen.read_run(row).split(b"\n")[-2]) for row in rows)
            return prove_fork(state.info, one, other)
        except (AntiphonError, IndexError):
            return None  # a damaged log cannot prove anything; another replica can

    async def _write(self, proof: ForkProof) -> None:
        chain = proof.info
        fact = ForkProven(
            chain=chain.text, namespace=chain.namespace, proof=b64encode(proof.encode()).decode(), seq=proof.seq
        )
        self._believe(fact)
        who = f" of {chain.label}" if chain.label else ""
        self._pen.note_problem(
            f"chain {chain.text[:8]}{who} tells two stories from fact {proof.seq} on (a copied or rolled-back disk, or "
            "a writer that lies): both are kept, and the proof is a fact"
        )
        with suppress(AntiphonError):  # a full disk or a journal that closes: the next opening proves it
            await self._commit([fact])

    async def _load(self) -> None:
        if self._proven is None:
            self._proven = {}
            for record in await self._pen.read_kind(FORK_KIND):
                decoded = self._pen.decode_fact(record)
                if isinstance(decoded, ForkProven) and not isinstance(decoded, FactProblem):
                    self._believe(decoded)

    def _believe(self, fact: ForkProven) -> None:
        assert self._proven is not None, "loaded before"
        try:
            proof = read_proof(b64decode(fact.proof, validate=True), fact.namespace)
        except (UnsealedBytes, binascii.Error, ValueError):
            return
        known_seq, count = self._proven.get(proof.info.chain, (proof.seq + 1, 0))
        if proof.seq < known_seq:
            self._proven[proof.info.chain] = (proof.seq, count + 1)

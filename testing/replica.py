"""A replica without a disk: real chains, real seals, real verification, kept in memory.

For tests of replication and for simulations; what it commits is raw payloads, so it needs no fact types. It implements
``runtime.services.sync.Replica``. Nothing in it is durable, and nothing folds facts into views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from antiphon.facts import DEFAULT_NAMESPACE, AfterLink, ChainId, FactRecord, InvalidLine, Namespace, canonical_bytes
from antiphon.journal import (
    Continuation,
    Draft,
    JournalIndex,
    OwnChain,
    RunRow,
    SealedRun,
    is_seal_valid,
    open_chain,
    parse_run,
    seal_run,
    with_links,
)
from antiphon.journal.bases import ChainBase
from antiphon.journal.chain import RUN_FACTS_MAX, parse_seal_line
from antiphon.journal.forks import ForkProof
from antiphon.journal.ingest import Ingest
from antiphon.journal.parking import Parking
from antiphon.journal.stores.position import row_of_seal
from antiphon.journal.sync.messages import Acks, IncomingRun, IngestResult

RunListener = Callable[[Sequence[RunRow]], None]


class MemorySigner:
    """An Ed25519 key made of 32 given bytes."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes of the public key."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of *message*."""
        return self._key.sign(message)


class MemoryReplica:
    """A journal of runs in memory, wholly determined by *seed* and the calls made.

    Its clock stands still until ``wall_ms`` is moved; every window advances its chain's HLC all the same.

    >>> ada = MemoryReplica(seed=1)
    >>> ada.commit_texts(["hello", "world"])
    >>> ada.index.fact_count
    3
    """

    def __init__(self, *, seed: int, label: str = "ada", wall_ms: int = 1_700_000_000_000) -> None:
        self.index = JournalIndex(self.read_run)
        self.wall_ms = wall_ms
        self.ingest_count = 0
        self._random = Random(seed)
        self._label = label
        self._journal_id = self._random.randbytes(16).hex()
        self._signer = MemorySigner(self._random.randbytes(32))
        self._authority = MemorySigner(self._random.randbytes(32))
        self._own: dict[Namespace, OwnChain] = {}
        self._bytes: dict[int, bytes] = {}
        self._end = 0
        self._parking = Parking()
        self.proofs: dict[ChainId, ForkProof] = {}
        self.refused_bytes: list[tuple[str, str, bytes]] = []
        self._listeners: list[RunListener] = []
        self.acks: list[Acks] = []
        self.agreed: dict[str, int] = {}

    @property
    def journal_id(self) -> str:
        """Its name for ever: 32 hex digits."""
        return self._journal_id

    def commit_texts(self, texts: Sequence[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
        """Commit a fact ``test.said`` for each text: one window, or several when they are more than 1,000 facts."""
        drafts = [Draft("test.said", 1, canonical_bytes({"text": text}), None) for text in texts]
        own = self._own.get(namespace)
        if own is None:
            own, opening = open_chain(
                namespace=namespace,
                writer=self._signer,
                authority=self._authority,
                nonce=self._random.randbytes(16),
                device="memory",
                label=self._label,
                predecessor=None,
                fresh=[state.info.chain for state in self.index.chains(namespace)],
            )
            self._own[namespace] = own
            self.index.introduce(own.info)
            drafts.insert(0, opening)
        links = own.uncovered(self.index)
        drafts = with_links(drafts, links)
        own.cover(links)
        for start in range(0, len(drafts), RUN_FACTS_MAX):
            self._publish([self._seal(own, drafts[start : start + RUN_FACTS_MAX])])

    def commit_linked(self, text: str, link: AfterLink, *, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
        """Commit a fact that names *link* in ``after``, whether there is such a fact or not."""
        draft = Draft("test.said", 1, canonical_bytes({"text": text}), None, (link,))
        self._publish([self._seal(self._own[namespace], [draft])])

    def leave_own_chains(self) -> None:
        """Write no chain on; what is committed next opens new ones."""
        self._own.clear()

    def load(self, row: RunRow, data: bytes) -> None:
        """Hold a run that was read elsewhere, whatever comes before it: what a damaged log leaves behind."""
        state = self.index.chain(ChainId(row.chain))
        assert state is not None, "introduce the chain first"
        row = row._replace(offset=self._end)
        records = parse_run(state.info, row, data)
        self._bytes[self._end] = data
        self._end += len(data)
        self.index.admit(row, hlc=records[-1].hlc, records=records)

    def read_run(self, row: RunRow, /) -> bytes:
        """The bytes of a run, as they were sealed; of one that was collapsed, its base."""
        base = self.index.base_of(row)
        return base.encode() if base else self._bytes[row.offset]

    async def ingest(self, runs: Sequence[IncomingRun], /, *, peer: str = "") -> IngestResult:
        """Verify runs and make members of the good ones."""
        return self.ingest_nowait(runs, peer=peer)

    def ingest_nowait(self, runs: Sequence[IncomingRun], *, peer: str = "") -> IngestResult:
        """The same without a loop: nothing here waits for anything."""
        self.ingest_count += 1
        self._yield_forked_chains(runs)
        ingest = Ingest(self.index, self._parking, [own.info.chain for own in self._own.values()], peer=peer)
        result = ingest.take(runs)
        for info in ingest.introduced:
            self.index.introduce(info)
        for run in ingest.runs:
            info = run.records[0].chain
            own = self._own.get(info.namespace)
            if own is not None:
                own.fresh.add(info.chain)
        if ingest.runs or ingest.bases:
            self._publish(ingest.runs, ingest.bases)
        for base in ingest.bases:
            own = self._own.get(base.info.namespace)
            if own is not None:
                own.fresh.add(base.info.chain)
        return result

    def take_acks(self, acks: Acks, /) -> None:
        """Remember what a peer acknowledged."""
        self.acks.append(acks)

    def note_agreed(self, journal_id: str, fact_count: int, /) -> None:
        """Remember with whom it agreed, and on how much."""
        self.agreed[journal_id] = fact_count

    def refuse_bytes(self, peer: str, reason: str, data: bytes, /) -> None:
        """Note that a peer sent what is no message."""
        self.refused_bytes.append((peer, reason, data))

    async def witness(self, proof: ForkProof, /) -> None:
        """Note that a chain is forked."""
        self.proofs[proof.info.chain] = proof

    def add_run_listener(self, listener: RunListener, /) -> Callable[[], None]:
        """Call *listener* with the rows of each window; the result removes it again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def flush(self) -> None:
        """Everything is as durable as it will ever be."""

    def facts(self) -> list[FactRecord]:
        """Every fact, in order of its stamp."""
        records = {
            record.fact_id: record
            for state in self.index.chains()
            for row in state.runs
            for record in parse_run(state.info, row, self.read_run(row))
        }
        return sorted(records.values(), key=lambda record: record.stamp)

    def _yield_forked_chains(self, runs: Sequence[IncomingRun]) -> None:
        """Stop writing an own chain of which a peer holds what this replica does not, as a journal does."""
        for run in runs:
            own = self._own.get(run.info.namespace)
            if own is None or own.info.chain != run.info.chain:
                continue
            try:
                seal = parse_seal_line(run.seal_line)
            except InvalidLine:
                continue
            row = RunRow(seal.chain, seal.from_seq + 1, seal.to_seq, seal.from_id, seal.to_id, 0, 0, 0)
            is_sealed = seal.chain == own.info.chain and is_seal_valid(seal, own.info.public_key)
            if is_sealed and self.index.classify(row) is not Continuation.KNOWN:
                del self._own[run.info.namespace]

    def _seal(self, own: OwnChain, drafts: Sequence[Draft]) -> SealedRun:
        return seal_run(
            own,
            drafts,
            wall_ms=self.wall_ms,
            hlc_floor=self.index.hlc_seen + 1,
            randomness=self._random.randbytes(16 * len(drafts)),
            signer=self._signer,
        )

    def _publish(self, runs: Sequence[SealedRun], bases: Sequence[ChainBase] = ()) -> None:
        rows: list[RunRow] = []
        for run in runs:
            row = run.row(file_number=1, offset=self._end)
            self._bytes[self._end] = run.text
            self._end += len(run.text)
            self.index.admit(row, hlc=run.records[-1].hlc, records=run.records)
            rows.append(row)
        self.index.take_bases(bases)
        rows += [row_of_seal(base.seal) for base in bases]
        for listener in tuple(self._listeners):
            listener(rows)

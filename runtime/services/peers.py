"""Peers: what came of meeting them, whom to meet next, and whom to leave alone for a while.

A record is this node's own opinion; it is kept as local lines and goes to nobody. Scores and choices are pure functions
of the records and the time; ``PeerBook`` holds the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from antiphon.facts import LocalViolation
from antiphon.journal.stores.accounts import PeerRow, build_peer_note

from ..engine import JournalEngine

PEERS_MAX = 100
SESSIONS_MAX = 10
TRUST_START = 50
TRUST_MAX = 100
# A failure costs more than a success earns, so that a peer that fails every other time sinks.
TRUST_GAIN, TRUST_LOSS = 2, 5
BACK_OFF_MS = 300_000


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A peer by its address: how much it is trusted (0..100), how often meeting it went well, and when (ms)."""

    address: str
    authority: str = ""
    trust: int = TRUST_START
    succeeded: int = 0
    failed: int = 0
    active: int = 0
    last_seen: int = 0
    back_off_until: int = 0

    @property
    def success_rate(self) -> float:
        """How often it went well, 0..1; a peer that was never met counts as half."""
        met = self.succeeded + self.failed
        return self.succeeded / met if met else 0.5

    @property
    def load(self) -> float:
        """How busy we are with it, 0..1."""
        return min(1.0, self.active / SESSIONS_MAX)

    @property
    def score(self) -> float:
        """0.5 trust + 0.3 success + 0.2 idleness.

        >>> PeerRecord("tcp://host:1", trust=80, succeeded=3, failed=1, active=5).score
        0.725
        """
        return 0.5 * self.trust / TRUST_MAX + 0.3 * self.success_rate + 0.2 * (1 - self.load)

    def is_available(self, *, now_ms: int, trust_min: int = TRUST_START) -> bool:
        """Whether it may be met now."""
        return self.trust >= trust_min and now_ms >= self.back_off_until and self.active < SESSIONS_MAX

    def after_success(self, *, now_ms: int) -> PeerRecord:
        """After a sync went well."""
        return replace(
            self,
            trust=min(TRUST_MAX, self.trust + TRUST_GAIN),
            succeeded=self.succeeded + 1,
            last_seen=now_ms,
            back_off_until=0,
        )

    def after_failure(self, *, now_ms: int, back_off_ms: int = BACK_OFF_MS, is_at_fault: bool = False) -> PeerRecord:
        """After a sync failed. Only what the peer is at fault for costs trust: being away is no offence."""
        return replace(
            self,
            trust=max(0, self.trust - TRUST_LOSS) if is_at_fault else self.trust,
            failed=self.failed + 1,
            back_off_until=now_ms + back_off_ms,
        )


def choose_peers(
    records: Iterable[PeerRecord], *, now_ms: int, count_max: int, trust_min: int = TRUST_START
) -> list[PeerRecord]:
    """The best *count_max* that may be met now, by score, ties by address."""
    available = [each for each in records if each.is_available(now_ms=now_ms, trust_min=trust_min)]
    return sorted(available, key=lambda each: (-each.score, each.address))[:count_max]


@dataclass(slots=True)
class PeerBook:
    """The records, by address; *keep* is told of every change that is to outlive the process."""

    keep: Callable[[PeerRecord], None] = lambda record: None
    _records: dict[str, PeerRecord] = field(default_factory=dict)

    def add(self, address: str, *, authority: str = "") -> PeerRecord:
        """Know a peer; what is known already stays. ``LocalViolation`` beyond 100 peers, all of them in use."""
        known = self._records.get(address)
        if known is None:
            self._make_room()
            known = PeerRecord(address, authority)
        elif authority and known.authority != authority:
            known = replace(known, authority=authority)
        self._records[address] = known
        return known

    def record(self, address: str) -> PeerRecord:
        """What is known of a peer; a stranger's record when nothing is."""
        return self._records.get(address, PeerRecord(address))

    def records(self) -> tuple[PeerRecord, ...]:
        """Everything that is known, by address."""
        return tuple(self._records[address] for address in sorted(self._records))

    def choose(self, *, now_ms: int, count_max: int, trust_min: int = TRUST_START) -> list[PeerRecord]:
        """Whom to meet now."""
        return choose_peers(self._records.values(), now_ms=now_ms, count_max=count_max, trust_min=trust_min)

    def begin(self, address: str) -> None:
        """A session with a peer begins."""
        known = self.add(address)
        self._records[address] = replace(known, active=known.active + 1)

    def end(self, address: str) -> None:
        """A session with a peer ended, however."""
        known = self.record(address)
        self._records[address] = replace(known, active=max(0, known.active - 1))

    def note_success(self, address: str, *, now_ms: int) -> None:
        """It went well."""
        self._change(self.record(address).after_success(now_ms=now_ms))

    def note_failure(
        self, address: str, *, now_ms: int, back_off_ms: int = BACK_OFF_MS, is_at_fault: bool = False
    ) -> None:
        """It did not."""
        record = self.record(address)
        self._change(record.after_failure(now_ms=now_ms, back_off_ms=back_off_ms, is_at_fault=is_at_fault))

    def restore(self, rows: Iterable[PeerRow]) -> None:
        """Take in what was kept; what is known from this process goes before it."""
        for row in rows:
            address, authority, trust, succeeded, failed, last_seen, back_off_until = row
            kept = PeerRecord(address, authority, trust, succeeded, failed, 0, last_seen, back_off_until)
            self._records.setdefault(address, kept)

    def _change(self, record: PeerRecord) -> None:
        self._records[record.address] = record
        self.keep(record)

    def _make_room(self) -> None:
        if len(self._records) < PEERS_MAX:
            return
        idle = [each for each in self._records.values() if not each.active]
        if not idle:
            raise LocalViolation(f"{PEERS_MAX} peers are being met at once; wait until one is done")
        del self._records[min(idle, key=lambda each: (each.last_seen, each.address)).address]


def row_of(record: PeerRecord) -> PeerRow:
    """A record as it is kept."""
    return PeerRow(
        record.address,
        record.authority,
        record.trust,
        record.succeeded,
        record.failed,
        record.last_seen,
        record.back_off_until,
    )


async def open_peer_book(engine: JournalEngine) -> PeerBook:
    """The engine's peers: what was kept before, and from now on kept as local lines."""
    book = PeerBook(keep=lambda record: None if engine.is_closed else engine.note(build_peer_note(row_of(record))))
    book.restore(await engine.follower.run(lambda database: database.load_peers()))
    return book

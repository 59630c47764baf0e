"""Anti-entropy as a protocol calls it: one peer or many, with retries, limits and a coordinator handed back.

Adds no exchange of its own: facts go through the same session as every link (``session_driver.py``), CRDT state through
the coordinator's own messages after it on the same connection (``crdt_exchange.py``). What this adds is patience with
bounds (``runtime/resilience``), peers, progress, and results instead of exceptions for what goes wrong out there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from antiphon.facts import AntiphonError, Clock, LocalViolation
from antiphon.journal import CrdtCoordinator, JournalClosed, StoreUnavailable
from antiphon.journal.sync.messages import ErrorCode, Refusal
from antiphon.journal.sync.session import Outcome, SyncSession

from ..clock import SystemClock
from ..entropy import system_random
from ..events import events_of
from ..resilience import (
    AttemptTimedOut,
    CircuitBreakerOpen,
    CircuitBreakers,
    DeadlineExceeded,
    MaxRetriesExceeded,
    RateLimiter,
    TimeoutBudget,
    Timing,
    retry,
)
from ..transports.reach import EVERY_TRANSPORT
from ..transports.transport import Connect, Connection, PeerLost, PeerUnreachable
from .crdt_exchange import SharedConnection, follow_exchange, lead_exchange
from .gates import SyncGate
from .peers import PeerBook
from .progress import AllCompleted, PeerCompleted, PeerFailed, Progress, ProgressListener, Started, ignore
from .session_driver import Replica, SessionDriver, SyncReport, SyncSettings
from .sync_config import AntiEntropyConfig
from .sync_errors import SyncErrorCode, SyncFailure, TransientSyncFailure, sync_failure
from .sync_gate import GatedConnection, GatedReplica
from .watched import WatchedConnection

OPERATION = "anti-entropy"
SYSTEM_CLOCK = SystemClock()
SYSTEM_TIMING = Timing()
DEFAULT_CONFIG = AntiEntropyConfig()


class DigestStatus(Enum):
    """How the two sides stood at the end: the same, all of what was there but still writing, different, not known."""

    EQUAL = "equal"
    PARTIAL = "partial"
    DIVERGED = "diverged"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class AntiEntropyResult:
    """What one sync achieved. ``error`` tells why it failed, after ``attempts``; what came before stays.

    ``applied`` facts were new here, ``duplicates`` came though they were here, ``sent`` went. ``rejected`` pairs the
    chain and number of refused runs with the reason. ``skipped`` says that there was nothing to do. Roots are
    fingerprints in hex over what the peer may see, the remote one as it was last told ("" when it was not).
    """

    peer: str
    status: DigestStatus
    rounds: int = 0
    applied: int = 0
    duplicates: int = 0
    rejected: tuple[tuple[str, str], ...] = ()
    sent: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    duration_ms: int = 0
    local_root: str = ""
    remote_root: str = ""
    skipped: bool = False
    attempts: int = 1
    reason: str = ""
    progress_problem: str = ""
    error: AntiphonError | None = None

    def is_success(self) -> bool:
        """Whether both sides hold the same, or held all of what either had when the last round began."""
        return self.error is None and self.status in (DigestStatus.EQUAL, DigestStatus.PARTIAL) and not self.rejected

    @property
    def error_code(self) -> SyncErrorCode | None:
        """The error for machines."""
        return None if self.error is None else code_of(self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class AntiEntropyEffects:
    """Everything that anti-entropy touches: the journal, the way to the peer, clock, sleep, dice and guards.

    ``open_connection`` is called once an attempt, of which there are at most ``attempts_max`` where that is less than
    the configuration allows; a responder is given the connection that was accepted. Without a
    ``gate`` every peer may see everything; with one, what it does not allow is denied.
    """

    journal: Replica
    peer: str
    open_connection: Callable[[], Awaitable[Connection]]
    clock: Clock = SYSTEM_CLOCK
    timing: Timing = SYSTEM_TIMING
    random_bytes: Callable[[int], bytes] = system_random
    gate: SyncGate | None = None
    breakers: CircuitBreakers | None = None
    limiter: RateLimiter | None = None
    peers: PeerBook | None = None
    on_progress: ProgressListener = ignore
    attempts_max: int | None = None

    @classmethod
    def to_address(
        cls,
        journal: Replica,
        address: str,
        *,
        peers: PeerBook | None = None,
        connecting: Connect = EVERY_TRANSPORT.connect,
    ) -> AntiEntropyEffects:
        """Reach the replica that serves at an address; *peers* remembers how it went."""

        async def open_connection() -> Connection:
            return await connecting(address, timeout=DEFAULT_CONFIG.connect_timeout_s)

        return cls(journal=journal, peer=address, open_connection=open_connection, peers=peers)

    @classmethod
    def over(cls, journal: Replica, connection: Connection) -> AntiEntropyEffects:
        """Use a connection that is there; it is closed at the end, so there is one attempt."""

        async def open_connection() -> Connection:
            return connection

        return cls(journal=journal, peer=connection.peer, open_connection=open_connection, attempts_max=1)


async def execute_anti_entropy(
    authority_id: str,
    config: AntiEntropyConfig,
    is_requester: bool,
    effects: AntiEntropyEffects,
    coordinator: CrdtCoordinator,
) -> tuple[AntiEntropyResult, CrdtCoordinator]:
    """Bring two replicas, and the CRDT state of two coordinators, to the same.

    One side is the requester: it opens the connection, tries again within the configuration's time and leads. The
    other is the responder: it answers once, on the connection it was given. Facts go both ways either way.

    Returns what was achieved, and the coordinator with what the peer had; on failure the coordinator is the one that
    was handed in. What goes wrong at the peer or between is in ``result.error``; raises ``LocalViolation`` when
    *coordinator* is another authority's.

    >>> from antiphon.journal import GCounter
    >>> from antiphon.runtime.transports.memory import memory_pair
    >>> from antiphon.testing.replica import MemoryReplica
    >>> async def main() -> int:
    ...     ada, ben = MemoryReplica(seed=1), MemoryReplica(seed=2)
    ...     ada.commit_texts(["hello"])
    ...     ends = memory_pair()
    ...     mine = CrdtCoordinator.with_cv_state("ada", GCounter().add("ada", 5))
    ...     yours = CrdtCoordinator.with_cv_state("ben", GCounter().add("ben", 7))
    ...     config = AntiEntropyConfig()
    ...     (result, mine), _ = await asyncio.gather(
    ...         execute_anti_entropy("ada", config, True, AntiEntropyEffects.over(ada, ends[0]), mine),
    ...         execute_anti_entropy("ben", config, False, AntiEntropyEffects.over(ben, ends[1]), yours),
    ...     )
    ...     assert result.is_success()
    ...     assert ada.index.fingerprint() == ben.index.fingerprint()
    ...     return mine.cv_handler().get_state().value
    >>> asyncio.run(main())
    12
    """
    execute = execute_as_requester if is_requester else execute_as_responder
    return await execute(authority_id, config, effects, coordinator)


async def execute_as_requester(
    authority_id: str, config: AntiEntropyConfig, effects: AntiEntropyEffects, coordinator: CrdtCoordinator
) -> tuple[AntiEntropyResult, CrdtCoordinator]:
    """The side that asks; see ``execute_anti_entropy``."""
    return await _Run(authority_id, config, effects, coordinator, is_requester=True).execute()


async def execute_as_responder(
    authority_id: str, config: AntiEntropyConfig, effects: AntiEntropyEffects, coordinator: CrdtCoordinator
) -> tuple[AntiEntropyResult, CrdtCoordinator]:
    """The side that answers; see ``execute_anti_entropy``."""
    return await _Run(
        authority_id, replace(config, retry_attempts=1), effects, coordinator, is_requester=False
    ).execute()


@dataclass(frozen=True, slots=True)
class ManyPeersResult:
    """What syncing with many peers achieved: the result of each, in the order in which they were given."""

    results: tuple[AntiEntropyResult, ...]
    skipped_peers: tuple[str, ...] = ()

    @property
    def synced(self) -> tuple[AntiEntropyResult, ...]:
        """Those that went well."""
        return tuple(each for each in self.results if each.is_success())

    @property
    def failed(self) -> tuple[AntiEntropyResult, ...]:
        """Those that did not."""
        return tuple(each for each in self.results if not each.is_success())

    def is_success(self) -> bool:
        """Whether any went well."""
        return bool(self.synced)


async def sync_with_peers(
    authority_id: str, config: AntiEntropyConfig, peers: Sequence[AntiEntropyEffects]
) -> ManyPeersResult:
    """Sync with each of *peers* on its own, at most ``concurrent_max`` at once.

    What fails with one disturbs no other. By their ``PeerBook``, peers that are backing off, that are not trusted
    enough or that were met within ``min_interval_s`` are skipped; the better score goes first.

    What is no peer's fault but a mistake here (an ``open_connection`` that raises something else than an
    ``AntiphonError`` or ``OSError``) is raised as an ``ExceptionGroup``, once the other syncs have ended.
    """
    now = {id(each): each.clock.now_ms() for each in peers}
    waiting = [each for each in peers if _may_meet(each, config, now[id(each)])]
    ranked = sorted(waiting, key=_standing)
    room = asyncio.Semaphore(config.concurrent_max)
    found: dict[int, AntiEntropyResult] = {}

    async def meet(effects: AntiEntropyEffects) -> None:
        async with room:
            try:
                nothing = CrdtCoordinator(authority_id)
                found[id(effects)], _ = await execute_as_requester(authority_id, config, effects, nothing)
            except AntiphonError as problem:
                found[id(effects)] = AntiEntropyResult(effects.peer, DigestStatus.UNKNOWN, error=problem)

    # No task group: a mistake in dialling one must not cut the others.
    ended = await asyncio.gather(*(meet(each) for each in ranked), return_exceptions=True)
    mistakes = [each for each in ended if isinstance(each, Exception)]
    if mistakes:
        raise ExceptionGroup("syncing with a peer failed by a mistake on this side", mistakes)
    result = ManyPeersResult(
        tuple(found[id(each)] for each in waiting),
        tuple(each.peer for each in peers if each not in waiting),
    )
    for listener in dict.fromkeys(each.on_progress for each in peers):
        Progress(listener).tell(AllCompleted(len(result.synced), len(result.failed)))
    return result


def _may_meet(effects: AntiEntropyEffects, config: AntiEntropyConfig, now_ms: int) -> bool:
    if effects.peers is None:
        return True
    record = effects.peers.record(effects.peer)
    is_fresh = bool(record.last_seen) and now_ms - record.last_seen < config.min_interval_s * 1_000
    return not is_fresh and record.is_available(now_ms=now_ms, trust_min=config.trust_min)


def _standing(effects: AntiEntropyEffects) -> float:
    return -effects.peers.record(effects.peer).score if effects.peers is not None else 0.0


class _Run:
    """One execution: attempts, and the account of the last one."""

    def __init__(
        self,
        authority_id: str,
        config: AntiEntropyConfig,
        effects: AntiEntropyEffects,
        coordinator: CrdtCoordinator,
        *,
        is_requester: bool,
    ) -> None:
        if coordinator.authority_id() != authority_id:
            raise LocalViolation(
                f"the coordinator belongs to {coordinator.authority_id()!r} and the sync is {authority_id!r}'s; "
                "hand in your own"
            )
        attempts = min(config.retry_attempts, effects.attempts_max or config.retry_attempts)
        self._config = config = replace(config, retry_attempts=attempts)
        self._effects = effects
        self._given = coordinator
        self._is_requester = is_requester
        self._progress = Progress(effects.on_progress)
        self._attempts = 0
        self._settings = config.settings(
            SyncSettings(
                random_bytes=effects.random_bytes, elapsed_s=effects.timing.elapsed_s, sleep=effects.timing.sleep
            )
        )
        self._last = AntiEntropyResult(effects.peer, DigestStatus.UNKNOWN)

    async def execute(self) -> tuple[AntiEntropyResult, CrdtCoordinator]:
        effects = self._effects
        started_s = effects.timing.elapsed_s()
        budget = TimeoutBudget.starting(at_s=started_s, seconds=self._config.total_timeout_s)
        if effects.peers is not None:
            effects.peers.begin(effects.peer)
        coordinator = self._given
        error: AntiphonError | None = None
        try:
            coordinator = await retry(
                self._attempt,
                self._config.retry_policy,
                timing=effects.timing,
                retryable=(TransientSyncFailure,),
                budget=budget,
                pause_of=_pause_of,
            )
        except (SyncFailure, MaxRetriesExceeded, DeadlineExceeded, AttemptTimedOut, CircuitBreakerOpen) as problem:
            error = _only_cause(problem)
        finally:
            if effects.peers is not None:
                effects.peers.end(effects.peer)
        result = replace(
            self._last,
            attempts=self._attempts,
            duration_ms=round((effects.timing.elapsed_s() - started_s) * 1_000),
            error=error,
        )
        self._note(result)
        return replace(result, progress_problem=self._progress.problem), coordinator

    async def _attempt(self, budget: TimeoutBudget | None) -> CrdtCoordinator:
        effects = self._effects
        del budget  # the loop's timer holds it
        permit = None
        if effects.breakers is not None:
            permit = effects.breakers.of(effects.peer, OPERATION, events=events_of(effects.journal)).admit()
        self._attempts += 1
        self._progress.forget(effects.peer)
        self._progress.tell(Started(effects.peer, self._attempts))
        is_failure: bool | None = None  # cancelled: nothing is known
        try:
            coordinator = await self._converse()
            is_failure = False
            return coordinator
        except SyncFailure as problem:
            is_failure = problem.is_retryable
            raise
        finally:
            if permit is not None:
                tell = permit.abandon if is_failure is None else permit.fail if is_failure else permit.succeed
                tell()

    async def _converse(self) -> CrdtCoordinator:
        effects, config = self._effects, self._config
        try:
            async with asyncio.timeout(config.connect_timeout_s):
                raw = await effects.open_connection()
        except TimeoutError as problem:
            text = f"{effects.peer} did not answer within {config.connect_timeout_s:g} s"
            raise sync_failure(SyncErrorCode.PEER_UNREACHABLE, text) from problem
        except (PeerUnreachable, OSError) as problem:  # an application's own way of connecting may raise the latter
            raise sync_failure(SyncErrorCode.PEER_UNREACHABLE, str(problem)) from problem
        except PeerLost as problem:
            raise sync_failure(SyncErrorCode.NETWORK, str(problem)) from problem
        try:
            return await self._over(WatchedConnection(raw, effects.limiter, effects.timing))
        except asyncio.CancelledError:
            raw.drop()
            raise
        finally:
            await raw.close()

    async def _over(self, watched: WatchedConnection) -> CrdtCoordinator:
        effects, config = self._effects, self._config
        shared = SharedConnection(watched)
        replica: Replica = effects.journal
        connection: Connection = shared
        gated: GatedConnection | None = None
        if effects.gate is not None:
            hidden = GatedReplica(effects.journal)
            gated = GatedConnection(shared, effects.gate, hidden.gated, events=hidden.events)
            replica, connection = hidden, gated
        try:
            await replica.flush()
            driver = SessionDriver(
                replica,
                connection,
                self._settings,
                is_live=False,
                is_reserved=gated is not None,
                on_change=self._follow,
            )
            report = await driver.run()
        except (StoreUnavailable, JournalClosed) as problem:
            raise sync_failure(SyncErrorCode.STORE_UNAVAILABLE, str(problem)) from problem
        self._last = _result_of(effects.peer, report, watched, replica.index.fingerprint())
        _check(report, watched, gated)
        exchange = lead_exchange if self._is_requester else follow_exchange
        coordinator = await exchange(
            shared,
            self._given,
            session=effects.random_bytes(16).hex(),
            rounds_max=config.crdt_rounds_max,
            timeout_s=config.transfer_timeout_s,
        )
        sent, received = watched.counts
        self._last = replace(self._last, bytes_out=sent, bytes_in=received)
        return coordinator

    def _follow(self, session: SyncSession) -> None:
        account = session.statistics()
        self._progress.follow(self._effects.peer, rounds=account.rounds, received=account.received, sent=account.sent)

    def _note(self, result: AntiEntropyResult) -> None:
        effects, peers = self._effects, self._effects.peers
        now_ms = effects.clock.now_ms()
        if result.error is None:
            self._progress.tell(PeerCompleted(effects.peer, result.applied, result.sent))
            if peers is not None:
                peers.note_success(effects.peer, now_ms=now_ms)
            return
        code = code_of(result.error)
        self._progress.tell(PeerFailed(effects.peer, code, str(result.error)))
        # Our own refusal to ask, and our own disk, say nothing about the peer.
        if peers is not None and code not in (SyncErrorCode.CIRCUIT_BREAKER_OPEN, SyncErrorCode.STORE_UNAVAILABLE):
            peers.note_failure(
                effects.peer,
                now_ms=now_ms,
                back_off_ms=round(self._config.peer_back_off_s * 1_000),
                is_at_fault=code is SyncErrorCode.VERIFICATION_FAILED,
            )


def code_of(error: AntiphonError) -> SyncErrorCode:
    """An error's code."""
    match error:
        case SyncFailure():
            return error.code
        case MaxRetriesExceeded():
            return SyncErrorCode.MAX_RETRIES_EXCEEDED
        case DeadlineExceeded() | AttemptTimedOut():
            return SyncErrorCode.TIMEOUT
        case CircuitBreakerOpen():
            return SyncErrorCode.CIRCUIT_BREAKER_OPEN
        case _:
            return SyncErrorCode.OPERATION_FAILED


_STATUS = {
    Outcome.AGREED: DigestStatus.EQUAL,
    Outcome.CAUGHT_UP: DigestStatus.PARTIAL,
    Outcome.DIVERGED: DigestStatus.DIVERGED,
}
_FAILURES = {
    Outcome.LOST: SyncErrorCode.NETWORK,
    Outcome.LEFT: SyncErrorCode.NETWORK,
    Outcome.TIMED_OUT: SyncErrorCode.TIMEOUT,
    Outcome.BUSY: SyncErrorCode.BACK_PRESSURE,
    Outcome.VIOLATION: SyncErrorCode.VERIFICATION_FAILED,
    Outcome.LOCAL_TROUBLE: SyncErrorCode.STORE_UNAVAILABLE,
}
_SAID_BY_PEER = {
    ErrorCode.UNAUTHORIZED: SyncErrorCode.UNAUTHORIZED,
    ErrorCode.UNSUPPORTED: SyncErrorCode.VERSION,
    ErrorCode.TIMEOUT: SyncErrorCode.TIMEOUT,
    ErrorCode.LOCAL_TROUBLE: SyncErrorCode.NETWORK,
}


def _result_of(peer: str, report: SyncReport, watched: WatchedConnection, local_root: str) -> AntiEntropyResult:
    return AntiEntropyResult(
        peer,
        _STATUS.get(report.outcome, DigestStatus.EQUAL if report.is_success else DigestStatus.UNKNOWN),
        rounds=report.rounds,
        applied=report.received,
        duplicates=report.known,
        rejected=tuple(map(_rejection, report.refused)),
        sent=report.sent,
        bytes_in=report.bytes_received,
        bytes_out=report.bytes_sent,
        local_root=local_root,
        remote_root=watched.remote_root,
        skipped=report.outcome is Outcome.AGREED and not (report.sent or report.received),
        reason=report.reason,
    )


def _rejection(refusal: Refusal) -> tuple[str, str]:
    return f"{refusal.chain}/{refusal.first_seq}", refusal.reason


def _check(report: SyncReport, watched: WatchedConnection, gated: GatedConnection | None) -> None:
    """Raise the ``SyncFailure`` that a session's end amounts to, if it is one."""
    if gated is not None and gated.denial:
        raise sync_failure(SyncErrorCode.UNAUTHORIZED, f"{watched.peer} was not let in: {gated.denial}")
    if gated is not None and gated.withheld is not None:
        raise sync_failure(SyncErrorCode.GUARD_CHAIN, f"a guard kept a message back: {gated.withheld}")
    if report.outcome in _STATUS or report.is_success:
        return
    code = _FAILURES.get(report.outcome, SyncErrorCode.VERIFICATION_FAILED)
    if report.outcome is Outcome.REFUSED_BY_PEER and watched.error_code is not None:
        code = _SAID_BY_PEER.get(watched.error_code, SyncErrorCode.VERIFICATION_FAILED)
    raise sync_failure(code, report.reason, retry_after_s=report.retry_after_ms / 1_000)


def _pause_of(problem: Exception) -> float:
    return problem.retry_after_s if isinstance(problem, SyncFailure) else 0.0


def _only_cause(problem: AntiphonError) -> AntiphonError:
    """What went wrong, without saying that all of one attempt failed."""
    if isinstance(problem, MaxRetriesExceeded) and problem.attempts == 1 and isinstance(problem.last, AntiphonError):
        return problem.last
    return problem

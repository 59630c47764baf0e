"""Anti-entropy as a protocol calls it: it converges, is bounded in time and tries, and hands its coordinator back."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antiphon import Journal
from antiphon.facts import DEFAULT_NAMESPACE, LocalViolation, Namespace
from antiphon.journal import (
    CapabilitySet,
    CrdtCoordinator,
    CrdtKind,
    GCounter,
    JournalState,
    LWWMap,
    OpCounter,
    RunRow,
)
from antiphon.journal.sync.messages import Facts, IncomingRun, IngestResult, Root
from antiphon.reactive import SYNC_STATUS_SIGNAL
from antiphon.runtime.resilience import (
    CircuitBreakers,
    DeadlineExceeded,
    MaxRetriesExceeded,
    RateLimiter,
    RateLimits,
    Timing,
)
from antiphon.runtime.services.anti_entropy import (
    AntiEntropyEffects,
    AntiEntropyResult,
    DigestStatus,
    execute_anti_entropy,
    execute_as_requester,
    execute_as_responder,
    sync_with_peers,
)
from antiphon.runtime.services.gates import Admission, NamespaceGate, PeerClaim
from antiphon.runtime.services.peers import PeerBook, PeerRecord, choose_peers, open_peer_book
from antiphon.runtime.services.progress import (
    AllCompleted,
    DigestExchanged,
    PeerCompleted,
    PeerFailed,
    ProgressEvent,
    Pulling,
    Pushing,
    Started,
)
from antiphon.runtime.services.sync import serve
from antiphon.runtime.services.sync_config import AntiEntropyConfig
from antiphon.runtime.services.sync_errors import RETRYABLE_CODES, SyncErrorCode, SyncFailure, sync_failure
from antiphon.runtime.services.watched import host_of
from antiphon.runtime.transports.memory import MemoryConnection, memory_pair
from antiphon.runtime.transports.tcp import listen
from antiphon.runtime.transports.transport import Connection, PeerLost, PeerUnreachable
from antiphon.testing import virtual_time
from antiphon.testing.replica import MemoryReplica

ADA, BEN = "a" * 32, "b" * 32
CONFIG = AntiEntropyConfig(retry_jitter=0.0)
SECRET, GARDEN = Namespace("secret.plans"), Namespace("garden.plans")
Pair = tuple[AntiEntropyResult, CrdtCoordinator]
Wrap = Callable[[Connection], Connection]


def nothing(authority: str) -> CrdtCoordinator:
    return CrdtCoordinator(authority)


def replica(seed: int, count: int = 0, *, namespace: Namespace = DEFAULT_NAMESPACE) -> MemoryReplica:
    made = MemoryReplica(seed=seed)
    for number in range(count):
        made.commit_texts([f"{seed}.{number}"], namespace=namespace)
    return made


def virtual(effects: AntiEntropyEffects, **changes: Any) -> AntiEntropyEffects:
    timing = Timing(elapsed_s=virtual_time.now_s, chance=lambda: 0.5)
    return replace(effects, timing=timing, random_bytes=lambda count: bytes([len(effects.peer)]) * count, **changes)


async def both(
    first: MemoryReplica,
    second: MemoryReplica,
    *,
    config: AntiEntropyConfig = CONFIG,
    coordinators: tuple[CrdtCoordinator, CrdtCoordinator] | None = None,
    wrap: Wrap = lambda connection: connection,
    here: dict[str, Any] | None = None,
    there: dict[str, Any] | None = None,
) -> tuple[Pair, Pair]:
    """A requester and a responder on one connection in memory, on virtual time."""
    ends = memory_pair(first="first", second="the second")
    mine, yours = coordinators or (nothing(ADA), nothing(BEN))
    requester = virtual(AntiEntropyEffects.over(first, wrap(ends[0])), **(here or {}))
    responder = virtual(AntiEntropyEffects.over(second, ends[1]), **(there or {}))
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(execute_anti_entropy(ADA, config, True, requester, mine))
        answering = group.create_task(execute_anti_entropy(BEN, config, False, responder, yours))
    return asking.result(), answering.result()


class Watched:
    """A connection that counts what it carries, and may be cut."""

    def __init__(self, connection: Connection, *, cut_at_kind: int = 0) -> None:
        self.connection = connection
        self.sent: list[int] = []
        self.received: list[int] = []
        self.cut_at_kind = cut_at_kind
        self.peer = connection.peer

    @property
    def counts(self) -> Any:
        return self.connection.counts

    async def send(self, *frames: bytes) -> None:
        for frame in frames:
            if frame[1] == self.cut_at_kind:
                self.connection.drop()
                raise PeerLost("the line was cut")
            self.sent.append(frame[1])
        await self.connection.send(*frames)

    async def receive(self) -> bytes:
        frame = await self.connection.receive()
        self.received.append(frame[1])
        return frame

    async def close(self) -> None:
        await self.connection.close()

    def drop(self) -> None:
        self.connection.drop()


# What the guide shows


def test_a_run_makes_both_journals_and_both_coordinators_equal() -> None:
    ada, ben = replica(1, 3), replica(2, 2)

    def state(made: MemoryReplica) -> JournalState:
        return JournalState(DEFAULT_NAMESPACE, made.facts())

    coordinators = CrdtCoordinator.with_cv_state(ADA, state(ada)), CrdtCoordinator.with_cv_state(BEN, state(ben))
    (result, mine), (answer, yours) = virtual_time.run(both(ada, ben, coordinators=coordinators))
    assert result.is_success()
    assert answer.is_success()
    assert ada.index.fingerprint() == ben.index.fingerprint() == result.local_root == result.remote_root
    assert mine.cv_handler().get_state() == yours.cv_handler().get_state() == state(ada) == state(ben)
    assert (result.applied, result.sent, result.status) == (3, 4, DigestStatus.EQUAL)
    assert (result.bytes_in, result.bytes_out) == (answer.bytes_out, answer.bytes_in)


@pytest.mark.asyncio
async def test_a_run_over_tcp_does_the_same() -> None:
    ada, ben = replica(1, 3), replica(2, 2)
    listener = await listen("tcp://127.0.0.1:0")

    async def respond() -> Pair:
        effects = AntiEntropyEffects.over(ben, await listener.accept())
        return await execute_as_responder(BEN, CONFIG, effects, CrdtCoordinator.with_cv_state(BEN, GCounter({BEN: 2})))

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        answering = group.create_task(respond())
        effects = AntiEntropyEffects.to_address(ada, listener.address)
        mine = CrdtCoordinator.with_cv_state(ADA, GCounter({ADA: 1}))
        result, mine = await execute_as_requester(ADA, CONFIG, effects, mine)
    await listener.close()
    answer, yours = answering.result()
    assert result.is_success()
    assert answer.is_success()
    assert ada.index.fingerprint() == ben.index.fingerprint()
    assert mine.cv_handler().get_state() == yours.cv_handler().get_state() == GCounter({ADA: 1, BEN: 2})


@pytest.mark.asyncio
async def test_two_journals_of_one_process_meet_over_memory(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada") as ada, Journal.open(tmp_path / "ben") as ben:
        ends = memory_pair()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            asking = group.create_task(
                execute_as_requester(
                    ada.authority, CONFIG, AntiEntropyEffects.over(ada.engine, ends[0]), nothing(ada.authority)
                )
            )
            group.create_task(
                execute_as_responder(
                    ben.authority, CONFIG, AntiEntropyEffects.over(ben.engine, ends[1]), nothing(ben.authority)
                )
            )
        assert asking.result()[0].is_success()
        assert ada.fingerprint == ben.fingerprint
        assert [journal.read(SYNC_STATUS_SIGNAL).state for journal in (ada, ben)] == ["synced", "synced"]


def test_a_coordinator_of_somebody_else_is_refused() -> None:
    effects = AntiEntropyEffects.over(replica(1), memory_pair()[0])
    with pytest.raises(LocalViolation, match="hand in your own"):
        virtual_time.run(execute_anti_entropy(ADA, CONFIG, True, effects, nothing(BEN)))


# CRDT state


def four_kinds(authority: str, *, amount: int) -> CrdtCoordinator:
    made = CrdtCoordinator.with_cv_state(authority, GCounter({authority: amount}))
    made = made.with_delta_handler(CrdtCoordinator.with_delta_state(authority, LWWMap()).delta_handler())
    made = made.update_delta(LWWMap().set(authority, amount, at=amount, actor=authority))
    made = made.with_cm_handler(CrdtCoordinator.with_cm(authority, OpCounter()).cm_handler()).issue(amount)
    held = frozenset({"read", "write"} if amount > 5 else {"read", "admin"})
    return made.with_mv_handler(CrdtCoordinator.with_mv_state(authority, CapabilitySet(held)).mv_handler())


def test_all_four_kinds_of_state_converge_by_messages() -> None:
    coordinators = four_kinds(ADA, amount=5), four_kinds(BEN, amount=7)
    (result, mine), (_, yours) = virtual_time.run(both(replica(1), replica(2), coordinators=coordinators))
    assert result.is_success()
    for made in (mine, yours):
        assert made.cv_handler().get_state() == GCounter({ADA: 5, BEN: 7})
        assert made.delta_handler().get_state(include_pending=True).get(BEN) == 7
        assert made.delta_handler().get_state(include_pending=True).get(ADA) == 5
        assert made.cm_handler().get_state().value == 12
        assert made.mv_handler().get_state().allowed == frozenset({"read"})


def test_a_kind_that_only_one_side_holds_is_passed_over() -> None:
    coordinators = four_kinds(ADA, amount=5), CrdtCoordinator.with_cv_state(BEN, GCounter({BEN: 7}))
    (result, mine), (_, yours) = virtual_time.run(both(replica(1), replica(2), coordinators=coordinators))
    assert result.is_success()
    assert mine.cv_handler().get_state() == yours.cv_handler().get_state()
    assert not yours.has_handler(CrdtKind.MEET)


def test_state_larger_than_a_frame_travels_in_parts() -> None:
    large = LWWMap()
    for number in range(300):
        large = large.set(f"key {number}", "x" * 5_000, at=1, actor=ADA)
    coordinators = CrdtCoordinator.with_cv_state(ADA, large), CrdtCoordinator.with_cv_state(BEN, LWWMap())
    _, (answer, yours) = virtual_time.run(both(replica(1), replica(2), coordinators=coordinators))
    assert answer.bytes_in > 1_500_000
    assert yours.cv_handler().get_state() == large


@pytest.mark.parametrize("kind", [Facts.kind, 32])
def test_after_a_failure_the_coordinator_is_the_one_that_was_handed_in(kind: int) -> None:
    coordinators = four_kinds(ADA, amount=5), four_kinds(BEN, amount=7)
    run = both(
        replica(1, 2),
        replica(2),
        coordinators=coordinators,
        wrap=lambda connection: Watched(connection, cut_at_kind=kind),
    )
    (result, mine), (answer, yours) = virtual_time.run(run)
    assert result.error_code in (SyncErrorCode.NETWORK, SyncErrorCode.NOT_FOUND)
    assert not result.is_success()
    assert mine is coordinators[0]
    assert yours is coordinators[1]
    assert answer.error_code is (SyncErrorCode.NETWORK if kind == Facts.kind else None)


def test_state_of_another_lattice_is_told_and_changes_nothing() -> None:
    coordinators = CrdtCoordinator.with_cv_state(ADA, GCounter({ADA: 1})), CrdtCoordinator.with_cv_state(BEN, LWWMap())
    (result, mine), (answer, yours) = virtual_time.run(both(replica(1), replica(2), coordinators=coordinators))
    assert (result.error_code, answer.error_code) == (SyncErrorCode.CRDT, SyncErrorCode.CRDT)
    assert mine is coordinators[0]
    assert yours is coordinators[1]


@pytest.mark.asyncio
async def test_a_plain_server_gives_its_facts_and_no_state() -> None:
    ada, ben = replica(1, 1), replica(2, 2)
    async with asyncio.timeout(30), serve(ben, "tcp://127.0.0.1:0") as server:
        effects = AntiEntropyEffects.to_address(ada, server.address)
        held = CrdtCoordinator.with_cv_state(ADA, GCounter({ADA: 1}))
        result, after = await execute_as_requester(ADA, CONFIG, effects, held)
        assert result.error_code is SyncErrorCode.NOT_FOUND
        assert after is held
        assert ada.index.fingerprint() == ben.index.fingerprint()
        result, _ = await execute_as_requester(ADA, CONFIG, effects, nothing(ADA))
        assert result.is_success()
        assert result.skipped


# Batches, rounds, repetition


@pytest.mark.asyncio
async def test_a_thousand_missing_facts_come_in_eight_batches() -> None:
    ends = memory_pair()
    watched = Watched(ends[0])
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        effects = AntiEntropyEffects.over(replica(1), watched)
        asking = group.create_task(execute_as_requester(ADA, CONFIG, effects, nothing(ADA)))
        answer = AntiEntropyEffects.over(replica(2, 999), ends[1])
        group.create_task(execute_as_responder(BEN, CONFIG, answer, nothing(BEN)))
    assert asking.result()[0].applied == 1_000
    assert watched.received.count(Facts.kind) == 8


class Scribbler(MemoryReplica):
    """Says something new whenever it learns something."""

    async def ingest(self, runs: Sequence[IncomingRun], /, *, peer: str = "") -> IngestResult:
        result = self.ingest_nowait(runs)
        self.commit_texts([f"heard {result.admitted_facts}"])
        return result


def test_running_out_of_rounds_is_a_partial_result_and_no_error() -> None:
    ada, ben = Scribbler(seed=1), Scribbler(seed=2)
    for made in (ada, ben):
        made.commit_texts(["first"])
    (result, _), _ = virtual_time.run(both(ada, ben, config=replace(CONFIG, rounds_max=1)))
    assert result.error is None
    assert result.status is DigestStatus.PARTIAL
    assert result.applied >= 2
    assert result.is_success()


def test_a_second_run_has_nothing_to_do() -> None:
    ada, ben = replica(1, 3), replica(2, 3)
    assert virtual_time.run(both(ada, ben))[0][0].applied == 4
    (again, _), _ = virtual_time.run(both(ada, ben))
    assert again.is_success()
    assert (again.applied, again.sent, again.skipped, again.rounds) == (0, 0, True, 1)


class Forger(MemoryReplica):
    """Sends its own chain with one letter changed, and everything else as it is."""

    def read_run(self, row: RunRow, /) -> bytes:
        data = super().read_run(row)
        state = self.index.chain(row.chain)  # type: ignore[arg-type]  # a row's chain is one
        is_own = state is not None and state.info.public_key == self._signer.public_key
        return data.replace(b"test.said", b"test.sadi") if is_own else data


def test_refused_runs_are_listed_and_the_rest_is_applied() -> None:
    eve, ben, ada = Forger(seed=9), replica(2, 2), replica(1)
    virtual_time.run(both(eve, ben))
    eve.commit_texts(["forged"])
    (result, _), _ = virtual_time.run(both(ada, eve))
    assert result.applied == 3
    assert len(result.rejected) >= 1
    assert not result.is_success()
    assert result.status is not DigestStatus.EQUAL


# The gate


def claim_of(made: MemoryReplica) -> str:
    return made.journal_id


def test_whoever_the_gate_does_not_know_is_told_nothing() -> None:
    ada, ben, ends = replica(1, 1), replica(2, 2), list[Watched]()

    def wrap(connection: Connection) -> Connection:
        ends.append(Watched(connection))
        return ends[0]

    before = ada.index.fingerprint(), ben.index.fingerprint()
    (result, _), (answer, _) = virtual_time.run(both(ada, ben, wrap=wrap, there={"gate": NamespaceGate({})}))
    assert result.error_code is SyncErrorCode.UNAUTHORIZED
    assert answer.error_code is SyncErrorCode.UNAUTHORIZED
    assert result.attempts == 1
    assert result.remote_root == ""
    assert Root.kind not in ends[0].received
    assert (ada.index.fingerprint(), ben.index.fingerprint()) == before


def test_a_gate_that_fails_denies() -> None:
    class Broken:
        async def admit(self, peer: PeerClaim) -> Admission:
            raise sync_failure(SyncErrorCode.NOT_FOUND, f"no table for {peer.agent}")

    (result, _), (answer, _) = virtual_time.run(both(replica(1), replica(2), there={"gate": Broken()}))
    assert result.error_code is SyncErrorCode.UNAUTHORIZED
    assert "could not decide" in str(answer.error)


def test_a_peer_sees_the_contexts_that_the_gate_shows_and_no_others() -> None:
    ada, ben = replica(1, 1), replica(2, 2)
    ben.commit_texts(["hidden"], namespace=SECRET)
    ben.commit_texts(["shown"], namespace=GARDEN)
    gate = NamespaceGate({claim_of(ada): frozenset({DEFAULT_NAMESPACE, GARDEN})})
    (result, _), (answer, _) = virtual_time.run(both(ada, ben, there={"gate": gate}))
    assert result.is_success()
    assert answer.is_success()
    assert set(ada.index.namespaces()) == {DEFAULT_NAMESPACE, GARDEN}
    assert SECRET in ben.index.namespaces()
    assert ada.index.root(GARDEN) == ben.index.root(GARDEN)


def test_facts_of_a_context_that_is_not_shared_are_refused() -> None:
    ada, ben = replica(1, 1), replica(2, 2)
    ada.commit_texts(["uninvited"], namespace=SECRET)
    gate = NamespaceGate({claim_of(ada): frozenset({DEFAULT_NAMESPACE})})
    (result, _), (answer, _) = virtual_time.run(both(ada, ben, there={"gate": gate}))
    assert SECRET not in ben.index.namespaces()
    assert ben.index.root(DEFAULT_NAMESPACE) == ada.index.root(DEFAULT_NAMESPACE)
    assert not answer.is_success()
    assert result.error is None


def test_a_send_guard_keeps_a_message_back() -> None:
    async def guard(kind: int, size: int) -> None:
        if kind == Facts.kind:
            raise sync_failure(SyncErrorCode.GUARD_CHAIN, f"no budget for {size} bytes")

    class Guarded:
        async def admit(self, peer: PeerClaim) -> Admission:
            return Admission(True, namespaces=None, guard=guard)

    ada, ben = replica(1, 2), replica(2)
    (_, _), (answer, _) = virtual_time.run(both(replica(3), ada, there={"gate": Guarded()}))
    assert answer.error_code is SyncErrorCode.GUARD_CHAIN
    assert ben.index.fact_count == 0


# How often, for how long


class Road:
    """The way to a peer: each attempt meets what the script says, and the time of each is kept."""

    def __init__(self, *script: Exception | Callable[[], Connection]) -> None:
        self.script = list(script)
        self.times: list[float] = []

    async def open_connection(self) -> Connection:
        self.times.append(round(virtual_time.now_s(), 6))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step()


def silent() -> MemoryConnection:
    """A peer that takes everything and says nothing; its end is kept open by the connection itself."""
    here, there = memory_pair(bytes_max=10**9)
    here.kept = there  # type: ignore[attr-defined]  # only to keep it
    return here


def along(road: Road, made: MemoryReplica, **changes: Any) -> AntiEntropyEffects:
    return virtual(AntiEntropyEffects(journal=made, peer="ben", open_connection=road.open_connection), **changes)


AWAY = PeerUnreachable("nobody answers")


def test_an_unreachable_peer_is_tried_three_times_with_growing_pauses() -> None:
    road = Road(AWAY)
    result, _ = virtual_time.run(execute_as_requester(ADA, CONFIG, along(road, replica(1)), nothing(ADA)))
    assert road.times == [0.0, 0.1, 0.3]
    assert isinstance(result.error, MaxRetriesExceeded)
    assert isinstance(result.error.last, SyncFailure)
    assert result.error.last.code is SyncErrorCode.PEER_UNREACHABLE
    assert (result.attempts, result.duration_ms) == (3, 300)


def test_a_peer_that_comes_back_is_met_at_the_next_attempt() -> None:
    async def main() -> AntiEntropyResult:
        ada, ben = replica(1, 1), replica(2, 2)
        ends = memory_pair()
        road = Road(AWAY, lambda: ends[0])
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(execute_as_requester(ADA, CONFIG, along(road, ada), nothing(ADA)))
            answer = virtual(AntiEntropyEffects.over(ben, ends[1]))
            group.create_task(execute_as_responder(BEN, CONFIG, answer, nothing(BEN)))
        return asking.result()[0]

    result = virtual_time.run(main())
    assert result.is_success()
    assert result.attempts == 2


@pytest.mark.parametrize("code", sorted(SyncErrorCode))
def test_only_what_another_attempt_may_mend_is_tried_again(code: SyncErrorCode) -> None:
    road = Road(sync_failure(code, "as it is"))
    result, _ = virtual_time.run(execute_as_requester(ADA, CONFIG, along(road, replica(1)), nothing(ADA)))
    assert len(road.times) == (3 if code in RETRYABLE_CODES else 1)
    assert not result.is_success()


def test_error_codes_are_unique() -> None:
    assert len({code.value for code in SyncErrorCode}) == len(SyncErrorCode.__members__)


def test_a_hung_peer_ends_in_the_time_of_its_digest_and_changes_nothing() -> None:
    ada, road = replica(1, 2), Road(silent)
    before = ada.index.fingerprint()
    result, _ = virtual_time.run(execute_as_requester(ADA, CONFIG, along(road, ada), nothing(ADA)))
    assert road.times == [0.0, 10.1, 20.3]
    assert result.duration_ms == 30_300
    assert isinstance(result.error, MaxRetriesExceeded)
    assert isinstance(result.error.last, SyncFailure)
    assert result.error.last.code is SyncErrorCode.TIMEOUT
    assert ada.index.fingerprint() == before


def test_the_time_for_everything_is_shared_by_the_attempts() -> None:
    config = replace(CONFIG, total_timeout_s=30.0, digest_timeout_s=12.0, retry_attempts=9)
    road = Road(silent)
    result, _ = virtual_time.run(execute_as_requester(ADA, config, along(road, replica(1)), nothing(ADA)))
    assert isinstance(result.error, DeadlineExceeded)
    assert result.error_code is SyncErrorCode.TIMEOUT
    assert result.duration_ms == 30_000
    assert len(road.times) == 3


@pytest.mark.asyncio
async def test_a_hung_peer_behind_a_real_socket_ends_in_time() -> None:
    listener = await listen("tcp://127.0.0.1:0")
    config = replace(AntiEntropyConfig.for_testing(), digest_timeout_s=0.05, retry_attempts=2)
    effects = AntiEntropyEffects.to_address(replica(1, 2), listener.address)
    async with asyncio.timeout(20):
        result, _ = await execute_as_requester(ADA, config, effects, nothing(ADA))
    await listener.close()
    assert isinstance(result.error, MaxRetriesExceeded)
    assert "nothing heard" in str(result.error)


@pytest.mark.asyncio
async def test_nobody_at_a_real_address_is_unreachable() -> None:
    listener = await listen("tcp://127.0.0.1:0")
    await listener.close()
    effects = AntiEntropyEffects.to_address(replica(1), listener.address)
    async with asyncio.timeout(20):
        result, _ = await execute_as_requester(ADA, AntiEntropyConfig.for_testing(), effects, nothing(ADA))
    assert result.attempts == 3
    assert result.error_code is SyncErrorCode.MAX_RETRIES_EXCEEDED


def test_after_five_failures_a_peer_is_not_asked_until_it_had_time_to_recover() -> None:
    async def main() -> list[tuple[SyncErrorCode | None, int]]:
        breakers = CircuitBreakers(elapsed_s=virtual_time.now_s)
        road = Road(AWAY)
        effects = along(road, replica(1), breakers=breakers)
        story = []
        for pause_s in (0.0, 0.0, 0.0, 30.0):
            await virtual_time.pass_time(pause_s)
            result, _ = await execute_as_requester(ADA, CONFIG, effects, nothing(ADA))
            story.append((result.error_code, len(road.times)))
        return story

    assert virtual_time.run(main()) == [
        (SyncErrorCode.MAX_RETRIES_EXCEEDED, 3),
        (SyncErrorCode.CIRCUIT_BREAKER_OPEN, 5),
        (SyncErrorCode.CIRCUIT_BREAKER_OPEN, 5),
        (SyncErrorCode.CIRCUIT_BREAKER_OPEN, 6),
    ]


def test_a_peer_that_refuses_us_does_not_trip_the_breaker() -> None:
    async def main() -> int:
        breakers = CircuitBreakers(failures_max=1, elapsed_s=virtual_time.now_s)
        road = Road(sync_failure(SyncErrorCode.UNAUTHORIZED, "no"))
        for _ in range(3):
            await execute_as_requester(ADA, CONFIG, along(road, replica(1), breakers=breakers), nothing(ADA))
        return len(road.times)

    assert virtual_time.run(main()) == 3


def test_a_cancelled_run_leaves_no_task_and_frees_the_peer() -> None:
    async def main() -> None:
        book = PeerBook()
        effects = along(Road(silent), replica(1), peers=book)
        run = asyncio.ensure_future(execute_as_requester(ADA, CONFIG, effects, nothing(ADA)))
        await virtual_time.pass_time(5)
        assert book.record("ben").active == 1
        run.cancel()
        await asyncio.wait([run])
        assert book.record("ben").active == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(main())


# Many peers


def test_one_dead_peer_of_three_disturbs_no_other() -> None:
    async def main() -> tuple[Any, list[MemoryReplica]]:
        ada, ben, eve = replica(1, 1), replica(2, 2), replica(3, 3)
        async with asyncio.TaskGroup() as group:
            peers = []
            for number, other in enumerate((ben, eve)):
                ends = memory_pair()
                road = Road(lambda end=ends[0]: end)
                peers.append(replace(along(road, ada), peer=f"peer {number}"))
                answer = virtual(AntiEntropyEffects.over(other, ends[1]))
                group.create_task(execute_as_responder(BEN, CONFIG, answer, nothing(BEN)))
            peers.insert(1, replace(along(Road(silent), ada), peer="dead"))
            outcome = await sync_with_peers(ADA, CONFIG, peers)
        return outcome, [ada, ben, eve]

    outcome, replicas = virtual_time.run(main())
    assert outcome.is_success()
    assert [each.peer for each in outcome.failed] == ["dead"]
    assert [each.peer for each in outcome.synced] == ["peer 0", "peer 1"]
    ada, ben, eve = replicas
    assert ada.index.fact_count == 9
    assert set(ben.index.roots()) == set(eve.index.roots()) == {DEFAULT_NAMESPACE}


def test_a_dial_that_fails_in_its_own_way_disturbs_no_other() -> None:
    ada, ben = replica(1, 2), replica(2, 3)

    async def main() -> None:
        async def resets() -> Connection:
            raise ConnectionResetError("reset by peer")

        async def mistaken() -> Connection:
            raise ZeroDivisionError("a mistake")

        async with asyncio.TaskGroup() as group:

            async def slowly() -> Connection:
                await virtual_time.pass_time(2)
                ends = memory_pair()
                there = virtual(AntiEntropyEffects.over(ben, ends[1]))
                group.create_task(execute_as_responder(BEN, CONFIG, there, nothing(BEN)))
                return ends[0]

            def peer(name: str, dial: Callable[[], Any]) -> AntiEntropyEffects:
                return virtual(AntiEntropyEffects(journal=ada, peer=name, open_connection=dial))

            result = await sync_with_peers(ADA, CONFIG, [peer("r", resets), peer("s", slowly)])
            assert [(each.peer, each.error_code) for each in result.failed] == [
                ("r", SyncErrorCode.MAX_RETRIES_EXCEEDED)
            ]
            assert ada.index.fingerprint() == ben.index.fingerprint()
            ben.commit_texts(["more"])
            with pytest.raises(ExceptionGroup) as raised:
                await sync_with_peers(ADA, CONFIG, [peer("m", mistaken), peer("s", slowly)])
            assert [type(each) for each in raised.value.exceptions] == [ZeroDivisionError]
            assert ada.index.fingerprint() == ben.index.fingerprint()

    virtual_time.run(main())


def test_no_more_than_five_are_met_at_once() -> None:
    active = most = 0

    async def open_connection() -> Connection:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await virtual_time.pass_time(1)
        active -= 1
        raise sync_failure(SyncErrorCode.UNAUTHORIZED, "no")

    async def main() -> float:
        effects = [
            virtual(AntiEntropyEffects(journal=replica(1), peer=f"peer {number}", open_connection=open_connection))
            for number in range(12)
        ]
        assert not (await sync_with_peers(ADA, CONFIG, effects)).is_success()
        return virtual_time.now_s()

    assert virtual_time.run(main()) == 3.0
    assert most == 5


# Peers


def test_the_score_is_half_trust_three_tenths_success_two_tenths_idleness() -> None:
    assert PeerRecord("x", trust=100, succeeded=1).score == pytest.approx(1.0)
    assert PeerRecord("x", trust=0, failed=1, active=10).score == pytest.approx(0.0)
    assert PeerRecord("x", trust=60, succeeded=1, failed=3, active=5).score == pytest.approx(0.3 + 0.075 + 0.1)


def test_the_best_available_peers_are_chosen() -> None:
    records = [
        PeerRecord("good", trust=90, succeeded=9, failed=1),
        PeerRecord("fine", trust=60),
        PeerRecord("distrusted", trust=49, succeeded=100),
        PeerRecord("resting", trust=100, back_off_until=1_001),
        PeerRecord("busy", trust=100, active=10),
    ]
    assert [each.address for each in choose_peers(records, now_ms=1_000, count_max=5)] == ["good", "fine"]
    assert [each.address for each in choose_peers(records, now_ms=1_001, count_max=2)] == ["good", "resting"]


class Calendar:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


def test_a_failing_peer_is_left_alone_for_three_hundred_seconds() -> None:
    async def main() -> list[tuple[int, int]]:
        clock, book, road = Calendar(), PeerBook(), Road(AWAY)
        effects = along(road, replica(1), peers=book, clock=clock)
        story = []
        for later_ms in (0, 1_000, 298_999, 1):
            clock.ms += later_ms
            outcome = await sync_with_peers(ADA, CONFIG, [effects])
            story.append((len(outcome.results), len(road.times)))
        return story

    assert virtual_time.run(main()) == [(1, 3), (0, 3), (0, 3), (1, 6)]


def test_a_peer_that_was_just_met_is_not_met_again() -> None:
    clock, book = Calendar(), PeerBook()
    book.note_success("ben", now_ms=clock.ms)
    road = Road(AWAY)

    async def main() -> list[int]:
        story = []
        for later_ms in (29_999, 1):
            clock.ms += later_ms
            effects = along(road, replica(1), peers=book, clock=clock)
            story.append(len((await sync_with_peers(ADA, CONFIG, [effects])).results))
        return story

    assert virtual_time.run(main()) == [0, 1]


def test_a_peer_that_lies_loses_trust_and_one_that_is_away_does_not() -> None:
    away = PeerRecord("x").after_failure(now_ms=0)
    lying = PeerRecord("x").after_failure(now_ms=0, is_at_fault=True)
    assert (away.trust, lying.trust) == (50, 45)
    assert lying.after_success(now_ms=5) == replace(lying, trust=47, succeeded=1, last_seen=5, back_off_until=0)


@pytest.mark.asyncio
async def test_what_is_known_of_peers_outlives_the_process(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada") as journal:
        book = await open_peer_book(journal.engine)
        book.add("tcp://host:1", authority=BEN)
        book.note_success("tcp://host:1", now_ms=5)
        book.note_success("tcp://host:1", now_ms=6)
        book.note_failure("tcp://host:2", now_ms=7)
        expected = book.records()
        assert [each.trust for each in expected] == [54, 50]
    (tmp_path / "ada" / "journal.duckdb").unlink()
    async with Journal.open(tmp_path / "ada") as journal:
        assert (await open_peer_book(journal.engine)).records() == expected


def test_a_hundred_peers_are_remembered_and_the_longest_unseen_goes_first() -> None:
    book = PeerBook()
    for number in range(101):
        book.note_success(f"peer {number:03}", now_ms=number)
        book.add(f"peer {number:03}")
    assert len(book.records()) == 101
    book.add("one more")
    assert "peer 000" not in {each.address for each in book.records()}


# Progress


def test_seven_kinds_of_event_tell_the_story() -> None:
    async def main() -> list[ProgressEvent]:
        heard: list[ProgressEvent] = []
        ada, ben, ends = replica(1, 1), replica(2, 2), memory_pair()
        road = Road(lambda: ends[0])
        async with asyncio.TaskGroup() as group:
            answer = virtual(AntiEntropyEffects.over(ben, ends[1]))
            group.create_task(execute_as_responder(BEN, CONFIG, answer, nothing(BEN)))
            dead = replace(along(Road(AWAY), ada, on_progress=heard.append), peer="dead")
            await sync_with_peers(ADA, CONFIG, [along(road, ada, on_progress=heard.append), dead])
        return heard

    heard = virtual_time.run(main())
    assert {type(event) for event in heard} == {
        Started,
        DigestExchanged,
        Pulling,
        Pushing,
        PeerCompleted,
        PeerFailed,
        AllCompleted,
    }
    ben = [event for event in heard if getattr(event, "peer", "") == "ben"]
    assert ben[0] == Started("ben", 1)
    assert ben[-1] == PeerCompleted("ben", 3, 2)
    assert heard[-1] == AllCompleted(1, 1)


def test_a_listener_that_raises_cannot_break_the_sync() -> None:
    calls = 0

    def listener(event: ProgressEvent) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("the screen is gone")

    (result, _), _ = virtual_time.run(both(replica(1, 1), replica(2, 1), here={"on_progress": listener}))
    assert result.is_success()
    assert calls == 1
    assert "the screen is gone" in result.progress_problem


# Limits


def test_a_peer_that_asks_too_often_is_slowed_and_not_dropped() -> None:
    async def main() -> float:
        limiter = RateLimiter(RateLimits(global_per_s=10.0, peer_per_s=1.0, burst=1.0), Timing(virtual_time.now_s))
        (result, _), _ = await both(replica(1, 1), replica(2, 1), here={"limiter": limiter})
        assert result.is_success()
        return virtual_time.now_s()

    assert virtual_time.run(main()) >= 3.0


def test_a_peer_does_not_begin_anew_by_reconnecting() -> None:
    assert host_of("tcp://10.0.0.7:5123") == host_of("tcp://10.0.0.7:5124") == "tcp://10.0.0.7"
    assert host_of("memory:first") == "memory:first"

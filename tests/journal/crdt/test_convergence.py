"""Three coordinators that speak by messages which are lost, repeated and reordered end up with one state, each kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from antiphon.facts import Namespace
from antiphon.journal import (
    CrdtCoordinator,
    CrdtKind,
    Draft,
    JournalState,
    LWWMap,
    OpCounter,
    OpSet,
    ORSet,
    SessionMismatch,
    SetMeet,
    SyncRequest,
    SyncResponse,
    YDocDeltaState,
)
from antiphon.testing.records import ChainWriter

NAMES = ("ada", "ben", "eve")
HOME = Namespace("home")
Coordinator = CrdtCoordinator


@dataclass(frozen=True)
class Subject:
    """A state to be replicated: how a replica starts, changes (with some number), and what must be equal."""

    kind: CrdtKind
    start: Callable[[str], Coordinator]
    change: Callable[[Coordinator, int], Coordinator]
    state: Callable[[Coordinator], Any]


def change_orset(coordinator: Coordinator, number: int) -> ORSet:
    handler = coordinator.cv_handler() if coordinator.has_handler(CrdtKind.CONVERGENT) else coordinator.delta_handler()
    state: ORSet = handler.get_state()
    item = "klm"[number % 3]
    return state.remove(item) if number % 2 else state.add(coordinator.actor, item)


def change_map(coordinator: Coordinator, number: int) -> Coordinator:
    state: LWWMap = coordinator.delta_handler().get_state()
    key = "klm"[number % 3]
    if number % 4 == 0:
        return coordinator.update_delta(state.remove(key, at=number, actor=coordinator.actor))
    return coordinator.update_delta(state.set(key, number, at=number % 5, actor=coordinator.actor))


def change_document(coordinator: Coordinator, number: int) -> Coordinator:
    state: YDocDeltaState = coordinator.delta_handler().get_state()
    length = len(state.text("t"))
    if number % 3 == 0 and length:
        return coordinator.update_delta(state.delete_text("t", number % length, 1))
    return coordinator.update_delta(state.insert_text("t", number % (length + 1), "abc"[number % 3]))


def change_op_set(coordinator: Coordinator, number: int) -> Coordinator:
    state: OpSet = coordinator.cm_handler().get_state()
    item = "klm"[number % 3]
    return coordinator.issue(state.removing(item) if number % 2 else state.adding(item))


class Authors:
    """One chain an author, whose facts a coordinator's ``JournalState`` takes in."""

    def __init__(self) -> None:
        self.chains = {name: ChainWriter(name, namespace=HOME) for name in NAMES}

    def change(self, coordinator: Coordinator, number: int) -> Coordinator:
        run = self.chains[coordinator.actor].seal(Draft("test.said", 1, b'{"n":%d}' % number, None))
        state: JournalState = coordinator.cv_handler().get_state()
        return coordinator.update_cv(JournalState(HOME, [*state.iter_facts(), *run.records]))


def journal_subject() -> Subject:
    authors = Authors()
    return Subject(
        CrdtKind.CONVERGENT,
        lambda name: Coordinator.with_cv_state(name, JournalState(HOME)),
        authors.change,
        lambda coordinator: coordinator.cv_handler().get_state().root,
    )


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "a set as a convergent state": lambda: Subject(
        CrdtKind.CONVERGENT,
        lambda name: Coordinator.with_cv_state(name, ORSet()),
        lambda coordinator, number: coordinator.update_cv(change_orset(coordinator, number)),
        lambda coordinator: coordinator.cv_handler().get_state(),
    ),
    "a journal as a convergent state": journal_subject,
    "a map by deltas": lambda: Subject(
        CrdtKind.DELTA,
        lambda name: Coordinator.with_delta_threshold(name, 3),
        change_map,
        lambda coordinator: coordinator.delta_handler().get_state(),
    ),
    "a set by deltas": lambda: Subject(
        CrdtKind.DELTA,
        lambda name: Coordinator.with_delta_threshold(name, 2, state=ORSet()),
        lambda coordinator, number: coordinator.update_delta(change_orset(coordinator, number)),
        lambda coordinator: coordinator.delta_handler().get_state(),
    ),
    "a document by its state vector": lambda: Subject(
        CrdtKind.DELTA,
        lambda name: Coordinator.with_delta_threshold(name, 2, state=YDocDeltaState.of(name)),
        change_document,
        lambda coordinator: coordinator.delta_handler().get_state(),
    ),
    "a counter by operations": lambda: Subject(
        CrdtKind.COMMUTATIVE,
        lambda name: Coordinator.with_cm(name, OpCounter()),
        lambda coordinator, number: coordinator.issue(number),
        lambda coordinator: coordinator.cm_handler().get_state(),
    ),
    "a set by operations": lambda: Subject(
        CrdtKind.COMMUTATIVE,
        lambda name: Coordinator.with_cm(name, OpSet()),
        change_op_set,
        lambda coordinator: coordinator.cm_handler().get_state(),
    ),
    "constraints": lambda: Subject(
        CrdtKind.MEET,
        lambda name: Coordinator.with_mv(name, prototype=SetMeet()),
        lambda coordinator, number: coordinator.constrain(SetMeet("klmnop"[: 1 + number % 6]), at_ms=number),
        lambda coordinator: coordinator.mv_handler().get_state(),
    ),
}

replicas = st.integers(min_value=0, max_value=2)


class Exchange(RuleBasedStateMachine):
    """Replicas, and a network that keeps every message for ever and delivers any of them at any time, or never."""

    make: ClassVar[Callable[[], Subject]]

    def __init__(self) -> None:
        super().__init__()
        self.subject = type(self).make()
        self.replicas = [self.subject.start(name) for name in NAMES]
        self.requests: list[bytes] = []
        self.responses: list[tuple[int, bytes]] = []
        self.session_count = 0

    @rule(replica=replicas, number=st.integers(min_value=0, max_value=23))
    def change(self, replica: int, number: int) -> None:
        self.replicas[replica] = self.subject.change(self.replicas[replica], number)

    @rule(replica=replicas)
    def ask(self, replica: int) -> None:
        self.session_count += 1
        session = f"{replica}/{self.session_count}"
        request, self.replicas[replica] = self.replicas[replica].create_sync_request(session, self.subject.kind)
        self.requests.append(request.to_bytes())

    @rule(replica=replicas, pick=st.integers(min_value=0))
    def answer(self, replica: int, pick: int) -> None:
        """Any request ever made may come to anyone, again."""
        if self.requests:
            request = SyncRequest.from_bytes(self.requests[pick % len(self.requests)])
            if request.sender != NAMES[replica]:
                response, self.replicas[replica] = self.replicas[replica].handle_sync_request(request)
                self.responses.append((NAMES.index(request.sender), response.to_bytes()))

    @rule(pick=st.integers(min_value=0))
    def deliver(self, pick: int) -> None:
        """Any answer ever given may come again, however late."""
        if self.responses:
            replica, data = self.responses[pick % len(self.responses)]
            response = SyncResponse.from_bytes(data)
            try:
                self.replicas[replica] = self.replicas[replica].handle_sync_response(response)
            except SessionMismatch:
                assert response.session_id not in self.replicas[replica].sessions

    def teardown(self) -> None:
        """When the network behaves again, everyone asks everyone twice, and all are one."""
        for _ in range(2):
            for asker in range(3):
                for answerer in range(3):
                    if asker != answerer:
                        self.ask(asker)
                        request = SyncRequest.from_bytes(self.requests[-1])
                        response, self.replicas[answerer] = self.replicas[answerer].handle_sync_request(request)
                        self.replicas[asker] = self.replicas[asker].handle_sync_response(response)
        first, second, third = (self.subject.state(replica) for replica in self.replicas)
        assert first == second == third


def run_exchange(name: str, *, examples: int) -> None:
    machine = type("Machine", (Exchange,), {"make": staticmethod(SUBJECTS[name])})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("name", SUBJECTS)
def test_replicas_converge_though_messages_are_lost_repeated_and_reordered(name: str) -> None:
    run_exchange(name, examples=40)


@pytest.mark.long
@pytest.mark.parametrize("name", SUBJECTS)
def test_replicas_converge_over_a_thousand_bad_networks(name: str) -> None:
    run_exchange(name, examples=1_000)

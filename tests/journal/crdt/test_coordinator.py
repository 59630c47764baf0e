"""``CrdtCoordinator``: built as the guide writes it, asked and answered by messages only, and never half changed."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import Namespace
from antiphon.journal import (
    ActorReused,
    CapabilitySet,
    CmHandler,
    Constraints,
    CrdtCoordinator,
    CrdtError,
    CrdtKind,
    CrdtTypeMismatch,
    CvHandler,
    DeltaHandler,
    DeltaMsg,
    Deltas,
    DeserializationFailed,
    EncodedEntry,
    FullState,
    GCounter,
    GSet,
    JournalState,
    LWWMap,
    MaxInt,
    MinInt,
    MissingHandler,
    MvHandler,
    OpCounter,
    Operations,
    OperationsCompacted,
    OpSet,
    SerializationFailed,
    SessionMismatch,
    SyncData,
    SyncRequest,
    SyncResponse,
    VectorClock,
)
from antiphon.journal.coordinator import SESSIONS_MAX
from antiphon.journal.crdt.messages import ITEMS_MAX

AUTHORITY = "ada"


def ask(
    asker: CrdtCoordinator, answerer: CrdtCoordinator, kind: CrdtKind, *, session: str = "s"
) -> tuple[SyncResponse, CrdtCoordinator, CrdtCoordinator]:
    """One question and its answer, through bytes, not yet taken in."""
    request, asker = asker.create_sync_request(session, kind)
    response, answerer = answerer.handle_sync_request(SyncRequest.from_bytes(request.to_bytes()))
    return SyncResponse.from_bytes(response.to_bytes()), asker, answerer


def pull(asker: CrdtCoordinator, answerer: CrdtCoordinator, kind: CrdtKind) -> tuple[CrdtCoordinator, CrdtCoordinator]:
    response, asker, answerer = ask(asker, answerer, kind)
    return asker.handle_sync_response(response), answerer


def exchange(one: CrdtCoordinator, other: CrdtCoordinator, kind: CrdtKind) -> tuple[CrdtCoordinator, CrdtCoordinator]:
    one, other = pull(one, other, kind)
    other, one = pull(other, one, kind)
    return one, other


# --- building -----------------------------------------------------------------------------------------------------


def test_the_guides_lines_run_as_written() -> None:
    authority_id, initial_journal = AUTHORITY, JournalState(Namespace("home"))
    capability_set = CapabilitySet(["chat:send"])

    coordinator = CrdtCoordinator.with_cv_state(authority_id, initial_journal)
    synchronized_state = coordinator.cv_handler().get_state()
    assert synchronized_state == initial_journal

    coordinator = CrdtCoordinator.with_delta_threshold(authority_id, 100)
    assert coordinator.delta_handler().threshold == 100
    assert coordinator.delta_handler().get_state() == LWWMap()

    coordinator = CrdtCoordinator.with_mv_state(authority_id, capability_set)
    assert coordinator.mv_handler().get_state().allows("chat:send")


BUILT = {
    "no handler": (CrdtCoordinator.new_with_actor(AUTHORITY, "phone"), set()),
    "with_cv_state": (CrdtCoordinator.with_cv_state(AUTHORITY, GSet()), {CrdtKind.CONVERGENT}),
    "with_delta_threshold": (CrdtCoordinator.with_delta_threshold(AUTHORITY, 100), {CrdtKind.DELTA}),
    "with_delta_state": (CrdtCoordinator.with_delta_state(AUTHORITY, GSet("a")), {CrdtKind.DELTA}),
    "with_cm": (CrdtCoordinator.with_cm(AUTHORITY, OpCounter()), {CrdtKind.COMMUTATIVE}),
    "with_mv": (CrdtCoordinator.with_mv(AUTHORITY), {CrdtKind.MEET}),
    "with_mv_state": (CrdtCoordinator.with_mv_state(AUTHORITY, MinInt(5)), {CrdtKind.MEET}),
    "a chain of builders": (
        CrdtCoordinator.new_with_actor(AUTHORITY, "phone")
        .with_cv_handler(CvHandler.new(GSet()))
        .with_delta_handler(DeltaHandler.new(GSet()))
        .with_cm_handler(CmHandler.with_state(OpSet()))
        .with_mv_handler(MvHandler.new(MinInt())),
        set(CrdtKind),
    ),
}


@pytest.mark.parametrize("name", BUILT)
def test_a_builder_gives_its_handler_and_no_other(name: str) -> None:
    coordinator, kinds = BUILT[name]
    accessors: dict[CrdtKind, Any] = {
        CrdtKind.CONVERGENT: coordinator.cv_handler,
        CrdtKind.DELTA: coordinator.delta_handler,
        CrdtKind.COMMUTATIVE: coordinator.cm_handler,
        CrdtKind.MEET: coordinator.mv_handler,
    }
    for kind, accessor in accessors.items():
        assert coordinator.has_handler(kind) == (kind in kinds)
        if kind in kinds:
            assert accessor().diagnostics().semantics is kind
        else:
            with pytest.raises(MissingHandler, match=kind.value) as refusal:
                accessor()
            assert refusal.value.code == "crdt_missing_handler"
    assert set(coordinator.diagnostics()) == kinds
    assert coordinator.authority_id() == AUTHORITY


def test_a_coordinator_keeps_its_state_when_the_callers_journal_grows() -> None:
    journal = JournalState(Namespace("home"))
    coordinator = CrdtCoordinator.with_cv_state(AUTHORITY, journal)
    assert coordinator.cv_handler().get_state() is not journal


def test_what_is_no_lattice_is_refused_at_once() -> None:
    builders: list[Any] = [CrdtCoordinator.with_cv_state, CrdtCoordinator.with_mv_state]
    for build in builders:
        with pytest.raises(CrdtTypeMismatch) as refusal:
            build(AUTHORITY, "text")
        assert refusal.value.code == "crdt_type_mismatch"


# --- clocks -------------------------------------------------------------------------------------------------------


def test_the_clock_rises_with_every_message_and_only_we_move_our_own_entry() -> None:
    ada, ben = CrdtCoordinator.with_cv_state("ada", GSet()), CrdtCoordinator.with_cv_state("ben", GSet())
    request, ada = ada.create_sync_request("s", CrdtKind.CONVERGENT)
    assert request.clock == ada.current_vector_clock() == VectorClock({"ada": 1})
    response, ben = ben.handle_sync_request(replace(request, clock=VectorClock({"ada": 1, "ben": 900})))
    assert ben.current_vector_clock() == VectorClock({"ada": 1, "ben": 1})
    ada = ada.handle_sync_response(response)
    assert ada.current_vector_clock() == VectorClock({"ada": 2, "ben": 1})
    assert ada.current_logical_time() == 2


def test_a_peers_clock_in_a_request_claims_no_knowledge() -> None:
    ada = CrdtCoordinator.with_delta_state("ada", GSet("a"))
    ben = CrdtCoordinator.with_delta_state("ben", GSet("b"))
    request, ben = ben.create_sync_request("s", CrdtKind.DELTA)
    _, ada = ada.handle_sync_request(replace(request, clock=VectorClock({"ben": 50})))
    ada, ben = pull(ada, ben, CrdtKind.DELTA)
    assert ada.delta_handler().get_state() == GSet("ab")


# --- every kind carries its data ----------------------------------------------------------------------------------


def test_two_convergent_coordinators_converge() -> None:
    ada = CrdtCoordinator.with_cv_state("ada", GCounter({"ada": 5}))
    ben = CrdtCoordinator.with_cv_state("ben", GCounter({"ben": 7}))
    ada, ben = exchange(ada, ben, CrdtKind.CONVERGENT)
    assert ada.cv_handler().get_state() == ben.cv_handler().get_state() == GCounter({"ada": 5, "ben": 7})


def test_two_delta_coordinators_converge_and_send_only_what_is_missing() -> None:
    ada = CrdtCoordinator.with_delta_threshold("ada", 100, state=GSet(f"item {number}" for number in range(500)))
    ben = CrdtCoordinator.with_delta_threshold("ben", 100, state=GSet())
    ada, ben = exchange(ada, ben, CrdtKind.DELTA)
    ada = ada.update_delta(GSet([*ada.delta_handler().get_state().items, "new"]))
    response, ben, ada = ask(ben, ada, CrdtKind.DELTA)
    assert isinstance(response.data, Deltas)
    assert response.size < 100, "one item, not 501"
    ben = ben.handle_sync_response(response)
    assert ben.delta_handler().get_state() == ada.delta_handler().get_state()
    response, _, _ = ask(ben, ada, CrdtKind.DELTA)
    assert response.data == Deltas(()), "in sync, nothing travels"


def test_a_delta_reaches_a_third_replica_that_never_met_its_author() -> None:
    ada, ben, eve = (CrdtCoordinator.with_delta_threshold(name, 4, state=GSet()) for name in ("ada", "ben", "eve"))
    for number in range(3):
        ada = ada.update_delta(GSet([*ada.delta_handler().get_state().items, str(number)]))
        ben, ada = pull(ben, ada, CrdtKind.DELTA)
        eve, ben = pull(eve, ben, CrdtKind.DELTA)
    assert eve.delta_handler().get_state() == GSet("012")


def test_two_op_based_coordinators_converge() -> None:
    ada, ben = (CrdtCoordinator.with_cm(name, OpSet()) for name in ("ada", "ben"))
    ada = ada.issue(OpSet().adding("milk")).issue(OpSet().adding("tea"))
    ada, ben = exchange(ada, ben, CrdtKind.COMMUTATIVE)
    ben = ben.issue(ben.cm_handler().get_state().removing("milk"))
    ada = ada.issue(OpSet().adding("milk"))
    ada, ben = exchange(ada, ben, CrdtKind.COMMUTATIVE)
    assert ada.cm_handler().get_state().items == ben.cm_handler().get_state().items == {"milk", "tea"}


def test_two_meet_coordinators_converge() -> None:
    ada = CrdtCoordinator.with_mv_state("ada", CapabilitySet(["chat:send", "chat:read"]))
    ben = CrdtCoordinator.with_mv("ben").constrain(CapabilitySet(["chat:read", "admin"]), at_ms=5)
    ada, ben = exchange(ada, ben, CrdtKind.MEET)
    assert ada.mv_handler().get_state() == ben.mv_handler().get_state() == CapabilitySet(["chat:read"])


def test_an_old_meet_answer_that_overtakes_a_new_one_does_no_harm() -> None:
    ada, ben = CrdtCoordinator.with_mv("ada", prototype=MinInt()), CrdtCoordinator.with_mv_state("ben", MinInt(90))
    old, ada, ben = ask(ada, ben, CrdtKind.MEET)
    ben = ben.constrain(MinInt(50), at_ms=1)
    new, ada, ben = ask(ada, ben, CrdtKind.MEET)
    assert isinstance(old.data, Constraints)
    assert isinstance(new.data, Constraints)
    assert old.data.counter < new.data.counter
    for response in (new, old, old, new):
        ada = ada.handle_sync_response(response)
    assert ada.mv_handler().get_state() == MinInt(50)


def test_pending_deltas_are_folded_before_an_answer() -> None:
    ada = CrdtCoordinator.with_delta_threshold("ada", 100, state=GSet())
    ada = ada.with_delta_handler(ada.delta_handler().on_recv(DeltaMsg(GSet("a"))))
    assert (ada.delta_handler().delta_count, ada.delta_handler().get_state()) == (1, GSet())
    response, ben, answered = ask(CrdtCoordinator.with_delta_threshold("ben", 9, state=GSet()), ada, CrdtKind.DELTA)
    assert isinstance(response.data, Deltas)
    assert (answered.delta_handler().delta_count, answered.delta_handler().get_state()) == (0, GSet("a"))
    assert ben.handle_sync_response(response).delta_handler().get_state() == GSet("a")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("012"), st.sampled_from("rrat")), max_size=20),
    st.integers(1, 6),
)
def test_what_came_past_the_coordinator_reaches_every_peer_that_asks(
    steps: list[tuple[str, str, str]], threshold: int
) -> None:
    replicas = {name: CrdtCoordinator.with_delta_threshold(name, threshold, state=GSet()) for name in ("0", "1", "2")}
    for item, name, verb in steps:
        coordinator = replicas[name]
        handler, delta = coordinator.delta_handler(), GSet([item + name])
        if verb == "r":
            replicas[name] = coordinator.with_delta_handler(handler.on_recv(DeltaMsg(delta)))
        elif verb == "a":
            replicas[name] = coordinator.with_delta_handler(handler.apply_deltas([delta]))
        else:
            other = str((int(name) + 1) % 3)
            replicas[name], replicas[other] = pull(coordinator, replicas[other], CrdtKind.DELTA)
    for name, other in [("1", "0"), ("2", "1"), ("0", "2"), ("1", "0")]:
        for _ in range(2):
            replicas[name], replicas[other] = pull(replicas[name], replicas[other], CrdtKind.DELTA)
    said = GSet([item + name for item, name, verb in steps if verb != "t"])
    assert [each.delta_handler().get_state() for each in replicas.values()] == [said] * 3


def test_an_exchange_that_failed_after_an_answer_loses_no_delta_that_comes_later() -> None:
    ada, ben = (CrdtCoordinator.with_delta_threshold(name, 100, state=GSet()) for name in ("ada", "ben"))
    ada = ada.with_delta_handler(ada.delta_handler().on_recv(DeltaMsg(GSet("a"))))
    response, ben, _ = ask(ben, ada, CrdtKind.DELTA)  # ada's side of it failed: she is as she was
    ben = ben.handle_sync_response(response)
    ada = ada.with_delta_handler(ada.delta_handler().on_recv(DeltaMsg(GSet("b"))))
    ben, ada = pull(ben, ada, CrdtKind.DELTA)
    assert ben.delta_handler().get_state() == GSet("ab")


def test_an_answer_of_another_kind_than_was_asked_for_is_a_type_mismatch_though_its_data_fits() -> None:
    both = CrdtCoordinator.with_delta_threshold("ada", 9, state=GSet()).with_cv_handler(CvHandler.with_state(MaxInt(1)))
    ben = CrdtCoordinator.with_delta_threshold("ben", 9, state=GSet("b")).with_cv_handler(
        CvHandler.with_state(MaxInt(2))
    )
    request, both = both.create_sync_request("s", CrdtKind.CONVERGENT)
    response, _ = ben.handle_sync_request(replace(request, kind=CrdtKind.DELTA))
    with pytest.raises(CrdtTypeMismatch, match="convergent data"):
        both.handle_sync_response(response)


# --- compaction ---------------------------------------------------------------------------------------------------


def test_a_peer_far_behind_gets_the_full_state_and_converges() -> None:
    ada, ben = (CrdtCoordinator.with_delta_threshold(name, 4, state=GSet()) for name in ("ada", "ben"))
    for number in range(50):
        ada = ada.update_delta(GSet([*ada.delta_handler().get_state().items, str(number)]))
    assert len(ada.delta_handler().log) <= 4
    ben = ben.update_delta(GSet(["of ben"]))
    response, ben, ada = ask(ben, ada, CrdtKind.DELTA)
    assert isinstance(response.data, FullState)
    assert response.data.is_fallback
    ben = ben.handle_sync_response(response)
    ada, ben = exchange(ada, ben, CrdtKind.DELTA)
    assert ada.delta_handler().get_state() == ben.delta_handler().get_state()
    assert len(ada.delta_handler().get_state().items) == 51
    response, _, _ = ask(ben, ada, CrdtKind.DELTA)
    assert response.data == Deltas(()), "whoever got the whole state is up to date"


def test_operations_that_every_member_has_are_compacted_and_a_newcomer_still_converges() -> None:
    ada, ben, eve = (CrdtCoordinator.with_cm(name, OpCounter()) for name in ("ada", "ben", "eve"))
    for _ in range(5):
        ada = ada.issue(1)
    ada, ben = exchange(ada, ben, CrdtKind.COMMUTATIVE)
    ada, ben = exchange(ada, ben, CrdtKind.COMMUTATIVE)  # only a request tells what the other has
    compacted = ada.issue(10).compact_operations(["ada", "ben"])
    assert len(compacted.cm_handler().log) == 1
    eve = eve.issue(100)
    response, eve, compacted = ask(eve, compacted, CrdtKind.COMMUTATIVE)
    assert isinstance(response.data, FullState)
    eve = eve.handle_sync_response(response)
    compacted, eve = exchange(compacted, eve, CrdtKind.COMMUTATIVE)
    assert compacted.cm_handler().get_state() == eve.cm_handler().get_state() == OpCounter(115)
    assert len(ada.compact_operations(["ada", "ben", "unheard of"]).cm_handler().log) == 5


def test_two_replicas_that_each_dropped_what_the_other_lacks_say_so_and_stay_as_they_are() -> None:
    ada, ben = (
        CrdtCoordinator.with_cm(name, OpCounter()).issue(1).compact_operations([name]) for name in ("ada", "ben")
    )
    response, ada, ben = ask(ada, ben, CrdtKind.COMMUTATIVE)
    with pytest.raises(OperationsCompacted, match="were compacted here"):
        ada.handle_sync_response(response)
    assert ada.cm_handler().get_state() == OpCounter(1)


def test_an_answer_is_bounded_and_the_next_one_brings_the_rest() -> None:
    ada, ben = (CrdtCoordinator.with_cm(name, OpCounter()) for name in ("ada", "ben"))
    for _ in range(ITEMS_MAX + 200):
        ada = ada.issue(1)
    response, ben, ada = ask(ben, ada, CrdtKind.COMMUTATIVE)
    assert isinstance(response.data, Operations)
    assert (len(response.data.operations), response.data.is_partial) == (ITEMS_MAX, True)
    ben = ben.handle_sync_response(response)
    ben, ada = pull(ben, ada, CrdtKind.COMMUTATIVE)
    assert ben.cm_handler().get_state() == OpCounter(ITEMS_MAX + 200)


# --- refusals change nothing --------------------------------------------------------------------------------------


def check_refused(coordinator: CrdtCoordinator, response: SyncResponse, error: type[CrdtError], code: str) -> None:
    before = repr(coordinator)
    with pytest.raises(error) as refusal:
        coordinator.handle_sync_response(response)
    assert refusal.value.code == code
    assert repr(coordinator) == before


def holding(kind: CrdtKind, name: str) -> CrdtCoordinator:
    match kind:
        case CrdtKind.DELTA:
            return CrdtCoordinator.with_delta_state(name, GSet())
        case CrdtKind.COMMUTATIVE:
            return CrdtCoordinator.with_cm(name, OpCounter())
        case _:
            return CrdtCoordinator.with_mv(name)


def changed(coordinator: CrdtCoordinator, kind: CrdtKind) -> CrdtCoordinator:
    match kind:
        case CrdtKind.DELTA:
            return coordinator.update_delta(GSet("a"))
        case CrdtKind.COMMUTATIVE:
            return coordinator.issue(5)
        case _:
            return coordinator.constrain(CapabilitySet("a"), at_ms=1)


@pytest.mark.parametrize("kind", [CrdtKind.DELTA, CrdtKind.COMMUTATIVE, CrdtKind.MEET])
def test_one_bad_item_in_a_list_applies_nothing(kind: CrdtKind) -> None:
    response, ada, _ = ask(holding(kind, "ada"), changed(holding(kind, "ben"), kind), kind)
    bad = b'{"nonsense":1}'
    match response.data:
        case Deltas(entries):
            spoilt: SyncData = Deltas((*entries, EncodedEntry(VectorClock(), VectorClock({"eve": 1}), bad)))
        case Operations(operations):
            spoilt = Operations((*operations, bad))
        case Constraints(constraints, counter):
            spoilt = Constraints((*constraints, bad), counter)
        case FullState():
            raise AssertionError("a small answer is no full state")
    check_refused(ada, replace(response, data=spoilt), DeserializationFailed, "crdt_deserialization")
    assert ada.handle_sync_response(response) != ada, "the good answer is still welcome"


def test_data_of_another_kind_than_declared_is_a_type_mismatch() -> None:
    ada, ben = CrdtCoordinator.with_cv_state("ada", GSet()), CrdtCoordinator.with_cv_state("ben", GSet("b"))
    response, ada, _ = ask(ada, ben, CrdtKind.CONVERGENT)
    check_refused(ada, replace(response, data=Deltas(())), CrdtTypeMismatch, "crdt_type_mismatch")
    check_refused(ada, replace(response, kind=CrdtKind.MEET), CrdtTypeMismatch, "crdt_type_mismatch")


def test_a_state_of_another_lattice_is_a_type_mismatch() -> None:
    ada, ben = CrdtCoordinator.with_cv_state("ada", GSet()), CrdtCoordinator.with_cv_state("ben", MaxInt(5))
    response, ada, _ = ask(ada, ben, CrdtKind.CONVERGENT)
    check_refused(ada, response, CrdtTypeMismatch, "crdt_type_mismatch")


def test_an_answer_to_nobodys_question_is_a_session_mismatch() -> None:
    ada, ben = CrdtCoordinator.with_cv_state("ada", GSet()), CrdtCoordinator.with_cv_state("ben", GSet("b"))
    response, asked, _ = ask(ada, ben, CrdtKind.CONVERGENT)
    check_refused(ada, response, SessionMismatch, "crdt_session_mismatch")
    check_refused(asked, replace(response, session_id="another"), SessionMismatch, "crdt_session_mismatch")
    again = asked.handle_sync_response(response)
    assert again.handle_sync_response(response).cv_handler().get_state() == GSet("b"), "twice is fine"


def test_open_sessions_are_bounded_and_the_oldest_is_forgotten() -> None:
    ada, ben = CrdtCoordinator.with_cv_state("ada", GSet()), CrdtCoordinator.with_cv_state("ben", GSet("b"))
    first, ada, ben = ask(ada, ben, CrdtKind.CONVERGENT, session="first")
    for number in range(SESSIONS_MAX):
        _, ada = ada.create_sync_request(f"session-{number}", CrdtKind.CONVERGENT)
    assert len(ada.sessions) == SESSIONS_MAX
    check_refused(ada, first, SessionMismatch, "crdt_session_mismatch")
    with pytest.raises(ValueError, match="expected 1"):
        ada.create_sync_request("", CrdtKind.CONVERGENT)


def test_a_request_for_a_kind_that_is_not_held_changes_nothing() -> None:
    ada, ben = CrdtCoordinator.with_cv_state("ada", GSet()), CrdtCoordinator.with_mv("ben")
    request, _ = ada.create_sync_request("s", CrdtKind.CONVERGENT)
    before = repr(ben)
    with pytest.raises(MissingHandler):
        ben.handle_sync_request(request)
    assert repr(ben) == before
    with pytest.raises(MissingHandler):
        ada.create_sync_request("s", CrdtKind.DELTA)


def test_a_state_that_has_no_bytes_is_a_serialization_failure() -> None:
    ada = CrdtCoordinator.with_cv_state("ada", GSet(["half a pair \ud800"]))
    request, _ = CrdtCoordinator.with_cv_state("ben", GSet()).create_sync_request("s", CrdtKind.CONVERGENT)
    with pytest.raises(SerializationFailed) as refusal:
        ada.handle_sync_request(request)
    assert refusal.value.code == "crdt_serialization"


@pytest.mark.parametrize("kind", [CrdtKind.DELTA, CrdtKind.COMMUTATIVE])
def test_a_copy_restored_under_its_old_name_is_found_out(kind: CrdtKind) -> None:
    def grow(coordinator: CrdtCoordinator) -> CrdtCoordinator:
        if kind is CrdtKind.COMMUTATIVE:
            return coordinator.issue(1)
        return coordinator.update_delta(GSet([*coordinator.delta_handler().get_state().items, repr(coordinator)]))

    def make(name: str) -> CrdtCoordinator:
        handler = DeltaHandler.new(GSet())
        return CrdtCoordinator.with_cm(name, OpCounter()).with_delta_handler(handler)

    ada, ben = grow(make("ada")), make("ben")
    restored = ada
    ada = grow(ada)
    ben, ada = pull(ben, ada, kind)
    request, ben = ben.create_sync_request("s2", kind)
    with pytest.raises(ActorReused, match="under a new actor"):
        restored.handle_sync_request(request)
    response, restored, _ = ask(restored, ben, kind, session="s3")
    with pytest.raises(ActorReused):
        restored.handle_sync_response(response)


# --- bytes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"message":"sync_response","value":null}',
        b'{"message":"sync_response","value":{"clock":{},"data":{},"kind":"meet","sender":"a","session":"s"}}',
        b'{"message":"sync_response","value":{"clock":{"a":-1},"data":{"constraints":[],"counter":0},"kind":"meet",'
        b'"sender":"a","session":"s"}}',
        b'{"message":"sync_response","value":{"clock":{},"data":{"constraints":[],"counter":0,"more":1},"kind":"meet",'
        b'"sender":"a","session":"s"}}',
        b'{"message":"sync_response","value":{"clock":{},"data":{"constraints":[],"counter":0},"kind":"best",'
        b'"sender":"a","session":"s"}}',
        b'{"message": "sync_response","value":{"clock":{},"data":{"constraints":[],"counter":0},"kind":"meet",'
        b'"sender":"a","session":"s"}}',
    ],
)
def test_bytes_that_are_no_answer_are_refused(data: bytes) -> None:
    with pytest.raises(DeserializationFailed):
        SyncResponse.from_bytes(data)


def test_a_request_is_no_answer() -> None:
    request, _ = CrdtCoordinator.with_mv("ada").create_sync_request("s", CrdtKind.MEET)
    assert SyncRequest.from_bytes(request.to_bytes()) == request
    with pytest.raises(CrdtTypeMismatch):
        SyncResponse.from_bytes(request.to_bytes())

"""The four handlers: what each does with what it receives, in which order, and how often."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.journal import (
    ActorReused,
    CausalContext,
    CmHandler,
    ConstraintMsg,
    ConstraintScope,
    CounterRegression,
    CrdtKind,
    CrdtTypeMismatch,
    CvHandler,
    DeltaHandler,
    DeltaMsg,
    GCounter,
    GSet,
    JoinValue,
    LWWMap,
    MaxInt,
    MeetStateMsg,
    MinInt,
    MultiConstraintHandler,
    MvHandler,
    OpCounter,
    OperationId,
    OpSet,
    OpWithCtx,
    PendingFull,
    ScopeLevel,
    SetMeet,
    StateMsg,
    VectorClock,
)
from antiphon.journal.crdt.cm import BUFFERED_MAX
from antiphon.journal.crdt.mv import HISTORY_MAX
from antiphon.testing.lattices import lww_maps

# --- convergent ---------------------------------------------------------------------------------------------------


@given(st.permutations([(a, b) for a in range(3) for b in range(3) if a != b]))
def test_three_convergent_replicas_converge_in_any_order_of_exchange(exchanges: Sequence[tuple[int, int]]) -> None:
    handlers = [CvHandler.with_state(GSet([str(number)])) for number in range(3)]
    # Every state reaches every replica, directly, as it was at the start; and then whatever they became, once more.
    first = [handler.create_state_msg() for handler in handlers]
    for sender, receiver in exchanges:
        handlers[receiver] = handlers[receiver].on_recv(first[sender])
    assert [handler.get_state() for handler in handlers] == [GSet("012")] * 3
    for sender, receiver in exchanges:
        handlers[receiver] = handlers[receiver].on_recv(handlers[sender].create_state_msg())
    assert [handler.get_state() for handler in handlers] == [GSet("012")] * 3


def test_a_convergent_handler_starts_at_the_bottom_joins_and_resets() -> None:
    handler = CvHandler.new(MaxInt(9))
    assert handler.get_state() == MaxInt(0)
    raised = handler.on_recv(StateMsg(MaxInt(5))).update_state(MaxInt(3))
    assert raised.get_state() == MaxInt(5)
    assert raised.on_recv(StateMsg(MaxInt(5))).get_state() == MaxInt(5)
    assert raised.reset().get_state() == MaxInt(0)
    assert handler.get_state() == MaxInt(0), "a handler is a value"


def test_a_convergent_handler_refuses_a_state_of_another_type() -> None:
    with pytest.raises(CrdtTypeMismatch, match="expected max_int"):
        CvHandler.with_state(MaxInt(5)).on_recv(StateMsg(GSet()))  # type: ignore[arg-type]
    with pytest.raises(CrdtTypeMismatch, match="expected a join lattice"):
        CvHandler.with_state(MinInt(5))  # type: ignore[type-var]


# --- delta --------------------------------------------------------------------------------------------------------


def test_deltas_below_the_threshold_are_counted_and_not_shown() -> None:
    handler = DeltaHandler.with_threshold(GCounter({"ada": 5}), 3)
    for count in (1, 2):
        handler = handler.on_recv(DeltaMsg(GCounter({"ben": count})))
        assert (handler.get_state().value, handler.delta_count) == (5, count)
    assert handler.get_state(include_pending=True).value == 7
    folded = handler.on_recv(DeltaMsg(GCounter({"eve": 1})))
    assert (folded.get_state().value, folded.delta_count) == (8, 0)


def test_the_pinned_example_folds_to_twelve_and_a_repetition_after_the_fold_is_harmless() -> None:
    handler = DeltaHandler.with_threshold(GCounter({"ada": 5}), 2)
    deltas = [DeltaMsg(GCounter({"ben": count})) for count in (3, 7)]
    handler = handler.on_recv(deltas[0])
    assert (handler.get_state().value, handler.delta_count) == (5, 1)
    handler = handler.on_recv(deltas[1])
    assert handler.get_state().value == 12
    assert handler.on_recv(deltas[1]).on_recv(deltas[0]).get_state().value == 12


@given(st.lists(lww_maps, min_size=1, max_size=6), st.integers(1, 4), st.randoms(use_true_random=False))
def test_deltas_repeated_and_reordered_across_folds_lead_to_one_state(
    states: list[LWWMap], threshold: int, random: Any
) -> None:
    sent: list[object] = []
    source = DeltaHandler.new(LWWMap())
    for state in states:
        delta, source = source.update_and_produce_delta(state)
        sent += [] if delta is None else [delta]
    arriving = sent * 3
    random.shuffle(arriving)
    target = DeltaHandler.with_threshold(LWWMap(), threshold)
    for delta in arriving:
        target = target.on_recv(DeltaMsg(delta))
    assert target.force_fold().get_state() == source.get_state()


def test_a_change_that_brings_nothing_makes_no_delta() -> None:
    handler = DeltaHandler.with_state(GSet(["a"]))
    delta, same = handler.update_and_produce_delta(GSet(["a"]))
    assert delta is None
    assert same == handler
    assert handler.produce_delta(GSet(["a"]), GSet(["a", "b"])) == GSet(["b"])


def test_the_fold_threshold_can_change_and_folds_at_once_when_it_is_reached() -> None:
    handler = DeltaHandler.new(GSet())
    assert handler.threshold == 10
    for item in "abc":
        handler = handler.on_recv(DeltaMsg(GSet([item])))
    assert handler.fold_deltas().delta_count == 3
    assert handler.set_fold_threshold(3).get_state() == GSet("abc")
    assert handler.set_fold_threshold(4).delta_count == 3
    assert handler.clear_deltas().force_fold().get_state() == GSet()
    assert handler.apply_deltas([GSet("z")]).get_state() == GSet("z")
    with pytest.raises(ValueError, match="at least 1"):
        handler.set_fold_threshold(0)


def test_the_delta_buffer_is_bounded() -> None:
    handler = DeltaHandler.with_threshold(GSet(), 2)
    for number in range(handler.pending_max):
        handler = handler.buffer(GSet([str(number)]))
    assert handler.delta_count == 20
    with pytest.raises(PendingFull, match="force_fold"):
        handler.buffer(GSet(["one more"]))


def test_a_delta_handler_refuses_a_delta_of_another_type() -> None:
    with pytest.raises(CrdtTypeMismatch, match="expected g_set"):
        DeltaHandler.new(GSet()).on_recv(DeltaMsg(MaxInt(1)))
    with pytest.raises(CrdtTypeMismatch, match="expected g_set"):
        DeltaHandler.new(GSet()).update_state(MaxInt(1))  # type: ignore[arg-type]


def test_the_delta_log_stays_within_the_threshold_and_still_leads_a_peer_on() -> None:
    handler = DeltaHandler.with_threshold(GSet(), 4, actor="ada")
    steps = [handler]
    for number in range(40):
        handler = handler.update_state(GSet([*handler.get_state().items, str(number)]))
        steps.append(handler)
        assert len(handler.log) <= 4
    assert handler.compaction_count > 0
    for behind, older in enumerate(reversed(steps)):
        entries = handler.entries_after(older.seen, count_max=100)
        assert entries is not None or behind > 3, "the tail answers whoever is a few deltas behind"
        if entries is not None:
            assert (
                older.bound_to("ada").force_fold().apply_deltas([e.delta for e in entries] or [GSet()]).state
                == handler.state
            )
    assert handler.entries_after(VectorClock(), count_max=100) is None


def test_the_first_compaction_still_reaches_back_to_the_start() -> None:
    handler = DeltaHandler.with_threshold(GSet(), 4, actor="ada")
    for number in range(5):
        handler = handler.update_state(GSet([*handler.get_state().items, str(number)]))
    assert handler.compaction_count == 1
    entries = handler.entries_after(VectorClock(), count_max=10)
    assert entries is not None
    assert DeltaHandler.new(GSet()).take_entries(entries).get_state() == handler.get_state()


def test_an_entry_beyond_a_gap_is_left_until_the_gap_is_closed() -> None:
    source = DeltaHandler.new(GSet()).bound_to("ada")
    for number in range(3):
        source = source.update_state(GSet([*source.get_state().items, str(number)]))
    first, second, third = source.entries_after(VectorClock(), count_max=10) or ()
    target = DeltaHandler.new(GSet()).bound_to("ben").take_entries([first, third])
    assert target.seen == VectorClock({"ada": 1})
    assert target.take_entries([third, second]).seen == VectorClock({"ada": 2})
    assert target.take_entries(source.entries_after(target.seen, count_max=10) or ()).get_state() == GSet("012")
    assert target.take_entries([second, third]).take_entries([first, second, third]).get_state() == GSet("012")


# --- op-based -----------------------------------------------------------------------------------------------------


def issued(count: int) -> tuple[list[OpWithCtx], CmHandler[OpCounter]]:
    """*count* operations of one author, the nth adding 10^n."""
    handler = CmHandler.with_state(OpCounter(), actor="ada")
    messages = []
    for number in range(count):
        message, handler = handler.issue(10**number)
        messages.append(message)
    return messages, handler


def test_a_chain_of_five_that_comes_in_reverse_and_twice_is_applied_in_order_and_once() -> None:
    messages, source = issued(5)
    target = CmHandler.with_state(OpCounter(), actor="ben")
    for message in reversed(messages):
        assert target.get_state() == OpCounter()
        target = target.on_recv(message).on_recv(message)
    assert target.get_state() == source.get_state() == OpCounter(11_111)
    assert target.applied_operations == tuple(message.context.operation_id for message in messages)
    assert target.buffer_len == 0
    for message in messages:
        target = target.on_recv(message)
    assert target.get_state() == OpCounter(11_111)


def test_two_operations_of_one_author_never_swap() -> None:
    (first, second), _ = issued(2)
    waiting = CmHandler.with_state(OpCounter(), actor="ben").on_recv(second)
    assert (waiting.get_state(), waiting.buffer_len, waiting.is_applied(second.context.operation_id)) == (
        OpCounter(),
        1,
        False,
    )
    assert waiting.on_recv(first).current_clock == VectorClock({"ada": 2})


def test_concurrent_operations_lead_to_one_state_in_every_order() -> None:
    start = CmHandler.with_state(OpSet(), actor="ada")
    added, base = start.issue(OpSet().adding("milk"))
    operations = [added]
    for actor, verb in (("ada", "remove"), ("ben", "add"), ("eve", "remove")):
        replica = CmHandler.with_state(OpSet(), actor=actor) if actor != "ada" else base
        replica = replica.on_recv(added)
        state = replica.get_state()
        operations.append(replica.issue(state.adding("milk") if verb == "add" else state.removing("milk"))[0])
    found = set()
    for order in permutations(operations):
        target = CmHandler.with_state(OpSet(), actor="zoe")
        for message in order:
            target = target.on_recv(message)
        assert target.buffer_len == 0
        found.add(target.get_state().items)
    assert found == {frozenset({"milk"})}, "adding wins over removes that have not seen it"


def test_a_named_cause_is_waited_for() -> None:
    (cause,), _ = issued(1)
    context = CausalContext("ben", VectorClock({"ben": 1}), frozenset({cause.context.operation_id}))
    target = CmHandler.with_state(OpCounter(), actor="eve").on_recv(OpWithCtx(1_000, context))
    assert target.get_state() == OpCounter()
    assert target.on_recv(cause).get_state() == OpCounter(1_001)


def test_the_causal_buffer_is_bounded_and_what_it_drops_is_counted_and_comes_again() -> None:
    messages, source = issued(BUFFERED_MAX + 11)
    target = CmHandler.with_state(OpCounter(), actor="ben")
    for message in messages[1:]:
        target = target.on_recv(message)
    assert (target.buffer_len, target.dropped_count) == (BUFFERED_MAX, 10)
    assert target.clear_buffer().buffer_len == 0
    target = target.on_recv(messages[0])
    assert target.current_clock == VectorClock({"ada": BUFFERED_MAX + 1})
    assert target.take_operations(source.operations_after(target.clock, count_max=100) or ()).state == source.state


def test_compacted_operations_travel_as_a_base_and_local_ones_are_applied_on_top() -> None:
    messages, source = issued(4)
    source = source.compact(VectorClock({"ada": 3}))
    assert source.operations_after(VectorClock(), count_max=10) is None
    assert len(source.operations_after(VectorClock({"ada": 3}), count_max=10) or ()) == 1
    _, other = CmHandler.with_state(OpCounter(), actor="ben").on_recv(messages[0]).issue(500_000)
    merged = other.take_snapshot(source.base).take_operations(messages)
    assert merged.get_state() == OpCounter(501_111)
    assert merged.take_snapshot(source.base) == merged, "a snapshot that says nothing new changes nothing"


def test_what_waited_for_a_snapshot_is_applied_with_it() -> None:
    messages, source = issued(4)
    waiting = CmHandler.with_state(OpCounter(), actor="ben").on_recv(messages[3]).on_recv(messages[2])
    caught_up = waiting.take_snapshot(source.compact(VectorClock({"ada": 2})).base)
    assert (caught_up.get_state(), caught_up.buffer_len) == (OpCounter(1_111), 0)


def test_a_snapshot_that_comes_late_is_passed_over_though_more_is_compacted_here() -> None:
    messages, source = issued(4)
    old = source.compact(VectorClock({"ada": 1})).base
    ahead = CmHandler.with_state(OpCounter(), actor="ben").take_operations(messages).compact(VectorClock({"ada": 3}))
    assert ahead.take_snapshot(old) == ahead


def test_only_what_follows_on_the_base_is_compacted_into_it() -> None:
    (first,), ada = issued(1)
    answer, _ = CmHandler.with_state(OpCounter(), actor="ben").on_recv(first).issue(7)
    ada = ada.on_recv(answer)
    compacted = ada.compact(VectorClock({"ben": 1}))  # ben's answer without what it answers to
    assert compacted.base == CmHandler.with_state(OpCounter()).base
    assert compacted.compact(VectorClock({"ada": 1, "ben": 1})).base.state == OpCounter(8)


def test_an_operation_of_our_own_that_we_do_not_remember_is_refused() -> None:
    (first,), _ = issued(1)
    with pytest.raises(ActorReused, match="under a new actor"):
        CmHandler.with_state(OpCounter(), actor="ada").on_recv(first)


def test_an_op_based_handler_refuses_an_operation_of_another_type() -> None:
    (first,), _ = issued(1)
    with pytest.raises(CrdtTypeMismatch, match="an operation of op_set"):
        CmHandler.with_state(OpSet(), actor="ben").on_recv(first)
    with pytest.raises(CrdtTypeMismatch):
        CmHandler.with_state(OpCounter(), actor="ben").issue("five")


# --- meet ---------------------------------------------------------------------------------------------------------


def test_a_meet_handler_starts_at_the_top_and_only_narrows() -> None:
    handler = MvHandler.new(SetMeet(["x"]))
    assert handler.get_state() == SetMeet()
    narrowed = handler.on_constraint(SetMeet("abc"), at_ms=10, source="ada").on_constraint(SetMeet("bcd"), at_ms=20)
    assert narrowed.get_state() == SetMeet("bc")
    assert narrowed.on_constraint(SetMeet("abcd"), at_ms=30).get_state() == SetMeet("bc")
    assert narrowed.satisfies_constraint(SetMeet("bcz"))
    assert not narrowed.satisfies_constraint(SetMeet("b"))
    assert narrowed.is_more_restrictive_than(SetMeet("abc"))
    assert not narrowed.is_more_restrictive_than(SetMeet("bc"))
    assert [(event.at_ms, event.source, event.is_narrowing) for event in narrowed.constraint_history] == [
        (10, "ada", True),
        (20, "", True),
    ]


def test_each_sender_has_a_counter_of_its_own() -> None:
    handler = MvHandler.new(MinInt()).on_recv(MeetStateMsg(MinInt(90), "ada", 7))
    handler = handler.on_recv(MeetStateMsg(MinInt(80), "ben", 1))
    assert handler.get_state() == MinInt(80)
    for counter in (7, 6):
        with pytest.raises(CounterRegression, match="Message counter regression detected: ada"):
            handler.on_recv(MeetStateMsg(MinInt(10), "ada", counter))
    assert handler.on_recv(MeetStateMsg(MinInt(70), "ada", 8)).get_state() == MinInt(70)


def test_an_old_message_that_is_let_through_does_not_lower_its_senders_counter() -> None:
    handler = MvHandler.new(MinInt()).on_recv(MeetStateMsg(MinInt(90), "ada", 7))
    handler = handler.take_state(MeetStateMsg(MinInt(80), "ada", 3))
    assert handler.get_state() == MinInt(80)
    with pytest.raises(CounterRegression):
        handler.on_recv(MeetStateMsg(MinInt(10), "ada", 5))


def test_of_two_proofs_of_one_moment_every_replica_keeps_the_same() -> None:
    handler = MvHandler.with_state(MinInt(5))
    proofs = [
        MvHandler.with_state(MinInt(number)).generate_consistency_proof(participant="eve", at_ms=1)
        for number in (5, 6, 7)
    ]
    kept = set()
    for order in permutations(proofs):
        told = handler
        for proof in order:
            told = told.receive_consistency_proof(proof)
        kept.add(told.proofs["eve"])
    assert len(kept) == 1


def test_a_state_message_counts_up() -> None:
    first, handler = MvHandler.with_state(MinInt(5)).create_state_msg(sender="ada")
    second, _ = handler.create_state_msg(sender="ada")
    assert (first.monotonic_counter, second.monotonic_counter, second.state) == (1, 2, MinInt(5))


def test_the_constraint_history_is_bounded_and_the_count_is_not() -> None:
    handler = MvHandler.new(MinInt())
    for number in range(2 * HISTORY_MAX + 5):
        handler = handler.on_constraint(MinInt(number), at_ms=number)
    assert len(handler.constraint_history) == HISTORY_MAX
    assert handler.constraint_history[-1].at_ms == 2 * HISTORY_MAX + 4
    assert handler.constraint_count == 2 * HISTORY_MAX + 5
    assert len(handler.history) <= 2 * HISTORY_MAX


def test_participants_agree_exactly_when_their_states_are_equal() -> None:
    ada = MvHandler.with_state(SetMeet("ab"))
    assert ada.verify_consensus(), "nobody spoke against it"
    same = MvHandler.new(SetMeet()).on_constraint(SetMeet("abc"), at_ms=0).on_constraint(SetMeet("ab"), at_ms=1)
    other = MvHandler.with_state(SetMeet("a"))
    agreed = ada.receive_consistency_proof(same.generate_consistency_proof(participant="ben", at_ms=5))
    assert agreed.verify_consensus()
    broken = agreed.receive_consistency_proof(other.generate_consistency_proof(participant="eve", at_ms=5))
    assert not broken.verify_consensus()
    assert broken.receive_consistency_proof(
        ada.generate_consistency_proof(participant="eve", at_ms=6)
    ).verify_consensus(), "a participant's newest word counts"
    assert not broken.receive_consistency_proof(
        ada.generate_consistency_proof(participant="eve", at_ms=4)
    ).verify_consensus(), "and its older one does not"


def test_what_holds_in_several_scopes_is_their_meet_and_nothing_without_any() -> None:
    limits = MultiConstraintHandler(MinInt())
    assert limits.combined_state() is None
    scopes = {
        ConstraintScope(): 90,
        ConstraintScope(ScopeLevel.SESSION, "s1"): 70,
        ConstraintScope(ScopeLevel.DEVICE, "phone"): 80,
        ConstraintScope(ScopeLevel.RESOURCE, "file"): 60,
    }
    for scope, limit in scopes.items():
        result, limits = limits.on_constraint(ConstraintMsg(MinInt(limit), scope, priority=1), at_ms=0)
        assert (result.is_applied, result.state) == (True, MinInt(limit))
    assert limits.combined_state() == MinInt(60)
    assert limits.combined_state(ConstraintScope(), ConstraintScope(ScopeLevel.DEVICE, "phone")) == MinInt(80)
    assert limits.combined_state(ConstraintScope(ScopeLevel.SESSION, "another")) is None
    result, limits = limits.on_constraint(ConstraintMsg(MinInt(95)), at_ms=1)
    assert not result.is_applied
    assert limits.clear_scope(ConstraintScope(ScopeLevel.RESOURCE, "file")).combined_state() == MinInt(70)


# --- what they tell about themselves ------------------------------------------------------------------------------


def test_diagnostics_follow_the_buffers() -> None:
    delta = DeltaHandler.with_threshold(GSet(), 2)
    assert delta.diagnostics().is_idle
    waiting = delta.on_recv(DeltaMsg(GSet("a"))).diagnostics()
    assert (waiting.semantics, waiting.pending_count, waiting.is_idle) == (CrdtKind.DELTA, 1, False)
    folded = delta.on_recv(DeltaMsg(GSet("a"))).on_recv(DeltaMsg(GSet("b"))).diagnostics()
    assert (folded.is_idle, folded.metrics["folds"]) == (True, 1)
    (first, second), _ = issued(2)
    operations = CmHandler.with_state(OpCounter(), actor="ben").on_recv(second)
    assert operations.diagnostics().pending_count == 1
    assert operations.on_recv(second).diagnostics().metrics["duplicates"] == 1
    assert operations.on_recv(first).diagnostics().metrics["applied"] == 2
    assert MvHandler.new(MinInt()).on_constraint(MinInt(1), at_ms=0).diagnostics().metrics["constraints"] == 1
    assert CvHandler.new(MaxInt()).on_recv(StateMsg(MaxInt(1))).diagnostics().metrics == {"received": 1}


def test_a_kind_says_what_it_needs() -> None:
    joins = {kind for kind in CrdtKind if kind.uses_join}
    assert joins == {CrdtKind.CONVERGENT, CrdtKind.DELTA}
    assert [kind for kind in CrdtKind if kind.uses_meet] == [CrdtKind.MEET]
    assert [kind for kind in CrdtKind if kind.requires_causal_ordering] == [CrdtKind.COMMUTATIVE]
    assert len({kind.guidance for kind in CrdtKind}) == 4


def test_an_operation_id_is_a_dot() -> None:
    assert VectorClock({"ada": 2}).contains(OperationId("ada", 2))
    assert isinstance(VectorClock(), JoinValue)

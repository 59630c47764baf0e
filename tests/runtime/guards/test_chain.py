"""The chain is pure, keeps its order, and what it allows or refuses follows from two values."""

import asyncio
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import LocalViolation
from antiphon.runtime.guards.chain import GUARD_CHAIN, STAGES, CapGuard, evaluate, validate_plan
from antiphon.runtime.guards.commands import (
    AppendJournal,
    ChargeBudget,
    EffectCommand,
    GuardSnapshot,
    GuardViolation,
    LeakClaim,
    RecordLeakage,
    SendEnvelope,
    SendRequest,
    StoreMetadata,
    Timing,
    ViolationKind,
)
from antiphon.runtime.guards.policy import EffectPolicyRegistry, PolicyOverrideForbidden

CAPS = st.sampled_from([None, frozenset[str](), frozenset({"a:x"}), frozenset({"a:x", "a:y"})])
snapshots = st.builds(
    GuardSnapshot,
    caps=CAPS,
    budgets=st.dictionaries(st.tuples(st.just("c"), st.sampled_from(["p", "q"])), st.integers(0, 50), max_size=2),
    leakage=st.dictionaries(
        st.tuples(st.just("c"), st.just("p"), st.sampled_from(["External", "Neighbor"])), st.integers(0, 50)
    ),
    timings=st.dictionaries(st.just("a:do"), st.sampled_from(list(Timing))),
)
# By name: Hypothesis would make up every field of a tuple that is not given.
requests = st.builds(
    lambda **fields: SendRequest(**fields),
    operation=st.just("a:do"),
    context=st.just("c"),
    peer=st.sampled_from(["p", "q"]),
    authority=st.just("me"),
    capability=st.sampled_from(["", "a:x", "a:y", "a:z"]),
    cost=st.integers(0, 60),
    leaks=st.lists(st.builds(LeakClaim, st.sampled_from(["External", "Neighbor"]), st.integers(0, 30))).map(tuple),
    extra=st.just((StoreMetadata("k", "v"),)),
    envelope=st.none() | st.binary(max_size=8),
)


def explode(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("the chain reached outside")


@contextmanager
def booby_trapped() -> Iterator[None]:
    """Clock, sockets, dice, files and the event loop go off when touched."""
    names = [(time, "time"), (time, "time_ns"), (time, "monotonic"), (time, "perf_counter"), (random, "random")]
    names += [(random, "randint"), (socket, "socket"), (asyncio, "get_running_loop"), (asyncio, "sleep")]
    patches = [patch.object(module, name, explode) for module, name in names] + [patch("builtins.open", explode)]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


@settings(max_examples=300)
@given(snapshots, requests)
def test_the_same_values_give_the_same_bytes_while_everything_outside_is_trapped(
    snapshot: GuardSnapshot, request: SendRequest
) -> None:
    with booby_trapped():
        first, second = evaluate(snapshot, request), evaluate(snapshot, request)
    assert first == second
    assert first.to_bytes() == second.to_bytes()


@settings(max_examples=300)
@given(snapshots, requests)
def test_guards_speak_in_order_and_none_after_a_refusal_which_has_no_command(
    snapshot: GuardSnapshot, request: SendRequest
) -> None:
    outcome = evaluate(snapshot, request)
    assert outcome.stages == STAGES[: len(outcome.stages)]
    if outcome.violation is None:
        assert outcome.stages == STAGES
        assert validate_plan(outcome.commands) is None
    else:
        assert outcome.stages[-1] == outcome.violation.stage
        assert outcome.commands == ()


@settings(max_examples=300)
@given(snapshots, requests)
def test_an_allowed_request_was_within_every_allowance(snapshot: GuardSnapshot, request: SendRequest) -> None:
    outcome = evaluate(snapshot, request)
    fits = {
        "capability": bool(request.capability) and request.capability in (snapshot.caps or ()),
        "policy": snapshot.timings.get("a:do", Timing.IMMEDIATE) is Timing.IMMEDIATE,
        "flow": request.cost <= snapshot.budgets.get(("c", request.peer), 0),
        "leakage": all(
            sum(claim.bits for claim in request.leaks if claim.observer == observer)
            <= snapshot.leakage.get(("c", request.peer, observer), 0)
            for observer in {claim.observer for claim in request.leaks}
        ),
    }
    assert outcome.is_authorized == all(fits.values())
    if outcome.violation is not None:
        assert outcome.violation.stage == next(stage for stage in STAGES if not fits.get(stage, True))


def test_the_order_is_capability_policy_flow_leakage_journal_send() -> None:
    assert STAGES == ("capability", "policy", "flow", "leakage", "journal", "send")
    assert tuple(guard.stage for guard in GUARD_CHAIN) == STAGES


def test_the_commands_of_a_request_stand_in_the_order_of_the_guards(kit: SimpleNamespace) -> None:
    snapshot = GuardSnapshot(
        caps=frozenset({"talk:say"}), budgets={("home", "bo"): 10}, leakage={("home", "bo", "External"): 8}
    )
    request = kit.request(leaks=(LeakClaim("External", 8),), extra=(StoreMetadata("audit", "x"),))
    names = [type(command).__name__ for command in evaluate(snapshot, request).commands]
    assert names == ["ChargeBudget", "RecordLeakage", "StoreMetadata", "AppendJournal", "SendEnvelope"]


def test_a_cost_of_nothing_still_shows_its_charge(kit: SimpleNamespace) -> None:
    outcome = evaluate(GuardSnapshot(caps=frozenset({"talk:say"})), kit.request(cost=0))
    assert outcome.commands[0] == ChargeBudget("home", "ada", "bo", 0)


def test_a_guard_by_itself_denies_the_unauthorized(kit: SimpleNamespace) -> None:
    verdict = CapGuard().evaluate(GuardSnapshot(caps=frozenset()), kit.request())
    assert isinstance(verdict, GuardViolation)
    assert verdict.kind is ViolationKind.MISSING_CAPABILITY


@pytest.mark.parametrize(
    ("snapshot", "kind"),
    [
        (GuardSnapshot(), ViolationKind.MISSING_AUTHORIZATION_DECISION),
        (GuardSnapshot(caps_problem="the token is broken"), ViolationKind.CAPABILITY_CHECK_FAILED),
    ],
)
def test_no_decision_and_no_check_are_refusals(
    kit: SimpleNamespace, snapshot: GuardSnapshot, kind: ViolationKind
) -> None:
    violation = evaluate(snapshot, kit.request()).violation
    assert violation is not None
    assert violation.kind is kind


def test_what_needs_approval_is_proposed_and_nothing_else_of_it_happens(kit: SimpleNamespace) -> None:
    snapshot = GuardSnapshot(
        caps=frozenset({"talk:say"}), budgets={("home", "bo"): 10}, timings={"talk:say": Timing.DEFERRED}
    )
    proposal = kit.Said(text="may I?")
    outcome = evaluate(snapshot, kit.request(proposal=proposal))
    assert outcome.is_proposal
    assert outcome.commands == (ChargeBudget("home", "ada", "bo", 10), AppendJournal(proposal))
    refused = evaluate(snapshot, kit.request()).violation
    assert refused is not None
    assert refused.kind is ViolationKind.AUTHORIZATION_DENIED


def test_what_needs_a_ceremony_is_sent_there(kit: SimpleNamespace) -> None:
    snapshot = GuardSnapshot(caps=frozenset({"talk:say"}), timings={"talk:say": Timing.BLOCKING})
    violation = evaluate(snapshot, kit.request()).violation
    assert violation is not None
    assert violation.kind is ViolationKind.CEREMONY_REQUIRED


def test_an_override_holds_in_its_context_and_a_ceremony_cannot_be_overridden() -> None:
    policies = EffectPolicyRegistry()
    policies.override("home", "chat:send-message", Timing.DEFERRED)
    assert policies.timing("chat:send-message", "home") is Timing.DEFERRED
    assert policies.timing("chat:send-message", "away") is Timing.IMMEDIATE
    assert policies.timing("contact:add", "home") is Timing.BLOCKING
    with pytest.raises(PolicyOverrideForbidden, match="is a ceremony"):
        policies.override("home", "contact:add", Timing.IMMEDIATE)


CHARGE = ChargeBudget("c", "me", "p", 1)
SEND = SendEnvelope("p", b"x", "c", "p")


@pytest.mark.parametrize(
    ("commands", "kind"),
    [
        ((SEND,), ViolationKind.MISSING_CHARGE_BEFORE_SEND),
        ((ChargeBudget("c", "me", "other", 1), SEND), ViolationKind.MISSING_CHARGE_BEFORE_SEND),
        ((ChargeBudget("other", "me", "p", 1), SEND), ViolationKind.MISSING_CHARGE_BEFORE_SEND),
        ((CHARGE, SEND, CHARGE), ViolationKind.CHARGE_AFTER_SEND),
        ((CHARGE, SEND, SEND), ViolationKind.OTHER),
        ((CHARGE, SEND, RecordLeakage(1, "External", "c", "p", "a:do")), ViolationKind.OTHER),
    ],
)
def test_a_crooked_plan_is_named(commands: tuple[EffectCommand, ...], kind: ViolationKind) -> None:
    violation = validate_plan(commands)
    assert violation is not None
    assert violation.kind is kind


@pytest.mark.parametrize("operation", ["", "say", ":say", "talk:", "talk: "])
def test_an_operation_has_a_module_and_a_verb(kit: SimpleNamespace, operation: str) -> None:
    with pytest.raises(LocalViolation, match="module:verb"):
        kit.request(operation=operation)


def test_a_refusal_tells_others_its_kind_and_nothing_else(kit: SimpleNamespace) -> None:
    snapshot = GuardSnapshot(caps=frozenset({"talk:say"}), budgets={("home", "bo"): 7})
    violation = evaluate(snapshot, kit.request(cost=4_321)).violation
    assert violation is not None
    assert violation.public() == "insufficient-flow-budget"
    assert violation.is_retryable
    assert (violation.required, violation.remaining) == (4_321, 7)

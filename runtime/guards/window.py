"""A window of requests, judged and taken in one step: one snapshot, one charge for each account, one local line.

Requests that agree in all that the first four guards look at share their decision, since the chain is a function of
what it is given; each of them is held against what those before it left. What a request's commands and results are is
worked out, by the chain itself, when somebody asks. Writes nothing: ``production.py`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import NamedTuple

from antiphon.facts import Fact
from antiphon.journal.guard_book import Charge, GuardBook, Letter, OutboxFull, PlanEntry, ReceiptRow, Revealed

from .chain import evaluate, validate_plan
from .commands import (
    COST_MAX,
    Appended,
    AppendJournal,
    ChargeBudget,
    EffectCommand,
    EffectResult,
    GuardOutcome,
    GuardRefused,
    GuardSnapshot,
    Queued,
    RemainingBudget,
    SendEnvelope,
    SendRequest,
    Success,
)
from .interpreters import envelope_id, is_text, texts_of
from .production import Taken, written

# Two frames' worths at most wait for one another: beyond it a window is judged in parts.
WINDOW_REQUESTS_MAX = 500

_HEAD = ("operation", "context", "peer", "authority", "capability", "cost", "leaks", "also", "to")
HEAD_OF: Callable[[SendRequest], tuple[object, ...]] = itemgetter(*map(SendRequest._fields.index, _HEAD))
"""All that capability, policy, flow and leakage look at, and where it goes: requests that agree in it share a head."""


class Guarded:
    """What became of a request: the outcome, and a result for each command; none when the plan was performed before.

    Of a window's requests both are worked out when they are asked for.
    """

    __slots__ = ("_left", "_outcome", "_request", "_results", "_snapshot", "plan_id")

    def __init__(
        self,
        outcome: GuardOutcome | None,
        results: tuple[EffectResult, ...] | None,
        plan_id: str,
        snapshot: GuardSnapshot | None = None,
        request: SendRequest | None = None,
        left: int = 0,
    ) -> None:
        self._outcome = outcome
        self._results = results
        self.plan_id = plan_id
        self._snapshot = snapshot
        self._request = request
        self._left = left

    @property
    def outcome(self) -> GuardOutcome:
        """What the chain said."""
        if self._outcome is None:
            assert self._snapshot is not None, "a request of a window keeps what it was judged by"
            assert self._request is not None, "and itself"
            self._outcome = evaluate(self._snapshot, self._request)
        return self._outcome

    @property
    def results(self) -> tuple[EffectResult, ...]:
        """A result for each command."""
        if self._results is None:
            self._results = tuple(_result_of(command, self.plan_id, self._left) for command in self.outcome.commands)
        return self._results

    def __repr__(self) -> str:
        """Its plan and what came of it."""
        return f"Guarded(plan_id={self.plan_id!r}, results={self.results!r})"


def _result_of(command: EffectCommand, plan_id: str, left: int) -> EffectResult:
    match command:
        case ChargeBudget():
            return RemainingBudget(left)
        case AppendJournal(entry):
            return Appended(entry.fact_type.kind)
        case SendEnvelope():
            return Queued(envelope_id(plan_id))
        case _:
            return Success()


class Head:
    """What requests of a window share: the first of them, what it was judged by, and what was decided."""

    __slots__ = ("account", "bits", "caps", "count", "outcome", "problem", "request", "snapshot")

    def __init__(self, request: SendRequest, caps: frozenset[str] | None, problem: str) -> None:
        self.request = request
        self.caps = caps
        self.problem = problem
        self.count = 0
        self.snapshot: GuardSnapshot
        self.outcome: GuardOutcome
        # What is left of its account, and of what each observer may learn; heads of one account share the list.
        self.account: list[int]
        self.bits: list[tuple[list[int], int, str]] = []


class Window(NamedTuple):
    """What a window came to: an end for each request, and what was taken from the book for those that are allowed."""

    ends: list[Guarded | GuardRefused]
    taken: Taken | None


Look = Callable[[SendRequest, "frozenset[str] | None", str], GuardSnapshot]


def judge_window(
    requests: Sequence[SendRequest],
    heads: Sequence[Head],
    *,
    look: Look,
    book: GuardBook,
    at_ms: int,
    new_plan_id: Callable[[], str],
    issue: Callable[[Charge], ReceiptRow] | None = None,
) -> Window | None:
    """Judge *requests*, each with its head, in order, and reserve what the allowed ones take; in one step of the loop.

    None when one of them needs a plan of its own: a proposal, a plan that came before, a text that is none.
    """
    if not _begin(heads, look):
        return None
    ends: list[Guarded | GuardRefused] = []
    letters: list[Letter] = []
    facts: list[Fact] = []
    plan_ids: list[str] = []
    new_letter = tuple.__new__
    for request, head in zip(requests, heads, strict=True):
        # One unpacking costs less than four looks by name.
        _, context, peer, _, _, cost, _, its_facts, after, extra, data, to, proposal, plan_id, _ = request
        if extra or proposal is not None:
            return None
        outcome, account = head.outcome, head.account
        if outcome.violation is not None:
            ends.append(GuardRefused(outcome.violation))
            continue
        if cost > account[0] or (head.bits and not _may_reveal(head)):
            violation = evaluate(_as_left(head), request).violation
            assert violation is not None, "the chain refuses what is not there"
            ends.append(GuardRefused(violation))
            continue
        account[0] -= cost
        for bits in head.bits:
            bits[0][0] -= bits[1]
        head.count += 1
        if not plan_id:
            plan_id = new_plan_id()
        elif book.knows_plan(plan_id) or not is_text(plan_id):
            return None
        plan_ids.append(plan_id)
        if its_facts:
            facts += its_facts
        if data is not None:
            fields = (envelope_id(plan_id), to or peer, context, peer, data, written(after) if after else ())
            letters.append(new_letter(Letter, fields))
        ends.append(Guarded(None, None, plan_id, head.snapshot, request, account[0]))
    if not plan_ids:
        return Window(ends, None)
    if len(set(plan_ids)) != len(plan_ids):
        return None
    unique = tuple({id(head): head for head in heads if head.count}.values())
    entry = PlanEntry(
        tuple(plan_ids), at_ms, book.epoch, tuple(_charges(unique)), tuple(_leaks(unique)), (), tuple(letters)
    )
    try:
        entry = book.reserve(entry, issue=issue)
    except OutboxFull:
        return None  # as many as still fit go by themselves
    return Window(ends, Taken(entry, facts, lambda: _commands(ends)))


def _begin(heads: Sequence[Head], look: Look) -> bool:
    """Let the chain speak about each head once; whether the window can be judged together."""
    accounts: dict[tuple[str, str], list[int]] = {}
    observers: dict[tuple[str, str, str], list[int]] = {}
    for head in {id(head): head for head in heads}.values():
        request = head.request
        head.snapshot = snapshot = look(request, head.caps, head.problem)
        head.outcome = outcome = evaluate(snapshot, request)
        if outcome.is_proposal or validate_plan(outcome.commands) is not None:
            return False
        if not all(map(is_text, (text for command in outcome.commands for text in texts_of(command)))):
            return False
        key = (request.context, request.peer)
        head.account = accounts.setdefault(key, [snapshot.budgets[key]])
        for claim in request.leaks:
            left = observers.setdefault((*key, claim.observer), [snapshot.leakage[*key, claim.observer]])
            head.bits.append((left, claim.bits, claim.observer))
    return True


def _may_reveal(head: Head) -> bool:
    wanted: dict[int, int] = {}
    for left, bits, _ in head.bits:
        wanted[id(left)] = wanted.get(id(left), 0) + bits
    return all(wanted[id(left)] <= left[0] for left, _, _ in head.bits)


def _as_left(head: Head) -> GuardSnapshot:
    """The head's snapshot with what those before it in the window left."""
    context, peer = head.request.context, head.request.peer
    return replace(
        head.snapshot,
        budgets={(context, peer): head.account[0]},
        leakage={(context, peer, observer): left[0] for left, _, observer in head.bits},
    )


def _charges(heads: Iterable[Head]) -> Iterator[Charge]:
    """One charge for each account, or several where a receipt could not name the sum."""
    totals: dict[tuple[str, str], int] = {}
    for head in heads:
        key = (head.request.context, head.request.peer)
        totals[key] = totals.get(key, 0) + head.count * head.request.cost
    for (context, peer), amount in totals.items():
        while amount > COST_MAX:
            yield Charge(context, peer, COST_MAX)
            amount -= COST_MAX
        yield Charge(context, peer, amount)


def _leaks(heads: Iterable[Head]) -> Iterator[Revealed]:
    for head in heads:
        request = head.request
        for observer, bits in request.leaks:
            yield Revealed(request.context, request.peer, observer, bits * head.count, request.operation)


def _commands(ends: Sequence[Guarded | GuardRefused]) -> Iterator[EffectCommand]:
    return (command for end in ends if isinstance(end, Guarded) for command in end.outcome.commands)

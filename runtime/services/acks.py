"""The account of acknowledgements: who holds which of the facts that somebody waits for, and when it may be dropped.

An acknowledgement is sent after the facts are durable here and is kept as a local line; it is never a fact and never
goes further than the peer it is about. What is asked is answered from DuckDB, so the account costs no memory. Which
facts are acknowledged is the delivery policies' business, alike on both sides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from antiphon.facts import ChainId, Clock, Fact, FactId, FactRecord
from antiphon.journal.delivery import AckGcPlan, DeliveryPolicies, TrackedItem, plan_ack_gc
from antiphon.journal.lattices.consistency import Acknowledgment, Consistency, ConsistencyMap
from antiphon.journal.propagation import PropagationTracker
from antiphon.journal.stores.accounts import TrackedAcks, build_acks_dropped_note, build_acks_note
from antiphon.journal.sync.messages import ACKS_COUNT_MAX, Acks

from ..engine import JournalEngine

# Peers that wrote nothing and said whose they are; each is about 150 bytes.
INTRODUCED_MAX = 1_024


class AckReceived(NamedTuple):
    """A peer acknowledged these facts."""

    peer: str
    acked_at: int
    fact_ids: tuple[FactId, ...]


class FullyAcked(NamedTuple):
    """Everybody who was expected has acknowledged this fact."""

    fact_id: FactId
    acked_by: frozenset[str]


class RoutingFailed(NamedTuple):
    """An acknowledgement could not be matched with what is known here; it is kept all the same."""

    peer: str
    reason: str


AgreementSource = Callable[[Sequence[Fact]], Awaitable[ConsistencyMap]]
"""Says how sure facts are, by hexadecimal id; whoever puts the journal together knows."""

AckEvent = AckReceived | FullyAcked | RoutingFailed
AckListener = Callable[[AckEvent], None]


def route_acks(
    known: Mapping[FactId, Acknowledgment],
    acks: AckReceived,
    expected: Callable[[FactId], Collection[str] | None],
) -> tuple[list[AckEvent], dict[FactId, Acknowledgment]]:
    """What a batch of acknowledgements means: events, and the account after it. Pure.

    *expected* tells who ought to acknowledge a fact, or None for a fact that nobody here knows; where nobody is
    expected, the first acknowledgement is everybody's.
    """
    events: list[AckEvent] = [acks]
    after = dict(known)
    for fact_id in acks.fact_ids:
        wanted = expected(fact_id)
        if wanted is None:
            events.append(RoutingFailed(acks.peer, f"fact {fact_id.hex()[:8]} is not known here"))
            continue
        before = after.get(fact_id)
        account = (before or Acknowledgment()).acked_by(acks.peer, at=acks.acked_at)
        after[fact_id] = account
        was_full = before is not None and before.covers(wanted)
        if account.covers(wanted) and not was_full:
            events.append(FullyAcked(fact_id, frozenset(account.acks)))
    return events, after


class AckGcReport(NamedTuple):
    """What a pass of ``AckAccount.collect`` let go."""

    dropped_facts: int
    dropped_acks: int
    kept_facts: int
    by_domain: Mapping[str, int]


class AckAccount:
    """One journal's account; it is attached to the engine and lives as long."""

    def __init__(self, engine: JournalEngine, *, clock: Clock) -> None:
        self.policies = DeliveryPolicies()
        self.agreement_source: AgreementSource | None = None
        self._engine = engine
        self._clock = clock
        self._listeners: list[AckListener] = []
        # By journal: what it is known to hold and was not yet looked at (facts, time), and what was.
        self._agreed: dict[str, tuple[int, int]] = {}
        self._covered: dict[str, int] = {}
        self._introduced: dict[str, str] = {}

    def add_listener(self, listener: AckListener) -> Callable[[], None]:
        """Call *listener* on the loop with each ``AckReceived``; the result removes it again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # What the engine tells

    def acks_for(self, facts: Iterable[Fact | FactRecord]) -> tuple[Acks, ...]:
        """What to tell a peer whose *facts* are durable here now."""
        wanted = (fact for fact in facts if self.policies.requires_ack(fact))
        ids = [(fact.record if isinstance(fact, Fact) else fact).fact_id for fact in wanted]
        acknowledger = bytes.fromhex(self._engine.authority)
        now_ms = self._clock.now_ms()
        parts = (ids[start : start + ACKS_COUNT_MAX] for start in range(0, len(ids), ACKS_COUNT_MAX))
        return tuple(Acks(acknowledger, now_ms, tuple(part)) for part in parts)

    def take(self, acks: Acks) -> None:
        """Keep what a peer acknowledged: durable with the next frame, and in DuckDB just behind it."""
        if self._engine.is_closed or not acks.fact_ids:
            return
        peer = acks.acknowledger.hex()
        self._engine.note(build_acks_note(peer, acked_at=acks.acked_at, fact_ids=acks.fact_ids))
        for listener in tuple(self._listeners):
            listener(AckReceived(peer, acks.acked_at, acks.fact_ids))

    def note_agreed(self, journal_id: str, fact_count: int) -> None:
        """Both sides held the same: an acknowledgement that was lost with its connection is made good when asked."""
        if fact_count > self._covered.get(journal_id, 0):
            self._agreed[journal_id] = (fact_count, self._clock.now_ms())

    def introduction(self) -> Acks | None:
        """ACKS of nothing, while this journal wrote nothing that tells peers whose it is; None when no policy wants
        acknowledgements."""
        authority = self._engine.authority
        if not self.policies.ack_kinds or any(each.info.authority == authority for each in self._engine.index.chains()):
            return None
        return Acks(bytes.fromhex(authority), self._clock.now_ms(), ())

    def note_introduced(self, journal_id: str, authority: str) -> None:
        """Take a peer's word for whose journal it is, until a chain of its says so; the newest 1,024 are remembered."""
        self._introduced.pop(journal_id, None)
        self._introduced[journal_id] = authority
        if len(self._introduced) > INTRODUCED_MAX:
            del self._introduced[next(iter(self._introduced))]

    # What is asked

    async def of(self, fact_ids: Collection[FactId]) -> dict[FactId, Acknowledgment]:
        """Who acknowledged each of *fact_ids*, with everything that was taken before; O(answer) and one scan."""
        await self.settle()
        wanted = list(fact_ids)
        found = await self._engine.follower.run(lambda database: database.load_acks(wanted))
        return {fact_id: Acknowledgment(found.get(fact_id, {})) for fact_id in wanted}

    async def consistency(self, fact_ids: Collection[FactId], *, peers: Collection[str] = ()) -> ConsistencyMap:
        """The same as a ``ConsistencyMap``, by hexadecimal id; how far each came is judged by who of *peers* has it."""
        found = await self.of(fact_ids)
        return ConsistencyMap({each.hex(): _consistency_of(each, acks, peers) for each, acks in found.items()})

    async def collect(
        self,
        *,
        consistency: ConsistencyMap | None = None,
        expected: Callable[[str], frozenset[str]] | None = None,
    ) -> AckGcReport:
        """Let go of what the policies let go, durably; facts stay, and a second pass finds nothing.

        *consistency* brings agreement by hexadecimal fact id (by default what ``agreement_source`` says: of messages,
        what the protocol facts here do), *expected* whoever ought to acknowledge a fact of a kind;
        by default the policy's own ``peers``. An acknowledgement that comes later is not kept again.
        """
        await self.settle()
        tracked = await self._engine.follower.run(lambda database: database.load_tracked())
        known = consistency if consistency is not None else await self._agreements_of(tracked)
        items = [
            TrackedItem(
                each.fact_id.hex(),
                each.kind,
                each.at_ms,
                known[each.fact_id.hex()].join(Consistency(acknowledgment=Acknowledgment(each.acks))),
                expected(each.kind) if expected is not None else self.policies.for_kind(each.kind).peers,
            )
            for each in tracked
        ]
        now_ms = self._clock.now_ms()
        plan = plan_ack_gc(items, self.policies, now_ms=now_ms)
        self._drop(plan, now_ms)
        await self._engine.flush()
        return AckGcReport(len(plan.dropped), plan.ack_count, plan.kept_count, plan.dropped_by_domain)

    async def _agreements_of(self, tracked: Sequence[TrackedAcks]) -> ConsistencyMap:
        if self.agreement_source is None:
            return ConsistencyMap()
        places = [(ChainId(each.chain), each.seq) for each in tracked]
        return await self.agreement_source(await asyncio.to_thread(self._engine.read_members, places))

    async def settle(self) -> None:
        """Make everything that is known durable, agreements included; one scan for each peer that agreed since."""
        authorities = {state.info.device: state.info.authority for state in self._engine.index.chains()}
        for journal_id, (upto, at_ms) in tuple(self._agreed.items()):
            peer = authorities.get(journal_id) or self._introduced.get(journal_id)
            if not peer or peer == self._engine.authority:
                continue  # who that is will be known when it has said anything
            after, kinds = self._covered.get(journal_id, 0), self.policies.ack_kinds
            await self._engine.flush()
            missing = await self._engine.follower.run(
                lambda database, peer=peer, after=after, upto=upto, kinds=kinds: database.load_unacked(  # type: ignore[misc]
                    peer, kinds, after=after, upto=upto
                )
            )
            for start in range(0, len(missing), ACKS_COUNT_MAX):
                part = missing[start : start + ACKS_COUNT_MAX]
                self._engine.note(build_acks_note(peer, acked_at=at_ms, fact_ids=part))
            self._covered[journal_id] = max(upto, self._covered.get(journal_id, 0))
            if self._agreed.get(journal_id) == (upto, at_ms):
                del self._agreed[journal_id]
        await self._engine.flush()

    def _drop(self, plan: AckGcPlan, now_ms: int) -> None:
        ids = [bytes.fromhex(item) for item in plan.dropped]
        for start in range(0, len(ids), ACKS_COUNT_MAX):
            part = ids[start : start + ACKS_COUNT_MAX]
            self._engine.note(build_acks_dropped_note(dropped_at=now_ms, fact_ids=part))


def _consistency_of(fact_id: FactId, acks: Acknowledgment, peers: Collection[str]) -> Consistency:
    if not peers:
        return Consistency(acknowledgment=acks)
    tracker = PropagationTracker(peers)
    for peer in acks.acks.keys() & set(peers):
        tracker.note_reached(fact_id.hex(), peer)
    return Consistency(propagation=tracker.of_fact(fact_id.hex()), acknowledgment=acks)


def account_of(engine: JournalEngine) -> AckAccount:
    """The engine's account of acknowledgements; begun when it is first asked for."""
    if isinstance(engine.acks, AckAccount):
        return engine.acks
    engine.acks = account = AckAccount(engine, clock=engine.clock)
    return account

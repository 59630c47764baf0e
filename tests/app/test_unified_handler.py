"""Facts in, queries and signals out, on a real journal; rights first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from antiphon import CHAT_SIGNAL, CONTACTS_SIGNAL, Fact, Journal, LocalViolation, Signal, SignalNotFound, view
from antiphon.app.isolation import AtSnapshot, ReadCommitted, ReadLatest, SnapshotNotFound, UnsupportedIsolation
from antiphon.app.unified_handler import UnifiedHandler, register_app_signals_with_queries
from antiphon.facts import ChannelCreated, ChannelUpdated, ContactAdded, MessageSent
from antiphon.facts.protocol import (
    ChannelEpochCommitted,
    ConvergenceCertified,
    OperationFinalized,
    OperationReverted,
    channel_transition_id,
)
from antiphon.journal import Agreement, AgreementLevel, Consistency
from antiphon.reactive import (
    ALLOW_ALL,
    ERROR_SIGNAL,
    AccessPolicy,
    Capability,
    CapabilitySet,
    FactPredicate,
    Inputs,
    Matched,
    Public,
    QueryDenied,
    SignalAlreadyRegistered,
    SnapshotQuery,
    SqlPlan,
    SqlQuery,
    TypeMismatch,
)
from antiphon.reactive.datalog import DatalogError
from antiphon.runtime.consistency_book import ConsensusTimeout, ConsistencyBook
from antiphon.views import (
    INVITATIONS_SIGNAL,
    UNREAD_COUNT_SIGNAL,
    ChatQuery,
    ContactsQuery,
    DatalogQuery,
    MessagesQuery,
    SearchMessagesQuery,
    UnreadQuery,
    ViewQuery,
    ViewSpec,
)

pytestmark = pytest.mark.asyncio

CONTEXT = "friends"
LINES: Signal[tuple[Any, ...]] = Signal("app:lobby_lines", tuple)

PATIENCE_S = 10.0
"""What does not come by then does not come: the test is red instead of waiting for ever."""


class Voted(Fact, kind="handler.voted", version=1):
    choice: str


@view(Voted, initial=())
def votes(state: tuple[str, ...], fact: Voted) -> tuple[str, ...]:
    return (*state, fact.choice)


@dataclass(frozen=True)
class CountVotes(SqlQuery[dict[str, object]]):
    """Votes by choice, in SQL."""

    def dependencies(self) -> tuple[FactPredicate, ...]:
        return (FactPredicate.of("handler.voted"),)

    def access_policy(self) -> AccessPolicy:
        return Public("ada", "the vote", "it is shown on the wall")

    def compile(self) -> SqlPlan:
        return SqlPlan("SELECT choice, count(*) AS votes FROM handler_voted GROUP BY choice")

    def parse(self, rows: Any, /) -> dict[str, object]:
        return {row["choice"]: row["votes"] for row in rows}


@dataclass(frozen=True)
class CountVotesBy(CountVotes):
    """The same by another statement."""

    text: str

    def compile(self) -> SqlPlan:
        return SqlPlan(self.text)


@dataclass(frozen=True)
class CountMessages(CountVotes):
    """Messages, in SQL."""

    def dependencies(self) -> tuple[FactPredicate, ...]:
        return (FactPredicate.of("chat.message_sent"),)

    def compile(self) -> SqlPlan:
        return SqlPlan("SELECT count(*) AS messages FROM chat_message_sent")

    def parse(self, rows: Any, /) -> dict[str, object]:
        return dict(rows[0])


@dataclass(frozen=True)
class CountTallest(CountVotes):
    """Of the choices the one with most votes, and how many facts the history has of votes: common tables and all."""

    def compile(self) -> SqlPlan:
        return SqlPlan(
            "WITH tallies AS (SELECT choice, count(*) AS votes FROM Handler_Voted WHERE choice <> ? GROUP BY choice) "
            "SELECT max(votes) AS votes, (SELECT count(*) FROM history WHERE kind = ?) AS facts FROM tallies;",
            ("water", "handler.voted"),
        )

    def parse(self, rows: Any, /) -> dict[str, object]:
        return dict(rows[0])


class Spy(SnapshotQuery[int]):
    """A query that counts how often it runs."""

    def __init__(self) -> None:
        self.runs = 0

    def dependencies(self) -> tuple[FactPredicate, ...]:
        return (FactPredicate.of("chat.message_sent"),)

    def access_policy(self) -> AccessPolicy:
        return MessagesQuery("lobby").access_policy()

    def reads(self) -> tuple[Signal[Any], ...]:
        return (CHAT_SIGNAL,)

    def evaluate(self, inputs: Inputs, /) -> int:
        self.runs += 1
        return self.runs


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal.open(tmp_path / "j", author="ada", types=(Voted,)) as journal:
        yield journal


@pytest_asyncio.fixture
async def handler(journal: Journal) -> AsyncIterator[UnifiedHandler]:
    async with UnifiedHandler.for_owner(journal) as handler:
        yield handler


def opened(journal: Journal, channel: str) -> ChannelCreated:
    return ChannelCreated(
        context_id=CONTEXT, channel_id=channel, name=channel, created_at=0, creator_id=journal.authority
    )


def said(journal: Journal, channel: str, text: str, at: int = 1, *, epoch: int | None = None) -> MessageSent:
    return MessageSent(
        context_id=CONTEXT,
        channel_id=channel,
        message_id=f"{text} in {channel}",
        sender_id=journal.authority,
        sender_name="Ada",
        text=text,
        sent_at=at,
        epoch_hint=epoch,
    )


def epoch_committed(journal: Journal, channel: str, parent: int) -> ChannelEpochCommitted:
    """The channel's creator says that all of epoch *parent* is final."""
    about = {"context_id": CONTEXT, "channel_id": channel, "parent_epoch": parent, "successor_epoch": parent + 1}
    return ChannelEpochCommitted(
        **about,
        actor_id=journal.authority,
        commitment="a",
        transition_id=channel_transition_id(**about, commitment="a"),
        certificate_digest="d",
        threshold=1,
        witnesses=(journal.authority,),
        committed_at=2,
    )


# The seed's flow


async def test_a_query_bound_signal_moves_when_a_fact_is_committed(journal: Journal, handler: UnifiedHandler) -> None:
    await handler.register_query(CHAT_SIGNAL, ChatQuery())
    async with handler.subscribe(CHAT_SIGNAL) as states:
        assert (await states.recv()).value.channels == {}
        await handler.commit_fact(opened(journal, "lobby"), flush=True)
        update = await states.recv()
        assert [channel.id for channel in update.value.channels.values()] == ["lobby"]
        assert (update.seq, update.live, update.skipped) == (1, True, 0)


async def test_an_unregistered_signal_or_query_is_refused_at_once(handler: UnifiedHandler) -> None:
    with pytest.raises(SignalNotFound):
        handler.subscribe(CHAT_SIGNAL)
    with pytest.raises(SignalNotFound):
        handler.subscribe_query(MessagesQuery("lobby"))
    with pytest.raises(SignalNotFound):
        handler.read_signal(LINES)
    assert not handler.is_signal_registered(LINES)


async def test_every_app_signal_is_bound_by_one_call_and_binding_again_is_fine(handler: UnifiedHandler) -> None:
    await register_app_signals_with_queries(handler)
    await register_app_signals_with_queries(handler)
    bound = {each.signal.signal_id: each.query.query_id for each in handler.bound_signals()}
    assert list(bound) == ["app:chat", "app:contacts", "app:invitations", "app:unread_count"]
    assert handler.read_signal(UNREAD_COUNT_SIGNAL) == 0
    assert handler.read_signal(INVITATIONS_SIGNAL).pending == ()
    with pytest.raises(SignalAlreadyRegistered):
        await handler.register_query(UNREAD_COUNT_SIGNAL, UnreadQuery("lobby"))


async def test_a_message_elsewhere_neither_runs_nor_moves_a_query_of_one_channel(
    journal: Journal, handler: UnifiedHandler
) -> None:
    await handler.register_query(LINES, MessagesQuery("lobby"))
    await handler.commit_fact(opened(journal, "lobby"))
    await handler.commit_fact(opened(journal, "garden"))

    def runs() -> int:
        (node,) = [
            each
            for each in journal.engine.views.scheduler.statistics().views
            if each.view_id == "query:app:lobby_lines"
        ]
        return node.run_count

    before = runs()
    await handler.commit_fact(said(journal, "garden", "hello"))
    assert runs() == before
    await handler.commit_fact(said(journal, "lobby", "hello"))
    assert runs() == before + 1
    assert [line.content for line in handler.read_signal(LINES)] == ["hello"]


async def test_a_query_registered_late_holds_what_was_committed_before(
    journal: Journal, handler: UnifiedHandler
) -> None:
    await handler.commit_fact(opened(journal, "lobby"))
    await handler.commit_fact(said(journal, "lobby", "early"))
    bound = await handler.register_query(LINES, MessagesQuery("lobby"))
    assert [line.content for line in handler.read_signal(LINES)] == ["early"]
    assert bound.is_affected_by(FactPredicate.of("chat.message_sent", channel_id="lobby"))
    assert handler.signal_dependencies(LINES) == MessagesQuery("lobby").dependencies()


async def test_a_fact_may_be_given_by_kind_and_fields(journal: Journal, handler: UnifiedHandler) -> None:
    await handler.register_query(Signal("app:votes", tuple), ViewQuery(votes))
    await handler.commit_fact("handler.voted", choice="tea")
    assert handler.read_signal(Signal("app:votes", tuple)) == ("tea",)
    with pytest.raises(LocalViolation, match="no fact type"):
        await handler.commit_fact("handler.unknown", choice="tea")
    with pytest.raises(LocalViolation, match="choice"):
        await handler.commit_fact(Voted(choice="tea"), choice="coffee")


async def test_the_statistics_of_a_view_s_query_count_what_its_value_holds(handler: UnifiedHandler) -> None:
    for choice in ("tea", "coffee", "tea"):
        await handler.commit_fact("handler.voted", choice=choice)
    counted = (await handler.query_with_stats(ViewQuery(votes))).stats
    assert (counted.facts_scanned, counted.facts_matched, list(counted.consistency)) == (3, 3, ["0", "1", "2"])
    spec: ViewSpec[Any] = votes
    for value, items in (({"b": 1, "a": 2}, ("b", "a")), (7, (spec.view_id,)), ("text", (spec.view_id,)), ((), ())):
        assert ViewQuery(spec).match({}, value) == Matched(len(items), items)


async def test_an_unbound_signal_is_gone_and_may_be_bound_again(journal: Journal, handler: UnifiedHandler) -> None:
    await handler.register_query(LINES, MessagesQuery("lobby"))
    with pytest.raises(SignalAlreadyRegistered):
        await handler.register_query(LINES, MessagesQuery("garden"))
    stream = handler.subscribe_query(MessagesQuery("lobby"))
    handler.unregister_query(LINES)
    assert stream.subscription.is_closed
    assert not handler.is_signal_registered(LINES)
    with pytest.raises(SignalNotFound):
        handler.unregister_query(LINES)
    await handler.register_query(LINES, MessagesQuery("garden"))


async def test_an_answer_of_another_type_than_the_signal_is_refused(handler: UnifiedHandler) -> None:
    with pytest.raises(TypeMismatch):
        await handler.register_query(Signal("app:wrong", int), MessagesQuery("lobby"))  # type: ignore[arg-type]  # that is the mistake
    assert not handler.is_signal_registered(Signal("app:wrong", int))


async def test_what_changed_without_a_fact_can_be_asked_again(handler: UnifiedHandler) -> None:
    spy = Spy()
    signal = Signal("app:spy", int)
    await handler.register_query(signal, spy)
    assert handler.invalidate_affected_queries(FactPredicate.of("contact.added")) == ()
    assert handler.invalidate_affected_queries(FactPredicate.of("chat.message_sent", channel_id="x")) == ("app:spy",)
    assert handler.read_signal(signal) == 2


async def test_signals_of_the_application_live_beside_the_bound_ones(handler: UnifiedHandler) -> None:
    theme = Signal("app:theme", str)
    handler.register_signal(theme, "light")
    assert handler.emit_signal(theme, "dark")
    assert handler.read_signal(theme) == "dark"


# Rights


async def test_without_a_grant_nothing_runs(journal: Journal) -> None:
    async with UnifiedHandler(journal) as handler:
        spy = Spy()
        with pytest.raises(QueryDenied, match="read:messages for 'lobby'"):
            await handler.query(spy)
        with pytest.raises(QueryDenied):
            await handler.query_with_stats(spy)
        with pytest.raises(QueryDenied):
            await handler.register_query(Signal("app:spy", int), spy)
        with pytest.raises(QueryDenied):
            await handler.take_snapshot(spy)
        assert spy.runs == 0
        assert not handler.is_signal_registered(Signal("app:spy", int))
        assert await handler.query(CountVotes()) == {}


async def test_grants_can_be_given_and_taken_and_a_token_narrows_them(journal: Journal) -> None:
    async with UnifiedHandler(journal, capabilities=CapabilitySet.of("read:messages")) as handler:
        lobby_only = CapabilitySet.of(Capability("read:messages", "lobby"), "read:contacts")
        assert await handler.authorized_query(lobby_only, MessagesQuery("lobby")) == ()
        with pytest.raises(QueryDenied):
            await handler.authorized_query(lobby_only, MessagesQuery("garden"))
        with pytest.raises(QueryDenied):  # the token has it, its holder's handler does not
            await handler.authorized_query(lobby_only, ContactsQuery())
        handler.clear_capability_context()
        with pytest.raises(QueryDenied):
            await handler.query(MessagesQuery("lobby"))
        handler.set_capability_context(CapabilitySet.of("read:contacts"))
        assert (await handler.query(ContactsQuery())).contacts == {}
        handler.allow_unrestricted_queries()
        assert await handler.query(MessagesQuery("lobby")) == ()


# Isolation


async def test_a_pinned_snapshot_is_stable_under_concurrent_commits(journal: Journal, handler: UnifiedHandler) -> None:
    await handler.commit_fact(opened(journal, "lobby"))
    await handler.commit_fact(said(journal, "lobby", "one"))
    query = MessagesQuery("lobby")
    pinned = await handler.take_snapshot(query, ChatQuery())
    before = await handler.query(query, isolation=pinned)

    async def write(number: int) -> None:
        await handler.commit_fact(said(journal, "lobby", f"more {number}", 10 + number))

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(write(number))
            assert await handler.query(query, isolation=pinned) == before
    assert await handler.query(query, isolation=pinned) == before
    assert len(await handler.query(query)) == 21
    with pytest.raises(SnapshotNotFound, match="does not hold app:contacts"):
        await handler.query(ContactsQuery(), isolation=pinned)
    handler.drop_snapshot(pinned)
    with pytest.raises(SnapshotNotFound, match="pin one"):
        await handler.query(query, isolation=pinned)


async def test_the_hundred_and_first_pin_lets_the_first_go(journal: Journal, handler: UnifiedHandler) -> None:
    pins: list[AtSnapshot] = []
    for number in range(101):
        await handler.commit_fact(Voted(choice=str(number)), flush=True)
        pins.append(await handler.take_snapshot(ViewQuery(votes)))
    with pytest.raises(SnapshotNotFound):
        await handler.query(ViewQuery(votes), isolation=pins[0])
    assert len(await handler.query(ViewQuery(votes), isolation=pins[1])) == 2


async def test_committed_reads_see_only_what_was_agreed(journal: Journal) -> None:
    book = ConsistencyBook()
    async with UnifiedHandler(journal, capabilities=CapabilitySet.of("read:view"), consistency=book) as handler:
        receipts = [await handler.commit_fact(Voted(choice=choice)) for choice in ("tea", "coffee", "water")]
        assert await handler.query(ViewQuery(votes)) == ("tea", "coffee", "water")
        assert await handler.query(ViewQuery(votes), isolation=ReadCommitted()) == ()
        book.note(receipts[1].fact_id, Consistency(agreement=Agreement().finalized("round 1")))
        assert await handler.query(ViewQuery(votes), isolation=ReadCommitted()) == ("coffee",)


async def test_a_committed_read_waits_for_agreement_and_then_reads(journal: Journal) -> None:
    book = ConsistencyBook()
    async with UnifiedHandler(journal, capabilities=CapabilitySet.of("read:view"), consistency=book) as handler:
        receipt = await handler.commit_fact(Voted(choice="tea"))
        isolation = ReadCommitted(wait_for=(receipt.fact_id,))
        waiting = asyncio.ensure_future(handler.query(ViewQuery(votes), isolation=isolation))
        await asyncio.sleep(0)
        book.note("another", Consistency(agreement=Agreement().finalized("round 1")))
        await asyncio.sleep(0)
        assert not waiting.done()
        book.note(receipt.fact_id, Consistency(agreement=Agreement().finalized("round 2")))
        assert await waiting == ("tea",)


@pytest.mark.parametrize("level", [AgreementLevel.SOFT_SAFE, AgreementLevel.FINALIZED])
async def test_what_is_agreed_stays_when_what_is_not_wrote_over_it_and_the_journal_is_trimmed(
    journal: Journal, level: AgreementLevel
) -> None:
    about = {"context_id": "home", "channel_id": "tea"}
    me = {"actor_id": journal.authority}
    founded = ChannelCreated(**about, name="tea", created_at=1, creator_id=journal.authority)
    words = [
        founded,
        *(ChannelUpdated(**about, **me, topic=topic, updated_at=at) for at, topic in enumerate("abcd", 2)),
    ]
    ids = (await journal.commit_all(words)).fact_ids
    final = ({"op_id": ids[place], "consensus_id": "round 1", "finalized_at": 9} for place in (0, 2))
    await journal.commit_all([OperationFinalized(**about, **me, **each) for each in final])
    safe = {"op_id": ids[3], "prestate_hash": "00", "coordinator_epoch": 0, "certified_at": 9}
    await journal.commit(ConvergenceCertified(**about, **me, **safe))
    isolation = ReadCommitted(level=level)
    async with UnifiedHandler(journal, capabilities=ALLOW_ALL) as handler:

        async def topic() -> str | None:
            return (await handler.query(ChatQuery(), isolation=isolation)).channel("tea").topic

        before = await topic()
        assert before == ("c" if level is AgreementLevel.SOFT_SAFE else "b")
        assert [(each.kind, each.fact_count) for each in await journal.trim()] == [("chat.channel_updated", 1)]
        assert await topic() == before
        assert (await handler.query(ChatQuery())).channel("tea").topic == "d"
        # Taken back, it is no more than the others, and goes with them.
        await journal.commit(OperationReverted(**about, **me, op_id=ids[3], reverted_at=10))
        assert [(each.kind, each.fact_count) for each in await journal.trim()] == [("chat.channel_updated", 1)]
        assert await topic() == "b"


async def test_a_wait_for_agreement_times_out_and_names_what_was_missing(journal: Journal) -> None:
    async with UnifiedHandler(journal, capabilities=CapabilitySet.of("read:view")) as handler:
        receipt = await handler.commit_fact(Voted(choice="tea"))
        with pytest.raises(ConsensusTimeout, match=receipt.fact_id[:12]) as caught:
            await handler.query(ViewQuery(votes), isolation=ReadCommitted(wait_for=(receipt.fact_id,), timeout_s=0.0))
        assert caught.value.missing == (receipt.fact_id,)


async def test_the_latest_read_includes_what_is_on_its_way(journal: Journal, handler: UnifiedHandler) -> None:
    await handler.query(ViewQuery(votes))
    committing = asyncio.ensure_future(handler.commit_fact(Voted(choice="tea")))
    await asyncio.sleep(0)
    assert await handler.query(ViewQuery(votes)) == ()
    assert await handler.query(ViewQuery(votes), isolation=ReadLatest()) == ("tea",)
    await committing


async def test_sql_at_a_pin_gives_the_same_rows_however_many_commits_follow(handler: UnifiedHandler) -> None:
    await handler.commit_fact(Voted(choice="tea"))
    pinned = await handler.take_snapshot(CountVotes(), CountTallest())
    assert await handler.query(CountVotes(), isolation=pinned) == {"tea": 1}
    for _ in range(3):
        await handler.commit_fact(Voted(choice="tea"))
        await handler.commit_fact(Voted(choice="coffee"))
    assert await handler.query(CountVotes(), isolation=pinned) == {"tea": 1}
    assert await handler.query(CountTallest(), isolation=pinned) == {"votes": 1, "facts": 1}
    assert await handler.query(CountVotes()) == {"tea": 4, "coffee": 3}
    assert await handler.query(CountTallest()) == {"votes": 4, "facts": 7}
    answer = await handler.query_with_stats(CountVotes(), isolation=pinned)
    assert (answer.value, answer.stats.isolation) == ({"tea": 1}, pinned)
    views_only = await handler.take_snapshot(ChatQuery())
    with pytest.raises(SnapshotNotFound, match="does not hold the history"):
        await handler.query(CountVotes(), isolation=views_only)


async def test_sql_at_a_pin_before_the_first_vote_counts_none(handler: UnifiedHandler) -> None:
    pinned = await handler.take_snapshot(CountVotes())
    assert await handler.query(CountVotes(), isolation=pinned) == {}
    await handler.commit_fact(Voted(choice="tea"))
    assert await handler.query(CountVotes(), isolation=pinned) == {}


async def test_what_is_erased_is_gone_from_a_pinned_history_too(journal: Journal, handler: UnifiedHandler) -> None:
    receipt = await handler.commit_fact(Voted(choice="tea"))
    await handler.commit_fact(Voted(choice="coffee"))
    pinned = await handler.take_snapshot(CountVotes())
    await journal.erase(receipt.fact_id, reason="said by mistake")
    assert await handler.query(CountVotes(), isolation=pinned) == {"coffee": 1}


async def test_sql_reads_only_what_was_agreed_and_waits_for_it(journal: Journal) -> None:
    book = ConsistencyBook()
    async with UnifiedHandler(journal, capabilities=ALLOW_ALL, consistency=book) as handler:
        receipts = [await handler.commit_fact(Voted(choice=choice)) for choice in ("tea", "coffee", "tea")]
        assert await handler.query(CountVotes(), isolation=ReadCommitted()) == {}
        book.note(receipts[1].fact_id, Consistency(agreement=Agreement().finalized("round 1")))
        assert await handler.query(CountVotes(), isolation=ReadCommitted()) == {"coffee": 1}
        isolation = ReadCommitted(wait_for=(receipts[0].fact_id,))
        waiting = asyncio.ensure_future(handler.query(CountVotes(), isolation=isolation))
        book.note(receipts[0].fact_id, Consistency(agreement=Agreement().finalized("round 2")))
        assert await waiting == {"tea": 1, "coffee": 1}
        never = ReadCommitted(wait_for=(receipts[2].fact_id,), timeout_s=0.0)
        with pytest.raises(ConsensusTimeout, match=receipts[2].fact_id[:12]):
            await handler.query(CountVotes(), isolation=never)
        everything = ReadCommitted(level=AgreementLevel.PROVISIONAL, wait_for=(receipts[2].fact_id,))
        assert await handler.query(CountVotes(), isolation=everything) == {"tea": 2, "coffee": 1}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'x' AS choice, count(*) AS votes FROM internal.facts",
        "SELECT choice, count(*) AS votes FROM main.handler_voted GROUP BY choice",
        "SELECT 'x' AS choice, count(*) AS votes FROM query_table('handler_voted')",
        "PIVOT handler_voted ON choice USING count(*)",
    ],
)
async def test_sql_that_would_look_past_its_level_is_refused(handler: UnifiedHandler, text: str) -> None:
    await handler.commit_fact(Voted(choice="tea"))
    pinned = await handler.take_snapshot(CountVotes())
    for isolation in (pinned, ReadCommitted()):
        with pytest.raises(UnsupportedIsolation, match="CountVotesBy"):
            await handler.query(CountVotesBy(text), isolation=isolation)


async def test_a_view_of_no_facts_cannot_be_read_as_agreed(handler: UnifiedHandler) -> None:
    handler.register_signal(Signal("app:theme", str), "dark")
    with pytest.raises(UnsupportedIsolation, match="app:theme"):
        await handler.query(_OfTheme(), isolation=ReadCommitted())


class _OfTheme(Spy):
    def reads(self) -> tuple[Signal[Any], ...]:
        return (Signal("app:theme", str),)


async def test_a_committed_read_of_the_chat_folds_the_views_below_it_from_the_same_facts(journal: Journal) -> None:
    book = ConsistencyBook()
    async with UnifiedHandler(journal, capabilities=ALLOW_ALL, consistency=book) as handler:
        receipts = [await handler.commit_fact(opened(journal, channel)) for channel in ("lobby", "garden")]
        await handler.commit_fact(said(journal, "lobby", "hello"))
        book.note(receipts[0].fact_id, Consistency(agreement=Agreement().finalized("round 1")))
        chat = await handler.query(ChatQuery(), isolation=ReadCommitted())
        assert [channel.id for channel in chat.channels.values()] == ["lobby"]
        assert chat.messages_in("lobby") == ()
        assert await handler.query(UnreadQuery(), isolation=ReadCommitted()) == 0


async def test_what_the_facts_of_a_channel_agree_upon_is_committed_without_any_book(
    journal: Journal, handler: UnifiedHandler
) -> None:
    founded = await handler.commit_fact(opened(journal, "lobby"))
    early = await handler.commit_fact(said(journal, "lobby", "early", epoch=0))
    await handler.commit_fact(said(journal, "lobby", "late", epoch=1))
    assert (await handler.query(ChatQuery(), isolation=ReadCommitted())).channels == {}
    wait = ReadCommitted(wait_for=(founded.fact_id, early.fact_id), timeout_s=PATIENCE_S)
    waiting = asyncio.ensure_future(handler.query(ChatQuery(), isolation=wait))
    await asyncio.sleep(0)
    await handler.commit_fact(epoch_committed(journal, "lobby", 0))
    chat = await waiting
    assert [message.content for message in chat.messages_in("lobby")] == ["early"]
    assert await handler.query(CountMessages(), isolation=ReadCommitted()) == {"messages": 1}
    assert await handler.query(CountMessages()) == {"messages": 2}
    async with UnifiedHandler.for_owner(journal) as another:
        again = await another.query(ChatQuery(), isolation=ReadCommitted(level=AgreementLevel.FINALIZED))
        assert [message.content for message in again.messages_in("lobby")] == ["early"]


# Statistics


async def test_statistics_say_what_was_looked_at_what_fits_and_what_is_known_of_each(journal: Journal) -> None:
    book = ConsistencyBook()
    ticks = iter(range(100))
    async with UnifiedHandler(
        journal, capabilities=CapabilitySet.of("read:messages"), consistency=book, monotonic=lambda: next(ticks)
    ) as handler:
        await handler.commit_fact(opened(journal, "lobby"))
        for at in range(4):
            await handler.commit_fact(said(journal, "lobby", f"line {at}", at))
        finalized = Consistency(agreement=Agreement().finalized("round 1"))
        book.note("line 3 in lobby", finalized)
        answer = await handler.query_with_stats(MessagesQuery("lobby", limit=2))
        stats = answer.stats
        assert [line.content for line in answer.value] == ["line 2", "line 3"]
        assert (stats.facts_scanned, stats.facts_matched, stats.is_cache_hit) == (4, 2, False)
        assert (stats.execution_us, stats.wait_us) == (1e6, 1e6)
        assert dict(stats.consistency) == {"line 2 in lobby": Consistency(), "line 3 in lobby": finalized}
        assert (await handler.query_with_stats(MessagesQuery("lobby", limit=2))).stats.is_cache_hit
        await handler.commit_fact(said(journal, "lobby", "line 4", 9))
        assert not (await handler.query_with_stats(MessagesQuery("lobby", limit=2))).stats.is_cache_hit


async def test_statistics_of_sql_count_rows_before_they_are_parsed_and_know_the_facts_that_they_name(
    journal: Journal,
) -> None:
    book = ConsistencyBook()
    async with UnifiedHandler(journal, capabilities=ALLOW_ALL, consistency=book) as handler:
        receipts = [await handler.commit_fact(Voted(choice=choice)) for choice in ("tea", "coffee", "tea")]
        finalized = Consistency(agreement=Agreement().finalized("round 1"))
        book.note(receipts[1].fact_id, finalized)
        answer = await handler.query_with_stats(CountVotesBy("SELECT choice, fact_id, 1 AS votes FROM handler_voted"))
        assert (answer.stats.facts_matched, len(answer.value)) == (3, 2)
        wanted = {receipt.fact_id: Consistency() for receipt in receipts} | {receipts[1].fact_id: finalized}
        assert dict(answer.stats.consistency) == wanted


async def test_a_message_elsewhere_leaves_a_contacts_answer_in_the_cache(
    journal: Journal, handler: UnifiedHandler
) -> None:
    await handler.commit_fact(
        ContactAdded(context_id=CONTEXT, owner_id=journal.authority, contact_id="b" * 32, nickname="Ben", added_at=1)
    )
    assert not (await handler.query_with_stats(ContactsQuery("ben"))).stats.is_cache_hit
    await handler.commit_fact(opened(journal, "lobby"))
    answer = await handler.query_with_stats(ContactsQuery("ben"))
    assert (answer.stats.is_cache_hit, answer.stats.facts_matched) == (True, 1)


# Datalog

WINNERS = """
    liked($who, "tea")    <- handler.voted(choice: "tea", author: $who);
    liked($who, "coffee") <- handler.voted(choice: "coffee", author: $who);
    ? liked($who, $what), not handler.voted(choice: "water", author: $who);
"""


async def test_a_datalog_program_over_facts_is_a_live_query(journal: Journal, handler: UnifiedHandler) -> None:
    liked: Signal[tuple[Any, ...]] = Signal("app:liked", tuple)
    await handler.commit_fact(Voted(choice="tea"))
    await handler.register_query(liked, DatalogQuery(WINNERS, (Voted,)))
    assert handler.read_signal(liked) == ({"who": "ada", "what": "tea"},)
    await handler.commit_fact(Voted(choice="coffee"))
    assert [row["what"] for row in handler.read_signal(liked)] == ["coffee", "tea"]
    await handler.commit_fact(Voted(choice="water"))
    assert handler.read_signal(liked) == ()
    answer = await handler.query_with_stats(DatalogQuery("? handler.voted(choice: $c);", (Voted,)))
    assert (answer.stats.facts_scanned, answer.stats.facts_matched) == (3, 3)


async def test_a_datalog_program_asks_what_the_views_show(journal: Journal, handler: UnifiedHandler) -> None:
    for channel in ("lobby", "attic"):
        await handler.commit_fact(opened(journal, channel))
    await handler.commit_fact(said(journal, "lobby", "hello, all"))
    quiet = DatalogQuery('said($c) <- message(channel: $c, content: "hello, all"); ? channel(id: $c), not said($c);')
    assert await handler.query(quiet) == ({"c": "attic"},)
    pinned = await handler.take_snapshot(quiet)
    await handler.commit_fact(said(journal, "attic", "hello, all"))
    assert await handler.query(quiet) == ()
    assert await handler.query(quiet, isolation=pinned) == ({"c": "attic"},)


async def test_a_datalog_program_needs_the_rights_of_every_relation_that_it_names(journal: Journal) -> None:
    async with UnifiedHandler(journal, capabilities=CapabilitySet.of("read:messages")) as handler:
        with pytest.raises(QueryDenied, match=r"read:facts for 'handler\.voted'"):
            await handler.query(DatalogQuery("? handler.voted(choice: $c), message(id: $c);", (Voted,)))
    with pytest.raises(DatalogError, match=r"no relation handler\.voted"):
        DatalogQuery("? handler.voted(choice: $c);")
    with pytest.raises(DatalogError, match=r"does not ask about handler\.voted"):
        DatalogQuery("? message(id: $c);", (Voted,))


# SQL


async def test_a_sql_query_answers_from_the_whole_history(journal: Journal, handler: UnifiedHandler) -> None:
    assert await handler.query(SearchMessagesQuery("100%")) == ()
    for at, text in enumerate(("100% sure", "100 sure", "it's 100%, she said")):
        await handler.commit_fact(said(journal, "lobby", text, at))
    found = await handler.query(SearchMessagesQuery("100%"))
    assert [row["text"] for row in found] == ["it's 100%, she said", "100% sure"]
    assert await handler.query(SearchMessagesQuery("100%", channel_id="garden")) == ()
    stats = (await handler.query_with_stats(SearchMessagesQuery("100%"))).stats
    assert stats.facts_matched == 2


async def test_a_live_sql_query_follows_the_facts_that_it_names(journal: Journal, handler: UnifiedHandler) -> None:
    tally: Signal[dict[str, object]] = Signal("app:tally", dict)
    await handler.register_query(tally, CountVotes())
    async with asyncio.timeout(PATIENCE_S), handler.subscribe(tally) as answers:
        await handler.commit_fact(Voted(choice="tea"))
        await handler.commit_fact(Voted(choice="tea"))
        await handler.commit_fact(Voted(choice="coffee"))
        async for update in answers:
            if update.value == {"tea": 2, "coffee": 1}:
                break


class _Broken(CountVotes):
    asked = 0

    def compile(self) -> SqlPlan:
        type(self).asked += 1
        return super().compile() if self.asked <= 1 else SqlPlan("SELECT nonsense FROM nowhere")


async def test_a_live_sql_query_that_fails_keeps_its_answer_and_says_so(
    journal: Journal, handler: UnifiedHandler
) -> None:
    tally: Signal[dict[str, object]] = Signal("app:tally", dict)
    await handler.commit_fact(Voted(choice="tea"))
    async with journal.errors() as errors:
        await handler.register_query(tally, _Broken())
        await handler.commit_fact(Voted(choice="tea"))
        async for update in errors:
            if update.value is not None:
                assert update.value.code == "query-failed"
                break
    assert handler.read_signal(tally) == {"tea": 1}
    assert ERROR_SIGNAL.signal_id == "app:error"


async def test_leaving_ends_what_was_bound_and_leaves_no_task(journal: Journal) -> None:
    before = asyncio.all_tasks()
    async with UnifiedHandler.for_owner(journal) as handler:
        await handler.register_query(Signal("app:tally", dict), CountVotes())
        await handler.register_query(LINES, MessagesQuery("lobby"))
        await handler.register_query(CONTACTS_SIGNAL, ContactsQuery())
    await handler.close()
    assert asyncio.all_tasks() == before
    assert not handler.is_signal_registered(LINES)
    assert handler.bound_signals() == ()


async def test_what_ends_the_block_comes_out_as_it_is(journal: Journal) -> None:
    async def fail() -> None:
        async with UnifiedHandler.for_owner(journal) as handler:
            await handler.register_query(Signal("app:tally", dict), CountVotes())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def test_a_sql_query_is_bound_only_where_its_tasks_have_an_owner(journal: Journal) -> None:
    handler = UnifiedHandler.for_owner(journal)
    with pytest.raises(LocalViolation, match="async with"):
        await handler.register_query(Signal("app:tally", dict), CountVotes())


async def test_a_live_program_lets_go_of_what_was_erased_also_when_as_much_came_meanwhile(
    journal: Journal, handler: UnifiedHandler
) -> None:
    program = DatalogQuery("? handler.voted(choice: $what);", models=(Voted,))
    shown = Signal("app:shown_votes", tuple)
    await handler.register_query(shown, program)
    receipt = await handler.commit_fact(Voted(choice="secret"))
    erasing = asyncio.ensure_future(journal.erase(receipt))
    await handler.commit_fact(Voted(choice="tea"))
    await erasing
    await journal.flush()
    assert handler.read_signal(shown) == ({"what": "tea"},) == await handler.query(program)

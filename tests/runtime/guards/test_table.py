"""A protocol's annotations become a table that leaves nothing out, and each message passes the chain once."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from antiphon import Journal
from antiphon.choreography import compile_choreography
from antiphon.journal import guard_book
from antiphon.runtime.choreography import ChannelClosed, Endpoint, GuardDenied, IncompleteProtocol, InMemoryHandler
from antiphon.runtime.guards.commands import LeakClaim, SendRequest
from antiphon.runtime.guards.guard import EffectGuard, HeldCapabilities
from antiphon.runtime.guards.protocol_guard import NOTHING_ASKED, ProtocolGuard
from antiphon.runtime.guards.table import (
    FREE,
    GuardTable,
    GuardTableRefused,
    MessageGuard,
    MessageKey,
    build_guard_table,
)

OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]
CONSENSUS = compile_choreography(
    """\
module consensus exposing (Consensus)
protocol Consensus =
  roles Coordinator, Witness
  Coordinator { guard_capability : "consensus:initiate", flow_cost : 100 } -> Witness : Execute
  Witness { flow_cost : 50, guard_capability : "consensus:witness_nonce" } -> Coordinator : NonceCommit
  Coordinator { guard_capability : "consensus:aggregate_nonces", flow_cost : 75 } -> Witness : SignRequest
  Witness { leak : (Neighbor), guard_capability : "consensus:witness_sign", flow_cost : 50 }
    -> Coordinator : SignShare
  Coordinator { guard_capability : "consensus:finalize", journal_facts : "consensus_complete" }
    -> Witness : ConsensusResult
  Witness -> Coordinator : Thanks
"""
)


def test_the_table_of_the_consensus_protocol_is_the_listed_one() -> None:
    table = build_guard_table(CONSENSUS)
    guards = {key.label: guard for key, guard in table.items()}
    assert {label: (guard.cost, guard.capabilities) for label, guard in guards.items()} == {
        "Execute": (100, ("consensus:initiate",)),
        "NonceCommit": (50, ("consensus:witness_nonce",)),
        "SignRequest": (75, ("consensus:aggregate_nonces",)),
        "SignShare": (50, ("consensus:witness_sign",)),
        "ConsensusResult": (100, ("consensus:finalize",)),
        "Thanks": (0, ()),
    }
    assert guards["SignShare"].leaks == (LeakClaim("Neighbor", 8),)
    assert guards["ConsensusResult"].facts_after == ("consensus_complete",)
    assert guards["Thanks"] == FREE
    assert table.digest == build_guard_table(CONSENSUS).digest


def test_a_table_that_leaves_a_message_out_is_refused() -> None:
    guards = dict(build_guard_table(CONSENSUS).items())
    digest = build_guard_table(CONSENSUS).digest
    for key in list(guards):
        fewer = {other: guard for other, guard in guards.items() if other != key}
        with pytest.raises(GuardTableRefused, match=key.label):
            GuardTable(CONSENSUS, fewer)
        cheaper = {**guards, key: MessageGuard(cost=1)}
        assert GuardTable(CONSENSUS, cheaper).digest != digest


def test_names_that_nobody_knows_are_refused_with_line_and_column() -> None:
    crooked = compile_choreography(
        """\
module shop exposing (Shop)
protocol Shop =
  roles A, B
  A { leak : (Everybody) } -> B : One
  A { guard_capability : "Shop:Buy" } -> B : Two
"""
    )
    with pytest.raises(GuardTableRefused) as refused:
        build_guard_table(crooked)
    assert [problem.line for problem in refused.value.problems] == [4, 5]
    assert all(problem.column > 1 for problem in refused.value.problems)


class Ask(BaseModel):
    text: str


class Reply(BaseModel):
    text: str


SECURE = compile_choreography(
    """\
module secure_request exposing (SecureRequest)
type alias Ask = { text : String }
type alias Reply = { text : String }
protocol SecureRequest =
  roles Client, Server
  Client { guard_capability : "secure_request:send_request", flow_cost : 50 }
    -> Server : Ask(text : String)
  Server { guard_capability : "secure_request:send_response", flow_cost : 30, journal_facts : "response_sent" }
    -> Client : Reply(text : String)
"""
)


@pytest.mark.asyncio
async def test_a_message_charges_its_cost_once_and_its_fact_follows_when_it_has_left(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    table = build_guard_table(SECURE)
    client_handler, server_handler = InMemoryHandler.network("Client", "Server")
    async with open_journal() as journal:
        rights = HeldCapabilities("secure_request:send_request", "secure_request:send_response")
        guard = EffectGuard(journal.engine, capabilities=rights)
        make = {"response_sent": lambda request: kit.HasLeft(text=request.label)}
        port = ProtocolGuard(guard, table, context="home", authority="ada", facts=make)
        messages = (Ask, Reply)
        client = Endpoint.of(SECURE, "Client", client_handler, messages=messages, guard=port)
        server = Endpoint.of(SECURE, "Server", server_handler, messages=messages, guard=port)

        async def ask() -> None:
            async with client as endpoint:
                await endpoint.send("Server", Ask(text="?"))
                assert await endpoint.recv("Server") == Reply(text="!")

        async def reply() -> None:
            async with server as endpoint:
                await endpoint.recv("Client")
                assert guard.book.remaining("home", "Server") == 1_024 - 50
                await endpoint.send("Client", Reply(text="!"))

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            group.create_task(reply())
        assert guard.book.remaining("home", "Client") == 1_024 - 30
        assert guard.book.letters == ()
        assert (await journal.sql("select text from guarded_has_left")).fetchall() == [("Reply",)]


@pytest.mark.asyncio
async def test_a_denied_message_leaves_the_wire_empty_and_no_fact(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("secure_request:send_request"))
        make = {"response_sent": lambda request: kit.HasLeft(text=request.label)}
        port = ProtocolGuard(guard, build_guard_table(SECURE), context="home", authority="ada", facts=make)
        before, facts = guard.book.state_data(), journal.fact_count
        key = MessageKey("Server", "Reply", "Client")
        request = kit.guard_request(key)
        with pytest.raises(GuardDenied, match="missing-capability"):
            await port.admit(request)
        with pytest.raises(GuardDenied, match="unguarded-message"):
            await port.admit(kit.guard_request(key._replace(label="Smuggled")))
        assert (guard.book.state_data(), journal.fact_count) == (before, facts)


@pytest.mark.asyncio
async def test_what_a_former_session_had_not_sent_is_let_go(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    make = {"response_sent": lambda request: kit.HasLeft(text=request.label)}
    rights = HeldCapabilities("secure_request:send_request", "secure_request:send_response")
    for life in range(2):
        async with open_journal() as journal:
            guard = EffectGuard(journal.engine, capabilities=rights)
            port = ProtocolGuard(guard, build_guard_table(SECURE), context="home", authority="ada", facts=make)
            assert await port.forget_former() == life
            await port.admit(kit.guard_request(MessageKey("Client", "Ask", "Server")))
            assert len(guard.book.letters) == 1


class Flaky(InMemoryHandler):
    """Its transport fails as often as it is told to."""

    failures = 0

    async def send(self, session: Any, to: str, message: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise ChannelClosed(to, "send")
        await super().send(session, to, message)


class Rights:
    """Held until they are taken away."""

    def __init__(self) -> None:
        self.held = frozenset({"secure_request:send_request", "secure_request:send_response"})

    async def frontier(self, request: SendRequest) -> frozenset[str]:
        return self.held


def secure_port(journal: Journal, kit: SimpleNamespace, rights: Rights | None = None) -> ProtocolGuard:
    guard = EffectGuard(journal.engine, capabilities=rights or Rights())
    make = {"response_sent": lambda request: kit.HasLeft(text=request.label)}
    return ProtocolGuard(guard, build_guard_table(SECURE), context="home", authority="ada", facts=make)


@pytest.mark.asyncio
async def test_a_send_that_failed_and_is_tried_again_is_charged_once_and_leaves_once(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    client_handler, server_handler = Flaky.network("Client", "Server")
    server_handler.failures = 3
    async with open_journal() as journal:
        port, book = secure_port(journal, kit), journal.engine.guard_book

        async def ask() -> None:
            async with Endpoint.of(SECURE, "Client", client_handler, messages=(Ask, Reply), guard=port) as client:
                await client.send("Server", Ask(text="?"))
                assert await client.recv("Server") == Reply(text="!")

        async def reply() -> None:
            async with Endpoint.of(SECURE, "Server", server_handler, messages=(Ask, Reply), guard=port) as server:
                await server.recv("Client")
                for _ in range(3):
                    with pytest.raises(ChannelClosed):
                        await server.send("Client", Reply(text="!"))
                    assert len(book.letters) == 1
                await server.send("Client", Reply(text="!"))

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            group.create_task(reply())
        assert book.remaining("home", "Client") == 1_024 - 30
        assert book.letters == ()
        assert (await journal.sql("select text from guarded_has_left")).fetchall() == [("Reply",)]


@pytest.mark.asyncio
async def test_another_message_instead_takes_the_place_of_the_one_that_failed(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    client_handler, _ = Flaky.network("Client", "Server")
    client_handler.failures = 1
    async with open_journal() as journal:
        port, book = secure_port(journal, kit), journal.engine.guard_book

        async def ask_twice() -> None:
            async with Endpoint.of(SECURE, "Client", client_handler, messages=(Ask, Reply), guard=port) as client:
                with pytest.raises(ChannelClosed):
                    await client.send("Server", Ask(text="first"))
                await client.send("Server", Ask(text="second"))
                assert book.letters == ()

        with pytest.raises(IncompleteProtocol):
            await ask_twice()
        assert book.remaining("home", "Server") == 1_024 - 2 * 50, "a send that failed is not refunded"


@pytest.mark.asyncio
async def test_a_right_that_is_gone_holds_back_what_was_let_through_before(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    client_handler, _ = Flaky.network("Client", "Server")
    client_handler.failures = 1
    async with open_journal() as journal:
        rights = Rights()
        port = secure_port(journal, kit, rights)

        async def ask_without_a_right() -> None:
            async with Endpoint.of(SECURE, "Client", client_handler, messages=(Ask, Reply), guard=port) as client:
                with pytest.raises(ChannelClosed):
                    await client.send("Server", Ask(text="?"))
                rights.held = frozenset()
                await client.send("Server", Ask(text="?"))

        with pytest.raises(GuardDenied, match="missing-capability"):
            await ask_without_a_right()


@pytest.mark.asyncio
async def test_sessions_whose_transport_fails_fill_no_outbox_in_this_life_or_the_next(
    open_journal: OpenJournal, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_book, "OUTBOX_MAX", 3)
    async with open_journal() as journal:
        port, book = secure_port(journal, kit), journal.engine.guard_book
        for _ in range(5):
            client_handler, _ = Flaky.network("Client", "Server")
            client_handler.failures = 1
            with pytest.raises(ChannelClosed):
                async with Endpoint.of(SECURE, "Client", client_handler, messages=(Ask, Reply), guard=port) as client:
                    await client.send("Server", Ask(text="?"))
            assert book.letters == ()
        assert book.remaining("home", "Server") == 1_024 - 5 * 50
    async with open_journal() as journal:
        assert journal.engine.guard_book.letters == ()


@pytest.mark.asyncio
async def test_a_message_without_annotations_is_asked_about_and_costs_nothing(
    open_journal: OpenJournal,
) -> None:
    plain = compile_choreography("protocol Plain =\n  roles A, B\n  A -> B : M\n")
    async with open_journal() as journal:
        table, facts = build_guard_table(plain), journal.fact_count
        before = journal.engine.guard_book.state_data()
        for held, is_allowed in ((), False), ((NOTHING_ASKED,), True):
            guard = EffectGuard(journal.engine, capabilities=HeldCapabilities(*held))
            port = ProtocolGuard(guard, table, context="home", authority="ada")
            left, right = InMemoryHandler.network("A", "B")
            sender, receiver = Endpoint.of(plain, "A", left, guard=port), Endpoint.of(plain, "B", right)
            if is_allowed:
                async with sender, receiver:
                    await sender.send("B", label="M")
                    await receiver.recv("A")
                continue
            with pytest.raises(GuardDenied, match="protocol:send"):
                async with sender:
                    await sender.send("B", label="M")
        assert (journal.engine.guard_book.state_data(), journal.fact_count) == (before, facts)


ONE_MESSAGE = "module x exposing (P)\nprotocol P =\n  roles A, B\n  A {{ {} }} -> B : M\n"


@pytest.mark.parametrize(
    "written", ['leak : "External,InGroup"', 'leak : "External, InGroup"', "flow_cost : 4294967296"]
)
def test_what_no_guard_could_keep_is_refused_where_it_stands(written: str) -> None:
    with pytest.raises(GuardTableRefused) as refused:
        build_guard_table(compile_choreography(ONE_MESSAGE.format(written)))
    (problem,) = refused.value.problems
    assert (problem.line, problem.column) == (4, 7)


def test_two_observers_are_two_and_the_greatest_cost_is_one() -> None:
    table = build_guard_table(
        compile_choreography(ONE_MESSAGE.format("leak : (External, InGroup), flow_cost : 4294967295"))
    )
    ((_, found),) = table.items()
    assert found.leaks == (LeakClaim("External", 8), LeakClaim("InGroup", 8))
    assert found.cost == 4_294_967_295


@pytest.mark.asyncio
async def test_what_sessions_of_this_life_are_sending_stays_whoever_else_begins(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    make = {"response_sent": lambda request: kit.HasLeft(text=request.label)}
    rights = HeldCapabilities("secure_request:send_request", "secure_request:send_response")
    request = kit.guard_request(MessageKey("Client", "Ask", "Server"))
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=rights)
        await ProtocolGuard(guard, build_guard_table(SECURE), context="home", authority="ada", facts=make).admit(
            request
        )
        assert len(guard.book.letters) == 1
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=rights)
        ports = [
            ProtocolGuard(guard, build_guard_table(SECURE), context="home", authority="ada", facts=make) for _ in "ab"
        ]
        for count, port in enumerate(ports, 1):
            await port.admit(request)
            assert len(guard.book.letters) == count, "the former life's is let go, this one's are not"
        assert await ports[0].forget_former() == 0


def test_a_fact_that_nothing_makes_is_noticed_at_once() -> None:
    with pytest.raises(ValueError, match="response_sent"):
        ProtocolGuard(SimpleNamespace(), build_guard_table(SECURE), context="home", authority="ada")  # type: ignore[arg-type]

"""Events have required fields, tell no secret, and are enough to rebuild who owned what."""

import asyncio
import json
import logging
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from antiphon import Fact, Journal
from antiphon.choreography import compile_choreography
from antiphon.journal import CrdtCoordinator, StoreUnavailable
from antiphon.journal.guard_book import Letter
from antiphon.runtime.choreography import (
    Endpoint,
    EndpointBusy,
    GuardDenied,
    GuardRequest,
    IncompleteProtocol,
    InMemoryHandler,
)
from antiphon.runtime.events import (
    FAMILIES,
    GuardDecided,
    LoggingSink,
    RingSink,
    RuntimeEvent,
    ServiceMoved,
    SessionClaimed,
    SessionFailed,
    SessionReleased,
    ShutdownStage,
    TaskEnded,
    TaskSpawned,
    TelemetrySink,
    Veil,
    correlate,
    owners_of,
    phases_of,
)
from antiphon.runtime.guards.capabilities import TokenCapabilities, TokenVerifier, issue_token
from antiphon.runtime.guards.commands import GuardRefused, LeakClaim, SendRequest
from antiphon.runtime.guards.guard import EffectGuard, HeldCapabilities
from antiphon.runtime.guards.ingress import IngressPolicy, IngressRejected, IngressVerifier, seal_envelope
from antiphon.runtime.guards.keys import load_key
from antiphon.runtime.guards.protocol_guard import ProtocolGuard
from antiphon.runtime.guards.table import build_guard_table
from antiphon.runtime.guards.window import Guarded
from antiphon.runtime.resilience import CircuitBreakers, Timing
from antiphon.runtime.services.anti_entropy import AntiEntropyEffects, execute_anti_entropy
from antiphon.runtime.services.gates import Admission, PeerClaim
from antiphon.runtime.services.sync_config import AntiEntropyConfig
from antiphon.runtime.transports.transport import Connection, PeerUnreachable
from antiphon.testing.disk import FaultyDisk


def _required(family: type[RuntimeEvent]) -> list[Field[str]]:
    return [each for each in fields(family) if each.name != "correlation_id"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_asks_for_each_of_its_fields(family: type[RuntimeEvent]) -> None:
    names = [each.name for each in _required(family)]
    assert names
    for missing in names:
        with pytest.raises(TypeError, match=missing):
            family(**{name: "x" for name in names if name != missing})
    assert family(**dict.fromkeys(names, "x")).data()["event"] == family.name


sessions, owners = st.sampled_from(["s1", "s2"]), st.sampled_from(["a", "b"])
steps = st.one_of(
    st.builds(SessionClaimed, session_id=sessions, fragment_key=st.just("f"), owner=owners),
    st.builds(SessionReleased, session_id=sessions, fragment_key=st.just("f"), owner=owners),
    st.builds(SessionFailed, session_id=sessions, fragment_key=st.just("f"), owner=owners, error_kind=st.just("x")),
    st.builds(ServiceMoved, service=st.just("sync"), from_phase=st.just("x"), to_phase=st.sampled_from(["up", "down"])),
)


@given(st.lists(steps))
def test_owners_and_phases_are_rebuilt_from_the_events(events: list[RuntimeEvent]) -> None:
    owners, phases = dict[str, str](), dict[str, str]()
    for event in events:
        match event:
            case SessionClaimed(session_id=session, owner=owner):
                owners[session] = owner
            case SessionReleased(session_id=session) | SessionFailed(session_id=session):
                owners.pop(session, None)
            case ServiceMoved(service=service, to_phase=phase):
                phases[service] = phase
            case _:
                pass
    assert (owners_of(events), phases_of(events)) == (owners, phases)


def test_a_record_is_structured_and_follows_its_correlation(caplog: pytest.LogCaptureFixture) -> None:
    undo = correlate("request-7")
    with caplog.at_level(logging.INFO, logger="antiphon.events"):
        LoggingSink().emit(SessionClaimed(session_id="s", fragment_key="f", owner="o"))
        undo()
        LoggingSink().emit(SessionClaimed(session_id="s", fragment_key="f", owner="o"))
    first, second = caplog.records
    assert first.antiphon["correlation_id"] == "request-7"  # type: ignore[attr-defined]  # the record's extra field
    assert json.loads(first.getMessage())["event"] == "runtime.session.owner.assigned"
    assert "correlation_id" not in second.antiphon  # type: ignore[attr-defined]  # likewise


def test_the_exporter_hands_every_field_to_opentelemetry() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    TelemetrySink(provider.get_tracer("antiphon")).emit(
        GuardDecided(service="guard", stage="flow", error_kind="insufficient-flow-budget")
    )
    (span,) = exporter.get_finished_spans()
    assert span.name == "guard.decided"
    assert span.attributes is not None
    assert dict(span.attributes) == {"service": "guard", "stage": "flow", "error_kind": "insufficient-flow-budget"}
    TelemetrySink().emit(GuardDecided(service="guard", stage="flow", error_kind=""))  # without a provider: nowhere


def test_a_veiled_name_is_the_same_in_a_run_and_another_in_the_next() -> None:
    one, other = Veil(b"1" * 32), Veil(b"2" * 32)
    assert one.of("ada") == one.of("ada") != other.of("ada")
    assert "ada" not in one.of("ada")


CANARIES = ("canary-text", "canary-peer", "canary-author", "canary-context", "canary-subject", "31337", "canary-role")

CROSSING = compile_choreography(
    """\
module crossing exposing (Crossing)
protocol Crossing =
  roles Here, There
  Here { guard_capability : "crossing:go", flow_cost : 1, link : "bundle=ferry|exports=a" } -> There : Go
"""
)


PLAIN = compile_choreography(
    """\
module plain exposing (Plain)
protocol Plain =
  roles Here, There
  Here -> There : Go
"""
)


class Silent(Fact, kind="evented.silent", version=1):
    text: str


class Nobody:
    """A gate that lets nobody in."""

    async def admit(self, peer: PeerClaim) -> Admission:
        return Admission.denied("not today")


async def guard_something(journal: Journal, token: bytes) -> None:
    """A charge, a leak, an envelope that is delayed and then leaves; refusals at three guards."""
    key = load_key(journal.path / "keys" / "authority.key")
    verifier = TokenVerifier([key.public_key], journal.engine.clock)
    refusals = 1

    async def deliver(letter: Letter) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise PeerUnreachable("canary-peer is away")

    rights = TokenCapabilities(verifier, verifier.verify(token))
    pace = Timing(elapsed_s=lambda: 0.0, sleep=asyncio.sleep, chance=lambda: 0.0)
    async with EffectGuard(journal.engine, capabilities=rights, deliver=deliver, pace=pace) as guard:
        request = SendRequest(
            "talk:say",
            "canary-context",
            "canary-peer",
            "canary-author",
            "talk:say",
            cost=3,
            leaks=(LeakClaim("External", 8),),
            facts=(Silent(text="canary-text"),),
            envelope=b"canary-text",
        )
        await guard.guarded(request)
        assert all(isinstance(end, Guarded) for end in await guard.guarded_all([request] * 3))
        for change in ({"cost": 31_337}, {"capability": "talk:no"}, {"leaks": (LeakClaim("External", 31_337),)}):
            with pytest.raises(GuardRefused) as refused:
                await guard.guarded(request._replace(**change))
            assert all(canary not in refused.value.public() for canary in CANARIES)
        await guard.drained()


async def cross_a_boundary(journal: Journal) -> None:
    """A message of a protocol that a bundle's link carries, and one that is refused there."""
    guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("crossing:go"))
    port = ProtocolGuard(guard, build_guard_table(CROSSING), context="canary-context", authority="canary-author")
    request = GuardRequest(CROSSING.qualified_name, "Here", "There", "Go", b"canary-text", ())
    await port.admit(request)
    await port.sent(request)
    refused = EffectGuard(journal.engine, capabilities=HeldCapabilities())
    port = ProtocolGuard(refused, build_guard_table(CROSSING), context="canary-context", authority="canary-author")
    with pytest.raises(GuardDenied):
        await port.admit(request)


async def play_roles(journal: Journal) -> None:
    """A session that ends well, one that is given up, and somebody who acts while another does."""
    events = journal.engine.events
    here, there = InMemoryHandler.network("Here", "There")
    async with (
        Endpoint.of(PLAIN, "Here", here, events=events) as one,
        Endpoint.of(PLAIN, "There", there, events=events) as other,
    ):
        waiting = asyncio.create_task(other.recv("Here"))
        await asyncio.sleep(0)
        with pytest.raises(EndpointBusy):
            await other.recv("Here")
        await one.send("There", label="Go")
        await waiting
    with pytest.raises(IncompleteProtocol):
        async with Endpoint.of(PLAIN, "Here", InMemoryHandler("Here"), events=events):
            pass


async def meet_peers(journal: Journal, other: Journal) -> None:
    """Facts that arrive, that are known, a peer that is not let in, and one that is linked."""
    async with other.serve("tcp://127.0.0.1:0") as server, journal.link(server.address) as link:
        await link.wait_live()
        await other.commit(Silent(text="canary-text"))
        while journal.fact_count < other.fact_count:
            await journal.sync(server.address)
    async with journal.serve("tcp://127.0.0.1:0", gate=Nobody()) as server:
        assert not (await other.sync(server.address)).is_success


async def miss_a_peer(journal: Journal) -> None:
    """A peer that nobody reaches until its breaker opens."""

    async def open_connection() -> Connection:
        raise PeerUnreachable("canary-peer is away")

    effects = AntiEntropyEffects(
        journal=journal.engine,
        peer="canary-peer",
        open_connection=open_connection,
        breakers=CircuitBreakers(failures_max=1),
    )
    config = AntiEntropyConfig.for_testing()
    result, _ = await execute_anti_entropy("canary-author", config, True, effects, CrdtCoordinator("canary-author"))
    assert not result.is_success()


def take_in(journal: Journal) -> None:
    """An envelope that passes, its repeat, and one that is nobody's."""
    key = load_key(journal.path / "keys" / "authority.key")
    policy = IngressPolicy(
        key_of=lambda source: key.public_key if source == "canary-peer" else None,
        may_send=lambda source, context: True,
        contexts=lambda source: frozenset({"canary-context"}),
        is_member=lambda source, session: True,
    )
    verifier = IngressVerifier(policy, events=journal.engine.events)
    signer = journal.engine.folder.authority
    about: dict[str, Any] = {"context": "canary-context", "payload": b"canary-text"}
    frame = seal_envelope(signer, envelope_id="e1", source="canary-peer", **about)
    verifier.receive(frame)
    stranger = seal_envelope(signer, envelope_id="e2", source="canary-stranger", **about)
    for refused in (frame, stranger, b"no envelope"):
        with pytest.raises(IngressRejected):
            verifier.receive(refused)


@pytest.mark.asyncio
async def test_every_family_is_emitted_where_it_happens_and_tells_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, disk = RingSink(size=10_000), FaultyDisk()
    caplog.set_level(logging.DEBUG)
    async with (
        Journal.open(tmp_path / "a", author="canary-author", types=(Silent,), sinks=(ring,), disk=disk) as journal,
        Journal.open(tmp_path / "b", author="canary-peer", types=(Silent,)) as other,
    ):
        key = load_key(journal.path / "keys" / "authority.key")
        token = issue_token(key.seed, subject="canary-subject", capabilities=["talk:say"])
        await guard_something(journal, token)
        await cross_a_boundary(journal)
        await play_roles(journal)
        await meet_peers(journal, other)
        await miss_a_peer(journal)
        take_in(journal)
        disk.fail("sync")
        with pytest.raises(StoreUnavailable):
            await journal.commit(Silent(text="canary-text"))
        with monkeypatch.context() as patched:
            patched.setattr("antiphon.runtime.engine.seal_run", None)
            with pytest.raises(TypeError):
                await journal.commit(Silent(text="canary-text"), flush=True)
    secrets = [*CANARIES, "canary-stranger", token.hex(), key.seed.hex()]
    told = [event.data() for event in ring.events]
    assert {event["event"] for event in told} == {family.name for family in FAMILIES}
    records = [record.antiphon for record in caplog.records if record.name == "antiphon.events"]  # type: ignore[attr-defined]  # the record's extra field
    assert [canary for canary in secrets if canary in str(told) + str(records)] == []
    assert len(records) >= len(told), "the log is told the same"
    assert owners_of(ring.events) == {}, "every session that began has ended"
    phases = phases_of(ring.events)
    assert (phases["sync.server"], phases["sync.link"], phases["guard.outbox"]) == ("stopped", "left", "stopped")
    tasks = [event for event in ring.events if isinstance(event, TaskSpawned)]
    assert len(tasks) == sum(isinstance(event, TaskEnded) for event in ring.events), "every task that began has ended"
    stages = [event.stage for event in ring.events if isinstance(event, ShutdownStage)]
    assert stages == ["services", "pipeline", "tasks", "stores", "done"]

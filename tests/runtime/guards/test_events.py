"""Events have required fields, tell no secret, and are enough to rebuild who owned what."""

import json
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import Journal
from antiphon.runtime.guards.capabilities import TokenCapabilities, TokenVerifier, issue_token
from antiphon.runtime.guards.commands import GuardRefused, LeakClaim
from antiphon.runtime.guards.events import (
    FAMILIES,
    DelegationMoved,
    GuardDecided,
    LoggingSink,
    RingSink,
    RuntimeEvent,
    ServiceMoved,
    SessionClaimed,
    SessionReleased,
    TelemetrySink,
    Veil,
    correlate,
    owners_of,
    phases_of,
)
from antiphon.runtime.guards.guard import EffectGuard
from antiphon.runtime.guards.keys import load_key

OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_asks_for_each_of_its_fields(family: type[RuntimeEvent]) -> None:
    names = [each.name for each in fields(family)]
    assert names
    for missing in names:
        with pytest.raises(TypeError, match=missing):
            family(**{name: "x" for name in names if name != missing})
    assert family(**dict.fromkeys(names, "x")).data()["event"] == family.name


sessions, owners = st.sampled_from(["s1", "s2"]), st.sampled_from(["a", "b"])
steps = st.one_of(
    st.builds(SessionClaimed, session_id=sessions, fragment_key=st.just("f"), owner=owners),
    st.builds(SessionReleased, session_id=sessions, fragment_key=st.just("f"), owner=owners),
    st.builds(
        DelegationMoved,
        session_id=sessions,
        fragment_key=st.just("f"),
        from_owner=owners,
        to_owner=owners,
        step=st.sampled_from(["start", "commit", "rollback", "reject"]),
    ),
    st.builds(ServiceMoved, service=st.just("sync"), from_phase=st.just("x"), to_phase=st.sampled_from(["up", "down"])),
)


@given(st.lists(steps))
def test_owners_and_phases_are_rebuilt_from_the_events(events: list[RuntimeEvent]) -> None:
    owners, phases = dict[str, str](), dict[str, str]()
    for event in events:
        match event:
            case (
                SessionClaimed(session_id=session, owner=owner)
                | DelegationMoved(session_id=session, to_owner=owner, step="commit")
            ):
                owners[session] = owner
            case SessionReleased(session_id=session):
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


def test_the_exporter_hands_every_field_to_a_tracer() -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    class Span:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    class Tracer:
        def start_as_current_span(self, name: str, *, attributes: dict[str, str]) -> Span:
            seen.append((name, attributes))
            return Span()

    TelemetrySink(Tracer()).emit(GuardDecided(service="guard", stage="flow", error_kind="insufficient-flow-budget"))
    assert seen == [("guard.decided", {"service": "guard", "stage": "flow", "error_kind": "insufficient-flow-budget"})]


def test_a_veiled_name_is_the_same_in_a_run_and_another_in_the_next() -> None:
    one, other = Veil(b"1" * 32), Veil(b"2" * 32)
    assert one.of("ada") == one.of("ada") != other.of("ada")
    assert "ada" not in one.of("ada")


@pytest.mark.asyncio
async def test_no_secret_identity_or_number_reaches_a_log(
    open_journal: OpenJournal, kit: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    canaries = ["canary-text", "canary-peer", "canary-author", "canary-context", "31337"]
    ring = RingSink()
    async with open_journal() as journal:
        key = load_key(journal.path / "keys" / "authority.key")
        token = issue_token(key.seed, subject="canary-subject", capabilities=["talk:say"])
        verifier = TokenVerifier([key.public_key], journal.engine.clock)
        rights = TokenCapabilities(verifier, verifier.verify(token))
        with caplog.at_level(logging.DEBUG):
            sinks = (ring, LoggingSink())
            guard = EffectGuard(journal.engine, capabilities=rights, sinks=sinks)
            about = {"peer": canaries[1], "authority": canaries[2], "context": canaries[3]}
            await guard.guarded(kit.request(canaries[0], **about))
            denied = [
                kit.request(canaries[0], **about, cost=31_337),
                kit.request(canaries[0], **about, capability="talk:no"),
                kit.request(canaries[0], **about, leaks=(LeakClaim("External", 31_337),)),
            ]
            for request in denied:
                with pytest.raises(GuardRefused) as refused:
                    await guard.guarded(request)
                assert all(canary not in refused.value.public() for canary in canaries)
        secrets = [*canaries, "canary-subject", token.hex(), key.seed.hex()]
        text = caplog.text + str([event.data() for event in ring.events])
        assert len(ring.events) == 4
        assert [canary for canary in secrets if canary in text] == []
        kinds = [event.error_kind for event in ring.events if isinstance(event, GuardDecided)]
        assert kinds == ["", "insufficient-flow-budget", "missing-capability", "insufficient-leakage-budget"]

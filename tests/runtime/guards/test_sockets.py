"""Guarded messages over real sockets: durable first, signed by their sender, believed once after eight checks."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace

import pytest

from antiphon import Journal
from antiphon.journal.guard_book import Letter
from antiphon.runtime.guards.guard import EffectGuard, OwnerCapabilities
from antiphon.runtime.guards.ingress import (
    IngressCheck,
    IngressPolicy,
    IngressRejected,
    IngressVerifier,
    VerifiedIngress,
    seal_envelope,
)
from antiphon.runtime.transports.reach import EVERY_TRANSPORT
from antiphon.runtime.transports.transport import Listener, PeerLost

OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]


async def serve(listener: Listener, verifier: IngressVerifier, taken: list[VerifiedIngress], *, losses: int) -> None:
    """Believe, then answer; the first answers are lost, as on a line that breaks."""
    while True:
        connection = await listener.accept()
        try:
            frame = await connection.receive()
            try:
                taken.append(verifier.receive(frame))
            except IngressRejected as problem:
                if problem.check is not IngressCheck.REPLAY_FRESHNESS:
                    raise
            if losses:
                losses -= 1
                connection.drop()
            else:
                await connection.send(b"ok")
        finally:
            await connection.close()


@pytest.mark.asyncio
async def test_a_message_crosses_a_real_socket_after_its_frame_and_is_believed_once(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    taken: list[VerifiedIngress] = []
    listener = await EVERY_TRANSPORT.listen("tcp://127.0.0.1:0")
    async with open_journal() as journal:
        signer = journal.engine.folder.authority
        policy = IngressPolicy(
            key_of=lambda source: signer.public_key if source == "ada" else None,
            may_send=lambda source, context: True,
            contexts=lambda source: frozenset({"home"}),
            is_member=lambda source, session: True,
        )

        async def deliver(letter: Letter) -> None:
            rows = await journal.sql("select count(*) from guarded_said")
            assert rows.fetchall() == [(1,)], "its fact is durable before it leaves"
            connection = await EVERY_TRANSPORT.connect(listener.address, timeout=5)
            try:
                frame = seal_envelope(
                    signer, envelope_id=letter.envelope_id, source="ada", context=letter.context, payload=letter.data
                )
                await connection.send(frame)
                if await connection.receive() != b"ok":
                    raise PeerLost("another answer")
            finally:
                await connection.close()

        async with asyncio.TaskGroup() as group:
            server = group.create_task(serve(listener, IngressVerifier(policy), taken, losses=2))
            async with EffectGuard(
                journal.engine, capabilities=OwnerCapabilities(), deliver=deliver, pace=kit.pace
            ) as guard:
                await guard.guarded(kit.request("over the wire"))
                await guard.drained()
                assert guard.book.letters == ()
            server.cancel()
    await listener.close()
    assert [each.payload for each in taken] == [b"over the wire"]

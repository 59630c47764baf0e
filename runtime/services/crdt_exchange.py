"""Coordinators meet on the connection of a session: after the facts, question by question, chunk by chunk.

It stands beside the session and not in it: facts are signed and kept by a journal, CRDT state is a protocol's, merged
in good faith and handed back. The two share a connection by the kind of their frames. A frame of the exchange is

    u8 version (1) ‖ u8 kind (32) ‖ u8 word ‖ u8 is_last ‖ part of a body

The requester asks for each kind of state that it holds until it lacks nothing, then lets the responder ask. Whatever
goes wrong leaves both coordinators as they were handed in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import IntEnum

from antiphon.facts import AntiphonError
from antiphon.journal.coordinator import CrdtCoordinator
from antiphon.journal.crdt.kinds import CrdtKind
from antiphon.journal.crdt.messages import Deltas, FullState, Operations, SyncRequest, SyncResponse
from antiphon.journal.crdt_errors import CrdtError
from antiphon.journal.lattice import STATE_BYTES_MAX
from antiphon.journal.sync.messages import FRAME_BYTES_MAX, HEAD_BYTES, WIRE_VERSION

from ..transports.transport import Connection, PeerLost
from ..transports.wrapped import WrappedConnection
from .sync_errors import SyncErrorCode, SyncFailure, sync_failure

EXCHANGE_KIND = 32
CHUNK_BYTES_MAX = 256 * 1024
# What may arrive before it is waited for: one question, which a peer may send while our session is still ending.
STASH_BYTES_MAX = STATE_BYTES_MAX + FRAME_BYTES_MAX
BODY_BYTES_MAX = STATE_BYTES_MAX + 64 * 1024
_HEAD_BYTES = HEAD_BYTES + 2


class Word(IntEnum):
    """What a message of the exchange is."""

    REQUEST = 1
    RESPONSE = 2
    NOT_HELD = 3
    YOUR_TURN = 4
    DONE = 5
    FAILED = 6


class SharedConnection(WrappedConnection):
    """One connection for a session and an exchange after it; ``close`` of the session leaves it open."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._stash: deque[bytes] = deque()
        self._stashed = 0
        self._is_left = False

    async def receive(self) -> bytes:
        """The next frame of the session; frames of the exchange are put by for later."""
        while _is_exchange(frame := await self._connection.receive()):
            self._stashed += len(frame)
            if self._stashed > STASH_BYTES_MAX:
                raise PeerLost("the peer sent more of the exchange than could be put by")
            self._stash.append(frame)
        return frame

    async def close(self) -> None:
        """The session is over; the connection goes on."""
        self._is_left = True

    async def send_word(self, word: Word, body: bytes = b"") -> None:
        """Say a word of the exchange, in as many frames as it takes."""
        for start in range(0, max(1, len(body)), CHUNK_BYTES_MAX):
            part = body[start : start + CHUNK_BYTES_MAX]
            is_last = start + CHUNK_BYTES_MAX >= len(body)
            await self._connection.send(bytes((WIRE_VERSION, EXCHANGE_KIND, word, is_last)) + part)

    async def receive_word(self, *, timeout_s: float) -> tuple[Word, bytes]:
        """The next word of the exchange, whole. Raises ``SyncFailure`` and ``PeerLost``."""
        parts: list[bytes] = []
        size = 0
        while True:
            frame = await self._next(timeout_s)
            if not _is_exchange(frame) or len(frame) < _HEAD_BYTES or frame[2] not in set(Word):
                raise sync_failure(SyncErrorCode.VERIFICATION_FAILED, "the peer sent something else than CRDT state")
            parts.append(frame[_HEAD_BYTES:])
            size += len(parts[-1])
            if size > BODY_BYTES_MAX:
                raise sync_failure(SyncErrorCode.VERIFICATION_FAILED, f"a CRDT message of more than {BODY_BYTES_MAX}")
            if frame[3]:
                return Word(frame[2]), b"".join(parts)

    async def _next(self, timeout_s: float) -> bytes:
        if self._stash:
            return self._stash.popleft()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connection.receive()
        except TimeoutError as problem:
            text = f"nothing heard for {timeout_s:g} s while CRDT state was exchanged"
            raise sync_failure(SyncErrorCode.TIMEOUT, text) from problem


def held_kinds(coordinator: CrdtCoordinator) -> list[CrdtKind]:
    """The kinds of state that a coordinator holds."""
    return [kind for kind in CrdtKind if coordinator.has_handler(kind)]


async def lead_exchange(
    channel: SharedConnection, coordinator: CrdtCoordinator, *, session: str, rounds_max: int, timeout_s: float
) -> CrdtCoordinator:
    """Ask first, then answer: the requester's half. Says nothing when the coordinator holds nothing."""
    if not held_kinds(coordinator):
        return coordinator
    exchange = _Exchange(channel, coordinator, f"{session}-requester", rounds_max, timeout_s)
    return await exchange.run(is_leading=True)


async def follow_exchange(
    channel: SharedConnection, coordinator: CrdtCoordinator, *, session: str, rounds_max: int, timeout_s: float
) -> CrdtCoordinator:
    """Answer first, then ask: the responder's half. A peer that goes without a word has nothing to exchange."""
    exchange = _Exchange(channel, coordinator, f"{session}-responder", rounds_max, timeout_s)
    return await exchange.run(is_leading=False)


class _Exchange:
    def __init__(
        self, channel: SharedConnection, coordinator: CrdtCoordinator, session: str, rounds_max: int, timeout_s: float
    ) -> None:
        self._channel = channel
        self._coordinator = coordinator
        self._session = session
        self._rounds_max = rounds_max
        self._timeout_s = timeout_s
        self._heard = False

    async def run(self, *, is_leading: bool) -> CrdtCoordinator:
        try:
            if is_leading:
                await self._ask_all()
                await self._channel.send_word(Word.YOUR_TURN)
                await self._answer_until(Word.DONE)
            else:
                await self._answer_until(Word.YOUR_TURN)
                await self._ask_all()
                await self._channel.send_word(Word.DONE)
        except PeerLost as problem:
            if not is_leading and not self._heard:
                return self._coordinator
            text = f"the peer went away before CRDT state was exchanged ({problem})"
            raise sync_failure(SyncErrorCode.NETWORK if self._heard else SyncErrorCode.NOT_FOUND, text) from problem
        except CrdtError as problem:
            await self._tell_failed(problem)
            raise sync_failure(SyncErrorCode.CRDT, f"CRDT state was not merged: {problem}") from problem
        return self._coordinator

    async def _ask_all(self) -> None:
        for kind in held_kinds(self._coordinator):
            for number in range(self._rounds_max):
                if not await self._ask(kind, number):
                    break
            else:
                text = f"{kind.value} state was not whole after {self._rounds_max} answers"
                raise sync_failure(SyncErrorCode.CRDT, text)

    async def _ask(self, kind: CrdtKind, number: int) -> bool:
        """Ask once; whether there is more."""
        session = f"{self._session}-{kind.value}-{number}"
        request, self._coordinator = self._coordinator.create_sync_request(session, kind)
        await self._channel.send_word(Word.REQUEST, request.to_bytes())
        word, body = await self._listen()
        if word is Word.NOT_HELD:
            return False
        if word is not Word.RESPONSE:
            raise sync_failure(SyncErrorCode.VERIFICATION_FAILED, f"{word.name} where a response was due")
        response = SyncResponse.from_bytes(body)
        self._coordinator = self._coordinator.handle_sync_response(response)
        return _is_partial(response)

    async def _answer_until(self, last: Word) -> None:
        while True:
            word, body = await self._listen()
            if word is last:
                return
            if word is not Word.REQUEST:
                raise sync_failure(SyncErrorCode.VERIFICATION_FAILED, f"{word.name} where a request was due")
            request = SyncRequest.from_bytes(body)
            if not self._coordinator.has_handler(request.kind):
                await self._channel.send_word(Word.NOT_HELD)
                continue
            response, self._coordinator = self._coordinator.handle_sync_request(request)
            await self._channel.send_word(Word.RESPONSE, response.to_bytes())

    async def _listen(self) -> tuple[Word, bytes]:
        word, body = await self._channel.receive_word(timeout_s=self._timeout_s)
        self._heard = True
        if word is Word.FAILED:
            raise sync_failure(SyncErrorCode.CRDT, "the peer could not merge CRDT state")
        return word, body

    async def _tell_failed(self, problem: AntiphonError) -> None:
        try:
            await self._channel.send_word(Word.FAILED)
        except PeerLost as lost:
            problem.add_note(f"the peer could not be told: {lost}")


def _is_partial(response: SyncResponse) -> bool:
    match response.data:
        case Deltas(is_partial=is_partial) | Operations(is_partial=is_partial):
            return is_partial
        case FullState(is_fallback=is_fallback):
            # Fragments were compacted away; what follows on the state may be more than one answer.
            return is_fallback
        case _:
            return False


def _is_exchange(frame: bytes) -> bool:
    return len(frame) >= HEAD_BYTES and frame[1] == EXCHANGE_KIND


__all__ = ["SharedConnection", "SyncFailure", "Word", "follow_exchange", "held_kinds", "lead_exchange"]

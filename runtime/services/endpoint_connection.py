"""A connection for a sync session over any handler of choreographies: each frame a message of `anti_entropy.tell`.

Two endpoints, one for each direction, check every word before it leaves and when it arrives. Slower than frames over a
transport, which is what sessions use by themselves; the same session comes to the same result over both.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..choreography import ChannelClosed, ChoreoHandler, JsonCodec, TransportFailed
from ..choreography.endpoint import Endpoint
from ..transports.transport import ByteCounts, PeerLost, check_frame, wire_size
from .words import END, HEARER, LABELS, SPEAKER, anti_entropy, label_of_frame


@dataclass(frozen=True, slots=True)
class Frame:
    """A word of a session, as its bytes."""

    frame: bytes


def frame_codec() -> JsonCodec:
    """A codec under which frames travel as they are; give it to the handlers that carry a session."""
    codec = JsonCodec()
    codec.register(Frame, write=lambda message: message.frame, read=Frame)
    return codec


class EndpointConnection:
    """One side of a session over two handlers: *speaking* is the Speaker's of one run, *hearing* the Hearer's of the
    other; each with the session object that it works with."""

    def __init__(
        self,
        speaking: ChoreoHandler[Any],
        hearing: ChoreoHandler[Any],
        *,
        peer: str,
        sessions: tuple[object, object] = (None, None),
    ) -> None:
        protocol = anti_entropy()
        known: dict[str, type[object]] = dict.fromkeys(LABELS.values(), Frame)
        codec = frame_codec()
        self._speaker = Endpoint.of(protocol, SPEAKER, speaking, sessions[0], messages=known, codec=codec)
        self._hearer = Endpoint.of(protocol, HEARER, hearing, sessions[1], messages=known, codec=codec)
        self._handlers = ((speaking, sessions[0]), (hearing, sessions[1]))
        self._peer = peer
        self._sent = self._received = 0
        self._is_closed = False
        self._is_over = False

    @property
    def peer(self) -> str:
        """Who is at the other end, for people."""
        return self._peer

    @property
    def counts(self) -> ByteCounts:
        """Bytes of frames, as TCP would count them."""
        return ByteCounts(self._sent, self._received)

    async def send(self, *frames: bytes) -> None:
        """Send each frame under its word's label. Raises ``ProtocolViolation`` and ``PeerLost``."""
        if self._is_closed:
            raise PeerLost(f"{self._peer}: this end is closed")
        for frame in frames:
            check_frame(frame)
            try:
                await self._speaker.send(HEARER, Frame(frame), label=label_of_frame(frame))
            except (ChannelClosed, TransportFailed) as problem:
                raise PeerLost(f"{self._peer}: {problem}") from problem
            self._sent += wire_size(frame)

    async def receive(self) -> bytes:
        """The next frame."""
        if self._is_over:
            raise PeerLost(f"{self._peer}: the peer closed the connection")
        try:
            label, message = await self._hearer.offer(SPEAKER)
        except (ChannelClosed, TransportFailed) as problem:
            raise PeerLost(f"{self._peer}: {problem}") from problem
        if label == END:
            self._is_over = True
            return await self.receive()
        assert isinstance(message, Frame), "every word but the end has a frame"
        self._received += wire_size(message.frame)
        return message.frame

    async def close(self) -> None:
        """Say that no more will come, and let both sessions go."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(ChannelClosed, TransportFailed):  # then there is nobody to tell
            await self._speaker.choose(HEARER, END)
        for handler, session in self._handlers:
            await handler.close(session)

    def drop(self) -> None:
        """Send and receive no more."""
        self._is_closed = True
        self._is_over = True

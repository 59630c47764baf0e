"""Roles over connections: one session for each peer, and, given a role's machine, sessions that really keep to it.

A frame is one item: its kind, its label, its message. Opens no connection: transports do, and hand them over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from antiphon.choreography import StateMachine, Violation
from antiphon.choreography.fsm import show_step
from antiphon.choreography.merge import Step
from antiphon.facts import LocalViolation
from antiphon.journal.sync.messages import FRAME_BYTES_MAX

from ...transports.memory import memory_pair
from ...transports.streams import StreamConnection
from ...transports.transport import Connection, PeerLost, TransportError
from ..codec import JSON, Codec
from ..errors import (
    ChannelClosed,
    ChannelSendFailed,
    MalformedMessage,
    NoPeerChannel,
    ProtocolViolation,
    SerializationFailed,
    UnexpectedMessage,
)
from ..handler import ChoreoHandler, label_of
from ..timed_words import TimedWord
from .memory import Item, cut_off

T = TypeVar("T")

# The first byte of a frame.
_LABEL, _MESSAGE = b"\x00", b"\x01"
LABEL_BYTES_MAX = 0xFFFF


def item_frame(item: Item) -> bytes:
    """An item as a frame: kind, length of the label in two bytes, label, message. Raises ``SerializationFailed``."""
    try:
        label = item.label.encode()
    except UnicodeEncodeError as problem:
        raise SerializationFailed(ascii(item.label[:80]), str(problem)) from problem
    if len(label) > LABEL_BYTES_MAX:
        reason = f"a label of {len(label):,} bytes; {LABEL_BYTES_MAX:,} are allowed"
        raise SerializationFailed(item.label[:80], reason)
    frame = b"".join(
        (_LABEL if item.data is None else _MESSAGE, len(label).to_bytes(2, "big"), label, item.data or b"")
    )
    if len(frame) > FRAME_BYTES_MAX:
        raise SerializationFailed(item.label[:80], f"{len(frame):,} bytes; a frame has at most {FRAME_BYTES_MAX:,}")
    return frame


def frame_item(frame: bytes) -> Item:
    """The item of a frame. Raises ``MalformedMessage``."""
    length = int.from_bytes(frame[1:3], "big")
    kind, label, data = frame[:1], frame[3 : 3 + length], frame[3 + length :]
    is_whole = len(frame) >= 3 + length and kind in (_LABEL, _MESSAGE) and not (kind == _LABEL and data)
    try:
        if is_whole:
            return Item(label.decode(), data if kind == _MESSAGE else None)
    except UnicodeDecodeError:
        pass
    raise MalformedMessage("item", f"a frame of {len(frame):,} bytes that begins with {frame[:8].hex()}")


class Session:
    """Items with one peer over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._front: Item | None = None
        self._is_closed = False

    @classmethod
    def pair(cls, *, first: str = "first", second: str = "second") -> tuple[Session, Session]:
        """Two connected ends in one process; the names are for people."""
        here, there = memory_pair(first=first, second=second)
        return cls(here), cls(there)

    @classmethod
    def from_stream(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, peer: str = "a stream"
    ) -> Session:
        """Over streams that were opened already, as by ``asyncio.open_connection``; *peer* is for people."""
        return cls(StreamConnection(reader, writer, peer=peer))

    @property
    def is_closed(self) -> bool:
        """Whether this end let go."""
        return self._is_closed

    async def put(self, item: Item) -> None:
        """Send an item."""
        frame = item_frame(item)
        if self._is_closed:
            raise ChannelClosed(self._connection.peer, "send")
        try:
            await self._connection.send(frame)
        except PeerLost as problem:
            raise ChannelClosed(self._connection.peer, "send") from problem
        except TransportError as problem:
            reason = str(problem)
            raise ChannelSendFailed(sender="this role", receiver=self._connection.peer, reason=reason) from problem

    async def front(self) -> Item:
        """The next item, left where it is."""
        if self._front is None:
            if self._is_closed:
                raise ChannelClosed(self._connection.peer, "receive")
            try:
                frame = await self._connection.receive()
            except PeerLost as problem:
                raise ChannelClosed(self._connection.peer, "receive") from problem
            self._front = frame_item(frame)
        return self._front

    def take(self) -> None:
        """Remove the next item, which was looked at."""
        self._front = None

    async def close(self) -> None:
        """Let go; what was sent is still received."""
        if not self._is_closed:
            self._is_closed = True
            await self._connection.close()


class SessionMetadata(NamedTuple):
    """How the session with a peer stands: the last kind of operation, how many succeeded, and whether it is over."""

    state: str
    operation_count: int
    is_complete: bool


@dataclass(slots=True)
class _Peer:
    session: Session
    last: str = "Initial"
    operations: int = 0


@dataclass(slots=True)
class TelltaleEndpoint:
    """A role's sessions by peer. With a ``machine``, which must be the role's, every operation must be its next step.

    Where the machine has timed parts, what comes next is agreed among the roles (``timed_words.py``), which a session
    does not follow: then every operation must be one that the machine has at all, and the endpoint watches the order.
    """

    role: str
    machine: StateMachine | None = None
    _state: int = 0
    _peers: dict[str, _Peer] = field(default_factory=dict)
    _is_ordered: bool = field(init=False)
    _steps: frozenset[Step] = field(init=False)

    def __post_init__(self) -> None:
        self._check_role()
        states = self.machine.states if self.machine is not None else ()
        self._is_ordered = all(state.kind != "timeout" for state in states)
        self._steps = frozenset(step for state in states for one in state.transitions if (step := one.step) is not None)

    def _check_role(self) -> None:
        """Told here, since a machine in the wrong place would be none, and every operation would pass."""
        role: object = self.role
        if not role or not isinstance(role, str):
            seen = repr(role) if isinstance(role, str) else f"an object of {type(role).__name__}"
            raise LocalViolation(f"a role is a name, and {seen} is none; write TelltaleEndpoint(role, machine)")
        whose = self.role if self.machine is None else getattr(self.machine, "role", None)
        if whose != self.role:
            seen = f"that of {whose}" if whose is not None else f"{self.machine!r:.40}, which is none"
            raise LocalViolation(f"{self.role} needs its own machine, and got {seen}; take protocol.fsm[{self.role!r}]")

    def register(self, peer: str, session: Session) -> None:
        """Talk to *peer* over *session*; a second registration takes the place of the first."""
        self._peers[peer] = _Peer(session)

    def has_channel(self, peer: str) -> bool:
        """Whether a session with this peer is open."""
        found = self._peers.get(peer)
        return found is not None and not found.session.is_closed

    async def close_channel(self, peer: str) -> bool:
        """Close the session with a peer; whether there was one."""
        found = self._peers.pop(peer, None)
        if found is not None:
            await found.session.close()
        return found is not None

    async def close_all(self) -> None:
        """Close every session; they stay known as closed."""
        for found in self._peers.values():
            await found.session.close()

    @property
    def active_count(self) -> int:
        """How many sessions are open."""
        return sum(not found.session.is_closed for found in self._peers.values())

    @property
    def is_all_closed(self) -> bool:
        """Whether none is."""
        return self.active_count == 0

    @property
    def state(self) -> int:
        """The machine's state; 0 without a machine."""
        return self._state

    @property
    def is_complete(self) -> bool:
        """Whether the machine says that the role is done; of timed parts it does not know."""
        return self._is_ordered and self.machine is not None and self.machine.is_final(self._state)

    def metadata(self, peer: str) -> SessionMetadata:
        """How the session with a peer stands. Raises ``NoPeerChannel``."""
        found = self.peer(peer)
        return SessionMetadata(found.last, found.operations, self.is_complete or found.session.is_closed)

    def peer(self, name: str) -> _Peer:
        """The session with a peer and its account. Raises ``NoPeerChannel``."""
        found = self._peers.get(name)
        if found is None:
            raise NoPeerChannel(name, self._peers)
        return found

    def check(self, step: Step) -> int:
        """The state after a step of this role. Raises ``ProtocolViolation``, and nothing has happened."""
        if self.machine is None or TimedWord.read(step.label) is not None:
            return self._state
        if not self._is_ordered:
            if step.direction == "send" and step not in self._steps:
                raise ProtocolViolation(self.role, actual=show_step(step), expected=sorted(map(show_step, self._steps)))
            return self._state
        after = self.machine.step(self._state, step)
        if isinstance(after, Violation):
            raise ProtocolViolation.of(after)
        return after

    def check_receive(self, sender: str) -> list[str] | None:
        """The labels that may come from *sender* now; None without a machine. Raises ``ProtocolViolation``."""
        if self.machine is None or not self._is_ordered:
            return None
        expected = self.machine.expected(self._state)
        labels = [step.label for step in expected if step.direction == "recv" and step.partner == sender]
        if not labels:
            shown = [show_step(step) for step in expected]
            raise ProtocolViolation(self.role, actual=f"receive from {sender}", expected=shown)
        return labels

    def is_alone(self, step: Step) -> bool:
        """Whether a label travels alone in this step; without a machine, yes."""
        found = None if self.machine is None or not self._is_ordered else self.machine.find(self._state, step)
        return found is None or found.message is None

    def moved(self, peer: _Peer, operation: str, after: int | None) -> None:
        """Count an operation that succeeded; *after* None leaves the state."""
        peer.last = operation
        peer.operations += 1
        if after is not None:
            self._state = after


class TelltaleHandler(ChoreoHandler[TelltaleEndpoint]):
    """One role's messages over the sessions of its ``TelltaleEndpoint``; a refused operation leaves them open."""

    def __init__(self, role: str, *, codec: Codec = JSON) -> None:
        self.role = role
        self._codec = codec

    async def send(self, endpoint: TelltaleEndpoint, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        peer = endpoint.peer(to)
        step = Step("send", to, label_of(message))
        after = endpoint.check(step)
        await peer.session.put(Item(step.label, self._codec.encode(message)))
        endpoint.moved(peer, "Send", after)

    async def recv(
        self, endpoint: TelltaleEndpoint, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``ChoreoHandler``."""
        peer = endpoint.peer(sender)
        allowed = endpoint.check_receive(sender)
        found, data = await peer.session.front()
        wanted = label if label is not None else kind.__name__ if kind is not None else found
        if found != wanted or data is None or (allowed is not None and found not in allowed):
            actual = found if data is not None else f"the label {found}"
            raise UnexpectedMessage(sender, actual=actual, expected=allowed or [wanted])
        message = self._codec.decode(data, kind, label=found)
        after = endpoint.check(Step("recv", sender, found))
        peer.session.take()
        endpoint.moved(peer, "Recv", after)
        return message

    async def choose(self, endpoint: TelltaleEndpoint, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        peer = endpoint.peer(to)
        step = Step("send", to, label)
        after = endpoint.check(step)
        if endpoint.machine is not None and not endpoint.is_alone(step):
            raise ProtocolViolation(
                endpoint.role, actual=f"choose {label} alone", expected=[f"send the message {label}"]
            )
        await peer.session.put(Item(label, None))
        endpoint.moved(peer, "Choose", after)

    async def offer(self, endpoint: TelltaleEndpoint, sender: str) -> str:
        """See ``ChoreoHandler``."""
        peer = endpoint.peer(sender)
        allowed = endpoint.check_receive(sender)
        found, data = await peer.session.front()
        if allowed is not None and found not in allowed:
            raise UnexpectedMessage(sender, actual=found, expected=allowed)
        if data is None:
            after = endpoint.check(Step("recv", sender, found))
            peer.session.take()
            endpoint.moved(peer, "Offer", after)
        else:
            endpoint.moved(peer, "Offer", None)
        return found

    async def with_timeout(self, endpoint: TelltaleEndpoint, at: str, seconds: float, body: Awaitable[T]) -> T:
        """See ``ChoreoHandler``."""
        return await cut_off(self.role, at, seconds, body)

    async def close(self, endpoint: TelltaleEndpoint) -> None:
        """See ``ChoreoHandler``."""
        await endpoint.close_all()

"""What a transport promises: whole frames, in order, each at most once, until one side closes.

Does not know what a frame says. A frame here is the bytes behind the length (version, kind, body); byte counts include
the four bytes of the length, so that they are what a wire carries, whichever transport it is.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from antiphon.facts import AntiphonError, LocalViolation
from antiphon.journal.sync.messages import FRAME_BYTES_MAX, LENGTH_BYTES

SCHEME = "tcp"
PORT_MAX = 65_535


class TransportError(AntiphonError):
    """Root of what can go wrong between two replicas while neither of them broke a rule; trying again may work."""


class PeerUnreachable(TransportError):
    """Nobody answers at an address."""


class PeerLost(TransportError):
    """The connection ended: the peer closed it, died, or the network did."""


class ByteCounts(NamedTuple):
    """What went over a connection so far, lengths included."""

    sent: int
    received: int


class Connection(Protocol):
    """A two-way stream of frames. One task may receive while another sends; neither call is for two tasks at once."""

    @property
    def peer(self) -> str:
        """Who is at the other end, for people."""
        ...

    @property
    def counts(self) -> ByteCounts:
        """Bytes sent and received so far."""
        ...

    async def send(self, *frames: bytes) -> None:
        """Hand over *frames* together, and wait while the peer is slow. Raises ``PeerLost``."""
        ...

    async def receive(self) -> bytes:
        """The next frame. Cancelling it loses nothing.

        Raises ``PeerLost`` after the last frame of a peer that is gone, and ``OversizedFrame`` when a length is beyond
        what a frame may have; then the body is not read and the connection can only be closed.
        """
        ...

    async def close(self) -> None:
        """Send what was handed over, say that no more will come, and let go. Idempotent; never raises ``PeerLost``."""
        ...

    def drop(self) -> None:
        """Let go at once, without a word."""
        ...


class Listener(Protocol):
    """An open address; connections wait in ``accept`` until somebody takes them up."""

    @property
    def address(self) -> str:
        """Where peers connect."""
        ...

    async def accept(self) -> Connection:
        """The next connection."""
        ...

    async def close(self) -> None:
        """Stop listening; connections that nobody took up are dropped."""
        ...


class Connect(Protocol):
    """How a peer at an address is reached. Raises ``PeerUnreachable`` when nobody answers within *timeout* seconds."""

    async def __call__(self, address: str, /, *, timeout: float) -> Connection:
        """Connect."""
        ...


class Listen(Protocol):
    """How an address is opened; port 0 asks for a free one."""

    async def __call__(self, address: str, /) -> Listener:
        """Listen."""
        ...


class TcpAddress(NamedTuple):
    """A host name or number, a port, and whether what goes there is plain (``tcp``) or secret (``tls``)."""

    host: str
    port: int
    scheme: str = SCHEME

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(text: str) -> TcpAddress:
    """Read ``tcp://host:port`` or ``tls://host:port``; port 0 asks for a free one. Raises ``LocalViolation``.

    >>> parse_address("tcp://127.0.0.1:7070")
    TcpAddress(host='127.0.0.1', port=7070, scheme='tcp')
    >>> str(parse_address("tcp://[::1]:7070"))
    'tcp://[::1]:7070'
    """
    scheme, separator, rest = text.partition("://")
    found = host_and_port(rest) if separator and scheme in (SCHEME, "tls") else None
    if found is None:
        raise LocalViolation(f"{text!r} is no address; expected tcp://host:port, such as tcp://127.0.0.1:7070")
    host, port = found
    if port > PORT_MAX:
        raise LocalViolation(f"{text!r} names port {port}; ports are 0..{PORT_MAX}")
    return TcpAddress(host, port, scheme)


def host_and_port(text: str) -> tuple[str, int] | None:
    """Read ``host:port``, IPv6 in brackets; None for anything else. The port may be too high."""
    host, colon, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if is_bracketed else host
    is_whole = colon and bare and port.isascii() and port.isdigit() and len(port) < 10
    if not is_whole or (":" in bare and not is_bracketed) or set(bare) & set("/?#@ []"):
        return None
    return bare, int(port)


def wire_size(frame: bytes) -> int:
    """Bytes of a frame on a wire."""
    return LENGTH_BYTES + len(frame)


def check_frame(frame: bytes) -> None:
    """Assert that a frame of ours is one that a peer will read."""
    assert 0 < len(frame) <= FRAME_BYTES_MAX, "a frame is 1 byte to 1 MiB"

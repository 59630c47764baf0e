"""One way to every transport: the scheme of an address says which, and its library is loaded then.

tcp://host:port   tls://host:port   unix:///path   ws://host:port/path   wss://…   nats://host:port/room/name
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from antiphon.facts import LocalViolation

from .tcp import CONNECT_TIMEOUT_S
from .tls import Tls
from .transport import Connection, Listener, parse_address


class _Ways(NamedTuple):
    check: Callable[[str], bool]  # whether it can be connected to, or only listened at
    connect: Callable[..., Awaitable[Connection]]
    listen: Callable[..., Awaitable[Listener]]


@dataclass(frozen=True, slots=True)
class Transports:
    """All transports, with one set of certificates for those that need any."""

    tls: Tls | None = None

    async def connect(self, address: str, /, *, timeout: float = CONNECT_TIMEOUT_S) -> Connection:
        """Connect within *timeout* seconds. Raises ``LocalViolation``, ``MissingExtra`` and ``PeerUnreachable``."""
        return await self._ways(address).connect(address, timeout=timeout)

    async def listen(self, address: str, /) -> Listener:
        """Listen; port 0 asks for a free one. Raises ``LocalViolation`` and ``MissingExtra``."""
        return await self._ways(address).listen(address)

    def _ways(self, address: str) -> _Ways:
        return _ways(address, self.tls)


EVERY_TRANSPORT = Transports()
"""All of them, and the system's own certificates."""


def check_address(address: str, *, is_to_connect: bool = False) -> None:
    """Raise ``LocalViolation`` for what is no address, or is only for listening; ``MissingExtra`` without its library.

    >>> check_address("unix:///run/notes.sock")
    """
    can_connect = _ways(address, None).check(address)
    if is_to_connect and not can_connect:
        raise LocalViolation(f"{address!r} names port 0, which is for serving; take the address the server shows")


def _ways(address: str, tls: Tls | None) -> _Ways:
    scheme = address.partition("://")[0]
    makers: dict[str, Callable[[Tls | None], _Ways]] = {
        "tcp": _stream,
        "tls": _stream,
        "unix": _unix,
        "ws": _websocket,
        "wss": _websocket,
        "nats": _nats,
    }
    make = makers.get(scheme) if "://" in address else None
    if make is None:
        raise LocalViolation(
            f"{address!r} is no address; expected tcp://host:port (such as tcp://127.0.0.1:7070), tls://host:port, "
            "unix:///path, ws://host:port/path, wss://host:port/path or nats://host:port/room/name"
        )
    return make(tls)


def _stream(tls: Tls | None) -> _Ways:
    from .tcp import connect, listen

    return _Ways(lambda text: parse_address(text).port > 0, partial(connect, tls=tls), partial(listen, tls=tls))


def _unix(tls: Tls | None) -> _Ways:
    from .unix import connect_unix, listen_unix, parse_unix

    return _Ways(lambda text: bool(parse_unix(text)), connect_unix, listen_unix)


def _websocket(tls: Tls | None) -> _Ways:
    from .websocket import connect_websocket, listen_websocket, parse_websocket

    return _Ways(
        lambda text: parse_websocket(text).port > 0,
        partial(connect_websocket, tls=tls),
        partial(listen_websocket, tls=tls),
    )


def _nats(tls: Tls | None) -> _Ways:
    from .nats import connect_nats, listen_nats, parse_nats

    return _Ways(lambda text: bool(parse_nats(text)), connect_nats, listen_nats)

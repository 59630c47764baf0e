"""One way to every transport: the scheme of an address says which, and its library is loaded then.

tcp://host:port   tls://host:port   unix:///path   ws://host:port/path   wss://…   nats://host:port/room/name
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from antiphon.facts import LocalViolation

from .nats_access import NatsAccess
from .tcp import CONNECT_TIMEOUT_S
from .tls import Tls
from .transport import Connection, Listener, parse_address


class _Ways(NamedTuple):
    check: Callable[[str], bool]  # whether it can be connected to, or only listened at
    connect: Callable[..., Awaitable[Connection]]
    listen: Callable[..., Awaitable[Listener]]


@dataclass(frozen=True, slots=True)
class Transports:
    """All transports, with one set of certificates for those that need any, and what NATS servers are shown."""

    tls: Tls | None = None
    nats: NatsAccess | None = None

    async def connect(self, address: str, /, *, timeout: float = CONNECT_TIMEOUT_S) -> Connection:
        """Connect within *timeout* seconds. Raises ``LocalViolation``, ``MissingExtra`` and ``PeerUnreachable``."""
        return await self._ways(address).connect(address, timeout=timeout)

    async def listen(self, address: str, /) -> Listener:
        """Listen; port 0 asks for a free one. Raises ``LocalViolation`` and ``MissingExtra``."""
        return await self._ways(address).listen(address)

    def _ways(self, address: str) -> _Ways:
        return _ways(address, self)


EVERY_TRANSPORT = Transports()
"""All of them, and the system's own certificates."""


def check_address(address: str, *, is_to_connect: bool = False) -> None:
    """Raise ``LocalViolation`` for what is no address, or is only for listening; ``MissingExtra`` without its library.

    >>> check_address("unix:///run/notes.sock")
    """
    can_connect = _ways(address, EVERY_TRANSPORT).check(address)
    if is_to_connect and not can_connect:
        raise LocalViolation(f"{address!r} names port 0, which is for serving; take the address the server shows")


def _ways(address: str, transports: Transports) -> _Ways:
    scheme = address.partition("://")[0]
    makers: dict[str, Callable[[Transports], _Ways]] = {
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
    return make(transports)


def _stream(transports: Transports) -> _Ways:
    from .tcp import connect, listen

    tls = transports.tls
    return _Ways(lambda text: parse_address(text).port > 0, partial(connect, tls=tls), partial(listen, tls=tls))


def _unix(transports: Transports) -> _Ways:
    from .unix import connect_unix, listen_unix, parse_unix

    return _Ways(lambda text: bool(parse_unix(text)), connect_unix, listen_unix)


def _websocket(transports: Transports) -> _Ways:
    from .websocket import connect_websocket, listen_websocket, parse_websocket

    tls = transports.tls
    return _Ways(
        lambda text: parse_websocket(text).port > 0,
        partial(connect_websocket, tls=tls),
        partial(listen_websocket, tls=tls),
    )


def _nats(transports: Transports) -> _Ways:
    from .nats import connect_nats, listen_nats, parse_nats

    tls, access = transports.tls, transports.nats
    return _Ways(
        lambda text: bool(parse_nats(text)),
        partial(connect_nats, tls=tls, access=access),
        partial(listen_nats, tls=tls, access=access),
    )

"""``Listener``: an ASGI application behind a socket, while its block runs.

Uvicorn speaks HTTP here; its own main loop, which wakes ten times a second, is not run, and no signal handler is set.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from antiphon.facts import LocalViolation

from .address import WebAddress

# Tabs of one person, some with an inspector; browsers open six connections to a host at most.
CONNECTIONS_MAX = 64
# How long a request under way may take to end when the server does.
GRACE_S = 5


class Listener:
    """Serves what *build* makes of the address that it listens at. *on_end* ends what would never end by itself."""

    def __init__(
        self, wanted: WebAddress, build: Callable[[Callable[[], WebAddress]], ASGIApp], *, on_end: Callable[[], object]
    ) -> None:
        self._wanted = wanted
        self._build = build
        self._on_end = on_end
        self._bound: WebAddress | None = None
        self._server: uvicorn.Server | None = None

    @property
    def address(self) -> WebAddress:
        """Where it listens. Only while its block runs."""
        assert self._bound is not None, "an address is known once the server listens"
        return self._bound

    async def __aenter__(self) -> Self:
        listening = _listen(self._wanted)
        self._bound = WebAddress(self._wanted.host, listening.getsockname()[1])
        config = uvicorn.Config(
            self._build(lambda: self.address),
            lifespan="off",
            http="h11",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=GRACE_S,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[listening])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._on_end()
        if self._server is not None:
            await self._server.shutdown()


def _listen(address: WebAddress) -> socket.socket:
    try:
        return socket.create_server(
            (address.host, address.port), family=socket.AF_INET6 if ":" in address.host else socket.AF_INET
        )
    except OSError as problem:
        raise LocalViolation(
            f"the page cannot be served at {address.authority}: {problem.strerror}; name another HOST:PORT, or port 0"
        ) from problem

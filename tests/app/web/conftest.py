"""A page served on loopback, and a reader of its events that keeps a mirror as a browser does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest_asyncio

from antiphon.app.core import AppCore
from antiphon.app.web import WebServer, serve_web
from antiphon.app.wiring import demo_core
from antiphon.reactive import Mirror, Operation
from antiphon.reactive.deltas import Delta
from antiphon.views import CHAT_SIGNAL


@dataclass
class Browser:
    """Follows a stream as the page does: documents by topic, and the id of the last event."""

    client: httpx.AsyncClient
    path: str = "/events"
    last_id: str | None = None
    mirrors: dict[str, Mirror] = field(default_factory=dict)
    bases: list[dict[str, list[int | None]]] = field(default_factory=list)
    on_delta: Callable[[str, Mirror], object] = lambda topic, mirror: None

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Connect, going on from the last event; gives the documents after each event."""
        headers = {} if self.last_id is None else {"last-event-id": self.last_id}
        async with self.client.stream("GET", self.path, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield self._documents(answer)

    async def _documents(self, answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
        lines: dict[str, str] = {}
        async for line in lines_of(answer):
            name, _, value = line.partition(": ")
            if line:
                lines[name] = value
            elif "data" in lines:
                assert lines["event"] == "deltas"
                self._take(orjson.loads(lines["data"]))
                self.last_id = lines["id"]
                lines = {}
                yield {topic: mirror.document for topic, mirror in self.mirrors.items()}

    def _take(self, changes: dict[str, list[dict[str, Any]]]) -> None:
        self.bases.append({topic: [delta["base"] for delta in deltas] for topic, deltas in changes.items()})
        for topic, deltas in changes.items():
            mirror = self.mirrors.setdefault(topic, Mirror())
            for delta in deltas:
                patch = tuple(
                    Operation(each["op"], each["path"], each.get("value"), each.get("from", ""))
                    for each in delta.get("patch", ())
                )
                mirror.take(Delta(delta["seq"], delta["base"], patch, delta.get("document"), delta["live"]))
                self.on_delta(topic, mirror)


async def lines_of(answer: httpx.Response) -> AsyncIterator[str]:
    """The lines as server-sent events mean them; ``aiter_lines`` also ends one at U+2028 and its like."""
    rest = b""
    async for part in answer.aiter_bytes():
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            assert b"\r" not in line
            yield line.decode()


@dataclass
class Page:
    """A served core, and a client that talks to it."""

    core: AppCore
    server: WebServer
    client: httpx.AsyncClient

    async def intend(self, intent: str, **fields: object) -> httpx.Response:
        """Ask for something, as the page does."""
        return await self.client.post("/intents", json={"intent": intent, **fields})

    def browser(self, path: str = "/events") -> Browser:
        """Somebody who follows."""
        return Browser(self.client, path)

    def browser_of(self, channel_id: str) -> Browser:
        """Somebody who follows, and looks at a channel of this journal."""
        key = next(key for key in self.core.read(CHAT_SIGNAL).channels if key.channel_id == channel_id)
        return self.browser(f"/events?{urlencode({'shown': orjson.dumps(list(key)).decode()})}")


@asynccontextmanager
async def serve_page(core: AppCore, **options: Any) -> AsyncIterator[Page]:
    """Serve an entered core on a free port of loopback."""
    async with (
        serve_web(core, "127.0.0.1:0", **options) as server,
        httpx.AsyncClient(base_url=f"http://{server.address.authority}", timeout=10) as client,
    ):
        yield Page(core, server, client)


@pytest_asyncio.fixture
async def page() -> AsyncIterator[Page]:
    """The page of a core in memory."""
    async with demo_core("ada") as core, serve_page(core) as served:
        yield served

"""The page's routes: the page and its files, the stream of events, what was said earlier, and intents.

Holds no state and decides nothing about intents: the feed says what changed, *dispatch* what an intent does. Every
request has passed the guard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from antiphon.facts import AntiphonError

from ..intent_errors import IntentError
from .address import WebAddress
from .errors import BodyNotJson, BodyOfAnotherType, BodyTooLarge, InvalidIntent, NoSuchPath, RequestRefused, WrongMethod
from .feed import Feed, FeedEvent
from .guard import Guard, refusal

# The longest text that may be sent, with room for its JSON escapes.
BODY_BYTES_MAX = 64 * 1024
# Longer than any pause of a conversation would be noticed, shorter than most middle boxes forget a connection after.
PING_S = 15.0
# Who has not taken a byte for this long is gone; the place is given to others.
STALL_S = 60.0
# After a broken connection a browser asks again this much later.
RETRY_MS = 500

_KINDS: Mapping[str, str] = MappingProxyType(
    {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
)

Dispatch = Callable[[str, Mapping[str, object]], Awaitable[Mapping[str, object]]]
"""Carries out an intent by name with its fields; gives what there is to tell. Raises what the library raises."""


class Patience(NamedTuple):
    """How long a stream may be quiet before it says that it lives, and a reader deaf before it is left; in seconds."""

    ping_s: float = PING_S
    stall_s: float = STALL_S


PATIENCE = Patience()

Feeds = Mapping[str, Callable[[], AbstractContextManager[Feed]]]
"""What a stream may follow, by name; each reader enters one and leaves it at its end."""


Earlier = Callable[[Mapping[str, str]], Sequence[Mapping[str, object]]]
"""The messages before the one that the query of a request names, oldest first. Raises what the library raises."""


def build_site(
    feeds: Feeds,
    dispatch: Dispatch,
    *,
    earlier: Earlier,
    address: Callable[[], WebAddress],
    part_named: Callable[[str], str] = str,
    token: str | None = None,
    patience: Patience = PATIENCE,
) -> Guard:
    """The ASGI application. *address* is asked for each request, since a free port is known only later.

    *part_named* makes the name of a part out of what a request calls it, or raises what the library raises.
    """

    async def events(request: Request) -> Response:
        enter = feeds.get(request.query_params.get("feed", "main"))
        if enter is None:
            raise NoSuchPath(f"there is no such feed; expected one of {', '.join(feeds)}")
        # Who follows another channel asks anew, and says itself how far it is: browsers do so only after a break.
        last = request.headers.get("last-event-id") or request.query_params.get("last")
        shown = request.query_params.get("shown")
        part = None if shown is None else part_named(shown)
        return EventStream(enter, last, part=part, patience=patience)

    async def intents(request: Request) -> Response:
        body = await _read_object(request)
        name = body.pop("intent", None)
        if not isinstance(name, str):
            raise InvalidIntent('an intent is an object that names itself: {"intent": "send_message", …}')
        return Response(orjson.dumps({"done": dict(await dispatch(name, body))}), media_type="application/json")

    async def messages(request: Request) -> Response:
        found = [dict(each) for each in earlier(request.query_params)]
        return Response(orjson.dumps({"messages": found}), media_type="application/json")

    app = Starlette(
        routes=[
            Route("/", _file_named("index.html"), methods=["GET"]),
            Route("/events", events, methods=["GET"]),
            Route("/messages", messages, methods=["GET"]),
            Route("/intents", intents, methods=["POST"]),
            *(Route(f"/{name}", _file_named(name), methods=["GET"]) for name in PAGE_FILES if name != "index.html"),
        ],
        exception_handlers={AntiphonError: _refuse, HTTPException: _refuse_http},
    )
    app.router.redirect_slashes = False  # a path is right or wrong; nothing of a request goes into a Location
    return Guard(app, address=address, token=token)


def _page_files() -> Mapping[str, tuple[bytes, str]]:
    """The page's files with their types, read once: nothing that a request names ever reaches the file system."""
    found = {
        each.name: (each.read_bytes(), _KINDS[each.name.rpartition(".")[2]])
        for each in files("antiphon.app.web").joinpath("page").iterdir()
        if each.name.rpartition(".")[2] in _KINDS
    }
    return MappingProxyType(found)


PAGE_FILES = _page_files()
"""Name to content and type."""


def _file_named(name: str) -> Callable[[Request], Awaitable[Response]]:
    content, kind = PAGE_FILES[name]

    async def answer(_: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


class EventStream(Response):
    """One reader's events until it or the feed ends; a comment now and then shows a dead connection to both sides.

    Who does not read is left when the socket has been full for too long; until then one event waits for them.
    Starlette's own stream leaves a generator to the garbage collector when a browser goes; here a reader ends at once.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        enter: Callable[[], AbstractContextManager[Feed]],
        last: str | None,
        *,
        part: str | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        super().__init__(headers={"x-accel-buffering": "no"})
        self._part = part
        del self.headers["content-length"]
        self._enter = enter
        self._last = last
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until there is nobody to write to."""
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self._write_patiently(send))
            watching = group.create_task(_watch(receive, writing))
            writing.add_done_callback(lambda _: watching.cancel())

    async def _write_patiently(self, send: Send) -> None:
        with suppress(TimeoutError):  # the server closes the connection of an answer that is not complete
            await self._write(send)

    async def _write(self, send: Send) -> None:
        with self._enter() as feed, feed.read(self._last, part=self._part) as reader:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._send(send, f"retry: {RETRY_MS}\n\n".encode())
            while (event := await reader.next(timeout_s=self._patience.ping_s)) is not None or not feed.is_closed:
                await self._send(send, b": still here\n\n" if event is None else as_text(event))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, part: bytes) -> None:
        async with asyncio.timeout(self._patience.stall_s):
            await send({"type": "http.response.body", "body": part, "more_body": True})


async def _watch(receive: Receive, writing: asyncio.Task[None]) -> None:
    """End the writing when the browser is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    writing.cancel()


def as_text(event: FeedEvent) -> bytes:
    """An event as server-sent events write it. JSON holds no newline, so one data line is enough."""
    return b"id: %s\nevent: deltas\ndata: %s\n\n" % (str(event.cursor).encode(), event.data)


async def _read_object(request: Request) -> dict[str, object]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BodyOfAnotherType("an intent is sent as application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge(f"an intent is at most {BODY_BYTES_MAX} bytes of JSON; say less at once")
    try:
        found = orjson.loads(bytes(body))
    except orjson.JSONDecodeError as problem:
        raise BodyNotJson(f"the body is no JSON: {problem}") from None
    if not isinstance(found, dict):
        raise BodyNotJson(f"an intent is a JSON object; got {type(found).__name__}")
    return found


# By the kind of a refusal: whose move it is, as HTTP says it.
_STATUS: Mapping[str, int] = MappingProxyType(
    {"validation": 422, "unauthorised": 403, "network": 502, "timeout": 504, "internal": 500}
)
_STATUS_OF_REST = 503  # no runtime, no room on the disk, closed: try again later


async def _refuse(_: Request, problem: Exception) -> Response:
    """An error raised on purpose: its text is for people, its code for programs."""
    if isinstance(problem, RequestRefused):
        return refusal(problem)
    if isinstance(problem, IntentError):
        told: dict[str, str] = {"code": problem.kind, "text": str(problem), "move": problem.move}
        status = _STATUS.get(problem.kind, _STATUS_OF_REST)
    else:
        told, status = {"code": type(problem).__name__, "text": str(problem)}, 422
    return Response(orjson.dumps({"error": told}), status_code=status, media_type="application/json")


async def _refuse_http(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException), "it is registered for nothing else"
    if problem.status_code == 405:
        return refusal(WrongMethod(f"{request.method} means nothing at {request.url.path[:100]!r}"))
    return refusal(NoSuchPath(f"there is nothing at {request.url.path[:100]!r}"))

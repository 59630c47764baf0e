"""``serve_web``: the page of one application core on an address, until its block ends.

Decides nothing: it wires the core's signals and intents to the site, and ends all of it in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson

from antiphon.facts import LocalViolation
from antiphon.reactive import ERROR_SIGNAL, SYNC_STATUS_SIGNAL, LiveSignal, Signal, Subscription
from antiphon.runtime.entropy import system_random
from antiphon.views import (
    CHAT_SIGNAL,
    CONTACTS_SIGNAL,
    HOMES_SIGNAL,
    INVITATIONS_SIGNAL,
    Channel,
    ChannelKey,
    ChatState,
)

from ..acknowledged import ACKNOWLEDGED_SIGNAL
from ..intent_errors import IntentError
from ..intents import read_intent
from .address import WebAddress, parse_web_address
from .feed import Feed
from .guard import Guard
from .listening import Listener
from .site import PATIENCE, Patience, build_site

if TYPE_CHECKING:
    from ..core import AppCore

# Shorter ones can be tried out.
TOKEN_LENGTH_MIN = 16


@dataclass(frozen=True, slots=True)
class Profile:
    """Whose page it is."""

    author: str
    authority: str


PROFILE_SIGNAL: Signal[Profile] = Signal("web:me", Profile)
"""Whose page it is; never changes."""


@dataclass(frozen=True, slots=True)
class ChannelList:
    """What a page shows of the channels that it does not show: all but their messages."""

    channels: Mapping[ChannelKey, Channel]
    total_unread: int


_TOPICS: Mapping[str, Signal[Any]] = MappingProxyType(
    {
        "me": PROFILE_SIGNAL,
        "contacts": CONTACTS_SIGNAL,
        "invitations": INVITATIONS_SIGNAL,
        "homes": HOMES_SIGNAL,
        "acknowledged": ACKNOWLEDGED_SIGNAL,
        "sync": SYNC_STATUS_SIGNAL,
        "error": ERROR_SIGNAL,
    }
)


class WebServer:
    """A page that is being served, while its ``async with`` block runs; made by ``serve_web``."""

    def __init__(
        self,
        core: AppCore,
        address: WebAddress,
        *,
        token: str | None,
        patience: Patience,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._core = core
        self._token = token
        self._patience = patience
        self._random = random_bytes
        self._listener = Listener(address, self._build, on_end=self._end)
        self._feeds: dict[str, Feed] = {}
        self._made: LiveSignal[ChannelList] | None = None
        self._following: Subscription[Profile] | None = None
        self._is_closed = False

    @property
    def address(self) -> WebAddress:
        """Where it listens. Only while its block runs."""
        return self._listener.address

    @property
    def url(self) -> str:
        """What to open in a browser, with the token when there is one."""
        return f"http://{self.address.authority}/{'' if self._token is None else f'?token={self._token}'}"

    @property
    def token(self) -> str | None:
        """What a browser must bring; None on loopback unless one was given."""
        return self._token

    @property
    def reader_count(self) -> int:
        """How many streams are followed just now."""
        return sum(feed.reader_count for feed in self._feeds.values())

    async def __aenter__(self) -> Self:
        self._follow()
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.__aexit__(kind, error, trace)

    def _build(self, address: Callable[[], WebAddress]) -> Guard:
        feeds = MappingProxyType({"main": self._main, "inspector": self._inspect})
        return build_site(
            feeds,
            self._submit,
            earlier=self._earlier,
            address=address,
            part_named=lambda text: orjson.dumps(list(_key_of(text))).decode(),
            token=self._token,
            patience=self._patience,
        )

    def _end(self) -> None:
        """End every stream; else the server would wait for browsers that never leave."""
        self._is_closed = True
        if self._following is not None:
            self._following.close()
        self._end_feeds()

    def _follow(self) -> None:
        """Follow the core's signals of now. When it gets or loses its runtime, pages come back to the new ones."""
        hub = self._core.hub
        if not hub.is_registered(PROFILE_SIGNAL):
            hub.register(PROFILE_SIGNAL, Profile(self._core.author, self._core.authority), external=True)
        run = self._random(8).hex()
        chat = LiveSignal(hub, CHAT_SIGNAL)
        channels = chat.map(_list_channels, key=Signal(f"web:channels:{run}", ChannelList))
        self._made = channels
        shown = count(1)

        def messages(name: str) -> LiveSignal[Any]:
            key = _key_of(name)
            return chat.map(lambda state: state.messages.get(key, ()), key=Signal(f"web:{run}:{next(shown)}", tuple))

        topics = {"chat": channels.key, **_TOPICS}
        self._feeds["main"] = Feed(hub, topics, run=run, part=messages, part_topic="messages")
        self._core.inspect()  # from now on, so that who opens the inspector sees what came before
        self._following = self._core.subscribe(PROFILE_SIGNAL).subscription
        self._following.notify(None)
        self._following.for_each(lambda _: None, on_end=self._follow_anew)

    def _follow_anew(self) -> None:
        self._end_feeds()
        if not self._is_closed:
            try:
                self._follow()
            except IntentError:  # the core itself was closed: there is nothing to follow any more
                self._is_closed = True

    def _end_feeds(self) -> None:
        for feed in self._feeds.values():
            feed.close()
        self._feeds.pop("inspector", None)
        if self._made is not None:
            self._made.close()

    @contextmanager
    def _main(self) -> Iterator[Feed]:
        yield self._feeds["main"]

    @contextmanager
    def _inspect(self) -> Iterator[Feed]:
        """The inspector's feed, shared by all who look; it begins with the first of them and ends with the last."""
        feed = self._feeds.get("inspector")
        if feed is None:
            signal = self._core.inspect()
            feed = self._feeds["inspector"] = Feed(self._core.hub, {"inspector": signal}, run=self._random(8).hex())
        try:
            yield feed
        finally:
            if feed.reader_count == 0 and self._feeds.get("inspector") is feed:
                del self._feeds["inspector"]
                feed.close()

    async def _submit(self, name: str, fields: Mapping[str, object]) -> Mapping[str, object]:
        return (await self._core.submit(read_intent(name, fields))).to_json()

    def _earlier(self, asked: Mapping[str, str]) -> Sequence[Mapping[str, object]]:
        missing = [name for name in ("context_id", "channel_id", "before") if not asked.get(name)]
        if missing:
            raise IntentError("validation", f"say which messages: {', '.join(missing)} is missing from the query")
        found = self._core.messages_before(
            asked["before"], channel_id=asked["channel_id"], context_id=asked["context_id"]
        )
        return [each.to_json() for each in found]


def _list_channels(state: ChatState) -> ChannelList:
    return ChannelList(state.channels, state.total_unread)


def _key_of(name: str) -> ChannelKey:
    """The channel that a document of channels calls *name*."""
    try:
        parts = orjson.loads(name)
    except orjson.JSONDecodeError:
        parts = None
    if not (isinstance(parts, list) and len(parts) == 2 and all(isinstance(each, str) for each in parts)):
        raise IntentError("validation", f"{name[:80]!r} names no channel; expected a list of its context and its id")
    return ChannelKey(*parts)


def serve_web(
    core: AppCore,
    address: str | WebAddress = "127.0.0.1",
    *,
    token: str | None = None,
    patience: Patience = PATIENCE,
    random_bytes: Callable[[int], bytes] = system_random,
) -> WebServer:
    """Serve the page of *core*, which is entered: ``async with serve_web(core) as server: server.url``.

    On loopback nobody else's machine can reach it, and no token is asked for unless one is given; anywhere else one is
    made when none is given, and nothing is answered without it. Traffic is not encrypted. Raises ``LocalViolation`` for
    an address that is none, or is taken, and for a token that can be guessed.
    """
    where = parse_web_address(address) if isinstance(address, str) else address
    if token is None and not where.is_loopback:
        token = random_bytes(16).hex()
    if token is not None and len(token) < TOKEN_LENGTH_MIN:
        raise LocalViolation(f"a token of {len(token)} characters can be guessed; expected {TOKEN_LENGTH_MIN} or more")
    return WebServer(core, where, token=token, patience=patience, random_bytes=random_bytes)

"""The stream of events: one piece a batch, resumed where it broke off, bounded however slow a reader is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from antiphon.app.core import AppCore
from antiphon.app.intents import CreateChannel, SendMessage
from antiphon.app.web import parse_web_address
from antiphon.app.web.feed import PARTS_KEPT, Feed, Reader, parse_cursor
from antiphon.app.web.listening import Listener
from antiphon.app.web.site import Patience, build_site
from antiphon.app.wiring import demo_core, open_core
from antiphon.reactive import LiveSignal, Signal, SignalHub, Update, to_document
from antiphon.reactive.deltas import DELTAS_KEPT
from antiphon.testing.contracts.subscription import Show, SubscriptionContract
from antiphon.views import CHAT_SIGNAL

from .conftest import Browser, Page, serve_page

pytestmark = pytest.mark.asyncio

COUNT: Signal[int] = Signal("app:count", int)
WORD: Signal[str] = Signal("app:word", str)


# The contract that every surface keeps


class StreamSurface:
    """A browser's end of a stream over a real socket: each delta becomes an update."""

    def __init__(self, browser: Browser, events: AsyncIterator[dict[str, Any]]) -> None:
        self._browser = browser
        self._events = events
        self._seen: list[tuple[int, Any]] = []
        self._last: int | None = None
        browser.on_delta = lambda topic, mirror: self._seen.append((mirror.seq or 0, mirror.document))

    async def next(self) -> Update[Any]:
        """The next thing that a page would show."""
        while not self._seen:
            await anext(self._events)
        seq, value = self._seen.pop(0)
        skipped = 0 if self._last is None else seq - self._last - 1
        self._last = seq
        return Update(value, seq, skipped, True)


@asynccontextmanager
async def show_as_stream(hub: SignalHub, signal: Signal[Any]) -> AsyncIterator[StreamSurface]:
    feed = Feed(hub, {"word": signal}, run="c0ffee")

    @contextmanager
    def enter() -> Iterator[Feed]:
        yield feed

    async def refuse(name: str, fields: object) -> dict[str, object]:
        raise AssertionError("nobody asks for anything here")

    listener = Listener(
        parse_web_address("127.0.0.1:0"),
        lambda address: build_site({"main": enter}, refuse, earlier=lambda _: (), address=address),
        on_end=feed.close,
    )
    async with listener, httpx.AsyncClient(base_url=f"http://{listener.address.authority}", timeout=30) as client:
        browser = Browser(client)
        async with browser.follow() as events:
            yield StreamSurface(browser, events)


class TestTheStreamKeepsTheContractOfSubscriptions(SubscriptionContract):
    @pytest.fixture
    def show(self) -> Show:
        return show_as_stream


# What a page gets


def shown_by(core: AppCore, channel_id: str) -> dict[str, Any]:
    """What a page that looks at a channel shows of the chat."""
    state = core.read(CHAT_SIGNAL)
    channels = {orjson.dumps(list(key)).decode(): to_document(channel) for key, channel in state.channels.items()}
    messages = [to_document(message) for message in state.messages_in(channel_id)]
    return {"chat": {"channels": channels, "total_unread": state.total_unread}, "messages": messages}


def chat_in(documents: dict[str, Any]) -> dict[str, Any]:
    return {name: documents[name] for name in ("chat", "messages")}


async def test_a_newcomer_gets_everything_at_once_and_then_what_changes(page: Page) -> None:
    await page.core.submit(CreateChannel(channel_id="hall", name="Hall"))
    browser = page.browser_of("hall")
    async with browser.follow() as events:
        first = await anext(events)
        topics = {"me", "chat", "messages", "contacts", "invitations", "homes", "acknowledged", "sync", "error"}
        assert set(first) == topics
        assert first["me"] == {"author": "ada", "authority": page.core.authority}
        await page.core.submit(SendMessage(channel_id="hall", text="hello"))
        second = await anext(events)
    assert chat_in(second) == shown_by(page.core, "hall")
    # Only what changed, as a patch of what was there: nobody sends the whole twice.
    assert list(browser.bases[1]) == ["chat", "messages"]
    assert browser.bases[1]["chat"][0] is not None
    assert browser.bases[1]["messages"][0] is not None


async def test_a_page_is_sent_the_messages_of_the_channel_it_shows_and_of_no_other(page: Page) -> None:
    for channel_id in ("hall", "porch"):
        await page.core.submit(CreateChannel(channel_id=channel_id, name=channel_id))
        for number in range(3):
            await page.core.submit(SendMessage(channel_id=channel_id, text=f"said in the {channel_id} {number}"))
    browser = page.browser()
    async with browser.follow() as events:
        assert "messages" not in (first := await anext(events))
        assert "said in the hall 0" not in str(first), "a list shows the last message alone"
    # Who looks at a channel goes on from there with the rest.
    for channel_id in ("hall", "porch", "hall"):
        browser.path = page.browser_of(channel_id).path + f"&last={browser.last_id}"
        browser.last_id, browser.bases = None, []
        async with browser.follow() as events:
            assert chat_in(await anext(events)) == shown_by(page.core, channel_id)
            assert browser.bases == [{"messages": [None]}]
            await page.core.submit(SendMessage(channel_id=channel_id, text="and more"))
            assert chat_in(await anext(events)) == shown_by(page.core, channel_id)
    await page.core.submit(SendMessage(channel_id="porch", text="elsewhere"))
    async with browser.follow() as events:
        assert chat_in(await anext(events)) == shown_by(page.core, "hall")
        assert list(browser.bases[-1]) == ["chat"]


@pytest.mark.parametrize("shown", ["", "hall", "[1,2]", '["a"]', '["a","b","c"]', '{"a":"b","c":"d"}', "[", "\0"])
async def test_what_names_no_channel_is_refused(page: Page, shown: str) -> None:
    answer = await page.client.get("/events", params={"shown": shown})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation")


async def test_parts_that_nobody_follows_any_more_are_dropped_and_begin_anew() -> None:
    hub = SignalHub()
    hub.register(COUNT, 0, external=True)
    made = LiveSignal(hub, COUNT)
    feed = Feed(hub, {"count": COUNT}, run="ab", part=lambda name: made.map(lambda number: f"{name} {number}"))
    before = len(hub.statistics())
    with feed.read(part="first") as reader:
        await reader.next(timeout_s=1)
        cursor = str(reader.cursor)
        for number in range(PARTS_KEPT * 2):
            with feed.read(part=f"other {number}"):
                pass
        assert len(hub.statistics()) <= before + PARTS_KEPT + 1
        hub.emit(COUNT, 1)
        event = await reader.next(timeout_s=1)
        assert event is not None
        assert b"first 1" in event.data
    for number in range(PARTS_KEPT * 2):
        with feed.read(part=f"other {number}"):
            pass
    hub.emit(COUNT, 0)
    hub.emit(COUNT, 1)
    with feed.read(cursor, part="first") as reader:
        event = await reader.next(timeout_s=1)
        assert event is not None
        assert b'"base":null' in event.data, "its versions are not those of the part that went"
    feed.close()
    assert len(hub.statistics()) == before


async def test_a_broken_connection_goes_on_where_it_broke_off(page: Page) -> None:
    await page.core.submit(CreateChannel(channel_id="hall", name="Hall"))
    browser = page.browser_of("hall")
    async with browser.follow() as events:
        await anext(events)
    for number in range(5):
        await page.core.submit(SendMessage(channel_id="hall", text=f"while you were away {number}"))
    async with browser.follow() as events:
        after = await anext(events)
    assert chat_in(after) == shown_by(page.core, "hall")
    assert None not in browser.bases[1]["chat"]
    assert None not in browser.bases[1]["messages"]


async def test_whoever_was_away_for_long_gets_the_whole(page: Page) -> None:
    hub = SignalHub()
    hub.register(COUNT, 0, external=True)
    feed = Feed(hub, {"count": COUNT}, run="ab")
    with feed.read() as reader:
        assert await reader.next(timeout_s=1) is not None
        for number in range(1, DELTAS_KEPT + 2):
            hub.emit(COUNT, number)
        event = feed.since(reader.cursor)
    assert event is not None
    assert event.data == b'{"count":[{"seq":257,"base":null,"live":true,"document":257}]}'


async def test_an_id_of_another_run_or_of_nobody_begins_anew(page: Page) -> None:
    hub = SignalHub()
    hub.register(COUNT, 7, external=True)
    feed = Feed(hub, {"count": COUNT}, run="ab")
    for last in (None, "", "cd.0", "ab.0.0", "ab", "ab.-1", "ab.999999999999999999", "x" * 10_000, "ab.0\nid: 3"):
        with feed.read(last) as reader:
            event = await reader.next(timeout_s=1)
        assert event is not None
        assert b'"document":7' in event.data, last
    with feed.read("ab.0") as reader:
        assert await reader.next(timeout_s=0) is None


async def test_a_cursor_survives_its_text() -> None:
    assert str(parse_cursor("c0ffee.3.-.17")) == "c0ffee.3.-.17"


async def test_signals_that_change_together_come_in_one_event() -> None:
    hub = SignalHub()
    owners = [hub.register(COUNT, 0), hub.register(WORD, "")]
    feed = Feed(hub, {"count": COUNT, "word": WORD}, run="ab")
    with feed.read() as reader:
        await reader.next(timeout_s=1)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(reader.next(timeout_s=5))
            await asyncio.sleep(0)
            hub.emit_all(1, [(owners[0], 1), (owners[1], "one")])
        event = waiting.result()
    assert event is not None
    assert b'"count"' in event.data
    assert b'"word"' in event.data


async def test_a_slow_reader_costs_a_cursor_and_no_queue() -> None:
    hub = SignalHub()
    hub.register(COUNT, 0, external=True)
    feed = Feed(hub, {"count": COUNT}, run="ab")
    with feed.read():
        for number in range(10_000):
            hub.emit(COUNT, number)
    assert Reader.__dict__.get("queue") is None
    assert all(each.lagged_count == 0 for each in hub.statistics())


async def test_a_reader_who_leaves_leaves_nothing_behind(page: Page) -> None:
    async with page.browser().follow() as events:
        await anext(events)
        assert page.server.reader_count == 1
    async with asyncio.timeout(5), page.browser().follow() as events:
        # By the time that another one is answered the server has long heard of the end.
        await anext(events)
        assert page.server.reader_count == 1


async def test_a_quiet_stream_says_that_it_is_alive() -> None:
    async with (
        demo_core("ada") as core,
        serve_page(core, patience=Patience(ping_s=0.01)) as page,
        page.client.stream("GET", "/events") as answer,
    ):
        lines = answer.aiter_lines()
        async with asyncio.timeout(5):
            while await anext(lines) != ": still here":
                pass


async def test_who_never_reads_is_left_and_the_others_are_served() -> None:
    """A connection that takes nothing, as half-open ones do, holds no place for ever."""
    async with demo_core("ada") as core, serve_page(core, patience=Patience(ping_s=5, stall_s=0.2)) as page:
        await core.submit(CreateChannel(channel_id="hall", name="Hall"))
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(page.server.address)
            deaf.sendall(f"GET /events HTTP/1.1\r\nhost: {page.server.address.authority}\r\n\r\n".encode())
            async with asyncio.timeout(30), page.browser().follow() as events:
                reading = asyncio.ensure_future(_read_all(events))
                while page.server.reader_count < 2:
                    await core.submit(SendMessage(channel_id="hall", text="until both are here"))
                    await asyncio.sleep(0)  # a core in memory never waits by itself
                # Every page gets the long texts; more than a socket's buffers hold.
                while page.server.reader_count == 2:
                    await core.submit(SendMessage(channel_id="hall", text="x" * 8_000))
                    await asyncio.sleep(0)
                assert page.server.reader_count == 1
                reading.cancel()


async def _read_all(events: AsyncIterator[dict[str, Any]]) -> None:
    async for _ in events:
        pass


async def _until_alive(answer: httpx.Response) -> AsyncIterator[str]:
    async for line in answer.aiter_lines():
        yield line
        if line.startswith(":"):
            return


async def test_closing_the_server_ends_every_stream_and_takes_no_time() -> None:
    async with demo_core("ada") as core, httpx.AsyncClient() as client:
        async with asyncio.timeout(4), serve_page(core) as page:
            answer = await client.send(client.build_request("GET", page.server.url + "events"), stream=True)
            parts = answer.aiter_bytes()
            assert await anext(parts)
        # The grace for requests under way is longer than this test waits.
        await answer.aclose()


async def test_what_was_said_earlier_is_asked_for_page_by_page(page: Page) -> None:
    await page.core.submit(CreateChannel(channel_id="hall", name="Hall"))
    for number in range(5):
        await page.core.submit(SendMessage(channel_id="hall", message_id=f"m{number}", text=f"<b>{number}</b>"))
    (key,) = page.core.read(CHAT_SIGNAL).channels
    place = {"context_id": key.context_id, "channel_id": "hall"}
    answer = await page.client.get("/messages", params={**place, "before": "m3"})
    assert [each["content"] for each in answer.json()["messages"]] == ["<b>0</b>", "<b>1</b>", "<b>2</b>"]
    assert (await page.client.get("/messages", params={**place, "before": "m0"})).json() == {"messages": []}
    for wrong in (place, {"before": "m3"}, {**place, "channel_id": "attic", "before": "m3"}):
        assert (await page.client.get("/messages", params=wrong)).status_code == 422


async def test_a_server_that_ended_follows_the_core_no_more() -> None:
    async with demo_core("ada") as core:
        async with serve_page(core):
            assert any(each.subscriber_count for each in core.hub.statistics())
        assert [each.signal_id for each in core.hub.statistics() if each.subscriber_count] == []


async def test_pages_follow_a_core_that_gets_its_runtime_later(tmp_path: Path) -> None:
    async with (
        open_core(tmp_path / "j", author="bob") as other,
        demo_core("ada") as core,
        serve_page(core) as page,
    ):
        browser = page.browser()
        async with browser.follow() as events:
            assert (await anext(events))["me"]["author"] == "ada"
            await core.attach_runtime(other.runtime)
            with pytest.raises(StopAsyncIteration):
                await anext(events)
        async with browser.follow() as events:
            assert (await anext(events))["me"]["author"] == "bob"


# The inspector


async def test_the_inspector_shows_facts_windows_and_why_a_view_ran(page: Page) -> None:
    await page.core.submit(CreateChannel(channel_id="hall", name="Hall"))
    browser = page.browser("/events?feed=inspector")
    async with browser.follow() as events:
        earlier = (await anext(events))["inspector"]["windows"]
        assert [fact["kind"] for fact in earlier[0]["facts"]] == ["chat.channel_created"], "from before it was opened"
        await page.core.submit(SendMessage(channel_id="hall", text="hello"))
        window = (await anext(events))["inspector"]["windows"][0]
    assert "chat.message_sent" in [fact["kind"] for fact in window["facts"]]
    assert {"signals:chat"} <= {run["view_id"] for run in window["runs"]}
    assert all(run["why"] for run in window["runs"])

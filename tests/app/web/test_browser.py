"""The page as people meet it, in Debian's Chromium: two replicas converse, one goes away, and both end equal.

Run by `make test-system`. Screenshots are left in `.artefacts/web/`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from antiphon import CHAT_SIGNAL, Journal
from antiphon.app.core import AppCore
from antiphon.app.intents import AddContact, CloseChannel, CreateChannel, SendInvitation, SendMessage
from antiphon.app.web import WebServer, serve_web
from antiphon.app.wiring import core_of, demo_core
from antiphon.facts.chat import MessageSent
from antiphon.reactive import diff

pytestmark = [pytest.mark.system, pytest.mark.asyncio]

ARTEFACTS = Path(__file__).resolve().parents[3] / ".artefacts" / "web"
HOSTILE = (
    "<img src=x onerror=\"document.title='pwned'\">",
    "<script>document.title='pwned'</script>",
    "\"'><svg onload=document.title='pwned'>",
    "javascript:document.title='pwned'",
    "\u202eright to left\u2066 and\u0000 nothing",
    "{{7*7}} ${7*7} &lt;b&gt; ]]>",
    "W" * 3000,
)


@pytest_asyncio.fixture
async def chromium() -> AsyncIterator[Browser]:
    """Debian's browser; it may not use its own sandbox as root."""
    found = shutil.which("chromium")
    assert found is not None, "make test-system installs chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        await browser.close()


@asynccontextmanager
async def looking(browser: Browser, server: WebServer, **options: Any) -> AsyncIterator[Page]:
    """A person's page; it fails the test when a script raises or the browser refuses something of it."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.set_default_timeout(20_000)
    troubles: list[str] = []
    page.on("pageerror", lambda problem: troubles.append(str(problem)))
    page.on("console", lambda message: troubles.append(message.text) if "Content Security" in message.text else None)
    await page.goto(server.url)
    await expect(page.locator("#link-state")).to_have_text("live", timeout=20_000)
    yield page
    assert not troubles
    await context.close()


async def shoot(page: Page, name: str) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=ARTEFACTS / f"{name}.png")


async def write(page: Page, text: str) -> None:
    await page.get_by_label("Message", exact=True).fill(text)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("log").get_by_text(text, exact=True)).to_be_visible(timeout=20_000)


async def texts(page: Page) -> list[str]:
    return await page.locator("#messages .said").all_inner_texts()


async def until_equal(one: Journal, other: Journal) -> None:
    """Wait for what is told, not for a time: every change of either asks again."""
    async with asyncio.timeout(30), one.watch(CHAT_SIGNAL) as here, other.watch(CHAT_SIGNAL) as there:
        while one.fingerprint != other.fingerprint:
            waiting = [asyncio.ensure_future(stream.recv()) for stream in (here, there)]
            _, rest = await asyncio.wait(waiting, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            for each in rest:
                each.cancel()


async def test_two_replicas_converse_and_one_goes_away_and_both_end_equal(chromium: Browser, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        ada = await enter(Journal.open(tmp_path / "ada", author="ada"))
        ben = await enter(Journal.open(tmp_path / "ben", author="ben"))
        pages = []
        for journal in (ada, ben):
            core = await enter(core_of(journal))
            server = await enter(serve_web(core, "127.0.0.1:0"))
            pages.append(await enter(looking(chromium, server)))
        one, other = pages
        peer = await enter(ada.serve())
        async with ben.link(peer.address):
            await one.get_by_label("New channel", exact=True).fill("Hall")
            await one.get_by_role("button", name="Create").click()
            await expect(other.locator("#channel-name")).to_have_text("Hall", timeout=20_000)
            await write(one, "hello ben")
            await expect(other.get_by_role("log")).to_contain_text("hello ben", timeout=20_000)
            # Ben's page is looked at, so it tells that it was read, and the mark at Ada's says so.
            await expect(one.get_by_role("log").get_by_role("img", name="read")).to_be_visible(timeout=20_000)
            await write(other, "hello ada")
            await expect(one.get_by_role("log")).to_contain_text("hello ada", timeout=20_000)
            # What is said elsewhere is counted until it is looked at.
            await one.get_by_label("New channel", exact=True).fill("Garden")
            await one.get_by_role("button", name="Create").click()
            await one.get_by_role("button", name="Garden").click()
            await write(one, "roses")
            await expect(other.get_by_role("tab", name="Chat")).to_contain_text("1", timeout=20_000)
            assert await other.title() == "(1) antiphon"
            await other.get_by_role("button", name="Garden").click()
            await expect(other).to_have_title("antiphon", timeout=20_000)
            await one.get_by_role("button", name="Hall").click()
            await other.get_by_role("button", name="Hall").click()
            await shoot(one, "conversation_ada")
            await shoot(other, "conversation_ben")
        # Ben's replica is away now: both go on by themselves.
        await other.get_by_label("Message", exact=True).press("ArrowUp")
        await other.get_by_label("Message", exact=True).fill("hello ada, changed while away")
        await other.keyboard.press("Enter")
        await expect(other.get_by_role("log")).to_contain_text("edited", timeout=20_000)
        await write(other, "said while away")
        await write(one, "are you there?")
        assert "said while away" not in await texts(one)
        assert "are you there?" not in await texts(other)
        async with ben.link(peer.address):
            await expect(one.get_by_role("log")).to_contain_text("said while away", timeout=20_000)
            await expect(other.get_by_role("log")).to_contain_text("are you there?", timeout=20_000)
            await until_equal(ada, ben)
        await expect(one.locator("#messages .said")).to_have_count(4)
        assert await texts(one) == await texts(other)
        assert "hello ada, changed while away" in await texts(one)
        await shoot(one, "after_reunion_ada")
        await shoot(other, "after_reunion_ben")


@asynccontextmanager
async def demo_page(
    chromium: Browser, author: str = "ada", **options: Any
) -> AsyncIterator[tuple[AppCore, WebServer, Page]]:
    async with demo_core(author) as core, serve_web(core, "127.0.0.1:0") as server:
        await core.submit(CreateChannel(channel_id="hall", name="Hall"))
        async with looking(chromium, server, **options) as page:
            yield core, server, page


async def test_hostile_names_and_texts_are_shown_and_not_obeyed(chromium: Browser) -> None:
    async with demo_page(chromium, author=HOSTILE[0]) as (core, _, page):
        for number, text in enumerate(HOSTILE):
            await core.submit(CreateChannel(channel_id=f"c{number}", name=text[:200], topic=text[:200]))
            await core.submit(SendMessage(channel_id="hall", text=text))
        await page.get_by_role("button", name="Hall", exact=True).click()
        await expect(page.locator("#messages .said")).to_have_count(len(HOSTILE), timeout=20_000)
        shown = await page.locator("#messages .said").evaluate_all("all => all.map((each) => each.textContent)")
        assert shown == list(HOSTILE)
        assert await page.locator("#messages .name").first.text_content() == HOSTILE[0]
        assert await page.locator("main :is(img, script, svg, iframe, a, b)").count() == 0
        assert "pwned" not in await page.title()
        await page.get_by_role("tab", name="Inspector").click()
        # What came before it was opened is there as well.
        await expect(page.locator("#windows > li").first).to_contain_text(HOSTILE[-1][:100], timeout=20_000)
        await core.submit(SendMessage(channel_id="hall", text=HOSTILE[1]))
        await expect(page.locator("#windows > li").first).to_contain_text("chat.message_sent", timeout=20_000)
        assert "pwned" not in await page.title()
        await page.get_by_role("tab", name="Chat").click()
        # What came while another tab was open is in sight: who was at the end stays at the end.
        await expect(page.locator("#messages > li").last).to_be_in_viewport()
        await shoot(page, "hostile")


async def test_the_browser_itself_refuses_markup_from_scripts(chromium: Browser) -> None:
    """Even a mistake in the page could not inject: trusted types are required and none is defined."""
    async with demo_core("ada") as core, serve_web(core, "127.0.0.1:0") as server:
        page = await (await chromium.new_context()).new_page()
        await page.goto(server.url)
        told = await page.evaluate(
            "() => { try { document.body.innerHTML = '<p>'; return 'done' } catch (e) { return e.name } }"
        )
        assert told == "TypeError"


async def test_everything_is_reached_by_keyboard(chromium: Browser) -> None:
    async with demo_page(chromium) as (core, _, page):
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to writing")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Message", exact=True)).to_be_focused()
        await page.keyboard.type("first line")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("second line")
        await page.keyboard.press("Enter")
        await expect(page.locator("#messages .said")).to_have_text("first line\nsecond line", timeout=20_000)
        await page.keyboard.press("ArrowUp")
        await expect(page.get_by_text("You are changing a message.")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_text("You are changing a message.")).to_be_hidden()
        await page.get_by_role("tab", name="Chat").focus()
        for name in ("Contacts", "Invitations", "Homes", "Inspector", "Chat"):
            await page.keyboard.press("ArrowRight")
            await expect(page.get_by_role("tab", name=name)).to_be_focused()
            await expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
            await expect(page.locator("main > :not([hidden])")).to_have_count(1)
        assert core.read(CHAT_SIGNAL).messages_in("hall")[0].content == "first line\nsecond line"


async def test_a_page_that_was_cut_off_comes_back_with_what_it_missed(chromium: Browser) -> None:
    async with demo_core("ada") as core, AsyncExitStack() as first:
        await core.submit(CreateChannel(channel_id="hall", name="Hall"))
        server = await first.enter_async_context(serve_web(core, "127.0.0.1:0"))
        address = server.address
        async with looking(chromium, server) as page:
            await write(page, "before")
            await first.aclose()
            await expect(page.locator("#link-state")).to_contain_text("not connected", timeout=20_000)
            # What is written meanwhile is not lost: it goes back into its field, and the reason is said.
            await page.get_by_label("Message", exact=True).fill("kept")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("alert")).to_contain_text("cannot be reached", timeout=20_000)
            await expect(page.get_by_label("Message", exact=True)).to_have_value("kept")
            await shoot(page, "cut_off")
            await core.submit(SendMessage(channel_id="hall", text="missed"))
            async with serve_web(core, address):
                await expect(page.get_by_role("log")).to_contain_text("missed", timeout=20_000)
                await expect(page.locator("#link-state")).to_have_text("live", timeout=20_000)
                await page.get_by_label("Message", exact=True).press("Enter")
                await expect(page.get_by_role("log")).to_contain_text("kept", timeout=20_000)
                assert await texts(page) == ["before", "missed", "kept"]
                await page.context.close()
                return


class Gate:
    """What a page asks of the server waits here until it is let through, or is cut off."""

    def __init__(self, page: Page, pattern: str) -> None:
        self._page = page
        self._pattern = pattern
        self._waiting: asyncio.Queue[Route] = asyncio.Queue()

    async def __aenter__(self) -> Gate:
        await self._page.route(self._pattern, self._waiting.put)
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._page.unroute(self._pattern, self._waiting.put)

    async def let_through(self) -> None:
        await (await self._waiting.get()).continue_()

    async def cut_off(self) -> None:
        await (await self._waiting.get()).abort()


async def test_nothing_can_be_typed_before_the_page_knows_where_it_would_go(chromium: Browser) -> None:
    async with demo_core("ada") as core, serve_web(core, "127.0.0.1:0") as server:
        await core.submit(CreateChannel(channel_id="hall", name="Hall"))
        page = await (await chromium.new_context()).new_page()
        field = page.get_by_label("Message", exact=True)
        async with Gate(page, "**/events") as gate:
            await page.goto(server.url)
            await field.focus()
            await page.keyboard.type("too early")
            await page.keyboard.press("Enter")
            await expect(field).not_to_be_editable()
            await expect(page.get_by_role("button", name="Send")).to_be_disabled()
            await expect(page.locator("#link-state")).to_have_text("connecting …")
            await gate.let_through()
        await expect(field).to_be_editable(timeout=20_000)
        await expect(field).to_be_focused()
        await expect(field).to_have_value("")
        await write(page, "in time")
        await page.context.close()


async def test_a_person_who_is_faster_than_the_server_loses_nothing(chromium: Browser) -> None:
    """They go on writing, change what is still on its way, and all arrives in the order of writing."""
    async with demo_page(chromium) as (core, _, page):
        field = page.get_by_label("Message", exact=True)
        async with Gate(page, "**/intents") as gate:
            await field.fill("frist")
            await field.press("Enter")
            await expect(page.locator("#messages .said")).to_have_text(["frist"])
            await expect(field).to_have_value("")
            await field.press("ArrowUp")
            await expect(field).to_have_value("frist")
            await field.fill("first")
            await field.press("Enter")
            await field.fill("second")
            await field.press("Enter")
            await field.fill("third, half writ")
            for _ in ("frist", "first", "second"):
                await gate.let_through()
            await expect(page.locator("#messages .said")).to_have_text(["first", "second"], timeout=20_000)
        await expect(page.get_by_role("log").get_by_role("img", name="being sent")).to_have_count(0)
        await expect(field).to_have_value("third, half writ")
        assert [each.content for each in core.read(CHAT_SIGNAL).messages_in("hall")] == ["first", "second"]


async def test_what_was_refused_waits_beside_what_is_being_written(chromium: Browser) -> None:
    async with demo_page(chromium) as (core, _, page):
        field = page.get_by_label("Message", exact=True)
        await write(page, "before")
        async with Gate(page, "**/intents") as gate:
            for text in ("lost", "changed"):
                if text == "changed":
                    await page.locator("#messages > li").first.hover()
                    await page.get_by_role("button", name="Edit “before”").click()
                await field.fill(text)
                await field.press("Enter")
            await field.fill("half writ")
            await gate.cut_off()
            await gate.cut_off()
            await expect(page.get_by_role("img", name="not delivered")).to_have_count(2, timeout=20_000)
            await expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
        await expect(field).to_have_value("half writ")
        await shoot(page, "refused")
        await page.get_by_role("button", name="Try again “lost”").click()
        await page.get_by_role("button", name="Try again “changed”").click()
        await expect(page.locator("#messages .said")).to_have_text(["changed", "lost"], timeout=20_000)
        await expect(page.get_by_role("img", name="not delivered")).to_have_count(0)
        async with Gate(page, "**/intents") as gate:
            await field.fill("not so important")
            await field.press("Enter")
            await field.fill("half writ")
            await gate.cut_off()
            await page.get_by_role("button", name="Discard “not so important”").click()
        await expect(page.locator("#messages .said")).to_have_text(["changed", "lost"])
        await expect(field).to_have_value("half writ")
        assert [each.content for each in core.read(CHAT_SIGNAL).messages_in("hall")] == ["changed", "lost"]


async def test_a_message_whose_answer_was_lost_is_said_once(chromium: Browser) -> None:
    async with demo_page(chromium) as (core, _, page):
        field = page.get_by_label("Message", exact=True)
        async with Gate(page, "**/events*"):

            async def swallow(route: Route) -> None:
                await route.fetch()
                await route.abort()

            await page.route("**/intents", swallow, times=1)
            await field.fill("said")
            await field.press("Enter")
            await expect(page.get_by_role("alert")).to_contain_text("cannot be reached", timeout=20_000)
        if await field.input_value():  # the stream had not told of it yet
            await field.press("Enter")
        await expect(field).to_have_value("")
        await expect(page.locator("#messages .said")).to_have_text(["said"], timeout=20_000)
        await write(page, "and then")
        assert [each.content for each in core.read(CHAT_SIGNAL).messages_in("hall")] == ["said", "and then"]


async def test_who_looks_at_another_channel_sees_it_live_and_may_change_their_last_word_at_once(
    chromium: Browser,
) -> None:
    async with demo_page(chromium) as (core, _, page):
        await core.submit(CreateChannel(channel_id="porch", name="Porch"))
        for channel_id in ("hall", "porch"):
            await core.submit(SendMessage(channel_id=channel_id, text=f"said in the {channel_id}"))
        for name in ("Hall", "Porch"):
            await page.get_by_role("button", name=name, exact=True).click()
            await expect(page.locator("#messages .said")).to_have_text([f"said in the {name.lower()}"], timeout=20_000)
        await core.submit(SendMessage(channel_id="hall", text="meanwhile"))
        async with Gate(page, "**/events*") as gate:
            await page.reload()
            await gate.let_through()  # the channels
            await expect(page.locator("#channel-name")).to_have_text("Hall", timeout=20_000)
            field = page.get_by_label("Message", exact=True)
            await field.press("ArrowUp")
            await expect(page.get_by_text("You are changing a message.")).to_be_hidden()
            await gate.let_through()  # and the messages
        await expect(field).to_have_value("meanwhile", timeout=20_000)
        await expect(page.get_by_text("You are changing a message.")).to_be_visible()
        await expect(page.locator("#messages .said")).to_have_text(["said in the hall", "meanwhile"])


async def test_a_draft_stays_with_its_channel_when_that_closes(chromium: Browser) -> None:
    async with demo_page(chromium) as (core, _, page):
        field = page.get_by_label("Message", exact=True)
        await core.submit(CreateChannel(channel_id="garden", name="Garden"))
        await page.get_by_role("button", name="Hall", exact=True).click()
        await field.fill("for the hall alone")
        await core.submit(CloseChannel(channel_id="hall"))
        await expect(page.locator("#channel-name")).to_have_text("Garden", timeout=20_000)
        await expect(field).to_have_value("")


class Wire:
    """The way between a browser and a server, which can be cut; it renames the server to itself on the way."""

    def __init__(self, server: WebServer) -> None:
        self._there = server.address
        self._ends: set[asyncio.StreamWriter] = set()
        self.requests: list[bytes] = []
        self._listening: asyncio.Server | None = None
        self.authority = ""

    async def __aenter__(self) -> Wire:
        self._listening = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.authority = f"127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *problem: object) -> None:
        assert self._listening is not None
        self._listening.close()
        self.cut()
        await self._listening.wait_closed()

    def cut(self) -> None:
        """Every connection breaks, as when a network goes."""
        for end in self._ends:
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._there.host, self._there.port)
        ends = {writer, there_writer}
        self._ends |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, there_writer, is_request=True))
                group.create_task(self._pass_on(there_reader, writer, is_request=False))
        except* OSError:
            pass
        finally:
            self._ends -= ends
            for end in ends:
                end.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool) -> None:
        while part := await reader.read(65_536):
            if is_request:
                part = part.replace(self.authority.encode(), self._there.authority.encode())
                self.requests.append(part)
            writer.write(part)
            await writer.drain()
        writer.close()


async def test_a_browser_that_was_cut_off_goes_on_from_its_last_event(chromium: Browser) -> None:
    """It asks with the id of the last event; ``test_stream.py`` shows that it is then sent what it missed alone."""
    async with demo_core("ada") as core, serve_web(core, "127.0.0.1:0") as server, Wire(server) as wire:
        await core.submit(CreateChannel(channel_id="hall", name="Hall"))
        page = await (await chromium.new_context()).new_page()
        await page.goto(f"http://{wire.authority}/")
        await write(page, "before")
        wire.requests.clear()
        wire.cut()
        await core.submit(SendMessage(channel_id="hall", text="missed"))
        await expect(page.get_by_role("log")).to_contain_text("missed", timeout=20_000)
        await expect(page.locator("#link-state")).to_have_text("live", timeout=20_000)
        assert await texts(page) == ["before", "missed"]
        again = [each.lower() for each in wire.requests if each.startswith(b"GET /events")]
        assert again
        assert all(b"last-event-id: " in each for each in again)
        await page.context.close()


PATCHES = """async (cases) => {
  const { applyPatch } = await import("/patch.js");
  return JSON.stringify(cases.map(([document, operations]) => {
    const before = JSON.stringify(document);
    try {
      const after = applyPatch(document, operations);
      return [after, JSON.stringify(document) === before];
    } catch (problem) {
      return [String(problem), false];
    }
  }));
}"""


async def test_the_page_patches_documents_as_the_server_means_it(chromium: Browser) -> None:
    """The same cases through Python's mirror and the page's own module, hostile keys included."""
    keys = st.sampled_from(["a", "b", "__proto__", "constructor", "x/y", "~", "", "0", "id", "é"])
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
        lambda each: st.lists(each, max_size=4) | st.dictionaries(keys, each, max_size=4),
        max_leaves=12,
    )
    keyed = st.lists(st.integers(0, 9), unique=True).map(
        lambda all_ids: [{"id": each, "v": each % 3} for each in all_ids]
    )
    pairs: list[tuple[Any, Any]] = []

    @seed(1)
    @settings(max_examples=200, database=None, deadline=None)
    @given(before=values | keyed, after=values | keyed)
    def collect(before: Any, after: Any) -> None:
        pairs.append((before, after))

    collect()
    cases = [[before, [each.to_json() for each in diff(before, after)]] for before, after in pairs]
    async with demo_core("ada") as core, serve_web(core, "127.0.0.1:0") as server:
        page = await (await chromium.new_context()).new_page()
        await page.goto(server.url)
        patched = await page.evaluate(f"({PATCHES})(JSON.parse({json.dumps(json.dumps(cases))}))")
    for (before, after), (found, is_untouched) in zip(pairs, json.loads(patched), strict=True):
        assert found == after, (before, after)
        assert is_untouched


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_all_of_it_without_scrolling_sideways(chromium: Browser, scheme: str) -> None:
    options = {"viewport": {"width": 360, "height": 640}, "color_scheme": scheme, "has_touch": True, "is_mobile": True}
    async with demo_page(chromium, **options) as (core, _, page):
        for text in (
            "hello",
            "W" * 200,
            "a longer text that has to be broken into several lines here",
        ):
            await core.submit(SendMessage(channel_id="hall", text=text))
        await expect(page.locator("#messages .said")).to_have_count(3, timeout=20_000)
        for name in ("Chat", "Contacts", "Invitations", "Homes", "Inspector"):
            await page.get_by_role("tab", name=name).tap()
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            await shoot(page, f"phone_{scheme}_{name.lower()}")


async def test_contacts_and_invitations_pass_between_two_pages(chromium: Browser, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        ada = await enter(Journal.open(tmp_path / "ada", author="ada"))
        ben = await enter(Journal.open(tmp_path / "ben", author="ben"))
        pages = []
        for journal in (ada, ben):
            server = await enter(serve_web(await enter(core_of(journal)), "127.0.0.1:0"))
            pages.append(await enter(looking(chromium, server)))
        one, other = pages
        peer = await enter(ada.serve())
        await enter(ben.link(peer.address))
        await one.get_by_role("tab", name="Contacts").click()
        await one.get_by_label("Their authority").fill(ben.authority)
        await one.get_by_label("Your name for them").fill("Benjamin")
        await one.get_by_role("button", name="Add").click()
        await expect(one.locator("#contacts")).to_contain_text("Benjamin", timeout=20_000)
        await one.get_by_role("button", name="Offer friendship: Benjamin").click()
        await other.get_by_role("tab", name="Contacts").click()
        await other.get_by_role("button", name="Accept friendship").click()
        await expect(one.locator("#contacts .quiet").first).to_have_text("friend", timeout=20_000)
        await shoot(one, "contacts")
        await one.get_by_role("tab", name="Invitations").click()
        await one.get_by_label("To (authority)").fill(ben.authority)
        await one.get_by_label("A few words").fill("watch over me")
        await one.get_by_label("For", exact=True).select_option("guardian")
        await one.get_by_role("button", name="Invite", exact=True).click()
        await expect(one.locator("#sent > li")).to_have_count(1, timeout=20_000)
        await expect(other.locator("#badge-invitations")).to_have_text("1", timeout=20_000)
        await other.get_by_role("tab", name="Invitations").click()
        await shoot(other, "invitations")
        await other.get_by_role("button", name="Accept the invitation").click()
        await expect(one.locator("#history")).to_contain_text("accepted", timeout=20_000)


async def test_the_inspector_shows_what_arrives_and_why_views_ran(chromium: Browser) -> None:
    async with demo_page(chromium) as (core, _, page):
        await page.get_by_role("tab", name="Inspector").click()
        await expect(page.locator("#windows > li").first).to_contain_text("chat.channel_created", timeout=20_000)
        await core.submit(SendMessage(channel_id="hall", text="looked at"))
        newest = page.locator("#windows > li").first
        await expect(newest).to_contain_text("looked at", timeout=20_000)
        await expect(newest).to_contain_text("signals:chat was recomputed because of", timeout=20_000)
        await shoot(page, "inspector")


async def test_a_home_is_founded_and_moderated_on_the_page(chromium: Browser, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        ada = await enter(Journal.open(tmp_path / "ada", author="ada"))
        ben = await enter(Journal.open(tmp_path / "ben", author="ben"))
        pages = []
        for journal in (ada, ben):
            server = await enter(serve_web(await enter(core_of(journal)), "127.0.0.1:0"))
            pages.append(await enter(looking(chromium, server)))
        one, other = pages
        peer = await enter(ada.serve())
        await enter(ben.link(peer.address))
        await one.get_by_role("tab", name="Homes").click()
        await one.get_by_label("Found a home", exact=True).last.fill("Open House")
        await one.get_by_role("button", name="Found", exact=True).click()
        home = one.locator("#homes > li")
        await expect(home).to_contain_text("You are its owner.", timeout=20_000)
        await home.get_by_label("New channel").last.fill("Porch")
        await home.get_by_role("button", name="Open").click()
        await home.get_by_label("Invite (authority)").last.fill(ben.authority)
        await home.get_by_role("button", name="Invite").click()
        await other.get_by_role("tab", name="Invitations").click()
        await other.get_by_role("button", name="Accept the invitation").click()
        await expect(home.get_by_role("list", name="Members").get_by_role("listitem")).to_have_count(2, timeout=20_000)
        await other.get_by_role("tab", name="Chat").click()
        await write(other, "good evening")
        await one.get_by_role("tab", name="Chat").click()
        said = one.locator("#messages > li", has_text="good evening")
        await expect(said).to_be_visible(timeout=20_000)
        # Ben's replica says that a message of Ada's is durable there, whether or not anybody looks at it.
        await other.get_by_role("tab", name="Homes").click()
        await write(one, "come in")
        held = one.locator("#messages > li", has_text="come in").get_by_role("img", name="delivered to")
        await expect(held).to_be_visible(timeout=20_000)
        await said.hover()
        await said.get_by_role("button", name="React").click()
        await said.get_by_role("button", name="React with", exact=False).first.click()
        await other.get_by_role("tab", name="Chat").click()
        theirs = other.locator("#messages > li", has_text="good evening").get_by_role("group", name="Reactions")
        await expect(theirs).to_contain_text("1", timeout=20_000)
        await theirs.get_by_role("button").click()
        await expect(theirs).to_contain_text("2", timeout=20_000)
        await shoot(one, "reactions")
        await one.get_by_role("tab", name="Homes").click()
        await home.get_by_role("button", name="Make moderator").click()
        await expect(home.get_by_role("list", name="Members")).to_contain_text("moderator", timeout=20_000)
        one.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept("too loud")))
        await home.get_by_role("button", name="Mute", exact=False).click()
        await expect(home.get_by_role("list", name="Muted")).to_be_visible(timeout=20_000)
        await home.get_by_role("button", name="Ban", exact=False).click()
        await expect(home.get_by_role("list", name="Banned")).to_contain_text("too loud", timeout=20_000)
        await shoot(one, "homes")
        await home.get_by_role("button", name="Lift the ban").click()
        await home.get_by_role("button", name="Lift the mute").click()
        await expect(home.get_by_role("list", name="Banned")).to_have_count(0, timeout=20_000)
        await expect(home.get_by_role("list", name="Members")).to_contain_text("ben", timeout=20_000)


async def test_an_accepted_invitation_is_made_binding_on_two_pages(chromium: Browser, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        ada = await enter(Journal.open(tmp_path / "ada", author="ada"))
        ben = await enter(Journal.open(tmp_path / "ben", author="ben"))
        pages, cores = [], []
        for journal in (ada, ben):
            cores.append(await enter(core_of(journal)))
            server = await enter(serve_web(cores[-1], "127.0.0.1:0"))
            pages.append(await enter(looking(chromium, server)))
        one, other = pages
        peer = await enter(ada.serve())
        await enter(ben.link(peer.address))
        await cores[0].submit(AddContact(contact_id=ben.authority, nickname="Ben"))
        await cores[0].submit(SendInvitation(offer="guardian", receiver_id=ben.authority))
        for page in pages:
            await page.get_by_role("tab", name="Invitations").click()
        await other.get_by_role("button", name="Accept the invitation").click()
        await one.get_by_role("button", name="Make binding").click()
        await expect(one.locator("#history")).to_contain_text("1 of 2 agreed", timeout=20_000)
        await other.get_by_role("button", name="Agree").click()
        await one.get_by_role("button", name="Finish").click()
        await expect(other.locator("#history")).to_contain_text("binding", timeout=20_000)
        await shoot(one, "ceremony")
        await one.get_by_role("tab", name="Contacts").click()
        await expect(one.locator("#contacts")).to_contain_text("your guardian", timeout=20_000)


async def test_one_scrolls_back_to_the_first_word_of_a_long_conversation(chromium: Browser) -> None:
    async with demo_core("ada") as core, serve_web(core, "127.0.0.1:0") as server:
        await core.submit(CreateChannel(channel_id="hall", name="Hall"))
        (key,) = core.read(CHAT_SIGNAL).channels
        about = {"context_id": key.context_id, "channel_id": "hall", "sender_name": "ben"}
        ben = core.offline.authority_of("ben")
        said = [
            MessageSent(**about, message_id=f"m{at}", sender_id=ben, text=f"text {at}", sent_at=at) for at in range(620)
        ]
        await core.offline.commit_as("ben", said)
        async with looking(chromium, server) as page:
            log, more = page.get_by_role("log"), page.get_by_role("button", name="Earlier messages")
            await expect(log.get_by_text("text 619", exact=True)).to_be_visible(timeout=20_000)
            await expect(log.get_by_text("text 120", exact=True)).to_be_attached()
            await expect(log.get_by_text("text 119", exact=True)).not_to_be_attached()
            await more.press("Enter")
            await expect(log.get_by_text("text 20", exact=True)).to_be_attached()
            await more.press("Enter")
            await expect(log.get_by_text("text 0", exact=True)).to_be_attached()
            await more.press("Enter")
            await expect(more).to_be_hidden()
            first = log.locator("li").first
            await first.get_by_role("button", name="React", exact=False).first.click()
            await first.get_by_role("button", name="React with 👍").click()
            await expect(first.locator(".reactions")).to_have_text("👍 1")
            await expect(page.locator("#badge-chat")).to_be_hidden(timeout=20_000)

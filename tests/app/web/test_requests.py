"""Who is answered, what is refused and how, and what every answer tells a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import LocalViolation
from antiphon.app.intents import CreateChannel
from antiphon.app.web import WebAddress, parse_web_address, serve_web
from antiphon.app.web.address import PORT_DEFAULT
from antiphon.app.web.site import BODY_BYTES_MAX, PAGE_FILES
from antiphon.app.wiring import demo_core, open_core
from antiphon.views import CHAT_SIGNAL, CONTACTS_SIGNAL

from .conftest import Page, serve_page

TOKEN = "0123456789abcdef0123456789abcdef"


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Page]:
    """A page that asks for a token."""
    async with demo_core("ada") as core, serve_page(core, token=TOKEN) as served:
        yield served


# Where


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", WebAddress("127.0.0.1", 9000)),
        ("localhost", WebAddress("localhost", PORT_DEFAULT)),
        (":9000", WebAddress("127.0.0.1", 9000)),
        ("[::1]:0", WebAddress("::1", 0)),
        ("box.example:80", WebAddress("box.example", 80)),
    ],
)
def test_an_address_is_read(text: str, address: WebAddress) -> None:
    assert parse_web_address(text) == address


@pytest.mark.parametrize("text", ["http://x", "a b", "x:70000", "x:y", "::1", "[::1", "[x]:1", "a:1:2", "x/y"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LocalViolation, match=r"expected HOST:PORT, such as 127\.0\.0\.1"):
        parse_web_address(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.10"])
def test_loopback_needs_no_token(host: str) -> None:
    assert WebAddress(host, 1).is_loopback


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "box.example"])
async def test_anything_but_loopback_gets_a_token_in_its_url(host: str) -> None:
    async with demo_core() as core:
        server = serve_web(core, WebAddress(host, 8480), random_bytes=lambda count: b"\7" * count)
        assert server.token == "07" * 16
        assert serve_web(core, "127.0.0.1:0").token is None


@pytest.mark.asyncio
async def test_a_token_that_can_be_guessed_is_refused() -> None:
    async with demo_core() as core:
        with pytest.raises(LocalViolation, match="can be guessed"):
            serve_web(core, token="secret")


@pytest.mark.asyncio
async def test_a_taken_port_is_told_in_a_sentence(page: Page) -> None:
    with pytest.raises(LocalViolation, match="name another HOST:PORT"):
        async with serve_web(page.core, page.server.address):
            pass


# Who


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:{port}", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil:{port}"]
)
async def test_another_host_is_refused_whatever_it_asks_for(page: Page, host: str) -> None:
    headers = {"host": host.format(port=page.server.address.port)}
    for path in ("/", "/events", "/main.js"):
        assert code_of(await page.client.get(path, headers=headers)) == (421, "wrong_host")
    assert code_of(await page.client.post("/intents", headers=headers, json={})) == (421, "wrong_host")


@pytest.mark.asyncio
async def test_the_names_of_loopback_are_all_the_same(page: Page) -> None:
    for name in ("localhost", "127.0.0.1", "LOCALHOST", "[::1]"):
        answer = await page.client.get("/", headers={"host": f"{name}:{page.server.address.port}"})
        assert answer.status_code == 200


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_another_page_may_not_change_anything(page: Page, headers: dict[str, str]) -> None:
    answer = await page.client.post("/intents", headers=headers, json={"intent": "create_channel", "name": "x"})
    assert code_of(answer) == (403, "wrong_origin")
    assert not page.core.read(CHAT_SIGNAL).channels


@pytest.mark.asyncio
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_page_may_lead_here_and_nothing_more(page: Page, site: str) -> None:
    """An image of somebody else's page that asks for the stream would hold a connection for ever."""
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    assert (await page.client.get("/", headers=headers)).status_code == 200
    for path in ("/events", "/events?feed=inspector", "/main.js"):
        assert code_of(await page.client.get(path, headers=headers)) == (403, "wrong_origin")


@pytest.mark.asyncio
async def test_its_own_page_may(page: Page) -> None:
    headers = {"origin": page.server.url.rstrip("/"), "sec-fetch-site": "same-origin"}
    answer = await page.client.post("/intents", headers=headers, json={"intent": "create_channel", "name": "Hall"})
    assert answer.status_code == 200
    assert [channel.name for channel in page.core.read(CHAT_SIGNAL).channels.values()] == ["Hall"]


@pytest.mark.asyncio
async def test_without_the_token_nothing_is_answered(guarded: Page) -> None:
    for path in ("/", "/events", "/main.js", "/?token=", "/?token=wrong", "/nowhere", "/?token=%ff"):
        assert code_of(await guarded.client.get(path)) == (401, "token_needed")
    wrong = {"cookie": f"antiphon_{guarded.server.address.port}=wrong"}
    assert code_of(await guarded.client.get("/", headers=wrong)) == (401, "token_needed")
    assert code_of(await guarded.client.post("/intents", json={"intent": "open_notes"})) == (401, "token_needed")


@pytest.mark.asyncio
async def test_the_token_in_the_url_becomes_a_cookie_that_scripts_cannot_read(guarded: Page) -> None:
    first = await guarded.client.get(guarded.server.url)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/"))
    assert (await guarded.client.get("/")).status_code == 200
    assert (await guarded.client.post("/intents", json={"intent": "open_notes"})).status_code == 200


# What


@pytest.mark.asyncio
async def test_every_answer_tells_browsers_to_run_nothing_of_others(page: Page) -> None:
    answers = [await page.client.get(path) for path in ("/", "/main.js", "/nowhere")]
    answers.append(await page.client.post("/intents", json={}))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


@pytest.mark.asyncio
async def test_only_the_files_of_the_page_are_there(page: Page) -> None:
    for name, (content, kind) in PAGE_FILES.items():
        answer = await page.client.get("/" if name == "index.html" else f"/{name}")
        assert answer.content == content
        assert answer.headers["content-type"].startswith(kind)
    for path in ("/..%2f..%2fpyproject.toml", "/page/index.html", "/%2e%2e/site.py", "/index.html"):
        answer = await page.client.get(path)
        assert answer.status_code == 404, path
        assert code_of(answer) == (404, "no_such_path")


@pytest.mark.asyncio
async def test_other_methods_are_refused(page: Page) -> None:
    assert code_of(await page.client.get("/intents")) == (405, "wrong_method")
    assert code_of(await page.client.delete("/")) == (405, "wrong_method")
    assert code_of(await page.client.get("/events?feed=other")) == (404, "no_such_path")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"{}", "text/plain", (415, "wrong_type")),
        (b"{}", "application/x-www-form-urlencoded", (415, "wrong_type")),
        (b"", "application/json", (400, "not_json")),
        (b"[1]", "application/json", (400, "not_json")),
        (b"{", "application/json", (400, "not_json")),
        (b"[" * 10_000, "application/json", (400, "not_json")),
        (b'{"intent": 7}', "application/json", (422, "invalid_intent")),
        (b"{}", "application/json", (422, "invalid_intent")),
        (b'{"intent": "no_such"}', "application/json", (422, "validation")),
        (b'{"intent": "send_message"}', "application/json", (422, "validation")),
        (b'{"intent": "create_channel", "name": ""}', "application/json", (422, "validation")),
        (b'{"intent": "create_channel", "name": "x", "more": 1}', "application/json", (422, "validation")),
        (b'{"intent": "create_channel", "name": "\\ud800"}', "application/json", (400, "not_json")),
        (b'{"intent": "__class__"}', "application/json", (422, "validation")),
        (b'{"intent": "x", "y": "' + b"z" * BODY_BYTES_MAX + b'"}', "application/json", (413, "too_large")),
    ],
)
async def test_what_is_no_intent_is_refused_with_a_code(
    page: Page, body: bytes, kind: str, expected: tuple[int, str]
) -> None:
    answer = await page.client.post("/intents", content=body, headers={"content-type": kind})
    assert code_of(answer) == expected
    assert answer.json()["error"]["text"]


@pytest.mark.asyncio
async def test_a_refused_intent_says_whose_move_it_is(page: Page) -> None:
    answer = await page.intend("send_message", channel_id="nowhere", text="hello")
    problem = answer.json()["error"]
    assert answer.status_code >= 400
    assert problem["move"] in ("you", "them", "application")
    assert problem["text"]


@pytest.mark.asyncio
async def test_intents_of_every_view_reach_the_facts_and_come_back_on_the_stream(page: Page) -> None:
    other = "ab" * 16
    done = (await page.intend("create_channel", name="Hall")).json()["done"]
    channel = done["subject"]
    assert (await page.intend("send_message", channel_id=channel, text="hello")).status_code == 200
    assert (await page.intend("add_contact", contact_id=other, nickname="Bob")).status_code == 200
    assert (await page.intend("send_invitation", offer="contact", receiver_id=other)).status_code == 200
    async with page.browser_of(channel).follow() as events:
        shown = await anext(events)
    assert [message["content"] for message in shown["messages"]] == ["hello"]
    assert shown["contacts"]["contacts"][other]["nickname_suggestion"] == "Bob"
    assert shown["invitations"]["sent"][0]["to_id"] == other


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.asyncio
async def test_no_body_makes_the_server_fail(page: Page, body: object) -> None:
    intent = {"intent": "send_message", "channel_id": body, "text": body}
    for each in (body, intent):
        try:
            content = orjson.dumps(each)
        except (orjson.JSONEncodeError, TypeError):
            continue
        answer = await page.client.post("/intents", content=content, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500


# Hostile facts


@pytest.mark.asyncio
async def test_hostile_facts_cannot_forge_an_event(page: Page) -> None:
    """Whatever a name or a text holds, it stays inside one data line of one event."""
    nasty = 'x\n\nid: 9\nevent: deltas\ndata: {"chat":[]}\n\n\r\r\u2028</script><script>alert(1)</script>\u202e\x00'
    await page.core.submit(CreateChannel(channel_id="hall", name="a"))
    await page.intend("send_message", channel_id="hall", text=nasty)
    async with page.browser_of("hall").follow() as events:
        shown = await anext(events)
    (message,) = shown["messages"]
    assert message["content"] == nasty


@pytest.mark.asyncio
async def test_the_page_itself_is_the_same_for_everyone(tmp_path: Path) -> None:
    """Nothing of a journal is ever written into HTML: what people say reaches the page as JSON alone."""
    async with open_core(tmp_path / "j", author="<script>alert(1)</script>") as core, serve_page(core) as page:
        assert (await page.client.get("/")).content == PAGE_FILES["index.html"][0]
        assert not core.read(CONTACTS_SIGNAL).contacts


@pytest.mark.asyncio
async def test_a_message_asked_for_twice_is_said_once(page: Page) -> None:
    """The answer may be lost on its way; who asks again names the same message."""
    await page.core.submit(CreateChannel(channel_id="hall", name="Hall"))
    answers = [await page.intend("send_message", channel_id="hall", text="once", message_id="m1") for _ in range(2)]
    assert [answer.json()["done"]["progress"] for answer in answers] == ["done", "nothing_to_do"]
    assert [message.content for message in page.core.read(CHAT_SIGNAL).messages_in("hall")] == ["once"]

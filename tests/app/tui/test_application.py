"""The terminal: what is typed becomes intents, what is committed shows, and no text steers anything."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.events import AppFocus
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input, Static, TabbedContent

from antiphon import CHAT_SIGNAL, CONTACTS_SIGNAL, AppCore, demo_core, open_core
from antiphon.app.core import CoreConfig, Outcome
from antiphon.app.intents import Intent
from antiphon.app.tui.application import TerminalApp
from antiphon.app.tui.panes import SignalPane, plain
from antiphon.facts.chat import MessageSent
from antiphon.facts.invitations import ContactInvitation, InvitationSent
from antiphon.reactive import Signal, SignalHub, Update, open_stream
from antiphon.testing.contracts.subscription import HOSTILE, Show, SubscriptionContract, Surface, printable
from antiphon.views import HOMES_SIGNAL

PATIENCE_S = 30.0


def seen_in(widget: Widget) -> str:
    """What stands on the screen where the widget is."""
    return "\n".join(widget.render_line(row).text.rstrip() for row in range(widget.size.height))


class OnePane(App[None]):
    """A terminal with nothing but one pane."""

    def __init__(self, pane: SignalPane[str]) -> None:
        super().__init__()
        self._pane = pane

    def compose(self) -> ComposeResult:
        yield self._pane


class PaneSurface:
    """A pane as its user sees it."""

    def __init__(self, pilot: Pilot[None], pane: SignalPane[str]) -> None:
        self._pilot = pilot
        self._pane = pane
        self._shown = 0
        self._skipped = 0

    async def next(self) -> Update[str]:
        pane = self._pane
        while pane.shown_count == self._shown and not pane.is_ended:
            await self._pilot.pause()
        if pane.shown_count == self._shown:
            raise StopAsyncIteration
        await self._pilot.pause()
        assert pane.newest is not None
        missed = pane.shown_count - self._shown - 1 + pane.skipped_count - self._skipped
        self._shown, self._skipped = pane.shown_count, pane.skipped_count
        return pane.newest._replace(value=seen_in(pane).rstrip("\n"), skipped=missed)


@asynccontextmanager
async def pane_surface(hub: SignalHub, signal: Signal[str]) -> AsyncIterator[Surface]:
    pane = SignalPane(open_stream(hub, signal, policy="latest"), plain)
    async with OnePane(pane).run_test(size=(300, 10)) as pilot:
        yield PaneSurface(pilot, pane)


class TestPane(SubscriptionContract):
    @pytest.fixture
    def show(self) -> Show:
        return pane_surface


@asynccontextmanager
async def terminal(core: AppCore) -> AsyncIterator[tuple[TerminalApp, Pilot[None]]]:
    app = TerminalApp(core)
    async with asyncio.timeout(PATIENCE_S), app.run_test(size=(160, 40)) as pilot:
        await pilot.pause()
        yield app, pilot


async def type_in(pilot: Pilot[None], text: str) -> None:
    line = pilot.app.query_one("#line", Input)
    line.focus()
    line.value = text
    await pilot.press("enter")
    await pilot.pause()


async def until(pilot: Pilot[None], is_so: Callable[[], bool]) -> None:
    while not is_so():
        await pilot.pause()


def answer_of(app: TerminalApp) -> str:
    return str(app.query_one("#answer", Static).content)


def text_of(app: TerminalApp, pane: str) -> str:
    return seen_in(app.query_one(f"#{pane}"))


@pytest.mark.asyncio
async def test_typed_lines_become_messages_and_show() -> None:
    async with demo_core("ada") as core, terminal(core) as (app, pilot):
        assert "No channel is open" in text_of(app, "messages")
        await type_in(pilot, "/create Hall")
        assert app.channel is not None
        await type_in(pilot, "hello")
        await type_in(pilot, "/edit hello there")
        await until(pilot, lambda: "hello there" in text_of(app, "messages"))
        assert "ada: hello there  (edited)" in text_of(app, "messages")
        await type_in(pilot, "/topic what matters")
        await until(pilot, lambda: "Hall · what matters" in text_of(app, "messages"))
        await type_in(pilot, "/delete")
        await until(pilot, lambda: "hello" not in text_of(app, "messages"))
        await type_in(pilot, "/close")
        await until(pilot, lambda: "No channel is open" in text_of(app, "messages"))


@pytest.mark.asyncio
async def test_a_line_typed_while_the_one_before_is_being_done_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    is_typed, submit = asyncio.Event(), AppCore.submit

    async def submit_late(core: AppCore, intent: Intent) -> Outcome:
        await is_typed.wait()
        return await submit(core, intent)

    monkeypatch.setattr(AppCore, "submit", submit_late)
    async with demo_core("ada") as core, terminal(core) as (app, pilot):
        line = app.query_one("#line", Input)
        for text in ("/create Hall", "hello"):
            line.value = text
            await pilot.press("enter")
        is_typed.set()
        await until(pilot, lambda: "ada: hello" in text_of(app, "messages") or "⚠" in answer_of(app))
        assert "⚠" not in answer_of(app)


@pytest.mark.asyncio
async def test_what_others_say_shows_as_it_comes_and_is_read_when_somebody_sees_it() -> None:
    async with demo_core("ada") as core, terminal(core) as (app, pilot):
        await type_in(pilot, "/create Hall")
        hall = app.channel
        assert hall is not None
        await type_in(pilot, "/create Attic")
        await until(pilot, lambda: app.channel != hall)

        async def say(text: str) -> None:
            said = MessageSent(
                context_id=hall.context_id,
                channel_id=hall.channel_id,
                message_id=text,
                sender_id=core.offline.authority_of("ben"),
                sender_name="ben",
                text=text,
                sent_at=core.offline.now_ms(),
            )
            await core.offline.commit_as("ben", [said])

        await say("hello ada")
        await until(pilot, lambda: "1 unread" in text_of(app, "unread"))
        app.action_next_channel(1)
        await until(pilot, lambda: "ben: hello ada" in text_of(app, "messages"))
        await until(pilot, lambda: "all read" in text_of(app, "unread"))
        app.app_focus = False  # as a terminal says when another window is before it
        await say("still there?")
        await until(pilot, lambda: "ben: still there?" in text_of(app, "messages"))
        await until(pilot, lambda: "1 unread" in text_of(app, "unread"))
        app.post_message(AppFocus())
        await until(pilot, lambda: "all read" in text_of(app, "unread"))
        app.action_show_tab("contacts")
        await pilot.pause()
        await say("and now?")
        await until(pilot, lambda: "1 unread" in text_of(app, "unread"))
        app.action_show_tab("chat")
        await until(pilot, lambda: "all read" in text_of(app, "unread"))


@pytest.mark.asyncio
async def test_paging_up_goes_back_beyond_what_a_snapshot_holds() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.views.message_log.MESSAGE_COUNT_MAX", 60)
        async with demo_core("ada") as core, terminal(core) as (app, pilot):
            await type_in(pilot, "/create Hall")
            key = app.channel
            assert key is not None
            about = {"context_id": key.context_id, "channel_id": key.channel_id, "sender_name": "ben"}
            ben = core.offline.authority_of("ben")
            said = [
                MessageSent(**about, message_id=f"m{number}", sender_id=ben, text=f"text {number}.", sent_at=number)
                for number in range(200)
            ]
            await core.offline.commit_as("ben", said)
            await until(pilot, lambda: "text 199." in text_of(app, "messages"))
            await until(pilot, lambda: core.read(CHAT_SIGNAL).total_unread == 140)
            while "text 0." not in text_of(app, "messages"):
                app.action_page(-1)
                await pilot.pause()
            assert "earlier messages" not in text_of(app, "messages")
            await until(pilot, lambda: "all read" in text_of(app, "unread"))


@pytest.mark.asyncio
async def test_contacts_invitations_and_the_inspector_have_their_tabs() -> None:
    async with demo_core("ada") as core, terminal(core) as (app, pilot):
        ben = core.offline.authority_of("ben")
        await type_in(pilot, f"/add {ben} Ben")
        await type_in(pilot, "/call Ben Benjamin")
        await type_in(pilot, "/befriend Benjamin")
        await pilot.press("f2")
        await until(pilot, lambda: "Benjamin" in text_of(app, "contact-list"))
        assert "friendship offered" in text_of(app, "contact-list")
        offer = InvitationSent(
            context_id=core.offline.namespace,
            invitation_id="i1",
            sender_id=ben,
            receiver_id=core.authority,
            invitation_type=ContactInvitation(),
            sent_at=core.offline.now_ms(),
        )
        await core.offline.commit_as("ben", [offer])
        await pilot.press("f3")
        await until(pilot, lambda: "Waiting for you" in text_of(app, "invitation-list"))
        await type_in(pilot, "/accept i1")
        await until(pilot, lambda: "Ended" in text_of(app, "invitation-list"))
        await pilot.press("f5")
        assert app.query_one(TabbedContent).active == "inspector"
        await until(pilot, lambda: "invitation.accepted" in text_of(app, "windows"))
        assert "→ app:invitations: 1 × invitation.accepted" in text_of(app, "windows")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/fly", "there is no /fly"),
        ("hello", "no channel is open"),
        ("/create", "/create NAME: "),
        ("/edit x", "no channel is open"),
        ("/befriend nobody", "no contact goes by 'nobody'"),
        ("/accept", "no contact goes by ''"),
        ("/cancel zz", "0 invitations begin with 'zz'"),
        ("/sync tcp://127.0.0.1:1", "sync needs a runtime"),
        ("/join porch extra words", "done"),
        ("/help", "/create NAME"),
    ],
)
async def test_every_line_is_answered_and_a_refused_one_is_given_back(line: str, told: str) -> None:
    async with demo_core("ada") as core, terminal(core) as (app, pilot):
        await type_in(pilot, line)
        await until(pilot, lambda: told in answer_of(app))
        is_refused = answer_of(app).startswith("⚠")
        assert app.query_one("#line", Input).value == (line if is_refused else "")
        assert app.query_one("#line", Input).cursor_position == (len(line) if is_refused else 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_names_and_texts_are_shown_and_not_obeyed(text: str) -> None:
    async with demo_core(config=CoreConfig(author=text)) as core, terminal(core) as (app, pilot):
        await type_in(pilot, "/create Hall")
        assert app.channel is not None
        ben = core.offline.authority_of(text)
        about = {"context_id": app.channel.context_id, "channel_id": app.channel.channel_id}
        said = {"message_id": text, "sender_id": ben, "sender_name": text, "text": text, "sent_at": 5}
        await core.offline.commit_as(text, [MessageSent(**about, **said)])
        await type_in(pilot, f"/add {ben} {printable(text)}")
        await type_in(pilot, f"/create {printable(text)[:100]}")
        for tab in ("f2", "f3", "f4", "f1"):
            await pilot.press(tab)
            await pilot.pause()
        shown = core.read(CHAT_SIGNAL)
        assert app.is_running
        assert any(message.content == text for messages in shown.messages.values() for message in messages)
        assert ben in core.read(CONTACTS_SIGNAL).contacts
        await pilot.press("f2")
        await until(pilot, lambda: printable(text)[:20] in text_of(app, "contact-list"))
        assert "\x1b" not in text_of(app, "contact-list")


@pytest.mark.asyncio
async def test_channels_are_chosen_by_key_and_the_choice_stays() -> None:
    async with demo_core("ada") as core, terminal(core) as (app, pilot):
        for name in ("Attic", "Cellar", "Hall"):
            await type_in(pilot, f"/create {name}")
        await until(pilot, lambda: "Hall" in text_of(app, "messages"))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "Attic" in text_of(app, "messages"))
        await pilot.press("ctrl+p", "ctrl+p")
        await until(pilot, lambda: "Cellar" in text_of(app, "messages"))
        await type_in(pilot, "/rename Zenith")
        await until(pilot, lambda: "Zenith" in text_of(app, "messages"))


@pytest.mark.asyncio
async def test_a_home_is_founded_and_moderated_by_typing() -> None:
    async with demo_core("ada") as core, terminal(core) as (app, pilot):
        ben = core.offline.authority_of("ben")
        await type_in(pilot, "/home friends")
        await until(pilot, lambda: "home:declare: shown" in answer_of(app) or "home:declare: done" in answer_of(app))
        context_id = answer_of(app).split()[-1]
        await type_in(pilot, f"/room {context_id} Porch")
        await until(pilot, lambda: "Porch" in text_of(app, "messages"))
        await type_in(pilot, "welcome all")
        await type_in(pilot, "/pin")
        await type_in(pilot, f"/ban {ben} too loud")
        await until(pilot, lambda: "moderation:ban: shown" in answer_of(app))
        home = core.read(HOMES_SIGNAL).homes[context_id]
        assert [(ban.target_id, ban.reason) for ban in home.bans] == [(ben, "too loud")]
        assert len(home.pins) == 1
        await pilot.press("f4")
        await until(pilot, lambda: "is banned" in text_of(app, "home-list"))
        shown = text_of(app, "home-list")
        assert "ada (you)  owner" in shown
        assert f"{ben[:8]} is banned by ada (you): too loud" in shown
        assert "pinned in Porch: welcome all" in shown


@pytest.mark.asyncio
async def test_every_command_of_the_help_can_be_seen() -> None:
    async with demo_core("ada") as core, terminal(core) as (app, pilot):
        await type_in(pilot, "/help")
        answers = app.query_one("#answers")
        await until(pilot, lambda: answers.max_scroll_y > 0)
        assert "PageDown" in answer_of(app).splitlines()[0]
        for _ in range(20):
            await pilot.press("pagedown")
        await until(pilot, lambda: answers.scroll_y == answers.max_scroll_y)
        await type_in(pilot, "/create Hall")
        await until(pilot, lambda: answers.max_scroll_y == 0)


@pytest.mark.asyncio
async def test_reactions_and_the_ceremony_of_an_invitation_are_typed_and_shown() -> None:
    async with demo_core("ada") as core, terminal(core) as (app, pilot):
        ben = core.offline.authority_of("ben")
        await type_in(pilot, "/create Hall")
        await until(pilot, lambda: "Hall" in text_of(app, "messages"))
        hall = app.channel
        assert hall is not None
        said = {"message_id": "m1", "sender_id": ben, "sender_name": "ben", "text": "cake?", "sent_at": 5}
        await core.offline.commit_as("ben", [MessageSent(**hall._asdict(), **said)])
        await until(pilot, lambda: "cake?" in text_of(app, "messages"))
        await type_in(pilot, "/react +1")
        await until(pilot, lambda: "+1 1" in text_of(app, "messages"))
        await type_in(pilot, "/unreact +1")
        await until(pilot, lambda: "+1 1" not in text_of(app, "messages"))
        about = {"context_id": core.offline.namespace, "invitation_id": "i1"}
        offer = InvitationSent(
            **about, sender_id=ben, receiver_id=core.authority, invitation_type=ContactInvitation(), sent_at=1
        )
        await core.offline.commit_as("ben", [offer])
        await type_in(pilot, "/accept i1")
        await type_in(pilot, "/begin i1")
        await pilot.press("f3")
        await until(pilot, lambda: "pending epoch, 1 of 2 agreed" in text_of(app, "invitation-list"))
        await type_in(pilot, "/finish i1")
        await until(pilot, lambda: "1 have agreed" in answer_of(app))
        await type_in(pilot, "/abort i1")
        await until(pilot, lambda: "aborted" in text_of(app, "invitation-list"))


@pytest.mark.asyncio
async def test_two_terminals_over_two_journals_converse(tmp_path: Path) -> None:
    async with (
        open_core(tmp_path / "a", author="ada") as ada,
        open_core(tmp_path / "b", author="ben") as ben,
        terminal(ben) as (app, pilot),
    ):
        _, address = await ada.runtime.serve("tcp://127.0.0.1:0")
        await type_in(pilot, "/create Hall")
        await until(pilot, lambda: app.channel is not None)
        await type_in(pilot, f"/link {address}")
        await type_in(pilot, "hello ada")
        async with ada.subscribe(CHAT_SIGNAL) as updates:
            async for update in updates:
                if any(messages for messages in update.value.messages.values()):
                    break
        await until(pilot, lambda: "in sync" in text_of(app, "sync"))

"""The terminal application: panes that follow an `AppCore`'s signals, and one line to type intents into.

Holds no state but which channel is open. Belongs to the core's loop: ``await TerminalApp(core).run_async()``.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import ClassVar, Protocol

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Input, Static, TabbedContent, TabPane

from antiphon.app.acknowledged import ACKNOWLEDGED_SIGNAL
from antiphon.app.core import AppCore
from antiphon.app.intent_errors import IntentError
from antiphon.app.intents import READ_COUNT_MAX, Intent, MarkRead
from antiphon.app.runtime_bridge import RuntimeBridge
from antiphon.app.typed_lines import Errand, Help, Place, read_line
from antiphon.reactive import ERROR_SIGNAL, SYNC_STATUS_SIGNAL
from antiphon.views.chat_state import ChannelKey, ChatState, Message
from antiphon.views.homes_state import HomesState
from antiphon.views.signals import (
    CHAT_SIGNAL,
    CONTACTS_SIGNAL,
    HOMES_SIGNAL,
    INVITATIONS_SIGNAL,
    UNREAD_COUNT_SIGNAL,
)

from .drawing import (
    channel_lines,
    contact_lines,
    error_line,
    home_lines,
    invitation_lines,
    key_text,
    message_items,
    message_line,
    sync_line,
    unread_line,
    window_items,
    window_lines,
)
from .panes import LinesPane, SignalChoice, SignalPane, plain

TABS = ("chat", "contacts", "invitations", "homes", "inspector")


class _Errand(Protocol):
    async def __call__(self, address: str, /) -> object: ...


class TerminalApp(App[None]):
    """Chat, contacts, invitations, homes and the inspector in a terminal."""

    TITLE = "antiphon"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #channels { width: 26; border: none; }
    #messages { padding: 0 1; }
    #status { height: 1; }
    #status > Static { width: auto; padding: 0 2 0 0; }
    #answers { height: auto; max-height: 14; }
    #answer { height: auto; }
    TabbedContent { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *((f"f{number}", f"show_tab('{tab}')", tab.title()) for number, tab in enumerate(TABS, start=1)),
        ("ctrl+n", "next_channel(1)", "Next channel"),
        ("ctrl+p", "next_channel(-1)", "Previous"),
        Binding("pageup", "page(-1)", "Back", show=False),
        Binding("pagedown", "page(1)", "On", show=False),
        ("escape", "focus_line", "Type"),
        ("ctrl+q", "quit", "Quit"),
    ]

    def __init__(self, core: AppCore) -> None:
        super().__init__()
        self._core = core
        self._older: tuple[ChannelKey, tuple[Message, ...]] | None = None  # what was scrolled back to, as it was then
        self._marked: set[tuple[ChannelKey, str]] = set()  # what was said to be read and does not show so yet
        self._turn = asyncio.Lock()  # whoever types fast speaks in the room that the line before makes

    @property
    def channel(self) -> ChannelKey | None:
        """The channel that is open."""
        chosen = self.query_one("#channels", SignalChoice).chosen
        return next((key for key in self._core.read(CHAT_SIGNAL).channels if key_text(key) == chosen), None)

    def compose(self) -> ComposeResult:
        """The five tabs, the status, the answer to what was typed, and the line to type in."""
        core = self._core
        self._messages: LinesPane[ChatState] = LinesPane(
            core.subscribe(CHAT_SIGNAL),
            self._items_of,
            message_line,
            keeps_end=True,
            on_drawn=self._mark_read,
            id="messages",
        )
        with TabbedContent(initial="chat"):
            with TabPane("Chat", id="chat"), Horizontal():
                yield SignalChoice(core.subscribe(CHAT_SIGNAL), channel_lines, self._on_chosen, id="channels")
                yield self._messages
            with TabPane("Contacts", id="contacts"), VerticalScroll():
                yield SignalPane(core.subscribe(CONTACTS_SIGNAL), contact_lines, id="contact-list")
            with TabPane("Invitations", id="invitations"), VerticalScroll():
                yield SignalPane(core.subscribe(INVITATIONS_SIGNAL), invitation_lines, id="invitation-list")
            with TabPane("Homes", id="homes"), VerticalScroll():
                yield SignalPane(core.subscribe(HOMES_SIGNAL), self._home_lines, id="home-list")
            with TabPane("Inspector", id="inspector"):
                yield LinesPane(core.subscribe(core.inspect()), window_items, window_lines, id="windows")
        with Horizontal(id="status"):
            yield Static(plain(f"{core.author} ({core.authority[:8]})"), markup=False)
            yield SignalPane(core.subscribe(SYNC_STATUS_SIGNAL), sync_line, id="sync")
            yield SignalPane(core.subscribe(UNREAD_COUNT_SIGNAL), unread_line, id="unread")
            yield SignalPane(core.subscribe(ERROR_SIGNAL), error_line, id="trouble")
        with VerticalScroll(id="answers", can_focus=False):
            yield Static(Text(""), id="answer", markup=False)
        yield Input(placeholder="Say something, or /help", id="line")
        yield Footer()

    def on_mount(self) -> None:
        """Begin where one types."""
        self.action_focus_line()
        self.watch(self, "app_focus", lambda _: self._messages.redraw(), init=False)  # somebody looks again, or no more
        self._unfollow = self._core.on(ACKNOWLEDGED_SIGNAL, lambda _: self._messages.redraw())

    def on_unmount(self) -> None:
        """Follow no more."""
        self._unfollow()

    def action_show_tab(self, tab: str) -> None:
        """Show a tab; typing goes on."""
        self.query_one(TabbedContent).active = tab
        self.action_focus_line()

    def action_next_channel(self, step: int) -> None:
        """Open the next channel of the list."""
        channels: SignalChoice[ChatState] = self.query_one("#channels", SignalChoice)
        keys = channels.keys
        if keys:
            here = keys.index(channels.chosen) if channels.chosen in keys else 0
            channels.choose(keys[(here + step) % len(keys)])

    def action_page(self, step: int) -> None:
        """Leaf through the answer, when it is too long to be seen at once; else through what was said."""
        answers = self.query_one("#answers", VerticalScroll)
        leafed: VerticalScroll | LinesPane[ChatState] = answers if answers.max_scroll_y else self._messages
        if leafed is self._messages and step < 0 and leafed.scroll_offset.y == 0:
            self._go_back()
        (leafed.scroll_page_down if step > 0 else leafed.scroll_page_up)(animate=False)

    def _go_back(self) -> None:
        """Show what was said before the oldest message that is shown; who reads stays where they are."""
        key = self.channel
        if key is None:
            return
        older = self._older_of(key)
        shown = (*older, *self._core.read(CHAT_SIGNAL).messages[key])
        if not shown:
            return
        page = self._core.messages_before(shown[0].id, channel_id=key.channel_id, context_id=key.context_id)
        if page:
            self._older = (key, (*page, *older))
            height = self._messages.virtual_size.height
            self._messages.redraw()
            self._messages.scroll_to(y=self._messages.virtual_size.height - height, animate=False)

    def _older_of(self, key: ChannelKey | None) -> tuple[Message, ...]:
        return self._older[1] if self._older is not None and self._older[0] == key else ()

    def action_focus_line(self) -> None:
        """Go where one types."""
        self.query_one("#line", Input).focus()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Do what was typed. The line is emptied at once, and given back when it was refused."""
        text = event.value
        if not text.strip():
            return
        event.input.value = ""
        self.run_worker(self._do(text))

    async def _do(self, text: str) -> None:
        """Lines are read and done one after the other; only an errand, which waits for a peer, holds up none."""
        try:
            async with self._turn:
                asked = read_line(text, self._place())
                if isinstance(asked, Help):
                    self._answer(Text(asked.text))
                elif not isinstance(asked, Errand):
                    await self._submit(asked)
            if isinstance(asked, Errand):
                self._answer(plain(f"{asked.operation} {asked.address} …"))
                self._answer(plain(_told(await self._run(asked))))
        except IntentError as refused:
            self._answer(Text.assemble(("⚠ ", "red"), plain(str(refused))))
            line = self.query_one("#line", Input)
            if not line.value:
                line.value = text
                line.cursor_position = len(text)  # where one goes on typing

    async def _submit(self, intent: Intent) -> None:
        outcome = await self._core.submit(intent)
        told = f"{outcome.operation}: {outcome.progress.replace('_', ' ')}"
        if outcome.operation == "home:declare":  # whoever opens a room there, or is invited, needs its context
            told += f" {outcome.subject}"
        self._answer(plain("" if outcome.operation == "chat:send-message" else told))
        if outcome.operation == "chat:create-channel" and outcome.subject is not None:
            made = self._core.read(CHAT_SIGNAL).channel(outcome.subject)
            if made is not None:
                key = ChannelKey(made.context_id, made.id)
                self.query_one("#channels", SignalChoice).choose(key_text(key))

    async def _run(self, errand: Errand) -> object:
        behind: RuntimeBridge = self._core.runtime
        errands: dict[str, _Errand] = {"sync": behind.sync, "link": behind.link, "unlink": behind.unlink}
        return await errands[errand.operation](errand.address)

    def _place(self) -> Place:
        core = self._core
        return Place(core.read(CHAT_SIGNAL), core.read(CONTACTS_SIGNAL), core.read(INVITATIONS_SIGNAL), self.channel)

    def _answer(self, text: Text) -> None:
        self.query_one("#answers", VerticalScroll).scroll_home(animate=False)
        self.query_one("#answer", Static).update(text)

    def _on_chosen(self, _: str | None) -> None:
        self._messages.redraw()

    def _items_of(self, state: ChatState) -> list[Message | str]:
        acknowledged = self._core.read(ACKNOWLEDGED_SIGNAL)
        chosen = self.query_one("#channels", SignalChoice).chosen
        return message_items(state, chosen, acknowledged, self._older_of(self.channel))

    def _mark_read(self) -> None:
        """What is on the screen of somebody who looks is read."""
        key = self.channel
        if key is None or not self.app_focus:
            return
        shown = (*self._older_of(key), *self._core.read(CHAT_SIGNAL).messages[key])
        unread = {(key, each.id) for each in shown if not each.is_own and not each.is_read}
        self._marked &= unread
        fresh = set(islice(unread - self._marked, READ_COUNT_MAX))
        if fresh:
            self._marked |= fresh
            self.run_worker(self._say_read(key, fresh))

    async def _say_read(self, key: ChannelKey, fresh: set[tuple[ChannelKey, str]]) -> None:
        ids = tuple(sorted(message_id for _, message_id in fresh))
        try:
            await self._core.submit(MarkRead(channel_id=key.channel_id, context_id=key.context_id, message_ids=ids))
        except IntentError:  # a full disk, say: they stay unread, and the next drawing asks again
            self._marked -= fresh

    def _home_lines(self, state: HomesState) -> Text:
        return home_lines(state, self._core.read(CHAT_SIGNAL), self._name_of)

    def _name_of(self, person: str) -> str | None:
        if person == self._core.authority:
            return f"{self._core.author} (you)"
        contact = self._core.read(CONTACTS_SIGNAL).contacts.get(person)
        return None if contact is None else contact.effective_name


def _told(result: object) -> str:
    """What came of an errand."""
    return str(result).replace("_", " ")

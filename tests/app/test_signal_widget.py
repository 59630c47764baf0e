"""The notebook widget: it updates in place at most thirty times a second, escapes everything, and degrades to HTML."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from antiphon import CHAT_SIGNAL, demo_core
from antiphon.app.intents import CreateChannel, SendMessage
from antiphon.app.signal_widget import UPDATES_A_SECOND, SignalWidget, html_of
from antiphon.reactive import Signal, SignalHub, SignalNotFound, Update
from antiphon.testing.contracts.subscription import WORD_SIGNAL, Show, SubscriptionContract, Surface, make_hub
from antiphon.testing.simulation.playground import SimulatedNet


class ShownText(HTMLParser):
    """The text of a widget as a reader sees it, without its caption; and which elements there are."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        self._is_caption = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._is_caption = self._is_caption or tag == "figcaption"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._is_caption else data


class WidgetSurface:
    """A widget as its reader sees it."""

    def __init__(self, widget: SignalWidget[str]) -> None:
        self._widget = widget
        self._published: list[tuple[str, Update[str], bool]] = []
        self._changed = asyncio.Event()
        widget.follow(self._take)

    def _take(self, html: str) -> None:
        assert self._widget.shown is not None
        self._published.append((html, self._widget.shown, self._widget.is_ended))
        self._changed.set()

    async def next(self) -> Update[str]:
        while not self._published:
            self._changed.clear()
            await self._changed.wait()
        html, shown, is_ended = self._published[0]
        if is_ended:
            raise StopAsyncIteration
        self._published.pop(0)
        page = ShownText(html)
        assert page.tags == {"figure", "figcaption", "small"}
        return shown._replace(value=page.text)


@asynccontextmanager
async def widget_surface(hub: SignalHub, signal: Signal[str]) -> AsyncIterator[Surface]:
    with SignalWidget(hub, signal) as widget:
        yield WidgetSurface(widget)


class TestWidget(SubscriptionContract):
    @pytest.fixture
    def show(self) -> Show:
        return widget_surface


def test_it_publishes_at_most_thirty_times_a_second_and_always_the_newest(tmp_path: Path) -> None:
    net = SimulatedNet(tmp_path)

    async def a_busy_second() -> tuple[list[str], SignalWidget[str]]:
        hub, published = make_hub(), list[str]()
        with SignalWidget(hub, WORD_SIGNAL) as widget:
            widget.follow(published.append)
            for number in range(1_000):
                hub.emit(WORD_SIGNAL, f"word {number}")
                await net.clock.advance(0.001)
            await net.clock.advance(1)
            return published, widget

    published, widget = net.run(a_busy_second())
    net.end()
    assert UPDATES_A_SECOND * 0.9 <= len(published) <= UPDATES_A_SECOND + 2
    assert "word 999" in published[-1]
    assert widget.shown is not None
    assert widget.shown.seq == 1_000


@pytest.mark.asyncio
async def test_closing_a_widget_shows_what_waited_and_then_no_more() -> None:
    hub, published = make_hub(), list[str]()
    widget = SignalWidget(hub, WORD_SIGNAL)
    widget.follow(published.append)
    hub.emit(WORD_SIGNAL, "waits for its turn")
    widget.close()
    widget.close()
    hub.emit(WORD_SIGNAL, "unseen")
    assert len(published) == 2
    assert "waits for its turn" in published[-1]
    assert "ended" in published[-1]


def test_without_a_loop_or_a_notebook_it_is_static_html() -> None:
    hub = make_hub("<script>x</script>")
    with SignalWidget(hub, WORD_SIGNAL) as widget:
        assert "&lt;script&gt;x&lt;/script&gt;" in widget._repr_html_()
        hub.emit(WORD_SIGNAL, "newer")
        assert "newer" in widget._repr_html_()
        assert repr(widget) == "<SignalWidget contract:word version 1>"


def test_a_widget_of_an_unknown_signal_is_refused_at_once() -> None:
    with pytest.raises(SignalNotFound):
        SignalWidget(SignalHub(), WORD_SIGNAL)


@pytest.mark.asyncio
async def test_a_whole_state_becomes_tables_in_which_nothing_is_markup() -> None:
    async with demo_core("<i>ada</i>") as core:
        await core.submit(CreateChannel(channel_id="hall", name="<h1>Hall</h1>"))
        await core.submit(SendMessage(channel_id="hall", text="<img src=x onerror=alert(1)>"))
        with SignalWidget(core.hub, CHAT_SIGNAL) as widget:
            page = ShownText(widget._repr_html_())
    assert page.tags <= {"figure", "figcaption", "small", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "p"}
    assert "<img src=x onerror=alert(1)>" in page.text


def test_long_lists_are_cut_and_say_so() -> None:
    assert "<p>… 950 more</p>" in html_of(list(range(1_000)))


NOTEBOOK = (
    """
from antiphon import CHAT_SIGNAL, demo_core
from antiphon.app.intents import CreateChannel
from antiphon.app.signal_widget import SignalWidget
core = await demo_core("ada").__aenter__()
widget = SignalWidget(core.hub, CHAT_SIGNAL)
widget
""",
    """
await core.submit(CreateChannel(name="made after the cell above had run"))
await core.close()
""",
)


def test_in_a_real_notebook_the_output_of_an_earlier_cell_changes() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text.strip()) for text in NOTEBOOK])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert "made after the cell above had run" in output.data["text/html"]
    assert "ended" in output.data["text/html"]

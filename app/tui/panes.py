"""Widgets that follow a signal: the newest value, drawn when somebody sees it, and never as markup.

Know no fact and no core: a pane is given a stream and functions that draw. The stream ends with the pane. The terminal
lives on the journal's loop, so what is not seen is not drawn, and of a long list only what changed is drawn anew.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from antiphon.app.printable import clean
from antiphon.reactive import SignalStream, Update

T = TypeVar("T")


class Following(Widget, Generic[T]):
    """What panes have in common: the newest update, and how many were shown and skipped."""

    _stream: SignalStream[T]
    newest: Update[T] | None = None
    shown_count = 0
    skipped_count = 0
    is_ended = False
    _is_seen = False

    def on_mount(self) -> None:
        """Begin to follow."""
        self.run_worker(self._follow())

    def on_unmount(self) -> None:
        """Follow no more."""
        self._stream.subscription.close()

    def on_show(self) -> None:
        """Draw what came while nobody looked."""
        self._is_seen = True
        self.redraw()

    def on_hide(self) -> None:
        """Nobody looks."""
        self._is_seen = False

    def redraw(self) -> None:
        """Draw the newest value, if somebody looks; call it when what it is looked at with changed."""
        if self.newest is not None and self._is_seen:
            self.draw_value(self.newest.value)

    def draw_value(self, value: T) -> None:
        """Draw a value."""
        raise NotImplementedError

    async def _follow(self) -> None:
        async for update in self._stream:
            self.newest = update
            self.shown_count += 1
            self.skipped_count += update.skipped
            self.redraw()
        self.is_ended = True


class SignalPane(Static, Following[T]):
    """Shows what *draw* makes of the newest value. ``Text`` is drawn as it is: no letter of it is markup."""

    def __init__(self, stream: SignalStream[T], draw: Callable[[T], Text], *, id: str | None = None) -> None:
        super().__init__(Text(""), id=id, markup=False)
        self._stream = stream
        self._draw = draw

    def draw_value(self, value: T) -> None:
        """Draw a value."""
        self.update(self._draw(value))


class LinesPane(ScrollView, Following[T], can_focus=True):
    """Shows a long list of items: *items* takes them from a value, *draw* makes one of them text.

    An item is drawn once, at a width; a new value costs a look-up an item, and drawing the new ones. While the end is
    in sight it stays so. *on_drawn* is told when somebody sees what was drawn.
    """

    def __init__(
        self,
        stream: SignalStream[T],
        items: Callable[[T], Sequence[Hashable]],
        draw: Callable[[Hashable], Text],
        *,
        keeps_end: bool = False,
        on_drawn: Callable[[], object] = lambda: None,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._stream = stream
        self._on_drawn = on_drawn
        self._items_of = items
        self._draw = draw
        self._keeps_end = keeps_end
        self._drawn: dict[Hashable, list[Strip]] = {}
        self._width = 0
        self._lines: list[Strip] = []

    def on_resize(self) -> None:
        """Lines break elsewhere."""
        if self.scrollable_content_region.width != self._width:
            self.redraw()

    def draw_value(self, value: T) -> None:
        """Draw a value."""
        width = max(1, self.scrollable_content_region.width)
        kept = self._drawn if width == self._width else {}
        self._width = width
        items = self._items_of(value)
        self._drawn = {item: kept.get(item) or self._strips(item, width) for item in items}
        was_at_end = self.is_vertical_scroll_end
        self._lines = [strip for item in items for strip in self._drawn[item]]
        self.virtual_size = Size(width, len(self._lines))
        if self._keeps_end and was_at_end:
            self.scroll_end(animate=False)
        self.refresh()
        self._on_drawn()

    def render_line(self, y: int) -> Strip:
        """One line of what is in sight."""
        place = self.scroll_offset.y + y
        strip = self._lines[place] if place < len(self._lines) else Strip.blank(self._width)
        return strip.extend_cell_length(self.size.width).apply_style(self.rich_style)

    def _strips(self, item: Hashable, width: int) -> list[Strip]:
        options = self.app.console.options.update_width(width)
        return [Strip(line) for line in self.app.console.render_lines(self._draw(item), options, pad=False)]


class SignalChoice(OptionList, Following[T]):
    """A list to choose from, kept up to date; what was chosen stays so while it is there.

    *options* gives (key, line) pairs; *on_chosen* is told a key when a person, or the first value, chooses it.
    """

    def __init__(
        self,
        stream: SignalStream[T],
        options: Callable[[T], list[tuple[str, Text]]],
        on_chosen: Callable[[str | None], object],
        *,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id, markup=False)
        self._stream = stream
        self._options_of = options
        self._on_chosen = on_chosen
        self._pairs: list[tuple[str, Text]] = []
        self.chosen: str | None = None

    @property
    def keys(self) -> list[str]:
        """What can be chosen, in order."""
        return [key for key, _ in self._pairs]

    def choose(self, key: str) -> None:
        """Choose a key; one that is not there (yet) is chosen as soon as it is."""
        self.chosen = key
        if key in self.keys:
            self.highlighted = self.keys.index(key)
            self._on_chosen(key)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """A person moved to another line."""
        keys = self.keys
        if event.option_index < len(keys) and keys[event.option_index] != self.chosen:
            self.chosen = keys[event.option_index]
            self._on_chosen(self.chosen)

    def redraw(self) -> None:
        """As ``Following``, but also while nobody looks: what is chosen here decides what others show."""
        if self.newest is not None:
            self.draw_value(self.newest.value)

    def draw_value(self, value: T) -> None:
        """Draw the lines anew, when they are others."""
        pairs = self._options_of(value)
        if pairs == self._pairs:
            return
        # Set before the lines change: the events that this causes are then about the same choice.
        self._pairs = pairs
        keys = self.keys
        before = self.chosen
        if before not in keys:
            self.chosen = keys[0] if keys else None
        with self.prevent(OptionList.OptionHighlighted):
            self.clear_options()
            self.add_options([Option(line) for _, line in pairs])
            if self.chosen is not None:
                self.highlighted = keys.index(self.chosen)
        self._on_chosen(self.chosen)


def plain(value: str) -> Text:
    """A text as it is, without what could steer a terminal."""
    return Text(clean(value))

"""Widgets that follow a signal: the newest value, drawn when there is time, and never as markup.

Know no fact and no core: a pane is given a stream and a function that draws. The stream ends with the pane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from rich.text import Text
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from antiphon.app.printable import clean
from antiphon.reactive import SignalStream, Update

T = TypeVar("T")


class SignalPane(Static, Generic[T]):
    """Shows what *draw* makes of the newest value. ``Text`` is drawn as it is: no letter of it is markup."""

    def __init__(self, stream: SignalStream[T], draw: Callable[[T], Text], *, id: str | None = None) -> None:
        super().__init__(Text(""), id=id, markup=False)
        self._stream = stream
        self._draw = draw
        self.newest: Update[T] | None = None
        self.shown_count = 0
        self.skipped_count = 0
        self.is_ended = False

    def on_mount(self) -> None:
        """Begin to follow."""
        self.run_worker(self._follow())

    def on_unmount(self) -> None:
        """Follow no more."""
        self._stream.subscription.close()

    def redraw(self) -> None:
        """Draw the newest value again, because what it is looked at with changed."""
        if self.newest is not None:
            self.update(self._draw(self.newest.value))

    async def _follow(self) -> None:
        async for update in self._stream:
            self.newest = update
            self.shown_count += 1
            self.skipped_count += update.skipped
            self.redraw()
        self.is_ended = True


class SignalChoice(OptionList, Generic[T]):
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
        self._keys: list[str] = []
        self.chosen: str | None = None

    def on_mount(self) -> None:
        """Begin to follow."""
        self.run_worker(self._follow())

    def on_unmount(self) -> None:
        """Follow no more."""
        self._stream.subscription.close()

    def choose(self, key: str) -> None:
        """Choose a key; one that is not there (yet) is chosen as soon as it is."""
        self.chosen = key
        if key in self._keys:
            self.highlighted = self._keys.index(key)
            self._on_chosen(key)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """A person moved to another line."""
        index = event.option_index
        if index < len(self._keys) and self._keys[index] != self.chosen:
            self.chosen = self._keys[index]
            self._on_chosen(self.chosen)

    async def _follow(self) -> None:
        async for update in self._stream:
            pairs = self._options_of(update.value)
            # Set before the lines change: the events that this causes are then about the same choice.
            self._keys = [key for key, _ in pairs]
            if self.chosen not in self._keys:
                self.chosen = self._keys[0] if self._keys else None
            with self.prevent(OptionList.OptionHighlighted):
                self.clear_options()
                self.add_options([Option(line) for _, line in pairs])
                if self.chosen is not None:
                    self.highlighted = self._keys.index(self.chosen)
            self._on_chosen(self.chosen)


def plain(value: str) -> Text:
    """A text as it is, without what could steer a terminal."""
    return Text(clean(value))

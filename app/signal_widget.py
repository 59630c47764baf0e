"""``SignalWidget``: a signal in a notebook cell that updates in place, and a static table wherever nothing can update.

Needs nothing but IPython, and works without: then it is its ``_repr_html_``. It starts no task: the hub calls it, and a
timer of the loop holds it to thirty updates a second. What a fact says is escaped, always.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from antiphon.reactive import Signal, SignalHub, Update, to_document

from .printable import clean

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")

# What an eye and a browser can follow.
UPDATES_A_SECOND = 30
# A screenful; the rest is a history query.
ROWS_SHOWN = 50

Publish = Callable[[str], object]
"""Puts HTML where the widget stands: the first call makes the place, the others replace what is there."""


class SignalWidget(Generic[T]):
    """The newest value of a signal as HTML: show it as the last line of a cell, ``close`` it when it is not wanted.

    *render* gives HTML and must escape what is not its own. Belongs to the hub's loop. Raises ``SignalNotFound`` at
    once.

    >>> from antiphon.reactive import Signal, SignalHub
    >>> NAMES = Signal("app:names", tuple)
    >>> hub = SignalHub()
    >>> _ = hub.register(NAMES, ("ada", "<b>"), external=True)
    >>> "&lt;b&gt;" in SignalWidget(hub, NAMES)._repr_html_()
    True
    """

    def __init__(
        self,
        hub: SignalHub,
        signal: Signal[T],
        render: Callable[[T], str] | None = None,
        *,
        updates_a_second: float = UPDATES_A_SECOND,
    ) -> None:
        self._signal_id = signal.signal_id
        self._render = render or html_of
        self._interval_s = 1 / updates_a_second
        self._newest: Update[T] = Update(*_first_of(hub, signal))
        self._missed = 0
        self._publish: Publish | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.shown: Update[T] | None = None
        """What was published last; its ``skipped`` counts what was not shown since the time before."""
        self.is_ended = False
        self._subscription = hub.subscribe(signal, policy="latest", replay_current=False)
        self._subscription.for_each(self._take, on_end=self._end)

    def follow(self, publish: Publish) -> None:
        """Publish the value now and from now on, on the running loop. ``_ipython_display_`` does this by itself."""
        self._loop = asyncio.get_running_loop()
        self._publish = publish
        self._show()

    def close(self) -> None:
        """Follow no more. What was not shown yet is shown first, and stays. Closing twice is fine."""
        self._subscription.close()
        if not self.is_ended:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _repr_html_(self) -> str:
        note = "" if not self.is_ended else " · ended"
        caption = f"{escape(self._signal_id)} · version {self._newest.seq}{note}"
        return (
            f'<figure role="group" aria-label="{escape(self._signal_id)}">{self._render(self._newest.value)}'
            f"<figcaption><small>{caption}</small></figcaption></figure>"
        )

    def __repr__(self) -> str:
        return f"<SignalWidget {self._signal_id} version {self._newest.seq}>"

    def _ipython_display_(self) -> None:
        publish = ipython_publisher()
        try:
            self.follow(publish)
        except RuntimeError:  # no loop runs here: the value as it is
            publish(self._repr_html_())

    def _take(self, update: Update[T]) -> None:
        self._missed += update.skipped + (1 if self._is_pending else 0)
        self._newest = update
        if self._timer is None:  # else something was shown just now: the timer shows this one
            self._show()

    @property
    def _is_pending(self) -> bool:
        """Whether a value is held that was not published."""
        return self._publish is not None and (self.shown is None or self.shown.seq != self._newest.seq)

    def _show(self) -> None:
        self._stop_timer()
        if self._publish is None or self._loop is None:
            return
        missed, self._missed = self._missed, 0
        self.shown = self._newest._replace(skipped=missed)
        if not self.is_ended:
            self._timer = self._loop.call_later(self._interval_s, self._rested)
        self._publish(self._repr_html_())

    def _rested(self) -> None:
        """The next one may be shown: what came meanwhile at once, else whatever comes."""
        self._timer = None
        if self._is_pending:
            self._show()

    def _end(self) -> None:
        """Show the last value, and that it is the last."""
        self.is_ended = True
        self._show()
        self._publish = None

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def ipython_publisher() -> Publish:
    """Publishes into the cell that runs now, and updates it in place. Raises ``ImportError`` without IPython."""
    from IPython.display import HTML, display

    handle: Any = None

    def publish(html: str) -> None:
        nonlocal handle
        if handle is None:
            handle = display(HTML(html), display_id=True)  # type: ignore[no-untyped-call]  # IPython is half typed
        else:
            handle.update(HTML(html))  # type: ignore[no-untyped-call]  # as above

    return publish


def html_of(value: object) -> str:
    """Any state as nested tables; the first fifty rows of each list.

    >>> html_of({"names": ["<ada>"]})
    '<table><tr><th scope="row">names</th><td><ul><li>&lt;ada&gt;</li></ul></td></tr></table>'
    """
    return _html(to_document(value))


def _html(value: object) -> str:
    if isinstance(value, Mapping):
        rows = "".join(
            f'<tr><th scope="row">{_word(key)}</th><td>{_html(each)}</td></tr>' for key, each in value.items()
        )
        return f"<table>{rows}</table>"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _list(value)
    return _word("–" if value is None else value)


def _list(items: Sequence[object]) -> str:
    shown, more = items[:ROWS_SHOWN], len(items) - ROWS_SHOWN
    rest = f"<p>… {more:,} more</p>" if more > 0 else ""
    rows = [each for each in shown if isinstance(each, Mapping)]
    if not rows or len(rows) < len(shown):
        return "<ul>" + "".join(f"<li>{_html(each)}</li>" for each in shown) + "</ul>" + rest
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f'<th scope="col">{_word(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{_html(row.get(name))}</td>" for name in columns) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _word(value: object) -> str:
    return escape(clean(str(value)))


def _first_of(hub: SignalHub, signal: Signal[T]) -> tuple[T, int, int, bool]:
    snapshot = hub.snapshot(signal)
    return snapshot.value, snapshot.version, 0, snapshot.ready

"""Views that can begin again: what the host needs to fold a view anew while its watchers stay.

When facts are erased, a view that keeps no way back is built again from the members that are left. Until the new one
has caught up the old one goes on, and every window goes to both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from antiphon.facts import Fact
from antiphon.facts.fact import get_record
from antiphon.reactive import UNCHANGED, Batch, Signal, Unchanged, View, WakingView

Build = Callable[[], View[Fact, Any]]


@runtime_checkable
class KeepingView(Protocol):
    """A view that ships and whose state can be kept (``antiphon.views.kept_state`` says how)."""

    @property
    def checkpoint_key(self) -> tuple[str, int, str]:
        """Name, version and schema hash under which its state is kept."""

    def checkpoint(self) -> bytes:
        """The state in bytes."""

    def restore(self, state: bytes, recall: Any, now_ms: int, /) -> bool:
        """Take a state up, before the first window; False, and nothing changed, when it cannot be."""


class RenewableView:
    """A view, and how to make another like it; to the scheduler it is one view all along."""

    def __init__(self, view: View[Fact, Any], build: Build, empty: object) -> None:
        self._view = view
        self._build = build
        self._empty = empty
        self._missed: list[Fact] | None = None
        self._fresh: object = UNCHANGED

    @property
    def view_id(self) -> str:
        """The view's."""
        return self._view.view_id

    @property
    def kinds(self) -> frozenset[str] | None:
        """The view's."""
        return self._view.kinds

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The view's."""
        return self._view.depends_on

    @property
    def signal(self) -> Signal[Any]:
        """The view's."""
        return self._view.signal

    def update(self, batch: Batch[Fact], /) -> object | Unchanged:
        """Fold a window; after a renewal, the new view's snapshot even when the window changes nothing."""
        if self._missed is not None:
            self._missed.extend(batch.facts)
        snapshot = self._view.update(batch)
        fresh, self._fresh = self._fresh, UNCHANGED
        return fresh if snapshot is UNCHANGED else snapshot

    @property
    def current(self) -> View[Fact, Any]:
        """The view that answers now."""
        return self._view

    @property
    def keeping(self) -> KeepingView | None:
        """The view, when its state can be kept now."""
        return self._view if self._missed is None and isinstance(self._view, KeepingView) else None

    def begin(self) -> None:
        """Keep what comes from now on for the view that will take over."""
        self._missed = []

    def finish(self, facts: tuple[Fact, ...], now_ms: int, inputs: Mapping[str, object]) -> None:
        """Fold *facts* and what came meanwhile into a new view, and let it take over."""
        missed, self._missed = self._missed or [], None
        view, snapshot = self._build(), self._empty
        known = {get_record(fact).fact_id for fact in facts}
        late = tuple(fact for fact in missed if get_record(fact).fact_id not in known)
        for part in (facts, late):
            after = view.update(Batch(0, part, now_ms, frozenset(view.depends_on), inputs))
            snapshot = snapshot if after is UNCHANGED else after
        self._view, self._fresh = view, snapshot

    def abandon(self) -> None:
        """Go on with the view as it is."""
        self._missed = None


class RenewableWakingView(RenewableView):
    """One whose snapshot also depends on the clock."""

    def next_wakeup_ms(self) -> int | None:
        """The view's."""
        view = self._view
        return view.next_wakeup_ms() if isinstance(view, WakingView) else None


def renewable(view: View[Fact, Any], build: Build, empty: object) -> RenewableView:
    """*view* with a way to begin again."""
    kind = RenewableWakingView if isinstance(view, WakingView) else RenewableView
    return kind(view, build, empty)

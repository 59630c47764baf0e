"""What an inspector shows: the newest windows, the facts that came in each, and which queries ran anew and why.

Looks on and changes nothing. Costs nothing until it is started, then a bounded record a window: about 0.1 ms.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from antiphon.facts import Fact
from antiphon.facts.fact import get_record
from antiphon.reactive import BatchDone, ReactiveScheduler, Signal, SignalHub, ViewChanged, ViewRun
from antiphon.views.actors import why_hidden

# Two screens of windows, and as much of a window as fits on one.
WINDOWS_KEPT = 50
FACTS_SHOWN = 20
SUMMARY_LENGTH_MAX = 400


class SeenFact(NamedTuple):
    """A fact as the inspector shows it; ``hidden`` says why no view does."""

    fact_id: str
    kind: str
    author: str
    authority: str
    namespace: str
    seq: int
    at: int
    summary: str
    hidden: str | None


class SeenRun(NamedTuple):
    """A view or live query that was recomputed, why, and whether anything came of it."""

    view_id: str
    signal_id: str
    why: str
    is_changed: bool


class SeenWindow(NamedTuple):
    """One window: the first of its ``fact_count`` facts, their newest time, and who was recomputed for it, in order."""

    number: int
    at: int
    fact_count: int
    facts: tuple[SeenFact, ...]
    runs: tuple[SeenRun, ...]


@dataclass(frozen=True, slots=True)
class InspectorState:
    """The newest fifty windows, newest first.

    >>> InspectorState().to_json()
    {'windows': []}
    """

    windows: tuple[SeenWindow, ...] = ()

    def to_json(self) -> dict[str, object]:
        """All of it, for a JSON encoder."""
        return {
            "windows": [
                window._asdict()
                | {"facts": [fact._asdict() for fact in window.facts], "runs": [run._asdict() for run in window.runs]}
                for window in self.windows
            ]
        }


INSPECTOR_SIGNAL: Signal[InspectorState] = Signal("app:inspector", InspectorState)
"""What came in and what it set off."""


class Inspector:
    """Follows a scheduler's batches into ``INSPECTOR_SIGNAL`` of its hub, until it is stopped."""

    def __init__(self, hub: SignalHub, scheduler: ReactiveScheduler[Fact]) -> None:
        self._hub = hub
        self._windows: deque[SeenWindow] = deque(maxlen=WINDOWS_KEPT)
        self._owner = hub.register(INSPECTOR_SIGNAL, InspectorState(), external=True, never_waits=True)
        self._following = scheduler.updates().subscribe(self._take)

    def stop(self) -> None:
        """Look on no more; the signal is gone. Stopping twice is fine."""
        self._following.dispose()
        self._hub.unregister(self._owner)

    def _take(self, news: BatchDone | ViewChanged) -> None:
        if not isinstance(news, BatchDone):
            return
        # What is shown and no more is looked at, however large the window.
        seen = tuple(_seen(fact) for fact in islice(news.facts, FACTS_SHOWN) if isinstance(fact, Fact))
        at = max((fact.at for fact in seen), default=0)
        runs = tuple(SeenRun(run.view_id, run.signal_id, _why(run), run.is_changed) for run in news.runs)
        self._windows.appendleft(SeenWindow(news.batch_id, at, news.count, seen, runs))
        self._hub.emit(INSPECTOR_SIGNAL, InspectorState(tuple(self._windows)))


def _seen(fact: Fact) -> SeenFact:
    record = get_record(fact)
    payload = (record.payload or b"").decode(errors="replace")
    if len(payload) > SUMMARY_LENGTH_MAX:
        payload = payload[: SUMMARY_LENGTH_MAX - 1] + "…"
    chain = record.chain
    return SeenFact(
        record.fact_id.hex(),
        record.kind,
        chain.label,
        chain.authority,
        chain.namespace,
        record.seq,
        record.at,
        payload,
        why_hidden(fact),
    )


def _why(run: ViewRun) -> str:
    """In words: the facts that concerned it, and what it looks at that changed.

    >>> _why(ViewRun("signals:chat", "app:chat", (("chat.message_sent", 2),), ("signals:homes",), True))
    '2 × chat.message_sent; signals:homes changed'
    """
    reasons = [f"{count} × {kind}" for kind, count in run.kinds] + [f"{each} changed" for each in run.inputs]
    return "; ".join(reasons) or "its clock, or a change that is no fact"

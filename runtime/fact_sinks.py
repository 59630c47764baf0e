"""Who else is given every durable window: schedulers of an application's own, recorders, forwarders.

Decides nothing about durability: a sink is told afterwards, cannot refuse, and can only make later commits wait.
Belongs to the engine's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from antiphon.facts import Fact
from antiphon.reactive import FactSink

OnDetached = Callable[[str], None]


class FactSinks:
    """The sinks of one engine, in order of attachment. One that closed or raised is let go, and *on_detached* told."""

    def __init__(self, on_detached: OnDetached) -> None:
        self._sinks: list[FactSink[Fact]] = []
        self._on_detached = on_detached

    def __len__(self) -> int:
        """How many are attached."""
        return len(self._sinks)

    def attach(self, sink: FactSink[Fact]) -> Callable[[], None]:
        """Give *sink* every window that becomes durable from now on; the result detaches it (twice is fine)."""
        self._sinks.append(sink)
        return lambda: self._detach(sink)

    @property
    def has_room(self) -> bool:
        """Whether nobody asks producers to wait."""
        return not self._sinks or all(sink.has_room or sink.is_closed for sink in self._sinks)

    async def wait_for_room(self) -> None:
        """Return when every sink has room; one that closes meanwhile is not waited for."""
        while (full := next((sink for sink in self._sinks if not (sink.has_room or sink.is_closed)), None)) is not None:
            freed = asyncio.get_running_loop().create_future()
            full.when_room(lambda freed=freed: freed.done() or freed.set_result(None))  # type: ignore[misc]  # its type is that of the line above
            await freed

    def deliver(self, facts: Sequence[Fact]) -> None:
        """Hand a window to everybody; whoever cannot take it is detached, and the others are served."""
        for sink in tuple(self._sinks):
            if sink.is_closed:
                self._let_go(sink, "is closed")
                continue
            try:
                sink.deliver(facts)
            except Exception as problem:  # a sink ends here: the journal and its other sinks go on
                self._let_go(sink, f"raised {type(problem).__name__}: {problem}")

    def _let_go(self, sink: FactSink[Fact], why: str) -> None:
        self._detach(sink)
        self._on_detached(f"a fact sink ({type(sink).__name__}) {why}; it was detached, attach it again when it can")

    def _detach(self, sink: FactSink[Fact]) -> None:
        if sink in self._sinks:
            self._sinks.remove(sink)

"""Where durable facts go: a sink takes windows of facts, and may ask its producer to wait.

The scheduler's own sink is `SchedulerCore.fact_sender()`. The producer attaches sinks, and detaches closed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

F_contra = TypeVar("F_contra", contravariant=True)


class FactSink(Protocol[F_contra]):
    """Takes every window of facts once it is durable, in order, on the producer's thread."""

    @property
    def is_closed(self) -> bool:
        """Whether it will take nothing more; its producer then lets go of it."""

    @property
    def has_room(self) -> bool:
        """Whether the producer may go on; while not, commits wait."""

    def when_room(self, callback: Callable[[], object], /) -> None:
        """Call `callback` once, when there may be room again, or the sink is closed."""

    def deliver(self, facts: Sequence[F_contra], /) -> None:
        """Take a window. Taken even without room: what is durable cannot be refused."""

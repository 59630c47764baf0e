"""Who is told what the guards do and may not break it: a callback that raises is reported, and not called again.

Knows nothing of what is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

from ..engine import JournalEngine

P = ParamSpec("P")


class Listener(Generic[P]):
    """Calls *callback* until it raises; then *engine* has one problem more, and whatever was told of goes on."""

    def __init__(self, engine: JournalEngine, callback: Callable[P, object] | None) -> None:
        self._engine = engine
        self._callback = callback

    def __bool__(self) -> bool:
        return self._callback is not None

    def __call__(self, *told: P.args, **named: P.kwargs) -> None:
        """Tell it, if it still listens."""
        if self._callback is None:
            return
        try:
            self._callback(*told, **named)
        except Exception as problem:  # a listener ends here: half a plan must not be left because of it
            name = getattr(self._callback, "__qualname__", type(self._callback).__name__)
            self._callback = None
            raised = f"{type(problem).__name__}: {problem}"
            self._engine.note_problem(f"{name} was told what a guard did and raised {raised}; it is not called again")

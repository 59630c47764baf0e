"""What went wrong since a journal was opened, in sentences for whoever asks.

Bounded: a person reads the first few, and a view that fails on everything must not fill the memory. Tells nobody.
"""

from __future__ import annotations

from collections.abc import Iterable

PROBLEMS_MAX = 100


class ProblemBook:
    """The first hundred problems, and how many more there were.

    >>> book = ProblemBook(["the log was read anew"])
    >>> for number in range(101):
    ...     book.note(f"problem {number}")
    >>> book.told()[0], book.told()[-1]
    ('the log was read anew', '… and 2 more')
    """

    def __init__(self, problems: Iterable[str] = ()) -> None:
        self._problems = list(problems)
        self._untold_count = 0
        self._noted_once: set[tuple[str, str]] = set()
        self._hidden: set[tuple[str, str]] = set()
        self._claimed: set[tuple[str, str]] = set()

    def note(self, problem: str) -> None:
        """Keep a sentence."""
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(problem)
        else:
            self._untold_count += 1

    def note_view(self, view_id: str, problem: str) -> None:
        """Keep that a fact failed in a view, the first of each view."""
        self.note_once(view_id, "view-failed", f"{problem}; the fact was left out, and others like it will be")

    def note_once(self, view_id: str, code: str, problem: str) -> None:
        """Keep what is wrong with a view, the first of each *code*."""
        if (view_id, code) not in self._noted_once:
            self._noted_once.add((view_id, code))
            self.note(problem)

    def claim_hidden(self, kind: str, code: str) -> bool:
        """Whether whoever asks is the first to meet a fact of *kind* that views do not show for this reason, and so is
        to tell of it; may be asked from any thread, where it keeps a million such facts from being told one by one."""
        if (kind, code) in self._claimed or (kind, code) in self._hidden:
            return False
        self._claimed.add((kind, code))
        return True

    def note_hidden(self, kind: str, code: str, problem: str) -> bool:
        """Keep why views do not show a fact, the first of each kind and reason; whether it was the first."""
        if (kind, code) in self._hidden:
            return False
        self._hidden.add((kind, code))
        self.note(f"{problem}; views leave it out, and others like it")
        return True

    def told(self) -> tuple[str, ...]:
        """All that was kept, and a last line about the rest."""
        more = (f"… and {self._untold_count} more",) if self._untold_count else ()
        return (*self._problems, *more)

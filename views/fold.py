"""``@view``: a user's own view, written as a fold over facts in stamp order.

The fold sees facts in the one order that all replicas agree on, though they arrive late: a ladder of earlier states
is kept, and a late fact refolds from the rung below it. Checkpoints on disk and registration are not decided here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, overload

from antiphon.facts import Fact, RegistrationError, Stamp
from antiphon.facts.fact import get_record
from antiphon.reactive import UNCHANGED, AppError, Batch, Signal, Unchanged

S = TypeVar("S")
F = TypeVar("F", bound=Fact)
F1 = TypeVar("F1", bound=Fact)
F2 = TypeVar("F2", bound=Fact)

# Rungs of the ladder: (how far back, how far apart). A window of late facts refolds at most one gap more than its age.
RUNGS = ((1_000, 64), (16_000, 1_000))
RUNG_GAP_MAX = 16_000


class FoldRung(NamedTuple):
    """The state after the first ``fact_count`` facts in stamp order."""

    fact_count: int
    state: object


@dataclass(frozen=True, eq=False)
class ViewSpec(Generic[S]):
    """A declared view: what it folds, from which state, under which name. Made by ``@view``; owns no state.

    ``version`` may be raised when the meaning of the fold changes.
    """

    name: str
    key: str
    models: tuple[type[Fact], ...]
    initial: S
    fold: Callable[[S, Any], S]
    version: int | None = None

    @property
    def view_id(self) -> str:
        """The name under which a scheduler runs it: the given name, or module and function."""
        return f"view:{self.key}"

    @property
    def signal(self) -> Signal[Any]:
        """The key under which the view's value is published."""
        return Signal(self.view_id, object)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds it folds."""
        return frozenset(model.fact_type.kind for model in self.models)

    def __call__(self, state: S, fact: Any) -> S:
        """Apply one fact, as the decorated function does."""
        return self.fold(state, fact)


@overload
def view(
    model: type[F], /, *, initial: S, name: str | None = None, version: int | None = None
) -> Callable[[Callable[[S, F], S]], ViewSpec[S]]: ...
@overload
def view(
    model: type[F1], other: type[F2], /, *, initial: S, name: str | None = None, version: int | None = None
) -> Callable[[Callable[[S, F1 | F2], S]], ViewSpec[S]]: ...
@overload
def view(
    *models: type[Fact], initial: S, name: str | None = None, version: int | None = None
) -> Callable[[Callable[[S, Any], S]], ViewSpec[S]]: ...
def view(
    *models: type[Fact], initial: S, name: str | None = None, version: int | None = None
) -> Callable[[Callable[[S, Any], S]], ViewSpec[S]]:
    """Declare a view over facts of *models*: a function (state, fact) -> state that changes nothing in place.

    It is called in stamp order (the fact's time, HLC, id), whatever the order of arrival. States must be immutable
    values; the view's name is the function's unless *name* is given. Raises ``RegistrationError`` without a fact
    type.

    >>> class Counted(Fact, kind="doc.counted", version=1):
    ...     step: int
    >>> @view(Counted, initial=0)
    ... def total(state: int, fact: Counted) -> int:
    ...     return state + fact.step
    >>> total(1, Counted(step=2))
    3
    """
    if not models or not all(hasattr(model, "fact_type") for model in models):
        raise RegistrationError(
            f"@view takes one or more fact types with a kind, such as @view(MessageSent, initial=()); got {models!r}"
        )

    def declare(function: Callable[[S, Any], S]) -> ViewSpec[S]:
        key = name or f"{function.__module__}.{function.__qualname__}"
        return ViewSpec(name or function.__name__, key, tuple(models), initial, function, version)

    return declare


class LadderStatistics(NamedTuple):
    """The insides of a fold: how much it holds and how often it was applied."""

    fact_count: int
    rung_count: int
    step_count: int
    refold_count: int
    poisoned_count: int


class FoldView(Generic[S]):
    """A ``ViewSpec`` at work: the state, the facts behind it in stamp order, and the ladder.

    Keeps every fact of its kinds in memory (see the docs' limits). A window in order costs one step a fact; a late
    fact costs the steps since the rung below it. A fact on which the fold raises is left out, for ever and everywhere
    alike, and reported.
    """

    def __init__(self, spec: ViewSpec[S], *, on_problem: Callable[[AppError], None]) -> None:
        self._spec = spec
        self._on_problem = on_problem
        self._facts: list[Fact] = []
        self._last: Stamp | None = None
        self._state: S = spec.initial
        self._rungs: list[FoldRung] = []
        self._thinned_count = 0
        self._poisoned: set[bytes] = set()
        self._steps = 0
        self._refolds = 0

    @property
    def view_id(self) -> str:
        """The scheduler's name for it."""
        return self._spec.view_id

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds it folds."""
        return self._spec.kinds

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Nothing: a fold reads facts only."""
        return ()

    @property
    def signal(self) -> Signal[Any]:
        """Where its value is published."""
        return self._spec.signal

    def update(self, batch: Batch[Fact], /) -> S | Unchanged:
        """Fold a window; the value, or ``UNCHANGED`` when the window held nothing of its kinds."""
        facts = batch.facts
        if not facts:
            return UNCHANGED
        if len(facts) > 1:
            facts = sorted(facts, key=stamp_of)
        if self._last is not None and stamp_of(facts[0]) < self._last:
            self._insert(facts)
        else:
            start = len(self._facts)
            self._facts.extend(facts)
            self._fold_from(start)
        self._last = stamp_of(self._facts[-1])
        return self._state

    def statistics(self) -> LadderStatistics:
        """A frozen record of the insides."""
        return LadderStatistics(len(self._facts), len(self._rungs), self._steps, self._refolds, len(self._poisoned))

    def _insert(self, facts: Sequence[Fact]) -> None:
        """Put late facts in their place and refold from the rung below the earliest."""
        first = bisect_right(self._facts, stamp_of(facts[0]), key=stamp_of)
        tail = self._facts[first:]
        del self._facts[first:]
        self._facts.extend(sorted([*tail, *facts], key=stamp_of))
        while self._rungs and self._rungs[-1].fact_count > first:
            self._rungs.pop()
        rung = self._rungs[-1] if self._rungs else FoldRung(0, self._spec.initial)
        self._state = rung.state  # type: ignore[assignment]  # a rung holds what this fold returned
        self._refolds += 1
        self._fold_from(rung.fact_count)

    def _fold_from(self, start: int) -> None:
        fold, state = self._spec.fold, self._state
        count = len(self._facts)
        rung = self._rungs[-1].fact_count if self._rungs else 0
        for at in range(start, count):
            fact = self._facts[at]
            try:
                state = fold(state, fact)
            except Exception as problem:  # the user's function ends here: this fact is left out, the view goes on
                self._leave_out(fact, problem)
            if at + 1 - rung >= RUNGS[0][1]:
                rung = at + 1
                self._rungs.append(FoldRung(rung, state))
        self._state = state
        self._steps += count - start
        if len(self._rungs) > self._thinned_count + RUNGS[0][0] // RUNGS[0][1]:
            self._thin_rungs()

    def _thin_rungs(self) -> None:
        """Keep rungs close together near the end and far apart below, so that a long history costs few states."""
        count = len(self._facts)
        kept: list[FoldRung] = []
        for rung in self._rungs:
            distance = count - rung.fact_count
            gap = next((gap for reach, gap in RUNGS if distance <= reach), RUNG_GAP_MAX)
            if not kept or rung.fact_count - kept[-1].fact_count >= gap:
                kept.append(rung)
        self._rungs = kept
        self._thinned_count = len(kept)

    def _leave_out(self, fact: Fact, problem: Exception) -> None:
        record = get_record(fact)
        if record.fact_id not in self._poisoned:
            self._poisoned.add(record.fact_id)
            what = f"{record.kind} {record.fact_id.hex()[:12]}"
            text = f"view {self._spec.name} failed on {what}: {type(problem).__name__}: {problem}"
            self._on_problem(AppError("view-failed", text, record.kind, record.fact_id.hex()))


def stamp_of(fact: Fact) -> Stamp:
    """The key by which facts are ordered."""
    record = get_record(fact)
    return (record.at, record.hlc, record.fact_id)

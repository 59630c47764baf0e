"""Which facts are behind a value, and which made two states of a view differ: by folding again, and by folding less.

A view is seen from outside only, as something that can be begun anew and given facts; so this holds for any fold. All
facts are given in stamp order, as a journal would have them once everything arrived. Reads no history itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from antiphon.facts import AuthorityId, Fact
from antiphon.facts.encoding import canonical_bytes
from antiphon.facts.fact import get_record
from antiphon.reactive import UNCHANGED, Batch

from .app_views import APP_VIEWS
from .fold import ViewSpec
from .keyed import MISSING, Key, PartChange, changed_parts, key_words, part_at

# About a second of folding: 0.5 to 4 µs a step. What is found by then is right, and perhaps not the least.
STEPS_MAX = 1_000_000
# Comparing two states costs about as much as 50 steps; more of them than this would take seconds.
_COMPARISONS_MAX = 5_000


class Replay(Protocol):
    """A view that was begun and can be given facts, in stamp order."""

    @property
    def state(self) -> object:
        """Its state after the facts it was given."""

    def take(self, facts: Sequence[Fact]) -> None:
        """Fold *facts*."""


BeginReplay = Callable[[], Replay]
"""Begins a view anew, with no fact."""


class FoldReplay:
    """A ``@view`` on its own: no tail and no rungs, since its facts come in order. It leaves out what the fold raises
    on, as the running view does."""

    def __init__(self, spec: ViewSpec[Any]) -> None:
        self._fold = spec.fold
        self.state: object = spec.initial

    def take(self, facts: Sequence[Fact]) -> None:
        """Fold *facts*."""
        fold, state = self._fold, self.state
        for fact in facts:
            try:
                state = fold(state, fact)
            except Exception:  # the user's function ends here; the running view tells of it
                continue
        self.state = state


class AppViewReplay:
    """A view that ships, with those it needs, as *authority* sees it at *now_ms*."""

    def __init__(self, signal_id: str, *, authority: AuthorityId, now_ms: int) -> None:
        app_view = APP_VIEWS[signal_id]
        self._needed = [
            AppViewReplay(needed.signal_id, authority=authority, now_ms=now_ms) for needed in app_view.needs
        ]
        self._view = app_view.build(authority)
        self._now_ms = now_ms
        self.state: object = app_view.empty

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that it and those it needs fold."""
        own = self._view.kinds or frozenset()
        return own.union(*(needed.kinds for needed in self._needed))

    def take(self, facts: Sequence[Fact]) -> None:
        """Fold *facts*."""
        for needed in self._needed:
            needed.take(facts)
        kinds = self._view.kinds or frozenset()
        mine = tuple(fact for fact in facts if get_record(fact).kind in kinds)
        inputs = {needed._view.view_id: needed.state for needed in self._needed}
        state = self._view.update(Batch(0, mine, self._now_ms, frozenset(inputs), inputs))
        if state is not UNCHANGED:
            self.state = state


class Witness(NamedTuple):
    """Facts that suffice for a value: folding them alone gives it.

    ``is_minimal``: leaving out any one of them would not give it; otherwise the search was ended after ``step_count``
    steps of folding.
    """

    value: object
    facts: tuple[Fact, ...]
    is_minimal: bool
    step_count: int


class TracedChange(NamedTuple):
    """A part that differs, and the facts that changed it on the way, in stamp order.

    Without ``is_exact`` some of *facts* may have changed other parts only: too many were folded to look after each.
    """

    key: Key
    change: PartChange
    facts: tuple[Fact, ...]
    is_exact: bool


def find_witness(
    begin: BeginReplay, facts: Sequence[Fact], key: Key, *, is_traced: bool, steps_max: int = STEPS_MAX
) -> Witness:
    """The facts behind the part at *key* of the state that *facts* (in stamp order) fold to.

    First a small set that gives the value: the facts after which it changed (*is_traced*: they are followed one by
    one), then those whose payload names the key, then all. Then stretches of it are left out, ever shorter ones, as
    long as the value stays (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002). Costs
    some 3 folds over *facts* for a value that few facts made; *steps_max* bounds it.
    """
    search = _Search(begin, key, _state_of(begin, facts))
    search.step_count = len(facts)
    for candidates in _candidates(begin, facts, key, is_traced=is_traced):
        if len(candidates) == len(facts) or search.gives_value(candidates):
            kept, is_minimal = search.shrink(list(candidates), steps_max)
            return Witness(search.value, tuple(kept), is_minimal, search.step_count)
    raise AssertionError("all facts give the value that all facts gave")


def trace_changes(begin: BeginReplay, before: Sequence[Fact], between: Sequence[Fact]) -> list[TracedChange]:
    """What *between* changed in the state that *before* folds to, part by part, in the later state's order.

    One fold over all facts, and up to 5,000 comparisons of states; beyond them facts are looked at in groups.
    """
    replay = begin()
    replay.take(before)
    first = last = replay.state
    size = -(-len(between) // _COMPARISONS_MAX) or 1
    touched: dict[Key, list[Fact]] = {}
    for start in range(0, len(between), size):
        group = between[start : start + size]
        replay.take(group)
        for key in changed_parts(last, replay.state):
            touched.setdefault(key, []).extend(group if size == 1 else _naming(group, key))
        last = replay.state
    return [
        TracedChange(key, change, tuple(touched.get(key, ())), size == 1)
        for key, change in changed_parts(first, last).items()
    ]


class _Search:
    def __init__(self, begin: BeginReplay, key: Key, state: object) -> None:
        self._begin = begin
        self._key = key
        self.value = part_at(state, key)
        self.step_count = 0
        assert self.value is not MISSING, "the caller asks for a part that is there"

    def gives_value(self, facts: Sequence[Fact]) -> bool:
        self.step_count += len(facts) + 1
        found = part_at(_state_of(self._begin, facts), self._key)
        return found is not MISSING and bool(found == self.value)

    def shrink(self, kept: list[Fact], steps_max: int) -> tuple[list[Fact], bool]:
        size = max(1, len(kept) // 2)
        while True:
            at, was_shorter = 0, False
            while at < len(kept):
                if self.step_count > steps_max:
                    return kept, False
                trial = kept[:at] + kept[at + size :]
                if self.gives_value(trial):
                    kept, was_shorter = trial, True
                else:
                    at += size
            if size == 1 and not was_shorter:
                return kept, True
            size = max(1, size // 2)


def _candidates(begin: BeginReplay, facts: Sequence[Fact], key: Key, *, is_traced: bool) -> list[Sequence[Fact]]:
    words = key_words(key)
    found: list[Sequence[Fact]] = [_after_which_it_changed(begin, facts, key)] if is_traced else []
    for count in range(1, len(words) + 1):
        found.append(_naming_any(facts, words[:count]))
    return [*found, facts]


def _after_which_it_changed(begin: BeginReplay, facts: Sequence[Fact], key: Key) -> list[Fact]:
    replay, changing = begin(), []
    state, value = replay.state, part_at(replay.state, key)
    for fact in facts:
        replay.take((fact,))
        if replay.state is state:
            continue
        state, before = replay.state, value
        value = part_at(state, key)
        if value is not before and (value is MISSING or before is MISSING or value != before):
            changing.append(fact)
    return changing


def _state_of(begin: BeginReplay, facts: Sequence[Fact]) -> object:
    replay = begin()
    if facts:
        replay.take(facts)
    return replay.state


def _naming(facts: Sequence[Fact], key: Key) -> Sequence[Fact]:
    words = key_words(key)
    return (_naming_any(facts, words[:1]) if words else ()) or facts


def _naming_any(facts: Sequence[Fact], words: Sequence[str]) -> list[Fact]:
    """The facts whose payload holds one of *words* as a whole text; ~0.3 µs a fact and word."""
    quoted = [canonical_bytes({"": word})[4:-1] for word in words]
    return [fact for fact in facts if _holds_any(get_record(fact).payload or b"", quoted)]


def _holds_any(payload: bytes, quoted: Sequence[bytes]) -> bool:
    return any(word in payload for word in quoted)


__all__ = [
    "STEPS_MAX",
    "AppViewReplay",
    "BeginReplay",
    "FoldReplay",
    "Replay",
    "TracedChange",
    "Witness",
    "find_witness",
    "trace_changes",
]

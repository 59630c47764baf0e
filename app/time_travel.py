"""A view at other times: its state at a moment, what changed between two, and which facts are behind a value.

Puts together what a history read and what ``views/provenance.py`` decides; the answers show themselves in a notebook.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, Protocol

from antiphon.facts import AuthorityId, Fact, FactRegistry
from antiphon.facts.catalog import build_fact_registry
from antiphon.facts.fact import get_record
from antiphon.journal.stores.tables import Parameters
from antiphon.reactive import Signal
from antiphon.views import APP_VIEWS, ViewSpec
from antiphon.views.keyed import MISSING, Key, find_keys, key_text, part_at, parts_of, words_of
from antiphon.views.provenance import (
    AppViewReplay,
    BeginReplay,
    FoldReplay,
    find_witness,
    trace_changes,
)

from .answers import Answer, HistoryError, Result, html_card, html_table, show_time

AnyView = ViewSpec[Any] | Signal[Any]
"""A ``@view``, or the signal of a view that ships."""

What = Literal["added", "changed", "removed"]
_KEYS_NAMED = 5
_FACTS_SHOWN = 100


class Teller(Protocol):
    """What answers turn into rows with: a history."""

    def sql(self, query: str, parameters: Parameters = None) -> Result:
        """Run one reading SQL statement."""


class ViewChange(NamedTuple):
    """One part of a view that differs: ``before`` is None when it was *added*, ``after`` when it was *removed*.

    ``facts`` changed it on the way, in stamp order. Without ``is_exact`` some of them may have changed other parts.
    """

    what: What
    key: Key
    before: Any
    after: Any
    facts: tuple[Fact, ...]
    is_exact: bool


@dataclass(frozen=True, slots=True)
class ViewDiff(Answer):
    """What changed in a view after one moment and up to another; iterating gives each ``ViewChange``.

    As rows: what, key (as text), before, after (as Python writes them), fact_ids.
    """

    history: Teller
    name: str
    since_ms: int
    until_ms: int
    changes: tuple[ViewChange, ...]

    @property
    def added(self) -> tuple[ViewChange, ...]:
        """The parts that were not there before."""
        return self._of("added")

    @property
    def changed(self) -> tuple[ViewChange, ...]:
        """The parts that have another value."""
        return self._of("changed")

    @property
    def removed(self) -> tuple[ViewChange, ...]:
        """The parts that are there no more."""
        return self._of("removed")

    def result(self) -> Result:
        """The changes as rows."""
        rows: list[dict[str, object]] = [
            {
                "what": each.what,
                "key": key_text(each.key),
                "before": None if each.what == "added" else _said(each.before),
                "after": None if each.what == "removed" else _said(each.after),
                "fact_ids": [get_record(fact).fact_id.hex() for fact in each.facts],
            }
            for each in self.changes
        ]
        return rows_of(
            self.history, "what VARCHAR, key VARCHAR, before VARCHAR, after VARCHAR, fact_ids VARCHAR[]", rows
        )

    def __iter__(self) -> Iterator[ViewChange]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __repr__(self) -> str:
        counts = Counter(each.what for each in self.changes)
        told = ", ".join(f"{counts[what]} {what}" for what in ("added", "changed", "removed"))
        return f"<ViewDiff of {self.name}, {show_time(self.since_ms)} to {show_time(self.until_ms)}: {told}>"

    def _repr_html_(self) -> str:
        rows = [
            (
                each.what,
                key_text(each.key),
                "" if each.what == "added" else each.before,
                "" if each.what == "removed" else each.after,
                ", ".join(_who(fact) for fact in each.facts[:_KEYS_NAMED])
                + (f" and {len(each.facts) - _KEYS_NAMED} more" if len(each.facts) > _KEYS_NAMED else ""),
            )
            for each in self.changes
        ]
        table = html_table(("what", "key", "before", "after", "facts"), rows, shown=_FACTS_SHOWN)
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{table}"

    def _of(self, what: What) -> tuple[ViewChange, ...]:
        return tuple(each for each in self.changes if each.what == what)


@dataclass(frozen=True, slots=True)
class Explanation(Answer):
    """The facts behind a value: folding these alone gives it.

    ``is_minimal``: leaving out any one of them would not. ``step_count`` says how many steps of folding it took. As
    rows: the envelope and payload of each fact, as ``facts`` gives them.
    """

    history: Teller
    name: str
    key: Key
    value: Any
    facts: tuple[Fact, ...]
    is_minimal: bool
    step_count: int

    def result(self) -> Result:
        """The facts as rows."""
        ids = [get_record(fact).fact_id.hex() for fact in self.facts]
        return self.history.sql(
            "SELECT kind, fact_id, author, at_ms, at_time, payload FROM history WHERE fact_id IN (SELECT unnest($ids)) "
            "ORDER BY at_ms, hlc, fact_id",
            {"ids": ids},
        )

    def __len__(self) -> int:
        return len(self.facts)

    def __repr__(self) -> str:
        least = "the least that give it" if self.is_minimal else "fewer may do"
        count = f"{len(self.facts)} fact{'' if len(self.facts) == 1 else 's'}"
        return f"<Explanation of {self.name}[{key_text(self.key)}]: {count}, {least}>"

    def _repr_html_(self) -> str:
        least = "leaving out any one would change it" if self.is_minimal else "the search was ended; fewer may do"
        card = html_card((("view", self.name), ("key", key_text(self.key)), ("value", self.value), ("facts", least)))
        rows = [
            (show_time(record.at), record.chain.label, record.kind, (record.payload or b"").decode("utf-8", "replace"))
            for record in map(get_record, self.facts)
        ]
        return card + html_table(("when", "author", "kind", "payload"), rows, shown=_FACTS_SHOWN)


@dataclass(frozen=True, slots=True)
class Traveller:
    """A view as a history can fold it: its name, what it reads and how it begins."""

    name: str
    kinds: frozenset[str]
    registry: FactRegistry
    begin: BeginReplay
    is_traced: bool

    @classmethod
    def of(cls, view: AnyView, *, authority: AuthorityId, now_ms: int) -> Traveller:
        """Raises ``HistoryError`` for what is no view."""
        if isinstance(view, ViewSpec):
            registry = FactRegistry(view.models)
            return cls(view.name, view.kinds, registry, lambda: FoldReplay(view), is_traced=True)
        signal_id: str = getattr(view, "signal_id", "")
        if signal_id not in APP_VIEWS:
            known = ", ".join(sorted(APP_VIEWS))
            hint = " (decorate it with @view)" if callable(view) else ""
            raise HistoryError(f"expected a @view or one of the signals {known}; got {view!r}{hint}")

        def begin() -> AppViewReplay:
            return AppViewReplay(signal_id, authority=authority, now_ms=now_ms)

        return cls(signal_id, begin().kinds, build_fact_registry(), begin, is_traced=False)

    def fold(self, facts: Sequence[Fact]) -> Any:
        """The state after *facts*."""
        replay = self.begin()
        replay.take(facts)
        return replay.state


def diff_view(
    history: Teller, traveller: Traveller, facts: Sequence[Fact], *, since_ms: int, until_ms: int
) -> ViewDiff:
    """What *facts* (in stamp order, up to *until_ms*) changed in a view after *since_ms*."""
    start = sum(1 for fact in facts if get_record(fact).at <= since_ms)
    changes = [
        ViewChange(
            "added" if change.before is MISSING else "removed" if change.after is MISSING else "changed",
            key,
            None if change.before is MISSING else change.before,
            None if change.after is MISSING else change.after,
            behind,
            is_exact,
        )
        for key, change, behind, is_exact in trace_changes(traveller.begin, facts[:start], facts[start:])
    ]
    return ViewDiff(history, traveller.name, since_ms, until_ms, tuple(changes))


def explain_part(history: Teller, traveller: Traveller, facts: Sequence[Fact], wanted: object) -> Explanation:
    """The facts behind the part that *wanted* means; raises ``HistoryError`` when it means none, or several."""
    state = traveller.fold(facts)
    found = find_keys(state, wanted)
    if len(found) != 1:
        raise HistoryError(_not_one(traveller, state, found, wanted, facts))
    key = found[0]
    witness = find_witness(traveller.begin, facts, key, is_traced=traveller.is_traced)
    return Explanation(
        history, traveller.name, key, witness.value, witness.facts, witness.is_minimal, witness.step_count
    )


def rows_of(history: Teller, columns: str, rows: Sequence[dict[str, object]]) -> Result:
    """Values of ours as an answer like any other."""
    import orjson

    fields = (column.split(" ", 1) for column in columns.split(", "))
    shape = ", ".join(f'"{name}":"{kind}"' for name, kind in fields)
    return history.sql(
        f"SELECT unnest(from_json($rows::JSON, '[{{{shape}}}]'), max_depth := 2)", {"rows": orjson.dumps(rows).decode()}
    )


def _not_one(traveller: Traveller, state: object, found: list[Key], wanted: object, facts: Sequence[Fact]) -> str:
    if found:
        several = ", ".join(key_text(key) for key in found[:_KEYS_NAMED])
        return f"{wanted!r} may be {len(found)} parts of {traveller.name}: {several}; name the whole key"
    keys = [key for key, _ in parts_of(state)]
    texts = [key_text(key) for key in keys]
    near = get_close_matches(str(wanted), [*texts, *words_of(state)], n=_KEYS_NAMED, cutoff=0.5) or texts[:_KEYS_NAMED]
    there = f"it has {len(texts)}, such as {', '.join(map(repr, near))}" if texts else "it is empty"
    return f"{traveller.name} has no part {wanted!r} at that time; {there}"


def _said(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _who(fact: Fact) -> str:
    record = get_record(fact)
    return f"{record.kind} by {record.chain.label or record.chain.authority[:8]} ({record.fact_id.hex()[:8]})"


__all__ = [
    "AnyView",
    "Explanation",
    "Traveller",
    "ViewChange",
    "ViewDiff",
    "diff_view",
    "explain_part",
    "part_at",
    "rows_of",
]

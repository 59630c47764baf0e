"""Why views do not show a fact, for readers of a log that they do not own: one judge for one command.

Decides by the shipped types, by the fields that the journal recorded of an application's types, and by asking those who
judge rights in a running journal: the homes view and the book of erasures. What only the whole log can say is known
after ``learn``.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from antiphon.facts import AuthorityId, Fact, FactProblem, FactRecord, FactRegistry, FactsErased, GenericFact
from antiphon.facts.catalog import build_fact_registry
from antiphon.facts.moderation import MODERATION_FACTS, home_owner
from antiphon.facts.schema import SchemaNode, find_misfit
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal.erasure import ERASURE_KIND, ErasureBook
from antiphon.reactive import Batch
from antiphon.views import HomesSignalView
from antiphon.views.actors import why_hidden

from .offline import OfflineJournal, is_due
from .troubles import find_void

_HOME_KINDS = frozenset(model.fact_type.kind for model in MODERATION_FACTS)
_ASKED_KINDS = HomesSignalView(AuthorityId("")).kinds  # who is a member decides who moderates
_TypeName = tuple[str, int]


class HiddenFact(NamedTuple):
    """A member that no view shows, and why: ``code`` is one word, ``reason`` a sentence."""

    record: FactRecord
    code: str
    reason: str


@dataclass(slots=True)
class HiddenJudge:
    """Judges the facts of one journal at one time; ``find`` is O(1), ``learn`` O(facts of homes and erasures)."""

    now_ms: int
    registry: FactRegistry = field(default_factory=build_fact_registry)
    _void: Container[bytes] = ()
    _rightless: Mapping[bytes, str] = field(default_factory=dict)
    _fields: dict[_TypeName, Mapping[str, SchemaNode]] = field(default_factory=dict)
    _unknown: set[_TypeName] = field(default_factory=set)
    _to_ask: list[FactRecord] = field(default_factory=list)

    def note(self, journal: OfflineJournal, record: FactRecord) -> None:
        """Meet a fact as it is read, chosen or not."""
        if record.kind in _ASKED_KINDS or record.kind == ERASURE_KIND:
            self._to_ask.append(record)
        elif not self.registry.is_registered(record.kind):
            name = (record.kind, record.version)
            if name not in self._fields and (known := journal.registrations.get(name)) is not None:
                self._fields[name] = orjson.loads(known.schema)
            if name not in self._fields:
                self._unknown.add(name)

    def learn(self, journal: OfflineJournal) -> bool:
        """Take in what the whole log says, once it was read; True when facts have to be judged again for it."""
        late = self._unknown & journal.registrations.keys()
        self._fields.update({name: orjson.loads(journal.registrations[name].schema) for name in late})
        self._unknown.clear()
        self._void = find_void(journal)
        self._rightless = {**self._ask_homes(), **self._ask_erasures(journal)}
        self._to_ask.clear()
        return bool(self._void or self._rightless or late)

    def find(self, record: FactRecord) -> HiddenFact | None:
        """Why views do not show a fact, or None when they may."""
        if record.fact_id in self._void:
            return HiddenFact(
                record, "void", "its author told two stories, and nobody had built on it without seeing both"
            )
        if not is_due(record, self.now_ms):
            return HiddenFact(record, "not-due", f"not due until {_show_time(record.at - SKEW_MS_MAX)}")
        decoded = self.registry.decode(record)
        if isinstance(decoded, FactProblem):
            return HiddenFact(record, decoded.code, decoded.text)
        if isinstance(decoded, GenericFact):
            return self._find_misfit(record, decoded.payload)
        reason = why_hidden(decoded)
        if reason is not None:
            return HiddenFact(record, "wrong-actor", reason)
        reason = self._rightless.get(record.fact_id) or _why_nowhere(record)
        return HiddenFact(record, "without-right", reason) if reason else None

    def _find_misfit(self, record: FactRecord, payload: object) -> HiddenFact | None:
        fields = self._fields.get((record.kind, record.version))
        misfit = find_misfit(fields, payload) if fields is not None else None
        if misfit is None:
            return None
        text = f"it does not fit {record.kind} v{record.version} as this journal recorded it: {misfit}"
        return HiddenFact(record, "undecodable", text)

    def _ask_homes(self) -> dict[bytes, str]:
        view = HomesSignalView(AuthorityId(""))
        facts = tuple(
            decoded
            for record in self._to_ask
            if record.kind in _ASKED_KINDS and record.fact_id not in self._void and is_due(record, self.now_ms)
            if isinstance(decoded := self.registry.decode(record), Fact)
        )
        view.update(Batch(0, facts, self.now_ms, frozenset(), {}))
        text = "its author is neither the owner of the home nor a moderator by then, or it is against the owner"
        return dict.fromkeys(view.without_right(), text)

    def _ask_erasures(self, journal: OfflineJournal) -> dict[bytes, str]:
        book, found = ErasureBook(), dict[bytes, str]()
        for record in self._to_ask:
            erasure = self.registry.decode(record) if record.kind == ERASURE_KIND else None
            if not isinstance(erasure, FactsErased):
                continue
            targets = [(claim, journal.index.chain(claim.chain)) for claim in book.take(record, erasure)]
            if any(target is not None and not book.is_rightful(claim, target.info) for claim, target in targets):
                found[record.fact_id] = "only a fact's author, or the owner of its home, may have it erased"
        return found


def _why_nowhere(record: FactRecord) -> str | None:
    """Why a moderation fact says nothing wherever its author stands: its context is no home."""
    if record.kind not in _HOME_KINDS or home_owner(record.chain.namespace) is not None:
        return None
    return "its context names no owner (home.<authority>.<name>), so nobody moderates there"


def _show_time(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1_000, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"

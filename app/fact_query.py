"""``FactQuery``: facts of some kinds, narrowed step by step, as SQL that a history runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from antiphon.journal.stores.tables import Parameters

from .answers import Answer, HistoryError, Result
from .moment import Moment, to_ms

_ENVELOPE = "kind, version, fact_id, author, authority, chain, seq, at_ms, at_time, hlc, namespace, payload"
_WITH_HIDDEN = f"{_ENVELOPE}, is_erased, hidden"


class Asked(Protocol):
    """What a query is asked of: a history."""

    def sql(self, query: str, parameters: Parameters = None) -> Result:
        """Run one reading SQL statement."""


@dataclass(frozen=True, slots=True)
class FactQuery(Answer):
    """Facts of some kinds, narrowed step by step; nothing is read before rows are asked for.

    Rows are in stamp order, one a fact: the envelope and the payload as JSON text. A kind's fields as typed columns
    are in the view of its name, through ``History.sql``. A pattern that matches no kind gives no rows.
    """

    history: Asked
    pattern: str = "*"
    since_ms: int | None = None
    as_of_ms: int | None = None
    author: str | None = None
    authority: str | None = None
    namespace: str | None = None
    has_hidden: bool = False
    row_limit: int | None = None

    def as_of(self, moment: Moment) -> FactQuery:
        """Only facts whose stamp time is at or before *moment*: what was known then.

        A date means its first instant in UTC, and ISO text without a zone is UTC. Raises ``HistoryError`` for what is
        no time, and for a datetime without a zone.
        """
        limit = to_ms(moment)
        return replace(self, as_of_ms=limit if self.as_of_ms is None else min(limit, self.as_of_ms))

    def since(self, moment: Moment) -> FactQuery:
        """Only facts whose stamp time is at or after *moment*."""
        limit = to_ms(moment)
        return replace(self, since_ms=limit if self.since_ms is None else max(limit, self.since_ms))

    def between(self, first: Moment, last: Moment) -> FactQuery:
        """Only facts from *first* to *last*, both included."""
        return self.since(first).as_of(last)

    def where(
        self, *, author: str | None = None, authority: str | None = None, namespace: str | None = None
    ) -> FactQuery:
        """Only facts of this author (display label), authority (hex) or namespace."""
        return replace(
            self,
            author=author if author is not None else self.author,
            authority=authority if authority is not None else self.authority,
            namespace=namespace if namespace is not None else self.namespace,
        )

    def with_hidden(self) -> FactQuery:
        """Also facts that views do not show, with the columns ``is_erased`` and ``hidden`` (the reason)."""
        return replace(self, has_hidden=True)

    def limit(self, count: int) -> FactQuery:
        """Only the first *count* rows, the earliest by stamp. Raises ``HistoryError`` for what is no number of rows."""
        if type(count) is not int or count < 0:
            raise HistoryError(f"a limit is 0 or more rows; got {count!r}")
        return replace(self, row_limit=count if self.row_limit is None else min(count, self.row_limit))

    def count(self) -> int:
        """How many facts match, at most the limit."""
        condition, parameters = self._condition()
        rows = self.history.sql(f"SELECT count(*) FROM history WHERE {condition}", parameters).fetchall()
        found = int(str(rows[0][0]))
        return found if self.row_limit is None else min(found, self.row_limit)

    def result(self) -> Result:
        """Run the query as it stands."""
        condition, parameters = self._condition()
        columns = _WITH_HIDDEN if self.has_hidden else _ENVELOPE
        limit = "" if self.row_limit is None else f" LIMIT {self.row_limit}"
        return self.history.sql(
            f"SELECT {columns} FROM history WHERE {condition} ORDER BY at_ms, hlc, fact_id{limit}", parameters
        )

    def _condition(self) -> tuple[str, list[object]]:
        given: list[tuple[str, object | None]] = [
            ("kind GLOB ?", self.pattern if self.pattern != "*" else None),
            ("at_ms >= ?", self.since_ms),
            ("at_ms <= ?", self.as_of_ms),
            ("author = ?", self.author),
            ("authority = ?", self.authority),
            ("namespace = ?", self.namespace),
        ]
        parts = [text for text, value in given if value is not None]
        if not self.has_hidden:
            parts.append("hidden IS NULL AND payload IS NOT NULL")
        return (" AND ".join(parts) or "true", [value for _, value in given if value is not None])


__all__ = ["FactQuery"]

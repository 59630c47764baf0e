"""Moments: the ways in which people name a time, as the milliseconds that facts are stamped with."""

from __future__ import annotations

from datetime import UTC, date, datetime

from .answers import HistoryError

Moment = int | str | date | datetime
"""A time: milliseconds since 1970, ISO text (UTC unless it names a zone), a datetime with a zone, or a date.

A date, also as text, means its first instant in UTC.
"""

_MILLISECOND = 1_000


def to_ms(moment: Moment) -> int:
    """Milliseconds since 1970; raises ``HistoryError`` for text that is no ISO time and a datetime without a zone.

    >>> to_ms("1970-01-02"), to_ms(date(1970, 1, 2)), to_ms("1970-01-01T01:00:00+01:00"), to_ms(5)
    (86400000, 86400000, 0, 5)
    """
    if isinstance(moment, int) and not isinstance(moment, bool):
        return moment
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as problem:
            raise HistoryError(
                f"{moment!r} is no time; expected an ISO date or time such as 2026-11-20T08:30, or milliseconds"
            ) from problem
    elif isinstance(moment, datetime) and moment.tzinfo is None:
        raise HistoryError(f"{moment!r} names no zone; say which, such as datetime.now(UTC) or .astimezone()")
    if not isinstance(moment, date):
        raise HistoryError(f"{moment!r} is no time; expected milliseconds since 1970, ISO text, a datetime or a date")
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _MILLISECOND + since.microseconds // _MILLISECOND


__all__ = ["Moment", "to_ms"]

"""Text that cannot steer what shows it, and times as a person reads them; every terminal door goes through here."""

from __future__ import annotations

from datetime import UTC, datetime

# Controls (also those beyond ASCII) and the marks that turn the direction of writing.
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160), *range(8234, 8239), *range(8294, 8298)), "�")


def clean(text: str) -> str:
    """Text that cannot steer a terminal; a line stays a line.

    >>> clean("red \\x1b[31malert")
    'red \\ufffd[31malert'
    """
    return text.translate(_CONTROLS)


def show_time(at_ms: int | None, *, form: str = "%Y-%m-%d %H:%M") -> str:
    """A time in UTC, to the minute unless *form* says otherwise.

    >>> show_time(0), show_time(None), show_time(2**62)
    ('1970-01-01 00:00', '–', '4611686018427387904 ms')
    """
    if at_ms is None:
        return "–"
    try:
        return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime(form)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"

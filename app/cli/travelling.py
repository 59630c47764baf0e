"""Commands that look at other times: ``why``, ``diff`` and ``timeline``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .screen import (
    JournalOption,
    JsonOption,
    clean,
    counted,
    say,
    show_time,
    tell_missing,
    write,
    write_json,
    write_table,
)

if TYPE_CHECKING:
    from antiphon.app.history import History
    from antiphon.app.time_travel import AnyView
    from antiphon.facts import Fact

_FACTS_SHOWN = 50
# Of each of what may be many changes.
_FACTS_OF_A_CHANGE = 5
_VALUE_SHOWN = 120
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
SHIPPED = {
    "chat": "CHAT_SIGNAL",
    "contacts": "CONTACTS_SIGNAL",
    "invitations": "INVITATIONS_SIGNAL",
    "homes": "HOMES_SIGNAL",
    "unread": "UNREAD_COUNT_SIGNAL",
}

ViewArgument = Annotated[
    str,
    typer.Argument(
        metavar="VIEW",
        help="chat, contacts, invitations, homes, unread, or a @view of your own: module:name or file.py:name.",
    ),
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="TIME", help="As it was then: an ISO date or time (UTC), or ms since 1970."),
]


class StepName(StrEnum):
    """How long one count of a timeline is."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


class ByName(StrEnum):
    """What a timeline is told apart by."""

    KIND = "kind"
    AUTHOR = "author"
    NAMESPACE = "namespace"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (why, diff, timeline):
        app.command()(command)


def why(
    view: ViewArgument,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A key, an id, an index or a path such as channels/team/lobby/topic.")
    ],
    journal: JournalOption,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the facts behind a value of a view: folding these alone gives it.

    JSON: one object: view, key, value, minimal (leaving out any one fact would change the value), facts [{fact_id,
    kind, at_ms, author, payload}]. Exit code 2 when KEY means no part of the view, or several.
    """
    with opened(journal) as history:
        found = history.why(load_view(view), _key_of(key), as_of=moment_of(as_of))
    if as_json:
        write_json(
            {
                "view": found.name,
                "key": key_text_of(found.key),
                "value": plain_state(found.value),
                "minimal": found.is_minimal,
                "facts": [_describe(fact) for fact in found.facts],
            }
        )
        return
    write(f"{found.name}[{clean(key_text_of(found.key))}] = {_shorten(found.value)}")
    least = "leaving out any one would change it" if found.is_minimal else "the search was ended, fewer may do"
    write(f"because of {counted(len(found.facts), 'fact')} ({least}):")
    _write_facts(found.facts)


def diff(
    view: ViewArgument,
    journal: JournalOption,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="After this moment.")],
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Up to this one; now without it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what changed in a view between two moments, with the facts that changed it.

    JSON: one object a line: what (added, changed, removed), key, before, after, facts [{fact_id, kind, at_ms, author,
    payload}].
    """
    with opened(journal) as history:
        found = history.diff(load_view(view), _moment(since), moment_of(until))
    for each in found:
        if as_json:
            write_json(
                {
                    "what": each.what,
                    "key": key_text_of(each.key),
                    "before": plain_state(each.before),
                    "after": plain_state(each.after),
                    "facts": [_describe(fact) for fact in each.facts],
                },
                is_line=True,
            )
            continue
        value = each.before if each.what == "removed" else each.after
        write(f"{_SIGNS[each.what]} {clean(key_text_of(each.key))}: {_shorten(value)}")
        _write_facts(each.facts, _FACTS_OF_A_CHANGE)
    if not len(found):
        say("nothing changed in between")


def timeline(
    journal: JournalOption,
    by: Annotated[ByName, typer.Option("--by", help="Count each of these apart.")] = ByName.KIND,
    every: Annotated[StepName | None, typer.Option("--every", help="The length of a step; chosen when absent.")] = None,
    kind: Annotated[str, typer.Option("--kind", help="Only kinds that match, such as 'chat.*'.")] = "*",
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only facts from then on.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only facts up to then.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Count facts over time.

    JSON: one object a line: at_time (the start of the step, UTC), kind or author or namespace, facts.
    """
    with opened(journal) as history:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            query = history.facts(kind)
        for each in told:
            say(clean(str(each.message)))
        query = query if since is None else query.since(_moment(since))
        query = query if until is None else query.as_of(_moment(until))
        result = history.timeline(by.value, every=every.value if every else None, query=query).result()
        columns, rows = result.columns, result.fetchall()
    if as_json:
        for row in rows:
            write_json(dict(zip(columns, row, strict=True)), is_line=True)
    else:
        write_table(columns, rows)


@contextmanager
def opened(journal: Path) -> Iterator[History]:
    """A history for one command; damage is told on stderr."""
    from antiphon.app.history import open_history

    with open_history(journal) as history:
        tell_missing(history.damages)
        yield history


def load_view(text: str) -> AnyView:
    """A view that ships, by its short name, or a ``@view`` out of a module or file of the user's."""
    from antiphon import views

    if text in SHIPPED:
        shipped: AnyView = getattr(views, SHIPPED[text])
        return shipped
    place, _, name = text.rpartition(":")
    if not place:
        known = ", ".join(SHIPPED)
        raise typer.BadParameter(f"{text!r} is none of {known}; name your own as module:view or file.py:view")
    found = getattr(_import(place), name, None)
    if not isinstance(found, views.ViewSpec):
        raise typer.BadParameter(f"{place} has no @view named {name!r}")
    return found


def _import(place: str) -> object:
    path = Path(place)
    if path.suffix != ".py":
        sys.path.insert(0, str(Path.cwd()))
        try:
            return importlib.import_module(place)
        except ImportError as problem:
            raise typer.BadParameter(f"cannot import {place}: {problem}") from problem
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise typer.BadParameter(f"{place} is no file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    return module


def _moment(text: str) -> int | str:
    """A time as it is typed: all digits are milliseconds."""
    return int(text) if text.lstrip("-").isdigit() else text


def moment_of(text: str | None) -> int | str | None:
    """A time that may be absent."""
    return None if text is None else _moment(text)


def _key_of(text: str) -> object:
    """A key as it is typed: a number is an index, if the view has such a one."""
    return int(text) if text.lstrip("-").isdigit() else text


def key_text_of(key: tuple[object, ...]) -> str:
    """A key as one line."""
    from antiphon.views.keyed import key_text

    return key_text(key)


def plain_state(value: object) -> Any:
    """A state of any view as JSON data."""
    from collections.abc import Mapping
    from dataclasses import fields, is_dataclass
    from enum import Enum

    from pydantic import BaseModel

    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Enum):
        return plain_state(value.value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_state(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_state(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_state(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(map(plain_state, value), key=repr)
    return value


def _describe(fact: Fact) -> dict[str, object]:
    import orjson

    from antiphon.facts.fact import get_record

    record = get_record(fact)
    return {
        "fact_id": record.fact_id.hex(),
        "kind": record.kind,
        "at_ms": record.at,
        "author": record.chain.label,
        "payload": orjson.loads(record.payload or b"null"),
    }


def _write_facts(facts: tuple[Fact, ...], shown_max: int = _FACTS_SHOWN) -> None:
    for fact in facts[:shown_max]:
        told = _describe(fact)
        write(
            f"    {show_time(fact.meta.at)}  {str(told['fact_id'])[:12]}  {clean(fact.meta.author)}  {told['kind']}  "
            f"{_shorten(told['payload'])}"
        )
    if len(facts) > shown_max:
        write(f"    and {len(facts) - shown_max:,} more (--json lists all)")


def _shorten(value: object) -> str:
    text = clean(value if isinstance(value, str) else repr(value))
    return text if len(text) <= _VALUE_SHOWN else text[:_VALUE_SHOWN] + "…"

"""One typed SQL view a kind: names, columns and the SQL text, from the registrations a journal holds.

Pure text in, text out; ``tables.py`` executes it. A view never fails on odd data: what does not fit a column's type is
null there, and what is absent or null in the payload is null in SQL, in JSON columns too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeGuard

import orjson

from antiphon.facts import Registration
from antiphon.facts.schema import SchemaNode, field_type

# Whole seconds of Python's datetime; beyond it DuckDB knows the time and Python does not.
_AT_TIME = "CASE WHEN f.at_ms BETWEEN -62135596800000 AND 253402300799999 THEN epoch_ms(f.at_ms) END"
ENVELOPE: Mapping[str, str] = {
    "fact_id": "lower(hex(f.fact_id))",
    "author": "c.label",
    "authority": "c.authority",
    "chain": "c.chain",
    "seq": "f.seq",
    "at_ms": "f.at_ms",
    "at_time": _AT_TIME,
    "hlc": "f.hlc",
    "namespace": "c.namespace",
    "version": "f.version",
}
RESERVED_NAMES = frozenset(
    {
        "applied",
        "chains",
        "fact_type_versions",
        "fact_types",
        "facts",
        "history",
        "meta",
        "runs",
        "view_checkpoint_parts",
        "view_checkpoints",
    }
)
_SCALARS = {"text": "VARCHAR", "bytes": "VARCHAR", "integer": "BIGINT", "boolean": "BOOLEAN"}
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEXT_LITERAL = re.compile(r"(['\"]).*\1", re.DOTALL)
_INTEGER_LITERAL = re.compile(r"-?[0-9]+")


class KnownKind(NamedTuple):
    """A kind the journal has met; ``registration`` is its newest, or None while no type is registered."""

    kind: str
    registration: Registration | None


def plain_sql_name(kind: str) -> str:
    """The SQL name a kind would like to have: ``demo.message_sent`` is ``demo_message_sent``."""
    return kind.replace(".", "_")


def sql_names(known: Sequence[KnownKind]) -> dict[str, str]:
    """Give each kind its view's name; *known* is in order of arrival.

    Registered kinds choose first, then the others; who finds a name taken (or kept for a table) gets the next number.
    So a foreign kind never takes a name from one of ours, and equal logs give equal names.

    >>> sql_names([KnownKind("a.b_c", None), KnownKind("a_b.c", None), KnownKind("fact.types", None)])
    {'a.b_c': 'a_b_c', 'a_b.c': 'a_b_c_2', 'fact.types': 'fact_types_2'}
    """
    registered = [item.kind for item in known if item.registration]
    others = [item.kind for item in known if not item.registration]
    names: dict[str, str] = {}
    taken = set(RESERVED_NAMES)
    waiting = []
    for kind in (*registered, *others):
        name = plain_sql_name(kind)
        if name in taken:
            waiting.append(kind)
        else:
            names[kind] = name
            taken.add(name)
    for kind in waiting:
        names[kind] = _next_name(plain_sql_name(kind), taken)
        taken.add(names[kind])
    return names


def build_view(name: str, kind: str, registration: Registration | None) -> str:
    """The statement that creates the view of *kind*: its fields, then the envelope; only facts that views may show."""
    return f"CREATE OR REPLACE VIEW main.{quote_name(name)} AS {select_kind(kind, registration)}"


def select_kind(kind: str, registration: Registration | None, *, among: str = "internal.facts") -> str:
    """What the view of *kind* selects, from all facts or *among* a part of them (SQL)."""
    fields = _payload_columns(registration) if registration else {"payload": "f.payload::JSON"}
    columns = ", ".join(
        f"{expression} AS {quote_name(column)}" for column, expression in (*fields.items(), *ENVELOPE.items())
    )
    return (
        f"SELECT {columns} FROM {among} AS f "
        f"JOIN internal.chains AS c ON c.chain_number = f.chain_number "
        f"WHERE f.kind = {quote_text(kind)} AND f.hidden IS NULL AND f.payload IS NOT NULL"
    )


def quote_name(name: str) -> str:
    """Quote an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Quote an SQL text literal."""
    return "'" + text.replace("'", "''") + "'"


def _payload_columns(registration: Registration) -> dict[str, str]:
    fields: dict[str, SchemaNode] = orjson.loads(registration.schema)
    columns = _column_names([field for field in fields if _FIELD_NAME.fullmatch(field)])
    has_older = registration.version > 1
    return {column: _expression(field, fields[field], has_older=has_older) for field, column in columns.items()}


def _column_names(fields: Sequence[str]) -> dict[str, str]:
    """Name each field's column: its own name where that is free, else with a prefix. SQL names ignore case."""
    taken = set(ENVELOPE)
    names: dict[str, str] = {}
    for field in fields:
        if field.lower() not in taken:
            names[field] = field
            taken.add(field.lower())
    for field in fields:
        if field not in names:
            names[field] = _next_name(f"payload_{field}", taken, start=1)
            taken.add(names[field].lower())
    return {field: names[field] for field in fields}


def _expression(field: str, node: SchemaNode, *, has_older: bool) -> str:
    kind, is_nullable = _column_type(field_type(node))
    path = f"'$.\"{field}\"'"
    if kind == "VARCHAR":
        value = f"(f.payload->>{path})"
    elif kind == "JSON":
        value = f"nullif(f.payload->{path}, 'null')"
    elif kind.endswith("[]"):
        value = f"TRY_CAST((f.payload->{path}) AS {kind})"
    else:
        value = f"TRY_CAST((f.payload->>{path}) AS {kind})"
    default = node.get("default") if isinstance(node, Mapping) else None
    # An older version's payload may lack the field; reading it in Python gives the default, so SQL does too.
    if has_older and not is_nullable and isinstance(default, str) and kind in _SCALARS.values():
        return f"coalesce({value}, TRY_CAST(json_extract_string({quote_text(default)}, '$') AS {kind}))"
    return value


def _column_type(node: SchemaNode) -> tuple[str, bool]:
    """The SQL type for a field's type, and whether null is one of its values."""
    if isinstance(node, str):
        return (_SCALARS.get(node, "JSON"), node in ("null", "json"))
    if isinstance(node, Mapping):
        if "any" in node:
            return _union_type(node["any"])
        if "list" in node and (item := _column_type(node["list"])[0]) != "JSON" and not item.endswith("[]"):
            return (f"{item}[]", False)
        for tag in ("enum", "literal"):
            if tag in node:
                return _literal_type(node[tag])
    return ("JSON", False)


def _union_type(options: SchemaNode) -> tuple[str, bool]:
    if not _is_list(options):
        return ("JSON", True)
    types = {_column_type(option)[0] for option in options if option != "null"}
    is_nullable = "null" in options or any(_column_type(option)[1] for option in options)
    return (types.pop() if len(types) == 1 else "JSON", is_nullable)


def _literal_type(values: SchemaNode) -> tuple[str, bool]:
    """Enums and literals are kept as ``repr`` in the normal form: ``'red'``, ``3``, ``True``, ``None``."""
    texts = [value for value in values if isinstance(value, str)] if _is_list(values) else []
    real = [text for text in texts if text != "None"]
    is_nullable = len(real) < len(texts)
    if real and all(_TEXT_LITERAL.fullmatch(text) for text in real):
        return ("VARCHAR", is_nullable)
    if real and all(_INTEGER_LITERAL.fullmatch(text) for text in real):
        return ("BIGINT", is_nullable)
    return ("BOOLEAN" if real and set(real) <= {"True", "False"} else "JSON", is_nullable)


def _is_list(node: SchemaNode) -> TypeGuard[Sequence[SchemaNode]]:
    return isinstance(node, Sequence) and not isinstance(node, str)


def _next_name(base: str, taken: Iterable[str], *, start: int = 2) -> str:
    """*base* itself when *start* is 1 and it is free, else the first free ``base_N``."""
    lowered = {name.lower() for name in taken}
    if start == 1 and base.lower() not in lowered:
        return base
    number = 2
    while f"{base}_{number}".lower() in lowered:
        number += 1
    return f"{base}_{number}"

"""The page ``docs/facts.md``, drawn from the registry: every fact type that ships, its fields and what it does.

``python -m antiphon.app.catalog_page`` prints it; the committed page must equal what is printed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from itertools import groupby

from antiphon.facts import FactRegistry, FactType, build_fact_registry, operation_category
from antiphon.facts.bindings import BINDING_RULES
from antiphon.facts.schema import SchemaNode

_HEAD = """# The facts that ship

Drawn from the registry by `make facts-page`; do not edit it by hand.

Each fact is one immutable, typed and versioned statement. *Context* is the field that names the namespace it
belongs to, *time* the field with its own time in milliseconds since 1970; a fact whose payload disagrees with where
it stands is hidden. A *category* says how much agreement an operation needs: A is done here and at once, B is shown
at once and agreed on later, C is a ceremony. What a view makes of a fact is a function of the set of facts: no rule
below depends on the order of arrival.
"""


def catalog_page(registry: FactRegistry | None = None) -> str:
    """The whole page, in Markdown; the same bytes for the same registry."""
    types = list((registry or build_fact_registry()).registered_types())
    parts = [_HEAD]
    for domain, group in groupby(types, key=lambda each: each.kind.partition(".")[0]):
        parts.append(f"## {domain}\n")
        parts.extend(_section(fact_type) for fact_type in group)
    return "\n".join(parts)


def _section(fact_type: FactType) -> str:
    return "\n".join([f"### `{fact_type.kind}`\n", *_about(fact_type), "", *_field_table(fact_type), ""])


def _about(fact_type: FactType) -> Iterator[str]:
    model, rule = fact_type.model, BINDING_RULES.get(fact_type.kind)
    yield inspect.cleandoc(model.__doc__ or "").replace("``", "`")
    yield ""
    versions = f"version {fact_type.version}"
    if fact_type.min_version != fact_type.version:
        versions += f" (reads {fact_type.min_version} and later)"
    yield f"`{model.__name__}`, {versions}, schema `{fact_type.schema_hash}`, SQL view `{fact_type.sql_name}`."
    time = f"`{fact_type.time}`" if fact_type.time else "the clock of its chain"
    yield f"Context: {_context(fact_type)}. Time: {time}."
    if rule is not None:
        key = f" by {rule.key_name}" if rule.key_name else ""
        yield f"Binds `{rule.binding_type}`{key}. {_category(rule.operation)}"
        yield f"Reducer: {rule.effect}"


def _context(fact_type: FactType) -> str:
    if fact_type.context is not None:
        return f"`{fact_type.context}`"
    return "the default one" if fact_type.context_function is None else "`context_id`, else derived from its ids"


def _category(operation: str | None) -> str:
    category = operation_category(operation) if operation else None
    return f"Operation `{operation}`, category {category.value}." if category else "No operation of its own."


def _field_table(fact_type: FactType) -> Iterator[str]:
    if not fact_type.fields:
        yield "No fields."
        return
    yield "| field | type | default |"
    yield "|---|---|---|"
    for name, node in fact_type.fields.items():
        assert isinstance(node, Mapping), "describe_fields gives a mapping for each field"
        default = node.get("default")
        yield f"| `{name}` | {_type_text(node['type'])} | {'' if default is None else f'`{default}`'} |"


def _type_text(node: SchemaNode) -> str:
    if isinstance(node, str):
        return node
    if not isinstance(node, Mapping):
        return ", ".join(_type_text(part) for part in node)
    (form, inner), *_ = node.items()
    if form == "any":
        return " or ".join(_type_text(part) for part in inner)
    if form in ("literal", "enum"):
        return " or ".join(f"`{option}`" for option in inner)
    if form == "record":
        assert isinstance(inner, Mapping), "a record has named fields"
        return "record of " + ", ".join(f"`{name}`" for name in inner)
    return f"{form} of {_type_text(inner)}"


if __name__ == "__main__":
    print(catalog_page(), end="")

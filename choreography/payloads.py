"""What travels under a label, as far as the protocol's text says: names of fields and scalar types.

Named types (`shop.Payment`) are opaque here: a class that is registered for a message says what they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Literal, NamedTuple, TypeAlias

from . import ast
from .dsl.format import format_message

# off: nothing is looked at · structural: what is declared must be there · strict: and nothing else.
Strictness: TypeAlias = Literal["off", "structural", "strict"]


class Scalar(NamedTuple):
    """A scalar type: Python's classes for it, and the bounds of an integer (None: none)."""

    name: str
    kinds: tuple[type, ...]
    low: int | None = None
    high: int | None = None


class ShapeField(NamedTuple):
    """One field of a payload; `scalar` is None when its type is opaque."""

    name: str
    type: ast.TypeExpression
    scalar: Scalar | None


class PayloadShape(NamedTuple):
    """The fields of a payload in order; `is_single` when one value without a name travels, which is called `value`."""

    label: str
    fields: tuple[ShapeField, ...]
    is_single: bool = False


class MessageSpec(NamedTuple):
    """What travels under one label: its forms as they are written, and the fields of each.

    Nearly always one; a text may give a label to several payloads, in branches that exclude each other.
    """

    label: str
    forms: tuple[str, ...]
    shapes: tuple[PayloadShape, ...]


def _scalars() -> dict[str, Scalar]:
    found = {
        "bool": Scalar("bool", (bool,)),
        "bytes": Scalar("bytes", (bytes,)),
        "nat": Scalar("nat", (int,), 0),
        "int": Scalar("int", (int,)),
    }
    found |= {name: Scalar(name, (str,)) for name in ("String", "str", "string")}
    found |= {name: Scalar(name, (float, int)) for name in ("f32", "f64", "real", "float")}
    found |= {"Bool": found["bool"], "Int": found["int"]}
    for bits in (8, 16, 32, 64, 128):
        found[f"u{bits}"] = Scalar(f"u{bits}", (int,), 0, 2**bits - 1)
        found[f"i{bits}"] = Scalar(f"i{bits}", (int,), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    found["usize"], found["isize"] = found["u64"], found["i64"]
    return found


_SCALARS = _scalars()


def payload_shape(message: ast.Message, aliases: Mapping[str, ast.TypeExpression] | None = None) -> PayloadShape:
    """The shape of a message, with the file's type aliases seen through. The names are those that stubs give them."""
    known = aliases or {}
    found: list[ShapeField] = []
    if message.type is not None:
        found.append(_field("value", message.type, known))
    items = message.payload.fields if message.payload else ()
    unnamed = [item for item in items if item.name is None]
    for item in items:
        if item.name is not None:
            found.append(_field(item.name, item.type, known))
        elif len(unnamed) == 1 and message.type is None:
            found.append(_field("value", item.type, known))
        else:
            found.append(_field(f"value_{unnamed.index(item) + 1}", item.type, known))
    is_single = len(found) == 1 and (message.type is not None or bool(unnamed))
    return PayloadShape(message.name, tuple(found), is_single)


def message_specs(
    messages: Iterable[ast.Message], aliases: Mapping[str, ast.TypeExpression] | None = None
) -> dict[str, MessageSpec]:
    """The messages by label, in the order in which they are given."""
    found: dict[str, dict[str, PayloadShape]] = {}
    for message in messages:
        found.setdefault(message.name, {}).setdefault(format_message(message), payload_shape(message, aliases))
    return {label: MessageSpec(label, tuple(forms), tuple(forms.values())) for label, forms in found.items()}


def _field(name: str, written: ast.TypeExpression, aliases: Mapping[str, ast.TypeExpression]) -> ShapeField:
    seen: set[str] = set()
    meant = written
    while isinstance(meant, ast.TypeName) and not meant.arguments and len(meant.path) == 1:
        alias = meant.path[0]
        if alias not in aliases or alias in seen:
            break
        seen.add(alias)
        meant = aliases[alias]
    is_plain = isinstance(meant, ast.TypeName) and not meant.arguments and len(meant.path) == 1
    scalar = _SCALARS.get(meant.path[0]) if is_plain and isinstance(meant, ast.TypeName) else None
    return ShapeField(name, written, scalar)


_ABSENT = object()


def payload_fault(shape: PayloadShape, value: object, strictness: Strictness = "structural") -> str | None:
    """Why a value does not have the shape, or None. A mapping is read by keys, any other object by attributes.

    Example: for `Ask(nights : u8)`, `payload_fault(shape, {"nights": 300})` is "nights is 300, not 0 to 255 (u8)".
    """
    if strictness == "off":
        return None
    if shape.is_single and not isinstance(value, Mapping) and not hasattr(value, "value"):
        return _field_fault(shape.fields[0], value)
    for one in shape.fields:
        found = value.get(one.name, _ABSENT) if isinstance(value, Mapping) else getattr(value, one.name, _ABSENT)
        if found is _ABSENT:
            return f"{one.name} is missing"
        fault = _field_fault(one, found)
        if fault is not None:
            return fault
    return _surplus(shape, value) if strictness == "strict" else None


def class_fault(shape: PayloadShape, kind: type[object]) -> str | None:
    """Why no value of a class can have the shape, or None: a declared field that the class has not."""
    known = _names_of(kind)
    missing = [one.name for one in shape.fields if known is not None and one.name not in known]
    return f"{kind.__name__} has no field {', '.join(missing)}" if missing else None


def _field_fault(one: ShapeField, value: object) -> str | None:
    scalar = one.scalar
    if scalar is None:
        return None
    is_kind = isinstance(value, scalar.kinds) and (not isinstance(value, bool) or bool in scalar.kinds)
    if not is_kind:
        return f"{one.name} is {value!r:.80}, not a {scalar.name}"
    if isinstance(value, int) and (
        (scalar.low is not None and value < scalar.low) or (scalar.high is not None and value > scalar.high)
    ):
        upper = "…" if scalar.high is None else f"{scalar.high}"
        return f"{one.name} is {value}, not {scalar.low} to {upper} ({scalar.name})"
    return None


def _surplus(shape: PayloadShape, value: object) -> str | None:
    known: Sequence[str] | None = [str(key) for key in value] if isinstance(value, Mapping) else _names_of(type(value))
    declared = {one.name for one in shape.fields}
    surplus = sorted(set(known or ()) - declared)
    if not surplus and known is None and value is not None and not shape.fields:
        return f"{value!r:.80} travels with {shape.label}, which carries nothing"
    return f"{', '.join(surplus)} is not in {shape.label}" if surplus else None


def _names_of(kind: type[object]) -> list[str] | None:
    """The fields of a dataclass or of a model; None for a class that does not tell."""
    if is_dataclass(kind):
        return [one.name for one in fields(kind)]
    told = getattr(kind, "model_fields", None)
    return list(told) if isinstance(told, Mapping) else None

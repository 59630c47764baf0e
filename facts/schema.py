"""The normal form of a fact type's fields, from which drift is detected and SQL columns are drawn.

It is our own form, not ``model_json_schema()``: there a new docstring would look like a new schema.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, ForwardRef, Literal, NewType, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from .errors import RegistrationError

SchemaNode = str | Sequence["SchemaNode"] | Mapping[str, "SchemaNode"]

_PLAIN: dict[object, str] = {
    str: "text",
    int: "integer",
    bool: "boolean",
    bytes: "bytes",
    None: "null",
    type(None): "null",
}
_OPEN: tuple[object, ...] = (Any, object)


def describe_fields(
    owner: str, fields: Mapping[str, FieldInfo], *, within: tuple[object, ...] = ()
) -> dict[str, SchemaNode]:
    """Give each field's normal form: its type and, when it has one, its default.

    *within* are the types that are being described around it, innermost last: none may contain itself.
    Raises ``RegistrationError`` naming the field when its type has no canonical JSON form.
    """
    described: dict[str, SchemaNode] = {}
    for name, info in fields.items():
        if info.alias is not None or info.validation_alias is not None or info.serialization_alias is not None:
            raise RegistrationError(f"{owner}.{name} has an alias, but is written under its own name; drop the alias")
        node: dict[str, SchemaNode] = {"type": describe_type(info.annotation, where=f"{owner}.{name}", within=within)}
        if not info.is_required():
            default = info.get_default(call_default_factory=False)
            node["default"] = orjson.dumps(default, default=str, option=orjson.OPT_SORT_KEYS).decode()
        described[name] = node
    return described


def describe_type(annotation: object, *, where: str, within: tuple[object, ...] = ()) -> SchemaNode:
    """Give one annotation's normal form; refuse floats and whatever JSON cannot hold exactly."""
    while (inner := _without_wrapper(annotation)) is not annotation:
        within = _enter(annotation, where=where, within=within)
        annotation = inner
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if annotation in _OPEN:
        return "json"
    origin = get_origin(annotation)
    if origin is not None:
        return _describe_generic(origin, get_args(annotation), where=where, within=within)
    if isinstance(annotation, type):
        return _describe_class(annotation, where=where, within=within)
    if isinstance(annotation, ForwardRef | str):
        later = annotation if isinstance(annotation, str) else annotation.__forward_arg__
        raise RegistrationError(f"{where}: define {later} before {where.partition('.')[0]}, which is described at once")
    raise RegistrationError(f"{where}: {annotation!r} has no canonical form; {_ALLOWED}")


_ALLOWED = (
    "expected str, int, bool, bytes, None, an Enum, a Literal, a frozen model, or lists, tuples and dicts of these"
)


def _without_wrapper(annotation: object) -> object:
    """What a new type, an annotated type or a type alias stands for; anything else is given back as it is."""
    if isinstance(annotation, NewType):
        supertype: object = annotation.__supertype__
        return supertype
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[0]
    return getattr(annotation, "__value__", None) if type(annotation).__name__ == "TypeAliasType" else annotation


def _enter(annotation: object, *, where: str, within: tuple[object, ...]) -> tuple[object, ...]:
    if annotation in within:
        name = getattr(annotation, "__name__", annotation)
        raise RegistrationError(
            f"{where}: {name} contains itself, so it has no finite form; refer to the inner by an id"
        )
    return (*within, annotation)


def _describe_generic(
    origin: object, arguments: tuple[object, ...], *, where: str, within: tuple[object, ...]
) -> SchemaNode:
    if origin in (Union, types.UnionType):
        options = [describe_type(option, where=where, within=within) for option in arguments]
        if "bytes" in options and "text" in options:
            raise RegistrationError(
                f"{where} is bytes or text, which are both text in JSON, so it could not be read back; choose one"
            )
        return {"any": sorted(options, key=lambda node: orjson.dumps(node, option=orjson.OPT_SORT_KEYS))}
    if origin is Literal:
        return {"literal": sorted(repr(value) for value in arguments)}
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return {"tuple": [describe_type(item, where=where, within=within) for item in arguments]}
    if origin in (list, tuple, Sequence):
        return {"list": describe_type(arguments[0], where=where, within=within)}
    if origin in (dict, Mapping) and arguments[0] is str:
        return {"map": describe_type(arguments[1], where=where, within=within)}
    raise RegistrationError(f"{where}: {origin!r} of {arguments!r} has no canonical form; {_ALLOWED}")


def _describe_class(annotation: type, *, where: str, within: tuple[object, ...]) -> SchemaNode:
    if issubclass(annotation, Enum):
        return {"enum": sorted(repr(member.value) for member in annotation)}
    if issubclass(annotation, BaseModel) and not issubclass(annotation, RootModel):
        within = _enter(annotation, where=where, within=within)
        if not annotation.model_config.get("frozen"):
            raise RegistrationError(
                f"{where}: {annotation.__name__} is not frozen, so a fact could change after it was committed; give it "
                "model_config = ConfigDict(frozen=True)"
            )
        return {"record": describe_fields(annotation.__name__, annotation.model_fields, within=within)}
    if issubclass(annotation, float):
        raise RegistrationError(
            f"{where} is a float, which two machines may print differently; store an integer with its unit, or text"
        )
    raise RegistrationError(f"{where}: {annotation.__name__} has no canonical form; {_ALLOWED}")


def find_misfit(fields: Mapping[str, SchemaNode], payload: object) -> str | None:
    """What keeps a payload from being a fact of these fields, or None: for who knows a type by its record only.

    Bounds and validators of the type are not part of the normal form, so what fits may be refused by the type itself.

    >>> find_misfit({"text": {"type": "text"}}, {"text": 5})
    'text is an integer; expected text'
    """
    if not isinstance(payload, Mapping):
        return f"the payload is {_name_of(payload)}; expected fields by name"
    for name in payload:
        if name not in fields:
            return f"{name!r:.80} is no field of it"
    for name, node in fields.items():
        if name not in payload and isinstance(node, Mapping) and "default" not in node:
            return f"{name} is missing"
        if name in payload and not _fits(field_type(node), payload[name]):
            return f"{name} is {_name_of(payload[name])}; expected {_wanted(field_type(node))}"
    return None


_NAMES: dict[type, str] = {str: "text", bool: "a boolean", int: "an integer", list: "a list", dict: "a map"}
_FITTING: dict[str, type] = {"text": str, "integer": int, "boolean": bool, "bytes": str, "null": type(None)}


def _name_of(value: object) -> str:
    return _NAMES.get(type(value), "null")


def _wanted(node: SchemaNode) -> str:
    return node if isinstance(node, str) else orjson.dumps(node).decode()[:80]


def _fits(node: SchemaNode, value: object) -> bool:
    if isinstance(node, str):
        return node not in _FITTING or type(value) is _FITTING[node]
    assert isinstance(node, Mapping), "a type is described by a word or a mapping"
    ((word, inner),) = node.items()
    if word in ("literal", "enum"):
        return repr(value) in inner
    if word == "any":
        return any(_fits(option, value) for option in inner)
    if word == "record":
        assert isinstance(inner, Mapping), "a record is described by its fields"
        return isinstance(value, Mapping) and find_misfit(inner, value) is None
    if word == "map":
        return isinstance(value, Mapping) and all(_fits(inner, each) for each in value.values())
    if not isinstance(value, list):
        return False
    if word == "list":
        return all(_fits(inner, each) for each in value)
    return len(value) == len(inner) and all(map(_fits, inner, value))


def can_change_in_place(annotation: object) -> bool:
    """Whether a value of an annotation that ``describe_type`` accepts can be changed: a list, a map, or around one."""
    while (inner := _without_wrapper(annotation)) is not annotation:
        annotation = inner
    origin = get_origin(annotation)
    if annotation in _OPEN or origin in (list, Sequence, dict, Mapping):
        return True
    if origin in (tuple, Union, types.UnionType):
        return any(can_change_in_place(part) for part in get_args(annotation) if part is not Ellipsis)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(can_change_in_place(info.annotation) for info in annotation.model_fields.values())
    return False


def schema_hash(fields: Mapping[str, SchemaNode]) -> str:
    """Hash a normal form; equal schemas give equal hashes whatever the order of fields (16 bytes in hex)."""
    return hashlib.sha256(b"antiphon.schema.1" + orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def field_type(node: SchemaNode) -> SchemaNode:
    """The type half of a described field."""
    assert isinstance(node, Mapping), "describe_fields gives a mapping for each field"
    return node["type"]


def is_flat(node: SchemaNode) -> bool:
    """Whether a value of this type needs no walk before encoding: text, bool, null and literals of text only."""
    if isinstance(node, Mapping):
        if "literal" in node:
            return all(isinstance(option, str) and option[:1] in ("'", '"') for option in node["literal"])
        return "any" in node and all(is_flat(option) for option in node["any"])
    return node in ("text", "boolean", "null")

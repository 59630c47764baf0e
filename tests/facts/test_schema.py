"""The normal form of a schema: what changes it is drift, and nothing else is."""

import hashlib
from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from types import new_class
from typing import Annotated, Any, Literal, NewType, Optional, Union

import orjson
import pytest
from hypothesis import given
from pydantic import BaseModel, Field

from antiphon import Fact
from antiphon.facts.schema import describe_type, find_misfit, schema_hash
from antiphon.testing.strategies import standard_facts


def hash_of(body: dict[str, object], annotations: dict[str, object], *, version: int = 1) -> str:
    namespace = {"__annotations__": annotations, "__module__": __name__, **body}
    options = {"kind": "test.schematic", "version": version}
    model: Any = new_class("Schematic", (Fact,), options, lambda space: space.update(namespace))
    digest: str = model.fact_type.schema_hash
    return digest


PLAIN = hash_of({}, {"text": str, "size": int})


@pytest.mark.parametrize(
    ("body", "annotations"),
    [
        pytest.param({"__doc__": "Now documented."}, {"text": str, "size": int}, id="a docstring"),
        pytest.param({}, {"size": int, "text": str}, id="the order of fields"),
        pytest.param({}, {"text": Annotated[str, "a note"], "size": int}, id="an annotation's note"),
        pytest.param({}, {"text": NewType("Text", str), "size": int}, id="a new type"),
        pytest.param({"size": Field(description="in bytes")}, {"text": str, "size": int}, id="a field's description"),
        pytest.param({"shout": lambda self: self.text.upper()}, {"text": str, "size": int}, id="a method"),
    ],
)
def test_what_changes_no_payload_is_no_drift(body: dict[str, object], annotations: dict[str, object]) -> None:
    assert hash_of(body, annotations) == PLAIN


@pytest.mark.parametrize(
    ("body", "annotations"),
    [
        pytest.param({}, {"text": str}, id="a field less"),
        pytest.param({}, {"text": str, "size": int, "more": int}, id="a field more"),
        pytest.param({}, {"text": str, "length": int}, id="a field renamed"),
        pytest.param({}, {"text": str, "size": str}, id="another type"),
        pytest.param({}, {"text": str, "size": int | None}, id="optional"),
        pytest.param({"size": 0}, {"text": str, "size": int}, id="a default"),
    ],
)
def test_what_changes_a_payload_is_drift(body: dict[str, object], annotations: dict[str, object]) -> None:
    assert hash_of(body, annotations) != PLAIN


def test_another_default_is_drift() -> None:
    annotations: dict[str, object] = {"text": str, "size": int}
    assert len({hash_of({"size": value}, annotations) for value in (0, 1, -1)}) == 3


def test_the_version_is_not_part_of_the_schema() -> None:
    assert hash_of({}, {"text": str, "size": int}, version=2) == PLAIN


class Colour(Enum):
    RED = "red"


class MoreColours(Enum):
    RED = "red"
    BLUE = "blue"


class Renamed(Enum):
    ROUGE = "red"


class Level(IntEnum):
    LOW = 1


class Point(BaseModel, frozen=True):
    x: int


class OtherPoint(BaseModel, frozen=True):
    """Another name, the same fields."""

    x: int


class WidePoint(BaseModel, frozen=True):
    x: int
    y: int = 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Optional[int], int | None),  # noqa: UP045
        (Union[int, str], str | int),  # noqa: UP007
        (list[int], tuple[int, ...]),
        (Sequence[int], list[int]),
        (dict[str, int], Mapping[str, int]),
        (Any, object),
        (Colour, Renamed),
        (Point, OtherPoint),
        (Literal["a", "b"], Literal["b", "a"]),
    ],
)
def test_two_spellings_of_one_payload_have_one_form(first: object, second: object) -> None:
    assert describe_type(first, where="") == describe_type(second, where="")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (int, str),
        (int, bool),
        (str, bytes),
        (int, int | None),
        (list[int], list[str]),
        (tuple[int, int], tuple[int, ...]),
        (Colour, MoreColours),
        (Colour, str),
        (Level, int),
        (Point, WidePoint),
        (Literal["1"], Literal[1]),
    ],
)
def test_two_payloads_have_two_forms(first: object, second: object) -> None:
    assert describe_type(first, where="") != describe_type(second, where="")


def test_the_hash_is_frozen() -> None:
    """A journal remembers it: another way of hashing would make drift of every type at once."""
    data = b'{"size":{"type":"integer"},"text":{"type":"text"}}'
    assert hashlib.sha256(b"antiphon.schema.1" + data).hexdigest()[:32] == PLAIN
    assert schema_hash({}) == hashlib.sha256(b"antiphon.schema.1{}").hexdigest()[:32]


@given(standard_facts())
def test_what_a_type_writes_fits_its_own_normal_form(fact: Fact) -> None:
    fields = orjson.loads(orjson.dumps(fact.fact_type.fields))
    assert find_misfit(fields, orjson.loads(fact.fact_type.encode(fact))) is None


FIELDS = {
    "text": {"type": "text"},
    "size": {"type": {"any": ["integer", "null"]}, "default": "null"},
    "mood": {"type": {"literal": ["'calm'", "'wild'"]}, "default": '"calm"'},
    "tags": {"type": {"list": "text"}, "default": "[]"},
    "pair": {"type": {"tuple": ["text", "boolean"]}, "default": "null"},
    "more": {"type": {"map": {"record": {"n": {"type": "integer"}}}}, "default": "{}"},
    "free": {"type": "json", "default": "null"},
}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (
            {"text": "x", "size": None, "mood": "wild", "tags": ["a"], "pair": ["a", True], "more": {"k": {"n": 1}}},
            None,
        ),
        ({"text": "x", "free": [{"anything": 1}]}, None),
        ({}, "text is missing"),
        ([], "the payload is a list; expected fields by name"),
        ({"text": "x", "colour": "red"}, "'colour' is no field of it"),
        ({"text": 5}, "text is an integer; expected text"),
        ({"text": None}, "text is null; expected text"),
        ({"text": "x", "size": True}, 'size is a boolean; expected {"any":["integer","null"]}'),
        ({"text": "x", "mood": "sad"}, "mood is text"),
        ({"text": "x", "tags": ["a", 1]}, "tags is a list"),
        ({"text": "x", "pair": ["a"]}, "pair is a list"),
        ({"text": "x", "more": {"k": {"n": "1"}}}, "more is a map"),
    ],
)
def test_what_does_not_fit_is_named(payload: object, reason: str | None) -> None:
    found = find_misfit(FIELDS, payload)
    assert (found is None) if reason is None else (found or "").startswith(reason)

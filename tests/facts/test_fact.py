"""Facts as values: what may be declared, what may be said, and that everything said can be read back."""

import warnings
from collections.abc import Sequence
from enum import Enum, IntEnum
from types import new_class
from typing import Annotated, Any, Literal, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, field_validator

from antiphon import Fact, upcast
from antiphon.facts import (
    FactRecord,
    InvalidPayload,
    LocalViolation,
    PayloadTooLarge,
    RegistrationError,
    UnencodableFact,
    VersionMismatch,
    take_back,
    with_record,
)
from antiphon.facts.encoding import PAYLOAD_BYTES_MAX
from antiphon.testing.records import ChainWriter, make_draft


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Grade(IntEnum):
    GOOD = 1
    BAD = 2


class Point(BaseModel):
    model_config = ConfigDict(frozen=True)
    x: int
    tags: tuple[str, ...] = ()


Score = NewType("Score", int)


class Everything(Fact, kind="test.everything", version=1):
    """One field of every form that a fact may have."""

    text: str
    number: int
    score: Score
    flag: bool
    raw: bytes
    colour: Colour
    grade: Grade
    choice: Literal["a", "b", 3]
    point: Point
    pair: tuple[str, int]
    words: list[str]
    many: tuple[Point, ...]
    table: dict[str, list[int]]
    maybe: str | None
    either: int | str
    anything: Any
    shaped: Annotated[str, Field(max_length=3)]
    defaulted: int = 7


class Said(Fact, kind="test.said", version=1):
    text: str


class Noted(Fact, kind="test.noted", version=2, context="room", time="at_ms", min_version=1):
    room: str
    at_ms: int
    text: str = "-"


def place(fact: Fact) -> FactRecord:
    """A record for *fact*, as a journal would give it."""
    return ChainWriter("ada").seal(make_draft(fact)).records[-1]


integers = st.integers(min_value=-(2**63), max_value=2**63 - 1)
points = st.builds(Point, x=integers, tags=st.lists(st.text(), max_size=2).map(tuple))
plain_json = st.recursive(
    st.none() | st.booleans() | integers | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(
    st.builds(
        Everything,
        text=st.text(),
        number=integers,
        score=integers.map(Score),
        raw=st.binary(),
        point=points,
        many=st.lists(points, max_size=2).map(tuple),
        pair=st.tuples(st.text(), integers),
        table=st.dictionaries(st.text(), st.lists(integers, max_size=2), max_size=3),
        either=st.one_of(integers, st.text()),
        anything=plain_json,
        shaped=st.text(max_size=3),
        defaulted=integers,
    )
)
def test_every_form_of_field_is_read_back_as_it_was(fact: Everything) -> None:
    fact_type = Everything.fact_type
    again = fact_type.decode(fact_type.encode(fact))
    assert again == fact
    assert isinstance(again, Everything)
    assert (type(again.colour), type(again.grade), type(again.either)) == (Colour, Grade, type(fact.either))


def test_the_order_of_arguments_changes_no_byte() -> None:
    one, other = Noted(room="r", at_ms=1, text="t"), Noted(text="t", at_ms=1, room="r")
    assert Noted.fact_type.encode(one) == Noted.fact_type.encode(other) == b'{"at_ms":1,"room":"r","text":"t"}'


# Sizes


def test_a_payload_at_the_cap_is_kept_and_one_byte_more_is_refused_both_ways() -> None:
    room_for = PAYLOAD_BYTES_MAX - len(b'{"text":""}')
    largest = Said.fact_type.encode(Said(text="x" * room_for))
    assert len(largest) == 65_536
    assert Said.fact_type.decode(largest) == Said(text="x" * room_for)
    with pytest.raises(PayloadTooLarge, match="65537 bytes"):
        Said.fact_type.encode(Said(text="x" * (room_for + 1)))
    with pytest.raises(PayloadTooLarge, match="65537 bytes"):
        Said.fact_type.decode(b'{"text":"%b"}' % (b"x" * (room_for + 1)))


def test_the_cap_counts_bytes_and_not_characters() -> None:
    with pytest.raises(PayloadTooLarge):
        Said.fact_type.encode(Said(text="語" * 30_000))


# What cannot be said


class Open(Fact, kind="test.open", version=1):
    value: Any


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def endless() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        (Open(value=1.5), r"test\.open\.value is the float 1\.5"),
        (Open(value={"a": [1, {"b": 2.0}]}), r"test\.open\.value\.a\[1\]\.b is the float"),
        (Open(value=2**63), r"test\.open\.value is 9223372036854775808, beyond 64 bits"),
        (Open(value=["\udc80"]), r"test\.open\.value\[0\] holds half a surrogate"),
        (Open(value={1: "a"}), r"test\.open\.value has the key 1; keys are text"),
        (Open(value=deep(32)), "nests deeper than 32 levels"),
        (Open(value=deep(5_000)), "nests without end"),
        (Open(value=endless()), "nests without end"),
        (Open(value={1, 2}), r"test\.open\.value is a set"),
        (Noted(room="r", at_ms=2**63), r"test\.noted\.at_ms is 9223372036854775808, beyond 64 bits"),
        (Said(text="\ud800"), r"test\.said\.text holds half a surrogate"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(fact: Fact, message: str) -> None:
    with pytest.raises(UnencodableFact, match=message):
        fact.fact_type.encode(fact)


@pytest.mark.parametrize("bad", [1, None, 1.5, ["a"]])
def test_a_value_of_another_type_does_not_become_a_fact_by_any_way(bad: object) -> None:
    for make in (
        lambda: Said(text=bad),  # type: ignore[arg-type]
        lambda: Said.model_construct(text=bad),
        lambda: Said(text="a").model_copy(update={"text": bad}),
        lambda: Said(text="a").model_copy(update={"mood": bad}),
        lambda: Said.model_construct(),
    ):
        with pytest.raises(ValidationError):
            make()


def test_a_copy_is_equal_and_has_no_place_of_its_own() -> None:
    fact = with_record(Said(text="a"), place(Said(text="a")))
    assert fact.model_copy() == fact
    assert fact.model_copy(update={"text": "b"}) == Said(text="b")
    assert not fact.model_copy(update={"text": "b"}).is_committed


def test_a_fact_does_not_change_and_takes_no_unknown_field() -> None:
    fact = Said(text="a")
    with pytest.raises(ValidationError):
        fact.text = "b"
    with pytest.raises(ValidationError):
        Said(text="a", mood="happy")  # type: ignore[call-arg]
    assert fact == Said(text="a")
    assert hash(fact) == hash(Said(text="a"))


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b'{"text":1}', b'{"text":null}', b"{}", b'{"text":"a","more":1}', b"\xff", b'{"text":"a"'],
)
def test_a_payload_that_does_not_fit_is_refused_with_its_length(payload: bytes) -> None:
    with pytest.raises(InvalidPayload, match=rf"test\.said v1: .*\({len(payload)} bytes\)"):
        Said.fact_type.decode(payload)


def test_a_number_written_as_text_is_not_taken_for_a_number() -> None:
    with pytest.raises(InvalidPayload, match="at_ms"):
        Noted.fact_type.decode(b'{"at_ms":"5","room":"r","text":"t"}')


def test_a_validator_that_breaks_is_that_facts_problem() -> None:
    class Fussy(Fact, kind="test.fussy", version=1):
        text: str

        @field_validator("text")
        @classmethod
        def look(cls, text: str) -> str:
            return {"good": text}[text]

    assert Fussy.fact_type.decode(b'{"text":"good"}') == Fussy(text="good")
    with pytest.raises(InvalidPayload, match="failed with KeyError"):
        Fussy.fact_type.decode(b'{"text":"bad"}')


# What cannot be declared


def declare(
    kind: str = "test.declared", version: int = 1, field: object = str, name: str = "field", **options: Any
) -> None:
    body = {"__annotations__": {name: field}, "__module__": __name__}
    new_class("Declared", (Fact,), {"kind": kind, "version": version, **options}, lambda space: space.update(body))


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "plain",
        "Upper.case",
        "a..b",
        ".a.b",
        "a.b.",
        "a.1b",
        "a.b c",
        "a.b\n",
        "ä.b",
        "a." + "b" * 63,
        "a.b-c",
        "_a.b",
    ],
)
def test_a_kind_that_could_not_be_stored_is_refused(kind: str) -> None:
    with pytest.raises(RegistrationError, match="dotted lowercase words"):
        declare(kind)


@pytest.mark.parametrize(
    "options",
    [
        {"version": 0},
        {"version": 65_536},
        {"version": -1},
        {"version": 2, "min_version": 3},
        {"version": 2, "min_version": -1},
    ],
)
def test_versions_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(RegistrationError, match="versions run from 1"):
        declare(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "field",
    [
        float,
        float | None,
        list[float],
        dict[str, float],
        complex,
        set[str],
        frozenset[str],
        dict[int, str],
        object.__class__,
        tuple[int, float],
        Annotated[float, Field(gt=0)],
        # Both are text in JSON, so one of them would come back as the other.
        bytes | str,
        list[bytes | str],
        dict[str, str | bytes | None],
        RootModel[int],
    ],
)
def test_a_field_without_an_exact_form_is_refused_by_name(field: object) -> None:
    with pytest.raises(RegistrationError, match=r"Declared\.field"):
        declare(field=field)


@pytest.mark.parametrize("name", ["record", "meta", "fact_type", "Upper", "with__x_"])
def test_a_reserved_or_odd_field_name_is_refused(name: str) -> None:
    if name == "with__x_":
        declare(name=name)
    else:
        with pytest.raises(RegistrationError, match="choose another field name"):
            declare(name=name)


def test_a_field_with_an_alias_is_refused_for_it_could_not_be_read_back() -> None:
    with pytest.raises(RegistrationError, match="alias"):

        class Aliased(Fact, kind="test.aliased", version=1):
            text: str = Field(alias="t")


@pytest.mark.parametrize(
    "options", [{"context": "field"}, {"context": "missing"}, {"time": "missing"}, {"time": "text"}]
)
def test_a_role_needs_a_field_of_its_type(options: dict[str, str]) -> None:
    with pytest.raises(RegistrationError, match="must name a field of type"):
        declare(field=int, **options)


def test_a_default_must_fit_its_field() -> None:
    class Careless(Fact, kind="test.careless", version=1):
        number: int = 1.5  # type: ignore[assignment]

    with pytest.raises(ValidationError):
        Careless()
    assert Noted(room="r", at_ms=1).text == "-"


# Place and meta


def test_a_fact_has_no_meta_before_it_is_committed() -> None:
    fact = Said(text="a")
    assert not fact.is_committed
    for attribute in ("meta", "record"):
        with pytest.raises(LocalViolation, match=r"never committed.*commit it first"):
            getattr(fact, attribute)


def test_a_placed_fact_shows_its_place_and_a_second_place_goes_to_a_copy() -> None:
    fact = Said(text="a")
    record = place(fact)
    assert with_record(fact, record) is fact
    assert fact.meta.fact_id == record.fact_id.hex()
    assert (fact.meta.author, fact.meta.seq, fact.meta.namespace) == ("ada", 2, "antiphon.default")
    other = record._replace(seq=9)
    copy = with_record(fact, other)
    assert copy is not fact
    assert (copy.meta.seq, fact.meta.seq) == (9, 2)
    assert copy == fact, "equality is by value; the place is not part of what is said"
    take_back(fact, other)
    assert fact.is_committed
    take_back(fact, record)
    assert not fact.is_committed


def test_a_fact_names_its_context_and_time_itself() -> None:
    fact = Noted(room="lobby", at_ms=-5)
    assert (Noted.fact_type.context_of(fact), Noted.fact_type.time_of(fact)) == ("lobby", -5)
    assert (Said.fact_type.context_of(Said(text="")), Said.fact_type.time_of(Said(text=""))) == (None, None)
    assert Noted.fact_type.sql_name == "test_noted"


# Versions


def test_an_older_version_within_the_range_is_read_with_its_missing_defaults() -> None:
    assert Noted.fact_type.decode(b'{"at_ms":1,"room":"r"}', version=1) == Noted(room="r", at_ms=1)


@pytest.mark.parametrize("version", [3, 0, -1, 65_535])
def test_a_version_out_of_range_is_refused_with_the_range(version: int) -> None:
    with pytest.raises(VersionMismatch, match=rf"version {version} is outside the supported range 1\.\.2") as caught:
        Noted.fact_type.decode(b'{"at_ms":1,"room":"r"}', version=version)
    problem = caught.value
    assert (problem.kind, problem.actual, problem.min_supported, problem.expected) == ("test.noted", version, 1, 2)


def make_versioned(*steps: int, min_version: int | None = None) -> Any:
    class Grown(Fact, kind="test.grown", version=4, min_version=min_version):
        trail: str

    for step in steps:

        @upcast(Grown, from_=step, to=step + 1)
        def grow(old: dict[str, Any], step: int = step) -> dict[str, Any]:
            return {"trail": old.get("trail", "") + str(step)}

    return Grown


def test_upcasters_are_applied_step_by_step() -> None:
    model = make_versioned(1, 2, 3)
    for version, trail in ((1, "123"), (2, "23"), (3, "3")):
        assert model.fact_type.decode(b"{}", version=version) == model(trail=trail)
    assert model.fact_type.decode(b'{"trail":"x"}', version=4) == model(trail="x")


@pytest.mark.parametrize(("steps", "version"), [((1, 3), 1), ((1, 3), 2), ((1,), 1), ((), 3), ((3,), 2)])
def test_a_gap_between_upcasters_is_no_bridge(steps: tuple[int, ...], version: int) -> None:
    with pytest.raises(VersionMismatch):
        make_versioned(*steps).fact_type.decode(b'{"trail":""}', version=version)


def test_steps_within_the_readable_range_may_be_left_out() -> None:
    model = make_versioned(1, min_version=2)
    assert model.fact_type.decode(b"{}", version=1) == model(trail="1")
    assert model.fact_type.decode(b'{"trail":"x"}', version=2) == model(trail="x")


@pytest.mark.parametrize(("from_", "to"), [(1, 3), (2, 1), (1, 1), (0, 1), (4, 5), (5, 6), (-1, 0)])
def test_a_step_that_skips_returns_or_leaves_the_versions_is_refused(from_: int, to: int) -> None:
    model = make_versioned()
    with pytest.raises(RegistrationError, match="steps go from n to n"):
        upcast(model, from_=from_, to=to)


def test_two_upcasters_for_one_step_are_refused() -> None:
    model = make_versioned(2)
    with pytest.raises(RegistrationError, match="already is an upcaster from version 2"):
        upcast(model, from_=2, to=3)
    first, second = upcast(model, from_=1, to=2), upcast(model, from_=1, to=2)
    first(lambda old: old)
    with pytest.raises(RegistrationError, match="already is an upcaster from version 1"):
        second(lambda old: old)


def test_an_upcaster_for_a_class_without_a_kind_is_refused_and_not_given_to_its_parent() -> None:
    parent = make_versioned()
    for model in (type("Child", (parent,), {}), type("Plain", (Fact,), {})):
        with pytest.raises(RegistrationError, match="has no kind of its own"):
            upcast(model, from_=1, to=2)
    assert parent.fact_type.upcasters == {}


@pytest.mark.parametrize(("from_", "to"), [("1", 2), (1, "2"), (1.0, 2), (True, 2), (None, 2)])
def test_a_step_that_is_no_number_is_refused(from_: Any, to: Any) -> None:
    with pytest.raises(RegistrationError, match="steps go from n to n"):
        upcast(make_versioned(), from_=from_, to=to)


def test_an_oldest_version_of_0_is_refused() -> None:
    with pytest.raises(RegistrationError, match=r"0\.\.4"):
        make_versioned(min_version=0)


@pytest.mark.parametrize(
    "result", [None, "text", [1], {"trail": 1.5}, {"trail": "a", "more": 1}, {"trail": {1: 2}}, {}, {"trail": object()}]
)
def test_an_upcaster_that_returns_nonsense_is_that_facts_problem(result: object) -> None:
    model = make_versioned(1, 2)

    @upcast(model, from_=3, to=4)
    def spoil(old: dict[str, Any]) -> Any:
        return result

    with pytest.raises((InvalidPayload, UnencodableFact)):
        model.fact_type.decode(b'{"trail":"x"}', version=3)


class Shouted(Fact, kind="test.shouted", version=1):
    text: str

    @field_validator("text")
    @classmethod
    def misread(cls, value: str) -> object:
        return len(value) if value.isdigit() else value.upper()


def test_a_validator_that_leaves_another_type_is_found_out_at_commit() -> None:
    assert Shouted.fact_type.encode(Shouted(text="a")) == b'{"text":"A"}'
    with pytest.raises(UnencodableFact, match="does not fit its own type: text"):
        Shouted.fact_type.encode(Shouted(text="123"))


# What a declaration is told


class Loose(BaseModel):
    x: int


class Branch(BaseModel):
    model_config = ConfigDict(frozen=True)
    twigs: tuple["Branch", ...] = ()


def test_a_nested_model_that_is_not_frozen_is_refused_when_the_class_is_defined() -> None:
    with pytest.raises(RegistrationError, match=r"Holder\.loose: Loose is not frozen.*frozen=True"):

        class Holder(Fact, kind="test.holder", version=1):
            loose: tuple[Loose, ...]


def test_a_fact_type_cannot_be_thawed() -> None:
    with pytest.raises(RegistrationError, match=r"Thawed.*frozen"):

        class Thawed(Fact, kind="test.thawed", version=1, frozen=False):
            text: str


def test_a_model_that_contains_itself_is_refused_in_a_sentence() -> None:
    with pytest.raises(RegistrationError, match=r"Branch\.twigs: Branch contains itself"):

        class Tree(Fact, kind="test.tree", version=1):
            root: Branch


def test_a_model_that_is_defined_later_is_named() -> None:
    with pytest.raises(RegistrationError, match=r"Early\.later: define Later before Early"):

        class Early(Fact, kind="test.early", version=1):
            later: tuple["Later", ...]  # type: ignore[name-defined]  # noqa: F821  # that is the point


def test_a_misspelt_class_argument_is_named() -> None:
    with pytest.raises(RegistrationError, match=r"'kidn'.*kind, version, context, time, min_version"):

        class Misspelt(Fact, kidn="test.misspelt", version=1):
            text: str


def test_a_version_that_is_no_integer_is_refused() -> None:
    with pytest.raises(RegistrationError, match=r"version.*integers; got .*'1'"):

        class Versioned(Fact, kind="test.versioned", version="1"):  # type: ignore[arg-type]  # that is the point
            text: str


@pytest.mark.parametrize("name", ["meta", "record", "copy", "json", "fact_type"])
def test_a_field_that_hides_a_name_of_fact_is_refused_without_a_warning_before(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RegistrationError, match=rf"Hiding\.{name}: choose another field name"):
            new_class(
                "Hiding",
                (Fact,),
                {"kind": "test.hiding", "version": 1},
                lambda body: body.update({"__annotations__": {name: str}}),
            )


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, False),
        (tuple[str, ...], False),
        (tuple[Point, int | None], False),
        (Annotated[bytes, Field(max_length=3)], False),
        (Colour, False),
        (Literal["a"], False),
        (list[str], True),
        (dict[str, int] | None, True),
        (tuple[list[int], ...], True),
        (Sequence[str], True),
        (Any, True),
    ],
)
def test_a_type_knows_whether_its_values_can_be_changed_in_place(annotation: object, expected: bool) -> None:
    model = new_class(
        "Shaped",
        (Fact,),
        {"kind": "test.shaped", "version": 1},
        lambda body: body.update({"__annotations__": {"value": annotation}}),
    )
    assert model.fact_type.has_mutable_fields is expected


def test_a_nested_model_with_a_list_makes_its_fact_changeable_in_place() -> None:
    class Bag(BaseModel):
        model_config = ConfigDict(frozen=True)
        words: list[str]

    class Carried(Fact, kind="test.carried", version=1):
        bags: tuple[Bag, ...]

    assert Carried.fact_type.has_mutable_fields

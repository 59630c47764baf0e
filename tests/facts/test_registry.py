"""The registry: who may claim a kind, what counts as drift, and what becomes of facts it cannot read."""

from types import new_class
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import Fact, upcast
from antiphon.facts import (
    DuplicateFactType,
    FactProblem,
    FactRecord,
    FactRegistry,
    GenericFact,
    InvalidPayload,
    Registration,
    RegistrationError,
    SchemaDrift,
    build_fact_registry,
)
from antiphon.facts.encoding import build_erased_line, parse_line
from antiphon.facts.registry import check_payload, registration_of
from antiphon.journal import Draft
from antiphon.testing.records import ChainWriter, make_draft


class Said(Fact, kind="test.said", version=1):
    text: str


class Dated(Fact, kind="test.dated", version=1, time="at_ms"):
    at_ms: int


class Placed(Fact, kind="test.placed", version=1, context="room"):
    room: str


def declare(kind: str, version: int = 1, **fields: Any) -> Any:
    body = {"__annotations__": fields, "__module__": __name__}
    return new_class("Declared", (Fact,), {"kind": kind, "version": version}, lambda space: space.update(body))


def record_of(draft: Draft, *, namespace: str = "antiphon.default") -> FactRecord:
    return ChainWriter("ada", namespace=namespace).seal(draft).records[-1]


def with_payload(payload: bytes, *, kind: str = "test.said", version: int = 1) -> FactRecord:
    return record_of(Draft(kind, version, payload, None))


# Registration


def test_registering_the_same_declaration_again_changes_nothing_but_the_class() -> None:
    registry = FactRegistry([Said])
    again = declare("test.said", text=str)
    registry.register(again)
    registry.register(again)
    assert registry.kinds() == ("test.said",)
    found = registry.decode(with_payload(b'{"text":"a"}'))
    assert type(found) is again, "a notebook cell that ran again gets facts of its own class"


def test_one_kind_with_two_shapes_is_refused() -> None:
    registry = FactRegistry([Said])
    with pytest.raises(DuplicateFactType, match=r"test\.said is already registered as Said v1"):
        registry.register(declare("test.said", text=int))
    assert type(registry.decode(with_payload(b'{"text":"a"}'))) is Said


def test_two_kinds_with_one_sql_name_are_refused_and_leave_no_claim_behind() -> None:
    registry = FactRegistry([declare("test.one_two", text=str)])
    clash = declare("test.one.two", text=str)
    with pytest.raises(DuplicateFactType, match="share the SQL name test_one_two"):
        registry.register(clash)
    assert registry.kinds() == ("test.one_two",)
    drifting = FactRegistry()
    drifting.remember([Registration("test.one.two", 1, 1, "{}", "0" * 32)])
    with pytest.raises(SchemaDrift):
        drifting.register(clash)
    drifting.register(declare("test.one_two", text=str))  # the refused type holds no name


def test_a_class_without_a_kind_of_its_own_is_refused() -> None:
    class Louder(Said):
        volume: int

    for model in (Fact, Louder):
        with pytest.raises(RegistrationError, match=rf"{model.__name__} has no kind of its own"):
            FactRegistry([model])


def test_registries_share_nothing() -> None:
    one, other = build_fact_registry(), build_fact_registry()
    one.register(Said)
    assert one.is_registered("test.said")
    assert not other.is_registered("test.said")
    assert {"chat.message_sent", "contacts.added", "invitations.sent"} & set(other.kinds())
    assert list(other.kinds()) == sorted(other.kinds())


# Drift


def test_a_changed_schema_under_one_version_is_drift_in_either_order() -> None:
    known = registration_of(declare("test.said", text=str, more=int).fact_type)
    registry = FactRegistry()
    registry.remember([known])
    with pytest.raises(SchemaDrift, match=r"test\.said v1 has other fields here.*raise version= and add an @upcast"):
        registry.register(Said)
    registry = FactRegistry([Said])
    with pytest.raises(SchemaDrift):
        registry.remember([known])


def test_another_version_with_another_schema_is_no_drift() -> None:
    registry = FactRegistry()
    registry.remember([registration_of(Said.fact_type)])
    newer = declare("test.said", 2, text=str, more=int)
    registry.register(newer)
    assert [each.version for each in registry.unrecorded()] == [2]


def test_what_the_log_holds_is_not_recorded_again_and_what_failed_is() -> None:
    registry = FactRegistry([Said, Dated])
    first = registry.unrecorded()
    assert {each.kind for each in first} == {"test.said", "test.dated"}
    registry.remember(first)
    assert registry.unrecorded() == ()
    registry.forget(first)
    assert registry.unrecorded() == first
    registry.remember(first)
    assert set(registry.recorded()) == {("test.said", 1), ("test.dated", 1)}


# Reading


def test_a_known_fact_is_read_with_its_place() -> None:
    record = record_of(make_draft(Said(text="a")))
    fact = FactRegistry([Said]).decode(record)
    assert isinstance(fact, Said)
    assert (fact.text, fact.record) == ("a", record)


def test_an_unknown_kind_is_kept_as_it_is_and_typed_once_it_is_registered() -> None:
    registry = FactRegistry()
    record = with_payload(b'{"text":"a"}')
    assert registry.decode(record) == GenericFact(record, {"text": "a"})
    registry.register(Said)
    assert registry.decode(record) == Said(text="a")


def test_a_newer_version_than_ours_is_generic_and_an_unreadable_older_one_a_problem() -> None:
    model = declare("test.said", 3, text=str)
    registry = FactRegistry([model])
    newer = with_payload(b'{"more":1,"text":"a"}', version=4)
    assert registry.decode(newer) == GenericFact(newer, {"text": "a", "more": 1})
    older = registry.decode(with_payload(b'{"text":"a"}', version=1))
    assert isinstance(older, FactProblem)
    assert "version 1 is outside the supported range 3..3" in older.text


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (with_payload(b'{"text":7}'), "undecodable"),
        (with_payload(b'{"more":1,"text":"a"}'), "undecodable"),
        (with_payload(b'{"text": "a"}'), "not-canonical"),
        (with_payload(b'{"text":"a","text":"b"}'), "not-canonical"),
        (with_payload(b"\xff"), "not-canonical"),
        (with_payload(b""), "not-canonical"),
        (with_payload(b"[1.5]", kind="test.unknown"), "not-canonical"),
        (record_of(make_draft(Dated(at_ms=5))._replace(at=6)), "time-mismatch"),
        (record_of(make_draft(Placed(room="elsewhere")), namespace="here"), "context-mismatch"),
    ],
)
def test_what_views_must_not_show_comes_with_its_reason(record: FactRecord, code: str) -> None:
    found = FactRegistry([Said, Dated, Placed]).decode(record)
    assert isinstance(found, FactProblem)
    assert found.code == code
    assert record.kind in found.text


def test_an_undecodable_fact_names_its_type_and_length() -> None:
    found = FactRegistry([Said]).decode(with_payload(b'{"text":7}'))
    assert isinstance(found, FactProblem)
    assert "Failed to decode test.said envelope (payload len=10)" in found.text


def test_an_erased_fact_is_a_problem_of_its_own() -> None:
    record = record_of(make_draft(Said(text="secret")))
    part = parse_line(record.line)
    erased = record._replace(line=build_erased_line(part.header.raw, part.digest))
    found = FactRegistry([Said]).decode(erased)
    assert isinstance(found, FactProblem)
    assert found.code == "erased"


def test_an_upcaster_that_raises_hides_that_fact_only() -> None:
    model = declare("test.said", 2, text=str, size=int)

    @upcast(model, from_=1, to=2)
    def measure(old: dict[str, Any]) -> dict[str, Any]:
        return old | {"size": 10 // len(old["text"])}

    registry = FactRegistry([model])
    assert registry.decode(with_payload(b'{"text":"ab"}')) == model(text="ab", size=5)
    found = registry.decode(with_payload(b'{"text":""}'))
    assert isinstance(found, FactProblem)
    assert "ZeroDivisionError" in found.text


@given(st.binary(max_size=100), st.booleans())
def test_reading_never_raises(payload: bytes, is_known: bool) -> None:
    record = with_payload(payload, kind="test.said" if is_known else "test.other")
    found = FactRegistry([Said]).decode(record)
    assert isinstance(found, Fact | GenericFact | FactProblem)


def test_foreign_data_is_checked_before_it_is_committed() -> None:
    assert check_payload(Said.fact_type, b'{"text":"a"}') == Said(text="a")
    for bad in (b'{"text": "a"}', b'{"text":1}'):
        with pytest.raises(InvalidPayload):
            check_payload(Said.fact_type, bad)


def test_the_next_version_takes_over_and_the_one_before_is_then_refused() -> None:
    class First(Fact, kind="test.growing", version=1):
        text: str

    class Second(Fact, kind="test.growing", version=2, min_version=1):
        text: str
        mood: str = ""

    registry = FactRegistry([First, Second])
    fact_type = registry.get("test.growing")
    assert fact_type is not None
    assert fact_type.version == 2
    with pytest.raises(DuplicateFactType, match="v2"):
        registry.register(First)


@pytest.mark.parametrize("steps", [(1, 3), (2,), (1,), (1, 2)])
def test_a_gap_between_upcasters_is_found_when_the_type_is_registered(steps: tuple[int, ...]) -> None:
    class Grown(Fact, kind="test.gapped", version=4):
        who: str

    for step in steps:
        upcast(Grown, from_=step, to=step + 1)(lambda old: old)
    with pytest.raises(RegistrationError, match=r"none from \d to \d"):
        FactRegistry([Grown])


def test_upcasters_that_reach_what_is_readable_have_no_gap() -> None:
    class Grown(Fact, kind="test.bridged", version=4, min_version=3):
        who: str

    for step in (1, 2):
        upcast(Grown, from_=step, to=step + 1)(lambda old: old | {"who": old["who"] + "!"})
    fact_type = FactRegistry([Grown]).get("test.bridged")
    assert fact_type is not None
    assert fact_type.decode(b'{"who":"ada"}', version=1) == Grown(who="ada!!")
    assert fact_type.decode(b'{"who":"ada"}', version=3) == Grown(who="ada")

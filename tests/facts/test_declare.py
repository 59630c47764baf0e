"""The decorators: what they refuse is refused while the module is imported, and what they add is there."""

import pytest
from hypothesis import given

from antiphon.facts import (
    Fact,
    FactProblem,
    FactRegistry,
    InvitationCeremonyAborted,
    LocalViolation,
    RegistrationError,
    build_fact_registry,
    ceremony_facts,
    ceremony_id_of,
    ceremony_stage_of,
    ceremony_timestamp_of,
    domain_fact,
)
from antiphon.facts.invitations import INVITATION_FACTS, derived_invitation_context
from antiphon.testing.records import ChainWriter, make_draft
from antiphon.testing.strategies import standard_facts


class Plain(Fact):
    room: str
    at_ms: int = 0


@pytest.mark.parametrize(
    ("options", "what"), [({}, "neither"), ({"context": "room", "context_fn": lambda fact: fact.room}, "both")]
)
def test_a_context_is_named_in_exactly_one_way(options: dict[str, object], what: str) -> None:
    with pytest.raises(RegistrationError, match=what):
        domain_fact(type_id="declare_test.bad", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"context": "house"}, "house"),
        ({"context": "at_ms"}, "at_ms"),
        ({"context": "room", "time": "room"}, "time"),
        ({"context": "room", "version": 1, "min_version": 2}, "min_version"),
        ({"context": "room", "version": 0}, "0"),
        ({"context": "room", "min_version": 0}, r"0\.\.1"),
        ({"context_fn": "room"}, "named with context="),
    ],
)
def test_a_wrong_declaration_is_refused_when_it_is_made(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(RegistrationError, match=complaint):
        domain_fact(type_id="declare_test.bad", **options)(type("Bad", (Plain,), {"__annotations__": {}}))  # type: ignore[arg-type]


def test_a_class_with_a_kind_and_what_is_no_fact_are_refused() -> None:
    class Named(Fact, kind="declare_test.named", version=1):
        room: str

    declare = domain_fact(type_id="declare_test.other", context="room")
    with pytest.raises(RegistrationError, match=r"declare_test\.named already"):
        declare(Named)
    with pytest.raises(RegistrationError, match="derives from Fact"):
        declare(int)  # type: ignore[type-var]


def test_a_decorated_type_is_registered_encoded_and_read_like_any_other() -> None:
    @domain_fact(type_id="declare_test.rated", version=2, min_version=1, context="room", time="at_ms")
    class Rated(Fact):
        room: str
        at_ms: int
        stars: int = 0

    fact_type = FactRegistry([Rated]).get("declare_test.rated")
    assert fact_type is not None
    fact = Rated(room="r", at_ms=5, stars=2)
    assert (fact_type.context_of(fact), fact_type.time_of(fact), fact_type.min_version) == ("r", 5, 1)
    assert fact_type.decode(fact_type.encode(fact)) == fact
    assert fact_type.decode(b'{"at_ms":5,"room":"r"}', version=1) == Rated(room="r", at_ms=5)


@pytest.mark.parametrize(
    ("context_fn", "namespace", "is_read"),
    [
        (lambda fact: f"doc.{fact.book}", "doc.emma", True),
        (lambda fact: f"doc.{fact.book}", "doc.other", False),
        (lambda fact: fact.missing, "doc.emma", False),
    ],
)
def test_a_fact_stands_where_its_context_function_says(context_fn: object, namespace: str, is_read: bool) -> None:
    @domain_fact(type_id="declare_test.placed", context_fn=context_fn)  # type: ignore[arg-type]
    class Placed(Fact):
        book: str

    record = ChainWriter("ada", namespace=namespace).seal(make_draft(Placed(book="emma"))).records[-1]
    decoded = FactRegistry([Placed]).decode(record)
    assert isinstance(decoded, Placed) == is_read
    assert is_read or (isinstance(decoded, FactProblem) and decoded.code == "context-mismatch")


def test_a_superseded_ceremony_is_known_by_the_id_of_the_superseded_one() -> None:
    @ceremony_facts
    class PactCeremonySuperseded(Fact, kind="declare_test.pact_superseded", version=1):
        superseded_ceremony_id: str
        superseding_ceremony_id: str
        timestamp_ms: int

    fact = PactCeremonySuperseded(superseded_ceremony_id="old", superseding_ceremony_id="new", timestamp_ms=3)
    assert (ceremony_id_of(fact), ceremony_timestamp_of(fact), ceremony_stage_of(fact)) == ("old", 3, "superseded")
    assert fact.ceremony_id == "old"  # type: ignore[attr-defined]  # what the decorator adds


def test_a_fact_that_is_no_part_of_a_ceremony_has_neither_id_nor_timestamp() -> None:
    @ceremony_facts
    class PactOffered(Fact, kind="declare_test.pact_offered", version=1):
        timestamp_ms: int

    fact = PactOffered(timestamp_ms=3)
    assert (fact.ceremony_id, fact.ceremony_timestamp_ms) == (None, None)  # type: ignore[attr-defined]
    assert (ceremony_id_of(fact), ceremony_timestamp_of(fact), ceremony_stage_of(fact)) == (None, None, None)


def test_a_ceremony_fact_without_its_fields_is_refused_when_it_is_declared() -> None:
    with pytest.raises(RegistrationError, match="ceremony_id, timestamp_ms"):

        @ceremony_facts
        class PactCeremonyCommitted(Fact, kind="declare_test.pact_committed", version=1):
            relationship: str

    with pytest.raises(RegistrationError, match="without arguments"):
        ceremony_facts("chat")  # type: ignore[type-var]
    with pytest.raises(RegistrationError, match="has no kind"):
        ceremony_facts(Plain)


@given(standard_facts())
def test_every_invitation_fact_that_ships_has_both_accessors(fact: Fact) -> None:
    if type(fact) in INVITATION_FACTS:
        is_part = "ceremony_" in fact.fact_type.kind
        assert (fact.ceremony_id is not None) == (fact.ceremony_timestamp_ms is not None) == is_part  # type: ignore[attr-defined]


def test_an_old_ceremony_fact_without_a_context_stands_in_the_derived_one() -> None:
    old = InvitationCeremonyAborted(ceremony_id="c", actor_id="a", reason="late", timestamp_ms=1)
    derived = derived_invitation_context(kind="invitation.ceremony_aborted", ids=("c",))
    assert old.fact_type.context_of(old) == derived
    assert old.fact_type.context_of(old.model_copy(update={"context_id": "home"})) == "home"
    payload = b'{"actor_id":"a","ceremony_id":"c","reason":"late","timestamp_ms":1}'
    assert old.fact_type.decode(payload) == old
    assert build_fact_registry().decode(ChainWriter("ada", namespace=derived).seal(make_draft(old)).records[-1]) == old


@pytest.mark.parametrize("named", [None, 5, b"garden"])
def test_a_function_that_names_no_context_is_told_to_whoever_asks(named: object) -> None:
    @domain_fact(type_id="declare_test.nowhere", context_fn=lambda _: named)  # type: ignore[arg-type,return-value]
    class Nowhere(Fact):
        room: str

    with pytest.raises(LocalViolation, match=r"declare_test\.nowhere: its context_fn gave .* name of a context"):
        Nowhere.fact_type.context_of(Nowhere(room="hall"))

"""The contact facts and the rules for names."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import ContactAdded, Fact
from antiphon.facts.contacts import CONTACT_FACTS, is_human_name, short_name
from antiphon.testing.strategies import contact_facts

# Frozen: another hash means that journals in the field would report drift. Raise version= and add an @upcast instead.
SCHEMAS = {
    "contact.added": "b95a5872f9dcb1d0d7da4c0fcb513661",
    "contact.read_receipt_policy_updated": "26bad6067d5b7aa19c82c97d0779a281",
    "contact.removed": "e21167e197ee6fe0a50cb74dad49a95f",
    "contact.renamed": "f7276efab6feb217af83ca1cc6cafe19",
    "friendship.accepted": "4a76c64e02f73a065ca10e7fb5b7d427",
    "friendship.proposed": "15996cd5ed69f925a0339c092e762299",
    "friendship.revoked": "598978dd4bf7786ab05770e9312d93a3",
    "guardian.bound": "ade7bd9cdd0395e675482cbdccf35606",
}


def test_schemas_are_frozen() -> None:
    assert {model.fact_type.kind: model.fact_type.schema_hash for model in CONTACT_FACTS} == SCHEMAS


@given(contact_facts())
@settings(max_examples=300)
def test_every_fact_comes_back_from_its_bytes(fact: Fact) -> None:
    assert fact.fact_type.decode(fact.fact_type.encode(fact)) == fact


def test_a_payload_from_before_invitation_codes_still_decodes() -> None:
    payload = {"context_id": "home", "owner_id": "a", "contact_id": "b", "nickname": "Ben", "added_at": 1}
    fact = ContactAdded.fact_type.decode(orjson.dumps(payload))
    assert isinstance(fact, ContactAdded)
    assert fact.invitation_code is None


@pytest.mark.parametrize("name", ["", " \t", "0123456789", " 0123456789 ", "01234567..."])
def test_a_name_that_says_no_more_than_the_id_is_not_a_human_one(name: str) -> None:
    assert not is_human_name(name, contact_id="0123456789")


@given(st.text())
def test_a_short_name_is_the_id_or_its_first_eight_characters(contact_id: str) -> None:
    assert short_name(contact_id) in (contact_id, contact_id[:8] + "...")
    assert len(short_name(contact_id)) <= 11

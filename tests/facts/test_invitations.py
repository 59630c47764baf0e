"""The invitation facts: tagged offers, answers, and what none of them can say."""

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from antiphon.facts import ChannelInvitation, DeviceInvitation, Fact, FactError, InvitationSent, LocalViolation
from antiphon.facts.invitations import INVITATION_FACTS, MESSAGE_LENGTH_MAX, expiry_of
from antiphon.testing.strategies import invitation_facts

# Frozen: another hash means that journals in the field would report drift. Raise version= and add an @upcast instead.
SCHEMAS = {
    "invitation.accepted": "c4a577a647bce3e820f5669c6e0b771b",
    "invitation.cancelled": "8f28d1e77befcc81c30333b86f78fc71",
    "invitation.ceremony_aborted": "139f6ebaa7ab757b8e2b1461aabe621d",
    "invitation.ceremony_acceptance_received": "e8fb42ae02a1467b2d6f7b11a982ed16",
    "invitation.ceremony_committed": "01c610d858d60bce0646c8157adc608a",
    "invitation.ceremony_initiated": "cd0fd04dbadbd25be33688037c8c7336",
    "invitation.ceremony_superseded": "4060d7fd8b94057a6a50714f58c343a9",
    "invitation.declined": "9da5b1c457a8fd0955fff5f969e7fc3b",
    "invitation.sent": "f3307ce591473c34744f1ae672a9081c",
}


def test_schemas_are_frozen() -> None:
    assert {model.fact_type.kind: model.fact_type.schema_hash for model in INVITATION_FACTS} == SCHEMAS


@given(invitation_facts())
@settings(max_examples=300)
def test_every_fact_comes_back_from_its_bytes(fact: Fact) -> None:
    assert fact.fact_type.decode(fact.fact_type.encode(fact)) == fact


def sent(**fields: object) -> InvitationSent:
    about = {"context_id": "home", "invitation_id": "i", "sender_id": "a", "receiver_id": "b", "sent_at": 1}
    return InvitationSent(**about | {"invitation_type": ChannelInvitation(home_id="house")} | fields)


def test_a_device_invitation_comes_back_as_one() -> None:
    device = DeviceInvitation(
        subject_authority="a",
        initiator_device_id="d0",
        device_id="d1",
        ceremony_id="c",
        pending_epoch=2,
        key_package=b"\xff\x00key",
        threshold_config=b"2 of 3",
        public_key_package=b"\xfe",
        baseline_tree_ops=(b"\x00", b""),
    )
    fact = sent(invitation_type=device)
    assert fact.fact_type.decode(fact.fact_type.encode(fact)) == fact


# As version 1 wrote them: journals in the field hold these bytes.
DEVICE_V1 = (
    b'{"context_id":"home","expires_at":null,"invitation_id":"i","invitation_type":{"ceremony_id":"c","device_id":"d1",'
    b'"initiator_device_id":"d0","nickname_suggestion":null,"pending_epoch":2,"subject_authority":"a","type":"device"},'
    b'"message":null,"receiver_id":"b","receiver_nickname":null,"sender_id":"a","sent_at":1}'
)
CHANNEL_V1 = (
    b'{"context_id":"home","expires_at":null,"invitation_id":"i","invitation_type":{"bootstrap":false,"home_id":"house",'
    b'"nickname_suggestion":null,"type":"channel"},"message":null,"receiver_id":"b","receiver_nickname":null,'
    b'"sender_id":"a","sent_at":1}'
)


def test_invitations_of_version_1_are_read_as_before_and_bring_no_packages() -> None:
    device = DeviceInvitation(
        subject_authority="a", initiator_device_id="d0", device_id="d1", ceremony_id="c", pending_epoch=2
    )
    assert InvitationSent.fact_type.decode(DEVICE_V1, version=1) == sent(invitation_type=device)
    assert InvitationSent.fact_type.decode(CHANNEL_V1, version=1) == sent()
    assert sent().fact_type.encode(sent()) == CHANNEL_V1, "other offers are written as before"


def test_a_channel_invitation_without_a_home_does_not_decode() -> None:
    payload = sent().fact_type.encode(sent()).replace(b'"house"', b'""')
    with pytest.raises(FactError, match="home_id"):
        InvitationSent.fact_type.decode(payload)


def test_an_unknown_offer_does_not_decode() -> None:
    payload = sent().fact_type.encode(sent()).replace(b'"type":"channel"', b'"type":"castle"')
    with pytest.raises(FactError, match="invitation_type"):
        InvitationSent.fact_type.decode(payload)


def test_a_message_may_have_a_thousand_characters_and_no_more() -> None:
    assert sent(message="x" * MESSAGE_LENGTH_MAX).message
    with pytest.raises(ValidationError):
        sent(message="x" * (MESSAGE_LENGTH_MAX + 1))


def test_an_invitation_lives_for_seven_days_unless_said_otherwise() -> None:
    assert expiry_of(0) == 604_800_000


@pytest.mark.parametrize(("sent_at", "lifetime_ms"), [(2**63 - 1, 1), (0, -1)])
def test_an_expiry_beyond_64_bits_or_before_the_start_is_refused(sent_at: int, lifetime_ms: int) -> None:
    with pytest.raises(LocalViolation, match=str(lifetime_ms)):
        expiry_of(sent_at, lifetime_ms=lifetime_ms)

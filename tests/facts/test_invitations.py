"""The invitation facts: tagged offers, answers, and what none of them can say."""

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from antiphon.facts import (
    ChannelInvitation,
    DeviceInvitation,
    Fact,
    FactError,
    FactProblem,
    InvitationSent,
    LocalViolation,
)
from antiphon.facts.bindings import Binding, reduce_record
from antiphon.facts.catalog import build_fact_registry
from antiphon.facts.invitations import (
    INVITATION_FACTS,
    MESSAGE_LENGTH_MAX,
    InvitationAccepted,
    InvitationCancelled,
    InvitationDeclined,
    derived_invitation_context,
    expiry_of,
)
from antiphon.journal import Draft
from antiphon.testing.records import ChainWriter
from antiphon.testing.strategies import invitation_facts

# Frozen: another hash means that journals in the field would report drift. Raise version= and add an @upcast instead.
SCHEMAS = {
    "invitation.accepted": "9e2bf42868998ca599a80f70f1566470",
    "invitation.cancelled": "377197a9d9b1fd896d5073ce65250b71",
    "invitation.ceremony_aborted": "139f6ebaa7ab757b8e2b1461aabe621d",
    "invitation.ceremony_acceptance_received": "e8fb42ae02a1467b2d6f7b11a982ed16",
    "invitation.ceremony_committed": "01c610d858d60bce0646c8157adc608a",
    "invitation.ceremony_initiated": "cd0fd04dbadbd25be33688037c8c7336",
    "invitation.ceremony_superseded": "4060d7fd8b94057a6a50714f58c343a9",
    "invitation.declined": "348e3748626cfccba4476b86d1c421ca",
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


# With the context, as version 1 wrote them; and without, as writers before it did.
ANSWERS_V1 = [
    (InvitationAccepted(context_id="home", invitation_id="i", acceptor_id="b", accepted_at=1), b"acceptor_id"),
    (InvitationDeclined(context_id="home", invitation_id="i", decliner_id="b", declined_at=1), b"decliner_id"),
    (InvitationCancelled(context_id="home", invitation_id="i", canceller_id="b", cancelled_at=1), b"canceller_id"),
]


def answer_bytes(answer: Fact, actor: bytes, context: bytes) -> bytes:
    time = (answer.fact_type.time or "").encode()
    before, after = sorted((b'"%b":1' % time, b'"%b":"b"' % actor))
    if not context:
        return b'{%b,%b,"invitation_id":"i"}' % (before, after)
    if actor == b"decliner_id":
        return b'{"context_id":%b,%b,%b,"invitation_id":"i"}' % (context, before, after)
    return b'{%b,%b,"context_id":%b,"invitation_id":"i"}' % (before, after, context)


@pytest.mark.parametrize(("answer", "actor"), ANSWERS_V1)
def test_answers_with_a_context_are_read_and_written_as_in_version_1(answer: Fact, actor: bytes) -> None:
    payload = answer_bytes(answer, actor, b'"home"')
    assert answer.fact_type.encode(answer) == payload
    assert answer.fact_type.decode(payload, version=1) == answer
    assert answer.fact_type.context_of(answer) == "home"


@pytest.mark.parametrize(("answer", "actor"), ANSWERS_V1)
def test_an_old_answer_without_a_context_is_read_and_binds_in_the_derived_one(answer: Fact, actor: bytes) -> None:
    fact_type = answer.fact_type
    derived = derived_invitation_context(kind=fact_type.kind, ids=("i",))
    old = fact_type.decode(answer_bytes(answer, actor, b""), version=1)
    assert old == answer.model_copy(update={"context_id": None})
    assert fact_type.context_of(old) == derived
    draft = Draft(fact_type.kind, 1, answer_bytes(answer, actor, b""), 1)
    record = ChainWriter("ada", namespace=derived).seal(draft).records[-1]
    registry = build_fact_registry()
    assert registry.decode(record) == old
    kind = fact_type.kind.replace(".", "-")
    assert reduce_record(registry, record, context_id=derived) == Binding(kind, derived, fact_type.kind, ("i",))


@pytest.mark.parametrize(("answer", "actor"), ANSWERS_V1)
@pytest.mark.parametrize("version", [1, 2])
def test_an_answer_without_a_context_is_at_home_in_whatever_chain_it_stands(
    answer: Fact, actor: bytes, version: int
) -> None:
    draft = Draft(answer.fact_type.kind, version, answer_bytes(answer, actor, b""), 1)
    record = ChainWriter("ada", namespace="home").seal(draft).records[-1]
    registry = build_fact_registry()
    assert registry.decode(record) == answer.model_copy(update={"context_id": None})
    kind = answer.fact_type.kind
    assert reduce_record(registry, record, context_id="home") == Binding(kind.replace(".", "-"), "home", kind, ("i",))


@pytest.mark.parametrize(("answer", "actor"), ANSWERS_V1)
def test_an_answer_that_names_another_context_than_its_chain_is_none(answer: Fact, actor: bytes) -> None:
    draft = Draft(answer.fact_type.kind, 2, answer_bytes(answer, actor, b'"elsewhere"'), 1)
    record = ChainWriter("ada", namespace="home").seal(draft).records[-1]
    problem = build_fact_registry().decode(record)
    assert isinstance(problem, FactProblem)
    assert problem.code == "context-mismatch"


def test_an_offer_always_names_its_context() -> None:
    with pytest.raises(FactError, match="context_id"):
        InvitationSent.fact_type.decode(CHANNEL_V1.replace(b'"context_id":"home",', b""), version=1)


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

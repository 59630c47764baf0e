"""The chat facts: every one comes back from its bytes as it was, and its schema does not drift unnoticed."""

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from antiphon.facts import Fact, FactError, MessageImported, MessageSent
from antiphon.facts.chat import CHAT_FACTS
from antiphon.testing.strategies import chat_facts

# Frozen: another hash means that journals in the field would report drift. Raise version= and add an @upcast instead.
SCHEMAS = {
    "chat.channel_closed": "eb82b57c94addaf8d6f4c55db5ae77d8",
    "chat.channel_created": "4ac9451267c0f9390d9a9d91177ad19f",
    "chat.channel_rebound": "81dcfc44e898ac99a608f7582dea9e99",
    "chat.channel_updated": "6921859e17bb8e9d76246a65ea851728",
    "chat.membership_changed": "810cec8977fa11bb73c99563be7021bb",
    "chat.membership_imported": "b47bab37cc041d56a592537c2cbac5d8",
    "chat.message_deleted": "730004264f565f9e77694f6e94befe9a",
    "chat.message_delivery_updated": "5e638e9df4210c15c5a33b31cbb7a9bf",
    "chat.message_edited": "f020243b47952e525df21003bcc9979e",
    "chat.message_edited_sealed": "3be2669f8a077a8ebcc533a3248dbba6",
    "chat.message_imported": "fb5328e649a27b41df94224cff74e8ed",
    "chat.message_reacted": "bd717eb5e3d104ba8f3b9151a0aca608",
    "chat.message_read": "6a842748971178b6d7f48592bd121bc5",
    "chat.message_seen": "f3445e39463fc76c181fc8c3cb34d0e6",
    "chat.message_sent": "68962dcfc65e28d7f7b2148e641fe170",
    "chat.message_sent_sealed": "55ebac8aa95318e0958513c44c50b22e",
    "chat.topic_edited": "5d7a0139ff5ea2eb829ffeaa3b3afbde",
}


def test_schemas_are_frozen() -> None:
    assert {model.fact_type.kind: model.fact_type.schema_hash for model in CHAT_FACTS} == SCHEMAS


@given(chat_facts())
@settings(max_examples=300)
def test_every_fact_comes_back_from_its_bytes(fact: Fact) -> None:
    assert fact.fact_type.decode(fact.fact_type.encode(fact)) == fact


def test_every_fact_names_its_context_and_its_own_time() -> None:
    for model in CHAT_FACTS:
        fact_type = model.fact_type
        assert (fact_type.context, fact_type.version) == ("context_id", 1)
        assert fact_type.time is not None


def test_a_sent_message_has_these_very_bytes() -> None:
    fact = MessageSent(
        context_id="home", channel_id="c", message_id="m", sender_id="a", sender_name="Ada", text="héllo", sent_at=-1
    )
    assert fact.fact_type.encode(fact).decode() == (
        '{"channel_id":"c","context_id":"home","epoch_hint":null,"message_id":"m","reply_to":null,'
        '"sender_id":"a","sender_name":"Ada","sent_at":-1,"text":"héllo"}'
    )


def imported(**fields: object) -> MessageImported:
    about = {"context_id": "home", "channel_id": "c", "message_id": "m", "sender_id": "irc:x", "sender_name": "x"}
    return MessageImported(**about | {"text": "\ufffd", "sent_at": 0, "source": "a.txt", "line": 0} | fields)


def test_bytes_that_were_not_utf8_are_kept() -> None:
    fact = imported(raw=b"\xff\xfe\x00")
    again = fact.fact_type.decode(fact.fact_type.encode(fact))
    assert isinstance(again, MessageImported)
    assert again.raw == b"\xff\xfe\x00"


@pytest.mark.parametrize("fields", [{"style": "shout"}, {"context_id": ""}, {"context_id": "x" * 257}, {"line": 1.5}])
def test_what_a_fact_cannot_say_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        imported(**fields)


def test_an_unknown_style_on_the_wire_is_undecodable_and_not_a_crash() -> None:
    payload = imported().fact_type.encode(imported()).replace(b'"message","text"', b'"shout","text"')
    with pytest.raises(FactError, match="style"):
        MessageImported.fact_type.decode(payload)

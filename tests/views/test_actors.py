"""What every view hides: facts whose actor did not sign them."""

from hypothesis import given

from antiphon.facts import Fact
from antiphon.testing.strategies import (
    actor_of,
    chat_facts,
    contact_facts,
    histories,
    invitation_facts,
    moderation_facts,
    protocol_facts,
)
from antiphon.views.actors import why_hidden


@given(
    histories(chat_facts() | contact_facts() | invitation_facts()) | histories(moderation_facts() | protocol_facts())
)
def test_a_fact_is_hidden_with_its_reason_exactly_when_another_than_its_actor_signed_it(history: list[Fact]) -> None:
    for fact in history:
        actor, signer = actor_of(fact), fact.meta.authority
        reason = why_hidden(fact)
        assert (reason is None) == (actor in (None, signer))
        assert reason is None or (actor in reason and signer in reason)

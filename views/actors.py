"""Who acts in a fact that ships, by its own word, and whether views therefore hide it.

Reads the rules the views fold by, so that what a log shows as hidden is what no screen shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType

from antiphon.facts import Fact
from antiphon.facts.fact import get_record

from . import chat, contacts, homes, invitations
from .registers import ActorOf, is_signed_by

_ACTORS: Mapping[str, ActorOf] = MappingProxyType(
    {
        kind: rule[0]
        for rules in (chat._RULES, contacts._RULES, homes._RULES, invitations._RULES)
        for kind, rule in rules.items()
        if rule[0] is not None
    }
    # No screen shows these two; the journal's own reduction and an application's views go by the same rule.
    | {"guardian.recovery_granted": attrgetter("guardian_id"), "protocol.leakage_recorded": attrgetter("actor_id")}
)


def why_hidden(fact: Fact) -> str | None:
    """Why no view shows a committed *fact*, whatever else is known: its actor did not sign it. None when it may show.

    Imports name no actor, and of kinds that an application adds its own views judge.
    """
    record = get_record(fact)
    actor_of = _ACTORS.get(record.kind)
    if actor_of is None or is_signed_by(actor_of(fact), record):
        return None
    signer = record.chain.authority or "an unknown author"
    return f"it names {actor_of(fact) or 'nobody'} as its actor, but {signer} signed it"

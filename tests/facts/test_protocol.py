"""The protocol facts: their schemas, and what a certified transition is."""

import pytest

from antiphon.facts import ChannelEpochCommitted, channel_transition_id
from antiphon.facts.protocol import PROTOCOL_FACTS, is_certified

# Frozen: another hash means that journals in the field would report drift. Raise version= and add an @upcast instead.
SCHEMAS = {
    "channel.epoch_committed": "e01df7bedce20765b977bc0180b66778",
    "guardian.recovery_granted": "032a84e0baa23bb1a2df7d759e52f84f",
    "protocol.convergence_certified": "89e56a008d09b4ba3c86cfcd94e4a6dc",
    "protocol.leakage_recorded": "4343427c33c0e984f9324a42f708a879",
    "protocol.operation_finalized": "243197fb56bfedead3251b2a000b6886",
    "protocol.operation_reverted": "e2e898997765304b62d15faa8dadb243",
}


def test_schemas_are_frozen() -> None:
    assert {model.fact_type.kind: model.fact_type.schema_hash for model in PROTOCOL_FACTS} == SCHEMAS


IDENTITY = {"context_id": "home", "channel_id": "c", "parent_epoch": 3, "successor_epoch": 4, "commitment": "s"}
SOUND = ChannelEpochCommitted(
    **IDENTITY,
    actor_id="a",
    transition_id=channel_transition_id(**IDENTITY),
    certificate_digest="d",
    threshold=2,
    witnesses=("a", "b", "b"),
    committed_at=1,
)


def test_a_transition_with_its_own_id_and_enough_witnesses_is_certified() -> None:
    assert is_certified(SOUND)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 3},
        {"threshold": 0},
        {"threshold": -1},
        {"witnesses": ("b", "b")},
        {"certificate_digest": ""},
        {"commitment": "t"},
        {"channel_id": "other"},
        {"context_id": "work"},
        {"parent_epoch": 2},
        {"successor_epoch": 5},
    ],
)
def test_one_wrong_part_undoes_a_transition(change: dict[str, object]) -> None:
    assert not is_certified(SOUND.model_copy(update=change))

"""The moderation facts: their schemas, and contexts that name their owner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from antiphon.facts import HomeBan, LocalViolation, home_context, home_owner
from antiphon.facts.moderation import BASIS_COUNT_MAX, MODERATION_FACTS

# Frozen: another hash means that journals in the field would report drift. Raise version= and add an @upcast instead.
SCHEMAS = {
    "home.declared": "d60c9754d6a90c061546d8112001e7c2",
    "moderation.home_ban": "ee41813d31b3de0a28f3ec6e3f02b179",
    "moderation.home_grant_moderator": "67672b0bf8dc68b4ec503eea7cce5da8",
    "moderation.home_kick": "0232b5773db4dd55ad23a5b158f3739d",
    "moderation.home_mute": "0215f583378dcab4622ea4c412152902",
    "moderation.home_pin": "5b0e2761bb53eff082663003f26a2046",
    "moderation.home_revoke_moderator": "7b5c0ef05df369ff04e27f62d3f95f7b",
    "moderation.home_unban": "8dd6e58a6f714a839be3053afc7edb13",
    "moderation.home_unmute": "c29f11bf22b6a463990ad90b4b223859",
    "moderation.home_unpin": "465891cabd0743dde0d5bb20dd90cc37",
}

OWNER = "0f" * 16


def test_schemas_are_frozen() -> None:
    assert {model.fact_type.kind: model.fact_type.schema_hash for model in MODERATION_FACTS} == SCHEMAS


def test_every_moderation_fact_names_its_context_and_its_own_time() -> None:
    for model in MODERATION_FACTS:
        assert model.fact_type.context == "context_id"
        assert model.fact_type.time is not None


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=50))
def test_a_home_names_its_owner(name: str) -> None:
    assert home_owner(home_context(OWNER, name)) == OWNER


@pytest.mark.parametrize("context", ["", "antiphon.default", "home", f"home.{OWNER}", f"home.{OWNER}.", "home.ab.x"])
def test_what_names_no_owner_is_no_home(context: str) -> None:
    assert home_owner(context) is None


@pytest.mark.parametrize(("owner", "name"), [("ada", "x"), (OWNER, ""), (OWNER, "x" * 300), (OWNER.upper(), "x")])
def test_a_home_without_an_owner_or_a_name_is_refused(owner: str, name: str) -> None:
    with pytest.raises(LocalViolation):
        home_context(owner, name)


@pytest.mark.parametrize("basis", [("zz" * 32,), ("00" * 16,), ("00" * 32,) * (BASIS_COUNT_MAX + 1)])
def test_a_basis_is_a_bounded_list_of_ids(basis: tuple[str, ...]) -> None:
    about = {"context_id": "home", "target_id": "b", "actor_id": "a", "banned_at": 1}
    assert HomeBan(**about, basis=("00" * 32,)).basis
    with pytest.raises(ValidationError, match="basis"):
        HomeBan(**about, basis=basis)

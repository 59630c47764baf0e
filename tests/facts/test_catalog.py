"""The catalogue: all that ships, and nothing shared between journals."""

from antiphon.facts import STANDARD_FACTS, Fact, build_fact_registry


def test_the_catalogue_holds_every_standard_type_once() -> None:
    kinds = build_fact_registry().kinds()
    assert len(kinds) == len(STANDARD_FACTS) == len(set(kinds))
    assert {kind.split(".")[0] for kind in kinds} == {
        "channel",
        "chat",
        "contact",
        "friendship",
        "guardian",
        "home",
        "invitation",
        "journal",
        "moderation",
        "protocol",
    }


def test_what_one_journal_registers_another_does_not_know() -> None:
    class Waved(Fact, kind="catalog_test.waved", version=1):
        to: str

    first, second = build_fact_registry(), build_fact_registry()
    first.register(Waved)
    assert first.is_registered("catalog_test.waved")
    assert not second.is_registered("catalog_test.waved")

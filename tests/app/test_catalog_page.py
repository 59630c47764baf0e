"""The page of the facts that ship is drawn from the registry, and the committed one is the drawn one."""

import subprocess
import sys
from pathlib import Path

from antiphon.app.catalog_page import catalog_page
from antiphon.facts import STANDARD_FACTS, Fact, FactRegistry

PAGE = Path(__file__).parents[2] / "docs" / "facts.md"


def test_the_committed_page_is_what_the_registry_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == catalog_page(), "run make facts-page"


def test_the_command_prints_the_page() -> None:
    command = [sys.executable, "-m", "antiphon.app.catalog_page"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert printed.stdout == catalog_page()


def test_every_type_is_shown_with_its_fields_its_meaning_and_what_it_does() -> None:
    sections = catalog_page().split("\n### ")[1:]
    assert len(sections) == len(STANDARD_FACTS)
    by_kind = {section.partition("`\n")[0].strip("`"): section for section in sections}
    for model in STANDARD_FACTS:
        section = by_kind[model.fact_type.kind]
        assert all(f"| `{name}` |" in section for name in model.fact_type.fields)
        assert "Reducer: " in section
        assert model.fact_type.schema_hash in section


def test_another_field_is_another_page() -> None:
    class Waved(Fact, kind="page_test.waved", version=1):
        """Somebody waved."""

        to: str | None = None

    page = catalog_page(FactRegistry([Waved]))
    assert "Somebody waved." in page
    assert "| `to` | null or text | `null` |" in page

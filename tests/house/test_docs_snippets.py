"""Every Python snippet of these pages runs, each by itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "docs/app_core.md",
    "docs/guards.md",
    "docs/own_facts.md",
    "docs/signals_and_queries.md",
    "docs/transports.md",
    "docs/web.md",
)
SNIPPETS = [
    pytest.param(found[1], id=f"{page}:{text[: found.start()].count(chr(10)) + 2}")
    for page in PAGES
    for text in [(ROOT / page).read_text(encoding="utf-8")]
    for found in re.finditer(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
]


def test_the_pages_hold_snippets() -> None:
    assert len(SNIPPETS) >= len(PAGES)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs(snippet: str, tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert outcome.returncode == 0, outcome.stderr

"""What docs/replication.md shows runs, in order, in one empty folder."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/replication.md"
FENCE = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def test_every_snippet_runs(tmp_path: Path) -> None:
    snippets = FENCE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(snippets) == 4
    program = tmp_path / "program.py"
    program.write_text("\n".join(snippets), encoding="utf-8")
    outcome = subprocess.run(
        [sys.executable, program.name], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert outcome.returncode == 0, outcome.stderr

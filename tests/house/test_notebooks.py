"""Every notebook is committed without outputs and runs from top to bottom, with the real logs and without them."""

import io
import tarfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REAL_CORPUS = ROOT / "../shared/data/ubuntu-irc.tar.gz"
WITH_LOGS = [path for path in NOTEBOOKS if "ANTIPHON_CORPUS" in path.read_text(encoding="utf-8")]
CELL_S_MAX = 120

SMALL_LOG = (
    "=== ada [n=ada@host] has joined #ubuntu\n"
    "=== ivy [n=ivy@host] has joined #ubuntu\n"
    "[10:02] <ada> does anybody know where the logs are?\n"
    "[10:05] <brian> ada: beside the repository\n"
    "[23:10]  * ada waves\n"
)
SMALL_ANNOTATION = "2 3 -\n"


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(path: Path) -> nbformat.NotebookNode:
    notebook = read(path)
    NotebookClient(notebook, timeout=CELL_S_MAX, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def pictures(notebook: nbformat.NotebookNode) -> list[str]:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]


def corpus(folder: Path) -> Path:
    """The real logs when they are there, else two files in the same form."""
    if REAL_CORPUS.is_file():
        return REAL_CORPUS
    archive = folder / "small.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for suffix, text in (("raw", SMALL_LOG), ("annotation", SMALL_ANNOTATION)):
            member = tarfile.TarInfo(f"logs/2008-07-14.{suffix}.txt")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return archive


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert cell.outputs == [], f"strip the outputs of {path.name}: {cell.source.splitlines()[0]}"
        assert cell.execution_count is None
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize("path", WITH_LOGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("has_corpus", [True, False], ids=["real logs", "no logs"])
def test_a_notebook_runs_with_the_real_logs_and_without(
    path: Path, has_corpus: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = corpus(tmp_path) if has_corpus else tmp_path / "nothing.tar.gz"
    monkeypatch.setenv("ANTIPHON_CORPUS", str(archive))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = execute(path)
    expected = f"real logs from {archive.name}" if has_corpus else "generated logs"
    assert expected in printed(notebook), "the notebook says what it works on"
    left = {found.name for found in tmp_path.iterdir()} - {archive.name}
    assert not [name for name in left if name.startswith("antiphon")], "and leaves nothing behind"


@pytest.mark.parametrize("name", ["02_time_travel", "03_two_replicas"])
def test_a_notebook_with_data_of_its_own_shows_tables_and_a_picture_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = execute(ROOT / "notebooks" / f"{name}.ipynb")
    assert "generated data" in printed(notebook), "the notebook says what it works on"
    shown = [output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs]
    assert sum("<table" in data.get("text/html", "") for data in shown) >= 2
    assert any("vega" in data.get("text/html", "") for data in shown)
    assert not [found.name for found in tmp_path.iterdir() if found.name.startswith("antiphon")]


def test_the_first_notebook_asks_three_questions_travels_in_time_and_draws_two_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_CORPUS", str(tmp_path / "nothing.tar.gz"))
    notebook = execute(ROOT / "notebooks" / "01_fact_history.ipynb")
    questions = [cell for cell in code_cells(notebook) if cell.source.startswith("history.sql(")]
    assert len(questions) == 3
    assert all("text/html" in cell.outputs[0].data for cell in questions), "each answers with a table"
    assert any(".as_of(" in cell.source for cell in code_cells(notebook))
    assert len(pictures(notebook)) == 2


def test_the_notebook_of_live_signals_ends_with_its_first_output_changed() -> None:
    notebook = execute(ROOT / "notebooks" / "04_live_signals.ipynb")
    shown = next(
        output for cell in code_cells(notebook) for output in cell.outputs if "text/html" in output.get("data", {})
    )
    assert "still not &lt;b&gt;markup&lt;/b&gt;" in shown.data["text/html"], "the cell changed after it had run"
    assert "1 × chat.message_sent" in printed(notebook)

"""Logs to import: the real ones when they lie beside the repository, made-up ones otherwise."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.testing.irc_logs import make_irc_log

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ubuntu-irc.tar.gz"
# The id of the test says which of the two it read.
CORPORA = ["ubuntu-irc" if CORPUS.is_file() else "made-up"]

WriteLog = Callable[..., Path]


@pytest.fixture(scope="session", params=CORPORA)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Logs of many days, with their annotations beside them."""
    folder = tmp_path_factory.mktemp("corpus")
    if request.param == "ubuntu-irc":
        with tarfile.open(CORPUS) as archive:
            archive.extractall(folder, filter="data")
    else:
        for day in range(1, 9):
            made = make_irc_log(day, line_count=1_500)
            (folder / f"2007-01-{day:02}.raw.txt").write_bytes(made.data)
            (folder / f"2007-01-{day:02}.annotation.txt").write_bytes(made.annotations)
    return sorted(folder.rglob("*.raw.txt"))


@pytest.fixture
def write_log(tmp_path: Path) -> WriteLog:
    """Write a log of one day and give its path."""

    def write(*lines: str | bytes, name: str = "2007-01-21.txt", folder: str = "logs") -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
        return path

    return write

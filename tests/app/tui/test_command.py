"""``antiphon tui`` as a person runs it: in a terminal, over a journal, until they leave."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.app.cli.root import ExitCode, app

PATIENCE_S = 60.0


class Terminal:
    """A pseudo-terminal and what was drawn on it so far."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.drawn = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str) -> None:
        start, ends_at = len(self.drawn), time.monotonic() + PATIENCE_S
        while text not in self.drawn[start:]:
            # One patience for all: a cursor that blinks is always about to be drawn.
            ready, _, _ = select.select([self.master], [], [], max(ends_at - time.monotonic(), 0))
            ready = ready if time.monotonic() < ends_at else []
            assert ready, f"{text!r} was not drawn within {PATIENCE_S} s; drawn was {self.drawn[start:]!r}"
            self.drawn += os.read(self.master, 65_536).decode(errors="replace")


def test_a_person_talks_in_a_terminal_and_it_is_kept(tmp_path: Path) -> None:
    terminal = Terminal()
    command = [sys.executable, "-m", "antiphon.app.cli", "tui", "--journal", str(tmp_path / "j"), "--author", "ada"]
    quiet = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(
        command, stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave, env=quiet
    ) as run:
        terminal.wait_for("/help")
        terminal.type("/create Hall\r")
        terminal.wait_for("Hall")
        terminal.type("hello\r")
        terminal.wait_for("ada: ")
        terminal.type("\x11")
        assert run.wait(PATIENCE_S) == 0
    os.close(terminal.slave)
    os.close(terminal.master)
    shown = CliRunner().invoke(app, ["show", "chat", "--journal", str(tmp_path / "j")])
    assert "hello" in shown.output


def test_peers_need_a_journal() -> None:
    outcome = CliRunner().invoke(app, ["tui", "--link", "tcp://127.0.0.1:1"])
    assert outcome.exit_code == ExitCode.USAGE


def test_a_missing_extra_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    outcome = CliRunner().invoke(app, ["tui"])
    assert outcome.exit_code == ExitCode.USAGE
    assert "pip install 'antiphon[tui]'" in outcome.output


def test_without_a_terminal_it_says_what_writes_plain_text(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["tui", "--journal", str(tmp_path / "j")])
    assert outcome.exit_code == ExitCode.USAGE
    assert "antiphon show chat" in outcome.output
    assert not (tmp_path / "j").exists()

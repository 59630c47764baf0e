"""``antiphon serve --web``: one command, a page in the browser; and a sentence when something is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest


@contextmanager
def served(*arguments: object) -> Iterator[dict[str, str]]:
    """The command at work, and what it said; it ends by SIGTERM with 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "antiphon.app.cli", "serve", "--json", *map(str, arguments)],
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_two_replicas_serve_pages_and_stay_in_touch(tmp_path: Path) -> None:
    with (
        served("--web", "127.0.0.1:0", "--journal", tmp_path / "a", "--author", "ada") as ada,
        served("--web", "127.0.0.1:0", "--journal", tmp_path / "b", "--author", "ben", "--link", ada["address"]) as ben,
        httpx.Client(base_url=ada["page"], timeout=20) as one,
        httpx.Client(base_url=ben["page"], timeout=20) as other,
    ):
        assert one.get("/").status_code == 200
        done = one.post("/intents", json={"intent": "create_channel", "name": "Hall met by link"}).json()
        assert done["done"]["progress"] in ("done", "shown")
        with other.stream("GET", "/events") as events:
            for line in events.iter_lines():
                if "Hall met by link" in line:
                    break


def test_beyond_loopback_the_page_has_a_token(tmp_path: Path) -> None:
    with served("--web", "0.0.0.0:0", "--journal", tmp_path / "a", "--author", "ada") as ada:
        url, _, token = ada["page"].partition("?token=")
        assert len(token) == 32
        at = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(at).status_code == 401
        assert httpx.get(f"{at}?token={token}").status_code == 303


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["127.0.0.1:1"], "say --web"),
        (["--web", "nonsense:port"], "expected HOST:PORT"),
        (["--web", "--link", "somewhere"], "tcp://"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], hint: str) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "antiphon.app.cli",
            "serve",
            "--journal",
            str(tmp_path / "a"),
            "--author",
            "a",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert hint in ended.stderr
    assert not (tmp_path / "a").exists()


def run_python(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return ended.stdout.strip()


def test_without_its_packages_the_page_says_what_to_install() -> None:
    told = run_python(
        "import sys; sys.modules['starlette'] = None\n"
        "from antiphon.app.web import WebExtraMissing\n"
        "try:\n"
        "    from antiphon.app.web import serve_web\n"
        "except WebExtraMissing as problem:\n"
        "    print(problem)"
    )
    assert "pip install 'antiphon[web]'" in told
    assert "starlette" in told


def test_neither_starlette_nor_uvicorn_is_loaded_before_a_page_is_served() -> None:
    loaded = run_python("import sys, antiphon.app.web, antiphon.app.cli.replicating; print(*sys.modules)")
    assert not {"starlette", "uvicorn"} & set(loaded.split())

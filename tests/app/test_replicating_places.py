"""`antiphon serve` and `sync` meet at every kind of address, and where a topology says."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

import pytest

from antiphon import Journal
from antiphon.testing.certificates import make_certificate

PATIENCE_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "antiphon.app.cli",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.asyncio
async def test_a_journal_is_met_by_a_socket_file_a_websocket_and_a_topology(tmp_path: Path) -> None:
    """Three replicas: each address is served by a real process, and what it holds arrives."""
    port = free_port()
    topology = tmp_path / "lan.topology"
    topology.write_text(f"topology Lan for Notes {{ Shelf: 127.0.0.1:{port} Reader: local }}", encoding="utf-8")
    served = {
        f"unix://{tmp_path}/it.sock": ["--address", f"unix://{tmp_path}/it.sock"],
        "ws": ["--address", "ws://127.0.0.1:0/notes"],
        str(topology): ["--address", str(topology), "--role", "Shelf"],
    }
    async with asyncio.timeout(PATIENCE_S):
        for number, (name, where) in enumerate(served.items()):
            folder, other = tmp_path / f"shelf{number}", tmp_path / f"reader{number}"
            async with Journal.open(folder, author="shelf") as journal:
                fingerprint = journal.fingerprint
            server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "antiphon.app.cli", "serve", "--journal", str(folder), *where, "--json"),
                stdout=asyncio.subprocess.PIPE,
            )
            assert server.stdout is not None
            address = json.loads(await server.stdout.readline())["address"]
            role = ["--role", "Reader"] if name.endswith(".topology") else []
            there = name if role or name.startswith("unix") else address
            code, out, err = await run("sync", there, "--journal", str(other), "--author", "reader", *role, "--json")
            assert code == 0, err
            report = json.loads(out)
            assert report["success"]
            assert report["peer"].partition("://")[0] == address.partition("://")[0]
            async with Journal.open(folder.parent / other.name) as journal:
                assert journal.fingerprint == report["fingerprint"]
            assert fingerprint is not None
            server.terminate()
            assert await server.wait() == 0


@pytest.mark.asyncio
async def test_a_journal_is_met_secretly_by_whom_it_trusts_and_nobody_else(tmp_path: Path) -> None:
    signed, stranger = make_certificate(tmp_path, "shelf"), make_certificate(tmp_path, "stranger")
    folder = tmp_path / "shelf"
    files = ["--certificate", str(signed.certificate), "--key", str(signed.key)]
    async with asyncio.timeout(PATIENCE_S):
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "antiphon.app.cli", "serve", "--journal", str(folder), "--author", "shelf"),
            *("--address", "tls://127.0.0.1:0", *files, "--json"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert server.stdout is not None
        address = json.loads(await server.stdout.readline())["address"]
        good, bad = await asyncio.gather(
            run("sync", address, "-j", str(tmp_path / "a"), "--author", "a", "--trusted", str(signed.certificate)),
            run("sync", address, "-j", str(tmp_path / "b"), "--author", "b", "--trusted", str(stranger.certificate)),
        )
        assert good[0] == 0, good[2]
        assert bad[0] != 0
        assert "certificate" in bad[2]
        server.terminate()
        assert await server.wait() == 0


@pytest.mark.asyncio
async def test_a_topology_needs_a_role_that_it_has(tmp_path: Path) -> None:
    topology = tmp_path / "lan.topology"
    topology.write_text("topology Lan for Notes { Shelf: 127.0.0.1:1 Reader: local }", encoding="utf-8")
    bad = tmp_path / "bad.topology"
    bad.write_text("topology Lan", encoding="utf-8")
    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(
            run("sync", str(topology), "--journal", str(tmp_path / "j"), "--author", "me"),
            run("sync", str(topology), "--journal", str(tmp_path / "j"), "--author", "me", "--role", "Eve"),
            run("serve", "--address", str(bad), "--journal", str(tmp_path / "j"), "--author", "me", "--role", "Shelf"),
        )
    for (code, _, err), says in zip(answers, ("--role", "'Eve'", "line 1"), strict=True):
        assert code != 0
        assert says in err

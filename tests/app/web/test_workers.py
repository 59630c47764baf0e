"""One application in two processes of one server: each worker has its journal, and they meet in a room over NATS."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from antiphon.testing.nats_server import NatsServer

pytestmark = [pytest.mark.system, pytest.mark.asyncio]

APPLICATION = """
import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from antiphon import Fact, Journal, view


class Said(Fact, kind="workers.said", version=1):
    text: str


@view(Said, initial=())
def lines(before: tuple[str, ...], fact: Said) -> tuple[str, ...]:
    return (*before, fact.text)


@asynccontextmanager
async def lifespan(app):
    async with AsyncExitStack() as stack:
        folder = Path(os.environ["FOLDER"], f"worker-{os.getpid()}")
        journal = await stack.enter_async_context(Journal.open(folder, author="ada", types=[Said]))
        await stack.enter_async_context(journal.join(f"{os.environ['NATS']}/hall/worker-{os.getpid()}"))
        app.state.journal = journal
        yield


async def say(request):
    await request.app.state.journal.commit(Said(text=(await request.body()).decode()))
    return JSONResponse({"worker": os.getpid()})


async def read(request):
    return JSONResponse({"worker": os.getpid(), "lines": await request.app.state.journal.snapshot(lines)})


app = Starlette(lifespan=lifespan, routes=[Route("/", say, methods=["POST"]), Route("/", read, methods=["GET"])])
"""


@asynccontextmanager
async def served(folder: Path, nats: str) -> AsyncIterator[str]:
    """The application under uvicorn with two workers; its address."""
    (folder / "application.py").write_text(APPLICATION, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    environment = {**os.environ, "FOLDER": str(folder), "NATS": nats}
    command = ["-m", "uvicorn", "application:app", "--workers", "2", "--port", str(port), "--app-dir", str(folder)]
    server = await asyncio.create_subprocess_exec(
        sys.executable, *command, "--no-access-log", env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert server.stderr is not None
    try:
        ready_count = 0
        while ready_count < 2:
            line = await server.stderr.readline()
            assert line, "the server ended before its workers were there"
            ready_count += b"Application startup complete" in line
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        await server.communicate()


async def ask(address: str, text: str | None = None) -> dict[str, object]:
    """One request over a connection of its own, so that either worker may answer."""
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await (client.get(address) if text is None else client.post(address, content=text))
        assert answer.status_code == 200
        return dict(answer.json())


async def test_a_room_spans_the_workers_of_one_server(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as nats:
        async with asyncio.timeout(90), served(tmp_path, nats.address) as address:
            said: dict[str, object] = {}
            while len(set(said.values())) < 2:  # until each of the two has taken something
                said[f"line {len(said)}"] = (await ask(address, f"line {len(said)}"))["worker"]
            seen: set[object] = set()
            while len(seen) < 2:  # until each of the two shows all that either took
                answer = await ask(address)
                assert answer["worker"] in said.values(), "nobody was started anew"
                if sorted(answer["lines"]) == sorted(said):
                    seen.add(answer["worker"])
            assert seen == set(said.values())

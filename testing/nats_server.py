"""A real ``nats-server`` on a loopback port, for tests and figures: started, killed, started again on the same files.

Needs Debian's package ``nats-server`` (or any other build of it on the PATH). Is no mock and configures no cluster.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from antiphon.facts import LocalViolation

# A loaded machine starts one within a second.
START_TIMEOUT_S = 20.0
POLL_S = 0.01


class NatsServer:
    """One server process with JetStream, storing under *folder*; a context manager that leaves no process behind.

    *options* are further ones of the command, such as ``--user ada --pass secret`` or those for TLS.
    """

    def __init__(self, folder: Path, *, port: int | None = None, options: Sequence[str] = ()) -> None:
        self._folder = folder
        self._options = tuple(options)
        self._port = port or _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``nats://127.0.0.1:port``; the same after a restart."""
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        binary = shutil.which("nats-server")
        if binary is None:
            raise LocalViolation("nats-server is not installed; run: apt-get install nats-server")
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [binary, "--jetstream", "--store_dir", str(self._folder), "--addr", "127.0.0.1"]
        command += ["--port", str(self._port), "--log", str(self._folder / "server.log")]
        self._process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                log = (self._folder / "server.log").read_text(encoding="utf-8")
                raise LocalViolation(f"nats-server did not start: {log[-500:]}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """End it without a goodbye."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1.0) as caller:
                return caller.recv(4) == b"INFO"
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

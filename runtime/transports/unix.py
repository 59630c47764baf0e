"""Frames over a Unix-domain socket: processes of one machine, with the rights of a file.

The same connection as over TCP. The file is this user's alone, and goes when the listener does; one that was left by a
process that died is taken over, one behind which somebody answers is not.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

from antiphon.facts import LocalViolation

from .tcp import CONNECT_TIMEOUT_S, StreamListener, TcpConnection
from .transport import PeerUnreachable

UNIX_SCHEME = "unix"
# What Linux keeps of a path, less one for the end; others keep four bytes less.
PATH_BYTES_MAX = 103


def parse_unix(text: str) -> Path:
    """Read ``unix:///path/to/socket`` (two slashes: relative to here). Raises ``LocalViolation``.

    >>> parse_unix("unix:///run/notes.sock").as_posix()
    '/run/notes.sock'
    """
    scheme, separator, rest = text.partition("://")
    if scheme != UNIX_SCHEME or not separator or not rest or rest.endswith("/") or "\0" in rest:
        raise LocalViolation(f"{text!r} is no address; expected unix:///path/to/socket")
    if len(os.fsencode(rest)) > PATH_BYTES_MAX:
        raise LocalViolation(f"{text!r} is too long for a socket; {PATH_BYTES_MAX} bytes of path are allowed")
    return Path(rest)


class UnixListener(StreamListener):
    """A socket file; removed on ``close``."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make(self) -> TcpConnection:
        """A connection, named after the file that it came by."""
        return TcpConnection(self, peer=f"{UNIX_SCHEME}://{self._path}")

    async def close(self) -> None:
        """Stop listening and remove the file; connections that nobody took up are dropped."""
        await super().close()
        self._path.unlink(missing_ok=True)


async def listen_unix(address: str) -> UnixListener:
    """Make the socket file at ``unix:///path``. Raises ``LocalViolation`` when that cannot be, or is in use."""
    path = parse_unix(address)
    _make_way(path)
    listener = UnixListener(path)
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.setblocking(False)
        end.bind(str(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)  # before anybody can connect: nothing listens yet
        server = await asyncio.get_running_loop().create_unix_server(listener.make, sock=end)
    except OSError as problem:
        end.close()
        raise LocalViolation(
            f"cannot listen at {address}: {problem.strerror or problem}; name a folder where this user may write"
        ) from problem
    listener.opened(server, address)
    return listener


async def connect_unix(address: str, *, timeout: float = CONNECT_TIMEOUT_S) -> TcpConnection:
    """Connect to ``unix:///path`` within *timeout* seconds. Raises ``LocalViolation`` and ``PeerUnreachable``."""
    path = parse_unix(address)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_unix_connection(lambda: TcpConnection(peer=address), str(path))
    except TimeoutError as problem:
        raise PeerUnreachable(f"nobody answered at {address} within {timeout:g} s") from problem
    except OSError as problem:
        raise PeerUnreachable(
            f"nobody answers at {address} ({problem.strerror or problem}); check the path and that the peer serves"
        ) from problem
    return connection


def _make_way(path: Path) -> None:
    """Remove a socket file that nobody listens at."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return  # there is none, or `bind` will say why not
    if not is_socket:
        raise LocalViolation(f"{path} is there and no socket; name a path of its own")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except BlockingIOError:
            pass  # somebody is there and very busy
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise LocalViolation(f"somebody listens at {path} already; name another path, or end that process")

"""Where the page is served, and under which names it may be asked for."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple

from antiphon.facts import LocalViolation

PORT_DEFAULT = 8480
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ANYWHERE = frozenset({"0.0.0.0", "::"})
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}")


class WebAddress(NamedTuple):
    """A host, without brackets, and a port; port 0 picks a free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nobody else's machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def authority(self) -> str:
        """``host:port`` as a URL writes it."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def accepts(self, host_header: str) -> bool:
        """Whether a request that names this host means this server.

        A page of somebody else's that has its own name point here (DNS rebinding) names itself, and is refused. Bound
        to every interface, only numbers are accepted beside loopback names, since a name could be anybody's.

        >>> address = WebAddress("127.0.0.1", 8480)
        >>> address.accepts("localhost:8480"), address.accepts("evil.test:8480")
        (True, False)
        """
        name, _, port = host_header.rpartition(":") if re.search(r":\d+$", host_header) else (host_header, "", "80")
        if port != str(self.port):
            return False
        name = name.lower()
        if self.is_loopback:
            return name in _LOOPBACK_NAMES or name == self.authority.rpartition(":")[0]
        if self.host in _ANYWHERE:
            return name in _LOOPBACK_NAMES or _is_number(name.strip("[]"))
        return name == self.authority.rpartition(":")[0].lower()


def parse_web_address(text: str) -> WebAddress:
    """Read ``HOST:PORT``, ``HOST`` or ``:PORT``; what is left out is 127.0.0.1 and 8480.

    Raises ``LocalViolation`` for anything else.

    >>> parse_web_address("127.0.0.1"), parse_web_address("[::1]:9000")
    (WebAddress(host='127.0.0.1', port=8480), WebAddress(host='::1', port=9000))
    """
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::(\d{1,5}))?", text)
    host = found[1].strip("[]") if found else ""
    port = int(found[2]) if found and found[2] else PORT_DEFAULT
    if not found or port > 65_535 or (host and not (_HOST.fullmatch(host) or _is_number(host))):
        raise LocalViolation(
            f"{text!r} is no place to serve a page; expected HOST:PORT, such as 127.0.0.1:{PORT_DEFAULT}"
        )
    return WebAddress(host or "127.0.0.1", port)


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

"""Certificates for connections: whose word this side takes, and what it shows for itself. Makes none."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from os import PathLike

from antiphon.facts import LocalViolation

Path = str | PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM form: a ``certificate`` with its ``key``, and the authorities that are ``trusted``.

    Whoever serves needs the first two; with ``trusted`` it lets in only callers that show a certificate as well.
    Whoever connects believes ``trusted``, or the system's authorities when there is none. Nothing older than TLS 1.2
    is spoken.
    """

    certificate: Path | None = None
    key: Path | None = None
    trusted: Path | None = None

    def server_context(self) -> ssl.SSLContext:
        """For listening. Raises ``LocalViolation`` without a certificate, and for files that are none."""
        if self.certificate is None:
            raise LocalViolation("a server needs a certificate and its key; give both")
        context = self._made(ssl.Purpose.CLIENT_AUTH)
        if self.trusted is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For connecting. Raises ``LocalViolation`` for files that are no certificates."""
        return self._made(ssl.Purpose.SERVER_AUTH)

    def _made(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(purpose, cafile=self.trusted)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as problem:
            names = ", ".join(str(name) for name in (self.certificate, self.key, self.trusted) if name is not None)
            raise LocalViolation(
                f"no certificates can be read from {names} ({problem.strerror or problem}); PEM files are expected"
            ) from problem
        return context

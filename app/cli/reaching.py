"""Options of the commands that reach others: certificates, and what a NATS server is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from antiphon.runtime.transports.reach import Transports

CertificateOption = Annotated[
    Path | None, typer.Option("--certificate", metavar="FILE", help="PEM certificate to show (tls://, wss://).")
]
KeyOption = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="PEM key of that certificate.")]
TrustedOption = Annotated[
    Path | None, typer.Option("--trusted", metavar="FILE", help="PEM certificates that a peer must show one of.")
]
NatsAccessOption = Annotated[
    Path | None,
    typer.Option(
        "--nats-access",
        metavar="FILE",
        help="What a NATS server is shown, in a file: user:password, a token, an nkey's seed; or a .creds file.",
    ),
]


def transports_of(
    certificate: Path | None, key: Path | None, trusted: Path | None, nats_access: Path | None
) -> Transports:
    """Every transport with these. Raises what reading them raises; ends the command for a key without a certificate."""
    from antiphon.runtime.transports.nats_access import NatsAccess
    from antiphon.runtime.transports.reach import Transports
    from antiphon.runtime.transports.tls import Tls

    if key is not None and certificate is None:
        raise typer.BadParameter("--key belongs to a --certificate")
    is_secret = certificate is not None or trusted is not None
    tls = Tls(certificate=certificate, key=key, trusted=trusted) if is_secret else None
    return Transports(tls, None if nats_access is None else NatsAccess.read(nats_access))

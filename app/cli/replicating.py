"""Commands that meet other journals, or let a browser in: ``serve`` and ``sync``."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .keys import read_public_key, read_token
from .reaching import CertificateOption, KeyOption, NatsAccessOption, TrustedOption, transports_of
from .screen import AuthorOption, JournalOption, JsonOption, counted, opening_bar, say, write, write_json

if TYPE_CHECKING:
    from antiphon.app.journal import Journal
    from antiphon.choreography.topology import Topology
    from antiphon.runtime.services.gates import SyncGate
    from antiphon.runtime.services.room import Room
    from antiphon.runtime.services.session_driver import SyncReport
    from antiphon.runtime.services.sync import SyncServer
    from antiphon.runtime.transports.reach import Transports

RoleOption = Annotated[
    str | None, typer.Option("--role", metavar="ROLE", help="Which role of a FILE.topology this journal is.")
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="TOKEN", help="What a peer is shown that asks for one, as `antiphon grant` wrote it."
    ),
]


class _Rights(NamedTuple):
    """Whose tokens are asked for (public keys; without any, nobody is asked), and what is shown to peers that ask."""

    roots: tuple[bytes, ...]
    token: bytes


_UNREACHED = {
    "success": False,
    "bytes": 0,
    "refused": (),
    "sent": 0,
    "received": 0,
    "known": 0,
    "rounds": 0,
    "reason": "",
    "forked": (),
    "peer": "",
    "duration_ms": 0,
    "facts": None,
    "fingerprint": None,
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (serve, sync):
        app.command()(command)


def serve(
    journal: JournalOption,
    page: Annotated[
        str | None,
        typer.Argument(metavar="[HOST:PORT]", help="Where the page of --web is; 127.0.0.1:8480 when left out."),
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="Where to listen: tcp://HOST:PORT (port 0 picks a free one), tls://, unix:///PATH, "
            "ws://HOST:PORT/PATH, nats://HOST:PORT/ROOM/NAME, or FILE.topology with --role.",
        ),
    ] = "tcp://127.0.0.1:0",
    is_web: Annotated[
        bool, typer.Option("--web", help="Serve a page with chat, contacts and invitations as well (extra: web).")
    ] = False,
    links: Annotated[
        list[str] | None,
        typer.Option("--link", metavar="ADDRESS", help="Stay in touch with this peer; may be given again."),
    ] = None,
    author: AuthorOption = None,
    role: RoleOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    trusted: TrustedOption = None,
    nats_access: NatsAccessOption = None,
    roots: Annotated[
        list[str] | None,
        typer.Option("--root", metavar="HEX", help="Let in only who shows a token of this issuer; may be given again."),
    ] = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let peers sync with this journal, until interrupted (SIGINT or SIGTERM, exit code 0).

    The journal must be there; with --author a missing one is made. Writes the address once it listens, and with --web
    the page's address on the next line. Without --root whoever connects sees everything; with it, what the peer's token
    covers. Beyond loopback the page's address holds a token, without which nobody is let in.

    JSON: one object: address, authority, author, page (null without --web).
    """
    from antiphon.runtime.transports.reach import check_address

    transports = transports_of(certificate, key, trusted, nats_access)
    if _is_topology(address):
        # Whoever names none does not wait for the machinery of protocols: half of what starting costs.
        from antiphon.runtime.topology.addresses import own_address

        topology, scheme = _topology(address), "tcp" if transports.tls is None else "tls"
        address = own_address(topology, _need_role(role), scheme=scheme)
    check_address(address)
    for each in links or ():
        check_address(each, is_to_connect=True)
    if page is not None and not is_web:
        raise typer.BadParameter(f"{page} is where a page would be; say --web for one")
    if is_web:
        from antiphon.app.web import check_web_extra, parse_web_address

        parse_web_address(page or "")
        check_web_extra()
    _check_journal(journal, author)
    rights = _Rights(tuple(map(read_public_key, roots or ())), _shown(token))
    shown_page = (page or "") if is_web else None
    asyncio.run(_serve(journal, address, author, transports, links or [], rights, page=shown_page, as_json=as_json))


def sync(
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="A serving journal: tcp://HOST:PORT, tls://, unix:///PATH, ws://HOST:PORT/PATH, "
            "nats://HOST:PORT/ROOM[/NAME]; or FILE.topology with --role, for every other role there.",
        ),
    ],
    journal: JournalOption,
    author: AuthorOption = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="How long to wait for the peer at each step."),
    ] = None,
    role: RoleOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    trusted: TrustedOption = None,
    nats_access: NatsAccessOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exchange what is missing with a serving journal, both ways, once; exit code 1 when it did not succeed.

    The journal must be there; with --author a missing one is made, once the peer answers.

    JSON: one object a peer: success, sent, received, known, bytes, rounds, reason, forked, refused, peer, duration_ms,
    facts, fingerprint; facts and fingerprint are null when nobody answered.
    """
    from antiphon.runtime.transports.reach import check_address
    from antiphon.runtime.transports.transport import PeerUnreachable

    transports = transports_of(certificate, key, trusted, nats_access)
    if timeout is not None and not timeout > 0:
        raise typer.BadParameter("--timeout is more than 0 seconds")
    if not _is_topology(address):
        check_address(address, is_to_connect=True)
        _check_journal(journal, author)
        if not _sync_and_tell(journal, address, author, timeout, transports, _shown(token), as_json=as_json):
            raise typer.Exit(1)
        return
    from antiphon.runtime.topology.addresses import peer_addresses

    topology, scheme = _topology(address), "tcp" if transports.tls is None else "tls"
    others = peer_addresses(topology, _need_role(role), scheme=scheme)
    if not others:
        raise typer.BadParameter("the topology has no other role that can be reached")
    _check_journal(journal, author)
    outcomes: list[bool] = []
    for name, there in others.items():
        try:
            outcomes.append(_sync_and_tell(journal, there, author, timeout, transports, _shown(token), as_json=as_json))
        except PeerUnreachable as problem:
            outcomes.append(False)
            say(f"{name}: {problem}")
    if not all(outcomes):
        raise typer.Exit(1)


def _sync_and_tell(
    journal: Path,
    address: str,
    author: str | None,
    timeout: float | None,
    transports: Transports,
    token: bytes,
    *,
    as_json: bool,
) -> bool:
    """Sync with one peer and write how it went; whether it went well."""
    from antiphon.runtime.transports.transport import PeerUnreachable

    try:
        report, fact_count, fingerprint = asyncio.run(_sync(journal, address, author, timeout, transports, token))
    except PeerUnreachable as problem:
        if as_json:
            write_json(_UNREACHED | {"reason": str(problem), "peer": address})
        raise
    if as_json:
        write_json(_told(report) | {"facts": fact_count, "fingerprint": fingerprint})
    else:
        write(
            f"sent {report.sent:,}, received {counted(report.received, 'fact')} in {report.bytes:,} bytes; "
            f"fingerprint {fingerprint}"
        )
    if not report.is_success:
        say(report.reason or "the two sides did not come to agree; try again")
    return report.is_success


def _told(report: SyncReport) -> dict[str, Any]:
    entries = asdict(report)
    names = ("sent", "received", "known", "rounds", "reason", "forked", "peer", "duration_ms")
    return {"success": report.is_success, "bytes": report.bytes, "refused": report.refused} | {
        name: entries[name] for name in names
    }


def _shown(token: str | None) -> bytes:
    return b"" if token is None else read_token(token)


def _is_member(address: str) -> bool:
    """Whether an address is a name in a room: then this journal also goes to meet the others there."""
    return address.startswith("nats://") and address.count("/") == 4


def _is_topology(address: str) -> bool:
    return "://" not in address and address.endswith(".topology")


def _topology(path: str) -> Topology:
    from antiphon.choreography.topology import TopologyLoadError, load_topology

    try:
        return load_topology(path).topology
    except TopologyLoadError as problem:
        raise typer.BadParameter(str(problem)) from problem


def _need_role(role: str | None) -> str:
    if role is None:
        raise typer.BadParameter("a topology needs --role: which of its roles this journal is")
    return role


async def _serve(
    folder: Path,
    address: str,
    author: str | None,
    transports: Transports,
    links: list[str],
    rights: _Rights,
    *,
    page: str | None,
    as_json: bool,
) -> None:
    from antiphon.app.journal import Journal

    tls, nats = transports.tls, transports.nats
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(
            Journal.open(folder, author=author, may_create=author is not None, on_opening=opening_bar())
        )
        gate = await _gate(journal, rights.roots)
        server: SyncServer | Room
        if _is_member(address):
            server = await stack.enter_async_context(journal.join(address, gate=gate, tls=tls, nats=nats))
        else:
            server = await stack.enter_async_context(journal.serve(address, gate=gate, tls=tls, nats=nats))
        for link in links:
            await stack.enter_async_context(journal.link(link, tls=tls, token=rights.token, nats=nats))
        url = None if page is None else await _serve_page(stack, journal, page)
        for problem in journal.problems:
            say(problem)
        if as_json:
            told = {"address": server.address, "authority": journal.authority, "author": journal.author, "page": url}
            write_json(told, is_line=True)
        else:
            write(server.address)
            if url is not None:
                write(url)
        await stopped.wait()


async def _gate(journal: Journal, roots: tuple[bytes, ...]) -> SyncGate | None:
    """Who may meet the journal: holders of tokens of these issuers that were not taken back; everybody without one."""
    if not roots:
        return None
    from antiphon.runtime.guards.capabilities import TokenVerifier
    from antiphon.runtime.guards.peer_gate import TokenGate
    from antiphon.runtime.guards.revocation import Revocations

    revocations = Revocations(journal.engine, roots)
    await revocations.load()
    return TokenGate(journal.engine, TokenVerifier(roots, journal.engine.clock, revoked=revocations.ids))


async def _serve_page(stack: AsyncExitStack, journal: Journal, page: str) -> str:
    from antiphon.app.web import serve_web
    from antiphon.app.wiring import core_of

    core = await stack.enter_async_context(core_of(journal))
    return (await stack.enter_async_context(serve_web(core, page))).url


async def _sync(
    folder: Path, address: str, author: str | None, timeout: float | None, transports: Transports, token: bytes
) -> tuple[SyncReport, int, str]:
    from antiphon.app.journal import Journal
    from antiphon.runtime.services.sync import DEFAULT_SETTINGS, sync_once

    settings = replace(DEFAULT_SETTINGS, token=token)
    if timeout is not None:
        settings = replace(settings, connect_timeout_s=timeout, digest_timeout_s=timeout, transfer_timeout_s=timeout)
    # The peer comes first: no journal is made for one that is not there.
    connection = await transports.connect(address, timeout=settings.connect_timeout_s)
    try:
        async with Journal.open(
            folder, author=author, may_create=author is not None, on_opening=opening_bar()
        ) as journal:
            for problem in journal.problems:
                say(problem)
            report = await sync_once(journal.engine, connection, settings=settings)
            return report, journal.fact_count, journal.fingerprint
    finally:
        await connection.close()


def _check_journal(folder: Path, author: str | None) -> None:
    """Refuse a folder without a journal, unless an author is named whose journal it will be."""
    from antiphon.app.offline import open_offline
    from antiphon.journal import NotAJournal

    if author is not None:
        return
    try:
        open_offline(folder)
    except NotAJournal as problem:
        raise NotAJournal(f"{problem}, or make one here with --author NAME") from None

"""Commands about rights: ``key``, ``grant``, ``token`` and ``explain-guard``."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import JournalOption, JsonOption, clean, opening_bar, say, write, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from antiphon.runtime.guards.commands import LeakClaim
    from antiphon.runtime.guards.guard import CapabilitySource, Explanation
    from antiphon.runtime.guards.keys import KeyFile

KeyArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The key's file, which only its owner may read.")]
KeyOption = Annotated[Path, typer.Option("--key", metavar="FILE", help="The issuer's key file.")]
TokenArgument = Annotated[str, typer.Argument(metavar="TOKEN", help="A token, as `antiphon grant` wrote it.")]
RootOption = Annotated[str, typer.Option("--root", metavar="HEX", help="The issuer's public key, 64 hex digits.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="Make and show Ed25519 keys in files.", no_args_is_help=True, rich_markup_mode=None)
    keys.command("new")(new)
    keys.command("show")(show)
    app.add_typer(keys, name="key")
    app.command("grant")(grant)
    tokens = typer.Typer(help="Look into tokens, and take them back.", no_args_is_help=True, rich_markup_mode=None)
    tokens.command("inspect")(inspect)
    tokens.command("revoke")(revoke)
    app.add_typer(tokens, name="token")
    app.command("explain-guard")(explain_guard)


def new(file: KeyArgument, as_json: JsonOption = False) -> None:
    """Make a key in a new file; one that is there is never replaced.

    JSON: one object: file, public_key, authority.
    """
    from antiphon.runtime.entropy import system_random
    from antiphon.runtime.guards.keys import new_key

    _show_key(new_key(file, system_random), as_json=as_json)


def show(file: KeyArgument, as_json: JsonOption = False) -> None:
    """Show what of a key may be shown: its public half and whose first key it is.

    JSON: one object: file, public_key, authority.
    """
    from antiphon.runtime.guards.keys import load_key

    _show_key(load_key(file), as_json=as_json)


def grant(
    key: KeyOption,
    subject: Annotated[str, typer.Option("--to", metavar="NAME", help="Who is to hold the token.")],
    capability: Annotated[
        list[str] | None, typer.Option("--capability", metavar="NAME", help="What it allows; the device grant if none.")
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", metavar="NAME", help="The one context where it holds; else everywhere.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="N", help="How long it holds; without it, for ever.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a capability token and write it as one line. Whoever holds it holds the rights: hand it over in private.

    JSON: one object: token, root, subject, capabilities, context, revocation_ids.
    """
    from antiphon.runtime.clock import SystemClock
    from antiphon.runtime.guards.capabilities import CapabilityScope, inspect_token, issue_token
    from antiphon.runtime.guards.keys import load_key
    from antiphon.runtime.guards.names import DEVICE_GRANT

    issuer = load_key(key)
    names = tuple(capability or DEVICE_GRANT)
    _tell_unknown(names)
    expires_ms = None if minutes is None else SystemClock().now_ms() + int(minutes * 60_000)
    token = issue_token(
        issuer.seed, subject=subject, capabilities=names, scope=CapabilityScope(context), expires_ms=expires_ms
    )
    text = urlsafe_b64encode(token).decode()
    if not as_json:
        write(text)
        return
    write_json(
        {
            "token": text,
            "root": issuer.public_key.hex(),
            "subject": subject,
            "capabilities": names,
            "context": context,
            "revocation_ids": inspect_token(token, issuer.public_key).revocation_ids,
        }
    )


def _tell_unknown(names: Iterable[str]) -> None:
    """Tell of capabilities that look like one that is asked for here, and are none: applications have their own."""
    from difflib import get_close_matches

    from antiphon.facts.categories import OPERATION_CATEGORIES
    from antiphon.runtime.guards.grants import CALL_RULES
    from antiphon.runtime.guards.names import DEVICE_GRANT

    known = {*DEVICE_GRANT, *OPERATION_CATEGORIES, *(rule.capability for rule in CALL_RULES.values())}
    for name in names:
        near = get_close_matches(name, sorted(known), cutoff=0.8)
        if name not in known and near:
            say(f"nothing here asks for the capability {clean(name)!r}; did you mean {' or '.join(near)}?")


def inspect(token: TokenArgument, root: RootOption, as_json: JsonOption = False) -> None:
    """Show what a token says, block by block, after it was verified under its issuer's public key.

    JSON: one object: is_verified, blocks, revocation_ids, attested_by, byte_count.
    """
    from antiphon.runtime.guards.capabilities import inspect_token

    found = inspect_token(read_token(token), read_public_key(root))
    if as_json:
        write_json(found._asdict())
        return
    for place, block in enumerate(found.blocks):
        write(f"block {place}: revocation id {found.revocation_ids[place]}")
        for line in block.splitlines():
            write(f"  {clean(line)}")


def revoke(
    token: TokenArgument,
    journal: JournalOption,
    root: RootOption,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For people.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Take a token back, and all that were made from it: commits a fact that every replica obeys which trusts the root.

    The journal has to be its issuer's own. JSON: one object: fact_id, revocation_ids.
    """
    from antiphon.runtime.guards.capabilities import inspect_token

    public_key = read_public_key(root)
    ids = inspect_token(read_token(token), public_key).revocation_ids[-1:]
    fact_id = asyncio.run(_revoke(journal, public_key, tuple(ids), reason))
    if as_json:
        write_json({"fact_id": fact_id, "revocation_ids": ids})
    else:
        write(fact_id)


async def _revoke(folder: Path, root: bytes, ids: tuple[str, ...], reason: str) -> str:
    from antiphon.app.journal import Journal
    from antiphon.facts import LocalViolation, authority_id
    from antiphon.runtime.guards.revocation import TokenWithdrawn

    async with Journal.open(folder, may_create=False, on_opening=opening_bar()) as journal:
        if journal.authority != authority_id(root):
            raise LocalViolation("this journal is not the token's issuer; revoke it in the issuer's own journal")
        receipt = await journal.commit(TokenWithdrawn(revocation_ids=ids, reason=reason), flush=True)
        return receipt.fact_id


def explain_guard(
    journal: JournalOption,
    operation: Annotated[str, typer.Option("--operation", metavar="MODULE:VERB", help="What would be done.")] = "",
    peer: Annotated[str, typer.Option("--peer", metavar="NAME", help="Towards whom; oneself, if left out.")] = "self",
    context: Annotated[str, typer.Option("--context", metavar="NAME", help="In which context.")] = "antiphon.default",
    capability: Annotated[
        str | None,
        typer.Option("--capability", metavar="NAME", help="The right it needs; that of its name if none."),
    ] = None,
    cost: Annotated[int, typer.Option("--cost", metavar="N", help="What it costs.")] = 0,
    leak: Annotated[
        list[str] | None, typer.Option("--leak", metavar="OBSERVER=BITS", help="What it reveals to whom.")
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", metavar="TOKEN", help="The token to go by; else the owner's own right.")
    ] = None,
    root: Annotated[str | None, typer.Option("--root", metavar="HEX", help="The token's issuer.")] = None,
    is_intent: Annotated[
        bool, typer.Option("--intent", help="As an intent of a front end: it stays here, and begins its ceremony.")
    ] = False,
    call: Annotated[
        str, typer.Option("--call", metavar="NAME", help="As a call of a front end: erase, query, sync, serve or link.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what would happen to a guarded send, which guard would refuse it and what is left, and change nothing.

    Give --operation, or --call for what a front end asks of its runtime.

    JSON: one object: allowed, refused_by, kind, text, stages, commands, remaining, remaining_bits, timing. The exit
    code is 0 when it would be allowed, else 1.
    """
    from antiphon.facts import LocalViolation
    from antiphon.runtime.guards.commands import SendRequest
    from antiphon.runtime.guards.grants import CALL_RULES, intent_request

    if call:
        _show_explanation(asyncio.run(_explain(journal, _call(call, peer, context), token, root)), as_json=as_json)
        return
    if not operation:
        raise LocalViolation(f"name what would be done: --operation MODULE:VERB, or --call {'|'.join(CALL_RULES)}")
    request = SendRequest(
        operation,
        context,
        peer,
        "",
        capability or operation,
        cost=cost,
        leaks=tuple(map(_read_leak, leak or ())),
        envelope=b"",
    )
    if is_intent:
        asked = intent_request(operation, (), authority="", context=context, cost=cost)
        request = asked._replace(peer=peer, leaks=request.leaks, capability=request.capability)
    _show_explanation(asyncio.run(_explain(journal, request, token, root)), as_json=as_json)


def _call(name: str, peer: str, context: str) -> object:
    """A call of a front end as the chain is asked about it, in its context, or where all of them are meant."""
    from antiphon.facts import DEFAULT_NAMESPACE, LocalViolation
    from antiphon.runtime.guards.grants import CALL_RULES, EVERYWHERE, call_request
    from antiphon.runtime.guards.peer_gate import CREDIT_MESSAGES, SYNC_CONTEXT

    if name not in CALL_RULES:
        raise LocalViolation(f"a call is one of {', '.join(CALL_RULES)}; got {name!r}")
    everywhere = {"erase": DEFAULT_NAMESPACE, "query": EVERYWHERE}.get(name, SYNC_CONTEXT)
    where = everywhere if context == DEFAULT_NAMESPACE else context
    cost = CREDIT_MESSAGES if name in ("sync", "link") else 0
    return call_request(name, authority="", context=where, peer=peer, cost=cost)


def _show_explanation(found: Explanation, *, as_json: bool) -> None:
    if as_json:
        violation = found.outcome.violation
        write_json(
            {
                "allowed": found.is_allowed,
                "refused_by": found.refusing_guard or None,
                "kind": violation.kind.value if violation else None,
                "text": violation.text if violation else None,
                "stages": found.outcome.stages,
                "commands": [type(command).__name__ for command in found.outcome.commands],
                "remaining": found.remaining,
                "remaining_bits": dict(found.remaining_bits),
                "timing": found.timing.value,
            }
        )
    else:
        for line in str(found).splitlines():
            write(clean(line))
    if not found.is_allowed:
        raise typer.Exit(1)


async def _explain(folder: Path, request: object, token: str | None, root: str | None) -> Explanation:
    from antiphon.app.journal import Journal
    from antiphon.runtime.guards.commands import SendRequest
    from antiphon.runtime.guards.guard import EffectGuard, OwnerCapabilities

    assert isinstance(request, SendRequest), "made above"
    async with Journal.open(folder, may_create=False, on_opening=opening_bar()) as journal:
        source: CapabilitySource = OwnerCapabilities()
        if token is not None:
            from antiphon.runtime.guards.capabilities import TokenCapabilities, TokenVerifier
            from antiphon.runtime.guards.revocation import Revocations

            roots = [read_public_key(root)] if root is not None else [journal.engine.folder.authority.public_key]
            revocations = Revocations(journal.engine, roots)
            await revocations.load()
            verifier = TokenVerifier(roots, journal.engine.clock, revoked=revocations.ids)
            source = TokenCapabilities(verifier, verifier.verify(read_token(token)))
        return await EffectGuard(journal.engine, capabilities=source).explain(request)


def _show_key(key: KeyFile, *, as_json: bool) -> None:
    shown = {"file": str(key.path), "public_key": key.public_key.hex(), "authority": key.authority}
    if as_json:
        write_json(shown)
    else:
        for name, value in shown.items():
            write(f"{name.replace('_', ' ')}: {clean(value)}")


def read_token(text: str) -> bytes:
    """A token from the line that stands for it. Raises ``LocalViolation``."""
    from antiphon.facts import LocalViolation

    try:
        return urlsafe_b64decode(text.encode("ascii"))
    except ValueError as problem:
        raise LocalViolation("this is no token; give the whole line that `antiphon grant` wrote") from problem


def read_public_key(text: str) -> bytes:
    """A public key from its 64 hex digits. Raises ``LocalViolation``."""
    from antiphon.facts import LocalViolation

    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise LocalViolation(f"a public key has 64 hex digits; got {text!r:.100}")
    return key


def _read_leak(text: str) -> LeakClaim:
    from antiphon.facts import LocalViolation
    from antiphon.runtime.guards.commands import LeakClaim

    observer, equals, bits = text.partition("=")
    if not (observer and equals and bits.isascii() and bits.isdigit()):
        raise LocalViolation(f"a leak is written OBSERVER=BITS, as in External=8; got {text!r:.100}")
    return LeakClaim(observer, int(bits))

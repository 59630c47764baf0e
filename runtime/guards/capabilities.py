"""Capability tokens: Biscuits that are issued, narrowed offline, attested by others, verified, and looked up fast.

A token is bytes until ``TokenVerifier.verify`` has parsed it under a trusted root; only then may it be asked. What it
allows (its frontier) is worked out for the names that are asked about, never read from the token's own text, within
fixed bounds, and kept for as long as the epoch, the minute and the revocations are the same. Sends nothing.

Biscuit is Datalog under Ed25519 signatures (https://www.biscuitsec.org); ``biscuit-python`` evaluates it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from antiphon.facts import AntiphonError, Clock, LocalViolation

from .commands import SendRequest
from .names import DEVICE_GRANT, check_name

if TYPE_CHECKING:
    from biscuit_auth import AuthorizerBuilder, Biscuit, KeyPair, PrivateKey, PublicKey

FACTS_MAX = 10_000
ITERATIONS_MAX = 1_000
# Wall time inside the library; the bounds above are what decides alike everywhere, this only ends the absurd.
EVALUATION_S_MAX = 5.0
TOKEN_BYTES_MAX = 16 * 1024
BLOCKS_MAX = 16
FRONTIERS_MAX = 4_096
CANDIDATES_MAX = 256

# The library raises one class for a refusal and for a bound; only the text tells them apart.
_LIMIT_WORDS = ("limit", "too many", "timeout")
_ALLOW = """
allow if capability($c), $c == {capability}, scope_context($s), $s == {context};
allow if capability($c), $c == {capability}, scope_any(true);
"""


class TokenInvalid(AntiphonError):
    """Bytes that are no token of a trusted root, or a token that was revoked."""

    kind = "token-invalid"

    def public(self) -> str:
        """What may leave this node."""
        return self.kind


class TokenRevoked(TokenInvalid):
    """A token, or one that it was made from, was revoked."""

    kind = "token-revoked"


class LimitExceeded(AntiphonError):
    """Evaluating a token took more facts, steps or time than it may; it grants nothing."""

    kind = "limit-exceeded"


@dataclass(frozen=True, slots=True)
class CapabilityScope:
    """Where a grant holds: in one context, or (``context`` None) in all of its issuer's."""

    context: str | None = None


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token that a trusted root issued: the only form that is asked. Made by ``TokenVerifier.verify`` alone."""

    issuer: bytes
    subject: str
    digest: str
    block_count: int
    revocation_ids: tuple[str, ...]
    _biscuit: Biscuit

    @property
    def depth(self) -> int:
        """How often it was narrowed or attested."""
        return self.block_count - 1


def key_pair_of(seed: bytes) -> KeyPair:
    """The key pair of a 32-byte Ed25519 seed, as the token library takes it."""
    from biscuit_auth import KeyPair

    return KeyPair.from_private_key(_private(seed))


def issue_token(
    seed: bytes,
    *,
    subject: str,
    capabilities: Iterable[str] = DEVICE_GRANT,
    scope: CapabilityScope = CapabilityScope(),
    expires_ms: int | None = None,
    trusted: Sequence[bytes] = (),
) -> bytes:
    """A token of the root key with this *seed*: *subject* may use *capabilities* in *scope*, until *expires_ms*.

    *trusted* are public keys of which at least one must have attested it. ~100 µs. Raises ``UnknownCapability``.
    """
    from biscuit_auth import BiscuitBuilder, Fact

    names = sorted({check_name(name) for name in capabilities})
    if not names:
        raise LocalViolation("a token without a capability allows nothing; name at least one")
    builder = BiscuitBuilder("subject({subject})", {"subject": subject})
    for name in names:
        builder.add_fact(Fact("capability({name})", {"name": name}))
    if scope.context is None:
        builder.add_fact(Fact("scope_any(true)"))
    else:
        builder.add_fact(Fact("scope_context({context})", {"context": scope.context}))
    if expires_ms is not None:
        builder.add_code("check if time($time), $time < {expiry}", {"expiry": _moment(expires_ms)})
    if trusted:
        names_of_keys = [f"key{place}" for place in range(len(trusted))]
        trusting = ", ".join(f"{{{name}}}" for name in names_of_keys)
        keys = dict(zip(names_of_keys, map(_public, trusted), strict=True))
        builder.add_code(f"check if attested($subject) trusting {trusting}", {}, keys)
    return bytes(builder.build(_private(seed)).to_bytes())


def attenuate_token(
    token: bytes,
    root: bytes,
    *,
    capabilities: Iterable[str] | None = None,
    context: str | None = None,
    expires_ms: int | None = None,
) -> bytes:
    """A narrower token, made without the root's private key: only these capabilities, this context, until then."""
    from biscuit_auth import BlockBuilder

    block = BlockBuilder("")
    if capabilities is not None:
        names = sorted({check_name(name) for name in capabilities})
        block.add_code("check if operation($o), {names}.contains($o)", {"names": set(names)})
    if context is not None:
        block.add_code("check if context($c), $c == {context}", {"context": context})
    if expires_ms is not None:
        block.add_code("check if time($time), $time < {expiry}", {"expiry": _moment(expires_ms)})
    return bytes(_parse(token, root).append(block).to_bytes())


def attest_token(token: bytes, root: bytes, *, seed: bytes, subject: str) -> bytes:
    """The token with an attestation of the key with *seed*; it counts where that key is trusted, and for this token."""
    from biscuit_auth import BlockBuilder

    biscuit = _parse(token, root)
    keys = key_pair_of(seed)
    block = biscuit.third_party_request().create_block(
        keys.private_key, BlockBuilder("attested({subject})", {"subject": subject})
    )
    return bytes(biscuit.append_third_party(keys.public_key, block).to_bytes())


class TokenFacts(NamedTuple):
    """What a person wants to know of a token; nothing of it is believed unless ``is_verified``."""

    is_verified: bool
    blocks: tuple[str, ...]
    revocation_ids: tuple[str, ...]
    attested_by: tuple[str, ...]
    byte_count: int


def inspect_token(token: bytes, root: bytes) -> TokenFacts:
    """Read a token under *root*. Raises ``TokenInvalid``."""
    biscuit = _parse(token, root)
    places = range(biscuit.block_count())
    keys = [biscuit.block_external_key(place) for place in places]
    return TokenFacts(
        True,
        tuple(biscuit.block_source(place) or "" for place in places),
        tuple(biscuit.revocation_ids),
        tuple(_hex_of(key) for key in keys if key is not None),
        len(token),
    )


class TokenVerifier:
    """Verifies tokens under *roots* (public keys), and works out what they allow.

    *revoked* gives the revocation ids that were taken back so far; asked each time, so that a fact that arrives counts
    at once. Frontiers are kept for each (token, context, names, epoch, revocations) until the token's time is up.
    """

    def __init__(
        self,
        roots: Collection[bytes],
        clock: Clock,
        *,
        revoked: Callable[[], Collection[str]] = frozenset,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self._roots = tuple(roots)
        self._clock = clock
        self._revoked = revoked
        self._epoch = epoch
        self._frontiers: OrderedDict[tuple[str, str, frozenset[str]], tuple[int, int, frozenset[str]]] = OrderedDict()
        self._kept_epoch = epoch()
        self.evaluation_count = 0

    def verify(self, token: bytes) -> VerifiedToken:
        """Parse under a trusted root, ~100 µs. Raises ``TokenInvalid``, ``TokenRevoked``."""
        problem: TokenInvalid | None = None
        for root in self._roots:
            try:
                biscuit = _parse(token, root)
            except TokenInvalid as error:
                problem = error
                continue
            found = VerifiedToken(
                root,
                _subject_of(biscuit),
                sha256(token).hexdigest(),
                biscuit.block_count(),
                tuple(biscuit.revocation_ids),
                biscuit,
            )
            self.check_revocation(found)
            return found
        raise problem or TokenInvalid("no root key is trusted; give the verifier the issuer's public key")

    def check_revocation(self, token: VerifiedToken) -> None:
        """Raise ``TokenRevoked`` when it, or what it was made from, was taken back."""
        revoked = self._revoked()
        if revoked and not set(token.revocation_ids).isdisjoint(revoked):
            raise TokenRevoked("this token was revoked; ask its issuer for another")

    def frontier(self, token: VerifiedToken, candidates: Collection[str], *, context: str) -> frozenset[str]:
        """Those of *candidates* that the token allows in *context* now: ~0.2 ms for each the first time, then ~1 µs.

        Raises ``TokenRevoked``, ``LimitExceeded``.
        """
        self.check_revocation(token)
        if len(candidates) > CANDIDATES_MAX:
            raise LocalViolation(f"{len(candidates)} capabilities at once; at most {CANDIDATES_MAX}")
        epoch, now_ms = self._epoch(), self._clock.now_ms()
        if epoch != self._kept_epoch:
            self._frontiers.clear()
            self._kept_epoch = epoch
        names = candidates if isinstance(candidates, frozenset) else frozenset(candidates)
        key = (token.digest, context, names)
        kept = self._frontiers.get(key)
        # A token may expire within any second; within one it is not evaluated again.
        if kept is not None and kept[0] <= now_ms < kept[1]:
            return kept[2]
        allowed = frozenset(name for name in names if self._allows(token, name, context, now_ms))
        self._frontiers[key] = (now_ms, _next_second(now_ms), allowed)
        if len(self._frontiers) > FRONTIERS_MAX:
            self._frontiers.popitem(last=False)
        return allowed

    def _allows(self, token: VerifiedToken, name: str, context: str, now_ms: int) -> bool:
        from biscuit_auth import AuthorizationError, AuthorizerBuilder

        self.evaluation_count += 1
        values = {"capability": name, "context": context, "time": _moment(now_ms)}
        code = "operation({capability}); context({context}); time({time});" + _ALLOW
        builder = AuthorizerBuilder(code, values)
        _set_limits(builder)
        try:
            builder.build(token._biscuit).authorize()
        except AuthorizationError as problem:
            if any(word in str(problem).lower() for word in _LIMIT_WORDS):
                raise LimitExceeded(f"the token asks for too much work: {problem}") from problem
            return False
        return True


class TokenCapabilities:
    """A verified token as a source of capabilities for the guard chain, and as grants for queries."""

    def __init__(self, verifier: TokenVerifier, token: VerifiedToken, *, family: Collection[str] = ()) -> None:
        self._verifier = verifier
        self._token = token
        # Names that are asked about together, so that one evaluation serves them all.
        self._family = frozenset(family)
        self._names: dict[str, frozenset[str]] = dict.fromkeys(self._family, self._family)

    @property
    def token(self) -> VerifiedToken:
        """The token."""
        return self._token

    async def frontier(self, request: SendRequest) -> frozenset[str]:
        """What the token allows of the family, and of what the request needs, in the request's context."""
        return self.allowed(request.capability, request.context, *request.also)

    def allowed(self, capability: str, context: str, *also: str) -> frozenset[str]:
        """The same, for capabilities and a context."""
        names = self._names.get(capability)
        if names is None and len(self._names) < CANDIDATES_MAX:
            names = self._names[capability] = self._family | {capability}
        if names is None or also:
            names = self._family | {capability, *also}
        return self._verifier.frontier(self._token, names, context=context)


def meet_tokens(first: VerifiedToken, second: VerifiedToken) -> VerifiedToken | None:
    """Of two tokens of one issuer the one that was narrowed more often; of different issuers none."""
    if first.issuer != second.issuer:
        return None
    return first if first.depth >= second.depth else second


def _next_second(now_ms: int) -> int:
    return now_ms - now_ms % 1_000 + 1_000


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, tz=UTC)


def _private(seed: bytes) -> PrivateKey:
    from biscuit_auth import Algorithm, PrivateKey

    algorithm = Algorithm.Ed25519  # type: ignore[attr-defined]  # the library's stubs are older than itself
    return PrivateKey.from_bytes(seed, algorithm)  # type: ignore[call-arg]  # likewise


def _public(key: bytes) -> PublicKey:
    from biscuit_auth import Algorithm, PublicKey

    algorithm = Algorithm.Ed25519  # type: ignore[attr-defined]  # the library's stubs are older than itself
    return PublicKey.from_bytes(key, algorithm)  # type: ignore[call-arg]  # likewise


def _hex_of(key: object) -> str:
    """A public key, which the library's stubs take for a text."""
    return bytes(key.to_bytes()).hex() if hasattr(key, "to_bytes") else str(key)


def _set_limits(builder: AuthorizerBuilder) -> None:
    """Bound the work: without it a loaded machine denies at random, since a millisecond of wall time is the default."""
    limits = builder.limits()  # type: ignore[attr-defined]  # the library's stubs are older than itself
    limits.max_facts, limits.max_iterations = FACTS_MAX, ITERATIONS_MAX
    limits.max_time = timedelta(seconds=EVALUATION_S_MAX)
    builder.set_limits(limits)  # type: ignore[attr-defined]  # likewise


def _parse(token: bytes, root: bytes) -> Biscuit:
    from biscuit_auth import Biscuit, BiscuitValidationError

    if len(token) > TOKEN_BYTES_MAX:
        raise TokenInvalid(f"a token of {len(token)} bytes; at most {TOKEN_BYTES_MAX}")
    try:
        biscuit = Biscuit.from_bytes(token, _public(root))
    except (BiscuitValidationError, ValueError) as problem:
        raise TokenInvalid("this is no token of the trusted root, or it was altered") from problem
    if biscuit.block_count() > BLOCKS_MAX:
        raise TokenInvalid(f"a token of {biscuit.block_count()} blocks; at most {BLOCKS_MAX}")
    return biscuit


def _subject_of(biscuit: Biscuit) -> str:
    from biscuit_auth import AuthorizationError, AuthorizerBuilder, Rule

    builder = AuthorizerBuilder("")
    _set_limits(builder)
    try:
        found = builder.build(biscuit).query(Rule("found($s) <- subject($s)"))
    except AuthorizationError as problem:
        raise LimitExceeded(f"the token asks for too much work: {problem}") from problem
    return str(found[0].terms[0]) if found else ""

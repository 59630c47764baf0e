"""From bytes to believed: what comes from the network is decoded, then verified in eight checks, and only then used.

Consumers take ``VerifiedIngress``, which nothing but ``IngressVerifier`` can make. A check that is missing or fails
rejects, in silence towards the sender. Verifying touches no state but the window; ``take_in`` commits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from antiphon.facts import Fact, LocalViolation, RemoteViolation
from antiphon.facts.encoding import canonical_bytes
from antiphon.journal.chain import Signer
from antiphon.journal.guard_book import seen_note
from antiphon.journal.replay_window import ReplayWindow

from ..engine import CommitResult, JournalEngine
from ..events import Events, IngressAccepted, IngressDropped, IngressTurnedAway
from .commands import ENVELOPE_BYTES_MAX

ENVELOPE_PREFIX = b"antiphon.envelope.1"
SCHEMA_VERSION = 1
# The boundary takes a little more than an envelope, in hex, with its header.
FRAME_BYTES_MAX = 1024 * 1024


class IngressCheck(Enum):
    """What is checked, each by itself."""

    PEER_IDENTITY = "peer-identity"
    ENVELOPE_AUTHENTICITY = "envelope-authenticity"
    CAPABILITY_AUTHORIZATION = "capability-authorization"
    NAMESPACE_SCOPE = "namespace-scope"
    SCHEMA_VERSION = "schema-version"
    REPLAY_FRESHNESS = "replay-freshness"
    SIGNER_MEMBERSHIP = "signer-membership"
    PROOF_EVIDENCE = "proof-evidence"


class IngressRejected(RemoteViolation):
    """What a peer sent is not believed; nothing changed and nothing is answered. ``kind`` says which check failed."""

    def __init__(self, check: IngressCheck | None, text: str) -> None:
        self.check = check
        self.kind = check.value if check is not None else "malformed"
        super().__init__(f"{self.kind}: {text}")

    def public(self) -> str:
        """What may leave this node."""
        return self.kind


@dataclass(frozen=True, slots=True)
class DecodedIngress:
    """What a frame says, of which nothing is believed."""

    envelope_id: str
    source: str
    context: str
    session: str
    schema: int
    payload: bytes
    signature: bytes

    def message(self) -> bytes:
        """The bytes that the source signed."""
        values = [self.envelope_id, self.source, self.context, self.session, self.schema, self.payload.hex()]
        return ENVELOPE_PREFIX + canonical_bytes(values)


class Evidence(NamedTuple):
    """That a check passed, and for whom: it counts only for the envelope that it names."""

    check: IngressCheck
    source: str
    context: str
    session: str
    schema: int


_KEY = object()


class VerifiedIngress:
    """An envelope that passed every check, with the evidence. Made by ``IngressVerifier.verify`` alone."""

    __slots__ = ("envelope", "evidence")

    def __init__(self, envelope: DecodedIngress, evidence: Sequence[Evidence], key: object) -> None:
        if key is not _KEY:
            raise LocalViolation("only IngressVerifier.verify makes a VerifiedIngress; verify what was decoded")
        expected = (envelope.source, envelope.context, envelope.session, envelope.schema)
        if any(each[1:] != expected for each in evidence) or {each.check for each in evidence} != set(IngressCheck):
            raise IngressRejected(None, "the evidence is about another envelope, or not whole")
        self.envelope = envelope
        self.evidence = tuple(evidence)

    @property
    def payload(self) -> bytes:
        """What was sent."""
        return self.envelope.payload


class IngressPolicy(NamedTuple):
    """What the checks ask: each answers for one of them, and ``proofs`` for those that the protocol adds.

    ``key_of`` gives the *known* key of a source (32 bytes; None: nobody we know), ``may_send`` whether it holds the
    capability in that context, ``contexts`` what is shared with it, ``is_member`` whether it belongs to the session.
    """

    key_of: Callable[[str], bytes | None]
    may_send: Callable[[str, str], bool]
    contexts: Callable[[str], frozenset[str]]
    is_member: Callable[[str, str], bool]
    proofs: Callable[[DecodedIngress], bool] = lambda _: True
    schemas: frozenset[int] = frozenset({SCHEMA_VERSION})


class IngressVerifier:
    """Holds envelopes against a policy; *on_rejected* is told what was turned away, and by which check.

    *window* remembers what came: in memory, or a journal's own (``engine.guard_book.replays``), which survives a
    restart; what passes such a one has to be handed to ``take_in``.
    """

    def __init__(
        self,
        policy: IngressPolicy,
        *,
        window: ReplayWindow | None = None,
        on_rejected: Callable[[DecodedIngress | None, IngressRejected], None] | None = None,
        events: Events | None = None,
    ) -> None:
        self._policy = policy
        self._events = events or Events()
        self.window = window or ReplayWindow()
        self._on_rejected = on_rejected
        self._checks: Mapping[IngressCheck, Callable[[DecodedIngress], bool]] = {
            IngressCheck.PEER_IDENTITY: lambda each: policy.key_of(each.source) is not None,
            IngressCheck.ENVELOPE_AUTHENTICITY: self._is_authentic,
            IngressCheck.CAPABILITY_AUTHORIZATION: lambda each: policy.may_send(each.source, each.context),
            IngressCheck.NAMESPACE_SCOPE: lambda each: each.context in policy.contexts(each.source),
            IngressCheck.SCHEMA_VERSION: lambda each: each.schema in policy.schemas,
            IngressCheck.REPLAY_FRESHNESS: lambda each: self.window.is_fresh(
                each.source, each.context, each.envelope_id
            ),
            IngressCheck.SIGNER_MEMBERSHIP: lambda each: policy.is_member(each.source, each.session),
            IngressCheck.PROOF_EVIDENCE: policy.proofs,
        }

    def receive(self, frame: bytes) -> VerifiedIngress:
        """Decode and verify a frame. Raises ``IngressRejected``."""
        try:
            envelope = decode_ingress(frame)
        except IngressRejected as problem:
            self._tell(None, problem)
            raise
        return self.verify(envelope)

    def verify(self, envelope: DecodedIngress) -> VerifiedIngress:
        """Check all eight and remember the id. Raises ``IngressRejected``, naming the first check that failed."""
        evidence: list[Evidence] = []
        for check, passes in self._checks.items():
            if not passes(envelope):
                problem = IngressRejected(check, "the check failed")
                self._tell(envelope, problem)
                raise problem
            evidence.append(Evidence(check, envelope.source, envelope.context, envelope.session, envelope.schema))
        self.window.begin(envelope.source, envelope.context, envelope.envelope_id)
        if self._events.is_heard:
            source = self._events.veil(envelope.source)
            self._events.emit(IngressAccepted(session_id=self._events.veil(envelope.session), source=source))
        return VerifiedIngress(envelope, evidence, _KEY)

    def _is_authentic(self, envelope: DecodedIngress) -> bool:
        key = self._policy.key_of(envelope.source)
        if key is None:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(envelope.signature, envelope.message())
        except (InvalidSignature, ValueError):
            return False
        return True

    def _tell(self, envelope: DecodedIngress | None, problem: IngressRejected) -> None:
        if self._on_rejected is not None:
            self._on_rejected(envelope, problem)
        veil = self._events.veil
        source, session = (veil(envelope.source), veil(envelope.session)) if envelope is not None else ("", "")
        if problem.check is IngressCheck.REPLAY_FRESHNESS:
            self._events.emit(IngressDropped(session_id=session, source=source))
        else:
            self._events.emit(IngressTurnedAway(session_id=session, source=source, error_kind=problem.kind))


async def take_in(
    engine: JournalEngine, verified: VerifiedIngress, facts: Sequence[Fact] = (), *, flush: bool = False
) -> CommitResult:
    """Commit what an envelope came to, in one frame with the note that it came: a crash leaves both or neither.

    For envelopes that passed a verifier with the journal's own window. When the frame is not written the envelope may
    come again. Raises as ``JournalEngine.commit_noted``, and ``IngressRejected`` when it was taken in already.
    """
    window, envelope = engine.guard_book.replays, verified.envelope
    key = (envelope.source, envelope.context, envelope.envelope_id)
    if window.is_noted(*key):
        raise IngressRejected(IngressCheck.REPLAY_FRESHNESS, "this envelope was taken in already")

    def end(is_durable: bool) -> None:
        if not is_durable:
            window.forget(*key)

    return await engine.commit_noted(
        facts, seen_note((key,)), on_offer=lambda: window.note(*key), on_end=end, flush=flush
    )


_FIELDS = {"context": str, "id": str, "payload": str, "schema": int, "session": str, "signature": str, "source": str}
_TEXT_MAX = 256


def decode_ingress(frame: bytes) -> DecodedIngress:
    """Read a frame by hand and within bounds; nothing of it is believed. Raises ``IngressRejected``."""
    if len(frame) > FRAME_BYTES_MAX:
        raise IngressRejected(None, f"a frame of {len(frame)} bytes; at most {FRAME_BYTES_MAX}")
    try:
        data = orjson.loads(frame)
    except orjson.JSONDecodeError as problem:
        raise IngressRejected(None, "a frame that is no JSON") from problem
    if type(data) is not dict or set(data) != set(_FIELDS):
        raise IngressRejected(None, "a frame with other fields")
    for name, kind in _FIELDS.items():
        if type(data[name]) is not kind or (kind is str and name != "payload" and len(data[name]) > _TEXT_MAX):
            raise IngressRejected(None, f"a frame whose {name} is malformed")
    try:
        payload, signature = bytes.fromhex(data["payload"]), bytes.fromhex(data["signature"])
    except ValueError as problem:
        raise IngressRejected(None, "a frame whose bytes are no hex") from problem
    if len(payload) > ENVELOPE_BYTES_MAX:
        raise IngressRejected(None, f"a payload of {len(payload)} bytes; at most {ENVELOPE_BYTES_MAX}")
    return DecodedIngress(
        data["id"], data["source"], data["context"], data["session"], data["schema"], payload, signature
    )


def seal_envelope(
    signer: Signer, *, envelope_id: str, source: str, context: str, payload: bytes, session: str = ""
) -> bytes:
    """The frame in which a payload travels, signed by its source; ~25 µs."""
    draft = DecodedIngress(envelope_id, source, context, session, SCHEMA_VERSION, payload, b"")
    return canonical_bytes(
        {
            "context": context,
            "id": envelope_id,
            "payload": payload.hex(),
            "schema": SCHEMA_VERSION,
            "session": session,
            "signature": signer.sign(draft.message()).hex(),
            "source": source,
        }
    )

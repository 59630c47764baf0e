"""Authors without a journal: chains made by hand, valid to the last bit, or broken in just the way a test asks for.

Everything is a function of the author's name, so that runs can be compared with bytes frozen long ago. Reads no clock
and draws no randomness.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.facts import DEFAULT_NAMESPACE, AfterLink, Fact, Namespace, parse_line
from antiphon.facts.encoding import build_header, build_line, salt_text
from antiphon.journal import Draft, Head, KeySigner, OwnChain, SealedRun, open_chain, seal_run
from antiphon.journal.chain import build_seal_line, link_ids
from antiphon.journal.sealing import sign_seal
from antiphon.journal.sync.messages import IncomingRun

# Some afternoon in 2024; every fact of an author is a second after the one before.
START_MS = 1_704_110_400_000
STEP_MS = 1_000


def make_signer(name: str) -> KeySigner:
    """The key that belongs to *name*.

    >>> make_signer("ada").public_key == make_signer("ada").public_key != make_signer("ben").public_key
    True
    """
    return KeySigner(Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


def make_draft(fact: Fact, *, after: tuple[AfterLink, ...] = ()) -> Draft:
    """*fact* as a draft for a chain."""
    fact_type = fact.fact_type
    return Draft(fact_type.kind, fact_type.version, fact_type.encode(fact), fact_type.time_of(fact), after)


class ChainWriter:
    """One chain of one author, and runs of it as a peer would send them.

    >>> run = ChainWriter("eve").say(Draft("doc.said", 1, b'{"text":"hello"}', None))
    >>> run.first_seq, len(run.lines)  # the chain's opening fact comes first
    (1, 2)
    """

    def __init__(self, name: str, *, namespace: str = DEFAULT_NAMESPACE, incarnation: int = 0) -> None:
        self.name = name
        self.writer = make_signer(f"{name}/writer")
        self.authority = make_signer(name)
        self._draws = 0
        self._wall_ms = START_MS
        self.chain, self._opening = open_chain(
            namespace=Namespace(namespace),
            writer=self.writer,
            authority=self.authority,
            nonce=sha256(f"{name}/{incarnation}".encode()).digest()[:16],
            device=sha256(name.encode()).hexdigest()[:32],
            label=name,
            predecessor=None,
            fresh=(),
        )

    @property
    def head(self) -> Head:
        """Where the chain stands."""
        return self.chain.head

    @property
    def link(self) -> AfterLink:
        """What another chain writes in ``after`` to name this one's head."""
        return AfterLink(self.chain.info.chain, self.head.seq, self.head.fact_id[:16])

    def say(self, *drafts: Draft, wall_ms: int | None = None) -> IncomingRun:
        """Seal *drafts*, after the opening fact where there is none yet."""
        start = self.head
        return incoming(self.chain, start, self.seal(*drafts, wall_ms=wall_ms))

    def say_fact(self, *facts: Fact, wall_ms: int | None = None) -> IncomingRun:
        """Seal typed facts."""
        return self.say(*map(make_draft, facts), wall_ms=wall_ms)

    def seal(self, *drafts: Draft, wall_ms: int | None = None) -> SealedRun:
        """As ``say``, as a run for a log."""
        self._wall_ms += STEP_MS
        whole = list(drafts) if self.head.seq else [self._opening, *drafts]
        return seal_run(
            self.chain,
            whole,
            wall_ms=self._wall_ms if wall_ms is None else wall_ms,
            hlc_floor=0,
            randomness=self.randomness(16 * len(whole)),
            signer=self.writer,
        )

    def line(
        self,
        payload: bytes = b"{}",
        *,
        seq: int | None = None,
        hlc: int | None = None,
        chain_text: str | None = None,
        kind: str = "test.said",
        after: tuple[AfterLink, ...] = (),
    ) -> bytes:
        """The next fact line of the chain, with any header field replaced by a wrong one."""
        header = build_header(
            chain_text=chain_text or self.chain.info.text,
            kind=kind,
            version=1,
            seq=self.head.seq + 1 if seq is None else seq,
            hlc=self.head.hlc + 1 if hlc is None else hlc,
            at=START_MS,
            after=after,
        )
        return build_line(header, payload, salt_text(self.randomness(16)))

    def seal_lines(self, lines: Sequence[bytes], *, start: Head | None = None) -> IncomingRun:
        """A run that validly seals *lines*, whatever they say; the chain does not move."""
        start = self.head if start is None else start
        last = link_ids(start.fact_id, [parse_line(line) for line in lines])[-1]
        seal = sign_seal(self.chain.info.chain, start, Head(start.seq + len(lines), last, 0), self.writer)
        return IncomingRun(self.chain.info, tuple(lines), build_seal_line(seal), start.seq + 1, start.fact_id)

    def randomness(self, count: int) -> bytes:
        """The next *count* bytes of the author's own stream."""
        self._draws += 1
        stream = b""
        while len(stream) < count:
            stream += sha256(f"{self.name}/{self._draws}/{len(stream)}".encode()).digest()
        return stream[:count]


def incoming(chain: OwnChain, start: Head, run: SealedRun) -> IncomingRun:
    """A sealed run as a peer receives it."""
    lines = run.text.split(b"\n")
    return IncomingRun(chain.info, tuple(lines[:-2]), lines[-2], start.seq + 1, start.fact_id)

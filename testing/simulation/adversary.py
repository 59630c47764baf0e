"""Peers that lie, with real keys and real frames: forgers of other authors' words, and authors with two stories.

They speak the real session over the simulated network; only what they hold is false.
"""

from __future__ import annotations

from random import Random

from antiphon.facts import parse_line
from antiphon.facts.encoding import build_header, build_line, canonical_bytes, salt_text
from antiphon.journal import RunRow
from antiphon.journal.chain import Head, build_seal_line, link_ids
from antiphon.journal.index import ChainState
from antiphon.journal.sealing import sign_seal

from ..replica import MemoryReplica, MemorySigner

FORGED_TEXT = "forged"


class Forger(MemoryReplica):
    """A replica that puts words into other authors' mouths, sealed with a key of its own."""

    def __init__(self, *, seed: int, wall_ms: int) -> None:
        super().__init__(seed=seed, label="mallory", wall_ms=wall_ms)
        self._forging = Random(seed)
        self._false_signer = MemorySigner(self._forging.randbytes(32))
        self._forged: dict[int, bytes] = {}

    def forge(self, *, is_altered: bool) -> bool:
        """Continue somebody's chain with a forged run; False when no chain is known.

        *is_altered* changes a byte of a true run's payload on its way instead, and leaves the true seal.
        """
        states = [state for state in self.index.chains() if state.runs]
        if not states:
            return False
        state = self._forging.choice(states)
        if is_altered:
            self._alter(state)
        else:
            self._continue(state)
        return True

    def read_run(self, row: RunRow, /) -> bytes:
        """The bytes of a run: true ones, or what was made of them."""
        forged = self._forged.get(row.offset)
        return super().read_run(row) if forged is None else forged

    def _continue(self, state: ChainState) -> None:
        head = state.head
        header = build_header(
            chain_text=state.info.text,
            kind="sim.said",
            version=1,
            seq=head.seq + 1,
            hlc=head.hlc + 1,
            at=self.wall_ms,
            after=(),
        )
        line = build_line(header, canonical_bytes({"text": FORGED_TEXT}), salt_text(self._forging.randbytes(16)))
        last = link_ids(head.fact_id, [parse_line(line)])[-1]
        end = Head(head.seq + 1, last, head.hlc + 1)
        seal = sign_seal(state.info.chain, head, end, self._false_signer)
        data = line + b"\n" + build_seal_line(seal) + b"\n"
        offset = -1 - len(self._forged)
        self._forged[offset] = data
        row = RunRow(state.info.chain, end.seq, end.seq, head.fact_id, last, 1, offset, len(data))
        self.index.admit(row, hlc=end.hlc)

    def _alter(self, state: ChainState) -> None:
        row = self._forging.choice(state.runs)
        data = bytearray(self.read_run(row))
        at = data.find(b'"p":{')
        if at >= 0:
            data[at + 5 + self._forging.randrange(4)] ^= 1
        self._forged[row.offset] = bytes(data)


class Equivocator:
    """One author with two stories: both chains have one key and one nonce, and differ from some fact on."""

    def __init__(self, *, seed: int, wall_ms: int) -> None:
        self.faces = tuple(MemoryReplica(seed=seed, label="janus", wall_ms=wall_ms) for _ in range(2))

    def tell(self, common: list[str], stories: tuple[list[str], list[str]]) -> None:
        """Say *common* with both faces, then each its own story."""
        for face, story in zip(self.faces, stories, strict=True):
            if common:
                face.commit_texts(common)
            face.commit_texts(story)

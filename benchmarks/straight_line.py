"""The reference: the library calls that a durable window cannot do without, one after the other, and nothing else.

pydantic → orjson → salt and two SHA-256 a fact → one Ed25519 seal → one append → one ``fdatasync``, in exactly the
bytes that FORMAT asks for: the log written here reads back and verifies. No window, thread, loop, view or DuckDB.
"""

from __future__ import annotations

import os
import time
from binascii import b2a_base64
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.facts import DEFAULT_NAMESPACE
from antiphon.journal import (
    LOG_START,
    Disk,
    LogCursor,
    LogDamage,
    LogWriter,
    OwnChain,
    build_frame,
    open_chain,
    read_log,
    seal_run,
)
from antiphon.journal.chain import is_seal_valid
from antiphon.journal.stores.folder import KeySigner
from antiphon.journal.stores.log import LOG_FOLDER, file_path
from antiphon.journal.stores.position import LogPosition

from .workload import PLAIN_SAID, Row, Shape


class StraightLine:
    """A chain and a log file that windows are appended to."""

    def __init__(self, folder: Path, shape: Shape = PLAIN_SAID) -> None:
        self._folder, self._shape = folder, shape
        self._key = Ed25519PrivateKey.generate()
        chain, frame_hash, file = _begin(folder, KeySigner(self._key))
        self._chain = chain.info.chain
        self._seq = chain.head.seq
        self._id: bytes = chain.head.fact_id
        self._hlc = chain.head.hlc
        self._frame_hash = bytes.fromhex(frame_hash)
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)

    def close(self) -> None:
        """Close the file, and insist that it is what it claims to be: a reference that cheats would flatter."""
        os.close(self._descriptor)
        count = 0
        for frame in read_log(self._folder, LogCursor.at_start()):
            if isinstance(frame, LogDamage):
                raise AssertionError(f"the straight line wrote no valid log: {frame.reason}")
            for run in frame.runs:
                if not is_seal_valid(run.seal, run.info.public_key):
                    raise AssertionError("the straight line wrote an invalid seal")
                count = run.seal.to_seq
        if count != self._seq:
            raise AssertionError(f"the straight line committed {self._seq} facts and its log holds {count}")

    def commit(self, rows: Sequence[Row]) -> None:
        """Validate, encode, hash, seal, append and sync one window."""
        kind, model, time_field = self._shape
        facts = [model.model_validate(row) for row in rows]
        seq, fact_id, hlc = self._seq, self._id, max(self._hlc + 1, (time.time_ns() // 1_000_000) << 16)
        first_seq, first_id = seq, fact_id
        opening, ending = f',"c":"{self._chain.hex()}","k":"{kind}","s":', ',"v":1}'
        random_bytes = os.urandom(16 * len(facts))
        lines, ids = [], []
        for place, fact in enumerate(facts):
            seq += 1
            values = fact.__dict__
            payload = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
            header = f'{{"at":{values[time_field]}{opening}{seq},"t":{hlc}{ending}'.encode()
            salt = b2a_base64(random_bytes[place * 16 : place * 16 + 16], newline=False)
            fact_id = sha256(b"antiphon.fact.1" + fact_id + header + sha256(salt + payload).digest()).digest()
            lines.append(b'{"h":%b,"p":%b,"r":"%b"}' % (header, payload, salt))
            ids.append(fact_id)
            hlc += 1
        lines.append(self._seal(first_seq, first_id, seq, fact_id))
        ids.append(sha256(lines[-1]).digest())
        frame_hash = sha256(b"antiphon.frame.1" + self._frame_hash + b"".join(ids)).digest()
        lines.append(
            f'{{"frame":{{"count":{len(lines)},"hash":"{frame_hash.hex()}","previous":"{self._frame_hash.hex()}"}}}}\n'.encode()
        )
        data = b"\n".join(lines)
        if os.write(self._descriptor, data) != len(data):
            raise OSError("a short write")
        os.fdatasync(self._descriptor)
        self._seq, self._id, self._hlc, self._frame_hash = seq, fact_id, hlc - 1, frame_hash

    def _seal(self, from_seq: int, from_id: bytes, to_seq: int, to_id: bytes) -> bytes:
        message = (
            b"antiphon.seal.1" + self._chain + from_seq.to_bytes(8, "big") + from_id + to_seq.to_bytes(8, "big") + to_id
        )
        signature = self._key.sign(message)
        return (
            f'{{"seal":{{"chain":"{self._chain.hex()}","from":[{from_seq},"{from_id.hex()}"],'
            f'"signature":"{signature.hex()}","to":[{to_seq},"{to_id.hex()}"]}}}}'
        ).encode()


def _begin(folder: Path, signer: KeySigner) -> tuple[OwnChain, str, Path]:
    """A log with its first frame, the chain's opening: set-up, so the journal's own words do."""
    (folder / LOG_FOLDER).mkdir(parents=True)
    chain, draft = open_chain(
        namespace=DEFAULT_NAMESPACE,
        writer=signer,
        authority=signer,
        nonce=os.urandom(16),
        device=bytes(16).hex(),
        label="straight line",
        predecessor=None,
        fresh=(),
    )
    run = seal_run(
        chain, [draft], wall_ms=time.time_ns() // 1_000_000, hlc_floor=0, randomness=os.urandom(16), signer=signer
    )
    frame = build_frame(LOG_START.frame_hash, [run], chains=[chain.info])
    writer = LogWriter(folder, journal=bytes(16).hex(), last=LOG_START, may_append=False, disk=Disk())
    writer.append([frame.data], LogPosition(0, 0, frame.frame_hash, 1))
    writer.close()
    return chain, frame.frame_hash, file_path(folder, 1)

"""How this side shows a NATS server who it is. Keeps nothing on a disk and knows no server.

A password and a token are said; a key is not: the server sends a nonce, and what goes back is its signature. Keys are
written as NATS writes them (base32 of a prefix, 32 bytes of Ed25519 and a CRC-16); what an account says of its user (a
JWT) is handed on as it is, and judged by the server. Source: the description of NATS' nkeys.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode, b64encode
from binascii import Error as NotBase32
from binascii import crc_hqx
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.facts import LocalViolation

# Of a user or of anybody else: a seed that was mistaken for a token would be said aloud.
_SEED = re.compile(r"S[A-Z2-7]{57}")
_IS_SEED, _IS_USER = 18 << 3, 20 << 3
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsAccess:
    """A ``user`` with its ``password``, a ``token``, or a user's nkey ``seed``, perhaps with the account's ``jwt``.

    None of the secrets is shown by ``repr`` nor part of an address.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    seed: str = field(default="", repr=False)
    jwt: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if sum(map(bool, (self.user, self.token, self.seed))) != 1 or (self.jwt and not self.seed):
            raise LocalViolation(
                "access to a NATS server is a user with a password, a token, or the seed of an nkey, which a JWT may "
                "belong to; give one of them"
            )
        if self.seed:
            _private_key(self.seed)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> NatsAccess:
        """From a ``.creds`` file, or from a first line: ``user:password``, a seed (``SU…``), or a token.

        Raises ``LocalViolation``.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise LocalViolation(f"no access to a NATS server can be read from {path} ({problem})") from problem
        if "BEGIN NATS USER JWT" in text:
            return cls(jwt=_part(text, "NATS USER JWT", path), seed=_part(text, "USER NKEY SEED", path))
        line = text.partition("\n")[0].strip()
        if _SEED.fullmatch(line):
            return cls(seed=line)
        user, colon, password = line.partition(":")
        if not line or (colon and not user):
            raise LocalViolation(
                f"{path} begins with no access; expected user:password, or a token, or an nkey's seed in its first "
                "line, or a .creds file"
            )
        return cls(user=user, password=password) if colon else cls(token=line)

    @property
    def public_key(self) -> str:
        """The nkey that a server knows this user by; "" without a seed."""
        if not self.seed:
            return ""
        return _written(bytes([_IS_USER]) + _private_key(self.seed).public_key().public_bytes_raw())

    def sign(self, nonce: str) -> bytes:
        """What a server wants to see for its nonce: the signature, in base64."""
        return b64encode(_private_key(self.seed).sign(nonce.encode()))


def _part(text: str, name: str, path: str | PathLike[str]) -> str:
    found = re.search(rf"-+BEGIN {name}-+\s+(\S+)\s+-+END {name}-+", text)
    if found is None:
        raise LocalViolation(f"{path} has no {name}; expected a whole .creds file, as it was issued")
    return found[1]


def _private_key(seed: str) -> Ed25519PrivateKey:
    try:
        raw = b32decode(seed + "=" * (-len(seed) % 8))
    except (NotBase32, ValueError) as problem:
        raise LocalViolation(_NO_SEED) from problem
    head, key, check = raw[:2], raw[2:-2], raw[-2:]
    is_whole = len(key) == _KEY_BYTES and crc_hqx(head + key, 0) == int.from_bytes(check, "little")
    if not is_whole or head != bytes([_IS_SEED | _IS_USER >> 5, _IS_USER << 3 & 0xFF]):
        raise LocalViolation(_NO_SEED)
    return Ed25519PrivateKey.from_private_bytes(key)


def _written(data: bytes) -> str:
    return b32encode(data + crc_hqx(data, 0).to_bytes(2, "little")).decode().rstrip("=")


# What was given is a secret, so it is not said again.
_NO_SEED = "this is no seed of a user's nkey; expected SU and 56 more letters and digits, as they were issued"

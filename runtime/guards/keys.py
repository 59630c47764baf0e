"""Ed25519 keys in files that only their owner may read: made, read, and refused when others could read them too.

Knows no tokens and no journals. A file holds the 32-byte seed as 64 hex digits, as the keys of a journal's folder do.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.facts import AuthorityId, LocalViolation, authority_id
from antiphon.journal import KeySigner, StoreUnavailable

SEED_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key that was read: what may be shown, and the seed, which may not (it is in no representation)."""

    path: Path
    public_key: bytes
    seed: bytes = field(repr=False)

    @property
    def authority(self) -> AuthorityId:
        """The authority that this key is the first key of."""
        return authority_id(self.public_key)

    def signer(self) -> KeySigner:
        """What signs with it."""
        return KeySigner(Ed25519PrivateKey.from_private_bytes(self.seed))


def new_key(path: Path, random_bytes: Callable[[int], bytes]) -> KeyFile:
    """Make a key in a new file that only its owner may read, durably. A file that is there is never replaced."""
    seed = random_bytes(SEED_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as problem:
        raise LocalViolation(f"{path} is there already, and a key is never replaced; name another file") from problem
    except OSError as problem:
        raise StoreUnavailable(f"cannot write {path}: {problem.strerror}") from problem
    try:
        os.write(descriptor, seed.hex().encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return load_key(path)


def load_key(path: Path) -> KeyFile:
    """Read a key. Raises ``LocalViolation`` when others may read the file, or it holds no key."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as problem:
        raise StoreUnavailable(
            f"cannot read {path}: {problem.strerror}; name a key's file, or make one: antiphon key new {path}"
        ) from problem
    if mode & _OTHERS:
        raise LocalViolation(
            f"others may read {path} (mode {stat.S_IMODE(mode):o}); run chmod 600, and think of a new key"
        )
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise LocalViolation(f"{path} is not a key of 64 hex digits; restore it from a backup")
    return KeyFile(path, KeySigner(Ed25519PrivateKey.from_private_bytes(seed)).public_key, seed)

"""How this side shows a NATS server who it is. Keeps nothing on a disk and knows no server."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from antiphon.facts import LocalViolation


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsAccess:
    """A ``user`` with its ``password``, or a ``token``; neither is shown by ``repr`` nor part of an address."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if bool(self.user) == bool(self.token):
            raise LocalViolation("access to a NATS server is a user with a password, or a token; give one of them")

    @classmethod
    def read(cls, path: str | PathLike[str]) -> NatsAccess:
        """From the first line of a file, ``user:password`` or a token. Raises ``LocalViolation``."""
        try:
            line = Path(path).read_text(encoding="utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise LocalViolation(f"no access to a NATS server can be read from {path} ({problem})") from problem
        user, colon, password = line.partition(":")
        if not line or (colon and not user):
            raise LocalViolation(f"{path} begins with no access; expected user:password, or a token, in its first line")
        return cls(user=user, password=password) if colon else cls(token=line)

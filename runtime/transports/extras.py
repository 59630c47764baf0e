"""Libraries that not everybody needs: loaded when they are, and asked for by name when they are not there."""

from __future__ import annotations

from antiphon.facts import LocalViolation


class MissingExtra(LocalViolation):
    """A transport needs a library that is not installed; the message says what to install."""

    def __init__(self, scheme: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{scheme}:// needs a library that is not installed; run: pip install 'antiphon[{extra}]'")

"""The page: chat, contacts and invitations of one journal in a browser, live.

``serve_web`` is all that others need. Starlette and uvicorn come with the extra ``web`` and are loaded when a page is
served, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .address import WebAddress as WebAddress
from .address import parse_web_address as parse_web_address
from .errors import WebExtraMissing as WebExtraMissing

if TYPE_CHECKING:
    from .serving import WebServer as WebServer
    from .serving import serve_web as serve_web

__all__ = ["WebAddress", "WebExtraMissing", "WebServer", "check_web_extra", "parse_web_address", "serve_web"]


def check_web_extra() -> None:
    """Raise ``WebExtraMissing`` when the packages of the extra ``web`` are not here."""
    try:
        import_module(".serving", __name__)
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio"):
            raise
        raise WebExtraMissing(problem.name or "") from problem


if not TYPE_CHECKING:  # or a type checker would believe in any name

    def __getattr__(name: str) -> object:
        if name not in ("WebServer", "serve_web"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        check_web_extra()
        return getattr(import_module(".serving", __name__), name)

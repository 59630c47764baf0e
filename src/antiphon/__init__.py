"""An embeddable, local-first fact journal and reactive engine.

The front door: declare facts, open a journal, commit, watch, ask. Names are loaded on first use, so that importing the package
costs little; everything else lives in the rooms (``antiphon.facts``, ``antiphon.journal``, …).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.app.history import open_history as open_history
    from antiphon.app.journal import Journal as Journal
    from antiphon.facts import Fact as Fact
    from antiphon.facts import upcast as upcast
    from antiphon.views import view as view

__version__ = "0.1.0"
"""The released version, as in the package's metadata."""

__all__ = ["Fact", "Journal", "__version__", "open_history", "upcast", "view"]

_HOMES = {
    "Fact": "antiphon.facts",
    "Journal": "antiphon.app.journal",
    "open_history": "antiphon.app.history",
    "upcast": "antiphon.facts",
    "view": "antiphon.views",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value

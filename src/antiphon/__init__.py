"""An embeddable, local-first fact journal and reactive engine.

The front door: declare facts, open a journal, commit, watch, ask, and catch what may go wrong. Names are loaded on
first use, so that importing the package costs little; everything else lives in the rooms (``antiphon.facts``,
``antiphon.journal``, …).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.app.blocking import BlockingJournal as BlockingJournal
    from antiphon.app.core import AppCore as AppCore
    from antiphon.app.history import HistoryError as HistoryError
    from antiphon.app.history import open_history as open_history
    from antiphon.app.journal import BatchReceipt as BatchReceipt
    from antiphon.app.journal import Journal as Journal
    from antiphon.app.journal import Receipt as Receipt
    from antiphon.app.unified_handler import UnifiedHandler as UnifiedHandler
    from antiphon.app.unified_handler import register_app_signals_with_queries as register_app_signals_with_queries
    from antiphon.app.wiring import demo_core as demo_core
    from antiphon.app.wiring import open_core as open_core
    from antiphon.facts import AntiphonError as AntiphonError
    from antiphon.facts import Fact as Fact
    from antiphon.facts import FactError as FactError
    from antiphon.facts import LocalViolation as LocalViolation
    from antiphon.facts import RemoteViolation as RemoteViolation
    from antiphon.facts import SchemaDrift as SchemaDrift
    from antiphon.facts import upcast as upcast
    from antiphon.journal import FormatTooNew as FormatTooNew
    from antiphon.journal import JournalClosed as JournalClosed
    from antiphon.journal import JournalHeld as JournalHeld
    from antiphon.journal import NotAJournal as NotAJournal
    from antiphon.journal import StoreUnavailable as StoreUnavailable
    from antiphon.reactive import Signal as Signal
    from antiphon.reactive import SignalNotFound as SignalNotFound
    from antiphon.runtime.transports.transport import PeerUnreachable as PeerUnreachable
    from antiphon.views import CHAT_SIGNAL as CHAT_SIGNAL
    from antiphon.views import CONTACTS_SIGNAL as CONTACTS_SIGNAL
    from antiphon.views import HOMES_SIGNAL as HOMES_SIGNAL
    from antiphon.views import INVITATIONS_SIGNAL as INVITATIONS_SIGNAL
    from antiphon.views import view as view

__version__ = "0.1.0"
"""The released version, as in the package's metadata."""

__all__ = [
    "CHAT_SIGNAL",
    "CONTACTS_SIGNAL",
    "HOMES_SIGNAL",
    "INVITATIONS_SIGNAL",
    "AntiphonError",
    "AppCore",
    "BatchReceipt",
    "BlockingJournal",
    "Fact",
    "FactError",
    "FormatTooNew",
    "HistoryError",
    "Journal",
    "JournalClosed",
    "JournalHeld",
    "LocalViolation",
    "NotAJournal",
    "PeerUnreachable",
    "Receipt",
    "RemoteViolation",
    "SchemaDrift",
    "Signal",
    "SignalNotFound",
    "StoreUnavailable",
    "UnifiedHandler",
    "__version__",
    "demo_core",
    "open_core",
    "open_history",
    "register_app_signals_with_queries",
    "upcast",
    "view",
]

_NAMES_IN = {
    "antiphon.app.blocking": "BlockingJournal",
    "antiphon.app.core": "AppCore",
    "antiphon.app.history": "HistoryError open_history",
    "antiphon.app.journal": "BatchReceipt Journal Receipt",
    "antiphon.app.unified_handler": "UnifiedHandler register_app_signals_with_queries",
    "antiphon.app.wiring": "demo_core open_core",
    "antiphon.facts": "AntiphonError Fact FactError LocalViolation RemoteViolation SchemaDrift upcast",
    "antiphon.journal": "FormatTooNew JournalClosed JournalHeld NotAJournal StoreUnavailable",
    "antiphon.reactive": "Signal SignalNotFound",
    "antiphon.runtime.transports.transport": "PeerUnreachable",
    "antiphon.views": "CHAT_SIGNAL CONTACTS_SIGNAL HOMES_SIGNAL INVITATIONS_SIGNAL view",
}
_HOMES = {name: home for home, names in _NAMES_IN.items() for name in names.split()}


if not TYPE_CHECKING:  # or a type checker would believe in any name

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
        value: object = getattr(import_module(home), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

"""The memory: chains of facts joined, sealed, kept and exchanged."""

if __name__ == "journal":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.journal")

from .chain import CHAIN_START, Head, Seal, Signer, VerifiedRun, is_seal_valid, make_chain_info, verify_run
from .errors import (
    ForkDetected,
    FormatTooNew,
    JournalClosed,
    JournalError,
    JournalHeld,
    LogDamaged,
    NamespaceMismatch,
    NotAJournal,
    SealedViolation,
    StoreUnavailable,
    UnsealedBytes,
)
from .index import ChainState, Continuation, JournalIndex
from .replay import PlacedRun, parse_run, read_members
from .sealing import BuiltFrame, Draft, OwnChain, SealedRun, build_frame, open_chain, seal_run, with_links
from .state import JournalState
from .stores.folder import JournalFolder, KeySigner, is_journal, open_folder
from .stores.log import (
    Disk,
    LogCursor,
    LogDamage,
    LogFrame,
    LoggedRun,
    LogWriter,
    read_log,
    read_run_bytes,
    sync_existing,
)
from .stores.position import LOG_START, LogPosition, RunRow

__all__ = [
    "CHAIN_START",
    "LOG_START",
    "BuiltFrame",
    "ChainState",
    "Continuation",
    "Disk",
    "Draft",
    "ForkDetected",
    "FormatTooNew",
    "Head",
    "JournalClosed",
    "JournalError",
    "JournalFolder",
    "JournalHeld",
    "JournalIndex",
    "JournalState",
    "KeySigner",
    "LogCursor",
    "LogDamage",
    "LogDamaged",
    "LogFrame",
    "LogPosition",
    "LogWriter",
    "LoggedRun",
    "NamespaceMismatch",
    "NotAJournal",
    "OwnChain",
    "PlacedRun",
    "RunRow",
    "Seal",
    "SealedRun",
    "SealedViolation",
    "Signer",
    "StoreUnavailable",
    "UnsealedBytes",
    "VerifiedRun",
    "build_frame",
    "is_journal",
    "is_seal_valid",
    "make_chain_info",
    "open_chain",
    "open_folder",
    "parse_run",
    "read_log",
    "read_members",
    "read_run_bytes",
    "seal_run",
    "sync_existing",
    "verify_run",
    "with_links",
]

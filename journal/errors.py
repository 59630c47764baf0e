"""The few ways in which a journal may refuse, sorted by whose move it is."""

from __future__ import annotations

from antiphon.facts import AntiphonError, LocalViolation, RemoteViolation


class JournalError(AntiphonError):
    """Root of what can go wrong with a journal as a whole."""


class NamespaceMismatch(JournalError, LocalViolation):
    """Two states of different namespaces were to be joined; neither was changed."""


class NotAJournal(JournalError, LocalViolation):
    """The folder holds something else; nothing was touched."""


class JournalHeld(JournalError):
    """Another process (or another handle in this one) owns the journal; the message names its pid."""


class FormatTooNew(JournalError):
    """The journal was written by a newer antiphon; nothing was touched."""


class StoreUnavailable(JournalError):
    """The disk refused: full, read-only, failing. Nothing acknowledged is lost; trying again later may work."""


class LogDamaged(JournalError):
    """Bytes of the log are not what was written; the damaged place is named and kept."""


class JournalClosed(JournalError, LocalViolation):
    """The journal was closed; open it again."""


class UnsealedBytes(RemoteViolation):
    """Bytes that no valid seal of the chain's key covers: the sender's fault; dropped and counted against it."""


class SealedViolation(RemoteViolation):
    """A header or link that breaks a rule under a valid seal: the writer's fault; the chain ends there for everyone."""


class ForkDetected(RemoteViolation):
    """Two seals of one chain with one predecessor: both are kept by whoever sees them; the chain's writer is to
    blame."""

"""What fills ``SYNC_STATUS_SIGNAL``: follows every session of one journal, whoever began it.

It tells; it decides nothing.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from antiphon.reactive import SYNC_STATUS_SIGNAL, SignalHub, SyncStatus


class SessionMonitor(Protocol):
    """Who is told how sessions go; *session* is the same number from its begin to its end."""

    def follow(self, session: int, peer: str, *, received: int, sent: int, is_agreed: bool) -> None:
        """A session moved."""
        ...

    def end(self, session: int, peer: str, *, received: int, sent: int, reason: str, is_success: bool) -> None:
        """A session ended."""
        ...


@runtime_checkable
class Monitored(Protocol):
    """A replica that wants to be told how its sessions go, whoever began them."""

    @property
    def sync_monitor(self) -> SessionMonitor:
        """Who is told."""
        ...


class SyncMonitor:
    """Turns the sessions of one journal into its status signal; O(sessions under way) a step."""

    def __init__(self, hub: SignalHub) -> None:
        self._hub = hub
        self._sessions: dict[int, tuple[int, int, bool]] = {}
        self._last = SyncStatus()
        hub.register(SYNC_STATUS_SIGNAL, self._last, external=True, never_waits=True)

    def follow(self, session: int, peer: str, *, received: int, sent: int, is_agreed: bool) -> None:
        """Show a session that moved."""
        self._sessions[session] = (received, sent, is_agreed)
        self._show(peer)

    def end(self, session: int, peer: str, *, received: int, sent: int, reason: str, is_success: bool) -> None:
        """Show how a session ended, unless others are under way."""
        self._sessions.pop(session, None)
        self._last = SyncStatus("synced" if is_success else "failed", peer, received, sent, reason)
        self._show(peer)

    def _show(self, peer: str) -> None:
        if self._hub.is_closed or not self._hub.is_registered(SYNC_STATUS_SIGNAL):
            return  # the journal is closed, and a session may outlive it by a word
        moving = [each for each in self._sessions.values() if not each[2]]
        shown = moving or list(self._sessions.values())
        if not shown:
            self._hub.emit(SYNC_STATUS_SIGNAL, self._last)
            return
        received, sent = sum(each[0] for each in shown), sum(each[1] for each in shown)
        self._hub.emit(SYNC_STATUS_SIGNAL, SyncStatus("syncing" if moving else "synced", peer, received, sent))

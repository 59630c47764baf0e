"""``SYNC_STATUS_SIGNAL``: what a screen shows of replication: idle, syncing, synced or failed.

The value and its key only. Whoever replicates fills it; whoever does not leaves it idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .signal import Signal

SyncState = Literal["idle", "syncing", "synced", "failed"]


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """Where replication stands: so many facts ``received`` and ``sent`` by the sessions under way, or by the last one.

    ``peer`` is whom the last change was about, ``reason`` why it failed. A live session that agrees counts as synced.
    """

    state: SyncState = "idle"
    peer: str = ""
    received: int = 0
    sent: int = 0
    reason: str = ""


SYNC_STATUS_SIGNAL: Signal[SyncStatus] = Signal("app:sync_status", SyncStatus)
"""The state of replication of one journal."""
